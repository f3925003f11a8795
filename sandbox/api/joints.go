package api

import (
	"context"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Joiner (保密模型运行服务) is a Service that runs a party's secret model over averages of approved results, under a key that the party has together with
// the gate. One that does not answers those operations as unavailable.
type Joiner interface {
	// ExplainJoint decides a run and says who would see what, without charge and without a key.
	ExplainJoint(ctx context.Context, c Caller, r attest.JointRun) (JointExplanation, error)
	// AskJoint decides a run that the caller signed, context attest.ContextJointRun, counts and charges it, and draws the gate's part of the key; a refusal
	// is in Joint.Question, with every reason.
	AskJoint(ctx context.Context, c Caller, s attest.Statement) (Joint, error)
	// Joints lists the runs that concern the caller: of its own party, over its data, or all for the agency and auditors.
	Joints(ctx context.Context, c Caller) ([]Joint, error)
	Joint(ctx context.Context, c Caller, id sandbox.QuestionID) (Joint, error)
	// EndJoint gives a run up: the question is withheld. Its asker's party and the agency may.
	EndJoint(ctx context.Context, c Caller, id sandbox.QuestionID) (Joint, error)
	// TakeJointMessage reads the asker's message of a step, at most as long as the plan has it and equal to the digest that was signed. The same message
	// again changes nothing; another one of a step ends the run; Conflict for one that is not due.
	TakeJointMessage(ctx context.Context, c Caller, id sandbox.QuestionID, kind int, digest [sm.Size]byte, body io.Reader) (Joint, error)
	// JointMessage writes the gate's message of a step to the asker.
	JointMessage(ctx context.Context, c Caller, id sandbox.QuestionID, kind int, w io.Writer) error
}

// Joint (保密模型运行状态) is where a run of a secret model stands. Kind, as package he numbers messages, is what it waits for from the asker until Due;
// Step is its name. Cause is what ended it by the protocol's rule: for the agency and the units; the asker learns that it is withheld.
type Joint struct {
	Question   Question              `json:"question"`
	Of         sandbox.QuestionID    `json:"of"`
	Features   []attest.JointFeature `json:"features"`
	Groups     int                   `json:"groups"`
	Decimals   int                   `json:"decimals"`
	Commitment []byte                `json:"commitment"`
	Plan       []byte                `json:"plan,omitempty"`   // as package he encodes it
	Digest     []byte                `json:"digest,omitempty"` // SM3 of the plan
	Run        int64                 `json:"run,omitempty"`    // of the grant
	Runs       int64                 `json:"runs,omitempty"`   // that were agreed on
	Step       string                `json:"step,omitempty"`
	Kind       int                   `json:"kind,omitempty"`
	Due        time.Time             `json:"due,omitzero"`
	Cause      string                `json:"cause,omitempty"`
}

// String keeps who runs what out of logs.
func (j Joint) String() string { return fmt.Sprintf("joint run %s", j.Question.ID) }

// JointExplanation (保密模型运行说明) is the decision about a run and, in words, who would see what.
type JointExplanation struct {
	Decision sandbox.Decision `json:"decision"`
	Text     string           `json:"text"`
}

// jointRoutes are the part of the table that runs of secret models are called by.
func jointRoutes(asked access) map[string]access {
	asker := only("operator/officer", "partner/officer")
	return map[string]access{
		"GET /v1/joints":                            asked.quietly(),
		"POST /v1/joints":                           asker.upTo(signedForm).costly(),
		"POST /v1/joints/explain":                   only("operator", "partner").upTo(signedForm).costly(),
		"GET /v1/joints/{question}":                 asked.quietly(),
		"DELETE /v1/joints/{question}":              only("agency/officer", "operator/officer", "partner/officer").upTo(shortForm).costly(),
		"PUT /v1/joints/{question}/messages/{kind}": messages("operator/officer", "partner/officer").costly(),
		"GET /v1/joints/{question}/messages/{kind}": asker.streamed(),
	}
}

func (k *core) joining() (Joiner, error) {
	if s, ok := k.config.Service.(Joiner); ok {
		return s, nil
	}
	return nil, &sandbox.Error{Op: "joint run", Kind: sandbox.Unavailable, Object: "joints", Detail: "this domain runs no secret models"}
}

func (o operations) ListJoints(w http.ResponseWriter, r *http.Request) {
	list(o, w, r, func(ctx context.Context, c Caller) ([]Joint, error) {
		s, err := o.joining()
		if err != nil {
			return nil, err
		}
		return s.Joints(ctx, c)
	})
}

func (o operations) AskJoint(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusCreated, func(ctx context.Context, c Caller, st attest.Statement) (Joint, error) {
		s, err := o.joining()
		if err != nil {
			return Joint{}, err
		}
		return s.AskJoint(ctx, c, st)
	})
}

func (o operations) ExplainJoint(w http.ResponseWriter, r *http.Request) {
	submit(o, w, r, http.StatusOK, func(ctx context.Context, c Caller, run attest.JointRun) (JointExplanation, error) {
		s, err := o.joining()
		if err != nil {
			return JointExplanation{}, err
		}
		return s.ExplainJoint(ctx, c, run)
	})
}

// jointOf finds a run and does something with it.
func jointOf(o operations, w http.ResponseWriter, r *http.Request, id QuestionID, f func(context.Context, Joiner, Caller) (Joint, error)) {
	find(o, w, r, "question", id, func(ctx context.Context, c Caller, _ QuestionID) (Joint, error) {
		s, err := o.joining()
		if err != nil {
			return Joint{}, err
		}
		return f(ctx, s, c)
	})
}

func (o operations) GetJoint(w http.ResponseWriter, r *http.Request, id QuestionID) {
	jointOf(o, w, r, id, func(ctx context.Context, s Joiner, c Caller) (Joint, error) { return s.Joint(ctx, c, id) })
}

func (o operations) EndJoint(w http.ResponseWriter, r *http.Request, id QuestionID) {
	jointOf(o, w, r, id, func(ctx context.Context, s Joiner, c Caller) (Joint, error) { return s.EndJoint(ctx, c, id) })
}

// PutJointMessage hands a message on as it arrives, with the digest that its sender signed: how long it may be is the plan's to say.
func (o operations) PutJointMessage(w http.ResponseWriter, r *http.Request, id QuestionID, kind int) {
	jointOf(o, w, r, id, func(ctx context.Context, s Joiner, c Caller) (Joint, error) {
		call := callOn(r)
		return s.TakeJointMessage(ctx, c, id, kind, call.digest, call.frames)
	})
}

func (o operations) GetJointMessage(w http.ResponseWriter, r *http.Request, id QuestionID, kind int) {
	s, err := o.joining()
	if err == nil {
		err = sandbox.CheckID("question", string(id))
	}
	if err != nil {
		o.fail(w, r, err)
		return
	}
	w.Header().Set("Content-Type", typeMessage)
	out := &counted{w: w}
	err = s.JointMessage(r.Context(), callOn(r).caller, id, kind, out)
	switch {
	case err != nil && out.n == 0:
		o.fail(w, r, err)
	case err != nil:
		callOn(r).failed = err
		panic(http.ErrAbortHandler)
	}
}
