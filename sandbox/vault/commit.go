package vault

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"golang.org/x/sync/errgroup"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// columnWriter is a column's file and the buffer its batches are encoded in.
type columnWriter struct {
	schema *arrow.Schema
	file   *fileWriter
	packer packer
	plain  bool // nothing is packed, as in the first versions
	buf    []byte
	end    int64 // of the plaintext so far
}

// write seals a column of one batch, packed where that is shorter, and describes it.
func (c *columnWriter) write(a arrow.Array) (columnStatistics, error) {
	b, st, packed := append(c.buf[:0], make([]byte, 8)...), columnStatistics{}, false
	if c.plain {
		st = describe(a)
	} else {
		b, st, packed = c.packer.pack(b, c.schema.Field(0), a)
	}
	if !packed {
		one := array.NewRecord(c.schema, []arrow.Array{a}, int64(a.Len()))
		defer one.Release()
		var err error
		if b, err = batch.Encode(b, one); err != nil {
			return st, err
		}
	}
	c.buf = b
	c.end += int64(len(b))
	binary.LittleEndian.PutUint64(b, uint64(len(b)-8))
	_, err := c.file.Write(b)
	return st, err
}

// Commit makes the staged rows the current version, clustered by subject: files, manifest and folder durable first, then
// HEAD swapped whole, if it still names the version this one was begun over; else Conflict. After any other error nothing
// of the commit is kept and the writer has ended; what was durable can be resumed. When only the last flush fails, HEAD
// names the version already: the error says so and Committed finds it.
func (w *Writer) Commit(ctx context.Context) (Snapshot, error) {
	if w.done {
		return Snapshot{}, &sandbox.Error{Op: "vault: commit", Kind: sandbox.Conflict, Object: string(w.m.Dataset), Detail: "the writer has ended"}
	}
	err := errors.Join(ctx.Err(), w.err)
	if err == nil {
		err = w.build(ctx)
	}
	if err == nil {
		err = w.publish()
	}
	if err != nil {
		w.closeFiles()
		w.end()
		return Snapshot{}, err
	}
	snap := w.snap
	w.end()
	return snap, nil
}

