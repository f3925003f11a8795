package egress

import (
	"slices"
	"sync"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/workflow"
)

// State (审核状态) is where a Review stands.
type State string

// The states. Source: the gate's state table; Withheld beside it, since what depends on data reaches the asker as one code.
const (
	Draft         State = "draft"         // 草稿
	Sealed        State = "sealed"        // 已封存: canonical bytes, the author writes no more
	Scanning      State = "scanning"      // 扫描中
	Quarantined   State = "quarantined"   // 已隔离: a label that reads like an identifier
	Cleared       State = "checked"       // 已检查: the rules and the ledger
	InReview      State = "in-review"     // 待初审: waits for a reviewer who is not of the agency
	Partial       State = "partial"       // 待复审: waits for the agency's reviewer, who does not see the first vote
	Consolidating State = "consolidating" // 合议: votes are opened
	Approved      State = "approved"      // 通过: two approving votes
	Conflicted    State = "conflicted"    // 意见分歧: before the agency's lead
	AutoApproved  State = "auto-approved" // 模板通过: waits for its slot
	Releasing     State = "releasing"     // 出域中
	Released      State = "released"      // 已出域
	Expired       State = "expired"       // 已过期
	Revoked       State = "revoked"       // 已撤回
	Returned      State = "returned"      // 退回: with a public comment
	Rejected      State = "rejected"      // 不予出域
	Appealed      State = "appeal"        // 复核: before other reviewers
	Withdrawn     State = "withdrawn"     // 已撤销: by its author
	Withheld      State = "withheld"      // 不予应答: a rule or an earlier answer stands against it
)

// Move (审核流转) is what moves a Review.
type Move string

// The moves of parties, each a signed act but the votes, which are statements of their own.
const (
	Withdraw Move = "withdraw" // 撤销
	Return   Move = "return"   // 退回
	Lift     Move = "lift"     // 撤回反对意见: the only way a refusal ends
	Approve  Move = "approve"  // 分歧裁定通过
	Reject   Move = "reject"   // 分歧裁定不予出域
	Veto     Move = "veto"     // 数源单位否决
	Appeal   Move = "appeal"   // 申请复核
	Resubmit Move = "resubmit" // 重新提交
	Revoke   Move = "revoke"   // 撤回出域
	Sample   Move = "sample"   // 抽查
	Endorse  Move = "endorse"  // 数源单位签署: of classes and grades that leave with their owner's signature only
)

// The moves of the domain and of votes.
const (
	seal     Move = "seal"
	scanned  Move = "scan"
	hit      Move = "hit"
	clears   Move = "clear"
	withhold Move = "withhold"
	queue    Move = "queue"
	auto     Move = "template"
	fails    Move = "fail"
	first    Move = "first-vote"
	second   Move = "second-vote"
	agree    Move = "agree"
	split    Move = "split"
	refuse   Move = "refuse"
	release  Move = "release"
	sent     Move = "sent"
	lapse    Move = "lapse"
	expire   Move = "expire"
	spend    Move = "spend" // its downloads are used up
)

