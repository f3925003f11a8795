package group

import (
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// Sum (点和) adds points; it may pass through the identity. The zero value is not ready: NewSum gives the identity.
type Sum struct{ p projective }

// NewSum gives the sum of no points.
func NewSum() *Sum { return &Sum{sm2Curve.identity()} }

// Add adds a point, in constant time.
func (s *Sum) Add(p *Point) {
	q := p.projective()
	sm2Curve.addPoints(&s.p, &s.p, &q)
}

// Sub subtracts a point.
func (s *Sum) Sub(p *Point) {
	q := p.projective()
	sm2Curve.neg(&q.y, &q.y)
	sm2Curve.addPoints(&s.p, &s.p, &q)
}

// AddMultiple adds v·G for v up to MaxLog, in constant time: 0 takes no other path than another value.
func (s *Sum) AddMultiple(v uint64) {
	p := multiple(v + 1)
	s.Add(&p)
	s.Sub(&generator)
}

var generator = multiple(1)

// multiple is v·G; v is not 0.
func multiple(v uint64) Point {
	k := &Scalar{}
	for i := range 8 {
		k.b[ScalarSize-1-i] = byte(v >> (8 * i))
	}
	return k.Base()
}

// Point gives the sum; ok is false for the identity.
func (s *Sum) Point() (p Point, ok bool) {
	var out [1]Point
	sm2Curve.affine(out[:], []projective{s.p})
	return out[0], zero(&s.p.z) == 0
}

// MaxLog bounds what Log finds: 2^40, a million steps on either side.
const MaxLog = 1 << 40

// Log (离散对数) finds v from v·G for v up to a bound, by baby steps and giant steps (Shanks): memory 16 bytes times the root of
// the bound, time as many point additions. Its time depends on v. Safe for concurrent use.
type Log struct {
	bound uint64
	width uint64   // baby steps: 0·G … (width-1)·G
	steps []step   // sorted by x
	first []uint32 // by the top 16 bits of x, where its steps begin
	back  projective
}

type step struct {
	x uint64 // the top limb of x, as it lies in memory
	v uint32
}

const logBatch = 512 // points that share an inversion

// NewLog makes the table for values from 0 to bound.
func NewLog(bound uint64) (*Log, error) {
	if bound == 0 || bound > MaxLog {
		return nil, &sandbox.Error{Op: "group: log", Kind: sandbox.Invalid, Detail: "a bound from 1 to 2^40"}
	}
	l := &Log{bound: bound, width: 1}
	for l.width*l.width <= bound {
		l.width *= 2
	}
	g := generator.projective()
	at := sm2Curve.identity()
	l.steps = make([]step, 0, l.width)
	l.walk(&at, &g, l.width, func(v uint64, p *Point) bool {
		l.steps = append(l.steps, step{p.x[3], uint32(v)})
		return true
	})
	l.back = at // width·G
	sm2Curve.neg(&l.back.y, &l.back.y)
	slices.SortFunc(l.steps, func(a, b step) int {
		switch {
		case a.x < b.x:
			return -1
		case a.x > b.x:
			return 1
		}
		return 0
	})
	l.first = make([]uint32, 1<<16+1)
	for _, s := range l.steps {
		l.first[s.x>>48+1]++
	}
	for i := range 1 << 16 {
		l.first[i+1] += l.first[i]
	}
	return l, nil
}

// walk visits at, at+by, at+2·by …, n points, until visit says no. The identity is visited as (0, 0).
func (l *Log) walk(at, by *projective, n uint64, visit func(i uint64, p *Point) bool) {
	var in [logBatch]projective
	var out [logBatch]Point
	for i := uint64(0); i < n; {
		m := min(n-i, logBatch)
		for j := range m {
			in[j] = *at
			sm2Curve.addPoints(at, at, by)
		}
		sm2Curve.affine(out[:m], in[:m])
		for j := range m {
			if !visit(i+j, &out[j]) {
				return
			}
		}
		i += m
	}
}

// Find gives v where the sum is v·G; TooLarge where v is over the bound.
func (l *Log) Find(s *Sum) (uint64, error) {
	at := s.p
	want, some := s.Point()
	var found uint64
	ok := false
	l.walk(&at, &l.back, l.bound/l.width+1, func(i uint64, p *Point) bool {
		k := p.x[3]
		for _, c := range l.steps[l.first[k>>48]:l.first[k>>48+1]] {
			if c.x != k {
				continue
			}
			v := i*l.width + uint64(c.v)
			if v <= l.bound && is(v, &want, some) {
				found, ok = v, true
				return false
			}
		}
		return true
	})
	if !ok {
		return 0, &sandbox.Error{Op: "group: log", Kind: sandbox.TooLarge, Detail: "the number is over the bound that was agreed"}
	}
	return found, nil
}

// is says whether v·G is the point, or the identity.
func is(v uint64, p *Point, some bool) bool {
	if v == 0 || !some {
		return v == 0 && !some
	}
	q := multiple(v)
	return q.Equal(p)
}
