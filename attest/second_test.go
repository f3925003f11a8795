package attest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"errors"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest/internal/second"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// agree fails when the two verifiers do not both accept or both reject.
func agree(t interface{ Fatalf(string, ...any) }, name string, b []byte, pin *sm.VerifyKey) bool {
	_, first := VerifyBundle(bytes.NewReader(b), pin)
	other := second.Bundle(b, pin)
	if (first == nil) != (other == nil) {
		t.Fatalf("%s: the verifiers disagree: first %v, second %v", name, first, other)
	}
	return first == nil
}

func TestSecondVerifierAgrees(t *testing.T) {
	c := newCast(t)
	for _, name := range []string{"small.bundle", "whole.bundle"} {
		if !agree(t, name, readBundle(t, name), nil) || agree(t, name, readBundle(t, name), c.domain.Public()) {
			t.Errorf("%s", name)
		}
	}
	r := c.play(t, append(c.story(), step{kind: WitnessesSet, actor: DomainActor, body: c.witnesses(t, 2, "agency", "unit"), minute: 60}))
	c.cosign(t, r, "agency", "unit", "stranger")
	more(t, r, 3)
	if err := r.Erase(t.Context(), start.AddDate(0, 0, 9), DomainActor, "retention", 9, 10); err != nil {
		t.Fatal(err)
	}
	for name, visible := range map[string]func(Event) bool{"everything": everything, "nothing": func(Event) bool { return false },
		"half": func(e Event) bool { return len(e.Kind)%2 == 0 }} {
		if !agree(t, name, bundle(t, r, visible), c.domain.Public()) {
			t.Errorf("%s is rejected", name)
		}
	}
}

