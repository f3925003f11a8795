package api

import (
	"context"
	"net/http"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
)

// Grader (分类分级服务) is a Service that keeps what detectors proposed for its datasets and what people decided. One that does not
// answers those operations as unavailable.
type Grader interface {
	// Classification gives the grading of a dataset to its owner and those who supervise; NotFound to others.
	Classification(ctx context.Context, c Caller, d sandbox.DatasetID) (Classification, error)
	// ConfirmClassification takes an officer's signed verdicts on a dataset of the officer's own unit, all or none; Denied for
	// another's dataset, Conflict where the findings, the rules or the grades are others than those the statement names.
	ConfirmClassification(ctx context.Context, c Caller, d sandbox.DatasetID, r ConfirmationRequest) (Classification, error)
	// GradingRules gives the rules in force.
	GradingRules(ctx context.Context, c Caller) (GradingRules, error)
	// Regrade puts other rules in force and grades every dataset by them, or says what that would change.
	Regrade(ctx context.Context, c Caller, r RegradeRequest) (Regrading, error)
	// Regradings lists what other rules changed, the newest last: for a unit what concerns its datasets.
	Regradings(ctx context.Context, c Caller) ([]Regrading, error)
	// AffectedGrants lists the live grants whose listed columns are of another level now, of those the caller has a part in.
	AffectedGrants(ctx context.Context, c Caller) ([]AffectedGrant, error)
}

// Level (级别) is what holds for one column, or for one kind of finding.
type Level struct {
	Grade     sandbox.Grade `json:"grade"`
	Personal  bool          `json:"personal,omitempty"`
	National  string        `json:"national,omitempty"`  // 国家级别: general, important or core
	Category  string        `json:"category,omitempty"`  // 数据类别: personal, organisation or general
	Sensitive string        `json:"sensitive,omitempty"` // 敏感个人信息类型
}

// Classification (数据集分类分级) is how the columns of a dataset are graded, by whom and by which rules.
type Classification struct {
	Dataset   sandbox.DatasetID      `json:"dataset"`
	Version   uint64                 `json:"version"`         // of the data, which verdicts name
	Found     uint64                 `json:"found,omitempty"` // version that the findings are of
	Rules     string                 `json:"rules"`           // version of the rules in force
	Detectors string                 `json:"detectors,omitempty"`
	Open      int                    `json:"open"` // columns that wait for a verdict
	Columns   []ColumnClassification `json:"columns"`
	Affected  []AffectedGrant        `json:"affected,omitempty"` // live grants that list a column whose level the verdicts changed
}

// ColumnClassification (字段分类分级) is one column: what is in force, what was proposed, what a person decided. Until somebody has
// decided, the stricter of declared and proposed is in force (就高从严).
type ColumnClassification struct {
	Column   string         `json:"column"`
	Title    string         `json:"title,omitempty"`
	Declared sandbox.Grade  `json:"declared"`
	Level    Level          `json:"level"` // in force
	Open     bool           `json:"open,omitempty"`
	Proposal *GradeProposal `json:"proposal,omitempty"` // absent where nothing was found
	Verdict  *GradeVerdict  `json:"verdict,omitempty"`  // the last one
}

// GradeProposal (分级建议) is what the detectors found, in percent of the sampled values, and the level of that kind.
type GradeProposal struct {
	Finding    string `json:"finding"`
	Term       string `json:"term,omitempty"`
	Share      int    `json:"share"`
	Confidence int    `json:"confidence"`
	Sampled    int    `json:"sampled"`
	Level      Level  `json:"level"`
}

// GradeVerdict (分级确认) is what a person decided, on which proposal, and why.
type GradeVerdict struct {
	Level    Level              `json:"level"`
	Finding  string             `json:"finding,omitempty"`
	Proposed sandbox.Grade      `json:"proposed,omitempty"`
	Before   sandbox.Grade      `json:"before"`
	Rules    string             `json:"rules"` // it stands under
	Reason   string             `json:"reason,omitempty"`
	By       sandbox.IdentityID `json:"by"`
	At       time.Time          `json:"at"`
}

// ConfirmationRequest (分级确认请求) is an officer's statement about a dataset (attest.Classification) with the words of its reasons,
// which the statement holds commitments to.
type ConfirmationRequest struct {
	Statement attest.Statement `json:"statement"`
	Reasons   []VerdictReason  `json:"reasons,omitempty"`
}

// VerdictReason (分级理由) is why a column is graded so, with the 32 bytes of salt of its commitment.
type VerdictReason struct {
	Column string `json:"column"`
	Salt   []byte `json:"salt"`
	Reason string `json:"reason"`
}

// GradingRules (分级规则) is one version of the levels of kinds. Detectors names the version of what finds the kinds.
type GradingRules struct {
	Version   string      `json:"version"`
	Detectors string      `json:"detectors,omitempty"`
	Levels    []KindLevel `json:"levels"`
}

