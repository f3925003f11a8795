//go:build !purego

package sm

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"unsafe"
)

const (
	nonceSize = 12
	tagSize   = 16

	// pieceBytes is what Seal encrypts before it hashes: it stays in the first cache. Assembly is not preempted, so longer
	// stretches would also hold up the collector.
	pieceBytes = 16 * wideBytes
	maxBytes   = (1<<32 - 2) * BlockSize // SP 800-38D, 5.2.1.1
)

// gcm is SM4-GCM on the kernel: the key expanded once.
type gcm struct {
	rk     [32]uint32
	powers [64][16]byte // of the hash key, H^64 first, in the form that ghash multiplies by
}

func newGCM(key []byte) *gcm {
	g := &gcm{}
	sm4Expand(&g.rk, (*[KeySize]byte)(key))
	var h [groupBytes]byte // block 0 of the key stream of a zero counter is H
	sm4CTR16(&g.rk, &[4]uint32{}, &h[0], &h[0], 1)
	hi, lo := binary.BigEndian.Uint64(h[:8]), binary.BigEndian.Uint64(h[8:])
	clear(h[:])
	// H/x in the reflected field, so that a product needs no shift.
	carry := -(hi >> 63)
	hi, lo = hi<<1|lo>>63, lo<<1
	hi, lo = hi^carry&0xc200000000000000, lo^carry&1
	binary.LittleEndian.PutUint64(g.powers[63][:8], lo)
	binary.LittleEndian.PutUint64(g.powers[63][8:], hi)
	ghashPowers(&g.powers)
	return g
}

func (*gcm) NonceSize() int { return nonceSize }
func (*gcm) Overhead() int  { return tagSize }

// String keeps the key schedule out of logs.
func (*gcm) String() string { return "sm4 gcm(redacted)" }

// Format keeps it out of every verb.
func (g *gcm) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, g.String()) }

// start gives the counter block before the message's first.
func start(nonce []byte) [4]uint32 {
	if len(nonce) != nonceSize {
		panic("sm: incorrect nonce length given to GCM")
	}
	return [4]uint32{binary.BigEndian.Uint32(nonce), binary.BigEndian.Uint32(nonce[4:]), binary.BigEndian.Uint32(nonce[8:]), 1}
}

func (g *gcm) Seal(dst, nonce, plaintext, additional []byte) []byte {
	iv := start(nonce)
	if uint64(len(plaintext)) > maxBytes {
		panic("sm: message too large for GCM")
	}
	ret, out := extend(dst, len(plaintext)+tagSize)
	checkOverlap(out, plaintext, additional)

	var head [wideBytes]byte
	n := g.head(&head, &iv, plaintext)
	mask := [tagSize]byte(head[:tagSize])
	copy(out, head[tagSize:n])
	clear(head[:n])
	done := n - tagSize

	var y [BlockSize]byte
	g.hash(&y, additional)
	hashed := 0
	for {
		if whole := done &^ (BlockSize - 1); whole > hashed {
			ghash(&g.powers, &y, &out[hashed], (whole-hashed)/BlockSize)
			hashed = whole
		}
		if done == len(plaintext) {
			break
		}
		to := min(done+pieceBytes, len(plaintext))
		g.stream(out[done:to], plaintext[done:to], &iv)
		done = to
	}
	g.finish(&y, out[hashed:len(plaintext)], len(additional), len(plaintext))
	subtle.XORBytes(out[len(plaintext):], y[:], mask[:])
	clear(mask[:])
	return ret
}

var errOpen = errors.New("cipher: message authentication failed")

// Open hashes the whole ciphertext before it decrypts any: no byte of what fails is ever written.
func (g *gcm) Open(dst, nonce, ciphertext, additional []byte) ([]byte, error) {
	iv := start(nonce)
	if len(ciphertext) < tagSize || uint64(len(ciphertext)) > maxBytes+tagSize {
		return nil, errOpen
	}
	n := len(ciphertext) - tagSize
	ret, out := extend(dst, n)
	checkOverlap(out, ciphertext, additional)
	text, tag := ciphertext[:n], ciphertext[n:]

	var y [BlockSize]byte
	g.hash(&y, additional)
	hashed := 0
	for whole := n &^ (BlockSize - 1); hashed < whole; {
		to := min(hashed+pieceBytes, whole)
		ghash(&g.powers, &y, &text[hashed], (to-hashed)/BlockSize)
		hashed = to
	}
	g.finish(&y, text[hashed:], len(additional), n)

	var head [wideBytes]byte
	used := g.head(&head, &iv, text)
	subtle.XORBytes(y[:], y[:], head[:tagSize])
	if subtle.ConstantTimeCompare(y[:], tag) != 1 {
		clear(head[:used])
		clear(out)
		return nil, errOpen
	}
	copy(out, head[tagSize:used])
	clear(head[:used])
	for done := used - tagSize; done < n; {
		to := min(done+pieceBytes, n)
		g.stream(out[done:to], text[done:to], &iv)
		done = to
	}
	return ret, nil
}

