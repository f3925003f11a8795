package columnar

import (
	"encoding/binary"
	"math"
	"slices"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// coder turns the values of one column into label codes: through a registered bin, or the public values themselves.
// Each label has one code, so that a public value spelled like one is that label. The labels of a closed coder are fixed; those of an
// open one grow as values are seen.
type coder struct {
	*labels
	max     int // of an open coder: labels allowed beside Missing
	closed  bool
	object  string
	kind    coderKind
	missing uint32 // code of nulls, noCode until the first when names grow

	edges []int64  // edge bins: amounts ascending, or for ages the latest birth days, descending
	codes []uint32 // edges reached → code

	table []uint32 // date bins: code of day base+i, noCode where not known yet
	base  int64

	texts    *texts            // seen texts
	recent   *recentTexts      // of them, short ones
	textCode []uint32          // → code; of an open coder they are the same
	group    map[string]uint32 // Prefix, Codes: code list entry → code
	longest  int               // longest entry
	other    uint32
	kept     *index64 // public words a filter tells apart
	keptCode []uint32 // → code
	scratch  []uint64 // a piece of words, and their numbers
	ids      []uint32

	given      []int32 // of a piece with nulls: the rows that have a value, and their codes
	codesGiven []uint32
	flags      []uint8
	translated translation // texts that come as a dictionary
}

type coderKind int

const (
	byEdges coderKind = iota
	byAge
	byYear
	byPrefix // text bins and filters on public texts
	byExact
	byText // public values, names grow as they are seen
	byWord
)

const (
	noCode     = ^uint32(0)
	maxTable   = 1 << 17 // days a date table covers: 358 years
	textCached = 1 << 16 // distinct texts a closed coder remembers
	rest       = "\x00"  // no label spells it
)

// newCoder makes a coder for a bin of column c, or for the public column itself when b is nil. keep, for filters on
// public columns, lists the values worth telling apart; all others are Other.
func newCoder(mem memory.Allocator, object string, c *catalog.Column, b *catalog.Bin, keep []string, maxNames int) *coder {
	k := &coder{labels: newLabels(mem, c, b == nil && keep == nil), max: maxNames, object: object, missing: noCode}
	if b != nil && (b.Kind == catalog.Age || b.Kind == catalog.Amount) {
		k.closed = true
		k.edges = b.Edges
		for _, l := range b.Labels() {
			k.codes = append(k.codes, k.name(l))
		}
		if k.kind = byEdges; b.Kind == catalog.Age {
			k.kind = byAge
			k.ages(b)
		}
		k.missing = k.name(catalog.Missing)
		return k
	}
	if b != nil && b.Kind == catalog.Year {
		k.kind = byYear
		first := time.Date(1850, 1, 1, 0, 0, 0, 0, time.UTC)
		k.base = first.Unix() / secondsPerDay
		k.table = slices.Repeat([]uint32{noCode}, int(first.AddDate(300, 0, 0).Unix()/secondsPerDay-k.base))
		return k
	}
	if b == nil && keep == nil {
		k.missing = 0
		if k.kind = byWord; c.Type == catalog.Text {
			k.kind, k.texts, k.recent = byText, k.spelt, new(recentTexts)
		} else {
			k.scratch, k.ids = make([]uint64, piece), make([]uint32, piece)
		}
		return k
	}
	k.closed, k.missing = true, k.name(catalog.Missing)
	if b != nil {
		k.other = k.name(catalog.Other)
	} else {
		k.other = k.name(rest) // a public value may be spelled "other"
	}
	if c.Type != catalog.Text {
		k.kind, k.kept = byWord, newIndex64(mem)
		for _, l := range keep {
			if v, ok := query.Value(c, l); ok {
				k.kept.id(uint64(v))
				k.keptCode = append(k.keptCode, k.name(l))
			}
		}
		return k
	}
	k.kind, k.group, k.texts, k.recent = byExact, map[string]uint32{}, newTexts(mem), new(recentTexts)
	if b == nil {
		for _, l := range keep {
			k.group[l] = k.name(l)
		}
		return k
	}
	if b.Kind == catalog.Prefix {
		k.kind = byPrefix
	}
	for _, g := range b.Groups {
		for _, code := range g.Codes {
			k.group[code] = k.name(g.Label)
			k.longest = max(k.longest, len(code))
		}
	}
	return k
}

func (k *coder) free() {
	if k.texts != nil && k.kind != byText {
		k.texts.free()
	}
	if k.kept != nil {
		k.kept.free()
	}
	if k.labels != nil {
		k.labels.free()
	}
}

// name gives the code of a label, adding it if new.
func (k *coder) name(l string) uint32 {
	c := k.code(l)
	if l == catalog.Missing {
		k.missing = c
	}
	return c
}

const secondsPerDay = 24 * 60 * 60

// ages turns edges in years into the latest birth day that reaches each at the bin's reference date.
func (k *coder) ages(b *catalog.Bin) {
	at, err := time.Parse(time.DateOnly, b.At)
	if err != nil {
		at = time.Time{} // a registered bin has been validated
	}
	k.edges = nil
	for _, e := range b.Edges {
		const far = 10_000_000 // years; date32 covers less
		switch {
		case e > far:
			k.edges = append(k.edges, math.MinInt64)
		case e < -far:
			k.edges = append(k.edges, math.MaxInt64)
		default:
			day := time.Date(at.Year()-int(e), at.Month(), at.Day(), 0, 0, 0, 0, time.UTC)
			last := day.Unix() / secondsPerDay
			if day.Day() != at.Day() { // 29 February of a common year became 1 March
				last--
			}
			k.edges = append(k.edges, last)
		}
	}
	oldest, youngest := k.edges[len(k.edges)-1], k.edges[0]
	if oldest < math.MinInt32 || youngest > math.MaxInt32 || youngest-oldest >= maxTable {
		return
	}
	k.base = oldest
	for day := oldest; day <= youngest+1; day++ {
		k.table = append(k.table, k.codes[k.reached(day)])
	}
}

// reached counts the ages reached by someone born on day.
func (k *coder) reached(day int64) int {
	n := 0
	for _, e := range k.edges {
		if day <= e {
			n++
		}
	}
	return n
}

// encode writes the codes of the selected rows.
func (k *coder) encode(c *column, sel []int32, out []uint32) error {
	out = out[:len(sel)]
	if c.valid != nil {
		return k.encodeGiven(c, sel, out)
	}
	switch k.kind {
	case byEdges:
		for j, i := range sel {
			n, v := 0, c.ints[i]
			for _, e := range k.edges {
				if v >= e {
					n++
				}
			}
			out[j] = k.codes[n]
		}
	case byAge:
		if k.table == nil {
			for j, i := range sel {
				out[j] = k.codes[k.reached(int64(c.days[i]))]
			}
			break
		}
		last := int64(len(k.table) - 1)
		for j, i := range sel {
			out[j] = k.table[min(max(int64(c.days[i])-k.base, 0), last)]
		}
	case byYear:
		for j, i := range sel {
			day := int64(c.days[i]) - k.base
			if uint64(day) < uint64(len(k.table)) && k.table[day] != noCode {
				out[j] = k.table[day]
				continue
			}
			out[j] = k.year(int64(c.days[i]))
			if uint64(day) < uint64(len(k.table)) {
				k.table[day] = out[j]
			}
		}
	case byPrefix, byExact, byText:
		if c.codes != nil {
			k.encodeCodes(c, sel, out)
		} else {
			k.encodeTexts(c, sel, out)
		}
	default:
		if k.closed {
			for j, i := range sel {
				out[j] = k.word(c.word(i))
			}
		} else {
			k.encodeWords(c, sel, out)
		}
	}
	if !k.closed && k.size() > k.max+1 {
		return tooLarge(k.object, "labels", k.max)
	}
	return nil
}

// encodeWords codes public values of an open coder.
func (k *coder) encodeWords(c *column, sel []int32, out []uint32) {
	if len(sel) == 0 {
		return
	}
	words := k.scratch[:len(sel)]
	if c.ints != nil {
		for j, i := range sel {
			words[j] = uint64(c.ints[i])
		}
	} else {
		for j, i := range sel {
			words[j] = uint64(c.word(i))
		}
	}
	// Runs of equal words, as clustered rows have them, become one each, without a branch.
	run, prev := -1, ^words[0]
	for j, w := range words {
		differs := w ^ prev
		run += int((differs | -differs) >> 63)
		words[run], prev, out[j] = w, w, uint32(run)
	}
	k.words.ids(words[:run+1], k.ids)
	for j, run := range out {
		out[j] = k.ids[run] + 1
	}
}

// recentTexts remembers the codes of texts of up to 7 bytes by where their packed word falls, two in a place, so that most rows need
// no table.
type recentTexts [1 << 10]struct {
	word [2]uint64 // of pack, with a bit that no packed word has
	code [2]uint32
}

const (
	recentBit = 1 << 63
	golden    = 0x9e3779b97f4a7c15
)

// encodeTexts codes texts. An asker cannot choose what stands in the data: a place of recent that many words fall on costs time only.
func (k *coder) encodeTexts(c *column, sel []int32, out []uint32) {
	offs, data, recent := c.offs, c.data, k.recent
	var last []byte // the last text not among recent ones
	var code uint32
	for j, i := range sel {
		from, to := offs[i], offs[i+1]
		if n := uint(to - from); n <= 7 && int(from)+8 <= len(data) {
			w := binary.LittleEndian.Uint64(data[from:])&(1<<(8*n)-1) | uint64(n)<<56 | recentBit
			r := &recent[w*golden>>54]
			// Which of the two it is cannot be foretold: both are looked at without a branch.
			first, code := r.word[0]^w, r.code[1]
			if first == 0 {
				code = r.code[0]
			}
			if min(first, r.word[1]^w) == 0 {
				out[j] = code
				continue
			}
			out[j] = k.encodeText(data, from, to)
			r.word[1], r.code[1] = r.word[0], r.code[0]
			r.word[0], r.code[0] = w, out[j]
			continue
		}
		if s := data[from:to]; last == nil || string(s) != string(last) {
			last, code = s, k.encodeText(data, from, to)
		}
		out[j] = code
	}
}

func (k *coder) encodeText(data []byte, from, to int32) uint32 {
	if k.kind == byText {
		return k.texts.put(data, from, to)
	}
	if n, ok := k.texts.get(data, from, to); ok {
		return k.textCode[n]
	}
	code := k.grouped(data[from:to])
	if k.texts.n < textCached {
		k.texts.put(data, from, to)
		k.textCode = append(k.textCode, code)
	}
	return code
}

// grouped finds the code list entry for s; of several prefixes the longest.
func (k *coder) grouped(s []byte) uint32 {
	if k.kind == byExact {
		if code, ok := k.group[string(s)]; ok {
			return code
		}
		return k.other
	}
	for n := min(len(s), k.longest); n > 0; n-- {
		if code, ok := k.group[string(s[:n])]; ok {
			return code
		}
	}
	return k.other
}

func (k *coder) year(day int64) uint32 { return k.name(yearName(yearOf(day))) }

// word codes a value a filter tells apart, or not.
func (k *coder) word(v int64) uint32 {
	if n, ok := k.kept.get(uint64(v)); ok {
		return k.keptCode[n]
	}
	return k.other
}

// coderFor makes the coder of a filter or label.
func (r *run) coderFor(input int, name string, id sandbox.BinID, keep []string, maxNames int) *coder {
	in := &r.d.Inputs[input]
	c, _ := in.Described.Column(name)
	var b *catalog.Bin
	if id != "" {
		b, _ = in.Described.Bin(id)
	}
	return newCoder(r.mem, string(in.Dataset)+"."+name, c, b, keep, maxNames)
}

// newCoder makes the coder of a label column.
func (r *run) newCoder(label, maxNames int) *coder {
	l := r.labels[label]
	if l.score != nil {
		k := &coder{labels: newLabels(r.mem, nil, false), closed: true}
		for _, b := range l.score.names {
			k.name(b)
		}
		return k
	}
	return r.coderFor(l.input, l.name, l.bin, nil, maxNames)
}
