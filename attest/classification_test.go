package attest

import (
	"errors"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// TestRulesOfGrading puts steps behind the story's grant; the dataset's column "amount" is of grade 3 there, declared.
func TestRulesOfGrading(t *testing.T) {
	c := newCast(t)
	why := ReasonCommitment(make([]byte, ReasonSalt), "published code list")
	said := func(change func(*Classification)) step {
		b := &Classification{Dataset: "claims", Version: 2, Rules: "classify-2", At: start,
			Columns: []ColumnVerdict{{Column: "amount", Finding: "icd10", Proposed: 3, Before: 3, Grade: 2, National: "general", Category: "general", Reason: why}}}
		change(b)
		return step{kind: ClassificationConfirmed, actor: "med-officer", context: ContextClassification, body: b}
	}
	plain := said(func(*Classification) {})
	by := func(s step, actor sandbox.IdentityID) step { s.actor = actor; return s }
	column := func(change func(*ColumnVerdict)) []step {
		return []step{said(func(b *Classification) { change(&b.Columns[0]) })}
	}
	push := func(version uint64, grades ...ColumnGrade) step {
		return step{kind: IngestCommitted, actor: "med-officer", body: &IngestCommittedBody{Dataset: "claims", Run: "run-9", Version: version, Rows: 1, Manifest: digest("m"), Key: "key-9", KeyCommitment: digest("k"),
			Grades: grades}}
	}
	adopt := func(actor sandbox.IdentityID, from, to string) step {
		return step{kind: RulesAdopted, actor: actor, body: &RulesAdoptedBody{From: from, To: to, Detectors: "classify-2", Digest: digest(to), Datasets: 1, Columns: 1}}
	}
	regrade := func(change func(*ClassificationRegradedBody)) step {
		b := &ClassificationRegradedBody{Dataset: "claims", From: "classify-2", To: "next", Columns: []RegradedColumn{{Column: "amount", Finding: "icd10", Old: 3, New: 4, Before: 3, After: 4}},
			Affected: []AffectedGrant{{Grant: "g-1", Scenario: "sc-1", Columns: []string{"amount"}, Stop: true}}}
		change(b)
		return step{kind: ClassificationRegraded, actor: "agency-officer", body: b}
	}
	same := regrade(func(*ClassificationRegradedBody) {})
	regraded := func(change func(*ClassificationRegradedBody)) []step {
		return []step{adopt("agency-officer", "classify-2", "next"), regrade(change)}
	}
	hit := func(g AffectedGrant) []step { s := plain; s.hit = []AffectedGrant{g}; return []step{s} }
	for _, x := range []struct {
		name  string
		steps []step
		want  string
	}{
		{"confirmed lower", []step{plain}, ""},
		{"then pushed as confirmed", []step{plain, push(3, ColumnGrade{Column: "amount", Declared: 2, Detected: 2})}, ""},
		{"then found stricter", []step{plain, push(3, ColumnGrade{Column: "amount", Declared: 2, Detected: 3})}, ""},
		{"lowered by a push", []step{push(3, ColumnGrade{Column: "amount", Declared: 2, Detected: 2})}, "grading: a grade falls by a person's verdict only"},
		{"lowered below the verdict by a push", []step{plain, push(3, ColumnGrade{Column: "amount", Declared: 1})}, "grading: a grade falls"},
		{"no longer personal by a push", []step{push(3, ColumnGrade{Column: "who", Declared: 1, Personal: true}), push(4, ColumnGrade{Column: "who", Declared: 1})}, "grading: a grade falls"},
		{"affected", hit(AffectedGrant{Grant: "g-1", Scenario: "sc-1", Columns: []string{"amount"}}), ""},
		{"another grant affected", hit(AffectedGrant{Grant: "g-2", Scenario: "sc-1", Columns: []string{"amount"}}), "grading: an affected grant was issued"},
		{"a grant of no scenario affected", hit(AffectedGrant{Grant: "g-1", Scenario: "sc-9", Columns: []string{"amount"}}), "grading: an affected grant was issued"},
		{"affected in nothing", hit(AffectedGrant{Grant: "g-1", Scenario: "sc-1"}), "grading: an affected grant lists"},
		{"by another unit", []step{by(plain, "civil-officer")}, "grading: by an identity of its party"},
		{"by a reviewer", []step{by(plain, "med-reviewer")}, "grading: by an officer"},
		{"by the agency", []step{by(plain, "agency-officer")}, "grading: by a party in the role unit"},
		{"by a stranger's key", []step{func() step { s := plain; s.signer = "civil-officer"; return s }()}, "statement signature: under the key"},
		{"signed for another context", []step{func() step { s := plain; s.context = ContextDecision; return s }()}, "statement signature: under the key"},
		{"dated later", []step{said(func(b *Classification) { b.At = start.AddDate(1, 0, 0) })}, "time: a statement is not dated"},
		{"of no dataset", []step{said(func(b *Classification) { b.Dataset = "x" })}, "grading: of a registered dataset"},
		{"of no version", []step{said(func(b *Classification) { b.Version = 9 })}, "grading: of a version that was committed"},
		{"of no rules", []step{said(func(b *Classification) { b.Rules = "" })}, "grading: at least one verdict"},
		{"about nothing", []step{said(func(b *Classification) { b.Columns = nil })}, "grading: at least one verdict"},
		{"a column twice", []step{said(func(b *Classification) { b.Columns = append(b.Columns, b.Columns[0]) })}, "grading: a verdict for each column once"},
		{"lower without reason", column(func(v *ColumnVerdict) { v.Reason = nil }), "grading: a verdict for each"},
		{"a reason in words", column(func(v *ColumnVerdict) { v.Reason = []byte("words") }), "grading: a verdict for each"},
		{"personal below 3", column(func(v *ColumnVerdict) { v.Personal, v.Category = true, "personal" }), "grading: a verdict for each"},
		{"no grade", column(func(v *ColumnVerdict) { v.Grade = 0 }), "grading: a verdict for each"},
		{"no such category", column(func(v *ColumnVerdict) { v.Category = "x" }), "grading: a verdict for each"},
		{"no such national grade", column(func(v *ColumnVerdict) { v.National = "" }), "grading: a verdict for each"},
		{"as if it had been lower", column(func(v *ColumnVerdict) { v.Before = 2 }), "grading: it names the grade in force"},
		{"raised without reason", column(func(v *ColumnVerdict) { v.Grade, v.Reason = 4, nil }), ""},
		{"regraded", regraded(func(*ClassificationRegradedBody) {}), ""},
		{"rules brought by the program", []step{adopt(DomainActor, "classify-2", "next"), by(same, DomainActor)}, ""},
		{"confirmed under the rules before", append(regraded(func(*ClassificationRegradedBody) {}), plain), "grading: under the rules in force"},
		{"rules of an operator", []step{adopt("op-officer", "classify-2", "next")}, "grading: by a party in the role agency"},
		{"regraded by a unit", []step{adopt("agency-officer", "classify-2", "next"), by(same, "med-officer")}, "grading: by a party in the role agency"},
		{"rules twice", []step{adopt("agency-officer", "classify-2", "next"), adopt("agency-officer", "classify-2", "other")}, "grading: versions of the rules follow"},
		{"rules to themselves", []step{adopt("agency-officer", "next", "next")}, "grading: one version"},
		{"regraded under no rules", []step{same}, "grading: under the rules adopted last"},
		{"regraded nothing", regraded(func(b *ClassificationRegradedBody) { b.Columns = nil }), "grading: names what other rules changed"},
		{"regraded downwards", regraded(func(b *ClassificationRegradedBody) { b.Columns[0].New, b.Columns[0].After = 2, 2 }), "grading: what is in force rises"},
		{"regraded but not in force", regraded(func(b *ClassificationRegradedBody) { b.Columns[0].After = 3 }), "grading: what is in force rises"},
		{"regraded as if it had been lower", regraded(func(b *ClassificationRegradedBody) { b.Columns[0].Before = 2 }), "grading: it names the grade in force"},
		{"a milder level, in force as before", regraded(func(b *ClassificationRegradedBody) { b.Columns[0].New, b.Columns[0].After = 2, 3 }), ""},
	} {
		t.Run(x.name, func(t *testing.T) {
			s := c.story()
			at := find(t, s, "grant")
			for i := range x.steps {
				x.steps[i].minute = s[at].minute
			}
			r := c.play(t, slices.Concat(s[:at+1], x.steps, s[at+1:]))
			whole := bundle(t, r, everything)
			rep, err := verify(whole)
			if x.want == "" && (err != nil || len(rep.NotChecked) > 0) {
				t.Errorf("%v, not checked: %v", err, rep.NotChecked)
			}
			if x.want == "" {
				agree(t, x.name, whole, c.domain.Public())
			}
			if x.want != "" && (!errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), x.want)) {
				t.Errorf("want %q, got %v", x.want, err)
			}
		})
	}
	// What is hidden is not checked, and said so.
	s := c.story()
	low := push(3, ColumnGrade{Column: "amount", Declared: 2, Detected: 2})
	low.minute = 100
	plain.minute = 100
	r := c.play(t, append(s, plain, low))
	if rep, err := verify(bundle(t, r, func(e Event) bool { return e.Kind != ClassificationConfirmed })); err != nil || rep.NotChecked["grading"] == 0 {
		t.Errorf("%v, %v", rep.NotChecked, err)
	}
}

func TestReasonCommitment(t *testing.T) {
	salt := slices.Repeat([]byte{7}, ReasonSalt)
	v := ColumnVerdict{Reason: ReasonCommitment(salt, "why")}
	if !v.Reasoned(salt, "why") || v.Reasoned(salt, "other") || v.Reasoned(make([]byte, ReasonSalt), "why") {
		t.Error("a commitment is to salt and words")
	}
	if short := (ColumnVerdict{Reason: ReasonCommitment(nil, "why")}); short.Reasoned(nil, "why") {
		t.Error("a reason without a salt can be guessed")
	}
}
