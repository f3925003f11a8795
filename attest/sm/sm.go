// Package sm gives the domain its Chinese national cryptography (国密算法): SM2 signatures and encryption (GB/T 32918),
// SM3 hashing (GB/T 32905) with HMAC and HKDF over it, SM4-GCM (GB/T 32907, GB/T 36624). Only it and its subpackages
// import an SM library: all algorithms here run on emmansun/gmsm, tjfoc/gmsm is the second opinion in tests and the
// protocol engine of tlcp.
//
// Keys of different purpose are different types: what signs cannot decrypt. Every signature covers a context string that
// names the kind of statement, so that one kind never passes for another. Encodings: points are 65 bytes uncompressed,
// private scalars 32 bytes big endian, signatures strict DER SEQUENCE{r, s} with user id 1234567812345678, ciphertexts
// ASN.1 of GM/T 0009. Randomness is passed in.
//
// Errors are Tampered for bytes that fail authentication and Invalid for malformed keys; no error tells which step of a
// decryption failed. Single-block SM4 in the library's default build uses tables; bulk operations do not, nor does the kernel that
// gives SM4-GCM and Blocks on amd64 processors with AVX-512, GFNI and VPCLMULQDQ (NewGCM says when). Not here: TLCP and certificates,
// which are in subpackages tlcp and pki; key storage.
package sm

import (
	"crypto/hkdf"
	"crypto/hmac"
	"encoding/binary"
	"hash"

	"github.com/emmansun/gmsm/sm3"

	"github.com/opdomain/opdomain/sandbox"
)

const (
	Size    = sm3.Size // bytes of an SM3 digest
	KeySize = 16       // bytes of an SM4 key
)

// Sum is SM3 over the concatenation of parts. Parts of variable length go through Frame first.
func Sum(parts ...[]byte) (out [Size]byte) {
	h := sm3.New()
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(out[:0])
	return out
}

// NewHash gives a running SM3.
func NewHash() hash.Hash { return sm3.New() }

// HMAC is HMAC-SM3 over the concatenation of parts.
func HMAC(key []byte, parts ...[]byte) (out [Size]byte) {
	h := hmac.New(sm3.New, key)
	for _, p := range parts {
		h.Write(p)
	}
	h.Sum(out[:0])
	return out
}

// HKDF derives n bytes from secret by HKDF-SM3 (RFC 5869). info is built with Frame.
func HKDF(secret, salt, info []byte, n int) ([]byte, error) {
	if len(secret) == 0 || n <= 0 || n > 255*Size {
		return nil, &sandbox.Error{Op: "sm: hkdf", Kind: sandbox.Invalid, Detail: "a secret of at least one byte and 1 to 8160 bytes out"}
	}
	out, err := hkdf.Key(sm3.New, secret, salt, string(info), n)
	if err != nil {
		return nil, &sandbox.Error{Op: "sm: hkdf", Kind: sandbox.Internal, Err: err}
	}
	return out, nil
}

// Frame joins parts, each after its length as a big-endian uint32, so that no two lists of parts encode alike.
func Frame(parts ...[]byte) []byte {
	n := 0
	for _, p := range parts {
		n += 4 + len(p)
	}
	out := make([]byte, 0, n)
	for _, p := range parts {
		out = binary.BigEndian.AppendUint32(out, uint32(len(p)))
		out = append(out, p...)
	}
	return out
}
