package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"fmt"
	"math"

	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/bare"
)

const heHeader = "\n### Homomorphic encryption, one core\n\nGoals: in sum-13 a column sum of 3.5 M values/s and a share in 3 ms; 15,000 customers/s in batches, one in 50 ms, error 0.002. Lines of the library alone\n" +
	"are without codec and checks, its shares without flooding that floods, its scores not circuit-private.\n\n| what | CPU-ms | rate | size |\n|---|---:|---:|---:|"

// heLines measures sums and scoring in this process, through the adapter's own codec: what a unit, a carrier, an opener, an asker and the
// domain each do, each beside the library alone in the same parameters, without codec and checks. Rates are by processor time.
func heLines(lines []string, repeat int) ([]string, error) {
	ctx := context.Background()
	lines = append(lines, heHeader)
	add := func(name string, values int, unit string, size string, run func() error) error {
		r, err := benchmark{name: name, run: func(context.Context) error { return run() }}.best(ctx, repeat)
		if err != nil {
			return fmt.Errorf("benchmarks: %s: %w", name, err)
		}
		rate := float64(values) / r.cpu.Seconds()
		text := fmt.Sprintf("%.0f %s", rate, unit)
		if rate > 1e5 {
			text = fmt.Sprintf("%.2f M %s", rate/1e6, unit)
		}
		lines = append(lines, fmt.Sprintf("| %s | %.2f | %s | %s |", name, r.cpu.Seconds()*1000, text, size))
		return nil
	}
	for _, s := range he.Sets() {
		if s.Scheme != "BGV" {
			continue
		}
		if err := heSums(s, add); err != nil {
			return nil, err
		}
		if err := bareSums(s, add); err != nil {
			return nil, err
		}
	}
	err := heScores(add)
	return lines, err
}

type heAdd func(name string, values int, unit, size string, run func() error) error

func heSums(s he.Set, add heAdd) error {
	ctx, e := context.Background(), he.NewLocal(rand.Reader)
	set, seed := []byte(s.Name), make([]byte, 32)
	key, err := e.Do(ctx, he.OpNewShare, set, seed)
	if err != nil {
		return err
	}
	pub, err := e.Do(ctx, he.OpPublicKey, set, seed, key[1])
	if err != nil {
		return err
	}
	var values []byte
	for i := range s.Slots {
		values = binary.LittleEndian.AppendUint64(values, uint64(i*7919))
	}
	const many = 16
	args := [][]byte{set}
	encrypt := func() error {
		args = args[:1]
		for range many {
			ct, err := e.Do(ctx, he.OpEncrypt, pub[0], values)
			if err != nil {
				return err
			}
			args = append(args, ct[0])
		}
		return nil
	}
	sum := func() error { _, err := e.Do(ctx, he.OpAdd, args...); return err }
	size := fmt.Sprintf("%d bytes/value", s.CiphertextBytes()/s.Slots)
	name := string(s.Name)
	if err := add(name+": column sum, encrypting "+fmt.Sprint(many)+" ciphertexts and adding them", many*s.Slots, "values/s", size, func() error {
		if err := encrypt(); err != nil {
			return err
		}
		return sum()
	}); err != nil {
		return err
	}
	if err := add(name+": adding alone, with the codec's checks", many*s.Slots, "values/s", size, sum); err != nil {
		return err
	}
	// An opener of two: its part is dealt to two and joined from two.
	deal, err := e.Do(ctx, he.OpDeal, key[0], []byte{2, 2})
	if err != nil {
		return err
	}
	if _, err := e.Do(ctx, he.OpJoin, key[0], deal[0]); err != nil {
		return err
	}
	at, fresh := 0, [][]byte{}
	for range heShares {
		ct, err := e.Do(ctx, he.OpEncrypt, pub[0], values)
		if err != nil {
			return err
		}
		fresh = append(fresh, ct[0])
	}
	return add(name+": one decryption share with own flooding (2^118)", 1, "shares/s", fmt.Sprintf("%d kB", s.CiphertextBytes()/2/1000), func() error {
		if at == len(fresh) {
			return fmt.Errorf("at most %d runs: a share is given once for a ciphertext", heShares-1)
		}
		ct := fresh[at]
		at++
		_, err := e.Do(ctx, he.OpPartial, key[0], []byte{118}, []byte{1}, []byte{1, 2}, ct)
		return err
	})
}

// bareSums is the library alone.
func bareSums(s he.Set, add heAdd) error {
	b, err := bare.NewSum(s.LogN, s.Q, s.T)
	if err != nil {
		return err
	}
	values := make([]int64, s.Slots)
	for i := range values {
		values[i] = int64(i * 7919)
	}
	const many = 16
	if err := add("the library alone: the same column sum", many*s.Slots, "values/s", "–", func() error {
		if err := b.Encrypt(values, many); err != nil {
			return err
		}
		b.Add()
		return nil
	}); err != nil {
		return err
	}
	if err := add("the library alone: adding", many*s.Slots, "values/s", "–", func() error { b.Add(); return nil }); err != nil {
		return err
	}
	return add("the library alone: one share with its own noise of that width, which does not flood", 1, "shares/s", "–", func() error { b.Share(); return nil })
}

// heShares bounds the runs of what is done once for a ciphertext.
const heShares = 64

func heScores(add heAdd) error {
	ctx, e := context.Background(), he.NewLocal(rand.Reader)
	a, err := he.NewAsker(ctx, e)
	if err != nil {
		return err
	}
	defer a.Close()
	const features, customers = 32, 8192
	m := &he.Model{Link: he.LogisticLink}
	columns, one := make([][]float64, features), make([]float64, features)
	for f := range columns {
		m.Weights, m.Ranges = append(m.Weights, 0.2), append(m.Ranges, 1)
		columns[f] = make([]float64, customers)
		for i := range columns[f] {
			columns[f][i] = float64((i*31+f*17)%200-100) / 100
		}
		one[f] = columns[f][0]
	}
	var set he.Set
	for _, s := range he.Sets() {
		if s.Name == he.ScoringSet {
			set = s
		}
	}
	size := fmt.Sprintf("error ≤ %.2g; %d bytes/value there", he.LogisticLink.Bound(), set.OwnBytes()/set.Slots)
	if err := add("32-feature logistic scoring, batch of 8,192: encrypt, score, decrypt", customers, "customers/s", size, func() error {
		cts, err := a.Encrypt(ctx, m.Ranges, columns)
		if err != nil {
			return err
		}
		ct, err := he.Score(ctx, e, m, a.Keys, cts)
		if err == nil {
			_, err = a.Decrypt(ctx, m.Link, ct, customers)
		}
		return err
	}); err != nil {
		return err
	}
	lib, err := bare.NewScore(set.LogN, set.Q, set.P, set.LogScale, func(x float64) float64 { return 1 / (1 + math.Exp(-x)) })
	if err != nil {
		return err
	}
	if err := add("the library alone: the same batch, not circuit-private", customers, "customers/s", fmt.Sprintf("%d bytes/value there", set.CiphertextBytes()/set.Slots), func() error {
		_, err := lib.Run(columns, m.Weights)
		return err
	}); err != nil {
		return err
	}
	return add("32-feature logistic scoring, one customer: encrypt, score, decrypt", 1, "customers/s", "393 kB each way", func() error {
		ct, err := a.EncryptOne(ctx, m.Ranges, one)
		if err != nil {
			return err
		}
		if ct, err = he.ScoreOne(ctx, e, m, a.Keys, ct); err != nil {
			return err
		}
		_, err = a.DecryptOne(ctx, m.Link, ct)
		return err
	})
}
