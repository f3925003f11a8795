package node

import (
	"bytes"
	"context"
	"errors"
	"io"
	"math"
	"slices"
	"sync"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
)

// jointRun is a run whose key the gate has a part of, in an engine of its own. A step is taken by whoever brought the message that it waits for, or by
// who ends it; while it is, stepping is set and the rest is that caller's alone.
type jointRun struct {
	n      *Node
	c      api.Caller
	plan   *he.JointPlan
	stop   func()
	params egress.Params

	mu       sync.Mutex // guards what follows but what is the stepping caller's
	stepping bool
	coming   bool // a message is being read
	kind     he.Kind
	due      time.Time
	taken    map[he.Kind][sm.Size]byte // digests of the messages that were taken
	held     map[he.Kind][]byte        // the gate's, encoded
	ended    bool                      // opened or aborted; the key is gone

	q       questionRecord // the stepping caller's from here on
	gate    *he.JointGate
	rows    []int         // of the result, one a score; none of a run that is padding alone
	clipped int           // averages beyond their range
	shared  bool          // the partner's shares are on record, and counted
	owed    func(*change) // the end, that is not on record yet
	found   *gated        // that was not submitted yet
	done    bool
}

// joints are the runs of this process.
type joints struct {
	mu   sync.Mutex
	live map[sandbox.QuestionID]*jointRun
}

func (j *joints) put(x *jointRun) {
	j.mu.Lock()
	defer j.mu.Unlock()
	if j.live == nil {
		j.live = map[sandbox.QuestionID]*jointRun{}
	}
	j.live[x.q.ID] = x
}

func (j *joints) find(id sandbox.QuestionID) *jointRun {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.live[id]
}

func (j *joints) all() (out []*jointRun) {
	j.mu.Lock()
	defer j.mu.Unlock()
	for _, x := range j.live {
		out = append(out, x)
	}
	return out
}

// claim makes the caller the one who does something with a run.
func (x *jointRun) claim() bool {
	x.mu.Lock()
	defer x.mu.Unlock()
	if x.stepping || x.done {
		return false
	}
	x.stepping = true
	return true
}

// settled ends a claim. A run stays until its end is on record.
func (j *joints) settled(x *jointRun) {
	j.mu.Lock()
	defer j.mu.Unlock()
	x.mu.Lock()
	defer x.mu.Unlock()
	x.stepping = false
	if x.done {
		x.held = nil
		delete(j.live, x.q.ID)
	}
}

// close ends all keys: the next start puts it on record.
func (j *joints) close() {
	for _, x := range j.all() {
		if x.claim() {
			x.over()
		}
	}
}

// over ends the key and frees what the run took.
func (x *jointRun) over() {
	x.mu.Lock()
	was := x.ended
	x.ended, x.kind, x.held = true, 0, nil
	x.mu.Unlock()
	if was {
		return
	}
	if x.gate != nil {
		x.gate.Close()
	}
	x.stop()
	x.n.sums.release(x.q.ID)
}

// waitFor says which message comes next, and until when.
func (x *jointRun) waitFor(kind he.Kind, own *he.Message) {
	x.mu.Lock()
	defer x.mu.Unlock()
	if own != nil {
		x.held[own.Kind] = he.AppendMessage(nil, own)
	}
	x.kind, x.due = kind, x.n.now().Add(x.n.cfg.Sums.or().Step)
}

// begin draws the gate's part of the key.
func (x *jointRun) begin(ctx context.Context, e he.Engine) error {
	ctx, cancel := x.n.sums.work(ctx)
	defer cancel()
	var err error
	if x.gate, err = he.NewJointGate(ctx, he.JointConfig{Plan: x.plan, Engine: e, Sign: x.n.keys.SigningKey(), Rand: x.n.cfg.Rand}); err != nil {
		return err
	}
	x.waitFor(he.Commitment, x.gate.Commitment())
	return nil
}

// take takes a step of the gate's. What ends the run is on record and not the asker's to see. A fault of the domain ends the run and nothing else; what
// was read by then is withheld. Callers have the claim, and do not hold asking: an engine that hangs holds up no question.
func (x *jointRun) take(ctx context.Context, step func() error) {
	err := func() (err error) {
		defer func() {
			if recover() == nil { // what it says may hold values
				return
			}
			if x.found != nil {
				x.found = &gated{cause: "gate: the gate takes its step"}
				return
			}
			err = jointError(sandbox.Internal, x.q.ID, "the gate takes its step", "")
		}()
		return step()
	}()
	if err != nil {
		x.n.asking.Lock()
		defer x.n.asking.Unlock()
		x.fail(ctx, err)
	}
}

