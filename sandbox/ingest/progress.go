package ingest

import (
	"encoding/json"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
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

// mark is what the vault keeps beside a run's rows: the point of the run, and from the commit on what was found in them.
type mark struct {
	Progress
	Facts *facts `json:",omitempty"`
}

// facts is what a run's end says of it.
type facts struct {
	Read     int64
	Unused   []string `json:",omitempty"`
	Findings []classify.ColumnFinding
	Quality  catalog.Quality
}

func (f facts) result(s vault.Snapshot, p Progress) Result {
	f.Quality.Version = s.Version
	return Result{Snapshot: s, Progress: p, Read: f.Read, Unused: f.Unused, Findings: f.Findings, Quality: f.Quality}
}

// Committed gives the result of the run that a version was made of, as the version itself says, and whether it says what was
// found in its rows; NotFound where it says nothing.
func Committed(s vault.Snapshot) (res Result, found bool, err error) {
	if len(s.Mark) == 0 {
		return Result{}, false, &sandbox.Error{Op: "ingest: committed", Kind: sandbox.NotFound, Object: string(s.Dataset), Detail: "the version does not say what was sent for it"}
	}
	var m mark
	if err := json.Unmarshal(s.Mark, &m); err != nil {
		return Result{}, false, &sandbox.Error{Op: "ingest: committed", Kind: sandbox.Tampered, Object: string(s.Dataset), Detail: "the version's mark is not that of a run"}
	}
	if m.Facts == nil {
		return Result{Snapshot: s, Progress: m.Progress}, false, nil
	}
	return m.Facts.result(s, m.Progress), true, nil
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
