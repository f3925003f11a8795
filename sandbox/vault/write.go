package vault

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// Writer (版本写入) stages one version. It ends with Commit or Abort.
type Writer struct {
	v       *Vault
	stage   string
	schema  *arrow.Schema
	m       manifest
	key     *keys.Key
	files   []*fileWriter
	buf     []byte
	done    bool
	subject *arrow.Schema
}

// Begin starts the next version of a dataset under a new random key. A dataset has one writer at a time; a run that has
// committed is Conflict, naming its version.
func (v *Vault) Begin(ctx context.Context, unit sandbox.PartyID, d sandbox.DatasetID, run sandbox.RunID, schema *arrow.Schema, grade sandbox.Grade) (w *Writer, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, x := range []struct{ what, id string }{{"dataset", string(d)}, {"run", string(run)}} {
		if err := sandbox.CheckID(x.what, x.id); err != nil {
			return nil, err
		}
	}
	v.mu.Lock()
	if v.writing[d] {
		v.mu.Unlock()
		return nil, &sandbox.Error{Op: "vault: begin", Kind: sandbox.Conflict, Object: string(d), Detail: "another push to this dataset is in progress", Hint: "send the push again when it has ended"}
	}
	v.writing[d] = true
	v.mu.Unlock()
	defer func() {
		if err != nil {
			v.release(d)
		}
	}()
	if s, err := v.Committed(d, run); err == nil {
		return nil, &sandbox.Error{Op: "vault: begin", Kind: sandbox.Conflict, Object: string(run), Detail: fmt.Sprintf("this run committed version %d already", s.Version)}
	} else if !errors.Is(err, sandbox.NotFound) {
		return nil, err
	}
	version := uint64(1)
	if h, err := v.head(d); err == nil {
		version = h.Version + 1
	} else if !errors.Is(err, sandbox.NotFound) {
		return nil, err
	}
	key, err := v.keys.NewVersionKey(keys.Version{Unit: unit, Dataset: d, Version: version, Grade: grade})
	if err != nil {
		return nil, err
	}
	var tag [6]byte
	if _, err := v.rand.Read(tag[:]); err != nil {
		return nil, unavailable("begin", "randomness", err)
	}
	w = &Writer{v: v, stage: filepath.Join(v.dir, string(d), "stage-"+hex.EncodeToString(tag[:])), schema: schema, key: key,
		m:       manifest{Dataset: d, Version: version, Run: run, Unit: unit, Grade: grade, Batches: []int64{}},
		subject: arrow.NewSchema([]arrow.Field{{Name: SubjectColumn, Type: subjectType}}, nil)}
	if err := os.MkdirAll(w.stage, 0o700); err != nil {
		return nil, unavailable("begin", string(d), err)
	}
	for i, f := range append(schema.Fields(), w.subject.Field(0)) {
		c := manifestColumns{Name: f.Name, Type: f.Type.Name(), Nullable: f.Nullable, File: fmt.Sprintf("%03d.col", i)}
		file, err := newFileWriter(filepath.Join(w.stage, c.File), place{d, version, c.Name, key}, v.rand)
		if err != nil {
			return nil, errors.Join(err, w.discard())
		}
		c.ID = file.id[:]
		w.files = append(w.files, file)
		w.m.Columns = append(w.m.Columns, c)
	}
	return w, nil
}

func (v *Vault) release(d sandbox.DatasetID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.writing, d)
}

// Write seals one record batch and the pseudonyms of its rows, one per row in order.
func (w *Writer) Write(ctx context.Context, rec arrow.Record, subjects []sandbox.Pseudonym) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.done || int64(len(subjects)) != rec.NumRows() || !sameTypes(rec.Schema(), w.schema) {
		return &sandbox.Error{Op: "vault: write", Kind: sandbox.Invalid, Object: string(w.m.Dataset), Detail: "a batch has the version's schema and one pseudonym per row"}
	}
	for i := range int(rec.NumCols()) {
		one := array.NewRecord(arrow.NewSchema([]arrow.Field{w.schema.Field(i)}, nil), []arrow.Array{rec.Column(i)}, rec.NumRows())
		err := w.column(i, one)
		one.Release()
		if err != nil {
			return err
		}
	}
	raw := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(subjects))), 16*len(subjects))
	data := array.NewData(subjectType, len(subjects), []*memory.Buffer{nil, memory.NewBufferBytes(raw)}, nil, 0, 0)
	defer data.Release()
	a := array.NewFixedSizeBinaryData(data)
	defer a.Release()
	one := array.NewRecord(w.subject, []arrow.Array{a}, int64(len(subjects)))
	defer one.Release()
	if err := w.column(len(w.files)-1, one); err != nil {
		return err
	}
	w.m.Rows += rec.NumRows()
	w.m.Batches = append(w.m.Batches, rec.NumRows())
	return nil
}

