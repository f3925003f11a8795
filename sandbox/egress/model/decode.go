package model

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/opdomain/opdomain/sandbox"
)

// Decode reads a model as its author wrote it and gives it in its one form: numbers rounded, lists in the schema's order, nodes in
// preorder, counts of people left to the gate. registered is what the model may be about; nil takes the file's own schema, which is
// for models on their own.
func Decode(b []byte, registered *Schema) (*Model, error) {
	m, err := parse(b)
	if err != nil {
		return nil, err
	}
	if err := m.canonical(registered); err != nil {
		return nil, err
	}
	return m, nil
}

// DecodeForm reads what a model is trained from: kind, schema, trainer and, of a scorecard, bins; its weights need not be there.
func DecodeForm(b []byte, registered *Schema) (*Model, error) {
	m, err := parse(b)
	if err != nil {
		return nil, err
	}
	m.Intercept, m.Coefficients, m.Trees = nil, nil, nil
	if !m.Kind.trees() || m.Kind == Boosted {
		m.Intercept = new(Fixed)
	}
	switch {
	case m.Kind == Scorecard:
		for i := range m.Characteristics {
			c := &m.Characteristics[i]
			c.WOE, c.Coefficient = make([]Fixed, max(len(c.Edges)+1, len(c.Groups))), 0
		}
	case m.Kind.trees():
		m.Trees = [][]Node{{{Value: new(Fixed)}}}
	default:
		m.Coefficients = m.terms()
	}
	if err := m.canonical(registered); err != nil {
		return nil, err
	}
	return m, nil
}

// parse reads a file's values; whether they are a model canonical says.
func parse(b []byte) (*Model, error) {
	if len(b) > MaxBytes {
		return nil, &sandbox.Error{Op: "model", Kind: sandbox.TooLarge, Object: "file", Detail: fmt.Sprintf("at most %d bytes", MaxBytes)}
	}
	if !utf8.Valid(b) {
		return nil, invalid("file", "the file is UTF-8")
	}
	var all json.RawMessage
	if err := json.Unmarshal(b, &all); err != nil {
		return nil, fault(b, err)
	}
	if err := keysOnce(b); err != nil {
		return nil, err
	}
	var head struct {
		Format string `json:"format"`
		Kind   string `json:"kind"`
	}
	if err := json.Unmarshal(b, &head); err != nil {
		return nil, fault(b, err)
	}
	if head.Kind != "" {
		if err := checkKind(head.Kind); err != nil { // before the form is looked at: what is refused by name is in another
			return nil, err
		}
	}
	if head.Format != Format {
		return nil, invalid("format", Format)
	}
	m := &Model{}
	d := json.NewDecoder(bytes.NewReader(b))
	d.DisallowUnknownFields()
	if err := d.Decode(m); err != nil {
		return nil, fault(b, err)
	}
	return m, nil
}

// DecodePayload reads outgoing bytes in their one encoding.
func DecodePayload(b []byte) (*Model, error) {
	bad := invalid("payload", "one model of this format in its one encoding")
	m, err := Decode(b, nil)
	if err != nil {
		return nil, bad
	}
	var raw Model // with the people the gate wrote, which Decode does not read
	if json.Unmarshal(b, &raw) != nil {
		return nil, bad
	}
	for i, t := range raw.Trees {
		for j, n := range t {
			if n.People < 0 || n.People%peopleBase != 0 || i >= len(m.Trees) || j >= len(m.Trees[i]) || (n.People != 0) != (n.Value != nil) {
				return nil, bad
			}
			m.Trees[i][j].People = n.People
		}
	}
	if again, err := m.Encode(); err != nil || !bytes.Equal(again, b) {
		return nil, bad
	}
	return m, nil
}

