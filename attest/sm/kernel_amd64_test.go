//go:build !purego

package sm

import (
	"bytes"
	"encoding/binary"
	"testing"
)

// kernel says whether this processor has the kernel's instructions, which no test can install. Where it has not, what is tested is
// that the library stands in.
func kernel(t *testing.T) bool {
	t.Helper()
	if !hasKernel {
		if a, err := NewGCM(make([]byte, KeySize)); err != nil || GCMEngine() != "library" {
			t.Fatalf("without its instructions the kernel is not left for the library: %T, %v", a, err)
		}
		t.Log("AVX-512 with GFNI and VPCLMULQDQ is not here: the library stands in")
		return false
	}
	if !kernelAgrees() {
		t.Fatal("the kernel does not agree with the library")
	}
	return true
}

// TestKernelSchedule: the round keys are those of the standard's example (GB/T 32907, A.1): first and last.
func TestKernelSchedule(t *testing.T) {
	if !kernel(t) {
		return
	}
	var rk [32]uint32
	sm4Expand(&rk, (*[KeySize]byte)(unhex(t, "0123456789abcdeffedcba9876543210")))
	for i, want := range map[int]uint32{0: 0xf12186f9, 1: 0x41662b61, 2: 0x5a6ab19a, 28: 0x428d3654, 29: 0x62293496, 30: 0x01cf72e5, 31: 0x9124a012} {
		if rk[i] != want {
			t.Errorf("round key %d: %08x", i, rk[i])
		}
	}
}

// TestKernelCounter: both loops are SM4 on successive counters, which wrap in their last word alone.
func TestKernelCounter(t *testing.T) {
	if !kernel(t) {
		return
	}
	key := noise(t, KeySize, 20)
	blocks := libraryBlocks(t, key)
	var rk [32]uint32
	sm4Expand(&rk, (*[KeySize]byte)(key))
	for _, first := range []uint32{0, 1, 77, 1<<32 - 1, 1<<32 - 16, 1<<32 - 33, 1<<32 - 100} {
		iv := [4]uint32{0x01020304, 1<<32 - 1, 1<<32 - 1, first}
		const n = 3
		want := make([]byte, n*wideBytes)
		for i := 0; i < len(want); i += BlockSize {
			for k := range 3 {
				binary.BigEndian.PutUint32(want[i+4*k:], iv[k])
			}
			binary.BigEndian.PutUint32(want[i+12:], first+uint32(i/BlockSize))
		}
		blocks.Encrypt(want)
		text := noise(t, len(want), 21)
		for i := range want {
			want[i] ^= text[i]
		}
		for name, ctr := range map[string]func(dst, src *byte){
			"sm4CTR64": func(dst, src *byte) { sm4CTR64(&rk, &iv, dst, src, n) },
			"sm4CTR16": func(dst, src *byte) { sm4CTR16(&rk, &iv, dst, src, 4*n) },
		} {
			got := make([]byte, len(want)+64)
			ctr(&got[0], &text[0])
			if !bytes.Equal(got[:len(want)], want) || !bytes.Equal(got[len(want):], make([]byte, 64)) {
				t.Errorf("%s from counter %#x", name, first)
			}
			same := bytes.Clone(text)
			ctr(&same[0], &same[0])
			if !bytes.Equal(same, want) {
				t.Errorf("%s from counter %#x, in place", name, first)
			}
		}
	}
}

// TestKernelBlocks: any number of blocks is encrypted and decrypted as the library does, and nothing behind them.
func TestKernelBlocks(t *testing.T) {
	if !kernel(t) {
		return
	}
	key := noise(t, KeySize, 25)
	library := libraryBlocks(t, key)
	b, err := NewBlocks(key)
	if err != nil {
		t.Fatal(err)
	}
	if b.kernel == nil {
		t.Fatal("no kernel")
	}
	for n := 0; n <= 3*64+17; n++ {
		text := noise(t, n*BlockSize, 26)
		want := bytes.Clone(text)
		library.Encrypt(want)
		got := append(bytes.Clone(text), 0xa5)
		b.Encrypt(got[:len(text)])
		if !bytes.Equal(got[:len(text)], want) || got[len(text)] != 0xa5 {
			t.Fatalf("%d blocks", n)
		}
		b.Decrypt(got[:len(text)])
		if !bytes.Equal(got[:len(text)], text) {
			t.Fatalf("%d blocks, back", n)
		}
	}
	long := noise(t, pieceBytes+5*BlockSize, 27)
	want := bytes.Clone(long)
	library.Encrypt(want)
	b.Encrypt(long)
	if !bytes.Equal(long, want) {
		t.Error("more than one call of the kernel")
	}
	panics(t, "part of a block", func() { b.Encrypt(make([]byte, 17)) })
	panics(t, "part of a block, back", func() { b.Decrypt(make([]byte, 15)) })
}

// TestKernelAbsent: a processor without the instructions gets the library, and the same bytes.
func TestKernelAbsent(t *testing.T) {
	key, nonce, text := noise(t, KeySize, 22), noise(t, 12, 23), noise(t, 1500, 24)
	a, err := NewGCM(key)
	if err != nil {
		t.Fatal(err)
	}
	had := hasKernel
	defer func() { hasKernel = had }()
	hasKernel = false
	b, err := NewGCM(key)
	if err != nil {
		t.Fatal(err)
	}
	if _, kernel := b.(*gcm); kernel {
		t.Fatal("the kernel is used where it cannot be")
	}
	if c, err := NewBlocks(key); err != nil || c.kernel != nil {
		t.Fatalf("blocks by the kernel where it cannot be: %v", err)
	}
	if !bytes.Equal(a.Seal(nil, nonce, text, key), b.Seal(nil, nonce, text, key)) {
		t.Error("two processors seal differently")
	}
}
