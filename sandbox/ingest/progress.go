package ingest

import (
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
)

// Progress (推送进度) is a point of a run between two batches, and what its report says at the end.
type Progress struct {
	Chain      wire.Chain // of the batches so far
	Rows       int64      // kept
	Bytes      int64      // of encodings
	Smallest   int64      // rows of a batch
	Largest    int64
	Streams    int64
	Duplicates int64
	Rejected   []wire.Rejection
}

// add counts one batch that was sent with rows and of which kept are staged.
func (p *Progress) add(rows, kept, bytes int64) {
	if p.Chain.N == 0 || rows < p.Smallest {
		p.Smallest = rows
	}
	p.Largest = max(p.Largest, rows)
	p.Rows += kept
	p.Bytes += bytes
}
