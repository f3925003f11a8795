package egress

import (
	"encoding/json"
	"math/bits"
	"slices"
	"strconv"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// Chart (图表) is what a recipient gets of class F: the schema that the agency approved, and rows of it. Labels are registered ones, numbers are in
// their range and on a step; rows are told apart by their labels and stand in the order of these in the schema. There is no other text.
type Chart struct {
	Format   string             `json:"format"`
	Question sandbox.QuestionID `json:"question"`
	Name     string             `json:"name"`
	Most     int                `json:"most"` // rows that it might have
	Labels   []ChartLabel       `json:"labels"`
	Values   []ChartValue       `json:"values"`
	Rows     []ChartRow         `json:"rows"`
}

// ChartLabel (登记标签) is a grouping with all labels that there will ever be.
type ChartLabel struct {
	Name string   `json:"name"`
	Of   []string `json:"of"`
}

// ChartValue (图表取值) is a number of a row: from Min to Max in steps, in whole numbers of 10^-Scale of the unit.
type ChartValue struct {
	Name  string `json:"name"`
	Unit  string `json:"unit,omitempty"`
	Scale int    `json:"scale,omitempty"`
	Min   int64  `json:"min"`
	Max   int64  `json:"max"`
	Step  int64  `json:"step"`
}

// ChartRow (图表行) is the number of its label in each grouping, and its values.
type ChartRow struct {
	Labels []int   `json:"labels"`
	Values []int64 `json:"values"`
}

// String keeps rows out of logs.
func (Chart) String() string { return "chart(redacted)" }

// GoString keeps rows out of %#v.
func (Chart) GoString() string { return "chart(redacted)" }

const formatChart = "opdomain-chart/1"

// Bounds of a chart's schema.
const (
	MaxChartLabels = 4
	MaxChartValues = 16
	maxChartLabel  = 512
	maxChartScale  = 9
	maxChartNumber = 1 << 53
)

// EncodeChart writes the outgoing bytes of class F. Rows are put into their one order; a number off its range or step, a label or row that the schema does
// not have, and a text that is not in the form of a Label are Invalid.
func EncodeChart(c Chart) ([]byte, error) {
	c.Format, c.Rows = formatChart, slices.Clone(c.Rows)
	slices.SortFunc(c.Rows, func(a, b ChartRow) int { return slices.Compare(a.Labels, b.Labels) })
	if c.Values == nil {
		c.Values = []ChartValue{}
	}
	if c.Rows == nil {
		c.Rows = []ChartRow{}
	}
	if !c.whole() {
		return nil, &sandbox.Error{Op: "egress: chart", Kind: sandbox.Invalid, Object: string(c.Question), Detail: "registered labels in the form of labels that are no formula, numbers in their ranges and steps, each combination of labels once, no more rows than declared"}
	}
	b, err := json.Marshal(c)
	if err == nil && len(b) > MaxResult {
		return nil, &sandbox.Error{Op: "egress: chart", Kind: sandbox.Withheld, Object: string(c.Question), Detail: "more bytes than a result may have"}
	}
	return b, err
}

// DecodeChart reads outgoing bytes of class F in their one encoding.
func DecodeChart(b []byte) (Chart, error) { return decode(b, formatChart, Chart.whole) }

func (c Chart) whole() bool {
	if c.Format != formatChart || c.Rows == nil || c.Values == nil || len(c.Rows) > c.Most || c.Most < 1 || c.Most > MaxRows || !c.registered() {
		return false
	}
	for i, r := range c.Rows {
		if len(r.Labels) != len(c.Labels) || len(r.Values) != len(c.Values) || r.Values == nil || i > 0 && slices.Compare(c.Rows[i-1].Labels, r.Labels) >= 0 {
			return false
		}
		for k, l := range r.Labels {
			if l < 0 || l >= len(c.Labels[k].Of) {
				return false
			}
		}
		for k, x := range r.Values {
			if v := c.Values[k]; x < v.Min || x > v.Max || (x-v.Min)%v.Step != 0 {
				return false
			}
		}
	}
	return true
}

// registered says whether the schema is one.
func (c Chart) registered() bool {
	var names []string
	named := func(s string) bool {
		ok := plain(s, 64) && !slices.Contains(names, s)
		names = append(names, s)
		return ok
	}
	if !plain(c.Name, 64) || len(c.Labels) == 0 || len(c.Labels) > MaxChartLabels || len(c.Values) > MaxChartValues {
		return false
	}
	for _, l := range c.Labels {
		if !named(l.Name) || len(l.Of) == 0 || len(l.Of) > maxChartLabel {
			return false
		}
		for k, x := range l.Of {
			if !plain(x, 64) || slices.Contains(l.Of[:k], x) {
				return false
			}
		}
	}
	for _, v := range c.Values {
		if !named(v.Name) || v.Unit != "" && !plain(v.Unit, 32) || v.Scale < 0 || v.Scale > maxChartScale || v.Step < 1 || v.Min >= v.Max || v.Min < -maxChartNumber || v.Max > maxChartNumber || (v.Max-v.Min)%v.Step != 0 {
			return false
		}
	}
	return true
}

// plain says whether a text may stand in a chart: in the form of a Label, of a bounded size, and no formula.
func plain(s string, most int) bool {
	return s != "" && len(s) <= most && Label(s) == s && text([]string{s}) && !formula(s)
}

// MilliBits counts what the rows of the schema may tell at most, whoever chose them (信息量): each combination of labels is there with one of the
// combinations of values, or is not; or, where that is less, each of the rows is one of both, or not there. Source: rule 25 of the gate.
func (c Chart) MilliBits() scan.MilliBits {
	one := func(levels ...uint64) scan.MilliBits { // of one of so many, or none
		n, exact := uint64(1), true
		var sum scan.MilliBits
		for _, l := range levels {
			hi, lo := bits.Mul64(n, l)
			exact, n = exact && hi == 0 && lo < 1<<63, lo
			sum += scan.Log2(l)
		}
		if exact {
			return scan.Log2(n + 1)
		}
		return sum + 1
	}
	var values, both []uint64
	for _, v := range c.Values {
		values = append(values, uint64((v.Max-v.Min)/v.Step)+1)
	}
	cells := uint64(1)
	for _, l := range c.Labels {
		both = append(both, uint64(len(l.Of)))
		cells = min(cells*uint64(len(l.Of)), 1<<40)
	}
	byRow := scan.MilliBits(c.Most) * one(append(both, values...)...)
	if cells > 1<<16 {
		return byRow
	}
	return min(byRow, scan.MilliBits(cells)*one(values...))
}

// Table gives header and rows as people read them.
func (c Chart) Table() (head []string, rows [][]string) {
	for _, l := range c.Labels {
		head = append(head, l.Name)
	}
	for _, v := range c.Values {
		h := v.Name
		if v.Unit != "" {
			h += " (" + v.Unit + ")"
		}
		head = append(head, h)
	}
	for _, r := range c.Rows {
		var row []string
		for k, l := range r.Labels {
			row = append(row, c.Labels[k].Of[l])
		}
		for k, x := range r.Values {
			row = append(row, decimal(x, c.Values[k].Scale))
		}
		rows = append(rows, row)
	}
	return head, rows
}

// decimal writes n scaled by 10^scale.
func decimal(n int64, scale int) string {
	s := strconv.FormatInt(n, 10)
	if scale <= 0 {
		return s
	}
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for len(s) <= scale {
		s = "0" + s
	}
	return sign + s[:len(s)-scale] + "." + s[len(s)-scale:]
}

// readChart reads class F's form.
func readChart(payload []byte) (sandbox.QuestionID, error) {
	c, err := DecodeChart(payload)
	return c.Question, err
}

// scanChart looks at every text and number for identifiers, at registered labels that no row has too.
func scanChart(payload []byte) ([]scan.Hit, error) {
	c, err := DecodeChart(payload)
	if err != nil {
		return nil, err
	}
	fields := []scan.Field{}
	for _, l := range c.Labels {
		fields = append(fields, scan.Field{Name: l.Name, Role: scan.Label})
	}
	for _, v := range c.Values {
		fields = append(fields, scan.Field{Name: v.Name, Role: scan.Amount})
	}
	t, err := scan.NewTable(fields)
	if err != nil {
		return nil, err
	}
	row := make([]string, len(fields))
	for k, l := range c.Labels {
		for _, x := range l.Of {
			row[k] = x
			t.Row(row)
		}
		row[k] = ""
	}
	_, rows := c.Table()
	for _, r := range rows {
		t.Row(r)
	}
	hits := t.Hits()
	s := scan.NewScanner()
	for i, x := range append([]string{c.Name}, units(c)...) {
		for _, h := range s.Text(x, true) {
			h.Column = "text " + strconv.Itoa(i+1)
			hits = append(hits, h)
		}
	}
	return hits, nil
}

func units(c Chart) (out []string) {
	for _, v := range c.Values {
		out = append(out, v.Unit)
	}
	return out
}
