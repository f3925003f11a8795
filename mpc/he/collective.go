package he

import (
	"encoding/binary"
	"hash/maphash"

	"github.com/tuneinsight/lattigo/v5/core/rlwe"
	"github.com/tuneinsight/lattigo/v5/he/heint"
	"github.com/tuneinsight/lattigo/v5/mhe"
	lattice "github.com/tuneinsight/lattigo/v5/ring"
	"github.com/tuneinsight/lattigo/v5/utils/sampling"

	"github.com/opdomain/opdomain/sandbox"
)

const seedSize = 32

// keyPart is a party's part of a collective key.
type keyPart struct {
	p        *params
	secret   *rlwe.SecretKey
	dealt    bool
	shamir   *mhe.ShamirSecretShare // of all units' parts together, after OpJoin
	points   []byte                 // the openers of the first share; no other set gets one
	own      byte                   // and the point of this part among them
	additive lattice.Poly           // λ·s of that set
	once     *rlwe.SecretKey        // the ephemeral key of a relinearisation key, between its rounds
	spent    bool                   // its second share was given
	seed     maphash.Seed
	issued   map[uint64]bool // second halves of ciphertexts a share was given for: the share depends on nothing else
}

func (k *keyPart) wipe() {
	zeroQP(k.secret.Value)
	if k.once != nil {
		zeroQP(k.once.Value)
	}
	if k.shamir != nil {
		k.shamir.Q.Zero()
	}
	k.additive.Zero()
	k.secret, k.shamir, k.once, k.additive = nil, nil, nil, lattice.Poly{}
}

// alive says whether the part was not wiped.
func (k *keyPart) alive() error {
	if k.secret == nil {
		return fail(sandbox.Expired, "key", "was not erased")
	}
	return nil
}

// collective is an encryptor under a collective public key.
type collective struct {
	p     *params
	enc   *encryptor
	limit int64
	relin *rlwe.RelinearizationKey // nil: ciphertexts are added only
}

// adder adds ciphertexts of a set.
type adder struct {
	p       *params
	sum, ct *rlwe.Ciphertext
}

// summing wants a set for sums.
func summing(name []byte) (*params, error) {
	p, err := paramsOf(SetName(name))
	if err != nil {
		return nil, err
	}
	if p.Scheme != "BGV" {
		return nil, fail(sandbox.Invalid, "parameter set", "is one for sums")
	}
	return p, nil
}

// reference is the common reference polynomial that a seed stands for: the second half of the public key. Everybody derives it.
func reference(p *params, seed []byte) (mhe.PublicKeyGenCRP, error) {
	if len(seed) != seedSize {
		return mhe.PublicKeyGenCRP{}, fail(sandbox.Invalid, "seed", "has 32 bytes")
	}
	crs, err := sampling.NewKeyedPRNG(seed)
	if err != nil {
		return mhe.PublicKeyGenCRP{}, err
	}
	return mhe.NewPublicKeyGenProtocol(p.rlwe).SampleCRP(crs), nil
}

func (l *Local) newShare(args [][]byte) ([][]byte, error) {
	if err := counted(args, 2); err != nil {
		return nil, err
	}
	p, err := summing(args[0])
	if err != nil {
		return nil, err
	}
	crp, err := reference(p, args[1])
	if err != nil {
		return nil, err
	}
	k := &keyPart{p: p, secret: rlwe.NewKeyGenerator(p.rlwe).GenSecretKeyNew(), seed: maphash.MakeSeed(), issued: map[uint64]bool{}}
	proto := mhe.NewPublicKeyGenProtocol(p.rlwe)
	share := proto.AllocateShare()
	proto.GenShare(k.secret, crp, &share)
	h, err := l.keep(k)
	if err != nil {
		return nil, err
	}
	return [][]byte{h, appendQP(nil, share.Value)}, nil
}

// deal shares a unit's part among n units so that t of them stand for it (Mouchet et al., eprint 2022/780).
func (l *Local) deal(args [][]byte) ([][]byte, error) {
	if err := counted(args, 2); err != nil {
		return nil, err
	}
	k, err := key[*keyPart](l, args[0])
	if err != nil {
		return nil, err
	}
	if err := k.alive(); err != nil {
		return nil, err
	}
	if len(args[1]) != 2 || args[1][1] == 0 || args[1][0] < args[1][1] || int(args[1][0]) > MaxUnits {
		return nil, fail(sandbox.Invalid, "threshold", "is at least one and at most all units")
	}
	if k.dealt {
		return nil, fail(sandbox.Conflict, "key part", "is dealt once")
	}
	k.dealt = true
	thr := mhe.NewThresholdizer(k.p.rlwe)
	poly, err := thr.GenShamirPolynomial(int(args[1][1]), k.secret)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, args[1][0])
	for i := range out {
		share := thr.AllocateThresholdSecretShare()
		thr.GenShamirSecretShare(mhe.ShamirPublicPoint(i+1), poly, &share)
		out[i] = appendPoly(nil, share.Q)
		share.Q.Zero()
	}
	for _, c := range poly.Value {
		c.Q.Zero()
	}
	return out, nil
}

