package scan

import (
	"cmp"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
)

// Role (字段角色) is what a column is declared to hold; it bounds what chance may do there.
type Role string

const (
	Label  Role = "label"  // 标签: codes, registered labels, dates
	Text   Role = "text"   // 文本: anything; the strictest, for columns nobody declared
	Count  Role = "count"  // 计数: of people or rows
	Amount Role = "amount" // 计量: sums, means and the like, scaled or not
	Token  Role = "token"  // 令牌: made by a plan; not judged by what it looks like
)

// Valid says whether r is one of the roles.
func (r Role) Valid() bool {
	return r == Label || r == Text || r == Count || r == Amount || r == Token
}

// Field (出域字段) is one column of what would leave.
type Field struct {
	Name string `json:"name"`
	Role Role   `json:"role"`
}

// key is what a column is tallied by: width and the columns are of numbers in several cells.
type key struct {
	column int
	kind   classify.Kind
	form   Form
	width  int
}

const (
	maxWidth = 6       // cells that one number is looked for over
	maxClean = 1 << 15 // texts of a column that are remembered
)

// Table (表格扫描) scans rows as they come. One goroutine uses it. It keeps texts it has seen, so it prints redacted.
type Table struct {
	fields []Field
	names  []string // as hits give them
	scan   *Scanner
	tally  map[key]*tally
	clean  []map[string]struct{}
	sample *classify.Sampler
	sender []int // column of the sample → column of the table
	row    int
	cells  []cell           // of this row, for numbers over several
	above  [][maxWidth]cell // per column the last rows
	joined []byte
	pairs  []pair
}

// cell is what may be a part of a number: letters and digits without separators.
type cell struct {
	b    []byte
	ok   bool
	axis int // of a coordinate
}

// pair counts neighbouring columns of coordinates.
type pair struct{ rows, held int }

// String keeps cells out of logs.
func (*Table) String() string { return "table(redacted)" }

// GoString keeps cells out of %#v.
func (*Table) GoString() string { return "table(redacted)" }

// NewTable starts a table and looks at its header.
func NewTable(fields []Field) (*Table, error) {
	t := &Table{fields: slices.Clone(fields), scan: NewScanner(), tally: map[key]*tally{}, clean: make([]map[string]struct{}, len(fields)),
		cells: make([]cell, len(fields)), above: make([][maxWidth]cell, len(fields)), pairs: make([]pair, len(fields))}
	var d catalog.Dataset
	for i, f := range fields {
		t.names = append(t.names, f.Name)
		if !f.Role.Valid() {
			return nil, &sandbox.Error{Op: "scan", Kind: sandbox.Invalid, Object: "column " + strconv.Itoa(i+1), Detail: "a column is label, text, count, amount or token"}
		}
		t.clean[i] = map[string]struct{}{}
		found := len(t.tally)
		t.text(i, f.Name, true)
		if len(t.tally) > found { // what a column is called may be the find
			t.names[i] = "column " + strconv.Itoa(i+1)
		}
		if f.Role == Text {
			d.Columns = append(d.Columns, catalog.Column{Name: f.Name, Title: f.Name, Type: catalog.Text, Grade: sandbox.Grade1})
			t.sender = append(t.sender, i)
		}
	}
	t.sample = classify.NewSampler(d)
	return t, nil
}

// Row looks at the next row. Missing cells are empty; cells beyond the header are looked at as text.
func (t *Table) Row(row []string) {
	t.row++
	k := 0
	for i, v := range row {
		if i >= len(t.fields) {
			t.text(len(t.fields)-1, v, true)
			continue
		}
		f := t.fields[i]
		switch f.Role {
		case Token:
		case Count, Amount:
			if !t.number(i, v) {
				t.text(i, v, false)
			}
		default:
			t.text(i, v, f.Role == Text)
		}
		if f.Role == Text {
			t.sample.ObserveText(k, v)
			k++
		}
		t.part(i, v)
	}
	for i := len(row); i < len(t.fields); i++ {
		t.cells[i].ok = false
	}
	t.across()
	t.down()
	t.coordinates()
}

func (t *Table) add(k key, x seen) {
	have := t.tally[k]
	if have == nil {
		have = &tally{}
		t.tally[k] = have
	}
	have.add(x, t.row)
}

// text looks at one cell of text. Clean texts are looked at once.
func (t *Table) text(i int, v string, free bool) {
	if len(v) < shortest || i < 0 {
		return
	}
	if _, ok := t.clean[i][v]; ok {
		return
	}
	t.scan.free = free
	t.scan.look(v)
	for _, x := range t.scan.sight {
		t.add(key{i, x.kind, x.form, 1}, x)
	}
	if t.scan.opaque {
		t.add(key{i, classify.None, "", 1}, seen{held: true})
	}
	if len(t.scan.sight) == 0 && !t.scan.opaque && len(t.clean[i]) < maxClean && len(v) <= 256 {
		t.clean[i][v] = struct{}{}
	}
}

