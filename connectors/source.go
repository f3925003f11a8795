// Package connectors holds the Source contract (数据接入): how a unit's table outside the domain becomes a stream of Arrow
// record batches in the catalogue's schema. Source is one page of promises; connectors/connectortest is the suite that
// every implementation runs, and connectors/file is the first implementation.
//
// A Source is opened from a Mapping (字段映射), which says where each catalogue column comes from and which rows belong to
// the dataset. It gives values in the catalogue's units: money in fen, numbers scaled by 10^Scale, dates as days.
//
// Promises of a Source, each held by the suite:
//   - Schema is batch.Schema of the dataset, and every record has it;
//   - rows arrive in the order of the origin, the same for any batch size; no record is empty or over its limits;
//   - a record stays valid until its receiver releases it, past later calls of Next and past Close;
//   - the first fault ends the stream: the same error from then on, and no row of the faulty batch is delivered; only a
//     source told to leave faulty rows out goes on, and then it is a Rejecter and counts them;
//   - errors are *sandbox.Error naming the place, the column and the rule, never a value;
//   - after the last row Next gives io.EOF, again and again; a cancelled context stops it with the context's error;
//   - Close may be called twice and at any time; afterwards Next fails and no memory is held.
//
// It does not check identifiers of persons, grade columns or encrypt: that is the work of sandbox/ingest.
package connectors

import "github.com/opdomain/opdomain/sandbox/batch"

// Source (数据来源) streams one table of a unit as record batches, under the promises of the package doc. A Source is
// used by one goroutine.
type Source interface {
	batch.Reader
	// Counts gives the rows read from the origin so far and the rows kept by the mapping's filter (读取行数与保留行数).
	Counts() (read, kept int64)
}

// Rejection (剔除记录) counts the rows that one rule left out. It holds no value.
type Rejection struct {
	Column string `json:"column,omitempty"`
	Rule   string `json:"rule"`
	Rows   int64  `json:"rows"`
}

// Rejecter (剔除计数) is a Source that may leave faulty rows out instead of ending; Rejected lists them by column and rule,
// in the order they were first met.
type Rejecter interface {
	Rejected() []Rejection
}

// Surplus (未用字段) is a Source whose origin may have fields that no column reads and no filter names. Unused gives their
// headers in the order of the origin: names that may be shown, never values. A header that may itself be a value, as the
// first line of a table without headers is, is given as "field N".
type Surplus interface {
	Unused() []string
}
