package columnar

import (
	"encoding/binary"
	"hash/maphash"
	"math/bits"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// unsafeDays sees days as the int32 they are.
func unsafeDays(d []arrow.Date32) []int32 {
	return unsafe.Slice((*int32)(unsafe.SliceData(d)), len(d))
}

// block is a growing array paid for by an Arrow allocator.
type block[T uint8 | uint32 | uint64] struct {
	mem memory.Allocator
	buf []byte
	v   []T
}

// grow makes at least n elements; new ones are zero. Elements move.
func (b *block[T]) grow(n int) {
	if n <= len(b.v) {
		return
	}
	old := len(b.v)
	b.resize(max(n, 2*old, 64))
	clear(b.v[old:])
}

func (b *block[T]) resize(n int) {
	var zero T
	size := n * int(unsafe.Sizeof(zero))
	if b.buf == nil {
		b.buf = b.mem.Allocate(size)
	} else {
		b.buf = b.mem.Reallocate(size, b.buf)
	}
	b.v = unsafe.Slice((*T)(unsafe.Pointer(unsafe.SliceData(b.buf))), n) // Arrow allocators align to 64 bytes
}

func (b *block[T]) free() {
	if b.buf != nil {
		b.mem.Free(b.buf)
		b.buf, b.v = nil, nil
	}
}

const (
	pageBits = 13
	pageMask = 1<<pageBits - 1
)

// pages is a growing array of entries of stride words each, in pages that never move: growing copies nothing.
type pages struct {
	mem    memory.Allocator
	stride int
	bufs   [][]byte
	v      [][]uint64
}

// reserve makes at least n entries; new ones are zero.
func (p *pages) reserve(n int) {
	for len(p.v)<<pageBits < n {
		words := p.stride << pageBits
		buf := p.mem.Allocate(8 * words)
		page := unsafe.Slice((*uint64)(unsafe.Pointer(unsafe.SliceData(buf))), words)
		clear(page)
		p.bufs, p.v = append(p.bufs, buf), append(p.v, page)
	}
}

// at gives entry i.
func (p *pages) at(i int) []uint64 {
	return p.v[i>>pageBits][(i&pageMask)*p.stride:][:p.stride]
}

func (p *pages) free() {
	for _, b := range p.bufs {
		p.mem.Free(b)
	}
	p.bufs, p.v = nil, nil
}

// seed keeps the layout of tables unpredictable to whoever chose the values; results do not depend on it.
type seed struct{ a, b uint64 }

func newSeed() seed {
	s := maphash.MakeSeed()
	return seed{maphash.String(s, "a") | 1, maphash.String(s, "b") | 1}
}

func (s seed) hash(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^s.a, b^s.b)
	return hi ^ lo
}

const miss = ^uint32(0)

// index numbers pairs of words from 0 in first-seen order, by linear probing at load ≤ 1/2 in slots of three words: the
// pair and number+1. A pair and its number share a cache line: the table costs one miss a row.
type index struct {
	slots block[uint64]
	mask  uint64
	seed  seed
	n     int
}

func newIndex(mem memory.Allocator) *index {
	x := &index{slots: block[uint64]{mem: mem}, seed: newSeed()}
	x.size(1024)
	return x
}

func (x *index) free() { x.slots.free() }

func (x *index) size(slots int) {
	x.slots.free()
	x.slots.resize(3 * slots)
	clear(x.slots.v)
	x.mask = uint64(slots - 1)
}

// reserve makes room for more pairs.
func (x *index) reserve(more int) {
	slots := int(x.mask) + 1
	if 2*(x.n+more) <= slots {
		return
	}
	for 2*(x.n+more) > slots {
		slots *= 2
	}
	old := block[uint64]{mem: x.slots.mem, buf: x.slots.buf, v: x.slots.v}
	x.slots.buf, x.slots.v = nil, nil
	x.size(slots)
	for i := 0; i < len(old.v); i += 3 {
		if old.v[i+2] != 0 {
			a, b := old.v[i], old.v[i+1]
			h := x.seed.hash(a, b) & x.mask
			for x.slots.v[3*h+2] != 0 {
				h = (h + 1) & x.mask
			}
			x.slots.v[3*h], x.slots.v[3*h+1], x.slots.v[3*h+2] = a, b, old.v[i+2]
		}
	}
	old.free()
}

