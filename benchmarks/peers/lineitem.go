package main

import (
	"context"
	"database/sql"
	"fmt"
	"io"
	"math/big"
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

// Bounds of TPC-H's lineitem (specification 3.0.1, 4.2.3), as days since 1970.
const (
	rowsPerCustomer = 60   // of the two customers in three who order: 15 orders of 4 lines
	firstOrder      = 8035 // 1992-01-01
	orderDays       = 2406 // to 1998-08-02
	today           = 9298 // 1995-06-17
	partNumbers     = 200_000
)

// lineitem is the shape of TPC-H's table of that name, the customer its protected subject. The bins are Q1's and Q6's comparisons: a date
// up to a day is a full age at it.
func lineitem() catalog.Dataset {
	return catalog.Dataset{ID: "lineitem", Unit: "unit", Frequency: catalog.Daily, Subject: "customer", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "customer", Type: catalog.Text, Grade: 2},
			{Name: "l_quantity", Type: catalog.Int, Grade: 2},
			{Name: "l_extendedprice", Type: catalog.Money, Grade: 2},
			{Name: "l_discount", Type: catalog.Number, Scale: 2, Grade: 2},
			{Name: "l_tax", Type: catalog.Number, Scale: 2, Grade: 2},
			{Name: "l_returnflag", Type: catalog.Text, Grade: 2, Public: true},
			{Name: "l_linestatus", Type: catalog.Text, Grade: 2, Public: true},
			{Name: "l_shipdate", Type: catalog.Date, Grade: 2},
		},
		Bins: []catalog.Bin{
			{ID: "shipped", Column: "l_shipdate", Kind: catalog.Age, Edges: []int64{0}, At: "1998-09-02"},
			{ID: "year", Column: "l_shipdate", Kind: catalog.Year},
			{ID: "rebate", Column: "l_discount", Kind: catalog.Amount, Edges: []int64{5, 8}},
			{ID: "lot", Column: "l_quantity", Kind: catalog.Amount, Edges: []int64{24}},
		}}
}

// loadLineitem makes the table in both programs. DuckDB's columns have the types of the specification.
func loadLineitem(ctx context.Context, db *sql.DB, l layout, rows int) (*fixture, error) {
	customers := int64(max(1, rows/rowsPerCustomer))
	who := fmt.Sprintf("(i // %d)", rowsPerCustomer)
	if !l.clustered {
		who = spreadSQL(0, customers)
	}
	for _, text := range []string{
		`DROP VIEW IF EXISTS lineitem_exact`, `DROP TABLE IF EXISTS lineitem`,
		fmt.Sprintf(`CREATE TABLE lineitem AS SELECT subject, quantity::DECIMAL(15, 2) AS l_quantity,
				((quantity * (90000 + (part // 10) %% 20001 + 100 * (part %% 1000)))::DECIMAL(17, 2) / 100)::DECIMAL(15, 2) AS l_extendedprice,
				(discount::DECIMAL(4, 2) / 100)::DECIMAL(15, 2) AS l_discount, (tax::DECIMAL(4, 2) / 100)::DECIMAL(15, 2) AS l_tax,
				CASE WHEN shipped + received > %[10]d THEN 'N' WHEN flag = 0 THEN 'R' ELSE 'A' END AS l_returnflag,
				CASE WHEN shipped > %[10]d THEN 'O' ELSE 'F' END AS l_linestatus, DATE '1970-01-01' + shipped::INTEGER AS l_shipdate
			FROM (SELECT least(%[1]s, %[11]d) AS subject, 1 + %[2]s AS quantity, 1 + %[3]s AS part, %[4]s AS discount, %[5]s AS tax,
				%[13]d + %[6]s + 1 + %[7]s AS shipped, 1 + %[8]s AS received, %[9]s AS flag FROM range(%[12]d) r(i))`,
			who, spreadSQL(1, 50), spreadSQL(2, partNumbers), spreadSQL(3, 11), spreadSQL(4, 9), spreadSQL(5, orderDays), spreadSQL(6, 121),
			spreadSQL(7, 30), spreadSQL(8, 2), today, customers-1, rows, firstOrder),
		`CREATE VIEW lineitem_exact AS SELECT * REPLACE (l_quantity::BIGINT AS l_quantity, (l_extendedprice * 100)::BIGINT AS l_extendedprice,
			(l_discount * 100)::BIGINT AS l_discount, (l_tax * 100)::BIGINT AS l_tax) FROM lineitem`,
	} {
		if _, err := db.ExecContext(ctx, text); err != nil {
			return nil, err
		}
	}
	f := &fixture{dataset: lineitem(), table: "lineitem", exact: "lineitem_exact"}
	fields := append(batch.Schema(f.dataset).Fields()[1:], arrow.Field{Name: columnar.SubjectColumn, Type: &arrow.FixedSizeBinaryType{ByteWidth: 16}})
	b := array.NewRecordBuilder(memory.DefaultAllocator, arrow.NewSchema(fields, nil))
	defer b.Release()
	var p [16]byte
	for i := range int64(rows) {
		quantity, part := 1+spread(i, 1, 50), 1+spread(i, 2, partNumbers)
		shipped := firstOrder + spread(i, 5, orderDays) + 1 + spread(i, 6, 121)
		flag, status := "A", "F"
		switch received := shipped + 1 + spread(i, 7, 30); {
		case received > today:
			flag = "N"
		case spread(i, 8, 2) == 0:
			flag = "R"
		}
		if shipped > today {
			status = "O"
		}
		for k, v := range []int64{quantity, quantity * (90000 + part/10%20001 + 100*(part%1000)), spread(i, 3, 11), spread(i, 4, 9)} {
			b.Field(k).(*array.Int64Builder).Append(v)
		}
		b.Field(4).(*array.StringBuilder).Append(flag)
		b.Field(5).(*array.StringBuilder).Append(status)
		b.Field(6).(*array.Date32Builder).Append(arrow.Date32(shipped))
		customer := i / rowsPerCustomer
		if !l.clustered {
			customer = spread(i, 0, customers)
		}
		pseudonymOf(l, min(customer, customers-1), customers, &p)
		b.Field(7).(*array.FixedSizeBinaryBuilder).Append(p[:])
		if (i+1)%batchRows == 0 || i == int64(rows)-1 {
			f.records = append(f.records, b.NewRecord())
		}
	}
	return f, nil
}

