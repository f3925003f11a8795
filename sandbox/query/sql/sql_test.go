package sql

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/cockroachdb/datadriven"

	"github.com/opdomain/opdomain/sandbox/catalog"
)

// described is a catalogue with every type of column and kind of bin.
func described() Descriptions {
	col := func(name string, t catalog.Type, more ...func(*catalog.Column)) catalog.Column {
		c := catalog.Column{Name: name, Type: t, Grade: 2}
		for _, f := range more {
			f(&c)
		}
		return c
	}
	public := func(c *catalog.Column) { c.Public = true }
	key := func(c *catalog.Column) { c.JoinKey = true }
	nullable := func(c *catalog.Column) { c.Nullable = true }
	scale := func(n int) func(*catalog.Column) { return func(c *catalog.Column) { c.Scale = n } }
	claims := catalog.Dataset{ID: "ds-claims", Unit: "unit-medical", Frequency: catalog.Daily, Subject: "id_no", SubjectKind: catalog.ResidentID, Columns: []catalog.Column{
		col("id_no", catalog.Text), col("icd10", catalog.Text), col("hospital", catalog.Text, key), col("amount", catalog.Money), col("paid", catalog.Money, nullable),
		col("days", catalog.Int, public), col("rate", catalog.Number, scale(3), public), col("service_date", catalog.Date), col("urgent", catalog.Bool, public), col("order", catalog.Text, public)},
		Bins: []catalog.Bin{
			{ID: "disease-group", Column: "icd10", Kind: catalog.Prefix, Groups: []catalog.Group{{Label: "肿瘤", Codes: []string{"C", "D0"}}, {Label: "血液", Codes: []string{"D"}}, {Label: "妊娠", Codes: []string{"O"}}}},
			{ID: "cost-band", Column: "amount", Kind: catalog.Amount, Edges: []int64{10000, 50000, 100000}},
			{ID: "cost-half", Column: "amount", Kind: catalog.Amount, Edges: []int64{75000}},
			{ID: "paid-band", Column: "paid", Kind: catalog.Amount, Edges: []int64{10000}},
			{ID: "service-year", Column: "service_date", Kind: catalog.Year},
		}}
	persons := catalog.Dataset{ID: "ds-persons", Unit: "unit-population", Frequency: catalog.Daily, Subject: "id_no", SubjectKind: catalog.ResidentID, Columns: []catalog.Column{
		col("id_no", catalog.Text), col("sex", catalog.Text, public, nullable), col("born", catalog.Date), col("mobile", catalog.Text), col("street", catalog.Text, public), col("1.code-x", catalog.Text, public)},
		Bins: []catalog.Bin{
			{ID: "age-band", Column: "born", Kind: catalog.Age, Edges: []int64{18, 65}, At: "2024-02-29"},
			{ID: "district", Column: "street", Kind: catalog.Codes, Groups: []catalog.Group{{Label: "east", Codes: []string{"E1", "E2"}}, {Label: "west", Codes: []string{"W1"}}}},
		}}
	hospitals := catalog.Dataset{ID: "ds-hospitals", Unit: "unit-medical", Frequency: catalog.Yearly, Subject: "owner", SubjectKind: catalog.Opaque, Columns: []catalog.Column{
		col("owner", catalog.Text), col("code", catalog.Text, key), col("level", catalog.Int, public)}}
	return Descriptions{claims.ID: claims, persons.ID: persons, hospitals.ID: hospitals}
}

func TestDescribed(t *testing.T) {
	for _, d := range described() {
		if err := d.Validate(); err != nil {
			t.Error(err)
		}
	}
}

// TestTables plays testdata/*.txt: a text, and the question it compiles to or its refusal.
func TestTables(t *testing.T) {
	played := 0
	datadriven.Walk(t, "testdata", func(t *testing.T, path string) {
		if filepath.Ext(path) != ".txt" {
			return // what the fuzzer keeps
		}
		datadriven.RunTest(t, path, func(t *testing.T, d *datadriven.TestData) string {
			played++
			return answer(d.Input) + "\n"
		})
	})
	if played < 150 {
		t.Errorf("only %d texts were played", played)
	}
}

