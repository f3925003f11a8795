package agent

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// asked is an inquiry about claims that two units hold parts of, and persons that a third holds.
func asked() agg.Inquiry {
	claims := catalog.Dataset{ID: "ds-claims", Title: "claims", Unit: "unit-a", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{{Name: "person", Type: catalog.Text, Grade: 3, Personal: true}, {Name: "amount", Type: catalog.Money, Grade: 2, Nullable: true},
			{Name: "kind", Type: catalog.Text, Grade: 1, Public: true}, {Name: "note", Type: catalog.Text, Grade: 3, Nullable: true}}}
	persons := catalog.Dataset{ID: "ds-persons", Title: "persons", Unit: "unit-b", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{{Name: "person", Type: catalog.Text, Grade: 3, Personal: true}, {Name: "born", Type: catalog.Date, Grade: 2}},
		Bins:    []catalog.Bin{{ID: "age", Column: "born", Kind: catalog.Age, Edges: []int64{18, 60}, At: "2026-01-01"}}}
	rule := func(name string, uses ...sandbox.Use) sandbox.ColumnRule {
		return sandbox.ColumnRule{Column: name, Uses: uses, Funcs: sandbox.MeasureFuncs, Compares: 4}
	}
	return agg.Inquiry{Spec: query.Spec{Scenario: "sc-1", Purpose: "p", Inputs: []query.Input{{Alias: "c", Dataset: "ds-claims"}, {Alias: "p", Dataset: "ds-persons", With: "c"}},
		Filters:    []query.Filter{{Column: "c.kind", In: []string{"refused"}, Not: true}},
		Dimensions: []query.Dimension{{Column: "p.born", Bin: "age", As: "age"}},
		Measures: []query.Measure{{Func: sandbox.Subjects, As: "people"}, {Func: sandbox.Sum, Column: "c.amount", As: "cost"}, {Func: sandbox.Mean, Column: "c.amount", As: "mean"},
			{Func: sandbox.Quantile, Column: "c.amount", Q: 500, As: "median"}}},
		Datasets: []catalog.Dataset{claims, persons},
		List: []sandbox.ListItem{
			{Dataset: "ds-claims", Columns: []sandbox.ColumnRule{rule("person", sandbox.UseJoin), rule("amount", sandbox.UseAggregate), rule("kind", sandbox.UseFilter, sandbox.UseCompare)}},
			{Dataset: "ds-persons", Columns: []sandbox.ColumnRule{rule("person", sandbox.UseJoin), rule("born", sandbox.UseGroup, sandbox.UseCompare)}}},
		Setting: agg.Setting{Adversary: share.SemiHonest, Bits: map[string]int{"ds-claims.amount": 20}, Thresholds: agg.Thresholds{MinSubjects: 5, DominanceN: 2, DominanceK: 80, PPercent: 10},
			Held: []agg.Held{{Dataset: "ds-claims", Party: 0, Rows: 1024}, {Dataset: "ds-claims", Party: 2, Rows: 1024}, {Dataset: "ds-persons", Party: 1, Rows: 1024}}}}
}

// tables are the rows: claims of both units and persons, without their headers.
func tables() (first, second, persons string) {
	var a, b, p strings.Builder
	for n := range 120 {
		w := &a
		if n%3 == 0 {
			w = &b
		}
		amount := fmt.Sprintf("%d.%02d", 10+n*7%90, n)
		if n >= 100 {
			amount = fmt.Sprintf("%d.5", n)
		}
		if n%11 == 0 {
			amount = ""
		}
		fmt.Fprintf(w, "p-%d,%s,%s,secret note %d\n", n*n%67, amount, []string{"paid", "refused", "open"}[n%3], n)
	}
	for n := range 60 { // some claims are of nobody known
		fmt.Fprintf(&p, "p-%d,%d-03-0%d\n", n, 1930+n*3%90, 1+n%9)
	}
	return a.String(), b.String(), p.String()
}

