package node

import (
	"errors"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/manifest"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// sentBack has a reviewer return a question to its author.
func (o *estate) sentBack(id sandbox.QuestionID) {
	o.Helper()
	by := o.reviewers[0] // of the unit, before a vote of the agency's
	r, err := o.n.Review(o.Context(), by.Caller, id)
	if err == nil {
		_, err = o.n.Act(o.Context(), by.Caller, id, by.says(o.T, attest.ContextReviewAct, attest.ReviewAct{Question: id, Round: r.Round, Act: string(egress.Return), State: r.State, Result: r.Digest, Reason: "r", At: o.n.now()}))
	}
	if err != nil {
		o.Fatal(err)
	}
}

func (o *estate) submitsAgain(id sandbox.QuestionID) error {
	o.Helper()
	rec, err := o.n.reviewed(o.Context(), id)
	if err != nil {
		o.Fatal(err)
	}
	_, err = o.n.Act(o.Context(), o.operator.Caller, id, o.operator.says(o.T, attest.ContextReviewAct, attest.ReviewAct{Question: id, Round: rec.Review.Round, Act: string(egress.Resubmit), State: string(rec.Review.State), At: o.n.now()}))
	return err
}

// withdraws is the agency's withdrawal of an algorithm.
func (o *estate) withdraws(got api.Algorithm) {
	o.Helper()
	st := o.agency.says(o.T, attest.ContextAlgorithmWithdraw, attest.AlgorithmWithdrawal{Name: got.Name, Version: got.Version, Reason: "r", At: o.n.now()})
	if _, err := o.n.WithdrawAlgorithm(o.Context(), o.agency.Caller, got.ID, st); err != nil {
		o.Fatal(err)
	}
}

// TestOpaqueResubmitted: what an output carries is charged once, so a returned one is run anew although the budget has no room for another; every other rule
// is judged again.
func TestOpaqueResubmitted(t *testing.T) {
	o := newEstate(t)
	o.n.profile.Bits.Carried.Value = 60
	o.pushes("ds-two", "run-1", 300, "honest")
	got, err := o.requests("staff", o.images["staff"], nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	view := o.viewed("use-1", "ds-two", bucketed)
	q := o.asksOpaque(got.ID, view).Questions[0].ID
	rec, err := o.n.reviewed(t.Context(), q)
	if err != nil || rec.Review.State != egress.InReview || 2*rec.Opaque.Bits <= 60 {
		t.Fatalf("%s, %d bits: %v", rec.Review.State, rec.Opaque.Bits, err)
	}
	was := string(rec.Review.Result)
	o.sentBack(q)
	if err := o.submitsAgain(q); err != nil {
		t.Fatal(err)
	}
	rec, err = o.n.reviewed(t.Context(), q)
	if err != nil || rec.Review.State != egress.InReview || string(rec.Review.Result) != was {
		t.Fatalf("%s, cause %q: %v", rec.Review.State, rec.Review.Cause, err)
	}
	if n, ran := o.ran(); n != 2 || ran.Fault != "" || ran.View != view || ran.Tier != "T1" {
		t.Errorf("run %d: %+v", n, ran)
	}
	if carried, err := o.n.store.Counter(t.Context(), carriedOf(o.grant("sc-f"))); err != nil || carried != int64(rec.Opaque.Bits) {
		t.Errorf("%d bits are charged: %v", carried, err)
	}
	o.sentBack(q)
	refused := func(name string) {
		t.Helper()
		if err := o.submitsAgain(q); !errors.Is(err, sandbox.Denied) {
			t.Errorf("%s: %v", name, err)
		}
		if n, _ := o.ran(); n != 2 {
			t.Errorf("%s: the code runs", name)
		}
	}
	l := o.n.cfg.Jail
	o.n.cfg.Jail = nil
	refused("without a jail")
	o.n.cfg.Jail = l
	if err := o.n.EraseView(t.Context(), "unit", view); err != nil {
		t.Fatal(err)
	}
	refused("an erased view")
	o.viewed("use-2", "ds-two", bucketed)
	o.withdraws(got)
	refused("a withdrawn algorithm")
	o.audit()
}

// TestOpaqueWithdrawnMeanwhile: what is withdrawn while its question waits for its turn does not run.
func TestOpaqueWithdrawnMeanwhile(t *testing.T) {
	o := newEstate(t)
	o.pushes("ds-one", "run-1", 60, "honest")
	got, err := o.requests("staff", o.images["staff"], nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	now, done := o.n.cfg.Now, false
	o.n.cfg.Now = func() time.Time { // first read when views are ended, before a question has its turn
		if !done {
			done = true
			o.withdraws(got)
		}
		return now()
	}
	if a := o.asksOpaque(got.ID, "ds-one"); !done || a.Decision.Allow || len(a.Questions) > 0 || a.Decision.Reasons[0].Code != codeWithdrawn {
		t.Errorf("%+v", a)
	}
	if n, _ := o.ran(); n != 0 {
		t.Errorf("%d runs", n)
	}
	o.audit()
}

// TestOpaqueLimits: a manifest asks for no more time and memory than the domain gives any foreign code.
func TestOpaqueLimits(t *testing.T) {
	o := newEstate(t)
	office := &agencyOffice{noisy: o.noisy}
	most := o.n.cfg.Algorithms.orDefaults()
	for i, change := range []func(*manifest.Manifest){
		func(m *manifest.Manifest) { m.Limits.Seconds = most.Seconds + 1 },
		func(m *manifest.Manifest) { m.Limits.MemoryMiB = most.Memory + 1 },
	} {
		var b attest.AlgorithmRefusedBody
		if _, err := o.requests("staff", o.images["staff"], change, nil); !errors.Is(err, sandbox.TooLarge) {
			t.Errorf("%d: %v", i, err)
		}
		if n := office.events(attest.AlgorithmRefused, &b); n != i+1 || b.Rule != "manifest.limits" {
			t.Errorf("%d: %d refusals, the last %q", i, n, b.Rule)
		}
	}
	if _, err := o.requests("staff", o.images["staff"], func(m *manifest.Manifest) { m.Limits.Seconds, m.Limits.MemoryMiB = most.Seconds, most.Memory }, nil); err != nil {
		t.Error(err)
	}
	o.audit()
}
