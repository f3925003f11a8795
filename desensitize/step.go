package desensitize

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/opdomain/opdomain/desensitize/mask"
	"github.com/opdomain/opdomain/desensitize/redact"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// What a step may do beside the operations.
const (
	Drop = "drop" // 不提供: the column is left out
	Pass = "pass" // 原样: only below grade 3 and not personal
)

// Step (脱敏步骤) is what happens to one column. The operations and their parameters:
//
//	drop, pass                        no parameters
//	keep         text                 first, last; mark, width
//	pattern      text                 patterns; mark, width
//	email        text                 first, hide_domain; mark, width
//	address, plate, card, mobile, resident-id   text; mark, width
//	name         text                 keep: surname (default) or last; mark, width
//	truncate     text                 length
//	redact       any                  no parameters: null
//	constant     any                  value, written as in a table
//	round        int, money, number   to: a unit as written, e.g. 1000 yuan; down
//	bucket       int, money, number, date   edges as written; the column becomes text
//	date         date                 to: year, quarter, month or week
//	token        text, int            key: 32 hexadecimal digits, equal for equal values under one key; not reversible
//	token-block  text                 key: the same, reversible, for values of at most a block
//	token-id     text                 key, region: 0, 2, 4 or 6 digits kept, birth: kept; a resident identity number again
//	token-card, token-mobile   text   key, prefix: digits kept; a number of the same form again
//	token-text   text                 key, alphabet, shortest, longest: a text of the same alphabet and length again
//	generalize   text, int, date      hierarchy, level from 1; the column becomes text; a value that the hierarchy does not hold becomes *, counted failed
//	redact-text  text                 confidence, words: identifiers, names and addresses inside free text
//	date-shift   date                 key, days: moved by up to so many days, a subject's dates all alike
//	noise        int, money, number   law: laplace, gauss or uniform; scale, step as written
//	limit        int, money, number   bottom, top as written, or one of them: what is beyond becomes the bound (top and bottom coding)
//	micro        int, money, number   k, 3 to 1000: the mean of at least k rows with near values, of the whole column
//	pram         text                 categories; stay, the probability that one stays, the others alike, or matrix, a row of probabilities for each
//	shuffle      any                  no parameters: the column's values change places; not the subject's column
//
// On a column in which direct identifiers were found (resident identity numbers, mobiles, cards, passports, names …) only drop, redact,
// constant, the masks that are made for them, tokens, and keep and pattern that show at most half
// of the shortest form are taken; on one of texts with identifiers in them redact-text too, without confidence, which no sensitive
// column takes. What keep to truncate, tokens, generalize or limit leave as it was on a sensitive column is hidden and counted failed.
//
// Numbers in the plan are texts, written as in a table. noise, pram and shuffle, and the plan's sample, draw from a key: see
// Options.Seed. micro and shuffle read their columns twice: a micro column has at most noise.MaxDistinct different values,
// shuffled columns have at most MaxHeld bytes together.
type Step struct {
	Column string `yaml:"column" json:"column"`
	Op     string `yaml:"op" json:"op"`

	First      int      `yaml:"first,omitempty" json:"first,omitempty"`
	Last       int      `yaml:"last,omitempty" json:"last,omitempty"`
	Mark       string   `yaml:"mark,omitempty" json:"mark,omitempty"`
	Width      int      `yaml:"width,omitempty" json:"width,omitempty"`
	Patterns   []string `yaml:"patterns,omitempty" json:"patterns,omitempty"`
	HideDomain bool     `yaml:"hide_domain,omitempty" json:"hide_domain,omitempty"`
	Keep       string   `yaml:"keep,omitempty" json:"keep,omitempty"`
	Length     int      `yaml:"length,omitempty" json:"length,omitempty"`
	Value      *string  `yaml:"value,omitempty" json:"value,omitempty"`
	To         string   `yaml:"to,omitempty" json:"to,omitempty"`
	Down       bool     `yaml:"down,omitempty" json:"down,omitempty"`
	Edges      []string `yaml:"edges,omitempty" json:"edges,omitempty"`

	Key        string   `yaml:"key,omitempty" json:"key,omitempty"` // name of a key
	Region     int      `yaml:"region,omitempty" json:"region,omitempty"`
	Birth      bool     `yaml:"birth,omitempty" json:"birth,omitempty"`
	Prefix     int      `yaml:"prefix,omitempty" json:"prefix,omitempty"`
	Alphabet   string   `yaml:"alphabet,omitempty" json:"alphabet,omitempty"`
	Shortest   int      `yaml:"shortest,omitempty" json:"shortest,omitempty"`
	Longest    int      `yaml:"longest,omitempty" json:"longest,omitempty"`
	Hierarchy  string   `yaml:"hierarchy,omitempty" json:"hierarchy,omitempty"` // of the plan's own, a built-in (area, town, icd10, industry, date, age:5,10,20) or one beside the plan
	Level      int      `yaml:"level,omitempty" json:"level,omitempty"`
	Confidence int      `yaml:"confidence,omitempty" json:"confidence,omitempty"`
	Words      []string `yaml:"words,omitempty" json:"words,omitempty"`
	Days       int      `yaml:"days,omitempty" json:"days,omitempty"`
	Law        string   `yaml:"law,omitempty" json:"law,omitempty"`
	Scale      string   `yaml:"scale,omitempty" json:"scale,omitempty"`
	Step       string   `yaml:"step,omitempty" json:"step,omitempty"`
	Bottom     string   `yaml:"bottom,omitempty" json:"bottom,omitempty"`
	Top        string   `yaml:"top,omitempty" json:"top,omitempty"`
	K          int      `yaml:"k,omitempty" json:"k,omitempty"`

	Categories []string   `yaml:"categories,omitempty" json:"categories,omitempty"`
	Stay       string     `yaml:"stay,omitempty" json:"stay,omitempty"`
	Matrix     [][]string `yaml:"matrix,omitempty" json:"matrix,omitempty"`
}

