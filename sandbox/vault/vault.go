// Package vault keeps dataset versions as sealed column files (密封列存).
//
// # Folder
//
//	<dataset>/HEAD            JSON: dataset, version, key, SM3 of the manifest file; replaced whole: this is the commit
//	<dataset>/v<version>/     one folder per committed version
//	    key                   the id of the version's key, authenticated by the manifest opening under it
//	    manifest              sealed JSON: run, unit, grade, rows, schema, batches, columns with their file ids
//	    <n>.col               the n-th column; the pseudonyms are the last one, "_subject"
//	<dataset>/stage-<random>/ a push in progress; removed at Open
//
// # Sealed file
//
//	offset  size  field
//	0       4     magic "ODV1"
//	4       2     format 1
//	6       2     suite 1: SM4-GCM, key by HKDF-SM3 from the version key, dataset, version, column and file id
//	8       1     chunk size as a power of two, 16
//	9       7     zero
//	16      16    random file id
//	32      32    SM3 over dataset, version, column and key id, each after its length
//	64      …     chunks of 64 KiB plaintext + 16 bytes tag, the last one shorter, possibly empty
//
// The header is associated data of every chunk; the nonce is the chunk's index (8 bytes), three zeros and a last flag
// (STREAM). Opening authenticates the last chunk first, so a truncated file fails before any of it is used; a chunk or file
// moved anywhere else fails too. The plaintext of a column file is, per record batch, a uint64 length and the encoding of
// the one-column batch (package batch).
//
// Promises: a reader opens only the columns it names, each under its own key; a crash at any point leaves the old or the
// new version; a run id commits once. Errors are Tampered naming dataset, version, column and chunk; Unavailable for the
// disk; Conflict for a second writer or a repeated run. A HEAD put back to an older one opens: the catalogue, which knows
// the version, reports it.
package vault

import (
	"bytes"
	"context"
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

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// SubjectColumn is the internal column of pseudonyms beside the declared ones.
const SubjectColumn = "_subject"

const manifestColumn = "_manifest"

// Keys (版本密钥) is what the vault needs of a key vault.
type Keys interface {
	NewVersionKey(keys.Version) (*keys.Key, error)
	VersionKey(sandbox.KeyID) (*keys.Key, error)
}

// Vault (密封库) is an open folder of datasets. Safe for concurrent use.
type Vault struct {
	dir  string
	keys Keys
	rand io.Reader

	mu      sync.Mutex
	writing map[sandbox.DatasetID]bool
}

// Snapshot (数据快照) is one committed version.
type Snapshot struct {
	Dataset       sandbox.DatasetID
	Version       uint64
	Run           sandbox.RunID
	Rows          int64
	Key           sandbox.KeyID
	KeyCommitment [sm.Size]byte
	Manifest      [sm.Size]byte // SM3 of the sealed manifest file
	Schema        *arrow.Schema // declared columns and SubjectColumn
	Batches       []int64       // rows of each record batch

	manifest manifest
	key      *keys.Key
}

type manifest struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Version uint64            `json:"version"`
	Run     sandbox.RunID     `json:"run"`
	Unit    sandbox.PartyID   `json:"unit"`
	Grade   sandbox.Grade     `json:"grade"`
	Rows    int64             `json:"rows"`
	Batches []int64           `json:"batches"`
	Columns []manifestColumns `json:"columns"`
}

type manifestColumns struct {
	Name     string `json:"name"`
	Type     string `json:"type"` // arrow type name
	Nullable bool   `json:"nullable,omitempty"`
	File     string `json:"file"`
	ID       []byte `json:"id"`
}

type head struct {
	Dataset  sandbox.DatasetID `json:"dataset"`
	Version  uint64            `json:"version"`
	Key      sandbox.KeyID     `json:"key"`
	Manifest string            `json:"manifest"`
}

// Open opens a vault folder, making it if absent, and removes what unfinished pushes left.
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

