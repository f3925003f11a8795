package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox/egress/mark"
)

// invoked runs a command line and gives its status and what it wrote.
func invoked(t *testing.T, args ...string) (status int, out, errOut string) {
	t.Helper()
	var o, e bytes.Buffer
	status = run(context.Background(), args, strings.NewReader(""), &o, &e)
	return status, o.String(), e.String()
}

func saved(t *testing.T, path string, rows [][]string) {
	t.Helper()
	var b bytes.Buffer
	if err := csv.NewWriter(&b).WriteAll(rows); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, b.Bytes(), 0o600); err != nil {
		t.Fatal(err)
	}
}

// TestMarkAndTrace: copies of a data set are marked for two recipients; half of one, without half of its columns, names who had it.
func TestMarkAndTrace(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	r := rand.New(rand.NewPCG(20261129, 11))
	rows := [][]string{{"area", "sex", "visited", "amount", "paid", "days"}}
	for range 1500 {
		rows = append(rows, []string{fmt.Sprintf("4403%02d", r.IntN(10)), fmt.Sprint(1 + r.IntN(2)), fmt.Sprintf("2025-%02d-%02d", 1+r.IntN(12), 1+r.IntN(28)),
			fmt.Sprintf("%d.%02d", r.IntN(9000), r.IntN(100)), fmt.Sprintf("%d.%02d", r.IntN(3000), r.IntN(100)), fmt.Sprint(r.IntN(40))})
	}
	saved(t, at("set.csv"), rows)
	scheme := mark.Scheme{Dataset: "claims-2026", Columns: []mark.Column{{Name: "area", Quasi: true}, {Name: "sex", Quasi: true}, {Name: "visited", Type: mark.Date, Step: "1"},
		{Name: "amount", Type: mark.Number, Step: "0.50"}, {Name: "paid", Type: mark.Number, Step: "0.50"}, {Name: "days", Type: mark.Number, Step: "1"}}}
	b, err := json.Marshal(scheme)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(at("scheme.json"), b, 0o600); err != nil {
		t.Fatal(err)
	}
	if status, out, errOut := invoked(t, "egress", "mark", "--in", at("set.csv"), "--scheme", at("scheme.json"), "--new-key", at("key"), "--recipient", "partner-a", "--out", at("a.csv")); status != 0 || !strings.Contains(out, "1500 rows") {
		t.Fatalf("%d %s %s", status, out, errOut)
	}
	if status, _, errOut := invoked(t, "egress", "mark", "--in", at("set.csv"), "--scheme", at("scheme.json"), "--key", at("key"), "--recipient", "partner-b", "--out", at("b.csv")); status != 0 {
		t.Fatal(errOut)
	}
	part := func(name string) [][]string {
		f, err := os.Open(at(name))
		if err != nil {
			t.Fatal(err)
		}
		defer f.Close()
		all, err := csv.NewReader(f).ReadAll()
		if err != nil {
			t.Fatal(err)
		}
		var out [][]string
		for i, row := range all {
			if i%2 == 0 {
				out = append(out, []string{row[5], row[0], row[3]})
			}
		}
		return out
	}
	people := "partner-c,partner-b,partner-a,partner-d"
	for _, who := range []string{"a", "b"} {
		saved(t, at("part.csv"), part(who+".csv"))
		status, out, errOut := invoked(t, "egress", "trace", "--in", at("part.csv"), "--scheme", at("scheme.json"), "--key", at("key"), "--recipients", people, "--json")
		var x mark.Trace
		if err := json.Unmarshal([]byte(out), &x); err != nil || status != 0 {
			t.Fatalf("%d %v %s", status, err, errOut)
		}
		if got := x.Accused(); len(got) != 1 || string(got[0]) != "partner-"+who {
			t.Errorf("part of %s's copy names %v", who, got)
		}
	}
	saved(t, at("part.csv"), rows)
	if status, out, _ := invoked(t, "egress", "trace", "--in", at("part.csv"), "--scheme", at("scheme.json"), "--key", at("key"), "--recipients", people); status != 0 || !strings.Contains(out, "nobody is named") {
		t.Errorf("the data before they were marked: %s", out)
	}
	// Too little to tell anybody by is refused; a key that others may read is not used.
	saved(t, at("few.csv"), rows[:20])
	if status, _, errOut := invoked(t, "egress", "mark", "--in", at("few.csv"), "--scheme", at("scheme.json"), "--key", at("key"), "--recipient", "partner-a", "--out", at("few-a.csv")); status != exitRefused || !strings.Contains(errOut, "mark.positions") {
		t.Errorf("%d %s", status, errOut)
	}
	if _, err := os.Stat(at("few-a.csv")); err == nil {
		t.Error("a refused copy was written")
	}
	if err := os.Chmod(at("key"), 0o644); err != nil {
		t.Fatal(err)
	}
	if status, _, errOut := invoked(t, "egress", "trace", "--in", at("part.csv"), "--scheme", at("scheme.json"), "--key", at("key"), "--recipients", people); status != exitFailed || !strings.Contains(errOut, "others can read") {
		t.Errorf("%d %s", status, errOut)
	}
}

// TestScanOfAFile: hits name column, row and rule, never a value.
func TestScanOfAFile(t *testing.T) {
	dir := t.TempDir()
	path := filepath.Join(dir, "set.csv")
	var rows [][]string
	rows = append(rows, []string{"area", "amount", "note"})
	for i := range 200 {
		rows = append(rows, []string{fmt.Sprintf("4403%02d", i%10), fmt.Sprint(13_800_000_000 + int64(i)*7919), "随访"})
	}
	saved(t, path, rows)
	if status, out, errOut := invoked(t, "egress", "scan", "--in", path, "--role", "area=label", "--role", "amount=amount", "--qi", "area", "--k", "10"); status != 0 || !strings.Contains(out, "0 hits") {
		t.Errorf("%d %s %s", status, out, errOut)
	}
	source := filepath.Join(dir, "source.csv")
	saved(t, source, rows)
	if status, _, errOut := invoked(t, "egress", "scan", "--in", path, "--role", "amount=amount", "--source", source); status != exitRefused || !strings.Contains(errOut, "egress.row-level") {
		t.Errorf("rows of the source: %d %s", status, errOut)
	}
	rows[7][2] = "MTM4MDAxMzgwMDA="
	for range 5000 {
		rows = append(rows, rows[1])
	}
	saved(t, path, rows)
	status, out, errOut := invoked(t, "egress", "scan", "--in", path, "--role", "amount=amount", "--bits", "1000")
	for _, want := range []string{"identifier mobile (base64) in note, row 7", "size.rows", "size.bits"} {
		if !strings.Contains(out+errOut, want) {
			t.Errorf("%q is not said: %s %s", want, out, errOut)
		}
	}
	if status != exitRefused || strings.Contains(out+errOut, "MTM4") || strings.Contains(out+errOut, "13800138000") {
		t.Errorf("%d, or a value is shown", status)
	}
	for _, args := range [][]string{{"--role", "area=other"}, {"--role", "none=label"}, {"--qi", "none"}, {"--k", "1"}} {
		if status, _, _ := invoked(t, append([]string{"egress", "scan", "--in", path}, args...)...); status != exitUsage {
			t.Errorf("%v: %d", args, status)
		}
	}
	if err := os.WriteFile(path, []byte("a,b\n1\n13800138000,2,3\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if status, _, errOut := invoked(t, "egress", "scan", "--in", path); status != exitFailed || strings.Contains(errOut, "138") {
		t.Errorf("a crooked file: %d %s", status, errOut)
	}
}
