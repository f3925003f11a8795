package vault

import (
	"errors"
	"os"
	"path/filepath"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

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
	Mark          []byte        // the writer's own, of all that it wrote

	columns []manifestColumn
	stats   []byte // id of the statistics
	key     *keys.Key
	known   *statistics // of a snapshot that a ticket opened, of its columns
}

// opens says whether the snapshot came from a vault or a ticket with what opens its columns.
func (s Snapshot) opens() bool { return s.key != nil || s.known != nil }

const (
	manifestName = "_manifest" // in the place of a column
	manifestFile = "manifest"
	keyFile      = "key"
)

type manifest struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Version uint64            `json:"version"`
	Run     sandbox.RunID     `json:"run"`
	Unit    sandbox.PartyID   `json:"unit"`
	Grade   sandbox.Grade     `json:"grade"`
	Rows    int64             `json:"rows"`
	Batches []int64           `json:"batches"`
	Columns []manifestColumn  `json:"columns"`
	// Clustered says that each subject's rows stand together; Statistics is the id of their file.
	Clustered  bool   `json:"clustered,omitempty"`
	Statistics []byte `json:"statistics"`
	Mark       []byte `json:"mark,omitempty"` // the caller's own, of the whole run
}

type manifestColumn struct {
	Name     string            `json:"name"`
	Type     string            `json:"type"` // arrow type name
	Nullable bool              `json:"nullable,omitempty"`
	Metadata map[string]string `json:"metadata,omitempty"`
	File     string            `json:"file,omitempty"`
	ID       []byte            `json:"id,omitempty"`

	granted []byte // the file's key, of a snapshot that a ticket opened
}

// versionKey is the readable file of a version: what must be known when its key is gone.
type versionKey struct {
	Key sandbox.KeyID `json:"key"`
	Run sandbox.RunID `json:"run"`
}

// open opens the description of the version in a folder. With the error Expired comes what is known without the key.
func (v *Vault) open(dir string, d sandbox.DatasetID, version uint64) (Snapshot, error) {
	p := place{dataset: d, version: version, column: manifestName}
	b, err := durable.ReadFile(v.fs, filepath.Join(dir, keyFile))
	var k versionKey
	p.column = keyFile
	if errors.Is(err, os.ErrNotExist) {
		if s, ok := v.gone(dir, d, version); ok {
			return s, &sandbox.Error{Op: "vault: open", Kind: sandbox.Expired, Object: p.String(), Detail: "the version's key was destroyed and its files were removed"}
		}
	}
	if err != nil {
		return Snapshot{}, p.unread(err, "the file is missing")
	}
	if strict(b, &k) != nil {
		return Snapshot{}, p.tampered("the file was changed")
	}
	p.column = manifestName
	p.keyID = k.Key
	raw, err := durable.ReadFile(v.fs, filepath.Join(dir, manifestFile))
	if err != nil {
		return Snapshot{}, p.unread(err, "the file is missing")
	}
	if p.key, err = v.keys.VersionKey(k.Key); errors.Is(err, sandbox.NotFound) {
		if len(raw) < headerSize || [headerSize]byte(raw) != p.header(raw[16:16+idSize]) {
			return Snapshot{}, p.tampered("the version names a key it was not sealed under")
		}
		return Snapshot{Dataset: d, Version: version, Run: k.Run, Key: k.Key},
			&sandbox.Error{Op: "vault: open", Kind: sandbox.Expired, Object: p.String(), Detail: "the version's key was destroyed"}
	} else if err != nil {
		return Snapshot{}, err
	}
	f, err := openSealed(v.fs, filepath.Join(dir, manifestFile), p, nil)
	if err != nil {
		return Snapshot{}, err
	}
	defer f.Close()
	if b, err = f.all(); err != nil {
		return Snapshot{}, err
	}
	var m manifest
	if err := strict(b, &m); err != nil || m.Dataset != d || m.Version != version {
		return Snapshot{}, p.tampered("not the manifest of this version")
	}
	if m.Run != k.Run {
		p.column = keyFile
		return Snapshot{}, p.tampered("the file names another run than the manifest")
	}
	s := Snapshot{Dataset: d, Version: version, Run: m.Run, Rows: m.Rows, Key: k.Key, KeyCommitment: p.key.Commitment(),
		Manifest: sm.Sum(raw), Batches: m.Batches, Mark: m.Mark, columns: m.Columns, stats: m.Statistics, key: p.key}
	fields := make([]arrow.Field, len(m.Columns))
	for i, c := range m.Columns {
		t := typeNamed(c.Type)
		if t == nil || filepath.Base(c.File) != c.File {
			return Snapshot{}, p.tampered("a column of unknown type or place")
		}
		fields[i] = arrow.Field{Name: c.Name, Type: t, Nullable: c.Nullable, Metadata: arrow.MetadataFrom(c.Metadata)}
	}
	s.Schema = arrow.NewSchema(fields, nil)
	return s, nil
}

// openColumn opens the file of one column.
func (v *Vault) openColumn(s Snapshot, c manifestColumn) (*sealedFile, error) {
	p := place{s.Dataset, s.Version, c.Name, s.Key, s.key, c.granted}
	return openSealed(v.fs, v.columnPath(s, c), p, c.ID)
}

func (v *Vault) columnPath(s Snapshot, c manifestColumn) string {
	return filepath.Join(v.versionPath(s.Dataset, s.Version), c.File)
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
