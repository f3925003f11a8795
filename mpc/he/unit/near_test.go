package unit

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

func people(prefix string, from, to int) (out []string) {
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("%s%04d", prefix, i))
	}
	return out
}

// holding is a unit that keeps one side of a joined question and its memory of lists.
type holding struct {
	*seats
	dir  string
	side int
	two  bool              // the question uses two columns of the first side
	has  []string          // whose rows it has, one for each time
	fee  func(i int) int64 // of each row
}

func (h *holding) lists() *Lists {
	h.t.Helper()
	l, err := OpenLists(rand.Reader, h.dir)
	h.ok(err)
	return l
}

// partial fills the unit's side over a list, under a secret of its own, in a process of its own.
func (h *holding) partial(ids ...[]string) error {
	h.t.Helper()
	c := cohortOf(h.t, "", slices.Concat(ids...)...)
	terms, err := c.Agreed()
	h.ok(err)
	edit := func(*query.Spec) {}
	if h.two {
		edit = func(s *query.Spec) { s.Filters = []query.Filter{{Column: "v.district", In: []string{"x"}}} }
	}
	_, q := h.joined(&terms, edit)
	mac, err := sm.NewMAC(c.Key())
	h.ok(err)
	table := &dryrun.Data{Set: []catalog.Dataset{visits, taxes}[h.side]}
	for i, id := range h.has {
		var who sandbox.Pseudonym
		mac.Rows(who[:], len(who), []int32{0, int32(len(id))}, []byte(id))
		row := []any{nil, int64(i)}
		if h.side == 0 {
			row = []any{nil, "x", int64(i)}
			if h.fee != nil {
				row[2] = h.fee(i)
			}
		}
		table.Rows, table.Subjects = append(table.Rows, row), append(table.Subjects, who)
	}
	_, columns := q.Joined.Columns(h.side)
	if want := []int{map[bool]int{false: 2, true: 3}[h.two], 1}[h.side]; len(columns) != want {
		h.t.Fatalf("columns %v", columns)
	}
	r, err := table.Reader(memory.NewGoAllocator(), columns)
	h.ok(err)
	_, err = c.Partial(h.t.Context(), q.Joined, h.side, r, h.lists(), "b", noon)
	return err
}

// refused checks that a list was, for what follows from lists alone ("list") or from rows ("rows").
func (h *holding) refused(object, says string, ids ...[]string) {
	h.t.Helper()
	err := h.partial(ids...)
	var e *sandbox.Error
	if !errors.As(err, &e) || e.Kind != sandbox.Denied || e.Object != object || !strings.Contains(err.Error(), says) || strings.Contains(err.Error(), "p0") {
		h.t.Errorf("%v, and not of the %s", err, object)
	}
}

// TestLists: a unit takes part over the same people as often as it likes, over others, and over no list that is nearly an earlier one, whoever of it the unit
// has; nor over one of whom it has nearly those of an earlier list, nor after the rows of a few changed. Its memory outlives its process.
func TestLists(t *testing.T) {
	// The unit has people 0 to 300, two rows each; some have raised a fee.
	raised := 0
	h := &holding{seats: newSeats(t), dir: t.TempDir(), has: append(people("p", 0, 300), people("p", 0, 300)...), fee: func(i int) int64 {
		if i < raised {
			return int64(i) + 1
		}
		return int64(i)
	}}
	h.ok(h.partial(people("p", 0, 100)))
	h.ok(h.partial(people("p", 0, 100)))                        // under another secret the same people
	h.ok(h.partial(people("p", 100, 200), people("z", 0, 50)))  // others
	h.ok(h.partial(people("p", 0, 100), people("p", 200, 300))) // differs in a hundred
	for _, near := range [][][]string{{people("p", 0, 99)}, {people("p", 0, 101)}, {people("p", 1, 101)}, {people("p", 0, 83)}, {people("p", 0, 100), people("x", 0, 1)}} {
		h.refused("list", "who stands on it", near...)
	}
	for _, near := range [][][]string{{people("p", 0, 99), people("z", 0, 100)}, {people("p", 100, 199), people("y", 0, 400)}} {
		h.refused("rows", "whom the unit has of it", near...)
		h.refused("rows", "whom the unit has of it", near...) // once more, it is no list that was answered
	}
	for _, few := range []int{1, 20} {
		raised = few
		h.refused("rows", "column fee", people("p", 0, 100))
	}
	raised = 0
	h.ok(h.partial(people("p", 0, 100)))
	raised = 60
	h.ok(h.partial(people("p", 0, 100)))
	if err := os.Remove(filepath.Join(h.dir, "lists.key")); err != nil {
		t.Fatal(err)
	}
	if _, err := OpenLists(rand.Reader, h.dir); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("without its key: %v", err)
	}
}

