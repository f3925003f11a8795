package mask

import (
	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
)

// dictionary masks the values once and numbers the results anew.
func (t *Text) dictionary(mem memory.Allocator, a *array.Dictionary, values *array.String) (arrow.Array, Count, error) {
	fate := make([]byte, values.Len())
	done, _, err := t.rows(mem, values, fate)
	if err != nil {
		return nil, Count{}, err
	}
	defer done.Release()
	out, count, err := renumber(mem, a, done.(*array.String), fate)
	return out, count, err
}

// renumber gives a's rows over values, which stand for a's own by their places: equal ones once, unused ones not at all, in
// the order of their first use. fate, by place, is counted by rows.
func renumber(mem memory.Allocator, a *array.Dictionary, values *array.String, fate []byte) (arrow.Array, Count, error) {
	t := a.DataType().(*arrow.DictionaryType)
	const unseen = -1
	place := make([]int, values.Len()) // of each old value in the new dictionary
	for i := range place {
		place[i] = unseen
	}
	known := map[string]int{}
	builder := array.NewStringBuilder(mem)
	defer builder.Release()
	indices := array.NewBuilder(mem, t.IndexType)
	defer indices.Release()
	indices.Reserve(a.Len())
	put := putter(indices)
	if put == nil {
		return nil, Count{}, wrongType("a dictionary", a)
	}
	var count Count
	for i := range a.Len() {
		if a.IsNull(i) {
			indices.AppendNull()
			continue
		}
		old := a.GetValueIndex(i)
		if old < 0 || old >= len(place) {
			return nil, Count{}, invalid("column", "a dictionary's indices lie in it")
		}
		if values.IsNull(old) {
			indices.AppendNull()
			continue
		}
		if place[old] == unseen {
			v := values.Value(old)
			at, ok := known[v]
			if !ok {
				at = builder.Len()
				known[v] = at
				builder.Append(v)
			}
			place[old] = at
		}
		switch fate[old] {
		case masked:
			count.Masked++
		case failed:
			count.Failed++
		}
		put(place[old])
	}
	dict := builder.NewArray()
	defer dict.Release()
	index := indices.NewArray()
	defer index.Release()
	return array.NewDictionaryArray(t, index, dict), count, nil
}

// putter appends an index to a builder with room for it; there are never more values than before.
func putter(b array.Builder) func(int) {
	switch b := b.(type) {
	case *array.Int8Builder:
		return func(i int) { b.UnsafeAppend(int8(i)) }
	case *array.Int16Builder:
		return func(i int) { b.UnsafeAppend(int16(i)) }
	case *array.Int32Builder:
		return func(i int) { b.UnsafeAppend(int32(i)) }
	case *array.Int64Builder:
		return func(i int) { b.UnsafeAppend(int64(i)) }
	case *array.Uint8Builder:
		return func(i int) { b.UnsafeAppend(uint8(i)) }
	case *array.Uint16Builder:
		return func(i int) { b.UnsafeAppend(uint16(i)) }
	case *array.Uint32Builder:
		return func(i int) { b.UnsafeAppend(uint32(i)) }
	case *array.Uint64Builder:
		return func(i int) { b.UnsafeAppend(uint64(i)) }
	}
	return nil
}
