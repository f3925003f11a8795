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
	// AskDataset submits a sealed view that was made for the asker to leave as class E: the gate reads it, checks and marks the asker's
	// copy and puts it before reviewers. What is wrong with plan or scenario is the question's Decision; what depends on data is one code.
	AskDataset(ctx context.Context, c Caller, view sandbox.DatasetID) (Question, error)
	// TraceCopy names the recipient of a marked data set that turned up, whole or in part. The agency alone asks.
	TraceCopy(ctx context.Context, c Caller, r CopyTrace) (TracedCopy, error)
}

// Submission (去标识数据集出域申请) names the view that is to leave as class E.
type Submission struct {
	View sandbox.DatasetID `json:"view"`
}

// CopyTrace (水印溯源请求) is a copy that turned up: its header and rows as they were found, and the dataset it is of where that is known.
type CopyTrace struct {
	Dataset sandbox.DatasetID `json:"dataset,omitempty"`
	Header  []string          `json:"header"`
	Rows    [][]string        `json:"rows"`
}

// String keeps rows out of logs.
func (CopyTrace) String() string { return "copy(redacted)" }

// TracedCopy (水印溯源结果) is whom a copy names. Who is accused is so with at most Bound as the Chance that any of all recipients, of all
// Tried data sets, is accused being innocent. Nobody accused is no proof of anything.
type TracedCopy struct {
	Tried    int            `json:"tried"`      // marked data sets whose columns the copy has
	Bound    int64          `json:"bound_pico"` // 10⁻¹²
	Suspects []TraceSuspect `json:"suspects"`   // the likeliest first
}

// TraceSuspect (溯源对象) is how well one recipient's mark agrees with a copy.
type TraceSuspect struct {
	Recipient sandbox.IdentityID `json:"recipient"`
	Dataset   sandbox.DatasetID  `json:"dataset"`
	Of        string             `json:"of"`        // dataset, plan and version
	Positions int                `json:"positions"` // of the code that the copy shows
	Agree     int                `json:"agree"`
	Chance    int64              `json:"chance_pico"` // 10⁻¹², rounded up: that any recipient, being innocent, agrees as well
	Accused   bool               `json:"accused"`
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
		// To resubmit is to compute anew: what it takes depends on data.
		return slotted(o, func(ctx context.Context, c Caller, s attest.Statement) (Review, error) {
			return o.gate.Act(ctx, c, id, s)
		})(ctx, c, s)
	})
}

// AskDataset submits a view.
func (o operations) AskDataset(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusCreated, slotted(o, func(ctx context.Context, c Caller, b Submission) (Question, error) {
		if o.gate == nil {
			return Question{}, noGate()
		}
		return o.gate.AskDataset(ctx, c, b.View)
	}))
}

// TraceCopy traces a copy.
func (o operations) TraceCopy(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusOK, func(ctx context.Context, c Caller, b CopyTrace) (TracedCopy, error) {
		if o.gate == nil {
			return TracedCopy{}, noGate()
		}
		return o.gate.TraceCopy(ctx, c, b)
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