// answer prints what a text compiles to: as SQL, which says the whole question, or the refusal in four lines.
func answer(q string) string {
	s, r := Compile(q, described(), "sc-1", "research")
	if r != nil {
		return fmt.Sprintf("refused %s at line %d, column %d: %s\nrule: %s\nnearest: %s", r.Code, r.Line, r.Column, r.Construct, r.Rule, r.Change)
	}
	if s.Scenario != "sc-1" || s.Purpose != "research" {
		return "lost the scenario"
	}
	return strings.TrimSuffix(Text(*s), "\n")
}

// TestCodes wants every code to stand in the tables, and no text of a refusal to hold a value of the asker's.
func TestCodes(t *testing.T) {
	var all string
	for _, f := range []string{"refused.txt", "negative.txt"} {
		b, err := os.ReadFile(filepath.Join("testdata", f))
		if err != nil {
			t.Fatal(err)
		}
		all += string(b)
	}
	sources, err := filepath.Glob("*.go")
	if err != nil {
		t.Fatal(err)
	}
	codes := 0
	for _, f := range sources {
		b, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasSuffix(f, "_test.go") {
			continue
		}
		for _, part := range strings.Split(string(b), `"sql.`)[1:] {
			code, _, _ := strings.Cut(part, `"`)
			codes++
			if !strings.Contains(all, "refused sql."+code+" ") {
				t.Errorf("%s: no table shows sql.%s", f, code)
			}
		}
	}
	if codes < 60 {
		t.Errorf("only %d places refuse", codes)
	}
	for block := range strings.SplitSeq(all, "\n\n") {
		_, answer, _ := strings.Cut(block, "\n----\n")
		if strings.HasPrefix(answer, "refused") && (strings.Contains(answer, "SECRET") || strings.Contains(answer, "440301")) {
			t.Errorf("a refusal repeats a value:\n%s", answer)
		}
	}
}

// TestFaultInjection starts this test as a process whose environment asks for the parser's fault injection.
func TestFaultInjection(t *testing.T) {
	for _, env := range []string{"GO_FAILPOINTS=not-a-failpoint", "GO_FAILPOINTS_HTTP=no.such.host.invalid:1"} {
		c := exec.CommandContext(context.Background(), os.Args[0], "-test.run=^$")
		c.Env = append(os.Environ(), env)
		if out, err := c.CombinedOutput(); err != nil || strings.Contains(string(out), "failpoint") {
			t.Errorf("with %s the process says %q: %v", env, out, err)
		}
	}
}

