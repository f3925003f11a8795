package psi

import (
	"container/heap"
	"encoding/binary"
	"slices"
)

// sketchSize is how many of the lowest hashes a sketch keeps: the similarity of larger sets has a standard error below 1/64.
const sketchSize = 1024

// Sketch (集合概要) is a set as the ledger keeps it: its size and the lowest keyed hashes of its elements (bottom-k; Cohen and Kaplan,
// 2007). Of sets of at most 1024 elements it has all.
type Sketch struct {
	size   int
	lowest []uint64
	sum    uint64 // of all hashes, modulo 2^64
}

// Sketch makes the sketch of a set, each distinct element once.
func (l *Ledger) Sketch(set Set) (*Sketch, error) {
	rows, err := set.distinct()
	if err != nil {
		return nil, err
	}
	return l.sketch(set, rows), nil
}

// Size gives the number of distinct elements.
func (s *Sketch) Size() int { return s.size }

// sketch is that of distinct rows.
func (l *Ledger) sketch(set Set, rows []uint32) *Sketch {
	var low highest
	var data []byte
	sum := uint64(0)
	offsets := make([]int32, 0, batchSize+1)
	hashes := make([]byte, 8*batchSize)
	for from := 0; from < len(rows); from += batchSize {
		to := min(from+batchSize, len(rows))
		offsets, data = append(offsets[:0], 0), data[:0]
		for _, r := range rows[from:to] {
			data = append(data, set.row(r)...)
			offsets = append(offsets, int32(len(data)))
		}
		l.mac.Rows(hashes, 8, offsets, data)
		for i := range to - from {
			h := binary.BigEndian.Uint64(hashes[8*i:])
			sum += h
			if len(low) < sketchSize {
				heap.Push(&low, h)
			} else if h < low[0] {
				low[0] = h
				heap.Fix(&low, 0)
			}
		}
	}
	slices.Sort(low)
	return &Sketch{len(rows), low, sum}
}

// Similarity gives the Jaccard index: of the lowest hashes of both together, the part that both have. Two empty sets are alike.
func (s *Sketch) Similarity(t *Sketch) float64 {
	if s.size == 0 || t.size == 0 {
		if s.size == t.size {
			return 1
		}
		return 0
	}
	limit := sketchSize
	if s.size <= sketchSize && t.size <= sketchSize {
		limit = 2 * sketchSize // both are whole
	}
	union, both := 0, 0
	for i, j := 0, 0; union < limit && (i < len(s.lowest) || j < len(t.lowest)); union++ {
		switch {
		case j == len(t.lowest) || i < len(s.lowest) && s.lowest[i] < t.lowest[j]:
			i++
		case i == len(s.lowest) || t.lowest[j] < s.lowest[i]:
			j++
		default:
			i, j, both = i+1, j+1, both+1
		}
	}
	return float64(both) / float64(union)
}

// highest is a heap with the highest number first.
type highest []uint64

func (h highest) Len() int           { return len(h) }
func (h highest) Less(i, j int) bool { return h[i] > h[j] }
func (h highest) Swap(i, j int)      { h[i], h[j] = h[j], h[i] }
func (h *highest) Push(x any)        { *h = append(*h, x.(uint64)) }
func (h *highest) Pop() any {
	x := (*h)[len(*h)-1]
	*h = (*h)[:len(*h)-1]
	return x
}
