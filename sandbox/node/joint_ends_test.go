package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/policy"
)

// ends holds an end to its evidence: aborted by the rule named, once, withheld by one code, without a cause for the asker.
func (s *side) ends(name string, stage string, member sandbox.PartyID, kind sandbox.Kind) {
	s.o.Helper()
	q := s.o.record(s.id)
	kinds, b := s.o.events(s.id)
	count := func(k attest.Kind) (n int) {
		for _, x := range kinds {
			if x == k {
				n++
			}
		}
		return n
	}
	if !q.Joint.Ended || q.Review == nil || q.Review.State != egress.Withheld || count(attest.JointAborted) != 1 || count(attest.JointOpened) != 0 || b.Stage != stage || b.Member != member || b.Kind != kind || b.Rule == "" {
		s.o.Errorf("%s: %v %+v", name, kinds, b)
	}
	seen, err := s.o.n.Joint(s.o.Context(), s.o.partner.Caller, s.id)
	if err != nil || seen.Question.Code != sandbox.CodeWithheld || seen.Cause != "" || seen.Kind != 0 {
		s.o.Errorf("%s: the asker sees %+v, %v", name, seen.Question, err)
	}
	if seen, err = s.o.n.Joint(s.o.Context(), s.o.agency.Caller, s.id); err != nil || seen.Cause == "" {
		s.o.Errorf("%s: the agency sees no cause, %v", name, err)
	}
	if s.o.n.joints.find(s.id) != nil || s.o.n.sums.room[s.id] != 0 {
		s.o.Errorf("%s: it is still held", name)
	}
	for k := he.Commitment; k <= he.Share; k++ {
		if err := s.o.n.JointMessage(s.o.Context(), s.o.partner.Caller, s.id, int(k), &bytes.Buffer{}); sandbox.KindOf(err) != sandbox.Conflict {
			s.o.Errorf("%s: a message is given after the end: %v", name, err)
		}
	}
	if _, err := s.sends(s.last); sandbox.KindOf(err) != sandbox.Conflict {
		s.o.Errorf("%s: a message is taken after the end: %v", name, err)
	}
	if kinds, _ := s.o.bundled(s.o.agency); kinds[attest.JointAborted] == 0 {
		s.o.Errorf("%s: the agency's bundle has no end", name)
	}
	if kinds, _ := s.o.bundled(s.o.partner); kinds[attest.JointAborted] > 0 {
		s.o.Errorf("%s: the asker's bundle says why it ended", name)
	}
}

// again lets the partner run once more over the result.
func (o *bank) again() {
	o.Helper()
	if err := o.n.store.Tx(o.Context(), func(ctx context.Context) error {
		_, err := o.n.store.Add(ctx, jointOver(o.of, "bank"), -1, 1)
		return err
	}); err != nil {
		o.Fatal(err)
	}
}

