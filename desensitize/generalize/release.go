package generalize

import (
	"fmt"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
)

// Release (泛化输出) makes the rows of a solution from a second reading of the table. It holds a count of what the first
// reading saw, so that nothing passes that the solution was not judged on. One goroutine uses it.
type Release struct {
	t       *Table
	quasi   []dictionary // closed
	secret  []dictionary // closed
	cl      classes
	good    []bool
	left    []uint32   // rows of each class still to come
	pairs   [][]uint32 // by sensitive column: the histograms' counts still to come
	index   map[string]uint32
	columns []string // quasi-identifiers, sensitive, kept
	key     []byte
}

// Release prepares the output of a solution of this table. Its columns are the quasi-identifiers, generalised, the
// sensitive ones, and those of keep, unchanged; a column that is none of these stays out.
func (t *Table) Release(s *Solution, keep ...string) (*Release, error) {
	if t.frozen == nil || s == nil || len(s.Levels) != len(t.quasi) {
		return nil, bad("release", "the solution is not one of this table", "")
	}
	r := &Release{t: t, index: map[string]uint32{}}
	seen := map[string]bool{}
	levels := make([]uint8, len(s.Levels))
	for d, q := range t.cfg.Quasi {
		if s.Levels[d] < 0 || s.Levels[d] >= q.Hierarchy.Levels() {
			return nil, bad("release", "the solution is not one of this table", "")
		}
		levels[d] = uint8(s.Levels[d])
		dict := t.quasi[d]
		dict.closed = true
		r.quasi, r.columns = append(r.quasi, dict), append(r.columns, q.Name)
		seen[q.Name] = true
	}
	for _, dict := range t.sensitive {
		dict.closed = true
		r.secret, r.columns = append(r.secret, dict), append(r.columns, dict.name)
		seen[dict.name] = true
	}
	for _, name := range keep {
		if name == "" || seen[name] {
			return nil, bad("column "+name, "a column is named once", "")
		}
		seen[name] = true
		r.columns = append(r.columns, name)
	}
	check, err := t.checkOf(&s.goal)
	if err != nil {
		return nil, err
	}
	f := t.frozen
	newRoller(f, f.base.len()).roll(&r.cl, &f.base, levels)
	r.good, r.left = make([]bool, r.cl.len()), append([]uint32(nil), r.cl.count...)
	for _, h := range r.cl.hist {
		r.pairs = append(r.pairs, append([]uint32(nil), h.count...))
	}
	suppressed := int64(0)
	words := make([]uint64, f.words)
	for i, n := range r.cl.count {
		if r.good[i] = n > 0 && check.grows(&r.cl, i) && check.rest(&r.cl, i); !r.good[i] {
			suppressed += int64(n)
		}
		for w := range words {
			words[w] = r.cl.keys[w][i]
		}
		r.index[string(r.bytes(words))] = uint32(i)
	}
	if suppressed != s.suppressed {
		return nil, bad("release", "the solution is not one of this table", "")
	}
	return r, nil
}

// bytes is the key of a class as text, in scratch.
func (r *Release) bytes(words []uint64) []byte {
	r.key = r.key[:0]
	for _, w := range words {
		r.key = append(r.key, byte(w), byte(w>>8), byte(w>>16), byte(w>>24), byte(w>>32), byte(w>>40), byte(w>>48), byte(w>>56))
	}
	return r.key
}

func changed() error {
	return &sandbox.Error{Op: "generalize", Kind: sandbox.Conflict, Object: "release", Detail: "the rows are not those the solution was found for",
		Hint: "nothing of this release may be used; search again"}
}

