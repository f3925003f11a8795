package vault

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// runRows is how many rows a batch of a sorted run has: small, because the merge holds one batch of each run.
const runRows = 8192

// Writer (版本写入) stages one version: rows gather in memory, are sorted by pseudonym and sealed in runs, and merged at the
// commit. It ends with Commit, Suspend or Abort and is used by one goroutine. An error of Write or Flush is final: Suspend
// keeps what was durable before.
type Writer struct {
	v      *Vault
	folder string // the stage, then the version's folder
	schema *arrow.Schema
	whole  *arrow.Schema // with the pseudonyms as the last column
	run    sandbox.RunID
	base   uint64 // the version HEAD named when it was begun
	m      manifest
	key    *keys.Key

	held  []arrow.Record // rows not in a run yet
	keys  [][]rowKey     // of each
	order []rowKey       // of all, once sorted
	bytes int64          // that they take

	runs    []sortedRun
	rows    int64
	batches int64 // of the input, all
	durable int64 // of the input, in the stage

	mark   func() []byte
	marked []byte // of the last durable point, when resumed

	observe func(arrow.Record) error
	files   []*columnWriter
	stats   statistics
	snap    Snapshot // as read back from the stage
	err     error
	placed  bool // HEAD names the version
	done    bool
}

// Begin starts the next version of a dataset under a new random key. Several runs may stage at once; the one that commits
// first becomes the version, the others are Conflict then. A run that has committed is Conflict, naming its version; one
// that is staged is to be resumed or dropped. The schema's types are those of batch.Schema.
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
	if err := v.claim(d, run); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			v.release(d, run)
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
	w := &Writer{v: v, folder: filepath.Join(v.dir, string(d), stageDir(run)), schema: schema, run: run, base: h.Version,
		whole: arrow.NewSchema(append(schema.Fields(), arrow.Field{Name: SubjectColumn, Type: subjectType}), nil),
		m:     manifest{Dataset: d, Version: h.Version + 1, Run: run, Unit: unit, Grade: grade, Batches: []int64{}}}
	if err := w.stage(); err != nil {
		return nil, err
	}
	return w, nil
}

// stage makes the stage's folder with its key and an empty manifest.
func (w *Writer) stage() (err error) {
	v, d := w.v, w.m.Dataset
	if _, err := v.fs.Stat(filepath.Join(w.folder, stageFile)); err == nil {
		return &sandbox.Error{Op: "vault: begin", Kind: sandbox.Conflict, Object: string(w.run), Detail: "this run is staged already", Hint: "resume it or drop it"}
	}
	if w.key, err = v.keys.NewVersionKey(keys.Version{Unit: w.m.Unit, Dataset: d, Version: w.m.Version, Grade: w.m.Grade}); err != nil {
		return err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.drop(w.folder, d, w.key.ID()))
		}
	}()
	parent := filepath.Dir(w.folder)
	if err := v.fs.Mkdir(parent, 0o700); err == nil {
		if err := v.fs.SyncDir(v.dir); err != nil {
			return unavailable("begin", string(d), err)
		}
	} else if !errors.Is(err, os.ErrExist) {
		return unavailable("begin", string(d), err)
	}
	if err := v.fs.RemoveAll(w.folder); err != nil { // what a failed drop left of one
		return unavailable("begin", string(d), err)
	}
	if err := v.fs.Mkdir(w.folder, 0o700); err != nil {
		return unavailable("begin", string(d), err)
	}
	b, err := canonical(versionKey{w.key.ID(), w.run})
	if err == nil {
		err = durable.ReplaceIn(v.fs, filepath.Join(w.folder, keyFile), b)
	}
	if err != nil {
		return unavailable("begin", string(d), err)
	}
	if err := w.keepStage(); err != nil {
		return err
	}
	if err := v.fs.SyncDir(parent); err != nil {
		return unavailable("begin", string(d), err)
	}
	return nil
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

// claim makes the caller the one writer of a run.
func (v *Vault) claim(d sandbox.DatasetID, run sandbox.RunID) error {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.writing[claimed{d, run}] {
		return &sandbox.Error{Op: "vault: begin", Kind: sandbox.Conflict, Object: string(run), Detail: "this run is being written", Hint: "wait until its stream has ended"}
	}
	v.writing[claimed{d, run}] = true
	return nil
}

func (v *Vault) release(d sandbox.DatasetID, run sandbox.RunID) {
	v.mu.Lock()
	defer v.mu.Unlock()
	delete(v.writing, claimed{d, run})
}

func (w *Writer) place(column string) place {
	return place{w.m.Dataset, w.m.Version, column, w.key.ID(), w.key}
}

// Schema gives the declared columns.
func (w *Writer) Schema() *arrow.Schema { return w.schema }

// Durable gives the number of input batches that a crash cannot take any more.
func (w *Writer) Durable() int64 { return w.durable }

// Rows gives the number of rows written.
func (w *Writer) Rows() int64 { return w.rows }

// Mark has f give what the caller wants to find with each durable point: it is sealed together with it.
func (w *Writer) Mark(f func() []byte) { w.mark = f }

// Marked gives the mark of the durable point that a run was resumed at.
func (w *Writer) Marked() []byte { return w.marked }

