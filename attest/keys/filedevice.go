package keys

import (
	"errors"
	"io"
	"slices"
	"strings"
	"sync"

	"golang.org/x/crypto/argon2"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Params (口令派生参数) are Argon2id's cost: passes, memory in KiB, lanes. The zero value means Interactive.
type Params struct {
	Time    uint32 `json:"time"`
	Memory  uint32 `json:"memory"`
	Threads uint8  `json:"threads"`
}

// Interactive costs about a tenth of a second: RFC 9106's second recommendation.
func Interactive() Params { return Params{Time: 3, Memory: 64 << 10, Threads: 4} }

func (p Params) check() error {
	if p.Time < 1 || p.Time > 64 || p.Memory < 8*uint32(p.Threads) || p.Memory > 4<<20 || p.Threads < 1 || p.Threads > 64 {
		return &sandbox.Error{Op: "keys", Kind: sandbox.Invalid, Object: "argon2id", Detail: "1 to 64 passes, 8 KiB per lane to 4 GiB, 1 to 64 lanes"}
	}
	return nil
}

const (
	rootName = sandbox.KeyID("root")
	rootFile = "root.key"
)

// FileConfig (口令文件参数) is where a FileDevice keeps its KEKs and what opens them.
type FileConfig struct {
	Dir        string
	FS         durable.FS // nil: the machine's
	Rand       io.Reader
	Passphrase []byte
	Params     Params // of a root yet to be made
}

// FileDevice (文件密码设备) keeps root and unit KEKs in the key folder, the root under a passphrase. Its KEKs are in the process's
// memory while it is open, and destroying one proves a procedure only.
type FileDevice struct {
	folder
	mu   sync.Mutex
	lock []byte // the SM4 key of the passphrase; a new root is sealed under it without asking again
	salt []byte
	p    Params
	keks map[KEK]*Key
	gone bool
}

var _ Device = (*FileDevice)(nil)

// OpenFileDevice opens the roots in a folder, or, where there is none, takes the passphrase for the first.
func OpenFileDevice(c FileConfig) (*FileDevice, error) {
	d := &FileDevice{folder: newFolder(c.FS, c.Dir, c.Rand), p: c.Params, keks: map[KEK]*Key{}}
	gens, err := d.generations(rootName)
	if err != nil {
		return nil, err
	}
	if len(gens) == 0 {
		if d.p == (Params{}) {
			d.p = Interactive()
		}
		if err := d.p.check(); err != nil {
			return nil, err
		}
		if len(c.Passphrase) == 0 {
			return nil, &sandbox.Error{Op: "keys: create", Kind: sandbox.Invalid, Object: "passphrase", Detail: "not empty"}
		}
		d.salt = make([]byte, 32)
		if err := d.draw(d.salt); err != nil {
			return nil, err
		}
		d.lock = passwordKey(c.Passphrase, d.salt, d.p)
		return d, nil
	}
	for _, g := range gens {
		if err := d.openRoot(KEK{rootName, g}, c.Passphrase); err != nil {
			d.Close()
			return nil, err
		}
	}
	return d, nil
}

// openRoot opens one generation of the root.
func (d *FileDevice) openRoot(k KEK, passphrase []byte) error {
	name := string(k.ID()) + suffix
	x, err := d.read(name)
	if err != nil {
		return err
	}
	h := x.Header
	if h.Argon2id == nil || h.Argon2id.check() != nil || h.Purpose != "root" || h.ID != k.ID() || h.KEK != "passphrase" {
		return tampered(name)
	}
	if d.lock == nil || *h.Argon2id != d.p || !slices.Equal(h.Salt, d.salt) {
		d.lock, d.salt, d.p = passwordKey(passphrase, h.Salt, *h.Argon2id), h.Salt, *h.Argon2id
	}
	plain, err := x.opened(name, func(aad, box []byte) ([]byte, error) { return openGCM(d.lock, aad, box) })
	if err != nil {
		// A root file forged with its checksum looks like a wrong passphrase, and nothing but the passphrase could tell.
		return &sandbox.Error{Op: "keys: open", Kind: sandbox.Passphrase, Object: d.dir, Detail: "the passphrase does not open the root key",
			Hint: "check the passphrase"}
	}
	d.keks[k] = newKey(k.ID(), plain)
	clear(plain)
	return nil
}

func passwordKey(passphrase, salt []byte, p Params) []byte {
	return argon2.IDKey(passphrase, salt, p.Time, p.Memory, p.Threads, sm.KeySize)
}

// Describe says passphrase and SM4-GCM.
func (*FileDevice) Describe() Description {
	return Description{Driver: "passphrase", Mechanism: "SM4-GCM", Exports: true}
}

// Generations reads names only.
func (d *FileDevice) Generations(name sandbox.KeyID) ([]uint32, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.usable(); err != nil {
		return nil, err
	}
	return d.generations(name)
}

func (d *FileDevice) generations(name sandbox.KeyID) ([]uint32, error) {
	files, err := d.names(string(name), suffix)
	var out []uint32
	for _, f := range files {
		if k, ok := parseKEK(sandbox.KeyID(strings.TrimSuffix(f, suffix))); ok && k.Name == name {
			out = append(out, k.Generation)
		}
	}
	slices.Sort(out)
	return out, err
}

// Generate makes a KEK file: a root under the passphrase, another under the newest root.
func (d *FileDevice) Generate(k KEK) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.usable(); err != nil {
		return err
	}
	if _, ok := parseKEK(k.ID()); !ok {
		return &sandbox.Error{Op: "keys: generate", Kind: sandbox.Invalid, Object: string(k.ID()), Detail: "not the name of a KEK"}
	}
	name := string(k.ID()) + suffix
	if there, err := d.exists(name); err != nil {
		return err
	} else if there {
		return &sandbox.Error{Op: "keys: generate", Kind: sandbox.Conflict, Object: name, Detail: "the KEK exists"}
	}
	plain := make([]byte, keyLen+blindLen)
	defer clear(plain)
	if err := d.draw(plain); err != nil {
		return err
	}
	text, err := d.kekFile(k, plain)
	if err != nil {
		return err
	}
	if err := d.write(name, text); err != nil {
		return err
	}
	d.keks[k] = newKey(k.ID(), plain)
	return nil
}

// kekFile gives the text of a KEK's file. Callers hold mu.
func (d *FileDevice) kekFile(k KEK, plain []byte) ([]byte, error) {
	h := header{Purpose: "unit", ID: k.ID(), Driver: "passphrase", Mechanism: "SM4-GCM"}
	if k.Name == rootName {
		h.Purpose, h.KEK, h.Argon2id, h.Salt = "root", "passphrase", &d.p, d.salt
		return sealed(h, plain, func(aad, key []byte) ([]byte, error) { return d.sealGCM(d.lock, aad, key) })
	}
	root, err := d.newestRoot()
	if err != nil {
		return nil, err
	}
	h.KEK = root.id
	return sealed(h, plain, func(aad, key []byte) ([]byte, error) { return d.wrapUnder(root, aad, key) })
}

func (d *FileDevice) newestRoot() (*Key, error) {
	var newest KEK
	for k := range d.keks {
		if k.Name == rootName && k.Generation > newest.Generation {
			newest = k
		}
	}
	if newest.Generation == 0 {
		return nil, &sandbox.Error{Op: "keys: generate", Kind: sandbox.NotFound, Object: rootFile, Detail: "no root key yet"}
	}
	return d.keks[newest], nil
}

// kek gives an open KEK, reading it on first use. Callers hold mu.
func (d *FileDevice) kek(k KEK) (*Key, error) {
	if err := d.usable(); err != nil {
		return nil, err
	}
	if key := d.keks[k]; key != nil {
		return key, nil
	}
	_, plain, err := d.kekPlain(k)
	if err != nil {
		return nil, err
	}
	defer clear(plain)
	d.keks[k] = newKey(k.ID(), plain)
	return d.keks[k], nil
}

// kekPlain reads the file of a KEK that lies under a root.
func (d *FileDevice) kekPlain(k KEK) (header, []byte, error) {
	if _, ok := parseKEK(k.ID()); !ok {
		return header{}, nil, &sandbox.Error{Op: "keys: read", Kind: sandbox.NotFound, Object: "KEK", Detail: "no such key"}
	}
	name := string(k.ID()) + suffix
	x, err := d.read(name)
	if err != nil {
		return header{}, nil, err
	}
	up, ok := parseKEK(x.Header.KEK)
	root := d.keks[up]
	if !ok || x.Header.Purpose != "unit" || x.Header.ID != k.ID() || up.Name != rootName || root == nil {
		return header{}, nil, tampered(name)
	}
	plain, err := x.opened(name, func(aad, box []byte) ([]byte, error) { return unwrapUnder(root, aad, box) })
	return x.Header, plain, err
}

