package connectors

import (
	"encoding/json"
	"errors"
	"reflect"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

func dataset() *catalog.Dataset {
	return &catalog.Dataset{ID: "ds-claims", Unit: "unit-med", Frequency: catalog.Daily, Subject: "person", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{
			{Name: "person", Type: catalog.Text, Grade: 3},
			{Name: "amount", Type: catalog.Money, Grade: 2},
		}}
}

func TestParseMapping(t *testing.T) {
	m, err := ParseMapping("m.json", []byte(`{"columns":{"amount":{"from":"AMOUNT","round":true}},"where":{"TYPE":"CHARGE","KIND":["a","b"]}}`))
	if err != nil {
		t.Fatal(err)
	}
	want := Mapping{Columns: map[string]Field{"amount": {From: "AMOUNT", Round: true}},
		Where: map[string]Values{"TYPE": {"CHARGE"}, "KIND": {"a", "b"}}}
	if !reflect.DeepEqual(m, want) {
		t.Errorf("got %+v", m)
	}
	if err := m.Check(dataset()); err != nil {
		t.Error(err)
	}
	if f := m.Field("person"); f.From != "person" {
		t.Errorf("an unmapped column reads from %q", f.From)
	}
}

func TestParseMappingRefuses(t *testing.T) {
	for name, in := range map[string]string{
		"empty":         "",
		"unknown key":   `{"colums":{}}`,
		"unknown field": `{"columns":{"amount":{"header":"AMOUNT"}}}`,
		"trailing":      `{} {}`,
		"where number":  `{"where":{"TYPE":canary-8821}}`,
		"where list":    `{"where":{"TYPE":["canary-8821",3]}}`,
	} {
		_, err := ParseMapping("m.json", []byte(in))
		if !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "m.json") {
			t.Errorf("%s: %v", name, err)
		} else if strings.Contains(err.Error(), "canary") {
			t.Errorf("%s: the error quotes the file: %v", name, err)
		}
	}
	if _, err := ParseMapping("m.json", make([]byte, MaxMapping+1)); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("too large: %v", err)
	}
}

func TestCheckNamesColumnAndRule(t *testing.T) {
	for name, c := range map[string]struct {
		m           Mapping
		place, rule string
	}{
		"unknown column": {Mapping{Columns: map[string]Field{"cost": {From: "X"}}}, "cost", "no such column"},
		"no header":      {Mapping{Columns: map[string]Field{"amount": {}}}, "ds-claims.amount", "names its header"},
		"round a text":   {Mapping{Columns: map[string]Field{"person": {From: "X", Round: true}}}, "ds-claims.person", "rounded"},
		"no value":       {Mapping{Where: map[string]Values{"TYPE": {}}}, "ds-claims", "at least one value"},
		"no filter name": {Mapping{Where: map[string]Values{"": {"x"}}}, "ds-claims", "names a header"},
	} {
		err := c.m.Check(dataset())
		if !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), c.place) || !strings.Contains(err.Error(), c.rule) {
			t.Errorf("%s: %v does not name %q and %q", name, err, c.place, c.rule)
		}
	}
}

func FuzzParseMapping(f *testing.F) {
	f.Add([]byte(`{"columns":{"amount":{"from":"AMOUNT","round":true}},"where":{"TYPE":"CHARGE"}}`))
	f.Add([]byte(`{"where":{"a":["b","c"]}}`))
	f.Add([]byte(`{}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseMapping("m.json", b)
		if err != nil {
			return
		}
		_ = m.Check(dataset())
		again, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		n, err := ParseMapping("m.json", again)
		if len(again) <= MaxMapping && err != nil {
			t.Fatalf("the written form does not parse: %v", err)
		}
		if b2, _ := json.Marshal(n); err == nil && string(b2) != string(again) {
			t.Fatal("writing and parsing changes a mapping")
		}
	})
}
