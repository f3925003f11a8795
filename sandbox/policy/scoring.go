package policy

import (
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// The reasons of DecideScoring beside those of the grant, in the order of its checks.
const (
	CodeModel        = "model.not-listed"   // 模型不在清单
	CodeModelUnknown = "model.not-approved" // 模型未准入
	CodeModelGone    = "model.withdrawn"    // 模型已撤回
	CodeModelForm    = "model.form"         // 评分方式不符
	CodeModelPerDay  = "model.per-day"      // 当日评分户数用尽
	CodeModelTotal   = "model.total"        // 评分户数用尽

	articleModelGrant = "龙华区实施方案 六(二)2 实施机构准入"
)

// ScoringQuestion (密态评分申请) asks that an approved model of the domain scores customers of the asker's own. No data of the domain is read, so
// that a refusal may say all that it rests on.
type ScoringQuestion struct {
	Scenario  sandbox.ScenarioID
	Purpose   string
	Model     sandbox.ModelID
	Approved  bool  // by the agency
	Withdrawn bool  // since
	Customers int64 // that it counts for
	Batch     bool  // a ciphertext of many
	Features  int   // of the model
	MaxBatch  int   // features of a model that takes batches
	Today     int64 // counted of the grant today, and in all
	Used      int64
}

// ScoringOrder lists the codes of DecideScoring beside those of Order, in the order of checks.
func ScoringOrder() []string {
	return []string{CodeModel, CodeModelGone, CodeModelUnknown, CodeModelForm, CodeModelPerDay, CodeModelTotal}
}

// DecideScoring says whether customers may be scored: who asks, under which grant and purpose; a model that the scenario lists, approved and
// not withdrawn; and no more customers, over all parties of the scenario together, than they agreed on. Facts name the engine HE.
func DecideScoring(f Facts, q ScoringQuestion) sandbox.Decision {
	var why reasons
	refuse := func() sandbox.Decision { return sandbox.Decision{Engine: f.Engine, Reasons: why} }
	if !f.complete(&why) {
		return refuse()
	}
	if f.Asker.Role != sandbox.Operator && f.Asker.Role != sandbox.Partner && f.Asker.Role != sandbox.Insurer {
		why.no(CodeRole, "", fmt.Sprintf("an operator, a partner or an insurer has customers scored, not the role %q", f.Asker.Role), roleLaw, "have a party of the scenario ask")
		return refuse()
	}
	g := f.scenario(&why, q.Scenario)
	if g == nil {
		return refuse()
	}
	if !asks(g, f.Asker) && !(f.Asker.Role == sandbox.Insurer && slices.Contains(g.Insurers, f.Asker.ID)) {
		why.no(CodeParty, "", "the asker is not a party of this scenario, and no right is passed on", roleLaw, "ask under a scenario of your own, or have one filed")
		return refuse()
	}
	f.granted(&why, g, q.Purpose)
	use, listed := g.Use(q.Model)
	switch {
	case !listed: // whether there is such a model is not for one whose scenario does not list it
		why.no(CodeModel, "", "a scenario's parties use the scoring models that it lists, and no others", listLaw, "have a scenario filed that lists the model, with customers a day and in all")
		return refuse()
	case q.Withdrawn:
		why.no(CodeModelGone, "", "the scoring model was withdrawn", articleModelGrant, "ask a later version, under a scenario that lists it")
	case !q.Approved:
		why.no(CodeModelUnknown, "", "the agency approves a scoring model before it is used", articleModelGrant, "have its owner file it and the agency approve it")
	}
	if q.Batch && q.Features > q.MaxBatch {
		why.no(CodeModelForm, "", fmt.Sprintf("a batch is of models with at most %d features", q.MaxBatch), articleModelGrant, "have customers scored one by one")
	}
	// Neither sum overflows: what is counted stays within what was agreed, which is bounded.
	change := "ask for fewer customers, or under a scenario agreed on for more"
	if q.Batch {
		change = "ask for single customers: a batch counts as all it has room for, since nobody but its asker sees how many are in it"
	}
	if q.Customers < 1 || q.Customers > use.PerDay-q.Today {
		why.no(CodeModelPerDay, "", fmt.Sprintf("the scenario's parties agreed on %d customers a day, of which %d are left; this counts as %d", use.PerDay, max(use.PerDay-q.Today, 0), q.Customers), listLaw, change)
	}
	if q.Customers < 1 || q.Customers > use.Total-q.Used {
		why.no(CodeModelTotal, "", fmt.Sprintf("the scenario's parties agreed on %d customers in all, of which %d are left; this counts as %d", use.Total, max(use.Total-q.Used, 0), q.Customers), listLaw, change)
	}
	if len(why) > 0 {
		return refuse()
	}
	return sandbox.Decision{Allow: true, Engine: f.Engine}
}
