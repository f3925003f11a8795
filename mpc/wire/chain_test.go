package wire

import (
	"bytes"
	"testing"

	"github.com/opdomain/opdomain/attest/sm"
)

// collide gives two payloads that one key seals, under one header, to one tag. The tag is linear in the ciphertext but for a constant, so that
// 129 changes of one bit have a combination that changes nothing.
func collide(t *testing.T, d *direction, h head) (a, b, tag []byte) {
	t.Helper()
	seal := func(p []byte) []byte {
		box := d.aead.Seal(nil, d.nonce[:], p, d.bind(h))
		return box[len(p):]
	}
	a = make([]byte, h.size)
	tag = seal(a)
	type row struct{ change, p []byte }
	xor := func(x, y []byte) {
		for i := range x {
			x[i] ^= y[i]
		}
	}
	basis := map[int]row{} // by the lowest bit set
	for bit := range 129 {
		p := make([]byte, h.size)
		p[bit/8] = 1 << (bit % 8)
		r := row{seal(p), p}
		xor(r.change, tag)
		for low := 0; ; {
			for low < 128 && r.change[low/8]>>(low%8)&1 == 0 {
				low++
			}
			if low == 128 {
				return a, r.p, tag
			}
			other, ok := basis[low]
			if !ok {
				basis[low] = r
				break
			}
			xor(r.change, other.change)
			xor(r.p, other.p)
		}
	}
	t.Fatal("129 vectors of 128 bits depend on each other")
	return nil, nil, nil
}

// TestChainBindsPayloads: an end of a link finds two payloads with one header and tag; a chain over tags takes both for the same frame, one
// over payloads does not.
func TestChainBindsPayloads(t *testing.T) {
	start := func() *direction {
		d := &direction{}
		if err := d.key(bytes.Repeat([]byte{7}, 32), &[sm.Size]byte{1}, 0, 1); err != nil {
			t.Fatal(err)
		}
		return d
	}
	h := head{tag: 3, size: 32}
	a, b, tag := collide(t, start(), h)
	if bytes.Equal(a, b) {
		t.Fatal("the payloads are one")
	}
	for _, p := range [][]byte{a, b} {
		d := start()
		if box := d.aead.Seal(nil, d.nonce[:], p, d.bind(h)); !bytes.Equal(box[len(p):], tag) {
			t.Fatal("the payloads have other tags")
		}
	}
	chain := func(payloads bool, p []byte) [sm.Size]byte {
		d := start()
		d.bind(h)
		if !payloads {
			p = nil
		}
		d.link(tag, p)
		return d.chain
	}
	if chain(false, a) != chain(false, b) || chain(true, a) == chain(true, b) {
		t.Error("chains over payloads alone differ where payloads do")
	}
}
