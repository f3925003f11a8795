package classify

import (
	"errors"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

func found(column string, k Kind) ColumnFinding {
	return Current().Grade(ColumnFinding{Column: column, Finding: k, Share: 1, Confidence: 90, Sampled: 100})
}

func TestConfirm(t *testing.T) {
	at := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	d := catalog.Dataset{ID: "ds-t", Unit: "u", Columns: []catalog.Column{{Name: "code", Type: catalog.Text, Grade: 1}, {Name: "phone", Type: catalog.Text, Grade: 1}}}
	findings := []ColumnFinding{found("code", ICD10), found("phone", Mobile)}
	d = Apply(d, findings)
	agree := Verdict{Column: "phone", Grade: 3, Personal: true, National: NationalGeneral, Category: Personal}
	milder := Verdict{Column: "code", Grade: 2, National: NationalGeneral, Category: General, Reason: "公开码表, 不对应个人"}
	rules := Current()
	next, records, err := rules.Confirm(d, findings, []Verdict{agree, milder}, "reviewer", at)
	if err != nil {
		t.Fatal(err)
	}
	if c := next.Columns[0]; c.Effective() != 2 || c.Personal || c.Finding != "icd10" {
		t.Errorf("code: %+v", c)
	}
	if c := next.Columns[1]; c.Effective() != 3 || !c.Personal {
		t.Errorf("phone: %+v", c)
	}
	if next.Columns[0].Category != "general" || next.Columns[1].Category != "personal" || next.Card.National != "" {
		t.Errorf("categories %q %q, national %q", next.Columns[0].Category, next.Columns[1].Category, next.Card.National)
	}
	important := agree
	important.National = NationalImportant
	if up, _, err := rules.Confirm(next, findings, []Verdict{important}, "reviewer", at); err != nil || up.Card.National != "important" {
		t.Errorf("important data: card %q, %v", up.Card.National, err)
	} else if back, _, err := rules.Confirm(up, findings, []Verdict{agree}, "reviewer", at); err != nil || back.Card.National != "important" {
		t.Errorf("one column's verdict lowered the card to %q, %v", back.Card.National, err)
	}
	if d.Columns[0].Effective() != 3 {
		t.Error("the caller's description was changed")
	}
	want := Confirmation{Verdict: milder, Dataset: "ds-t", Finding: ICD10, Proposed: 3, Before: 3, Rules: Version, By: "reviewer", At: at}
	if len(records) != 2 || !reflect.DeepEqual(records[1], want) {
		t.Errorf("records %+v", records)
	}

	// The next push shows the same: the verdict stands. Another kind, or a stricter grade, opens it again.
	settled, open := rules.Settle(next, findings, records)
	if len(open) != 0 || settled.Columns[0].Effective() != 2 {
		t.Errorf("the same finding undid a verdict: %+v, open %v", settled.Columns[0], open)
	}
	settled, open = rules.Settle(next, []ColumnFinding{found("code", ResidentID)}, records)
	if len(open) != 1 || settled.Columns[0].Effective() != 3 || !settled.Columns[0].Personal {
		t.Errorf("another finding passed under an old verdict: %+v, open %v", settled.Columns[0], open)
	}
	older := slices.Clone(records)
	for i := range older {
		older[i].Rules = "classify-1"
	}
	if _, open = rules.Settle(next, findings, older); len(open) != 2 {
		t.Errorf("verdicts on older rules still stand: %v", open)
	}

	// Other rules: what they grade as before is taken over, what they grade otherwise falls.
	stricter := Current()
	stricter.Version = "next"
	l := stricter.Levels[ICD10]
	l.Grade = 4
	stricter.Levels[ICD10] = l
	raised := []ColumnFinding{stricter.Grade(findings[0]), stricter.Grade(findings[1])}
	changes := Compare(Graded{Datasets: map[sandbox.DatasetID][]ColumnFinding{d.ID: findings}}, Graded{Datasets: map[sandbox.DatasetID][]ColumnFinding{d.ID: raised}})
	carried := stricter.Carry(records, changes)
	if len(changes) != 1 || len(carried) != 1 || carried[0].Column != "phone" || carried[0].By != "reviewer" || records[0].Rules != Version {
		t.Errorf("changes %v, carried %+v", changes, carried)
	}
	if settled, open = stricter.Settle(next, raised, carried); len(open) != 1 || open[0].Column != "code" || settled.Columns[0].Effective() != 4 {
		t.Errorf("open %v, code %+v", open, settled.Columns[0])
	}
	was, is := Graded{Datasets: map[sandbox.DatasetID][]ColumnFinding{d.ID: InForce(next)}}, Graded{Datasets: map[sandbox.DatasetID][]ColumnFinding{d.ID: InForce(settled)}}
	if moved := Compare(was, is); len(moved) != 1 || !moved[0].Raised || moved[0].Old.Grade != 2 || moved[0].New.Grade != 4 {
		t.Errorf("in force: %+v", moved)
	}

	for name, v := range map[string][]Verdict{
		"none": {}, "unknown column": {{Column: "gone", Grade: 3, National: NationalGeneral, Category: General}},
		"twice":              {agree, agree},
		"grade":              {{Column: "phone", Grade: 5, National: NationalGeneral, Category: General}},
		"national":           {{Column: "phone", Grade: 3, National: "secret", Category: General}},
		"category":           {{Column: "phone", Grade: 3, National: NationalGeneral, Category: "x"}},
		"personal below 3":   {{Column: "phone", Grade: 2, Personal: true, National: NationalGeneral, Category: Personal, Reason: "r"}},
		"personal category":  {{Column: "phone", Grade: 3, Personal: true, National: NationalGeneral, Category: General}},
		"sensitive":          {{Column: "phone", Grade: 3, National: NationalGeneral, Category: Personal, Sensitive: MedicalHealth, Reason: "r"}},
		"no such sensitive":  {{Column: "phone", Grade: 3, Personal: true, National: NationalGeneral, Category: Personal, Sensitive: "x"}},
		"milder, no reason":  {{Column: "phone", Grade: 2, National: NationalGeneral, Category: General}},
		"no more personal":   {{Column: "phone", Grade: 3, National: NationalGeneral, Category: General}},
		"no more sensitive":  {{Column: "code", Grade: 3, Personal: true, National: NationalGeneral, Category: Personal}},
		"reason of spaces":   {{Column: "phone", Grade: 1, National: NationalGeneral, Category: General, Reason: "  "}},
		"reason of any size": {{Column: "phone", Grade: 1, National: NationalGeneral, Category: General, Reason: strings.Repeat("r", MaxReason+1)}},
	} {
		got, recs, err := rules.Confirm(d, findings, v, "reviewer", at)
		if err == nil || recs != nil || got.ID != "" || !errors.Is(err, sandbox.Invalid) && !errors.Is(err, sandbox.NotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, _, err := rules.Confirm(d, findings, []Verdict{agree}, "", at); err == nil {
		t.Error("nobody confirmed")
	}
}

func TestRegrade(t *testing.T) {
	old := Graded{Rules: Version, Datasets: map[sandbox.DatasetID][]ColumnFinding{
		"ds-a": {found("id", ResidentID), found("code", ICD10), {Column: "x"}}, "ds-b": {found("name", Enterprise), found("gone", Mobile)}}}
	stricter := Current()
	stricter.Version = "national-2027"
	stricter.Levels[ICD10] = Level{Grade: 4, Personal: true, National: NationalImportant, Category: Personal, Sensitive: MedicalHealth}
	stricter.Levels[Enterprise] = Level{Grade: 1, National: NationalGeneral, Category: Organisation}
	if err := stricter.Validate(); err != nil {
		t.Fatal(err)
	}
	next := stricter.Regrade(old)
	next.Datasets["ds-b"] = append(next.Datasets["ds-b"][:1], found("phone", Mobile))
	changes := Compare(old, next)
	var got []string
	for _, c := range changes {
		s := string(c.Dataset) + "." + c.Column
		if c.Raised {
			s += " raised"
		}
		if c.Lowered {
			s += " lowered"
		}
		got = append(got, s)
	}
	if want := []string{"ds-a.code raised", "ds-b.gone lowered", "ds-b.name lowered", "ds-b.phone raised"}; !slices.Equal(got, want) {
		t.Errorf("%v, want %v", got, want)
	}
	list := func(d sandbox.DatasetID, columns ...string) []sandbox.ListItem {
		item := sandbox.ListItem{Dataset: d}
		for _, c := range columns {
			item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c, Uses: []sandbox.Use{sandbox.UseGroup}})
		}
		return []sandbox.ListItem{item}
	}
	hit := AffectedGrants(changes, []Listing{{"g1", "s1", list("ds-a", "id", "code")}, {"g2", "s2", list("ds-a", "id")}, {"g3", "s3", list("ds-b", "name")}, {"g4", "s4", list("ds-c", "name")}})
	if len(hit) != 2 || hit[0].Grant != "g1" || !hit[0].Stop || len(hit[0].Fields) != 1 || hit[0].Fields[0].Uses[0] != sandbox.UseGroup || hit[1].Grant != "g3" || hit[1].Stop {
		t.Errorf("%+v", hit)
	}

	short := Current()
	delete(short.Levels, Mobile)
	if err := short.Validate(); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("rules without a kind: %v", err)
	}
	if f := short.Grade(found("c", Mobile)); f.Grade != 4 {
		t.Errorf("a kind that new rules forgot is of grade %d", f.Grade)
	}
	low := Current()
	low.Levels[Mobile] = Level{Grade: 2, Personal: true, National: NationalGeneral, Category: Personal}
	if low.Validate() == nil {
		t.Error("personal below grade 3 passes")
	}
}

