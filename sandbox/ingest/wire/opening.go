// Package wire holds the messages of the push protocol (推送协议): what a sender outside the domain and the intake inside
// must agree on, so that neither imports the other.
//
// # A run
//
// A run (推送批次) is one table sent once, under an id of its sender. It may take several streams of package attest/channel,
// each with a new opening and a new random secret; the domain answers every opening with a Standing, whose ResumeFrom is
// the number of batches that are durable. A stream starts at or before batch ResumeFrom+1. Openings of one run agree in
// every part that Same compares.
//
// # Payload of one frame
//
//	offset  size  field
//	0       4     magic "ODP1"
//	4       1     kind: 1 batch, 2 closing, 3 abandon
//	5       3     zero
//	8       8     batch number, uint64 big endian: 1.. of a batch; of the others, how many batches came before
//	16      …     batch: its encoding by package batch; closing: JSON of Closing; abandon: empty
//
// The number is inside the sealed bytes, so a late or repeated part is harmless: a batch that is durable is dropped, a gap
// is refused. Closing is the last payload of a run's last stream.
//
// # Digest
//
// The digest of n batches is a chain: chain(0) is 32 zero bytes, chain(n) = SM3(0x01 ‖ chain(n-1) ‖ leaf(n)) and leaf(n) =
// SM3(0x00 ‖ encoding of batch n). The domain answers it for the durable batches, so a sender whose source has changed
// meanwhile notices before it resumes. Equal tables give equal digests: it is for the unit that owns the table, not for
// the evidence log.
//
// Errors are Invalid naming the message and the rule, TooLarge over a bound; no value is in them. Nothing here opens a
// connection, keeps a key or decides.
package wire

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// MaxOpening bounds an encoded opening in bytes: a stream's opening, the widest schema and its declarations.
const MaxOpening = 384 << 10

// Mode (错行处理方式) says what becomes of a row that breaks a rule.
type Mode string

const (
	Strict Mode = ""     // 严格: the first such row refuses the push
	Skip   Mode = "skip" // 剔除: it is left out, counted by rule and reported
)

// Opening (推送开启) is the first message of one stream of a run: what its sender signs.
type Opening struct {
	Stream channel.Opening `json:"stream"`
	// Plan is the digest of how the source is read (file, mapping, cut into batches), or empty.
	Plan []byte `json:"plan,omitempty"`
	Rows Mode   `json:"rows,omitempty"`
	// Schema is the canonical schema whose SM3 is Stream.SchemaDigest; sent when the domain may not know it.
	Schema json.RawMessage `json:"schema,omitempty"`
	// Declared describes columns that are new in Schema. A new column that is not described has grade 4.
	Declared []catalog.Column `json:"declared,omitempty"`
}

// Encode gives the one encoding of an opening.
func (o Opening) Encode() []byte {
	b, err := json.Marshal(o)
	if err != nil { // a year outside 0–9999 or a schema that is no JSON; ParseOpening refuses the result
		return nil
	}
	return b
}

func badOpening(rule string) (Opening, error) {
	return Opening{}, &sandbox.Error{Op: "push: opening", Kind: sandbox.Invalid, Object: "opening", Detail: rule}
}

// ParseOpening reads an opening strictly: bounded, known fields, its one encoding, a schema that has the digest it names.
// The opening of a bare stream (package channel) is taken as an Opening with nothing else in it.
func ParseOpening(b []byte) (Opening, error) {
	if len(b) == 0 || len(b) > MaxOpening {
		return badOpening(fmt.Sprintf("1 to %d bytes", MaxOpening))
	}
	if !bytes.HasPrefix(b, []byte(`{"stream":`)) {
		s, err := channel.ParseOpening(b)
		return Opening{Stream: s}, err
	}
	var o Opening
	if err := json.Unmarshal(b, &o); err != nil {
		return badOpening("one JSON object with the known fields")
	}
	if !bytes.Equal(o.Encode(), b) { // also what keeps out unknown and repeated fields
		return badOpening("in its one encoding")
	}
	if _, err := channel.ParseOpening(o.Stream.Encode()); err != nil {
		return Opening{}, err
	}
	if len(o.Plan) != 0 && len(o.Plan) != sm.Size {
		return badOpening("a plan is a digest of 32 bytes")
	}
	if o.Rows != Strict && o.Rows != Skip {
		return badOpening(`rows is "skip" or absent`)
	}
	if o.Schema == nil {
		if len(o.Declared) != 0 {
			return badOpening("columns are declared beside the schema that has them")
		}
		return o, nil
	}
	if d := sm.Sum(o.Schema); !bytes.Equal(d[:], o.Stream.SchemaDigest) {
		return badOpening("the schema has the digest the stream names")
	}
	s, err := catalog.ParseSchema(o.Schema)
	if err != nil {
		return Opening{}, err
	}
	if s.Dataset != o.Stream.Dataset {
		return badOpening("the schema is that of the stream's dataset")
	}
	seen := map[string]bool{}
	for _, c := range o.Declared {
		f, ok := s.Field(c.Name)
		switch {
		case !ok || f != (catalog.Field{Name: c.Name, Type: c.Type, Scale: c.Scale, Nullable: c.Nullable}) || seen[c.Name]:
			return badOpening("a declared column is one of the schema's, described once")
		case !c.Grade.Valid() || c.Detected != 0 || c.Finding != "":
			return badOpening("a declared grade is 1 to 4, and nothing is detected yet")
		case c.JoinKey || c.Public:
			return badOpening("a new column begins without join key and code list")
		}
		seen[c.Name] = true
	}
	return o, nil
}

// Same gives the first part in which a later opening of the same run differs, or "". It may leave descriptions of new columns
// out: once the run is committed they are the registered ones.
func (o Opening) Same(other Opening) string {
	switch {
	case o.Stream.Domain != other.Stream.Domain || o.Stream.Run != other.Stream.Run:
		return "run"
	case o.Stream.Dataset != other.Stream.Dataset:
		return "dataset"
	case !bytes.Equal(o.Stream.SchemaDigest, other.Stream.SchemaDigest):
		return "schema digest"
	case !bytes.Equal(o.Plan, other.Plan):
		return "source plan"
	case o.Rows != other.Rows:
		return "rows mode"
	case slices.ContainsFunc(other.Declared, func(c catalog.Column) bool { return !slices.Contains(o.Declared, c) }):
		return "description of a new column"
	}
	return ""
}
