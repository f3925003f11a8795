// Package aggtest holds Programs over shares to the columnar engine (程序一致性测试): a recorded Program is compiled, each of its questions is
// answered by the columnar engine and, over the same rows dealt to three parties, by a line; then cell for cell and table for table the two
// are compared. Which cells may be shown is what the gate's primary rules say of the columnar engine's evidence.
package aggtest

import (
	"context"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/share/sharetest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Case (用例) is a Program over made rows.
type Case struct {
	Name    string
	Program func(*algo.Program)
	Rows    int // of each dataset
	Seed    uint64
	Held    map[sandbox.DatasetID][]int     // which parties hold rows of a dataset, by turns
	Unique  []sandbox.DatasetID             // datasets of one row a person: those that are looked up over shares
	Room    int                             // times the rows that are registered; 0: as many as there are
	Made    func(dryrun.Made) dryrun.Made   // changes the made catalogue; may be nil
	Data    func(*dryrun.Data) *dryrun.Data // changes a dataset's made rows; may be nil
}

var thresholds = egress.Params{MinSubjects: 3, DominanceN: 2, DominanceK: 95, PPercent: 5}

// Plan compiles the case's Program.
func (c Case) plan(t testing.TB) (*compile.Plan, dryrun.Made) {
	t.Helper()
	b, err := algo.Record(c.Name, c.Program)
	if err != nil {
		t.Fatal(err)
	}
	g, types, err := algo.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	made := dryrun.Catalogue(g, types, nil)
	if c.Made != nil {
		made = c.Made(made)
	}
	plan, reasons := compile.Compile(g, types, compile.Asked{Scenario: "s", Purpose: "p"}, made.Sets)
	if len(reasons) > 0 {
		t.Fatalf("the Program does not compile: %+v", reasons)
	}
	return plan, made
}

// parts deals the rows of every dataset to its parties.
func (c Case) parts(made dryrun.Made) (whole map[sandbox.DatasetID]*dryrun.Data, parts map[sandbox.DatasetID][3]*dryrun.Data, s agg.Setting) {
	whole, parts = made.Generate(c.Seed, c.Rows), map[sandbox.DatasetID][3]*dryrun.Data{}
	s = agg.Setting{Adversary: share.SemiHonest, Labels: map[string][]string{}, Thresholds: agg.Thresholds{MinSubjects: thresholds.MinSubjects, DominanceN: thresholds.DominanceN,
		DominanceK: thresholds.DominanceK, PPercent: thresholds.PPercent}}
	for id, d := range whole {
		if slices.Contains(c.Unique, id) {
			one, seen := &dryrun.Data{Set: d.Set}, map[sandbox.Pseudonym]bool{}
			for i, p := range d.Subjects {
				if !seen[p] {
					seen[p] = true
					one.Rows, one.Subjects = append(one.Rows, d.Rows[i]), append(one.Subjects, p)
				}
			}
			d = one
		}
		if c.Data != nil {
			d = c.Data(d)
		}
		whole[id] = d
		var to [3]*dryrun.Data
		for _, p := range c.Held[id] {
			to[p] = &dryrun.Data{Set: d.Set}
			s.Held = append(s.Held, agg.Held{Dataset: id, Party: p, Rows: len(d.Rows) * max(c.Room, 1)})
		}
		for i, row := range d.Rows {
			p := to[c.Held[id][i%len(c.Held[id])]]
			p.Rows, p.Subjects = append(p.Rows, row), append(p.Subjects, d.Subjects[i])
		}
		parts[id] = to
		for k, col := range d.Set.Columns {
			if col.Type == catalog.Text && col.Public { // the code list, as the catalogue would publish it
				seen := map[string]bool{}
				for _, row := range d.Rows {
					if v, ok := row[k].(string); ok && !seen[v] {
						seen[v] = true
						s.Labels[string(id)+"."+col.Name] = append(s.Labels[string(id)+"."+col.Name], v)
					}
				}
			}
		}
		for _, b := range d.Set.Bins {
			if b.Kind == catalog.Year {
				for y := 1930; y < 2024; y++ {
					s.Labels[string(id)+"."+b.Column+" "+string(b.ID)] = append(s.Labels[string(id)+"."+b.Column+" "+string(b.ID)], fmt.Sprint(y))
				}
			}
		}
	}
	slices.SortFunc(s.Held, func(a, b agg.Held) int { return slices.Compare([]byte(a.Dataset), []byte(b.Dataset)) })
	return whole, parts, s
}

// Same runs the case and compares; it gives how many cells were shown and how many were hidden.
func (c Case) Same(t testing.TB) (shown, hidden int) {
	t.Helper()
	plan, made := c.plan(t)
	whole, parts, setting := c.parts(made)
	plain, shared := map[int]compile.Released{}, map[int]compile.Released{}
	for q, question := range plan.Questions {
		d, reasons := query.Derive(question.Spec, made.Sets, made.List)
		if len(reasons) > 0 {
			t.Fatalf("question %d is refused: %+v", q+1, reasons)
		}
		a := answer(t, d, whole)
		cells := overShares(t, d, setting, parts)
		measures := a.Measures
		plain[q], shared[q] = compile.Released{Measures: measures}, compile.Released{Measures: measures}
		may := map[string]*sandbox.Cell{}
		for i := range a.Cells {
			if leaves(t, a, i) {
				may[fmt.Sprint(a.Cells[i].Labels)] = &a.Cells[i]
			}
		}
		for _, x := range cells {
			w := may[fmt.Sprint(x.Labels)]
			if x.Shown != (w != nil) {
				t.Fatalf("question %d, cell %q: shown %v, at the gate %v", q+1, x.Labels, x.Shown, w != nil)
			}
			if w == nil {
				hidden++
				continue
			}
			shown++
			for m := range measures {
				if none := x.None != nil && x.None[m]; none != w.Missing(m) || !none && x.Values[m] != w.Values[m] {
					t.Fatalf("question %d, cell %q: output %s differs from the columnar engine's", q+1, x.Labels, measures[m].Name)
				}
			}
			plain[q] = released(plain[q], w.Labels, w.Values, w.None)
			shared[q] = released(shared[q], x.Labels, x.Values, x.None)
		}
	}
	for i := range plan.Tables {
		want, err := plan.Tables[i].Fill(plain)
		if err != nil {
			t.Fatal(err)
		}
		got, err := plan.Tables[i].Fill(shared)
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Fatalf("table %s differs from the columnar engine's", want.Name)
		}
	}
	return shown, hidden
}

