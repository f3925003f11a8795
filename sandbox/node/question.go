package node

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/run"
	"github.com/opdomain/opdomain/sandbox/workflow"
)

// States of a question as its asker sees them.
const (
	stateRefused   = "refused"   // 不予受理: before any key opened, with reasons
	stateComputing = "computing" // 计算中
	stateInReview  = "in-review" // 审核中
	stateReleased  = "released"  // 已出域
	stateDeclined  = "declined"  // 审核不通过
	stateExpired   = "expired"   // 审核超期
	stateWithheld  = "withheld"  // 不予应答: one uniform code
	stateReturned  = "returned"  // 已退回: with a comment; resubmit or withdraw it
	stateWithdrawn = "withdrawn" // 已撤销
	stateRevoked   = "revoked"   // 已撤回: with a notice
)

// questionRecord is a question as the core keeps it.
type questionRecord struct {
	ID       sandbox.QuestionID
	Asker    sandbox.IdentityID
	Party    sandbox.PartyID
	Spec     query.Spec
	Inputs   []sandbox.InputVersion
	Decision sandbox.Decision
	Asked    time.Time
	State    string // refused, computing, or review: then Review says
	Review   *egress.Review
	Release  sandbox.ReleaseID
	Salt     []byte // of the digest in the evidence

	Noise *questionNoise `json:",omitempty"` // what it draws under differential privacy
	Leave *leavingRecord `json:",omitempty"` // of class E: the view, instead of a question
	Map   *mapRecord     `json:",omitempty"` // of a Map: which, instead of a question

	Opaque *opaqueRecord `json:",omitempty"` // of an Opaque algorithm: which, over what, instead of a question
	Shared *sharedRecord `json:",omitempty"` // what it is computed by over shares
	Sum    *sumRecord    `json:",omitempty"` // what it is computed by over ciphertexts
	Joint  *jointRecord  `json:",omitempty"` // of a run of a secret model: over which result, instead of a question
	List   *spec.Agreed  `json:",omitempty"` // of whom, where it joins two units' rows

	First  *attest.Statement    `json:",omitempty"` // the round's first vote, until the second opens it
	Ledger []sandbox.QuestionID `json:",omitempty"` // names of its entries in the ledger; none: of the time when its id was the one
}

// entries are the names of what the ledger holds of a question. What was never before anybody has none.
func (q *questionRecord) entries() []sandbox.QuestionID {
	if len(q.Ledger) == 0 && q.Review != nil && len(q.Review.Digest) > 0 && q.Shared == nil && q.Sum == nil && q.Joint == nil { // of what opened of shares or ciphertexts nobody has one
		return []sandbox.QuestionID{q.ID}
	}
	return q.Ledger
}

const stateReview = "review"

// audiences are who follows a question: its asker's party and the units of its scenario.
func (q *questionRecord) audiences() []audienceName {
	to := []audienceName{agency, toParty(q.Party)}
	if sandbox.CheckID("scenario", string(q.Spec.Scenario)) == nil {
		to = append(to, unitsOf(q.Spec.Scenario))
	}
	return to
}

// limits bound one computation.
var limits = columnar.Limits{}

// facts gathers what a decision about s depends on.
func (n *Node) facts(ctx context.Context, c api.Caller, s query.Spec, at time.Time) (policy.Facts, *grant.Scenario, error) {
	sc, err := n.liveScenario(ctx, c, s.Scenario)
	if err != nil {
		return policy.Facts{}, nil, err
	}
	f := policy.Facts{Now: at, Hosting: n.desc.Hosting, Profile: &n.profile, Asker: c.Party, Engine: sandbox.Domain,
		Scenarios: map[sandbox.ScenarioID]*grant.Scenario{}}
	var ids []sandbox.DatasetID
	for _, in := range s.Inputs {
		ids = append(ids, in.Dataset)
	}
	if sc != nil {
		f.Scenarios[sc.ID] = sc
		for _, item := range sc.List {
			ids = append(ids, item.Dataset)
		}
		if sc.Grant != nil {
			if f.BitsUsed, err = n.store.Counter(ctx, bitsOf(sc.Grant.ID)); err != nil {
				return policy.Facts{}, nil, err
			}
		}
	}
	if f.Datasets, err = n.described(ctx, ids); err != nil {
		return policy.Facts{}, nil, err
	}
	n.over(&f, s)
	if f.Asker, err = n.affiliates(ctx, f.Asker, f.Datasets); err != nil {
		return policy.Facts{}, nil, err
	}
	if f.Compared, err = n.compared(ctx, sc, at); err != nil {
		return policy.Facts{}, nil, err
	}
	return f, sc, n.spending(ctx, &f, sc, s)
}

