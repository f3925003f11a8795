package node

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/scorecard"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/store"
)

var _ api.Scoring = (*Node)(nil)

// scoringModelRecord is a scoring model as the core keeps it. The secret is the weights: the store seals it like every body.
type scoringModelRecord struct {
	Filing    attest.ScoringModelFiling
	Statement attest.Statement // the filing as its owner signed it
	Digest    []byte           // SM3 of its body
	By        sandbox.IdentityID
	Owner     sandbox.PartyID
	Secret    []byte // none of one that was withdrawn
	Filed     time.Time
	Approved  time.Time
	Withdrawn time.Time
	Reason    string
}

// String keeps the secret out of logs.
func (r scoringModelRecord) String() string {
	return fmt.Sprintf("scoring model of %s (redacted)", r.Owner)
}

const (
	scoringFiled     = "filed"
	scoringApproved  = "approved"
	scoringWithdrawn = "withdrawn"
)

func (r *scoringModelRecord) state() string {
	switch {
	case !r.Withdrawn.IsZero():
		return scoringWithdrawn
	case !r.Approved.IsZero():
		return scoringApproved
	}
	return scoringFiled
}

func (r *scoringModelRecord) id() sandbox.ModelID {
	return scorecard.ID(r.Filing.Name, r.Filing.Version)
}

func (r *scoringModelRecord) shown() api.ScoringModel {
	f := r.Filing
	return api.ScoringModel{ID: r.id(), Name: f.Name, Version: f.Version, Title: f.Title, Link: f.Link, Features: f.Features, Trained: f.Trained, Owner: r.Owner, State: r.state(),
		Commitment: f.Commitment, Filing: r.Digest, Filed: r.Filed, Approved: r.Approved, Withdrawn: r.Withdrawn, Reason: r.Reason}
}

func scoringError(op string, kind sandbox.Kind, id sandbox.ModelID, rule, hint string) error {
	return &sandbox.Error{Op: "scoring model: " + op, Kind: kind, Object: string(id), Detail: rule, Hint: hint}
}

// FileScoringModel takes a model of an operator or a partner: a form that askers can use, a secret that was committed to, and a score within what
// encrypted scoring computes.
func (n *Node) FileScoringModel(ctx context.Context, c api.Caller, r api.ScoringFiling) (api.ScoringModel, error) {
	var f attest.ScoringModelFiling
	if err := signed(c, r.Statement, attest.ContextScoringModel, &f); err != nil {
		return api.ScoringModel{}, err
	}
	if err := scorecard.CheckForm(&f); err != nil {
		return api.ScoringModel{}, err
	}
	id := scorecard.ID(f.Name, f.Version)
	secret, err := n.keys.DecryptKey().OpenMessage(scorecard.Context, r.Sealed)
	if err != nil {
		return api.ScoringModel{}, scoringError("file", sandbox.Invalid, id, "the secret is sealed to the domain's encryption key", "")
	}
	defer clear(secret)
	if _, err := scorecard.Restore(&f, secret); err != nil {
		return api.ScoringModel{}, refusedModel(id, err)
	}
	if f.Trained != "" {
		if err := n.trained(ctx, c, id, f.Trained); err != nil {
			return api.ScoringModel{}, err
		}
	}
	digest := sm.Sum(r.Statement.Body)
	rec := scoringModelRecord{Filing: f, Statement: r.Statement, Digest: digest[:], By: c.Identity.ID, Owner: c.Party.ID, Secret: bytes.Clone(secret)}
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		if f.At.After(tx.at.Add(grant.Skew)) {
			return scoringError("file", sandbox.Invalid, id, "the statement is dated in the future", "")
		}
		rec.Filed = tx.at
		tx.record(attest.ScoringModelFiled, "model/"+string(id), attest.ScoringModelFiledBody{Statement: r.Statement}, agency, everyone)
		return n.docs.models.Insert(ctx, string(id), string(rec.Owner), rec.state(), rec)
	})
	if errors.Is(err, sandbox.Conflict) {
		return api.ScoringModel{}, scoringError("file", sandbox.Conflict, id, "this version was filed before", "file it under another version")
	}
	if err != nil {
		return api.ScoringModel{}, err
	}
	return rec.shown(), nil
}

// trained holds a model's provenance to a model that left for its owner.
func (n *Node) trained(ctx context.Context, c api.Caller, id sandbox.ModelID, r sandbox.ReleaseID) error {
	rel, _, err := n.docs.releases.Get(ctx, string(r))
	if err != nil && !errors.Is(err, sandbox.NotFound) {
		return err
	}
	if err != nil || rel.Party != c.Party.ID || rel.Info.Class != sandbox.ClassD {
		return scoringError("file", sandbox.Invalid, id, "what it was trained as is a model (class D) that left the domain for its owner", "name that release, or none")
	}
	return nil
}

// refusedModel names the model in what encrypted scoring says of it.
func refusedModel(id sandbox.ModelID, err error) error {
	var why *he.Refused
	if errors.As(err, &why) && len(why.Reasons) > 0 {
		return scoringError("check", sandbox.Invalid, id, why.Reasons[0].Code+": "+why.Reasons[0].Rule, why.Reasons[0].Change)
	}
	return err
}

// ListScoringModels lists all that were filed.
func (n *Node) ListScoringModels(ctx context.Context, _ api.Caller) ([]api.ScoringModel, error) {
	rows, err := n.docs.models.List(ctx, store.Filter{})
	if err != nil {
		return nil, err
	}
	out := []api.ScoringModel{}
	for _, r := range rows {
		out = append(out, r.Value.shown())
	}
	return out, nil
}

