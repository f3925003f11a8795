package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// Viewer (脱敏服务) is a Service that makes views by signed plans and shows records by the owner's masking. One that does not
// answers those operations as unavailable.
type Viewer interface {
	// MakeView makes a view of a version for one use, by a plan its unit's officer signed. The unit itself and the agency may;
	// another's dataset is NotFound. A plan that may not make the view is ViewOutcome.Decision, before anything opens.
	MakeView(ctx context.Context, c Caller, r ViewRequest) (ViewOutcome, error)
	// Views lists the views of a unit's own datasets; the agency and auditors see all.
	Views(ctx context.Context, c Caller) ([]View, error)
	// EndView destroys a view's key, under a certificate, and removes its files. The unit and the agency may; asked again it
	// gives the same certificate.
	EndView(ctx context.Context, c Caller, id sandbox.DatasetID) (View, error)
	// SetMasking takes the plan by whose roles a dataset's records are shown from now on; its versions rise.
	SetMasking(ctx context.Context, c Caller, d sandbox.DatasetID, r MaskingRequest) (MaskingOutcome, error)
	// Masking gives the one in force, to the unit and those who supervise; NotFound where there is none.
	Masking(ctx context.Context, c Caller, d sandbox.DatasetID) (Masking, error)
}

// ViewRequest (视图请求) asks for a view for one use. Plan is the YAML, Signature the owner's over it (desensitize.Signature).
// Scenario and Partner say for whom, where the plan makes tokens: theirs are linkable with each other and with nobody else's.
// Consent, beside them, is the receipt that the view rests on (route B): it is of that person's one record then.
type ViewRequest struct {
	Use       sandbox.RunID      `json:"use"`
	Dataset   sandbox.DatasetID  `json:"dataset"`
	Version   uint64             `json:"version,omitempty"` // 0: the current one
	Plan      string             `json:"plan"`
	Signature json.RawMessage    `json:"signature"`
	Scenario  sandbox.ScenarioID `json:"scenario,omitempty"`
	Partner   sandbox.PartyID    `json:"partner,omitempty"`
	Consent   sandbox.ConsentID  `json:"consent,omitempty"`
}

// ViewOutcome (视图请求结果) is the view, or why there is none.
type ViewOutcome struct {
	Decision sandbox.Decision `json:"decision"`
	View     *View            `json:"view,omitempty"`
}

// View (密封视图) is a view in the vault and what became of it. Route is "desensitised" or "authorised", by Consent. State is
// ordered, sealed or erased.
type View struct {
	ID          sandbox.DatasetID    `json:"id"`
	State       string               `json:"state"`
	Use         sandbox.RunID        `json:"use"`
	Unit        sandbox.PartyID      `json:"unit"`
	Source      sandbox.InputVersion `json:"source"`
	Plan        string               `json:"plan"`
	PlanVersion int                  `json:"plan_version"`
	Route       string               `json:"route"`
	Scenario    sandbox.ScenarioID   `json:"scenario,omitempty"`
	Partner     sandbox.PartyID      `json:"partner,omitempty"`
	Consent     sandbox.ConsentID    `json:"consent,omitempty"`
	By          sandbox.IdentityID   `json:"by"`
	At          time.Time            `json:"at"`
	Rows        int64                `json:"rows,omitempty"`
	Key         sandbox.KeyID        `json:"key,omitempty"`
	Report      json.RawMessage      `json:"report,omitempty"` // desensitize.Report: counts by column
	Erased      time.Time            `json:"erased,omitzero"`
	Certificate json.RawMessage      `json:"certificate,omitempty"` // keys.Erasure, once erased
}

// MaskingRequest (动态脱敏设置) holds a plan whose roles say what each role sees, YAML, and the owner's signature over it.
type MaskingRequest struct {
	Plan      string          `json:"plan"`
	Signature json.RawMessage `json:"signature"`
}

// MaskingOutcome (动态脱敏设置结果) is the masking in force, or why the plan is none.
type MaskingOutcome struct {
	Decision sandbox.Decision `json:"decision"`
	Masking  *Masking         `json:"masking,omitempty"`
}

// Masking (动态脱敏规则) is the plan by which records of a dataset are shown to roles.
type Masking struct {
	Dataset sandbox.DatasetID  `json:"dataset"`
	Plan    string             `json:"plan"`
	Version int                `json:"version"`
	Digest  []byte             `json:"digest"` // SM3 of the plan's canonical bytes
	Signer  sandbox.IdentityID `json:"signer"`
	At      time.Time          `json:"at"`
	Roles   []sandbox.Role     `json:"roles"` // others see nothing
}

func noViews() error {
	return &sandbox.Error{Op: "view", Kind: sandbox.Unavailable, Object: "views", Detail: "this domain makes no views"}
}

// MakeView makes a view.
func (o operations) MakeView(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusCreated, func(ctx context.Context, c Caller, b ViewRequest) (ViewOutcome, error) {
		if o.viewer == nil {
			return ViewOutcome{}, noViews()
		}
		return o.viewer.MakeView(ctx, c, b)
	})
}

func (o operations) ListViews(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, func(ctx context.Context, c Caller) ([]View, error) {
		if o.viewer == nil {
			return nil, noViews()
		}
		return o.viewer.Views(ctx, c)
	})
}

func (o operations) EraseView(w http.ResponseWriter, r *http.Request, id DatasetID) {
	find(o, w, r, "view", id, func(ctx context.Context, c Caller, id DatasetID) (View, error) {
		if o.viewer == nil {
			return View{}, noViews()
		}
		return o.viewer.EndView(ctx, c, id)
	})
}

func (o operations) SetMasking(w http.ResponseWriter, r *http.Request, id DatasetID) {
	amend(o, w, r, "dataset", id, func(ctx context.Context, c Caller, id DatasetID, b MaskingRequest) (MaskingOutcome, error) {
		if o.viewer == nil {
			return MaskingOutcome{}, noViews()
		}
		return o.viewer.SetMasking(ctx, c, id, b)
	})
}

func (o operations) GetMasking(w http.ResponseWriter, r *http.Request, id DatasetID) {
	find(o, w, r, "dataset", id, func(ctx context.Context, c Caller, id DatasetID) (Masking, error) {
		if o.viewer == nil {
			return Masking{}, noViews()
		}
		return o.viewer.Masking(ctx, c, id)
	})
}