// number looks at one measured number: its whole part, and its digits without the point. ok is false for other texts.
func (t *Table) number(i int, v string) bool {
	d, whole, ok := plainDigits(t.joined[:0], v)
	t.joined = d
	if !ok {
		return false
	}
	if len(d) < 11 {
		return true
	}
	role := t.fields[i].Role
	for k, c := range [2][]byte{d[:whole], d} {
		if k == 1 && whole == len(d) {
			break
		}
		at := func(kind classify.Kind) key { return key{i, kind, Plain, k + 1} }
		switch {
		case len(c) == 11 && role == Count && classify.Valid(classify.Mobile, c):
			t.add(at(classify.Mobile), seen{held: true})
		case len(c) == 15 && role == Count && classify.Valid(classify.ResidentID15, c):
			t.add(at(classify.ResidentID15), seen{held: true})
		case len(c) == 18 && (classify.Valid(classify.ResidentID, c) || classify.Valid(classify.ResidencePermit, c)):
			t.add(at(classify.ResidentID), seen{held: true})
			continue
		}
		if len(c) == 18 {
			t.add(at(classify.USCC), seen{weak: chanceUSCC, held: classify.Valid(classify.USCC, c)})
		}
		if len(c) >= 15 && len(c) <= 19 && issuer(c) {
			t.add(at(classify.BankCard), seen{weak: chanceCard, held: classify.Valid(classify.BankCard, c)})
		}
	}
	return true
}

// plainDigits gives the digits of a decimal, with an exponent or without, and how many stand before the point.
func plainDigits(dst []byte, v string) (d []byte, whole int, ok bool) {
	if len(v) > 0 && (v[0] == '-' || v[0] == '+') {
		v = v[1:]
	}
	i, point := 0, -1
	for ; i < len(v); i++ {
		switch c := v[i]; {
		case c >= '0' && c <= '9':
			dst = append(dst, c)
			continue
		case c == '.' && point < 0:
			point = len(dst)
			continue
		}
		break
	}
	if len(dst) == 0 || len(dst) > 64 {
		return dst, 0, false
	}
	if point < 0 {
		point = len(dst)
	}
	if i < len(v) {
		if v[i] != 'e' && v[i] != 'E' {
			return dst, 0, false
		}
		e, err := strconv.Atoi(v[i+1:])
		if err != nil || e < -64 || e > 64 {
			return dst, 0, false
		}
		point += e
		for len(dst) < point {
			dst = append(dst, '0')
		}
		point = max(point, 0)
	}
	return dst, min(point, len(dst)), true
}

// part keeps a cell as what may be a part of a number.
func (t *Table) part(i int, v string) {
	c := &t.cells[i]
	role := t.fields[i].Role
	c.b, c.ok, c.axis = c.b[:0], false, 0
	if role == Token || len(v) > 64 {
		return
	}
	for j := 0; j < len(v); {
		r, size := rune(v[j]), 1
		if r >= utf8.RuneSelf {
			r, size = utf8.DecodeRuneInString(v[j:])
			if r = classify.Folded(r); r >= utf8.RuneSelf {
				r = digit(r)
			}
		}
		j += size
		switch {
		case r >= 'a' && r <= 'z':
			r -= 'a' - 'A'
		case r >= '0' && r <= '9' || r >= 'A' && r <= 'Z':
		case r < 0 || separator(r):
			continue
		default:
			return
		}
		if len(c.b) == 17 {
			return
		}
		c.b = append(c.b, byte(r))
	}
	if c.ok = len(c.b) > 0; role == Label || role == Text {
		if whole, part, dotted := strings.Cut(v, "."); dotted && len(whole) <= 3 && len(part) >= 4 {
			if n, err := strconv.Atoi(whole); err == nil && digits([]byte(part)) {
				c.axis = axis(n, len(part))
			}
		}
	}
}

// across looks for numbers over neighbouring cells of the row.
func (t *Table) across() {
	for i := range t.cells {
		t.joined = t.joined[:0]
		numbers, year := false, t.cells[i].year()
		for w := 0; w < maxWidth && i+w < len(t.cells) && t.cells[i+w].ok; w++ {
			if t.joined = append(t.joined, t.cells[i+w].b...); len(t.joined) > 19 {
				break
			}
			numbers = numbers || t.measured(i+w)
			if w > 0 && len(t.joined) >= 8 {
				t.over(key{column: i, form: Cells, width: w + 1}, t.joined, numbers, year)
			}
		}
	}
}

// down looks for numbers over neighbouring rows of a column that end in this row.
func (t *Table) down() {
	for i := range t.cells {
		a := &t.above[i]
		first := a[0].b // the oldest one's memory is used again
		copy(a[:], a[1:])
		last := &a[maxWidth-1]
		*last = t.cells[i]
		last.b = append(first[:0], t.cells[i].b...)
		size := 0
		for w := 1; w <= maxWidth && a[maxWidth-w].ok; w++ {
			if size += len(a[maxWidth-w].b); size > 19 {
				break
			}
			if w == 1 || size < 11 {
				continue
			}
			t.joined = t.joined[:0]
			for _, c := range a[maxWidth-w:] {
				t.joined = append(t.joined, c.b...)
			}
			t.over(key{column: i, form: Rows, width: w}, t.joined, t.measured(i), a[maxWidth-w].year())
		}
	}
}

