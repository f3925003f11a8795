package catalog

import (
	"fmt"
	"strconv"
	"time"
)

// validate checks one bin against the column it groups.
func (b *Bin) validate(at string, c *Column) error {
	for i := 1; i < len(b.Edges); i++ {
		if b.Edges[i] <= b.Edges[i-1] {
			return bad(at, "edges ascend")
		}
	}
	switch b.Kind {
	case Age:
		if c.Type != Date || len(b.Edges) == 0 {
			return bad(at, "an age bin has edges and groups a date column")
		}
		if _, err := time.Parse(time.DateOnly, b.At); err != nil {
			return bad(at, "an age bin has a reference date, 2006-01-02")
		}
	case Amount:
		if c.Type != Int && c.Type != Money && c.Type != Number || len(b.Edges) == 0 {
			return bad(at, "an amount bin has edges and groups a numeric column")
		}
	case Year:
		if c.Type != Date {
			return bad(at, "a year bin groups a date column")
		}
	case Prefix, Codes:
		if c.Type != Text || len(b.Groups) == 0 {
			return bad(at, "a code bin has groups and groups a text column")
		}
		n, seen := 0, map[string]bool{}
		for _, g := range b.Groups {
			if g.Label == "" || g.Label == Other || g.Label == Missing {
				return bad(at, "labels are not empty, \"other\" or \"missing\"")
			}
			for _, code := range g.Codes {
				if code == "" || seen[code] {
					return bad(at, "codes are not empty and stand in one group")
				}
				seen[code] = true
				n++
			}
		}
		if n > MaxCodes {
			return bad(at, fmt.Sprintf("at most %d codes", MaxCodes))
		}
	default:
		return bad(at, "kind is one of age, amount, year, prefix, codes")
	}
	return nil
}

// Labels lists the labels an edge bin can give, lowest first; nil for other kinds.
func (b *Bin) Labels() []string {
	if b.Kind != Age && b.Kind != Amount {
		return nil
	}
	f := func(n int64) string { return strconv.FormatInt(n, 10) }
	out := []string{"<" + f(b.Edges[0])}
	for i := 1; i < len(b.Edges); i++ {
		out = append(out, f(b.Edges[i-1])+"-"+f(b.Edges[i]))
	}
	return append(out, "≥"+f(b.Edges[len(b.Edges)-1]))
}
