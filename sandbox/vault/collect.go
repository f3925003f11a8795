package vault

import (
	"context"
	"errors"
	"os"
	"path/filepath"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/sandbox"
)

// tombstone is what stays of a version whose files were removed.
type tombstone struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Version uint64            `json:"version"`
	Key     sandbox.KeyID     `json:"key"`
	Run     sandbox.RunID     `json:"run"`
}

// Collected (清理结果) is what Collect removed.
type Collected struct {
	Versions []Removed `json:"versions"`
	Files    int       `json:"files"`
	Bytes    int64     `json:"bytes"`
}

// Removed (已清理版本) is a version whose files are gone.
type Removed struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Version uint64            `json:"version"`
	Key     sandbox.KeyID     `json:"key"`
}

// Collect removes the files of versions whose key was destroyed: nobody can open them any more. What stays is a tombstone with
// the version's number, key and run, so that the number is not given again and the run commits once.
func (v *Vault) Collect(ctx context.Context) (Collected, error) {
	var out Collected
	ids, err := v.Datasets()
	if err != nil {
		return out, err
	}
	for _, d := range ids {
		h, err := v.head(d)
		if errors.Is(err, sandbox.NotFound) {
			continue
		}
		if err != nil {
			return out, err
		}
		for n := uint64(1); n <= h.Version; n++ {
			if err := ctx.Err(); err != nil {
				return out, err
			}
			if err := v.collect(d, n, &out); err != nil {
				return out, err
			}
		}
	}
	return out, nil
}

func (v *Vault) collect(d sandbox.DatasetID, n uint64, out *Collected) error {
	dir := v.versionPath(d, n)
	if _, err := v.fs.Stat(dir); errors.Is(err, os.ErrNotExist) {
		return nil // collected before
	}
	s, err := v.open(dir, d, n)
	if err == nil || !errors.Is(err, sandbox.Expired) {
		return err // alive, or changed: a changed one is evidence of something else
	}
	v.swapping.RLock()
	defer v.swapping.RUnlock()
	b, err := canonical(tombstone{d, n, s.Key, s.Run})
	if err == nil {
		err = durable.ReplaceIn(v.fs, dir+goneSuffix, b)
	}
	if err != nil {
		return unavailable("collect", string(d), err)
	}
	entries, err := v.fs.ReadDir(dir)
	if err != nil {
		return unavailable("collect", string(d), err)
	}
	files, size := 0, int64(0)
	for _, e := range entries {
		if info, err := e.Info(); err == nil {
			files, size = files+1, size+info.Size()
		}
	}
	if err := v.fs.RemoveAll(dir); err != nil {
		return unavailable("collect", string(d), err)
	}
	if err := v.fs.SyncDir(filepath.Dir(dir)); err != nil {
		return unavailable("collect", string(d), err)
	}
	out.Versions = append(out.Versions, Removed{d, n, s.Key})
	out.Files, out.Bytes = out.Files+files, out.Bytes+size
	return nil
}

// gone gives what a tombstone says of a version.
func (v *Vault) gone(dir string, d sandbox.DatasetID, n uint64) (Snapshot, bool) {
	b, err := durable.ReadFile(v.fs, dir+goneSuffix)
	var t tombstone
	if err != nil || strict(b, &t) != nil || t.Dataset != d || t.Version != n {
		return Snapshot{}, false
	}
	// A key that lives has not lost its version's files to Collect.
	if _, err := v.keys.VersionKey(t.Key); !errors.Is(err, sandbox.NotFound) {
		return Snapshot{}, false
	}
	return Snapshot{Dataset: d, Version: n, Run: t.Run, Key: t.Key}, true
}

// Keys lists the version keys that versions, tombstones and stages name: any other was made for a run that came to nothing.
func (v *Vault) Keys() (map[sandbox.KeyID]bool, error) {
	out := map[sandbox.KeyID]bool{}
	ids, err := v.Datasets()
	if err != nil {
		return nil, err
	}
	for _, d := range ids {
		dir := filepath.Join(v.dir, string(d))
		entries, err := v.fs.ReadDir(dir)
		if err != nil {
			return nil, unavailable("list", string(d), err)
		}
		for _, e := range entries {
			if !e.IsDir() || e.Name() == runsDir {
				continue
			}
			b, err := durable.ReadFile(v.fs, filepath.Join(dir, e.Name(), keyFile))
			var k versionKey
			if err == nil && strict(b, &k) == nil {
				out[k.Key] = true
			} else if err == nil || !errors.Is(err, os.ErrNotExist) {
				return nil, &sandbox.Error{Op: "vault: keys", Kind: sandbox.Tampered, Object: string(d) + " " + e.Name(), Detail: "the key file cannot be read", Err: err}
			}
		}
	}
	return out, nil
}
