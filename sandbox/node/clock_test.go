package node

import (
	"context"
	"errors"
	"path/filepath"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// TestClockJumps sets the host's clock forward and back under an open domain.
func TestClockJumps(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	start := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	wall, steady := start, time.Duration(0)
	cfg := testConfig(dir)
	cfg.Now, cfg.Steady = func() time.Time { return wall }, func() time.Duration { return steady }
	agency, unit := enrolled(t, "agency", sandbox.Agency), enrolled(t, "unit", sandbox.Unit)
	n, err := Create(ctx, cfg, Founding{Domain: "d", Hosting: sandbox.P1, District: "futian", Keys: keys.Params{Time: 1, Memory: 64, Threads: 1}, Enrolled: []api.Enrolment{agency, unit}})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { closed(t, n) }()
	c := api.Caller{Identity: unit.Identities[0], Party: unit.Party}
	register := func(id sandbox.DatasetID) error {
		d := persons
		d.ID = id
		_, err := n.RegisterDataset(ctx, c, d)
		return err
	}
	pass := func(d time.Duration) { wall, steady = wall.Add(d), steady+d }
	pass(400 * 24 * time.Hour) // time that really passes is no jump
	if err := register("ds-1"); err != nil {
		t.Fatal(err)
	}
	wall = wall.AddDate(10, 0, 0)
	if err := register("ds-2"); !errors.Is(err, sandbox.Unavailable) {
		t.Fatalf("recorded in a time that has not come: %v", err)
	}
	wall = wall.AddDate(-10, 0, 0)
	if err := register("ds-2"); err != nil { // nothing stays of it
		t.Fatal(err)
	}
	if got := n.now(); !got.Equal(wall) {
		t.Errorf("the domain's time is %v, the clock's %v", got, wall)
	}
	wall = wall.Add(9 * time.Minute) // as a clock is corrected
	if err := register("ds-3"); err != nil {
		t.Fatal(err)
	}
	// Set back: the domain's time stands still, also over a restart.
	floor := n.now()
	wall = start
	if err := register("ds-4"); err != nil {
		t.Fatal(err)
	}
	closed(t, n)
	if n, err = Open(ctx, cfg); err != nil {
		t.Fatal(err)
	}
	if got := n.now(); got.Before(floor.Truncate(time.Millisecond)) {
		t.Errorf("the domain's time went back to %v", got)
	}
}
