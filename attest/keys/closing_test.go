package keys

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

var march = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

// TestAClosedKeyIsNotTheKeyOfZeros: what was zeroed refuses instead of deriving and wrapping under a key everyone knows.
func TestAClosedKeyIsNotTheKeyOfZeros(t *testing.T) {
	f, dir := made(t)
	secret, err := f.Secret("store")
	if err != nil {
		t.Fatal(err)
	}
	v, err := f.NewVersionKey(version)
	if err != nil {
		t.Fatal(err)
	}
	before, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
	for _, k := range []*Key{secret, v} {
		if b, err := k.Derive(32, "x"); !errors.Is(err, sandbox.Unavailable) || b != nil {
			t.Errorf("a closed %s derives: %v", k.ID(), err)
		}
	}
	if _, err := f.Secret("new"); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("a closed folder makes a secret: %v", err)
	}
	for _, u := range []sandbox.PartyID{version.Unit, "other"} {
		if _, err := f.NewVersionKey(Version{Unit: u, Dataset: "ds", Version: 2, Grade: 1}); !errors.Is(err, sandbox.Unavailable) {
			t.Errorf("a closed folder makes a version key: %v", err)
		}
	}
	after, err := os.ReadDir(dir)
	if err != nil || len(after) != len(before) {
		t.Errorf("%d files before, %d after, %v", len(before), len(after), err)
	}
	f.Close()
}

// TestADestroyedKeyIsForgotten also where it is still held; meant for -race.
func TestADestroyedKeyIsForgotten(t *testing.T) {
	f, _ := made(t)
	k, err := f.NewVersionKey(version)
	if err != nil {
		t.Fatal(err)
	}
	want := derive(t, k, "x")
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() {
			for range 200 {
				if b, err := k.Derive(32, "x"); err == nil && !bytes.Equal(b, want) || err != nil && !errors.Is(err, sandbox.Unavailable) {
					t.Errorf("while it is destroyed: %v", err)
				}
			}
		})
	}
	if _, err := f.Destroy(k.ID(), "agency", march); err != nil {
		t.Error(err)
	}
	wg.Wait()
	if _, err := k.Derive(32, "x"); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("a destroyed key derives: %v", err)
	}
	if k.secret != ([keyLen]byte{}) {
		t.Error("a destroyed key is still in memory")
	}
}

// TestDestroyIsWholeOrNot: without an approver, a time or randomness for the signature nothing is destroyed, and a
// certificate states what the file's seal vouches for.
func TestDestroyIsWholeOrNot(t *testing.T) {
	f, dir := made(t)
	k, err := f.NewVersionKey(version)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Destroy(k.ID(), "", march); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("no approver: %v", err)
	}
	if _, err := f.Destroy(k.ID(), "agency", time.Time{}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("no time: %v", err)
	}
	f.rand = bytes.NewReader(nil)
	if _, err := f.Destroy(k.ID(), "agency", march); err == nil {
		t.Error("a certificate without randomness")
	}
	f.rand = rand.Reader
	derive(t, k, "x")
	path := filepath.Join(dir, string(k.ID())+suffix)
	forge(t, path, func(x *file) { x.Header.Version.Dataset = "other" })
	if e, err := f.Destroy(k.ID(), "agency", march); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a forged file is certified as %+v, %v", e.Version, err)
	}
	if _, err := os.Stat(path); err != nil {
		t.Error(err)
	}
	forge(t, path, func(x *file) { x.Header.Version.Dataset = version.Dataset })
	e, err := f.Destroy(k.ID(), "agency", march)
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(e)
	if err != nil {
		t.Fatal(err)
	}
	var back Erasure
	if err := json.Unmarshal(b, &back); err != nil || back.Verify(f.SigningKey().Public()) != nil {
		t.Errorf("a certificate does not survive its encoding: %v", err)
	}
	back.Approver = "other"
	if err := back.Verify(f.SigningKey().Public()); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a changed certificate: %v", err)
	}
}

