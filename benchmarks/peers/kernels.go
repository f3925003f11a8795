package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"math"
	"strings"
	"unsafe"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox/columnar/vector"
)

// Here the kernels stand alone, composed over Arrow batches without subjects and evidence: a day, a region of 300 as a dictionary, an
// amount in fen. It says what evidence costs, and holds the kernels to DuckDB, not the engine.

const (
	step   = 1024 // rows filtered before they are grouped, so that the selection stays in the first cache
	cutDay = firstDay + 730
	cutFen = 10000
)

// facts is the table of the kernels; of a nullable one, one day and one amount in twenty are missing.
type facts struct {
	name string
	recs []arrow.Record
}

// loadFacts makes the table in both programs. Regions are codes of 16 bits in an Arrow dictionary; codes of 32 bits stand beside.
func loadFacts(ctx context.Context, db *sql.DB, name string, nulls bool, rows int) (*facts, error) {
	day, amount := drawn(3, days), drawn(4, 20000)
	if nulls {
		day, amount = fmt.Sprintf("CASE WHEN %s > 0 THEN %s END", drawn(0, 20), day), fmt.Sprintf("CASE WHEN %s > 0 THEN %s END", drawn(1, 20), amount)
	}
	for _, text := range []string{
		"DROP TABLE IF EXISTS " + name, "DROP TYPE IF EXISTS " + name + "_region",
		fmt.Sprintf("CREATE TYPE %s_region AS ENUM (SELECT '4403' || lpad(r::VARCHAR, 3, '0') FROM range(%d) t(r))", name, regions),
		fmt.Sprintf(`CREATE TABLE %s AS SELECT code, ('4403' || lpad(code::VARCHAR, 3, '0'))::%s_region AS named, '4403' || lpad(code::VARCHAR, 3, '0') AS region, day, amount
			FROM (SELECT %s::USMALLINT AS code, DATE '2020-01-01' + (%s)::INTEGER AS day, %s AS amount FROM range(%d) r(i))`, name, name, drawn(2, regions), day, amount, rows),
	} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return nil, err
		}
	}
	names := array.NewStringBuilder(memory.DefaultAllocator)
	for r := range regions {
		names.Append(fmt.Sprintf("4403%03d", r))
	}
	dictionary := names.NewArray()
	kind := &arrow.DictionaryType{IndexType: arrow.PrimitiveTypes.Uint16, ValueType: arrow.BinaryTypes.String}
	schema := arrow.NewSchema([]arrow.Field{{Name: "region", Type: kind}, {Name: "code", Type: arrow.PrimitiveTypes.Uint32},
		{Name: "day", Type: arrow.FixedWidthTypes.Date32, Nullable: nulls}, {Name: "amount", Type: arrow.PrimitiveTypes.Int64, Nullable: nulls}}, nil)
	f := &facts{name: name}
	for from := 0; from < rows; from += batchRows {
		codes, wide := array.NewUint16Builder(memory.DefaultAllocator), array.NewUint32Builder(memory.DefaultAllocator)
		dates, amounts := array.NewDate32Builder(memory.DefaultAllocator), array.NewInt64Builder(memory.DefaultAllocator)
		for i := int64(from); i < int64(min(rows, from+batchRows)); i++ {
			codes.Append(uint16(draw(i, 2, regions)))
			wide.Append(uint32(draw(i, 2, regions)))
			if nulls && draw(i, 0, 20) == 0 {
				dates.AppendNull()
			} else {
				dates.Append(arrow.Date32(firstDay + draw(i, 3, days)))
			}
			if nulls && draw(i, 1, 20) == 0 {
				amounts.AppendNull()
			} else {
				amounts.Append(draw(i, 4, 20000))
			}
		}
		cols := []arrow.Array{array.NewDictionaryArray(kind, codes.NewArray(), dictionary), wide.NewArray(), dates.NewArray(), amounts.NewArray()}
		f.recs = append(f.recs, array.NewRecord(schema, cols, int64(cols[1].Len())))
	}
	return f, nil
}

// piece is one batch as the kernels see it.
type piece struct {
	codes   []uint16
	wide    []uint32
	days    []int32
	amounts []int64
	dayOK   []byte // nil when none is missing in the batch
	amtOK   []byte
}

func view(rec arrow.Record) (p piece) {
	day, amount := rec.Column(2).(*array.Date32), rec.Column(3).(*array.Int64)
	d := day.Date32Values()
	p = piece{codes: rec.Column(0).(*array.Dictionary).Indices().(*array.Uint16).Uint16Values(), wide: rec.Column(1).(*array.Uint32).Uint32Values(),
		days: unsafe.Slice((*int32)(unsafe.Pointer(unsafe.SliceData(d))), len(d)), amounts: amount.Int64Values()}
	if day.NullN() > 0 {
		p.dayOK = day.NullBitmapBytes()
	}
	if amount.NullN() > 0 {
		p.amtOK = amount.NullBitmapBytes()
	}
	return p
}

