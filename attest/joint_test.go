package attest

import (
	"errors"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// TestJointRunsInBundles: a run of a partner's model that is on record as it should be holds; each other order is found.
func TestJointRunsInBundles(t *testing.T) {
	c := newCast(t)
	event := func(k Kind, body any) step { return step{kind: k, actor: DomainActor, body: body} }
	decided := func(change func(*QuestionDecidedBody)) step {
		b := &QuestionDecidedBody{Question: "q-j", Scenario: "sc-1", Asker: "op-officer", Spec: digest("j"), Allow: true, Engine: sandbox.HE, Class: sandbox.ClassA, Policy: "p", Request: digest("r")}
		if change != nil {
			change(b)
		}
		return step{kind: QuestionDecided, actor: "op-officer", body: b}
	}
	planned := func(run int, change func(*JointRun)) step {
		b := &JointRun{Scenario: "sc-1", Purpose: "health", Of: "q-1", Features: []JointFeature{{"fee", 100}}, Groups: 4, Decimals: 2, Commitment: digest("w"), At: start}
		if change != nil {
			change(b)
		}
		return step{kind: JointPlanned, actor: "op-officer", context: ContextJointRun, body: b, nth: run}
	}
	shared := func(plan, m string) step {
		return event(JointShared, &JointSharedBody{Question: "q-j", Plan: digest(plan), Message: digest(m)})
	}
	opened := func(plan, m string) step {
		return event(JointOpened, &JointOpenedBody{Question: "q-j", Plan: digest(plan), Message: digest(m)})
	}
	aborted := event(JointAborted, &JointAbortedBody{Question: "q-j", Plan: digest("plan"), Stage: "share", Member: "operator", Kind: sandbox.Tampered, Rule: "r"})
	computed := event(RunComputed, &RunComputedBody{Question: "q-j", Run: "r", Inputs: []sandbox.InputVersion{{Dataset: "claims", Version: 2}}})
	elsewhere := event(RunComputed, &RunComputedBody{Question: "q-j", Run: "r", Inputs: []sandbox.InputVersion{{Dataset: "claims", Version: 1}}})
	passed := event(EgressChecked, &EgressCheckedBody{Question: "q-j", Verdict: "pass", Result: digest("scores"), Policy: "p"})
	withheld := event(EgressChecked, &EgressCheckedBody{Question: "q-j", Verdict: "withheld", Policy: "p"})
	revoked := step{kind: ReviewMoved, actor: "agency-officer", context: ContextReviewAct, body: &ReviewAct{Question: "q-1", State: "released", Result: digest("result"), Act: "revoke", Reason: "r", At: start},
		moved: &ReviewMovedBody{Question: "q-1", From: "released", Moves: []ReviewStep{{"revoke", "revoked", sandbox.Agency}}}}
	first := planned(1, nil)
	for name, x := range map[string]struct {
		steps []step
		want  string
	}{
		"opened":                    {[]step{decided(nil), first, shared("plan", "m"), opened("plan", "m"), computed, passed}, ""},
		"aborted":                   {[]step{decided(nil), first, aborted, computed, withheld}, ""},
		"aborted after the shares":  {[]step{decided(nil), first, shared("plan", "m"), aborted, computed, withheld}, ""},
		"the last of two runs":      {[]step{decided(nil), planned(2, nil), aborted, computed, withheld}, ""},
		"a run too many":            {[]step{decided(nil), planned(3, nil)}, "within the runs"},
		"not planned":               {[]step{decided(nil), computed}, "ended before its answer"},
		"planned twice":             {[]step{decided(nil), first, first}, "planned once"},
		"of no question":            {[]step{first}, "of a decided question"},
		"of a question in plain":    {[]step{decided(func(b *QuestionDecidedBody) { b.Engine = sandbox.Domain }), first}, "over ciphertexts"},
		"of another scenario":       {[]step{decided(nil), planned(1, func(r *JointRun) { r.Scenario = "sc-2" })}, "of its scenario"},
		"another asked":             {[]step{decided(func(b *QuestionDecidedBody) { b.Asker = "op-reviewer" }), first}, "statement of who asks"},
		"without a commitment":      {[]step{decided(nil), planned(1, func(r *JointRun) { r.Commitment = nil })}, "a commitment"},
		"without features":          {[]step{decided(nil), planned(1, func(r *JointRun) { r.Features = nil })}, "a commitment"},
		"over nothing":              {[]step{decided(nil), planned(1, func(r *JointRun) { r.Of = "q-x" })}, "decided before"},
		"over what was not sent":    {[]step{decided(nil), planned(1, func(r *JointRun) { r.Of = "q-0" })}, "class A"},
		"over its own scores":       {[]step{decided(nil), planned(1, func(r *JointRun) { r.Of = "q-j" })}, "no score itself"},
		"over what was revoked":     {[]step{revoked, decided(nil), first}, "and stands"},
		"dated in the future":       {[]step{decided(nil), planned(1, func(r *JointRun) { r.At = start.AddDate(1, 0, 0) })}, "not dated after"},
		"shared twice":              {[]step{decided(nil), first, shared("plan", "m"), shared("plan", "m")}, "shared once"},
		"shared by another plan":    {[]step{decided(nil), first, shared("other", "m")}, "before it ends"},
		"shared after an abort":     {[]step{decided(nil), first, aborted, shared("plan", "m")}, "before it ends"},
		"opened without shares":     {[]step{decided(nil), first, opened("plan", "m")}, "what the partner shared"},
		"opened from another":       {[]step{decided(nil), first, shared("plan", "m"), opened("plan", "n")}, "what the partner shared"},
		"opened twice":              {[]step{decided(nil), first, shared("plan", "m"), opened("plan", "m"), opened("plan", "m")}, "opened once"},
		"opened by another plan":    {[]step{decided(nil), first, shared("plan", "m"), opened("other", "m")}, "opened once"},
		"opened after an abort":     {[]step{decided(nil), first, shared("plan", "m"), aborted, opened("plan", "m")}, "opened once"},
		"aborted after it opened":   {[]step{decided(nil), first, shared("plan", "m"), opened("plan", "m"), aborted}, "aborted once"},
		"passed after an abort":     {[]step{decided(nil), first, aborted, computed, passed}, "what passes was opened"},
		"computed while it goes on": {[]step{decided(nil), first, computed}, "ended before its answer"},
		"over another version":      {[]step{decided(nil), first, shared("plan", "m"), opened("plan", "m"), elsewhere}, "over the versions"},
		"shared without a plan":     {[]step{decided(nil), shared("plan", "m")}, "of a plan on record"},
		"opened without a plan":     {[]step{decided(nil), opened("plan", "m")}, "of a plan on record"},
		"aborted without a plan":    {[]step{decided(nil), aborted}, "of a plan on record"},
	} {
		s := append(c.story(), x.steps...)
		for i := range s {
			s[i].minute = i
		}
		_, err := verify(bundle(t, c.play(t, s), everything))
		if x.want == "" && err != nil || x.want != "" && (!errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s: want %q, got %v", name, x.want, err)
		}
	}
}
