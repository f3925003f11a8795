package keys

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Config (密钥库参数) is where a vault keeps its files and which device holds its KEKs.
type Config struct {
	Dir    string
	FS     durable.FS // nil: the machine's
	Rand   io.Reader
	Device Device // the vault closes it
	// VersionKEKs gives every version a KEK of its own in the device, inside the unit's, so that a single version's erasure
	// happens in the device. Only for devices that erase.
	VersionKEKs bool
}

// Vault (密钥库) is an open key folder over a device. Safe for concurrent use.
type Vault struct {
	folder
	device Device
	own    bool

	turn sync.Mutex // one rotation, export or erasure of a unit at a time; taken before mu

	mu       sync.Mutex
	closed   bool
	newest   map[sandbox.KeyID]uint32 // generation of a KEK that new keys are wrapped under
	versions map[sandbox.KeyID]*Key
	fresh    map[sandbox.KeyID]bool // made since Open
	secrets  map[string]*Key
	pending  error // why a rotation or erasure that a crash stopped could not be finished

	signing    *sm.SigningKey
	generation uint32 // of signing
	signers    []*sm.VerifyKey
	handovers  []Handover
	decrypting *sm.DecryptKey
}

// File (文件密钥库) is the vault's earlier name.
type File = Vault

// Create makes a key folder with a root key under passphrase and the domain's SM2 keys.
func Create(dir string, passphrase []byte, p Params, rand io.Reader) (*Vault, error) {
	if p == (Params{}) {
		p = Interactive()
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	if len(passphrase) == 0 {
		return nil, &sandbox.Error{Op: "keys: create", Kind: sandbox.Invalid, Object: "passphrase", Detail: "not empty"}
	}
	if err := newFolder(nil, dir, rand).vacant(); err != nil { // before the cost of Argon2id
		return nil, err
	}
	d, err := OpenFileDevice(FileConfig{Dir: dir, Rand: rand, Passphrase: passphrase, Params: p})
	if err != nil {
		return nil, err
	}
	return CreateVault(Config{Dir: dir, Rand: rand, Device: d})
}

// Open opens a key folder by its passphrase.
func Open(dir string, passphrase []byte, rand io.Reader) (*Vault, error) {
	f := newFolder(nil, dir, rand)
	roots, err := f.names(string(rootName), suffix)
	if err != nil {
		return nil, err
	}
	if len(roots) == 0 {
		e := &sandbox.Error{Op: "keys: read", Kind: sandbox.NotFound, Object: rootFile, Detail: "no such key"}
		if x, err := f.read("decrypt.key"); err == nil && x.Header.Driver != "" && x.Header.Driver != "passphrase" {
			e.Hint = "the folder's root is in a device: open it with driver " + x.Header.Driver
		}
		return nil, e
	}
	d, err := OpenFileDevice(FileConfig{Dir: dir, Rand: rand, Passphrase: passphrase})
	if err != nil {
		return nil, err
	}
	return OpenVault(Config{Dir: dir, Rand: rand, Device: d})
}

func newVault(c Config) (*Vault, error) {
	bad := func(detail string) error {
		return &sandbox.Error{Op: "keys", Kind: sandbox.Invalid, Object: "config", Detail: detail}
	}
	switch {
	case c.Device == nil:
		return nil, bad("a vault has a device")
	case c.Rand == nil:
		return nil, bad("a vault has randomness")
	case c.VersionKEKs && !c.Device.Describe().Erases:
		return nil, bad("a KEK per version proves nothing more under a device that does not erase")
	}
	return &Vault{folder: newFolder(c.FS, c.Dir, c.Rand), device: c.Device, own: c.VersionKEKs, newest: map[sandbox.KeyID]uint32{},
		versions: map[sandbox.KeyID]*Key{}, fresh: map[sandbox.KeyID]bool{}, secrets: map[string]*Key{}}, nil
}

// CreateVault makes a key folder over a device: a root in it and the domain's SM2 keys under the root. On an error the
// device is closed.
func CreateVault(c Config) (_ *Vault, err error) {
	v, err := newVault(c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			v.device.Close()
		}
	}()
	if err := v.vacant(); err != nil {
		return nil, err
	}
	root := KEK{rootName, 1}
	if gens, err := v.device.Generations(rootName); err != nil {
		return nil, err
	} else if len(gens) > 0 {
		return nil, &sandbox.Error{Op: "keys: create", Kind: sandbox.Conflict, Object: string(rootName), Detail: "the device holds a root of this name already",
			Hint: "another label, or remove what an interrupted creation left with the device's own tool"}
	}
	if err := v.device.Generate(root); err != nil {
		return nil, err
	}
	v.newest[rootName] = 1
	v.generation = 1
	if v.signing, err = sm.NewSigningKey(v.rand); err != nil {
		return nil, err
	}
	v.signers = []*sm.VerifyKey{v.signing.Public()}
	if v.decrypting, err = sm.NewDecryptKey(v.rand); err != nil {
		return nil, err
	}
	for _, x := range []struct {
		purpose string
		scalar  []byte
	}{{"decrypt", v.decrypting.Bytes()}, {"sign", v.signing.Bytes()}} {
		k, err := v.make(header{Purpose: x.purpose, ID: sandbox.KeyID(x.purpose)}, root, x.scalar)
		clear(x.scalar)
		if err != nil {
			return nil, err
		}
		k.forget()
	}
	return v, nil
}

