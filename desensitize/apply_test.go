package desensitize

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/desensitize/mask"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

func claims() catalog.Dataset {
	return catalog.Dataset{ID: "claims", Unit: "unit-medical", Subject: "person", SubjectKind: catalog.ResidentID, Frequency: catalog.Daily, Columns: []catalog.Column{
		{Name: "person", Type: catalog.Text, Grade: 3, Personal: true},
		{Name: "name", Type: catalog.Text, Grade: 2, Personal: true},
		{Name: "icd10", Type: catalog.Text, Grade: 3, Nullable: true},
		{Name: "amount", Type: catalog.Money, Grade: 3},
		{Name: "day", Type: catalog.Date, Grade: 3},
		{Name: "note", Type: catalog.Text, Grade: 4, Nullable: true},
		{Name: "site", Type: catalog.Int, Grade: 1},
	}}
}

// TestRefusals: what is wrong with a plan is said with the column, before a row is read.
func TestRefusals(t *testing.T) {
	for _, c := range []struct{ from, to, code, column string }{
		{"column: icd10", "column: icd11", "plan.column-unknown", "claims.icd11"},
		{"column: icd10", "column: icd11", "plan.uncovered", "claims.icd10"},
		{"op: truncate, length: 3", "op: pass", "plan.passed", "claims.icd10"},
		{"op: resident-id", "op: pass", "plan.passed", "claims.person"},
		{"- {column: note, op: drop}", "", "plan.uncovered", "claims.note"},
		{"- {column: note, op: drop}", "- {column: name, op: drop}", "plan.column-twice", "claims.name"},
		{"op: truncate, length: 3", "op: shorten", "plan.operation", "claims.icd10"},
		{"op: truncate, length: 3", "op: truncate, length: 0", "plan.parameter", "claims.icd10"},
		{"op: truncate, length: 3", "op: truncate, length: 3, to: month", "plan.parameter", "claims.icd10"},
		{"op: truncate, length: 3", "op: round, to: '10'", "plan.type", "claims.icd10"},
		{"op: truncate, length: 3", "op: pattern, patterns: [DDD]", "plan.parameter", "claims.icd10"},
		{"op: truncate, length: 3", "op: keep, mark: ab", "plan.parameter", "claims.icd10"},
		{`op: round, to: "100"`, `op: round, to: "100.001"`, "plan.parameter", "claims.amount"},
		{`op: round, to: "100"`, `op: constant`, "plan.parameter", "claims.amount"},
		{`op: round, to: "100"`, `op: mobile`, "plan.type", "claims.amount"},
		{`op: round, to: "100"`, `op: bucket, edges: ["10", "1"]`, "plan.parameter", "claims.amount"},
		{"op: date, to: month", "op: date, to: hour", "plan.parameter", "claims.day"},
		{"op: date, to: month", "op: bucket, edges: ['2026-02-30']", "plan.parameter", "claims.day"},
		{"dataset: claims", "dataset: persons", "plan.dataset", ""},
		{"owner: unit-medical", "owner: unit-civil", "plan.owner", ""},
	} {
		p := parsed(t, strings.Replace(claimsPlan, c.from, c.to, 1))
		pipe, d := Compile(p, claims(), Options{})
		at := slices.IndexFunc(d.Reasons, func(r sandbox.Reason) bool { return r.Code == c.code && r.Column == c.column })
		if pipe != nil || d.Allow || at < 0 {
			t.Errorf("%s → %s: %+v", c.from, c.to, d.Reasons)
			continue
		}
		if r := d.Reasons[at]; r.Rule == "" || r.Change == "" || r.Article == "" {
			t.Errorf("%s → %s: a reason has a rule, its source and a change: %+v", c.from, c.to, r)
		}
	}
	if _, d := Compile(parsed(t, claimsPlan), claims(), Options{}); !d.Allow {
		t.Errorf("the whole plan: %+v", d.Reasons)
	}
}

// TestSubjectNeverPasses: the column that identifies a person needs an operation whatever its grade, and "rest: pass" is no way round.
func TestSubjectNeverPasses(t *testing.T) {
	d := claims()
	d.Columns = d.Columns[:1]
	d.Columns[0].Grade, d.Columns[0].Personal = 1, false
	for _, text := range []string{"columns: [{column: person, op: pass}]", "rest: pass\nroles: [{role: agency}]"} {
		if pipe, dec := Compile(parsed(t, "plan: p\nversion: 1\n"+text), d, Options{}); pipe != nil || dec.Allow {
			t.Errorf("%s was accepted", text)
		}
	}
}

