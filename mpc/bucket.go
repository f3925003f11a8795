package mpc

import "github.com/opdomain/opdomain/sandbox"

// Buckets are the registered table sizes (登记规模): a table is padded to the smallest that holds it, so that its own size does not show.
var Buckets = []int{1 << 10, 1 << 12, 1 << 14, 1 << 16, 1 << 18, 1 << 20, 1 << 22, 1 << 24}

// Bucket gives the size a table of so many rows is padded to; TooLarge where none holds it.
func Bucket(rows int) (int, error) {
	for _, b := range Buckets {
		if rows >= 0 && rows <= b {
			return b, nil
		}
	}
	return 0, &sandbox.Error{Op: "mpc: pad", Kind: sandbox.TooLarge, Object: "table", Detail: "0 to 2^24 rows", Hint: "aggregate before sharing"}
}

// Pad gives a column at its registered size, and a column that is 1 where a row is there and 0 where it is padding. present says which
// rows have a value, nil means all: a missing value is shared as 0 and marked like padding.
func Pad(values []uint64, present []bool, rows int) (padded, there []uint64, err error) {
	if len(values) > rows || present != nil && len(present) != len(values) {
		return nil, nil, &sandbox.Error{Op: "mpc: pad", Kind: sandbox.TooLarge, Object: "table", Detail: "a table fits its registered size"}
	}
	padded, there = make([]uint64, rows), make([]uint64, rows)
	for i, v := range values {
		if present == nil || present[i] {
			padded[i], there[i] = v, 1
		}
	}
	return padded, there, nil
}
