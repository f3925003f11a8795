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
