package egress

import "github.com/opdomain/opdomain/sandbox"

// hold fills what each holding (控股集团或户) adds to every weighed measure: firms of one group, or people of one household, know each other's
// numbers, and together may be most of a cell of which none of them is. Whether people are enough stays a matter of people. Source: rule 6
// of the gate, Handbook on Statistical Disclosure Control ch. 4.
func (g *group) hold(a *sandbox.Answer, who []uint32, adds, divisors func(measure int) []int64) {
	if a.Holdings == nil {
		return
	}
	g.held, g.heldBy = make([][]int64, len(a.Measures)), make([][]int64, len(a.Measures))
	for m := range a.Measures {
		if !weighed(a.Measures[m]) {
			continue
		}
		g.held[m] = nonZero(held(a, who, adds(m)))
		if a.Measures[m].Func == sandbox.Ratio {
			g.heldBy[m] = nonZero(held(a, who, divisors(m)))
		}
	}
}

// held adds up contributions of people by their holding, by magnitude where signs differ: what they know of each other is each part.
func held(a *sandbox.Answer, who []uint32, adds []int64) []int64 {
	if a.Holdings == nil {
		return adds
	}
	at := make(map[uint32]int, len(who))
	var out []int64
	for k, s := range who {
		h := a.Holdings[s]
		i, ok := at[h]
		if !ok {
			i = len(out)
			at[h], out = i, append(out, 0)
		}
		v := adds[k]
		if v < 0 && v != -v {
			v = -v
		}
		out[i] = plus(out[i], v)
	}
	return out
}

// holder gives whom a person speaks for.
func holder(a *sandbox.Answer, s uint32) uint32 {
	if a.Holdings == nil {
		return s
	}
	return a.Holdings[s]
}
