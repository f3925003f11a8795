package node

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/mpc/push"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
)

// maxValid bounds how long a plan may be approved and joined.
const maxValid = 366 * 24 * time.Hour

// maxOutside bounds a table outside in rows. Of more than 4096 no join is made, whose tables have 2^14 together, but an inquiry.
const maxOutside = maxShared

// Check says whether questions can be computed so by any domain: Invalid, naming the field and the rule. What depends on the domain, its datasets
// and its officers is checked when it opens.
func (s *Shares) Check() error {
	bad := func(field, rule string) error {
		return &sandbox.Error{Op: "shares", Kind: sandbox.Invalid, Object: field, Detail: rule}
	}
	switch {
	case s.Reach == nil || s.SubjectKey == nil:
		return bad("reach", "links to the zones and the owners' keys")
	case len(s.Outside) == 0:
		return bad("outside", "one dataset at least that a zone holds or a unit pushes")
	case s.Valid < time.Second || s.Valid > maxValid:
		return bad("valid_seconds", "a second to 366 days")
	}
	for _, z := range s.Zones {
		if z.Owner == s.Self.Owner {
			return bad("zone "+string(z.ID)+" owner", "another than the domain's")
		}
	}
	taken := [][]byte{s.Self.Key, s.Self.OwnerKey, s.Zones[0].Key, s.Zones[0].OwnerKey, s.Zones[1].Key, s.Zones[1].OwnerKey}
	for id, b := range s.Outside {
		at := "outside " + string(id)
		switch {
		case b.Zone == "" && slices.ContainsFunc(taken, func(k []byte) bool { return bytes.Equal(k, b.Unit) && len(k) > 0 }):
			return bad(at+" unit_key", "a key of its unit's own: this is a party's, or its owner's")
		case sandbox.CheckID("dataset", string(id)) != nil:
			return bad("outside", "datasets by their identifiers")
		case b.Zone == "" && len(b.Unit) == 0 || b.Zone != "" && len(b.Unit) > 0:
			return bad(at+" zone", "the zone that keeps its rows, or unit_key, of the unit that pushes them, and not both")
		case b.Zone != "" && b.Zone != s.Zones[0].ID && b.Zone != s.Zones[1].ID:
			return bad(at+" zone", "one of the two zones")
		case b.Zone == "" && !onCurve(b.Unit):
			return bad(at+" unit_key", "a point of the SM2 curve")
		case b.Version < 1:
			return bad(at+" version", "from 1, as its owner counts")
		case !slices.Contains(mpc.Buckets, b.Rows) || b.Rows > maxOutside:
			return bad(at+" rows", "a registered size: 1024, 4096, 16384, 65536, 262144 or 1048576")
		}
	}
	return s.trial(s.Self)
}

func onCurve(point []byte) bool {
	_, err := sm.ParseVerifyKey(point)
	return err == nil
}

// trial holds the parties to what a plan of theirs is held to. The domain's own keys are known to the domain alone.
func (s *Shares) trial(self mpc.Party) error {
	for i, k := range []*[]byte{&self.Key, &self.OwnerKey} {
		if len(*k) > 0 {
			continue
		}
		stand, err := sm.NewSigningKey(bytes.NewReader(bytes.Repeat([]byte{byte(i + 1)}, 256)))
		if err != nil {
			return err
		}
		*k = stand.Public().Bytes()
	}
	p := mpc.Plan{Version: 1, Job: "trial", Question: hex.EncodeToString(make([]byte, sm.Size)), Adversary: s.Adversary, Generator: s.Generator, Operators: join.Operators(),
		Parties: append([]mpc.Party{self}, s.Zones[:]...), Outputs: []mpc.Output{{Name: join.OutShown, Rows: 1, Recipient: self.ID}}, Expires: time.Unix(1<<30, 0).UTC(), Seconds: s.Seconds}
	var e *sandbox.Error
	if errors.As(p.Check(), &e) {
		return &sandbox.Error{Op: "shares", Kind: e.Kind, Object: e.Object, Detail: e.Detail}
	}
	return nil
}

