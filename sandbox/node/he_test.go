package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
)

// holder is a source unit that keeps its rows, with what it brings to a sum.
type holder struct {
	id     sandbox.IdentityID
	keys   *keys.Vault
	ledger *he.Ledger
	unit   *he.Unit
	fill   func(p *he.Partial) error
	rows   func(ctx context.Context, p *he.Plan) (*he.Partial, error) // of a joined question
}

// summing is an office with three more units, whose rows the domain never has.
type summing struct {
	*noisy
	units []*holder
}

func newSumming(t *testing.T) *summing {
	t.Helper()
	ctx := t.Context()
	o := &summing{noisy: newNoisy(t, map[sandbox.ScenarioID]sandbox.Noise{"sc-x": {Kind: sandbox.NoiseExact}})}
	o.n.cfg.Engines = func() (he.Engine, func(), [sm.Size]byte, error) {
		return he.NewLocal(rand.Reader), func() {}, sm.Sum([]byte("a test's own process")), nil
	}
	for i, name := range []string{"clinic-1", "clinic-2", "clinic-3", "clinic-4"} {
		k, err := keys.Create(filepath.Join(t.TempDir(), name), []byte("x"), keys.Params{Time: 1, Memory: 64, Threads: 1}, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		e := api.Enrolment{Party: sandbox.Party{ID: sandbox.PartyID(name), Role: sandbox.Unit, Name: name}, Identities: []sandbox.Identity{{ID: sandbox.IdentityID(name), Party: sandbox.PartyID(name), Duty: sandbox.Officer,
			SignKey: k.SigningKey().Public().Bytes(), EncryptKey: k.DecryptKey().Public().Bytes()}}}
		if err := o.n.EnrolParty(ctx, o.agency.Caller, e); err != nil {
			t.Fatal(err)
		}
		l, err := he.OpenLedger(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = l.Close() })
		o.units = append(o.units, &holder{id: sandbox.IdentityID(name), keys: k, ledger: l, fill: func(p *he.Partial) error {
			for cell, people := range []int{40 + i, 3, 25} {
				for who := range people {
					if err := p.Add(cell, uint64(1000*cell+who), nil, 0); err != nil {
						return err
					}
				}
			}
			return nil
		}})
	}
	return o
}

func (o *summing) order(openers ...int) SumOrder {
	x := SumOrder{Spec: asking("sc-x", []string{"code"}, countOf), Threshold: len(openers), Openers: openers, Keys: spec.Keys{"code": {"a", "b", "c"}}}
	for _, u := range o.units {
		x.Units = append(x.Units, u.id)
	}
	return x
}

// contributed plays an epoch until everybody has contributed.
func (o *summing) contributed(s *Sum) []*he.Message {
	o.Helper()
	ctx := o.Context()
	one := func(m *he.Message, err error) *he.Message {
		o.Helper()
		if err != nil {
			o.Fatal(err)
		}
		return m
	}
	var commits, shares, deals, out []*he.Message
	for i, u := range o.units {
		var err error
		if u.unit, err = he.NewUnit(he.Config{Plan: s.Plan(), Engine: he.NewLocal(rand.Reader), Sign: u.keys.SigningKey(), Open: u.keys.DecryptKey(), Ledger: u.ledger, Rand: rand.Reader}, i); err != nil {
			o.Fatal(err)
		}
		commits = append(commits, one(u.unit.Commit(ctx)))
	}
	commits = append(commits, one(s.Commit(ctx)))
	for _, u := range o.units {
		shares = append(shares, one(u.unit.Reveal(ctx, commits)))
	}
	shares = append(shares, one(s.Reveal(ctx, commits)))
	if err := s.Key(ctx, shares); err != nil {
		o.Fatal(err)
	}
	for _, u := range o.units {
		deals = append(deals, one(u.unit.Deal(ctx, shares)))
	}
	for _, u := range o.units {
		if err := u.unit.Join(ctx, deals); err != nil {
			o.Fatal(err)
		}
		p, err := he.NewPartial(&s.Plan().Layout)
		if err == nil {
			err = u.fill(p)
		}
		if err != nil {
			o.Fatal(err)
		}
		out = append(out, one(u.unit.Contribute(ctx, p)))
	}
	return out
}

func (o *summing) begun(x SumOrder) *Sum {
	o.Helper()
	s, q, err := o.n.BeginSum(o.Context(), o.operator.Caller, x)
	if err != nil || s == nil || q.State != stateComputing {
		o.Fatalf("%v %+v", err, q.Decision.Reasons)
	}
	return s
}

