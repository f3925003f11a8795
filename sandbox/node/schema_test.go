package node

import (
	"context"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// TestSchemasFromBeforeTheHistory: a dataset that was registered before the domain kept the schemas has its first one all the
// same, without a date, and a change of it is the second.
func TestSchemasFromBeforeTheHistory(t *testing.T) {
	ctx := context.Background()
	n, unit := newNode(t, filepath.Join(t.TempDir(), "d"))
	defer closed(t, n)
	d, err := n.RegisterDataset(ctx, unit, persons)
	if err != nil {
		t.Fatal(err)
	}
	had, err := n.Schemas(ctx, unit, d.ID)
	if err != nil || len(had) != 1 || had[0].At.IsZero() || had[0].Version != 1 {
		t.Fatalf("registered: %+v %v", had, err)
	}
	rows, err := n.docs.schemas.List(ctx, listState(string(d.ID)))
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d entries, %v", len(rows), err)
	}
	if err := n.docs.schemas.Delete(ctx, rows[0].ID); err != nil {
		t.Fatal(err)
	}
	old, err := n.Schemas(ctx, unit, d.ID)
	had[0].At = old[0].At
	if err != nil || !old[0].At.IsZero() || !reflect.DeepEqual(old, had) {
		t.Fatalf("without a history: %+v %v", old, err)
	}
	wider := d
	wider.Columns = append(append([]catalog.Column{}, d.Columns...), catalog.Column{Name: "n", Type: catalog.Int, Nullable: true, Grade: 2})
	for range 2 { // a push that changes nothing adds nothing
		err = n.change(ctx, unit.Identity.ID, func(ctx context.Context, tx *change) error {
			return n.noteChange(ctx, d, wider, vault.Snapshot{Dataset: d.ID, Run: "run-1", Version: 4}, tx.at)
		})
		if err != nil {
			t.Fatal(err)
		}
		d = wider
	}
	got, err := n.Schemas(ctx, api.Caller{}, d.ID)
	if err != nil || len(got) != 2 || !reflect.DeepEqual(got[0], old[0]) {
		t.Fatalf("%+v %v", got, err)
	}
	if v := got[1]; v.Version != 2 || v.Since != 4 || v.Run != "run-1" || len(v.Changes) != 1 || v.Changes[0].Rule != catalog.AddNullable || v.At.IsZero() || !reflect.DeepEqual(v.Schema, wider.Schema()) {
		t.Errorf("%+v", v)
	}
}
