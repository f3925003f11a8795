package unit

import (
	"context"
	"errors"
	"io"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/sandbox"
)

// Standing (当前步骤) is where an epoch stands, as its carrier says: the kind of message it waits for, 0 when it ended, and whether this unit's is
// there.
type Standing struct {
	Epoch uint64
	Kind  he.Kind
	Sent  bool
}

// Carrier (消息承运方) carries the messages of one question's epochs. Nothing that it says is believed beyond when to look.
type Carrier interface {
	Standing(ctx context.Context) (Standing, error)
	Send(ctx context.Context, epoch uint64, kind he.Kind, message []byte) error
	Fetch(ctx context.Context, epoch uint64, kind he.Kind, from int) ([]byte, error)
	// Leave tells the others that this unit does not go on, for one of the reasons of package api.
	Leave(ctx context.Context, epoch uint64, why string) error
}

// Why a unit leaves.
const (
	WhyPlan     = "plan"
	WhyRestart  = "restart"
	WhyProtocol = "protocol"
	WhyRows     = "rows" // whatever is found in rows, also that those of a list whom the unit has, or what they have, are nearly as they were before
	WhyList     = "list" // the list of people is not the plan's, or nearly an earlier one: follows from lists alone
)

// Left (已退出) is the end of this unit's part in an epoch that it leaves: no message of it follows.
type Left struct {
	Epoch uint64
	Why   string
	Err   error
}

func (l *Left) Error() string { return l.Err.Error() }

func (l *Left) Unwrap() error { return l.Err }

// Part (参与一轮) is what a unit brings to one epoch.
type Part struct {
	Plan   *he.Plan
	Unit   sandbox.PartyID
	Sign   *sm.SigningKey
	Open   *sm.DecryptKey
	Engine he.Engine
	Ledger *he.Ledger
	Rand   io.Reader
	Rows   func(context.Context) (*he.Partial, error) // its rows, added up for the plan's layout
	Sleep  func(context.Context, time.Duration) error
	Every  time.Duration                // between looks at where the epoch stands
	Say    func(he.Kind, [sm.Size]byte) // after each message that was sent; nil: nobody is told
}

// ended says that others ended the epoch.
func ended(epoch uint64) error {
	return &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "epoch", Detail: "it ended before this unit had done its part", Hint: "wait for the next epoch"}
}

// Run takes part until this unit's part is done: its contribution was sent, and as an opener its share. *Left when it leaves of itself, Conflict when
// the epoch was begun here before and nothing is missing of it; Unavailable when the epoch ended without it. The plan was decided on.
func (p Part) Run(ctx context.Context, c Carrier) error {
	epoch, at := p.Plan.Epoch, (Offer{Plan: p.Plan}).place(p.Unit)
	leave := func(why string, err error) error {
		if ctx.Err() != nil {
			return err // stopped: whoever waits finds it silent
		}
		return &Left{epoch, why, errors.Join(err, c.Leave(ctx, epoch, why))}
	}
	if s, err := c.Standing(ctx); err != nil {
		return err
	} else if s.Epoch != epoch || s.Kind == 0 {
		return ended(epoch)
	}
	if err := p.Ledger.Fresh(p.Plan.Run, epoch); err != nil { // no row is read for an epoch that this unit cannot take part in
		return p.restarted(ctx, c, at, err, leave)
	}
	rows, err := p.Rows(ctx)
	if err != nil {
		why := WhyRows
		if e := (*sandbox.Error)(nil); errors.As(err, &e) && e.Object == "list" {
			why = WhyList
		}
		return leave(why, err)
	}
	u, err := he.NewUnit(he.Config{Plan: p.Plan, Engine: p.Engine, Sign: p.Sign, Open: p.Open, Ledger: p.Ledger, Rand: p.Rand}, at)
	if errors.Is(err, sandbox.Conflict) {
		return p.restarted(ctx, c, at, err, leave)
	} else if err != nil {
		return leave(WhyPlan, err)
	}
	defer u.Close()
	x := &exchange{Part: p, carrier: c, at: at}
	out, err := u.Commit(ctx)
	var in []*he.Message
	step := func(kind he.Kind, f func() (*he.Message, error)) {
		if err != nil {
			return
		}
		if err = x.send(ctx, p.Plan.Before(kind), out); err != nil {
			return
		}
		if in, err = x.gather(ctx, kind); err == nil {
			out, err = f()
		}
	}
	step(he.KeyShare, func() (*he.Message, error) { return u.Reveal(ctx, in) })
	if p.Plan.Layout.Products != nil {
		step(he.RelinShare, func() (*he.Message, error) { return u.Relinearize(ctx, in) })
	}
	step(he.Deal, func() (*he.Message, error) { return u.Deal(ctx, in) })
	step(he.Contribution, func() (*he.Message, error) {
		if err := u.Join(ctx, in); err != nil {
			return nil, err
		}
		return u.Contribute(ctx, rows)
	})
	opens := false
	for _, o := range p.Plan.Openers {
		opens = opens || o == at
	}
	if opens {
		step(he.Share, func() (*he.Message, error) { return u.Share(ctx, in) })
		if err == nil {
			err = x.send(ctx, he.Share, out)
		}
	} else if err == nil {
		err = x.send(ctx, he.Contribution, out)
	}
	var abort *he.Abort
	if errors.As(err, &abort) {
		return leave(WhyProtocol, err)
	}
	return err
}

