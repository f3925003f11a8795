package psi

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/binary"
	"errors"
	"io"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// Spill (落盘密封) makes a file for what memory does not hold. Whoever gives it seals what is written.
type Spill func() (SpillFile, error)

// SpillFile (落盘密封文件) is written once from its start, then read. Close erases it. What it reads is authenticated.
type SpillFile interface {
	io.Writer
	Open() (io.ReadCloser, error)
	Close() error
}

const (
	tagSize    = 16
	recordSize = tagSize + 4
	maxRuns    = 256
)

// record is a tag and, big endian, the place that it belongs to.
type record [recordSize]byte

func (r *record) place() uint32 { return binary.BigEndian.Uint32(r[tagSize:]) }

func byTag(a, b record) int {
	if c := cmp.Compare(binary.BigEndian.Uint64(a[:]), binary.BigEndian.Uint64(b[:])); c != 0 {
		return c
	}
	return bytes.Compare(a[8:tagSize], b[8:tagSize])
}

var errDuplicate = errors.New("a tag comes twice")

// shelf sorts records by tag: in memory, and in sealed runs what is over the limit.
type shelf struct {
	recs   []record
	max    int
	spill  Spill
	runs   []SpillFile
	sorted bool
}

// newShelf makes one for at most size records and about so many bytes of memory.
func newShelf(size int, memory int64, spill Spill) (*shelf, error) {
	s := &shelf{max: int(min(int64(size), max(memory/recordSize, 1))), spill: spill}
	if runs := (size + s.max - 1) / s.max; runs > 1 && spill == nil || runs > maxRuns {
		return nil, &sandbox.Error{Op: "psi: memory", Kind: sandbox.TooLarge, Object: "tags", Detail: "the sets do not fit in the memory that is allowed",
			Hint: "allow more memory, or give a place for sealed files"}
	}
	s.recs = make([]record, 0, s.max)
	return s, nil
}

func (s *shelf) add(tag *[tagSize]byte, place uint32) error {
	if len(s.recs) == s.max {
		if err := s.flush(); err != nil {
			return err
		}
	}
	var r record
	copy(r[:], tag[:])
	binary.BigEndian.PutUint32(r[tagSize:], place)
	s.recs = append(s.recs, r)
	return nil
}

func (s *shelf) flush() error {
	if s.spill == nil || len(s.runs) == maxRuns {
		return &sandbox.Error{Op: "psi: memory", Kind: sandbox.Internal, Object: "tags", Detail: "more records than were planned"}
	}
	slices.SortFunc(s.recs, byTag)
	f, err := s.spill()
	if err != nil {
		return err
	}
	s.runs = append(s.runs, f)
	w := bufio.NewWriterSize(f, 64<<10)
	for i := range s.recs {
		if _, err := w.Write(s.recs[i][:]); err != nil {
			return err
		}
	}
	s.recs = s.recs[:0]
	return w.Flush()
}

// close erases the runs and clears the memory.
func (s *shelf) close() {
	for _, f := range s.runs {
		_ = f.Close() // the job has its result or its error; whoever gave the files sweeps them
	}
	clear(s.recs[:cap(s.recs)])
	s.runs, s.recs = nil, nil
}

// source is a sorted run.
type source struct {
	head record
	recs []record // in memory
	r    io.Reader
}

func (s *source) next() (bool, error) {
	if s.r == nil {
		if len(s.recs) == 0 {
			return false, nil
		}
		s.head, s.recs = s.recs[0], s.recs[1:]
		return true, nil
	}
	_, err := io.ReadFull(s.r, s.head[:])
	if err == io.EOF {
		return false, nil
	}
	return err == nil, err
}

// merge gives the records of a shelf by tag, and errDuplicate where a tag comes twice.
type merge struct {
	heap []*source
	open []io.Closer
	last record
	any  bool
}

// merge may be called more than once; nothing is added behind the first.
func (s *shelf) merge() (*merge, error) {
	if !s.sorted {
		slices.SortFunc(s.recs, byTag)
		s.sorted = true
	}
	m := &merge{}
	sources := []*source{{recs: s.recs}}
	for _, f := range s.runs {
		r, err := f.Open()
		if err != nil {
			m.close()
			return nil, err
		}
		m.open = append(m.open, r)
		sources = append(sources, &source{r: bufio.NewReaderSize(r, 64<<10)})
	}
	for _, x := range sources {
		ok, err := x.next()
		if err != nil {
			m.close()
			return nil, err
		}
		if ok {
			m.heap = append(m.heap, x)
		}
	}
	for i := len(m.heap)/2 - 1; i >= 0; i-- {
		m.sink(i)
	}
	return m, nil
}

