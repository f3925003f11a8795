package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/store"
)

var _ api.Librarian = (*Node)(nil)

// sees says whether a party may see a dataset's card: everybody what is registered; but data that are not open and may not be
// authorised, where the district excludes them, only the owner and those who supervise it.
func (n *Node) sees(p sandbox.Party, d *catalog.Dataset) bool {
	return !n.profile.Catalogue.ExcludeNotOpen.Value || !d.Card.Excluded() || d.Unit == p.ID || supervises(p)
}

// everyDataset reads every description, without regard to who asks.
func (n *Node) everyDataset(ctx context.Context) ([]catalog.Dataset, error) {
	rows, err := n.docs.datasets.List(ctx, store.Filter{})
	if err != nil {
		return nil, err
	}
	out := make([]catalog.Dataset, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.Value)
	}
	return out, nil
}

// reindex takes what the store holds of a dataset into the index. It runs after a change, whether the change went well or not: an
// error may come after the commit.
func (n *Node) reindex(ctx context.Context, id sandbox.DatasetID) {
	n.indexing.Lock()
	defer n.indexing.Unlock()
	d, _, err := n.docs.datasets.Get(context.WithoutCancel(ctx), string(id))
	switch {
	case err == nil:
		n.index.Put(&d)
	case errors.Is(err, sandbox.NotFound):
		n.index.Remove(id)
	}
}

// Search finds cards the caller may see.
func (n *Node) Search(ctx context.Context, c api.Caller, q catalog.Query) (api.SearchPage, error) {
	hidden := n.profile.Catalogue.ExcludeNotOpen.Value && !supervises(c.Party)
	hits, total, err := n.index.Search(q, func(e catalog.Seen) bool { return !hidden || !e.Excluded || e.Unit == c.Party.ID })
	if err != nil {
		return api.SearchPage{}, err
	}
	out := api.SearchPage{Total: total, Hits: []api.SearchHit{}}
	for _, h := range hits {
		out.Next = h.Cursor()
		d, _, err := n.docs.datasets.Get(ctx, string(h.ID))
		if errors.Is(err, sandbox.NotFound) {
			continue
		}
		if err != nil {
			return api.SearchPage{}, err
		}
		if !n.sees(c.Party, &d) {
			continue
		}
		hit := api.SearchHit{Dataset: d.ID, Unit: d.Unit, Title: d.Title, Code: d.Card.Code, Frequency: d.Frequency, Rows: d.Rows, Score: h.Score}
		for _, col := range d.Columns {
			hit.Grade = max(hit.Grade, col.Effective())
		}
		out.Hits = append(out.Hits, hit)
	}
	if len(hits) < q.Size() {
		out.Next = ""
	}
	if q.Text != "" && q.Unit == "" && q.Tag == "" && q.Origin == "" && q.After == "" {
		out.Entries, err = n.searchEntries(ctx, q.Text)
	}
	return out, err
}

// searchEntries finds lines of published catalogues. There are some dozens: an index of them is made for the question.
func (n *Node) searchEntries(ctx context.Context, words string) ([]catalog.Entry, error) {
	rows, err := n.docs.entries.List(ctx, store.Filter{})
	if err != nil {
		return nil, err
	}
	x, at := catalog.NewIndex(), map[sandbox.DatasetID]int{}
	for i, r := range rows {
		id := sandbox.DatasetID(r.ID)
		at[id] = i
		x.Put(&catalog.Dataset{ID: id, Title: r.Value.Title, Card: catalog.Card{Code: r.Value.Code, Tags: []string{r.Value.Group}}})
	}
	hits, _, err := x.Search(catalog.Query{Text: words, Limit: catalog.MaxPage}, func(catalog.Seen) bool { return true })
	if err != nil {
		return nil, err
	}
	var out []catalog.Entry
	for _, h := range hits {
		out = append(out, rows[at[h.ID]].Value)
	}
	return out, nil
}

// SourceConflicts lists the fields that more than one unit is a source of: all for the agency and auditors, for a unit those it
// has a part in.
func (n *Node) SourceConflicts(ctx context.Context, c api.Caller) ([]catalog.Conflict, error) {
	all, err := n.everyDataset(ctx)
	if err != nil {
		return nil, err
	}
	all = slices.DeleteFunc(all, func(d catalog.Dataset) bool { return !n.sees(c.Party, &d) })
	return slices.DeleteFunc(catalog.Conflicts(all), func(x catalog.Conflict) bool {
		return !supervises(c.Party) && !slices.ContainsFunc(x.Holders, func(h catalog.Holder) bool { return h.Unit == c.Party.ID })
	}), nil
}

// SeedCatalogue enters a district's published catalogue, the domain's own if none is named. Entries that are there stay.
func (n *Node) SeedCatalogue(ctx context.Context, c api.Caller, r api.SeedRequest) ([]catalog.Entry, error) {
	if r.District == "" {
		r.District = n.desc.District
	}
	entries, err := catalog.Seed(r.District)
	if err != nil {
		return nil, err
	}
	b, err := json.Marshal(entries)
	if err != nil {
		return nil, err
	}
	digest := sm.Sum(b)
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		fresh := 0
		for _, e := range entries {
			ok, err := n.docs.entries.Once(ctx, entryID(e.Code), string(c.Party.ID), r.District, e)
			if err != nil {
				return err
			}
			if ok {
				fresh++
			}
		}
		if fresh > 0 {
			tx.record(attest.CatalogueSeeded, "catalogue/"+r.District, attest.CatalogueSeededBody{District: r.District, Entries: fresh, Digest: digest[:]}, agency, everyone)
		}
		return nil
	})
	return entries, err
}

