package main

import (
	"cmp"
	"encoding/csv"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opdomain/opdomain/sandbox/egress"
)

// The second computation of what the scripts have released: plain code over the CSV files that were pushed, in fractions, written
// without the engine. Each question of the scripts stands here once.

// plainGroup is one group of a question as plain code finds it.
type plainGroup struct {
	labels []string
	people int
	sides  []int    // of each column that a variance, its kin or a regression is over, people whose own mean is above, and below, the group's
	values []string // decimal; "~" before one that is compared to within its last digit
}

// few says whether a group may not be published.
func (g plainGroup) few() bool {
	return g.people < 10 || slices.ContainsFunc(g.sides, func(n int) bool { return n < 10 })
}

// truths are the questions by data set and name.
var truths = map[string]func(dir string) ([]plainGroup, error){
	"district/one": func(dir string) ([]plainGroup, error) {
		t, err := read(dir, "claims.csv")
		amount := t.numbers("amount")
		bands := make([]int, 5)
		for _, v := range amount {
			band := 0
			for _, yuan := range []int64{100, 500, 1000, 5000} {
				if v.Cmp(big.NewRat(yuan, 1)) >= 0 {
					band++
				}
			}
			bands[band]++
		}
		out := []string{strconv.Itoa(len(t)), strconv.Itoa(t.distinct("resident_id")), strconv.Itoa(len(t.by(disease)))}
		out = append(out, sumOf(amount).FloatString(2), mean(amount).FloatString(2), spread(amount, amount).FloatString(4), root(spread(amount, amount), 5), "redacted", "redacted",
			coarse(quantile(amount, 500)).FloatString(2), coarse(quantile(amount, 995)).FloatString(2))
		return []plainGroup{{people: t.distinct("resident_id"), sides: t.sides("resident_id", "amount"), values: append(out, texts(bands)...)}}, err
	},
	"district/pairs": func(dir string) ([]plainGroup, error) {
		claims, err := read(dir, "claims.csv")
		subsidies, err2 := read(dir, "subsidies.csv")
		t := pair(claims, "resident_id", subsidies, "resident_id", false)
		y, x := t.numbers("amount"), t.numbers("right.amount")
		fit := leastSquares(y, x)
		return []plainGroup{{people: t.distinct("resident_id"), sides: t.sides("resident_id", "amount", "right.amount"), values: append([]string{correlation(x, y), spread(x, y).FloatString(4),
			new(big.Rat).Quo(sumOf(x), sumOf(y)).FloatString(6)}, append(fit, strconv.Itoa(len(y)-2))...)}}, errors.Join(err, err2)
	},
	"district/groups": func(dir string) ([]plainGroup, error) {
		claims, err := read(dir, "claims.csv")
		persons, err2 := read(dir, "persons.csv")
		t := pair(claims, "resident_id", persons, "resident_id", false)
		return t.groups("resident_id", func(t table) []string {
			return []string{strconv.Itoa(t.distinct("resident_id")), sumOf(t.numbers("amount")).FloatString(2)}
		}, func(r row) string { return band(age(r["right.birth_date"]), 18, 35, 50, 65, 80) }, column("right.sex")), errors.Join(err, err2)
	},
	"district/top": func(dir string) ([]plainGroup, error) {
		claims, err := read(dir, "claims.csv")
		persons, err2 := read(dir, "persons.csv")
		t := pair(claims, "resident_id", persons, "resident_id", true)
		return t.groups("resident_id", func(t table) []string {
			return []string{strconv.Itoa(len(t)), sumOf(t.numbers("amount")).FloatString(2)}
		}, column("right.street_code")), errors.Join(err, err2)
	},
	"district/bins": func(dir string) ([]plainGroup, error) {
		t, err := read(dir, "claims.csv")
		t = t.where(func(r row) bool {
			v := number(r["amount"])
			return v.Cmp(big.NewRat(100, 1)) >= 0 && v.Cmp(big.NewRat(1000, 1)) < 0
		})
		return t.groups("resident_id", countRows, func(r row) string { return r["service_date"][:4] }, disease), err
	},
	"district/common": func(dir string) ([]plainGroup, error) {
		claims, err := read(dir, "claims.csv")
		persons, err2 := read(dir, "persons.csv")
		t := pair(claims, "resident_id", persons.where(func(r row) bool { return age(r["birth_date"]) >= 65 }), "resident_id", false)
		return t.groups("resident_id", countRows, column("right.sex")), errors.Join(err, err2)
	},
	"synthea/one": func(dir string) ([]plainGroup, error) {
		t, err := read(dir, "encounters.csv")
		cost, covered := t.numbers("TOTAL_CLAIM_COST"), t.numbers("PAYER_COVERAGE")
		return []plainGroup{{people: t.distinct("PATIENT"), values: []string{strconv.Itoa(len(t)), strconv.Itoa(t.distinct("ENCOUNTERCLASS")),
			sumOf(cost).FloatString(2), mean(cost).FloatString(2), "redacted", "redacted",
			coarse(quantile(cost, 500)).FloatString(2), new(big.Rat).Quo(sumOf(covered), sumOf(cost)).FloatString(6)}}}, err
	},
	"synthea/spread": func(dir string) ([]plainGroup, error) {
		t, err := read(dir, "encounters.csv")
		cost := t.numbers("TOTAL_CLAIM_COST")
		return []plainGroup{{people: t.distinct("PATIENT"), sides: t.sides("PATIENT", "TOTAL_CLAIM_COST"),
			values: []string{spread(cost, cost).FloatString(4), root(spread(cost, cost), 5)}}}, err
	},
	"synthea/fit": func(dir string) ([]plainGroup, error) {
		t, err := read(dir, "encounters.csv")
		fit := leastSquares(t.numbers("TOTAL_CLAIM_COST"), t.numbers("BASE_ENCOUNTER_COST"), t.numbers("PAYER_COVERAGE"))
		return []plainGroup{{people: t.distinct("PATIENT"), sides: t.sides("PATIENT", "TOTAL_CLAIM_COST", "BASE_ENCOUNTER_COST", "PAYER_COVERAGE"), values: append(fit, strconv.Itoa(len(t)-3))}}, err
	},
	"synthea/visits": func(dir string) ([]plainGroup, error) {
		visits, err := read(dir, "encounters.csv")
		patients, err2 := read(dir, "patients.csv")
		t := pair(visits, "PATIENT", patients, "Id", false)
		return t.groups("PATIENT", func(t table) []string {
			return []string{strconv.Itoa(t.distinct("PATIENT")), sumOf(t.numbers("TOTAL_CLAIM_COST")).FloatString(2)}
		}, func(r row) string { return band(fullYearsAt(r["right.BIRTHDATE"], "2025-01-01"), 40) }), errors.Join(err, err2)
	},
	"adult/one": func(dir string) ([]plainGroup, error) {
		t, err := read(dir, "work.csv")
		ages := t.numbers("age")
		bands := make([]int, 5)
		for _, v := range ages {
			n, _ := v.Float64()
			bands[slices.Index([]string{"<25", "25-35", "35-50", "50-65", "≥65"}, band(int(n), 25, 35, 50, 65))]++
		}
		out := []string{strconv.Itoa(len(t)), strconv.Itoa(t.distinct("occupation")), sumOf(ages).FloatString(0), spread(ages, ages).FloatString(0), root(spread(ages, ages), 3),
			"redacted", "redacted", coarse(quantile(ages, 500)).FloatString(0)}
		return []plainGroup{{people: len(t), sides: t.sides("person", "age"), values: append(out, texts(bands)...)}}, err
	},
	"adult/pairs": func(dir string) ([]plainGroup, error) {
		t, err := read(dir, "work.csv")
		a, s := t.numbers("age"), t.numbers("schooling")
		out := []string{correlation(a, s), spread(a, s).FloatString(0), new(big.Rat).Quo(sumOf(s), sumOf(a)).FloatString(6)}
		out = append(append(out, leastSquares(s, a)...), strconv.Itoa(len(t)-2))
		for _, b := range logistic(t, "high", "age", "schooling") {
			out = append(out, "~"+strconv.FormatFloat(b, 'f', 6, 64))
		}
		return []plainGroup{{people: len(t), sides: t.sides("person", "age", "schooling", "high"), values: append(out, strconv.Itoa(len(t)-3))}}, err
	},
	"adult/schooling": func(dir string) ([]plainGroup, error) {
		work, err := read(dir, "work.csv")
		persons, err2 := read(dir, "persons.csv")
		t := pair(work, "person", persons, "person", false)
		return t.groups("person", func(t table) []string {
			return []string{strconv.Itoa(t.distinct("person")), mean(t.numbers("schooling")).FloatString(0)}
		}, ageBand, column("right.sex")), errors.Join(err, err2)
	},
	"adult/workers": func(dir string) ([]plainGroup, error) {
		work, err := read(dir, "work.csv")
		persons, err2 := read(dir, "persons.csv")
		t := pair(work.where(func(r row) bool { b := ageBand(r); return b != "<25" && b != "≥65" }), "person",
			persons.where(func(r row) bool { return r["sex"] == "Female" }), "person", false)
		return t.groups("person", func(t table) []string { return []string{strconv.Itoa(len(t)), mean(t.numbers("age")).FloatString(0)} }, column("class")), errors.Join(err, err2)
	},
	"adult/countries": func(dir string) ([]plainGroup, error) {
		work, err := read(dir, "work.csv")
		persons, err2 := read(dir, "persons.csv")
		t := pair(work, "person", persons, "person", true)
		return t.groups("person", func(t table) []string {
			return []string{strconv.Itoa(len(t)), sumOf(t.numbers("schooling")).FloatString(0)}
		}, column("right.country")), errors.Join(err, err2)
	},
}

