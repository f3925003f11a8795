package vault

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/durable/crashfs"
	"github.com/opdomain/opdomain/sandbox"
)

// named is a file system that does not remove what is open, so that spilled files can be looked at.
type named struct{ durable.FS }

func (named) Remove(string) error { return os.ErrPermission }

func spillText(n int) []byte {
	out := make([]byte, 0, n)
	for i := 0; len(out) < n; i++ {
		out = append(out, "张三 310101199001011234 "...)
	}
	return out[:n]
}

func writeSpill(t *testing.T, s *Spill, b []byte, piece int) *SpillFile {
	t.Helper()
	x, err := s.Create()
	if err != nil {
		t.Fatal(err)
	}
	for len(b) > 0 {
		n := min(piece, len(b))
		if _, err := x.Write(b[:n]); err != nil {
			t.Fatal(err)
		}
		b = b[n:]
	}
	return x
}

func readSpill(x *SpillFile) ([]byte, error) {
	r, err := x.Open()
	if err != nil {
		return nil, err
	}
	b, err := io.ReadAll(r)
	return b, errors.Join(err, r.Close())
}

func TestSpillRoundTrip(t *testing.T) {
	for _, fs := range []durable.FS{durable.OS(), named{durable.OS()}, crashfs.New()} {
		dir := t.TempDir()
		if err := fs.MkdirAll(dir, 0o700); err != nil {
			t.Fatal(err)
		}
		s, err := SpillIn(fs, dir, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		for _, n := range []int{0, 1, chunkSize - 1, chunkSize, chunkSize + 1, 3*chunkSize + 17} {
			for _, piece := range []int{1009, chunkSize, 1 << 20} {
				want := spillText(n)
				x := writeSpill(t, s, want, piece)
				for range 2 {
					if got, err := readSpill(x); err != nil || !bytes.Equal(got, want) {
						t.Fatalf("%d bytes in writes of %d: %d bytes, %v", n, piece, len(got), err)
					}
				}
				if _, err := x.Write([]byte{1}); !errors.Is(err, sandbox.Internal) {
					t.Errorf("written behind a read: %v", err)
				}
				if _, ok := fs.(named); ok {
					continue // its files cannot go
				}
				if err := x.Close(); err != nil {
					t.Fatal(err)
				}
				if _, err := x.Open(); err == nil {
					t.Error("a closed file was read")
				}
			}
		}
		_ = s.Close()
		if left, _ := fs.ReadDir(filepath.Join(dir, spillDir)); fs == durable.OS() && len(left) > 0 {
			t.Errorf("%d files left", len(left))
		}
	}
}

// TestSpillIsUnreadable: where names cannot go, a process that dies leaves bytes of which nothing can be read, in any form, and two
// files of one content have nothing in common; the next Open of the vault removes them.
func TestSpillIsUnreadable(t *testing.T) {
	dir := t.TempDir()
	s, err := SpillIn(named{durable.OS()}, dir, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := spillText(chunkSize + 500)
	for range 2 {
		if _, err := readSpill(writeSpill(t, s, text, 700)); err != nil {
			t.Fatal(err)
		}
	}
	entries, err := os.ReadDir(filepath.Join(dir, spillDir))
	if err != nil || len(entries) != 2 {
		t.Fatalf("%d files, %v", len(entries), err)
	}
	var files [][]byte
	for _, e := range entries {
		b, err := os.ReadFile(filepath.Join(dir, spillDir, e.Name()))
		if err != nil {
			t.Fatal(err)
		}
		files = append(files, b)
		for at := 0; at+8 <= 64; at++ {
			w := text[at : at+8]
			for _, form := range [][]byte{w, []byte(hex.EncodeToString(w)), []byte(base64.StdEncoding.EncodeToString(w)[:10])} {
				if bytes.Contains(b, form) {
					t.Fatal("plaintext on the disk")
				}
			}
		}
	}
	for at := headerSize; at+16 < len(files[0]); at += 16 {
		if bytes.Equal(files[0][at:at+16], files[1][at:at+16]) {
			t.Fatal("two files share a block")
		}
	}
	v, err := OpenConfig(Config{Dir: dir, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(dir, spillDir)); !errors.Is(err, os.ErrNotExist) {
		t.Error("a dead job's files stayed")
	}
	if ids, err := v.Datasets(); err != nil || len(ids) > 0 {
		t.Errorf("%v, %v", ids, err)
	}
}

// TestSpillTampered: any bit that flips, any cut, and a chunk or file in another's place are found.
func TestSpillTampered(t *testing.T) {
	dir := t.TempDir()
	s, err := SpillIn(named{durable.OS()}, dir, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text := spillText(2*chunkSize + 100)
	x, other := writeSpill(t, s, text, 700), writeSpill(t, s, text, 700)
	for _, f := range []*SpillFile{x, other} {
		if _, err := readSpill(f); err != nil {
			t.Fatal(err)
		}
	}
	good, err := os.ReadFile(x.path)
	if err != nil {
		t.Fatal(err)
	}
	second, err := os.ReadFile(other.path)
	if err != nil {
		t.Fatal(err)
	}
	try := func(what string, b []byte) {
		t.Helper()
		if err := os.WriteFile(x.path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := readSpill(x); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("%s: %v", what, err)
		}
	}
	for _, at := range []int{0, 5, 20, 40, headerSize, headerSize + chunkSize, headerSize + sealedSize + 3, len(good) - 1} {
		b := bytes.Clone(good)
		b[at] ^= 1
		try("a flipped bit", b)
	}
	for _, n := range []int{0, headerSize, headerSize + sealedSize, len(good) - 1} {
		try("cut", good[:n])
	}
	try("longer", append(bytes.Clone(good), 0))
	swapped := bytes.Clone(good)
	copy(swapped[headerSize:], good[headerSize+sealedSize:][:sealedSize])
	copy(swapped[headerSize+sealedSize:], good[headerSize:][:sealedSize])
	try("chunks exchanged", swapped)
	try("another file of the job", second)
	if err := os.WriteFile(x.path, good, 0o600); err != nil {
		t.Fatal(err)
	}
	if got, err := readSpill(x); err != nil || !bytes.Equal(got, text) {
		t.Errorf("unchanged: %v", err)
	}
}

// TestSpillFull: a disk without room ends the job by name, and nothing is left.
func TestSpillFull(t *testing.T) {
	fs := crashfs.New()
	if err := fs.MkdirAll("v", 0o700); err != nil {
		t.Fatal(err)
	}
	free := uint64(1 << 40)
	v, err := OpenConfig(Config{FS: fs, Dir: "v", Rand: rand.Reader, Space: func(string) (uint64, uint64, error) { return free, 1 << 40, nil }})
	if err != nil {
		t.Fatal(err)
	}
	attempt := func() error {
		s, err := v.Spill()
		if err != nil {
			return err
		}
		defer func() {
			if err := s.Close(); err != nil {
				t.Error(err)
			}
			if len(fs.Files()) > 0 {
				t.Error("files left")
			}
		}()
		x, err := s.Create()
		if err != nil {
			return err
		}
		if _, err := x.Write(spillText(5 * chunkSize)); err != nil {
			if _, again := x.Write([]byte{1}); !errors.Is(again, sandbox.KindOf(err)) {
				t.Errorf("after an error: %v", again)
			}
			return err
		}
		_, err = readSpill(x)
		return err
	}
	if err := attempt(); err != nil {
		t.Fatal(err)
	}
	free = 1 << 20
	if err := attempt(); !errors.Is(err, sandbox.TooLarge) || !Full(err) {
		t.Errorf("only the reserve is left: %v", err)
	}
	free = 1 << 40
	for at := 1; at < 9; at++ {
		fs.Arm(crashfs.Fault{At: at, Mode: crashfs.Full})
		err := attempt()
		if err == nil {
			break
		}
		if !errors.Is(err, sandbox.Unavailable) || !Full(err) {
			t.Errorf("no space at operation %d: %v", at, err)
		}
	}
	fs.Arm(crashfs.Fault{})
	if err := attempt(); err != nil {
		t.Error(err)
	}
}
