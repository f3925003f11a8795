package session

import (
	"encoding/hex"
	"io"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Contexts of the owners' and the parties' statements.
const (
	ContextApproval = "opdomain/psi/session/approval/v1"
	ContextRecord   = "opdomain/psi/session/record/v1"
)

// maxSkew is how far an approval's issue may lie after a party's clock.
const maxSkew = 5 * time.Minute

// Approval (求交批准) is the body of an owner's statement: this party may take part in what has this digest.
type Approval struct {
	Party   sandbox.PartyID `json:"party"`
	Plan    string          `json:"plan"` // SM3 in hex
	Issued  time.Time       `json:"issued"`
	Expires time.Time       `json:"expires"`
}

// Approve signs as a party's owner; Denied where the key is not the one that the agreement names for it.
func Approve(rand io.Reader, key *sm.SigningKey, a Agreement, party sandbox.PartyID, issued, expires time.Time) (attest.Statement, error) {
	t := a.terms()
	i := t.Place(party)
	if i < 0 {
		return attest.Statement{}, invalid("party", "one of the plan's two")
	}
	if string(key.Public().Bytes()) != string(t.Parties[i].OwnerKey) {
		return attest.Statement{}, &sandbox.Error{Op: "psi: approve", Kind: sandbox.Denied, Object: string(party), Detail: "the key is the one that the plan names for the party's owner",
			Hint: "sign with the folder of " + string(t.Parties[i].Owner)}
	}
	d := Digest(a)
	return attest.Sign(rand, key, t.Parties[i].Owner, ContextApproval, Approval{party, hex.EncodeToString(d[:]), issued.UTC().Truncate(time.Second), expires.UTC().Truncate(time.Second)})
}

// approved says whether a statement is the approval of the owner at place i, now.
func approved(a Agreement, s attest.Statement, i int, now time.Time) bool {
	x := a.terms().Parties[i]
	k, err := sm.ParseVerifyKey(x.OwnerKey)
	if err != nil || s.Signer != x.Owner {
		return false
	}
	var b Approval
	if s.Open(k, ContextApproval, &b) != nil {
		return false
	}
	d := Digest(a)
	return b.Party == x.ID && b.Plan == hex.EncodeToString(d[:]) && now.Before(b.Expires) && !now.Add(maxSkew).Before(b.Issued)
}

// Decide says whether a party may begin now, before any link, by its own owner's approval.
func Decide(a Agreement, self sandbox.PartyID, s attest.Statement, now time.Time) sandbox.Decision {
	d := sandbox.Decision{Engine: sandbox.MPC}
	refuse := func(code, rule, change string) sandbox.Decision {
		d.Reasons = append(d.Reasons, sandbox.Reason{Code: code, Rule: rule, Change: change})
		return d
	}
	if err := a.Check(); err != nil {
		return refuse("psi.plan-invalid", err.Error(), "correct the plan; its digest changes, so the owners approve it anew")
	}
	i := a.terms().Place(self)
	if i < 0 {
		return refuse("psi.not-a-party", "this party is one of the plan's two", "name it in the plan")
	}
	if !now.Before(a.terms().Expires) {
		refuse("psi.plan-expired", "the plan has not expired", "a new plan with a later end")
	}
	if !approved(a, s, i, now) {
		refuse("psi.not-approved", "the owner of this party signed an unexpired approval of exactly this plan", "the owner signs the plan's digest")
	}
	d.Allow = len(d.Reasons) == 0
	return d
}
