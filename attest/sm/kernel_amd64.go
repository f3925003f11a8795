//go:build !purego

package sm

import (
	"bytes"
	"crypto/cipher"
	"sync"

	"github.com/emmansun/gmsm/sm4"
	"golang.org/x/sys/cpu"
)

// hasKernel says whether this processor and its system do what kernel_amd64.s asks.
var hasKernel = cpu.X86.HasAVX512F && cpu.X86.HasAVX512BW && cpu.X86.HasAVX512DQ && cpu.X86.HasAVX512VL &&
	cpu.X86.HasAVX512GFNI && cpu.X86.HasAVX512VPCLMULQDQ

// newKernel gives the kernel's AEAD, or nil where there is none.
func newKernel(key []byte) cipher.AEAD {
	if !hasKernel || !kernelAgrees() {
		return nil
	}
	return newGCM(key)
}

// kernelAgrees compares, once a process, the kernel with the library on messages and blocks that take every path: a processor that
// a virtual machine describes wrongly must not seal what no other can open. The key is a constant.
var kernelAgrees = sync.OnceValue(func() bool {
	key, nonce := [KeySize]byte{0: 1, 15: 0xfe}, [nonceSize]byte{11: 7}
	block, err := sm4.NewCipher(key[:])
	if err != nil {
		return false
	}
	library, err := cipher.NewGCM(block)
	if err != nil {
		return false
	}
	text := make([]byte, 5*wideBytes+3*groupBytes+5)
	for i := range text {
		text[i] = byte(i * 167)
	}
	g := newGCM(key[:])
	for _, n := range []int{0, 37, len(text)} {
		sealed := g.Seal(nil, nonce[:], text[:n], text[:n/3])
		opened, err := library.Open(nil, nonce[:], sealed, text[:n/3])
		if err != nil || !bytes.Equal(opened, text[:n]) {
			return false
		}
	}
	blocks := text[:wideBytes+groupBytes+BlockSize]
	e, changed := expand(key[:]), bytes.Clone(blocks)
	e.encrypt(changed)
	var one [BlockSize]byte
	for i := 0; i < len(blocks); i += BlockSize {
		block.Encrypt(one[:], blocks[i:i+BlockSize])
		if !bytes.Equal(one[:], changed[i:i+BlockSize]) {
			return false
		}
	}
	e.decrypt(changed)
	return bytes.Equal(changed, blocks)
})

//go:noescape
func sm4Expand(rk *[32]uint32, key *[16]byte)

// sm4CTR64 adds the key stream from counter iv on to n times 1024 bytes, sm4CTR16 to n times 256. iv holds the four words of
// the first counter block. n is positive; dst is src or does not overlap it.
//
//go:noescape
func sm4CTR64(rk *[32]uint32, iv *[4]uint32, dst, src *byte, n int)

//go:noescape
func sm4CTR16(rk *[32]uint32, iv *[4]uint32, dst, src *byte, n int)

// sm4Blocks64 encrypts n times 64 blocks, each on its own, sm4Blocks16 n times 16; with the round keys in reverse they decrypt.
// n is positive; dst is src or does not overlap it.
//
//go:noescape
func sm4Blocks64(rk *[32]uint32, dst, src *byte, n int)

//go:noescape
func sm4Blocks16(rk *[32]uint32, dst, src *byte, n int)

// ghashPowers fills powers from its last element, ghash continues y over n > 0 blocks.
//
//go:noescape
func ghashPowers(powers *[64][16]byte)

//go:noescape
func ghash(powers *[64][16]byte, y *[16]byte, src *byte, n int)

const (
	groupBytes = 16 * BlockSize // what one register group of the kernel takes
	wideBytes  = 4 * groupBytes // what its fast loop takes a turn
)

// ecb is SM4 on independent blocks on the kernel.
type ecb struct{ enc, dec [32]uint32 }

// newECB gives the kernel's, or nil where there is none.
func newECB(key []byte) *ecb {
	if !hasKernel || !kernelAgrees() {
		return nil
	}
	return expand(key)
}

func expand(key []byte) *ecb {
	e := &ecb{}
	sm4Expand(&e.enc, (*[KeySize]byte)(key))
	for i, k := range e.enc {
		e.dec[31-i] = k
	}
	return e
}

func (e *ecb) encrypt(b []byte) { crypt(&e.enc, b) }
func (e *ecb) decrypt(b []byte) { crypt(&e.dec, b) }

// crypt works in place on whole blocks: turns of the fast loop first, no more of them a call than in Seal, the rest in a buffer.
func crypt(rk *[32]uint32, b []byte) {
	for len(b) >= wideBytes {
		n := min(len(b)&^(wideBytes-1), pieceBytes)
		sm4Blocks64(rk, &b[0], &b[0], n/wideBytes)
		b = b[n:]
	}
	switch n := len(b); {
	case n == 0:
	case n%groupBytes == 0 && n <= 2*groupBytes:
		sm4Blocks16(rk, &b[0], &b[0], n/groupBytes)
	case n < groupBytes:
		var buf [groupBytes]byte
		copy(buf[:], b)
		sm4Blocks16(rk, &buf[0], &buf[0], 1)
		copy(b, buf[:])
		clear(buf[:])
	default:
		var buf [wideBytes]byte
		copy(buf[:], b)
		sm4Blocks64(rk, &buf[0], &buf[0], 1)
		copy(b, buf[:])
		clear(buf[:])
	}
}
