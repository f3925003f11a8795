package node

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
)

// rulesRecord is the rules in force. Own rules are the agency's; the others came with a program.
type rulesRecord struct {
	Rules     classify.Rules `json:"rules"`
	Detectors string         `json:"detectors"` // version of the program's detectors when they were put in force
	Own       bool           `json:"own,omitempty"`
}

const (
	rulesDoc      = "in-force"
	withDetectors = "-with-" // in the version of own rules, before that of the detectors they are used with
)

// rulesInForce gives the rules that grades follow; those of the program in a domain that has kept none.
func (n *Node) rulesInForce(ctx context.Context) (rulesRecord, error) {
	r, err := n.docs.rules.Document(ctx, rulesDoc)
	if errors.Is(err, sandbox.NotFound) {
		return rulesRecord{Rules: classify.Current(), Detectors: classify.Version}, nil
	}
	return r.Value, err
}

func (n *Node) keepRules(ctx context.Context, r rulesRecord) error {
	_, rev, err := n.docs.rules.Get(ctx, rulesDoc)
	if errors.Is(err, sandbox.NotFound) {
		return n.docs.rules.Insert(ctx, rulesDoc, "", "in-force", r)
	}
	if err == nil {
		_, err = n.docs.rules.Update(ctx, rulesDoc, rev, "", "in-force", r)
	}
	return err
}

// GradingRules gives the rules in force, kinds in the order of their names.
func (n *Node) GradingRules(ctx context.Context, _ api.Caller) (api.GradingRules, error) {
	r, err := n.rulesInForce(ctx)
	out := api.GradingRules{Version: r.Rules.Version, Detectors: r.Detectors, Levels: []api.KindLevel{}}
	for _, k := range slices.Sorted(maps.Keys(r.Rules.Levels)) {
		l := r.Rules.Levels[k]
		out.Levels = append(out.Levels, api.KindLevel{Kind: string(k), Term: k.Term(),
			Level: api.Level{Grade: l.Grade, Personal: l.Personal, National: string(l.National), Category: string(l.Category), Sensitive: string(l.Sensitive)}})
	}
	return out, err
}

// parseRules reads a version of the rules. Rules are the agency's own words; that every kind has a level is checked, and that none has
// two.
func parseRules(r api.GradingRules) (classify.Rules, error) {
	out := classify.Rules{Version: r.Version, Levels: map[classify.Kind]classify.Level{}}
	bad := func(object, rule string) (classify.Rules, error) {
		return classify.Rules{}, &sandbox.Error{Op: "classification: rules", Kind: sandbox.Invalid, Object: object, Detail: rule, Hint: "change what opdomain catalog rules --json prints"}
	}
	if sandbox.CheckID("rules", r.Version) != nil {
		return bad("version", "an identifier of 1 to 64 of a-z, 0-9, '.', '_', '-'")
	}
	for _, x := range r.Levels {
		k := classify.Kind(x.Kind)
		if _, twice := out.Levels[k]; twice {
			return bad("levels", "a kind has one level")
		}
		out.Levels[k] = classify.Level{Grade: x.Level.Grade, Personal: x.Level.Personal, National: classify.National(x.Level.National), Category: classify.Category(x.Level.Category),
			Sensitive: classify.Sensitive(x.Level.Sensitive)}
	}
	return out, out.Validate()
}

// Regrade puts the next version of the rules in force: the agency's own, or those of the program. Every dataset is graded by them at
// once; what rises is in force when it returns.
func (n *Node) Regrade(ctx context.Context, c api.Caller, r api.RegradeRequest) (api.Regrading, error) {
	next := rulesRecord{Rules: classify.Current(), Detectors: classify.Version}
	if r.Rules != nil {
		rules, err := parseRules(*r.Rules)
		if err != nil {
			return api.Regrading{}, err
		}
		next.Rules, next.Own = rules, true
	}
	if r.Preview {
		p, err := n.plan(ctx, next, n.now())
		p.out.Preview = true
		return p.out, err
	}
	return n.adopt(ctx, c.Identity.ID, next)
}

// regradePlan is what a version of the rules changes.
type regradePlan struct {
	next rulesRecord
	sets []regradedSet
	out  api.Regrading
}

// regradedSet is one dataset under other rules.
type regradedSet struct {
	was, is catalog.Dataset
	record  gradingRecord
	changes []classify.FieldChange
	hit     []api.AffectedGrant
}

