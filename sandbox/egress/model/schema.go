package model

import (
	"fmt"
	"math"
	"slices"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"

	"github.com/opdomain/opdomain/sandbox"
)

// Bounds of a schema and of a model.
const (
	MaxFeatures = 128
	MaxLevels   = 64   // of a category
	MaxSteps    = 1024 // of a number
	MaxTrees    = 256
	MaxNodes    = 8192 // of all trees together
	MaxDepth    = 32
	MaxBytes    = 4 << 20
	maxName     = 64
)

// coefficientBound is how far coefficients, weights of evidence and leaf values go: ±100.
const coefficientBound = Fixed(100 * one)

// LabelForm (标签形式) is what a label is.
type LabelForm string

// Forms of a label.
const (
	Binary LabelForm = "binary" // 二分类
	Count  LabelForm = "count"  // 计数
	Amount LabelForm = "amount" // 金额或数值
)

// Label (预测目标) is what is predicted. Of a binary one Levels holds the value of no event and that of the event; a count is clipped at
// High; an amount is clipped to Low … High and enters as its share of that range, for gamma as its share of High.
type Label struct {
	Name   string    `json:"name"`
	Form   LabelForm `json:"form"`
	Levels []string  `json:"levels,omitempty"`
	Low    Fixed     `json:"low,omitempty"`
	High   Fixed     `json:"high,omitempty"`
}

// Feature (特征) is a registered input: a category with its levels, or a number from Low to High, clipped, on a grid of Step. Numbers enter
// as their share of the range, categories by an indicator of each level but the first.
type Feature struct {
	Name   string   `json:"name"`
	Levels []string `json:"levels,omitempty"`
	Low    Fixed    `json:"low,omitempty"`
	High   Fixed    `json:"high,omitempty"`
	Step   Fixed    `json:"step,omitempty"`
}

func (f Feature) category() bool { return len(f.Levels) > 0 }

// steps is how many values a feature has on its grid.
func (f Feature) steps() int {
	if f.category() {
		return len(f.Levels)
	}
	return int((f.High - f.Low) / f.Step)
}

// Schema (登记的建模结构) is what a model may be about: in a domain it is registered before training, and names of a model are the schema's.
type Schema struct {
	Label    Label     `json:"label"`
	Features []Feature `json:"features"`
}

// Validate holds a schema to its bounds.
func (s Schema) Validate() error {
	if len(s.Features) == 0 || len(s.Features) > MaxFeatures {
		return invalid("features", fmt.Sprintf("1 to %d features", MaxFeatures))
	}
	if !plainName(s.Label.Name) {
		return invalid("label.name", nameRule)
	}
	switch l := s.Label; l.Form {
	case Binary:
		if len(l.Levels) != 2 || !plainNames(l.Levels) || l.Low != 0 || l.High != 0 {
			return invalid("label.levels", "the value without the event and the one with it, two names")
		}
	case Count:
		if l.Levels != nil || l.Low != 0 || l.High < one || l.High%one != 0 {
			return invalid("label.high", "a count is clipped at a whole number of at least 1")
		}
	case Amount:
		if l.Levels != nil || l.Low >= l.High {
			return invalid("label.high", "an amount is clipped to a range from low to high")
		}
	default:
		return invalid("label.form", "binary, count or amount")
	}
	names := map[string]bool{s.Label.Name: true}
	for i, f := range s.Features {
		at := fmt.Sprintf("features[%d]", i)
		if !plainName(f.Name) {
			return invalid(at+".name", nameRule)
		}
		if names[f.Name] {
			return invalid(at+".name", "every feature once, and none is the label")
		}
		names[f.Name] = true
		switch {
		case f.category():
			if len(f.Levels) < 2 || len(f.Levels) > MaxLevels || !plainNames(f.Levels) || f.Low != 0 || f.High != 0 || f.Step != 0 {
				return invalid(at+".levels", fmt.Sprintf("2 to %d levels, each once, and no range", MaxLevels))
			}
		case f.Step <= 0 || f.High <= f.Low || (f.High-f.Low)%f.Step != 0 || (f.High-f.Low)/f.Step < 2 || (f.High-f.Low)/f.Step > MaxSteps:
			return invalid(at, fmt.Sprintf("a number has a range of 2 to %d whole steps, a category its levels", MaxSteps))
		}
	}
	return nil
}

// equal says whether two schemas are one.
func (s Schema) equal(o Schema) bool {
	label := func(l Label) Label { l.Levels = nil; return l }
	return fmt.Sprint(label(s.Label)) == fmt.Sprint(label(o.Label)) && slices.Equal(s.Label.Levels, o.Label.Levels) &&
		slices.EqualFunc(s.Features, o.Features, func(a, b Feature) bool {
			return a.Name == b.Name && a.Low == b.Low && a.High == b.High && a.Step == b.Step && slices.Equal(a.Levels, b.Levels)
		})
}

// feature gives a feature's index by name, or -1.
func (s Schema) feature(name string) int {
	return slices.IndexFunc(s.Features, func(f Feature) bool { return f.Name == name })
}

const nameRule = "a name is 1 to 64 bytes of letters, digits and ASCII signs, in its one Unicode form"

// plainName says whether a name has the one form in which names leave.
func plainName(s string) bool {
	if s == "" || len(s) > maxName || !utf8.ValidString(s) || !norm.NFC.IsNormalString(s) || s[0] == ' ' || s[len(s)-1] == ' ' {
		return false
	}
	last := rune(0)
	for _, r := range s {
		if r > unicode.MaxASCII && !unicode.IsLetter(r) && !unicode.IsDigit(r) || r < ' ' || r == 0x7f || r == ' ' && last == ' ' {
			return false
		}
		last = r
	}
	return true
}

func plainNames(all []string) bool {
	seen := map[string]bool{}
	for _, s := range all {
		if !plainName(s) || seen[s] {
			return false
		}
		seen[s] = true
	}
	return true
}

func log2(n int) float64 { return math.Log2(float64(max(n, 1))) }

func invalid(at, rule string) error {
	return &sandbox.Error{Op: "model", Kind: sandbox.Invalid, Object: at, Detail: rule}
}
