package sm

import (
	"bytes"
	"os"
	"testing"

	"golang.org/x/sys/unix"
)

// guarded gives n bytes that end or begin where memory that may not be touched does.
func guarded(t *testing.T, size int) (before, after func(n int) []byte) {
	t.Helper()
	page := os.Getpagesize()
	inner := (size + page - 1) / page * page
	mem, err := unix.Mmap(-1, 0, inner+2*page, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = unix.Munmap(mem) })
	for _, p := range [][]byte{mem[:page], mem[page+inner:]} {
		if err := unix.Mprotect(p, unix.PROT_NONE); err != nil {
			t.Fatal(err)
		}
	}
	mid := mem[page : page+inner]
	return func(n int) []byte { return mid[inner-n : inner : inner] }, func(n int) []byte { return mid[:n:n] }
}

// TestGCMTouchesNothingElse: text, box and additional data lie against pages that fault, at both ends.
func TestGCMTouchesNothingElse(t *testing.T) {
	key, nonce := noise(t, KeySize, 30), noise(t, 12, 31)
	const most = 3300
	in1, in2 := guarded(t, most)
	out1, out2 := guarded(t, most+16)
	aad1, aad2 := guarded(t, most)
	for name, a := range implementations(t, key) {
		if name == "library" {
			continue // not ours to hold
		}
		for n := 0; n <= most; n += 1 + n/300 {
			for _, at := range [][3]func(int) []byte{{in1, out1, aad1}, {in2, out2, aad2}} {
				text, box, additional := at[0](n), at[1](n+16), at[2](n*5%most)
				copy(text, noise(t, n, 32))
				got := a.Seal(box[:0], nonce, text, additional)
				back, err := a.Open(text[:0], nonce, got, additional)
				if err != nil || !bytes.Equal(back, noise(t, n, 32)) {
					t.Fatalf("%d bytes: %v", n, err)
				}
			}
		}
	}
}
