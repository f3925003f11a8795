package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/jailed"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/jail"
	"github.com/opdomain/opdomain/sandbox/query"
)

// SumOrder (密态汇总委托) is a question that is answered by a sum of the units' ciphertexts: each unit holds its own rows, in the form that the catalogue
// describes of the question's dataset, and nobody but the gate reads a total. With a list it is of two datasets, each held by the unit that owns it,
// whose rows are joined person by person over the list; other units mask and open.
type SumOrder struct {
	Spec      query.Spec
	Units     []sandbox.IdentityID // who acts for each contributing unit, with its enrolled keys
	Threshold int
	Openers   []int // indices into Units
	Set       he.SetName
	Keys      spec.Keys
	List      *spec.Agreed
}

func (n *Node) sumsDir() string { return filepath.Join(n.cfg.Dir, "sums") }

// Engines (密态运算引擎来源) starts an engine for one sum and gives the digest of what was seen of its process before it got anything.
type Engines func() (he.Engine, func(), [sm.Size]byte, error)

// engines is the one way to start one: in the jail. A domain whose machine lacks a layer has none.
func (n *Node) engines() (he.Engine, func(), [sm.Size]byte, error) {
	if n.cfg.Engines != nil {
		return n.cfg.Engines()
	}
	var posture [sm.Size]byte
	e, err := he.NewChild(jailed.Launch{Jail: n.cfg.Jail, Began: func(p *jail.Process) { posture = p.Posture().Digest() }})
	if err != nil {
		return nil, nil, posture, err
	}
	return e, e.Close, posture, nil
}

// Sum (密态汇总) is one question over ciphertexts, at the domain's side, from its decision to its review. Steps: BeginSum; Commit, Reveal, of a joined one Relinearize, Key and
// Open with the messages of the units, which whoever likes may carry; or Abort, then Again with who is left, or GiveUp. Every step
// that fails ends the epoch, and the evidence says so; nothing is tried twice. Not safe for concurrent use.
type Sum struct {
	n        *Node
	c        api.Caller
	q        questionRecord
	order    SumOrder
	question *spec.Question
	joined   *spec.Joined // or that
	params   egress.Params
	ledger   *he.Ledger
	run      [32]byte

	plan  *he.Plan
	gate  *he.Gate
	stop  func()
	ended bool              // the epoch: opened or aborted
	owed  func(*change)     // the end of an epoch that is not on record yet
	left  []sandbox.PartyID // with whom an epoch ended
	cause string            // by what rule
	read  bool              // a sum was: there is no other epoch
	done  bool              // the question is before reviewers, or withheld
}

