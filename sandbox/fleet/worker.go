package fleet

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// What a worker's message is, by its first byte.
const (
	isReady   = 'r' // then the number of parts
	isPartial = 'p' // then the encoded partial
	isError   = 'e' // then a problem
)

// problem is an error as it crosses: it names place and rule, as all of the domain's do.
type problem struct {
	Kind   sandbox.Kind `json:"kind"`
	Object string       `json:"object,omitempty"`
	Detail string       `json:"detail,omitempty"`
}

// Work is a worker's whole life: it reads one job from in, computes the parts that it is told, and ends when in does. Whoever calls it
// has started the process for this alone. What it cannot compute it reports to the coordinator and goes on; the error it gives is about
// the connection. rand draws the keys of what it spills.
func Work(ctx context.Context, mem memory.Allocator, rand io.Reader, in io.Reader, out io.Writer) error {
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var hello [len(magic) + jobSize + secretSize]byte
	if _, err := io.ReadFull(in, hello[:]); err != nil || string(hello[:len(magic)]) != magic {
		return fail(sandbox.Invalid, "worker", "is started by the domain itself")
	}
	job, secret := hello[len(magic):len(magic)+jobSize], hello[len(magic)+jobSize:]
	l, err := newLine(in, out, job, secret, true)
	clear(secret)
	if err != nil {
		return err
	}
	b := bound{job: job}
	message, err := l.receive(b.to(noPart), maxOrder)
	if err != nil {
		return err
	}
	o, err := decodeOrder(message)
	clear(message)
	if err != nil {
		return err // without the question there is nothing to bind an answer to
	}
	if b.kernel, err = o.digest(); err != nil {
		return err
	}
	w, err := newWorker(ctx, mem, rand, o, binary.BigEndian.Uint64(job))
	if err != nil {
		return report(l, b, noPart, err)
	}
	defer w.free()
	if err := l.send(b.to(noPart), binary.BigEndian.AppendUint64([]byte{isReady}, uint64(w.parts.Len()))); err != nil {
		return err
	}
	// Read ahead, so that the end of in ends what is being computed.
	next := make(chan uint64)
	var ended error
	go func() {
		defer close(next)
		defer stop()
		for {
			m, err := l.receive(b.to(noPart), 8)
			if err != nil || len(m) != 8 {
				if ended = err; err == nil {
					ended = fail(sandbox.Tampered, "job", "asks for a part by its number")
				}
				return
			}
			select {
			case next <- binary.BigEndian.Uint64(m):
			case <-ctx.Done():
				ended = io.EOF
				return
			}
		}
	}()
	for part := range next {
		if err := w.compute(ctx, mem, l, b, part); err != nil {
			return err
		}
	}
	if errors.Is(ended, io.EOF) {
		return nil
	}
	return ended
}

// worker is a job as a worker has it open.
type worker struct {
	kernel  *columnar.Kernel
	parts   *vault.Parts
	columns []string
	dataset sandbox.DatasetID
	spill   *vault.Spill
}

func (w *worker) free() {
	w.kernel.Free()
	_ = w.spill.Close() // its files have no names and end with the process
}

func newWorker(ctx context.Context, mem memory.Allocator, rand io.Reader, o order, seed uint64) (*worker, error) {
	d, err := query.DecodeDerivation(o.Question)
	if err != nil {
		return nil, err
	}
	granted, err := o.granted(d)
	if err != nil {
		return nil, err
	}
	w := &worker{}
	if w.parts, err = granted[d.Inputs[0].Dataset].Parts(o.Rows); err != nil {
		return nil, err
	}
	open := func(ctx context.Context, ds sandbox.DatasetID, columns []string) (batch.Reader, error) {
		g := granted[ds]
		if g == nil {
			return nil, fail(sandbox.Denied, string(ds), "a dataset of the question")
		}
		r, err := g.Scan(ctx, mem, columns)
		if err != nil {
			return nil, err
		}
		return r, nil
	}
	if w.spill, err = vault.SpillIn(nil, o.Dir, rand); err != nil {
		return nil, err
	}
	src := columnar.Source{Open: open, Seed: seed}
	if o.Spill {
		src.Spill = func() (columnar.SpillFile, error) { return w.spill.Create() }
	}
	if w.kernel, err = columnar.NewKernel(ctx, mem, columnar.Plan{Derivation: d, Inputs: o.Inputs}, src, o.Limits); err != nil {
		return nil, err
	}
	w.dataset, w.columns = w.kernel.Columns()
	return w, nil
}

// compute sends what a part adds, or why it cannot be computed.
func (w *worker) compute(ctx context.Context, mem memory.Allocator, l *line, b bound, part uint64) error {
	if part >= uint64(w.parts.Len()) {
		return report(l, b, part, fail(sandbox.Invalid, string(w.dataset), "no such part"))
	}
	r, err := w.parts.Scan(ctx, mem, w.columns, int(part))
	if err != nil {
		return report(l, b, part, err)
	}
	p, err := w.kernel.Consume(ctx, r)
	if err != nil {
		return report(l, b, part, err)
	}
	defer p.Free()
	encoded := w.kernel.AppendEncode([]byte{isPartial}, p)
	defer clear(encoded)
	return l.send(b.to(part), encoded)
}

// report sends an error in the place of what was asked.
func report(l *line, b bound, part uint64, err error) error {
	x := problem{Kind: sandbox.KindOf(err)}
	if e := (*sandbox.Error)(nil); errors.As(err, &e) {
		for inner := e; inner != nil; { // the innermost says where
			x.Object, x.Detail = inner.Object, inner.Detail
			next := (*sandbox.Error)(nil)
			if !errors.As(inner.Err, &next) {
				break
			}
			inner = next
		}
	}
	m, err := json.Marshal(x)
	if err != nil {
		return err
	}
	return l.send(b.to(part), append([]byte{isError}, m...))
}
