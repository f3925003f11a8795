package sm

import (
	"bytes"
	"crypto/aes"
	"encoding/binary"
	"fmt"
	"math/big"
	"math/bits"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

const digits36 = "0123456789abcdefghijklmnopqrstuvwxyz"

type ff1Case struct {
	Key, Tweak, PT, CT string
	Radix              int
}

func decode36(s string) (x []uint16) {
	for _, c := range s {
		x = append(x, uint16(strings.IndexRune(digits36, c)))
	}
	return x
}

func encode36(x []uint16) string {
	var b strings.Builder
	for _, d := range x {
		b.WriteByte(digits36[d])
	}
	return b.String()
}

func checkFF1(t *testing.T, name string, least int, cipher func(key []byte) *Blocks) {
	t.Helper()
	v := vectors[struct{ Cases []ff1Case }](t, name)
	if len(v.Cases) < least {
		t.Fatal("vectors are missing")
	}
	for i, c := range v.Cases {
		tweak := unhex(t, c.Tweak)
		f, err := newFF1(cipher(unhex(t, c.Key)), c.Radix, len(c.PT), len(tweak))
		if err != nil {
			t.Fatal(err)
		}
		for _, fast := range []bool{true, false} { // both paths, where the first is open
			g := *f
			g.fast = g.fast && fast
			x := decode36(c.PT)
			if err := g.Strings(x, tweak); err != nil || encode36(x) != c.CT {
				t.Errorf("%s case %d, column path %v: %v", name, i+1, g.fast, err)
			}
			if err := g.OpenStrings(x, tweak); err != nil || encode36(x) != c.PT {
				t.Errorf("%s case %d, column path %v, back: %v", name, i+1, g.fast, err)
			}
		}
	}
}

// TestFF1Samples: NIST's own, with AES, so that only the block cipher is ours.
func TestFF1Samples(t *testing.T) {
	checkFF1(t, "aes_ff1.json", 9, func(key []byte) *Blocks {
		b, err := aes.NewCipher(key)
		if err != nil {
			t.Fatal(err)
		}
		return blocksOf(b)
	})
}

func TestFF1SM4Vectors(t *testing.T) {
	checkFF1(t, "sm4_ff1.json", 10, func(key []byte) *Blocks {
		b, err := NewBlocks(key)
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
	checkFF1(t, "sm4_ff1.json", 10, func(key []byte) *Blocks { return libraryBlocks(t, key) })
}

// TestFF1PathsAgree: shapes of every kind, rows beyond one chunk, the column path against the step list, and back.
func TestFF1PathsAgree(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		radix := rapid.SampledFrom([]int{2, 3, 10, 16, 36, 255, 256, 2249, 65535, 65536}).Draw(rt, "radix")
		n := rapid.IntRange(2, 64).Draw(rt, "n")
		tweak := rapid.IntRange(0, 20).Draw(rt, "tweak")
		key := rapid.SliceOfN(rapid.Byte(), KeySize, KeySize).Draw(rt, "key")
		f, err := NewFF1(key, radix, n, tweak)
		domain := new(big.Int).Exp(big.NewInt(int64(radix)), big.NewInt(int64(n)), nil)
		if small := domain.Cmp(big.NewInt(MinDomain)) < 0; small != (err != nil) {
			rt.Fatalf("radix %d, n %d: %v", radix, n, err)
		} else if small {
			is(t, err, sandbox.Denied, "small domain")
			return
		}
		count := rapid.SampledFrom([]int{0, 1, 7, 300}).Draw(rt, "rows")
		seed := rapid.Uint64().Draw(rt, "seed")
		rows := make([]uint16, count*n)
		for i := range rows {
			seed = seed*6364136223846793005 + 1442695040888963407
			rows[i] = uint16(seed >> 33 % uint64(radix))
		}
		tweaks := make([]byte, count*tweak)
		for i := range tweaks {
			seed = seed*6364136223846793005 + 1442695040888963407
			tweaks[i] = byte(seed >> 40)
		}
		x, y, l := slices.Clone(rows), slices.Clone(rows), slices.Clone(rows)
		slow, library := *f, f.OnLibrary()
		slow.fast = false
		if err := f.Strings(x, tweaks); err != nil {
			rt.Fatal(err)
		}
		if err := slow.Strings(y, tweaks); err != nil || !slices.Equal(x, y) {
			rt.Fatalf("radix %d, n %d, tweak %d: the paths differ: %v", radix, n, tweak, err)
		}
		if err := library.Strings(l, tweaks); err != nil || !slices.Equal(l, y) {
			rt.Fatalf("radix %d, n %d, tweak %d: the library's path differs: %v", radix, n, tweak, err)
		}
		if err := library.OpenStrings(l, tweaks); err != nil || !slices.Equal(l, rows) {
			rt.Fatal("strings do not come back from the library's path")
		}
		if domain.BitLen() <= 64 && f.fast {
			z := make([]uint64, count)
			for i := range z {
				z[i] = number(rows[i*n:(i+1)*n], radix)
			}
			was := slices.Clone(z)
			if err := f.Numbers(z, tweaks); err != nil {
				rt.Fatal(err)
			}
			for i := range z {
				if z[i] != number(x[i*n:(i+1)*n], radix) {
					rt.Fatal("numbers and strings differ")
				}
			}
			if err := f.OpenNumbers(z, tweaks); err != nil || !slices.Equal(z, was) {
				rt.Fatal("numbers do not come back")
			}
		}
		if err := f.OpenStrings(x, tweaks); err != nil || !slices.Equal(x, rows) {
			rt.Fatal("strings do not come back")
		}
	})
}

// TestPairsEqualBlocks: 64 blocks at once against the library's one at a time, several groups, and a group that is not full.
func TestPairsEqualBlocks(t *testing.T) {
	if !hasKernel {
		t.Log("SKIPPED ALOUD: this processor or build has no GFNI with AVX-512; only the library's path is tested")
		return
	}
	rapid.Check(t, func(rt *rapid.T) {
		key := rapid.SliceOfN(rapid.Byte(), KeySize, KeySize).Draw(rt, "key")
		b, err := NewBlocks(key)
		if err != nil {
			rt.Fatal(err)
		}
		p := newPairs(key, b)
		if p == nil {
			rt.Fatal("the library does not agree")
		}
		n := rapid.SampledFrom([]int{1, 15, 16, 63, 64, 65, 130, ff1Rows}).Draw(rt, "blocks")
		var high, low, outHigh, outLow [ff1Rows]uint64
		seed := rapid.Uint64().Draw(rt, "seed")
		for i := range n {
			seed = seed*6364136223846793005 + 1442695040888963407
			high[i], low[i] = seed, bits.Reverse64(seed)
		}
		p.encrypt(&high, &low, &outHigh, &outLow, n)
		for i := range n {
			block := binary.BigEndian.AppendUint64(binary.BigEndian.AppendUint64(nil, high[i]), low[i])
			b.block.Encrypt(block, block)
			if outHigh[i] != binary.BigEndian.Uint64(block) || outLow[i] != binary.BigEndian.Uint64(block[8:]) {
				rt.Fatalf("block %d of %d", i, n)
			}
		}
	})
}

func blocksOfZeroKey(t *testing.T) *Blocks {
	b, err := NewBlocks(make([]byte, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// TestPairsGiveWay to the library where the two do not agree.
func TestPairsGiveWay(t *testing.T) {
	if newPairs(make([]byte, KeySize), blocksOfZeroKey(t)) == nil && hasKernel {
		t.Error("blocks of one key do not agree")
	}
	if newPairs(append(make([]byte, KeySize-1), 1), blocksOfZeroKey(t)) != nil {
		t.Error("blocks of two keys agree")
	}
}

// TestFF1IsAPermutation of a whole small domain, 10^6 numbers.
func TestFF1IsAPermutation(t *testing.T) {
	f, err := NewFF1(bytes.Repeat([]byte{3}, KeySize), 10, 6, 0)
	if err != nil {
		t.Fatal(err)
	}
	x := make([]uint64, 1_000_000)
	for i := range x {
		x[i] = uint64(i)
	}
	if err := f.Numbers(x, nil); err != nil {
		t.Fatal(err)
	}
	seen := make([]bool, len(x))
	for _, n := range x {
		if seen[n] {
			t.Fatal("two numbers have one image")
		}
		seen[n] = true
	}
}

func TestFF1Refuses(t *testing.T) {
	key := make([]byte, KeySize)
	for _, c := range []struct{ radix, n, tweak int }{{1, 30, 0}, {65537, 2, 0}, {10, 1, 0}, {10, 5000, 0}, {10, 10, -1}, {10, 10, 257}} {
		_, err := NewFF1(key, c.radix, c.n, c.tweak)
		is(t, err, sandbox.Invalid, fmt.Sprint(c))
	}
	for _, c := range []struct{ radix, n int }{{10, 5}, {2, 19}, {999, 2}, {99, 3}} {
		_, err := NewFF1(key, c.radix, c.n, 0)
		is(t, err, sandbox.Denied, fmt.Sprint(c))
	}
	for _, c := range []struct{ radix, n int }{{10, 6}, {2, 20}, {1000, 2}, {100, 3}} {
		if _, err := NewFF1(key, c.radix, c.n, 0); err != nil {
			t.Error(err)
		}
	}
	_, err := NewFF1(key[:15], 10, 10, 0)
	is(t, err, sandbox.Invalid, "short key")
	f, err := NewFF1(key, 10, 6, 2)
	if err != nil {
		t.Fatal(err)
	}
	is(t, f.Strings(make([]uint16, 7), make([]byte, 2)), sandbox.Invalid, "cut row")
	is(t, f.Strings(make([]uint16, 6), make([]byte, 1)), sandbox.Invalid, "cut tweak")
	is(t, f.Strings([]uint16{0, 0, 0, 0, 0, 10}, make([]byte, 2)), sandbox.Invalid, "numeral")
	is(t, f.Numbers([]uint64{1_000_000}, make([]byte, 2)), sandbox.Invalid, "number")
	is(t, f.Numbers([]uint64{1}, nil), sandbox.Invalid, "no tweak")
	long, err := NewFF1(key, 10, 40, 0)
	if err != nil {
		t.Fatal(err)
	}
	is(t, long.Numbers([]uint64{1}, nil), sandbox.Invalid, "long")
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if text := fmt.Sprintf(verb+verb+verb, f, *f, f.blocks); strings.Count(text, "redacted") != 3 {
			t.Errorf("%s shows the key", verb)
		}
	}
}

// TestModulus holds the multiplication against division, at the edges.
func TestModulus(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		m := rapid.Uint64Range(2, 1<<63).Draw(rt, "m")
		y := rapid.OneOf(rapid.Uint64(), rapid.SampledFrom([]uint64{0, m - 1, m, ^uint64(0), ^uint64(0) / m * m, ^uint64(0)/m*m - 1})).Draw(rt, "y")
		if d := newModulus(m); d.reduce(y) != y%m || d.quotient(y) != y/m {
			rt.Fatal("wrong")
		}
	})
}
