package manifest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
	"github.com/opdomain/opdomain/sandbox/algo/mapper"
)

func recorded(t testing.TB) (*algo.Graph, *algo.Types) {
	b, err := algo.Record("cost", func(p *algo.Program) {
		c := p.Input("claims", algo.Text("district"), algo.Money("amount"), algo.Bool("fraud"))
		g := c.Group(algo.By("district", c.Label("district", "")))
		p.Reveal("cost", g, algo.Out("claims", g.Count()), algo.Out("mean", g.Mean(c.Number("amount"))))
		p.RevealModel("model", c.Group().Logistic(c.Number("fraud"), c.Number("amount")))
	})
	if err != nil {
		t.Fatal(err)
	}
	g, types, err := algo.Decode(b)
	if err != nil {
		t.Fatal(err)
	}
	return g, types
}

func signed(t testing.TB, image []byte) (*Manifest, *sm.SigningKey) {
	g, types := recorded(t)
	d := sm.Sum(image)
	m := &Manifest{Name: "cost", Version: "1.0.0", Contract: Program, SDK: algo.Version, Format: "wasm", Image: d[:], Author: "甲公司", Limits: Limits{MemoryMiB: 128, Seconds: 30}}
	m.Describe(g, types)
	key, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Sign(rand.Reader, key); err != nil {
		t.Fatal(err)
	}
	return m, key
}

func TestManifest(t *testing.T) {
	image := []byte("image")
	m, _ := signed(t, image)
	got, err := Decode(m.Encode())
	if err != nil || !bytes.Equal(got.Encode(), m.Encode()) || got.Digest() != m.Digest() {
		t.Fatal(err)
	}
	g, types := recorded(t)
	if err := got.Match(g, types); err != nil {
		t.Error(err)
	}
	if got.Outputs[1].Class != sandbox.ClassD || got.Outputs[1].Columns[0].Name != "amount" || got.Outputs[0].Columns[1].Unit != "元" {
		t.Errorf("%+v", got.Outputs)
	}
	if err := got.Holds(image); err != nil {
		t.Error(err)
	}
	if err := got.Holds([]byte("another")); sandbox.KindOf(err) != sandbox.Tampered {
		t.Error(err)
	}
}

