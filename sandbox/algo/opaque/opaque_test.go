package opaque

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"testing"

	"pgregory.net/rapid"
)

func declared() *Declaration {
	return &Declaration{Input: "enterprises", Columns: []Column{{"industry", "text", 0}, {"x", "int", 0}, {"paid", "money", 0}},
		Chart: &Chart{Name: "map", Labels: []Label{{"cluster", []string{"c1", "c2", "c3"}}, {"kind", []string{"a", "b"}}},
			Values: []Value{{"east", "m", 0, 0, 50000, 500}, {"share", "", 3, -1000, 1000, 50}}, Rows: 4}}
}

func TestDeclarationBounds(t *testing.T) {
	if err := declared().Check(); err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(declared())
	var again Declaration
	if err != nil || json.Unmarshal(b, &again) != nil || !reflect.DeepEqual(&again, declared()) {
		t.Errorf("%s, %v", b, err)
	}
	for place, breaks := range map[string]func(*Declaration){
		"input":           func(d *Declaration) { d.Input = "In put" },
		"columns":         func(d *Declaration) { d.Columns = nil },
		"columns[1]":      func(d *Declaration) { d.Columns[1].Name = "industry" },
		"columns[2]":      func(d *Declaration) { d.Columns[2].Type = "blob" },
		"chart, model":    func(d *Declaration) { d.Chart = nil },
		"chart.name":      func(d *Declaration) { d.Chart.Name = "" },
		"chart.labels":    func(d *Declaration) { d.Chart.Labels = nil },
		"chart.labels[0]": func(d *Declaration) { d.Chart.Labels[0].Of = []string{"c", "c"} },
		"chart.labels[1]": func(d *Declaration) { d.Chart.Labels[1].Name = "cluster" },
		"chart.values":    func(d *Declaration) { d.Chart.Values = make([]Value, MaxValues+1) },
		"chart.values[0]": func(d *Declaration) { d.Chart.Values[0].Step = 7 },
		"chart.values[1]": func(d *Declaration) { d.Chart.Values[1].Max = d.Chart.Values[1].Min },
		"chart.rows":      func(d *Declaration) { d.Chart.Rows = 7 },
		"model.form":      func(d *Declaration) { d.Chart, d.Model = nil, &Model{Form: []byte("{")} },
	} {
		d := declared()
		breaks(d)
		var e *Error
		if err := d.Check(); !errors.As(err, &e) || e.Place != place {
			t.Errorf("%s: %v", place, err)
		}
	}
}

type cell struct {
	none bool
	n    int64
	s    string
}

// TestViewRoundTrip: what is written is what the code reads, in every column, missing values and subjects too.
func TestViewRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d, linked := declared(), rapid.Bool().Draw(t, "linked")
		w := NewWriter(d, linked)
		var rows [][3]cell
		var who []int
		for range rapid.IntRange(0, 40).Draw(t, "rows") {
			next := rapid.Bool().Draw(t, "next")
			if next || len(who) == 0 {
				who = append(who, append([]int{-1}, who...)[len(who)]+1)
			} else {
				who = append(who, who[len(who)-1])
			}
			if !w.Row(next) {
				t.Fatal("full")
			}
			var r [3]cell
			for k := range r {
				if r[k].none = rapid.IntRange(0, 3).Draw(t, "none") == 0; r[k].none {
					w.Missing(k)
				} else if k == 0 {
					if r[k].s = rapid.SampledFrom([]string{"", "a", "制造业", "longer than eight"}).Draw(t, "text"); !w.Text(k, r[k].s) {
						t.Fatal("full")
					}
				} else {
					r[k].n = rapid.Int64().Draw(t, "n")
					w.Int(k, r[k].n)
				}
			}
			rows = append(rows, r)
		}
		var b bytes.Buffer
		if err := w.Write(&b, 7); err != nil {
			t.Fatal(err)
		}
		if b.Len()%8 != 0 {
			t.Fatalf("%d bytes", b.Len())
		}
		v, err := ReadView(b.Bytes(), d)
		if err != nil || v.Rows() != len(rows) || v.Seed() != 7 || linked && v.Subjects() != w.Subjects() || !linked && v.Subjects() != 0 {
			t.Fatalf("%v: %d rows, %d subjects", err, len(rows), w.Subjects())
		}
		for i, r := range rows {
			if s := v.Subject(i); linked && s != who[i] || !linked && s != -1 {
				t.Fatalf("row %d is %d's", i, s)
			}
			for k := range r {
				n, isNumber := v.Int(i, k)
				s, isText := v.Text(i, k)
				if isNumber != (k > 0 && !r[k].none) || isText != (k == 0 && !r[k].none) || n != r[k].n || s != r[k].s {
					t.Fatalf("row %d column %d", i, k)
				}
			}
		}
		if v.Subject(-1) != -1 || v.Subject(len(rows)) != -1 {
			t.Fatal("a row that is not there")
		}
		if _, ok := v.Int(len(rows), 1); ok {
			t.Fatal("a row that is not there")
		}
		if at := rapid.IntRange(0, b.Len()-1).Draw(t, "cut"); true {
			if _, err := ReadView(b.Bytes()[:at], d); err == nil {
				t.Fatal("part of a view is read")
			}
		}
	})
}

