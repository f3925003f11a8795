package egress

import (
	"bytes"
	"errors"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

func overShares() SharedAnswer {
	return SharedAnswer{Dimensions: []string{"trade", "support"}, Measures: []sandbox.Measure{{Name: "people", Func: sandbox.Subjects}, {Name: "repaid", Func: sandbox.Sum, Unit: "元", Scale: 2}},
		Bounds: []int64{1 << 14, 1 << 50}, Inputs: []sandbox.InputVersion{{Dataset: "loans", Version: 1}, {Dataset: "subsidies", Version: 3}},
		Rules: Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10}, Evidence: map[string]string{"plan": "abcd"},
		Cells: []SharedCell{{Labels: []string{"farming", "none"}, Shown: true, Values: []int64{20, 5000}}, {Labels: []string{"farming", "subsidised"}, Shown: true, Values: []int64{30, 9000}},
			{Labels: []string{"retail", "none"}, Shown: true, Values: []int64{15, 700}}, {Labels: []string{"retail", "subsidised"}}}}
}

// TestShared: what the bits hide has no number in the outgoing bytes, what they show has; it stands before reviewers with a flag, so that no template releases it.
func TestShared(t *testing.T) {
	a := overShares()
	c, err := CheckShared("q-1", a, a.Rules)
	if err != nil {
		t.Fatal(err)
	}
	r, err := DecodeResult(c.Result)
	if err != nil || len(r.Rows) != 4 || !r.Rows[3].Suppressed || r.Rows[3].Values != nil || *r.Rows[1].Values[1] != 9000 || c.Suppressed != 1 || c.Published != 3 {
		t.Fatalf("%v", err)
	}
	if !slices.Equal(c.Rules, []string{RuleShared}) || c.Cells[3].Rules == nil || c.Cells[0].Rules != nil {
		t.Error("a hidden cell says by what")
	}
	if len(c.Flags) != 2 || c.Flags[0].Rule != FlagShared || c.Flags[1].Rule != FlagClass || c.Flags[1].Places != 2 {
		t.Errorf("flags: %v", c.Flags)
	}
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	sub := Submission{Question: "q-1", Author: "o", Recipient: "o", Now: now, Expires: now.Add(time.Hour), Params: a.Rules}
	v := Submit(sub, c)
	if v.State != InReview || !bytes.Contains(v.Evidence, []byte("abcd")) || !bytes.Equal(v.Result, c.Result) || v.MilliBits != c.MilliBits {
		t.Errorf("it stands at %s", v.State)
	}
	if strings.Contains(a.String()+c.String(), "9000") {
		t.Error("a number prints")
	}
}

// TestSharedMeasures: of every function whose rules are decided over shares a value leaves as from the engine: below zero where it may be, a quantile
// in two digits, none where there is none; a prior that was held to more strictly passes.
func TestSharedMeasures(t *testing.T) {
	a := overShares()
	a.Measures = append(a.Measures, sandbox.Measure{Name: "mean", Func: sandbox.Mean}, sandbox.Measure{Name: "median", Func: sandbox.Quantile}, sandbox.Measure{Name: "r", Func: sandbox.Correlation, Scale: 6})
	a.Bounds, a.Signed = append(a.Bounds, math.MaxInt64, math.MaxInt64, 1_000_000), []bool{false, false, true, true, true}
	a.Rules.Prior = 50
	for i := range a.Cells {
		if a.Cells[i].Shown {
			a.Cells[i].Values = append(a.Cells[i].Values, -7, 12345, -999_999)
		}
	}
	a.Cells[0].None = []bool{false, false, false, false, true}
	p := a.Rules
	p.Prior = 60
	c, err := CheckShared("q-1", a, p)
	if err != nil {
		t.Fatal(err)
	}
	r, err := DecodeResult(c.Result)
	if err != nil || *r.Rows[1].Values[2] != -7 || *r.Rows[1].Values[3] != 12000 || *r.Rows[1].Values[4] != -999_999 || r.Rows[0].Values[4] != nil {
		t.Errorf("%v", err)
	}
	plain := overShares()
	less, err := CheckShared("q-1", plain, plain.Rules)
	if err != nil || c.MilliBits < less.MilliBits+2*64_000 {
		t.Errorf("%d bits, %v", c.MilliBits, err)
	}
}

