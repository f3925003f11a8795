package released

import (
	"context"
	"crypto/rand"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// checked is what the gate makes of averages of three groups over four units, of which one has too few people.
func checked(t *testing.T) *egress.Checked {
	t.Helper()
	a := egress.BoundedAnswer{Inputs: []sandbox.InputVersion{{Dataset: "ds-fees", Version: 1}}, Dimensions: []string{"district"}, Known: make([]bool, 4), Measures: []sandbox.Measure{{Name: "people", Func: sandbox.Count}, {Name: "fee", Func: sandbox.Mean, Scale: 2, Unit: "元"}}}
	for i, people := range []int64{40, 1, 25} {
		subjects, ones, tops := make([]int64, 4), make([]int64, 4), make([]int64, 4)
		for u := range subjects {
			subjects[u], ones[u], tops[u] = people, 1, 60000
		}
		rows := 4 * people
		a.Cells = append(a.Cells, egress.BoundedCell{Labels: []string{string(rune('a' + i))}, Outputs: []egress.BoundedOutput{
			{Value: rows, Rows: rows, Subjects: subjects, Tops: ones}, {Value: 31400 + int64(i), Rows: rows, Subjects: subjects, Tops: tops}}})
	}
	c, err := egress.CheckBounded("q-1", a, egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10})
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// TestChecked: a group that is suppressed gives nothing, the others what would leave; altered bytes and other names give nothing at all.
func TestChecked(t *testing.T) {
	c := checked(t)
	got, err := Checked(c, []string{"fee", "people"})
	if err != nil || len(got) != 2 || got[0].Labels[0] != "a" || got[1].Labels[0] != "c" {
		t.Fatalf("%d groups, %v", len(got), err)
	}
	if v := got[1].Averages.Values(); len(v) != 2 || v[0] != 314.02 || v[1] != 100 {
		t.Error("not the values that would leave")
	}
	if text := fmt.Sprintf("%v %+v %#v", got[0], got[0], got[0]); strings.Contains(text, "314") {
		t.Error("averages are printed")
	}
	for _, features := range [][]string{nil, {"fee", "age"}, make([]string, 257)} {
		if _, err := Checked(c, features); sandbox.KindOf(err) != sandbox.Invalid {
			t.Errorf("%d features: %v", len(features), err)
		}
	}
	c.Result = []byte(strings.Replace(string(c.Result), "31402", "31403", 1))
	if _, err := Checked(c, []string{"fee"}); sandbox.KindOf(err) != sandbox.Denied {
		t.Errorf("altered: %v", err)
	}
	if _, err := Checked(nil, []string{"fee"}); sandbox.KindOf(err) != sandbox.Denied {
		t.Errorf("nothing: %v", err)
	}
	if _, err := Checked(&egress.Checked{Result: checked(t).Result}, []string{"fee"}); sandbox.KindOf(err) != sandbox.Denied {
		t.Errorf("made by hand: %v", err)
	}
	if _, err := Approved(egress.Approval{}, checked(t).Result, time.Now(), []string{"fee"}); sandbox.KindOf(err) != sandbox.Denied {
		t.Errorf("not approved: %v", err)
	}
}

// TestOverChecked: a partner's model over what would leave gives the plain model's score, read by the gate.
func TestOverChecked(t *testing.T) {
	ctx := context.Background()
	gate, g, err := he.NewJoint(ctx, he.NewLocal(rand.Reader), [32]byte{9}, true)
	if err != nil {
		t.Fatal(err)
	}
	defer gate.Close()
	partner, p, err := he.NewJoint(ctx, he.NewLocal(rand.Reader), [32]byte{9}, false)
	if err != nil {
		t.Fatal(err)
	}
	defer partner.Close()
	if err := gate.Agree(ctx, p, partner.Reveal()); err != nil {
		t.Fatal(err)
	}
	if err := partner.Agree(ctx, g, gate.Reveal()); err != nil {
		t.Fatal(err)
	}
	got, err := Checked(checked(t), []string{"fee", "people"})
	if err != nil {
		t.Fatal(err)
	}
	m := &he.Model{Link: he.LinearLink, Bias: 0.5, Weights: []float64{0.003, -0.002}, Ranges: []float64{1000, 2000}}
	for i, x := range got {
		ct, err := gate.Encrypt(ctx, m.Ranges, x.Averages)
		if err != nil {
			t.Fatal(err)
		}
		score, share, err := partner.Apply(ctx, m, ct)
		if err != nil {
			t.Fatal(err)
		}
		s, err := gate.Open(ctx, score, share)
		if err != nil {
			t.Fatal(err)
		}
		if v := x.Averages.Values(); math.Abs(s.Values[0]-(0.5+0.003*v[0]-0.002*v[1])) > s.Bound {
			t.Errorf("group %d is beyond its bound", i)
		}
	}
}
