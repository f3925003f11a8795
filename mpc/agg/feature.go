package agg

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// featureKind says what a feature is of a row.
type featureKind int

const (
	valueOf featureKind = iota // a column's value, 0 where it is missing
	thereOf                    // 1 where it is there
	mapped                     // what the label of a bin, or of a public column, is worth
	keyOf                      // the number of a join key, deadKey where it can match nothing
	passes                     // 1 where the filters on the input let the row pass
)

// deadKey is no number of a key: those are of 44 bits.
const deadKey = 1 << SubjectBits

// feature is an integer that a row of one input has, whichever other rows it is joined with.
type feature struct {
	input   int
	kind    featureKind
	name    string
	column  *catalog.Column
	bin     *catalog.Bin
	use     string // what a mapped one is for, which says what labels are worth
	of      map[string]int64
	rest    int64 // of a label that is not in of
	open    bool  // such labels are no error
	missing int64 // where the row itself is not there
	shift   int   // places a value is rounded to
	bits    int   // magnitudes are below 2^bits
	subject bool  // of a key: the protected subject is in it
	columns []string
}

// mark tells features apart.
func (f *feature) mark() string {
	bin := ""
	if f.bin != nil {
		bin = string(f.bin.ID)
	}
	return fmt.Sprintf("%d %d %q %q %q %d %v %q", f.input, f.kind, f.name, bin, f.use, f.shift, f.subject, f.columns)
}

// worth gives what a label is worth.
func (f *feature) worth(label string) int64 {
	if v, ok := f.of[label]; ok {
		return v
	}
	return f.rest
}

// filterFeature is a filter as a feature: 1 where the row passes.
func filterFeature(input int, name string, c *catalog.Column, b *catalog.Bin, f query.Filter) feature {
	x := feature{input: input, kind: mapped, name: name, column: c, bin: b, of: map[string]int64{}, rest: 0, open: true}
	if f.Not {
		x.rest = 1
	}
	for _, l := range f.In {
		x.of[l] = 1 - x.rest
	}
	x.missing = x.worth(catalog.Missing)
	return x
}

// labelOf gives the label of a value that is there.
func labelOf(c *catalog.Column, b *catalog.Bin, word int64, text string) string {
	switch {
	case b == nil && c.Type == catalog.Text:
		return text
	case b == nil:
		return query.Label(c, word)
	case b.Kind == catalog.Amount:
		n := 0
		for n < len(b.Edges) && word >= b.Edges[n] {
			n++
		}
		return b.Labels()[n]
	case b.Kind == catalog.Age:
		n := 0
		for _, last := range birthdays(b) {
			if word <= last {
				n++
			}
		}
		return b.Labels()[n]
	case b.Kind == catalog.Year:
		if y := time.Unix(word*secondsPerDay, 0).UTC().Year(); y >= 1 && y <= 9999 {
			return strconv.Itoa(y)
		}
		return catalog.Other
	case b.Kind == catalog.Prefix:
		found, label := 0, catalog.Other
		for _, g := range b.Groups {
			for _, code := range g.Codes {
				if len(code) > found && strings.HasPrefix(text, code) {
					found, label = len(code), g.Label
				}
			}
		}
		return label
	}
	for _, g := range b.Groups {
		if slices.Contains(g.Codes, text) {
			return g.Label
		}
	}
	return catalog.Other
}

const secondsPerDay = 24 * 60 * 60

// birthdays gives, for each edge of an age bin in years, the last day of birth that reaches it at the bin's date. Who is born on 29 February
// reaches a year on 1 March of common years.
func birthdays(b *catalog.Bin) []int64 {
	at, err := time.Parse(time.DateOnly, b.At)
	if err != nil {
		at = time.Time{} // a registered bin has been validated
	}
	var out []int64
	for _, e := range b.Edges {
		const far = 10_000_000 // years; a date covers less
		switch {
		case e > far:
			out = append(out, math.MinInt64)
		case e < -far:
			out = append(out, math.MaxInt64)
		default:
			day := time.Date(at.Year()-int(e), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
			last := day.Unix() / secondsPerDay
			if day.Day() != at.Day() {
				last--
			}
			out = append(out, last)
		}
	}
	return out
}

// number hashes what is to be told apart into 44 bits: among 2^14 keys two meet with probability 2^-17. All ones stand for the end of a cell.
func number(b []byte) int64 {
	d := sm.Sum([]byte("opdomain/mpc/agg/key/v1"), b)
	return int64(binary.BigEndian.Uint64(d[:]) >> (64 - SubjectBits) % lastSubject)
}

const lastSubject = 1<<SubjectBits - 1

// subjectNumber is the number of a pseudonym that all owners share.
func subjectNumber(p sandbox.Pseudonym) int64 { return number(p[:]) }

// textWord is a pushed text: 60 bits of its hash, which is never opened.
func textWord(s string) int64 {
	d := sm.Sum([]byte("opdomain/mpc/agg/text/v1"), []byte(s))
	return int64(binary.BigEndian.Uint64(d[:]) >> 4)
}

// rounded gives v / 2^shift to the nearest whole number.
func rounded(v int64, shift int) int64 {
	if shift == 0 {
		return v
	}
	half := int64(1) << (shift - 1)
	if v >= 0 {
		return int64((uint64(v) + uint64(half)) >> shift)
	}
	return -int64((-uint64(v) + uint64(half)) >> shift)
}
