package query

import (
	"bytes"
	"encoding/json"
	"io"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// derived is what a Derivation follows from.
type derived struct {
	Asker    sandbox.Party      `json:"asker"`
	Spec     Spec               `json:"spec"`
	Datasets []catalog.Dataset  `json:"datasets"` // in the order of the inputs, each once
	List     []sandbox.ListItem `json:"list"`
}

// Encode writes what a complete Derivation follows from, for another process of the domain, which derives it again: no process computes
// a question because another one says that it was accepted. Equal Derivations give equal bytes.
func (d Derivation) Encode() ([]byte, error) {
	if !d.complete {
		return nil, bad("question", "an accepted question only")
	}
	x := derived{Asker: d.asker, Spec: d.Spec}
	seen := map[sandbox.DatasetID]bool{}
	for _, in := range d.Inputs {
		if !seen[in.Dataset] {
			seen[in.Dataset] = true
			x.Datasets = append(x.Datasets, in.Described)
		}
	}
	for _, item := range d.list {
		if seen[item.Dataset] {
			x.List = append(x.List, item)
		}
	}
	b, err := json.Marshal(x)
	if err != nil {
		return nil, &sandbox.Error{Op: "query", Kind: sandbox.Internal, Object: "question", Detail: "it has no JSON form", Err: err}
	}
	return b, nil
}

// DecodeDerivation derives what Encode wrote. Denied when the rules refuse the question, Invalid for bytes that are not one.
func DecodeDerivation(b []byte) (Derivation, error) {
	var x derived
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&x); err != nil {
		return Derivation{}, bad("question", "is an encoded derivation")
	}
	if _, err := dec.Token(); err != io.EOF {
		return Derivation{}, bad("question", "ends with its encoding")
	}
	in := map[sandbox.DatasetID]catalog.Dataset{}
	for _, d := range x.Datasets {
		if _, twice := in[d.ID]; twice {
			return Derivation{}, bad("question", "describes each dataset once")
		}
		in[d.ID] = d
	}
	d, reasons := DeriveFor(x.Asker, x.Spec, in, x.List)
	if len(reasons) > 0 {
		return Derivation{}, &sandbox.Error{Op: "query", Kind: sandbox.Denied, Object: reasons[0].Column, Detail: reasons[0].Code}
	}
	return d, nil
}
