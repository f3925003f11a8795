package wire

import (
	"bytes"
	"crypto/rand"
	"errors"
	"io"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

func FuzzHead(f *testing.F) {
	b := make([]byte, headSize)
	for _, h := range []head{{}, {1, 2, 3}, {^uint32(0), ^uint64(0), MaxFrame}, {7, 1, MaxFrame + 1}} {
		h.put(b)
		f.Add(bytes.Clone(b))
	}
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, b []byte) {
		h, ok := parseHead(b)
		if !ok {
			return
		}
		if h.size > MaxFrame {
			t.Fatal("a length over the bound")
		}
		out := make([]byte, headSize)
		if h.put(out); !bytes.Equal(out, b) {
			t.Fatal("a header has one encoding")
		}
	})
}

func FuzzHello(f *testing.F) {
	h := &hello{from: 2, to: 1}
	f.Add(append(h.encode(), 8, 1, 2, 3, 4, 5, 6, 7, 8))
	f.Add(append(h.encode(), 0))
	f.Add(append(h.encode(), 255))
	f.Add([]byte("ODM1"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := bytes.NewReader(b)
		h, body, sig, err := readHello(r)
		if err != nil {
			if !errors.Is(err, errForm) && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
				t.Fatalf("another error: %v", err)
			}
			return
		}
		if !bytes.Equal(h.encode(), body) || len(sig) == 0 || len(sig) > maxSig {
			t.Fatal("a hello has one encoding and a bounded signature")
		}
	})
}

func FuzzSecret(f *testing.F) {
	f.Add(append([]byte("ODM2\x00\x03abc\x02"), 1, 2))
	f.Add([]byte("ODM2\xff\xff"))
	f.Add([]byte("ODM2\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		sealed, sig, err := readSecret(bytes.NewReader(b))
		if err == nil && (len(sealed) == 0 || len(sealed) > maxSealed || len(sig) == 0 || len(sig) > maxSig) {
			t.Fatal("beyond the bounds")
		}
	})
}

func TestConfig(t *testing.T) {
	k, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]Config{
		"no parties": {Key: k},
		"one party":  {Key: k, Peers: []Peer{{"a", k.Public()}}},
		"same key":   {Key: k, Peers: []Peer{{"a", k.Public()}, {"b", k.Public()}}},
		"no self":    {Key: k, Self: 2, Peers: []Peer{{"a", k.Public()}, {"b", k.Public()}}},
	} {
		if _, err := Open(t.Context(), nil, c); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v, want invalid", name, err)
		}
	}
}

// TestFirstKeysDiffer: both directions of a link, and a session's keys, differ.
func TestFirstKeysDiffer(t *testing.T) {
	seen := map[string]bool{}
	master := bytes.Repeat([]byte{7}, 32)
	session := sm.Sum([]byte("session"))
	for _, s := range [][sm.Size]byte{{}, session} {
		for _, d := range [][2]int{{0, 1}, {1, 0}, {0, 2}} {
			var x direction
			if err := x.key(master, &s, d[0], d[1]); err != nil {
				t.Fatal(err)
			}
			seen[string(x.aead.Seal(nil, x.nonce[:], make([]byte, 16), nil))] = true
		}
	}
	if len(seen) != 6 {
		t.Errorf("%d keys of 6 differ", len(seen))
	}
}
