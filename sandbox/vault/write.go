package vault

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"golang.org/x/sync/errgroup"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// Writer (版本写入) stages one version. It ends with Commit or Abort and is used by one goroutine. An error of Write is final.
type Writer struct {
	v      *Vault
	folder string // the stage, then the version's folder
	schema *arrow.Schema
	m      manifest
	key    *keys.Key
	files  []*columnWriter
	snap   Snapshot // as read back from the stage
	err    error    // of a write: files may disagree
	placed bool     // HEAD names the version
	done   bool
}

// columnWriter is a column's file and the buffer its batches are encoded in.
type columnWriter struct {
	schema *arrow.Schema
	file   *fileWriter
	buf    []byte
}

// Begin starts the next version of a dataset under a new random key. A dataset has one writer at a time; a run that has
// committed is Conflict, naming its version. The schema's types are those of batch.Schema.
func (v *Vault) Begin(ctx context.Context, unit sandbox.PartyID, d sandbox.DatasetID, run sandbox.RunID, schema *arrow.Schema, grade sandbox.Grade) (_ *Writer, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, x := range []struct{ what, id string }{{"dataset", string(d)}, {"run", string(run)}} {
		if err := sandbox.CheckID(x.what, x.id); err != nil {
			return nil, err
		}
	}
	if err := checkSchema(d, schema); err != nil {
		return nil, err
	}
	if !v.claim(d) {
		return nil, &sandbox.Error{Op: "vault: begin", Kind: sandbox.Conflict, Object: string(d), Detail: "another push to this dataset is in progress", Hint: "send the push again when it has ended"}
	}
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
	h, err := v.head(d)
	if err != nil && !errors.Is(err, sandbox.NotFound) {
		return nil, err
	}
	version := h.Version + 1
	key, err := v.keys.NewVersionKey(keys.Version{Unit: unit, Dataset: d, Version: version, Grade: grade})
	if err != nil {
		return nil, err
	}
	w := &Writer{v: v, schema: schema, key: key,
		m: manifest{Dataset: d, Version: version, Run: run, Unit: unit, Grade: grade, Batches: []int64{}}}
	if err := w.stage(); err != nil {
		return nil, errors.Join(err, w.discard())
	}
	return w, nil
}

func checkSchema(d sandbox.DatasetID, schema *arrow.Schema) error {
	seen := map[string]bool{}
	for _, f := range schema.Fields() {
		if err := sandbox.CheckID("column of "+string(d), f.Name); err != nil {
			return err
		}
		t := typeNamed(f.Type.Name())
		if seen[f.Name] || t == nil || t == subjectType || !arrow.TypeEqual(t, f.Type) {
			return &sandbox.Error{Op: "vault: begin", Kind: sandbox.Invalid, Object: string(d) + "." + f.Name, Detail: "a column is named once and is text, int64, date32 or bool"}
		}
		seen[f.Name] = true
	}
	return nil
}

// claim makes the caller the one writer of a dataset.
func (v *Vault) claim(d sandbox.DatasetID) bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.writing[d] {
		return false
	}
	v.writing[d] = true
	return true
}

func (v *Vault) release(d sandbox.DatasetID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.writing, d)
}

// stage makes the stage's folder and a file per column.
func (w *Writer) stage() error {
	var tag [8]byte
	if _, err := io.ReadFull(w.v.rand, tag[:]); err != nil {
		return unavailable("begin", "randomness", err)
	}
	d := string(w.m.Dataset)
	if err := os.Mkdir(filepath.Join(w.v.dir, d), 0o700); err == nil {
		if err := syncDir(w.v.dir); err != nil {
			return unavailable("begin", d, err)
		}
	} else if !errors.Is(err, os.ErrExist) {
		return unavailable("begin", d, err)
	}
	w.folder = filepath.Join(w.v.dir, d, stageName+hex.EncodeToString(tag[:]))
	if err := os.Mkdir(w.folder, 0o700); err != nil {
		return unavailable("begin", d, err)
	}
	for i, f := range append(w.schema.Fields(), arrow.Field{Name: SubjectColumn, Type: subjectType}) {
		c := manifestColumn{Name: f.Name, Type: f.Type.Name(), Nullable: f.Nullable, Metadata: f.Metadata.ToMap(), File: fmt.Sprintf("%03d.col", i)}
		file, err := newFileWriter(filepath.Join(w.folder, c.File), w.place(c.Name), w.v.rand)
		if err != nil {
			return err
		}
		c.ID = file.id[:]
		w.files = append(w.files, &columnWriter{schema: arrow.NewSchema([]arrow.Field{f}, nil), file: file})
		w.m.Columns = append(w.m.Columns, c)
	}
	return nil
}

