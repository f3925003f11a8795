// Package vault keeps dataset versions as sealed column files (密封列存).
//
// # Folder
//
//	<dataset>/HEAD            JSON: dataset, version, key, SM3 of the manifest file; replaced whole: this is the commit
//	<dataset>/HEAD.tmp        the next HEAD, written before its version's folder appears; removed at Open
//	<dataset>/v<version>/     one folder per committed version
//	    key                   JSON: ids of the version's key and run, held to the manifest that opens under the key
//	    manifest              sealed JSON: run, unit, grade, rows, batches, columns with types and file ids
//	    <n>.col               the n-th column; the pseudonyms are the last one, "_subject"
//	<dataset>/stage-<random>/ a push in progress; removed at Open
//
// # Sealed file
//
//	offset  size  field
//	0       4     magic "ODV1"
//	4       2     format 1, big endian
//	6       2     suite 1: SM4-GCM, key by HKDF-SM3 from the version key, dataset, version, column and file id
//	8       1     chunk size as a power of two, 16
//	9       7     zero
//	16      16    random file id
//	32      32    SM3 over dataset, version, column and key id, each after its length
//	64      …     chunks of 64 KiB plaintext + 16 bytes tag, the last one shorter, possibly empty
//
// The header is associated data of every chunk; the nonce is the chunk's index (8 bytes), three zeros and a last flag
// (STREAM: Hoang, Reyhanitabar, Rogaway, Vizár 2015). Opening authenticates the last chunk first, so a truncated file fails
// before any of it is used; a chunk or file moved anywhere else fails too. The plaintext of a column file is, per record
// batch, a uint64 length, little endian, and the encoding of the one-column batch (package batch).
//
// Promises: a reader opens only the columns it names, each under its own key; a crash at any point leaves the old or the
// new version; a run id commits once, also after its version's key was destroyed. One process opens a folder at a time.
//
// Errors are Tampered naming dataset, version, column and chunk; Expired for a version whose key was destroyed; Conflict for
// a second writer or a repeated run; Unavailable for the disk. Sizes and numbers of files, hence about how many rows a
// version has, can be seen without a key. A folder put back whole to an older state opens: who knows the version that was
// committed last gives Check its manifest digest. Not here: removing old versions, re-encrypting under a new key,
// erasing opened batches from memory: they are left to the garbage collector.
package vault

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
)

// SubjectColumn is the internal column of pseudonyms beside the declared ones.
const SubjectColumn = "_subject"

const (
	headFile  = "HEAD"
	nextFile  = "HEAD.tmp"
	stageName = "stage-"
)

// Keys (版本密钥) is what the vault needs of a key vault. VersionKey gives NotFound for a key that was destroyed.
type Keys interface {
	NewVersionKey(keys.Version) (*keys.Key, error)
	VersionKey(sandbox.KeyID) (*keys.Key, error)
}

// Vault (密封库) is an open folder of datasets. Safe for concurrent use, as the keys and the randomness given to Open must be.
type Vault struct {
	dir  string
	keys Keys
	rand io.Reader

	mu      sync.Mutex
	writing map[sandbox.DatasetID]bool
}

type head struct {
	Dataset  sandbox.DatasetID `json:"dataset"`
	Version  uint64            `json:"version"`
	Key      sandbox.KeyID     `json:"key"`
	Manifest string            `json:"manifest"`
}

// Open opens a vault folder, making it if absent, and removes what unfinished pushes left. A HEAD that was changed, or
// version folders that neither HEAD nor an unfinished commit accounts for, are Tampered and nothing is removed.
func Open(dir string, k Keys, rand io.Reader) (*Vault, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, unavailable("open", dir, err)
	}
	v := &Vault{dir: dir, keys: k, rand: rand, writing: map[sandbox.DatasetID]bool{}}
	ids, err := v.Datasets()
	if err != nil {
		return nil, err
	}
	for _, d := range ids {
		if err := v.sweep(d); err != nil {
			return nil, err
		}
	}
	return v, nil
}

// sweep removes stages, the version of an unfinished commit and its intent, in this order.
func (v *Vault) sweep(d sandbox.DatasetID) error {
	extra, err := v.extra(d)
	if err != nil {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(v.dir, string(d)))
	if err != nil {
		return unavailable("open", string(d), err)
	}
	for _, e := range entries {
		if strings.HasPrefix(e.Name(), stageName) {
			extra = append(extra, e.Name())
		}
	}
	for _, name := range append(extra, nextFile) {
		if err := os.RemoveAll(filepath.Join(v.dir, string(d), name)); err != nil {
			return unavailable("open", string(d), err)
		}
	}
	return nil
}

