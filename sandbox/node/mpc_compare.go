package node

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/run"
)

// What opens of shares is compared with earlier answers before it opens, since afterwards nobody holds whose it is:
//
//   - by what is asked (beside): two questions over one version of a dataset outside, one of them an inquiry, are over the same rows in the same
//     cells, or over rows that a filter keeps apart. Of any others the difference could be an answer about a few people: rows that one has and
//     the other has not, or a cell that one hides and the other's total gives away. Two joins show whole groups and are not held to it.
//   - by what the domain's own table comes to (ownRepeats): the people who pass the question's filters, and what they have in each column, are those
//     of an earlier run or differ from them in enough people.
//   - by each zone's own ledger, likewise for its table, and by that of a unit that pushes (mpc/agent): nobody here sees those.

// joinedShares lists the questions that the domain has joined a run of, those that a stop ended included.
func (n *Node) joinedShares(ctx context.Context, but sandbox.QuestionID) (out []questionRecord, err error) {
	for _, state := range []string{stateReview, stateComputing} {
		rows, err := n.docs.questions.List(ctx, listState(state))
		if err != nil {
			return nil, err
		}
		for _, r := range rows {
			if r.Value.Shared == nil || r.Value.ID == but {
				continue
			}
			if state == stateComputing {
				p, err := mpc.ParsePlan(r.Value.Shared.Plan)
				if err != nil {
					return nil, err
				}
				if used, err := n.store.Counter(ctx, joinedOf(p.Job)); err != nil {
					return nil, err
				} else if used == 0 {
					continue
				}
			}
			out = append(out, r.Value)
		}
	}
	return out, nil
}

// beside gives the reason why a question may not be asked beside one whose run read rows; nil where there is none. Whether its outputs opened makes
// no difference: it can follow from rows, and what is allowed next would tell.
func (n *Node) beside(ctx context.Context, form *sharedForm, s query.Spec, inputs []sandbox.InputVersion, asker sandbox.PartyID, but sandbox.QuestionID) (*sandbox.Reason, error) {
	earlier, err := n.joinedShares(ctx, but)
	if err != nil {
		return nil, err
	}
	for _, r := range earlier {
		if r.Shared.Unread {
			continue
		}
		for _, v := range r.Inputs { // the ledger of who held it before is not asked again
			if !n.outside(v.Dataset) || !slices.Contains(inputs, v) {
				continue
			}
			then, err := parseForm(r.Shared.Question)
			if err != nil {
				return nil, err
			}
			if then.holder(v.Dataset) != form.holder(v.Dataset) {
				return &sandbox.Reason{Code: codeSharesBeside, Column: string(v.Dataset), Article: articleShares,
					Rule:   "an earlier question over shares was over this version of the dataset where another held it, or its unit pushed it under another key: whoever holds it now cannot compare its rows with those",
					Change: fmt.Sprintf("wait until its owner keeps another version than %d", v.Version)}, nil
			}
		}
		if form.line == nil && !agg.IsInquiry(r.Shared.Question) {
			continue
		}
		for _, v := range r.Inputs {
			if !n.outside(v.Dataset) || !slices.Contains(inputs, v) || sameTable(s, r.Spec) || apart(s, r.Spec) {
				continue
			}
			change := fmt.Sprintf("ask over rows that a filter on one column keeps apart from those of every question asked over it, or wait until its owner keeps another version than %d", v.Version)
			if r.Party == asker {
				change = fmt.Sprintf("ask with the inputs, filters and groupings of %s, or with a filter on one column that has no label in common with a filter of it", r.ID)
			}
			return &sandbox.Reason{Code: codeSharesBeside, Column: string(v.Dataset), Article: articleShares, Change: change,
				Rule: "an earlier question over shares was over other rows of this dataset, or other cells: nobody holds whom the cells of either are of, so that nobody can tell whether the two differ in too few people"}, nil
		}
	}
	return nil, nil
}