// parameters lists what an operation takes beside column and op; false for an unknown operation.
func parameters(op string) ([]string, bool) {
	switch op {
	case Drop, Pass, "redact", "shuffle":
		return nil, true
	case "keep":
		return []string{"first", "last", "mark", "width"}, true
	case "pattern":
		return []string{"patterns", "mark", "width"}, true
	case "email":
		return []string{"first", "hide_domain", "mark", "width"}, true
	case "address", "plate", "card", "mobile", "resident-id":
		return []string{"mark", "width"}, true
	case "name":
		return []string{"keep", "mark", "width"}, true
	case "truncate":
		return []string{"length"}, true
	case "constant":
		return []string{"value"}, true
	case "round":
		return []string{"to", "down"}, true
	case "bucket":
		return []string{"edges"}, true
	case "date":
		return []string{"to"}, true
	case "token", "token-block":
		return []string{"key"}, true
	case "token-id":
		return []string{"key", "region", "birth"}, true
	case "token-card", "token-mobile":
		return []string{"key", "prefix"}, true
	case "token-text":
		return []string{"key", "alphabet", "shortest", "longest"}, true
	case "generalize":
		return []string{"hierarchy", "level"}, true
	case "redact-text":
		return []string{"confidence", "words"}, true
	case "date-shift":
		return []string{"key", "days"}, true
	case "noise":
		return []string{"law", "scale", "step"}, true
	case "limit":
		return []string{"bottom", "top"}, true
	case "micro":
		return []string{"k"}, true
	case "pram":
		return []string{"categories", "stay", "matrix"}, true
	}
	return nil, false
}

// stray gives the parameters of s that its operation does not take.
func (s Step) stray(takes []string) []string {
	b, err := json.Marshal(s)
	var set map[string]any
	if err == nil {
		err = json.Unmarshal(b, &set)
	}
	if err != nil {
		panic("desensitize: step: " + err.Error())
	}
	delete(set, "column")
	delete(set, "op")
	return slices.DeleteFunc(slices.Sorted(maps.Keys(set)), func(k string) bool { return slices.Contains(takes, k) })
}

// style gives the marks of a text operation.
func (s Step) style() (mask.Style, error) {
	out := mask.Style{Width: s.Width}
	if s.Mark != "" {
		r, n := utf8.DecodeRuneInString(s.Mark)
		if n != len(s.Mark) {
			return out, errors.New("a mark is one of " + mask.Marks)
		}
		out.Mark = r
	}
	return out, nil
}

