package agg

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"time"

	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// maxComparisons bounds what one feature of a pushed column costs for each row.
const maxComparisons = 256

// Pushed (推送份额) is one party's shares of the pushed input, column by column, as Encode gives them and share.Split splits them.
type Pushed []share.Vec

// Pushes says whether rows of the line are pushed: of which dataset, as the setting holds them, and in how many columns.
func (l *Line) Pushes() (set catalog.Dataset, held Held, columns int, ok bool) {
	in := l.d.Inputs[0]
	held = l.parts(0)[0]
	return in.Described, held, 2 + len(pushedColumns(in)), held.Pushed
}

// Encode (推送编码) gives the columns of a unit's rows as it splits them for three zones: number of the subject, 1 for a row that is there,
// then each column that the question needs with, where it may be missing, whether it is there. Texts are numbers of 60 bits that no party
// can turn back while they are shares. Padded to size. TooLarge where a magnitude is not below the bits that the setting, or the column's declared range, states.
func (l *Line) Encode(rows *Rows, size int) ([][]uint64, error) {
	in := l.d.Inputs[0]
	if rows.n > size {
		return nil, tooLarge(string(in.Dataset), "a table fits its registered size")
	}
	names := pushedColumns(in)
	out := make([][]uint64, 2+len(names))
	for c := range out {
		out[c] = make([]uint64, size)
	}
	for row := range rows.n {
		out[0][row], out[1][row] = uint64(subjectNumber(rows.subjects[row])), 1
	}
	at := 2
	for _, name := range in.Needed {
		c := rows.columns[name]
		col, _ := in.Described.Column(name)
		for row := range rows.n {
			switch {
			case !c.there[row]:
			case c.texts != nil:
				out[at][row] = uint64(textWord(c.texts[row]))
			default:
				v := c.words[row]
				if b := l.width(0, col); b > 0 && (v >= 1<<b || v <= -1<<b) {
					return nil, tooLarge(string(in.Dataset)+"."+name, fmt.Sprintf("magnitudes stay below 2^%d, as was stated", b))
				}
				out[at][row] = uint64(v)
			}
		}
		if at++; col.Nullable {
			for row := range rows.n {
				if c.there[row] {
					out[at][row] = 1
				}
			}
			at++
		}
	}
	return out, nil
}

// step is one comparison of a pushed column and what it adds where it holds.
type step struct {
	word int64 // compared with
	less bool  // value >= word, else value == word
	adds int64
}

// steps turns what labels are worth into comparisons of the value: a base, and what each comparison adds.
func (f *feature) steps() (base int64, out []step) {
	switch {
	case f.column.Type == catalog.Text:
		words := map[string]string{} // code → label
		base = f.rest
		if f.bin != nil {
			base = f.worth(catalog.Other)
			for _, g := range f.bin.Groups {
				for _, code := range g.Codes {
					words[code] = g.Label
				}
			}
		} else {
			for l := range f.of {
				words[l] = l
			}
		}
		for code, label := range words {
			if adds := f.worth(label) - base; adds != 0 {
				out = append(out, step{word: textWord(code), adds: adds})
			}
		}
	case f.bin == nil:
		base = f.rest
		for l, v := range f.of {
			if w, ok := query.Value(f.column, l); ok && v != base {
				out = append(out, step{word: w, adds: v - base})
			}
		}
	default:
		edges := f.edges()
		base = f.worth(labelOf(f.column, f.bin, edges[0]-1, ""))
		was := base
		for _, e := range edges {
			if v := f.worth(labelOf(f.column, f.bin, e, "")); v != was {
				out = append(out, step{word: e, less: true, adds: v - was})
				was = v
			}
		}
	}
	slices.SortFunc(out, func(a, b step) int { // maps have no order, and all parties compute the same
		switch {
		case a.word < b.word:
			return -1
		case a.word > b.word:
			return 1
		}
		return 0
	})
	return base, out
}