func (w *Writer) place(column string) place {
	return place{w.m.Dataset, w.m.Version, column, w.key.ID(), w.key}
}

// Write seals one record batch and the pseudonyms of its rows, one per row in order; columns are sealed in parallel.
func (w *Writer) Write(ctx context.Context, rec arrow.Record, subjects []sandbox.Pseudonym) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.err != nil {
		return w.err
	}
	if w.done || int64(len(subjects)) != rec.NumRows() || !sameTypes(rec.Schema(), w.schema) {
		return &sandbox.Error{Op: "vault: write", Kind: sandbox.Invalid, Object: string(w.m.Dataset), Detail: "a batch has the version's schema and one pseudonym per row"}
	}
	raw := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(subjects))), 16*len(subjects))
	data := array.NewData(subjectType, len(subjects), []*memory.Buffer{nil, memory.NewBufferBytes(raw)}, nil, 0, 0)
	defer data.Release()
	pseudonyms := array.NewFixedSizeBinaryData(data)
	defer pseudonyms.Release()
	var all errgroup.Group
	all.SetLimit(runtime.GOMAXPROCS(0))
	for i, a := range append(rec.Columns()[:len(rec.Columns()):len(rec.Columns())], pseudonyms) {
		all.Go(func() error { return w.files[i].write(a) })
	}
	if w.err = all.Wait(); w.err != nil {
		return w.err
	}
	w.m.Rows += rec.NumRows()
	w.m.Batches = append(w.m.Batches, rec.NumRows())
	return nil
}

