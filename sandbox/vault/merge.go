package vault

import (
	"container/heap"
	"context"
	"encoding/binary"
	"io"
	"path/filepath"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/opdomain/opdomain/sandbox/batch"
)

// targetBytes is what a stored batch has at most, about: long texts make it shorter than batch.MaxRows.
const targetBytes = 64 << 20

// span is how many rows a stored batch has: at most, and from where on it ends behind the last row of a subject.
type span struct{ most, full int }

func spanOf(bytes, rows int64) span {
	most := batch.MaxRows
	if rows > 0 {
		most = int(max(64, min(batch.MaxRows, targetBytes/max(1, bytes/rows))))
	}
	return span{most, most - most/16}
}

// arrange gives the rows of the version in order, batch by batch.
func (w *Writer) arrange(ctx context.Context, each func(arrow.Record) error) error {
	w.sort()
	if len(w.runs) == 0 {
		g := gatherer{w.whole, w.v.mem, w.held}
		size := spanOf(w.bytes, int64(len(w.order)))
		for at := 0; at < len(w.order); {
			end := size.cut(w.order, at)
			rec := g.gather(w.order[at:end])
			err := each(rec)
			rec.Release()
			if err == nil {
				err = ctx.Err()
			}
			if err != nil {
				return err
			}
			at = end
		}
		return nil
	}
	m, err := w.merger(ctx)
	if err != nil {
		return err
	}
	defer m.close()
	return m.run(ctx, each)
}

// cut gives the end of the batch that begins at a row.
func (s span) cut(order []rowKey, at int) int {
	hard := min(at+s.most, len(order))
	if hard == len(order) {
		return hard
	}
	for end := hard; end > at+s.full; end-- {
		if !order[end-1].same(order[end]) {
			return end
		}
	}
	return hard
}

// merger brings sorted runs and the rows in memory together.
type merger struct {
	gather  gatherer
	sources []*source
	ready   []*source // a heap by their next row
	order   []rowKey
	size    span
	stop    context.CancelFunc
	wait    sync.WaitGroup
}

// source is one sorted run: the batch that is being used up and the ones behind it.
type source struct {
	number int // arrival: equal pseudonyms keep their order
	next   func(ctx context.Context) (arrow.Record, error)
	rec    arrow.Record
	who    []byte
	row    int
	key    rowKey
	slot   int // of rec among the batch's sources, -1 for none
	scan   *columnScan
}

func (w *Writer) merger(ctx context.Context) (*merger, error) {
	ctx, stop := context.WithCancel(ctx)
	m := &merger{gather: gatherer{schema: w.whole, mem: w.v.mem}, stop: stop}
	bytes, rows := w.bytes, int64(len(w.order))
	for i, r := range w.runs {
		f, err := openSealed(w.v.fs, filepath.Join(w.folder, r.File), w.place(r.File), r.ID)
		if err != nil {
			m.close()
			return nil, err
		}
		c := &columnScan{file: f, schema: w.whole, last: f.chunks}
		c.start(ctx, &m.wait, 1)
		bytes += f.body
		for _, k := range r.Batches {
			rows += k
		}
		n := 0
		m.sources = append(m.sources, &source{number: i, scan: c, slot: -1, next: func(ctx context.Context) (arrow.Record, error) {
			if n == len(r.Batches) {
				if err := c.end(ctx); err != nil {
					return nil, err
				}
				return nil, io.EOF
			}
			n++
			return c.record(ctx, w.v.mem, n-1, r.Batches[n-1])
		}})
	}
	if len(w.order) > 0 {
		g := gatherer{w.whole, w.v.mem, w.held}
		at := 0
		m.sources = append(m.sources, &source{number: len(w.runs), slot: -1, next: func(context.Context) (arrow.Record, error) {
			if at == len(w.order) {
				return nil, io.EOF
			}
			from := at
			at = min(at+runRows, len(w.order))
			return g.gather(w.order[from:at]), nil
		}})
	}
	m.size = spanOf(bytes, rows)
	for _, s := range m.sources {
		if err := m.load(ctx, s); err != nil {
			m.close()
			return nil, err
		}
	}
	heap.Init(m)
	return m, nil
}

// load takes a source's next batch; the source leaves the heap's candidates when there is none.
func (m *merger) load(ctx context.Context, s *source) error {
	rec, err := s.next(ctx)
	if err == io.EOF {
		s.rec = nil
		return nil
	}
	if err != nil {
		return err
	}
	s.rec, s.row, s.slot = rec, 0, -1
	a := rec.Column(int(rec.NumCols()) - 1).(*array.FixedSizeBinary)
	from := a.Data().Offset() * 16
	s.who = a.Data().Buffers()[1].Bytes()[from : from+16*a.Len()]
	s.peek()
	m.ready = append(m.ready, s)
	return nil
}

func (s *source) peek() {
	s.key.hi = binary.BigEndian.Uint64(s.who[16*s.row:])
	s.key.lo = binary.BigEndian.Uint64(s.who[16*s.row+8:])
}

func (m *merger) Len() int      { return len(m.ready) }
func (m *merger) Swap(i, j int) { m.ready[i], m.ready[j] = m.ready[j], m.ready[i] }
func (m *merger) Push(any)      {}
func (m *merger) Pop() any      { m.ready = m.ready[:len(m.ready)-1]; return nil }
func (m *merger) Less(i, j int) bool {
	a, b := m.ready[i], m.ready[j]
	if a.key.same(b.key) {
		return a.number < b.number
	}
	return compareKeys(a.key, b.key) < 0
}

func (m *merger) run(ctx context.Context, each func(arrow.Record) error) error {
	for len(m.ready) > 0 {
		s := m.ready[0]
		if n := len(m.order); n == m.size.most || n >= m.size.full && !m.order[n-1].same(s.key) {
			if err := m.emit(ctx, each); err != nil {
				return err
			}
		}
		if s.slot < 0 {
			s.slot = len(m.gather.sources)
			s.rec.Retain()
			m.gather.sources = append(m.gather.sources, s.rec)
		}
		m.order = append(m.order, rowKey{s.key.hi, s.key.lo, uint64(s.slot)<<32 | uint64(s.row)})
		s.row++
		if s.row < int(s.rec.NumRows()) {
			s.peek()
			heap.Fix(m, 0)
			continue
		}
		s.rec.Release()
		rest := m.ready[1:]
		m.ready = append(m.ready[:0:0], rest...)
		if err := m.load(ctx, s); err != nil {
			return err
		}
		heap.Init(m)
	}
	return m.emit(ctx, each)
}

// emit gives out the rows gathered so far as one batch.
func (m *merger) emit(ctx context.Context, each func(arrow.Record) error) error {
	if len(m.order) == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	rec := m.gather.gather(m.order)
	err := each(rec)
	rec.Release()
	m.order = m.order[:0]
	for _, r := range m.gather.sources {
		r.Release()
	}
	m.gather.sources = m.gather.sources[:0]
	for _, s := range m.sources {
		s.slot = -1
	}
	return err
}

// close stops reading ahead and lets everything go.
func (m *merger) close() {
	m.stop()
	m.wait.Wait()
	for _, r := range m.gather.sources {
		r.Release()
	}
	for _, s := range m.sources {
		if s.scan != nil {
			_ = s.scan.file.Close()
			s.scan.forget()
		}
	}
	for _, s := range m.ready {
		if s.rec != nil {
			s.rec.Release()
		}
	}
	m.ready = nil
}
