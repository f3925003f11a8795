package keys

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"testing"

	"github.com/opdomain/opdomain/attest/durable/crashfs"
	"github.com/opdomain/opdomain/sandbox"
)

var newPhrase = []byte("battery staple")

// openOn opens the vault on a disk by the one passphrase that opens it.
func openOn(fs *crashfs.FS, passphrases ...[]byte) (*Vault, error) {
	var all []error
	for _, p := range passphrases {
		d, err := OpenFileDevice(FileConfig{Dir: "/k", FS: fs, Rand: rand.Reader, Passphrase: p, Params: cheap})
		if err == nil {
			return OpenVault(Config{Dir: "/k", FS: fs, Rand: rand.Reader, Device: d})
		}
		all = append(all, err)
	}
	return nil, errors.Join(all...)
}

func createOn(fs *crashfs.FS) (*Vault, error) {
	d, err := OpenFileDevice(FileConfig{Dir: "/k", FS: fs, Rand: rand.Reader, Passphrase: phrase, Params: cheap})
	if err != nil {
		return nil, err
	}
	return CreateVault(Config{Dir: "/k", FS: fs, Rand: rand.Reader, Device: d})
}

// TestCrashesLeaveEveryKeyOpenable strikes each operation of each change of the folder in turn: with a failure, a torn
// write, a full disk, and power cuts that keep all, only what was synced, or a mixture. Afterwards every key is the key it
// was, or was destroyed with its certificate there, and nothing is pending.
func TestCrashesLeaveEveryKeyOpenable(t *testing.T) {
	const doomed = 2 // the version key that erasures strike
	type state struct {
		ids    []sandbox.KeyID
		keys   map[sandbox.KeyID][]byte
		secret []byte
		sign   []byte
	}
	changes := map[string]struct {
		do   func(*Vault, state) error
		gone func(*Vault, state, sandbox.KeyID) bool // whether a key may be gone now
	}{
		"rotate unit":       {do: func(v *Vault, _ state) error { _, err := v.RotateUnit("u"); return err }},
		"rotate root":       {do: func(v *Vault, _ state) error { _, err := v.RotateRoot(); return err }},
		"change passphrase": {do: func(v *Vault, _ state) error { return v.ChangePassphrase(phrase, newPhrase, cheap) }},
		"rotate signing":    {do: func(v *Vault, _ state) error { _, err := v.RotateSigningKey(march); return err }},
		"new version":       {do: func(v *Vault, _ state) error { _, err := v.NewVersionKey(Version{"w", "ds", 1, 1}); return err }},
		"discard": {do: func(v *Vault, s state) error { return v.Discard(s.ids[doomed]) },
			gone: func(_ *Vault, s state, id sandbox.KeyID) bool { return id == s.ids[doomed] }},
		"destroy": {do: func(v *Vault, s state) error { _, err := v.Destroy(s.ids[doomed], "agency", march); return err },
			gone: func(v *Vault, s state, id sandbox.KeyID) bool {
				e, err := v.Certificate(id)
				return id == s.ids[doomed] && err == nil && e.Verify(v.SigningKey().Public()) == nil
			}},
		"destroy unit": {do: func(v *Vault, _ state) error { _, err := v.DestroyUnit("u", "agency", march); return err },
			gone: func(v *Vault, s state, id sandbox.KeyID) bool {
				e, err := v.Certificate("unit-u")
				return id != s.ids[3] && err == nil && len(e.Versions) == 3
			}},
		"destroy secret": {do: func(v *Vault, _ state) error { _, err := v.DestroySecret("aud", "agency", march); return err }},
	}
	for name, c := range changes {
		t.Run(name, func(t *testing.T) {
			for _, mode := range []crashfs.Mode{crashfs.Fail, crashfs.Tear, crashfs.Full, crashfs.Crash, crashfs.Last} {
				for _, survive := range []crashfs.Survive{crashfs.All, crashfs.Synced, crashfs.Mixed} {
					ended := false
					for op := 1; !ended; op++ {
						if op > 500 {
							t.Fatal("the change never ends")
						}
						fs := crashfs.New()
						v, err := createOn(fs)
						if err != nil {
							t.Fatal(err)
						}
						s := state{keys: map[sandbox.KeyID][]byte{}}
						for i := range 4 {
							u := sandbox.PartyID("u")
							if i == 3 {
								u = "other"
							}
							k, err := v.NewVersionKey(Version{Unit: u, Dataset: "ds", Version: uint64(i + 1), Grade: 1})
							if err != nil {
								t.Fatal(err)
							}
							s.ids = append(s.ids, k.ID())
							s.keys[k.ID()] = derive(t, k, "x")
						}
						secret, err := v.Secret("store")
						if err != nil {
							t.Fatal(err)
						}
						if _, err := v.Secret("aud"); err != nil {
							t.Fatal(err)
						}
						s.secret, s.sign = derive(t, secret, "x"), v.SigningKey().Public().Bytes()
						fs.Arm(crashfs.Fault{At: op, Mode: mode})
						err = c.do(v, s)
						ended = fs.Operations() < op
						if ended && err != nil {
							t.Fatalf("without a fault: %v", err)
						}
						where := fmt.Sprintf("mode %d, survive %d, operation %d", mode, survive, op)
						check := func(v *Vault) {
							t.Helper()
							for id, want := range s.keys {
								k, err := v.VersionKey(id)
								if errors.Is(err, sandbox.NotFound) && c.gone != nil && c.gone(v, s, id) {
									continue
								}
								if err != nil {
									t.Fatalf("%s: %v", where, err)
								}
								if !bytes.Equal(derive(t, k, "x"), want) {
									t.Fatalf("%s: %s is another key", where, id)
								}
							}
							again, err := v.Secret("store")
							if err != nil || !bytes.Equal(derive(t, again, "x"), s.secret) {
								t.Fatalf("%s: the secret: %v", where, err)
							}
							if ks := v.VerifyKeys(); !bytes.Equal(ks[0].Bytes(), s.sign) || len(ks) != len(v.Handovers())+1 {
								t.Fatalf("%s: the chain of signing keys", where)
							}
						}
						fs.Arm(crashfs.Fault{}) // a process that goes on, and is then cut off
						if mode == crashfs.Fail || mode == crashfs.Tear || mode == crashfs.Full {
							if c.gone == nil {
								check(v)
							}
						}
						disk := fs.Reboot(survive, rand.Reader)
						phrases := [][]byte{phrase}
						if name == "change passphrase" {
							phrases = [][]byte{phrase, newPhrase}
							if ended {
								phrases = phrases[1:]
							}
						}
						w, err := openOn(disk, phrases...)
						if err != nil {
							t.Fatalf("%s: %v", where, err)
						}
						if err := w.Check(); err != nil {
							t.Fatalf("%s: pending: %v", where, err)
						}
						check(w)
						for _, f := range []string{rotating, erasing} {
							if left, err := w.names(f, ""); err != nil || len(left) > 0 {
								t.Fatalf("%s: left %v %v", where, left, err)
							}
						}
						w.Close()
					}
				}
			}
		})
	}
}

