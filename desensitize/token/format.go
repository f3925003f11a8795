package token

import (
	"encoding/binary"
	"fmt"
	"io"
	"math/bits"
	"strconv"
	"sync/atomic"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Format (保留格式令牌) is the reversible token that has its value's format and length: a value is read as kept characters and a
// number below the format's size, the number goes through FF1-SM4 with the kept characters as tweak, and check characters
// are computed anew. Made by NewResidentID, NewCard, NewMobile and NewDate.
type Format struct {
	layout layout
	shapes []*shape
	masked atomic.Int64
	open   bool
}

// layout reads and writes one kind of value. Both work on a few bytes and allocate nothing.
type layout interface {
	// name is the operation with its parameters: the key's label and the place in errors.
	name() []string
	// sizes gives, for each shape a value can have, how many numbers it has and the tweak's length; 0 for a shape that is none.
	sizes() (sizes []uint64, tweak int)
	// read gives a value's shape and number and writes its kept characters; false where it does not fit.
	read(v, tweak []byte) (shape int, x uint64, ok bool)
	// write writes the value of the same shape and kept characters with another number. out is as long as v.
	write(out, v []byte, x uint64)
	// integers says that tokens have no leading zero, so an Int64 column stays one.
	integers() bool
}

// shape is FF1 over the least r^n that holds the size.
type shape struct {
	ff1  *sm.FF1
	size uint64
}

func newFormat(k Key, l layout) (*Format, error) {
	key, err := k.derive(sm.KeySize, l.name()...)
	if err != nil {
		return nil, err
	}
	f := &Format{layout: l}
	sizes, tweak := l.sizes()
	made := 0
	for _, size := range sizes {
		if size < sm.MinDomain {
			f.shapes = append(f.shapes, nil)
			continue
		}
		radix, n := shapeOf(size)
		c, err := sm.NewFF1(key, radix, n, tweak)
		if err != nil {
			return nil, err
		}
		f.shapes = append(f.shapes, &shape{c, size})
		made++
	}
	if made == 0 {
		return nil, &sandbox.Error{Op: "token: " + l.name()[0], Kind: sandbox.Denied, Object: "format",
			Detail: "what is not kept has fewer than 1,000,000 values", Hint: "keep less of the value"}
	}
	return f, nil
}

// shapeOf gives decimal numerals for a power of ten, so that tokens are those of FF1 over digits, and else the least radix
// whose fourth power holds the size.
func shapeOf(size uint64) (radix, n int) {
	for p := uint64(1); p <= size; p *= 10 {
		if p == size {
			return 10, n
		}
		if n++; p > 1<<64/20 {
			break
		}
	}
	low, high := 2, 1<<16
	for low < high {
		mid := uint64(low+high) / 2
		over, square := bits.Mul64(mid*mid, mid*mid)
		if over > 0 || square >= size {
			high = int(mid)
		} else {
			low = int(mid) + 1
		}
	}
	return low, 4
}

// Apply gives the tokens of a column. An Int64 column is taken where tokens cannot begin with a zero.
func (o *Format) Apply(mem memory.Allocator, a arrow.Array) (arrow.Array, error) {
	op := o.layout.name()[0]
	if a.DataType().ID() == arrow.INT64 && !o.layout.integers() {
		return nil, refuse(op, "an integer column would lose leading zeros or letters of its tokens")
	}
	return toKind(op, mem, a, o)
}

// Masked counts the values that did not fit, over all calls of Apply.
func (o *Format) Masked() int64 { return o.masked.Load() }

func (o *Format) reverse(k Key) (encoder, error) {
	f, err := newFormat(k, o.layout)
	if err == nil {
		f.open = true
	}
	return f, err
}

// work is a call's chunk: rows by shape, their numbers and tweaks.
type work struct {
	x, was [chunkRows]uint64
	shape  [chunkRows]int16 // -1: does not fit
	group  []uint64
	rows   []int32
	tweaks []byte // by row
	packed []byte // by group
}

func (o *Format) encode(w *writer, t *texts) error {
	_, width := o.layout.sizes()
	k := &work{group: make([]uint64, 0, chunkRows), rows: make([]int32, 0, chunkRows), tweaks: make([]byte, chunkRows*width), packed: make([]byte, 0, chunkRows*width)}
	if err := w.grow(int(t.offsets[t.len()] - t.offsets[0])); err != nil { // all fit, mostly
		return err
	}
	masked := int64(0)
	for at := 0; at < t.len(); at += chunkRows {
		n := min(chunkRows, t.len()-at)
		seen, bytes := o.read(k, t, at, n)
		for s, used := range seen {
			if used {
				if err := o.crypt(k, s, n, width); err != nil {
					return err
				}
			}
		}
		if err := w.grow(bytes + n*len(Masked)); err != nil {
			return err
		}
		for i := range n {
			v := t.row(at + i)
			switch {
			case t.null(at + i):
				w.next(0)
			case k.shape[i] >= 0 && (k.x[i] != k.was[i] || o.open):
				o.layout.write(w.next(len(v)), v, k.x[i])
			case o.open:
				w.drop()
			default:
				w.mask()
				masked++
			}
		}
	}
	o.masked.Add(masked)
	return nil
}

// read reads a chunk and says which shapes it has and how many bytes its fitting rows.
func (o *Format) read(k *work, t *texts, at, n int) (seen [32]bool, bytes int) {
	width := len(k.tweaks) / chunkRows
	for i := range n {
		k.shape[i] = -1
		if t.null(at + i) {
			continue
		}
		v := t.row(at + i)
		s, x, ok := o.layout.read(v, k.tweaks[i*width:(i+1)*width])
		if !ok || o.shapes[s] == nil {
			continue
		}
		k.shape[i], k.x[i], k.was[i] = int16(s), x, x
		seen[s] = true
		bytes += len(v)
	}
	return seen, bytes
}

// crypt puts the rows of one shape through FF1, and again those that left the domain.
func (o *Format) crypt(k *work, s, n, width int) error {
	c := o.shapes[s]
	k.rows = k.rows[:0]
	for i := range n {
		if int(k.shape[i]) == s {
			k.rows = append(k.rows, int32(i))
		}
	}
	for len(k.rows) > 0 {
		k.group, k.packed = k.group[:0], k.packed[:0]
		for _, i := range k.rows {
			k.group = append(k.group, k.x[i])
			k.packed = append(k.packed, k.tweaks[int(i)*width:(int(i)+1)*width]...)
		}
		var err error
		if o.open {
			err = c.ff1.OpenNumbers(k.group, k.packed)
		} else {
			err = c.ff1.Numbers(k.group, k.packed)
		}
		if err != nil {
			return err
		}
		again := k.rows[:0]
		for j, i := range k.rows {
			if k.x[i] = k.group[j]; k.x[i] >= c.size {
				again = append(again, i)
			}
		}
		k.rows = again
	}
	return nil
}

// digits reads ASCII digits.
func digits(s []byte) (x uint64, ok bool) {
	for _, c := range s {
		d := c - '0'
		if d > 9 {
			return 0, false
		}
		x = x*10 + uint64(d)
	}
	return x, true
}

// putDigits writes x with leading zeros.
func putDigits(out []byte, x uint64) {
	i := len(out)
	for ; i >= 2; i -= 2 {
		binary.LittleEndian.PutUint16(out[i-2:], pairs[x%100])
		x /= 100
	}
	if i == 1 {
		out[0] = '0' + byte(x%10)
	}
}

func power(n int) uint64 {
	p := uint64(1)
	for range n {
		p *= 10
	}
	return p
}

func text(n int) string { return strconv.Itoa(n) }

// Format keeps the key out of every verb.
func (*Format) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, "format token(redacted)") }