// BeginSum decides the question, charges and meters it like any other, and plans the first epoch. A refusal is the question's state, with every
// reason; Conflict for a question that was asked before, Unavailable where the domain has no engine.
func (n *Node) BeginSum(ctx context.Context, c api.Caller, order SumOrder) (*Sum, api.Question, error) {
	n.asking.Lock()
	defer n.asking.Unlock()
	at := n.now()
	f, sc, err := n.facts(ctx, c, order.Spec, at)
	if err != nil {
		return nil, api.Question{}, err
	}
	f.Engine = sandbox.HE
	decision, derived := n.decide(f, order.Spec, sandbox.ClassA)
	q := questionRecord{Asker: c.Identity.ID, Party: c.Party.ID, Spec: order.Spec, List: order.List, Decision: decision, Asked: at, State: stateRefused}
	s := &Sum{n: n, c: c, order: order, params: n.thresholds(derived)}
	if decision.Allow {
		why, err := s.compile(ctx, derived)
		if err != nil {
			return nil, api.Question{}, err
		}
		if len(why) == 0 {
			why = unbounded(derived)
		}
		if order.List != nil {
			crossed, err := n.besideList(ctx, order.List, order.Spec, c.Party.ID, "")
			if err != nil {
				return nil, api.Question{}, err
			}
			if crossed != nil {
				why = append(why, *crossed)
			}
		}
		if len(why) > 0 {
			q.Decision.Allow, q.Decision.Reasons = false, append(q.Decision.Reasons, why...)
		}
	}
	if q.Decision.Allow { // a plan outside its budget is refused before anything is charged
		p, err := s.planned(ctx, s.order, 1)
		if err != nil {
			return nil, api.Question{}, err
		}
		if _, why := p.Check(); len(why) > 0 {
			q.Decision.Allow, q.Decision.Reasons = false, append(q.Decision.Reasons, why...)
		}
	}
	if !q.Decision.Allow {
		refused, err := n.refuse(ctx, c, q)
		return nil, refused, err
	}
	if q.Inputs, err = unpushed(derived, f.Datasets); err != nil {
		return nil, api.Question{}, err
	}
	prior, err := n.identify(ctx, &q, at)
	if err == nil && prior != nil {
		err = &sandbox.Error{Op: "query", Kind: sandbox.Conflict, Object: string(prior.ID), Detail: "the same question was asked over these versions", Hint: "see how it stands"}
	}
	if err == nil {
		err = n.standing(ctx, q.Inputs)
	}
	if err != nil {
		return nil, api.Question{}, err
	}
	if s.ledger, err = n.sums.ledger(n.sumsDir()); err != nil {
		return nil, api.Question{}, err
	}
	s.run = he.RunOf(n.desc.Domain, q.ID, q.canonical())
	p, err := s.planned(ctx, s.order, 1)
	if err != nil {
		return nil, api.Question{}, err
	}
	if err := n.sums.admit(q.ID, p.Peak(), n.cfg.Sums); err != nil {
		return nil, api.Question{}, err
	}
	// The engine comes first: where none starts, nothing is charged and nothing is on record.
	engine, stop, posture, err := n.engines()
	if err != nil {
		n.sums.release(q.ID)
		return nil, api.Question{}, err
	}
	q.Sum = &sumRecord{Plan: plannedBody(q.ID, p, posture), Order: orderOf(s.order, p)}
	if err := n.accept(ctx, c, sc, derived, f.Datasets, &q); err != nil {
		stop()
		n.sums.release(q.ID)
		return nil, api.Question{}, err
	}
	s.q = q
	if err := s.start(ctx, p, engine, stop); err != nil {
		_, gone := s.submitted(ctx, gated{cause: "the gate could not begin its epoch"})
		return nil, api.Question{}, errors.Join(err, gone)
	}
	return s, n.seen(s.q, at), nil
}

// unpushed is versions for rows that are the units': a dataset that nobody pushed is version 0, the description alone.
func unpushed(d query.Derivation, in map[sandbox.DatasetID]catalog.Dataset) ([]sandbox.InputVersion, error) {
	own := d
	own.Inputs = slices.DeleteFunc(slices.Clone(d.Inputs), func(x query.DerivedInput) bool { return x.Version == 0 && in[x.Dataset].Version == 0 })
	out, err := versions(own, in)
	if err != nil {
		return nil, err
	}
	for i, x := range d.Inputs { // in their order
		if x.Version == 0 && in[x.Dataset].Version == 0 && !slices.ContainsFunc(out, func(v sandbox.InputVersion) bool { return v.Dataset == x.Dataset }) {
			out = slices.Insert(out, min(i, len(out)), sandbox.InputVersion{Dataset: x.Dataset})
		}
	}
	return out, nil
}

// unbounded refuses what the gate does not judge by bounds, before anything is charged.
func unbounded(d query.Derivation) (why []sandbox.Reason) {
	for _, m := range d.Spec.Measures {
		if !egress.Boundable(m.Func) {
			why = append(why, sandbox.Reason{Code: "he.evidence", Column: m.Column, Rule: "of units that do not compare their people nothing says on how few the " + string(m.Func) + " rests",
				Article: articleModel, Change: "ask counts, sums, means, histograms, dot products, ratios, variances or correlations over ciphertexts, or the mpc engine"})
		}
	}
	if len(d.Holdings()) > 0 {
		why = append(why, sandbox.Reason{Code: "he.evidence", Rule: "whose holdings are one contributor is not known over ciphertexts", Article: articleModel, Change: "ask the mpc engine, or without the dataset that names holdings"})
	}
	return why
}

