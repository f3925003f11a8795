package noise

import (
	"bytes"
	"math"
	"math/bits"
	"slices"

	"github.com/google/differential-privacy/go/v3/dpagg"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Selection (分组选择) decides privately which groups leave. Source: Desfontaines, Voss, Gipson, Mandayam, Differentially private partition
// selection, 2022, with pre-thresholding.
type Selection struct {
	options dpagg.PreAggSelectPartitionOptions
}

// NewSelection takes the (ε, δ) of the whole selection, in how many groups a subject counts and the least people of a group.
func NewSelection(p sandbox.Privacy, cells, least int) (*Selection, error) {
	if err := checked(p, cells); err != nil {
		return nil, err
	}
	if least < 1 {
		return nil, invalid("least", "a group that leaves has at least one person")
	}
	s := &Selection{dpagg.PreAggSelectPartitionOptions{PreThreshold: int64(least), MaxPartitionsContributed: int64(cells)}}
	s.options.Epsilon, s.options.Delta = amount(p)
	return s, nil
}

// Keep says whether a group of so many people leaves. It draws from the library's own secure randomness.
func (s *Selection) Keep(people int) (bool, error) {
	group, err := dpagg.NewPreAggSelectPartition(&s.options)
	if err == nil {
		err = group.IncrementBy(int64(people))
	}
	keep := false
	if err == nil {
		keep, err = group.ShouldKeepPartition()
	}
	if err != nil {
		return false, &sandbox.Error{Op: "noise", Kind: sandbox.Invalid, Object: "selection", Detail: "the library refuses its parameters"}
	}
	return keep, nil
}

// Bound says, per cell and contributor, who counts there: each subject in at most so many cells, those whose keyed hash with it is least.
// Which ones depends on the subject and its own cells alone, so others' coming and going moves nobody.
func Bound(key []byte, population []sandbox.Pseudonym, cells []sandbox.Cell, most int) [][]bool {
	type at struct{ cell, place int }
	of := make([][]at, len(population))
	kept := make([][]bool, len(cells))
	for c := range cells {
		kept[c] = make([]bool, len(cells[c].Contributors))
		for i, s := range cells[c].Contributors {
			of[s] = append(of[s], at{c, i})
		}
	}
	names := make([][]byte, len(cells))
	for s, places := range of {
		if len(places) > most {
			tag := make(map[int][sm.Size]byte, len(places))
			for _, p := range places {
				if names[p.cell] == nil {
					var parts [][]byte
					for _, l := range cells[p.cell].Labels {
						parts = append(parts, []byte(l))
					}
					names[p.cell] = sm.Frame(parts...)
				}
				tag[p.cell] = sm.HMAC(key, population[s][:], names[p.cell])
			}
			slices.SortFunc(places, func(a, b at) int {
				x, y := tag[a.cell], tag[b.cell]
				return bytes.Compare(x[:], y[:])
			})
			places = places[:most]
		}
		for _, p := range places {
			kept[p.cell][p.place] = true
		}
	}
	return kept
}

// People counts who counts in a cell.
func People(kept []bool) (n int) {
	for _, k := range kept {
		if k {
			n++
		}
	}
	return n
}

// Total adds up what those who count add, each clipped to ±bound.
func Total(adds []int64, kept []bool, bound int64) int64 {
	hi, lo := int64(0), uint64(0)
	for i, x := range adds {
		if !kept[i] {
			continue
		}
		x = clamp(x, bound)
		var carry uint64
		lo, carry = bits.Add64(lo, uint64(x), 0)
		hi += x>>63 + int64(carry)
	}
	switch {
	case hi == int64(lo)>>63:
		return int64(lo)
	case hi < 0:
		return -math.MaxInt64
	}
	return math.MaxInt64
}

// Totals is Total over the labels of one histogram: each subject's rows under all of them together are at most bound, the first labels'
// first. So by l2, too, it moves a cell by bound at most.
func Totals(parts [][]int64, kept []bool, bound int64) []int64 {
	out := make([]int64, len(parts))
	for i, k := range kept {
		left := bound
		for l := 0; k && l < len(parts); l++ {
			x := min(max(parts[l][i], 0), left)
			out[l] += x
			left -= x
		}
	}
	return out
}