// operation makes what s names for a column. Its error's text is the rule that is broken.
func (s Step) operation(c catalog.Column, o Options) (Operation, error) {
	if strings.HasPrefix(s.Op, "token") {
		return s.tokens(o)
	}
	style, err := s.style()
	if err != nil {
		return nil, err
	}
	switch s.Op {
	case "keep":
		return made(mask.Keep(s.First, s.Last, style))
	case "pattern":
		return made(mask.Pattern(s.Patterns, style))
	case "email":
		return made(mask.Email(s.First, s.HideDomain, style))
	case "address":
		return made(mask.Address(style))
	case "plate":
		return made(mask.Plate(style))
	case "card":
		return made(mask.Card(style))
	case "mobile":
		return made(mask.Mobile(style))
	case "resident-id":
		return made(mask.ResidentID(style))
	case "name":
		part := mask.NamePart(s.Keep)
		if part == "" {
			part = mask.Surname
		}
		return made(mask.Name(part, style))
	case "truncate":
		return made(mask.Truncate(s.Length))
	case "redact":
		return mask.Redact(), nil
	case "constant":
		return s.constant(c)
	case "round":
		unit, err := stored(c, s.To)
		if err != nil {
			return nil, err
		}
		return made(mask.Round(unit, s.Down))
	case "bucket":
		return s.bucket(c)
	case "date":
		return made(mask.TruncateDate(mask.DatePart(s.To)))
	case "generalize":
		return s.generalized(o)
	case "limit":
		return s.limited(c)
	case "redact-text":
		return made(redact.New(redact.Rule{Confidence: s.Confidence, Words: s.Words}))
	}
	return nil, fmt.Errorf("no operation of this name")
}

// made keeps a nil pointer from becoming an Operation.
func made[T Operation](op T, err error) (Operation, error) {
	if err != nil {
		return nil, err
	}
	return op, nil
}

func (s Step) constant(c catalog.Column) (Operation, error) {
	if s.Value == nil {
		return nil, errors.New("a constant has a value")
	}
	v := *s.Value
	switch c.Type {
	case catalog.Text:
		return made(mask.ConstantText(v))
	case catalog.Bool:
		b, err := strconv.ParseBool(v)
		if err != nil {
			return nil, errors.New("the value is true or false")
		}
		return mask.ConstantBool(b), nil
	case catalog.Date:
		d, err := day(v)
		if err != nil {
			return nil, err
		}
		return mask.ConstantDate(d), nil
	}
	n, err := stored(c, v)
	if err != nil {
		return nil, err
	}
	return mask.ConstantInt(n), nil
}

func (s Step) bucket(c catalog.Column) (Operation, error) {
	if c.Type == catalog.Date {
		var days []arrow.Date32
		for _, e := range s.Edges {
			d, err := day(e)
			if err != nil {
				return nil, err
			}
			days = append(days, d)
		}
		return made(mask.BucketDates(days))
	}
	var edges []int64
	for _, e := range s.Edges {
		n, err := stored(c, e)
		if err != nil {
			return nil, err
		}
		edges = append(edges, n)
	}
	return made(mask.Bucket(edges, scaleOf(c)))
}

func scaleOf(c catalog.Column) int {
	switch c.Type {
	case catalog.Money:
		return 2
	case catalog.Number:
		return c.Scale
	}
	return 0
}

// stored reads a number as people write it into the column's stored unit: yuan into fen, decimals by the scale.
func stored(c catalog.Column, text string) (int64, error) {
	scale := scaleOf(c)
	whole, part, dotted := strings.Cut(text, ".")
	if len(part) > scale || dotted && part == "" {
		return 0, fmt.Errorf("a number of this column has at most %d decimals", scale)
	}
	n, err := strconv.ParseInt(whole+part+strings.Repeat("0", scale-len(part)), 10, 64)
	if err != nil || strings.HasPrefix(text, "+") || whole == "" || whole == "-" {
		return 0, errors.New("a number is written in plain decimals, e.g. 1000 or -0.5, and fits 64 bits in the column's unit")
	}
	return n, nil
}

func day(text string) (arrow.Date32, error) {
	t, err := time.Parse(time.DateOnly, text)
	if err != nil {
		return 0, errors.New("a date is written 2006-01-02")
	}
	return arrow.Date32FromTime(t), nil
}

// rule gives the text of a broken rule without the operation's prefix.
func rule(err error) string {
	var e *sandbox.Error
	if errors.As(err, &e) {
		if e.Object != "" && e.Object != "column" {
			return e.Object + ": " + e.Detail
		}
		return e.Detail
	}
	return err.Error()
}