// FuzzReadView: no bytes make a view whose cells cannot be read.
func FuzzReadView(f *testing.F) {
	w := NewWriter(declared(), true)
	for i := range 3 {
		w.Row(i != 1)
		w.Text(0, fmt.Sprint("t", i))
		w.Int(1, int64(i))
		w.Missing(2)
	}
	var b bytes.Buffer
	if err := w.Write(&b, 1); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Add(b.Bytes()[:40])
	f.Fuzz(func(t *testing.T, b []byte) {
		v, err := ReadView(b, declared())
		if err != nil {
			return
		}
		for i := range v.Rows() {
			v.Subject(i)
			for k := range 3 {
				v.Int(i, k)
				_, _ = v.Text(i, k)
			}
		}
	})
}

// TestChart: rows are clipped, quantised and sorted; what was not declared is refused.
func TestChart(t *testing.T) {
	d := declared()
	b, err := Answer(func(_ *View, o *Output) error {
		return errors.Join(o.Row([]int{2, 0}, 51_000, 24), o.Row([]int{0, 1}, -9, 25), o.Row([]int{0, 0}, 749, math.MinInt64))
	}, empty(t, d), d)
	if err != nil {
		t.Fatal(err)
	}
	rows, err := ReadChart(b, d)
	want := []Row{{[]int{0, 0}, []int64{500, -1000}}, {[]int{0, 1}, []int64{0, 50}}, {[]int{2, 0}, []int64{50000, 0}}}
	if err != nil || !reflect.DeepEqual(rows, want) {
		t.Fatalf("%v %v", rows, err)
	}
	row := b[1:21]
	for name, b := range map[string][]byte{
		"nothing":          nil,
		"another kind":     append([]byte{kindModel}, row...),
		"part of a row":    b[:len(b)-1],
		"a label twice":    slices.Concat(b, row),
		"too many rows":    slices.Concat(b, row, row),
		"an unknown label": append(binary.LittleEndian.AppendUint16([]byte{kindChart}, 3), row[2:]...),
		"too large":        append([]byte{kindChart}, make([]byte, MaxOutput)...),
	} {
		if _, err := ReadChart(b, d); err == nil {
			t.Errorf("%s is read", name)
		}
	}
	o := newOutput(d)
	if o.Row([]int{0}, 1, 2) == nil || o.Row([]int{0, 2}, 1, 2) == nil || o.Row([]int{0, 0}, 1) == nil || o.Model([]byte("{}")) == nil {
		t.Error("what was not declared is given")
	}
	if rows, err := ReadChart([]byte{kindChart}, d); err != nil || len(rows) != 0 {
		t.Error("no rows are a chart too")
	}
}

// TestChartOrder: however rows are ordered, and wherever between two steps a value lies, the chart is the same.
func TestChartOrder(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		d := declared()
		rows := []int{0, 1, 2, 3}
		give := func(order []int, off []int64) []Row {
			b, err := Answer(func(_ *View, o *Output) error {
				for _, i := range order {
					if err := o.Row([]int{i / 2, i % 2}, 1000*int64(i)+off[i], 0); err != nil {
						return err
					}
				}
				return nil
			}, empty(t, d), d)
			if err != nil {
				t.Fatal(err)
			}
			out, err := ReadChart(b, d)
			if err != nil {
				t.Fatal(err)
			}
			return out
		}
		off := rapid.SliceOfN(rapid.Int64Range(-250, 249), 4, 4).Draw(t, "off")
		if a, b := give(rows, make([]int64, 4)), give(rapid.Permutation(rows).Draw(t, "order"), off); !reflect.DeepEqual(a, b) {
			t.Fatalf("%v, %v", a, b)
		}
	})
}

func empty(t interface{ Fatal(...any) }, d *Declaration) []byte {
	var b bytes.Buffer
	if err := NewWriter(d, false).Write(&b, 0); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// TestModel: one model, where one was declared.
func TestModel(t *testing.T) {
	d := declared()
	d.Chart, d.Model = nil, &Model{Form: []byte(`{"kind":"linear"}`)}
	if err := d.Check(); err != nil {
		t.Fatal(err)
	}
	b, err := Answer(func(_ *View, o *Output) error { return o.Model([]byte(`{}`)) }, empty(t, d), d)
	if err != nil {
		t.Fatal(err)
	}
	if m, err := ReadModel(b, d); err != nil || string(m) != "{}" {
		t.Errorf("%s %v", m, err)
	}
	if _, err := ReadChart(b, d); err == nil {
		t.Error("a model is a chart")
	}
	if _, err := Answer(func(*View, *Output) error { return nil }, empty(t, d), d); err == nil {
		t.Error("no model is given")
	}
}