// rights decides a run again, and finds its source: what it rests on may have changed since it was asked. Denied or Expired where it would not be
// allowed now.
func (x *jointRun) rights(ctx context.Context) (*jointSource, error) {
	n, r := x.n, x.q.Joint.Run
	asker, err := n.known(ctx, x.q.Asker)
	if err != nil {
		return nil, err
	}
	if asker.revoked {
		return nil, jointError(sandbox.Expired, x.q.ID, "who asked was revoked", "")
	}
	if k, err := sm.ParseVerifyKey(asker.identity.SignKey); err != nil || !bytes.Equal(k.Bytes(), x.plan.Partner.Verify.Bytes()) {
		return nil, jointError(sandbox.Expired, x.q.ID, "the keys of the plan are those of who asked", "")
	}
	x.c = api.Caller{Identity: asker.identity, Party: asker.party, Request: x.c.Request}
	decision, s, err := n.decideJoint(ctx, x.c, r, n.now())
	if err != nil {
		return nil, err
	}
	decision.Reasons = slices.DeleteFunc(decision.Reasons, func(r sandbox.Reason) bool { // was counted and charged when it was accepted
		return r.Code == policy.CodeJointTotal || r.Code == policy.CodeBits || x.shared && r.Code == policy.CodeJointOnce
	})
	if len(decision.Reasons) > 0 || s == nil {
		return nil, jointError(sandbox.Denied, x.q.ID, "the run is allowed as long as it goes on: "+first(reasonCodes(decision), policy.CodeJointResult), "")
	}
	x.params = x.params.Stricter(s.params) // a threshold raised meanwhile holds
	return s, nil
}

// fail ends the run, with its cause on record, and withholds the question. Callers hold asking.
func (x *jointRun) fail(ctx context.Context, err error) {
	body := attest.JointAbortedBody{Question: x.q.ID, Plan: x.q.Joint.Planned.Plan, Kind: sandbox.KindOf(err), Stage: "gate", Rule: "the run goes on"}
	var e *sandbox.Error
	if errors.As(err, &e) && e.Detail != "" {
		body.Rule = e.Detail // of the protocol: it holds no value
	}
	var a *he.Abort
	if errors.As(err, &a) {
		body.Stage, body.Member = a.Stage.String(), a.Member
		if a.Message != ([sm.Size]byte{}) {
			body.Message = a.Message[:]
		}
	}
	x.over()
	x.end(ctx, attest.JointAborted, body, gated{cause: body.Stage + ": " + body.Rule})
}

// end owes the record of an end and submits what was found.
func (x *jointRun) end(ctx context.Context, k attest.Kind, body any, found gated) {
	to := x.q.audiences()
	if k == attest.JointAborted { // why may follow from averages: not for who asked
		to = []audienceName{agency, unitsOf(x.q.Spec.Scenario)}
	}
	id := x.q.ID
	x.owed = func(tx *change) { tx.record(k, "question/"+string(id), body, to...) }
	x.found = &found
	x.submit(ctx)
}

// submit brings what was found before reviewers, or withholds it, with the run's end. Where that fails it is owed, and tried again. Callers hold
// asking.
func (x *jointRun) submit(ctx context.Context) {
	ctx = context.WithoutCancel(ctx)
	q := x.q
	rec := *x.q.Joint
	rec.Ended, rec.Cause = true, x.found.cause
	q.Joint = &rec
	asker, err := x.n.known(ctx, q.Asker)
	if err != nil {
		return
	}
	if asker.revoked { // the author submits, also what is withheld
		q.State = stateWithheld
		err = x.n.change(ctx, domainIdentity, func(ctx context.Context, tx *change) error {
			x.owed(tx)
			return x.n.saveQuestion(ctx, q)
		})
	} else {
		found := *x.found
		found.record = x.owed
		err = x.n.outgoing(ctx, api.Caller{Identity: asker.identity, Party: asker.party, Request: x.c.Request}, &q, nil, x.params, func(context.Context) gated { return found })
	}
	if err != nil {
		return
	}
	x.q, x.found, x.owed = q, nil, nil
	x.mu.Lock()
	x.done = true
	x.mu.Unlock()
}

