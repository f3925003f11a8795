package keys

import (
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

const (
	suffix  = ".key"
	maxFile = 16 << 10 // bytes of a key file
)

// header is the readable part of a key file and the associated data of its wrapping.
type header struct {
	Format     int           `json:"format"`  // 1: nonce beside the sealed key; 2: in it
	Purpose    string        `json:"purpose"` // root | unit | version | secret | sign | decrypt
	ID         sandbox.KeyID `json:"id"`
	KEK        sandbox.KeyID `json:"kek"`
	Own        sandbox.KeyID `json:"own,omitempty"` // a version's own KEK, inside the unit's
	Driver     string        `json:"driver,omitempty"`
	Mechanism  string        `json:"mechanism,omitempty"`
	Name       string        `json:"name,omitempty"` // of a secret
	Version    *Version      `json:"version,omitempty"`
	Argon2id   *Params       `json:"argon2id,omitempty"`
	Salt       []byte        `json:"salt,omitempty"`
	Commitment []byte        `json:"commitment"` // SM3(key ‖ blind)
	Created    string        `json:"created,omitempty"`
}

type file struct {
	Header header `json:"header"`
	Nonce  []byte `json:"nonce,omitempty"` // of format 1
	Sealed []byte `json:"sealed"`          // what the device made of key ‖ 32 bytes blind
	Check  []byte `json:"check"`           // SM3 over header, nonce and sealed key
}

// aad is the header as the wrapping binds it.
func (h header) aad() ([]byte, error) { return json.Marshal(h) }

// blob is what the device unwraps.
func (x file) blob() []byte { return append(bytes.Clone(x.Nonce), x.Sealed...) }

func checksum(header, nonce, sealed []byte) []byte {
	d := sm.Sum(sm.Frame(header, nonce, sealed))
	return d[:]
}

// encode gives the one form of a key file.
func (x file) encode() ([]byte, error) {
	b, err := json.Marshal(x)
	return append(b, '\n'), err
}

// parse reads a key file; one file has one form, so that no byte of it is outside the check.
func parse(b []byte) (file, bool) {
	var x file
	if err := json.Unmarshal(b, &x); err != nil || x.Header.Format != 1 && x.Header.Format != 2 || (x.Header.Format == 1) != (x.Nonce != nil) {
		return file{}, false
	}
	again, err := x.encode()
	if err != nil || !bytes.Equal(again, b) {
		return file{}, false
	}
	ad, err := x.Header.aad()
	return x, err == nil && bytes.Equal(checksum(ad, x.Nonce, x.Sealed), x.Check)
}

// sealed gives the text of the file that holds plain (key ‖ blind) under wrap.
func sealed(h header, plain []byte, wrap func(aad, key []byte) ([]byte, error)) ([]byte, error) {
	c := sm.Sum(plain)
	h.Format, h.Commitment = 2, c[:]
	aad, err := h.aad()
	if err != nil {
		return nil, err
	}
	box, err := wrap(aad, plain)
	if err != nil {
		return nil, err
	}
	text, err := file{Header: h, Sealed: box, Check: checksum(aad, nil, box)}.encode()
	if err == nil && len(text) > maxFile {
		return nil, &sandbox.Error{Op: "keys: write", Kind: sandbox.TooLarge, Object: string(h.ID) + suffix, Detail: "a key file has at most 16 KiB"}
	}
	return text, err
}

// opened gives key ‖ blind of a file, checked against its commitment.
func (x file) opened(path string, unwrap func(aad, box []byte) ([]byte, error)) ([]byte, error) {
	aad, err := x.Header.aad()
	if err != nil {
		return nil, tampered(path)
	}
	plain, err := unwrap(aad, x.blob())
	var e *sandbox.Error
	if errors.As(err, &e) && e.Kind == sandbox.Tampered && e.Object == wrappedKey {
		return nil, tampered(path)
	}
	if err != nil {
		return nil, err
	}
	if c := sm.Sum(plain); len(plain) != keyLen+blindLen || !bytes.Equal(c[:], x.Header.Commitment) {
		clear(plain)
		return nil, tampered(path)
	}
	return plain, nil
}

// folder is the key folder as both the vault and FileDevice see it.
type folder struct {
	fs   durable.FS
	dir  string
	rand io.Reader
}

func newFolder(fs durable.FS, dir string, rand io.Reader) folder {
	if fs == nil {
		fs = durable.OS()
	}
	return folder{fs, dir, rand}
}

func (f folder) path(name string) string { return filepath.Join(f.dir, name) }

// draw fills b from the randomness given.
func (f folder) draw(b []byte) error {
	if _, err := io.ReadFull(f.rand, b); err != nil {
		return &sandbox.Error{Op: "keys", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	return nil
}

// read reads and parses a key file.
func (f folder) read(name string) (file, error) {
	b, err := f.bytes(name, maxFile)
	if err != nil {
		return file{}, err
	}
	x, ok := parse(b)
	if !ok {
		return file{}, tampered(name)
	}
	return x, nil
}

// bytes reads a file of bounded length.
func (f folder) bytes(name string, limit int64) ([]byte, error) {
	r, err := f.fs.OpenFile(f.path(name), os.O_RDONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil, &sandbox.Error{Op: "keys: read", Kind: sandbox.NotFound, Object: name, Detail: "no such key"}
	}
	if err != nil {
		return nil, unavailable("read", name, err)
	}
	defer r.Close()
	b, err := io.ReadAll(io.LimitReader(r, limit+1))
	if err != nil {
		return nil, unavailable("read", name, err)
	}
	if int64(len(b)) > limit {
		return nil, tampered(name)
	}
	return b, nil
}

// write replaces a file, whole and durable.
func (f folder) write(name string, b []byte) error {
	if err := durable.ReplaceIn(f.fs, f.path(name), b); err != nil {
		return unavailable("write", name, err)
	}
	return nil
}

// exists says whether a file is there.
func (f folder) exists(name string) (bool, error) {
	_, err := f.fs.Stat(f.path(name))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	if err != nil {
		return false, unavailable("read", name, err)
	}
	return true, nil
}

// names lists the files with a prefix and a suffix, sorted.
func (f folder) names(prefix, suffix string) ([]string, error) {
	entries, err := f.fs.ReadDir(f.dir)
	if errors.Is(err, os.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, unavailable("read", "folder", err)
	}
	var out []string
	for _, e := range entries {
		if n := e.Name(); strings.HasPrefix(n, prefix) && strings.HasSuffix(n, suffix) {
			out = append(out, n)
		}
	}
	return out, nil
}

// remove takes a name away, durably; one that is not there is no error.
func (f folder) remove(name string) error {
	if err := f.fs.Remove(f.path(name)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return unavailable("remove", name, err)
	}
	if err := f.fs.SyncDir(f.dir); err != nil {
		return unavailable("remove", name, err)
	}
	return nil
}

// shred takes a name away durably, then overwrites its bytes by zeros in place, best effort (journals and disks may keep
// the old ones), and removes them. Renamed first: a crash never leaves half a key under its name. One that is not there is
// no error.
func (f folder) shred(name string) error {
	left := name + ".tmp"
	if err := f.fs.Rename(f.path(name), f.path(left)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return unavailable("destroy", name, err)
	}
	if err := f.fs.SyncDir(f.dir); err != nil {
		return unavailable("destroy", name, err)
	}
	return f.zero(left)
}

// zero overwrites and removes what no name leads to any more.
func (f folder) zero(name string) error {
	w, err := f.fs.OpenFile(f.path(name), os.O_WRONLY, 0)
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return unavailable("destroy", name, err)
	}
	info, err := w.Stat()
	if err == nil {
		_, err = w.WriteAt(make([]byte, info.Size()), 0)
	}
	if err == nil {
		err = w.Sync()
	}
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return unavailable("destroy", name, err)
	}
	return f.remove(name)
}

// sweep removes what writes that a crash cut short left behind: a version key's file has a random name, so no later write
// would replace it; or a key that was being destroyed.
func (f folder) sweep() error {
	left, err := f.names("", ".tmp")
	if err != nil {
		return err
	}
	for _, n := range left {
		if strings.HasSuffix(n, suffix+".tmp") || strings.HasSuffix(n, record+".tmp") {
			if err := f.zero(n); err != nil {
				return err
			}
		}
	}
	return nil
}