// affiliates names in a party the units that declare it theirs: affiliation holds both ways.
func (n *Node) affiliates(ctx context.Context, p sandbox.Party, in map[sandbox.DatasetID]catalog.Dataset) (sandbox.Party, error) {
	p.Affiliates = slices.Clone(p.Affiliates)
	seen := map[sandbox.PartyID]bool{}
	for _, d := range in {
		if seen[d.Unit] {
			continue
		}
		seen[d.Unit] = true
		unit, _, err := n.docs.parties.Get(ctx, string(d.Unit))
		if err != nil {
			return p, err
		}
		if sandbox.Affiliated(p, unit) && !slices.Contains(p.Affiliates, d.Unit) {
			p.Affiliates = append(p.Affiliates, d.Unit)
		}
	}
	return p, nil
}

// compared gives what a grant's questions of today held to groupings, for the columns whose owners bound that.
func (n *Node) compared(ctx context.Context, sc *grant.Scenario, at time.Time) (map[string]int64, error) {
	out := map[string]int64{}
	if sc == nil || sc.Grant == nil {
		return out, nil
	}
	for _, item := range sc.List {
		for _, r := range item.Columns {
			if r.PerDay == 0 {
				continue
			}
			column := string(item.Dataset) + "." + r.Column
			used, err := n.store.Counter(ctx, comparedOf(sc.Grant.ID, column, at))
			if err != nil {
				return nil, err
			}
			out[column] = used
		}
	}
	return out, nil
}

func bitsOf(g sandbox.GrantID) string { return "bits." + string(g) }

func comparedOf(g sandbox.GrantID, column string, at time.Time) string {
	return "compared." + string(g) + "." + column + "." + at.In(workflow.Shanghai()).Format(time.DateOnly)
}

// Explain decides a question and shows the derivation, without charge and before any key opens.
func (n *Node) Explain(ctx context.Context, c api.Caller, s query.Spec) (api.Explanation, error) {
	return n.explain(ctx, c, s, sandbox.ClassA)
}

func (n *Node) explain(ctx context.Context, c api.Caller, s query.Spec, class sandbox.Class) (api.Explanation, error) {
	f, _, err := n.facts(ctx, c, s, n.now())
	if err != nil {
		return api.Explanation{}, err
	}
	_, x := policy.ExplainFor(f, s, class)
	decision, d := n.decide(f, s, class)
	out := api.Explanation{Decision: decision, Derivation: &x}
	if d.Complete() {
		if class == sandbox.ClassA {
			if err := n.deviations(d, &out); err != nil {
				return api.Explanation{}, err
			}
		}
		for _, in := range d.Inputs {
			if current := f.Datasets[in.Dataset].Version; decision.Allow && in.Version > current {
				decision.Allow = false
				decision.Reasons = append(decision.Reasons, sandbox.Reason{Code: "version.unknown", Column: string(in.Dataset), Rule: "a question names a version that the dataset has",
					Article: "龙华区实施方案 三(三) 一场景一清单一授权", Change: fmt.Sprintf("ask over version %d, or name none for the newest", current)})
				out.Decision = decision
			}
		}
	}
	if out.Decision, out.Shares, err = n.explainShares(ctx, f, d, out.Decision); err != nil {
		return api.Explanation{}, err
	}
	decision = out.Decision
	var text strings.Builder
	for _, r := range decision.Reasons {
		fmt.Fprintf(&text, "refused %s %s: %s (%s)\n  smallest change: %s\n", r.Code, r.Column, r.Rule, r.Article, r.Change)
	}
	text.WriteString(x.Text())
	if d.Complete() && class == sandbox.ClassA {
		more, err := n.overCiphertexts(ctx, d)
		if err != nil {
			return api.Explanation{}, err
		}
		text.WriteString(more)
	}
	if out.Shares != nil {
		text.WriteString(out.Shares.Text())
	}
	out.Text = text.String()
	return out, nil
}

