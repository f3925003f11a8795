package workflow

import (
	"bytes"
	_ "embed"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

//go:embed calendar.json
var notices []byte

// Shanghai (北京时间) is the zone every working day, due date and billing month is counted in.
func Shanghai() *time.Location { return time.FixedZone("Asia/Shanghai", 8*60*60) }

// Calendar (工作日历) knows which days are worked in the years it has a notice for.
type Calendar struct {
	years map[int]bool
	off   map[string]bool // a weekday that is free, by date
	on    map[string]bool // a weekend day that is worked, by date
}

type notice struct {
	Year     int    `json:"year"`
	Notice   string `json:"notice"`
	Number   string `json:"number"`
	Holidays []struct {
		Name string `json:"name"`
		From string `json:"from"`
		To   string `json:"to"`
	} `json:"holidays"`
	Workdays []string `json:"workdays"`
}

// Official gives the calendar of the notices shipped with the product: 2025 and 2026.
func Official() (*Calendar, error) { return ParseCalendar(notices) }

// ParseCalendar reads a calendar file: a list of yearly notices. Unknown keys, a year named twice, dates of another
// year, a holiday that ends before it starts and a make-up workday on a weekday are Invalid.
func ParseCalendar(b []byte) (*Calendar, error) {
	bad := func(object, rule string) (*Calendar, error) {
		return nil, &sandbox.Error{Op: "workflow: calendar", Kind: sandbox.Invalid, Object: object, Detail: rule}
	}
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	var list []notice
	if err := dec.Decode(&list); err != nil {
		return bad("file", "a JSON list of yearly notices with known keys only")
	}
	if _, err := dec.Token(); err != io.EOF {
		return bad("file", "nothing follows the list")
	}
	c := &Calendar{years: map[int]bool{}, off: map[string]bool{}, on: map[string]bool{}}
	for _, n := range list {
		at := fmt.Sprintf("year %d", n.Year)
		if n.Year < 2000 || n.Year > 2199 || c.years[n.Year] {
			return bad(at, "each year stands once, 2000 to 2199")
		}
		if n.Notice == "" || n.Number == "" {
			return bad(at, "a year names its notice and its number")
		}
		c.years[n.Year] = true
		day := func(s string) (time.Time, bool) {
			d, err := time.ParseInLocation(time.DateOnly, s, Shanghai())
			return d, err == nil && d.Year() == n.Year
		}
		for _, h := range n.Holidays {
			from, ok1 := day(h.From)
			to, ok2 := day(h.To)
			if !ok1 || !ok2 || to.Before(from) || to.Sub(from) > 31*24*time.Hour {
				return bad(at, "a holiday runs from one date of its year to the same or a later one, at most a month")
			}
			for d := from; !d.After(to); d = d.AddDate(0, 0, 1) {
				c.off[d.Format(time.DateOnly)] = true
			}
		}
		for _, s := range n.Workdays {
			d, ok := day(s)
			if !ok || !weekend(d) || c.off[s] {
				return bad(at, "a make-up workday is a Saturday or Sunday of its year outside the holidays")
			}
			c.on[s] = true
		}
	}
	return c, nil
}

func weekend(d time.Time) bool { return d.Weekday() == time.Saturday || d.Weekday() == time.Sunday }

// Working says whether the day of t, in Asia/Shanghai, is a working day. A year without a notice is Unavailable.
func (c *Calendar) Working(t time.Time) (bool, error) {
	t = t.In(Shanghai())
	if c == nil || !c.years[t.Year()] {
		return false, &sandbox.Error{Op: "workflow: working day", Kind: sandbox.Unavailable, Object: fmt.Sprintf("year %d", t.Year()),
			Detail: "the calendar holds no holiday notice for this year", Hint: "add the year's notice to calendar.json in the domain's folder"}
	}
	s := t.Format(time.DateOnly)
	return c.on[s] || !c.off[s] && !weekend(t), nil
}

// MaxWorkingDays bounds AddWorkingDays; no clock of the sources is longer.
const MaxWorkingDays = 366

// AddWorkingDays gives the due time of a period of n working days after received: 23:59:59 in Asia/Shanghai of the
// n-th working day that follows the day of receipt. n is 1 to MaxWorkingDays.
func (c *Calendar) AddWorkingDays(received time.Time, n int) (time.Time, error) {
	if n < 1 || n > MaxWorkingDays {
		return time.Time{}, &sandbox.Error{Op: "workflow: due date", Kind: sandbox.Invalid, Object: "working days",
			Detail: fmt.Sprintf("a period is 1 to %d working days", MaxWorkingDays)}
	}
	y, m, d := received.In(Shanghai()).Date()
	day := time.Date(y, m, d, 23, 59, 59, 0, Shanghai())
	for n > 0 {
		day = day.AddDate(0, 0, 1)
		ok, err := c.Working(day)
		if err != nil {
			return time.Time{}, err
		}
		if ok {
			n--
		}
	}
	return day, nil
}

// Overdue says whether at is past due, to the second: the whole second of due is still in time. A zero due is never past.
func Overdue(at, due time.Time) bool { return !due.IsZero() && at.Truncate(time.Second).After(due) }

// AddMonths gives the end of a term of n months that starts at t: the same time of the day of the same number in
// Asia/Shanghai, or of the month's last day where that number does not exist (31 January + 1 month is 28 February).
func AddMonths(t time.Time, n int) time.Time {
	t = t.In(Shanghai())
	y, m, d := t.Date()
	last := time.Date(y, m+time.Month(n)+1, 0, 0, 0, 0, 0, Shanghai()).Day()
	return time.Date(y, m+time.Month(n), min(d, last), t.Hour(), t.Minute(), t.Second(), t.Nanosecond(), Shanghai())
}
