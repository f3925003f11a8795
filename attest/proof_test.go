package attest

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

// cosign has witnesses sign the log's checkpoint and keeps the note beside it.
func (c *cast) cosign(t testing.TB, r *Recorder, names ...string) tlog.Note {
	t.Helper()
	n := tlog.Note{Checkpoint: r.log.Checkpoint()}
	for i, name := range names {
		s, err := n.Cosign(name, c.witness(t, name), start.Add(time.Duration(i)*time.Hour), rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		n.Cosignatures = append(n.Cosignatures, s)
	}
	if err := r.log.SetWitnessed(n); err != nil {
		t.Fatal(err)
	}
	return n
}

// witness gives the key of a witness.
func (c *cast) witness(t testing.TB, name string) *sm.SigningKey {
	t.Helper()
	id := sandbox.IdentityID("witness/" + name)
	if c.keys[id] == nil {
		k, err := sm.NewSigningKey(rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		c.keys[id] = k
	}
	return c.keys[id]
}

// more appends n events behind a story.
func more(t testing.TB, r *Recorder, n int) {
	t.Helper()
	for range n {
		if _, err := r.Record(context.Background(), start.Add(24*time.Hour), DomainActor, "o", BundleExported, BundleExportedBody{Audience: "auditor"}); err != nil {
			t.Fatal(err)
		}
	}
}

func encoded(t testing.TB, p interface{ Encode() ([]byte, error) }, err error) []byte {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	b, err := p.Encode()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func TestProofOfEveryEntry(t *testing.T) {
	c := newCast(t)
	r := c.play(t, c.story())
	witnessed := c.cosign(t, r, "agency", "unit")
	more(t, r, 3)
	last := r.log.Checkpoint()
	for i := range last.Size {
		for _, visible := range []bool{false, true} {
			p, err := r.Prove(i, visible)
			b := encoded(t, p, err)
			rep, err := VerifyProof(b, c.domain.Public())
			if err != nil {
				t.Fatalf("entry %d: %v", i, err)
			}
			h, err := r.hash(i)
			if err != nil || !bytes.Equal(rep.Entry, h[:]) || rep.Index != i || (rep.Event != nil) != visible || rep.Fingerprint != c.domain.Public().Fingerprint() {
				t.Errorf("entry %d: %+v, %v", i, rep, err)
			}
			want := witnessed.Size
			if i >= want {
				want = last.Size
			}
			if rep.Size != want || (len(rep.Note.Cosignatures) == 2) != (want == witnessed.Size) {
				t.Errorf("entry %d: under a checkpoint of %d with %d co-signatures", i, rep.Size, len(rep.Note.Cosignatures))
			}
			if visible && (rep.Event.Verify(c.domain.Public()) != nil || i < witnessed.Size && rep.Event.Kind != c.story()[i].kind) {
				t.Errorf("entry %d: another event", i)
			}
		}
	}
	p, err := r.Prove(3, false)
	rep, err := VerifyProof(encoded(t, p, err), nil)
	if err != nil {
		t.Fatal(err)
	}
	policy := tlog.Policy{Log: c.domain.Public(), Quorum: 2, Witnesses: []tlog.WitnessKey{{Name: "agency", Key: c.witness(t, "agency").Public()}, {Name: "unit", Key: c.witness(t, "unit").Public()}}}
	if names, _, err := policy.Verify(rep.Note); err != nil || len(names) != 2 {
		t.Error(names, err)
	}
	if _, err := r.Prove(last.Size, false); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("behind the end: %v", err)
	}
	if err := r.Erase(context.Background(), start.Add(48*time.Hour), DomainActor, "retention", 9); err != nil {
		t.Fatal(err)
	}
	if _, err := r.Prove(9, true); !errors.Is(err, sandbox.Expired) {
		t.Errorf("the event of an erased entry: %v", err)
	}
	p, err = r.Prove(9, false)
	if _, err := VerifyProof(encoded(t, p, err), nil); err != nil {
		t.Errorf("an erased entry: %v", err)
	}
}

func TestProofOfAnOnlyEntry(t *testing.T) {
	c := newCast(t)
	r := c.play(t, c.story()[:1])
	p, err := r.Prove(0, true)
	if rep, err := VerifyProof(encoded(t, p, err), c.domain.Public()); err != nil || rep.Size != 1 || rep.Event.Kind != DomainCreated {
		t.Errorf("%+v, %v", rep, err)
	}
}

func TestEveryChangedProofByteIsRejected(t *testing.T) {
	c := newCast(t)
	r := c.play(t, c.story()[:6])
	old := r.log.Checkpoint()
	more(t, r, 3)
	c.cosign(t, r, "agency", "unit")
	p, err := r.Prove(4, true)
	entry := encoded(t, p, err)
	p, err = r.Prove(4, false)
	hidden := encoded(t, p, err)
	g, err := r.ProveGrowth(old)
	growth := encoded(t, g, err)
	for name, x := range map[string]struct {
		b     []byte
		check func([]byte) error
	}{
		"visible": {entry, func(b []byte) error { _, err := VerifyProof(b, nil); return err }},
		"hidden":  {hidden, func(b []byte) error { _, err := VerifyProof(b, nil); return err }},
		"growth":  {growth, func(b []byte) error { _, err := VerifyGrowth(b, nil, old.String()); return err }},
	} {
		if err := x.check(x.b); err != nil {
			t.Fatal(name, err)
		}
		for i := range x.b {
			for _, mask := range []byte{0x01, 0x20, 0x80} {
				changed := bytes.Clone(x.b)
				changed[i] ^= mask
				var e *sandbox.Error
				if err := x.check(changed); !errors.As(err, &e) || e.Kind != sandbox.Tampered || e.Object == "" || e.Detail == "" {
					t.Fatalf("%s: byte %d, mask %#x: %v", name, i, mask, err)
				}
			}
			if err := x.check(x.b[:i]); !errors.Is(err, sandbox.Tampered) {
				t.Fatalf("%s: cut at %d: %v", name, i, err)
			}
		}
		for _, behind := range []string{"\n", "x", "{}\n"} {
			if err := x.check(append(bytes.Clone(x.b), behind...)); !errors.Is(err, sandbox.Tampered) {
				t.Errorf("%s: %q behind it: %v", name, behind, err)
			}
		}
		if err := x.check(bytes.Repeat([]byte{' '}, MaxProof+1)); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "1 MiB") {
			t.Errorf("%s: without bound: %v", name, err)
		}
	}
}

// Faults that the domain itself signed.
func TestForgedProofs(t *testing.T) {
	c := newCast(t)
	r := c.play(t, c.story()[:9])
	good, err := r.Prove(4, true)
	if err != nil {
		t.Fatal(err)
	}
	other, err := r.Prove(5, true)
	if err != nil {
		t.Fatal(err)
	}
	elsewhere := newCast(t)
	foreign, err := elsewhere.play(t, c.story()[:9]).Prove(4, true)
	if err != nil {
		t.Fatal(err)
	}
	relabel := func(p *Proof, from, to string) {
		p.Event = json.RawMessage(strings.Replace(string(p.Event), from, to, 1))
	}
	for name, x := range map[string]struct {
		change func(*Proof)
		want   string
	}{
		"format":           {func(p *Proof) { p.Format = "opdomain-proof/2" }, "format: tampered"},
		"origin":           {func(p *Proof) { p.Origin = "opdomain/other" }, "signed by the domain for this log"},
		"no key":           {func(p *Proof) { p.SignKey = nil }, "an SM2 signing key"},
		"another key":      {func(p *Proof) { p.SignKey = c.keys["op-officer"].Public().Bytes() }, "signed by another key"},
		"another index":    {func(p *Proof) { p.Index = 5 }, "entry 5: tampered: the path"},
		"another entry":    {func(p *Proof) { p.Entry = other.Entry }, "the path leads"},
		"short entry":      {func(p *Proof) { p.Entry = p.Entry[:31] }, "the path leads"},
		"another path":     {func(p *Proof) { p.Path = other.Path }, "the path leads"},
		"short hash":       {func(p *Proof) { p.Path = append([][]byte{{1}}, p.Path[1:]...) }, "path: tampered"},
		"long path":        {func(p *Proof) { p.Path = make([][]byte, 129) }, "path: tampered"},
		"checkpoint":       {func(p *Proof) { p.Checkpoint = foreign.Checkpoint }, "checkpoint: tampered"},
		"another event":    {func(p *Proof) { p.Salt, p.Event = other.Salt, other.Event }, "the event is the one"},
		"salt alone":       {func(p *Proof) { p.Event = nil }, "the event is the one"},
		"event alone":      {func(p *Proof) { p.Salt = nil }, "the event is the one"},
		"changed event":    {func(p *Proof) { relabel(p, "unit-civil", "unit-civic") }, "the event is the one"},
		"hidden afterward": {func(p *Proof) { p.Salt, p.Event = nil, nil; p.Signature = good.Signature }, "signature: tampered"},
	} {
		p := good
		x.change(&p)
		if name != "hidden afterward" {
			p.Signature = nil
			msg, err := json.Marshal(p)
			if err != nil {
				t.Fatal(err)
			}
			if p.Signature, err = c.domain.Sign(rand.Reader, ContextProof, msg); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := VerifyProof(encoded(t, p, nil), c.domain.Public()); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: want %q, got %v", name, x.want, err)
		}
	}
	if _, err := VerifyProof(encoded(t, foreign, nil), c.domain.Public()); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("another domain's proof: %v", err)
	}
}

