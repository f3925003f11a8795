package query

import (
	"bytes"
	"errors"
	"reflect"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
)

// TestDerivationRoundTrip: another process derives the same from what was encoded, and refuses what the rules in it refuse.
func TestDerivationRoundTrip(t *testing.T) {
	asker := sandbox.Party{ID: "op-1", Role: sandbox.Operator, Name: "op", Affiliates: []sandbox.PartyID{"op-2"}}
	in := data()
	c := in["claims"]
	c.Unit = "u-1"
	in["claims"] = c
	d, reasons := DeriveFor(asker, good(), in, rules())
	if len(reasons) > 0 {
		t.Fatal(reasons)
	}
	b, err := d.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := DecodeDerivation(b)
	if err != nil {
		t.Fatal(err)
	}
	again, err := got.Encode()
	if err != nil || !bytes.Equal(again, b) {
		t.Errorf("a second encoding differs: %v", err)
	}
	got.list, d.list = nil, nil // without the items of other datasets
	if !reflect.DeepEqual(got, d) {
		t.Error("what was decoded is another derivation")
	}
	for name, c := range map[string]struct {
		b    []byte
		kind sandbox.Kind
	}{
		"nothing":              {nil, sandbox.Invalid},
		"two":                  {append(bytes.Clone(b), b...), sandbox.Invalid},
		"an unknown key":       {bytes.Replace(b, []byte(`{"asker"`), []byte(`{"complete":true,"asker"`), 1), sandbox.Invalid},
		"a column not listed":  {bytes.Replace(b, []byte(`"column":"amount","uses"`), []byte(`"column":"gone2","uses"`), 1), sandbox.Denied},
		"the asker's own rows": {bytes.Replace(b, []byte(`"affiliates":["op-2"]`), []byte(`"affiliates":["u-1"]`), 1), sandbox.Denied},
	} {
		if bytes.Equal(c.b, b) {
			t.Fatalf("%s changes nothing", name)
		}
		if d, err := DecodeDerivation(c.b); !errors.Is(err, c.kind) || d.Complete() {
			t.Errorf("%s: %v, want %v", name, err, c.kind)
		}
	}
	if _, err := (Derivation{}).Encode(); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a refused question was encoded: %v", err)
	}
}
