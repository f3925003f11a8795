package sm

import (
	"crypto/hmac"
	"encoding/binary"
	"fmt"
	"hash"
	"io"
	"math/bits"

	"github.com/emmansun/gmsm/sm3"

	"github.com/opdomain/opdomain/sandbox"
)

// MAC (批量消息鉴别) is HMAC-SM3 (GB/T 15852.2, RFC 2104) under one key over many short messages: the key's two blocks are compressed once, rows of
// equal block count go through the rounds together, sixteen at a time on a processor with AVX-512, eight with AVX2, else two in
// plain Go. Values are those of HMAC. Safe for concurrent use.
type MAC struct {
	key          []byte
	inner, outer [8]uint32 // after the key's block
	width        int       // rows at a time
}

const (
	sm3Block   = 64
	maxLanes   = 16
	laneBlocks = 8 // of a message; longer ones, from 503 bytes on, go one at a time
)

var sm3IV = [8]uint32{0x7380166f, 0x4914b2b9, 0x172442d7, 0xda8a0600, 0xa96f30bc, 0x163138aa, 0xe38dee4d, 0xb0fb0e4e}

// sm3K are the round constants, rotated.
var sm3K = func() (k [64]uint32) {
	for j := range k {
		t := uint32(0x79cc4519)
		if j >= 16 {
			t = 0x7a879d8a
		}
		k[j] = bits.RotateLeft32(t, j%32)
	}
	return
}()

// NewMAC takes a key of at least 16 bytes.
func NewMAC(key []byte) (*MAC, error) {
	if len(key) < KeySize {
		return nil, &sandbox.Error{Op: "sm: mac", Kind: sandbox.Invalid, Detail: "a key has at least 16 bytes"}
	}
	m := &MAC{key: append([]byte(nil), key...)}
	if len(m.key) > sm3Block {
		d := Sum(m.key)
		m.key = d[:]
	}
	var x, y [sm3Block]byte
	copy(x[:], m.key)
	copy(y[:], m.key)
	for i := range x {
		x[i] ^= 0x36
		y[i] ^= 0x5c
	}
	var v, w [68]uint32
	for i := range 16 {
		v[i], w[i] = binary.BigEndian.Uint32(x[4*i:]), binary.BigEndian.Uint32(y[4*i:])
	}
	m.inner, m.outer = sm3IV, sm3IV
	compress2(&m.inner, &m.outer, &v, &w)
	m.width = m.agreed(lanes)
	return m, nil
}

// agreed gives width where the lanes agree with the library on a message of two blocks, and else 2: a processor that a virtual
// machine describes wrongly must not make tokens that no other finds.
func (m *MAC) agreed(width int) int {
	var out [maxLanes * Size]byte
	var offsets [maxLanes + 1]int32
	text := make([]byte, maxLanes*60)
	for i := range text {
		text[i] = byte(i * 167)
	}
	for i := range offsets {
		offsets[i] = int32(60 * i)
	}
	m.rows(out[:], Size, offsets[:], text, width)
	for i := range maxLanes {
		if want := HMAC(m.key, text[60*i:60*i+60]); !hmac.Equal(out[i*Size:(i+1)*Size], want[:]) {
			return 2
		}
	}
	return width
}

// String keeps the key out of logs.
func (MAC) String() string { return "hmac-sm3 key(redacted)" }

// Format keeps the key out of every verb.
func (m MAC) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, m.String()) }

// AtMost gives the same MAC with at most so many lanes: what the widest is measured and tested against.
func (m *MAC) AtMost(lanes int) *MAC {
	n := *m
	switch {
	case lanes >= n.width:
	case lanes >= 8:
		n.width = 8
	default:
		n.width = 2
	}
	return &n
}

// Lanes says how many rows Rows takes at a time: 16, 8 or 2.
func (m *MAC) Lanes() int { return m.width }

// Rows writes the first size bytes of each row's HMAC into dst, back to back. Row i is data[offsets[i]:offsets[i+1]], as in
// an Arrow string column. size is 1 to 32, dst has size bytes a row; it panics otherwise, as on offsets outside data.
func (m *MAC) Rows(dst []byte, size int, offsets []int32, data []byte) {
	m.rows(dst, size, offsets, data, m.width)
}

