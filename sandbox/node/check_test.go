package node

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// TestCheckHoldsTheVaultToItsReceipts: a dataset's folder put back whole under a running domain is in itself without a fault;
// the catalogue and the receipts of pushes know better.
func TestCheckHoldsTheVaultToItsReceipts(t *testing.T) {
	ctx, dir := t.Context(), filepath.Join(t.TempDir(), "d")
	n, unit := newNode(t, dir)
	defer closed(t, n)
	if _, err := n.RegisterDataset(ctx, unit, persons); err != nil {
		t.Fatal(err)
	}
	folder, older := filepath.Join(dir, "vault", "ds-p"), filepath.Join(t.TempDir(), "older")
	committing(t, n, "ds-p", "run-1")
	if err := os.CopyFS(older, os.DirFS(folder)); err != nil {
		t.Fatal(err)
	}
	committing(t, n, "ds-p", "run-2")
	if k, faults := n.Check(ctx); k != 1 || len(faults) > 0 {
		t.Fatal(k, errors.Join(faults...))
	}
	if err := errors.Join(os.RemoveAll(folder), os.CopyFS(folder, os.DirFS(older))); err != nil {
		t.Fatal(err)
	}
	if faults := n.vault.Check(ctx, nil); len(faults) > 0 {
		t.Fatalf("the older folder is not whole in itself: %v", faults)
	}
	if _, faults := n.Check(ctx); len(faults) != 1 || !errors.Is(faults[0], sandbox.Tampered) || !strings.Contains(faults[0].Error(), "ds-p HEAD") {
		t.Error(errors.Join(faults...))
	}
	// A receipt that speaks of another manifest.
	p, rev, err := n.docs.pushes.Get(ctx, "run-1")
	if err != nil {
		t.Fatal(err)
	}
	d, at, err := n.docs.datasets.Get(ctx, "ds-p")
	if err != nil {
		t.Fatal(err)
	}
	d.Version = 1
	if _, err := n.docs.datasets.Update(ctx, "ds-p", at, string(d.Unit), "committed", d); err != nil {
		t.Fatal(err)
	}
	if _, faults := n.Check(ctx); len(faults) > 0 {
		t.Fatal(errors.Join(faults...))
	}
	p.Push.Report.Manifest[0] ^= 1
	if _, err := n.docs.pushes.Update(ctx, "run-1", rev, string(p.Party), pushCommitted, p); err != nil {
		t.Fatal(err)
	}
	if _, faults := n.Check(ctx); len(faults) != 1 || !errors.Is(faults[0], sandbox.Tampered) || !strings.Contains(faults[0].Error(), "another in its place") {
		t.Error(errors.Join(faults...))
	}
}
