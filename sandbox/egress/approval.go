package egress

import (
	"bytes"
	"slices"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/consent"
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

// Approval gives the authority of two approving votes. What Cast checked of each vote is held against the review once
// more: a review comes back from where it was kept.
func (r Review) Approval(now time.Time) (Approval, error) {
	r = r.At(now)
	ok := r.State == Approved && len(r.Votes) == 2 && bytes.Equal(Digest(r.Result), r.Digest)
	for _, v := range r.Votes {
		ok = ok && v.Approve && r.about(v.Vote) && v.By != "" && v.Party != "" && v.By != r.Author && v.By != r.Recipient
	}
	if !ok || r.Votes[0].By == r.Votes[1].By || r.Votes[0].Party == r.Votes[1].Party {
		return Approval{}, &sandbox.Error{Op: "egress: approve", Kind: sandbox.Denied, Object: string(r.Question), Detail: "two approving votes, the second the agency's, before it expires"}
	}
	return Approval{question: r.Question, class: sandbox.ClassA, recipient: r.Recipient, digest: string(r.Digest), expires: r.Expires, policy: r.Policy}, nil
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
