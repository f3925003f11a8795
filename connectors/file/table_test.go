package file

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

func TestTable(t *testing.T) {
	read := func(text string, columns []catalog.Column) (string, error) {
		mem := memory.NewCheckedAllocator(memory.NewGoAllocator())
		defer mem.AssertSize(t, 0)
		r, err := NewTable(context.Background(), mem, strings.NewReader(text), "t.csv", columns, Options{})
		if err != nil {
			return "", err
		}
		defer r.Close()
		var out strings.Builder
		for {
			rec, err := r.Next(context.Background())
			if err == io.EOF {
				return out.String(), nil
			}
			if err != nil {
				return "", err
			}
			for i := range int(rec.NumRows()) {
				for k, c := range rec.Columns() {
					fmt.Fprintf(&out, "%s=%s;", rec.ColumnName(k), c.ValueStr(i))
				}
			}
			rec.Release()
		}
	}
	got, err := read("姓名,a b\n张三,1\n,x\n", nil)
	if err != nil || got != "姓名=张三;a b=1;姓名=(null);a b=x;" {
		t.Errorf("%s %v", got, err)
	}
	got, err = read("姓名,金额,x\n张三,1.5,\n", []catalog.Column{{Name: "金额", Type: catalog.Money}, {Name: "姓名", Type: catalog.Text}})
	if err != nil || got != "金额=150;姓名=张三;" {
		t.Errorf("%s %v", got, err)
	}
	for what, c := range map[string]struct {
		text    string
		columns []catalog.Column
		want    string
	}{
		"no header text":   {"a,,c\n", nil, "field 2 has no header"},
		"header twice":     {"秘密,秘密\n", nil, "field 2 repeats the header of field 1"},
		"a byte":           {"秘密\n\x01\n", nil, "column number 1"},
		"missing header":   {"a\n1\n", []catalog.Column{{Name: "b", Type: catalog.Text}}, `no header "b"`},
		"column twice":     {"a\n1\n", []catalog.Column{{Name: "a", Type: catalog.Text}, {Name: "a", Type: catalog.Text}}, "a name of its own"},
		"unknown type":     {"a\n1\n", []catalog.Column{{Name: "a", Type: "float"}}, "type is one of"},
		"wrong value":      {"a\nx\n", []catalog.Column{{Name: "a", Type: catalog.Int}}, "column a"},
		"too many columns": {strings.Repeat("a,", catalog.MaxColumns) + "b\n", nil, ""},
	} {
		_, err := read(c.text, c.columns)
		if !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), c.want) || strings.Contains(err.Error(), "秘密") {
			t.Errorf("%s: %v", what, err)
		}
	}
}

// TestSpare: headers that neither a column nor a filter reads, in the order of the file; printed as numbers, since a header may
// be a value.
func TestSpare(t *testing.T) {
	d := catalog.Dataset{ID: "ds-p", Unit: "unit-p", Frequency: catalog.Daily, Subject: "who", SubjectKind: catalog.Opaque,
		Columns: []catalog.Column{{Name: "who", Type: catalog.Text, Grade: 3}}}
	for name, c := range map[string]struct {
		head string
		m    connectors.Mapping
		want []Header
	}{
		"none":   {"who", connectors.Mapping{}, nil},
		"two":    {"zone,who,13812345678", connectors.Mapping{}, []Header{{1, "zone"}, {3, "13812345678"}}},
		"mapped": {"zone,who,13812345678", connectors.Mapping{Columns: map[string]connectors.Field{"who": {From: "zone"}}}, []Header{{2, "who"}, {3, "13812345678"}}},
		"filter": {"zone,who", connectors.Mapping{Where: map[string]connectors.Values{"zone": {"a"}}}, nil},
		"both":   {"who", connectors.Mapping{Where: map[string]connectors.Values{"who": {"a"}}}, nil},
	} {
		r, err := NewReader(context.Background(), memory.DefaultAllocator, strings.NewReader(c.head+"\n"), "t.csv", d, c.m, Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := r.Spare()
		if !slices.Equal(got, c.want) {
			t.Errorf("%s: %v, want %v", name, got, c.want)
		}
		if s := fmt.Sprintf("%v %+v %#v %s", got, got, got, got); strings.Contains(s, "zone") || strings.Contains(s, "138") {
			t.Errorf("%s: a header is printed", name)
		}
		_ = r.Close()
	}
}
