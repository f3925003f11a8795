// Package keys keeps the domain's key hierarchy (密钥体系) in a folder: the file driver of the key vault.
//
//	passphrase → Argon2id → root KEK → KEK per source unit → DEK per dataset version → column and file keys (HKDF-SM3)
//	                                → domain secrets, the domain's SM2 signing and decryption keys
//
// Every key is random; a key is wrapped, never derived from one that outlives it, so erasing a version's file and its
// unit's copies of it ends the version. One file per key holds a JSON header and the wrapped key; the header is the
// associated data of the wrapping (SM4-GCM), so a file cannot be renamed, moved to another dataset or edited. Wrapping
// uses a random 96-bit nonce; a KEK wraps far fewer than 2^32 keys. Files are written whole (temporary file, fsync,
// rename, fsync of the folder), readable by the owner only. The root's file is written last: without it a folder holds no
// keys. Every file carries an SM3 checksum beside the wrapping; it tells a damaged root file from a wrong passphrase. Who
// also recomputes the checksum is stopped by the wrapping.
//
// Errors: Passphrase when the passphrase does not open the root, Tampered naming the file when any file was changed,
// NotFound for a key that does not exist or was destroyed, Unavailable for a key used after Close or Destroy.
//
// Limits of this driver, which its certificates state: keys are in the process's memory while it runs; Close zeroes the
// symmetric keys it holds, but not copies the runtime made, keys derived from them, or the two SM2 keys, which their
// library keeps. Destruction removes a file, which proves a procedure and not that no copy of the disk exists. One process
// at a time has a folder open for writing; the caller holds the lock.
// 依据: GB/T 39786-2021 asks for a device at level 3; the driver's place is behind the same methods.
package keys

