//go:build cgo

package pkcs11

import (
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	p11 "github.com/miekg/pkcs11"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/keys/keystest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

const pin = "246813"

// softHSM gives a module over an empty token in a folder of the test.
func softHSM(t *testing.T) (*Module, string) {
	t.Helper()
	missing := func(what string) {
		sandboxtest.Missing(t, what+" is absent (apt-get install softhsm2); the PKCS#11 driver was not tested")
	}
	var lib string
	for _, p := range []string{os.Getenv("SOFTHSM2_MODULE"), "/usr/lib/softhsm/libsofthsm2.so", "/usr/lib/x86_64-linux-gnu/softhsm/libsofthsm2.so", "/usr/lib/aarch64-linux-gnu/softhsm/libsofthsm2.so"} {
		if _, err := os.Stat(p); p != "" && err == nil {
			lib = p
			break
		}
	}
	if lib == "" {
		missing("libsofthsm2.so")
	}
	tool, err := exec.LookPath("softhsm2-util")
	if err != nil {
		missing("softhsm2-util")
	}
	dir := t.TempDir()
	conf := filepath.Join(dir, "softhsm2.conf")
	tokens := filepath.Join(dir, "tokens")
	if err := errors.Join(os.Mkdir(tokens, 0o700), os.WriteFile(conf, []byte("directories.tokendir = "+tokens+"\nobjectstore.backend = file\nlog.level = ERROR\n"), 0o600)); err != nil {
		t.Fatal(err)
	}
	t.Setenv("SOFTHSM2_CONF", conf)
	if out, err := exec.Command(tool, "--init-token", "--free", "--label", "domain", "--so-pin", "13572468", "--pin", pin).CombinedOutput(); err != nil {
		t.Fatalf("softhsm2-util: %v: %s", err, out)
	}
	m, err := Load(lib)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = m.Close() })
	return m, tokens
}

func config(m Mechanism) Config {
	return Config{Token: "domain", PIN: []byte(pin), Label: "d", Mechanism: m, Rand: rand.Reader}
}

func TestTokensKeepTheContract(t *testing.T) {
	block := Mechanism{"AES-256-ECB", p11.CKM_AES_KEY_GEN, p11.CKK_AES, 32, p11.CKM_AES_ECB, Block}
	for _, mech := range []Mechanism{AES256GCM(), AES256CBC(), block} {
		t.Run(mech.Name, func(t *testing.T) {
			m, _ := softHSM(t)
			n := 0
			keystest.Run(t, func(_ *testing.T, dir string) keystest.Opener {
				c := config(mech)
				n++
				c.Label = fmt.Sprint("d", n) // one token, many domains
				return func(*testing.T) (keys.Device, error) { return m.Open(c) }
			})
		})
	}
}