// TestRestOutsideCatalogue: what nobody declared does not pass unnamed, whether the table has a name or not.
func TestRestOutsideCatalogue(t *testing.T) {
	d := claims()
	d.Subject, d.Columns = "", []catalog.Column{{Name: "a", Type: catalog.Text, Grade: 1}, {Name: "b", Type: catalog.Text, Grade: 1}}
	const text = "plan: p\nversion: 1\nrest: pass\ncolumns: [{column: a, op: truncate, length: 1}]\n"
	for _, c := range []struct {
		extra string
		id    sandbox.DatasetID
		told  bool
		allow bool
	}{{"", d.ID, false, true}, {"", d.ID, true, false}, {"", "", false, false}, {"schema: [{name: a, type: text, grade: 1}]", d.ID, true, false},
		{"schema: [{name: b, type: text, grade: 1}]", "", true, true}} {
		d.ID = c.id
		pipe, dec := Compile(parsed(t, text+c.extra), d, Options{Told: c.told})
		if dec.Allow != c.allow || (pipe != nil) != c.allow || !c.allow && (len(dec.Reasons) != 1 || dec.Reasons[0].Code != "plan.rest") {
			t.Errorf("%+v: %+v", c, dec)
		}
	}
}

// table streams records of the claims.
type table struct {
	recs []arrow.Record
	at   int
	err  error
}

func (s *table) Schema() *arrow.Schema { return batch.Schema(claims()) }
func (s *table) Close() error          { return nil }
func (s *table) Next(context.Context) (arrow.Record, error) {
	if s.at == len(s.recs) {
		if s.err != nil {
			return nil, s.err
		}
		return nil, io.EOF
	}
	s.at++
	s.recs[s.at-1].Retain()
	return s.recs[s.at-1], nil
}

func rows(mem memory.Allocator, batches, n int) *table {
	out := &table{}
	b := array.NewRecordBuilder(mem, batch.Schema(claims()))
	defer b.Release()
	for k := range batches {
		for i := range n {
			id := k*n + i
			b.Field(0).(*array.StringBuilder).Append([]string{"000000900101001", "not a number"}[id%2])
			b.Field(1).(*array.StringBuilder).Append("张三")
			if id%3 == 0 {
				b.Field(2).AppendNull()
			} else {
				b.Field(2).(*array.StringBuilder).Append("I10.X00")
			}
			b.Field(3).(*array.Int64Builder).Append(int64(id)*10_000 + 4_999)
			b.Field(4).(*array.Date32Builder).Append(arrow.Date32(id % 28))
			b.Field(5).(*array.StringBuilder).Append("canary: 13000000000")
			b.Field(6).(*array.Int64Builder).Append(int64(id))
		}
		out.recs = append(out.recs, b.NewRecord())
	}
	return out
}

func (s *table) release() {
	for _, r := range s.recs {
		r.Release()
	}
}

func TestRun(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
	pipe, d := Compile(parsed(t, claimsPlan), claims(), Options{})
	if !d.Allow {
		t.Fatal(d.Reasons)
	}
	if got := pipe.Reads(); !slices.Equal(got, []string{"person", "name", "icd10", "amount", "day", "site"}) {
		t.Errorf("reads %v", got)
	}
	const batches, n = 40, 30
	src := rows(mem, batches, n)
	id := 0
	rep, err := pipe.Run(t.Context(), src, Stream{Mem: mem, Workers: 4, Sink: func(_, out arrow.Record) error {
		for i := range int(out.NumRows()) {
			icd := "I10"
			if id%3 == 0 {
				icd = ""
			}
			want := fmt.Sprintf("%s|张**|%s|%d|0|%d", []string{"000000******001", "************"}[id%2], icd, id*10_000, id)
			got := fmt.Sprintf("%s|%s|%s|%d|%d|%d", out.Column(0).(*array.String).Value(i), out.Column(1).(*array.String).Value(i), out.Column(2).(*array.String).Value(i),
				out.Column(3).(*array.Int64).Value(i), out.Column(4).(*array.Date32).Value(i), out.Column(5).(*array.Int64).Value(i))
			if got != want {
				return fmt.Errorf("row %d: %s, want %s", id, got, want)
			}
			id++
		}
		return nil
	}})
	if err != nil {
		t.Fatal(err)
	}
	digest := parsed(t, claimsPlan).Digest()
	if rep.Rows != batches*n || rep.Failed() != batches*n/2 || rep.Columns[0].Failed != batches*n/2 || rep.Columns[1].Masked != batches*n || rep.Columns[5].Masked != 0 ||
		!slices.Equal(rep.Dropped, []string{"note"}) || rep.Route.Kind != Desensitised || string(rep.Route.Plan) != string(digest[:]) {
		t.Errorf("report %+v", rep)
	}
	src.release()
	if n := mem.CurrentAlloc(); n != 0 {
		t.Errorf("%d bytes were not released", n)
	}
}

// TestRunEnds: an error of source, operation or sink, or a cancelled context, ends the run and leaves nothing behind.
func TestRunEnds(t *testing.T) {
	pipe, _ := Compile(parsed(t, claimsPlan), claims(), Options{})
	fault := errors.New("fault")
	for what, c := range map[string]func(src *table, s *Stream, stop func()){
		"source": func(src *table, _ *Stream, _ func()) { src.err = fault },
		"sink":   func(_ *table, s *Stream, _ func()) { s.Sink = func(arrow.Record, arrow.Record) error { return fault } },
		"subjects": func(_ *table, s *Stream, _ func()) {
			s.Subjects = func(arrow.Record) ([]sandbox.Pseudonym, error) { return nil, fault }
		},
		"context": func(_ *table, s *Stream, stop func()) {
			s.Sink = func(arrow.Record, arrow.Record) error { stop(); return nil }
		},
	} {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		src := rows(mem, 20, 5)
		ctx, stop := context.WithCancel(t.Context())
		s := Stream{Mem: mem, Workers: 3, Sink: func(arrow.Record, arrow.Record) error { return nil }}
		c(src, &s, stop)
		_, err := pipe.Run(ctx, src, s)
		stop()
		if !errors.Is(err, fault) && !(what == "context" && errors.Is(err, context.Canceled)) {
			t.Errorf("%s: %v", what, err)
		}
		src.release()
		if n := mem.CurrentAlloc(); n != 0 {
			t.Errorf("%s: %d bytes were not released", what, n)
		}
	}
}