func (l *Local) join(args [][]byte) ([][]byte, error) {
	k, err := key[*keyPart](l, args[0])
	if err != nil {
		return nil, err
	}
	if err := k.alive(); err != nil {
		return nil, err
	}
	if k.shamir != nil || len(args) < 2 || len(args) > MaxUnits+1 {
		return nil, fail(sandbox.Conflict, "key part", "is joined once, of all units' deals")
	}
	thr := mhe.NewThresholdizer(k.p.rlwe)
	sum, one := thr.AllocateThresholdSecretShare(), thr.AllocateThresholdSecretShare()
	defer func() { one.Q.Zero() }()
	for _, deal := range args[1:] {
		if err := readPolys("deal", deal, k.p.Q, one.Q); err != nil {
			return nil, err
		}
		if err := thr.AggregateShares(sum, one, &sum); err != nil {
			return nil, err
		}
	}
	k.shamir = &sum
	return nil, nil
}

func (l *Local) publicKey(args [][]byte) ([][]byte, error) {
	if len(args) < 3 || len(args) > MaxUnits+3 {
		return nil, fail(sandbox.Invalid, "public key", "is of one to 65 shares")
	}
	p, err := summing(args[0])
	if err != nil {
		return nil, err
	}
	crp, err := reference(p, args[1])
	if err != nil {
		return nil, err
	}
	proto := mhe.NewPublicKeyGenProtocol(p.rlwe)
	sum, one := proto.AllocateShare(), proto.AllocateShare()
	for _, share := range args[2:] {
		if rest, err := readQP(share, p, one.Value); err != nil || len(rest) > 0 {
			return nil, fail(sandbox.Invalid, "public key share", "has the length of its parameter set, every coefficient below its modulus")
		}
		proto.AggregateShares(sum, one, &sum)
	}
	pk := rlwe.NewPublicKey(p.rlwe)
	proto.GenPublicKey(sum, crp, pk)
	enc, err := newEncryptor(p, pk)
	if err != nil {
		return nil, err
	}
	c := &collective{p: p, enc: enc, limit: int64(p.T/2) - 1} // the library reads (T−1)/2 as negative
	h, err := l.keep(c)
	if err != nil {
		return nil, err
	}
	return [][]byte{h, appendQP(nil, sum.Value)}, nil
}

func (l *Local) encrypt(args [][]byte) ([][]byte, error) {
	if err := counted(args, 2); err != nil {
		return nil, err
	}
	c, err := key[*collective](l, args[0])
	if err != nil {
		return nil, err
	}
	v, err := readInts(args[1], c.p.Slots, c.limit)
	if err != nil {
		return nil, err
	}
	defer clear(v)
	ct, err := c.enc.encrypt(l.rand, v, make([]byte, 0, c.p.CiphertextBytes()))
	if err != nil {
		return nil, err
	}
	return [][]byte{ct}, nil
}

func appendCiphertext(b []byte, ct *rlwe.Ciphertext) []byte {
	for _, p := range ct.Value {
		b = appendPoly(b, p)
	}
	return b
}

func (l *Local) add(args [][]byte) ([][]byte, error) {
	p, err := summing(args[0])
	if err != nil {
		return nil, err
	}
	if len(args) < 2 || len(args) > MaxUnits+1 {
		return nil, fail(sandbox.Invalid, "sum", "is of one to 64 ciphertexts")
	}
	a := l.sums[p.Name]
	if a == nil {
		a = &adder{p: p, sum: heint.NewCiphertext(p.bgv, 1, p.shared()), ct: heint.NewCiphertext(p.bgv, 1, p.shared())}
		l.sums[p.Name] = a
	}
	r := p.rlwe.RingQ().AtLevel(p.shared())
	if err := readPolys("ciphertext", args[1], p.Q[:p.Shared], a.sum.Value...); err != nil {
		return nil, err
	}
	for _, b := range args[2:] {
		if err := readPolys("ciphertext", b, p.Q[:p.Shared], a.ct.Value...); err != nil {
			return nil, err
		}
		for i := range a.sum.Value {
			r.Add(a.sum.Value[i], a.ct.Value[i], a.sum.Value[i])
		}
	}
	return [][]byte{appendCiphertext(make([]byte, 0, p.CiphertextBytes()), a.sum)}, nil
}

