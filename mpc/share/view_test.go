package share

import (
	"math"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// protocols is what the tests of views run: operators whose messages must look uniform whatever the values are. Inputs come first;
// nothing is opened.
var protocols = map[string]func(e *Engine, x, y Vec, xw, yw Words){
	// The proof's barriers and coins are public; they are a few hundred bytes of 130 KB.
	"proved": func(e *Engine, x, y Vec, _, _ Words) { e.Mul(x, y); e.Verify() },
	"proved bits": func(e *Engine, x, _ Vec, xw, yw Words) {
		e.Shuffle(Table{Vecs: []Vec{x}, Words: []Words{e.And(xw, yw)}})
		e.Verify()
	},
	"input":   func(*Engine, Vec, Vec, Words, Words) {},
	"mul":     func(e *Engine, x, y Vec, _, _ Words) { e.Mul(x, y) },
	"and":     func(e *Engine, _, _ Vec, x, y Words) { e.And(x, y) },
	"bits":    func(e *Engine, x, _ Vec, _, _ Words) { e.Bits(x) },
	"lt":      func(e *Engine, _, _ Vec, x, y Words) { e.LT(x, y) },
	"shuffle": func(e *Engine, x, _ Vec, _, y Words) { e.Shuffle(Table{Vecs: []Vec{x}, Words: []Words{y}}) },
	"top": func(e *Engine, _, _ Vec, x, y Words) {
		e.ScanTop([]Words{x, y}, Flags{make([]uint64, (x.Len()+63)/64), make([]uint64, (x.Len()+63)/64), x.Len()})
	},
	"scan":     func(e *Engine, x, _ Vec, _, _ Words) { e.Scan(x, x) },
	"truncate": func(e *Engine, x, _ Vec, _, _ Words) { e.Truncate(x, 16) },
	"select": func(e *Engine, _, _ Vec, x, y Words) {
		e.Select(Flags{make([]uint64, (x.Len()+63)/64), make([]uint64, (x.Len()+63)/64), x.Len()}, x, y)
	},
}

// chi is the chi-square statistic of bytes against the uniform distribution, 255 degrees of freedom.
func chi(b []byte) float64 {
	var n [256]float64
	for _, x := range b {
		n[x]++
	}
	want, sum := float64(len(b))/256, 0.0
	for _, c := range n {
		sum += (c - want) * (c - want) / want
	}
	return sum
}

// chiLimit is passed by a uniform sample with probability below 10^-9 (Wilson-Hilferty, z = 6).
var chiLimit = 255 * math.Pow(1-2.0/(9*255)+6*math.Sqrt(2.0/(9*255)), 3)

const viewRows = 4096 // 32 KB a message and column: at least 128 of each byte expected

func view(t *testing.T, name string, seed uint64, weak bool) *net {
	p, adversary := protocols[name], SemiHonest
	if name == "proved" || name == "proved bits" {
		adversary = MaliciousAbort
	}
	x, y := make([]uint64, viewRows), make([]uint64, viewRows)
	for i := range x { // all rows alike and small: what leaks is seen at once
		x[i], y[i] = 42, 7
	}
	_, errs, n := run(t, setup{adversary: adversary, seed: seed, keep: true, engine: func(e *Engine) {
		if weak { // the leaky mutant: the mask of one pair repeats from operator to operator and row to row
			e.next.hook, e.prev.hook = nil, nil
			e.next.aes, e.prev.aes = constant{}, constant{}
		}
	}}, func(e *Engine, _ *Opener) (int, error) {
		a, b := e.Input(0, mine(e, 0, x), viewRows), e.Input(1, mine(e, 1, y), viewRows)
		aw, bw := e.InputWords(0, mine(e, 0, x), viewRows), e.InputWords(1, mine(e, 1, y), viewRows)
		p(e, a, b, aw, bw)
		return 0, nil
	})
	for i, err := range errs {
		if err != nil {
			t.Fatalf("party %d: %v", i, err)
		}
	}
	return n
}

// constant is a broken block cipher.
type constant struct{}

func (constant) BlockSize() int          { return 16 }
func (constant) Encrypt(dst, src []byte) { copy(dst, "sixteen same byt") }
func (constant) Decrypt(dst, src []byte) { copy(dst, src) }

// TestViews: what each party receives passes a chi-square test of its bytes against the uniform distribution, over constant values, at
// each of eight seeds; the differences of two runs with equal values but other keys pass it too. A mutant whose masks repeat does not.
func TestViews(t *testing.T) {
	for name := range protocols {
		for seed := range uint64(8) {
			n, m := view(t, name, seed, false), view(t, name, seed+100, false)
			for i := range 3 {
				if len(n.views[i]) < 8*viewRows {
					continue // a party that receives nothing in this protocol
				}
				if c := chi(n.views[i]); c > chiLimit {
					t.Errorf("%s, seed %d, party %d: chi-square %.0f over %.0f on %d bytes", name, seed, i, c, chiLimit, len(n.views[i]))
				}
				diff := make([]byte, len(n.views[i]))
				for k := range diff {
					diff[k] = n.views[i][k] ^ m.views[i][k]
				}
				if c := chi(diff); c > chiLimit {
					t.Errorf("%s, seed %d, party %d: the difference of two runs has chi-square %.0f", name, seed, i, c)
				}
			}
		}
		n := view(t, name, 1, true)
		caught := false
		for i := range 3 {
			caught = caught || len(n.views[i]) > 0 && chi(n.views[i]) > chiLimit
		}
		if !caught {
			t.Errorf("%s: the test does not see a mutant whose masks repeat", name)
		}
	}
}

// TestTrace: the messages, their order and their lengths are the same for other values of equal number, in either model; and the
// trace that parties compare is the same at all three.
func TestTrace(t *testing.T) {
	for _, w := range slices.Concat(twins, segmentTwins) {
		for _, m := range []Adversary{SemiHonest, MaliciousAbort} {
			var lengths [2][3][]string
			var digests [2][3][32]byte
			for k := range 2 {
				r := rand.New(rand.NewPCG(uint64(k), 9))
				rows := 37
				x, y := column(r, rows), column(r, rows)
				if k == 1 {
					clear(x)
				}
				out, errs, n := run(t, setup{adversary: m, seed: uint64(k)}, func(e *Engine, o *Opener) ([32]byte, error) {
					a, b := e.Input(0, mine(e, 0, x), rows), e.Input(1, mine(e, 1, y), rows)
					aw, bw := e.InputWords(2, mine(e, 2, x), rows), e.InputWords(1, mine(e, 1, y), rows)
					_, err := w.shared(e, o, a, b, aw, bw)
					return e.TraceDigest(), err
				})
				if errs[0] != nil {
					t.Fatalf("%s: %v", w.name, errs[0])
				}
				lengths[k], digests[k] = n.lengths, out
			}
			for i := range 3 {
				if !slices.Equal(lengths[0][i], lengths[1][i]) {
					t.Errorf("%s, %s: party %d's messages follow the values", w.name, m, i)
				}
				if digests[0][i] != digests[0][0] || digests[1][i] != digests[0][0] {
					t.Errorf("%s, %s: traces differ", w.name, m)
				}
			}
		}
	}
}

// TestLeakage: within an operator exactly as many words are opened as its declaration says.
func TestLeakage(t *testing.T) {
	declared := map[Op]Leakage{}
	for _, l := range Leaks() {
		declared[l.Op] = l
	}
	const rows, keyBits = 20, 5
	for op, f := range map[Op]func(e *Engine, x Vec, w Words){
		OpMul: func(e *Engine, x Vec, _ Words) { e.Mul(x, x) }, OpDot: func(e *Engine, x Vec, _ Words) { e.Dot(x, x, 2) },
		OpAnd: func(e *Engine, _ Vec, w Words) { e.And(w, w) }, OpBits: func(e *Engine, x Vec, _ Words) { e.Bits(x) },
		OpLT: func(e *Engine, _ Vec, w Words) { e.LT(w, w) }, OpEQ: func(e *Engine, _ Vec, w Words) { e.EQ(w, w) },
		OpVec: func(e *Engine, _ Vec, w Words) { e.Vec(e.EQ(w, w)) }, OpSelect: func(e *Engine, _ Vec, w Words) { e.Select(e.EQ(w, w), w, w) },
		OpShuffle: func(e *Engine, x Vec, _ Words) { e.Shuffle(Table{Vecs: []Vec{x}}) },
		OpSort:    func(e *Engine, _ Vec, w Words) { e.Sort(w, keyBits, Table{}) },
		OpScan:    func(e *Engine, x Vec, _ Words) { e.Scan(x, x) }, OpTrunc: func(e *Engine, x Vec, _ Words) { e.Truncate(x, 4) },
		OpLess: func(e *Engine, x Vec, _ Words) { e.Less(x, x) },
	} {
		out, errs, _ := run(t, setup{}, func(e *Engine, _ *Opener) (int, error) {
			x, w := e.Input(0, mine(e, 0, make([]uint64, rows)), rows), e.InputWords(0, mine(e, 0, make([]uint64, rows)), rows)
			f(e, x, w)
			return e.opened, nil
		})
		if want := declared[op].PerRow * rows * keyBits; errs[0] != nil || out[0] != want {
			t.Errorf("%s opens %d words, declared %d (%v)", op, out[0], want, errs[0])
		}
	}
}

// TestLedger: no counter of a pair's key makes two messages' masks; both ends used the same; the ledger lists all that was generated.
func TestLedger(t *testing.T) {
	for _, m := range []Adversary{SemiHonest, MaliciousAbort} {
		type use struct{ at, blocks uint64 }
		var uses [3][2][]use
		check := false
		type ledger struct{ prev, next []Span }
		out, errs, _ := run(t, setup{adversary: m, engine: func(e *Engine) {
			for k, s := range []*stream{e.prev, e.next} {
				s.hook = func(at uint64, words int) { uses[e.me][k] = append(uses[e.me][k], use{at, uint64(words+1) / 2}) }
			}
		}}, func(e *Engine, o *Opener) (ledger, error) {
			n := 2*chunk + 3
			x, y := e.Input(0, mine(e, 0, make([]uint64, n)), n), e.Input(1, mine(e, 1, make([]uint64, n)), n)
			z := e.Mul(x, y)
			e.Dot(z, y, n)
			if m == SemiHonest {
				e.Sort(e.Bits(z.Slice(0, 99)), 3, Table{Vecs: []Vec{z.Slice(0, 99)}})
				e.Truncate(z, 8)
			}
			e.Shuffle(Table{Vecs: []Vec{z.Slice(0, 99)}, Words: []Words{e.Bits(z.Slice(0, 99))}})
			if m == MaliciousAbort {
				// The proof recomputes masks that it does not send: those are the only repeats.
				e.claims, e.terms, e.moves, e.gates, e.gateWords, e.wordMoves, e.wordRows = nil, 0, nil, nil, 0, nil, 0
			}
			_, err := o.Open(z)
			p, x2 := e.Ledger()
			return ledger{p, x2}, err
		})
		for i := range 3 {
			if errs[i] != nil {
				t.Fatal(errs[i])
			}
			if !slices.Equal(out[i].next, out[(i+1)%3].prev) {
				t.Errorf("%s: the two ends of pair %d used different counters", m, (i+1)%3)
			}
			for k, us := range uses[i] {
				slices.SortFunc(us, func(a, b use) int { return int(a.at) - int(b.at) })
				for j := 1; j < len(us); j++ {
					if us[j-1].at+us[j-1].blocks > us[j].at {
						t.Errorf("%s: party %d, key %d: counters from %d made two masks", m, i, k, us[j].at)
					}
				}
				check = check || len(us) > 3
				last := us[len(us)-1]
				spans := out[i].prev
				if k == 1 {
					spans = out[i].next
				}
				if end := spans[len(spans)-1]; last.at+last.blocks > end.First+end.Blocks {
					t.Errorf("%s: party %d generated beyond its ledger", m, i)
				}
			}
		}
		if !check {
			t.Error("nothing was generated")
		}
	}
	s, err := newStream(AESGenerator, pairSecret(1, 1), "test")
	if err != nil {
		t.Fatal(err)
	}
	s.next = maxCounter - 1
	if _, ok := s.take(4); ok {
		t.Error("counters beyond the bound are given")
	}
}

// TestFixed: a fixed-point product is within one unit of the exact one where the bound says so.
func TestFixed(t *testing.T) {
	const places, n = 16, 20000
	r := rand.New(rand.NewPCG(7, 7))
	x, y := make([]uint64, n), make([]uint64, n)
	for i := range x { // products below 2^42: at most 2^-21 a row to be far off, seed fixed
		x[i], y[i] = uint64(r.Int64N(1<<22)-1<<21), uint64(r.Int64N(1<<22)-1<<21)
	}
	x[0], y[0], x[1], y[1], x[2], y[2] = 0, 0, ^uint64(0), 1, 1<<16, 1<<16
	out, errs, _ := run(t, setup{}, func(e *Engine, o *Opener) ([]uint64, error) {
		return o.Open(e.MulFixed(e.Input(0, mine(e, 0, x), n), e.Input(1, mine(e, 1, y), n), places))
	})
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	for i, got := range out[0] {
		exact := float64(int64(x[i])) * float64(int64(y[i])) / (1 << places)
		if d := math.Abs(float64(int64(got)) - exact); d >= 1 {
			t.Fatalf("row %d: %.3f units off", i, d)
		}
	}
}

// TestShuffleUniform: over 2,400 seeds the orders of four rows are spread over all 24, chi-square with 23 degrees of freedom.
func TestShuffleUniform(t *testing.T) {
	count := map[[4]uint64]float64{}
	const runs = 2400
	for seed := range uint64(runs) {
		out, errs, _ := run(t, setup{seed: seed}, func(e *Engine, o *Opener) ([]uint64, error) {
			return o.Open(e.Shuffle(Table{Vecs: []Vec{e.Public([]uint64{0, 1, 2, 3})}}).Vecs[0])
		})
		if errs[0] != nil {
			t.Fatal(errs[0])
		}
		count[[4]uint64(out[0])]++
	}
	sum := float64(24-len(count)) * runs / 24
	for _, c := range count {
		sum += (c - runs/24.0) * (c - runs/24.0) / (runs / 24.0)
	}
	if sum > 80 { // probability about 10^-7
		t.Errorf("chi-square %.1f over 24 orders", sum)
	}
}

// TestArrow: parts that lie in Arrow buffers are computed on where they are.
func TestArrow(t *testing.T) {
	b := array.NewUint64Builder(memory.NewGoAllocator())
	defer b.Release()
	b.AppendValues([]uint64{1, 2, ^uint64(0)}, nil)
	a := b.NewUint64Array()
	defer a.Release()
	out, errs, _ := run(t, setup{}, func(e *Engine, o *Opener) ([]uint64, error) {
		x := VecOf(a.Uint64Values(), a.Uint64Values()) // each party the same: x = 3a
		if &x.a[0] != &a.Uint64Values()[0] {
			t.Error("copied")
		}
		return o.Open(e.Mul(x, x))
	})
	same(t, "arrow", out, errs, []uint64{9, 36, 9})
}
