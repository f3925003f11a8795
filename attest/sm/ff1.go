package sm

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/big"
	"math/bits"

	"github.com/opdomain/opdomain/sandbox"
)

// MinDomain is the least number of values a format may have: radix^n of SP 800-38G Rev. 1 (2019 draft), which lifted the
// bound of 100 after attacks on small domains.
const MinDomain = 1_000_000

const (
	maxNumerals = 4096
	maxTweak    = 256
	ff1Rows     = 256 // of a chunk: their blocks stay in the first cache
	ff1Group    = 64  // whose rounds go together
)

// FF1 (保留格式加密) is FF1 of NIST SP 800-38G over SM4 for numeral strings of one shape: radix, length and tweak length.
// It is a permutation of the strings for each key and tweak. Where both halves are below 2^63 and tweak and half fit one
// block, rounds run over a whole column, 64 rows at once where NewGCM has its kernel, else one call of the library a
// chunk; longer strings go row by row through big integers. Safe for
// concurrent use.
type FF1 struct {
	blocks         *Blocks
	pairs          *pairs // nil where there is none
	radix, n, u, v int
	tweak          int
	b, d           int             // bytes of a half, bytes of a round's number: b and d of the standard
	first          [BlockSize]byte // CIPH(P), the same for every row
	fast           bool
	mu, mv         modulus  // fast: radix^u, radix^v
	bu, bv         *big.Int // else
}

// NewFF1 takes an SM4 key and a shape: radix 2 to 65536, n numerals, tweaks of tweak bytes.
//
// Errors: Invalid for a shape out of range, Denied where radix^n is below MinDomain.
func NewFF1(key []byte, radix, n, tweak int) (*FF1, error) {
	b, err := NewBlocks(key)
	if err != nil {
		return nil, err
	}
	f, err := newFF1(b, radix, n, tweak)
	if err == nil && f.fast {
		f.pairs = newPairs(key, b)
	}
	return f, err
}

func newFF1(blocks *Blocks, radix, n, tweak int) (*FF1, error) {
	if radix < 2 || radix > 1<<16 || n < 2 || n > maxNumerals || tweak < 0 || tweak > maxTweak {
		return nil, &sandbox.Error{Op: "sm: ff1", Kind: sandbox.Invalid, Detail: "radix 2 to 65536, 2 to 4096 numerals, a tweak of at most 256 bytes"}
	}
	f := &FF1{blocks: blocks, radix: radix, n: n, u: n / 2, v: n - n/2, tweak: tweak}
	r := big.NewInt(int64(radix))
	f.bu, f.bv = new(big.Int).Exp(r, big.NewInt(int64(f.u)), nil), new(big.Int).Exp(r, big.NewInt(int64(f.v)), nil)
	if new(big.Int).Mul(f.bu, f.bv).Cmp(big.NewInt(MinDomain)) < 0 {
		return nil, &sandbox.Error{Op: "sm: ff1", Kind: sandbox.Denied, Detail: "the format has fewer than 1,000,000 values"}
	}
	// ceil(v·log2(radix)) is the length of radix^v - 1 in bits, exactly.
	f.b = (new(big.Int).Sub(f.bv, big.NewInt(1)).BitLen() + 7) / 8
	f.d = 4*((f.b+3)/4) + 4
	f.first = [BlockSize]byte{1, 2, 1, byte(radix >> 16), byte(radix >> 8), byte(radix), 10, byte(f.u)}
	binary.BigEndian.PutUint32(f.first[8:], uint32(n))
	binary.BigEndian.PutUint32(f.first[12:], uint32(tweak))
	blocks.Encrypt(f.first[:])
	if f.b <= 8 && f.bv.BitLen() <= 63 && tweak+f.b+1 <= BlockSize {
		f.fast = true
		f.mu, f.mv = newModulus(f.bu.Uint64()), newModulus(f.bv.Uint64())
	}
	return f, nil
}

// OnLibrary gives the same permutation on the library's SM4 on every machine: what the kernel is measured and tested against.
func (f *FF1) OnLibrary() *FF1 {
	g := *f
	g.pairs, g.blocks = nil, f.blocks.library()
	return &g
}

// String keeps the key out of logs.
func (FF1) String() string { return "ff1(redacted)" }

// Format keeps the key out of every verb.
func (f FF1) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, f.String()) }

// Strings encrypts rows of n numerals back to back, in place. tweaks holds one tweak a row, back to back.
//
// Invalid for buffers of other lengths and for a numeral that is not below the radix; nothing is changed then.
func (f *FF1) Strings(rows []uint16, tweaks []byte) error { return f.strings(rows, tweaks, false) }

// OpenStrings undoes Strings.
func (f *FF1) OpenStrings(rows []uint16, tweaks []byte) error { return f.strings(rows, tweaks, true) }