// Encode writes the one encoding.
func (m *Model) Encode() ([]byte, error) {
	var b bytes.Buffer
	e := json.NewEncoder(&b)
	e.SetEscapeHTML(false)
	if err := e.Encode(m); err != nil {
		return nil, &sandbox.Error{Op: "model", Kind: sandbox.Internal, Object: "encoding", Err: err}
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n")), nil
}

// fault says where JSON goes wrong, and never what stands there.
func fault(b []byte, err error) error {
	var rule *sandbox.Error
	var syntax *json.SyntaxError
	var kind *json.UnmarshalTypeError
	switch {
	case errors.As(err, &rule):
		return rule
	case errors.As(err, &syntax):
		at := int(syntax.Offset)
		if rest := b[max(at-1, 0):]; bytes.HasPrefix(rest, []byte("N")) || bytes.HasPrefix(rest, []byte("I")) || at > 1 && bytes.HasPrefix(b[at-2:], []byte("-I")) {
			return invalid(fmt.Sprintf("byte %d", at), "not a number: NaN and Infinity are none")
		}
		return invalid(fmt.Sprintf("byte %d", at), "one JSON value, and nothing behind it")
	case errors.As(err, &kind):
		return invalid(known(kind.Field), "another type of value stands here")
	case strings.Contains(err.Error(), "unknown field"):
		return invalid("file", "unknown key; see the schema")
	}
	return invalid("file", "one JSON object of the format")
}

// known keeps a path to the format's own words.
func known(path string) string {
	if path == "" || strings.ContainsFunc(path, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r == '_' || r == '.') }) {
		return "file"
	}
	return path
}

// keysOnce refuses what two readers may read in two ways: a key twice in one object, or in another case, and anything behind the value.
func keysOnce(b []byte) error {
	d := json.NewDecoder(bytes.NewReader(b))
	d.UseNumber()
	var open []map[string]bool // per level; nil: a list
	key := false
	for {
		t, err := d.Token()
		if err == io.EOF && len(open) == 0 {
			return nil
		}
		if err != nil {
			return fault(b, err)
		}
		if s, ok := t.(string); ok && key {
			if open[len(open)-1][s] || strings.ContainsFunc(s, func(r rune) bool { return !(r >= 'a' && r <= 'z' || r == '_') }) {
				return invalid("file", "every key once in an object, in small letters a to z")
			}
			open[len(open)-1][s], key = true, false
			continue
		}
		switch t {
		case json.Delim('{'):
			open = append(open, map[string]bool{})
		case json.Delim('['):
			open = append(open, nil)
		case json.Delim('}'), json.Delim(']'):
			open = open[:len(open)-1]
		}
		if len(open) > 16 {
			return invalid("file", "nested deeper than a model is")
		}
		if len(open) == 0 {
			if d.More() {
				return invalid("file", "one JSON value, and nothing behind it")
			}
			continue
		}
		key = open[len(open)-1] != nil
	}
}

// canonical holds a model to its form and brings it into its order.
func (m *Model) canonical(registered *Schema) error {
	if err := sandbox.CheckID("id", m.ID); err != nil {
		return invalid("id", "1 to 64 of a-z, 0-9, '.', '_', '-'")
	}
	if err := checkKind(string(m.Kind)); err != nil {
		return err
	}
	if err := m.Schema.Validate(); err != nil {
		return err
	}
	if registered != nil {
		if !m.Schema.equal(*registered) {
			return &sandbox.Error{Op: "model", Kind: sandbox.Denied, Object: "features", Detail: "the label and features are exactly those registered, in their order"}
		}
		m.Schema = *registered
	}
	if err := m.Kind.fits(m.Label); err != nil {
		return err
	}
	if err := m.Trainer.validate(m.Kind); err != nil {
		return err
	}
	if (m.Intercept != nil) != (!m.Kind.trees() || m.Kind == Boosted) {
		return invalid("intercept", "regressions, scorecards and boosted trees have one, nothing else")
	}
	if m.Intercept != nil && !bounded(*m.Intercept) {
		return invalid("intercept", boundRule)
	}
	regression := !m.Kind.trees() && m.Kind != Scorecard
	switch {
	case !regression && m.Coefficients != nil:
		return invalid("coefficients", "regressions have them")
	case m.Kind != Scorecard && m.Characteristics != nil:
		return invalid("characteristics", "scorecards have them")
	case !m.Kind.trees() && m.Trees != nil:
		return invalid("trees", "trees, forests and boosted trees have them")
	case regression:
		return m.orderCoefficients()
	case m.Kind == Scorecard:
		return m.orderCharacteristics()
	}
	return m.orderTrees()
}

