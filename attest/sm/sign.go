package sm

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/emmansun/gmsm/sm2"

	"github.com/opdomain/opdomain/sandbox"
)

// pointSize is the length of an uncompressed point, 04 ‖ x ‖ y.
const pointSize = 65

// SigningKey (签名私钥) is an SM2 private key that only signs.
type SigningKey struct {
	key *sm2.PrivateKey
	pub *VerifyKey
}

// VerifyKey (验签公钥) is the public half of a SigningKey.
type VerifyKey struct {
	point []byte
	key   *ecdsa.PublicKey
}

func newPrivate(rand io.Reader) (*sm2.PrivateKey, error) {
	// The library's own generator reads one byte more at random; drawing 32 bytes until they are a scalar keeps the key a
	// function of the reader alone.
	for range 128 {
		var b [32]byte
		if _, err := io.ReadFull(rand, b[:]); err != nil {
			return nil, &sandbox.Error{Op: "sm: new key", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
		}
		if k, err := sm2.NewPrivateKey(b[:]); err == nil {
			return k, nil
		}
	}
	return nil, &sandbox.Error{Op: "sm: new key", Kind: sandbox.Unavailable, Object: "randomness", Detail: "128 draws in a row were no scalar"}
}

func parsePrivate(b []byte) (*sm2.PrivateKey, error) {
	if len(b) == 32 {
		if k, err := sm2.NewPrivateKey(b); err == nil {
			return k, nil
		}
	}
	return nil, &sandbox.Error{Op: "sm: parse key", Kind: sandbox.Invalid, Object: "private key", Detail: "32 bytes, 1 to n-2"}
}

func parsePoint(b []byte) (*ecdsa.PublicKey, error) {
	if len(b) == pointSize && b[0] == 4 {
		if k, err := sm2.NewPublicKey(b); err == nil {
			return k, nil
		}
	}
	return nil, &sandbox.Error{Op: "sm: parse key", Kind: sandbox.Invalid, Object: "public key",
		Detail: "an uncompressed point of the SM2 curve, 65 bytes, not at infinity"}
}

// point gives the uncompressed point of a private key that parsePrivate or newPrivate checked.
func point(k *sm2.PrivateKey) []byte {
	e, err := k.ECDH()
	if err != nil {
		panic("sm: a checked key has a point: " + err.Error())
	}
	return e.PublicKey().Bytes()
}

// NewSigningKey draws a key from rand.
func NewSigningKey(rand io.Reader) (*SigningKey, error) {
	k, err := newPrivate(rand)
	if err != nil {
		return nil, err
	}
	return signing(k), nil
}

// ParseSigningKey reads the 32 bytes of Bytes.
func ParseSigningKey(b []byte) (*SigningKey, error) {
	k, err := parsePrivate(b)
	if err != nil {
		return nil, err
	}
	return signing(k), nil
}

func signing(k *sm2.PrivateKey) *SigningKey {
	return &SigningKey{k, &VerifyKey{point(k), &k.PublicKey}}
}

// Bytes gives the private scalar, 32 bytes: only for wrapping under another key.
func (k *SigningKey) Bytes() []byte { return k.key.D.FillBytes(make([]byte, 32)) }

// Public gives the key that verifies what k signs.
func (k *SigningKey) Public() *VerifyKey { return k.pub }

// String keeps the key out of logs.
func (SigningKey) String() string { return "sm2 signing key(redacted)" }

// Format keeps the key out of every verb: %d and %+v would walk the fields behind String.
func (k SigningKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// Sign signs msg as a statement of the kind context names.
func (k *SigningKey) Sign(rand io.Reader, context string, msg []byte) ([]byte, error) {
	sig, err := k.key.Sign(rand, Frame([]byte(context), msg), sm2.DefaultSM2SignerOpts)
	if err != nil {
		return nil, &sandbox.Error{Op: "sm: sign", Kind: sandbox.Internal, Object: context, Err: err}
	}
	return sig, nil
}

// ParseVerifyKey reads an uncompressed point: coordinates below p, on the curve, not at infinity.
func ParseVerifyKey(b []byte) (*VerifyKey, error) {
	k, err := parsePoint(b)
	if err != nil {
		return nil, err
	}
	return &VerifyKey{bytes.Clone(b), k}, nil
}

// Bytes gives the uncompressed point, 65 bytes.
func (k *VerifyKey) Bytes() []byte { return bytes.Clone(k.point) }

// Fingerprint (公钥指纹) is the first 16 bytes of SM3 over the point, in hex: what people compare.
func (k *VerifyKey) Fingerprint() string { return fingerprint(k.point) }

func fingerprint(point []byte) string {
	d := Sum(point)
	return hex.EncodeToString(d[:16])
}

// Verify checks a signature of Sign; Tampered if anything about it is wrong.
func (k *VerifyKey) Verify(context string, msg, sig []byte) error {
	if !strictSignature(sig) || !sm2.VerifyASN1WithSM2(k.key, nil, Frame([]byte(context), msg), sig) {
		return &sandbox.Error{Op: "sm: verify", Kind: sandbox.Tampered, Object: context, Detail: "the SM2 signature does not verify"}
	}
	return nil
}

// strictSignature accepts exactly the shortest DER of two positive integers below 2^256, so that a signature has one
// encoding and nothing can ride behind it.
func strictSignature(sig []byte) bool {
	if len(sig) < 8 || len(sig) > 72 || sig[0] != 0x30 || int(sig[1]) != len(sig)-2 {
		return false
	}
	rest := sig[2:]
	for range 2 {
		if len(rest) < 3 || rest[0] != 0x02 {
			return false
		}
		n := int(rest[1])
		if n == 0 || n > 33 || len(rest) < 2+n {
			return false
		}
		v := rest[2 : 2+n]
		if v[0] >= 0x80 || n > 1 && v[0] == 0 && v[1] < 0x80 || n == 1 && v[0] == 0 {
			return false
		}
		rest = rest[2+n:]
	}
	return len(rest) == 0
}
