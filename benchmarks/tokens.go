package main

import (
	"encoding/binary"
	"fmt"
	"hash"
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

// contestant is one line of the table.
type contestant struct {
	name, goal string
	beside     func(rates map[string]float64, own float64) string
	f          func() error
}

const tokenRounds = 5

// rates gives the best of several rounds for each, in values a second of processor time. All take their turn in each round, so that
// another load meets them alike.
func (t *tokens) rates(all []contestant) (map[string]float64, error) {
	best := map[string]float64{}
	for range tokenRounds {
		for _, c := range all {
			runtime.GC()
			cpu := processorTime()
			if err := c.f(); err != nil {
				return nil, fmt.Errorf("benchmarks: %s: %w", c.name, err)
			}
			best[c.name] = max(best[c.name], float64(t.rows)/max(processorTime()-cpu, time.Microsecond).Seconds())
		}
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

// tokenLines measures tokens and date shifts. There is one build: what a processor has is used when the program runs, and the lines with fewer
// lanes are those of a processor without the wider ones. The experimental build of the compiler (GOEXPERIMENT=simd) has no code of its own
// for any of it.
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
	birth, err := token.NewResidentID(t.key, token.Identity{Birth: true})
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
	const (
		reset = "HMAC-SM3 one at a time, the library, key prepared once and reset"
		fresh = "HMAC-SM3 one at a time, the library, a new HMAC each"
		goal  = "1.5 default build, 5 SIMD"
	)
	ofReset := func(rates map[string]float64, own float64) string {
		return fmt.Sprintf("%.2f of reset, %.2f of new", own/rates[reset], own/rates[fresh])
	}
	rows16 := func(m *sm.MAC) func() error {
		return func() error { m.Rows(tags, 16, offsets, data); return nil }
	}
	all := []contestant{
		{reset, "", nil, one(func() hash.Hash { kept.Reset(); return kept })},
		{fresh, "", ofReset, one(func() hash.Hash { return hmac.New(sm.NewHash, make([]byte, sm.Size)) })},
	}
	for _, most := range []int{16, 8, 2} {
		if m := mac.AtMost(most); m.Lanes() == most {
			how := "SIMD by run time, default build"
			if most == 2 {
				how = "plain Go"
			}
			all = append(all, contestant{fmt.Sprintf("HMAC-SM3 over offsets and bytes, 16-byte tags, %d at a time, %s", most, how), goal, ofReset, rows16(m)})
		}
	}
	numberOnes := func(f *sm.FF1) func() error { return func() error { return f.Numbers(numbers, nil) } }
	all = append(all, []contestant{
		{fmt.Sprintf("keyed tokens, column to column, in hexadecimal, %d at a time", mac.Lanes()), goal, ofReset, apply(keyed, t.column)},
		{"one-block SM4 tokens of mobiles, in hexadecimal", "", nil, apply(block, mobiles)},
		{"FF1-SM4 over 18 digits as numbers", "4", nil, numberOnes(ff1)},
		{"FF1-SM4 over 18 digits as numbers, on the library's SM4", "", nil, numberOnes(ff1.OnLibrary())},
		{"FF1-SM4 tokens of identity numbers, 17 digits and check character", "4", nil, apply(id, t.column)},
		{"FF1-SM4 tokens of identity numbers, county kept", "4", nil, apply(region, t.column)},
		{"FF1-SM4 tokens of identity numbers, birth date kept", "4", nil, apply(birth, t.column)},
		{"date shift, four rows a subject", "", nil, func() error {
			a, err := shift.Apply(memory.DefaultAllocator, t.dates, t.subjects)
			if err == nil {
				a.Release()
			}
			return err
		}},
	}...)
	rates, err := t.rates(all)
	if err != nil {
		return nil, err
	}
	out := []string{tokensHeader}
	for _, c := range all {
		r, beside := rates[c.name], ""
		if c.beside != nil {
			beside = c.beside(rates, r)
		}
		out = append(out, fmt.Sprintf("| %s | %.2f | %s | %s |", c.name, r/1e6, beside, c.goal))
	}
	if id.Masked() > 0 || region.Masked() > 0 || birth.Masked() > 0 || block.Masked() > 0 {
		return nil, fmt.Errorf("benchmarks: generated values did not fit")
	}
	return out, nil
}
