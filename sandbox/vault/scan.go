package vault

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"slices"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// Scanner (列扫描) reads named columns of one version batch by batch. Goroutines open the chunks ahead, at least two for a
// scan and one for a column, each at most two groups of 256 KiB ahead. It implements batch.Reader and is used by one
// goroutine.
type Scanner struct {
	schema  *arrow.Schema
	mem     memory.Allocator
	rows    []int64
	columns []*columnScan
	next    int
	part    bool // not every batch of the version
	err     error
	stop    context.CancelFunc
	wait    sync.WaitGroup
}

// Scan opens the named columns of a snapshot, in the order named; SubjectColumn may be among them. No other column is
// opened. The caller closes the scanner, which ends with ctx at the latest.
func (v *Vault) Scan(ctx context.Context, mem memory.Allocator, s Snapshot, columns []string) (*Scanner, error) {
	return v.scan(ctx, mem, s, columns, 0, len(s.Batches), nil)
}

// ScanSubject is Scan over the batches that may hold one subject's rows, about one of them whatever the size of the version.
// They hold other subjects' rows too.
func (v *Vault) ScanSubject(ctx context.Context, mem memory.Allocator, s Snapshot, columns []string, subject sandbox.Pseudonym) (*Scanner, error) {
	st, err := v.statistics(s)
	if err != nil {
		return nil, err
	}
	from, to := st.holding(subject)
	return v.scan(ctx, mem, s, columns, from, to, st.Ends)
}

// scan reads the batches from one to another, all of them where their ends are not given.
func (v *Vault) scan(ctx context.Context, mem memory.Allocator, s Snapshot, columns []string, from, to int, ends [][]int64) (*Scanner, error) {
	if len(columns) == 0 || !s.opens() {
		return nil, &sandbox.Error{Op: "vault: scan", Kind: sandbox.Invalid, Object: string(s.Dataset), Detail: "a scan names a snapshot of this vault and at least one column"}
	}
	ctx, stop := context.WithCancel(ctx)
	r := &Scanner{mem: mem, rows: s.Batches[from:to], stop: stop, part: ends != nil}
	var fields []arrow.Field
	for i, name := range columns {
		at := slices.IndexFunc(s.columns, func(c manifestColumn) bool { return c.Name == name })
		err := error(&sandbox.Error{Op: "vault: scan", Kind: sandbox.NotFound, Object: string(s.Dataset) + "." + name, Detail: "a column of the version, named once"})
		var file *sealedFile
		if at >= 0 && !slices.Contains(columns[:i], name) {
			file, err = v.openColumn(s, s.columns[at])
		}
		if err != nil {
			stop()
			for _, c := range r.columns {
				_ = c.file.Close()
			}
			return nil, err
		}
		f := s.Schema.Field(at)
		fields = append(fields, f)
		c := &columnScan{file: file, schema: arrow.NewSchema([]arrow.Field{f}, nil), last: file.chunks}
		if r.part {
			c.limit(ends[at], from, to)
		}
		r.columns = append(r.columns, c)
	}
	r.schema = arrow.NewSchema(fields, nil)
	for _, c := range r.columns {
		c.start(ctx, &r.wait, workers(len(columns)))
	}
	return r, nil
}

// workers spreads the machine's cores, or two goroutines, over the columns.
func workers(columns int) int {
	return (max(2, runtime.GOMAXPROCS(0)) + columns - 1) / columns
}

// Schema gives the named columns in their order.
func (r *Scanner) Schema() *arrow.Schema { return r.schema }

// Next gives the next batch; io.EOF after the last.
func (r *Scanner) Next(ctx context.Context) (arrow.Record, error) {
	if r.err != nil {
		return nil, r.err
	}
	rec, err := r.read(ctx)
	if err != nil {
		r.err = err
		r.stop()
	}
	return rec, err
}

