package psi

import (
	"context"
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"hash"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/sm/group"
	"github.com/opdomain/opdomain/sandbox"
)

// DefaultMemory bounds the tags in memory where Config.Memory is 0, 256 MiB. MinMemory is the least bound.
const (
	DefaultMemory = 256 << 20
	MinMemory     = 64 << 10
)

// Config (作业参数) is one side's part of a job.
type Config struct {
	Side   Side
	Plan   *Plan
	Conn   Conn
	Set    Set
	Values [][]uint64 // join-sum, sender: a column for each measure
	Secret *Secret

	Certificate *Certificate  // of the own set, where the plan lists it
	Agency      *sm.VerifyKey // of the peer's certificate, where the plan lists its set

	// Judge, where the plan gives this side the verdict, says whether the intersection may leave beside the plan's threshold: Ledger
	// refuses near-repeated ones there. nil asks nobody. An error aborts.
	Judge func(Finding) (bool, error)

	Workers int   // 0: one a processor
	Memory  int64 // bytes of tags in memory; 0: DefaultMemory
	Spill   Spill // where tags over that go; nil: nowhere
}

// Finding (求交发现) is what the judging side knows when it gives the verdict.
type Finding struct {
	Cardinality int
	Members     []uint32 // rows of the own set, ascending; nil where this side does not learn them
}

// Result (求交结果) is what a side gets: what Plan.Learns says and nothing else.
type Result struct {
	Plan        *Plan
	Side        Side
	Model       Model
	Withheld    bool          // 未达门槛: the verdict was no; nothing else is set but what the judge counted itself
	Members     []uint32      // rows of the own set in the intersection, ascending; nil where the side does not learn them
	Cardinality int           // -1 where the side does not learn it
	Sums        []uint64      // nil where the side does not learn them
	Points      [sm.Size]byte // SM3 over the messages of points that this side sent: Commitment
	PeerPoints  [sm.Size]byte // and over those that it got
	Transcript  [sm.Size]byte // both sides have the same
}

// Run runs a job with the peer, who runs the other side of the same plan. It gives a result only when both have confirmed the
// transcript, and otherwise an error; the connection is not used again after one. When ctx ends the job is aborted.
func Run(ctx context.Context, c Config) (*Result, error) {
	j, err := newJob(&c)
	if err != nil {
		return nil, err
	}
	defer j.close()
	stop := context.AfterFunc(ctx, func() { c.Conn.Abort(string(RuleStopped)) })
	defer stop()
	r, err := j.run()
	if err == nil {
		return r, nil
	}
	a := (*Abort)(nil)
	rule := "a step failed on this side"
	if errors.As(err, &a) {
		rule = string(a.Rule)
	}
	c.Conn.Abort(rule)
	if ctx.Err() != nil {
		err = &Abort{Rule: RuleStopped, Kind: sandbox.Unavailable, Err: ctx.Err()}
	}
	return nil, err
}

// job is the state of one run.
type job struct {
	*Config
	m       *masked
	pool    *pool
	workers int
	size    [2]int // of the own set, of the peer's
	session [sm.Size]byte
	pub     group.Point // join-sum: the sender's

	out, in hash.Hash // transcripts by direction
	peer    *shelf    // tags of the peer's points, with their places
	answers *sequence // the same in the order of the points, where they are sent so
	own     *shelf    // tags of the own points as the peer gave them, with rows
	sealed  *sequence // join-sum, receiver: ciphertexts by place
	totals  []byte    // join-sum, receiver: sums of those that matched
	result  Result
}

