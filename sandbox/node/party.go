package node

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// subjectRecord binds a person's identity to the pseudonym their rows carry. It never leaves the core.
type subjectRecord struct {
	Identity  sandbox.IdentityID
	Kind      catalog.SubjectKind
	Pseudonym sandbox.Pseudonym
}

// sealedSubject is what SubjectEnrolment.SealedID holds.
type sealedSubject struct {
	Kind catalog.SubjectKind `json:"kind"`
	ID   string              `json:"id"`
}

// Contexts under which callers seal small secrets to the domain's encryption key.
const (
	contextSubjectID  = "opdomain/subject-id/v1"
	contextClaim      = "opdomain/claim/v1"
	contextClaimQuery = "opdomain/claim-query/v1"
)

// Domain describes the domain to anyone.
func (n *Node) Domain(ctx context.Context) (api.DomainInfo, error) {
	cp, err := n.Checkpoint(ctx)
	if err != nil {
		return api.DomainInfo{}, err
	}
	return api.DomainInfo{Domain: n.desc.Domain, Hosting: n.desc.Hosting, District: n.desc.District, Identity: domainIdentity,
		SignKey: n.keys.SigningKey().Public().Bytes(), EncryptKey: n.keys.DecryptKey().Public().Bytes(), Checkpoint: cp, Policy: n.policyVersion()}, nil
}

// Seen records a nonce durably and refuses its second use.
func (n *Node) Seen(ctx context.Context, id sandbox.IdentityID, nonce string, expires time.Time) error {
	return n.store.Seen(ctx, id, nonce, expires, n.now())
}

// EnrolParty admits an organisation with its identities.
func (n *Node) EnrolParty(ctx context.Context, c api.Caller, e api.Enrolment) error {
	if e.Party.Role == sandbox.Subject {
		return &sandbox.Error{Op: "enrol", Kind: sandbox.Invalid, Object: string(e.Party.ID), Detail: "a person is enrolled as a subject, with a sealed identifier"}
	}
	if e.Party.Role == sandbox.Agency {
		return &sandbox.Error{Op: "enrol", Kind: sandbox.Denied, Object: string(e.Party.ID), Detail: "a domain has one agency, the one it was founded with: its vote is the second of two"}
	}
	return n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error { return n.enrol(ctx, tx, e) })
}

func (n *Node) enrol(ctx context.Context, tx *change, e api.Enrolment) error {
	bad := func(object, rule string) error {
		return &sandbox.Error{Op: "enrol", Kind: sandbox.Invalid, Object: object, Detail: rule}
	}
	if err := sandbox.CheckID("party", string(e.Party.ID)); err != nil {
		return err
	}
	if !e.Party.Role.Valid() || e.Party.Name == "" || len(e.Party.Name) > 256 {
		return bad(string(e.Party.ID), "a party has a known role and a name of 1 to 256 bytes")
	}
	if len(e.Identities) == 0 || len(e.Identities) > 64 {
		return bad(string(e.Party.ID), "1 to 64 identities")
	}
	switch err := n.docs.parties.Insert(ctx, string(e.Party.ID), string(e.Party.ID), string(e.Party.Role), e.Party); {
	case errors.Is(err, sandbox.Conflict):
		return &sandbox.Error{Op: "enrol", Kind: sandbox.Conflict, Object: string(e.Party.ID), Detail: "a party is enrolled once, with all its identities", Hint: "take another name"}
	case err != nil:
		return err
	}
	for _, i := range e.Identities {
		if err := sandbox.CheckID("identity", string(i.ID)); err != nil {
			return err
		}
		if i.ID == domainIdentity || i.Party != e.Party.ID || i.Duty != sandbox.Officer && i.Duty != sandbox.Reviewer {
			return bad(string(i.ID), "an identity belongs to the party enrolled with it and is an officer or a reviewer")
		}
		if _, err := sm.ParseVerifyKey(i.SignKey); err != nil {
			return bad(string(i.ID), "the signing key is an SM2 point on the curve, 65 bytes")
		}
		if _, err := sm.ParseEncryptKey(i.EncryptKey); err != nil {
			return bad(string(i.ID), "the encryption key is an SM2 point on the curve, 65 bytes")
		}
		if slices.Equal(i.SignKey, i.EncryptKey) {
			return bad(string(i.ID), "signing and encryption keys are separate")
		}
		switch err := n.docs.identities.Insert(ctx, string(i.ID), string(i.Party), string(i.Duty), i); {
		case errors.Is(err, sandbox.Conflict):
			return &sandbox.Error{Op: "enrol", Kind: sandbox.Conflict, Object: string(i.ID), Detail: "an identity is enrolled once, one that was shut out too", Hint: "take another name"}
		case err != nil:
			return err
		}
	}
	tx.record(attest.PartyEnrolled, "party/"+string(e.Party.ID), attest.PartyEnrolledBody{Party: e.Party, Identities: e.Identities}, agency, publicOf(e.Party))
	return nil
}

// EnrolSubject binds a person's key to the pseudonym of the identifier sealed in the request. The identifier is opened,
// turned into a pseudonym and forgotten. 依据: enrolment by the agency, never by the operator.
func (n *Node) EnrolSubject(ctx context.Context, c api.Caller, e api.SubjectEnrolment) error {
	plain, err := n.keys.DecryptKey().OpenMessage(contextSubjectID, e.SealedID)
	if err != nil {
		return &sandbox.Error{Op: "enrol subject", Kind: sandbox.Invalid, Object: string(e.Identity.ID), Detail: "sealed_id is sealed to the domain's encryption key"}
	}
	var s sealedSubject
	if err := strictJSON(plain, &s); err != nil {
		return &sandbox.Error{Op: "enrol subject", Kind: sandbox.Invalid, Object: string(e.Identity.ID), Detail: "the sealed identifier is {kind, id}"}
	}
	p, ok := n.subjects.Pseudonym(s.Kind, s.ID)
	if !ok {
		return &sandbox.Error{Op: "enrol subject", Kind: sandbox.Invalid, Object: string(e.Identity.ID), Detail: "the identifier follows the rule of its kind"}
	}
	if e.Party.Role != sandbox.Subject {
		return &sandbox.Error{Op: "enrol subject", Kind: sandbox.Invalid, Object: string(e.Party.ID), Detail: "the party of a person has the role subject"}
	}
	e.Party.Name = "数据主体" // whatever the request says: a person's name has no place here
	return n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		if err := n.enrol(ctx, tx, api.Enrolment{Party: e.Party, Identities: []sandbox.Identity{e.Identity}}); err != nil {
			return err
		}
		if err := n.docs.subjects.Insert(ctx, string(e.Identity.ID), string(e.Party.ID), "bound", subjectRecord{e.Identity.ID, s.Kind, p}); err != nil {
			return err
		}
		tx.record(attest.SubjectEnrolled, "identity/"+string(e.Identity.ID), attest.SubjectEnrolledBody{Identity: e.Identity.ID}, agency, toParty(e.Party.ID))
		return nil
	})
}
