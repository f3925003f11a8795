package sandbox

import (
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func TestParseDecimal(t *testing.T) {
	for _, c := range []struct {
		in    string
		scale int
		want  int64
		ok    bool
	}{
		{"0", 2, 0, true},
		{"12", 2, 1200, true},
		{"-3.5", 2, -350, true},
		{"+3.50", 2, 350, true},
		{"1.2300", 2, 123, true},
		{"92233720368547758.07", 2, math.MaxInt64, true},
		{"92233720368547758.08", 2, 0, false},
		{"1.234", 2, 0, false},
		{"49112.87100000001", 2, 0, false},
		{"", 2, 0, false},
		{"-", 2, 0, false},
		{".5", 2, 0, false},
		{"5.", 2, 0, false},
		{"1e3", 2, 0, false},
		{"1,000", 2, 0, false},
		{"--1", 2, 0, false},
		{"１", 2, 0, false},
	} {
		got, err := ParseDecimal(c.in, c.scale)
		if got != c.want || (err == nil) != c.ok {
			t.Errorf("ParseDecimal(%q, %d) = %d, %v", c.in, c.scale, got, err)
		}
		if err != nil && len(c.in) > 3 && strings.Contains(err.Error(), c.in) {
			t.Errorf("the error repeats the value: %v", err)
		}
		if err != nil && !errors.Is(err, Invalid) {
			t.Errorf("%v is not Invalid", err)
		}
	}
}

func TestFenRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		f := Fen(rapid.Int64Range(-math.MaxInt64, math.MaxInt64).Draw(t, "fen"))
		got, err := ParseYuan(f.String())
		if err != nil || got != f {
			t.Fatalf("ParseYuan(%s) = %d, %v", f, got, err)
		}
	})
	if s := Fen(math.MinInt64).String(); s != "-92233720368547758.08" {
		t.Errorf("smallest amount prints %s", s)
	}
}

func TestCheckID(t *testing.T) {
	for _, ok := range []string{"a", "7", "ds-claims.v1_x", strings.Repeat("a", 64)} {
		if err := CheckID("x", ok); err != nil {
			t.Errorf("%q: %v", ok, err)
		}
	}
	for _, bad := range []string{"", "-a", ".a", "A", "a/b", "a..b", "a b", "张", strings.Repeat("a", 65), "a\x00"} {
		if err := CheckID("x", bad); err == nil {
			t.Errorf("%q passed", bad)
		}
	}
}

func TestErrorKinds(t *testing.T) {
	inner := &Error{Op: "vault: open", Kind: Tampered, Object: "ds-claims", Detail: "chunk 3 fails authentication"}
	err := fmt.Errorf("run: %w", &Error{Op: "run", Kind: Unavailable, Err: inner})
	if !errors.Is(err, Tampered) || !errors.Is(err, Unavailable) || errors.Is(err, Denied) {
		t.Errorf("errors.Is does not follow the kinds of %v", err)
	}
	if KindOf(err) != Unavailable || KindOf(errors.New("x")) != Internal {
		t.Error("KindOf is not the outermost kind")
	}
	if got := inner.Error(); got != "vault: open ds-claims: tampered: chunk 3 fails authentication" {
		t.Error(got)
	}
}

func TestRawValuesPrintRedacted(t *testing.T) {
	p := Pseudonym{1, 2, 3}
	a := &Answer{Cells: []Cell{{Labels: []string{"secret-label"}, Values: []int64{424242}}}}
	for _, s := range []string{fmt.Sprint(p), fmt.Sprintf("%#v", p), fmt.Sprintf("%+v", p), fmt.Sprint(a), fmt.Sprintf("%+v", a)} {
		if strings.Contains(s, "010203") || strings.Contains(s, "1, 2, 3") || strings.Contains(s, "424242") || strings.Contains(s, "secret") {
			t.Errorf("prints %s", s)
		}
	}
}

func TestAffiliated(t *testing.T) {
	a, b, c := Party{ID: "a", Affiliates: []PartyID{"b"}}, Party{ID: "b"}, Party{ID: "c"}
	if !Affiliated(a, b) || !Affiliated(b, a) || !Affiliated(a, a) || Affiliated(a, c) || Affiliated(b, c) {
		t.Error("affiliation is declared by either side and by nothing else")
	}
}
