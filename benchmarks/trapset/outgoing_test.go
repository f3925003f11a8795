package trapset

import (
	"bytes"
	"testing"
)

// TestOutgoingTables holds the scan of what leaves to recall in every way of writing and to few false alarms, on a seed that no rule was
// written with.
func TestOutgoingTables(t *testing.T) {
	g := New(20261201)
	var tables []Outgoing
	for range 4000 {
		tables = append(tables, g.Honest())
	}
	r, err := MeasureOutgoing(append(tables, g.Smuggled(20)...))
	if err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	r.Print(&out)
	t.Log("\n" + out.String())
	for _, way := range r.Ways {
		if s := r.Recall[way]; s.Recall() < 0.97 || s.Found < 15 {
			t.Errorf("%s: recall %.4f of %d", way, s.Recall(), s.Found+s.Missed)
		}
	}
	if float64(r.False) > 0.002*float64(r.Honest) {
		t.Errorf("%d of %d honest tables have a hit", r.False, r.Honest)
	}
}
