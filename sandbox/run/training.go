package run

import (
	"context"
	"fmt"
	"io"
	"slices"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// Training (模型训练取数) reads what a model is fitted to and tested on: columns of one version, row by row, of people who are on one side each.
type Training struct {
	Input   sandbox.InputVersion
	View    sandbox.DatasetID // the sealed view of it that is read; "" for the version itself
	Columns []catalog.Column  // the label first, then the features
	Filters []RowFilter       // all of them hold
	Holding string            // the column that says who controls a subject: those of one holding are on one side, as one; "" for none

	// Trained says on which side a person is. It is keyed, so that nobody else tells, and the same for every question.
	Trained func(sandbox.Pseudonym) bool

	// Bounds of what is read; what passes them is TooLarge.
	Subjects, Rows int
}

// RowFilter (行筛选) keeps the rows whose value of a public column is In, or, if Not, is not; a missing value is catalog.Missing.
type RowFilter struct {
	Column catalog.Column
	In     []string
	Not    bool
}

// TrainingRow (训练行) is a row as the columns print, empty where a value is missing; valid until the next. Key is whose it is: the person, or the
// first of the person's holding.
type TrainingRow struct {
	Values  []string
	Key     sandbox.Pseudonym
	Trained bool
}

// String keeps values out of logs.
func (TrainingRow) String() string { return "row(redacted)" }

// GoString keeps values out of %#v.
func (TrainingRow) GoString() string { return "row(redacted)" }

// People (训练人群) are who a model was trained on, and the complete rows of each. It is grade 4.
type People struct {
	Who  []sandbox.Pseudonym
	Rows []int64
}

// String keeps people out of logs.
func (People) String() string { return "people(redacted)" }

// GoString keeps people out of %#v.
func (People) GoString() string { return "people(redacted)" }

// Answer is what the ledger compares of a model: one cell of the people it was trained on, with their rows. No question gives it.
func (p People) Answer(in sandbox.InputVersion) *sandbox.Answer {
	people := int64(len(p.Who))
	cell := sandbox.Cell{Contributions: [][]int64{make([]int64, len(p.Who)), p.Rows}}
	for i, n := range p.Rows {
		cell.Contributors, cell.Contributions[0][i] = append(cell.Contributors, uint32(i)), 1
		cell.Rows += n
	}
	cell.Values, cell.NonMissing = []int64{people, cell.Rows}, []int64{people, cell.Rows}
	return &sandbox.Answer{Measures: []sandbox.Measure{{Name: "people", Func: sandbox.Subjects}, {Name: "rows", Func: sandbox.Count}}, Sources: [][]string{nil, nil},
		Inputs: []sandbox.InputVersion{in}, Population: p.Who, Cells: []sandbox.Cell{cell}}
}

// Read gives every row that passes the filters to each, and who is trained on by complete rows. Only the columns named are opened.
func (t Training) Read(ctx context.Context, mem memory.Allocator, v *vault.Vault, each func(TrainingRow) error) (People, error) {
	var out People
	snap, err := snapshotOf(v, t.Input, t.View)
	if err != nil {
		return out, err
	}
	large := func(what string, most int) error {
		return &sandbox.Error{Op: "run: training", Kind: sandbox.TooLarge, Object: string(t.Input.Dataset), Detail: fmt.Sprintf("a model is trained on at most %d %s", most, what)}
	}
	if snap.Rows > int64(t.Rows) {
		return out, large("rows", t.Rows)
	}
	key, err := t.keys(ctx, mem, v, snap)
	if err != nil {
		return out, err
	}
	columns := slices.Clone(t.Columns)
	at := make([]int, len(t.Filters))
	for i, f := range t.Filters {
		if at[i] = slices.IndexFunc(columns, func(c catalog.Column) bool { return c.Name == f.Column.Name }); at[i] < 0 {
			at[i], columns = len(columns), append(columns, f.Column)
		}
	}
	seen := map[sandbox.Pseudonym]struct{}{}
	index := map[sandbox.Pseudonym]int{}
	err = EachRow(ctx, mem, v, snap, columns, func(row []string, who sandbox.Pseudonym) error {
		for i, f := range t.Filters {
			label := row[at[i]]
			if label == "" {
				label = catalog.Missing
			}
			if slices.Contains(f.In, label) == f.Not {
				return nil
			}
		}
		if _, ok := seen[who]; !ok {
			if len(seen) == t.Subjects {
				return large("people", t.Subjects)
			}
			seen[who] = struct{}{}
		}
		r := TrainingRow{Values: row[:len(t.Columns)], Key: key(who)}
		if r.Trained = t.Trained(r.Key); r.Trained && !slices.Contains(r.Values, "") {
			i, ok := index[who]
			if !ok {
				i = len(out.Who)
				index[who], out.Who, out.Rows = i, append(out.Who, who), append(out.Rows, 0)
			}
			out.Rows[i]++
		}
		return each(r)
	})
	return out, err
}

// keys says who counts as one: a person, or where the owner names holdings, all of a holding.
func (t Training) keys(ctx context.Context, mem memory.Allocator, v *vault.Vault, snap vault.Snapshot) (func(sandbox.Pseudonym) sandbox.Pseudonym, error) {
	if t.Holding == "" {
		return func(p sandbox.Pseudonym) sandbox.Pseudonym { return p }, nil
	}
	population, err := everybody(ctx, mem, v, snap)
	if err != nil {
		return nil, err
	}
	g := newGroups(population)
	err = g.read(ctx, mem, v, t.Input, t.Holding)
	of := g.of(len(population))
	if err != nil {
		return nil, err
	}
	first := make(map[sandbox.Pseudonym]sandbox.Pseudonym, len(population))
	for i, p := range population {
		first[p] = population[of[i]]
	}
	return func(p sandbox.Pseudonym) sandbox.Pseudonym { return first[p] }, nil
}

// everybody lists whose rows a version has, in their order, each once.
func everybody(ctx context.Context, mem memory.Allocator, v *vault.Vault, snap vault.Snapshot) (out []sandbox.Pseudonym, err error) {
	r, err := v.Scan(ctx, mem, snap, []string{columnar.SubjectColumn})
	if err != nil {
		return nil, err
	}
	defer func() {
		if cerr := r.Close(); err == nil {
			err = cerr
		}
	}()
	seen := map[sandbox.Pseudonym]struct{}{}
	for {
		b, err := r.Next(ctx)
		if err == io.EOF {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		who, err := pseudonyms(b)
		b.Release()
		if err != nil {
			return nil, err
		}
		for _, p := range who {
			if _, ok := seen[p]; !ok {
				seen[p] = struct{}{}
				out = append(out, p)
			}
		}
	}
}
