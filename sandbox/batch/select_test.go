package batch

import (
	"fmt"
	"strings"
	"testing"
)

// TestExtentShowsNoValue in any verb.
func TestExtentShowsNoValue(t *testing.T) {
	n := int64(440301)
	e := Extent{Rows: 440301, Least: &n, Low: []byte("440301"), Texts: [][]byte{[]byte("440301")}}
	for _, v := range []any{e, &e, []Extent{e}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
			if s := fmt.Sprintf(verb, v); strings.Contains(s, "440301") || !strings.Contains(s, "redacted") {
				t.Errorf("%s of %T: %d bytes", verb, v, len(s))
			}
		}
	}
}
