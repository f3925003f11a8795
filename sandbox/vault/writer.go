package vault

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"path/filepath"

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

	held     held  // rows not in a run yet
	order    order // of them, where they need one
	spreader spreader

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

	straight    bool // batches go into the columns at once
	plain       bool // for tests: as the first versions were
	lastSubject sandbox.Pseudonym
	done        bool
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
	if err := v.room(string(d), 0); err != nil { // before a key is made for it
		return err
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
	return place{w.m.Dataset, w.m.Version, column, w.key.ID(), w.key, nil}
}

// Schema gives the declared columns.
func (w *Writer) Schema() *arrow.Schema { return w.schema }

// Durable gives the number of input batches that a crash cannot take any more.
func (w *Writer) Durable() int64 { return w.durable }

// Rows gives the number of rows written.
func (w *Writer) Rows() int64 { return w.rows }

// Mark has f give what the caller wants to find with each durable point, and with the version: it is sealed together with it.
func (w *Writer) Mark(f func() []byte) { w.mark = f }

// Marked gives the mark of the durable point that a run was resumed at.
func (w *Writer) Marked() []byte { return w.marked }

// Observe has f see every batch of the version as it will be stored, at the commit; an error of f stops it. The batch's
// memory is used again when f has returned.
func (w *Writer) Observe(f func(arrow.Record) error) { w.observe = f }

// Write takes one record batch and the pseudonyms of its rows, one per row in order. The memory of both is kept until the
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
		if rec.Column(i).NullN() > 0 && !f.Nullable {
			return &sandbox.Error{Op: "vault: write", Kind: sandbox.Invalid, Object: string(w.m.Dataset) + "." + f.Name, Detail: "nulls only where the schema allows them"}
		}
	}
	if len(subjects) == 0 {
		w.batches++
		return nil
	}
	data := array.NewData(subjectType, len(subjects), []*memory.Buffer{nil, memory.NewBufferBytes(pseudonymBytes(subjects))}, nil, 0, 0)
	defer data.Release()
	pseudonyms := array.NewFixedSizeBinaryData(data)
	defer pseudonyms.Release()
	cols := append(rec.Columns()[:len(rec.Columns()):len(rec.Columns())], pseudonyms)
	if w.straight {
		whole := array.NewRecord(w.whole, cols, rec.NumRows())
		defer whole.Release()
		w.err = w.direct(ctx, whole, subjects)
		return w.err
	}
	size, ordered := sizeOf(cols), w.held.follow(subjects)
	full := w.held.bytes+size > maxHeld || !ordered && !w.held.scattered && w.size(true) >= w.v.sortBytes
	if full && w.held.rows() > 0 {
		// What came in order so far becomes a run of its own: there is no room to sort it with what comes now. It is durable
		// with this batch only, since a mark speaks of all that was written.
		if w.err = w.keepRun(); w.err != nil {
			return w.err
		}
		ordered = inOrder(subjects)
	}
	w.held.scattered = !ordered
	w.held.add(array.NewRecord(w.whole, cols, rec.NumRows()), subjects, size)
	w.rows += rec.NumRows()
	w.batches++
	if full || w.size(w.held.scattered) >= w.v.sortBytes {
		w.err = w.spill()
	}
	return w.err
}

// size is what the rows in memory take, with what sorting them takes: their order, and a copy of all but the pseudonyms.
func (w *Writer) size(scattered bool) int64 {
	sorting := orderSize*int64(cap(w.order.rows)) + w.spreader.kept()
	if rows := int64(w.held.rows()); scattered {
		sorting = max(sorting, orderSize*rows+w.held.bytes-16*rows)
	}
	return w.held.bytes + sorting
}

// maxHeld is more than texts in memory have together: a column of them is addressed by 31 bits.
const maxHeld = 1<<31 - 1

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
	if w.done || w.straight {
		return &sandbox.Error{Op: "vault: flush", Kind: sandbox.Conflict, Object: string(w.m.Dataset), Detail: "the writer has ended, or stores rows straight"}
	}
	if w.err == nil && w.durable != w.batches {
		w.err = w.spill()
	}
	return w.err
}

// lineup puts the rows in memory in order; apart, the records it gives outlive each other.
func (w *Writer) lineup(apart bool) *lineup {
	l := &lineup{held: &w.held, order: &w.order, gather: gatherer{schema: w.whole, mem: w.v.mem, sources: w.held.recs, apart: apart}}
	if w.held.scattered {
		w.order.sort(&w.held)
		w.spreader.schema, w.spreader.mem = w.whole, w.v.mem
		l.spread = w.spreader.spread(&w.held, &w.order)
		l.gather.sources = []arrow.Record{l.spread}
		l.gather.address = address{w.order.mask, w.order.mask, 63}
	}
	return l
}

// spill seals the rows in memory as a run, and makes it part of the stage.
func (w *Writer) spill() error {
	if w.held.rows() > 0 {
		if err := w.keepRun(); err != nil {
			return err
		}
	}
	return w.keepStage()
}

// keepRun seals the rows in memory as a run, which the stage does not name yet.
func (w *Writer) keepRun() error {
	r, err := w.newRun(fmt.Sprintf("%06d%s", len(w.runs), runSuffix))
	if err != nil {
		return err
	}
	l := w.lineup(false)
	for at, end := 0, w.held.rows(); at < end && err == nil; at += runRows {
		rec := l.take(at, min(at+runRows, end))
		err = r.put(rec)
		rec.Release()
	}
	l.forget()
	if err == nil {
		err = r.finish()
	}
	if err != nil {
		_ = r.file.f.Close()
		return err
	}
	// The manifest must not name what a crash can still take.
	if err := w.v.fs.SyncDir(w.folder); err != nil {
		return unavailable("stage", string(w.m.Dataset), err)
	}
	w.runs = append(w.runs, r.run)
	w.held.drain()
	return nil
}

// runWriter seals a sorted run.
type runWriter struct {
	file *fileWriter
	run  sortedRun
	buf  []byte
}

func (w *Writer) newRun(name string) (*runWriter, error) {
	f, err := w.v.newFile(filepath.Join(w.folder, name), w.place(name))
	if err != nil {
		return nil, err
	}
	return &runWriter{file: f, run: sortedRun{File: name, ID: f.id[:]}}, nil
}

func (r *runWriter) put(rec arrow.Record) error {
	b, err := batch.Encode(append(r.buf[:0], make([]byte, 8)...), rec)
	if err != nil {
		return err
	}
	r.buf = b
	r.run.Batches = append(r.run.Batches, rec.NumRows())
	binary.LittleEndian.PutUint64(b, uint64(len(b)-8))
	_, err = r.file.Write(b)
	return err
}

func (r *runWriter) finish() error {
	clear(r.buf[:cap(r.buf)])
	return r.file.finish()
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
	w.held.drain()
	w.order.forget()
	w.spreader.forget()
	for _, c := range w.files {
		clear(c.buf[:cap(c.buf)])
		c.packer.forget()
		clear(c.file.plain[:cap(c.file.plain)])
	}
	w.files = nil
	w.v.release(w.m.Dataset, w.run)
}
