package agg

import (
	"encoding/binary"
	"fmt"
	"testing"

	"pgregory.net/rapid"

	pair "github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

func owed() (loans, grants catalog.Dataset) {
	column := func(name string, typ catalog.Type) catalog.Column {
		return catalog.Column{Name: name, Type: typ, Grade: 2}
	}
	codes := func(id, col string, labels ...string) catalog.Bin {
		b := catalog.Bin{ID: sandbox.BinID(id), Column: col, Kind: catalog.Codes}
		for _, l := range labels {
			b.Groups = append(b.Groups, catalog.Group{Label: l, Codes: []string{l}})
		}
		return b
	}
	person := catalog.Column{Name: "who", Type: catalog.Text, Grade: 3, Personal: true}
	loans = catalog.Dataset{ID: "loans", Title: "l", Unit: "bank", Frequency: catalog.Daily, Subject: "who", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{person, column("trade", catalog.Text), column("branch", catalog.Text), column("repaid", catalog.Int)}, Bins: []catalog.Bin{codes("trades", "trade", "farm", "shop"), codes("branches", "branch", "north", "south")}}
	grants = catalog.Dataset{ID: "grants", Title: "g", Unit: "bureau", Frequency: catalog.Daily, Subject: "who", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{person, column("kind", catalog.Text), column("level", catalog.Text), column("support", catalog.Int)}, Bins: []catalog.Bin{codes("kinds", "kind", "old", "new"), codes("levels", "level", "low", "high")}}
	return loans, grants
}

// drawOwed draws loans and grants of people of whom some have both, the question in both forms, and the rows of a join, those that filters keep
// alone.
func drawOwed(t *rapid.T) (w *world, s query.Spec, q pair.Question, left, right []pair.Row) {
	l, g := owed()
	w = &world{data: map[sandbox.DatasetID]*dryrun.Data{"loans": {Set: l}, "grants": {Set: g}}, s: Setting{Adversary: share.SemiHonest, Whole: true,
		Thresholds: Thresholds{MinSubjects: rapid.IntRange(3, 4).Draw(t, "k"), DominanceN: 2, DominanceK: rapid.SampledFrom([]int{70, 99}).Draw(t, "share"), PPercent: rapid.SampledFrom([]int{1, 30}).Draw(t, "p")}}}
	for _, d := range []catalog.Dataset{l, g} {
		item := sandbox.ListItem{Dataset: d.ID}
		for _, c := range d.Columns {
			item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c.Name, Compares: sandbox.MaxCompares, Funcs: sandbox.MeasureFuncs,
				Uses: []sandbox.Use{sandbox.UseJoin, sandbox.UseGroup, sandbox.UseFilter, sandbox.UseAggregate, sandbox.UseCompare}})
		}
		w.list = append(w.list, item)
	}
	s = query.Spec{Scenario: "sc-1", Purpose: "p", Inputs: []query.Input{{Alias: "l", Dataset: "loans"}, {Alias: "g", Dataset: "grants", With: "l"}},
		Dimensions: []query.Dimension{{Column: "l.trade", Bin: "trades", As: "trade"}, {Column: "g.kind", Bin: "kinds", As: "kind"}},
		Measures:   []query.Measure{{Func: sandbox.Subjects, As: "people"}, {Func: sandbox.Sum, Column: "l.repaid", As: "repaid"}, {Func: sandbox.Sum, Column: "g.support", As: "support"}}}
	leftFilter, rightFilter := rapid.IntRange(0, 3).Draw(t, "filter") == 0, rapid.IntRange(0, 3).Draw(t, "filter of grants") == 0
	q = pair.Question{Version: 1, Left: pair.Table{Owner: 0, Rows: 50, Groups: []string{"farm", "shop", catalog.Other}}, Right: pair.Table{Owner: 1, Rows: 50, Groups: []string{"old", "new", catalog.Other}},
		Measures: []pair.Measure{{Name: "repaid", Kind: pair.Amount, Side: pair.Left}, {Name: "support", Kind: pair.Amount, Side: pair.Right}}}
	p := w.s.Thresholds
	q.Rules = pair.Rules{MinSubjects: p.MinSubjects, DominanceN: p.DominanceN, DominanceK: p.DominanceK, PPercent: p.PPercent}
	if leftFilter {
		s.Filters = append(s.Filters, query.Filter{Column: "l.branch", Bin: "branches", In: []string{"north"}})
	}
	if rightFilter {
		s.Filters = append(s.Filters, query.Filter{Column: "g.level", Bin: "levels", In: []string{"high"}, Not: true})
	} else if rapid.Bool().Draw(t, "left join") {
		s.Inputs[1].Join, q.Unmatched = query.LeftJoin, catalog.Missing
	}
	number := func(p sandbox.Pseudonym) uint64 { return uint64(subjectNumber(p)) }
	has := func(of string, most int) bool { return rapid.IntRange(0, most).Draw(t, of) > 0 }
	loan, grant := rapid.IntRange(1, 9).Draw(t, "loans are had by"), rapid.IntRange(1, 9).Draw(t, "grants are had by")
	trades := rapid.IntRange(1, 2).Draw(t, "trades")
	kinds := rapid.IntRange(1, 2).Draw(t, "kinds")
	for n := range rapid.IntRange(20, 50).Draw(t, "people") {
		var who sandbox.Pseudonym
		binary.BigEndian.PutUint64(who[:], uint64(n+1))
		if has("loan", loan) {
			trade, north, amount := rapid.IntRange(0, trades-1).Draw(t, "trade"), has("north", 4), rapid.Int64Range(1, 40).Draw(t, "repaid")
			d := w.data["loans"]
			d.Rows, d.Subjects = append(d.Rows, []any{fmt.Sprint(n), []any{"farm", "shop"}[trade], map[bool]any{true: "north", false: "south"}[north], amount}), append(d.Subjects, who)
			if north || !leftFilter {
				left = append(left, pair.Row{Group: trade, Subject: number(who), Values: []int64{amount}})
			}
		}
		if has("grant", grant) {
			kind, high, amount := rapid.IntRange(0, kinds-1).Draw(t, "kind"), !has("high", 4), rapid.Int64Range(1, 40).Draw(t, "support")
			d := w.data["grants"]
			d.Rows, d.Subjects = append(d.Rows, []any{fmt.Sprint(n), []any{"old", "new"}[kind], map[bool]any{true: "high", false: "low"}[high], amount}), append(d.Subjects, who)
			if !high || !rightFilter {
				right = append(right, pair.Row{Group: kind, Subject: number(who), Values: []int64{amount}})
			}
		}
	}
	if rapid.IntRange(0, 3).Draw(t, "pushed") == 0 {
		w.s.Held, w.s.Bits = append(w.s.Held, Held{Dataset: "loans", Rows: 50, Pushed: true}), map[string]int{"loans.repaid": 6}
	} else {
		w.deal("loans", 50, 0)
	}
	w.deal("grants", 50, 1)
	return w, s, q, left, right
}

