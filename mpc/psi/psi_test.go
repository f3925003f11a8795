package psi

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/mpc/psi/psitest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/vault"
)

var outputs = []Output{Intersection, IntersectionBoth, Cardinality, CardinalityBoth, JoinSum}

func set(elements ...string) Set {
	s := Set{Offsets: []int32{0}}
	for _, e := range elements {
		s.Data = append(s.Data, e...)
		s.Offsets = append(s.Offsets, int32(len(s.Data)))
	}
	return s
}

func elements(s Set) []string {
	out := make([]string, s.Rows())
	for i := range out {
		out[i] = string(s.row(uint32(i)))
	}
	return out
}

// numbers gives elements from…to, as an identifier looks.
func numbers(from, to int) Set {
	var out []string
	for i := from; i < to; i++ {
		out = append(out, fmt.Sprintf("id-%08d", i))
	}
	return set(out...)
}

func planFor(o Output, x, y Set) *Plan {
	p := &Plan{Run: "run-1", Parties: [2]sandbox.PartyID{"bank", "bureau"}, Output: o, Model: SemiHonest,
		Sizes: [2]int{Bucket(x.Rows()), Bucket(y.Rows())}, Authority: [2]Authority{{Kind: Audited}, {Kind: Audited}}}
	if o == JoinSum {
		p.Measures, p.MaxValue = 2, 1000
	}
	return p
}

type fatal interface {
	Helper()
	Fatalf(string, ...any)
}

func secret(t fatal) *Secret {
	t.Helper()
	s, err := NewSecret(rand.Reader)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return s
}

// values gives each row of a column of two measures its own small numbers.
func values(s Set) [][]uint64 {
	out := [][]uint64{make([]uint64, s.Rows()), make([]uint64, s.Rows())}
	for i := range out[0] {
		out[0][i], out[1][i] = uint64(i)%1001, uint64(7*i)%500
	}
	return out
}

func configs(t fatal, p *Plan, x, y Set, a, b Conn) [2]Config {
	t.Helper()
	c := [2]Config{{Side: Receiver, Plan: p, Conn: a, Set: x, Secret: secret(t), Workers: 2}, {Side: Sender, Plan: p, Conn: b, Set: y, Secret: secret(t), Workers: 2}}
	if p.Output == JoinSum {
		c[1].Values = values(y)
	}
	return c
}

// both runs the two sides of a job; what hangs is stopped.
func both(c [2]Config) (r [2]*Result, errs [2]error) {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	var wg sync.WaitGroup
	for i := range c {
		wg.Go(func() { r[i], errs[i] = Run(ctx, c[i]) })
	}
	wg.Wait()
	return r, errs
}

func join(t fatal, p *Plan, x, y Set, change func(c *[2]Config)) [2]*Result {
	t.Helper()
	a, b, err := psitest.Pair()
	if err != nil {
		t.Fatalf("%v", err)
	}
	defer a.Close()
	defer b.Close()
	c := configs(t, p, x, y, a, b)
	if change != nil {
		change(&c)
	}
	r, errs := both(c)
	if errs[0] != nil || errs[1] != nil {
		t.Fatalf("%s: %v; %v", p.Output, errs[0], errs[1])
	}
	return r
}

// plain is the oracle: the rows of each set, first ones only, that the other has too.
func plain(x, y Set) (rows [2][]uint32) {
	for side, s := range []Set{x, y} {
		other := map[string]bool{}
		for _, e := range elements([]Set{y, x}[side]) {
			other[e] = true
		}
		rows[side] = []uint32{}
		seen := map[string]bool{}
		for i, e := range elements(s) {
			if other[e] && !seen[e] {
				rows[side] = append(rows[side], uint32(i))
			}
			seen[e] = true
		}
	}
	return rows
}

