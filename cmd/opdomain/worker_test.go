package main

import (
	"context"
	"crypto/rand"
	"errors"
	"os/exec"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/fleet"
)

// TestWorkers: a domain whose questions are computed by processes of this program gives reviewers the same numbers; without a program to
// start, nothing is answered.
func TestWorkers(t *testing.T) {
	reviewed := func(by *fleet.Processes) string {
		w := ready(t)
		w.must(w.restartWith(by, nil))
		q := w.ask(question(w.story.Coarse))
		if q.State != "in-review" {
			t.Fatalf("state %s", q.State)
		}
		r, err := result[api.Review](w.as("agency-reviewer").api.GetReview(context.Background(), q.ID))
		w.must(err)
		if !strings.Contains(string(r.Pack), `"people"`) || !strings.Contains(string(r.Result), string(q.ID)) {
			t.Fatal("a review without numbers, or without its question")
		}
		return strings.ReplaceAll(string(r.Pack)+string(r.Result), string(q.ID), "q")
	}
	by, err := workers(2, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if reviewed(nil) != reviewed(&by) {
		t.Error("worker processes give reviewers something else")
	}
	none, err := fleet.New(fleet.Config{Program: "/no/such/program", Command: []string{"opdomain"}, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	w := ready(t)
	w.must(w.restartWith(&none, nil))
	if q := w.ask(question(w.story.Coarse)); q.State == "in-review" || q.Code != sandbox.CodeWithheld {
		t.Errorf("without workers: %s %s", q.State, q.Code)
	}
}

// TestWorkerVerb: the verb is nobody's to call, and takes nothing but a job from who started it.
func TestWorkerVerb(t *testing.T) {
	path, err := exec.LookPath("opdomain")
	if err != nil {
		t.Fatal(err)
	}
	c := exec.Command(path, "worker")
	c.Stdin = strings.NewReader(strings.Repeat("x", 100))
	out, err := c.CombinedOutput()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != exitFailed || !strings.Contains(string(out), "started by the domain itself") {
		t.Errorf("%v %s", err, out)
	}
	if code, out, _ := opdomain(t, "--help"); code != 0 || strings.Contains(out, "worker") {
		t.Error("help names the verb")
	}
	if code, _, errOut := opdomain(t, "serve", "--dir", ready(t).dir, "--workers", "-1"); code != exitUsage || !strings.Contains(errOut, "--workers") {
		t.Errorf("%d %s", code, errOut)
	}
}
