package egress

import (
	"bytes"
	"encoding/json"
	"errors"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
	"github.com/opdomain/opdomain/sandbox/workflow"
)

// Review (出域审核单) is one answer before its reviewers. Votes stay hidden until both are cast. Methods give the review as it is after a
// move and leave the one they are called on as it was; on an error nothing has moved.
type Review struct {
	Question    sandbox.QuestionID  `json:"question"`
	Class       sandbox.Class       `json:"class"`
	Author      sandbox.IdentityID  `json:"author"`
	Recipient   sandbox.IdentityID  `json:"recipient"`
	Datasets    []sandbox.DatasetID `json:"datasets"`
	State       State               `json:"state"`
	Round       int                 `json:"round,omitempty"` // 0 the first; a resubmission or an appeal begins the next
	Submitted   time.Time           `json:"submitted"`
	Expires     time.Time           `json:"expires"`
	Policy      string              `json:"policy"`
	Result      []byte              `json:"result,omitempty"` // outgoing bytes
	Digest      []byte              `json:"digest,omitempty"`
	Params      Params              `json:"params,omitzero"` // what the cells were held to
	Rules       []string            `json:"rules,omitempty"`
	Cells       []CellEvidence      `json:"cells,omitempty"`
	Hidden      *Suppression        `json:"hidden,omitempty"`     // how cells that break a rule are protected
	Flags       []Flag              `json:"flags,omitempty"`      // what a person must look at: a standing template does not release it
	MilliBits   scan.MilliBits      `json:"milli_bits,omitempty"` // that the values may tell, at most
	Finding     *Finding            `json:"finding,omitempty"`
	Hits        []scan.Hit          `json:"hits,omitempty"`        // of a quarantined one: rule and place
	Uncertified string              `json:"uncertified,omitempty"` // what of earlier answers was not searched: a standing template does not release it
	Cause       string              `json:"cause,omitempty"`       // why it was withheld, for owners and reviewers
	Votes       []Vote              `json:"votes,omitempty"`       // of this round

	Items    []ItemResult      `json:"items,omitempty"`    // what the class's checklist found, where the class has a Product
	Evidence json.RawMessage   `json:"evidence,omitempty"` // of the class, for the agency and the owners
	Owners   []sandbox.PartyID `json:"owners,omitempty"`   // whose signature it takes beside the votes

	Past        []Vote               `json:"past,omitempty"`    // of earlier rounds
	Acts        []Act                `json:"acts,omitempty"`    // what was done beside voting, oldest first
	Comment     string               `json:"comment,omitempty"` // of the last return, which the author reads
	Notice      string               `json:"notice,omitempty"`  // of a revocation, which the recipient reads
	AppealTerm  time.Duration        `json:"appeal_term,omitempty"`
	AppealUntil time.Time            `json:"appeal_until,omitzero"`
	Appealed    bool                 `json:"appealed,omitempty"`
	Barred      []sandbox.IdentityID `json:"barred,omitempty"` // who voted before the appeal
	Vetoed      bool                 `json:"vetoed,omitempty"`
	Template    sandbox.TemplateID   `json:"template,omitempty"` // it is released under
	Use         int                  `json:"use,omitempty"`
	Slot        time.Time            `json:"slot,omitzero"` // not sent before
	Sampled     bool                 `json:"sampled,omitempty"`

	from  State // before the moves that are not recorded yet
	steps []attest.ReviewStep
	salt  []byte // with them
}

// Vote (审批票) is one counted vote. Lifted is a refusal that who gave it has lifted.
type Vote struct {
	attest.Vote
	By     sandbox.IdentityID `json:"by"`
	Party  sandbox.PartyID    `json:"party"`
	Lifted bool               `json:"lifted,omitempty"`
}

func (v Vote) yes() bool { return v.Approve || v.Lifted }

// Act (审核处置) is what somebody did to a review beside voting.
type Act struct {
	Move   Move               `json:"move"`
	From   State              `json:"from"`
	Round  int                `json:"round,omitempty"`
	By     sandbox.IdentityID `json:"by"`
	Party  sandbox.PartyID    `json:"party"`
	Reason string             `json:"reason,omitempty"`
	At     time.Time          `json:"at"`
}

