package psi

import (
	"encoding/binary"
	"hash"
	"sync"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/sm/group"
)

const (
	batchSize  = 1024 // elements of a message
	elementTag = "opdomain/psi/v1/" + group.Suite
	paddingTag = "opdomain/psi/v1/padding/" + group.Suite
)

// batches gives the number of messages for so many elements, span the places of one.
func batches(size int) int { return (size + batchSize - 1) / batchSize }

func span(k, size int) (from, to int) { return k * batchSize, min((k+1)*batchSize, size) }

// worker is what one goroutine computes with.
type worker struct {
	element, padding *group.Hasher
	h                hash.Hash
	offsets          []int32
	data             []byte
	points           []group.Point
}

func newWorker() (*worker, error) {
	e, err := group.NewHasher(elementTag)
	if err != nil {
		return nil, err
	}
	p, err := group.NewHasher(paddingTag)
	if err != nil {
		return nil, err
	}
	return &worker{element: e, padding: p, h: sm.NewHash(), points: make([]group.Point, batchSize)}, nil
}

// hashed writes the points of the places from…to of the order into w.points. Padding is hashed under a tag of its own: it meets no
// element and no other padding.
func (w *worker) hashed(m *masked, from, to int) {
	for _, pad := range []bool{false, true} {
		w.offsets, w.data = append(w.offsets[:0], 0), w.data[:0]
		for _, r := range m.order[from:to] {
			switch {
			case r&padding == 0 && !pad:
				w.data = append(w.data, m.set.row(r)...)
			case r&padding != 0 && pad:
				w.data = binary.BigEndian.AppendUint32(append(w.data, m.pad[:]...), r)
			default:
				continue
			}
			w.offsets = append(w.offsets, int32(len(w.data)))
		}
		// Elements go to the front, padding behind them; place gives each its own.
		if n := len(w.offsets) - 1; !pad {
			w.element.Points(w.points[:n], w.offsets, w.data)
		} else {
			w.padding.Points(w.points[to-from-n:to-from], w.offsets, w.data)
		}
	}
}

// batch appends message k of the points: each hashed element times the key, then the encrypted values of all.
func (w *worker) batch(m *masked, k int, out []byte) ([]byte, error) {
	from, to := span(k, len(m.order))
	w.hashed(m, from, to)
	element, pad := 0, to-from
	for _, r := range m.order[from:to] {
		if r&padding != 0 {
			pad--
		}
	}
	for _, r := range m.order[from:to] {
		at := &element
		if r&padding != 0 {
			at = &pad
		}
		p := m.key.Mult(&w.points[*at])
		out = p.Append(out)
		*at++
	}
	if m.sum == nil {
		return out, nil
	}
	return m.sum.encrypt(out, m, k, from, to)
}

// tag is what the two sides compare of a point that both have multiplied.
func (w *worker) tag(session *[sm.Size]byte, p *group.Point) (tag [tagSize]byte) {
	var in [len(tagContext) + sm.Size + group.PointSize]byte
	copy(in[:], tagContext)
	copy(in[len(tagContext):], session[:])
	p.Append(in[:len(tagContext)+sm.Size])
	var sum [sm.Size]byte
	w.h.Reset()
	w.h.Write(in[:])
	w.h.Sum(sum[:0])
	return [tagSize]byte(sum[:tagSize])
}

const tagContext = "opdomain/psi/tag/v1"

// answer multiplies the peer's points and writes their tags; what is no point is the peer's fault.
func (w *worker) answer(key *group.Scalar, session *[sm.Size]byte, in []byte, n int, out []byte) ([]byte, error) {
	for i := range n {
		p, err := group.ParsePoint(in[i*group.PointSize : (i+1)*group.PointSize])
		if err != nil {
			return nil, err
		}
		q := key.Mult(&p)
		t := w.tag(session, &q)
		out = append(out, t[:]...)
	}
	return out, nil
}

// task is one batch in the hands of a worker.
type task struct {
	k    int
	in   []byte
	out  []byte
	done chan error
}

func (t *task) wait() error { return <-t.done }

type order struct {
	t   *task
	run func(w *worker, t *task) error
}

// pool runs tasks on so many goroutines until close, which waits for them.
type pool struct {
	orders chan order
	wg     sync.WaitGroup
}

func newPool(workers int) (*pool, error) {
	p := &pool{orders: make(chan order, workers)}
	ws := make([]*worker, workers)
	for i := range ws {
		w, err := newWorker()
		if err != nil {
			return nil, err
		}
		ws[i] = w
	}
	for _, w := range ws {
		p.wg.Go(func() {
			for o := range p.orders {
				o.t.done <- o.run(w, o.t)
			}
		})
	}
	return p, nil
}

func (p *pool) do(t *task, run func(w *worker, t *task) error) *task {
	t.done = make(chan error, 1)
	p.orders <- order{t, run}
	return t
}

func (p *pool) close() {
	close(p.orders)
	p.wg.Wait()
}
