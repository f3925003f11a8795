package node

import (
	"errors"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

// TestSharesWithdrawn: who asked, or the agency, withdraws a planned question before the domain joins it, once, on record; nobody runs it then, and asked
// again it is another question. Nobody else may, and what was joined runs to its end.
func TestSharesWithdrawn(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	o.lends("run-1", 400, nil)
	q := o.asks(o.operator, filtered("sc-m"))
	for _, who := range []seat{o.unit, o.bank} {
		if _, err := o.n.EndShared(t.Context(), who.Caller, q.ID); !errors.Is(err, sandbox.NotFound) {
			t.Errorf("%s withdraws another's question: %v", who.Identity.ID, err)
		}
	}
	got, err := o.n.EndShared(t.Context(), o.operator.Caller, q.ID)
	if err != nil || got.State != stateWithdrawn || got.Code != "" || got.Shares != nil {
		t.Fatalf("%+v %v", got, err)
	}
	if seen, err := o.n.Question(t.Context(), o.operator.Caller, q.ID); err != nil || seen.State != stateWithdrawn {
		t.Errorf("%s %v", seen.State, err)
	}
	for name, err := range map[string]error{
		"again": func() error { _, err := o.n.EndShared(t.Context(), o.agency.Caller, q.ID); return err }(),
		"its job": func() error {
			_, err := o.n.SharedJob(t.Context(), o.agency.Caller, q.ID)
			return err
		}(),
		"its run": func() error {
			_, err := o.n.ComputeShared(t.Context(), o.agency.Caller, q.ID, attest.Statement{})
			return err
		}(),
	} {
		if !errors.Is(err, sandbox.Conflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// It does not stand beside others: nothing opened.
	other := filtered("sc-m")
	other.Filters = nil
	next := o.asks(o.operator, other)
	if next.State != stateComputing {
		t.Fatalf("%s %+v", next.State, next.Decision.Reasons)
	}
	if got, err := o.n.EndShared(t.Context(), o.agency.Caller, next.ID); err != nil || got.State != stateWithdrawn {
		t.Errorf("by the agency: %v", err)
	}
	again := o.asks(o.operator, filtered("sc-m"))
	if again.ID == q.ID || again.State != stateComputing {
		t.Fatalf("asked again it is %s, %s", again.ID, again.State)
	}
	again, said := o.runs(again.ID, false)
	if again.State != stateInReview {
		t.Fatalf("%s: %s\n%s", again.State, o.record(again.ID).Review.Cause, strings.Join(said[:], "\n"))
	}
	if _, err := o.n.EndShared(t.Context(), o.operator.Caller, again.ID); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("after its run: %v", err)
	}
	joined := filtered("sc-m")
	joined.Measures = joined.Measures[:2]
	q = o.asks(o.operator, joined)
	if _, err := o.n.store.Add(t.Context(), joinedOf(attest.SharesJob(q.ID, 1)), 1, 1); err != nil {
		t.Fatal(err)
	}
	if _, err := o.n.EndShared(t.Context(), o.operator.Caller, q.ID); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("joined: %v", err)
	}
	plain := o.asks(o.operator, query.Spec{Scenario: "sc-m", Purpose: "planning", Inputs: []query.Input{{Alias: "s", Dataset: "ds-s"}}, Dimensions: []query.Dimension{{Column: "s.kind", Bin: "kinds", As: "kind"}},
		Measures: []query.Measure{{Func: sandbox.Subjects, As: "people"}}})
	if _, err := o.n.EndShared(t.Context(), o.operator.Caller, plain.ID); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("the domain's own: %v", err)
	}
	if got := o.bundled(); got[attest.SharesPlanned] != 4 || got[attest.SharesComputed] != 1 || got[attest.SharesAborted] != 2 {
		t.Errorf("evidence: %v", got)
	}
}

// TestBothOutside: two zones' datasets are joined with the domain as a party that has no rows; where the owners' keys differ the question is refused.
func TestBothOutside(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	l := o.lends("run-1", 400, nil)
	o.write("subsidies.rows.csv", l.subsidies)
	o.n.cfg.Shares.Outside["ds-s"] = Beyond{Zone: "custodian-zone", Version: 1, Rows: 1 << 10}
	s := filtered("sc-m")
	s.Measures = s.Measures[:4]
	q, said := o.runs(o.asks(o.operator, s).ID, false)
	if q.State != stateInReview {
		t.Fatalf("%s: %s\n%s", q.State, o.record(q.ID).Review.Cause, strings.Join(said[:], "\n"))
	}
	l.same(q.ID, s, 2)
	o.n.cfg.Shares.SubjectKey = func(d sandbox.DatasetID) ([]byte, error) { return []byte(string(d) + strings.Repeat("k", 28)), nil }
	s.Measures = s.Measures[:3]
	if q := o.asks(o.operator, s); q.State != stateRefused || q.Decision.Reasons[0].Code != codeSharesJoin {
		t.Errorf("%s %+v", q.State, q.Decision.Reasons)
	}
}

// TestAloneOverShares: a dataset that stays outside answers alone, over shares, with a filter, and shows the first cells by an order that was
// decided over shares too.
func TestAloneOverShares(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	l := o.lends("run-1", 400, nil)
	s := filtered("sc-m")
	s.Inputs, s.Filters = s.Inputs[:1], s.Filters[:1]
	s.Measures = []query.Measure{{Func: sandbox.Subjects, As: "people"}, {Func: sandbox.Mean, Column: "l.repaid", As: "mean"}, {Func: sandbox.Count, As: "loans"}}
	s.Having, s.Top = []query.Having{{Measure: "people", AtLeast: 12}}, &query.Top{By: "loans", K: 1}
	q, said := o.runs(o.asks(o.operator, s).ID, false)
	if q.State != stateInReview {
		t.Fatalf("%s: %s\n%s", q.State, o.record(q.ID).Review.Cause, strings.Join(said[:], "\n"))
	}
	l.same(q.ID, s, 1)
	// The bank's people answer in these cells only from now on, whatever is joined to them.
	for _, next := range []query.Spec{filtered("sc-m"), uplift("sc-m")} {
		if q := o.asks(o.operator, next); q.State != stateRefused || q.Decision.Reasons[0].Code != codeSharesBeside {
			t.Errorf("%s %+v", q.State, q.Decision.Reasons)
		}
	}
}
