package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/compile"
	"github.com/opdomain/opdomain/sandbox/algo/manifest"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/jail/record"
)

// recording gives what an image would record: the image is the text of a program's name. That real images record is tested in package record
// and in the command's scripts.
type recording map[string]func() ([]byte, error)

func (r recording) Record(_ context.Context, image []byte) ([]byte, error) { return r[string(image)]() }

func counting(p *algo.Program) {
	c := p.Input("codes", algo.Text("code"), algo.Text("kind"))
	g := c.Group(algo.By("code", c.Label("code", "")))
	p.Reveal("kinds", g, algo.Out("people", g.Subjects()), algo.Out("x", g.CountIf(c.Label("kind", "").In("x"))), algo.Out("share", g.CountIf(c.Label("kind", "").In("x")).Div(g.Count())))
}

// office with an algorithm's author.
type agencyOffice struct {
	*noisy
	author *sm.SigningKey
}

func newAgencyOffice(t *testing.T) *agencyOffice {
	o := &agencyOffice{noisy: newNoisy(t, map[sandbox.ScenarioID]sandbox.Noise{"sc-1": {}})}
	var err error
	if o.author, err = sm.NewSigningKey(rand.Reader); err != nil {
		t.Fatal(err)
	}
	o.n.cfg.Recorder = recording{
		"good":    func() ([]byte, error) { return algo.Record("counting", counting) },
		"hangs":   func() ([]byte, error) { return nil, &record.Fault{Reason: record.Deadline} },
		"floods":  func() ([]byte, error) { return nil, &record.Fault{Reason: record.Flooded} },
		"garbage": func() ([]byte, error) { return []byte(`{"sdk":"1"}`), nil },
		"large":   func() ([]byte, error) { return bytes.Repeat([]byte(" "), algo.MaxBytes+1), nil },
		"lies": func() ([]byte, error) {
			return algo.Record("counting", func(p *algo.Program) {
				c := p.Input("codes", algo.Text("code"), algo.Text("kind"))
				p.Reveal("kinds", c.Group(), algo.Out("people", c.Group().Subjects()))
			})
		},
	}
	return o
}

// request is what the agency sends for an image; change, where given, is made before the author signs, and after before the agency does.
func (o *agencyOffice) request(image string, change func(*manifest.Manifest), after func(*attest.AlgorithmApproval)) api.AlgorithmRequest {
	o.Helper()
	b, err := algo.Record("counting", counting)
	if err != nil {
		o.Fatal(err)
	}
	g, types, err := algo.Decode(b)
	if err != nil {
		o.Fatal(err)
	}
	digest, graph := sm.Sum([]byte(image)), sm.Sum(b)
	m := &manifest.Manifest{Name: "counting", Version: "1.0.0", Contract: manifest.Program, SDK: algo.Version, Format: "wasm", Image: digest[:], Author: "a", Limits: manifest.Limits{MemoryMiB: 128, Seconds: 30}}
	m.Describe(g, types)
	if err := m.Sign(rand.Reader, o.author); err != nil {
		o.Fatal(err)
	}
	if change != nil {
		change(m)
	}
	whole := m.Digest()
	a := attest.AlgorithmApproval{Name: m.Name, Version: m.Version, Manifest: whole[:], Image: digest[:], Graph: graph[:], At: o.n.now()}
	if after != nil {
		after(&a)
	}
	return api.AlgorithmRequest{Manifest: m.Encode(), Image: []byte(image), Statement: o.agency.says(o.T, attest.ContextAlgorithm, a)}
}

// events counts those of a kind and gives the body of the last.
func (o *agencyOffice) events(kind attest.Kind, body any) (n int) {
	o.Helper()
	for e, err := range o.n.evidence.Events(o.Context()) {
		if err != nil {
			o.Fatal(err)
		}
		if e.Event.Kind == kind {
			n++
			if err := e.Event.Open(body); err != nil {
				o.Fatal(err)
			}
		}
	}
	return n
}

var codesBound = []api.AlgorithmBinding{{Input: "codes", Dataset: "ds-c"}}