// Ask is one question from decision to review: decide → charge and meter → compute → gate → ledger → submit. The same
// question on the same data versions is the same question: it is not computed or charged twice.
func (n *Node) Ask(ctx context.Context, c api.Caller, s query.Spec) (api.Question, error) {
	return n.ask(ctx, c, s, sandbox.ClassA)
}

func (n *Node) ask(ctx context.Context, c api.Caller, s query.Spec, class sandbox.Class) (api.Question, error) {
	n.asking.Lock() // one at a time, so that every answer is compared with every other
	defer n.asking.Unlock()
	at := n.now()
	f, sc, err := n.facts(ctx, c, s, at)
	if err != nil {
		return api.Question{}, err
	}
	decision, derived := n.decide(f, s, class)
	if decision, _, err = n.explainShares(ctx, f, derived, decision); err != nil {
		return api.Question{}, err
	}
	q := questionRecord{Asker: c.Identity.ID, Party: c.Party.ID, Spec: s, Decision: decision, Asked: at, State: stateRefused}
	if !decision.Allow {
		return n.refuse(ctx, c, q)
	}
	if q.Inputs, err = versions(derived, f.Datasets); err != nil {
		return api.Question{}, err
	}
	prior, err := n.identify(ctx, &q, at)
	if err != nil {
		return api.Question{}, err
	}
	if prior != nil {
		if prior.State != stateComputing {
			return n.seen(*prior, at), nil
		}
		if prior.Decision.Engine != decision.Engine { // begun over ciphertexts or shares, it is not taken up in plain
			return api.Question{}, &sandbox.Error{Op: "query", Kind: sandbox.Conflict, Object: string(q.ID), Detail: "a question is computed by the engine that was decided for it",
				Hint: "have the agency run it to its end, or ask over other versions"}
		}
		q = *prior // the process ended while it was computed: compute it again, charged already
	} else if err := n.standing(ctx, q.Inputs); err != nil {
		return api.Question{}, err
	} else if err := n.accept(ctx, c, sc, derived, f.Datasets, &q); err != nil {
		return api.Question{}, err
	}
	if q.Decision.Engine == sandbox.MPC {
		anew := q.Shared == nil
		if !anew {
			anew, err = n.expiredShared(ctx, &q)
		}
		if anew && err == nil {
			err = n.planShared(ctx, c, f, derived, &q)
		}
		return n.seen(q, at), err
	}
	if err := n.compute(ctx, c, derived, &q, nil); err != nil {
		return api.Question{}, err
	}
	return n.seen(q, at), nil
}

// versions fixes the data versions a question is answered over.
func versions(d query.Derivation, in map[sandbox.DatasetID]catalog.Dataset) ([]sandbox.InputVersion, error) {
	var out []sandbox.InputVersion
	for _, x := range d.Inputs {
		v := sandbox.InputVersion{Dataset: x.Dataset, Version: x.Version}
		current := in[x.Dataset].Version
		if v.Version == 0 {
			v.Version = current
		}
		if v.Version == 0 || v.Version > current {
			return nil, &sandbox.Error{Op: "query", Kind: sandbox.Conflict, Object: string(x.Dataset), Detail: "the dataset has no such version yet", Hint: "ask again after its unit has pushed"}
		}
		dup := false
		for _, have := range out {
			dup = dup || have == v
		}
		if !dup {
			out = append(out, v)
		}
	}
	return out, nil
}

