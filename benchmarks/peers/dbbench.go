package main

import (
	"context"
	"database/sql"
	"encoding/binary"
	"fmt"
	"io"
	"strings"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/query"
)

// seeds of the columns, below 2^32.
var seeds = [...]int64{2654435761, 2246822519, 3266489917, 668265263, 374761393, 2147483629, 1500450271, 3267000013, 2860486313, 1073807359, 2971215073, 433494437}

// spread gives column k's number of row i, below n, as if drawn at random: multiplied, folded and multiplied again, all within 63
// bits up to 10^9 rows. spreadSQL is the same arithmetic for DuckDB.
func spread(i, k, n int64) int64 {
	x := (i + 1) * seeds[k] % prime
	return (x ^ x>>15) * 668265263 % prime % n
}

func spreadSQL(k, n int64) string {
	x := fmt.Sprintf("((i + 1) * %d %% %d)", seeds[k], int64(prime))
	return fmt.Sprintf("(xor(%s, %s >> 15) * 668265263 %% %d %% %d)", x, x, int64(prime), n)
}

// pseudonymOf writes the pseudonym of a subject as its layout has it.
func pseudonymOf(l layout, who, subjects int64, p *[16]byte) {
	binary.BigEndian.PutUint64(p[:], l.pseudonym(uint64(who), uint64(subjects)))
	binary.BigEndian.PutUint64(p[8:], uint64(who+1)*0xc2b2ae3d27d4eb4f)
}

// ids is how many values id1, id2, id4 and id5 have; id3 and id6 have a hundredth of the rows. The table is G1_1e7_1e2_0_0 of
// db-benchmark: its numbers are drawn by other random numbers, and a protected subject of ten rows is added.
const ids = 100

func g1() catalog.Dataset {
	d := catalog.Dataset{ID: "g1", Unit: "unit", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{{Name: "person", Type: catalog.Text, Grade: 2}}}
	for i := range 6 {
		t := catalog.Text
		if i >= 3 {
			t = catalog.Int
		}
		d.Columns = append(d.Columns, catalog.Column{Name: fmt.Sprintf("id%d", i+1), Type: t, Grade: 2, Public: true})
	}
	d.Columns = append(d.Columns, catalog.Column{Name: "v1", Type: catalog.Int, Grade: 2}, catalog.Column{Name: "v2", Type: catalog.Int, Grade: 2},
		catalog.Column{Name: "v3", Type: catalog.Number, Scale: 6, Grade: 2})
	return d
}

// loadG1 makes the table in both programs. DuckDB's columns have the types that its own scripts for db-benchmark give them, but that v3
// is of double precision.
func loadG1(ctx context.Context, db *sql.DB, l layout, rows int) (*fixture, error) {
	subjects, many := int64(max(1, rows/rowsPerSubject)), int64(max(1, rows/ids))
	for _, text := range []string{
		`DROP VIEW IF EXISTS g1_exact`, `DROP TABLE IF EXISTS g1`,
		`CREATE TYPE IF NOT EXISTS id_of_100 AS ENUM (SELECT format('id{:03d}', r) FROM range(1, 101) t(r))`,
		fmt.Sprintf(`CREATE TABLE g1 AS SELECT who AS subject, format('id{:03d}', 1 + %s)::id_of_100 AS id1, format('id{:03d}', 1 + %s)::id_of_100 AS id2,
			format('id{:010d}', 1 + %s) AS id3, (1 + %s)::INTEGER AS id4, (1 + %s)::INTEGER AS id5, (1 + %s)::INTEGER AS id6,
			(1 + %s)::INTEGER AS v1, (1 + %s)::INTEGER AS v2, %s / 1e6 AS v3
			FROM (SELECT i, least(%s, %d) AS who FROM range(%d) r(i))`,
			spreadSQL(0, ids), spreadSQL(1, ids), spreadSQL(2, many), spreadSQL(3, ids), spreadSQL(4, ids), spreadSQL(5, many),
			spreadSQL(6, 5), spreadSQL(7, 15), spreadSQL(8, 100_000_001), l.sql(subjects), subjects-1, rows),
		`CREATE VIEW g1_exact AS SELECT * REPLACE (round(v3 * 1e6)::BIGINT AS v3) FROM g1`,
	} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return nil, err
		}
	}
	f := &fixture{dataset: g1(), table: "g1", exact: "g1_exact"}
	fields := append(batch.Schema(f.dataset).Fields()[1:], arrow.Field{Name: columnar.SubjectColumn, Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}})
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	short := make([]string, ids)
	for i := range short {
		short[i] = fmt.Sprintf("id%03d", i+1)
	}
	long := []byte("id0000000000")
	var p [16]byte
	for i := range int64(rows) {
		b.Field(0).(*array.StringBuilder).Append(short[spread(i, 0, ids)])
		b.Field(1).(*array.StringBuilder).Append(short[spread(i, 1, ids)])
		for at, v := len(long)-1, 1+spread(i, 2, many); at > 1; at, v = at-1, v/10 {
			long[at] = '0' + byte(v%10)
		}
		b.Field(2).(*array.StringBuilder).BinaryBuilder.Append(long)
		for k, n := range []int64{ids, ids, many, 5, 15} {
			b.Field(3 + k).(*array.Int64Builder).Append(1 + spread(i, int64(3+k), n))
		}
		b.Field(8).(*array.Int64Builder).Append(spread(i, 8, 100_000_001))
		pseudonymOf(l, min(l.draw(i, subjects), subjects-1), subjects, &p)
		b.Field(9).(*array.FixedSizeBinaryBuilder).Append(p[:])
		if (i+1)%batchRows == 0 || i == int64(rows)-1 {
			f.records = append(f.records, b.NewRecord())
		}
	}
	return f, nil
}

