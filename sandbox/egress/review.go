package egress

import (
	"bytes"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/workflow"
)

// State (审核状态) is where a Review stands.
type State string

const (
	InReview State = "in-review" // 待初审: waits for a reviewer who is not of the agency
	Partial  State = "partial"   // 待复审: waits for the agency's reviewer
	Approved State = "approved"  // 通过: two approving votes
	Released State = "released"  // 已出域
	Refused  State = "refused"   // 不予出域: one refusal is a veto
	Withheld State = "withheld"  // 不予应答: the gate found a difference to an earlier answer
	Expired  State = "expired"   // 已过期: not released in time
)

// event is what moves a Review.
type event string

const (
	first   event = "first-approval"
	second  event = "second-approval"
	refuse  event = "refusal"
	release event = "release"
	expire  event = "expiry"
)

// flow is the review's state machine. Source: the gate's state table, narrowed to class A without standing templates.
func flow() (*workflow.Machine[State, event], error) {
	agency, others := []sandbox.Role{sandbox.Agency}, []sandbox.Role{sandbox.Unit, sandbox.Operator, sandbox.Partner, sandbox.Auditor}
	system := []sandbox.Role{workflow.System}
	return workflow.NewMachine("egress: review",
		[]State{InReview, Partial, Approved, Released, Refused, Expired},
		[]workflow.Edge[State, event]{
			{From: InReview, On: first, To: Partial, Who: others},
			{From: InReview, On: refuse, To: Refused, Who: others},
			{From: InReview, On: expire, To: Expired, Who: system},
			{From: Partial, On: second, To: Approved, Who: agency},
			{From: Partial, On: refuse, To: Refused, Who: agency},
			{From: Partial, On: expire, To: Expired, Who: system},
			{From: Approved, On: release, To: Released, Who: system},
			{From: Approved, On: expire, To: Expired, Who: system},
		})
}

// Review (出域审核单) is one answer before its reviewers. Votes stay hidden until both are cast.
type Review struct {
	Question    sandbox.QuestionID  `json:"question"`
	Author      sandbox.IdentityID  `json:"author"`
	Recipient   sandbox.IdentityID  `json:"recipient"`
	Datasets    []sandbox.DatasetID `json:"datasets"`
	State       State               `json:"state"`
	Submitted   time.Time           `json:"submitted"`
	Expires     time.Time           `json:"expires"`
	Policy      string              `json:"policy"`
	Result      []byte              `json:"result,omitempty"` // outgoing bytes
	Digest      []byte              `json:"digest,omitempty"`
	Params      Params              `json:"params,omitzero"` // what the cells were held to
	Rules       []string            `json:"rules,omitempty"`
	Cells       []CellEvidence      `json:"cells,omitempty"`
	Hidden      *Suppression        `json:"hidden,omitempty"` // how cells that break a rule are protected
	Finding     *Finding            `json:"finding,omitempty"`
	Uncertified string              `json:"uncertified,omitempty"` // what of earlier answers was not searched: a standing template does not release it
	Cause       string              `json:"cause,omitempty"`       // why it was withheld, for owners and reviewers
	Votes       []Vote              `json:"votes,omitempty"`
}

// Vote (审批票) is one counted vote.
type Vote struct {
	attest.Vote
	By    sandbox.IdentityID `json:"by"`
	Party sandbox.PartyID    `json:"party"`
}

// String keeps evidence out of logs.
func (r Review) String() string { return "review " + string(r.Question) + "(redacted)" }

// GoString keeps evidence out of %#v.
func (r Review) GoString() string { return r.String() }

// Submission (提交) is what a Review starts from.
type Submission struct {
	Question          sandbox.QuestionID
	Author, Recipient sandbox.IdentityID
	Datasets          []sandbox.DatasetID
	Policy            string
	Params            Params
	Now, Expires      time.Time
	Uncertified       string // why not all combinations with earlier answers were searched; empty: they were
}

// Submit seals a checked answer for review: from here on votes bind to exactly these bytes. Bytes that are not those Check
// wrote are withheld.
func Submit(s Submission, c *Checked) Review {
	if !bytes.Equal(Digest(c.Result), c.digest) {
		return Withhold(s, nil, nil, "not the bytes the gate wrote")
	}
	r := s.review(InReview)
	r.Result, r.Digest, r.Rules, r.Cells, r.Hidden = c.Result, c.digest, c.Rules, c.Cells, c.Suppression
	return r
}

// Withhold records an answer that is not given, with its full reason for owners and reviewers. c is nil when no answer
// came to be checked.
func Withhold(s Submission, c *Checked, f *Finding, cause string) Review {
	r := s.review(Withheld)
	r.Finding, r.Cause = f, cause
	if c != nil {
		r.Rules, r.Cells, r.Hidden = c.Rules, c.Cells, c.Suppression
	}
	return r
}

func (s Submission) review(state State) Review {
	return Review{Question: s.Question, Author: s.Author, Recipient: s.Recipient, Datasets: s.Datasets, State: state, Submitted: s.Now, Expires: s.Expires, Policy: s.Policy, Params: s.Params, Uncertified: s.Uncertified}
}

// Electorate (审核关系) is who a vote is judged against.
type Electorate struct {
	Voter             sandbox.Identity
	VoterParty        sandbox.Party
	Author, Recipient sandbox.Party
}

