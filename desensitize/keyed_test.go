package desensitize

import (
	"bytes"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/desensitize/generalize"
	"github.com/opdomain/opdomain/desensitize/token"
	"github.com/opdomain/opdomain/sandbox"
)

// keyring holds keys by name.
type keyring map[string]byte

func (k keyring) Key(name string) (token.Key, bool) {
	b, ok := k[name]
	if !ok {
		return token.Key{}, false
	}
	out, err := token.NewKey(bytes.Repeat([]byte{b}, 32))
	return out, err == nil
}

// shelf reads hierarchies from texts.
type shelf map[string]string

func (s shelf) Hierarchy(name string) (*generalize.Hierarchy, error) {
	text, ok := s[name]
	if !ok {
		return nil, &sandbox.Error{Op: "hierarchy", Kind: sandbox.NotFound, Object: name, Detail: "no such hierarchy"}
	}
	return generalize.ReadHierarchy(strings.NewReader(text), name)
}

var shelves = shelf{"wards": "I10.X00;I;*\nJ20;J;*\n", "holed": "I10.X00;I;*\nJ20;;*\n", "torn": "I10.X00;I;*\nJ20;J\n"}

// TestKeyedRefusals: a key that is missing, a domain that is too small and a hierarchy that is not whole stop the plan.
func TestKeyedRefusals(t *testing.T) {
	for _, c := range []struct{ op, code, words string }{
		{"op: token", "plan.key", "names a key"},
		{"op: token, key: absent", "plan.key", `"absent" is not there`},
		{"op: token, key: joint, length: 3", "plan.parameter", "does not take length"},
		{"op: token-id, key: joint, region: 6, birth: true", "plan.domain", "fewer than 1,000,000"},
		{"op: token-id, key: joint, region: 5", "plan.parameter", "digits are kept"},
		{"op: token-text, key: joint, alphabet: ab, shortest: 2, longest: 10", "plan.domain", "1,000,000"},
		{"op: generalize, level: 1", "plan.hierarchy", ""},
		{"op: generalize, hierarchy: absent, level: 1", "plan.hierarchy", "no such hierarchy"},
		{"op: generalize, hierarchy: holed, level: 1", "plan.hierarchy", "a hole"},
		{"op: generalize, hierarchy: torn, level: 1", "plan.hierarchy", "levels"},
		{"op: generalize, hierarchy: wards, level: 9", "plan.parameter", "level"},
		{"op: generalize, hierarchy: gap, level: 1", "plan.hierarchy", "a hole"},
		{"op: generalize, hierarchy: wards", "plan.parameter", "level 0 leaves"},
		{"op: redact-text, confidence: 200", "plan.parameter", "confidence"},
	} {
		p := parsed(t, strings.Replace(claimsPlan, "op: truncate, length: 3", c.op, 1)+"hierarchies:\n  gap: |\n    a;b;*\n    c;;*\n")
		pipe, d := Compile(p, claims(), Options{Keys: keyring{"joint": 1}, Hierarchies: shelves})
		if pipe != nil || d.Allow || len(d.Reasons) != 1 || d.Reasons[0].Code != c.code || d.Reasons[0].Column != "claims.icd10" || !strings.Contains(d.Reasons[0].Rule, c.words) || d.Reasons[0].Change == "" {
			t.Errorf("%s: %+v", c.op, d.Reasons)
		}
	}
	// Without keys or hierarchies given none is there; a token is for texts and whole numbers.
	for op, code := range map[string]string{"op: token, key: joint": "plan.key", "op: generalize, hierarchy: wards, level: 1": "plan.hierarchy"} {
		if _, d := Compile(parsed(t, strings.Replace(claimsPlan, "op: truncate, length: 3", op, 1)), claims(), Options{}); d.Allow || d.Reasons[0].Code != code {
			t.Errorf("%s: %+v", op, d.Reasons)
		}
	}
	if _, d := Compile(parsed(t, strings.Replace(claimsPlan, `op: date, to: month`, "op: token, key: joint", 1)), claims(), Options{Keys: keyring{"joint": 1}}); d.Allow || d.Reasons[0].Code != "plan.type" {
		t.Errorf("%+v", d.Reasons)
	}
}

