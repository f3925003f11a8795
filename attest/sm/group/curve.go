package group

import "math/big"

// curve is y² = x³ - 3x + b over a field, of prime order, with the constants of the simplified SWU map.
type curve struct {
	field
	a, b  element
	z, c2 element // Z of the suite, sqrt(-Z)
}

func newCurve(p, b *big.Int, z int64) *curve {
	c := &curve{field: *newField(p)}
	c.a, c.b, c.z = c.set(big.NewInt(-3)), c.set(b), c.set(big.NewInt(z))
	var minus element
	c.neg(&minus, &c.z)
	if c.sqrt(&c.c2, &minus) != 1 { // p is 3 mod 4 and Z is no square, so -Z is one
		panic("group: -Z is a square")
	}
	return c
}

// projective is (X:Y:Z) with x = X/Z, y = Y/Z; the identity is (0:1:0).
type projective struct{ x, y, z element }

func (c *curve) identity() projective { return projective{y: c.one} }

// right is x³ - 3x + b.
func (c *curve) right(z, x *element) {
	var t element
	c.mul(&t, x, x)
	c.add(&t, &t, &c.a)
	c.mul(&t, &t, x)
	c.add(z, &t, &c.b)
}

// add is complete: Renes, Costello, Batina, "Complete addition formulas for prime order elliptic curves" (eprint 2015/1060),
// algorithm 4 for a = -3. Equal, opposite and identity points need no case of their own.
func (c *curve) addPoints(r, p, q *projective) {
	var t0, t1, t2, t3, t4, x3, y3, z3 element
	c.mul(&t0, &p.x, &q.x)
	c.mul(&t1, &p.y, &q.y)
	c.mul(&t2, &p.z, &q.z)
	c.add(&t3, &p.x, &p.y)
	c.add(&t4, &q.x, &q.y)
	c.mul(&t3, &t3, &t4)
	c.add(&t4, &t0, &t1)
	c.sub(&t3, &t3, &t4)
	c.add(&t4, &p.y, &p.z)
	c.add(&x3, &q.y, &q.z)
	c.mul(&t4, &t4, &x3)
	c.add(&x3, &t1, &t2)
	c.sub(&t4, &t4, &x3)
	c.add(&x3, &p.x, &p.z)
	c.add(&y3, &q.x, &q.z)
	c.mul(&x3, &x3, &y3)
	c.add(&y3, &t0, &t2)
	c.sub(&y3, &x3, &y3)
	c.mul(&z3, &c.b, &t2)
	c.sub(&x3, &y3, &z3)
	c.add(&z3, &x3, &x3)
	c.add(&x3, &x3, &z3)
	c.sub(&z3, &t1, &x3)
	c.add(&x3, &t1, &x3)
	c.mul(&y3, &c.b, &y3)
	c.add(&t1, &t2, &t2)
	c.add(&t2, &t1, &t2)
	c.sub(&y3, &y3, &t2)
	c.sub(&y3, &y3, &t0)
	c.add(&t1, &y3, &y3)
	c.add(&y3, &t1, &y3)
	c.add(&t1, &t0, &t0)
	c.add(&t0, &t1, &t0)
	c.sub(&t0, &t0, &t2)
	c.mul(&t1, &t4, &y3)
	c.mul(&t2, &t0, &y3)
	c.mul(&y3, &x3, &z3)
	c.add(&r.y, &y3, &t2)
	c.mul(&x3, &t3, &x3)
	c.sub(&r.x, &x3, &t1)
	c.mul(&z3, &t4, &z3)
	c.mul(&t1, &t3, &t0)
	c.add(&r.z, &z3, &t1)
}

// affine gives the coordinates of all points with one inversion (Montgomery's trick). Where a point is the identity it gives
// (0, 0), in the same time.
func (c *curve) affine(out []Point, in []projective) {
	var product element
	prefix := make([]element, len(in))
	product = c.one
	for i := range in {
		prefix[i] = product
		var z element
		pick(&z, zero(&in[i].z), &c.one, &in[i].z)
		c.mul(&product, &product, &z)
	}
	c.invert(&product, &product)
	for i := len(in) - 1; i >= 0; i-- {
		none := zero(&in[i].z)
		var z, inverse element
		pick(&z, none, &c.one, &in[i].z)
		c.mul(&inverse, &product, &prefix[i])
		c.mul(&product, &product, &z)
		c.mul(&out[i].x, &in[i].x, &inverse)
		c.mul(&out[i].y, &in[i].y, &inverse)
		pick(&out[i].x, none, &element{}, &out[i].x)
		pick(&out[i].y, none, &element{}, &out[i].y)
	}
}

// ratio is sqrt_ratio of RFC 9380, F.2.1.2, for p = 3 mod 4: (1, sqrt(u/v)) or (0, sqrt(Z·u/v)).
func (c *curve) ratio(y, u, v *element) uint64 {
	var t1, t2, t3, y1, y2 element
	c.mul(&t1, v, v)
	c.mul(&t2, u, v)
	c.mul(&t1, &t1, &t2)
	c.pow(&y1, &t1, c.root)
	c.mul(&y1, &y1, &t2)
	c.mul(&y2, &y1, &c.c2)
	c.mul(&t3, &y1, &y1)
	c.mul(&t3, &t3, v)
	square := equal(&t3, u)
	pick(y, square, &y1, &y2)
	return square
}

// sswu is map_to_curve_simple_swu of RFC 9380, F.2, without its last division: the result is projective.
func (c *curve) sswu(r *projective, u *element) {
	var t1, t2, t3, t4, t5, t6, x, y, y1, minus element
	c.mul(&t1, u, u)
	c.mul(&t1, &c.z, &t1)
	c.mul(&t2, &t1, &t1)
	c.add(&t2, &t2, &t1)
	c.add(&t3, &t2, &c.one)
	c.mul(&t3, &c.b, &t3)
	c.neg(&minus, &t2)
	pick(&t4, zero(&t2), &c.z, &minus)
	c.mul(&t4, &c.a, &t4)
	c.mul(&t2, &t3, &t3)
	c.mul(&t6, &t4, &t4)
	c.mul(&t5, &c.a, &t6)
	c.add(&t2, &t2, &t5)
	c.mul(&t2, &t2, &t3)
	c.mul(&t6, &t6, &t4)
	c.mul(&t5, &c.b, &t6)
	c.add(&t2, &t2, &t5)
	c.mul(&x, &t1, &t3)
	square := c.ratio(&y1, &t2, &t6)
	c.mul(&y, &t1, u)
	c.mul(&y, &y, &y1)
	pick(&x, square, &t3, &x)
	pick(&y, square, &y1, &y)
	c.neg(&minus, &y)
	pick(&y, 1^c.odd(u)^c.odd(&y), &y, &minus)
	r.x, r.z = x, t4
	c.mul(&r.y, &y, &t4)
}