// Wrap seals under SM4-GCM with a random nonce; a KEK wraps far fewer than 2^32 keys.
func (d *FileDevice) Wrap(k KEK, aad, key []byte) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kek, err := d.kek(k)
	if err != nil {
		return nil, err
	}
	return d.wrapUnder(kek, aad, key)
}

// Unwrap opens what Wrap made.
func (d *FileDevice) Unwrap(k KEK, aad, box []byte) ([]byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	kek, err := d.kek(k)
	if err != nil {
		return nil, err
	}
	return unwrapUnder(kek, aad, box)
}

func (d *FileDevice) wrapUnder(k *Key, aad, key []byte) ([]byte, error) {
	w, err := k.wrapping()
	if err != nil {
		return nil, err
	}
	defer clear(w)
	return d.sealGCM(w, aad, key)
}

func unwrapUnder(k *Key, aad, box []byte) ([]byte, error) {
	w, err := k.wrapping()
	if err != nil {
		return nil, err
	}
	defer clear(w)
	return openGCM(w, aad, box)
}

// sealGCM gives nonce ‖ ciphertext.
func (f folder) sealGCM(key, aad, plain []byte) ([]byte, error) {
	aead, err := sm.NewGCM(key)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize(), aead.NonceSize()+len(plain)+aead.Overhead())
	if err := f.draw(nonce); err != nil {
		return nil, err
	}
	return aead.Seal(nonce, nonce, plain, aad), nil
}

func openGCM(key, aad, box []byte) ([]byte, error) {
	aead, err := sm.NewGCM(key)
	if err != nil {
		return nil, err
	}
	if len(box) < aead.NonceSize() {
		return nil, NotUnwrapped()
	}
	plain, err := aead.Open(nil, box[:aead.NonceSize()], box[aead.NonceSize():], aad)
	if err != nil {
		return nil, NotUnwrapped()
	}
	return plain, nil
}

// Statement certifies a procedure.
func (d *FileDevice) Statement(k KEK) (Statement, error) {
	if _, err := d.Generations(k.Name); err != nil { // closed
		return Statement{}, err
	}
	return Statement{Driver: "passphrase", Mechanism: "SM4-GCM", Proves: ProcedureOnly, Remains: []string{
		"copies of the folder made before (backups, snapshots)",
		"blocks a file system or disk keeps after overwriting",
		"pages of memory the runtime copied"}}, nil
}

// Destroy overwrites and removes a KEK's file. What lies under an old root is sealed under the newest first.
func (d *FileDevice) Destroy(k KEK) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.usable(); err != nil {
		return err
	}
	if _, ok := parseKEK(k.ID()); !ok {
		return &sandbox.Error{Op: "keys: destroy", Kind: sandbox.NotFound, Object: "KEK", Detail: "no such key"}
	}
	name := string(k.ID()) + suffix
	if there, err := d.exists(name); err != nil {
		return err
	} else if !there {
		return &sandbox.Error{Op: "keys: destroy", Kind: sandbox.NotFound, Object: name, Detail: "no such key"}
	}
	if k.Name == rootName {
		if err := d.reseal(k); err != nil {
			return err
		}
	}
	if err := d.shred(name); err != nil {
		return err
	}
	if key := d.keks[k]; key != nil {
		key.forget()
		delete(d.keks, k)
	}
	return nil
}

// reseal moves every KEK under an old root to the newest, file by file.
func (d *FileDevice) reseal(old KEK) error {
	root, err := d.newestRoot()
	if err != nil {
		return err
	}
	if root.id == old.ID() {
		return nil // the end of the folder
	}
	files, err := d.names("", suffix)
	if err != nil {
		return err
	}
	for _, f := range files {
		k, ok := parseKEK(sandbox.KeyID(strings.TrimSuffix(f, suffix)))
		if !ok || !strings.HasPrefix(f, "unit-") && !strings.HasPrefix(f, "own-") {
			continue
		}
		h, plain, err := d.kekPlain(k)
		if err != nil {
			return err
		}
		if h.KEK == old.ID() {
			var text []byte
			if text, err = d.kekFile(k, plain); err == nil {
				err = d.write(f, text)
			}
		}
		clear(plain)
		if err != nil {
			return err
		}
	}
	return nil
}

