package main

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/node"
)

// TestReleaseOpen fetches and opens a release from the command line, as its recipient and as somebody else.
func TestReleaseOpen(t *testing.T) {
	_, dir, _ := played(t)
	a := &app{in: strings.NewReader(""), out: io.Discard, err: io.Discard, now: time.Now, rand: testRand{}}
	p, err := a.passphraseFor(dir)
	if err != nil {
		t.Fatal(err)
	}
	m := api.NewMetrics()
	n, err := node.Open(context.Background(), node.Config{Dir: dir, Passphrase: p, Now: a.now, Rand: a.rand, Metrics: m})
	if err != nil {
		t.Fatal(err)
	}
	v, err := a.listen(context.Background(), n, address{listen: "127.0.0.1:0"}, slog.New(slog.DiscardHandler), m)
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := errors.Join(v.close(), n.Close()); err != nil {
			t.Error(err)
		}
	}()
	cli := func(who string, args ...string) (int, string, string) {
		return opdomain(t, append([]string{"--server", v.addr, "--as", filepath.Join(dir, "identities", who)}, args...)...)
	}
	code, out, errOut := cli("operator", "release", "list", "--json")
	var all []api.ReleaseInfo
	if err := json.Unmarshal([]byte(out), &all); code != 0 || err != nil || len(all) != 2 {
		t.Fatalf("exit %d, %v: %s%s", code, err, out, errOut)
	}
	work := t.TempDir()
	sealed, key := filepath.Join(work, "r.sealed"), filepath.Join(work, "domain.key")
	if code, _, errOut := cli("operator", "release", "fetch", string(all[1].ID), "--out", sealed); code != 0 {
		t.Fatal(errOut)
	}
	code, out, _ = cli("operator", "evidence", "key")
	if code != 0 || os.WriteFile(key, []byte(out), 0o600) != nil {
		t.Fatal("no key")
	}
	code, out, errOut = cli("operator", "release", "open", "--in", sealed, "--key", key)
	if code != 0 || !strings.Contains(out, "age_band") || !strings.Contains(out, "people") {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	if code, out, errOut = cli("operator", "release", "open", string(all[1].ID)); code != 0 || !strings.Contains(out, "age_band") {
		t.Errorf("fetched and opened at once: exit %d: %s%s", code, out, errOut)
	}
	code, out, errOut = cli("insurer", "release", "open", "--in", sealed)
	if code != exitFailed || out != "" || !strings.Contains(errOut, "not sealed to this identity") {
		t.Errorf("exit %d: %s%s", code, out, errOut)
	}
	code, _, errOut = cli("insurer", "release", "fetch", string(all[1].ID))
	if code != exitFailed || !strings.Contains(errOut, string(sandbox.NotFound)) {
		t.Errorf("exit %d: %s", code, errOut)
	}
	b, err := os.ReadFile(sealed)
	if err != nil {
		t.Fatal(err)
	}
	b[len(b)/2] ^= 1
	if err := os.WriteFile(sealed, b, 0o600); err != nil {
		t.Fatal(err)
	}
	if code, _, errOut = cli("operator", "release", "open", "--in", sealed); code != exitFailed || !strings.Contains(errOut, "error: release") {
		t.Errorf("a changed envelope: exit %d: %s", code, errOut)
	}
}
