package sm

import (
	"bytes"
	"fmt"
	"io"
	"testing"
)

// TestKeystream: it is SM4 of 0, 1, 2 … as big-endian blocks, however it is read, and it prints as redacted.
func TestKeystream(t *testing.T) {
	key := []byte("0123456789abcdef")
	k, err := NewKeystream(key)
	if err != nil {
		t.Fatal(err)
	}
	got := make([]byte, 40*BlockSize)
	for at, n := 0, 1; at < len(got); n += 7 {
		end := min(at+n, len(got))
		if _, err := io.ReadFull(k, got[at:end]); err != nil {
			t.Fatal(err)
		}
		at = end
	}
	b, err := NewBlocks(key)
	if err != nil {
		t.Fatal(err)
	}
	want := make([]byte, len(got))
	for i := range 40 {
		want[i*BlockSize+BlockSize-1] = byte(i)
	}
	b.Encrypt(want)
	if !bytes.Equal(got, want) {
		t.Error("not SM4 of a counter")
	}
	if _, err := NewKeystream(key[1:]); err == nil {
		t.Error("a short key was taken")
	}
	if s := fmt.Sprintf("%v %+v %#v", k, k, k); bytes.Contains([]byte(s), []byte("&{")) {
		t.Errorf("it prints %s", s)
	}
}