// TestJointCheats: what is not of the run is refused and ends nothing; a partner that deviates ends it, with evidence, and nothing is read.
func TestJointCheats(t *testing.T) {
	o, ctx := newBank(t), t.Context()
	o.scenario("sc-m", 1000)
	o.of = o.averages("sc-m", "visits", "cost")
	begins := func() *side { return o.begins(func(r *attest.JointRun) { r.Scenario = "sc-m" }) }
	signedAs := func(s *side, kind he.Kind, parts ...[]byte) *he.Message {
		t.Helper()
		m := &he.Message{Kind: kind, Plan: s.plan.Digest(), Parts: parts}
		in := [][]byte{{byte(kind)}, m.Plan[:], {0}}
		for _, p := range parts {
			d := sm.Sum(p)
			in = append(in, d[:])
		}
		var err error
		if m.Sig, err = o.partner.key.Sign(rand.Reader, "opdomain he "+kind.String(), sm.Frame(in...)); err != nil {
			t.Fatal(err)
		}
		return m
	}

	// Of another run, by another, of another kind, and longer than the plan has it: refused, and the run goes on.
	s, other := begins(), begins()
	for name, x := range map[string]struct {
		m    *he.Message
		kind sandbox.Kind
	}{
		"another run's": {other.p.Commitment(), sandbox.Conflict},
		"out of turn":   {signedAs(s, he.Share, make([]byte, 32)), sandbox.Conflict},
		"the gate's":    {s.fetches(he.Commitment), sandbox.Denied},
		"of two parts":  {signedAs(s, he.Commitment, make([]byte, 10), make([]byte, 18)), sandbox.Invalid},
	} {
		if _, err := s.sends(x.m); sandbox.KindOf(err) != x.kind {
			t.Errorf("%s: %v", name, err)
		}
	}
	b := he.AppendMessage(nil, s.p.Commitment())
	take := func(who seat, digest [sm.Size]byte, body []byte) error {
		_, err := o.n.TakeJointMessage(ctx, who.Caller, s.id, int(he.Commitment), digest, bytes.NewReader(body))
		return err
	}
	if err := take(o.partner, sm.Sum([]byte("x")), b); sandbox.KindOf(err) != sandbox.Unsigned {
		t.Errorf("another body than was signed: %v", err)
	}
	if err := take(o.partner, sm.Sum(b), append(b, make([]byte, 1<<12)...)); sandbox.KindOf(err) != sandbox.TooLarge {
		t.Errorf("a longer message: %v", err)
	}
	if err := take(o.partner, sm.Sum(b[:40]), b[:40]); sandbox.KindOf(err) != sandbox.Invalid {
		t.Errorf("a shorter message: %v", err)
	}
	for _, who := range []seat{o.operator, o.unit, o.agency} {
		if err := take(who, sm.Sum(b), b); err == nil {
			t.Errorf("%s takes part", who.Party.ID)
		}
		if err := o.n.JointMessage(ctx, who.Caller, s.id, int(he.Commitment), &bytes.Buffer{}); err == nil {
			t.Errorf("%s fetches a message", who.Party.ID)
		}
	}
	for k := he.KeyShare; k <= he.Share; k++ {
		if err := o.n.JointMessage(ctx, o.partner.Caller, s.id, int(k), &bytes.Buffer{}); sandbox.KindOf(err) != sandbox.NotFound {
			t.Errorf("the gate's %s is there before its time: %v", k, err)
		}
	}
	// The same message again changes nothing; another one of a step that was taken ends the run.
	s.must(s.p.Commitment(), nil)
	if j := s.must(s.p.Commitment(), nil); j.Kind != int(he.KeyShare) {
		t.Errorf("the same again: %d", j.Kind)
	}
	s.must(signedAs(s, he.Commitment, bytes.Repeat([]byte{1}, 32)), nil)
	s.ends("two commitments", "commitment", "bank", sandbox.Conflict)

	// A key share that was not committed to.
	s = begins()
	s.must(s.p.Commitment(), nil)
	other.must(other.p.Commitment(), nil)
	share, err := other.p.Reveal(other.fetches(he.Commitment))
	if err != nil {
		t.Fatal(err)
	}
	s.must(signedAs(s, he.KeyShare, share.Parts[0]), nil)
	s.ends("a mixed key", "key share", "bank", sandbox.Tampered)
	if _, err := o.n.EndJoint(ctx, o.operator.Caller, other.id); err == nil {
		t.Error("another party ends a run")
	}
	if _, err := o.n.EndJoint(ctx, o.partner.Caller, other.id); err != nil {
		t.Error(err)
	}
	other.last = other.p.Commitment()
	other.ends("given up", "gate", "", sandbox.Unavailable)

	// Shares of other scores, scores that no model gives, and what is no ciphertext.
	for name, change := range map[string]func(parts [][]byte){
		"shares that changed places":   func(p [][]byte) { p[1], p[3], p[5], p[7] = p[3], p[5], p[7], p[1] },
		"a coefficient over its prime": func(p [][]byte) { p[0] = bytes.Repeat([]byte{0xff}, len(p[0])) },
		"parts of other lengths":       func(p [][]byte) { p[0], p[1] = append(bytes.Clone(p[0]), 0), p[1][1:] },
	} {
		s := begins()
		m := s.applied()
		parts := slices.Clone(m.Parts)
		change(parts)
		kind := sandbox.Tampered
		if name != "shares that changed places" {
			kind = sandbox.Invalid
		}
		if j := s.must(signedAs(s, he.Share, parts...), nil); j.Question.State != stateWithheld {
			t.Errorf("%s: %s", name, j.Question.State)
		}
		s.ends(name, "share", "bank", kind)
		if j, err := o.asksRun(o.run(func(r *attest.JointRun) { r.Scenario = "sc-m" })); err != nil || !slices.Contains(codesOfDecision(j.Question.Decision), policy.CodeJointOnce) {
			t.Errorf("%s: shares were taken, and another run follows over the result: %+v %v", name, j.Question.Decision, err)
		}
		o.again()
	}
	// Scores of fewer groups, as another model's size or count would have it, are not of the plan.
	s = begins()
	m := s.applied()
	if _, err := s.sends(signedAs(s, he.Share, m.Parts[:6]...)); sandbox.KindOf(err) != sandbox.Invalid {
		t.Errorf("fewer scores: %v", err)
	}
	if j := s.must(m, nil); j.Question.State != stateInReview {
		t.Errorf("after it: %s", j.Question.State)
	}
}

