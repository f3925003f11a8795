package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

func callerOf(e api.Enrolment) api.Caller {
	return api.Caller{Identity: e.Identities[0], Party: e.Party}
}

// TestCatalogue is the catalogue's life: published entries, registration, the owner's revisions, search, and what of it who sees.
func TestCatalogue(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	agency, own := enrolled(t, "agency", sandbox.Agency), enrolled(t, "unit", sandbox.Unit)
	n, unit := newNodeOf(t, dir, agency, own)
	other := api.Caller{Identity: sandbox.Identity{ID: "other", Party: "other"}, Party: sandbox.Party{ID: "other", Role: sandbox.Unit}}
	asker := api.Caller{Identity: sandbox.Identity{ID: "op", Party: "op"}, Party: sandbox.Party{ID: "op", Role: sandbox.Operator}}

	size := n.evidence.Log().Size()
	for range 2 {
		seeded, err := n.SeedCatalogue(ctx, callerOf(agency), api.SeedRequest{})
		if err != nil || len(seeded) != 25 {
			t.Fatalf("%d entries, %v", len(seeded), err)
		}
	}
	if got, err := n.Entries(ctx, asker); err != nil || len(got) != 25 || got[0].Title != "人口迁徙数据" || n.evidence.Log().Size() != size+1 {
		t.Fatalf("%d entries, %d events, %v", len(got), n.evidence.Log().Size()-size, err)
	}
	if _, err := n.SeedCatalogue(ctx, callerOf(agency), api.SeedRequest{District: "guangming"}); !errors.Is(err, sandbox.NotFound) {
		t.Error(err)
	}

	d := persons
	d.Title, d.Columns = "人口基础信息", slices.Clone(d.Columns)
	d.Card.Tags = []string{"人口"}
	d, err := n.RegisterDataset(ctx, unit, d)
	if err != nil || d.Revision != 1 {
		t.Fatalf("revision %d, %v", d.Revision, err)
	}
	find := func(c api.Caller, text string) []api.SearchHit {
		t.Helper()
		p, err := n.Search(ctx, c, catalog.Query{Text: text})
		if err != nil || p.Total != len(p.Hits) {
			t.Fatalf("%+v, %v", p, err)
		}
		return p.Hits
	}
	if got := find(asker, "基础"); len(got) != 1 || got[0].Dataset != d.ID || got[0].Score != 16 {
		t.Errorf("%+v", got)
	}

	next := d
	next.Columns = slices.Clone(d.Columns)
	next.Title, next.Columns[0].Range, next.Card.Openness = "常住人口", "任意", catalog.NotOpen
	for name, c := range map[string]struct {
		by     api.Caller
		change func(d *catalog.Dataset)
		kind   sandbox.Kind
	}{
		"another unit": {other, func(*catalog.Dataset) {}, sandbox.Denied},
		"the agency":   {callerOf(agency), func(*catalog.Dataset) {}, sandbox.Denied},
		"owner":        {unit, func(d *catalog.Dataset) { d.Unit = "other" }, sandbox.Conflict},
		"type":         {unit, func(d *catalog.Dataset) { d.Columns[0].Type = catalog.Int }, sandbox.Conflict},
		"join key":     {unit, func(d *catalog.Dataset) { d.Columns[0].JoinKey = !d.Columns[0].JoinKey }, sandbox.Conflict},
		"lower grade":  {unit, func(d *catalog.Dataset) { d.Columns[0].Grade-- }, sandbox.Conflict},
		"old revision": {unit, func(d *catalog.Dataset) { d.Revision = 7 }, sandbox.Conflict},
		"bad words":    {unit, func(d *catalog.Dataset) { d.Title = "a\x00" }, sandbox.Invalid},
	} {
		x := next
		x.Columns = slices.Clone(next.Columns)
		c.change(&x)
		if _, err := n.ReviseDataset(ctx, c.by, d.ID, x); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := n.ReviseDataset(ctx, unit, d.ID, d); !errors.Is(err, sandbox.Conflict) || !strings.Contains(err.Error(), "nothing changed") {
		t.Errorf("the same again: %v", err)
	}
	got, err := n.ReviseDataset(ctx, unit, d.ID, next)
	if err != nil || got.Revision != 2 || got.Title != "常住人口" {
		t.Fatalf("%+v, %v", got, err)
	}
	all, err := n.Revisions(ctx, unit, d.ID)
	if err != nil || len(all) != 2 || all[0].Dataset.Title != "人口基础信息" || strings.Join(all[1].Changed, " ") != "title column "+d.Columns[0].Name+" card.openness" {
		t.Errorf("%+v, %v", all, err)
	}

	// Not open, without a legal basis, under Futian's rule: the owner and supervisors see the card, others do not find it.
	for who, c := range map[string]struct {
		by   api.Caller
		sees int
	}{"owner": {unit, 1}, "agency": {callerOf(agency), 1}, "another unit": {other, 0}, "operator": {asker, 0}} {
		list, err := n.Datasets(ctx, c.by)
		if err != nil || len(list) != c.sees || len(find(c.by, "常住")) != c.sees || len(find(c.by, "")) != c.sees || len(find(c.by, "基础")) != 0 {
			t.Errorf("%s: %d listed, %d found, %v", who, len(list), len(find(c.by, "常住")), err)
		}
		if _, err := n.Dataset(ctx, c.by, d.ID); errors.Is(err, sandbox.NotFound) != (c.sees == 0) {
			t.Errorf("%s: %v", who, err)
		}
		if _, err := n.Revisions(ctx, c.by, d.ID); errors.Is(err, sandbox.NotFound) != (c.sees == 0) {
			t.Errorf("%s: %v", who, err)
		}
	}
	closed(t, n)
	n = reopen(t, dir)
	defer closed(t, n)
	if got := find(unit, "常住"); len(got) != 1 {
		t.Errorf("after a restart: %+v", got)
	}
}

// TestSearchPages: over pages, each card the caller may see comes once.
func TestSearchPages(t *testing.T) {
	ctx := context.Background()
	n, unit := newNode(t, filepath.Join(t.TempDir(), "d"))
	defer closed(t, n)
	for i := range 23 {
		d := persons
		d.ID, d.Title = sandbox.DatasetID(fmt.Sprintf("ds-%d", i)), "人口"
		if i%5 == 0 {
			d.Card.Openness = catalog.NotOpen
		}
		if _, err := n.RegisterDataset(ctx, unit, d); err != nil {
			t.Fatal(err)
		}
	}
	asker := api.Caller{Party: sandbox.Party{ID: "op", Role: sandbox.Operator}}
	seen, after := map[sandbox.DatasetID]int{}, ""
	for pages := 0; ; pages++ {
		p, err := n.Search(ctx, asker, catalog.Query{Text: "人口", Limit: 4, After: after})
		if err != nil || p.Total != 18 || pages > 6 {
			t.Fatalf("page %d: total %d, %v", pages, p.Total, err)
		}
		for _, h := range p.Hits {
			seen[h.Dataset]++
		}
		if after = p.Next; after == "" {
			break
		}
	}
	if len(seen) != 18 {
		t.Errorf("%d cards", len(seen))
	}
	for id, times := range seen {
		if times != 1 {
			t.Errorf("%s came %d times", id, times)
		}
	}
}
