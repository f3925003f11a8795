package vault

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// looseFile gives a place to seal files in that belong to no version.
func looseFile(t testing.TB) place {
	t.Helper()
	v := newVault(t)
	w := begin(t, v, "run-1")
	t.Cleanup(func() { _ = w.Abort() })
	return w.place("loose")
}

func sealFile(t testing.TB, path string, p place, plain []byte, cut func(left int) int) [idSize]byte {
	t.Helper()
	w, err := newFileWriter(durable.OS(), path, p, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for b := plain; len(b) > 0; {
		k := cut(len(b))
		if n, err := w.Write(b[:k]); err != nil || n != k {
			t.Fatal(n, err)
		}
		b = b[k:]
	}
	if err := w.finish(); err != nil {
		t.Fatal(err)
	}
	return w.id
}

func readSealed(path string, p place, id []byte) ([]byte, error) {
	f, err := openSealed(durable.OS(), path, p, id)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return f.all()
}

// TestSealedFile: any bytes written in any pieces come back, and the file has the length that its layout gives it.
func TestSealedFile(t *testing.T) {
	p, dir := looseFile(t), t.TempDir()
	n := 0
	rapid.Check(t, func(r *rapid.T) {
		n++
		size := rapid.OneOf(rapid.IntRange(0, 100), rapid.IntRange(-2, 2)).Draw(r, "size")
		size = max(0, size+rapid.IntRange(0, 3).Draw(r, "chunks")*chunkSize)
		plain := make([]byte, size)
		for i := range plain {
			plain[i] = byte(i * 7)
		}
		path := filepath.Join(dir, fmt.Sprint(n))
		id := sealFile(t, path, p, plain, func(left int) int { return rapid.IntRange(1, left).Draw(r, "piece") })
		defer os.Remove(path)
		got, err := readSealed(path, p, id[:])
		if err != nil || !bytes.Equal(got, plain) {
			r.Fatalf("%d bytes: %d came back, %v", size, len(got), err)
		}
		chunks := max(1, (size+chunkSize-1)/chunkSize)
		if info, err := os.Stat(path); err != nil || info.Size() != int64(headerSize+size+chunks*tagSize) {
			r.Fatalf("%d bytes are sealed in %d, %v", size, info.Size(), err)
		}
	})
}

// TestTruncation at every chunk's edges and around them fails at opening, before any chunk is read.
func TestTruncation(t *testing.T) {
	p, dir := looseFile(t), t.TempDir()
	for _, size := range []int{0, 5, chunkSize, 3*chunkSize + 9, 4 * chunkSize} {
		path := filepath.Join(dir, fmt.Sprint(size))
		id := sealFile(t, path, p, make([]byte, size), func(left int) int { return left })
		whole, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for edge := 0; edge <= len(whole)+sealedSize; edge += sealedSize {
			for _, at := range []int{edge, edge + headerSize} {
				for n := at - tagSize - 1; n <= at+tagSize+1; n++ {
					if n < 0 || n >= len(whole) {
						continue
					}
					if err := os.WriteFile(path, whole[:n], 0o600); err != nil {
						t.Fatal(err)
					}
					if _, err := openSealed(durable.OS(), path, p, id[:]); !errors.Is(err, sandbox.Tampered) {
						t.Fatalf("%d of %d bytes open: %v", n, len(whole), err)
					}
				}
			}
		}
		for _, extra := range []int{1, tagSize, sealedSize} {
			if err := os.WriteFile(path, append(bytes.Clone(whole), make([]byte, extra)...), 0o600); err != nil {
				t.Fatal(err)
			}
			if _, err := openSealed(durable.OS(), path, p, id[:]); !errors.Is(err, sandbox.Tampered) {
				t.Fatalf("%d bytes behind the end open: %v", extra, err)
			}
		}
	}
}

// TestChunks flipped, swapped, repeated or dropped are named by number.
func TestChunks(t *testing.T) {
	p := looseFile(t)
	path := filepath.Join(t.TempDir(), "f")
	id := sealFile(t, path, p, make([]byte, 6*chunkSize+100), func(left int) int { return left })
	whole, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	chunk := func(b []byte, i int) []byte { return b[headerSize+i*sealedSize : headerSize+(i+1)*sealedSize] }
	for name, c := range map[string]struct {
		change func(b []byte) []byte
		names  string
	}{
		"first byte of chunk 0": {func(b []byte) []byte { chunk(b, 0)[0] ^= 1; return b }, "chunk 0 "},
		"tag of chunk 4":        {func(b []byte) []byte { chunk(b, 4)[sealedSize-1] ^= 0x80; return b }, "chunk 4 "},
		"middle of the last":    {func(b []byte) []byte { b[len(b)-50] ^= 1; return b }, "chunk 6, the last"},
		"two swapped": {func(b []byte) []byte {
			copy(chunk(b, 2), chunk(whole, 3))
			copy(chunk(b, 3), chunk(whole, 2))
			return b
		}, "chunk 2 "},
		"one repeated":           {func(b []byte) []byte { copy(chunk(b, 5), chunk(whole, 1)); return b }, "chunk 5 "},
		"one dropped":            {func(b []byte) []byte { return append(b[:headerSize+sealedSize], b[headerSize+2*sealedSize:]...) }, "chunk 5, the last"},
		"the last dropped":       {func(b []byte) []byte { return b[:headerSize+6*sealedSize] }, "chunk 5, the last"},
		"the last before itself": {func(b []byte) []byte { return append(b[:headerSize+3*sealedSize], whole[headerSize+6*sealedSize:]...) }, "chunk 3, the last"},
	} {
		if err := os.WriteFile(path, c.change(bytes.Clone(whole)), 0o600); err != nil {
			t.Fatal(err)
		}
		_, err := readSealed(path, p, id[:])
		if !errors.Is(err, sandbox.Tampered) || !strings.Contains(fmt.Sprint(err), c.names) || !strings.Contains(fmt.Sprint(err), "ds-claims v1 loose") {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestPlace: a file opens nowhere but in its own place, under its own id and key.
func TestPlace(t *testing.T) {
	p, other := looseFile(t), looseFile(t)
	path := filepath.Join(t.TempDir(), "f")
	id := sealFile(t, path, p, []byte("x"), func(left int) int { return left })
	for name, change := range map[string]func(*place, []byte){
		"dataset": func(p *place, _ []byte) { p.dataset = "ds-other" },
		"version": func(p *place, _ []byte) { p.version++ },
		"column":  func(p *place, _ []byte) { p.column = "other" },
		"key id":  func(p *place, _ []byte) { p.keyID = other.keyID },
		"key":     func(p *place, _ []byte) { p.key = other.key },
		"file id": func(_ *place, id []byte) { id[0] ^= 1 },
	} {
		q, i := p, bytes.Clone(id[:])
		change(&q, i)
		if _, err := readSealed(path, q, i); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("another %s: %v", name, err)
		}
	}
	if _, err := readSealed(path, p, id[:]); err != nil {
		t.Error(err)
	}
}

// files gives every file of the vault with its bytes.
func files(t testing.TB, v *Vault) map[string][]byte {
	t.Helper()
	out := map[string][]byte{}
	err := filepath.WalkDir(v.dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		out[path], err = os.ReadFile(path)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func write(t testing.TB, path string, b []byte) {
	t.Helper()
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestEveryByteCounts changes every byte of every file of a small dataset (in the version before the current one every
// fifth), one after the other: Check finds it and names the file.
func TestEveryByteCounts(t *testing.T) {
	ctx, v := context.Background(), newVault(t)
	var s Snapshot
	for _, run := range []sandbox.RunID{"run-1", "run-2"} {
		w, err := v.Begin(ctx, claims.Unit, claims.ID, run, narrow, sandbox.Grade3)
		if err != nil {
			t.Fatal(err)
		}
		b := array.NewRecordBuilder(memory.DefaultAllocator, narrow)
		b.Field(0).(*array.StringBuilder).Append("x")
		rec := b.NewRecord()
		b.Release()
		if err := w.Write(ctx, rec, []sandbox.Pseudonym{{1}}); err != nil {
			t.Fatal(err)
		}
		rec.Release()
		if s, err = w.Commit(ctx); err != nil {
			t.Fatal(err)
		}
	}
	names := map[string]string{headFile: "ds-claims HEAD", keyFile: " key: ", manifestFile: " _manifest: ", "000.col": " code: ", "001.col": " _subject: ",
		statsFile: " _statistics: ", "run-1": " runs", "run-2": " runs"}
	all := files(t, v)
	if len(all) != 13 {
		t.Fatalf("%d files", len(all))
	}
	for path, whole := range all {
		step := 1
		if filepath.Base(filepath.Dir(path)) == versionDir(1) {
			step = 5
		}
		name := names[filepath.Base(path)]
		for i := 0; i < len(whole); i += step {
			b := bytes.Clone(whole)
			b[i] ^= 0x20 // also the case of a letter
			write(t, path, b)
			faults := v.Check(ctx, nil)
			found := len(faults) > 0
			for _, f := range faults {
				found = found && errors.Is(f, sandbox.Tampered)
			}
			if err := errors.Join(faults...); !found || !strings.Contains(err.Error(), name) &&
				!(name == " key: " && strings.Contains(err.Error(), " _manifest: ")) { // another key id does not open the manifest
				t.Fatalf("byte %d of %s: %v", i, filepath.Base(path), err)
			}
		}
		write(t, path, whole)
	}
	if faults := v.Check(ctx, map[sandbox.DatasetID]Expected{claims.ID: {Version: s.Version, Manifest: s.Manifest}}); len(faults) > 0 {
		t.Errorf("after all was put back: %v", errors.Join(faults...))
	}
}

// narrow has one column.
var narrow = arrow.NewSchema([]arrow.Field{{Name: "code", Type: arrow.BinaryTypes.String}}, nil)

// TestScanOpensOnlyItsColumns: a changed column fails where it is read and nowhere else, and no value is given.
func TestScanOpensOnlyItsColumns(t *testing.T) {
	v := newVault(t)
	rows := []int{40000, 40000}
	s := commit(t, v, "run-1", rows...)
	path := filepath.Join(v.versionPath(claims.ID, 1), "002.col") // fee
	whole := files(t, v)[path]
	b := bytes.Clone(whole)
	b[headerSize+3*sealedSize] ^= 1
	write(t, path, b)
	if err := same(v, s, []string{"code", "note", "day", "paid", SubjectColumn}, rows...); err != nil {
		t.Errorf("the other columns: %v", err)
	}
	if err := same(v, s, []string{"code", "fee"}, rows...); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "ds-claims v1 fee: tampered: chunk 3 ") {
		t.Errorf("the changed column: %v", err)
	}
	if err := os.Remove(path); err != nil {
		t.Fatal(err)
	}
	if err := same(v, s, []string{"fee"}, rows...); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "missing") {
		t.Errorf("the missing column: %v", err)
	}
}

// TestColumnsAgreeWithManifest: a sealed column that holds other batches than its manifest says is not read as if it did.
func TestColumnsAgreeWithManifest(t *testing.T) {
	for name, c := range map[string]struct {
		batches []int64
		rule    string
	}{
		"fewer rows":      {[]int64{11}, "batch 0 is not what the manifest describes"},
		"more rows":       {[]int64{13}, "batch 0 is not what the manifest describes"},
		"another batch":   {[]int64{12, 0}, "batch 1 is cut off"},
		"no batch at all": {[]int64{}, "bytes behind the last batch"},
	} {
		v := newVault(t)
		s := commit(t, v, "run-1", 5, 7)
		s.Batches = c.batches
		rows := make([]int, len(c.batches))
		for i, n := range c.batches {
			rows[i] = int(n)
		}
		if err := same(v, s, everyColumn, rows...); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), c.rule) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestFilesMoved between columns, versions and datasets are found, each named.
func TestFilesMoved(t *testing.T) {
	ctx, v := context.Background(), newVault(t)
	commit(t, v, "run-1", 50)
	commit(t, v, "run-2", 50)
	w, err := v.Begin(ctx, claims.Unit, "ds-other", "run-3", batch.Schema(claims), sandbox.Grade3)
	if err != nil {
		t.Fatal(err)
	}
	rec, subjects := table(memory.DefaultAllocator, 0, 50)
	defer rec.Release()
	if err := w.Write(ctx, rec, subjects); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	all := files(t, v)
	at := func(d sandbox.DatasetID, n uint64, name string) string {
		return filepath.Join(v.versionPath(d, n), name)
	}
	for name, c := range map[string]struct {
		from, to, names string
	}{
		"column":               {at(claims.ID, 1, "000.col"), at(claims.ID, 1, "001.col"), "ds-claims v1 note"},
		"version":              {at(claims.ID, 1, "000.col"), at(claims.ID, 2, "000.col"), "ds-claims v2 code"},
		"dataset":              {at("ds-other", 1, "005.col"), at(claims.ID, 1, "005.col"), "ds-claims v1 _subject"},
		"manifest of version":  {at(claims.ID, 1, manifestFile), at(claims.ID, 2, manifestFile), "ds-claims v2 _manifest"},
		"manifest of dataset":  {at("ds-other", 1, manifestFile), at(claims.ID, 1, manifestFile), "ds-claims v1 _manifest"},
		"key":                  {at(claims.ID, 1, keyFile), at(claims.ID, 2, keyFile), "ds-claims v2 _manifest"},
		"HEAD":                 {filepath.Join(v.dir, "ds-other", headFile), filepath.Join(v.dir, "ds-claims", headFile), "ds-claims HEAD"},
		"a column for another": {at(claims.ID, 2, manifestFile), at(claims.ID, 2, "003.col"), "ds-claims v2 day"},
	} {
		write(t, c.to, all[c.from])
		faults := v.Check(ctx, nil)
		if err := errors.Join(faults...); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), c.names) {
			t.Errorf("%s moved: %v", name, err)
		}
		write(t, c.to, all[c.to])
	}
	// Key and manifest of version 1 moved together to version 2 still do not fit.
	for _, f := range []string{keyFile, manifestFile} {
		write(t, at(claims.ID, 2, f), all[at(claims.ID, 1, f)])
	}
	if _, err := v.Head(claims.ID); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("version 1 in the place of version 2: %v", err)
	}
	for _, f := range []string{keyFile, manifestFile} {
		write(t, at(claims.ID, 2, f), all[at(claims.ID, 2, f)])
	}
	if err := os.RemoveAll(v.versionPath(claims.ID, 1)); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(v.Check(ctx, nil)...); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "ds-claims v1") {
		t.Errorf("a version removed: %v", err)
	}
}

// TestHeadPutBack: an older HEAD is noticed at Open while the newer folders are there, by the expected digest when they are
// not, and never costs a file.
func TestHeadPutBack(t *testing.T) {
	ctx, v := context.Background(), newVault(t)
	commit(t, v, "run-1", 5)
	path := filepath.Join(v.dir, "ds-claims", headFile)
	older := files(t, v)[path]
	s := commit(t, v, "run-2", 6)
	all := files(t, v)
	expect := map[sandbox.DatasetID]Expected{claims.ID: {Version: s.Version, Manifest: s.Manifest}}
	for name, put := range map[string]func(){"older": func() { write(t, path, older) }, "missing": func() { _ = os.Remove(path) }} {
		put()
		if _, err := Open(v.dir, v.keys, rand.Reader); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "ds-claims HEAD") {
			t.Errorf("%s HEAD: %v", name, err)
		}
		if err := errors.Join(v.Check(ctx, expect)...); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "ds-claims HEAD") {
			t.Errorf("%s HEAD: Check finds %v", name, err)
		}
		if err := errors.Join(v.Check(ctx, nil)...); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "ds-claims HEAD") {
			t.Errorf("%s HEAD: Check without an expectation finds %v", name, err)
		}
		write(t, path, all[path])
		if got := files(t, v); len(got) != len(all) {
			t.Fatalf("%s HEAD: %d of %d files are left", name, len(got), len(all))
		}
	}
	write(t, path, older)
	if err := os.RemoveAll(v.versionPath(claims.ID, 2)); err != nil {
		t.Fatal(err)
	}
	v = reopened(t, v)
	if faults := v.Check(ctx, nil); len(faults) > 0 {
		t.Errorf("a whole older folder without an expectation: %v", errors.Join(faults...))
	}
	if err := errors.Join(v.Check(ctx, expect)...); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "ds-claims HEAD") {
		t.Errorf("a whole older folder: %v", err)
	}
	if err := os.RemoveAll(filepath.Join(v.dir, "ds-claims")); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(v.Check(ctx, expect)...); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a dataset removed: %v", err)
	}
}