// TestJointWithheld: a run of more groups than the party answers is withheld by one code, as late as one that could not be read and as the party's opened one
// over the result, and averages beyond a range do not show.
func TestJointWithheld(t *testing.T) {
	o := newBank(t)
	s := o.begins(func(r *attest.JointRun) { r.Groups = 1 })
	if j := s.must(s.applied(), nil); j.Question.State != stateWithheld || j.Question.Code != sandbox.CodeWithheld || j.Cause != "" || j.Run != 1 {
		t.Fatalf("%+v", j)
	}
	s.ends("more groups than the party answers", "gate", "", sandbox.Withheld)
	if kinds, _ := o.events(s.id); !slices.Contains(kinds, attest.JointShared) {
		t.Errorf("%v", kinds)
	}
	if j, err := o.asksRun(o.run(nil)); err != nil || !slices.Contains(codesOfDecision(j.Question.Decision), policy.CodeJointOnce) {
		t.Errorf("another try says how many groups there are: %+v %v", j.Question.Decision, err)
	}
	o.again()
	s = o.begins(func(r *attest.JointRun) { r.Features[1].Range = 100 })
	m := secretModel
	m.Ranges = []float64{20, 100}
	share, averages := s.encrypted()
	out, err := s.p.Apply(t.Context(), share, averages, &m)
	if err != nil {
		t.Fatal(err)
	}
	if j := s.must(out, nil); j.Question.State != stateInReview {
		t.Fatal(j.Question.State)
	}
	var e jointEvidence
	if err := json.Unmarshal(o.record(s.id).Review.Evidence, &e); err != nil || e.Clipped == 0 || e.Of != o.of || e.Party != "bank" {
		t.Errorf("%+v %v", e, err)
	}
}

