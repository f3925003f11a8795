package fleet

import (
	"fmt"
	"sync"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/columnar"
)

// task is one copy of one part.
type task struct{ part, copy int }

// board (任务台账) says which parts are computed, by which process, and which are to be: the lowest first, no further ahead of the merge
// than is held in memory.
type board struct {
	mu       sync.Mutex
	changed  sync.Cond
	parts    []partState
	merged   int
	ahead    int
	attempts int
	err      error
	closed   bool
}

type partState struct {
	by      []int // by copy: the process that has it or computed it; 0: nobody
	lost    int
	done    int
	digest  [sm.Size]byte // of the first result
	partial *columnar.Partial
}

func newBoard(parts, copies, ahead, attempts int) *board {
	b := &board{parts: make([]partState, parts), ahead: ahead, attempts: attempts}
	b.changed.L = &b.mu
	for i := range b.parts {
		b.parts[i].by = make([]int, copies)
	}
	return b
}

// stop ends the run; the first cause stays.
func (b *board) stop(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.end(err)
}

func (b *board) end(err error) {
	if b.err == nil {
		b.err = err
	}
	b.closed = true
	b.changed.Broadcast()
}

// take gives a process its next task, or false when there will be none. No process computes two copies of a part.
func (b *board) take(process int) (task, bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if b.closed || b.merged == len(b.parts) {
			return task{}, false
		}
		for i := b.merged; i < min(len(b.parts), b.merged+b.ahead); i++ {
			free := -1
			for c, by := range b.parts[i].by {
				if by == process {
					free = -1
					break
				}
				if by == 0 {
					free = c
				}
			}
			if free >= 0 {
				b.parts[i].by[free] = process
				return task{i, free}, true
			}
		}
		b.changed.Wait()
	}
}

// lost gives a task back whose process was lost.
func (b *board) lost(t task, cause string) {
	b.mu.Lock()
	defer b.mu.Unlock()
	p := &b.parts[t.part]
	p.by[t.copy] = 0
	if p.lost++; p.lost >= b.attempts {
		b.end(fail(sandbox.Unavailable, fmt.Sprintf("part %d", t.part), fmt.Sprintf("%d attempts were lost, the last one because %s", p.lost, cause)))
		return
	}
	b.changed.Broadcast()
}

// computed takes a result. decode is called for the first one of a part; another one must be the same bytes, else the run ends: one of
// two workers lied or failed, and nobody can tell which.
func (b *board) computed(t task, result []byte, decode func([]byte) (*columnar.Partial, error)) {
	digest := sm.Sum(result)
	b.mu.Lock()
	first := b.parts[t.part].done == 0 && b.parts[t.part].digest == [sm.Size]byte{}
	if first {
		b.parts[t.part].digest = digest
	}
	same := b.parts[t.part].digest == digest
	b.mu.Unlock()
	var p *columnar.Partial
	if !same {
		b.stop(fail(sandbox.Tampered, fmt.Sprintf("part %d", t.part), "two processes that compute one part give the same bytes"))
		return
	}
	if first {
		var err error
		if p, err = decode(result); err != nil {
			b.stop(err)
			return
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	if first {
		b.parts[t.part].partial = p
	}
	b.parts[t.part].done++
	b.changed.Broadcast()
}

// next waits for all copies of the part that is merged next and hands it over; nil after the last.
func (b *board) next() (*columnar.Partial, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for {
		if b.err != nil {
			return nil, b.err
		}
		if b.merged == len(b.parts) {
			return nil, nil
		}
		if p := &b.parts[b.merged]; p.done == len(p.by) {
			out := p.partial
			p.partial = nil
			b.merged++
			b.changed.Broadcast()
			return out, nil
		}
		b.changed.Wait()
	}
}

// free gives back what was not merged. No process works any more.
func (b *board) free() {
	for i := range b.parts {
		if p := b.parts[i].partial; p != nil {
			p.Free()
		}
	}
}
