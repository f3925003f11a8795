package he

import (
	"context"
	"encoding/binary"
	"errors"
	mrand "math/rand/v2"
	"testing"

	"github.com/tuneinsight/lattigo/v5/mhe"

	"github.com/opdomain/opdomain/sandbox"
)

// TestMutatedProducts is TestMutated for what products add: shares of the relinearisation key, factors, masks and shares of a product. Some go through
// the engine, the others through its decoder. OPDOMAIN_HE_PRODUCT_MUTATIONS sets how many.
func TestMutatedProducts(t *testing.T) {
	total := soak(t, "OPDOMAIN_HE_PRODUCT_MUTATIONS", 1200)
	seed := mrand.Uint64()
	t.Logf("seed %d, %d mutations", seed, total)
	r := mrand.New(mrand.NewPCG(seed, 4))
	k := newCollectiveKey(t, ProductSet, 3, 2)
	p, _ := paramsOf(ProductSet)
	e := k.units[0]
	// Parts of keys of their own: those of k were dealt.
	var parts, first, second [][]byte
	for range 2 {
		parts = append(parts, do(t, e, OpNewShare, []byte(ProductSet), k.seed)[0])
	}
	for _, h := range parts {
		first = append(first, do(t, e, OpRelinOne, h, k.seed)[0])
	}
	for _, h := range parts {
		second = append(second, do(t, e, OpRelinTwo, h, []byte{relinFlood}, first[0], first[1])[0])
	}
	a := do(t, e, OpEncryptFactor, k.pub[0], []byte{0}, appendInts(nil, []int64{1, 2}))[0]
	b := do(t, e, OpEncryptFactor, k.pub[0], []byte{1}, appendInts(nil, []int64{3, 4}))[0]
	mask := do(t, e, OpMask, k.pub[0])[0]
	product := do(t, e, OpProduct, k.pub[0], []byte{0, 0}, []byte{1, 1}, a, b, mask)[0]
	share := do(t, e, OpPartial, k.handles[0], []byte{100}, []byte{1}, []byte{1, 3}, product)[0]
	share3 := do(t, k.units[2], OpPartial, k.handles[2], []byte{100}, []byte{3}, []byte{1, 3}, product)[0]

	_, _, gadgetOf := mhe.NewRelinearizationKeyGenProtocol(p.rlwe).AllocateShare()
	qp := append(append([]uint64{}, p.Q...), p.P...)
	shared := p.Q[:p.Shared]
	whole, low := p.rlwe.RingQ(), p.rlwe.RingQ().AtLevel(p.shared())
	through := func(op Op, args ...[]byte) error { _, err := e.Do(context.Background(), op, args...); return err }
	taken := 0
	for i := range total {
		var from []byte
		var moduli []uint64
		var call func([]byte) error
		engine := i%60 < 6
		switch i % 6 {
		case 0:
			from, moduli = first[1], qp
			call = func(x []byte) error { return readGadget(p, x, &gadgetOf.GadgetCiphertext) }
			if engine {
				call = func(x []byte) error { return through(OpRelinKey, k.pub[0], first[0], x, second[0], second[1]) }
			}
		case 1:
			from, moduli = second[0], qp
			call = func(x []byte) error { return readGadget(p, x, &gadgetOf.GadgetCiphertext) }
			if engine {
				call = func(x []byte) error { return through(OpRelinKey, k.pub[0], first[0], first[1], x, second[1]) }
			}
		case 2, 3:
			from, moduli = b, p.Q
			call = func(x []byte) error { return readPolys("factor", x, p.Q, whole.NewPoly(), whole.NewPoly()) }
			if engine {
				call = func(x []byte) error { return through(OpProduct, k.pub[0], []byte{0, 0}, []byte{1, 1}, a, x, mask) }
			}
		case 4:
			from, moduli = mask, shared
			call = func(x []byte) error { return readPolys("mask", x, shared, low.NewPoly(), low.NewPoly()) }
			if engine {
				call = func(x []byte) error { return through(OpProduct, k.pub[0], []byte{0, 0}, []byte{1, 1}, a, b, x) }
			}
		case 5:
			from, moduli = share, shared
			call = func(x []byte) error { return readPolys("decryption share", x, shared, low.NewPoly()) }
			if engine {
				call = func(x []byte) error {
					_, err := k.gate.Do(context.Background(), OpOpenProduct, k.gateKey, product, x, share3)
					return err
				}
			}
		}
		sent, at, undo := mutate(r, from)
		err := call(sent)
		row := p.n() * word
		if ok := len(sent) == len(from) && binary.LittleEndian.Uint64(sent[at:]) < moduli[at/row%len(moduli)]; ok != (err == nil) {
			t.Fatalf("mutation %d: taken %v, is one %v: %v", i, err == nil, ok, err)
		}
		if err == nil {
			taken++
		} else if !errors.Is(err, sandbox.Invalid) {
			t.Fatalf("mutation %d: %v", i, err)
		}
		undo()
	}
	if taken == 0 || taken == total {
		t.Fatalf("%d of %d were taken: the mutations test nothing", taken, total)
	}
}