// Apply gives the published rows of one record, in their order. The caller releases the result, and holds it back until
// Close has agreed.
func (r *Release) Apply(mem memory.Allocator, rec arrow.Record) (arrow.Record, error) {
	f := r.t.frozen
	rows := int(rec.NumRows())
	quasi, err := r.numbered(rec, r.quasi)
	if err != nil {
		return nil, err
	}
	secret, err := r.numbered(rec, r.secret)
	if err != nil {
		return nil, err
	}
	keep := make([]bool, rows)
	words := make([]uint64, f.words)
	for row := range rows {
		clear(words)
		for d := range f.dims {
			dim := &f.dims[d]
			words[dim.word] |= dim.up[0][r.cl.levels[d]][dim.leaf[quasi[d][row]]]
		}
		class, ok := r.index[string(r.bytes(words))]
		if !ok || r.left[class] == 0 {
			return nil, changed()
		}
		r.left[class]--
		for s := range secret {
			if !r.take(s, class, secret[s][row]) {
				return nil, changed()
			}
		}
		keep[row] = r.good[class]
	}
	var columns []arrow.Array
	defer func() {
		for _, c := range columns {
			c.Release()
		}
	}()
	var fields []arrow.Field
	published := 0
	for _, k := range keep {
		if k {
			published++
		}
	}
	for i, name := range r.columns {
		at := rec.Schema().FieldIndices(name)
		if len(at) != 1 {
			return nil, &sandbox.Error{Op: "generalize", Kind: sandbox.NotFound, Object: "column " + name, Detail: "the record has no such column, or several"}
		}
		var c arrow.Array
		if i < len(f.dims) {
			c = r.generalised(mem, i, quasi[i], keep)
		} else if c, err = chosen(mem, rec.Column(at[0]), keep); err != nil {
			return nil, err
		}
		columns = append(columns, c)
		fields = append(fields, arrow.Field{Name: name, Type: c.DataType(), Nullable: true})
	}
	return array.NewRecord(arrow.NewSchema(fields, nil), columns, int64(published)), nil
}

// take counts one row's sensitive value off its class.
func (r *Release) take(s int, class, value uint32) bool {
	h := &r.cl.hist[s]
	for e := h.from[class]; e < h.from[class+1]; e++ {
		if h.value[e] == value {
			if r.pairs[s][e] == 0 {
				return false
			}
			r.pairs[s][e]--
			return true
		}
	}
	return false
}

func (r *Release) numbered(rec arrow.Record, dicts []dictionary) ([][]uint32, error) {
	out := make([][]uint32, len(dicts))
	for d := range dicts {
		at := rec.Schema().FieldIndices(dicts[d].name)
		if len(at) != 1 {
			return nil, &sandbox.Error{Op: "generalize", Kind: sandbox.NotFound, Object: "column " + dicts[d].name, Detail: "the record has no such column, or several"}
		}
		codes, err := dicts[d].number(rec.Column(at[0]), func(uint32, int) error { return changed() })
		if err != nil {
			return nil, err
		}
		for _, c := range codes {
			if c == unnumbered {
				return nil, changed() // missing, where nothing was
			}
		}
		out[d] = codes
	}
	return out, nil
}

// generalised writes the labels of one quasi-identifier.
func (r *Release) generalised(mem memory.Allocator, d int, codes []uint32, keep []bool) arrow.Array {
	dim, level := &r.t.frozen.dims[d], r.cl.levels[d]
	b := array.NewStringBuilder(mem)
	defer b.Release()
	b.Reserve(len(codes))
	for row, c := range codes {
		if !keep[row] {
			continue
		}
		code := int(dim.up[0][level][dim.leaf[c]] >> dim.shift)
		if dim.labels[level][code] == "" { // missing, or an empty text, which must not be told from it
			b.AppendNull()
			continue
		}
		b.Append(dim.labels[level][code])
	}
	return b.NewStringArray()
}

// chosen copies the rows of a column that are kept, run by run.
func chosen(mem memory.Allocator, col arrow.Array, keep []bool) (arrow.Array, error) {
	var runs []arrow.Array
	defer func() {
		for _, run := range runs {
			run.Release()
		}
	}()
	for row := 0; row < len(keep); row++ {
		if !keep[row] {
			continue
		}
		end := row
		for end < len(keep) && keep[end] {
			end++
		}
		runs = append(runs, array.NewSlice(col, int64(row), int64(end)))
		row = end
	}
	if len(runs) == 0 {
		runs = append(runs, array.NewSlice(col, 0, 0))
	}
	out, err := array.Concatenate(runs, mem)
	if err != nil {
		return nil, &sandbox.Error{Op: "generalize", Kind: sandbox.Invalid, Object: "column of type " + col.DataType().Name(), Detail: "it cannot be kept"}
	}
	return out, nil
}

// Close says whether exactly the rows of the first reading came again.
func (r *Release) Close() error {
	for _, n := range r.left {
		if n > 0 {
			return changed()
		}
	}
	return nil
}

// String shows the shape only.
func (r *Release) String() string { return fmt.Sprintf("release of %d columns", len(r.columns)) }

// GoString shows the shape only.
func (r *Release) GoString() string { return r.String() }