// vacant makes the folder, or takes an existing one without any key file: a folder that lost its root file may still be
// completed from a backup, so nothing in it is overwritten.
func (f folder) vacant() error {
	if err := f.fs.MkdirAll(f.dir, 0o700); err != nil {
		return unavailable("create", f.dir, err)
	}
	if err := f.fs.SyncDir(filepath.Dir(f.dir)); err != nil {
		return unavailable("create", f.dir, err)
	}
	if f.fs == durable.OS() {
		if err := os.Chmod(f.dir, 0o700); err != nil {
			return unavailable("create", f.dir, err)
		}
	}
	there, err := f.names("", suffix)
	if err != nil {
		return err
	}
	if len(there) > 0 {
		return &sandbox.Error{Op: "keys: create", Kind: sandbox.Conflict, Object: f.dir, Detail: "the folder holds keys already", Hint: "choose an empty folder"}
	}
	return nil
}

// OpenVault opens a key folder over a device and finishes what a crash stopped; Pending says what could not be finished.
// Version keys are not read. On an error the device is closed.
func OpenVault(c Config) (_ *Vault, err error) {
	v, err := newVault(c)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			v.device.Close()
		}
	}()
	gens, err := v.device.Generations(rootName)
	if err != nil {
		return nil, err
	}
	if len(gens) == 0 {
		return nil, &sandbox.Error{Op: "keys: open", Kind: sandbox.NotFound, Object: string(rootName), Detail: "the device holds no root of this name"}
	}
	v.newest[rootName] = gens[len(gens)-1]
	if err := v.openSigners(); err != nil {
		return nil, err
	}
	k, _, err := v.open("decrypt.key", "decrypt", "decrypt")
	if err != nil {
		return nil, err
	}
	defer k.forget()
	if v.decrypting, err = sm.ParseDecryptKey(k.secret[:]); err != nil {
		return nil, tampered("decrypt.key")
	}
	v.pending = errors.Join(v.sweep(), v.resume())
	return v, nil
}

// Pending says why a rotation or an erasure that a crash stopped is still unfinished; nil if nothing is. Every key opens
// meanwhile. The next Open tries again.
func (v *Vault) Pending() error {
	v.mu.Lock()
	defer v.mu.Unlock()
	return v.pending
}

// Device describes the device.
func (v *Vault) Device() Description { return v.device.Describe() }

// Check says whether the device answers and nothing is pending.
func (v *Vault) Check() error {
	if err := v.device.Check(); err != nil {
		return err
	}
	return v.Pending()
}

// DecryptKey gives the domain's decryption key.
func (v *Vault) DecryptKey() *sm.DecryptKey { return v.decrypting }

// Close zeroes the symmetric keys v holds, also those it handed out, and closes the device: their use afterwards is
// Unavailable. What the runtime copied, and the SM2 keys, stay in memory until it is reused.
func (v *Vault) Close() {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.closed = true
	for _, k := range v.versions {
		k.forget()
	}
	for _, k := range v.secrets {
		k.forget()
	}
	v.device.Close()
}

// usable refuses after Close. Callers hold mu.
func (v *Vault) usable() error {
	if v.closed {
		return &sandbox.Error{Op: "keys", Kind: sandbox.Unavailable, Object: "vault", Detail: "it was closed"}
	}
	return nil
}

// make draws a key (or takes the given 32 bytes), wraps it under kek and writes its file.
func (v *Vault) make(h header, kek KEK, given []byte) (*Key, error) {
	plain := make([]byte, keyLen+blindLen)
	defer clear(plain)
	if err := v.draw(plain); err != nil {
		return nil, err
	}
	copy(plain, given)
	d := v.device.Describe()
	h.KEK, h.Driver, h.Mechanism = kek.ID(), d.Driver, d.Mechanism
	if err := v.save(h, plain); err != nil {
		return nil, err
	}
	return newKey(h.ID, plain), nil
}

