package attest

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"strings"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// An audience's key opens its events and no others, offline, and a payload shows no audience and not how many.
func TestPayloadOpensForItsAudiencesOnly(t *testing.T) {
	c := newCast(t)
	r := c.play(t, c.story()[:1])
	for n, want := range map[int]int{1: 1, 2: 2, 3: 4, 5: 8, 8: 8} {
		names := []string{"party/a", "party/b", "party/c", "party/d", "party/e", "party/f", "party/g", "subject/h"}[:n]
		p, err := r.Prepare(start, DomainActor, "o", BundleExported, BundleExportedBody{}, names...)
		if err != nil {
			t.Fatal(err)
		}
		if int(p.Payload[1]) != want || bytes.Contains(p.Payload, []byte("party/")) {
			t.Errorf("%d audiences: %d wraps", n, p.Payload[1])
		}
		for _, a := range append(names, BaseAudience, "party/x") {
			k, err := c.ring.AudienceKey(a)
			if err != nil {
				t.Fatal(err)
			}
			e, err := OpenPayload(p.Entry, p.Payload, a, k)
			if mine := a != BaseAudience && a != "party/x"; mine && (err != nil || e.Event.Kind != BundleExported) || !mine && !errors.Is(err, sandbox.NotFound) {
				t.Errorf("%d audiences: %v", n, err)
			}
		}
	}
	for _, names := range [][]string{{"party/a/b"}, {"Party"}, {"party/"}, {IndexAudience}, {"a", "b", "c", "d", "e", "f", "g", "h", "i"}} {
		if _, err := r.Prepare(start, DomainActor, "o", BundleExported, BundleExportedBody{}, names...); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%d names: %v", len(names), err)
		}
	}
}

func TestEveryChangedPayloadByteIsFound(t *testing.T) {
	c := newCast(t)
	r := c.play(t, c.story()[:1])
	p, err := r.Prepare(start, DomainActor, "o", BundleExported, BundleExportedBody{}, "party/a", "party/b", "party/c")
	if err != nil {
		t.Fatal(err)
	}
	k, err := c.ring.AudienceKey("party/a")
	if err != nil {
		t.Fatal(err)
	}
	for i := range p.Payload {
		b := bytes.Clone(p.Payload)
		b[i] ^= 1
		if _, err := OpenPayload(p.Entry, b, "party/a", k); !errors.Is(err, sandbox.Tampered) && !errors.Is(err, sandbox.NotFound) {
			t.Fatalf("byte %d: %v", i, err)
		}
		if _, err := OpenPayload(p.Entry, p.Payload[:i], "party/a", k); err == nil {
			t.Fatalf("cut at %d", i)
		}
	}
}

// When the last audience's key is destroyed the event is erased, and the bundle carries its hash, marked.
func TestDestroyedAudiences(t *testing.T) {
	c := newCast(t)
	s := c.story()
	s[find(t, s, "no consent")].to = []string{"subject/person", "party/insurer"}
	at := uint64(find(t, s, "no consent"))
	r := c.play(t, s)
	c.ring.destroy("subject/person")
	if _, err := r.Event(at); err != nil {
		t.Fatal(err)
	}
	c.ring.destroy("party/insurer")
	if _, err := r.Event(at); !errors.Is(err, sandbox.Expired) {
		t.Fatal(err)
	}
	// Nothing else is hidden and nothing in the log says why the event is gone: the bundle is refused.
	if _, err := verify(bundle(t, r, everything)); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "erasure: an erased entry is named") {
		t.Fatal(err)
	}
	p, err := r.prepareErased(start.Add(99999999999999), DomainActor, "order 1", []uint64{at})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := r.Append(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	rep, err := verify(bundle(t, r, everything))
	if err != nil || rep.Checks["erasure"] == 0 || rep.NotChecked["erasure"] != 0 {
		t.Errorf("%+v, %v", rep.Checks, err)
	}
	b := bundle(t, r, func(e Event) bool { return e.Kind != EvidenceErased })
	if bytes.Contains(b, []byte(`"erased":true`)) {
		t.Error("what was erased together shows to who may not see the erasure")
	}
	if _, err := verify(b); err != nil {
		t.Error(err)
	}
	// An event that names what is in sight.
	if p, err = r.prepareErased(start.Add(99999999999999), DomainActor, "order 1", []uint64{5}); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Append(context.Background(), p); err != nil {
		t.Fatal(err)
	}
	if _, err := verify(bundle(t, r, everything)); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "every entry it names is erased") {
		t.Error(err)
	}
	if _, err := r.EraseFor(context.Background(), start, DomainActor, "order 1", 0); !errors.Is(err, sandbox.Invalid) {
		t.Error(err)
	}
}

func FuzzOpenPayload(f *testing.F) {
	entry, key := sm.Sum(), make([]byte, sm.KeySize)
	b, err := sealPayload(rand.Reader, entry, make([]byte, 64), []string{"a"}, [][]byte{key}, key)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(b)
	f.Add([]byte{1, 8})
	f.Fuzz(func(t *testing.T, in []byte) {
		if _, err := OpenPayload(entry, in, "a", key); err == nil {
			t.Fatal("opened what no entry hides")
		}
	})
}

func BenchmarkPrepare(b *testing.B) {
	c := newCast(b)
	r := c.play(b, c.story()[:1])
	body := QuestionDecidedBody{Question: "q-1", Scenario: "sc-1", Asker: "op-officer", Spec: digest("q1"), Allow: true, Class: sandbox.ClassA, Policy: "p/1"}
	for b.Loop() {
		if _, err := r.Prepare(start, DomainActor, "question/q-1", QuestionDecided, body, BaseAudience, "party/operator"); err != nil {
			b.Fatal(err)
		}
	}
}
