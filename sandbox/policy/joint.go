package policy

import (
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// The reasons of DecideJoint beside those of the grant, in the order of its checks.
const (
	CodeJoint           = "joint.not-listed" // 清单未列保密模型运行
	CodeJointResult     = "joint.result"     // 无可用的已出域结果
	CodeJointQuestion   = "joint.question"   // 申请方不得提出原查询
	CodeJointAffiliated = "joint.affiliated" // 与数源单位存在关联
	CodeJointFeatures   = "joint.features"   // 特征不符
	CodeJointForm       = "joint.form"       // 运行方式不符
	CodeJointOnce       = "joint.once"       // 同一结果已运行
	CodeJointTotal      = "joint.total"      // 运行次数用尽

	// MaxJointFeatures, MaxJointGroups and MaxJointDecimals bound a run, whatever engine computes it.
	MaxJointFeatures = 256
	MaxJointGroups   = 64
	MaxJointDecimals = 4
)

// JointQuestion (保密模型运行申请) asks that a party's secret linear model runs over averages of a result that was approved in its scenario.
type JointQuestion struct {
	Scenario sandbox.ScenarioID
	Purpose  string

	// Stands says that the named result is a question's answer of class A of this scenario that was approved, left, and holds under the rules in force.
	// What it does not is not for who asks to know: there is one reason for all of it.
	Stands     bool
	Source     sandbox.Decision // of the result's question, were it asked by this party now
	Affiliated bool             // the party is affiliated with a unit whose data stand behind the result
	Measures   []sandbox.Measure
	Features   []string // names of measures
	Groups     int      // ciphertexts that the party answers
	Decimals   int      // of the score
	Opened     bool     // a run of this party over this result was opened before
	Used       int64    // runs begun under the grant
}

// JointOrder lists the codes of DecideJoint beside those of Order, in the order of checks.
func JointOrder() []string {
	return []string{CodeJoint, CodeJointResult, CodeJointQuestion, CodeJointAffiliated, CodeJointFeatures, CodeJointForm, CodeJointOnce, CodeJointTotal}
}

// DecideJoint says whether a secret model may run: who asks, under which grant and purpose; a result that stands, which the party could have asked for
// itself and whose people are not known to it; features that are averages of it; one opened run of a party over a result, and no more runs of all the
// scenario's parties together than they agreed on. Facts name the engine HE.
//
// What a party can learn whatever its model is, and whoever it pools with: of a result one number a group in the decimals it named, after people
// released it, and, before that, whether the gate could read it at all and let it go to reviewers. A result of which no group has every feature, or more
// groups have them than the party answers, is withheld like one that could not be read, after the party's one opened run over it; which of these it
// was is not for the party. Of other results of the same averages it learns the same again, which the runs that the scenario agreed on bound. All
// of it is made of averages that were approved to leave to a party of the scenario.
func DecideJoint(f Facts, q JointQuestion) sandbox.Decision {
	var why reasons
	refuse := func() sandbox.Decision {
		return sandbox.Decision{Engine: f.Engine, Class: sandbox.ClassA, Reasons: why}
	}
	if !f.complete(&why) {
		return refuse()
	}
	if f.Asker.Role != sandbox.Operator && f.Asker.Role != sandbox.Partner {
		why.no(CodeRole, "", fmt.Sprintf("an operator or a partner runs a model of its own, not the role %q", f.Asker.Role), roleLaw, "have a party of the scenario ask")
		return refuse()
	}
	g := f.scenario(&why, q.Scenario)
	if g == nil {
		return refuse()
	}
	if !asks(g, f.Asker) {
		why.no(CodeParty, "", "the asker is not a party of this scenario, and no right is passed on", roleLaw, "ask under a scenario of your own, or have one filed")
		return refuse()
	}
	f.inForce(&why, g, q.Purpose, sandbox.ClassA)
	if g.PartnerRuns < 1 {
		why.no(CodeJoint, "", "a scenario says how often its parties run secret models over its results; this one says never", listLaw, "have a scenario filed with partner_runs")
		return refuse()
	}
	if !q.Stands {
		why.no(CodeJointResult, "", "a model runs over a result of class A of its scenario that was asked as a question, approved, sent, and holds under the rules in force", listLaw,
			"name a question of this scenario whose result was released and neither revoked nor expired nor made of scores")
		return refuse()
	}
	if !q.Source.Allow {
		codes := "no reason"
		for i, r := range q.Source.Reasons {
			if i == 0 {
				codes = ""
			} else {
				codes += ", "
			}
			codes += r.Code
		}
		why.no(CodeJointQuestion, "", "a party runs its model over what it could ask itself now; the question of this result would be refused to it: "+codes, listLaw, "run it over the result of a question that explain allows you")
	}
	if q.Affiliated {
		why.no(CodeJointAffiliated, "", "a party affiliated with a unit whose data stand behind a result knows some of its people, and the result was judged for another recipient", roleLaw, "ask the question yourself")
	}
	average := func(name string) bool {
		i := slices.IndexFunc(q.Measures, func(m sandbox.Measure) bool { return m.Name == name })
		return i >= 0 && (q.Measures[i].Func == sandbox.Mean || q.Measures[i].Func == sandbox.Ratio)
	}
	twice := map[string]bool{}
	for _, name := range q.Features {
		twice[name] = true
	}
	if len(q.Features) < 1 || len(q.Features) > MaxJointFeatures || len(twice) != len(q.Features) || slices.ContainsFunc(q.Features, func(name string) bool { return !average(name) }) {
		why.no(CodeJointFeatures, "", fmt.Sprintf("features are 1 to %d measures of the result, each once, and averages: means or ratios", MaxJointFeatures), listLaw, "name means or ratios of the result's question")
	}
	if q.Groups < 1 || q.Groups > MaxJointGroups || q.Decimals < 0 || q.Decimals > MaxJointDecimals {
		why.no(CodeJointForm, "", fmt.Sprintf("a run answers 1 to %d groups, in 0 to %d decimals", MaxJointGroups, MaxJointDecimals), listLaw, "state groups and decimals within these, over a result with coarser groups")
	}
	if q.Opened {
		why.no(CodeJointOnce, "", "a party has one opened run over a result: with as many as features, averages follow from scores", listLaw, "run the model over another result")
	}
	if q.Used >= g.PartnerRuns {
		why.no(CodeJointTotal, "", fmt.Sprintf("the scenario's parties agreed on %d runs of secret models in all, and each that was begun counts", g.PartnerRuns), listLaw, "ask under a scenario agreed on for more")
	}
	if bits := f.Profile.Bits; f.BitsUsed+bits.PerQuestion.Value > bits.PerGrant.Value {
		why.no(CodeBits, "", fmt.Sprintf("the grant has %d of %d bits left, and a run is charged %d", bits.PerGrant.Value-f.BitsUsed, bits.PerGrant.Value, bits.PerQuestion.Value), bits.PerGrant.Article, "file the scenario again")
	}
	if len(why) > 0 {
		return refuse()
	}
	return sandbox.Decision{Allow: true, Engine: f.Engine, Class: sandbox.ClassA}
}
