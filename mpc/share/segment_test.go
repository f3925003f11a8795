package share

import (
	"math/rand/v2"
	"slices"
	"testing"
)

// sameBy marks rows that belong to the segment of the row before them, as a test does.
func sameBy(n int) []bool {
	out := make([]bool, n)
	for i := range out {
		out[i] = i > 0 && (i*7919>>3)&3 != 0
	}
	return out
}

func asWords(b []bool) []uint64 {
	out := make([]uint64, len(b))
	for i, x := range b {
		out[i] = bit(x)
	}
	return out
}

// flagsOf shares public bits.
func flagsOf(e *Engine, b []bool) Flags {
	v := e.XorPublic(newWords(len(pack(b))), 0)
	if e.me == 0 {
		copy(v.a, pack(b))
	}
	if e.me == 2 {
		copy(v.b, pack(b))
	}
	return Flags{v.a, v.b, len(b)}
}

var segmentTwins = []twin{
	{"scans of two columns", func(e *Engine, o *Opener, x, y Vec, _, _ Words) ([]uint64, error) {
		vs := e.Scans([]Vec{x, y}, e.Public(asWords(sameBy(x.Len()))))
		return o.Open(Concat(vs...))
	}, func(x, y []uint64) []uint64 {
		var out []uint64
		for _, v := range [][]uint64{x, y} {
			sum := uint64(0)
			for i, s := range sameBy(len(v)) {
				if !s {
					sum = 0
				}
				sum += v[i]
				out = append(out, sum)
			}
		}
		return out
	}, false},
	{"scans from behind", func(e *Engine, o *Opener, x, y Vec, _, _ Words) ([]uint64, error) {
		vs := e.ScansBack([]Vec{x, y}, e.Public(asWords(sameBy(x.Len()))))
		return o.Open(Concat(vs...))
	}, func(x, y []uint64) []uint64 {
		var out []uint64
		for _, v := range [][]uint64{x, y} {
			part, same := make([]uint64, len(v)), sameBy(len(v))
			for i := len(v) - 1; i >= 0; i-- {
				part[i] = v[i]
				if i+1 < len(v) && same[i+1] {
					part[i] += part[i+1]
				}
			}
			out = append(out, part...)
		}
		return out
	}, false},
	{"two largest of segments", func(e *Engine, o *Opener, _, _ Vec, x, y Words) ([]uint64, error) {
		n := x.Len()
		first, second := e.ScanTop([]Words{e.ShiftRight(x, 1), e.ShiftRight(y, 1)}, flagsOf(e, sameBy(n)))
		return o.OpenWords(concatWords(append(first, second...)...))
	}, func(x, y []uint64) []uint64 {
		var high, low []uint64
		for _, v := range [][]uint64{x, y} {
			var h, l uint64
			for i, s := range sameBy(len(v)) {
				if !s {
					h, l = 0, 0
				}
				w := v[i] >> 1
				h, l = max(h, w), max(l, min(h, w))
				high, low = append(high, h), append(low, l)
			}
		}
		return append(high, low...)
	}, true},
	{"arrange, stable", func(e *Engine, o *Opener, x, y Vec, xw, yw Words) ([]uint64, error) {
		key, t := e.Arrange(yw, 3, Table{Vecs: []Vec{x, y}, Words: []Words{xw}})
		k, err := o.OpenWords(key)
		if err != nil {
			return nil, err
		}
		w, err := o.OpenWords(t.Words[0])
		if err != nil {
			return nil, err
		}
		v, err := o.Open(Concat(t.Vecs...))
		return slices.Concat(k, w, v), err
	}, func(x, y []uint64) []uint64 {
		idx := make([]int, len(x))
		for i := range idx {
			idx[i] = i
		}
		slices.SortStableFunc(idx, func(a, b int) int { return int(y[a]&7) - int(y[b]&7) })
		var k, v []uint64
		for _, i := range idx {
			k, v = append(k, y[i]), append(v, x[i])
		}
		return slices.Concat(k, v, v, k)
	}, true},
	{"pick", func(e *Engine, o *Opener, x, y Vec, xw, _ Words) ([]uint64, error) {
		number := make([]uint64, x.Len())
		picked := picks(len(number))
		for k, i := range picked {
			number[i] = uint64(k + 1)
		}
		t := e.Pick(e.Public(number), len(picked), Table{Vecs: []Vec{x, y}, Words: []Words{xw}})
		w, err := o.OpenWords(t.Words[0])
		if err != nil {
			return nil, err
		}
		v, err := o.Open(Concat(t.Vecs...))
		return append(w, v...), err
	}, func(x, y []uint64) []uint64 {
		var a, b []uint64
		for _, i := range picks(len(x)) {
			a, b = append(a, x[i]), append(b, y[i])
		}
		return slices.Concat(a, a, b)
	}, false},
}

