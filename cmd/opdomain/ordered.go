package main

import (
	"bufio"
	"bytes"
	"container/heap"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// sortedBytes bounds the rows that are in memory while they are put in order.
const sortedBytes = 128 << 20

// ordered writes rows in the order of their bytes, whatever order they came in: nothing about the table's order is left, by which two
// releases of it could be joined. Rows of a class begin alike and so stand together. Above its limit it sorts in files that
// nobody else can open, which go when it is closed.
type ordered struct {
	limit int
	data  []byte
	rows  [][2]int // of data
	runs  []*os.File
}

// add takes one row, its line end included.
func (o *ordered) add(row []byte) error {
	if len(o.data)+len(row) > o.limit && len(o.rows) > 0 {
		if err := o.spill(); err != nil {
			return err
		}
	}
	o.rows = append(o.rows, [2]int{len(o.data), len(o.data) + len(row)})
	o.data = append(o.data, row...)
	return nil
}

func (o *ordered) sort() {
	slices.SortFunc(o.rows, func(a, b [2]int) int { return bytes.Compare(o.data[a[0]:a[1]], o.data[b[0]:b[1]]) })
}

func unsorted(error) error {
	return &sandbox.Error{Op: "anonymize", Kind: sandbox.Unavailable, Object: "rows in order", Detail: "the folder for temporary files takes no more", Hint: "name another one in TMPDIR"}
}

// spill writes a sorted run: each row behind its length.
func (o *ordered) spill() error {
	f, err := os.CreateTemp("", "opdomain-rows-*")
	if err != nil {
		return unsorted(err)
	}
	o.runs = append(o.runs, f)
	if err := os.Remove(f.Name()); err != nil {
		return unsorted(err)
	}
	o.sort()
	w := bufio.NewWriterSize(f, 1<<20)
	var size [4]byte
	for _, r := range o.rows {
		binary.LittleEndian.PutUint32(size[:], uint32(r[1]-r[0]))
		if _, err := w.Write(size[:]); err != nil {
			return unsorted(err)
		}
		if _, err := w.Write(o.data[r[0]:r[1]]); err != nil {
			return unsorted(err)
		}
	}
	if err := w.Flush(); err != nil {
		return unsorted(err)
	}
	if _, err := f.Seek(0, io.SeekStart); err != nil {
		return unsorted(err)
	}
	o.data, o.rows = o.data[:0], o.rows[:0]
	return nil
}

// flush writes all rows in order.
func (o *ordered) flush(w io.Writer) error {
	if len(o.runs) == 0 {
		o.sort()
		for _, r := range o.rows {
			if _, err := w.Write(o.data[r[0]:r[1]]); err != nil {
				return err
			}
		}
		return nil
	}
	if err := o.spill(); err != nil {
		return err
	}
	var all runs
	for _, f := range o.runs {
		r := &sortedRun{from: bufio.NewReaderSize(f, 1<<18)}
		switch err := r.next(); {
		case err == io.EOF:
		case err != nil:
			return unsorted(err)
		default:
			all = append(all, r)
		}
	}
	heap.Init(&all)
	for len(all) > 0 {
		if _, err := w.Write(all[0].row); err != nil {
			return err
		}
		switch err := all[0].next(); {
		case err == io.EOF:
			heap.Pop(&all)
		case err != nil:
			return unsorted(err)
		default:
			heap.Fix(&all, 0)
		}
	}
	return nil
}

// Close gives up the files.
func (o *ordered) Close() (err error) {
	for _, f := range o.runs {
		err = errors.Join(err, f.Close())
	}
	clear(o.data[:cap(o.data)])
	return err
}

type sortedRun struct {
	from *bufio.Reader
	row  []byte
}

func (r *sortedRun) next() error {
	var size [4]byte
	if _, err := io.ReadFull(r.from, size[:]); err != nil {
		return err
	}
	r.row = slices.Grow(r.row[:0], int(binary.LittleEndian.Uint32(size[:])))[:binary.LittleEndian.Uint32(size[:])]
	if _, err := io.ReadFull(r.from, r.row); err != nil {
		return io.ErrUnexpectedEOF
	}
	return nil
}

type runs []*sortedRun

func (r runs) Len() int           { return len(r) }
func (r runs) Less(i, j int) bool { return bytes.Compare(r[i].row, r[j].row) < 0 }
func (r runs) Swap(i, j int)      { r[i], r[j] = r[j], r[i] }
func (r *runs) Push(x any)        { *r = append(*r, x.(*sortedRun)) }
func (r *runs) Pop() any {
	last := len(*r) - 1
	x := (*r)[last]
	*r = (*r)[:last]
	return x
}