// TestCompareLaws: nothing differs from itself, and what is raised one way is lowered the other.
func TestCompareLaws(t *testing.T) {
	kinds := append(append(slices.Clone(kinds[:]), named[:]...), None)
	rapid.Check(t, func(t *rapid.T) {
		draw := func() Graded {
			g := Graded{Datasets: map[sandbox.DatasetID][]ColumnFinding{}}
			for _, c := range []string{"a", "b", "c"} {
				g.Datasets["ds"] = append(g.Datasets["ds"], found(c, rapid.SampledFrom(kinds).Draw(t, c)))
			}
			return g
		}
		x, y := draw(), draw()
		if len(Compare(x, x)) != 0 {
			t.Fatal("a grading differs from itself")
		}
		there, back := Compare(x, y), Compare(y, x)
		if len(there) != len(back) {
			t.Fatal("a change is seen one way only")
		}
		for i := range there {
			if there[i].Raised != back[i].Lowered || there[i].Lowered != back[i].Raised {
				t.Fatal("raised and lowered do not mirror")
			}
		}
	})
}

func TestStrictest(t *testing.T) {
	draw := rapid.Custom(func(t *rapid.T) Standing {
		return Standing{Grade: sandbox.Grade(rapid.IntRange(0, 4).Draw(t, "grade")), Personal: rapid.Bool().Draw(t, "personal"),
			National: rapid.SampledFrom([]National{"", NationalGeneral, NationalImportant, NationalCore, "?"}).Draw(t, "national"),
			Category: rapid.SampledFrom([]Category{General, Personal, Organisation}).Draw(t, "category")}
	})
	rapid.Check(t, func(t *rapid.T) {
		parts := rapid.SliceOfN(draw, 1, 6).Draw(t, "parts")
		all := Strictest(parts...)
		for i, p := range parts {
			one := Strictest(p)
			if one.Grade > all.Grade || one.National.rank() > all.National.rank() || one.Personal && !all.Personal {
				t.Fatal("a join is milder than a part of it")
			}
			if one.Personal && one.Grade < 3 || !p.Grade.Valid() && one.Grade != 4 {
				t.Fatal("personal or unknown below its grade")
			}
			rest := append(slices.Clone(parts[:i]), parts[i+1:]...)
			if Strictest(append(rest, p)...) != all {
				t.Fatal("the order of parts matters")
			}
		}
	})
	if got := Strictest(); got.Grade != 1 || got.Personal || got.National != NationalGeneral {
		t.Errorf("nothing at all: %+v", got)
	}
}