// TestJointEnds: silence, a source that was revoked, a party that was shut out, a stop: each ends a run on record; nothing opens twice.
func TestJointEnds(t *testing.T) {
	o, ctx := newBank(t), t.Context()
	s := o.begins(nil)
	s.must(s.p.Commitment(), nil)
	o.later(9 * time.Minute)
	if o.record(s.id).State != stateComputing {
		t.Fatal("ended before its deadline")
	}
	o.later(time.Minute)
	s.ends("silence", "key share", "bank", sandbox.Unavailable)

	// A restart loses the key: the run ends on record, and what comes later opens nothing.
	s = o.begins(nil)
	m := s.applied()
	o.restart()
	o.clock()
	s.last = m
	s.ends("a restart", "gate", "", sandbox.Unavailable)
	o.restart()
	o.clock()
	s.ends("and another", "gate", "", sandbox.Unavailable)

	// Of two runs of a party over a result that go on at once, one is opened: the other ends at its next step. Scores whose source is revoked before they
	// leave go back, and a run over it ends.
	beside := o.begins(nil)
	beside.must(beside.p.Commitment(), nil)
	theirs, err := beside.p.Reveal(beside.fetches(he.Commitment))
	if err != nil {
		t.Fatal(err)
	}
	s = o.begins(nil)
	if j := s.must(s.applied(), nil); j.Question.State != stateInReview {
		t.Fatal(j.Question.State)
	}
	beside.must(theirs, nil)
	beside.ends("beside an opened one", "gate", "", sandbox.Denied)
	// The operator's own run over the result goes on beside it.
	own := o.partner
	o.partner = o.operator
	second := o.begins(nil)
	second.must(second.p.Commitment(), nil)
	share, err := second.p.Reveal(second.fetches(he.Commitment))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := o.n.Act(ctx, o.agency.Caller, o.of, o.agency.says(t, attest.ContextReviewAct, attest.ReviewAct{Question: o.of, State: "released", Result: o.record(o.of).Review.Digest, Act: "revoke", Reason: "r", At: o.n.now()})); err != nil {
		t.Fatal(err)
	}
	second.must(share, nil)
	second.ends("the source was revoked", "gate", "", sandbox.Denied)
	o.partner = own
	if _, err := o.votes(o.reviewers[0], s.id); err != nil {
		t.Fatal(err)
	}
	if _, err := o.votes(o.reviewers[1], s.id); err != nil {
		t.Fatal(err)
	}
	if q, err := o.n.Question(ctx, o.partner.Caller, s.id); err != nil || q.State != stateReturned || q.Comment != sourceGone || q.Release != "" {
		t.Errorf("%+v %v", q, err)
	}
	again := attest.ReviewAct{Question: s.id, State: string(egress.Returned), Act: "resubmit", At: o.n.now()}
	if _, err := o.n.Act(ctx, o.partner.Caller, s.id, o.partner.says(t, attest.ContextReviewAct, again)); sandbox.KindOf(err) != sandbox.Denied || !strings.Contains(err.Error(), "scores are read once") {
		t.Errorf("resubmitted: %v", err)
	}
	again.Act = "withdraw"
	if _, err := o.n.Act(ctx, o.partner.Caller, s.id, o.partner.says(t, attest.ContextReviewAct, again)); err != nil {
		t.Errorf("withdrawn: %v", err)
	}
}

// TestJointShutOut: a party whose identity is revoked in a run gets nothing of it, and the runs that were agreed on are all there are.
func TestJointShutOut(t *testing.T) {
	o, ctx := newBank(t), t.Context()
	for range 4 {
		s := o.begins(nil)
		if _, err := o.n.EndJoint(ctx, o.agency.Caller, s.id); err != nil {
			t.Fatal(err)
		}
	}
	s := o.begins(nil)
	if j, err := o.asksRun(o.run(nil)); err != nil || !slices.Equal(codesOfDecision(j.Question.Decision), []string{policy.CodeJointTotal}) {
		t.Errorf("a sixth run: %+v %v", j.Question.Decision, err)
	}
	s.must(s.p.Commitment(), nil)
	if err := o.n.RevokeIdentity(ctx, o.agency.Caller, "bank", "r"); err != nil {
		t.Fatal(err)
	}
	o.n.TendJoints(ctx)
	if q := o.record(s.id); q.State != stateWithheld || q.Review != nil || !q.Joint.Ended {
		t.Errorf("%s", q.State)
	}
	kinds, b := o.events(s.id)
	if b.Kind != sandbox.Expired || kinds[len(kinds)-1] != attest.JointAborted {
		t.Errorf("%v %+v", kinds, b)
	}
	o.bundled(o.agency)
}

// faultyOp is an engine that fails at one operation: it panics, or hangs until it is told to stop; or is slow there, and something else happens.
type faultyOp struct {
	he.Engine
	at        he.Op
	hangs     func() // ends the step's time; nil: it panics
	meanwhile func() // of a slow one
}

func (f faultyOp) Do(ctx context.Context, op he.Op, args ...[]byte) ([][]byte, error) {
	if op == f.at && f.meanwhile != nil {
		f.meanwhile()
		return f.Engine.Do(ctx, op, args...)
	}
	if op == f.at && f.hangs == nil {
		panic("a fault of the domain")
	}
	if op == f.at {
		f.hangs()
		<-ctx.Done()
		return nil, &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "engine", Detail: "its process runs"}
	}
	return f.Engine.Do(ctx, op, args...)
}

