package main

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// translator writes a question as SQL over tables of the catalogue's scaled integers, each with the subject's number as "_s". The whole
// meaning of a Spec is here once more, in another language for another program.
type translator struct {
	s    query.Spec
	d    query.Derivation
	sets map[sandbox.DatasetID]catalog.Dataset
}

func quoted(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

func (t *translator) column(ref string) (string, *catalog.Dataset, *catalog.Column) {
	alias, name, _ := strings.Cut(ref, ".")
	i := slices.IndexFunc(t.s.Inputs, func(in query.Input) bool { return in.Alias == alias })
	set := t.sets[t.s.Inputs[i].Dataset]
	c, _ := set.Column(name)
	return alias + `."` + name + `"`, &set, c
}

// label is the label of a column or bin; never null.
func (t *translator) label(ref string, id sandbox.BinID) string {
	x, set, c := t.column(ref)
	if id == "" {
		switch scale := scaleOf(c); {
		case c.Type == catalog.Text:
			return "coalesce(" + x + ", 'missing')"
		case scale > 0:
			return fmt.Sprintf("coalesce(CASE WHEN %[1]s < 0 THEN '-' ELSE '' END || (abs(%[1]s) // %[2]d) || '.' || lpad((abs(%[1]s) %% %[2]d)::VARCHAR, %[3]d, '0'), 'missing')",
				x, int64(pow10(scale)), scale)
		}
		return "coalesce(" + x + "::VARCHAR, 'missing')"
	}
	b, _ := set.Bin(id)
	out := "CASE WHEN " + x + " IS NULL THEN 'missing'"
	edges := func(v string) string {
		labels := b.Labels()
		for i, e := range b.Edges {
			out += fmt.Sprintf(" WHEN %s < %d THEN %s", v, e, quoted(labels[i]))
		}
		return out + " ELSE " + quoted(labels[len(labels)-1]) + " END"
	}
	switch b.Kind {
	case catalog.Amount:
		return edges(x)
	case catalog.Age:
		at, _ := time.Parse(time.DateOnly, b.At)
		return edges(fmt.Sprintf("(%d - year(%[2]s) - CASE WHEN (%d, %d) < (month(%[2]s), day(%[2]s)) THEN 1 ELSE 0 END)", at.Year(), x, int(at.Month()), at.Day()))
	case catalog.Year:
		return out + fmt.Sprintf(" WHEN year(%[1]s) BETWEEN 1 AND 9999 THEN year(%[1]s)::VARCHAR ELSE 'other' END", x)
	}
	type code struct{ code, label string }
	var codes []code
	for _, g := range b.Groups {
		for _, c := range g.Codes {
			codes = append(codes, code{c, g.Label})
		}
	}
	slices.SortStableFunc(codes, func(a, b code) int { return len(b.code) - len(a.code) })
	for _, c := range codes {
		if b.Kind == catalog.Prefix {
			out += fmt.Sprintf(" WHEN starts_with(%s, %s) THEN %s", x, quoted(c.code), quoted(c.label))
		} else {
			out += fmt.Sprintf(" WHEN %s = %s THEN %s", x, quoted(c.code), quoted(c.label))
		}
	}
	return out + " ELSE 'other' END"
}

func scaleOf(c *catalog.Column) int {
	switch c.Type {
	case catalog.Money:
		return 2
	case catalog.Number:
		return c.Scale
	}
	return 0
}

func pow10(n int) float64 {
	p := 1.0
	for range n {
		p *= 10
	}
	return p
}

// joined is the table of joined rows that pass the filters: g a constant, d0, d1 … the labels, s the subject; by measure j its inputs
// x_j_0, x_j_1 …, or its label y_j, and w_j, whether none is missing.
func (t *translator) joined() string {
	cols := []string{"0 AS g"}
	for i, d := range t.s.Dimensions {
		cols = append(cols, fmt.Sprintf("%s AS d%d", t.label(d.Column, d.Bin), i))
	}
	cols = append(cols, t.s.Inputs[0].Alias+"._s AS s")
	for j, m := range t.s.Measures {
		there := "true"
		switch m.Func {
		case sandbox.Count, sandbox.Subjects:
		case sandbox.Distinct, sandbox.Histogram:
			cols = append(cols, fmt.Sprintf("%s AS y_%d", t.label(m.Column, m.Bin), j))
			there = t.label(m.Column, m.Bin) + " <> 'missing'"
		default:
			for k, ref := range append([]string{m.Column}, m.With...) {
				x, _, _ := t.column(ref)
				cols = append(cols, fmt.Sprintf("%s::BIGINT AS x_%d_%d", x, j, k))
				there += " AND " + x + " IS NOT NULL"
			}
		}
		cols = append(cols, fmt.Sprintf("(%s) AS w_%d", there, j))
	}
	out := "SELECT " + strings.Join(cols, ", ") + " FROM "
	for i, in := range t.s.Inputs {
		if i == 0 {
			out += string(in.Dataset) + " " + in.Alias
			continue
		}
		var on []string
		if in.BySubject() {
			on = append(on, in.With+"._s = "+in.Alias+"._s")
		}
		for _, k := range in.On {
			on = append(on, fmt.Sprintf(`%s."%s" = %s."%s"`, in.With, k.Left, in.Alias, k.Right))
		}
		kind := " JOIN "
		if in.Join == query.LeftJoin {
			kind = " LEFT JOIN "
		}
		out += kind + string(in.Dataset) + " " + in.Alias + " ON " + strings.Join(on, " AND ")
	}
	for i, f := range t.s.Filters {
		var in []string
		for _, l := range f.In {
			in = append(in, quoted(l))
		}
		word, not := " WHERE ", ""
		if i > 0 {
			word = " AND "
		}
		if f.Not {
			not = "NOT "
		}
		out += word + t.label(f.Column, f.Bin) + " " + not + "IN (" + strings.Join(in, ", ") + ")"
	}
	return out
}

// sqlOutput is what one output is in SQL over a group of joined rows.
type sqlOutput struct {
	value string // empty: not compared
	adds  string // of one row, where it counts
	there string
	thin  string   // over the group with the outputs' values beside it; empty: none
	sides []string // columns of which the people on the thinner side count too
}

func (t *translator) outputs() []sqlOutput {
	var out []sqlOutput
	first := map[int]int{}
	for at, o := range t.d.Outputs() {
		j := o.Measure
		if _, ok := first[j]; !ok {
			first[j] = at
		}
		m, w := t.s.Measures[j], fmt.Sprintf("w_%d", j)
		x, y := fmt.Sprintf("x_%d_0", j), fmt.Sprintf("x_%d_1", j)
		only := " FILTER (" + w + ")"
		var columns []string
		for k := range len(m.With) + 1 {
			columns = append(columns, fmt.Sprintf("x_%d_%d", j, k))
		}
		people, n := "count(DISTINCT s)"+only, "count(*)"+only
		df := fmt.Sprintf("(%s - %d)", n, len(m.With)+1)
		q := sqlOutput{adds: x, there: w}
		from := func(sides ...string) string {
			var all []string
			for _, cmp := range sides {
				all = append(all, fmt.Sprintf("count(DISTINCT s) FILTER (%s AND %s %s v%d)", w, x, cmp, at))
			}
			return "least(" + strings.Join(all, ", ") + ")"
		}
		switch o.Func {
		case sandbox.Count:
			q.value, q.adds = "count(*)", "1"
		case sandbox.Subjects:
			q.value, q.adds = "count(DISTINCT s)", "once"
		case sandbox.Sum:
			q.value = "coalesce(sum(" + x + ")" + only + ", 0)::BIGINT"
		case sandbox.Mean:
			q.value = "avg(" + x + ")"
		case sandbox.Distinct:
			q.value, q.adds, q.thin = fmt.Sprintf("count(DISTINCT y_%d)%s", j, only), "1", people
		case sandbox.Histogram:
			is := fmt.Sprintf("y_%d = %s", j, quoted(o.Part))
			q.value, q.adds = "count(*) FILTER ("+is+")", "CASE WHEN "+is+" THEN 1 ELSE 0 END"
		case sandbox.Min:
			q.value, q.thin = "min("+x+")", from("=")
		case sandbox.Max:
			q.value, q.thin = "max("+x+")", from("=")
		case sandbox.Quantile:
			q.value, q.thin = fmt.Sprintf("quantile_disc(%s, %d.%03d)", x, 0, m.Q), from("<=", ">=")
		case sandbox.Variance:
			q.value, q.thin = "var_samp("+x+")", "greatest(0, "+n+" - 1)"
			q.sides = columns
		case sandbox.StdDev:
			q.value, q.thin = "stddev_samp("+x+")", "greatest(0, "+n+" - 1)"
			q.sides = columns
		case sandbox.Covariance:
			q.value, q.thin = "covar_samp("+x+", "+y+")", "greatest(0, "+n+" - 1)"
			q.sides = columns
		case sandbox.Correlation:
			q.value, q.thin = fmt.Sprintf("CASE WHEN var_pop(%s)%s > 0 AND var_pop(%s)%s > 0 THEN corr(%[1]s, %[3]s) END", x, only, y, only), "greatest(0, "+n+" - 2)"
			q.sides = columns
		case sandbox.Dot:
			product := "(" + columns[0] + " * " + columns[len(columns)-1] + ")"
			q.value, q.adds = "coalesce(sum("+product+")"+only+", 0)::BIGINT", product
		case sandbox.Ratio:
			q.value, q.thin = "sum("+x+")"+only+"::DOUBLE / nullif(sum("+y+")"+only+", 0)", people
		case sandbox.Linear:
			q.value, q.thin = t.linear(j, o.Part, df), "greatest(0, "+df+")"
			q.sides = columns
		case sandbox.Logistic:
			if o.Part == query.PartDF {
				q.value = df
			}
			q.thin, q.sides = "greatest(0, "+df+")", columns
		}
		out = append(out, q)
	}
	return out
}

// linear is a coefficient of least squares: DuckDB's own for one regressor, Cramer's rule over exact sums for two.
func (t *translator) linear(j int, part, df string) string {
	m := t.s.Measures[j]
	only := fmt.Sprintf(" FILTER (w_%d)", j)
	if part == query.PartDF {
		return df
	}
	y, a := fmt.Sprintf("x_%d_0", j), fmt.Sprintf("x_%d_1", j)
	if len(m.With) == 1 {
		fn := "regr_slope"
		if part == query.PartIntercept {
			fn = "regr_intercept"
		}
		return fmt.Sprintf("CASE WHEN %s > 0 THEN %s(%s, %s) END", df, fn, y, a)
	}
	b := fmt.Sprintf("x_%d_2", j)
	n := "(count(*)" + only + ")::HUGEINT"
	sum := func(e string) string { return "sum(" + e + ")" + only }
	// n times the sum of products about the means
	spread := func(p, q string) string {
		return fmt.Sprintf("(%s * %s - %s * %s)", n, sum(p+" * "+q), sum(p), sum(q))
	}
	det := fmt.Sprintf("(%s * %s - %s * %s)", spread(a, a), spread(b, b), spread(a, b), spread(a, b))
	ofA := fmt.Sprintf("(%s * %s - %s * %s)", spread(a, y), spread(b, b), spread(b, y), spread(a, b))
	ofB := fmt.Sprintf("(%s * %s - %s * %s)", spread(b, y), spread(a, a), spread(a, y), spread(a, b))
	value := ofA + "::DOUBLE / " + det
	switch _, second, _ := strings.Cut(m.With[1], "."); part {
	case query.PartIntercept:
		value = fmt.Sprintf("(%s * %s - %s * %s - %s * %s)::DOUBLE / (%s * %s)", sum(y), det, sum(a), ofA, sum(b), ofB, n, det)
	case second:
		value = ofB + "::DOUBLE / " + det
	}
	return fmt.Sprintf("CASE WHEN %s > 0 AND %s <> 0 THEN %s END", df, det, value)
}

// sql writes the whole question with its evidence, for held.
func (t *translator) sql() string {
	keys, labels := []string{"g"}, []string{}
	for i := range t.s.Dimensions {
		keys, labels = append(keys, fmt.Sprintf("d%d", i)), append(labels, fmt.Sprintf("d%d AS l%d", i, i))
	}
	key := strings.Join(keys, ", ")
	values, people, cells, thin := []string{key, "count(*) AS n"}, []string{key, "s"}, []string{key, "count(*) FILTER (u) AS p"}, []string{key}
	last := append(labels, "n", "p")
	var any []string
	for m, o := range t.outputs() {
		if o.value == "" {
			o.value = "0"
		} else {
			last = append(last, fmt.Sprintf("v%d", m))
		}
		values = append(values, fmt.Sprintf("%s AS v%d", o.value, m), fmt.Sprintf("count(*) FILTER (%s) AS k%d", o.there, m))
		adds := fmt.Sprintf("coalesce(sum(%s) FILTER (%s), 0)", o.adds, o.there)
		if o.adds == "once" {
			adds = "1"
		}
		people = append(people, fmt.Sprintf("%s AS c%d", adds, m))
		any = append(any, o.there)
		cells = append(cells, fmt.Sprintf("list_sort(list(c%d) FILTER (u)) AS c%[1]d", m))
		last = append(last, fmt.Sprintf("k%d", m), fmt.Sprintf("c%d", m))
		least := fmt.Sprintf("h%d", m)
		for k, x := range o.sides { // a person's mean beside the group's, as products
			values = append(values, fmt.Sprintf("sum(%s) FILTER (%s) AS t%d_%d", x, o.there, m, k))
			people = append(people, fmt.Sprintf("sum(%s) FILTER (%s) AS a%d_%d", x, o.there, m, k), fmt.Sprintf("count(*) FILTER (%s) AS r%d_%d", o.there, m, k))
			for _, cmp := range []string{"<", ">"} {
				side := fmt.Sprintf("s%d_%d", m, len(cells))
				cells = append(cells, fmt.Sprintf("count(*) FILTER (a%[1]d_%[2]d::HUGEINT * k%[1]d %[3]s t%[1]d_%[2]d::HUGEINT * r%[1]d_%[2]d) AS %[4]s", m, k, cmp, side))
				least += ", " + side
			}
		}
		if o.thin != "" {
			thin, last = append(thin, fmt.Sprintf("%s AS h%d", o.thin, m)), append(last, fmt.Sprintf("least(%s) AS h%d", least, m))
		}
	}
	people = append(people, "bool_or("+strings.Join(any, " OR ")+") AS u")
	return fmt.Sprintf(`WITH j AS MATERIALIZED (%s), c AS MATERIALIZED (SELECT %s FROM j GROUP BY %s),
		e AS (SELECT %s FROM j GROUP BY %s, s), ec AS (SELECT %s FROM e JOIN c USING (%[3]s) GROUP BY %[3]s),
		h AS (SELECT %[8]s FROM j JOIN c USING (%[3]s) GROUP BY %[3]s)
		SELECT %[9]s FROM c JOIN ec USING (%[3]s) JOIN h USING (%[3]s)`,
		t.joined(), strings.Join(values, ", "), key, strings.Join(people, ", "), key, strings.Join(cells, ", "), key, strings.Join(thin, ", "), strings.Join(last, ", "))
}

// scores gives, for every cell of a logistic regression that has coefficients, the sums that are zero at the maximum of the likelihood and
// by how much coefficients rounded to six decimals may move them.
func (t *translator) scores(j int, beta string) string {
	m := t.s.Measures[j]
	eta, size := "b0", "1"
	var x []string
	for k, ref := range m.With {
		_, _, c := t.column(ref)
		x = append(x, fmt.Sprintf("(x_%d_%d / %g)", j, k+1, pow10(scaleOf(c))))
		eta += fmt.Sprintf(" + b%d * %s", k+1, x[k])
		size += " + abs(" + x[k] + ")"
	}
	_, _, y := t.column(m.Column)
	rest := fmt.Sprintf("(x_%d_0 / %g - 1 / (1 + exp(-(%s))))", j, pow10(scaleOf(y)), eta)
	var on, cols []string
	for i := range t.s.Dimensions {
		on = append(on, fmt.Sprintf("j.d%d = beta.d%[1]d", i))
	}
	on = append(on, fmt.Sprintf("w_%d", j))
	for _, f := range append([]string{"1"}, x...) {
		cols = append(cols, fmt.Sprintf("abs(sum(%s * %s))", rest, f), fmt.Sprintf("sum(0.25 * 0.5e-6 * abs(%s) * (%s)) * 1.01 + 1e-6", f, size))
	}
	return fmt.Sprintf(`WITH j AS (%s), beta AS (%s) SELECT %s FROM beta JOIN j ON %s GROUP BY beta.cell`, t.joined(), beta, strings.Join(cols, ", "), strings.Join(on, " AND "))
}