// overCiphertexts says of a question that runs on ciphertexts, and whose answer this gate judges by bounds, that it does; of others nothing.
func (n *Node) overCiphertexts(ctx context.Context, d query.Derivation) (string, error) {
	if len(d.Inputs) == 2 {
		return n.joinedCiphertexts(ctx, d)
	}
	q, why := spec.Compile(d, nil)
	if len(why) > 0 || len(unbounded(d)) > 0 {
		return "", nil
	}
	return fmt.Sprintf("ciphertexts 密态汇总: %d groups, %d measures would run on ciphertexts of three units or more that keep their rows: opdomain he sum ask\n", len(q.Layout.Cells), len(q.Layout.Measures)), nil
}

// planned makes a plan over the enrolled keys of who acts for each unit: a unit's own word for its key is not asked.
func (s *Sum) planned(ctx context.Context, o SumOrder, epoch uint64) (*he.Plan, error) {
	p := &he.Plan{Run: s.run, Epoch: epoch, Set: o.Set, Threshold: o.Threshold, Openers: slices.Clone(o.Openers), Layout: s.layout(),
		Gate: he.Member{ID: he.GateOf(s.n.desc.Domain), Verify: s.n.keys.SigningKey().Public(), Seal: s.n.keys.DecryptKey().Public()}} // the domain's own keys, which units know
	if p.Set == "" {
		if p.Set = he.SumSet; s.joined != nil {
			p.Set = he.ProductSet
		}
	}
	for _, id := range o.Units {
		k, err := s.n.known(ctx, id)
		if err != nil {
			return nil, err
		}
		who, party := k.identity, k.party
		if party.Role != sandbox.Unit || who.Duty != sandbox.Officer || k.revoked {
			return nil, &sandbox.Error{Op: "sum", Kind: sandbox.Denied, Object: string(id), Detail: "an officer of a source unit contributes, who was not shut out"}
		}
		m := he.Member{ID: party.ID}
		if m.Verify, err = sm.ParseVerifyKey(who.SignKey); err != nil {
			return nil, err
		}
		if m.Seal, err = sm.ParseEncryptKey(who.EncryptKey); err != nil {
			return nil, err
		}
		p.Units = append(p.Units, m)
	}
	return p, nil
}

// Again plans the next epoch with who is left, in a new engine; the one before must have ended without a result. Where the question would no
// longer be allowed, it is withheld: Denied.
func (s *Sum) Again(ctx context.Context, o SumOrder) error {
	s.n.asking.Lock()
	defer s.n.asking.Unlock()
	if s.done || s.read || !s.ended {
		return &sandbox.Error{Op: "sum", Kind: sandbox.Conflict, Object: string(s.q.ID), Detail: "a new epoch follows one that was aborted"}
	}
	if err := s.rights(ctx); err != nil {
		_, gone := s.submitted(ctx, gated{cause: err.Error()})
		return errors.Join(err, gone)
	}
	if err := s.settle(ctx); err != nil {
		return err
	}
	if s.question == nil && s.joined == nil { // of a question that was taken up again and does not compile any more
		_, gone := s.submitted(ctx, gated{cause: "the question does not compile for ciphertexts any more"})
		return errors.Join(&sandbox.Error{Op: "sum", Kind: sandbox.Denied, Object: string(s.q.ID), Detail: "the question runs on ciphertexts"}, gone)
	}
	o.Spec, o.Keys, o.List = s.order.Spec, s.order.Keys, s.order.List
	if s.joined != nil {
		var err error
		if o, err = s.placed(ctx, o, s.joined.Derivation); err != nil {
			return err
		}
	}
	p, err := s.planned(ctx, o, s.q.Sum.Plan.Epoch+1)
	if err != nil {
		return err
	}
	if _, why := p.Check(); len(why) > 0 {
		return &he.Refused{Reasons: why}
	}
	if err := s.n.sums.admit(s.q.ID, p.Peak(), s.n.cfg.Sums); err != nil {
		return err
	}
	engine, stop, posture, err := s.n.engines()
	if err != nil {
		s.n.sums.release(s.q.ID)
		return err
	}
	body := plannedBody(s.q.ID, p, posture)
	if err := s.record(ctx, attest.SumPlanned, body, &sumRecord{Plan: body, Order: orderOf(o, p)}); err != nil {
		stop()
		s.n.sums.release(s.q.ID)
		return err
	}
	s.order = o
	return s.start(ctx, p, engine, stop)
}