// An entry that hides what the domain did not sign, or not in one encoding, has an inclusion proof and is no proof.
func TestProofOfAForgedEvent(t *testing.T) {
	c := newCast(t)
	r := c.play(t, c.story()[:3])
	e, err := r.Event(1)
	if err != nil {
		t.Fatal(err)
	}
	salt := bytes.Repeat([]byte{7}, saltLen)
	for name, x := range map[string]struct{ text, want string }{
		"unsigned": {strings.Replace(string(e.Text), "agency", "agenzy", 1), "the domain signed the event"},
		"kind":     {strings.Replace(string(e.Text), "party.enrolled", "party.enrolle!", 1), "the fields of its kind"},
		"encoding": {strings.Replace(string(e.Text), `"actor":"domain","object"`, `"actor":"dom\u0061in","object"`, 1), "one encoding"},
	} {
		if x.text == string(e.Text) {
			t.Fatal(name, "nothing was changed")
		}
		names, keys, err := r.audienceKeys(nil)
		if err != nil {
			t.Fatal(err)
		}
		index, err := c.ring.AudienceKey(IndexAudience)
		if err != nil {
			t.Fatal(err)
		}
		entry := sm.HMAC(salt, []byte(x.text))
		stored, err := sealPayload(rand.Reader, entry, append(bytes.Clone(salt), x.text...), names, keys, index)
		if err != nil {
			t.Fatal(err)
		}
		i, err := r.Append(context.Background(), Prepared{Entry: entry, Payload: stored})
		if err != nil {
			t.Fatal(err)
		}
		p, err := r.Prove(i, true)
		if _, err := VerifyProof(encoded(t, p, err), nil); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), x.want) {
			t.Errorf("%s: want %q, got %v", name, x.want, err)
		}
	}
}

