package policy

import (
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Explain (判定说明) decides a question and shows its derivation with the engine chosen for it, from descriptions only. A
// question under a scenario the asker is no party of has its decision and an empty derivation: a list is for its parties.
func Explain(f Facts, s query.Spec) (sandbox.Decision, query.Explanation) {
	decision, d, known := evaluate(f, s)
	x := d.Explain()
	if known {
		x.Engine = f.Choose(d)
	}
	return decision, x
}

// Choose says how the answer to a derived question of class A would be computed: by the domain engine where hosting, district and the
// grade of every column let it open them, otherwise on shares, or on ciphertexts where the question is one of sums over one input.
func (f *Facts) Choose(d query.Derivation) query.ExplainedEngine {
	g := *f
	g.Engine = sandbox.Domain
	var why reasons
	g.columns(&why, d)
	if len(why) == 0 {
		personal := ""
		if d.Personal {
			personal = " and personal information"
		}
		return query.ExplainedEngine{Engine: sandbox.Domain, Here: true,
			Why: fmt.Sprintf("no foreign code sees a value, and hosting %s opens grade %d%s to the columnar engine", f.Hosting, d.Highest, personal)}
	}
	x := query.ExplainedEngine{Engine: sandbox.MPC, Why: why[0].Rule}
	if d.Additive() {
		x.Engine = sandbox.HE
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

// evaluate decides and gives the derivation, empty unless the asker is a party of the scenario.
func evaluate(f Facts, s query.Spec) (sandbox.Decision, query.Derivation, bool) {
	var why reasons
	refuse := func() (sandbox.Decision, query.Derivation, bool) {
		return sandbox.Decision{Engine: f.Engine, Class: sandbox.ClassA, Reasons: why}, query.Derivation{Highest: sandbox.Grade1}, false
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
	f.inForce(&why, g, s.Purpose, sandbox.ClassA)
	d, more := query.DeriveFor(f.Asker, s, f.Datasets, g.List)
	why = append(why, more...)
	if f.engine(&why, sandbox.ClassA) {
		f.columns(&why, d)
	}
	for _, c := range d.Columns {
		agreed(&why, g, c.Column, c.Grade, c.Personal)
	}
	f.perDay(&why, d)
	if p := f.Profile.Bits; f.BitsUsed < 0 || f.BitsUsed > p.PerGrant.Value-p.PerQuestion.Value {
		why.no(CodeBits, "", "the grant's bit budget does not cover one more question", p.PerGrant.Article, "file a new scenario, which the agency and the units decide on")
	}
	return sandbox.Decision{Allow: len(why) == 0 && d.Complete(), Engine: f.Engine, Class: sandbox.ClassA, Reasons: why}, d, true
}

func asks(g *grant.Scenario, p sandbox.Party) bool {
	return p.Role == sandbox.Operator && p.ID == g.Operator || p.Role == sandbox.Partner && slices.Contains(g.Partners, p.ID)
}
