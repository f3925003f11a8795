package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
)

// another is a question of the story's coarse groups that was not asked before.
func (w *world) another(n int) sandbox.QuestionID {
	w.t.Helper()
	s := question(w.story.Coarse)
	s.Measures = append([]query.Measure{}, s.Measures...)
	s.Measures[len(s.Measures)-1].As = fmt.Sprintf("cost_%d", n)
	return w.ask(s).ID
}

func (w *world) state(id sandbox.QuestionID) string {
	w.t.Helper()
	r, err := result[api.Review](w.as("agency-reviewer").api.GetReview(context.Background(), id))
	w.must(err)
	return r.State
}

// TestSimultaneousVotes: of votes cast at the same time one of each step counts, and one release leaves.
func TestSimultaneousVotes(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	id := w.another(1)
	together := func(who ...sandbox.IdentityID) (won int) {
		var all sync.WaitGroup
		errs := make([]error, len(who))
		for i, x := range who {
			s := w.as(x)
			all.Go(func() { _, errs[i] = s.vote(ctx, id, true, "") })
		}
		all.Wait()
		for _, err := range errs {
			if err == nil {
				won++
			} else if !errors.Is(err, sandbox.Conflict) && !errors.Is(err, sandbox.Denied) && !errors.Is(err, sandbox.NotFound) {
				t.Error(err)
			}
		}
		return won
	}
	if won := together("unit-medical-reviewer", "unit-population-reviewer", "unit-medical-reviewer"); won != 1 {
		t.Errorf("%d first votes", won)
	}
	if won := together("agency-reviewer", "agency-appeals", "agency-reviewer", "agency-appeals"); won != 1 {
		t.Errorf("%d second votes", won)
	}
	all, err := result[[]api.ReleaseInfo](w.as("operator").api.ListReleases(ctx))
	w.must(err)
	if len(all) != 1 || w.state(id) != string(egress.Released) {
		t.Errorf("%d releases, %s", len(all), w.state(id))
	}
}

// TestFirstVoteIsBlind: until the second vote is in, nobody but who cast it and auditors can tell the first, from the review or from
// evidence; then all who follow the review can.
func TestFirstVoteIsBlind(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	id := w.another(1)
	r, err := w.as("unit-medical-reviewer").vote(ctx, id, false, "words of a refusal")
	w.must(err)
	if r.State != string(egress.Partial) {
		t.Fatalf("the state tells the vote: %s", r.State)
	}
	for who, sees := range map[sandbox.IdentityID]int{"agency": 0, "operator": 0, "unit-population": 0, "unit-medical": 1, "auditor": 1} {
		if rep, _ := w.disclosed(who); rep.Events[attest.ReviewVoted] != sees {
			t.Errorf("%s sees %d votes while one waits", who, rep.Events[attest.ReviewVoted])
		}
	}
	r, err = result[api.Review](w.as("agency-reviewer").api.GetReview(ctx, id))
	w.must(err)
	if r.Votes != 1 || strings.Contains(string(r.Pack), "refusal") {
		t.Errorf("the second reviewer reads the first vote: %s", r.Pack)
	}
	if r, err = w.as("agency-reviewer").vote(ctx, id, true, ""); err != nil || !strings.Contains(string(r.Pack), "words of a refusal") {
		t.Errorf("the votes are not opened: %s %v", r.Pack, err)
	}
	for who, sees := range map[sandbox.IdentityID]int{"agency": 2, "operator": 0, "unit-population": 2, "unit-medical": 2, "auditor": 2} {
		if rep, _ := w.disclosed(who); rep.Events[attest.ReviewVoted] != sees {
			t.Errorf("%s sees %d votes after both are in", who, rep.Events[attest.ReviewVoted])
		}
	}
}

// TestRevokedReviewerStopsARelease: the first reviewer's identity is revoked before the second vote: nothing leaves, nothing moves,
// and after a return others vote.
func TestRevokedReviewerStopsARelease(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	id := w.another(1)
	if _, err := w.as("unit-medical-reviewer").vote(ctx, id, true, ""); err != nil {
		t.Fatal(err)
	}
	if _, err := body(w.as("agency").api.RevokeIdentity(ctx, "unit-medical-reviewer", api.RevocationRequest{Reason: "lost"})); err != nil {
		t.Fatal(err)
	}
	_, err := w.as("agency-reviewer").vote(ctx, id, true, "")
	kindOf(t, err, sandbox.Denied, "revoked between vote and release")
	if s := w.state(id); s != string(egress.Partial) {
		t.Errorf("moved to %s", s)
	}
	if _, err := w.as("agency-reviewer").act(ctx, id, egress.Return, "a reviewer was shut out"); err != nil {
		t.Fatal(err)
	}
	if _, err := w.as("operator").actAsAuthor(ctx, id, egress.Resubmit, ""); err != nil {
		t.Fatal(err)
	}
	for _, who := range []sandbox.IdentityID{"unit-population-reviewer", "agency-reviewer"} {
		if _, err := w.as(who).vote(ctx, id, true, ""); err != nil {
			t.Fatal(err)
		}
	}
	if s := w.state(id); s != string(egress.Released) {
		t.Errorf("%s", s)
	}
	w.disclosed("auditor") // verifies
}

