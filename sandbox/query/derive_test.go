package query

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

func claims() catalog.Dataset {
	return catalog.Dataset{ID: "claims", Title: "医保结算", Subject: "person_id", SubjectKind: catalog.ResidentID,
		Columns: []catalog.Column{
			{Name: "person_id", Type: catalog.Text, Grade: 2, JoinKey: true, Public: true},
			{Name: "icd10", Title: "疾病编码", Type: catalog.Text, Grade: 3, Nullable: true},
			{Name: "amount", Type: catalog.Money, Grade: 2, Unit: "元"},
			{Name: "paid", Type: catalog.Money, Grade: 2},
			{Name: "secret", Type: catalog.Money, Grade: 4},
			{Name: "service_date", Type: catalog.Date, Grade: 2},
			{Name: "hospital", Type: catalog.Text, Grade: 1, JoinKey: true, Public: true},
			{Name: "batch_no", Type: catalog.Text, Grade: 2},
		},
		Bins: []catalog.Bin{
			{ID: "chapter", Column: "icd10", Kind: catalog.Prefix, Groups: []catalog.Group{{Label: "呼吸", Codes: []string{"J"}}}},
			{ID: "year", Column: "service_date", Kind: catalog.Year},
			{ID: "size", Column: "amount", Kind: catalog.Amount, Edges: []int64{0, 10000}},
		}}
}

func persons() catalog.Dataset {
	return catalog.Dataset{ID: "persons", Subject: "person_id", SubjectKind: catalog.ResidentID,
		Columns: []catalog.Column{
			{Name: "person_id", Type: catalog.Text, Grade: 3, Personal: true},
			{Name: "name", Type: catalog.Text, Grade: 1, Detected: 3, Personal: true},
			{Name: "birth_date", Type: catalog.Date, Grade: 3, Personal: true},
			{Name: "sex", Type: catalog.Text, Grade: 2, Public: true},
			{Name: "doctor", Type: catalog.Text, Grade: 2, JoinKey: true},
		},
		Bins: []catalog.Bin{{ID: "age", Column: "birth_date", Kind: catalog.Age, Edges: []int64{18, 60}, At: "2026-01-01"}}}
}

func hospitals() catalog.Dataset {
	return catalog.Dataset{ID: "hospitals", Subject: "code", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "code", Type: catalog.Text, Grade: 1},
			{Name: "hospital", Type: catalog.Text, Grade: 1, JoinKey: true},
			{Name: "number", Type: catalog.Int, Grade: 1, JoinKey: true},
			{Name: "level", Type: catalog.Int, Grade: 1, Public: true},
			{Name: "debt", Type: catalog.Money, Grade: 3},
		}}
}

func data() map[sandbox.DatasetID]catalog.Dataset {
	return map[sandbox.DatasetID]catalog.Dataset{"claims": claims(), "persons": persons(), "hospitals": hospitals(), "other": {ID: "other"}}
}

func rules() []sandbox.ListItem {
	agg := []sandbox.MeasureFunc{sandbox.Sum, sandbox.Mean}
	rule := func(c string, f []sandbox.MeasureFunc, uses ...sandbox.Use) sandbox.ColumnRule {
		return sandbox.ColumnRule{Column: c, Uses: uses, Funcs: f}
	}
	const j, g, f, a = sandbox.UseJoin, sandbox.UseGroup, sandbox.UseFilter, sandbox.UseAggregate
	return []sandbox.ListItem{
		{Dataset: "claims", Columns: []sandbox.ColumnRule{rule("person_id", agg, j, g, f, a), rule("icd10", agg, g, f, a), rule("amount", agg, a, f),
			rule("paid", agg[:1], a), rule("secret", agg, a), rule("service_date", nil, g, f), rule("hospital", nil, j, g, f), rule("batch_no", nil, j, g), rule("gone", nil, g)}},
		{Dataset: "persons", Columns: []sandbox.ColumnRule{rule("person_id", nil, j), rule("birth_date", nil, g), rule("sex", nil, g, f), rule("doctor", nil, j)}},
		{Dataset: "hospitals", Columns: []sandbox.ColumnRule{rule("code", nil, j), rule("hospital", nil, j), rule("number", nil, j), rule("level", nil, g), rule("debt", agg, a)}},
		{Dataset: "missing"},
	}
}

