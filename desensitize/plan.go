package desensitize

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"regexp"
	"time"

	"go.yaml.in/yaml/v3"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// ContextPlan is what an owner signs a Plan under.
const ContextPlan = "opdomain/desensitize-plan/v1"

// Limits of a plan.
const (
	MaxPlan = 1 << 20 // bytes of YAML
	maxRole = 16
)

// Plan (脱敏方案) says how a dataset becomes a view.
type Plan struct {
	ID      string            `yaml:"plan" json:"plan"`
	Version int               `yaml:"version" json:"version"` // from 1; a changed plan has the next one
	Dataset sandbox.DatasetID `yaml:"dataset,omitempty" json:"dataset,omitempty"`
	Owner   sandbox.PartyID   `yaml:"owner,omitempty" json:"owner,omitempty"`     // 数源单位, whose key signs the plan
	Purpose string            `yaml:"purpose,omitempty" json:"purpose,omitempty"` // 用途
	Schema  []Field           `yaml:"schema,omitempty" json:"schema,omitempty"`   // of a table outside a catalogue
	Subject string            `yaml:"subject,omitempty" json:"subject,omitempty"` // column of the protected subject, outside a catalogue
	Rest    string            `yaml:"rest,omitempty" json:"rest,omitempty"`       // columns that are not named: "drop" (default) or "pass"
	Sample  *Sampling         `yaml:"sample,omitempty" json:"sample,omitempty"`   // of the rows; the only change of their number
	// Hierarchies are texts in the form of ARX by the name that steps use; they are signed with the plan.
	Hierarchies map[string]string `yaml:"hierarchies,omitempty" json:"hierarchies,omitempty"`
	Columns     []Step            `yaml:"columns,omitempty" json:"columns,omitempty"`
	Leave       *Leaving          `yaml:"leave,omitempty" json:"leave,omitempty"` // of views that may leave as class E
	Roles       []RoleRules       `yaml:"roles,omitempty" json:"roles,omitempty"` // for reading the table itself, by role
}

// Sampling (抽样) keeps a part of the table's rows, every set of so many rows alike, in their order: Rows of them, all where there are
// no more, or a Share of them, "0.05" for one in twenty, rounded to the nearest number. Operations over the whole column see
// the table before it is sampled. The Report counts both.
type Sampling struct {
	Rows  int64  `yaml:"rows,omitempty" json:"rows,omitempty"`
	Share string `yaml:"share,omitempty" json:"share,omitempty"`
}

// of gives how many of so many rows are kept.
func (s Sampling) of(total int64) int64 {
	if s.Share == "" {
		return min(s.Rows, total)
	}
	x, _ := probability(s.Share) // checked when it was read
	return min(int64(math.Round(x*float64(total))), total)
}

func (s Sampling) fault() bool {
	x, err := probability(s.Share)
	return (s.Share == "") == (s.Rows == 0) || s.Rows < 0 || s.Share != "" && (err != nil || x <= 0 || x >= 1)
}

// RoleRules (角色脱敏规则) are what one role sees of the table; a column without a step is hidden whole.
type RoleRules struct {
	Role    sandbox.Role `yaml:"role" json:"role"`
	Columns []Step       `yaml:"columns" json:"columns"`
}

// Field (字段说明) describes a column of a table that no catalogue describes.
type Field struct {
	Name     string        `yaml:"name" json:"name"`
	Type     catalog.Type  `yaml:"type" json:"type"`
	Scale    int           `yaml:"scale,omitempty" json:"scale,omitempty"`
	Nullable bool          `yaml:"nullable,omitempty" json:"nullable,omitempty"`
	Grade    sandbox.Grade `yaml:"grade" json:"grade"`
	Personal bool          `yaml:"personal,omitempty" json:"personal,omitempty"`
}

// Parse reads a plan strictly: bounded, one document, no unknown or repeated keys, no anchors. name stands in errors, which
// give lines, never the text. What needs the dataset's description is checked by Compile.
func Parse(name string, text []byte) (*Plan, error) {
	fault := func(err error, rule string) (*Plan, error) {
		if at := line.FindString(fmt.Sprint(err)); err != nil && at != "" {
			name += " " + at
		}
		return nil, &sandbox.Error{Op: "plan: parse", Kind: sandbox.Invalid, Object: name, Detail: rule, Hint: "go doc ./desensitize Step lists the operations and their parameters"}
	}
	if len(text) > MaxPlan {
		return nil, &sandbox.Error{Op: "plan: parse", Kind: sandbox.TooLarge, Object: name, Detail: fmt.Sprintf("at most %d bytes", MaxPlan)}
	}
	var tree yaml.Node
	if err := yaml.Unmarshal(text, &tree); err != nil {
		return fault(err, "one YAML document")
	}
	if at := anchored(&tree); at != 0 {
		return fault(fmt.Errorf("line %d", at), "a plan has no anchors and no aliases: it says what it says where it stands")
	}
	dec := yaml.NewDecoder(bytes.NewReader(text))
	dec.KnownFields(true)
	var p Plan
	if err := dec.Decode(&p); err != nil {
		return fault(err, "the known fields with values of their types, each once")
	}
	if err := dec.Decode(new(yaml.Node)); !errors.Is(err, io.EOF) {
		return fault(nil, "nothing follows the plan")
	}
	if rule := p.fault(); rule != "" {
		return fault(nil, rule)
	}
	return &p, nil
}

