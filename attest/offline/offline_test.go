package offline

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
	path, r := founding(t, key)
	r.Close()
	return path
}

func founding(t *testing.T, key *sm.SigningKey) (string, *attest.Recorder) {
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
	return path, r
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
		if got := Main(x.args, &out, &errOut); got != x.status || !strings.Contains(out.String(), x.out) || !strings.Contains(errOut.String(), x.err) {
			t.Errorf("%s: status %d, want %d\nout: %s\nerr: %s", name, got, x.status, out.String(), errOut.String())
		}
		if x.status != 0 && strings.Contains(out.String(), "ACCEPTED") {
			t.Errorf("%s: accepted all the same", name)
		}
	}
	var out, errOut bytes.Buffer
	if got := Main([]string{"--json", good}, &out, &errOut); got != 0 {
		t.Fatal(errOut.String())
	}
	var r attest.Report
	if err := json.Unmarshal(out.Bytes(), &r); err != nil || r.Domain != "district" || r.Entries != 2 {
		t.Errorf("%v\n%s", err, out.String())
	}
}

func TestVerifyProofs(t *testing.T) {
	key, witness := newKey(t), newKey(t)
	_, r := founding(t, key)
	defer r.Close()
	dir := t.TempDir()
	file := func(name string, b []byte, err error) string {
		t.Helper()
		path := filepath.Join(dir, name)
		if err == nil {
			err = os.WriteFile(path, b, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		return path
	}
	old := r.Log().Checkpoint()
	kept := file("kept", []byte(old.String()), nil)
	if _, err := r.Record(t.Context(), time.Date(2026, 3, 2, 2, 0, 0, 0, time.UTC), attest.DomainActor, "bundle/agency", attest.BundleExported, attest.BundleExportedBody{Audience: "agency", Size: 2}); err != nil {
		t.Fatal(err)
	}
	note := tlog.Note{Checkpoint: r.Log().Checkpoint()}
	sig, err := note.Cosign("agency", witness, time.Date(2026, 3, 2, 3, 0, 0, 0, time.UTC), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	note.Cosignatures = append(note.Cosignatures, sig)
	if err := r.Log().SetWitnessed(note); err != nil {
		t.Fatal(err)
	}
	describe := func(name string, k *sm.SigningKey) []byte {
		b, err := json.Marshal(map[string]any{"name": name, "party": "agency", "key": k.Public().Bytes(), "logs": map[string][]byte{}})
		if err != nil {
			t.Fatal(err)
		}
		return b
	}
	known, impostor, absent := file("w1", describe("agency", witness), nil), file("w2", describe("agency", newKey(t)), nil), file("w3", describe("unit", newKey(t)), nil)
	p, err := r.Prove(1, true)
	if err != nil {
		t.Fatal(err)
	}
	whole, err := p.Encode()
	proof := file("proof", whole, err)
	hidden, err := r.Prove(1, false)
	if err != nil {
		t.Fatal(err)
	}
	bare, err := hidden.Encode()
	unseen := file("hidden", bare, err)
	g, err := r.ProveGrowth(old)
	if err != nil {
		t.Fatal(err)
	}
	text, err := g.Encode()
	growth := file("growth", text, err)
	changed := bytes.Clone(whole)
	changed[len(changed)/2] ^= 1
	pub := hex.EncodeToString(key.Public().Bytes())
	for name, x := range map[string]struct {
		args   []string
		status int
		out    string
		err    string
	}{
		"proof":                  {[]string{"--key", pub, proof}, 0, "party.enrolled", ""},
		"proof without event":    {[]string{unseen}, 0, "not shown 未出示", ""},
		"proof, witnessed":       {[]string{"--witness", known, proof}, 0, "signed 已签 2026-03-02 03:00:00", ""},
		"proof, another witness": {[]string{"--witness", impostor, proof}, 1, "", "witness agency: tampered: it has not signed"},
		"proof, one not there":   {[]string{"--witness", known, "--witness", absent, proof}, 1, "", "witness unit"},
		"proof, another key":     {[]string{"--key", newKey(t).Public().Fingerprint(), proof}, 1, "", "another key"},
		"proof, changed":         {[]string{file("changed", changed, nil)}, 1, "", "REJECTED"},
		"proof, cut":             {[]string{file("cut", whole[:len(whole)-2], nil)}, 1, "", "REJECTED"},
		"growth":                 {[]string{"--old", kept, "--witness", known, growth}, 0, "2 when you kept the checkpoint, 3 now", ""},
		"growth of nothing":      {[]string{growth}, 2, "", "--old"},
		"growth of another":      {[]string{"--old", proof, growth}, 1, "", "REJECTED"},
		"no witness file":        {[]string{"--witness", dir, proof}, 2, "", "opdomain witness init"},
	} {
		var out, errOut bytes.Buffer
		if got := Main(x.args, &out, &errOut); got != x.status || !strings.Contains(out.String(), x.out) || !strings.Contains(errOut.String(), x.err) {
			t.Errorf("%s: status %d, want %d\nout: %s\nerr: %s", name, got, x.status, out.String(), errOut.String())
		}
	}
}