func (o *summing) shares(contributions []*he.Message, openers ...int) (out []*he.Message) {
	o.Helper()
	for _, i := range openers {
		m, err := o.units[i].unit.Share(o.Context(), contributions)
		if err != nil {
			o.Fatal(err)
		}
		out = append(out, m)
	}
	return out
}

// TestSumFromDecisionToReview: a unit goes silent, the next epoch opens with who is left, and the totals stand before reviewers with the bounds that
// they were judged by; the evidence has every step and verifies.
func TestSumFromDecisionToReview(t *testing.T) {
	o := newSumming(t)
	ctx := t.Context()
	s := o.begun(o.order(0, 1, 2))
	if q, err := o.n.Ask(ctx, o.operator.Caller, o.order(0, 1, 2).Spec); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("what is being computed over ciphertexts is taken up in plain: %v %v", q.State, err)
	}
	first := o.contributed(s)
	err := s.Abort(ctx, he.Share, "clinic-3")
	var abort *he.Abort
	if !errors.As(err, &abort) || abort.Member != "clinic-3" {
		t.Fatalf("%v", err)
	}
	if _, err := s.Open(ctx, first, nil); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("the ended epoch opens: %v", err)
	}
	o.units = slices.Delete(o.units, 2, 3)
	if err := s.Again(ctx, o.order(0, 1)); err != nil {
		t.Fatal(err)
	}
	if err := s.Again(ctx, o.order(0, 1)); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("an epoch beside another: %v", err)
	}
	contributions := o.contributed(s)
	q, err := s.Open(ctx, contributions, o.shares(contributions, 0, 1))
	if err != nil {
		t.Fatal(err)
	}
	values, r := o.result(q)
	if values["a count"] != 40+41+43 || values["c count"] != 75 || len(r.Rows) != 3 || !r.Rows[1].Suppressed {
		t.Errorf("%v", values)
	}
	rec, _, err := o.n.docs.questions.Get(ctx, string(q.ID))
	if err != nil || rec.Decision.Engine != sandbox.HE || !strings.Contains(string(rec.Review.Evidence), "clinic-4") ||
		!slices.ContainsFunc(rec.Review.Flags, func(f egress.Flag) bool { return f.Rule == egress.FlagBounded }) || rec.Review.Uncertified == "" {
		t.Errorf("what reviewers see lacks how it came about: %v", err)
	}
	o.steps(attest.SumPlanned, attest.SumAborted, attest.SumPlanned, attest.SumShared, attest.SumShared, attest.SumOpened)
	if _, _, err := o.n.BeginSum(ctx, o.operator.Caller, o.order(0, 1)); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("the same question again: %v", err)
	}
	// Why an epoch ended may follow from what a unit holds: the agency has it on record, and who asked has not.
	for who, want := range map[*seat]int{&o.operator: 0, &o.agency: 1} {
		var b bytes.Buffer
		if err := o.n.Bundle(ctx, who.Caller, &b); err != nil {
			t.Fatal(err)
		}
		r, err := attest.VerifyBundle(bytes.NewReader(b.Bytes()), o.n.keys.SigningKey().Public())
		if err != nil || r.Events[attest.SumAborted] != want || r.Events[attest.SumOpened] != 1 {
			t.Errorf("%s: %v %v", who.Party.ID, r.Events, err)
		}
	}
	o.audit()
}

// TestSumOfAffiliates: a unit that declares the asker its affiliate counts towards no threshold of a sum, nor does one that the asker declares.
func TestSumOfAffiliates(t *testing.T) {
	for name, declare := range map[string]func(o *summing) (id, affiliate sandbox.PartyID){
		"the unit's word":  func(*summing) (sandbox.PartyID, sandbox.PartyID) { return "clinic-1", "operator" },
		"the asker's word": func(*summing) (sandbox.PartyID, sandbox.PartyID) { return "operator", "clinic-1" },
	} {
		o := newSumming(t)
		ctx := t.Context()
		o.units = o.units[:3] // three are needed that are strangers
		id, affiliate := declare(o)
		p, rev, err := o.n.docs.parties.Get(ctx, string(id))
		if err == nil {
			p.Affiliates = append(p.Affiliates, affiliate)
			_, err = o.n.docs.parties.Update(ctx, string(id), rev, "", "", p)
		}
		if err != nil {
			t.Fatal(err)
		}
		s := o.begun(o.order(0, 1))
		contributions := o.contributed(s)
		q, err := s.Open(ctx, contributions, o.shares(contributions, 0, 1))
		if err != nil {
			t.Fatal(err)
		}
		rec, _, err := o.n.docs.questions.Get(ctx, string(q.ID))
		if err != nil || rec.Review == nil {
			t.Fatal(err)
		}
		r, err := egress.DecodeResult(rec.Review.Result)
		if err != nil {
			t.Fatal(err)
		}
		for _, row := range r.Rows {
			if !row.Suppressed {
				t.Errorf("%s: a cell of two strangers leaves", name)
			}
		}
	}
}

