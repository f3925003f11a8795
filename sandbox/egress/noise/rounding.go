package noise

import "math"

// Base (取整基数) is what counts are rounded to. Source: OpenSAFELY rounds to 5 after redaction.
const Base = 5

// Round rounds to a multiple of base, half away from zero. Zero and what lies nearer to zero than half a base become zero.
func Round(x, base int64) int64 {
	if base < 2 {
		return x
	}
	rest := x % base
	switch x -= rest; {
	case 2*rest >= base && x <= math.MaxInt64-base:
		x += base
	case -2*rest >= base && x >= math.MinInt64+base:
		x -= base
	}
	return x
}

// Midpoint is the variant of OpenSAFELY's midpoint-6: zero stays zero, every other count becomes the middle of the six it is one of.
func Midpoint(x int64) int64 {
	if x <= 0 {
		return 0
	}
	return (x+5)/6*6 - 3
}

// RoundTable rounds the cells of a table in place and gives its margins added up from the rounded cells, rows, columns and all: so that no
// margin tells by which way its cells were rounded.
func RoundTable(cells [][]int64, base int64) (rows, columns []int64, all int64) {
	rows = make([]int64, len(cells))
	for r, line := range cells {
		for c, x := range line {
			line[c] = Round(x, base)
			for len(columns) <= c {
				columns = append(columns, 0)
			}
			rows[r] += line[c]
			columns[c] += line[c]
			all += line[c]
		}
	}
	return rows, columns, all
}

// RoundDeviation is the standard deviation of the error of rounding, for counts of which every remainder is as frequent.
func RoundDeviation(base int64) float64 {
	sum := 0.0
	for x := range base {
		e := float64(Round(x, base) - x)
		sum += e * e
	}
	return math.Sqrt(sum / float64(max(base, 1)))
}
