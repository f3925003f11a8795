package node

import (
	"cmp"
	"context"
	"errors"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/store"
)

var _ api.Grader = (*Node)(nil)

// gradingRecord is what was found in a dataset and what people decided about it.
type gradingRecord struct {
	Dataset   sandbox.DatasetID        `json:"dataset"`
	Version   uint64                   `json:"version"`   // of the data that the findings are of
	Detectors string                   `json:"detectors"` // that found them
	Findings  []classify.ColumnFinding `json:"findings"`  // with the levels of the rules in force
	Confirmed []classify.Confirmation  `json:"confirmed"` // the last of each column
}

// grading gives the record of a dataset. One graded before records were kept has the findings that its columns name.
func (n *Node) grading(ctx context.Context, d catalog.Dataset, rules classify.Rules) (gradingRecord, error) {
	r, err := n.docs.gradings.Document(ctx, string(d.ID))
	if err == nil || !errors.Is(err, sandbox.NotFound) {
		return r.Value, err
	}
	out := gradingRecord{Dataset: d.ID}
	for _, c := range d.Columns {
		if c.Finding != "" {
			out.Version = d.Version
			out.Findings = append(out.Findings, rules.Grade(classify.ColumnFinding{Column: c.Name, Finding: classify.Kind(c.Finding)}))
		}
	}
	return out, nil
}

func (n *Node) keepGrading(ctx context.Context, unit sandbox.PartyID, r gradingRecord) error {
	_, rev, err := n.docs.gradings.Get(ctx, string(r.Dataset))
	if errors.Is(err, sandbox.NotFound) {
		return n.docs.gradings.Insert(ctx, string(r.Dataset), string(unit), "graded", r)
	}
	if err == nil {
		_, err = n.docs.gradings.Update(ctx, string(r.Dataset), rev, string(unit), "graded", r)
	}
	return err
}

// levels gives findings the levels of the rules in force.
func levels(rules classify.Rules, findings []classify.ColumnFinding) []classify.ColumnFinding {
	out := make([]classify.ColumnFinding, len(findings))
	for i, f := range findings {
		out[i] = rules.Grade(f)
	}
	return out
}

// settle grades a dataset by what was found in its next version, next to what people have decided. Nil findings: they are not
// known, and what is in force stays.
func (n *Node) settle(ctx context.Context, d catalog.Dataset, version uint64, findings []classify.ColumnFinding) (catalog.Dataset, []string, error) {
	if findings == nil {
		return d, nil, nil
	}
	rules, err := n.rulesInForce(ctx)
	if err != nil {
		return d, nil, err
	}
	r, err := n.grading(ctx, d, rules.Rules)
	if err != nil {
		return d, nil, err
	}
	r.Version, r.Detectors, r.Findings = version, classify.Version, levels(rules.Rules, findings)
	out, open := rules.Rules.Settle(d, r.Findings, r.Confirmed)
	var names []string
	for _, f := range open {
		names = append(names, f.Column)
	}
	return out, names, n.keepGrading(ctx, d.Unit, r)
}

// Classification gives the grading of a dataset to its owner and those who supervise: which kind a column holds says something
// about data. Others do not find it.
func (n *Node) Classification(ctx context.Context, c api.Caller, id sandbox.DatasetID) (api.Classification, error) {
	d, _, err := n.docs.datasets.Get(ctx, string(id))
	if err != nil {
		return api.Classification{}, err
	}
	if d.Unit != c.Party.ID && !supervises(c.Party) {
		return api.Classification{}, notRegistered(id)
	}
	rules, err := n.rulesInForce(ctx)
	if err != nil {
		return api.Classification{}, err
	}
	r, err := n.grading(ctx, d, rules.Rules)
	if err != nil {
		return api.Classification{}, err
	}
	return classification(d, r, rules.Rules), nil
}

