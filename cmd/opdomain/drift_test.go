package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
)

// TestShownHeader: names of columns are shown, what may be a value is a number.
func TestShownHeader(t *testing.T) {
	sc := classify.NewScanner()
	for _, name := range []string{"ward", "START", "姓名", "金额", "诊断日期", "icd10_code", "白细胞", "cost (CNY)"} {
		if got := shownHeader(sc, name, 3); got != name {
			t.Errorf("%s is shown as %s", name, got)
		}
	}
	for i, value := range []string{"", " ", "13812345678", "440399199001010007", "11010519491231002X", "1990-02-28", "12.50", "person-0001", "王小明", "a@b.cn",
		"广东省深圳市南山区望海路1号", "急性阑尾炎", "line\nbreak", strings.Repeat("w", 65)} {
		if got := shownHeader(sc, value, 3); got != "field 3" {
			t.Errorf("value %d is not shown as a number", i)
		}
	}
}

// TestSchemaFileIsHeldToTheCatalogue: a file that says of a registered column what a push would not take is refused by name.
func TestSchemaFileIsHeldToTheCatalogue(t *testing.T) {
	registered := catalog.Dataset{ID: "ds-p", Unit: "unit-p", Title: "人口", Frequency: catalog.Daily, Subject: "who", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{{Name: "who", Type: catalog.Text, Grade: 3, Personal: true, JoinKey: true}, {Name: "n", Title: "次数", Type: catalog.Int, Grade: 2, Detected: 3, Finding: "mobile"}},
		Bins:    []catalog.Bin{{ID: "few", Column: "n", Kind: catalog.Amount, Edges: []int64{1, 5}}}}
	dir := t.TempDir()
	offer := func(text string) (offered, error) {
		path := filepath.Join(dir, "s.json")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return (&app{}).offer(path, registered)
	}
	const who = `{"name": "who", "type": "text"}, `
	for text, want := range map[string]string{
		`[` + who + `{"name": "n", "type": "int"}]`:                                                                             "",
		`[` + who + `{"name": "n", "type": "number", "scale": 1}]`:                                                              "n: widen, int to number(1)",
		`[` + who + `{"name": "n", "type": "int"}, {"name": "x", "type": "bool"}]`:                                              "x: add-required, bool",
		`{"id": "ds-p", "subject": "who", "subject_kind": "resident-id", "columns": [` + who + `{"name": "n", "type": "int"}]}`: "table: subject, who opaque to who resident-id",
	} {
		o, err := offer(text)
		if err != nil || o.drift.String() != want {
			t.Errorf("%s: %q %v", text, o.drift, err)
		}
	}
	o, err := offer(`[` + who + `{"name": "n", "type": "int"}, {"name": "x", "type": "bool", "nullable": true}, {"name": "y", "title": "乙", "type": "bool", "nullable": true, "grade": 2}]`)
	if err != nil || !reflect.DeepEqual(o.declared, []catalog.Column{{Name: "y", Title: "乙", Type: catalog.Bool, Nullable: true, Grade: 2}}) {
		t.Errorf("declared %+v %v", o.declared, err)
	}
	for text, rule := range map[string]string{
		`[{"name": "who", "type": "text", "grade": 2}]`:                                                      "column who: invalid: registered with another grade",
		`[` + who + `{"name": "n", "title": "别的", "type": "int"}]`:                                           "column n: invalid: registered with another title",
		`[` + who + `{"name": "n", "type": "int", "personal": true}]`:                                        "registered with another mark of personal data",
		`[` + who + `{"name": "n", "type": "int", "public": true}]`:                                          "registered with another mark of a code list",
		`[` + who + `{"name": "x", "type": "int", "nullable": true, "join_key": true}]`:                      "without join key and code list",
		`[` + who + `{"name": "x", "type": "int", "nullable": true, "personal": true}]`:                      "has a grade of 1 to 4",
		`[` + who + `{"name": "x", "type": "int", "nullable": true, "grade": 7}]`:                            "has a grade of 1 to 4",
		`[` + who + `{"name": "x", "type": "int", "nullable": true, "grade": 2, "finding": "mobile"}]`:       "nothing is detected",
		`[` + who + `{"name": "x", "type": "float"}]`:                                                        "type is one of",
		`[{"name": "n", "type": "int"}]`:                                                                     "the protected subject is a text column",
		`{"id": "ds-q", "columns": [{"name": "who", "type": "text"}]}`:                                       "it describes another dataset",
		`{"id": "ds-p", "frequency": "weekly", "columns": [{"name": "who", "type": "text"}]}`:                "registered with another frequency",
		`{"id": "ds-p", "columns": [{"name": "who", "type": "text"}], "bins": [{"id": "b", "column": "n"}]}`: "registered with another list of bins",
		`[{"name": "who", "typ": "13812345678"}]`:                                                            "a list of columns: JSON objects with the known fields",
		`[] []`: "a list of columns",
		``:      "a dataset's description",
	} {
		if _, err := offer(text); err == nil || !strings.Contains(err.Error(), rule) || strings.Contains(err.Error(), "13812345678") {
			t.Errorf("%s: %v, want %q", text, err, rule)
		}
	}
}

