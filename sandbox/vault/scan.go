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

// Scanner (列扫描) reads named columns of one version batch by batch. From the first Next on goroutines open the chunks ahead, at least
// two for a scan and one for a column, each at most two groups of 256 KiB ahead. It implements batch.Selector and is used by
// one goroutine.
type Scanner struct {
	schema  *arrow.Schema
	given   *arrow.Schema // of the last record, where texts came coded
	mem     memory.Allocator
	rows    []int64 // of every batch of the version
	batches []int   // that are read
	columns []*columnScan
	next    int         // of batches
	known   *statistics // of the version; nil: not opened
	coded   bool        // texts and pseudonyms may come as codes
	err     error
	ctx     context.Context
	started bool
	stop    context.CancelFunc
	wait    sync.WaitGroup
}

// Scan opens the named columns of a snapshot, in the order named; SubjectColumn may be among them. No other column is
// opened. The caller closes the scanner, which ends with ctx at the latest.
func (v *Vault) Scan(ctx context.Context, mem memory.Allocator, s Snapshot, columns []string) (*Scanner, error) {
	return v.scan(ctx, mem, s, columns, 0, len(s.Batches), s.known, v.openColumn)
}

// ScanSubject is Scan over the batches that may hold one subject's rows, about one of them whatever the size of the version.
// They hold other subjects' rows too.
func (v *Vault) ScanSubject(ctx context.Context, mem memory.Allocator, s Snapshot, columns []string, subject sandbox.Pseudonym) (*Scanner, error) {
	st, err := v.statistics(s)
	if err != nil {
		return nil, err
	}
	from, to := st.holding(subject)
	return v.scan(ctx, mem, s, columns, from, to, &st, v.openColumn)
}

// scan reads the batches from one to another, all of them where the version's statistics are not given.
func (v *Vault) scan(ctx context.Context, mem memory.Allocator, s Snapshot, columns []string, from, to int, known *statistics, open func(Snapshot, manifestColumn) (*sealedFile, error)) (*Scanner, error) {
	if len(columns) == 0 || !s.opens() {
		return nil, &sandbox.Error{Op: "vault: scan", Kind: sandbox.Invalid, Object: string(s.Dataset), Detail: "a scan names a snapshot of this vault and at least one column"}
	}
	r := &Scanner{mem: mem, rows: s.Batches, known: known}
	for i := from; i < to; i++ {
		r.batches = append(r.batches, i)
	}
	var fields []arrow.Field
	for i, name := range columns {
		at := slices.IndexFunc(s.columns, func(c manifestColumn) bool { return c.Name == name })
		err := error(&sandbox.Error{Op: "vault: scan", Kind: sandbox.NotFound, Object: string(s.Dataset) + "." + name, Detail: "a column of the version, named once"})
		var file *sealedFile
		if at >= 0 && !slices.Contains(columns[:i], name) {
			file, err = open(s, s.columns[at])
		}
		if err != nil {
			for _, c := range r.columns {
				_ = c.file.Close()
			}
			return nil, err
		}
		f := s.Schema.Field(at)
		fields = append(fields, f)
		r.columns = append(r.columns, &columnScan{file: file, schema: arrow.NewSchema([]arrow.Field{f}, nil), column: at})
	}
	r.schema = arrow.NewSchema(fields, nil)
	r.ctx, r.stop = context.WithCancel(ctx)
	return r, nil
}

// Select leaves out batches by the version's statistics, where they are at hand: of parts and of tickets.
func (r *Scanner) Select(s batch.Selection) error {
	if r.started || r.err != nil {
		return &sandbox.Error{Op: "vault: scan", Kind: sandbox.Conflict, Object: "scanner", Detail: "what to leave out is said before the first batch"}
	}
	r.coded = s.Coded
	if s.Useless == nil || r.known == nil {
		return nil
	}
	r.batches = slices.DeleteFunc(r.batches, func(i int) bool {
		return slices.ContainsFunc(r.columns, func(c *columnScan) bool {
			f := c.schema.Field(0)
			st, ok := r.known.of(c.column, i)
			return ok && s.Useless(f.Name, st.extent(f.Type, int(r.rows[i])))
		})
	})
	return nil
}

// start begins to open what is read.
func (r *Scanner) start() error {
	r.started = true
	for _, c := range r.columns {
		if r.known == nil || r.all() {
			c.whole()
		} else if err := c.only(r.known.Ends[c.column], r.batches); err != nil {
			return err
		}
	}
	for _, c := range r.columns {
		c.start(r.ctx, &r.wait, workers(len(r.columns)))
	}
	return nil
}

