package policy

import (
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// DatasetQuestion (数据集出域申请) asks that a desensitised view leaves as class E. Columns are the source's columns behind it.
type DatasetQuestion struct {
	Scenario sandbox.ScenarioID
	Purpose  string // of the plan
	Dataset  sandbox.DatasetID
	Columns  []string
}

// Demands (数据集出域要求) is what the matrix asks of a data set that may leave, by the highest grade behind it.
type Demands struct {
	Grade sandbox.Grade `json:"grade"`
	KAnon bool          `json:"k_anonymous"`
	Mark  bool          `json:"mark"`
	Owner bool          `json:"owner"` // the owner signs what leaves
}

// DecideDataset says whether a view may be submitted to leave: the operator or a partner of a live scenario asks, which was granted for class E and lists
// the dataset with these columns, for the scenario's purpose; and the matrix lets each column leave. It gives what the columns ask for.
func DecideDataset(f Facts, q DatasetQuestion) (sandbox.Decision, Demands) {
	var why reasons
	need := Demands{Grade: sandbox.Grade1}
	refuse := func() (sandbox.Decision, Demands) {
		return sandbox.Decision{Engine: f.Engine, Class: sandbox.ClassE, Reasons: why}, Demands{}
	}
	if !f.complete(&why) {
		return refuse()
	}
	if f.Asker.Role != sandbox.Operator && f.Asker.Role != sandbox.Partner {
		why.no(CodeRole, "", fmt.Sprintf("an operator or a partner asks for a data set, not the role %q", f.Asker.Role), roleLaw, "have the scenario's operator or partner ask")
		return refuse()
	}
	g := f.scenario(&why, q.Scenario)
	if g == nil {
		return refuse()
	}
	if g.Operator != f.Asker.ID && !slices.Contains(g.Partners, f.Asker.ID) {
		why.no(CodeParty, "", "the asker is not a party of this scenario, and no right is passed on", roleLaw, "ask under a scenario that names you, or have one filed")
		return refuse()
	}
	f.inForce(&why, g, q.Purpose, sandbox.ClassE)
	item, listed := g.Item(q.Dataset)
	d, known := f.Datasets[q.Dataset]
	if !listed || !known {
		why.no(CodeDataset, string(q.Dataset), "the data set is not on the scenario's list", listLaw, "have it listed")
		return refuse()
	}
	if sandbox.Affiliated(f.Asker, sandbox.Party{ID: d.Unit}) {
		why.no(CodeParty, "", "a unit's own rows are no release to itself, nor to its affiliates", roleLaw, "have another party of the scenario ask")
	}
	for _, name := range q.Columns {
		at := string(q.Dataset) + "." + name
		c, ok := d.Column(name)
		if _, on := item.Rule(name); !ok || !on {
			why.no(CodeColumn, at, "the column is not on the scenario's list", listLaw, "have it listed, or dropped in the plan")
			continue
		}
		r := Matrix(f.Engine, sandbox.ClassE, f.Hosting, c.Effective(), c.Personal)
		if !r.Allow {
			why.no(CodeGrade, at, r.Rule, gradeLaw, "have the column dropped in the plan")
			continue
		}
		agreed(&why, g, at, c.Effective(), c.Personal)
		grade := c.Effective()
		if c.Personal {
			grade = max(grade, sandbox.Grade3)
		}
		need.Grade, need.KAnon, need.Mark, need.Owner = max(need.Grade, grade), need.KAnon || r.Form == KAnon, need.Mark || r.Mark, need.Owner || r.Owner
	}
	if len(why) > 0 {
		return refuse()
	}
	return sandbox.Decision{Allow: true, Engine: f.Engine, Class: sandbox.ClassE}, need
}
