package unit

import (
	"context"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

var visits = catalog.Dataset{ID: "visits", Unit: "a", Frequency: catalog.Daily, Subject: "who", SubjectKind: catalog.Opaque, Columns: []catalog.Column{
	{Name: "who", Type: catalog.Text, Grade: 3, Personal: true}, {Name: "district", Type: catalog.Text, Grade: 1, Public: true}, {Name: "fee", Type: catalog.Money, Grade: 2}}}

type seats struct {
	t    *testing.T
	sign []*sm.SigningKey // of units a to d, then the gate
	open []*sm.DecryptKey
}

func newSeats(t *testing.T) *seats {
	s := &seats{t: t}
	for range 5 {
		k, err := sm.NewSigningKey(rand.Reader)
		s.ok(err)
		o, err := sm.NewDecryptKey(rand.Reader)
		s.ok(err)
		s.sign, s.open = append(s.sign, k), append(s.open, o)
	}
	return s
}

func (s *seats) ok(err error) {
	s.t.Helper()
	if err != nil {
		s.t.Fatal(err)
	}
}

func (s *seats) member(i int) he.Member {
	id := sandbox.PartyID([]string{"a", "b", "c", "d", "pilot-gate"}[i])
	return he.Member{ID: id, Verify: s.sign[i].Public(), Seal: s.open[i].Public()}
}

func (s *seats) self() Self {
	return Self{Member: s.member(0), Owner: "a", Approve: s.sign[0].Public()}
}

// offer is a plan over units a to d, three of whom open.
func (s *seats) offer() (Offer, *Compiled) {
	s.t.Helper()
	o := Offer{Domain: "pilot", Question: "q-1", Keys: spec.Keys{"district": {"x", "y"}}, Spec: query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "v", Dataset: "visits"}},
		Dimensions: []query.Dimension{{Column: "v.district", As: "district"}}, Measures: []query.Measure{{Func: sandbox.Mean, Column: "v.fee", As: "fee"}}}}
	q, why := o.Compile([]catalog.Dataset{visits})
	if len(why) > 0 {
		s.t.Fatal(why)
	}
	o.Plan = &he.Plan{Run: he.RunOf("pilot", "q-1", o.Spec.Canonical()), Epoch: 1, Set: he.SumSet, Threshold: 3, Openers: []int{0, 1, 2}, Layout: *q.Layout(), Gate: s.member(4)}
	for i := range 4 {
		o.Plan.Units = append(o.Plan.Units, s.member(i))
	}
	return o, q
}

var noon = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)