// edges lists the least values of the labels of a bin over numbers or days, rising.
func (f *feature) edges() []int64 {
	var out []int64
	switch f.bin.Kind {
	case catalog.Amount:
		for _, e := range f.bin.Edges {
			if e > math.MinInt64 {
				out = append(out, e)
			}
		}
	case catalog.Age:
		for _, last := range birthdays(f.bin) {
			out = append(out, max(min(last, math.MaxInt32), math.MinInt32-1)+1)
		}
	case catalog.Year:
		begin := func(y int) int64 { return time.Date(y, 1, 1, 0, 0, 0, 0, time.UTC).Unix() / secondsPerDay }
		out = append(out, begin(1), begin(10000))
		for l := range f.of {
			if y, err := strconv.Atoi(l); err == nil && y >= 1 && y <= 9999 {
				out = append(out, begin(y), begin(y+1))
			}
		}
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// comparisons says how many a feature costs over pushed rows.
func (f *feature) comparisons() int {
	_, s := f.steps()
	return len(s)
}

// evaluate gives a mapped feature of a pushed column: exact for every value, Missing included.
func (x *running) evaluate(f *feature, value share.Vec, there *share.Vec) share.Vec {
	e, n := x.e, value.Len()
	base, steps := f.steps()
	out := x.constant(n, base)
	if len(steps) > 0 {
		word := e.Bits(value)
		var with, other []share.Words
		var same, than []int
		for k, s := range steps {
			if s.less {
				than = append(than, k)
				with, other = append(with, word), append(other, e.XorPublic(e.ZeroWords(n), uint64(s.word)))
			} else {
				same = append(same, k)
			}
		}
		add := func(k, i int, v share.Vec) {
			out = e.Add(out, e.Scale(v.Slice(i*n, (i+1)*n), uint64(steps[k].adds)))
		}
		if len(than) > 0 {
			below := e.Vec(e.LT(share.JoinWords(with...), share.JoinWords(other...)))
			for i, k := range than {
				out = e.Shift(out, uint64(steps[k].adds))
				out = e.Sub(out, e.Scale(below.Slice(i*n, (i+1)*n), uint64(steps[k].adds)))
			}
		}
		if len(same) > 0 {
			var at []share.Words
			for _, k := range same {
				at = append(at, e.XorPublic(word, uint64(steps[k].word)))
			}
			hit := e.Vec(e.EQ(share.JoinWords(at...), e.ZeroWords(n*len(same))))
			for i, k := range same {
				add(k, i, hit)
			}
		}
	}
	if there != nil { // what is missing is worth what Missing is
		miss := f.worth(catalog.Missing)
		out = e.Shift(e.Mul(*there, e.Shift(out, uint64(-miss))), uint64(miss))
	}
	return out
}

// adopt takes the pushed input's shares, compares their copies, and gives live, subject and the features of the scanned input.
func (x *running) adopt(p Pushed) ([]share.Vec, error) {
	l, e := x.l, x.e
	in, size := l.d.Inputs[0], l.parts(0)[0].Rows
	names := pushedColumns(in)
	if len(p) != 2+len(names) || slices.ContainsFunc(p, func(v share.Vec) bool { return v.Len() != size }) {
		return nil, &sandbox.Error{Op: "mpc: table", Kind: sandbox.Invalid, Object: string(in.Dataset), Detail: "a pushed input has subject, presence and the needed columns, at the registered size"}
	}
	cols := make([]share.Vec, len(p))
	for i, v := range p {
		cols[i] = e.Adopt(v)
	}
	column := func(name string) (share.Vec, *share.Vec) {
		v := cols[2+slices.Index(names, name)]
		if at := slices.Index(names, name+" there"); at >= 0 {
			return v, &cols[2+at]
		}
		return v, nil
	}
	live := cols[1]
	for _, f := range l.d.Spec.Filters {
		if i, name := l.split(f.Column); i == 0 {
			c, _ := in.Described.Column(name)
			b, _ := in.Described.Bin(f.Bin)
			filter := filterFeature(0, name, c, b, f)
			v, there := column(name)
			live = e.Mul(live, x.evaluate(&filter, v, there))
		}
	}
	out := []share.Vec{live, cols[0]}
	for k := range l.features {
		f := &l.features[k]
		if f.input != 0 {
			continue
		}
		switch f.kind {
		case keyOf: // by the subject alone, as Compile holds it to
			out = append(out, cols[0])
		case valueOf:
			v, _ := column(f.name)
			out = append(out, v)
		case thereOf:
			_, there := column(f.name)
			out = append(out, *there)
		default:
			v, there := column(f.name)
			out = append(out, x.evaluate(f, v, there))
		}
	}
	return out, nil
}
