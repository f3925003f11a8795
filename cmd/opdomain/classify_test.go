package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/text/encoding/simplifiedchinese"

	"github.com/opdomain/opdomain/sandbox/classify"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// TestClassifyEncodings gives the same findings in UTF-8, GB 18030 declared and GB 18030 detected.
func TestClassifyEncodings(t *testing.T) {
	var b strings.Builder
	b.WriteString("姓名,住址,诊断名称\n")
	for i := range 50 {
		fmt.Fprintf(&b, "王小%c,广东省深圳市南山区望海路%d号3栋502室,急性阑尾炎\n", []rune("丫明红芳伟")[i%5], i+1)
	}
	dir := t.TempDir()
	plain, wide := filepath.Join(dir, "u.csv"), filepath.Join(dir, "g.csv")
	gb, err := simplifiedchinese.GB18030.NewEncoder().String(b.String())
	if err != nil {
		t.Fatal(err)
	}
	for path, text := range map[string]string{plain: b.String(), wide: gb} {
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	var first classified
	printed := func(c classified) string {
		b, err := json.Marshal(c)
		if err != nil {
			t.Fatal(err)
		}
		return string(b)
	}
	for i, args := range [][]string{{"--in", plain}, {"--in", wide}, {"--in", wide, "--encoding", "gb18030"}} {
		code, out, errOut := opdomain(t, append([]string{"classify", "--json"}, args...)...)
		if code != 0 {
			t.Fatalf("exit %d: %s", code, errOut)
		}
		var got classified
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		got.File = ""
		if i == 0 {
			first = got
		}
		if printed(got) != printed(first) {
			t.Errorf("%v: %+v, want %+v", args, got, first)
		}
	}
	var kinds []classify.Kind
	for _, c := range first.Columns {
		kinds = append(kinds, c.Finding)
	}
	if fmt.Sprint(kinds) != fmt.Sprint([]classify.Kind{classify.PersonName, classify.Address, classify.Disease}) || first.Rows != 50 {
		t.Errorf("%v of %d rows", kinds, first.Rows)
	}
	if code, _, errOut := opdomain(t, "classify", "--in", wide, "--encoding", "utf-8"); code != 1 || !strings.Contains(errOut, "line 1") {
		t.Errorf("declared wrongly: exit %d, %s", code, errOut)
	}
}

// TestClassifyWideAndLong: 512 columns, and a file of more rows than the sample takes.
func TestClassifyWideAndLong(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "wide.csv")
	var b strings.Builder
	for i := range 512 {
		fmt.Fprintf(&b, "c%d,", i)
	}
	head := strings.TrimSuffix(b.String(), ",") + "\n"
	row := strings.TrimSuffix(strings.Repeat("13800138000,", 511)+"11010519491231002X", ",") + "\n"
	if err := os.WriteFile(path, []byte(head+strings.Repeat(row, 30)), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := opdomain(t, "classify", "--in", path)
	if code != 0 || !strings.Contains(out, "c511") || !strings.Contains(out, "resident-id") {
		t.Errorf("exit %d: %s", code, errOut)
	}
	long := filepath.Join(dir, "long.csv")
	if err := os.WriteFile(long, []byte("id,x\n"+strings.Repeat("无,1\n", 60_000)+strings.Repeat("11010519491231002X,1\n", 20_000)), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut = opdomain(t, "classify", "--in", long, "--json")
	var got classified
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil {
		t.Fatalf("exit %d: %s %v", code, errOut, err)
	}
	if c := got.Columns[0]; got.Rows != 80_000 || c.Finding != classify.ResidentID || c.Share < 0.24 || c.Share > 0.26 || c.Sampled > classify.SampleSize {
		t.Errorf("%d rows, %+v", got.Rows, c)
	}
}

// TestVerbsFindTheSame: what classify finds in a column, desensitize does not let pass, whether the plan has a schema or not.
func TestVerbsFindTheSame(t *testing.T) {
	dir := t.TempDir()
	const head = "姓名,联系人,身份证号,手机,住址,诊断,备注,SSN,code"
	var b strings.Builder
	b.WriteString(head + "\n")
	for i := range 12 { // fewer than a column without a telling header needs
		fmt.Fprintf(&b, "王小%c,李%c,440301199001011%03d,1380013%04d,望海路%d号3栋502室,急性阑尾炎,转交王芳，电话1390013%04d,999-%d,A%d\n",
			[]rune("丫明红芳伟")[i%5], []rune("静强娜")[i%3], i, i, i+1, i, i, i)
	}
	in := filepath.Join(dir, "in.csv")
	if err := os.WriteFile(in, []byte(b.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	code, out, errOut := opdomain(t, "classify", "--json", "--in", in)
	var got classified
	if err := json.Unmarshal([]byte(out), &got); code != 0 || err != nil {
		t.Fatalf("exit %d: %s %v", code, errOut, err)
	}
	personal := 0
	drops := func(but string) (s string) {
		for _, name := range strings.Split(head, ",") {
			if name != but {
				s += ", {column: " + name + ", op: drop}"
			}
		}
		return s
	}
	for i, name := range strings.Split(head, ",") {
		found := got.Columns[i]
		if found.Personal {
			personal++
		}
		for _, schema := range []string{"", fmt.Sprintf("schema: [{name: %s, type: text, grade: 1, nullable: true}]\n", name)} {
			plan, view := filepath.Join(dir, "p.yaml"), filepath.Join(dir, "view.csv")
			others := drops(name)
			if schema != "" {
				others = ""
			}
			if err := os.WriteFile(plan, []byte("plan: p\nversion: 1\n"+schema+"columns: [{column: "+name+", op: pass}"+others+"]\n"), 0o600); err != nil {
				t.Fatal(err)
			}
			code, _, errOut := opdomain(t, "desensitize", "--plan", plan, "--in", in, "--out", view)
			if passes := code == 0; passes != (found.Grade < 3) || !passes && !strings.Contains(errOut, "plan.passed") {
				t.Errorf("%s: %q of grade %d in classify, with %q passes: %v; %s", name, found.Finding, found.Grade, schema, passes, errOut)
			}
			_ = os.Remove(view)
		}
	}
	if personal != 8 {
		t.Errorf("%d personal columns: %+v", personal, got.Columns)
	}
}

// TestClassifyRealTables: in foreign tables that nobody here wrote there is no Chinese identifier; names, places and numbers of
// persons are told by their headers and forms. What is found beyond the list is a false finding.
func TestClassifyRealTables(t *testing.T) {
	dir := sandboxtest.Data(t, "synthea", "no real table was classified")
	tables, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil || len(tables) < 8 {
		t.Fatalf("%d tables: %v", len(tables), err)
	}
	want := map[string]classify.Kind{"BIRTHDATE": classify.BirthDate, "SSN": classify.OtherID, "DRIVERS": classify.OtherID, "PASSPORT": classify.Passport, "FIRST": classify.LatinName,
		"LAST": classify.LatinName, "MAIDEN": classify.LatinName, "RACE": classify.Ethnicity, "ETHNICITY": classify.Ethnicity, "BIRTHPLACE": classify.Address, "ADDRESS": classify.Address,
		"ZIP": classify.Address, "LAT": classify.Address, "LON": classify.Address, "PHONE": classify.Mobile, "OWNERNAME": classify.PersonName}
	columns, found := 0, map[string]bool{}
	for _, path := range tables {
		code, out, errOut := opdomain(t, "classify", "--json", "--in", path)
		if code != 0 {
			t.Errorf("%s: exit %d: %s", filepath.Base(path), code, errOut)
			continue
		}
		var got classified
		if err := json.Unmarshal([]byte(out), &got); err != nil {
			t.Fatal(err)
		}
		for _, c := range got.Columns {
			columns++
			k := want[c.Column]
			if c.Column == "NAME" { // of persons in one table, of organisations in others
				k = c.Finding
				if c.Grade != 3 {
					t.Errorf("%s: NAME is %q", got.File, c.Finding)
				}
			}
			if c.Finding != k {
				t.Errorf("%s: %s is taken for %q, share %.2f of %d; want %q", got.File, c.Column, c.Finding, c.Share, c.Sampled, k)
			}
			found[c.Column] = true
		}
		if got.File == "conditions.csv" && (got.Standing != nil || got.Unjudged != len(got.Columns)) {
			t.Errorf("%s: %+v", got.File, got)
		}
	}
	if columns < 100 {
		t.Errorf("%d columns", columns)
	}
	for name := range want {
		if !found[name] {
			t.Errorf("no table has column %s", name)
		}
	}
}
