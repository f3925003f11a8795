package query

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/opdomain/opdomain/sandbox"
)

// Bounds of one question. They keep Derive and the engine's plan small whatever an asker writes.
const (
	MaxBytes      = 64 << 10 // encoded Spec
	MaxInputs     = 8
	MaxKeys       = 4 // per join
	MaxFilters    = 32
	MaxLabels     = 256 // per filter
	MaxDimensions = 8
	MaxMeasures   = 16
	MaxRegressors = 8
	MaxHaving     = 4
	MaxTop        = 1000
	maxText       = 128 // bytes of a label, a purpose code or an output name
)

func bad(object, rule string) error {
	return &sandbox.Error{Op: "query", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

// Decode reads one Spec and validates it. It is strict: at most MaxBytes of UTF-8, one JSON object, lower-case keys each
// standing once, no unknown keys, nothing after it. Two readers of the same bytes can therefore not see two questions.
func Decode(b []byte) (Spec, error) {
	if len(b) > MaxBytes {
		return Spec{}, &sandbox.Error{Op: "query", Kind: sandbox.TooLarge, Object: "question",
			Detail: fmt.Sprintf("at most %d bytes", MaxBytes)}
	}
	if !utf8.Valid(b) {
		return Spec{}, bad("question", "is UTF-8")
	}
	if err := checkKeys(b); err != nil {
		return Spec{}, err
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var s Spec
	if err := dec.Decode(&s); err != nil {
		return Spec{}, bad(fmt.Sprintf("question byte %d", dec.InputOffset()), "is the JSON object of a question, without unknown keys")
	}
	if err := s.Validate(); err != nil {
		return Spec{}, err
	}
	return s, nil
}

// checkKeys walks the tokens: encoding/json takes the last of two equal keys and matches keys without regard to case.
func checkKeys(b []byte) error {
	type level struct {
		object, key bool // key: the next token is a key
		seen        map[string]bool
	}
	var stack []level
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.UseNumber()
	for values := 0; ; {
		tok, err := dec.Token()
		if err == io.EOF && values == 1 && len(stack) == 0 {
			return nil
		}
		at := fmt.Sprintf("question byte %d", dec.InputOffset())
		if err != nil {
			return bad(at, "is JSON")
		}
		if len(stack) > 0 && stack[len(stack)-1].key {
			top := &stack[len(stack)-1]
			if k, ok := tok.(string); ok {
				if strings.Trim(k, "abcdefghijklmnopqrstuvwxyz_") != "" || top.seen[k] {
					return bad(at, "keys are lower case and stand once")
				}
				top.seen[k], top.key = true, false
				continue
			}
		}
		switch d, _ := tok.(json.Delim); d {
		case '{', '[':
			if len(stack) == 0 {
				values++
			}
			if len(stack) > 8 {
				return bad(at, "nests at most 8 deep")
			}
			stack = append(stack, level{object: d == '{', key: d == '{', seen: map[string]bool{}})
			continue
		case '}', ']':
			stack = stack[:len(stack)-1]
		default:
			if len(stack) == 0 {
				return bad(at, "is one JSON object")
			}
		}
		if len(stack) > 0 {
			stack[len(stack)-1].key = stack[len(stack)-1].object
		}
	}
}

// Validate checks the structure: names, bounds, references between parts. Whether columns exist and may be used so is for
// Derive. Plain measures and an empty measure list are well formed, so that their refusal can explain itself.
func (s Spec) Validate() error {
	if err := sandbox.CheckID("scenario", string(s.Scenario)); err != nil {
		return err
	}
	if err := sandbox.CheckID("purpose", s.Purpose); err != nil {
		return err
	}
	if err := s.validateInputs(); err != nil {
		return err
	}
	for _, c := range []struct {
		what   string
		n, max int
	}{{"filters", len(s.Filters), MaxFilters}, {"dimensions", len(s.Dimensions), MaxDimensions}, {"measures", len(s.Measures), MaxMeasures}} {
		if c.n > c.max {
			return bad(c.what, fmt.Sprintf("at most %d", c.max))
		}
	}
	for i, f := range s.Filters {
		at := fmt.Sprintf("filter %d", i+1)
		if err := s.validateColumn(at, f.Column, f.Bin); err != nil {
			return err
		}
		if len(f.In) == 0 || len(f.In) > MaxLabels {
			return bad(at, fmt.Sprintf("has 1 to %d labels", MaxLabels))
		}
		seen := map[string]bool{}
		for _, l := range f.In {
			if !printable(l) || seen[l] {
				return bad(at, fmt.Sprintf("labels are printable text of 1 to %d bytes and stand once", maxText))
			}
			seen[l] = true
		}
	}
	names, cols := map[string]bool{}, map[string]bool{}
	name := func(at, as string) error {
		if !printable(as) || names[as] {
			return bad(at, fmt.Sprintf("output names are printable text of 1 to %d bytes and stand once", maxText))
		}
		names[as] = true
		return nil
	}
	for i, d := range s.Dimensions {
		at := fmt.Sprintf("dimension %d", i+1)
		if d.Score != nil {
			if d.Column != "" || d.Bin != "" {
				return bad(at, "groups by a column or by a score")
			}
			if err := s.validateScore(at, d.Score); err != nil {
				return err
			}
		} else if err := s.validateColumn(at, d.Column, d.Bin); err != nil {
			return err
		}
		if err := name(at, d.As); err != nil {
			return err
		}
		k := d.Column + " " + string(d.Bin)
		if d.Score != nil {
			k = d.Score.normal(func(c string) string { return c }).text()
		}
		if cols[k] {
			return bad(at, "a grouping stands once")
		}
		cols[k] = true
	}
	for i, m := range s.Measures {
		at := fmt.Sprintf("measure %d", i+1)
		if err := s.validateMeasure(at, m); err != nil {
			return err
		}
		if err := name(at, m.As); err != nil {
			return err
		}
		m = m.normal()
		if k := fmt.Sprint(m.Func, "(", m.Column, m.With, m.Bin, m.Q); cols[k] {
			return bad(at, "a measure stands once")
		} else {
			cols[k] = true
		}
	}
	return s.validateShown()
}

// validateMeasure checks that a measure has the parts its function takes, and no others.
func (s Spec) validateMeasure(at string, m Measure) error {
	column, with, bin, q := true, 0, false, false
	switch m.Func {
	case sandbox.Count, sandbox.Subjects:
		column = false
	case sandbox.Sum, sandbox.Mean, sandbox.Plain, sandbox.Variance, sandbox.StdDev, sandbox.Min, sandbox.Max:
	case sandbox.Distinct:
		bin = m.Bin != ""
	case sandbox.Quantile:
		q = true
	case sandbox.Histogram:
		bin = true
	case sandbox.Covariance, sandbox.Correlation, sandbox.Ratio:
		with = 1
	case sandbox.Dot: // without another column, of its squares
		if with = len(m.With); with > 1 {
			return bad(at, "dot names at most one further column in \"with\"")
		}
	case sandbox.Linear, sandbox.Logistic:
		if with = len(m.With); with < 1 || with > MaxRegressors {
			return bad(at, fmt.Sprintf("a regression has 1 to %d regressors in \"with\"", MaxRegressors))
		}
	default:
		words := make([]string, len(sandbox.MeasureFuncs))
		for i, f := range sandbox.MeasureFuncs {
			words[i] = string(f)
		}
		return bad(at, "func is one of "+strings.Join(words, ", "))
	}
	switch {
	case !column && m.Column != "":
		return bad(at, "count and subjects take no column")
	case len(m.With) != with:
		return bad(at, fmt.Sprintf("%s names %d further columns in \"with\"", m.Func, with))
	case bin != (m.Bin != ""):
		return bad(at, "a bin stands with histogram, which needs one, and with distinct")
	case q != (m.Q != 0) || q && (m.Q < 1 || m.Q > 999):
		return bad(at, "q stands with quantile: its rank in thousandths, 1 to 999")
	}
	if !column {
		return nil
	}
	if err := s.validateColumn(at, m.Column, m.Bin); err != nil {
		return err
	}
	for i, w := range m.With {
		if err := s.validateColumn(at, w, ""); err != nil {
			return err
		}
		if w == m.Column || slices.Contains(m.With[:i], w) {
			return bad(at, "the columns of a measure are different ones")
		}
	}
	return nil
}

// validateShown checks what is shown of the published cells.
func (s Spec) validateShown() error {
	if len(s.Having) > MaxHaving {
		return bad("having", fmt.Sprintf("at most %d", MaxHaving))
	}
	measure := func(as string) int {
		return slices.IndexFunc(s.Measures, func(m Measure) bool { return m.As == as })
	}
	for i, h := range s.Having {
		at := fmt.Sprintf("having %d", i+1)
		m := measure(h.Measure)
		if m < 0 || s.Measures[m].Func != sandbox.Count && s.Measures[m].Func != sandbox.Subjects {
			return bad(at, "names a measure count or subjects of the question")
		}
		if h.AtLeast < 1 || slices.ContainsFunc(s.Having[:i], func(o Having) bool { return o.Measure == h.Measure }) {
			return bad(at, "is at least 1 and stands once a measure")
		}
	}
	if s.Top != nil {
		m := measure(s.Top.By)
		if m < 0 {
			return bad("top", "names a measure of the question")
		}
		switch s.Measures[m].Func {
		case sandbox.Histogram, sandbox.Linear, sandbox.Logistic, sandbox.Min, sandbox.Max, sandbox.Plain:
			return bad("top", "orders by a measure that has one value a cell which may leave")
		}
		if s.Top.K < 1 || s.Top.K > MaxTop {
			return bad("top", fmt.Sprintf("shows 1 to %d cells", MaxTop))
		}
	}
	return nil
}

func (s Spec) validateInputs() error {
	if len(s.Inputs) == 0 || len(s.Inputs) > MaxInputs {
		return bad("inputs", fmt.Sprintf("1 to %d", MaxInputs))
	}
	versions, joins := map[sandbox.DatasetID]uint64{}, map[string]bool{}
	for i, in := range s.Inputs {
		at := fmt.Sprintf("input %d", i+1)
		if sandbox.CheckID(at, in.Alias) != nil || strings.Contains(in.Alias, ".") {
			return bad(at, "an alias is 1 to 64 of a-z, 0-9, '_', '-', starting with a letter or digit")
		}
		if s.input(in.Alias) != i {
			return bad(at, "an alias stands once")
		}
		if err := sandbox.CheckID("dataset of "+at, string(in.Dataset)); err != nil {
			return err
		}
		if v, ok := versions[in.Dataset]; ok && v != in.Version {
			return bad(at, "a dataset is asked in one version")
		}
		versions[in.Dataset] = in.Version
		if in.Join != "" && in.Join != LeftJoin {
			return bad(at, "a join is inner, which is written as nothing, or left")
		}
		if i == 0 {
			if in.Join != "" || in.With != "" || len(in.On) > 0 || in.Subject {
				return bad(at, "the first input joins nothing")
			}
			continue
		}
		if w := s.input(in.With); w < 0 || w >= i {
			return bad(at, "names the earlier input it joins")
		}
		if in.Subject && len(in.On) == 0 {
			return bad(at, "a join without keys is by the subject already; \"subject\" stands beside \"on\"")
		}
		if len(in.On) > MaxKeys {
			return bad(at, fmt.Sprintf("at most %d join keys", MaxKeys))
		}
		seen := map[Key]bool{}
		for _, k := range in.On {
			if sandbox.CheckID(at, k.Left) != nil || sandbox.CheckID(at, k.Right) != nil || seen[k] {
				return bad(at, "join keys are column names and stand once")
			}
			seen[k] = true
		}
		on := slices.Clone(in.On)
		slices.SortFunc(on, compareKeys)
		j := fmt.Sprint(in.With, in.Dataset, in.BySubject(), on)
		if joins[j] {
			return bad(at, "a join stands once")
		}
		joins[j] = true
	}
	return nil
}

// validateColumn checks that ref is "alias.column" of a named input.
func (s Spec) validateColumn(at, ref string, bin sandbox.BinID) error {
	alias, column, _ := strings.Cut(ref, ".")
	if s.input(alias) < 0 || sandbox.CheckID(at, column) != nil {
		return bad(at, "a column is written alias.column with the alias of an input")
	}
	if bin != "" {
		return sandbox.CheckID("bin of "+at, string(bin))
	}
	return nil
}

// input finds an input by alias, or -1.
func (s Spec) input(alias string) int {
	return slices.IndexFunc(s.Inputs, func(in Input) bool { return in.Alias == alias })
}

func printable(t string) bool {
	return t != "" && len(t) <= maxText && utf8.ValidString(t) && !strings.ContainsFunc(t, func(r rune) bool { return !unicode.IsPrint(r) })
}
