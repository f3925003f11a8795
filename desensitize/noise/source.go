package noise

import (
	"encoding/binary"
	"io"
	"math/bits"

	"github.com/opdomain/opdomain/sandbox"
)

// source draws exact integers and coin flips from a reader, 4096 bytes at a time. The first error sticks; draws after it are
// zero, so loops end, and the caller looks at err before anything is handed out.
type source struct {
	r    io.Reader
	buf  [4096]byte
	at   int
	full bool
	err  error
}

// sourceOf gives nil for no reader.
func sourceOf(r io.Reader) *source {
	if r == nil {
		return nil
	}
	return &source{r: r}
}

// unread is the error of an operation that was made without a reader.
func unread(op string) error { return refuse(op, "randomness", "a reader is given") }

func (s *source) word() uint64 {
	if !s.full || s.at == len(s.buf) {
		if s.err == nil {
			if _, err := io.ReadFull(s.r, s.buf[:]); err != nil {
				s.err = &sandbox.Error{Op: "noise: draw", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
			}
		}
		if s.err != nil {
			return 0
		}
		s.at, s.full = 0, true
	}
	x := binary.LittleEndian.Uint64(s.buf[s.at:])
	s.at += 8
	return x
}

// below is uniform on 0 to n-1, exactly: what would favour small numbers is drawn again.
func (s *source) below(n uint64) uint64 {
	hi, lo := bits.Mul64(s.word(), n)
	if lo < n {
		for least := -n % n; lo < least && s.err == nil; {
			hi, lo = bits.Mul64(s.word(), n)
		}
	}
	return hi
}

// ratio is true with probability a/b, a ≤ b.
func (s *source) ratio(a, b uint64) bool { return s.below(b) < a }

// decay is true with probability exp(-a/b): one coin of exp(-1) for each whole, then von Neumann's alternating series
// (Canonne, Kamath, Steinke 2020, algorithm 1).
func (s *source) decay(a, b uint64) bool {
	for ; a > b; a -= b {
		if !s.decay(1, 1) {
			return false
		}
	}
	k := uint64(1)
	for s.err == nil && s.ratio(a, b) && (k == 1 || s.ratio(1, k)) {
		k++
	}
	return k%2 == 1
}

// laplace draws n with probability proportional to exp(-|n|·q/p): the discrete Laplace law of scale p/q (algorithm 2).
func (s *source) laplace(p, q uint64) int64 {
	for s.err == nil {
		u := s.below(p)
		if !s.decay(u, p) {
			continue
		}
		v := uint64(0)
		for s.err == nil && s.decay(1, 1) {
			v++
		}
		n := int64((u + p*v) / q)
		if s.below(2) == 0 {
			return n
		}
		if n != 0 {
			return -n
		}
	}
	return 0
}

// gauss draws n with probability proportional to exp(-n²/(2σ²)), σ = p/q: the discrete Gaussian law (algorithm 3).
func (s *source) gauss(p, q uint64) int64 {
	t := p/q + 1
	for s.err == nil {
		n := s.laplace(t, 1)
		m := uint64(max(n, -n))
		// Accepted with probability exp(-z²/2), z = |m - σ²/t| / σ = a/d.
		x, y, d := m*q*q*t, p*p, p*q*t
		a := max(x, y) - min(x, y)
		if s.bell(a/d, a%d, d) {
			return n
		}
	}
	return 0
}

// bell is true with probability exp(-z²/2) for z = i + r/d: z²/2 = i²/2 + i·r/d + (r/d)(r/d)/2.
func (s *source) bell(i, r, d uint64) bool {
	for range i * i {
		if !s.decay(1, 2) {
			return false
		}
	}
	for range i {
		if !s.decay(r, d) {
			return false
		}
	}
	// The series again; its ratio z²/2k is three coins, so that nothing is multiplied out.
	k := uint64(1)
	for s.err == nil && s.ratio(r, d) && s.ratio(r, d) && s.ratio(1, 2*k) {
		k++
	}
	return k%2 == 1
}
