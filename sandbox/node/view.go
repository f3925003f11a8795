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
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/run"
	"github.com/opdomain/opdomain/sandbox/store"
)

// ViewRequest (视图请求) asks for a view of a version for one use, by a plan that the dataset's owner signed.
type ViewRequest struct {
	Use       sandbox.RunID
	Dataset   sandbox.DatasetID
	Version   uint64 // 0: the current one
	Plan      *desensitize.Plan
	Signature desensitize.Signature
	Scenario  sandbox.ScenarioID // for whom, with Partner: whose tokens they are, and who was given the consent
	Partner   sandbox.PartyID
	Consent   sandbox.ConsentID // route B: the view is of this receipt's one record
}

// viewRecord is a view that was ordered, and what came of it.
type viewRecord struct {
	Use         sandbox.RunID        `json:"use"`
	Unit        sandbox.PartyID      `json:"unit"`
	Source      sandbox.InputVersion `json:"source"`
	By          sandbox.IdentityID   `json:"by"`
	At          time.Time            `json:"at"`
	Plan        string               `json:"plan,omitempty"`
	PlanVersion int                  `json:"plan_version,omitempty"`
	Scenario    sandbox.ScenarioID   `json:"scenario,omitempty"`
	Partner     sandbox.PartyID      `json:"partner,omitempty"`
	Consent     sandbox.ConsentID    `json:"consent,omitempty"`
	Key         sandbox.KeyID        `json:"key,omitempty"` // once sealed
	Rows        int64                `json:"rows,omitempty"`
	Report      json.RawMessage      `json:"report,omitempty"`
	Erased      time.Time            `json:"erased,omitzero"`
	Certificate json.RawMessage      `json:"certificate,omitempty"`

	// Of a view that may leave as class E: by what. Of every one, what its columns are, for an Opaque algorithm that may see it.
	Leave     *desensitize.Plan      `json:"leave,omitempty"`
	Signature *desensitize.Signature `json:"signature,omitempty"`
	Columns   []catalog.Column       `json:"columns,omitempty"`
	Reads     []string               `json:"reads,omitempty"`
	Digest    []byte                 `json:"digest,omitempty"` // of its plan
}

const (
	viewOrdered = "ordered"
	viewSealed  = "sealed"
	viewErased  = "erased"
)

func (r viewRecord) seen(id sandbox.DatasetID, state string) api.View {
	route := desensitize.Desensitised
	if r.Consent != "" {
		route = desensitize.Authorised
	}
	return api.View{ID: id, State: state, Use: r.Use, Unit: r.Unit, Source: r.Source, Plan: r.Plan, PlanVersion: r.PlanVersion, Route: string(route), Scenario: r.Scenario, Partner: r.Partner,
		Consent: r.Consent, By: r.By, At: r.At, Rows: r.Rows, Key: r.Key, Report: r.Report, Erased: r.Erased, Certificate: r.Certificate}
}

