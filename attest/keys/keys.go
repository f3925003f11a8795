// Package keys keeps the domain's key hierarchy (密钥体系) in a folder: the file driver of the key vault.
//
//	passphrase → Argon2id → root KEK → KEK per source unit → DEK per dataset version → column and file keys (HKDF-SM3)
//	                                → domain secrets, the domain's SM2 signing and decryption keys
//
// Every key is random; a key is wrapped, never derived from one that outlives it, so erasing a version's file and its
// unit's copies of it ends the version. One file per key holds a JSON header and the wrapped key; the header is the
// associated data of the wrapping (SM4-GCM), so a file cannot be renamed, moved to another dataset or edited. Wrapping
// uses a random 96-bit nonce; a KEK wraps far fewer than 2^32 keys. Files are written whole (temporary file, fsync,
// rename, fsync of the folder), readable by the owner only.
//
// Errors: Passphrase when the passphrase does not open the root, Tampered naming the file when any file was changed,
// NotFound for a key that does not exist or was destroyed.
//
// Limits of this driver, which its certificates state: keys are in the process's memory while it runs, Close zeroes the
// copies it holds but not those the runtime made; destruction removes a file, which proves a procedure and not that no
// copy of the disk exists. 依据: GB/T 39786-2021 asks for a device at level 3; the driver's place is behind the same methods.
package keys

import (
	"crypto/cipher"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/crypto/argon2"

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

// header is the readable part of a key file and the associated data of its wrapping.
type header struct {
	Format     int           `json:"format"`
	Purpose    string        `json:"purpose"` // root | unit | version | secret | sign | decrypt
	ID         sandbox.KeyID `json:"id"`
	KEK        sandbox.KeyID `json:"kek"`
	Name       string        `json:"name,omitempty"` // of a secret
	Version    *Version      `json:"version,omitempty"`
	Argon2id   *Params       `json:"argon2id,omitempty"`
	Salt       []byte        `json:"salt,omitempty"`
	Commitment []byte        `json:"commitment"` // SM3(key ‖ blind)
	Created    string        `json:"created,omitempty"`
}

type file struct {
	Header header `json:"header"`
	Nonce  []byte `json:"nonce"`
	Sealed []byte `json:"sealed"` // key ‖ 32 bytes blind
}

const (
	keyLen   = 32 // of KEKs, DEKs, secrets; SM4 keys are derived from them, SM2 scalars are this long
	blindLen = 32
	rootFile = "root.key"
)

// Key (密钥) is an opened key. What uses it derives from it under a context of its own.
type Key struct {
	id         sandbox.KeyID
	secret     [keyLen]byte
	commitment [sm.Size]byte
}

// ID names the key.
func (k *Key) ID() sandbox.KeyID { return k.id }

// Commitment is SM3(key ‖ 32 random bytes), logged when the key is made; an erasure certificate refers to it.
func (k *Key) Commitment() [sm.Size]byte { return k.commitment }

// Derive gives n bytes for a use, by HKDF-SM3 over the length-prefixed context.
func (k *Key) Derive(n int, context ...string) ([]byte, error) {
	parts := make([][]byte, len(context))
	for i, c := range context {
		parts[i] = []byte(c)
	}
	return sm.HKDF(k.secret[:], nil, sm.Frame(parts...), n)
}

// String keeps keys out of logs.
func (k *Key) String() string { return "key " + string(k.id) + "(redacted)" }

// GoString keeps keys out of %#v.
func (k *Key) GoString() string { return k.String() }

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
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unavailable("create", dir, err)
	}
	if _, err := os.Stat(filepath.Join(dir, rootFile)); err == nil {
		return nil, &sandbox.Error{Op: "keys: create", Kind: sandbox.Conflict, Object: dir, Detail: "the folder holds keys already"}
	}
	f := newFile(dir, rand)
	salt := make([]byte, 32)
	if err := f.draw(salt); err != nil {
		return nil, err
	}
	var err error
	if f.root, err = f.make(passwordKey(passphrase, salt, p), header{Purpose: "root", ID: "root", KEK: "passphrase", Argon2id: &p, Salt: salt}, rootFile, nil); err != nil {
		return nil, err
	}
	sign, err := sm.NewSigningKey(rand)
	if err != nil {
		return nil, err
	}
	decrypt, err := sm.NewDecryptKey(rand)
	if err != nil {
		return nil, err
	}
	if _, err = f.make(f.root.wrapping(), header{Purpose: "sign", ID: "sign", KEK: "root"}, "sign.key", sign.Bytes()); err != nil {
		return nil, err
	}
	if _, err = f.make(f.root.wrapping(), header{Purpose: "decrypt", ID: "decrypt", KEK: "root"}, "decrypt.key", decrypt.Bytes()); err != nil {
		return nil, err
	}
	f.signing, f.decrypting = sign, decrypt
	return f, nil
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
		// A wrong passphrase and a changed root file look alike; saying which would need a check value to guess against.
		return nil, &sandbox.Error{Op: "keys: open", Kind: sandbox.Passphrase, Object: dir, Detail: "the passphrase does not open the root key",
			Hint: "check the passphrase; if it is right, " + rootFile + " was changed: restore it from a backup"}
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
	path := "secret-" + name + ".key"
	id := sandbox.KeyID("secret-" + name)
	k, err := f.open(f.root, path, "secret", id)
	if errors.Is(err, sandbox.NotFound) {
		k, err = f.make(f.root.wrapping(), header{Purpose: "secret", ID: id, KEK: "root", Name: name}, path, nil)
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
	if err != nil {
		return nil, err
	}
	var b [10]byte
	if err := f.draw(b[:]); err != nil {
		return nil, err
	}
	id := sandbox.KeyID("v-" + hex.EncodeToString(b[:]))
	k, err := f.make(unit.wrapping(), header{Purpose: "version", ID: id, KEK: unit.id, Version: &v}, string(id)+".key", nil)
	if err != nil {
		return nil, err
	}
	f.versions[id] = k
	return k, nil
}

