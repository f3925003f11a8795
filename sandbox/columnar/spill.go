package columnar

import (
	"encoding/binary"
	"errors"
	"io"
	"math/bits"
	"sync"
	"sync/atomic"

	"github.com/opdomain/opdomain/sandbox"
)

// Spill (落盘密封) makes a file for what does not fit in memory. Whoever gives it seals what is written: rows are grade-4 data.
type Spill func() (SpillFile, error)

// SpillFile (落盘密封文件) is written once from its start, then read any number of times, also by several at once. Close erases it. What
// it reads is authenticated: bytes that were changed are Tampered.
type SpillFile interface {
	io.Writer
	Open() (io.ReadCloser, error)
	Close() error
}

const (
	fanoutBits = 4
	fanout     = 1 << fanoutBits // partitions of one pass
	maxLevel   = 12              // passes over one row; what is together then has one key
	heldBytes  = 8 << 10         // of one partition, between two writes
)

// spiller is what all spilled files of a run share.
type spiller struct {
	create Spill
	max    int64
	held   atomic.Int64 // bytes
	seed   seed         // of partitions by key

	mu    sync.Mutex
	files map[*spilled]bool
}

// newSpiller draws its seed unless one is given.
func newSpiller(create Spill, max int, given uint64) *spiller {
	s := &spiller{create: create, max: int64(max), seed: newSeed(), files: map[*spilled]bool{}}
	if given != 0 {
		s.seed = seed{given | 1, given*golden | 1}
	}
	return s
}

// free erases what is left.
func (s *spiller) free() {
	s.mu.Lock()
	var left []*spilled
	for f := range s.files {
		left = append(left, f)
	}
	s.mu.Unlock()
	for _, f := range left {
		_ = f.erase() // the run has its answer or its error; whoever gave the files sweeps them
	}
}

// spilled is a file of rows.
type spilled struct {
	s     *spiller
	mu    sync.Mutex
	f     SpillFile // nil before the first row
	rows  int64
	bytes int64
}

func (s *spiller) file() *spilled { return &spilled{s: s} }

// append writes rows; any number of goroutines may.
func (f *spilled) append(b []byte, rows int) error {
	if len(b) == 0 {
		return nil
	}
	if f.s.held.Add(int64(len(b))) > f.s.max {
		f.s.held.Add(-int64(len(b)))
		return tooLarge("answer", "bytes spilled to disk", int(f.s.max))
	}
	f.mu.Lock()
	defer f.mu.Unlock()
	f.bytes += int64(len(b))
	if f.f == nil {
		x, err := f.s.create()
		if err != nil {
			return wrap("spill", err)
		}
		f.f = x
		f.s.mu.Lock()
		f.s.files[f] = true
		f.s.mu.Unlock()
	}
	f.rows += int64(rows)
	if _, err := f.f.Write(b); err != nil {
		return wrap("spill", err)
	}
	return nil
}

// erase gives the file's room back.
func (f *spilled) erase() error {
	f.s.mu.Lock()
	delete(f.s.files, f)
	f.s.mu.Unlock()
	f.mu.Lock()
	defer f.mu.Unlock()
	f.s.held.Add(-f.bytes)
	f.bytes, f.rows = 0, 0
	if f.f == nil {
		return nil
	}
	err := f.f.Close()
	if f.f = nil; err != nil {
		return wrap("spill", err)
	}
	return nil
}

// read starts at the first row.
func (f *spilled) read() (*rowReader, error) {
	if f.f == nil {
		return &rowReader{eof: true}, nil
	}
	r, err := f.f.Open()
	if err != nil {
		return nil, wrap("spill", err)
	}
	return &rowReader{r: r, buf: make([]byte, 64<<10)}, nil
}

// rowReader gives rows: four bytes of length, little endian, and the row.
type rowReader struct {
	r        io.ReadCloser
	buf      []byte
	from, to int
	eof      bool
}

// next gives a row that stands until the next call; io.EOF behind the last.
func (r *rowReader) next() ([]byte, error) {
	if err := r.fill(4); err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint32(r.buf[r.from:]))
	if err := r.fill(4 + n); err == io.EOF {
		return nil, notSpilled()
	} else if err != nil {
		return nil, err
	}
	row := r.buf[r.from+4:][:n]
	r.from += 4 + n
	return row, nil
}

// notSpilled says that a sealed file holds no rows of this run: what wrote it and what reads it differ.
func notSpilled() error { return fail(sandbox.Internal, "spill", "a row is read as it was written") }

