package keys

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// ContextErasure is what the domain signs an Erasure under.
const ContextErasure = "opdomain/erasure/v1"

const (
	record   = ".json"
	erasing  = "erasing-"  // decided and signed, not yet done
	erased   = "erased-"   // done
	exported = "exported-" // share sets of archives

	maxRecord = 4 << 20
)

// Erasure (密钥销毁证明) says what was done to a key and what was not. The body is signed by the domain.
type Erasure struct {
	Key        sandbox.KeyID      `json:"key"` // of a version, "secret-<name>", or "unit-<unit>"
	Version    Version            `json:"version"`
	Commitment []byte             `json:"commitment,omitempty"` // absent for a KEK of a device, which nobody can commit to
	Versions   []sandbox.KeyID    `json:"versions,omitempty"`   // of a unit: the keys that ended with it
	Approver   sandbox.IdentityID `json:"approver"`
	At         time.Time          `json:"at"`
	Statement
	Signature []byte `json:"signature,omitempty"`
}

// Destroy ends a version key and certifies exactly what was done: the file overwritten and removed, and before it, where
// the version has its own KEK, that KEK in the device. approver and at are what the certificate says; whether the approver
// may is the caller's matter. The certificate is signed and stored before anything is destroyed and handed out after; what
// a crash stopped is finished by the next call or Open, and Certificate gives it again.
func (v *Vault) Destroy(id sandbox.KeyID, approver sandbox.IdentityID, at time.Time) (Erasure, error) {
	v.turn.Lock() // not under a rotation, which would write the file again
	defer v.turn.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.may(id, approver, at); err != nil {
		return Erasure{}, err
	}
	if e, err := v.decided(id); err != nil || e.Key != "" {
		return e, errors.Join(err, v.finish(e))
	}
	// Read from the file even if the key is in memory: the certificate states an authenticated version.
	k, h, err := v.version(id)
	if err != nil {
		return Erasure{}, err
	}
	defer k.forget()
	e := Erasure{Key: id, Version: *h.Version, Commitment: k.commitment[:], Approver: approver, At: at.UTC()}
	if h.Own != "" {
		if e.Statement, err = v.device.Statement(KEK{h.Own, 1}); err != nil {
			return Erasure{}, err
		}
		e.Remains = append(e.Remains, "pages of memory the runtime copied while the key was open")
	} else if e.Statement, err = v.procedure(fmt.Sprintf("the unit's KEK (%s), under which a copy of the file opens", h.KEK)); err != nil {
		return Erasure{}, err
	}
	return v.decide(e)
}

// DestroySecret ends a named secret, by removing its file: a procedure under every device. Secret of that name is NotFound
// from then on.
func (v *Vault) DestroySecret(name string, approver sandbox.IdentityID, at time.Time) (Erasure, error) {
	if err := sandbox.CheckID("secret", name); err != nil {
		return Erasure{}, err
	}
	v.turn.Lock()
	defer v.turn.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	id := secretKey(name)
	if err := v.may(id, approver, at); err != nil {
		return Erasure{}, err
	}
	if e, err := v.decided(id); err != nil || e.Key != "" {
		return e, errors.Join(err, v.finish(e))
	}
	if err := v.ended(id); err != nil {
		return Erasure{}, err
	}
	k, h, err := v.open(string(id)+suffix, "secret", id)
	if err != nil {
		return Erasure{}, err
	}
	defer k.forget()
	e := Erasure{Key: id, Commitment: k.commitment[:], Approver: approver, At: at.UTC()}
	if e.Statement, err = v.procedure(fmt.Sprintf("the root (%s), under which a copy of the file opens", h.KEK)); err != nil {
		return Erasure{}, err
	}
	return v.decide(e)
}