// Observe has f see every batch of the version as it will be stored, at the commit; an error of f stops it.
func (w *Writer) Observe(f func(arrow.Record) error) { w.observe = f }

// Write takes one record batch and the pseudonyms of its rows, one per row in order. The batch's memory is kept until the
// rows are sorted, at a durable point or the commit; it must not be written to meanwhile.
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
	for i, f := range w.schema.Fields() {
		if !f.Nullable && rec.Column(i).NullN() > 0 {
			return &sandbox.Error{Op: "vault: write", Kind: sandbox.Invalid, Object: string(w.m.Dataset) + "." + f.Name, Detail: "nulls only where the schema allows them"}
		}
	}
	raw := append([]byte(nil), unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(subjects))), 16*len(subjects))...)
	data := array.NewData(subjectType, len(subjects), []*memory.Buffer{nil, memory.NewBufferBytes(raw)}, nil, 0, 0)
	defer data.Release()
	pseudonyms := array.NewFixedSizeBinaryData(data)
	defer pseudonyms.Release()
	cols := append(rec.Columns()[:len(rec.Columns()):len(rec.Columns())], pseudonyms)
	source := len(w.held)
	w.held = append(w.held, array.NewRecord(w.whole, cols, rec.NumRows()))
	ks := make([]rowKey, len(subjects))
	for i := range subjects {
		ks[i] = keyOf(&subjects[i], source, i)
	}
	w.keys = append(w.keys, ks)
	w.bytes += sizeOf(cols) + 2*rowKeySize*rec.NumRows()
	w.rows += rec.NumRows()
	w.batches++
	if w.bytes >= w.v.sortBytes {
		w.err = w.spill()
	}
	return w.err
}

// sizeOf gives the bytes that arrays hold on to.
func sizeOf(cols []arrow.Array) (n int64) {
	for _, c := range cols {
		for _, b := range c.Data().Buffers() {
			if b != nil {
				n += int64(b.Len())
			}
		}
	}
	return n
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

// Flush makes everything written so far durable.
func (w *Writer) Flush(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if w.done {
		return &sandbox.Error{Op: "vault: flush", Kind: sandbox.Conflict, Object: string(w.m.Dataset), Detail: "the writer has ended"}
	}
	if w.err == nil && w.durable != w.batches {
		w.err = w.spill()
	}
	return w.err
}

// sort orders the rows in memory.
func (w *Writer) sort() { w.order = sortKeys(w.keys, w.order) }

// spill seals the rows in memory as a run, and makes it part of the stage.
func (w *Writer) spill() error {
	if w.sort(); len(w.order) > 0 {
		name := fmt.Sprintf("%06d%s", len(w.runs), runSuffix)
		f, err := newFileWriter(w.v.fs, filepath.Join(w.folder, name), w.place(name), w.v.rand)
		if err != nil {
			return err
		}
		r := sortedRun{File: name, ID: f.id[:]}
		if err := w.writeRun(f, &r); err != nil {
			_ = f.f.Close()
			return err
		}
		// The manifest must not name what a crash can still take.
		if err := w.v.fs.SyncDir(w.folder); err != nil {
			return unavailable("stage", string(w.m.Dataset), err)
		}
		w.runs = append(w.runs, r)
	}
	w.drain()
	return w.keepStage()
}

func (w *Writer) writeRun(f *fileWriter, r *sortedRun) error {
	g := gatherer{w.whole, w.v.mem, w.held}
	var buf []byte
	for at := 0; at < len(w.order); at += runRows {
		rec := g.gather(w.order[at:min(at+runRows, len(w.order))])
		b, err := batch.Encode(append(buf[:0], make([]byte, 8)...), rec)
		r.Batches = append(r.Batches, rec.NumRows())
		rec.Release()
		if err != nil {
			return err
		}
		buf = b
		binary.LittleEndian.PutUint64(b, uint64(len(b)-8))
		if _, err := f.Write(b); err != nil {
			return err
		}
	}
	clear(buf)
	return f.finish()
}

// drain lets go of the rows in memory.
func (w *Writer) drain() {
	for _, r := range w.held {
		r.Release()
	}
	clear(w.held)
	clear(w.keys)
	w.held, w.keys, w.order, w.bytes = w.held[:0], w.keys[:0], w.order[:0], 0
}

// Suspend ends the writer and keeps what is durable, to be resumed.
func (w *Writer) Suspend() error {
	if w.done {
		return nil
	}
	w.closeFiles()
	w.end()
	return nil
}

// Abort throws the stage away; after Commit or Suspend it does nothing.
func (w *Writer) Abort() error {
	if w.done {
		return nil
	}
	defer w.end()
	w.closeFiles()
	if w.placed {
		return nil
	}
	return w.v.drop(w.folder, w.m.Dataset, w.key.ID())
}

func (w *Writer) closeFiles() {
	for _, c := range w.files {
		_ = c.file.f.Close() // may be closed already
	}
}

// end clears what the writer holds and lets the run go.
func (w *Writer) end() {
	w.done = true
	w.drain()
	w.order = nil
	for _, c := range w.files {
		clear(c.buf[:cap(c.buf)])
		clear(c.file.plain[:cap(c.file.plain)])
	}
	w.files = nil
	w.v.release(w.m.Dataset, w.run)
}
