package vault

import (
	"context"
	"sync"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
)

// Parts (分段) cuts a version into runs of whole batches that are scanned apart, by several goroutines or processes. Where it cuts
// follows from the version and the size asked for alone.
type Parts struct {
	v     *Vault
	s     Snapshot
	known *statistics
	cuts  []int // the first batch of each part, and the number of batches

	mu     sync.Mutex
	opened map[string]*sealedFile // by column, closed: that it is whole need not be found out again for every part
}

// Parts cuts a version into parts of at least so many rows each, but for the last. A version without rows is one part.
func (v *Vault) Parts(s Snapshot, rows int64) (*Parts, error) {
	if !s.opens() || rows < 1 {
		return nil, &sandbox.Error{Op: "vault: parts", Kind: sandbox.Invalid, Object: string(s.Dataset), Detail: "parts are of a snapshot of this vault, of at least one row"}
	}
	known := s.known
	if known == nil {
		st, err := v.statistics(s)
		if err != nil {
			return nil, err
		}
		known = &st
	}
	p := &Parts{v: v, s: s, known: known, cuts: []int{0}, opened: map[string]*sealedFile{}}
	n := int64(0)
	for i, k := range s.Batches {
		if n >= rows {
			p.cuts, n = append(p.cuts, i), 0
		}
		n += k
	}
	p.cuts = append(p.cuts, len(s.Batches))
	return p, nil
}

// Len gives the number of parts.
func (p *Parts) Len() int { return len(p.cuts) - 1 }

// Scan is Vault.Scan over one part.
func (p *Parts) Scan(ctx context.Context, mem memory.Allocator, columns []string, part int) (*Scanner, error) {
	if part < 0 || part >= p.Len() {
		return nil, &sandbox.Error{Op: "vault: parts", Kind: sandbox.Invalid, Object: string(p.s.Dataset), Detail: "no such part"}
	}
	return p.v.scan(ctx, mem, p.s, columns, p.cuts[part], p.cuts[part+1], p.known, p.open)
}

// open opens the file of one column.
func (p *Parts) open(s Snapshot, c manifestColumn) (*sealedFile, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	f, ok := p.opened[c.Name]
	if ok {
		return f.again(p.v.fs, p.v.columnPath(s, c))
	}
	f, err := p.v.openColumn(s, c)
	if err == nil {
		p.opened[c.Name] = f
	}
	return f, err
}
