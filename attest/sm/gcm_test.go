package sm

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"fmt"
	"strings"
	"sync"
	"testing"

	"github.com/emmansun/gmsm/sm4"

	"github.com/opdomain/opdomain/sandbox"
)

// implementations gives every SM4-GCM that runs on this machine under one key.
func implementations(t testing.TB, key []byte) map[string]cipher.AEAD {
	t.Helper()
	library, err := NewLibraryGCM(key)
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]cipher.AEAD{"library": library}
	if k := newKernel(key); k != nil {
		all["kernel"] = k
	} else {
		tellOnce.Do(func() { t.Log("NO KERNEL ON THIS MACHINE: only the library is tested") })
	}
	return all
}

var tellOnce sync.Once

func libraryBlocks(t testing.TB, key []byte) *Blocks {
	t.Helper()
	b, err := sm4.NewCipher(key)
	if err != nil {
		t.Fatal(err)
	}
	return blocksOf(b)
}

// noise is the key stream of a fixed key: bytes that a failed test finds again.
func noise(t testing.TB, n int, seed uint64) []byte {
	t.Helper()
	b := make([]byte, (n+BlockSize-1)/BlockSize*BlockSize)
	for i := 0; i < len(b); i += BlockSize {
		binary.BigEndian.PutUint64(b[i:], seed)
		binary.BigEndian.PutUint64(b[i+8:], uint64(i))
	}
	libraryBlocks(t, make([]byte, KeySize)).Encrypt(b)
	return b[:n:n]
}

// plainGCM is SP 800-38D as it is written: one block after another, the product bit by bit.
func plainGCM(t testing.TB, key, nonce, text, additional []byte) []byte {
	t.Helper()
	blocks := libraryBlocks(t, key)
	block := func(counter uint32) (b [BlockSize]byte) {
		copy(b[:], nonce)
		binary.BigEndian.PutUint32(b[12:], counter)
		blocks.Encrypt(b[:])
		return b
	}
	var h [BlockSize]byte
	blocks.Encrypt(h[:])
	out := make([]byte, len(text))
	var k [BlockSize]byte
	for i := range text {
		if i%BlockSize == 0 {
			k = block(uint32(2 + i/BlockSize))
		}
		out[i] = text[i] ^ k[i%BlockSize]
	}
	fill := func(b []byte) []byte { return append(bytes.Clone(b), make([]byte, -len(b)&15)...) }
	all := append(fill(additional), fill(out)...)
	all = binary.BigEndian.AppendUint64(all, uint64(len(additional))*8)
	all = binary.BigEndian.AppendUint64(all, uint64(len(text))*8)
	var y [BlockSize]byte
	for ; len(all) > 0; all = all[BlockSize:] {
		var z, v [BlockSize]byte
		v = h
		for i := range 128 {
			if (y[i/8]^all[i/8])>>(7-i%8)&1 == 1 {
				for k := range z {
					z[k] ^= v[k]
				}
			}
			low := v[15] & 1
			for k := 15; k > 0; k-- {
				v[k] = v[k]>>1 | v[k-1]<<7
			}
			v[0] = v[0]>>1 ^ low*0xe1
		}
		y = z
	}
	mask := block(1)
	for i := range mask {
		out = append(out, y[i]^mask[i])
	}
	return out
}

// TestGCMIsTheStandard: every implementation against the plain reading, over every length to past one turn of the fast loop and
// every eleventh to past two.
func TestGCMIsTheStandard(t *testing.T) {
	key := noise(t, KeySize, 1)
	all := implementations(t, key)
	for n := 0; n < 2200; n++ {
		if n > 1100 && n%11 != 0 || testing.Short() && n%7 != 0 {
			continue
		}
		text, nonce := noise(t, n, 2), noise(t, 12, uint64(n))
		additional := noise(t, n*7%90, 3)
		want := plainGCM(t, key, nonce, text, additional)
		for name, a := range all {
			got := a.Seal(nil, nonce, text, additional)
			if !bytes.Equal(got, want) {
				t.Fatalf("%s: %d bytes, %d additional: not the standard's", name, n, len(additional))
			}
			back, err := a.Open(nil, nonce, want, additional)
			if err != nil || !bytes.Equal(back, text) {
				t.Fatalf("%s: %d bytes do not open: %v", name, n, err)
			}
		}
	}
}

