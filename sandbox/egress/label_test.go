package egress

import (
	"errors"
	"math"
	"slices"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// How people write a number does not hide it, and what only looks like one is let through.
func TestIdentifiersHoweverWritten(t *testing.T) {
	for label, want := range map[string]bool{
		"13800138000":             true,
		"138-0013-8000":           true,
		"138 00138000":            true,
		"1380013 8000":            true,
		"1 3 8 0 0 1 3 8 0 0 0":   true,
		"138\u200b0013\u200b8000": true, // zero width
		"138\u00a00013\u00a08000": true, // no-break space
		"138–0013–8000":           true, // en dash
		"１３８　００１３　８０００":           true,
		"+8613800138000":          true,
		"+86 138 0013 8000":       true,
		"0086-13800138000":        true,
		"8613800138000":           true,
		"13800138000 2024":        true,
		"2024 13800138000":        true,
		"电话13800138000转8":         true,
		"110105_19491231_002x":    true,
		"１１０１０５１９４９１２３１００２ｘ": true,
		"15000-200000":             false, // a range of amounts
		"15000—200000元":            false,
		"138001380001":             false, // twelve digits
		"913800138000":             false,
		"12800138000":              false,
		"110105194912310021":       false, // wrong check character
		"11010519491331002X":       false, // no such month
		"15,000,200,000":           false,
		"2026-01-01/2026-12-31":    false,
		"44030600000000001 440306": false,
		"90岁及以上":                   false,
		"I10 原发性高血压":               false,
		"":                         false,
	} {
		if got := identifier(label); got != want {
			t.Errorf("%q: %v, want %v", label, got, want)
		}
	}
}

// Bytes that are no text would leave as something else than what was reviewed.
func TestOnlyTextLeaves(t *testing.T) {
	a := claims(t, people(0, 12, "a\xff")).answer()
	if _, err := Check("q-1", a, limits); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a label: %v", err)
	}
	if _, err := EncodeRecord("q-1", []string{"f"}, []string{"\xff"}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a value: %v", err)
	}
	if _, err := EncodeRecord("q-1", []string{"\xff"}, []string{"v"}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a field: %v", err)
	}
}

// A number that is not what its contributors add is never judged, let alone published.
func TestValuesFollowFromTheEvidence(t *testing.T) {
	for m := range measures {
		a := claims(t, people(0, 12, "a")).answer()
		a.Cells[0].Values[m]++
		if _, err := Check("q-1", a, limits); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("measure %d: %v", m, err)
		}
	}
	for _, c := range []struct {
		x     []int64
		total int64
		want  bool
	}{
		{nil, 0, true}, {nil, 1, false}, {[]int64{1, -1}, 0, true}, {[]int64{math.MaxInt64, 1, -1}, math.MaxInt64, true},
		{[]int64{math.MaxInt64, 1}, math.MinInt64, false}, {[]int64{math.MinInt64, math.MinInt64}, 0, false}, {[]int64{math.MinInt64, -1, 1}, math.MinInt64, true},
	} {
		if got := addUp(c.x, c.total); got != c.want {
			t.Errorf("%v come to %d: %v", c.x, c.total, got)
		}
	}
}

// What one person adds over several cells does not wrap round to a small amount.
func TestMergedAmountsStayLarge(t *testing.T) {
	all := slices.Concat(people(0, 12, "a"), people(0, 12, "b"))
	all[0].amount, all[12].amount = yuan(math.MaxInt64/2+1000), yuan(math.MaxInt64/2+1000)
	a := claims(t, all).answer()
	if g := of(a, []int{0, 1}); g.parts[2] == nil || slices.Max(g.parts[2]) != math.MaxInt64 || !slices.Contains(judge(g, a.Measures, limits), RuleDominance) {
		t.Error("a sum wraps")
	}
	for _, c := range [][3]int64{{1, 2, 3}, {math.MaxInt64, 1, math.MaxInt64}, {math.MinInt64, -1, math.MinInt64}, {math.MaxInt64, math.MinInt64, -1}, {math.MinInt64, math.MinInt64, math.MinInt64}} {
		if got := plus(c[0], c[1]); got != c[2] {
			t.Errorf("%d + %d = %d", c[0], c[1], got)
		}
	}
}

