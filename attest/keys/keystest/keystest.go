// Package keystest is the contract suite of key devices (密码设备合约测试): what every keys.Device promises, and what a keys.Vault
// does over it. A driver's tests call Run with a way to make an empty device and to open the same one again. It checks
// behaviour and error kinds, not what a device is made of; faults of disks and tokens are each driver's own tests. For
// tests only.
package keystest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
)

// Opener (设备开启函数) opens one device, again after Close: the first time it holds no KEK. dir is the vault's folder.
type Opener func(t *testing.T) (keys.Device, error)

// Run checks a driver. fresh gives the opener of a new, empty device whose files, if any, are in dir.
func Run(t *testing.T, fresh func(t *testing.T, dir string) Opener) {
	for name, f := range map[string]func(*testing.T, string, Opener){
		"keks": keks, "wrapping": wrapping, "closing": closing, "statements": statements, "concurrency": concurrency,
		"vault": vault, "rotation": rotation, "erasure": erasure, "unit": unit, "orphans": orphans, "signing": signing, "version keks": versionKEKs,
	} {
		t.Run(name, func(t *testing.T) {
			dir := filepath.Join(t.TempDir(), "keys")
			f(t, dir, fresh(t, dir))
		})
	}
}

var at = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func must[T any](t *testing.T) func(T, error) T {
	return func(x T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return x
	}
}

func open(t *testing.T, o Opener) keys.Device {
	t.Helper()
	d := must[keys.Device](t)(o(t))
	t.Cleanup(d.Close)
	return d
}

func kind(t *testing.T, what string, err error, k sandbox.Kind) {
	t.Helper()
	if !errors.Is(err, k) {
		t.Errorf("%s: %v, not %s", what, err, k)
	}
}

