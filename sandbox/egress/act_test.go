package egress

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
)

func lines(s string) (out [][]string) {
	for line := range strings.Lines(s) {
		if f := strings.Fields(line); len(f) > 0 {
			out = append(out, f)
		}
	}
	return out
}

var lead = sandbox.Identity{ID: "id-lead", Party: agency.ID, Duty: sandbox.Officer}
var owner = sandbox.Identity{ID: "id-owner", Party: unit.ID, Duty: sandbox.Officer}
var asker = sandbox.Identity{ID: "id-operator", Party: operator.ID, Duty: sandbox.Officer}

func do(r Review, on Move, who sandbox.Identity, party sandbox.Party, at time.Time) (Review, error) {
	a := attest.ReviewAct{Question: r.Question, Round: r.Round, Act: string(on), State: string(r.At(at).State), Result: r.named(on), Reason: "because", At: at}
	return r.Do(a, Electorate{Voter: who, VoterParty: party, Author: operator, Recipient: operator, Owners: []sandbox.PartyID{unit.ID}}, at)
}

func done(t testing.TB, r Review, on Move, who sandbox.Identity, party sandbox.Party) Review {
	t.Helper()
	out, err := do(r, on, who, party, now)
	if err != nil {
		t.Fatalf("%s: %v", on, err)
	}
	return out
}

// again is a returned review that its author resubmitted, checked anew.
func again(t testing.TB, r Review, at time.Time) Review {
	t.Helper()
	r = done(t, r, Resubmit, asker, operator)
	c := claims(t, append(append(people(0, 12, "a"), people(20, 3, "b")...), people(40, 8, "c")...)).check("q-1")
	return Submit(Submission{Question: "q-1", Author: r.Author, Recipient: r.Recipient, Datasets: r.Datasets, Policy: r.Policy, Now: at, Expires: at.AddDate(0, 0, 5), Appeal: 24 * time.Hour, Of: &r}, c)
}

func TestReturnResetsVotes(t *testing.T) {
	half := cast(t, submitted(t), unit, true)
	back := done(t, half, Return, reviewer(agency), agency)
	if back.State != Returned || back.Comment != "because" {
		t.Fatalf("%s %q", back.State, back.Comment)
	}
	old := half.Votes[0].Vote
	r := again(t, back, now.Add(time.Second))
	if r.State != InReview || r.Round != 1 || len(r.Votes) != 0 || len(r.Past) != 1 || !bytes.Equal(r.Digest, half.Digest) {
		t.Fatalf("%s round %d, %d votes, %d past", r.State, r.Round, len(r.Votes), len(r.Past))
	}
	e := Electorate{Voter: reviewer(unit), VoterParty: unit, Author: operator, Recipient: operator}
	old.Expires = r.Expires // all but the round is as it was
	if _, err := r.Cast(old, e, now); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a vote of the round before: %v", err)
	}
	if two := cast(t, cast(t, r, unit, true), agency, true); two.State != Approved {
		t.Errorf("the second round: %s", two.State)
	}
}

func TestConflictGoesToTheLead(t *testing.T) {
	c := cast(t, cast(t, submitted(t), unit, false), agency, true)
	for name, x := range map[string]struct {
		on    Move
		who   sandbox.Identity
		party sandbox.Party
	}{
		"approved against a refusal":    {Approve, lead, agency},
		"rejected by who voted":         {Reject, sandbox.Identity{ID: reviewer(agency).ID, Party: agency.ID, Duty: sandbox.Officer}, agency},
		"rejected by a reviewer":        {Reject, reviewer(agency), agency},
		"lifted by who approved":        {Lift, reviewer(agency), agency},
		"lifted by another of the unit": {Lift, owner, unit},
		"returned by an operator":       {Return, asker, operator},
	} {
		if got, err := do(c, x.on, x.who, x.party, now); !errors.Is(err, sandbox.Denied) || got.State != Conflicted {
			t.Errorf("%s: %s %v", name, got.State, err)
		}
	}
	if r := done(t, c, Reject, lead, agency); r.State != Rejected {
		t.Errorf("rejected: %s", r.State)
	}
	if r := done(t, c, Return, lead, agency); r.State != Returned {
		t.Errorf("returned: %s", r.State)
	}
	lifted := done(t, c, Lift, reviewer(unit), unit)
	if lifted.State != Conflicted || c.Votes[0].Lifted {
		t.Errorf("%s", lifted.State)
	}
	if _, err := lifted.approval(now); err == nil {
		t.Error("approved without the lead")
	}
	r := released(t, done(t, lifted, Approve, lead, agency))
	if r.State != Released {
		t.Errorf("%s", r.State)
	}
}