const claimsHead, personsHead = "person,amount,kind,note\n", "person,born\n"

// seal puts a CSV into a vault folder under a folder of keys.
func seal(t *testing.T, dir, keyDir string, phrase []byte, set catalog.Dataset, text string) {
	t.Helper()
	k, err := keys.Open(keyDir, phrase, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	v, err := vault.Open(dir, k, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	w, err := v.Begin(t.Context(), set.Unit, set.ID, sandbox.RunID(fmt.Sprint("run-", len(text))), batch.Schema(set), sandbox.Grade3)
	if err != nil {
		t.Fatal(err)
	}
	r, err := file.NewTable(t.Context(), memory.NewGoAllocator(), strings.NewReader(text), "t", set.Columns, file.Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for n := 0; ; n++ {
		rec, err := r.Next(t.Context())
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		who := make([]sandbox.Pseudonym, rec.NumRows()) // the domain's own pseudonyms, which parties do not share
		for i := range who {
			who[i] = sandbox.Pseudonym{byte(n), byte(i), byte(i >> 8), 9}
		}
		if err := w.Write(t.Context(), rec, who); err != nil {
			t.Fatal(err)
		}
		rec.Release()
	}
	if _, err := w.Commit(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// TestInquiry: three parties answer a question of the columnar engine over their own tables, a CSV file, a vault folder and another file, joined
// over shares; the cells are the columnar engine's.
func TestInquiry(t *testing.T) {
	o := newTrio(t)
	first, second, persons := tables()
	q := asked()
	x := o.explained(q)
	lacking := o.plan
	lacking.Operators = o.plan.Operators[1:]
	draft, _ := json.Marshal(lacking)
	if said := o.do(1, "plan", "--draft", o.write("lacking", string(draft)), "--question", o.at("inquiry"), "--out", o.dir); !strings.Contains(said, "is missing") {
		t.Error(said)
	}
	o.planned()
	if x.Question != q.Digest() || len(x.Leakage) != len(x.Operators) {
		t.Fatal("explained")
	}
	// The second unit's claims are in a vault under a domain's keys.
	if _, err := keys.Create(o.at("domain"), []byte("another passphrase"), keys.Params{Time: 1, Memory: 8, Threads: 1}, rand.Reader); err != nil {
		t.Fatal(err)
	}
	seal(t, o.at("vault"), o.at("domain"), []byte("another passphrase"), q.Datasets[0], claimsHead+second)
	o.runs(0, [3][]string{{"--source", "ds-claims=" + o.write("claims.csv", claimsHead+first)}, {"--source", "ds-persons=" + o.write("persons.csv", personsHead+persons)},
		{"--source", "ds-claims=vault:" + o.at("vault"), "--vault-keys", o.at("domain"), "--vault-passphrase-file", o.write("pass2", "another passphrase")}})
	o.answers(q, claimsHead+first+second, personsHead+persons)
}

// plainly answers an inquiry over both tables in the open.
func plainly(t *testing.T, q agg.Inquiry, claims, persons string) *sandbox.Answer {
	t.Helper()
	text := map[sandbox.DatasetID]string{"ds-claims": claims, "ds-persons": persons}
	sets := map[sandbox.DatasetID]catalog.Dataset{}
	p := columnar.Plan{}
	for _, d := range q.Datasets {
		sets[d.ID] = d
		p.Inputs = append(p.Inputs, sandbox.InputVersion{Dataset: d.ID, Version: 1})
	}
	d, reasons := query.Derive(q.Spec, sets, q.List)
	if len(reasons) > 0 {
		t.Fatal(reasons)
	}
	p.Derivation = d
	a, err := columnar.Run(t.Context(), memory.NewGoAllocator(), p, func(ctx context.Context, id sandbox.DatasetID, columns []string) (batch.Reader, error) {
		set := sets[id]
		r, err := file.NewTable(ctx, memory.NewGoAllocator(), strings.NewReader(text[id]), "t", set.Columns, file.Options{})
		if err != nil {
			return nil, err
		}
		return agg.Pseudonymous(r, set, columns[:len(columns)-1], secret, join.Normal)
	}, columnar.Limits{})
	if err != nil {
		t.Fatal(err)
	}
	return a
}

// TestSources: what is wrong with a source is told by its place and rule, and never a field; an inquiry that has no line is refused with what to
// change.
func TestSources(t *testing.T) {
	dir := t.TempDir()
	first, _, persons := tables()
	write := func(name, text string) string {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	subject := write("subject", hex.EncodeToString(secret))
	j, err := lineJob(asked())
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		place   int
		sources []string
		says    string
	}{
		"good":       {0, []string{"ds-claims=" + write("good", claimsHead+first)}, ""},
		"not named":  {0, []string{"ds-persons=" + write("persons", personsHead+persons)}, "ds-claims"},
		"no equals":  {0, []string{"ds-claims"}, "DATASET=FILE"},
		"absent":     {0, []string{"ds-claims=" + filepath.Join(dir, "absent")}, "cannot be read"},
		"no vault":   {0, []string{"ds-claims=vault:" + filepath.Join(dir, "absent")}, "passphrase"},
		"nobody":     {0, []string{"ds-claims=" + write("nobody", claimsHead+"p-1,1.00,paid,x\n,3.00,paid,zeta\n")}, "column person"},
		"no column":  {0, []string{"ds-claims=" + write("column", "person,kind\np-1,zeta\n")}, "amount"},
		"type":       {0, []string{"ds-claims=" + write("type", claimsHead+"p-1,zeta,paid,x\n")}, "amount"},
		"magnitude":  {0, []string{"ds-claims=" + write("magnitude", claimsHead+"p-1,99999999999.00,paid,x\n")}, "magnitudes stay below"},
		"known once": {1, []string{"ds-persons=" + write("twice", personsHead+"p-1,1990-01-01\np-1,1991-01-01\n")}, "one row"},
	} {
		a := &Agent{Out: io.Discard, Err: io.Discard, Rand: rand.Reader, Now: time.Now}
		err := a.sources(t.Context(), &flags{sources: c.sources, subjectKey: subject}, j, c.place, mpc.Plan{Version: 1, Job: "a"})
		if c.says == "" && err != nil || c.says != "" && (err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "zeta")) {
			t.Errorf("%s: %v, want %q", name, err, c.says)
		}
	}
	q := asked()
	q.Spec.Measures[3] = query.Measure{Func: sandbox.Max, Column: "c.amount", As: "most"}
	b, _ := json.Marshal(q)
	var out, errs bytes.Buffer
	a := &Agent{Out: &out, Err: &errs, Rand: rand.Reader, Now: time.Now}
	if code := a.Main(t.Context(), []string{"explain", "--question", write("max", string(b))}); code != 3 || !strings.Contains(errs.String(), "max has no operator over shares") || !strings.Contains(errs.String(), "hint: ask a quantile") {
		t.Errorf("status %d: %s", code, errs.String())
	}
	if _, err := parseJob(b); !errors.Is(err, sandbox.Denied) {
		t.Errorf("an inquiry without a line: %v", err)
	}
	if _, err := parseJob(append(b, ' ')); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("another encoding: %v", err)
	}
}

func FuzzInquiry(f *testing.F) {
	b, _ := json.Marshal(asked())
	f.Add(b)
	f.Add([]byte(`{"spec":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := agg.ParseInquiry(b)
		if err != nil {
			return
		}
		if !bytes.Equal(q.Encode(), b) {
			t.Error("an inquiry has one encoding")
		}
		if l, reasons := q.Line(); (l == nil) != (len(reasons) > 0) {
			t.Error("a line or reasons")
		}
	})
}
