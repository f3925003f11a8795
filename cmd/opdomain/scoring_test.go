package main

import (
	"context"
	"crypto/rand"
	"encoding/csv"
	"encoding/json"
	"errors"
	"math"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/scorecard"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// plainly MODEL IN OUT holds written scores to the model in plain arithmetic, within the bound that stands beside each, which is at most 2e-3.
func plainly(ts *testscript.TestScript, _ bool, args []string) {
	var f scorecard.File
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &f))
	table := func(name string) [][]string {
		rows, err := csv.NewReader(strings.NewReader(ts.ReadFile(name))).ReadAll()
		ts.Check(err)
		return rows
	}
	in, out := table(args[1]), table(args[2])
	if len(in) != len(out) || strings.Join(out[0][1:], ",") != "score,error_bound" {
		ts.Fatalf("%d rows of %d, under %v", len(out), len(in), out[0])
	}
	for i := 1; i < len(in); i++ {
		x := make([]float64, len(f.Features))
		for j, w := range f.Features {
			for k, name := range in[0] {
				if name == w.Name {
					v, err := strconv.ParseFloat(in[i][k], 64)
					ts.Check(err)
					x[j] = v
				}
			}
		}
		score, err := strconv.ParseFloat(out[i][1], 64)
		ts.Check(err)
		bound, err := strconv.ParseFloat(out[i][2], 64)
		ts.Check(err)
		if math.Abs(score-f.Plain(x)) > bound || bound > 2e-3 || bound <= 0 {
			ts.Fatalf("row %d is beyond its bound of %g", i, bound)
		}
	}
}

// mutated FOLDER MODEL SCENARIO PURPOSE sends a ciphertext whose first coefficient is above its modulus to $ADDR, and wants it refused as Invalid.
func mutated(ts *testscript.TestScript, _ bool, args []string) {
	id, err := openIdentity(ts.MkAbs(args[0]), []byte(ts.Getenv("OPDOMAIN_PASSPHRASE")), rand.Reader)
	ts.Check(err)
	s, err := newSession("http://"+ts.Getenv("ADDR"), id, time.Now, rand.Reader)
	ts.Check(err)
	ctx := context.Background()
	a, err := he.NewAsker(ctx, he.NewLocal(rand.Reader))
	ts.Check(err)
	ct, err := a.EncryptOne(ctx, []float64{1, 1, 1}, []float64{0, 0, 0})
	ts.Check(err)
	ct[7] = 0xff
	_, err = result[api.ScoringAnswer](s.api.ScoreCustomers(ctx, sandbox.ModelID(args[1]), api.ScoringRequest{Scenario: sandbox.ScenarioID(args[2]), Purpose: args[3], Public: a.Keys.One, Features: [][]byte{ct}}))
	if sandbox.KindOf(err) != sandbox.Invalid {
		ts.Fatalf("a coefficient above its modulus: %v", err)
	}
}

// TestFeaturesOfAModel: a line of features is named, never its value.
func TestFeaturesOfAModel(t *testing.T) {
	good, err := weightedFeatures("\ufefffeature,unit,min,max,weight\nage,岁,0,100,0.03\ndebt,,-1,1,2\n")
	if err != nil || len(good) != 2 || good[0].Unit != "岁" || good[1].Min != -1 || good[1].Weight != 2 {
		t.Fatalf("%v %v", good, err)
	}
	for name, text := range map[string]string{"": "line 1", "feature,unit,min,max,weight\n": "line 1", "feature,weight\nage,1\n": "line 1", "feature,unit,min,max,weight\nage,岁,0,100,31415x\n": "line 2, column weight",
		"feature,unit,min,max,weight\nage,岁,0,NaN,1\n": "line 2, column max", "feature,unit,min,max,weight\nage,岁,0,1\n": "line 2"} {
		_, err := weightedFeatures(name)
		var e *sandbox.Error
		if !errors.As(err, &e) || e.Object != text || strings.Contains(err.Error(), "31415") {
			t.Errorf("%q: %v", name, err)
		}
	}
}

// TestModelFileIsPrivate: a file of weights that others may read is not used.
func TestModelFileIsPrivate(t *testing.T) {
	dir := t.TempDir()
	features := dir + "/features.csv"
	if err := os.WriteFile(features, []byte("feature,unit,min,max,weight\nage,岁,0,100,0.03\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, errOut := invoked(t, "he", "model", "new", "--features", features, "--name", "credit", "--out", dir+"/m.json"); status != 0 {
		t.Fatal(errOut)
	}
	if err := os.Chmod(dir+"/m.json", 0o644); err != nil {
		t.Fatal(err)
	}
	if status, _, errOut := invoked(t, "he", "model", "submit", dir+"/m.json"); status != exitFailed || !strings.Contains(errOut, "others may read") {
		t.Errorf("%d %s", status, errOut)
	}
}
