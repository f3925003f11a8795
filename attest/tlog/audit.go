package tlog

import (
	"context"
	"fmt"
	"path/filepath"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Audit reads every record and recomputes every leaf, tile, bundle and the root of the last checkpoint as it was when called.
// The first entry or file that is not what was written is Tampered. progress may be nil; it is called now and then.
func (l *Log) Audit(ctx context.Context, progress func(done, total uint64)) error {
	cp := l.Checkpoint()
	check := auditor{log: l, tiles: tiles{fs: l.c.FS, dir: l.c.Dir}}
	for i := range cp.Size {
		if i%tileWidth == 0 {
			if err := ctx.Err(); err != nil {
				return err
			}
			if progress != nil {
				progress(i, cp.Size)
			}
		}
		rec, err := l.Read(i)
		if err != nil {
			return err
		}
		if err := check.add(rec.Entry); err != nil {
			return err
		}
	}
	if check.root.Sum() != cp.Root {
		return &sandbox.Error{Op: "log: audit", Kind: sandbox.Tampered, Object: checkpointFile, Detail: fmt.Sprintf("entries 0 to %d do not give the checkpoint's root", cp.Size)}
	}
	if progress != nil {
		progress(cp.Size, cp.Size)
	}
	return nil
}

// auditor builds the tiles anew and compares them with the files.
type auditor struct {
	log     *Log
	tiles   tiles // only for reading
	root    Root
	rows    [][]hash
	entries []hash
}

func (a *auditor) add(entry hash) error {
	a.root.Append(entry)
	a.entries = append(a.entries, entry)
	if len(a.entries) == tileWidth {
		b := make([]byte, 0, tileWidth*(2+sm.Size))
		for _, e := range a.entries {
			b = append(append(b, 0, sm.Size), e[:]...)
		}
		a.entries = a.entries[:0]
		if err := a.same(tilePath(entriesKind, a.root.Size()/tileWidth-1), b); err != nil {
			return err
		}
	}
	return a.up(0, hash(hasher{}.HashLeaf(entry[:])))
}

func (a *auditor) up(level int, h hash) error {
	if level == len(a.rows) {
		a.rows = append(a.rows, nil)
	}
	a.rows[level] = append(a.rows[level], h)
	if len(a.rows[level]) < tileWidth {
		return nil
	}
	b := make([]byte, 0, tileBytes)
	for _, h := range a.rows[level] {
		b = append(b, h[:]...)
	}
	if err := a.same(tilePath(levelName(level), a.root.Size()>>(tileHeight*(level+1))-1), b); err != nil {
		return err
	}
	over := fold(a.rows[level], tileHeight)
	a.rows[level] = a.rows[level][:0]
	return a.up(level+1, over)
}

func (a *auditor) same(path string, want []byte) error {
	got, err := durable.ReadFile(a.tiles.fs, filepath.Join(a.tiles.dir, path))
	if err != nil || string(got) != string(want) {
		return &sandbox.Error{Op: "log: audit", Kind: sandbox.Tampered, Object: filepath.ToSlash(path), Detail: "the file is not what the entries give", Hint: "restore the log folder from a backup"}
	}
	return nil
}
