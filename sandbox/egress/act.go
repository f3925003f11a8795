package egress

import (
	"bytes"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/workflow"
)

// acts lists what parties do beside voting, and whether it needs a reason.
var acts = map[Move]bool{Withdraw: false, Return: true, Lift: false, Approve: false, Reject: true, Veto: true, Appeal: true, Resubmit: false, Revoke: true, Sample: true, Endorse: false}

// Do carries out a signed act. The act is about this review, round, state and bytes; who may, beside the machine's roles:
//
//	withdraw, resubmit, appeal   the author; an appeal once, in its term, never against an owner's veto
//	return before the votes      a reviewer who is nobody's affiliate; later, and from quarantine, the agency's lead
//	approve, reject              the lead: an officer of the agency who did not vote. No approval stands against a refusal
//	lift                         who refused
//	veto                         an officer of a unit whose data stand behind the answer
//	endorse                      an officer of a unit whose signature the result needs, once a round
//	revoke                       an officer of the agency
//	sample                       the agency, of a release that was drawn for review
func (r Review) Do(a attest.ReviewAct, e Electorate, now time.Time) (Review, error) {
	was, on := r, Move(a.Act)
	fail := func(k sandbox.Kind, rule, hint string) (Review, error) {
		return was, &sandbox.Error{Op: "egress: act", Kind: k, Object: string(was.Question), Detail: rule, Hint: hint}
	}
	needs, known := acts[on]
	if !known {
		return fail(sandbox.Invalid, "no such act", "withdraw, return, lift, approve, reject, endorse, veto, appeal, resubmit, revoke or sample")
	}
	if rule := e.known(); rule != "" {
		return fail(sandbox.Denied, rule, "")
	}
	r = r.At(now)
	switch {
	case a.Question != r.Question || a.Round != r.Round || State(a.State) != r.State || !bytes.Equal(a.Result, r.named(on)):
		return fail(sandbox.Conflict, "the act is not about this review as it stands: its state is "+string(r.State), "read the review again")
	case a.At.After(now.Add(time.Minute)) || a.At.Before(r.Submitted.Add(-time.Minute)):
		return fail(sandbox.Invalid, "an act is dated between submission and now", "check the clock")
	case len(a.Reason) > 4096 || needs && a.Reason == "":
		return fail(sandbox.Invalid, "it gives its reason, in at most 4096 bytes", "")
	}
	if kind, rule := r.may(on, e, now); rule != "" {
		return fail(kind, rule, "")
	}
	if err := r.step(on, e.VoterParty.Role); err != nil {
		return was, err
	}
	r.Acts = append(slices.Clone(r.Acts), Act{Move: on, From: was.At(now).State, Round: was.Round, By: e.Voter.ID, Party: e.VoterParty.ID, Reason: a.Reason, At: now})
	r.after(on, a, e, now)
	return r, nil
}

// named is the digest an act is about. The author, who has not seen the result, names none: the digest of a small one is guessed.
func (r Review) named(on Move) []byte {
	if on == Withdraw || on == Resubmit || on == Appeal {
		return nil
	}
	return r.Digest
}