func TestGrowth(t *testing.T) {
	c := newCast(t)
	r := c.play(t, c.story()[:1])
	var kept []string
	for range 12 {
		kept = append(kept, r.log.Checkpoint().String())
		more(t, r, 1)
	}
	kept = append(kept, c.cosign(t, r, "agency").String())
	for _, old := range kept {
		n, err := tlog.ParseNote(old)
		if err != nil {
			t.Fatal(err)
		}
		g, err := r.ProveGrowth(n.Checkpoint)
		b := encoded(t, g, err)
		rep, err := VerifyGrowth(b, c.domain.Public(), old)
		if err != nil || rep.From != n.Size || rep.Size != r.log.Size() || len(rep.Note.Cosignatures) != 1 {
			t.Errorf("from %d: %+v, %v", n.Size, rep, err)
		}
		for _, another := range kept {
			if _, err := VerifyGrowth(b, nil, another); (err == nil) != (another == old) || err != nil && !strings.Contains(err.Error(), "the proof starts from") {
				t.Errorf("from %d with another checkpoint: %v", n.Size, err)
			}
		}
		if _, err := VerifyGrowth(b, c.keys["op-officer"].Public(), old); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("another key: %v", err)
		}
	}
	// A fork: the same domain, the same size, another tree.
	fork := c.play(t, c.story()[:5])
	if _, err := r.ProveGrowth(fork.log.Checkpoint()); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "another root") {
		t.Errorf("a fork: %v", err)
	}
	g, err := r.ProveGrowth(mustCheckpoint(t, kept[4]))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := VerifyGrowth(encoded(t, g, nil), nil, fork.log.Checkpoint().String()); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "prefix") {
		t.Errorf("a kept fork: %v", err)
	}
	if _, err := fork.ProveGrowth(r.log.Checkpoint()); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "shorter") {
		t.Errorf("a log put back: %v", err)
	}
	// Another log of the same domain with the same entries.
	twin, err := tlog.Create(tlog.Config{Dir: filepath.Join(t.TempDir(), "twin"), Origin: "opdomain/twin", Key: c.domain, Rand: rand.Reader})
	if err != nil {
		t.Fatal(err)
	}
	defer twin.Close()
	for i := range uint64(5) {
		rec, err := r.log.Read(i)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := twin.Append(context.Background(), rec); err != nil {
			t.Fatal(err)
		}
	}
	if twin.Checkpoint().Root != mustCheckpoint(t, kept[4]).Root {
		t.Fatal("the twin differs")
	}
	if _, err := VerifyGrowth(encoded(t, g, nil), nil, twin.Checkpoint().String()); !errors.Is(err, sandbox.Tampered) || !strings.Contains(err.Error(), "for the same log") {
		t.Errorf("a checkpoint of another log: %v", err)
	}
	stranger := newCast(t)
	if _, err := r.ProveGrowth(stranger.play(t, stranger.story()[:1]).log.Checkpoint()); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("another log's: %v", err)
	}
	if _, err := r.ProveGrowth(tlog.Checkpoint{}); !errors.Is(err, sandbox.Invalid) {
		t.Error(err)
	}
}

