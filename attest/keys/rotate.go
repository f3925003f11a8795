package keys

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

const (
	rotating = "rotating-" // journal of a rotation under way
	rotated  = "rotated-"  // what was stated about a KEK destroyed at rotation
)

// Rotation (密钥轮换) says what a rotation did.
type Rotation struct {
	KEK       sandbox.KeyID `json:"kek"`
	From      []uint32      `json:"from"` // generations destroyed: more than one after an interrupted rotation
	To        uint32        `json:"to"`
	Rewrapped int           `json:"rewrapped"` // key files by this call
	Destroyed []Statement   `json:"destroyed"` // about each of From
}

// RotateUnit gives a source unit a new KEK: every version key of the unit is wrapped again, file by file, then the old KEK
// is destroyed. Keys go on being made and opened meanwhile; keys handed out stay the same keys. An error leaves every key
// open; another call or the next Open goes on. A version's own KEK stays.
func (v *Vault) RotateUnit(u sandbox.PartyID) (Rotation, error) {
	if err := sandbox.CheckID("unit", string(u)); err != nil {
		return Rotation{}, err
	}
	return v.rotate(unitKey(u), "v-")
}

// RotateRoot gives the folder a new root: secrets, the signing and decryption keys, and what the device keeps under the
// root. Under a passphrase the new root is under the same passphrase; see ChangePassphrase.
func (v *Vault) RotateRoot() (Rotation, error) { return v.rotate(rootName, "") }

// ChangePassphrase changes what opens the root of a FileDevice. Denied for other devices: their PIN is theirs to change.
func (v *Vault) ChangePassphrase(current, next []byte, p Params) error {
	d, ok := v.device.(*FileDevice)
	if !ok {
		return &sandbox.Error{Op: "keys: change passphrase", Kind: sandbox.Denied, Object: v.device.Describe().Driver, Detail: "the root is in a device, not under a passphrase",
			Hint: "change the device's PIN with its own tool"}
	}
	v.turn.Lock()
	defer v.turn.Unlock()
	return d.ChangePassphrase(current, next, p)
}

type journal struct {
	KEK sandbox.KeyID `json:"kek"`
	To  uint32        `json:"to"`
}

// rotate writes the journal, makes the KEK, wraps again, destroys, and removes the journal.
func (v *Vault) rotate(name sandbox.KeyID, prefix string) (Rotation, error) {
	v.turn.Lock()
	defer v.turn.Unlock()
	v.mu.Lock()
	j, err := v.begin(name)
	v.mu.Unlock()
	if err != nil {
		return Rotation{}, err
	}
	return v.proceed(j, prefix)
}

// begin finds or writes the journal. Callers hold mu.
func (v *Vault) begin(name sandbox.KeyID) (journal, error) {
	if err := v.usable(); err != nil {
		return journal{}, err
	}
	if err := v.ended(name); err != nil {
		return journal{}, err
	}
	file := rotating + string(name) + record
	b, err := v.bytes(file, maxFile)
	if err == nil {
		return readJournal(file, b)
	}
	if !errors.Is(err, sandbox.NotFound) {
		return journal{}, err
	}
	gens, err := v.device.Generations(name)
	if err != nil {
		return journal{}, err
	}
	if len(gens) == 0 {
		return journal{}, &sandbox.Error{Op: "keys: rotate", Kind: sandbox.NotFound, Object: string(name), Detail: "no such KEK"}
	}
	j := journal{name, gens[len(gens)-1] + 1}
	if b, err = json.Marshal(j); err != nil {
		return journal{}, err
	}
	return j, v.write(file, b)
}

func readJournal(file string, b []byte) (journal, error) {
	var j journal
	if json.Unmarshal(b, &j) != nil || j.To < 2 || rotating+string(j.KEK)+record != file || checkName(j.KEK) != nil {
		return journal{}, tampered(file)
	}
	return j, nil
}

