package table

import (
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Format is the name of the file's format.
const Format = "opdomain-table/1"

// Table (待检表格) is one table as it was read, as the answer an engine would have given.
type Table struct {
	ID      sandbox.QuestionID
	Earlier []Table // 历史发布: released before, in full but for the cells marked suppressed

	answer    *sandbox.Answer
	hidden    []bool // of an earlier one: suppressed when it was released
	summaries bool   // some cell names no contributors
	exclusive bool
	margins   []margin
	large     bool // more contributors than are looked at
	held      map[uint32]uint32
}

// String keeps contributors out of logs.
func (Table) String() string { return "table(redacted)" }

// GoString keeps contributors out of %#v.
func (Table) GoString() string { return "table(redacted)" }

// margin is a total published elsewhere.
type margin struct {
	cells  []int
	values map[int]int64
}

// building is a table while it is read.
type building struct {
	*Table
	people map[string]uint32 // by what the file calls them
	groups map[string]uint32 // holdings likewise
	total  int
	at     map[string]int // cell by labels
}

// Decode reads a table.
func Decode(b []byte) (Table, error) {
	top, err := parse(b)
	if err != nil {
		return Table{}, err
	}
	return decode(top, false)
}

func decode(top node, earlier bool) (Table, error) {
	keys := []string{"format", "id", "note", "datasets", "dimensions", "measures", "exclusive", "cells"}
	if !earlier {
		keys = append(keys, "margins", "earlier")
	}
	m, err := top.object(keys...)
	if err != nil {
		return Table{}, err
	}
	t := building{Table: &Table{answer: &sandbox.Answer{}}, people: map[string]uint32{}, groups: map[string]uint32{}, at: map[string]int{}}
	if f, ok := member(m, "format"); !ok && !earlier || ok && f.v != Format {
		return Table{}, invalid(under(top.at, "format"), "the format is "+Format)
	}
	id := "table"
	if n, ok := member(m, "id"); ok {
		if id, err = n.text(); err != nil {
			return Table{}, err
		}
	} else if earlier {
		return Table{}, invalid(under(top.at, "id"), "an earlier release has an id")
	}
	if sandbox.CheckID("question", id) != nil {
		return Table{}, invalid(under(top.at, "id"), "an id of letters, digits and hyphens")
	}
	t.ID = sandbox.QuestionID(id)
	if n, ok := member(m, "exclusive"); ok {
		if t.exclusive, err = n.truth(); err != nil {
			return Table{}, err
		}
	}
	for _, step := range []struct {
		name   string
		needed bool
		read   func(node) error
	}{{"datasets", true, t.datasets}, {"dimensions", true, t.dimensions}, {"measures", true, t.measures}, {"cells", true, func(n node) error { return t.cells(n, earlier) }},
		{"margins", false, t.readMargins}, {"earlier", false, t.readEarlier}} {
		n, ok := member(m, step.name)
		if !ok {
			if step.needed {
				return Table{}, invalid(under(top.at, step.name), "missing")
			}
			continue
		}
		if err := step.read(n); err != nil {
			return Table{}, err
		}
	}
	if t.held != nil {
		t.answer.Holdings = make([]uint32, len(t.answer.Population))
		for i := range t.answer.Holdings {
			t.answer.Holdings[i] = uint32(i)
			if h, ok := t.held[uint32(i)]; ok {
				t.answer.Holdings[i] = h
			}
		}
	}
	return *t.Table, nil
}

func (t *building) datasets(n node) error {
	names, err := n.texts()
	if err != nil {
		return err
	}
	for i, d := range names {
		if sandbox.CheckID("dataset", d) != nil || slices.Contains(names[:i], d) {
			return invalid(fmt.Sprintf("%s[%d]", n.at, i), "distinct ids of data sets")
		}
		t.answer.Inputs = append(t.answer.Inputs, sandbox.InputVersion{Dataset: sandbox.DatasetID(d), Version: 1})
	}
	if len(names) == 0 {
		return invalid(n.at, "a table is over a data set")
	}
	return nil
}

func (t *building) dimensions(n node) (err error) {
	t.answer.Dimensions, err = n.texts()
	if err == nil && len(t.answer.Dimensions) > 8 {
		err = invalid(n.at, "at most 8 dimensions")
	}
	return err
}

func (t *building) measures(n node) error {
	all, err := n.list()
	if err != nil {
		return err
	}
	for _, x := range all {
		m, err := x.object("name", "func", "column", "unit", "scale")
		if err != nil {
			return err
		}
		texts := map[string]string{}
		for _, k := range []string{"name", "func", "column", "unit"} {
			if v, ok := member(m, k); ok {
				if texts[k], err = v.text(); err != nil {
					return err
				}
			}
		}
		out := sandbox.Measure{Name: texts["name"], Func: sandbox.MeasureFunc(texts["func"]), Unit: texts["unit"]}
		if out.Name == "" || t.measure(out.Name) >= 0 {
			return invalid(under(x.at, "name"), "measures have names of their own")
		}
		var from []string
		switch out.Func {
		case sandbox.Count, sandbox.Subjects:
			if texts["column"] != "" || texts["unit"] != "" {
				return invalid(x.at, "rows and people have no column and no unit")
			}
		case sandbox.Sum, sandbox.Mean:
			if from = []string{texts["column"]}; from[0] == "" {
				return invalid(under(x.at, "column"), "a sum or mean is over a column")
			}
		default:
			return invalid(under(x.at, "func"), "count, subjects, sum or mean: others do not follow from what contributors add")
		}
		if v, ok := member(m, "scale"); ok {
			scale, err := v.count()
			if err != nil {
				return err
			}
			if scale > 18 || from == nil && scale > 0 {
				return invalid(v.at, "a scale is from 0 to 18 places, of counts 0")
			}
			out.Scale = int(scale)
		}
		t.answer.Measures, t.answer.Sources = append(t.answer.Measures, out), append(t.answer.Sources, from)
	}
	if len(all) == 0 {
		return invalid(n.at, "a table has a measure")
	}
	return nil
}

func (t *building) measure(name string) int {
	return slices.IndexFunc(t.answer.Measures, func(m sandbox.Measure) bool { return m.Name == name })
}

// weighedNames are the measures whose values contributors give.
func (t *building) valued(n node) (map[int]node, error) {
	m, ok := n.v.(map[string]node)
	if !ok {
		return nil, invalid(n.place(), "an object of values by measure")
	}
	out := map[int]node{}
	for _, k := range sortedKeys(m) {
		i := t.measure(k)
		if i < 0 {
			return nil, invalid(m[k].at, "a measure of the table")
		}
		if m[k].v != nil {
			out[i] = m[k]
		}
	}
	return out, nil
}

func key(labels []string) string { return fmt.Sprintf("%q", labels) }

// labels reads a cell's labels.
func (t *building) labels(n node) ([]string, error) {
	l, err := n.texts()
	if err == nil && len(l) != len(t.answer.Dimensions) {
		err = invalid(n.at, "a label per dimension")
	}
	return l, err
}

func (t *building) cells(n node, earlier bool) error {
	all, err := n.list()
	if err != nil {
		return err
	}
	order := make([]int, len(all))
	hidden := make([]bool, len(all))
	for i, x := range all {
		keys := []string{"labels", "contributors", "people", "rows", "values"}
		if earlier {
			keys = append(keys, "suppressed")
		}
		m, err := x.object(keys...)
		if err != nil {
			return err
		}
		c := sandbox.Cell{Labels: []string{}}
		if l, ok := member(m, "labels"); ok {
			if c.Labels, err = t.labels(l); err != nil {
				return err
			}
		} else if len(t.answer.Dimensions) > 0 {
			return invalid(under(x.at, "labels"), "missing")
		}
		if _, twice := t.at[key(c.Labels)]; twice {
			return invalid(x.at, "duplicate cell: labels are distinct")
		}
		t.at[key(c.Labels)] = i
		if s, ok := member(m, "suppressed"); ok {
			if hidden[i], err = s.truth(); err != nil {
				return err
			}
		}
		measures := len(t.answer.Measures)
		c.Values, c.NonMissing, c.Contributions = make([]int64, measures), make([]int64, measures), make([][]int64, measures)
		by, named := member(m, "contributors")
		switch {
		case named && (m["people"].v != nil || m["rows"].v != nil || m["values"].v != nil):
			return invalid(x.at, "a cell is given by its contributors or by a summary, not by both")
		case named:
			err = t.contributors(by, &c)
		case earlier:
			err = invalid(under(x.at, "contributors"), "earlier releases are compared by their contributors")
		default:
			t.summaries = true
			err = t.summary(x, m, &c)
		}
		if err != nil {
			return err
		}
		t.answer.Cells = append(t.answer.Cells, c)
		order[i] = i
	}
	slices.SortFunc(order, func(a, b int) int { return slices.Compare(t.answer.Cells[a].Labels, t.answer.Cells[b].Labels) })
	sorted := make([]sandbox.Cell, len(order))
	t.hidden = make([]bool, len(order))
	for to, from := range order {
		sorted[to], t.hidden[to] = t.answer.Cells[from], hidden[from]
		t.at[key(sorted[to].Labels)] = to
	}
	t.answer.Cells = sorted
	return nil
}

// who gives a contributor's place in the population.
func (t *building) who(id string) uint32 {
	i, ok := t.people[id]
	if !ok {
		i = uint32(len(t.people))
		t.people[id] = i
		var p sandbox.Pseudonym
		d := sm.Sum([]byte("table contributor\x00"), []byte(id))
		copy(p[:], d[:])
		t.answer.Population = append(t.answer.Population, p)
	}
	return i
}

// hold puts a contributor into a holding, the same in every cell. Holdings are numbered after the people, of whom there are fewer than 2^31.
func (t *building) hold(n node, who uint32) error {
	name, err := n.text()
	if err != nil {
		return err
	}
	if name == "" {
		return invalid(n.at, "a holding is named")
	}
	h, ok := t.groups[name]
	if !ok {
		h = 1<<31 + uint32(len(t.groups))
		t.groups[name] = h
	}
	if old, ok := t.held[who]; ok && old != h {
		return invalid(n.at, "a contributor is of one holding")
	}
	if t.held == nil {
		t.held = map[uint32]uint32{}
	}
	t.held[who] = h
	return nil
}

// full says whether there are more contributors than are looked at.
func (t *building) full(more int) bool {
	t.total += more
	t.large = t.large || t.total > maxPeople
	return t.large
}

func (t *building) contributors(n node, c *sandbox.Cell) error {
	all, err := n.list()
	if err != nil {
		return err
	}
	if len(all) == 0 {
		return invalid(n.at, "nobody is in it: a group without rows is no cell, leave it out")
	}
	if t.full(len(all)) {
		return nil
	}
	seen := map[string]bool{}
	rowsWith := make([]int64, len(t.answer.Measures))
	for _, x := range all {
		m, err := x.object("id", "rows", "values", "holding")
		if err != nil {
			return err
		}
		id := ""
		if v, ok := member(m, "id"); ok {
			if id, err = v.text(); err != nil {
				return err
			}
		}
		if id == "" || seen[id] {
			return invalid(under(x.at, "id"), "contributors are named, each once in a cell")
		}
		seen[id] = true
		rows := int64(1)
		if v, ok := member(m, "rows"); ok {
			if rows, err = v.count(); err != nil {
				return err
			}
			if rows < 1 || rows > 1<<40 {
				return invalid(v.at, "a contributor has a row, and at most 2^40")
			}
		}
		given := map[int]node{}
		if v, ok := member(m, "values"); ok {
			if given, err = t.valued(v); err != nil {
				return err
			}
		}
		who := t.who("named/" + id)
		c.Contributors = append(c.Contributors, who)
		if v, ok := member(m, "holding"); ok {
			if err := t.hold(v, who); err != nil {
				return err
			}
		}
		c.Rows += rows
		for k, measure := range t.answer.Measures {
			var v int64
			switch x, ok := given[k]; {
			case measure.Func == sandbox.Count:
				v = rows
			case measure.Func == sandbox.Subjects:
				v = 1
			case ok:
				if v, err = x.amount(measure.Scale); err != nil {
					return err
				}
			}
			if _, ok := given[k]; ok && len(t.answer.Sources[k]) == 0 {
				return invalid(given[k].at, "rows and people are counted, not given")
			} else if ok || len(t.answer.Sources[k]) == 0 {
				rowsWith[k] += rows
			}
			c.Contributions[k] = append(c.Contributions[k], v)
		}
	}
	return t.finish(n.at, c, rowsWith)
}

// finish computes a cell's values from what contributors add.
func (t *building) finish(at string, c *sandbox.Cell, rows []int64) error {
	for k, m := range t.answer.Measures {
		total := int64(0)
		for _, v := range c.Contributions[k] {
			if total += v; total >= limit || total <= -limit {
				return invalid(at, "sums are within ±2^60 units of their scale")
			}
		}
		c.Values[k], c.NonMissing[k] = total, rows[k]
		if m.Func == sandbox.Mean {
			if c.None == nil {
				c.None = make([]bool, len(t.answer.Measures))
			}
			if c.None[k] = rows[k] == 0; rows[k] > 0 {
				c.Values[k] = rounded(total, rows[k])
			}
		}
	}
	return nil
}

// rounded divides, half away from zero.
func rounded(a, b int64) int64 {
	q, r := a/b, a%b
	switch {
	case r >= 0 && r >= b-r:
		q++
	case r < 0 && -r >= b+r:
		q--
	}
	return q
}