// ofMedian writes a question over a quantile, whose evidence needs the quantile first: how many subjects have a value on either side.
func ofMedian(labels, quantile, more, moreOut string) string {
	names := strings.Split(labels, ", ")
	var first []string
	for i, l := range names {
		first = append(first, fmt.Sprintf("%s AS l%d", l, i))
	}
	return fmt.Sprintf(`WITH c AS (SELECT %[1]s, %[2]s AS q%[3]s FROM g1 GROUP BY %[1]s),
		e AS (SELECT %[1]s, subject, sum(v3) AS s, count(*) AS n, min(v3) AS lo, max(v3) AS hi FROM g1 GROUP BY %[1]s, subject)
		SELECT %[5]s, count(*) AS p, any_value(q) AS v0, max(s, 2) AS t0, least(count(*) FILTER (lo <= q), count(*) FILTER (hi >= q)) AS h0%[4]s
		FROM e JOIN c USING (%[1]s) GROUP BY %[1]s`, labels, quantile, more, moreOut, strings.Join(first, ", "))
}

func g1Questions(d catalog.Dataset) []peer {
	q90 := of(sandbox.Quantile, "v3")
	q90.Q = 900
	return []peer{
		{name: "q1: sum v1 by id1", spec: ask(d, nil, by("id1"), of(sandbox.Sum, "v1")),
			plain: `SELECT id1, sum(v1) AS v1 FROM g1 GROUP BY id1`,
			with:  evidently("g1", "", []string{"id1"}, "sum(v1) AS a", "sum(a) AS v0, max(a, 2) AS t0")},
		{name: "q2: sum v1 by id1:id2", spec: ask(d, nil, by("id1", "id2"), of(sandbox.Sum, "v1")),
			plain: `SELECT id1, id2, sum(v1) AS v1 FROM g1 GROUP BY id1, id2`,
			with:  evidently("g1", "", []string{"id1", "id2"}, "sum(v1) AS a", "sum(a) AS v0, max(a, 2) AS t0")},
		{name: "q3: sum v1 mean v3 by id3", spec: ask(d, nil, by("id3"), of(sandbox.Sum, "v1"), of(sandbox.Mean, "v3")),
			plain: `SELECT id3, sum(v1) AS v1, avg(v3) AS v3 FROM g1 GROUP BY id3`,
			with: evidently("g1", "", []string{"id3"}, "sum(v1) AS a, sum(v3) AS c, count(*) AS n",
				"sum(a) AS v0, max(a, 2) AS t0, sum(c) / sum(n) AS v1, max(c, 2) AS t1")},
		{name: "q4: mean v1:v3 by id4", spec: ask(d, nil, by("id4"), of(sandbox.Mean, "v1"), of(sandbox.Mean, "v2"), of(sandbox.Mean, "v3")),
			plain: `SELECT id4, avg(v1) AS v1, avg(v2) AS v2, avg(v3) AS v3 FROM g1 GROUP BY id4`,
			with: evidently("g1", "", []string{"id4"}, "sum(v1) AS a, sum(v2) AS b, sum(v3) AS c, count(*) AS n",
				"sum(a) / sum(n) AS v0, max(a, 2) AS t0, sum(b) / sum(n) AS v1, max(b, 2) AS t1, sum(c) / sum(n) AS v2, max(c, 2) AS t2")},
		{name: "q5: sum v1:v3 by id6", spec: ask(d, nil, by("id6"), of(sandbox.Sum, "v1"), of(sandbox.Sum, "v2"), of(sandbox.Sum, "v3")),
			plain: `SELECT id6, sum(v1) AS v1, sum(v2) AS v2, sum(v3) AS v3 FROM g1 GROUP BY id6`,
			with: evidently("g1", "", []string{"id6"}, "sum(v1) AS a, sum(v2) AS b, sum(v3) AS c",
				"sum(a) AS v0, max(a, 2) AS t0, sum(b) AS v1, max(b, 2) AS t1, sum(c) AS v2, max(c, 2) AS t2")},
		{name: "q6: median v3 sd v3 by id4:id5", spec: ask(d, nil, by("id4", "id5"), of(sandbox.Quantile, "v3"), of(sandbox.StdDev, "v3")),
			plain: `SELECT id4, id5, quantile_cont(v3, 0.5) AS median_v3, stddev(v3) AS sd_v3 FROM g1 GROUP BY id4, id5`,
			with:  ofMedian("id4, id5", "quantile_disc(v3, 0.5)", ", stddev(v3) AS sd", ", any_value(sd) AS v1, max(s, 2) AS t1")},
		{name: "q7: max v1 - min v2 by id3", spec: ask(d, nil, by("id3"), of(sandbox.Max, "v1"), of(sandbox.Min, "v2")),
			plain: `SELECT id3, max(v1) - min(v2) AS range_v1_v2 FROM g1 GROUP BY id3`,
			with: `WITH e AS MATERIALIZED (SELECT id3, subject, sum(v1) AS a, max(v1) AS x, sum(v2) AS b, min(v2) AS y FROM g1 GROUP BY id3, subject),
				c AS (SELECT id3, max(x) AS most, min(y) AS least, count(*) AS p, max(a, 2) AS t0, max(b, 2) AS t1 FROM e GROUP BY id3)
				SELECT id3 AS l0, any_value(c.p) AS p, any_value(most) AS v0, any_value(t0) AS t0, count(*) FILTER (x = most) AS h0,
					any_value(c.least) AS v1, any_value(t1) AS t1, count(*) FILTER (y = c.least) AS h1 FROM e JOIN c USING (id3) GROUP BY id3`},
		{name: "nearest to q8: the 90th percentile of v3 by id6", spec: ask(d, nil, by("id6"), q90),
			plain: `SELECT id6, quantile_disc(v3, 0.9) AS v3 FROM g1 GROUP BY id6`,
			with:  ofMedian("id6", "quantile_disc(v3, 0.9)", "", "")},
		{name: "q9: correlation v1 v2 by id2:id4", spec: ask(d, nil, by("id2", "id4"), of(sandbox.Correlation, "v1", "v2")),
			plain: `SELECT id2, id4, pow(corr(v1, v2), 2) AS r2 FROM g1 GROUP BY id2, id4`,
			with: evidently("g1", "", []string{"id2", "id4"}, "count(*) AS n, sum(v1) AS x, sum(v2) AS y, sum(v1 * v2) AS xy, sum(v1 * v1) AS xx, sum(v2 * v2) AS yy",
				"(sum(n) * sum(xy) - sum(x) * sum(y)) / sqrt((sum(n) * sum(xx) - sum(x) * sum(x)) * (sum(n) * sum(yy) - sum(y) * sum(y))) AS v0, max(x, 2) AS t0")},
		{name: "nearest to q10: sum v3 count by id1:id2", spec: ask(d, nil, by("id1", "id2"), of(sandbox.Sum, "v3"), of(sandbox.Count, "")),
			plain: `SELECT id1, id2, sum(v3) AS v3, count(*) AS cnt FROM g1 GROUP BY id1, id2`,
			with:  evidently("g1", "", []string{"id1", "id2"}, "sum(v3) AS a, count(*) AS n", "sum(a) AS v0, max(a, 2) AS t0, sum(n)::BIGINT AS v1, max(n, 2) AS t1")},
	}
}