// An empty list has one encoding.
func TestNullIsNoResult(t *testing.T) {
	for _, s := range []string{
		`{"format":"opdomain-result/1","question":"q-1","dimensions":null,"measures":[{"name":"m","func":"count","scale":0}],"rows":[]}`,
		`{"format":"opdomain-result/1","question":"q-1","dimensions":[],"measures":[{"name":"m","func":"count","scale":0}],"rows":null}`,
		`{"format":"opdomain-result/1","question":"q-1","dimensions":[],"measures":[{"name":"m","func":"count","scale":0}],"rows":[{"labels":null,"values":[1]}]}`,
	} {
		if _, err := DecodeResult([]byte(s)); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", s, err)
		}
	}
	if _, err := DecodeResult([]byte(`{"format":"opdomain-result/1","question":"q-1","dimensions":[],"measures":[{"name":"m","func":"count","scale":0}],"rows":[]}`)); err != nil {
		t.Error(err)
	}
}

// An entry is read in the one form it is written in.
func TestEntryHasOneEncoding(t *testing.T) {
	e := claims(t, people(0, 12, "a")).entry("q-1")
	b, err := e.Encode()
	if err != nil || len(b) != 4096 {
		t.Fatal(len(b), err)
	}
	for name, change := range map[string]func([]byte) []byte{
		"padding":        func(b []byte) []byte { b[len(b)-1] = 1; return b },
		"longer padding": func(b []byte) []byte { return append(b, make([]byte, 4096)...) },
		"no padding":     func(b []byte) []byte { return b[:len(b)-1] },
		"unsorted":       func(b []byte) []byte { n := 4 + int(b[2])<<8 + int(b[3]); b[n] = 0xff; return b },
	} {
		if _, err := DecodeEntry(change(slices.Clone(b))); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzDecodeRecord(f *testing.F) {
	b, err := EncodeRecord("q-1", []string{"icd10", "amount"}, []string{"J18", "<12.50>"})
	if err != nil {
		f.Fatal(err)
	}
	for _, s := range []string{string(b), "", "{}", "null", string(b[:20]), `{"format":"opdomain-record/1","question":"q","fields":["a"],"values":["\ufffd"]}`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		r, err := DecodeRecord(b)
		if err != nil {
			return
		}
		again, err := EncodeRecord(r.Question, r.Fields, r.Values)
		if err != nil || string(again) != string(b) {
			t.Fatal("a record has two encodings")
		}
	})
}

// TestLabelsLeaveInOneForm: whoever writes a label chooses no bytes beside what is read.
func TestLabelsLeaveInOneForm(t *testing.T) {
	for in, want := range map[string]string{"福田": "福田", "a b": "a b", " a\u3000 b\u00a0": "a b", "e\u0301": "é", "a\u200bb\ufeff": "ab", "a\ufe0f": "a", "a\x00b\u00ad": "ab", "（福田）": "（福田）", "\u202ea": "a", "\U000e0041x": "x"} {
		if got := Label(in); got != want || Label(got) != got {
			t.Errorf("%+q: %+q", in, got)
		}
	}
	plain := claims(t, slices.Concat(people(0, 12, "a"), people(20, 3, "e"), people(40, 13, "z"))).check("q-1")
	odd := claims(t, slices.Concat(people(0, 12, "\u200ba"), people(20, 3, "e"), people(40, 13, "z "))).check("q-1")
	if string(plain.Result) != string(odd.Result) {
		t.Error("labels that read the same leave as other bytes")
	}
	if _, err := Check("q-1", claims(t, slices.Concat(people(0, 12, "a"), people(20, 13, "a\u200b"))).answer(), limits); sandbox.KindOf(err) != sandbox.Withheld {
		t.Errorf("two groups that read the same: %v", err)
	}
}
