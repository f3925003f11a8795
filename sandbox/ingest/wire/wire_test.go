package wire

import (
	"bytes"
	"crypto/rand"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

func opening(t testing.TB) Opening {
	t.Helper()
	key, err := sm.NewDecryptKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	s := catalog.Schema{Dataset: "ds-1", Subject: "s", Kind: catalog.Opaque, Columns: []catalog.Field{{Name: "s", Type: catalog.Text}, {Name: "n", Type: catalog.Int, Nullable: true}}}.Encode()
	d := sm.Sum(s)
	o, _, err := channel.NewOpening(rand.Reader, key.Public(), channel.Opening{From: "unit-1", To: "domain", Domain: "d", Run: "run-1", Dataset: "ds-1",
		SchemaDigest: d[:], Created: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	return Opening{Stream: o, Plan: d[:], Rows: Skip, Schema: s, Declared: []catalog.Column{{Name: "n", Type: catalog.Int, Nullable: true, Grade: 2}}}
}

func TestOpening(t *testing.T) {
	o := opening(t)
	got, err := ParseOpening(o.Encode())
	if err != nil || !bytes.Equal(got.Encode(), o.Encode()) || o.Same(got) != "" {
		t.Fatalf("%v", err)
	}
	if bare, err := ParseOpening(o.Stream.Encode()); err != nil || bare.Stream.Run != "run-1" || o.Same(bare) != "source plan" {
		t.Errorf("a bare stream: %v", err)
	}
	for name, change := range map[string]func(*Opening){
		"plan":             func(o *Opening) { o.Plan = o.Plan[:31] },
		"mode":             func(o *Opening) { o.Rows = "lax" },
		"another digest":   func(o *Opening) { o.Stream.SchemaDigest = make([]byte, 32) },
		"another dataset":  func(o *Opening) { o.Stream.Dataset = "ds-2" },
		"no such column":   func(o *Opening) { o.Declared[0].Name = "x" },
		"another type":     func(o *Opening) { o.Declared[0].Type = catalog.Text },
		"described twice":  func(o *Opening) { o.Declared = append(o.Declared, o.Declared[0]) },
		"no grade":         func(o *Opening) { o.Declared[0].Grade = 0 },
		"a join key":       func(o *Opening) { o.Declared[0].JoinKey = true },
		"a code list":      func(o *Opening) { o.Declared[0].Public = true },
		"without a schema": func(o *Opening) { o.Schema = nil },
	} {
		o := opening(t)
		change(&o)
		if _, err := ParseOpening(o.Encode()); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestSameKeepsDescriptions: a run that goes on describes its new columns as it began, or the first grade would silently stand.
func TestSameKeepsDescriptions(t *testing.T) {
	o := opening(t)
	stricter := o
	stricter.Declared = []catalog.Column{o.Declared[0]}
	stricter.Declared[0].Grade = 4
	if part := o.Same(stricter); part != "description of a new column" {
		t.Errorf("another grade differs in %q", part)
	}
	stricter.Declared = nil
	if part := o.Same(stricter); part != "" {
		t.Errorf("without descriptions, as after the commit, it differs in %q", part)
	}
}

func TestClosingBoundsUnused(t *testing.T) {
	for name, c := range map[string]struct {
		unused []string
		ok     bool
	}{
		"none":     {nil, true},
		"at bound": {slices.Repeat([]string{strings.Repeat("h", MaxHeader)}, MaxUnused), true},
		"too many": {slices.Repeat([]string{"h"}, MaxUnused+1), false},
		"too long": {[]string{strings.Repeat("h", MaxHeader+1)}, false},
		"empty":    {[]string{""}, false},
	} {
		b, err := Closing{Digest: make([]byte, 32), Unused: c.unused}.Encode()
		if err != nil {
			t.Fatal(err)
		}
		got, err := ParseClosing(b)
		if c.ok && (err != nil || !slices.Equal(got.Unused, c.unused)) || !c.ok && !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func FuzzOpening(f *testing.F) {
	o := opening(f)
	f.Add(o.Encode())
	f.Add(o.Stream.Encode())
	f.Add([]byte(`{"stream":{}}`))
	f.Fuzz(func(t *testing.T, b []byte) {
		if o, err := ParseOpening(b); err == nil && bytes.HasPrefix(b, []byte(`{"stream":`)) && !bytes.Equal(o.Encode(), b) {
			t.Fatal("an opening has two encodings")
		}
	})
}

func FuzzPayload(f *testing.F) {
	c, _ := Closing{Batches: 1, Rows: 2, Digest: make([]byte, 32), Rejected: []Rejection{{Column: "a", Rule: "b", Rows: 1}}}.Encode()
	f.Add(append(AppendHeader(nil, Batch, 1), 1))
	f.Add(append(AppendHeader(nil, Close, 1), c...))
	f.Add(AppendHeader(nil, Abandon, 0))
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParsePayload(b)
		if err != nil {
			return
		}
		if !bytes.Equal(append(AppendHeader(nil, p.Kind, p.Batch), p.Body...), b) {
			t.Fatal("a payload has two encodings")
		}
		if p.Kind == Close {
			if c, err := ParseClosing(p.Body); err == nil && len(AddRejections(nil, c.Rejected...)) > MaxRejections {
				t.Fatal("rejections are bounded")
			}
		}
	})
}
