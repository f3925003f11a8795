package attest

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// TestScoringInBundles: models that are filed, approved, asked and withdrawn as they should be hold, with every customer counted and metered; each
// other order, actor or sum is found.
func TestScoringInBundles(t *testing.T) {
	c := newCast(t)
	filed := func(change func(*step, *ScoringModelFiling)) step {
		f := &ScoringModelFiling{Name: "credit", Version: "1.0.0", Link: "logistic", Features: []ScoringFeature{{Name: "age", Unit: "岁", Min: 0, Max: 100}, {Name: "debt", Min: -1, Max: 1}},
			Commitment: digest("weights"), At: start}
		s := step{name: "file model", kind: ScoringModelFiled, actor: "op-officer", context: ContextScoringModel, body: f}
		if change != nil {
			change(&s, f)
		}
		return s
	}
	approved := func(change func(*step, *ScoringModelApproval)) step {
		a := &ScoringModelApproval{Name: "credit", Version: "1.0.0", At: start}
		s := step{name: "approve model", kind: ScoringModelApproved, actor: "agency-officer", context: ContextScoringApproval, body: a}
		if change != nil {
			change(&s, a)
		}
		return s
	}
	withdrawn := func(actor sandbox.IdentityID) step {
		return step{name: "withdraw model", kind: ScoringModelWithdrawn, actor: actor, context: ContextScoringWithdraw, body: &ScoringModelWithdrawal{Name: "credit", Version: "1.0.0", Reason: "r", At: start}}
	}
	asked := func(id sandbox.QuestionID, customers, used int64, change func(*step, *ScoringDecidedBody)) step {
		b := &ScoringDecidedBody{Scoring: id, Model: "credit-1.0.0", Scenario: "sc-1", Asker: "op-officer", Customers: customers, Allow: true, Today: used, Used: used, PerDay: 10, Total: 20, Policy: "p", Request: digest("r")}
		s := step{name: "scoring", kind: ScoringDecided, actor: "op-officer", body: b}
		if change != nil {
			change(&s, b)
		}
		return s
	}
	meter := func(id sandbox.QuestionID, quantity int64) step {
		return step{name: "scoring meter", kind: UsageMetered, actor: "op-officer", body: &UsageMeteredBody{ID: "u-" + string(id), Party: "operator", Scenario: "sc-1", Product: "scoring-customers", Quantity: quantity, Question: id, At: start}}
	}
	scored := func(id sandbox.QuestionID, change func(*ScoringAnsweredBody)) step {
		b := &ScoringAnsweredBody{Scoring: id, Engine: digest("engine"), Answer: digest("answer")}
		if change != nil {
			change(b)
		}
		return step{name: "scored", kind: ScoringAnswered, actor: "op-officer", body: b}
	}
	refused := asked("s-0", 3, 0, func(_ *step, b *ScoringDecidedBody) {
		b.Allow, b.Codes, b.Today, b.PerDay, b.Total = false, []string{"model.total"}, 0, 0, 0
	})
	whole := []step{filed(nil), refused, approved(nil), asked("s-1", 3, 3, nil), meter("s-1", 4), scored("s-1", nil), asked("s-2", 1, 4, nil), meter("s-2", 1),
		scored("s-2", func(b *ScoringAnsweredBody) { b.Answer, b.Fault = nil, sandbox.Invalid }), withdrawn("op-officer")}
	for name, x := range map[string]struct {
		steps []step
		want  string
	}{
		"whole":                    {whole, ""},
		"withdrawn by agency":      {append(append([]step{}, whole[:9]...), withdrawn("agency-officer")), ""},
		"filed twice":              {[]step{filed(nil), filed(nil)}, "filed once"},
		"filed by a unit":          {[]step{filed(func(s *step, _ *ScoringModelFiling) { s.actor = "med-officer" })}, "of an operator or a partner"},
		"without commitment":       {[]step{filed(func(_ *step, f *ScoringModelFiling) { f.Commitment = nil })}, "commitment to its weights"},
		"a feature twice":          {[]step{filed(func(_ *step, f *ScoringModelFiling) { f.Features[1].Name = "age" })}, "with its features"},
		"a range of nothing":       {[]step{filed(func(_ *step, f *ScoringModelFiling) { f.Features[1].Min = 1 })}, "with its features"},
		"approved unfiled":         {[]step{approved(nil)}, "approved after it was filed"},
		"another filing":           {[]step{filed(nil), approved(func(_ *step, a *ScoringModelApproval) { a.Filing = digest("x") })}, "what was filed is what was approved"},
		"approved by its owner":    {[]step{filed(nil), approved(func(s *step, _ *ScoringModelApproval) { s.actor = "op-officer" })}, "in the role agency"},
		"approved by a reviewer":   {[]step{filed(nil), approved(func(s *step, _ *ScoringModelApproval) { s.actor = "agency-reviewer" })}, "by an officer"},
		"approved by an affiliate": {[]step{filed(nil), approved(nil)}, "not by an affiliate"},
		"approved twice":           {[]step{filed(nil), approved(nil), approved(nil)}, "approved once"},
		"approved once withdrawn": {[]step{filed(nil), withdrawn("op-officer"), approved(nil)},
			"not after it was withdrawn"},
		"withdrawn by another":     {[]step{filed(nil), withdrawn("med-officer")}, "by the agency or its owner"},
		"withdrawn twice":          {[]step{filed(nil), withdrawn("op-officer"), withdrawn("agency-officer")}, "withdrawn once"},
		"scored before approval":   {[]step{filed(nil), asked("s-1", 3, 3, nil)}, "of an approved model"},
		"scored once withdrawn":    {append(append([]step{}, whole...), asked("s-3", 1, 5, nil)), "not withdrawn"},
		"a customer not counted":   {append(append([]step{}, whole[:6]...), asked("s-2", 2, 4, nil)), "with every customer counted"},
		"more than was agreed":     {append(append([]step{}, whole[:3]...), asked("s-1", 11, 11, nil)), "within the customers"},
		"no grant":                 {append(append([]step{}, whole[:3]...), asked("s-1", 1, 1, func(_ *step, b *ScoringDecidedBody) { b.Scenario = "sc-9" })), "under a grant"},
		"by a unit":                {append(append([]step{}, whole[:3]...), asked("s-1", 1, 1, func(s *step, b *ScoringDecidedBody) { s.actor, b.Asker = "med-officer", "med-officer" })), "by an operator"},
		"in another's name":        {append(append([]step{}, whole[:3]...), asked("s-1", 1, 1, func(_ *step, b *ScoringDecidedBody) { b.Asker = "med-officer" })), "by who asked"},
		"refused without a reason": {append(append([]step{}, whole[:3]...), asked("s-1", 1, 1, func(_ *step, b *ScoringDecidedBody) { b.Allow = false })), "refused for a reason"},
		"decided twice":            {append(append([]step{}, whole...), refused), "decided once"},
		"metered for less":         {append(append([]step{}, whole[:4]...), meter("s-1", 3)), "by its bracket"},
		"metered as a question": {append(append([]step{}, whole[:4]...), func() step {
			s := meter("s-1", 4)
			s.body.(*UsageMeteredBody).Product = "aggregate-question"
			return s
		}()), "is metered as one"},
		"scored unmetered":       {append(append([]step{}, whole[:4]...), scored("s-1", nil)), "metered before"},
		"scored twice":           {append(append([]step{}, whole[:6]...), scored("s-1", nil)), "once"},
		"scored though refused":  {append(append([]step{}, whole[:6]...), scored("s-0", nil)), "allowed"},
		"scored undecided":       {append(append([]step{}, whole[:6]...), scored("s-7", nil)), "that was decided"},
		"an answer and a fault":  {append(append([]step{}, whole[:5]...), scored("s-1", func(b *ScoringAnsweredBody) { b.Fault = sandbox.Invalid })), "an answer or a fault"},
		"neither":                {append(append([]step{}, whole[:5]...), scored("s-1", func(b *ScoringAnsweredBody) { b.Answer = nil })), "an answer or a fault"},
		"an engine nobody saw":   {append(append([]step{}, whole[:5]...), scored("s-1", func(b *ScoringAnsweredBody) { b.Engine = nil })), "looked at"},
		"counted on another day": {append(append([]step{}, whole[:3]...), asked("s-1", 1, 1, func(_ *step, b *ScoringDecidedBody) { b.Day = "2026-03-01" })), "on the day"},
	} {
		s := append(c.story(), x.steps...)
		if name == "approved by an affiliate" {
			body[PartyEnrolledBody](t, s, "agency").Party.Affiliates = []sandbox.PartyID{"operator"}
			s = slices.DeleteFunc(s, func(x step) bool {
				return x.kind == ReviewVoted || x.kind == ReviewOpened || x.kind == ReviewMoved || x.kind == ReleaseSent || x.kind == EgressChecked
			})
		}
		for i := range s {
			s[i].minute = i
			if b, ok := s[i].body.(*ScoringDecidedBody); ok && b.Allow {
				own := *b // steps are shared between the cases
				if own.Day == "" {
					own.Day = start.Add(time.Duration(i) * time.Minute).In(shanghai()).Format(time.DateOnly)
				}
				s[i].body = &own
			}
		}
		_, err := verify(bundle(t, c.play(t, s), everything))
		if x.want == "" && err != nil || x.want != "" && (!errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s: want %q, got %v", name, x.want, err)
		}
	}
}