// covaried computes a covariance of the price with the discount from a subject's sums, and what the two sums of it need.
const covaried = "(sum(n) * sum(ed) - sum(e) * sum(d)) / (sum(n) * (sum(n) - 1))"

func lineitemQuestions(d catalog.Dataset) []peer {
	q1 := []query.Filter{{Column: "x.l_shipdate", Bin: "shipped", In: []string{"≥0"}}}
	q6 := []query.Filter{{Column: "x.l_shipdate", Bin: "year", In: []string{"1994"}}, {Column: "x.l_discount", Bin: "rebate", In: []string{"5-8"}},
		{Column: "x.l_quantity", Bin: "lot", In: []string{"<24"}}}
	const where1 = `WHERE l_shipdate <= DATE '1998-09-02'`
	const where6 = `WHERE l_shipdate >= DATE '1994-01-01' AND l_shipdate < DATE '1995-01-01' AND l_discount BETWEEN 0.05 AND 0.07 AND l_quantity < 24`
	// Over the view of scaled integers the discount is in hundredths.
	const exact6 = `WHERE l_shipdate >= DATE '1994-01-01' AND l_shipdate < DATE '1995-01-01' AND l_discount BETWEEN 5 AND 7 AND l_quantity < 24`
	flags := []string{"l_returnflag", "l_linestatus"}
	cov, sumPrice, sumRebate := of(sandbox.Covariance, "l_extendedprice", "l_discount"), of(sandbox.Sum, "l_extendedprice"), of(sandbox.Sum, "l_discount")
	product := func(where string, labels []string) func(context.Context, *sql.DB, *sandbox.Answer) error {
		return func(ctx context.Context, db *sql.DB, a *sandbox.Answer) error {
			return recovered(ctx, db, a, where, labels)
		}
	}
	const inner1 = "sum(l_quantity) AS q, sum(l_extendedprice) AS e, sum(l_discount) AS d, count(*) AS n"
	const outer1 = "sum(q) AS v0, max(q, 2) AS t0, sum(e) AS v1, max(e, 2) AS t1, sum(q) / sum(n) AS v2, sum(e) / sum(n) AS v3, sum(d) / sum(n) AS v4, max(d, 2) AS t4, sum(n)::BIGINT AS v5, max(n, 2) AS t5"
	measures1 := []query.Measure{of(sandbox.Sum, "l_quantity"), sumPrice, of(sandbox.Mean, "l_quantity"), of(sandbox.Mean, "l_extendedprice"),
		of(sandbox.Mean, "l_discount"), of(sandbox.Count, "")}
	return []peer{
		{name: "Q1 without its products", spec: ask(d, q1, by(flags...), measures1...),
			plain: `SELECT l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice), avg(l_quantity), avg(l_extendedprice), avg(l_discount), count(*) FROM lineitem ` +
				where1 + ` GROUP BY l_returnflag, l_linestatus`,
			with: evidently("lineitem", where1, flags, inner1, outer1)},
		{name: "Q1 with sum_disc_price, by way of a covariance", spec: ask(d, q1, by(flags...), append(measures1, sumRebate, cov)...),
			plain: `SELECT l_returnflag, l_linestatus, sum(l_quantity), sum(l_extendedprice), sum(l_extendedprice * (1 - l_discount)), avg(l_quantity), avg(l_extendedprice), avg(l_discount), count(*) FROM lineitem ` +
				where1 + ` GROUP BY l_returnflag, l_linestatus`,
			with: evidently("lineitem", where1, flags, inner1+", sum(l_extendedprice * l_discount) AS ed",
				outer1+", sum(d) AS v6, max(d, 2) AS t6, "+covaried+" AS v7, max(e, 2) AS t7"),
			more: product(where1, flags)},
		{name: "Q6 as sum of the price and count", spec: ask(d, q6, nil, sumPrice, of(sandbox.Count, "")),
			plain: `SELECT sum(l_extendedprice), count(*) FROM lineitem ` + where6,
			with:  evidently("lineitem", where6, nil, "sum(l_extendedprice) AS e, count(*) AS n", "sum(e) AS v0, max(e, 2) AS t0, sum(n)::BIGINT AS v1, max(n, 2) AS t1"),
			exact: strings.NewReplacer(where6, exact6)},
		{name: "Q6 with its product, by way of a covariance", spec: ask(d, q6, nil, sumPrice, of(sandbox.Count, ""), sumRebate, cov),
			plain: `SELECT sum(l_extendedprice * l_discount) AS revenue FROM lineitem ` + where6,
			with: evidently("lineitem", where6, nil, "sum(l_extendedprice) AS e, sum(l_discount) AS d, sum(l_extendedprice * l_discount) AS ed, count(*) AS n",
				"sum(e) AS v0, max(e, 2) AS t0, sum(n)::BIGINT AS v1, max(n, 2) AS t1, sum(d) AS v2, max(d, 2) AS t2, "+covaried+" AS v3, max(e, 2) AS t3"),
			exact: strings.NewReplacer(where6, exact6), more: product(exact6, nil)},
	}
}

