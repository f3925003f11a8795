package node

import (
	"context"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// TestAbandon: the unit and the agency end an open run with evidence, once; nobody else does, and a committed run stays.
func TestAbandon(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	n, unit := newNode(t, dir)
	defer func() { closed(t, n) }()
	agency := api.Caller{Identity: sandbox.Identity{ID: "agency", Party: "agency", Duty: sandbox.Officer}, Party: sandbox.Party{ID: "agency", Role: sandbox.Agency}}
	other := api.Caller{Identity: sandbox.Identity{ID: "other", Party: "other", Duty: sandbox.Officer}, Party: sandbox.Party{ID: "other", Role: sandbox.Unit}}
	d, err := n.RegisterDataset(ctx, unit, persons)
	if err != nil {
		t.Fatal(err)
	}
	for i, by := range []api.Caller{unit, agency} {
		run := sandbox.RunID([]string{"run-1", "run-2"}[i])
		opened(t, n, d, run)
		w, err := n.vault.Begin(ctx, d.Unit, d.ID, run, batch.Schema(d), 3)
		if err != nil {
			t.Fatal(err)
		}
		if err := w.Suspend(); err != nil {
			t.Fatal(err)
		}
		for caller, want := range map[*api.Caller]int{&unit: 1, &agency: 1, &other: 0} {
			if all, err := n.Pushes(ctx, *caller); err != nil || len(all) != want {
				t.Errorf("%s sees %d open runs, want %d: %v", caller.Party.ID, len(all), want, err)
			}
		}
		if _, err := n.AbandonPush(ctx, other, run); !errors.Is(err, sandbox.NotFound) {
			t.Errorf("another unit: %v", err)
		}
		p, err := n.AbandonPush(ctx, by, run)
		if err != nil || p.State != pushRefused || p.Rule != ruleAbandoned {
			t.Errorf("%s: %+v %v", by.Party.ID, p, err)
		}
		if s, err := n.vault.Stages(); err != nil || len(s) != 0 {
			t.Errorf("%d stages wait, %v", len(s), err)
		}
		if _, err := n.AbandonPush(ctx, by, run); !errors.Is(err, sandbox.Conflict) {
			t.Errorf("twice: %v", err)
		}
		if got := kinds(t, n, attest.IngestRefused); got != i+1 {
			t.Errorf("%d refusals are evidence, want %d", got, i+1)
		}
	}
}

// TestReserveKeepsTheDomainAnswering: with only the reserve left no push opens, and everything else goes on.
func TestReserveKeepsTheDomainAnswering(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	n, unit := newNode(t, dir)
	closed(t, n)
	cfg := testConfig(dir)
	free := uint64(300 << 20)
	cfg.Space = func(string) (uint64, uint64, error) { return free, 10 << 30, nil }
	n, err := Open(ctx, cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { closed(t, n) }()
	if err := n.vault.Room(); err != nil {
		t.Errorf("with room: %v", err)
	}
	free = 255 << 20
	d, err := n.RegisterDataset(ctx, unit, persons)
	if err != nil {
		t.Fatal(err)
	}
	opened(t, n, d, "run-1")
	if err := n.vault.Room(); !errors.Is(err, sandbox.TooLarge) || !strings.Contains(err.Error(), "less than 256 MiB left") {
		t.Errorf("without room: %v", err)
	}
	if _, err := n.AbandonPush(ctx, unit, "run-1"); err != nil {
		t.Errorf("abandoning on the reserve: %v", err)
	}
	if err := n.Seen(ctx, "unit", "nonce", n.now().Add(60e9)); err != nil {
		t.Errorf("a nonce on the reserve: %v", err)
	}
}