func (f *FF1) strings(rows []uint16, tweaks []byte, open bool) error {
	count := len(rows) / f.n
	if len(rows) != count*f.n || len(tweaks) != count*f.tweak {
		return &sandbox.Error{Op: "sm: ff1", Kind: sandbox.Invalid, Detail: "rows and tweaks are not of the shape"}
	}
	for _, x := range rows {
		if int(x) >= f.radix {
			return &sandbox.Error{Op: "sm: ff1", Kind: sandbox.Invalid, Detail: "a numeral is not below the radix"}
		}
	}
	if !f.fast {
		for i := range count {
			f.long(rows[i*f.n:(i+1)*f.n], tweaks[i*f.tweak:(i+1)*f.tweak], open)
		}
		return nil
	}
	var a, b [ff1Rows]uint64
	var r rounds
	for at := 0; at < count; at += ff1Rows {
		k := min(ff1Rows, count-at)
		for i := range k {
			row := rows[(at+i)*f.n : (at+i+1)*f.n]
			a[i], b[i] = number(row[:f.u], f.radix), number(row[f.u:], f.radix)
		}
		r.run(f, &a, &b, k, tweaks[at*f.tweak:(at+k)*f.tweak], open)
		for i := range k {
			row := rows[(at+i)*f.n : (at+i+1)*f.n]
			numerals(row[:f.u], a[i], f.radix)
			numerals(row[f.u:], b[i], f.radix)
		}
	}
	return nil
}

func number(x []uint16, radix int) (n uint64) {
	for _, d := range x {
		n = n*uint64(radix) + uint64(d)
	}
	return n
}

func numerals(out []uint16, n uint64, radix int) {
	for i := len(out) - 1; i >= 0; i-- {
		out[i] = uint16(n % uint64(radix))
		n /= uint64(radix)
	}
}

// Numbers encrypts numbers below radix^n in place: the numbers of the numeral strings, first numeral first. It is the
// path of columns. tweaks holds one tweak a row, back to back.
//
// Invalid for a shape whose numbers or halves do not fit, for tweaks of another length, and for a number out of range;
// nothing is changed then.
func (f *FF1) Numbers(x []uint64, tweaks []byte) error { return f.numbers(x, tweaks, false) }

// OpenNumbers undoes Numbers.
func (f *FF1) OpenNumbers(x []uint64, tweaks []byte) error { return f.numbers(x, tweaks, true) }

func (f *FF1) numbers(x []uint64, tweaks []byte, open bool) error {
	if !f.fast {
		return &sandbox.Error{Op: "sm: ff1", Kind: sandbox.Invalid, Detail: "a half or the tweak is too long for the path of numbers"}
	}
	high, top := bits.Mul64(f.mu.m, f.mv.m)
	if high > 1 || high == 1 && top > 0 {
		return &sandbox.Error{Op: "sm: ff1", Kind: sandbox.Invalid, Detail: "a number of this shape does not fit 64 bits"}
	}
	if len(tweaks) != len(x)*f.tweak {
		return &sandbox.Error{Op: "sm: ff1", Kind: sandbox.Invalid, Detail: "rows and tweaks are not of the shape"}
	}
	if high == 0 {
		for _, n := range x {
			if n >= top {
				return &sandbox.Error{Op: "sm: ff1", Kind: sandbox.Invalid, Detail: "a number is not below radix^n"}
			}
		}
	}
	var a, b [ff1Rows]uint64
	var r rounds
	for at := 0; at < len(x); at += ff1Rows {
		k := min(ff1Rows, len(x)-at)
		for i, n := range x[at : at+k] {
			a[i] = f.mv.quotient(n)
			b[i] = n - a[i]*f.mv.m
		}
		r.run(f, &a, &b, k, tweaks[at*f.tweak:(at+k)*f.tweak], open)
		for i := range k {
			x[at+i] = a[i]*f.mv.m + b[i]
		}
	}
	return nil
}

// modulus divides by a fixed number with one multiplication.
type modulus struct{ m, inv uint64 } // m ≥ 2, inv = floor(2^64 / m)

func newModulus(m uint64) modulus {
	q, _ := bits.Div64(1, 0, m)
	return modulus{m, q}
}

// quotient is exact: y·inv/2^64 is below y/m by less than one.
func (m modulus) quotient(y uint64) uint64 {
	q, _ := bits.Mul64(y, m.inv)
	if y-q*m.m >= m.m {
		q++
	}
	return q
}

func (m modulus) reduce(y uint64) uint64 {
	q, _ := bits.Mul64(y, m.inv)
	y -= q * m.m
	if y >= m.m {
		y -= m.m
	}
	return y
}

// rounds are the buffers of one call, a number a row: the two halves of its block, what of them all rounds share, and the
// block encrypted.
type rounds struct {
	high, low, sharedHigh, sharedLow, outHigh, outLow [ff1Rows]uint64
	q                                                 []byte // blocks, for the library
}