// recovered holds a sum of products, Σxy = cov·(n−1) + Σx·Σy ÷ n, to DuckDB's. The covariance is rounded to a whole unit, fen times
// hundredths, so the sum is known to half a unit a row.
func recovered(ctx context.Context, db *sql.DB, a *sandbox.Answer, where string, labels []string) error {
	label, group := "''", ""
	if len(labels) > 0 {
		label, group = "concat("+strings.Join(labels, ", ")+")", " GROUP BY "+strings.Join(labels, ", ")
	}
	rows, err := db.QueryContext(ctx, `SELECT `+label+`, sum(l_extendedprice * l_discount)::VARCHAR FROM lineitem_exact `+where+group)
	if err != nil {
		return err
	}
	defer rows.Close()
	at := map[string]int{}
	for m, o := range a.Measures {
		at[o.Name] = m
	}
	n := 0
	for ; rows.Next(); n++ {
		var l, text string
		if err := rows.Scan(&l, &text); err != nil {
			return err
		}
		want, _ := new(big.Int).SetString(text, 10)
		for i := range a.Cells {
			c := &a.Cells[i]
			if strings.Join(c.Labels, "") != l {
				continue
			}
			value := func(name string) *big.Int { return big.NewInt(c.Values[at[name]]) }
			count := value("count ")
			sums := new(big.Rat).SetFrac(new(big.Int).Mul(value("sum l_extendedprice"), value("sum l_discount")), count)
			less := new(big.Int).Sub(count, big.NewInt(1))
			sums.Add(sums, new(big.Rat).SetInt(new(big.Int).Mul(value("covariance l_extendedprice l_discount"), less)))
			off := sums.Sub(sums, new(big.Rat).SetInt(want))
			if off.Abs(off).Cmp(new(big.Rat).SetFrac(less, big.NewInt(2))) > 0 {
				return fmt.Errorf("group %d: the product that follows from the covariance is not DuckDB's", n)
			}
		}
	}
	if n != len(a.Cells) {
		return fmt.Errorf("the engine has %d groups, DuckDB %d", len(a.Cells), n)
	}
	return rows.Err()
}

// tpch measures Q1 and Q6.
func tpch(ctx context.Context, db *sql.DB, out io.Writer, rows, repeat int) error {
	fmt.Fprintf(out, "\n## Q1 and Q6\n\nTPC-H's lineitem in shape, %d rows (scale %.2f) of %d customers, each row drawn by itself; the customer is the protected subject. DuckDB has amounts as DECIMAL(15, 2), as specified. "+
		"A question here measures columns, not products of them. Sums of the product of two columns follow from covariance, sums and count, to half a unit of 10⁻⁴ yuan a row, and are held to DuckDB's; "+
		"sum_charge, a product of three, is left out on both sides. Q6's product is asked so too. DuckDB does not count the people on either side of the two columns' means, which the engine does. Otherwise as above.\n\n%s", rows, float64(rows)/6e6, max(1, rows/rowsPerCustomer), peerHead)
	for _, l := range layouts {
		f, err := loadLineitem(ctx, db, l, rows)
		if err != nil {
			return err
		}
		name, _, _ := strings.Cut(l.name, ",")
		for _, p := range lineitemQuestions(f.dataset) {
			if err := f.tabled(ctx, db, out, p, name, rows, repeat); err != nil {
				return err
			}
		}
		f.release()
	}
	_, err := db.ExecContext(ctx, `DROP VIEW lineitem_exact; DROP TABLE lineitem`)
	return err
}
