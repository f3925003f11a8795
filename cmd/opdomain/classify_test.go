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
		if fmt.Sprint(got) != fmt.Sprint(first) {
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

// TestClassifyRealTables: in foreign tables that nobody here wrote there is no Chinese identifier; birth dates are told by
// their header. What is found beyond that is a false finding.
func TestClassifyRealTables(t *testing.T) {
	root := os.Getenv("OPDOMAIN_DATA")
	dir := filepath.Join(root, "synthea")
	if _, err := os.Stat(dir); root == "" || err != nil {
		if os.Getenv("OPDOMAIN_REQUIRE") == "all" {
			t.Fatal("OPDOMAIN_DATA names no folder with synthea, and OPDOMAIN_REQUIRE=all")
		}
		t.Skip("SKIPPED ALOUD: OPDOMAIN_DATA names no folder with synthea; no real table was classified")
	}
	tables, err := filepath.Glob(filepath.Join(dir, "*.csv"))
	if err != nil || len(tables) < 8 {
		t.Fatalf("%d tables: %v", len(tables), err)
	}
	columns, born := 0, false
	for _, path := range tables {
		code, out, errOut := opdomain(t, "classify", "--json", "--encoding", "utf-8", "--in", path)
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
			switch {
			case c.Finding == classify.BirthDate && c.Column == "BIRTHDATE":
				born = true
			case c.Finding != classify.None:
				t.Errorf("%s: %s is taken for %s, share %.2f of %d", got.File, c.Column, c.Finding, c.Share, c.Sampled)
			}
		}
	}
	if columns < 100 || !born {
		t.Errorf("%d columns, birth dates found: %v", columns, born)
	}
}
