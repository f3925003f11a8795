package attest

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

// Erased payloads stay erased over a restart, their proofs hold, and the log says so once however often it is done.
func TestErase(t *testing.T) {
	c := newCast(t)
	ctx := context.Background()
	r := c.play(t, c.story())
	at, late := uint64(find(t, c.story(), "no consent")), start.Add(30*time.Hour)
	before, err := r.Event(at)
	if err != nil {
		t.Fatal(err)
	}
	// A crash between the payload and its event: the bundle is refused until the call is repeated.
	if err := r.log.Erase(ctx, at); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Event(at); !errors.Is(err, sandbox.Expired) {
		t.Fatal(err)
	}
	if _, err := verify(bundle(t, r, everything)); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "erasure") {
		t.Fatal(err)
	}
	size := r.log.Size()
	for range 2 {
		if err := r.Erase(ctx, late, DomainActor, "retention", at, at); err != nil {
			t.Fatal(err)
		}
		if r.log.Size() != size+1 {
			t.Fatalf("%d events were added", r.log.Size()-size)
		}
	}
	rep, err := verify(bundle(t, r, everything))
	if err != nil || rep.Hidden != 1 || rep.Events[EvidenceErased] != 1 {
		t.Errorf("%+v, %v", rep, err)
	}
	cp := r.log.Checkpoint()
	path, err := r.log.Inclusion(at, cp.Size)
	if err == nil {
		err = tlog.VerifyInclusion(before.Entry, at, cp.Size, path, cp.Root)
	}
	if err != nil {
		t.Error(err)
	}
	n := 0
	for e, err := range r.Events(ctx) {
		if err != nil || e.Erased != (e.Index == at) || e.Erased && e.Entry != before.Entry {
			t.Errorf("entry %d: %v", e.Index, err)
		}
		n++
	}
	if uint64(n) != size+1 {
		t.Errorf("%d entries", n)
	}
	for name, x := range map[string]struct {
		reason string
		i      []uint64
	}{"first entry": {"r", []uint64{0}}, "an erasure": {"r", []uint64{size}}, "no reason": {"", []uint64{at}}, "nothing": {"r", nil}, "long reason": {strings.Repeat("r", 257), []uint64{at}}} {
		if err := r.Erase(ctx, late, DomainActor, x.reason, x.i...); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := r.Erase(ctx, late, DomainActor, "r", size+9); !errors.Is(err, sandbox.NotFound) {
		t.Error(err)
	}
}

func TestEraseOverRestart(t *testing.T) {
	c := newCast(t)
	cfg := tlog.Config{Dir: filepath.Join(t.TempDir(), "log"), Origin: "opdomain/test", Key: c.domain, Rand: rand.Reader}
	log, err := tlog.Create(cfg)
	if err != nil {
		t.Fatal(err)
	}
	for pass := range 2 {
		r, err := NewRecorder(log, c.domain, c.ring, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		if pass == 0 {
			for range 3 {
				if _, err := r.Record(context.Background(), start, DomainActor, "o", BundleExported, BundleExportedBody{}, "party/a"); err != nil {
					t.Fatal(err)
				}
			}
			if err := r.Erase(context.Background(), start, DomainActor, "r", 1); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := r.Event(1); !errors.Is(err, sandbox.Expired) {
			t.Error(err)
		}
		if e, err := r.Event(2); err != nil || !has(t, r, e.Entry) {
			t.Error(err)
		}
		if h, err := r.hash(1); err != nil || h == [sm.Size]byte{} {
			t.Error(err)
		}
		if err := r.Close(); err != nil {
			t.Fatal(err)
		}
		if log, err = tlog.Open(cfg); err != nil {
			t.Fatal(err)
		}
	}
	if err := log.Close(); err != nil {
		t.Fatal(err)
	}
}