// forge changes a key file as one who knows the format and has no key: its one form and its checksum are right.
func forge(t *testing.T, path string, change func(*file)) {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	x, ok := parse(b)
	if !ok {
		t.Fatal("not a key file")
	}
	change(&x)
	ad, err := json.Marshal(x.Header)
	if err != nil {
		t.Fatal(err)
	}
	x.Check = checksum(ad, x.Nonce, x.Sealed)
	if b, err = x.encode(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b, 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestForgedHeaders: a header that only the seal vouches for names no file, makes no key and opens nothing.
func TestForgedHeaders(t *testing.T) {
	for name, change := range map[string]func(*file){
		"unit outside":  func(x *file) { x.Header.Version.Unit = "../../outside"; x.Header.KEK = "unit-../../outside" },
		"unknown unit":  func(x *file) { x.Header.Version.Unit = "nobody"; x.Header.KEK = "unit-nobody" },
		"another kek":   func(x *file) { x.Header.KEK = "unit-nobody" },
		"dataset":       func(x *file) { x.Header.Version.Dataset = "other" },
		"version":       func(x *file) { x.Header.Version.Version++ },
		"grade":         func(x *file) { x.Header.Version.Grade = 1 },
		"purpose":       func(x *file) { x.Header.Purpose = "secret" },
		"no version":    func(x *file) { x.Header.Version = nil },
		"commitment":    func(x *file) { x.Header.Commitment[0] ^= 1 },
		"nonce":         func(x *file) { x.Sealed = x.Sealed[:11] },
		"own":           func(x *file) { x.Header.Own = "own-" + x.Header.ID },
		"mechanism":     func(x *file) { x.Header.Mechanism = "AES-256-GCM" },
		"sealed":        func(x *file) { x.Sealed[0] ^= 1 },
		"nothing there": func(x *file) { x.Sealed = nil },
	} {
		f, dir := made(t)
		v, err := f.NewVersionKey(version)
		if err != nil {
			t.Fatal(err)
		}
		forge(t, filepath.Join(dir, string(v.ID())+suffix), change)
		// What the header of "unit outside" leads to, so that reading it would be seen.
		if err := os.WriteFile(filepath.Join(dir, "outside.key"), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
		before, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), "*", "*"))
		g, err := Open(dir, phrase, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := g.VersionKey(v.ID()); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), string(v.ID())) || strings.Contains(err.Error(), "outside") {
			t.Errorf("%s: %v", name, err)
		}
		after, _ := filepath.Glob(filepath.Join(filepath.Dir(dir), "*", "*"))
		if len(before) == 0 || len(after) != len(before) {
			t.Errorf("%s: %d files before, %d after", name, len(before), len(after))
		}
	}
	f, dir := made(t)
	f.Close()
	forge(t, filepath.Join(dir, rootFile), func(x *file) { x.Header.Argon2id.Time++ })
	if _, err := Open(dir, phrase, rand.Reader); !errors.Is(err, sandbox.Passphrase) {
		t.Errorf("a forged root: %v", err)
	}
}

// TestADamagedRootIsNamed: each byte of the root file, so that damage does not pass for a wrong passphrase.
func TestADamagedRootIsNamed(t *testing.T) {
	_, dir := made(t)
	path := filepath.Join(dir, rootFile)
	good, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	damaged := func(b []byte, what string) {
		t.Helper()
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Open(dir, phrase, rand.Reader); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), rootFile) {
			t.Fatalf("%s: %v", what, err)
		}
	}
	for i := range good {
		bad := bytes.Clone(good)
		bad[i] ^= 1
		damaged(bad, fmt.Sprint("byte ", i))
		if _, ok := parse(good[:i]); ok {
			t.Fatalf("cut at %d", i)
		}
	}
	damaged(append(bytes.Clone(good), '\n'), "longer")
	damaged(append(bytes.Clone(good), bytes.Repeat([]byte{' '}, maxFile)...), "far too long")
}

// TestCreateIsWholeOrNot ends the randomness at every draw: the folder never opens half made, and keys that are there are
// never written over.
func TestCreateIsWholeOrNot(t *testing.T) {
	parent := t.TempDir()
	whole := false
	for n := 0; !whole && n < 1000; n += 7 {
		dir := filepath.Join(parent, fmt.Sprint(n))
		_, err := Create(dir, phrase, cheap, io.LimitReader(rand.Reader, int64(n)))
		whole = err == nil
		if whole {
			continue
		}
		if !errors.Is(err, sandbox.Unavailable) {
			t.Fatalf("%d bytes: %v", n, err)
		}
		if _, err := Open(dir, phrase, rand.Reader); !errors.Is(err, sandbox.NotFound) {
			t.Fatalf("half made after %d bytes: %v", n, err)
		}
	}
	if !whole {
		t.Error("never made")
	}
	f, dir := made(t)
	if err := os.Remove(filepath.Join(dir, rootFile)); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(dir, phrase, cheap, rand.Reader); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("made over keys whose root may come back: %v", err)
	}
	f.Close()
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Create(open, phrase, cheap, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(open); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("an existing folder stays %v, %v", info.Mode(), err)
	}
}

