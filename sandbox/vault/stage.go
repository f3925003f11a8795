package vault

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/sandbox"
)

const (
	stageFile = "stage" // sealed: what of a run is durable
	runSuffix = ".run"  // sealed: rows of a run, sorted
)

// stageManifest is what a stage holds durably.
type stageManifest struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Version uint64            `json:"version"`
	Run     sandbox.RunID     `json:"run"`
	Unit    sandbox.PartyID   `json:"unit"`
	Grade   sandbox.Grade     `json:"grade"`
	Columns []manifestColumn  `json:"columns"` // without files
	Batches int64             `json:"batches"` // of the input that are in the runs
	Rows    int64             `json:"rows"`
	Runs    []sortedRun       `json:"runs"`
	Mark    []byte            `json:"mark,omitempty"` // the caller's own, of the same point
}

// sortedRun is a file of rows in the order of their pseudonyms.
type sortedRun struct {
	File    string  `json:"file"`
	ID      []byte  `json:"id"`
	Batches []int64 `json:"batches"` // rows of each
}

// Stage (暂存) is a run that was begun and has not ended.
type Stage struct {
	Dataset sandbox.DatasetID
	Run     sandbox.RunID
	Key     sandbox.KeyID
	At      time.Time // of the last durable point
}

func stageDir(run sandbox.RunID) string { return stageName + string(run) }

// Stages lists the runs that wait to be resumed or dropped.
func (v *Vault) Stages() ([]Stage, error) {
	ids, err := v.Datasets()
	if err != nil {
		return nil, err
	}
	var out []Stage
	for _, d := range ids {
		entries, err := v.fs.ReadDir(filepath.Join(v.dir, string(d)))
		if err != nil {
			return nil, unavailable("list", string(d), err)
		}
		for _, e := range entries {
			run, ok := strings.CutPrefix(e.Name(), stageName)
			if !ok {
				continue
			}
			s := Stage{Dataset: d, Run: sandbox.RunID(run)}
			dir := filepath.Join(v.dir, string(d), e.Name())
			if b, err := durable.ReadFile(v.fs, filepath.Join(dir, keyFile)); err == nil {
				var k versionKey
				if strict(b, &k) == nil {
					s.Key = k.Key
				}
			}
			if info, err := v.fs.Stat(filepath.Join(dir, stageFile)); err == nil {
				s.At = info.ModTime()
			}
			out = append(out, s)
		}
	}
	return out, nil
}

// Resume opens the stage of a run that was begun before, in this process or an earlier one; NotFound for none. What was not
// durable when it ended is gone: the sender goes on behind Writer.Durable. A stage that was changed on the disk is
// Tampered; it can be dropped.
func (v *Vault) Resume(ctx context.Context, d sandbox.DatasetID, run sandbox.RunID) (_ *Writer, err error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	for _, x := range []struct{ what, id string }{{"dataset", string(d)}, {"run", string(run)}} {
		if err := sandbox.CheckID(x.what, x.id); err != nil {
			return nil, err
		}
	}
	if err := v.claim(d, run); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			v.release(d, run)
		}
	}()
	dir := filepath.Join(v.dir, string(d), stageDir(run))
	p := place{dataset: d, column: keyFile}
	b, err := durable.ReadFile(v.fs, filepath.Join(dir, keyFile))
	if errors.Is(err, os.ErrNotExist) {
		return nil, &sandbox.Error{Op: "vault: resume", Kind: sandbox.NotFound, Object: string(run), Detail: "nothing is staged for this run"}
	}
	var k versionKey
	if err != nil {
		return nil, unavailable("resume", string(d), err)
	}
	if strict(b, &k) != nil || k.Run != run {
		return nil, p.tampered("the stage's key file was changed")
	}
	key, err := v.keys.VersionKey(k.Key)
	if errors.Is(err, sandbox.NotFound) {
		return nil, p.tampered("the stage names a key that is gone")
	}
	if err != nil {
		return nil, err
	}
	// The version is bound into the file: the one after HEAD is tried; a stage begun before another run's commit is behind.
	h, err := v.head(d)
	if err != nil && !errors.Is(err, sandbox.NotFound) {
		return nil, err
	}
	w := &Writer{v: v, folder: dir, key: key, run: run, base: h.Version}
	w.m = manifest{Dataset: d, Version: h.Version + 1}
	if err := w.load(); err != nil {
		return nil, err
	}
	return w, nil
}

// load reads the stage's manifest.
func (w *Writer) load() error {
	p := w.place(stageFile)
	f, err := openSealed(w.v.fs, filepath.Join(w.folder, stageFile), p, nil)
	if err != nil {
		return w.overtaken(err)
	}
	defer f.Close()
	b, err := f.all()
	if err != nil {
		return err
	}
	var m stageManifest
	if strict(b, &m) != nil || m.Dataset != w.m.Dataset || m.Version != w.m.Version || m.Run != w.run {
		return p.tampered("not the stage of this run")
	}
	w.m.Unit, w.m.Grade, w.m.Run = m.Unit, m.Grade, m.Run
	w.runs, w.durable, w.batches, w.rows, w.marked = m.Runs, m.Batches, m.Batches, m.Rows, m.Mark
	fields := make([]arrow.Field, len(m.Columns))
	for i, c := range m.Columns {
		t := typeNamed(c.Type)
		if t == nil {
			return p.tampered("a column of unknown type")
		}
		fields[i] = arrow.Field{Name: c.Name, Type: t, Nullable: c.Nullable, Metadata: arrow.MetadataFrom(c.Metadata)}
	}
	w.schema = arrow.NewSchema(fields[:len(fields)-1], nil)
	w.whole = arrow.NewSchema(fields, nil)
	for _, r := range w.runs {
		if filepath.Base(r.File) != r.File || !strings.HasSuffix(r.File, runSuffix) {
			return p.tampered("a run in an unknown place")
		}
	}
	return w.sweep()
}

