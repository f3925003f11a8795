package dataset

import (
	"encoding/binary"
	"fmt"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/mark"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// Column (出域字段) is a column of the view. A column that is neither a quasi-identifier nor sensitive is a token.
type Column struct {
	Name      string
	Role      scan.Role
	Quasi     bool
	Sensitive bool
}

// Terms (出域条件) is what a data set is held to.
type Terms struct {
	Question  sandbox.QuestionID
	Recipient sandbox.IdentityID
	Columns   []Column
	Grade     sandbox.Grade // highest behind it
	KAnon     bool          // the grade asks for k-anonymity
	Marked    bool          // and for the mark
	K, L      int
	Rows      int        // at most; 0: as the standard caps
	Bytes     int64      // the same
	Code      *mark.Code // nil: not marked
	// Source says what of the source's rows stands in the copy, over its sensitive columns in their order; nil: fewer than the width of a shingle.
	Source scan.Source
}

// Evidence (数据集审核证据) is what the agency and the owners see of the checks.
type Evidence struct {
	Grade     sandbox.Grade `json:"grade"`
	Rows      int           `json:"rows"`
	People    int           `json:"people"`
	Columns   []string      `json:"columns"`
	Quasi     []string      `json:"quasi"`
	Sensitive []string      `json:"sensitive,omitempty"`
	K         int           `json:"k"`
	L         int           `json:"l"`
	Classes   int           `json:"classes"`
	Smallest  int           `json:"smallest_class"` // people
	Largest   int           `json:"largest_class"`
	Fewest    int           `json:"fewest_values"` // of a sensitive column in a class; 0: none is sensitive
	Risk      int           `json:"highest_risk_permille"`
	Positions int           `json:"mark_positions,omitempty"`
	Bytes     int           `json:"bytes"`
}

// Checked (数据集检查结果) is a data set after its checks: what the gate makes a product of, and its classes for the ledger. It prints redacted.
type Checked struct {
	Made    egress.Made
	classes [][]int // of rows
	who     []sandbox.Pseudonym
}

// String keeps rows out of logs.
func (*Checked) String() string { return "checked data set(redacted)" }

// GoString keeps rows out of %#v.
func (*Checked) GoString() string { return "checked data set(redacted)" }

// Check holds the rows of a view to the terms and writes the outgoing bytes. who says whose row each is. Rows are changed in place. What does
// not pass is an item that did not; an error is of rows that do not fit their columns, or of bytes beyond what may leave at all.
func Check(t Terms, rows [][]string, who []sandbox.Pseudonym) (*Checked, error) {
	if len(rows) != len(who) || len(t.Columns) == 0 || t.K < 2 || t.L < 1 {
		return nil, &sandbox.Error{Op: "egress: dataset", Kind: sandbox.Invalid, Object: string(t.Question), Detail: "columns, k from 2, l from 1, and whose row each is"}
	}
	var columns []egress.DatasetColumn
	var quasi, sensitive []int
	e := Evidence{Grade: t.Grade, Rows: len(rows), K: t.K, L: t.L}
	for i, c := range t.Columns {
		columns, e.Columns = append(columns, egress.DatasetColumn{Name: c.Name, Role: c.Role}), append(e.Columns, c.Name)
		switch {
		case c.Quasi:
			quasi, e.Quasi = append(quasi, i), append(e.Quasi, c.Name)
		case c.Sensitive:
			sensitive, e.Sensitive = append(sensitive, i), append(e.Sensitive, c.Name)
		}
	}
	for _, r := range rows {
		if len(r) != len(t.Columns) {
			return nil, &sandbox.Error{Op: "egress: dataset", Kind: sandbox.Invalid, Object: string(t.Question), Detail: "rows as wide as their columns"}
		}
		for k := range r {
			r[k] = egress.Label(r[k])
		}
	}
	out := &Checked{classes: classesOf(rows, quasi), who: who}
	item := func(id string, pass bool, zh, en string, args ...any) {
		out.Made.Items = append(out.Made.Items, egress.ItemResult{ID: id, Pass: pass, ZH: fmt.Sprintf(zh, args...), EN: fmt.Sprintf(en, args...)})
	}
	item("grade", t.Grade.Valid() && t.Grade < sandbox.Grade4, "所涉数据最高 %d 级", "columns up to grade %d stand behind it", t.Grade)

	e.Classes, e.People = len(out.classes), count(all(len(rows)), who)
	e.Smallest, e.Largest = sizes(out.classes, who)
	before := fewest(rows, out.classes, sensitive) // a mark moves amounts, and makes two of one
	positions, err := t.marked(rows)
	if err != nil {
		return nil, err
	}
	e.Positions = positions
	after := classesOf(rows, quasi)
	least, _ := sizes(after, who)
	e.Fewest = min(before, fewest(rows, after, sensitive))
	if e.Smallest > 0 {
		e.Risk = (1000 + e.Smallest - 1) / e.Smallest
	}
	anonymous := len(rows) > 0 && e.Smallest >= t.K && least >= t.K && (len(sensitive) == 0 || e.Fewest >= t.L)
	switch {
	case !t.KAnon:
		item("k", len(rows) > 0, "公开数据不要求 K-匿名；共 %d 行", "public data need not be k-anonymous; %d rows", len(rows))
	default:
		item("k", anonymous, "准标识符 %d 个，等价类 %d 个，最小 %d 人（要求 %d），最大 %d 人；敏感属性每类最少 %d 种取值（要求 %d）；最高重标识风险 %d‰",
			"%d quasi-identifiers, %d classes, the smallest of %d people (at least %d), the largest of %d; a class has at least %d values of a sensitive column (at least %d); highest risk of re-identification %d per mille",
			len(quasi), e.Classes, e.Smallest, t.K, e.Largest, e.Fewest, t.L, e.Risk)
	}

	if out.Made.Result, err = egress.EncodeDataset(t.Question, columns, rows); err != nil {
		return nil, err
	}
	e.Bytes = len(out.Made.Result)
	hits, looked := t.shape(rows, sensitive)
	detail := "rows sorted by what they say; their sensitive columns are too few for a run of values of the source"
	if looked {
		detail = "rows sorted by what they say; no run of sensitive values as in the source above the bound"
	}
	if len(hits) > 0 {
		detail = hits[0].String()
	}
	item("rows", len(hits) == 0, "行按内容排序，源数据连续取值命中 %[1]d 项", "%[2]s", len(hits), detail)

	caps := scan.Standard()
	if t.Rows > 0 {
		caps.Rows = min(caps.Rows, t.Rows)
	}
	if t.Bytes > 0 {
		caps.Bytes = min(caps.Bytes, t.Bytes)
	}
	over := caps.Check([]scan.File{{Name: "dataset.csv", Bytes: int64(e.Bytes), Rows: len(rows)}}, nil)
	change := ""
	if len(over) > 0 {
		change = "; smallest change: " + over[0].Change
	}
	item("caps", len(over) == 0, "%[1]d 行（上限 %[2]d），%[3]d 字节（上限 %[4]d）", "%[1]d rows (at most %[2]d), %[3]d bytes (at most %[4]d)%[5]s", len(rows), caps.Rows, e.Bytes, caps.Bytes, change)
	enough := positions >= mark.MinPositions
	switch {
	case t.Code != nil:
		item("mark", enough, "已嵌入接收方水印，%d 个水印位（至少 %d）", "marked for its recipient, with %d positions of the code (at least %d); with fewer take a smaller step or more columns", positions, mark.MinPositions)
	default:
		item("mark", !t.Marked, "未嵌入水印，最高 %d 级", "not marked; grade %d, and 3 asks for the mark: name columns under leave: mark", t.Grade)
	}
	out.Made.Class, out.Made.Question, out.Made.Evidence = sandbox.ClassE, t.Question, e
	for _, x := range out.Made.Items {
		out.Made.Rules = append(out.Made.Rules, x.ID)
	}
	return out, nil
}

// marked puts the recipient's mark into the rows.
func (t *Terms) marked(rows [][]string) (positions int, err error) {
	if t.Code == nil {
		return 0, nil
	}
	var header []string
	for _, c := range t.Columns {
		header = append(header, c.Name)
	}
	m, err := t.Code.Marker(t.Recipient, header)
	if err != nil {
		return 0, err
	}
	for _, r := range rows {
		if err := m.Mark(r); err != nil {
			return 0, err
		}
	}
	return m.Positions(), nil
}

// shape looks for runs of sensitive values of the source; looked is false where it cannot.
func (t *Terms) shape(rows [][]string, sensitive []int) (hits []scan.Hit, looked bool) {
	limits := scan.Strict()
	if t.Source == nil || len(sensitive) < limits.Width {
		return nil, false
	}
	o := scan.Outgoing{Dataset: true, Source: t.Source}
	for _, i := range sensitive {
		// Amounts differ by themselves; a different label in every row is a key.
		o.Fields = append(o.Fields, scan.Field{Name: t.Columns[i].Name, Role: t.Columns[i].Role})
	}
	for _, r := range rows {
		var x []string
		for _, i := range sensitive {
			x = append(x, r[i])
		}
		o.Rows = append(o.Rows, x)
	}
	return scan.Shape(o, limits), true
}

// classesOf gives the rows that agree in some columns, in the order of their first row.
func classesOf(rows [][]string, columns []int) (out [][]int) {
	at := map[string]int{}
	var key []byte
	for i, r := range rows {
		key = key[:0]
		for _, c := range columns {
			key = binary.AppendUvarint(key, uint64(len(r[c])))
			key = append(key, r[c]...)
		}
		k, ok := at[string(key)]
		if !ok {
			k = len(out)
			at[string(key)], out = k, append(out, nil)
		}
		out[k] = append(out[k], i)
	}
	return out
}

func all(n int) []int {
	out := make([]int, n)
	for i := range out {
		out[i] = i
	}
	return out
}

// count gives how many people the rows are of.
func count(rows []int, who []sandbox.Pseudonym) int {
	seen := map[sandbox.Pseudonym]struct{}{}
	for _, i := range rows {
		seen[who[i]] = struct{}{}
	}
	return len(seen)
}

func sizes(classes [][]int, who []sandbox.Pseudonym) (least, most int) {
	for i, c := range classes {
		n := count(c, who)
		if i == 0 || n < least {
			least = n
		}
		most = max(most, n)
	}
	return least, most
}

// fewest gives the least number of different values that a column has in a class.
func fewest(rows [][]string, classes [][]int, columns []int) (least int) {
	for n, class := range classes {
		for k, c := range columns {
			seen := map[string]struct{}{}
			for _, i := range class {
				seen[rows[i][c]] = struct{}{}
			}
			if n == 0 && k == 0 || len(seen) < least {
				least = len(seen)
			}
		}
	}
	return least
}

// Answer gives the data set as the ledger compares it with answers and other copies: its finest classes, who is in them and how many rows each
// of them has there.
func (c *Checked) Answer(in sandbox.InputVersion) *sandbox.Answer {
	a := &sandbox.Answer{Measures: []sandbox.Measure{{Name: "people", Func: sandbox.Subjects}, {Name: "rows", Func: sandbox.Count}}, Sources: [][]string{nil, nil}, Inputs: []sandbox.InputVersion{in}}
	index := map[sandbox.Pseudonym]int{}
	for _, rows := range c.classes {
		adds := map[int]int64{}
		for _, i := range rows {
			p, ok := index[c.who[i]]
			if !ok {
				p = len(a.Population)
				index[c.who[i]], a.Population = p, append(a.Population, c.who[i])
			}
			adds[p]++
		}
		cell := sandbox.Cell{Values: []int64{int64(len(adds)), int64(len(rows))}, NonMissing: []int64{int64(len(adds)), int64(len(rows))}}
		var each, one []int64
		for p := range adds {
			cell.Contributors = append(cell.Contributors, uint32(p))
		}
		slices.Sort(cell.Contributors)
		for _, p := range cell.Contributors {
			each, one = append(each, adds[int(p)]), append(one, 1)
		}
		cell.Rows, cell.Contributions = int64(len(rows)), [][]int64{one, each}
		a.Cells = append(a.Cells, cell)
	}
	return a
}
