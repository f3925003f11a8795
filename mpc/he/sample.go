package he

import (
	"encoding/binary"
	"io"
	"math"
	"math/bits"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// stream is the randomness of one operation (随机流): SM4 in counter mode under a key that is read for it and used for nothing else.
type stream struct {
	blocks *sm.Blocks
	next   uint64
	high   uint64
	buf    []byte
}

func newStream(rand io.Reader) (*stream, error) {
	key := make([]byte, sm.KeySize)
	defer clear(key)
	if _, err := io.ReadFull(rand, key); err != nil {
		return nil, &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "sampling", Detail: "randomness is there", Err: err}
	}
	return streamOf(key, 0)
}

func streamOf(key []byte, high uint64) (*stream, error) {
	b, err := sm.NewBlocks(key)
	return &stream{blocks: b, high: high}, err
}

// bytes gives n bytes, a multiple of 16; valid until the next call.
func (s *stream) bytes(n int) []byte {
	if cap(s.buf) < n {
		s.buf = make([]byte, n)
	}
	b := s.buf[:n]
	for i := 0; i < n; i += 16 {
		binary.LittleEndian.PutUint64(b[i:], s.next)
		binary.LittleEndian.PutUint64(b[i+8:], s.high)
		s.next++
	}
	s.blocks.Encrypt(b)
	return b
}

// wipe clears what was drawn last.
func (s *stream) wipe() { clear(s.buf[:cap(s.buf)]) }

// errorSigma is the standard deviation of an encryption's error, errorCut the largest there is: 6σ.
const (
	errorSigma = 3.2
	errorCut   = 19
)

// thresholds[k] is 2^63 times the probability that a Gaussian of σ 3.2, rounded, is at most k in size, given that it is at most 19. The last
// is left out: it is always reached.
var thresholds = func() (t [errorCut]uint64) {
	above := func(k int) float64 { return math.Erfc((float64(k) + 0.5) / (errorSigma * math.Sqrt2)) }
	for k := range t {
		tail := (above(k) - above(errorCut)) / (1 - above(errorCut))
		t[k] = 1<<63 - uint64(math.Round(math.Ldexp(tail, 63)))
	}
	return t
}()

// gauss draws errors: 64 bits each, compared with all thresholds, so that time and memory do not tell which. Bits beyond 2^-53 of a
// probability are not exact.
func (s *stream) gauss(into []int64) {
	b := s.bytes(8 * len(into))
	for i := range into {
		r := binary.LittleEndian.Uint64(b[8*i:])
		sign := -int64(r & 1)
		r >>= 1
		x := int64(errorCut)
		for _, t := range thresholds {
			x -= int64((r - t) >> 63)
		}
		into[i] = (x ^ sign) - sign
	}
}

// ternary draws values uniform in -1, 0, 1: four from 64 bits, each the high word of a product with three; uniform to 2^-57.
func (s *stream) ternary(into []int64) {
	b := s.bytes((2*len(into) + 15) &^ 15)
	for i := 0; i < len(into); i += 4 {
		r := binary.LittleEndian.Uint64(b[2*i:])
		for k := range into[i:min(i+4, len(into))] {
			var x uint64
			x, r = bits.Mul64(r, 3)
			into[i+k] = int64(x) - 1
		}
	}
}

// uniform draws residues of q, exactly uniform: what is 2^64's last part of a multiple is drawn again. Its time says so; it is for values
// that everybody sees.
func (s *stream) uniform(f *transform, into []uint64) {
	limit := f.inv * f.q
	for at := 0; at < len(into); {
		b := s.bytes(8 * ((len(into) - at + 1) &^ 1))
		for i := 0; i < len(b) && at < len(into); i += 8 {
			if r := binary.LittleEndian.Uint64(b[i:]); r < limit {
				into[at] = f.whole(r)
				at++
			}
		}
	}
}
