package vault

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
)

// TestParts: the parts of a version, one after the other, are the version, whatever their size.
func TestParts(t *testing.T) {
	v := newVault(t)
	s, err := straight(t, v, "run-1", 1, 9000, 17, 30000, 500).Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	read := func(next func() (*Scanner, error)) (out []string) {
		r, err := next()
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		for {
			rec, err := r.Next(t.Context())
			if err == io.EOF {
				return out
			}
			if err != nil {
				t.Fatal(err)
			}
			out = append(out, fmt.Sprint(rec))
			rec.Release()
		}
	}
	whole := read(func() (*Scanner, error) { return v.Scan(t.Context(), memory.DefaultAllocator, s, everyColumn) })
	for rows, parts := range map[int64]int{1: 5, 9001: 3, 9019: 2, 1 << 40: 1} {
		p, err := v.Parts(s, rows)
		if err != nil || p.Len() != parts {
			t.Fatalf("parts of %d rows: %v", rows, err)
		}
		var all []string
		for i := range p.Len() {
			all = append(all, read(func() (*Scanner, error) { return p.Scan(t.Context(), memory.DefaultAllocator, everyColumn, i) })...)
		}
		if strings.Join(all, "") != strings.Join(whole, "") {
			t.Errorf("parts of %d rows are not the version", rows)
		}
		for _, i := range []int{-1, parts} {
			if _, err := p.Scan(t.Context(), memory.DefaultAllocator, everyColumn, i); !errors.Is(err, sandbox.Invalid) {
				t.Errorf("part %d of %d: %v", i, parts, err)
			}
		}
	}
	if _, err := v.Parts(s, 0); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("parts of no rows: %v", err)
	}
}
