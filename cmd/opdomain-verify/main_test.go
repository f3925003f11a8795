package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

func newKey(t *testing.T) *sm.SigningKey {
	t.Helper()
	k, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return k
}

// oneKey gives every audience the same key.
type oneKey struct{}

func (oneKey) AudienceKey(string) ([]byte, error) { return make([]byte, sm.KeySize), nil }

// export makes a log with the founding of a domain and writes its bundle.
func export(t *testing.T, key *sm.SigningKey) string {
	t.Helper()
	dir := t.TempDir()
	log, err := tlog.Create(tlog.Config{Dir: filepath.Join(dir, "log"), Origin: "opdomain/district", Key: key, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	r, err := attest.NewRecorder(log, key, oneKey{}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	ctx, at := context.Background(), time.Date(2026, 3, 2, 1, 0, 0, 0, time.UTC)
	pub := key.Public().Bytes()
	if _, err := r.Record(ctx, at, attest.DomainActor, "domain/district", attest.DomainCreated,
		attest.DomainCreatedBody{Domain: "district", Hosting: sandbox.P1, District: "longhua", SignKey: pub, EncryptKey: pub}); err != nil {
		t.Fatal(err)
	}
	officer := newKey(t).Public().Bytes()
	if _, err := r.Record(ctx, at, attest.DomainActor, "party/agency", attest.PartyEnrolled,
		attest.PartyEnrolledBody{Party: sandbox.Party{ID: "agency", Role: sandbox.Agency, Name: "n"},
			Identities: []sandbox.Identity{{ID: "officer", Party: "agency", Duty: sandbox.Officer, SignKey: officer, EncryptKey: officer}}}); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "district.bundle")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if err := r.WriteBundle(ctx, f, "district", "auditor", func(attest.Event) bool { return true }); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestVerify(t *testing.T) {
	key := newKey(t)
	good := export(t, key)
	whole, err := os.ReadFile(good)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	file := func(name string, b []byte) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, b, 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	second := bytes.Index(whole, []byte("\n")) + 40
	changed := bytes.Clone(whole)
	changed[second] ^= 1
	pub := hex.EncodeToString(key.Public().Bytes())
	other := newKey(t).Public()
	for name, x := range map[string]struct {
		args   []string
		status int
		out    string // in stdout
		err    string // in stderr
	}{
		"accepted":             {[]string{good}, 0, "ACCEPTED 核验通过", ""},
		"says what to compare": {[]string{good}, 0, "请核对签名公钥指纹", ""},
		"by fingerprint":       {[]string{"--key", key.Public().Fingerprint(), good}, 0, "ACCEPTED", ""},
		"by key":               {[]string{"--key", pub, good}, 0, "ACCEPTED", ""},
		"by key file":          {[]string{"--key", file("key", []byte(pub+"\n")), good}, 0, "ACCEPTED", ""},
		"another key":          {[]string{"--key", hex.EncodeToString(other.Bytes()), good}, 1, "", "another key"},
		"another fingerprint":  {[]string{"--key", other.Fingerprint(), good}, 1, "", "another key"},
		"changed":              {[]string{file("changed", changed)}, 1, "", "error: bundle: verify line 2: tampered"},
		"changed, with a hint": {[]string{file("changed", changed)}, 1, "", "\nhint: "},
		"changed, in Chinese":  {[]string{file("changed", changed)}, 1, "", "核验不通过"},
		"cut":                  {[]string{file("cut", whole[:len(whole)-1])}, 1, "", "ends early"},
		"not a bundle":         {[]string{file("text", []byte("hello\n"))}, 1, "", "line 1"},
		"no file":              {[]string{filepath.Join(dir, "nowhere")}, 2, "", "cannot be read"},
		"a folder":             {[]string{dir}, 2, "", "cannot be read"},
		"bad key":              {[]string{"--key", "zz", good}, 2, "", "--key"},
		"no argument":          {nil, 2, "", "usage:"},
		"two arguments":        {[]string{good, good}, 2, "", "usage:"},
		"unknown flag":         {[]string{"--trust", good}, 2, "", "usage:"},
		"help":                 {[]string{"--help"}, 0, "exit status: 0 accepted 通过, 1 rejected 拒绝", ""},
	} {
		var out, errOut bytes.Buffer
		if got := run(x.args, &out, &errOut); got != x.status || !strings.Contains(out.String(), x.out) || !strings.Contains(errOut.String(), x.err) {
			t.Errorf("%s: status %d, want %d\nout: %s\nerr: %s", name, got, x.status, out.String(), errOut.String())
		}
		if x.status != 0 && strings.Contains(out.String(), "ACCEPTED") {
			t.Errorf("%s: accepted all the same", name)
		}
	}
	var out, errOut bytes.Buffer
	if got := run([]string{"--json", good}, &out, &errOut); got != 0 {
		t.Fatal(errOut.String())
	}
	var r attest.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || r.Domain != "district" || r.Entries != 2 {
		t.Errorf("%v\n%s", err, out.String())
	}
}
