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

// more gives the bytes that growing to n elements allocates while the old ones are there.
func (b *block[T]) more(n int) int64 {
	if b == nil || n <= len(b.v) {
		return 0
	}
	var zero T
	return int64(max(n, 2*len(b.v), 64)) * int64(unsafe.Sizeof(zero))
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

// more gives the bytes that room for n entries allocates, where they are its owner's.
func (p *pages) more(own bool, n int) int64 {
	if !own {
		return 0
	}
	return int64(max(0, (n+pageMask)>>pageBits-len(p.v))) * int64(8*p.stride) << pageBits
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

// hash gives 32 bits: both where a key's search begins and what its slot remembers of it.
func (s seed) hash(a, b uint64) uint32 {
	hi, lo := bits.Mul64(a^s.a, b^s.b)
	return uint32((hi^lo)>>32 ^ (hi ^ lo))
}

const (
	miss  = ^uint32(0)
	burst = 256 // keys whose slots are touched before any is searched

	firstSlots = 1024
)

// slots is a table of numbers by linear probing at load ≤ 1/2. A slot is one word, the hash of its key above number+1; the keys stand by
// number elsewhere, so that the table is small, and growing it moves words in two streams. What the keys of a burst need is read
// before the first is searched for: the memory is waited for once, not once a key.
type slots struct {
	v       block[uint64]
	mask    uint64
	seed    seed
	n       int
	touched uint64 // keeps the reads
}

func newSlots(mem memory.Allocator) slots {
	s := slots{v: block[uint64]{mem: mem}, seed: newSeed()}
	s.size(firstSlots)
	return s
}

func (s *slots) size(n int) {
	s.v.resize(n)
	clear(s.v.v)
	s.mask = uint64(n - 1)
}

// reserve makes room for more keys.
func (s *slots) reserve(more int) {
	n := int(s.mask) + 1
	if 2*(s.n+more) <= n {
		return
	}
	for 2*(s.n+more) > n {
		n *= 2
	}
	old := s.v
	s.v = block[uint64]{mem: old.mem}
	s.size(n)
	for _, x := range old.v {
		if x != 0 {
			at := x >> 32 & s.mask
			for s.v.v[at] != 0 {
				at = (at + 1) & s.mask
			}
			s.v.v[at] = x
		}
	}
	old.free()
}

// more gives the bytes that room for n more keys allocates while the old slots are there.
func (s *slots) more(n int) int64 { return moreSlots(len(s.v.v), s.n+n) }

// moreSlots does the same for a table of so many slots that is to have n keys.
func moreSlots(slots, n int) int64 {
	old := slots
	for 2*n > slots {
		slots *= 2
	}
	if slots == old {
		return 0
	}
	return 8 * int64(slots)
}

// newSlotsFor gives the bytes that a new table for n keys allocates at most.
func newSlotsFor(n int) int64 { return 8*firstSlots + moreSlots(firstSlots, n) }

// clear forgets all keys.
func (s *slots) clear() {
	clear(s.v.v)
	s.n = 0
}

// index numbers pairs of words from 0 in first-seen order.
type index struct {
	slots
	keys *pages // by number, two words each
	own  bool
}

func newIndex(mem memory.Allocator) *index {
	return &index{newSlots(mem), &pages{mem: mem, stride: 2}, true}
}

// indexOf numbers the n pairs in keys as they stand, which are distinct, and goes on there.
func indexOf(keys *pages, n int) *index {
	x := &index{newSlots(keys.mem), keys, false}
	x.reserve(n)
	for ; x.n < n; x.n++ {
		k := keys.at(x.n)
		h := x.seed.hash(k[0], k[1])
		at := uint64(h) & x.mask
		for x.v.v[at] != 0 {
			at = (at + 1) & x.mask
		}
		x.v.v[at] = uint64(h)<<32 | uint64(x.n+1)
	}
	return x
}

func (x *index) free() {
	x.v.free()
	if x.own {
		x.keys.free()
	}
}

// more gives the bytes that n more pairs allocate while the old ones are there.
func (x *index) more(n int) int64 {
	return x.slots.more(n) + x.keys.more(x.own, x.n+n)
}

// ids numbers the pairs, adding new ones; runs of equal pairs are searched for once.
func (x *index) ids(a, b []uint64, out []uint32) {
	x.reserve(len(a))
	x.keys.reserve(x.n + len(a))
	for lo := 0; lo < len(a); lo += burst {
		hi := min(lo+burst, len(a))
		x.some(a[lo:hi], b[lo:hi], out[lo:hi])
	}
}

func (x *index) some(a, b []uint64, out []uint32) {
	var hashes [burst]uint32
	x.touch(a, b, &hashes)
	slots, mask, keys, n := x.v.v, x.mask, x.keys.v, x.n
	b, out = b[:len(a)], out[:len(a)]
	for k, ka := range a {
		kb := b[k]
		if k > 0 && ka == a[k-1] && kb == b[k-1] {
			out[k] = out[k-1]
			continue
		}
		h := hashes[k%burst]
		for at := uint64(h) & mask; ; at = (at + 1) & mask {
			s := slots[at]
			if s == 0 {
				slots[at] = uint64(h)<<32 | uint64(n+1)
				key := keys[n>>pageBits][n&pageMask*2:][:2]
				key[0], key[1] = ka, kb
				out[k] = uint32(n)
				n++
				break
			}
			if uint32(s>>32) == h {
				id := uint32(s) - 1
				if key := keys[id>>pageBits][id&pageMask*2:][:2]; key[0] == ka && key[1] == kb {
					out[k] = id
					break
				}
			}
		}
	}
	x.n = n
}

// touch hashes the pairs and reads the slots where their searches begin.
func (x *index) touch(a, b []uint64, hashes *[burst]uint32) {
	slots, mask, touched := x.v.v, x.mask, uint64(0)
	b = b[:len(a)]
	for k, ka := range a {
		if k > 0 && ka == a[k-1] && b[k] == b[k-1] {
			continue
		}
		h := x.seed.hash(ka, b[k])
		hashes[k%burst] = h
		touched |= slots[uint64(h)&mask]
	}
	x.touched = touched
}

// find numbers known pairs and gives miss for others. Any number of goroutines may.
func (x *index) find(a, b []uint64, out []uint32) {
	var hashes [burst]uint32
	slots, mask, keys := x.v.v, x.mask, x.keys.v
	for lo := 0; lo < len(a); lo += burst {
		hi := min(lo+burst, len(a))
		a, b, out := a[lo:hi], b[lo:hi], out[lo:hi]
		touched := uint64(0)
		for k, ka := range a {
			h := x.seed.hash(ka, b[k])
			hashes[k%burst] = h
			touched |= slots[uint64(h)&mask]
		}
		if touched == 0 {
			for k := range a {
				out[k] = miss
			}
			continue
		}
		for k, ka := range a {
			kb, h := b[k], hashes[k%burst]
			out[k] = miss
			for at := uint64(h) & mask; ; at = (at + 1) & mask {
				s := slots[at]
				if s == 0 {
					break
				}
				if uint32(s>>32) == h {
					id := uint32(s) - 1
					if key := keys[id>>pageBits][id&pageMask*2:][:2]; key[0] == ka && key[1] == kb {
						out[k] = id
						break
					}
				}
			}
		}
	}
}

// index64 numbers single words; for (cell, subject) pairs and codes.
type index64 struct {
	slots
	keys *pages // by number
	own  bool
}

func newIndex64(mem memory.Allocator) *index64 {
	return &index64{newSlots(mem), &pages{mem: mem, stride: 1}, true}
}

// index64Of numbers the n words in keys as they stand and goes on there. It stops at one that stands twice.
func index64Of(keys *pages, n int) *index64 {
	x := &index64{newSlots(keys.mem), keys, false}
	x.reserve(n)
	for ; x.n < n; x.n++ {
		w := keys.at(x.n)[0]
		h := x.seed.hash(w, 0)
		at := uint64(h) & x.mask
		for x.v.v[at] != 0 {
			if uint32(x.v.v[at]>>32) == h && keys.at(int(uint32(x.v.v[at]) - 1))[0] == w {
				return x
			}
			at = (at + 1) & x.mask
		}
		x.v.v[at] = uint64(h)<<32 | uint64(x.n+1)
	}
	return x
}

func (x *index64) free() {
	x.v.free()
	if x.own {
		x.keys.free()
	}
}

// more gives the bytes that n more words allocate while the old slots are there.
func (x *index64) more(n int) int64 { return x.slots.more(n) + x.keys.more(x.own, x.n+n) }

func (x *index64) ids(keys []uint64, out []uint32) {
	x.reserve(len(keys))
	x.keys.reserve(x.n + len(keys))
	for lo := 0; lo < len(keys); lo += burst {
		hi := min(lo+burst, len(keys))
		x.some(keys[lo:hi], out[lo:hi])
	}
}

func (x *index64) some(words []uint64, out []uint32) {
	var hashes [burst]uint32
	x.touch(words, &hashes)
	slots, mask, keys, n := x.v.v, x.mask, x.keys.v, x.n
	out = out[:len(words)]
	for k, w := range words {
		if k > 0 && w == words[k-1] {
			out[k] = out[k-1]
			continue
		}
		h := hashes[k%burst]
		for at := uint64(h) & mask; ; at = (at + 1) & mask {
			s := slots[at]
			if s == 0 {
				slots[at] = uint64(h)<<32 | uint64(n+1)
				keys[n>>pageBits][n&pageMask] = w
				out[k] = uint32(n)
				n++
				break
			}
			if id := uint32(s) - 1; uint32(s>>32) == h && keys[id>>pageBits][id&pageMask] == w {
				out[k] = id
				break
			}
		}
	}
	x.n = n
}

func (x *index64) touch(words []uint64, hashes *[burst]uint32) {
	slots, mask, touched := x.v.v, x.mask, uint64(0)
	for k, w := range words {
		if k > 0 && w == words[k-1] {
			continue
		}
		h := x.seed.hash(w, 0)
		hashes[k%burst] = h
		touched |= slots[uint64(h)&mask]
	}
	x.touched = touched
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
	h := x.seed.hash(key, 0)
	for at := uint64(h) & x.mask; ; at = (at + 1) & x.mask {
		s := x.v.v[at]
		if s == 0 {
			return 0, false
		}
		if id := uint32(s) - 1; uint32(s>>32) == h && x.keys.v[id>>pageBits][id&pageMask] == key {
			return id, true
		}
	}
}

// texts numbers byte strings from 0 in first-seen order. Texts of up to 7 bytes, most codes, are one word: they are found
// without touching the arena.
type texts struct {
	short  *index64      // packed text → index into numbers
	shorts []uint32      // → number
	long   slots         // long texts; its hashes are of hash
	hash   maphash.Seed  //
	arena  block[uint8]  // all texts, one after the other
	ends   block[uint64] // number → end in arena
	n      int           // all texts
	used   int           // bytes of arena
}

func newTexts(mem memory.Allocator) *texts {
	return &texts{short: newIndex64(mem), long: newSlots(mem), hash: maphash.MakeSeed(), arena: block[uint8]{mem: mem}, ends: block[uint64]{mem: mem}}
}

func (t *texts) free() { t.short.free(); t.long.v.free(); t.arena.free(); t.ends.free() }

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
	n, _, ok := t.search(data[from:to])
	return n, ok
}

// search finds a long text, or the slot for it.
func (t *texts) search(s []byte) (n uint32, slot uint64, ok bool) {
	hash := uint32(maphash.Bytes(t.hash, s))
	slot = uint64(hash) << 32
	for at := uint64(hash) & t.long.mask; ; at = (at + 1) & t.long.mask {
		x := t.long.v.v[at]
		if x == 0 {
			return 0, slot | at, false
		}
		if n := uint32(x) - 1; uint32(x>>32) == hash && string(t.at(n)) == string(s) {
			return n, 0, true
		}
	}
}

// find is get of a whole text.
func (t *texts) find(s []byte) (uint32, bool) { return t.get(s, 0, int32(len(s))) }

// more gives the bytes that n more texts of so many bytes allocate at most while the old tables are there.
func (t *texts) more(n, size int) int64 {
	return t.short.more(n) + t.long.more(n) + t.ends.more(t.n+n) + t.arena.more(t.used+size)
}

// clear forgets all texts.
func (t *texts) clear() {
	t.short.clear()
	t.long.clear()
	t.shorts, t.n, t.used = t.shorts[:0], 0, 0
}

// cut forgets all but the first n texts.
func (t *texts) cut(n int) {
	if n == t.n {
		return
	}
	kept := newTexts(t.arena.mem)
	for i := range n {
		s := t.at(uint32(i))
		kept.put(s, 0, int32(len(s)))
	}
	t.free()
	*t = *kept
}

// put finds data[from:to], adding it if new.
func (t *texts) put(data []byte, from, to int32) uint32 {
	s, n := data[from:to], uint32(t.n)
	if len(s) <= 7 {
		if n, ok := t.get(data, from, to); ok {
			return n
		}
		t.short.id(pack(data, from, to))
		t.shorts = append(t.shorts, n)
	} else {
		t.long.reserve(1)
		known, slot, ok := t.search(s)
		if ok {
			return known
		}
		t.long.v.v[uint32(slot)] = slot>>32<<32 | uint64(n+1)
		t.long.n++
	}
	t.arena.grow(t.used + len(s))
	copy(t.arena.v[t.used:], s)
	t.used += len(s)
	t.ends.grow(t.n + 1)
	t.ends.v[t.n] = uint64(t.used)
	t.n++
	return n
}