// head encrypts a zero block, which gives the mask of the tag, and the beginning of text in one call of the kernel; gives how many
// bytes of buf it used and moves the counter behind them. buf is zero.
func (g *gcm) head(buf *[wideBytes]byte, iv *[4]uint32, text []byte) int {
	if len(text) <= groupBytes-tagSize {
		n := tagSize + copy(buf[tagSize:groupBytes], text)
		sm4CTR16(&g.rk, iv, &buf[0], &buf[0], 1)
		return n
	}
	n := tagSize + copy(buf[tagSize:], text)
	sm4CTR64(&g.rk, iv, &buf[0], &buf[0], 1)
	iv[3] += wideBytes / BlockSize
	return n
}

// stream encrypts or decrypts src and moves the counter. Only the last call of a message may have part of a block.
func (g *gcm) stream(dst, src []byte, iv *[4]uint32) {
	if n := len(src) / wideBytes; n > 0 {
		sm4CTR64(&g.rk, iv, &dst[0], &src[0], n)
		iv[3] += uint32(n * wideBytes / BlockSize)
		dst, src = dst[n*wideBytes:], src[n*wideBytes:]
	}
	if len(src) == 0 {
		return
	}
	var buf [wideBytes]byte
	n := copy(buf[:], src)
	if n <= groupBytes {
		sm4CTR16(&g.rk, iv, &buf[0], &buf[0], 1)
	} else {
		sm4CTR64(&g.rk, iv, &buf[0], &buf[0], 1)
	}
	copy(dst, buf[:n])
	clear(buf[:])
}

// hash continues y over b, filled up with zeros.
func (g *gcm) hash(y *[BlockSize]byte, b []byte) {
	n := len(b) / BlockSize
	if n > 0 {
		ghash(&g.powers, y, &b[0], n)
	}
	if rest := b[n*BlockSize:]; len(rest) > 0 {
		var last [BlockSize]byte
		copy(last[:], rest)
		ghash(&g.powers, y, &last[0], 1)
	}
}

// finish hashes what is left of the ciphertext, less than a block, and the block of lengths.
func (g *gcm) finish(y *[BlockSize]byte, rest []byte, additional, text int) {
	var last [2 * BlockSize]byte
	copy(last[:], rest)
	binary.BigEndian.PutUint64(last[BlockSize:], uint64(additional)*8)
	binary.BigEndian.PutUint64(last[BlockSize+8:], uint64(text)*8)
	if len(rest) > 0 {
		ghash(&g.powers, y, &last[0], 2)
	} else {
		ghash(&g.powers, y, &last[BlockSize], 1)
	}
}

// extend gives dst with n bytes more, and those alone.
func extend(dst []byte, n int) (whole, added []byte) {
	total := len(dst) + n
	if cap(dst) >= total {
		whole = dst[:total]
	} else {
		whole = make([]byte, total)
		copy(whole, dst)
	}
	return whole, whole[len(dst):]
}

// checkOverlap holds the rules of cipher.AEAD: the output may lie exactly on the input and nowhere else on it, and not on the
// additional data.
func checkOverlap(out, in, additional []byte) {
	if overlap(out, in) && &out[0] != &in[0] {
		panic("sm: invalid buffer overlap of output and input")
	}
	if overlap(out, additional) {
		panic("sm: invalid buffer overlap of output and additional data")
	}
}

func overlap(a, b []byte) bool {
	return len(a) > 0 && len(b) > 0 &&
		uintptr(unsafe.Pointer(&a[0])) <= uintptr(unsafe.Pointer(&b[len(b)-1])) &&
		uintptr(unsafe.Pointer(&b[0])) <= uintptr(unsafe.Pointer(&a[len(a)-1]))
}
