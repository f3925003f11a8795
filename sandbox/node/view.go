package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/run"
	"github.com/opdomain/opdomain/sandbox/store"
)

// ViewRequest (视图请求) asks for a view of a version for one use, by a plan that the dataset's owner signed.
type ViewRequest struct {
	Use         sandbox.RunID
	Dataset     sandbox.DatasetID
	Version     uint64
	Plan        *desensitize.Plan
	Signature   desensitize.Signature
	Keys        desensitize.Keys        // that the plan names
	Hierarchies desensitize.Hierarchies // that the plan names, beside the built-in ones
}

// SealedView (密封视图) is a view in the vault.
type SealedView struct {
	ID      sandbox.DatasetID    `json:"id"`
	Version uint64               `json:"version"`
	Source  sandbox.InputVersion `json:"source"`
	Key     sandbox.KeyID        `json:"key"`
	Report  desensitize.Report   `json:"report"`
}

// viewRecord is a view that was ordered, and what came of it.
type viewRecord struct {
	Use    sandbox.RunID        `json:"use"`
	Unit   sandbox.PartyID      `json:"unit"`
	Source sandbox.InputVersion `json:"source"`
	By     sandbox.IdentityID   `json:"by"`
	At     time.Time            `json:"at"`
	Key    sandbox.KeyID        `json:"key,omitempty"` // once sealed
	Erased time.Time            `json:"erased,omitzero"`
}

const (
	viewOrdered = "ordered"
	viewSealed  = "sealed"
	viewErased  = "erased"
)

// SealView makes a view and records it: whose plan, of which version, on which route. The plan must be signed by an officer of
// the dataset's unit; what is wrong with it is the Decision, before anything opens. Whether the use may have a view is the
// caller's to have decided. The view lives until EraseView, or until the domain next starts: a use does not outlive it.
func (n *Node) SealView(ctx context.Context, c api.Caller, r ViewRequest) (SealedView, sandbox.Decision, error) {
	set, _, err := n.docs.datasets.Get(ctx, string(r.Dataset))
	if err != nil {
		return SealedView{}, sandbox.Decision{}, err
	}
	source := sandbox.InputVersion{Dataset: r.Dataset, Version: r.Version}
	if err := errors.Join(sandbox.CheckID("use", string(r.Use)), n.planSigned(ctx, set.Unit, r), n.standing(ctx, []sandbox.InputVersion{source})); err != nil {
		return SealedView{}, sandbox.Decision{}, err
	}
	pipe, decision := desensitize.Compile(r.Plan, set, desensitize.Options{Keys: r.Keys, Hierarchies: r.Hierarchies, Rand: n.cfg.Rand})
	if !decision.Allow {
		return SealedView{}, decision, nil
	}
	id, err := n.newID("view")
	if err != nil {
		return SealedView{}, sandbox.Decision{}, err
	}
	rec := viewRecord{Use: r.Use, Unit: set.Unit, Source: source, By: c.Identity.ID}
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		rec.At = tx.at
		return n.docs.views.Insert(ctx, id, string(set.Unit), viewOrdered, rec)
	})
	if err != nil {
		return SealedView{}, sandbox.Decision{}, err
	}
	snap, report, err := run.SealView(ctx, n.mem, n.vault, run.View{ID: sandbox.DatasetID(id), Run: r.Use, Unit: set.Unit, Source: source, Pipeline: pipe})
	if err != nil {
		return SealedView{}, sandbox.Decision{}, err // nothing of it was kept; the order is closed at the next start
	}
	signature, err := json.Marshal(r.Signature)
	if err != nil {
		return SealedView{}, sandbox.Decision{}, &sandbox.Error{Op: "view", Kind: sandbox.Internal, Object: id, Err: err}
	}
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		rec, rev, err := n.docs.views.Get(ctx, id)
		if err != nil {
			return err
		}
		rec.Key = snap.Key
		if _, err := n.docs.views.Update(ctx, id, rev, string(set.Unit), viewSealed, rec); err != nil {
			return err
		}
		tx.record(attest.ViewSealed, "dataset/"+string(r.Dataset), attest.ViewSealedBody{View: sandbox.DatasetID(id), Use: r.Use, Source: source, Route: string(report.Route.Kind), Plan: r.Plan.ID,
			PlanVersion: r.Plan.Version, PlanDigest: report.Route.Plan, Signer: r.Signature.Signer, PlanSignature: signature, Consent: report.Route.Consent, Rows: snap.Rows,
			Manifest: snap.Manifest[:], Key: snap.Key, KeyCommitment: snap.KeyCommitment[:]}, agency, toParty(set.Unit))
		return nil
	})
	if err != nil {
		// A view that no evidence names must not be read.
		_, derr := n.keys.Destroy(snap.Key, c.Identity.ID, n.now())
		_, cerr := n.vault.Collect(ctx)
		return SealedView{}, sandbox.Decision{}, errors.Join(err, derr, cerr)
	}
	return SealedView{ID: sandbox.DatasetID(id), Version: snap.Version, Source: source, Key: snap.Key, Report: report}, decision, nil
}

