package agg

import (
	"encoding/binary"
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Contribution (本方投入) is what an owner's rows come to by person: a digest of what a person's rows have in some columns, whatever their order. An
// owner compares it with those of its earlier jobs, since nobody else sees it: of two that differ by few people, two answers give an answer
// about these.
type Contribution map[sandbox.Pseudonym][sm.Size]byte

// Passing says for each of an owner's rows of input i whether it passes the question's filters on that input: one that does not is never shared.
func (l *Line) Passing(i int, r *Rows) []bool {
	rows := make([]*Rows, len(l.d.Inputs))
	rows[i] = r
	o := l.owner(rows)
	out := make([]bool, r.n)
	for row := range out {
		out[row] = o.pass(i, row)
	}
	return out
}

// Contributed adds up the rows of a table that pass, in the named columns; passing nil: all. The digests are for comparing two tables of one
// owner, and are never sent.
func (r *Rows) Contributed(passing []bool, columns []string) Contribution {
	of := map[sandbox.Pseudonym][][sm.Size]byte{}
	var b []byte
	for row := range r.n {
		if passing != nil && !passing[row] {
			continue
		}
		b = b[:0]
		for _, name := range columns {
			c := r.columns[name]
			switch {
			case !c.there[row]:
				b = append(b, 0)
			case c.texts != nil:
				b = binary.AppendUvarint(append(b, 1), uint64(len(c.texts[row])))
				b = append(b, c.texts[row]...)
			default:
				b = binary.BigEndian.AppendUint64(append(b, 2), uint64(c.words[row]))
			}
		}
		of[r.subjects[row]] = append(of[r.subjects[row]], sm.Sum(b))
	}
	out := make(Contribution, len(of))
	for who, all := range of {
		slices.SortFunc(all, func(a, b [sm.Size]byte) int { return slices.Compare(a[:], b[:]) })
		parts := make([][]byte, len(all))
		for i := range all {
			parts[i] = all[i][:]
		}
		out[who] = sm.Sum(sm.Frame(parts...))
	}
	return out
}

// Differ counts the people who are in one contribution only, or have something else in the other.
func (c Contribution) Differ(other Contribution) (n int) {
	for who, x := range c {
		if y, ok := other[who]; !ok || x != y {
			n++
		}
	}
	for who := range other {
		if _, ok := c[who]; !ok {
			n++
		}
	}
	return n
}
