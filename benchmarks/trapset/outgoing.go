package trapset

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/hex"
	"fmt"
	"io"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/opdomain/opdomain/sandbox/classify"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// Outgoing (带标注的出域表) is a drawn table as it would leave: of aggregates or of de-identified rows, honest or with identifiers smuggled
// into it.
type Outgoing struct {
	Fields []scan.Field
	Rows   [][]string
	Sort   string        // of the honest table, or how identifiers were put into it
	Kind   classify.Kind // of what was put into it; None: honest
}

// String keeps the cells out of logs.
func (o Outgoing) String() string { return "outgoing table " + o.Sort + " (redacted)" }

const capitals = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"

// dimension draws a column of labels.
type dimension struct {
	name string
	draw func(g *Generator, row int) string
}

var dimensions = []dimension{
	{"area_code", func(g *Generator, _ int) string { return pick(g, counties) }},
	{"street_code", func(g *Generator, _ int) string { return pick(g, counties) + fmt.Sprintf("%03d", 1+g.r.IntN(30)) }},
	{"community_code", func(g *Generator, _ int) string {
		return pick(g, counties) + fmt.Sprintf("%03d%03d", 1+g.r.IntN(30), 1+g.r.IntN(60))
	}},
	{"area_name", func(g *Generator, _ int) string { p := pick(g, places); return p[0] + p[1] + p[2] }},
	{"town", func(g *Generator, _ int) string { return pick(g, towns) }},
	{"age_band", func(g *Generator, _ int) string { n := 5 * g.r.IntN(18); return fmt.Sprintf("[%d,%d)", n, n+5) }},
	{"income_band", func(g *Generator, _ int) string {
		n := 5000 * (1 + g.r.IntN(60))
		return fmt.Sprintf("%d-%d", n, n+5000)
	}},
	{"month", func(g *Generator, _ int) string { return fmt.Sprintf("%d-%02d", 2015+g.r.IntN(11), 1+g.r.IntN(12)) }},
	{"day", func(g *Generator, _ int) string {
		return fmt.Sprintf("%d-%02d-%02d", 2015+g.r.IntN(11), 1+g.r.IntN(12), 1+g.r.IntN(28))
	}},
	{"compact_day", func(g *Generator, _ int) string {
		return fmt.Sprintf("%d%02d%02d", 2015+g.r.IntN(11), 1+g.r.IntN(12), 1+g.r.IntN(28))
	}},
	{"year", func(g *Generator, _ int) string { return strconv.Itoa(1990 + g.r.IntN(36)) }},
	{"birth_year", func(g *Generator, _ int) string { return strconv.Itoa(1930 + g.r.IntN(80)) }},
	{"sex", func(g *Generator, _ int) string { return pick(g, []string{"1", "2", "男", "女"}) }},
	{"icd10", func(g *Generator, _ int) string { return g.icd() }},
	{"illness", func(g *Generator, _ int) string { return g.illness() }},
	{"industry", func(g *Generator, _ int) string { return g.letters(1, "ABCDEFGHIJKLMNOPQRST") + g.digits(2) }},
	{"ward", func(g *Generator, _ int) string { return g.letters(2, capitals) + g.digits(3) }},
	{"hour", func(g *Generator, _ int) string { return fmt.Sprintf("%02d:00-%02d:00", g.r.IntN(24), g.r.IntN(24)) }},
	{"postcode", func(g *Generator, _ int) string { return "51" + g.digits(4) }},
}

// measures draw a number of a column whose size is one draw of scale.
var measures = []struct {
	name string
	role scan.Role
	draw func(g *Generator, scale float64) string
}{
	{"people", scan.Count, func(g *Generator, s float64) string { return strconv.Itoa(10 + int(math.Exp(s*8)*g.r.ExpFloat64())) }},
	{"rows", scan.Count, func(g *Generator, s float64) string { return strconv.Itoa(10 + int(math.Exp(s*12)*g.r.ExpFloat64())) }},
	{"sum_fen", scan.Amount, func(g *Generator, s float64) string {
		return strconv.FormatInt(int64(math.Exp(8+s*30)*(0.5+g.r.Float64())), 10)
	}},
	{"sum_yuan", scan.Amount, func(g *Generator, s float64) string {
		v := int64(math.Exp(8+s*30) * (0.5 + g.r.Float64()))
		return fmt.Sprintf("%d.%02d", v/100, v%100)
	}},
	{"mean", scan.Amount, func(g *Generator, s float64) string {
		return strconv.FormatFloat(math.Exp(s*10)*(0.5+g.r.Float64()), 'f', 2+g.r.IntN(5), 64)
	}},
	{"mean_exponent", scan.Amount, func(g *Generator, s float64) string {
		return strconv.FormatFloat(math.Exp(s*40)*(0.5+g.r.Float64()), 'e', -1, 64)
	}},
	{"ratio", scan.Amount, func(g *Generator, s float64) string { return strconv.FormatFloat(g.r.Float64(), 'f', 6, 64) }},
}

