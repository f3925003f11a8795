package sm

import (
	"crypto/cipher"
	"fmt"
	"io"

	"github.com/emmansun/gmsm/sm4"

	"github.com/opdomain/opdomain/sandbox"
)

// Keystream (密钥流) is the output of SM4 in counter mode (GB/T 17964) from the zero block: bytes that nobody without the key can
// tell from random ones, the same ones for the same key. It is for draws that must be repeatable, each under a key of its
// own; it is no encryption. One goroutine reads.
type Keystream struct{ stream cipher.Stream }

// NewKeystream takes a key of KeySize bytes that nothing else uses.
func NewKeystream(key []byte) (*Keystream, error) {
	if len(key) != KeySize {
		return nil, &sandbox.Error{Op: "sm: keystream", Kind: sandbox.Invalid, Detail: "an SM4 key has 16 bytes"}
	}
	block, err := sm4.NewCipher(key)
	if err != nil {
		return nil, &sandbox.Error{Op: "sm: keystream", Kind: sandbox.Internal, Err: err}
	}
	return &Keystream{cipher.NewCTR(block, make([]byte, BlockSize))}, nil
}

// Read fills b; it never fails.
func (k *Keystream) Read(b []byte) (int, error) {
	clear(b)
	k.stream.XORKeyStream(b, b)
	return len(b), nil
}

// Format keeps the key out of every verb.
func (*Keystream) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "sm4 keystream(redacted)") }
