package sm

import (
	"crypto/cipher"
	"fmt"
	"io"

	"github.com/emmansun/gmsm/sm4"

	"github.com/opdomain/opdomain/sandbox"
)

// NewGCM gives SM4-GCM (GB/T 32907, GB/T 36624, RFC 8998) with a 16-byte key, 12-byte nonces and 16-byte tags. Safe for concurrent
// use. The caller never repeats a nonce under one key.
//
// On an amd64 processor with AVX-512 (F, BW, DQ, VL), GFNI and VPCLMULQDQ this is a kernel of our own, in every build but purego;
// elsewhere it is the library's. Both give the same bytes, and the kernel has opened with the library what it sealed before it is
// used. The kernel's calls allocate nothing when dst has room, the library's a few small objects a call. The output may lie exactly
// on the input and nowhere else on it or on the additional data: other overlap, a nonce of another length and a message over
// 2^36-32 bytes panic, as cipher.AEAD says.
func NewGCM(key []byte) (cipher.AEAD, error) {
	if len(key) == KeySize {
		if g := newKernel(key); g != nil {
			return g, nil
		}
	}
	return NewLibraryGCM(key)
}

// GCMEngine names what NewGCM gives on this processor, for reports: "kernel (AVX-512, GFNI, VPCLMULQDQ)" or "library".
func GCMEngine() string {
	if newKernel(make([]byte, KeySize)) != nil {
		return "kernel (AVX-512, GFNI, VPCLMULQDQ)"
	}
	return "library"
}

// NewLibraryGCM gives the SM library's SM4-GCM on every machine: what the kernel is measured and tested against.
func NewLibraryGCM(key []byte) (cipher.AEAD, error) {
	if len(key) != KeySize {
		return nil, &sandbox.Error{Op: "sm: gcm", Kind: sandbox.Invalid, Detail: "an SM4 key has 16 bytes"}
	}
	block, err := sm4.NewCipher(key)
	if err != nil {
		return nil, &sandbox.Error{Op: "sm: gcm", Kind: sandbox.Internal, Err: err}
	}
	a, err := cipher.NewGCM(block)
	if err != nil {
		return nil, &sandbox.Error{Op: "sm: gcm", Kind: sandbox.Internal, Err: err}
	}
	return libraryGCM{a}, nil
}

// libraryGCM keeps the library's key schedule out of what is printed.
type libraryGCM struct{ cipher.AEAD }

// String keeps the key out of logs.
func (libraryGCM) String() string { return "sm4-gcm(redacted)" }

// Format keeps it out of every verb.
func (g libraryGCM) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, g.String()) }