// g1Refused asks the two questions that are not answered, and gives what they are told. Being answered is an error.
func g1Refused(ctx context.Context, f *fixture) (string, error) {
	derive := func(s query.Spec) (query.Derivation, []sandbox.Reason) {
		return query.Derive(s, map[sandbox.DatasetID]catalog.Dataset{f.dataset.ID: f.dataset}, listed(f.dataset))
	}
	_, reasons := derive(ask(f.dataset, nil, by("id6"), of(sandbox.Plain, "v3")))
	if len(reasons) == 0 {
		return "", fmt.Errorf("q8 is accepted")
	}
	out := fmt.Sprintf("| q8: largest two v3 by id6 | refused before data: %s (%s) | the 90th percentile, which rests on people on both sides of it |\n", reasons[0].Rule, reasons[0].Code)
	d, reasons := derive(ask(f.dataset, nil, by("id1", "id2", "id3", "id4", "id5", "id6"), of(sandbox.Sum, "v3"), of(sandbox.Count, "")))
	if len(reasons) > 0 {
		return "", fmt.Errorf("q10 is refused before data: %s", reasons[0].Code)
	}
	_, err := f.answered(ctx, d, columnar.Limits{})
	if sandbox.KindOf(err) != sandbox.TooLarge {
		return "", fmt.Errorf("q10 does not end over a limit: %v", err)
	}
	return out + fmt.Sprintf("| q10: sum v3 count by id1:id6 | refused while it runs: %s; and with as many groups as rows every group is of one person, which the gate suppresses | the same by id1:id2 |\n", told(err)), nil
}

