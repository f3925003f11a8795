package agg

import (
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Own (自有输入) is what a party brings to a line: its rows of each input that it holds, by input.
type Own map[int]*Rows

// Columns names what a party reads of input i: the columns that the question needs.
func (l *Line) Columns(i int) []string { return l.d.Inputs[i].Needed }

// columns gives the columns that the owners of input i share, padded, in their order. Of rows below the share boundary, that is of input 0:
// cell, subject, terms, and per order of a quantile value and whether it is there. Else: of input 0 live, subject, features; of others
// found, key, features.
func (o *owner) columns(i, size int) ([][]uint64, error) {
	if o.l.below {
		return o.whole(size)
	}
	l := o.l
	var features []int
	for k, f := range l.features {
		if f.input == i {
			features = append(features, k)
		}
	}
	out := make([][]uint64, 2+len(features))
	for c := range out {
		out[c] = make([]uint64, size)
	}
	if o.rows[i].n > size {
		return nil, tooLarge(string(l.d.Inputs[i].Dataset), "a table fits its registered size")
	}
	key := -1
	if i > 0 {
		key = l.joins[i-1].rightKey
		for row := range out[1] {
			out[1][row] = deadKey
		}
	}
	seen := map[int64]bool{}
	at := 0
	for row := range o.rows[i].n {
		if i == 0 {
			if !o.pass(0, row) {
				continue
			}
			out[1][at] = uint64(subjectNumber(o.rows[0].subjects[row]))
		} else {
			k, err := o.of(key, row)
			if err != nil {
				return nil, err
			}
			if k == deadKey {
				continue // it matches nothing
			}
			if seen[k] {
				return nil, &sandbox.Error{Op: "mpc: table", Kind: sandbox.Invalid, Object: string(l.d.Inputs[i].Dataset), Detail: "each key that is looked up over shares has one row",
					Hint: "have one party hold all inputs, or push a table of one row a key"}
			}
			seen[k] = true
			out[1][at] = uint64(k)
		}
		out[0][at] = 1
		for c, k := range features {
			v, err := o.of(k, row)
			if err != nil {
				return nil, err
			}
			if i > 0 {
				v -= l.features[k].missing // what is added again where rows come together
			}
			out[2+c][at] = uint64(v)
		}
		at++
	}
	return out, nil
}

// orders lists the values whose quantiles are asked, each once.
func (l *Line) orders() (out []quantile) {
next:
	for _, q := range l.quantiles {
		for _, o := range out {
			if o.value == q.value {
				continue next
			}
		}
		out = append(out, q)
	}
	return out
}

// whole gives the columns of joined rows that one owner has, those of one person and cell added up where no quantile asks for the rows.
func (o *owner) whole(size int) ([][]uint64, error) {
	l := o.l
	orders := l.orders()
	width := 2 + len(l.terms) + 2*len(orders)
	out := make([][]uint64, width)
	for c := range out {
		out[c] = make([]uint64, size)
	}
	for row := range out[0] {
		out[0][row] = uint64(l.all())
	}
	type pair struct{ cell, subject int64 }
	places := map[pair]int{}
	n, joined := 0, 0
	err := o.joined(func(rows []int) error {
		if joined++; joined > size {
			return tooLarge(string(l.d.Inputs[0].Dataset), "joined rows fit the registered size")
		}
		cell, err := o.cell(rows)
		if err != nil {
			return err
		}
		p := pair{cell, subjectNumber(o.rows[0].subjects[rows[0]])}
		at, known := places[p]
		if !known || len(orders) > 0 {
			at = n
			n++
			places[p] = at
			out[0][at], out[1][at] = uint64(p.cell), uint64(p.subject)
		}
		for t := range l.terms {
			if l.terms[t].made {
				continue
			}
			v := int64(1)
			for _, k := range l.terms[t].factors {
				x, err := o.of(k, rows[l.features[k].input])
				if err != nil {
					return err
				}
				v *= x
			}
			out[2+t][at] += uint64(v)
		}
		for k, q := range orders {
			c := 2 + len(l.terms) + 2*k
			v, err := o.of(q.value, rows[l.features[q.value].input])
			if err != nil {
				return err
			}
			there := int64(1)
			if q.there >= 0 {
				if there, err = o.of(q.there, rows[l.features[q.there].input]); err != nil {
					return err
				}
			}
			out[c][at], out[c+1][at] = uint64(v), uint64(there)
		}
		return nil
	})
	return out, err
}

// cell gives the number of a joined row's cell.
func (o *owner) cell(rows []int) (int64, error) {
	cell := int64(0)
	worth := func(k int) (int64, error) { return o.of(k, rows[o.l.features[k].input]) }
	for _, d := range o.l.dims {
		code := int64(0)
		if d.score == nil {
			v, err := worth(d.of)
			if err != nil {
				return 0, err
			}
			code = v
		} else {
			sum := int64(0)
			for _, k := range d.parts {
				v, err := worth(k)
				if err != nil {
					return 0, err
				}
				sum += v
			}
			code = int64(d.score.Band(sum))
		}
		cell += code * int64(d.stride)
	}
	return cell, nil
}

// Fits says whether a party's own rows can be shared for the line: before a job is joined. Errors name column and rule.
func (l *Line) Fits(me int, own Own) error {
	_, err := l.share(me, own)
	return err
}

// share works out the columns that this party shares, by input.
func (l *Line) share(me int, own Own) (map[int][][]uint64, error) {
	rows := make([]*Rows, len(l.d.Inputs))
	holds := false
	for i, in := range l.d.Inputs {
		for _, h := range l.parts(i) {
			if h.Pushed || h.Party != me {
				continue
			}
			holds = true
			if rows[i] = own[i]; rows[i] == nil {
				return nil, &sandbox.Error{Op: "mpc: table", Kind: sandbox.NotFound, Object: string(in.Dataset), Detail: "a party brings the rows that the setting says it holds"}
			}
			if rows[i].n > h.Rows {
				return nil, tooLarge(string(in.Dataset), "a table fits its registered size")
			}
		}
	}
	out := map[int][][]uint64{}
	if !holds {
		return out, nil
	}
	o := l.owner(rows)
	for i := range l.d.Inputs {
		if l.below && i > 0 {
			break
		}
		for _, h := range l.parts(i) {
			if h.Pushed || h.Party != me {
				continue
			}
			cols, err := o.columns(i, h.Rows)
			if err != nil {
				return nil, err
			}
			out[i] = cols
		}
	}
	return out, nil
}

// widthOf says how many columns the owners of input i share.
func (l *Line) widthOf(i int) int {
	if l.below {
		return 2 + len(l.terms) + 2*len(l.orders())
	}
	n := 2
	for _, f := range l.features {
		if f.input == i {
			n++
		}
	}
	return n
}

// needs names the columns that a pushed input has, with those of whether they are there: the unit pushes them in this order behind subject
// and present.
func pushedColumns(in query.DerivedInput) (out []string) {
	for _, name := range in.Needed {
		out = append(out, name)
		if c, ok := in.Described.Column(name); ok && c.Nullable {
			out = append(out, name+" there")
		}
	}
	return out
}
