package main

import (
	"encoding/json"
	"testing"

	"github.com/opdomain/opdomain/sandbox/algo/mapper"
)

// TestAdherence: of hand-made patients; dates in days.
func TestAdherence(t *testing.T) {
	if err := declaration.Check(); err != nil {
		t.Fatal(err)
	}
	type supply struct {
		from, days int64
		group      string
	}
	for name, c := range map[string]struct {
		all  []supply
		want string
	}{
		"one supply":             {[]supply{{0, 30, "diabetes"}}, `[]`},
		"end to end":             {[]supply{{0, 30, "diabetes"}, {30, 30, "diabetes"}}, `[{"Labels":[1,1],"Values":[100]}]`},
		"a gap":                  {[]supply{{90, 30, "diabetes"}, {0, 30, "diabetes"}}, `[{"Labels":[1,0],"Values":[50]}]`},
		"early, then a gap":      {[]supply{{0, 30, "lipids"}, {20, 30, "lipids"}, {70, 30, "lipids"}}, `[{"Labels":[2,1],"Values":[90]}]`},
		"another group":          {[]supply{{0, 30, "none"}, {5, 30, "none"}}, `[]`},
		"days of zero and below": {[]supply{{0, 0, "lipids"}, {5, -3, "lipids"}, {9, 30, "lipids"}}, `[]`},
		"two groups": {[]supply{{0, 30, "lipids"}, {60, 30, "lipids"}, {0, 90, "hypertension"}, {90, 90, "hypertension"}},
			`[{"Labels":[0,1],"Values":[100]},{"Labels":[2,0],"Values":[65]}]`},
	} {
		w := mapper.NewWriter(3)
		for _, s := range c.all {
			w.Row()
			w.Int(s.from)
			w.Int(s.days)
			w.Text(s.group)
		}
		got, err := mapper.Run(adherence, w.Bytes(), &declaration)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := json.Marshal(append([]mapper.Yielded{}, got...)); string(b) != c.want {
			t.Errorf("%s: %s, want %s", name, b, c.want)
		}
	}
}