// start begins the epoch of a plan that is on record.
func (s *Sum) start(ctx context.Context, p *he.Plan, e he.Engine, stop func()) (err error) {
	s.plan, s.stop, s.ended, s.left, s.cause = p, stop, false, nil, ""
	if s.gate, err = he.NewGate(he.Config{Plan: p, Engine: e, Sign: s.n.keys.SigningKey(), Open: s.n.keys.DecryptKey(), Ledger: s.ledger, Rand: s.n.cfg.Rand}); err != nil {
		s.gate = nil
		return s.failed(ctx, err)
	}
	return nil
}

func plannedBody(q sandbox.QuestionID, p *he.Plan, posture [sm.Size]byte) attest.SumPlannedBody {
	digest := p.Digest()
	body := attest.SumPlannedBody{Question: q, Plan: digest[:], Epoch: p.Epoch, Set: string(p.Set), Engine: posture[:]}
	for i, u := range p.Units {
		body.Units = append(body.Units, u.ID)
		if slices.Contains(p.Openers, i) {
			body.Openers = append(body.Openers, u.ID)
		}
	}
	if x := p.Layout.Products; x != nil {
		body.Joined = &attest.JoinedBody{Holders: []sandbox.PartyID{p.Units[x.Holders[0]].ID, p.Units[x.Holders[1]].ID}, List: x.List, People: x.Subjects}
	}
	return body
}

// record puts a step on record; next, where there is one, is how the question then stands.
func (s *Sum) record(ctx context.Context, k attest.Kind, body any, next *sumRecord) error {
	q := s.q
	err := s.n.change(context.WithoutCancel(ctx), domainIdentity, func(ctx context.Context, tx *change) error {
		tx.record(k, "question/"+string(q.ID), body, q.audiences()...)
		if next == nil {
			return nil
		}
		q.Sum = next
		return s.n.saveQuestion(ctx, q)
	})
	if err == nil && next != nil {
		s.q.Sum = next
	}
	return err
}

// settle puts an end of an epoch on record that could not be put there when it came.
func (s *Sum) settle(ctx context.Context) error {
	if s.owed == nil {
		return nil
	}
	q := s.q
	q.Sum = s.over()
	err := s.n.change(context.WithoutCancel(ctx), domainIdentity, func(ctx context.Context, tx *change) error {
		s.owed(tx)
		return s.n.saveQuestion(ctx, q)
	})
	if err == nil {
		s.q.Sum, s.owed = q.Sum, nil
	}
	return err
}

// Plan is the epoch's plan, for the units to check each for itself.
func (s *Sum) Plan() *he.Plan { return s.plan }

// Commit, Reveal and Key are the gate's steps before anything is encrypted.
func (s *Sum) Commit(ctx context.Context) (*he.Message, error) {
	m, err := s.gate.Commit(ctx)
	return m, s.failed(ctx, err)
}

// Reveal takes everybody's commitments.
func (s *Sum) Reveal(ctx context.Context, commitments []*he.Message) (*he.Message, error) {
	m, err := s.gate.Reveal(ctx, commitments)
	return m, s.failed(ctx, err)
}

// Relinearize takes everybody's key shares and gives the gate's share of the key that products are brought back by: a step of joined questions.
func (s *Sum) Relinearize(ctx context.Context, shares []*he.Message) (*he.Message, error) {
	m, err := s.gate.Relinearize(ctx, shares)
	return m, s.failed(ctx, err)
}

// Key takes everybody's key shares, of a joined question everybody's relinearisation shares.
func (s *Sum) Key(ctx context.Context, shares []*he.Message) error {
	return s.failed(ctx, s.gate.Key(ctx, shares))
}

