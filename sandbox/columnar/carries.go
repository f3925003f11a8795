package columnar

// carries counts how often a pair's sum went over 64 bits, upwards less downwards, where that is not zero: the sum is its word and so
// many times 2^64 more. It is exact in any order of rows and parts, and only a sum that stays over is an error.
type carries struct {
	at *index64      // pair<<32 | word; nil before the first
	n  block[uint64] // signed
}

func (c *carries) add(mem allocator, pair, word int, n int64) {
	if c.at == nil {
		c.at, c.n.mem = newIndex64(mem), mem
	}
	i := c.at.id(uint64(pair)<<32 | uint64(word))
	c.n.grow(c.at.n)
	c.n.v[i] += uint64(n)
}

// more gives the bytes that so many more allocate at most, once there is one.
func (c *carries) more(n int) int64 {
	if c.at == nil {
		return 0
	}
	return c.at.more(n) + c.n.more(c.at.n+n)
}

// each calls f for those that are not zero.
func (c *carries) each(f func(pair, word int, n int64)) {
	for i := 0; c.at != nil && i < c.at.n; i++ {
		if n := int64(c.n.v[i]); n != 0 {
			key := c.at.keys.at(i)[0]
			f(int(key>>32), int(uint32(key)), n)
		}
	}
}

func (c *carries) count() (n int) {
	c.each(func(int, int, int64) { n++ })
	return n
}

// of gives the carry of one pair's word.
func (c *carries) of(pair, word int) int64 {
	if c.at == nil {
		return 0
	}
	i, ok := c.at.get(uint64(pair)<<32 | uint64(word))
	if !ok {
		return 0
	}
	return int64(c.n.v[i])
}

func (c *carries) free() {
	if c.at != nil {
		c.at.free()
		c.n.free()
		c.at = nil
	}
}

// carry notes that adding v to a pair's word went over.
func (e *evidence) carry(pair, word int, v int64) {
	n := int64(1)
	if v < 0 {
		n = -1
	}
	e.carries.add(e.acc.mem, pair, word, n)
}
