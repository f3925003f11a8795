package api

import (
	"context"
	"net/http"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
)

// Gatekeeper (出域审核服务) is a Service whose reviews are more than votes: acts of authors, reviewers, owners and the agency, and the
// agency's standing templates. One that is not answers those operations as unavailable.
type Gatekeeper interface {
	// Act carries out a signed act on a review, context attest.ContextReviewAct. A review the caller may neither see nor wrote is
	// NotFound; what the review's state machine does not allow is Conflict, by whom it does not, Denied.
	Act(ctx context.Context, c Caller, id sandbox.QuestionID, s attest.Statement) (Review, error)
	// SignTemplate takes a standing template, context attest.ContextTemplate; StopTemplate ends one, attest.ContextTemplateStop.
	SignTemplate(ctx context.Context, c Caller, s attest.Statement) (Template, error)
	StopTemplate(ctx context.Context, c Caller, id sandbox.TemplateID, s attest.Statement) (Template, error)
	Templates(ctx context.Context, c Caller) ([]Template, error)
}

// Template (常设模板) is a standing template and how far it is used; see attest.StandingTemplate.
type Template struct {
	ID        sandbox.TemplateID `json:"id"`
	Scenario  sandbox.ScenarioID `json:"scenario"`
	Spec      []byte             `json:"spec,omitempty"`
	Measures  []string           `json:"measures,omitempty"`
	Recipient sandbox.IdentityID `json:"recipient"`
	Budget    int                `json:"budget"`
	Used      int                `json:"used"`
	Sample    int                `json:"sample"`
	Slot      int                `json:"slot"`
	Policy    string             `json:"policy"`
	Expires   time.Time          `json:"expires"`
	By        sandbox.IdentityID `json:"by"`
	Stopped   time.Time          `json:"stopped,omitzero"`
	Reason    string             `json:"reason,omitempty"`
}

func noGate() error {
	return &sandbox.Error{Op: "review", Kind: sandbox.Unavailable, Object: "acts", Detail: "this domain takes votes only"}
}

func (o operations) ActOnReview(w http.ResponseWriter, r *http.Request, id QuestionID) {
	amend(o, w, r, "question", id, func(ctx context.Context, c Caller, id QuestionID, s attest.Statement) (Review, error) {
		if o.gate == nil {
			return Review{}, noGate()
		}
		return o.gate.Act(ctx, c, id, s)
	})
}

func (o operations) ListTemplates(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, func(ctx context.Context, c Caller) ([]Template, error) {
		if o.gate == nil {
			return nil, noGate()
		}
		return o.gate.Templates(ctx, c)
	})
}

func (o operations) SignTemplate(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusCreated, func(ctx context.Context, c Caller, s attest.Statement) (Template, error) {
		if o.gate == nil {
			return Template{}, noGate()
		}
		return o.gate.SignTemplate(ctx, c, s)
	})
}

func (o operations) StopTemplate(w http.ResponseWriter, r *http.Request, id TemplateID) {
	amend(o, w, r, "template", id, func(ctx context.Context, c Caller, id TemplateID, s attest.Statement) (Template, error) {
		if o.gate == nil {
			return Template{}, noGate()
		}
		return o.gate.StopTemplate(ctx, c, id, s)
	})
}
