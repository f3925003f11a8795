package he

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	mrand "math/rand/v2"
	"os"
	"strconv"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// soak reads how often a test repeats itself: what a variable says, by default less. .ci/he-soak sets them.
func soak(t *testing.T, variable string, usual int) int {
	t.Helper()
	if s := os.Getenv(variable); s != "" {
		n, err := strconv.Atoi(s)
		if err != nil || n < 1 {
			t.Fatalf("%s is a number from 1 on", variable)
		}
		return n
	}
	return usual
}

// mutate changes b in place and gives what to send and how to undo it. Sizes: exact, short, long, empty.
func mutate(r *mrand.Rand, b []byte) (sent []byte, at int, undo func()) {
	i := r.IntN(len(b)/word) * word
	old := [word]byte(b[i : i+word])
	undo = func() { copy(b[i:], old[:]) }
	switch r.IntN(8) {
	case 0:
		return b[:r.IntN(len(b))], i, undo
	case 1:
		return b[:len(b)-1], i, undo
	case 2:
		return append(b[:len(b):len(b)], 0), i, undo
	case 3:
		binary.LittleEndian.PutUint64(b[i:], ^uint64(0))
	case 4:
		binary.LittleEndian.PutUint64(b[i:], r.Uint64())
	case 5:
		binary.LittleEndian.PutUint64(b[i:], r.Uint64()>>6)
	default:
		b[i+r.IntN(word)] ^= 1 << r.IntN(8)
	}
	return b, i, undo
}

// fits says by another way whether bytes are polynomials of a set, which they were before the word at a place was changed.
func fits(p *params, b []byte, polys, at int) bool {
	row := p.n() * word
	return len(b) == polys*len(p.Q)*row && binary.LittleEndian.Uint64(b[at:]) < p.Q[at/row%len(p.Q)]
}

// TestMutated sends the adapter ciphertexts, keys and shares that were changed, cut or lengthened: every one is taken exactly when it is
// one, and none ends the process. OPDOMAIN_HE_MUTATIONS sets how many.
func TestMutated(t *testing.T) {
	total := soak(t, "OPDOMAIN_HE_MUTATIONS", 100_000)
	seed := mrand.Uint64()
	t.Logf("seed %d, %d mutations", seed, total)
	r := mrand.New(mrand.NewPCG(seed, 2))
	k := newCollectiveKey(t, SumSet, 3, 2)
	p, _ := paramsOf(SumSet)
	ct := do(t, k.units[0], OpEncrypt, k.pub[0], appendInts(nil, []int64{1, 2, 3}))[0]
	points := []byte{1, 3}
	share := do(t, k.units[0], OpPartial, k.handles[0], []byte{100}, []byte{1}, points, ct)[0]
	share3 := do(t, k.units[2], OpPartial, k.handles[2], []byte{100}, []byte{3}, points, ct)[0]
	pub := do(t, k.units[0], OpNewShare, []byte(SumSet), k.seed)
	deal := do(t, k.units[0], OpDeal, pub[0], []byte{3, 2})[0]
	e := k.units[0]
	taken, into := 0, p.rlwe.RingQ().NewPoly()
	for i := range total {
		var polys int
		var b []byte
		call := func([]byte) error { return nil }
		switch i % 4 {
		case 0:
			polys, b = 2, ct
			call = func(b []byte) error { _, err := e.Do(context.Background(), OpAdd, []byte(SumSet), b); return err }
		case 1:
			polys, b = 1, share
			call = func(b []byte) error {
				if i%100 == 1 {
					_, err := k.gate.Do(context.Background(), OpOpen, k.gateKey, ct, b, share3)
					return err
				}
				return readPolys("decryption share", b, p.Q, into)
			}
		case 2:
			polys, b = 1, k.shares[1]
			call = func(b []byte) error {
				if i%100 == 2 {
					out, err := e.Do(context.Background(), OpPublicKey, []byte(SumSet), k.seed, k.shares[0], b)
					if err == nil {
						do(t, e, OpErase, out[0])
					}
					return err
				}
				return readPolys("public key share", b, p.Q, into)
			}
		case 3:
			polys, b = 1, deal
			call = func(b []byte) error { return readPolys("deal", b, p.Q, into) }
			if i%100 == 3 {
				call = func(b []byte) error {
					h := do(t, e, OpNewShare, []byte(SumSet), k.seed)[0]
					_, err := e.Do(context.Background(), OpJoin, h, b)
					do(t, e, OpErase, h)
					return err
				}
			}
		}
		sent, at, undo := mutate(r, b)
		err := call(sent)
		if ok := fits(p, sent, polys, at); ok != (err == nil) {
			t.Fatalf("mutation %d: taken %v, is one %v: %v", i, err == nil, ok, err)
		}
		if err == nil {
			taken++
		} else if !errors.Is(err, sandbox.Invalid) {
			t.Fatalf("mutation %d: %v", i, err)
		}
		undo()
	}
	if taken == 0 || taken == total {
		t.Fatalf("%d of %d were taken: the mutations test nothing", taken, total)
	}
}

