package main

import (
	"fmt"
	"time"

	"github.com/opdomain/opdomain/benchmarks/redteam"
	"github.com/opdomain/opdomain/sandbox/egress/model"
)

// modelLines adds a section on models that leave: planted and honest ones before the gate, and the time of a training.
func modelLines(lines []string, repeat int) ([]string, error) {
	const seed, tries, shadows = 1, 10, 32
	all, err := redteam.JudgeModels(seed, tries, shadows)
	if err != nil {
		return nil, err
	}
	lines = append(lines, "", "## Models before the gate", "",
		fmt.Sprintf("Class D. Each try has people of its own, as many in the test as in training, %d shadow models. Planted models give people away: all have to be caught. Honest ones have to go before "+
			"reviewers, with or without a remark. AUC is the likelihood ratio attack's, its limit 0.5 + 3 sd; means over tries. Seeds are fixed.", shadows), "",
		"| model | people | planted: caught | by the gate's own numbers leaving instead | honest: passed | with a remark | failed | AUC | limit | exposure, bits (by chance) |", "|---|---:|---:|---:|---:|---:|---:|---:|---:|---:|")
	caught, planted, passed, honest := 0, 0, 0, 0
	for _, o := range all {
		a, e, b, c, d := fmt.Sprintf("%d/%d", o.Failed+o.Replaced, o.Tries), fmt.Sprint(o.Replaced), "–", "–", "–"
		if o.Leak {
			caught, planted = caught+o.Failed+o.Replaced, planted+o.Tries
		} else {
			a, e, b, c, d = "–", "–", fmt.Sprint(o.Passed), fmt.Sprint(o.Review), fmt.Sprint(o.Failed)
			passed, honest = passed+o.Passed+o.Review, honest+o.Tries
		}
		lines = append(lines, fmt.Sprintf("| %s | %d | %s | %s | %s | %s | %s | %.3f | %.3f | %.2f (%.2f) |", o.Name, o.Members, a, e, b, c, d, o.LiRA, o.Limit, o.Exposure, o.Chance))
	}
	lines = append(lines, "", fmt.Sprintf("Planted models caught: %d of %d. Honest models let before reviewers: %d of %d.", caught, planted, passed, honest), "",
		"One training, as of a shadow model, on 10,000 people with 13 features. One goroutine.", "", "| kind | ms | CPU ms |", "|---|---:|---:|")
	for _, k := range model.Kinds() {
		run, err := redteam.Training(k, 10_000)
		if err != nil {
			return nil, err
		}
		var wall, cpu time.Duration
		for i := range repeat {
			before, used := time.Now(), processorTime()
			if err := run(); err != nil {
				return nil, err
			}
			took, spent := time.Since(before), processorTime()-used
			if i == 0 {
				wall, cpu = took, spent
			}
			wall, cpu = min(wall, took), min(cpu, spent)
		}
		lines = append(lines, fmt.Sprintf("| %s | %.1f | %.1f |", k, float64(wall.Microseconds())/1e3, float64(cpu.Microseconds())/1e3))
	}
	return lines, nil
}
