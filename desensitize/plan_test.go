package desensitize

import (
	"bytes"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

const claimsPlan = `
# one line of comment does not change what is signed
plan: claims-training
version: 2
dataset: claims
owner: unit-medical
purpose: training a model of readmission
columns:
  - {column: person, op: resident-id}
  - {column: name, op: name, width: 2}
  - {column: icd10, op: truncate, length: 3}
  - {column: amount, op: round, to: "100"}
  - {column: day, op: date, to: month}
  - {column: note, op: drop}
  - {column: site, op: pass}
roles:
  - role: agency
    columns:
      - {column: name, op: pass}
`

func parsed(t *testing.T, text string) *Plan {
	t.Helper()
	p, err := Parse("plan.yaml", []byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestParseStrict(t *testing.T) {
	for what, c := range map[string]struct{ text, place string }{
		"unknown field":       {strings.Replace(claimsPlan, "purpose:", "purpos:", 1), "line 7"},
		"unknown step field":  {strings.Replace(claimsPlan, "length: 3", "length: 3, lenght: 3", 1), "line 11"},
		"repeated field":      {strings.Replace(claimsPlan, "version: 2", "version: 2\nversion: 3", 1), "line 5"},
		"wrong type":          {strings.Replace(claimsPlan, "length: 3", "length: three", 1), "line 11"},
		"second document":     {claimsPlan + "---\nplan: b\n", "plan.yaml"},
		"anchor":              {strings.Replace(claimsPlan, "op: drop", "op: &x drop", 1), "line 14"},
		"alias":               {"plan: &a b\nversion: 1\ndataset: *a\n", "line 1"},
		"no version":          {strings.Replace(claimsPlan, "version: 2", "", 1), "plan.yaml"},
		"no columns or roles": {"plan: a\nversion: 1\n", "plan.yaml"},
		"identifier":          {strings.Replace(claimsPlan, "claims-training", "Claims Training", 1), "plan.yaml"},
		"rest":                {claimsPlan + "rest: keep\n", "plan.yaml"},
		"role":                {strings.Replace(claimsPlan, "role: agency", "role: everybody", 1), "plan.yaml"},
		"not YAML":            {"plan: [", "plan.yaml"},
		"empty":               {"", "plan.yaml"},
	} {
		_, err := Parse("plan.yaml", []byte(c.text))
		var e *sandbox.Error
		if !errors.As(err, &e) || e.Kind != sandbox.Invalid || !strings.Contains(e.Object, c.place) {
			t.Errorf("%s: %v", what, err)
		}
	}
	if _, err := Parse("p", make([]byte, MaxPlan+1)); !errors.Is(err, sandbox.TooLarge) {
		t.Errorf("a plan over its bound: %v", err)
	}
}

// TestCanonical: the layout of the YAML does not count, every field does.
func TestCanonical(t *testing.T) {
	p := parsed(t, claimsPlan)
	other := strings.Replace(strings.Replace(claimsPlan, "{column: name, op: name, width: 2}", "op: name\n    width: 2\n    column: name", 1), "version: 2\ndataset: claims", "dataset: claims\nversion: 2", 1)
	if q := parsed(t, other); !bytes.Equal(p.Canonical(), q.Canonical()) {
		t.Error("the same plan in another layout has other bytes")
	}
	for _, change := range [][2]string{{"version: 2", "version: 3"}, {"width: 2", "width: 3"}, {"op: drop", "op: redact"}, {`to: "100"`, `to: "10"`}, {"agency", "insurer"}, {"readmission", "claims"}} {
		if q := parsed(t, strings.Replace(claimsPlan, change[0], change[1], 1)); q.Digest() == p.Digest() {
			t.Errorf("changing %q leaves the digest", change[0])
		}
	}
}

func TestSignature(t *testing.T) {
	key, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := parsed(t, claimsPlan)
	s, err := p.Sign(rand.Reader, key, "medical-officer", time.Date(2026, 3, 1, 9, 0, 0, 0, time.UTC))
	if err != nil {
		t.Fatal(err)
	}
	if err := p.Verify(s, key.Public()); err != nil {
		t.Fatal(err)
	}
	other, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if p.Verify(s, other.Public()) == nil {
		t.Error("another's key verifies")
	}
	for what, change := range map[string]func(s *Signature, p *Plan){
		"plan":    func(_ *Signature, p *Plan) { p.Columns[0].Op = "redact" },
		"version": func(s *Signature, p *Plan) { s.Version, p.Version = 3, 3 },
		"signer":  func(s *Signature, _ *Plan) { s.Signer = "somebody" },
		"time":    func(s *Signature, _ *Plan) { s.At = s.At.Add(time.Second) },
		"digest":  func(s *Signature, _ *Plan) { s.Digest = bytes.Repeat([]byte{1}, 32) },
	} {
		q, x := parsed(t, claimsPlan), s
		change(&x, q)
		if err := q.Verify(x, key.Public()); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("changed %s: %v", what, err)
		}
	}
	// Another kind of statement over the same bytes is none.
	forged := s
	if forged.Signature, err = key.Sign(rand.Reader, "opdomain/other/v1", s.signed()); err != nil {
		t.Fatal(err)
	}
	if p.Verify(forged, key.Public()) == nil {
		t.Error("a signature of another context verifies")
	}
}

func FuzzParse(f *testing.F) {
	f.Add([]byte(claimsPlan))
	f.Add([]byte("plan: a\nversion: 1\nroles: [{role: agency, columns: []}]\n"))
	f.Add([]byte("a: &a [*a]"))
	f.Fuzz(func(t *testing.T, text []byte) {
		p, err := Parse("plan", text)
		if err != nil {
			if strings.Contains(err.Error(), "cannot unmarshal") {
				t.Fatal("the decoder's own text is in the error")
			}
			return
		}
		_ = p.Digest()
		_, _ = Compile(p, p.Described(), Options{})
		_, _ = Compile(p, claims(), Options{})
		_, _ = CompileRoles(p, claims(), Options{})
	})
}
