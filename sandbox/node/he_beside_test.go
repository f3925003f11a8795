package node

import (
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
)

// TestJoinedBeside: over one list, a filter or a grouping more is refused whatever became of the earlier question, for whoever asks and in whatever
// version; other measures of the same cells, rows that a filter keeps apart, and another list are not.
func TestJoinedBeside(t *testing.T) {
	o := newJoining(t)
	ctx := t.Context()
	first := o.asks().Question.ID
	ask := func(change func(*query.Spec)) api.Question {
		t.Helper()
		r := o.order()
		r.Spec.Inputs = append([]query.Input(nil), r.Spec.Inputs...)
		r.Spec.Measures = r.Spec.Measures[:2:2]
		change(&r.Spec)
		s, err := o.n.AskSum(ctx, o.operator.Caller, r)
		if err != nil {
			t.Fatal(err)
		}
		if s.Question.State == stateComputing {
			if _, err := o.n.EndSum(ctx, o.operator.Caller, s.Question.ID); err != nil {
				t.Fatal(err)
			}
		}
		return s.Question
	}
	ward := func(labels ...string) func(*query.Spec) {
		return func(s *query.Spec) { s.Filters = []query.Filter{{Column: "f.ward", In: labels}} }
	}
	grouped := func(s *query.Spec) { s.Dimensions = []query.Dimension{{Column: "f.ward", As: "ward"}} }
	refused := func(name string, q api.Question, change string) {
		t.Helper()
		if q.State != stateRefused || len(q.Decision.Reasons) != 1 || q.Decision.Reasons[0].Code != codeListBeside || !strings.Contains(q.Decision.Reasons[0].Change, change) {
			t.Errorf("%s: %s %+v", name, q.State, q.Decision.Reasons)
		}
	}
	refused("a filter more while the first goes on", ask(ward("east")), string(first))
	if _, err := o.n.EndSum(ctx, o.operator.Caller, first); err != nil {
		t.Fatal(err)
	}
	refused("a filter more after it was ended", ask(ward("east")), string(first))
	refused("a filter that takes out", ask(func(s *query.Spec) { s.Filters = []query.Filter{{Column: "f.ward", In: []string{"west"}, Not: true}} }), string(first))
	refused("a grouping more", ask(grouped), string(first))
	if q := ask(func(*query.Spec) {}); q.State == stateRefused {
		t.Errorf("other measures of the same cells: %+v", q.Decision.Reasons)
	}
	x := o.question()
	ward("east")(&x)
	e, err := o.n.Explain(ctx, o.operator.Caller, x)
	if err != nil || !strings.Contains(e.Text, "refused "+codeListBeside+" over lists 名册 (1)") {
		t.Errorf("%v %s", err, e.Text)
	}
	if e, err = o.n.Explain(ctx, o.operator.Caller, o.question()); err != nil || strings.Contains(e.Text, codeListBeside) {
		t.Errorf("%v %s", err, e.Text)
	}
	// Another party is refused too, and told of nobody's question.
	why, err := o.n.besideList(ctx, &o.agreed, x, "somebody", "")
	if err != nil || why == nil || why.Code != codeListBeside || strings.Contains(why.Change+why.Rule+why.Column, "q-") {
		t.Errorf("%+v %v", why, err)
	}
	// What crosses does not open either, nor what is over too few for a threshold that was raised meanwhile.
	rec, _, err := o.n.docs.questions.Get(ctx, string(first))
	if err != nil {
		t.Fatal(err)
	}
	crossing := &Sum{n: o.n, c: o.operator.Caller, q: rec, order: SumOrder{}}
	if err := crossing.rights(ctx); err != nil {
		t.Errorf("the question itself: %v", err)
	}
	crossing.q.ID, crossing.q.Spec = "q-other", x
	if err := crossing.rights(ctx); sandbox.KindOf(err) != sandbox.Denied || !strings.Contains(err.Error(), codeListBeside) {
		t.Errorf("a filter more, before it opens: %v", err)
	}
	few := &Sum{n: o.n, c: o.operator.Caller, q: rec, params: egress.Params{MinSubjects: 101}}
	if err := few.rights(ctx); sandbox.KindOf(err) != sandbox.Denied || !strings.Contains(err.Error(), "he.list") {
		t.Errorf("fewer than a cell needs, before it opens: %v", err)
	}
	// Over another list both halves may be asked, which no row is in together, and not their union then.
	o.list, o.agreed = o.cohort(30, 130)
	for _, label := range []string{"east", "west"} {
		if q := ask(ward(label)); q.State == stateRefused {
			t.Errorf("%s of another list: %+v", label, q.Decision.Reasons)
		}
	}
	refused("both together", ask(ward("east", "west")), "q-")
	refused("all", ask(func(*query.Spec) {}), "q-")
	o.audit()
}
