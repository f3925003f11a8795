package keys

import (
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// TestALostUnitKeyIsNotReplaced: a new KEK where a unit's file is lost would bury the versions under the old one, also
// after the file is restored.
func TestALostUnitKeyIsNotReplaced(t *testing.T) {
	// A folder's name is no pattern.
	dir := filepath.Join(t.TempDir(), "keys [1]*")
	f, err := Create(dir, phrase, cheap, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	v := Version{Unit: "unit-a", Dataset: "ds", Version: 1, Grade: 2}
	first, err := f.NewVersionKey(v)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	path := filepath.Join(dir, "unit-unit-a.key")
	if err := os.Rename(path, path+".away"); err != nil {
		t.Fatal(err)
	}
	if f, err = Open(dir, phrase, rand.Reader); err != nil {
		t.Fatal(err)
	}
	v.Version = 2
	if _, err := f.NewVersionKey(v); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "unit-unit-a.key") {
		t.Errorf("over a lost key: %v", err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a file in its place: %v", err)
	}
	v.Unit = "unit-b"
	if _, err := f.NewVersionKey(v); err != nil {
		t.Errorf("another unit: %v", err)
	}
	if err := os.Rename(path+".away", path); err != nil {
		t.Fatal(err)
	}
	if k, err := f.VersionKey(first.ID()); err != nil || k.Commitment() != first.Commitment() {
		t.Errorf("restored: %v", err)
	}
	v.Unit = "unit-a"
	if _, err := f.NewVersionKey(v); err != nil {
		t.Errorf("restored: %v", err)
	}
}
