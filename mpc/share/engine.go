package share

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Adversary (敌手模型) is what one corrupt party of three may do without learning more or changing an output.
type Adversary string

// The adversary models. A plan names one; nobody falls back to the weaker.
const (
	SemiHonest     Adversary = "semi-honest"
	MaliciousAbort Adversary = "malicious with abort"
)

// MaxRows bounds a column.
const MaxRows = 1 << 28

const (
	chunk = 16 << 10 // words in a message part
	piece = 2 << 10  // words of a part that are generated, used and left while the nearest cache has them
)

// Link (链路) is what an engine needs of the parties' links. Every party posts what it receives in a step before it sends. Abort ends
// the session.
type Link interface {
	Self() int
	Send(to int, tag uint32, b []byte) error
	Post(from int, tag uint32, into []byte) (wait func() error)
	Abort(peer int, rule string) error
}

// Config (引擎配置) is what an engine starts with.
type Config struct {
	Link      Link
	Adversary Adversary
	Generator Generator
	Session   [sm.Size]byte // keys hang on it
	Previous  []byte        // secret shared with the party before, 32 bytes
	Next      []byte        // secret shared with the party after
}

// Step (步骤) is one entry of the public trace.
type Step struct {
	Op   Op
	Rows int
}

// Engine (分享引擎) is one party's side of the computation. One goroutine uses it.
type Engine struct {
	link       Link
	me         int
	adversary  Adversary
	generator  Generator
	prev, next *stream // k_me with the party before, k_(me+1) with the party after
	f0, f1     []uint64

	err    error
	tag    uint32
	rounds int
	sent   int64
	opened int // words opened within operators
	steps  []Step
	trace  [sm.Size]byte

	claims    []claim // what Verify has yet to prove: products, with the terms of their proof,
	moves     []move  // shuffled integers, among those terms,
	terms     int
	gates     []claim // and-gates, so many words,
	gateWords int
	wordMoves []move // and shuffled words, so many rows
	wordRows  int
	cheat     func(what string, v []uint64) // tests only: a party that deviates
}

// Opener (开启权) is the right to open columns of one engine; whoever computes gets the Engine alone.
type Opener struct{ e *Engine }

// New makes an engine and the one right to open its columns. Invalid for a configuration that cannot be.
func New(c Config) (*Engine, *Opener, error) {
	bad := func(rule string) error {
		return &sandbox.Error{Op: "share: engine", Kind: sandbox.Invalid, Object: "configuration", Detail: rule}
	}
	switch {
	case c.Link == nil || c.Link.Self() < 0 || c.Link.Self() > 2:
		return nil, nil, bad("a link of one of three parties")
	case c.Adversary != SemiHonest && c.Adversary != MaliciousAbort:
		return nil, nil, bad("a named adversary model")
	case len(c.Previous) != 32 || len(c.Next) != 32 || subtle.ConstantTimeCompare(c.Previous, c.Next) == 1:
		return nil, nil, bad("two different secrets of 32 bytes")
	case !littleEndian():
		return nil, nil, bad("a little-endian machine")
	}
	e := &Engine{link: c.Link, me: c.Link.Self(), adversary: c.Adversary, generator: c.Generator, f0: make([]uint64, chunk), f1: make([]uint64, chunk)}
	var err error
	purpose := "pair" + string(c.Session[:])
	if e.prev, err = newStream(c.Generator, c.Previous, purpose); err != nil {
		return nil, nil, err
	}
	if e.next, err = newStream(c.Generator, c.Next, purpose); err != nil {
		return nil, nil, err
	}
	e.note("begin "+Op(c.Adversary)+" "+Op(c.Generator), 0)
	return e, &Opener{e}, nil
}

// Err gives the failure that ended the computation, nil while there is none.
func (e *Engine) Err() error { return e.err }

// Rounds gives the number of steps in which a party waited for another.
func (e *Engine) Rounds() int { return e.rounds }

// Sent gives the payload bytes this party sent.
func (e *Engine) Sent() int64 { return e.sent }

// Trace gives the operators that ran, with their sizes: the same at every party, whatever the values.
func (e *Engine) Trace() []Step { return append([]Step(nil), e.steps...) }

// TraceDigest gives SM3 over the trace.
func (e *Engine) TraceDigest() [sm.Size]byte { return e.trace }

// Ledger gives the counters used of the keys shared with the party before and after.
func (e *Engine) Ledger() (previous, next []Span) {
	return append([]Span(nil), e.prev.used...), append([]Span(nil), e.next.used...)
}

