package node

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/scorecard"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/workflow"
)

// scoringTime bounds the engine's work for one request, which depends on the model's form and the number of ciphertexts alone.
const scoringTime = 5 * time.Minute

// scoring is one request for scores on its way.
type scoring struct {
	id     sandbox.QuestionID
	model  sandbox.ModelID
	caller api.Caller
	asked  api.ScoringRequest
	rec    scoringModelRecord
	grant  *grant.Scenario
	count  int64 // customers that it counts for
	at     time.Time
}

// Score has customers of the asker's own scored: decide → count and meter → compute → evidence. No data of the domain is read, and what goes
// back is under the asker's key and over its own inputs; so every refusal gives its reasons. What fails once it is counted counts as what
// succeeds: it is never tried again under the same count.
func (n *Node) Score(ctx context.Context, c api.Caller, id sandbox.ModelID, r api.ScoringRequest) (api.ScoringAnswer, error) {
	waits := ctx // until it is counted
	ctx = context.WithoutCancel(ctx)
	s := &scoring{model: id, caller: c, asked: r, count: int64(len(r.Features)), at: n.now()}
	if r.Batch {
		s.count = he.BatchCustomers
	} else if len(r.Features) < 1 || len(r.Features) > scorecard.MaxSingles {
		return api.ScoringAnswer{}, s.invalid("features", fmt.Sprintf("a request holds 1 to %d single customers, or a batch", scorecard.MaxSingles))
	}
	name, err := n.newID("s")
	if err != nil {
		return api.ScoringAnswer{}, err
	}
	s.id = sandbox.QuestionID(name)
	out := api.ScoringAnswer{ID: s.id}
	if out.Decision, err = n.decideScoring(ctx, s); err != nil {
		return api.ScoringAnswer{}, err
	}
	if !out.Decision.Allow {
		return out, n.refuseScoring(ctx, s, out.Decision)
	}
	if err := s.shaped(); err != nil {
		return api.ScoringAnswer{}, err
	}
	model, err := scorecard.Restore(&s.rec.Filing, s.rec.Secret)
	if err != nil {
		return api.ScoringAnswer{}, refusedModel(id, err)
	}
	n.scoring.Lock() // one at a time: an engine is several times what it is sent
	defer n.scoring.Unlock()
	if err := waits.Err(); err != nil { // who left meanwhile is not counted
		return api.ScoringAnswer{}, &sandbox.Error{Op: "scoring", Kind: sandbox.Unavailable, Object: string(id), Detail: "whoever asked left while others were scored", Err: err}
	}
	// The engine comes first: where none starts, nothing is counted.
	engine, stop, posture, err := n.engines()
	if err != nil {
		return api.ScoringAnswer{}, err
	}
	defer stop()
	left, refusal, err := n.countScoring(ctx, s)
	if err != nil {
		return api.ScoringAnswer{}, err
	}
	if refusal != nil { // since it was decided
		out.Decision = *refusal
		return out, nil
	}
	out.Counted, out.LeftDay, out.LeftAll = s.count, left[0], left[1]
	within, cancel := context.WithTimeout(ctx, scoringTime)
	defer cancel()
	scores, failed := s.compute(within, engine, model)
	body := attest.ScoringAnsweredBody{Scoring: s.id, Engine: posture[:]}
	if failed != nil {
		body.Fault = sandbox.KindOf(failed)
		failed = &sandbox.Error{Op: "scoring", Kind: body.Fault, Object: string(s.id), Detail: fmt.Sprintf("it was counted as %d customers, and gave nothing", s.count), Err: failed}
	} else {
		digest := sm.Sum(sm.Frame(scores...))
		body.Answer = digest[:]
	}
	err = n.change(ctx, c.Identity.ID, func(_ context.Context, tx *change) error {
		tx.record(attest.ScoringAnswered, "scoring/"+string(s.id), body, s.audiences()...)
		return nil
	})
	outcome := "scored"
	if failed != nil {
		outcome = "failed"
	}
	n.cfg.Metrics.Job("scoring", outcome)
	if err := errors.Join(failed, err); err != nil {
		return api.ScoringAnswer{}, err
	}
	out.Scores = scores
	return out, n.proven(ctx)
}

// facts says what a decision rests on, by what is kept at this moment.
func (n *Node) scoringFacts(ctx context.Context, s *scoring) (policy.Facts, policy.ScoringQuestion, error) {
	f := policy.Facts{Now: s.at, Hosting: n.desc.Hosting, Profile: &n.profile, Asker: s.caller.Party, Engine: sandbox.HE, Scenarios: map[sandbox.ScenarioID]*grant.Scenario{}}
	q := policy.ScoringQuestion{Scenario: s.asked.Scenario, Purpose: s.asked.Purpose, Model: s.model, Customers: s.count, Batch: s.asked.Batch, MaxBatch: scorecard.MaxBatchFeatures}
	var err error
	if s.grant, err = n.liveScenario(ctx, s.caller, s.asked.Scenario); err != nil {
		return f, q, err
	}
	if s.rec, _, err = n.docs.models.Get(ctx, string(s.model)); err != nil && !errors.Is(err, sandbox.NotFound) {
		return f, q, err
	}
	q.Approved, q.Withdrawn, q.Features = !s.rec.Approved.IsZero(), !s.rec.Withdrawn.IsZero(), len(s.rec.Filing.Features)
	if s.grant == nil {
		return f, q, nil
	}
	f.Scenarios[s.grant.ID] = s.grant
	if s.grant.Grant != nil {
		if q.Today, err = n.store.Counter(ctx, s.counter(s.day())); err != nil {
			return f, q, err
		}
		q.Used, err = n.store.Counter(ctx, s.counter(""))
	}
	return f, q, err
}

