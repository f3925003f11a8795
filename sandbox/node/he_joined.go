package node

import (
	"context"
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/store"
)

// compile lays the question out: as a sum, or, over a list, as products of what two units hold. The order's units stand as the plan has them then.
func (s *Sum) compile(ctx context.Context, d query.Derivation) (why []sandbox.Reason, err error) {
	if s.order.List == nil {
		s.question, why = spec.Compile(d, s.order.Keys)
		return why, nil
	}
	refuse := func(code, column, rule, change string) []sandbox.Reason {
		return append(why, sandbox.Reason{Code: code, Column: column, Rule: rule, Article: articleModel, Change: change})
	}
	if len(s.order.List.Digest) != sm.Size {
		return refuse("he.list", "", "the list of people is named by its digest, SM3", "opdomain he list show FILE, where either owner has it"), nil
	}
	if len(d.Inputs) == 2 {
		parties, err := s.parties(ctx, s.order.Units)
		if err != nil {
			return nil, err
		}
		for _, in := range d.Inputs {
			holder := in.Described.Unit
			if !slices.Contains(parties, holder) {
				why = refuse("he.placement", string(in.Dataset), "the unit that owns a joined dataset is among the units of the plan", "name an officer of "+string(holder)+" in the order's units")
			}
		}
		if len(why) == 0 && d.Inputs[0].Described.Unit == d.Inputs[1].Described.Unit {
			why = refuse("he.placement", string(d.Inputs[1].Dataset), "the joined datasets are of two units", "what one unit holds, it joins itself, and contributes as one dataset")
		}
		if len(why) > 0 {
			return why, nil
		}
		if s.order, err = s.placed(ctx, s.order, d); err != nil {
			return nil, err
		}
	}
	s.joined, why = spec.CompileJoined(d, s.order.Keys, s.order.List.Placement([2]int{0, 1}))
	return why, nil
}

// parties are those that identities act for.
func (s *Sum) parties(ctx context.Context, ids []sandbox.IdentityID) (out []sandbox.PartyID, err error) {
	for _, id := range ids {
		k, err := s.n.known(ctx, id)
		if err != nil {
			return nil, err
		}
		out = append(out, k.party.ID)
	}
	return out, nil
}

// placed puts the holders of a joined question's datasets first among an order's units, so that the layout, and what owners approved of it, is the same
// whoever else takes part. Conflict where one is not among them.
func (s *Sum) placed(ctx context.Context, o SumOrder, d query.Derivation) (SumOrder, error) {
	parties, err := s.parties(ctx, o.Units)
	if err != nil {
		return o, err
	}
	at := make([]int, 0, len(parties)) // where each stood
	for _, in := range d.Inputs {
		i := slices.Index(parties, in.Described.Unit)
		if i < 0 {
			return o, &sandbox.Error{Op: "sum", Kind: sandbox.Conflict, Object: string(in.Dataset), Detail: "the unit that owns a joined dataset takes part", Hint: "name its officer with --units"}
		}
		at = append(at, i)
	}
	for i := range parties {
		if !slices.Contains(at, i) {
			at = append(at, i)
		}
	}
	next := o
	next.Units, next.Openers = nil, nil
	for now, was := range at {
		if next.Units = append(next.Units, o.Units[was]); slices.Contains(o.Openers, was) {
			next.Openers = append(next.Openers, now)
		}
	}
	if len(o.Openers) == 0 { // the holders before others: without them there is no epoch anyway
		for i := range min(o.Threshold, len(next.Units)) {
			next.Openers = append(next.Openers, i)
		}
	}
	return next, nil
}

// layout is that of the question, as it compiled.
func (s *Sum) layout() he.Layout {
	if s.joined != nil {
		return s.joined.Layout
	}
	return s.question.Layout
}

func (s *Sum) answer(r *he.Result) (*spec.Answer, error) {
	if s.joined != nil {
		return s.joined.Answer(r)
	}
	return s.question.Answer(r)
}

// bounds says what the gate judged by, for the agency and the owners.
func (s *Sum) bounds() string {
	if s.joined != nil {
		return "people with rows at both units exactly, of whom all but those with nothing at either add something; largest contribution ≤ the product of the holders' largest"
	}
	return "distinct people ≥ the most of a unit, largest contribution ≤ the units' largest together"
}

// uncertified says what nobody compared, and for whom it would be a difference.
func (s *Sum) uncertified(ctx context.Context) (string, error) {
	if s.joined == nil {
		return "computed over ciphertexts: nobody knows whose rows are in it, so that it was compared with no earlier answer", nil
	}
	lists, near, err := s.otherLists(ctx)
	return fmt.Sprintf("computed over ciphertexts of two units, joined over a list that the domain does not have: it was compared with no earlier answer here; each holder's program takes part over no people, and no rows of theirs, "+
		"that are nearly those of an earlier list. Over these datasets there were %d other lists before it, %d of them as long but for fewer people than a cell needs", lists, near), err
}

// otherLists counts the lists over which the same datasets were joined before, and those of nearly the same length: who differs among two of them would
// be told by the difference of their answers.
func (s *Sum) otherLists(ctx context.Context) (all, near int, err error) {
	rows, err := s.n.docs.questions.List(ctx, store.Filter{})
	if err != nil {
		return 0, 0, err
	}
	seen := map[string]bool{string(s.q.List.Digest): true}
	for _, r := range rows {
		q := r.Value
		if q.List == nil || q.Sum == nil || seen[string(q.List.Digest)] || !slices.Equal(inputsOf(q.Spec), inputsOf(s.q.Spec)) {
			continue
		}
		seen[string(q.List.Digest)] = true
		if all++; max(q.List.People, s.q.List.People)-min(q.List.People, s.q.List.People) < s.params.MinSubjects {
			near++
		}
	}
	return all, near, nil
}

// inputsOf are a question's datasets, whichever comes first.
func inputsOf(q query.Spec) (out []sandbox.DatasetID) {
	for _, in := range q.Inputs {
		out = append(out, in.Dataset)
	}
	slices.Sort(out)
	return out
}

// joinedCiphertexts says of a question over two datasets that it would run over a list of people, of others nothing.
func joinedCiphertexts(d query.Derivation) string {
	const people = 8190 // of one ciphertext
	j, why := spec.CompileJoined(d, nil, spec.Placement{Holders: [2]int{0, 1}, Subjects: people})
	if len(why) > 0 || len(unbounded(d)) > 0 || d.Inputs[0].Described.Unit == d.Inputs[1].Described.Unit {
		return ""
	}
	return fmt.Sprintf("ciphertexts 密态关联: %d groups, %d products would run on ciphertexts of %s and %s, who keep their rows, over a list of people that both have: opdomain he sum ask --list\n",
		len(j.Labels), len(j.Layout.Products.Terms), d.Inputs[0].Described.Unit, d.Inputs[1].Described.Unit)
}

// sumList is a list's terms as callers have them.
func sumList(a *spec.Agreed) *api.SumList {
	if a == nil {
		return nil
	}
	return &api.SumList{Digest: a.Digest, People: a.People, Rows: a.Rows}
}
