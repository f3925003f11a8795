package desensitize

import (
	"context"
	"fmt"
	"go/ast"
	"go/doc"
	"go/parser"
	"go/token"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// documented gives the operations that the doc of Step lists.
func documented(t *testing.T) map[string]bool {
	t.Helper()
	files := token.NewFileSet()
	f, err := parser.ParseFile(files, "step.go", nil, parser.ParseComments)
	if err != nil {
		t.Fatal(err)
	}
	p, err := doc.NewFromFiles(files, []*ast.File{f}, "github.com/opdomain/opdomain/desensitize")
	if err != nil {
		t.Fatal(err)
	}
	out := map[string]bool{}
	for _, d := range p.Types {
		if d.Name != "Step" {
			continue
		}
		for _, l := range strings.Split(d.Doc, "\n") {
			if names, ok := strings.CutPrefix(l, "\t"); ok {
				for {
					word, rest, _ := strings.Cut(names, " ")
					out[strings.TrimSuffix(word, ",")] = true
					if names = strings.TrimSpace(rest); !strings.HasSuffix(word, ",") {
						break
					}
				}
			}
		}
	}
	return out
}

// TestEveryOperation takes each operation that Step documents through a plan, over four equal rows and a null: what it makes of the value,
// that the null stays one, that the rows stay.
func TestEveryOperation(t *testing.T) {
	type made struct {
		op, in, out string // as text; a pattern of what comes out, whole
		column      catalog.Column
	}
	text, whole := catalog.Column{Type: catalog.Text}, catalog.Column{Type: catalog.Int}
	money, date := catalog.Column{Type: catalog.Money}, catalog.Column{Type: catalog.Date}
	seen := map[string]bool{Drop: true, Pass: true} // these two are TestRun's
	for _, c := range []made{
		{"op: keep, first: 1, last: 2", "abcdef", `a\*\*\*ef`, text},
		{`op: pattern, patterns: ["D{3}d{4}D{4}"]`, "13000000001", `130\*\*\*\*0001`, text},
		{"op: email, first: 2", "li.lei@example.com", `li\*+@example\.com`, text},
		{"op: address", "广东省深圳市龙华区民治街道春华路1号", `广东省深圳市龙华区\*+`, text},
		{"op: name", "欧阳娜娜", `欧阳\*\*`, text},
		{"op: name, keep: last", "张三", `\*三`, text},
		{"op: plate", "粤B12345", `粤B.*\*.*`, text},
		{"op: card", "4111111111111111", `[0-9]*\*+[0-9]{4}`, text},
		{"op: mobile", "13000000001", `130\*\*\*\*0001`, text},
		{"op: resident-id", "00000019900101000X", `000000\*{8}000X`, text},
		{"op: truncate, length: 3", "I10.X00", `I10`, text},
		{"op: redact", "x", `\(null\)`, text},
		{`op: constant, value: "研究"`, "x", `研究`, text},
		{`op: constant, value: "5.00"`, "12345", `500`, money},
		{`op: round, to: "100"`, "123450", `120000`, money},
		{`op: bucket, edges: ["18", "60"]`, "17", `<18`, whole},
		{"op: date, to: month", "2026-03-09", `2026-03-01`, date},
		{"op: token, key: joint", "x", `[0-9a-f]{32}`, text},
		{"op: token, key: joint", "17", `[0-9a-f]{32}`, whole},
		{"op: token-block, key: joint", "A-17", `[0-9a-f]{32}`, text},
		{"op: token-id, key: joint, region: 2", "11010519491231002X", `11[0-9]{15}[0-9X]`, text},
		{"op: token-card, key: joint, prefix: 4", "4111111111111111", `4111[0-9]{12}`, text},
		{"op: token-mobile, key: joint, prefix: 3", "13000000001", `130[0-9]{8}`, text},
		{`op: token-text, key: joint, alphabet: "0123456789", shortest: 6, longest: 10`, "1234567", `[0-9]{7}`, text},
		{"op: generalize, hierarchy: area, level: 2", "440309", `440000`, text},
		{"op: generalize, hierarchy: icd10, level: 1", "I10.X00", `I10`, text},
		{"op: generalize, hierarchy: industry, level: 3", "8411", `Q`, text},
		{`op: generalize, hierarchy: "age:5,10", level: 2`, "23", `20-29`, whole},
		{"op: generalize, hierarchy: date, level: 1", "2026-03-09", `2026-03`, date},
		{"op: generalize, hierarchy: wards, level: 1", "J20", `J`, text},
		{"op: redact-text", "电话13800138000，复诊", `电话.*，复诊`, text},
		{"op: date-shift, key: joint, days: 30", "2026-03-09", `2026-0[234]-.*`, date},
		{`op: noise, law: gauss, scale: "40", step: "1"`, "1000", `-?[0-9]+`, whole},
		{`op: limit, top: "90"`, "97", `90`, whole},
		{`op: limit, bottom: "18"`, "7", `18`, whole},
		{"op: micro, k: 3", "97", `97`, whole},
		{`op: pram, categories: [a, b], matrix: [["0", "1"], ["1", "0"]]`, "a", `b`, text},
		{"op: shuffle", "a", `a`, text},
		{"op: shuffle", "true", `true`, catalog.Column{Type: catalog.Bool}},
	} {
		name, _, _ := strings.Cut(strings.TrimPrefix(c.op, "op: "), ",")
		seen[name] = true
		c.column.Name, c.column.Grade, c.column.Personal, c.column.Nullable = "x", 3, true, true
		d := catalog.Dataset{ID: "t", Unit: "u", Columns: []catalog.Column{c.column}}
		pipe, dec := Compile(parsed(t, "{plan: p, version: 1, columns: [{column: x, "+c.op+"}]}"), d, Options{Keys: keyring{"joint": 1}, Hierarchies: shelves, Seed: seedOf(1)})
		if !dec.Allow {
			t.Errorf("%s: %+v", c.op, dec.Reasons)
			continue
		}
		b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(d))
		for i := range 5 {
			if i == 3 {
				b.Field(0).AppendNull()
				continue
			}
			in := c.in
			if c.column.Type == catalog.Date {
				day, err := day(in)
				if err != nil {
					t.Fatal(err)
				}
				b.Field(0).(*array.Date32Builder).Append(day)
			} else if err := b.Field(0).AppendValueFromString(in); err != nil {
				t.Fatal(err)
			}
		}
		rec := b.NewRecord()
		rows := 0
		rep, err := pipe.Run(t.Context(), &table{recs: []arrow.Record{rec}}, Stream{Table: "t 1",
			Again: func(context.Context, []string) (batch.Reader, error) { return &table{recs: []arrow.Record{rec}}, nil },
			Subjects: func(r arrow.Record) ([]sandbox.Pseudonym, error) {
				return []sandbox.Pseudonym{{1}, {1}, {2}, {2}, {3}}, nil
			},
			Sink: func(_, out arrow.Record) error {
				want := regexp.MustCompile("^(?s:" + c.out + ")$")
				for i := range int(out.NumRows()) {
					rows++
					switch got := out.Column(0).ValueStr(i); {
					case i == 3 && name != "constant" && !out.Column(0).IsNull(i):
						return fmt.Errorf("a null became a value")
					case i != 3 && !want.MatchString(got):
						return fmt.Errorf("it gives %s, want %s", got, c.out)
					}
				}
				return nil
			}})
		if err != nil || rows != 5 || rep.Failed() != 0 || !slices.Contains([]string{"redact", "micro", "shuffle", "noise"}, name) && rep.Columns[0].Masked < 4 {
			t.Errorf("%s: %v; %d rows, %+v", c.op, err, rows, rep.Columns)
		}
	}
	listed := documented(t)
	for op := range listed {
		if _, known := parameters(op); !known || !seen[op] {
			t.Errorf("%s is documented; known: %t, tried: %t", op, known, seen[op])
		}
	}
	for op := range seen {
		if !listed[op] {
			t.Errorf("%s is not documented at Step", op)
		}
	}
	if len(listed) < 25 {
		t.Errorf("the doc of Step lists %d operations", len(listed))
	}
}