// ChangePassphrase seals the root under another passphrase: one replacement, so a crash leaves the old or the new. Denied
// if current does not open the root. Copies of the folder made before still open with the old one.
func (d *FileDevice) ChangePassphrase(current, next []byte, p Params) error {
	if p == (Params{}) {
		p = Interactive()
	}
	if err := p.check(); err != nil {
		return err
	}
	if len(next) == 0 {
		return &sandbox.Error{Op: "keys: change passphrase", Kind: sandbox.Invalid, Object: "passphrase", Detail: "not empty"}
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.usable(); err != nil {
		return err
	}
	gens, err := d.generations(rootName)
	if err != nil {
		return err
	}
	if len(gens) != 1 {
		return &sandbox.Error{Op: "keys: change passphrase", Kind: sandbox.Conflict, Object: d.dir, Detail: "a rotation of the root is unfinished", Hint: "finish it by opening the folder again"}
	}
	k := KEK{rootName, gens[0]}
	name := string(k.ID()) + suffix
	x, err := d.read(name)
	if err != nil {
		return err
	}
	if x.Header.Argon2id == nil || x.Header.Argon2id.check() != nil {
		return tampered(name)
	}
	old := passwordKey(current, x.Header.Salt, *x.Header.Argon2id)
	defer clear(old)
	plain, err := x.opened(name, func(aad, box []byte) ([]byte, error) { return openGCM(old, aad, box) })
	if err != nil {
		return &sandbox.Error{Op: "keys: change passphrase", Kind: sandbox.Passphrase, Object: d.dir, Detail: "the passphrase does not open the root key", Hint: "check the passphrase"}
	}
	defer clear(plain)
	salt := make([]byte, 32)
	if err := d.draw(salt); err != nil {
		return err
	}
	lock := passwordKey(next, salt, p)
	was := [...]any{d.lock, d.salt, d.p}
	d.lock, d.salt, d.p = lock, salt, p
	text, err := d.kekFile(k, plain)
	if err == nil {
		err = d.write(name, text)
	}
	if err != nil {
		d.lock, d.salt, d.p = was[0].([]byte), was[1].([]byte), was[2].(Params)
	}
	return err
}

// rootPlain gives the one root's key ‖ blind, for an archive; and installRoot takes it.
func (d *FileDevice) rootPlain() (KEK, []byte, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.usable(); err != nil {
		return KEK{}, nil, err
	}
	gens, err := d.generations(rootName)
	if err != nil {
		return KEK{}, nil, err
	}
	if len(gens) != 1 {
		return KEK{}, nil, &sandbox.Error{Op: "keys: export", Kind: sandbox.Conflict, Object: d.dir, Detail: "a rotation of the root is unfinished", Hint: "finish it by opening the folder again"}
	}
	k := KEK{rootName, gens[0]}
	name := string(k.ID()) + suffix
	x, err := d.read(name)
	if err != nil {
		return KEK{}, nil, err
	}
	plain, err := x.opened(name, func(aad, box []byte) ([]byte, error) { return openGCM(d.lock, aad, box) })
	return k, plain, err
}

func (d *FileDevice) installRoot(k KEK, plain []byte) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	text, err := d.kekFile(k, plain)
	if err != nil {
		return err
	}
	if err := d.write(string(k.ID())+suffix, text); err != nil {
		return err
	}
	d.keks[k] = newKey(k.ID(), plain)
	return nil
}

// Check reads the root's file.
func (d *FileDevice) Check() error {
	d.mu.Lock()
	defer d.mu.Unlock()
	if err := d.usable(); err != nil {
		return err
	}
	gens, err := d.generations(rootName)
	if err == nil && len(gens) == 0 {
		err = &sandbox.Error{Op: "keys: check", Kind: sandbox.NotFound, Object: rootFile, Detail: "no such key"}
	}
	for _, g := range gens {
		_, rerr := d.read(string(KEK{rootName, g}.ID()) + suffix)
		err = errors.Join(err, rerr)
	}
	return err
}

func (d *FileDevice) usable() error {
	if d.gone {
		return &sandbox.Error{Op: "keys", Kind: sandbox.Unavailable, Object: "device", Detail: "it was closed"}
	}
	return nil
}

// Close zeroes the KEKs and the passphrase's key.
func (d *FileDevice) Close() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.gone = true
	clear(d.lock)
	for _, k := range d.keks {
		k.forget()
	}
}
