package policy

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

func describe(r Ruling) string {
	if !r.Allow {
		return "no"
	}
	s := string(r.Form)
	if r.Signed != "" {
		s += " or owner " + string(r.Signed)
	}
	if r.Mark {
		s += ", mark"
	}
	if r.Owner {
		s += ", owner"
	}
	if r.Tier > 0 {
		s += fmt.Sprintf(", T%d", r.Tier)
	}
	return s
}

// Every engine × class × hosting × grade × personal flag against the table a lawyer reads.
func TestMatrix(t *testing.T) {
	b, err := os.ReadFile("testdata/matrix.txt")
	if err != nil {
		t.Fatal(err)
	}
	table := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		if strings.HasPrefix(line, "#") || strings.TrimSpace(line) == "" {
			continue
		}
		cells := strings.Split(line, "|")
		key := strings.Join(strings.Fields(cells[0]), " ")
		if len(cells) != 5 || table[key] != nil {
			t.Fatalf("the table's line %q is not one key and four cells", strings.TrimSpace(line))
		}
		for _, c := range cells[1:] {
			table[key] = append(table[key], strings.TrimSpace(c))
		}
	}
	if len(table) != 22 {
		t.Fatalf("%d lines were read", len(table))
	}
	engines := []sandbox.Engine{sandbox.Domain, sandbox.MPC, sandbox.HE, sandbox.Map, sandbox.Opaque, "other", ""}
	classes := []sandbox.Class{sandbox.ClassA, sandbox.ClassB, sandbox.ClassC, sandbox.ClassD, sandbox.ClassE, sandbox.ClassF, "G", ""}
	n := 0
	for _, e := range engines {
		for _, c := range classes {
			for _, h := range []sandbox.Hosting{sandbox.P1, sandbox.P2} {
				row := table[fmt.Sprintf("%s %s %s", e, c, h)]
				for g := sandbox.Grade1; g <= sandbox.Grade4; g++ {
					for _, personal := range []bool{false, true} {
						read, want := g, "no"
						if personal {
							read = max(g, sandbox.Grade3)
						}
						if row != nil {
							want = row[read-1]
						}
						got := Matrix(e, c, h, g, personal)
						if describe(got) != want {
							t.Errorf("%s, class %s, %s, grade %d, personal %v: %s, want %s", e, c, h, g, personal, describe(got), want)
						}
						if got.Allow == (got.Rule != "") {
							t.Errorf("%s, class %s, %s, grade %d: a refusal, and only a refusal, states its rule", e, c, h, g)
						}
						n++
					}
				}
			}
		}
	}
	if n != 7*8*2*4*2 {
		t.Errorf("%d combinations were seen", n)
	}
	for _, g := range []sandbox.Grade{-1, 0, 5} {
		if Matrix(sandbox.Domain, sandbox.ClassA, sandbox.P1, g, false).Allow {
			t.Errorf("grade %d passes", g)
		}
	}
	for _, h := range []sandbox.Hosting{"", "P3", "p1"} {
		if Matrix(sandbox.Domain, sandbox.ClassA, h, 1, false).Allow {
			t.Errorf("hosting %q passes", h)
		}
	}
	if r := Matrix(sandbox.Domain, sandbox.ClassB, sandbox.P1, sandbox.Grade4, true); !strings.Contains(r.Rule, "legal basis") {
		t.Errorf("class B over grade 4 is refused because %s", r.Rule)
	}
	if (Ruling{}).Allow {
		t.Error("the zero ruling allows")
	}
}
