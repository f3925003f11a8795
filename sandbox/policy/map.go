package policy

import (
	"fmt"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Names of the jail's tiers, as package jail has them, that code which nobody trusts runs in at least.
const (
	tierT1 = "T1" // native code, by the tier 1 of a Ruling
	tierT2 = "T2" // by the tier 2
	tierW  = "W"  // a wasm module inside T1
)

// Least (最低隔离等级) names the least tier of the jail for an engine that runs foreign code, by the ruling on a column; "" where it runs none. A
// machine that lacks a layer of it runs none of that code: nothing is done one tier lower.
func (r Ruling) Least(e sandbox.Engine) string {
	switch {
	case !r.Allow || r.Tier == 0:
		return ""
	case r.Tier > 1:
		return tierT2
	case e == sandbox.Map:
		return tierW
	}
	return tierT1
}

// MapTerms (逐主体运行条件) are what the columns ask of the run.
type MapTerms struct {
	Tier string // of the jail, at least
}

// DecideMap says whether an approved Map may run (class A), before any key opens: the checks of a question, then for each column what the matrix lets
// foreign code see of it, then whether this machine has the tier that the strictest column asks for. It gives the derivation too.
//
// A column of grade 3, and a personal one, is seen as it is where the agency hosts the domain and the owner signed a list that says map-raw.
func DecideMap(f Facts, u query.MapUse) (sandbox.Decision, query.Derivation, MapTerms) {
	f.Engine = sandbox.Map
	var why reasons
	terms := MapTerms{Tier: tierW}
	refuse := func(d query.Derivation) (sandbox.Decision, query.Derivation, MapTerms) {
		return sandbox.Decision{Engine: sandbox.Map, Class: sandbox.ClassA, Reasons: why}, d, terms
	}
	none := query.Derivation{Highest: sandbox.Grade1}
	if !f.complete(&why) {
		return refuse(none)
	}
	if f.Asker.Role != sandbox.Operator && f.Asker.Role != sandbox.Partner {
		why.no(CodeRole, "", fmt.Sprintf("an operator or a partner asks for statistics, not the role %q", f.Asker.Role), roleLaw, "have the scenario's operator or partner ask")
		return refuse(none)
	}
	g := f.scenario(&why, u.Scenario)
	if g == nil {
		return refuse(none)
	}
	if !asks(g, f.Asker) {
		why.no(CodeParty, "", "the asker is not a party of this scenario, and no right is passed on", roleLaw, "ask under a scenario of your own, or file one")
		return refuse(none)
	}
	f.inForce(&why, g, u.Purpose, sandbox.ClassA)
	d, more := query.DeriveMap(f.Asker, u, f.Datasets, g.List)
	why = append(why, more...)
	f.mapped(&why, g, d, &terms)
	if lacks, there := f.Lacks[terms.Tier]; !there || lacks != "" {
		if !there {
			lacks = "it starts no plug-in"
		}
		why.no(CodeTier, "", fmt.Sprintf("a Map runs in the jail's tier %s, which this machine does not have: %s", terms.Tier, lacks), gradeLaw,
			"run the domain where opdomain doctor finds the tier; questions and Programs on the domain engine are answered here")
	}
	for _, c := range d.Columns {
		agreed(&why, g, c.Column, c.Grade, c.Personal)
	}
	f.perDay(&why, d)
	if p := f.Profile.Bits; f.BitsUsed < 0 || f.BitsUsed > p.PerGrant.Value-p.PerQuestion.Value {
		why.no(CodeBits, "", "the grant's bit budget does not cover one more question", p.PerGrant.Article, "file a new scenario, which the agency and the units decide on")
	}
	if len(why) > 0 {
		return refuse(d)
	}
	return sandbox.Decision{Allow: true, Engine: sandbox.Map, Class: sandbox.ClassA}, d, terms
}

// mapped holds every column that the Map sees to the matrix, and the one that says who a subject is, by which the domain's own reducer counts, to what
// the domain engine may open.
func (f *Facts) mapped(why *reasons, g *grant.Scenario, d query.Derivation, terms *MapTerms) {
	limit := f.Profile.Engine.MaxGradeP1
	if f.Hosting == sandbox.P2 {
		limit = f.Profile.Engine.MaxGradeP2
	}
	for _, c := range d.Columns {
		r := Matrix(sandbox.Map, sandbox.ClassA, f.Hosting, c.Grade, c.Personal)
		grade := c.Grade
		if c.Personal {
			grade = max(grade, sandbox.Grade3)
		}
		signed := r.Signed == Raw && c.Rule.Allows(sandbox.UseMapRaw)
		switch {
		case !r.Allow:
			why.no(CodeGrade, c.Column, r.Rule, gradeLaw, "have the author leave this column out, or ask a question over it under MPC or HE")
			continue
		case r.Form != Raw && !signed:
			why.no(CodeForm, c.Column, fmt.Sprintf("a Map sees a column of grade 3, and personal information, as a %s; as it is only where its owner signed for that", r.Form), gradeLaw,
				"have its unit list it for map-raw, which its signature under the list covers; or have the author leave it out")
		case grade > limit.Value:
			why.no(CodeGrade, c.Column, fmt.Sprintf("the district opens columns up to grade %d here", limit.Value), limit.Article, "have the author leave this column out")
		}
		if t := r.Least(sandbox.Map); t != "" {
			terms.Tier = t // W for every grade that a Map sees
		}
	}
	counts := *f
	counts.Engine = sandbox.Domain
	for i := range d.Inputs {
		set := &d.Inputs[i].Described
		if c, ok := set.Column(set.Subject); ok {
			at := string(set.ID) + "." + c.Name
			counts.column(why, sandbox.ClassA, at, c.Effective(), c.Personal, "ask a question under MPC or HE: every answer counts this subject")
			agreed(why, g, at, c.Effective(), c.Personal)
		}
	}
}

// ExplainMap (逐主体判定说明) decides a Map and shows its derivation, from descriptions only.
func ExplainMap(f Facts, u query.MapUse) (sandbox.Decision, query.Explanation, MapTerms) {
	decision, d, terms := DecideMap(f, u)
	x := d.ExplainMap(u)
	if len(d.Inputs) == 0 { // a list is for its parties
		return decision, query.Derivation{Highest: sandbox.Grade1}.Explain(), terms
	}
	x.Engine = query.ExplainedEngine{Engine: sandbox.Map, Here: decision.Allow, Why: "code per subject in tier " + terms.Tier + " of the jail, one subject at a time; the domain clips, quantises and reduces"}
	for _, r := range decision.Reasons {
		if r.Code == CodeGrade || r.Code == CodeForm || r.Code == CodeTier {
			if x.Engine.Here, x.Engine.Why = false, r.Rule; r.Column != "" {
				x.Engine.Columns = append(x.Engine.Columns, r.Column)
			}
		}
	}
	return decision, x, terms
}
