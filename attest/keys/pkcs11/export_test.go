//go:build cgo

package pkcs11

import (
	"crypto/rand"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
)

// TestARootInATokenIsNotExported: refused with its reason.
func TestARootInATokenIsNotExported(t *testing.T) {
	m, _ := softHSM(t)
	v, err := keys.CreateVault(keys.Config{Dir: filepath.Join(t.TempDir(), "k"), Rand: rand.Reader, Device: device0(t, m)})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if _, err := v.ExportShares("d", 2, 3, time.Unix(1e9, 0)); !errors.Is(err, sandbox.Denied) {
		t.Errorf("%v", err)
	}
}
