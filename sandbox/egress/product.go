package egress

import (
	"bytes"
	"encoding/json"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// Outgoing (待出域产物) is what the gate of one class made: a Checked answer of class A, or a Product of another class. Nothing else
// comes before reviewers.
type Outgoing interface{ outgoing() Product }

// ItemResult (清单结果) is what an item of a class's checklist found, in words for the agency and the owners: numbers and rules, never a value.
type ItemResult struct {
	ID   string `json:"id"`
	Pass bool   `json:"pass"`
	ZH   string `json:"zh"`
	EN   string `json:"en"`
}

// Made (产物要素) is what the gate of a class hands over: its own bytes, what every item of the checklist found, the rules that acted, which
// operator-side reviewers see by name, and the class's evidence as JSON for the agency and the owners.
type Made struct {
	Class    sandbox.Class
	Question sandbox.QuestionID
	Result   []byte
	Items    []ItemResult
	Rules    []string
	Evidence any
}

// Product (出域产物) is an output of a class with what its gate found. It cannot be altered once it is made. It prints redacted.
type Product struct {
	class    sandbox.Class
	question sandbox.QuestionID
	result   []byte
	digest   []byte
	rules    []string
	items    []ItemResult
	evidence json.RawMessage

	// of class A
	cells      []CellEvidence
	hidden     *Suppression
	suppressed int
	flags      []Flag
	bits       scan.MilliBits
}

// String keeps what would leave out of logs.
func (Product) String() string { return "product(redacted)" }

// GoString keeps what would leave out of %#v.
func (Product) GoString() string { return "product(redacted)" }

// Result gives a copy of the outgoing bytes.
func (p *Product) Result() []byte { return bytes.Clone(p.result) }

// NewProduct takes what the gate of a class made. The bytes are in the class's one encoding, answer the question, and hold nothing that
// its scan finds (Quarantine); the items are those of the class's checklist, each once. Items that did not pass are kept: Submit withholds
// the product and names the first. Class A is made by Check alone.
func NewProduct(m Made) (*Product, error) {
	bad := func(k sandbox.Kind, rule string) (*Product, error) {
		return nil, &sandbox.Error{Op: "egress: product", Kind: k, Object: string(m.Question), Detail: rule}
	}
	list, err := ChecklistOf(m.Class)
	if err != nil {
		return nil, err
	}
	if m.Class == sandbox.ClassA || !slices.Contains(list.Authority, ByReviewers) {
		return bad(sandbox.Denied, "class "+plainClass(m.Class)+" has a way of its own")
	}
	switch q, err := Read(m.Class, m.Result); {
	case err != nil:
		return nil, err
	case q != m.Question:
		return bad(sandbox.Denied, "the bytes answer another question")
	}
	if len(m.Result) > MaxResult {
		return bad(sandbox.Withheld, "more bytes than a result may have")
	}
	if err := Scan(m.Class, m.Question, m.Result); err != nil {
		return nil, err
	}
	p := &Product{class: m.Class, question: m.Question, result: bytes.Clone(m.Result), digest: Digest(m.Result), rules: slices.Clone(m.Rules), items: slices.Clone(m.Items)}
	if p.evidence, err = json.Marshal(m.Evidence); err != nil {
		return nil, &sandbox.Error{Op: "egress: product", Kind: sandbox.Internal, Object: string(m.Question), Err: err}
	}
	return p, nil
}

func (p *Product) outgoing() Product { return *p }

// Unheld names the first item of its class's checklist that is not held; empty when all are.
func (p *Product) Unheld() string {
	list, err := ChecklistOf(p.class)
	if err != nil {
		return err.Error()
	}
	return list.checked(p.items)
}

func (c *Checked) outgoing() Product {
	return Product{class: sandbox.ClassA, result: c.Result, digest: c.digest, rules: c.Rules, cells: c.Cells, hidden: c.Suppression, suppressed: c.Suppressed,
		flags: c.Flags, bits: c.MilliBits, evidence: c.shared}
}

func instead(l Checklist) string {
	if l.Instead == "" {
		return ""
	}
	return "; " + l.Instead
}

// unfit says why a product does not come before reviewers; empty when it does.
func (p Product) unfit(s Submission) string {
	class := s.Class
	if class == "" {
		class = sandbox.ClassA
	}
	if !bytes.Equal(Digest(p.result), p.digest) {
		return "not the bytes the gate wrote"
	}
	list, err := ChecklistOf(class)
	if err != nil || !list.Produced || !slices.Contains(list.Authority, ByReviewers) || p.class != class {
		return "class " + plainClass(class) + ": not a class that this domain puts before reviewers" + instead(list)
	}
	if class == sandbox.ClassA { // its items are what Check is
		return ""
	}
	if p.question != s.Question {
		return "an answer to another question"
	}
	if cause := list.checked(p.items); cause != "" {
		return "class " + plainClass(class) + ", " + cause
	}
	return ""
}
