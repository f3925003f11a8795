package main

import (
	"context"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strconv"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/scorecard"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// fewCustomers are scored one by one when nothing else is said: a batch is smaller from here on, and counts as all it has room for.
const fewCustomers = 64

// scoring is one call of he score.
type scoringCall struct {
	model, scenario, purpose, in, out, id string
	batch, single                         bool
}

// scored says what came of it.
type scored struct {
	Model     sandbox.ModelID `json:"model"`
	Customers int             `json:"customers"`
	Scored    int             `json:"scored"`
	Counted   int64           `json:"counted"` // against the grant
	LeftDay   int64           `json:"left_day"`
	LeftAll   int64           `json:"left_all"`
	Bound     float64         `json:"error_bound"`
	Out       string          `json:"out"`
}

func (a *app) heScoreCommand() *cobra.Command {
	var q scoringCall
	c := verb("score", "Have customers of your own scored by a model of the domain, without showing their features (密态评分)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return a.heScore(c.Context(), q)
	})
	c.Long = `FILE is CSV with a column for each feature of the model, under its name; --id names one more column, which stays here and names the rows of the
result. A value outside its feature's range is refused before anything is encrypted, by line and column. The key is drawn in a process of this
command's own, and goes with it; the domain gets ciphertexts, and what it gives back opens nowhere else.

Up to 64 customers are sent one by one, 16 a request: each counts as one against the grant. More go in batches, each of which counts as the 8,192
customers it has room for, since nobody but you sees how many are in it; --single sends any number one by one. Scores come rounded: hand them on with no
more digits than they have.`
	f := c.Flags()
	f.StringVar(&q.model, "model", "", "model, as he model list shows it")
	f.StringVar(&q.scenario, "scenario", "", "scenario that lists the model")
	f.StringVar(&q.purpose, "purpose", "", "its purpose")
	f.StringVar(&q.in, "in", "", "CSV of customers")
	f.StringVar(&q.out, "out", "", "file for the scores; must not exist without --force")
	f.StringVar(&q.id, "id", "", "column of the file that names its rows")
	f.BoolVar(&q.batch, "batch", false, "send a batch, however few they are")
	f.BoolVar(&q.single, "single", false, "send them one by one, however many they are")
	c.MarkFlagsMutuallyExclusive("batch", "single")
	for _, name := range []string{"model", "scenario", "purpose", "in", "out"} {
		must(c.MarkFlagRequired(name))
	}
	return c
}

func (a *app) heScore(ctx context.Context, q scoringCall) error {
	id, err := modelID(q.model)
	if err != nil {
		return err
	}
	if err := sandbox.CheckID("scenario", q.scenario); err != nil {
		return usageError{err}
	}
	if err := a.writable("he score", q.out); err != nil {
		return err
	}
	probe, err := os.CreateTemp(filepath.Dir(q.out), "."+filepath.Base(q.out)+".*") // what is counted must find its place
	if err != nil {
		return unwritten("he score", q.out)
	}
	_, _ = probe.Close(), os.Remove(probe.Name())
	s, err := a.connect()
	if err != nil {
		return err
	}
	m, err := result[api.ScoringModel](s.api.GetScoringModel(ctx, id))
	if err != nil {
		return err
	}
	in, err := os.Open(q.in)
	if err != nil {
		return &sandbox.Error{Op: "read", Kind: sandbox.NotFound, Object: q.in, Detail: "the file cannot be read", Hint: "name a CSV file that exists"}
	}
	customers, err := scorecard.ReadCustomers(in, m.Features, q.id)
	_ = in.Close()
	if err != nil {
		return err
	}
	defer customers.Clear()
	batch := q.batch || !q.single && customers.Rows > fewCustomers && len(m.Features) <= scorecard.MaxBatchFeatures
	engines := newHeEngines()
	defer engines.Close()
	engine, err := engines.start()
	if err != nil {
		return err
	}
	defer engine.Close()
	if !a.json {
		engines.say(a.err)
	}
	asker, err := he.NewAsker(ctx, engine)
	if err != nil {
		return err
	}
	defer asker.Close()
	done := scored{Model: id, Customers: customers.Rows, Out: q.out}
	step := scorecard.MaxSingles
	if batch {
		step = he.BatchCustomers
	}
	var scores []float64
	var stopped error
	for from := 0; from < customers.Rows && stopped == nil; from += step {
		var got []float64
		got, stopped = a.scoreSome(ctx, s, asker, m, q, customers, from, min(from+step, customers.Rows), batch, &done)
		scores = append(scores, got...)
	}
	if done.Scored = len(scores); done.Scored == 0 {
		return stopped
	}
	// What was counted is written, also where a later request was refused.
	if err := a.writeFile("he score", q.out, func(w io.Writer) error { return writeScores(w, scores, customers.Labels, q.id, done.Bound, batch) }); err != nil {
		return err
	}
	if err := a.show(done, func(w io.Writer) {
		fmt.Fprintf(w, "%s: %d of %d customers scored by %s, each within ±%.6f of the model in plain arithmetic (误差上界)\ncounted 计数: %d; left of the grant 剩余: %d today, %d in all\n",
			done.Out, done.Scored, done.Customers, id, done.Bound, done.Counted, done.LeftDay, done.LeftAll)
	}); err != nil {
		return err
	}
	return stopped
}

