package he

import (
	"context"
	"crypto/rand"
	"testing"
)

func BenchmarkEncryptOwn(b *testing.B) {
	a, err := NewAsker(context.Background(), NewLocal(rand.Reader))
	if err != nil {
		b.Fatal(err)
	}
	v := make([]float64, 8192)
	for i := range v {
		v[i] = float64(i%200-100) / 100
	}
	for b.Loop() {
		if _, err := a.Encrypt(context.Background(), []float64{1}, [][]float64{v}); err != nil {
			b.Fatal(err)
		}
	}
}

func BenchmarkEncrypt(b *testing.B) {
	k := newCollectiveKey(b, SumSet, 3, 2)
	p, _ := paramsOf(SumSet)
	v := make([]int64, p.Slots)
	for i := range v {
		v[i] = int64(i * 7919)
	}
	in := appendInts(nil, v)
	for b.Loop() {
		do(b, k.units[0], OpEncrypt, k.pub[0], in)
	}
}

func BenchmarkPartial(b *testing.B) {
	k := newCollectiveKey(b, SumSet, 3, 2)
	ct := do(b, k.units[0], OpEncrypt, k.pub[0], appendInts(nil, []int64{1}))[0]
	kp, _ := key[*keyPart](k.units[0].(*Local), k.handles[0])
	for b.Loop() {
		clear(kp.issued)
		do(b, k.units[0], OpPartial, k.handles[0], []byte{118}, []byte{1}, []byte{1, 2}, ct)
	}
}