// Abort ends the epoch because a unit is silent past its deadline, by the caller's clock.
func (s *Sum) Abort(ctx context.Context, stage he.Kind, silent sandbox.PartyID) error {
	return s.failed(ctx, s.gate.Abort(stage, silent))
}

// failed puts the end of an epoch on record and gives its cause.
func (s *Sum) failed(ctx context.Context, err error) error {
	if err == nil || s.ended {
		return err
	}
	s.ended = true
	if s.gate != nil {
		s.gate.Close()
	}
	s.stop()
	s.n.sums.release(s.q.ID)
	body := attest.SumAbortedBody{Question: s.q.ID, Plan: s.q.Sum.Plan.Plan, Kind: sandbox.KindOf(err), Stage: "gate", Rule: "the epoch goes on"}
	var a *he.Abort
	if errors.As(err, &a) {
		body.Stage, body.Member = a.Stage.String(), a.Member
		if a.Message != ([sm.Size]byte{}) {
			body.Message = a.Message[:]
		}
		var e *sandbox.Error
		if errors.As(a.Err, &e) {
			body.Rule = e.Detail // of the protocol: it holds no value
		}
		if a.Member != "" && len(s.left) == 0 {
			s.left = []sandbox.PartyID{a.Member}
		}
	}
	s.cause = body.Stage + ": " + body.Rule
	s.owed = s.n.endedSum(s.q, attest.SumAborted, body)
	return errors.Join(err, s.settle(ctx))
}