// may names the rule that stands against an act, beside the roles of the machine.
func (r Review) may(on Move, e Electorate, now time.Time) (sandbox.Kind, string) {
	officer := e.Voter.Duty == sandbox.Officer
	voted := func(x Vote) bool { return x.By == e.Voter.ID }
	lead := officer && e.VoterParty.Role == sandbox.Agency && !slices.ContainsFunc(r.Votes, voted) && !slices.ContainsFunc(r.Past, voted)
	switch on {
	case Withdraw, Resubmit, Appeal:
		if e.Voter.ID != r.Author {
			return sandbox.Denied, "it is its author's to do"
		}
		if on != Appeal {
			return "", ""
		}
		switch {
		case r.Vetoed:
			return sandbox.Denied, "an owner's veto is final"
		case r.Appealed:
			return sandbox.Denied, "an appeal is made once"
		case r.State == Rejected && !now.Before(r.AppealUntil):
			return sandbox.Expired, "the term of an appeal is over"
		}
	case Return:
		if r.State == InReview || r.State == Partial {
			if e.Voter.Duty != sandbox.Reviewer || e.affiliated() || slices.ContainsFunc(r.Votes, voted) {
				return sandbox.Denied, "a reviewer returns it, nobody's affiliate, who has not voted"
			}
			return "", ""
		}
		if !lead {
			return sandbox.Denied, "it is the agency's lead's to decide: an officer who did not vote"
		}
	case Reject, Approve:
		if !lead {
			return sandbox.Denied, "it is the agency's lead's to decide: an officer who did not vote"
		}
		if on == Approve && slices.ContainsFunc(r.Votes, func(v Vote) bool { return !v.yes() }) {
			return sandbox.Denied, "a refusal is a veto: only who gave it lifts it"
		}
	case Lift:
		if !slices.ContainsFunc(r.Votes, func(v Vote) bool { return voted(v) && !v.yes() }) {
			return sandbox.Denied, "a refusal is lifted by who gave it"
		}
	case Veto:
		if !officer || !slices.Contains(e.Owners, e.VoterParty.ID) {
			return sandbox.Denied, "a veto is an officer's of a unit whose data stand behind the answer"
		}
	case Endorse:
		switch {
		case !officer || !slices.Contains(r.Owners, e.VoterParty.ID) || !slices.Contains(e.Owners, e.VoterParty.ID):
			return sandbox.Denied, "an officer of a unit signs, where the result needs that unit's signature"
		case slices.ContainsFunc(r.Acts, r.endorsedBy(e.VoterParty.ID)):
			return sandbox.Conflict, "this unit has signed"
		}
	case Revoke:
		if !officer {
			return sandbox.Denied, "an officer of the agency revokes"
		}
	case Sample:
		if !r.Sampled || slices.ContainsFunc(r.Acts, func(x Act) bool { return x.Move == Sample }) {
			return sandbox.Conflict, "it was not drawn for review, or has been reviewed"
		}
	}
	return "", ""
}

// endorsedBy says of an act whether it is a unit's signature in this round.
func (r Review) endorsedBy(p sandbox.PartyID) func(Act) bool {
	return func(x Act) bool { return x.Move == Endorse && x.Round == r.Round && x.Party == p && x.By != "" }
}

// Unsigned lists the units whose signature the result still needs.
func (r Review) Unsigned() (out []sandbox.PartyID) {
	for _, p := range r.Owners {
		if !slices.ContainsFunc(r.Acts, r.endorsedBy(p)) {
			out = append(out, p)
		}
	}
	return out
}

// after is what an act leaves beside its move.
func (r *Review) after(on Move, a attest.ReviewAct, e Electorate, now time.Time) {
	switch on {
	case Return:
		r.Comment = a.Reason
	case Lift:
		r.Votes = slices.Clone(r.Votes)
		for i := range r.Votes {
			r.Votes[i].Lifted = r.Votes[i].Lifted || r.Votes[i].By == e.Voter.ID
		}
	case Veto:
		r.Vetoed = true
	case Revoke:
		r.Notice = a.Reason
	case Resubmit:
		r.anew()
	case Appeal:
		term := r.Expires.Sub(r.Submitted)
		r.anew()
		for _, v := range r.Past {
			r.Barred = append(r.Barred[:len(r.Barred):len(r.Barred)], v.By)
		}
		r.Appealed, r.Submitted, r.Expires = true, now, now.Add(term).Truncate(time.Second)
	}
	r.closed(now)
}

// anew begins another round: what was voted is past.
func (r *Review) anew() {
	r.Past = append(slices.Clone(r.Past), r.Votes...)
	r.Votes, r.Template, r.Use, r.Slot, r.Sampled = nil, "", 0, time.Time{}, false
	r.Round++
}

// Lapse takes an approval back that no longer holds at release: to its author with the reason, or, of a template, before
// reviewers.
func (r Review) Lapse(reason string) (Review, error) {
	next := r
	template := next.State == AutoApproved
	if err := next.step(lapse, workflow.System); err != nil {
		return r, err
	}
	if template {
		next.Template, next.Use, next.Slot, next.Sampled = "", 0, time.Time{}, false
	} else {
		next.Comment = reason
	}
	return next, nil
}
