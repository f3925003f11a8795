package generalize

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
)

// TestStandardTables freezes the tables that a reader held against public transcriptions: a change of one is a change of what was
// compared, and wants the comparison again.
func TestStandardTables(t *testing.T) {
	var b strings.Builder
	for _, s := range sections {
		fmt.Fprintf(&b, "%c %d\n", s.letter, s.last)
	}
	sameTable(t, "sections of GB/T 4754", len(sections), 20, b.String(), "d2115c3dc966c84d00663588d9e0713cadc3455a26407f7c9b7c1cd1b8fe0bf4")
	sameTable(t, "blocks of ICD-10", len(icdBlocks), 226, strings.Join(icdBlocks[:], "\n"), "3859f7668eb4f323dd8a5c16d9b0e9a1efd562c11c414573d8d57c576c00fd88")
	for code, want := range map[string]string{"A90": "A90-A99", "A91": "A90-A99", "A97": "A90-A99"} { // old dengue codes and the new one
		if got, ok := (icdRule{}).append(nil, code, 2); !ok || string(got) != want {
			t.Errorf("%s: %s", code, got)
		}
	}
}

func sameTable(t *testing.T, table string, count, want int, text, digest string) {
	t.Helper()
	sum := sm.Sum([]byte(text))
	if got := hex.EncodeToString(sum[:]); count != want || got != digest {
		t.Errorf("%s: %d entries with SM3 %s; %d and %s were compared", table, count, got, want, digest)
	}
}
