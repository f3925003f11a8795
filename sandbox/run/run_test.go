package run

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"
	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/desensitize"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/fleet"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/vault"
)

var claims = catalog.Dataset{ID: "claims", Unit: "u", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque, RecordKey: "no",
	Columns: []catalog.Column{
		{Name: "person", Type: catalog.Text, Grade: 2},
		{Name: "no", Type: catalog.Text, Grade: 2, Nullable: true},
		{Name: "site", Type: catalog.Text, Grade: 2, Nullable: true, Public: true, JoinKey: true},
		{Name: "fee", Type: catalog.Money, Grade: 2, Nullable: true},
		{Name: "index", Type: catalog.Number, Scale: 3, Grade: 2, Nullable: true},
		{Name: "day", Type: catalog.Date, Grade: 2, Nullable: true},
		{Name: "night", Type: catalog.Bool, Grade: 2, Nullable: true},
		{Name: "beds", Type: catalog.Int, Grade: 2, Nullable: true, Public: true},
	}}

var people = catalog.Dataset{ID: "people", Unit: "u", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
	Columns: []catalog.Column{{Name: "person", Type: catalog.Text, Grade: 2}, {Name: "street", Type: catalog.Text, Grade: 2, Public: true}}}

// table is rows of one dataset; a nil value is a null.
type table struct {
	d        catalog.Dataset
	rows     [][]any
	subjects []sandbox.Pseudonym
}

func (x table) record(mem memory.Allocator, from, to int) arrow.Record {
	b := array.NewRecordBuilder(mem, batch.Schema(x.d))
	defer b.Release()
	for _, row := range x.rows[from:to] {
		for i, v := range row {
			switch v := v.(type) {
			case nil:
				b.Field(i).AppendNull()
			case string:
				b.Field(i).(*array.StringBuilder).Append(v)
			case int:
				if f, ok := b.Field(i).(*array.Date32Builder); ok {
					f.Append(arrow.Date32(v))
				} else {
					b.Field(i).(*array.Int64Builder).Append(int64(v))
				}
			case bool:
				b.Field(i).(*array.BooleanBuilder).Append(v)
			}
		}
	}
	return b.NewRecord()
}