// String keeps evidence out of logs.
func (r Review) String() string { return "review " + string(r.Question) + "(redacted)" }

// GoString keeps evidence out of %#v.
func (r Review) GoString() string { return r.String() }

// Submission (提交) is what a Review starts from, or starts anew.
type Submission struct {
	Question          sandbox.QuestionID
	Class             sandbox.Class // zero: A
	Author, Recipient sandbox.IdentityID
	Role              sandbox.Role // of the author's party; zero: operator
	Datasets          []sandbox.DatasetID
	Policy            string
	Params            Params
	Now, Expires      time.Time
	Uncertified       string            // why not all combinations with earlier answers were searched; empty: they were
	Appeal            time.Duration     // how long after a rejection its author may appeal; 0: no appeal
	Template          *Template         // that may release it without votes
	Sampled           bool              // if it does, whether it is reviewed afterwards
	Asked             TemplateUse       // what the template is held to
	Salt              []byte            // of the question's digest in the evidence, where the template names the question
	Of                *Review           // a returned review that was resubmitted
	Owners            []sandbox.PartyID // units whose signature over the result it takes
}

// Submit seals what the gate of a class made for review: from here on votes bind to exactly these bytes. Bytes that are not those the
// gate wrote are withheld, and so is a class that this domain does not produce, or whose checklist is not held in every item.
func Submit(s Submission, o Outgoing) Review {
	p := o.outgoing()
	if cause := p.unfit(s); cause != "" {
		r := Withhold(s, nil, nil, cause)
		r.Items, r.Evidence = p.items, p.evidence
		return r
	}
	r, ok := s.review()
	ok = ok && r.walk(scanned, clears)
	if s.Template != nil && p.suppressed == 0 && len(p.flags) == 0 && s.Uncertified == "" && s.Template.Admits(s.Asked, r, s.Now) == nil {
		ok = ok && r.walk(auto)
		r.Template, r.Use, r.Sampled = s.Template.ID, s.Template.Used+1, s.Sampled
		r.Slot, r.salt = s.Template.next(s.Now), s.Salt
	} else {
		ok = ok && r.walk(queue)
	}
	if !ok {
		return Withhold(s, nil, nil, "not submitted by one who may ask")
	}
	r.Result, r.Digest, r.Rules, r.Cells, r.Hidden = p.result, p.digest, p.rules, p.cells, p.hidden
	r.Items, r.Evidence, r.Owners = p.items, p.evidence, s.Owners
	r.Uncertified, r.Flags, r.MilliBits = s.Uncertified, p.flags, p.bits
	return r
}

// Withhold records an answer that is not given, with its full reason for owners and reviewers. c is nil when no answer
// came to be checked.
func Withhold(s Submission, c *Checked, f *Finding, cause string) Review {
	r, ok := s.review()
	ok = ok && r.walk(scanned)
	if c != nil {
		ok = ok && r.walk(clears)
		r.Rules, r.Cells, r.Hidden, r.Flags, r.MilliBits = c.Rules, c.Cells, c.Suppression, c.Flags, c.MilliBits
	}
	if !ok || !r.walk(withhold) {
		r.State, r.steps = Withheld, nil
	}
	r.Finding, r.Cause = f, cause
	return r
}

// Isolate records an answer with a label that reads like an identifier: nobody but the agency's officers touches it.
func Isolate(s Submission, err error) Review {
	cause, hits := err.Error(), []scan.Hit(nil)
	if q := (*Quarantine)(nil); errors.As(err, &q) {
		hits = q.Hits
	}
	r, ok := s.review()
	if !ok || !r.walk(scanned, hit) {
		return Withhold(s, nil, nil, cause)
	}
	r.Cause, r.Hits = cause, hits
	return r
}

