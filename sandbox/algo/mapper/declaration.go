package mapper

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"math/bits"
	"slices"
	"strconv"
	"strings"
)

// Version (开发包版本) is the version of the form of subjects and yields.
const Version = "1"

// Bounds of a declaration. They keep a host's work small whatever an author declares.
const (
	MaxColumns = 64
	MaxGroups  = 8    // groupings of one Map
	MaxLabels  = 4096 // of one grouping
	MaxCells   = 1 << 16
	MaxValues  = 16
	MaxYields  = 64 // of one subject
	MaxScale   = 9
	MaxLevels  = 1 << 32 // steps of one value's range
	MaxValue   = 1 << 53 // either end of it: what one subject yields never overflows
)

// Declaration (逐主体算法声明) is what a Map may see and yield. It stands in the algorithm's manifest, signed by its author; the domain holds
// the Map to it.
type Declaration struct {
	Dataset string   `json:"dataset"` // name of the one input: the grant's list says which data set it is
	Columns []Column `json:"columns"` // in the order in which the Map sees them
	Groups  []Group  `json:"groups"`
	Values  []Value  `json:"values"`
	Yields  int      `json:"yields"` // of one subject at most
}

// Column (字段) is one column that the Map sees.
type Column struct {
	Name  string `json:"name"`
	Type  string `json:"type"`            // text, int, money, number, date, bool
	Scale int    `json:"scale,omitempty"` // decimals of a number, as the catalogue has them
}

// Group (分组) is one grouping with its labels, all that there will ever be.
type Group struct {
	Name   string   `json:"name"`
	Labels []string `json:"labels"`
}

// Value (取值) is one number that a subject yields for a group: what it yields is brought into [Min, Max] and to a multiple of Step, from Min on.
// All three are whole numbers of 10^-Scale. Of says what becomes of it over a group.
type Value struct {
	Name  string `json:"name"`
	Of    string `json:"of"` // sum, mean
	Unit  string `json:"unit,omitempty"`
	Scale int    `json:"scale,omitempty"`
	Min   int64  `json:"min"`
	Max   int64  `json:"max"`
	Step  int64  `json:"step"`
}

// Types of columns.
var types = []string{"text", "int", "money", "number", "date", "bool"}

// What becomes of a value.
const (
	Sum  = "sum"
	Mean = "mean"
)

// named is written out: a Map's instance is made for every subject, and would compile a pattern each time.
func named(s string) bool {
	for i := range len(s) {
		c := s[i]
		if (c < 'a' || c > 'z') && (i == 0 || (c < '0' || c > '9') && c != '_' && c != '-') {
			return false
		}
	}
	return s != "" && len(s) <= 63
}

// Error (声明错误) says where a declaration, or bytes in its form, break which rule. It never holds a value of a subject.
type Error struct{ Place, Rule string }

func (e *Error) Error() string { return "map: " + e.Place + ": " + e.Rule }

// Check holds a declaration to its bounds.
func (d Declaration) Check() error {
	bad := func(place, rule string) error { return &Error{place, rule} }
	if !named(d.Dataset) {
		return bad("dataset", "a name of small letters, digits, - and _, up to 63")
	}
	if len(d.Columns) == 0 || len(d.Columns) > MaxColumns {
		return bad("columns", fmt.Sprintf("1 to %d", MaxColumns))
	}
	for i, c := range d.Columns {
		at := fmt.Sprintf("columns[%d]", i)
		if c.Name == "" || len(c.Name) > 128 || slices.ContainsFunc(d.Columns[:i], func(x Column) bool { return x.Name == c.Name }) {
			return bad(at, "columns have names, each once")
		}
		if !slices.Contains(types, c.Type) {
			return bad(at, "a type is text, int, money, number, date or bool")
		}
		if c.Scale < 0 || c.Scale > MaxScale || c.Scale > 0 && c.Type != "number" {
			return bad(at, fmt.Sprintf("a number has 0 to %d decimals, another type declares none", MaxScale))
		}
	}
	cells, names := 1, []string{}
	if len(d.Groups) > MaxGroups {
		return bad("groups", fmt.Sprintf("at most %d", MaxGroups))
	}
	for i, g := range d.Groups {
		at := fmt.Sprintf("groups[%d]", i)
		if !named(g.Name) || slices.Contains(names, g.Name) {
			return bad(at, "groups and values have names of small letters, digits, - and _, each once")
		}
		names = append(names, g.Name)
		if len(g.Labels) == 0 || len(g.Labels) > MaxLabels {
			return bad(at, fmt.Sprintf("1 to %d labels", MaxLabels))
		}
		for k, l := range g.Labels {
			if l == "" || len(l) > 256 || slices.Contains(g.Labels[:k], l) {
				return bad(at, "labels are not empty, up to 256 bytes, each once")
			}
		}
		if cells *= len(g.Labels); cells > MaxCells {
			return bad(at, fmt.Sprintf("at most %d groups in all", MaxCells))
		}
	}
	if len(d.Values) > MaxValues {
		return bad("values", fmt.Sprintf("at most %d", MaxValues))
	}
	for i, v := range d.Values {
		at := fmt.Sprintf("values[%d]", i)
		switch {
		case !named(v.Name) || slices.Contains(names, v.Name):
			return bad(at, "groups and values have names of small letters, digits, - and _, each once")
		case v.Of != Sum && v.Of != Mean:
			return bad(at, "of a group its sum or its mean")
		case v.Scale < 0 || v.Scale > MaxScale:
			return bad(at, fmt.Sprintf("a scale of 0 to %d places", MaxScale))
		case v.Step < 1 || v.Max <= v.Min || v.Min < -MaxValue || v.Max > MaxValue:
			return bad(at, "a range from a least to a greater number within ±2^53, in steps of at least one")
		case (v.Max-v.Min)%v.Step != 0 || (v.Max-v.Min)/v.Step >= MaxLevels:
			return bad(at, fmt.Sprintf("its range is whole steps, fewer than %d", int64(MaxLevels)))
		}
		names = append(names, v.Name)
	}
	if len(d.Groups) == 0 && len(d.Values) == 0 {
		return bad("values", "a Map yields something: a group or a value")
	}
	if d.Yields < 1 || d.Yields > MaxYields {
		return bad("yields", fmt.Sprintf("1 to %d of one subject", MaxYields))
	}
	return nil
}

