package attest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

func has(t *testing.T, r *Recorder, entry [sm.Size]byte) bool {
	t.Helper()
	ok, err := r.HasFrom(0, entry)
	if err != nil {
		t.Fatal(err)
	}
	return ok
}

func TestRecorderReadsBackWhatItRecorded(t *testing.T) {
	c := newCast(t)
	r := c.play(t, c.story()[:3])
	i := 0
	for e, err := range r.Events(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Index != uint64(i) || e.Event.Kind != c.story()[i].kind || len(e.Salt) != saltLen || e.Event.Verify(c.domain.Public()) != nil || !has(t, r, e.Entry) {
			t.Errorf("event %d: %+v", i, e.Event.Kind)
		}
		i++
	}
	if i != 3 || r.Log().Size() != 3 || has(t, r, sm.Sum()) {
		t.Errorf("%d events", i)
	}
	e, err := r.Event(1)
	if err != nil {
		t.Fatal(err)
	}
	var b PartyEnrolledBody
	if err := e.Event.Open(&b); err != nil || b.Party.ID != "agency" {
		t.Error(err)
	}
	if err := e.Event.Open(new(GrantIssuedBody)); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a body of another kind was read: %v", err)
	}
	n, err := r.Record(context.Background(), start.Add(time.Hour), DomainActor, "bundle", BundleExported, BundleExportedBody{Audience: "auditor", Size: 3})
	if err != nil || n != 3 {
		t.Error(n, err)
	}
}

