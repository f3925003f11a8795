package attest

import (
	"errors"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// TestAlgorithmsInBundles: a bundle whose algorithms were approved, used and withdrawn as they should be holds; each other order, actor or
// graph is found.
func TestAlgorithmsInBundles(t *testing.T) {
	c := newCast(t)
	approve := func() step {
		return step{name: "approve", kind: AlgorithmApproved, actor: "agency-officer", context: ContextAlgorithm,
			body: &AlgorithmApproval{Name: "cost", Version: "1.0.0", Manifest: digest("manifest"), Image: digest("image"), Graph: digest("graph"), At: start}}
	}
	asked := func() step {
		return step{name: "asked", kind: AlgorithmAsked, actor: "op-officer", body: &AlgorithmAskedBody{Name: "cost", Version: "1.0.0", Graph: digest("graph"), Scenario: "sc-1", Questions: []sandbox.QuestionID{"q-1"}}}
	}
	withdraw := func() step {
		return step{name: "withdraw", kind: AlgorithmWithdrawn, actor: "agency-officer", context: ContextAlgorithmWithdraw, body: &AlgorithmWithdrawal{Name: "cost", Version: "1.0.0", Reason: "r", At: start}}
	}
	refused := step{name: "refused", kind: AlgorithmRefused, actor: "agency-officer", body: &AlgorithmRefusedBody{Name: "cost", Version: "1.0.1", Image: digest("x"), Rule: "image.digest"}}
	for name, x := range map[string]struct {
		steps []step
		want  string
	}{
		"approved, asked, withdrawn": {[]step{approve(), refused, asked(), withdraw()}, ""},
		"refused alone":              {[]step{refused}, ""},
		"asked without approval":     {[]step{asked()}, "of an approved algorithm"},
		"asked after withdrawal":     {[]step{approve(), withdraw(), asked()}, "not withdrawn"},
		"withdrawn twice":            {[]step{approve(), withdraw(), withdraw()}, "withdrawn once"},
		"approved twice":             {[]step{approve(), approve()}, "approved once"},
		"withdrawn before approval":  {[]step{withdraw()}, "approved before"},
		"approved by an operator": {[]step{func() step {
			s := approve()
			s.actor = "op-officer"
			return s
		}()}, "in the role agency"},
		"approved by a reviewer": {[]step{func() step {
			s := approve()
			s.actor = "agency-reviewer"
			return s
		}()}, "by an officer"},
		"without an image": {[]step{func() step {
			s := approve()
			s.body.(*AlgorithmApproval).Image = nil
			return s
		}()}, "with the digests"},
		"another graph": {[]step{approve(), func() step {
			s := asked()
			s.body.(*AlgorithmAskedBody).Graph = digest("another")
			return s
		}()}, "with the graph that was approved"},
		"a question of another scenario": {[]step{approve(), func() step {
			s := asked()
			s.body.(*AlgorithmAskedBody).Scenario = "sc-2"
			return s
		}()}, "under its scenario"},
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

// TestAlgorithmRuns: a run of foreign code is of what was approved, for a question that it answers, and was seen in a posture unless it never started.
func TestAlgorithmRuns(t *testing.T) {
	c := newCast(t)
	approve := step{name: "approve", kind: AlgorithmApproved, actor: "agency-officer", context: ContextAlgorithm,
		body: &AlgorithmApproval{Name: "map", Version: "1.0.0", Manifest: digest("manifest"), Image: digest("image"), At: start}}
	for name, x := range map[string]struct {
		change func(*AlgorithmRanBody)
		engine sandbox.Engine
		alone  bool
		want   string
	}{
		"whole":                       {func(*AlgorithmRanBody) {}, sandbox.Opaque, false, ""},
		"it never started":            {func(b *AlgorithmRanBody) { b.Posture, b.Fault = nil, "image" }, sandbox.Opaque, false, ""},
		"ended badly":                 {func(b *AlgorithmRanBody) { b.Fault = "deadline" }, sandbox.Opaque, false, ""},
		"no posture, no fault":        {func(b *AlgorithmRanBody) { b.Posture = nil }, sandbox.Opaque, false, "in a tier and a posture"},
		"no tier":                     {func(b *AlgorithmRanBody) { b.Tier = "" }, sandbox.Opaque, false, "in a tier and a posture"},
		"no bits":                     {func(b *AlgorithmRanBody) { b.Bits = 0 }, sandbox.Opaque, false, "in a tier and a posture"},
		"another image":               {func(b *AlgorithmRanBody) { b.Image = digest("other") }, sandbox.Opaque, false, "of the image and manifest"},
		"another manifest":            {func(b *AlgorithmRanBody) { b.Manifest = nil }, sandbox.Opaque, false, "of the image and manifest"},
		"no question":                 {func(b *AlgorithmRanBody) { b.Question = "q-9" }, sandbox.Opaque, false, "for a question decided before"},
		"a refused question":          {func(b *AlgorithmRanBody) { b.Question = "q-0" }, sandbox.Opaque, false, "that foreign code answers"},
		"of the domain's engine":      {func(*AlgorithmRanBody) {}, sandbox.Domain, false, "that foreign code answers"},
		"of nothing that is approved": {func(*AlgorithmRanBody) {}, sandbox.Opaque, true, "of an approved algorithm"},
	} {
		s := c.story()
		body[QuestionDecidedBody](t, s, "ask").Engine = x.engine
		ran := &AlgorithmRanBody{Name: "map", Version: "1.0.0", Manifest: digest("manifest"), Image: digest("image"), Question: "q-1", Inputs: []sandbox.InputVersion{{Dataset: "claims", Version: 2}}, Tier: "T1", Posture: digest("posture"), Bits: 64}
		x.change(ran)
		if !x.alone {
			s = append(s, approve)
		}
		s = append(s, step{name: "ran", kind: AlgorithmRan, actor: "op-officer", body: ran})
		for i := range s {
			s[i].minute = i
		}
		_, err := verify(bundle(t, c.play(t, s), everything))
		if x.want == "" && err != nil || x.want != "" && (!errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), x.want)) {
			t.Errorf("%s: want %q, got %v", name, x.want, err)
		}
	}
}