// identify gives the question its id, which follows from asker, canonical question and versions, and finds the record
// it already has, if any. A question whose review expired, or that its asker withdrew,
// is asked anew under the next id.
func (n *Node) identify(ctx context.Context, q *questionRecord, at time.Time) (*questionRecord, error) {
	inputs, err := json.Marshal(q.Inputs)
	if err != nil {
		return nil, err
	}
	for attempt := range 1 << 10 {
		id := sm.HMAC(n.questionKey, sm.Frame([]byte(q.Asker), q.canonical(), inputs, fmt.Append(nil, attempt)))
		q.ID = sandbox.QuestionID("q-" + hex.EncodeToString(id[:10]))
		prior, _, err := n.docs.questions.Get(ctx, string(q.ID))
		if errors.Is(err, sandbox.NotFound) {
			return nil, nil
		}
		if err != nil {
			return nil, err
		}
		if prior.Review == nil {
			if prior.State == stateWithdrawn { // before its parties computed it
				continue
			}
			return &prior, nil
		}
		if state := prior.Review.At(at).State; state != egress.Expired && state != egress.Withdrawn {
			return &prior, nil
		}
	}
	return nil, &sandbox.Error{Op: "query", Kind: sandbox.TooLarge, Object: string(q.ID), Detail: "asked a thousand times without a decision"}
}

// refuse records a refusal made before any key opened; its asker learns every reason.
func (n *Node) refuse(ctx context.Context, c api.Caller, q questionRecord) (api.Question, error) {
	id, err := n.newID("q")
	if err != nil {
		return api.Question{}, err
	}
	q.ID = sandbox.QuestionID(id)
	err = n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		if err := n.docs.questions.Insert(ctx, id, string(q.Party), q.State, q); err != nil {
			return err
		}
		return n.recordDecision(tx, c, &q)
	})
	for _, r := range q.Decision.Reasons {
		n.cfg.Metrics.Refused(r.Code)
	}
	n.cfg.Metrics.Job("question", stateRefused)
	return n.seen(q, q.Asked), err
}

// accept charges the budgets of bits and of differential privacy, meters the use and records the decision, all before a key opens.
func (n *Node) accept(ctx context.Context, c api.Caller, sc *grant.Scenario, d query.Derivation, in map[sandbox.DatasetID]catalog.Dataset, q *questionRecord) error {
	q.State = stateComputing
	return n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		bits := n.profile.Bits
		if _, err := n.store.Add(ctx, bitsOf(sc.Grant.ID), bits.PerQuestion.Value, bits.PerGrant.Value); err != nil {
			return err
		}
		if q.Opaque != nil {
			if _, err := n.store.Add(ctx, carriedOf(sc.Grant.ID), int64(q.Opaque.Bits), bits.Carried.Value); err != nil {
				return err
			}
		}
		for _, col := range d.Columns {
			if held := col.Compares(); held > 0 && col.Rule.PerDay > 0 {
				if _, err := n.store.Add(ctx, comparedOf(sc.Grant.ID, col.Column, q.Asked), int64(held), int64(col.Rule.PerDay)); err != nil {
					return err
				}
			}
		}
		if err := n.charge(ctx, d, in, q); err != nil {
			return err
		}
		if err := n.recordDecision(tx, c, q); err != nil {
			return err
		}
		if q.Sum != nil { // with the decision: of what is computing over ciphertexts a plan is always on record
			tx.record(attest.SumPlanned, "question/"+string(q.ID), q.Sum.Plan, q.audiences()...)
		}
		if err := n.meter(ctx, tx, meter.AggregateQuestion, q.Party, q.Spec.Scenario, q.ID); err != nil {
			return err
		}
		return n.docs.questions.Insert(ctx, string(q.ID), string(q.Party), q.State, *q)
	})
}

func (n *Node) recordDecision(tx *change, c api.Caller, q *questionRecord) error {
	spec := sm.Sum(q.canonical())
	digest, salt, err := n.salted(spec[:])
	if err != nil {
		return err
	}
	q.Salt = salt
	body := attest.QuestionDecidedBody{Question: q.ID, Scenario: q.Spec.Scenario, Asker: q.Asker, Spec: digest, Allow: q.Decision.Allow,
		Engine: q.Decision.Engine, Class: q.Decision.Class, Policy: n.policyVersion(), Request: c.Request}
	if sandbox.CheckID("scenario", string(body.Scenario)) != nil {
		body.Scenario = "" // an asker's text is not evidence
	}
	for _, r := range q.Decision.Reasons {
		body.Codes = append(body.Codes, r.Code)
	}
	if q.Noise != nil {
		body.Privacy = q.Noise.Spent
	}
	tx.record(attest.QuestionDecided, "question/"+string(q.ID), body, q.audiences()...)
	return nil
}