// TestListsTellNobody: whether one person is at the unit shows in no refusal of a list that differs in that one.
func TestListsTellNobody(t *testing.T) {
	for _, has := range [][]string{people("p", 0, 100), people("p", 0, 99)} {
		h := &holding{seats: newSeats(t), dir: t.TempDir(), has: has}
		h.ok(h.partial(people("p", 0, 99)))
		h.refused("list", "who stands on it", people("p", 0, 100))
	}
}

// TestListsOfNobody: of lists on which a unit has nobody there is nothing to tell: epoch after epoch, of two columns as of one, and of the next list nothing
// follows from them, whether the one on it is there or not.
func TestListsOfNobody(t *testing.T) {
	for name, two := range map[string]bool{"one column": false, "two columns": true} {
		t.Run(name, func(t *testing.T) {
			h := &holding{seats: newSeats(t), dir: t.TempDir(), two: two, has: people("p", 0, 100)}
			for range 2 {
				h.ok(h.partial(people("z", 0, 60)))
			}
			h.ok(h.partial(people("y", 0, 60)))
			absent, there := append(people("m", 0, 25), "q0000"), append(people("n", 0, 25), "p0000")
			h.ok(h.partial(absent))
			h.ok(h.partial(there))
			h.ok(h.partial(there))
		})
	}
}

// TestListsCountRows: a side of which no column is used brings how many rows each has, and is compared by that.
func TestListsCountRows(t *testing.T) {
	h := &holding{seats: newSeats(t), dir: t.TempDir(), side: 1, has: people("p", 0, 200)}
	h.ok(h.partial(people("p", 0, 100)))
	h.ok(h.partial(people("p", 0, 100)))
	h.has = append(h.has, "p0150")
	h.ok(h.partial(people("p", 0, 100))) // who is not on the list
	h.has = append(h.has, "p0007")
	h.refused("rows", "how many rows", people("p", 0, 100))
	h.has = append(h.has, people("p", 20, 80)...)
	h.ok(h.partial(people("p", 0, 100)))
}

// TestRowsAreNotTold: that those whom a unit has are near an earlier list is to the others as any fault in its rows; that the list is, is said.
func TestRowsAreNotTold(t *testing.T) {
	s := newSeats(t)
	o, _ := s.offer()
	for object, why := range map[string]string{"rows": WhyRows, "list": WhyList} {
		l, err := he.OpenLedger(t.TempDir())
		s.ok(err)
		d := &deaf{}
		err = Part{Plan: o.Plan, Unit: "a", Sign: s.sign[0], Open: s.open[0], Ledger: l, Rand: rand.Reader, Rows: func(context.Context) (*he.Partial, error) {
			return nil, &sandbox.Error{Op: "t", Kind: sandbox.Denied, Object: object}
		}}.Run(t.Context(), d)
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if !errors.Is(err, sandbox.Denied) || !slices.Equal(d.left, []string{why}) {
			t.Errorf("%s: %v %v", object, err, d.left)
		}
	}
}