// Honest draws a table without an identifier: up to four columns of labels and up to four of numbers.
func (g *Generator) Honest() Outgoing {
	o := Outgoing{Sort: "aggregates"}
	type column func(row int) string
	var columns []column
	for range 1 + g.r.IntN(4) {
		d := pick(g, dimensions)
		if slices.ContainsFunc(o.Fields, func(f scan.Field) bool { return f.Name == d.name }) {
			continue
		}
		o.Fields = append(o.Fields, scan.Field{Name: d.name, Role: scan.Label})
		columns = append(columns, func(row int) string { return d.draw(g, row) })
	}
	for range 1 + g.r.IntN(4) {
		m, scale := measures[g.r.IntN(len(measures))], g.r.Float64()
		if slices.ContainsFunc(o.Fields, func(f scan.Field) bool { return f.Name == m.name }) {
			continue
		}
		o.Fields = append(o.Fields, scan.Field{Name: m.name, Role: m.role})
		columns = append(columns, func(int) string { return m.draw(g, scale) })
	}
	for row := range 1 + int(math.Exp(7*g.r.Float64())) {
		cells := make([]string, len(columns))
		for i, c := range columns {
			cells[i] = c(row)
		}
		o.Rows = append(o.Rows, cells)
	}
	if g.one(2) { // as the gate sorts
		slices.SortFunc(o.Rows, slices.Compare)
	}
	return o
}

// identities draw the kinds that are smuggled.
var identities = []struct {
	kind classify.Kind
	draw func(g *Generator) string
}{
	{classify.ResidentID, (*Generator).residentID}, {classify.ResidentID, (*Generator).permit}, {classify.ResidentID15, (*Generator).oldID}, {classify.USCC, (*Generator).uscc},
	{classify.Mobile, (*Generator).mobile}, {classify.BankCard, (*Generator).card}, {classify.HKID, (*Generator).hkid}, {classify.Passport, (*Generator).passport},
	{classify.Plate, (*Generator).plate}, {classify.Email, (*Generator).email}, {classify.Address, (*Generator).address},
	{scan.Coordinate, func(g *Generator) string { return fmt.Sprintf("%.6f,%.6f", 113.8+g.r.Float64(), 22.4+g.r.Float64()) }},
}

