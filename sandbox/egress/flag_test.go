package egress

import (
	"bytes"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

func flagsOf(c *Checked) []string {
	var out []string
	for _, f := range c.Flags {
		out = append(out, f.Rule)
	}
	return out
}

// TestClassDisclosureIsFlagged: nearly everybody of a line in one category; not a dimension that follows from another.
func TestClassDisclosureIsFlagged(t *testing.T) {
	flat := slices.Concat(people(0, 30, "north", "a"), people(30, 40, "north", "b"), people(70, 30, "south", "a"), people(100, 30, "south", "b"))
	for name, c := range map[string]struct {
		rows []row
		want int
	}{
		"even":                   {flat, 0},
		"a line with one label":  {slices.Concat(flat, people(200, 40, "west", "a")), 1},
		"nine in ten":            {slices.Concat(flat, people(200, 270, "west", "a"), people(500, 30, "west", "b")), 1},
		"fewer":                  {slices.Concat(flat, people(200, 260, "west", "a"), people(500, 40, "west", "b")), 0},
		"streets of districts":   {slices.Concat(people(0, 30, "north", "s1"), people(30, 30, "north", "s2"), people(60, 30, "south", "s3"), people(90, 40, "south", "s4")), 0},
		"one dimension":          {slices.Concat(people(0, 90, "died"), people(90, 10, "lived")), 1},
		"one dimension, even":    {slices.Concat(people(0, 80, "died"), people(80, 20, "lived")), 0},
		"one dimension, a label": {people(0, 90, "died"), 0},
		"the holder is withheld": {slices.Concat(flat, people(200, 5, "west", "a")), 0},
	} {
		got := claims(t, c.rows).check("q-1")
		n := 0
		for _, f := range got.Flags {
			if f.Rule == FlagClass {
				n = f.Places
				if f.Worst < classShare || f.Worst > 1000 {
					t.Errorf("%s: a share of %d per mille", name, f.Worst)
				}
			}
		}
		if n != c.want {
			t.Errorf("%s: %d lines flagged, want %d", name, n, c.want)
		}
	}
}

// TestMissingValuesAreFlagged: from a tenth of the rows on.
func TestMissingValuesAreFlagged(t *testing.T) {
	for n, want := range map[int]bool{0: false, 9: false, 10: true, 40: true} {
		rows := people(0, 100, "all")
		for i := range n {
			rows[i].amount = nil
		}
		c := claims(t, rows).check("q-1")
		if got := slices.Contains(flagsOf(c), FlagMissing); got != want {
			t.Errorf("%d of 100 without a value: flagged %v", n, got)
		}
	}
}

// TestTemplateDoesNotReleaseFlags: what a person must look at goes to people, who read it in the pack.
func TestTemplateDoesNotReleaseFlags(t *testing.T) {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	template := Template{StandingTemplate: attest.StandingTemplate{ID: "t-1", Scenario: "s", Recipient: "op-ana", Measures: []string{"count()"}, Budget: 5, Slot: 60, Policy: "p", Expires: now.AddDate(0, 1, 0)}}
	for missing, want := range map[int]State{0: AutoApproved, 20: InReview} {
		rows := people(0, 100, "all")
		for i := range missing {
			rows[i].amount = nil
		}
		r := Submit(Submission{Question: "q-1", Author: "op-ana", Recipient: "op-ana", Datasets: []sandbox.DatasetID{"claims"}, Policy: "p", Params: limits, Now: now, Expires: now.AddDate(0, 0, 5),
			Template: &template, Asked: TemplateUse{Scenario: "s", Measures: []string{"count()"}}}, claims(t, rows).check("q-1"))
		if r.State != want {
			t.Errorf("%d missing: %s, want %s", missing, r.State, want)
		}
		pack, err := r.Pack()
		if err != nil {
			t.Fatal(err)
		}
		if said := bytes.Contains(pack, []byte(`"flags":[{"rule":"missing","places":1,"worst_permille":200}]`)); said != (missing > 0) {
			t.Errorf("%d missing: the pack says it: %v", missing, said)
		}
		if !bytes.Contains(pack, []byte("比特")) {
			t.Error("the pack does not say how many bits the values can tell")
		}
	}
}

// TestBitsAreCountedAndCapped: each value by how many it could be, and a cap a bit below withholds.
func TestBitsAreCountedAndCapped(t *testing.T) {
	rows := slices.Concat(people(0, 20, "a"), people(20, 30, "b"), people(60, 4, "c"))
	c := claims(t, rows).check("q-1")
	sum := uint64(0)
	for _, x := range rows {
		sum += uint64(*x.amount)
	}
	want := scan.Log2(3) + 3*scan.Log2(2)
	for _, cell := range c.Cells {
		if !cell.Suppressed {
			want += scan.Log2(54+1+2) + scan.Log2(54+1+2) + scan.Log2(2*sum+1+2)
		}
	}
	if c.MilliBits != want || c.Published == 0 {
		t.Fatalf("%d milli-bits, want %d", c.MilliBits, want)
	}
	p := limits
	for bits, withheld := range map[int]bool{int(want+999) / 1000: false, int(want) / 1000: want%1000 != 0, 1: true} {
		p.MaxBits = bits
		_, err := Check("q-1", claims(t, rows).answer(), p)
		if got := errors.Is(err, sandbox.Withheld); got != withheld {
			t.Errorf("at most %d bits: %v", bits, err)
		}
		if err != nil && !strings.Contains(err.Error(), RuleBits) {
			t.Error(err)
		}
	}
}

// TestPriorKnowledgeIsStricter: with q of 30 others are known to 30 percent, and what passes p% no longer passes p/q.
func TestPriorKnowledgeIsStricter(t *testing.T) {
	rows := people(0, 30, "a")
	rows[0].amount = yuan(100_000) // the rest comes to some 33,000 less the second
	p := limits
	p.DominanceK = 99
	for q, want := range map[int]bool{0: false, 100: false, 30: true} {
		p.Prior = q
		c, err := Check("q-1", claims(t, rows).answer(), p)
		if err != nil {
			t.Fatal(err)
		}
		if got := slices.Contains(c.Cells[0].Rules, RulePPercent); got != want {
			t.Errorf("q of %d: p/q broken %v", q, got)
		}
	}
}

// TestQuarantineTellsReviewersWhere: rule and place of each hit, never the value.
func TestQuarantineTellsReviewersWhere(t *testing.T) {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	const mobile = "13800138000"
	_, err := Check("q-1", claims(t, slices.Concat(people(0, 20, "a"), people(20, 20, mobile))).answer(), limits)
	if !HardHit(err) {
		t.Fatal(err)
	}
	r := Isolate(Submission{Question: "q-1", Author: "op-ana", Recipient: "op-ana", Policy: "p", Params: limits, Now: now, Expires: now.AddDate(0, 0, 5)}, err)
	pack, err := r.Pack()
	if err != nil {
		t.Fatal(err)
	}
	if r.State != Quarantined || len(r.Hits) == 0 || !bytes.Contains(pack, []byte(`"hits":[{`)) || !bytes.Contains(pack, []byte("扫描命中")) || bytes.Contains(pack, []byte(mobile)) {
		t.Errorf("%s with %d hits: %s", r.State, len(r.Hits), pack)
	}
}