// save wraps under the KEK the header names, a version's own KEK inside it, and writes the file.
func (v *Vault) save(h header, plain []byte) error {
	kek, ok := parseKEK(h.KEK)
	if !ok {
		return &sandbox.Error{Op: "keys: write", Kind: sandbox.Internal, Object: string(h.ID), Detail: "no KEK of this name"}
	}
	c := sm.Sum(plain)
	h.Commitment = c[:]
	text, err := sealed(h, plain, func(aad, key []byte) ([]byte, error) {
		if h.Own != "" {
			inner, err := v.device.Wrap(KEK{h.Own, 1}, ownAAD(h), key)
			if err != nil {
				return nil, err
			}
			key = inner
		}
		return v.device.Wrap(kek, aad, key)
	})
	if err != nil {
		return err
	}
	return v.write(string(h.ID)+suffix, text)
}

// ownAAD is what a version's own KEK binds: not the unit's KEK, which rotates outside it.
func ownAAD(h header) []byte { return sm.Frame([]byte("opdomain/own/v1"), []byte(h.ID), h.Commitment) }

// plain gives key ‖ blind of a file that was checked to be the one asked for.
func (v *Vault) plain(x file, name string) ([]byte, error) {
	h := x.Header
	kek, ok := parseKEK(h.KEK)
	if !ok {
		return nil, tampered(name)
	}
	return x.opened(name, func(aad, box []byte) ([]byte, error) {
		key, err := v.device.Unwrap(kek, aad, box)
		if err == nil && h.Own != "" {
			key, err = v.device.Unwrap(KEK{h.Own, 1}, ownAAD(h), key)
		}
		return key, err
	})
}

// open reads and opens a key under the root.
func (v *Vault) open(name, purpose string, id sandbox.KeyID) (*Key, header, error) {
	x, err := v.read(name)
	if err != nil {
		return nil, header{}, err
	}
	kek, ok := parseKEK(x.Header.KEK)
	if !ok || x.Header.Purpose != purpose || x.Header.ID != id || kek.Name != rootName || x.Header.Own != "" {
		return nil, header{}, tampered(name)
	}
	plain, err := v.plain(x, name)
	if errors.Is(err, sandbox.NotFound) {
		return nil, header{}, tampered(name) // under a root that never was
	}
	if err != nil {
		return nil, header{}, err
	}
	defer clear(plain)
	return newKey(id, plain), x.Header, nil
}

// Secret gives a named secret of the domain, made on first use. NotFound for one that was destroyed.
func (v *Vault) Secret(name string) (*Key, error) {
	if err := sandbox.CheckID("secret", name); err != nil {
		return nil, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.usable(); err != nil {
		return nil, err
	}
	if k := v.secrets[name]; k != nil {
		return k, nil
	}
	id := secretKey(name)
	if err := v.ended(id); err != nil {
		return nil, err
	}
	k, _, err := v.open(string(id)+suffix, "secret", id)
	if errors.Is(err, sandbox.NotFound) {
		k, err = v.make(header{Purpose: "secret", ID: id, Name: name}, KEK{rootName, v.newest[rootName]}, nil)
	}
	if err != nil {
		return nil, err
	}
	v.secrets[name] = k
	return k, nil
}

// HasSecret says whether a secret of this name exists; one that was destroyed does not.
func (v *Vault) HasSecret(name string) (bool, error) {
	if err := sandbox.CheckID("secret", name); err != nil {
		return false, err
	}
	v.mu.Lock()
	defer v.mu.Unlock()
	if err := v.ended(secretKey(name)); errors.Is(err, sandbox.NotFound) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return v.exists(string(secretKey(name)) + suffix)
}

func secretKey(name string) sandbox.KeyID { return sandbox.KeyID("secret-" + name) }

// ended refuses a key whose erasure was decided. Callers hold mu.
func (v *Vault) ended(id sandbox.KeyID) error {
	for _, stage := range []string{erasing, erased} {
		if there, err := v.exists(stage + string(id) + record); err != nil {
			return err
		} else if there {
			return &sandbox.Error{Op: "keys: read", Kind: sandbox.NotFound, Object: string(id), Detail: "the key was destroyed"}
		}
	}
	return nil
}

// isVersion says whether an id is a version key's.
func isVersion(id sandbox.KeyID) bool {
	return strings.HasPrefix(string(id), "v-") && sandbox.CheckID("key", string(id)) == nil
}
