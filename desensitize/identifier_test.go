package desensitize

import (
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
)

func found(k classify.Kind, typ catalog.Type) catalog.Dataset {
	return catalog.Dataset{ID: "t", Unit: "u", Columns: []catalog.Column{{Name: "x", Type: typ, Grade: 2, Detected: 3, Personal: true, Finding: string(k), Nullable: true}}}
}

func stepOf(t *testing.T, op string, d catalog.Dataset) (*Pipeline, sandbox.Decision) {
	t.Helper()
	return Compile(parsed(t, "{plan: p, version: 1, columns: [{column: x, "+op+"}]}"), d, Options{Keys: keyring{"joint": 1}, Hierarchies: shelf{"same": "a;a;*\nb;c;*\n"}, Seed: seedOf(1)})
}

// TestIdentifierOperations: on a column of direct identifiers only what hides them is an operation; the rest is refused before the
// first row, with what would do.
func TestIdentifierOperations(t *testing.T) {
	id, inText := classify.ResidentID, classify.Contains(classify.ResidentID)
	for _, c := range []struct {
		kind   classify.Kind
		typ    catalog.Type
		op     string
		allow  bool
		change string
	}{
		{id, catalog.Text, "op: truncate, length: 18", false, "op: resident-id"},
		{id, catalog.Text, "op: truncate, length: 1", false, "op: resident-id"},
		{id, catalog.Text, "op: redact-text, confidence: 99", false, "confidence"},
		{id, catalog.Text, "op: redact-text", false, "op: resident-id"},
		{inText, catalog.Text, "op: redact-text, confidence: 1", false, "confidence"},
		{inText, catalog.Text, "op: redact-text", true, ""},
		{inText, catalog.Text, "op: truncate, length: 200", false, ""},
		{id, catalog.Text, "op: keep, first: 17", false, "9 together"},
		{id, catalog.Text, "op: keep, first: 6, last: 4", false, "9 together"},
		{id, catalog.Text, "op: keep, first: 6, last: 3", true, ""},
		{id, catalog.Text, `op: pattern, patterns: ["d{18}", "X{17}x"]`, false, "at most 9"},
		{id, catalog.Text, `op: pattern, patterns: ["X{6}x{12}"]`, true, ""},
		{id, catalog.Text, "op: generalize, hierarchy: area, level: 1", false, ""},
		{id, catalog.Text, "op: shuffle", false, ""},
		{id, catalog.Text, `op: pram, categories: [a, b], stay: "0.9"`, false, ""},
		{id, catalog.Text, "op: resident-id", true, ""},
		{id, catalog.Text, "op: token, key: joint", true, ""},
		{id, catalog.Text, "op: redact", true, ""},
		{id, catalog.Text, "op: constant, value: x", true, ""},
		{classify.Mobile, catalog.Int, `op: limit, bottom: "0", top: "99999999999"`, false, "op: mobile"},
		{classify.Mobile, catalog.Int, `op: noise, law: laplace, scale: "1", step: "1"`, false, "op: mobile"},
		{classify.Mobile, catalog.Int, `op: round, to: "2"`, false, "op: mobile"},
		{classify.Mobile, catalog.Int, `op: micro, k: 3`, false, "op: mobile"},
		{classify.Mobile, catalog.Int, `op: bucket, edges: ["1"]`, false, "op: mobile"},
		{classify.Mobile, catalog.Int, "op: token, key: joint", true, ""},
		{classify.PersonName, catalog.Text, "op: keep, first: 2", false, "op: name"},
		{classify.PersonName, catalog.Text, "op: keep, first: 1", true, ""},
		{classify.Passport, catalog.Text, "op: truncate, length: 9", false, "token"},
		{classify.BankCard, catalog.Text, "op: truncate, length: 19", false, "op: card"},
		{classify.Address, catalog.Text, "op: truncate, length: 6", true, ""},
		{classify.Health, catalog.Text, "op: redact-text, confidence: 99", false, "confidence"},
	} {
		pipe, d := stepOf(t, c.op, found(c.kind, c.typ))
		if c.allow {
			if pipe == nil || !d.Allow {
				t.Errorf("%s of %s: %+v", c.op, c.kind, d.Reasons)
			}
			continue
		}
		if pipe != nil || d.Allow || len(d.Reasons) != 1 || d.Reasons[0].Code != "plan.identifier" || d.Reasons[0].Column != "t.x" || !strings.Contains(d.Reasons[0].Change, c.change) {
			t.Errorf("%s of %s: %+v", c.op, c.kind, d)
		}
	}
	// A subject's column that holds identity numbers is one, whatever the detectors saw of it.
	d := found(classify.None, catalog.Text)
	d.Subject, d.SubjectKind = "x", catalog.ResidentID
	if _, dec := stepOf(t, "op: truncate, length: 18", d); dec.Allow || dec.Reasons[0].Code != "plan.identifier" {
		t.Errorf("%+v", dec)
	}
	// Of a column that nothing was found in, the same operations are right.
	if _, dec := stepOf(t, "op: truncate, length: 18", catalog.Dataset{ID: "t", Unit: "u", Columns: []catalog.Column{{Name: "x", Type: catalog.Text, Grade: 2}}}); !dec.Allow {
		t.Errorf("%+v", dec)
	}
}

