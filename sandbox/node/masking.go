package node

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// maskingRecord is the plan by which records of a dataset are shown to roles.
type maskingRecord struct {
	Plan      *desensitize.Plan     `json:"plan"`
	Signature desensitize.Signature `json:"signature"`
	At        time.Time             `json:"at"`
}

func (r maskingRecord) seen(d sandbox.DatasetID) api.Masking {
	digest := r.Plan.Digest()
	return api.Masking{Dataset: d, Plan: r.Plan.ID, Version: r.Plan.Version, Digest: digest[:], Signer: r.Signature.Signer, At: r.At, Roles: rolesOf(r.Plan)}
}

func rolesOf(p *desensitize.Plan) []sandbox.Role {
	out := []sandbox.Role{}
	for _, r := range p.Roles {
		out = append(out, r.Role)
	}
	return out
}

// masking compiles a plan's roles for those who read under a scenario.
func (n *Node) masking(p *desensitize.Plan, set catalog.Dataset, scenario sandbox.ScenarioID, reader sandbox.PartyID) (*desensitize.Masking, sandbox.Decision) {
	m, d := desensitize.CompileRoles(p, set, desensitize.Options{Keys: scopedKeys{n.viewKey, scenario, reader}, Seed: n.viewKey})
	if !d.Allow {
		return nil, d
	}
	for _, r := range p.Roles {
		if !m.For(r.Role).Rowwise() {
			return nil, sandbox.Decision{Reasons: []sandbox.Reason{{Code: "masking.whole", Rule: fmt.Sprintf("role %s: a record is shown by itself, without the others of its table", r.Role), Article: gradeRule,
				Change: "use no noise, pram, micro or shuffle in a role's steps"}}}
		}
	}
	return m, d
}

// SetMasking takes the plan by whose roles records are shown from now on; see api.Viewer. Where there is none a record is shown as
// the consent and the list of its scenario say, and a plan can but narrow that.
func (n *Node) SetMasking(ctx context.Context, c api.Caller, id sandbox.DatasetID, r api.MaskingRequest) (api.MaskingOutcome, error) {
	p, s, err := signedPlan(r.Plan, r.Signature)
	if err != nil {
		return api.MaskingOutcome{}, err
	}
	signature, err := json.Marshal(s)
	if err != nil {
		return api.MaskingOutcome{}, &sandbox.Error{Op: "masking", Kind: sandbox.Internal, Object: string(id), Err: err}
	}
	var out api.MaskingOutcome
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		out = api.MaskingOutcome{}
		set, _, err := n.docs.datasets.Get(ctx, string(id))
		if err == nil && set.Unit != c.Party.ID {
			err = notRegistered(id)
		}
		if err == nil {
			err = n.planSigned(ctx, set.Unit, p, s)
		}
		if err != nil {
			return err
		}
		if len(p.Roles) == 0 {
			out.Decision.Reasons = []sandbox.Reason{{Code: "masking.roles", Rule: "a plan by which records are shown has roles", Article: gradeRule, Change: "say under roles what each may see"}}
			return nil
		}
		if _, out.Decision = n.masking(p, set, "any", "any"); !out.Decision.Allow {
			return nil
		}
		next := maskingRecord{Plan: p, Signature: s, At: tx.at}
		was, rev, err := n.docs.maskings.Get(ctx, string(id))
		switch {
		case errors.Is(err, sandbox.NotFound):
			err = n.docs.maskings.Insert(ctx, string(id), string(set.Unit), "set", next)
		case err != nil:
		case was.Plan.ID == p.ID && was.Plan.Version >= p.Version:
			err = &sandbox.Error{Op: "masking", Kind: sandbox.Conflict, Object: string(id), Detail: fmt.Sprintf("version %d of this plan is in force: versions rise", was.Plan.Version), Hint: "give the changed plan the next version, and sign it"}
		default:
			_, err = n.docs.maskings.Update(ctx, string(id), rev, string(set.Unit), "set", next)
		}
		if err != nil {
			return err
		}
		seen := next.seen(id)
		out.Masking = &seen
		tx.record(attest.MaskingSet, "dataset/"+string(id), attest.MaskingSetBody{Dataset: id, Plan: p.ID, PlanVersion: p.Version, PlanDigest: seen.Digest, Signer: s.Signer, PlanSignature: signature, Roles: seen.Roles}, agency, everyone)
		return nil
	})
	return out, err
}

// Masking gives the plan in force; see api.Viewer.
func (n *Node) Masking(ctx context.Context, c api.Caller, id sandbox.DatasetID) (api.Masking, error) {
	set, _, err := n.docs.datasets.Get(ctx, string(id))
	if err == nil && set.Unit != c.Party.ID && !supervises(c.Party) {
		err = notRegistered(id)
	}
	if err != nil {
		return api.Masking{}, err
	}
	r, _, err := n.docs.maskings.Get(ctx, string(id))
	if errors.Is(err, sandbox.NotFound) {
		err = &sandbox.Error{Op: "masking", Kind: sandbox.NotFound, Object: string(id), Detail: "no plan says what roles see of this dataset", Hint: "records are shown as their consent and scenario say"}
	}
	if err != nil {
		return api.Masking{}, err
	}
	return r.seen(id), nil
}

// shownTo gives what the caller's role sees of fields of a record, and the digest of the plan that says so; nil where there is none.
// A plan that no longer fits its dataset shows nothing: the cause is given.
func (n *Node) shownTo(ctx context.Context, c api.Caller, set catalog.Dataset, scenario sandbox.ScenarioID, fields []string) (pipe *desensitize.Pipeline, digest []byte, cause string, err error) {
	r, _, err := n.docs.maskings.Get(ctx, string(set.ID))
	if errors.Is(err, sandbox.NotFound) {
		return nil, nil, "", nil
	}
	if err != nil {
		return nil, nil, "", err
	}
	m, d := n.masking(r.Plan, set, scenario, c.Party.ID)
	if !d.Allow {
		return nil, nil, "masking.unfit", nil
	}
	sum := r.Plan.Digest()
	return m.For(c.Party.Role).Only(fields), sum[:], "", nil
}

// stillShown says whether a plan is the one in force, or none is.
func (n *Node) stillShown(ctx context.Context, id sandbox.DatasetID, digest []byte) (bool, error) {
	r, _, err := n.docs.maskings.Get(ctx, string(id))
	if errors.Is(err, sandbox.NotFound) {
		return digest == nil, nil
	}
	if err != nil {
		return false, err
	}
	sum := r.Plan.Digest()
	return bytes.Equal(sum[:], digest), nil
}
