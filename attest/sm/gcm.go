package sm

import (
	"crypto/cipher"

	"github.com/emmansun/gmsm/sm4"

	"github.com/opdomain/opdomain/sandbox"
)

// NewGCM gives SM4-GCM (GB/T 32907, GB/T 36624, RFC 8998) with a 16-byte key, 12-byte nonces and 16-byte tags. Safe for concurrent
// use. The caller never repeats a nonce under one key.
//
// On an amd64 processor with AVX-512 (F, BW, DQ, VL), GFNI and VPCLMULQDQ this is a kernel of our own, in every build but purego;
// elsewhere it is the library's. Both give the same bytes, and the kernel has opened with the library what it sealed before it is
// used. Calls allocate nothing when dst has room. The output may lie exactly on the input and nowhere else on it or on the
// additional data: other overlap, a nonce of another length and a message over 2^36-32 bytes panic.
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
	return cipher.NewGCM(block)
}
