package crashfs_test

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"syscall"
	"testing"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/durable/crashfs"
)

// TestReplaceSurvives breaks durable.Replace at each of its operations in every way: afterwards the file is the old or the
// new one, and the new one if Replace had returned.
func TestReplaceSurvives(t *testing.T) {
	before, after := []byte("the old bytes"), []byte("the new and longer bytes")
	start := func() *crashfs.FS {
		f := crashfs.New()
		f.Put("/d/file", before)
		return f
	}
	clean := start()
	clean.Arm(crashfs.Fault{})
	if err := durable.ReplaceIn(clean, "/d/file", after); err != nil {
		t.Fatal(err)
	}
	n := clean.Operations()
	if n < 5 {
		t.Fatalf("%d operations: the file system counts too few", n)
	}
	for at := 1; at <= n; at++ {
		for mode := crashfs.Fail; mode <= crashfs.Last; mode++ {
			for _, s := range []crashfs.Survive{crashfs.All, crashfs.Synced, crashfs.Mixed} {
				t.Run(fmt.Sprintf("%d-%d-%d", at, mode, s), func(t *testing.T) {
					f := start()
					f.Arm(crashfs.Fault{At: at, Mode: mode})
					err := durable.ReplaceIn(f, "/d/file", after)
					got, rerr := durable.ReadFile(f.Reboot(s, strings.NewReader("\x01\x00\x01\x01\x00")), "/d/file")
					if rerr != nil {
						t.Fatalf("the file is gone: %v", rerr)
					}
					if !bytes.Equal(got, before) && !bytes.Equal(got, after) {
						t.Fatalf("neither old nor new: %d bytes", len(got))
					}
					if err == nil && !bytes.Equal(got, after) {
						t.Fatal("Replace returned and the old file came back")
					}
				})
			}
		}
	}
}

