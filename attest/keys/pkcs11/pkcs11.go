// Package pkcs11 is the token driver (密码机驱动) of the key vault: a keys.Device whose key-encrypting keys are objects of a
// PKCS#11 (Cryptoki 2.40) token.
//
// Every KEK is generated inside the token as a private, sensitive, non-extractable, unmodifiable secret key; the driver
// reads those attributes back and refuses a key that was imported or could have left. Label: "<Config.Label>/<KEK name>";
// CKA_ID: generation, big endian, 4 bytes, then 12 random bytes.
//
// PKCS#11 has no standard SM4 mechanism; a device's own numbers go into Mechanism. AES256GCM is for tokens without SM4 and
// is named as what it is in key headers and certificates. Under a mechanism with associated data the token seals key and
// header itself. Under one without, the token encrypts a fresh 32-byte transport key, and the key is sealed beside it by
// SM4-GCM under HKDF-SM3 of that, bound to header and token ciphertext; its name says so.
//
// One session per device behind a lock. A session the token lost is opened again once, on the token of the same serial;
// otherwise Unavailable, naming the token and the CKR. Passphrase for a wrong PIN. The PIN stays in memory until Close, for
// that; it is in no error, log or description. A locked PIN is never retried.
//
// Not here: wrapping under C_WrapKey, signing in the token. A build without cgo has the types and Load gives Unavailable.
package pkcs11

import (
	"crypto/cipher"
	"fmt"
	"io"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Mode (工作模式) is what a mechanism's parameter is.
type Mode int

const (
	GCM   Mode = iota + 1 // CK_GCM_PARAMS with associated data
	CBC                   // a 16-byte IV
	Block                 // none: single blocks of a random key
)

// Mechanism (密码机制) is how KEKs are made and used, by the token's numbers.
type Mechanism struct {
	Name     string // as headers and certificates give it: "SM4-CBC"
	Generate uint   // CKM_… of key generation
	KeyType  uint   // CKK_…
	Bytes    int    // length of a key, 0 where the type says it
	Cipher   uint   // CKM_… of encryption
	Mode     Mode
}

// AES256GCM is standard Cryptoki, for tokens without SM4.
func AES256GCM() Mechanism { return Mechanism{"AES-256-GCM", 0x1080, 0x1f, 32, 0x1087, GCM} }

// AES256CBC is standard Cryptoki, for tokens without an authenticated mode.
func AES256CBC() Mechanism { return Mechanism{"AES-256-CBC", 0x1080, 0x1f, 32, 0x1082, CBC} }

// full names the envelope too.
func (m Mechanism) full() string {
	if m.Mode == GCM {
		return m.Name
	}
	return m.Name + " of a transport key, SM4-GCM under it"
}

func (m Mechanism) check() error {
	if m.Name == "" || len(m.Name) > 64 || m.Mode < GCM || m.Mode > Block || m.Bytes < 0 || m.Bytes > 64 {
		return &sandbox.Error{Op: "pkcs11", Kind: sandbox.Invalid, Object: "mechanism", Detail: "a name, a mode and a key of at most 64 bytes"}
	}
	return nil
}

// Config (密码机参数) names a token and the KEKs in it.
type Config struct {
	Token     string // label of the token
	Serial    string // of the token; empty: whichever has the label, which must then be one
	PIN       []byte // of the token's user; copied
	Label     string // before every object's label: the domain, so that domains share a token
	Mechanism Mechanism
	Rand      io.Reader
}

func (c Config) check() error {
	if c.Token == "" || c.Rand == nil {
		return &sandbox.Error{Op: "pkcs11", Kind: sandbox.Invalid, Object: "config", Detail: "a token's label and randomness"}
	}
	if err := sandbox.CheckID("label", c.Label); err != nil {
		return err
	}
	return c.Mechanism.check()
}

const transportLen = 32

// envelope seals a key beside the token's ciphertext of a transport key: uint16 length, token ciphertext, SM4-GCM.
func envelope(transport, box, aad, key []byte) ([]byte, error) {
	aead, err := transportCipher(transport)
	if err != nil {
		return nil, err
	}
	out := append([]byte{byte(len(box) >> 8), byte(len(box))}, box...)
	// The transport key is used once, so the nonce is constant.
	return aead.Seal(out, make([]byte, aead.NonceSize()), key, sm.Frame(aad, box)), nil
}

// split gives the token's ciphertext and the sealed key of an envelope.
func split(wrapped []byte) (box, sealed []byte, err error) {
	if len(wrapped) < 2 {
		return nil, nil, keys.NotUnwrapped()
	}
	n := int(wrapped[0])<<8 | int(wrapped[1])
	if n == 0 || len(wrapped)-2 < n {
		return nil, nil, keys.NotUnwrapped()
	}
	return wrapped[2 : 2+n], wrapped[2+n:], nil
}

func openEnvelope(transport, box, sealed, aad []byte) ([]byte, error) {
	if len(transport) != transportLen {
		return nil, keys.NotUnwrapped()
	}
	aead, err := transportCipher(transport)
	if err != nil {
		return nil, err
	}
	key, err := aead.Open(nil, make([]byte, aead.NonceSize()), sealed, sm.Frame(aad, box))
	if err != nil {
		return nil, keys.NotUnwrapped()
	}
	return key, nil
}

func transportCipher(transport []byte) (cipher.AEAD, error) {
	k, err := sm.HKDF(transport, nil, sm.Frame([]byte("opdomain/transport/v1")), sm.KeySize)
	if err != nil {
		return nil, err
	}
	defer clear(k)
	return sm.NewGCM(k)
}

func noToken(token, detail string, err error) error {
	return &sandbox.Error{Op: "pkcs11", Kind: sandbox.Unavailable, Object: fmt.Sprintf("token %q", token), Detail: detail, Err: err}
}
