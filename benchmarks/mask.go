package main

import (
	"context"
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/desensitize/mask"
)

// maskRows is the rows of each masked column, in batches.
const maskRows = 4 << 20

// recycler gives the buffers of one operation to the next one, so that a line measures the operation, not the pages of the
// operating system. One goroutine uses it.
type recycler struct{ free [][]byte }

func (r *recycler) Allocate(size int) []byte {
	for i, b := range r.free {
		if cap(b) >= size && cap(b) <= 2*size+64 {
			r.free = append(r.free[:i], r.free[i+1:]...)
			return b[:size]
		}
	}
	return memory.DefaultAllocator.Allocate(size)
}

func (r *recycler) Reallocate(size int, b []byte) []byte {
	if cap(b) >= size {
		return b[:size]
	}
	out := r.Allocate(size)
	copy(out, b)
	r.Free(b)
	return out
}

func (r *recycler) Free(b []byte) {
	if cap(b) > 0 && len(r.free) < 16 {
		r.free = append(r.free, b[:0])
	}
}

// texts makes batches of one column.
func texts(value func(row int) string) (out []arrow.Array, bytes int64) {
	for at := 0; at < maskRows; at += batchRows {
		b := array.NewStringBuilder(memory.DefaultAllocator)
		for i := range batchRows {
			v := value(at + i)
			bytes += int64(len(v))
			b.Append(v)
		}
		out = append(out, b.NewArray())
	}
	return out, bytes
}

// maskCases measures masking beside copying the same bytes: an 18-character number leaves its first 6 and last 4 characters.
func maskCases() ([]benchmark, error) {
	ids, size := texts(func(row int) string { return fmt.Sprintf("440305%08d%04d", 19000101+row%10000, row%10000) })
	mem := &recycler{}
	out := []benchmark{{name: "copy the bytes of 18-character numbers, batch by batch", rows: maskRows, bytes: size, batches: len(ids), run: func(context.Context) error {
		for _, a := range ids {
			raw := a.(*array.String).ValueBytes()
			b := mem.Allocate(len(raw))
			copy(b, raw)
			mem.Free(b)
		}
		return nil
	}}}
	type operation struct {
		name   string
		op     *mask.Text
		err    error
		values []arrow.Array
		bytes  int64
	}
	s := mask.Style{}
	var all []operation
	add := func(name string, values []arrow.Array, bytes int64) func(*mask.Text, error) {
		return func(op *mask.Text, err error) { all = append(all, operation{name, op, err, values, bytes}) }
	}
	add("mask: first 6 and last 4 of 18-character numbers stay", ids, size)(mask.Keep(6, 4, s))
	mixed, mixedSize := texts(func(row int) string { return fmt.Sprintf("440305%08d%04d", 19000101+row%10000, row%10000)[:15+row%4] })
	add("mask: the same, 15 to 18 characters", mixed, mixedSize)(mask.Keep(6, 4, s))
	add("mask: resident id, check character held", ids, size)(mask.ResidentID(s))
	mobiles, n := texts(func(row int) string { return fmt.Sprintf("130%08d", row) })
	add("mask: mobile", mobiles, n)(mask.Mobile(s))
	family := []string{"张三", "欧阳娜娜", "王小明", "阿卜杜拉·买买提"}
	names, n := texts(func(row int) string { return family[row%4] })
	add("mask: name", names, n)(mask.Name(mask.Surname, s))
	places, n := texts(func(row int) string {
		return fmt.Sprintf("广东省深圳市龙华区民治街道春华路%d号", row%1000)
	})
	add("mask: address", places, n)(mask.Address(s))
	for _, o := range all {
		if o.err != nil {
			return nil, o.err
		}
		out = append(out, benchmark{name: o.name, rows: maskRows, bytes: o.bytes, batches: len(o.values), run: func(context.Context) error {
			for _, a := range o.values {
				m, err := o.op.Apply(mem, a)
				if err != nil {
					return err
				}
				m.Release()
			}
			return nil
		}})
	}
	return out, nil
}