// ids numbers the pairs, adding new ones; runs of equal pairs are probed once.
func (x *index) ids(a, b []uint64, out []uint32) {
	x.reserve(len(a))
	slots, mask, n := x.slots.v, x.mask, x.n
	b, out = b[:len(a)], out[:len(a)]
	var pa, pb uint64
	var last uint32
	for k, ka := range a {
		kb := b[k]
		if k > 0 && ka == pa && kb == pb {
			out[k] = last
			continue
		}
		for h := x.seed.hash(ka, kb) & mask; ; h = (h + 1) & mask {
			s := slots[3*h:][:3]
			if s[2] == 0 {
				n++
				s[0], s[1], s[2] = ka, kb, uint64(n)
				last = uint32(n - 1)
				break
			}
			if s[0] == ka && s[1] == kb {
				last = uint32(s[2] - 1)
				break
			}
		}
		pa, pb = ka, kb
		out[k] = last
	}
	x.n = n
}

// find numbers known pairs and gives miss for others.
func (x *index) find(a, b []uint64, out []uint32) {
	for k, ka := range a {
		kb := b[k]
		out[k] = miss
		for h := x.seed.hash(ka, kb) & x.mask; ; h = (h + 1) & x.mask {
			s := x.slots.v[3*h:][:3]
			if s[2] == 0 {
				break
			}
			if s[0] == ka && s[1] == kb {
				out[k] = uint32(s[2] - 1)
				break
			}
		}
	}
}

// index64 numbers single words, in slots of two words; for (cell, subject) pairs and codes.
type index64 struct {
	slots block[uint64]
	mask  uint64
	seed  seed
	n     int
}

func newIndex64(mem memory.Allocator) *index64 {
	x := &index64{slots: block[uint64]{mem: mem}, seed: newSeed()}
	x.size(1024)
	return x
}

func (x *index64) free() { x.slots.free() }

func (x *index64) size(slots int) {
	x.slots.free()
	x.slots.resize(2 * slots)
	clear(x.slots.v)
	x.mask = uint64(slots - 1)
}

func (x *index64) reserve(more int) {
	slots := int(x.mask) + 1
	if 2*(x.n+more) <= slots {
		return
	}
	for 2*(x.n+more) > slots {
		slots *= 2
	}
	old := block[uint64]{mem: x.slots.mem, buf: x.slots.buf, v: x.slots.v}
	x.slots.buf, x.slots.v = nil, nil
	x.size(slots)
	for i := 0; i < len(old.v); i += 2 {
		if old.v[i+1] != 0 {
			h := x.seed.hash(old.v[i], 0) & x.mask
			for x.slots.v[2*h+1] != 0 {
				h = (h + 1) & x.mask
			}
			x.slots.v[2*h], x.slots.v[2*h+1] = old.v[i], old.v[i+1]
		}
	}
	old.free()
}

func (x *index64) ids(keys []uint64, out []uint32) {
	x.reserve(len(keys))
	slots, mask, n := x.slots.v, x.mask, x.n
	out = out[:len(keys)]
	var prev uint64
	var last uint32
	for k, key := range keys {
		if k > 0 && key == prev {
			out[k] = last
			continue
		}
		for h := x.seed.hash(key, 0) & mask; ; h = (h + 1) & mask {
			s := slots[2*h:][:2]
			if s[1] == 0 {
				n++
				s[0], s[1] = key, uint64(n)
				last = uint32(n - 1)
				break
			}
			if s[0] == key {
				last = uint32(s[1] - 1)
				break
			}
		}
		prev = key
		out[k] = last
	}
	x.n = n
}