// SealView makes a view and records it: whose plan, of which version, on which route. The plan must be signed by an officer of
// the dataset's unit; what is wrong with it, or with what the view rests on, is the Decision, before anything opens. The view
// lives until EraseView, or until its source, its consent or this run of the domain ends: a use does not outlive them.
func (n *Node) SealView(ctx context.Context, c api.Caller, r ViewRequest) (api.View, sandbox.Decision, error) {
	none := func(err error) (api.View, sandbox.Decision, error) { return api.View{}, sandbox.Decision{}, err }
	set, _, err := n.docs.datasets.Get(ctx, string(r.Dataset))
	if err != nil {
		return none(err)
	}
	if r.Version == 0 {
		r.Version = set.Version
	}
	source := sandbox.InputVersion{Dataset: r.Dataset, Version: r.Version}
	if err := errors.Join(sandbox.CheckID("use", string(r.Use)), n.planSigned(ctx, set.Unit, r.Plan, r.Signature), n.standing(ctx, []sandbox.InputVersion{source})); err != nil {
		return none(err)
	}
	if r.Version == 0 || r.Version > set.Version {
		return none(&sandbox.Error{Op: "view", Kind: sandbox.NotFound, Object: string(r.Dataset), Detail: "no such version was committed", Hint: "a view is of a version that was pushed"})
	}
	basis, decision, err := n.basis(ctx, c, set, r, n.now())
	if err != nil || !decision.Allow {
		return api.View{}, decision, err
	}
	pipe, decision := n.compileView(r, set, basis)
	if !decision.Allow {
		return api.View{}, decision, nil
	}
	id, err := n.newID("view")
	if err != nil {
		return none(err)
	}
	view := run.View{ID: sandbox.DatasetID(id), Run: r.Use, Unit: set.Unit, Source: source, Pipeline: pipe, Subject: basis.subject, Column: basis.column, Number: basis.number}
	rec := viewRecord{Use: r.Use, Unit: set.Unit, Source: source, By: c.Identity.ID, Plan: r.Plan.ID, PlanVersion: r.Plan.Version, Scenario: r.Scenario, Partner: r.Partner, Consent: r.Consent}
	digest := r.Plan.Digest()
	rec.Columns, rec.Reads, rec.Digest = pipe.Columns(), pipe.Reads(), digest[:]
	if r.Plan.Leave != nil {
		rec.Leave, rec.Signature = r.Plan, &r.Signature
	}
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		rec.At = tx.at
		return n.docs.views.Insert(ctx, id, string(set.Unit), viewOrdered, rec)
	})
	if err != nil {
		return none(err)
	}
	snap, report, err := run.SealView(ctx, n.mem, n.vault, view)
	if err != nil {
		return none(err) // nothing of it was kept; the order is closed at the next start
	}
	signature, err := json.Marshal(r.Signature)
	if err == nil {
		rec.Report, err = json.Marshal(report)
	}
	if err == nil {
		err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
			cur, rev, err := n.docs.views.Get(ctx, id)
			if err == nil && !cur.Erased.IsZero() {
				err = &sandbox.Error{Op: "view", Kind: sandbox.Expired, Object: id, Detail: "the view was erased while it was made"}
			}
			if err != nil {
				return err
			}
			// What the view rests on may have ended while it was made.
			if err := n.planSigned(ctx, set.Unit, r.Plan, r.Signature); err != nil {
				return err
			}
			if _, d, err := n.basis(ctx, c, set, r, tx.at); err != nil || !d.Allow {
				return errors.Join(err, &sandbox.Error{Op: "view", Kind: sandbox.Expired, Object: id, Detail: "what the view rests on ended while it was made"})
			}
			rec.Key, rec.Rows = snap.Key, snap.Rows
			if _, err := n.docs.views.Update(ctx, id, rev, string(set.Unit), viewSealed, rec); err != nil {
				return err
			}
			tx.record(attest.ViewSealed, "dataset/"+string(r.Dataset), attest.ViewSealedBody{View: sandbox.DatasetID(id), Use: r.Use, Source: source, Route: string(report.Route.Kind), Plan: r.Plan.ID,
				PlanVersion: r.Plan.Version, PlanDigest: report.Route.Plan, Signer: r.Signature.Signer, PlanSignature: signature, Consent: report.Route.Consent, Rows: snap.Rows,
				Manifest: snap.Manifest[:], Key: snap.Key, KeyCommitment: snap.KeyCommitment[:]}, agency, toParty(set.Unit))
			return nil
		})
	}
	if err != nil {
		// A view that no evidence names must not be read.
		_, derr := n.keys.Destroy(snap.Key, c.Identity.ID, n.now())
		_, cerr := n.vault.Collect(ctx)
		return none(errors.Join(err, derr, cerr))
	}
	return rec.seen(sandbox.DatasetID(id), viewSealed), decision, nil
}

// planSigned holds a plan's signature to an officer of the unit who is not shut out.
func (n *Node) planSigned(ctx context.Context, unit sandbox.PartyID, p *desensitize.Plan, s desensitize.Signature) error {
	who, party, err := n.Identity(ctx, s.Signer)
	if err != nil {
		return err
	}
	if party.ID != unit || who.Duty != sandbox.Officer {
		return &sandbox.Error{Op: "view", Kind: sandbox.Denied, Object: p.ID, Detail: "a plan is signed by an officer of the dataset's unit"}
	}
	key, err := sm.ParseVerifyKey(who.SignKey)
	if err != nil {
		return err
	}
	return p.Verify(s, key)
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
		r.Erased, r.Certificate = tx.at, text
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

// eraseViewsOf ends the views that rest on what has ended: a version, a consent. Callers hold destroying.
func (n *Node) eraseViewsOf(ctx context.Context, by sandbox.IdentityID, ended func(viewRecord) bool) error {
	rows, err := n.docs.views.List(ctx, store.Filter{State: viewSealed})
	if err != nil {
		return err
	}
	for _, r := range rows {
		if ended(r.Value) {
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
