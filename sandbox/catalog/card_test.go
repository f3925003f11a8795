package catalog

import (
	"encoding/json"
	"errors"
	"math"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/sandbox"
)

func carded() Dataset {
	d := valid()
	d.Columns = append(d.Columns, Column{Name: "end_date", Title: "止", Type: Date, Grade: 2, Range: "公历"})
	d.Card = Card{Code: "440309-000011-E", Description: "按病种", Source: "医保结算系统", Sync: Weekly, Origin: CoDeveloped,
		Rights: &Rights{Title: "确权登记", Number: "示例-1", Digest: make([]byte, 32)}, Openness: NotOpen, LegalBasis: "示例", National: General, Stage: Derived,
		Lineage: []Parent{{"ds-raw", "按人汇总"}}, Tags: []string{"医疗", "结算"}, Missing: []string{"未填"}, Orders: []Order{{"birth_date", "end_date"}}}
	code, err := NewCode("440309", 11)
	if err != nil {
		panic(err)
	}
	d.Card.Code = code
	return d
}

// TestCard: every field of a card is checked, by name of the place and the rule.
func TestCard(t *testing.T) {
	d := carded()
	if err := d.Validate(); err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		change func(*Dataset)
		rule   string
	}{
		"code":           {func(d *Dataset) { d.Card.Code = "44030900001" }, "six digits"},
		"description":    {func(d *Dataset) { d.Card.Description = strings.Repeat("字", MaxDescription+1) }, "description"},
		"control":        {func(d *Dataset) { d.Card.Source = "a\x1b[2J" }, "control"},
		"bidi":           {func(d *Dataset) { d.Title = "a\u202e" }, "control"},
		"sync":           {func(d *Dataset) { d.Card.Sync = "hourly" }, "sync"},
		"origin":         {func(d *Dataset) { d.Card.Origin = "web" }, "origin"},
		"no rights":      {func(d *Dataset) { d.Card.Rights = nil }, "proof of rights"},
		"rights of none": {func(d *Dataset) { d.Card.Origin = CityUnit }, "co-developed"},
		"empty rights":   {func(d *Dataset) { d.Card.Rights = &Rights{Title: "x"} }, "number"},
		"rights digest":  {func(d *Dataset) { d.Card.Rights.Digest = []byte{1} }, "SM3"},
		"openness":       {func(d *Dataset) { d.Card.Openness = "closed" }, "openness"},
		"basis of open":  {func(d *Dataset) { d.Card.Openness = Conditional }, "legal basis"},
		"national":       {func(d *Dataset) { d.Card.National = "5" }, "national"},
		"stage":          {func(d *Dataset) { d.Card.Stage = "clean" }, "stage"},
		"raw parents":    {func(d *Dataset) { d.Card.Stage = Raw }, "no parents"},
		"no parents":     {func(d *Dataset) { d.Card.Lineage = nil }, "parents"},
		"own parent":     {func(d *Dataset) { d.Card.Lineage[0].Dataset = d.ID }, "another table"},
		"parent how":     {func(d *Dataset) { d.Card.Lineage[0].How = "" }, "how"},
		"tag twice":      {func(d *Dataset) { d.Card.Tags[1] = d.Card.Tags[0] }, "stands once"},
		"placeholder":    {func(d *Dataset) { d.Card.Missing[0] = "" }, "placeholder"},
		"order column":   {func(d *Dataset) { d.Card.Orders[0].High = "nope" }, "two columns"},
		"order types":    {func(d *Dataset) { d.Card.Orders[0].High = "amount" }, "one type"},
		"order of texts": {func(d *Dataset) { d.Card.Orders[0] = Order{"person_id", "icd10"} }, "numbers"},
		"unit":           {func(d *Dataset) { d.Columns[0].Unit = "a\x00" }, "control"},
		"values":         {func(d *Dataset) { d.Columns[3].Values = "{1,2}" }, "[low,high]"},
	} {
		d := carded()
		c.change(&d)
		if err := d.Validate(); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), c.rule) {
			t.Errorf("%s: %v does not name %q", name, err, c.rule)
		}
	}
}

// TestExportRoundTrip: what the catalogue writes it reads back (导入导出).
func TestExportRoundTrip(t *testing.T) {
	want := []Dataset{carded(), valid()}
	b, err := json.Marshal(want)
	if err != nil {
		t.Fatal(err)
	}
	var got []Dataset
	if err := json.Unmarshal(b, &got); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("%v", err)
	}
	if strings.Contains(string(b[len(b)/2:]), `"card":{}`) {
		t.Error("an empty card is written")
	}
}

func TestPeriod(t *testing.T) {
	for _, c := range []struct{ source, sync, want Frequency }{
		{Daily, "", Daily}, {Daily, Weekly, Weekly}, {Monthly, Daily, Monthly}, {Irregular, Daily, Daily}, {Once, Monthly, Monthly},
		{Daily, Once, Once}, {Daily, Irregular, Daily}, {Irregular, Irregular, Irregular}, {Yearly, HalfYear, Yearly},
	} {
		if got := (&Dataset{Frequency: c.source, Card: Card{Sync: c.sync}}).Period(); got != c.want {
			t.Errorf("%s and %q: %s, want %s", c.source, c.sync, got, c.want)
		}
	}
}

