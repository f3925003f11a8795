package share

import "github.com/opdomain/opdomain/attest/sm"

const (
	maxTerms = 1 << 18 // products in one proof: its vectors have 2^19 entries, which three cuts bring to 16
	maxGates = 1 << 20 // words of and-gates in one proof
)

// claim is a multiplication or inner product that has yet to be proved: inputs, output and the counters of its masks.
type claim struct {
	x, y, z  Vec
	per      int // factors in one sum
	at0, at1 uint64
}

// claim remembers what Verify has to prove, in portions whose proof is bounded.
func (e *Engine) claim(c claim) {
	if e.adversary != MaliciousAbort || e.err != nil {
		return
	}
	// An inner product stays whole, since it is one equation; one that is too long for a proof is an error before data.
	if c.per > maxTerms {
		e.begin(OpVerify, false, MaxRows+1)
		return
	}
	for c.z.Len() > 0 {
		room := (maxTerms - e.terms) / c.per
		if room >= 2 {
			room -= room % 2 // masks are drawn in pairs of words
		}
		if room == 0 || room == 1 && c.z.Len() > 1 {
			if e.terms > 0 {
				e.Verify()
				continue
			}
			room = 1 // alone in its proof
		}
		n := min(room, c.z.Len())
		head := c
		head.x, head.y, head.z = c.x.Slice(0, n*c.per), c.y.Slice(0, n*c.per), c.z.Slice(0, n)
		e.claims = append(e.claims, head)
		e.terms += n * c.per
		c.x, c.y, c.z = c.x.Slice(n*c.per, c.x.Len()), c.y.Slice(n*c.per, c.y.Len()), c.z.Slice(n, c.z.Len())
		if n%2 == 1 && c.z.Len() > 0 {
			e.begin(OpVerify, false, MaxRows+1) // the next portion would start within a pair
			return
		}
		c.at0, c.at1 = c.at0+uint64(n/2), c.at1+uint64(n/2)
	}
}

// Verify proves everything since the last proof that a message could have made wrong: products, and-gates, the places of shuffled rows; and
// checks the proofs of the others. It runs by itself before anything opens and when enough has gathered; nothing is sent under
// SemiHonest. Per product and shuffled integer and party 8 bytes, and up to 50 KB for each of the two proofs, of integers and of bits.
func (e *Engine) Verify() {
	if e.adversary != MaliciousAbort || e.err != nil {
		return
	}
	e.verifyIntegers()
	e.verifyBits()
}

// verifyIntegers proves products modulo 2^64 and the places of shuffled integers.
func (e *Engine) verifyIntegers() {
	if e.terms == 0 {
		return
	}
	claims, moves, terms := e.claims, e.moves, e.terms
	e.claims, e.moves, e.terms = nil, nil, 0
	e.note(OpVerify, terms)
	outs, products, moved := 0, 0, 0
	for _, c := range claims {
		outs, products = outs+c.z.Len(), products+c.x.Len()
	}
	for _, m := range moves {
		moved += 2 * m.rows * len(m.steps[0].in)
	}
	outs += moved

	// The carries, shared between the two verifiers: one share from the generator, the other sent.
	carry := make([]uint64, outs)
	e.moveCarries(moves, carry[e.carries(claims, carry):])
	if e.err != nil {
		return
	}
	if e.cheat != nil {
		e.cheat("carries", carry)
	}
	theirs, given := e.share(carry, func(x, y []uint64) { subInto(x, x, y) })
	weights := e.coin()
	if e.err != nil {
		return
	}

	length := 2*products + moved
	p := &proof[u128]{e: e, ring: &integers}
	size := p.padded(length)
	p.prove = side[u128]{u: make([]u128, size), v: make([]u128, size)}
	p.of.u, p.by.v = make([]u128, size), make([]u128, size)
	prove, of, by := &p.prove, &p.of, &p.by
	i, o := 0, 0
	rho := make([]uint64, chunk)
	f := make([]uint64, chunk)
	for _, c := range claims {
		for lo := 0; lo < c.z.Len(); lo += chunk {
			hi := min(lo+chunk, c.z.Len())
			w, m := rho[:hi-lo], f[:hi-lo]
			weights.fill(w, e.reserve(weights, hi-lo))
			if e.cheat != nil {
				e.cheat("weights", w)
			}
			e.next.fill(m, c.at1+uint64(lo/2)) // F of the party after, who proves towards me as the party before it
			for g := lo; g < hi; g++ {
				r := w[g-lo]
				plain := uint64(0)
				for k := g * c.per; k < (g+1)*c.per; k++ {
					xa, ya, xb, yb := c.x.a[k], c.y.a[k], c.x.b[k], c.y.b[k]
					prove.u[i], prove.u[products+i] = u128{0, xa}.scale(r), u128{0, ya}.scale(r)
					prove.v[i], prove.v[products+i] = u128{0, yb}, u128{0, xb}
					of.u[i], of.u[products+i] = u128{0, xb}.scale(r), u128{0, yb}.scale(r)
					by.v[i], by.v[products+i] = u128{0, ya}, u128{0, xa}
					plain += xb * yb
					i++
				}
				known := c.z.b[g] - plain - m[g-lo]
				of.t = of.t.add(u128{given[o+g-lo], known}.scale(r))
			}
			e.prev.fill(m, c.at0+uint64(lo/2)) // F that the party before and I have in common: its mask's other half
			for g := lo; g < hi; g++ {
				by.t = by.t.add(u128{theirs[o+g-lo], 0}.sub(u128{0, -m[g-lo]}).scale(w[g-lo]))
			}
			o += hi - lo
		}
	}
	e.placeIntegers(p, moves, weights, 2*products, given[o:], theirs[o:])
	p.run(length)
}