// TestJointFaults: a fault in a step, and an engine that hangs, end the run on record; the domain lives, answers meanwhile, and the next run comes to its
// end. Scores that were read while their source was revoked go nowhere.
func TestJointFaults(t *testing.T) {
	o := newBank(t)
	engine := func(f faultyOp) {
		f.Engine = he.NewLocal(rand.Reader)
		o.n.cfg.Engines = func() (he.Engine, func(), [sm.Size]byte, error) { return f, func() {}, sm.Sum([]byte("p")), nil }
	}
	engine(faultyOp{at: he.OpNewShare})
	j, err := o.asksRun(o.run(nil))
	if err != nil || j.Question.State != stateWithheld {
		t.Fatalf("%+v %v", j.Question, err)
	}
	if _, b := o.events(j.Question.ID); b.Kind != sandbox.Internal {
		t.Errorf("%+v", b)
	}
	engine(faultyOp{at: he.OpEncryptFor})
	s := o.begins(nil)
	s.must(s.p.Commitment(), nil)
	s.must(s.p.Reveal(s.fetches(he.Commitment)))
	s.ends("a fault", "gate", "", sandbox.Internal)
	var over context.CancelFunc
	o.n.sums.bound = func(ctx context.Context) (context.Context, context.CancelFunc) {
		ctx, over = context.WithCancel(ctx)
		return ctx, over
	}
	free := func() {
		if !o.n.asking.TryLock() {
			t.Error("questions wait for the engine")
			return
		}
		o.n.asking.Unlock()
	}
	engine(faultyOp{at: he.OpOpenOne, hangs: func() { free(); over() }})
	s = o.begins(nil)
	s.must(s.applied(), nil)
	o.n.sums.bound = nil
	s.ends("an engine that hangs", "share", "", sandbox.Unavailable)
	own := o.partner
	o.partner = o.operator
	o.clock()
	s = o.begins(nil)
	if j := s.must(s.applied(), nil); j.Question.State != stateInReview {
		t.Errorf("after them: %s", j.Question.State)
	}
	o.partner = own
	o.scenario("sc-m", 5)
	o.of = o.averages("sc-m", "visits", "cost")
	revoked := false
	engine(faultyOp{at: he.OpOpenOne, meanwhile: func() {
		free()
		if revoked || t.Failed() {
			return
		}
		revoked = true
		act := attest.ReviewAct{Question: o.of, State: "released", Result: o.record(o.of).Review.Digest, Act: "revoke", Reason: "r", At: o.n.now()}
		if _, err := o.n.Act(t.Context(), o.agency.Caller, o.of, o.agency.says(t, attest.ContextReviewAct, act)); err != nil {
			t.Error(err)
		}
	}})
	s = o.begins(func(r *attest.JointRun) { r.Scenario = "sc-m" })
	s.must(s.applied(), nil)
	s.ends("revoked while it was read", "gate", "", sandbox.Denied)
}

// TestJointTended: a look at runs that go on takes none from its party, also where questions wait.
func TestJointTended(t *testing.T) {
	o := newBank(t)
	s := o.begins(nil)
	o.n.asking.Lock()
	done := make(chan struct{})
	go func() { o.n.TendJoints(t.Context()); close(done) }()
	select {
	case <-done:
	case <-time.After(time.Minute):
		t.Error("a look at runs that go on waits for questions")
	}
	_, err := s.sends(s.p.Commitment())
	o.n.asking.Unlock()
	<-done
	if err != nil {
		t.Fatal(err)
	}
	s.must(s.p.Reveal(s.fetches(he.Commitment)))
	share, averages := s.fetches(he.KeyShare), s.fetches(he.Contribution)
	if j := s.must(s.p.Apply(t.Context(), share, averages, &secretModel)); j.Question.State != stateInReview {
		t.Error(j.Question.State)
	}
}