// broken is an operation that breaks one promise.
type broken struct {
	out arrow.Array
	err error
}

func (b broken) Apply(memory.Allocator, arrow.Array) (arrow.Array, error) {
	if b.out != nil {
		b.out.Retain()
	}
	return b.out, b.err
}

// TestPromises: an operation that gives other rows, another type, nulls where none may be, or an error with a value in it is
// caught, and the error has no value.
func TestPromises(t *testing.T) {
	src := rows(memory.NewGoAllocator(), 1, 2)
	short := rows(memory.NewGoAllocator(), 1, 1).recs[0].Column(1)
	nulls := array.MakeArrayOfNull(memory.NewGoAllocator(), arrow.BinaryTypes.String, 2)
	for what, op := range map[string]broken{
		"rows":  {out: short},
		"type":  {out: src.recs[0].Column(3)},
		"nulls": {out: nulls},
		"error": {err: errors.New("cannot mask 13000000000")},
	} {
		pipe, _ := Compile(parsed(t, claimsPlan), claims(), Options{})
		pipe.columns[1].apply = op
		_, _, err := pipe.Apply(memory.NewGoAllocator(), src.recs[0], nil)
		var e *sandbox.Error
		if !errors.As(err, &e) || e.Object != "name" || strings.Contains(err.Error(), "1300") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestMasking: each role by its rules, all others nothing.
func TestMasking(t *testing.T) {
	m, d := CompileRoles(parsed(t, claimsPlan+"  - role: operator\n    columns: [{column: amount, op: round, to: '100'}, {column: site, op: pass}, {column: note, op: drop}]\n"), claims(), Options{})
	if !d.Allow {
		t.Fatal(d.Reasons)
	}
	src := rows(memory.NewGoAllocator(), 1, 2)
	text := func(role sandbox.Role) string {
		out, _, err := m.Apply(memory.NewGoAllocator(), role, src.recs[0], nil)
		if err != nil {
			t.Fatal(err)
		}
		var s []string
		for i, c := range out.Columns() {
			s = append(s, out.ColumnName(i)+"="+c.ValueStr(1))
		}
		return strings.Join(s, " ")
	}
	const hidden = "person=*** name=*** icd10=*** amount=(null) day=(null) note=*** site=(null)"
	for role, want := range map[sandbox.Role]string{
		sandbox.Agency:   strings.Replace(hidden, "name=***", "name=张三", 1),
		sandbox.Operator: "person=*** name=*** icd10=*** amount=10000 day=(null) site=1",
		sandbox.Partner:  hidden,
		sandbox.Auditor:  hidden,
		"":               hidden,
		"root":           hidden,
	} {
		if got := text(role); got != want {
			t.Errorf("%s sees %s, want %s", role, got, want)
		}
	}
	for _, change := range [][2]string{{"{column: name, op: pass}", "{column: note, op: pass}"}, {"{column: name, op: pass}", "{column: nome, op: pass}"}, {"{column: name, op: pass}", "{column: name, op: round, to: '10'}"}} {
		m, d := CompileRoles(parsed(t, strings.Replace(claimsPlan, change[0], change[1], 1)), claims(), Options{})
		if m != nil || d.Allow || !strings.HasPrefix(d.Reasons[0].Rule, "role agency: ") {
			t.Errorf("%s: %+v", change[1], d)
		}
	}
}

// TestRouteB: the columns a subject's receipt names may pass, no others; the report says which route.
func TestRouteB(t *testing.T) {
	text := strings.Replace(claimsPlan, "op: truncate, length: 3", "op: pass", 1)
	pipe, d := Compile(parsed(t, text), claims(), Options{Authorised: &Authorisation{Consent: "consent-1", Columns: []string{"icd10"}}})
	if !d.Allow {
		t.Fatal(d.Reasons)
	}
	if r := pipe.Report().Route; r.Kind != Authorised || r.Consent != "consent-1" {
		t.Errorf("route %+v", r)
	}
	for _, a := range []*Authorisation{nil, {Consent: "consent-1", Columns: []string{"amount"}}, {Columns: []string{"icd10"}}} {
		if _, d := Compile(parsed(t, text), claims(), Options{Authorised: a}); d.Allow {
			t.Errorf("%+v let a column pass", a)
		}
	}
}

var _ Counter = (*mask.Text)(nil)
var _ Typed = (*mask.Bucketing)(nil)
