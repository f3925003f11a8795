package attest

import (
	"bytes"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// The kinds of a run of a partner's secret model, in the order in which they come.
const (
	JointPlanned Kind = "joint.planned" // 保密模型运行方案
	JointShared  Kind = "joint.shared"  // 合作方解密份额签发
	JointOpened  Kind = "joint.opened"  // 保密模型运行完成
	JointAborted Kind = "joint.aborted" // 保密模型运行中止
)

// ContextJointRun is what a partner signs the statement of a run under.
const ContextJointRun = "opdomain/joint-run/v1"

type (
	// JointFeature (保密模型特征) names a measure of the result and how large in size its averages count at most.
	JointFeature struct {
		Measure string  `json:"measure"`
		Range   float64 `json:"range"`
	}
	// JointRun (保密模型运行申请) is a partner's word for one run of its secret model over averages of a result that was approved: which measures are
	// features, for how many groups it answers at most, in how many decimals the score leaves, and HMAC-SM3 of weights and bias under a salt
	// that it keeps. It says nothing else of the model.
	JointRun struct {
		Scenario   sandbox.ScenarioID `json:"scenario"`
		Purpose    string             `json:"purpose"`
		Of         sandbox.QuestionID `json:"of"`
		Features   []JointFeature     `json:"features"`
		Groups     int                `json:"groups"`
		Decimals   int                `json:"decimals"`
		Commitment []byte             `json:"commitment"`
		At         time.Time          `json:"at"`
	}
	// JointPlannedBody (保密模型运行方案): the run was allowed, counted against the grant, and planned.
	JointPlannedBody struct {
		Question  sandbox.QuestionID `json:"question"`
		Statement Statement          `json:"statement"`
		Plan      []byte             `json:"plan"`   // SM3
		Engine    []byte             `json:"engine"` // SM3 of the posture of the engine's process
		Run       int64              `json:"run"`    // of the grant, from 1
		Runs      int64              `json:"runs"`   // that the scenario's parties agreed on
	}
	// JointSharedBody (合作方解密份额签发): the partner's signed scores, with its decryption shares, were taken. Nothing is read before.
	JointSharedBody struct {
		Question sandbox.QuestionID `json:"question"`
		Plan     []byte             `json:"plan"`
		Message  []byte             `json:"message"` // SM3 of the signed message
	}
	// JointOpenedBody (保密模型运行完成): the gate read the scores. It holds no value.
	JointOpenedBody struct {
		Question sandbox.QuestionID `json:"question"`
		Plan     []byte             `json:"plan"`
		Message  []byte             `json:"message"`
	}
	// JointAbortedBody (保密模型运行中止): the run ended and nothing was given to anybody. Rule is the protocol's and holds no
	// value, but which one it is may follow from averages: the record is for the agency and the owning units, not for who asked.
	JointAbortedBody struct {
		Question sandbox.QuestionID `json:"question"`
		Plan     []byte             `json:"plan"`
		Stage    string             `json:"stage"`
		Member   sandbox.PartyID    `json:"member,omitempty"`  // at fault, where one is known
		Message  []byte             `json:"message,omitempty"` // SM3 of what broke the rule
		Kind     sandbox.Kind       `json:"kind"`
		Rule     string             `json:"rule"`
	}
)

// jointTrail is how a run of a partner's model stands.
type jointTrail struct {
	plan        []byte
	of          sandbox.QuestionID
	shared      []byte
	done, ended bool // opened; opened or aborted
}

const jointCheck = "joint"

// jointPlanned: once, of an allowed question, by its asker's statement, over a result of the same scenario that was sent and not revoked.
func (c *checker) jointPlanned(e Event, b JointPlannedBody) error {
	var r JointRun
	who, ok, err := c.statement(e, b.Statement, ContextJointRun, &r)
	if err != nil || !ok {
		return err
	}
	q := c.questions[b.Question]
	if q == nil {
		return c.shown(false, jointCheck, "of a decided question")
	}
	again := q.joint != nil || q.sum != nil
	q.joint = &jointTrail{plan: b.Plan, of: r.Of}
	if err := all(c.want(!again, jointCheck, "planned once"),
		c.want(q.decided.Allow && q.decided.Engine == sandbox.HE && q.decided.Class == sandbox.ClassA && q.decided.Scenario == r.Scenario, jointCheck, "of an allowed question of class A over ciphertexts, of its scenario"),
		c.want(who.ID == q.decided.Asker && who.Duty == sandbox.Officer, jointCheck, "by the statement of who asks"),
		c.want(len(b.Plan) == sm.Size && len(b.Engine) == sm.Size && len(r.Commitment) == sm.Size && len(r.Features) > 0 && r.Groups > 0, jointCheck, "with features, groups and a commitment"),
		c.want(b.Run > 0 && b.Run <= b.Runs, jointCheck, "within the runs that were agreed on"), c.dated(r.At, e)); err != nil {
		return err
	}
	of := c.questions[r.Of]
	if of == nil {
		return c.shown(false, jointCheck, "over a result that was decided before")
	}
	return all(c.want(of.joint == nil && of.decided.Class == sandbox.ClassA && of.decided.Scenario == r.Scenario, jointCheck, "over a result of class A of its scenario, which is no score itself"),
		c.shown(of.review.sent && of.review.state != "revoked", jointCheck, "over a result that was approved and sent, and stands"))
}

// jointShared: once, before the run ends.
func (c *checker) jointShared(b JointSharedBody) error {
	q := c.questions[b.Question]
	if q == nil || q.joint == nil {
		return c.shown(false, jointCheck, "of a plan on record")
	}
	t := q.joint
	again := t.shared != nil
	t.shared = b.Message
	return all(c.want(bytes.Equal(b.Plan, t.plan) && !t.ended && len(b.Message) == sm.Size, jointCheck, "shares are of the plan on record, before it ends"),
		c.want(!again, jointCheck, "shared once"))
}

// jointOpened: once, what was shared.
func (c *checker) jointOpened(b JointOpenedBody) error {
	q := c.questions[b.Question]
	if q == nil || q.joint == nil {
		return c.shown(false, jointCheck, "of a plan on record")
	}
	t := q.joint
	open := !t.ended
	t.done, t.ended = true, true
	return all(c.want(open && bytes.Equal(b.Plan, t.plan), jointCheck, "opened once, by the plan on record"),
		c.want(t.shared != nil && bytes.Equal(b.Message, t.shared), jointCheck, "opened from what the partner shared"))
}

// jointAborted: once, and nothing was opened.
func (c *checker) jointAborted(b JointAbortedBody) error {
	q := c.questions[b.Question]
	if q == nil || q.joint == nil {
		return c.shown(false, jointCheck, "of a plan on record")
	}
	open := !q.joint.ended
	q.joint.ended = true
	return c.want(open && bytes.Equal(b.Plan, q.joint.plan), jointCheck, "aborted once, before anything was opened")
}

// jointBefore holds the answer of a run to its end, to the versions of what it is made of, and what passes to a run that was opened.
func (c *checker) jointBefore(q *questionTrail, passes bool) error {
	of, same := c.questions[q.joint.of], true
	if of != nil && of.computed && q.computed {
		same = len(of.inputs) == len(q.inputs)
		for i := range q.inputs {
			same = same && q.inputs[i] == of.inputs[i]
		}
	}
	return all(c.shown(q.joint.ended, jointCheck, "a run ended before its answer is recorded"),
		c.shown(!passes || q.joint.done, jointCheck, "what passes was opened"),
		c.want(same, jointCheck, "over the versions of the result that it is made of"))
}
