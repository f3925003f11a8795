package model

import (
	"bytes"
	"encoding/json"
	"math"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/opdomain/opdomain/sandbox"
)

// trained gives a fitted model of a kind and its encoding.
func trained(t testing.TB, k Kind) (*Model, []byte) {
	t.Helper()
	w := newWorld(1, labelOf(k), 0)
	m, err := Fit(w.form(k), w.data(t, 0, 600, 1))
	if err != nil {
		t.Fatal(err)
	}
	b, err := m.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return m, b
}

// TestOneEncoding: what is read and written again is the same bytes, for every kind.
func TestOneEncoding(t *testing.T) {
	for _, k := range Kinds() {
		_, b := trained(t, k)
		m, err := Decode(b, nil)
		if err != nil {
			t.Fatalf("%s: %v", k, err)
		}
		again, err := m.Encode()
		if err != nil || !bytes.Equal(again, b) {
			t.Errorf("%s: another encoding: %v", k, err)
		}
		if m.Bits() <= 0 || m.Bits() > 8*len(b) {
			t.Errorf("%s: %d bits in %d bytes", k, m.Bits(), len(b))
		}
	}
}

// edited rewrites a model's JSON as a tree of values.
func edited(t *testing.T, b []byte, f func(m map[string]any)) []byte {
	t.Helper()
	var m map[string]any
	if err := json.Unmarshal(b, &m); err != nil {
		t.Fatal(err)
	}
	f(m)
	out, err := json.Marshal(m)
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// TestSideChannels: orders, signs of zero, low digits, spaces, nodes' numbers, sides of a set and claimed counts carry nothing.
func TestSideChannels(t *testing.T) {
	_, logistic := trained(t, Logistic)
	_, tree := trained(t, Tree)
	_, boosted := trained(t, Boosted)
	zero := edited(t, logistic, func(m map[string]any) { m["intercept"] = 0 })
	list := func(m map[string]any, k string) []any { l, _ := m[k].([]any); return l }
	for _, c := range []struct {
		name       string
		plain, hid []byte
	}{
		{"order of keys and spaces", logistic, bytes.ReplaceAll(edited(t, logistic, func(map[string]any) {}), []byte(","), []byte(" ,\n "))},
		{"order of coefficients", logistic, edited(t, logistic, func(m map[string]any) { slices.Reverse(list(m, "coefficients")) })},
		{"low digits", logistic, edited(t, logistic, func(m map[string]any) {
			v, _ := m["intercept"].(float64)
			m["intercept"] = v + 0.000449
		})},
		{"exponent", zero, bytes.Replace(zero, []byte(`"intercept":0`), []byte(`"intercept":0.0E-7`), 1)},
		{"-0", zero, bytes.Replace(zero, []byte(`"intercept":0`), []byte(`"intercept":-0.0`), 1)},
		{"order of trees", boosted, edited(t, boosted, func(m map[string]any) { slices.Reverse(list(m, "trees")) })},
		{"claimed people", tree, bytes.ReplaceAll(tree, []byte(`"value"`), []byte(`"people":7,"value"`))},
		{"numbers of nodes", tree, edited(t, tree, func(m map[string]any) { // the last node becomes the second
			nodes, _ := list(m, "trees")[0].([]any)
			last := len(nodes) - 1
			moved := append([]any{nodes[0], nodes[last]}, nodes[1:last]...)
			for _, n := range moved {
				n, _ := n.(map[string]any)
				for _, side := range []string{"left", "right"} {
					if v, ok := n[side].(float64); ok && int(v) == last {
						n[side] = 1
					} else if ok {
						n[side] = v + 1
					}
				}
			}
			list(m, "trees")[0] = moved
		})},
		{"side of a set", tree, edited(t, tree, func(m map[string]any) {
			nodes, _ := list(m, "trees")[0].([]any)
			for _, n := range nodes {
				n, _ := n.(map[string]any)
				if in, ok := n["in"].([]any); ok {
					var rest []any
					for _, l := range []any{"west", "south", "north", "east"} {
						if !slices.Contains(in, l) {
							rest = append(rest, l)
						}
					}
					n["in"], n["left"], n["right"] = rest, n["right"], n["left"]
				}
			}
		})},
	} {
		if bytes.Equal(c.plain, c.hid) {
			t.Errorf("%s: nothing was written", c.name)
		}
		var out [2][]byte
		for i, b := range [][]byte{c.plain, c.hid} {
			m, err := Decode(b, nil)
			if err != nil {
				t.Fatalf("%s: %v", c.name, err)
			}
			if out[i], err = m.Encode(); err != nil {
				t.Fatal(err)
			}
		}
		if !bytes.Equal(out[0], out[1]) {
			t.Errorf("%s: it leaves as other bytes", c.name)
		}
	}
}

// TestRefusals: each names its place and rule, and no value.
func TestRefusals(t *testing.T) {
	_, b := trained(t, Logistic)
	_, tree := trained(t, Tree)
	put := func(b []byte, from, to string) []byte { return bytes.Replace(b, []byte(from), []byte(to), 1) }
	for _, c := range []struct {
		name string
		b    []byte
		kind sandbox.Kind
		says string
	}{
		{"svm", []byte(`{"kind":"SVM","support_vectors":[[1,2]]}`), sandbox.Denied, "support vectors"},
		{"knn", []byte(`{"kind":"knn"}`), sandbox.Denied, "every row"},
		{"gaussian process", []byte(`{"kind":"gaussian-process"}`), sandbox.Denied, "every row"},
		{"unknown kind", put(b, `"logistic"`, `"oracle-123456"`), sandbox.Denied, "unknown kind"},
		{"no kind", put(b, `"kind":"logistic",`, ``), sandbox.Denied, "unknown kind"},
		{"format", put(b, Format, "opdomain-model/2"), sandbox.Invalid, "format"},
		{"NaN", put(b, `"intercept":`, `"intercept":NaN,"x":`), sandbox.Invalid, "NaN and Infinity are none"},
		{"Infinity", put(b, `"intercept":`, `"intercept":-Infinity,"x":`), sandbox.Invalid, "NaN and Infinity are none"},
		{"NaN as text", put(b, `"intercept":`, `"intercept":"NaN","x":`), sandbox.Invalid, "NaN and Infinity are none"},
		{"overflow", put(b, `"intercept":`, `"intercept":1e999,"x":`), sandbox.Invalid, "within"},
		{"large", edited(t, b, func(m map[string]any) { m["intercept"] = 100.001 }), sandbox.Invalid, "intercept"},
		{"unknown key", put(b, `"intercept":`, `"secret":1,"intercept":`), sandbox.Invalid, "unknown key"},
		{"key twice", put(b, `"intercept":`, `"intercept":1,"intercept":`), sandbox.Invalid, "every key once"},
		{"key in another case", put(b, `"intercept":`, `"Intercept":`), sandbox.Invalid, "small letters"},
		{"behind it", append(slices.Clone(b), " 1"...), sandbox.Invalid, "nothing behind it"},
		{"level that is none", put(b, `"level":"north"`, `"level":"310101199001011234"`), sandbox.Invalid, "coefficients[1]"},
		{"coefficient missing", edited(t, b, func(m map[string]any) { l, _ := m["coefficients"].([]any); m["coefficients"] = l[1:] }), sandbox.Invalid, "coefficients"},
		{"trees in a regression", put(b, `"intercept":`, `"trees":[[{"value":1}]],"intercept":`), sandbox.Invalid, "trees"},
		{"name with a mark", put(b, `"name":"age"`, `"name":"age\u200b"`), sandbox.Invalid, "features[0].name"},
		{"threshold off the grid", edited(t, tree, func(m map[string]any) {
			all, _ := m["trees"].([]any)
			nodes, _ := all[0].([]any)
			for _, n := range nodes {
				if n, _ := n.(map[string]any); n["below"] != nil && n["feature"] == "age" {
					n["below"] = 41.5
				}
			}
		}), sandbox.Invalid, "on the grid"},
		{"cycle", edited(t, tree, func(m map[string]any) {
			all, _ := m["trees"].([]any)
			nodes, _ := all[0].([]any)
			n, _ := nodes[0].(map[string]any)
			n["right"] = 0
		}), sandbox.Invalid, "each of one parent"},
		{"node nobody reaches", edited(t, tree, func(m map[string]any) {
			all, _ := m["trees"].([]any)
			nodes, _ := all[0].([]any)
			all[0] = append(nodes, map[string]any{"value": 0.123})
		}), sandbox.Invalid, "every node is reached"},
		{"probability", edited(t, tree, func(m map[string]any) {
			all, _ := m["trees"].([]any)
			nodes, _ := all[0].([]any)
			n, _ := nodes[len(nodes)-1].(map[string]any)
			n["value"] = 1.5
		}), sandbox.Invalid, "a probability"},
		{"too large", bytes.Repeat([]byte(" "), MaxBytes+1), sandbox.TooLarge, "bytes"},
		{"no text", []byte{0xff, 0xfe}, sandbox.Invalid, "UTF-8"},
	} {
		_, err := Decode(c.b, nil)
		if err == nil || sandbox.KindOf(err) != c.kind || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", c.name, err)
		}
		if err != nil && (strings.Contains(err.Error(), "123456") || strings.Contains(err.Error(), "310101") || strings.Contains(err.Error(), "secret")) {
			t.Errorf("%s: the error repeats what stood there", c.name)
		}
	}
	m, _ := Decode(b, nil)
	other := m.Schema
	other.Features = slices.Clone(other.Features)
	other.Features[0].High += other.Features[0].Step
	if _, err := Decode(b, &other); sandbox.KindOf(err) != sandbox.Denied {
		t.Errorf("another schema than the registered one: %v", err)
	}
	if _, err := Decode(b, &m.Schema); err != nil {
		t.Errorf("the registered schema: %v", err)
	}
}

