package node

import (
	"context"
	"crypto/rand"
	"errors"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// viewing makes a domain with one version of ds-p, and a plan that its unit signed.
func viewing(t *testing.T, dir string) (*Node, api.Caller, *sm.SigningKey, ViewRequest) {
	t.Helper()
	k, err := keys.Create(filepath.Join(t.TempDir(), "unit"), []byte("x"), keys.Params{Time: 1, Memory: 64, Threads: 1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	unit := api.Enrolment{Party: sandbox.Party{ID: "unit", Role: sandbox.Unit, Name: "unit"}, Identities: []sandbox.Identity{{ID: "unit", Party: "unit", Duty: sandbox.Officer,
		SignKey: k.SigningKey().Public().Bytes(), EncryptKey: k.DecryptKey().Public().Bytes()}}}
	n, caller := newNodeOf(t, dir, enrolled(t, "agency", sandbox.Agency), unit)
	if _, err := n.RegisterDataset(t.Context(), caller, persons); err != nil {
		t.Fatal(err)
	}
	committing(t, n, "ds-p", "run-1")
	p, err := desensitize.Parse("plan", []byte("{plan: p, version: 1, dataset: ds-p, owner: unit, columns: [{column: who, op: keep, first: 1}]}"))
	if err != nil {
		t.Fatal(err)
	}
	r := ViewRequest{Use: "use-1", Dataset: "ds-p", Version: 1, Plan: p}
	if r.Signature, err = p.Sign(rand.Reader, k.SigningKey(), "unit", n.now()); err != nil {
		t.Fatal(err)
	}
	return n, caller, k.SigningKey(), r
}

func TestViewIsErasedWithItsUse(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	n, unit, _, r := viewing(t, dir)
	v, d, err := n.SealView(ctx, unit, r)
	if err != nil || !d.Allow || v.Rows != 1 || v.State != viewSealed || !strings.Contains(string(v.Report), `"masked":1`) {
		t.Fatalf("%+v %+v %v", v, d, err)
	}
	if _, err := n.vault.Head(v.ID); err != nil {
		t.Fatal(err)
	}
	all, err := n.Datasets(ctx, unit)
	if err != nil || len(all) != 1 {
		t.Errorf("the catalogue lists %d datasets: %v", len(all), err)
	}
	for range 2 {
		if err := n.EraseView(ctx, "unit", v.ID); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := n.vault.Head(v.ID); !errors.Is(err, sandbox.Expired) {
		t.Errorf("after its use: %v", err)
	}
	if a, b := kinds(t, n, attest.ViewSealed), kinds(t, n, attest.KeyErased); a != 1 || b != 1 {
		t.Errorf("%d view.sealed, %d key.erased", a, b)
	}
	// Another one, which the next stop ends; a third goes with its source.
	r.Use = "use-2"
	second, _, err := n.SealView(ctx, unit, r)
	if err != nil {
		t.Fatal(err)
	}
	closed(t, n)
	n = reopen(t, dir)
	defer closed(t, n)
	if _, err := n.vault.Head(second.ID); !errors.Is(err, sandbox.Expired) {
		t.Errorf("after a restart: %v", err)
	}
	r.Use = "use-3"
	third, _, err := n.SealView(ctx, unit, r)
	if err != nil {
		t.Fatal(err)
	}
	committing(t, n, "ds-p", "run-2")
	if _, err := n.EraseVersion(ctx, unit, "ds-p", 1, api.ErasureRequest{Reason: "order 1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := n.vault.Head(third.ID); !errors.Is(err, sandbox.Expired) {
		t.Errorf("after its source: %v", err)
	}
	if _, faults := n.Check(ctx); len(faults) > 0 {
		t.Error(faults)
	}
	if _, err := n.Audit(ctx, nil); err != nil {
		t.Error(err)
	}
	r.Use = "use-4"
	if _, _, err := n.SealView(ctx, unit, r); !errors.Is(err, sandbox.Expired) {
		t.Errorf("a view of an erased version: %v", err)
	}
}

// TestViewSealedBeforeACrash: the vault has the view, the record not: the next start erases it.
func TestViewSealedBeforeACrash(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	n, unit, _, r := viewing(t, dir)
	v, _, err := n.SealView(ctx, unit, r)
	if err != nil {
		t.Fatal(err)
	}
	rec, rev, err := n.docs.views.Get(ctx, string(v.ID))
	if err != nil {
		t.Fatal(err)
	}
	rec.Key = ""
	if _, err := n.docs.views.Update(ctx, string(v.ID), rev, "unit", viewOrdered, rec); err != nil {
		t.Fatal(err)
	}
	closed(t, n)
	n = reopen(t, dir)
	defer closed(t, n)
	if _, err := n.vault.Head(v.ID); !errors.Is(err, sandbox.Expired) {
		t.Errorf("after a crash: %v", err)
	}
	if c := kinds(t, n, attest.KeyErased); c != 1 {
		t.Errorf("%d key.erased", c)
	}
}

func TestViewWantsItsOwnersPlan(t *testing.T) {
	ctx := context.Background()
	n, unit, key, r := viewing(t, filepath.Join(t.TempDir(), "d"))
	defer closed(t, n)
	other := *r.Plan
	other.Columns = []desensitize.Step{{Column: "who", Op: desensitize.Pass}}
	for what, c := range map[string]struct {
		change func(r *ViewRequest)
		kind   sandbox.Kind
	}{
		"signed by the agency": {func(r *ViewRequest) { r.Signature.Signer = "agency" }, sandbox.Denied},
		"signed by nobody":     {func(r *ViewRequest) { r.Signature.Signer = "x" }, sandbox.NotFound},
		"not signed":           {func(r *ViewRequest) { r.Signature.Signature = nil }, sandbox.Tampered},
		"another plan":         {func(r *ViewRequest) { r.Plan = &other }, sandbox.Tampered},
		"no dataset":           {func(r *ViewRequest) { r.Dataset = "ds-q" }, sandbox.NotFound},
		"no use":               {func(r *ViewRequest) { r.Use = "" }, sandbox.Invalid},
	} {
		x := r
		c.change(&x)
		if _, d, err := n.SealView(ctx, unit, x); !errors.Is(err, c.kind) || d.Allow {
			t.Errorf("%s: %v", what, err)
		}
	}
	x := r
	x.Plan = &other
	var err error
	if x.Signature, err = other.Sign(rand.Reader, key, "unit", n.now()); err != nil {
		t.Fatal(err)
	}
	if _, d, err := n.SealView(ctx, unit, x); err != nil || d.Allow || len(d.Reasons) != 1 || d.Reasons[0].Code != "plan.passed" {
		t.Errorf("a plan that hides nothing: %+v %v", d, err)
	}
	if c := kinds(t, n, attest.ViewSealed); c != 0 {
		t.Errorf("%d view.sealed", c)
	}
}