// id numbers one word, adding it if new.
func (x *index64) id(key uint64) uint32 {
	if v, ok := x.get(key); ok {
		return v
	}
	var out [1]uint32
	x.ids([]uint64{key}, out[:])
	return out[0]
}

func (x *index64) get(key uint64) (uint32, bool) {
	for h := x.seed.hash(key, 0) & x.mask; ; h = (h + 1) & x.mask {
		s := x.slots.v[2*h:][:2]
		if s[1] == 0 {
			return 0, false
		}
		if s[0] == key {
			return uint32(s[1] - 1), true
		}
	}
}

// texts numbers byte strings from 0 in first-seen order. Texts of up to 7 bytes, most codes, are one word: they are found
// without touching the arena.
type texts struct {
	short  *index64      // packed text → index into numbers
	shorts []uint32      // → number
	slots  block[uint32] // long texts: number+1
	mask   uint64        //
	hash   maphash.Seed  //
	arena  block[uint8]  // all texts, one after the other
	ends   block[uint64] // number → end in arena
	longs  int           // long texts
	n      int           // all texts
	used   int           // bytes of arena
}

func newTexts(mem memory.Allocator) *texts {
	t := &texts{short: newIndex64(mem), slots: block[uint32]{mem: mem}, hash: maphash.MakeSeed(),
		arena: block[uint8]{mem: mem}, ends: block[uint64]{mem: mem}}
	t.slots.grow(64)
	t.mask = uint64(len(t.slots.v) - 1)
	return t
}

func (t *texts) free() { t.short.free(); t.slots.free(); t.arena.free(); t.ends.free() }

// pack makes a text of up to 7 bytes one word: its bytes, and its length on top.
func pack(data []byte, from, to int32) uint64 {
	n := uint(to - from)
	if int(from)+8 <= len(data) {
		return binary.LittleEndian.Uint64(data[from:])&(1<<(8*n)-1) | uint64(n)<<56
	}
	w := uint64(n) << 56
	for i := range n {
		w |= uint64(data[uint(from)+i]) << (8 * i)
	}
	return w
}

func (t *texts) at(n uint32) []byte {
	from := uint64(0)
	if n > 0 {
		from = t.ends.v[n-1]
	}
	return t.arena.v[from:t.ends.v[n]]
}

// get finds data[from:to].
func (t *texts) get(data []byte, from, to int32) (uint32, bool) {
	if to-from <= 7 {
		i, ok := t.short.get(pack(data, from, to))
		if !ok {
			return 0, false
		}
		return t.shorts[i], true
	}
	s := data[from:to]
	for h := maphash.Bytes(t.hash, s) & t.mask; ; h = (h + 1) & t.mask {
		v := t.slots.v[h]
		if v == 0 {
			return 0, false
		}
		if string(t.at(v-1)) == string(s) {
			return v - 1, true
		}
	}
}

// put finds data[from:to], adding it if new.
func (t *texts) put(data []byte, from, to int32) uint32 {
	if n, ok := t.get(data, from, to); ok {
		return n
	}
	s, n := data[from:to], uint32(t.n)
	t.arena.grow(t.used + len(s))
	copy(t.arena.v[t.used:], s)
	t.used += len(s)
	t.ends.grow(t.n + 1)
	t.ends.v[t.n] = uint64(t.used)
	t.n++
	if len(s) <= 7 {
		t.short.id(pack(data, from, to))
		t.shorts = append(t.shorts, n)
		return n
	}
	t.longs++
	if uint64(2*t.longs) > t.mask+1 {
		t.slots.grow(2 * len(t.slots.v))
		clear(t.slots.v)
		t.mask = uint64(len(t.slots.v) - 1)
		for i := range n {
			if l := t.at(i); len(l) > 7 {
				t.place(l, i)
			}
		}
	}
	t.place(s, n)
	return n
}

func (t *texts) place(s []byte, n uint32) {
	h := maphash.Bytes(t.hash, s) & t.mask
	for t.slots.v[h] != 0 {
		h = (h + 1) & t.mask
	}
	t.slots.v[h] = n + 1
}