// TestReviewsSurviveRestartsAndExpire: a review half voted on is where it was after a restart; a clock that passes its expiry ends it,
// set back it stays ended, and the expiry is in the evidence.
func TestReviewsSurviveRestartsAndExpire(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	id := w.another(1)
	if _, err := w.as("unit-medical-reviewer").vote(ctx, id, true, ""); err != nil {
		t.Fatal(err)
	}
	w.must(w.restart(nil))
	if s := w.state(id); s != string(egress.Partial) {
		t.Fatalf("after a restart: %s", s)
	}
	w.move(func(at time.Time) time.Time { return at.AddDate(0, 0, 40) })
	_, err := w.as("agency-reviewer").vote(ctx, id, true, "")
	kindOf(t, err, sandbox.Expired)
	w.must(w.node.Tend(ctx))
	w.move(func(at time.Time) time.Time { return at.AddDate(0, 0, -40) })
	w.must(w.restart(nil))
	agency := api.Caller{Identity: sandbox.Identity{ID: "agency", Party: "agency", Duty: sandbox.Officer}, Party: sandbox.Party{ID: "agency", Role: sandbox.Agency}}
	if r, err := w.node.Review(ctx, agency, id); err != nil || r.State != string(egress.Expired) {
		t.Errorf("a clock set back brings it to life: %s %v", r.State, err)
	}
	w.move(func(at time.Time) time.Time { return at.AddDate(0, 0, 40) })
	rep, text := w.disclosed("auditor")
	if rep.Checks["review moves"] == 0 || !strings.Contains(text, `"on":"expire"`) {
		t.Error("the expiry is not in the evidence")
	}
}

// TestReplayedActs: an act that was sent once moves nothing when it is sent again, in whatever state the review is.
func TestReplayedActs(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	id := w.another(1)
	reviewer := w.as("unit-medical-reviewer")
	r, err := result[api.Review](reviewer.api.GetReview(ctx, id))
	w.must(err)
	st, err := reviewer.id.sign(attest.ContextReviewAct, attest.ReviewAct{Question: id, Act: string(egress.Return), State: r.State, Result: r.Digest, Reason: "unclear", At: w.now()})
	w.must(err)
	if _, err := result[api.Review](reviewer.api.ActOnReview(ctx, id, st)); err != nil {
		t.Fatal(err)
	}
	if _, err := w.as("operator").actAsAuthor(ctx, id, egress.Resubmit, ""); err != nil {
		t.Fatal(err)
	}
	_, err = result[api.Review](reviewer.api.ActOnReview(ctx, id, st))
	kindOf(t, err, sandbox.Conflict)
	if s := w.state(id); s != string(egress.InReview) {
		t.Errorf("moved to %s", s)
	}
	// Sent by another than who signed it.
	_, err = result[api.Review](w.as("agency-reviewer").api.ActOnReview(ctx, id, st))
	kindOf(t, err, sandbox.Unsigned)
	// The author of a question is no reviewer of it, whatever the duty.
	_, err = w.as("operator").act(ctx, id, egress.Return, "mine")
	kindOf(t, err, sandbox.Denied)
}

// TestTemplateReleasesAtItsSlot: what a template approved leaves at the slot and not before; stopped before, it comes before reviewers.
func TestTemplateReleasesAtItsSlot(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	agency := w.as("agency")
	sign := func(id sandbox.TemplateID, budget int) {
		t.Helper()
		st, err := agency.id.sign(attest.ContextTemplate, attest.StandingTemplate{ID: id, Scenario: costScenario, Measures: []string{"subjects()", "sum(ds-claims.amount)"}, Recipient: "operator",
			Budget: budget, Slot: 3600, Policy: w.info.Policy, Expires: w.now().AddDate(0, 1, 0), At: w.now()})
		w.must(err)
		if _, err := result[api.Template](agency.api.SignTemplate(ctx, st)); err != nil {
			t.Fatal(err)
		}
	}
	sign("t-1", 2)
	one, two, three := w.another(1), w.another(2), w.another(3)
	if a, b, c := w.state(one), w.state(two), w.state(three); a != string(egress.AutoApproved) || b != a || c != string(egress.InReview) {
		t.Fatalf("%s, %s, %s", a, b, c)
	}
	show := func(id sandbox.QuestionID) api.Question {
		q, err := result[api.Question](w.as("operator").api.GetQuestion(ctx, id))
		w.must(err)
		return q
	}
	if q := show(one); q.State != "in-review" || q.Release != "" {
		t.Errorf("before its slot: %+v", q)
	}
	st, err := agency.id.sign(attest.ContextTemplateStop, attest.TemplateStop{Template: "t-1", Reason: "because", At: w.now()})
	w.must(err)
	w.move(func(at time.Time) time.Time { return at.Add(time.Hour) })
	if q := show(one); q.State != stateReleasedText || q.Release == "" {
		t.Errorf("after its slot: %+v", q)
	}
	if _, err := result[api.Template](agency.api.StopTemplate(ctx, "t-1", st)); err != nil {
		t.Fatal(err)
	}
	w.must(w.node.Tend(ctx))
	if s := w.state(two); s != string(egress.InReview) {
		t.Errorf("a stopped template: %s", s)
	}
	if _, err := w.as("unit-medical-reviewer").vote(ctx, two, true, ""); err != nil {
		t.Fatal(err)
	}
	rep, _ := w.disclosed("auditor")
	if rep.Checks["standing template"] == 0 {
		t.Error("no template was checked")
	}
	w.disclosed("operator")
	w.disclosed("agency")
}

const stateReleasedText = "released"
