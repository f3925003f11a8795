package connectors

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// MaxMapping bounds the JSON form of a Mapping in bytes: 512 columns with long headers fit several times.
const MaxMapping = 256 << 10

// Mapping (字段映射) says where a dataset's columns come from and which rows belong to it. The zero Mapping takes every
// row and reads each column from the header of its own name. Written as
//
//	{"columns": {"amount": {"from": "AMOUNT", "round": true}}, "where": {"TYPE": "CHARGE"}}
type Mapping struct {
	Columns map[string]Field  `json:"columns,omitempty"` // by catalogue column
	Where   map[string]Values `json:"where,omitempty"`   // by header: keep rows whose field is exactly one of the values
}

// Field (来源字段) is the origin of one column.
type Field struct {
	From  string `json:"from"`            // header at the origin
	Round bool   `json:"round,omitempty"` // 四舍五入: excess decimals are rounded half away from zero; without it they are an error
}

// Values (取值列表) is a list of texts; JSON accepts one text for a list of one.
type Values []string

// UnmarshalJSON takes a string or a list of strings.
func (v *Values) UnmarshalJSON(b []byte) error {
	if trimmed := bytes.TrimSpace(b); len(trimmed) > 0 && trimmed[0] == '"' {
		var s string
		if err := json.Unmarshal(b, &s); err != nil {
			return err
		}
		*v = Values{s}
		return nil
	}
	var list []string
	if err := json.Unmarshal(b, &list); err != nil {
		return err
	}
	*v = list
	return nil
}

// ParseMapping reads the JSON form strictly: bounded, no unknown keys, nothing after it. name stands in errors.
func ParseMapping(name string, b []byte) (Mapping, error) {
	bad := func(rule string) (Mapping, error) {
		return Mapping{}, &sandbox.Error{Op: "mapping: parse", Kind: sandbox.Invalid, Object: name, Detail: rule,
			Hint: `write {"columns": {"<column>": {"from": "<header>"}}, "where": {"<header>": "<value>"}}`}
	}
	if len(b) > MaxMapping {
		return Mapping{}, &sandbox.Error{Op: "mapping: parse", Kind: sandbox.TooLarge, Object: name, Detail: fmt.Sprintf("at most %d bytes", MaxMapping)}
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var m Mapping
	if err := dec.Decode(&m); err != nil {
		// The decoder's text may quote the input, so only the place is kept.
		return bad(fmt.Sprintf("not a mapping: fault near byte %d", dec.InputOffset()))
	}
	if _, err := dec.Token(); err != io.EOF {
		return bad("nothing follows the mapping")
	}
	return m, nil
}

// Field gives the origin of a column: the mapped one, or the header of the column's own name.
func (m Mapping) Field(column string) Field {
	if f, ok := m.Columns[column]; ok {
		return f
	}
	return Field{From: column}
}

// Check holds the mapping against the dataset it feeds.
func (m Mapping) Check(d *catalog.Dataset) error {
	bad := func(object, rule, hint string) error {
		return &sandbox.Error{Op: "mapping: check", Kind: sandbox.Invalid, Object: object, Detail: rule, Hint: hint}
	}
	for _, name := range slices.Sorted(maps.Keys(m.Columns)) { // sorted: the first fault named is the same on every run
		f := m.Columns[name]
		c, ok := d.Column(name)
		switch {
		case !ok:
			return bad(fmt.Sprintf("%s.%q", d.ID, name), "the dataset has no such column", "name a column of the catalogue, or register it first")
		case f.From == "":
			return bad(string(d.ID)+"."+name, "a mapped column names its header in \"from\"", "")
		case f.Round && c.Type != catalog.Money && c.Type != catalog.Number:
			return bad(string(d.ID)+"."+name, "only money and number columns can be rounded", "")
		}
	}
	for _, h := range slices.Sorted(maps.Keys(m.Where)) {
		if h == "" || len(m.Where[h]) == 0 {
			return bad(string(d.ID), "a row filter names a header and at least one value", "")
		}
	}
	return nil
}
