package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/unit"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// bearer carries one unit's messages by calling the domain as that unit.
type bearer struct {
	n    *Node
	c    api.Caller
	id   sandbox.QuestionID
	mute he.Kind // a kind that it keeps
}

var errMute = errors.New("the process was killed")

func (b *bearer) Standing(ctx context.Context) (unit.Standing, error) {
	s, err := b.n.Sum(ctx, b.c, b.id)
	out := unit.Standing{Epoch: s.Epoch, Kind: he.Kind(s.Kind)}
	for _, u := range s.Units {
		out.Sent = out.Sent || u.Identity == b.c.Identity.ID && u.Sent
	}
	return out, err
}

func (b *bearer) Send(ctx context.Context, epoch uint64, kind he.Kind, m []byte) error {
	if kind == b.mute {
		return errMute
	}
	_, err := b.n.TakeSumMessage(ctx, b.c, api.SumAddress{Question: b.id, Epoch: epoch, Kind: int(kind)}, sm.Sum(m), bytes.NewReader(m))
	return err
}

func (b *bearer) Fetch(ctx context.Context, epoch uint64, kind he.Kind, from int) ([]byte, error) {
	var out bytes.Buffer
	err := b.n.SumMessage(ctx, b.c, api.SumAddress{Question: b.id, Epoch: epoch, Kind: int(kind), From: from}, &out)
	return out.Bytes(), err
}

func (b *bearer) Leave(ctx context.Context, epoch uint64, why string) error {
	_, err := b.n.LeaveSum(ctx, b.c, b.id, api.SumLeave{Epoch: epoch, Reason: why})
	return err
}

// carrying is a domain whose units take part by themselves, on a clock that the test sets.
type carrying struct {
	*summing
	mu  sync.Mutex
	now time.Time
}

func newCarrying(t *testing.T) *carrying {
	t.Helper()
	o := &carrying{summing: newSumming(t), now: testConfig("").Now()}
	o.clock(o.n)
	return o
}

func (o *carrying) clock(n *Node) {
	n.cfg.Now = func() time.Time { o.mu.Lock(); defer o.mu.Unlock(); return o.now }
}

func (o *carrying) later(d time.Duration) {
	o.mu.Lock()
	o.now = o.now.Add(d)
	o.mu.Unlock()
	o.n.TendSums(o.Context())
}

func (o *carrying) caller(u *holder) api.Caller {
	o.Helper()
	k, err := o.n.known(o.Context(), u.id)
	if err != nil {
		o.Fatal(err)
	}
	return api.Caller{Identity: k.identity, Party: k.party}
}

func (o *carrying) request(openers ...int) api.SumRequest {
	x := o.order(openers...)
	r := api.SumRequest{Spec: x.Spec, Keys: []api.SumLabels{{As: "code", Labels: x.Keys["code"]}}, Order: api.SumOrder{Units: x.Units, Threshold: len(openers)}}
	for _, i := range openers {
		r.Order.Openers = append(r.Order.Openers, x.Units[i])
	}
	return r
}

// part is a unit's in the epoch that goes on.
func (o *carrying) part(u *holder, id sandbox.QuestionID) unit.Part {
	o.Helper()
	got, err := o.n.SumPlan(o.Context(), o.caller(u), id)
	if err != nil {
		o.Fatal(err)
	}
	plan, err := he.DecodePlan(got.Plan)
	if err != nil {
		o.Fatal(err)
	}
	return unit.Part{Plan: plan, Unit: sandbox.PartyID(u.id), Sign: u.keys.SigningKey(), Open: u.keys.DecryptKey(), Engine: he.NewLocal(rand.Reader), Ledger: u.ledger, Rand: rand.Reader, Every: time.Millisecond,
		Sleep: func(ctx context.Context, d time.Duration) error { time.Sleep(d); return ctx.Err() },
		Rows: func(ctx context.Context) (*he.Partial, error) {
			if u.rows != nil {
				return u.rows(ctx, plan)
			}
			p, err := he.NewPartial(&plan.Layout)
			if err == nil {
				err = u.fill(p)
			}
			return p, err
		}}
}

