package api

import (
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
)

// Sharer (多方计算服务) is a Service whose questions may be computed over shares, with rows that other zones hold. One that is not answers
// those operations as unavailable.
type Sharer interface {
	// SharedJob gives an officer of the agency the job of a question that waits for its parties. Conflict for any other question.
	SharedJob(ctx context.Context, c Caller, id sandbox.QuestionID) (SharesJob, error)
	// RunShared has the domain take part, with its owner's approval of the plan, context attest.ContextSharesApproval, and returns when it has
	// joined: the question stays in computing until the run has ended, by its deadline at the latest. Denied without the approval, Expired for a
	// plan nobody joined in time, Conflict while another run is made.
	RunShared(ctx context.Context, c Caller, id sandbox.QuestionID, approval attest.Statement) (Question, error)
	// PushShared takes the domain's shares of what a unit that is no party pushed for a planned question, a file of package mpc/push, from that unit or the
	// agency. A later one of the unit's replaces it, until the domain joins, which keeps none. Conflict where none is waited for, Denied or Tampered for a push that is not the unit's.
	PushShared(ctx context.Context, c Caller, id sandbox.QuestionID, push []byte) error
	// EndShared withdraws a planned question that the domain has not joined. Its asker's party and the agency may; Conflict for any other question.
	EndShared(ctx context.Context, c Caller, id sandbox.QuestionID) (Question, error)
}

// SharesTerms (多方计算说明) says how a question is computed over shares: by whom, under which model, what collusion reveals. Nothing in it
// depends on data.
type SharesTerms struct {
	Form      string            `json:"form"` // join, of two tables; or inquiry
	Model     string            `json:"model"`
	Collusion string            `json:"collusion"`
	Pushes    sandbox.DatasetID `json:"pushes,omitempty"`   // the dataset whose unit, which is no party, pushes shares to all three
	UnitKey   string            `json:"unit_key,omitempty"` // fingerprint of the key that its pushes verify under
	Parties   []SharesParty     `json:"parties"`            // in the plan's order, the domain first
	Leakage   []string          `json:"leakage,omitempty"`  // what operators tell all parties beside sizes
	Seconds   int               `json:"seconds"`            // a run's deadline
	Expires   time.Time         `json:"expires,omitzero"`   // nobody joins the plan later; absent of what was not planned
}

// SharesParty (多方计算参与方) is one of the three zones and what it learns.
type SharesParty struct {
	Party        sandbox.PartyID    `json:"party"`
	Role         string             `json:"role"`
	Organisation sandbox.PartyID    `json:"organisation"`
	Owner        sandbox.IdentityID `json:"owner"` // who approves for it
	Learns       string             `json:"learns"`
}

// SharesJob (多方计算任务) is what the zones' owners approve and their parties run. Asked is the question in the form that parties take, Digest
// the plan's SM3, which owners sign.
type SharesJob struct {
	Question sandbox.QuestionID `json:"question"`
	Stage    string             `json:"stage"` // planned, expired, running, stopped
	Plan     []byte             `json:"plan"`
	Asked    []byte             `json:"asked"`
	Digest   []byte             `json:"digest"`
	Pushed   string             `json:"pushed,omitempty"` // digest of the push that the domain's party has
	Card     []byte             `json:"card,omitempty"`   // of the domain's party, for that unit: a signed statement in JSON
	Terms    SharesTerms        `json:"terms"`
}

// Text gives the terms in words.
func (t *SharesTerms) Text() string {
	var b strings.Builder
	fmt.Fprintf(&b, "computed over shares 多方计算: the rows of one dataset never come here; three parties compute together, and nobody sees a row of another\n")
	form := "join 受控关联统计: people of the first dataset are looked up in the second one; a group is shown whole or not at all, and those left over count too"
	if t.Form == "inquiry" {
		form = "inquiry 多方询问: each owner filters its own rows before it shares them; of what is joined over shares a group is shown whole or not at all, and those left over count too; a dataset that is looked up has one row a key, or the run ends; a later question over the same rows is over the same cells"
	}
	fmt.Fprintf(&b, "  form 形式: %s\n", form)
	if t.Pushes != "" {
		fmt.Fprintf(&b, "  pushed 推送: the unit of %s, which is no party, pushes shares of its rows to all three, for this question alone, under its key %s; no party has a row by them, and filters on them are worked out over shares. Which rows it pushes is its own word, and that they differ from earlier ones in enough people its own ledger's\n", t.Pushes, t.UnitKey)
	}
	for _, p := range t.Parties {
		fmt.Fprintf(&b, "  %s (%s) of %s, approved by %s; it learns %s\n", p.Party, p.Role, p.Organisation, p.Owner, p.Learns)
	}
	for _, l := range t.Leakage {
		fmt.Fprintf(&b, "  all of them, within %s\n", l)
	}
	fmt.Fprintf(&b, "  %s\n", t.Collusion)
	next := "next 下一步: once it is asked it waits for its parties"
	if !t.Expires.IsZero() {
		next = fmt.Sprintf("next 下一步: it waits for its parties, who may join until %s", t.Expires.UTC().Format(time.RFC3339))
	}
	fmt.Fprintf(&b, "  %s: the agency's officer takes the job, each party's owner approves it, they run it within %d seconds; what opens goes to the gate and two reviewers, as any answer\n", next, t.Seconds)
	return b.String()
}

func noShares() error {
	return &sandbox.Error{Op: "shares", Kind: sandbox.Unavailable, Object: "shares", Detail: "this domain computes nothing over shares", Hint: "opdomain serve --shares FILE"}
}

func (o operations) GetSharesJob(w http.ResponseWriter, r *http.Request, id QuestionID) {
	find(o, w, r, "question", id, func(ctx context.Context, c Caller, id QuestionID) (SharesJob, error) {
		if o.sharer == nil {
			return SharesJob{}, noShares()
		}
		return o.sharer.SharedJob(ctx, c, id)
	})
}

func (o operations) RunSharesJob(w http.ResponseWriter, r *http.Request, id QuestionID) {
	amend(o, w, r, "question", id, func(ctx context.Context, c Caller, id QuestionID, s attest.Statement) (Question, error) {
		if o.sharer == nil {
			return Question{}, noShares()
		}
		return o.sharer.RunShared(ctx, c, id, s)
	})
}

func (o operations) PushShares(w http.ResponseWriter, r *http.Request, id QuestionID) {
	if err := sandbox.CheckID("question", string(id)); err != nil {
		o.fail(w, r, err)
		return
	}
	submit(o, w, r, http.StatusNoContent, noResult(func(ctx context.Context, c Caller, b SharesPush) error {
		if o.sharer == nil {
			return noShares()
		}
		return o.sharer.PushShared(ctx, c, id, b.Push)
	}))
}

func (o operations) EndSharesJob(w http.ResponseWriter, r *http.Request, id QuestionID) {
	find(o, w, r, "question", id, func(ctx context.Context, c Caller, id QuestionID) (Question, error) {
		if o.sharer == nil {
			return Question{}, noShares()
		}
		return o.sharer.EndShared(ctx, c, id)
	})
}