func openVault(t testing.TB) (*vault.Vault, string) {
	t.Helper()
	k, err := keys.Create(filepath.Join(t.TempDir(), "keys"), []byte("test"), keys.Params{Time: 1, Memory: 8, Threads: 1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	dir := filepath.Join(t.TempDir(), "vault")
	v, err := vault.Open(dir, k, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return v, dir
}

type fataler interface{ Fatal(...any) }

// commit writes a table in batches of size rows and gives its version.
func commit(t fataler, v *vault.Vault, x table, size int, run string) sandbox.InputVersion {
	ctx := context.Background()
	w, err := v.Begin(ctx, x.d.Unit, x.d.ID, sandbox.RunID(run), batch.Schema(x.d), 3)
	if err != nil {
		t.Fatal(err)
	}
	for from := 0; from < len(x.rows); from += size {
		to := min(from+size, len(x.rows))
		rec := x.record(memory.DefaultAllocator, from, to)
		err := w.Write(ctx, rec, x.subjects[from:to])
		rec.Release()
		if err != nil {
			t.Fatal(err)
		}
	}
	s, err := w.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	return sandbox.InputVersion{Dataset: x.d.ID, Version: s.Version}
}

var sample = table{claims, [][]any{
	{"p1", "n-1", "s1", 12345, -1, 0, true, 3},
	{"p2", "n-2", nil, nil, nil, nil, nil, nil},
	{"p1", "n-3", "s2", -5, 1500, 20089, false, 0},
	{"p2", "n-3", "s3", 100, 0, 1, true, -7},
	{"p3", "n-4", "s1", 1, 1, 1, true, 1},
	{"p3", "n-4", "s1", 2, 2, 2, true, 2},
	{"p1", nil, "s9", 9, 9, 9, true, 9},
}, []sandbox.Pseudonym{{1}, {2}, {1}, {2}, {3}, {3}, {1}}}

func TestFind(t *testing.T) {
	v, _ := openVault(t)
	version := commit(t, v, sample, 2, "run-1")
	fields := []string{"fee", "site", "index", "day", "night", "beds", "fee"}
	for _, c := range []struct {
		name    string
		subject byte
		number  string
		want    []string
		kind    sandbox.Kind
	}{
		{"every type", 1, "n-1", []string{"123.45", "s1", "-0.001", "1970-01-01", "true", "3", "123.45"}, ""},
		{"nulls are empty", 2, "n-2", []string{"", "", "", "", "", "", ""}, ""},
		{"one number of two persons", 2, "n-3", []string{"1.00", "s3", "0.000", "1970-01-02", "true", "-7", "1.00"}, ""},
		{"the other", 1, "n-3", []string{"-0.05", "s2", "1.500", "2025-01-01", "false", "0", "-0.05"}, ""},
		{"another person's", 1, "n-2", nil, sandbox.NotFound},
		{"nobody's", 9, "n-1", nil, sandbox.NotFound},
		{"no such number", 1, "n-9", nil, sandbox.NotFound},
		{"a null number is no empty one", 1, "", nil, sandbox.NotFound},
		{"twice", 3, "n-4", nil, sandbox.Conflict},
	} {
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		got, err := Find(context.Background(), mem, v, Claim{Dataset: claims, Version: version, Subject: sandbox.Pseudonym{c.subject}, Column: "no", Number: c.number, Fields: fields})
		mem.AssertSize(t, 0)
		if c.kind != "" {
			if !errors.Is(err, c.kind) || got.Values != nil {
				t.Errorf("%s: %v", c.name, err)
			}
			if err != nil && c.number != "" && strings.Contains(err.Error(), c.number) {
				t.Errorf("%s: the error shows the number", c.name)
			}
			continue
		}
		if err != nil || !slices.Equal(got.Values, c.want) || !slices.Equal(got.Fields, fields) {
			t.Errorf("%s: other values (%d), %v", c.name, len(got.Values), err)
		}
	}
}

// TestFindSubjectField: the subject's own column and the number may be among the fields.
func TestFindSubjectField(t *testing.T) {
	v, _ := openVault(t)
	version := commit(t, v, sample, 100, "run-1")
	got, err := Find(context.Background(), memory.DefaultAllocator, v, Claim{Dataset: claims, Version: version, Subject: sandbox.Pseudonym{1}, Column: "no", Number: "n-1", Fields: []string{"person", "no"}})
	if err != nil || !slices.Equal(got.Values, []string{"p1", "n-1"}) {
		t.Errorf("%d values, %v", len(got.Values), err)
	}
}

// TestFindShown: an asker sees of a record what the owner's plan shows to its role: fields without a rule hidden whole, what a rule
// drops empty, in the order asked; and no column is opened for it that was not asked for.
func TestFindShown(t *testing.T) {
	v, dir := openVault(t)
	version := commit(t, v, sample, 100, "run-1")
	p, err := desensitize.Parse("plan", []byte(`{plan: p, version: 1, roles: [{role: insurer, columns: [{column: fee, op: round, to: "100"}, {column: day, op: date, to: year}, {column: site, op: pass}, {column: night, op: drop}]}]}`))
	if err != nil {
		t.Fatal(err)
	}
	m, d := desensitize.CompileRoles(p, claims, desensitize.Options{})
	if !d.Allow {
		t.Fatal(d.Reasons)
	}
	fields := []string{"day", "fee", "person", "night", "site", "fee"}
	// Columns that are not asked for need not be there at all.
	for i, c := range append(claims.Columns, catalog.Column{Name: columnar.SubjectColumn}) {
		if i < len(claims.Columns) && c.Name != "no" && !slices.Contains(fields, c.Name) {
			if err := os.Remove(filepath.Join(dir, "claims", "v00000001", fmt.Sprintf("%03d.col", i))); err != nil {
				t.Fatal(err)
			}
		}
	}
	for role, want := range map[sandbox.Role][]string{
		sandbox.Insurer: {"1970-01-01", "100.00", "***", "", "s1", "100.00"},
		sandbox.Partner: {"", "", "***", "", "***", ""},
	} {
		got, err := Find(t.Context(), memory.DefaultAllocator, v, Claim{Dataset: claims, Version: version, Subject: sandbox.Pseudonym{1}, Column: "no", Number: "n-1", Fields: fields, Shown: m.For(role).Only(fields)})
		if err != nil || !slices.Equal(got.Values, want) {
			t.Errorf("%s sees %q, want %q: %v", role, got.Values, want, err)
		}
	}
}

// TestFindFaults: a claim that does not fit its dataset is Invalid whether or not a row matches, and a version or column the
// vault has not is never "no such record".
func TestFindFaults(t *testing.T) {
	v, dir := openVault(t)
	version := commit(t, v, sample, 3, "run-1")
	narrow := table{people, [][]any{{"p1", "a"}}, []sandbox.Pseudonym{{1}}}
	narrowVersion := commit(t, v, narrow, 3, "run-1")
	grown := people
	grown.Columns = append(slices.Clone(people.Columns), catalog.Column{Name: "extra", Type: catalog.Text, Grade: 1})
	cancelled, stop := context.WithCancel(context.Background())
	stop()
	find := func(ctx context.Context, d catalog.Dataset, in sandbox.InputVersion, column, number string, fields ...string) error {
		_, err := Find(ctx, memory.DefaultAllocator, v, Claim{Dataset: d, Version: in, Subject: sandbox.Pseudonym{1}, Column: column, Number: number, Fields: fields})
		return err
	}
	ctx := context.Background()
	for name, c := range map[string]struct {
		err error
		is  error
	}{
		"unknown field, record there":  {find(ctx, claims, version, "no", "n-1", "salary"), sandbox.Invalid},
		"unknown field, no record":     {find(ctx, claims, version, "no", "n-9", "salary"), sandbox.Invalid},
		"the pseudonym as a field":     {find(ctx, claims, version, "no", "n-1", columnar.SubjectColumn), sandbox.Invalid},
		"a number column of numbers":   {find(ctx, claims, version, "fee", "n-1", "site"), sandbox.Invalid},
		"no such number column":        {find(ctx, claims, version, "nr", "n-1", "site"), sandbox.Invalid},
		"a version of another dataset": {find(ctx, claims, narrowVersion, "no", "n-1", "site"), sandbox.Invalid},
		"no such version":              {find(ctx, claims, sandbox.InputVersion{Dataset: "claims", Version: 9}, "no", "n-1", "site"), sandbox.Tampered},
		"a column the version has not": {find(ctx, grown, narrowVersion, "person", "p1", "extra"), sandbox.Tampered},
		"cancelled":                    {find(cancelled, claims, version, "no", "n-1", "site"), context.Canceled},
	} {
		if !errors.Is(c.err, c.is) || errors.Is(c.err, sandbox.NotFound) {
			t.Errorf("%s: %v, want %v", name, c.err, c.is)
		}
	}

	// Least data: columns the claim does not name are not opened, those it names are.
	cols, err := filepath.Glob(filepath.Join(dir, "claims", "v*", "*.col"))
	if err != nil || len(cols) != 9 {
		t.Fatalf("%d column files, %v", len(cols), err)
	}
	slices.Sort(cols)
	for i, path := range cols {
		if i != 1 && i != 2 && i != 8 { // number, site, pseudonyms
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
		}
	}
	if err := find(ctx, claims, version, "no", "n-1", "site"); err != nil {
		t.Errorf("with the unnamed columns gone: %v", err)
	}
	if err := find(ctx, claims, version, "no", "n-1", "fee"); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("with a named column gone: %v", err)
	}
}

func TestRedacted(t *testing.T) {
	c := Claim{Number: "n-secret", Column: "no"}
	r := Record{Fields: []string{"fee"}, Values: []string{"n-secret"}}
	for _, v := range []any{c, r, &c, &r, []Record{r}} {
		for _, f := range []string{"%v", "%+v", "%#v", "%s"} {
			if s := fmt.Sprintf(f, v); strings.Contains(s, "n-secret") {
				t.Errorf("%s of %T shows a value", f, v)
			}
		}
	}
}

// memoryReader gives a table's named columns from memory, the oracle's way.
type memoryReader struct {
	rec  arrow.Record
	done bool
}

func (r *memoryReader) Schema() *arrow.Schema { return r.rec.Schema() }
func (r *memoryReader) Next(context.Context) (arrow.Record, error) {
	if r.done {
		return nil, io.EOF
	}
	r.done = true
	r.rec.Retain()
	return r.rec, nil
}
func (r *memoryReader) Close() error { r.rec.Release(); return nil }

func inMemory(mem memory.Allocator, x table, columns []string) batch.Reader {
	whole := x.record(mem, 0, len(x.rows))
	defer whole.Release()
	b := array.NewFixedSizeBinaryBuilder(mem, &arrow.FixedSizeBinaryType{ByteWidth: 16})
	defer b.Release()
	for _, s := range x.subjects {
		b.Append(s[:])
	}
	subjects := b.NewArray()
	defer subjects.Release()
	var fields []arrow.Field
	var arrays []arrow.Array
	for _, name := range columns {
		if name == columnar.SubjectColumn {
			fields, arrays = append(fields, arrow.Field{Name: name, Type: subjects.DataType()}), append(arrays, subjects)
			continue
		}
		i := whole.Schema().FieldIndices(name)[0]
		fields, arrays = append(fields, whole.Schema().Field(i)), append(arrays, whole.Column(i))
	}
	return &memoryReader{rec: array.NewRecord(arrow.NewSchema(fields, nil), arrays, whole.NumRows())}
}

func ask(t fataler) query.Derivation {
	var list []sandbox.ListItem
	in := map[sandbox.DatasetID]catalog.Dataset{"claims": claims, "people": people}
	for id, d := range in {
		item := sandbox.ListItem{Dataset: id}
		for _, c := range d.Columns {
			item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c.Name, Uses: []sandbox.Use{sandbox.UseJoin, sandbox.UseGroup, sandbox.UseFilter, sandbox.UseAggregate},
				Funcs: []sandbox.MeasureFunc{sandbox.Sum, sandbox.Mean}})
		}
		list = append(list, item)
	}
	d, reasons := query.Derive(query.Spec{Scenario: "s", Purpose: "p", Inputs: []query.Input{{Alias: "c", Dataset: "claims"}, {Alias: "p", Dataset: "people", With: "c"}},
		Filters:    []query.Filter{{Column: "c.beds", In: []string{"0", "1", "2"}}},
		Dimensions: []query.Dimension{{Column: "c.site", As: "site"}, {Column: "p.street", As: "street"}},
		Measures: []query.Measure{{Func: sandbox.Count, As: "n"}, {Func: sandbox.Subjects, As: "persons"}, {Func: sandbox.Sum, Column: "c.fee", As: "fee"},
			{Func: sandbox.Mean, Column: "c.index", As: "index"}}}, in, list)
	if len(reasons) > 0 {
		t.Fatal(fmt.Sprintf("refused: %+v", reasons))
	}
	return d
}