// TestSumFaults: a wrong share ends the epoch, on record; giving up withholds the question; and without an engine nothing begins.
func TestSumFaults(t *testing.T) {
	o := newSumming(t)
	ctx := t.Context()
	s := o.begun(o.order(0, 1, 2))
	contributions := o.contributed(s)
	shares := o.shares(contributions, 0, 1, 2)
	shares[1] = shares[0]
	if _, err := s.Open(ctx, contributions, shares); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a share twice: %v", err)
	}
	if err := s.GiveUp(ctx, "units left"); err != nil {
		t.Fatal(err)
	}
	rec, _, err := o.n.docs.questions.Get(ctx, string(s.q.ID))
	if err != nil || rec.Review.State != egress.Withheld {
		t.Errorf("%v %v", rec.Review, err)
	}
	last := o.events()
	if !slices.ContainsFunc(last, func(e attest.Event) bool {
		return e.Kind == attest.SumAborted && strings.Contains(string(e.Body), "clinic-")
	}) {
		t.Error("the abort does not name who broke the rule")
	}
	o.audit()

	refused := o.order(0, 1, 2)
	refused.Spec.Measures = []query.Measure{peopleOf}
	if s, q, err := o.n.BeginSum(ctx, o.operator.Caller, refused); err != nil || s != nil || q.State != stateRefused || !slices.ContainsFunc(q.Decision.Reasons, func(r sandbox.Reason) bool { return strings.HasPrefix(r.Code, "he.") }) {
		t.Errorf("distinct people over ciphertexts: %v %v", q.Decision.Reasons, err)
	}
	few := o.order(0)
	few.Spec = asking("sc-x", []string{"kind"}, countOf)
	few.Keys = spec.Keys{"kind": {"x", "y"}}
	if s, q, err := o.n.BeginSum(ctx, o.operator.Caller, few); err != nil || s != nil || q.State != stateRefused {
		t.Errorf("one opens: %v %v", q.Decision.Reasons, err)
	}
	few = o.order(0, 1, 2)
	few.Spec, few.Keys = asking("sc-x", []string{"kind"}, countOf), spec.Keys{"kind": {"x", "y"}}
	few.Units[0] = "operator"
	if _, _, err := o.n.BeginSum(ctx, o.operator.Caller, few); !errors.Is(err, sandbox.Denied) {
		t.Errorf("an operator contributes: %v", err)
	}
	o.n.cfg.Engines = nil // and no jail
	few.Units[0] = "clinic-1"
	if _, _, err := o.n.BeginSum(ctx, o.operator.Caller, few); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("without a jail: %v", err)
	}
	if computing, err := o.n.docs.questions.List(ctx, listState(stateComputing)); err != nil || len(computing) > 0 {
		t.Errorf("what never began is computing: %d %v", len(computing), err)
	}
	o.audit()
}

// TestSumCannotStart: where the gate cannot begin its epoch the question is withheld, and the evidence has plan and abort.
func TestSumCannotStart(t *testing.T) {
	o := newSumming(t)
	l, err := o.n.sums.ledger(filepath.Join(o.n.cfg.Dir, "sums"))
	if err != nil {
		t.Fatal(err)
	}
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, _, err := o.n.BeginSum(t.Context(), o.operator.Caller, o.order(0, 1, 2)); !errors.Is(err, sandbox.Unavailable) {
		t.Fatalf("%v", err)
	}
	o.steps(attest.SumPlanned, attest.SumAborted)
	o.audit()
}

