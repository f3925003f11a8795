package desensitize

import (
	"context"
	"fmt"
	"io"
	"runtime"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/desensitize/mask"
	"github.com/opdomain/opdomain/desensitize/noise"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// MaxHeld bounds the bytes of shuffled columns, together: while they are shuffled up to three times as many are in memory.
const MaxHeld = 256 << 20

// Stream (流式脱敏参数) is how a table runs through a pipeline.
type Stream struct {
	Mem     memory.Allocator // nil: Go's; safe for concurrent use
	Workers int              // batches at once; 0: as many as processors
	Table   string           // names the table and its version, as draws depend on it; needed where the plan draws
	Rows    int64            // of the table, where they are known; 0: counted by a reading before, if the plan samples
	// Again opens columns of the table once more, with the same batches; needed where the plan has micro, shuffle or, without
	// Rows, a sample.
	Again func(ctx context.Context, columns []string) (batch.Reader, error)
	// Subjects gives whose row each of a batch is; nil where the pipeline does not need it.
	Subjects func(arrow.Record) ([]sandbox.Pseudonym, error)
	// Sink takes the batches of the view in their order, one at a time, beside the rows each came from; both are released when
	// it returns.
	Sink func(in, out arrow.Record) error
}

// running is what one run knows before its first batch.
type running struct {
	draws    draws
	groups   []*noise.Grouping // by column
	held     []arrow.Array     // shuffled, by column
	rows     int64             // of the table, -1 where nobody counted them
	selector *noise.Selector   // nil: every row
}

func (r *running) release() {
	for _, a := range r.held {
		if a != nil {
			a.Release()
		}
	}
}

// part is where a batch stands in its run.
type part struct {
	run    *running
	batch  int
	offset int64   // of its first row in the table
	rows   int64   // before it was sampled
	kept   []int32 // of them, where the plan samples
}

// shuffled gives the batch's values of a shuffled column.
func (p part) shuffled(mem memory.Allocator, column int) (arrow.Array, error) {
	a := array.NewSlice(p.run.held[column], p.offset, p.offset+p.rows)
	if p.run.selector == nil {
		return a, nil
	}
	defer a.Release()
	return noise.Take(mem, a, p.kept)
}

// sampled leaves the rows of a batch that were drawn.
func (p part) sampled(mem memory.Allocator, rec arrow.Record) (arrow.Record, error) {
	columns := make([]arrow.Array, 0, rec.NumCols())
	defer func() {
		for _, a := range columns {
			a.Release()
		}
	}()
	for i, a := range rec.Columns() {
		out, err := noise.Take(mem, a, p.kept)
		if err != nil {
			return nil, column{name: rec.ColumnName(i)}.caused(err)
		}
		columns = append(columns, out)
	}
	return array.NewRecord(rec.Schema(), columns, int64(len(p.kept))), nil
}

// firstly lists the columns that are read once before the run.
func (p *Pipeline) firstly(s Stream) []string {
	var out []string
	for _, c := range p.columns {
		if c.whole() {
			out = append(out, c.name)
		}
	}
	if len(out) == 0 && p.sample != nil && s.Rows == 0 {
		out = append(out, p.columns[0].name)
	}
	return out
}

// prepare reads what has to be known before the first batch.
func (p *Pipeline) prepare(ctx context.Context, s Stream) (r *running, err error) {
	r = &running{rows: -1, groups: make([]*noise.Grouping, len(p.columns)), held: make([]arrow.Array, len(p.columns))}
	defer func() {
		if err != nil {
			r.release()
		}
	}()
	if r.draws, err = p.draws(s.Table); err != nil {
		return r, err
	}
	if columns := p.firstly(s); len(columns) > 0 {
		if s.Again == nil {
			return r, &sandbox.Error{Op: "desensitize", Kind: sandbox.Invalid, Object: p.plan, Detail: "the plan needs a column whole, or the number of rows, and the table is read only once"}
		}
		if err = p.readFirst(ctx, s, columns, r); err != nil {
			return r, err
		}
	} else if s.Rows > 0 {
		r.rows = s.Rows
	}
	if p.sample != nil {
		rand, err := r.draws.reader("sample", "", -1)
		if err != nil {
			return r, err
		}
		r.selector, err = noise.NewSelector(r.rows, p.sample.of(r.rows), rand)
		if err != nil {
			return r, err
		}
	}
	return r, nil
}

// readFirst is the first of two readings: it counts rows and values, and holds the columns that are shuffled.
func (p *Pipeline) readFirst(ctx context.Context, s Stream, columns []string, r *running) error {
	src, err := s.Again(ctx, columns)
	if err != nil {
		return err
	}
	defer src.Close()
	tallies := make([]*noise.Tally, len(p.columns))
	parts := make([][]arrow.Array, len(p.columns))
	defer func() {
		for _, all := range parts {
			for _, a := range all {
				a.Release()
			}
		}
	}()
	for i, c := range p.columns {
		if c.k > 0 {
			if tallies[i], err = noise.NewTally(c.k); err != nil {
				return c.caused(err)
			}
		}
	}
	r.rows = 0
	bytes := int64(0)
	for {
		rec, err := src.Next(ctx)
		if err == io.EOF {
			break
		}
		if err != nil {
			return err
		}
		r.rows += rec.NumRows()
		for i, c := range p.columns {
			if !c.whole() {
				continue
			}
			at := rec.Schema().FieldIndices(c.name)
			if len(at) != 1 {
				rec.Release()
				return c.fault("the batch has the column, once")
			}
			a := rec.Column(at[0])
			if c.k > 0 {
				if err := tallies[i].Add(a); err != nil {
					rec.Release()
					return c.caused(err)
				}
				continue
			}
			if bytes += size(a); bytes > MaxHeld {
				rec.Release()
				return &sandbox.Error{Op: "desensitize", Kind: sandbox.TooLarge, Object: c.name, Detail: fmt.Sprintf("shuffled columns have at most %d MiB together", MaxHeld>>20), Hint: "give the column another operation"}
			}
			a.Retain()
			parts[i] = append(parts[i], a)
		}
		rec.Release()
	}
	for i, c := range p.columns {
		switch {
		case c.k > 0:
			r.groups[i] = tallies[i].Groups()
		case c.shuffle && len(parts[i]) > 0:
			if r.held[i], err = p.shuffle(s.Mem, r, c, parts[i]); err != nil {
				return c.caused(err)
			}
		}
	}
	return nil
}

func (p *Pipeline) shuffle(mem memory.Allocator, r *running, c column, parts []arrow.Array) (arrow.Array, error) {
	whole, err := array.Concatenate(parts, mem)
	if err != nil {
		return nil, err
	}
	defer whole.Release()
	rand, err := r.draws.reader("column", c.name, -1)
	if err != nil {
		return nil, err
	}
	op, err := noise.NewShuffle(rand)
	if err != nil {
		return nil, err
	}
	return op.Apply(mem, whole)
}

// size is about what a column takes in bytes, the places of its rows included.
func size(a arrow.Array) int64 {
	n := 12 * int64(a.Len())
	if s, ok := a.(*array.String); ok {
		n += int64(len(s.ValueBytes()))
	}
	return n
}

// Run sends every batch of src through the pipeline, several at a time, and to the sink in order. No more than Workers+1 batches
// are in memory on either side, beside what Stream and MaxHeld say. The first error ends it; Conflict where a second reading
// has other rows than the first. Operations of other packages than mask count failures over their life: of two runs of one
// Pipeline at a time each counts the other's.
func (p *Pipeline) Run(ctx context.Context, src batch.Reader, s Stream) (Report, error) {
	report := p.Report()
	if p.Subjects() && s.Subjects == nil {
		return report, &sandbox.Error{Op: "desensitize", Kind: sandbox.Invalid, Object: p.plan, Detail: "the plan has an operation by subject, and the rows have none"}
	}
	if s.Mem == nil {
		s.Mem = memory.NewGoAllocator()
	}
	if s.Workers <= 0 {
		s.Workers = runtime.GOMAXPROCS(0)
	}
	r, err := p.prepare(ctx, s)
	if err != nil {
		return report, err
	}
	defer r.release()
	if p.sample != nil {
		report.Source = r.rows
	}
	before := p.failures()
	ctx, stop := context.WithCancel(ctx)
	queue := make(chan chan done, s.Workers) // in the order of the source
	var all sync.WaitGroup
	all.Go(func() {
		defer close(queue)
		p.feed(ctx, src, s, r, queue, &all)
	})
	for next := range queue {
		d := <-next
		if err == nil {
			err = d.err
		}
		if err == nil && (p.sample == nil || d.in.NumRows() > 0) {
			report.add(d.in.NumRows(), d.counts)
			err = s.Sink(d.in, d.out)
		}
		if err != nil {
			stop()
		}
		for _, rec := range []arrow.Record{d.in, d.out} {
			if rec != nil {
				rec.Release()
			}
		}
	}
	if err == nil {
		err = ctx.Err()
	}
	stop()
	all.Wait()
	after := p.failures()
	for i, g := range r.groups {
		if g != nil {
			after[i] += g.Masked()
		}
	}
	for i, n := range after {
		report.Columns[i].Failed += n - before[i]
		report.Columns[i].Masked = max(0, report.Columns[i].Masked-(n-before[i]))
	}
	return report, err
}

// done is a batch that went through.
type done struct {
	in, out arrow.Record
	counts  []mask.Count
	err     error
}

// feed reads the batches in their order and starts one goroutine for each; the queue bounds them.
func (p *Pipeline) feed(ctx context.Context, src batch.Reader, s Stream, r *running, queue chan<- chan done, all *sync.WaitGroup) {
	at := part{run: r}
	for {
		rec, err := src.Next(ctx)
		if err == io.EOF && (r.rows < 0 || at.offset == r.rows) {
			return
		}
		if err == io.EOF || err == nil && r.rows >= 0 && at.offset+rec.NumRows() > r.rows {
			if rec != nil {
				rec.Release()
				rec = nil
			}
			err = &sandbox.Error{Op: "desensitize", Kind: sandbox.Conflict, Object: p.plan, Detail: "the table has other rows than were counted", Hint: "run it again while nobody changes the table"}
		}
		next := make(chan done, 1)
		select {
		case queue <- next:
		case <-ctx.Done():
			if rec != nil {
				rec.Release()
			}
			return
		}
		if err == nil && r.selector != nil {
			at.kept, err = r.selector.Next(int(rec.NumRows()))
		}
		if err != nil {
			next <- done{in: rec, err: err}
			return
		}
		at.rows = rec.NumRows()
		here := at
		all.Go(func() { next <- p.through(s, rec, here) })
		at.batch++
		at.offset += at.rows
	}
}

// through takes one batch through the pipeline.
func (p *Pipeline) through(s Stream, rec arrow.Record, at part) done {
	d := done{in: rec}
	if at.run.selector != nil {
		kept, err := at.sampled(s.Mem, rec)
		if err != nil {
			return done{in: rec, err: err}
		}
		rec.Release()
		d.in = kept
	}
	var who []sandbox.Pseudonym
	if s.Subjects != nil {
		who, d.err = s.Subjects(d.in)
	}
	if d.err == nil {
		d.out, d.counts, d.err = p.apply(s.Mem, d.in, who, at)
	}
	return d
}
