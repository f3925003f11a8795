package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/store"
)

// erasureRecord is an erasure that was ordered, and what came of it.
type erasureRecord struct {
	Dataset sandbox.DatasetID  `json:"dataset"`
	Version uint64             `json:"version"`
	Key     sandbox.KeyID      `json:"key"`
	By      sandbox.IdentityID `json:"by"`
	At      time.Time          `json:"at"`
	Reason  string             `json:"reason"`
	Report  *api.ErasureReport `json:"report,omitempty"` // once done
}

const (
	erasureOrdered = "ordered"
	erasureDone    = "done"
)

// EraseVersion destroys the key of a version for good and removes its files. The order is kept before anything is destroyed:
// what a crash stops, the next start goes on with. Asked again it gives the same certificate.
func (n *Node) EraseVersion(ctx context.Context, c api.Caller, d sandbox.DatasetID, version uint64, r api.ErasureRequest) (api.ErasureReport, error) {
	refuse := func(kind sandbox.Kind, rule, hint string) error {
		return &sandbox.Error{Op: "erase", Kind: kind, Object: fmt.Sprintf("%s version %d", d, version), Detail: rule, Hint: hint}
	}
	id := erasureID(d, version)
	err := n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		set, _, err := n.docs.datasets.Get(ctx, string(d))
		if err != nil {
			return err
		}
		if set.Unit != c.Party.ID && c.Party.Role != sandbox.Agency {
			return refuse(sandbox.NotFound, "", "")
		}
		if _, _, err := n.docs.erasures.Get(ctx, id); err == nil || !errors.Is(err, sandbox.NotFound) {
			return err // ordered before: it is gone on with
		}
		if version > set.Version {
			return refuse(sandbox.NotFound, "no such version was committed", "")
		}
		if version == set.Version && !r.Current {
			return refuse(sandbox.Denied, "this is the version in use: without it every question about the dataset is refused", "push a new version first, or say that the current one is meant")
		}
		snap, err := n.vault.Snapshot(d, version)
		if err != nil {
			return err
		}
		return n.docs.erasures.Insert(ctx, id, string(set.Unit), erasureOrdered,
			erasureRecord{Dataset: d, Version: version, Key: snap.Key, By: c.Identity.ID, At: tx.at, Reason: r.Reason})
	})
	if err != nil {
		return api.ErasureReport{}, err
	}
	return n.erase(ctx, id)
}

// erase carries an ordered erasure out.
func (n *Node) erase(ctx context.Context, id string) (api.ErasureReport, error) {
	n.destroying.Lock()
	defer n.destroying.Unlock()
	r, rev, err := n.docs.erasures.Get(ctx, id)
	if err != nil {
		return api.ErasureReport{}, err
	}
	if r.Report != nil {
		return *r.Report, nil
	}
	if err := n.eraseViewsOf(ctx, r.By, func(v viewRecord) bool {
		return v.Source == sandbox.InputVersion{Dataset: r.Dataset, Version: r.Version}
	}); err != nil {
		return api.ErasureReport{}, err
	}
	cert, err := n.keys.Destroy(r.Key, r.By, r.At)
	if errors.Is(err, sandbox.NotFound) { // destroyed before a crash
		cert, err = n.keys.Certificate(r.Key)
	}
	if err != nil {
		return api.ErasureReport{}, err
	}
	text, err := json.Marshal(cert)
	if err != nil {
		return api.ErasureReport{}, &sandbox.Error{Op: "erase", Kind: sandbox.Internal, Object: id, Err: err}
	}
	gone, err := n.vault.Collect(ctx)
	if err != nil {
		return api.ErasureReport{}, err
	}
	out := api.ErasureReport{Dataset: r.Dataset, Version: r.Version, Certificate: text, Files: gone.Files, Bytes: gone.Bytes}
	r.Report = &out
	err = n.change(ctx, r.By, func(ctx context.Context, tx *change) error {
		set, _, err := n.docs.datasets.Get(ctx, string(r.Dataset))
		if err != nil {
			return err
		}
		if _, err := n.docs.erasures.Update(ctx, id, rev, string(set.Unit), erasureDone, r); err != nil {
			return err
		}
		tx.record(attest.KeyErased, "key/"+string(r.Key), attest.KeyErasedBody{Key: r.Key, Certificate: text}, agency, everyone)
		return nil
	})
	return out, err
}

// standing refuses versions that were erased, or are about to be, before a question is charged for.
func (n *Node) standing(ctx context.Context, inputs []sandbox.InputVersion) error {
	for _, v := range inputs {
		_, _, err := n.docs.erasures.Get(ctx, erasureID(v.Dataset, v.Version))
		if err == nil {
			return &sandbox.Error{Op: "query", Kind: sandbox.Expired, Object: fmt.Sprintf("%s version %d", v.Dataset, v.Version), Detail: "this version was erased on order",
				Hint: "ask again after its unit has pushed the next one"}
		}
		if !errors.Is(err, sandbox.NotFound) {
			return err
		}
	}
	return nil
}

func erasureID(d sandbox.DatasetID, version uint64) string { return fmt.Sprintf("%s.%d", d, version) }

// goOnErasing carries out what was ordered before the last stop.
func (n *Node) goOnErasing(ctx context.Context) error {
	rows, err := n.docs.erasures.List(ctx, store.Filter{State: erasureOrdered})
	if err != nil {
		return err
	}
	for _, r := range rows {
		if _, err := n.erase(ctx, r.ID); err != nil {
			return err
		}
	}
	return nil
}
