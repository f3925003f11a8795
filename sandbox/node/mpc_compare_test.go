package node

import (
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
)

// TestSameTable: two questions are over one table whatever their names, measures and order; a filter on one column of both keeps them apart where no
// label passes in both.
func TestSameTable(t *testing.T) {
	base := filtered("sc-m")
	for name, x := range map[string]struct {
		change      func(*query.Spec)
		same, apart bool
	}{
		"itself":         {func(*query.Spec) {}, true, false},
		"other measures": {func(s *query.Spec) { s.Measures = s.Measures[1:3] }, true, false},
		"selected cells": {func(s *query.Spec) {
			s.Top, s.Having = &query.Top{By: "loans", K: 1}, []query.Having{{Measure: "people", AtLeast: 20}}
		}, true, false},
		"a version": {func(s *query.Spec) { s.Inputs[0].Version = 1 }, true, false},
		"other names": {func(s *query.Spec) {
			s.Inputs = []query.Input{{Alias: "x", Dataset: "ds-l"}, {Alias: "y", Dataset: "ds-s", With: "x"}}
			s.Filters[0].Column, s.Filters[1].Column, s.Dimensions[0] = "x.branch", "y.level", query.Dimension{Column: "x.trade", Bin: "trades", As: "t"}
		}, true, false},
		"order of filters":  {func(s *query.Spec) { s.Filters[0], s.Filters[1] = s.Filters[1], s.Filters[0] }, true, false},
		"order of labels":   {func(s *query.Spec) { s.Filters[0].In = []string{"north", "north"} }, true, false},
		"no filter":         {func(s *query.Spec) { s.Filters = nil }, false, false},
		"a filter fewer":    {func(s *query.Spec) { s.Filters = s.Filters[:1] }, false, false},
		"one label more":    {func(s *query.Spec) { s.Filters[0].In = []string{"north", "south"} }, false, false},
		"the other branch":  {func(s *query.Spec) { s.Filters[0].In = []string{"south"} }, false, true},
		"none of the first": {func(s *query.Spec) { s.Filters[0].Not = true }, false, true},
		"not the other":     {func(s *query.Spec) { s.Filters[0].In, s.Filters[0].Not = []string{"south"}, true }, false, false},
		"the other levels":  {func(s *query.Spec) { s.Filters[1].Not = false }, false, true},
		"other than those":  {func(s *query.Spec) { s.Filters[1].In = []string{"<2"} }, false, false},
		"by another bin":    {func(s *query.Spec) { s.Filters[0].Bin, s.Filters[0].In = "", []string{"S1"} }, false, false},
		"a left join":       {func(s *query.Spec) { s.Inputs[1].Join = query.LeftJoin }, false, false},
		"other cells":       {func(s *query.Spec) { s.Dimensions = nil }, false, false},
		"one dataset":       {func(s *query.Spec) { s.Inputs, s.Filters = s.Inputs[:1], s.Filters[:1] }, false, false},
		"turned round": {func(s *query.Spec) {
			s.Inputs = []query.Input{{Alias: "s", Dataset: "ds-s"}, {Alias: "l", Dataset: "ds-l", With: "s"}}
		}, false, false},
		"a dataset twice": {func(s *query.Spec) {
			s.Inputs = append(s.Inputs, query.Input{Alias: "m", Dataset: "ds-l", With: "l"})
			s.Filters[0].In = []string{"south"}
		}, false, false},
	} {
		other := filtered("sc-n")
		x.change(&other)
		for _, pair := range [][2]query.Spec{{base, other}, {other, base}} {
			if sameTable(pair[0], pair[1]) != x.same || apart(pair[0], pair[1]) != x.apart {
				t.Errorf("%s: same %t, apart %t", name, !x.same, !x.apart)
			}
		}
	}
	twice := func(first, second string) query.Spec {
		return query.Spec{Inputs: []query.Input{{Alias: "a", Dataset: "ds-l"}, {Alias: "b", Dataset: "ds-l", With: "a"}},
			Filters: []query.Filter{{Column: first, In: []string{"x"}}, {Column: second, In: []string{"y"}}}}
	}
	if sameTable(twice("a.branch", "b.branch"), twice("b.branch", "a.branch")) {
		t.Error("of a dataset that is there twice, its places count")
	}
}

