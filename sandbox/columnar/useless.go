package columnar

import (
	"bytes"
	"slices"
	"strconv"
	"time"

	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// useless says that a filter refuses every row of a batch of the scanned input whose column has such values. A refused row adds to no
// cell, subject or error, so a batch of them changes nothing that leaves this package. Looked-up inputs are read whole: a left join tells
// a refused row from none.
func (s *scanner) useless(name string, e batch.Extent) bool {
	return slices.ContainsFunc(s.filters, func(f *filter) bool {
		return f.col < len(s.r.d.Inputs[0].Needed) && s.r.d.Inputs[0].Needed[f.col] == name && f.refuses(e)
	})
}

// refuses says whether no value within e passes; false also where that is not known.
func (f *filter) refuses(e batch.Extent) bool {
	if e.Nulls != 0 && f.in[catalog.Missing] != f.not {
		return false
	}
	if e.Rows <= 0 || e.Nulls < 0 || e.Nulls > e.Rows {
		return false
	}
	if e.Nulls == e.Rows {
		return true
	}
	switch f.coder.kind {
	case byPrefix, byExact:
		return f.refusesTexts(e)
	case byEdges, byAge, byYear, byWord:
		return e.Least != nil && e.Most != nil && *e.Least <= *e.Most && f.refusesNumbers(*e.Least, *e.Most)
	}
	return false
}

func (f *filter) refusesNumbers(least, most int64) bool {
	k := f.coder
	switch k.kind {
	case byEdges, byAge:
		from, to := k.reachedBy(least), k.reachedBy(most)
		for n := min(from, to); n <= max(from, to); n++ {
			if f.allows(k.codes[n]) != 0 {
				return false
			}
		}
		return true
	case byYear:
		from, to := yearOf(least), yearOf(most)
		if to-from > 10_000 { // of no calendar
			return false
		}
		for y := from; y <= to; y++ {
			if f.in[yearName(y)] != f.not {
				return false
			}
		}
		return true
	}
	if !k.closed {
		return false
	}
	if uint64(most)-uint64(least) < 64 {
		for d := range most - least + 1 {
			if f.allows(k.word(least+d)) != 0 {
				return false
			}
		}
		return true
	}
	if f.allows(k.other) != 0 {
		return false
	}
	for l := range f.in {
		if v, ok := query.Value(k.desc, l); ok && least <= v && v <= most && f.allows(k.word(v)) != 0 {
			return false
		}
	}
	return true
}

// reachedBy gives which of the bin's edges a value has reached, as encode does.
func (k *coder) reachedBy(v int64) int {
	if k.kind == byAge {
		return k.reached(v)
	}
	n := 0
	for _, e := range k.edges {
		if v >= e {
			n++
		}
	}
	return n
}

func yearOf(day int64) int { return time.Unix(day*secondsPerDay, 0).UTC().Year() }

func yearName(y int) string {
	if y < 1 || y > 9999 {
		return catalog.Other
	}
	return strconv.Itoa(y)
}

func (f *filter) refusesTexts(e batch.Extent) bool {
	k := f.coder
	if e.Texts != nil {
		return !slices.ContainsFunc(e.Texts, func(t []byte) bool { return f.allows(k.grouped(t)) != 0 })
	}
	if len(e.High) == 0 || f.allows(k.other) != 0 {
		return false
	}
	for entry, code := range k.group {
		if f.allows(code) == 0 {
			continue
		}
		t := []byte(entry)
		start := t
		if len(e.High) >= batch.ExtentBytes { // cut: what is equal so far may lie on either side
			start = t[:min(len(t), len(e.High))]
		}
		low := e.Low
		if k.kind == byPrefix {
			low = low[:min(len(low), len(t))]
		}
		if bytes.Compare(start, e.High) <= 0 && bytes.Compare(low, t) <= 0 {
			return false
		}
	}
	return true
}