func TestDictionary(t *testing.T) {
	for _, c := range []struct {
		col  Column
		want bool
	}{
		{Column{Type: Text, Title: "姓名", Range: "任意"}, true},
		{Column{Type: Text, Title: "性别", Values: "{男,女}"}, true},
		{Column{Type: Text, Title: "街道", Public: true}, true},
		{Column{Type: Bool, Title: "是否"}, true},
		{Column{Type: Money, Title: "金额", Range: "不为负", Unit: "元"}, true},
		{Column{Type: Text, Range: "任意"}, false},
		{Column{Type: Date, Title: "日期"}, false},
		{Column{Type: Int, Title: "人数", Values: "[0,)"}, false},
	} {
		d := Dataset{Columns: []Column{c.col}}
		if c.col.Defined() != c.want || (len(d.Undefined()) == 0) != c.want {
			t.Errorf("%+v: %v", c.col, !c.want)
		}
	}
}

// TestCodes: vectors of ISO 7064 MOD 37,36, and no single wrong digit or swapped neighbours pass.
func TestCodes(t *testing.T) {
	for in, want := range map[string]byte{"A12425GABC1234002": 'M'} { // the example of the Global Release Identifier, which uses MOD 37,36
		if got := check37(in); got != want {
			t.Errorf("%s: %c, want %c", in, got, want)
		}
	}
	rapid.Check(t, func(t *rapid.T) {
		code, err := NewCode(rapid.StringMatching(`[0-9]{6}`).Draw(t, "division"), rapid.IntRange(1, 999_999).Draw(t, "n"))
		if err != nil || CheckCode(code) != nil {
			t.Fatalf("%s: %v", code, err)
		}
		at := rapid.IntRange(0, len(code)-1).Draw(t, "at")
		wrong := []byte(code)
		wrong[at] = alphabet36[rapid.IntRange(0, 35).Draw(t, "c")]
		if string(wrong) != code && CheckCode(string(wrong)) == nil {
			t.Fatalf("%s passes for %s", wrong, code)
		}
	})
	for _, s := range []string{"", "440309-000011-*", "440309-000000-0", "44030９-00011-K"} {
		if CheckCode(s) == nil {
			t.Errorf("%q passes", s)
		}
	}
	if _, err := NewCode("4403", 1); err == nil {
		t.Error("a short division passes")
	}
}

func TestValues(t *testing.T) {
	for _, c := range []struct {
		typ   Type
		scale int
		in    string
		want  Values
	}{
		{Int, 0, "[0,150]", Values{Kind: Between, Low: 0, High: 150}},
		{Int, 0, "(0,)", Values{Kind: Between, Low: 1, High: math.MaxInt64}},
		{Int, 0, "[,-3)", Values{Kind: Between, Low: math.MinInt64, High: -4}},
		{Money, 0, "[0, 12.5]", Values{Kind: Between, Low: 0, High: 1250}},
		{Number, 3, "[-0.5,1]", Values{Kind: Between, Low: -500, High: 1000}},
		{Date, 0, "[1969-12-31,1970-01-02)", Values{Kind: Between, Low: -1, High: 0}},
		{Text, 0, "{ F, M }", Values{Kind: OneOf, Set: []string{"F", "M"}}},
		{Text, 0, "len[1,18]", Values{Kind: Length, Low: 1, High: 18}},
		{Text, 0, "digits(5,6]", Values{Kind: AllDigits, Low: 6, High: 6}},
		{Text, 0, "len[,3]", Values{Kind: Length, Low: 0, High: 3}},
	} {
		got, err := ParseValues("ds.c", &Column{Type: c.typ, Scale: c.scale, Values: c.in})
		if err != nil || !reflect.DeepEqual(*got, c.want) {
			t.Errorf("%s: %+v, %v", c.in, got, err)
		}
	}
	for _, c := range []struct {
		typ Type
		in  string
	}{
		{Int, "[0 150]"}, {Int, "0,150"}, {Int, "[,]"}, {Int, "[2,1]"}, {Int, "(1,2)"}, {Int, "[1.5,]"}, {Money, "[0.001,]"}, {Money, "[.,1]"}, {Number, "[1.,]"},
		{Date, "[2000-02-30,]"}, {Text, "{}"}, {Text, "{a,a}"}, {Text, "{a,}"}, {Text, "{a"}, {Text, "len[-1,]"}, {Text, "[a,b]"}, {Bool, "[0,1]"},
		{Int, "(9223372036854775807,)"}, {Int, "[,-9223372036854775808)"},
	} {
		if v, err := ParseValues("ds.c", &Column{Type: c.typ, Values: c.in}); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "ds.c") {
			t.Errorf("%s %s: %+v, %v", c.typ, c.in, v, err)
		}
	}
}

