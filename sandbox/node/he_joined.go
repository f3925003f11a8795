package node

import (
	"bytes"
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

// codeListBeside refuses a question over a list, before anything is charged, beside an earlier one.
const codeListBeside = "he.beside" // 与历次密态关联交叉

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
	if least := s.params.MinSubjects; s.order.List.People < least { // the gate would open what so few have
		why = refuse("he.list", "", fmt.Sprintf("at least %d people stand on a list", least), "agree on a list of more people: opdomain he list make")
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
		if slices.ContainsFunc(why, func(r sandbox.Reason) bool { return r.Code == "he.placement" }) {
			return why, nil
		}
		if s.order, err = s.placed(ctx, s.order, d); err != nil {
			return nil, err
		}
	}
	j, not := spec.CompileJoined(d, s.order.Keys, s.order.List.Placement([2]int{0, 1}))
	if why = append(why, not...); len(why) == 0 {
		s.joined = j
	}
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
	for place, was := range at {
		if next.Units = append(next.Units, o.Units[was]); slices.Contains(o.Openers, was) {
			next.Openers = append(next.Openers, place)
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
	same, lists, near, err := s.otherLists(ctx)
	return fmt.Sprintf("computed over ciphertexts of two units, joined over a list that the domain does not have: it was compared with no earlier answer here; each holder's program takes part over no people, and no rows of theirs, "+
		"that are nearly those of an earlier list. Over these datasets %d earlier questions were over this list, in the same cells or over rows that a filter keeps apart, and there were %d other lists before it, "+
		"%d of them as long but for fewer people than a cell needs", same, lists, near), err
}

// otherLists counts, of earlier questions over the same datasets, those over this list, the other lists, and of these those of nearly the same length:
// who differs among two of them would be told by the difference of their answers.
func (s *Sum) otherLists(ctx context.Context) (same, all, near int, err error) {
	earlier, err := s.n.joinedLists(ctx, s.q.Spec, s.q.ID)
	if err != nil {
		return 0, 0, 0, err
	}
	seen := map[string]bool{}
	for _, q := range earlier {
		if bytes.Equal(q.List.Digest, s.q.List.Digest) {
			same++
			continue
		}
		if seen[string(q.List.Digest)] {
			continue
		}
		seen[string(q.List.Digest)] = true
		if all++; max(q.List.People, s.q.List.People)-min(q.List.People, s.q.List.People) < s.params.MinSubjects {
			near++
		}
	}
	return same, all, near, nil
}

// joinedLists are the questions over a list that join the same datasets, in whatever versions: a unit's rows are in none. Those are meant of which an
// epoch was planned, whatever became of it: units could read rows then, and what is allowed next must not tell how it ended.
func (n *Node) joinedLists(ctx context.Context, s query.Spec, but sandbox.QuestionID) (out []questionRecord, err error) {
	rows, err := n.docs.questions.List(ctx, store.Filter{})
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		if q := r.Value; q.List != nil && q.Sum != nil && q.ID != but && slices.Equal(inputsOf(q.Spec), inputsOf(s)) {
			out = append(out, q)
		}
	}
	return out, nil
}

// crosses says whether two questions over one list are over other rows or other cells, which no filter keeps apart: nobody holds whom a cell is of, so
// that nobody can tell whether their answers differ by a few people's.
func crosses(a, b query.Spec) bool { return !sameTable(a, b) && !apart(a, b) }

// besideList gives the reason why a question may not be asked over a list beside an earlier one; nil where there is none.
func (n *Node) besideList(ctx context.Context, list *spec.Agreed, s query.Spec, asker sandbox.PartyID, but sandbox.QuestionID) (*sandbox.Reason, error) {
	earlier, err := n.joinedLists(ctx, s, but)
	if err != nil {
		return nil, err
	}
	var why *sandbox.Reason
	for _, r := range earlier {
		if !bytes.Equal(r.List.Digest, list.Digest) || !crosses(s, r.Spec) {
			continue
		}
		if why == nil {
			why = &sandbox.Reason{Code: codeListBeside, Article: articleModel, Change: "ask over rows that a filter on one column keeps apart from those of every question asked over this list, or over a list of other people",
				Rule: "an earlier question over this list joined other rows of these datasets, or was over other cells: nobody holds whom the cells of either are of, so that nobody can tell whether the two differ in too few people"}
		}
		if r.Party == asker { // another party's question is not named
			why.Change = fmt.Sprintf("ask with the inputs, filters and groupings of %s, or with a filter on one column that has no label in common with a filter of it", r.ID)
			break
		}
	}
	return why, nil
}

// inputsOf are a question's datasets, whichever comes first.
func inputsOf(q query.Spec) (out []sandbox.DatasetID) {
	for _, in := range q.Inputs {
		out = append(out, in.Dataset)
	}
	slices.Sort(out)
	return out
}

// joinedCiphertexts says of a question over two datasets that it would run over a list of people, and over how many it would be refused; of others nothing.
func (n *Node) joinedCiphertexts(ctx context.Context, d query.Derivation) (string, error) {
	const people = 8190 // of one ciphertext
	j, why := spec.CompileJoined(d, nil, spec.Placement{Holders: [2]int{0, 1}, Subjects: people})
	if len(why) > 0 || len(unbounded(d)) > 0 || d.Inputs[0].Described.Unit == d.Inputs[1].Described.Unit {
		return "", nil
	}
	text := fmt.Sprintf("ciphertexts 密态关联: %d groups, %d products would run on ciphertexts of %s and %s, who keep their rows, over a list of people that both have: opdomain he sum ask --list\n",
		len(j.Labels), len(j.Layout.Products.Terms), d.Inputs[0].Described.Unit, d.Inputs[1].Described.Unit)
	earlier, err := n.joinedLists(ctx, d.Spec, "")
	if err != nil {
		return "", err
	}
	refused := map[string]bool{}
	for _, r := range earlier {
		if crosses(d.Spec, r.Spec) {
			refused[string(r.List.Digest)] = true
		}
	}
	if len(refused) > 0 {
		text += fmt.Sprintf("  refused %s over lists 名册 (%d) over which earlier questions joined other rows of these datasets, or were over other cells\n", codeListBeside, len(refused))
	}
	return text, nil
}

// sumList is a list's terms as callers have them.
func sumList(a *spec.Agreed) *api.SumList {
	if a == nil {
		return nil
	}
	return &api.SumList{Digest: a.Digest, People: a.People, Rows: a.Rows}
}
