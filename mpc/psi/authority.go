package psi

import (
	"crypto/subtle"
	"fmt"
	"io"
	"runtime"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// CertificateContext is what a Certificate is signed under.
const CertificateContext = "opdomain/psi/certificate/v1"

// Certificate (元素授权证明) is the agency's word that the points of one side of one plan come from elements of its list. The peer
// compares the points it gets with Points before it answers any.
type Certificate struct {
	Points [sm.Size]byte // SM3 over the messages of points
	Sig    []byte
}

func (c *Certificate) statement(plan *Plan, side Side) []byte {
	d := plan.Digest()
	list := plan.Authority[side].List
	return sm.Frame(d[:], []byte(side.String()), list[:], c.Points[:])
}

// Commitment (点集承诺) gives SM3 over the messages of points that a side sends: what a peer's Result holds as PeerPoints. It costs the
// agency as many scalar multiplications as it costs the party. workers 0 means one a processor.
func Commitment(plan *Plan, side Side, set Set, values [][]uint64, secret *Secret, workers int) (out [sm.Size]byte, err error) {
	m, err := newMasked(plan, side, set, values, secret)
	if err != nil {
		return out, err
	}
	defer m.key.Erase()
	p, err := newPool(count(workers))
	if err != nil {
		return out, err
	}
	defer p.close()
	h := sm.NewHash()
	n := batches(len(m.order))
	var ahead []*task
	for k, next := 0, 0; k < n; k++ {
		for ; next < n && next <= k+2*count(workers); next++ {
			ahead = append(ahead, p.do(&task{k: next}, func(w *worker, t *task) (err error) {
				t.out, err = w.batch(m, t.k, nil)
				return err
			}))
		}
		if err := ahead[0].wait(); err != nil {
			return out, err
		}
		h.Write(ahead[0].out)
		ahead = ahead[1:]
	}
	h.Sum(out[:0])
	return out, nil
}

func count(workers int) int {
	if workers <= 0 {
		return runtime.GOMAXPROCS(0)
	}
	return workers
}

// Certify (授权核验) is run by the agency that keeps the list, over the set and secret that a party sealed to it: every element is a
// member, or Denied, naming a row. proof gives the membership proof of a row.
func Certify(rand io.Reader, key *sm.SigningKey, plan *Plan, side Side, list *SignedList, proof func(row int) Proof, set Set, values [][]uint64, secret *Secret, workers int) (*Certificate, error) {
	if err := plan.Check(); err != nil {
		return nil, err
	}
	a := plan.Authority[side]
	if a.Kind != Listed || a.Key != key.Public().Fingerprint() || *a.List != list.Root {
		return nil, &sandbox.Error{Op: "psi: certify", Kind: sandbox.Denied, Object: side.String(), Detail: "the plan names this key and this list"}
	}
	for i := range set.Rows() {
		e, err := set.Element(i)
		if err != nil {
			return nil, err
		}
		if err := list.Member(e, proof(i)); err != nil {
			return nil, &sandbox.Error{Op: "psi: certify", Kind: sandbox.Denied, Object: fmt.Sprintf("row %d", i), Detail: "every element of the set is on the list", Err: err}
		}
	}
	c := &Certificate{}
	var err error
	if c.Points, err = Commitment(plan, side, set, values, secret, workers); err != nil {
		return nil, err
	}
	c.Sig, err = key.Sign(rand, CertificateContext, c.statement(plan, side))
	return c, err
}

// Audit (事后审计) recomputes the points of a side from its opened secret and set and compares them with what the peer got:
// Tampered if they are not the same. Whether the elements were allowed is the auditor's to judge, who now has them.
func Audit(plan *Plan, side Side, set Set, values [][]uint64, secret *Secret, got [sm.Size]byte, workers int) error {
	want, err := Commitment(plan, side, set, values, secret, workers)
	if err != nil {
		return err
	}
	if subtle.ConstantTimeCompare(want[:], got[:]) != 1 {
		return &sandbox.Error{Op: "psi: audit", Kind: sandbox.Tampered, Object: side.String(), Detail: "the points that were sent are not those of this set and secret"}
	}
	return nil
}