// TestSharedRefused: an answer that was held to less than the gate asks, or that no run gives, does not come before reviewers.
func TestSharedRefused(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*SharedAnswer, *Params)
		kind   sandbox.Kind
	}{
		"fewer people":  {func(_ *SharedAnswer, p *Params) { p.MinSubjects = 11 }, sandbox.Withheld},
		"more dominant": {func(_ *SharedAnswer, p *Params) { p.DominanceN = 3 }, sandbox.Withheld},
		"share":         {func(_ *SharedAnswer, p *Params) { p.DominanceK = 80 }, sandbox.Withheld},
		"p":             {func(_ *SharedAnswer, p *Params) { p.PPercent = 15 }, sandbox.Withheld},
		"prior":         {func(_ *SharedAnswer, p *Params) { p.Prior = 50 }, sandbox.Withheld},
		"bits":          {func(_ *SharedAnswer, p *Params) { p.MaxBits = 100 }, sandbox.Withheld},
		"identifier":    {func(a *SharedAnswer, _ *Params) { a.Cells[3].Labels = []string{"retail", "电话 13800138000"} }, sandbox.Withheld},
		"no people":     {func(a *SharedAnswer, _ *Params) { a.People = 1 }, sandbox.Invalid},
		"a least value": {func(a *SharedAnswer, _ *Params) { a.Measures[1].Func = sandbox.Min }, sandbox.Invalid},
		"a regression":  {func(a *SharedAnswer, _ *Params) { a.Measures[1].Func = sandbox.Linear }, sandbox.Invalid},
		"signs":         {func(a *SharedAnswer, _ *Params) { a.Signed = []bool{true} }, sandbox.Invalid},
		"far below zero": {func(a *SharedAnswer, _ *Params) {
			a.Signed, a.Cells[0].Values[1] = []bool{false, true}, -1<<50-1
		}, sandbox.Invalid},
		"hidden with numbers": {func(a *SharedAnswer, _ *Params) { a.Cells[3].Values = []int64{3, 1} }, sandbox.Invalid},
		"few and shown":       {func(a *SharedAnswer, _ *Params) { a.Cells[0].Values[0] = 9 }, sandbox.Invalid},
		"over its bound":      {func(a *SharedAnswer, _ *Params) { a.Cells[0].Values[0] = 1<<14 + 1 }, sandbox.Invalid},
		"negative":            {func(a *SharedAnswer, _ *Params) { a.Cells[0].Values[1] = -1 }, sandbox.Invalid},
		"unsorted":            {func(a *SharedAnswer, _ *Params) { a.Cells[0], a.Cells[1] = a.Cells[1], a.Cells[0] }, sandbox.Invalid},
		"twice":               {func(a *SharedAnswer, _ *Params) { a.Cells[1].Labels = a.Cells[0].Labels }, sandbox.Invalid},
		"label":               {func(a *SharedAnswer, _ *Params) { a.Cells[3].Labels = []string{"retail", "x  y"} }, sandbox.Invalid},
		"loose rules":         {func(a *SharedAnswer, _ *Params) { a.Rules.MinSubjects = 1 }, sandbox.Invalid},
		"no inputs":           {func(a *SharedAnswer, _ *Params) { a.Inputs = nil }, sandbox.Invalid},
	} {
		a, p := overShares(), overShares().Rules
		c.change(&a, &p)
		got, err := CheckShared("q-1", a, p)
		if got != nil || !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := CheckShared("q-1", overShares(), Params{}); !errors.Is(err, sandbox.Invalid) {
		t.Error("without thresholds")
	}
}

// TestSharedNothingListed: an answer of which the conditions list no cell is a result without rows, as from the engine.
func TestSharedNothingListed(t *testing.T) {
	a := overShares()
	a.Cells, a.Shown = nil, sandbox.Shown{AtLeast: []sandbox.Least{{Measure: "people", Value: 1000}}}
	c, err := CheckShared("q-1", a, a.Rules)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := DecodeResult(c.Result); err != nil || len(r.Rows) != 0 || c.Published != 0 {
		t.Errorf("%v", err)
	}
}
