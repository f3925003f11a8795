package tlog

import (
	"context"
	"fmt"
	"iter"

	"github.com/transparency-dev/merkle/proof"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Read gives record i: its checksum and its leaf in the tree hold, or it is Tampered.
func (l *Log) Read(i uint64) (Record, error) {
	l.mu.Lock() // the cache of tiles and segments changes
	defer l.mu.Unlock()
	if i >= l.last.Size {
		return Record{}, &sandbox.Error{Op: "log: read", Kind: sandbox.NotFound, Object: fmt.Sprintf("entry %d", i), Detail: "the log is shorter"}
	}
	return l.read(i)
}

func (l *Log) read(i uint64) (Record, error) {
	s, err := l.segment(i / segmentLen)
	if err != nil {
		return Record{}, err
	}
	changed := &sandbox.Error{Op: "log: read", Kind: sandbox.Tampered, Object: fmt.Sprintf("entry %d", i), Detail: "the record was changed on the disk"}
	rec, err := s.read(int(i % segmentLen))
	if err != nil {
		return Record{}, changed
	}
	leaf, err := l.leaf(i)
	if err != nil {
		return Record{}, err
	}
	if leaf != hash(hasher{}.HashLeaf(rec.Entry[:])) {
		return Record{}, changed
	}
	return rec, nil
}

// segment gives an open segment.
func (l *Log) segment(n uint64) (*segment, error) {
	if n == l.number {
		return l.open, nil
	}
	if s := l.full[n]; s != nil {
		return s, nil
	}
	s, err := openSegment(l.c.FS, l.c.Dir, n)
	if err != nil {
		return nil, err
	}
	l.shelve(n, s)
	return s, nil
}

// Records yields the records of the log as it is when called, in order; an error ends it.
func (l *Log) Records(ctx context.Context) iter.Seq2[Record, error] {
	return func(yield func(Record, error) bool) {
		for i, n := uint64(0), l.Size(); i < n; i++ {
			rec, err := l.Read(i)
			if err == nil {
				err = ctx.Err()
			}
			if !yield(rec, err) || err != nil {
				return
			}
		}
	}
}

// FindFrom gives the number of an entry at or behind from. It reads every record from there on.
func (l *Log) FindFrom(from uint64, entry [sm.Size]byte) (uint64, bool, error) {
	for i, n := from, l.Size(); i < n; i++ {
		rec, err := l.Read(i)
		if err != nil {
			return 0, false, err
		}
		if rec.Entry == entry {
			return i, true, nil
		}
	}
	return 0, false, nil
}

// Inclusion proves that entry i is in the tree of the given size.
func (l *Log) Inclusion(i, size uint64) ([][]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if size > l.last.Size || i >= size {
		return nil, invalid("inclusion", "an index below a size that the log has reached")
	}
	n, err := proof.Inclusion(i, size)
	if err != nil {
		return nil, invalid("inclusion", "an index below a size that the log has reached")
	}
	path, err := l.prove(n)
	if err != nil {
		return nil, err
	}
	leaf, err := l.leaf(i)
	if err != nil {
		return nil, err
	}
	// A tile changed on the disk is seen here, not by whom the proof is for. Trees between checkpoints have no signed root.
	if size == l.last.Size && proof.VerifyInclusion(hasher{}, i, size, leaf[:], path, l.last.Root[:]) != nil {
		return nil, l.changedTile("inclusion")
	}
	return path, nil
}

func (l *Log) changedTile(op string) error {
	return &sandbox.Error{Op: "log: " + op, Kind: sandbox.Tampered, Object: "tile", Detail: "the tiles do not give the checkpoint's root: one was changed on the disk",
		Hint: "opdomain evidence audit names it; restore the log folder from a backup"}
}

// Consistency proves that the tree of size1 is a prefix of the tree of size2.
func (l *Log) Consistency(size1, size2 uint64) ([][]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if size1 > size2 || size2 > l.last.Size {
		return nil, invalid("consistency", "two rising sizes that the log has reached")
	}
	n, err := proof.Consistency(size1, size2)
	if err != nil {
		return nil, invalid("consistency", "two rising sizes that the log has reached")
	}
	path, err := l.prove(n)
	if err != nil || size2 != l.last.Size {
		return path, err
	}
	root, err := l.tiles.root(size1)
	if err != nil {
		return nil, err
	}
	if proof.VerifyConsistency(hasher{}, size1, size2, path, root[:], l.last.Root[:]) != nil {
		return nil, l.changedTile("consistency")
	}
	return path, nil
}

// RootAt gives the root over the first size entries.
func (l *Log) RootAt(size uint64) ([sm.Size]byte, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if size > l.last.Size {
		return hash{}, invalid("root", "a size that the log has reached")
	}
	return l.tiles.root(size)
}