// compute answers an accepted question and submits it for review, or withholds it. What goes wrong from here on depends
// on data: the asker sees the uniform code, reviewers and owners the cause. st is the author's act, when it is resubmitted.
func (n *Node) compute(ctx context.Context, c api.Caller, d query.Derivation, q *questionRecord, st *attest.Statement) error {
	if q.Decision.Engine == sandbox.MPC {
		return &sandbox.Error{Op: "query", Kind: sandbox.Denied, Object: string(q.ID), Detail: "a question over shares is computed by its parties, once", Hint: "withdraw it and ask it again"}
	}
	params := n.thresholds(d)
	gate := n.gate
	if q.Decision.Class == sandbox.ClassD {
		gate = n.gateModel
	}
	return n.outgoing(ctx, c, q, st, params, func(ctx context.Context) gated { return gate(ctx, d, q, params) })
}

// answer computes in worker processes, where the domain has them.
func (n *Node) answer(ctx context.Context, d query.Derivation, inputs []sandbox.InputVersion) (*sandbox.Answer, error) {
	if n.cfg.Workers != nil {
		return run.AnswerBy(ctx, n.mem, n.vault, d, inputs, limits, *n.cfg.Workers)
	}
	return run.Answer(ctx, n.mem, n.vault, d, inputs, limits)
}

// gate computes the answer and judges it.
func (n *Node) gate(ctx context.Context, d query.Derivation, q *questionRecord, params egress.Params) gated {
	answer, err := n.answer(ctx, d, q.Inputs)
	if err != nil {
		err = fmt.Errorf("not computed: %w", err)
		if egress.HardHit(err) {
			return gated{cause: err.Error(), hit: err}
		}
		return gated{cause: err.Error()}
	}
	return n.judged(ctx, d, q, answer, params)
}

// judged applies the rules to an answer and compares it with every earlier one.
func (n *Node) judged(ctx context.Context, d query.Derivation, q *questionRecord, answer *sandbox.Answer, params egress.Params) gated {
	fail := func(err error) gated {
		if egress.HardHit(err) {
			return gated{cause: err.Error(), hit: err}
		}
		return gated{cause: err.Error()}
	}
	if err := n.populations.load(ctx, n, false); err != nil {
		return fail(err)
	}
	checked, err := n.protect(ctx, d, q, answer, params)
	if err != nil {
		return fail(err)
	}
	name := q.ID // what other reviewers have seen of a resubmitted one stays in the ledger beside it
	if n := len(q.entries()); n > 0 {
		name = sandbox.QuestionID(fmt.Sprintf("%s.r%d", q.ID, n))
	}
	entry, err := n.ledger.Entry(name, checked)
	if err != nil {
		return fail(err)
	}
	compared := n.populations.book.Compare(entry, params)
	if compared.Finding != nil {
		return gated{checked: checked, finding: compared.Finding, cause: "it isolates too few people against earlier answers"}
	}
	// Kept before the review opens: an answer that could leave is always in the ledger.
	if err := n.populations.keep(entry); err != nil {
		return fail(err)
	}
	over, err := n.leftOverShares(ctx, q.Inputs)
	if err != nil {
		return fail(err)
	}
	if over && compared.Uncertified == "" {
		compared.Uncertified = "the same dataset was in a run over shares, and nobody holds whom the cells of that are of"
	}
	if answer.Holdings != nil && compared.Uncertified == "" {
		compared.Uncertified = "earlier results are compared by people, not by the holdings they belong to"
	}
	return gated{checked: checked, entry: name, uncertified: compared.Uncertified}
}

func (n *Node) saveQuestion(ctx context.Context, q questionRecord) error {
	_, rev, err := n.docs.questions.Get(ctx, string(q.ID))
	if err != nil {
		return err
	}
	_, err = n.docs.questions.Update(ctx, string(q.ID), rev, string(q.Party), q.State, q)
	return err
}
