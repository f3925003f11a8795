package egress

import (
	"cmp"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// selectable says whether the gate can select by what the question shows: counts and people, and for an order one value a cell that
// leaves itself.
func selectable(a *sandbox.Answer) bool {
	for _, l := range a.Shown.AtLeast {
		m := measureNamed(a.Measures, l.Measure)
		if m < 0 || a.Measures[m].Func != sandbox.Count && a.Measures[m].Func != sandbox.Subjects {
			return false
		}
	}
	if top := a.Shown.Top; top != nil {
		m := measureNamed(a.Measures, top.Measure)
		return m >= 0 && a.Measures[m].Part == "" && !redacted(a.Measures[m]) && top.K > 0
	}
	return true
}

func measureNamed(measures []sandbox.Measure, name string) int {
	return slices.IndexFunc(measures, func(m sandbox.Measure) bool { return m.Name == name })
}

// show selects among the published cells. What a cell that is not shown holds may leave; what is suppressed stays listed, since a
// condition on it would tell what was hidden.
func (c *Checked) show() {
	a := c.answer
	c.shown = c.shown[:0]
	var hidden []int
cells:
	for i := range a.Cells {
		if c.hidden[i] {
			hidden = append(hidden, i)
			continue
		}
		for _, l := range a.Shown.AtLeast {
			if a.Cells[i].Values[measureNamed(a.Measures, l.Measure)] < l.Value {
				continue cells
			}
		}
		c.shown = append(c.shown, i)
	}
	top := a.Shown.Top
	if top == nil {
		c.shown = append(c.shown, hidden...)
		slices.Sort(c.shown) // as their labels
		return
	}
	m := measureNamed(a.Measures, top.Measure)
	slices.SortStableFunc(c.shown, func(x, y int) int {
		p, q := &a.Cells[x], &a.Cells[y]
		return order(p.Missing(m), q.Missing(m), p.Values[m], q.Values[m])
	})
	c.shown = append(c.shown[:min(top.K, len(c.shown))], hidden...)
}

// order puts larger values first and none last.
func order(noneA, noneB bool, a, b int64) int {
	switch {
	case noneA && noneB:
		return 0
	case noneA:
		return 1
	case noneB:
		return -1
	}
	return cmp.Compare(b, a)
}

// ordered says whether the rows of a result stand in their one order: by labels, or the first by a measure, then the suppressed ones;
// and are those its conditions show.
func (r Result) ordered() bool {
	if r.Shown == nil {
		r.Shown = &sandbox.Shown{}
	} else if len(r.Shown.AtLeast) == 0 && r.Shown.Top == nil || !selectable(&sandbox.Answer{Measures: r.Measures, Shown: *r.Shown}) {
		return false
	}
	value := func(row ResultRow, m int) (bool, int64) {
		if row.Values[m] == nil {
			return true, 0
		}
		return false, *row.Values[m]
	}
	published := 0
	for i, row := range r.Rows {
		if !row.Suppressed {
			for _, l := range r.Shown.AtLeast {
				if none, v := value(row, measureNamed(r.Measures, l.Measure)); none || v < l.Value {
					return false
				}
			}
			published++
		}
		if i == 0 {
			continue
		}
		last := r.Rows[i-1]
		by := slices.Compare(last.Labels, row.Labels)
		if top := r.Shown.Top; top != nil {
			switch {
			case last.Suppressed != row.Suppressed:
				by = -1
				if last.Suppressed {
					by = 1
				}
			case !row.Suppressed:
				m := measureNamed(r.Measures, top.Measure)
				noneA, a := value(last, m)
				noneB, b := value(row, m)
				by = cmp.Or(order(noneA, noneB, a, b), by)
			}
		}
		if by >= 0 {
			return false
		}
	}
	return r.Shown.Top == nil || published <= r.Shown.Top.K
}
