package run

import (
	"context"
	"io"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// holdings says which of a population belong to one holding (控股集团或户): those whose rows name the same one. Who is named with two brings
// them together; who is named with none is their own. The number of a holding is that of its first person.
func holdings(ctx context.Context, mem memory.Allocator, v *vault.Vault, in sandbox.InputVersion, column string, population []sandbox.Pseudonym) (out []uint32, err error) {
	snap, err := v.Snapshot(in.Dataset, in.Version)
	if err != nil {
		return nil, missing(in, err)
	}
	r, err := v.Scan(ctx, mem, snap, []string{columnar.SubjectColumn, column})
	if err != nil {
		return nil, missing(in, err)
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	at := make(map[sandbox.Pseudonym]uint32, len(population))
	parent := make([]uint32, len(population))
	for i, p := range population {
		at[p], parent[i] = uint32(i), uint32(i)
	}
	find := func(i uint32) uint32 {
		for parent[i] != i {
			parent[i] = parent[parent[i]]
			i = parent[i]
		}
		return i
	}
	first := map[string]uint32{} // a person of each holding
	for {
		b, err := r.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return nil, err
		}
		subject, ok := b.Column(0).(*array.FixedSizeBinary)
		name := names(b.Column(1))
		if !ok || name == nil {
			b.Release()
			return nil, &sandbox.Error{Op: "run: holdings", Kind: sandbox.Invalid, Object: string(in.Dataset) + "." + column, Detail: "a holding column is text"}
		}
		for i := range int(b.NumRows()) {
			who, there := at[sandbox.Pseudonym(subject.Value(i))]
			if !there || b.Column(1).IsNull(i) {
				continue
			}
			h := name(i)
			other, seen := first[h]
			if !seen {
				first[string([]byte(h))] = who // the batch's bytes go back with it
				continue
			}
			if x, y := find(who), find(other); x != y {
				parent[max(x, y)] = min(x, y)
			}
		}
		b.Release()
	}
	for i := range parent {
		parent[i] = find(uint32(i))
	}
	return parent, nil
}

// names reads a column of texts; nil where it is none.
func names(a any) func(i int) string {
	switch a := a.(type) {
	case *array.String:
		return a.Value
	case *array.Dictionary:
		if words, ok := a.Dictionary().(*array.String); ok {
			return func(i int) string { return words.Value(a.GetValueIndex(i)) }
		}
	}
	return nil
}