// picks names some rows, the last first.
func picks(n int) []int {
	var out []int
	for i := n - 1; i >= 0; i -= 3 {
		out = append(out, i)
	}
	return out
}

// TestSegmentLeakage: within the operators of segments exactly as many words are opened as they declare.
func TestSegmentLeakage(t *testing.T) {
	const rows, keyBits = 20, 5
	for op, f := range map[Op]func(e *Engine, x Vec, w Words){
		OpTop:     func(e *Engine, _ Vec, w Words) { e.ScanTop([]Words{w}, e.EQ(w, w)) },
		OpArrange: func(e *Engine, x Vec, w Words) { e.Arrange(w, keyBits, Table{Vecs: []Vec{x}}) },
		OpPick:    func(e *Engine, x Vec, _ Words) { e.Pick(newVec(rows), 0, Table{Vecs: []Vec{x}}) },
		OpScan:    func(e *Engine, x Vec, _ Words) { e.ScansBack([]Vec{x, x}, x) },
	} {
		out, errs, _ := run(t, setup{}, func(e *Engine, _ *Opener) (int, error) {
			x, w := e.Input(0, mine(e, 0, make([]uint64, rows)), rows), e.InputWords(0, mine(e, 0, make([]uint64, rows)), rows)
			f(e, x, w)
			return e.opened, nil
		})
		at := slices.IndexFunc(Leaks(), func(l Leakage) bool { return l.Op == op })
		l := Leaks()[at]
		if want := rows * (l.PerRow*keyBits + l.Once); errs[0] != nil || out[0] != want {
			t.Errorf("%s opens %d words, declared %d (%v)", op, out[0], want, errs[0])
		}
		if (l.Opened == "") != (l.PerRow+l.Once == 0) {
			t.Errorf("%s says in words what it opens, and how much", op)
		}
	}
}

// TestPicked: a row that is numbered twice, or a number that nobody has, ends the computation.
func TestPicked(t *testing.T) {
	for name, number := range map[string][]uint64{"twice": {1, 2, 2, 0}, "none": {1, 0, 0, 0}, "beyond": {1, 3, 0, 0}} {
		_, errs, n := run(t, setup{}, func(e *Engine, _ *Opener) (int, error) {
			x := e.Input(0, mine(e, 0, []uint64{1, 2, 3, 4}), 4)
			e.Pick(e.Public(number), 2, Table{Vecs: []Vec{x}})
			return 0, nil
		})
		if errs[0] == nil || n.rule != "each number is picked once" {
			t.Errorf("%s: %v", name, errs[0])
		}
	}
}

// TestArrangeMoves: what parties see of an arranged table follows from its size: the same messages for other keys.
func TestArrangeMoves(t *testing.T) {
	var lengths [2][3][]string
	for k := range 2 {
		r := rand.New(rand.NewPCG(uint64(k), 3))
		x := column(r, 21)
		_, errs, n := run(t, setup{seed: uint64(k)}, func(e *Engine, _ *Opener) (int, error) {
			w := e.InputWords(0, mine(e, 0, x), 21)
			e.Arrange(w, 9, Table{Words: []Words{w}})
			return 0, nil
		})
		if errs[0] != nil {
			t.Fatal(errs[0])
		}
		lengths[k] = n.lengths
	}
	for i := range 3 {
		if !slices.Equal(lengths[0][i], lengths[1][i]) {
			t.Error("messages follow the keys")
		}
	}
}