// TestRandomSums opens sums of random vectors of random units and compares every slot. OPDOMAIN_HE_SUMS sets how many.
func TestRandomSums(t *testing.T) {
	total := soak(t, "OPDOMAIN_HE_SUMS", 1000)
	seed := mrand.Uint64()
	t.Logf("seed %d, %d sums", seed, total)
	r := mrand.New(mrand.NewPCG(seed, 3))
	p, _ := paramsOf(SumSet)
	const units, threshold = 3, 2
	var b Budget
	b.Ciphertexts = 1
	budgetOf(&b, p.Set, units, threshold, nil)
	k := newCollectiveKey(t, SumSet, units, threshold)
	points := []byte{1, 3}
	edge := (int64(p.T/2) - 1) / units
	for i := range total {
		n := 1 + r.IntN(units)
		want := make([]int64, p.Slots)
		args := [][]byte{[]byte(SumSet)}
		for u := range n {
			v := make([]int64, p.Slots)
			for j := range v {
				switch r.IntN(8) {
				case 0:
					v[j] = edge
				case 1:
					v[j] = -edge
				default:
					v[j] = r.Int64N(2*edge+1) - edge
				}
				want[j] += v[j]
			}
			args = append(args, do(t, k.units[u], OpEncrypt, k.pub[u], appendInts(nil, v))[0])
		}
		sum := do(t, k.gate, OpAdd, args...)[0]
		got := k.open(t, byte(b.Flooding), points, sum)
		for j := range want {
			if got[j] != want[j] {
				t.Fatalf("sum %d of %d units, slot %d is wrong", i, n, j)
			}
		}
	}
}

// TestBudgetIsTight shows that the linter guards something: a few bits of flooding more and sums are wrong.
func TestBudgetIsTight(t *testing.T) {
	p, _ := paramsOf(SumSet)
	var b Budget
	b.Ciphertexts = 1
	budgetOf(&b, p.Set, 3, 3, nil)
	k := newCollectiveKey(t, SumSet, 3, 3)
	wrong := func(flood int) bool {
		ct := do(t, k.units[0], OpEncrypt, k.pub[0], appendInts(nil, []int64{1, 2, 3}))[0]
		v := k.open(t, byte(flood), []byte{1, 2, 3}, ct)
		return v[0] != 1 || v[1] != 2 || v[2] != 3
	}
	if wrong(b.Flooding) {
		t.Errorf("2^%d, which the linter allows, opens wrongly", b.Flooding)
	}
	if b.Flooding > 124 || !wrong(126) {
		t.Errorf("the linter allows 2^%d; 2^126 opens rightly", b.Flooding)
	}
}

// TestEngineOnce holds the adapter itself to what it gives once.
func TestEngineOnce(t *testing.T) {
	k := newCollectiveKey(t, SumSet, 3, 2)
	ctx, e, h := context.Background(), k.units[0], k.handles[0]
	ct := do(t, e, OpEncrypt, k.pub[0], appendInts(nil, []int64{1}))[0]
	other := do(t, e, OpEncrypt, k.pub[0], appendInts(nil, []int64{1}))[0]
	do(t, e, OpPartial, h, []byte{100}, []byte{1}, []byte{1, 2}, ct)
	for name, args := range map[string][][]byte{
		"a second share":      {h, {100}, {1}, {1, 2}, ct},
		"another first half":  {h, {100}, {1}, {1, 2}, append(append([]byte{}, other[:len(ct)/2]...), ct[len(ct)/2:]...)},
		"other openers":       {h, {100}, {1}, {1, 3}, other},
		"no flooding":         {h, {0}, {1}, {1, 2}, other},
		"flooding too wide":   {h, {127}, {1}, {1, 2}, other},
		"a point twice":       {h, {100}, {1}, {1, 1}, other},
		"point 0":             {h, {100}, {0}, {0, 1}, other},
		"not among openers":   {h, {100}, {1}, {2, 3}, other},
		"no openers":          {h, {100}, {1}, {}, other},
		"another's handle":    {k.pub[0], {100}, {1}, {1, 2}, other},
		"a handle of nothing": {{9}, {100}, {1}, {1, 2}, other},
	} {
		if _, err := e.Do(ctx, OpPartial, args...); err == nil {
			t.Errorf("%s is given", name)
		}
	}
	if _, err := e.Do(ctx, OpDeal, h, []byte{3, 2}); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("dealt twice: %v", err)
	}
	if _, err := e.Do(ctx, OpOpen, h, ct, make([]byte, len(ct)/2)); !errors.Is(err, sandbox.Denied) {
		t.Errorf("a unit opens: %v", err)
	}
	if _, err := e.Do(ctx, OpEncrypt, k.pub[0], appendInts(nil, []int64{1 << 46})); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("a value beyond half the plaintext modulus: %v", err)
	}
	do(t, e, OpErase, h)
	if _, err := e.Do(ctx, OpPartial, h, []byte{100}, []byte{1}, []byte{1, 2}, other); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("a share from an erased key: %v", err)
	}
}