// TestDriftIsRegistered: descriptions of new columns arrive, a run that is repeated gives the same report under the schema that is
// registered by then, and the history says what each push changed.
func TestDriftIsRegistered(t *testing.T) {
	w := newWorld(t)
	ctx := context.Background()
	table := w.story.table("persons")
	u := w.as(sandbox.IdentityID(table.Dataset.Unit))
	id := table.Dataset.ID
	registered, err := result[catalog.Dataset](u.api.RegisterDataset(ctx, table.Dataset))
	w.must(err)
	b, err := os.ReadFile(filepath.Join(w.data, table.File))
	w.must(err)
	lines := strings.SplitAfter(string(b), "\n")
	path := filepath.Join(t.TempDir(), "persons.csv")
	var wider strings.Builder
	for i, line := range lines {
		if line = strings.TrimSuffix(line, "\n"); line == "" {
			continue
		}
		tail := ",,7\n"
		if i == 0 {
			tail = ",extra,spare\n"
		}
		wider.WriteString(line + tail)
	}
	w.must(os.WriteFile(path, []byte(wider.String()), 0o600))
	push := func(grade sandbox.Grade, run sandbox.RunID) (api.PushReport, error) {
		d, err := result[catalog.Dataset](u.api.GetDataset(ctx, id))
		w.must(err)
		o := offered{Dataset: registered}
		o.Columns = append(append([]catalog.Column{}, registered.Columns...), catalog.Column{Name: "extra", Title: "附加", Type: catalog.Int, Nullable: true, Grade: grade})
		if _, ok := d.Column("extra"); !ok {
			o.declared = o.Columns[len(o.Columns)-1:]
		}
		return u.pushOffered(ctx, w.info, o, run, csvSource(path, o.Dataset, table.Mapping, file.Options{}), nil)
	}
	rep, err := push(2, "run-extra")
	if err != nil || rep.Version != 1 || len(rep.Unused) == 0 || rep.Unused[len(rep.Unused)-1] != "spare" {
		t.Fatalf("version %d, unused %v, %v", rep.Version, rep.Unused, err)
	}
	again, err := push(2, "run-extra")
	again.Ended = rep.Ended
	if err != nil || !reflect.DeepEqual(again, rep) {
		t.Errorf("repeated: %+v, was %+v, %v", again, rep, err)
	}
	d, err := result[catalog.Dataset](u.api.GetDataset(ctx, id))
	w.must(err)
	if c, ok := d.Column("extra"); !ok || c.Grade != 2 || c.Title != "附加" {
		t.Errorf("the new column is %+v", c)
	}
	had, err := result[[]catalog.SchemaVersion](w.as("operator").api.ListSchemas(ctx, id))
	w.must(err)
	var got []string
	for _, v := range had {
		if v.At.IsZero() || len(v.Digest) != 32 {
			t.Errorf("entry %d has no date or digest", v.Version)
		}
		got = append(got, fmt.Sprintf("%d %d %v %d", v.Version, v.Since, v.Changes, len(v.Schema.Columns)))
	}
	n := len(registered.Columns)
	if want := []string{fmt.Sprintf("1 0 [] %d", n), fmt.Sprintf("2 1 [extra: add-nullable, int] %d", n+1)}; !reflect.DeepEqual(got, want) {
		t.Errorf("history %q, want %q", got, want)
	}
	w.must(w.restart(nil))
	if after, err := w.node.Schemas(ctx, api.Caller{}, id); err != nil || !reflect.DeepEqual(after, had) {
		t.Errorf("after a restart: %+v %v", after, err)
	}
}

var _ connectors.Surplus = surplus{}