// compareTruth holds a released result against the plain computation: every published value, who was suppressed, what is shown. Of a
// question that shows the first groups by its last measure, the plain groups that may leave are ordered and cut the same way.
func compareTruth(name, dir string, released []byte) error {
	plain := truths[name]
	if plain == nil {
		return fmt.Errorf("no plain computation of %s", name)
	}
	want, err := plain(dir)
	if err != nil {
		return err
	}
	var compact strings.Builder
	var raw json.RawMessage
	if err := json.Unmarshal(released, &raw); err != nil {
		return err
	}
	enc := json.NewEncoder(&compact)
	if err := enc.Encode(raw); err != nil {
		return err
	}
	got, err := egress.DecodeResult([]byte(strings.TrimSuffix(compact.String(), "\n")))
	if err != nil {
		return err
	}
	key := func(labels []string) string { return strings.Join(labels, " · ") }
	shown := []egress.ResultRow{}
	thin, suppressed := 0, 0
	for _, r := range got.Rows {
		if !r.Suppressed {
			shown = append(shown, r)
			continue
		}
		suppressed++
		at := slices.IndexFunc(want, func(g plainGroup) bool { return key(g.labels) == key(r.Labels) })
		if at < 0 {
			return fmt.Errorf("%s: %s is suppressed and is no group", name, key(r.Labels))
		}
		if want[at].few() {
			thin++
		}
		want = slices.Delete(want, at, at+1)
	}
	if suppressed > 0 && thin == 0 {
		return fmt.Errorf("%s: %d groups are suppressed, and none has few people", name, suppressed)
	}
	if got.Shown != nil {
		last := func(g plainGroup) *big.Rat { return number(g.values[len(g.values)-1]) }
		want = slices.DeleteFunc(want, func(g plainGroup) bool { return number(g.values[0]).Cmp(big.NewRat(got.Shown.AtLeast[0].Value, 1)) < 0 })
		slices.SortStableFunc(want, func(a, b plainGroup) int { return last(b).Cmp(last(a)) })
		want = want[:min(len(want), got.Shown.Top.K)]
	} else {
		slices.SortFunc(want, func(a, b plainGroup) int { return slices.Compare(a.labels, b.labels) })
	}
	if len(shown) != len(want) || len(got.Rows) == 0 {
		return fmt.Errorf("%s: %d groups are published, plain code finds %d", name, len(shown), len(want))
	}
	for i, r := range shown {
		if g := want[i]; key(r.Labels) != key(g.labels) || g.few() || len(r.Values) != len(g.values) {
			return fmt.Errorf("%s: published %s, plain code finds %s of %d people with %d values", name, key(r.Labels), key(g.labels), g.people, len(g.values))
		}
		for m, w := range want[i].values {
			v := "redacted"
			if r.Values[m] != nil {
				v = scaled(*r.Values[m], got.Measures[m].Scale)
			} else if r.None[m] != egress.NoneRedacted {
				v = r.None[m]
			}
			if v != w && !near(v, w) {
				return fmt.Errorf("%s: %s of %s is %s, by plain code %s", name, got.Measures[m].Name, key(r.Labels), v, w)
			}
		}
	}
	return nil
}