func (r *Scanner) read(ctx context.Context) (arrow.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if r.next == len(r.rows) {
		for _, c := range r.columns {
			if r.part {
				break // what follows belongs to others
			}
			if err := c.end(ctx); err != nil {
				return nil, err
			}
		}
		return nil, io.EOF
	}
	arrays := make([]arrow.Array, 0, len(r.columns))
	defer func() {
		for _, a := range arrays {
			a.Release()
		}
	}()
	for _, c := range r.columns {
		a, err := c.batch(ctx, r.mem, r.next, r.rows[r.next])
		if err != nil {
			return nil, err
		}
		arrays = append(arrays, a)
	}
	rec := array.NewRecord(r.schema, arrays, r.rows[r.next])
	r.next++
	return rec, nil
}

// Close stops the goroutines, waits for them and closes the files.
func (r *Scanner) Close() error {
	r.stop()
	r.wait.Wait()
	for _, c := range r.columns {
		_ = c.file.Close() // read only; a second Close finds it closed
		c.forget()
	}
	if r.err == nil {
		r.err = &sandbox.Error{Op: "vault: scan", Kind: sandbox.Conflict, Object: "scanner", Detail: "closed"}
	}
	return nil
}

// columnScan is the plaintext of one column file as a stream, opened ahead in groups of chunks. Worker k of n opens the
// groups k, k+n, … so that taking one group of each in turn gives them in order without a lock.
type columnScan struct {
	ctx    context.Context // of the scan: says why a worker stopped
	file   *sealedFile
	schema *arrow.Schema
	ready  []chan group
	free   chan []byte // plaintext buffers used up
	turn   int         // whose group is next
	now    group
	rest   []byte // of now, not yet read
	first  uint64 // chunk
	last   uint64 // chunk behind the last one that is read
	skip   int    // bytes of the first chunk that are not asked for
}

// limit reads the batches from one to another only, whose ends in the plaintext are given.
func (c *columnScan) limit(ends []int64, from, to int) {
	if from == to {
		c.first, c.last = 0, 0
		return
	}
	start := int64(0)
	if from > 0 {
		start = ends[from-1]
	}
	c.first, c.skip = uint64(start/chunkSize), int(start%chunkSize)
	c.last = min(uint64((ends[to-1]+chunkSize-1)/chunkSize), c.file.chunks)
}

// groups are the buffers of scans that have ended, for those that begin: what held plaintext is cleared first.
var groups = sync.Pool{New: func() any { return new([groupChunks * sealedSize]byte) }}

func newGroup() []byte { return groups.Get().(*[groupChunks * sealedSize]byte)[:0] }

func freeGroup(b []byte) {
	if cap(b) == groupChunks*sealedSize {
		groups.Put((*[groupChunks * sealedSize]byte)(b[:cap(b)]))
	}
}

// forget clears what was opened.
func (c *columnScan) forget() {
	drop := func(b []byte) {
		clear(b)
		freeGroup(b)
	}
	drop(c.now.plain)
	c.now, c.rest = group{}, nil
	for _, out := range c.ready {
		for g := range out {
			drop(g.plain)
		}
	}
	for {
		select {
		case b := <-c.free:
			freeGroup(b)
		default:
			return
		}
	}
}

type group struct {
	plain []byte
	err   error
}

func (c *columnScan) start(ctx context.Context, wait *sync.WaitGroup, n int) {
	c.ctx = ctx
	c.free = make(chan []byte, 2*n)
	for k := range n {
		out := make(chan group, 1)
		c.ready = append(c.ready, out)
		wait.Go(func() { c.work(ctx, out, c.first+uint64(k)*groupChunks, uint64(n)*groupChunks) })
	}
}