// sweep removes stages and versions that no HEAD ever named.
func (v *Vault) sweep(d sandbox.DatasetID) error {
	current := uint64(0)
	if h, err := v.head(d); err == nil {
		current = h.Version
	} else if !errors.Is(err, sandbox.NotFound) {
		return err
	}
	entries, err := os.ReadDir(filepath.Join(v.dir, string(d)))
	if err != nil {
		return unavailable("open", string(d), err)
	}
	for _, e := range entries {
		n, isVersion := versionOf(e.Name())
		if strings.HasPrefix(e.Name(), "stage-") || isVersion && n > current {
			if err := os.RemoveAll(filepath.Join(v.dir, string(d), e.Name())); err != nil {
				return unavailable("open", string(d), err)
			}
		}
	}
	return nil
}

func versionOf(name string) (uint64, bool) {
	digits, ok := strings.CutPrefix(name, "v")
	n, err := strconv.ParseUint(digits, 10, 64)
	return n, ok && err == nil && versionDir(n) == name
}

func versionDir(n uint64) string { return fmt.Sprintf("v%08d", n) }

// Datasets lists the datasets that have a folder.
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
	b, err := os.ReadFile(filepath.Join(v.dir, string(d), "HEAD"))
	if errors.Is(err, os.ErrNotExist) {
		return head{}, &sandbox.Error{Op: "vault: head", Kind: sandbox.NotFound, Object: string(d), Detail: "no committed version"}
	}
	if err != nil {
		return head{}, unavailable("head", string(d), err)
	}
	var h head
	if err := strict(b, &h); err != nil || h.Dataset != d || h.Version == 0 {
		return head{}, &sandbox.Error{Op: "vault: head", Kind: sandbox.Tampered, Object: string(d) + " HEAD", Detail: "not the head of this dataset"}
	}
	return h, nil
}

// Head opens the current version of a dataset; NotFound before the first commit.
func (v *Vault) Head(d sandbox.DatasetID) (Snapshot, error) {
	h, err := v.head(d)
	if err != nil {
		return Snapshot{}, err
	}
	s, err := v.Snapshot(d, h.Version)
	if err != nil {
		return Snapshot{}, err
	}
	if hex.EncodeToString(s.Manifest[:]) != h.Manifest || s.Key != h.Key {
		return Snapshot{}, &sandbox.Error{Op: "vault: head", Kind: sandbox.Tampered, Object: string(d) + " HEAD", Detail: "the manifest is not the one HEAD names"}
	}
	return s, nil
}

// Snapshot opens the description of one version.
func (v *Vault) Snapshot(d sandbox.DatasetID, version uint64) (Snapshot, error) {
	if err := sandbox.CheckID("dataset", string(d)); err != nil {
		return Snapshot{}, err
	}
	dir := v.versionPath(d, version)
	id, err := os.ReadFile(filepath.Join(dir, "key"))
	if errors.Is(err, os.ErrNotExist) {
		return Snapshot{}, &sandbox.Error{Op: "vault: snapshot", Kind: sandbox.NotFound, Object: fmt.Sprintf("%s v%d", d, version), Detail: "no such version"}
	}
	if err != nil {
		return Snapshot{}, unavailable("snapshot", string(d), err)
	}
	p := place{dataset: d, version: version, column: manifestColumn}
	if p.key, err = v.keys.VersionKey(sandbox.KeyID(id)); err != nil {
		if errors.Is(err, sandbox.NotFound) {
			return Snapshot{}, &sandbox.Error{Op: "vault: snapshot", Kind: sandbox.Tampered, Object: fmt.Sprintf("%s v%d key", d, version), Detail: "names no key of this domain, or one that was destroyed"}
		}
		return Snapshot{}, err
	}
	path := filepath.Join(dir, "manifest")
	raw, err := os.ReadFile(path)
	if err != nil {
		return Snapshot{}, p.tampered("the file is missing or unreadable")
	}
	r, err := openFile(path, p, nil)
	if err != nil {
		return Snapshot{}, err
	}
	defer r.Close()
	b, err := io.ReadAll(r)
	if err != nil {
		return Snapshot{}, err
	}
	s := Snapshot{Dataset: d, Version: version, Key: p.key.ID(), KeyCommitment: p.key.Commitment(), Manifest: sm.Sum(raw), key: p.key}
	if err := strict(b, &s.manifest); err != nil || s.manifest.Dataset != d || s.manifest.Version != version {
		return Snapshot{}, p.tampered("not the manifest of this version")
	}
	m := s.manifest
	s.Run, s.Rows, s.Batches = m.Run, m.Rows, m.Batches
	var fields []arrow.Field
	for _, c := range m.Columns {
		t := typeNamed(c.Type)
		if t == nil {
			return Snapshot{}, p.tampered("a column of unknown type")
		}
		fields = append(fields, arrow.Field{Name: c.Name, Type: t, Nullable: c.Nullable})
	}
	s.Schema = arrow.NewSchema(fields, nil)
	return s, nil
}