func good() Spec {
	return Spec{Scenario: "s-1", Purpose: "health", Inputs: []Input{{Alias: "c", Dataset: "claims"}, {Alias: "p", Dataset: "persons", With: "c"},
		{Alias: "h", Dataset: "hospitals", With: "c", On: []Key{{"hospital", "hospital"}}}},
		Filters:    []Filter{{Column: "c.service_date", Bin: "year", In: []string{"2025", "missing"}}, {Column: "p.sex", In: []string{"男"}, Not: true}},
		Dimensions: []Dimension{{Column: "c.icd10", Bin: "chapter", As: "病种"}, {Column: "p.birth_date", Bin: "age", As: "年龄"}, {Column: "h.level", As: "等级"}},
		Measures:   []Measure{{Func: sandbox.Count, As: "n"}, {Func: sandbox.Subjects, As: "人数"}, {Func: sandbox.Sum, Column: "c.amount", As: "sum"}, {Func: sandbox.Mean, Column: "c.amount", As: "mean"}}}
}

func TestDeriveAccepts(t *testing.T) {
	d, reasons := Derive(good(), data(), rules())
	if len(reasons) > 0 || !d.Complete() {
		t.Fatalf("%+v", reasons)
	}
	for i, want := range []string{"amount hospital icd10 service_date", "birth_date sex", "hospital level"} {
		if got := strings.Join(d.Inputs[i].Needed, " "); got != want {
			t.Errorf("input %d opens %s, want %s", i, got, want)
		}
	}
	if !d.Inputs[0].Subject || !d.Inputs[1].Subject || d.Inputs[2].Subject || !d.Inputs[1].Same || d.Inputs[2].Same {
		t.Errorf("subjects: %+v", d.Inputs)
	}
	if d.Highest != sandbox.Grade3 || !d.Personal {
		t.Errorf("grade %d, personal %t", d.Highest, d.Personal)
	}
	i := slices.IndexFunc(d.Columns, func(c DerivedColumn) bool { return c.Column == "claims.amount" })
	if c := d.Columns[i]; len(c.Funcs) != 2 || !slices.Equal(c.Uses, []sandbox.Use{sandbox.UseAggregate}) {
		t.Errorf("%+v", c)
	}
}