// overtaken tells a stage that another run's commit has left behind from one that was changed: its file is bound to an
// earlier version.
func (w *Writer) overtaken(err error) error {
	if !errors.Is(err, sandbox.Tampered) {
		return err
	}
	for n := w.base; n > 0 && n+maxBehind > w.base; n-- {
		p := w.place(stageFile)
		p.version = n
		if f, oerr := openSealed(w.v.fs, filepath.Join(w.folder, stageFile), p, nil); oerr == nil {
			_ = f.Close()
			return &sandbox.Error{Op: "vault: resume", Kind: sandbox.Conflict, Object: string(w.run),
				Detail: fmt.Sprintf("another run became version %d meanwhile; this one was begun over version %d", n, n-1), Hint: "drop it and push again"}
		}
	}
	return err
}

// maxBehind is how many versions back a stage is looked for.
const maxBehind = 64

// sweep removes files that no durable point names: runs and columns that a crash left half written.
func (w *Writer) sweep() error {
	entries, err := w.v.fs.ReadDir(w.folder)
	if err != nil {
		return unavailable("resume", string(w.m.Dataset), err)
	}
	known := map[string]bool{stageFile: true, keyFile: true}
	for _, r := range w.runs {
		known[r.File] = true
	}
	for _, e := range entries {
		if known[e.Name()] {
			continue
		}
		if err := w.v.fs.Remove(filepath.Join(w.folder, e.Name())); err != nil {
			return unavailable("resume", string(w.m.Dataset), err)
		}
	}
	return nil
}

// Drop removes a stage and the key that nothing else uses. Dropping what is not there changes nothing.
func (v *Vault) Drop(d sandbox.DatasetID, run sandbox.RunID) error {
	for _, x := range []struct{ what, id string }{{"dataset", string(d)}, {"run", string(run)}} {
		if err := sandbox.CheckID(x.what, x.id); err != nil {
			return err
		}
	}
	if err := v.claim(d, run); err != nil {
		return err
	}
	defer v.release(d, run)
	dir := filepath.Join(v.dir, string(d), stageDir(run))
	var k versionKey
	if b, err := durable.ReadFile(v.fs, filepath.Join(dir, keyFile)); err == nil && strict(b, &k) != nil {
		k.Key = "" // changed: the key is found as an unused one
	}
	return v.drop(dir, d, k.Key)
}

// drop removes a stage: its manifest first, without which it is none, then its folder, so that no stage is without its key.
func (v *Vault) drop(dir string, d sandbox.DatasetID, key sandbox.KeyID) error {
	if err := v.fs.Remove(filepath.Join(dir, stageFile)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return unavailable("drop", string(d), err)
	}
	if err := v.fs.RemoveAll(dir); err != nil {
		return unavailable("drop", string(d), err)
	}
	if err := v.fs.SyncDir(filepath.Dir(dir)); err != nil && !errors.Is(err, os.ErrNotExist) {
		return unavailable("drop", string(d), err)
	}
	if key == "" {
		return nil
	}
	if err := v.keys.Discard(key); err != nil && !errors.Is(err, sandbox.NotFound) {
		return err
	}
	return nil
}

// keepStage makes what the runs hold the durable state of the stage.
func (w *Writer) keepStage() error {
	m := stageManifest{Dataset: w.m.Dataset, Version: w.m.Version, Run: w.m.Run, Unit: w.m.Unit, Grade: w.m.Grade, Batches: w.batches, Rows: w.rows, Runs: w.runs}
	if w.mark != nil {
		m.Mark = w.mark()
	}
	if m.Runs == nil {
		m.Runs = []sortedRun{}
	}
	for _, f := range w.whole.Fields() {
		m.Columns = append(m.Columns, manifestColumn{Name: f.Name, Type: f.Type.Name(), Nullable: f.Nullable, Metadata: f.Metadata.ToMap()})
	}
	b, err := json.Marshal(m)
	if err != nil {
		return unavailable("stage", string(w.m.Dataset), err)
	}
	tmp := filepath.Join(w.folder, stageFile+".tmp")
	if err := w.v.fs.Remove(tmp); err != nil && !errors.Is(err, os.ErrNotExist) {
		return unavailable("stage", string(w.m.Dataset), err)
	}
	if _, err := w.seal(tmp, stageFile, b); err != nil {
		return err
	}
	if err := w.v.fs.Rename(tmp, filepath.Join(w.folder, stageFile)); err != nil {
		return unavailable("stage", string(w.m.Dataset), err)
	}
	if err := w.v.fs.SyncDir(w.folder); err != nil {
		return unavailable("stage", string(w.m.Dataset), err)
	}
	w.durable = w.batches
	return nil
}

// seal writes a small sealed file durably and gives its id.
func (w *Writer) seal(path, column string, b []byte) ([]byte, error) {
	f, err := w.v.newFile(path, w.place(column))
	if err != nil {
		return nil, err
	}
	if _, err := f.Write(b); err != nil {
		_ = f.f.Close()
		return nil, err
	}
	if err := f.finish(); err != nil {
		_ = f.f.Close()
		return nil, err
	}
	return f.id[:], nil
}
