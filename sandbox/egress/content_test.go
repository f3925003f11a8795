package egress

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/classify"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// identifier says whether a label by itself would be held back.
func identifier(label string) bool { return len(scan.NewScanner().Text(label, false)) > 0 }

// A hit quarantines the answer: its cause names rule and place, never the label.
func TestContentIsQuarantined(t *testing.T) {
	for _, label := range []string{"13800138000", "MTM4MDAxMzgwMDA=", "\\u0031\\u0033\\u0038\\u0030\\u0030\\u0031\\u0033\\u0038\\u0030\\u0030\\u0030", "粤B12345", "00083100831"} {
		c, err := Check("q-1", claims(t, slices.Concat(people(0, 12, "a"), people(20, 12, label))).answer(), limits)
		var q *Quarantine
		if c != nil || !errors.Is(err, sandbox.Withheld) || !errors.As(err, &q) || q.Class != sandbox.ClassA || len(q.Hits) != 1 {
			t.Fatalf("a label that is an identifier: %v", err)
		}
		if h := q.Hits[0]; h.Rule != scan.RuleIdentifier || h.Column == "" || h.Row == 0 || strings.Contains(err.Error(), label) || !strings.Contains(err.Error(), h.Column) {
			t.Errorf("%+v %v", h, err)
		}
	}
	// Suppressed cells keep their labels.
	_, err := Check("q-1", claims(t, slices.Concat(people(0, 12, "a"), people(20, 3, "11010519491231002X"))).answer(), limits)
	if q := (*Quarantine)(nil); !errors.As(err, &q) || q.Hits[0].Kind != classify.ResidentID {
		t.Errorf("the label of a suppressed cell: %v", err)
	}
	// A value may be any amount; what a measure is called is text like any other.
	a := claims(t, people(0, 12, "a")).answer()
	a.Measures = slices.Clone(a.Measures)
	for m := range a.Measures {
		if a.Measures[m].Func == sandbox.Sum {
			a.Measures[m].Name = "手机13800138000"
		}
	}
	if _, err := Check("q-1", a, limits); !errors.Is(err, sandbox.Withheld) || strings.Contains(err.Error(), "138") {
		t.Errorf("the name of a measure: %v", err)
	}
}