// Refused gives the reasons why the first question of the case has no line; none if it has one.
func (c Case) Refused(t testing.TB) []sandbox.Reason {
	t.Helper()
	plan, made := c.plan(t)
	_, _, setting := c.parts(made)
	d, reasons := query.Derive(plan.Questions[0].Spec, made.Sets, made.List)
	if len(reasons) > 0 {
		t.Fatalf("refused before: %+v", reasons)
	}
	_, reasons = agg.Compile(d, setting)
	return reasons
}

func released(r compile.Released, labels []string, values []int64, none []bool) compile.Released {
	row := compile.ReleasedRow{Labels: labels}
	for m, v := range values {
		if none != nil && none[m] {
			row.Values = append(row.Values, nil)
		} else {
			row.Values = append(row.Values, &v)
		}
	}
	r.Rows = append(r.Rows, row)
	return r
}

func answer(t testing.TB, d query.Derivation, data map[sandbox.DatasetID]*dryrun.Data) *sandbox.Answer {
	t.Helper()
	mem := memory.NewGoAllocator()
	p := columnar.Plan{Derivation: d}
	for _, in := range d.Inputs {
		p.Inputs = append(p.Inputs, sandbox.InputVersion{Dataset: in.Dataset, Version: 1})
	}
	a, err := columnar.Run(t.Context(), mem, p, func(_ context.Context, id sandbox.DatasetID, columns []string) (batch.Reader, error) {
		return data[id].Reader(mem, columns)
	}, columnar.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// leaves says whether the gate's primary rules let a cell leave.
func leaves(t testing.TB, a *sandbox.Answer, i int) bool {
	t.Helper()
	one := *a
	one.Cells, one.Shown = a.Cells[i:i+1], sandbox.Shown{}
	checked, err := egress.Check("q-1", &one, thresholds)
	if err != nil {
		t.Fatal(err)
	}
	return !slices.ContainsFunc(checked.Cells[0].Rules, func(r string) bool { return r != egress.RuleSecondary })
}

func overShares(t testing.TB, d query.Derivation, s agg.Setting, parts map[sandbox.DatasetID][3]*dryrun.Data) []agg.Cell {
	t.Helper()
	var cells [3][]agg.Cell
	_, errs := sharetest.Run(share.SemiHonest, func(me int, e *share.Engine, o *share.Opener) error {
		l, reasons := agg.Compile(d, s)
		if l == nil {
			return fmt.Errorf("no line: %+v", reasons)
		}
		own := agg.Own{}
		for i, in := range d.Inputs {
			p := parts[in.Dataset][me]
			if p == nil {
				continue
			}
			r, err := p.Reader(memory.NewGoAllocator(), append([]string{agg.SubjectColumn}, l.Columns(i)...))
			if err != nil {
				return err
			}
			if own[i], err = agg.ReadRows(context.Background(), r, in.Described, l.Columns(i), len(p.Rows)); err != nil {
				return err
			}
		}
		columns, err := l.Run(e, me, own, nil)
		if err != nil {
			return err
		}
		opened := map[string][]uint64{}
		for _, name := range []string{agg.OutShown, agg.OutListed, agg.OutValues} {
			if opened[name], err = o.Open(columns[name]); err != nil {
				return err
			}
		}
		cells[me], err = l.Read(opened)
		return err
	})
	for p, err := range errs {
		if err != nil {
			t.Fatalf("party %d: %v", p, err)
		}
	}
	if !reflect.DeepEqual(cells[0], cells[1]) || !reflect.DeepEqual(cells[0], cells[2]) {
		t.Fatal("parties read different cells")
	}
	return cells[0]
}
