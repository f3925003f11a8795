package agent

import (
	"crypto/rand"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/mpc/psi"
)

// TestDoctor: what does not hold is told by its check, with status 1; it makes nothing that was not there.
func TestDoctor(t *testing.T) {
	o := newTrio(t)
	o.keys("keys")
	base := []string{"doctor", "--keys", o.at("keys"), "--passphrase-file", o.pass}
	if said := o.do(2, append(base, "--ledger", o.at("ledger"))...); !strings.Contains(said, "a ledger comes with its key") {
		t.Error(said)
	}
	key, other := o.write("key", strings.Repeat("ab", 32)), o.write("other", strings.Repeat("ac", 32))
	line := func(said, check string) string {
		for l := range strings.Lines(said) {
			if f := strings.Fields(l); len(f) > 1 && strings.HasPrefix(strings.TrimSpace(strings.TrimPrefix(l, f[0])), check+" ") {
				return l
			}
		}
		t.Errorf("no finding of %s in\n%s", check, said)
		return ""
	}
	// The machine of a test may lack what it likes; of the party's own things each line is looked at.
	examined := func(args ...string) string {
		t.Helper()
		out, errs := &strings.Builder{}, &strings.Builder{}
		a := &Agent{Out: out, Err: errs, Rand: rand.Reader, Now: time.Now}
		code := a.Main(t.Context(), append(base[:len(base):len(base)], args...))
		if failed := strings.Contains(out.String(), "\nfail ") || strings.HasPrefix(out.String(), "fail "); code != 0 != failed || failed != strings.Contains(errs.String(), "checks failed") {
			t.Errorf("status %d: %s%s", code, out, errs)
		}
		return out.String()
	}
	said := examined("--joined", o.at("joined"), "--ledger", o.at("ledger"), "--ledger-key", key)
	for check, want := range map[string]string{"keys": "ok ", "jobs joined": "warn ", "ledger": "warn ", "clock": "", "swap": "", "core dumps": ""} {
		if l := line(said, check); !strings.HasPrefix(l, want) {
			t.Error(l)
		}
	}
	for _, name := range []string{"joined", "ledger"} {
		if _, err := os.Lstat(o.at(name)); err == nil {
			t.Errorf("it makes %s", name)
		}
	}
	l, unlock, err := openLedger(o.at("ledger"), key, psi.Limits{Elements: 100, Window: time.Hour, Similarity: 1})
	if err != nil {
		t.Fatal(err)
	}
	if d, err := l.Reserve("bank", 8, time.Now()); err != nil || !d.Allow {
		t.Fatal(err)
	}
	if got := line(examined("--ledger", o.at("ledger"), "--ledger-key", key), "ledger"); !strings.HasPrefix(got, "skip ") {
		t.Error(got)
	}
	unlock()
	if got := line(examined("--ledger", o.at("ledger"), "--ledger-key", key), "ledger"); !strings.HasPrefix(got, "ok ") || !strings.Contains(got, "1 entries") {
		t.Error(got)
	}
	if got := line(examined("--ledger", o.at("ledger"), "--ledger-key", other), "ledger"); !strings.HasPrefix(got, "fail ") || !strings.Contains(got, "under the key") {
		t.Error(got)
	}
	if err := os.WriteFile(filepath.Join(o.at("ledger"), "0000000002.json"), []byte("{}"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := line(examined("--ledger", o.at("ledger"), "--ledger-key", key), "ledger"); !strings.HasPrefix(got, "fail ") || !strings.Contains(got, "without a gap") {
		t.Error(got)
	}
	if err := os.Mkdir(o.at("joined"), 0o755); err != nil {
		t.Fatal(err)
	}
	said = examined("--joined", o.at("joined"))
	if !strings.Contains(said, "open to others") || !strings.HasPrefix(line(said, "jobs joined"), "ok ") {
		t.Error(said)
	}
	if err := os.WriteFile(o.pass, []byte("a wrong passphrase"), 0o600); err != nil {
		t.Fatal(err)
	}
	if got := line(examined(), "keys"); !strings.HasPrefix(got, "fail ") || strings.Contains(got, "a wrong passphrase") {
		t.Error(got)
	}
}