// TestCutShortWritesAreSwept: the temporary file of a version key has a name nothing would write again.
func TestCutShortWritesAreSwept(t *testing.T) {
	f, dir := made(t)
	f.Close()
	left := filepath.Join(dir, "v-0123456789abcdef0123.key.tmp")
	if err := os.WriteFile(left, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, []byte("wrong"), rand.Reader); !errors.Is(err, sandbox.Passphrase) {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); err != nil {
		t.Error("swept without the passphrase")
	}
	if _, err := Open(dir, phrase, rand.Reader); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(left); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("what a crash left stays: %v", err)
	}
}

// TestNoKeyIsInAFile looks for every key as bytes, hex and base64.
func TestNoKeyIsInAFile(t *testing.T) {
	f, dir := made(t)
	s, err := f.Secret("store")
	if err != nil {
		t.Fatal(err)
	}
	v, err := f.NewVersionKey(version)
	if err != nil {
		t.Fatal(err)
	}
	var secrets [][]byte
	dev := f.device.(*FileDevice)
	for _, k := range []*Key{dev.keks[KEK{rootName, 1}], dev.keks[KEK{"unit-unit", 1}], s, v} {
		secrets = append(secrets, bytes.Clone(k.secret[:]))
	}
	secrets = append(secrets, f.signing.Bytes(), f.decrypting.Bytes(), phrase)
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 6 {
		t.Fatalf("%v %v", names, err)
	}
	for _, path := range names {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		x, ok := parse(b)
		if !ok {
			t.Fatal(path)
		}
		for _, field := range [][]byte{b, x.Sealed, x.Nonce, x.Header.Salt, x.Header.Commitment} {
			for _, secret := range secrets {
				quoted, _ := json.Marshal(secret)
				for _, form := range [][]byte{secret, quoted[1 : len(quoted)-3], fmt.Appendf(nil, "%x", secret)} {
					if bytes.Contains(field, form) {
						t.Errorf("%s shows a key", filepath.Base(path))
					}
				}
			}
		}
	}
}

// TestRedactedUnderEveryVerb: also those that String does not serve.
func TestRedactedUnderEveryVerb(t *testing.T) {
	f, _ := made(t)
	k, err := f.Secret("x")
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%d", "%x", "%q", "%o", "%t"} {
		if text := fmt.Sprintf(verb, k); text != k.String() {
			t.Errorf("%s prints otherwise than String", verb)
		}
	}
	//lint:ignore SA9005 that it gives nothing is what is tested
	if b, err := json.Marshal(k); err != nil || string(b) != "{}" {
		t.Error("a key has JSON")
	}
}

func FuzzParse(f *testing.F) {
	x := file{Header: header{Format: 1, Purpose: "version", ID: "v-0", KEK: "unit-u", Version: &Version{Unit: "u", Dataset: "d", Version: 1, Grade: 1}, Commitment: make([]byte, sm.Size)},
		Nonce: make([]byte, 12), Sealed: make([]byte, 80)}
	ad, err := json.Marshal(x.Header)
	if err != nil {
		f.Fatal(err)
	}
	x.Check = checksum(ad, x.Nonce, x.Sealed)
	good, err := x.encode()
	if err != nil {
		f.Fatal(err)
	}
	if _, ok := parse(good); !ok {
		f.Fatal("the seed is no key file")
	}
	later := x
	later.Header.Format = 3
	if ad, err = json.Marshal(later.Header); err != nil {
		f.Fatal(err)
	}
	later.Check = checksum(ad, x.Nonce, x.Sealed)
	if b, err := later.encode(); err != nil {
		f.Fatal(err)
	} else if _, ok := parse(b); ok {
		f.Error("a format to come is read as this one")
	}
	f.Add(good)
	f.Add([]byte(`{"header":{"format":1},"nonce":null,"sealed":null,"check":null}` + "\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		x, ok := parse(b)
		if !ok {
			return
		}
		if again, err := x.encode(); err != nil || !bytes.Equal(again, b) {
			t.Error("a key file has two forms")
		}
		if _, err := x.opened("x", func(aad, box []byte) ([]byte, error) { return openGCM(make([]byte, sm.KeySize), aad, box) }); err == nil {
			t.Error("opens under a key of zeros")
		}
	})
}
