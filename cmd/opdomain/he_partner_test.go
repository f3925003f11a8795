package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math"
	mrand "math/rand/v2"
	"os"
	"slices"
	"strconv"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/scorecard"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// stays FILE PEOPLE writes a table of so many people: who, district, fee, days; in one district there are three. The same every time.
func stays(ts *testscript.TestScript, _ bool, args []string) {
	n, err := strconv.Atoi(args[1])
	ts.Check(err)
	f, err := os.Create(ts.MkAbs(args[0]))
	ts.Check(err)
	w, r := csv.NewWriter(f), mrand.New(mrand.NewPCG(4, 2))
	ts.Check(w.Write([]string{"who", "district", "fee", "days"}))
	for i := range n {
		d := r.IntN(3)
		if i < 3 {
			d = 3
		}
		ts.Check(w.Write([]string{fmt.Sprintf("person-%04d", i), []string{"longhua", "futian", "guangming", "dapeng"}[d], fmt.Sprintf("%d.%02d", 100*(d+1)+r.IntN(400), r.IntN(100)), strconv.Itoa(1 + d + r.IntN(12))}))
	}
	w.Flush()
	ts.Check(w.Error())
	ts.Check(f.Close())
}

// modelled MODEL RESULT SCORES holds released scores to the model in plain arithmetic over the result's averages, to half of the last decimal and the bound.
func modelled(ts *testscript.TestScript, _ bool, args []string) {
	var f scorecard.File
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[0])), &f))
	read := func(name string) (r egress.Result) {
		ts.Check(json.Unmarshal([]byte(ts.ReadFile(name)), &r))
		return r
	}
	of, scores := read(args[1]), read(args[2])
	if scores.Of != of.Question || len(scores.Rows) != len(of.Rows) || len(scores.Measures) != 1 {
		ts.Fatalf("scores of %s, %d rows of %d", scores.Of, len(scores.Rows), len(of.Rows))
	}
	checked := 0
	for i, row := range of.Rows {
		if !slices.Equal(row.Labels, scores.Rows[i].Labels) || row.Suppressed != scores.Rows[i].Suppressed {
			ts.Fatalf("row %d is of another group", i)
		}
		if row.Suppressed {
			continue
		}
		x := make([]float64, len(f.Features))
		for j, w := range f.Features {
			for k, m := range of.Measures {
				if m.Name == w.Name {
					x[j] = float64(*row.Values[k]) / math.Pow10(m.Scale)
				}
			}
		}
		unit := math.Pow10(-scores.Measures[0].Scale)
		if math.Abs(float64(*scores.Rows[i].Values[0])*unit-f.Plain(x)) > unit/2+1e-4 {
			ts.Fatalf("row %d is beyond its bound", i)
		}
		checked++
	}
	if checked < 2 || checked == len(of.Rows) {
		ts.Fatalf("%d of %d groups have scores", checked, len(of.Rows))
	}
}

// partnered opens a session of an identity's folder with the domain at $ADDR.
func partnered(ts *testscript.TestScript, folder string) *session {
	id, err := openIdentity(ts.MkAbs(folder), []byte(ts.Getenv("OPDOMAIN_PASSPHRASE")), rand.Reader)
	ts.Check(err)
	s, err := newSession("http://"+ts.Getenv("ADDR"), id, time.Now, rand.Reader)
	ts.Check(err)
	return s
}

// halfway FOLDER MODEL OF NAME begins a run at the domain at $ADDR, sends a commitment, and is silent; the question is put into NAME.
func halfway(ts *testscript.TestScript, _ bool, args []string) {
	ctx, s := context.Background(), partnered(ts, args[0])
	var f scorecard.File
	ts.Check(json.Unmarshal([]byte(ts.ReadFile(args[1])), &f))
	r := attest.JointRun{Scenario: "s-stays", Purpose: "planning", Of: sandbox.QuestionID(args[2]), Groups: 4, Decimals: 2, Commitment: f.Secret().Commitment(), At: time.Now().UTC()}
	for _, x := range f.Features {
		r.Features = append(r.Features, attest.JointFeature{Measure: x.Name, Range: x.Max})
	}
	st, err := attest.Sign(rand.Reader, s.id.keys.SigningKey(), s.id.ID, attest.ContextJointRun, r)
	ts.Check(err)
	j, err := result[api.Joint](s.api.AskJoint(ctx, st))
	ts.Check(err)
	plan, err := he.DecodeJointPlan(j.Plan)
	ts.Check(err)
	p, err := he.NewJointPartner(ctx, he.JointConfig{Plan: plan, Engine: he.NewLocal(rand.Reader), Sign: s.id.keys.SigningKey(), Rand: rand.Reader})
	ts.Check(err)
	b := he.AppendMessage(nil, p.Commitment())
	j, err = result[api.Joint](s.api.PutJointMessageWithBody(ctx, j.Question.ID, int(he.Commitment), "application/vnd.opdomain.he-message", bytes.NewReader(b)))
	ts.Check(err)
	if j.Kind != int(he.KeyShare) {
		ts.Fatalf("it waits for %s", j.Step)
	}
	ts.Setenv(args[3], string(j.Question.ID))
}

// strangersKey FILE writes a verification key that nobody here has.
func strangersKey(ts *testscript.TestScript, _ bool, args []string) {
	k, err := sm.NewSigningKey(rand.Reader)
	ts.Check(err)
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(hex.EncodeToString(k.Public().Bytes())+"\n"), 0o600))
}

// releasesOf FILE QUESTION NAME puts the release of a question, in a list of them, into NAME.
func releasesOf(ts *testscript.TestScript, _ bool, args []string) {
	for line := range bytes.Lines([]byte(ts.ReadFile(args[0]))) {
		if f := bytes.Fields(line); len(f) > 4 && string(f[4]) == args[1] {
			ts.Setenv(args[2], string(f[0]))
			return
		}
	}
	ts.Fatalf("no release of %s", args[1])
}