// plan grades every dataset by other rules, without keeping anything. Verdicts on fields that they grade as before stand; the others
// are asked for again.
func (n *Node) plan(ctx context.Context, next rulesRecord, at time.Time) (regradePlan, error) {
	p := regradePlan{next: next}
	now, err := n.rulesInForce(ctx)
	if err != nil {
		return p, err
	}
	if now.Rules.Version == next.Rules.Version {
		return p, &sandbox.Error{Op: "classification: rules", Kind: sandbox.Conflict, Object: next.Rules.Version, Detail: "rules of this version are in force", Hint: "give changed rules another version"}
	}
	b, err := json.Marshal(next.Rules)
	if err != nil {
		return p, err
	}
	digest := sm.Sum(b)
	p.out = api.Regrading{From: now.Rules.Version, To: next.Rules.Version, Detectors: next.Detectors, Digest: digest[:], Fields: []api.RegradedField{}, Affected: []api.AffectedGrant{}}
	all, err := n.everyDataset(ctx)
	if err != nil {
		return p, err
	}
	var changes []classify.FieldChange
	for _, d := range all {
		g, err := n.grading(ctx, d, now.Rules)
		if err != nil {
			return p, err
		}
		old := classify.Graded{Rules: now.Rules.Version, Datasets: map[sandbox.DatasetID][]classify.ColumnFinding{d.ID: g.Findings}}
		set := regradedSet{was: d, record: g}
		other := next.Rules.Regrade(old)
		set.changes = classify.Compare(old, other)
		if len(set.changes) == 0 && len(g.Findings) == 0 && len(g.Confirmed) == 0 {
			continue
		}
		set.record.Findings = other.Datasets[d.ID]
		set.record.Confirmed = next.Rules.Carry(g.Confirmed, set.changes)
		p.out.Kept += len(set.record.Confirmed)
		set.is, _ = next.Rules.Settle(d, set.record.Findings, set.record.Confirmed)
		for _, x := range set.changes {
			before, after := level(set.was, x.Column), level(set.is, x.Column)
			p.out.Fields = append(p.out.Fields, api.RegradedField{Dataset: d.ID, Column: x.Column, Finding: string(x.New.Finding), Old: proposed(x.Old), New: proposed(x.New),
				Before: before.Grade, After: after.Grade})
			x.Old, x.New = before, after
			changes = append(changes, x)
		}
		p.sets = append(p.sets, set)
	}
	if p.out.Affected, err = n.affected(ctx, at, changes); err != nil {
		return p, err
	}
	if p.out.Affected == nil {
		p.out.Affected = []api.AffectedGrant{}
	}
	for i := range p.sets {
		p.sets[i].hit = onlyOf(p.out.Affected, func(d sandbox.DatasetID) bool { return d == p.sets[i].was.ID })
	}
	return p, nil
}

// level is what is in force for one column.
func level(d catalog.Dataset, column string) classify.ColumnFinding {
	all := classify.InForce(d)
	if i := slices.IndexFunc(all, func(f classify.ColumnFinding) bool { return f.Column == column }); i >= 0 {
		return all[i]
	}
	return classify.ColumnFinding{Column: column}
}

// onlyOf takes the fields of some datasets out of affected grants.
func onlyOf(grants []api.AffectedGrant, which func(sandbox.DatasetID) bool) []api.AffectedGrant {
	out := []api.AffectedGrant{}
	for _, g := range grants {
		g.Fields = slices.DeleteFunc(slices.Clone(g.Fields), func(f api.AffectedField) bool { return !which(f.Dataset) })
		if len(g.Fields) > 0 {
			out = append(out, g)
		}
	}
	return out
}

