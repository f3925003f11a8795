package node

import (
	"context"
	"errors"
	"slices"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// RegisterDataset enters a dataset of the caller's own into the catalogue. A registered schema does not change here:
// what no longer fits is a push refused for drift, not a silent edit.
func (n *Node) RegisterDataset(ctx context.Context, c api.Caller, d catalog.Dataset) (catalog.Dataset, error) {
	if d.Unit != c.Party.ID {
		return catalog.Dataset{}, &sandbox.Error{Op: "register", Kind: sandbox.Denied, Object: string(d.ID), Detail: "a unit registers its own datasets only"}
	}
	d.Version, d.Rows, d.Revision = 0, 0, 1
	for i := range d.Columns {
		d.Columns[i].Detected, d.Columns[i].Finding, d.Columns[i].Category = 0, "", ""
	}
	if err := d.Validate(); err != nil {
		return catalog.Dataset{}, err
	}
	defer n.reindex(ctx, d.ID)
	err := n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		if err := n.docs.datasets.Insert(ctx, string(d.ID), string(d.Unit), "registered", d); err != nil {
			return err
		}
		if err := n.renewed(ctx, d, tx.at); err != nil {
			return err
		}
		if _, err := n.keepRevision(ctx, d, []string{"registered"}, c.Identity.ID, tx.at); err != nil {
			return err
		}
		digest := schemaDigest(d)
		tx.record(attest.DatasetRegistered, "dataset/"+string(d.ID), attest.DatasetRegisteredBody{Dataset: d.ID, Unit: d.Unit,
			SchemaDigest: digest[:], Frequency: string(d.Frequency)}, agency, everyone)
		return nil
	})
	return d, err
}

func schemaDigest(d catalog.Dataset) [sm.Size]byte { return sm.Sum(batch.SchemaBytes(d)) }

// Datasets lists the cards the caller may see: descriptions, never values. The code lists of bins are part of a description.
func (n *Node) Datasets(ctx context.Context, c api.Caller) ([]catalog.Dataset, error) {
	all, err := n.everyDataset(ctx)
	return slices.DeleteFunc(all, func(d catalog.Dataset) bool { return !n.sees(c.Party, &d) }), err
}

// Dataset describes one dataset.
func (n *Node) Dataset(ctx context.Context, c api.Caller, id sandbox.DatasetID) (catalog.Dataset, error) {
	d, _, err := n.docs.datasets.Get(ctx, string(id))
	if err == nil && !n.sees(c.Party, &d) {
		return catalog.Dataset{}, notRegistered(id)
	}
	return d, err
}

// described collects the descriptions that exist among the named datasets.
func (n *Node) described(ctx context.Context, ids []sandbox.DatasetID) (map[sandbox.DatasetID]catalog.Dataset, error) {
	out := map[sandbox.DatasetID]catalog.Dataset{}
	for _, id := range ids {
		d, _, err := n.docs.datasets.Get(ctx, string(id))
		if errors.Is(err, sandbox.NotFound) {
			continue
		}
		if err != nil {
			return nil, err
		}
		out[id] = d
	}
	return out, nil
}