func (n *Node) decideScoring(ctx context.Context, s *scoring) (sandbox.Decision, error) {
	f, q, err := n.scoringFacts(ctx, s)
	if err != nil {
		return sandbox.Decision{}, err
	}
	return policy.DecideScoring(f, q), nil
}

// countScoring decides once more and counts and meters in one change, durable before anything is computed: neither a withdrawal nor another
// request comes between. It gives what is left of the day and in all.
func (n *Node) countScoring(ctx context.Context, s *scoring) (left [2]int64, refusal *sandbox.Decision, err error) {
	err = n.change(ctx, s.caller.Identity.ID, func(ctx context.Context, tx *change) error {
		s.at = tx.at
		decision, err := n.decideScoring(ctx, s)
		if err != nil {
			return err
		}
		if !decision.Allow {
			refusal = &decision
			n.recordScoring(tx, s, decision, attest.ScoringDecidedBody{})
			return nil
		}
		use, _ := s.grant.Use(s.model)
		b := attest.ScoringDecidedBody{Allow: true, Day: s.day(), PerDay: use.PerDay, Total: use.Total}
		if b.Today, err = n.store.Add(ctx, s.counter(s.day()), s.count, use.PerDay); err != nil {
			return err
		}
		if b.Used, err = n.store.Add(ctx, s.counter(""), s.count, use.Total); err != nil {
			return err
		}
		left = [2]int64{min(use.PerDay-b.Today, use.Total-b.Used), use.Total - b.Used}
		n.recordScoring(tx, s, decision, b)
		e, err := meter.NewScoring(s.caller.Party.ID, s.grant.ID, s.id, s.count, tx.at)
		if err != nil {
			return err
		}
		return n.metered(ctx, tx, e)
	})
	return left, refusal, err
}

func (n *Node) refuseScoring(ctx context.Context, s *scoring, d sandbox.Decision) error {
	for _, r := range d.Reasons {
		n.cfg.Metrics.Refused(r.Code)
	}
	n.cfg.Metrics.Job("scoring", stateRefused)
	return n.change(ctx, s.caller.Identity.ID, func(_ context.Context, tx *change) error {
		n.recordScoring(tx, s, d, attest.ScoringDecidedBody{})
		return nil
	})
}

func (n *Node) recordScoring(tx *change, s *scoring, d sandbox.Decision, b attest.ScoringDecidedBody) {
	b.Scoring, b.Model, b.Asker, b.Customers, b.Policy, b.Request = s.id, s.model, s.caller.Identity.ID, s.count, n.policyVersion(), s.caller.Request
	if s.grant != nil { // an asker's text is not evidence
		b.Scenario = s.grant.ID
	}
	if s.rec.Owner == "" {
		b.Model = ""
	}
	for _, r := range d.Reasons {
		b.Codes = append(b.Codes, r.Code)
	}
	tx.record(attest.ScoringDecided, "scoring/"+string(s.id), b, s.audiences()...)
}

// audiences are who sees that customers were scored: who asked, the model's owner, and the units of the scenario.
func (s *scoring) audiences() []audienceName {
	to := []audienceName{agency, toParty(s.caller.Party.ID)}
	if s.rec.Owner != "" {
		to = append(to, toParty(s.rec.Owner))
	}
	if s.grant != nil {
		to = append(to, unitsOf(s.grant.ID))
	}
	return to
}

// day is the one that a request counts for.
func (s *scoring) day() string { return s.at.In(workflow.Shanghai()).Format(time.DateOnly) }

// counter counts a grant's customers of a model, in all or of a day.
func (s *scoring) counter(day string) string {
	name := "scored." + string(s.grant.Grant.ID) + "." + string(s.model)
	if day != "" {
		name += "." + day
	}
	return name
}

func (s *scoring) invalid(object, rule string) error {
	return &sandbox.Error{Op: "scoring", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

// shaped holds what was sent to the exact lengths of the registry, before anything is counted.
func (s *scoring) shaped() error {
	l, exact := he.ScoringLengths(), "has the length of its parameter set"
	key, each := l.OnePublic, l.One
	if s.asked.Batch {
		key, each = l.Public, l.Feature
		if len(s.asked.Features) != len(s.rec.Filing.Features) {
			return s.invalid("features", "a batch has a ciphertext for each feature of the model")
		}
		if len(s.asked.Relinearisation) != l.Relinearisation {
			return s.invalid("relinearisation key", exact)
		}
	} else if len(s.asked.Relinearisation) != 0 {
		return s.invalid("relinearisation key", "comes with a batch only")
	}
	if len(s.asked.Public) != key {
		return s.invalid("public key", exact)
	}
	for i, b := range s.asked.Features {
		if len(b) != each {
			return s.invalid(fmt.Sprintf("ciphertext %d", i+1), exact)
		}
	}
	return nil
}

// compute runs the model in the engine: the same work whatever model, features and scores are.
func (s *scoring) compute(ctx context.Context, e he.Engine, m *he.Model) ([][]byte, error) {
	if s.asked.Batch {
		b, err := he.Score(ctx, e, m, he.Keys{Public: s.asked.Public, Relinearisation: s.asked.Relinearisation}, s.asked.Features)
		return [][]byte{b}, err
	}
	var out [][]byte
	for _, x := range s.asked.Features {
		b, err := he.ScoreOne(ctx, e, m, he.Keys{One: s.asked.Public}, x)
		if err != nil {
			return nil, err
		}
		out = append(out, b)
	}
	return out, nil
}
