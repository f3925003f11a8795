package psi

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"io"
	"math"
	"slices"
	"sync"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/sm/group"
)

// recorder notes what a party sends.
type recorder struct {
	Conn
	mu      sync.Mutex
	lengths []string
	points  [][]byte
}

func (r *recorder) Send(tag uint32, b []byte) error {
	r.mu.Lock()
	r.lengths = append(r.lengths, fmt.Sprintf("%x:%d", tag, len(b)))
	if tag == tagPoints {
		for i := 0; i+group.PointSize <= len(b); i += group.PointSize {
			r.points = append(r.points, bytes.Clone(b[i:i+group.PointSize]))
		}
	}
	r.mu.Unlock()
	return r.Conn.Send(tag, b)
}

func recorded(t *testing.T, p *Plan, x, y Set, change func(c *[2]Config)) [2]*recorder {
	var r [2]*recorder
	join(t, p, x, y, func(c *[2]Config) {
		if change != nil {
			change(c)
		}
		for i := range c {
			r[i] = &recorder{Conn: c[i].Conn}
			c[i].Conn = r[i]
		}
	})
	return r
}

// TestMessageLengthsArePublic: under one plan, whatever the sets hold, both sides send the same messages of the same lengths.
func TestMessageLengthsArePublic(t *testing.T) {
	x, y := numbers(0, 50), numbers(0, 20)
	for _, o := range outputs {
		p := planFor(o, x, y)
		want := recorded(t, p, x, y, nil)
		for i, c := range [][2]Set{{numbers(100, 150), y}, {Set{}, Set{}}, {numbers(0, 21), Set{}}, {set("a", "a", "long enough to be another length"), set("a")}} {
			got := recorded(t, p, c[0], c[1], nil)
			for side := range got {
				if !slices.Equal(got[side].lengths, want[side].lengths) {
					t.Errorf("%s, case %d, %v: %v, not %v", o, i, Side(side), got[side].lengths, want[side].lengths)
				}
			}
		}
	}
}

// TestRunsShareNoPoint: two jobs over the same sets have no point in common, whichever side. The mutant keeps its secret.
func TestRunsShareNoPoint(t *testing.T) {
	x, y := numbers(0, 10), numbers(0, 10)
	p := planFor(Cardinality, x, y)
	shared := func(keep bool) (n int) {
		kept := secret(t)
		seen := map[string]bool{}
		for range 2 {
			r := recorded(t, p, x, y, func(c *[2]Config) {
				if keep {
					c[0].Secret, _ = ParseSecret(kept.Bytes())
				}
			})
			for _, side := range r {
				for _, b := range side.points {
					if seen[string(b)] {
						n++
					}
					seen[string(b)] = true
				}
			}
		}
		return n
	}
	if n := shared(false); n != 0 {
		t.Errorf("%d points come again", n)
	}
	if n := shared(true); n != 10 {
		t.Errorf("the mutant shares %d of 10 points: the test sees nothing", n)
	}
}

// chiSquare is Pearson's statistic against equal frequencies, as a number of standard deviations from its mean (normal approximation;
// 7 is beyond one in 10^9).
func chiSquare(counts []int) float64 {
	n := 0
	for _, c := range counts {
		n += c
	}
	mean, x := float64(n)/float64(len(counts)), 0.0
	for _, c := range counts {
		x += (float64(c) - mean) * (float64(c) - mean) / mean
	}
	df := float64(len(counts) - 1)
	return (x - df) / math.Sqrt(2*df)
}