// Random changes of the bytes, and of the lines with check values and the bundle's signature made anew by the domain: the two
// verifiers find the same faults. What is changed is what both check; rules between events are the first one's alone.
func TestSecondVerifierAgreesOnMutations(t *testing.T) {
	c := newCast(t)
	s := append(c.story()[:4:4], step{kind: WitnessesSet, actor: DomainActor, body: c.witnesses(t, 2, "agency", "unit"), minute: 60})
	r := c.play(t, s)
	half := c.cosign(t, r, "agency")
	note := c.cosign(t, r, "agency", "unit", "stranger")
	more(t, r, 2)
	whole := bundle(t, r, everything)
	fork := c.cosign(t, c.play(t, s[:3]), "agency").String()
	long := c.play(t, s)
	more(t, long, 6)
	larger := c.cosign(t, long, "agency").String()
	forged := note
	forged.Cosignatures = append(forged.Cosignatures[:0:0], note.Cosignatures...)
	var err error
	if forged.Cosignatures[0], err = note.Cosign("agency", c.domain, start, rand.Reader); err != nil {
		t.Fatal(err)
	}
	notes := []string{c.signed(t, "opdomain/twin", half.Size, half.Root), "", note.String(), half.String(), fork, larger, forged.String(), note.String() + "\n", r.log.Checkpoint().String()}
	lines := bytes.SplitAfter(whole, []byte{'\n'})
	lines = lines[:len(lines)-1]
	var head bundleHeader
	if err := json.Unmarshal(lines[0], &head); err != nil {
		t.Fatal(err)
	}
	mutated, accepted := 0, 0
	check := func(rt *rapid.T) {
		var b []byte
		if rapid.Bool().Draw(rt, "bytes") {
			b = bytes.Clone(whole)
			at := rapid.IntRange(0, len(b)-1).Draw(rt, "at")
			switch rapid.IntRange(0, 4).Draw(rt, "how") {
			case 0:
				b[at] ^= byte(rapid.IntRange(1, 255).Draw(rt, "mask"))
			case 1:
				b = append(b[:at], b[at+1:]...)
			case 2:
				b = append(b[:at], append([]byte{rapid.Byte().Draw(rt, "more")}, b[at:]...)...)
			case 3:
				b = b[:at]
			case 4:
				to := rapid.IntRange(0, len(b)-1).Draw(rt, "to")
				b[at], b[to] = b[to], b[at]
			}
		} else {
			h := head
			es := make([]bundleEntry, len(lines)-2)
			for i := range es {
				if err := json.Unmarshal(lines[i+1], &es[i]); err != nil {
					rt.Fatal(err)
				}
			}
			i := rapid.IntRange(0, len(es)-1).Draw(rt, "entry")
			bit := rapid.IntRange(0, 255).Draw(rt, "bit")
			switch rapid.IntRange(0, 13).Draw(rt, "what") {
			case 0:
				h.Witnessed = rapid.SampledFrom(notes).Draw(rt, "note")
			case 1:
				es[i].Entry[bit/8] ^= 1 << (bit % 8)
			case 2:
				es[i].Salt[bit/8] ^= 1 << (bit % 8)
			case 3:
				es[i].Salt = nil
			case 4:
				es[i].Event = nil
			case 5:
				es[i].Gone = true
			case 6:
				es[i].Index++
			case 7:
				es = append(es[:i], es[i+1:]...)
			case 8:
				es = append(es, es[i])
			case 9:
				// Another signature of the event, hidden by its entry all the same: the root tells.
				var e Event
				if err := json.Unmarshal(es[i].Event, &e); err != nil {
					rt.Fatal(err)
				}
				e.Signature[len(e.Signature)-1-bit%16] ^= 1
				text, err := json.Marshal(e)
				if err != nil {
					rt.Fatal(err)
				}
				d := sm.HMAC(es[i].Salt, text)
				es[i].Event, es[i].Entry = text, d[:]
			case 10:
				h.Size += uint64(bit%3) - 1
			case 11:
				h.Domain += "x"
			case 12:
				h.Audience = rapid.StringMatching(`[a-z<&"é]{0,8}`).Draw(rt, "audience")
			case 13:
				at := bit % len(h.Checkpoint)
				h.Checkpoint = h.Checkpoint[:at] + "A" + h.Checkpoint[at+1:]
			}
			b = c.sealed(rt, h, es)
		}
		if bytes.Equal(b, whole) {
			return
		}
		mutated++
		if agree(rt, "mutation", b, c.domain.Public()) {
			accepted++
		}
	}
	for mutated < 2000 {
		before := mutated
		rapid.Check(t, check)
		if t.Failed() || mutated == before {
			t.Fatal("no mutations")
		}
	}
	if accepted == 0 || accepted == mutated {
		t.Errorf("%d of %d accepted: the changes show nothing", accepted, mutated)
	}
	t.Logf("%d mutations, %d accepted by both", mutated, accepted)
}

// sealed writes a bundle under the domain's own signature.
func (c *cast) sealed(t interface{ Fatal(...any) }, h bundleHeader, es []bundleEntry) []byte {
	var out bytes.Buffer
	var run chain
	h.Check = ""
	h.Check, _ = run.next(h)
	if err := writeLine(&out, h); err != nil {
		t.Fatal(err)
	}
	for _, e := range es {
		e.Check = ""
		e.Check, _ = run.next(e)
		if err := writeLine(&out, e); err != nil {
			t.Fatal(err)
		}
	}
	d := sm.Sum(out.Bytes())
	sig, err := c.domain.Sign(rand.Reader, ContextBundle, d[:])
	if err == nil {
		err = writeLine(&out, bundleEnd{sig})
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

// Seeds of both verifiers: neither panics, and what the first accepts the second does.
func FuzzSecondVerifier(f *testing.F) {
	b := readBundle(f, "small.bundle")
	f.Add(b)
	f.Add(b[:len(b)/2])
	f.Add([]byte("{}\n{}\n{}\n"))
	f.Fuzz(func(t *testing.T, in []byte) {
		_, err := VerifyBundle(bytes.NewReader(in), nil)
		if (second.Bundle(in, nil) == nil) != (err == nil) {
			t.Fatal("the verifiers disagree")
		}
		if err != nil && !errors.Is(err, sandbox.Tampered) {
			t.Fatal(err)
		}
	})
}
