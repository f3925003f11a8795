// Package group is the group of the SM2 curve (GB/T 32918.5, 椭圆曲线群) for protocols that the standard's own algorithms do not
// cover: private set intersection and its sums. It gives scalar multiplication, points in their compressed encoding, hashing to the
// curve by RFC 9380 with SM3, sums of points and the logarithm of small multiples.
//
// Points (SEC 1, 2.3.3) are 33 bytes: 02 or 03 by the parity of y, then x, big endian. ParsePoint takes no other form, no x of p or
// above, no x without a point; the identity has no encoding. The order is prime and the cofactor 1, so that a point that parses is of
// full order. Scalars are 32 bytes big endian, 1 to n-1.
//
// Multiplication is the SM library's, in constant time in scalar and point but for the lengths of coordinates that begin with zero
// bytes (one in 256) where they pass through big integers: points are public or hashes under the same key, and nothing else about
// the scalar shows. Hashing, sums and decoding are field arithmetic of this package, parametric in the curve, so that the vectors of
// P-256 in RFC 9380 test the code that runs for SM2; it has no branch and no index that depends on a point or message. Log is for
// results that leave anyway and takes no constant time.
//
// Errors are Invalid for encodings and Unavailable for randomness. It gives no signatures and no key exchange: package sm and tlcp do.
package group

import (
	"crypto/subtle"
	"fmt"
	"io"
	"math/big"

	"github.com/emmansun/gmsm/sm2/sm2ec"

	"github.com/opdomain/opdomain/sandbox"
)

const (
	PointSize  = 33 // bytes of an encoded point
	ScalarSize = 32 // bytes of a scalar
)

// library is what of the SM library's curve is used. The interface is here because crypto/elliptic marks these methods as
// deprecated in favour of key exchange and signatures, which set intersection is neither of; the library's other exports give
// only the x coordinate of a product.
var library interface {
	ScalarMult(x, y *big.Int, k []byte) (*big.Int, *big.Int)
	ScalarBaseMult(k []byte) (*big.Int, *big.Int)
} = sm2ec.P256()

var (
	sm2Curve = newCurve(sm2ec.P256().Params().P, sm2ec.P256().Params().B, z)
	order    = limbs(sm2ec.P256().Params().N)
)

// Point (曲线点) is a point of the SM2 curve other than the identity, in affine coordinates. The zero value is no point.
type Point struct{ x, y element }

func invalid(object, rule string) error {
	return &sandbox.Error{Op: "group: parse", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

// ParsePoint reads the one encoding of a point.
func ParsePoint(b []byte) (Point, error) {
	var p Point
	if len(b) != PointSize || b[0] != 2 && b[0] != 3 {
		return Point{}, invalid("point", "33 bytes that begin with 02 or 03; the identity has no encoding")
	}
	c := sm2Curve
	x, ok := c.parse((*[32]byte)(b[1:]))
	if !ok {
		return Point{}, invalid("point", "a coordinate is below the field's prime")
	}
	p.x = x
	var y2, minus element
	c.right(&y2, &p.x)
	if c.sqrt(&p.y, &y2) != 1 {
		return Point{}, invalid("point", "on the SM2 curve")
	}
	c.neg(&minus, &p.y)
	pick(&p.y, c.odd(&p.y)^uint64(b[0]&1), &minus, &p.y)
	return p, nil
}

// Append writes the encoding behind dst.
func (p *Point) Append(dst []byte) []byte {
	var b [PointSize]byte
	sm2Curve.bytes((*[32]byte)(b[1:]), &p.x)
	b[0] = 2 | byte(sm2Curve.odd(&p.y))
	return append(dst, b[:]...)
}

// Equal compares in constant time.
func (p *Point) Equal(q *Point) bool { return equal(&p.x, &q.x)&equal(&p.y, &q.y) == 1 }

func (p *Point) projective() projective { return projective{p.x, p.y, sm2Curve.one} }

func (p *Point) big() (x, y *big.Int) {
	var b [32]byte
	sm2Curve.bytes(&b, &p.x)
	x = new(big.Int).SetBytes(b[:])
	sm2Curve.bytes(&b, &p.y)
	return x, new(big.Int).SetBytes(b[:])
}

// from takes coordinates that the library gave. A product of a scalar and a point is never the identity; (0, 0) would be one that
// somebody made without ParsePoint.
func from(x, y *big.Int) Point {
	if x.Sign() == 0 && y.Sign() == 0 {
		panic("group: the zero value of Point is no point")
	}
	var b [32]byte
	var p Point
	p.x, _ = sm2Curve.parse((*[32]byte)(x.FillBytes(b[:])))
	p.y, _ = sm2Curve.parse((*[32]byte)(y.FillBytes(b[:])))
	return p
}

// Scalar (标量) is a secret number from 1 to n-1.
type Scalar struct{ b [ScalarSize]byte }

// NewScalar draws a scalar from rand: 32 bytes until they are one, so that it is a function of the reader alone.
func NewScalar(rand io.Reader) (*Scalar, error) {
	for range 128 {
		s := &Scalar{}
		if _, err := io.ReadFull(rand, s.b[:]); err != nil {
			return nil, &sandbox.Error{Op: "group: scalar", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
		}
		if s.valid() {
			return s, nil
		}
	}
	return nil, &sandbox.Error{Op: "group: scalar", Kind: sandbox.Unavailable, Object: "randomness", Detail: "128 draws in a row were no scalar"}
}

func (s *Scalar) valid() bool {
	x := raw(&s.b)
	return below(&x, &order) && zero(&x) == 0
}

// Mult gives s·p. It panics on the zero value of Point.
func (s *Scalar) Mult(p *Point) Point {
	x, y := p.big()
	return from(library.ScalarMult(x, y, s.b[:]))
}

// Base gives s·G.
func (s *Scalar) Base() Point { return from(library.ScalarBaseMult(s.b[:])) }

// Equal compares in constant time.
func (s *Scalar) Equal(t *Scalar) bool { return subtle.ConstantTimeCompare(s.b[:], t.b[:]) == 1 }

// Erase overwrites the scalar; what multiplies with it afterwards panics.
func (s *Scalar) Erase() { clear(s.b[:]) }

// String keeps the scalar out of logs.
func (Scalar) String() string { return "sm2 scalar(redacted)" }

// Format keeps the scalar out of every verb.
func (s Scalar) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }
