package node

import (
	"errors"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"crypto/rand"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/witness"
	"github.com/opdomain/opdomain/sandbox"
)

// served is a witness of a domain's log at an address.
func served(t *testing.T, n *Node, name string) (Witness, *httptest.Server) {
	t.Helper()
	k, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w, err := witness.Open(witness.Config{Name: name, Dir: filepath.Join(t.TempDir(), name), Key: k, Now: func() time.Time { return time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC) }, Rand: rand.Reader,
		Logs: map[string]*sm.VerifyKey{n.evidence.Log().Origin(): n.keys.SigningKey().Public()}})
	if err != nil {
		t.Fatal(err)
	}
	s := httptest.NewServer(w.Handler())
	t.Cleanup(s.Close)
	return Witness{Name: name, Party: "agency", URL: s.URL, Key: k.Public().Bytes()}, s
}

// TestForkCloses: two copies of one domain are open, each confirmed. What one has had witnessed closes the other at its next
// word with a witness, although a quorum without that witness would do.
func TestForkCloses(t *testing.T) {
	ctx, dir := t.Context(), filepath.Join(t.TempDir(), "d")
	n, unit := newNode(t, dir)
	a, _ := served(t, n, "w-a")
	b, gone := served(t, n, "w-b")
	if err := n.SetWitnesses(ctx, Witnesses{Quorum: 1, Witnesses: []Witness{a, b}}); err != nil {
		t.Fatal(err)
	}
	closed(t, n)
	twin := filepath.Join(t.TempDir(), "twin")
	if err := os.CopyFS(twin, os.DirFS(dir)); err != nil {
		t.Fatal(err)
	}
	n, other := reopen(t, dir), reopen(t, twin)
	defer closed(t, n)
	defer closed(t, other)
	if n.Waiting() || other.Waiting() {
		t.Fatal("not confirmed")
	}
	for id, x := range map[sandbox.DatasetID]*Node{"ds-1": n, "ds-2": other} {
		d := persons
		d.ID = id
		if _, err := x.RegisterDataset(ctx, unit, d); err != nil {
			t.Fatal(err)
		}
	}
	if err := n.Tend(ctx); err != nil {
		t.Fatal(err)
	}
	if err := other.Tend(ctx); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "forked") {
		t.Errorf("the twin goes on: %v", err)
	}
	if other.Forked() == nil {
		t.Error("the twin does not know that it is one")
	}
	if _, _, err := other.Identity(ctx, unit.Identity.ID); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("it knows identities: %v", err)
	}
	d := persons
	d.ID = "ds-3"
	if _, err := other.RegisterDataset(ctx, unit, d); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("it changes: %v", err)
	}
	// The one that was witnessed goes on, with one witness less too.
	gone.Close()
	if _, err := n.RegisterDataset(ctx, unit, d); err != nil {
		t.Error(err)
	}
	if err := n.Tend(ctx); err != nil {
		t.Error(err)
	}
}

// TestWaiting: how many witnesses must answer before a domain opens, and where they are.
func TestWaiting(t *testing.T) {
	ctx, dir := t.Context(), filepath.Join(t.TempDir(), "d")
	n, unit := newNode(t, dir)
	var all []Witness
	var servers []*httptest.Server
	for _, name := range []string{"w-a", "w-b", "w-c"} {
		w, s := served(t, n, name)
		all, servers = append(all, w), append(servers, s)
	}
	if err := n.SetWitnesses(ctx, Witnesses{Quorum: 2, Witnesses: all}); err != nil {
		t.Fatal(err)
	}
	closed(t, n)
	// A quorum of two: of two that answer, one has signed.
	servers[0].Close()
	n = reopen(t, dir)
	if n.Waiting() {
		t.Error("two of three are enough")
	}
	closed(t, n)
	servers[1].Close()
	n = reopen(t, dir)
	if !n.Waiting() {
		t.Error("one of three is not enough: the other two may have signed more")
	}
	if _, err := n.RegisterDataset(ctx, unit, persons); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("it changes: %v", err)
	}
	if _, _, err := n.Identity(ctx, unit.Identity.ID); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("it knows identities: %v", err)
	}
	if err := n.Tend(ctx); !errors.Is(err, sandbox.Unavailable) || !n.Waiting() {
		t.Errorf("still one: %v", err)
	}
	if s, err := n.Status(ctx); err != nil || !s.Waiting || len(s.Unreachable) != 2 {
		t.Errorf("%+v %v", s, err)
	}
	closed(t, n)
	// A stranger under a witness's name counts for nothing; the witness at a new address does.
	stranger, _ := served(t, n, "w-b")
	cfg := testConfig(dir)
	cfg.Witnesses = []Witness{stranger}
	n, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	if !n.Waiting() {
		t.Error("a stranger's word opened the domain")
	}
	closed(t, n)
}
