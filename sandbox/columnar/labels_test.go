package columnar

import (
	"context"
	"encoding/binary"
	"errors"
	"slices"
	"strconv"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

// TestSortedTexts: in the order of their bytes, also texts that share long beginnings or differ in zero bytes alone.
func TestSortedTexts(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		shared := rapid.SampledFrom([]string{"", "key ", "a long beginning of all "}).Draw(t, "shared")
		names := rapid.SliceOfNDistinct(rapid.Map(rapid.SliceOfN(rapid.SampledFrom([]byte{0, 0, 'a', 0xff}), 0, 30), func(b []byte) string { return shared + string(b) }), 0, 900, rapid.ID[string]).Draw(t, "texts")
		want := slices.Sorted(slices.Values(names))
		for i, n := range sortedTexts(names, 3) {
			if names[n] != want[i] {
				t.Fatalf("text %d of %d: %q, want %q", i, len(names), names[n], want[i])
			}
		}
	})
}

// TestSortedManyTexts has enough to be sorted in parts.
func TestSortedManyTexts(t *testing.T) {
	var names []string
	for n := range 9000 {
		names = append(names, "shared "+strconv.Itoa(n*7919%9001), "shared "+strconv.Itoa(n*7919%9001)+" and longer")
	}
	names = append(names, "shared ", "shared \x00")
	want := slices.Sorted(slices.Values(names))
	for _, workers := range []int{1, 4} {
		for i, n := range sortedTexts(names, workers) {
			if names[n] != want[i] {
				t.Fatalf("text %d: %q, want %q", i, names[n], want[i])
			}
		}
	}
}

func TestSortKeyed(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		keys := rapid.SliceOfN(rapid.OneOf(rapid.Uint64Range(0, 5), rapid.Uint64()), 0, 1000).Draw(t, "keys")
		var v, want []keyed
		for i, k := range keys {
			v = append(v, keyed{k, uint32(i)})
		}
		want = slices.Clone(v)
		slices.SortStableFunc(want, func(a, b keyed) int {
			switch {
			case a.key < b.key:
				return -1
			case a.key > b.key:
				return 1
			}
			return 0
		})
		if got := sortKeyed(v, make([]keyed, len(v))); !slices.Equal(got, want) {
			t.Fatalf("%v, want %v", got, want)
		}
	})
}

// TestPartialLabelsStandOnce: an encoding that lists a label twice is none.
func TestPartialLabelsStandOnce(t *testing.T) {
	tables := visitTable(int64(1), int64(2))
	for n, row := range tables["visits"].rows {
		row["icd"] = []any{"J10", "J20"}[n]
		row["day"] = []any{int64(16100), int64(17100)}[n]
	}
	for _, d := range []query.Dimension{{Column: "v.beds", As: "d"}, {Column: "v.icd", As: "d"}, {Column: "v.day", Bin: "year", As: "d"}} {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		open := 0
		from := opener(mem, tables, []int{9}, &open)
		k, err := NewKernel(context.Background(), mem, plan(t, question(d)), Source{Open: from}, Limits{})
		if err != nil {
			t.Fatal(err)
		}
		p, err := k.part(context.Background(), Source{Open: from}, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		b := k.Encode(p)
		p.Free()
		if n := binary.LittleEndian.Uint64(b[4:]); n != 2 {
			t.Fatalf("%s: %d labels", d.Column, n)
		}
		size := 8
		if d.Column != "v.beds" {
			size = 16
		}
		copy(b[12+size:][:size], b[12:])
		if _, err := k.Decode(b); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("%s: %v", d.Column, err)
		}
		k.Free()
		mem.AssertSize(t, 0)
	}
}