// lengths are around every edge of the kernel: blocks, groups, turns, pieces.
var lengths = []int{0, 1, 15, 16, 17, 31, 48, 239, 240, 241, 255, 256, 257, 496, 1007, 1008, 1009, 1023, 1024, 1025, 1263, 1264, 1265, 2031, 2032, 2033, 2048, 4096, 9999,
	16384, 17391, 17392, 17393, 18431, 33775, 33776, 33777, 64<<10 - 1, 64 << 10, 64<<10 + 16, 70000, 1<<20 + 3}

// TestGCMAgreesWithLibrary over random keys, at every edge, with more additional data than text and without.
func TestGCMAgreesWithLibrary(t *testing.T) {
	for i, n := range lengths {
		key, nonce := noise(t, KeySize, uint64(100+i)), noise(t, 12, uint64(200+i))
		text, additional := noise(t, n, 4), noise(t, lengths[len(lengths)-1-i], 5)
		var first []byte
		for name, a := range implementations(t, key) {
			got := a.Seal(nil, nonce, text, additional)
			if first == nil {
				first = got
			}
			if !bytes.Equal(got, first) {
				t.Errorf("%s: %d bytes, %d additional", name, n, len(additional))
			}
			if back, err := a.Open(nil, nonce, first, additional); err != nil || !bytes.Equal(back, text) {
				t.Errorf("%s: %d bytes, %d additional do not open: %v", name, n, len(additional), err)
			}
		}
	}
}

// TestGCMRefusesEveryChange: any changed bit of tag, text, additional data or nonce, any cut, and nothing of the text is left in dst.
func TestGCMRefusesEveryChange(t *testing.T) {
	key := noise(t, KeySize, 6)
	for name, a := range implementations(t, key) {
		for _, n := range []int{0, 1, 16, 31, 240, 241, 1008, 1300, 17400} {
			nonce, text, additional := noise(t, 12, 7), noise(t, n, 8), noise(t, 37, 9)
			box := a.Seal(nil, nonce, text, additional)
			refused := func(what string, nonce, box, additional []byte) {
				t.Helper()
				const prefix = 3
				dst := bytes.Repeat([]byte{0xa5}, prefix+max(0, len(box)-16)+8)
				got, err := a.Open(dst[:prefix], nonce, box, additional)
				if err == nil || got != nil {
					t.Fatalf("%s, %d bytes: %s opens", name, n, what)
				}
				if err.Error() != "cipher: message authentication failed" {
					t.Fatalf("%s: %v says more than that it failed", name, err)
				}
				if len(box) < 16 {
					return
				}
				if !bytes.Equal(dst[prefix:prefix+len(box)-16], make([]byte, len(box)-16)) {
					t.Fatalf("%s, %d bytes: %s leaves bytes in dst", name, n, what)
				}
				if !bytes.Equal(dst[:prefix], []byte{0xa5, 0xa5, 0xa5}) || dst[len(dst)-8] != 0xa5 {
					t.Fatalf("%s: bytes around dst changed", name)
				}
				inPlace := bytes.Clone(box)
				if got, err := a.Open(inPlace[:0], nonce, inPlace, additional); err == nil || got != nil || !bytes.Equal(inPlace[:len(box)-16], make([]byte, len(box)-16)) {
					t.Fatalf("%s, %d bytes: %s in place", name, n, what)
				}
			}
			flip := func(b []byte, bit int) []byte {
				b = bytes.Clone(b)
				b[bit/8] ^= 1 << (bit % 8)
				return b
			}
			for bit := range 128 {
				refused("a changed tag", nonce, flip(box, 8*n+bit), additional)
			}
			refused("a tag of zeros", nonce, append(bytes.Clone(box[:n]), make([]byte, 16)...), additional)
			refused("a tag of ones", nonce, append(bytes.Clone(box[:n]), bytes.Repeat([]byte{0xff}, 16)...), additional)
			for bit := 0; bit < 8*n; bit += 1 + n/40 {
				refused("a changed text", nonce, flip(box, bit), additional)
			}
			for bit := range 8 * len(additional) {
				refused("changed additional data", nonce, box, flip(additional, bit))
			}
			for bit := range 96 {
				refused("another nonce", flip(nonce, bit), box, additional)
			}
			refused("no additional data", nonce, box, nil)
			refused("longer additional data", nonce, box, append(bytes.Clone(additional), 0))
			refused("a longer text", nonce, append(append(bytes.Clone(box[:n]), 0), box[n:]...), additional)
			for _, cut := range []int{0, 1, 15, 16, len(box) - 1, len(box) - 16} {
				if cut >= 0 && cut < len(box) {
					refused("a cut", nonce, box[:cut], additional)
				}
			}
			if n > 16 {
				swapped := append(append(bytes.Clone(box[16:32]), box[:16]...), box[32:]...)
				if n >= 32 {
					refused("blocks that changed places", nonce, swapped, additional)
				}
			}
		}
	}
}

