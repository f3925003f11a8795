package keys

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// ContextHandover is what both keys sign a Handover under.
const ContextHandover = "opdomain/handover/v1"

const handover = "handover-"

// Handover (签名密钥交接声明) says that one signing key of the domain follows another. Both sign the body; the caller logs it.
type Handover struct {
	Generation uint32    `json:"generation"` // of New, from 2
	Old        []byte    `json:"old"`        // public keys, uncompressed points
	New        []byte    `json:"new"`
	At         time.Time `json:"at"`
	ByOld      []byte    `json:"by_old,omitempty"`
	ByNew      []byte    `json:"by_new,omitempty"`
}

func (h Handover) body() ([]byte, error) {
	h.ByOld, h.ByNew = nil, nil
	return json.Marshal(h)
}

// Verify checks both signatures: the old key vouches for the new, and the new one for the old.
func (h Handover) Verify() error {
	body, err := h.body()
	if err != nil {
		return err
	}
	for _, x := range []struct{ key, sig []byte }{{h.Old, h.ByOld}, {h.New, h.ByNew}} {
		k, err := sm.ParseVerifyKey(x.key)
		if err != nil {
			return err
		}
		if err := k.Verify(ContextHandover, body, x.sig); err != nil {
			return err
		}
	}
	return nil
}

// SigningKey gives the domain's signing key; after RotateSigningKey, the new one. Who holds the old one goes on signing with
// it until it asks again.
func (v *Vault) SigningKey() *sm.SigningKey {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.signing
}

// VerifyKeys gives every signing key's public half, oldest first.
func (v *Vault) VerifyKeys() []*sm.VerifyKey {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.signers)
}

// Handovers gives every hand-over, oldest first: for a caller that a crash kept from logging the last.
func (v *Vault) Handovers() []Handover {
	v.mu.Lock()
	defer v.mu.Unlock()
	return slices.Clone(v.handovers)
}

// RotateSigningKey makes a new signing key, has both keys sign the hand-over, and destroys the old private key. Before the
// hand-over is durable the old key is the domain's, afterwards the new.
func (v *Vault) RotateSigningKey(at time.Time) (Handover, error) {
	if at.IsZero() || at.Year() < 0 || at.Year() > 9999 {
		return Handover{}, &sandbox.Error{Op: "keys: rotate", Kind: sandbox.Invalid, Object: "sign", Detail: "a hand-over has a time of the years 0 to 9999"}
	}
	v.turn.Lock()
	defer v.turn.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return Handover{}, err
	}
	next, err := sm.NewSigningKey(v.rand)
	if err != nil {
		return Handover{}, err
	}
	h := Handover{Generation: v.generation + 1, Old: v.signing.Public().Bytes(), New: next.Public().Bytes(), At: at.UTC()}
	body, err := h.body()
	if err != nil {
		return Handover{}, err
	}
	if h.ByOld, err = v.signing.Sign(v.rand, ContextHandover, body); err != nil {
		return Handover{}, err
	}
	if h.ByNew, err = next.Sign(v.rand, ContextHandover, body); err != nil {
		return Handover{}, err
	}
	text, err := json.Marshal(h)
	if err != nil {
		return Handover{}, err
	}
	// A hand-over that an earlier call could not say was durable would not fit the key written now.
	if err := v.remove(handoverFile(h.Generation)); err != nil {
		return Handover{}, err
	}
	scalar := next.Bytes()
	defer clear(scalar)
	k, err := v.make(header{Purpose: "sign", ID: generation("sign", h.Generation)}, KEK{rootName, v.newest[rootName]}, scalar)
	if err != nil {
		return Handover{}, err
	}
	k.forget()
	if err := v.write(handoverFile(h.Generation), text); err != nil {
		return Handover{}, err
	}
	old := v.generation
	v.signing, v.generation = next, h.Generation
	v.signers, v.handovers = append(v.signers, next.Public()), append(v.handovers, h)
	return h, v.shred(string(generation("sign", old)) + suffix)
}

func handoverFile(g uint32) string { return fmt.Sprintf("%s%d%s", handover, g, record) }

// openSigners reads the hand-overs and the newest signing key. A key without its hand-over was never used and goes; the
// key before one goes too.
func (v *Vault) openSigners() error {
	v.generation = 1
	for {
		name := handoverFile(v.generation + 1)
		b, err := v.bytes(name, maxFile)
		if errors.Is(err, sandbox.NotFound) {
			break
		}
		if err != nil {
			return err
		}
		var h Handover
		if json.Unmarshal(b, &h) != nil || h.Generation != v.generation+1 || h.Verify() != nil ||
			len(v.handovers) > 0 && !bytes.Equal(v.handovers[len(v.handovers)-1].New, h.Old) {
			return tampered(name)
		}
		old, err := sm.ParseVerifyKey(h.Old)
		if err != nil {
			return tampered(name)
		}
		v.generation = h.Generation
		v.signers, v.handovers = append(v.signers, old), append(v.handovers, h)
	}
	id := generation("sign", v.generation)
	name := string(id) + suffix
	k, _, err := v.open(name, "sign", id)
	if err != nil {
		return err
	}
	defer k.forget()
	if v.signing, err = sm.ParseSigningKey(k.secret[:]); err != nil {
		return tampered(name)
	}
	if n := len(v.handovers); n > 0 && !bytes.Equal(v.handovers[n-1].New, v.signing.Public().Bytes()) {
		return tampered(handoverFile(v.generation))
	}
	v.signers = append(v.signers, v.signing.Public())
	files, err := v.names("sign", suffix)
	if err != nil {
		return err
	}
	for _, f := range files {
		if g, ok := signGeneration(f); ok && g != v.generation {
			if g > v.generation+1 {
				return tampered(handoverFile(v.generation + 1)) // hand-overs are missing, keys are not
			}
			if err := v.shred(f); err != nil {
				return err
			}
		}
	}
	return nil
}

func signGeneration(file string) (uint32, bool) {
	id := strings.TrimSuffix(file, suffix)
	if id == "sign" {
		return 1, true
	}
	n, ok := strings.CutPrefix(id, "sign~")
	g, err := strconv.ParseUint(n, 10, 32)
	return uint32(g), ok && err == nil && g >= 2
}