// unit gives a source unit's KEK, made on first use.
func (f *File) unit(u sandbox.PartyID) (*Key, error) {
	if k := f.units[u]; k != nil {
		return k, nil
	}
	path, id := "unit-"+string(u)+".key", sandbox.KeyID("unit-"+string(u))
	k, err := f.open(f.root, path, "unit", id)
	if errors.Is(err, sandbox.NotFound) {
		k, err = f.make(f.root.wrapping(), header{Purpose: "unit", ID: id, KEK: "root"}, path, nil)
	}
	if err != nil {
		return nil, err
	}
	f.units[u] = k
	return k, nil
}

// VersionKey opens a version key by its id.
func (f *File) VersionKey(id sandbox.KeyID) (*Key, error) {
	if err := sandbox.CheckID("key", string(id)); err != nil || !strings.HasPrefix(string(id), "v-") {
		return nil, &sandbox.Error{Op: "keys: version key", Kind: sandbox.NotFound, Object: "key", Detail: "no such key"}
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	if k := f.versions[id]; k != nil {
		return k, nil
	}
	path := string(id) + ".key"
	raw, err := f.read(path)
	if err != nil {
		return nil, err
	}
	if raw.Header.Purpose != "version" || raw.Header.ID != id || raw.Header.Version == nil {
		return nil, tampered(path)
	}
	unit, err := f.unit(raw.Header.Version.Unit)
	if err != nil {
		return nil, err
	}
	k, err := open(unit.wrapping(), raw, path)
	if err != nil {
		return nil, err
	}
	f.versions[id] = k
	return k, nil
}

// ContextErasure is what the domain signs an Erasure under.
const ContextErasure = "opdomain/erasure/v1"

// Erasure (密钥销毁证明) says what was done to a key and what was not. The body is signed by the domain.
type Erasure struct {
	Key        sandbox.KeyID      `json:"key"`
	Version    Version            `json:"version"`
	Commitment []byte             `json:"commitment"`
	Approver   sandbox.IdentityID `json:"approver"`
	At         time.Time          `json:"at"`
	Proves     string             `json:"proves"`  // "procedure only" for this driver
	Remains    []string           `json:"remains"` // what the driver cannot reach
	Signature  []byte             `json:"signature,omitempty"`
}

// Destroy removes a version key's file after overwriting it, forgets the key, and certifies exactly that.
func (f *File) Destroy(id sandbox.KeyID, approver sandbox.IdentityID, at time.Time) (Erasure, error) {
	k, err := f.VersionKey(id)
	if err != nil {
		return Erasure{}, err
	}
	path := string(id) + ".key"
	raw, err := f.read(path)
	if err != nil {
		return Erasure{}, err
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	full := filepath.Join(f.dir, path)
	if err := overwrite(full); err != nil {
		return Erasure{}, unavailable("destroy", path, err)
	}
	if err := os.Remove(full); err != nil {
		return Erasure{}, unavailable("destroy", path, err)
	}
	if err := syncDir(f.dir); err != nil {
		return Erasure{}, unavailable("destroy", path, err)
	}
	delete(f.versions, id)
	clear(k.secret[:])
	e := Erasure{Key: id, Version: *raw.Header.Version, Commitment: k.commitment[:], Approver: approver, At: at.UTC(), Proves: "procedure only",
		Remains: []string{"copies of the folder made before (backups, snapshots)", "blocks a file system or disk keeps after overwriting", "pages of memory the runtime copied"}}
	body, err := json.Marshal(e)
	if err != nil {
		return Erasure{}, err
	}
	e.Signature, err = f.signing.Sign(f.rand, ContextErasure, body)
	return e, err
}

// Verify checks an erasure's signature.
func (e Erasure) Verify(domain *sm.VerifyKey) error {
	sig := e.Signature
	e.Signature = nil
	body, err := json.Marshal(e)
	if err != nil {
		return err
	}
	return domain.Verify(ContextErasure, body, sig)
}

// Close zeroes the keys f holds.
func (f *File) Close() {
	f.mu.Lock()
	defer f.mu.Unlock()
	if f.root != nil {
		clear(f.root.secret[:])
	}
	for _, k := range f.units {
		clear(k.secret[:])
	}
	for _, k := range f.versions {
		clear(k.secret[:])
	}
	for _, k := range f.secrets {
		clear(k.secret[:])
	}
}

func passwordKey(passphrase, salt []byte, p Params) []byte {
	return argon2.IDKey(passphrase, salt, p.Time, p.Memory, p.Threads, sm.KeySize)
}

// wrapping gives the SM4 key that k wraps others with.
func (k *Key) wrapping() []byte {
	b, err := k.Derive(sm.KeySize, "opdomain/wrap/v1", string(k.id))
	if err != nil { // fixed lengths
		panic(fmt.Sprintf("keys: wrap: %v", err))
	}
	return b
}

func (f *File) draw(b []byte) error {
	if _, err := io.ReadFull(f.rand, b); err != nil {
		return &sandbox.Error{Op: "keys", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	return nil
}

// make draws a key (or takes the given 32 bytes), wraps it and writes its file.
func (f *File) make(kek []byte, h header, path string, given []byte) (*Key, error) {
	buf := make([]byte, keyLen+blindLen)
	defer clear(buf)
	if err := f.draw(buf); err != nil {
		return nil, err
	}
	if given != nil {
		copy(buf, given)
	}
	commitment := sm.Sum(buf)
	h.Format, h.Commitment = 1, commitment[:]
	ad, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	aead, err := sm.NewGCM(kek)
	if err != nil {
		return nil, err
	}
	nonce := make([]byte, aead.NonceSize())
	if err := f.draw(nonce); err != nil {
		return nil, err
	}
	b, err := json.Marshal(file{h, nonce, aead.Seal(nil, nonce, buf, ad)})
	if err != nil {
		return nil, err
	}
	if err := writeWhole(filepath.Join(f.dir, path), append(b, '\n')); err != nil {
		return nil, unavailable("write", path, err)
	}
	k := &Key{id: h.ID, commitment: commitment}
	copy(k.secret[:], buf)
	return k, nil
}

func (f *File) read(path string) (file, error) {
	b, err := os.ReadFile(filepath.Join(f.dir, path))
	if errors.Is(err, os.ErrNotExist) {
		return file{}, &sandbox.Error{Op: "keys: read", Kind: sandbox.NotFound, Object: path, Detail: "no such key"}
	}
	if err != nil {
		return file{}, unavailable("read", path, err)
	}
	var raw file
	dec := json.NewDecoder(strings.NewReader(string(b)))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&raw); err != nil || raw.Header.Format != 1 {
		return file{}, tampered(path)
	}
	// One file has one form, so that no byte of it is outside the check.
	if again, err := json.Marshal(raw); err != nil || string(again)+"\n" != string(b) {
		return file{}, tampered(path)
	}
	return raw, nil
}

func (f *File) open(kek *Key, path, purpose string, id sandbox.KeyID) (*Key, error) {
	raw, err := f.read(path)
	if err != nil {
		return nil, err
	}
	if raw.Header.Purpose != purpose || raw.Header.ID != id || raw.Header.KEK != kek.id {
		return nil, tampered(path)
	}
	return open(kek.wrapping(), raw, path)
}

func open(kek []byte, raw file, path string) (*Key, error) {
	ad, err := json.Marshal(raw.Header)
	if err != nil {
		return nil, tampered(path)
	}
	var aead cipher.AEAD
	if aead, err = sm.NewGCM(kek); err != nil {
		return nil, err
	}
	if len(raw.Nonce) != aead.NonceSize() {
		return nil, tampered(path)
	}
	buf, err := aead.Open(nil, raw.Nonce, raw.Sealed, ad)
	if err != nil || len(buf) != keyLen+blindLen {
		return nil, tampered(path)
	}
	defer clear(buf)
	k := &Key{id: raw.Header.ID, commitment: sm.Sum(buf)}
	copy(k.secret[:], buf)
	return k, nil
}

func tampered(path string) error {
	return &sandbox.Error{Op: "keys: open", Kind: sandbox.Tampered, Object: path, Detail: "the key file was changed", Hint: "restore it from a backup"}
}

func unavailable(verb, object string, err error) error {
	return &sandbox.Error{Op: "keys: " + verb, Kind: sandbox.Unavailable, Object: object, Err: err}
}