func (v *Vault) versionPath(d sandbox.DatasetID, n uint64) string {
	return filepath.Join(v.dir, string(d), versionDir(n))
}

// subjectType carries pseudonyms.
var subjectType = &arrow.FixedSizeBinaryType{ByteWidth: 16}

func typeNamed(name string) arrow.DataType {
	for _, t := range []arrow.DataType{arrow.BinaryTypes.String, arrow.PrimitiveTypes.Int64, arrow.FixedWidthTypes.Date32, arrow.FixedWidthTypes.Boolean, subjectType} {
		if t.Name() == name {
			return t
		}
	}
	return nil
}

// Check reads every chunk of every version and gives every fault it finds, named. expect, where given, holds the SM3 of
// the manifest of each dataset's current version: a HEAD put back to an older version is a fault too.
func (v *Vault) Check(ctx context.Context, expect map[sandbox.DatasetID][sm.Size]byte) []error {
	var faults []error
	ids, err := v.Datasets()
	if err != nil {
		return []error{err}
	}
	for _, d := range ids {
		h, err := v.Head(d)
		if err != nil {
			if !errors.Is(err, sandbox.NotFound) {
				faults = append(faults, err)
			}
			continue
		}
		if want, ok := expect[d]; ok && want != h.Manifest {
			faults = append(faults, &sandbox.Error{Op: "vault: check", Kind: sandbox.Tampered, Object: string(d) + " HEAD", Detail: "not the version that was committed last: an older one was put back"})
		}
		for n := uint64(1); n <= h.Version; n++ {
			s, err := v.Snapshot(d, n)
			if err != nil {
				if !errors.Is(err, sandbox.NotFound) || n == h.Version {
					faults = append(faults, err)
				}
				continue
			}
			for _, c := range s.manifest.Columns {
				if err := ctx.Err(); err != nil {
					return append(faults, err)
				}
				if err := v.checkColumn(s, c); err != nil {
					faults = append(faults, err)
				}
			}
		}
	}
	return faults
}

func (v *Vault) checkColumn(s Snapshot, c manifestColumns) error {
	r, err := v.column(s, c)
	if err != nil {
		return err
	}
	_, err = io.Copy(io.Discard, struct{ io.Reader }{r})
	if cerr := r.Close(); err == nil {
		err = cerr
	}
	return err
}

func (v *Vault) column(s Snapshot, c manifestColumns) (*fileReader, error) {
	p := place{s.Dataset, s.Version, c.Name, s.key}
	if filepath.Base(c.File) != c.File {
		return nil, p.tampered("its file is inside the version's folder")
	}
	return openFile(filepath.Join(v.versionPath(s.Dataset, s.Version), c.File), p, c.ID)
}

// Committed finds the version that a run committed; NotFound if none.
func (v *Vault) Committed(d sandbox.DatasetID, run sandbox.RunID) (Snapshot, error) {
	h, err := v.head(d)
	if err != nil {
		return Snapshot{}, err
	}
	for n := h.Version; n > 0; n-- {
		s, err := v.Snapshot(d, n)
		if err == nil && s.Run == run {
			return s, nil
		}
		if err != nil && !errors.Is(err, sandbox.NotFound) && !errors.Is(err, sandbox.Tampered) {
			return Snapshot{}, err
		}
	}
	return Snapshot{}, &sandbox.Error{Op: "vault: committed", Kind: sandbox.NotFound, Object: string(run), Detail: "this run committed nothing"}
}

func strict(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("bytes after the value")
	}
	return nil
}