// restarted is a process that finds the epoch begun by one before it. The part of the key is lost; where nothing of it is missing the others go on.
func (p Part) restarted(ctx context.Context, c Carrier, at int, cause error, leave func(string, error) error) error {
	s, err := c.Standing(ctx)
	if err != nil {
		return err
	}
	opens := false
	for _, o := range p.Plan.Openers {
		opens = opens || o == at
	}
	if s.Epoch != p.Plan.Epoch || s.Kind == 0 || s.Sent && (s.Kind == he.Share || s.Kind == he.Contribution && !opens) || s.Kind == he.Share && !opens {
		return cause
	}
	return leave(WhyRestart, &sandbox.Error{Op: "he", Kind: sandbox.Conflict, Object: "epoch", Detail: "this epoch was begun here before, and its part of the key is lost: no second message and no second share is made of it",
		Hint: "the next epoch has new keys", Err: cause})
}

// exchange sends and fetches the messages of one epoch.
type exchange struct {
	Part
	carrier Carrier
	at      int
}

func (x *exchange) send(ctx context.Context, kind he.Kind, m *he.Message) error {
	b := he.AppendMessage(nil, m)
	if err := x.again(ctx, func() error { return x.carrier.Send(ctx, x.Plan.Epoch, kind, b) }); err != nil {
		// Its answer may have been lost: an epoch that has gone on has the message.
		s, serr := x.carrier.Standing(ctx)
		if serr != nil || s.Epoch != x.Plan.Epoch || !x.Plan.Precedes(kind, s.Kind) && !(s.Kind == kind && s.Sent) {
			return err
		}
	}
	if x.Say != nil {
		x.Say(kind, m.Digest())
	}
	return nil
}

// tries bounds how often a call is repeated whose carrier could not be reached.
const tries = 5

// again repeats what failed for want of a connection. A message that came through twice is the same message.
func (x *exchange) again(ctx context.Context, f func() error) (err error) {
	for range tries {
		if err = f(); !errors.Is(err, sandbox.Unavailable) {
			return err
		}
		if x.Sleep(ctx, x.Every) != nil {
			return err
		}
	}
	return err
}

// gather waits until the epoch asks for a kind of message, and fetches those of the kind before from everybody.
func (x *exchange) gather(ctx context.Context, next he.Kind) ([]*he.Message, error) {
	for {
		var s Standing
		if err := x.again(ctx, func() (err error) { s, err = x.carrier.Standing(ctx); return err }); err != nil {
			return nil, err
		}
		if s.Epoch != x.Plan.Epoch || s.Kind == 0 || x.Plan.Precedes(next, s.Kind) {
			return nil, ended(x.Plan.Epoch)
		}
		if s.Kind == next {
			break
		}
		if err := x.Sleep(ctx, x.Every); err != nil {
			return nil, &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "epoch", Detail: "this process was stopped", Err: err}
		}
	}
	before := x.Plan.Before(next)
	var out []*he.Message
	for _, from := range x.Plan.Senders(before) {
		var b []byte
		if err := x.again(ctx, func() (err error) { b, err = x.carrier.Fetch(ctx, x.Plan.Epoch, before, from); return err }); err != nil {
			return nil, err
		}
		if len(b) > x.Plan.Room(before, from) {
			return nil, &sandbox.Error{Op: "he", Kind: sandbox.TooLarge, Object: before.String(), Detail: "is as long as the plan has it"}
		}
		m, err := he.ParseMessage(b)
		if err != nil {
			return nil, err
		}
		out = append(out, m)
	}
	return out, nil
}