// TestKeyed: tokens of one key join two tables, those of another key do not; failures are counted; labels and redacted texts
// come out as their packages make them.
func TestKeyed(t *testing.T) {
	text := "hierarchies: {wards: \"I10.X00;I;*\\nJ20;J;*\\n\"}\n" + strings.NewReplacer("op: resident-id", "op: token, key: joint", "op: name, width: 2", "op: token-id, key: joint", "op: truncate, length: 3", "op: generalize, hierarchy: wards, level: 1",
		"{column: note, op: drop}", "{column: note, op: redact-text}").Replace(claimsPlan)
	column := func(key byte) (persons []string, rep Report, icd, note string) {
		pipe, d := Compile(parsed(t, text), claims(), Options{Keys: keyring{"joint": key}})
		if !d.Allow {
			t.Fatal(d.Reasons)
		}
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		src := rows(mem, 3, 4)
		rep, err := pipe.Run(t.Context(), src, Stream{Mem: mem, Sink: func(_, out arrow.Record) error {
			for i := range int(out.NumRows()) {
				persons = append(persons, strings.Clone(out.Column(0).(*array.String).Value(i)))
			}
			icd, note = strings.Clone(out.Column(2).ValueStr(2)), strings.Clone(out.Column(5).ValueStr(2))
			return nil
		}})
		if err != nil {
			t.Fatal(err)
		}
		src.release()
		if n := mem.CurrentAlloc(); n != 0 {
			t.Errorf("%d bytes were not released", n)
		}
		return persons, rep, icd, note
	}
	a, rep, icd, note := column(1)
	b, _, _, _ := column(1)
	c, _, _, _ := column(2)
	if !slices.Equal(a, b) || a[0] == c[0] || a[0] != a[2] || a[0] == a[1] || len(a[0]) != 32 {
		t.Error("equal values have equal tokens under one key, and only there")
	}
	if rep.Columns[0].Masked != 12 || rep.Columns[0].Failed != 0 || rep.Columns[1].Failed != 12 || rep.Columns[1].Masked != 0 {
		t.Errorf("%+v", rep.Columns)
	}
	if icd != "I" || strings.Contains(note, "1300") {
		t.Errorf("%q %q", icd, note)
	}
}

// TestDisturbed: dates of one subject move alike, intervals stay; noise, bounds and means change numbers; bad parameters stop the
// plan, and noise without a source of randomness does.
func TestDisturbed(t *testing.T) {
	text := strings.NewReplacer("op: date, to: month", "op: date-shift, key: joint, days: 90", `op: round, to: "100"`, `op: limit, bottom: "0", top: "150.25"`,
		"{column: site, op: pass}", `{column: site, op: noise, law: laplace, scale: "8", step: "1"}`).Replace(claimsPlan)
	o := Options{Keys: keyring{"joint": 1}, Seed: seedOf(1)}
	pipe, d := Compile(parsed(t, text), claims(), o)
	if !d.Allow || !pipe.Subjects() {
		t.Fatal(d.Reasons)
	}
	if _, err := pipe.Run(t.Context(), rows(memory.DefaultAllocator, 1, 2), Stream{Sink: func(arrow.Record, arrow.Record) error { return nil }}); err == nil {
		t.Error("rows without subjects were shifted")
	}
	shifts, changed := map[byte]int32{}, 0
	rep, err := pipe.Run(t.Context(), rows(memory.DefaultAllocator, 4, 50), Stream{Table: "claims 1",
		Subjects: func(r arrow.Record) ([]sandbox.Pseudonym, error) {
			who := make([]sandbox.Pseudonym, r.NumRows())
			for i := range who {
				who[i][0] = byte(i % 5) // 0 is nobody
			}
			return who, nil
		},
		Sink: func(in, out arrow.Record) error {
			for i := range int(out.NumRows()) {
				days := out.Column(4).(*array.Date32)
				if i%5 == 0 {
					if days.IsValid(i) {
						t.Error("nobody's date was shifted")
					}
					continue
				}
				by := int32(days.Value(i) - in.Column(4).(*array.Date32).Value(i))
				if was, ok := shifts[byte(i%5)]; ok && was != by || by == 0 || by > 90 || by < -90 {
					t.Errorf("shifted by %d, before by %d", by, was)
				}
				shifts[byte(i%5)] = by
				if out.Column(3).(*array.Int64).Value(i) > 15_025 {
					t.Error("a value above the top")
				}
				if out.Column(5).(*array.Int64).Value(i) != in.Column(6).(*array.Int64).Value(i) {
					changed++
				}
			}
			return nil
		}})
	if err != nil {
		t.Fatal(err)
	}
	if changed < 80 || rep.Columns[4].Failed != 40 || rep.Columns[4].Masked != 160 {
		t.Errorf("%d of 160 numbers changed; %+v", changed, rep.Columns[4])
	}
	for change, code := range map[[2]string]string{
		{"days: 90", "days: 0"}: "plan.parameter", {"key: joint, days", "key: lost, days"}: "plan.key", {`scale: "8"`, `scale: "0"`}: "plan.parameter", {"law: laplace", "law: normal"}: "plan.parameter",
		{`bottom: "0"`, `bottom: "900"`}: "plan.parameter", {`op: noise, law: laplace, scale: "8", step: "1"`, "op: micro, k: 2"}: "plan.parameter",
		{"column: day, op: date-shift, key: joint, days: 90", "column: day, op: micro, k: 3"}: "plan.type", {"column: name, op: name, width: 2", "column: name, op: date-shift, key: joint, days: 9"}: "plan.type",
	} {
		if _, d := Compile(parsed(t, strings.Replace(text, change[0], change[1], 1)), claims(), o); d.Allow || d.Reasons[0].Code != code {
			t.Errorf("%s: %+v", change[1], d.Reasons)
		}
	}
	if _, d := Compile(parsed(t, text), claims(), Options{Keys: o.Keys}); d.Allow || d.Reasons[0].Code != "plan.randomness" {
		t.Errorf("noise from nothing: %+v", d.Reasons)
	}
}