func device0(t *testing.T, m *Module) *device {
	t.Helper()
	d, err := m.Open(config(AES256GCM()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(d.Close)
	return d.(*device)
}

// TestACertificateSaysWhatTheTokenSays: the object, its attributes and what is not proved.
func TestACertificateSaysWhatTheTokenSays(t *testing.T) {
	m, _ := softHSM(t)
	v, err := keys.CreateVault(keys.Config{Dir: filepath.Join(t.TempDir(), "k"), Rand: rand.Reader, Device: device0(t, m), VersionKEKs: true})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	k, err := v.NewVersionKey(keys.Version{Unit: "u", Dataset: "ds", Version: 1, Grade: 3})
	if err != nil {
		t.Fatal(err)
	}
	e, err := v.Destroy(k.ID(), "agency", time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	o := e.Object
	if o == nil || o.Token != "domain" || o.Serial == "" || o.Label != "d/own-"+string(k.ID()) || !strings.HasPrefix(o.ID, "00000001") || len(o.ID) != 32 ||
		!o.Local || !o.Sensitive || !o.AlwaysSensitive || o.Extractable || !o.NeverExtractable || o.Result != Destroyed || e.Mechanism != "AES-256-GCM" {
		t.Errorf("%+v", o)
	}
	if !strings.Contains(strings.Join(e.Remains, ";"), "SoftHSM is software") {
		t.Errorf("remains %q", e.Remains)
	}
}

// TestPINs: a wrong one is named as such, also while another device is logged in, and shown nowhere.
func TestPINs(t *testing.T) {
	m, _ := softHSM(t)
	c := config(AES256GCM())
	c.PIN = []byte("998877")
	for range 2 {
		if _, err := m.Open(c); !errors.Is(err, sandbox.Passphrase) || strings.Contains(err.Error(), "998877") {
			t.Errorf("%v", err)
		}
		d := device0(t, m)
		if text := fmt.Sprintf("%v %+v", d.Describe(), d.Check()); strings.Contains(text, pin) {
			t.Error("a device shows its PIN")
		}
	}
	c = config(AES256GCM())
	c.Token = "other"
	if _, err := m.Open(c); !errors.Is(err, sandbox.Unavailable) || !strings.Contains(err.Error(), "other") {
		t.Errorf("%v", err)
	}
	if _, err := Load(filepath.Join(t.TempDir(), "none.so")); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("%v", err)
	}
}

// TestALostSessionIsOpenedAgain, and a token that is gone is named.
func TestALostSessionIsOpenedAgain(t *testing.T) {
	m, tokens := softHSM(t)
	d := device0(t, m)
	root := keys.KEK{Name: "root", Generation: 1}
	if err := d.Generate(root); err != nil {
		t.Fatal(err)
	}
	box, err := d.Wrap(root, nil, make([]byte, 64))
	if err != nil {
		t.Fatal(err)
	}
	if err := m.ctx.CloseAllSessions(d.slot); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Unwrap(root, nil, box); err != nil {
		t.Errorf("after its sessions were closed: %v", err)
	}
	if err := errors.Join(m.ctx.CloseAllSessions(d.slot), os.Rename(tokens, tokens+".away")); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Unwrap(root, nil, box); !errors.Is(err, sandbox.Unavailable) || !strings.Contains(err.Error(), "domain") {
		t.Errorf("a token that is gone: %v", err)
	}
	if err := m.ctx.Finalize(); err != nil {
		t.Fatal(err)
	}
	if _, err := d.Unwrap(root, nil, box); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("without its library: %v", err)
	}
}

// TestAForeignObjectIsRefused: a key that was put there, not made there, is known to somebody.
func TestAForeignObjectIsRefused(t *testing.T) {
	m, _ := softHSM(t)
	d := device0(t, m)
	plant := func(extractable bool) {
		t.Helper()
		if _, err := m.ctx.CreateObject(d.session, []*p11.Attribute{
			p11.NewAttribute(p11.CKA_CLASS, p11.CKO_SECRET_KEY), p11.NewAttribute(p11.CKA_KEY_TYPE, p11.CKK_AES),
			p11.NewAttribute(p11.CKA_TOKEN, true), p11.NewAttribute(p11.CKA_PRIVATE, true), p11.NewAttribute(p11.CKA_SENSITIVE, true),
			p11.NewAttribute(p11.CKA_EXTRACTABLE, extractable), p11.NewAttribute(p11.CKA_ENCRYPT, true), p11.NewAttribute(p11.CKA_DECRYPT, true),
			p11.NewAttribute(p11.CKA_LABEL, "d/unit-u"), p11.NewAttribute(p11.CKA_ID, append([]byte{0, 0, 0, 1}, make([]byte, 12)...)),
			p11.NewAttribute(p11.CKA_VALUE, make([]byte, 32))}); err != nil {
			t.Fatal(err)
		}
	}
	plant(false)
	u := keys.KEK{Name: "unit-u", Generation: 1}
	if _, err := d.Wrap(u, nil, make([]byte, 64)); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("wrapped under a planted key: %v", err)
	}
	plant(false)
	if _, err := d.Generations("unit-u"); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("two of one generation: %v", err)
	}
}

// TestARootInATokenStays: there is no passphrase to change.
func TestARootInATokenStays(t *testing.T) {
	m, _ := softHSM(t)
	dir := filepath.Join(t.TempDir(), "k")
	v, err := keys.CreateVault(keys.Config{Dir: dir, Rand: rand.Reader, Device: device0(t, m)})
	if err != nil {
		t.Fatal(err)
	}
	defer v.Close()
	if err := v.ChangePassphrase([]byte("a"), []byte("b"), keys.Params{}); !errors.Is(err, sandbox.Denied) {
		t.Errorf("%v", err)
	}
	if _, err := keys.Open(dir, []byte("a"), rand.Reader); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("opened by a passphrase: %v", err)
	}
}

func FuzzEnvelope(f *testing.F) {
	good, err := envelope(make([]byte, transportLen), make([]byte, 48), []byte("aad"), make([]byte, 64))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(good)
	f.Add([]byte{0, 1})
	f.Fuzz(func(t *testing.T, b []byte) {
		box, sealed, err := split(b)
		if err != nil {
			return
		}
		if _, err := openEnvelope(make([]byte, transportLen), box, sealed, []byte("other")); err == nil {
			t.Error("opens under another header")
		}
	})
}
