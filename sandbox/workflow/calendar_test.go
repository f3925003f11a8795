package workflow

import (
	"errors"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

func official(t interface {
	Helper()
	Fatal(...any)
}) *Calendar {
	t.Helper()
	c, err := Official()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestAddWorkingDays(t *testing.T) {
	c := official(t)
	for _, x := range []struct {
		name, received string
		n              int
		due            string
	}{
		{"plain week", "2026-03-02T09:00:00+08:00", 5, "2026-03-09"},
		{"one day", "2026-03-02T09:00:00+08:00", 1, "2026-03-03"},
		{"Friday", "2026-03-06T17:59:00+08:00", 1, "2026-03-09"},
		{"Saturday receipt", "2026-03-07T10:00:00+08:00", 5, "2026-03-13"},
		{"Sunday receipt", "2026-03-08T10:00:00+08:00", 5, "2026-03-13"},
		{"make-up Saturday receipt", "2026-02-14T10:00:00+08:00", 5, "2026-02-28"},
		{"across New Year", "2025-12-29T10:00:00+08:00", 5, "2026-01-06"},
		{"received on New Year's Day", "2026-01-01T10:00:00+08:00", 1, "2026-01-04"},
		{"across Spring Festival", "2026-02-12T10:00:00+08:00", 5, "2026-02-26"},
		{"across Spring Festival 2025", "2025-01-24T10:00:00+08:00", 5, "2025-02-07"},
		{"Tomb-Sweeping", "2026-04-03T10:00:00+08:00", 1, "2026-04-07"},
		{"Labour Day and its make-up Saturday", "2026-04-30T10:00:00+08:00", 4, "2026-05-09"},
		{"before Mid-Autumn, make-up Sunday", "2026-09-18T10:00:00+08:00", 5, "2026-09-24"},
		{"across Mid-Autumn and National Day", "2026-09-24T10:00:00+08:00", 5, "2026-10-09"},
		{"to the make-up Saturday after", "2026-09-24T10:00:00+08:00", 6, "2026-10-10"},
		{"National Day 2025", "2025-09-26T10:00:00+08:00", 6, "2025-10-11"},
		{"half past midnight in Shanghai", "2026-03-01T16:30:00Z", 5, "2026-03-09"},
		{"last second of Sunday in Shanghai", "2026-03-01T15:59:59Z", 5, "2026-03-06"},
	} {
		at, err := time.Parse(time.RFC3339, x.received)
		if err != nil {
			t.Fatal(err)
		}
		due, err := c.AddWorkingDays(at, x.n)
		if err != nil || due.Format(time.DateTime) != x.due+" 23:59:59" || due.Location().String() != "Asia/Shanghai" {
			t.Errorf("%s: %s + %d = %v, %v; want %s", x.name, x.received, x.n, due, err, x.due)
		}
	}
}

// The law gives 13 holidays a year and each is made up or moved, so a year of 104 weekend days has 365-104-13 working days.
func TestWorkingDaysOfTheYear(t *testing.T) {
	c := official(t)
	for _, year := range []int{2025, 2026} {
		n := 0
		for d := time.Date(year, 1, 1, 12, 0, 0, 0, Shanghai()); d.Year() == year; d = d.AddDate(0, 0, 1) {
			ok, err := c.Working(d)
			if err != nil {
				t.Fatal(err)
			}
			if ok {
				n++
			}
		}
		if n != 248 {
			t.Errorf("%d has %d working days, want 248", year, n)
		}
	}
}

func TestYearWithoutNoticeIsNeverGuessed(t *testing.T) {
	c := official(t)
	for _, at := range []string{"2024-12-31", "2027-01-01", "2030-06-03"} {
		d, _ := time.ParseInLocation(time.DateOnly, at, Shanghai())
		if _, err := c.Working(d); !errors.Is(err, sandbox.Unavailable) {
			t.Errorf("%s: %v", at, err)
		}
	}
	at := time.Date(2026, 12, 28, 10, 0, 0, 0, Shanghai())
	if due, err := c.AddWorkingDays(at, 3); err != nil || due.Format(time.DateOnly) != "2026-12-31" {
		t.Errorf("%v, %v", due, err)
	}
	if _, err := c.AddWorkingDays(at, 4); !errors.Is(err, sandbox.Unavailable) || !strings.Contains(err.Error(), "2027") {
		t.Errorf("a period that runs into 2027: %v", err)
	}
	if _, err := (*Calendar)(nil).Working(at); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("no calendar: %v", err)
	}
	for _, n := range []int{0, -1, MaxWorkingDays + 1} {
		if _, err := c.AddWorkingDays(at, n); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%d working days: %v", n, err)
		}
	}
}

