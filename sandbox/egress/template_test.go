package egress

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
)

func standing() attest.StandingTemplate {
	return attest.StandingTemplate{ID: "t-1", Scenario: "sc", Spec: Digest([]byte("q")), Recipient: asker.ID, Budget: 2, Sample: 10, Slot: 3600, Policy: "policy/1", Expires: now.AddDate(0, 6, 0), At: now}
}

func TestNewTemplateRefuses(t *testing.T) {
	if _, err := NewTemplate(standing(), lead, agency, "policy/1", now); err != nil {
		t.Fatal(err)
	}
	for name, edit := range map[string]func(*attest.StandingTemplate, *sandbox.Identity, *sandbox.Party){
		"an operator's":  func(_ *attest.StandingTemplate, who *sandbox.Identity, p *sandbox.Party) { *who, *p = asker, operator },
		"a reviewer's":   func(_ *attest.StandingTemplate, who *sandbox.Identity, _ *sandbox.Party) { who.Duty = sandbox.Reviewer },
		"no name":        func(s *attest.StandingTemplate, _ *sandbox.Identity, _ *sandbox.Party) { s.ID = "" },
		"no scenario":    func(s *attest.StandingTemplate, _ *sandbox.Identity, _ *sandbox.Party) { s.Scenario = "A B" },
		"no question":    func(s *attest.StandingTemplate, _ *sandbox.Identity, _ *sandbox.Party) { s.Spec = nil },
		"a short digest": func(s *attest.StandingTemplate, _ *sandbox.Identity, _ *sandbox.Party) { s.Spec = s.Spec[:8] },
		"question and measures": func(s *attest.StandingTemplate, _ *sandbox.Identity, _ *sandbox.Party) {
			s.Measures = []string{"count()"}
		},
		"no recipient":         func(s *attest.StandingTemplate, _ *sandbox.Identity, _ *sandbox.Party) { s.Recipient = "" },
		"no budget":            func(s *attest.StandingTemplate, _ *sandbox.Identity, _ *sandbox.Party) { s.Budget = 0 },
		"a budget without end": func(s *attest.StandingTemplate, _ *sandbox.Identity, _ *sandbox.Party) { s.Budget = 1 << 30 },
		"half a sample more":   func(s *attest.StandingTemplate, _ *sandbox.Identity, _ *sandbox.Party) { s.Sample = 101 },
		"no slot":              func(s *attest.StandingTemplate, _ *sandbox.Identity, _ *sandbox.Party) { s.Slot = 0 },
		"another policy":       func(s *attest.StandingTemplate, _ *sandbox.Identity, _ *sandbox.Party) { s.Policy = "policy/0" },
		"over":                 func(s *attest.StandingTemplate, _ *sandbox.Identity, _ *sandbox.Party) { s.Expires = now },
		"for ever": func(s *attest.StandingTemplate, _ *sandbox.Identity, _ *sandbox.Party) {
			s.Expires = now.AddDate(2, 0, 0)
		},
		"signed long ago": func(s *attest.StandingTemplate, _ *sandbox.Identity, _ *sandbox.Party) { s.At = now.AddDate(0, 0, -2) },
	} {
		s, who, p := standing(), lead, agency
		edit(&s, &who, &p)
		if got, err := NewTemplate(s, who, p, "policy/1", now); err == nil || got.ID != "" {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestTemplateReleasesWithinItsBounds(t *testing.T) {
	tpl, err := NewTemplate(standing(), lead, agency, "policy/1", now)
	if err != nil {
		t.Fatal(err)
	}
	clean, dirty := slices.Concat(people(0, 12, "a"), people(40, 11, "c")), slices.Concat(people(0, 12, "a"), people(20, 3, "b"), people(40, 11, "c"))
	asked := TemplateUse{Scenario: "sc", Spec: Digest([]byte("q"))}
	submit := func(tpl Template, groups []row, edit func(*Submission)) Review {
		s := Submission{Question: "q-1", Author: asker.ID, Recipient: asker.ID, Policy: "policy/1", Now: now, Expires: now.AddDate(0, 0, 5), Template: &tpl, Asked: asked, Sampled: true}
		if edit != nil {
			edit(&s)
		}
		return Submit(s, claims(t, groups).check("q-1"))
	}
	r := submit(tpl, clean, nil)
	if r.State != AutoApproved || r.Use != 1 || !r.Sampled || !r.Slot.After(now) || r.Slot.Unix()%3600 != 0 {
		t.Fatalf("%s use %d slot %v", r.State, r.Use, r.Slot)
	}
	b, _, _ := r.Moved()
	if b.Template != "t-1" || b.Use != 1 || b.From != "draft" || len(b.Moves) != 4 {
		t.Errorf("%+v", b)
	}
	for name, x := range map[string]struct {
		tpl    func(*Template)
		groups []row
		edit   func(*Submission)
	}{
		"something suppressed": {groups: dirty},
		"stopped":              {tpl: func(t *Template) { t.Stopped = now }},
		"expired":              {tpl: func(t *Template) { t.Expires = now }},
		"used up":              {tpl: func(t *Template) { t.Used = 2 }},
		"another recipient":    {tpl: func(t *Template) { t.Recipient = "id-else" }},
		"another scenario":     {edit: func(s *Submission) { s.Asked.Scenario = "sc-2" }},
		"another question":     {edit: func(s *Submission) { s.Asked.Spec = Digest([]byte("p")) }},
		"another policy":       {edit: func(s *Submission) { s.Policy = "policy/2" }},
		"a measure it does not name": {tpl: func(t *Template) { t.Spec, t.Measures = nil, []string{"count()"} },
			edit: func(s *Submission) { s.Asked.Measures = []string{"count()", "sum(amount)"} }},
	} {
		one, groups := tpl, x.groups
		if x.tpl != nil {
			x.tpl(&one)
		}
		if groups == nil {
			groups = clean
		}
		if r := submit(one, groups, x.edit); r.State != InReview || r.Template != "" {
			t.Errorf("%s: %s", name, r.State)
		}
	}
	p := Present{Policy: "policy/1", Revoked: nobody, Template: &tpl}
	if _, _, err := r.Release(r.Slot.Add(-time.Second), p); !errors.Is(err, sandbox.Conflict) || !strings.Contains(err.Error(), "slot") {
		t.Errorf("before its slot: %v", err)
	}
	stopped, err := tpl.Stop(attest.TemplateStop{Template: "t-1", Reason: "because"}, lead, agency, now)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := r.Release(r.Slot, Present{Policy: "policy/1", Revoked: nobody, Template: &stopped}); !errors.Is(err, sandbox.Denied) {
		t.Errorf("stopped before its slot: %v", err)
	}
	if _, err := stopped.Stop(attest.TemplateStop{Template: "t-1", Reason: "because"}, lead, agency, now); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("stopped twice: %v", err)
	}
	if _, err := tpl.Stop(attest.TemplateStop{Template: "t-1", Reason: "because"}, asker, operator, now); !errors.Is(err, sandbox.Denied) {
		t.Errorf("stopped by an operator: %v", err)
	}
	back, err := r.Lapse("")
	if err != nil || back.State != InReview || back.Template != "" {
		t.Errorf("%s %v", back.State, err)
	}
	out, a, err := r.Release(r.Slot, p)
	if err != nil || !a.Covers(r.Result, r.Slot) || a.Class() != sandbox.ClassA {
		t.Fatal(err)
	}
	if out, err = out.Sent(); err != nil {
		t.Fatal(err)
	}
	sampled := done(t, out, Sample, lead, agency)
	if sampled.State != Released {
		t.Errorf("%s", sampled.State)
	}
	if _, err := do(sampled, Sample, lead, agency, now); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("sampled twice: %v", err)
	}
	if gone := done(t, sampled, Revoke, lead, agency); gone.State != Revoked || gone.Notice != "because" {
		t.Errorf("%s", gone.State)
	}
}

// Every class has its checklist; what this domain does not make is refused by name, and C to F never leave without two reviewers.
func TestClasses(t *testing.T) {
	all, err := Checklists()
	if err != nil || len(all) != 6 {
		t.Fatalf("%d, %v", len(all), err)
	}
	for i, c := range []sandbox.Class{sandbox.ClassA, sandbox.ClassB, sandbox.ClassC, sandbox.ClassD, sandbox.ClassE, sandbox.ClassF} {
		l, err := ChecklistOf(c)
		if err != nil || l.Class != c || all[i].Class != c || len(l.Items) == 0 || l.Term == "" {
			t.Errorf("%s: %+v %v", c, l, err)
		}
		if i >= 2 && !slices.Equal(l.Authority, []Authority{ByReviewers}) {
			t.Errorf("%s leaves by %v", c, l.Authority)
		}
		if slices.Contains(l.Authority, ByTemplate) != (c == sandbox.ClassA) || slices.Contains(l.Authority, ByConsent) != (c == sandbox.ClassB) {
			t.Errorf("%s leaves by %v", c, l.Authority)
		}
		for _, item := range l.Items {
			if l.Produced && item.By == "" {
				t.Errorf("%s is produced, and nobody checks %s", c, item.ID)
			}
		}
		r := Submit(Submission{Question: "q-1", Class: c, Policy: "policy/1", Now: now, Expires: now.AddDate(0, 0, 5)}, claims(t, people(0, 12, "a")).check("q-1"))
		if want := map[bool]State{true: InReview, false: Withheld}[c == sandbox.ClassA]; r.State != want {
			t.Errorf("%s: %s, want %s", c, r.State, want)
		}
		if c != sandbox.ClassA && !strings.Contains(r.Cause, "class "+string(c)) {
			t.Errorf("%s is refused as %q", c, r.Cause)
		}
	}
	for _, c := range []sandbox.Class{"G", "a", "AA", ""} {
		if _, err := ChecklistOf(c); !errors.Is(err, sandbox.Denied) {
			t.Errorf("%q: %v", c, err)
		}
	}
	if r := Submit(Submission{Question: "q-1", Class: "Z"}, claims(t, people(0, 12, "a")).check("q-1")); r.State != Withheld || r.Result != nil {
		t.Errorf("an unknown class: %s", r.State)
	}
}