func (c *columnWriter) write(a arrow.Array) error {
	one := array.NewRecord(c.schema, []arrow.Array{a}, int64(a.Len()))
	defer one.Release()
	b, err := batch.Encode(append(c.buf[:0], make([]byte, 8)...), one)
	if err != nil {
		return err
	}
	c.buf = b
	binary.LittleEndian.PutUint64(b, uint64(len(b)-8))
	_, err = c.file.Write(b)
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

// Commit makes the staged version the current one: files, manifest and folder durable first, then HEAD swapped whole. On
// an error nothing is kept, except when only the last flush failed: then HEAD names the version already, the error says so
// and Committed finds it.
func (w *Writer) Commit(ctx context.Context) (Snapshot, error) {
	if w.done {
		return Snapshot{}, &sandbox.Error{Op: "vault: commit", Kind: sandbox.Conflict, Object: string(w.m.Dataset), Detail: "the writer has ended"}
	}
	err := errors.Join(ctx.Err(), w.err)
	for _, step := range w.steps() {
		if err == nil {
			err = step()
		}
	}
	if err != nil {
		return Snapshot{}, errors.Join(err, w.Abort())
	}
	w.end()
	return w.snap, nil
}

// steps are Commit, in order. After a crash between or in any two, Open finds the old version before the last one and the
// new version after it.
func (w *Writer) steps() []func() error {
	return []func() error{w.finish, w.describe, w.readBack, w.announce, w.move, w.swap}
}

// finish ends the column files together: each waits for the disk.
func (w *Writer) finish() error {
	var all errgroup.Group
	for _, c := range w.files {
		all.Go(c.file.finish)
	}
	return all.Wait()
}

// describe writes manifest and key, and makes the folder durable.
func (w *Writer) describe() error {
	b, err := json.Marshal(w.m)
	if err != nil {
		return unavailable("commit", string(w.m.Dataset), err)
	}
	f, err := newFileWriter(filepath.Join(w.folder, manifestFile), w.place(manifestName), w.v.rand)
	if err != nil {
		return err
	}
	w.files = append(w.files, &columnWriter{file: f}) // so that Abort closes it
	if _, err := f.Write(b); err != nil {
		return err
	}
	if err := f.finish(); err != nil {
		return err
	}
	if b, err = json.Marshal(versionKey{w.key.ID(), w.m.Run}); err == nil {
		if err = writeFile(filepath.Join(w.folder, keyFile), b); err == nil {
			err = syncDir(w.folder)
		}
	}
	if err != nil {
		return unavailable("commit", string(w.m.Dataset), err)
	}
	return nil
}

// readBack opens the stage as a reader will: what cannot be read is not committed.
func (w *Writer) readBack() (err error) {
	w.snap, err = w.v.open(w.folder, w.m.Dataset, w.m.Version)
	return err
}

// announce writes the next HEAD beside the current one, so that Open knows the version's folder for an unfinished commit.
func (w *Writer) announce() error {
	d := w.m.Dataset
	b, err := json.Marshal(head{d, w.m.Version, w.snap.Key, hex.EncodeToString(w.snap.Manifest[:])})
	if err == nil {
		if err = writeFile(w.beside(nextFile), b); err == nil {
			err = syncDir(w.beside(""))
		}
	}
	if err != nil {
		return unavailable("commit", string(d), err)
	}
	return nil
}

func (w *Writer) beside(name string) string {
	return filepath.Join(w.v.dir, string(w.m.Dataset), name)
}

func (w *Writer) move() error {
	to := w.v.versionPath(w.m.Dataset, w.m.Version)
	if err := os.Rename(w.folder, to); err != nil {
		return unavailable("commit", string(w.m.Dataset), err)
	}
	w.folder = to
	if err := syncDir(w.beside("")); err != nil {
		return unavailable("commit", string(w.m.Dataset), err)
	}
	return nil
}

func (w *Writer) swap() error {
	if err := os.Rename(w.beside(nextFile), w.beside(headFile)); err != nil {
		return unavailable("commit", string(w.m.Dataset), err)
	}
	w.placed = true
	if err := syncDir(w.beside("")); err != nil {
		return &sandbox.Error{Op: "vault: commit", Kind: sandbox.Unavailable, Object: string(w.m.Dataset), Err: err,
			Detail: fmt.Sprintf("version %d is current, but the disk did not confirm it", w.m.Version), Hint: "check the disk, then ask for the run's version before sending it again"}
	}
	return nil
}

// Abort throws the staged version away; after Commit it does nothing.
func (w *Writer) Abort() error {
	if w.done {
		return nil
	}
	defer w.end()
	return w.discard()
}

// end clears what the writer holds and lets the next one begin.
func (w *Writer) end() {
	w.done = true
	for _, c := range w.files {
		clear(c.buf[:cap(c.buf)])
		clear(c.file.plain[:cap(c.file.plain)])
	}
	w.files = nil
	w.v.release(w.m.Dataset)
}

// discard removes the version, then its announcement, unless HEAD names it.
func (w *Writer) discard() error {
	for _, c := range w.files {
		_ = c.file.f.Close() // may be closed already
	}
	if w.placed || w.folder == "" {
		return nil
	}
	for _, path := range []string{w.folder, w.beside(nextFile)} {
		if err := os.RemoveAll(path); err != nil {
			return unavailable("abort", string(w.m.Dataset), err)
		}
	}
	return nil
}

// writeFile writes a file and makes its bytes durable; its name is once its folder is synced.
func writeFile(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_CREATE|os.O_WRONLY|os.O_TRUNC, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(b)
	if err == nil {
		err = f.Sync()
	}
	return errors.Join(err, f.Close())
}

func syncDir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