// Machine (出域审核状态机) gives the review's state machine: which role may cause which move in which state.
var Machine = sync.OnceValues(func() (*workflow.Machine[State, Move], error) {
	author := []sandbox.Role{sandbox.Operator, sandbox.Partner}
	others := []sandbox.Role{sandbox.Unit, sandbox.Operator, sandbox.Partner, sandbox.Auditor}
	agency, unit, system := []sandbox.Role{sandbox.Agency}, []sandbox.Role{sandbox.Unit}, []sandbox.Role{workflow.System}
	edges := []workflow.Edge[State, Move]{
		{From: Draft, On: seal, To: Sealed, Who: author},
		{From: Draft, On: Withdraw, To: Withdrawn, Who: author},
		{From: Sealed, On: scanned, To: Scanning, Who: system},
		{From: Scanning, On: hit, To: Quarantined, Who: system},
		{From: Scanning, On: clears, To: Cleared, Who: system},
		{From: Scanning, On: withhold, To: Withheld, Who: system},
		{From: Cleared, On: withhold, To: Withheld, Who: system},
		{From: Cleared, On: queue, To: InReview, Who: system},
		{From: Cleared, On: auto, To: AutoApproved, Who: system},
		{From: Cleared, On: fails, To: Returned, Who: system},
		{From: Quarantined, On: Return, To: Returned, Who: agency},
		{From: Quarantined, On: Reject, To: Rejected, Who: agency},
		{From: InReview, On: first, To: Partial, Who: others},
		{From: InReview, On: Return, To: Returned, Who: others},
		{From: Partial, On: second, To: Consolidating, Who: agency},
		{From: Partial, On: Return, To: Returned, Who: agency},
		{From: InReview, On: Endorse, To: InReview, Who: unit},
		{From: Partial, On: Endorse, To: Partial, Who: unit},
		{From: Appealed, On: Endorse, To: Appealed, Who: unit},
		{From: Consolidating, On: agree, To: Approved, Who: system},
		{From: Consolidating, On: split, To: Conflicted, Who: system},
		{From: Consolidating, On: refuse, To: Rejected, Who: system},
		{From: Consolidating, On: fails, To: Returned, Who: system},
		{From: Conflicted, On: Lift, To: Conflicted, Who: append(slices.Clone(others), sandbox.Agency)},
		{From: Conflicted, On: Approve, To: Approved, Who: agency},
		{From: Conflicted, On: Reject, To: Rejected, Who: agency},
		{From: Conflicted, On: Return, To: Returned, Who: agency},
		{From: Approved, On: release, To: Releasing, Who: system},
		{From: Approved, On: lapse, To: Returned, Who: system},
		{From: Approved, On: Revoke, To: Revoked, Who: agency},
		{From: AutoApproved, On: release, To: Releasing, Who: system},
		{From: AutoApproved, On: lapse, To: InReview, Who: system},
		{From: AutoApproved, On: Revoke, To: Revoked, Who: agency},
		{From: Releasing, On: sent, To: Released, Who: system},
		{From: Releasing, On: lapse, To: Returned, Who: system},
		{From: Releasing, On: expire, To: Expired, Who: system},
		{From: Released, On: Sample, To: Released, Who: agency},
		{From: Released, On: Revoke, To: Revoked, Who: agency},
		{From: Released, On: expire, To: Expired, Who: system},
		{From: Released, On: spend, To: Expired, Who: system},
		{From: Returned, On: Resubmit, To: Sealed, Who: author},
		{From: Returned, On: Withdraw, To: Withdrawn, Who: author},
		{From: Rejected, On: Appeal, To: Appealed, Who: author},
		{From: Appealed, On: first, To: Appealed, Who: others},
		{From: Appealed, On: second, To: Consolidating, Who: agency},
		{From: Appealed, On: expire, To: Rejected, Who: system},
		{From: Appealed, On: Veto, To: Rejected, Who: unit},
	}
	for _, s := range []State{Quarantined, InReview, Partial, Conflicted, Approved, AutoApproved, Returned} {
		edges = append(edges, workflow.Edge[State, Move]{From: s, On: Veto, To: Rejected, Who: unit}, workflow.Edge[State, Move]{From: s, On: expire, To: Expired, Who: system})
	}
	return workflow.NewMachine("egress: review", []State{Draft, Sealed, Scanning, Quarantined, Cleared, InReview, Partial, Consolidating, Approved, Conflicted, AutoApproved,
		Releasing, Released, Expired, Revoked, Returned, Rejected, Appealed, Withdrawn, Withheld}, edges)
})

// Open says whether the review still takes votes.
func (s State) Open() bool { return s == InReview || s == Partial || s == Appealed }

// Shown says whether outgoing bytes of a review in this state have been before reviewers or the recipient.
func (s State) Shown() bool {
	return s != Draft && s != Sealed && s != Scanning && s != Quarantined && s != Cleared && s != Withheld
}
