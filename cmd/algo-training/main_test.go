package main

import (
	"encoding/csv"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// newton is a plain logistic regression: x has a leading 1.
func newton(x [][]float64, y []float64) []float64 {
	n := len(x[0])
	w := make([]float64, n)
	for range 30 {
		h, g := make([][]float64, n), make([]float64, n)
		for i := range h {
			h[i] = make([]float64, n)
		}
		for r := range x {
			eta := 0.0
			for i := range w {
				eta += w[i] * x[r][i]
			}
			p := 1 / (1 + math.Exp(-eta))
			for i := range w {
				g[i] += (y[r] - p) * x[r][i]
				for k := range w {
					h[i][k] += p * (1 - p) * x[r][i] * x[r][k]
				}
			}
		}
		for i := range n { // Gauss-Jordan
			at := i
			for k := i; k < n; k++ {
				if math.Abs(h[k][i]) > math.Abs(h[at][i]) {
					at = k
				}
			}
			h[i], h[at], g[i], g[at] = h[at], h[i], g[at], g[i]
			for k := range n {
				if k != i {
					f := h[k][i] / h[i][i]
					for c := range n {
						h[k][c] -= f * h[i][c]
					}
					g[k] -= f * g[i]
				}
			}
		}
		for i := range w {
			w[i] += g[i] / h[i][i]
		}
	}
	return w
}

// coefficients runs the Program through the gate and gives intercept and coefficients as it would leave.
func coefficients(t *testing.T, x *dryrun.Trial) []float64 {
	t.Helper()
	if x.Plan.Questions[0].Class != sandbox.ClassD {
		t.Fatalf("a model is class %s", x.Plan.Questions[0].Class)
	}
	out, err := x.Run(t.Context(), true)
	if err != nil || len(out.Answers) != 1 || len(out.Answers[0].Result) == 0 {
		t.Fatalf("%v %+v", err, out)
	}
	r, err := egress.DecodeResult(out.Answers[0].Result)
	if err != nil {
		t.Fatal(err)
	}
	var w []float64
	for i, m := range r.Measures {
		if m.Part != "df" {
			if r.Rows[0].Suppressed {
				t.Fatal("the model is suppressed")
			}
			w = append(w, float64(*r.Rows[0].Values[i])/math.Pow10(m.Scale))
		}
	}
	return w
}

func compare(t *testing.T, x *dryrun.Trial) {
	t.Helper()
	high, age, school, male := x.Column("people", "high"), x.Column("people", "age"), x.Column("people", "schooling"), x.Column("people", "male")
	var rows [][]float64
	var y []float64
	for i := range high {
		rows = append(rows, []float64{1, float64(age[i].(int64)), float64(school[i].(int64)), float64(male[i].(int64))})
		y = append(y, map[bool]float64{true: 1}[high[i].(bool)])
	}
	want, got := newton(rows, y), coefficients(t, x)
	if len(got) != len(want) {
		t.Fatalf("%d coefficients", len(got))
	}
	for i := range want {
		if math.Abs(got[i]-want[i]) > 1e-4*max(1, math.Abs(want[i])) {
			t.Errorf("coefficient %d is %v, want %v", i, got[i], want[i])
		}
	}
}

func put(x *dryrun.Trial, at int, name string, v any) {
	d := x.Data["people"]
	for i, c := range d.Set.Columns {
		if c.Name == name {
			d.Rows[at][i] = v
		}
	}
}

// TestTraining: the domain's coefficients are Newton's over the same rows.
func TestTraining(t *testing.T) {
	x, err := dryrun.NewTrial("training", program, 2, 1500)
	if err != nil {
		t.Fatal(err)
	}
	age, school := x.Column("people", "age"), x.Column("people", "schooling")
	for i := range age {
		put(x, i, "high", (age[i].(int64)*7+school[i].(int64)*13+int64(i*i)%211)%300 > 150 && age[i].(int64)+school[i].(int64) > 70)
	}
	compare(t, x)
}

// TestAdult does the same on people that nobody here made.
func TestAdult(t *testing.T) {
	f, err := os.Open(filepath.Join(sandboxtest.Data(t, "adult", "no real table was trained on"), "adult.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	r := csv.NewReader(f)
	r.Comma, r.TrimLeadingSpace = ';', true
	all, err := r.ReadAll()
	if err != nil {
		t.Fatal(err)
	}
	x, err := dryrun.NewTrial("training", program, 2, len(all)-1)
	if err != nil {
		t.Fatal(err)
	}
	years := []string{"Preschool", "1st-4th", "5th-6th", "7th-8th", "9th", "10th", "11th", "12th", "HS-grad", "Some-college", "Assoc-voc", "Assoc-acdm", "Bachelors", "Masters", "Prof-school", "Doctorate"}
	for to, from := range map[string]string{"age": "age", "schooling": "education", "male": "sex", "high": "salary-class"} {
		at := slices.Index(all[0], from)
		if at < 0 {
			t.Fatalf("no column %s among %v", from, all[0])
		}
		for i, row := range all[1:] {
			switch to {
			case "high":
				put(x, i, to, strings.HasPrefix(row[at], ">50K"))
			case "schooling":
				put(x, i, to, int64(slices.Index(years, row[at])+1))
			case "male":
				put(x, i, to, map[bool]int64{true: 1}[row[at] == "Male"])
			default:
				n, err := strconv.ParseInt(row[at], 10, 64)
				if err != nil {
					t.Fatal(err)
				}
				put(x, i, to, n)
			}
		}
	}
	compare(t, x)
}