// fill makes n bytes stand in buf; io.EOF at the end of the file.
func (r *rowReader) fill(n int) error {
	for r.to-r.from < n {
		if r.eof {
			if r.to != r.from {
				return notSpilled()
			}
			return io.EOF
		}
		if r.from > 0 {
			r.to = copy(r.buf, r.buf[r.from:r.to])
			r.from = 0
		}
		if n > len(r.buf) {
			r.buf = append(r.buf, make([]byte, n-len(r.buf))...)
		}
		k, err := r.r.Read(r.buf[r.to:])
		r.to += k
		if err == io.EOF {
			r.eof = true
		} else if err != nil {
			return wrap("spill", err)
		}
	}
	return nil
}

func (r *rowReader) close() {
	clear(r.buf)
	if r.r != nil {
		_ = r.r.Close()
	}
}

// partitions are files among which rows are dealt by their keys.
type partitions struct {
	s     *spiller
	level int
	files [fanout]*spilled
}

func (s *spiller) partitions(level int) *partitions {
	p := &partitions{s: s, level: level}
	for i := range p.files {
		p.files[i] = s.file()
	}
	return p
}

// erase gives the room of all of them back.
func (p *partitions) erase() error {
	var errs []error
	for _, f := range p.files {
		errs = append(errs, f.erase())
	}
	return errors.Join(errs...)
}

// byKey gives a key's partition: of every level other bits of one hash.
func (p *partitions) byKey(key []byte) int {
	return int(p.s.seed.bytes(key)>>(64-fanoutBits*(p.level+1))) & (fanout - 1)
}

// bytes is a keyed hash of a key: equal for equal seeds, in any process.
func (s seed) bytes(b []byte) uint64 {
	h := uint64(len(b))
	for ; len(b) >= 8; b = b[8:] {
		h = s.mix(h^golden, binary.LittleEndian.Uint64(b))
	}
	var rest [8]byte
	copy(rest[:], b)
	return s.mix(s.mix(h^golden, binary.LittleEndian.Uint64(rest[:])), h)
}

// mix gives 64 bits, for partitions of every level are by bits of their own.
func (s seed) mix(a, b uint64) uint64 {
	hi, lo := bits.Mul64(a^s.a, b^s.b)
	return hi ^ lo
}

// dealer gathers one goroutine's rows for partitions.
type dealer struct {
	to   *partitions
	held [fanout][]byte
	rows [fanout]int
}

func (p *partitions) dealer() *dealer { return &dealer{to: p} }

// row gives the buffer of a partition to append a row to, and keep takes it back.
func (d *dealer) row(part int) []byte { return append(d.held[part], 0, 0, 0, 0) }

func (d *dealer) keep(part int, b []byte) error {
	start := len(d.held[part])
	binary.LittleEndian.PutUint32(b[start:], uint32(len(b)-start-4))
	d.held[part] = b
	d.rows[part]++
	if len(b) < heldBytes {
		return nil
	}
	return d.flushOne(part)
}

func (d *dealer) flushOne(part int) error {
	err := d.to.files[part].append(d.held[part], d.rows[part])
	clear(d.held[part])
	if d.held[part], d.rows[part] = d.held[part][:0], 0; cap(d.held[part]) > 4*heldBytes {
		d.held[part] = nil
	}
	return err
}

func (d *dealer) flush() error {
	for p := range d.held {
		if err := d.flushOne(p); err != nil {
			return err
		}
	}
	return nil
}

// rowCursor reads a row; once something is not there, all that follows is zero.
type rowCursor struct {
	b   []byte
	bad bool
}

func (c *rowCursor) take(n int) []byte {
	if c.bad || n > len(c.b) {
		c.bad = true
		return make([]byte, n&0xffff)
	}
	out := c.b[:n]
	c.b = c.b[n:]
	return out
}

func (c *rowCursor) u8() uint8 { return c.take(1)[0] }

func (c *rowCursor) u32() uint32 { return binary.LittleEndian.Uint32(c.take(4)) }

func (c *rowCursor) u64() uint64 { return binary.LittleEndian.Uint64(c.take(8)) }

// text is four bytes of length and the bytes.
func (c *rowCursor) text() []byte { return c.take(int(c.u32())) }

func appendText(b, text []byte) []byte {
	return append(binary.LittleEndian.AppendUint32(b, uint32(len(text))), text...)
}

func appendWord32(b []byte, w uint32) []byte { return binary.LittleEndian.AppendUint32(b, w) }

func appendWords(b []byte, words ...uint64) []byte {
	for _, w := range words {
		b = binary.LittleEndian.AppendUint64(b, w)
	}
	return b
}
