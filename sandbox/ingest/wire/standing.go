package wire

import (
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// State (推送状态) is where a run stands.
type State string

const (
	Open      State = "open"      // 待续传: what is durable of it is kept, more may come
	Committed State = "committed" // 已入库
	Refused   State = "refused"   // 已拒绝: nothing of it was kept; a retry is a new run
)

// Standing (推送进度) is the domain's answer to an opening, and what it shows of a run to the unit that sends it.
type Standing struct {
	Run        sandbox.RunID     `json:"run"`
	Dataset    sandbox.DatasetID `json:"dataset"`
	State      State             `json:"state"`
	ResumeFrom int64             `json:"resume_from"`      // batches that are durable; the next stream starts with the one behind
	Prefix     []byte            `json:"prefix,omitempty"` // chain of those batches
	Report     *Report           `json:"report,omitempty"`
}

// Report (入库回执) is what one run did. It holds counts and digests, never a value; duration is by the domain's clock.
type Report struct {
	Run            sandbox.RunID     `json:"run"`
	Dataset        sandbox.DatasetID `json:"dataset"`
	Version        uint64            `json:"version"`
	Rows           int64             `json:"rows"` // kept
	Read           int64             `json:"read"` // at the origin, as its sender says
	Batches        int64             `json:"batches"`
	SmallestBatch  int64             `json:"smallest_batch"` // rows
	LargestBatch   int64             `json:"largest_batch"`  // rows
	Bytes          int64             `json:"bytes"`          // of the encoded batches
	Streams        int64             `json:"streams"`        // connections it took
	Duplicates     int64             `json:"duplicates"`     // batches that came again and were dropped
	Began          time.Time         `json:"began"`
	Ended          time.Time         `json:"ended"`
	Milliseconds   int64             `json:"milliseconds"`
	Rejected       []Rejection       `json:"rejected,omitempty"`
	Findings       []Finding         `json:"findings,omitempty"`
	SchemaVersion  int               `json:"schema_version"`
	SchemaDigest   []byte            `json:"schema_digest"`
	SourceDigest   []byte            `json:"source_digest"` // chain of all batches
	ManifestDigest []byte            `json:"manifest"`
}

// Finding (识别结果) is what the detectors say about one column.
type Finding struct {
	Column  string        `json:"column"`
	Finding string        `json:"finding"`
	Grade   sandbox.Grade `json:"grade"`
}

// Quarantine (隔离记录) is a push that was refused because its schema is not the registered one and not a change that passes.
type Quarantine struct {
	Run     sandbox.RunID     `json:"run"`
	Dataset sandbox.DatasetID `json:"dataset"`
	Digest  []byte            `json:"digest"` // of the schema that was refused
	Drift   catalog.Drift     `json:"drift"`  // empty if the schema itself was not sent
	Reason  string            `json:"reason"`
	At      time.Time         `json:"at"`
}