// TestACrashWhileCreating: the folder opens whole or says that there is no key.
func TestACrashWhileCreating(t *testing.T) {
	for _, survive := range []crashfs.Survive{crashfs.All, crashfs.Synced, crashfs.Mixed} {
		ended := false
		for op := 1; !ended && op < 200; op++ {
			fs := crashfs.New()
			fs.Arm(crashfs.Fault{At: op, Mode: crashfs.Crash})
			v, err := createOn(fs)
			ended = err == nil
			w, oerr := openOn(fs.Reboot(survive, rand.Reader), phrase)
			if ended != (oerr == nil) && ended {
				t.Fatalf("made and lost: %v", oerr)
			}
			if !ended && oerr != nil && !errors.Is(oerr, sandbox.NotFound) && !errors.Is(oerr, sandbox.Invalid) {
				t.Fatalf("operation %d: %v", op, oerr)
			}
			if ended {
				if !bytes.Equal(w.SigningKey().Bytes(), v.SigningKey().Bytes()) {
					t.Error("another signing key")
				}
			}
		}
		if !ended {
			t.Error("never made")
		}
	}
}

// TestAnUnfinishedRotationIsFinishedLater also when the disk is full at the next start: the folder opens and says so.
func TestAnUnfinishedRotationIsFinishedLater(t *testing.T) {
	fs := crashfs.New()
	v, err := createOn(fs)
	if err != nil {
		t.Fatal(err)
	}
	k, err := v.NewVersionKey(version)
	if err != nil {
		t.Fatal(err)
	}
	want := derive(t, k, "x")
	fs.Arm(crashfs.Fault{At: 12, Mode: crashfs.Crash})
	if _, err := v.RotateUnit(version.Unit); err == nil {
		t.Fatal("a rotation without a crash")
	}
	fs = fs.Reboot(crashfs.All, nil)
	fs.Arm(crashfs.Fault{At: 1, Mode: crashfs.Full})
	if v, err = openOn(fs, phrase); err != nil {
		t.Fatal(err)
	}
	if err := v.Check(); err == nil {
		t.Error("nothing is pending")
	}
	if k, err = v.VersionKey(k.ID()); err != nil || !bytes.Equal(derive(t, k, "x"), want) {
		t.Errorf("meanwhile: %v", err)
	}
	fs.Arm(crashfs.Fault{})
	r, err := v.RotateUnit(version.Unit) // goes on with the one that was begun
	if err != nil || r.To != 2 {
		t.Errorf("%+v, %v", r, err)
	}
	if v, err = openOn(fs, phrase); err != nil || v.Check() != nil {
		t.Fatal(err)
	}
	if k, err = v.VersionKey(k.ID()); err != nil || !bytes.Equal(derive(t, k, "x"), want) {
		t.Errorf("afterwards: %v", err)
	}
}
