package policy

import (
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/profile"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Explain (判定说明) decides a question and shows its derivation with the engine chosen for it, from descriptions only. A
// question under a scenario the asker is no party of has its decision and an empty derivation: a list is for its parties.
func Explain(f Facts, s query.Spec) (sandbox.Decision, query.Explanation) {
	return ExplainFor(f, s, sandbox.ClassA)
}

// ExplainFor is Explain of an answer (class A) or of a model (class D).
func ExplainFor(f Facts, s query.Spec, c sandbox.Class) (sandbox.Decision, query.Explanation) {
	decision, d, known := evaluate(f, s, c)
	x := d.Explain()
	switch {
	case known && c == sandbox.ClassA:
		x.Engine = f.Choose(d)
	case known:
		x.Engine = f.trainer(c, d)
		x.Outputs = x.Outputs[:0] // those of an answer: a model leaves in its own form, on the shares of its ranges
	}
	return decision, x
}

// trainer says where a model is fitted: by the domain's own trainer, or nowhere here.
func (f *Facts) trainer(c sandbox.Class, d query.Derivation) query.ExplainedEngine {
	g := *f
	g.Engine = sandbox.Domain
	var why reasons
	g.columns(&why, c, d)
	x := query.ExplainedEngine{Engine: sandbox.Domain, Here: len(why) == 0, Why: "the domain's own registered trainer fits it, no foreign code sees a value; two reviewers judge it always"}
	for i, r := range why {
		if i == 0 {
			x.Why = r.Rule
		}
		if !slices.Contains(x.Columns, r.Column) {
			x.Columns = append(x.Columns, r.Column)
		}
	}
	return x
}

// Choose says how the answer to a derived question of class A would be computed: by the domain engine where hosting, district and the
// grade of every column let it open them, otherwise on ciphertexts where no operator stops it there, or on shares. A gate may refuse over ciphertexts what
// arithmetic allows: this names the engine and is no decision.
func (f *Facts) Choose(d query.Derivation) query.ExplainedEngine {
	g := *f
	g.Engine = sandbox.Domain
	var why reasons
	g.columns(&why, sandbox.ClassA, d)
	if len(why) == 0 {
		personal := ""
		if d.Personal {
			personal = " and personal information"
		}
		return query.ExplainedEngine{Engine: sandbox.Domain, Here: true,
			Why: fmt.Sprintf("no foreign code sees a value, and hosting %s opens grade %d%s to the columnar engine", f.Hosting, d.Highest, personal)}
	}
	x := query.ExplainedEngine{Engine: sandbox.HE, Why: why[0].Rule}
	for _, s := range d.Stops() {
		if s.Operator != "group" { // labels can be fixed
			x.Engine = sandbox.MPC
		}
	}
	for _, r := range why {
		if !slices.Contains(x.Columns, r.Column) {
			x.Columns = append(x.Columns, r.Column)
		}
	}
	return x
}

// perDay holds the groupings of a question to what the owners let one grant compare in a day.
func (f *Facts) perDay(why *reasons, d query.Derivation) {
	for _, c := range d.Columns {
		if n := f.Compared[c.Column] + int64(c.Compares()); c.Compares() > 0 && c.Rule.PerDay > 0 && (n > int64(c.Rule.PerDay) || f.Compared[c.Column] < 0) {
			why.no(CodePerDay, c.Column, fmt.Sprintf("the questions of one day hold a subject's value of this column to at most %d groupings", c.Rule.PerDay), listLaw,
				"ask again tomorrow, or without grouping and filtering by this column")
		}
	}
}

// Budget is what may be spent of a dataset by differential privacy: the district's amount, or less where an owner's rule says so.
func Budget(p *profile.Profile, n sandbox.Noise) sandbox.Privacy {
	most := sandbox.Privacy{Epsilon: p.Privacy.Epsilon.Value, Delta: p.Privacy.Delta.Value}
	if n.Budget.Epsilon > 0 {
		most.Epsilon = min(most.Epsilon, n.Budget.Epsilon)
	}
	if n.Budget.Delta > 0 {
		most.Delta = min(most.Delta, n.Budget.Delta)
	}
	return most
}

// private holds what a question draws to the budgets of its datasets. What was drawn before is free, so it stays askable for ever.
func (f *Facts) private(why *reasons, d query.Derivation) {
	if d.Noise.Kind != sandbox.NoiseDP || f.Draws == 0 {
		return
	}
	most, one := Budget(f.Profile, d.Noise), d.Noise.Release
	for i, in := range d.Inputs {
		if slices.ContainsFunc(d.Inputs[:i], func(x query.DerivedInput) bool { return x.Dataset == in.Dataset }) {
			continue
		}
		spent, known := f.Spent[in.Dataset]
		left := sandbox.Privacy{Epsilon: most.Epsilon - spent.Epsilon, Delta: most.Delta - spent.Delta}
		if known && f.Draws > 0 && one.Epsilon > 0 && one.Delta > 0 && one.Times(f.Draws).Within(left) {
			continue
		}
		fits := int64(0)
		if known && one.Epsilon > 0 && one.Delta > 0 {
			fits = max(min(left.Epsilon/one.Epsilon, left.Delta/one.Delta), 0)
		}
		change := "ask again what was answered before, which costs nothing; a budget is not refilled"
		if out := int64(f.Draws) - fits; f.Draws > 0 && fits > 1 && out < int64(len(d.Spec.Measures)) {
			change = fmt.Sprintf("leave out %d of the measures that were not asked before", out)
		}
		why.no(CodePrivacy, string(in.Dataset), fmt.Sprintf("the dataset's budget of differential privacy covers %d more releases at %s each; the question takes %d", fits, one, f.Draws),
			f.Profile.Privacy.Epsilon.Article, change)
	}
}

// evaluate decides and gives the derivation, empty unless the asker is a party of the scenario.
func evaluate(f Facts, s query.Spec, class sandbox.Class) (sandbox.Decision, query.Derivation, bool) {
	var why reasons
	refuse := func() (sandbox.Decision, query.Derivation, bool) {
		return sandbox.Decision{Engine: f.Engine, Class: class, Reasons: why}, query.Derivation{Highest: sandbox.Grade1}, false
	}
	if !f.complete(&why) {
		return refuse()
	}
	if f.Asker.Role != sandbox.Operator && f.Asker.Role != sandbox.Partner {
		why.no(CodeRole, "", fmt.Sprintf("an operator or a partner asks for statistics, not the role %q", f.Asker.Role), roleLaw, "have the scenario's operator or partner ask")
		return refuse()
	}
	g := f.scenario(&why, s.Scenario)
	if g == nil {
		return refuse()
	}
	if !asks(g, f.Asker) {
		why.no(CodeParty, "", "the asker is not a party of this scenario, and no right is passed on", roleLaw, "ask under a scenario of your own, or file one")
		return refuse()
	}
	f.inForce(&why, g, s.Purpose, class)
	d, more := query.DeriveFor(f.Asker, s, f.Datasets, g.List)
	why = append(why, more...)
	if f.engine(&why, class) {
		f.columns(&why, class, d)
	}
	for _, c := range d.Columns {
		agreed(&why, g, c.Column, c.Grade, c.Personal)
	}
	f.perDay(&why, d)
	if p := f.Profile.Bits; f.BitsUsed < 0 || f.BitsUsed > p.PerGrant.Value-p.PerQuestion.Value {
		why.no(CodeBits, "", "the grant's bit budget does not cover one more question", p.PerGrant.Article, "file a new scenario, which the agency and the units decide on")
	}
	f.private(&why, d)
	return sandbox.Decision{Allow: len(why) == 0 && d.Complete(), Engine: f.Engine, Class: class, Reasons: why}, d, true
}

func asks(g *grant.Scenario, p sandbox.Party) bool {
	return p.Role == sandbox.Operator && p.ID == g.Operator || p.Role == sandbox.Partner && slices.Contains(g.Partners, p.ID)
}