// measured says whether a column holds numbers that were computed.
func (t *Table) measured(i int) bool { return t.fields[i].Role == Count || t.fields[i].Role == Amount }

// year says whether a cell reads as a year: years of birth begin as mobiles do.
func (c *cell) year() bool {
	return len(c.b) == 4 && (string(c.b[:2]) == "19" || string(c.b[:2]) == "20")
}

// over looks at what several cells make together, of which some may be numbers that were computed, and the first a year.
func (t *Table) over(k key, c []byte, numbers, year bool) {
	strict := func(kind classify.Kind, weak float64) {
		k.kind = kind
		t.add(k, seen{weak: weak, held: classify.Valid(kind, c), strict: true})
	}
	switch n := len(c); {
	case n < 10 && k.form == Cells && !numbers && c[0] >= 'A':
		if n == 9 && (c[1] >= 'A' || digits(c[1:])) && digits(c[2:]) {
			strict(classify.Passport, chanceLetter)
		}
		if letters := n - 7; c[letters-1] >= 'A' && digits(c[letters:n-1]) && (c[n-1] == 'A' || digits(c[n-1:])) {
			strict(classify.HKID, chanceCheck)
		}
	case n == 11 && !numbers && !year && digits(c):
		strict(classify.Mobile, chanceMobile)
	case n == 18 && digits(c[:17]) && (c[6] == '1' || c[6] == '2') && shaped(c):
		k.kind = classify.ResidentID // its shape alone is rare enough in labels
		t.add(k, seen{weak: chanceCheck, held: classify.Valid(classify.ResidentID, c) || classify.Valid(classify.ResidencePermit, c), strict: numbers})
		return
	case n == 18 && !numbers && digits(c[2:8]):
		strict(classify.USCC, chanceUSCC)
	}
	if len(c) >= 15 && len(c) <= 19 && digits(c) && issuer(c) {
		strict(classify.BankCard, chanceCard)
	}
}

// shaped says whether 18 characters have everything of an identity number but perhaps its check character (GB 11643).
func shaped(c []byte) bool {
	if c[10] > '1' || c[12] > '3' {
		return false
	}
	d := [18]byte{}
	copy(d[:], c)
	p := 0
	for _, x := range d[:17] {
		p = (p + int(x-'0')) * 2 % 11
	}
	d[17] = "10X98765432"[p]
	return classify.Valid(classify.ResidentID, d[:]) || classify.Valid(classify.ResidencePermit, d[:])
}

// coordinates counts rows in which neighbouring columns are a longitude and a latitude.
func (t *Table) coordinates() {
	for i := range len(t.cells) - 1 {
		a, b := t.cells[i], t.cells[i+1]
		if !a.ok || !b.ok {
			continue
		}
		t.pairs[i].rows++
		if a.axis != 0 && b.axis != 0 && a.axis != b.axis {
			t.pairs[i].held++
		}
	}
}

// Hits gives what was found so far, by column.
func (t *Table) Hits() []Hit {
	var out []Hit
	for k, x := range t.tally {
		if !x.beyond(t.fields[k.column].Role == Amount || t.fields[k.column].Role == Count) {
			continue
		}
		h := Hit{Rule: RuleIdentifier, Kind: k.kind, Form: k.form, Column: t.names[k.column], Row: x.first, Count: x.held}
		if k.kind == classify.None {
			h.Rule = RuleOpaque
		}
		if k.form == Cells {
			h.Detail = strconv.Itoa(k.width) + " cells"
		} else if k.form == Rows {
			h.Detail = strconv.Itoa(k.width) + " rows"
		}
		out = append(out, h)
	}
	for i, p := range t.pairs {
		if p.held >= 3 && 10*p.held >= 9*p.rows {
			out = append(out, Hit{Rule: RuleIdentifier, Kind: Coordinate, Form: Cells, Column: t.names[i], Count: p.held})
		}
	}
	for k, f := range t.sample.Grade() {
		if identifies(f.Finding.Of()) {
			out = append(out, Hit{Rule: RuleIdentifier, Kind: f.Finding.Of(), Form: ByColumns, Column: t.names[t.sender[k]], Count: int(f.Share*float64(f.Sampled) + 0.5)})
		}
	}
	slices.SortFunc(out, func(a, b Hit) int {
		return cmp.Or(t.index(a.Column)-t.index(b.Column), cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Form, b.Form), cmp.Compare(a.Detail, b.Detail))
	})
	return out
}

func (t *Table) index(column string) int {
	return slices.Index(t.names, column)
}

// identifies says whether a kind names somebody or a place of somebody by itself.
func identifies(k classify.Kind) bool {
	switch k {
	case classify.ResidentID, classify.ResidentID15, classify.ResidencePermit, classify.USCC, classify.OrganisationCode, classify.BankCard, classify.Mobile,
		classify.Landline, classify.HKID, classify.VIN, classify.Plate, classify.Passport, classify.TravelPermit, classify.Email, classify.PersonName,
		classify.LatinName, classify.Address, classify.OtherID, classify.Biometric:
		return true
	}
	return false
}