// TakeJointMessage reads the asker's message of the step that goes on, and takes the gate's.
func (n *Node) TakeJointMessage(ctx context.Context, c api.Caller, id sandbox.QuestionID, kind int, digest [sm.Size]byte, body io.Reader) (api.Joint, error) {
	x, err := n.joining(ctx, c, id)
	if err != nil {
		return api.Joint{}, err
	}
	k := he.Kind(kind)
	x.mu.Lock()
	old, again := x.taken[k]
	switch {
	case x.ended || k != x.kind && !again:
		err = jointError(sandbox.Conflict, id, "the run waits for another message, or has ended", "look where it stands: opdomain he partner show "+string(id))
	case x.coming || x.stepping:
		err = jointError(sandbox.Conflict, id, "a message of it is being taken", "look where it stands")
	default:
		x.coming = true
	}
	x.mu.Unlock()
	if err != nil {
		return api.Joint{}, err
	}
	m, err := x.received(k, digest, body)
	ctx = context.WithoutCancel(ctx) // what it leads to does not depend on who brought it
	x.mu.Lock()
	x.coming = false
	if err == nil && (x.ended || x.stepping || k != x.kind && !again) {
		err = jointError(sandbox.Conflict, id, "the run, or its step, ended meanwhile", "look where it stands")
	}
	if err == nil && again && m.Digest() == old {
		x.mu.Unlock()
		return n.Joint(ctx, c, id)
	}
	if err != nil {
		x.mu.Unlock()
		return api.Joint{}, err
	}
	x.taken[k], x.stepping = m.Digest(), true
	x.mu.Unlock()
	defer n.joints.settled(x)
	x.take(ctx, func() error {
		if again {
			return &he.Abort{Plan: x.plan.Digest(), Epoch: 1, Stage: k, Member: x.plan.Partner.ID, Message: m.Digest(), Err: &sandbox.Error{Op: "he", Kind: sandbox.Conflict, Object: k.String(), Detail: "comes once"}}
		}
		return x.step(ctx, k, m)
	})
	return n.jointSeen(c, x.q), nil
}

// received reads a message, at most as long as the plan has it, and holds it to what was signed.
func (x *jointRun) received(kind he.Kind, digest [sm.Size]byte, body io.Reader) (*he.Message, error) {
	room := x.plan.Room(kind)
	b, err := io.ReadAll(io.LimitReader(body, int64(room)+1))
	switch {
	case err != nil && sandbox.KindOf(err) != sandbox.Internal:
		return nil, err
	case err != nil:
		return nil, jointError(sandbox.Unavailable, x.q.ID, "the message ended early", "send it again")
	case len(b) > room:
		return nil, jointError(sandbox.TooLarge, x.q.ID, "a message is as long as the plan has it", "")
	case sm.Sum(b) != digest:
		return nil, jointError(sandbox.Unsigned, x.q.ID, "the message is not the one that was signed", "")
	}
	m, err := he.ParseMessage(b)
	if err == nil {
		err = x.plan.CheckMessage(m, kind, false)
	}
	return m, err
}

// step is the gate's for a message.
func (x *jointRun) step(ctx context.Context, kind he.Kind, m *he.Message) error {
	ctx, cancel := x.n.sums.work(ctx)
	defer cancel()
	switch kind {
	case he.Commitment:
		own, err := x.gate.Reveal(m)
		if err == nil {
			x.waitFor(he.KeyShare, own)
		}
		return err
	case he.KeyShare:
		own, err := x.encrypt(ctx, m)
		if err == nil {
			x.waitFor(he.Share, own)
		}
		return err
	}
	return x.open(ctx, m)
}

// encrypt encrypts the averages of each group, of a run that is still allowed, over a result that still stands. Where there is no group, or more than
// the party answers, it encrypts padding: the run is withheld when the party has used up its opened one, and no try before tells it how many there are.
func (x *jointRun) encrypt(ctx context.Context, share *he.Message) (*he.Message, error) {
	s, err := x.rights(ctx)
	if err != nil {
		return nil, err
	}
	groups, rows, err := s.groups(x.q.Joint.Run, x.n.now())
	if err != nil {
		return nil, err
	}
	if len(groups) > x.plan.Groups {
		groups, rows = nil, nil
	}
	own, clipped, err := x.gate.Encrypt(ctx, share, groups)
	x.rows, x.clipped = rows, clipped
	return own, err
}