// TestFixed: numbers round half away from zero to thousandths and are written in one way.
func TestFixed(t *testing.T) {
	for _, c := range []struct{ in, out string }{{"0.0005", "0.001"}, {"-0.0005", "-0.001"}, {"-0.0004", "0"}, {"1.5", "1.5"}, {"1e2", "100"}, {"-0", "0"}, {"12.3456", "12.346"}} {
		var f Fixed
		if err := json.Unmarshal([]byte(c.in), &f); err != nil {
			t.Errorf("%s: %v", c.in, err)
		}
		if b, err := json.Marshal(f); err != nil || string(b) != c.out {
			t.Errorf("%s: %s %v", c.in, b, err)
		}
	}
	if clipped(math.NaN(), one) != 0 || clipped(math.Inf(1), one) != one || clipped(-5, one) != -one {
		t.Error("what is no number is clipped")
	}
}

// TestSchema holds the examples to the published schema, and both to the reader.
func TestSchema(t *testing.T) {
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(JSONSchema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	if err := c.AddResource("model.json", doc); err != nil {
		t.Fatal(err)
	}
	s, err := c.Compile("model.json")
	if err != nil {
		t.Fatal(err)
	}
	check := func(name string, b []byte) {
		v, err := jsonschema.UnmarshalJSON(bytes.NewReader(b))
		if err != nil {
			t.Fatal(err)
		}
		if err := s.Validate(v); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		if _, err := Decode(b, nil); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, name := range Examples() {
		b, err := Example(name)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.HasSuffix(name, ".csv") {
			check(name, b)
		}
	}
	for _, k := range Kinds() {
		_, b := trained(t, k)
		check(string(k), b)
	}
	if _, err := Example("none"); sandbox.KindOf(err) != sandbox.NotFound {
		t.Error(err)
	}
}

// TestPayload: outgoing bytes are read in one encoding only, people of leaves included.
func TestPayload(t *testing.T) {
	w := newWorld(3, Binary, 0)
	train, test := w.data(t, 0, 800, 1), w.data(t, 1<<20, 800, 1)
	m, err := Fit(w.form(Forest), train)
	if err != nil {
		t.Fatal(err)
	}
	r, err := Judge(m, train, test, quick(), source(3))
	if err != nil || r.Verdict == Fail {
		t.Fatal(err, r.Broken())
	}
	if _, err := DecodePayload(r.Payload); err != nil {
		t.Fatal(err)
	}
	if !bytes.Contains(r.Payload, []byte(`"people":`)) {
		t.Error("no people in it")
	}
	if hits, err := Scan(r.Payload); err != nil || len(hits) > 0 {
		t.Error(hits, err)
	}
	for name, b := range map[string][]byte{
		"space":            append(slices.Clone(r.Payload), ' '),
		"people off base":  regexp.MustCompile(`("people":\d+)`).ReplaceAll(r.Payload, []byte("${1}1")),
		"people that miss": bytes.Replace(r.Payload, []byte(`,"people":`), []byte(`,"people":0,"x":`), 1),
		"zero written out": bytes.Replace(r.Payload, []byte(`"ridge":0`), []byte(`"ridge":0.0`), 1),
	} {
		if _, err := DecodePayload(b); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

func FuzzDecode(f *testing.F) {
	for _, k := range Kinds() {
		_, b := trained(f, k)
		f.Add(b)
	}
	f.Add([]byte(`{"kind":"svm"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if form, err := DecodeForm(b, nil); err == nil {
			if _, err := form.Encode(); err != nil {
				t.Fatal(err)
			}
		}
		m, err := Decode(b, nil)
		if err != nil {
			return
		}
		one, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := Decode(one, nil)
		if err != nil {
			t.Fatalf("what was written is not read: %v", err)
		}
		if two, err := again.Encode(); err != nil || !bytes.Equal(one, two) {
			t.Fatal("two encodings of one model")
		}
		if m.Bits() < 0 {
			t.Fatal("negative bits")
		}
		c := m.compile() // predictions are numbers
		w, err := NewBuilder(m.Schema)
		if err != nil {
			t.Fatal(err)
		}
		var values []string
		for _, x := range m.Features {
			if x.category() {
				values = append(values, x.Levels[len(x.Levels)-1])
			} else {
				values = append(values, "0")
			}
		}
		label := "1"
		if m.Label.Form == Binary {
			label = m.Label.Levels[1]
		}
		if w.Add("p", values, label) == nil {
			if d := w.Build(); d.Rows() == 1 {
				if v := c.predict(d, 0); math.IsNaN(v) || math.IsInf(v, 0) {
					t.Fatal("a prediction that is no number")
				}
			}
		}
	})
}
