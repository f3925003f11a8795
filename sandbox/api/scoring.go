package api

import (
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
)

// Scoring (密态评分服务) is a Service that scores an asker's encrypted customers. One that does not answers those operations as unavailable.
type Scoring interface {
	// FileScoringModel takes a model that its owner signed, context attest.ContextScoringModel, with its secret sealed to the domain. One that encrypted
	// scoring cannot run is Invalid, a secret that was not committed to Tampered, a version that was filed before Conflict.
	FileScoringModel(ctx context.Context, c Caller, f ScoringFiling) (ScoringModel, error)
	ListScoringModels(ctx context.Context, c Caller) ([]ScoringModel, error)
	// GetScoringModel gives one; to the agency and its owner with the secret, sealed to the caller.
	GetScoringModel(ctx context.Context, c Caller, id sandbox.ModelID) (ScoringModel, error)
	ApproveScoringModel(ctx context.Context, c Caller, id sandbox.ModelID, s attest.Statement) (ScoringModel, error)
	WithdrawScoringModel(ctx context.Context, c Caller, id sandbox.ModelID, s attest.Statement) (ScoringModel, error)
	// Score refuses in its Decision. Once a use is counted, what fails counts as what succeeds.
	Score(ctx context.Context, c Caller, id sandbox.ModelID, r ScoringRequest) (ScoringAnswer, error)
}

// ScoringFiling (密态评分模型申报) is a signed filing and the model's secret, sealed to the domain, context "opdomain/scoring-secret/v1".
type ScoringFiling struct {
	Statement attest.Statement `json:"statement"`
	Sealed    []byte           `json:"sealed"`
}

// ScoringModel (密态评分模型) is one version of a scoring model as askers must know it.
type ScoringModel struct {
	ID         sandbox.ModelID         `json:"id"`
	Name       string                  `json:"name"`
	Version    string                  `json:"version"`
	Title      string                  `json:"title,omitempty"`
	Link       string                  `json:"link"`
	Features   []attest.ScoringFeature `json:"features"`
	Trained    sandbox.ReleaseID       `json:"trained,omitempty"`
	Owner      sandbox.PartyID         `json:"owner"`
	State      string                  `json:"state"` // filed, approved or withdrawn
	Commitment []byte                  `json:"commitment"`
	Filing     []byte                  `json:"filing"` // SM3 of the body that its owner signed: what an approval names
	Filed      time.Time               `json:"filed"`
	Approved   time.Time               `json:"approved,omitzero"`
	Withdrawn  time.Time               `json:"withdrawn,omitzero"`
	Reason     string                  `json:"reason,omitempty"`
	Statement  *attest.Statement       `json:"statement,omitempty"` // the filing as its owner signed it, of one model alone
	Sealed     []byte                  `json:"sealed,omitempty"`    // the secret, sealed to the caller: for the agency and the owner
}

// ScoringRequest (密态评分请求) holds customers' features under the asker's own key, in the codec of mpc/he. Single customers are a ciphertext each;
// a batch is a ciphertext for each feature, with the relinearisation key, and counts as all it has room for.
type ScoringRequest struct {
	Scenario        sandbox.ScenarioID `json:"scenario"`
	Purpose         string             `json:"purpose"`
	Batch           bool               `json:"batch,omitempty"`
	Public          []byte             `json:"public"`
	Relinearisation []byte             `json:"relinearisation,omitempty"`
	Features        [][]byte           `json:"features"`
}

// String keeps ciphertexts out of logs.
func (r ScoringRequest) String() string {
	return fmt.Sprintf("scoring request under %s, %d ciphertexts", r.Scenario, len(r.Features))
}

// ScoringAnswer (密态评分应答) is a refusal with its reasons, or the scores under the asker's key: one ciphertext of a batch, one for each single
// customer.
type ScoringAnswer struct {
	ID       sandbox.QuestionID `json:"id"`
	Decision sandbox.Decision   `json:"decision"`
	Counted  int64              `json:"counted,omitempty"` // customers, against the grant
	LeftDay  int64              `json:"left_day,omitempty"`
	LeftAll  int64              `json:"left_all,omitempty"`
	Scores   [][]byte           `json:"scores,omitempty"`
}

func noScoring() error {
	return &sandbox.Error{Op: "scoring", Kind: sandbox.Unavailable, Object: "scoring", Detail: "this domain scores nothing"}
}

func (o operations) ListScoringModels(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, func(ctx context.Context, c Caller) ([]ScoringModel, error) {
		if o.scoring == nil {
			return nil, noScoring()
		}
		return o.scoring.ListScoringModels(ctx, c)
	})
}

func (o operations) FileScoringModel(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusCreated, func(ctx context.Context, c Caller, f ScoringFiling) (ScoringModel, error) {
		if o.scoring == nil {
			return ScoringModel{}, noScoring()
		}
		return o.scoring.FileScoringModel(ctx, c, f)
	})
}

func (o operations) GetScoringModel(w http.ResponseWriter, r *http.Request, id ModelID) {
	find(o, w, r, "model", id, func(ctx context.Context, c Caller, id ModelID) (ScoringModel, error) {
		if o.scoring == nil {
			return ScoringModel{}, noScoring()
		}
		return o.scoring.GetScoringModel(ctx, c, id)
	})
}

func (o operations) ApproveScoringModel(w http.ResponseWriter, r *http.Request, id ModelID) {
	amend(o, w, r, "model", id, func(ctx context.Context, c Caller, id ModelID, s attest.Statement) (ScoringModel, error) {
		if o.scoring == nil {
			return ScoringModel{}, noScoring()
		}
		return o.scoring.ApproveScoringModel(ctx, c, id, s)
	})
}

func (o operations) WithdrawScoringModel(w http.ResponseWriter, r *http.Request, id ModelID) {
	amend(o, w, r, "model", id, func(ctx context.Context, c Caller, id ModelID, s attest.Statement) (ScoringModel, error) {
		if o.scoring == nil {
			return ScoringModel{}, noScoring()
		}
		return o.scoring.WithdrawScoringModel(ctx, c, id, s)
	})
}

func (o operations) ScoreCustomers(w http.ResponseWriter, r *http.Request, id ModelID) {
	amend(o, w, r, "model", id, func(ctx context.Context, c Caller, id ModelID, q ScoringRequest) (ScoringAnswer, error) {
		if o.scoring == nil {
			return ScoringAnswer{}, noScoring()
		}
		return o.scoring.Score(ctx, c, id, q)
	})
}
