package tlog

import (
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

var start = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func TestPolicy(t *testing.T) {
	l := inMemory(t)
	if _, err := l.Append(context.Background(), records(0, 5)...); err != nil {
		t.Fatal(err)
	}
	cp := l.Checkpoint()
	a, b, stranger := newKey(t), newKey(t), newKey(t)
	p := Policy{Log: l.Key(), Witnesses: []WitnessKey{{"agency", a.Public()}, {"unit", b.Public()}}, Quorum: 2}
	first, err := cp.Cosign("agency", a, start.Add(1500*time.Millisecond), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	second, err := cp.Cosign("unit", b, start.Add(time.Hour), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	forged, err := cp.Cosign("unit", stranger, start.Add(2*time.Hour), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	late := second
	late.Time = late.Time.Add(time.Hour) // the time is signed
	for name, c := range map[string]struct {
		with []Cosignature
		ok   bool
	}{
		"both":                    {[]Cosignature{first, second}, true},
		"one":                     {[]Cosignature{first}, false},
		"none":                    {nil, false},
		"another key":             {[]Cosignature{first, forged}, false},
		"time changed":            {[]Cosignature{first, late}, false},
		"the wrong one beside it": {[]Cosignature{first, second, {Name: "x"}}, true},
	} {
		n := Note{Checkpoint: cp, Cosignatures: c.with}
		names, newest, err := p.Verify(n)
		if (err == nil) != c.ok {
			t.Errorf("%s: %v %v", name, names, err)
		}
		if c.ok && (len(names) != 2 || !newest.Equal(start.Add(time.Hour))) {
			t.Errorf("%s: %v at %s", name, names, newest)
		}
	}
	n := Note{Checkpoint: cp, Cosignatures: []Cosignature{first, second}}
	back, err := ParseNote(n.String())
	if err != nil || back.String() != n.String() {
		t.Fatalf("%v", err)
	}
	if _, err := ParseNote(n.String() + first.String()); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a witness that signs twice: %v", err)
	}
	if _, err := ParseNote(strings.Replace(n.String(), "agency", "agent", 1)); err == nil {
		if _, _, err := p.Verify(back); err != nil {
			t.Error(err)
		}
	}
	other := inMemory(t)
	if _, _, err := p.Verify(Note{Checkpoint: other.Checkpoint(), Cosignatures: n.Cosignatures}); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("the checkpoint of another key: %v", err)
	}

	if _, ok, err := l.Witnessed(); ok || err != nil {
		t.Errorf("witnessed before: %v %v", ok, err)
	}
	if err := l.SetWitnessed(back); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Append(context.Background(), record(9)); err != nil {
		t.Fatal(err)
	}
	later := Note{Checkpoint: l.Checkpoint()}
	if err := l.SetWitnessed(later); err != nil {
		t.Fatal(err)
	}
	if err := l.SetWitnessed(back); err != nil { // an answer that came late does not undo a newer one
		t.Fatal(err)
	}
	if got, ok, err := l.Witnessed(); !ok || err != nil || got.Size != 6 {
		t.Errorf("%d %v %v", got.Size, ok, err)
	}
	fork := inMemory(t)
	if _, err := fork.Append(context.Background(), record(77)); err != nil {
		t.Fatal(err)
	}
	if err := l.SetWitnessed(Note{Checkpoint: fork.Checkpoint()}); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("the checkpoint of a fork: %v", err)
	}
}