// TestNothingStaysAsItWas: what an operation left as it was on a sensitive column is hidden and counted failed; elsewhere it stays
// and counts as neither.
func TestNothingStaysAsItWas(t *testing.T) {
	run := func(op string, typ catalog.Type, sensitive bool, values ...string) (out []string, masked, failed int64) {
		d := found(classify.Address, typ)
		if !sensitive {
			d.Columns[0] = catalog.Column{Name: "x", Type: typ, Grade: 1, Nullable: true}
		}
		pipe, dec := stepOf(t, op, d)
		if !dec.Allow {
			t.Fatalf("%s: %+v", op, dec.Reasons)
		}
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		defer mem.AssertSize(t, 0)
		b := array.NewRecordBuilder(memory.NewGoAllocator(), batch.Schema(d))
		defer b.Release()
		for _, v := range values {
			if v == "null" {
				b.Field(0).AppendNull()
			} else if err := b.Field(0).AppendValueFromString(v); err != nil {
				t.Fatal(err)
			}
		}
		rep, err := pipe.Run(t.Context(), &table{recs: []arrow.Record{b.NewRecord()}}, Stream{Mem: mem, Sink: func(_, rec arrow.Record) error {
			for i := range int(rec.NumRows()) {
				out = append(out, rec.Column(0).ValueStr(i))
			}
			return nil
		}})
		if err != nil {
			t.Fatalf("%s: %v", op, err)
		}
		return out, rep.Columns[0].Masked, rep.Columns[0].Failed
	}
	for _, c := range []struct {
		op             string
		typ            catalog.Type
		sensitive      bool
		in, out        string
		masked, failed int64
	}{
		{"op: truncate, length: 3", catalog.Text, true, "abcd|abc|ab||null|***", "abc|***|***||(null)|***", 1, 2},
		{"op: truncate, length: 3", catalog.Text, false, "abcd|abc|ab||null", "abc|abc|ab||(null)", 1, 0},
		{"op: address", catalog.Text, true, "深圳市龙华区|深圳市龙华区1号", "***|深圳市龙华区**", 1, 1},
		{"op: generalize, hierarchy: same, level: 1", catalog.Text, true, "a|b", "*|c", 1, 1},
		{"op: generalize, hierarchy: same, level: 1", catalog.Text, false, "a|b", "a|c", 1, 0},
		{`op: limit, bottom: "0", top: "9"`, catalog.Int, true, "5|null|12", "(null)|(null)|9", 1, 1},
		{`op: limit, bottom: "0", top: "9"`, catalog.Int, false, "5|null|12", "5|(null)|9", 1, 0},
		{`op: round, to: "10"`, catalog.Int, true, "10|12|null", "10|10|(null)", 1, 0},
		{"op: keep, first: 1", catalog.Text, true, "abc|*|", "a**|*|", 1, 1},
		{"op: redact-text", catalog.Text, true, "复诊，电话13800138000|复诊", "复诊，电话[手机号]|复诊", 1, 0},
		{"op: redact", catalog.Text, true, "a|null", "(null)|(null)", 1, 0},
	} {
		out, masked, failed := run(c.op, c.typ, c.sensitive, strings.Split(c.in, "|")...)
		if got := strings.Join(out, "|"); got != c.out || masked != c.masked || failed != c.failed {
			t.Errorf("%s, sensitive %t: %s masked %d failed %d, want %s masked %d failed %d", c.op, c.sensitive, got, masked, failed, c.out, c.masked, c.failed)
		}
	}
}
