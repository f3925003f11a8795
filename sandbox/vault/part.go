package vault

import (
	"context"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
)

// Parts (分段) cuts a version into runs of whole batches that are scanned apart, by several goroutines or processes. Where it cuts
// follows from the version and the size asked for alone.
type Parts struct {
	v    *Vault
	s    Snapshot
	ends [][]int64
	cuts []int // the first batch of each part, and the number of batches
}

// Parts cuts a version into parts of at least so many rows each, but for the last. A version without rows is one part.
func (v *Vault) Parts(s Snapshot, rows int64) (*Parts, error) {
	if !s.opens() || rows < 1 {
		return nil, &sandbox.Error{Op: "vault: parts", Kind: sandbox.Invalid, Object: string(s.Dataset), Detail: "parts are of a snapshot of this vault, of at least one row"}
	}
	ends := s.ends
	if ends == nil {
		st, err := v.statistics(s)
		if err != nil {
			return nil, err
		}
		ends = st.Ends
	}
	p := &Parts{v: v, s: s, ends: ends, cuts: []int{0}}
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
	ends := p.ends
	if p.Len() == 1 {
		ends = nil // as a whole
	}
	return p.v.scan(ctx, mem, p.s, columns, p.cuts[part], p.cuts[part+1], ends)
}