// TestGCMInPlace: exactly on the input is allowed, at any offset in memory, behind a prefix; other overlap panics.
func TestGCMInPlace(t *testing.T) {
	key := noise(t, KeySize, 10)
	all := implementations(t, key)
	for name, a := range all {
		for _, n := range lengths[:len(lengths)-1] {
			nonce, text, additional := noise(t, 12, uint64(n)), noise(t, n, 11), noise(t, n%50, 12)
			want := all["library"].Seal([]byte("pre"), nonce, text, additional)
			for _, offset := range []int{0, 1, 7, 63} {
				buf := make([]byte, offset+3+n+16)
				b := buf[offset:]
				copy(b, "pre")
				copy(b[3:], text)
				got := a.Seal(b[:3], nonce, b[3:3+n], additional)
				if &got[0] != &b[0] || !bytes.Equal(got, want) {
					t.Fatalf("%s: %d bytes at %d: seal", name, n, offset)
				}
				back, err := a.Open(b[:3], nonce, b[3:], additional)
				if err != nil || &back[0] != &b[0] || !bytes.Equal(back[3:], text) || string(back[:3]) != "pre" {
					t.Fatalf("%s: %d bytes at %d: open %v", name, n, offset, err)
				}
			}
		}
		for _, n := range []int{40, 300, 5000} {
			buf := make([]byte, 2*n+100)
			nonce := make([]byte, 12)
			panics(t, name+": output behind the input", func() { a.Seal(buf[1:1], nonce, buf[:n], nil) })
			panics(t, name+": output before the input", func() { a.Seal(buf[:0], nonce, buf[1:n+1], nil) })
			box := a.Seal(nil, nonce, make([]byte, n), nil)
			copy(buf[1:], box)
			panics(t, name+": open before the input", func() { _, _ = a.Open(buf[:0], nonce, buf[1:1+len(box)], nil) })
			if name == "kernel" { // the library does not look
				panics(t, name+": additional data in the output", func() { a.Seal(buf[:0], nonce, make([]byte, n), buf[n:n+20]) })
				box := a.Seal(nil, nonce, make([]byte, n), buf[:20])
				panics(t, name+": additional data in the opened", func() { _, _ = a.Open(buf[:0], nonce, box, buf[:20]) })
			}
		}
		for _, n := range []int{0, 11, 13, 16} {
			panics(t, fmt.Sprintf("%s: a nonce of %d bytes", name, n), func() { a.Seal(nil, make([]byte, n), nil, nil) })
			panics(t, fmt.Sprintf("%s: open with a nonce of %d bytes", name, n), func() { _, _ = a.Open(nil, make([]byte, n), make([]byte, 16), nil) })
		}
		if a.NonceSize() != 12 || a.Overhead() != 16 {
			t.Errorf("%s: sizes", name)
		}
	}
}

func panics(t *testing.T, what string, f func()) {
	t.Helper()
	defer func() {
		if recover() == nil {
			t.Errorf("%s does not panic", what)
		}
	}()
	f()
}