// TestProgramFromApprovalToReview: an approved Program is asked like any question, and its table is made of what would leave.
func TestProgramFromApprovalToReview(t *testing.T) {
	o, ctx := newAgencyOffice(t), t.Context()
	o.rows("run-2", 3000)
	use := api.AlgorithmUse{Scenario: "sc-1", Purpose: "planning", Bind: codesBound}
	got, err := o.n.ApproveAlgorithm(ctx, o.agency.Caller, o.request("good", nil, nil))
	if err != nil || got.ID != "counting-1.0.0" || len(got.Graph) == 0 {
		t.Fatal(got, err)
	}
	if _, err := o.n.ApproveAlgorithm(ctx, o.agency.Caller, o.request("good", nil, nil)); sandbox.KindOf(err) != sandbox.Conflict {
		t.Errorf("approved twice: %v", err)
	}
	x, err := o.n.ExplainAlgorithm(ctx, o.operator.Caller, got.ID, use)
	if err != nil || !x.Decision.Allow || len(x.Questions) != 2 {
		t.Fatalf("%+v %v", x.Decision, err)
	}
	a, err := o.n.AskAlgorithm(ctx, o.operator.Caller, got.ID, use)
	if err != nil || !a.Decision.Allow || len(a.Questions) != 2 {
		t.Fatalf("%+v %v", a, err)
	}
	var plan compile.Plan
	if err := json.Unmarshal(a.Plan, &plan); err != nil {
		t.Fatal(err)
	}
	results := map[int]compile.Released{}
	for i, q := range a.Questions {
		_, r := o.result(q)
		out := compile.Released{Measures: r.Measures}
		for _, row := range r.Rows {
			out.Rows = append(out.Rows, compile.ReleasedRow{Labels: row.Labels, Values: row.Values, Suppressed: row.Suppressed})
		}
		results[i] = out
	}
	table, err := plan.Tables[0].Fill(results)
	if err != nil {
		t.Fatal(err)
	}
	if got, want := fmt.Sprint(table.Rows), "[[a 1800 900 0.5] [b 1176 588 0.5] [c 24 12 0.5]]"; got != want {
		t.Errorf("%s, not %s", got, want)
	}
	var asked attest.AlgorithmAskedBody
	if n := o.events(attest.AlgorithmAsked, &asked); n != 1 || len(asked.Questions) != 2 || asked.Questions[0] != a.Questions[0].ID {
		t.Errorf("%d uses in the log: %+v", n, asked)
	}
	var b bytes.Buffer
	if err := o.n.Bundle(ctx, o.agency.Caller, &b); err != nil {
		t.Fatal(err)
	}
	if _, err := attest.VerifyBundle(&b, nil); err != nil {
		t.Error(err)
	}
	st := o.agency.says(t, attest.ContextAlgorithmWithdraw, attest.AlgorithmWithdrawal{Name: "counting", Version: "1.0.0", Reason: "r", At: o.n.now()})
	if _, err := o.n.WithdrawAlgorithm(ctx, o.agency.Caller, got.ID, st); err != nil {
		t.Fatal(err)
	}
	if _, err := o.n.WithdrawAlgorithm(ctx, o.agency.Caller, got.ID, st); sandbox.KindOf(err) != sandbox.Conflict {
		t.Errorf("withdrawn twice: %v", err)
	}
	a, err = o.n.AskAlgorithm(ctx, o.operator.Caller, got.ID, use)
	if err != nil || a.Decision.Allow || a.Decision.Reasons[0].Code != codeWithdrawn {
		t.Errorf("after its withdrawal: %+v %v", a, err)
	}
	b.Reset()
	if err := o.n.Bundle(ctx, o.agency.Caller, &b); err != nil {
		t.Fatal(err)
	}
	if _, err := attest.VerifyBundle(&b, nil); err != nil {
		t.Error(err)
	}
}