// carries computes w of each of this party's equations, and gives their number.
func (e *Engine) carries(claims []claim, out []uint64) int {
	o := 0
	r, s := make([]uint64, chunk), make([]uint64, chunk)
	for _, c := range claims {
		for lo := 0; lo < c.z.Len(); lo += chunk {
			hi := min(lo+chunk, c.z.Len())
			e.prev.fill(r[:hi-lo], c.at0+uint64(lo/2))
			e.next.fill(s[:hi-lo], c.at1+uint64(lo/2))
			for g := lo; g < hi; g++ {
				sum, plain := u128{}, uint64(0)
				for k := g * c.per; k < (g+1)*c.per; k++ {
					sum = sum.add(u128{0, c.x.a[k]}.scale(c.y.b[k])).add(u128{0, c.x.b[k]}.scale(c.y.a[k]))
					plain += c.x.a[k] * c.y.a[k]
				}
				known, mask := c.z.a[g]-plain-r[g-lo], -s[g-lo]
				out[o] = sum.sub(u128{0, known}).add(u128{0, mask}).hi
				o++
			}
		}
	}
	return o
}

// coin tosses a public coin: a generator whose key nobody knew before. Everybody first says that all that was sent to it before is
// there; a party that waits with its message to see the coin gets none.
func (e *Engine) coin() *stream {
	var one, two, here [1]uint64
	e.both(here[:], here[:], one[:], two[:])
	for peer, got := range map[int]uint64{e.before(): one[0], e.after(): two[0]} {
		if e.err == nil && got != 0 {
			e.accuse(peer, "a barrier carries nothing")
		}
	}
	at, nextAt := e.reserve(e.prev, 4), e.reserve(e.next, 4)
	if e.err != nil {
		return nil
	}
	a, b := make([]uint64, 4), make([]uint64, 4)
	e.prev.fill(a, at)
	e.next.fill(b, nextAt)
	c := e.open(a, b)
	if e.err != nil {
		return nil
	}
	part := make([][]byte, 3)
	part[e.me], part[e.after()], part[e.before()] = asBytes(a), asBytes(b), asBytes(c)
	key := sm.Sum(part...)
	s, err := newStream(e.generator, key[:], "coin")
	if err != nil {
		e.fail(err)
		return nil
	}
	return s
}

// Adopt takes this party's part of a column that a source unit split, and compares the copies that two parties hold: a unit that gives
// them different ones ends the session. Under SemiHonest it does the same: a unit is trusted for the truth of its data, not for its software.
func (e *Engine) Adopt(v Vec) Vec {
	if !e.begin(OpAdopt, len(v.a) == len(v.b), len(v.a)) {
		return newVec(len(v.a))
	}
	coin := e.coin()
	if e.err != nil {
		return newVec(len(v.a))
	}
	var a, b u128
	w := make([]uint64, chunk)
	for lo := 0; lo < len(v.a); lo += chunk {
		hi := min(lo+chunk, len(v.a))
		coin.fill(w[:hi-lo], e.reserve(coin, hi-lo))
		for i := lo; i < hi; i++ {
			a, b = a.add(u128{0, v.a[i]}.scale(w[i-lo])), b.add(u128{0, v.b[i]}.scale(w[i-lo]))
		}
	}
	// The coin is tossed after the parts came; one number for a part, to the party that holds it too.
	var fromPrev, fromNext [2]uint64
	e.both([]uint64{a.lo, a.hi}, []uint64{b.lo, b.hi}, fromPrev[:], fromNext[:])
	if e.err == nil && (u128{fromPrev[1], fromPrev[0]} != a || u128{fromNext[1], fromNext[0]} != b) {
		e.accuse(-1, "both holders have the same part of an input")
	}
	return v
}