// adopt puts rules in force with the evidence of what they changed.
func (n *Node) adopt(ctx context.Context, by sandbox.IdentityID, next rulesRecord) (api.Regrading, error) {
	var p regradePlan
	err := n.change(ctx, by, func(ctx context.Context, tx *change) (err error) {
		if p, err = n.plan(ctx, next, tx.at); err != nil {
			return err
		}
		p.out.By, p.out.At = by, tx.at
		datasets := 0
		for _, s := range p.sets {
			if len(s.changes) > 0 {
				datasets++
			}
		}
		tx.record(attest.RulesAdopted, "rules/"+next.Rules.Version, attest.RulesAdoptedBody{From: p.out.From, To: p.out.To, Detectors: next.Detectors, Digest: p.out.Digest,
			Datasets: datasets, Columns: len(p.out.Fields), Grants: len(p.out.Affected), Kept: p.out.Kept}, agency, everyone)
		for _, s := range p.sets {
			if err := n.keepRegraded(ctx, tx, p, s); err != nil {
				return err
			}
		}
		id, err := n.newID("regrading")
		if err != nil {
			return err
		}
		return errors.Join(n.docs.regradings.Insert(ctx, id, "", "regraded", p.out), n.keepRules(ctx, next))
	})
	for _, s := range p.sets {
		if len(s.changes) > 0 {
			n.reindex(ctx, s.was.ID)
		}
	}
	return p.out, err
}

// keepRegraded keeps one dataset under the rules of a plan.
func (n *Node) keepRegraded(ctx context.Context, tx *change, p regradePlan, s regradedSet) error {
	if err := n.keepGrading(ctx, s.was.Unit, s.record); err != nil || len(s.changes) == 0 {
		return err
	}
	doc, err := n.docs.datasets.Document(ctx, string(s.was.ID))
	if err != nil {
		return err
	}
	if _, err := n.docs.datasets.Update(ctx, string(s.was.ID), doc.Rev, string(s.was.Unit), doc.State, s.is); err != nil {
		return err
	}
	body := attest.ClassificationRegradedBody{Dataset: s.was.ID, From: p.out.From, To: p.out.To, Affected: named(s.hit)}
	for _, x := range s.changes {
		body.Columns = append(body.Columns, attest.RegradedColumn{Column: x.Column, Finding: string(x.New.Finding), Old: x.Old.Grade, New: x.New.Grade,
			Before: level(s.was, x.Column).Grade, After: level(s.is, x.Column).Grade})
	}
	tx.record(attest.ClassificationRegraded, "dataset/"+string(s.was.ID), body, agency, toParty(s.was.Unit))
	return nil
}

// Regradings lists what other rules changed, the newest last; a unit sees what concerns its datasets.
func (n *Node) Regradings(ctx context.Context, c api.Caller) ([]api.Regrading, error) {
	rows, err := n.docs.regradings.List(ctx, listState("regraded"))
	if err != nil {
		return nil, err
	}
	own := map[sandbox.DatasetID]bool{}
	if !supervises(c.Party) {
		sets, err := n.docs.datasets.List(ctx, ownerFilter(c.Party))
		if err != nil {
			return nil, err
		}
		for _, d := range sets {
			own[d.Value.ID] = true
		}
	}
	out := []api.Regrading{}
	for _, r := range rows {
		x := r.Value
		if !supervises(c.Party) {
			x.Fields = slices.DeleteFunc(slices.Clone(x.Fields), func(f api.RegradedField) bool { return !own[f.Dataset] })
			x.Affected = onlyOf(x.Affected, func(d sandbox.DatasetID) bool { return own[d] })
			x.Kept = 0
		}
		out = append(out, x)
	}
	return out, nil
}

// takeUpRules grades by what the program brought: its rules, if the program's are in force, else the agency's own with the program's
// level for kinds that they do not name. Findings stay what the detectors before found until a next version is pushed.
func (n *Node) takeUpRules(ctx context.Context) error {
	now, err := n.docs.rules.Document(ctx, rulesDoc)
	if errors.Is(err, sandbox.NotFound) {
		return n.change(ctx, domainIdentity, func(ctx context.Context, _ *change) error {
			return n.keepRules(ctx, rulesRecord{Rules: classify.Current(), Detectors: classify.Version})
		})
	}
	if err != nil || now.Value.Detectors == classify.Version {
		return err
	}
	next := rulesRecord{Rules: classify.Current(), Detectors: classify.Version}
	if now.Value.Own {
		name, _, _ := strings.Cut(now.Value.Rules.Version, withDetectors)
		next.Own, next.Rules.Version = true, name[:min(len(name), 64-len(withDetectors+classify.Version))]+withDetectors+classify.Version
		for k := range next.Rules.Levels {
			if l, ok := now.Value.Rules.Levels[k]; ok {
				next.Rules.Levels[k] = l
			}
		}
	}
	_, err = n.adopt(ctx, domainIdentity, next)
	return err
}
