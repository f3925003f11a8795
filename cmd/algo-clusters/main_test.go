package main

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"math"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox/algo/opaque"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// plain finds clusters by the distance of every pair: dense places joined until nothing changes; border points are of the least cluster that reaches them.
func plain(firms []firm) []int {
	close := func(a, b firm) bool {
		return math.Hypot(float64(a.x-b.x), float64(a.y-b.y)) <= reach
	}
	n := len(firms)
	dense, of := make([]bool, n), make([]int, n)
	for i := range firms {
		k := 0
		for j := range firms {
			if close(firms[i], firms[j]) {
				k++
			}
		}
		dense[i], of[i] = k >= core, i
	}
	for again := true; again; {
		again = false
		for i := range firms {
			for j := range firms {
				if dense[i] && dense[j] && close(firms[i], firms[j]) && of[j] < of[i] {
					of[i], again = of[j], true
				}
			}
		}
	}
	out := make([]int, n)
	var number []int
	for i := range firms {
		out[i] = -1
		if dense[i] {
			k := slices.Index(number, of[i])
			if k < 0 {
				k, number = len(number), append(number, of[i])
			}
			out[i] = k
		}
	}
	for i := range firms {
		for j := range firms {
			if !dense[i] && dense[j] && close(firms[i], firms[j]) && (out[i] < 0 || out[j] < out[i]) {
				out[i] = out[j]
			}
		}
	}
	return out
}

func TestDBSCAN(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var firms []firm
		for range rapid.IntRange(0, 90).Draw(t, "firms") {
			firms = append(firms, firm{x: rapid.Int64Range(0, 2000).Draw(t, "x"), y: rapid.Int64Range(0, 1500).Draw(t, "y")})
		}
		of, _ := dbscan(firms)
		if want := plain(firms); !slices.Equal(of, want) {
			t.Fatalf("%v, not %v", of, want)
		}
	})
}

// view writes made firms: three towns, one of them of one large firm, and some that stand alone; one firm has two rows.
func view(t testing.TB) []byte {
	t.Helper()
	r := rand.New(rand.NewPCG(3, 5))
	w := opaque.NewWriter(&declaration, true)
	add := func(x, y int64, kind string, staff int64, next bool) {
		w.Row(next)
		w.Int(0, x)
		w.Int(1, y)
		w.Text(2, kind)
		w.Int(3, staff)
	}
	for i := range 200 {
		add(10_000+int64(r.IntN(600)), 20_000+int64(r.IntN(600)), []string{"C", "C", "F", "I"}[i%4], 40, true)
	}
	for i := range 80 {
		add(30_000+int64(r.IntN(400)), 5_000+int64(r.IntN(400)), industries[i%20], int64(2+i/79*5000), true)
	}
	add(30_100, 5_100, "C", 2, false)
	for range 20 { // too few
		add(50_000+int64(r.IntN(100)), 50_000, "C", 9, true)
	}
	for i := range 40 {
		add(int64(1000*i), 40_000, "C", 9, true)
	}
	w.Row(true)
	for k := range 4 {
		w.Missing(k)
	}
	var b bytes.Buffer
	if err := w.Write(&b, 1); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestClusters(t *testing.T) {
	b, err := opaque.Answer(clusters, view(t), &declaration)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := opaque.ReadChart(b, &declaration)
	if err != nil || len(rows) != 2 {
		t.Fatal(rows, err)
	}
	if got := fmt.Sprint(rows); got != "[{[0 2] [10250 20250 250 200 8000]} {[1 20] [30250 5250 250 80 -100]}]" {
		t.Error(got)
	}
	again, err := opaque.Answer(clusters, view(t), &declaration)
	if err != nil || !bytes.Equal(again, b) {
		t.Error("not the same again")
	}
}

// TestOrganisations finds clusters among places that nobody here made.
func TestOrganisations(t *testing.T) {
	f, err := os.Open(filepath.Join(sandboxtest.Data(t, "synthea", "made firms were clustered all the same"), "organizations.csv"))
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	rows, err := csv.NewReader(f).ReadAll()
	if err != nil || len(rows) < 2 {
		t.Fatal(err)
	}
	lat, lon := slices.Index(rows[0], "LAT"), slices.Index(rows[0], "LON")
	var firms []firm
	for _, r := range rows[1:] {
		y, err1 := strconv.ParseFloat(r[lat], 64)
		x, err2 := strconv.ParseFloat(r[lon], 64)
		if err1 != nil || err2 != nil {
			continue
		}
		// A hundredth of the way, so that towns are neighbours.
		firms = append(firms, firm{x: int64((x+74)*831) % extent, y: int64((y-41)*1110) % extent})
	}
	of, n := dbscan(firms)
	if want := plain(firms); !slices.Equal(of, want) || n == 0 {
		t.Errorf("%d clusters of %d: %v, not %v", n, len(firms), of, want)
	}
}
