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

// groups (控股集团归并) says which people belong to one holding: those whose rows name the same one. Who is named with two brings them together,
// whether or not an answer has anything of theirs; who is named with none is their own. Of each dataset a holding's name is its own.
type groups struct {
	at     map[sandbox.Pseudonym]uint32
	parent []uint32
}

func newGroups(population []sandbox.Pseudonym) *groups {
	g := &groups{at: make(map[sandbox.Pseudonym]uint32, len(population)), parent: make([]uint32, len(population))}
	for i, p := range population {
		g.at[p], g.parent[i] = uint32(i), uint32(i)
	}
	return g
}

func (g *groups) find(i uint32) uint32 {
	for g.parent[i] != i {
		g.parent[i] = g.parent[g.parent[i]]
		i = g.parent[i]
	}
	return i
}

// of gives, for each of the first n people, the number of the holding: that of its first person.
func (g *groups) of(n int) []uint32 {
	out := make([]uint32, n)
	for i := range out {
		out[i] = g.find(uint32(i))
	}
	return out
}

// read brings together whom a column of a version names with one holding.
func (g *groups) read(ctx context.Context, mem memory.Allocator, v *vault.Vault, in sandbox.InputVersion, column string) (err error) {
	snap, err := v.Snapshot(in.Dataset, in.Version)
	if err != nil {
		return missing(in, err)
	}
	r, err := v.Scan(ctx, mem, snap, []string{columnar.SubjectColumn, column})
	if err != nil {
		return missing(in, err)
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	first := map[string]uint32{} // a person of each holding
	for {
		b, err := r.Next(ctx)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return err
		}
		subject, ok := b.Column(0).(*array.FixedSizeBinary)
		name := names(b.Column(1))
		if !ok || name == nil {
			b.Release()
			return &sandbox.Error{Op: "run: holdings", Kind: sandbox.Invalid, Object: string(in.Dataset) + "." + column, Detail: "a holding column is text"}
		}
		for i := range int(b.NumRows()) {
			if b.Column(1).IsNull(i) {
				continue
			}
			p := sandbox.Pseudonym(subject.Value(i))
			who, there := g.at[p]
			if !there {
				who = uint32(len(g.parent))
				g.at[p], g.parent = who, append(g.parent, who)
			}
			h := name(i)
			other, seen := first[h]
			if !seen {
				first[string([]byte(h))] = who // the batch's bytes go back with it
				continue
			}
			if x, y := g.find(who), g.find(other); x != y {
				g.parent[max(x, y)] = min(x, y)
			}
		}
		b.Release()
	}
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
