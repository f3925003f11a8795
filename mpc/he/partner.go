package he

import (
	"bytes"
	"context"
	"math"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he/internal/average"
	"github.com/opdomain/opdomain/sandbox"
)

// A partner's secret model over the domain's data (合作方保密模型): averages of a linear score by group, where the domain does not see the weights
// and the partner sees what left the gate. The key is the gate's and the partner's together. The domain encrypts the average features of
// groups, and only of groups whose every average may leave by itself: whatever the weights are, what they make of those is made of what may
// leave. The partner multiplies, covers and floods, and gives its decryption share for the ciphertext that it made itself and for no
// other; the gate adds its own part, reads, and decides like on any answer. One score a ciphertext, one ciphertext a group; after it the keys go.
//
// The gate reads one coefficient, which a partner that deviates may have made of the averages in another way than by one model, or of a few
// coefficients of the gate's part of the key: of averages that may leave, and of a key that protects nothing else.

// Joint (联合密钥一方) is the gate's or the partner's side of one such key, without the messages that JointGate and JointPartner sign. Steps: NewJoint, Reveal, Agree; then the gate's Encrypt and Open, the
// partner's Apply. A failure ends it for good: the next try is a new key. Not safe for concurrent use.
type Joint struct {
	e       Engine
	session [32]byte
	gate    bool
	key     []byte
	pub     []byte
	share   []byte
	ended   bool

	sealed, opened int // ciphertexts given out, and scores read
}

// jointFlood is the width of the partner's share's noise: with the ciphertext's below 2^47 it hides that to 66 bits.
const jointFlood = maxFlood

// NewJoint draws a side's part of the key and gives what it is committed by. The session binds both to one plan and one try: a digest of question,
// model's form, members and epoch.
func NewJoint(ctx context.Context, e Engine, session [32]byte, gate bool) (*Joint, [sm.Size]byte, error) {
	seed := sm.Sum(sm.Frame([]byte("opdomain he joint reference"), session[:]))
	out, err := e.Do(ctx, OpNewShare, []byte(oneSet), seed[:])
	if err != nil {
		return nil, [sm.Size]byte{}, err
	}
	j := &Joint{e: e, session: session, gate: gate, key: out[0], share: out[1]}
	if !gate { // its share alone stands for its part
		deal, err := e.Do(ctx, OpDeal, j.key, []byte{1, 1})
		if err == nil {
			_, err = e.Do(ctx, OpJoin, j.key, deal[0])
			clear(deal[0])
		}
		if err != nil {
			j.Close()
			return nil, [sm.Size]byte{}, err
		}
	}
	return j, j.commitment(gate, j.share), nil
}

func (j *Joint) commitment(gate bool, share []byte) [sm.Size]byte {
	d, who := sm.Sum(share), byte(0)
	if gate {
		who = 1
	}
	return sm.Sum(sm.Frame([]byte("opdomain he joint commitment"), j.session[:], []byte{who}, d[:]))
}

// Reveal gives the share of the public key, once the other's commitment has come.
func (j *Joint) Reveal() []byte { return j.share }

// Agree takes the other's commitment, which came before its share, and the share. Tampered when they do not fit.
func (j *Joint) Agree(ctx context.Context, commitment [sm.Size]byte, share []byte) error {
	if err := j.open(j.pub == nil); err != nil {
		return err
	}
	if want := j.commitment(!j.gate, share); !bytes.Equal(want[:], commitment[:]) {
		return j.fail(fail(sandbox.Tampered, "key share", "is the one committed to"))
	}
	seed := sm.Sum(sm.Frame([]byte("opdomain he joint reference"), j.session[:]))
	shares := [][]byte{j.share, share} // the same order on both sides
	if !j.gate {
		shares = [][]byte{share, j.share}
	}
	out, err := j.e.Do(ctx, OpPublicKey, []byte(oneSet), seed[:], shares[0], shares[1])
	if err != nil {
		return j.fail(err)
	}
	j.pub = out[0]
	return nil
}

func (j *Joint) open(ok bool) error {
	if j.ended || !ok {
		return &sandbox.Error{Op: "he", Kind: sandbox.Conflict, Object: "joint key", Detail: "steps are taken in order, and none after a failure", Hint: "begin again with a new key"}
	}
	return nil
}

// fail ends the key.
func (j *Joint) fail(err error) error {
	j.Close()
	return err
}

// Close erases the parts; what was encrypted under the key opens no more.
func (j *Joint) Close() {
	if j.ended {
		return
	}
	j.ended = true
	for _, h := range [][]byte{j.key, j.pub} {
		if h != nil {
			_, _ = j.e.Do(context.Background(), OpErase, h)
		}
	}
}

// Averages (可出域分组均值) are one group's average features as they may leave. Package released makes them, of what the gate passed, and nothing
// outside mpc/he does.
type Averages = average.Group

// Encrypt is the gate's: average features of one group that may leave, within ±ranges.
func (j *Joint) Encrypt(ctx context.Context, ranges []float64, group Averages) ([]byte, error) {
	if err := j.open(j.gate && j.pub != nil); err != nil {
		return nil, err
	}
	features := group.Values()
	defer clear(features)
	if len(features) == 0 || len(features) != len(ranges) || len(features) > MaxFeatures {
		return nil, fail(sandbox.Invalid, "features", "are one for each range of the model")
	}
	unit := make([]float64, len(features))
	for i, x := range features {
		unit[i] = x / ranges[i]
	}
	b := appendFloats(nil, unit)
	defer clear(unit)
	defer clear(b)
	out, err := j.e.Do(ctx, OpEncryptFor, j.pub, b)
	if err != nil {
		return nil, j.fail(err)
	}
	j.sealed++
	return out[0], nil
}