// DestroyUnit ends a source unit's KEK in the device and with it every version key under it, and the unit: no key is made
// for it again. The certificate lists the versions.
func (v *Vault) DestroyUnit(u sandbox.PartyID, approver sandbox.IdentityID, at time.Time) (Erasure, error) {
	if err := sandbox.CheckID("unit", string(u)); err != nil {
		return Erasure{}, err
	}
	v.turn.Lock()
	defer v.turn.Unlock()
	v.mu.Lock()
	defer v.mu.Unlock()
	name := unitKey(u)
	if err := v.may(name, approver, at); err != nil {
		return Erasure{}, err
	}
	if e, err := v.decided(name); err != nil || e.Key != "" {
		return e, errors.Join(err, v.finish(e))
	}
	if err := v.ended(name); err != nil {
		return Erasure{}, err
	}
	gens, err := v.device.Generations(name)
	if err != nil {
		return Erasure{}, err
	}
	if len(gens) != 1 {
		kind, detail := sandbox.NotFound, "no such key"
		if len(gens) > 1 {
			kind, detail = sandbox.Conflict, "a rotation of the unit is unfinished"
		}
		return Erasure{}, &sandbox.Error{Op: "keys: destroy", Kind: kind, Object: string(name), Detail: detail}
	}
	e := Erasure{Key: KEK{name, gens[0]}.ID(), Version: Version{Unit: u}, Approver: approver, At: at.UTC()}
	if e.Versions, err = v.under(name); err != nil {
		return Erasure{}, err
	}
	if e.Statement, err = v.device.Statement(KEK{name, gens[0]}); err != nil {
		return Erasure{}, err
	}
	e.Remains = append(e.Remains, "pages of memory the runtime copied while version keys were open")
	if gone, err := v.names(rotated+string(name)+"-", record); err != nil {
		return Erasure{}, err
	} else if len(gone) > 0 {
		e.Remains = append(e.Remains, fmt.Sprintf("copies of version keys under %d earlier KEKs of the unit, destroyed at rotation", len(gone)))
	}
	return v.decide(e)
}

// under lists the version keys under a unit's KEKs; an unreadable file stops it, for it may be one of them.
func (v *Vault) under(name sandbox.KeyID) ([]sandbox.KeyID, error) {
	files, err := v.names("v-", suffix)
	if err != nil {
		return nil, err
	}
	var out []sandbox.KeyID
	for _, f := range files {
		id := sandbox.KeyID(strings.TrimSuffix(f, suffix))
		x, err := v.read(f)
		if err != nil {
			return nil, err
		}
		if k, ok := parseKEK(x.Header.KEK); ok && k.Name == name && x.isVersion(id) {
			out = append(out, id)
		}
	}
	return out, nil
}

// procedure is the statement about a file that was removed while the KEK over it stays.
func (v *Vault) procedure(kek string) (Statement, error) {
	d := v.device.Describe()
	s := Statement{Driver: d.Driver, Mechanism: d.Mechanism, Proves: ProcedureOnly, Remains: []string{
		"copies of the folder made before (backups, snapshots)",
		"blocks a file system or disk keeps after overwriting",
		"pages of memory the runtime copied", kek}}
	archives, err := v.names(exported, record)
	for _, a := range archives {
		s.Remains = append(s.Remains, "key archive of share set "+strings.TrimSuffix(strings.TrimPrefix(a, exported), record)+", to whoever holds enough shares, if it held this key")
	}
	return s, err
}

func (v *Vault) may(id sandbox.KeyID, approver sandbox.IdentityID, at time.Time) error {
	if err := v.usable(); err != nil {
		return err
	}
	if err := sandbox.CheckID("approver", string(approver)); err != nil {
		return err
	}
	if at.IsZero() || at.Year() < 0 || at.Year() > 9999 {
		return &sandbox.Error{Op: "keys: destroy", Kind: sandbox.Invalid, Object: string(id), Detail: "an erasure has a time of the years 0 to 9999"}
	}
	return nil
}

// decide signs and stores the certificate, then does what it says. Signed first: a key is never gone without its
// certificate for want of randomness or space.
func (v *Vault) decide(e Erasure) (Erasure, error) {
	body, err := json.Marshal(e)
	if err != nil {
		return Erasure{}, &sandbox.Error{Op: "keys: destroy", Kind: sandbox.Invalid, Object: string(e.Key), Err: err}
	}
	if e.Signature, err = v.signing.Sign(v.rand, ContextErasure, body); err != nil {
		return Erasure{}, err
	}
	text, err := json.Marshal(e)
	if err != nil {
		return Erasure{}, err
	}
	if err := v.write(erasing+e.place()+record, text); err != nil {
		return Erasure{}, err
	}
	if err := v.finish(e); err != nil {
		return Erasure{}, err
	}
	return e, nil
}