// play has every unit take part, and gives how each ended. mute names a unit that keeps its message of a kind.
func (o *carrying) play(id sandbox.QuestionID, mute sandbox.IdentityID, kind he.Kind) []error {
	o.Helper()
	out, parts := make([]error, len(o.units)), make([]unit.Part, len(o.units))
	for i, u := range o.units {
		parts[i] = o.part(u, id)
	}
	ctx, stop := context.WithCancel(o.Context())
	defer stop()
	var all sync.WaitGroup
	for i, u := range o.units {
		b := &bearer{n: o.n, c: o.caller(u), id: id}
		if u.id == mute {
			b.mute = kind
		}
		all.Go(func() {
			out[i] = parts[i].Run(ctx, b)
			if b.mute != 0 && b.mute != he.Share { // the others send theirs and wait for it: they are stopped, as their people would
				for range 3000 {
					s, err := o.n.Sum(ctx, b.c, id)
					if err != nil || s.Kind != int(b.mute) || !slices.ContainsFunc(s.Units, func(u api.SumUnit) bool { return !u.Sent && u.Identity != mute }) {
						break
					}
					time.Sleep(10 * time.Millisecond)
				}
				stop()
			}
		})
	}
	all.Wait()
	return out
}

// TestCarriedSum: the domain carries an epoch from messages that units bring. One is silent past the deadline: the abort is on record, the asker learns
// with whom and not why, and the next epoch without it comes before reviewers.
func TestCarriedSum(t *testing.T) {
	o := newCarrying(t)
	ctx := t.Context()
	got, err := o.n.AskSum(ctx, o.operator.Caller, o.request(0, 1, 2))
	if err != nil || got.Question.State != stateComputing || got.Step != "commitment" || got.Epoch != 1 || len(got.Units) != 4 {
		t.Fatalf("%+v %v", got, err)
	}
	id := got.Question.ID
	if _, err := o.n.AskSum(ctx, o.operator.Caller, o.request(0, 1, 2)); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("the same question again: %v", err)
	}
	for i, err := range o.play(id, "clinic-3", he.Share) {
		if i == 2 != errors.Is(err, errMute) || i != 2 && err != nil {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	o.later(5 * time.Minute)
	if s, _ := o.n.Sum(ctx, o.operator.Caller, id); s.Step != "share" || s.Aborted {
		t.Errorf("before its deadline: %+v", s)
	}
	o.later(6 * time.Minute)
	asker, _ := o.n.Sum(ctx, o.operator.Caller, id)
	agency, _ := o.n.Sum(ctx, o.agency.Caller, id)
	if !asker.Aborted || asker.Cause != "" || !asker.Units[2].Left || asker.Units[1].Left || agency.Cause != "share: arrives before its deadline" {
		t.Errorf("%+v %+v", asker, agency)
	}
	if _, err := o.n.BeginSumEpoch(ctx, o.agency.Caller, id, api.SumOrder{}); !errors.Is(err, sandbox.Denied) {
		t.Errorf("the agency asks: %v", err)
	}
	o.units = slices.Delete(o.units, 2, 3)
	next, err := o.n.BeginSumEpoch(ctx, o.operator.Caller, id, api.SumOrder{})
	if err != nil || next.Epoch != 2 || len(next.Units) != 3 || next.Threshold != 3 {
		t.Fatalf("%+v %v", next, err)
	}
	for i, err := range o.play(id, "", 0) {
		if err != nil {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	q, err := o.n.Question(ctx, o.operator.Caller, id)
	if err != nil || q.State != stateInReview {
		t.Fatalf("%+v %v", q, err)
	}
	values, _ := o.result(q)
	if values["a count"] != 40+41+43 || values["c count"] != 75 {
		t.Errorf("%v", values)
	}
	o.steps(attest.SumPlanned, attest.SumAborted, attest.SumPlanned, attest.SumShared, attest.SumShared, attest.SumShared, attest.SumOpened)
	if len(o.n.sums.live)+len(o.n.sums.room) > 0 {
		t.Error("what has ended is held")
	}
	o.audit()
}

// TestCarriedSumRestart: the domain stops in an epoch. At its start the abort is on record, a unit that comes back has nothing to go on with, and the
// question goes on with another epoch; then its asker is shut out, and it is computing no more.
func TestCarriedSumRestart(t *testing.T) {
	o := newCarrying(t)
	ctx := t.Context()
	got, err := o.n.AskSum(ctx, o.operator.Caller, o.request(0, 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	id := got.Question.ID
	o.play(id, "clinic-1", he.Contribution)
	engines := o.n.cfg.Engines
	if err := o.n.Close(); err != nil {
		t.Fatal(err)
	}
	if o.n, err = Open(ctx, testConfig(o.dir)); err != nil {
		t.Fatal(err)
	}
	o.n.cfg.Engines = engines
	o.clock(o.n)
	s, err := o.n.Sum(ctx, o.agency.Caller, id)
	if err != nil || !s.Aborted || s.Cause != "gate: the domain goes on" {
		t.Fatalf("%+v %v", s, err)
	}
	o.steps(attest.SumPlanned, attest.SumAborted)
	if s, err = o.n.BeginSumEpoch(ctx, o.operator.Caller, id, api.SumOrder{}); err != nil || s.Epoch != 2 || len(s.Units) != 4 {
		t.Fatalf("%+v %v", s, err)
	}
	// A unit's process that stopped in this epoch comes back: it leaves by its own word, and says no second share is made.
	o.play(id, "clinic-1", he.KeyShare)
	err = o.part(o.units[0], id).Run(ctx, &bearer{n: o.n, c: o.caller(o.units[0]), id: id})
	var left *unit.Left
	if !errors.As(err, &left) || left.Why != unit.WhyRestart || !strings.Contains(err.Error(), "no second share") {
		t.Errorf("%v", err)
	}
	if s, _ = o.n.Sum(ctx, o.agency.Caller, id); !s.Aborted || !s.Units[0].Left || !strings.Contains(s.Cause, "a unit's process goes on") {
		t.Errorf("%+v", s)
	}
	if err := o.n.RevokeIdentity(ctx, o.agency.Caller, "operator", "left"); err != nil {
		t.Fatal(err)
	}
	if err := o.n.Tend(ctx); err != nil {
		t.Fatal(err)
	}
	rec, _, err := o.n.docs.questions.Get(ctx, string(id))
	if err != nil || rec.State != stateWithheld || rec.Review != nil {
		t.Errorf("%v %v", rec.State, err)
	}
	if s, _ = o.n.Sum(ctx, o.agency.Caller, id); s.Aborted || s.Question.Code != sandbox.CodeWithheld {
		t.Errorf("%+v", s)
	}
	o.audit()
}

// TestCarriedSumEnds: a question that nobody begins anew is withheld after its time, one that its asker gives up at once, in an epoch too.
func TestCarriedSumEnds(t *testing.T) {
	o := newCarrying(t)
	ctx := t.Context()
	first, err := o.n.AskSum(ctx, o.operator.Caller, o.request(0, 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	o.later(9 * time.Hour)
	s, _ := o.n.Sum(ctx, o.agency.Caller, first.Question.ID)
	if !s.Aborted || !s.Units[0].Left || !s.Units[3].Left {
		t.Errorf("nobody began: %+v", s)
	}
	if _, err := o.n.BeginSumEpoch(ctx, o.operator.Caller, first.Question.ID, api.SumOrder{}); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("with nobody left: %v", err)
	}
	o.later(71 * time.Hour)
	if err := o.n.Tend(ctx); err != nil {
		t.Fatal(err)
	}
	if s, _ = o.n.Sum(ctx, o.agency.Caller, first.Question.ID); s.Question.State != stateComputing {
		t.Errorf("before its time: %+v", s)
	}
	o.later(2 * time.Hour)
	if err := o.n.Tend(ctx); err != nil {
		t.Fatal(err)
	}
	rec, _, err := o.n.docs.questions.Get(ctx, string(first.Question.ID))
	if err != nil || rec.Review == nil || rec.Review.State != egress.Withheld {
		t.Fatalf("%v %v", rec.Review, err)
	}
	other := o.request(0, 1, 2)
	other.Spec = asking("sc-x", []string{"kind"}, countOf)
	other.Keys = []api.SumLabels{{As: "kind", Labels: []string{"x", "y"}}}
	second, err := o.n.AskSum(ctx, o.operator.Caller, other)
	if err != nil || second.Question.State != stateComputing {
		t.Fatalf("%+v %v", second, err)
	}
	if s, err = o.n.EndSum(ctx, o.agency.Caller, second.Question.ID); err != nil || s.Question.State != stateWithheld {
		t.Errorf("%+v %v", s, err)
	}
	if _, err := o.n.EndSum(ctx, o.agency.Caller, second.Question.ID); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("twice: %v", err)
	}
	o.steps(attest.SumPlanned, attest.SumAborted, attest.SumPlanned, attest.SumAborted)
	o.audit()
}

// TestSumDoor: what is not the unit's own message of the step does not come in; two different ones end the epoch under the unit's name; and a domain holds no
// more than its limits.
func TestSumDoor(t *testing.T) {
	o := newCarrying(t)
	ctx := t.Context()
	got, err := o.n.AskSum(ctx, o.operator.Caller, o.request(0, 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	id, u := got.Question.ID, o.units[0]
	commit := func(u *holder, at int) []byte {
		x, err := he.NewUnit(he.Config{Plan: o.part(u, id).Plan, Engine: he.NewLocal(rand.Reader), Sign: u.keys.SigningKey(), Open: u.keys.DecryptKey(), Ledger: u.ledger, Rand: rand.Reader}, at)
		if err != nil {
			t.Fatal(err)
		}
		m, err := x.Commit(ctx)
		if err != nil {
			t.Fatal(err)
		}
		return he.AppendMessage(nil, m)
	}
	good, foreign := commit(u, 0), commit(o.units[1], 1)
	at := api.SumAddress{Question: id, Epoch: 1, Kind: int(he.Commitment)}
	put := func(c api.Caller, at api.SumAddress, b []byte, r io.Reader) error {
		_, err := o.n.TakeSumMessage(ctx, c, at, sm.Sum(b), r)
		return err
	}
	late, next := at, at
	late.Epoch, next.Kind = 2, int(he.KeyShare)
	long := append(slices.Clone(good), make([]byte, 1<<20)...)
	for name, x := range map[string]struct {
		c    api.Caller
		at   api.SumAddress
		b    []byte
		kind sandbox.Kind
	}{
		"another's":    {o.caller(u), at, foreign, sandbox.Denied},
		"another step": {o.caller(u), next, good, sandbox.Conflict},
		"no epoch":     {o.caller(u), late, good, sandbox.Conflict},
		"too long":     {o.caller(u), at, long, sandbox.TooLarge},
		"no message":   {o.caller(u), at, []byte("x"), sandbox.Invalid},
		"the asker's":  {o.operator.Caller, at, good, sandbox.Denied},
		"the partner":  {o.partner.Caller, at, good, sandbox.NotFound},
	} {
		if err := put(x.c, x.at, x.b, bytes.NewReader(x.b)); !errors.Is(err, x.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := put(o.caller(u), at, good, bytes.NewReader(foreign)); !errors.Is(err, sandbox.Unsigned) {
		t.Errorf("other bytes than were signed: %v", err)
	}
	forged := slices.Clone(good)
	forged[len(forged)-3] ^= 1
	if err := put(o.caller(u), at, forged, bytes.NewReader(forged)); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a signature that does not hold: %v", err)
	}
	for range 2 { // its answer was lost: it is sent again
		if err := put(o.caller(u), at, good, bytes.NewReader(good)); err != nil {
			t.Errorf("again: %v", err)
		}
	}
	if err := o.n.SumMessage(ctx, o.caller(o.units[1]), at, io.Discard); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("a commitment is shown before all have committed: %v", err)
	}
	o.n.cfg.Sums.Live = 1
	second := o.request(0, 1, 2)
	second.Spec, second.Keys = asking("sc-x", []string{"kind"}, countOf), []api.SumLabels{{As: "kind", Labels: []string{"x", "y"}}}
	if _, err := o.n.AskSum(ctx, o.operator.Caller, second); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("more than this domain holds: %v", err)
	}
	o.n.cfg.Sums = SumLimits{Bytes: 1 << 20}
	if _, err := o.n.AskSum(ctx, o.operator.Caller, second); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("more than it could hold: %v", err)
	}
	o.n.cfg.Sums = SumLimits{}
	m, err := he.ParseMessage(good)
	if err != nil {
		t.Fatal(err)
	}
	if m.Sig, err = u.keys.SigningKey().Sign(rand.Reader, "opdomain he commitment", sm.Frame([]byte{byte(m.Kind)}, m.Plan[:], []byte{0}, func() []byte { d := sm.Sum(m.Parts[0]); return d[:] }())); err != nil {
		t.Fatal(err)
	}
	another := he.AppendMessage(nil, m) // signed anew: other bytes
	if err := put(o.caller(u), at, another, bytes.NewReader(another)); err != nil {
		t.Error(err)
	}
	if s, _ := o.n.Sum(ctx, o.agency.Caller, id); !s.Aborted || !s.Units[0].Left {
		t.Errorf("two messages of one step: %+v", s)
	}
	o.steps(attest.SumPlanned, attest.SumAborted)
	o.audit()
}

// TestCarriedSumReadOnce: a sum that was read while the record took no changes stays the domain's until it does, has no other epoch, and is withheld.
func TestCarriedSumReadOnce(t *testing.T) {
	o := newCarrying(t)
	ctx := t.Context()
	o.n.cfg.Engines = func() (he.Engine, func(), [sm.Size]byte, error) {
		return opening{he.NewLocal(rand.Reader), func() { o.n.admitting.Store(waits) }}, func() {}, sm.Sum([]byte("a test's own process")), nil
	}
	got, err := o.n.AskSum(ctx, o.operator.Caller, o.request(0, 1, 2))
	if err != nil {
		t.Fatal(err)
	}
	id := got.Question.ID
	for i, err := range o.play(id, "", 0) {
		if err != nil {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	o.later(time.Second) // the record still takes nothing
	if o.n.sums.find(id) == nil {
		t.Fatal("what was read is nobody's")
	}
	o.n.admitting.Store(admits)
	if _, err := o.n.BeginSumEpoch(ctx, o.operator.Caller, id, api.SumOrder{}); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("another epoch of what was read: %v", err)
	}
	o.later(time.Second)
	rec, _, err := o.n.docs.questions.Get(ctx, string(id))
	if err != nil || rec.Review == nil || rec.Review.State != egress.Withheld || !rec.Sum.Ended || o.n.sums.find(id) != nil {
		t.Errorf("%v %v", rec.Review, err)
	}
	o.steps(attest.SumPlanned, attest.SumShared, attest.SumShared, attest.SumShared, attest.SumOpened)
	o.audit()
}

// faulty is an engine that first does something else at one operation.
type faulty struct {
	he.Engine
	at      he.Op
	instead func(context.Context) error
	once    *sync.Once
}

func (e faulty) Do(ctx context.Context, op he.Op, args ...[]byte) (out [][]byte, err error) {
	if op == e.at {
		e.once.Do(func() { err = e.instead(ctx) })
	}
	if err != nil {
		return nil, err
	}
	return e.Engine.Do(ctx, op, args...)
}

// TestCarriedSumFaults: an engine that hangs, and a fault of the domain's own, in the making of the key and at the opening: the epoch ends on record, the
// domain lives, and another epoch comes to the end.
func TestCarriedSumFaults(t *testing.T) {
	var late context.CancelFunc
	for name, c := range map[string]struct {
		at      he.Op
		instead func(context.Context) error
		steps   []attest.Kind // before the second epoch
	}{
		"a fault at the beginning": {he.OpNewShare, func(context.Context) error { panic("a fault") }, []attest.Kind{attest.SumPlanned, attest.SumAborted}},
		"a key that hangs":         {he.OpPublicKey, func(ctx context.Context) error { late(); <-ctx.Done(); return ctx.Err() }, []attest.Kind{attest.SumPlanned, attest.SumAborted}},
		"a fault at the opening":   {he.OpOpen, func(context.Context) error { panic("a fault") }, []attest.Kind{attest.SumPlanned, attest.SumShared, attest.SumShared, attest.SumShared, attest.SumAborted}},
	} {
		t.Run(name, func(t *testing.T) {
			o := newCarrying(t)
			ctx, once := t.Context(), &sync.Once{}
			o.n.sums.bound = func(ctx context.Context) (context.Context, context.CancelFunc) {
				ctx, late = context.WithCancel(ctx) // one step is taken at a time
				return ctx, late
			}
			o.n.cfg.Engines = func() (he.Engine, func(), [sm.Size]byte, error) {
				return faulty{he.NewLocal(rand.Reader), c.at, c.instead, once}, func() {}, sm.Sum([]byte("a test's own process")), nil
			}
			got, err := o.n.AskSum(ctx, o.operator.Caller, o.request(0, 1, 2))
			if err != nil {
				t.Fatal(err)
			}
			id := got.Question.ID
			if c.at != he.OpNewShare {
				o.play(id, "", 0)
			}
			s, err := o.n.Sum(ctx, o.agency.Caller, id)
			if err != nil || !s.Aborted || s.Cause == "" || s.Question.State != stateComputing {
				t.Fatalf("%+v %v", s, err)
			}
			o.steps(c.steps...)
			if s, err = o.n.BeginSumEpoch(ctx, o.operator.Caller, id, api.SumOrder{}); err != nil || s.Epoch != 2 {
				t.Fatalf("%+v %v", s, err)
			}
			for i, err := range o.play(id, "", 0) {
				if err != nil {
					t.Errorf("unit %d: %v", i, err)
				}
			}
			if rec, _, err := o.n.docs.questions.Get(ctx, string(id)); err != nil || rec.Review == nil || rec.Review.State == egress.Withheld {
				t.Errorf("%+v %v", rec.Review, err)
			}
			o.audit()
		})
	}
}
