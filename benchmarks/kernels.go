package main

import (
	"context"
	"errors"
	"math"
	"math/rand/v2"

	"github.com/opdomain/opdomain/sandbox/columnar/vector"
)

// kernelCases measures the kernels alone, without subjects and evidence, in every twin that this build has and this processor runs: a
// day, a region of 300 as codes of 16 bits, an amount in fen.
func kernelCases(rows int) []benchmark {
	const step = 1024 // rows filtered before they are grouped, so that the selection stays in the first cache
	rng := rand.New(rand.NewPCG(11, 11))
	days, amounts, codes := make([]int32, rows), make([]int64, rows), make([]uint16, rows)
	given := make([]byte, (rows+7)/8) // 19 amounts in 20
	for i := range rows {
		days[i], amounts[i], codes[i] = firstDay+rng.Int32N(3*365), rng.Int64N(20000), uint16(rng.IntN(regions))
		if rng.IntN(20) > 0 {
			given[i/8] |= 1 << (i % 8)
		}
	}
	sel, cells := make([]int32, step), make([]vector.Cell, regions)
	var out []benchmark
	for _, k := range vector.Twins() {
		add := func(what string, bytes int, terms []vector.Term, group bool) {
			out = append(out, benchmark{name: "kernels alone, " + k.String() + ": " + what, rows: rows, bytes: int64(bytes * rows), run: func(context.Context) error {
				clear(cells)
				var total vector.Sum
				for at := 0; at < rows; at += step {
					n := min(step, rows-at)
					if !group {
						k.Total(&total, terms, at, n, amounts, sel)
					} else if !vector.Group(cells, codes, amounts, k.Where(terms, at, n, sel)) {
						return errors.New("benchmarks: a sum is over 64 bits")
					}
				}
				return nil
			}})
		}
		day, amount := vector.DaysBetween(days, math.MinInt32, firstDay+730), vector.IntsBetween(amounts, 10000, math.MaxInt64)
		add("filter day and amount (33% pass), group by 300 regions, count + sum", 14, []vector.Term{day, amount}, true)
		add("the same, 1 amount in 20 missing", 14, []vector.Term{day, amount.Valid(given, 0)}, true)
		add("filter day and amount, one cell (Q6 shape)", 12, []vector.Term{day, amount}, false)
	}
	return out
}
