package egress

import (
	"errors"
	"math"
	"reflect"
	"slices"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// A vote nobody cast, or judged against nobody, does not count; nor does one person's second under another name.
func TestVotesNeedKnownPeople(t *testing.T) {
	half := cast(t, submitted(t), unit, true)
	for name, c := range map[string]struct {
		r      Review
		by     sandbox.Party
		change func(*Electorate)
		kind   sandbox.Kind
	}{
		"nobody":                           {submitted(t), unit, func(e *Electorate) { e.Voter.ID = "" }, sandbox.Denied},
		"no party":                         {submitted(t), unit, func(e *Electorate) { e.Voter.Party, e.VoterParty.ID = "", "" }, sandbox.Denied},
		"an unknown author":                {submitted(t), unit, func(e *Electorate) { e.Author = sandbox.Party{} }, sandbox.Denied},
		"an unknown recipient":             {submitted(t), unit, func(e *Electorate) { e.Recipient = sandbox.Party{} }, sandbox.Denied},
		"the first reviewer as the agency": {half, agency, func(e *Electorate) { e.Voter.ID = reviewer(unit).ID }, sandbox.Conflict},
		"an agency allied to the author":   {half, agency, func(e *Electorate) { e.VoterParty.Affiliates = []sandbox.PartyID{operator.ID} }, sandbox.Denied},
	} {
		e := Electorate{Voter: reviewer(c.by), VoterParty: c.by, Author: operator, Recipient: operator}
		c.change(&e)
		next, err := c.r.Cast(vote(c.r, true), e, now)
		if !errors.Is(err, c.kind) || next.State != c.r.State || len(next.Votes) != len(c.r.Votes) {
			t.Errorf("%s: %s, %v", name, next.State, err)
		}
	}
}

func TestApprovalOfNobodysVotes(t *testing.T) {
	for name, change := range map[string]func(*Review){
		"nobody's":        func(r *Review) { r.Votes[0].By = "" },
		"no party's":      func(r *Review) { r.Votes[1].Party = "" },
		"the author's":    func(r *Review) { r.Author = r.Votes[0].By },
		"the recipient's": func(r *Review) { r.Author, r.Votes[1].By = "id-else", r.Recipient },
	} {
		r := cast(t, cast(t, submitted(t), unit, true), agency, true)
		if _, err := r.approval(now); err != nil {
			t.Fatal(err)
		}
		change(&r)
		if a, err := r.approval(now); !errors.Is(err, sandbox.Denied) || a != (Approval{}) {
			t.Errorf("%s: %v", name, err)
		}
	}
	rec, check, to, result := consented(t)
	to.ID = ""
	if _, err := FromConsent(rec, check, "q-1", to, result, now.AddDate(0, 0, 1), "policy/1"); !errors.Is(err, sandbox.Denied) {
		t.Errorf("to nobody: %v", err)
	}
}

// The finding is the same in whatever order the earlier answers come.
func TestFindingDoesNotFollowTheOrder(t *testing.T) {
	earlier := []Entry{claims(t, people(0, 59, "x")).entry("q-3"), claims(t, people(0, 58, "y")).entry("q-2"), claims(t, people(0, 57, "z")).entry("q-1")}
	e := claims(t, people(0, 60, "all")).entry("q-9")
	want, hit := Compare(e, earlier, limits)
	slices.Reverse(earlier)
	if got, again := Compare(e, earlier, limits); !hit || !again || !reflect.DeepEqual(got, want) {
		t.Errorf("%+v, %+v", got, want)
	}
}

// A head of many empty cells would take memory without end.
func TestEntryHasNoEmptyCells(t *testing.T) {
	b, err := Entry{Question: "q-1", Cells: []EntryCell{{}, {}}}.Encode()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := DecodeEntry(b); !errors.Is(err, sandbox.Tampered) {
		t.Error(err)
	}
}

func TestLessStaysInRange(t *testing.T) {
	for _, c := range [][3]int64{{1, 2, -1}, {math.MinInt64, 1, math.MinInt64}, {math.MaxInt64, -1, math.MaxInt64}, {0, math.MinInt64, math.MaxInt64}, {-1, math.MinInt64, math.MaxInt64}} {
		if got := less(c[0], c[1]); got != c[2] {
			t.Errorf("%d - %d = %d, want %d", c[0], c[1], got, c[2])
		}
	}
}