func mustCheckpoint(t testing.TB, text string) tlog.Checkpoint {
	t.Helper()
	c, err := tlog.ParseCheckpoint(text)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// The proofs in testdata were written once, under keys that are gone: what was accepted stays accepted.
func TestKeptProofs(t *testing.T) {
	old := string(readBundle(t, "growth.checkpoint"))
	for name, visible := range map[string]bool{"visible.proof": true, "hidden.proof": false} {
		if rep, err := VerifyProof(readBundle(t, name), nil); err != nil || (rep.Event != nil) != visible || len(rep.Note.Cosignatures) != 1 {
			t.Errorf("%s: %+v, %v", name, rep, err)
		}
	}
	if rep, err := VerifyGrowth(readBundle(t, "growth.proof"), nil, old); err != nil || rep.From != 5 || rep.Size != 7 {
		t.Errorf("%+v, %v", rep, err)
	}
}

func FuzzVerifyProof(f *testing.F) {
	old := string(readBundle(f, "growth.checkpoint"))
	accepted := map[string]bool{}
	for _, name := range []string{"visible.proof", "hidden.proof", "growth.proof"} {
		b := readBundle(f, name)
		accepted[string(b)] = true
		f.Add(b)
		f.Add(b[:len(b)/2])
	}
	f.Add([]byte(`{"format":"opdomain-proof/1","i":18446744073709551615,"path":[null]}` + "\n"))
	f.Add([]byte("null\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, err1 := VerifyProof(in, nil)
		_, err2 := VerifyGrowth(in, nil, old)
		for _, err := range []error{err1, err2} {
			if err == nil && !accepted[string(in)] {
				t.Fatal("accepted what the domain did not sign")
			}
			if err != nil && !errors.Is(err, sandbox.Tampered) {
				t.Fatal(err)
			}
		}
	})
}