func classification(d catalog.Dataset, r gradingRecord, rules classify.Rules) api.Classification {
	out := api.Classification{Dataset: d.ID, Version: d.Version, Found: r.Version, Rules: rules.Version, Detectors: r.Detectors, Columns: []api.ColumnClassification{}}
	_, open := rules.Settle(d, r.Findings, r.Confirmed)
	for _, c := range d.Columns {
		x := api.ColumnClassification{Column: c.Name, Title: c.Title, Declared: c.Grade, Level: api.Level{Grade: c.Effective(), Personal: c.Personal, Category: c.Category}}
		if i := slices.IndexFunc(r.Findings, func(f classify.ColumnFinding) bool { return f.Column == c.Name && f.Finding != classify.None }); i >= 0 {
			f := r.Findings[i]
			x.Proposal = &api.GradeProposal{Finding: string(f.Finding), Term: f.Finding.Term(), Share: int(math.Round(100 * f.Share)), Confidence: f.Confidence, Sampled: f.Sampled, Level: proposed(f)}
			x.Level.National, x.Level.Sensitive = x.Proposal.Level.National, x.Proposal.Level.Sensitive
		}
		x.Open = slices.ContainsFunc(open, func(f classify.ColumnFinding) bool { return f.Column == c.Name })
		if i := confirmedAt(r, c.Name); i >= 0 {
			v := r.Confirmed[i]
			x.Verdict = &api.GradeVerdict{Level: decided(v.Verdict), Finding: string(v.Finding), Proposed: v.Proposed, Before: v.Before, Rules: v.Rules, Reason: v.Reason, By: v.By, At: v.At}
			if !x.Open {
				x.Level.National, x.Level.Sensitive = string(v.National), string(v.Sensitive)
			}
		}
		if x.Open {
			out.Open++
		}
		out.Columns = append(out.Columns, x)
	}
	return out
}

func confirmedAt(r gradingRecord, column string) int {
	return slices.IndexFunc(r.Confirmed, func(c classify.Confirmation) bool { return c.Column == column })
}

func proposed(f classify.ColumnFinding) api.Level {
	return api.Level{Grade: f.Grade, Personal: f.Personal, National: string(f.National), Category: string(f.Category), Sensitive: string(f.Sensitive)}
}

func decided(v classify.Verdict) api.Level {
	return api.Level{Grade: v.Grade, Personal: v.Personal, National: string(v.National), Category: string(v.Category), Sensitive: string(v.Sensitive)}
}

// ConfirmClassification takes an officer's verdicts: grade and category are in force when it returns, for the next decision. What
// the statement names as found, proposed and in force must be what the domain has, so that nobody confirms what they have not seen.
func (n *Node) ConfirmClassification(ctx context.Context, c api.Caller, id sandbox.DatasetID, r api.ConfirmationRequest) (out api.Classification, err error) {
	var said attest.Classification
	if err := signed(c, r.Statement, attest.ContextClassification, &said); err != nil {
		return out, err
	}
	defer n.reindex(ctx, id)
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		fail := func(kind sandbox.Kind, at, rule, hint string) error {
			return &sandbox.Error{Op: "classification", Kind: kind, Object: at, Detail: rule, Hint: hint}
		}
		const again = "read it again: opdomain catalog findings"
		d, rev, err := n.docs.datasets.Get(ctx, string(id))
		if err != nil {
			return err
		}
		if !n.sees(c.Party, &d) {
			return notRegistered(id)
		}
		rules, err := n.rulesInForce(ctx)
		if err != nil {
			return err
		}
		g, err := n.grading(ctx, d, rules.Rules)
		if err != nil {
			return err
		}
		switch {
		case d.Unit != c.Party.ID || c.Identity.Duty != sandbox.Officer:
			return fail(sandbox.Denied, string(id), "an officer of the owning unit confirms grades", "")
		case said.Dataset != id:
			return fail(sandbox.Conflict, string(id), "the verdicts are about another dataset", "")
		case said.Version != d.Version:
			return fail(sandbox.Conflict, string(id), "another version was committed meanwhile", again)
		case said.Rules != rules.Rules.Version:
			return fail(sandbox.Conflict, string(id), "other rules are in force", again)
		case said.At.After(tx.at.Add(grant.Skew)):
			return fail(sandbox.Invalid, string(id), "the statement is dated later than now", "check the clock")
		}
		verdicts, err := n.verdicts(d, g, said, r.Reasons)
		if err != nil {
			return err
		}
		next, records, err := rules.Rules.Confirm(d, g.Findings, verdicts, c.Identity.ID, tx.at)
		if err != nil {
			return err
		}
		was := d
		if was.Revision == 0 { // kept before there were revisions: what it was is the first
			was.Revision = 1
			if _, err := n.keepRevision(ctx, was, []string{"registered"}, c.Identity.ID, tx.at); err != nil {
				return err
			}
		}
		next.Revision = was.Revision + 1
		var changed []string
		for _, x := range records {
			changed = append(changed, "grade of "+x.Column)
			if i := confirmedAt(g, x.Column); i >= 0 {
				g.Confirmed = slices.Delete(slices.Clone(g.Confirmed), i, i+1)
			}
			g.Confirmed = append(g.Confirmed, x)
		}
		doc, err := n.docs.datasets.Document(ctx, string(id))
		if err != nil {
			return err
		}
		if _, err := n.docs.datasets.Update(ctx, string(id), rev, string(d.Unit), doc.State, next); err != nil {
			return err
		}
		if _, err := n.keepRevision(ctx, next, changed, c.Identity.ID, tx.at); err != nil {
			return err
		}
		if err := n.keepGrading(ctx, d.Unit, g); err != nil {
			return err
		}
		hit, err := n.affected(ctx, tx.at, moved(d, next))
		if err != nil {
			return err
		}
		out = classification(next, g, rules.Rules)
		out.Affected = hit
		tx.record(attest.ClassificationConfirmed, "dataset/"+string(id), attest.ClassificationConfirmedBody{Statement: r.Statement, Revision: next.Revision, Affected: named(hit)}, agency, toParty(d.Unit))
		return nil
	})
	return out, err
}