// FuzzParseValues: what parses is not empty and holds its own bounds.
func FuzzParseValues(f *testing.F) {
	for _, s := range []string{"[0,150]", "(0,1.5)", "{a,b}", "len[1,2]", "digits(,6]", "[2000-01-01,)"} {
		f.Add(s, 2)
	}
	types := []Type{Text, Int, Money, Number, Date, Bool}
	f.Fuzz(func(t *testing.T, s string, k int) {
		c := Column{Type: types[(k%6+6)%6], Values: s}
		v, err := ParseValues("ds.c", &c)
		if err != nil || v == nil {
			return
		}
		if v.Kind == OneOf && (len(v.Set) == 0 || !slices.IsSorted(v.Set)) || v.Low > v.High {
			t.Fatalf("%+v", v)
		}
	})
}

// TestSeeds: the published catalogues, counted as the districts count them.
func TestSeeds(t *testing.T) {
	lh, err := Seed("longhua")
	if err != nil {
		t.Fatal(err)
	}
	freq := map[Frequency]int{}
	for _, e := range lh {
		freq[e.Frequency]++
	}
	want := map[Frequency]int{Daily: 6, Weekly: 1, Monthly: 5, Quarterly: 3, Yearly: 4, Irregular: 15}
	if len(lh) != 34 || !reflect.DeepEqual(freq, want) {
		t.Errorf("longhua: %d rows, %v", len(lh), freq)
	}
	ft, err := Seed("futian")
	if err != nil {
		t.Fatal(err)
	}
	group := map[string]int{}
	for _, e := range ft {
		group[e.Group]++
		if e.Frequency != "" {
			t.Errorf("%s: its catalogue names no frequency", e.Code)
		}
	}
	if !reflect.DeepEqual(group, map[string]int{"人口": 5, "法人": 12, "房屋": 2, "其他": 6}) {
		t.Errorf("futian: %v", group)
	}
	codes := map[string]bool{}
	for _, e := range slices.Concat(lh, ft) {
		if CheckCode(e.Code) != nil || codes[e.Code] || e.Title == "" || e.Article == "" {
			t.Errorf("%+v", e)
		}
		codes[e.Code] = true
	}
	for _, name := range []string{"guangming", "", "../seed/longhua"} {
		if _, err := Seed(name); !errors.Is(err, sandbox.NotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
	for name, b := range map[string]string{
		"number": `{"district":"x","division":"440309","article":"a","entries":[{"number":2,"title":"t"}]}`,
		"words":  `{"district":"x","division":"440309","article":"a","entries":[{"number":1,"title":"t","frequency":"daily"}]}`,
		"key":    `{"district":"x","rows":[]}`,
		"rest":   `{"district":"x","division":"440309","article":"a","entries":[]}{}`,
		"other":  `{"district":"y","division":"440309","article":"a","entries":[]}`,
	} {
		if _, err := parseSeed("x", []byte(b)); err == nil {
			t.Errorf("%s passes", name)
		}
	}
}

func TestConflicts(t *testing.T) {
	d := func(id, unit string, cols ...Column) Dataset {
		return Dataset{ID: sandbox.DatasetID(id), Unit: sandbox.PartyID(unit), Subject: "s", SubjectKind: Opaque, Columns: append(cols, Column{Name: "s", Title: "号", Type: Text})}
	}
	all := []Dataset{
		d("b", "unit-2", Column{Name: "addr", Title: "住 址", Type: Text}, Column{Name: "k", Title: "键", Type: Text, JoinKey: true}),
		d("a", "unit-1", Column{Name: "home", Title: "住址", Type: Text}, Column{Name: "k", Title: "键", Type: Text, JoinKey: true}, Column{Name: "sum", Type: Money}),
		d("c", "unit-1", Column{Name: "home2", Title: "住址", Type: Date}, Column{Name: "SUM", Type: Int}),
		d("e", "unit-1", Column{Name: "x", Title: "只此", Type: Text}, Column{Name: "y", Title: "只此", Type: Text}),
	}
	derived := d("f", "unit-3", Column{Name: "home", Title: "住址", Type: Text})
	derived.Card.Stage = Derived
	other := d("g", "unit-4", Column{Name: "home", Title: "住址", Type: Text})
	other.SubjectKind = ResidentID
	got := Conflicts(append(all, derived, other))
	want := []Conflict{{Field: "住 址", Type: Text, Subject: Opaque, Holders: []Holder{{"unit-1", "a", "home"}, {"unit-2", "b", "addr"}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	// One kind of value under two titles is a possible one; under one title, the title says it.
	phone := func(id, unit, title string) Dataset {
		return d(id, unit, Column{Name: "p", Title: title, Type: Text, Finding: "mobile"})
	}
	got = Conflicts([]Dataset{phone("h", "unit-1", "手机"), phone("i", "unit-2", "联系电话")})
	want = []Conflict{{Field: "手机", Type: Text, Subject: Opaque, Finding: "mobile", Holders: []Holder{{"unit-1", "h", "p"}, {"unit-2", "i", "p"}}}}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("%+v", got)
	}
	got = Conflicts([]Dataset{phone("h", "unit-1", "手机"), phone("i", "unit-2", "手机")})
	if len(got) != 1 || got[0].Finding != "" {
		t.Errorf("%+v", got)
	}
}
