package policy

import (
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// OpaqueQuestion (不透明算法申请) asks that an Opaque algorithm runs over a dataset's own columns, or over a view that its owner had made for the asker.
type OpaqueQuestion struct {
	Scenario sandbox.ScenarioID
	Purpose  string // of the question, and of the view's plan
	Class    sandbox.Class
	Dataset  sandbox.DatasetID
	Columns  []string // of the dataset, that the code sees or that stand behind the view
	View     bool
	KAnon    int // people of the smallest class that the view's plan promises; 0: it promises none
	Carries  int // bits that the output may carry
	Carried  int64
	Charged  bool // 已计费: both budgets were charged when it was asked, and it is judged again
}

// OpaqueTerms (不透明算法运行条件) are what the columns ask of the run and of what comes of it.
type OpaqueTerms struct {
	Grade       sandbox.Grade
	Form        Form
	Tier        int // 隔离等级, 1 or 2
	MinSubjects int // the strictest of the owners' rules, 0 for none
	MaxShare    int
	PPercent    int
	Prior       int
	MaxBits     int
}

// DecideOpaque says whether an Opaque algorithm may run: who asks, under which grant, purpose and class; every column listed, given to the asker and in the form that
// the matrix gives its grade: raw, where the owner's rule is plain; a view, which the owner signed; a k-anonymous one. Rows of people are personal
// information whatever their columns are. Facts name the engine Opaque.
func DecideOpaque(f Facts, q OpaqueQuestion) (sandbox.Decision, OpaqueTerms) {
	var why reasons
	terms := OpaqueTerms{Grade: sandbox.Grade1, Form: Raw, Tier: 1}
	refuse := func() (sandbox.Decision, OpaqueTerms) {
		return sandbox.Decision{Engine: f.Engine, Class: q.Class, Reasons: why}, terms
	}
	if !f.complete(&why) {
		return refuse()
	}
	if f.Asker.Role != sandbox.Operator && f.Asker.Role != sandbox.Partner {
		why.no(CodeRole, "", fmt.Sprintf("an operator or a partner asks, not the role %q", f.Asker.Role), roleLaw, "have the scenario's operator or partner ask")
		return refuse()
	}
	g := f.scenario(&why, q.Scenario)
	if g == nil {
		return refuse()
	}
	if !asks(g, f.Asker) {
		why.no(CodeParty, "", "the asker is not a party of this scenario, and no right is passed on", roleLaw, "ask under a scenario of your own, or file one")
		return refuse()
	}
	f.inForce(&why, g, q.Purpose, q.Class)
	item, listed := g.Item(q.Dataset)
	d, known := f.Datasets[q.Dataset]
	if !listed || !known {
		why.no(CodeDataset, string(q.Dataset), "a question names datasets of its scenario's list only", listLaw, "ask for a listed dataset")
		return refuse()
	}
	if sandbox.Affiliated(f.Asker, sandbox.Party{ID: d.Unit}) {
		why.no(CodeParty, "", "a unit's own rows are no release to itself, nor to its affiliates", roleLaw, "have another party of the scenario ask")
	}
	if f.engine(&why, q.Class) {
		whose, ok := d.Column(d.Subject)
		if !ok {
			why.no(CodeUnknown, string(q.Dataset), "a dataset names whose rows it has", listLaw, "have its unit register the protected subject")
		} else if m := Matrix(sandbox.Domain, sandbox.ClassA, f.Hosting, whose.Effective(), whose.Personal); !m.Allow {
			why.no(CodeGrade, string(q.Dataset)+"."+d.Subject, "the domain counts whose rows they are: "+m.Rule, gradeLaw, "compute under MPC or HE")
		}
		for _, name := range q.Columns {
			at := string(q.Dataset) + "." + name
			c, known := d.Column(name)
			rule, on := item.Rule(name)
			switch {
			case !known:
				why.no(CodeUnknown, at, "a column of the dataset", listLaw, "name columns as the catalogue lists them")
			case !on:
				why.no(CodeColumn, at, "a column stands in the scenario's list", listLaw, "ask without "+at+", or have its unit add it to the list")
			case !rule.AllowsParty(f.Asker.ID):
				why.no(CodeGrantee, at, "the list gives this column to certain parties of the scenario, and the asker is none of them", listLaw, "ask without "+at+", or have its unit add the asker to its grantees")
			case rule.Noise.Kind != "" && rule.Noise.Kind != sandbox.NoiseExact:
				why.no(CodeForm, at, fmt.Sprintf("the column's rule is %s, and what foreign code gives carries no noise", rule.Noise.Kind), listLaw, "ask without the column")
			default:
				col := *c
				col.Personal = col.Personal || ok && whose.Personal
				f.opaque(&why, q, &terms, at, col, rule)
				agreed(&why, g, at, c.Effective(), c.Personal)
			}
		}
	}
	bits := f.Profile.Bits
	if !q.Charged && (f.BitsUsed < 0 || f.BitsUsed > bits.PerGrant.Value-bits.PerQuestion.Value) {
		why.no(CodeBits, "", "the grant's bit budget does not cover one more question", bits.PerGrant.Article, "file a new scenario, which the agency and the units decide on")
	}
	if !q.Charged && (q.Carried < 0 || q.Carried > bits.Carried.Value-int64(q.Carries)) {
		why.no(CodeBits, "", fmt.Sprintf("what foreign code gives may carry %d bits over a grant's life, and this output %d", bits.Carried.Value, q.Carries), bits.Carried.Article,
			"declare fewer rows, fewer labels or larger steps")
	}
	if terms.MaxBits > 0 && q.Carries > terms.MaxBits {
		why.no(CodeBits, string(q.Dataset), "an owner's rule lets a result of its columns carry less than this output may", listLaw, "declare fewer rows, fewer labels or larger steps")
	}
	order := Order() // columns are judged one by one, reasons stand by check
	slices.SortStableFunc(why, func(a, b sandbox.Reason) int { return slices.Index(order, a.Code) - slices.Index(order, b.Code) })
	if len(why) > 0 {
		return refuse()
	}
	return sandbox.Decision{Allow: true, Engine: f.Engine, Class: q.Class}, terms
}

// opaque holds one column to the matrix, in the form in which the code would get it, and takes over its owner's thresholds.
func (f *Facts) opaque(why *reasons, q OpaqueQuestion, terms *OpaqueTerms, at string, c catalog.Column, rule sandbox.ColumnRule) {
	grade := c.Effective()
	r := Matrix(f.Engine, q.Class, f.Hosting, grade, c.Personal)
	if c.Personal {
		grade = max(grade, sandbox.Grade3)
	}
	limit := f.Profile.Engine.MaxGradeP1
	if f.Hosting == sandbox.P2 {
		limit = f.Profile.Engine.MaxGradeP2
	}
	const drop = "ask without this column, or through a Program on the domain engine"
	switch {
	case !r.Allow:
		why.no(CodeGrade, at, r.Rule, gradeLaw, drop)
		return
	case grade > limit.Value:
		why.no(CodeGrade, at, fmt.Sprintf("the district opens columns up to grade %d here", limit.Value), limit.Article, drop)
		return
	case r.Form == Raw && !q.View && !rule.Allows(sandbox.UsePlain):
		why.no(CodeUse, at, "foreign code sees the column itself, which the list allows by the use plain alone", listLaw, "have its unit add \"plain\" to its uses, or make a view of it")
		return
	case r.Form == View && !q.View:
		why.no(CodeForm, at, "foreign code gets a column of grade 2 in a view only", gradeLaw, "have its unit make a view for you by a plan that it signed: opdomain view make")
		return
	case r.Form == KAnon && (!q.View || q.KAnon < 2):
		why.no(CodeForm, at, "foreign code gets a column of grade 3, and personal information, in a k-anonymous view only", gradeLaw,
			"have its unit make a view for you by a plan with a section leave that names quasi-identifiers and k")
		return
	}
	terms.Grade, terms.Tier = max(terms.Grade, grade), max(terms.Tier, r.Tier)
	if r.Form == KAnon || r.Form == View && terms.Form == Raw {
		terms.Form = r.Form
	}
	least := func(into *int, v int) {
		if v > 0 && (*into == 0 || v < *into) {
			*into = v
		}
	}
	terms.MinSubjects, terms.PPercent = max(terms.MinSubjects, rule.MinSubjects), max(terms.PPercent, rule.PPercent)
	least(&terms.MaxShare, rule.MaxShare)
	least(&terms.Prior, rule.Prior)
	least(&terms.MaxBits, rule.MaxBits)
}
