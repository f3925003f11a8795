package main

import (
	"crypto/rand"
	"fmt"

	"github.com/opdomain/opdomain/benchmarks/redteam"
)

// redTeamLines plays the attacks against the gate.
func redTeamLines(lines []string) ([]string, error) {
	const seed, tries, messages, length = 1, 25, 50, 1000
	all, err := redteam.All(seed, tries, rand.Reader)
	if err != nil {
		return nil, err
	}
	lines = append(lines, "", "## Attacks on the gate", "",
		"Each try has a gate and people of its own. An attacker knows who is in every group, solves all numbers that left together, and succeeds when a person's number, or a suppressed group's sum, follows; a channel "+
			"succeeds when other bytes leave. Honest twins ask the same way about groups that differ on enough people. Seeds are fixed.", "",
		"| attack | tries | successes | withheld answers | honest questions | released |", "|---|---:|---:|---:|---:|---:|")
	for _, o := range all {
		lines = append(lines, fmt.Sprintf("| %s | %d | %d | %d | %d | %d |", o.Attack, o.Tries, o.Successes, o.Withheld, o.Twins, o.Released))
	}
	wrong, err := redteam.Covert(seed, messages, length, redteam.ThroughGate)
	if err != nil {
		return nil, err
	}
	return append(lines, "", fmt.Sprintf("A covert sender over all channels at once, declared values fixed: %d of %d bits read wrong, %.4f (goal 0.5 ± 0.0074).", wrong, messages*length, float64(wrong)/(messages*length))), nil
}
