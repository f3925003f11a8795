package agg

import (
	"context"
	"fmt"
	"slices"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/share/sharetest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/query"
)

// failing is what a drawn case and a test have in common.
type failing interface {
	Errorf(format string, args ...any)
	Fatalf(format string, args ...any)
	Fatal(args ...any)
}

// world is what a question is asked about: tables, and who holds which.
type world struct {
	data map[sandbox.DatasetID]*dryrun.Data
	at   map[sandbox.DatasetID][3]*dryrun.Data // parts
	list []sandbox.ListItem
	s    Setting
}

func (w *world) sets() map[sandbox.DatasetID]catalog.Dataset {
	out := map[sandbox.DatasetID]catalog.Dataset{}
	for id, d := range w.data {
		out[id] = d.Set
	}
	return out
}

// deal gives the rows of a dataset to parties, by turns.
func (w *world) deal(id sandbox.DatasetID, size int, to ...int) {
	d := w.data[id]
	var parts [3]*dryrun.Data
	for _, p := range to {
		parts[p] = &dryrun.Data{Set: d.Set}
		w.s.Held = append(w.s.Held, Held{Dataset: id, Party: p, Rows: size})
	}
	for i, row := range d.Rows {
		p := parts[to[i%len(to)]]
		p.Rows, p.Subjects = append(p.Rows, row), append(p.Subjects, d.Subjects[i])
	}
	if w.at == nil {
		w.at = map[sandbox.DatasetID][3]*dryrun.Data{}
	}
	w.at[id] = parts
}

func (w *world) derive(t failing, s query.Spec) query.Derivation {
	d, reasons := query.Derive(s, w.sets(), w.list)
	if len(reasons) > 0 {
		t.Fatalf("refused: %+v", reasons)
	}
	return d
}

// plain is the columnar engine's answer.
func (w *world) plain(t failing, d query.Derivation) *sandbox.Answer {
	mem := memory.NewGoAllocator()
	p := columnar.Plan{Derivation: d}
	for _, in := range d.Inputs {
		p.Inputs = append(p.Inputs, sandbox.InputVersion{Dataset: in.Dataset, Version: 1})
	}
	a, err := columnar.Run(context.Background(), mem, p, func(_ context.Context, id sandbox.DatasetID, columns []string) (batch.Reader, error) {
		return w.data[id].Reader(mem, columns)
	}, columnar.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// own reads what a party holds.
func (w *world) own(l *Line, me int) (Own, error) {
	out := Own{}
	for i, in := range l.d.Inputs {
		p := w.at[in.Dataset][me]
		if p == nil {
			continue
		}
		r, err := p.Reader(memory.NewGoAllocator(), append([]string{SubjectColumn}, l.Columns(i)...))
		if err != nil {
			return nil, err
		}
		if out[i], err = ReadRows(context.Background(), r, in.Described, l.Columns(i), maxShared); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// pushed gives each party's shares of a pushed input.
func (w *world) pushed(l *Line) (out [3]Pushed, err error) {
	h := l.parts(0)[0]
	if !h.Pushed {
		return out, nil
	}
	in := l.d.Inputs[0]
	r, err := w.data[in.Dataset].Reader(memory.NewGoAllocator(), append([]string{SubjectColumn}, in.Needed...))
	if err != nil {
		return out, err
	}
	rows, err := ReadRows(context.Background(), r, in.Described, in.Needed, h.Rows)
	if err != nil {
		return out, err
	}
	cols, err := l.Encode(rows, h.Rows)
	if err != nil {
		return out, err
	}
	for c, v := range cols {
		random := make([]uint64, 2*len(v))
		for i := range random {
			random[i] = uint64(i+1) * 0x9e3779b97f4a7c15 * uint64(c+3)
		}
		parts, _ := share.Split(v, random)
		for p := range out {
			out[p] = append(out[p], parts[p])
		}
	}
	return out, nil
}

// run answers a question at three parties; open shows every cell, whatever the rules say, for comparison with the plain engine.
func (w *world) run(t failing, d query.Derivation, open bool) ([]Cell, [3]sharetest.Sent) {
	l, reasons := Compile(d, w.s)
	if l == nil {
		t.Fatalf("no line: %+v", reasons)
	}
	pushed, err := w.pushed(l)
	if err != nil {
		t.Fatal(err)
	}
	var cells [3][]Cell
	sent, errs := sharetest.Run(w.s.Adversary, func(me int, e *share.Engine, o *share.Opener) error {
		l, _ := Compile(d, w.s)
		own, err := w.own(l, me)
		if err != nil {
			return err
		}
		var cols map[string]share.Vec
		if open {
			cols, err = l.open(e, me, own, pushed[me])
		} else {
			cols, err = l.Run(e, me, own, pushed[me])
		}
		if err != nil {
			return err
		}
		for _, s := range e.Trace() {
			if slices.ContainsFunc(share.Leaks(), func(x share.Leakage) bool { return x.Op == s.Op }) && s.Op != share.OpVerify && !slices.Contains(l.Operators(), s.Op) {
				t.Errorf("%s ran and is not listed", s.Op)
			}
		}
		opened := map[string][]uint64{}
		for _, name := range []string{OutShown, OutListed, OutValues} {
			if opened[name], err = o.Open(cols[name]); err != nil {
				return err
			}
		}
		cells[me], err = l.Read(opened)
		return err
	})
	for i, err := range errs {
		if err != nil {
			t.Fatalf("party %d: %v", i, err)
		}
		if !slices.EqualFunc(cells[i], cells[0], func(a, b Cell) bool { return fmt.Sprint(a) == fmt.Sprint(b) }) {
			t.Fatal("parties read different cells")
		}
	}
	return cells[0], sent
}

// open is Run without the rules: the values of all cells that have rows.
func (l *Line) open(e *share.Engine, me int, own Own, pushed Pushed) (map[string]share.Vec, error) {
	c, err := l.compute(e, me, own, pushed)
	if err != nil {
		return nil, err
	}
	x := &running{l, e}
	values := x.values(c)
	some := x.not(x.zero([]share.Vec{c.terms[0]})[0])
	return map[string]share.Vec{OutShown: some, OutListed: some, OutValues: share.Concat(values...)}, e.Err()
}

// equals wants the cells with rows to be the plain engine's, value for value.
func equals(t failing, got []Cell, want *sandbox.Answer) {
	got = slices.DeleteFunc(slices.Clone(got), func(c Cell) bool { return !c.Shown })
	if len(got) != len(want.Cells) {
		t.Fatalf("%d cells, the plain engine has %d", len(got), len(want.Cells))
	}
	for i, w := range want.Cells {
		g := got[i]
		if !slices.Equal(g.Labels, w.Labels) {
			t.Fatalf("cell %d has labels %q, the plain engine's %q", i, g.Labels, w.Labels)
		}
		for m := range want.Measures {
			none := g.None != nil && g.None[m]
			if w.Missing(m) && want.Measures[m].Func == sandbox.Quantile {
				continue // of nobody's values: such a cell is never shown, so that nothing says so
			}
			if none != w.Missing(m) || !none && g.Values[m] != w.Values[m] {
				t.Fatalf("cell %q, output %s: %d (none %v), the plain engine's %d (none %v)", g.Labels, want.Measures[m].Name, g.Values[m], none, w.Values[m], w.Missing(m))
			}
		}
	}
}