// run does the ten rounds over the halves of n rows. Q of the standard is one block: tweak, zeros, the round's number, NUM
// of a half; CIPH(P) is already added, so one SM4 call is the PRF.
func (r *rounds) run(f *FF1, a, b *[ff1Rows]uint64, n int, tweaks []byte, open bool) {
	p0, p1 := binary.BigEndian.Uint64(f.first[:]), binary.BigEndian.Uint64(f.first[8:])
	for i := range n {
		r.sharedHigh[i], r.sharedLow[i] = p0, p1
	}
	if f.tweak > 0 {
		for i := range n {
			var t [BlockSize]byte
			copy(t[:], tweaks[i*f.tweak:(i+1)*f.tweak])
			r.sharedHigh[i] ^= binary.BigEndian.Uint64(t[:])
			r.sharedLow[i] ^= binary.BigEndian.Uint64(t[8:])
		}
	}
	for k := range 10 {
		round, from, to := k, b, a
		if open {
			round, from, to = 9-k, a, b
		}
		m := f.mu
		if round%2 == 1 {
			m = f.mv
		}
		high := &r.sharedHigh
		n1 := uint64(round) << (8 * f.b % 64)
		if f.b == 8 { // the round's number stands in the first half
			high, n1 = &r.high, 0
			for i, x := range r.sharedHigh[:n] {
				high[i] = x ^ uint64(round)
			}
		}
		for i, x := range from[:n] {
			r.low[i] = r.sharedLow[i] ^ n1 ^ x
		}
		if f.pairs != nil {
			f.pairs.encrypt(high, &r.low, &r.outHigh, &r.outLow, n)
		} else {
			r.encrypt(f.blocks, high, n)
		}
		r.mix(f, to[:n], m, open)
		a, b = b, a
	}
	// Ten swaps are none.
}

// encrypt has the library encrypt the blocks.
func (r *rounds) encrypt(blocks *Blocks, high *[ff1Rows]uint64, n int) {
	if len(r.q) < n*BlockSize {
		r.q = make([]byte, n*BlockSize)
	}
	q := r.q[:n*BlockSize]
	for i := range n {
		binary.BigEndian.PutUint64(q[16*i:], high[i])
		binary.BigEndian.PutUint64(q[16*i+8:], r.low[i])
	}
	blocks.Encrypt(q)
	for i := range n {
		r.outHigh[i], r.outLow[i] = binary.BigEndian.Uint64(q[16*i:]), binary.BigEndian.Uint64(q[16*i+8:])
	}
}

// mix adds each row's number y to the half that is replaced (subtracts it when opening). The halves swap by name.
func (r *rounds) mix(f *FF1, to []uint64, m modulus, open bool) {
	for i := range to {
		y := m.reduce(r.outHigh[i])
		if f.d != 8 { // 12 bytes
			hi, lo := bits.Mul64(y, 1<<32)
			_, y = bits.Div64(hi, lo|r.outLow[i]>>32, m.m)
		}
		if open {
			y = m.m - y // 1 to m: below 2^63, so no sum overflows
		}
		c := to[i] + y
		if c >= m.m {
			c -= m.m
		}
		to[i] = c
	}
}

// long is the step list of the standard over big integers.
func (f *FF1) long(x []uint16, tweak []byte, open bool) {
	a, b := bigNumber(x[:f.u], f.radix), bigNumber(x[f.u:], f.radix)
	pad := (BlockSize - (f.tweak+f.b+1)%BlockSize) % BlockSize
	q := make([]byte, f.tweak+pad+1+f.b)
	copy(q, tweak)
	s := make([]byte, (f.d+BlockSize-1)/BlockSize*BlockSize)
	y := new(big.Int)
	for k := range 10 {
		round, half := k, b
		if open {
			round, half = 9-k, a
		}
		q[f.tweak+pad] = byte(round)
		half.FillBytes(q[f.tweak+pad+1:])
		r := f.first
		for at := 0; at < len(q); at += BlockSize {
			for i := range r {
				r[i] ^= q[at+i]
			}
			f.blocks.Encrypt(r[:])
		}
		copy(s, r[:])
		for j := BlockSize; j < len(s); j += BlockSize {
			t := s[j : j+BlockSize]
			copy(t, r[:])
			last := binary.BigEndian.Uint64(t[8:]) ^ uint64(j/BlockSize)
			binary.BigEndian.PutUint64(t[8:], last)
			f.blocks.Encrypt(t)
		}
		y.SetBytes(s[:f.d])
		m := f.bu
		if round%2 == 1 {
			m = f.bv
		}
		if open {
			b.Sub(b, y)
			b.Mod(b, m)
		} else {
			a.Add(a, y)
			a.Mod(a, m)
		}
		a, b = b, a
	}
	bigNumerals(x[:f.u], a, f.radix)
	bigNumerals(x[f.u:], b, f.radix)
}

func bigNumber(x []uint16, radix int) *big.Int {
	n, r, d := new(big.Int), big.NewInt(int64(radix)), new(big.Int)
	for _, c := range x {
		n.Mul(n, r)
		n.Add(n, d.SetInt64(int64(c)))
	}
	return n
}

func bigNumerals(out []uint16, n *big.Int, radix int) {
	r, d := big.NewInt(int64(radix)), new(big.Int)
	for i := len(out) - 1; i >= 0; i-- {
		n.DivMod(n, r, d)
		out[i] = uint16(d.Int64())
	}
}