// place is the name of the certificate's record: a unit's is the same whatever the generation.
func (e Erasure) place() string {
	if k, ok := parseKEK(e.Key); ok {
		return string(k.Name)
	}
	return string(e.Key)
}

// decided gives an erasure that was signed and not finished, or the zero value.
func (v *Vault) decided(id sandbox.KeyID) (Erasure, error) { return v.certificate(erasing, id) }

// Certificate gives the certificate of a finished erasure again: of a version key, "secret-<name>" or "unit-<unit>".
func (v *Vault) Certificate(id sandbox.KeyID) (Erasure, error) {
	if checkName(id) != nil {
		return Erasure{}, &sandbox.Error{Op: "keys: certificate", Kind: sandbox.NotFound, Object: "key", Detail: "no such key"}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	e, err := v.certificate(erased, id)
	if err == nil && e.Key == "" {
		err = &sandbox.Error{Op: "keys: certificate", Kind: sandbox.NotFound, Object: string(id), Detail: "no such erasure"}
	}
	return e, err
}

func (v *Vault) certificate(stage string, id sandbox.KeyID) (Erasure, error) {
	if checkName(id) != nil {
		return Erasure{}, nil
	}
	name := stage + string(id) + record
	b, err := v.bytes(name, maxRecord)
	if errors.Is(err, sandbox.NotFound) {
		return Erasure{}, nil
	}
	if err != nil {
		return Erasure{}, err
	}
	var e Erasure
	if json.Unmarshal(b, &e) != nil || e.place() != string(id) || !slices.ContainsFunc(v.signers, func(k *sm.VerifyKey) bool { return e.Verify(k) == nil }) {
		return Erasure{}, tampered(name)
	}
	return e, nil
}

// finish does what a stored certificate says, in an order in which every step may be done again.
func (v *Vault) finish(e Erasure) error {
	if e.Key == "" {
		return nil
	}
	kek, isKEK := parseKEK(e.Key)
	switch {
	case isVersion(e.Key):
		v.forget(e.Key)
		if e.Object != nil {
			if err := v.device.Destroy(KEK{ownKey(e.Key), 1}); err != nil && !errors.Is(err, sandbox.NotFound) {
				return err
			}
		}
		if err := v.shred(string(e.Key) + suffix); err != nil {
			return err
		}
	case strings.HasPrefix(string(e.Key), "secret-"):
		name := strings.TrimPrefix(string(e.Key), "secret-")
		if k := v.secrets[name]; k != nil {
			k.forget()
			delete(v.secrets, name)
		}
		if err := v.shred(string(e.Key) + suffix); err != nil {
			return err
		}
	case isKEK && e.Version.Unit != "" && kek.Name == unitKey(e.Version.Unit):
		if err := v.device.Destroy(kek); err != nil && !errors.Is(err, sandbox.NotFound) {
			return err
		}
		delete(v.newest, kek.Name)
		for _, id := range e.Versions {
			if !isVersion(id) {
				continue
			}
			v.forget(id)
			if err := v.device.Destroy(KEK{ownKey(id), 1}); err != nil && !errors.Is(err, sandbox.NotFound) {
				return err
			}
			if err := v.shred(string(id) + suffix); err != nil {
				return err
			}
		}
	default:
		return &sandbox.Error{Op: "keys: destroy", Kind: sandbox.Tampered, Object: "certificate", Detail: "it names no key of this folder"}
	}
	// Written under the second name before the first goes: a rename cut short may leave neither.
	text, err := json.Marshal(e)
	if err != nil {
		return &sandbox.Error{Op: "keys: destroy", Kind: sandbox.Internal, Object: e.place(), Err: err}
	}
	if err := v.write(erased+e.place()+record, text); err != nil {
		return err
	}
	return v.remove(erasing + e.place() + record)
}

// Verify checks an erasure's signature.
func (e Erasure) Verify(domain *sm.VerifyKey) error {
	sig := bytes.Clone(e.Signature)
	e.Signature = nil
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return domain.Verify(ContextErasure, body, sig)
}
