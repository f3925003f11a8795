package main

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// TestOrdered: whatever the order and the limit, the same bytes come out, and in order.
func TestOrdered(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		rows := rapid.SliceOf(rapid.StringMatching(`[a-c]{0,9}\n`)).Draw(t, "rows")
		limit := rapid.IntRange(1, 200).Draw(t, "limit")
		o := &ordered{limit: limit}
		for _, r := range rapid.Permutation(rows).Draw(t, "order") {
			if err := o.add([]byte(r)); err != nil {
				t.Fatal(err)
			}
		}
		var out bytes.Buffer
		if err := o.flush(&out); err != nil {
			t.Fatal(err)
		}
		if err := o.Close(); err != nil {
			t.Fatal(err)
		}
		slices.Sort(rows)
		if out.String() != strings.Join(rows, "") {
			t.Fatalf("%d rows, limit %d: not in order", len(rows), limit)
		}
	})
}
