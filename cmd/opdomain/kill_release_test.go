package main

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
)

// TestKillBetweenApprovalAndDelivery kills the serving process while the vote that approves a result is on its way: opened again, the
// result either waits for that vote as before or has left once, whole, to its recipient; voted on again it leaves once. The moment of the
// kill moves over the whole request, from before it arrives to after it is answered.
func TestKillBetweenApprovalAndDelivery(t *testing.T) {
	k := newKilled(t)
	k.serve()
	ctx := context.Background()
	for _, table := range k.story.Tables {
		run, err := k.newRun()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.as(sandbox.IdentityID(table.Dataset.Unit)).push(ctx, k.info, table.Dataset, run, csvSource(filepath.Join(k.data, table.File), table.Dataset, table.Mapping, file.Options{}), nil); err != nil {
			t.Fatal(err)
		}
	}
	if err := k.grants(ctx); err != nil {
		t.Fatal(err)
	}
	show := func(id sandbox.QuestionID) api.Review {
		t.Helper()
		r, err := result[api.Review](k.as("agency-reviewer").api.GetReview(ctx, id))
		if err != nil {
			t.Fatal(err)
		}
		return r
	}
	waited, left := 0, 0
	const rounds = 12
	for round := range rounds {
		s := question(k.story.Coarse)
		s.Measures = append([]query.Measure{}, s.Measures...)
		s.Measures[len(s.Measures)-1].As = fmt.Sprintf("cost_%d", round)
		q, err := result[api.Question](k.as("operator").api.AskQuestion(ctx, s))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := k.as("unit-medical-reviewer").vote(ctx, q.ID, true, ""); err != nil {
			t.Fatal(err)
		}
		answered := make(chan error, 1)
		second := k.as("agency-reviewer")
		go func() {
			_, err := second.vote(ctx, q.ID, true, "")
			answered <- err
		}()
		if err := sleep(ctx, time.Duration(round*round)*time.Millisecond/3); err != nil {
			t.Fatal(err)
		}
		k.kill()
		acknowledged := <-answered == nil
		k.serve()
		switch r := show(q.ID); {
		case acknowledged && r.State != string(egress.Released):
			t.Fatalf("round %d: an acknowledged release is %s after the kill", round, r.State)
		case r.State == string(egress.Partial):
			waited++
			if _, err := k.as("agency-reviewer").vote(ctx, q.ID, true, ""); err != nil {
				t.Fatalf("round %d: %v", round, err)
			}
		case r.State == string(egress.Released):
			left++
			if _, err := k.as("agency-reviewer").vote(ctx, q.ID, true, ""); !errors.Is(err, sandbox.Conflict) {
				t.Errorf("round %d: a vote on what has left: %v", round, err)
			}
		default:
			t.Fatalf("round %d: %s", round, r.State)
		}
		all, err := result[[]api.ReleaseInfo](k.as("operator").api.ListReleases(ctx))
		if err != nil {
			t.Fatal(err)
		}
		var mine []sandbox.ReleaseID
		for _, x := range all {
			if x.Question == q.ID {
				mine = append(mine, x.ID)
			}
		}
		if len(mine) != 1 || len(all) != round+1 {
			t.Fatalf("round %d: %d releases of the question, %d in all", round, len(mine), len(all))
		}
		b, err := body(k.as("operator").api.GetRelease(ctx, mine[0]))
		if err != nil {
			t.Fatal(err)
		}
		plain, err := openEnvelope(k.as("operator").id, compact(b), k.info.SignKey, k.as("operator"))
		if err != nil || string(egress.Digest(plain)) != string(show(q.ID).Digest) {
			t.Errorf("round %d: what left is not what was reviewed: %v", round, err)
		}
	}
	work := t.TempDir()
	bundle := filepath.Join(work, "all.bundle")
	as := filepath.Join(k.dir, "identities", "auditor")
	if code, _, errOut := opdomain(t, "--server", k.server, "--as", as, "evidence", "export", "--out", bundle); code != 0 {
		t.Fatal(errOut)
	}
	if code, out, errOut := opdomain(t, "evidence", "verify", bundle); code != 0 || !strings.Contains(out, "ACCEPTED") {
		t.Errorf("the evidence of %d kills: %s%s", rounds, out, errOut)
	}
	t.Logf("%d kills: %d before the release, %d after it; each left once", rounds, waited, left)
}

// TestDownloadsEnd: a release is handed out so often, and for an hour from the first time; then it is expired, in the evidence too, and the
// question is reviewed anew when it is asked again.
func TestDownloadsEnd(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	leave := func(n int) (sandbox.QuestionID, sandbox.ReleaseID) {
		t.Helper()
		id := w.another(n)
		for _, who := range []sandbox.IdentityID{"unit-medical-reviewer", "agency-reviewer"} {
			if _, err := w.as(who).vote(ctx, id, true, ""); err != nil {
				t.Fatal(err)
			}
		}
		all, err := result[[]api.ReleaseInfo](w.as("operator").api.ListReleases(ctx))
		w.must(err)
		for _, x := range all {
			if x.Question == id {
				return id, x.ID
			}
		}
		t.Fatal("not released")
		return "", ""
	}
	fetch := func(id sandbox.ReleaseID) error {
		_, err := body(w.as("operator").api.GetRelease(ctx, id))
		return err
	}
	often, x := leave(1)
	for i := range 10 {
		if err := fetch(x); err != nil {
			t.Fatalf("download %d: %v", i+1, err)
		}
	}
	kindOf(t, fetch(x), sandbox.Expired, "downloaded as often")
	w.must(w.restart(nil))
	kindOf(t, fetch(x), sandbox.Expired)
	if s := w.state(often); s != string(egress.Expired) {
		t.Errorf("its downloads used up it is %s", s)
	}
	late, y := leave(2)
	w.move(func(at time.Time) time.Time { return at.Add(26 * time.Hour) }) // nobody has fetched it: its hour has not begun
	if err := fetch(y); err != nil {
		t.Fatal(err)
	}
	w.move(func(at time.Time) time.Time { return at.Add(59 * time.Minute) })
	if err := fetch(y); err != nil {
		t.Fatal(err)
	}
	w.move(func(at time.Time) time.Time { return at.Add(2 * time.Minute) })
	kindOf(t, fetch(y), sandbox.Expired, "as long ago")
	w.move(func(at time.Time) time.Time { return at.Add(-2 * time.Hour) }) // a clock set back gives nothing
	if err := fetch(y); err == nil {
		t.Error("a clock set back hands it out again")
	}
	w.move(func(at time.Time) time.Time { return at.Add(2 * time.Hour) })
	if s := w.state(late); s != string(egress.Expired) {
		t.Errorf("after its hour it is %s", s)
	}
	if again := w.another(2); again == late || w.state(again) != string(egress.InReview) {
		t.Errorf("asked again it is not reviewed anew")
	}
	rep, text := w.disclosed("auditor")
	if rep.Checks["review moves"] == 0 || !strings.Contains(text, `"on":"spend"`) {
		t.Error("the end of the downloads is not in the evidence")
	}
	w.disclosed("operator")
}
