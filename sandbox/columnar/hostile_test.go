package columnar

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/durable/crashfs"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// spillingQuestion is one whose join and pairs are both spilled within its limits: some 4 MiB.
func spillingQuestion(t testing.TB) (Plan, map[sandbox.DatasetID]made, Limits) {
	const rows = 20_000
	tables := map[sandbox.DatasetID]made{
		"visits": {visits(), rows, func(n int) (map[string]any, sandbox.Pseudonym) {
			return map[string]any{"site": fmt.Sprintf("a site of the district, no. %09d", scattered(n, rows)), "ward": int64(1), "cost": int64(n % 1000), "beds": int64(n % 7)}, person(scattered(n, rows/3))
		}},
		"sites": {sites(), rows, func(n int) (map[string]any, sandbox.Pseudonym) {
			return map[string]any{"site": fmt.Sprintf("a site of the district, no. %09d", n), "ward": int64(1), "level": int64(n % 5), "fee": int64(n % 11)}, person(n)
		}},
	}
	s := question(query.Dimension{Column: "s.level", As: "b"})
	s.Inputs = append(s.Inputs, query.Input{Alias: "s", Dataset: "sites", With: "v", On: []query.Key{{Left: "site", Right: "site"}, {Left: "ward", Right: "ward"}}})
	s.Measures = append(s.Measures, query.Measure{Func: sandbox.Sum, Column: "s.fee", As: "fees"}, query.Measure{Func: sandbox.Max, Column: "v.cost", As: "most"})
	return plan(t, s), tables, Limits{MaxBuildBytes: 1 << 19, MaxPairBytes: 1 << 21}
}

// hooked is a file system that names what is open, and tells of every read and write.
type hooked struct {
	durable.FS
	write func()
	read  func(b []byte)
	keep  bool // names stay while they are open
	open  sync.Map
}

func (h *hooked) Remove(name string) error {
	if _, open := h.open.Load(name); open && h.keep {
		return os.ErrPermission
	}
	return h.FS.Remove(name)
}

func (h *hooked) OpenFile(name string, flag int, perm os.FileMode) (durable.File, error) {
	f, err := h.FS.OpenFile(name, flag, perm)
	h.open.Store(name, true)
	return &hookedFile{f, h, name}, err
}

type hookedFile struct {
	durable.File
	h    *hooked
	name string
}

func (f *hookedFile) Close() error {
	f.h.open.Delete(f.name)
	return f.File.Close()
}

func (f *hookedFile) Write(b []byte) (int, error) {
	n, err := f.File.Write(b)
	if f.h.write != nil {
		f.h.write()
	}
	return n, err
}

func (f *hookedFile) ReadAt(b []byte, at int64) (int, error) {
	n, err := f.File.ReadAt(b, at)
	if f.h.read != nil {
		f.h.read(b[:n])
	}
	return n, err
}

const killedDir = "OPDOMAIN_TEST_KILLED_IN"

// TestKilledLeavesNothingReadable: a process that is killed while it spills leaves, where names do not go, files in which no eight
// bytes of a row stand in any form.
func TestKilledLeavesNothingReadable(t *testing.T) {
	p, tables, lim := spillingQuestion(t)
	if dir := os.Getenv(killedDir); dir != "" {
		var writes atomic.Int64
		fs := &hooked{FS: durable.OS(), keep: true, write: func() {
			if writes.Add(1) == 20 {
				_ = syscall.Kill(os.Getpid(), syscall.SIGKILL)
				select {}
			}
		}}
		s, err := vault.SpillIn(fs, dir, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		src := madeSource(tables, 2)
		src.Spill = func() (SpillFile, error) { return s.Create() }
		_, err = Execute(t.Context(), memory.NewGoAllocator(), p, src, lim, Goroutines{Workers: 2})
		t.Fatalf("it ended: %v", err)
	}
	dir := t.TempDir()
	cmd := exec.Command(os.Args[0], "-test.run=^TestKilledLeavesNothingReadable$")
	cmd.Env = append(os.Environ(), killedDir+"="+dir)
	out, err := cmd.CombinedOutput()
	if e := (*exec.ExitError)(nil); !errors.As(err, &e) || e.Sys().(syscall.WaitStatus).Signal() != syscall.SIGKILL {
		t.Fatalf("not killed: %v\n%s", err, out)
	}
	var texts [][]byte
	for at := range len("a site of the district, no") - 8 {
		texts = append(texts, []byte("a site of the district, no")[at:at+8])
	}
	for n := range 200 {
		who := person(scattered(n, 20_000/3))
		texts = append(texts, who[:8], []byte(fmt.Sprintf("%09d", n))[:8])
	}
	files, size := 0, 0
	err = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		files, size = files+1, size+len(b)
		for _, s := range texts {
			for _, form := range [][]byte{s, []byte(hex.EncodeToString(s)), []byte(base64.StdEncoding.EncodeToString(s)[:10])} {
				if bytes.Contains(b, form) {
					t.Fatal("a row can be read")
				}
			}
		}
		return err
	})
	if err != nil || files < 16 || size < 1<<20 {
		t.Errorf("%d files of %d bytes, %v", files, size, err)
	}
}