// Equal events have entries that differ, and the log's files show nothing of an event.
func TestLogHidesEvents(t *testing.T) {
	c := newCast(t)
	dir := filepath.Join(t.TempDir(), "log")
	log, err := tlog.Create(tlog.Config{Dir: dir, Origin: "opdomain/test", Key: c.domain, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	r, err := NewRecorder(log, c.domain, c.ring, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	body := ClaimRefusedBody{Question: "question-text", Asker: "asker-text", Code: "consent.none"}
	var prepared []Prepared
	for range 2 {
		p, err := r.Prepare(start, "actor-text", "object-text", ClaimRefused, body)
		if err != nil {
			t.Fatal(err)
		}
		prepared = append(prepared, p)
	}
	if prepared[0].Entry == prepared[1].Entry || bytes.Equal(prepared[0].Payload, prepared[1].Payload) {
		t.Error("equal events show as equal")
	}
	stored, err := json.Marshal(prepared)
	if err != nil {
		t.Fatal(err)
	}
	var again []Prepared
	if err := json.Unmarshal(stored, &again); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Append(context.Background(), again...); err != nil {
		t.Fatal(err)
	}
	if err := r.Close(); err != nil {
		t.Fatal(err)
	}
	seen := 0
	err = filepath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		seen++
		b, err := os.ReadFile(name)
		if err != nil {
			return err
		}
		b = append(b, stored...)
		for _, word := range []string{"question-text", "asker-text", "actor-text", "object-text", "consent.none", "claim.refused"} {
			for _, form := range []string{word, hex.EncodeToString([]byte(word)), base64.StdEncoding.EncodeToString([]byte(word))} {
				if bytes.Contains(b, []byte(form)) {
					t.Errorf("%s holds the text of an event", name)
				}
			}
		}
		return nil
	})
	if err != nil || seen < 2 {
		t.Fatal(seen, err)
	}
	if log, err = tlog.Open(tlog.Config{Dir: dir, Origin: "opdomain/test", Key: c.domain, Rand: rand.Reader}); err != nil {
		t.Fatal(err)
	}
	if r, err = NewRecorder(log, c.domain, c.ring, rand.Reader); err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	if e, err := r.Event(1); err != nil || e.Event.Object != "object-text" {
		t.Error(err)
	}
	wrong, err := NewRecorder(log, c.domain, newRing(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := wrong.Event(0); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "entry 0") {
		t.Errorf("another payload key: %v", err)
	}
}

// A payload is not in the tree; it is bound to its entry all the same.
func TestPayloadOfAnotherEntry(t *testing.T) {
	c := newCast(t)
	r := c.play(t, c.story()[:2])
	p, err := r.Prepare(start.Add(time.Hour), DomainActor, "o", BundleExported, BundleExportedBody{})
	if err != nil {
		t.Fatal(err)
	}
	for name, payload := range map[string][]byte{
		"flipped": append(bytes.Clone(p.Payload[:len(p.Payload)-1]), p.Payload[len(p.Payload)-1]^1),
		"cut":     p.Payload[:20],
		"empty":   nil,
	} {
		q := Prepared{Entry: sm.Sum([]byte(name)), Payload: payload}
		at, err := r.Append(context.Background(), q)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := r.Event(at); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var out bytes.Buffer
	if err := r.WriteBundle(context.Background(), &out, "test", "auditor", everything); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a bundle of a changed log: %v", err)
	}
}

func TestPrepareRefuses(t *testing.T) {
	c := newCast(t)
	r := c.play(t, c.story()[:1])
	for name, x := range map[string]struct {
		kind Kind
		body any
		want sandbox.Kind
	}{
		"unknown kind":  {"party.dissolved", struct{}{}, sandbox.Internal},
		"another body":  {GrantIssued, ClaimRefusedBody{Question: "q"}, sandbox.Internal},
		"no JSON":       {GrantIssued, make(chan int), sandbox.Internal},
		"without bound": {IngestRefused, IngestRefusedBody{Rule: strings.Repeat("x", MaxEvent)}, sandbox.TooLarge},
	} {
		if _, err := r.Prepare(start, DomainActor, "o", x.kind, x.body); !errors.Is(err, x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := NewRecorder(r.log, c.domain, &ring{keys: map[string][]byte{IndexAudience: []byte("short")}}, rand.Reader); !errors.Is(err, sandbox.Invalid) {
		t.Error(err)
	}
	// The salt is drawn after the signature; a reader that ends there must not give a predictable salt.
	dry, err := NewRecorder(r.log, c.domain, c.ring, io.MultiReader(io.LimitReader(rand.Reader, 4096), iotest.ErrReader(io.ErrUnexpectedEOF)))
	if err != nil {
		t.Fatal(err)
	}
	for range 200 {
		if _, err = dry.Prepare(start, DomainActor, "o", IngestRefused, IngestRefusedBody{}); err != nil {
			break
		}
	}
	if err == nil {
		t.Error("events were made without randomness")
	}
}

func TestStatementOpens(t *testing.T) {
	c := newCast(t)
	key, pub := c.keys["person-1"], c.keys["person-1"].Public()
	want := Revocation{Consent: "c-1", At: start}
	s, err := Sign(rand.Reader, key, "person-1", ContextRevocation, want)
	if err != nil {
		t.Fatal(err)
	}
	var got Revocation
	if err := s.Open(pub, ContextRevocation, &got); err != nil || got != want {
		t.Fatal(got, err)
	}
	resigned := func(body string) Statement {
		sig, err := key.Sign(rand.Reader, ContextRevocation, []byte(body))
		if err != nil {
			t.Fatal(err)
		}
		return Statement{Context: ContextRevocation, Signer: "person-1", Body: []byte(body), Signature: sig}
	}
	relabelled, changed := s, s
	relabelled.Context = ContextConsent
	changed.Body = bytes.Replace(s.Body, []byte("c-1"), []byte("c-2"), 1)
	for name, x := range map[string]struct {
		s       Statement
		context string
		key     *sm.VerifyKey
		want    sandbox.Kind
	}{
		"another context":      {s, ContextConsent, pub, sandbox.Tampered},
		"label of another":     {relabelled, ContextRevocation, pub, sandbox.Tampered},
		"relabelled":           {relabelled, ContextConsent, pub, sandbox.Tampered},
		"changed":              {changed, ContextRevocation, pub, sandbox.Tampered},
		"another key":          {s, ContextRevocation, c.domain.Public(), sandbox.Tampered},
		"unknown field":        {resigned(`{"consent":"c-1","at":"2026-01-01T00:00:00Z","more":1}`), ContextRevocation, pub, sandbox.Invalid},
		"something behind":     {resigned(`{"consent":"c-1","at":"2026-01-01T00:00:00Z"}{}`), ContextRevocation, pub, sandbox.Invalid},
		"not JSON":             {resigned(`consent`), ContextRevocation, pub, sandbox.Invalid},
		"more than it may say": {resigned(strings.Repeat(" ", MaxStatement+1)), ContextRevocation, pub, sandbox.TooLarge},
	} {
		if err := x.s.Open(x.key, x.context, new(Revocation)); !errors.Is(err, x.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
	a, b := ClaimCommitment([]byte("salt-salt-salt-1"), "CL-1"), ClaimCommitment([]byte("salt-salt-salt-1C"), "L-1")
	if len(a) != sm.Size || bytes.Equal(a, b) {
		t.Error("a commitment does not keep salt and number apart")
	}
}

func FuzzStatement(f *testing.F) {
	c := newCast(f)
	for _, s := range c.story() {
		if b, err := json.Marshal(s.body); err == nil && s.context != "" {
			f.Add(b)
		}
	}
	key := c.keys["person-1"]
	f.Fuzz(func(t *testing.T, body []byte) {
		sig, err := key.Sign(rand.Reader, ContextVote, body)
		if err != nil {
			t.Fatal(err)
		}
		s := Statement{Context: ContextVote, Signer: "person-1", Body: body, Signature: sig}
		if err := s.Open(key.Public(), ContextVote, new(Vote)); err != nil && !errors.Is(err, sandbox.Invalid) && !errors.Is(err, sandbox.TooLarge) {
			t.Fatal(err)
		}
	})
}
