package audit

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// TestIntervalsAreThoseOfGLPK holds whole intervals against another program's linear programming on tables that are too large to
// enumerate: two- and three-way, with a hierarchy, with bounds and negative values.
func TestIntervalsAreThoseOfGLPK(t *testing.T) {
	glpsol, err := exec.LookPath("glpsol")
	if err != nil {
		sandboxtest.Missing(t, "glpsol is absent (apt-get install glpk-utils); intervals were not held against another program's")
	}
	dir := t.TempDir()
	compared := 0
	for n, c := range []struct {
		primary int
		sides   []int
		signed  bool
	}{{20, []int{8, 8}, false}, {40, []int{10, 12}, true}, {30, []int{4, 4, 4}, false}, {45, []int{5, 4, 4}, true}, {30, []int{3, 3, 3, 2}, false}} {
		table := large(uint64(n), c.primary, c.sides...)
		l := &table.Layers[0]
		if c.signed {
			l.NonNegative, l.Bounds = false, make([]Bound, len(table.Cells))
			for i := range l.Bounds {
				l.Values[i] -= 20
				l.Bounds[i] = Bound{-100, 2000}
			}
		}
		table.Views = nil
		r, err := Protect(table, Options{Keep: true, Whole: true})
		if err != nil {
			t.Fatal(err)
		}
		for k, x := range r.Intervals {
			if k%5 > 0 {
				continue // a fifth of the cells: each is two runs of a program
			}
			lo, up := glpk(t, glpsol, dir, &table, x.Cell, "minimize"), glpk(t, glpsol, dir, &table, x.Cell, "maximize")
			// Whole ends are rounded towards the truth.
			if float64(x.Lower) < lo-1e-6 || float64(x.Lower) >= lo+1-1e-6 || float64(x.Upper) > up+1e-6 || float64(x.Upper) <= up-1+1e-6 {
				t.Errorf("table %d, cell %d: [%d, %d], GLPK [%g, %g]", n, x.Cell, x.Lower, x.Upper, lo, up)
			}
			compared++
		}
	}
	t.Logf("%d intervals are GLPK's", compared)
}

// glpk optimises one hidden cell over what is published.
func glpk(t *testing.T, glpsol, dir string, table *Table, cell int, goal string) float64 {
	t.Helper()
	var b strings.Builder
	l := &table.Layers[0]
	fmt.Fprintf(&b, "%s\n obj: x%d\nsubject to\n", goal, cell)
	for e, q := range table.Equations {
		var terms []string
		right := int64(0)
		for _, x := range q.Terms {
			if table.Cells[x.Cell].Status != Published {
				terms = append(terms, fmt.Sprintf("%+d x%d", x.Times, x.Cell))
				right += x.Times * l.Values[x.Cell]
			}
		}
		if len(terms) > 0 {
			fmt.Fprintf(&b, " e%d: %s = %d\n", e, strings.Join(terms, "\n  "), right)
		}
	}
	b.WriteString("bounds\n")
	for i, c := range table.Cells {
		if c.Status != Published {
			x := l.bound(i)
			fmt.Fprintf(&b, " %d <= x%d <= %d\n", x.Lower, i, min(x.Upper, 1_000_000))
		}
	}
	b.WriteString("end\n")
	in, out := filepath.Join(dir, "in.lp"), filepath.Join(dir, "out.txt")
	if err := os.WriteFile(in, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	if msg, err := exec.Command(glpsol, "--lp", in, "-o", out).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, msg)
	}
	f, err := os.Open(out)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "Objective:"); ok {
			_, rest, _ = strings.Cut(rest, "=")
			v, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
			if err != nil {
				t.Fatal(err)
			}
			return v
		}
	}
	t.Fatal("no objective in GLPK's output")
	return math.NaN()
}