func near(v, w string) bool {
	w, ok := strings.CutPrefix(w, "~")
	a, errA := strconv.ParseFloat(v, 64)
	b, errB := strconv.ParseFloat(w, 64)
	return ok && errA == nil && errB == nil && math.Abs(a-b) < 1.5e-6
}

type row map[string]string

type table []row

func read(dir, file string) (table, error) {
	f, err := os.Open(filepath.Join(dir, file))
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }()
	all, err := csv.NewReader(f).ReadAll()
	if err != nil {
		return nil, err
	}
	var out table
	for _, line := range all[1:] {
		r := row{}
		for i, name := range all[0] {
			r[name] = line[i]
		}
		out = append(out, r)
	}
	return out, nil
}

// pair joins every two rows of one key; the right row's columns are named "right.".
func pair(left table, key string, right table, other string, outer bool) table {
	by := right.by(column(other))
	var out table
	for _, l := range left {
		partners := by[l[key]]
		if partners == nil && outer {
			partners = table{{}}
		}
		for _, r := range partners {
			both := row{}
			for k, v := range l {
				both[k] = v
			}
			for k, v := range r {
				both["right."+k] = v
			}
			out = append(out, both)
		}
	}
	return out
}

func column(name string) func(row) string { return func(r row) string { return r[name] } }

