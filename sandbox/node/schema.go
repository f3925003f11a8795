package node

import (
	"context"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Schemas gives the schemas a dataset has had (结构变更登记), oldest first: those of its revisions that changed the one before. A
// dataset that has no revisions yet has the schema it stands under, of unknown date.
func (n *Node) Schemas(ctx context.Context, c api.Caller, id sandbox.DatasetID) ([]catalog.SchemaVersion, error) {
	d, err := n.Dataset(ctx, c, id)
	if err != nil {
		return nil, err
	}
	rows, err := n.docs.revisions.List(ctx, listState(string(id)))
	if err != nil {
		return nil, err
	}
	var out []catalog.SchemaVersion
	add := func(d catalog.Dataset, at time.Time) {
		digest := schemaDigest(d)
		v := catalog.SchemaVersion{Version: len(out) + 1, Digest: digest[:], Schema: d.Schema(), At: at}
		if len(out) > 0 {
			if v.Changes = catalog.Compare(out[len(out)-1].Schema, v.Schema).Changes; len(v.Changes) == 0 {
				return
			}
			v.Since = d.Version
		}
		out = append(out, v)
	}
	for _, r := range rows {
		at := r.Value.At
		if len(out) == 0 && r.Value.Dataset.Version > 0 { // entered when the first change came, not when it was registered
			at = time.Time{}
		}
		add(r.Value.Dataset, at)
	}
	if len(out) == 0 {
		add(d, time.Time{})
	}
	return out, nil
}
