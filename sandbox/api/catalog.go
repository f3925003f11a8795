package api

import (
	"context"
	"net/http"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

func noCatalogue() error {
	return &sandbox.Error{Op: "catalogue", Kind: sandbox.Unavailable, Object: "catalogue", Detail: "this domain keeps no catalogue beyond the list of datasets"}
}

// SearchCatalog finds cards.
func (o operations) SearchCatalog(w http.ResponseWriter, r *http.Request, p SearchCatalogParams) {
	if o.librarian == nil {
		o.fail(w, r, noCatalogue())
		return
	}
	var q catalog.Query
	for _, x := range []struct {
		from *string
		to   func(string)
	}{{p.Q, func(s string) { q.Text = s }}, {p.Unit, func(s string) { q.Unit = sandbox.PartyID(s) }}, {p.Tag, func(s string) { q.Tag = s }},
		{p.Origin, func(s string) { q.Origin = catalog.Origin(s) }}, {p.After, func(s string) { q.After = s }}} {
		if x.from != nil {
			x.to(*x.from)
		}
	}
	if p.Limit != nil {
		if q.Limit = *p.Limit; q.Limit == 0 {
			q.Limit = -1 // asked for; not the default
		}
	}
	v, err := o.librarian.Search(r.Context(), callOn(r).caller, q)
	o.write(w, r, http.StatusOK, v, err)
}

func (o operations) ListConflicts(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, func(ctx context.Context, c Caller) ([]catalog.Conflict, error) {
		if o.librarian == nil {
			return nil, noCatalogue()
		}
		return o.librarian.SourceConflicts(ctx, c)
	})
}

func (o operations) ListEntries(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, func(ctx context.Context, c Caller) ([]catalog.Entry, error) {
		if o.librarian == nil {
			return nil, noCatalogue()
		}
		return o.librarian.Entries(ctx, c)
	})
}

func (o operations) SeedCatalog(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusCreated, func(ctx context.Context, c Caller, b SeedRequest) ([]catalog.Entry, error) {
		if o.librarian == nil {
			return nil, noCatalogue()
		}
		return o.librarian.SeedCatalogue(ctx, c, b)
	})
}

func (o operations) ReviseDataset(w http.ResponseWriter, r *http.Request, id DatasetID) {
	amend(o, w, r, "dataset", id, func(ctx context.Context, c Caller, id DatasetID, next catalog.Dataset) (catalog.Dataset, error) {
		if o.librarian == nil {
			return next, noCatalogue()
		}
		return o.librarian.ReviseDataset(ctx, c, id, next)
	})
}

func (o operations) ListRevisions(w http.ResponseWriter, r *http.Request, id DatasetID) {
	find(o, w, r, "dataset", id, func(ctx context.Context, c Caller, id DatasetID) ([]catalog.Revision, error) {
		if o.librarian == nil {
			return nil, noCatalogue()
		}
		return o.librarian.Revisions(ctx, c, id)
	})
}

func (o operations) ListSchemas(w http.ResponseWriter, r *http.Request, id DatasetID) {
	find(o, w, r, "dataset", id, func(ctx context.Context, c Caller, id DatasetID) ([]catalog.SchemaVersion, error) {
		if o.librarian == nil {
			return nil, noCatalogue()
		}
		return o.librarian.Schemas(ctx, c, id)
	})
}

func (o operations) GetQuality(w http.ResponseWriter, r *http.Request, id DatasetID) {
	find(o, w, r, "dataset", id, func(ctx context.Context, c Caller, id DatasetID) (catalog.Scorecard, error) {
		if o.librarian == nil {
			return catalog.Scorecard{}, noCatalogue()
		}
		return o.librarian.Quality(ctx, c, id)
	})
}