// proceed goes on from wherever a journal's rotation stands. Callers hold turn.
func (v *Vault) proceed(j journal, prefix string) (Rotation, error) {
	r := Rotation{KEK: j.KEK, To: j.To}
	v.mu.Lock()
	err := v.advance(j, &r)
	v.mu.Unlock()
	if err != nil {
		return r, err
	}
	files, err := v.names(prefix, suffix)
	if err != nil {
		return r, err
	}
	for _, f := range files {
		v.mu.Lock()
		moved, err := v.rewrap(f, j)
		v.mu.Unlock()
		if err != nil {
			return r, err
		}
		if moved {
			r.Rewrapped++
		}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return r, err
	}
	for _, g := range r.From {
		s, err := v.device.Statement(KEK{j.KEK, g})
		if err != nil {
			return r, err
		}
		text, err := json.Marshal(s)
		if err != nil {
			return r, err
		}
		// Kept before: a crash behind Destroy would lose what could be said about the KEK.
		if err := v.write(fmt.Sprintf("%s%s-%d%s", rotated, j.KEK, g, record), text); err != nil {
			return r, err
		}
		if err := v.device.Destroy(KEK{j.KEK, g}); err != nil {
			return r, err
		}
		r.Destroyed = append(r.Destroyed, s)
	}
	return r, v.remove(rotating + string(j.KEK) + record)
}

// advance makes the new KEK if it is not there yet, and new keys use it. Callers hold mu.
func (v *Vault) advance(j journal, r *Rotation) error {
	if err := v.usable(); err != nil {
		return err
	}
	gens, err := v.device.Generations(j.KEK)
	if err != nil {
		return err
	}
	if !slices.Contains(gens, j.To) {
		if err := v.device.Generate(KEK{j.KEK, j.To}); err != nil {
			return err
		}
	}
	v.newest[j.KEK] = j.To
	for _, g := range gens {
		if g < j.To {
			r.From = append(r.From, g)
		}
	}
	return nil
}

// rewrap moves one key file to the new KEK, if it is under an older one. A file that cannot be read stops the rotation
// before anything is destroyed: it may be one of them. Callers hold mu.
func (v *Vault) rewrap(name string, j journal) (bool, error) {
	if strings.HasPrefix(name, string(rootName)) || strings.HasPrefix(name, "unit-") || strings.HasPrefix(name, "own-") {
		return false, nil // the device's own
	}
	if err := v.usable(); err != nil {
		return false, err
	}
	x, err := v.read(name)
	if errors.Is(err, sandbox.NotFound) { // discarded meanwhile
		return false, nil
	}
	if err != nil {
		return false, err
	}
	h := x.Header
	k, ok := parseKEK(h.KEK)
	if !ok || string(h.ID)+suffix != name {
		return false, tampered(name)
	}
	if k.Name != j.KEK || k.Generation >= j.To {
		return false, nil
	}
	plain, err := v.plain(x, name)
	if err != nil {
		return false, err
	}
	defer clear(plain)
	d := v.device.Describe()
	h.KEK, h.Driver, h.Mechanism = KEK{j.KEK, j.To}.ID(), d.Driver, d.Mechanism
	return true, v.save(h, plain)
}

// resume finishes rotations and erasures that a crash stopped.
func (v *Vault) resume() error {
	var errs []error
	left, err := v.names(erasing, record)
	if err != nil {
		return err
	}
	for _, f := range left {
		id := sandbox.KeyID(strings.TrimSuffix(strings.TrimPrefix(f, erasing), record))
		e, err := v.decided(id)
		if err == nil {
			err = v.finish(e)
		}
		errs = append(errs, err)
	}
	if left, err = v.names(rotating, record); err != nil {
		return err
	}
	for _, f := range left {
		b, err := v.bytes(f, maxFile)
		if err == nil {
			var j journal
			if j, err = readJournal(f, b); err == nil {
				prefix := ""
				if j.KEK != rootName {
					prefix = "v-"
				}
				_, err = v.proceed(j, prefix)
			}
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}
