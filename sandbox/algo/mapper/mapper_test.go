package mapper

import (
	"bytes"
	"encoding/json"
	"errors"
	"math"
	"math/big"
	"reflect"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

func declared() Declaration {
	return Declaration{Dataset: "claims", Columns: []Column{{Name: "kind", Type: "text"}, {Name: "fee", Type: "money"}, {Name: "day", Type: "date"}},
		Groups: []Group{{"band", []string{"low", "high"}}, {"site", []string{"a", "b", "c"}}}, Values: []Value{{"score", Mean, "", 2, -100, 900, 50}, {"km", Sum, "km", 0, 0, 7, 1}}, Yields: 2}
}

func TestDeclarationBounds(t *testing.T) {
	if err := declared().Check(); err != nil {
		t.Fatal(err)
	}
	for place, breaks := range map[string]func(*Declaration){
		"dataset":    func(d *Declaration) { d.Dataset = "Claims" },
		"columns":    func(d *Declaration) { d.Columns = nil },
		"columns[1]": func(d *Declaration) { d.Columns[1].Name = "kind" },
		"columns[2]": func(d *Declaration) { d.Columns[2].Type = "blob" },
		"columns[0]": func(d *Declaration) { d.Columns[0].Scale = 2 },
		"groups":     func(d *Declaration) { d.Groups = make([]Group, MaxGroups+1) },
		"groups[0]":  func(d *Declaration) { d.Groups[0].Labels = append(d.Groups[0].Labels, "low") },
		"groups[1]":  func(d *Declaration) { d.Groups[1].Name = "band" },
		"values":     func(d *Declaration) { d.Values = make([]Value, MaxValues+1) },
		"values[0]":  func(d *Declaration) { d.Values[0].Step = 70 },
		"values[1]":  func(d *Declaration) { d.Values[1].Name = "site" },
		"yields":     func(d *Declaration) { d.Yields = 0 },
	} {
		d := declared()
		breaks(&d)
		var e *Error
		if err := d.Check(); !errors.As(err, &e) || e.Place != place {
			t.Errorf("%s: %v", place, err)
		}
	}
	for name, breaks := range map[string]func(*Value){
		"range":         func(v *Value) { v.Max = v.Min },
		"no step":       func(v *Value) { v.Step = 0 },
		"median":        func(v *Value) { v.Of = "median" },
		"places":        func(v *Value) { v.Scale = 10 },
		"beyond 2^53":   func(v *Value) { v.Max = MaxValue + 50 },
		"too many bits": func(v *Value) { v.Min, v.Max, v.Step = 0, MaxLevels, 1 },
	} {
		d := declared()
		breaks(&d.Values[0])
		if d.Check() == nil {
			t.Errorf("%s passes", name)
		}
	}
	d := declared()
	many := make([]string, 300)
	for i := range many {
		many[i] = strings.Repeat("x", i%200) + string(rune('a'+i/200))
	}
	slices.Sort(many)
	d.Groups = []Group{{"a", slices.Compact(many)}, {"b", slices.Compact(slices.Clone(many))}}
	if d.Check() == nil {
		t.Error("more groups than fit pass")
	}
}

// TestQuantise: the nearest step within the range, as exact arithmetic has it.
func TestQuantise(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		lo := rapid.Int64Range(-MaxValue, MaxValue-1).Draw(t, "min")
		step := rapid.Int64Range(1, 1<<20).Draw(t, "step")
		n := rapid.Int64Range(1, 1000).Draw(t, "steps")
		v := Value{Min: lo, Step: step, Max: lo + n*step}
		x := rapid.OneOf(rapid.Int64(), rapid.Int64Range(v.Min-step, v.Max+step), rapid.SampledFrom([]int64{math.MinInt64, math.MaxInt64})).Draw(t, "x")
		got := v.Quantise(x)
		if got < v.Min || got > v.Max || (got-v.Min)%step != 0 {
			t.Fatalf("%d becomes %d, which is no step", x, got)
		}
		far := new(big.Int).Abs(new(big.Int).Sub(big.NewInt(min(max(x, v.Min), v.Max)), big.NewInt(got)))
		if far.Lsh(far, 1).Cmp(big.NewInt(step)) > 0 {
			t.Fatalf("%d becomes %d, which is not the nearest", x, got)
		}
	})
}

// TestSubjectForm: what a host writes is what a Map reads, cell by cell.
func TestSubjectForm(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		columns := rapid.IntRange(1, 5).Draw(t, "columns")
		cell := rapid.Custom(func(t *rapid.T) any {
			switch rapid.IntRange(0, 2).Draw(t, "kind") {
			case 0:
				return rapid.Int64().Draw(t, "number")
			case 1:
				return rapid.StringN(0, 5, 20).Draw(t, "text")
			}
			return nil
		})
		rows := rapid.SliceOfN(rapid.SliceOfN(cell, columns, columns), 0, 6).Draw(t, "rows")
		w := NewWriter(columns)
		w.Row() // of a subject before
		w.Missing()
		w.Reset()
		for _, r := range rows {
			w.Row()
			for _, c := range r {
				switch c := c.(type) {
				case nil:
					w.Missing()
				case int64:
					w.Int(c)
				case string:
					w.Text(c)
				}
			}
		}
		s, err := ReadSubject(w.Bytes(), columns)
		if err != nil || s.Rows() != len(rows) {
			t.Fatalf("%v, %d rows", err, s.Rows())
		}
		for i, r := range rows {
			for k, c := range r {
				n, isInt := s.Int(i, k)
				x, isText := s.Text(i, k)
				var got any
				if isInt {
					got = n
				} else if isText {
					got = x
				}
				if got != c || isInt && isText {
					t.Fatalf("row %d column %d reads as something else", i, k)
				}
			}
		}
		for _, out := range [][2]int{{-1, 0}, {len(rows), 0}, {0, columns}, {0, -1}} {
			if _, ok := s.Int(out[0], out[1]); ok {
				t.Fatal("a cell that is not there is read")
			}
		}
	})
}