// dbBenchmark measures the ten questions.
func dbBenchmark(ctx context.Context, db *sql.DB, out io.Writer, rows, repeat int) error {
	fmt.Fprintf(out, "\n## db-benchmark's ten group-by questions\n\nG1_1e7_1e2_0_0's shape, %d rows: id1, id2, id4, id5 of %d values, id3 and id6 of %d, v1 of 1 to 5, v2 of 1 to 15, v3 of 0 to 100 with six decimals; "+
		"a protected subject of %d rows added, drawn apart from the rest, so that almost every row is a (group, subject) of its own. DuckDB has id1 and id2 as enumerations, id4 to v2 as 32-bit integers and v3 in double precision, as its "+
		"own scripts for this benchmark do, and an integer subject; the engine plain texts, 64-bit integers and pseudonyms of 16 bytes. The values of every group are compared before anything is timed, over the same values in scaled integers: "+
		"sums, counts, extremes, quantiles, distinct subjects, the largest two contributions and the thinner side of quantiles are equal; means, deviations and correlations agree within half a unit of the last decimal "+
		"and a part in 10^9. The engine's median is a value that is there (quantile_disc), the published one is interpolated. The published q9 squares the correlation, q7 subtracts: these last steps are taken of the two outputs. "+
		"The extremes of q7 leave only where their owner calls them structural; the default limits allow 65,536 groups, the measurement 2^24. Rates are Mrows a second of processor time, one core each.\n\n%s",
		rows, ids, max(1, rows/ids), rowsPerSubject, peerHead)
	refused := ""
	for _, l := range layouts {
		f, err := loadG1(ctx, db, l, rows)
		if err != nil {
			return err
		}
		name, _, _ := strings.Cut(l.name, ",")
		for _, p := range g1Questions(f.dataset) {
			if err := f.tabled(ctx, db, out, p, name, rows, repeat); err != nil {
				return err
			}
		}
		if refused == "" {
			if refused, err = g1Refused(ctx, f); err != nil {
				return err
			}
		}
		f.release()
	}
	fmt.Fprintf(out, "\n| not answered | because | nearest that is |\n|---|---|---|\n%s", refused)
	_, err := db.ExecContext(ctx, `DROP VIEW g1_exact; DROP TABLE g1`)
	return err
}
