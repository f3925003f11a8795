package vault

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"path/filepath"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"

	"github.com/opdomain/opdomain/sandbox"
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
	if err := w.condense(ctx); err != nil {
		return err
	}
	l := w.lineup(len(w.runs) > 0)
	defer l.forget()
	if len(w.runs) == 0 {
		rows := w.held.rows()
		size := spanOf(w.held.bytes, int64(rows))
		for at := 0; at < rows; {
			end := size.cut(at, rows, l.same)
			rec := l.take(at, end)
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
	m, err := w.merger(ctx, w.runs, l)
	if err != nil {
		return err
	}
	defer m.close()
	return m.run(ctx, each)
}

// cut gives the end of the batch that begins at one of so many rows; same says whether a row is the subject's of the row
// before it.
func (s span) cut(at, rows int, same func(int) bool) int {
	hard := min(at+s.most, rows)
	if hard == rows {
		return hard
	}
	for end := hard; end > at+s.full; end-- {
		if !same(end) {
			return end
		}
	}
	return hard
}

// mergedRuns is how many runs are merged at once: each takes an open file, a batch and what is read ahead, about 1.5 MiB.
const mergedRuns = 64

// condense merges runs into longer ones until so many are left. Neighbours only, so that arrival stays in order. The stage
// goes on naming the runs it had: a commit that fails leaves it as it was.
func (w *Writer) condense(ctx context.Context) error {
	for made := 0; len(w.runs) > mergedRuns; {
		var next []sortedRun
		over := len(w.runs) - mergedRuns
		for rest := w.runs; len(rest) > 0; {
			n := min(mergedRuns, over+1, len(rest))
			if n == 1 {
				next, rest = append(next, rest[0]), rest[1:]
				continue
			}
			r, err := w.newRun(fmt.Sprintf("merged-%06d%s", made, runSuffix))
			if err != nil {
				return err
			}
			if err := w.mergeInto(ctx, rest[:n], r); err != nil {
				_ = r.file.f.Close()
				return err
			}
			next, rest = append(next, r.run), rest[n:]
			made, over = made+1, over-n+1
		}
		w.runs = next
	}
	return nil
}

func (w *Writer) mergeInto(ctx context.Context, runs []sortedRun, into *runWriter) error {
	m, err := w.merger(ctx, runs, nil)
	if err != nil {
		return err
	}
	defer m.close()
	m.size = span{runRows, runRows}
	if err := m.run(ctx, into.put); err != nil {
		return err
	}
	return into.finish()
}

// merger brings sorted runs and the rows in memory together.
type merger struct {
	gather  gatherer
	sources []*source
	ready   []*source // a heap by their next row
	parts   []stretch // of the batch that is being made
	rows    int       // in it
	last    rowKey    // of it
	order   []uint64  // of its rows, when the parts are short
	size    span
	stop    context.CancelFunc
	wait    sync.WaitGroup
}

// source is one sorted run: the batch that is being used up and the ones behind it.
type source struct {
	number int // arrival: equal pseudonyms keep their order
	next   func(ctx context.Context) (arrow.Record, error)
	rec    arrow.Record
	who    []sandbox.Pseudonym
	row    int
	key    rowKey
	slot   int // of rec among the batch's sources, -1 for none
	scan   *columnScan
}

// rowKey is a pseudonym as numbers.
type rowKey struct{ hi, lo uint64 }

func keyOf(p *sandbox.Pseudonym) rowKey {
	return rowKey{binary.BigEndian.Uint64(p[:8]), binary.BigEndian.Uint64(p[8:])}
}

// before says whether a row of one source comes before a row of another.
func (k rowKey) before(o rowKey, number, other int) bool {
	if k.hi != o.hi {
		return k.hi < o.hi
	}
	if k.lo != o.lo {
		return k.lo < o.lo
	}
	return number < other
}

// merger opens runs, and the rows in memory where there are any.
func (w *Writer) merger(ctx context.Context, runs []sortedRun, memory *lineup) (*merger, error) {
	ctx, stop := context.WithCancel(ctx)
	m := &merger{gather: gatherer{schema: w.whole, mem: w.v.mem, address: address{1<<63 - 1, 1<<32 - 1, 32}}, stop: stop}
	bytes, rows := int64(0), int64(0)
	for i, r := range runs {
		f, err := openSealed(w.v.fs, filepath.Join(w.folder, r.File), w.place(r.File), r.ID)
		if err != nil {
			m.close()
			return nil, err
		}
		c := &columnScan{file: f, schema: w.whole}
		c.whole()
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
	if memory != nil {
		all, at := memory.held.rows(), 0
		bytes, rows = bytes+memory.held.bytes, rows+int64(all)
		m.sources = append(m.sources, &source{number: len(runs), slot: -1, next: func(context.Context) (arrow.Record, error) {
			if at == all {
				return nil, io.EOF
			}
			from := at
			at = min(at+runRows, all)
			return memory.take(from, at), nil
		}})
	}
	m.size = spanOf(bytes, rows)
	for _, s := range m.sources {
		if ok, err := s.load(ctx); err != nil {
			m.close()
			return nil, err
		} else if ok {
			m.ready = append(m.ready, s)
		}
	}
	for i := len(m.ready)/2 - 1; i >= 0; i-- {
		m.sift(i)
	}
	return m, nil
}

// load takes a source's next batch, or says that there is none.
func (s *source) load(ctx context.Context) (bool, error) {
	rec, err := s.next(ctx)
	s.rec = rec
	if err == io.EOF {
		s.rec = nil
		return false, nil
	}
	if err != nil {
		return false, err
	}
	s.who, s.row, s.slot = cells[sandbox.Pseudonym](rec.Column(int(rec.NumCols())-1)), 0, -1
	s.key = keyOf(&s.who[0])
	return true, nil
}

func (s *source) before(o *source) bool { return s.key.before(o.key, s.number, o.number) }

// sift puts the heap right below one place.
func (m *merger) sift(i int) {
	for {
		least := i
		for c := 2*i + 1; c <= 2*i+2 && c < len(m.ready); c++ {
			if m.ready[c].before(m.ready[least]) {
				least = c
			}
		}
		if least == i {
			return
		}
		m.ready[i], m.ready[least] = m.ready[least], m.ready[i]
		i = least
	}
}

func (m *merger) run(ctx context.Context, each func(arrow.Record) error) error {
	for len(m.ready) > 0 {
		s := m.ready[0]
		if m.rows == m.size.most || m.rows >= m.size.full && m.last != s.key {
			if err := m.emit(ctx, each); err != nil {
				return err
			}
		}
		if s.slot < 0 {
			s.slot = len(m.gather.sources)
			s.rec.Retain()
			m.gather.sources = append(m.gather.sources, s.rec)
		}
		from, most := s.row, 1 // near the end of a batch, row by row
		if m.rows < m.size.full {
			most = m.size.full - m.rows
		}
		s.advance(m.rival(), most)
		m.last = keyOf(&s.who[s.row-1])
		m.rows += s.row - from
		if k := len(m.parts) - 1; k >= 0 && m.parts[k].source == s.slot {
			m.parts[k].to = s.row
		} else {
			m.parts = append(m.parts, stretch{s.slot, from, s.row})
		}
		if s.row == len(s.who) {
			s.rec.Release()
			if ok, err := s.load(ctx); err != nil {
				return err
			} else if !ok {
				k := len(m.ready) - 1
				m.ready[0] = m.ready[k]
				m.ready = m.ready[:k]
			}
		}
		m.sift(0)
	}
	return m.emit(ctx, each)
}

// rival is the source whose row comes next after those of the first; nil for none.
func (m *merger) rival() *source {
	switch {
	case len(m.ready) < 2:
		return nil
	case len(m.ready) > 2 && m.ready[2].before(m.ready[1]):
		return m.ready[2]
	}
	return m.ready[1]
}

// advance goes on, by one row at least and so many at most, while the rows come before the rival's.
func (s *source) advance(rival *source, most int) {
	end := min(len(s.who), s.row+most)
	if rival == nil || keyOf(&s.who[end-1]).before(rival.key, s.number, rival.number) {
		s.row = end
	} else {
		for s.row++; s.row < end && keyOf(&s.who[s.row]).before(rival.key, s.number, rival.number); s.row++ {
		}
	}
	if s.row < len(s.who) {
		s.key = keyOf(&s.who[s.row])
	}
}

// emit gives out the rows gathered so far as one batch.
func (m *merger) emit(ctx context.Context, each func(arrow.Record) error) error {
	if m.rows == 0 {
		return nil
	}
	if err := ctx.Err(); err != nil {
		return err
	}
	var rec arrow.Record
	if m.rows >= 4*len(m.parts) {
		rec = m.gather.stretches(m.parts)
	} else {
		m.order = m.order[:0]
		for _, p := range m.parts {
			for row := p.from; row < p.to; row++ {
				m.order = append(m.order, uint64(p.source)<<32|uint64(row))
			}
		}
		rec = m.gather.rows(m.order, nil)
	}
	err := each(rec)
	rec.Release()
	m.parts, m.rows = m.parts[:0], 0
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
	m.gather.forget()
	for _, s := range m.sources {
		if s.scan != nil {
			_ = s.scan.file.Close()
			s.scan.forget()
		}
		if s.rec != nil {
			s.rec.Release()
		}
	}
	m.ready = nil
}
