package vault

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// within says whether every value of a column lies in what is told of it.
func within(a arrow.Array, e batch.Extent) error {
	if e.Rows != a.Len() || e.Nulls != a.NullN() {
		return fmt.Errorf("%d rows and %d nulls told, %d and %d are", e.Rows, e.Nulls, a.Len(), a.NullN())
	}
	start := func(s string) string { return s[:min(len(s), batch.ExtentBytes)] }
	for i := range a.Len() {
		v, number := int64(0), true
		if a.IsNull(i) {
			continue
		}
		switch a := a.(type) {
		case *array.Int64:
			v = a.Value(i)
		case *array.Date32:
			v = int64(a.Value(i))
		case *array.Boolean:
			if a.Value(i) {
				v = 1
			}
		case *array.String:
			number = false
			if s := start(a.Value(i)); s < string(e.Low) || s > string(e.High) {
				return fmt.Errorf("text %d lies outside", i)
			}
			if e.Texts != nil && !slices.ContainsFunc(e.Texts, func(t []byte) bool { return string(t) == a.Value(i) }) {
				return fmt.Errorf("text %d is not among those told", i)
			}
		}
		if number && (e.Least == nil || e.Most == nil || v < *e.Least || v > *e.Most) {
			return fmt.Errorf("number %d lies outside", i)
		}
	}
	return nil
}

// TestSelect: a scan gives the batches that are left in, whole and in order, of a version, a part and a ticket, and tells the truth of each.
func TestSelect(t *testing.T) {
	v := newVault(t)
	sizes := []int{70, 1, 900, 17, 300, 300, 1, 1, 2000, 5, 64, 64, 800}
	s, err := straight(t, v, "run-1", sizes...).Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := v.Ticket(s, everyColumn)
	if err != nil {
		t.Fatal(err)
	}
	granted := Redeem(nil, v.dir, ticket)
	r, err := v.Scan(t.Context(), memory.DefaultAllocator, s, everyColumn)
	if err != nil {
		t.Fatal(err)
	}
	var whole []arrow.Record
	for {
		rec, err := r.Next(t.Context())
		if err == io.EOF {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		whole = append(whole, rec)
	}
	if r.Close(); len(whole) != len(sizes) {
		t.Fatalf("%d batches", len(whole))
	}
	told := 0
	sandboxtest.Until(t, func() bool { return told > 0 }, func(r *rapid.T) {
		columns := rapid.SliceOfNDistinct(rapid.SampledFrom(everyColumn), 1, -1, rapid.ID[string]).Draw(r, "columns")
		drop := rapid.SliceOfN(rapid.Bool(), len(sizes), len(sizes)).Draw(r, "left out")
		rows := rapid.SampledFrom([]int64{1, 900, 1 << 40}).Draw(r, "part")
		cut := v.Parts
		if rapid.Bool().Draw(r, "by ticket") {
			cut = func(_ Snapshot, rows int64) (*Parts, error) { return granted.Parts(rows) }
		}
		parts, err := cut(s, rows)
		if err != nil {
			r.Fatal(err)
		}
		var got, want []string
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		defer mem.AssertSize(r, 0)
		for p := range parts.Len() {
			scan, err := parts.Scan(t.Context(), mem, columns, p)
			if err != nil {
				r.Fatal(err)
			}
			seen := map[string]int{}
			if err := scan.Select(batch.Selection{Useless: func(column string, e batch.Extent) bool {
				i := parts.cuts[p] + seen[column]
				for _, c := range columns[:slices.Index(columns, column)] {
					if c != SubjectColumn { // a batch that an earlier column left out is not asked of again
						i = parts.cuts[p] + seen[c] - 1
						break
					}
				}
				seen[column]++
				if err := within(whole[i].Column(slices.Index(everyColumn, column)), e); err != nil {
					r.Errorf("batch %d, %s: %v", i, column, err)
				}
				told++
				return drop[i]
			}}); err != nil {
				r.Fatal(err)
			}
			for {
				rec, err := scan.Next(t.Context())
				if err == io.EOF {
					break
				}
				if err != nil {
					r.Fatal(err)
				}
				got = append(got, fmt.Sprint(rec.Columns()))
				rec.Release()
			}
			if err := scan.Select(batch.Selection{}); !errors.Is(err, sandbox.Conflict) {
				r.Fatalf("a selection behind the end: %v", err)
			}
			if err := scan.Close(); err != nil {
				r.Fatal(err)
			}
		}
		for i, rec := range whole {
			if drop[i] && !(len(columns) == 1 && columns[0] == SubjectColumn) {
				continue
			}
			var cols []arrow.Array
			for _, c := range columns {
				cols = append(cols, rec.Column(slices.Index(everyColumn, c)))
			}
			want = append(want, fmt.Sprint(cols))
		}
		if strings.Join(got, "\n") != strings.Join(want, "\n") {
			r.Fatalf("%d batches came, %d were left in", len(got), len(want))
		}
	})
}

// TestSelectOpensLess: chunks of batches that are left out are not opened: changed, they are not missed.
func TestSelectOpensLess(t *testing.T) {
	v := newVault(t)
	s, err := straight(t, v, "run-1", 30000, 30000, 30000, 30000).Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	parts, err := v.Parts(s, 1<<40)
	if err != nil {
		t.Fatal(err)
	}
	damage(t, v, s, "code", 11) // of the second batch alone
	read := func(drop int) error {
		r, err := parts.Scan(t.Context(), memory.DefaultAllocator, []string{"fee", "code"}, 0)
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		i := 0
		if err := r.Select(batch.Selection{Useless: func(c string, _ batch.Extent) bool {
			if c == "fee" {
				i++
			}
			return i-1 == drop
		}}); err != nil {
			t.Fatal(err)
		}
		for {
			rec, err := r.Next(t.Context())
			if err != nil {
				return err
			}
			rec.Release()
		}
	}
	if err := read(1); err != io.EOF {
		t.Errorf("without the damaged batch: %v", err)
	}
	for _, drop := range []int{0, 3, -2} {
		if err := read(drop); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("with the damaged batch, without %d: %v", drop, err)
		}
	}
}

// damage changes a byte of one chunk of a column's file.
func damage(t *testing.T, v *Vault, s Snapshot, column string, chunk int) {
	t.Helper()
	at := slices.IndexFunc(s.columns, func(c manifestColumn) bool { return c.Name == column })
	path := v.columnPath(s, s.columns[at])
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[headerSize+chunk*sealedSize+9] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
}
