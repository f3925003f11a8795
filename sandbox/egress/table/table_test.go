package table

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
)

func newLedger(t testing.TB) *egress.Ledger {
	t.Helper()
	l, err := egress.NewLedger([]byte("a key of the tests, no secret"))
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func judged(t testing.TB, b []byte, p egress.Params) Report {
	t.Helper()
	x, err := Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := Judge(x, p, egress.NewBook(), newLedger(t))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

func example(t testing.TB, name string) []byte {
	t.Helper()
	b, err := Example(name)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// statuses gives "label label: status rules" per cell.
func statuses(r Report) (out []string) {
	for _, c := range r.Cells {
		out = append(out, strings.TrimSpace(fmt.Sprintf("%s: %s %s", strings.Join(c.Labels, " "), c.Status, strings.Join(c.Rules, ","))))
	}
	return out
}

func TestExamples(t *testing.T) {
	for name, want := range map[string]struct {
		verdict Verdict
		cells   []string
	}{
		"published":  {Published, []string{"Futian: published", "Luohu: published", "Nanshan: published"}},
		"small-cell": {Suppressed, []string{"Futian F: primary frequency", "Futian M: secondary secondary", "Luohu F: secondary secondary", "Luohu M: secondary secondary", "Nanshan F: secondary secondary", "Nanshan M: primary dominance,p-percent"}},
		"summary":    {Suppressed, []string{"building: published", "mining: primary dominance,p-percent", "retail: secondary secondary", "transport: published"}},
		"difference": {Withheld, []string{": withheld"}},
	} {
		r := judged(t, example(t, name), Standard())
		if got := statuses(r); r.Verdict != want.verdict || !slices.Equal(got, want.cells) {
			t.Errorf("%s: %s %q", name, r.Verdict, got)
		}
		if (r.Finding != nil) != (name == "difference") {
			t.Errorf("%s: finding %v", name, r.Finding != nil)
		}
		for _, c := range r.Cells {
			for _, i := range c.Intervals {
				if i.Ratio < 1000 || i.Width <= 0 || i.Upper-i.Lower < min(i.Width, i.Upper) {
					t.Errorf("%s %v: %s is open by %d, should be by %d", name, c.Labels, i.Measure, i.Upper-i.Lower, i.Width)
				}
			}
			if c.Status == "primary" && len(c.Intervals) == 0 {
				t.Errorf("%s %v: a primary cell without an interval", name, c.Labels)
			}
		}
		if r.Verdict == Suppressed && (r.Suppression == nil || r.Suppression.Cost < r.Suppression.Bound || r.Suppression.Bound == 0) {
			t.Errorf("%s: no cost of the pattern", name)
		}
	}
}

// TestMarginsEnter: without the linked table's total the mining cell hides behind a cheaper one.
func TestMarginsEnter(t *testing.T) {
	with := judged(t, example(t, "summary"), Standard())
	var m map[string]any
	if err := json.Unmarshal(example(t, "summary"), &m); err != nil {
		t.Fatal(err)
	}
	delete(m, "margins")
	b, _ := json.Marshal(m)
	without := judged(t, b, Standard())
	if with.Suppression.Linked != 1 || without.Suppression.Linked != 0 || with.Suppression.Cost != 60 || without.Suppression.Cost != 25 {
		t.Errorf("with %+v, without %+v", *with.Suppression, *without.Suppression)
	}
}

func TestSchemaTakesWhatDecodeTakes(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("urn:opdomain:table:1", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("urn:opdomain:table:1")
	if err != nil {
		t.Fatal(err)
	}
	valid := func(b []byte) error {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			return err
		}
		return s.Validate(v)
	}
	for _, name := range Examples() {
		if name != "rules" {
			if err := valid(example(t, name)); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	}
	for i := range wrong {
		x := &wrong[i]
		if b := x.of(t); x.schema && valid(b) == nil {
			t.Errorf("%s: the schema takes it", x.name)
		}
	}
}

// wrongCase is a fault of an example; schema says whether a schema can tell.
type wrongCase struct {
	name, from, old, to, place, rule string
	schema                           bool
}

var wrong = []wrongCase{
	{"unknown key", "summary", `"exclusive"`, `"inclusive"`, "inclusive", "unknown key", true},
	{"key twice", "summary", `"id": "wages-by-trade"`, `"id": "a", "id": "b"`, "id", "duplicate key", false},
	{"NaN", "summary", `"top1": 900,`, `"top1": NaN,`, "byte", "not a number", false},
	{"minus infinity", "summary", `"top1": 900,`, `"top1": -Infinity,`, "byte", "not a number", false},
	{"NaN in words", "summary", `"top1": 900,`, `"top1": "NaN",`, "cells[0].values.wage.top1", "not a number", true},
	{"beyond", "summary", `"top1": 900,`, `"top1": 1e999,`, "cells[0].values.wage.top1", "without exponent", false},
	{"far", "summary", `"top1": 900,`, `"top1": 99999999999999999999,`, "cells[0].values.wage.top1", "2^60", false},
	{"negative people", "summary", `"people": 40`, `"people": -40`, "cells[0].people", "not negative", true},
	{"half a person", "summary", `"people": 40`, `"people": 40.5`, "cells[0].people", "whole", true},
	{"nobody", "summary", `"people": 40`, `"people": 0`, "cells[0].people", "nobody", true},
	{"negative rows", "small-cell", `{"id": "p00", `, `{"id": "p00", "rows": -1, `, "cells[0].contributors[0].rows", "not negative", true},
	{"negative summary", "summary", `"top2": 880`, `"top2": -880`, "cells[0].values.wage.top2", "below zero", true},
	{"sum too small", "summary", `"sum": 20000`, `"sum": 1700`, "cells[0].values.wage", "inconsistent", false},
	{"sum too large", "summary", `"sum": 20000`, `"sum": 90000`, "cells[0].values.wage", "inconsistent", false},
	{"top2 over top1", "summary", `"top2": 880`, `"top2": 901`, "cells[0].values.wage", "inconsistent", false},
	{"n over people", "summary", `"n": 58`, `"n": 61`, "cells[2].values.wage.n", "than people", false},
	{"inconsistent margin", "summary", `"wage": 32500`, `"wage": 32501`, "margins[0].values.wage", "inconsistent margins", false},
	{"inconsistent people", "summary", `"people": 72`, `"people": 73`, "margins[0].values.people", "inconsistent margins", false},
	{"margin of no cell", "summary", `["retail"]
      ]`, `["trains"]]`, "margins[0].cells[1]", "cells of the table", false},
	{"duplicate cell", "summary", `["building"]`, `["retail"]`, "cells[2]", "duplicate cell", false},
	{"duplicate contributor", "small-cell", `"id": "p01"`, `"id": "p00"`, "cells[0].contributors[1].id", "each once", false},
	{"places", "small-cell", `"amount": 100.5`, `"amount": 100.505`, "cells[0].contributors[0].values.amount", "more places", false},
	{"unknown measure", "small-cell", `{"amount": 100.5}`, `{"money": 100.5}`, "cells[0].contributors[0].values.money", "measure of the table", false},
	{"unknown function", "small-cell", `"sum"`, `"median"`, "measures[1].func", "count, subjects", true},
	{"labels missing", "summary", `["building"]`, `[]`, "cells[0].labels", "label per dimension", false},
	{"two forms", "small-cell", `"contributors": [`, `"people": 3, "contributors": [`, "cells[0]", "not by both", true},
	{"another format", "summary", "opdomain-table/1", "opdomain-table/2", "format", "opdomain-table/1", true},
	{"an id", "summary", `"id": "wages-by-trade"`, `"id": "../wages"`, "id", "an id", true},
	{"earlier twice", "difference", `"id": "claims-all"`, `"id": "claims-without-one"`, "earlier[0]", "duplicate id", false},
	{"something behind", "summary", `"format"`, `"format": 1}, {"format"`, "byte", "nothing behind", false},
}

func (x *wrongCase) of(t testing.TB) []byte {
	t.Helper()
	b := example(t, x.from)
	out := bytes.Replace(b, []byte(x.old), []byte(x.to), 1)
	if bytes.Equal(b, out) {
		t.Fatalf("%s changes nothing", x.name)
	}
	return out
}

func TestDecodeRefuses(t *testing.T) {
	for _, x := range wrong {
		_, err := Decode(x.of(t))
		var e *sandbox.Error
		if !errors.As(err, &e) || e.Kind != sandbox.Invalid || !strings.HasPrefix(e.Object, x.place) || !strings.Contains(e.Detail, x.rule) {
			t.Errorf("%s: %v", x.name, err)
		}
		if err != nil && (strings.Contains(err.Error(), "100.5") || strings.Contains(err.Error(), "901") || strings.Contains(err.Error(), "32501")) {
			t.Errorf("%s: the error tells a value", x.name)
		}
	}
	if _, err := Decode([]byte("{\"format\": \"\xff\"}")); !errors.Is(err, sandbox.Invalid) {
		t.Error("bytes that are no text")
	}
	if _, err := Decode([]byte(strings.Repeat("[", 100) + strings.Repeat("]", 100))); !errors.Is(err, sandbox.Invalid) {
		t.Error("a deep value")
	}
}

func TestRules(t *testing.T) {
	p, err := DecodeRules(example(t, "rules"))
	if err != nil || p != (egress.Params{MinSubjects: 5, DominanceN: 1, DominanceK: 50, PPercent: 20}) {
		t.Errorf("%+v %v", p, err)
	}
	for in, place := range map[string]string{
		`{"rules": {"frequence": {}}}`:                        "rules.frequence",
		`{"rules": {"frequency": {"n": 3}}}`:                  "rules.frequency.n",
		`{"rules": {"frequency": {"min_subjects": -3}}}`:      "rules.frequency.min_subjects",
		`{"rules": {"frequency": {"min_subjects": 1}}}`:       "thresholds",
		`{"rules": {"dominance": {"n": 2}, "dominance": {}}}`: "rules.dominance",
		`{"rule": {}}`: "rule",
		`{}`:           "rules",
		`[]`:           "file",
	} {
		_, err := DecodeRules([]byte(in))
		var e *sandbox.Error
		if !errors.As(err, &e) || e.Kind != sandbox.Invalid || e.Object != place {
			t.Errorf("%s: %v", in, err)
		}
	}
}

// TestThirdLargestIsTheWorst: of a summary's others as much as can be is with few.
func TestThirdLargestIsTheWorst(t *testing.T) {
	const cell = `{"format":"opdomain-table/1","datasets":["d"],"dimensions":[],"measures":[{"name":"w","func":"sum","column":"d.w"}],"cells":[{"people":20,"values":{"w":{"top1":300,"top2":300,"sum":1000}}}]}`
	x, err := Decode([]byte(cell))
	if err != nil {
		t.Fatal(err)
	}
	if got := x.answer.Cells[0].Contributions[0]; total(got) != 1000 || got[2] != 300 || got[3] != 84 || got[4] != 1 {
		t.Errorf("%v", got)
	}
	p := Standard()
	p.DominanceN, p.DominanceK = 3, 85
	if r := judged(t, []byte(cell), p); r.Cells[0].Status != "primary" {
		t.Error("three of a summary's people may hold 90%, and it is published")
	}
}

func TestTooLargeIsWithheld(t *testing.T) {
	var b strings.Builder
	b.WriteString(`{"format":"opdomain-table/1","datasets":["d"],"dimensions":["a","b"],"measures":[{"name":"n","func":"subjects"}],"cells":[`)
	for i := range 5001 {
		if i > 0 {
			b.WriteByte(',')
		}
		fmt.Fprintf(&b, `{"labels":["%d","%d"],"people":%d}`, i%71, i/71, 3+i%40)
	}
	b.WriteString("]}")
	if r := judged(t, []byte(b.String()), Standard()); r.Verdict != Withheld || !strings.Contains(r.Cause, "more rows") || r.Cells[9].Status != "withheld" {
		t.Errorf("%s %s", r.Verdict, r.Cause)
	}
	huge := `{"format":"opdomain-table/1","datasets":["d"],"dimensions":[],"measures":[{"name":"n","func":"subjects"}],"cells":[{"people":9000000}]}`
	if r := judged(t, []byte(huge), Standard()); r.Verdict != Withheld || !strings.Contains(r.Cause, "too large to certify") {
		t.Errorf("%s %s", r.Verdict, r.Cause)
	}
}

// TestBookCarriesOver: what was kept of one table withholds the next; a table of summaries cannot be compared.
func TestBookCarriesOver(t *testing.T) {
	book, l := egress.NewBook(), newLedger(t)
	judge := func(b []byte) Report {
		x, err := Decode(b)
		if err != nil {
			t.Fatal(err)
		}
		r, e, err := Judge(x, Standard(), book, l)
		if err != nil {
			t.Fatal(err)
		}
		if (e != nil) != (r.Verdict != Withheld) {
			t.Errorf("%s: an entry of what was withheld, or none", x.ID)
		}
		if e != nil {
			book.Add(*e)
		}
		return r
	}
	var m map[string]any
	if err := json.Unmarshal(example(t, "difference"), &m); err != nil {
		t.Fatal(err)
	}
	first := m["earlier"].([]any)[0].(map[string]any)
	delete(m, "earlier")
	first["format"] = Format
	one, _ := json.Marshal(first)
	two, _ := json.Marshal(m)
	if r := judge(one); r.Verdict != Published || r.Compared != 0 {
		t.Errorf("the first: %s", r.Verdict)
	}
	if r := judge(two); r.Verdict != Withheld || r.Compared != 1 || r.Finding == nil {
		t.Errorf("the second: %s", r.Verdict)
	}
	x, err := Decode(one)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := Judge(x, Standard(), book, l); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("an id twice: %v", err)
	}
	if r := judge([]byte(`{"format":"opdomain-table/1","datasets":["claims"],"dimensions":[],"measures":[{"name":"n","func":"subjects"}],"cells":[{"people":90}]}`)); r.Verdict != Withheld {
		t.Errorf("summaries beside earlier releases: %s", r.Verdict)
	}
}

func FuzzDecode(f *testing.F) {
	for _, name := range Examples() {
		f.Add(example(f, name))
	}
	for _, x := range wrong {
		f.Add(x.of(f))
	}
	l := newLedger(f)
	f.Fuzz(func(t *testing.T, b []byte) {
		x, err := Decode(b)
		if err != nil {
			var e *sandbox.Error
			if !errors.As(err, &e) {
				t.Fatalf("an error without a place: %v", err)
			}
			return
		}
		if len(x.answer.Population) > 5000 {
			return
		}
		if _, _, err := Judge(x, Standard(), egress.NewBook(), l); err != nil && !errors.Is(err, sandbox.Conflict) {
			t.Fatalf("what was read is not judged: %v", err)
		}
	})
}
