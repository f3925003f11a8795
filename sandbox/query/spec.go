// Package query holds the one way to ask for statistics (统计查询): a Spec over inputs, joins, filters, dimensions and
// measures, its canonical encoding and digest, and its derivation against a grant's column rules before any key opens.
package query

import "github.com/opdomain/opdomain/sandbox"

// Spec (查询规格) is a question. Column names are "alias.column".
type Spec struct {
	Scenario   sandbox.ScenarioID `json:"scenario"`
	Purpose    string             `json:"purpose"` // 用途 code, must equal the scenario's
	Inputs     []Input            `json:"inputs"`  // the first is scanned, the others are looked up by key
	Filters    []Filter           `json:"filters,omitempty"`
	Dimensions []Dimension        `json:"dimensions,omitempty"` // none: one cell over everything
	Measures   []Measure          `json:"measures"`
}

// Input (输入) is one dataset. Every input but the first names the inner equi-join that attaches it to an earlier one:
// either by the protected subject (On empty) or by declared join keys. The looked-up side must be unique in its key.
type Input struct {
	Alias   string            `json:"alias"`
	Dataset sandbox.DatasetID `json:"dataset"`
	Version uint64            `json:"version,omitempty"` // 0: current
	With    string            `json:"with,omitempty"`    // alias of the earlier input it joins
	On      []Key             `json:"on,omitempty"`
}

// Key (关联键) equates a column of the earlier input with one of this input.
type Key struct {
	Left  string `json:"left"`  // column of With
	Right string `json:"right"` // column of this input
}

// Filter (筛选条件) keeps rows whose column (public values) or bin label is In, or, if Not, is not in the list.
type Filter struct {
	Column string        `json:"column"`
	Bin    sandbox.BinID `json:"bin,omitempty"`
	In     []string      `json:"in"`
	Not    bool          `json:"not,omitempty"`
}

// Dimension (分组维度) groups by a registered bin, or by a public column itself when Bin is empty.
type Dimension struct {
	Column string        `json:"column"`
	Bin    sandbox.BinID `json:"bin,omitempty"`
	As     string        `json:"as"`
}

// Measure (度量) is one output. Column is empty for count and subjects.
type Measure struct {
	Func   sandbox.MeasureFunc `json:"func"`
	Column string              `json:"column,omitempty"`
	As     string              `json:"as"`
}