// open puts the partner's shares on record, counts the run as an opened one, reads the scores and submits them. The engine works without asking;
// whether the run is allowed is decided before the record, and again before anything is submitted.
func (x *jointRun) open(ctx context.Context, m *he.Message) error {
	n, q := x.n, x.q
	digest := m.Digest()
	scores, bound, err := x.gate.Open(ctx, m, func(d [sm.Size]byte) error {
		n.asking.Lock() // of two runs of a party over a result one gets past this
		defer n.asking.Unlock()
		if _, err := x.rights(ctx); err != nil {
			return err
		}
		err := n.change(context.WithoutCancel(ctx), domainIdentity, func(ctx context.Context, tx *change) error {
			if _, err := n.store.Add(ctx, jointOver(q.Joint.Run.Of, q.Party), 1, 1); err != nil {
				return err
			}
			tx.record(attest.JointShared, "question/"+string(q.ID), attest.JointSharedBody{Question: q.ID, Plan: q.Joint.Planned.Plan, Message: d[:]}, q.audiences()...)
			return nil
		})
		x.shared = err == nil
		return err
	})
	if err != nil {
		return err
	}
	defer clear(scores)
	if len(x.rows) == 0 {
		return &sandbox.Error{Op: "joint run", Kind: sandbox.Withheld, Object: string(q.ID), Detail: "the result has one group with every feature, and no more than the party answers"}
	}
	n.asking.Lock() // no answer that is asked meanwhile is submitted between the decision and this
	defer n.asking.Unlock()
	s, err := x.rights(context.WithoutCancel(ctx))
	if err != nil {
		return err
	}
	x.over()
	x.end(ctx, attest.JointOpened, attest.JointOpenedBody{Question: q.ID, Plan: q.Joint.Planned.Plan, Message: digest[:]}, x.judged(s, scores, bound))
	return nil
}

// jointEvidence is what the agency and the owners see of how scores came about.
type jointEvidence struct {
	Of         sandbox.QuestionID    `json:"of"`
	Result     []byte                `json:"result"` // SM3 of what they are made of
	Party      sandbox.PartyID       `json:"party"`
	Features   []attest.JointFeature `json:"features"`
	Commitment []byte                `json:"commitment"`
	Plan       []byte                `json:"plan"`
	Clipped    int                   `json:"clipped"`     // averages beyond their range, taken as its end
	Bound      float64               `json:"error_bound"` // of a score, before its last decimal's rounding
	Model      string                `json:"model"`
}

// scoreName is what a score is called in a result.
const scoreName = "score"

// judged brings scores to the gate.
func (x *jointRun) judged(s *jointSource, scores []float64, bound float64) gated {
	r := x.q.Joint.Run
	a := egress.Scored{Of: *s.q.Review, Approval: s.approval, Name: scoreName, Decimals: r.Decimals, Span: he.Span, Scores: make([]*int64, len(s.result.Rows)),
		Evidence: jointEvidence{Of: s.q.ID, Result: s.q.Review.Digest, Party: x.q.Party, Features: r.Features, Commitment: r.Commitment, Plan: x.q.Joint.Planned.Plan, Clipped: x.clipped, Bound: bound,
			Model: "linear, within ±8; its party alone has the weights, and nothing proves that those it committed to were used"}}
	scale := math.Pow10(r.Decimals)
	for i, row := range x.rows {
		v := int64(math.Round(scores[i] * scale))
		v = min(max(v, -int64(he.Span*scale)), int64(he.Span*scale)) // a score lies within the span but for its error
		a.Scores[row] = &v
	}
	clear(scores)
	checked, err := egress.CheckScored(x.q.ID, a, x.n.now(), x.params)
	if err != nil {
		if egress.HardHit(err) {
			return gated{cause: err.Error(), hit: err}
		}
		return gated{cause: err.Error()}
	}
	return gated{checked: checked, uncertified: s.q.Review.Uncertified}
}

// JointMessage writes the gate's message of a step to the asker.
func (n *Node) JointMessage(ctx context.Context, c api.Caller, id sandbox.QuestionID, kind int, w io.Writer) error {
	x, err := n.joining(ctx, c, id)
	if err != nil {
		return err
	}
	x.mu.Lock()
	b := x.held[he.Kind(kind)]
	x.mu.Unlock()
	if b == nil {
		return jointError(sandbox.NotFound, id, "no such message of the gate is there", "")
	}
	_, err = w.Write(b)
	return err
}