// Apply is the partner's: its linear model on a group's ciphertext, with the decryption share of the result. *Refused for a model outside its
// budget, or with a link, which averages do not take.
func (j *Joint) Apply(ctx context.Context, m *Model, features []byte) (score, share []byte, err error) {
	if err := j.open(!j.gate && j.pub != nil); err != nil {
		return nil, nil, err
	}
	if why := m.Check(); len(why) > 0 {
		return nil, nil, &Refused{why}
	}
	if m.Link != LinearLink {
		return nil, nil, &Refused{[]sandbox.Reason{{Code: "he.model", Rule: "a model over averages is linear", Change: "ask the average of the linear score, and apply the link to it"}}}
	}
	out, err := j.e.Do(ctx, OpApply, j.pub, appendFloats(nil, m.scaled()), features)
	if err != nil {
		return nil, nil, j.fail(err)
	}
	score = out[0]
	if out, err = j.e.Do(ctx, OpPartial, j.key, []byte{jointFlood}, []byte{1}, []byte{1}, score); err != nil {
		return nil, nil, j.fail(err)
	}
	return score, out[0], nil
}

// Open is the gate's: it reads one group's average score, for the gate's decision and no further. Conflict when more are to be read than
// groups were encrypted; Tampered for a score that no model of its span gives.
func (j *Joint) Open(ctx context.Context, score, share []byte) (Scores, error) {
	if err := j.open(j.gate && j.pub != nil); err != nil {
		return Scores{}, err
	}
	s, err := j.read(ctx, score, share)
	if err != nil {
		return Scores{}, j.fail(err)
	}
	return s, nil
}

// read is Open without an end of the key at a failure.
func (j *Joint) read(ctx context.Context, score, share []byte) (Scores, error) {
	if j.opened++; j.opened > j.sealed {
		return Scores{}, fail(sandbox.Conflict, "score", "is read once for a group")
	}
	out, err := j.e.Do(ctx, OpOpenOne, j.key, score, share)
	if err != nil {
		return Scores{}, err
	}
	v, err := readFloats(out[0], 1, 1+1.0/(1<<20))
	if err != nil {
		return Scores{}, fail(sandbox.Tampered, "score", "lies within the span of a model")
	}
	return Scores{[]float64{v[0] * Span}, oneBound}, nil
}

// under is the public key that a handle's encryptor is for.
func (c *collective) under() *rlwe.PublicKey {
	pk := rlwe.NewPublicKey(c.p.rlwe)
	pk.Value[0].Q, pk.Value[1].Q = c.enc.pk[0], c.enc.pk[1]
	return pk
}

func (l *Local) encryptFor(args [][]byte) ([][]byte, error) {
	if err := counted(args, 2); err != nil {
		return nil, err
	}
	c, err := key[*collective](l, args[0])
	if err != nil {
		return nil, err
	}
	if c.p.Name != oneSet {
		return nil, fail(sandbox.Invalid, "parameter set", "is the one for single scores")
	}
	v, err := readFloats(args[1], MaxFeatures, 1)
	if err != nil {
		return nil, err
	}
	defer clear(v)
	r := c.p.rlwe.RingQ()
	ct := rlwe.NewEncryptor(c.p.rlwe, c.under()).EncryptZeroNew(c.p.level())
	m := fixed(r, v, oneFeature, oneLift, func(i int) (int, bool) { return i, false })
	defer m.Zero()
	if !ct.IsNTT {
		return nil, fail(sandbox.Internal, "ciphertext", "is in the transformed domain")
	}
	r.Add(ct.Value[0], m, ct.Value[0])
	return [][]byte{appendCiphertext(nil, ct)}, nil
}

func (l *Local) apply(args [][]byte) ([][]byte, error) {
	if err := counted(args, 3); err != nil {
		return nil, err
	}
	c, err := key[*collective](l, args[0])
	if err != nil {
		return nil, err
	}
	if c.p.Name != oneSet {
		return nil, fail(sandbox.Invalid, "parameter set", "is the one for single scores")
	}
	w, err := readModel(args[1])
	if err != nil {
		return nil, err
	}
	return l.applied(c.p, c.under(), w, args[2])
}

func (l *Local) openOne(args [][]byte) ([][]byte, error) {
	if len(args) < 3 || len(args) > MaxUnits+2 {
		return nil, fail(sandbox.Invalid, "opening", "is of one to 64 shares")
	}
	k, err := key[*keyPart](l, args[0])
	if err != nil {
		return nil, err
	}
	if err := k.alive(); err != nil {
		return nil, err
	}
	if k.dealt || k.p.Name != oneSet {
		return nil, fail(sandbox.Denied, "opening", "is by the gate, whose part is never dealt")
	}
	r, ct := k.p.rlwe.RingQ(), rlwe.NewCiphertext(k.p.rlwe, 1, k.p.level())
	if err := readPolys("ciphertext", args[1], k.p.Q, ct.Value...); err != nil {
		return nil, err
	}
	phase, one := ct.Value[0], r.NewPoly()
	r.MulCoeffsMontgomeryThenAdd(ct.Value[1], k.secret.Value.Q, phase)
	for _, b := range args[2:] {
		if err := readPolys("decryption share", b, k.p.Q, one); err != nil {
			return nil, err
		}
		r.Add(phase, one, phase)
	}
	x := constant(r, phase)
	if math.IsNaN(x) {
		return nil, fail(sandbox.Internal, "score", "is a number")
	}
	return [][]byte{appendFloats(nil, []float64{x})}, nil
}