// review gives a sealed review. ok is false when the author is none who may ask.
func (s Submission) review() (r Review, ok bool) {
	if s.Of != nil {
		r = *s.Of
		r.Policy, r.Params, r.Submitted, r.Expires = s.Policy, s.Params, s.Now, s.Expires
		r.Result, r.Digest, r.Rules, r.Cells, r.Hidden, r.Finding, r.Cause, r.Uncertified = nil, nil, nil, nil, nil, nil, "", ""
		r.Flags, r.MilliBits, r.Hits = nil, 0, nil
		r.Items, r.Evidence, r.Owners = nil, nil, nil
		return r, r.State == Sealed
	}
	r = Review{Question: s.Question, Class: s.Class, Author: s.Author, Recipient: s.Recipient, Datasets: s.Datasets, State: Draft, Submitted: s.Now, Expires: s.Expires, Policy: s.Policy,
		Params: s.Params, AppealTerm: s.Appeal}
	if r.Class == "" {
		r.Class = sandbox.ClassA
	}
	role := s.Role
	if role == "" {
		role = sandbox.Operator
	}
	return r, r.step(seal, role) == nil
}

// HardHit (硬命中) says whether Check withheld an answer for what its content reads like: it is quarantined.
func HardHit(err error) bool {
	var q *Quarantine
	return errors.As(err, &q)
}

// step makes one move, or none and says why.
func (r *Review) step(on Move, by sandbox.Role) error {
	m, err := Machine()
	if err != nil {
		return err
	}
	to, err := m.Next(r.State, on, by)
	if err != nil {
		return err
	}
	if len(r.steps) == 0 {
		r.from = r.State
	}
	r.steps = append(slices.Clone(r.steps), attest.ReviewStep{On: string(on), To: string(to), By: by})
	r.State = to
	return nil
}

// walk makes moves of the domain's own.
func (r *Review) walk(moves ...Move) bool {
	for _, on := range moves {
		if r.step(on, workflow.System) != nil {
			return false
		}
	}
	return true
}

// Moved gives the moves since the review was last recorded, as the evidence holds them, and the review that has none left.
func (r Review) Moved() (attest.ReviewMovedBody, Review, bool) {
	b := attest.ReviewMovedBody{Question: r.Question, Round: r.Round, From: string(r.from), Moves: r.steps, Expires: r.Expires}
	if r.Template != "" {
		b.Template, b.Use, b.Sampled, b.Salt = r.Template, r.Use, r.Sampled, r.salt
	}
	some := len(r.steps) > 0
	r.from, r.steps, r.salt = "", nil, nil
	return b, r, some
}

// Electorate (审核关系) is who a vote or an act is judged against.
type Electorate struct {
	Voter             sandbox.Identity
	VoterParty        sandbox.Party
	Author, Recipient sandbox.Party
	Owners            []sandbox.PartyID // units whose data stand behind the answer
}

// known says what is missing to judge anybody against anybody.
func (e Electorate) known() string {
	switch {
	case e.Voter.ID == "" || e.VoterParty.ID == "" || e.Voter.Party != e.VoterParty.ID:
		return "it is done by an enrolled identity"
	case e.Author.ID == "" || e.Recipient.ID == "":
		return "a vote is judged against the parties of author and recipient"
	}
	return ""
}

func (e Electorate) affiliated() bool {
	return sandbox.Affiliated(e.VoterParty, e.Author) || sandbox.Affiliated(e.VoterParty, e.Recipient)
}

