package console

import (
	"bytes"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/model"
)

func review(t *testing.T) api.Review {
	t.Helper()
	one := int64(-1205)
	res, err := json.Marshal(egress.Result{Format: "opdomain-result/1", Question: "q-1", Dimensions: []string{"age"}, Measures: []sandbox.Measure{{Name: "cost", Func: sandbox.Sum, Unit: "元", Scale: 2}},
		Rows: []egress.ResultRow{{Labels: []string{"0-9"}, Suppressed: true}, {Labels: []string{"<b>10-19</b>"}, Values: []*int64{&one}}}})
	if err != nil {
		t.Fatal(err)
	}
	return api.Review{ID: "q-1", Class: sandbox.ClassA, State: "partial", Author: "operator", Recipient: "operator", Result: res, Digest: egress.Digest(res), Rules: []string{egress.RuleFrequency}}
}

func render(t *testing.T, r api.Review) string {
	t.Helper()
	var b bytes.Buffer
	if err := Page(&b, r); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

// Without evidence the page shows outgoing bytes and rule names, no number of a suppressed cell, and nobody's vote.
func TestPageWithoutEvidence(t *testing.T) {
	p := render(t, review(t))
	for _, want := range []string{"cost (元)", "-12.05", "人数少于门限", "&lt;b&gt;10-19", "出域清单"} {
		if !strings.Contains(p, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	for _, not := range []string{"逐格证据", "摘要", "开票", "<b>10-19", "<form", "<script"} {
		if strings.Contains(p, not) {
			t.Errorf("the page shows %q", not)
		}
	}
}

func TestPageShowsTheEvidence(t *testing.T) {
	r := review(t)
	pack, err := json.Marshal(egress.Pack{Brief: egress.Brief{ZH: []string{"一句话"}, EN: []string{"one line"}}, Cause: "because",
		Cells:   []egress.CellEvidence{{Labels: []string{"0-9"}, People: 4, Top1: 905, Suppressed: true, Rules: []string{egress.RuleFrequency, "new-rule"}, Intervals: []egress.CellInterval{{Measure: "cost", Lower: 3, Upper: 99}}}, {Labels: []string{"10-19"}, People: 44, Top1: 5}},
		Against: []egress.Against{{Earlier: "q-0", State: egress.Released, Changed: 2}},
		Votes:   []egress.OpenVote{{By: "id-a", Party: "unit-a", Reason: "too fine"}}})
	if err != nil {
		t.Fatal(err)
	}
	r.Pack = pack
	p := render(t, r)
	for _, want := range []string{"一句话", "one line", "90.5%", "0.5%", "3 … 99", "new-rule", "q-0", "too fine", "because", "反对 refuses"} {
		if !strings.Contains(p, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

func TestPageRefusesWhatItCannotShow(t *testing.T) {
	for name, edit := range map[string]func(*api.Review){
		"an unknown class": func(r *api.Review) { r.Class = "Z" },
		"other bytes":      func(r *api.Review) { r.Result = []byte("{}") },
		"other evidence":   func(r *api.Review) { r.Pack = []byte(`[1]`) },
	} {
		r := review(t)
		edit(&r)
		var b bytes.Buffer
		if err := Page(&b, r); err == nil || b.Len() > 0 || !errors.Is(err, sandbox.Invalid) && !errors.Is(err, sandbox.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A model is shown by its parts; bytes that are no model are not.
func TestPageShowsAModel(t *testing.T) {
	b, err := model.Example("logistic")
	if err != nil {
		t.Fatal(err)
	}
	r := review(t)
	r.Class, r.Result, r.Digest, r.Rules = sandbox.ClassD, b, egress.Digest(b), []string{model.RuleLiRA}
	p := render(t, r)
	for _, want := range []string{"截距", "area = north", "ridge 1", "影子模型", "模型"} {
		if !strings.Contains(p, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
	r.Result = append(bytes.Clone(b), ' ')
	r.Digest = egress.Digest(r.Result)
	var out bytes.Buffer
	if err := Page(&out, r); !errors.Is(err, sandbox.Invalid) || out.Len() > 0 {
		t.Errorf("another encoding: %v", err)
	}
}