// TestDeriveRefuses changes one thing of an accepted question at a time.
func TestDeriveRefuses(t *testing.T) {
	dim := func(col string, bin sandbox.BinID) func(*Spec) {
		return func(s *Spec) { s.Dimensions = append(s.Dimensions, Dimension{Column: col, Bin: bin, As: "x"}) }
	}
	filter := func(col string, bin sandbox.BinID, in ...string) func(*Spec) {
		return func(s *Spec) { s.Filters = append(s.Filters, Filter{Column: col, Bin: bin, In: in}) }
	}
	measure := func(f sandbox.MeasureFunc, col string) func(*Spec) {
		return func(s *Spec) { s.Measures = append(s.Measures, Measure{Func: f, Column: col, As: "x"}) }
	}
	joined := func(in Input) func(*Spec) { return func(s *Spec) { s.Inputs = append(s.Inputs, in) } }
	for _, c := range []struct {
		name, code, column string
		change             func(*Spec)
	}{
		{"not a question", "question.invalid", "", func(s *Spec) { s.Inputs = nil }},
		{"dataset outside the list", "dataset.not-listed", "other", joined(Input{Alias: "x", Dataset: "other", With: "c"})},
		{"dataset not registered", "dataset.unknown", "missing", joined(Input{Alias: "x", Dataset: "missing", With: "c"})},
		{"column unknown", "column.unknown", "claims.nope", dim("c.nope", "")},
		{"column listed, then dropped", "column.unknown", "claims.gone", dim("c.gone", "")},
		{"column outside the list", "column.not-listed", "persons.name", dim("p.name", "")},
		{"use outside the list", "column.use", "claims.amount", dim("c.amount", "size")},
		{"filter outside the list", "column.use", "persons.birth_date", filter("p.birth_date", "age", "<18")},
		{"function outside the list", "column.func", "claims.paid", measure(sandbox.Mean, "c.paid")},
		{"group by the subject", "column.subject", "claims.person_id", dim("c.person_id", "")},
		{"filter by the subject", "column.subject", "claims.person_id", filter("c.person_id", "", "x")},
		{"group by raw values", "column.not-public", "claims.icd10", dim("c.icd10", "")},
		{"filter by raw values", "column.not-public", "claims.icd10", filter("c.icd10", "", "J10")},
		{"bin not registered", "bin.unknown", "claims.icd10", dim("c.icd10", "letter")},
		{"bin of another column", "bin.column", "claims.icd10", dim("c.icd10", "year")},
		{"label no bin gives", "filter.label", "claims.amount", filter("c.amount", "size", "<1")},
		{"year misspelt", "filter.label", "claims.service_date", filter("c.service_date", "year", "02025")},
		{"text summed", "measure.type", "claims.icd10", measure(sandbox.Sum, "c.icd10")},
		{"raw column", "rows.raw", "claims.amount", measure(sandbox.Plain, "c.amount")},
		{"no measure", "rows.raw", "", func(s *Spec) { s.Measures = nil }},
		{"undeclared key", "join.key", "claims.batch_no", joined(Input{Alias: "x", Dataset: "hospitals", With: "c", On: []Key{{"batch_no", "hospital"}}})},
		{"subject as key", "join.key", "claims.person_id", joined(Input{Alias: "x", Dataset: "persons", With: "c", On: []Key{{"person_id", "doctor"}}})},
		{"keys of two types", "join.type", "hospitals.number", joined(Input{Alias: "x", Dataset: "hospitals", With: "c", On: []Key{{"hospital", "number"}}})},
		{"subjects of two kinds", "join.subject", "hospitals", joined(Input{Alias: "x", Dataset: "hospitals", With: "c"})},
		{"rows of a person twice", "join.repeated", "claims", joined(Input{Alias: "x", Dataset: "claims", With: "c"})},
		{"rows of a hospital twice", "join.repeated", "hospitals", joined(Input{Alias: "x", Dataset: "hospitals", With: "p", On: []Key{{"doctor", "hospital"}}})},
		{"sensitive column of another subject", "column.other-subject", "hospitals.debt", measure(sandbox.Sum, "h.debt")},
		{"person behind a key", "column.other-subject", "persons.birth_date", func(s *Spec) {
			s.Inputs = append(s.Inputs, Input{Alias: "x", Dataset: "persons", With: "c", On: []Key{{"hospital", "doctor"}}})
			s.Dimensions = append(s.Dimensions, Dimension{Column: "x.birth_date", Bin: "age", As: "x"})
		}},
		{"person behind a key, then by subject", "column.other-subject", "claims.icd10", func(s *Spec) {
			s.Inputs = append(s.Inputs, Input{Alias: "x", Dataset: "persons", With: "c", On: []Key{{"hospital", "doctor"}}},
				Input{Alias: "y", Dataset: "claims", With: "x"})
			s.Dimensions = append(s.Dimensions, Dimension{Column: "y.icd10", Bin: "chapter", As: "x"})
		}},
	} {
		s := good()
		c.change(&s)
		d, reasons := Derive(s, data(), rules())
		if d.Complete() {
			t.Errorf("%s: accepted", c.name)
		}
		if !slices.ContainsFunc(reasons, func(r sandbox.Reason) bool { return r.Code == c.code && r.Column == c.column }) {
			t.Errorf("%s: %+v lacks %s on %q", c.name, reasons, c.code, c.column)
		}
		for _, r := range reasons {
			if r.Rule == "" || r.Article == "" || r.Change == "" {
				t.Errorf("%s: a reason without rule, article or change: %+v", c.name, r)
			}
		}
	}
}

