package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"sync"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// committing writes the next version of a dataset and makes it visible.
func committing(t *testing.T, n *Node, d sandbox.DatasetID, run sandbox.RunID) {
	t.Helper()
	ctx := t.Context()
	set, _, err := n.docs.datasets.Get(ctx, string(d))
	if err != nil {
		t.Fatal(err)
	}
	opened(t, n, set, run)
	b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(set))
	defer b.Release()
	b.Field(0).(*array.StringBuilder).Append("somebody")
	rec := b.NewRecord()
	defer rec.Release()
	w, err := n.vault.Begin(ctx, set.Unit, d, run, batch.Schema(set), 3)
	if err == nil {
		err = w.Write(ctx, rec, []sandbox.Pseudonym{{1}})
	}
	if err != nil {
		t.Fatal(err)
	}
	snap, err := w.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	rep := api.PushReport{Run: run, Dataset: d, Version: snap.Version, Rows: snap.Rows, Manifest: snap.Manifest[:]}
	if err := n.committed(ctx, domainIdentity, snap, rep, nil, nil); err != nil {
		t.Fatal(err)
	}
}

func TestEraseVersion(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	n, unit := newNode(t, dir)
	if _, err := n.RegisterDataset(ctx, unit, persons); err != nil {
		t.Fatal(err)
	}
	committing(t, n, "ds-p", "run-1")
	committing(t, n, "ds-p", "run-2")
	committing(t, n, "ds-p", "run-3")
	stranger := api.Caller{Identity: sandbox.Identity{ID: "x", Party: "x"}, Party: sandbox.Party{ID: "x", Role: sandbox.Unit}}
	agency := api.Caller{Identity: sandbox.Identity{ID: "agency", Party: "agency"}, Party: sandbox.Party{ID: "agency", Role: sandbox.Agency}}
	why := api.ErasureRequest{Reason: "the contract ended"}
	for name, x := range map[string]struct {
		c       api.Caller
		version uint64
		kind    sandbox.Kind
	}{
		"another unit":   {stranger, 1, sandbox.NotFound},
		"no version":     {unit, 9, sandbox.NotFound},
		"version zero":   {unit, 0, sandbox.NotFound},
		"the one in use": {unit, 3, sandbox.Denied},
	} {
		if _, err := n.EraseVersion(ctx, x.c, "ds-p", x.version, why); !errors.Is(err, x.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if n := kinds(t, n, attest.KeyErased); n != 0 {
		t.Fatalf("%d erasures from refusals", n)
	}
	// Many callers, one erasure.
	var all sync.WaitGroup
	reports := make([]api.ErasureReport, 8)
	for i := range reports {
		all.Go(func() {
			c := unit
			if i%2 == 0 {
				c = agency
			}
			var err error
			if reports[i], err = n.EraseVersion(ctx, c, "ds-p", 1, why); err != nil {
				t.Error(err)
			}
		})
	}
	all.Wait()
	for _, r := range reports {
		if !bytes.Equal(r.Certificate, reports[0].Certificate) {
			t.Error("two certificates of one erasure")
		}
	}
	var e keys.Erasure
	if err := json.Unmarshal(reports[0].Certificate, &e); err != nil || e.Verify(n.keys.SigningKey().Public()) != nil || e.Version.Version != 1 || e.Proves != keys.ProcedureOnly || len(e.Remains) == 0 {
		t.Errorf("%+v %v", e, err)
	}
	if _, err := os.Stat(filepath.Join(dir, "vault", "ds-p", "1")); err == nil {
		t.Error("the files are still there")
	}
	if _, err := n.vault.Snapshot("ds-p", 1); !errors.Is(err, sandbox.Expired) {
		t.Error(err)
	}
	for _, v := range []uint64{2, 3} {
		if _, err := n.vault.Snapshot("ds-p", v); err != nil {
			t.Error(err)
		}
	}
	why.Current = true
	if _, err := n.EraseVersion(ctx, unit, "ds-p", 3, why); err != nil {
		t.Error(err)
	}
	if c := kinds(t, n, attest.KeyErased); c != 2 {
		t.Errorf("%d key.erased", c)
	}
	if _, err := n.Audit(ctx, nil); err != nil {
		t.Error(err)
	}
	if _, faults := n.Check(ctx); len(faults) > 0 {
		t.Error(faults)
	}
	committing(t, n, "ds-p", "run-4") // the dataset goes on
	closed(t, n)
	n = reopen(t, dir)
	defer closed(t, n)
	if _, faults := n.Check(ctx); len(faults) > 0 {
		t.Error(faults)
	}
	if d, err := n.Dataset(ctx, unit, "ds-p"); err != nil || d.Version != 4 {
		t.Errorf("%d %v", d.Version, err)
	}
}

// TestErasureGoesOnAfterACrash stops an ordered erasure before the key is destroyed, and again behind it.
func TestErasureGoesOnAfterACrash(t *testing.T) {
	for _, destroyed := range []bool{false, true} {
		ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
		n, unit := newNode(t, dir)
		if _, err := n.RegisterDataset(ctx, unit, persons); err != nil {
			t.Fatal(err)
		}
		committing(t, n, "ds-p", "run-1")
		committing(t, n, "ds-p", "run-2")
		snap, err := n.vault.Snapshot("ds-p", 1)
		if err != nil {
			t.Fatal(err)
		}
		r := erasureRecord{Dataset: "ds-p", Version: 1, Key: snap.Key, By: "unit", At: n.now(), Reason: "x"}
		if err := n.docs.erasures.Insert(ctx, "ds-p.1", "unit", erasureOrdered, r); err != nil {
			t.Fatal(err)
		}
		var cert keys.Erasure
		if destroyed {
			if cert, err = n.keys.Destroy(r.Key, r.By, r.At); err != nil {
				t.Fatal(err)
			}
		}
		closed(t, n)
		for range 2 {
			n = reopen(t, dir)
			got, err := n.EraseVersion(ctx, unit, "ds-p", 1, api.ErasureRequest{Reason: "x"})
			if err != nil {
				t.Fatal(err)
			}
			if want, err := json.Marshal(cert); destroyed && (err != nil || !bytes.Equal(want, got.Certificate)) {
				t.Errorf("another certificate than the one that was stored: %v", err)
			}
			if c := kinds(t, n, attest.KeyErased); c != 1 {
				t.Errorf("%d key.erased", c)
			}
			if _, err := n.vault.Snapshot("ds-p", 1); !errors.Is(err, sandbox.Expired) {
				t.Error(err)
			}
			closed(t, n)
		}
	}
}

// TestEraseEvidence: payloads go, proofs stay, and an audit meanwhile finds the log whole.
func TestEraseEvidence(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	n, unit := newNode(t, dir)
	if _, err := n.RegisterDataset(ctx, unit, persons); err != nil {
		t.Fatal(err)
	}
	size := n.evidence.Log().Size()
	agency := api.Caller{Party: sandbox.Party{ID: "agency", Role: sandbox.Agency}}
	var all sync.WaitGroup
	all.Go(func() {
		for range 20 {
			if _, err := n.Audit(ctx, nil); err != nil {
				t.Error(err)
			}
		}
	})
	for i := uint64(1); i < size; i++ {
		if err := n.EraseEvidence(ctx, "order 17", []uint64{i}); err != nil {
			t.Fatal(err)
		}
		if err := n.EraseEvidence(ctx, "order 17", []uint64{i}); err != nil { // nothing is due any more
			t.Fatal(err)
		}
	}
	all.Wait()
	for name, x := range map[string]struct {
		reason  string
		entries []uint64
	}{"the founding": {"r", []uint64{0}}, "no reason": {"", []uint64{1}}, "no entry": {"r", nil}, "behind the end": {"r", []uint64{1 << 40}}} {
		if err := n.EraseEvidence(ctx, x.reason, x.entries); err == nil {
			t.Errorf("%s was erased", name)
		}
	}
	if c := kinds(t, n, attest.EvidenceErased); uint64(c) != size-1 {
		t.Errorf("%d evidence.erased of %d", c, size-1)
	}
	if _, err := n.Proof(ctx, agency, 1, true); !errors.Is(err, sandbox.Expired) {
		t.Errorf("an erased event is shown: %v", err)
	}
	b, err := n.Proof(ctx, agency, 1, false)
	if err != nil {
		t.Fatal(err)
	}
	if r, err := attest.VerifyProof(b, n.keys.SigningKey().Public()); err != nil || r.Index != 1 {
		t.Error(err)
	}
	closed(t, n)
	n = reopen(t, dir)
	defer closed(t, n)
	rep, err := n.Audit(ctx, nil)
	if err != nil || uint64(rep.Erased) != size-1 {
		t.Errorf("%+v %v", rep, err)
	}
}

// TestProofShowsWhatAPartyMaySee compares the proofs with events that a party gets with what its bundle shows.
func TestProofShowsWhatAPartyMaySee(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	n, unit := newNode(t, dir)
	defer func() { closed(t, n) }()
	if _, err := n.RegisterDataset(ctx, unit, persons); err != nil {
		t.Fatal(err)
	}
	committing(t, n, "ds-p", "run-1")
	for _, c := range []api.Caller{unit, {Party: sandbox.Party{ID: "other", Role: sandbox.Unit}}, {Party: sandbox.Party{ID: "agency", Role: sandbox.Agency}}, {Party: sandbox.Party{ID: "a", Role: sandbox.Auditor}}} {
		visible, err := n.audience(ctx, c)
		if err != nil {
			t.Fatal(err)
		}
		shown := 0
		for i := range n.evidence.Log().Size() {
			e, err := n.evidence.Event(i)
			if err != nil {
				t.Fatal(err)
			}
			_, err = n.Proof(ctx, c, i, true)
			if visible(e.Event) {
				shown++
				if err != nil {
					t.Errorf("%s: entry %d: %v", c.Party.ID, i, err)
				}
			} else if !errors.Is(err, sandbox.NotFound) {
				t.Errorf("%s: entry %d is hidden and shown: %v", c.Party.ID, i, err)
			}
		}
		if shown == 0 {
			t.Errorf("%s sees nothing", c.Party.ID)
		}
	}
	if _, err := n.Proof(ctx, unit, 1<<40, true); !errors.Is(err, sandbox.NotFound) {
		t.Error(err)
	}
}
