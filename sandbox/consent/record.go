package consent

import (
	"fmt"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Bounds of one receipt.
const (
	MaxFields  = 64
	DigestSize = sm.Size // bytes of the claim commitment and of the notice digest
	SaltSize   = 16      // fewest bytes of a claim's salt
	MaxClaim   = 64      // most bytes of a claim number
	Skew       = time.Minute
)

// State (授权状态) is what the person last said.
type State string

const (
	Given   State = "given"   // 已授权
	Revoked State = "revoked" // 已撤回
)

// Record (个人授权记录) is one consent as the domain keeps it.
type Record struct {
	Receipt attest.Receipt `json:"receipt"`
	State   State          `json:"state"`
	Uses    int            `json:"uses"` // answers delivered under it
	Given   time.Time      `json:"given"`
	Revoked time.Time      `json:"revoked,omitzero"`
}

// Limits (授权限度) are the district's bounds on receipts.
type Limits struct {
	MaxDays int      // longest term, in days of 24 hours
	MaxUses int      // most uses
	Methods []string // accepted ways of signing
}

// Commitment (报案号承诺) binds a receipt to one claim without naming it: SM3 of the framed words "claim", salt and claim
// number. The salt is at least 16 random bytes, else a short claim number could be guessed from it.
func Commitment(salt, claim []byte) ([]byte, error) {
	if len(salt) < SaltSize || len(salt) > 64 || len(claim) == 0 || len(claim) > MaxClaim {
		return nil, &sandbox.Error{Op: "consent: commit", Kind: sandbox.Invalid, Object: "claim",
			Detail: fmt.Sprintf("a salt of %d to 64 bytes and a claim number of 1 to %d", SaltSize, MaxClaim)}
	}
	return attest.ClaimCommitment(salt, string(claim)), nil
}

// Give takes a receipt signed by its subject. unit is the owner of the dataset. The error names the field and the rule.
func Give(r attest.Receipt, by sandbox.Identity, unit sandbox.PartyID, lim Limits, now time.Time) (Record, error) {
	bad := func(field, rule string) (Record, error) {
		return Record{}, &sandbox.Error{Op: "consent: give", Kind: sandbox.Invalid, Object: field, Detail: rule}
	}
	if r.Subject != by.ID {
		return Record{}, &sandbox.Error{Op: "consent: give", Kind: sandbox.Denied, Object: string(by.ID), Detail: "a person consents for itself only"}
	}
	for _, x := range []struct{ what, id string }{
		{"consent", string(r.ID)}, {"grantee", string(r.Grantee)}, {"unit", string(r.Unit)}, {"scenario", string(r.Scenario)},
		{"purpose", r.Purpose}, {"dataset", string(r.Dataset)}, {"notice version", r.NoticeVersion}, {"method", r.Method},
	} {
		if err := sandbox.CheckID(x.what, x.id); err != nil {
			return Record{}, err
		}
	}
	switch {
	case r.Unit != unit:
		return bad("unit", "the receipt names the owner of the dataset")
	case len(r.Fields) == 0 || len(r.Fields) > MaxFields:
		return bad("fields", fmt.Sprintf("1 to %d fields, each shown to the person", MaxFields))
	case len(r.Claim) != DigestSize:
		return bad("claim", "a consent is for one claim, by its commitment of 32 bytes")
	case len(r.Notice) != DigestSize:
		return bad("notice", "a consent names the notice that was shown, by its digest of 32 bytes")
	case r.Language == "" || len(r.Language) > 16:
		return bad("language", "a consent names the language that was shown")
	case !slices.Contains(lim.Methods, r.Method):
		return bad("method", "a way of signing the district accepts")
	case !r.NotBefore.Before(r.NotAfter):
		return bad("not_after", "the term ends after it begins")
	case r.NotAfter.Sub(r.NotBefore) > time.Duration(lim.MaxDays)*24*time.Hour:
		return bad("not_after", fmt.Sprintf("a term of at most %d days", lim.MaxDays))
	case !now.Before(r.NotAfter):
		return bad("not_after", "the term is over already")
	case r.MaxUses < 1 || r.MaxUses > lim.MaxUses:
		return bad("max_uses", fmt.Sprintf("1 to %d uses", lim.MaxUses))
	case r.At.After(now.Add(Skew)) || r.At.Before(now.Add(-24*time.Hour)):
		return bad("at", "signed within the last day, not in the future")
	}
	for i, f := range r.Fields {
		if err := sandbox.CheckID("fields", f); err != nil {
			return Record{}, err
		}
		if slices.Contains(r.Fields[:i], f) {
			return bad("fields", "each field stands once")
		}
	}
	r.Fields, r.Claim, r.Notice = slices.Clone(r.Fields), slices.Clone(r.Claim), slices.Clone(r.Notice)
	return Record{Receipt: r, State: Given, Given: now}, nil
}

// Revoke takes the person's revocation; it counts from now, whatever its own date says. A second one is Conflict.
func Revoke(r Record, v attest.Revocation, by sandbox.Identity, now time.Time) (Record, error) {
	fail := func(k sandbox.Kind, detail string) (Record, error) {
		return r, &sandbox.Error{Op: "consent: revoke", Kind: k, Object: string(r.Receipt.ID), Detail: detail}
	}
	switch {
	case r.Receipt.Subject != by.ID:
		return fail(sandbox.Denied, "only the person who gave a consent revokes it")
	case v.Consent != r.Receipt.ID:
		return fail(sandbox.Conflict, "the revocation is about another consent")
	case v.At.After(now.Add(Skew)):
		return fail(sandbox.Invalid, "the revocation is dated in the future")
	case r.State != Given:
		return fail(sandbox.Conflict, "it is revoked already")
	}
	r.State, r.Revoked = Revoked, now
	return r, nil
}

// Use counts one delivery. The caller stores the new record in the transaction that delivers; a consent that is not
// given, not in its term or used up is not usable, whatever was checked before.
func Use(r Record, now time.Time) (Record, error) {
	if reason, ok := usable(r, now); !ok {
		kind := sandbox.Conflict
		if reason.Code == CodeExpired {
			kind = sandbox.Expired
		}
		return r, &sandbox.Error{Op: "consent: use", Kind: kind, Object: string(r.Receipt.ID), Detail: reason.Rule}
	}
	r.Uses++
	return r, nil
}
