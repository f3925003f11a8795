package keys

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// cheap is a derivation for tests: these passphrases protect nothing.
var cheap = Params{Time: 1, Memory: 64, Threads: 1}

var phrase = []byte("correct horse")

func made(t *testing.T) (*File, string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "keys")
	f, err := Create(dir, phrase, cheap, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return f, dir
}

var version = Version{Unit: "unit", Dataset: "ds", Version: 1, Grade: sandbox.Grade3}

func derive(t *testing.T, k *Key, context ...string) []byte {
	t.Helper()
	b, err := k.Derive(32, context...)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestKeysSurviveReopening(t *testing.T) {
	f, dir := made(t)
	secret, err := f.Secret("store")
	if err != nil {
		t.Fatal(err)
	}
	v, err := f.NewVersionKey(version)
	if err != nil {
		t.Fatal(err)
	}
	g, err := Open(dir, phrase, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	again, err := g.Secret("store")
	if err != nil || !bytes.Equal(derive(t, again, "x"), derive(t, secret, "x")) {
		t.Errorf("a secret differs after reopening: %v", err)
	}
	w, err := g.VersionKey(v.ID())
	if err != nil || !bytes.Equal(derive(t, w, "x"), derive(t, v, "x")) || w.Commitment() != v.Commitment() {
		t.Errorf("a version key differs after reopening: %v", err)
	}
	if !bytes.Equal(g.SigningKey().Bytes(), f.SigningKey().Bytes()) || !bytes.Equal(g.DecryptKey().Bytes(), f.DecryptKey().Bytes()) {
		t.Error("the domain's keys differ after reopening")
	}
	if bytes.Equal(f.SigningKey().Bytes(), f.DecryptKey().Bytes()) {
		t.Error("signing and decryption keys are one")
	}
	other, err := g.Secret("log")
	if err != nil || bytes.Equal(derive(t, other, "x"), derive(t, secret, "x")) {
		t.Error("two secrets are one")
	}
	if bytes.Equal(derive(t, secret, "ab", "c"), derive(t, secret, "a", "bc")) || bytes.Equal(derive(t, secret, "a"), derive(t, secret, "a", "")) {
		t.Error("two contexts give one key")
	}
}

func TestWrongPassphrase(t *testing.T) {
	_, dir := made(t)
	for _, p := range [][]byte{nil, []byte("x"), []byte("correct horse "), []byte("Correct horse")} {
		_, err := Open(dir, p, rand.Reader)
		if !errors.Is(err, sandbox.Passphrase) || len(p) > 3 && strings.Contains(err.Error(), string(p)) {
			t.Errorf("%v", err)
		}
	}
}

// TestEveryByteOfEveryKeyFileCounts flips each byte of each file in turn: the file is named, or, for the root, the
// passphrase no longer opens it.
func TestEveryByteOfEveryKeyFileCounts(t *testing.T) {
	f, dir := made(t)
	if _, err := f.Secret("store"); err != nil {
		t.Fatal(err)
	}
	v, err := f.NewVersionKey(version)
	if err != nil {
		t.Fatal(err)
	}
	names, err := filepath.Glob(filepath.Join(dir, "*"))
	if err != nil || len(names) != 6 {
		t.Fatalf("%v %v", names, err)
	}
	for _, path := range names {
		good, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		name := filepath.Base(path)
		for i := range good {
			bad := bytes.Clone(good)
			bad[i] ^= 1
			if err := os.WriteFile(path, bad, 0o600); err != nil {
				t.Fatal(err)
			}
			g, err := Open(dir, phrase, rand.Reader)
			if err == nil {
				_, e1 := g.Secret("store")
				_, e2 := g.VersionKey(v.ID())
				err = errors.Join(e1, e2)
			}
			ok := errors.Is(err, sandbox.Tampered) && strings.Contains(err.Error(), name) || name == rootFile && errors.Is(err, sandbox.Passphrase)
			if !ok {
				t.Fatalf("%s byte %d: %v", name, i, err)
			}
		}
		if err := os.WriteFile(path, good, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

func TestFilesCannotBeSwapped(t *testing.T) {
	f, dir := made(t)
	a, err := f.NewVersionKey(version)
	if err != nil {
		t.Fatal(err)
	}
	b, err := f.NewVersionKey(Version{Unit: "unit", Dataset: "other", Version: 1, Grade: 1})
	if err != nil {
		t.Fatal(err)
	}
	pa, pb := filepath.Join(dir, string(a.ID())+".key"), filepath.Join(dir, string(b.ID())+".key")
	if err := errors.Join(os.Rename(pa, pa+"x"), os.Rename(pb, pa), os.Rename(pa+"x", pb)); err != nil {
		t.Fatal(err)
	}
	g, err := Open(dir, phrase, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for _, id := range []sandbox.KeyID{a.ID(), b.ID()} {
		if _, err := g.VersionKey(id); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("a swapped file: %v", err)
		}
	}
	if err := os.Remove(pa); err != nil {
		t.Fatal(err)
	}
	if _, err := g.VersionKey(a.ID()); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("a missing file: %v", err)
	}
	for _, id := range []sandbox.KeyID{"", "root", "../root", "v-../x", "secret-store"} {
		if _, err := g.VersionKey(id); !errors.Is(err, sandbox.NotFound) {
			t.Errorf("%q: %v", id, err)
		}
	}
}

func TestDestroy(t *testing.T) {
	f, dir := made(t)
	k, err := f.NewVersionKey(version)
	if err != nil {
		t.Fatal(err)
	}
	commitment := k.Commitment()
	at := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	e, err := f.Destroy(k.ID(), "agency", at)
	if err != nil {
		t.Fatal(err)
	}
	if err := e.Verify(f.SigningKey().Public()); err != nil {
		t.Error(err)
	}
	if e.Proves != "procedure only" || len(e.Remains) == 0 || e.Version != version || !bytes.Equal(e.Commitment, commitment[:]) {
		t.Errorf("the certificate says %+v", e)
	}
	changed := e
	changed.Proves = "erased"
	if err := changed.Verify(f.SigningKey().Public()); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a changed certificate: %v", err)
	}
	for _, g := range []func() (*File, error){func() (*File, error) { return f, nil }, func() (*File, error) { return Open(dir, phrase, rand.Reader) }} {
		h, err := g()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := h.VersionKey(k.ID()); !errors.Is(err, sandbox.NotFound) {
			t.Errorf("a destroyed key: %v", err)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(dir, string(k.ID())+"*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
	if _, err := f.Destroy(k.ID(), "agency", at); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("destroyed twice: %v", err)
	}
}

func TestFilesAreTheOwnersAndWhole(t *testing.T) {
	f, dir := made(t)
	if _, err := f.NewVersionKey(version); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "root.key.tmp"), []byte("half a file"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(dir, phrase, rand.Reader); err != nil {
		t.Errorf("what a crash left stops the folder from opening: %v", err)
	}
	info, err := os.Stat(dir)
	if err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("folder %v %v", info.Mode(), err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		info, err := e.Info()
		if err != nil || info.Mode().Perm() != 0o600 {
			t.Errorf("%s is %v", e.Name(), info.Mode())
		}
	}
	if _, err := Create(dir, phrase, cheap, rand.Reader); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("made over another: %v", err)
	}
}

// TestConcurrentUse is meant for -race.
func TestConcurrentUse(t *testing.T) {
	f, _ := made(t)
	var mu sync.Mutex
	var first [][]byte
	var wg sync.WaitGroup
	for range 8 {
		wg.Go(func() {
			k, err := f.Secret("shared")
			if err != nil {
				t.Error(err)
				return
			}
			b, err := k.Derive(32, "x")
			if err != nil {
				t.Error(err)
			}
			v, err := f.NewVersionKey(version)
			if err != nil {
				t.Error(err)
				return
			}
			if _, err := f.VersionKey(v.ID()); err != nil {
				t.Error(err)
			}
			mu.Lock()
			defer mu.Unlock()
			first = append(first, b)
		})
	}
	wg.Wait()
	if len(first) != 8 || slices.ContainsFunc(first, func(b []byte) bool { return !bytes.Equal(b, first[0]) }) {
		t.Error("one secret was made twice")
	}
}

func TestBadInput(t *testing.T) {
	f, _ := made(t)
	for name, v := range map[string]Version{"unit": {Dataset: "d", Version: 1, Grade: 1}, "dataset": {Unit: "u", Dataset: "../x", Version: 1, Grade: 1}, "version": {Unit: "u", Dataset: "d", Grade: 1},
		"grade": {Unit: "u", Dataset: "d", Version: 1, Grade: 5}} {
		if _, err := f.NewVersionKey(v); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := f.Secret("../x"); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("secret name: %v", err)
	}
	for _, p := range []Params{{Time: 0, Memory: 64, Threads: 1}, {Time: 1, Memory: 1, Threads: 1}, {Time: 1, Memory: 5 << 20, Threads: 1}} {
		if _, err := Create(filepath.Join(t.TempDir(), "k"), phrase, p, rand.Reader); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%+v: %v", p, err)
		}
	}
	if _, err := Create(filepath.Join(t.TempDir(), "k"), nil, cheap, rand.Reader); !errors.Is(err, sandbox.Invalid) {
		t.Error("an empty passphrase was taken")
	}
}

func TestKeysPrintRedacted(t *testing.T) {
	f, _ := made(t)
	k, err := f.Secret("x")
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s"} {
		text := fmt.Sprintf(verb, k)
		if !strings.Contains(text, "redacted") || strings.Contains(text, fmt.Sprint(k.secret[0], " ", k.secret[1])) || strings.Contains(text, fmt.Sprintf("%x", k.secret[:4])) {
			t.Errorf("%s shows the key", verb)
		}
	}
	f.Close()
	if k.secret != ([32]byte{}) {
		t.Error("Close leaves a key in memory")
	}
}