// tallied is what a question gives by region: rows, rows without an amount, the sum of the others.
type tallied struct {
	cells   []vector.Cell
	missing []int64
}

var errOver = errors.New("a sum is over 64 bits")

// sift is the question: filter by day, and by amount if asked; group by region if asked; count and sum.
func (f *facts) sift(k vector.Kernels, byAmount, group, wide bool, out *tallied) error {
	sel, rest := make([]int32, step), make([]int32, step)
	cells := make([]vector.Cell, regions)
	missing := make([]int64, regions)
	var total vector.Sum
	rows := 0
	for _, rec := range f.recs {
		p := view(rec)
		var buf [3]vector.Term
		terms := append(buf[:0], vector.DaysBetween(p.days, math.MinInt32, cutDay).Valid(p.dayOK, 0))
		if byAmount {
			terms = append(terms, vector.IntsBetween(p.amounts, cutFen, math.MaxInt64))
		}
		base := len(terms)
		terms = append(terms, vector.Term{}.Valid(p.amtOK, 0))
		for at := 0; at < len(p.days); at += step {
			n := min(step, len(p.days)-at)
			if !group {
				rows += k.Total(&total, terms, at, n, p.amounts, sel)
				continue
			}
			given := k.Where(terms, at, n, sel)
			ok := false
			if wide {
				ok = vector.Group(cells, p.wide, p.amounts, given)
			} else {
				ok = vector.Group(cells, p.codes, p.amounts, given)
			}
			if !ok {
				return errOver
			}
			if p.amtOK != nil && !byAmount {
				terms[base] = vector.Null(p.amtOK, 0)
				vector.Rows(missing, p.codes, k.Where(terms, at, n, rest))
				terms[base] = vector.Term{}.Valid(p.amtOK, 0)
			}
		}
	}
	if !group {
		sum, ok := total.Int64()
		if !ok {
			return errOver
		}
		cells = []vector.Cell{{Sum: sum, Rows: int64(rows)}}
	}
	*out = tallied{cells, missing}
	return nil
}

// all groups every row.
func (f *facts) all(out *tallied) error {
	cells := make([]vector.Cell, regions)
	for _, rec := range f.recs {
		if p := view(rec); !vector.GroupAll(cells, p.codes, p.amounts) {
			return errOver
		}
	}
	*out = tallied{cells, make([]int64, regions)}
	return nil
}

// agrees holds DuckDB's groups, in the order of the regions, to ours.
func agrees(ctx context.Context, db *sql.DB, text string, ours *tallied) error {
	rows, err := db.QueryContext(ctx, text+` ORDER BY 1`)
	if err != nil {
		return err
	}
	defer rows.Close()
	n := 0
	for ; rows.Next(); n++ {
		var label string
		var count, given, sum int64
		if err := rows.Scan(&label, &count, &given, &sum); err != nil {
			return err
		}
		if n >= len(ours.cells) || count != ours.cells[n].Rows+ours.missing[n] || given != ours.cells[n].Rows || sum != ours.cells[n].Sum {
			return errors.New("the programs differ")
		}
	}
	if n != len(ours.cells) {
		return errors.New("the programs give different groups")
	}
	return rows.Err()
}

