package manifest

import (
	"bytes"
	"crypto/rand"
	"errors"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/opaque"
)

func opaqueManifest() *Manifest {
	digest := sm.Sum([]byte("image"))
	m := &Manifest{Name: "map", Version: "1.0.0", Contract: Opaque, SDK: opaque.Version, Format: "elf", Image: digest[:], Author: "a", Limits: Limits{MemoryMiB: 64, Seconds: 5, Bits: 99}}
	m.DeclareOpaque(opaque.Declaration{Input: "firms", Columns: []opaque.Column{{Name: "x", Type: "int"}, {Name: "share", Type: "number", Scale: 3}},
		Chart: &opaque.Chart{Name: "map", Labels: []opaque.Label{{Name: "kind", Of: []string{"a", "b"}}}, Values: []opaque.Value{{Name: "n", Max: 10, Step: 1}}, Rows: 2}})
	return m
}

func TestOpaqueManifest(t *testing.T) {
	m := opaqueManifest()
	key, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if err := m.Sign(rand.Reader, key); err != nil {
		t.Fatal(err)
	}
	again, err := Decode(m.Encode())
	if err != nil || !bytes.Equal(again.Encode(), m.Encode()) || again.Outputs[0].Class != sandbox.ClassF {
		t.Fatalf("%+v %v", again, err)
	}
	model := opaqueManifest()
	model.DeclareOpaque(opaque.Declaration{Input: "firms", Columns: model.Opaque.Columns, Model: &opaque.Model{Form: []byte(`{"kind":"linear"}`)}})
	if err := model.Validate(); err != nil || model.Outputs[0].Class != sandbox.ClassD {
		t.Errorf("%v", err)
	}
	for name, breaks := range map[string]func(*Manifest){
		"no declaration":            func(m *Manifest) { m.Opaque = nil },
		"another input":             func(m *Manifest) { m.Inputs[0].Columns[0].Name = "y" },
		"another class":             func(m *Manifest) { m.Outputs[0].Class = sandbox.ClassD },
		"another output":            func(m *Manifest) { m.Outputs[0].Columns = m.Outputs[0].Columns[:1] },
		"operators":                 func(m *Manifest) { m.Operators = []string{"sum"} },
		"a declaration out of form": func(m *Manifest) { m.Opaque.Chart.Rows = 3 },
		"another SDK":               func(m *Manifest) { m.SDK += "0" },
		"of a map": func(m *Manifest) {
			m.Contract, m.Format, m.Limits.Bits, m.Outputs[0].Class = Map, "wasm", 0, sandbox.ClassA
		},
	} {
		m := opaqueManifest()
		breaks(m)
		if err := m.Validate(); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSDKOfItsContract: a manifest is held to the SDK of its own contract, whatever version another's has.
func TestSDKOfItsContract(t *testing.T) {
	for c, was := range sdks {
		sdks[c] = was + "9"
		m := opaqueManifest()
		if err := m.Validate(); (c == Opaque) != errors.Is(err, sandbox.Invalid) {
			t.Errorf("another version of the SDK of contract %s: %v", c, err)
		}
		m.SDK = sdks[Opaque]
		if err := m.Validate(); err != nil {
			t.Errorf("its own version: %v", err)
		}
		sdks[c] = was
	}
}
