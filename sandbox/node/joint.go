package node

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/released"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/store"
)

var _ api.Joiner = (*Node)(nil)

// jointRecord is a run of a party's secret model as the core keeps it. It has no score and no weight.
type jointRecord struct {
	Run     attest.JointRun
	Planned attest.JointPlannedBody // zero of one that was refused
	Plan    []byte                  `json:",omitempty"` // encoded
	Ended   bool                    `json:",omitempty"`
	Cause   string                  `json:",omitempty"` // by what rule of the protocol it ended
}

func (r *jointRecord) canonical() []byte {
	return sm.Frame([]byte("opdomain/joint/v1"), r.Planned.Statement.Body)
}

func jointError(kind sandbox.Kind, id sandbox.QuestionID, rule, hint string) error {
	return &sandbox.Error{Op: "joint run", Kind: kind, Object: string(id), Detail: rule, Hint: hint}
}

// Counters of runs: those begun under a grant, and the opened ones of a party over a result.
func jointsOf(g sandbox.GrantID) string { return "joints." + string(g) }

func jointOver(of sandbox.QuestionID, p sandbox.PartyID) string {
	return "joint." + string(of) + "." + string(p)
}

// jointSource is what a run may be over at this moment.
type jointSource struct {
	q        questionRecord
	approval egress.Approval
	result   egress.Result
	params   egress.Params // in force for whoever runs the model
	sc       *grant.Scenario
}