// entryID is a code as an identifier: its check character may be a capital.
func entryID(code string) string { return code[:13] }

// Entries lists the entries of published catalogues, in their order.
func (n *Node) Entries(ctx context.Context, _ api.Caller) ([]catalog.Entry, error) {
	rows, err := n.docs.entries.List(ctx, store.Filter{})
	if err != nil {
		return nil, err
	}
	out := make([]catalog.Entry, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.Value)
	}
	return out, nil
}

// ReviseDataset takes the owner's new description of a dataset. A dataset of another unit is Denied.
func (n *Node) ReviseDataset(ctx context.Context, c api.Caller, id sandbox.DatasetID, next catalog.Dataset) (out catalog.Dataset, err error) {
	defer n.reindex(ctx, id)
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		d, rev, err := n.docs.datasets.Get(ctx, string(id))
		if err != nil {
			return err
		}
		if !n.sees(c.Party, &d) {
			return notRegistered(id)
		}
		if d.Unit != c.Party.ID {
			return &sandbox.Error{Op: "revise", Kind: sandbox.Denied, Object: string(id), Detail: "a unit describes its own datasets only"}
		}
		var changed []string
		if out, changed, err = d.Revise(next); err != nil {
			return err
		}
		doc, err := n.docs.datasets.Document(ctx, string(id))
		if err != nil {
			return err
		}
		if d.Revision == 0 { // kept before there were revisions: what it was is the first
			d.Revision = 1
			if _, err := n.keepRevision(ctx, d, []string{"registered"}, c.Identity.ID, tx.at); err != nil {
				return err
			}
		}
		if _, err := n.docs.datasets.Update(ctx, string(id), rev, string(d.Unit), doc.State, out); err != nil {
			return err
		}
		digest, err := n.keepRevision(ctx, out, changed, c.Identity.ID, tx.at)
		if err != nil {
			return err
		}
		tx.record(attest.DatasetRevised, "dataset/"+string(id), attest.DatasetRevisedBody{Dataset: id, Unit: d.Unit, Revision: out.Revision, Digest: digest, Changed: changed}, agency, everyone)
		return nil
	})
	return out, err
}

func notRegistered(id sandbox.DatasetID) error {
	return &sandbox.Error{Op: "catalogue", Kind: sandbox.NotFound, Object: string(id), Detail: "no dataset of this id is registered"}
}

// factID names a document about a numbered state of a dataset; a dataset's own id may be as long as an identifier can be.
func factID(id sandbox.DatasetID, kind string, number uint64) string {
	d := sm.Sum([]byte(id))
	return fmt.Sprintf("%x.%s%d", d[:12], kind, number)
}

// keepRevision notes a state of a description.
func (n *Node) keepRevision(ctx context.Context, d catalog.Dataset, changed []string, by sandbox.IdentityID, at time.Time) ([]byte, error) {
	b, err := json.Marshal(d)
	if err != nil {
		return nil, err
	}
	digest := sm.Sum(b)
	r := catalog.Revision{Number: d.Revision, At: at, By: by, Changed: changed, Digest: digest[:], Dataset: d}
	return digest[:], n.docs.revisions.Insert(ctx, factID(d.ID, "r", d.Revision), string(d.Unit), string(d.ID), r)
}

// Revisions lists the states of a description, oldest first, each with the scenarios that rest on it.
func (n *Node) Revisions(ctx context.Context, c api.Caller, id sandbox.DatasetID) ([]catalog.Revision, error) {
	if _, err := n.Dataset(ctx, c, id); err != nil {
		return nil, err
	}
	rows, err := n.docs.revisions.List(ctx, listState(string(id)))
	if err != nil {
		return nil, err
	}
	scenarios, err := n.Scenarios(ctx, c)
	if err != nil {
		return nil, err
	}
	out := make([]catalog.Revision, 0, len(rows))
	for _, r := range rows {
		out = append(out, r.Value)
	}
	for _, s := range scenarios {
		if !slices.ContainsFunc(s.List, func(i sandbox.ListItem) bool { return i.Dataset == id }) {
			continue
		}
		for i := len(out) - 1; i >= 0; i-- {
			if !out[i].At.After(s.Filed) {
				out[i].Held = append(out[i].Held, s.ID)
				break
			}
		}
	}
	return out, nil
}

// Quality gives the scorecard of a dataset's current version, to its owner and those who supervise: counts say something about data.
// Others do not find it.
func (n *Node) Quality(ctx context.Context, c api.Caller, id sandbox.DatasetID) (catalog.Scorecard, error) {
	d, _, err := n.docs.datasets.Get(ctx, string(id))
	if err != nil {
		return catalog.Scorecard{}, err
	}
	if d.Unit != c.Party.ID && !supervises(c.Party) {
		return catalog.Scorecard{}, notRegistered(id)
	}
	r, err := n.docs.quality.Document(ctx, factID(id, "v", d.Version))
	if errors.Is(err, sandbox.NotFound) {
		return catalog.Scorecard{}, &sandbox.Error{Op: "quality", Kind: sandbox.NotFound, Object: string(id), Detail: "the current version was not counted",
			Hint: "push a version: one that an earlier build committed just before a crash was not counted"}
	}
	if err != nil {
		return catalog.Scorecard{}, err
	}
	f, _, err := n.docs.fresh.Get(ctx, string(id))
	if err != nil {
		return catalog.Scorecard{}, err
	}
	due, late := catalog.Due(d.Period(), f.At, n.now(), staleGrace)
	_, err = n.vault.Head(id)
	return catalog.Score(d, r.Value, f.At, due, late, err == nil), nil
}