// extra gives the folder of an unfinished commit, which is the version after HEAD and announced by HEAD.tmp. Any other
// version beyond HEAD means that HEAD was put back or lost, which must not cost the data.
func (v *Vault) extra(d sandbox.DatasetID) ([]string, error) {
	h, err := v.head(d)
	if err != nil && !errors.Is(err, sandbox.NotFound) {
		return nil, err
	}
	b, err := os.ReadFile(filepath.Join(v.dir, string(d), nextFile))
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		return nil, unavailable("open", string(d), err)
	}
	var next head
	announced := err == nil && strict(b, &next) == nil && next.Dataset == d && next.Version == h.Version+1
	entries, err := os.ReadDir(filepath.Join(v.dir, string(d)))
	if err != nil {
		return nil, unavailable("open", string(d), err)
	}
	var out []string
	for _, e := range entries {
		n, ok := versionOf(e.Name())
		switch {
		case !ok || n <= h.Version:
		case announced && n == next.Version:
			out = append(out, e.Name())
		default:
			return nil, &sandbox.Error{Op: "vault: open", Kind: sandbox.Tampered, Object: string(d) + " " + headFile,
				Detail: fmt.Sprintf("version %d exists, the head is at %d: an older head was put back, or it was lost", n, h.Version),
				Hint:   "restore the dataset's folder from one backup"}
		}
	}
	return out, nil
}

func versionOf(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, "v")
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil && versionDir(n) == name
}

func versionDir(n uint64) string { return fmt.Sprintf("v%08d", n) }

func (v *Vault) versionPath(d sandbox.DatasetID, n uint64) string {
	return filepath.Join(v.dir, string(d), versionDir(n))
}

// Datasets lists the datasets that have a folder, in the order of their ids.
func (v *Vault) Datasets() ([]sandbox.DatasetID, error) {
	entries, err := os.ReadDir(v.dir)
	if err != nil {
		return nil, unavailable("list", v.dir, err)
	}
	var out []sandbox.DatasetID
	for _, e := range entries {
		if e.IsDir() && sandbox.CheckID("dataset", e.Name()) == nil {
			out = append(out, sandbox.DatasetID(e.Name()))
		}
	}
	return out, nil
}

func (v *Vault) head(d sandbox.DatasetID) (head, error) {
	if err := sandbox.CheckID("dataset", string(d)); err != nil {
		return head{}, err
	}
	b, err := os.ReadFile(filepath.Join(v.dir, string(d), headFile))
	if errors.Is(err, os.ErrNotExist) {
		return head{}, &sandbox.Error{Op: "vault: head", Kind: sandbox.NotFound, Object: string(d), Detail: "no committed version"}
	}
	if err != nil {
		return head{}, unavailable("head", string(d), err)
	}
	var h head
	if err := strict(b, &h); err != nil || h.Dataset != d || h.Version == 0 {
		return head{}, &sandbox.Error{Op: "vault: head", Kind: sandbox.Tampered, Object: string(d) + " " + headFile, Detail: "not the head of this dataset"}
	}
	return h, nil
}

// Head opens the current version of a dataset; NotFound before the first commit.
func (v *Vault) Head(d sandbox.DatasetID) (Snapshot, error) {
	h, err := v.head(d)
	if err != nil {
		return Snapshot{}, err
	}
	return v.current(h)
}

// current opens the version that h names and holds it to what h says.
func (v *Vault) current(h head) (Snapshot, error) {
	s, err := v.open(v.versionPath(h.Dataset, h.Version), h.Dataset, h.Version)
	if err != nil {
		return s, err
	}
	if hex.EncodeToString(s.Manifest[:]) != h.Manifest || s.Key != h.Key {
		return Snapshot{}, &sandbox.Error{Op: "vault: head", Kind: sandbox.Tampered, Object: string(h.Dataset) + " " + headFile, Detail: "the manifest is not the one the head names"}
	}
	return s, nil
}

// Snapshot opens the description of one committed version; NotFound for one that was never committed.
func (v *Vault) Snapshot(d sandbox.DatasetID, version uint64) (Snapshot, error) {
	h, err := v.head(d)
	if err != nil {
		return Snapshot{}, err
	}
	switch {
	case version == h.Version:
		return v.current(h)
	case version == 0 || version > h.Version:
		return Snapshot{}, &sandbox.Error{Op: "vault: snapshot", Kind: sandbox.NotFound, Object: fmt.Sprintf("%s v%d", d, version), Detail: "no such version"}
	}
	return v.open(v.versionPath(d, version), d, version)
}

// Committed finds the version that a run committed; NotFound if none. A version whose key was destroyed still counts: its
// Snapshot has no more than dataset, version, run and key, and cannot be scanned.
func (v *Vault) Committed(d sandbox.DatasetID, run sandbox.RunID) (Snapshot, error) {
	h, err := v.head(d)
	if err != nil {
		return Snapshot{}, err
	}
	for n := h.Version; n > 0; n-- {
		s, err := v.Snapshot(d, n)
		if err != nil && !errors.Is(err, sandbox.Expired) {
			return Snapshot{}, err // whether this run was the one cannot be told
		}
		if s.Run == run {
			return s, nil
		}
	}
	return Snapshot{}, &sandbox.Error{Op: "vault: committed", Kind: sandbox.NotFound, Object: string(run), Detail: "this run committed nothing"}
}

// strict reads the one JSON form of a value, so that no byte of a file is outside the check.
func strict(b []byte, into any) error {
	if err := json.Unmarshal(b, into); err != nil {
		return err
	}
	if again, err := json.Marshal(into); err != nil || !bytes.Equal(again, b) {
		return errors.New("not the canonical form")
	}
	return nil
}

func unavailable(op, object string, err error) error {
	return &sandbox.Error{Op: "vault: " + op, Kind: sandbox.Unavailable, Object: object, Err: err}
}