// Cast counts a vote. Checks, in order: a reviewer's identity; nobody affiliated with author or recipient; the vote is
// about this result, recipient, expiry and policy; not expired; nobody votes twice and no organisation twice; the agency
// votes second and nobody else does; a refusal gives its reason.
func (r Review) Cast(v attest.Vote, e Electorate, now time.Time) (Review, error) {
	fail := func(k sandbox.Kind, rule, hint string) (Review, error) {
		return r, &sandbox.Error{Op: "egress: vote", Kind: k, Object: string(r.Question), Detail: rule, Hint: hint}
	}
	switch {
	case e.Voter.ID == "" || e.Voter.Duty != sandbox.Reviewer || e.VoterParty.ID == "" || e.Voter.Party != e.VoterParty.ID:
		return fail(sandbox.Denied, "votes are cast by an identity with the duty reviewer", "")
	case e.Author.ID == "" || e.Recipient.ID == "":
		return fail(sandbox.Denied, "a vote is judged against the parties of author and recipient", "")
	case sandbox.Affiliated(e.VoterParty, e.Author) || sandbox.Affiliated(e.VoterParty, e.Recipient):
		return fail(sandbox.Denied, "nobody affiliated with the author or the recipient reviews", "have another organisation review")
	case !r.about(v):
		return fail(sandbox.Conflict, "the vote is not about this result, recipient, expiry and policy", "read the review again and vote on what it shows")
	case !now.Before(r.Expires):
		return fail(sandbox.Expired, "the result was not decided in time", "have it asked again")
	case v.At.After(now.Add(time.Minute)) || v.At.Before(r.Submitted.Add(-time.Minute)):
		return fail(sandbox.Invalid, "a vote is dated between submission and now", "check the clock")
	case slices.ContainsFunc(r.Votes, func(x Vote) bool { return x.By == e.Voter.ID || x.Party == e.VoterParty.ID }):
		return fail(sandbox.Conflict, "this organisation has voted", "the second vote is another organisation's")
	case len(v.Reason) > 4096 || !v.Approve && v.Reason == "":
		return fail(sandbox.Invalid, "a refusal gives its reason, in at most 4096 bytes", "")
	}
	m, err := flow()
	if err != nil {
		return r, err
	}
	on := refuse
	if v.Approve {
		on = first
		if r.State == Partial {
			on = second
		}
	}
	to, err := m.Next(r.State, on, e.VoterParty.Role)
	if err != nil {
		if r.State == InReview && e.VoterParty.Role == sandbox.Agency {
			return fail(sandbox.Conflict, "the agency votes second", "wait for the first reviewer")
		}
		return r, err
	}
	r.State = to
	r.Votes = append(slices.Clone(r.Votes), Vote{Vote: v, By: e.Voter.ID, Party: e.VoterParty.ID})
	return r, nil
}

// about says whether a vote is bound to exactly this result, recipient, expiry and policy.
func (r Review) about(v attest.Vote) bool {
	return v.Question == r.Question && bytes.Equal(v.Result, r.Digest) && v.Recipient == r.Recipient && v.Expires.Equal(r.Expires) && v.Policy == r.Policy
}

// Step gives the number of votes cast: 1 after the first.
func (r Review) Step() int { return len(r.Votes) }

// At gives the review as it stands at a time: undecided past its expiry is expired.
func (r Review) At(now time.Time) Review {
	if !now.Before(r.Expires) {
		if m, err := flow(); err == nil {
			if to, err := m.Next(r.State, expire, workflow.System); err == nil {
				r.State = to
			}
		}
	}
	return r
}

// Sent marks an approved review as released.
func (r Review) Sent() (Review, error) {
	m, err := flow()
	if err != nil {
		return r, err
	}
	r.State, err = m.Next(r.State, release, workflow.System)
	return r, err
}

// Pack (审核证据包) is what the agency and the owners see beside the outgoing bytes.
type Pack struct {
	Summary     string         `json:"summary"`
	Params      Params         `json:"params,omitzero"` // thresholds in force: the district's, and the owners' where stricter
	Rules       []string       `json:"rules"`
	Cells       []CellEvidence `json:"cells"`
	Hidden      *Suppression   `json:"hidden,omitempty"`
	Finding     *Finding       `json:"finding,omitempty"`
	Cause       string         `json:"cause,omitempty"`
	Uncertified string         `json:"uncertified,omitempty"` // which combinations of earlier answers were not searched
}

// Pack gives the evidence of a review as JSON with a summary in Chinese and English.
func (r Review) Pack() ([]byte, error) {
	hidden := 0
	for _, c := range r.Cells {
		if c.Suppressed {
			hidden++
		}
	}
	p := Pack{Params: r.Params, Rules: r.Rules, Cells: r.Cells, Hidden: r.Hidden, Finding: r.Finding, Cause: r.Cause, Uncertified: r.Uncertified,
		Summary: fmt.Sprintf("共 %d 个单元格，隐藏 %d 个 · %d cells, %d suppressed", len(r.Cells), hidden, len(r.Cells), hidden)}
	if h := r.Hidden; h != nil && h.Whole != "" {
		p.Summary += "；整表隐藏 · suppressed whole"
	} else if h != nil {
		p.Summary += fmt.Sprintf("，其中 %d 个为保护其他单元格 · of them %d to protect others", h.Cells, h.Cells)
	}
	if r.Finding != nil {
		p.Summary += fmt.Sprintf("；与 %s 相差 %d 人，不予应答 · differs from %s on %d people: withheld", r.Finding.Earlier, r.Finding.People, r.Finding.Earlier, r.Finding.People)
	}
	return json.Marshal(p)
}