func TestAddWorkingDaysLaws(t *testing.T) {
	c := official(t)
	rapid.Check(t, func(t *rapid.T) {
		at := time.Date(2025, 1, 1, 0, 0, 0, 0, Shanghai()).Add(time.Duration(rapid.Int64Range(0, 600*24*3600).Draw(t, "second")) * time.Second)
		n := rapid.IntRange(1, 60).Draw(t, "n")
		due, err := c.AddWorkingDays(at, n)
		if err != nil {
			t.Fatal(err)
		}
		if ok, _ := c.Working(due); !ok {
			t.Fatalf("%v is not a working day", due)
		}
		got := 0
		y, m, d := at.Date()
		for day := time.Date(y, m, d+1, 12, 0, 0, 0, Shanghai()); !day.After(due); day = day.AddDate(0, 0, 1) {
			if ok, _ := c.Working(day); ok {
				got++
			}
		}
		if got != n {
			t.Fatalf("%d working days lie between, want %d", got, n)
		}
		if later, _ := c.AddWorkingDays(at, n+1); !later.After(due) {
			t.Fatal("a longer period is due earlier")
		}
	})
}

func TestOverdueToTheSecond(t *testing.T) {
	due := time.Date(2026, 3, 5, 23, 59, 59, 0, Shanghai())
	for _, x := range []struct {
		at   time.Time
		want bool
	}{
		{due, false},
		{due.Add(999 * time.Millisecond), false},
		{due.Add(time.Second), true},
		{due.UTC().Add(time.Second), true},
		{due.Add(-time.Hour), false},
	} {
		if got := Overdue(x.at, due); got != x.want {
			t.Errorf("%v: overdue %v", x.at, got)
		}
	}
	if Overdue(due, time.Time{}) {
		t.Error("no due time is never past")
	}
}

func TestAddMonths(t *testing.T) {
	for _, x := range []struct {
		from string
		n    int
		want string
	}{
		{"2026-01-31T10:00:00+08:00", 1, "2026-02-28T10:00:00+08:00"},
		{"2028-01-31T10:00:00+08:00", 1, "2028-02-29T10:00:00+08:00"},
		{"2024-02-29T10:00:00+08:00", 60, "2029-02-28T10:00:00+08:00"},
		{"2026-11-30T23:59:59+08:00", 3, "2027-02-28T23:59:59+08:00"},
		{"2026-12-15T00:00:01+08:00", 24, "2028-12-15T00:00:01+08:00"},
		{"2026-01-30T16:30:00Z", 1, "2026-02-28T00:30:00+08:00"},
	} {
		from, _ := time.Parse(time.RFC3339, x.from)
		if got := AddMonths(from, x.n).Format(time.RFC3339); got != x.want {
			t.Errorf("%s + %d months = %s, want %s", x.from, x.n, got, x.want)
		}
	}
}

func TestParseCalendarRefuses(t *testing.T) {
	good := `[{"year":2026,"notice":"n","number":"1","holidays":[{"name":"元旦","from":"2026-01-01","to":"2026-01-03"}],"workdays":["2026-01-04"]}]`
	if _, err := ParseCalendar([]byte(good)); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string][2]string{
		"unknown key":             {`"year"`, `"jahr":1,"year"`},
		"rest":                    {`]}]`, `]}] []`},
		"no notice":               {`"n"`, `""`},
		"year":                    {`:2026,`, `:1926,`},
		"holiday backwards":       {`"to":"2026-01-03"`, `"to":"2025-12-31"`},
		"holiday of next year":    {`"to":"2026-01-03"`, `"to":"2027-01-03"`},
		"holiday of half year":    {`"to":"2026-01-03"`, `"to":"2026-07-03"`},
		"not a date":              {`2026-01-01`, `2026-02-30`},
		"workday on a weekday":    {`"2026-01-04"`, `"2026-01-05"`},
		"workday in a holiday":    {`"2026-01-04"`, `"2026-01-03"`},
		"twice":                   {`[{`, `[{"year":2026,"notice":"n","number":"1","holidays":[],"workdays":[]},{`},
		"holiday from last year":  {`"from":"2026-01-01"`, `"from":"2025-12-31"`},
		"holiday into next year":  {`"from":"2026-01-01","to":"2026-01-03"`, `"from":"2026-12-31","to":"2027-01-01"`},
		"holiday ends first":      {`"from":"2026-01-01","to":"2026-01-03"`, `"from":"2026-01-03","to":"2026-01-01"`},
		"endless holiday":         {`"to":"2026-01-03"}],"workdays":["2026-01-04"]`, `"to":"2026-07-03"}],"workdays":[]`},
		"workday of another year": {`"2026-01-04"`, `"2027-01-03"`},
		"no number":               {`"1"`, `""`},
		"year before the law":     {good, `[{"year":1999,"notice":"n","number":"1","holidays":[],"workdays":[]}]`},
		"year too far":            {good, `[{"year":2200,"notice":"n","number":"1","holidays":[],"workdays":[]}]`},
	} {
		if _, err := ParseCalendar([]byte(strings.Replace(good, edit[0], edit[1], 1))); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzParseCalendar(f *testing.F) {
	f.Add([]byte(`[{"year":2026,"notice":"n","number":"1","holidays":[{"name":"x","from":"2026-01-01","to":"2026-01-03"}],"workdays":["2026-01-04"]}]`))
	f.Add([]byte(`[]`))
	f.Add([]byte(`[{"year":2026}]`))
	f.Fuzz(func(t *testing.T, b []byte) {
		c, err := ParseCalendar(b)
		if (c == nil) == (err == nil) {
			t.Fatal("a calendar or an error")
		}
		if err != nil && !errors.Is(err, sandbox.Invalid) {
			t.Fatal(err)
		}
	})
}
