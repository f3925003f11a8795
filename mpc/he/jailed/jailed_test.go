package jailed

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/jail"
)

func TestMain(m *testing.M) {
	jail.Enter()
	if code := Enter(rand.Reader); code >= 0 {
		os.Exit(code)
	}
	os.Exit(m.Run())
}

// launcher is the jail with its small program, or a skip that says which layer is missing.
func launcher(t *testing.T) *jail.Launcher {
	t.Helper()
	dir := t.TempDir()
	for d := dir; len(d) > 1; d = filepath.Dir(d) { // others must be able to execute the program
		if d == os.TempDir() {
			break
		}
		if err := os.Chmod(d, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	program := filepath.Join(dir, "opdomain-jail")
	cmd := exec.Command("go", "build", "-o", program, "github.com/opdomain/opdomain/cmd/opdomain-jail")
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	l, err := jail.New(jail.Config{Program: program})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	if _, err := Tier(l); err != nil {
		t.Skipf("THE ENGINE IS NOT CONFINED ON THIS MACHINE: %v", err)
	}
	return l
}

// TestJailed runs the engine where nothing but its channel is, and has its posture say so; then it has it end by a fault, by memory and by a
// cancelled call: each is Unavailable, to the end.
func TestJailed(t *testing.T) {
	l := launcher(t)
	ctx := context.Background()
	var began *jail.Process
	start := func(memory int64) *he.Child {
		t.Helper()
		e, err := he.NewChild(Launch{Jail: l, Memory: memory, Began: func(p *jail.Process) { began = p }})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(e.Close)
		return e
	}
	e := start(0)
	posture := began.Posture().Text()
	for _, want := range []string{"seccomp filter", "landlock", "no_new_privs 1", "capabilities none", "image "} {
		if !strings.Contains(posture, want) {
			t.Errorf("the engine's posture lacks %q", want)
		}
	}
	// A sum of one, opened: keys, encryption, shares and arithmetic work under the filter.
	set, seed := []byte(he.SumSet), make([]byte, 32)
	do := func(op he.Op, args ...[]byte) [][]byte {
		t.Helper()
		out, err := e.Do(ctx, op, args...)
		if err != nil {
			t.Fatalf("operation %d: %v", op, err)
		}
		return out
	}
	unit, gate := do(he.OpNewShare, set, seed), do(he.OpNewShare, set, seed)
	pub := do(he.OpPublicKey, set, seed, unit[1], gate[1])
	do(he.OpJoin, unit[0], do(he.OpDeal, unit[0], []byte{2, 1})[0])
	ct := do(he.OpEncrypt, pub[0], binary.LittleEndian.AppendUint64(nil, 4711))[0]
	share := do(he.OpPartial, unit[0], []byte{100}, []byte{1}, []byte{1}, ct)[0]
	if got := do(he.OpOpen, gate[0], ct, share)[0]; binary.LittleEndian.Uint64(got) != 4711 {
		t.Error("what the confined engine opened is not what it encrypted")
	}

	gone := func(name string, e *he.Child, err error) {
		t.Helper()
		if !errors.Is(err, sandbox.Unavailable) {
			t.Errorf("%s: %v, want unavailable", name, err)
		}
		if _, err := e.Do(ctx, he.OpNewShare, set, seed); !errors.Is(err, sandbox.Unavailable) {
			t.Errorf("%s: a call after it: %v", name, err)
		}
	}
	began.Kill(jail.Closed)
	<-began.Done()
	_, err := e.Do(ctx, he.OpNewShare, set, seed)
	gone("killed", e, err)

	e = start(128 << 20)
	big := [][]byte{set}
	for range 64 {
		big = append(big, make([]byte, 3<<20))
	}
	for range 1024 {
		if _, err = e.Do(ctx, he.OpNewShare, []byte(he.StatisticsSet), seed); err != nil {
			break
		}
	}
	gone("keys until the memory ends", e, err)
	e = start(64 << 20)
	_, err = e.Do(ctx, he.OpAdd, big...)
	gone("a call larger than the memory", e, err)

	e = start(0)
	cancelled, cancel := context.WithCancel(ctx)
	cancel()
	_, err = e.Do(cancelled, he.OpNewShare, set, seed)
	gone("cancelled", e, err)
}

// TestMissing: without a jail, or with one that lacks a layer, nothing starts and the error says what is missing.
func TestMissing(t *testing.T) {
	if _, err := he.NewChild(Launch{}); jail.ReasonOf(err) != jail.Layer || !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("without a jail: %v", err)
	}
}
