package api

import (
	"context"
	"io"
	"net/http"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Summer (密态汇总服务) is a Service that answers questions over the ciphertexts of units that keep their rows. One that does not answers those
// operations as unavailable. Every party checks plan and messages for itself: the Service carries them.
type Summer interface {
	// AskSum decides the question and plans its first epoch; a refusal is in Sum.Question, with every reason.
	AskSum(ctx context.Context, c Caller, r SumRequest) (Sum, error)
	// Sums lists what concerns the caller: its own questions, those it is a unit of, or all for the agency and auditors.
	Sums(ctx context.Context, c Caller) ([]Sum, error)
	Sum(ctx context.Context, c Caller, id sandbox.QuestionID) (Sum, error)
	SumPlan(ctx context.Context, c Caller, id sandbox.QuestionID) (SumPlan, error)
	// BeginSumEpoch plans the next epoch after one that was aborted; an empty order takes who is left. Conflict while one goes on.
	BeginSumEpoch(ctx context.Context, c Caller, id sandbox.QuestionID, o SumOrder) (Sum, error)
	// EndSum withholds the question. Its asker's party and the agency may.
	EndSum(ctx context.Context, c Caller, id sandbox.QuestionID) (Sum, error)
	// LeaveSum ends the epoch because a unit does not go on.
	LeaveSum(ctx context.Context, c Caller, id sandbox.QuestionID, l SumLeave) (Sum, error)
	// TakeSumMessage reads the caller's message of a step, at most as long as the plan has it and equal to the digest that was signed. The same
	// message again changes nothing; Conflict for one that is not due.
	TakeSumMessage(ctx context.Context, c Caller, at SumAddress, digest [sm.Size]byte, body io.Reader) (Sum, error)
	// SumMessage writes a message that another party sent.
	SumMessage(ctx context.Context, c Caller, at SumAddress, w io.Writer) error
}

// SumAddress (协议消息地址) names a message of an epoch. Kind and From are numbered as package he numbers them.
type SumAddress struct {
	Question sandbox.QuestionID
	Epoch    uint64
	Kind     int
	From     int
}

// SumLabels (公开分组标签) fixes the labels of a dimension that does not list its own.
type SumLabels struct {
	As     string   `json:"as"`
	Labels []string `json:"labels"`
}

// SumOrder (密态汇总编排) says who contributes to an epoch, by the officers that act for the units, and which of them open it: so many as the
// threshold. Threshold 0 is the smallest allowed, no openers the first units, no set the one for sums.
type SumOrder struct {
	Units     []sandbox.IdentityID `json:"units"`
	Threshold int                  `json:"threshold,omitempty"`
	Openers   []sandbox.IdentityID `json:"openers,omitempty"`
	Set       string               `json:"set,omitempty"`
}

// SumList (对齐名册约定) is the list of people over which two units' rows are joined, as all others know it: the digest that both owners compare, how many
// stand on it, and how many rows one person has at a unit at most (0: 1,024). The list itself never comes here.
type SumList struct {
	Digest []byte `json:"digest"` // SM3
	People int    `json:"people"`
	Rows   int    `json:"rows,omitempty"`
}

// SumRequest (密态汇总委托) is a question to be answered over the units' ciphertexts. One of two datasets that different units hold comes with a list.
type SumRequest struct {
	Spec  query.Spec  `json:"spec"`
	Keys  []SumLabels `json:"keys,omitempty"`
	Order SumOrder    `json:"order"`
	List  *SumList    `json:"list,omitempty"`
}

// SumUnit (汇总参与单位) is a unit of the newest epoch. Sent says that its message of the step is there, Left that the epoch ended with it: neither is told of
// a holder of joined rows to who asked.
type SumUnit struct {
	Identity sandbox.IdentityID `json:"identity"`
	Party    sandbox.PartyID    `json:"party"`
	Opens    bool               `json:"opens,omitempty"`
	Sent     bool               `json:"sent,omitempty"`
	Left     bool               `json:"left,omitempty"`
	Holds    sandbox.DatasetID  `json:"holds,omitempty"` // of a joined question: whose rows it brings
}

// Sum (密态汇总状态) is where a question over ciphertexts stands. Step is empty where no epoch goes on. Cause is what ended the last epoch by the
// protocol's rule: for the agency and the units; the asker learns with whom it ended, but for holders of joined rows.
type Sum struct {
	Question  Question  `json:"question"`
	Epoch     uint64    `json:"epoch,omitempty"`
	Plan      []byte    `json:"plan,omitempty"` // SM3
	Set       string    `json:"set"`
	Threshold int       `json:"threshold"`
	Units     []SumUnit `json:"units"`
	Step      string    `json:"step,omitempty"`
	Kind      int       `json:"kind,omitempty"` // of the messages that the step waits for
	Due       time.Time `json:"due,omitzero"`
	Aborted   bool      `json:"aborted,omitempty"`
	Until     time.Time `json:"until,omitzero"` // by when another epoch begins, or the question is withheld
	Cause     string    `json:"cause,omitempty"`
	List      *SumList  `json:"list,omitempty"` // of a joined question
}

// SumPlan (密态汇总方案) is the newest epoch's plan, as package he encodes it, with the question that it is for.
type SumPlan struct {
	Question sandbox.QuestionID `json:"question"`
	Epoch    uint64             `json:"epoch"`
	Plan     []byte             `json:"plan"`
	Spec     query.Spec         `json:"spec"`
	Keys     []SumLabels        `json:"keys,omitempty"`
	List     *SumList           `json:"list,omitempty"`
}

// Reasons of a unit that leaves an epoch. None but LeaveRows follows from its rows, and that one says no more of them.
const (
	LeavePlan     = "plan"     // 方案不符: the plan is not the one it approved
	LeaveRestart  = "restart"  // 进程重启: its part of the key was lost with its process
	LeaveProtocol = "protocol" // 协议中止: a message or a step broke a rule
	LeaveRows     = "rows"     // 本方数据: it has nothing to contribute that fits
	LeaveList     = "list"     // 名册不符: its list of people is not the one of the plan, or nearly an earlier one, whoever of them it has
)

// SumLeave (退出声明) is a unit's word that it does not go on in an epoch.
type SumLeave struct {
	Epoch  uint64 `json:"epoch"`
	Reason string `json:"reason"`
}

const typeMessage = "application/vnd.opdomain.he-message"

// messageForm bounds the messages of sums before anything is known of their plan.
const messageForm = 64 << 20

func messages(allow ...string) access { return access{allow: allow, message: true, body: messageForm} }

// sumRoutes are the part of the table that sums are called by.
func sumRoutes(asked access) map[string]access {
	asker := only("operator/officer", "partner/officer")
	return map[string]access{
		"GET /v1/sums":                                                  asked.quietly(),
		"POST /v1/sums":                                                 asker.costly(),
		"GET /v1/sums/{question}":                                       asked.quietly(),
		"DELETE /v1/sums/{question}":                                    only("agency/officer", "operator/officer", "partner/officer").upTo(shortForm).costly(),
		"GET /v1/sums/{question}/plan":                                  asked,
		"POST /v1/sums/{question}/epochs":                               asker.upTo(signedForm).costly(),
		"POST /v1/sums/{question}/leave":                                only("unit/officer").upTo(shortForm),
		"PUT /v1/sums/{question}/epochs/{epoch}/messages/{kind}":        messages("unit/officer").costly(),
		"GET /v1/sums/{question}/epochs/{epoch}/messages/{kind}/{from}": only("unit/officer").streamed(),
	}
}

func (k *core) summing() (Summer, error) {
	if s, ok := k.config.Service.(Summer); ok {
		return s, nil
	}
	return nil, &sandbox.Error{Op: "sum", Kind: sandbox.Unavailable, Object: "sums", Detail: "this domain computes none over ciphertexts"}
}

func (o operations) ListSums(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, func(ctx context.Context, c Caller) ([]Sum, error) {
		s, err := o.summing()
		if err != nil {
			return nil, err
		}
		return s.Sums(ctx, c)
	})
}

