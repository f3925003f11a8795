package ingest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io/fs"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/durable/crashfs"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// disk is a file system of a size: the bytes that files under a folder take are used.
type disk struct {
	size, other uint64
}

func (d *disk) space(dir string) (free, size uint64, err error) {
	used := d.other
	err = filepath.WalkDir(dir, func(_ string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		if err == nil {
			used += uint64(info.Size())
		}
		return err
	})
	return d.size - min(used, d.size), d.size, err
}

// TestReserveIsKept: a push that does not fit beside the disk's reserve is refused and leaves nothing; what was there before
// stays readable, and a push that fits goes through.
func TestReserveIsKept(t *testing.T) {
	p := open(t)
	d := &disk{size: 16 << 20} // 4 MiB of it are kept
	var err error
	if p.vault, err = vault.OpenConfig(vault.Config{Dir: p.dir, Keys: p.keys, Rand: rand.Reader, SortBytes: 1 << 20, Space: d.space}); err != nil {
		t.Fatal(err)
	}
	if _, err := p.receive(t, claims, "run-1", sealed(t, 0, encode(t, claims, rows(0, 100))), Limits{}); err != nil {
		t.Fatal(err)
	}
	before := p.files(t)
	var large [][]byte
	for i := range 12 {
		in := rows(0, 999)
		for k := range in {
			in[k].phone = strings.Repeat("7", 1000+i)
		}
		large = append(large, encode(t, claims, in))
	}
	for name, other := range map[string]uint64{"on the way": 6 << 20, "at the commit": 0, "from the start": 12 << 20} {
		d.other = other
		_, err = p.receive(t, claims, "run-2", sealed(t, 0, large...), Limits{})
		var r *Refusal
		if !errors.As(err, &r) || !errors.Is(err, sandbox.TooLarge) || !vault.Full(err) || !strings.Contains(err.Error(), "less than 4 MiB left") {
			t.Errorf("%s: %v", name, err)
		}
		if after := p.files(t); strings.Join(after, "\n") != strings.Join(before, "\n") {
			t.Errorf("%s: %d files, before %d", name, len(after), len(before))
		}
		if _, err := p.intake.Standing(context.Background(), claims.ID, "run-2"); err != nil {
			t.Errorf("%s: the run is still held: %v", name, err)
		}
	}
	head, err := p.vault.Head(claims.ID)
	if err != nil || head.Version != 1 || len(p.read(t, head, "person")) != 100 {
		t.Errorf("what was there: version %d, %v", head.Version, err)
	}
	d.size, d.other = 64<<20, 0
	if rep, err := p.receive(t, claims, "run-3", sealed(t, 0, large...), Limits{}); err != nil || rep.Snapshot.Version != 2 {
		t.Errorf("with room: %v", err)
	}
}

// TestFullDiskRefusesTheRun: whatever write first finds the disk full, the run is refused, its stage is gone and the version
// that was stays.
func TestFullDiskRefusesTheRun(t *testing.T) {
	k, err := keys.Create(filepath.Join(t.TempDir(), "keys"), []byte("test"), keys.Params{Time: 1, Memory: 8, Threads: 1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	good := encode(t, claims, rows(0, 50))
	struck := 0
	for at := 1; at < 400; at++ {
		files := crashfs.New()
		v, err := vault.OpenConfig(vault.Config{FS: files, Dir: "/vault", Keys: k, Rand: rand.Reader, SortBytes: 1 << 12})
		if err != nil {
			t.Fatal(err)
		}
		in, err := New(Config{Now: time.Now}, memory.DefaultAllocator, v, NewPseudonymizer(bytes.Repeat([]byte{7}, 32)))
		if err != nil {
			t.Fatal(err)
		}
		files.Arm(crashfs.Fault{At: at, Mode: crashfs.Full})
		_, err = in.Receive(context.Background(), Push{Run: "run-1", Dataset: claims, Frames: sealed(t, 0, good, good)})
		end := files.Operations() < at
		if err == nil {
			if end {
				break
			}
			continue // nothing behind it needed space
		}
		struck++
		var r *Refusal
		if !errors.As(err, &r) || !vault.Full(err) || !errors.Is(err, sandbox.TooLarge) {
			t.Fatalf("operation %d: %v", at, err)
		}
		if s, err := v.Stages(); err != nil || len(s) != 0 {
			t.Fatalf("operation %d: %d stages wait, %v", at, len(s), err)
		}
		for name := range files.Files() {
			if strings.Contains(name, "stage-") || strings.HasSuffix(name, ".col") {
				t.Errorf("operation %d left %s", at, name)
			}
		}
	}
	if struck < 10 {
		t.Errorf("only %d operations needed space", struck)
	}
}
