package node

import (
	"context"
	"path/filepath"
	"reflect"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// TestSchemasAreTheRevisionsThatChangedThem: a revision of words is no schema, and a dataset from before there were revisions has its
// first schema all the same, without a date.
func TestSchemasAreTheRevisionsThatChangedThem(t *testing.T) {
	ctx := context.Background()
	n, unit := newNode(t, filepath.Join(t.TempDir(), "d"))
	defer closed(t, n)
	d, err := n.RegisterDataset(ctx, unit, persons)
	if err != nil {
		t.Fatal(err)
	}
	first := catalog.SchemaVersion{Version: 1, Schema: d.Schema()}
	digest := schemaDigest(d)
	first.Digest = digest[:]
	had, err := n.Schemas(ctx, unit, d.ID)
	if err != nil || len(had) != 1 || had[0].At.IsZero() {
		t.Fatalf("registered: %+v %v", had, err)
	}
	if first.At = had[0].At; !reflect.DeepEqual(had[0], first) {
		t.Fatalf("registered: %+v", had)
	}
	words := d
	words.Title = "people"
	if d, err = n.ReviseDataset(ctx, unit, d.ID, words); err != nil {
		t.Fatal(err)
	}
	if had, err = n.Schemas(ctx, unit, d.ID); err != nil || len(had) != 1 {
		t.Fatalf("after a revision of words: %+v %v", had, err)
	}
	keep := func(d catalog.Dataset) {
		t.Helper()
		err := n.change(ctx, unit.Identity.ID, func(ctx context.Context, tx *change) error {
			_, err := n.keepRevision(ctx, d, []string{"schema"}, unit.Identity.ID, tx.at)
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
	wider := d
	wider.Columns = append(append([]catalog.Column{}, d.Columns...), catalog.Column{Name: "n", Type: catalog.Int, Nullable: true, Grade: 2})
	wider.Revision, wider.Version = 3, 4
	keep(wider)
	got, err := n.Schemas(ctx, unit, d.ID)
	if err != nil || len(got) != 2 || !reflect.DeepEqual(got[0], first) {
		t.Fatalf("%+v %v", got, err)
	}
	if v := got[1]; v.Version != 2 || v.Since != 4 || len(v.Changes) != 1 || v.Changes[0].Rule != catalog.AddNullable || v.At.IsZero() || !reflect.DeepEqual(v.Schema, wider.Schema()) {
		t.Errorf("%+v", v)
	}

	old := persons
	old.ID = "ds-old"
	if _, err := n.RegisterDataset(ctx, unit, old); err != nil {
		t.Fatal(err)
	}
	rows, err := n.docs.revisions.List(ctx, listState("ds-old"))
	if err != nil || len(rows) != 1 {
		t.Fatalf("%d revisions, %v", len(rows), err)
	}
	if err := n.docs.revisions.Delete(ctx, rows[0].ID); err != nil {
		t.Fatal(err)
	}
	if got, err := n.Schemas(ctx, unit, "ds-old"); err != nil || len(got) != 1 || !got[0].At.IsZero() {
		t.Errorf("without revisions: %+v %v", got, err)
	}
	old.Version, old.Revision = 7, 1 // a push found no revision, and entered the state before it beside its own
	keep(old)
	if got, err := n.Schemas(ctx, unit, "ds-old"); err != nil || len(got) != 1 || !got[0].At.IsZero() || got[0].Since != 0 {
		t.Errorf("entered late: %+v %v", got, err)
	}
}

// TestSchemasOfAHiddenCard are hidden with it.
func TestSchemasOfAHiddenCard(t *testing.T) {
	ctx := context.Background()
	n, unit := newNode(t, filepath.Join(t.TempDir(), "d"))
	defer closed(t, n)
	d := persons
	d.Card.Openness = catalog.NotOpen
	if _, err := n.RegisterDataset(ctx, unit, d); err != nil {
		t.Fatal(err)
	}
	if got, err := n.Schemas(ctx, unit, d.ID); err != nil || len(got) != 1 {
		t.Errorf("its owner: %+v %v", got, err)
	}
	if _, err := n.Schemas(ctx, api.Caller{Party: sandbox.Party{ID: "x", Role: sandbox.Operator}}, d.ID); sandbox.KindOf(err) != sandbox.NotFound {
		t.Errorf("an operator: %v", err)
	}
}