// codes write a text in another code.
var codes = []struct {
	name  string
	write func(g *Generator, s string) string
}{
	{"plain", func(_ *Generator, s string) string { return s }},
	{"full-width", func(_ *Generator, s string) string { return wide(s) }},
	{"in words", func(g *Generator, s string) string {
		return pick(g, []string{"备注", "编号", "附:", "x="}) + s + pick(g, []string{"。", "", "，见附件"})
	}},
	{"base64", func(_ *Generator, s string) string { return base64.StdEncoding.EncodeToString([]byte(s)) }},
	{"base64 url, shifted", func(g *Generator, s string) string {
		return g.letters(g.r.IntN(4), capitals) + base64.RawURLEncoding.EncodeToString([]byte(strings.Repeat(";", g.r.IntN(3))+s))
	}},
	{"hex", func(g *Generator, s string) string {
		return g.letters(g.r.IntN(2), "ABCDEF") + hex.EncodeToString([]byte(s))
	}},
	{"percent", func(_ *Generator, s string) string {
		var b strings.Builder
		for _, c := range []byte(s) {
			fmt.Fprintf(&b, "%%%02X", c)
		}
		return b.String()
	}},
	{"json", func(_ *Generator, s string) string {
		var b strings.Builder
		for _, r := range s {
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		return b.String()
	}},
	{"gzip in base64", func(_ *Generator, s string) string {
		var b bytes.Buffer
		w := gzip.NewWriter(&b)
		io.WriteString(w, s)
		w.Close()
		return base64.StdEncoding.EncodeToString(b.Bytes())
	}},
}

// ways put identifiers of a kind into an honest table; ok is false where the kind cannot be written so.
var ways = []struct {
	name string
	put  func(g *Generator, o *Outgoing, kind classify.Kind, draw func(*Generator) string) bool
}{
	{"spaced", func(g *Generator, o *Outgoing, kind classify.Kind, draw func(*Generator) string) bool {
		s := strings.Trim(draw(g), "() ")
		if !numeric(s) {
			return false
		}
		return one(g, o, strings.Join(strings.Split(s, ""), pick(g, []string{" ", "-", "\u200b", "\u00a0", "."})))
	}},
	{"reversed", func(g *Generator, o *Outgoing, kind classify.Kind, draw func(*Generator) string) bool {
		s := draw(g)
		if kind != classify.ResidentID && kind != classify.USCC && kind != classify.Mobile && kind != classify.BankCard || !numeric(s) {
			return false
		}
		b := []byte(s)
		slices.Reverse(b)
		return one(g, o, string(b))
	}},
	{"integers in an amount, every row", func(g *Generator, o *Outgoing, kind classify.Kind, draw func(*Generator) string) bool {
		return kind != classify.Mobile && kind != classify.ResidentID15 && numbers(g, o, scan.Amount, draw, false)
	}},
	{"decimals in an amount, every row", func(g *Generator, o *Outgoing, kind classify.Kind, draw func(*Generator) string) bool {
		return kind != classify.Mobile && kind != classify.ResidentID15 && numbers(g, o, scan.Amount, draw, true)
	}},
	{"integers in a count, every row", func(g *Generator, o *Outgoing, kind classify.Kind, draw func(*Generator) string) bool {
		return numbers(g, o, scan.Count, draw, false)
	}},
	{"over cells, one row", func(g *Generator, o *Outgoing, kind classify.Kind, draw func(*Generator) string) bool {
		return kind == classify.ResidentID && cells(g, o, draw, 1)
	}},
	{"over cells, every row", func(g *Generator, o *Outgoing, kind classify.Kind, draw func(*Generator) string) bool {
		return kind != classify.ResidentID15 && cells(g, o, draw, len(o.Rows))
	}},
	{"over rows, one", func(g *Generator, o *Outgoing, kind classify.Kind, draw func(*Generator) string) bool {
		s := draw(g)
		if kind != classify.ResidentID || !numeric(s) || len(o.Rows) < 3 {
			return false
		}
		at, column := g.r.IntN(len(o.Rows)-2), labels(o)-1
		for i, p := range []string{s[:6], s[6:14], s[14:]} {
			o.Rows[at+i][column] = p
		}
		return true
	}},
}

func numeric(s string) bool {
	for i := range len(s) {
		if (s[i] < '0' || s[i] > '9') && (s[i] < 'A' || s[i] > 'Z') {
			return false
		}
	}
	return len(s) > 7
}

func labels(o *Outgoing) (n int) {
	for _, f := range o.Fields {
		if f.Role == scan.Label {
			n++
		}
	}
	return n
}

// one puts a text into one cell of a label.
func one(g *Generator, o *Outgoing, s string) bool {
	o.Rows[g.r.IntN(len(o.Rows))][g.r.IntN(labels(o))] = s
	return true
}

// numbers fills a column of numbers, of at least six rows.
func numbers(g *Generator, o *Outgoing, role scan.Role, draw func(*Generator) string, point bool) bool {
	for len(o.Rows) < 6 {
		o.Rows = append(o.Rows, slices.Clone(o.Rows[0]))
	}
	column := len(o.Fields)
	o.Fields = append(o.Fields, scan.Field{Name: "value", Role: role})
	for i := range o.Rows {
		s := draw(g)
		for tries := 0; strings.Trim(s, "0123456789") != ""; tries++ {
			if s = draw(g); tries == 1000 {
				return false
			}
		}
		if point && len(s) > 2 {
			s = s[:len(s)-2] + "." + s[len(s)-2:]
		}
		o.Rows[i] = append(o.Rows[i][:column:column], s)
	}
	return true
}

// cells spreads numbers over three new columns of labels; the other rows have codes of the same lengths.
func cells(g *Generator, o *Outgoing, draw func(*Generator) string, rows int) bool {
	s := draw(g)
	if !numeric(s) {
		return false
	}
	for len(o.Rows) < 12 {
		o.Rows = append(o.Rows, slices.Clone(o.Rows[0]))
	}
	if rows > 1 {
		rows = len(o.Rows)
	}
	column := len(o.Fields)
	for i := range 3 {
		o.Fields = append(o.Fields, scan.Field{Name: "part" + strconv.Itoa(i+1), Role: scan.Label})
	}
	at := g.r.IntN(len(o.Rows))
	for i := range o.Rows {
		if rows > 1 || i == at {
			s = draw(g)
		} else {
			s = g.letters(1, "123456789") + g.digits(len(s)-1)
		}
		a, b := 3, 7
		if len(s) > 11 {
			a, b = 6, 14
		}
		if len(s) <= b {
			return false
		}
		o.Rows[i] = append(o.Rows[i][:column:column], s[:a], s[a:b], s[b:])
	}
	return true
}

// Smuggled draws a table with identifiers put into it: every kind in every way that it can be written, n of each.
func (g *Generator) Smuggled(n int) (out []Outgoing) {
	for _, id := range identities {
		for range n {
			for _, c := range codes {
				o := g.Honest()
				o.Kind, o.Sort = id.kind, c.name
				one(g, &o, c.write(g, id.draw(g)))
				out = append(out, o)
			}
			for _, w := range ways {
				o := g.Honest()
				o.Kind, o.Sort = id.kind, w.name
				if w.put(g, &o, id.kind, id.draw) {
					out = append(out, o)
				}
			}
		}
	}
	return out
}

// OutgoingReport (出域扫描评测报告) holds recall by way of writing, and false alarms by what they took for what.
type OutgoingReport struct {
	Ways   []string
	Recall map[string]Score
	Missed map[string]int // by way and kind
	Honest int            // tables
	Rows   int            // of them
	Alarms map[string]int // honest tables with a hit, by hit
	False  int            // honest tables with a hit
}

// MeasureOutgoing scans tables.
func MeasureOutgoing(tables []Outgoing) (*OutgoingReport, error) {
	r := &OutgoingReport{Recall: map[string]Score{}, Alarms: map[string]int{}, Missed: map[string]int{}}
	for _, o := range tables {
		t, err := scan.NewTable(o.Fields)
		if err != nil {
			return nil, err
		}
		for _, row := range o.Rows {
			t.Row(row)
		}
		hits := t.Hits()
		if o.Kind == classify.None {
			r.Honest++
			r.Rows += len(o.Rows)
			if len(hits) > 0 {
				r.False++
				r.Alarms[fmt.Sprintf("%s %s %s %s", hits[0].Column, hits[0].Kind, hits[0].Form, hits[0].Detail)]++
			}
			continue
		}
		if !slices.Contains(r.Ways, o.Sort) {
			r.Ways = append(r.Ways, o.Sort)
		}
		s := r.Recall[o.Sort]
		if slices.ContainsFunc(hits, func(h scan.Hit) bool { return h.Rule == scan.RuleIdentifier || h.Rule == scan.RuleOpaque }) {
			s.Found++
		} else {
			s.Missed++
			r.Missed[o.Sort+" "+string(o.Kind)]++
		}
		r.Recall[o.Sort] = s
	}
	return r, nil
}

// Print writes the report.
func (r *OutgoingReport) Print(w io.Writer) {
	found, all := 0, 0
	for _, way := range r.Ways {
		s := r.Recall[way]
		fmt.Fprintf(w, "  %-34s recall %6.4f of %d tables\n", way, s.Recall(), s.Found+s.Missed)
		found, all = found+s.Found, all+s.Found+s.Missed
	}
	fmt.Fprintf(w, "  all ways recall %.4f of %d; honest tables with a hit %d of %d (%d rows); precision at as many honest tables as drawn %.4f\n",
		float64(found)/float64(max(all, 1)), all, r.False, r.Honest, r.Rows, float64(found)/float64(max(found+r.False, 1)))
	for _, m := range []map[string]int{r.Missed, r.Alarms} {
		var names []string
		for n := range m {
			names = append(names, n)
		}
		slices.Sort(names)
		for _, n := range names {
			fmt.Fprintf(w, "    %s: %d\n", n, m[n])
		}
	}
}
