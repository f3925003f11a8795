package share

import (
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// TestCheating: one party deviates once, at a random place and by a random or the hardest amount (the highest bit alone). A wrong
// product, inner product or opening gives nobody an output. Who lies within the proof of right products may pass by luck, which the
// coins alone decide, and then the output is the right one.
func TestCheating(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	deviations := map[string]func(v []uint64){
		"the highest bit":    func(v []uint64) { v[r.IntN(len(v))] ^= 1 << 63 },
		"one more":           func(v []uint64) { v[r.IntN(len(v))]++ },
		"a random amount":    func(v []uint64) { v[r.IntN(len(v))] += r.Uint64() | 1 },
		"two that cancel":    func(v []uint64) { v[0]++; v[len(v)-1]-- },
		"every second":       func(v []uint64) { each(len(v)/2+1, func(i int) { v[min(2*i, len(v)-1)] ^= 1 << 63 }) },
		"the halves of 2^64": func(v []uint64) { v[0] += 1 << 63; v[len(v)-1] += 1 << 62 },
	}
	program := func(n int) func(e *Engine, o *Opener) ([]uint64, error) {
		return func(e *Engine, o *Opener) ([]uint64, error) {
			x, y := e.Input(0, mine(e, 0, column(rand.New(rand.NewPCG(1, 1)), n)), n), e.Input(1, mine(e, 1, column(rand.New(rand.NewPCG(2, 2)), n)), n)
			z := e.Mul(x, y)
			return o.Open(Concat(z, e.Dot(z, y, n/2)))
		}
	}
	sizes := []int{2, 40, 700}
	right, tried, lucky := map[int][]uint64{}, 0, 0
	for _, n := range sizes {
		out, errs, _ := run(t, setup{adversary: MaliciousAbort}, program(n))
		if errs[0] != nil {
			t.Fatal(errs[0])
		}
		right[n] = out[0]
	}
	for _, what := range []string{"mul", "dot", "open", "carries", "products of blocks", "last vectors"} {
		for name, deviate := range deviations {
			for _, n := range sizes {
				for cheater := range 3 {
					struck := false
					out, errs, _ := run(t, setup{adversary: MaliciousAbort, seed: r.Uint64(), engine: func(e *Engine) {
						if e.me == cheater {
							e.cheat = func(at string, v []uint64) {
								if at == what && !struck {
									struck = true
									deviate(v)
								}
							}
						}
					}}, program(n))
					if !struck {
						t.Fatalf("%s: the cheater had no occasion", what)
					}
					within := what != "mul" && what != "dot" && what != "open"
					for i := range 3 {
						switch {
						case i == cheater || errs[i] != nil && out[i] == nil:
						case within && slices.Equal(out[i], right[n]):
							lucky++
						default:
							t.Errorf("%s, %s, %d rows, party %d cheats: party %d has an output", what, name, n, cheater, i)
						}
					}
					if within {
						tried++
					}
				}
			}
		}
	}
	// A lie of a random amount passes with probability 2^-64, of the highest bit of 128 with 1/2: fewer than half of all here.
	if lucky > tried {
		t.Errorf("%d honest parties accepted lies in %d proofs", lucky, tried)
	}
}

// TestAdaptiveProver: the best attack on the proof: a product whose highest bit alone is wrong, the carry as near as can be, and, once
// the weights are known, a diagonal entry changed so that the trace is right. What is left hangs on the coins of the folds: it is caught
// at every one of 300 seeds.
func TestAdaptiveProver(t *testing.T) {
	for seed := range uint64(300) {
		rows := 1 + int(seed%3)*50
		first, weight := true, uint64(0)
		out, errs, _ := run(t, setup{adversary: MaliciousAbort, seed: seed, engine: func(e *Engine) {
			if e.me != 1 {
				return
			}
			e.cheat = func(at string, v []uint64) {
				switch {
				case at == "mul":
					v[0] ^= 1 << 63
				case at == "weights":
					weight = v[0]
				case at == "products of blocks" && first:
					first = false
					g := u128{v[1], v[0]}.sub(u128{0, 1 << 63}.scale(weight))
					v[0], v[1] = g.lo, g.hi
				}
			}
		}}, func(e *Engine, o *Opener) ([]uint64, error) {
			x := e.Input(0, mine(e, 0, column(rand.New(rand.NewPCG(seed, 1)), rows)), rows)
			return o.Open(e.Mul(x, x))
		})
		if first {
			t.Fatal("the prover had no occasion")
		}
		if errs[0] == nil || errs[2] == nil || out[0] != nil || out[2] != nil {
			t.Errorf("seed %d: a wrong product passed", seed)
		}
	}
}

// bitwise is a program over every kind of message that words, flags, conversions and shuffled rows send.
func bitwise(n int) func(e *Engine, o *Opener) ([]uint64, error) {
	return func(e *Engine, o *Opener) ([]uint64, error) {
		x, y := column(rand.New(rand.NewPCG(1, 1)), n), column(rand.New(rand.NewPCG(2, 2)), n)
		xw, yw := e.InputWords(0, mine(e, 0, x), n), e.InputWords(1, mine(e, 1, y), n)
		less := e.LT(xw, yw)
		small := e.Select(less, xw, yw)
		moved := e.Shuffle(Table{Vecs: []Vec{e.Vec(less), e.Input(2, mine(e, 2, x), n)}, Words: []Words{small, e.Bits(e.Vec(e.EQ(xw, yw)))}})
		// Opened in order of the values, since the shuffle's own order differs by seed.
		v, err := o.Open(moved.Vecs[1])
		if err != nil {
			return nil, err
		}
		w, err := o.OpenWords(moved.Words[0])
		slices.Sort(v)
		slices.Sort(w)
		return append(v, w...), err
	}
}

// TestCheatingBits: one party deviates once in any message of a comparison, a selection, a conversion, a shuffle, its proof or an opening:
// nobody has a wrong output.
func TestCheatingBits(t *testing.T) {
	r := rand.New(rand.NewPCG(7, 4))
	deviations := map[string]func(v []uint64){
		"one bit":         func(v []uint64) { v[r.IntN(len(v))] ^= 1 << r.IntN(64) },
		"a random amount": func(v []uint64) { v[r.IntN(len(v))] += r.Uint64() | 1 },
		"two alike":       func(v []uint64) { d := r.Uint64() | 1; v[0] ^= d; v[len(v)-1] ^= d; v[len(v)/2]++ },
		"rows exchanged":  func(v []uint64) { v[0], v[1], v[2] = v[1]+1, v[0], v[2]-1 },
	}
	const n = 130
	right, errs, _ := run(t, setup{adversary: MaliciousAbort}, bitwise(n))
	if errs[0] != nil {
		t.Fatal(errs[0])
	}
	lucky, tried := 0, 0
	for _, what := range []string{"and", "mul", "shuffle", "products of places", "products of blocks", "carries", "last vectors", "open"} {
		for name, deviate := range deviations {
			for cheater := range 3 {
				for _, after := range []int{0, r.IntN(2), r.IntN(4)} { // which of the messages of the kind
					struck := false
					out, errs, _ := run(t, setup{adversary: MaliciousAbort, seed: r.Uint64(), engine: func(e *Engine) {
						if e.me == cheater {
							left := after
							if what == "shuffle" || what == "products of places" || what == "carries" || what == "last vectors" {
								left %= 2
							}
							if what == "products of places" || what == "carries" {
								left = 0
							}
							e.cheat = func(at string, v []uint64) {
								if at == what && !struck {
									if left--; left < 0 {
										struck = true
										deviate(v)
									}
								}
							}
						}
					}}, bitwise(n))
					if !struck {
						t.Fatalf("%s: the cheater had no occasion", what)
					}
					within := what != "and" && what != "mul" && what != "shuffle" && what != "open"
					if within {
						tried++
					}
					for i := range 3 {
						switch {
						case i == cheater || errs[i] != nil && out[i] == nil:
						case within && slices.Equal(out[i], right[i]):
							lucky++
						default:
							t.Errorf("%s, %s, party %d cheats: party %d has an output", what, name, cheater, i)
						}
					}
				}
			}
		}
	}
	if lucky > tried/4 { // a lie within the proof of right integers may pass by luck
		t.Errorf("%d honest parties accepted lies in %d proofs", lucky, tried)
	}
}

// TestAdaptiveBits: the best attack on the proof of gates: a wrong bit, and, once the weights are known, a diagonal entry that makes the
// trace right. The coins of the places catch it at every one of 100 seeds.
func TestAdaptiveBits(t *testing.T) {
	for seed := range uint64(100) {
		rows, weight, changed := 1+int(seed%3)*50, uint64(0), false
		out, errs, _ := run(t, setup{adversary: MaliciousAbort, seed: seed, engine: func(e *Engine) {
			if e.me != 1 {
				return
			}
			e.cheat = func(at string, v []uint64) {
				switch at {
				case "and":
					v[0] ^= 1 << 5
				case "weights of gates":
					weight = v[0]
				case "products of places":
					changed = true
					v[64*5+5] ^= weight
				}
			}
		}}, func(e *Engine, o *Opener) ([]uint64, error) {
			x := e.InputWords(0, mine(e, 0, column(rand.New(rand.NewPCG(seed, 1)), rows)), rows)
			return o.OpenWords(e.And(x, x))
		})
		if !changed {
			t.Fatal("the prover had no occasion")
		}
		if errs[0] == nil || errs[2] == nil || out[0] != nil || out[2] != nil {
			t.Errorf("seed %d: a wrong gate passed", seed)
		}
	}
}

// TestSortHidesBeforeProof: a sort whose places a party made wrong ends before the places open, so that they say nothing about keys.
func TestSortHidesBeforeProof(t *testing.T) {
	for _, what := range []string{"mul", "shuffle"} {
		for cheater := range 3 {
			var opened [3]int
			_, errs, _ := run(t, setup{adversary: MaliciousAbort, engine: func(e *Engine) {
				if e.me != cheater {
					return
				}
				struck := false
				e.cheat = func(at string, v []uint64) {
					if at == what && !struck {
						struck = true
						v[3]++
					}
				}
			}}, func(e *Engine, _ *Opener) (int, error) {
				w := e.InputWords(0, mine(e, 0, column(rand.New(rand.NewPCG(1, 1)), 40)), 40)
				e.Sort(w, 4, Table{})
				opened[e.me] = e.opened
				return 0, e.Err()
			})
			for i := range 3 {
				if i != cheater && (errs[i] == nil || opened[i] != 0) {
					t.Errorf("%s, party %d cheats: party %d goes on (%v) with %d places opened", what, cheater, i, errs[i], opened[i])
				}
			}
		}
	}
}

// TestSemiHonestDoesNotCheck shows that the cheat above is one: without the check a wrong product comes out.
func TestSemiHonestDoesNotCheck(t *testing.T) {
	out, errs, _ := run(t, setup{engine: func(e *Engine) {
		if e.me == 1 {
			e.cheat = func(at string, v []uint64) {
				if at == "mul" {
					v[0]++
				}
			}
		}
	}}, func(e *Engine, o *Opener) ([]uint64, error) {
		x := e.Input(0, mine(e, 0, []uint64{3}), 1)
		return o.Open(e.Mul(x, x))
	})
	if errs[0] != nil || out[0][0] != 10 {
		t.Errorf("%v %v: the cheat does not change the output, so the tests above prove nothing", out[0], errs[0])
	}
}

// TestReplicas: a source unit that gives two parties different copies of a part is caught before anything opens.
func TestReplicas(t *testing.T) {
	r := rand.New(rand.NewPCG(5, 6))
	values := column(r, 100)
	for _, m := range []Adversary{SemiHonest, MaliciousAbort} {
		for _, bad := range []bool{false, true} {
			random := make([]uint64, 200)
			for i := range random {
				random[i] = r.Uint64()
			}
			parts, ok := Split(values, random)
			if !ok {
				t.Fatal("split")
			}
			if bad {
				other := append([]uint64(nil), parts[1].a...)
				other[17] ^= 1 << 63
				parts[1].a = other
			}
			out, errs, _ := run(t, setup{adversary: m}, func(e *Engine, o *Opener) ([]uint64, error) {
				return o.Open(e.Adopt(parts[e.me]))
			})
			if !bad {
				same(t, "adopt", out, errs, values)
				continue
			}
			for i := range 3 {
				if errs[i] == nil {
					t.Errorf("%s: party %d has an output from differing copies", m, i)
				}
			}
		}
	}
}

// TestNoDowngrade: under the malicious model an operator without a check is refused before a message, and one with a check runs; a
// plan's model is never left.
func TestNoDowngrade(t *testing.T) {
	checked := map[Op]bool{}
	for _, l := range Leaks() {
		checked[l.Op] = l.Malicious
	}
	ops := map[Op]func(e *Engine, x Vec, w Words){
		OpMul: func(e *Engine, x Vec, _ Words) { e.Mul(x, x) }, OpDot: func(e *Engine, x Vec, _ Words) { e.Dot(x, x, 2) },
		OpAnd: func(e *Engine, _ Vec, w Words) { e.And(w, w) }, OpBits: func(e *Engine, x Vec, _ Words) { e.Bits(x) },
		OpLT: func(e *Engine, _ Vec, w Words) { e.LT(w, w) }, OpEQ: func(e *Engine, _ Vec, w Words) { e.EQ(w, w) },
		OpVec: func(e *Engine, _ Vec, _ Words) { e.Vec(newFlags(4)) }, OpSelect: func(e *Engine, _ Vec, w Words) { e.Select(newFlags(4), w, w) },
		OpShuffle: func(e *Engine, x Vec, _ Words) { e.Shuffle(Table{Vecs: []Vec{x}}) }, OpSort: func(e *Engine, _ Vec, w Words) { e.Sort(w, 2, Table{}) },
		OpScan: func(e *Engine, x Vec, _ Words) { e.Scan(x, x) }, OpTrunc: func(e *Engine, x Vec, _ Words) { e.Truncate(x, 4) },
		OpLess: func(e *Engine, x Vec, _ Words) { e.Less(x, x) },
	}
	for op, f := range ops {
		_, errs, n := run(t, setup{adversary: MaliciousAbort}, func(e *Engine, _ *Opener) (int, error) {
			f(e, newVec(4), newWords(4))
			return 0, nil
		})
		for i, err := range errs {
			switch {
			case checked[op] && err != nil:
				t.Errorf("%s, party %d: %v", op, i, err)
			case !checked[op] && !errors.Is(err, sandbox.Denied):
				t.Errorf("%s, party %d: %v, want denied", op, i, err)
			case !checked[op] && len(n.lengths[i]) > 0:
				t.Errorf("%s, party %d sent a message before the refusal", op, i)
			}
		}
	}
}

// TestLengths: columns that do not meet are Invalid, before a message, and the engine stays failed.
func TestLengths(t *testing.T) {
	_, errs, n := run(t, setup{}, func(e *Engine, o *Opener) (int, error) {
		e.Mul(newVec(3), newVec(4))
		_, err := o.Open(newVec(1))
		return 0, err
	})
	for i, err := range errs {
		if !errors.Is(err, sandbox.Invalid) || len(n.lengths[i]) > 0 {
			t.Errorf("party %d: %v after %d messages", i, err, len(n.lengths[i]))
		}
	}
}

// TestBytes holds the malicious model to its stated price: at most 3 times the bytes of the semi-honest one, for products, gates and sorts.
func TestBytes(t *testing.T) {
	x, w := newVec(maxTerms), newWords(1<<15)
	for name, c := range map[string]struct {
		least, most int64 // percent
		f           func(e *Engine)
	}{
		"products":   {200, 300, func(e *Engine) { e.Sum(e.Mul(x, x)) }},
		"comparison": {101, 120, func(e *Engine) { e.LT(w, w) }},
		"conversion": {150, 300, func(e *Engine) { e.Vec(e.EQ(w, w)) }},
		"sort":       {150, 300, func(e *Engine) { e.Sort(w.Slice(0, 1<<12), 2, Table{Vecs: []Vec{x.Slice(0, 1<<12)}}) }},
	} {
		sent := map[Adversary]int64{}
		for _, m := range []Adversary{SemiHonest, MaliciousAbort} {
			got, errs, _ := run(t, setup{adversary: m}, func(e *Engine, _ *Opener) (int64, error) {
				c.f(e)
				e.Verify()
				return e.Sent(), e.Err()
			})
			if errs[0] != nil {
				t.Fatal(errs[0])
			}
			sent[m] = got[0]
		}
		price := 100 * sent[MaliciousAbort] / sent[SemiHonest]
		if price > c.most || price < c.least {
			t.Errorf("%s: %d bytes against %d", name, sent[MaliciousAbort], sent[SemiHonest])
		}
		t.Logf("%s: %d bytes a party semi-honest, %d with the proof", name, sent[SemiHonest], sent[MaliciousAbort])
	}
}
