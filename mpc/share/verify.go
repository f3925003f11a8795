package share

import (
	"math/bits"

	"github.com/opdomain/opdomain/attest/sm"
)

const (
	maxTerms  = 1 << 18 // products in one proof: its vectors have 2^19 entries, which three cuts bring to 16
	maxBlocks = 32
	leftOver  = 32 // entries that are shown at the end at most
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

// u128 is an integer modulo 2^128.
type u128 struct{ hi, lo uint64 }

func (x u128) add(y u128) u128 {
	lo, c := bits.Add64(x.lo, y.lo, 0)
	hi, _ := bits.Add64(x.hi, y.hi, c)
	return u128{hi, lo}
}

func (x u128) sub(y u128) u128 {
	lo, c := bits.Sub64(x.lo, y.lo, 0)
	hi, _ := bits.Sub64(x.hi, y.hi, c)
	return u128{hi, lo}
}

func (x u128) mul(y u128) u128 {
	hi, lo := bits.Mul64(x.lo, y.lo)
	return u128{hi + x.hi*y.lo + x.lo*y.hi, lo}
}

func (x u128) scale(c uint64) u128 {
	hi, lo := bits.Mul64(x.lo, c)
	return u128{hi + x.hi*c, lo}
}

func inner(x, y []u128) (sum u128) {
	y = y[:len(x)]
	for i := range x {
		sum = sum.add(x[i].mul(y[i]))
	}
	return sum
}

// side is one proof as one party sees it: as prover it has u and v, as the neighbour before the prover u, as the one after v.
type side struct {
	u, v []u128
	t    u128   // the verifier's share of <u, v>
	sums []u128 // what the two verifiers' shares must sum to zero in, one for each round
}

// Verify proves every product since the last proof, and checks the proofs of the others. It runs by itself before an Opener opens
// and when enough has gathered; nothing is sent under SemiHonest. Per product and party 8 bytes, and about 50 KB a proof.
func (e *Engine) Verify() {
	if e.adversary != MaliciousAbort || e.err != nil || e.terms == 0 {
		return
	}
	claims, terms := e.claims, e.terms
	e.claims, e.terms = nil, 0
	e.note(OpVerify, terms)
	outs := 0
	for _, c := range claims {
		outs += c.z.Len()
	}

	// The carries, shared between the two verifiers: one share from the generator, the other sent.
	carry, theirs, given := make([]uint64, outs), make([]uint64, outs), make([]uint64, outs)
	mineAt, nextAt := e.reserve(e.prev, outs), e.reserve(e.next, outs)
	if e.err != nil {
		return
	}
	e.carries(claims, carry)
	if e.cheat != nil {
		e.cheat("carries", carry)
	}
	e.prev.fill(given, mineAt) // what the party before has of my carries
	subInto(carry, carry, given)
	e.pass(e.after(), carry, e.before(), theirs)
	e.next.fill(given, nextAt) // what I have of the carries of the party after
	weights := e.coin()
	if e.err != nil {
		return
	}

	// Three proofs run side by side: mine, the one of the party after (I hold u) and the one of the party before (I hold v).
	length := 2 * terms
	size := padded(length)
	prove := side{u: make([]u128, size), v: make([]u128, size)}
	of := side{u: make([]u128, size)}
	by := side{v: make([]u128, size)}
	i, o := 0, 0
	rho := make([]uint64, 2*chunk)
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
					prove.u[i], prove.u[terms+i] = u128{0, xa}.scale(r), u128{0, ya}.scale(r)
					prove.v[i], prove.v[terms+i] = u128{0, yb}, u128{0, xb}
					of.u[i], of.u[terms+i] = u128{0, xb}.scale(r), u128{0, yb}.scale(r)
					by.v[i], by.v[terms+i] = u128{0, ya}, u128{0, xa}
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
	e.reduce(&prove, &of, &by, length)
	e.finish(&of, &by)
}

// carries computes w of each of this party's equations.
func (e *Engine) carries(claims []claim, out []uint64) {
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
}

// cut says into how many blocks of which length a vector goes, and whether it is the last round.
func cut(length int) (blocks, size int, last bool) {
	if length <= leftOver {
		return 1, length, true
	}
	size = (length + maxBlocks - 1) / maxBlocks
	return (length + size - 1) / size, size, size <= leftOver
}

func padded(length int) int {
	b, n, _ := cut(length)
	return b * n
}

// reduce cuts the vectors until little is left.
func (e *Engine) reduce(prove, of, by *side, length int) {
	for e.err == nil {
		blocks, n, last := cut(length)
		all := blocks
		if last { // a block of randomness, known to prover and verifier, hides what will be shown
			all++
			prove.u = e.randomBlock(prove.u, blocks*n, n, e.prev)
			of.u = e.randomBlock(of.u, blocks*n, n, e.next)
			prove.v = e.randomBlock(prove.v, blocks*n, n, e.next)
			by.v = e.randomBlock(by.v, blocks*n, n, e.prev)
		}
		words := 2 * all * all
		mine, theirs, given := make([]uint64, words), make([]uint64, words), make([]uint64, words)
		gram(mine, prove.u, prove.v, all, n)
		if e.cheat != nil {
			e.cheat("products of blocks", mine)
		}
		// The verifier before me has its share of my matrix from our generator, the one after gets the rest.
		at, nextAt := e.reserve(e.prev, words), e.reserve(e.next, words)
		if e.err != nil {
			return
		}
		e.prev.fill(given, at)
		for k := 0; k < words; k += 2 {
			d := u128{mine[k+1], mine[k]}.sub(u128{given[k+1], given[k]})
			mine[k], mine[k+1] = d.lo, d.hi
		}
		e.pass(e.after(), mine, e.before(), theirs)
		e.next.fill(given, nextAt)
		coin := e.coin()
		if e.err != nil {
			return
		}
		r, s := make([]u128, all), make([]u128, all)
		draw := make([]uint64, 4*all)
		coin.fill(draw, e.reserve(coin, len(draw)))
		for k := range all {
			r[k], s[k] = u128{draw[4*k], draw[4*k+1]}, u128{draw[4*k+2], draw[4*k+3]}
		}
		if last {
			r[blocks], s[blocks] = u128{0, 1}, u128{0, 1}
		}
		of.round(given, blocks, all, r, s)
		by.round(theirs, blocks, all, r, s)
		prove.u, prove.v = combine(prove.u, r, n), combine(prove.v, s, n)
		of.u, by.v = combine(of.u, r, n), combine(by.v, s, n)
		if last {
			return
		}
		length = n
		grow := padded(length)
		for _, v := range []*[]u128{&prove.u, &prove.v, &of.u, &by.v} {
			*v = append(*v, make([]u128, grow-n)...)
		}
	}
}

// randomBlock appends n entries from a generator behind the first at entries.
func (e *Engine) randomBlock(v []u128, at, n int, s *stream) []u128 {
	words := make([]uint64, 2*n)
	from := e.reserve(s, len(words))
	if e.err == nil {
		s.fill(words, from)
	}
	v = v[:at:at]
	for k := range n {
		v = append(v, u128{words[2*k], words[2*k+1]})
	}
	return v
}

// gram gives the inner products of all blocks of u with all blocks of v, low word first; a tile of the blocks at a time stays near.
func gram(out []uint64, u, v []u128, blocks, n int) {
	const tile = 512
	sums := make([]u128, blocks*blocks)
	for lo := 0; lo < n; lo += tile {
		hi := min(lo+tile, n)
		for i := range blocks {
			for j := range blocks {
				sums[i*blocks+j] = sums[i*blocks+j].add(inner(u[i*n+lo:i*n+hi], v[j*n+lo:j*n+hi]))
			}
		}
	}
	for k, s := range sums {
		out[2*k], out[2*k+1] = s.lo, s.hi
	}
}

// round takes a verifier's share of the matrix: the trace of the real blocks against t, then t anew.
func (s *side) round(g []uint64, blocks, all int, r, w []u128) {
	trace, t := u128{}, u128{}
	for i := range all {
		row := u128{}
		for j := range all {
			x := u128{g[2*(i*all+j)+1], g[2*(i*all+j)]}
			row = row.add(x.mul(w[j]))
			if i == j && i < blocks {
				trace = trace.add(x)
			}
		}
		t = t.add(row.mul(r[i]))
	}
	s.sums = append(s.sums, trace.sub(s.t))
	s.t = t
}

// combine gives the sum of the blocks by their coins.
func combine(v []u128, coins []u128, n int) []u128 {
	out := make([]u128, n)
	for b, c := range coins {
		for k, x := range v[b*n : (b+1)*n] {
			out[k] = out[k].add(x.mul(c))
		}
	}
	return out
}

func words(v []u128) []uint64 {
	out := make([]uint64, 0, 2*len(v))
	for _, x := range v {
		out = append(out, x.lo, x.hi)
	}
	return out
}

// finish shows the other verifier of each proof what is left, and compares.
func (e *Engine) finish(of, by *side) {
	if e.err != nil {
		return
	}
	// The other verifier of the proof of the party after is the party before, and the other way round.
	mine := words(append(append(of.u[:len(of.u):len(of.u)], of.sums...), of.t))
	other := words(append(append(by.v[:len(by.v):len(by.v)], by.sums...), by.t))
	if e.cheat != nil {
		e.cheat("last vectors", mine)
	}
	fromPrev, fromNext := make([]uint64, len(mine)), make([]uint64, len(other))
	e.both(mine, other, fromPrev, fromNext)
	if e.err != nil {
		return
	}
	if !agree(of.u, of.sums, of.t, fromPrev) || !agree(by.v, by.sums, by.t, fromNext) {
		e.accuse(-1, "every product is proved")
	}
}

// agree says whether the two verifiers' halves make a true claim; both make the same decision.
func agree(v, sums []u128, t u128, got []uint64) bool {
	at := func(k int) u128 { return u128{got[2*k+1], got[2*k]} }
	product := u128{}
	for k := range v {
		product = product.add(v[k].mul(at(k)))
	}
	ok := true
	for k := range sums {
		ok = ok && sums[k].add(at(len(v)+k)) == u128{}
	}
	return ok && t.add(at(len(v)+len(sums))) == product
}

// coin tosses a public coin: a generator whose key nobody knew before. Everybody first says that all that was sent to it before is
// there; a party that waits with its message to see the coin gets none.
func (e *Engine) coin() *stream {
	var one, two, here [1]uint64
	e.both(here[:], here[:], one[:], two[:])
	if e.err == nil && one[0]|two[0] != 0 {
		e.accuse(-1, "a barrier carries nothing")
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
	e.both(words([]u128{a}), words([]u128{b}), fromPrev[:], fromNext[:])
	if e.err == nil && (u128{fromPrev[1], fromPrev[0]} != a || u128{fromNext[1], fromNext[0]} != b) {
		e.accuse(-1, "both holders have the same part of an input")
	}
	return v
}
