package node

import (
	"math/big"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// boundedOutput gives the gate what was read of an output; false where a number is beyond what a result holds.
func boundedOutput(v he.Output) (o egress.BoundedOutput, ok bool) {
	ok = true
	number := func(n *big.Int) int64 {
		ok = ok && n.IsInt64()
		return n.Int64()
	}
	o = egress.BoundedOutput{None: v.None, Rows: v.Rows, Subjects: v.Subjects, Differ: v.Differ}
	if v.Value != nil {
		o.Value = number(v.Value)
	}
	for _, top := range v.Tops {
		o.Tops = append(o.Tops, number(top))
	}
	for _, s := range v.Sides {
		side := egress.BoundedSide{Total: number(s.Total)}
		for _, top := range s.Tops {
			side.Tops = append(side.Tops, number(top))
		}
		o.Sides = append(o.Sides, side)
	}
	return o, ok
}