// holder says who has the rows of a dataset in a question: a party by its place, or a unit that pushes by its key.
func (form *sharedForm) holder(id sandbox.DatasetID) string {
	if form.line == nil {
		for _, t := range []join.Table{form.question.Left, form.question.Right} {
			if t.Dataset == id {
				return fmt.Sprint(t.Owner)
			}
		}
		return ""
	}
	for _, h := range form.inquiry.Setting.Held {
		if h.Dataset == id && h.Pushed {
			return hex.EncodeToString(h.Unit)
		} else if h.Dataset == id {
			return fmt.Sprint(h.Party)
		}
	}
	return ""
}

// table is a question's rows and cells, without the names that its asker chose.
type table struct {
	Inputs  []string
	Filters []string
	Cells   []string
}

// tableOf writes what rows and cells a question is over.
func tableOf(s query.Spec) string {
	dataset, times := map[string]string{}, map[sandbox.DatasetID]int{}
	for _, in := range s.Inputs {
		times[in.Dataset]++
	}
	for _, in := range s.Inputs {
		if dataset[in.Alias] = string(in.Dataset); times[in.Dataset] > 1 {
			dataset[in.Alias] += "/" + in.Alias
		}
	}
	whole := func(ref string) string { // alias.column
		name, column, _ := strings.Cut(ref, ".")
		return dataset[name] + "." + column
	}
	text := func(v ...any) string {
		b, err := json.Marshal(v)
		if err != nil { // texts, numbers and truth values always marshal
			return ""
		}
		return string(b)
	}
	t := table{}
	for i, in := range s.Inputs {
		on := []string{}
		for _, k := range in.On {
			on = append(on, k.Left+"="+k.Right)
		}
		slices.Sort(on)
		t.Inputs = append(t.Inputs, text(i == 0, dataset[in.Alias], dataset[in.With], in.Join == query.LeftJoin, in.BySubject(), on))
	}
	for _, f := range s.Filters {
		labels := slices.Clone(f.In)
		slices.Sort(labels)
		t.Filters = append(t.Filters, text(whole(f.Column), f.Bin, f.Not, slices.Compact(labels)))
	}
	for _, d := range s.Dimensions {
		if d.Score == nil {
			t.Cells = append(t.Cells, text(whole(d.Column), d.Bin))
			continue
		}
		score := *d.Score
		score.Parts = slices.Clone(score.Parts)
		for i := range score.Parts {
			score.Parts[i].Column = whole(score.Parts[i].Column)
		}
		t.Cells = append(t.Cells, text(score))
	}
	for _, list := range []*[]string{&t.Inputs, &t.Filters, &t.Cells} {
		slices.Sort(*list)
		*list = slices.Compact(*list)
	}
	return text(t)
}

// sameTable says whether two questions are over the same rows in the same cells. Of a dataset that is in one twice the names that its asker gave
// it count too.
func sameTable(a, b query.Spec) bool { return tableOf(a) == tableOf(b) }

// apart says whether a filter of each keeps the rows of two questions apart: on one column of a dataset that each has once, by labels of which
// none lets a row pass in both.
func apart(a, b query.Spec) bool {
	find := func(s query.Spec, f query.Filter) (sandbox.DatasetID, string, bool) {
		name, column, _ := strings.Cut(f.Column, ".")
		var set sandbox.DatasetID
		for _, in := range s.Inputs {
			if in.Alias == name {
				set = in.Dataset
			}
		}
		times := 0
		for _, in := range s.Inputs {
			if in.Dataset == set {
				times++
			}
		}
		return set, column, times == 1
	}
	for _, f := range a.Filters {
		set, column, once := find(a, f)
		for _, g := range b.Filters {
			other, name, one := find(b, g)
			if !once || !one || set != other || column != name || f.Bin != g.Bin || f.Not && g.Not {
				continue
			}
			lists, rest := g, f
			if g.Not { // the one that lists what passes
				lists, rest = f, g
			}
			if !slices.ContainsFunc(lists.In, func(l string) bool { return slices.Contains(rest.In, l) != rest.Not }) {
				return true
			}
		}
	}
	return false
}