// TestYields: what is not declared is no yield, and what is comes clipped to its range and step.
func TestYields(t *testing.T) {
	d := declared()
	w := NewWriter(3)
	w.Row()
	w.Text("x")
	w.Int(7)
	w.Missing()
	for name, c := range map[string]struct {
		f    Func
		want string
	}{
		"two":     {func(_ *Subject, y *Yields) { y.Yield([]int{1, 2}, 1000, -5); y.Yield([]int{0, 0}, 74, 3) }, `[{"Labels":[1,2],"Values":[900,0]},{"Labels":[0,0],"Values":[50,3]}]`},
		"nothing": {func(*Subject, *Yields) {}, `[]`},
		"reads":   {func(s *Subject, y *Yields) { v, _ := s.Int(0, 1); y.Yield([]int{0, 1}, 100, v) }, `[{"Labels":[0,1],"Values":[100,7]}]`},
		"three": {func(_ *Subject, y *Yields) {
			for range 3 {
				y.Yield([]int{0, 0}, 0, 0)
			}
		}, "error"},
		"a label that is not":  {func(_ *Subject, y *Yields) { y.Yield([]int{0, 3}, 0, 0) }, "error"},
		"a negative label":     {func(_ *Subject, y *Yields) { y.Yield([]int{0, -1}, 0, 0) }, "error"},
		"one value too few":    {func(_ *Subject, y *Yields) { y.Yield([]int{0, 0}, 0) }, "error"},
		"one label too many":   {func(_ *Subject, y *Yields) { y.Yield([]int{0, 0, 0}, 0, 0) }, "error"},
		"the ends of integers": {func(_ *Subject, y *Yields) { y.Yield([]int{0, 0}, math.MinInt64, math.MaxInt64) }, `[{"Labels":[0,0],"Values":[-100,7]}]`},
	} {
		got, err := Run(c.f, w.Bytes(), &d)
		b, _ := json.Marshal(append([]Yielded{}, got...))
		if err != nil {
			b = []byte("error")
		}
		if string(b) != c.want {
			t.Errorf("%s: %s, want %s", name, b, c.want)
		}
	}
}

// TestDeclarationText: what a module says of itself reads back as what was declared, in one way only.
func TestDeclarationText(t *testing.T) {
	d := declared()
	b := d.Encode()
	got, err := Decode(b)
	if err != nil || !reflect.DeepEqual(got, d) {
		t.Fatalf("%+v %v", got, err)
	}
	for name, x := range map[string][]byte{
		"spaces":       append([]byte(" "), b...),
		"more":         append(slices.Clone(b), '}'),
		"unknown keys": []byte(strings.Replace(string(b), `{"dataset"`, `{"also":1,"dataset"`, 1)),
		"keys twice":   []byte(strings.Replace(string(b), `{"dataset"`, `{"yields":1,"dataset"`, 1)),
		"nothing":      nil,
		"no bounds":    []byte(strings.Replace(string(b), `"yields":2`, `"yields":0`, 1)),
		"too long":     bytes.Repeat([]byte(" "), MaxEncoded+1),
	} {
		if _, err := Decode(x); err == nil {
			t.Errorf("%s: reads", name)
		}
	}
}

func FuzzForm(f *testing.F) {
	w := NewWriter(2)
	w.Row()
	w.Text("x")
	w.Int(1)
	f.Add(w.Bytes(), uint8(2))
	f.Add([]byte{255, 255, 255, 255}, uint8(1))
	f.Add([]byte{1, 0, 0, 0, 2, 255, 255, 255, 255}, uint8(1))
	f.Fuzz(func(t *testing.T, b []byte, columns uint8) {
		if s, err := ReadSubject(b, int(columns)); err == nil {
			for r := range min(s.Rows(), 100) {
				for c := range int(columns) {
					s.Int(r, c)
					s.Text(r, c)
				}
			}
		}
		d := declared()
		out, err := ReadYields(b, &d, nil)
		if err != nil {
			return
		}
		y := Yields{groups: 2, values: 2}
		for _, x := range out {
			y.Yield(x.Labels, x.Values...)
		}
		again, err := ReadYields(y.b, &d, nil)
		if err != nil || len(again) != len(out) {
			t.Fatalf("yields do not read back: %v", err)
		}
		for i := range out {
			if !slices.Equal(out[i].Labels, again[i].Labels) || !slices.Equal(out[i].Values, again[i].Values) {
				t.Fatal("what was clipped is clipped anew")
			}
		}
	})
}