// check holds both results to the oracle and to what the plan says that each side learns: no field is set that it does not name.
func check(t fatal, p *Plan, x, y Set, r [2]*Result) {
	t.Helper()
	rows := plain(x, y)
	n := len(rows[0])
	withheld := n < p.Threshold
	for side, got := range r {
		facts := p.Learns(Side(side))
		if got.Side != Side(side) || got.Model != SemiHonest || got.Plan != p || got.Transcript != r[0].Transcript {
			t.Fatalf("%s %v: the result names its job", p.Output, Side(side))
		}
		if got.Points != r[1-side].PeerPoints {
			t.Fatalf("%s %v: the points sent are those the peer got", p.Output, Side(side))
		}
		if got.Withheld != withheld {
			t.Fatalf("%s %v: withheld is %v", p.Output, Side(side), got.Withheld)
		}
		if got.Withheld && !slices.Contains(facts, FactWithheld) {
			t.Fatalf("%s %v: a verdict that the plan does not name", p.Output, Side(side))
		}
		judge, _ := p.judge()
		want := -1
		if slices.Contains(facts, FactCardinality) && (!withheld || judge == Side(side)) {
			want = n
		}
		if got.Cardinality != want {
			t.Fatalf("%s %v: cardinality %d, not %d", p.Output, Side(side), got.Cardinality, want)
		}
		if members := slices.Contains(facts, FactMembers) && !withheld; (got.Members != nil) != members || members && !slices.Equal(got.Members, rows[side]) {
			t.Fatalf("%s %v: other members", p.Output, Side(side))
		}
		sums := slices.Contains(facts, FactSum) && !withheld
		if (got.Sums != nil) != sums {
			t.Fatalf("%s %v: sums %v", p.Output, Side(side), sums)
		}
		if sums {
			for m, column := range values(y) {
				total := uint64(0)
				for _, row := range rows[1] {
					total += column[row]
				}
				if got.Sums[m] != total {
					t.Fatalf("%s: sum %d is %d, not %d", p.Output, m, got.Sums[m], total)
				}
			}
		}
	}
}

func TestJobsAgainstPlainSets(t *testing.T) {
	for _, c := range []struct {
		name string
		x, y Set
	}{
		{"overlapping", numbers(0, 70), numbers(30, 130)},
		{"equal", numbers(0, 20), numbers(0, 20)},
		{"disjoint", numbers(0, 20), numbers(20, 30)},
		{"one empty", numbers(0, 20), Set{}},
		{"both empty", Set{}, Set{Offsets: []int32{0}}},
		{"full buckets", numbers(0, 50), numbers(49, 59)},
		{"over a batch", numbers(0, 1100), numbers(1099, 1130)},
		{"long and odd", set("a", "b\x00", "b", string(make([]byte, MaxElement)), "中"), set("b\x00", "中", "A")},
	} {
		for _, o := range outputs {
			for _, threshold := range []int{0, 1, 10} {
				if c.x.Rows() > 1000 && (threshold != 1 || testing.Short()) {
					continue
				}
				p := planFor(o, c.x, c.y)
				p.Threshold = threshold
				t.Run(fmt.Sprintf("%s/%s/%d", c.name, o, threshold), func(t *testing.T) {
					check(t, p, c.x, c.y, join(t, p, c.x, c.y, nil))
				})
			}
		}
	}
}

func TestRandomSets(t *testing.T) {
	rapid.Check(t, func(r *rapid.T) {
		element := rapid.StringOfN(rapid.RuneFrom([]rune("ab中\x00")), 1, 3, -1)
		x := set(rapid.SliceOfN(element, 0, 25).Draw(r, "x")...)
		o := rapid.SampledFrom(outputs).Draw(r, "output")
		ys := rapid.SliceOfN(element, 0, 25)
		if o == JoinSum {
			ys = rapid.SliceOfNDistinct(element, 0, 25, rapid.ID)
		}
		y := set(ys.Draw(r, "y")...)
		p := planFor(o, x, y)
		p.Threshold = rapid.IntRange(0, 6).Draw(r, "threshold")
		check(r, p, x, y, join(r, p, x, y, nil))
	})
}