func newJob(c *Config) (*job, error) {
	bad := func(object, rule string) error {
		return &sandbox.Error{Op: "psi: run", Kind: sandbox.Invalid, Object: object, Detail: rule}
	}
	if c.Plan == nil || c.Conn == nil || c.Secret == nil || c.Side != Receiver && c.Side != Sender || c.Memory < 0 || c.Memory > 0 && c.Memory < MinMemory {
		return nil, bad("parameters", "plan, connection, secret and side are given, memory is 0 or at least 64 KiB")
	}
	if err := c.Plan.Check(); err != nil {
		return nil, err
	}
	if (c.Plan.Authority[c.Side].Kind == Listed) != (c.Certificate != nil) {
		return nil, bad("certificate", "a listed set has a certificate and an audited one has none")
	}
	if a := c.Plan.Authority[c.Side.Peer()]; a.Kind == Listed && (c.Agency == nil || c.Agency.Fingerprint() != a.Key) {
		return nil, bad("agency", "the key that the plan names for the peer's list")
	}
	if c.Secret.used.Swap(true) {
		return nil, &sandbox.Error{Op: "psi: run", Kind: sandbox.Conflict, Object: "secret", Detail: "a secret serves one job"}
	}
	j := &job{Config: c, workers: count(c.Workers), out: sm.NewHash(), in: sm.NewHash()}
	j.size = [2]int{c.Plan.Sizes[c.Side], c.Plan.Sizes[c.Side.Peer()]}
	j.result = Result{Plan: c.Plan, Side: c.Side, Model: c.Plan.Model, Cardinality: -1}
	var err error
	if j.m, err = newMasked(c.Plan, c.Side, c.Set, c.Values, c.Secret); err != nil {
		return nil, err
	}
	if err := j.shelves(); err != nil {
		j.close()
		return nil, err
	}
	if j.pool, err = newPool(j.workers); err != nil {
		j.close()
		return nil, err
	}
	return j, nil
}

// shelves divides the memory among what this side keeps.
func (j *job) shelves() (err error) {
	memory := j.Memory
	if memory == 0 {
		memory = DefaultMemory
	}
	ordered, told := false, false
	for _, s := range j.Plan.steps() {
		ordered = ordered || s.from == j.Side && !s.sorted
		told = told || s.from != j.Side
	}
	sums := j.Plan.Output == JoinSum && j.Side == Receiver
	share := memory / 4
	if j.peer, err = newShelf(j.size[1], share, j.Spill); err != nil {
		return err
	}
	if told {
		if j.own, err = newShelf(j.size[0], share, j.Spill); err != nil {
			return err
		}
	}
	if ordered {
		if j.answers, err = newSequence(int64(j.size[1])*tagSize, share, j.Spill); err != nil {
			return err
		}
	}
	if sums {
		j.sealed, err = newSequence(int64(j.size[1])*int64(j.Plan.Measures)*ciphertextSize, share, j.Spill)
	}
	return err
}

// close waits for the workers and erases what is left.
func (j *job) close() {
	if j.pool != nil {
		j.pool.close()
	}
	for _, s := range []*shelf{j.peer, j.own} {
		if s != nil {
			s.close()
		}
	}
	for _, s := range []*sequence{j.answers, j.sealed} {
		if s != nil {
			s.close()
		}
	}
	j.m.key.Erase()
	if j.m.sum != nil {
		j.m.sum.x.Erase()
	}
}

func (j *job) run() (*Result, error) {
	if err := j.hello(); err != nil {
		return nil, err
	}
	if err := j.points(); err != nil {
		return nil, err
	}
	if err := j.peer.distinct(); err != nil {
		return nil, j.fault(err)
	}
	if err := j.transfers(); err != nil {
		return nil, err
	}
	if err := j.confirm(); err != nil {
		return nil, err
	}
	return &j.result, nil
}

// fault is a duplicate, which is the peer's, or an error of the disk.
func (j *job) fault(err error) error {
	if errors.Is(err, errDuplicate) {
		return j.Side.Peer().broke(RuleDuplicate, err)
	}
	return err
}

func (j *job) send(tag uint32, b []byte) error {
	note(j.out, tag, b)
	if err := j.Conn.Send(tag, b); err != nil {
		return linkEnded(err)
	}
	return nil
}

// post gives the wait for a message that is taken into the transcript when it is there.
func (j *job) post(tag uint32, into []byte) func() error {
	wait := j.Conn.Post(tag, into)
	return func() error {
		if err := wait(); err != nil {
			return linkEnded(err)
		}
		note(j.in, tag, into)
		return nil
	}
}