// TestSumRights: an asker, or who acts for a unit, that is shut out before the opening has nothing opened; another's sum goes on beside it.
func TestSumRights(t *testing.T) {
	ctx := t.Context()
	for name, who := range map[string]sandbox.IdentityID{"asker": "operator", "unit": "clinic-2"} {
		t.Run(name, func(t *testing.T) {
			o := newSumming(t)
			s := o.begun(o.order(0, 1, 2))
			contributions := o.contributed(s)
			shares := o.shares(contributions, 0, 1, 2)
			if err := o.n.RevokeIdentity(ctx, o.agency.Caller, who, "left"); err != nil {
				t.Fatal(err)
			}
			q, err := s.Open(ctx, contributions, shares)
			rec, _, found := o.n.docs.questions.Get(ctx, string(s.q.ID))
			if found != nil || !rec.Sum.Ended {
				t.Fatalf("%v", found)
			}
			if name == "asker" {
				if !errors.Is(err, sandbox.Expired) || rec.Review != nil {
					t.Errorf("%v", err)
				}
			} else if err != nil || q.State == stateComputing || rec.Review.State != egress.Withheld || len(rec.Review.Digest) > 0 {
				t.Errorf("%v %v", rec.Review, err)
			}
			if err := s.Again(ctx, o.order(0, 1, 2)); !errors.Is(err, sandbox.Conflict) {
				t.Errorf("another epoch: %v", err)
			}
			o.steps(attest.SumPlanned, attest.SumAborted)
			o.audit()
		})
	}
	t.Run("again", func(t *testing.T) {
		o := newSumming(t)
		s := o.begun(o.order(0, 1, 2))
		_ = s.Abort(ctx, he.Share, "clinic-3")
		if err := o.n.RevokeIdentity(ctx, o.agency.Caller, "operator", "left"); err != nil {
			t.Fatal(err)
		}
		if err := s.Again(ctx, o.order(0, 1, 2)); !errors.Is(err, sandbox.Expired) || !s.done {
			t.Errorf("%v", err)
		}
		o.steps(attest.SumPlanned, attest.SumAborted)
		o.audit()
	})
}

// opening is an engine that calls before each opening.
type opening struct {
	he.Engine
	before func()
}

func (e opening) Do(ctx context.Context, op he.Op, args ...[]byte) ([][]byte, error) {
	if op == he.OpOpen {
		e.before()
	}
	return e.Engine.Do(ctx, op, args...)
}

// TestSumReadOnce: a sum that was read and could not be recorded has no other epoch; it is withheld when the record takes changes again. A
// question begun beside it was not held up.
func TestSumReadOnce(t *testing.T) {
	o := newSumming(t)
	ctx := t.Context()
	o.n.cfg.Engines = func() (he.Engine, func(), [sm.Size]byte, error) {
		return opening{he.NewLocal(rand.Reader), func() { o.n.admitting.Store(waits) }}, func() {}, sm.Sum([]byte("a test's own process")), nil
	}
	s := o.begun(o.order(0, 1, 2))
	other := o.order(0, 1, 2)
	other.Spec, other.Keys = asking("sc-x", []string{"kind"}, countOf), spec.Keys{"kind": {"x", "y"}}
	beside := o.begun(other)
	contributions := o.contributed(s)
	if _, err := s.Open(ctx, contributions, o.shares(contributions, 0, 1, 2)); err == nil {
		t.Fatal("opened without a record")
	}
	o.n.admitting.Store(admits)
	if err := s.Again(ctx, o.order(0, 1, 2)); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("another epoch of what was read: %v", err)
	}
	if err := s.GiveUp(ctx, "not recorded"); err != nil {
		t.Fatal(err)
	}
	rec, _, err := o.n.docs.questions.Get(ctx, string(s.q.ID))
	if err != nil || rec.Review.State != egress.Withheld || !rec.Sum.Ended {
		t.Errorf("%v %v", rec.Review, err)
	}
	o.steps(attest.SumPlanned, attest.SumPlanned, attest.SumShared, attest.SumShared, attest.SumShared, attest.SumOpened)
	if err := beside.GiveUp(ctx, "the test ends"); err != nil {
		t.Fatal(err)
	}
	o.audit()
}

// steps holds the record to these steps of sums.
func (o *summing) steps(want ...attest.Kind) {
	o.Helper()
	var kinds []attest.Kind
	for _, e := range o.events() {
		if strings.HasPrefix(string(e.Kind), "sum.") {
			kinds = append(kinds, e.Kind)
		}
	}
	if !slices.Equal(kinds, want) {
		o.Errorf("on record: %v", kinds)
	}
}

// events are the domain's, in the order of the log.
func (o *summing) events() []attest.Event {
	o.Helper()
	var out []attest.Event
	for e, err := range o.n.evidence.Events(o.Context()) {
		if err != nil {
			o.Fatal(err)
		}
		out = append(out, e.Event)
	}
	return out
}
