package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/query"
)

const lineRows = 1 << 12 // of claims, half of them at each of two owners

// lineLines measures questions over shares beside the columnar engine on the same rows in the same run.
func lineLines(lines []string, repeat int) ([]string, error) {
	lines = append(lines, "", "### Questions of the columnar engine over shares", "", mpcHeader)
	tables := generate(lineRows, func(row int) int { return row / rowsPerSubject }, pseudonym)
	one := []query.Input{{Alias: "c", Dataset: "claims"}}
	chapter := []query.Dimension{{Column: "c.icd10", Bin: "chapter", As: "d"}}
	joined := append(one[:1:1], query.Input{Alias: "p", Dataset: "persons", With: "c"})
	sums := []query.Measure{{Func: sandbox.Subjects, As: "people"}, {Func: sandbox.Sum, Column: "c.amount", As: "sum"}}
	var ratios []string
	for _, c := range []struct {
		name  string
		spec  query.Spec
		model share.Adversary
	}{
		{"group by 22 chapters, people + sum", query.Spec{Inputs: one, Dimensions: chapter, Measures: sums}, share.SemiHonest},
		{"group by 22 chapters, median", query.Spec{Inputs: one, Dimensions: chapter, Measures: []query.Measure{{Func: sandbox.Quantile, Column: "c.amount", Q: 500, As: "median"}}}, share.SemiHonest},
		{"join persons of a third party, group by age band, people + sum", query.Spec{Inputs: joined, Dimensions: []query.Dimension{{Column: "p.born", Bin: "age", As: "a"}}, Measures: sums}, share.SemiHonest},
		{"group by 22 chapters, people + sum, malicious with abort", query.Spec{Inputs: one, Dimensions: chapter, Measures: sums}, share.MaliciousAbort},
	} {
		c.spec.Scenario, c.spec.Purpose = "s", "p"
		m, plain, err := lineCase(repeat, c.spec, tables, c.model)
		if err != nil {
			return lines, fmt.Errorf("%s: %w", c.name, err)
		}
		lines = append(lines, m.row(fmt.Sprintf("%d rows, %s, sealed", lineRows, c.name), lineRows))
		ratios = append(ratios, fmt.Sprintf("%s: the columnar engine takes %.2f ms of CPU, %.0f times less", c.name, float64(plain.Microseconds())/1e3, float64(m.cpu)/float64(max(plain, 1))))
	}
	return append(append(lines, ""), append(ratios, "The rules of the gate are decided within; what is not measured is the opening and the session's statements.")...), nil
}

// lineCase measures one question at three parties and on the columnar engine, and wants some cell to be shown.
func lineCase(repeat int, spec query.Spec, tables map[sandbox.DatasetID]*table, model share.Adversary) (m measured, plain time.Duration, err error) {
	described := map[sandbox.DatasetID]catalog.Dataset{}
	for id, t := range tables {
		described[id] = t.described
	}
	list := everything(described)
	for i := range list {
		for k := range list[i].Columns {
			list[i].Columns[k].Funcs = sandbox.MeasureFuncs
		}
	}
	d, reasons := query.Derive(spec, described, list)
	if len(reasons) > 0 {
		return m, 0, errors.New(reasons[0].Rule)
	}
	people := int(tables["persons"].records[0].NumRows())
	s := agg.Setting{Adversary: model, Bits: map[string]int{"claims.amount": 20}, Thresholds: agg.Thresholds{MinSubjects: 10, DominanceN: 2, DominanceK: 85, PPercent: 10},
		Held: []agg.Held{{Dataset: "claims", Party: 0, Rows: lineRows / 2}, {Dataset: "claims", Party: 2, Rows: lineRows / 2}, {Dataset: "persons", Party: 1, Rows: people}}}
	l, reasons := agg.Compile(d, s)
	if l == nil {
		return m, 0, errors.New(reasons[0].Rule)
	}
	var own [3]agg.Own
	for me := range own {
		own[me] = agg.Own{}
		for i, in := range d.Inputs {
			if !l.Holds(me, i) {
				continue
			}
			r, err := tables[in.Dataset].half(me, append(slices.Clone(in.Needed), agg.SubjectColumn))
			if err != nil {
				return m, 0, err
			}
			if own[me][i], err = agg.ReadRows(context.Background(), r, in.Described, in.Needed, l.Room(me, i)); err != nil {
				return m, 0, err
			}
		}
	}
	nothing := func(*share.Engine, *share.Opener, int) error { return nil }
	m, err = three(repeat, true, unshaped, model, share.AESGenerator, nothing, func(e *share.Engine, o *share.Opener, me int) error {
		cols, err := l.Run(e, me, own[me], nil)
		if err != nil {
			return err
		}
		shown, err := o.Open(cols[agg.OutShown])
		if err == nil && !slices.Contains(shown, 1) {
			err = errors.New("no cell is shown")
		}
		return err
	})
	if err != nil {
		return m, 0, err
	}
	p := columnar.Plan{Derivation: d}
	for _, in := range d.Inputs {
		p.Inputs = append(p.Inputs, sandbox.InputVersion{Dataset: in.Dataset, Version: 1})
	}
	for k := range repeat {
		cpu := processorTime()
		if _, err := columnar.Run(context.Background(), memory.DefaultAllocator, p, func(_ context.Context, id sandbox.DatasetID, columns []string) (batch.Reader, error) {
			return tables[id].columns(columns)
		}, columnar.Limits{}); err != nil {
			return m, 0, err
		}
		if t := processorTime() - cpu; k == 0 || t < plain {
			plain = t
		}
	}
	return m, plain, nil
}

// half gives the rows of a table that a party holds: of claims the first or the second half, of persons all.
func (t *table) half(me int, names []string) (*reader, error) {
	r, err := t.columns(names)
	if err != nil {
		return nil, err
	}
	out := r.(*reader)
	if t.described.ID == "claims" {
		lo := int64(me / 2 * lineRows / 2)
		out.records[0] = out.records[0].NewSlice(lo, lo+lineRows/2)
	}
	return out, nil
}
