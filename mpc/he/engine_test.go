package he

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	mrand "math/rand/v2"
	"slices"
	"testing"
)

func do(t testing.TB, e Engine, op Op, args ...[]byte) [][]byte {
	t.Helper()
	out, err := e.Do(context.Background(), op, args...)
	if err != nil {
		t.Fatalf("operation %d: %v", op, err)
	}
	return out
}

// collectiveKey is n units and a gate with a key of theirs, each in an engine of its own.
type collectiveKey struct {
	set     SetName
	units   []Engine
	handles [][]byte
	gate    Engine
	gateKey []byte
	pub     [][]byte // by unit, then the gate
	shares  [][]byte // of the public key
	seed    []byte
}

func newCollectiveKey(t testing.TB, set SetName, n, threshold int) *collectiveKey {
	t.Helper()
	k := &collectiveKey{set: set, seed: make([]byte, seedSize), gate: NewLocal(rand.Reader)}
	_, _ = rand.Read(k.seed)
	var shares [][]byte
	for range n {
		e := NewLocal(rand.Reader)
		out := do(t, e, OpNewShare, []byte(set), k.seed)
		k.units, k.handles, shares = append(k.units, e), append(k.handles, out[0]), append(shares, out[1])
	}
	out := do(t, k.gate, OpNewShare, []byte(set), k.seed)
	k.gateKey, shares = out[0], append(shares, out[1])
	k.shares = shares
	var ones, twos [][]byte
	if set == ProductSet {
		all, handles := append(k.units[:n:n], k.gate), append(k.handles[:n:n], k.gateKey)
		for i, e := range all {
			ones = append(ones, do(t, e, OpRelinOne, handles[i], k.seed)[0])
		}
		for i, e := range all {
			twos = append(twos, do(t, e, OpRelinTwo, append([][]byte{handles[i], {relinFlood}}, ones...)...)[0])
		}
	}
	deals := make([][][]byte, n)
	for i := range n {
		for to, d := range do(t, k.units[i], OpDeal, k.handles[i], []byte{byte(n), byte(threshold)}) {
			deals[to] = append(deals[to], d)
		}
	}
	for i := range n {
		do(t, k.units[i], OpJoin, append([][]byte{k.handles[i]}, deals[i]...)...)
		k.pub = append(k.pub, do(t, k.units[i], OpPublicKey, append([][]byte{[]byte(set), k.seed}, shares...)...)[0])
		if set == ProductSet {
			do(t, k.units[i], OpRelinKey, slices.Concat([][]byte{k.pub[i]}, ones, twos)...)
		}
	}
	return k
}

func (k *collectiveKey) open(t testing.TB, flood byte, points []byte, ct []byte) []int64 {
	t.Helper()
	args := [][]byte{k.gateKey, ct}
	for _, x := range points {
		args = append(args, do(t, k.units[x-1], OpPartial, k.handles[x-1], []byte{flood}, []byte{x}, points, ct)[0])
	}
	b := do(t, k.gate, OpOpen, args...)[0]
	v := make([]int64, len(b)/word)
	for i := range v {
		v[i] = int64(binary.LittleEndian.Uint64(b[word*i:]))
	}
	return v
}

func TestCollectiveSum(t *testing.T) {
	for _, set := range []SetName{SumSet, StatisticsSet} {
		k := newCollectiveKey(t, set, 4, 3)
		s, _ := setNamed(set)
		want := make([]int64, s.Slots)
		cts := [][]byte{[]byte(set)}
		for u := range k.units {
			v := make([]int64, s.Slots)
			for i := range v {
				v[i] = mrand.Int64N(1<<43) - 1<<42
				want[i] += v[i]
			}
			cts = append(cts, do(t, k.units[u], OpEncrypt, k.pub[u], appendInts(nil, v))[0])
		}
		sum := do(t, k.gate, OpAdd, cts...)[0]
		got := k.open(t, 118, []byte{1, 2, 4}, sum)
		for i := range want {
			if got[i] != want[i] {
				t.Fatalf("%s: slot %d of the sum is wrong", set, i)
			}
		}
	}
}