// checkShares holds the configuration to the domain that opens with it.
func (n *Node) checkShares(ctx context.Context) error {
	s := n.cfg.Shares
	if s == nil {
		return nil
	}
	bad := func(kind sandbox.Kind, field, rule, hint string) error {
		return &sandbox.Error{Op: "shares", Kind: kind, Object: field, Detail: rule, Hint: hint}
	}
	if err := s.Check(); err != nil {
		return err
	}
	self, err := n.sharesSelf(ctx)
	if err != nil {
		return err
	}
	if err := s.trial(self); err != nil {
		return err
	}
	for id, b := range s.Outside {
		at := "outside " + string(id)
		if b.Zone == "" && (bytes.Equal(b.Unit, self.Key) || bytes.Equal(b.Unit, self.OwnerKey)) {
			return bad(sandbox.Invalid, at+" unit_key", "a key of its unit's own: this is the domain's, or its owner's", "")
		}
		set, _, err := n.docs.datasets.Get(ctx, string(id))
		switch {
		case err != nil && sandbox.KindOf(err) != sandbox.NotFound:
			return err
		case err != nil:
			return bad(sandbox.NotFound, at, "a dataset that its unit has registered", "serve without --shares, have the unit register it, and serve again")
		case set.Version > 0:
			return bad(sandbox.Conflict, at, "its rows are in the domain's vault: a dataset is either here or outside", "have the unit register what it keeps as another dataset")
		}
		if k, err := s.SubjectKey(id); err != nil {
			return err
		} else if _, err := join.SubjectKey(k, [sm.Size]byte{}); err != nil {
			return bad(sandbox.Invalid, at+" subject_key", "32 bytes", "")
		}
	}
	return nil
}

// sharesSelf gives the domain's party with its keys: its own, and its owner's as enrolled now.
func (n *Node) sharesSelf(ctx context.Context) (mpc.Party, error) {
	self := n.cfg.Shares.Self
	owner, err := n.known(ctx, self.Owner)
	if err != nil || owner.revoked || owner.party.Role != sandbox.Agency || owner.identity.Duty != sandbox.Officer || self.Organisation != owner.party.ID {
		return self, &sandbox.Error{Op: "shares", Kind: sandbox.Invalid, Object: "domain owner", Detail: "an officer of the agency, whose party is the organisation of the domain's zone, and who is not shut out"}
	}
	self.Key, self.OwnerKey = n.keys.SigningKey().Public().Bytes(), owner.identity.SignKey
	return self, nil
}

// terms says in data, for asker, agency and owners, how a question over shares is computed. Everything follows from configuration and
// descriptions.
func terms(p mpc.Plan, form *sharedForm) *api.SharesTerms {
	out := &api.SharesTerms{Form: form.name(), Model: string(p.Adversary), Collusion: p.Collusion(), Expires: p.Expires, Seconds: p.Seconds}
	if form.line != nil {
		if set, held, _, ok := form.line.Pushes(); ok {
			if k, err := sm.ParseVerifyKey(held.Unit); err == nil {
				out.Pushes, out.UnitKey = set.ID, k.Fingerprint()
			}
		}
	}
	learns := form.learns(p.Recipient())
	for i, x := range p.Parties {
		out.Parties = append(out.Parties, api.SharesParty{Party: x.ID, Role: x.Role, Organisation: x.Organisation, Owner: x.Owner, Learns: learns[i]})
	}
	for _, l := range p.Leakage() {
		if l.Opened != "" {
			out.Leakage = append(out.Leakage, fmt.Sprintf("%s: %s", l.Op, l.Opened))
		}
	}
	return out
}

// sharedTerms are those of a planned question.
func (r *sharedRecord) terms() (*api.SharesTerms, error) {
	p, err := mpc.ParsePlan(r.Plan)
	if err != nil {
		return nil, err
	}
	form, err := parseForm(r.Question)
	if err != nil {
		return nil, err
	}
	return terms(p, form), nil
}

// wouldShare are the terms of a question that would be planned now.
func (n *Node) wouldShare(ctx context.Context, form *sharedForm) (*api.SharesTerms, error) {
	self, err := n.sharesSelf(ctx)
	if err != nil {
		return nil, err
	}
	s := n.cfg.Shares
	p := mpc.Plan{Adversary: s.Adversary, Generator: s.Generator, Parties: append([]mpc.Party{self}, s.Zones[:]...), Seconds: s.Seconds}
	form.fill(&p, self.ID)
	return terms(p, form), nil
}