// TestWhole: a line that shows whole groups shows exactly the cells that a join of the two tables, of the rows that pass the filters, shows, with its
// numbers: whoever is left over on either side counts.
func TestWhole(t *testing.T) {
	shown, hidden := 0, 0
	sandboxtest.Until(t, func() bool { return shown > 0 && hidden > 0 }, func(t *rapid.T) {
		w, s, q, left, right := drawOwed(t)
		want, err := q.Plain(left, right)
		if err != nil {
			t.Fatal(err)
		}
		cells, _ := w.run(t, w.derive(t, s), false)
		of := map[string]pair.Cell{}
		for _, c := range want {
			of[c.Left+" "+c.Right] = c
		}
		if len(cells) != len(want) {
			t.Fatalf("%d cells, the join has %d", len(cells), len(want))
		}
		for _, c := range cells {
			x := of[c.Labels[0]+" "+c.Labels[1]]
			if c.Shown != x.Shown || c.Listed != x.Shown {
				t.Fatalf("%q is shown: %t, in the join: %t", c.Labels, c.Shown, x.Shown)
			}
			if !c.Shown {
				hidden++
				continue
			}
			shown++
			if c.Values[0] != x.People || c.Values[1] != x.Values[0] || c.Values[2] != x.Values[1] {
				t.Fatalf("%q has other numbers than the join", c.Labels)
			}
		}
	})
}
