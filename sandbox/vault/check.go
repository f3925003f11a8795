package vault

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Expected (应有版本) is what somebody else knows of a dataset's current version; a newer one is as good.
type Expected struct {
	Version  uint64
	Manifest [sm.Size]byte // SM3 of the sealed manifest
	Erased   bool          // its key was destroyed on order
}

// Check reads every chunk of every version and gives every fault it finds, each named: the first of each file. With expect, a
// HEAD put back to an older version or replaced, and a dataset that is gone, are faults too. A version before the current one
// whose key was destroyed is none.
func (v *Vault) Check(ctx context.Context, expect map[sandbox.DatasetID]Expected) []error {
	ids, err := v.Datasets()
	if err != nil {
		return []error{err}
	}
	for _, d := range slices.Sorted(maps.Keys(expect)) {
		if !slices.Contains(ids, d) {
			ids = append(ids, d)
		}
	}
	var faults []error
	for _, d := range ids {
		want, ok := expect[d]
		faults = append(faults, v.checkDataset(ctx, d, want, ok)...)
	}
	return faults
}

func (v *Vault) checkDataset(ctx context.Context, d sandbox.DatasetID, want Expected, expected bool) (faults []error) {
	h, err := v.head(d)
	missing := errors.Is(err, sandbox.NotFound)
	if err != nil && !missing {
		return []error{err}
	}
	if missing && expected {
		return []error{&sandbox.Error{Op: "vault: check", Kind: sandbox.Tampered, Object: string(d) + " " + headFile, Detail: "the file is missing"}}
	}
	if expected && (h.Version < want.Version || h.Version == want.Version && h.Manifest != hex.EncodeToString(want.Manifest[:])) {
		faults = append(faults, &sandbox.Error{Op: "vault: check", Kind: sandbox.Tampered, Object: string(d) + " " + headFile,
			Detail: "not the version that was committed last: an older one was put back, or another in its place"})
	}
	v.committing.Lock() // a commit under way has a version that the head does not name yet
	if _, err := v.extra(d); err != nil {
		faults = append(faults, err)
	}
	v.committing.Unlock()
	faults = append(faults, v.checkStages(ctx, d)...)
	for n := uint64(1); n <= h.Version; n++ {
		s, err := v.open(v.versionPath(d, n), d, n)
		if n == h.Version && err == nil {
			s, err = v.current(h)
		}
		if err != nil {
			if n == h.Version && !(want.Erased && n == want.Version) || !errors.Is(err, sandbox.Expired) {
				faults = append(faults, err)
			}
			continue
		}
		if err := v.checkRun(s); err != nil {
			faults = append(faults, err)
		}
		if _, err := v.statistics(s); err != nil {
			faults = append(faults, err)
		}
		for _, c := range s.columns {
			if err := ctx.Err(); err != nil {
				return append(faults, err)
			}
			if err := v.checkColumn(ctx, s, c); err != nil {
				faults = append(faults, err)
			}
		}
	}
	return faults
}

// checkStages reads what is staged of a dataset, runs that are being written apart.
func (v *Vault) checkStages(ctx context.Context, d sandbox.DatasetID) (faults []error) {
	all, err := v.Stages()
	if err != nil {
		return []error{err}
	}
	for _, s := range all {
		if s.Dataset != d {
			continue
		}
		w, err := v.Resume(ctx, d, s.Run)
		if errors.Is(err, sandbox.Conflict) || errors.Is(err, sandbox.NotFound) { // being written, overtaken, or just ended
			continue
		}
		if err != nil {
			faults = append(faults, err)
			continue
		}
		for _, r := range w.runs {
			f, err := openSealed(v.fs, filepath.Join(w.folder, r.File), w.place(r.File), r.ID)
			if err == nil {
				err = f.read(ctx)
				_ = f.Close()
			}
			if err != nil {
				faults = append(faults, err)
			}
		}
		if err := w.Suspend(); err != nil {
			faults = append(faults, err)
		}
	}
	return faults
}

// read authenticates every chunk.
func (f *sealedFile) read(ctx context.Context) error {
	var sealed, plain []byte
	defer func() { clear(plain[:cap(plain)]) }()
	var err error
	for i := uint64(0); i < f.chunks; i += groupChunks {
		if err := ctx.Err(); err != nil {
			return fmt.Errorf("vault: check %s: %w", f.place, err)
		}
		if sealed, plain, err = f.open(sealed, plain, i, groupChunks); err != nil {
			return err
		}
	}
	return nil
}

// checkRun holds the index of runs to a version.
func (v *Vault) checkRun(s Snapshot) error {
	if got, err := v.Committed(s.Dataset, s.Run); err != nil || got.Version != s.Version {
		return &sandbox.Error{Op: "vault: check", Kind: sandbox.Tampered, Object: fmt.Sprintf("%s v%d %s", s.Dataset, s.Version, runsDir),
			Detail: "the index of runs does not lead to this version: its run could be committed again", Hint: "restore the dataset's folder from a backup", Err: err}
	}
	return nil
}

func (v *Vault) checkColumn(ctx context.Context, s Snapshot, c manifestColumn) error {
	f, err := v.openColumn(s, c)
	if err != nil {
		return err
	}
	defer f.Close()
	return f.read(ctx)
}