func (t table) by(of func(row) string) map[string]table {
	out := map[string]table{}
	for _, r := range t {
		out[of(r)] = append(out[of(r)], r)
	}
	return out
}

func (t table) distinct(name string) int { return len(t.by(column(name))) }

func (t table) where(keep func(row) bool) table {
	return slices.DeleteFunc(slices.Clone(t), func(r row) bool { return !keep(r) })
}

func (t table) groups(person string, values func(table) []string, labels ...func(row) string) []plainGroup {
	var out []plainGroup
	for _, rows := range t.by(func(r row) string {
		var all []string
		for _, l := range labels {
			all = append(all, l(r))
		}
		return strings.Join(all, "\x00")
	}) {
		g := plainGroup{people: rows.distinct(person), values: values(rows)}
		for _, l := range labels {
			g.labels = append(g.labels, l(rows[0]))
		}
		out = append(out, g)
	}
	return out
}

// sides counts, column by column, the people whose own mean is above that of all rows, and those whose is below.
func (t table) sides(person string, names ...string) (out []int) {
	for _, name := range names {
		of := func(t table) []*big.Rat {
			if v := t[0][name]; v != "true" && v != "false" {
				return t.numbers(name)
			}
			return []*big.Rat{big.NewRat(int64(len(t.where(func(r row) bool { return r[name] == "true" }))), int64(len(t)))}
		}
		above, below, all := 0, 0, mean(of(t))
		for _, own := range t.by(column(person)) {
			switch mean(of(own)).Cmp(all) {
			case 1:
				above++
			case -1:
				below++
			}
		}
		out = append(out, above, below)
	}
	return out
}

func countRows(t table) []string { return []string{strconv.Itoa(len(t))} }

func (t table) numbers(name string) []*big.Rat {
	out := make([]*big.Rat, len(t))
	for i, r := range t {
		out[i] = number(r[name])
	}
	return out
}

func number(s string) *big.Rat {
	r, ok := new(big.Rat).SetString(s)
	if !ok {
		panic("a cell that is no number") // which is not shown
	}
	return r
}

func texts(n []int) (out []string) {
	for _, v := range n {
		out = append(out, strconv.Itoa(v))
	}
	return out
}

func sumOf(x []*big.Rat) *big.Rat {
	out := new(big.Rat)
	for _, v := range x {
		out.Add(out, v)
	}
	return out
}

func mean(x []*big.Rat) *big.Rat { return new(big.Rat).Quo(sumOf(x), big.NewRat(int64(len(x)), 1)) }

// spread is the sample covariance.
func spread(x, y []*big.Rat) *big.Rat {
	mx, my, out := mean(x), mean(y), new(big.Rat)
	for i := range x {
		out.Add(out, new(big.Rat).Mul(new(big.Rat).Sub(x[i], mx), new(big.Rat).Sub(y[i], my)))
	}
	return out.Quo(out, big.NewRat(int64(len(x)-1), 1))
}

func wideFloat(r *big.Rat) *big.Float { return new(big.Float).SetPrec(400).SetRat(r) }

func root(r *big.Rat, digits int) string {
	return new(big.Float).SetPrec(400).Sqrt(wideFloat(r)).Text('f', digits)
}

func correlation(x, y []*big.Rat) string {
	below := new(big.Float).SetPrec(400).Sqrt(wideFloat(new(big.Rat).Mul(spread(x, x), spread(y, y))))
	return new(big.Float).SetPrec(400).Quo(wideFloat(spread(x, y)), below).Text('f', 6)
}

// quantile is the least value that at least q thousandths do not exceed.
func quantile(x []*big.Rat, q int) *big.Rat {
	s := slices.SortedFunc(slices.Values(x), func(a, b *big.Rat) int { return a.Cmp(b) })
	for i, v := range s {
		if (i+1)*1000 >= q*len(s) && (i+1 == len(s) || s[i+1].Cmp(v) != 0) {
			return v
		}
	}
	return nil
}