func (w *Writer) column(i int, one arrow.Record) (err error) {
	w.buf = append(w.buf[:0], make([]byte, 8)...)
	if w.buf, err = batch.Encode(w.buf, one); err != nil {
		return err
	}
	binary.LittleEndian.PutUint64(w.buf, uint64(len(w.buf)-8))
	_, err = w.files[i].Write(w.buf)
	return err
}

func sameTypes(a, b *arrow.Schema) bool {
	if a.NumFields() != b.NumFields() {
		return false
	}
	for i := range a.NumFields() {
		if a.Field(i).Name != b.Field(i).Name || !arrow.TypeEqual(a.Field(i).Type, b.Field(i).Type) {
			return false
		}
	}
	return true
}

// Commit makes the staged version the current one: files, manifest and folder durable first, then HEAD swapped whole.
func (w *Writer) Commit(ctx context.Context) (Snapshot, error) {
	if w.done {
		return Snapshot{}, &sandbox.Error{Op: "vault: commit", Kind: sandbox.Conflict, Object: string(w.m.Dataset), Detail: "the writer has ended"}
	}
	if err := ctx.Err(); err != nil {
		return Snapshot{}, errors.Join(err, w.Abort())
	}
	s, err := w.commit()
	if err != nil {
		return Snapshot{}, errors.Join(err, w.Abort())
	}
	w.done = true
	clear(w.buf[:cap(w.buf)])
	w.v.release(w.m.Dataset)
	return s, nil
}

func (w *Writer) commit() (Snapshot, error) {
	for _, f := range w.files {
		if err := f.finish(); err != nil {
			return Snapshot{}, err
		}
	}
	w.files = nil
	d, n := w.m.Dataset, w.m.Version
	mf, err := newFileWriter(filepath.Join(w.stage, "manifest"), place{d, n, manifestColumn, w.key}, w.v.rand)
	if err != nil {
		return Snapshot{}, err
	}
	b, err := json.Marshal(w.m)
	if err != nil {
		return Snapshot{}, err
	}
	if _, err := mf.Write(b); err != nil {
		return Snapshot{}, err
	}
	if err := mf.finish(); err != nil {
		return Snapshot{}, err
	}
	if err := replace(filepath.Join(w.stage, "key"), []byte(w.key.ID())); err != nil { // syncs the stage folder too
		return Snapshot{}, unavailable("commit", string(d), err)
	}
	if err := os.Rename(w.stage, w.v.versionPath(d, n)); err != nil {
		return Snapshot{}, unavailable("commit", string(d), err)
	}
	w.stage = w.v.versionPath(d, n)
	s, err := w.v.Snapshot(d, n)
	if err != nil {
		return Snapshot{}, err
	}
	h, err := json.Marshal(head{d, n, s.Key, hex.EncodeToString(s.Manifest[:])})
	if err != nil {
		return Snapshot{}, err
	}
	// replace syncs the dataset's folder, which holds the renamed version folder as well.
	if err := replace(filepath.Join(w.v.dir, string(d), "HEAD"), h); err != nil {
		return Snapshot{}, unavailable("commit", string(d), err)
	}
	return s, nil
}

// Abort throws the staged version away; after Commit it does nothing.
func (w *Writer) Abort() error {
	if w.done {
		return nil
	}
	w.done = true
	clear(w.buf[:cap(w.buf)])
	defer w.v.release(w.m.Dataset)
	return w.discard()
}

func (w *Writer) discard() error {
	for _, f := range w.files {
		_ = f.f.Close()
	}
	w.files = nil
	if err := os.RemoveAll(w.stage); err != nil {
		return unavailable("abort", string(w.m.Dataset), err)
	}
	return nil
}

// replace makes a file that is there whole or not at all, also after a crash, and syncs its folder.
func replace(path string, b []byte) error {
	tmp := path + ".tmp"
	f, err := os.OpenFile(tmp, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(tmp, path)
	}
	if err != nil {
		_ = os.Remove(tmp)
		return err
	}
	d, err := os.Open(filepath.Dir(path))
	if err != nil {
		return err
	}
	err = d.Sync()
	if cerr := d.Close(); err == nil {
		err = cerr
	}
	return err
}
