package classify

import (
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox/catalog"
)

// TestSeedsNameTheirDistrict holds the division of each shipped catalogue to the table of region codes: the code is there, and is
// that of the district whose rule the catalogue cites.
func TestSeedsNameTheirDistrict(t *testing.T) {
	names := map[string]string{}
	for line := range strings.Lines(regionText) {
		if line = strings.TrimSpace(line); len(line) > 6 && isDigits([]byte(line[:6])) {
			names[line[:6]] = line[6:]
		}
	}
	want := map[string]string{"futian": "福田区", "longhua": "龙华区"}
	for _, district := range catalog.Seeded() {
		entries, err := catalog.Seed(district)
		if err != nil || len(entries) == 0 {
			t.Fatalf("%s: %d entries, %v", district, len(entries), err)
		}
		for _, e := range entries {
			division := e.Code[:6]
			if names[division] != want[district] || want[district] == "" || !strings.Contains(e.Article, want[district]) {
				t.Errorf("%s: entry %s has division %s, which is %q", district, e.Code, division, names[division])
			}
		}
	}
}
