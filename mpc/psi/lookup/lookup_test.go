package lookup

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/sandbox"
)

var at = time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)

func set(elements ...string) psi.Set {
	s := psi.Set{Offsets: []int32{0}}
	for _, e := range elements {
		s.Data = append(s.Data, e...)
		s.Offsets = append(s.Offsets, int32(len(s.Data)))
	}
	return s
}

func ledger(t testing.TB, dir string) *psi.Ledger {
	l, err := psi.OpenLedger(nil, dir, make([]byte, 16), psi.Limits{Elements: 2 * Block, Window: time.Hour, Similarity: 1})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func holder(t testing.TB, name Suite, s psi.Set) (*Holder, *Asker) {
	t.Helper()
	h, err := NewHolder(rand.Reader, name, ledger(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	table, err := h.Publish(rand.Reader, s, 0)
	if err != nil {
		t.Fatal(err)
	}
	a, err := NewAsker(table)
	if err != nil {
		t.Fatal(err)
	}
	return h, a
}

func TestLookups(t *testing.T) {
	for _, name := range []Suite{P256, Ristretto255} {
		h, a := holder(t, name, set("one", "two", "two", "three"))
		if n := len(a.table.Tags) / tagSize; n != 10 {
			t.Errorf("%s: the table has %d tags, not its bucket", name, n)
		}
		var queries [][]byte
		for element, in := range map[string]bool{"one": true, "two": true, "three": true, "four": false, "On": false} {
			q, err := a.Ask(rand.Reader, []byte(element))
			if err != nil {
				t.Fatal(err)
			}
			reply, err := h.Answer("bank", q.Query, at)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := q.Find(reply); err != nil || got != in {
				t.Errorf("%s: %v, %v", name, got, err)
			}
			queries = append(queries, q.Query)
			again, _ := a.Ask(rand.Reader, []byte(element))
			if bytes.Equal(again.Query, q.Query) {
				t.Errorf("%s: two questions about one element look alike", name)
			}
			for i := range reply { // any changed byte
				bad := bytes.Clone(reply)
				bad[i] ^= 1
				if _, err := q.Find(bad); !errors.Is(err, sandbox.Tampered) && !errors.Is(err, sandbox.Invalid) {
					t.Fatalf("%s: byte %d changed: %v", name, i, err)
				}
			}
			if text := fmt.Sprintf("%v %+v %v", q, q, h); strings.Contains(text, element) {
				t.Error("prints an element")
			}
		}
		other, b := holder(t, name, set("one"))
		q, _ := a.Ask(rand.Reader, []byte("one"))
		reply, err := other.Answer("bank", q.Query, at)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := q.Find(reply); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("%s: another key's reply: %v", name, err)
		}
		_ = b
		if _, err := h.Answer("bank", queries[0][1:], at); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: a short query: %v", name, err)
		}
		if _, err := h.Answer("bank", make([]byte, len(queries[0])), at); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: the identity: %v", name, err)
		}
	}
	if _, err := NewHolder(rand.Reader, "SM2", ledger(t, t.TempDir())); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a suite that is none: %v", err)
	}
	if _, err := NewHolder(bytes.NewReader(nil), P256, ledger(t, t.TempDir())); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("no randomness: %v", err)
	}
}

// TestQuota: lookups stop at the quota, a holder that starts again remembers, and the window frees them.
func TestQuota(t *testing.T) {
	dir := t.TempDir()
	h, err := NewHolder(rand.Reader, Ristretto255, ledger(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	table, err := h.Publish(rand.Reader, set("one"), 0)
	if err != nil {
		t.Fatal(err)
	}
	a, _ := NewAsker(table)
	q, _ := a.Ask(rand.Reader, []byte("one"))
	for i := range 2 * Block {
		if _, err := h.Answer("bank", q.Query, at); err != nil {
			t.Fatalf("lookup %d: %v", i, err)
		}
	}
	if _, err := h.Answer("bank", q.Query, at); !errors.Is(err, sandbox.Denied) {
		t.Errorf("over the quota: %v", err)
	}
	if _, err := h.Answer("insurer", q.Query, at); err != nil {
		t.Errorf("another partner has a quota of its own: %v", err)
	}
	h, err = NewHolder(rand.Reader, Ristretto255, ledger(t, dir))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := h.Answer("bank", q.Query, at.Add(time.Minute)); !errors.Is(err, sandbox.Denied) {
		t.Errorf("after a restart: %v", err)
	}
	if _, err := h.Answer("bank", q.Query, at.Add(time.Hour)); err != nil {
		t.Errorf("in the next window: %v", err)
	}
}

func FuzzAnswer(f *testing.F) {
	h, err := NewHolder(rand.Reader, P256, ledger(f, f.TempDir()))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(h.public)
	f.Add(make([]byte, 33))
	f.Add([]byte{0})
	f.Add(append([]byte{4}, make([]byte, 64)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		e, err := parse(h.suite, b)
		if err == nil {
			if again, _ := e.MarshalBinaryCompress(); !bytes.Equal(again, b) {
				t.Fatal("a second encoding")
			}
		} else if !errors.Is(err, sandbox.Invalid) {
			t.Fatal(err)
		}
	})
}

func FuzzFind(f *testing.F) {
	h, a := holder(f, P256, set("one"))
	q, err := a.Ask(rand.Reader, []byte("one"))
	if err != nil {
		f.Fatal(err)
	}
	reply, err := h.Answer("bank", q.Query, at)
	if err != nil {
		f.Fatal(err)
	}
	f.Add(reply)
	f.Add(reply[:33])
	f.Add(make([]byte, len(reply)))
	f.Add(append(bytes.Clone(reply[:33]), bytes.Repeat([]byte{0xff}, proofSize)...))
	f.Fuzz(func(t *testing.T, b []byte) {
		in, err := q.Find(b)
		if err == nil && !in || err != nil && in {
			t.Fatal("a reply that proves the key finds the element, another one is an error")
		}
	})
}