// FuzzSealedFile feeds any bytes as a column's file: Tampered or the very bytes that were sealed, never a panic.
func FuzzSealedFile(f *testing.F) {
	p := looseFile(f)
	path := filepath.Join(f.TempDir(), "f")
	plain := []byte("some bytes")
	id := sealFile(f, path, p, plain, func(left int) int { return left })
	whole, err := os.ReadFile(path)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(whole)
	f.Add(whole[:headerSize+tagSize])
	f.Add(whole[:headerSize])
	f.Add([]byte(nil))
	f.Fuzz(func(t *testing.T, b []byte) {
		write(t, path, b)
		got, err := readSealed(path, p, id[:])
		if err != nil && !errors.Is(err, sandbox.Tampered) || err == nil && !bytes.Equal(got, plain) {
			t.Fatalf("%d bytes: %v", len(b), err)
		}
	})
}

// FuzzHead feeds any bytes as HEAD: only the one HEAD of the dataset opens.
func FuzzHead(f *testing.F) {
	v := newVault(f)
	s := commit(f, v, "run-1", 1)
	path := filepath.Join(v.dir, "ds-claims", headFile)
	whole := files(f, v)[path]
	f.Add(whole)
	f.Add(append(bytes.Clone(whole), '\n'))
	f.Add(bytes.Replace(whole, []byte("dataset"), []byte("Dataset"), 1))
	f.Add([]byte(`{"dataset":"ds-claims","version":18446744073709551615,"key":"","manifest":""}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		write(t, path, b)
		got, err := v.Head(claims.ID)
		if bytes.Equal(b, whole) {
			if err != nil || got.Manifest != s.Manifest {
				t.Fatal(err)
			}
		} else if !errors.Is(err, sandbox.Tampered) {
			t.Fatalf("another HEAD of %d bytes: %v", len(b), err)
		}
	})
}
