package catalog

import "time"

// Due gives the time by which the next push of a dataset is expected, one period of its frequency after the last commit and
// grace on top, and whether it is late at now. The zero time and false for a dataset that is never late: imported once, or
// irregular. A dataset without a commit is measured from when it was registered. Periods are calendar days and months in
// last's own zone; a month without the day ends on its last one.
func Due(f Frequency, last, now time.Time, grace time.Duration) (due time.Time, late bool) {
	switch f {
	case Daily:
		due = last.AddDate(0, 0, 1)
	case Weekly:
		due = last.AddDate(0, 0, 7)
	case Monthly:
		due = months(last, 1)
	case Quarterly:
		due = months(last, 3)
	case HalfYear:
		due = months(last, 6)
	case Yearly:
		due = months(last, 12)
	default:
		return time.Time{}, false
	}
	due = due.Add(grace)
	return due, now.After(due)
}

// months adds n months and keeps to the month: 31 January and one month is the last day of February, not 3 March.
func months(t time.Time, n int) time.Time {
	y, m, d := t.Date()
	first := time.Date(y, m+time.Month(n), 1, t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), t.Location())
	last := first.AddDate(0, 1, -1).Day()
	return first.AddDate(0, 0, min(d, last)-1)
}