func TestSubjectJoinNeedsTheList(t *testing.T) {
	list := rules()
	list[1].Columns = list[1].Columns[1:]
	if _, reasons := Derive(good(), data(), list); len(reasons) != 1 || reasons[0].Code != "column.not-listed" || reasons[0].Column != "persons.person_id" {
		t.Errorf("%+v", reasons)
	}
}

// TestSubjectAndKeys: a record of the same person found by number may lend personal columns; by number alone it may not.
func TestSubjectAndKeys(t *testing.T) {
	s := good()
	s.Inputs[1].On = []Key{{"hospital", "doctor"}}
	if _, reasons := Derive(s, data(), rules()); len(reasons) == 0 || reasons[0].Code != "column.other-subject" {
		t.Errorf("by number alone: %+v", reasons)
	}
	s.Inputs[1].Subject = true
	d, reasons := Derive(s, data(), rules())
	if len(reasons) > 0 || !d.Inputs[1].Same || !d.Inputs[1].Subject || !slices.Contains(d.Inputs[1].Needed, "doctor") {
		t.Errorf("%+v, %+v", reasons, d.Inputs[1])
	}
	if text := d.Explain().Text(); !strings.Contains(text, "the protected subject of claims is the same and claims.hospital = persons.doctor") {
		t.Error(text)
	}
}

func TestReasonsAreInOrderAndOnce(t *testing.T) {
	s := good()
	s.Measures = append(s.Measures, Measure{Func: sandbox.Plain, Column: "c.paid", As: "raw"})
	s.Filters = append(s.Filters, Filter{Column: "c.icd10", In: []string{"J1"}}, Filter{Column: "c.icd10", In: []string{"J2"}})
	s.Dimensions = append(s.Dimensions, Dimension{Column: "p.name", As: "who"})
	_, reasons := Derive(s, data(), rules())
	var codes []string
	for _, r := range reasons {
		codes = append(codes, r.Code)
	}
	if got := strings.Join(codes, " "); got != "column.not-public column.not-listed rows.raw" {
		t.Error(got)
	}
}

func TestReasonsCarryNoValue(t *testing.T) {
	s := good()
	s.Filters = append(s.Filters, Filter{Column: "c.icd10", In: []string{"Z99.secret"}}, Filter{Column: "c.service_date", Bin: "year", In: []string{"Z99.secret"}},
		Filter{Column: "c.person_id", In: []string{"Z99.secret"}})
	_, reasons := Derive(s, data(), rules())
	if b, _ := json.Marshal(reasons); len(reasons) == 0 || strings.Contains(string(b), "secret\"") || strings.Contains(string(b), "Z99") {
		t.Errorf("%s", b)
	}
}

func TestExplain(t *testing.T) {
	d, _ := Derive(good(), data(), rules())
	text := d.Explain().Text()
	for _, want := range []string{
		"scan 扫描 claims (医保结算), current version: opens amount, hospital, icd10, service_date\n",
		"join 关联 persons, current version, by the protected subject of claims: opens birth_date, sex\n",
		"where claims.hospital = hospitals.hospital: opens hospital, level\n",
		"  claims.amount: grade 2 级; used for aggregate (sum, mean)\n",
		"  persons.birth_date: grade 3 级, personal 个人信息; used for group through age, grouping 1 of 1\n",
		"  persons.person_id: grade 3 级, personal 个人信息; used for join\n",
		"strictest grade 最高级别 3, with personal information 含个人信息\n",
	} {
		if !strings.Contains(text, want) {
			t.Errorf("%q is not in\n%s", want, text)
		}
	}
	b, err := json.Marshal(d.Explain())
	if err != nil || !strings.Contains(string(b), `"opens":["birth_date","sex"]`) || !strings.Contains(string(b), `"highest_grade":3`) {
		t.Errorf("%s %v", b, err)
	}
	if text := (Derivation{}).Explain().Text(); !strings.Contains(text, "strictest") {
		t.Error(text)
	}
}

