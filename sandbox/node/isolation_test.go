package node

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/jail"
)

// TestIsolation runs the canary from a node: at once, then not before its hour has come.
func TestIsolation(t *testing.T) {
	dir, err := os.MkdirTemp("", "node-isolation-") // not the test's own folder, which plug-ins' users cannot enter
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	program := filepath.Join(dir, "opdomain-jail")
	build := exec.Command("go", "build", "-o", program, "../../cmd/opdomain-jail")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := jail.New(jail.Config{}); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a program that does not call Enter opened a jail: %v", err)
	}
	l, err := jail.New(jail.Config{Program: program})
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	if m := l.Probe().Missing(jail.T1); len(m) > 0 {
		t.Skipf("SKIPPED ALOUD: T1 lacks %v", m)
	}
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	n := &Node{cfg: Config{Jail: l, Now: func() time.Time { return now }}}
	for _, c := range []struct {
		after time.Duration
		tried bool
	}{{0, true}, {time.Minute, false}, {time.Hour, true}} {
		now = now.Add(c.after)
		if err := n.TryIsolation(context.Background()); err != nil {
			t.Fatal(err)
		}
		i := n.isolation()
		if i == nil || i.Halted != "" || i.Attacks < 30 || len(i.Tiers) == 0 || i.Tried.Equal(now) != c.tried {
			t.Errorf("after %s: %+v", c.after, i)
		}
	}
	if i := (&Node{}).isolation(); i != nil {
		t.Errorf("without a jail: %+v", i)
	}
	// A run of which nothing is known is not one: the next minute tries again.
	now = now.Add(time.Hour)
	ended, end := context.WithCancel(context.Background())
	end()
	if err := n.TryIsolation(ended); err == nil || n.isolation().Tried.Equal(now) {
		t.Errorf("a canary that was ended: %v, %+v", err, n.isolation())
	}
	if err := n.TryIsolation(context.Background()); err != nil || !n.isolation().Tried.Equal(now) {
		t.Errorf("after it: %v, %+v", err, n.isolation())
	}
}

// TestTryTiers: a tier of which nothing is known keeps no other from being attacked, and its error is told.
func TestTryTiers(t *testing.T) {
	doubt := errors.New("not known")
	var tried []jail.Tier
	attacks, err := tryTiers(func(jail.Tier) bool { return true }, func(tier jail.Tier) (jail.Verdict, error) {
		tried = append(tried, tier)
		if tier == jail.T1 {
			return jail.Verdict{Tier: tier, Attacks: 3}, doubt
		}
		return jail.Verdict{Tier: tier, Attacks: 30}, nil
	})
	if !errors.Is(err, doubt) || attacks != 33 || !slices.Equal(tried, []jail.Tier{jail.T1, jail.T2}) {
		t.Errorf("tried %v, %d attacks: %v", tried, attacks, err)
	}
}
