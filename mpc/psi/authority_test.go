package psi

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/psi/psitest"
	"github.com/opdomain/opdomain/sandbox"
)

var listKey = bytes.Repeat([]byte{9}, 16)

func signed(t fatal, key *sm.SigningKey, s Set) (*List, *SignedList) {
	t.Helper()
	l, err := NewList(s, listKey)
	if err != nil {
		t.Fatalf("%v", err)
	}
	out, err := SignList(rand.Reader, key, "agency", "loan applicants", time.Date(2026, 12, 31, 0, 0, 0, 0, time.UTC), l)
	if err != nil {
		t.Fatalf("%v", err)
	}
	return l, out
}

// TestCertifiedSet: a job between a listed and an audited set runs; points other than the certified ones end it before a tag leaves;
// the audit afterwards agrees with what was received.
func TestCertifiedSet(t *testing.T) {
	key, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	x, y := numbers(0, 20), numbers(15, 45)
	list, public := signed(t, key, numbers(0, 100))
	p := planFor(IntersectionBoth, x, y)
	p.Authority[Receiver] = Authority{Kind: Listed, Key: key.Public().Fingerprint(), List: &public.Root}
	prove := func(s Set) func(int) Proof {
		return func(i int) Proof {
			proof, _ := list.Prove(s.row(uint32(i)))
			return proof
		}
	}
	xs := secret(t)
	cert, err := Certify(rand.Reader, key, p, Receiver, public, prove(x), x, nil, xs, 0)
	if err != nil {
		t.Fatal(err)
	}
	var received [2]*Result
	var ys *Secret
	received = join(t, p, x, y, func(c *[2]Config) {
		c[0].Secret, c[0].Certificate, c[1].Agency = xs, cert, key.Public()
		ys = c[1].Secret
	})
	check(t, p, x, y, received)
	if received[1].PeerPoints != cert.Points {
		t.Error("the sender got the certified points")
	}
	if err := Audit(p, Sender, y, nil, ys, received[0].PeerPoints, 1); err != nil {
		t.Errorf("the audit of what was sent: %v", err)
	}
	if err := Audit(p, Sender, numbers(15, 44), nil, ys, received[0].PeerPoints, 1); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("the audit of another set: %v", err)
	}
	if err := Audit(p, Sender, y, nil, secret(t), received[0].PeerPoints, 1); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("the audit under another secret: %v", err)
	}

	// The cheating side: an element more than was certified, another secret, another agency, another plan.
	other, _ := sm.NewSigningKey(rand.Reader)
	forged := &Certificate{Points: cert.Points}
	forged.Sig, _ = other.Sign(rand.Reader, CertificateContext, forged.statement(p, Receiver))
	wrong := *cert
	wrong.Points[0] ^= 1
	for name, change := range map[string]func(c *Config){
		"an unauthorised element": func(c *Config) { c.Set = set(append(elements(numbers(0, 19)), "somebody else")...) },
		"another secret":          func(c *Config) { c.Secret = secret(t) },
		"another agency's":        func(c *Config) { c.Certificate = forged },
		"for other points":        func(c *Config) { c.Certificate = &wrong },
	} {
		a, b, err := psitest.Loopback()
		if err != nil {
			t.Fatal(err)
		}
		c := configs(t, p, x, y, a, b)
		again, _ := ParseSecret(xs.Bytes())
		c[0].Secret, c[0].Certificate, c[1].Agency = again, cert, key.Public()
		change(&c[0])
		tags := 0
		c[1].Conn = &cheat{b, map[uint32]int{}, func(tag uint32, _ int, m []byte) [][]byte {
			if tag == tagTags {
				tags++
			}
			return [][]byte{m}
		}}
		r, errs := both(c)
		a.Close()
		b.Close()
		var abort *Abort
		if !errors.As(errs[1], &abort) || abort.Rule != RuleUnauthorised || abort.Blame == nil || *abort.Blame != Receiver || r[0] != nil || r[1] != nil {
			t.Errorf("%s: %v; %v", name, errs[0], errs[1])
		}
		if tags != 0 {
			t.Errorf("%s: the honest side answered", name)
		}
	}

	// What the agency does not certify.
	for name, c := range map[string]struct {
		key *sm.SigningKey
		set Set
	}{"a stranger": {key, numbers(90, 101)}, "another key": {other, x}} {
		if _, err := Certify(rand.Reader, c.key, p, Receiver, public, prove(c.set), c.set, nil, xs, 0); !errors.Is(err, sandbox.Denied) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := Certify(rand.Reader, key, p, Sender, public, prove(x), x, nil, xs, 0); !errors.Is(err, sandbox.Denied) {
		t.Errorf("an audited side: %v", err)
	}
}

