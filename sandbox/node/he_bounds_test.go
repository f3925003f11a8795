package node

import (
	"math/big"
	"slices"
	"testing"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
)

// TestBoundedOutput: the gate gets what was read, column by column, and nothing that a number of a result does not hold.
func TestBoundedOutput(t *testing.T) {
	n := func(v ...int64) (out []*big.Int) {
		for _, x := range v {
			out = append(out, big.NewInt(x))
		}
		return out
	}
	v := he.Output{Func: sandbox.Correlation, Value: big.NewInt(-500_000), Rows: 9, Subjects: []int64{2, 3}, Tops: n(4, 5), Sides: []he.Weighed{{Total: big.NewInt(-20), Tops: n(4, 5)}, {Total: big.NewInt(30), Tops: n(6, 7)}}}
	o, ok := boundedOutput(v)
	if !ok || o.Value != -500_000 || o.Rows != 9 || !slices.Equal(o.Subjects, v.Subjects) || !slices.Equal(o.Tops, []int64{4, 5}) || len(o.Sides) != 2 ||
		o.Sides[0].Total != -20 || o.Sides[1].Total != 30 || !slices.Equal(o.Sides[1].Tops, []int64{6, 7}) {
		t.Errorf("%+v", ok)
	}
	wide := new(big.Int).Lsh(big.NewInt(1), 70)
	for name, change := range map[string]func(*he.Output){
		"value":    func(o *he.Output) { o.Value = wide },
		"top":      func(o *he.Output) { o.Tops = []*big.Int{wide, wide} },
		"total":    func(o *he.Output) { o.Sides = []he.Weighed{{Total: wide}} },
		"side top": func(o *he.Output) { o.Sides = []he.Weighed{{Total: big.NewInt(1), Tops: []*big.Int{wide}}} },
	} {
		x := v
		change(&x)
		if _, ok := boundedOutput(x); ok {
			t.Errorf("%s: a number beyond a result's passes", name)
		}
	}
}