// Stages of a planned question, as the agency sees them.
const (
	stagePlanned = "planned" // 待批准: its parties may approve and join
	stageExpired = "expired" // 已过期: nobody joined in time; asked again it is planned anew
	stageRunning = "running" // 计算中: the domain takes part now
	stageStopped = "stopped" // 已中断: the domain joined and its end is not on record; run again, or at the next start, it is withheld
)

// SharedJob gives the agency a planned question's job; see api.Sharer.
func (n *Node) SharedJob(ctx context.Context, c api.Caller, id sandbox.QuestionID) (api.SharesJob, error) {
	q, err := n.planned(ctx, c, id)
	if err != nil {
		return api.SharesJob{}, err
	}
	t, err := q.Shared.terms()
	if err != nil {
		return api.SharesJob{}, err
	}
	out := api.SharesJob{Question: id, Plan: q.Shared.Plan, Asked: q.Shared.Question, Digest: q.Shared.Digest, Stage: stagePlanned, Terms: *t}
	p, err := mpc.ParsePlan(q.Shared.Plan)
	if err != nil {
		return api.SharesJob{}, err
	}
	want, err := n.pushWanted(q, p)
	if err != nil {
		return api.SharesJob{}, err
	}
	if want != nil {
		if q.Shared.Pushed != nil {
			out.Pushed = q.Shared.Pushed.Digest
		}
		card, err := push.Card(n.cfg.Rand, n.keys.SigningKey(), p.Parties[0].ID, n.keys.DecryptKey().Public())
		if err != nil {
			return api.SharesJob{}, err
		}
		if out.Card, err = json.Marshal(card); err != nil {
			return api.SharesJob{}, err
		}
	}
	used, err := n.store.Counter(ctx, joinedOf(p.Job))
	switch {
	case err != nil:
		return api.SharesJob{}, err
	case n.sharing.runs(id):
		out.Stage = stageRunning
	case used > 0:
		out.Stage = stageStopped
	case !n.now().Before(p.Expires):
		out.Stage = stageExpired
	}
	return out, nil
}

// explainShares says how a question over shares would be computed, and refuses it where its table could not be compared with that of an
// earlier run: before it is charged, since what was erased is known to everybody.
func (n *Node) explainShares(ctx context.Context, f policy.Facts, d query.Derivation, decision sandbox.Decision) (sandbox.Decision, *api.SharesTerms, error) {
	if !decision.Allow || f.Engine != sandbox.MPC || decision.Class != sandbox.ClassA || !d.Complete() {
		return decision, nil, nil
	}
	form, why := n.sharesForm(f, d)
	if len(why) > 0 {
		return decision, nil, nil // refused already
	}
	refuse := func(r sandbox.Reason) (sandbox.Decision, *api.SharesTerms, error) {
		decision.Allow, decision.Reasons = false, append(decision.Reasons, r)
		return decision, nil, nil
	}
	var inputs []sandbox.InputVersion
	for _, in := range d.Inputs {
		v := sandbox.InputVersion{Dataset: in.Dataset, Version: in.Version}
		if n.outside(in.Dataset) || v.Version == 0 {
			v.Version = f.Datasets[in.Dataset].Version
		}
		inputs = append(inputs, v)
	}
	crossed, err := n.beside(ctx, form, d.Spec, inputs, f.Asker.ID, "")
	if err != nil {
		return decision, nil, err
	}
	if crossed != nil {
		return refuse(*crossed)
	}
	earlier, err := n.joinedShares(ctx, "")
	if err != nil {
		return decision, nil, err
	}
	for _, in := range n.mine(form, inputs) {
		for _, r := range earlier {
			for _, v := range r.Inputs {
				if v.Dataset != in.dataset.ID || v.Version == in.version {
					continue
				}
				err := n.standing(ctx, []sandbox.InputVersion{v})
				if err == nil {
					continue
				}
				if !errors.Is(err, sandbox.Expired) {
					return decision, nil, err
				}
				return refuse(sandbox.Reason{Code: codeSharesErased, Column: string(v.Dataset), Article: articleShares,
					Rule:   fmt.Sprintf("a run over shares is compared with every earlier one of the same table, and version %d, which one was over, was erased", v.Version),
					Change: "ask over another dataset: this one is not compared any more, so that it answers nothing more over shares"})
			}
		}
	}
	t, err := n.wouldShare(ctx, form)
	return decision, t, err
}
