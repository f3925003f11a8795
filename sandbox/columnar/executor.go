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
}

// Executor (执行器) has the parts of a question computed and gives each Partial to merge, in the order of the parts. It takes nothing
// from what merge refuses: the first error ends the run, after all of its workers have ended.
type Executor interface {
	Partials(ctx context.Context, k *Kernel, src Source, merge func(*Partial) error) error
}

// Execute computes the answer to plan with an executor.
func Execute(ctx context.Context, mem memory.Allocator, plan Plan, src Source, lim Limits, by Executor) (*sandbox.Answer, error) {
	k, err := NewKernel(ctx, mem, plan, src.Open, lim)
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

// part computes one part.
func (k *Kernel) part(ctx context.Context, src Source, i int) (*Partial, error) {
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
	return k.Consume(ctx, reader)
}

// Partials computes up to as many parts ahead of the merge as there are workers.
func (g Goroutines) Partials(ctx context.Context, k *Kernel, src Source, merge func(*Partial) error) (err error) {
	parts := src.Parts
	if src.OpenPart == nil {
		parts = 1
	}
	workers := max(1, min(g.Workers, parts))
	if workers == 1 {
		for i := range parts {
			p, err := k.part(ctx, src, i)
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
		p   *Partial
		err error
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
				p, err := k.part(ctx, src, i)
				done[i] <- result{p, err}
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
			merged++
			<-ahead
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