// joining gives a run that goes on to the identity whose keys are in its plan.
func (n *Node) joining(ctx context.Context, c api.Caller, id sandbox.QuestionID) (*jointRun, error) {
	q, err := n.jointOf(ctx, c, id)
	if err != nil {
		return nil, err
	}
	if q.Asker != c.Identity.ID {
		return nil, jointError(sandbox.Denied, id, "who signed for a run takes part in it", "")
	}
	x := n.joints.find(id)
	if x == nil || q.State != stateComputing {
		return nil, jointError(sandbox.Conflict, id, "the run has ended", "opdomain query show "+string(id))
	}
	return x, nil
}

// EndJoint gives a run up.
func (n *Node) EndJoint(ctx context.Context, c api.Caller, id sandbox.QuestionID) (api.Joint, error) {
	q, err := n.jointOf(ctx, c, id)
	if err != nil {
		return api.Joint{}, err
	}
	if q.Party != c.Party.ID && c.Party.Role != sandbox.Agency {
		return api.Joint{}, jointError(sandbox.Denied, id, "who asked, or the agency, ends it", "")
	}
	x := n.joints.find(id)
	if x == nil || !x.claim() {
		return api.Joint{}, jointError(sandbox.Conflict, id, "it has ended, or a step of it is being taken", "opdomain query show "+string(id))
	}
	defer n.joints.settled(x)
	n.asking.Lock()
	defer n.asking.Unlock()
	if x.found != nil {
		x.submit(ctx)
	} else {
		x.fail(context.WithoutCancel(ctx), jointError(sandbox.Unavailable, id, "given up by "+string(c.Party.Role), ""))
	}
	return n.jointSeen(c, x.q), nil
}

// TendJoints ends runs whose party is silent past its deadline, or was shut out; an end that could not be put on record is put there. It is called
// every second or so.
func (n *Node) TendJoints(ctx context.Context) {
	for _, x := range n.joints.all() {
		if x.overdue(ctx) && x.claim() { // until then its steps are its party's
			x.tend(ctx)
			n.joints.settled(x)
		}
	}
}

// overdue says whether a run that nobody takes a step of is to be ended, or its end to be put on record.
func (x *jointRun) overdue(ctx context.Context) bool {
	x.mu.Lock()
	if x.stepping || x.done {
		x.mu.Unlock()
		return false
	}
	asker, due := x.q.Asker, x.found != nil || !x.n.now().Before(x.due) // no step is taken: they are the last one's that was
	x.mu.Unlock()
	if due {
		return true
	}
	who, err := x.n.known(ctx, asker)
	return err == nil && who.revoked
}

func (x *jointRun) tend(ctx context.Context) {
	x.n.asking.Lock()
	defer x.n.asking.Unlock()
	asker, err := x.n.known(ctx, x.q.Asker)
	x.mu.Lock()
	kind, late := x.kind, !x.n.now().Before(x.due)
	x.mu.Unlock()
	switch {
	case x.found != nil:
		x.submit(ctx)
	case err == nil && asker.revoked:
		x.fail(ctx, jointError(sandbox.Expired, x.q.ID, "who asked was revoked", ""))
	case late:
		x.fail(ctx, x.gate.Abort(kind, x.plan.Partner.ID, "comes before its deadline"))
	}
}

// endLostJoints puts the end of runs on record that went on when the domain stopped: their keys were in memory, and nothing opens any more.
func (n *Node) endLostJoints(ctx context.Context) error {
	rows, err := n.docs.questions.List(ctx, listState(stateComputing))
	for _, r := range rows {
		q := r.Value
		if q.Joint == nil || n.joints.find(q.ID) != nil {
			continue
		}
		asker, kerr := n.known(ctx, q.Asker)
		if kerr != nil {
			err = errors.Join(err, kerr)
			continue
		}
		x := &jointRun{n: n, c: api.Caller{Identity: asker.identity, Party: asker.party}, q: q, stop: func() {}, ended: true, params: n.gateParams()}
		x.fail(ctx, jointError(sandbox.Unavailable, q.ID, "the domain goes on", ""))
		if !x.done {
			err = errors.Join(err, jointError(sandbox.Unavailable, q.ID, "its end is on record", "free the disk or restore the store"))
		}
	}
	return err
}

// gateParams are the district's thresholds.
func (n *Node) gateParams() egress.Params { return n.thresholds(query.Derivation{}) }

// standsOn says, of scores, whether what they are made of still stands at their release.
func (n *Node) standsOn(ctx context.Context, q *questionRecord, at time.Time) (bool, error) {
	if q.Joint == nil {
		return true, nil
	}
	s, err := n.standingResult(ctx, q.Joint.Run.Of, q.Spec.Scenario, at)
	return s != nil, err
}
