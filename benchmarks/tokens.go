package main

import (
	"encoding/binary"
	"fmt"
	"hash"
	"math"
	"runtime"
	"time"

	"crypto/hmac"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/desensitize/noise"
	"github.com/opdomain/opdomain/desensitize/token"
	"github.com/opdomain/opdomain/sandbox"
)

const tokensHeader = "| what | M values/CPU-s | beside | goal |\n|---|---:|---:|---:|"

// tokens measures the keyed operations over columns of 18-character identity numbers, in one process and one run.
type tokens struct {
	key      token.Key
	column   arrow.Array
	dates    arrow.Array
	subjects []sandbox.Pseudonym
	rows     int
}

func newTokens(rows int) (*tokens, error) {
	key, err := token.NewKey(make([]byte, sm.Size))
	if err != nil {
		return nil, err
	}
	t := &tokens{key: key, rows: rows, subjects: make([]sandbox.Pseudonym, rows)}
	b, d := array.NewStringBuilder(memory.DefaultAllocator), array.NewDate32Builder(memory.DefaultAllocator)
	defer b.Release()
	defer d.Release()
	for i := range rows {
		b.Append(identityNumber(uint64(i)))
		d.Append(arrow.Date32(18000 + i%1000))
		binary.BigEndian.PutUint64(t.subjects[i][:], uint64(i/4+1)) // four rows a person, clustered
	}
	t.column, t.dates = b.NewArray(), d.NewArray()
	return t, nil
}

// identityNumber gives the i-th of many different numbers with real dates and right check characters.
func identityNumber(i uint64) string {
	s := fmt.Sprintf("4403%02d%s%03d", i%50, time.Unix(0, 0).UTC().AddDate(0, 0, int(i*7919%20000)).Format("20060102"), i/50%1000)
	sum := 0
	for j, w := range [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2} {
		sum += w * int(s[j]-'0')
	}
	return s + "10X98765432"[sum%11:][:1]
}

// rate gives the best of several runs, in values a second of processor time.
func (t *tokens) rate(f func() error) (float64, error) {
	best := 0.0
	for range 5 {
		runtime.GC()
		cpu := processorTime()
		if err := f(); err != nil {
			return 0, err
		}
		best = math.Max(best, float64(t.rows)/max(processorTime()-cpu, time.Microsecond).Seconds())
	}
	return best, nil
}

func apply(o interface {
	Apply(memory.Allocator, arrow.Array) (arrow.Array, error)
}, a arrow.Array) func() error {
	return func() error {
		out, err := o.Apply(memory.DefaultAllocator, a)
		if err == nil {
			out.Release()
		}
		return err
	}
}

// tokenLines measures tokens and date shifts.
func tokenLines(rows int) ([]string, error) {
	t, err := newTokens(rows)
	if err != nil {
		return nil, err
	}
	keyed, err := token.NewKeyed(t.key)
	if err != nil {
		return nil, err
	}
	block, err := token.NewBlock(t.key)
	if err != nil {
		return nil, err
	}
	id, err := token.NewResidentID(t.key, token.Identity{})
	if err != nil {
		return nil, err
	}
	region, err := token.NewResidentID(t.key, token.Identity{Region: 6})
	if err != nil {
		return nil, err
	}
	shift, err := noise.NewDateShift(t.key, 365)
	if err != nil {
		return nil, err
	}
	ff1, err := sm.NewFF1(make([]byte, sm.KeySize), 10, 18, 0)
	if err != nil {
		return nil, err
	}
	mac, err := sm.NewMAC(make([]byte, sm.Size))
	if err != nil {
		return nil, err
	}
	s := t.column.(*array.String)
	offsets, data := s.ValueOffsets(), s.ValueBytes()
	tags, sum := make([]byte, 16*rows), make([]byte, 0, sm.Size)
	numbers := make([]uint64, rows)
	for i := range numbers {
		numbers[i] = uint64(i) * 999_999_937 % 1e18
	}
	short := array.NewStringBuilder(memory.DefaultAllocator)
	defer short.Release()
	for i := range rows {
		short.Append(fmt.Sprintf("138%08d", i))
	}
	mobiles := short.NewArray()
	defer mobiles.Release()

	one := func(h func() hash.Hash) func() error {
		return func() error {
			for i := range rows {
				x := h()
				x.Write(data[offsets[i]:offsets[i+1]])
				copy(tags[16*i:], x.Sum(sum)[:16])
			}
			return nil
		}
	}
	kept := hmac.New(sm.NewHash, make([]byte, sm.Size))
	reset, err := t.rate(one(func() hash.Hash { kept.Reset(); return kept }))
	if err != nil {
		return nil, err
	}
	fresh, err := t.rate(one(func() hash.Hash { return hmac.New(sm.NewHash, make([]byte, sm.Size)) }))
	if err != nil {
		return nil, err
	}
	build := fmt.Sprintf("%d at a time", sm.Lanes())
	out := []string{tokensHeader,
		fmt.Sprintf("| HMAC-SM3 one at a time, emmansun, key prepared once and reset | %.2f | 1 | |", reset/1e6),
		fmt.Sprintf("| HMAC-SM3 one at a time, emmansun, a new HMAC each | %.2f | %.2f of reset | |", fresh/1e6, fresh/reset)}
	for _, c := range []struct {
		name, goal string
		beside     bool
		f          func() error
	}{
		{"HMAC-SM3 over offsets and bytes, 16-byte tags, " + build, "1.5 default, 5 SIMD", true, func() error { mac.Rows(tags, 16, offsets, data); return nil }},
		{"keyed tokens, column to column, in hexadecimal, " + build, "", true, apply(keyed, t.column)},
		{"one-block SM4 tokens of mobiles, in hexadecimal", "", false, apply(block, mobiles)},
		{"FF1-SM4 over 18 digits as numbers", "4", false, func() error { return ff1.Numbers(numbers, nil) }},
		{"FF1-SM4 tokens of identity numbers, 17 digits and check character", "4", false, apply(id, t.column)},
		{"FF1-SM4 tokens of identity numbers, county kept", "4", false, apply(region, t.column)},
		{"date shift, four rows a subject", "", false, func() error {
			a, err := shift.Apply(memory.DefaultAllocator, t.dates, t.subjects)
			if err == nil {
				a.Release()
			}
			return err
		}},
	} {
		r, err := t.rate(c.f)
		if err != nil {
			return nil, fmt.Errorf("benchmarks: %s: %w", c.name, err)
		}
		beside := ""
		if c.beside {
			beside = fmt.Sprintf("%.2f of reset, %.2f of new", r/reset, r/fresh)
		}
		out = append(out, fmt.Sprintf("| %s | %.2f | %s | %s |", c.name, r/1e6, beside, c.goal))
	}
	if id.Masked() > 0 || region.Masked() > 0 || block.Masked() > 0 {
		return nil, fmt.Errorf("benchmarks: generated values did not fit")
	}
	return out, nil
}