// TestGCMAllocations: where dst has room the kernel makes nothing, and the library nothing that grows with the message.
func TestGCMAllocations(t *testing.T) {
	most := 0.0
	if newKernel(make([]byte, KeySize)) == nil {
		most = 16
	}
	a, err := NewGCM(make([]byte, KeySize))
	if err != nil {
		t.Fatal(err)
	}
	for _, n := range []int{0, 100, 1000, 5000, 64 << 10} {
		nonce, text, additional := make([]byte, 12), make([]byte, n), make([]byte, 33)
		box, out := make([]byte, 0, n+16), make([]byte, 0, n)
		box = a.Seal(box, nonce, text, additional)
		if got := testing.AllocsPerRun(20, func() {
			box = a.Seal(box[:0], nonce, text, additional)
			if _, err := a.Open(out, nonce, box, additional); err != nil {
				t.Error(err)
			}
		}); got > most {
			t.Errorf("%d bytes: %v allocations, at most %v", n, got, most)
		}
	}
}

// TestGCMShared: one AEAD, many goroutines.
func TestGCMShared(t *testing.T) {
	key := noise(t, KeySize, 13)
	for name, a := range implementations(t, key) {
		var wg sync.WaitGroup
		for w := range 8 {
			wg.Go(func() {
				for i := range 50 {
					n := (w*331 + i*97) % 4000
					nonce := noise(t, 12, uint64(w*1000+i))
					text := noise(t, n, uint64(i))
					box := a.Seal(nil, nonce, text, nil)
					if back, err := a.Open(nil, nonce, box, nil); err != nil || !bytes.Equal(back, text) {
						t.Errorf("%s: shared, %d bytes", name, n)
					}
				}
			})
		}
		wg.Wait()
	}
}

func TestGCMKeyLength(t *testing.T) {
	for _, n := range []int{0, 15, 17, 32} {
		_, err := NewGCM(make([]byte, n))
		is(t, err, sandbox.Invalid, fmt.Sprintf("%d bytes", n))
		_, err = NewLibraryGCM(make([]byte, n))
		is(t, err, sandbox.Invalid, fmt.Sprintf("%d bytes", n))
	}
}

// TestGCMPrintsRedacted: a key schedule is a key.
func TestGCMPrintsRedacted(t *testing.T) {
	for name, a := range implementations(t, bytes.Repeat([]byte{0x5a}, KeySize)) {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x"} {
			for _, x := range []any{a, struct{ A cipher.AEAD }{a}, []cipher.AEAD{a}} {
				if text := fmt.Sprintf(verb, x); !strings.Contains(text, "redacted") {
					t.Errorf("%s: %s of %T is not redacted", name, verb, x)
				}
			}
		}
	}
}

// FuzzGCM: kernel and library seal alike and open each other, in place and not, and refuse a changed byte.
func FuzzGCM(f *testing.F) {
	for i, n := range lengths {
		f.Add(uint64(i), uint32(n), uint16(n*3), uint8(i), i%2 == 0, uint32(i*77))
	}
	f.Fuzz(func(t *testing.T, seed uint64, size uint32, extra uint16, offset uint8, inPlace bool, at uint32) {
		n, key := int(size%70_001), noise(t, KeySize, seed)
		all := implementations(t, key)
		nonce, text, additional := noise(t, 12, seed+1), noise(t, n, seed+2), noise(t, int(extra)%5000, seed+3)
		want := all["library"].Seal(nil, nonce, text, additional)
		o := int(offset % 70)
		for name, a := range all {
			buf, from := make([]byte, o+n+16), text
			if inPlace {
				copy(buf[o:], text)
				from = buf[o : o+n]
			}
			got := a.Seal(buf[o:o], nonce, from, additional)
			if !bytes.Equal(got, want) {
				t.Fatalf("%s: seal", name)
			}
			dst := make([]byte, n)
			if inPlace {
				dst = got
			}
			back, err := a.Open(dst[:0], nonce, got, additional)
			if err != nil || !bytes.Equal(back, text) {
				t.Fatalf("%s: open", name)
			}
			bad := bytes.Clone(want)
			bad[int(at)%len(bad)] ^= 1 + byte(at>>24)%255
			if back, err := a.Open(nil, nonce, bad, additional); err == nil || back != nil {
				t.Fatalf("%s: a changed byte opens", name)
			}
		}
	})
}