func TestAppealIsMadeOnceBeforeOthers(t *testing.T) {
	r := submitted(t)
	r.AppealTerm = 24 * time.Hour
	no := cast(t, cast(t, r, unit, false), agency, false)
	if _, err := do(no, Appeal, asker, operator, now.Add(24*time.Hour)); !errors.Is(err, sandbox.Expired) {
		t.Errorf("late: %v", err)
	}
	if _, err := do(no, Appeal, sandbox.Identity{ID: "id-colleague", Party: operator.ID, Duty: sandbox.Officer}, operator, now); !errors.Is(err, sandbox.Denied) {
		t.Errorf("not its author: %v", err)
	}
	a := done(t, no, Appeal, asker, operator)
	if a.State != Appealed || len(a.Votes) != 0 || a.Round != 1 {
		t.Fatalf("%s", a.State)
	}
	e := Electorate{Voter: reviewer(unit), VoterParty: unit, Author: operator, Recipient: operator}
	if _, err := a.Cast(vote(a, true), e, now); !errors.Is(err, sandbox.Denied) || !strings.Contains(err.Error(), "others than those") {
		t.Errorf("the same reviewer: %v", err)
	}
	e.Voter.ID = "id-fresh"
	one, err := a.Cast(vote(a, true), e, now)
	if err != nil || one.State != Appealed || one.Opened() {
		t.Fatalf("%s %v", one.State, err)
	}
	if late := one.At(one.Expires); late.State != Rejected {
		t.Errorf("an appeal nobody decided: %s", late.State)
	}
	e = Electorate{Voter: sandbox.Identity{ID: "id-agency-2", Party: agency.ID, Duty: sandbox.Reviewer}, VoterParty: agency, Author: operator, Recipient: operator}
	two, err := one.Cast(vote(one, true), e, now)
	if err != nil || two.State != Approved {
		t.Fatalf("%s %v", two.State, err)
	}
	v := vote(one, false)
	lost, err := one.Cast(v, e, now)
	if err != nil || lost.State != Conflicted {
		t.Fatalf("%s %v", lost.State, err)
	}
	if _, err := do(done(t, lost, Reject, lead, agency), Appeal, asker, operator, now); !errors.Is(err, sandbox.Denied) {
		t.Errorf("a second appeal: %v", err)
	}
}

func TestAnOwnersVetoIsFinal(t *testing.T) {
	r := submitted(t)
	r.AppealTerm = 24 * time.Hour
	other := sandbox.Party{ID: "unit-b", Role: sandbox.Unit}
	if _, err := do(r, Veto, sandbox.Identity{ID: "id-b", Party: other.ID, Duty: sandbox.Officer}, other, now); !errors.Is(err, sandbox.Denied) {
		t.Errorf("of another unit: %v", err)
	}
	if _, err := do(r, Veto, reviewer(unit), unit, now); !errors.Is(err, sandbox.Denied) {
		t.Errorf("by a reviewer: %v", err)
	}
	for _, x := range []Review{r, cast(t, r, unit, true), cast(t, cast(t, r, unit, true), agency, true), cast(t, cast(t, r, unit, true), agency, false)} {
		v := done(t, x, Veto, owner, unit)
		if v.State != Rejected {
			t.Errorf("%s: %s", x.State, v.State)
		}
		if _, err := do(v, Appeal, asker, operator, now); !errors.Is(err, sandbox.Denied) {
			t.Errorf("appealed: %v", err)
		}
	}
	if _, err := do(released(t, cast(t, cast(t, r, unit, true), agency, true)), Veto, owner, unit, now); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("after it left: %v", err)
	}
}

