package node

import (
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agent"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// TestSharesKind: the zones are told of which kind the identifiers are, so that they join them in the form in which the domain does.
func TestSharesKind(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	o.tables("run-1", 0)
	for kind, want := range map[catalog.SubjectKind]catalog.SubjectKind{catalog.Opaque: "", catalog.ResidentID: catalog.ResidentID} {
		f, d := o.factsOf(uplift("sc-m"))
		for i := range d.Inputs {
			d.Inputs[i].Described.SubjectKind = kind
		}
		form, why := o.n.sharesForm(f, d)
		if len(why) > 0 || form.question.SubjectKind != want || form.own.Dataset.SubjectKind != kind {
			t.Errorf("%s: %v", kind, why)
		}
	}
}

// TestSharesName: owners read which versions of which datasets they sign for, who asks and what for; where the dataset outside has another
// version when the plan is to be run, it is not run, while a push of the domain's own table leaves the version that was named.
func TestSharesName(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	o.tables("run-1", 0)
	q := o.asks(o.operator, uplift("sc-m"))
	job, err := o.n.SharedJob(t.Context(), o.agency.Caller, q.ID)
	if err != nil {
		t.Fatal(err)
	}
	p, err := mpc.ParsePlan(job.Plan)
	if err != nil {
		t.Fatal(err)
	}
	said, err := agent.Words(p, job.Asked, "bank-zone")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"of dataset ds-l, version 1\n", "of dataset ds-s, version 1\n", "asked by operator under scenario sc-m, for the purpose planning\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said in\n%s", want, said)
		}
	}
	o.tables("run-2", 20)
	if q, said := o.runs(q.ID, false); q.State != stateInReview {
		t.Fatalf("after a push: %s %s %v", q.State, o.record(q.ID).Review.Cause, said)
	}
	q = o.asks(o.operator, uplift("sc-m"))
	b := o.n.cfg.Shares.Outside["ds-l"]
	b.Version++
	o.n.cfg.Shares.Outside["ds-l"] = b
	if q = o.unlinked(q.ID); q.State != stateWithheld || !strings.Contains(o.record(q.ID).Review.Cause, "versions changed since it was planned") {
		t.Errorf("another version outside: %s %s", q.State, o.record(q.ID).Review.Cause)
	}
	s := uplift("sc-m")
	s.Inputs[0].Version = 1
	if q := o.asks(o.operator, s); q.State != stateRefused || q.Decision.Reasons[0].Code != codeSharesForm {
		t.Errorf("a version that its owner does not keep: %s %+v", q.State, q.Decision.Reasons)
	}
	if got := o.bundled(); got[attest.SharesPlanned] != 2 || got[attest.SharesComputed] != 1 || got[attest.SharesAborted] != 1 {
		t.Errorf("evidence: %v", got)
	}
}
