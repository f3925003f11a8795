package keys

import (
	"encoding/hex"
	"errors"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

// Version (数据版本) is what a version key is bound to.
type Version struct {
	Unit    sandbox.PartyID   `json:"unit"`
	Dataset sandbox.DatasetID `json:"dataset"`
	Version uint64            `json:"version"`
	Grade   sandbox.Grade     `json:"grade"`
}

func unitKey(u sandbox.PartyID) sandbox.KeyID { return sandbox.KeyID("unit-" + string(u)) }
func ownKey(id sandbox.KeyID) sandbox.KeyID   { return "own-" + id }

// NewVersionKey makes the random key of one dataset version, wrapped under its unit's KEK.
func (v *Vault) NewVersionKey(x Version) (*Key, error) {
	for _, i := range []struct{ what, id string }{{"unit", string(x.Unit)}, {"dataset", string(x.Dataset)}} {
		if err := sandbox.CheckID(i.what, i.id); err != nil {
			return nil, err
		}
	}
	if !x.Grade.Valid() || x.Version == 0 {
		return nil, &sandbox.Error{Op: "keys: new version key", Kind: sandbox.Invalid, Object: string(x.Dataset), Detail: "a version from 1 and a grade of 1 to 4"}
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return nil, err
	}
	kek, err := v.unit(x.Unit)
	if err != nil {
		return nil, err
	}
	var b [10]byte
	if err := v.draw(b[:]); err != nil {
		return nil, err
	}
	h := header{Purpose: "version", ID: sandbox.KeyID("v-" + hex.EncodeToString(b[:])), Version: &x}
	if v.own {
		h.Own = ownKey(h.ID)
		if err := v.device.Generate(KEK{h.Own, 1}); err != nil {
			return nil, err
		}
	}
	k, err := v.make(h, kek, nil)
	if err != nil {
		if h.Own != "" {
			err = errors.Join(err, v.device.Destroy(KEK{h.Own, 1}))
		}
		return nil, err
	}
	v.versions[h.ID], v.fresh[h.ID] = k, true
	return k, nil
}

// unit gives a source unit's newest KEK, made on first use. Callers hold mu.
func (v *Vault) unit(u sandbox.PartyID) (KEK, error) {
	name := unitKey(u)
	if g := v.newest[name]; g > 0 {
		return KEK{name, g}, nil
	}
	if err := v.ended(name); err != nil {
		return KEK{}, err
	}
	gens, err := v.device.Generations(name)
	if err != nil {
		return KEK{}, err
	}
	if len(gens) == 0 {
		if err := v.unburied(name); err != nil {
			return KEK{}, err
		}
		if err := v.device.Generate(KEK{name, 1}); err != nil {
			return KEK{}, err
		}
		gens = []uint32{1}
	}
	v.newest[name] = gens[len(gens)-1]
	return KEK{name, v.newest[name]}, nil
}

// unburied refuses a first KEK for a unit whose version keys say that it had one: a new KEK in the place of a lost one
// would bury the versions under the old one, also after a backup is restored.
func (v *Vault) unburied(name sandbox.KeyID) error {
	files, err := v.names("v-", suffix)
	if err != nil {
		return err
	}
	for _, f := range files {
		x, err := v.read(f)
		if err != nil {
			continue
		}
		if k, ok := parseKEK(x.Header.KEK); ok && k.Name == name {
			return &sandbox.Error{Op: "keys: open", Kind: sandbox.Tampered, Object: string(name) + suffix, Detail: "the KEK is gone while version keys under it exist",
				Hint: "restore it from a backup"}
		}
	}
	return nil
}

// VersionKey opens a version key by its id.
func (v *Vault) VersionKey(id sandbox.KeyID) (*Key, error) {
	v.mu.Lock()
	defer v.mu.Unlock()
	if k := v.versions[id]; k != nil {
		return k, nil
	}
	k, _, err := v.version(id)
	if err != nil {
		return nil, err
	}
	v.versions[id] = k
	return k, nil
}

// version reads and opens a version key's file. Callers hold mu.
func (v *Vault) version(id sandbox.KeyID) (*Key, header, error) {
	if !isVersion(id) {
		return nil, header{}, &sandbox.Error{Op: "keys: version key", Kind: sandbox.NotFound, Object: "key", Detail: "no such key"}
	}
	if err := v.ended(id); err != nil {
		return nil, header{}, err
	}
	name := string(id) + suffix
	x, err := v.read(name)
	if err != nil {
		return nil, header{}, err
	}
	if !x.isVersion(id) {
		return nil, header{}, tampered(name)
	}
	plain, err := v.plain(x, name)
	if errors.Is(err, sandbox.NotFound) {
		if ended := v.ended(unitKey(x.Header.Version.Unit)); ended != nil {
			return nil, header{}, ended
		}
		return nil, header{}, &sandbox.Error{Op: "keys: open", Kind: sandbox.Tampered, Object: name, Detail: "the key file was changed, or its KEK is gone",
			Hint: "restore it from a backup"}
	}
	if err != nil {
		return nil, header{}, err
	}
	defer clear(plain)
	return newKey(id, plain), x.Header, nil
}

// isVersion says whether the header is a version key's of this id. It is not authenticated yet, so the unit must be an
// identifier before it names a KEK.
func (x file) isVersion(id sandbox.KeyID) bool {
	h := x.Header
	if h.Purpose != "version" || h.ID != id || h.Version == nil || sandbox.CheckID("unit", string(h.Version.Unit)) != nil || h.Own != "" && h.Own != ownKey(id) {
		return false
	}
	k, ok := parseKEK(h.KEK)
	return ok && k.Name == unitKey(h.Version.Unit)
}

// Discard removes a version key that sealed nothing that was kept: that of an aborted push. There is no certificate; that
// no committed version names the key is the caller's to know. NotFound for a key that is not there.
func (v *Vault) Discard(id sandbox.KeyID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return err
	}
	k, h, err := v.version(id)
	if err != nil {
		return err
	}
	k.forget()
	v.forget(id)
	// The file first: what a crash leaves is a KEK without a key, not a key without its KEK.
	if err := v.shred(string(id) + suffix); err != nil {
		return err
	}
	if h.Own != "" {
		return v.device.Destroy(KEK{h.Own, 1})
	}
	return nil
}

// forget zeroes what is held of a version key. Callers hold mu.
func (v *Vault) forget(id sandbox.KeyID) {
	if held := v.versions[id]; held != nil {
		held.forget()
	}
	delete(v.versions, id)
	delete(v.fresh, id)
}

// Unused lists the version keys that known does not know: those of pushes that a crash ended, to be discarded. Keys made
// since Open are left out, for their push may be under way. It reads names only. known runs without a lock held.
func (v *Vault) Unused(known func(sandbox.KeyID) bool) ([]sandbox.KeyID, error) {
	v.mu.Lock()
	files, err := v.names("v-", suffix)
	var ids []sandbox.KeyID
	for _, f := range files {
		if id := sandbox.KeyID(strings.TrimSuffix(f, suffix)); isVersion(id) && !v.fresh[id] {
			ids = append(ids, id)
		}
	}
	v.mu.Unlock()
	var out []sandbox.KeyID
	for _, id := range ids {
		if !known(id) {
			out = append(out, id)
		}
	}
	return out, err
}