// TestFilterTakesOneAway: once an inquiry has opened, a question that a filter makes nearly the same, one in other cells, and a join over the same rows
// are refused before they are charged, whoever asks; the same rows and cells, and rows that a filter keeps apart, are not. One that was planned
// before is withheld when it is to be run, and counts as one that read no row.
func TestFilterTakesOneAway(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	o.lends("run-1", 400, nil)
	first := filtered("sc-m")
	first.Filters = first.Filters[:1]
	nearly := filtered("sc-m") // without the few of the highest level
	waiting := o.asks(o.operator, nearly)
	q, said := o.runs(o.asks(o.operator, first).ID, false)
	if q.State != stateInReview {
		t.Fatalf("%s: %s\n%s", q.State, o.record(q.ID).Review.Cause, strings.Join(said[:], "\n"))
	}
	if waiting = o.unlinked(waiting.ID); waiting.State != stateWithheld || !strings.Contains(o.record(waiting.ID).Review.Cause, "earlier question over shares was over other rows") || !o.record(waiting.ID).Shared.Unread {
		t.Errorf("planned before: %s", o.record(waiting.ID).Review.Cause)
	}
	whole := first
	whole.Filters = nil
	cells := first
	cells.Dimensions = nil
	for name, s := range map[string]query.Spec{"a filter more": nearly, "none": whole, "other cells": cells, "a join": uplift("sc-m")} {
		s.Measures = s.Measures[:3] // another question than the one that waited
		q := o.asks(o.operator, s)
		if q.State != stateRefused || q.Decision.Reasons[0].Code != codeSharesBeside || !strings.Contains(q.Decision.Reasons[0].Change, "ask with the inputs, filters and groupings of q-") {
			t.Errorf("%s: %s %+v", name, q.State, q.Decision.Reasons)
		}
		x, err := o.n.Explain(t.Context(), o.operator.Caller, s)
		if err != nil || x.Decision.Allow || !strings.Contains(x.Text, codeSharesBeside) {
			t.Errorf("%s, explained: %v %s", name, err, x.Text)
		}
	}
	again, others := first, filtered("sc-m")
	again.Measures = again.Measures[:2]
	others.Filters = []query.Filter{{Column: "l.branch", Bin: "branches", In: []string{"south"}}}
	for name, s := range map[string]query.Spec{"the same cells": again, "rows apart": others} {
		if q, said := o.runs(o.asks(o.operator, s).ID, false); q.State != stateInReview {
			t.Errorf("%s: %s %s\n%s", name, q.State, o.record(q.ID).Review.Cause, said[0])
		}
	}
	// What another asked is not told.
	r, err := o.n.beside(t.Context(), &sharedForm{}, whole, []sandbox.InputVersion{{Dataset: "ds-l", Version: 1}}, "somebody", "")
	if err != nil || r == nil || strings.Contains(r.Change, "q-") {
		t.Errorf("%+v %v", r, err)
	}
	if r, err := o.n.beside(t.Context(), &sharedForm{}, whole, []sandbox.InputVersion{{Dataset: "ds-l", Version: 2}}, "somebody", ""); r != nil || err != nil {
		t.Errorf("another version: %+v %v", r, err)
	}
}

// TestNearlyTheSameRows: a run of an inquiry over rows of the domain's that differ from an earlier run's in one person who passes the filter is
// withheld before a link is made, though the versions differ in many; over rows of the bank's that do, the bank's party refuses by its ledger.
func TestNearlyTheSameRows(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	o.lends("run-1", 400, nil)
	if q, said := o.runs(o.asks(o.operator, filtered("sc-m")).ID, false); q.State != stateInReview {
		t.Fatalf("%s: %s", q.State, said[0])
	}
	one := func(p int, level *int, _ *string) {
		if p == 13 || p%100 >= 80 && *level == 9 {
			*level = map[bool]int{true: 9, false: -1}[p == 13] // one who passed no longer does; of those who did not, many are gone
		}
		if p >= 200 && p < 300 && *level >= 0 && *level < 8 {
			*level++ // and many who pass have something else
		}
	}
	o.lends("run-2", 400, one)
	bank := o.n.cfg.Shares.Outside["ds-l"]
	newer := bank
	newer.Version++
	o.n.cfg.Shares.Outside["ds-l"] = newer // over which nothing was asked
	q := o.unlinked(o.asks(o.operator, filtered("sc-m")).ID)
	if q.State != stateWithheld || !strings.Contains(o.record(q.ID).Review.Cause, "too few people") {
		t.Fatalf("%s: %s", q.State, o.record(q.ID).Review.Cause)
	}
	// Why it was withheld is not told by what may be asked next.
	crossing := filtered("sc-m")
	crossing.Filters = nil
	if x, err := o.n.Explain(t.Context(), o.operator.Caller, crossing); err != nil || x.Decision.Allow || !strings.Contains(x.Text, codeSharesBeside) {
		t.Errorf("beside what was withheld: %v %s", err, x.Text)
	}
	o.n.cfg.Shares.Outside["ds-l"] = bank
	many := func(p int, level *int, branch *string) {
		if p < 100 && *level >= 0 {
			*level = (*level + 5) % 10
		}
	}
	o.lends("run-3", 400, many)
	if q, said := o.runs(o.asks(o.operator, filtered("sc-m")).ID, false); q.State != stateInReview {
		t.Fatalf("%s: %s\n%s", q.State, o.record(q.ID).Review.Cause, said[0])
	}
	// The bank's rows: one person is of another branch now.
	o.n.cfg.Shares.Seconds = 2
	o.lends("run-4", 400, func(p int, level *int, branch *string) {
		if p >= 100 && p < 200 && *level >= 0 {
			*level = (*level + 5) % 10
		}
		if p == 30 {
			*branch = map[bool]string{true: "S1", false: "N1"}[strings.HasPrefix(*branch, "N")]
		}
	})
	q, said := o.runs(o.asks(o.operator, filtered("sc-m")).ID, false)
	if q.State != stateWithheld || q.Code != sandbox.CodeWithheld || !strings.Contains(said[0], "psi.near-repeat") || strings.Contains(said[0], "person 30") {
		t.Errorf("%s: %s\n%s", q.State, o.record(q.ID).Review.Cause, said[0])
	}
	if got := o.bundled(); got[attest.SharesPlanned] != 4 || got[attest.SharesComputed] != 2 || got[attest.SharesAborted] != 2 {
		t.Errorf("evidence: %v", got)
	}
}

// TestGateBreaks: a fault of the domain's own in what follows a run withholds the question, and ends nothing else.
func TestGateBreaks(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	o.lends("run-1", 100, nil)
	q := o.asks(o.operator, filtered("sc-m"))
	if q.State != stateComputing {
		t.Fatal(q.State)
	}
	if err := o.n.endShared(t.Context(), o.agency.Caller, q.ID, func(*questionRecord, sharedRights) gated { panic("a fault") }); err != nil {
		t.Fatal(err)
	}
	if rec := o.record(q.ID); rec.Review == nil || rec.Review.State != egress.Withheld || !strings.Contains(rec.Review.Cause, "a step failed in the domain") || rec.Shared.Unread {
		t.Errorf("%+v", rec.Review)
	}
}