// ownRepeats gives the rule by which a run may not be made over the domain's own tables: what they come to is nearly that of an earlier run, or
// an earlier run's can no longer be read; "" where they may.
func (n *Node) ownRepeats(ctx context.Context, form *sharedForm, q *questionRecord, inputs []sharedInput, key []byte, min int) (string, error) {
	earlier, err := n.joinedShares(ctx, q.ID)
	if err != nil {
		return "", err
	}
	read := func(in sharedInput, version uint64, columns []string) (*agg.Rows, error) {
		return run.SharedRows(ctx, n.mem, n.vault, in.dataset, sandbox.InputVersion{Dataset: in.dataset.ID, Version: version}, columns, key, maxShared)
	}
	passing := func(f *sharedForm, at int, r *agg.Rows) []bool {
		if f.line == nil {
			return nil
		}
		return f.line.Passing(at, r)
	}
	for _, in := range inputs {
		rows, err := read(in, in.version, in.columns)
		if err != nil {
			return "", err
		}
		now := apartBy(rows, passing(form, in.at, rows), in.columns)
		seen := map[string]bool{contributed(q.Spec, in.dataset.ID, form.alias(q.Spec, in.at, in.dataset.ID), in.version): true}
		for _, r := range earlier {
			at := slices.IndexFunc(r.Inputs, func(v sandbox.InputVersion) bool { return v.Dataset == in.dataset.ID })
			if at < 0 || r.Shared.Unread {
				continue
			}
			then, err := parseForm(r.Shared.Question)
			if err != nil {
				return "", err
			}
			for k, x := range r.Spec.Inputs {
				if x.Dataset != in.dataset.ID {
					continue
				}
				mark := contributed(r.Spec, in.dataset.ID, x.Alias, r.Inputs[at].Version)
				if seen[mark] {
					continue
				}
				seen[mark] = true
				columns := slices.Clone(in.columns)
				if then.line != nil {
					for _, c := range then.line.Columns(k) {
						if !slices.Contains(columns, c) {
							columns = append(columns, c)
						}
					}
				}
				old, err := read(in.with(then, k, columns), r.Inputs[at].Version, columns)
				if errors.Is(err, sandbox.NotFound) || errors.Is(err, sandbox.Tampered) || errors.Is(err, sandbox.Expired) {
					return fmt.Sprintf("version %d of the domain's table, which an earlier run was over, can no longer be read, so that this one cannot be compared with it", r.Inputs[at].Version), nil
				}
				if err != nil {
					return "", err
				}
				for i, of := range apartBy(old, passing(then, k, old), in.columns) {
					if d := now[i].Differ(of); d > 0 && d < min {
						return "what the domain's table comes to differs from that of an earlier run in too few people", nil
					}
				}
			}
		}
	}
	return "", nil
}

// apartBy gives who is in rows, with how many, and what they have in each column by itself: together, a column that changed for many would hide
// that one person is gone.
func apartBy(rows *agg.Rows, passing []bool, columns []string) []agg.Contribution {
	out := []agg.Contribution{rows.Contributed(passing, nil)}
	for _, c := range columns {
		out = append(out, rows.Contributed(passing, []string{c}))
	}
	return out
}

// with gives an own table the description of columns that only an earlier question used.
func (in sharedInput) with(then *sharedForm, at int, columns []string) sharedInput {
	if then.line == nil {
		return in
	}
	old := then.line.Inputs()[at]
	in.dataset.Columns = slices.Clone(in.dataset.Columns)
	for _, name := range columns {
		if _, known := in.dataset.Column(name); known {
			continue
		}
		if c, ok := old.Column(name); ok {
			in.dataset.Columns = append(in.dataset.Columns, catalog.Column(*c))
		}
	}
	return in
}

// alias gives the name of an own table in a question.
func (form *sharedForm) alias(s query.Spec, at int, id sandbox.DatasetID) string {
	if form.line != nil {
		return s.Inputs[at].Alias
	}
	for _, in := range s.Inputs {
		if in.Dataset == id {
			return in.Alias
		}
	}
	return ""
}

// contributed marks what a question takes of a version of a table: which filters hold for its rows.
func contributed(s query.Spec, id sandbox.DatasetID, alias string, version uint64) string {
	of := query.Spec{Inputs: []query.Input{{Alias: alias, Dataset: id, Version: version}}}
	for _, f := range s.Filters {
		if name, _, _ := strings.Cut(f.Column, "."); name == alias {
			of.Filters = append(of.Filters, f)
		}
	}
	return fmt.Sprint(version) + tableOf(of)
}