// TestUnsyncedIsLost shows that the file system can tell a missing sync: bytes and names that were not synced go.
func TestUnsyncedIsLost(t *testing.T) {
	write := func(f *crashfs.FS, sync, dir bool) {
		x, err := f.OpenFile("/a", os.O_CREATE|os.O_WRONLY, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := x.Write([]byte("bytes")); err != nil {
			t.Fatal(err)
		}
		if sync {
			if err := x.Sync(); err != nil {
				t.Fatal(err)
			}
		}
		if dir {
			if err := f.SyncDir("/"); err != nil {
				t.Fatal(err)
			}
		}
	}
	for _, c := range []struct {
		sync, dir bool
		want      string
		err       error
	}{{true, true, "bytes", nil}, {false, true, "", nil}, {true, false, "", os.ErrNotExist}} {
		f := crashfs.New()
		write(f, c.sync, c.dir)
		b, err := durable.ReadFile(f.Reboot(crashfs.Synced, nil), "/a")
		if string(b) != c.want || !errors.Is(err, c.err) {
			t.Errorf("sync %v, folder %v: %q, %v", c.sync, c.dir, b, err)
		}
		if b, err = durable.ReadFile(f.Reboot(crashfs.All, nil), "/a"); string(b) != "bytes" || err != nil {
			t.Errorf("everything kept: %q, %v", b, err)
		}
	}
}

func TestFaults(t *testing.T) {
	for mode, want := range map[crashfs.Mode]error{crashfs.Fail: syscall.EIO, crashfs.Tear: syscall.EIO, crashfs.Crash: crashfs.ErrCrashed, crashfs.Full: syscall.ENOSPC, crashfs.Last: nil} {
		f := crashfs.New()
		x, err := f.OpenFile("/a", os.O_CREATE|os.O_RDWR, 0o600)
		if err != nil {
			t.Fatal(err)
		}
		f.Arm(crashfs.Fault{At: 2, Mode: mode})
		if _, err := x.Write([]byte("12345678")); err != nil {
			t.Fatal(err)
		}
		n, err := x.Write([]byte("abcdefgh"))
		if !errors.Is(err, want) {
			t.Errorf("mode %d: %v", mode, err)
		}
		if half := mode == crashfs.Tear || mode == crashfs.Crash || mode == crashfs.Full; half && n != 4 || mode == crashfs.Fail && n != 0 || mode == crashfs.Last && n != 8 {
			t.Errorf("mode %d wrote %d bytes", mode, n)
		}
		_, err = x.Write([]byte("later"))
		switch mode {
		case crashfs.Crash, crashfs.Last:
			if !errors.Is(err, crashfs.ErrCrashed) {
				t.Errorf("mode %d: a write after the crash: %v", mode, err)
			}
		case crashfs.Full:
			if !errors.Is(err, syscall.ENOSPC) {
				t.Errorf("a write to a full disk: %v", err)
			}
		default:
			if err != nil {
				t.Errorf("mode %d: %v", mode, err)
			}
		}
	}
}

// TestLikeOS plays the same calls on a folder of the machine and compares what they answer.
func TestLikeOS(t *testing.T) {
	real := t.TempDir()
	f := crashfs.New()
	kind := func(err error) string {
		for _, k := range []error{os.ErrNotExist, os.ErrExist, syscall.ENOTEMPTY, syscall.EISDIR, syscall.ENOTDIR, io.EOF, os.ErrClosed} {
			if errors.Is(err, k) {
				return k.Error()
			}
		}
		if err != nil {
			return "other"
		}
		return "nil"
	}
	play := func(fs durable.FS, root string) (out []string) {
		say := func(err error) { out = append(out, kind(err)) }
		say(fs.Mkdir(root+"/x", 0o700))
		say(fs.Mkdir(root+"/x", 0o700))
		say(fs.Mkdir(root+"/no/y", 0o700))
		say(fs.MkdirAll(root+"/x/y/z", 0o700))
		w, err := fs.OpenFile(root+"/x/f", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		say(err)
		_, err = fs.OpenFile(root+"/x/f", os.O_CREATE|os.O_EXCL|os.O_RDWR, 0o600)
		say(err)
		_, err = fs.OpenFile(root+"/x", os.O_RDWR, 0)
		say(err)
		_, err = fs.OpenFile(root+"/x/none", os.O_RDONLY, 0)
		say(err)
		_, _ = w.Write([]byte("0123456789"))
		_, _ = w.WriteAt([]byte("AB"), 12)
		say(w.Truncate(13))
		p := make([]byte, 8)
		n, err := w.ReadAt(p, 7)
		out = append(out, fmt.Sprintf("%d %q", n, p[:n]))
		say(err)
		at, _ := w.Seek(-3, io.SeekEnd)
		n, err = w.Read(p)
		out = append(out, fmt.Sprintf("%d %d %q", at, n, p[:n]))
		say(err)
		say(w.Sync())
		say(w.Close())
		say(w.Sync())
		say(fs.Remove(root + "/x"))
		say(fs.Rename(root+"/x/f", root+"/x/y/g"))
		say(fs.Rename(root+"/x/f", root+"/x/y/g"))
		say(fs.Rename(root+"/x/y/g", root+"/x"))
		b, err := durable.ReadFile(fs, root+"/x/y/g")
		out = append(out, fmt.Sprintf("%q", b))
		say(err)
		list, err := fs.ReadDir(root + "/x/y")
		for _, e := range list {
			out = append(out, fmt.Sprint(e.Name(), e.IsDir()))
		}
		say(err)
		info, err := fs.Stat(root + "/x/y/g")
		out = append(out, fmt.Sprint(info.Size(), info.IsDir()))
		say(err)
		say(fs.SyncDir(root + "/x"))
		say(fs.RemoveAll(root + "/x"))
		say(fs.RemoveAll(root + "/x"))
		_, err = fs.Stat(root + "/x")
		say(err)
		return out
	}
	a, b := play(durable.OS(), real), play(f, "")
	for i := range a {
		if a[i] != b[i] {
			t.Errorf("step %d: the machine says %s, crashfs %s", i, a[i], b[i])
		}
	}
}

// TestMovedNames: after a power cut a moved file is under one of its names, whichever way the coins fall.
func TestMovedNames(t *testing.T) {
	seen := map[string]bool{}
	for coins := range 16 {
		f := crashfs.New()
		f.Put("/d/b", []byte("old"))
		f.Put("/d/a", []byte("new"))
		if err := f.Rename("/d/a", "/d/b"); err != nil {
			t.Fatal(err)
		}
		got := f.Reboot(crashfs.Mixed, bytes.NewReader([]byte{byte(coins), byte(coins >> 1), byte(coins >> 2), byte(coins >> 3), 0, 0, 0, 0})).Files()
		state := fmt.Sprintf("a=%s b=%s", got["/d/a"], got["/d/b"])
		if state != "a=new b=old" && state != "a= b=new" && len(got) > 0 {
			t.Errorf("coins %d: %s", coins, state)
		}
		seen[state] = true
	}
	if len(seen) < 2 {
		t.Error("every coin gives the same")
	}
}
