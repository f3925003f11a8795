package spec

import (
	"bytes"
	"context"
	"encoding/binary"
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/columnar"
)

// SubjectColumn is the name of the pseudonyms in what readers of rows give.
const SubjectColumn = columnar.SubjectColumn

// List (对齐名册) is the agreed list of people: who stands at which place. Both units have the same one: the plan has its digest, and a side is filled
// by no other list.
type List map[sandbox.Pseudonym]int

// Digest (名册摘要) is SM3 over the places in order, each with who stands there. Invalid where two stand at one place.
func (l List) Digest() ([]byte, error) {
	type placed struct {
		at  int
		who sandbox.Pseudonym
	}
	all := make([]placed, 0, len(l))
	for who, at := range l {
		all = append(all, placed{at, who})
	}
	slices.SortFunc(all, func(a, b placed) int { return a.at - b.at })
	b := []byte("opdomain he list 1")
	for i, x := range all {
		if i > 0 && all[i-1].at == x.at {
			return nil, fail(sandbox.Invalid, "list", "has one person at a place")
		}
		b = append(binary.BigEndian.AppendUint32(b, uint32(x.at)), x.who[:]...)
	}
	d := sm.Sum(b)
	return d[:], nil
}

// Columns names what of the dataset the reader of a side's holder gives.
func (j *Joined) Columns(side int) (sandbox.DatasetID, []string) {
	in := j.Derivation.Inputs[side]
	return in.Dataset, append(append([]string{}, in.Needed...), columnar.SubjectColumn)
}

// Partial adds a side's rows up and closes the reader. Rows of people who are not on the list join with nobody and count nowhere. Errors as
// Question.Partial's; Conflict for another list than the plan's; TooLarge also for more rows of a person, or wider values, than were declared.
func (j *Joined) Partial(ctx context.Context, side int, list List, r batch.Reader) (*he.Partial, error) {
	p, err := he.NewSide(&j.Layout, side)
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	digest, err := list.Digest()
	if err == nil && !bytes.Equal(digest, j.Layout.Products.List) {
		err = fail(sandbox.Conflict, "list", "is the one that the plan names")
	}
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	for _, at := range list {
		if at < 0 || at >= j.Layout.Products.Subjects {
			_ = r.Close()
			return nil, fail(sandbox.Invalid, "list", "has the length that was agreed")
		}
	}
	factors := j.factors[side]
	seen := make([][]bool, len(factors)) // of people
	for i, f := range factors {
		if f.people {
			seen[i] = make([]bool, j.Layout.Products.Subjects)
		}
	}
	err = j.sides[side].rows(ctx, r, func(cell int, who sandbox.Pseudonym, values []int64, missing uint64) error {
		at, ok := list[who]
		if !ok {
			return nil
		}
		for i, f := range factors {
			if f.label != cell || !f.counts(values, missing) || f.people && seen[i][at] {
				continue
			}
			x := [2]int64{1, 1}
			for k := range len(f.powers) {
				x[k] = values[f.powers[k]]
			}
			if f.people {
				seen[i][at] = true
			}
			if err := p.AddTo(i, at, x[0], x[1]); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	return p, nil
}

// Bystander is the partial of a unit that holds neither side: it masks what opens, and may be an opener.
func (j *Joined) Bystander() (*he.Partial, error) { return he.NewPartial(&j.Layout) }

// counts says whether a row has what the factor wants of it.
func (f factor) counts(values []int64, missing uint64) bool {
	for k := range len(f.given) {
		if missing>>f.given[k]&1 == 1 {
			return false
		}
	}
	return f.hist < 0 || missing>>f.hist&1 == 0 && values[f.hist] == int64(f.bin)
}