// TestBounds asks for more than is read. None may take long or fall over.
func TestBounds(t *testing.T) {
	for name, c := range map[string]struct{ text, code string }{
		"1 MiB and more":  {"SELECT " + strings.Repeat("x", MaxText), "sql.size"},
		"1 MiB of words":  {"SELECT " + strings.Repeat("a,", MaxText/2-8) + "a", "sql.size"},
		"one long value":  {"SELECT COUNT(*) FROM \"ds-claims\" WHERE icd10 = '" + strings.Repeat("x", 1<<16) + "'", "sql.size"},
		"parentheses":     {"SELECT " + strings.Repeat("(", 5000) + "1" + strings.Repeat(")", 5000), "sql.depth"},
		"NOT":             {`SELECT COUNT(*) FROM "ds-claims" WHERE ` + strings.Repeat("NOT ", 30000) + "urgent", "sql.depth"},
		"minus":           {`SELECT COUNT(*) FROM "ds-claims" WHERE days = ` + strings.Repeat("- ", 30000) + "1", "sql.depth"},
		"AND":             {`SELECT COUNT(*) FROM "ds-claims" WHERE days = 1` + strings.Repeat(" AND days=1", 7000), "sql.depth"},
		"plus":            {`SELECT 1` + strings.Repeat("+1", 15000) + ` FROM "ds-claims"`, "sql.depth"},
		"labels":          {`SELECT COUNT(*) FROM "ds-claims" WHERE days IN (` + number(4000) + ")", "sql.invalid"},
		"joins":           {`SELECT COUNT(*) FROM "ds-claims" a0` + joins(150), "sql.depth"},
		"some joins":      {`SELECT COUNT(*) FROM "ds-claims" a0` + joins(20), "sql.invalid"},
		"measures":        {"SELECT " + strings.Repeat("COUNT(*),", 5000) + `COUNT(*) FROM "ds-claims"`, "sql.invalid"},
		"common tables":   {"WITH " + strings.Repeat(`a AS (SELECT id_no FROM "ds-claims"),`, 500) + `b AS (SELECT id_no FROM a) SELECT COUNT(*) FROM b`, "sql.size"},
		"CASE in CASE":    {"SELECT " + strings.Repeat("CASE WHEN 1 THEN ", 2000) + "1" + strings.Repeat(" END", 2000) + ` FROM "ds-claims"`, "sql.depth"},
		"not UTF-8":       {"SELECT \xff", "sql.text"},
		"NUL":             {"SELECT \x00", "sql.text"},
		"unclosed":        {`SELECT 'a`, "sql.syntax"},
		"nothing":         {" \n", "sql.syntax"},
		"a byte of space": {"\u00a0SELECT 1", "sql.text"},
	} {
		s, r := Compile(c.text, described(), "sc-1", "research")
		if r == nil || s != nil || r.Code != c.code {
			t.Errorf("%s: %v", name, r)
		}
	}
}

func number(n int) string {
	out := make([]string, n)
	for i := range out {
		out[i] = fmt.Sprint(i)
	}
	return strings.Join(out, ",")
}

func joins(n int) string {
	var b strings.Builder
	for i := range n {
		fmt.Fprintf(&b, ` JOIN "ds-persons" p%d ON a0._subject = p%d._subject`, i, i)
	}
	return b.String()
}

// TestPlace counts characters, not bytes.
func TestPlace(t *testing.T) {
	_, r := Compile("SELECT COUNT(*) AS \"人数\",\n  SUM(金额) FROM \"ds-claims\"", described(), "sc-1", "research")
	if r == nil || r.Line != 2 || r.Column != 7 {
		t.Errorf("%v", r)
	}
	_, r = Compile("SELECT COUNT(*) AS \"人数\", SUM(金额) FROM \"ds-claims\"", described(), "sc-1", "research")
	if r == nil || r.Line != 1 || r.Column != 30 {
		t.Errorf("%v", r)
	}
}

// TestFullYears compares the border days of an age bin with years counted on the calendar.
func TestFullYears(t *testing.T) {
	for _, at := range []string{"2024-02-29", "2023-02-28", "2023-03-01", "2026-01-01", "2024-12-31"} {
		for years := int64(0); years < 120; years++ {
			last, ok := reaches(at, years)
			if !ok {
				t.Fatal(at)
			}
			for d := int64(-1); d <= 1; d++ {
				if (fullYears(last+d, at) >= years) != (d <= 0) {
					t.Errorf("%s: %d days from the border of %d years gives %d", at, d, years, fullYears(last+d, at))
				}
			}
		}
	}
}

// seeds are the texts of the tables.
func seeds(t testing.TB) []string {
	files, err := filepath.Glob(filepath.Join("testdata", "*.txt"))
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, path := range files {
		b, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		for block := range strings.SplitSeq(string(b), "\n\n") {
			head, _, _ := strings.Cut(block, "\n----\n")
			var text []string
			for line := range strings.Lines(head) {
				if !strings.HasPrefix(line, "# ") && line != "sql\n" {
					text = append(text, line)
				}
			}
			out = append(out, strings.TrimSuffix(strings.Join(text, ""), "\n"))
		}
	}
	return out
}