func (o operations) AskSum(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusCreated, func(ctx context.Context, c Caller, q SumRequest) (Sum, error) {
		s, err := o.summing()
		if err != nil {
			return Sum{}, err
		}
		return s.AskSum(ctx, c, q)
	})
}

// sumOf finds a question's sum and does something with it.
func sumOf[T any](o operations, w http.ResponseWriter, r *http.Request, id QuestionID, f func(context.Context, Summer, Caller) (T, error)) {
	find(o, w, r, "question", id, func(ctx context.Context, c Caller, _ QuestionID) (out T, err error) {
		s, err := o.summing()
		if err != nil {
			return out, err
		}
		return f(ctx, s, c)
	})
}

func (o operations) GetSum(w http.ResponseWriter, r *http.Request, id QuestionID) {
	sumOf(o, w, r, id, func(ctx context.Context, s Summer, c Caller) (Sum, error) { return s.Sum(ctx, c, id) })
}

func (o operations) EndSum(w http.ResponseWriter, r *http.Request, id QuestionID) {
	sumOf(o, w, r, id, func(ctx context.Context, s Summer, c Caller) (Sum, error) { return s.EndSum(ctx, c, id) })
}

func (o operations) GetSumPlan(w http.ResponseWriter, r *http.Request, id QuestionID) {
	sumOf(o, w, r, id, func(ctx context.Context, s Summer, c Caller) (SumPlan, error) { return s.SumPlan(ctx, c, id) })
}