// GetScoringModel gives one, to the agency and its owner with its secret.
func (n *Node) GetScoringModel(ctx context.Context, c api.Caller, id sandbox.ModelID) (api.ScoringModel, error) {
	rec, _, err := n.docs.models.Get(ctx, string(id))
	if err != nil {
		return api.ScoringModel{}, err
	}
	out := rec.shown()
	out.Statement = &rec.Statement
	reads := c.Party.ID == rec.Owner || c.Party.Role == sandbox.Agency && c.Identity.Duty == sandbox.Officer // who approves
	if !reads || len(rec.Secret) == 0 {
		return out, nil
	}
	key, err := sm.ParseEncryptKey(c.Identity.EncryptKey)
	if err == nil {
		out.Sealed, err = key.SealMessage(n.cfg.Rand, scorecard.Context, rec.Secret)
	}
	return out, err
}

// ApproveScoringModel lets a model be asked: by the agency, which can read its weights, and whose party is no affiliate of the owner's.
func (n *Node) ApproveScoringModel(ctx context.Context, c api.Caller, id sandbox.ModelID, st attest.Statement) (api.ScoringModel, error) {
	var a attest.ScoringModelApproval
	if err := signed(c, st, attest.ContextScoringApproval, &a); err != nil {
		return api.ScoringModel{}, err
	}
	no := func(kind sandbox.Kind, rule, hint string) error { return scoringError("approve", kind, id, rule, hint) }
	var out api.ScoringModel
	err := n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		rec, rev, err := n.docs.models.Get(ctx, string(id))
		if err != nil {
			return err
		}
		owner, _, err := n.docs.parties.Get(ctx, string(rec.Owner))
		if err != nil {
			return err
		}
		author, err := n.known(ctx, rec.By)
		if err != nil {
			return err
		}
		switch {
		case scorecard.ID(a.Name, a.Version) != id || !bytes.Equal(a.Filing, rec.Digest):
			return no(sandbox.Conflict, "the approval is of what was filed", "read the model again and approve its filing")
		case a.At.After(tx.at.Add(grant.Skew)) || a.At.Before(rec.Filed.Add(-grant.Skew)):
			return no(sandbox.Invalid, "an approval is dated after the filing and not in the future", "")
		case rec.state() != scoringFiled:
			return no(sandbox.Conflict, "a model that is "+rec.state()+" takes no approval", "")
		case sandbox.Affiliated(c.Party, owner):
			return no(sandbox.Denied, "a model is not approved by an affiliate of its owner", "have another agency's officer decide")
		case author.revoked:
			return no(sandbox.Expired, "who filed it was shut out since", "have its owner file a later version")
		}
		if _, err := scorecard.Restore(&rec.Filing, rec.Secret); err != nil { // as it is kept
			return refusedModel(id, err)
		}
		rec.Approved = tx.at
		out = rec.shown()
		tx.record(attest.ScoringModelApproved, "model/"+string(id), attest.ScoringModelApprovedBody{Statement: st}, agency, everyone)
		_, err = n.docs.models.Update(ctx, string(id), rev, string(rec.Owner), rec.state(), rec)
		return err
	})
	return out, err
}

// WithdrawScoringModel ends a model's use at once: by the agency, or by its owner. One that was never approved is declined so. The domain keeps its
// form and the commitment, not its weights.
func (n *Node) WithdrawScoringModel(ctx context.Context, c api.Caller, id sandbox.ModelID, st attest.Statement) (api.ScoringModel, error) {
	var w attest.ScoringModelWithdrawal
	if err := signed(c, st, attest.ContextScoringWithdraw, &w); err != nil {
		return api.ScoringModel{}, err
	}
	if scorecard.ID(w.Name, w.Version) != id || w.Reason == "" {
		return api.ScoringModel{}, scoringError("withdraw", sandbox.Conflict, id, "the statement is about this model, with a reason", "")
	}
	var out api.ScoringModel
	err := n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		rec, rev, err := n.docs.models.Get(ctx, string(id))
		if err != nil {
			return err
		}
		if c.Party.Role != sandbox.Agency && c.Party.ID != rec.Owner {
			return scoringError("withdraw", sandbox.Denied, id, "a model is withdrawn by the agency or its owner", "")
		}
		if !rec.Withdrawn.IsZero() {
			return scoringError("withdraw", sandbox.Conflict, id, "it was withdrawn before", "")
		}
		if w.At.After(tx.at.Add(grant.Skew)) {
			return scoringError("withdraw", sandbox.Invalid, id, "the statement is dated in the future", "")
		}
		clear(rec.Secret)
		rec.Withdrawn, rec.Reason, rec.Secret = tx.at, w.Reason, nil
		out = rec.shown()
		tx.record(attest.ScoringModelWithdrawn, "model/"+string(id), attest.ScoringModelWithdrawnBody{Statement: st}, agency, everyone)
		_, err = n.docs.models.Update(ctx, string(id), rev, string(rec.Owner), rec.state(), rec)
		return err
	})
	return out, err
}

// listed refuses a scenario that lists a model which is not approved, while it is cheap to correct.
func (n *Node) listed(ctx context.Context, a grant.Application) error {
	for _, m := range a.Models {
		if sandbox.CheckID("model", string(m.Model)) != nil {
			continue // the application's own rules say so
		}
		rec, _, err := n.docs.models.Get(ctx, string(m.Model))
		if err != nil && !errors.Is(err, sandbox.NotFound) {
			return err
		}
		if err != nil || rec.state() != scoringApproved {
			return &sandbox.Error{Op: "grant: file", Kind: sandbox.Invalid, Object: "models " + string(m.Model), Detail: "a listed scoring model is approved, and was not withdrawn", Hint: "opdomain he model list shows them"}
		}
	}
	return nil
}