// all says whether every batch of the version is read.
func (r *Scanner) all() bool { return len(r.batches) == len(r.rows) }

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
	if !r.started {
		if err := r.start(); err != nil {
			return nil, err
		}
	}
	if r.next == len(r.batches) {
		for _, c := range r.columns {
			if !r.all() {
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
	i := r.batches[r.next]
	for _, c := range r.columns {
		a, err := c.batch(ctx, r.mem, i, r.rows[i], r.coded)
		if err != nil {
			return nil, err
		}
		arrays = append(arrays, a)
	}
	rec := array.NewRecord(r.schemaOf(arrays), arrays, r.rows[i])
	r.next++
	return rec, nil
}

// schemaOf is the scanner's schema with the types that the columns came in.
func (r *Scanner) schemaOf(arrays []arrow.Array) *arrow.Schema {
	for _, s := range []*arrow.Schema{r.schema, r.given} {
		i := 0
		for s != nil && i < len(arrays) && arrow.TypeEqual(s.Field(i).Type, arrays[i].DataType()) {
			i++
		}
		if i == len(arrays) {
			return s
		}
	}
	fields := r.schema.Fields()
	for i, a := range arrays {
		fields[i].Type = a.DataType()
	}
	r.given = arrow.NewSchema(fields, nil)
	return r.given
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
	column int // in the manifest
	reads  []chunks
	starts []int64 // of batches in the plaintext; nil: what is read is read to the end
	ready  []chan group
	free   chan []byte // plaintext buffers used up
	turn   int         // whose group is next
	now    group
	rest   []byte // of now, not yet read
}

// chunks from one to the one behind the last.
type chunks struct{ from, to uint64 }

// whole reads all of the file.
func (c *columnScan) whole() { c.reads = []chunks{{0, c.file.chunks}} }

// only reads the chunks of some batches, given where each ends.
func (c *columnScan) only(ends []int64, batches []int) error {
	c.reads, c.starts = nil, make([]int64, len(ends))
	for i := 1; i < len(ends); i++ {
		c.starts[i] = ends[i-1]
	}
	for _, i := range batches {
		x := chunks{uint64(c.starts[i] / chunkSize), uint64((ends[i] + chunkSize - 1) / chunkSize)}
		if x.to > c.file.chunks {
			return c.file.place.tampered(ruleEnds)
		}
		if k := len(c.reads) - 1; k >= 0 && x.from <= c.reads[k].to {
			c.reads[k].to = max(c.reads[k].to, x.to)
		} else {
			c.reads = append(c.reads, x)
		}
	}
	return nil
}

const ruleEnds = "the statistics name a place that the column does not have"

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
	from  int64 // in the whole plaintext
	err   error
}

func (c *columnScan) start(ctx context.Context, wait *sync.WaitGroup, n int) {
	c.ctx = ctx
	c.free = make(chan []byte, 2*n)
	for k := range n {
		out := make(chan group, 1)
		c.ready = append(c.ready, out)
		wait.Go(func() { c.work(ctx, out, k, n) })
	}
}

// work opens the k-th of every n groups until there are no more, one fails or the scan stops.
func (c *columnScan) work(ctx context.Context, out chan<- group, k, n int) {
	defer close(out)
	sealed := newGroup()
	defer func() { freeGroup(sealed) }()
	turn := 0
	for _, read := range c.reads {
		for i := read.from; i < read.to; i += groupChunks {
			if turn = (turn + 1) % n; turn != (k+1)%n {
				continue
			}
			g := group{from: int64(i) * chunkSize}
			select {
			case g.plain = <-c.free:
			default:
				g.plain = newGroup()
			}
			sealed, g.plain, g.err = c.file.open(sealed, g.plain, i, int(min(groupChunks, read.to-i)))
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
}

// seek goes on to where a batch begins.
func (c *columnScan) seek(ctx context.Context, i int) error {
	if c.starts == nil {
		return nil
	}
	for {
		at := c.now.from + int64(len(c.now.plain)-len(c.rest))
		if left := c.starts[i] - at; c.now.plain != nil && left >= 0 && left <= int64(len(c.rest)) {
			c.rest = c.rest[left:]
			return nil
		} else if c.now.plain != nil && left < 0 {
			return c.file.place.tampered(ruleEnds)
		}
		if err := c.advance(ctx); err == io.EOF {
			return c.file.place.tampered(ruleEnds)
		} else if err != nil {
			return err
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
		return g.err
	case <-ctx.Done():
		return ctx.Err()
	}
}

// batch reads the i-th batch of a column.
func (c *columnScan) batch(ctx context.Context, mem memory.Allocator, i int, rows int64, coded bool) (arrow.Array, error) {
	whole, err := c.encoded(ctx, mem, i)
	if err != nil {
		return nil, err
	}
	defer whole.Release() // what is made of it holds it
	if isPacked(whole.Bytes()) {
		a, rule := unpack(mem, whole, c.schema.Field(0), rows, coded)
		if rule != "" {
			return nil, c.file.place.tampered(fmt.Sprintf("batch %d: %s", i, rule))
		}
		return a, nil
	}
	rec, err := c.decode(whole, i, rows)
	if err != nil {
		return nil, err
	}
	defer rec.Release()
	a := rec.Column(0)
	a.Retain()
	return a, nil
}

// record reads the i-th batch of a run.
func (c *columnScan) record(ctx context.Context, mem memory.Allocator, i int, rows int64) (arrow.Record, error) {
	whole, err := c.encoded(ctx, mem, i)
	if err != nil {
		return nil, err
	}
	defer whole.Release()
	return c.decode(whole, i, rows)
}

// encoded reads the bytes of the i-th batch.
func (c *columnScan) encoded(ctx context.Context, mem memory.Allocator, i int) (*memory.Buffer, error) {
	var head [8]byte
	err := c.seek(ctx, i)
	if err == nil {
		err = c.fill(ctx, head[:])
	}
	n := binary.LittleEndian.Uint64(head[:])
	if err == nil {
		if n > uint64(c.file.body) {
			return nil, c.file.place.tampered(fmt.Sprintf("batch %d is longer than its file", i))
		}
		b := mem.Allocate(int(n))
		whole := memory.NewBufferWithAllocator(b, mem)
		if err = c.fill(ctx, b); err == nil {
			return whole, nil
		}
		whole.Release()
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