func TestList(t *testing.T) {
	key, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rapid.Check(t, func(r *rapid.T) {
		n := rapid.IntRange(1, 40).Draw(r, "n")
		s := numbers(0, n)
		l, public := signed(r, key, s)
		for i, e := range elements(s) {
			p, err := l.Prove([]byte(e))
			if err != nil {
				r.Fatal(err)
			}
			if err := public.Member([]byte(e), p); err != nil {
				r.Fatalf("element %d: %v", i, err)
			}
			if public.Member([]byte(e+"x"), p) == nil {
				r.Fatal("another element under the same proof")
			}
			q := p
			q.Index ^= 1
			if public.Member([]byte(e), q) == nil {
				r.Fatal("another place")
			}
			q = p
			q.Path = append(q.Path, public.Root)
			if public.Member([]byte(e), q) == nil {
				r.Fatal("a longer path")
			}
			if len(p.Path) > 0 {
				q.Path = p.Path[1:]
				if public.Member([]byte(e), q) == nil {
					r.Fatal("a shorter path")
				}
			}
		}
		if _, err := l.Prove([]byte("stranger")); !errors.Is(err, sandbox.NotFound) {
			r.Fatalf("a stranger: %v", err)
		}
		if text := fmt.Sprintf("%v %+v", l, s); strings.Contains(text, "id-") || strings.Contains(text, "9 9") {
			r.Fatal("a list prints itself")
		}
	})
	_, public := signed(t, key, numbers(0, 3))
	if err := public.Verify(key.Public(), public.Until); err != nil {
		t.Error(err)
	}
	if err := public.Verify(key.Public(), public.Until.Add(time.Second)); !errors.Is(err, sandbox.Expired) {
		t.Errorf("past its term: %v", err)
	}
	public.Count++
	if err := public.Verify(key.Public(), public.Until); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("another count: %v", err)
	}
	if _, err := NewList(Set{}, listKey); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("an empty list: %v", err)
	}
	if _, err := NewList(numbers(0, 1), nil); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("no key: %v", err)
	}
}

// FuzzProof: no proof makes a member of an element that is not on the list.
func FuzzProof(f *testing.F) {
	l, err := NewList(numbers(0, 5), listKey)
	if err != nil {
		f.Fatal(err)
	}
	public := &SignedList{Count: l.Count(), Root: l.Root()}
	p, _ := l.Prove([]byte("id-00000003"))
	var path []byte
	for _, h := range p.Path {
		path = append(path, h[:]...)
	}
	f.Add(p.Salt[:], p.Index, path)
	f.Add([]byte{}, uint64(1<<63), []byte{})
	f.Fuzz(func(t *testing.T, salt []byte, index uint64, path []byte) {
		q := Proof{Index: index}
		copy(q.Salt[:], salt)
		for ; len(path) >= sm.Size; path = path[sm.Size:] {
			q.Path = append(q.Path, [sm.Size]byte(path))
		}
		if public.Member([]byte("stranger"), q) == nil {
			t.Fatal("a stranger is a member")
		}
	})
}
