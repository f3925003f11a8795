package meter

import (
	"errors"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

var at = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func TestNewIsTheSameEventForTheSameQuestion(t *testing.T) {
	a, err := New(ClaimQuery, "insurer", "sc-1", "q-1", at)
	if err != nil {
		t.Fatal(err)
	}
	b, err := New(ClaimQuery, "insurer", "sc-1", "q-1", at.In(time.FixedZone("", 8*3600)))
	if err != nil || a != b {
		t.Errorf("%+v and %+v, %v", a, b, err)
	}
	if c, _ := New(ClaimQuery, "insurer", "sc-1", "q-2", at); c.ID == a.ID {
		t.Error("two questions share an event")
	}
	if a.Quantity != 1 || a.Party != "insurer" || a.Question != "q-1" {
		t.Errorf("%+v", a)
	}
}

func TestValidateRefuses(t *testing.T) {
	for name, change := range map[string]func(*Event){
		"id":       func(e *Event) { e.ID = "" },
		"party":    func(e *Event) { e.Party = "An Insurer" },
		"scenario": func(e *Event) { e.Scenario = "" },
		"question": func(e *Event) { e.Question = "../q" },
		"product":  func(e *Event) { e.Product = "rows-returned" },
		"quantity": func(e *Event) { e.Quantity = 0 },
		"negative": func(e *Event) { e.Quantity = -1 },
		"time":     func(e *Event) { e.At = time.Time{} },
	} {
		e, err := New(AggregateQuestion, "operator", "sc-1", "q-1", at)
		if err != nil {
			t.Fatal(err)
		}
		change(&e)
		if err := e.Validate(); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := New("rows-returned", "operator", "sc-1", "q-1", at); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("an unknown product is metered: %v", err)
	}
}

// The month turns at midnight in Shanghai, eight hours before it does in UTC.
func TestMonthIsShanghais(t *testing.T) {
	for in, want := range map[string]string{
		"2026-02-28T15:59:59Z":      "2026-02",
		"2026-02-28T16:00:00Z":      "2026-03",
		"2026-03-31T23:59:59+08:00": "2026-03",
		"2026-03-31T16:00:00Z":      "2026-04",
		"2025-12-31T16:00:00Z":      "2026-01",
	} {
		x, err := time.Parse(time.RFC3339, in)
		if err != nil {
			t.Fatal(err)
		}
		if got := Month(x); got != want {
			t.Errorf("%s is in %s, want %s", in, got, want)
		}
	}
}

func TestCheckMonth(t *testing.T) {
	for s, ok := range map[string]bool{"2026-03": true, "2026-12": true, "2026-13": false, "2026-00": false, "2026-3": false, "26-03": false, "2026-03-01": false, "": false, "2026/03": false} {
		if err := CheckMonth(s); (err == nil) != ok || err != nil && !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%q: %v", s, err)
		}
	}
}