const boundRule = "within ±100"

func bounded(f Fixed) bool { return f >= -coefficientBound && f <= coefficientBound }

// terms lists the coefficients of a regression over a schema.
func (s Schema) terms() []Coefficient {
	var out []Coefficient
	for _, f := range s.Features {
		if !f.category() {
			out = append(out, Coefficient{Feature: f.Name})
			continue
		}
		for _, l := range f.Levels[1:] {
			out = append(out, Coefficient{Feature: f.Name, Level: l})
		}
	}
	return out
}

func (m *Model) orderCoefficients() error {
	want := m.terms()
	out := make([]Coefficient, len(want))
	seen := make([]bool, len(want))
	for i, c := range m.Coefficients {
		at := fmt.Sprintf("coefficients[%d]", i)
		j := slices.IndexFunc(want, func(w Coefficient) bool { return w.Feature == c.Feature && w.Level == c.Level })
		if j < 0 {
			return invalid(at, "of a registered number, or of a level of a registered category that is not its first")
		}
		if seen[j] {
			return invalid(at, "every coefficient once")
		}
		if !bounded(c.Value) {
			return invalid(at+".value", boundRule)
		}
		out[j], seen[j] = want[j], true
		out[j].Value = c.Value
	}
	if j := slices.Index(seen, false); j >= 0 {
		return invalid("coefficients", "one for every number and every level of a category but its first")
	}
	m.Coefficients = out
	return nil
}

func (m *Model) orderCharacteristics() error {
	if len(m.Characteristics) == 0 {
		return invalid("characteristics", "at least one")
	}
	for i := range m.Characteristics {
		c, at := &m.Characteristics[i], fmt.Sprintf("characteristics[%d]", i)
		j := m.feature(c.Feature)
		if j < 0 {
			return invalid(at+".feature", "a registered feature")
		}
		f := m.Features[j]
		c.Feature = f.Name
		bins := len(c.Edges) + 1
		if f.category() {
			bins = len(c.Groups)
			seen := map[string]bool{}
			for g := range c.Groups {
				if len(c.Groups[g]) == 0 {
					return invalid(at+".groups", "a group has levels")
				}
				for _, l := range c.Groups[g] {
					if !slices.Contains(f.Levels, l) || seen[l] {
						return invalid(at+".groups", "every registered level in one group")
					}
					seen[l] = true
				}
				slices.SortFunc(c.Groups[g], func(a, b string) int { return slices.Index(f.Levels, a) - slices.Index(f.Levels, b) })
			}
			if len(seen) != len(f.Levels) || c.Edges != nil {
				return invalid(at+".groups", "every registered level in one group, and no edges")
			}
		} else {
			last := f.Low
			for _, e := range c.Edges {
				if e <= last || e >= f.High || (e-f.Low)%f.Step != 0 {
					return invalid(at+".edges", "edges ascend inside the range, on the grid")
				}
				last = e
			}
			if c.Groups != nil {
				return invalid(at+".groups", "a number has edges")
			}
		}
		if bins < 2 || len(c.WOE) != bins {
			return invalid(at+".woe", "two bins or more, with one weight of evidence each")
		}
		for _, w := range append([]Fixed{c.Coefficient}, c.WOE...) {
			if !bounded(w) {
				return invalid(at, boundRule)
			}
		}
		if f.category() { // groups by their first level
			order := make([]int, bins)
			for k := range order {
				order[k] = k
			}
			slices.SortFunc(order, func(a, b int) int {
				return slices.Index(f.Levels, c.Groups[a][0]) - slices.Index(f.Levels, c.Groups[b][0])
			})
			groups, woe := make([][]string, bins), make([]Fixed, bins)
			for to, from := range order {
				groups[to], woe[to] = c.Groups[from], c.WOE[from]
			}
			c.Groups, c.WOE = groups, woe
		}
	}
	slices.SortFunc(m.Characteristics, func(a, b Characteristic) int { return m.feature(a.Feature) - m.feature(b.Feature) })
	for i := 1; i < len(m.Characteristics); i++ {
		if m.Characteristics[i].Feature == m.Characteristics[i-1].Feature {
			return invalid("characteristics", "every feature once")
		}
	}
	return nil
}