// verdicts reads a statement as verdicts, each on the proposal and the grade that stand, with the words of its reason.
func (n *Node) verdicts(d catalog.Dataset, g gradingRecord, said attest.Classification, reasons []api.VerdictReason) ([]classify.Verdict, error) {
	fail := func(kind sandbox.Kind, column, rule string) ([]classify.Verdict, error) {
		return nil, &sandbox.Error{Op: "classification", Kind: kind, Object: string(d.ID) + "." + column, Detail: rule, Hint: "read it again: opdomain catalog findings"}
	}
	used := 0
	var out []classify.Verdict
	for _, x := range said.Columns {
		c, ok := d.Column(x.Column)
		if !ok {
			return nil, &sandbox.Error{Op: "classification", Kind: sandbox.NotFound, Object: string(d.ID), Detail: "a verdict is on a column of the dataset", Hint: "opdomain catalog findings " + string(d.ID)}
		}
		f := classify.ColumnFinding{}
		if i := slices.IndexFunc(g.Findings, func(f classify.ColumnFinding) bool { return f.Column == x.Column }); i >= 0 {
			f = g.Findings[i]
		}
		if x.Finding != string(f.Finding) || x.Proposed != f.Grade || x.Before != c.Effective() {
			return fail(sandbox.Conflict, x.Column, "the verdict is on another finding or grade than stands now")
		}
		v := classify.Verdict{Column: x.Column, Grade: x.Grade, Personal: x.Personal, National: classify.National(x.National), Category: classify.Category(x.Category), Sensitive: classify.Sensitive(x.Sensitive)}
		i := slices.IndexFunc(reasons, func(r api.VerdictReason) bool { return r.Column == x.Column })
		switch {
		case i < 0 && len(x.Reason) > 0:
			return fail(sandbox.Invalid, x.Column, "the words of a reason come with its commitment")
		case i >= 0:
			if v.Reason = reasons[i].Reason; strings.TrimSpace(v.Reason) == "" || !x.Reasoned(reasons[i].Salt, v.Reason) {
				return fail(sandbox.Invalid, x.Column, "the statement commits to the words of the reason, under 32 bytes of salt")
			}
			used++
		}
		out = append(out, v)
	}
	if used != len(reasons) {
		return nil, &sandbox.Error{Op: "classification", Kind: sandbox.Invalid, Object: string(d.ID), Detail: "a reason is given once, for a column that has a verdict"}
	}
	return out, nil
}

// moved lists the columns whose level in force differs between two states of a dataset.
func moved(was, is catalog.Dataset) []classify.FieldChange {
	side := func(d catalog.Dataset) classify.Graded {
		return classify.Graded{Datasets: map[sandbox.DatasetID][]classify.ColumnFinding{is.ID: classify.InForce(d)}}
	}
	return slices.DeleteFunc(classify.Compare(side(was), side(is)), func(c classify.FieldChange) bool { return c.Old.Grade == 0 || !c.Raised && !c.Lowered })
}