// stream gives the randomness number i of a test.
func stream(t *testing.T, i int) io.Reader {
	t.Helper()
	var key [sm.KeySize]byte
	copy(key[:], "seed of psi view")
	binary.BigEndian.PutUint32(key[12:], uint32(i))
	k, err := sm.NewKeystream(key[:])
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// TestOrderIsUniform: Pearson's chi-square of the places of 8 elements, 6,000 shuffles, seed "seed of psi view" with a counter. Mutants:
// a swap with any place, which is biased, and one that never leaves an element where it was.
func TestOrderIsUniform(t *testing.T) {
	const n, samples = 8, 6000
	worst := func(shuffle func([]uint32, io.Reader)) (z float64) {
		var counts [n][n]int
		for i := range samples {
			a := []uint32{0, 1, 2, 3, 4, 5, 6, 7}
			shuffle(a, stream(t, i))
			for place, x := range a {
				counts[x][place]++
			}
		}
		for _, c := range counts {
			z = max(z, math.Abs(chiSquare(c[:])))
		}
		return z
	}
	if z := worst(shuffle); z > 7 {
		t.Errorf("%.1f standard deviations", z)
	}
	for name, mutant := range map[string]func([]uint32, io.Reader){
		"any place": func(a []uint32, r io.Reader) {
			d := draws{r: r}
			for i := range a {
				j := d.below(n)
				a[i], a[j] = a[j], a[i]
			}
		},
		"never its own": func(a []uint32, r io.Reader) {
			d := draws{r: r}
			for i := n - 1; i > 0; i-- {
				j := d.below(uint64(i))
				a[i], a[j] = a[j], a[i]
			}
		},
	} {
		if z := worst(mutant); z < 7 {
			t.Errorf("the mutant %q passes with %.1f standard deviations", name, z)
		}
	}
}

// TestPlacesOfASetAreUniform: Pearson's chi-square of the places that a job gives to the first element of its set, 10 places, 3,000
// secrets, seed as above. The mutant sends in the order of the elements.
func TestPlacesOfASetAreUniform(t *testing.T) {
	x := numbers(0, 8)
	p := planFor(Cardinality, x, x)
	var counts, mutant [10]int
	for i := range 3000 {
		s, err := NewSecret(stream(t, i))
		if err != nil {
			t.Fatal(err)
		}
		m, err := newMasked(p, Receiver, x, nil, s)
		if err != nil {
			t.Fatal(err)
		}
		counts[slices.Index(m.order, 0)]++
		slices.Sort(m.order)
		mutant[slices.Index(m.order, 0)]++
	}
	if z := chiSquare(counts[:]); math.Abs(z) > 7 {
		t.Errorf("%.1f standard deviations", z)
	}
	if z := chiSquare(mutant[:]); z < 7 {
		t.Errorf("the mutant passes with %.1f standard deviations", z)
	}
}

// TestRankOfATagSaysNothing: Pearson's chi-square of the rank that the first element's tag has among the sorted answers, 10 places, 600
// jobs, seed as above. The mutant answers in the order of the set.
func TestRankOfATagSaysNothing(t *testing.T) {
	const samples = 600
	x := numbers(0, 10)
	p := planFor(Cardinality, x, x)
	w, err := newWorker()
	if err != nil {
		t.Fatal(err)
	}
	var sorted, mutant [10]int
	for i := range samples {
		s, err := NewSecret(stream(t, 2*i))
		if err != nil {
			t.Fatal(err)
		}
		m, err := newMasked(p, Receiver, x, nil, s)
		if err != nil {
			t.Fatal(err)
		}
		key, err := group.NewScalar(stream(t, 2*i+1))
		if err != nil {
			t.Fatal(err)
		}
		points, err := w.batch(m, 0, nil)
		if err != nil {
			t.Fatal(err)
		}
		tags, err := w.answer(key, &[sm.Size]byte{}, points, 10, nil)
		if err != nil {
			t.Fatal(err)
		}
		first := slices.Index(m.order, 0)
		rank := 0
		for k := range 10 {
			if bytes.Compare(tags[k*tagSize:(k+1)*tagSize], tags[first*tagSize:(first+1)*tagSize]) < 0 {
				rank++
			}
		}
		sorted[rank]++
		mutant[0]++
	}
	if z := chiSquare(sorted[:]); math.Abs(z) > 7 {
		t.Errorf("%.1f standard deviations", z)
	}
	if z := chiSquare(mutant[:]); z < 7 {
		t.Errorf("the mutant passes with %.1f standard deviations", z)
	}
}

// TestDrawsAreInRange: below gives every number and none else, also near 2^64 where the rejection matters.
func TestDrawsAreInRange(t *testing.T) {
	d := draws{r: stream(t, 0)}
	seen := map[uint64]int{}
	for range 3000 {
		seen[d.below(3)]++
	}
	if len(seen) != 3 || math.Abs(chiSquare([]int{seen[0], seen[1], seen[2]})) > 7 {
		t.Errorf("%v", seen)
	}
	// Three quarters of 2^64: without rejection every third number would come twice as often as the others.
	var thirds [3]int
	for range 3000 {
		thirds[d.below(3<<62)%3]++
	}
	if math.Abs(chiSquare(thirds[:])) > 7 {
		t.Errorf("%v", thirds)
	}
	for range 1000 {
		if d.below(1<<63+1) > 1<<63 || d.below(1) != 0 {
			t.Fatal("out of range")
		}
	}
}

// TestWhatSidesLearn is the table of declared leakage: what a side learns by each output, in words that people sign.
func TestWhatSidesLearn(t *testing.T) {
	x := numbers(0, 10)
	for _, c := range []struct {
		output         Output
		threshold      int
		receiver, send []Fact
	}{
		{Intersection, 0, []Fact{FactBucket, FactMembers, FactCardinality}, []Fact{FactBucket}},
		{Intersection, 5, []Fact{FactBucket, FactMembers, FactCardinality, FactWithheld}, []Fact{FactBucket, FactCardinality, FactWithheld}},
		{IntersectionBoth, 0, []Fact{FactBucket, FactMembers, FactCardinality, FactWithheld}, []Fact{FactBucket, FactMembers, FactCardinality, FactWithheld}},
		{Cardinality, 0, []Fact{FactBucket, FactCardinality}, []Fact{FactBucket}},
		{Cardinality, 5, []Fact{FactBucket, FactCardinality, FactWithheld}, []Fact{FactBucket, FactCardinality, FactWithheld}},
		{CardinalityBoth, 0, []Fact{FactBucket, FactCardinality, FactWithheld}, []Fact{FactBucket, FactCardinality, FactWithheld}},
		{JoinSum, 5, []Fact{FactBucket, FactCardinality, FactWithheld}, []Fact{FactBucket, FactWithheld, FactCardinality, FactSum}},
	} {
		p := planFor(c.output, x, x)
		p.Threshold = c.threshold
		if got := p.Learns(Receiver); !slices.Equal(got, c.receiver) {
			t.Errorf("%s, receiver: %v", c.output, got)
		}
		if got := p.Learns(Sender); !slices.Equal(got, c.send) {
			t.Errorf("%s, sender: %v", c.output, got)
		}
	}
}