func (m *merge) sink(i int) {
	for {
		c := 2*i + 1
		if c >= len(m.heap) {
			return
		}
		if c+1 < len(m.heap) && byTag(m.heap[c+1].head, m.heap[c].head) < 0 {
			c++
		}
		if byTag(m.heap[i].head, m.heap[c].head) <= 0 {
			return
		}
		m.heap[i], m.heap[c] = m.heap[c], m.heap[i]
		i = c
	}
}

func (m *merge) next() (r record, ok bool, err error) {
	if len(m.heap) == 0 {
		return r, false, nil
	}
	r = m.heap[0].head
	more, err := m.heap[0].next()
	if err != nil {
		return r, false, err
	}
	if !more {
		n := len(m.heap) - 1
		m.heap[0] = m.heap[n]
		m.heap = m.heap[:n]
	}
	m.sink(0)
	if m.any && byTag(m.last, r) == 0 {
		return r, false, errDuplicate
	}
	m.last, m.any = r, true
	return r, true, nil
}

func (m *merge) close() {
	for _, c := range m.open {
		_ = c.Close()
	}
	m.heap = nil
}

// distinct reads a shelf through and gives errDuplicate where a tag comes twice.
func (s *shelf) distinct() error {
	m, err := s.merge()
	if err != nil {
		return err
	}
	defer m.close()
	for {
		if _, ok, err := m.next(); !ok || err != nil {
			return err
		}
	}
}

// common calls visit with the records of both shelves that have a tag in common.
func common(a, b *shelf, visit func(x, y *record) error) error {
	m, err := a.merge()
	if err != nil {
		return err
	}
	defer m.close()
	n, err := b.merge()
	if err != nil {
		return err
	}
	defer n.close()
	x, okx, err := m.next()
	if err != nil {
		return err
	}
	y, oky, err := n.next()
	for err == nil && (okx || oky) { // to the end of both, for what comes twice
		c := 0
		switch {
		case !okx:
			c = 1
		case !oky:
			c = -1
		default:
			c = byTag(x, y)
		}
		if c == 0 {
			if err := visit(&x, &y); err != nil {
				return err
			}
		}
		if c <= 0 {
			if x, okx, err = m.next(); err != nil {
				return err
			}
		}
		if c >= 0 {
			y, oky, err = n.next()
		}
	}
	return err
}

// sequence keeps bytes in the order they came, in memory up to a limit and else in one sealed file.
type sequence struct {
	mem   []byte
	max   int64
	spill Spill
	f     SpillFile
	w     *bufio.Writer
}

func newSequence(size, memory int64, spill Spill) (*sequence, error) {
	s := &sequence{max: memory, spill: spill}
	if size <= memory {
		s.mem = make([]byte, 0, size)
	} else if spill == nil {
		return nil, &sandbox.Error{Op: "psi: memory", Kind: sandbox.TooLarge, Object: "tags", Detail: "the sets do not fit in the memory that is allowed",
			Hint: "allow more memory, or give a place for sealed files"}
	}
	return s, nil
}

func (s *sequence) write(b []byte) error {
	if s.mem != nil {
		s.mem = append(s.mem, b...)
		return nil
	}
	if s.f == nil {
		f, err := s.spill()
		if err != nil {
			return err
		}
		s.f, s.w = f, bufio.NewWriterSize(f, 64<<10)
	}
	_, err := s.w.Write(b)
	return err
}

func (s *sequence) open() (io.Reader, func(), error) {
	if s.f == nil {
		return bytes.NewReader(s.mem), func() {}, nil
	}
	if err := s.w.Flush(); err != nil {
		return nil, nil, err
	}
	r, err := s.f.Open()
	if err != nil {
		return nil, nil, err
	}
	return bufio.NewReaderSize(r, 64<<10), func() { _ = r.Close() }, nil
}

func (s *sequence) close() {
	if s.f != nil {
		_ = s.f.Close()
	}
	clear(s.mem)
}
