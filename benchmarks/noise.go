package main

import (
	"encoding/binary"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/noise"
)

// noiseLines adds a section on the noise of what leaves: its time, and whether the time tells the noise.
func noiseLines(lines []string, repeat int) ([]string, error) {
	lines = append(lines, "", "## Noise of what leaves", "",
		"Cell keys: one table of a million people; differential privacy: ε 1, δ 10⁻⁹, calibration of each draw included. One goroutine.", "",
		"| what | values | ms | CPU ms | CPU µs a value |", "|---|---:|---:|---:|---:|")
	table, err := noise.NewTable(4, 6)
	if err != nil {
		return nil, err
	}
	keys, err := noise.NewCellKeys([]byte("benchmark of the cell keys"), table)
	if err != nil {
		return nil, err
	}
	one := sandbox.Privacy{Epsilon: 1_000_000, Delta: 1000}
	gaussian, err := noise.NewGaussian(one, 1, 1)
	if err != nil {
		return nil, err
	}
	selection, err := noise.NewSelection(one, 1, 10)
	if err != nil {
		return nil, err
	}
	const cells, people = 10_000, 100
	population, who, adds := make([]sandbox.Pseudonym, cells*people), make([]uint32, cells*people), make([]int64, people)
	for i := range population {
		binary.BigEndian.PutUint64(population[i][:], uint64(i))
		who[i], adds[i%people] = uint32(i), 1
	}
	draws := make([]int64, cells)
	for _, c := range []struct {
		name string
		of   func(i int) (int64, error)
	}{
		{"10,000 counts of 100 people perturbed by cell keys", func(i int) (int64, error) {
			return keys.Perturb(people, population, who[i*people:(i+1)*people], adds), nil
		}},
		{"10,000 counts under differential privacy", func(int) (int64, error) { return gaussian.Add(people) }},
		{"10,000 groups selected privately", func(int) (int64, error) { _, err := selection.Keep(people); return 0, err }},
	} {
		var wall, cpu time.Duration
		for n := range repeat {
			before, used := time.Now(), processorTime()
			for i := range draws {
				if draws[i], err = c.of(i); err != nil {
					return nil, err
				}
			}
			took, spent := time.Since(before), processorTime()-used
			if n == 0 {
				wall, cpu = took, spent
			}
			wall, cpu = min(wall, took), min(cpu, spent)
		}
		lines = append(lines, fmt.Sprintf("| %s | %d | %.1f | %.1f | %.2f |", c.name, cells, float64(wall.Microseconds())/1e3, float64(cpu.Microseconds())/1e3, float64(cpu.Microseconds())/cells))
	}
	const timed = 50_000
	took, size := make([]float64, timed), make([]float64, timed)
	for i := range timed {
		before := time.Now()
		x, err := gaussian.Add(0)
		if err != nil {
			return nil, err
		}
		took[i], size[i] = float64(time.Since(before)), math.Abs(float64(x))
	}
	return append(lines, "", fmt.Sprintf("Rank correlation of a draw's time with the size of its noise: %.4f over %d draws; by chance within ±%.4f in 95 of 100 runs.",
		rankCorrelation(took, size), timed, 1.96/math.Sqrt(timed))), nil
}

// rankCorrelation is Spearman's, equal values by their mean rank.
func rankCorrelation(x, y []float64) float64 {
	a, b := ranked(x), ranked(y)
	mean := float64(len(a)+1) / 2
	var ab, aa, bb float64
	for i := range a {
		ab, aa, bb = ab+(a[i]-mean)*(b[i]-mean), aa+(a[i]-mean)*(a[i]-mean), bb+(b[i]-mean)*(b[i]-mean)
	}
	return ab / math.Sqrt(aa*bb)
}

func ranked(x []float64) []float64 {
	order := make([]int, len(x))
	for i := range order {
		order[i] = i
	}
	slices.SortFunc(order, func(i, j int) int {
		switch {
		case x[i] < x[j]:
			return -1
		case x[i] > x[j]:
			return 1
		}
		return 0
	})
	out := make([]float64, len(x))
	for from := 0; from < len(order); {
		to := from
		for to < len(order) && x[order[to]] == x[order[from]] {
			to++
		}
		for _, i := range order[from:to] {
			out[i] = float64(from+to+1) / 2
		}
		from = to
	}
	return out
}