// liveScenarios gives the scenarios with a grant that is not over.
func (n *Node) liveScenarios(ctx context.Context, at time.Time) ([]grant.Scenario, error) {
	rows, err := n.docs.scenarios.List(ctx, store.Filter{State: string(grant.Granted)})
	if err != nil {
		return nil, err
	}
	var out []grant.Scenario
	for _, r := range rows {
		if r.Value.At(at) == grant.Granted {
			out = append(out, r.Value)
		}
	}
	return out, nil
}

// affected gives the live grants that changed fields touch. A raised field stops the questions that use it: see policy.CodeRaised.
func (n *Node) affected(ctx context.Context, at time.Time, changes []classify.FieldChange) ([]api.AffectedGrant, error) {
	if len(changes) == 0 {
		return nil, nil
	}
	live, err := n.liveScenarios(ctx, at)
	if err != nil {
		return nil, err
	}
	var grants []classify.Listing
	for _, s := range live {
		grants = append(grants, classify.Listing{Grant: s.Grant.ID, Scenario: s.ID, List: s.List})
	}
	var out []api.AffectedGrant
	for _, a := range classify.AffectedGrants(changes, grants) {
		s := live[slices.IndexFunc(live, func(s grant.Scenario) bool { return s.Grant.ID == a.Grant })]
		g := api.AffectedGrant{Grant: a.Grant, Scenario: a.Scenario, Stop: a.Stop}
		for _, f := range a.Fields {
			x := api.AffectedField{Dataset: f.Dataset, Column: f.Column, Now: f.New.Grade, Uses: f.Uses, Raised: f.Raised}
			if l, ok := s.Listed(string(f.Dataset) + "." + f.Column); ok {
				x.Listed, x.Raised = l.Grade, !l.Covers(f.New.Grade, f.New.Personal)
				g.Stop = g.Stop || x.Raised
			}
			g.Fields = append(g.Fields, x)
		}
		out = append(out, g)
	}
	return out, nil
}

// named is what the evidence holds of affected grants.
func named(grants []api.AffectedGrant) []attest.AffectedGrant {
	var out []attest.AffectedGrant
	for _, g := range grants {
		a := attest.AffectedGrant{Grant: g.Grant, Scenario: g.Scenario, Stop: g.Stop}
		for _, f := range g.Fields {
			a.Columns = append(a.Columns, f.Column)
		}
		out = append(out, a)
	}
	return out
}

// AffectedGrants compares what live grants list with what is in force now: nothing has to be flagged, and nothing stays flagged that
// was put right. Of scenarios that did not keep what was agreed, a column of grade 4 is listed.
func (n *Node) AffectedGrants(ctx context.Context, c api.Caller) ([]api.AffectedGrant, error) {
	live, err := n.liveScenarios(ctx, n.now())
	if err != nil {
		return nil, err
	}
	out := []api.AffectedGrant{}
	sets := map[sandbox.DatasetID]*catalog.Dataset{}
	for _, s := range live {
		if !partOf(s, c.Party) {
			continue
		}
		g := api.AffectedGrant{Grant: s.Grant.ID, Scenario: s.ID}
		for _, item := range s.List {
			d, ok := sets[item.Dataset]
			if !ok {
				got, _, err := n.docs.datasets.Get(ctx, string(item.Dataset))
				if err != nil && !errors.Is(err, sandbox.NotFound) {
					return nil, err
				}
				d = &got
				sets[item.Dataset] = d
			}
			for _, r := range item.Columns {
				col, ok := d.Column(r.Column)
				if !ok {
					continue
				}
				l, kept := s.Listed(string(item.Dataset) + "." + r.Column)
				x := api.AffectedField{Dataset: item.Dataset, Column: r.Column, Listed: l.Grade, Now: col.Effective(), Uses: r.Uses}
				switch {
				case !kept && x.Now < sandbox.Grade4, kept && l.Grade == x.Now && l.Personal == col.Personal:
					continue
				case !kept, !l.Covers(x.Now, col.Personal):
					x.Raised, g.Stop = true, true
				}
				g.Fields = append(g.Fields, x)
			}
		}
		if len(g.Fields) > 0 {
			out = append(out, g)
		}
	}
	slices.SortFunc(out, func(a, b api.AffectedGrant) int { return cmp.Compare(a.Grant, b.Grant) })
	return out, nil
}