// TestBadAlgorithms: what breaks a rule ends with a typed reason, evidence names the rule, and the domain is as it was.
func TestBadAlgorithms(t *testing.T) {
	o, ctx := newAgencyOffice(t), t.Context()
	n := 0
	for name, c := range map[string]struct {
		image  string
		change func(*manifest.Manifest)
		after  func(*attest.AlgorithmApproval)
		send   func(*api.AlgorithmRequest)
		rule   string
		kind   sandbox.Kind
	}{
		"another image":            {"good", nil, nil, func(r *api.AlgorithmRequest) { r.Image = []byte("lies") }, "image.digest", sandbox.Tampered},
		"unsigned":                 {"good", func(m *manifest.Manifest) { m.Signature = nil }, nil, nil, "manifest.unsigned", sandbox.Unsigned},
		"changed after signing":    {"good", func(m *manifest.Manifest) { m.Version = "1.0.1" }, nil, nil, "manifest.unsigned", sandbox.Unsigned},
		"another SDK":              {"good", func(m *manifest.Manifest) { m.SDK = "9" }, nil, nil, "manifest.sdk", sandbox.Invalid},
		"no manifest":              {"good", nil, nil, func(r *api.AlgorithmRequest) { r.Manifest = []byte("{}") }, "manifest.invalid", sandbox.Invalid},
		"another output":           {"lies", nil, nil, nil, "graph.manifest", sandbox.Invalid},
		"endless recording":        {"hangs", nil, nil, nil, "image.deadline", sandbox.Invalid},
		"a flood":                  {"floods", nil, nil, nil, "image.flooded", sandbox.TooLarge},
		"no graph":                 {"garbage", nil, nil, nil, "graph.invalid", sandbox.Invalid},
		"a graph too large":        {"large", nil, nil, nil, "graph.invalid", sandbox.TooLarge},
		"approval of another":      {"good", nil, func(a *attest.AlgorithmApproval) { a.Version = "2.0.0" }, nil, "approval.other", sandbox.Invalid},
		"approval of another code": {"good", nil, func(a *attest.AlgorithmApproval) { a.Graph = a.Image }, nil, "graph.digest", sandbox.Tampered},
	} {
		r := o.request(c.image, c.change, c.after)
		if c.send != nil {
			c.send(&r)
		}
		_, err := o.n.ApproveAlgorithm(ctx, o.agency.Caller, r)
		if sandbox.KindOf(err) != c.kind || err == nil {
			t.Errorf("%s: %v, not %s", name, err, c.kind)
		}
		n++
		var b attest.AlgorithmRefusedBody
		if got := o.events(attest.AlgorithmRefused, &b); got != n || b.Rule != c.rule {
			t.Errorf("%s: %d refusals in the log, the last %q, not %q", name, got, b.Rule, c.rule)
			n = got
		}
	}
	if all, err := o.n.ListAlgorithms(ctx, o.operator.Caller); err != nil || len(all) != 0 {
		t.Errorf("%d are listed, %v", len(all), err)
	}
	if _, err := o.n.ApproveAlgorithm(ctx, o.agency.Caller, api.AlgorithmRequest{Statement: o.unit.says(t, attest.ContextAlgorithm, attest.AlgorithmApproval{})}); err == nil {
		t.Error("another's statement is taken")
	}
	a, err := o.n.AskAlgorithm(ctx, o.operator.Caller, "counting-1.0.0", api.AlgorithmUse{Scenario: "sc-1", Purpose: "planning"})
	if err != nil || a.Decision.Allow || a.Decision.Reasons[0].Code != codeNotApproved || len(a.Questions) > 0 {
		t.Errorf("%+v %v", a, err)
	}
	if q := o.asks(o.operator, asking("sc-1", []string{"code"}, countOf)); q.State != stateInReview {
		t.Errorf("the domain answers with %s", q.State)
	}
}

// TestProgramIsRefusedLikeAnyQuestion: none of its questions is asked when one would be refused, and nobody learns of datasets that the
// scenario does not list.
func TestProgramIsRefusedLikeAnyQuestion(t *testing.T) {
	o, ctx := newAgencyOffice(t), t.Context()
	if _, err := o.n.ApproveAlgorithm(ctx, o.agency.Caller, o.request("good", nil, nil)); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		by   seat
		use  api.AlgorithmUse
		code string
	}{
		"without binding":     {o.operator, api.AlgorithmUse{Scenario: "sc-1", Purpose: "planning"}, "dataset.not-listed"},
		"another purpose":     {o.operator, api.AlgorithmUse{Scenario: "sc-1", Purpose: "marketing", Bind: codesBound}, "purpose.mismatch"},
		"no scenario":         {o.operator, api.AlgorithmUse{Scenario: "sc-9", Purpose: "planning", Bind: codesBound}, "scenario.unknown"},
		"binding of no input": {o.operator, api.AlgorithmUse{Scenario: "sc-1", Purpose: "planning", Bind: []api.AlgorithmBinding{{Input: "x", Dataset: "ds-c"}}}, "program.input"},
	} {
		a, err := o.n.AskAlgorithm(ctx, c.by.Caller, "counting-1.0.0", c.use)
		if err != nil || a.Decision.Allow || len(a.Questions) > 0 || !slices.ContainsFunc(a.Decision.Reasons, func(r sandbox.Reason) bool { return r.Code == c.code }) {
			t.Errorf("%s: %+v %v", name, a, err)
		}
	}
	if n := o.events(attest.QuestionDecided, &attest.QuestionDecidedBody{}); n != 0 {
		t.Errorf("%d questions were decided", n)
	}
}