// drawTables draws claims and people in which values collide and nulls are common, and the rows of a batch.
func drawTables(t *rapid.T) (x struct {
	c, p table
	size int
}) {
	x.c.d, x.p.d = claims, people
	x.size = rapid.IntRange(1, 31).Draw(t, "batch")
	persons := rapid.IntRange(1, 6).Draw(t, "persons")
	for i := range persons {
		x.p.rows = append(x.p.rows, []any{fmt.Sprint("p", i), rapid.SampledFrom([]string{"x", "y"}).Draw(t, "street")})
		x.p.subjects = append(x.p.subjects, sandbox.Pseudonym{byte(i + 1)})
	}
	or := func(v any) any {
		if rapid.IntRange(0, 4).Draw(t, "null") == 0 {
			return nil
		}
		return v
	}
	for range rapid.IntRange(10, 60).Draw(t, "rows") {
		i := rapid.IntRange(0, persons).Draw(t, "person") // the last is in no table of people
		x.c.rows = append(x.c.rows, []any{fmt.Sprint("p", i), nil, or(rapid.SampledFrom([]string{"s1", "s2", "s3"}).Draw(t, "site")),
			or(rapid.IntRange(-1000, 1000).Draw(t, "fee")), or(rapid.IntRange(-1000, 1000).Draw(t, "index")), nil, nil, or(rapid.IntRange(0, 3).Draw(t, "beds"))})
		x.c.subjects = append(x.c.subjects, sandbox.Pseudonym{byte(i + 1)})
	}
	return x
}

