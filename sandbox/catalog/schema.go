package catalog

import (
	"bytes"
	"encoding/json"
	"fmt"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// MaxSchema bounds the canonical bytes of a schema.
const MaxSchema = 128 << 10

// Field (结构字段) is one column as a schema has it.
type Field struct {
	Name     string `json:"name"`
	Type     Type   `json:"type"`
	Scale    int    `json:"scale"`
	Nullable bool   `json:"nullable"`
}

// Schema (数据结构) is what the two ends of a push must agree on. Its canonical bytes are those of batch.SchemaBytes, and
// their SM3 is its digest.
type Schema struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Subject string            `json:"subject"`
	Kind    SubjectKind       `json:"kind"`
	Columns []Field           `json:"columns"`
}

// SchemaVersion (结构版本) is one entry of a dataset's history of schemas, the drift registry (结构变更登记).
type SchemaVersion struct {
	Version int       `json:"version"` // from 1
	Digest  []byte    `json:"digest"`  // SM3 of the canonical bytes
	Schema  Schema    `json:"schema"`
	At      time.Time `json:"at,omitzero"`       // absent for a schema that stood before the domain kept revisions
	Since   uint64    `json:"since,omitempty"`   // first data version that has it; none for the registered one
	Changes []Change  `json:"changes,omitempty"` // from the version before; all of them pass
}

// Schema gives the schema of a described dataset.
func (d *Dataset) Schema() Schema {
	s := Schema{Dataset: d.ID, Subject: d.Subject, Kind: d.SubjectKind, Columns: make([]Field, 0, len(d.Columns))}
	for _, c := range d.Columns {
		s.Columns = append(s.Columns, Field{c.Name, c.Type, c.Scale, c.Nullable})
	}
	return s
}

// Field finds a column by name.
func (s Schema) Field(name string) (Field, bool) {
	for _, f := range s.Columns {
		if f.Name == name {
			return f, true
		}
	}
	return Field{}, false
}

// Encode gives the canonical bytes.
func (s Schema) Encode() []byte {
	if s.Columns == nil {
		s.Columns = []Field{}
	}
	b, err := json.Marshal(s)
	if err != nil { // strings and numbers only
		panic(fmt.Sprintf("catalog: schema of %s: %v", s.Dataset, err))
	}
	return b
}

// ParseSchema reads canonical bytes strictly: bounded, their one encoding, the rules of a dataset's columns.
func ParseSchema(b []byte) (Schema, error) {
	invalid := func(object, rule string) (Schema, error) {
		return Schema{}, &sandbox.Error{Op: "catalog: schema", Kind: sandbox.Invalid, Object: object, Detail: rule}
	}
	if len(b) > MaxSchema {
		return Schema{}, &sandbox.Error{Op: "catalog: schema", Kind: sandbox.TooLarge, Object: "schema", Detail: fmt.Sprintf("at most %d bytes", MaxSchema)}
	}
	var s Schema
	if err := json.Unmarshal(b, &s); err != nil {
		return invalid("schema", "one JSON object with the known fields")
	}
	if !bytes.Equal(s.Encode(), b) {
		return invalid("schema", "in its one encoding")
	}
	d := Dataset{ID: s.Dataset, Unit: "unit", Frequency: Irregular, Subject: s.Subject, SubjectKind: s.Kind}
	for _, f := range s.Columns {
		d.Columns = append(d.Columns, Column{Name: f.Name, Type: f.Type, Scale: f.Scale, Nullable: f.Nullable, Grade: sandbox.Grade4})
	}
	if err := d.Validate(); err != nil {
		return Schema{}, err
	}
	return s, nil
}
