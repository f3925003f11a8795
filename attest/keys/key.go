package keys

import (
	"fmt"
	"io"
	"sync"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

const (
	keyLen   = 32 // of KEKs in files, DEKs, secrets; SM4 keys are derived from them, SM2 scalars are this long
	blindLen = 32
)

// Key (密钥) is an opened key. What uses it derives from it under a context of its own. Safe for concurrent use.
type Key struct {
	id         sandbox.KeyID
	commitment [sm.Size]byte

	mu     sync.RWMutex
	secret [keyLen]byte
	gone   bool // zeroed: without this a closed key would go on as the key of zeros
}

// newKey takes key ‖ blind.
func newKey(id sandbox.KeyID, plain []byte) *Key {
	k := &Key{id: id, commitment: sm.Sum(plain)}
	copy(k.secret[:], plain)
	return k
}

// ID names the key.
func (k *Key) ID() sandbox.KeyID { return k.id }

// Commitment is SM3(key ‖ 32 random bytes), logged when the key is made; an erasure certificate refers to it.
func (k *Key) Commitment() [sm.Size]byte { return k.commitment }

// Derive gives n bytes for a use, by HKDF-SM3 over the length-prefixed context. Unavailable once the key is closed or
// destroyed.
func (k *Key) Derive(n int, context ...string) ([]byte, error) {
	k.mu.RLock()
	defer k.mu.RUnlock()
	if k.gone {
		return nil, &sandbox.Error{Op: "keys: derive", Kind: sandbox.Unavailable, Object: string(k.id), Detail: "the key was closed or destroyed"}
	}
	parts := make([][]byte, len(context))
	for i, c := range context {
		parts[i] = []byte(c)
	}
	return sm.HKDF(k.secret[:], nil, sm.Frame(parts...), n)
}

// String keeps keys out of logs.
func (k *Key) String() string { return "key " + string(k.id) + "(redacted)" }

// Format keeps keys out of every verb.
func (k *Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

func (k *Key) forget() {
	k.mu.Lock()
	defer k.mu.Unlock()
	clear(k.secret[:])
	k.gone = true
}

// wrapping gives the SM4 key that k wraps others with.
func (k *Key) wrapping() ([]byte, error) {
	return k.Derive(sm.KeySize, "opdomain/wrap/v1", string(k.id))
}
