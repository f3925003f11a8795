package api

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
)

// Algorithms (算法服务) is a Service that runs approved algorithms. One that does not answers those operations as unavailable.
type Algorithms interface {
	// ApproveAlgorithm checks and records an image and lists it, context attest.ContextAlgorithm. What breaks a rule of the manifest, the
	// image or the graph is Invalid, Unsigned, Tampered or TooLarge, evidence of it is written and nothing is kept; a version that was approved
	// before is Conflict.
	ApproveAlgorithm(ctx context.Context, c Caller, r AlgorithmRequest) (Algorithm, error)
	WithdrawAlgorithm(ctx context.Context, c Caller, id sandbox.AlgorithmID, s attest.Statement) (Algorithm, error)
	ListAlgorithms(ctx context.Context, c Caller) ([]Algorithm, error)
	// GetAlgorithm gives manifest and graph too.
	GetAlgorithm(ctx context.Context, c Caller, id sandbox.AlgorithmID) (Algorithm, error)
	// ExplainAlgorithm and AskAlgorithm refuse one that is not approved, or withdrawn, in their Decision.
	ExplainAlgorithm(ctx context.Context, c Caller, id sandbox.AlgorithmID, u AlgorithmUse) (AlgorithmExplanation, error)
	AskAlgorithm(ctx context.Context, c Caller, id sandbox.AlgorithmID, u AlgorithmUse) (AlgorithmAnswer, error)
}

// Algorithm (准入算法) is one approved version of an algorithm.
type Algorithm struct {
	ID        sandbox.AlgorithmID `json:"id"`
	Name      string              `json:"name"`
	Version   string              `json:"version"`
	Title     string              `json:"title,omitempty"`
	Contract  string              `json:"contract"`
	Author    string              `json:"author"`
	Image     []byte              `json:"image"` // SM3
	By        sandbox.IdentityID  `json:"by"`
	Approved  time.Time           `json:"approved"`
	Withdrawn time.Time           `json:"withdrawn,omitzero"`
	Reason    string              `json:"reason,omitempty"`
	Manifest  []byte              `json:"manifest,omitempty"`
	Graph     []byte              `json:"graph,omitempty"`
}

// AlgorithmRequest (算法准入申请) is a signed manifest, the image it names and the agency's approval of both.
type AlgorithmRequest struct {
	Manifest  []byte           `json:"manifest"`
	Image     []byte           `json:"image"`
	Statement attest.Statement `json:"statement"`
}

// AlgorithmUse (算法调用) is a scenario to use an algorithm under, and which dataset each of its inputs is: those that are not bound are the
// datasets of their names.
type AlgorithmUse struct {
	Scenario sandbox.ScenarioID `json:"scenario"`
	Purpose  string             `json:"purpose"`
	Bind     []AlgorithmBinding `json:"bind,omitempty"`
}

// AlgorithmBinding (输入绑定) says which dataset an input is.
type AlgorithmBinding struct {
	Input   string            `json:"input"`
	Dataset sandbox.DatasetID `json:"dataset"`
}

// AlgorithmAnswer (算法答复) is what became of a use: refused with reasons, or its questions, in the order of Plan, which says how tables are made
// of what leaves of them (compile.Plan).
type AlgorithmAnswer struct {
	Algorithm sandbox.AlgorithmID `json:"algorithm"`
	Decision  sandbox.Decision    `json:"decision"`
	Questions []Question          `json:"questions"`
	Plan      json.RawMessage     `json:"plan,omitempty"`
}

// AlgorithmExplanation (算法推导说明) explains each question of an algorithm.
type AlgorithmExplanation struct {
	Algorithm sandbox.AlgorithmID `json:"algorithm"`
	Decision  sandbox.Decision    `json:"decision"`
	Questions []Explanation       `json:"questions"`
	Plan      json.RawMessage     `json:"plan,omitempty"`
}

func noAlgorithms() error {
	return &sandbox.Error{Op: "algorithm", Kind: sandbox.Unavailable, Object: "algorithms", Detail: "this domain runs none"}
}

func (o operations) ListAlgorithms(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, func(ctx context.Context, c Caller) ([]Algorithm, error) {
		if o.algos == nil {
			return nil, noAlgorithms()
		}
		return o.algos.ListAlgorithms(ctx, c)
	})
}

func (o operations) ApproveAlgorithm(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusCreated, func(ctx context.Context, c Caller, q AlgorithmRequest) (Algorithm, error) {
		if o.algos == nil {
			return Algorithm{}, noAlgorithms()
		}
		return o.algos.ApproveAlgorithm(ctx, c, q)
	})
}

func (o operations) GetAlgorithm(w http.ResponseWriter, r *http.Request, id AlgorithmID) {
	find(o, w, r, "algorithm", id, func(ctx context.Context, c Caller, id AlgorithmID) (Algorithm, error) {
		if o.algos == nil {
			return Algorithm{}, noAlgorithms()
		}
		return o.algos.GetAlgorithm(ctx, c, id)
	})
}

func (o operations) WithdrawAlgorithm(w http.ResponseWriter, r *http.Request, id AlgorithmID) {
	amend(o, w, r, "algorithm", id, func(ctx context.Context, c Caller, id AlgorithmID, s attest.Statement) (Algorithm, error) {
		if o.algos == nil {
			return Algorithm{}, noAlgorithms()
		}
		return o.algos.WithdrawAlgorithm(ctx, c, id, s)
	})
}

func (o operations) ExplainAlgorithm(w http.ResponseWriter, r *http.Request, id AlgorithmID) {
	amend(o, w, r, "algorithm", id, func(ctx context.Context, c Caller, id AlgorithmID, u AlgorithmUse) (AlgorithmExplanation, error) {
		if o.algos == nil {
			return AlgorithmExplanation{}, noAlgorithms()
		}
		return o.algos.ExplainAlgorithm(ctx, c, id, u)
	})
}

func (o operations) AskAlgorithm(w http.ResponseWriter, r *http.Request, id AlgorithmID) {
	amend(o, w, r, "algorithm", id, func(ctx context.Context, c Caller, id AlgorithmID, u AlgorithmUse) (AlgorithmAnswer, error) {
		if o.algos == nil {
			return AlgorithmAnswer{}, noAlgorithms()
		}
		return slotted(o, func(ctx context.Context, c Caller, u AlgorithmUse) (AlgorithmAnswer, error) {
			return o.algos.AskAlgorithm(ctx, c, id, u)
		})(ctx, c, u)
	})
}