// Open takes the contributions and the openers' shares, puts the shares on record, reads the sum, and brings it before reviewers or withholds
// it: from here on the asker sees how the question stands and no cause. Nothing is read of a question that would no longer be allowed.
func (s *Sum) Open(ctx context.Context, contributions, shares []*he.Message) (api.Question, error) {
	s.n.asking.Lock()
	defer s.n.asking.Unlock()
	if s.done || s.ended {
		return api.Question{}, &sandbox.Error{Op: "sum", Kind: sandbox.Conflict, Object: string(s.q.ID), Detail: "an epoch is opened once", Hint: "plan the next epoch with fresh ciphertexts"}
	}
	if err := s.rights(ctx); err != nil {
		_ = s.failed(ctx, err) // what is not on record of it comes with the withholding
		return s.submitted(ctx, gated{cause: err.Error()})
	}
	digest := s.plan.Digest()
	result, err := s.gate.OpenChecked(ctx, contributions, shares, func(sum [sm.Size]byte, by []*he.Message) error {
		for _, m := range by { // on record before anything is read
			d := m.Digest()
			if err := s.record(ctx, attest.SumShared, attest.SumSharedBody{Question: s.q.ID, Plan: digest[:], Unit: s.plan.Units[m.From].ID, Sum: sum[:], Message: d[:]}, nil); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return api.Question{}, s.failed(ctx, err)
	}
	s.ended, s.read = true, true
	s.stop()
	s.n.sums.release(s.q.ID)
	s.owed = s.n.endedSum(s.q, attest.SumOpened, attest.SumOpenedBody{Question: s.q.ID, Plan: digest[:], Sum: result.Sum[:]})
	return s.submitted(ctx, s.gated(ctx, result))
}

// GiveUp withholds the question after an abort: nobody plans another epoch.
func (s *Sum) GiveUp(ctx context.Context, cause string) error {
	s.n.asking.Lock()
	defer s.n.asking.Unlock()
	if s.done {
		return nil
	}
	if !s.ended {
		_ = s.failed(ctx, &sandbox.Error{Op: "sum", Kind: sandbox.Unavailable, Object: string(s.q.ID), Detail: "the epoch goes on"})
	}
	_, err := s.submitted(ctx, gated{cause: cause})
	return err
}

// submitted brings what was found before reviewers, or withholds it, with the end of the epoch if that is owed. It can be taken again where it
// failed, by GiveUp. Expired where the asker was shut out: nothing is submitted. Callers hold asking.
func (s *Sum) submitted(ctx context.Context, found gated) (api.Question, error) {
	asker, err := s.n.known(ctx, s.q.Asker)
	if err != nil {
		return api.Question{}, err
	}
	if asker.revoked { // the author submits, also what is withheld: the evidence ends with the sum's end, and nothing is computing any more
		q := s.q
		q.Sum, q.State = s.over(), stateWithheld
		if err := s.n.change(context.WithoutCancel(ctx), domainIdentity, func(ctx context.Context, tx *change) error {
			if s.owed != nil {
				s.owed(tx)
			}
			return s.n.saveQuestion(ctx, q)
		}); err != nil {
			return api.Question{}, err
		}
		s.q, s.owed, s.done = q, nil, true
		return api.Question{}, &sandbox.Error{Op: "sum", Kind: sandbox.Expired, Object: string(s.q.ID), Detail: "who asked was revoked, and nobody else submits it"}
	}
	found.record = s.owed
	q := s.q
	q.Sum = s.over()
	if err := s.n.outgoing(ctx, s.c, &q, nil, s.params, func(context.Context) gated { return found }); err != nil {
		return api.Question{}, err
	}
	s.q, s.owed, s.done = q, nil, true
	return s.n.seen(s.q, s.n.now()), nil
}

// sumEvidence is what the agency and the owners see of how a total came about.
type sumEvidence struct {
	Plan      []byte            `json:"plan"`
	Epoch     uint64            `json:"epoch"`
	Set       he.SetName        `json:"set"`
	Units     []sandbox.PartyID `json:"units"`
	Threshold int               `json:"threshold"` // so many units, with the gate, could open single contributions
	Security  int               `json:"security"`  // bits to which shares hide what they are made of
	Bounds    string            `json:"bounds"`

	Joined *attest.JoinedBody `json:"joined,omitempty"`
}

// gated judges a result by the bounds that units state.
func (s *Sum) gated(ctx context.Context, r *he.Result) gated {
	fail := func(err error) gated {
		if egress.HardHit(err) {
			return gated{cause: err.Error(), hit: err}
		}
		return gated{cause: err.Error()}
	}
	a, err := s.answer(r)
	if err != nil {
		return fail(err)
	}
	digest := s.plan.Digest()
	b := egress.BoundedAnswer{Dimensions: a.Dimensions, Inputs: s.q.Inputs, Joined: s.joined != nil,
		Evidence: sumEvidence{digest[:], r.Epoch, s.plan.Set, r.Units, r.Threshold, r.Budget.Security, s.bounds(), s.q.Sum.Plan.Joined}}
	for _, o := range a.Outputs {
		b.Measures = append(b.Measures, sandbox.Measure{Name: o.Name, Func: o.Func, Part: o.Part, Unit: o.Unit, Scale: o.Scale})
	}
	for _, u := range r.Units { // the recipient is the asker; affiliation holds both ways
		unit, _, err := s.n.docs.parties.Get(ctx, string(u))
		if err != nil {
			return fail(err)
		}
		b.Known = append(b.Known, sandbox.Affiliated(s.c.Party, unit))
	}
	if x := s.plan.Layout.Products; x != nil { // who knows one holder's rows knows half of every contribution
		b.Known = []bool{b.Known[x.Holders[0]] || b.Known[x.Holders[1]]}
	}
	wide := &sandbox.Error{Op: "sum", Kind: sandbox.Withheld, Object: string(s.q.ID), Detail: "a total is beyond what a result holds"}
	for _, g := range a.Groups {
		if g.Rows() == 0 {
			continue
		}
		cell := egress.BoundedCell{Labels: g.Labels}
		for _, v := range g.Values {
			o, ok := boundedOutput(v)
			if !ok {
				return fail(wide)
			}
			cell.Outputs = append(cell.Outputs, o)
		}
		b.Cells = append(b.Cells, cell)
	}
	slices.SortFunc(b.Cells, func(x, y egress.BoundedCell) int { return slices.Compare(x.Labels, y.Labels) })
	checked, err := egress.CheckBounded(s.q.ID, b, s.params)
	if err != nil {
		return fail(fmt.Errorf("not checked: %w", err))
	}
	uncertified, err := s.uncertified(ctx)
	if err != nil {
		return fail(err)
	}
	return gated{checked: checked, uncertified: uncertified}
}