// coarse rounds a value of at least one to its first two digits, half up.
func coarse(v *big.Rat) *big.Rat {
	unit := big.NewRat(1, 100)
	for new(big.Rat).Quo(v, unit).Cmp(big.NewRat(100, 1)) >= 0 {
		unit.Mul(unit, big.NewRat(10, 1))
	}
	n, _ := new(big.Rat).Quo(v, unit).Float64()
	return new(big.Rat).Mul(unit, big.NewRat(int64(n+0.5), 1))
}

// leastSquares gives the intercept and coefficients, by Gauss's elimination of the normal equations of centred columns.
func leastSquares(y []*big.Rat, x ...[]*big.Rat) []string {
	k := len(x)
	a := make([][]*big.Rat, k)
	for i := range k {
		for j := range k {
			a[i] = append(a[i], spread(x[i], x[j]))
		}
		a[i] = append(a[i], spread(x[i], y))
	}
	for p := range k {
		for i := range k {
			if i == p {
				continue
			}
			f := new(big.Rat).Quo(a[i][p], a[p][p])
			for j := range k + 1 {
				a[i][j] = new(big.Rat).Sub(a[i][j], new(big.Rat).Mul(f, a[p][j]))
			}
		}
	}
	at, coefficients := mean(y), []string{}
	for p := range k {
		b := new(big.Rat).Quo(a[p][k], a[p][p])
		at.Sub(at, new(big.Rat).Mul(b, mean(x[p])))
		coefficients = append(coefficients, b.FloatString(6))
	}
	return append([]string{at.FloatString(6)}, coefficients...)
}

// logistic climbs to the maximum likelihood by Newton's steps.
func logistic(t table, outcome string, regressors ...string) []float64 {
	k := len(regressors) + 1
	b := make([]float64, k)
	for range 50 {
		g, h := make([]float64, k), make([][]float64, k)
		for i := range h {
			h[i] = make([]float64, k+1)
		}
		for _, r := range t {
			x, z := make([]float64, k), 0.0
			x[0] = 1
			for i, name := range regressors {
				x[i+1], _ = strconv.ParseFloat(r[name], 64)
			}
			for i := range x {
				z += b[i] * x[i]
			}
			p, y := 1/(1+math.Exp(-z)), 0.0
			if r[outcome] == "true" {
				y = 1
			}
			for i := range k {
				g[i] += (y - p) * x[i]
				for j := range k {
					h[i][j] += p * (1 - p) * x[i] * x[j]
				}
			}
		}
		for i := range k {
			h[i][k] = g[i]
		}
		for p := range k {
			for i := range k {
				if f := h[i][p] / h[p][p]; i != p {
					for j := range k + 1 {
						h[i][j] -= f * h[p][j]
					}
				}
			}
		}
		for i := range k {
			b[i] += h[i][k] / h[i][i]
		}
	}
	return b
}

func age(born string) int { return fullYearsAt(born, "2026-01-01") }

func fullYearsAt(born, at string) int {
	b, errB := time.Parse(time.DateOnly, born)
	a, errA := time.Parse(time.DateOnly, at)
	if errors.Join(errA, errB) != nil {
		panic("a cell that is no date") // which is not shown
	}
	n := a.Year() - b.Year()
	if cmp.Or(cmp.Compare(a.Month(), b.Month()), cmp.Compare(a.Day(), b.Day())) < 0 {
		n--
	}
	return n
}

func band(n int, edges ...int) string {
	for i, e := range edges {
		switch {
		case n < e && i == 0:
			return fmt.Sprintf("<%d", e)
		case n < e:
			return fmt.Sprintf("%d-%d", edges[i-1], e)
		}
	}
	return fmt.Sprintf("≥%d", edges[len(edges)-1])
}

func ageBand(r row) string {
	n, err := strconv.Atoi(r["age"])
	if err != nil {
		panic("a cell that is no number")
	}
	return band(n, 25, 35, 50, 65)
}

func disease(r row) string {
	for _, g := range []struct{ label, codes string }{{"肿瘤 C-D4", "C D0 D1 D2 D3 D4"}, {"血液 D5-D8", "D5 D6 D7 D8"}, {"内分泌 E", "E"}, {"循环 I", "I"}, {"呼吸 J", "J"}, {"消化 K", "K"}} {
		for _, code := range strings.Fields(g.codes) {
			if strings.HasPrefix(r["icd10"], code) {
				return g.label
			}
		}
	}
	return "other"
}