func (e *Engine) before() int { return (e.me + 2) % 3 }
func (e *Engine) after() int  { return (e.me + 1) % 3 }

// fail keeps the first failure.
func (e *Engine) fail(err error) {
	if e.err == nil && err != nil {
		e.err = err
	}
}

// accuse ends the session for a check that failed.
func (e *Engine) accuse(peer int, rule string) {
	if e.err == nil {
		e.fail(e.link.Abort(peer, rule))
	}
}

// note adds a step to the trace.
func (e *Engine) note(op Op, rows int) {
	e.steps = append(e.steps, Step{op, rows})
	var n [8]byte
	binary.BigEndian.PutUint64(n[:], uint64(rows))
	e.trace = sm.Sum(e.trace[:], sm.Frame([]byte(op), n[:]))
}

// begin says whether an operator may run: no failure before, sizes that meet, a check where the model demands one.
func (e *Engine) begin(op Op, ok bool, rows int) bool {
	switch {
	case e.err != nil:
		return false
	case !ok || rows > MaxRows:
		e.fail(&sandbox.Error{Op: "share: " + string(op), Kind: sandbox.Invalid, Object: "columns", Detail: "columns of equal length, at most 2^28 rows"})
		return false
	}
	if e.adversary == MaliciousAbort {
		for _, l := range Leaks() {
			if l.Op == op && !l.Malicious {
				e.fail(&sandbox.Error{Op: "share: " + string(op), Kind: sandbox.Denied, Object: "adversary model", Detail: "this operator has no check against a malicious party",
					Hint: "use less in its place, or a plan under the semi-honest model"})
				return false
			}
		}
	}
	e.note(op, rows)
	return true
}

var errCounters = errors.New("the counters of a pair's key are used up")

// reserve takes counters of the key with the party before or after.
func (e *Engine) reserve(s *stream, words int) uint64 {
	at, ok := s.take(words)
	if !ok {
		e.fail(&sandbox.Error{Op: "share: generator", Kind: sandbox.TooLarge, Object: "counters", Err: errCounters, Hint: "a new session has new keys"})
	}
	return at
}

func (e *Engine) step() uint32 {
	e.tag++
	return e.tag
}

func (e *Engine) post(from int, tag uint32, into []uint64) func() {
	if e.err != nil {
		return func() {}
	}
	wait := e.link.Post(from, tag, asBytes(into))
	return func() {
		// Waited for even after a failure: the memory is the link's until then.
		if err := wait(); err != nil {
			e.fail(err)
		}
	}
}

func (e *Engine) send(to int, tag uint32, v []uint64) {
	if e.err == nil {
		e.sent += int64(8 * len(v))
		e.fail(e.link.Send(to, tag, asBytes(v)))
	}
}

// pass sends one message to the party before or after and takes one from the other side.
func (e *Engine) pass(to int, out []uint64, from int, in []uint64) {
	tag := e.step()
	wait := e.post(from, tag, in)
	e.send(to, tag, out)
	wait()
	e.rounds++
}

// both sends a message to each neighbour and takes one from each.
func (e *Engine) both(toPrev, toNext, fromPrev, fromNext []uint64) {
	tag := e.step()
	w1, w2 := e.post(e.before(), tag, fromPrev), e.post(e.after(), tag, fromNext)
	e.send(e.before(), tag, toPrev)
	e.send(e.after(), tag, toNext)
	w1()
	w2()
	e.rounds++
}

// reshare makes a replicated column of each party's z_i, which f computes chunk by chunk with the masks of both neighbours: z_i goes
// to the party before while the next chunk is computed.
func (e *Engine) reshare(op Op, za, zb []uint64, f func(lo, hi int, mine, next []uint64)) (at0, at1 uint64) {
	n := len(za)
	at0, at1 = e.reserve(e.prev, n), e.reserve(e.next, n)
	if e.err != nil || n == 0 {
		return at0, at1
	}
	tag := e.step()
	wait := e.post(e.after(), tag, zb)
	for lo := 0; lo < n && e.err == nil; lo += chunk {
		hi := min(lo+chunk, n)
		for at := lo; at < hi; at += piece {
			end := min(at+piece, hi)
			r, s := e.f0[:end-at], e.f1[:end-at]
			e.prev.fill(r, at0+uint64(at/2))
			e.next.fill(s, at1+uint64(at/2))
			f(at, end, r, s)
		}
		if e.cheat != nil {
			e.cheat(string(op), za[lo:hi])
		}
		e.send(e.before(), tag, za[lo:hi])
	}
	wait()
	e.rounds++
	return at0, at1
}
