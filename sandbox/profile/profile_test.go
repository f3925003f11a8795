package profile

import (
	"errors"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// What the three districts say, and where they differ.
func TestDistricts(t *testing.T) {
	for _, want := range []struct {
		name, title       string
		years, retention  int
		whole             bool
		operator, termLaw string
	}{
		{"longhua", "龙华区", 5, 5, false, "运营机构", "六(一)"},
		{"futian", "福田区", 2, 2, false, "授权运营单位", "第十三条"},
		{"guangming", "光明区", 3, 3, true, "授权运营单位", "第十三条"},
	} {
		p, err := Load(want.name)
		if err != nil {
			t.Errorf("%s: %v", want.name, err)
			continue
		}
		if p.Title != want.title || p.Term.AgreementYears.Value != want.years || p.Retention.Years.Value != want.retention ||
			p.Retention.WholeIfShorter.Value != want.whole || p.Roles[sandbox.Operator].Value != want.operator {
			t.Errorf("%s: %+v", want.name, p)
		}
		if !strings.HasSuffix(p.Term.AgreementYears.Article, want.termLaw) {
			t.Errorf("%s: the term follows %s", want.name, p.Term.AgreementYears.Article)
		}
		if p.Clock.Operator.Value != 5 || p.Clock.Agency.Value != 5 || p.Clock.Unit.Value != 5 {
			t.Errorf("%s: the clock is not 5+5+5", want.name)
		}
		if silent := strings.HasPrefix(p.Clock.Agency.Article, "position: "); silent != (want.name == "longhua") {
			t.Errorf("%s: the clock follows %s", want.name, p.Clock.Agency.Article)
		}
		for _, product := range []string{"aggregate-question", "claim-query", "scoring-customers"} {
			if x, ok := p.Prices.Price(product); !ok || x.Price <= 0 {
				t.Errorf("%s has no price of %s", want.name, product)
			}
		}
		if _, ok := p.Prices.Price("nothing"); ok {
			t.Errorf("%s prices a product it does not list", want.name)
		}
	}
	if !slices.Equal(Names(), []string{"futian", "guangming", "longhua"}) {
		t.Error(Names())
	}
}

func TestLoadUnknown(t *testing.T) {
	for _, name := range []string{"", "nanshan", "../profile/longhua", "longhua.json"} {
		if _, err := Load(name); !errors.Is(err, sandbox.NotFound) {
			t.Errorf("%q: %v", name, err)
		}
	}
}

func TestParseRefuses(t *testing.T) {
	b, err := os.ReadFile("longhua.json")
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	for name, c := range map[string]struct{ from, to, place string }{
		"unknown key":       {`"title":`, `"titel": "x", "title":`, "file"},
		"repeated key":      {`"title":`, `"title": "龙岗区", "title":`, "file"},
		"misspelt case":     {`"title":`, `"Title":`, "file"},
		"missing key":       {`"title": "龙华区",`, ``, "file"},
		"rest":              {"\n}\n", "\n}\n{}", "file"},
		"no article":        {`"article": "龙华区公共数据资源授权运营实施方案(试行) 六(一)"`, `"article": ""`, "term.agreement_years"},
		"term":              {`"value": 5,`, `"value": 0,`, "term.agreement_years"},
		"name":              {`"name": "longhua"`, `"name": "Longhua"`, "profile name"},
		"loose grade":       {"\"max_grade_p1\": {\n      \"value\": 3", "\"max_grade_p1\": {\n      \"value\": 4", "engine.max_grade_p1"},
		"loose grade on P2": {"\"max_grade_p2\": {\n      \"value\": 2", "\"max_grade_p2\": {\n      \"value\": 3", "engine.max_grade_p2"},
		"threshold":         {"\"min_subjects\": {\n      \"value\": 10", "\"min_subjects\": {\n      \"value\": 1", "gate.min_subjects"},
		"budget":            {`"value": 512`, `"value": 1`, "bits.per_grant"},
		"free bits":         {"\"per_question\": {\n      \"value\": 2", "\"per_question\": {\n      \"value\": 0", "bits.per_question"},
		"method":            {`"sm2-signature"`, `"by phone"`, "consent.methods"},
		"role":              {`"partner": {`, `"partners": {`, "roles.partner"},
		"negative price":    {`"price": 500,`, `"price": -500,`, "prices.claim-query"},
		"price twice":       {`"product": "claim-query"`, `"product": "aggregate-question"`, "prices.aggregate-question"},
		"shares":            {`"basis": 8000`, `"basis": 8001`, "shares"},
		"no district":       {`"title": "龙华区"`, `"title": ""`, "title"},
		"a fifth role":      {"    \"unit\": {", "    \"subject\": {\n      \"value\": \"x\",\n      \"article\": \"x\"\n    },\n    \"unit\": {", "roles"},
		"price too high":    {`"price": 500,`, `"price": 1000000001,`, "prices.claim-query"},
		"price, no title":   {`"title": "单一主体查询服务"`, `"title": ""`, "prices.claim-query"},
		"price, no unit":    {`"unit": "次 (one admitted call, whatever its outcome)"`, `"unit": ""`, "prices.claim-query"},
		"share twice":       {`"role": "unit",`, `"role": "operator",`, "shares.operator"},
		"share of nobody":   {`"role": "operator",`, `"role": "friend",`, "shares.friend"},
		"cash to a unit":    {"\"role\": \"unit\",\n        \"basis\": 1500,\n        \"credit\": true", "\"role\": \"unit\",\n        \"basis\": 1500,\n        \"credit\": false", "shares.unit"},
	} {
		text := strings.Replace(good, c.from, c.to, 1)
		if text == good {
			t.Errorf("%s: the case changes nothing", name)
		}
		if _, err := Parse([]byte(text)); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), c.place+":") {
			t.Errorf("%s: %v does not name %s", name, err, c.place)
		}
	}
	p, err := Load("longhua")
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(s []Share){
		"below zero":   func(s []Share) { s[0].Basis, s[2].Basis = 9000, -500 },
		"over all":     func(s []Share) { s[0].Basis, s[1].Basis, s[2].Basis = 0, 0, 10_001 },
		"no article":   func(s []Share) { s[2].Article = "" },
		"cash to them": func(s []Share) { s[2].Credit = false },
	} {
		q := p
		q.Prices.Shares = slices.Clone(p.Prices.Shares)
		change(q.Prices.Shares)
		if err := q.Validate(); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "shares.agency:") {
			t.Errorf("share %s: %v", name, err)
		}
	}
	p.Prices.Prices[1].Article = ""
	if err := p.Validate(); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "prices.claim-query:") {
		t.Errorf("a price without its article: %v", err)
	}
	p.Prices.Prices = nil
	if err := p.Validate(); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "validate prices:") {
		t.Errorf("no prices: %v", err)
	}
	if _, err := Parse(make([]byte, MaxBytes+1)); !errors.Is(err, sandbox.TooLarge) {
		t.Error(err)
	}
}

func FuzzParse(f *testing.F) {
	for _, name := range Names() {
		b, err := os.ReadFile(name + ".json")
		if err != nil {
			f.Fatal(err)
		}
		f.Add(b)
	}
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := Parse(b)
		if err == nil && p.Validate() != nil {
			t.Fatal("an invalid profile was read")
		}
	})
}
