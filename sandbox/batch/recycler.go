package batch

import (
	"math/bits"
	"sync"

	"github.com/apache/arrow/go/v17/arrow/memory"
)

// Recycler (内存复用) is an allocator that hands out again what was given back to it, so that a scan does not pay for new memory with
// every batch. What it hands out is not zero where it was used before, so it is for those who write all they ask for. It keeps at most
// eight blocks of a size. Safe for concurrent use.
type Recycler struct {
	mem  memory.Allocator
	mu   sync.Mutex
	free map[int][][]byte // by size class
}

// NewRecycler gives a Recycler over mem.
func NewRecycler(mem memory.Allocator) *Recycler {
	return &Recycler{mem: mem, free: map[int][][]byte{}}
}

// class rounds a size up to one of four between each two powers of two.
func class(size int) int {
	if size <= 4096 {
		return 4096
	}
	step := 1 << (bits.Len(uint(size-1)) - 3)
	return (size + step - 1) / step * step
}

// Allocate gives size bytes.
func (r *Recycler) Allocate(size int) []byte {
	c := class(size)
	r.mu.Lock()
	if all := r.free[c]; len(all) > 0 {
		b := all[len(all)-1]
		r.free[c] = all[:len(all)-1]
		r.mu.Unlock()
		return b[:size]
	}
	r.mu.Unlock()
	return r.mem.Allocate(c)[:size]
}

// Reallocate gives size bytes that begin as b does.
func (r *Recycler) Reallocate(size int, b []byte) []byte {
	if c := class(size); len(b) > 0 && c == class(len(b)) {
		return b[:size]
	}
	out := r.Allocate(size)
	clear(out[copy(out, b):])
	r.Free(b)
	return out
}

// Free takes back what Allocate gave.
func (r *Recycler) Free(b []byte) {
	if len(b) == 0 {
		return
	}
	c := class(len(b))
	b = b[:c]
	r.mu.Lock()
	if all := r.free[c]; len(all) < 8 {
		r.free[c] = append(all, b)
		r.mu.Unlock()
		return
	}
	r.mu.Unlock()
	clear(b)
	r.mem.Free(b)
}

// Close clears all it keeps and gives it back.
func (r *Recycler) Close() {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, all := range r.free {
		for _, b := range all {
			clear(b)
			r.mem.Free(b)
		}
	}
	clear(r.free)
}
