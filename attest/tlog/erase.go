package tlog

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/sandbox"
)

// Erase takes the payloads of entries away for good, as far as the disk forgets; entries, tree and proofs stay, and Read
// gives the record as erased. Erasing again changes nothing. Each segment is replaced whole, so that a crash leaves its
// payloads or none of those named; the records that follow keep their numbers.
func (l *Log) Erase(ctx context.Context, indices ...uint64) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	l.commitMu.Lock()
	defer l.commitMu.Unlock()
	if l.broken != nil {
		return l.broken
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	by := map[uint64][]int{}
	var order []uint64
	for _, i := range indices {
		if i >= l.last.Size {
			return &sandbox.Error{Op: "log: erase", Kind: sandbox.NotFound, Object: fmt.Sprintf("entry %d", i), Detail: "the log is shorter"}
		}
		if by[i/segmentLen] == nil {
			order = append(order, i/segmentLen)
		}
		by[i/segmentLen] = append(by[i/segmentLen], int(i%segmentLen))
	}
	slices.Sort(order)
	for _, n := range order {
		if err := l.eraseIn(n, by[n]); err != nil {
			return err
		}
	}
	return nil
}

func (l *Log) eraseIn(n uint64, at []int) error {
	s, err := l.segment(n)
	if err != nil {
		return err
	}
	gone := map[int]bool{}
	for _, i := range at {
		gone[i] = true
	}
	var text []byte
	ends := make([]int64, 0, segmentLen)
	for i := range s.ends {
		rec, err := l.read(n*segmentLen + uint64(i))
		if err != nil {
			return err
		}
		if gone[i] {
			rec.Payload, rec.Erased = nil, true
		}
		text = appendRecord(text, rec)
		ends = append(ends, int64(len(text)))
	}
	path := filepath.Join(l.c.Dir, recordsDir, segmentName(n))
	if err := durable.ReplaceIn(l.c.FS, path, text); err != nil {
		// The name may lead to the new file already: nothing more goes to the old one.
		err = unavailable("erase", segmentName(n), err)
		if n == l.number {
			l.broken = err
		} else {
			_ = s.file.Close()
			delete(l.full, n)
		}
		return err
	}
	f, err := l.c.FS.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		l.broken = unavailable("erase", segmentName(n), err)
		if n != l.number {
			delete(l.full, n)
		}
		return l.broken
	}
	cerr := s.file.Close()
	s.file, s.ends = f, ends
	if n != l.number {
		cerr = errors.Join(cerr, s.writeOffsets(l.c.FS, filepath.Join(l.c.Dir, recordsDir, offsetsName(n))))
	}
	return cerr
}