// queue holds rows of one block count until a group is full.
type queue struct {
	n    int
	rows [maxLanes]int32
}

func (m *MAC) rows(dst []byte, size int, offsets []int32, data []byte, width int) {
	if len(offsets) == 0 {
		return
	}
	if size < 1 || size > Size || len(dst) < size*(len(offsets)-1) {
		panic("sm: mac: size is 1 to 32, dst has size bytes a row")
	}
	g := group{m: m, dst: dst, size: size, offsets: offsets, data: data}
	var wait [laneBlocks + 1]queue
	var one hash.Hash
	var sum [Size]byte
	for i := range len(offsets) - 1 {
		length := int(offsets[i+1] - offsets[i])
		blocks := (length + 9 + sm3Block - 1) / sm3Block
		if blocks > laneBlocks {
			if one == nil {
				one = hmac.New(sm3.New, m.key)
			}
			one.Reset()
			one.Write(data[offsets[i]:offsets[i+1]])
			copy(dst[i*size:(i+1)*size], one.Sum(sum[:0]))
			continue
		}
		q := &wait[blocks]
		q.rows[q.n] = int32(i)
		if q.n++; q.n == width {
			g.run(q, blocks, width)
		}
	}
	for blocks := range wait {
		if q := &wait[blocks]; q.n > 0 {
			g.run(q, blocks, width)
		}
	}
}

// group is one call's rows; run compresses what a queue holds and empties it.
type group struct {
	m       *MAC
	dst     []byte
	size    int
	offsets []int32
	data    []byte

	blocks [laneBlocks * maxLanes][sm3Block]byte // of the lanes, padded
	out    [maxLanes][Size]byte
}

func (g *group) run(q *queue, blocks, width int) {
	if width > 2 {
		g.wide(q, blocks, width)
	} else {
		g.pair(q, blocks)
	}
	q.n = 0
}

// pad writes block k of a row's padded message. The bit count includes the key's block.
func (g *group) pad(buf *[sm3Block]byte, row int32, k, blocks int) {
	msg := g.data[g.offsets[row]:g.offsets[row+1]]
	*buf = [sm3Block]byte{}
	n := copy(buf[:], msg[min(k*sm3Block, len(msg)):])
	if n < sm3Block && len(msg) >= k*sm3Block { // the mark stands right behind the message
		buf[n] = 0x80
	}
	if k == blocks-1 {
		binary.BigEndian.PutUint64(buf[sm3Block-8:], uint64(sm3Block+len(msg))*8)
	}
}

// pair takes one or two rows; one row fills both lanes.
func (g *group) pair(q *queue, blocks int) {
	r0, r1 := q.rows[0], q.rows[q.n-1]
	var v, w [68]uint32
	var buf [sm3Block]byte
	s, t := g.m.inner, g.m.inner
	for k := range blocks {
		g.pad(&buf, r0, k, blocks)
		for i := range 16 {
			v[i] = binary.BigEndian.Uint32(buf[4*i:])
		}
		g.pad(&buf, r1, k, blocks)
		for i := range 16 {
			w[i] = binary.BigEndian.Uint32(buf[4*i:])
		}
		compress2(&s, &t, &v, &w)
	}
	copy(v[:8], s[:])
	copy(w[:8], t[:])
	v[8], w[8] = 0x80000000, 0x80000000
	clear(v[9:15])
	clear(w[9:15])
	v[15], w[15] = (sm3Block+Size)*8, (sm3Block+Size)*8
	s, t = g.m.outer, g.m.outer
	compress2(&s, &t, &v, &w)
	g.put(r0, &s)
	g.put(r1, &t)
}

func (g *group) put(row int32, s *[8]uint32) {
	out := g.dst[int(row)*g.size : (int(row)+1)*g.size]
	if g.size == 16 {
		binary.BigEndian.PutUint64(out, uint64(s[0])<<32|uint64(s[1]))
		binary.BigEndian.PutUint64(out[8:], uint64(s[2])<<32|uint64(s[3]))
		return
	}
	var b [Size]byte
	for i, x := range s {
		binary.BigEndian.PutUint32(b[4*i:], x)
	}
	copy(out, b[:])
}
