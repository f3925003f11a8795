package unit

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// MinDiffer is in how many people a unit's part of a list, at least, differs from that of every earlier one, unless it is the same.
const MinDiffer = 20

// Lists (名册台账) remembers, for one unit, the people of earlier joined sums: those of a list whom the unit has rows of, as sketches under a key of its
// own. Two lists that differ in a few people have answers that differ by what those few have: no second one is answered. Exactly an earlier
// one passes: the next epoch of a question, and another question over the same people.
type Lists struct {
	of *psi.Ledger
}

// OpenLists takes the ledger in a folder that the caller has locked; its key is beside it, made where there is none. Errors as psi.OpenLedger.
func OpenLists(rand io.Reader, dir string) (*Lists, error) {
	fault := func(err error) error {
		return &sandbox.Error{Op: "he: lists", Kind: sandbox.Unavailable, Object: "folder", Err: err}
	}
	path := filepath.Join(dir, "lists.key")
	key, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Stat(filepath.Join(dir, "lists")); err == nil {
			return nil, &sandbox.Error{Op: "he: lists", Kind: sandbox.Tampered, Object: path, Detail: "the key that the earlier lists are kept under"}
		}
		key = make([]byte, sm.Size)
		if _, err = io.ReadFull(rand, key); err == nil {
			err = durable.Replace(path, key)
		}
	}
	if err != nil {
		return nil, fault(err)
	}
	if len(key) != sm.Size {
		return nil, &sandbox.Error{Op: "he: lists", Kind: sandbox.Tampered, Object: path, Detail: "a key of 32 bytes"}
	}
	// Nothing but similarity is limited here: how often a question is asked is the domain's to bound.
	of, err := psi.OpenLedger(nil, filepath.Join(dir, "lists"), key, psi.Limits{Set: he.MaxSubjects, Jobs: 1 << 30, Elements: 1 << 60, Similarity: 1, Differ: MinDiffer, Same: true})
	if err != nil {
		return nil, err
	}
	return &Lists{of}, nil
}

// admit decides on the people of a list whom the unit has, and writes them down.
func (l *Lists) admit(partner sandbox.PartyID, c *Cohort, has []bool, at spec.List, now time.Time) error {
	mac, err := sm.NewMAC(c.Key())
	if err != nil {
		return err
	}
	set, name := psi.Set{Offsets: []int32{0}}, make([]byte, len(sandbox.Pseudonym{}))
	for _, id := range c.ids {
		if mac.Rows(name, len(name), []int32{0, int32(len(id))}, []byte(id)); has[at[sandbox.Pseudonym(name)]] {
			set.Data = append(set.Data, id...)
			set.Offsets = append(set.Offsets, int32(len(set.Data)))
		}
	}
	s, err := l.of.Sketch(set)
	if err != nil {
		return err
	}
	d, err := l.of.Admit(partner, psi.OfSet, s, now)
	if err == nil && !d.Allow {
		err = &sandbox.Error{Op: "he: lists", Kind: sandbox.Denied, Object: "list", Detail: fmt.Sprintf("whom the unit has of it are those of an earlier list, or %d of either differ", MinDiffer),
			Hint: "ask over the earlier list, or over one that differs in more people; after the table changed, over the version that was used"}
	}
	return err
}

// Partial adds up the side of a joined question that the unit holds: its rows, whose pseudonyms are under the list's key, in the list's order. It closes the
// reader. Errors as spec.Joined.Partial's; Denied where the people are nearly those of an earlier list: partner is the other holder.
func (c *Cohort) Partial(ctx context.Context, j *spec.Joined, side int, r batch.Reader, l *Lists, partner sandbox.PartyID, now time.Time) (*he.Partial, error) {
	list, err := c.List()
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	x := &present{Reader: r, list: list, has: make([]bool, len(list))}
	p, err := j.Partial(ctx, side, list, x)
	if err != nil {
		return nil, err
	}
	return p, l.admit(partner, c, x.has, list, now)
}

// present notes, of the rows that go by, who of a list they are about: also of those that the question's filters leave out.
type present struct {
	batch.Reader
	list spec.List
	has  []bool
}

func (x *present) Next(ctx context.Context) (arrow.Record, error) {
	rec, err := x.Reader.Next(ctx)
	if err != nil {
		return nil, err
	}
	at := rec.Schema().FieldIndices(spec.SubjectColumn)
	if len(at) != 1 {
		return rec, nil // the rows' reader refuses it
	}
	if who, ok := rec.Column(at[0]).(*array.FixedSizeBinary); ok && len(sandbox.Pseudonym{}) == who.DataType().(*arrow.FixedSizeBinaryType).ByteWidth {
		for i := range who.Len() {
			if place, ok := x.list[sandbox.Pseudonym(who.Value(i))]; ok {
				x.has[place] = true
			}
		}
	}
	return rec, nil
}

// Names says whether the list is the one that a plan's terms name.
func (c *Cohort) Names(a *spec.Agreed) bool {
	own, err := c.Agreed()
	return err == nil && a != nil && own.People == a.People && bytes.Equal(own.Digest, a.Digest)
}
