package token

import (
	"fmt"
	"io"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Scope (令牌作用域) is where tokens can be linked: one scenario and one partner. Kind, which may be empty, names what the
// values are, so that equal texts of different meaning get different tokens; columns that are to be joined share it.
type Scope struct {
	Scenario sandbox.ScenarioID
	Partner  sandbox.PartyID
	Kind     string
}

// Deriver (密钥派生器) is the domain's token secret, as *keys.Key of attest/keys is.
type Deriver interface {
	Derive(n int, context ...string) ([]byte, error)
}

// Key (令牌密钥) is the token key of one scope. It prints as redacted.
type Key struct {
	secret [sm.Size]byte
	made   bool
}

const keyLabel = "opdomain/token/v1"

// DeriveKey derives the key of a scope from the domain's token secret by HKDF-SM3 under the label opdomain/token/v1, with
// scenario, partner and kind each after its length. Invalid for a malformed scope.
func DeriveKey(domain Deriver, s Scope) (Key, error) {
	if err := sandbox.CheckID("scenario", string(s.Scenario)); err != nil {
		return Key{}, err
	}
	if err := sandbox.CheckID("partner", string(s.Partner)); err != nil {
		return Key{}, err
	}
	if s.Kind != "" {
		if err := sandbox.CheckID("kind of token", s.Kind); err != nil {
			return Key{}, err
		}
	}
	b, err := domain.Derive(sm.Size, keyLabel, string(s.Scenario), string(s.Partner), s.Kind)
	if err != nil {
		return Key{}, err
	}
	return NewKey(b)
}

// NewKey takes the 32 bytes of a key that was derived or drawn elsewhere, as a table desensitised without a domain has.
func NewKey(b []byte) (Key, error) {
	if len(b) != sm.Size {
		return Key{}, &sandbox.Error{Op: "token: key", Kind: sandbox.Invalid, Detail: "a token key has 32 bytes"}
	}
	k := Key{made: true}
	copy(k.secret[:], b)
	return k, nil
}

// String keeps the key out of logs.
func (Key) String() string { return "token key(redacted)" }

// Format keeps the key out of every verb.
func (k Key) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, k.String()) }

// MarshalText keeps the key out of encoders.
func (Key) MarshalText() ([]byte, error) { return []byte("token key(redacted)"), nil }

// derive gives the key of one operation. Operations of other names or parameters have unrelated keys.
func (k Key) derive(n int, operation ...string) ([]byte, error) {
	if !k.made {
		return nil, &sandbox.Error{Op: "token: key", Kind: sandbox.Invalid, Object: operation[0], Detail: "the operation has no key"}
	}
	parts := [][]byte{[]byte(keyLabel)}
	for _, p := range operation {
		parts = append(parts, []byte(p))
	}
	return sm.HKDF(k.secret[:], nil, sm.Frame(parts...), n)
}

// Derive gives n bytes for another keyed operation of the scope, as a date shift is. The context's first part names it.
func (k Key) Derive(n int, context ...string) ([]byte, error) {
	return k.derive(n, append([]string{"derived"}, context...)...)
}