// clustered gives a table's rows in the order the vault stores them: which of two equal subjects is named first follows it.
func clustered(x table) table {
	at := make([]int, len(x.rows))
	for i := range at {
		at[i] = i
	}
	slices.SortStableFunc(at, func(a, b int) int { return bytes.Compare(x.subjects[a][:], x.subjects[b][:]) })
	out := table{d: x.d}
	for _, i := range at {
		out.rows, out.subjects = append(out.rows, x.rows[i]), append(out.subjects, x.subjects[i])
	}
	return out
}

// TestMain makes the test's program a worker process when it is started as one.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "run-worker" {
		if fleet.Work(context.Background(), memory.DefaultAllocator, rand.Reader, os.Stdin, os.Stdout) != nil {
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(m.Run())
}

// TestAnswerInParts: a version of several batches, whose subjects go over from one to the next, gives the same answer in one part
// and in many, on one goroutine and on several.
func TestAnswerInParts(t *testing.T) {
	v, _ := openVault(t)
	d := ask(t)
	x := rapid.Custom(drawTables).Example(3)
	x.c = clustered(x.c)
	ctx := context.Background()
	w, err := v.Begin(ctx, x.c.d.Unit, x.c.d.ID, "run-1", batch.Schema(x.c.d), 3)
	if err == nil {
		err = w.Straight()
	}
	for from := 0; err == nil && from < len(x.c.rows); from += 3 {
		to := min(from+3, len(x.c.rows))
		rec := x.c.record(memory.DefaultAllocator, from, to)
		err = w.Write(ctx, rec, x.c.subjects[from:to])
		rec.Release()
	}
	if err != nil {
		t.Fatal(err)
	}
	s, err := w.Commit(ctx)
	if err != nil {
		t.Fatal(err)
	}
	inputs := []sandbox.InputVersion{{Dataset: x.c.d.ID, Version: s.Version}, commit(t, v, x.p, 4, "p-1")}
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	want, err := answer(ctx, mem, v, d, inputs, columnar.Limits{}, 1<<40, columnar.Goroutines{})
	if err != nil || len(want.Cells) == 0 {
		t.Fatal(want, err)
	}
	for _, rows := range []int64{1, 7, 20} {
		for _, workers := range []int{1, 3} {
			got, err := answer(ctx, mem, v, d, inputs, columnar.Limits{}, rows, columnar.Goroutines{Workers: workers})
			if err != nil {
				t.Fatal(err)
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("parts of %d rows on %d goroutines give another answer", rows, workers)
			}
		}
		p, err := fleet.New(fleet.Config{Program: os.Args[0], Command: []string{os.Args[0], "run-worker"}, Workers: 2, Rand: rand.Reader})
		if err != nil {
			t.Fatal(err)
		}
		got, err := answer(ctx, mem, v, d, inputs, columnar.Limits{}, rows, p)
		if err != nil || !reflect.DeepEqual(got, want) {
			t.Errorf("parts of %d rows in two processes: another answer, %v", rows, err)
		}
	}
}

