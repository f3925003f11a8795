package unit

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
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

// MinDiffer is in how many people a list, or a unit's part of it, may differ from an earlier one, on either side, and is still too near to it
// (psi.Limits.Differ). Replacing people differs on both sides: of 100 some 40 such differences are too few. Of more than 1,024 people those of whom 95 in 100
// are the same are too near.
const MinDiffer = 20

// Lists (名册台账) remembers, for one unit, the people of the lists that it was asked over; of earlier joined sums those whom it has rows of, how many rows
// each has, and what they have in each column that was used; as sketches under a key of its own. Two lists that differ in a few people, or a list before and
// after the rows of a few changed, have answers that differ by what those few have: no second one is answered. Exactly an earlier one passes: the next
// epoch of a question, and another question over the same people.
//
// The whole list is judged first, without a look at a row: that refusal follows from lists alone. The others follow from who has rows here, and have
// the object "rows", which the unit's own log tells from other faults in its rows and nobody else's does.
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

// judged is a set that the ledger decides on.
type judged struct {
	of   psi.Subject
	what string
	set  psi.Set
}

func newJudged(of psi.Subject, what string) judged {
	return judged{of, what, psi.Set{Offsets: []int32{0}}}
}

func (j *judged) add(parts ...[]byte) {
	for _, p := range parts {
		j.set.Data = append(j.set.Data, p...)
	}
	j.set.Offsets = append(j.set.Offsets, int32(len(j.set.Data)))
}

// listed decides on all who stand on a list, whoever of them the unit has, and writes them down: also where the rows are refused afterwards, so that what is
// said of the next list does not follow from rows.
func (l *Lists) listed(partner sandbox.PartyID, c *Cohort, now time.Time) error {
	all := newJudged(psi.OfSet, "who stands on it are")
	for _, id := range c.ids {
		all.add([]byte{0}, []byte(id)) // no identifier begins so: compared with no unit's part
	}
	return l.decide("list", partner, []judged{all}, now)
}

// admit decides on the people of a list whom the unit has, and on what they have, and writes both down. Nobody is near to nothing: where it has nobody
// there is nothing to tell of, and nothing is judged or written.
func (l *Lists) admit(partner sandbox.PartyID, c *Cohort, x *present, now time.Time) error {
	if !slices.Contains(x.has, true) {
		return nil
	}
	mac, err := sm.NewMAC(c.Key())
	if err != nil {
		return err
	}
	var all []judged
	for _, n := range x.names {
		what := "what those whom the unit has of it have in column " + n + " is"
		if n == rowCount {
			what = "how many rows those whom the unit has of it have is"
		}
		all = append(all, newJudged(psi.OfRows, what))
	}
	people := newJudged(psi.OfSet, "whom the unit has of it are")
	name := make([]byte, len(sandbox.Pseudonym{}))
	for _, id := range c.ids {
		mac.Rows(name, len(name), []int32{0, int32(len(id))}, []byte(id))
		at := x.list[sandbox.Pseudonym(name)]
		if !x.has[at] {
			continue
		}
		people.add([]byte(id))
		for i, n := range x.names {
			d := sm.Sum(sm.Frame([]byte(n), x.held[i][at][:]))
			all[i].add([]byte(id), []byte{0}, d[:])
		}
	}
	return l.decide("rows", partner, append(all, people), now) // people last, so that none are written down whose rows are not
}

// decide judges all sets before it writes one.
func (l *Lists) decide(object string, partner sandbox.PartyID, all []judged, now time.Time) error {
	refused := func(j judged, d sandbox.Decision, err error) error {
		if err != nil || d.Allow {
			return err
		}
		return &sandbox.Error{Op: "he: lists", Kind: sandbox.Denied, Object: object, Detail: fmt.Sprintf("%s nearly those of an earlier list: fewer than all, and %d or fewer or too few for its size, differ", j.what, MinDiffer),
			Hint: "ask over the earlier list and the table as it was then, or when more people differ"}
	}
	sketches := make([]*psi.Sketch, len(all))
	for i, j := range all { // nothing is written of what is refused
		s, err := l.of.Sketch(j.set)
		if err != nil {
			return err
		}
		sketches[i] = s
		if err := refused(j, l.of.Would(partner, j.of, s, now), nil); err != nil {
			return err
		}
	}
	for i, j := range all {
		d, err := l.of.Admit(partner, j.of, sketches[i], now)
		if err := refused(j, d, err); err != nil {
			return err
		}
	}
	return nil
}

// Partial adds up the side of a joined question that the unit holds: its rows, whose pseudonyms are under the list's key, in the list's order. It closes the
// reader. Errors as spec.Joined.Partial's; Denied with the object "list" where the list is nearly an earlier one, and with the object "rows" where those
// whom the unit has of it, or what they have, are: partner is the other holder.
func (c *Cohort) Partial(ctx context.Context, j *spec.Joined, side int, r batch.Reader, l *Lists, partner sandbox.PartyID, now time.Time) (*he.Partial, error) {
	list, err := c.List()
	var digest []byte
	if err == nil {
		digest, err = list.Digest()
	}
	if err == nil && bytes.Equal(digest, j.Layout.Products.List) { // another than the plan's is refused below
		err = l.listed(partner, c, now)
	}
	if err != nil {
		_ = r.Close()
		return nil, err
	}
	x := &present{Reader: r, list: list, has: make([]bool, len(list)), names: []string{rowCount}, held: [][]total{make([]total, len(list))}}
	p, err := j.Partial(ctx, side, list, x)
	if err == nil {
		err = l.admit(partner, c, x, now)
	}
	if err != nil {
		return nil, err
	}
	return p, nil
}

// rowCount is the column that every table has here, also one of which a question needs none: what it adds up is the number of rows.
const rowCount = ""

// present notes, of the rows that go by, who of a list they are about and what stands in them, also of those that the question's filters leave out: by
// column and person a sum of digests, whatever the order of rows.
type present struct {
	batch.Reader
	list  spec.List
	has   []bool
	names []string
	held  [][]total // by column, rowCount first, and place
}

// total is a sum of digests, word by word.
type total [sm.Size]byte

func (t *total) add(d [sm.Size]byte) {
	for i := 0; i < len(t); i += 8 {
		binary.BigEndian.PutUint64(t[i:], binary.BigEndian.Uint64(t[i:])+binary.BigEndian.Uint64(d[i:]))
	}
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
	who, ok := rec.Column(at[0]).(*array.FixedSizeBinary)
	if !ok || len(sandbox.Pseudonym{}) != who.DataType().(*arrow.FixedSizeBinaryType).ByteWidth {
		return rec, nil
	}
	for k := range int(rec.NumCols()) {
		if name := rec.ColumnName(k); k != at[0] && !slices.Contains(x.names, name) {
			x.names, x.held = append(x.names, name), append(x.held, make([]total, len(x.list)))
		}
	}
	one := sm.Sum()
	for i := range who.Len() {
		place, ok := x.list[sandbox.Pseudonym(who.Value(i))]
		if !ok {
			continue
		}
		x.has[place] = true
		x.held[0][place].add(one)
		for k := range int(rec.NumCols()) {
			if column := slices.Index(x.names, rec.ColumnName(k)); column >= 0 {
				value := []byte{0}
				if a := rec.Column(k); a.IsValid(i) {
					value = append([]byte{1}, a.ValueStr(i)...)
				}
				x.held[column][place].add(sm.Sum(value))
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
