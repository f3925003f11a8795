package egress

import (
	"bytes"
	"errors"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/model"
)

// judgedModel puts one of package model's examples through its checks, as an answer to a question.
func judgedModel(t testing.TB, name string, question sandbox.QuestionID) *model.Report {
	t.Helper()
	b, err := model.Example(name)
	if err != nil {
		t.Fatal(err)
	}
	m, err := model.Decode(b, nil)
	if err != nil {
		t.Fatal(err)
	}
	m.ID = string(question)
	var data [2]*model.Data
	for i, file := range []string{"train.csv", "test.csv"} {
		b, err := model.Example(file)
		if err != nil {
			t.Fatal(err)
		}
		rows, err := model.NewBuilder(m.Schema)
		if err != nil {
			t.Fatal(err)
		}
		for _, line := range strings.Split(strings.TrimSpace(string(b)), "\n")[1:] {
			cells := strings.Split(line, ",")
			if err := rows.Add(cells[0], cells[1:4], cells[4]); err != nil {
				t.Fatal(err)
			}
		}
		data[i] = rows.Build()
	}
	p := model.Standard()
	p.Shadows = 16
	r, err := model.Judge(m, data[0], data[1], p, rand.NewPCG(1, 2))
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// TestModelLeavesAfterTwoReviewers: class D from the check to the approval; a template never releases it.
func TestModelLeavesAfterTwoReviewers(t *testing.T) {
	report := judgedModel(t, "tree", "q-1")
	p, err := Trained("q-1", report)
	if err != nil {
		t.Fatal(err)
	}
	s := Submission{Question: "q-1", Class: sandbox.ClassD, Author: "id-operator", Recipient: "id-operator", Datasets: []sandbox.DatasetID{"claims"}, Policy: "policy/1", Now: now, Expires: now.AddDate(0, 0, 5)}
	s.Template = &Template{}
	r := Submit(s, p)
	if r.State != InReview || r.Template != "" || !bytes.Equal(r.Result, report.Payload) {
		t.Fatalf("%s %q", r.State, r.Cause)
	}
	one := cast(t, r, unit, true)
	if _, a, err := one.Release(now, Present{Policy: "policy/1", Revoked: nobody}); err == nil || a != (Approval{}) {
		t.Error("it leaves on one vote")
	}
	two := cast(t, one, agency, true)
	_, a, err := two.Release(now, Present{Policy: "policy/1", Revoked: nobody})
	if err != nil || a.Class() != sandbox.ClassD || !a.Covers(report.Payload, now) || a.Covers(append(bytes.Clone(report.Payload), ' '), now) {
		t.Fatalf("%v", err)
	}
	for name, change := range map[string]func(*Review){
		"another policy":      func(r *Review) { r.Policy = "policy/2" },
		"another recipient":   func(r *Review) { r.Recipient = "id-x" },
		"past its expiry":     func(r *Review) { r.Expires = now },
		"an item that failed": func(r *Review) { r.Items = slices.Clone(r.Items); r.Items[0].Pass = false },
		"another class":       func(r *Review) { r.Class = sandbox.ClassE },
		"bytes with a space": func(r *Review) {
			r.Result = append(bytes.Clone(r.Result), ' ')
			r.Digest = Digest(r.Result)
		},
	} {
		x := two
		change(&x)
		if _, a, err := x.Release(now, Present{Policy: "policy/1", Revoked: nobody}); err == nil || a != (Approval{}) {
			t.Errorf("%s: it leaves", name)
		}
	}
	pack, err := r.Pack()
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"模型", "影子模型", "limit", `"membership-lira"`, `"shadows":16`} {
		if !bytes.Contains(pack, []byte(want)) {
			t.Errorf("the pack lacks %s", want)
		}
	}
	for _, rule := range append(report.Broken(), model.RuleLiRA) {
		if zh, en := RuleWords(rule); zh == rule || en == rule {
			t.Errorf("%s has no words", rule)
		}
	}
}

// TestModelsThatDoNotLeave: a leaky one is withheld with rule names alone, and no payload passes as another question's.
func TestModelsThatDoNotLeave(t *testing.T) {
	leaky := judgedModel(t, "leaky-tree", "q-1")
	if p, err := Trained("q-1", leaky); !errors.Is(err, sandbox.Withheld) || p != nil || !strings.Contains(err.Error(), model.RuleLiRA) || strings.Contains(err.Error(), "0.") {
		t.Errorf("%v", err)
	}
	honest := judgedModel(t, "logistic", "q-1")
	if p, err := Trained("q-2", honest); !errors.Is(err, sandbox.Denied) || p != nil {
		t.Errorf("another question's: %v", err)
	}
	some := *honest
	some.Findings = slices.DeleteFunc(slices.Clone(honest.Findings), func(f model.Finding) bool { return f.Rule == model.RuleCanary })
	p, err := Trained("q-1", &some)
	if err != nil {
		t.Fatal(err)
	}
	s := Submission{Question: "q-1", Class: sandbox.ClassD, Author: "id-operator", Recipient: "id-operator", Policy: "policy/1", Now: now, Expires: now.AddDate(0, 0, 5)}
	if r := Submit(s, p); r.State != Withheld || r.Result != nil || !strings.Contains(r.Cause, "canary") {
		t.Errorf("without a canary: %s %q", r.State, r.Cause)
	}
	odd := *honest
	odd.Findings = append(slices.Clone(honest.Findings), model.Finding{Rule: "new", Verdict: model.Pass})
	if _, err := Trained("q-1", &odd); !errors.Is(err, sandbox.Internal) {
		t.Errorf("a rule of no item: %v", err)
	}
	list, err := ChecklistOf(sandbox.ClassD)
	if err != nil {
		t.Fatal(err)
	}
	for i, x := range list.Items {
		if i >= len(modelItems) || modelItems[i].id != x.ID {
			t.Errorf("item %s has no rules", x.ID)
		}
	}
}