// TestAnswer: an answer over sealed columns, cut in any batches, is the engine's answer over the same rows in memory, with
// the same evidence.
func TestAnswer(t *testing.T) {
	v, _ := openVault(t)
	d := ask(t)
	cells := 0
	tables := rapid.Custom(drawTables)
	for seed := range 8 { // each commits two versions to the disk
		x := tables.Example(seed)
		inputs := []sandbox.InputVersion{commit(t, v, x.c, x.size, fmt.Sprint("c-", seed)), commit(t, v, x.p, 4, fmt.Sprint("p-", seed))}
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		got, err := Answer(context.Background(), mem, v, d, inputs, columnar.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		spilled, err := Answer(context.Background(), mem, v, d, inputs, columnar.Limits{MaxBuildBytes: 1, MaxPairBytes: 1})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(spilled, got) {
			t.Errorf("seed %d: with memory for nothing, another answer", seed)
		}
		want, err := columnar.Run(context.Background(), mem, columnar.Plan{Derivation: d, Inputs: inputs}, func(_ context.Context, id sandbox.DatasetID, columns []string) (batch.Reader, error) {
			if id == "people" {
				return inMemory(mem, clustered(x.p), columns), nil
			}
			return inMemory(mem, clustered(x.c), columns), nil
		}, columnar.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		if !reflect.DeepEqual(got, want) {
			t.Errorf("seed %d: the answer over the vault is another than over memory", seed)
		}
		mem.AssertSize(t, 0)
		cells += len(got.Cells)
	}
	if cells < 20 {
		t.Errorf("the answers had %d cells", cells)
	}
}

func TestAnswerFaults(t *testing.T) {
	v, _ := openVault(t)
	d := ask(t)
	c := commit(t, v, sample, 3, "run-1")
	p := commit(t, v, table{people, [][]any{{"p1", "a"}}, []sandbox.Pseudonym{{1}}}, 1, "run-1")
	cancelled, stop := context.WithCancel(context.Background())
	stop()
	for name, x := range map[string]struct {
		ctx    context.Context
		inputs []sandbox.InputVersion
		is     error
	}{
		"an input without a version": {context.Background(), []sandbox.InputVersion{c, {Dataset: "others", Version: 1}}, sandbox.Invalid},
		"a version that is not":      {context.Background(), []sandbox.InputVersion{c, {Dataset: "people", Version: 2}}, sandbox.Tampered},
		"cancelled":                  {cancelled, []sandbox.InputVersion{c, p}, context.Canceled},
	} {
		if a, err := Answer(x.ctx, memory.DefaultAllocator, v, d, x.inputs, columnar.Limits{}); !errors.Is(err, x.is) || a != nil {
			t.Errorf("%s: %v, want %v", name, err, x.is)
		}
	}
	two := []sandbox.InputVersion{c, {Dataset: "claims", Version: 2}}
	if _, err := Answer(context.Background(), memory.DefaultAllocator, v, d, two, columnar.Limits{}); err == nil || !strings.Contains(err.Error(), "one version") {
		t.Errorf("two versions of one dataset: %v", err)
	}
	if a, err := Answer(context.Background(), memory.DefaultAllocator, v, query.Derivation{}, nil, columnar.Limits{}); err == nil || a != nil {
		t.Error("a derivation that refused something was answered")
	}
}
