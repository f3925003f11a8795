package columnar

import (
	"context"
	"io"
	"sync"
	"sync/atomic"

	"github.com/opdomain/opdomain/sandbox"
)

// spilledBuild is a joined input whose rows lie on disk, in partitions by key.
type spilledBuild struct {
	budget int64 // of memory for its rows
	parts  *partitions
}

// buildSpilled reads input i into partitions.
func (r *run) buildSpilled(ctx context.Context, i int, open Open, budget int64) error {
	l := r.newLookup(i)
	l.spilled = &spilledBuild{budget: budget, parts: r.spill.partitions(0)}
	r.lookups[i], r.graced = l, true
	subject, d := r.find(i, SubjectColumn), l.spilled.parts.dealer()
	drop, codes, scrap := make([]uint8, piece), map[int][]uint32{}, make([]uint32, piece)
	for n := range l.coders {
		codes[n] = make([]uint32, piece)
	}
	var keys []byte
	ends := make([]int, piece)
	err := r.pieces(ctx, i, open, func(b *inputBatch, sel []int32) error {
		n, ok := 0, false
		keys = keys[:0]
		for _, row := range sel {
			start := len(keys)
			if keys, ok = l.rightKey(keys, b, row); !ok {
				keys = keys[:start]
				continue
			}
			sel[n], ends[n] = row, len(keys)
			n++
		}
		sel = sel[:n]
		for x, c := range l.coders {
			if err := c.encode(&b.cols[r.labels[x].col], sel, codes[x]); err != nil {
				return err
			}
		}
		if l.drop != nil {
			if err := l.filter(r.kernels, b, sel, scrap, drop); err != nil {
				return err
			}
		}
		from := 0
		for j, row := range sel {
			key := keys[from:ends[j]]
			from = ends[j]
			if l.drop != nil && drop[j] != 0 && !l.keepsMisses {
				continue // whether it is found does not show
			}
			p := d.to.byKey(key)
			out := appendText(d.row(p), key)
			if l.drop != nil {
				out = append(out, drop[j])
			}
			if err := d.keep(p, l.appendBatch(out, b, row, j, codes, subject)); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return d.flush()
}

// grace joins rows with inputs that are spilled (Grace hash join: Kitsuregawa, Tanaka, Moto-Oka 1983). Rows of the scanned input
// that reach such a join are dealt to partitions by key as its own rows were, and once all have, partition by partition meets in memory;
// what comes out goes on to the next join. A partition that is still too large is dealt again by other bits of its keys' hash.
// Where most of it is one key, that does not help: its rows are then taken a block at a time, and the others are read again for
// each. Sorting both sides was rejected: it costs passes over the larger one, which is read once here, and a skewed key the same.
type grace struct {
	r      *run
	probes []*partitions // by input
	pool   chan *scanner
	share  int64 // one worker's part of an input's budget, in parts
}

func (r *run) newGrace(scanners []*scanner) *grace {
	g := &grace{r: r, probes: make([]*partitions, len(r.lookups)), pool: make(chan *scanner, len(scanners)), share: int64(len(scanners))}
	for i, l := range r.lookups {
		if l != nil && l.spilled != nil {
			g.probes[i] = r.spill.partitions(0)
		}
	}
	for _, s := range scanners {
		s.graced(g)
		g.pool <- s
	}
	return g
}

func (g *grace) free() {
	for _, p := range g.probes {
		if p != nil {
			_ = p.erase()
		}
	}
}

// graced makes a scanner deal rows.
func (s *scanner) graced(g *grace) {
	s.dealers, s.back = make([]*dealer, len(g.probes)), make([]*back, len(g.probes))
	s.p.ev.first = &block[uint64]{mem: s.p.ev.held}
	for i, p := range g.probes {
		if p == nil {
			continue
		}
		s.dealers[i] = p.dealer()
		if s.frames[i] == nil {
			s.frames[i] = newFrame(len(g.probes))
		}
	}
}

// finish joins what all scanners have dealt, one spilled input after the other.
func (g *grace) finish(ctx context.Context) error {
	scanners := make([]*scanner, 0, cap(g.pool))
	for range cap(g.pool) {
		scanners = append(scanners, <-g.pool)
	}
	for i, p := range g.probes {
		if p == nil {
			continue
		}
		for _, s := range scanners {
			if err := s.dealers[i].flush(); err != nil {
				return err
			}
		}
		t := g.r.lookups[i]
		var next, stop atomic.Int64
		errs := make([]error, len(scanners))
		var wait sync.WaitGroup
		for n, s := range scanners {
			wait.Go(func() {
				for {
					part := int(next.Add(1)) - 1
					if part >= fanout || stop.Load() != 0 {
						return
					}
					err := s.partition(ctx, i, t.spilled.parts.files[part], p.files[part], 0, t.spilled.budget/g.share, false)
					if err == nil {
						err = p.files[part].erase()
					}
					if errs[n] = err; err != nil {
						stop.Store(1)
						return
					}
				}
			})
		}
		wait.Wait()
		for _, err := range errs {
			if err != nil {
				return err
			}
		}
	}
	for _, s := range scanners {
		g.pool <- s
	}
	return nil
}

// divert deals a frame's rows to the partitions of spilled input i. Those that can find nothing go on.
func (s *scanner) divert(ctx context.Context, b *inputBatch, i int, f *frame) error {
	l, d, n := s.lookups[i], s.dealers[i], 0
	for j, row := range f.sel {
		key, ok := l.leftKey(s.key[:0], s.lookups, b, f, j)
		s.key = key
		if !ok {
			if l.keepsMisses {
				for k := 1; k < i; k++ {
					f.found[k][n] = f.found[k][j]
				}
				f.sel[n], f.found[i][n] = row, miss
				n++
			}
			continue
		}
		p := d.to.byKey(key)
		out := appendText(d.row(p), key)
		out = appendWords(out, b.ordinal(row))
		s0, s1 := b.cols[s.subject].subject(row)
		out = appendWords(out, s0, s1)
		for _, c := range s.r.behind[i] {
			out = appendCell(out, &b.cols[c], row)
		}
		for k := 1; k < i; k++ {
			at := f.found[k][j]
			switch {
			case s.r.lookups[k].spilled == nil:
				out = appendWord32(out, at)
			case at == miss:
				out = append(out, 0)
			default:
				out = s.lookups[k].appendRow(append(out, 1), at)
			}
		}
		if err := d.keep(p, out); err != nil {
			return err
		}
	}
	f.sel = f.sel[:n]
	return s.join(ctx, b, i+1, f)
}

// carry works out which scanned columns are needed behind the join of each input.
func (r *run) carry() {
	r.behind = make([][]int, len(r.lookups))
	for i := range r.behind {
		need := map[int]bool{}
		for _, l := range r.labels {
			need[l.col] = need[l.col] || l.input == 0 // of a score, −1: its parts stand beside it
		}
		for _, v := range r.values {
			need[v.col] = need[v.col] || v.input == 0 // likewise of a product
		}
		for k := i + 1; k < len(r.lookups); k++ {
			for _, p := range r.lookups[k].parts {
				need[p.left] = need[p.left] || p.from == 0 && !p.subject
			}
		}
		for c := range r.d.Inputs[0].Needed {
			if need[c] {
				r.behind[i] = append(r.behind[i], c)
			}
		}
	}
}

// partition joins the rows of a partition of spilled input i with those that wait for them. skewed says that dealing does not make it
// smaller.
func (s *scanner) partition(ctx context.Context, i int, build, probe *spilled, level int, budget int64, skewed bool) (err error) {
	if probe.rows == 0 {
		return nil
	}
	rows, err := build.read()
	if err != nil {
		return err
	}
	defer func() { rows.close() }()
	t, d := s.r.lookups[i], loader{rows: rows}
	mem := &metered{Allocator: s.r.mem}
	l := t.like(mem, true)
	defer func() { l.free() }()
	fill := func() error { return d.fill(l, s.keys, mem, budget, s.r.lim.MaxBuildRows) }
	if err := fill(); err != nil {
		return err
	}
	if !d.done && !skewed && level+1 < maxLevel {
		l.free()
		rows.close()
		rows, l = &rowReader{}, &lookup{}
		return s.split(ctx, i, build, probe, level+1, budget)
	}
	matched := block[uint64]{mem: s.r.mem} // by row of probe: it was found in some block
	defer matched.free()
	if !d.done && t.keepsMisses {
		matched.grow(int(probe.rows+63) / 64)
	}
	for {
		s.lookups[i] = l
		err := s.stream(ctx, i, probe, matched.v, d.done)
		s.lookups[i] = t
		if err != nil || d.done {
			return err
		}
		l.free()
		l = t.like(mem, true)
		if err := fill(); err != nil {
			return err
		}
	}
}

// split deals both sides of a partition again and joins what comes out.
func (s *scanner) split(ctx context.Context, i int, build, probe *spilled, level int, budget int64) error {
	var sides [2]*partitions
	for n, f := range []*spilled{build, probe} {
		p := s.r.spill.partitions(level)
		defer func() { _ = p.erase() }()
		if err := p.deal(ctx, f); err != nil {
			return err
		}
		sides[n] = p
	}
	for n := range fanout {
		b, p := sides[0].files[n], sides[1].files[n]
		if err := s.partition(ctx, i, b, p, level, budget, 4*b.rows > 3*build.rows); err != nil {
			return err
		}
		for _, f := range []*spilled{b, p} {
			if err := f.erase(); err != nil {
				return err
			}
		}
	}
	return nil
}

// deal deals a file's rows by their keys.
func (p *partitions) deal(ctx context.Context, f *spilled) error {
	rows, err := f.read()
	if err != nil {
		return err
	}
	defer rows.close()
	d := p.dealer()
	for n := 0; ; n++ {
		row, err := rows.next()
		if err == io.EOF {
			return d.flush()
		}
		if err == nil && n%piece == 0 && ctx.Err() != nil {
			err = &sandbox.Error{Op: "columnar", Kind: sandbox.Unavailable, Object: "spill", Err: ctx.Err()}
		}
		if err != nil {
			return err
		}
		c := rowCursor{b: row}
		part := p.byKey(c.text())
		if err := d.keep(part, append(d.row(part), row...)); err != nil {
			return err
		}
	}
}

// stream joins waiting rows with the partition or block that stands for input i. Rows that found something in an earlier block are
// marked in matched; only the last block gives those that found nothing.
func (s *scanner) stream(ctx context.Context, i int, probe *spilled, matched []uint64, last bool) error {
	rows, err := probe.read()
	if err != nil {
		return err
	}
	defer rows.close()
	if s.back[i] == nil {
		s.back[i] = s.newBack(i)
	}
	x, l := s.back[i], s.lookups[i]
	for k, p := range x.found {
		if p != nil {
			s.lookups[k] = p
			defer func() { s.lookups[k] = s.r.lookups[k] }()
		}
	}
	for at := 0; ; {
		if err := ctx.Err(); err != nil {
			return &sandbox.Error{Op: "columnar", Kind: sandbox.Unavailable, Object: x.b.dataset, Err: err}
		}
		n, err := x.fill(rows, s, i, l)
		if n == 0 || err != nil {
			return err
		}
		l.find(s.keys, n)
		if matched != nil {
			s.unmatched(x.f, i, matched, at, last)
		}
		at += n
		whole, err := s.take(ctx, &x.b, i, x.f, l.keepsMisses && last)
		if err == nil && !whole {
			err = s.join(ctx, &x.b, i+1, x.f)
		}
		if err != nil {
			return err
		}
	}
}

// unmatched marks the rows of a frame that found something, the first being row at of its file, and leaves out those without that
// did before.
func (s *scanner) unmatched(f *frame, i int, matched []uint64, at int, last bool) {
	n, ids := 0, s.keys.ids
	for j := range f.sel {
		w, bit := &matched[(at+j)/64], uint64(1)<<((at+j)%64)
		switch {
		case ids[j] != miss:
			*w |= bit
		case last && *w&bit != 0:
			continue
		}
		ids[n], f.sel[n] = ids[j], f.sel[j]
		for k := 1; k < i; k++ {
			f.found[k][n] = f.found[k][j]
		}
		n++
	}
	f.sel = f.sel[:n]
}

// graced has all parts joined with spilled inputs at once, for each of these is read once then, and gives a Partial of each worker.
func (k *Kernel) graced(ctx context.Context, src Source, workers int, merge func(*Partial) error) error {
	parts := src.parts()
	var scanners []*scanner
	var merging sync.Mutex // the order of Partials does not show
	for range max(1, min(workers, fanout)) {
		s := k.r.newScanner()
		s.workers = max(1, min(workers, fanout))
		s.emit = func(p *Partial) error {
			merging.Lock()
			defer merging.Unlock()
			return merge(p)
		}
		scanners = append(scanners, s)
	}
	defer func() {
		for _, s := range scanners {
			s.p.Free()
			s.free()
		}
	}()
	g := k.r.newGrace(scanners)
	defer g.free()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var once sync.Once
	var first error // not what follows from it elsewhere
	err := parallel(parts, len(scanners), func(i int) error {
		s := <-g.pool
		defer func() { g.pool <- s }()
		reader, err := k.open(ctx, src, i)
		if err == nil {
			err = s.scan(ctx, reader, i)
		}
		if err != nil {
			once.Do(func() { first = err })
			cancel()
		}
		return err
	})
	if err != nil {
		return first
	}
	if err := g.finish(ctx); err != nil {
		return err
	}
	for _, s := range scanners {
		if err := merge(s.partial()); err != nil {
			return err
		}
	}
	return nil
}
