package sm

import (
	"bytes"
	"crypto/ecdsa"
	"encoding/binary"
	"fmt"
	"io"

	"github.com/emmansun/gmsm/sm2"

	"github.com/opdomain/opdomain/sandbox"
)

// MinSealed and MaxSealed bound what Seal wraps directly, in bytes: keys. Other bodies go through SealMessage. The lower
// bound is there because the library, when a key stream is all zeros, tries again with the point it has overwritten and
// gives a ciphertext nobody opens: one in 256 at one byte, one in 2^128 at sixteen.
const (
	MinSealed = KeySize
	MaxSealed = 4096
)

// MaxMessage bounds the body of SealMessage, 64 MiB.
const MaxMessage = 64 << 20

// DecryptKey (解密私钥) is an SM2 private key that only decrypts.
type DecryptKey struct {
	key *sm2.PrivateKey
	pub *EncryptKey
}

// EncryptKey (加密公钥) is the public half of a DecryptKey.
type EncryptKey struct {
	point []byte
	key   *ecdsa.PublicKey
}

// NewDecryptKey draws a key from rand.
func NewDecryptKey(rand io.Reader) (*DecryptKey, error) {
	k, err := newPrivate(rand)
	if err != nil {
		return nil, err
	}
	return decrypting(k), nil
}

// ParseDecryptKey reads the 32 bytes of Bytes.
func ParseDecryptKey(b []byte) (*DecryptKey, error) {
	k, err := parsePrivate(b)
	if err != nil {
		return nil, err
	}
	return decrypting(k), nil
}

func decrypting(k *sm2.PrivateKey) *DecryptKey {
	return &DecryptKey{k, &EncryptKey{point(k), &k.PublicKey}}
}

// Bytes gives the private scalar, 32 bytes: only for wrapping under another key.
func (k *DecryptKey) Bytes() []byte { return k.key.D.FillBytes(make([]byte, 32)) }

// Public gives the key others seal to.
func (k *DecryptKey) Public() *EncryptKey { return k.pub }

// String keeps the key out of logs.
func (DecryptKey) String() string { return "sm2 decryption key(redacted)" }

// Format keeps the key out of every verb.
func (k DecryptKey) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// ParseEncryptKey reads an uncompressed point as ParseVerifyKey does.
func ParseEncryptKey(b []byte) (*EncryptKey, error) {
	k, err := parsePoint(b)
	if err != nil {
		return nil, err
	}
	return &EncryptKey{bytes.Clone(b), k}, nil
}

// Bytes gives the uncompressed point, 65 bytes.
func (k *EncryptKey) Bytes() []byte { return bytes.Clone(k.point) }

// Fingerprint (公钥指纹) is the first 16 bytes of SM3 over the point, in hex.
func (k *EncryptKey) Fingerprint() string { return fingerprint(k.point) }

// Seal encrypts a key of MinSealed to MaxSealed bytes by SM2, ASN.1 of GM/T 0009.
func (k *EncryptKey) Seal(rand io.Reader, msg []byte) ([]byte, error) {
	if len(msg) < MinSealed {
		return nil, &sandbox.Error{Op: "sm: seal", Kind: sandbox.Invalid, Detail: "at least 16 bytes; shorter bodies are sealed as messages"}
	}
	if len(msg) > MaxSealed {
		return nil, &sandbox.Error{Op: "sm: seal", Kind: sandbox.TooLarge, Detail: "at most 4096 bytes; longer bodies are sealed as messages"}
	}
	out, err := sm2.EncryptASN1(rand, k.key, msg)
	if err != nil {
		return nil, &sandbox.Error{Op: "sm: seal", Kind: sandbox.Internal, Err: err}
	}
	return out, nil
}

func notOpened() error {
	return &sandbox.Error{Op: "sm: open", Kind: sandbox.Tampered, Detail: "the ciphertext does not open under this key"}
}

// Open decrypts what Seal made. Every failure is the same error: a decrypting key that tells causes apart is an oracle.
func (k *DecryptKey) Open(ct []byte) ([]byte, error) {
	if len(ct) == 0 || len(ct) > MaxSealed+256 || ct[0] != 0x30 {
		return nil, notOpened()
	}
	out, err := sm2.Decrypt(k.key, ct)
	if err != nil || len(out) == 0 {
		return nil, notOpened()
	}
	return out, nil
}

// SealMessage seals a body of any length up to MaxMessage: a random SM4 key wrapped by SM2, the body under SM4-GCM bound
// to context and to the wrapped key. Layout: uint16 length of the wrapped key, wrapped key, body with its tag.
func (k *EncryptKey) SealMessage(rand io.Reader, context string, msg []byte) ([]byte, error) {
	if len(msg) > MaxMessage {
		return nil, &sandbox.Error{Op: "sm: seal", Kind: sandbox.TooLarge, Object: context, Detail: "at most 64 MiB"}
	}
	var key [KeySize]byte
	if _, err := io.ReadFull(rand, key[:]); err != nil {
		return nil, &sandbox.Error{Op: "sm: seal", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	wrapped, err := k.Seal(rand, key[:])
	if err != nil {
		return nil, err
	}
	aead, err := NewGCM(key[:])
	if err != nil {
		return nil, err
	}
	out := binary.BigEndian.AppendUint16(make([]byte, 0, 2+len(wrapped)+len(msg)+16), uint16(len(wrapped)))
	out = append(out, wrapped...)
	// The key is used once, so the nonce is constant.
	return aead.Seal(out, make([]byte, 12), msg, Frame([]byte(context), wrapped)), nil
}

// OpenMessage opens what SealMessage made for the same context.
func (k *DecryptKey) OpenMessage(context string, box []byte) ([]byte, error) {
	if len(box) < 2 {
		return nil, notOpened()
	}
	n := int(binary.BigEndian.Uint16(box))
	if len(box)-2 < n || len(box)-2-n > MaxMessage+16 {
		return nil, notOpened()
	}
	wrapped, body := box[2:2+n], box[2+n:]
	key, err := k.Open(wrapped)
	if err != nil || len(key) != KeySize {
		return nil, notOpened()
	}
	aead, err := NewGCM(key)
	if err != nil {
		return nil, notOpened()
	}
	out, err := aead.Open(nil, make([]byte, 12), body, Frame([]byte(context), wrapped))
	if err != nil {
		return nil, notOpened()
	}
	return out, nil
}