// scoreSome sends one request and decrypts what comes back.
func (a *app) scoreSome(ctx context.Context, s *session, asker *he.Asker, m api.ScoringModel, q scoringCall, customers *scorecard.Customers, from, before int, batch bool, done *scored) ([]float64, error) {
	ranges, link := scorecard.Ranges(m.Features), he.Link(m.Link)
	r := api.ScoringRequest{Scenario: sandbox.ScenarioID(q.scenario), Purpose: q.purpose, Batch: batch, Public: asker.Keys.One}
	var err error
	if batch {
		r.Public, r.Relinearisation = asker.Keys.Public, asker.Keys.Relinearisation
		if r.Features, err = asker.Encrypt(ctx, ranges, customers.Range(from, before)); err != nil {
			return nil, err
		}
	} else {
		for i := from; i < before; i++ {
			row := customers.Row(i)
			ct, err := asker.EncryptOne(ctx, ranges, row)
			clear(row)
			if err != nil {
				return nil, err
			}
			r.Features = append(r.Features, ct)
		}
	}
	got, err := result[api.ScoringAnswer](s.api.ScoreCustomers(ctx, m.ID, r))
	if err != nil {
		return nil, err
	}
	if !got.Decision.Allow {
		return nil, &refused{got.Decision}
	}
	want := before - from
	if batch {
		want = 1
	}
	if len(got.Scores) != want {
		return nil, &sandbox.Error{Op: "he score", Kind: sandbox.Tampered, Object: "answer", Detail: "it has a score for each customer that was sent"}
	}
	done.Counted, done.LeftDay, done.LeftAll = done.Counted+got.Counted, got.LeftDay, got.LeftAll
	if batch {
		x, err := asker.Decrypt(ctx, link, got.Scores[0], before-from)
		done.Bound = x.Bound
		return x.Values, err
	}
	var out []float64
	for _, ct := range got.Scores {
		x, err := asker.DecryptOne(ctx, link, ct)
		if err != nil {
			return nil, err
		}
		out, done.Bound = append(out, x.Values...), x.Bound+0.5e-8
	}
	return out, nil
}

// writeScores writes CSV: what names a row, its score, and the bound of its error, in which the last digit's rounding is.
func writeScores(w io.Writer, scores []float64, labels []string, label string, bound float64, batch bool) error {
	digits := 8
	if batch {
		digits = -1 // a score of a batch is a multiple of 2^-13
	}
	if label == "" {
		label = "row"
	}
	c := csv.NewWriter(w)
	if err := c.Write([]string{label, "score", "error_bound"}); err != nil {
		return err
	}
	limit := strconv.FormatFloat(bound, 'f', -1, 64)
	for i, x := range scores {
		name := strconv.Itoa(i + 1)
		if labels != nil {
			name = labels[i]
		}
		if err := c.Write([]string{name, strconv.FormatFloat(x, 'f', digits, 64), limit}); err != nil {
			return err
		}
	}
	c.Flush()
	return c.Error()
}
