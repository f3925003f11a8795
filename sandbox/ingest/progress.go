package ingest

import (
	"encoding/json"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
	"github.com/opdomain/opdomain/sandbox/vault"
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

// Committed gives the point of the run that a version was made of, as the version itself says; NotFound where it does not.
func Committed(s vault.Snapshot) (Progress, error) {
	var p Progress
	if len(s.Mark) == 0 {
		return p, &sandbox.Error{Op: "ingest: committed", Kind: sandbox.NotFound, Object: string(s.Dataset), Detail: "the version does not say what was sent for it"}
	}
	if err := json.Unmarshal(s.Mark, &p); err != nil {
		return Progress{}, &sandbox.Error{Op: "ingest: committed", Kind: sandbox.Tampered, Object: string(s.Dataset), Detail: "the version's mark is not that of a run"}
	}
	return p, nil
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