func (o operations) BeginSumEpoch(w http.ResponseWriter, r *http.Request, id QuestionID) {
	if err := sandbox.CheckID("question", string(id)); err != nil {
		o.fail(w, r, err)
		return
	}
	submit(o, w, r, http.StatusCreated, func(ctx context.Context, c Caller, b SumOrder) (Sum, error) {
		s, err := o.summing()
		if err != nil {
			return Sum{}, err
		}
		return s.BeginSumEpoch(ctx, c, id, b)
	})
}

func (o operations) LeaveSum(w http.ResponseWriter, r *http.Request, id QuestionID) {
	amend(o, w, r, "question", id, func(ctx context.Context, c Caller, id QuestionID, b SumLeave) (Sum, error) {
		s, err := o.summing()
		if err != nil {
			return Sum{}, err
		}
		switch b.Reason {
		case LeavePlan, LeaveRestart, LeaveProtocol, LeaveRows, LeaveList:
			return s.LeaveSum(ctx, c, id, b)
		}
		return Sum{}, malformed("reason", "plan, restart, protocol, rows or list")
	})
}

// PutSumMessage hands a message on as it arrives, with the digest that its sender signed: how long it may be is the plan's to say.
func (o operations) PutSumMessage(w http.ResponseWriter, r *http.Request, id QuestionID, epoch uint64, kind int) {
	sumOf(o, w, r, id, func(ctx context.Context, s Summer, c Caller) (Sum, error) {
		call := callOn(r)
		return s.TakeSumMessage(ctx, c, SumAddress{Question: id, Epoch: epoch, Kind: kind}, call.digest, call.frames)
	})
}

// GetSumMessage streams, so that nobody holds what several units fetch at once.
func (o operations) GetSumMessage(w http.ResponseWriter, r *http.Request, id QuestionID, epoch uint64, kind, from int) {
	s, err := o.summing()
	if err == nil {
		err = sandbox.CheckID("question", string(id))
	}
	if err != nil {
		o.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", typeMessage)
	out := &counted{w: w}
	err = s.SumMessage(r.Context(), callOn(r).caller, SumAddress{id, epoch, kind, from}, out)
	switch {
	case err != nil && out.n == 0:
		o.fail(w, r, err)
	case err != nil:
		callOn(r).failed = err
		panic(http.ErrAbortHandler)
	}
}
