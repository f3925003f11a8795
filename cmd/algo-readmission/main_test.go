package main

import (
	"encoding/json"
	"testing"

	"github.com/opdomain/opdomain/sandbox/algo/mapper"
)

type stay struct {
	in, out int64
	kind    string
}

// TestReadmission: of hand-made patients, what the page says; dates in days.
func TestReadmission(t *testing.T) {
	if err := declaration.Check(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		stays []stay
		want  string
	}{
		"nobody":                      {nil, `[]`},
		"outpatient only":             {[]stay{{1, 1, "outpatient"}}, `[]`},
		"one stay":                    {[]stay{{100, 103, "inpatient"}}, `[{"Labels":[0,0],"Values":[0,5]}]`},
		"within thirty days":          {[]stay{{140, 142, "inpatient"}, {100, 110, "inpatient"}}, `[{"Labels":[1,1],"Values":[1,15]}]`},
		"on the thirty-first":         {[]stay{{100, 110, "inpatient"}, {141, 142, "inpatient"}}, `[{"Labels":[1,0],"Values":[0,15]}]`},
		"moved the same day":          {[]stay{{100, 110, "inpatient"}, {110, 112, "inpatient"}}, `[{"Labels":[1,0],"Values":[0,15]}]`},
		"a visit between":             {[]stay{{100, 110, "inpatient"}, {120, 120, "outpatient"}, {135, 139, "inpatient"}}, `[{"Labels":[1,1],"Values":[1,15]}]`},
		"ends before it begins":       {[]stay{{100, 90, "inpatient"}}, `[]`},
		"one within the other":        {[]stay{{100, 200, "inpatient"}, {110, 111, "inpatient"}, {205, 206, "inpatient"}}, `[{"Labels":[1,1],"Values":[1,105]}]`},
		"more readmissions than told": {many(25), `[{"Labels":[3,1],"Values":[20,25]}]`},
	} {
		w := mapper.NewWriter(3)
		for _, s := range c.stays {
			w.Row()
			w.Int(s.in)
			w.Int(s.out)
			w.Text(s.kind)
		}
		got, err := mapper.Run(readmission, w.Bytes(), &declaration)
		if err != nil {
			t.Fatal(err)
		}
		if b, _ := json.Marshal(append([]mapper.Yielded{}, got...)); string(b) != c.want {
			t.Errorf("%s: %s, want %s", name, b, c.want)
		}
	}
	w := mapper.NewWriter(3)
	w.Row()
	w.Missing()
	w.Int(5)
	w.Text("inpatient")
	if got, err := mapper.Run(readmission, w.Bytes(), &declaration); err != nil || len(got) != 0 {
		t.Errorf("a stay without a date: %v %v", got, err)
	}
}

func many(n int) (out []stay) {
	for i := range int64(n) {
		out = append(out, stay{1000 + 10*i, 1000 + 10*i, "inpatient"})
	}
	return out
}
