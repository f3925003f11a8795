package main

import "strconv"

// Quality (区分度) is how well score bands, the lowest first, tell bad loans from good: the largest distance between their cumulative shares
// (KS), and the chance that a good loan stands in a higher band than a bad one, ties counting half (AUC). It is computed of what has left.
func Quality(good, bad []float64) (ks, auc float64) {
	var g, b float64
	for i := range good {
		g, b = g+good[i], b+bad[i]
	}
	if g == 0 || b == 0 {
		return 0, 0.5
	}
	var seenGood, seenBad float64
	for i := range good {
		auc += good[i] / g * (seenBad + bad[i]/2) / b
		seenGood, seenBad = seenGood+good[i], seenBad+bad[i]
		ks = max(ks, seenBad/b-seenGood/g, seenGood/g-seenBad/b)
	}
	return ks, auc
}

// order gives the bands as labels, the lowest first.
func order() []string {
	text := func(v float64) string { return strconv.FormatFloat(v, 'f', -1, 64) }
	out := []string{"<" + text(bands[0])}
	for i := range bands[1:] {
		out = append(out, text(bands[i])+"-"+text(bands[i+1]))
	}
	return append(out, "≥"+text(bands[len(bands)-1]))
}