func TestLabels(t *testing.T) {
	for _, c := range []struct {
		col  catalog.Column
		v    int64
		want string
	}{
		{catalog.Column{Type: catalog.Int}, -7, "-7"},
		{catalog.Column{Type: catalog.Money}, 5, "0.05"},
		{catalog.Column{Type: catalog.Money}, -12345, "-123.45"},
		{catalog.Column{Type: catalog.Number, Scale: 3}, 1, "0.001"},
		{catalog.Column{Type: catalog.Number}, 12, "12"},
		{catalog.Column{Type: catalog.Number, Scale: 9}, -1 << 63, "-9223372036.854775808"},
		{catalog.Column{Type: catalog.Date}, 0, "1970-01-01"},
		{catalog.Column{Type: catalog.Date}, -1, "1969-12-31"},
		{catalog.Column{Type: catalog.Date}, 20512, "2026-02-28"},
		{catalog.Column{Type: catalog.Bool}, 1, "true"},
		{catalog.Column{Type: catalog.Bool}, 0, "false"},
	} {
		if got := Label(&c.col, c.v); got != c.want {
			t.Errorf("%s %d: %s, want %s", c.col.Type, c.v, got, c.want)
		}
		if v, ok := Value(&c.col, c.want); c.v != -1<<63 && (!ok || v != c.v) {
			t.Errorf("%s %s: back to %d, %t", c.col.Type, c.want, v, ok)
		}
		for _, odd := range []string{"", "+1", "007", "1e3", "TRUE", "2026-2-1", "2026-02-30", "0.1", " 1"} {
			if v, ok := Value(&c.col, odd); ok && Label(&c.col, v) != odd {
				t.Errorf("%s reads %q", c.col.Type, odd)
			}
		}
	}
}

// A unit's thresholds count its own subjects: an input joined by keys, whose subjects are not counted, is not computed on under them.
func TestThresholdsOfAnotherSubject(t *testing.T) {
	ask := func(change func(rule *sandbox.ColumnRule)) []sandbox.Reason {
		in, list := data(), rules()
		h := in["hospitals"]
		h.Columns = append(slices.Clone(h.Columns), catalog.Column{Name: "beds", Type: catalog.Int, Grade: 1})
		in["hospitals"] = h
		for i := range list {
			if list[i].Dataset == "hospitals" {
				list[i].Columns = append(list[i].Columns, sandbox.ColumnRule{Column: "beds", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: []sandbox.MeasureFunc{sandbox.Mean}})
				for k := range list[i].Columns {
					change(&list[i].Columns[k])
				}
			}
		}
		s := good()
		s.Measures = append(s.Measures, Measure{Func: sandbox.Mean, Column: "h.beds", As: "x"})
		_, reasons := Derive(s, in, list)
		return reasons
	}
	if r := ask(func(*sandbox.ColumnRule) {}); len(r) > 0 {
		t.Fatalf("without thresholds: %+v", r)
	}
	for name, change := range map[string]func(*sandbox.ColumnRule){
		"people of the column": func(r *sandbox.ColumnRule) { r.MinSubjects = 30 * len(r.Funcs) },
		"share of the column":  func(r *sandbox.ColumnRule) { r.MaxShare = 50 * len(r.Funcs) },
		"people of the subject": func(r *sandbox.ColumnRule) {
			if r.Column == "code" {
				r.MinSubjects = 50
			}
		},
	} {
		if r := ask(change); len(r) != 1 || r[0].Code != "column.other-subject" || r[0].Column != "hospitals.beds" {
			t.Errorf("%s: %+v", name, r)
		}
	}
}