// TestDecide: an approval lets in what was approved and nothing else, and a refusal says which rule.
func TestDecide(t *testing.T) {
	s := newSeats(t)
	o, q := s.offer()
	terms := Terms{Least: 3, Threshold: 2, Epochs: 3, Issued: noon, Expires: noon.Add(48 * time.Hour)}
	approval, err := Approve(rand.Reader, s.sign[0], o, q, s.self(), terms)
	s.ok(err)
	only := terms
	only.Only = true
	exact, err := Approve(rand.Reader, s.sign[0], o, q, s.self(), only)
	s.ok(err)
	foreign, err := Approve(rand.Reader, s.sign[1], o, q, s.self(), terms)
	s.ok(err)
	otherwise := newSeats(t)
	for name, c := range map[string]struct {
		with attest.Statement
		edit func(*Offer)
		at   time.Duration
		code string // empty: allowed
		says string
	}{
		"as approved":                {with: approval},
		"a later epoch, one left":    {with: approval, edit: func(o *Offer) { o.Plan.Epoch, o.Plan.Units = 3, o.Plan.Units[:3] }},
		"fewer open":                 {with: approval, edit: func(o *Offer) { o.Plan.Units, o.Plan.Threshold, o.Plan.Openers = o.Plan.Units[:3], 2, []int{1, 2} }},
		"an epoch too many":          {with: approval, edit: func(o *Offer) { o.Plan.Epoch = 4 }, code: "he.terms"},
		"another's keys":             {with: approval, edit: func(o *Offer) { o.Plan.Units[1].Verify = otherwise.sign[1].Public() }, code: "he.member", says: "unit b has the keys"},
		"another's sealing key":      {with: approval, edit: func(o *Offer) { o.Plan.Units[2].Seal = otherwise.open[2].Public() }, code: "he.member", says: "unit c"},
		"another unit":               {with: approval, edit: func(o *Offer) { o.Plan.Units[1].ID = "e" }, code: "he.member", says: "unit e is one"},
		"own key replaced":           {with: approval, edit: func(o *Offer) { o.Plan.Units[0].Verify = otherwise.sign[0].Public() }, code: "he.plan", says: "own keys"},
		"another gate":               {with: approval, edit: func(o *Offer) { o.Plan.Gate.Verify = otherwise.sign[4].Public() }, code: "he.gate"},
		"another gate's name":        {with: approval, edit: func(o *Offer) { o.Plan.Gate.ID = "x" }, code: "he.plan"},
		"another layout":             {with: approval, edit: func(o *Offer) { o.Plan.Layout.Cells = []string{"one"} }, code: "he.plan", says: "layout"},
		"another run":                {with: approval, edit: func(o *Offer) { o.Plan.Run[0] ^= 1 }, code: "he.plan", says: "run"},
		"outside its budget":         {with: approval, edit: func(o *Offer) { o.Plan.Threshold = 1 }, code: "he.threshold"},
		"another set":                {with: approval, edit: func(o *Offer) { o.Plan.Set = he.StatisticsSet }, code: "he.terms"},
		"expired":                    {with: approval, at: 49 * time.Hour, code: "he.terms"},
		"not yet":                    {with: approval, at: -time.Hour, code: "he.terms"},
		"signed by another":          {with: foreign, code: "he.not-approved"},
		"that plan alone":            {with: exact},
		"another than that plan":     {with: exact, edit: func(o *Offer) { o.Plan.Openers = []int{0, 1, 3} }, code: "he.terms"},
		"of another question":        {with: approval, edit: func(o *Offer) { o.Question = "q-2"; o.Plan.Run = he.RunOf("pilot", "q-2", o.Spec.Canonical()) }, code: "he.not-approved"},
		"another wording, one shape": {with: approval, edit: func(o *Offer) { o.Spec.Purpose = "z"; o.Plan.Run = he.RunOf("pilot", "q-1", o.Spec.Canonical()) }, code: "he.terms"},
	} {
		t.Run(name, func(t *testing.T) {
			o, q := s.offer()
			if c.edit != nil {
				c.edit(&o)
			}
			d := Decide(o, q, s.self(), []attest.Statement{foreign, c.with}, noon.Add(c.at))
			if d.Allow != (c.code == "") || c.code != "" && !slices.ContainsFunc(d.Reasons, func(r sandbox.Reason) bool { return r.Code == c.code && strings.Contains(r.Rule, c.says) }) {
				t.Errorf("%v %v", d.Allow, d.Reasons)
			}
		})
	}
	few := terms
	few.Least = 2
	if _, err := Approve(rand.Reader, s.sign[0], o, q, s.self(), few); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("two units: %v", err)
	}
}

// deaf is a carrier that must not be asked for anything but where the epoch stands and to leave.
type deaf struct {
	Carrier
	left []string
}

func (d *deaf) Standing(context.Context) (Standing, error) {
	return Standing{Epoch: 1, Kind: he.Commitment}, nil
}

func (d *deaf) Leave(_ context.Context, _ uint64, why string) error {
	d.left = append(d.left, why)
	return nil
}

// TestRowsFirst: rows that do not fit end the unit's part before a key is drawn or anything is sent, and the others are told no more than that.
func TestRowsFirst(t *testing.T) {
	s := newSeats(t)
	o, _ := s.offer()
	l, err := he.OpenLedger(t.TempDir())
	s.ok(err)
	defer l.Close()
	d := &deaf{}
	unfit := &sandbox.Error{Op: "t", Kind: sandbox.Invalid}
	err = Part{Plan: o.Plan, Unit: "a", Sign: s.sign[0], Open: s.open[0], Ledger: l, Rand: rand.Reader, Rows: func(context.Context) (*he.Partial, error) { return nil, unfit }}.Run(t.Context(), d)
	var left *Left
	if !errors.As(err, &left) || left.Why != WhyRows || !errors.Is(err, unfit) || !slices.Equal(d.left, []string{WhyRows}) {
		t.Errorf("%v %v", err, d.left)
	}
}

// TestRestartedReadsNoRows: an epoch that was begun here before is left before a row is read.
func TestRestartedReadsNoRows(t *testing.T) {
	s := newSeats(t)
	o, _ := s.offer()
	l, err := he.OpenLedger(t.TempDir())
	s.ok(err)
	defer l.Close()
	u, err := he.NewUnit(he.Config{Plan: o.Plan, Engine: he.NewLocal(rand.Reader), Sign: s.sign[0], Open: s.open[0], Ledger: l, Rand: rand.Reader}, 0)
	s.ok(err)
	u.Close()
	d := &deaf{}
	err = Part{Plan: o.Plan, Unit: "a", Sign: s.sign[0], Open: s.open[0], Ledger: l, Rand: rand.Reader, Rows: func(context.Context) (*he.Partial, error) {
		t.Error("rows were read")
		return nil, errors.New("read")
	}}.Run(t.Context(), d)
	if !errors.Is(err, sandbox.Conflict) || !slices.Equal(d.left, []string{WhyRestart}) {
		t.Errorf("%v %v", err, d.left)
	}
}