// Cast counts a vote. Checks, in order: a reviewer's identity; nobody affiliated with author or recipient; the vote is
// about this result, class, round, recipient, expiry and policy; not expired; nobody votes twice and no organisation twice; the agency
// votes second and nobody else does; a refusal gives its reason; an appeal is judged by others than those who voted before. The
// second vote opens both: they agree, or they are in conflict before the agency's lead.
func (r Review) Cast(v attest.Vote, e Electorate, now time.Time) (Review, error) {
	was := r
	fail := func(k sandbox.Kind, rule, hint string) (Review, error) {
		return was, &sandbox.Error{Op: "egress: vote", Kind: k, Object: string(r.Question), Detail: rule, Hint: hint}
	}
	switch {
	case e.Voter.ID == "" || e.Voter.Duty != sandbox.Reviewer || e.VoterParty.ID == "" || e.Voter.Party != e.VoterParty.ID:
		return fail(sandbox.Denied, "votes are cast by an identity with the duty reviewer", "")
	case e.known() != "":
		return fail(sandbox.Denied, e.known(), "")
	case e.affiliated() || e.Voter.ID == r.Author || e.Voter.ID == r.Recipient:
		return fail(sandbox.Denied, "nobody affiliated with the author or the recipient reviews", "have another organisation review")
	case !r.about(v):
		return fail(sandbox.Conflict, "the vote is not about this result, class, round, recipient, expiry and policy", "read the review again and vote on what it shows")
	case !now.Before(r.Expires):
		return fail(sandbox.Expired, "the result was not decided in time", "have it asked again")
	case v.At.After(now.Add(time.Minute)) || v.At.Before(r.Submitted.Add(-time.Minute)):
		return fail(sandbox.Invalid, "a vote is dated between submission and now", "check the clock")
	case slices.ContainsFunc(r.Votes, func(x Vote) bool { return x.By == e.Voter.ID || x.Party == e.VoterParty.ID }):
		return fail(sandbox.Conflict, "this organisation has voted", "the second vote is another organisation's")
	case slices.Contains(r.Barred, e.Voter.ID):
		return fail(sandbox.Denied, "an appeal is judged by others than those who voted before", "have another reviewer of the organisation vote")
	case len(v.Reason) > 4096 || !v.Approve && v.Reason == "":
		return fail(sandbox.Invalid, "a refusal gives its reason, in at most 4096 bytes", "")
	}
	on := first
	if r.State == Partial || r.State == Appealed && len(r.Votes) == 1 {
		on = second
	}
	if on == second && e.VoterParty.Role == sandbox.Agency && len(r.Unsigned()) > 0 {
		return fail(sandbox.Conflict, "the owner signs it before the agency votes", "have an officer of the owning unit sign: egress endorse")
	}
	if err := r.step(on, e.VoterParty.Role); err != nil {
		if on == first && e.VoterParty.Role == sandbox.Agency && r.State.Open() {
			return fail(sandbox.Conflict, "the agency votes second", "wait for the first reviewer")
		}
		return was, err
	}
	r.Votes = append(slices.Clone(r.Votes), Vote{Vote: v, By: e.Voter.ID, Party: e.VoterParty.ID})
	if on == first {
		return r, nil
	}
	outcome := split
	if r.Votes[0].Approve == r.Votes[1].Approve {
		outcome = refuse
		if v.Approve {
			outcome = agree
		}
	}
	if err := r.step(outcome, workflow.System); err != nil {
		return was, err
	}
	r.closed(now)
	return r, nil
}

// closed opens the time for an appeal once a review is rejected.
func (r *Review) closed(now time.Time) {
	if r.State == Rejected && !r.Vetoed && !r.Appealed && r.AppealTerm > 0 {
		r.AppealUntil = now.Add(r.AppealTerm)
	}
}

// about says whether a vote is bound to exactly this result, class, round, recipient, expiry and policy.
func (r Review) about(v attest.Vote) bool {
	return v.Question == r.Question && v.Class == r.Class && v.Round == r.Round && bytes.Equal(v.Result, r.Digest) && v.Recipient == r.Recipient && v.Expires.Equal(r.Expires) && v.Policy == r.Policy
}

// Step gives the number of votes cast in this round: 1 after the first.
func (r Review) Step() int { return len(r.Votes) }

// Opened says whether the votes of this round may be shown: both are in, or nobody is asked for one any more.
func (r Review) Opened() bool { return !r.State.Open() }

// At gives the review as it stands at a time: undecided past its expiry is expired, an appeal falls back.
func (r Review) At(now time.Time) Review {
	if now.Before(r.Expires) {
		return r
	}
	next := r
	if next.step(expire, workflow.System) != nil {
		return r
	}
	return next
}

// Spend ends a release whose downloads are used up: it is not handed out any more.
func (r Review) Spend() (Review, error) {
	next := r
	if err := next.step(spend, workflow.System); err != nil {
		return r, err
	}
	return next, nil
}

// Sent marks a review whose result is on its way as released.
func (r Review) Sent() (Review, error) {
	next := r
	if err := next.step(sent, workflow.System); err != nil {
		return r, err
	}
	return next, nil
}