// TestSpillFaults: a bit that flips in any file, a disk that is full at any time, and more than the bound end a question by name;
// nothing is left on disk or in memory.
func TestSpillFaults(t *testing.T) {
	p, tables, lim := spillingQuestion(t)
	run := func(fs durable.FS, disk *crashfs.FS, lim Limits) (string, error) {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		src := madeSource(tables, 2)
		src.Spill = spillOn(t, fs)
		a, err := Execute(t.Context(), mem, p, src, lim, Goroutines{Workers: 2})
		if mem.CurrentAlloc() != 0 {
			t.Errorf("%d bytes left", mem.CurrentAlloc())
		}
		if n := len(disk.Files()); n > 0 {
			t.Errorf("%d files left", n)
		}
		if err != nil && strings.Contains(err.Error(), "district") {
			t.Error("an error tells a value")
		}
		if a == nil {
			return "", err
		}
		return render(a), err
	}
	disk := crashfs.New()
	var reads atomic.Int64
	want, err := run(&hooked{FS: disk, read: func([]byte) { reads.Add(1) }}, disk, lim)
	if err != nil {
		t.Fatal(err)
	}
	operations := disk.Operations()
	all := reads.Load()
	if all < 100 {
		t.Fatalf("%d reads", all)
	}
	ends := []int64{all - 20, all - 1, all} // of the last pass over evidence
	for at := int64(1); at < all-20; at += all / 6 {
		ends = append(ends, at)
	}
	for _, at := range ends {
		disk := crashfs.New()
		var n atomic.Int64
		_, err := run(&hooked{FS: disk, read: func(b []byte) {
			if n.Add(1) == at {
				b[len(b)/2] ^= 0x10
			}
		}}, disk, lim)
		if n.Load() < at {
			continue // the workers' turns differ
		}
		if !errors.Is(err, sandbox.Tampered) {
			t.Errorf("a bit of read %d: %v", at, err)
		}
	}
	for at := 3; at < operations; at += operations / 7 {
		disk := crashfs.New()
		disk.Arm(crashfs.Fault{At: at, Mode: crashfs.Full})
		got, err := run(disk, disk, lim)
		if err == nil && got == want {
			continue // it needed no more space
		}
		if !errors.Is(err, sandbox.Unavailable) || !vault.Full(err) {
			t.Errorf("full at %d of %d: %v", at, operations, err)
		}
	}
	for _, n := range []int{1, 1 << 20, 2 << 20} {
		disk, less := crashfs.New(), lim
		less.MaxSpillBytes = n
		if _, err := run(disk, disk, less); !errors.Is(err, sandbox.TooLarge) || !strings.Contains(err.Error(), "spilled") {
			t.Errorf("at most %d bytes: %v", n, err)
		}
	}
}

// TestSpillCancelled: a question that is given up leaves nothing.
func TestSpillCancelled(t *testing.T) {
	p, tables, lim := spillingQuestion(t)
	for _, at := range []int64{1, 20, 60} {
		disk := crashfs.New()
		ctx, cancel := context.WithCancel(t.Context())
		var n atomic.Int64
		src := madeSource(tables, 2)
		src.Spill = spillOn(t, &hooked{FS: disk, write: func() {
			if n.Add(1) == at {
				cancel()
			}
		}})
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		if _, err := Execute(ctx, mem, p, src, lim, Goroutines{Workers: 2}); !errors.Is(err, context.Canceled) {
			t.Errorf("at write %d: %v", at, err)
		}
		cancel()
		if mem.CurrentAlloc() != 0 || len(disk.Files()) > 0 {
			t.Errorf("at write %d: %d bytes and %d files left", at, mem.CurrentAlloc(), len(disk.Files()))
		}
	}
}
