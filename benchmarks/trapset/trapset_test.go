package trapset

import (
	"os"
	"testing"
)

func TestTry(t *testing.T) {
	g := New(4)
	r := Measure(g.Columns(300, []float64{0, 0.1, 0.2, 0.3}), g.Notes(1000))
	r.Print(os.Stdout)
	for k, h := range r.Hinted {
		if h.Missed > 0 {
			t.Log(k, h.Sorts)
		}
	}
	for k, c := range r.Columns {
		if c[0].Wrong > 0 {
			t.Log(k, "wrong", c[0].Sorts)
		}
	}
}