// What changed between approval and release stops it, and the review stays as it was.
func TestReleaseHoldsTheMoment(t *testing.T) {
	two := cast(t, cast(t, submitted(t), unit, true), agency, true)
	for name, x := range map[string]struct {
		p    Present
		at   time.Time
		kind sandbox.Kind
		edit func(*Review)
	}{
		"another policy":           {p: Present{Policy: "policy/2", Revoked: nobody}, kind: sandbox.Conflict},
		"a reviewer's key revoked": {p: Present{Policy: "policy/1", Revoked: func(id sandbox.IdentityID) bool { return id == reviewer(unit).ID }}, kind: sandbox.Denied},
		"nobody asked":             {p: Present{Policy: "policy/1"}, kind: sandbox.Denied},
		"past its expiry":          {p: Present{Policy: "policy/1", Revoked: nobody}, at: two.Expires, kind: sandbox.Denied},
		"other bytes":              {p: Present{Policy: "policy/1", Revoked: nobody}, kind: sandbox.Denied, edit: func(r *Review) { r.Result = append(bytes.Clone(r.Result), ' ') }},
		"a class nobody makes":     {p: Present{Policy: "policy/1", Revoked: nobody}, kind: sandbox.Denied, edit: func(r *Review) { r.Class = sandbox.ClassE }},
		"an unknown class":         {p: Present{Policy: "policy/1", Revoked: nobody}, kind: sandbox.Denied, edit: func(r *Review) { r.Class = "Z" }},
		"a template nobody signed": {p: Present{Policy: "policy/1", Revoked: nobody}, kind: sandbox.Denied, edit: func(r *Review) { r.Template = "t-1" }},
	} {
		r, at := two, now
		if x.edit != nil {
			x.edit(&r)
		}
		if !x.at.IsZero() {
			at = x.at
		}
		got, a, err := r.Release(at, x.p)
		if !errors.Is(err, x.kind) || a != (Approval{}) || got.State != Approved {
			t.Errorf("%s: %s %v", name, got.State, err)
		}
	}
	p := Present{Policy: "policy/1", Revoked: nobody}
	one, a, err := two.Release(now, p)
	if err != nil || one.State != Releasing || !a.Covers(two.Result, now) {
		t.Fatalf("%s %v", one.State, err)
	}
	retry, b, err := one.Release(now, p)
	if err != nil || a != b || retry.State != Releasing {
		t.Errorf("asked again: %v", err)
	}
	done, err := retry.Sent()
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := done.Release(now, p); !errors.Is(err, sandbox.Denied) {
		t.Errorf("an approval is used twice: %v", err)
	}
	back, err := two.Lapse("the policy has changed")
	if err != nil || back.State != Returned || back.Comment == "" {
		t.Errorf("%s %v", back.State, err)
	}
}

func TestActsAreAboutTheReviewAsItStands(t *testing.T) {
	r := submitted(t)
	e := Electorate{Voter: owner, VoterParty: unit, Author: operator, Recipient: operator, Owners: []sandbox.PartyID{unit.ID}}
	for name, edit := range map[string]func(*attest.ReviewAct, *Electorate){
		"another question": func(a *attest.ReviewAct, _ *Electorate) { a.Question = "q-2" },
		"another round":    func(a *attest.ReviewAct, _ *Electorate) { a.Round = 1 },
		"another state":    func(a *attest.ReviewAct, _ *Electorate) { a.State = string(Partial) },
		"another result":   func(a *attest.ReviewAct, _ *Electorate) { a.Result = Digest(nil) },
		"no reason":        func(a *attest.ReviewAct, _ *Electorate) { a.Reason = "" },
		"a long reason":    func(a *attest.ReviewAct, _ *Electorate) { a.Reason = strings.Repeat("x", 4097) },
		"no such act":      func(a *attest.ReviewAct, _ *Electorate) { a.Act = "first-vote" },
		"of the domain's":  func(a *attest.ReviewAct, _ *Electorate) { a.Act = "release" },
		"from the future":  func(a *attest.ReviewAct, _ *Electorate) { a.At = now.Add(time.Hour) },
		"by nobody":        func(_ *attest.ReviewAct, e *Electorate) { e.Voter.ID = "" },
		"for another":      func(_ *attest.ReviewAct, e *Electorate) { e.Voter.Party = "unit-b" },
	} {
		a := attest.ReviewAct{Question: r.Question, Act: string(Veto), State: string(r.State), Result: r.Digest, Reason: "because", At: now}
		e := e
		edit(&a, &e)
		if got, err := r.Do(a, e, now); err == nil || got.State != InReview {
			t.Errorf("%s: %s %v", name, got.State, err)
		}
	}
	// A clock that jumped past the expiry moves nothing but to expired.
	if got, err := do(r, Veto, owner, unit, r.Expires); !errors.Is(err, sandbox.Conflict) || got.State != InReview {
		t.Errorf("past its expiry: %s %v", got.State, err)
	}
}
