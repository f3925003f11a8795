package columnar

import (
	"context"
	"sync"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
)

// Source (数据来源) opens the inputs of a question. Parts cut the scanned input: how many there are follows from the data, never
// from who reads them. Without parts the input is read whole.
type Source struct {
	Open     Open
	Parts    int
	OpenPart func(ctx context.Context, ds sandbox.DatasetID, columns []string, part int) (batch.Reader, error)
	Spill    Spill  // where what does not fit in memory goes; nil: it is refused
	Seed     uint64 // deals spilled rows: processes that have the same one give a Partial the same bytes; 0: drawn
}

func (s Source) parts() int {
	if s.OpenPart == nil {
		return 1
	}
	return s.Parts
}

// Executor (执行器) has the parts of a question computed and gives each Partial to merge, in the order of the parts. It takes nothing
// from what merge refuses: the first error ends the run, after all of its workers have ended.
type Executor interface {
	Partials(ctx context.Context, k *Kernel, src Source, merge func(*Partial) error) error
}

// Execute computes the answer to plan with an executor.
func Execute(ctx context.Context, mem memory.Allocator, plan Plan, src Source, lim Limits, by Executor) (*sandbox.Answer, error) {
	k, err := NewKernel(ctx, mem, plan, src, lim)
	if err != nil {
		return nil, err
	}
	defer k.Free()
	if g, ok := by.(Goroutines); ok {
		k.workers = max(1, g.Workers)
	}
	m := k.Init()
	defer m.Free()
	if err := by.Partials(ctx, k, src, m.Merge); err != nil {
		return nil, err
	}
	return k.Finalize(m)
}

// Goroutines (协程执行器) computes parts on so many goroutines of this process.
type Goroutines struct{ Workers int }

// part computes one part. Where it does not fit in memory, emit takes what comes before the last Partial.
func (k *Kernel) part(ctx context.Context, src Source, i int, emit func(*Partial) error) (*Partial, error) {
	reader, err := k.open(ctx, src, i)
	if err != nil {
		return nil, err
	}
	return k.consume(ctx, reader, emit)
}

// open opens a part.
func (k *Kernel) open(ctx context.Context, src Source, i int) (batch.Reader, error) {
	ds, columns := k.Columns()
	var reader batch.Reader
	var err error
	if src.OpenPart == nil {
		reader, err = src.Open(ctx, ds, columns)
	} else {
		reader, err = src.OpenPart(ctx, ds, columns, i)
	}
	if err != nil {
		return nil, wrap(string(ds), err)
	}
	return reader, nil
}

// Partials computes up to as many parts ahead of the merge as there are workers.
func (g Goroutines) Partials(ctx context.Context, k *Kernel, src Source, merge func(*Partial) error) (err error) {
	if k.r.graced {
		return k.graced(ctx, src, g.Workers, merge)
	}
	parts := src.parts()
	workers := max(1, min(g.Workers, parts))
	if workers == 1 {
		for i := range parts {
			p, err := k.part(ctx, src, i, merge)
			if err == nil {
				err = merge(p)
			}
			if err != nil {
				return err
			}
		}
		return nil
	}
	ctx, cancel := context.WithCancel(ctx)
	type result struct {
		p    *Partial
		err  error
		more bool // another Partial of the part follows
	}
	done := make([]chan result, parts)
	for i := range done {
		done[i] = make(chan result, 1)
	}
	ahead := make(chan struct{}, 2*workers) // parts computed and not merged
	next := make(chan int)
	var wait sync.WaitGroup
	wait.Go(func() {
		defer close(next)
		for i := range parts {
			select {
			case ahead <- struct{}{}:
			case <-ctx.Done():
				return
			}
			select {
			case next <- i:
			case <-ctx.Done():
				return
			}
		}
	})
	for range workers {
		wait.Go(func() {
			for i := range next {
				emit := func(r result) error {
					select {
					case done[i] <- r: // waits until those before were merged
						return nil
					case <-ctx.Done():
						if r.p != nil {
							r.p.Free()
						}
						return &sandbox.Error{Op: "columnar", Kind: sandbox.Unavailable, Object: "part", Err: ctx.Err()}
					}
				}
				p, err := k.part(ctx, src, i, func(p *Partial) error { return emit(result{p: p, more: true}) })
				_ = emit(result{p: p, err: err})
			}
		})
	}
	merged := 0
	defer func() {
		cancel()
		wait.Wait()
		for ; merged < parts; merged++ {
			select {
			case r := <-done[merged]:
				if r.p != nil {
					r.p.Free()
				}
			default:
			}
		}
	}()
	for merged < parts {
		select {
		case r := <-done[merged]:
			if !r.more {
				merged++
				<-ahead
			}
			if r.err == nil {
				r.err = merge(r.p)
			}
			if r.err != nil {
				return r.err
			}
		case <-ctx.Done():
			ds, _ := k.Columns()
			return &sandbox.Error{Op: "columnar", Kind: sandbox.Unavailable, Object: string(ds), Err: ctx.Err()}
		}
	}
	return nil
}
