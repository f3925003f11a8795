package vault

import (
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// readAhead is how many opened batches of a column wait for the scanner.
const readAhead = 2

// Scanner (列扫描) reads named columns of one version batch by batch; each column is opened ahead on a goroutine of its own.
// It implements batch.Reader and is used by one goroutine.
type Scanner struct {
	schema  *arrow.Schema
	mem     memory.Allocator
	rows    []int64
	columns []*columnScan
	next    int
	err     error
	stop    context.CancelFunc
	wait    sync.WaitGroup
}

type columnScan struct {
	place  place
	schema *arrow.Schema
	file   *fileReader
	out    chan opened
}

type opened struct {
	b   []byte
	err error
}

// Scan opens the named columns of a snapshot, in the order named; SubjectColumn may be among them. No other column is
// opened. The caller closes the scanner.
func (v *Vault) Scan(ctx context.Context, mem memory.Allocator, s Snapshot, columns []string) (*Scanner, error) {
	if len(columns) == 0 || s.key == nil {
		return nil, &sandbox.Error{Op: "vault: scan", Kind: sandbox.Invalid, Object: string(s.Dataset), Detail: "a scan names a snapshot of this vault and at least one column"}
	}
	ctx, stop := context.WithCancel(ctx)
	r := &Scanner{mem: mem, rows: s.Batches, stop: stop}
	var fields []arrow.Field
	for i, name := range columns {
		at := slices.IndexFunc(s.manifest.Columns, func(c manifestColumns) bool { return c.Name == name })
		if at < 0 || slices.Contains(columns[:i], name) {
			r.abandon()
			return nil, &sandbox.Error{Op: "vault: scan", Kind: sandbox.NotFound, Object: string(s.Dataset) + "." + name, Detail: "a column of the version, named once"}
		}
		c := s.manifest.Columns[at]
		file, err := v.column(s, c)
		if err != nil {
			r.abandon()
			return nil, err
		}
		f := s.Schema.Field(at)
		fields = append(fields, f)
		r.columns = append(r.columns, &columnScan{place: file.place, schema: arrow.NewSchema([]arrow.Field{f}, nil), file: file, out: make(chan opened, readAhead)})
	}
	r.schema = arrow.NewSchema(fields, nil)
	for _, c := range r.columns {
		r.wait.Go(func() { c.run(ctx, len(s.Batches)) })
	}
	return r, nil
}

func (r *Scanner) abandon() {
	r.stop()
	for _, c := range r.columns {
		_ = c.file.Close()
	}
}

// run opens batch after batch until the file ends, fails or the scan stops.
func (c *columnScan) run(ctx context.Context, batches int) {
	defer close(c.out)
	defer c.file.Close()
	for i := 0; ; i++ {
		b, err := c.read(i, batches)
		select {
		case c.out <- opened{b, err}:
		case <-ctx.Done():
			return
		}
		if err != nil {
			return
		}
	}
}

func (c *columnScan) read(i, batches int) ([]byte, error) {
	var head [8]byte
	if i == batches {
		if n, err := c.file.Read(head[:1]); n != 0 || err != io.EOF {
			return nil, c.place.tampered("bytes behind the last batch")
		}
		return nil, io.EOF
	}
	if _, err := io.ReadFull(c.file, head[:]); err != nil {
		return nil, c.fault(err, i)
	}
	n := binary.LittleEndian.Uint64(head[:])
	if n > uint64(c.file.body) {
		return nil, c.place.tampered(fmt.Sprintf("batch %d is longer than its file", i))
	}
	b := make([]byte, n)
	if _, err := io.ReadFull(c.file, b); err != nil {
		return nil, c.fault(err, i)
	}
	return b, nil
}

func (c *columnScan) fault(err error, i int) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		return c.place.tampered(fmt.Sprintf("batch %d is cut off", i))
	}
	return err
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
	arrays := make([]arrow.Array, 0, len(r.columns))
	defer func() {
		for _, a := range arrays {
			a.Release()
		}
	}()
	var end error
	for _, c := range r.columns {
		var o opened
		select {
		case got, ok := <-c.out:
			if !ok {
				return nil, context.Canceled
			}
			o = got
		case <-ctx.Done():
			return nil, ctx.Err()
		}
		if o.err == io.EOF {
			end = io.EOF
			continue
		}
		if o.err != nil {
			return nil, o.err
		}
		one, err := batch.Decode(r.mem, c.schema, o.b, batch.Limits{Rows: 1 << 30, Bytes: 1 << 40})
		if err != nil {
			return nil, c.place.tampered("a batch is not what its column describes")
		}
		if one.NumRows() != r.rows[r.next] {
			one.Release()
			return nil, c.place.tampered("a batch has another number of rows than the manifest says")
		}
		a := one.Column(0)
		a.Retain()
		one.Release()
		arrays = append(arrays, a)
	}
	if end != nil {
		return nil, end
	}
	rec := array.NewRecord(r.schema, arrays, r.rows[r.next])
	r.next++
	return rec, nil
}

// Close stops the goroutines and waits for them.
func (r *Scanner) Close() error {
	r.stop()
	for _, c := range r.columns {
		for range c.out { // let a sender go
		}
	}
	r.wait.Wait()
	if r.err == nil {
		r.err = &sandbox.Error{Op: "vault: scan", Kind: sandbox.Conflict, Object: "scanner", Detail: "closed"}
	}
	return nil
}
