package fleet

import (
	"bytes"
	"encoding/json"
	"io"
	"path/filepath"
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// kernelID names what a worker computes with; it changes with the encoding of partials.
const kernelID = "columnar/ODP3"

// maxOrder bounds the message that describes a job.
const maxOrder = 64 << 20

// order is a job as a worker gets it.
type order struct {
	Kernel   string                 `json:"kernel"`
	Question []byte                 `json:"question"` // derived again by the worker
	Inputs   []sandbox.InputVersion `json:"inputs"`
	Limits   columnar.Limits        `json:"limits"`
	Rows     int64                  `json:"rows"` // least of a part
	Dir      string                 `json:"dir"`
	Spill    bool                   `json:"spill"`   // into the folder, what does not fit in memory
	Tickets  [][]byte               `json:"tickets"` // one for each dataset
}

// digest is SM3 over what decides a partial's bytes.
func (o order) digest() ([]byte, error) {
	b, err := json.Marshal(struct {
		Inputs []sandbox.InputVersion
		Limits columnar.Limits
		Rows   int64
	}{o.Inputs, o.Limits, o.Rows})
	if err != nil {
		return nil, fail(sandbox.Internal, "job", "has a JSON form")
	}
	d := sm.Sum(sm.Frame([]byte(protocol), []byte(o.Kernel), o.Question, b))
	return d[:], nil
}

func decodeOrder(b []byte) (o order, err error) {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&o); err != nil {
		return o, fail(sandbox.Tampered, "job", "is one JSON object of known fields")
	}
	if _, err := dec.Token(); err != io.EOF {
		return o, fail(sandbox.Tampered, "job", "is one JSON object")
	}
	if o.Kernel != kernelID {
		return o, fail(sandbox.Conflict, "job", "is for the kernel that this program has")
	}
	if o.Rows < 1 || !filepath.IsAbs(o.Dir) {
		return o, fail(sandbox.Tampered, "job", "has parts of rows and an absolute folder")
	}
	return o, nil
}

// need is what is opened of one dataset.
type need struct {
	dataset sandbox.DatasetID
	columns []string
}

// needs lists what a question opens: of each dataset the columns of all inputs that name it, in order of names.
func needs(d query.Derivation) (out []need) {
	for _, in := range d.Inputs {
		at := slices.IndexFunc(out, func(n need) bool { return n.dataset == in.Dataset })
		if at < 0 {
			at, out = len(out), append(out, need{dataset: in.Dataset})
		}
		out[at].columns = append(out[at].columns, in.Needed...)
		if in.Subject {
			out[at].columns = append(out[at].columns, columnar.SubjectColumn)
		}
	}
	for i := range out {
		slices.Sort(out[i].columns)
		out[i].columns = slices.Compact(out[i].columns)
	}
	return out
}

// granted opens an order's tickets: one for each dataset of the question, for the columns it needs, and nothing beside.
func (o order) granted(d query.Derivation) (map[sandbox.DatasetID]*vault.Granted, error) {
	out := map[sandbox.DatasetID]*vault.Granted{}
	want := needs(d)
	if len(want) != len(o.Tickets) {
		return nil, fail(sandbox.Denied, "job", "has one ticket for each dataset of its question")
	}
	for i, n := range want {
		t, err := vault.DecodeTicket(o.Tickets[i])
		if err != nil {
			return nil, err
		}
		if t.Dataset() != n.dataset || !slices.Equal(t.Columns(), n.columns) {
			return nil, fail(sandbox.Denied, string(n.dataset), "a ticket opens the columns that the question needs and no others")
		}
		if !slices.Contains(o.Inputs, sandbox.InputVersion{Dataset: n.dataset, Version: t.Version()}) {
			return nil, fail(sandbox.Denied, string(n.dataset), "a ticket is for the version that the question sees")
		}
		out[n.dataset] = vault.Redeem(nil, o.Dir, t)
	}
	return out, nil
}
