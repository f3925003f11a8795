package dryrun

import (
	"context"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/algo/mapper"
	"github.com/opdomain/opdomain/sandbox/algo/reduce"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
)

// MapCatalogue describes the one input of a Map as its declaration names it; every column may be seen. Samples are texts of a column, beside the labels
// that the Map declares.
func MapCatalogue(d mapper.Declaration, samples map[string][]string) Made {
	set := catalog.Dataset{ID: sandbox.DatasetID(d.Dataset), Title: d.Dataset, Unit: "unit-made", Frequency: catalog.Once, Subject: "person", SubjectKind: catalog.ResidentID, Version: 1}
	for slices.ContainsFunc(d.Columns, func(c mapper.Column) bool { return c.Name == set.Subject }) {
		set.Subject += "-id"
	}
	set.Columns = append(set.Columns, catalog.Column{Name: set.Subject, Type: catalog.Text, Grade: sandbox.Grade3, Personal: true})
	item := sandbox.ListItem{Dataset: set.ID}
	out := Made{Sets: map[sandbox.DatasetID]catalog.Dataset{}, words: map[string][]string{}}
	var labels []string
	for _, g := range d.Groups {
		labels = append(labels, g.Labels...)
	}
	for _, c := range d.Columns {
		set.Columns = append(set.Columns, catalog.Column{Name: c.Name, Type: catalog.Type(c.Type), Scale: c.Scale, Grade: sandbox.Grade1})
		item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c.Name, Uses: []sandbox.Use{sandbox.UseMap, sandbox.UseCompare}, Compares: sandbox.MaxCompares})
		words := slices.Clone(samples[c.Name])
		for range len(labels)/4 + 1 { // as often as the labels: an author names what matters
			words = append(words, samples[c.Name]...)
		}
		out.words[d.Dataset+"."+c.Name] = append(words, labels...)
	}
	out.Sets[set.ID], out.List = set, []sandbox.ListItem{item}
	return out
}

// Code (逐主体代码) runs a Map's module on subjects; see package run.
type Code interface {
	Map(ctx context.Context, subjects [][]byte) ([][]byte, error)
}

// MapOutcome (逐主体试运行结果) is what became of a Map on made rows.
type MapOutcome struct {
	Answer
	Table  compile.Filled
	People int
	Faults int // people for whom it failed: they are in no cell
}

// mapTogether is how many subjects are in one call.
const mapTogether = 256

// Map runs a Map over the rows of its dataset, reduces and gates what it yields.
func (r *Run) Map(ctx context.Context, name string, d mapper.Declaration, code Code) (MapOutcome, error) {
	var out MapOutcome
	data := r.Data[sandbox.DatasetID(d.Dataset)]
	if data == nil {
		return out, &sandbox.Error{Op: "dryrun", Kind: sandbox.NotFound, Object: d.Dataset}
	}
	who, subjects := subjectsOf(data, d)
	to, err := reduce.New(reduce.Job{Algorithm: name, Declaration: d, Input: sandbox.InputVersion{Dataset: data.Set.ID, Version: 1}})
	if err != nil {
		return out, err
	}
	for from := 0; from < len(who); from += mapTogether {
		end := min(from+mapTogether, len(who))
		yields, err := code.Map(ctx, subjects[from:end])
		if err != nil {
			return out, err
		}
		if len(yields) != end-from {
			return out, &sandbox.Error{Op: "dryrun", Kind: sandbox.Internal, Object: name, Detail: "yields are one per subject"}
		}
		for i, y := range yields {
			if err := to.Add(who[from+i], y, y == nil); err != nil {
				return out, err
			}
		}
	}
	answer, err := to.Answer()
	if err != nil {
		return out, err
	}
	ledger, err := egress.NewLedger(make([]byte, 16)) // of made people: its key hides nothing
	if err != nil {
		return out, err
	}
	out.People, out.Faults = len(who), to.Faults()
	out.Answer, err = r.gate("q-dry-1", query.Derivation{}, answer, ledger, egress.NewBook())
	if err == nil && out.released != nil {
		out.Table = filled(name, d, *out.released)
	}
	return out, err
}

// subjectsOf gives the rows of each person in the form that a Map sees, in the order in which a domain keeps people.
func subjectsOf(data *Data, d mapper.Declaration) ([]sandbox.Pseudonym, [][]byte) {
	order := make([]int, len(data.Rows))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return slices.Compare(data.Subjects[a][:], data.Subjects[b][:]) })
	at := make([]int, len(d.Columns))
	for i, c := range d.Columns {
		at[i] = slices.IndexFunc(data.Set.Columns, func(x catalog.Column) bool { return x.Name == c.Name })
	}
	var who []sandbox.Pseudonym
	var out [][]byte
	w := mapper.NewWriter(len(d.Columns))
	for k, row := range order {
		if k == 0 || data.Subjects[row] != who[len(who)-1] {
			w.Reset()
			who, out = append(who, data.Subjects[row]), append(out, nil)
		}
		w.Row()
		for _, c := range at {
			switch v := data.Rows[row][c].(type) {
			case string:
				w.Text(v)
			case int64:
				w.Int(v)
			case bool:
				n := int64(0)
				if v {
					n = 1
				}
				w.Int(n)
			default:
				w.Missing()
			}
		}
		out[len(out)-1] = slices.Clone(w.Bytes())
	}
	return who, out
}

// filled writes what would leave as a table.
func filled(name string, d mapper.Declaration, r compile.Released) compile.Filled {
	f := compile.Filled{Name: name}
	for _, g := range d.Groups {
		f.Head, f.Units = append(f.Head, g.Name), append(f.Units, "")
	}
	for _, m := range r.Measures {
		f.Head, f.Units = append(f.Head, m.Name), append(f.Units, m.Unit)
	}
	for _, row := range r.Rows {
		cells := slices.Clone(row.Labels)
		for m := range r.Measures {
			text := ""
			if m < len(row.Values) && row.Values[m] != nil && !row.Suppressed {
				text = query.Label(&catalog.Column{Type: catalog.Number, Scale: r.Measures[m].Scale}, *row.Values[m])
			} else {
				f.Hidden++
			}
			cells = append(cells, text)
		}
		f.Rows = append(f.Rows, cells)
	}
	return f
}
