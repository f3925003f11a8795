package egress

import (
	"bytes"
	"slices"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/consent"
	"github.com/opdomain/opdomain/sandbox/workflow"
)

// Approval (出域许可) is the authority to send one result to one recipient until one time. Only this package makes one; the
// zero Approval authorises nothing.
type Approval struct {
	question  sandbox.QuestionID
	class     sandbox.Class
	recipient sandbox.IdentityID
	digest    string
	expires   time.Time
	policy    string
	consent   sandbox.ConsentID
}

// Question names what is approved.
func (a Approval) Question() sandbox.QuestionID { return a.question }

// Class gives the output class.
func (a Approval) Class() sandbox.Class { return a.class }

// Recipient names who may open it.
func (a Approval) Recipient() sandbox.IdentityID { return a.recipient }

// Expires gives when the approval ends.
func (a Approval) Expires() time.Time { return a.expires }

// Policy gives the rules it was approved under.
func (a Approval) Policy() string { return a.policy }

// Consent names the consent of class B.
func (a Approval) Consent() sandbox.ConsentID { return a.consent }

// Covers says whether the approval is good for exactly these bytes at this time.
func (a Approval) Covers(result []byte, now time.Time) bool {
	return a.question != "" && a.digest == string(Digest(result)) && now.Before(a.expires)
}

// Present (出域时点) is what holds at the moment of release.
type Present struct {
	Policy   string                        // in force
	Revoked  func(sandbox.IdentityID) bool // whose identity was revoked
	Template *Template                     // the review's, where it has one
}

// Release gives the authority to send an approved result now, and the review on its way. The policy is still the one it was
// approved under, no reviewer's identity was revoked since the vote, a template is still live and its slot has come. Asked again
// before it was sent, it gives the same authority.
func (r Review) Release(now time.Time, p Present) (Review, Approval, error) {
	was := r
	fail := func(k sandbox.Kind, rule, hint string) (Review, Approval, error) {
		return was, Approval{}, &sandbox.Error{Op: "egress: release", Kind: k, Object: string(r.Question), Detail: rule, Hint: hint}
	}
	r = r.At(now)
	switch {
	case r.State != Approved && r.State != AutoApproved && r.State != Releasing:
		return fail(sandbox.Denied, "two approving votes, or a standing template, before it expires", "")
	case p.Policy != r.Policy:
		return fail(sandbox.Conflict, "the policy has changed since it was checked", "have its author resubmit it")
	case p.Revoked == nil:
		return fail(sandbox.Denied, "reviewers' identities are checked at release", "")
	case slices.ContainsFunc(r.Votes, func(v Vote) bool { return p.Revoked(v.By) }):
		return fail(sandbox.Denied, "a reviewer's identity was revoked between vote and release", "return it: other reviewers vote on it")
	case slices.ContainsFunc(r.Acts, func(x Act) bool { return x.Move == Endorse && x.Round == r.Round && p.Revoked(x.By) }):
		return fail(sandbox.Denied, "the identity that signed for the owner was revoked between signature and release", "return it: another officer of the unit signs it")
	}
	if r.Template != "" {
		if p.Template == nil || p.Template.ID != r.Template {
			return fail(sandbox.Denied, "its template is not at hand", "")
		}
		if err := p.Template.live(r.Policy, now); err != nil {
			return was, Approval{}, err
		}
		if now.Before(r.Slot) {
			return fail(sandbox.Conflict, "its slot has not come", "")
		}
	}
	a, err := r.approval(now)
	if err != nil {
		return was, Approval{}, err
	}
	if r.State != Releasing {
		if err := r.step(release, workflow.System); err != nil {
			return was, Approval{}, err
		}
	}
	return r, a, nil
}

// Standing gives the authority that a result was released under, where it still holds: it was not revoked, what it was approved under is in force,
// nobody who approved it was shut out since, and it has not expired.
func (r Review) Standing(now time.Time, p Present) (Approval, error) {
	fail := func(k sandbox.Kind, rule string) (Approval, error) {
		return Approval{}, &sandbox.Error{Op: "egress: standing", Kind: k, Object: string(r.Question), Detail: rule}
	}
	switch {
	case r.State != Released:
		return fail(sandbox.Denied, "a result that was released, and not revoked")
	case !now.Before(r.Expires):
		return fail(sandbox.Expired, "its approval has not expired")
	case p.Policy != r.Policy:
		return fail(sandbox.Conflict, "the policy is the one that it was checked under")
	case p.Revoked == nil || slices.ContainsFunc(r.Votes, func(v Vote) bool { return p.Revoked(v.By) }) ||
		slices.ContainsFunc(r.Acts, func(x Act) bool { return x.Move == Endorse && x.Round == r.Round && p.Revoked(x.By) }):
		return fail(sandbox.Denied, "nobody who approved it was shut out since")
	}
	r.State = Releasing // as it was when it left
	return r.approval(now)
}

// approval gives the authority of two approving votes, or of a template. What Cast checked of each vote is held against the review
// once more: a review comes back from where it was kept.
func (r Review) approval(now time.Time) (Approval, error) {
	r = r.At(now)
	ok := (r.State == Approved || r.State == AutoApproved || r.State == Releasing) && bytes.Equal(Digest(r.Result), r.Digest)
	if q, err := Read(r.Class, r.Result); err != nil || q != r.Question {
		ok = false // not what the gate writes, whatever the digest says
	}
	ok = ok && len(r.Unsigned()) == 0
	if r.Template != "" {
		ok = ok && len(r.Votes) == 0 && r.Use > 0 && r.Class == sandbox.ClassA
	} else {
		ok = ok && r.State != AutoApproved && len(r.Votes) == 2
		for _, v := range r.Votes {
			ok = ok && v.yes() && r.about(v.Vote) && v.By != "" && v.Party != "" && v.By != r.Author && v.By != r.Recipient
		}
		ok = ok && r.Votes[0].By != r.Votes[1].By && r.Votes[0].Party != r.Votes[1].Party
	}
	list, err := ChecklistOf(r.Class)
	if r.Class != sandbox.ClassA && ok && err == nil {
		ok = list.checked(r.Items) == ""
	}
	if !ok || err != nil || !list.Produced {
		return Approval{}, &sandbox.Error{Op: "egress: approve", Kind: sandbox.Denied, Object: string(r.Question), Detail: "two approving votes, the second the agency's, or a standing template, before it expires"}
	}
	return Approval{question: r.Question, class: r.Class, recipient: r.Recipient, digest: string(r.Digest), expires: r.Expires, policy: r.Policy}, nil
}

// FromConsent gives the authority of a live consent for class B. The consent is checked again here, at the moment of
// release, against exactly what is being sent.
func FromConsent(rec consent.Record, check consent.ClaimCheck, question sandbox.QuestionID, recipient sandbox.Identity, result []byte, expires time.Time, policy string) (Approval, error) {
	refused := &sandbox.Error{Op: "egress: approve", Kind: sandbox.Denied, Object: string(question), Detail: "a live consent for this person, claim, purpose and fields"}
	if _, ok := consent.Check(rec, check); !ok || recipient.ID == "" || recipient.Party != check.Grantee {
		return Approval{}, refused
	}
	out, err := DecodeRecord(result)
	if err != nil || out.Question != question || !slices.Equal(out.Fields, check.Fields) {
		return Approval{}, refused
	}
	return Approval{question: question, class: sandbox.ClassB, recipient: recipient.ID, digest: string(Digest(result)), expires: expires, policy: policy, consent: rec.Receipt.ID}, nil
}