// planSigned holds the plan's signature to an officer of the unit who is not shut out.
func (n *Node) planSigned(ctx context.Context, unit sandbox.PartyID, r ViewRequest) error {
	who, party, err := n.Identity(ctx, r.Signature.Signer)
	if err != nil {
		return err
	}
	if party.ID != unit || who.Duty != sandbox.Officer {
		return &sandbox.Error{Op: "view", Kind: sandbox.Denied, Object: r.Plan.ID, Detail: "a plan is signed by an officer of the dataset's unit"}
	}
	key, err := sm.ParseVerifyKey(who.SignKey)
	if err != nil {
		return err
	}
	return r.Plan.Verify(r.Signature, key)
}

// EraseView ends a view with its use: its key is destroyed with a certificate, its files are removed, and both are recorded. Asked
// again it does nothing.
func (n *Node) EraseView(ctx context.Context, by sandbox.IdentityID, view sandbox.DatasetID) error {
	n.destroying.Lock()
	defer n.destroying.Unlock()
	return n.eraseView(ctx, by, view)
}

// eraseView is EraseView. Callers hold destroying.
func (n *Node) eraseView(ctx context.Context, by sandbox.IdentityID, view sandbox.DatasetID) error {
	r, rev, err := n.docs.views.Get(ctx, string(view))
	if err != nil || !r.Erased.IsZero() {
		return err
	}
	if r.Key == "" { // sealed, perhaps, but not recorded before a crash
		if s, err := n.vault.Head(view); err == nil || errors.Is(err, sandbox.Expired) {
			r.Key = s.Key
			if r.Key == "" {
				return &sandbox.Error{Op: "erase", Kind: sandbox.Internal, Object: string(view), Detail: "the view's key is not known"}
			}
		} else if !errors.Is(err, sandbox.NotFound) {
			return err
		}
	}
	var text []byte
	if r.Key != "" {
		cert, err := n.keys.Destroy(r.Key, by, n.now())
		if errors.Is(err, sandbox.NotFound) { // destroyed before a crash
			cert, err = n.keys.Certificate(r.Key)
		}
		if err == nil {
			text, err = json.Marshal(cert)
		}
		if err == nil {
			_, err = n.vault.Collect(ctx)
		}
		if err != nil {
			return err
		}
	}
	return n.change(ctx, by, func(ctx context.Context, tx *change) error {
		r.Erased = tx.at
		if _, err := n.docs.views.Update(ctx, string(view), rev, string(r.Unit), viewErased, r); err != nil {
			return err
		}
		if text != nil {
			tx.record(attest.KeyErased, "key/"+string(r.Key), attest.KeyErasedBody{Key: r.Key, Certificate: text}, agency, everyone)
		}
		return nil
	})
}

// eraseViews ends the views whose use the last stop ended.
func (n *Node) eraseViews(ctx context.Context) error {
	for _, state := range []string{viewOrdered, viewSealed} {
		rows, err := n.docs.views.List(ctx, store.Filter{State: state})
		if err != nil {
			return err
		}
		for _, r := range rows {
			if err := n.EraseView(ctx, domainIdentity, sandbox.DatasetID(r.ID)); err != nil {
				return err
			}
		}
	}
	return nil
}

// eraseViewsOf ends the views of a version that is erased itself. Callers hold destroying.
func (n *Node) eraseViewsOf(ctx context.Context, by sandbox.IdentityID, source sandbox.InputVersion) error {
	rows, err := n.docs.views.List(ctx, store.Filter{State: viewSealed})
	if err != nil {
		return err
	}
	for _, r := range rows {
		if r.Value.Source == source {
			if err := n.eraseView(ctx, by, sandbox.DatasetID(r.ID)); err != nil {
				return err
			}
		}
	}
	return nil
}

// withoutErasedViews takes out of the vault's faults that the current version of an erased view has no key: it must not have one.
func (n *Node) withoutErasedViews(ctx context.Context, faults []error) []error {
	rows, err := n.docs.views.List(ctx, store.Filter{State: viewErased})
	if err != nil {
		return append(faults, fmt.Errorf("views: %w", err))
	}
	return slices.DeleteFunc(faults, func(err error) bool {
		var e *sandbox.Error
		return errors.As(err, &e) && e.Kind == sandbox.Expired &&
			slices.ContainsFunc(rows, func(r store.Document[viewRecord]) bool { return strings.HasPrefix(e.Object, r.ID+" ") })
	})
}