// spillTo gives sealed files of the vault's own making in a folder, and counts them.
func spillTo(t testing.TB, made *int) Spill {
	s, err := vault.SpillIn(durable.OS(), t.TempDir(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	var mu sync.Mutex
	return func() (SpillFile, error) {
		mu.Lock()
		*made++
		mu.Unlock()
		return s.Create()
	}
}

// TestSpill: with memory for a part of the tags only, the rest goes to sealed files and the answer stays the same.
func TestSpill(t *testing.T) {
	x, y := numbers(0, 1500), numbers(1000, 1700)
	for _, o := range outputs {
		p := planFor(o, x, y)
		if o == JoinSum { // a few ciphertexts are as large as many tags
			x, y := numbers(0, 90), numbers(50, 250)
			p = planFor(o, x, y)
			made := 0
			check(t, p, x, y, join(t, p, x, y, func(c *[2]Config) { c[0].Memory, c[0].Spill = MinMemory, spillTo(t, &made) }))
			if made != 1 {
				t.Errorf("%s: %d files were made", o, made)
			}
			continue
		}
		var made [2]int
		check(t, p, x, y, join(t, p, x, y, func(c *[2]Config) {
			for i := range c {
				c[i].Memory, c[i].Spill = MinMemory, spillTo(t, &made[i])
			}
		}))
		if made[0] < 2 || made[1] < 2 {
			t.Errorf("%s: %v files were made", o, made)
		}
	}
	p := planFor(Intersection, x, y)
	c := configs(t, p, x, y, nowhere{}, nowhere{})
	c[0].Memory = MinMemory
	if _, err := Run(context.Background(), c[0]); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("nowhere to spill: %v", err)
	}
}

// brokenSpill is a file that does not authenticate when it is read.
type brokenSpill struct{ SpillFile }

func (b brokenSpill) Open() (io.ReadCloser, error) {
	return nil, &sandbox.Error{Op: "test", Kind: sandbox.Tampered, Detail: "a changed chunk"}
}

func TestSpillThatFails(t *testing.T) {
	x, y := numbers(0, 1500), numbers(1000, 1700)
	a, b, err := psitest.Pair()
	if err != nil {
		t.Fatal(err)
	}
	defer a.Close()
	defer b.Close()
	c := configs(t, planFor(CardinalityBoth, x, y), x, y, a, b)
	made := 0
	good := spillTo(t, &made)
	c[0].Memory = MinMemory
	c[0].Spill = func() (SpillFile, error) {
		f, err := good()
		return brokenSpill{f}, err
	}
	r, errs := both(c)
	if !errors.Is(errs[0], sandbox.Tampered) || errs[1] == nil || r[0] != nil || r[1] != nil {
		t.Errorf("a spilled run that does not authenticate ends the job on both sides: %v; %v", errs[0], errs[1])
	}
}

// nowhere is a connection that nothing may be sent over.
type nowhere struct{}

func (nowhere) Send(uint32, []byte) error        { panic("something was sent") }
func (nowhere) Post(uint32, []byte) func() error { panic("something was posted") }
func (nowhere) Abort(string)                     {}

// TestLoopback runs a job over TCP.
func TestLoopback(t *testing.T) {
	x, y := numbers(0, 1500), numbers(1000, 1700)
	for _, o := range []Output{IntersectionBoth, CardinalityBoth} {
		p := planFor(o, x, y)
		p.Threshold = 20
		a, b, err := psitest.Loopback()
		if err != nil {
			t.Fatal(err)
		}
		r, errs := both(configs(t, p, x, y, a, b))
		a.Close()
		b.Close()
		if errs[0] != nil || errs[1] != nil {
			t.Fatal(errs)
		}
		check(t, p, x, y, r)
	}
}

var _ Conn = (*psitest.Conn)(nil)
