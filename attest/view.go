package attest

import (
	"bytes"
	"encoding/json"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// ContextPlan is what an owner signs a plan of package desensitize under.
const ContextPlan = "opdomain/desensitize-plan/v1"

// PlanSignature (方案签名) is an owner's signature over a desensitisation plan, as the signer wrote it. What is signed is the same
// JSON with a null in the signature's place.
type PlanSignature struct {
	Plan      string             `json:"plan"`
	Version   int                `json:"version"`
	Digest    []byte             `json:"digest"` // SM3 of the plan's canonical bytes
	Signer    sandbox.IdentityID `json:"signer"`
	At        time.Time          `json:"at"`
	Signature []byte             `json:"signature"`
}

func (s PlanSignature) verify(key *sm.VerifyKey) error {
	sig := s.Signature
	s.Signature = nil
	b, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return key.Verify(ContextPlan, b, sig)
}

// viewed: of a version that was committed before, by a plan its owner signed, on a route with its proof.
func (c *checker) viewed(e Event, b ViewSealedBody) error {
	const check = "view"
	d := c.datasets[b.Source.Dataset]
	if err := all(c.shown(d != nil && d.versions[b.Source.Version], check, "of a version that was committed before"),
		c.want(len(b.PlanDigest) == sm.Size && (b.Route == "desensitised" && b.Consent == "" || b.Route == "authorised" && b.Consent != ""), check, "desensitised by a plan, or authorised by the subject's receipt as well"),
		c.want(len(b.Manifest) == sm.Size && len(b.KeyCommitment) == sm.Size && b.Rows >= 0, check, "with the digests of manifest and key"),
		c.planned(e, d, b.Plan, b.PlanVersion, b.PlanDigest, b.Signer, b.PlanSignature, check)); err != nil || b.Consent == "" {
		return err
	}
	k := c.consents[b.Consent]
	if k == nil {
		return c.shown(false, check, "on a consent that was given before")
	}
	return all(c.want(k.receipt.Dataset == b.Source.Dataset, check, "on a consent for its dataset"), c.live(e, k))
}

// masked: by a plan its owner signed, of a rising version.
func (c *checker) masked(e Event, b MaskingSetBody) error {
	const check = "masking"
	d := c.datasets[b.Dataset]
	if err := all(c.shown(d != nil, check, "of a registered dataset"), c.want(len(b.PlanDigest) == sm.Size && len(b.Roles) > 0, check, "by a plan for roles"),
		c.planned(e, d, b.Plan, b.PlanVersion, b.PlanDigest, b.Signer, b.PlanSignature, check)); err != nil || d == nil {
		return err
	}
	if err := all(c.actorOf(e.Actor, d.unit, check), c.want(b.Plan != d.plan || b.PlanVersion > d.rank, check, "versions of a plan rise")); err != nil {
		return err
	}
	d.masking, d.plan, d.rank = b.PlanDigest, b.Plan, b.PlanVersion
	return nil
}

// planned checks that an officer of the dataset's unit signed the plan, under the key it had by then.
func (c *checker) planned(e Event, d *datasetTrail, plan string, version int, digest []byte, signer sandbox.IdentityID, signature json.RawMessage, check string) error {
	var s PlanSignature
	err := strict(signature, &s)
	if err := c.want(err == nil && s.Plan == plan && s.Version == version && bytes.Equal(s.Digest, digest) && s.Signer == signer, check, "with its owner's signature over this plan"); err != nil {
		return err
	}
	who, ok := c.identities[s.Signer]
	if !ok || d == nil {
		return c.shown(false, check, "signed by an identity enrolled before")
	}
	key, err := sm.ParseVerifyKey(who.SignKey)
	if err == nil {
		err = s.verify(key)
	}
	return all(c.want(err == nil, check, "with its owner's signature over this plan"), c.dated(s.At, e),
		c.want(who.Party == d.unit && who.Duty == sandbox.Officer, check, "signed by an officer of the dataset's unit"),
		c.want(!c.shut[s.Signer], check, "signed by an identity that was not revoked"))
}
