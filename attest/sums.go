package attest

import (
	"bytes"
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// The kinds of a sum over ciphertexts, in the order in which they come.
const (
	SumPlanned Kind = "sum.planned" // 密态汇总方案
	SumShared  Kind = "sum.shared"  // 解密份额签发
	SumOpened  Kind = "sum.opened"  // 密态汇总完成
	SumAborted Kind = "sum.aborted" // 密态汇总中止
)

// ContextSumApproval is what a unit's owner signs an approval of a sum under. The statement stays with the unit.
const ContextSumApproval = "opdomain/he/approval/v1"

type (
	// SumPlannedBody (密态汇总方案): a question is to be answered by a sum of the units' ciphertexts, by the plan of this digest: one epoch of keys.
	SumPlannedBody struct {
		Question sandbox.QuestionID `json:"question"`
		Plan     []byte             `json:"plan"` // SM3
		Epoch    uint64             `json:"epoch"`
		Set      string             `json:"set"`
		Units    []sandbox.PartyID  `json:"units"`
		Openers  []sandbox.PartyID  `json:"openers"` // of the units: fixed before anything is encrypted
		Engine   []byte             `json:"engine"`  // SM3 of the posture of the engine's process
		Joined   *JoinedBody        `json:"joined,omitempty"`
	}
	// JoinedBody (跨单位关联方案): what a question that joins two units' rows, person by person, is over. The digest is under a secret of the list.
	JoinedBody struct {
		Holders []sandbox.PartyID `json:"holders"` // of the question's first dataset and of its second
		List    []byte            `json:"list"`    // SM3
		People  int               `json:"people"`
	}
	// SumSharedBody (解密份额签发): an opener's signed decryption share, of the sum of this digest, was taken.
	SumSharedBody struct {
		Question sandbox.QuestionID `json:"question"`
		Plan     []byte             `json:"plan"`
		Unit     sandbox.PartyID    `json:"unit"`
		Sum      []byte             `json:"sum"`     // SM3 of what was added and of the result
		Message  []byte             `json:"message"` // SM3 of the signed message
	}
	// SumOpenedBody (密态汇总完成): the gate read the sum. It holds no value.
	SumOpenedBody struct {
		Question sandbox.QuestionID `json:"question"`
		Plan     []byte             `json:"plan"`
		Sum      []byte             `json:"sum"`
	}
	// SumAbortedBody (密态汇总中止): the epoch ended and nothing was read. Rule is the protocol's, which says nothing of data.
	SumAbortedBody struct {
		Question sandbox.QuestionID `json:"question"`
		Plan     []byte             `json:"plan"`
		Stage    string             `json:"stage"`
		Member   sandbox.PartyID    `json:"member,omitempty"`  // at fault, where one is known
		Message  []byte             `json:"message,omitempty"` // SM3 of what broke the rule
		Kind     sandbox.Kind       `json:"kind"`
		Rule     string             `json:"rule"`
	}
)

// sumTrail is how a question stands that is answered over ciphertexts.
type sumTrail struct {
	plan        SumPlannedBody
	shared      []sandbox.PartyID
	sum         []byte
	done, ended bool // opened; opened or aborted
}

const sumCheck = "sum"

// sumPlanned: of an allowed question of this engine; a later epoch only after the one before was aborted.
func (c *checker) sumPlanned(b SumPlannedBody) error {
	q := c.questions[b.Question]
	if q == nil {
		return c.shown(false, sumCheck, "of a decided question")
	}
	before := q.sum
	q.sum = &sumTrail{plan: b}
	once := func(ids, of []sandbox.PartyID) bool {
		seen := map[sandbox.PartyID]bool{}
		for _, id := range ids {
			if seen[id] || of != nil && !slices.Contains(of, id) {
				return false
			}
			seen[id] = true
		}
		return true
	}
	fewest, joined := 3, true
	if j := b.Joined; j != nil { // of each factor of one unit the gate opens how many people have it, how many of these its commonest value, and its largest; no total
		fewest, joined = 2, len(j.Holders) == 2 && once(j.Holders, b.Units) && len(j.List) == sm.Size && j.People > 0
	}
	return all(c.want(q.decided.Allow && q.decided.Engine == sandbox.HE, sumCheck, "of an allowed question that is answered over ciphertexts"),
		c.want(b.Epoch > 0 && (before == nil || !before.done && b.Epoch > before.plan.Epoch), sumCheck, "a new epoch only after one that was aborted"),
		c.shown(before == nil || before.ended, sumCheck, "a new epoch only after one that was aborted"), // how, an asker does not see
		c.want(len(b.Plan) == sm.Size && (before == nil || !bytes.Equal(b.Plan, before.plan.Plan)), sumCheck, "under a plan of its own"),
		c.want(joined, sumCheck, "rows are joined of two of the units, over a list"),
		c.want(len(b.Units) >= fewest && once(b.Units, nil) && once(b.Openers, b.Units) && 2*len(b.Openers) > len(b.Units), sumCheck, "three units, or two that are joined, more than half of which open"))
}

// sumShared: once by each opener of a plan that has not ended, all of one sum.
func (c *checker) sumShared(b SumSharedBody) error {
	q := c.questions[b.Question]
	if q == nil || q.sum == nil {
		return c.shown(false, sumCheck, "of a plan on record")
	}
	t := q.sum
	again := slices.Contains(t.shared, b.Unit)
	t.shared = append(t.shared, b.Unit)
	if t.sum == nil {
		t.sum = b.Sum
	}
	return all(c.want(bytes.Equal(b.Plan, t.plan.Plan) && !t.ended, sumCheck, "shares are of the plan on record, before it ends"),
		c.want(slices.Contains(t.plan.Openers, b.Unit) && !again, sumCheck, "one share by each opener, and no second"),
		c.want(len(b.Sum) == sm.Size && len(b.Message) == sm.Size && bytes.Equal(b.Sum, t.sum), sumCheck, "all shares are of one sum"))
}

// sumOpened: after the shares of all openers.
func (c *checker) sumOpened(b SumOpenedBody) error {
	q := c.questions[b.Question]
	if q == nil || q.sum == nil {
		return c.shown(false, sumCheck, "of a plan on record")
	}
	t := q.sum
	open := !t.ended
	t.done, t.ended = true, true
	return all(c.want(open && bytes.Equal(b.Plan, t.plan.Plan), sumCheck, "opened once, by the plan on record"),
		c.want(len(t.shared) == len(t.plan.Openers) && bytes.Equal(b.Sum, t.sum), sumCheck, "opened with the shares of all openers"))
}

// sumAborted: before anything was read.
func (c *checker) sumAborted(b SumAbortedBody) error {
	q := c.questions[b.Question]
	if q == nil || q.sum == nil {
		return c.shown(false, sumCheck, "of a plan on record")
	}
	open := !q.sum.ended
	q.sum.ended = true
	return c.want(open && bytes.Equal(b.Plan, q.sum.plan.Plan), sumCheck, "aborted once, before anything was read")
}

// sumBefore holds the answer of a question over ciphertexts to a sum that ended, and what passes to one that was opened.
func (c *checker) sumBefore(q *questionTrail, passes bool) error {
	if q.joint != nil {
		return c.jointBefore(q, passes)
	}
	if q.decided.Engine != sandbox.HE {
		return nil
	}
	return all(c.shown(q.sum != nil && q.sum.ended, sumCheck, "a sum ended before its answer is recorded"),
		c.shown(!passes || q.sum != nil && q.sum.done, sumCheck, "what passes was opened by all openers"))
}
