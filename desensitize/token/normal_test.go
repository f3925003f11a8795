package token

import (
	"bytes"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"golang.org/x/text/unicode/norm"
	"pgregory.net/rapid"
)

func tokensOf(t interface{ Fatal(...any) }, op interface {
	Apply(memory.Allocator, arrow.Array) (arrow.Array, error)
}, values ...string) []string {
	b := array.NewStringBuilder(memory.DefaultAllocator)
	b.AppendValues(values, nil)
	a := b.NewStringArray()
	out, err := op.Apply(memory.DefaultAllocator, a)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	for i := range out.Len() {
		all = append(all, out.ValueStr(i))
	}
	return all
}

func normalKey(t interface{ Fatal(...any) }) Key {
	k, err := NewKey(bytes.Repeat([]byte{7}, 32))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestNormalForms: values that people write in several ways have one token, in every position of a column.
func TestNormalForms(t *testing.T) {
	k := normalKey(t)
	keyed, err := NewKeyed(k)
	if err != nil {
		t.Fatal(err)
	}
	id, err := NewResidentID(k, Identity{Region: 2})
	if err != nil {
		t.Fatal(err)
	}
	mobile, err := NewMobile(k, 3)
	if err != nil {
		t.Fatal(err)
	}
	block, err := NewBlock(k)
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		what string
		op   interface {
			Apply(memory.Allocator, arrow.Array) (arrow.Array, error)
		}
		forms []string
	}{
		{"NFC and NFD", keyed, []string{"José", norm.NFD.String("José"), "José ", "\u3000José"}},
		{"identity numbers", keyed, []string{"11010519491231002X", "11010519491231002x", "１１０１０５１９４９１２３１００２ｘ", "11010519491231002X ", " 110105 19491231 002x", "110105-19491231-002X"}},
		{"identity numbers in format", id, []string{"11010519491231002X", "11010519491231002x", "１１０１０５１９４９１２３１００２Ｘ", "11010519491231002X\t"}},
		{"mobiles", mobile, []string{"13800138000", "１３８００１３８０００", " 13800138000"}},
		{"short texts", block, []string{"A-17", "Ａ－１７", "A-17\r"}},
		{"half-width kana", keyed, []string{"ガ", "ｶﾞ", "カ\u3099"}},
	} {
		got := tokensOf(t, c.op, append(c.forms, "other")...)
		for i := range c.forms {
			if got[i] != got[0] || got[i] == Masked {
				t.Errorf("%s: form %d has another token or none", c.what, i+1)
			}
		}
		if got[len(c.forms)] == got[0] {
			t.Errorf("%s: another value has the same token", c.what)
		}
	}
	if _, err := NewAlphabet(k, Decimal+" ", 8, 10); err == nil {
		t.Error("an alphabet with a space")
	}
}

// TestSameFormSameToken: the same after normalisation, the same token, and only then; a form is its own form.
func TestSameFormSameToken(t *testing.T) {
	keyed, err := NewKeyed(normalKey(t))
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(t *rapid.T) {
		values := rapid.SliceOfN(rapid.OneOf(rapid.String(), rapid.StringMatching(`[ \t　]?[0-9０-９Xxｘ]{0,20}[- ]?[0-9]{0,3}[xX]? ?`), rapid.StringMatching(`[a-eéｅ\x{301}\x{3099}ｶﾞ]{0,4}`)), 1, 12).Draw(t, "values")
		got := tokensOf(t, keyed, values...)
		for i, v := range values {
			n := Normal(v)
			if Normal(n) != n {
				t.Fatalf("the form of value %d is not its own form", i)
			}
			if tokensOf(t, keyed, n)[0] != got[i] {
				t.Fatalf("value %d and its form have two tokens", i)
			}
			for j, w := range values {
				if (Normal(w) == n) != (got[i] == got[j]) {
					t.Fatalf("values %d and %d: forms and tokens disagree", i, j)
				}
			}
		}
	})
	if Normal("\xff x ") != "\xff x " || strings.Contains(Normal(" a b "), "  ") {
		t.Error("not UTF-8 stays; spaces inside too")
	}
}