// KindLevel (类型级别) is the level of one kind of finding; Term is its Chinese name, which nothing rests on.
type KindLevel struct {
	Kind  string `json:"kind"`
	Term  string `json:"term,omitempty"`
	Level Level  `json:"level"`
}

// RegradeRequest (重新分级请求) holds the next version of the rules; without any, those of the domain's program. A preview changes
// nothing.
type RegradeRequest struct {
	Rules   *GradingRules `json:"rules,omitempty"`
	Preview bool          `json:"preview,omitempty"`
}

// Regrading (重新分级记录) is what other rules changed.
type Regrading struct {
	From      string             `json:"from"`
	To        string             `json:"to"`
	Detectors string             `json:"detectors"`
	Digest    []byte             `json:"digest"` // SM3 of the rules as they are kept
	By        sandbox.IdentityID `json:"by,omitempty"`
	At        time.Time          `json:"at,omitzero"`
	Preview   bool               `json:"preview,omitempty"`
	Kept      int                `json:"kept"` // verdicts taken over, on fields that are graded as before
	Fields    []RegradedField    `json:"fields"`
	Affected  []AffectedGrant    `json:"affected"`
}

// RegradedField (重新分级字段) is a field that other rules grade otherwise: Old and New are the levels of its finding, Before and
// After the grades in force. A grade in force does not fall by itself; it waits for a verdict.
type RegradedField struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Column  string            `json:"column"`
	Finding string            `json:"finding,omitempty"`
	Old     Level             `json:"old"`
	New     Level             `json:"new"`
	Before  sandbox.Grade     `json:"before"`
	After   sandbox.Grade     `json:"after"`
}

// AffectedGrant (受影响授权) is a live grant that lists columns of another level now. Stop says that questions which use a raised one
// are refused until its parties have agreed anew. 依据: 福田区实施方案 五(一)3.
type AffectedGrant struct {
	Grant    sandbox.GrantID    `json:"grant"`
	Scenario sandbox.ScenarioID `json:"scenario"`
	Stop     bool               `json:"stop,omitempty"`
	Fields   []AffectedField    `json:"fields"`
}

// AffectedField (受影响字段) is one listed column whose level changed. Listed is its grade when the scenario was filed, 0 where that
// was not kept.
type AffectedField struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Column  string            `json:"column"`
	Listed  sandbox.Grade     `json:"listed,omitempty"`
	Now     sandbox.Grade     `json:"now"`
	Raised  bool              `json:"raised,omitempty"` // above what was agreed, by grade or as personal data
	Uses    []sandbox.Use     `json:"uses"`
}

func noGrading() error {
	return &sandbox.Error{Op: "classification", Kind: sandbox.Unavailable, Object: "grading", Detail: "this domain keeps no gradings"}
}

// graded runs a call that needs the Grader.
func graded[T any](o operations, f func(Grader) (T, error)) (T, error) {
	if o.grader == nil {
		var none T
		return none, noGrading()
	}
	return f(o.grader)
}

func (o operations) GetClassification(w http.ResponseWriter, r *http.Request, id DatasetID) {
	find(o, w, r, "dataset", id, func(ctx context.Context, c Caller, id DatasetID) (Classification, error) {
		return graded(o, func(g Grader) (Classification, error) { return g.Classification(ctx, c, id) })
	})
}

func (o operations) ConfirmClassification(w http.ResponseWriter, r *http.Request, id DatasetID) {
	amend(o, w, r, "dataset", id, func(ctx context.Context, c Caller, id DatasetID, b ConfirmationRequest) (Classification, error) {
		return graded(o, func(g Grader) (Classification, error) { return g.ConfirmClassification(ctx, c, id, b) })
	})
}

func (o operations) GetGradingRules(w http.ResponseWriter, r *http.Request) {
	v, err := graded(o, func(g Grader) (GradingRules, error) { return g.GradingRules(r.Context(), callOn(r).caller) })
	o.write(w, r, http.StatusOK, v, err)
}

func (o operations) Regrade(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusOK, func(ctx context.Context, c Caller, b RegradeRequest) (Regrading, error) {
		return graded(o, func(g Grader) (Regrading, error) { return g.Regrade(ctx, c, b) })
	})
}

func (o operations) ListRegradings(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, func(ctx context.Context, c Caller) ([]Regrading, error) {
		return graded(o, func(g Grader) ([]Regrading, error) { return g.Regradings(ctx, c) })
	})
}

func (o operations) ListAffectedGrants(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, func(ctx context.Context, c Caller) ([]AffectedGrant, error) {
		return graded(o, func(g Grader) ([]AffectedGrant, error) { return g.AffectedGrants(ctx, c) })
	})
}