// build writes the version into the stage's folder and reads it back.
func (w *Writer) build(ctx context.Context) error {
	steps := []func() error{w.sweep, w.create, func() error { return w.arrange(ctx, w.store) }}
	if w.straight { // they are in the columns
		steps = nil
	}
	for _, step := range append(steps, w.finish, w.keepStatistics, w.describe, w.readBack) {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

// publish makes the version the current one. After a crash between or in any two steps, Open finds the old version before
// the last one and the new version after it.
func (w *Writer) publish() error {
	w.v.swapping.RLock() // a backup under way waits for none of it and sees all of it or nothing
	defer w.v.swapping.RUnlock()
	w.v.committing.Lock()
	defer w.v.committing.Unlock()
	for _, step := range []func() error{w.compare, w.index, w.announce, w.move, w.swap} {
		if err := step(); err != nil {
			if !w.placed { // best effort: an entry for a version that is not its run's counts for nothing
				_ = w.v.fs.Remove(filepath.Join(w.beside(runsDir), string(w.run)))
			}
			return err
		}
	}
	w.tidy()
	return nil
}

// create makes a file for every column.
func (w *Writer) create() error {
	for i, f := range w.whole.Fields() {
		c := manifestColumn{Name: f.Name, Type: f.Type.Name(), Nullable: f.Nullable, Metadata: f.Metadata.ToMap(), File: fmt.Sprintf("%03d.col", i)}
		file, err := w.v.newFile(filepath.Join(w.folder, c.File), w.place(c.Name))
		if err != nil {
			return err
		}
		c.ID = file.id[:]
		w.files = append(w.files, &columnWriter{schema: arrow.NewSchema([]arrow.Field{f}, nil), file: file, plain: w.plain})
		w.m.Columns = append(w.m.Columns, c)
	}
	w.stats.Ends = make([][]int64, len(w.files))
	return nil
}

// store seals one batch of the version; columns are sealed side by side.
func (w *Writer) store(rec arrow.Record) error {
	if w.observe != nil {
		declared := array.NewRecord(w.schema, rec.Columns()[:w.schema.NumFields()], rec.NumRows())
		err := w.observe(declared)
		declared.Release()
		if err != nil {
			return err
		}
	}
	var all errgroup.Group
	all.SetLimit(runtime.GOMAXPROCS(0))
	columns := make([]columnStatistics, len(rec.Columns()))
	for i, a := range rec.Columns() {
		all.Go(func() (err error) {
			columns[i], err = w.files[i].write(a)
			return err
		})
	}
	w.stats.add(rec, columns[:len(columns)-1])
	if err := all.Wait(); err != nil {
		return err
	}
	for i, c := range w.files {
		w.stats.Ends[i] = append(w.stats.Ends[i], c.end)
	}
	w.m.Rows += rec.NumRows()
	w.m.Batches = append(w.m.Batches, rec.NumRows())
	return nil
}

// finish ends the column files together: each waits for the disk.
func (w *Writer) finish() error {
	var all errgroup.Group
	for _, c := range w.files {
		all.Go(c.file.finish)
	}
	return all.Wait()
}

// describe writes the manifest and makes the folder durable.
func (w *Writer) describe() error {
	w.m.Clustered = true
	if w.mark != nil {
		w.m.Mark = w.mark()
	}
	b, err := json.Marshal(w.m)
	if err != nil {
		return unavailable("commit", string(w.m.Dataset), err)
	}
	if _, err := w.seal(filepath.Join(w.folder, manifestFile), manifestName, b); err != nil {
		return err
	}
	if err := w.v.fs.SyncDir(w.folder); err != nil {
		return unavailable("commit", string(w.m.Dataset), err)
	}
	return nil
}

// readBack opens the stage as a reader will: what cannot be read is not committed.
func (w *Writer) readBack() (err error) {
	w.snap, err = w.v.open(w.folder, w.m.Dataset, w.m.Version)
	return err
}

// compare holds HEAD to the version this one was begun over.
func (w *Writer) compare() error {
	h, err := w.v.head(w.m.Dataset)
	if err != nil && !errors.Is(err, sandbox.NotFound) {
		return err
	}
	if h.Version != w.base {
		return &sandbox.Error{Op: "vault: commit", Kind: sandbox.Conflict, Object: string(w.m.Dataset),
			Detail: fmt.Sprintf("another run became version %d meanwhile; this one was begun over version %d", h.Version, w.base), Hint: "push again"}
	}
	return nil
}

// index writes which version the run becomes, so that a run is found without reading every version.
func (w *Writer) index() error {
	dir := w.beside(runsDir)
	if err := w.v.fs.MkdirAll(dir, 0o700); err != nil {
		return unavailable("commit", string(w.m.Dataset), err)
	}
	b, err := canonical(runVersion{w.run, w.m.Version})
	if err == nil {
		err = durable.ReplaceIn(w.v.fs, filepath.Join(dir, string(w.run)), b)
	}
	if err != nil {
		return unavailable("commit", string(w.m.Dataset), err)
	}
	return nil
}

// announce writes the next HEAD beside the current one, so that Open knows the version's folder for an unfinished commit.
func (w *Writer) announce() error {
	d := w.m.Dataset
	b, err := canonical(head{d, w.m.Version, w.snap.Key, hex.EncodeToString(w.snap.Manifest[:])})
	if err == nil {
		err = durable.ReplaceIn(w.v.fs, w.beside(nextFile), b)
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
	if err := w.v.fs.Rename(w.folder, to); err != nil {
		return unavailable("commit", string(w.m.Dataset), err)
	}
	if err := w.v.fs.SyncDir(w.beside("")); err != nil {
		return errors.Join(unavailable("commit", string(w.m.Dataset), err), w.v.fs.Rename(to, w.folder))
	}
	w.folder = to
	return nil
}

func (w *Writer) swap() error {
	if err := w.v.fs.Rename(w.beside(nextFile), w.beside(headFile)); err != nil {
		back := filepath.Join(w.v.dir, string(w.m.Dataset), stageDir(w.run))
		rerr := w.v.fs.Rename(w.folder, back)
		if rerr == nil {
			w.folder = back
		}
		return errors.Join(unavailable("commit", string(w.m.Dataset), err), rerr)
	}
	w.placed = true
	if err := w.v.fs.SyncDir(w.beside("")); err != nil {
		return &sandbox.Error{Op: "vault: commit", Kind: sandbox.Unavailable, Object: string(w.m.Dataset), Err: err,
			Detail: fmt.Sprintf("version %d is current, but the disk did not confirm it", w.m.Version), Hint: "check the disk, then ask for the run's version before sending it again"}
	}
	return nil
}

// tidy removes the runs from the committed version's folder; what stays is removed when the vault is next opened.
func (w *Writer) tidy() { _ = w.v.untidied(w.folder) }

// untidied removes a stage's own files from a version's folder.
func (v *Vault) untidied(folder string) error {
	entries, err := v.fs.ReadDir(folder)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if name := e.Name(); name == stageFile || strings.HasSuffix(name, runSuffix) || strings.HasSuffix(name, ".tmp") {
			if err := v.fs.Remove(filepath.Join(folder, name)); err != nil {
				return err
			}
		}
	}
	return nil
}
