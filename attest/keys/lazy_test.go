package keys

import (
	"crypto/rand"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/durable/crashfs"
)

// counting counts the version key files that are opened.
type counting struct {
	*crashfs.FS
	n atomic.Int64
}

func (c *counting) OpenFile(name string, flag int, perm os.FileMode) (durable.File, error) {
	if strings.HasPrefix(filepath.Base(name), "v-") {
		c.n.Add(1)
	}
	return c.FS.OpenFile(name, flag, perm)
}

// TestOpenReadsNoVersionKey however many there are.
func TestOpenReadsNoVersionKey(t *testing.T) {
	fs := crashfs.New()
	v, err := createOn(fs)
	if err != nil {
		t.Fatal(err)
	}
	var k *Key
	for i := range 50 {
		if k, err = v.NewVersionKey(Version{"u", "ds", uint64(i + 1), 1}); err != nil {
			t.Fatal(err)
		}
	}
	c := &counting{FS: fs}
	d, err := OpenFileDevice(FileConfig{Dir: "/k", FS: c, Rand: rand.Reader, Passphrase: phrase})
	if err != nil {
		t.Fatal(err)
	}
	w, err := OpenVault(Config{Dir: "/k", FS: c, Rand: rand.Reader, Device: d})
	if err != nil || c.n.Load() != 0 {
		t.Errorf("%d version keys read, %v", c.n.Load(), err)
	}
	if _, err := w.VersionKey(k.ID()); err != nil || c.n.Load() != 1 {
		t.Errorf("%d version keys read, %v", c.n.Load(), err)
	}
}

// BenchmarkOpen opens a folder of 10,000 version keys.
func BenchmarkOpen(b *testing.B) {
	dir := filepath.Join(b.TempDir(), "k")
	v, err := Create(dir, phrase, cheap, rand.Reader)
	if err != nil {
		b.Fatal(err)
	}
	k, err := v.NewVersionKey(version)
	if err != nil {
		b.Fatal(err)
	}
	text, err := v.bytes(string(k.ID())+suffix, maxFile)
	if err != nil {
		b.Fatal(err)
	}
	for i := range 9999 { // only their names are met
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("v-%020x%s", i, suffix)), text, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	for b.Loop() {
		v, err := Open(dir, phrase, rand.Reader)
		if err != nil {
			b.Fatal(err)
		}
		v.Close()
	}
}
