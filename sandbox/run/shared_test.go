package run

import (
	"slices"
	"testing"

	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// TestSharedLabels: a value has the label that its column's grouping gives it, of those that are known beforehand; groupings without such are none.
func TestSharedLabels(t *testing.T) {
	text := &catalog.Column{Name: "c", Type: catalog.Text, Nullable: true}
	bin := func(k catalog.BinKind) *catalog.Bin {
		return &catalog.Bin{Kind: k, Groups: []catalog.Group{{Label: "a", Codes: []string{"A", "B"}}, {Label: "b", Codes: []string{"AB"}}, {Label: "a", Codes: []string{"C"}}}}
	}
	labels, ok := Labels(text, bin(catalog.Codes))
	if !ok || !slices.Equal(labels, []string{"a", "b", catalog.Other, catalog.Missing}) {
		t.Errorf("%v", labels)
	}
	if labels, ok := Labels(&catalog.Column{Type: catalog.Bool}, nil); !ok || !slices.Equal(labels, []string{"false", "true"}) {
		t.Errorf("%v", labels)
	}
	for _, x := range []struct {
		c *catalog.Column
		b *catalog.Bin
	}{{text, nil}, {&catalog.Column{Type: catalog.Int}, &catalog.Bin{Kind: catalog.Amount, Edges: []int64{1}}}} {
		if _, ok := Labels(x.c, x.b); ok {
			t.Error("labels that are not known beforehand")
		}
	}
	for kind, want := range map[catalog.BinKind][]string{catalog.Codes: {"a", "b", catalog.Other, "a", catalog.Missing}, catalog.Prefix: {"a", "b", "b", "a", catalog.Missing}} {
		s := &Shared{Bin: bin(kind)}
		for i, v := range []string{"A", "AB", "ABC", "C", ""} {
			if got := s.label(v); got != want[i] {
				t.Errorf("%s: value %d has the label %s, want %s", kind, i, got, want[i])
			}
		}
	}
}

// TestSharedAmounts: amounts come out in their smallest unit, and what has no place in the protocol is none.
func TestSharedAmounts(t *testing.T) {
	for _, x := range []struct {
		text     string
		decimals int
		n        int64
		ok       bool
	}{{"", 2, 0, true}, {"12.34", 2, 1234, true}, {"0.05", 2, 5, true}, {"7", 0, 7, true}, {"10995116277.75", 2, join.MaxAmount, true}, {"10995116277.76", 2, 0, false},
		{"-1.00", 2, 0, false}, {"1.5", 2, 0, false}, {"1", 2, 0, false}, {"1.50", 0, 0, false}, {".50", 2, 0, false}, {"1e5", 0, 0, false}, {"99999999999999999999999", 0, 0, false}} {
		if n, ok := whole(x.text, x.decimals); ok != x.ok || ok && n != x.n {
			t.Errorf("%q: %d %t", x.text, n, ok)
		}
	}
}
