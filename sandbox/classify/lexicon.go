package classify

import (
	_ "embed"
	"strings"
	"sync"
	"unicode/utf8"
)

// hanSet is a set of characters of the basic Han block, 2.6 kB.
type hanSet [(0xa000 - 0x4e00) / 64]uint64

func (s *hanSet) add(r rune) {
	if r >= 0x4e00 && r < 0xa000 {
		s[(r-0x4e00)/64] |= 1 << ((r - 0x4e00) % 64)
	}
}

func (s *hanSet) has(r rune) bool {
	return r >= 0x4e00 && r < 0xa000 && s[(r-0x4e00)/64]>>((r-0x4e00)%64)&1 == 1
}

func characters(text string) *hanSet {
	s := new(hanSet)
	for _, r := range text {
		s.add(r)
	}
	return s
}

// lexicon is a list of Han words, found by their ends first so that most places cost one look into a bit set, and by their
// first and last two characters next, so that nearly all others cost one more.
type lexicon struct {
	words       map[string]struct{}
	first, last hanSet
	alone       hanSet // words of one character
	head, tail  [1 << 10]uint64
	most        int // characters of the longest word
}

// pair is a place in head and tail: words share places, so that a hit there is only a reason to look.
func pair(a, b rune) (at, bit uint32) {
	h := (uint32(a)*0x9e3779b1 ^ uint32(b)*0x85ebca6b) >> 16
	return h >> 6, h & 63
}

func (l *lexicon) add(w string) {
	first, _ := utf8.DecodeRuneInString(w)
	last, _ := utf8.DecodeLastRuneInString(w)
	l.first.add(first)
	l.last.add(last)
	if r := []rune(w); len(r) == 1 {
		l.alone.add(r[0])
	} else {
		at, bit := pair(r[0], r[1])
		l.head[at] |= 1 << bit
		at, bit = pair(r[len(r)-2], r[len(r)-1])
		l.tail[at] |= 1 << bit
	}
	l.words[w] = struct{}{}
	l.most = max(l.most, utf8.RuneCountInString(w))
}

func (l *lexicon) has(w []byte) bool {
	_, ok := l.words[string(w)]
	return ok
}

func words(text ...string) *lexicon {
	l := &lexicon{words: map[string]struct{}{}}
	for _, t := range text {
		for _, w := range strings.Fields(t) {
			l.add(w)
		}
	}
	return l
}

// regionText lists region codes of GB/T 2260 (two, four or six digits) with their names: 2,978 counties as of November
// 2024, from modood/Administrative-divisions-of-China (WTFPL). Codes that were withdrawn are not in it.
//
//go:embed regions.txt
var regionText string

// tables are the dictionaries, built once and then only read.
type tables struct {
	county  [1_000_000 / 64]uint64
	regions *lexicon // full names of provinces, cities and counties
	short   *lexicon // names of provinces and cities without 省, 市: words that are both place and name

	surnames, given, lastNever, transliterated   *hanSet
	compounds, notNames, everyday, clinicalHeads *lexicon
	nameCues, titles, notAfterName               *lexicon
	diseases, diseaseEnds, notDiseases           *lexicon
	companies                                    *lexicon
	addressCues                                  *lexicon
	plates, wordly, working, particles           *hanSet
}

var loaded = sync.OnceValue(func() *tables {
	t := &tables{regions: words(), short: words("香港 澳门 台湾 内蒙古 广西 宁夏 新疆 西藏 黑龙江"),
		surnames: characters(surnames), given: characters(givenCharacters), lastNever: characters(lastNever), transliterated: characters(transliterated),
		compounds: words(compounds), notNames: words(notNames), everyday: words(notNames, clinical), clinicalHeads: words(clinicalHeads), nameCues: words(nameCues), titles: words(personTitles), notAfterName: words(notAfterName),
		diseases: words(diseases), diseaseEnds: words(diseaseEnds), notDiseases: words(notDiseases), companies: words(companyEnds),
		addressCues: words(addressCues), plates: characters(plateProvinces), wordly: characters(wordly), working: characters(working), particles: characters(particles)}
	for line := range strings.Lines(regionText) {
		line = strings.TrimSpace(line)
		digits := 0
		for digits < len(line) && line[digits] >= '0' && line[digits] <= '9' {
			digits++
		}
		name := line[digits:]
		if digits == 6 {
			n := number([]byte(line[:6]))
			t.county[n/64] |= 1 << (n % 64)
		}
		if utf8.RuneCountInString(name) < 2 {
			continue
		}
		t.regions.add(name)
		if digits < 6 {
			for _, end := range []string{"省", "市"} {
				if s, ok := strings.CutSuffix(name, end); ok && utf8.RuneCountInString(s) >= 2 {
					t.short.add(s)
				}
			}
		}
	}
	return t
})

// IsRegion (行政区划名称) says whether a name is that of a province, city or county in full, after GB/T 2260. Withdrawn names are not known.
func IsRegion(name []byte) bool { return loaded().regions.has(name) }

// knowsCounty says whether a six-digit region code is in the table. A code that is not may have been withdrawn.
func (t *tables) knowsCounty(c []byte) bool {
	n := number(c[:6])
	return t.county[n/64]>>(n%64)&1 == 1
}