import (
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
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

// Version (数据版本) is what a version key is bound to.
type Version struct {
	Unit    sandbox.PartyID   `json:"unit"`
	Dataset sandbox.DatasetID `json:"dataset"`
	Version uint64            `json:"version"`
	Grade   sandbox.Grade     `json:"grade"`
}

const (
	keyLen   = 32 // of KEKs, DEKs, secrets; SM4 keys are derived from them, SM2 scalars are this long
	blindLen = 32
	rootFile = "root.key"
	suffix   = ".key"

	maxFile = 16 << 10 // bytes of a key file
)

// Key (密钥) is an opened key. What uses it derives from it under a context of its own. Safe for concurrent use.
type Key struct {
	id         sandbox.KeyID
	commitment [sm.Size]byte

	mu     sync.RWMutex
	secret [keyLen]byte
	gone   bool // zeroed: without this a closed key would go on as the key of zeros
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

// File (文件密钥库) is an open key folder. Safe for concurrent use.
type File struct {
	dir  string
	rand io.Reader

	mu       sync.Mutex
	root     *Key
	units    map[sandbox.PartyID]*Key
	versions map[sandbox.KeyID]*Key
	secrets  map[string]*Key

	signing    *sm.SigningKey
	decrypting *sm.DecryptKey
}

// Create makes a key folder with a root key under passphrase and the domain's SM2 keys.
func Create(dir string, passphrase []byte, p Params, rand io.Reader) (*File, error) {
	if p == (Params{}) {
		p = Interactive()
	}
	if err := p.check(); err != nil {
		return nil, err
	}
	if len(passphrase) == 0 {
		return nil, &sandbox.Error{Op: "keys: create", Kind: sandbox.Invalid, Object: "passphrase", Detail: "not empty"}
	}
	if err := vacant(dir); err != nil {
		return nil, err
	}
	f := newFile(dir, rand)
	salt := make([]byte, 32)
	if err := f.draw(salt); err != nil {
		return nil, err
	}
	root, text, err := f.seal(passwordKey(passphrase, salt, p), header{Purpose: "root", ID: "root", KEK: "passphrase", Argon2id: &p, Salt: salt}, nil)
	if err != nil {
		return nil, err
	}
	f.root = root
	if f.signing, err = sm.NewSigningKey(rand); err != nil {
		return nil, err
	}
	if f.decrypting, err = sm.NewDecryptKey(rand); err != nil {
		return nil, err
	}
	if _, err = f.make(root, header{Purpose: "sign", ID: "sign"}, "sign.key", f.signing.Bytes()); err != nil {
		return nil, err
	}
	if _, err = f.make(root, header{Purpose: "decrypt", ID: "decrypt"}, "decrypt.key", f.decrypting.Bytes()); err != nil {
		return nil, err
	}
	if err := durable.Replace(filepath.Join(dir, rootFile), text); err != nil {
		return nil, unavailable("write", rootFile, err)
	}
	return f, nil
}

// vacant makes the folder, or takes an existing one without any key file: a folder that lost its root file may still be
// completed from a backup, so nothing in it is overwritten.
func vacant(dir string) error {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return unavailable("create", dir, err)
	}
	if err := os.Chmod(dir, 0o700); err != nil {
		return unavailable("create", dir, err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return unavailable("create", dir, err)
	}
	for _, e := range entries {
		if strings.HasSuffix(e.Name(), suffix) {
			return &sandbox.Error{Op: "keys: create", Kind: sandbox.Conflict, Object: dir, Detail: "the folder holds keys already", Hint: "choose an empty folder"}
		}
	}
	return nil
}

// Open opens a key folder.
func Open(dir string, passphrase []byte, rand io.Reader) (*File, error) {
	f := newFile(dir, rand)
	raw, err := f.read(rootFile)
	if err != nil {
		return nil, err
	}
	h := raw.Header
	if h.Argon2id == nil || h.Argon2id.check() != nil || h.Purpose != "root" {
		return nil, tampered(rootFile)
	}
	if f.root, err = open(passwordKey(passphrase, h.Salt, *h.Argon2id), raw, rootFile); err != nil {
		// A root file forged with its checksum looks like a wrong passphrase, and nothing but the passphrase could tell.
		return nil, &sandbox.Error{Op: "keys: open", Kind: sandbox.Passphrase, Object: dir, Detail: "the passphrase does not open the root key",
			Hint: "check the passphrase"}
	}
	sign, err := f.open(f.root, "sign.key", "sign", "sign")
	if err != nil {
		return nil, err
	}
	if f.signing, err = sm.ParseSigningKey(sign.secret[:]); err != nil {
		return nil, tampered("sign.key")
	}
	decrypt, err := f.open(f.root, "decrypt.key", "decrypt", "decrypt")
	if err != nil {
		return nil, err
	}
	if f.decrypting, err = sm.ParseDecryptKey(decrypt.secret[:]); err != nil {
		return nil, tampered("decrypt.key")
	}
	sign.forget()
	decrypt.forget()
	if err := sweep(dir); err != nil {
		return nil, unavailable("open", dir, err)
	}
	return f, nil
}

func newFile(dir string, rand io.Reader) *File {
	return &File{dir: dir, rand: rand, units: map[sandbox.PartyID]*Key{}, versions: map[sandbox.KeyID]*Key{}, secrets: map[string]*Key{}}
}

// SigningKey gives the domain's signing key.
func (f *File) SigningKey() *sm.SigningKey { return f.signing }

// DecryptKey gives the domain's decryption key.
func (f *File) DecryptKey() *sm.DecryptKey { return f.decrypting }

// Secret gives a named secret of the domain, made on first use.
func (f *File) Secret(name string) (*Key, error) {
	if err := sandbox.CheckID("secret", name); err != nil {
		return nil, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if k := f.secrets[name]; k != nil {
		return k, nil
	}
	path := "secret-" + name + suffix
	id := sandbox.KeyID("secret-" + name)
	k, err := f.open(f.root, path, "secret", id)
	if errors.Is(err, sandbox.NotFound) {
		k, err = f.make(f.root, header{Purpose: "secret", ID: id, Name: name}, path, nil)
	}
	if err != nil {
		return nil, err
	}
	f.secrets[name] = k
	return k, nil
}

// NewVersionKey makes the random key of one dataset version, wrapped under its unit's key.
func (f *File) NewVersionKey(v Version) (*Key, error) {
	for _, x := range []struct{ what, id string }{{"unit", string(v.Unit)}, {"dataset", string(v.Dataset)}} {
		if err := sandbox.CheckID(x.what, x.id); err != nil {
			return nil, err
		}
	}
	if !v.Grade.Valid() || v.Version == 0 {
		return nil, &sandbox.Error{Op: "keys: new version key", Kind: sandbox.Invalid, Object: string(v.Dataset), Detail: "a version from 1 and a grade of 1 to 4"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	unit, err := f.unit(v.Unit)
	if errors.Is(err, sandbox.NotFound) {
		unit, err = f.newUnit(v.Unit)
	}
	if err != nil {
		return nil, err
	}
	var b [10]byte
	if err := f.draw(b[:]); err != nil {
		return nil, err
	}
	id := sandbox.KeyID("v-" + hex.EncodeToString(b[:]))
	k, err := f.make(unit, header{Purpose: "version", ID: id, Version: &v}, string(id)+suffix, nil)
	if err != nil {
		return nil, err
	}
	f.versions[id] = k
	return k, nil
}

func unitKey(u sandbox.PartyID) sandbox.KeyID { return sandbox.KeyID("unit-" + string(u)) }

// unit gives a source unit's KEK.
func (f *File) unit(u sandbox.PartyID) (*Key, error) {
	if k := f.units[u]; k != nil {
		return k, nil
	}
	id := unitKey(u)
	k, err := f.open(f.root, string(id)+suffix, "unit", id)
	if err != nil {
		return nil, err
	}
	f.units[u] = k
	return k, nil
}

// newUnit makes a source unit's KEK, unless version keys say that it had one: a new KEK in the place of a lost file would
// bury the versions under the old one, also after a backup is restored.
func (f *File) newUnit(u sandbox.PartyID) (*Key, error) {
	id := unitKey(u)
	path := string(id) + suffix
	entries, err := os.ReadDir(f.dir)
	if err != nil {
		return nil, unavailable("new version key", path, err)
	}
	for _, e := range entries {
		if !strings.HasPrefix(e.Name(), "v-") || !strings.HasSuffix(e.Name(), suffix) {
			continue
		}
		if raw, err := f.read(e.Name()); err == nil && raw.Header.KEK == id {
			return nil, &sandbox.Error{Op: "keys: open", Kind: sandbox.Tampered, Object: path, Detail: "the key file is gone while version keys under it exist",
				Hint: "restore it from a backup"}
		}
	}
	k, err := f.make(f.root, header{Purpose: "unit", ID: id}, path, nil)
	if err != nil {
		return nil, err
	}
	f.units[u] = k
	return k, nil
}

// VersionKey opens a version key by its id.
func (f *File) VersionKey(id sandbox.KeyID) (*Key, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	if k := f.versions[id]; k != nil {
		return k, nil
	}
	k, _, err := f.version(id)
	if err != nil {
		return nil, err
	}
	f.versions[id] = k
	return k, nil
}

// version reads and opens a version key's file.
func (f *File) version(id sandbox.KeyID) (*Key, Version, error) {
	if err := sandbox.CheckID("key", string(id)); err != nil || !strings.HasPrefix(string(id), "v-") {
		return nil, Version{}, &sandbox.Error{Op: "keys: version key", Kind: sandbox.NotFound, Object: "key", Detail: "no such key"}
	}
	path := string(id) + suffix
	raw, err := f.read(path)
	if err != nil {
		return nil, Version{}, err
	}
	v := raw.Header.Version
	// The unit is not authenticated yet, so it must be an identifier before it names a file, and its key must exist.
	if raw.Header.Purpose != "version" || raw.Header.ID != id || v == nil || sandbox.CheckID("unit", string(v.Unit)) != nil || raw.Header.KEK != unitKey(v.Unit) {
		return nil, Version{}, tampered(path)
	}
	unit, err := f.unit(v.Unit)
	if errors.Is(err, sandbox.NotFound) {
		return nil, Version{}, &sandbox.Error{Op: "keys: open", Kind: sandbox.Tampered, Object: path, Detail: "the key file was changed, or its unit's key file is gone",
			Hint: "restore it from a backup"}
	}
	if err != nil {
		return nil, Version{}, err
	}
	kek, err := unit.wrapping()
	if err != nil {
		return nil, Version{}, err
	}
	k, err := open(kek, raw, path)
	return k, *v, err
}

// Close zeroes the symmetric keys f holds, also those it handed out: their use afterwards is Unavailable. What the runtime
// copied, and the SM2 keys, stay in memory until it is reused.
func (f *File) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.root.forget()
	for _, k := range f.units {
		k.forget()
	}
	for _, k := range f.versions {
		k.forget()
	}
	for _, k := range f.secrets {
		k.forget()
	}
}

func passwordKey(passphrase, salt []byte, p Params) []byte {
	return argon2.IDKey(passphrase, salt, p.Time, p.Memory, p.Threads, sm.KeySize)
}

// wrapping gives the SM4 key that k wraps others with.
func (k *Key) wrapping() ([]byte, error) {
	return k.Derive(sm.KeySize, "opdomain/wrap/v1", string(k.id))
}

func (f *File) draw(b []byte) error {
	if _, err := io.ReadFull(f.rand, b); err != nil {
		return &sandbox.Error{Op: "keys", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	return nil
}

// make draws a key (or takes the given 32 bytes), wraps it under kek and writes its file.
func (f *File) make(kek *Key, h header, path string, given []byte) (*Key, error) {
	wrap, err := kek.wrapping()
	if err != nil {
		return nil, err
	}
	h.KEK = kek.id
	k, text, err := f.seal(wrap, h, given)
	if err != nil {
		return nil, err
	}
	if err := durable.Replace(filepath.Join(f.dir, path), text); err != nil {
		return nil, unavailable("write", path, err)
	}
	return k, nil
}

func (f *File) read(path string) (file, error) {
	r, err := os.Open(filepath.Join(f.dir, path))
	if errors.Is(err, os.ErrNotExist) {
		return file{}, &sandbox.Error{Op: "keys: read", Kind: sandbox.NotFound, Object: path, Detail: "no such key"}
	}
	if err != nil {
		return file{}, unavailable("read", path, err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, maxFile+1))
	if err != nil {
		return file{}, unavailable("read", path, err)
	}
	x, ok := parse(b)
	if !ok || len(b) > maxFile {
		return file{}, tampered(path)
	}
	return x, nil
}

func (f *File) open(kek *Key, path, purpose string, id sandbox.KeyID) (*Key, error) {
	raw, err := f.read(path)
	if err != nil {
		return nil, err
	}
	if raw.Header.Purpose != purpose || raw.Header.ID != id || raw.Header.KEK != kek.id {
		return nil, tampered(path)
	}
	wrap, err := kek.wrapping()
	if err != nil {
		return nil, err
	}
	return open(wrap, raw, path)
}

func tampered(path string) error {
	return &sandbox.Error{Op: "keys: open", Kind: sandbox.Tampered, Object: path, Detail: "the key file was changed", Hint: "restore it from a backup"}
}

func unavailable(verb, object string, err error) error {
	return &sandbox.Error{Op: "keys: " + verb, Kind: sandbox.Unavailable, Object: object, Err: err}
}