// Bits bounds what the yields of one subject may tell the reducer (信息量上限): for each yield its group among all, and each value's step, rounded up.
func (d Declaration) Bits() int {
	cells := int64(1)
	for _, g := range d.Groups {
		cells *= int64(len(g.Labels))
	}
	one := bits.Len64(uint64(cells)) // and whether it yields at all
	for _, v := range d.Values {
		one += bits.Len64(uint64((v.Max - v.Min) / v.Step))
	}
	return one * d.Yields
}

// Text says it to people, one line for each column, group and value.
func (d Declaration) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "sees 输入 %s, one subject at a time:", d.Dataset)
	for i, c := range d.Columns {
		fmt.Fprintf(&b, "%s %s (%s)", map[bool]string{true: ","}[i > 0], c.Name, c.Type)
	}
	fmt.Fprintf(&b, "\nyields 产出 at most %d times a subject\n", d.Yields)
	for _, g := range d.Groups {
		shown, more := g.Labels, ""
		if len(shown) > 12 {
			shown, more = shown[:12], fmt.Sprintf(" and %d more", len(g.Labels)-12)
		}
		fmt.Fprintf(&b, "  group 分组 %s: %s%s\n", g.Name, strings.Join(shown, ", "), more)
	}
	for _, v := range d.Values {
		unit := ""
		if v.Unit != "" {
			unit = " " + v.Unit
		}
		fmt.Fprintf(&b, "  value 取值 %s: %s, %s to %s in steps of %s%s\n", v.Name, v.Of, decimal(v.Min, v.Scale), decimal(v.Max, v.Scale), decimal(v.Step, v.Scale), unit)
	}
	return b.String()
}

// decimal writes a whole number of 10^-scale.
func decimal(v int64, scale int) string {
	s := strconv.FormatInt(v, 10)
	sign := ""
	if v < 0 {
		sign, s = "-", s[1:]
	}
	if scale == 0 {
		return sign + s
	}
	if len(s) <= scale {
		s = strings.Repeat("0", scale-len(s)+1) + s
	}
	return sign + s[:len(s)-scale] + "." + s[len(s)-scale:]
}

// MaxEncoded bounds the text of a declaration.
const MaxEncoded = 48 << 10

// Encode gives the one text of a declaration: JSON without spaces, keys in the order of the fields. It is what a module says of itself when it is
// started, and what stands in its manifest.
func (d Declaration) Encode() []byte {
	var b bytes.Buffer
	enc := json.NewEncoder(&b)
	enc.SetEscapeHTML(false)
	if enc.Encode(d) != nil { // texts and numbers
		return nil
	}
	return bytes.TrimSuffix(b.Bytes(), []byte("\n"))
}

// Decode reads the text of a declaration, in its one encoding, and checks it.
func Decode(b []byte) (Declaration, error) {
	bad := &Error{"declaration", fmt.Sprintf("the JSON of a declaration in its one encoding, at most %d bytes", MaxEncoded)}
	var d Declaration
	if len(b) > MaxEncoded {
		return d, bad
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&d); err != nil {
		return Declaration{}, bad
	}
	if _, err := dec.Token(); err != io.EOF || !bytes.Equal(d.Encode(), b) {
		return Declaration{}, bad
	}
	return d, d.Check()
}

// Quantise (截断量化) brings a number into a value's range and to the nearest of its steps, the upper of two.
func (v Value) Quantise(x int64) int64 {
	x = min(max(x, v.Min), v.Max)
	steps := (x - v.Min) / v.Step
	if x-v.Min-steps*v.Step >= v.Step-(x-v.Min-steps*v.Step) {
		steps++
	}
	return v.Min + steps*v.Step
}
