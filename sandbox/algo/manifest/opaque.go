package manifest

import (
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/opaque"
)

// DeclareOpaque says in the manifest of an Opaque algorithm what its declaration says: input, output and class.
func (m *Manifest) DeclareOpaque(d opaque.Declaration) {
	m.Opaque, m.Inputs, m.Operators, m.Outputs = &d, nil, nil, nil
	in := Input{Name: d.Input}
	for _, c := range d.Columns {
		in.Columns = append(in.Columns, algo.Column{Name: c.Name, Type: c.Type, Scale: c.Scale})
	}
	m.Inputs = []Input{in}
	if d.Chart == nil {
		m.Outputs = []Output{{Name: "model", Class: sandbox.ClassD, Columns: []Column{{Name: "model"}}}}
		return
	}
	out := Output{Name: d.Chart.Name, Class: sandbox.ClassF}
	for _, l := range d.Chart.Labels {
		out.Columns = append(out.Columns, Column{Name: l.Name})
	}
	for _, v := range d.Chart.Values {
		out.Columns = append(out.Columns, Column{Name: v.Name, Unit: v.Unit})
	}
	m.Outputs = []Output{out}
}

// opaque holds what a manifest declares of an Opaque algorithm to its bounds, and inputs and outputs to it.
func (m *Manifest) opaque() error {
	if (m.Contract == Opaque) != (m.Opaque != nil) {
		return bad("opaque", "an opaque algorithm has its declaration, and no other has")
	}
	if m.Opaque == nil {
		return nil
	}
	if err := m.Opaque.Check(); err != nil {
		return bad("opaque", err.Error())
	}
	x := *m
	x.DeclareOpaque(*m.Opaque)
	alike := len(m.Inputs) == 1 && len(m.Outputs) == 1 && m.Inputs[0].Name == x.Inputs[0].Name && slices.Equal(m.Inputs[0].Columns, x.Inputs[0].Columns) &&
		m.Outputs[0].Name == x.Outputs[0].Name && m.Outputs[0].Class == x.Outputs[0].Class && len(m.Outputs[0].Groups) == 0 && slices.Equal(m.Outputs[0].Columns, x.Outputs[0].Columns)
	if !alike || len(m.Operators) > 0 {
		return &sandbox.Error{Op: "manifest", Kind: sandbox.Invalid, Object: "inputs, outputs", Detail: "an opaque algorithm has the input and output that it declares", Hint: "opdomain algo build"}
	}
	return nil
}