// kernels measures the kernels beside DuckDB's native table.
func kernels(ctx context.Context, db *sql.DB, rows, repeat int) (string, error) {
	plain, err := loadFacts(ctx, db, "facts", false, rows)
	if err != nil {
		return "", err
	}
	holed, err := loadFacts(ctx, db, "holed", true, rows)
	if err != nil {
		return "", err
	}
	var out strings.Builder
	fmt.Fprintf(&out, "\n## Kernels without evidence, %d rows\n\nA day (int32), a region of %d (codes of 16 bits, 32 where it says so), an amount in fen (int64), no subject; one core, active twin: %v. DuckDB has the same values "+
		"in a native table in memory, the region as the same USMALLINT, as an ENUM and as text. Sums over 64 bits are found in both. Rates are Mrows a second of processor time.\n\n",
		rows, regions, vector.Best())
	from, to := make([]int64, rows), make([]int64, rows)
	for i := range from {
		from[i] = int64(i)
	}
	read, err := best(ctx, func(context.Context) error {
		stream(from)
		return nil
	}, rows, repeat)
	if err != nil {
		return "", err
	}
	copied, err := best(ctx, func(context.Context) error { copy(to, from); return nil }, rows, repeat)
	if err != nil {
		return "", err
	}
	fmt.Fprintf(&out, "STREAM: a sum of int64 reads %.1f GB/CPU-s, memcpy copies %.1f GB/CPU-s, of %d MB.\n\n| question | program | Mrows/CPU-s | GB/s of what is touched | ÷ DuckDB's fastest form | ÷ DuckDB over text | without missing values ÷ with |\n|---|---|---:|---:|---:|---:|---:|\n", read*8/1e9, copied*8/1e9, rows*8>>20)
	const where = ` WHERE day <= DATE '2021-12-31' AND amount >= 10000`
	const early = ` WHERE day <= DATE '2021-12-31'`
	type question struct {
		name  string
		f     *facts
		where string
		group bool
		wide  bool // 32-bit codes as well
		bytes int  // a row
		run   func(k vector.Kernels, wide bool, out *tallied) error
	}
	last := map[string]float64{} // by program, of the question before
	for _, q := range []question{
		{"day and amount (33% pass), by 300 regions, count + sum", plain, where, true, true, 14, func(k vector.Kernels, wide bool, o *tallied) error { return plain.sift(k, true, true, wide, o) }},
		{"the same, one day and amount in 20 missing", holed, where, true, false, 14, func(k vector.Kernels, wide bool, o *tallied) error { return holed.sift(k, true, true, wide, o) }},
		{"day (67% pass), by 300 regions, count + sum", plain, early, true, false, 14, func(k vector.Kernels, wide bool, o *tallied) error { return plain.sift(k, false, true, wide, o) }},
		{"the same, one day and amount in 20 missing, missing amounts counted", holed, early, true, false, 14, func(k vector.Kernels, wide bool, o *tallied) error { return holed.sift(k, false, true, wide, o) }},
		{"day and amount, one cell (Q6 shape)", plain, where, false, false, 12, func(k vector.Kernels, wide bool, o *tallied) error { return plain.sift(k, true, false, wide, o) }},
		{"no filter, by 300 regions, count + sum", plain, "", true, false, 10, func(_ vector.Kernels, _ bool, o *tallied) error { return plain.all(o) }},
	} {
		by, fastest, text := []string{"code", "named", "region"}, 0.0, 0.0
		if !q.group {
			by = []string{"''"}
		}
		for _, b := range by {
			ask := `SELECT ` + b + `, count(*), count(amount), sum(amount)::BIGINT FROM ` + q.f.name + q.where
			if q.group {
				ask += ` GROUP BY ` + b
			}
			rate, err := best(ctx, drained(db, strings.Replace(ask, "count(amount), ", counted(q.f, q.where), 1)), rows, repeat)
			if err != nil {
				return "", err
			}
			fastest, text = max(fastest, rate), rate
			name := map[string]string{"code": "DuckDB, USMALLINT", "named": "DuckDB, ENUM", "region": "DuckDB, text", "''": "DuckDB"}[b]
			fmt.Fprintf(&out, "| %s | %s | %.1f | | | | |\n", q.name, name, rate/1e6)
		}
		for _, wide := range []bool{false, true} {
			for _, k := range vector.Twins() {
				if wide && !q.wide || q.where == "" && k != vector.Go {
					continue
				}
				var got tallied
				if err := q.run(k, wide, &got); err != nil {
					return "", err
				}
				ask := `SELECT code, count(*), count(amount), sum(amount)::BIGINT FROM ` + q.f.name + q.where + ` GROUP BY code`
				if !q.group {
					ask = `SELECT '', count(*), count(amount), sum(amount)::BIGINT FROM ` + q.f.name + q.where
				}
				if err := agrees(ctx, db, ask, &got); err != nil {
					return "", fmt.Errorf("%s, %v: %w", q.name, k, err)
				}
				rate, err := best(ctx, func(context.Context) error { return q.run(k, wide, &got) }, rows, repeat)
				if err != nil {
					return "", err
				}
				name, bytes := k.String(), q.bytes
				if wide {
					name, bytes = name+", 32-bit codes", bytes+2
				}
				overText, nulls := "", ""
				if q.group {
					overText = fmt.Sprintf("%.1f", rate/text)
				}
				if q.f == holed {
					nulls = fmt.Sprintf("%.2f", last[name]/rate)
				}
				last[name] = rate
				fmt.Fprintf(&out, "| %s | %s | %.0f | %.1f | %.1f | %s | %s |\n", q.name, name, rate/1e6, rate*float64(bytes)/1e9, rate/fastest, overText, nulls)
			}
		}
	}
	return out.String(), nil
}

// counted is the column that only questions over missing amounts ask for.
func counted(f *facts, where string) string {
	if f.name == "holed" && !strings.Contains(where, "amount") {
		return "count(amount), "
	}
	return ""
}

var kept int64

// stream reads a column with four sums, so that no addition waits for another.
func stream(v []int64) {
	var a, b, c, d int64
	for len(v) >= 4 {
		a, b, c, d = a+v[0], b+v[1], c+v[2], d+v[3]
		v = v[4:]
	}
	kept += a + b + c + d
}