// standingResult finds a released result of a scenario that still holds. What there is not, or is and does not hold, is the same to the caller.
func (n *Node) standingResult(ctx context.Context, id sandbox.QuestionID, scenario sandbox.ScenarioID, at time.Time) (*jointSource, error) {
	if sandbox.CheckID("question", string(id)) != nil {
		return nil, nil
	}
	q, _, err := n.docs.questions.Get(ctx, string(id))
	if errors.Is(err, sandbox.NotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	if q.Spec.Scenario != scenario || q.Decision.Class != sandbox.ClassA || q.Review == nil || q.Release == "" || q.Leave != nil || q.Map != nil || q.Opaque != nil || q.Joint != nil {
		return nil, nil
	}
	present, err := n.present(ctx, &q)
	if err != nil {
		return nil, err
	}
	s := &jointSource{q: q}
	if s.approval, err = q.Review.Standing(at, present); err != nil {
		return nil, nil
	}
	if s.result, err = egress.DecodeResult(q.Review.Result); err != nil {
		return nil, nil
	}
	if err := n.standing(ctx, q.Inputs); err != nil {
		if sandbox.KindOf(err) == sandbox.Expired {
			return nil, nil
		}
		return nil, err
	}
	return s, nil
}

// decideJoint decides a run by what is kept at this moment. The source is nil where the decision is not about one.
func (n *Node) decideJoint(ctx context.Context, c api.Caller, r attest.JointRun, at time.Time) (sandbox.Decision, *jointSource, error) {
	no := func(err error) (sandbox.Decision, *jointSource, error) { return sandbox.Decision{}, nil, err }
	spec := query.Spec{Scenario: r.Scenario}
	s, err := n.standingResult(ctx, r.Of, r.Scenario, at)
	if err != nil {
		return no(err)
	}
	if s != nil {
		spec = s.q.Spec
	}
	f, sc, err := n.facts(ctx, c, spec, at)
	if err != nil {
		return no(err)
	}
	f.Engine = sandbox.HE // no raw column is opened for it
	q := policy.JointQuestion{Scenario: r.Scenario, Purpose: r.Purpose, Stands: s != nil, Groups: r.Groups, Decimals: r.Decimals}
	for _, x := range r.Features {
		q.Features = append(q.Features, x.Measure)
	}
	if sc != nil && sc.Grant != nil {
		if q.Used, err = n.store.Counter(ctx, jointsOf(sc.Grant.ID)); err != nil {
			return no(err)
		}
	}
	if s != nil {
		var d query.Derivation
		q.Source, d = n.decide(f, spec, sandbox.ClassA)
		// It is not computed again: nothing is compared with data, and no privacy is spent. Its bits are this run's own, which are decided there.
		q.Source.Reasons = slices.DeleteFunc(q.Source.Reasons, func(r sandbox.Reason) bool {
			return r.Code == policy.CodePerDay || r.Code == policy.CodePrivacy || r.Code == policy.CodeBits
		})
		q.Source.Allow = len(q.Source.Reasons) == 0 && d.Complete()
		q.Measures, s.params, s.sc = s.result.Measures, n.thresholds(d), sc
		opened, err := n.store.Counter(ctx, jointOver(r.Of, c.Party.ID))
		if err != nil {
			return no(err)
		}
		q.Opened = opened > 0
		for _, in := range s.q.Inputs {
			d, _, err := n.docs.datasets.Get(ctx, string(in.Dataset))
			if err != nil {
				return no(err)
			}
			unit, _, err := n.docs.parties.Get(ctx, string(d.Unit))
			if err != nil {
				return no(err)
			}
			q.Affiliated = q.Affiliated || sandbox.Affiliated(f.Asker, unit) || sandbox.Affiliated(unit, f.Asker)
		}
	}
	return policy.DecideJoint(f, q), s, nil
}

// groups are the averages of the source that may leave, in the order of its rows; rows says which those are.
func (s *jointSource) groups(r attest.JointRun, at time.Time) (out []he.Averages, rows []int, err error) {
	var features []string
	for _, x := range r.Features {
		features = append(features, x.Measure)
	}
	all, err := released.Approved(s.approval, s.q.Review.Result, at, features)
	if err != nil {
		return nil, nil, err
	}
	for _, g := range all {
		i := slices.IndexFunc(s.result.Rows, func(row egress.ResultRow) bool { return slices.Equal(row.Labels, g.Labels) })
		if i < 0 || s.result.Rows[i].Suppressed {
			return nil, nil, jointError(sandbox.Internal, s.q.ID, "a group is a published row of the result", "")
		}
		out, rows = append(out, g.Averages), append(rows, i)
	}
	return out, rows, nil
}

// formed refuses a statement that is none, before anything is looked up.
func formed(r attest.JointRun) error {
	bad := func(object, rule string) error {
		return &sandbox.Error{Op: "joint run", Kind: sandbox.Invalid, Object: object, Detail: rule}
	}
	for _, id := range []struct{ what, id string }{{"scenario", string(r.Scenario)}, {"purpose", r.Purpose}, {"result", string(r.Of)}} {
		if err := sandbox.CheckID(id.what, id.id); err != nil {
			return err
		}
	}
	if len(r.Commitment) != sm.Size {
		return bad("commitment", "HMAC-SM3 of the model, 32 bytes")
	}
	if len(r.Features) > he.MaxFeatures {
		return bad("features", fmt.Sprintf("at most %d", he.MaxFeatures))
	}
	for i, x := range r.Features {
		if len(x.Measure) == 0 || len(x.Measure) > 128 {
			return bad(fmt.Sprintf("feature %d", i+1), "names a measure of the result")
		}
		if !(x.Range > 0) || math.IsInf(x.Range, 0) {
			return bad(fmt.Sprintf("feature %d", i+1), "has a finite range above zero")
		}
	}
	return nil
}

// ExplainJoint decides a run and says who would see what.
func (n *Node) ExplainJoint(ctx context.Context, c api.Caller, r attest.JointRun) (api.JointExplanation, error) {
	if err := formed(r); err != nil {
		return api.JointExplanation{}, err
	}
	decision, s, err := n.decideJoint(ctx, c, r, n.now())
	if err != nil {
		return api.JointExplanation{}, err
	}
	out := api.JointExplanation{Decision: decision}
	var text strings.Builder
	for _, why := range decision.Reasons {
		fmt.Fprintf(&text, "refused %s: %s (%s)\n  smallest change: %s\n", why.Code, why.Rule, why.Article, why.Change)
	}
	if s != nil && decision.Allow {
		text.WriteString(seenBy(r, s.q.Review.Recipient, s.sc.PartnerRuns, n.profile.Bits.PerQuestion.Value))
	}
	out.Text = text.String()
	return out, nil
}

// seenBy says who sees what of a run. It rests on what was agreed on and stated alone.
func seenBy(r attest.JointRun, recipient sandbox.IdentityID, runs, bits int64) string {
	var names []string
	for _, x := range r.Features {
		names = append(names, x.Measure)
	}
	levels := int64(2*he.Span)*int64(math.Pow10(r.Decimals)) + 1
	return fmt.Sprintf(`a secret model over %d averages (%s) of the result of %s, %d ciphertexts, %d decimals 保密模型运行
you 模型方        ciphertexts that open with the gate only; no average, and not how many groups there are. Once people released them, one of %d scores a group,
                  which is made of averages that were approved to leave for %s; before that, whether the gate could read the scores and
                  let them go to reviewers: not where no group has every feature, or more groups have them than you answer
domain, agency and owning units 域与实施机构、数源单位
                  features, ranges, the commitment, scores; they have the averages. %d scores of averages that differ determine a model of %d weights and a bias up to
                  the scores' decimals, for whoever else has both too, and a domain that deviates may encrypt what it likes in each of the %d ciphertexts
other reviewers 其他审核方   the scores as they would leave, and rule names
others 其他人       nothing; evidence names features, ranges, groups and the commitment, no weight and no score
counts 计数        one of %d runs of the grant, %d of its bits, one question; also where the run is aborted. A party has one opened run over a result
`, len(names), strings.Join(names, ", "), r.Of, r.Groups, r.Decimals, levels, recipient, len(names)+1, len(names), r.Groups, runs, bits)
}

// AskJoint decides a signed run, counts, charges and meters it, and draws the gate's part of the key. What is begun counts, however it ends.
func (n *Node) AskJoint(ctx context.Context, c api.Caller, st attest.Statement) (api.Joint, error) {
	var r attest.JointRun
	if err := signed(c, st, attest.ContextJointRun, &r); err != nil {
		return api.Joint{}, err
	}
	if err := formed(r); err != nil {
		return api.Joint{}, err
	}
	x, begin, out, err := n.beginJoint(ctx, c, r, st)
	if x == nil {
		return out, err
	}
	defer n.joints.settled(x)
	x.take(context.WithoutCancel(ctx), begin)
	return n.jointSeen(c, x.q), nil
}

// beginJoint decides a run and puts it on record. There is none where the decision is a refusal.
func (n *Node) beginJoint(ctx context.Context, c api.Caller, r attest.JointRun, st attest.Statement) (x *jointRun, begin func() error, out api.Joint, err error) {
	n.asking.Lock()
	defer n.asking.Unlock()
	no := func(err error) (*jointRun, func() error, api.Joint, error) { return nil, nil, api.Joint{}, err }
	at := n.now()
	id := sm.HMAC(n.questionKey, sm.Frame([]byte("joint"), []byte(c.Identity.ID), st.Body))
	q := questionRecord{ID: sandbox.QuestionID("q-" + hex.EncodeToString(id[:10])), Asker: c.Identity.ID, Party: c.Party.ID, Spec: query.Spec{Scenario: r.Scenario, Purpose: r.Purpose},
		Asked: at, State: stateRefused, Joint: &jointRecord{Run: r, Planned: attest.JointPlannedBody{Statement: st}}}
	if _, _, err := n.docs.questions.Get(ctx, string(q.ID)); err == nil {
		return no(jointError(sandbox.Conflict, q.ID, "a statement begins one run", "sign another: opdomain he partner run"))
	} else if !errors.Is(err, sandbox.NotFound) {
		return no(err)
	}
	if r.At.After(at.Add(grant.Skew)) || r.At.Before(at.Add(-time.Hour)) {
		return no(jointError(sandbox.Invalid, q.ID, "a statement is dated within the last hour", "check the clock, and sign it again"))
	}
	var s *jointSource
	if q.Decision, s, err = n.decideJoint(ctx, c, r, at); err != nil {
		return no(err)
	}
	if !q.Decision.Allow {
		refused, err := n.refuse(ctx, c, q)
		out = n.jointSeen(c, q)
		out.Question = refused
		return nil, nil, out, err
	}
	plan, err := n.jointPlan(c, q, st)
	if err != nil {
		return no(err)
	}
	if q.Joint.Plan, err = plan.Encode(); err != nil {
		return no(err)
	}
	if err := n.sums.admit(q.ID, plan.Peak(), n.cfg.Sums); err != nil {
		return no(err)
	}
	engine, stop, posture, err := n.engines() // where none starts, nothing is counted and nothing is on record
	if err != nil {
		n.sums.release(q.ID)
		return no(err)
	}
	digest := plan.Digest()
	q.Inputs, q.Joint.Planned = s.q.Inputs, attest.JointPlannedBody{Question: q.ID, Statement: st, Plan: digest[:], Engine: posture[:], Runs: s.sc.PartnerRuns}
	if err := n.acceptJoint(ctx, c, s.sc, &q); err != nil {
		stop()
		n.sums.release(q.ID)
		return no(err)
	}
	x = &jointRun{n: n, c: c, q: q, plan: plan, stop: stop, params: s.params, stepping: true, taken: map[he.Kind][sm.Size]byte{}, held: map[he.Kind][]byte{}}
	n.joints.put(x)
	return x, func() error { return x.begin(context.WithoutCancel(ctx), engine) }, api.Joint{}, nil
}

// jointPlan makes the plan of a run over enrolled keys.
func (n *Node) jointPlan(c api.Caller, q questionRecord, st attest.Statement) (*he.JointPlan, error) {
	r := q.Joint.Run
	p := &he.JointPlan{Run: he.JointRunOf(n.desc.Domain, q.ID, st.Body), Groups: r.Groups, Commitment: [sm.Size]byte(r.Commitment),
		Gate:    he.Member{ID: he.GateOf(n.desc.Domain), Verify: n.keys.SigningKey().Public(), Seal: n.keys.DecryptKey().Public()},
		Partner: he.Member{ID: c.Party.ID}}
	for _, x := range r.Features {
		p.Ranges = append(p.Ranges, x.Range)
	}
	var err error
	if p.Partner.Verify, err = sm.ParseVerifyKey(c.Identity.SignKey); err == nil {
		p.Partner.Seal, err = sm.ParseEncryptKey(c.Identity.EncryptKey)
	}
	if err != nil {
		return nil, err
	}
	if why := p.Check(); len(why) > 0 {
		return nil, &he.Refused{Reasons: why}
	}
	return p, nil
}

// acceptJoint counts, charges, meters and records a run in one change, before a key is drawn.
func (n *Node) acceptJoint(ctx context.Context, c api.Caller, sc *grant.Scenario, q *questionRecord) error {
	q.State = stateComputing
	return n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		bits := n.profile.Bits
		if _, err := n.store.Add(ctx, bitsOf(sc.Grant.ID), bits.PerQuestion.Value, bits.PerGrant.Value); err != nil {
			return err
		}
		run, err := n.store.Add(ctx, jointsOf(sc.Grant.ID), 1, sc.PartnerRuns)
		if err != nil {
			return err
		}
		q.Joint.Planned.Run = run
		if err := n.recordDecision(tx, c, q); err != nil {
			return err
		}
		tx.record(attest.JointPlanned, "question/"+string(q.ID), q.Joint.Planned, q.audiences()...)
		if err := n.meter(ctx, tx, meter.AggregateQuestion, q.Party, q.Spec.Scenario, q.ID); err != nil {
			return err
		}
		return n.docs.questions.Insert(ctx, string(q.ID), string(q.Party), q.State, *q)
	})
}