// TestRegistry holds every set to the lower cap of both tables and the linter to its refusals.
func TestRegistry(t *testing.T) {
	for logN, want := range map[int]int{11: 0, 12: 106, 13: 214, 14: 430, 15: 868} {
		if Cap(logN) != want {
			t.Errorf("the cap at 2^%d is %d", logN, Cap(logN))
		}
	}
	for _, s := range Sets() {
		if s.LogQP > Cap(s.LogN) || s.LogQP == 0 {
			t.Errorf("%s: log2(QP) is %d, the cap %d", s.Name, s.LogQP, Cap(s.LogN))
		}
		p, err := paramsOf(s.Name)
		if err != nil {
			t.Fatal(err)
		}
		if q := p.rlwe.Q(); len(q) != len(s.Q) || p.rlwe.LogN() != s.LogN || len(p.rlwe.P()) != len(s.P) {
			t.Errorf("%s: the library has other moduli", s.Name)
		}
		for i := range s.Q {
			if s.Q[i]%(2<<s.LogN) != 1 || s.Scheme == "BGV" && s.Q[i]%s.T == 0 {
				t.Errorf("%s: prime %d is not one for this ring", s.Name, i)
			}
		}
	}
	over := sets[0]
	over.LogN = 12
	if _, err := over.derived().build(); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a set over its cap is built: %v", err)
	}
	if _, err := paramsOf("free-form"); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("a set that is not registered: %v", err)
	}
}

// TestPlanRefusals holds the linter to one code for each fault, before any key is drawn.
func TestPlanRefusals(t *testing.T) {
	c := newCast(t, 5)
	for _, x := range []struct {
		code   string
		change func(p *Plan)
	}{
		{"", func(p *Plan) {}},
		{"", func(p *Plan) { p.Set = StatisticsSet }},
		{"he.set", func(p *Plan) { p.Set = ScoringSet }},
		{"he.set", func(p *Plan) { p.Set = "mine" }},
		{"he.units", func(p *Plan) { p.Units = p.Units[:2] }},
		{"he.units", func(p *Plan) { p.Units[1].ID = p.Units[0].ID }},
		{"he.units", func(p *Plan) { p.Units[4].ID = p.Gate.ID }},
		{"he.units", func(p *Plan) { p.Units[1].Verify = nil }},
		{"he.threshold", func(p *Plan) { p.Threshold, p.Openers = 2, []int{0, 1} }},
		{"he.threshold", func(p *Plan) { p.Threshold = 6 }},
		{"he.openers", func(p *Plan) { p.Openers = []int{0, 1} }},
		{"he.openers", func(p *Plan) { p.Openers = []int{0, 1, 1} }},
		{"he.openers", func(p *Plan) { p.Openers = []int{0, 1, 5} }},
		{"he.epoch", func(p *Plan) { p.Epoch = 0 }},
		{"he.layout", func(p *Plan) { p.Layout.Cells = nil }},
		{"he.layout", func(p *Plan) { p.Layout.Cells = []string{"a", "a"} }},
		{"he.layout", func(p *Plan) { p.Layout.Measures[0].X = 9 }},
		{"he.operator", func(p *Plan) { p.Layout.Measures[0].Func = sandbox.Quantile }},
		{"he.operator", func(p *Plan) { p.Layout.Measures[0].Func = sandbox.Subjects }},
		{"", func(p *Plan) { p.Set, p.Layout = ProductSet, smallProducts() }},
		{"he.set", func(p *Plan) { p.Layout = smallProducts() }},
		{"he.set", func(p *Plan) { p.Set = ProductSet }},
		{"he.layout", func(p *Plan) { p.Set, p.Layout = ProductSet, smallProducts(); p.Layout.Products.Holders[1] = 5 }},
		{"he.layout", func(p *Plan) { p.Set, p.Layout = ProductSet, smallProducts(); p.Layout.Products.Holders[1] = 0 }},
		{"he.layout", func(p *Plan) { p.Set, p.Layout = ProductSet, smallProducts(); p.Layout.Products.Terms[0].Left = 1 }},
		{"he.layout", func(p *Plan) {
			p.Set, p.Layout = ProductSet, smallProducts()
			p.Layout.Products.Factors[0][0].Bits = MaxBits + 1
		}},
		{"he.layout", func(p *Plan) { p.Set, p.Layout = ProductSet, smallProducts(); p.Layout.Columns = 1 }},
		{"he.size", func(p *Plan) {
			p.Set, p.Layout = ProductSet, smallProducts()
			p.Layout.Products.Subjects, p.Layout.Products.Factors[0][0].Bits = MaxSubjects, MaxBits
		}},
		{"he.noise", func(p *Plan) {
			p.Set, p.Layout, p.Units = ProductSet, smallProducts(), nil
			for i := range MaxUnits {
				p.Units = append(p.Units, Member{ID: sandbox.PartyID(strconv.Itoa(i)), Verify: c.sign[0].Public(), Seal: c.open[0].Public()})
				p.Openers = append(p.Openers, i)
			}
			p.Openers, p.Threshold = p.Openers[3:], MaxUnits
		}},
		{"he.size", func(p *Plan) {
			p.Layout.Cells = nil
			for i := range MaxCells {
				p.Layout.Cells = append(p.Layout.Cells, strconv.Itoa(i))
			}
		}},
	} {
		p := c.plan(1, 3, []int{0, 1, 2}, countOnly())
		x.change(p)
		b, why := p.Check()
		if x.code == "" {
			if len(why) > 0 || b.Security < MinSecurity {
				t.Errorf("a good plan: %v, %d bits", why, b.Security)
			}
			continue
		}
		if len(why) == 0 || why[0].Code != x.code || why[0].Rule == "" || why[0].Change == "" {
			t.Errorf("%s: %v", x.code, why)
		}
		_, err := NewUnit(Config{Plan: p, Engine: NewLocal(bytes.NewReader(nil)), Sign: c.sign[0], Open: c.open[0], Ledger: c.ledgers[0], Rand: bytes.NewReader(nil)}, 0)
		var refused *Refused
		if !errors.As(err, &refused) {
			t.Errorf("%s: a unit begins: %v", x.code, err)
		}
	}
	// The noise bound itself: a set with room for little flooding.
	var b Budget
	b.Ciphertexts = 1
	narrow := sets[0]
	narrow.Q = narrow.Q[:2]
	if budgetOf(&b, narrow.derived(), 5, 3, nil); b.Security >= MinSecurity {
		t.Errorf("two primes give %d bits", b.Security)
	}
}