// work opens every group from the chunk first on in strides until the file ends, fails or the scan stops.
func (c *columnScan) work(ctx context.Context, out chan<- group, first, stride uint64) {
	defer close(out)
	sealed := newGroup()
	defer func() { freeGroup(sealed) }()
	for i := first; i < c.last; i += stride {
		var g group
		select {
		case g.plain = <-c.free:
		default:
			g.plain = newGroup()
		}
		sealed, g.plain, g.err = c.file.open(sealed, g.plain, i, int(min(groupChunks, c.last-i)))
		select {
		case out <- g:
		case <-ctx.Done():
			clear(g.plain)
			freeGroup(g.plain)
			return
		}
		if g.err != nil {
			return
		}
	}
}

// fill reads len(p) bytes; io.EOF if there are none, io.ErrUnexpectedEOF if there are fewer.
func (c *columnScan) fill(ctx context.Context, p []byte) error {
	for n := 0; n < len(p); {
		k := copy(p[n:], c.rest)
		n, c.rest = n+k, c.rest[k:]
		if k > 0 {
			continue
		}
		if err := c.advance(ctx); err == io.EOF && n > 0 {
			return io.ErrUnexpectedEOF
		} else if err != nil {
			return err
		}
	}
	return nil
}

// advance takes the next group.
func (c *columnScan) advance(ctx context.Context) error {
	if c.now.plain != nil {
		clear(c.now.plain)
		select {
		case c.free <- c.now.plain:
		default:
			freeGroup(c.now.plain)
		}
		c.now = group{}
	}
	select {
	case g, ok := <-c.ready[c.turn]:
		if !ok {
			if err := c.ctx.Err(); err != nil {
				return err
			}
			return io.EOF
		}
		c.turn = (c.turn + 1) % len(c.ready)
		c.now, c.rest = g, g.plain
		if c.skip > 0 && g.err == nil {
			if c.skip > len(c.rest) {
				return c.file.place.tampered("the statistics name a place that the column does not have")
			}
			c.rest, c.skip = c.rest[c.skip:], 0
		}
		return g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// batch reads the i-th batch of a column.
func (c *columnScan) batch(ctx context.Context, mem memory.Allocator, i int, rows int64) (arrow.Array, error) {
	rec, err := c.record(ctx, mem, i, rows)
	if err != nil {
		return nil, err
	}
	defer rec.Release()
	a := rec.Column(0)
	a.Retain()
	return a, nil
}

// record reads the i-th batch.
func (c *columnScan) record(ctx context.Context, mem memory.Allocator, i int, rows int64) (arrow.Record, error) {
	var head [8]byte
	err := c.fill(ctx, head[:])
	n := binary.LittleEndian.Uint64(head[:])
	var b []byte
	if err == nil {
		if n > uint64(c.file.body) {
			return nil, c.file.place.tampered(fmt.Sprintf("batch %d is longer than its file", i))
		}
		b = mem.Allocate(int(n))
		err = c.fill(ctx, b)
	}
	if b != nil {
		whole := memory.NewBufferWithAllocator(b, mem) // the record's columns hold it
		defer whole.Release()
		if err == nil {
			return c.decode(whole, i, rows)
		}
	}
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return nil, c.file.place.tampered(fmt.Sprintf("batch %d is cut off", i))
	}
	return nil, err
}

func (c *columnScan) decode(whole *memory.Buffer, i int, rows int64) (arrow.Record, error) {
	rec, err := batch.DecodeBuffer(whole, c.schema, batch.Limits{Rows: int(max(rows, 1)), Bytes: max(whole.Len(), 1)})
	if err != nil || rec.NumRows() != rows {
		if rec != nil {
			rec.Release()
		}
		return nil, c.file.place.tampered(fmt.Sprintf("batch %d is not what the manifest describes", i))
	}
	return rec, nil
}

// end checks that the last batch ends the file.
func (c *columnScan) end(ctx context.Context) error {
	switch err := c.fill(ctx, make([]byte, 1)); err {
	case io.EOF:
		return nil
	case nil:
		return c.file.place.tampered("bytes behind the last batch")
	default:
		return err
	}
}