// jointOf gives a run that concerns the caller.
func (n *Node) jointOf(ctx context.Context, c api.Caller, id sandbox.QuestionID) (questionRecord, error) {
	q, _, err := n.docs.questions.Get(ctx, string(id))
	if err == nil {
		ok := q.Joint != nil
		if ok {
			ok, err = n.concerns(ctx, c, q)
		}
		if err == nil && !ok {
			err = jointError(sandbox.NotFound, id, "", "")
		}
	}
	return q, err
}

// Joints lists the runs that concern the caller.
func (n *Node) Joints(ctx context.Context, c api.Caller) ([]api.Joint, error) {
	rows, err := n.docs.questions.List(ctx, store.Filter{})
	if err != nil {
		return nil, err
	}
	out := []api.Joint{}
	for _, r := range rows {
		if r.Value.Joint == nil {
			continue
		}
		ok, err := n.concerns(ctx, c, r.Value)
		if err != nil {
			return nil, err
		}
		if ok {
			out = append(out, n.jointSeen(c, r.Value))
		}
	}
	return out, nil
}

// Joint says where a run stands.
func (n *Node) Joint(ctx context.Context, c api.Caller, id sandbox.QuestionID) (api.Joint, error) {
	q, err := n.jointOf(ctx, c, id)
	if err != nil {
		return api.Joint{}, err
	}
	return n.jointSeen(c, q), nil
}

func (n *Node) jointSeen(c api.Caller, q questionRecord) api.Joint {
	r := q.Joint
	out := api.Joint{Question: n.seen(q, n.now()), Of: r.Run.Of, Features: r.Run.Features, Groups: r.Run.Groups, Decimals: r.Run.Decimals, Commitment: r.Run.Commitment,
		Plan: r.Plan, Digest: r.Planned.Plan, Run: r.Planned.Run, Runs: r.Planned.Runs}
	if r.Ended && c.Party.ID != q.Party { // the rule may follow from averages: who asked learns that it is withheld
		out.Cause = r.Cause
	}
	if x := n.joints.find(q.ID); x != nil && q.State == stateComputing {
		x.mu.Lock()
		defer x.mu.Unlock()
		if x.kind != 0 && !x.ended {
			out.Step, out.Kind, out.Due = x.kind.String(), int(x.kind), x.due
		}
	}
	return out
}