// partial gives a unit's share of the opening of a ciphertext: λ·s·c1, a Gaussian, and our own flooding. λ turns its share among n into
// one among the openers. The Gaussian makes the share an RLWE sample by itself; the flooding hides the ciphertext's noise.
func (l *Local) partial(args [][]byte) ([][]byte, error) {
	if err := counted(args, 5); err != nil {
		return nil, err
	}
	k, err := key[*keyPart](l, args[0])
	if err != nil {
		return nil, err
	}
	if err := k.alive(); err != nil {
		return nil, err
	}
	points, own := args[3], args[2]
	if k.shamir == nil || len(args[1]) != 1 || len(own) != 1 || !ascending(points) || !contains(points, own[0]) {
		return nil, fail(sandbox.Invalid, "decryption share", "is by one of the openers, each once, of a key that was dealt")
	}
	if k.points != nil && string(k.points) != string(points) {
		return nil, fail(sandbox.Conflict, "openers", "are fixed before encryption")
	}
	ct := heint.NewCiphertext(k.p.bgv, 1, k.p.shared())
	if err := readPolys("ciphertext", args[4], k.p.Q[:k.p.Shared], ct.Value...); err != nil {
		return nil, err
	}
	// A keyed 64-bit hash: equal ones are always refused, different ones once in 2^64. SM3 would take longer than the share.
	once := maphash.Bytes(k.seed, args[4][len(args[4])/2:])
	if k.issued[once] {
		return nil, fail(sandbox.Conflict, "decryption share", "is given once for a ciphertext")
	}
	k.points, k.issued[once] = append([]byte{}, points...), true
	if k.additive.Coeffs == nil {
		active := make([]mhe.ShamirPublicPoint, len(points))
		for i, x := range points {
			active[i] = mhe.ShamirPublicPoint(x)
		}
		additive := rlwe.NewSecretKey(k.p.rlwe)
		cmb := mhe.NewCombiner(*k.p.rlwe, mhe.ShamirPublicPoint(own[0]), active, len(active))
		if err := cmb.GenAdditiveShare(active, mhe.ShamirPublicPoint(own[0]), *k.shamir, additive); err != nil {
			return nil, err
		}
		k.additive, k.own = additive.Value.Q, own[0]
	} else if k.own != own[0] {
		return nil, fail(sandbox.Conflict, "openers", "are fixed before encryption")
	}
	s, err := newStream(l.rand)
	if err != nil {
		return nil, err
	}
	defer s.wipe()
	e := make([]int64, k.p.n())
	defer clear(e)
	s.gauss(e)
	noise := k.p.rlwe.RingQ().AtLevel(k.p.shared()).NewPoly()
	defer noise.Zero()
	fs := k.p.transforms()[:k.p.Shared]
	if err := flood(fs, int(args[1][0]), s, e, noise.Coeffs); err != nil {
		return nil, err
	}
	out := make([]byte, 0, len(args[4])/2)
	for j, f := range fs {
		red, c1, secret, x := k.p.rlwe.RingQ().SubRings[j].MRedConstant, ct.Value[1].Coeffs[j], k.additive.Coeffs[j], noise.Coeffs[j]
		f.forward(x, floodBound)
		for i := range x {
			r := f.half(x[i]) + lattice.MRed(c1[i], secret[i], f.q, red)
			out = binary.LittleEndian.AppendUint64(out, lattice.CRed(lattice.CRed(r, 2*f.q), f.q))
		}
	}
	return [][]byte{out}, nil
}

// open adds the openers' shares and the gate's own part. The gate's never leaves, so it needs no flooding.
func (l *Local) open(args [][]byte) ([][]byte, error) {
	k, phase, err := l.phase(args)
	if err != nil {
		return nil, err
	}
	defer phase.Zero()
	p := k.p
	pt := heint.NewPlaintext(p.bgv, p.shared())
	pt.IsBatched = p.Depth == 0
	pt.Value.Copy(phase)
	defer pt.Value.Zero()
	v := make([]int64, p.Slots)
	defer clear(v)
	if err := heint.NewEncoder(p.bgv).Decode(pt, v); err != nil {
		return nil, err
	}
	return [][]byte{appendInts(nil, v)}, nil
}

// phase is what the shares and the gate's own part take a ciphertext to, before it is decoded.
func (l *Local) phase(args [][]byte) (*keyPart, lattice.Poly, error) {
	none := lattice.Poly{}
	if len(args) < 3 || len(args) > MaxUnits+2 {
		return nil, none, fail(sandbox.Invalid, "opening", "is of one to 64 shares")
	}
	k, err := key[*keyPart](l, args[0])
	if err != nil {
		return nil, none, err
	}
	if err := k.alive(); err != nil {
		return nil, none, err
	}
	if k.dealt {
		return nil, none, fail(sandbox.Denied, "opening", "is by the gate, whose part is never dealt")
	}
	p := k.p
	ct := heint.NewCiphertext(p.bgv, 1, p.shared())
	if err := readPolys("ciphertext", args[1], p.Q[:p.Shared], ct.Value...); err != nil {
		return nil, none, err
	}
	r := p.rlwe.RingQ().AtLevel(p.shared())
	phase, one := r.NewPoly(), r.NewPoly()
	r.MulCoeffsMontgomery(ct.Value[1], k.secret.Value.Q, phase)
	r.Add(phase, ct.Value[0], phase)
	for _, b := range args[2:] {
		if err := readPolys("decryption share", b, p.Q[:p.Shared], one); err != nil {
			return nil, none, err
		}
		r.Add(phase, one, phase)
	}
	return k, phase, nil
}

// ascending says whether points are distinct, in order, from 1 on.
func ascending(points []byte) bool {
	for i, x := range points {
		if x == 0 || int(x) > MaxUnits || i > 0 && points[i-1] >= x {
			return false
		}
	}
	return len(points) > 0
}

func contains(points []byte, x byte) bool {
	for _, p := range points {
		if p == x {
			return true
		}
	}
	return false
}