// TestBadManifests names the place and the rule, and the kind.
func TestBadManifests(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*Manifest)
		kind   sandbox.Kind
		place  string
	}{
		"unsigned":            {func(m *Manifest) { m.Signature = nil }, sandbox.Unsigned, "cost"},
		"changed after":       {func(m *Manifest) { m.Version = "1.0.1" }, sandbox.Unsigned, "cost"},
		"another key":         {func(m *Manifest) { k, _ := sm.NewSigningKey(rand.Reader); m.Key = k.Public().Bytes() }, sandbox.Unsigned, "cost"},
		"no key":              {func(m *Manifest) { m.Key = nil }, sandbox.Unsigned, "cost"},
		"another SDK":         {func(m *Manifest) { m.SDK = "0" }, sandbox.Invalid, "sdk"},
		"name":                {func(m *Manifest) { m.Name = "../x" }, sandbox.Invalid, "name"},
		"version":             {func(m *Manifest) { m.Version = "1.0" }, sandbox.Invalid, "version"},
		"contract":            {func(m *Manifest) { m.Contract = "shell" }, sandbox.Invalid, "contract"},
		"format":              {func(m *Manifest) { m.Format = "js" }, sandbox.Invalid, "format"},
		"image":               {func(m *Manifest) { m.Image = m.Image[1:] }, sandbox.Invalid, "image"},
		"class":               {func(m *Manifest) { m.Outputs[0].Class = sandbox.ClassE }, sandbox.Invalid, "output 1"},
		"memory":              {func(m *Manifest) { m.Limits.MemoryMiB = 1 << 20 }, sandbox.Invalid, "limits"},
		"bits":                {func(m *Manifest) { m.Limits.Bits = 8 }, sandbox.Invalid, "limits"},
		"column":              {func(m *Manifest) { m.Inputs[0].Columns[0].Type = "blob" }, sandbox.Invalid, "input 1"},
		"input twice":         {func(m *Manifest) { m.Inputs = append(m.Inputs, m.Inputs[0]) }, sandbox.Invalid, "input 2"},
		"control characters":  {func(m *Manifest) { m.Author = "a\x1b[31m" }, sandbox.Invalid, "title, author"},
		"native program":      {func(m *Manifest) { m.Format = "elf" }, sandbox.Invalid, "format"},
		"map of native code":  {func(m *Manifest) { m.Contract, m.Format = Map, "elf" }, sandbox.Invalid, "format"},
		"opaque without bits": {func(m *Manifest) { m.Contract, m.Format = Opaque, "elf"; m.Outputs = m.Outputs[1:] }, sandbox.Invalid, "limits"},
	} {
		m, _ := signed(t, nil)
		c.change(m)
		_, err := Decode(m.Encode())
		e, ok := err.(*sandbox.Error)
		if !ok || e.Kind != c.kind || e.Object != c.place || e.Detail == "" {
			t.Errorf("%s: %v", name, err)
		}
	}
	m, _ := signed(t, nil)
	var spaced bytes.Buffer
	if err := json.Indent(&spaced, m.Encode(), "", " "); err != nil {
		t.Fatal(err)
	}
	for name, b := range map[string][]byte{"spaced": spaced.Bytes(), "cut": m.Encode()[:40], "twice": append(m.Encode(), m.Encode()...), "unknown key": []byte(strings.Replace(string(m.Encode()), `{"name"`, `{"shell":"x","name"`, 1)),
		"large": make([]byte, MaxBytes+1), "not UTF-8": {0xff}} {
		if _, err := Decode(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestGraphMatches: a graph that needs or gives what its manifest does not say is refused.
func TestGraphMatches(t *testing.T) {
	g, types := recorded(t)
	for place, change := range map[string]func(*Manifest){
		"inputs":    func(m *Manifest) { m.Inputs[0].Columns = m.Inputs[0].Columns[1:] },
		"operators": func(m *Manifest) { m.Operators = m.Operators[1:] },
		"outputs":   func(m *Manifest) { m.Outputs[0].Columns[0].Name = "others" },
		"name":      func(m *Manifest) { m.Name = "another" },
		"contract":  func(m *Manifest) { m.Contract = Opaque },
	} {
		m, _ := signed(t, nil)
		change(m)
		if e, ok := m.Match(g, types).(*sandbox.Error); !ok || e.Object != place {
			t.Errorf("%s: %v", place, e)
		}
	}
}

func FuzzDecode(f *testing.F) {
	m, _ := signed(f, nil)
	f.Add(m.Encode())
	f.Add([]byte(`{"name":"x"}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if m, err := Decode(b); err == nil && !bytes.Equal(m.Encode(), b) {
			t.Fatal("two encodings")
		}
	})
}

func mapped(t testing.TB) (*Manifest, *sm.SigningKey) {
	d := sm.Sum([]byte("module"))
	m := &Manifest{Name: "visits", Version: "1.0.0", Contract: Map, SDK: mapper.Version, Format: "wasm", Image: d[:], Author: "a", Limits: Limits{MemoryMiB: 512, Seconds: 30}}
	m.DeclareMap(mapper.Declaration{Dataset: "claims", Columns: []mapper.Column{{Name: "fee", Type: "number", Scale: 2}}, Groups: []mapper.Group{{Name: "band", Labels: []string{"low", "high"}}},
		Values: []mapper.Value{{Name: "paid", Of: mapper.Sum, Unit: "元", Max: 100, Step: 10}}, Yields: 1})
	key, err := sm.NewSigningKey(rand.Reader)
	if err == nil {
		err = m.Sign(rand.Reader, key)
	}
	if err != nil {
		t.Fatal(err)
	}
	return m, key
}

// TestMapManifest: a Map's manifest carries its declaration, under its author's signature, and inputs and outputs follow from it.
func TestMapManifest(t *testing.T) {
	m, _ := mapped(t)
	got, err := Decode(m.Encode())
	if err != nil || got.Inputs[0].Columns[0].Scale != 2 || got.Outputs[0].Columns[2].Unit != "元" || got.Outputs[0].Groups[0] != "band" {
		t.Fatalf("%+v %v", got, err)
	}
	if err := got.Says(m.Map.Encode()); err != nil {
		t.Error(err)
	}
	lie := *m.Map
	lie.Yields = 2
	for _, says := range [][]byte{nil, lie.Encode(), append(m.Map.Encode(), ' ')} {
		if sandbox.KindOf(got.Says(says)) != sandbox.Invalid {
			t.Errorf("a module that says %s passes", says)
		}
	}
	for name, c := range map[string]struct {
		change func(*Manifest)
		place  string
	}{
		"none": {func(m *Manifest) { m.Map = nil }, "map"},
		"another's": {func(m *Manifest) {
			m.Contract, m.Format, m.Limits.Bits, m.Outputs[0].Class = Opaque, "elf", 1, sandbox.ClassD
		}, "map"},
		"out of bounds": {func(m *Manifest) { m.Map.Values[0].Step = 7 }, "map"},
		"more input than seen": {func(m *Manifest) {
			m.Inputs[0].Columns = append(m.Inputs[0].Columns, algo.Column{Name: "x", Type: "int"})
		}, "inputs, outputs"},
		"other output":          {func(m *Manifest) { m.Outputs[0].Columns = m.Outputs[0].Columns[1:] }, "inputs, outputs"},
		"operators":             {func(m *Manifest) { m.Operators = []string{"sum"} }, "inputs, outputs"},
		"native":                {func(m *Manifest) { m.Format = "elf" }, "format"},
		"another SDK":           {func(m *Manifest) { m.SDK = "0" }, "sdk"},
		"changed after signing": {func(m *Manifest) { m.Map.Values[0].Max = 200; m.DeclareMap(*m.Map) }, "visits"},
	} {
		m, _ := mapped(t)
		c.change(m)
		_, err := Decode(m.Encode())
		var e *sandbox.Error
		if !errors.As(err, &e) || e.Object != c.place {
			t.Errorf("%s: %v", name, err)
		}
	}
}