func note(h hash.Hash, tag uint32, b []byte) {
	var head [8]byte
	binary.BigEndian.PutUint32(head[:], tag)
	binary.BigEndian.PutUint32(head[4:], uint32(len(b)))
	h.Write(head[:])
	h.Write(b)
}

// exchange sends a message and takes one of the same length.
func (j *job) exchange(tag uint32, b []byte) ([]byte, error) {
	into := make([]byte, len(b))
	wait := j.post(tag, into)
	if err := j.send(tag, b); err != nil {
		return nil, err
	}
	return into, wait()
}

const (
	maxSig    = 72
	nonceSize = 32
	helloSize = sm.Size + nonceSize + group.PointSize + sm.Size + 1 + maxSig
)

// hello: digest of the plan, nonce, public key of sums or zeros, certificate or zeros: points, length of the signature, signature.
func (j *job) hello() error {
	mine := make([]byte, helloSize)
	copy(mine, j.m.digest[:])
	draw, err := j.Secret.stream(&j.m.digest, j.Side, "nonce", 0)
	if err != nil {
		return err
	}
	_, _ = draw.Read(mine[sm.Size : sm.Size+nonceSize])
	at := mine[sm.Size+nonceSize:]
	if j.m.sum != nil {
		j.m.sum.pub.Append(at[:0])
		j.pub = j.m.sum.pub
	}
	if at = at[group.PointSize:]; j.Certificate != nil {
		if len(j.Certificate.Sig) > maxSig {
			return &sandbox.Error{Op: "psi: run", Kind: sandbox.Invalid, Object: "certificate", Detail: "a signature of at most 72 bytes"}
		}
		copy(at, j.Certificate.Points[:])
		at[sm.Size] = byte(len(j.Certificate.Sig))
		copy(at[sm.Size+1:], j.Certificate.Sig)
	}
	their, err := j.exchange(tagHello, mine)
	if err != nil {
		return err
	}
	first, second := mine, their
	if j.Side == Sender {
		first, second = their, mine
	}
	j.session = sm.Sum(sm.Frame([]byte("opdomain/psi/session/v1"), first, second))
	return j.greet(their)
}

// greet checks the peer's hello.
func (j *job) greet(b []byte) error {
	peer := j.Side.Peer()
	if subtle.ConstantTimeCompare(b[:sm.Size], j.m.digest[:]) != 1 {
		return &Abort{Rule: RulePlan, Kind: sandbox.Conflict} // who has the wrong one is not known
	}
	at := b[sm.Size+nonceSize:]
	if j.Plan.Output == JoinSum && j.Side == Receiver {
		p, err := group.ParsePoint(at[:group.PointSize])
		if err != nil {
			return peer.broke(RulePoint, err)
		}
		j.pub = p
	}
	if j.Plan.Authority[peer].Kind != Listed {
		return nil
	}
	at = at[group.PointSize:]
	c := &Certificate{Points: [sm.Size]byte(at)}
	n := int(at[sm.Size])
	if n > maxSig {
		return peer.broke(RuleUnauthorised, nil)
	}
	c.Sig = at[sm.Size+1 : sm.Size+1+n]
	if err := j.Agency.Verify(CertificateContext, c.statement(j.Plan, peer), c.Sig); err != nil {
		return peer.broke(RuleUnauthorised, err)
	}
	j.result.PeerPoints = c.Points // what the points must hash to
	return nil
}

// confirm compares the transcripts, both directions, in the same order on both sides.
func (j *job) confirm() error {
	var a, b [sm.Size]byte
	j.out.Sum(a[:0])
	j.in.Sum(b[:0])
	if j.Side == Sender {
		a, b = b, a
	}
	t := sm.Sum(sm.Frame([]byte("opdomain/psi/transcript/v1"), j.m.digest[:], a[:], b[:]))
	their, err := j.exchange(tagConfirm, t[:])
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(their, t[:]) != 1 {
		return &Abort{Rule: RuleTranscript, Kind: sandbox.Tampered}
	}
	j.result.Transcript = t
	return nil
}
