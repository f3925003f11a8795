package share

// Vec (算术分享列) is one party's part of a column of integers modulo 2^64: its x_i and x_(i+1).
type Vec struct{ a, b []uint64 }

// Words (布尔分享列) is one party's part of a column of 64-bit words, shared by exclusive or.
type Words struct{ a, b []uint64 }

// Flags (标志位列) is one party's part of a column of bits, 64 in a word from the lowest.
type Flags struct {
	a, b []uint64
	n    int
}

// VecOf makes a column of parts that are already there, such as the values of two Arrow buffers; they are not copied and must not
// change any more.
func VecOf(a, b []uint64) Vec { return Vec{a, b} }

// WordsOf is VecOf for words.
func WordsOf(a, b []uint64) Words { return Words{a, b} }

// Len gives the number of elements.
func (v Vec) Len() int { return len(v.a) }

// Len gives the number of elements.
func (w Words) Len() int { return len(w.a) }

// Len gives the number of elements.
func (f Flags) Len() int { return f.n }

// Slice gives the elements from lo to hi, without copying.
func (v Vec) Slice(lo, hi int) Vec { return Vec{v.a[lo:hi:hi], v.b[lo:hi:hi]} }

// Slice gives the elements from lo to hi, without copying.
func (w Words) Slice(lo, hi int) Words { return Words{w.a[lo:hi:hi], w.b[lo:hi:hi]} }

// String keeps shares out of what is printed.
func (v Vec) String() string { return "share vec(redacted)" }

// String keeps shares out of what is printed.
func (w Words) String() string { return "share words(redacted)" }

// String keeps shares out of what is printed.
func (f Flags) String() string { return "share flags(redacted)" }

func newVec(n int) Vec {
	both := make([]uint64, 2*n)
	return Vec{both[:n:n], both[n:]}
}

func newWords(n int) Words { return Words(newVec(n)) }

func newFlags(n int) Flags {
	v := newVec((n + 63) / 64)
	return Flags{v.a, v.b, n}
}

// Concat puts columns one after the other, in a new one.
func Concat(vs ...Vec) Vec {
	n := 0
	for _, v := range vs {
		n += v.Len()
	}
	out := Vec{make([]uint64, 0, n), make([]uint64, 0, n)}
	for _, v := range vs {
		out.a, out.b = append(out.a, v.a...), append(out.b, v.b...)
	}
	return out
}

func concatWords(ws ...Words) Words {
	vs := make([]Vec, len(ws))
	for i, w := range ws {
		vs[i] = Vec(w)
	}
	return Words(Concat(vs...))
}

// Split (数据拆分) makes the three parts of a column of values with randomness of its own: what a source unit sends to three zones.
// random has 2·len(values) uniform words. Part i belongs to party i.
func Split(values, random []uint64) (parts [3]Vec, ok bool) {
	n := len(values)
	if len(random) != 2*n {
		return parts, false
	}
	last := make([]uint64, n)
	for i, v := range values {
		last[i] = v - random[i] - random[n+i]
	}
	x := [3][]uint64{random[:n:n], random[n:], last}
	for i := range parts {
		parts[i] = Vec{x[i], x[(i+1)%3]}
	}
	return parts, true
}

func each(n int, f func(i int)) {
	for i := range n {
		f(i)
	}
}