// FuzzMessage decodes anything; what decodes encodes to the same bytes.
func FuzzMessage(f *testing.F) {
	m := &Message{Kind: Share, From: 2, Parts: [][]byte{{1, 2, 3}, {}}, Sig: []byte{9}}
	f.Add(AppendMessage(nil, m))
	f.Add(AppendMessage(nil, &Message{Kind: Commitment}))
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMessage(b)
		if err == nil && !bytes.Equal(AppendMessage(nil, m), b) {
			t.Fatal("a message has two encodings")
		}
	})
}

// FuzzPlan decodes anything; a plan that decodes is checked without a panic and encodes to itself.
func FuzzPlan(f *testing.F) {
	c := newCast(f, 3)
	b, err := c.plan(1, 2, []int{0, 1}, everyMeasure()).Encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := DecodePlan(b)
		if err != nil {
			return
		}
		_, _ = p.Check()
		again, err := p.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if q, err := DecodePlan(again); err != nil || q.Digest() != p.Digest() {
			t.Fatal("a plan has two meanings")
		}
	})
}

// FuzzEngine sends an engine any operation with any arguments, among them ones that are right in part. Nothing panics out of it.
func FuzzEngine(f *testing.F) {
	k := newCollectiveKey(f, SumSet, 3, 2)
	ct := do(f, k.units[0], OpEncrypt, k.pub[0], appendInts(nil, []int64{1, 2, 3}))[0]
	for op := range byte(opEnd) + 1 {
		f.Add(op, []byte(SumSet), k.seed, []byte{2, 1}, uint32(0), byte(0))
		f.Add(op, []byte(ScoringSet), k.handles[0], []byte{1}, uint32(7), byte(1))
	}
	f.Fuzz(func(t *testing.T, op byte, a, b, c []byte, at uint32, cut byte) {
		long := append([]byte{}, ct...)
		long[int(at)%len(long)] ^= cut
		long = long[:len(long)-int(cut)/2]
		for _, args := range [][][]byte{{a}, {a, b}, {a, b, c}, {a, b, c, long}, {a, long}, {a, b, long}, {k.handles[0], a, b, c, long}, {k.gateKey, long, long[:len(long)/2]}} {
			_, _ = k.units[0].Do(context.Background(), Op(op), args...)
		}
	})
}