func rooted(t *testing.T, dir string, o Opener) keys.Device {
	t.Helper()
	if err := os.MkdirAll(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	d := open(t, o)
	if err := d.Generate(keys.KEK{Name: "root", Generation: 1}); err != nil {
		t.Fatal(err)
	}
	return d
}

func keks(t *testing.T, dir string, o Opener) {
	d := rooted(t, dir, o)
	if err := d.Check(); err != nil {
		t.Error(err)
	}
	u := sandbox.KeyID("unit-a.b_c-1")
	if g := must[[]uint32](t)(d.Generations(u)); len(g) != 0 {
		t.Errorf("generations of nothing: %v", g)
	}
	for _, g := range []uint32{1, 2, 11} {
		if err := d.Generate(keys.KEK{Name: u, Generation: g}); err != nil {
			t.Fatal(err)
		}
		kind(t, "made twice", d.Generate(keys.KEK{Name: u, Generation: g}), sandbox.Conflict)
	}
	if err := d.Generate(keys.KEK{Name: u + "x", Generation: 1}); err != nil { // a name that begins as another
		t.Fatal(err)
	}
	if err := d.Destroy(keys.KEK{Name: u, Generation: 2}); err != nil {
		t.Fatal(err)
	}
	kind(t, "destroyed twice", d.Destroy(keys.KEK{Name: u, Generation: 2}), sandbox.NotFound)
	d.Close()
	d = open(t, o)
	if g := must[[]uint32](t)(d.Generations(u)); fmt.Sprint(g) != "[1 11]" {
		t.Errorf("generations %v", g)
	}
	if x := d.Describe(); x.Driver == "" || x.Mechanism == "" {
		t.Errorf("a device without a name: %+v", x)
	}
}

func wrapping(t *testing.T, dir string, o Opener) {
	d := rooted(t, dir, o)
	a, b := keys.KEK{Name: "unit-a", Generation: 1}, keys.KEK{Name: "unit-a", Generation: 2}
	if err := errors.Join(d.Generate(a), d.Generate(b)); err != nil {
		t.Fatal(err)
	}
	key := make([]byte, 64)
	rand.Read(key)
	aad := []byte("header")
	box := must[[]byte](t)(d.Wrap(a, aad, key))
	if again := must[[]byte](t)(d.Wrap(a, aad, key)); bytes.Equal(again, box) {
		t.Error("wrapping twice gives one box")
	}
	if bytes.Contains(box, key[:8]) {
		t.Error("the box shows the key")
	}
	d.Close()
	d = open(t, o)
	if got := must[[]byte](t)(d.Unwrap(a, aad, box)); !bytes.Equal(got, key) {
		t.Error("unwraps to another key")
	}
	refused := func(what string, k keys.KEK, aad, box []byte) {
		t.Helper()
		if got, err := d.Unwrap(k, aad, box); !errors.Is(err, sandbox.Tampered) || got != nil {
			t.Errorf("%s: %v", what, err)
		}
	}
	refused("other header", a, []byte("headex"), box)
	refused("no header", a, nil, box)
	refused("other KEK", b, aad, box)
	for i := range box {
		bad := bytes.Clone(box)
		bad[i] ^= 1
		refused(fmt.Sprint("byte ", i), a, aad, bad)
		refused(fmt.Sprint("cut at ", i), a, aad, box[:i])
	}
	refused("longer", a, aad, append(bytes.Clone(box), 0))
	_, err := d.Wrap(keys.KEK{Name: "unit-none", Generation: 1}, aad, key)
	kind(t, "wrapped under nothing", err, sandbox.NotFound)
	if err := d.Destroy(a); err != nil {
		t.Fatal(err)
	}
	_, err = d.Unwrap(a, aad, box)
	kind(t, "under a destroyed KEK", err, sandbox.NotFound)
	// The next of the same name is another key.
	if err := d.Generate(a); err != nil {
		t.Fatal(err)
	}
	refused("a KEK made again", a, aad, box)
}

func closing(t *testing.T, dir string, o Opener) {
	d := rooted(t, dir, o)
	root := keys.KEK{Name: "root", Generation: 1}
	d.Close()
	d.Close()
	_, e1 := d.Generations("root")
	_, e2 := d.Wrap(root, nil, make([]byte, 64))
	_, e3 := d.Unwrap(root, nil, make([]byte, 92))
	_, e4 := d.Statement(root)
	for i, err := range []error{e1, e2, e3, e4, d.Generate(keys.KEK{Name: "unit-a", Generation: 1}), d.Destroy(root), d.Check()} {
		kind(t, fmt.Sprint("closed, call ", i), err, sandbox.Unavailable)
	}
}

func statements(t *testing.T, dir string, o Opener) {
	d := rooted(t, dir, o)
	s := must[keys.Statement](t)(d.Statement(keys.KEK{Name: "root", Generation: 1}))
	x := d.Describe()
	if s.Driver != x.Driver || s.Mechanism != x.Mechanism || len(s.Remains) == 0 {
		t.Errorf("%+v", s)
	}
	if x.Erases != (s.Object != nil) || x.Erases == (s.Proves == keys.ProcedureOnly) {
		t.Errorf("a device that erases: %t; it states %+v", x.Erases, s)
	}
}

func concurrency(t *testing.T, dir string, o Opener) {
	d := rooted(t, dir, o)
	root := keys.KEK{Name: "root", Generation: 1}
	key := make([]byte, 64)
	var wg sync.WaitGroup
	for i := range 4 {
		wg.Go(func() {
			aad := fmt.Append(nil, i)
			for range 8 {
				box, err := d.Wrap(root, aad, key)
				if err == nil {
					var got []byte
					if got, err = d.Unwrap(root, aad, box); !bytes.Equal(got, key) {
						t.Error("another key")
					}
				}
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
	wg.Wait()
}

// Domain (测试库) is a vault over one device, for tests that open it again.
type Domain struct {
	*keys.Vault
	t    *testing.T
	dir  string
	open Opener
	own  bool
}

func create(t *testing.T, dir string, o Opener, own bool) *Domain {
	t.Helper()
	d := &Domain{t: t, dir: dir, open: o, own: own}
	d.Vault = must[*keys.Vault](t)(keys.CreateVault(d.config()))
	t.Cleanup(func() { d.Close() })
	return d
}

func (d *Domain) config() keys.Config {
	d.t.Helper()
	return keys.Config{Dir: d.dir, Rand: rand.Reader, Device: must[keys.Device](d.t)(d.open(d.t)), VersionKEKs: d.own}
}

func (d *Domain) reopen() {
	d.t.Helper()
	d.Close()
	d.Vault = must[*keys.Vault](d.t)(keys.OpenVault(d.config()))
	if err := d.Check(); err != nil {
		d.t.Error(err)
	}
}

func version(u sandbox.PartyID, n uint64) keys.Version {
	return keys.Version{Unit: u, Dataset: "ds", Version: n, Grade: sandbox.Grade3}
}

func derive(t *testing.T, k *keys.Key, err error) string {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	return string(must[[]byte](t)(k.Derive(32, "x")))
}

func (d *Domain) make(n int, u sandbox.PartyID) map[sandbox.KeyID]string {
	d.t.Helper()
	out := map[sandbox.KeyID]string{}
	for i := range n {
		k, err := d.NewVersionKey(version(u, uint64(i+1)))
		out[k.ID()] = derive(d.t, k, err)
	}
	return out
}

func (d *Domain) same(want map[sandbox.KeyID]string) {
	d.t.Helper()
	for id, w := range want {
		if k, err := d.VersionKey(id); derive(d.t, k, err) != w {
			d.t.Errorf("%s is another key", id)
		}
	}
}

func vault(t *testing.T, dir string, o Opener) {
	d := create(t, dir, o, false)
	secret, err := d.Secret("store")
	s := derive(t, secret, err)
	want := d.make(3, "u")
	sign, decrypt := d.SigningKey().Bytes(), d.DecryptKey().Bytes()
	if bytes.Equal(sign, decrypt) {
		t.Error("signing and decryption keys are one")
	}
	d.reopen()
	d.same(want)
	again, err := d.Secret("store")
	if derive(t, again, err) != s || !bytes.Equal(d.SigningKey().Bytes(), sign) || !bytes.Equal(d.DecryptKey().Bytes(), decrypt) {
		t.Error("the domain's keys differ after reopening")
	}
	for name, want := range map[string]bool{"store": true, "none": false} {
		if has := must[bool](t)(d.HasSecret(name)); has != want {
			t.Errorf("HasSecret %s: %t", name, has)
		}
	}
	x := d.Device()
	files, err := filepath.Glob(filepath.Join(dir, "*.key"))
	if err != nil || len(files) < 6 {
		t.Fatal(files, err)
	}
	for _, f := range files {
		b := must[[]byte](t)(os.ReadFile(f))
		if !bytes.Contains(b, []byte(`"driver":"`+x.Driver+`"`)) || !bytes.Contains(b, []byte(`"mechanism":"`+x.Mechanism+`"`)) {
			t.Errorf("%s does not name driver and mechanism", filepath.Base(f))
		}
	}
	_, err = keys.CreateVault(keys.Config{Dir: filepath.Join(t.TempDir(), "other"), Rand: rand.Reader})
	kind(t, "no device", err, sandbox.Invalid)
	d.Close()
	_, err = keys.CreateVault(d.config())
	kind(t, "made over another", err, sandbox.Conflict)
}

// rotation rotates unit and root while keys are made, opened and used.
func rotation(t *testing.T, dir string, o Opener) {
	d := create(t, dir, o, false)
	want := d.make(6, "u")
	other := d.make(2, "other")
	secret, err := d.Secret("store")
	s := derive(t, secret, err)
	_, err = d.RotateUnit("nobody")
	kind(t, "a unit without keys", err, sandbox.NotFound)
	d.reopen()
	held := map[sandbox.KeyID]*keys.Key{}
	for id := range want {
		held[id] = must[*keys.Key](t)(d.VersionKey(id))
		break
	}
	stop := make(chan struct{})
	var wg sync.WaitGroup
	var mu sync.Mutex
	made := map[sandbox.KeyID]string{}
	for i := range 2 {
		wg.Go(func() {
			for n := range 200 {
				select {
				case <-stop:
					return
				default:
				}
				k, err := d.NewVersionKey(version("u", uint64(1000*(i+1)+n)))
				if err != nil {
					t.Error(err)
					return
				}
				b, err := k.Derive(32, "x")
				mu.Lock()
				made[k.ID()] = string(b)
				mu.Unlock()
				for id, h := range held {
					if b, herr := h.Derive(32, "x"); err != nil || herr != nil || string(b) != want[id] {
						t.Error("a key handed out is another during a rotation")
					}
				}
			}
		})
	}
	for g := uint32(2); g < 4; g++ {
		r, err := d.RotateUnit("u")
		if err != nil || r.To != g || len(r.From) != 1 || r.From[0] != g-1 || r.Rewrapped < 6 || len(r.Destroyed) != 1 {
			t.Errorf("%+v, %v", r, err)
		}
		if r, err = d.RotateRoot(); err != nil || r.To != g || r.Rewrapped != 3 { // secret, sign, decrypt
			t.Errorf("%+v, %v", r, err)
		}
	}
	close(stop)
	wg.Wait()
	d.same(want)
	d.reopen()
	d.same(want)
	d.same(other)
	d.same(made)
	again, err := d.Secret("store")
	if derive(t, again, err) != s {
		t.Error("a secret is another after the rotation")
	}
	d.make(1, "u")
	d.Close()
	dev := open(t, o)
	for _, name := range []sandbox.KeyID{"unit-u", "root"} {
		if g := must[[]uint32](t)(dev.Generations(name)); fmt.Sprint(g) != "[3]" {
			t.Errorf("%s has %v", name, g)
		}
	}
}

func erasure(t *testing.T, dir string, o Opener) {
	d := create(t, dir, o, false)
	want := d.make(2, "u")
	for id := range want {
		k := must[*keys.Key](t)(d.VersionKey(id))
		c := k.Commitment()
		e := must[keys.Erasure](t)(d.Destroy(id, "agency", at))
		// The version's key was in a file, whatever the device.
		if e.Proves != keys.ProcedureOnly || e.Object != nil || !strings.Contains(strings.Join(e.Remains, ";"), "unit-u") || e.Verify(d.SigningKey().Public()) != nil || !bytes.Equal(e.Commitment, c[:]) {
			t.Errorf("%+v", e)
		}
		_, err := k.Derive(32, "x")
		kind(t, "a destroyed key derives", err, sandbox.Unavailable)
		delete(want, id)
		d.reopen()
		_, err = d.VersionKey(id)
		kind(t, "a destroyed key", err, sandbox.NotFound)
		_, err = d.Destroy(id, "agency", at)
		kind(t, "destroyed twice", err, sandbox.NotFound)
		if again := must[keys.Erasure](t)(d.Certificate(id)); again.Verify(d.SigningKey().Public()) != nil || again.Key != id {
			t.Errorf("kept: %+v", again)
		}
		break
	}
	d.same(want)
	secret, err := d.Secret("aud-x")
	derive(t, secret, err)
	e := must[keys.Erasure](t)(d.DestroySecret("aud-x", "agency", at))
	if e.Key != "secret-aud-x" || e.Proves != keys.ProcedureOnly || e.Verify(d.SigningKey().Public()) != nil {
		t.Errorf("%+v", e)
	}
	d.reopen()
	_, err = d.Secret("aud-x")
	kind(t, "a destroyed secret", err, sandbox.NotFound)
	if must[bool](t)(d.HasSecret("aud-x")) {
		t.Error("a destroyed secret is there")
	}
	_, err = d.DestroySecret("aud-y", "agency", at)
	kind(t, "a secret that never was", err, sandbox.NotFound)
}

func unit(t *testing.T, dir string, o Opener) {
	d := create(t, dir, o, false)
	gone, kept := d.make(3, "u"), d.make(1, "v")
	must[keys.Rotation](t)(d.RotateUnit("u"))
	e := must[keys.Erasure](t)(d.DestroyUnit("u", "agency", at))
	if e.Key != "unit-u~2" || len(e.Versions) != 3 || (e.Object != nil) != d.Device().Erases || (e.Proves == keys.ProcedureOnly) == d.Device().Erases || e.Verify(d.SigningKey().Public()) != nil {
		t.Errorf("%+v", e)
	}
	for range 2 {
		for id := range gone {
			_, err := d.VersionKey(id)
			kind(t, "under a destroyed unit", err, sandbox.NotFound)
		}
		_, err := d.NewVersionKey(version("u", 9))
		kind(t, "a new key of a destroyed unit", err, sandbox.NotFound)
		_, err = d.RotateUnit("u")
		kind(t, "a destroyed unit rotates", err, sandbox.NotFound)
		d.same(kept)
		d.reopen()
	}
}

func orphans(t *testing.T, dir string, o Opener) {
	d := create(t, dir, o, false)
	used, lost := d.make(2, "u"), d.make(1, "u")
	known := func(id sandbox.KeyID) bool { return used[id] != "" }
	if ids := must[[]sandbox.KeyID](t)(d.Unused(known)); len(ids) != 0 {
		t.Errorf("keys of pushes under way are listed: %v", ids)
	}
	d.reopen()
	ids := must[[]sandbox.KeyID](t)(d.Unused(known))
	if len(ids) != 1 || lost[ids[0]] == "" {
		t.Fatalf("orphans %v", ids)
	}
	k := must[*keys.Key](t)(d.VersionKey(ids[0]))
	if err := d.Discard(ids[0]); err != nil {
		t.Fatal(err)
	}
	_, err := k.Derive(32, "x")
	kind(t, "a discarded key derives", err, sandbox.Unavailable)
	kind(t, "discarded twice", d.Discard(ids[0]), sandbox.NotFound)
	_, err = d.Certificate(ids[0])
	kind(t, "a certificate of what was discarded", err, sandbox.NotFound)
	if ids := must[[]sandbox.KeyID](t)(d.Unused(known)); len(ids) != 0 {
		t.Errorf("orphans %v", ids)
	}
	d.same(used)
}

func signing(t *testing.T, dir string, o Opener) {
	d := create(t, dir, o, false)
	first := d.SigningKey()
	want := d.make(1, "u")
	for id := range want {
		must[keys.Erasure](t)(d.Destroy(id, "agency", at))
	}
	for g := uint32(2); g < 4; g++ {
		old := d.SigningKey().Public().Bytes()
		h := must[keys.Handover](t)(d.RotateSigningKey(at))
		if h.Generation != g || h.Verify() != nil || !bytes.Equal(h.Old, old) || !bytes.Equal(h.New, d.SigningKey().Public().Bytes()) || bytes.Equal(h.Old, h.New) {
			t.Errorf("%+v", h)
		}
		bad := h
		bad.At = bad.At.Add(1)
		kind(t, "a changed hand-over", bad.Verify(), sandbox.Tampered)
		bad = h
		bad.ByOld = h.ByNew
		kind(t, "signed by one", bad.Verify(), sandbox.Tampered)
	}
	now := d.SigningKey().Bytes()
	d.reopen()
	if !bytes.Equal(d.SigningKey().Bytes(), now) || len(d.VerifyKeys()) != 3 || len(d.Handovers()) != 2 || !bytes.Equal(d.VerifyKeys()[0].Bytes(), first.Public().Bytes()) {
		t.Error("the chain of signing keys is another after reopening")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "sign*.key")); len(left) != 1 {
		t.Errorf("private keys %v", left)
	}
	for id := range want {
		if e := must[keys.Erasure](t)(d.Certificate(id)); e.Verify(first.Public()) != nil {
			t.Error("a certificate of the first key")
		}
	}
}

func versionKEKs(t *testing.T, dir string, o Opener) {
	if d := open(t, o); !d.Describe().Erases {
		_, err := keys.CreateVault(keys.Config{Dir: dir, Rand: rand.Reader, Device: d, VersionKEKs: true})
		kind(t, "a KEK per version in files", err, sandbox.Invalid)
		return
	} else {
		d.Close()
	}
	d := create(t, dir, o, true)
	want := d.make(3, "u")
	must[keys.Rotation](t)(d.RotateUnit("u"))
	d.reopen()
	d.same(want)
	n := 0
	for id := range want {
		if n++; n == 1 {
			if err := d.Discard(id); err != nil {
				t.Fatal(err)
			}
		} else if n == 2 {
			file := filepath.Join(dir, string(id)+".key")
			copied := must[[]byte](t)(os.ReadFile(file))
			e := must[keys.Erasure](t)(d.Destroy(id, "agency", at))
			if e.Object == nil || e.Proves == keys.ProcedureOnly || e.Verify(d.SigningKey().Public()) != nil {
				t.Errorf("%+v", e)
			}
			// A copy of the folder made before does not bring the key back.
			name := filepath.Join(dir, "erased-"+string(id)+".json")
			if err := errors.Join(os.WriteFile(file, copied, 0o600), os.Remove(name)); err != nil {
				t.Fatal(err)
			}
			d.reopen()
			if _, err := d.VersionKey(id); err == nil {
				t.Error("a version erased in the device opens from a backup of its file")
			}
			if err := os.Remove(file); err != nil {
				t.Fatal(err)
			}
		} else {
			k, err := d.VersionKey(id)
			if derive(t, k, err) != want[id] {
				t.Error("another key")
			}
		}
	}
}
