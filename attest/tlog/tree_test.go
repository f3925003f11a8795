package tlog

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"os"
	"testing"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest/durable/crashfs"
	"github.com/opdomain/opdomain/attest/sm"
)

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// inMemory gives a log on a file system in memory.
func inMemory(t interface{ Fatal(...any) }) *Log {
	key, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	c := at("/log", key)
	c.FS = crashfs.New()
	l, err := Create(c)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func TestTreeVectors(t *testing.T) {
	raw, err := os.ReadFile("testdata/tree.json")
	if err != nil {
		t.Fatal(err)
	}
	type proof struct {
		Index, Size, From, To uint64
		Path                  []string
	}
	var v struct {
		ABC         string
		Entries     []string
		Roots       []string
		Inclusion   []proof
		Consistency []proof
	}
	if err := json.Unmarshal(raw, &v); err != nil {
		t.Fatal(err)
	}
	if d := sm.Sum([]byte("abc")); hex.EncodeToString(d[:]) != v.ABC {
		t.Fatal("SM3 of abc differs")
	}
	var grown Root
	l := inMemory(t)
	roots := make([]hash, 0, len(v.Roots))
	for n, want := range v.Roots {
		if n > 0 {
			e := hash(unhex(t, v.Entries[n-1]))
			if _, err := l.Append(context.Background(), Record{Entry: e}); err != nil {
				t.Fatal(err)
			}
			grown.Append(e)
		}
		root, err := l.RootAt(uint64(n))
		if err != nil || !bytes.Equal(root[:], unhex(t, want)) {
			t.Errorf("root of %d entries differs: %v", n, err)
		}
		if grown.Sum() != root || grown.Size() != uint64(n) {
			t.Errorf("the grown root of %d entries differs", n)
		}
		roots = append(roots, root)
	}
	equal := func(path [][]byte, want []string) bool {
		ok := len(path) == len(want)
		for i := range want {
			ok = ok && bytes.Equal(path[i], unhex(t, want[i]))
		}
		return ok
	}
	for _, p := range v.Inclusion {
		path, err := l.Inclusion(p.Index, p.Size)
		if err != nil || !equal(path, p.Path) {
			t.Errorf("inclusion of %d in %d differs: %v", p.Index, p.Size, err)
		}
	}
	for _, p := range v.Consistency {
		path, err := l.Consistency(p.From, p.To)
		if err != nil || !equal(path, p.Path) {
			t.Errorf("consistency of %d with %d differs: %v", p.From, p.To, err)
		}
		if err := VerifyConsistency(p.From, p.To, path, roots[p.From], roots[p.To]); err != nil {
			t.Error(err)
		}
	}
}

// plain is the definition of RFC 6962, section 2.1.
func plain(entries []hash) hash {
	switch len(entries) {
	case 0:
		return sm.Sum()
	case 1:
		return sm.Sum([]byte{0}, entries[0][:])
	}
	k := 1
	for k*2 < len(entries) {
		k *= 2
	}
	l, r := plain(entries[:k]), plain(entries[k:])
	return sm.Sum([]byte{1}, l[:], r[:])
}

func TestProofLaws(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(1, 600).Draw(t, "entries")
		l := inMemory(t)
		var recs []Record
		var entries []hash
		for i := range n {
			e := sm.Sum([]byte{byte(i), byte(i >> 8)})
			entries = append(entries, e)
			recs = append(recs, Record{Entry: e})
		}
		if _, err := l.Append(context.Background(), recs...); err != nil {
			t.Fatal(err)
		}
		size := rapid.IntRange(1, n).Draw(t, "size")
		i := rapid.IntRange(0, size-1).Draw(t, "index")
		root, err := l.RootAt(uint64(size))
		if err != nil || root != plain(entries[:size]) {
			t.Fatalf("root: %v", err)
		}
		path, err := l.Inclusion(uint64(i), uint64(size))
		if err != nil || VerifyInclusion(entries[i], uint64(i), uint64(size), path, root) != nil {
			t.Fatalf("inclusion of %d in %d: %v", i, size, err)
		}
		other := rapid.IntRange(0, size-1).Draw(t, "other")
		if other != i && VerifyInclusion(entries[other], uint64(i), uint64(size), path, root) == nil {
			t.Fatalf("entry %d passed as %d", other, i)
		}
		m := rapid.IntRange(0, size).Draw(t, "smaller")
		before, err := l.RootAt(uint64(m))
		if err != nil {
			t.Fatal(err)
		}
		path, err = l.Consistency(uint64(m), uint64(size))
		if err != nil || VerifyConsistency(uint64(m), uint64(size), path, before, root) != nil {
			t.Fatalf("consistency of %d with %d: %v", m, size, err)
		}
		if m > 0 {
			before[0] ^= 1
			if VerifyConsistency(uint64(m), uint64(size), path, before, root) == nil {
				t.Fatal("another root passed as a prefix")
			}
		}
	})
}

func TestProofBounds(t *testing.T) {
	l := inMemory(t)
	if _, err := l.Append(context.Background(), Record{Entry: hash{1}}); err != nil {
		t.Fatal(err)
	}
	if _, err := l.Inclusion(1, 1); err == nil {
		t.Error("an index at the size was proved")
	}
	if _, err := l.Inclusion(0, 2); err == nil {
		t.Error("a size beyond the log was proved")
	}
	if _, err := l.Consistency(2, 1); err == nil {
		t.Error("falling sizes were proved")
	}
}
