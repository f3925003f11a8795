package query

import (
	"go/parser"
	"go/token"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// TestEveryMeasureIsDescribed wants a whole row in the package doc's table for every function there is.
func TestEveryMeasureIsDescribed(t *testing.T) {
	f, err := parser.ParseFile(token.NewFileSet(), "spec.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	rows := map[string][]string{}
	var at []int // where the columns begin
	for line := range strings.Lines(f.Doc.Text()) {
		name, _, _ := strings.Cut(strings.TrimSpace(line), " ")
		if strings.HasPrefix(line, "\tfunction ") {
			for _, head := range []string{"function", "evidence", "arithmetic", "bits", "HE", "MPC"} {
				at = append(at, strings.Index(line, head))
			}
		} else if strings.HasPrefix(line, "\t") && at != nil {
			r := []rune(strings.TrimRight(line, "\n"))
			for i := range at {
				end := len(r)
				if i+1 < len(at) {
					end = min(at[i+1], end)
				}
				rows[name] = append(rows[name], strings.TrimSpace(string(r[min(at[i], end):end])))
			}
		}
	}
	for _, fn := range sandbox.MeasureFuncs {
		row := rows[string(fn)]
		if len(row) != 6 {
			t.Errorf("%s has no row", fn)
			continue
		}
		for i, cell := range row {
			if cell == "" {
				t.Errorf("%s: column %d says nothing", fn, i+1)
			}
		}
	}
	if len(rows) != len(sandbox.MeasureFuncs) {
		t.Errorf("%d rows for %d functions", len(rows), len(sandbox.MeasureFuncs))
	}
}
