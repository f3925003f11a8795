package scan

import "strings"

// Traces (源数据行痕迹) looks for rows of people in a table that claims to have none: for each of its rows, how many people have a row in the source that agrees
// with it in so many values or more, whatever the columns are called and wherever they stand. A combination that many share tells of nobody.
// One goroutine uses it. It prints redacted.
type Traces struct {
	rows  int
	width int
	at    map[string][]int32 // value → rows of the table that have it
	hit   []int32            // of this row of the source
	last  []int32            // of each row, the cells of the source's row that agree
	found []int              // people
	who   []int64            // the last one counted
	now   int64
	seen  map[string]struct{}
}

// String keeps values out of logs.
func (*Traces) String() string { return "traces(redacted)" }

// GoString keeps values out of %#v.
func (*Traces) GoString() string { return "traces(redacted)" }

// NewTraces looks for the rows of a table that agree with the source in width values, from 2. A table's row with fewer values has no traces.
func NewTraces(rows [][]string, width int) *Traces {
	t := &Traces{rows: len(rows), width: max(width, 2), at: map[string][]int32{}, last: make([]int32, len(rows)), found: make([]int, len(rows)), who: make([]int64, len(rows)), seen: map[string]struct{}{}}
	for i, r := range rows {
		t.who[i] = -1
		for _, v := range r {
			if v = plainValue(v); v == "" {
				continue
			}
			if have := t.at[v]; len(have) == 0 || have[len(have)-1] != int32(i) {
				t.at[v] = append(have, int32(i))
			}
		}
	}
	return t
}

// Add looks at the next row of the source; next says that it is another person's than the one before.
func (t *Traces) Add(row []string, next bool) {
	if next {
		t.now++
	}
	clear(t.seen)
	for _, v := range row {
		if v = plainValue(v); v == "" {
			continue
		}
		in := t.at[v]
		if in == nil {
			continue
		}
		if _, twice := t.seen[v]; twice { // one value of the table is not two
			continue
		}
		t.seen[v] = struct{}{}
		for _, i := range in {
			if t.last[i]++; t.last[i] == 1 {
				t.hit = append(t.hit, i)
			}
			if int(t.last[i]) == t.width && t.who[i] != t.now {
				t.who[i] = t.now
				t.found[i]++
			}
		}
	}
	for _, i := range t.hit {
		t.last[i] = 0
	}
	t.hit = t.hit[:0]
}

// Few gives the rows of the table, from 0, that agree with rows of somebody, but of fewer than k people.
func (t *Traces) Few(k int) (rows []int) {
	if t == nil {
		return nil
	}
	for i, n := range t.found {
		if n > 0 && n < k {
			rows = append(rows, i)
		}
	}
	return rows
}

// plainValue gives a number without the zeros that say nothing, so that 12.50 and 12.5 are one.
func plainValue(v string) string {
	if strings.Contains(v, ".") && strings.Trim(v, "-0123456789.") == "" {
		v = strings.TrimRight(strings.TrimRight(v, "0"), ".")
	}
	return v
}