var line = regexp.MustCompile(`line [0-9]+`)

// anchored gives the line of an anchor or alias, or 0.
func anchored(n *yaml.Node) int {
	if n.Anchor != "" || n.Kind == yaml.AliasNode {
		return n.Line
	}
	for _, c := range n.Content {
		if at := anchored(c); at != 0 {
			return at
		}
	}
	return 0
}

// fault gives the first rule that holds whatever the dataset and that p breaks.
func (p *Plan) fault() string {
	if sandbox.CheckID("plan", p.ID) != nil {
		return "\"plan\" is an identifier: 1 to 64 of a-z, 0-9, '.', '_', '-'"
	}
	if p.Version < 1 {
		return "\"version\" counts from 1"
	}
	if p.Dataset != "" && sandbox.CheckID("dataset", string(p.Dataset)) != nil || p.Owner != "" && sandbox.CheckID("owner", string(p.Owner)) != nil {
		return "\"dataset\" and \"owner\" are identifiers"
	}
	if p.Rest != "" && p.Rest != Drop && p.Rest != Pass {
		return "\"rest\" is drop or pass"
	}
	if len(p.Columns) == 0 && len(p.Roles) == 0 {
		return "a plan has columns or roles"
	}
	if p.Sample != nil && p.Sample.fault() {
		return "\"sample\" has rows, from 1, or a share between 0 and 1, e.g. \"0.05\""
	}
	if len(p.Columns) > catalog.MaxColumns || len(p.Schema) > catalog.MaxColumns || len(p.Roles) > maxRole {
		return fmt.Sprintf("at most %d columns and %d roles", catalog.MaxColumns, maxRole)
	}
	if p.Leave != nil {
		if rule := p.Leave.fault(); rule != "" {
			return rule
		}
	}
	seen := map[string]bool{}
	for _, f := range p.Schema {
		if f.Name == "" || seen[f.Name] || !f.Grade.Valid() {
			return "a column of the schema has a name of its own and a grade from 1 to 4"
		}
		seen[f.Name] = true
	}
	roles := map[sandbox.Role]bool{}
	for _, r := range p.Roles {
		if !r.Role.Valid() || roles[r.Role] {
			return "a role is one of agency, operator, partner, insurer, unit, subject, auditor, and is named once"
		}
		roles[r.Role] = true
	}
	return ""
}

// Canonical gives the bytes that are signed and hashed: JSON of the fields in their order, whatever the YAML looked like.
func (p *Plan) Canonical() []byte {
	b, err := json.Marshal(p)
	if err != nil { // texts and numbers only
		panic("desensitize: canonical plan: " + err.Error())
	}
	return b
}

// Digest is SM3 over the canonical bytes: what evidence names a plan by.
func (p *Plan) Digest() [sm.Size]byte { return sm.Sum(p.Canonical()) }

// Described gives the description of a table that the plan itself describes; the caller holds the table to it.
func (p *Plan) Described() catalog.Dataset {
	d := catalog.Dataset{ID: p.Dataset, Unit: p.Owner, Subject: p.Subject}
	for _, f := range p.Schema {
		d.Columns = append(d.Columns, catalog.Column{Name: f.Name, Type: f.Type, Scale: f.Scale, Nullable: f.Nullable, Grade: f.Grade, Personal: f.Personal})
	}
	return d
}

// Signature (方案签名) is an owner's signature over a plan.
type Signature struct {
	Plan      string             `json:"plan"`
	Version   int                `json:"version"`
	Digest    []byte             `json:"digest"` // SM3 of the plan's canonical bytes
	Signer    sandbox.IdentityID `json:"signer"`
	At        time.Time          `json:"at"`
	Signature []byte             `json:"signature"`
}

func (s Signature) signed() []byte {
	s.Signature = nil
	b, err := json.Marshal(s)
	if err != nil {
		panic("desensitize: signature: " + err.Error())
	}
	return b
}

// Sign signs the plan as signer at a time.
func (p *Plan) Sign(rand io.Reader, key *sm.SigningKey, signer sandbox.IdentityID, at time.Time) (Signature, error) {
	d := p.Digest()
	s := Signature{Plan: p.ID, Version: p.Version, Digest: d[:], Signer: signer, At: at.UTC()}
	var err error
	s.Signature, err = key.Sign(rand, ContextPlan, s.signed())
	return s, err
}

// Verify holds a signature to the plan and the key of its signer, which the caller looks up; Tampered otherwise.
func (p *Plan) Verify(s Signature, key *sm.VerifyKey) error {
	d := p.Digest()
	if s.Plan != p.ID || s.Version != p.Version || !bytes.Equal(s.Digest, d[:]) {
		return &sandbox.Error{Op: "plan: verify", Kind: sandbox.Tampered, Object: p.ID, Detail: "the signature is over another plan or version"}
	}
	if err := key.Verify(ContextPlan, s.signed(), s.Signature); err != nil {
		return &sandbox.Error{Op: "plan: verify", Kind: sandbox.Tampered, Object: p.ID, Detail: "the owner's signature does not verify"}
	}
	return nil
}
