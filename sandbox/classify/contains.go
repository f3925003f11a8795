package classify

import (
	"strings"
	"unicode/utf8"
)

// contains begins the kind of a column whose values are texts with a kind in them.
const contains = "contains-"

// Contains (文本中含有) is the kind of a column of running text in which values of kind k stand. Its grade is that of k.
func Contains(k Kind) Kind { return contains + k }

// Of gives the kind that a column contains, or the kind itself.
func (k Kind) Of() Kind { return Kind(strings.TrimPrefix(string(k), contains)) }

// places are the kinds that stand in one text, by how sure their places are.
type places struct {
	sure   set // every part of a standard, and nothing that touches it: one in a column is enough
	likely set // of at least placeLikely percent
	faint  set
	name   uint32 // the last faint name's characters
	coded  set    // in one code with hyphens and the like, where chance has more room than in text
}

const (
	placeSure   = 90
	placeLikely = 40
)

// Shares of a column's values that have a place of a kind, for the column to contain it.
const (
	shareLikely = 0.01
	shareFaint  = 0.10
	shareCoded  = 0.50
)

// Faint places are names; they count if they differ. One phrase that is mistaken for a name is in many replies of an office.
const (
	faintVariety = 3
	faintShare   = 0.05 // different ones per find
)

// textWindow is how much of the beginning and of the end of a long text is looked at, in bytes.
const textWindow = 4096

var kindPlace = func() map[Kind]int {
	m := map[Kind]int{}
	for i, k := range kinds {
		m[k] = i
	}
	return m
}()

// longWords is the length of Chinese text without marks and digits that is no running text yet, in bytes: ten characters.
const longWords = 30

// prose says whether a value may be running text: long, or with a space or punctuation beyond what dates and codes have. coded
// says that it is one code, without either.
func prose(s string) (ok, coded bool) {
	if len(s) < 11 {
		return false, false
	}
	telling, marks, plain := uint8(0), 0, true
	for i := 0; i < min(len(s), 2*textWindow); i++ {
		c := classOf[s[i]]
		telling |= c
		if c&(cDigit|cUpper|cLower) == 0 {
			plain = false
			switch s[i] {
			case '-', ':', '/', '.':
			case 0xe3, 0xef: // 。、 and the full-width forms begin so, and hardly a Chinese character does
				marks++
			default:
				if c&cHigh == 0 {
					marks++
				}
			}
		}
	}
	if telling&(cDigit|cAt|cHigh) == 0 && len(s) <= 2*textWindow {
		return false, false
	}
	if marks == 0 && telling&(cDigit|cAt) == 0 && len(s) <= longWords { // a word or a title
		return false, false
	}
	return !plain && (len(s) > 18 || marks > 0 || telling&cHigh != 0), marks == 0 && telling&cHigh == 0
}

// places finds what stands in a text: all of it, or of a long one the first and the last textWindow bytes.
func (sc *Scanner) places(m *match, s string) {
	if len(s) <= 2*textWindow {
		sc.put(&m.inside, s)
		return
	}
	end, start := textWindow, len(s)-textWindow
	for end > textWindow-utf8.UTFMax && !utf8.RuneStart(s[end]) {
		end--
	}
	for start < len(s) && start < len(s)-textWindow+utf8.UTFMax && !utf8.RuneStart(s[start]) {
		start++
	}
	sc.put(&m.inside, s[:end])
	sc.put(&m.inside, s[start:])
}

// codes finds what stands in a code.
func (sc *Scanner) codes(m *match, s string) {
	var p places
	sc.put(&p, s)
	m.inside.coded = p.likely
}

func (sc *Scanner) put(p *places, s string) {
	sc.spans = sc.Spans(sc.spans[:0], s)
	for _, f := range sc.spans {
		if f.Kind == Address && f.Confidence < 60 && 3*(f.End-f.Start) > 2*len(s) {
			continue // a region, and hardly more
		}
		i := kindPlace[f.Kind]
		switch {
		case f.Confidence >= placeSure:
			p.sure.put(i)
			fallthrough
		case f.Confidence >= placeLikely:
			p.likely.put(i)
		case f.Kind == PersonName: // numbers that the text calls by another name are none
			p.faint.put(i)
			p.name = hashText(s[f.Start:f.End])
		}
	}
}

// embedded gives the place of an identity number in one longer run of digits, counted from 1, noPlace for a run without one, or 0
// for what is no such run. A column has the number
// at one place in nearly all of its values; chance has it in 1 of 4,000 values of 30 digits, anywhere.
func (sc *Scanner) embedded(s string) uint8 {
	if len(s) < 19 || len(s) > 64 {
		return 0
	}
	digits := 0
	for i := range len(s) {
		switch c := classOf[s[i]]; {
		case c&cDigit != 0:
			digits++
		case c&(cUpper|cLower) == 0:
			return 0
		}
	}
	if digits < 17 {
		return 0
	}
	for i := 0; i+18 <= len(s); i++ {
		if s[i] < '1' || s[i] > '9' || s[i+6] != '1' && s[i+6] != '2' {
			continue
		}
		c := append(sc.norm[:0], s[i:i+18]...)
		if c[17] == 'x' {
			c[17] = 'X'
		}
		sc.norm = c
		if isResidentID(c) || isResidencePermit(c) {
			return uint8(i + 1)
		}
	}
	return noPlace
}

// noPlace marks a longer run of digits without an identity number.
const noPlace = 255

// shareEmbedded is the share of a column's longer runs of digits that have an identity number at the same place; minEmbedded
// are the fewest.
const (
	shareEmbedded = 0.90
	minEmbedded   = 3
)

// varied says whether n faint places differ enough.
func varied(different, n int) bool {
	return n > 0 && different >= min(n, faintVariety) && float64(different) >= faintShare*float64(n)
}

// contained gives what a column's texts contain, the strictest grade first and then the surest: its share of the values and its
// confidence, or None.
func (c *sample) contained() (k Kind, share float64, confidence int) {
	n := float64(len(c.matches))
	if n == 0 {
		return None, 0, 0
	}
	var sure, likely, faint, coded [len(kinds)]int
	var at [65]int
	names := map[uint32]struct{}{}
	most, runs := 0, 0
	for i := range c.matches {
		m := &c.matches[i]
		if m.offset > 0 {
			runs++
			if m.offset != noPlace {
				at[m.offset]++
				most = max(most, at[m.offset])
			}
		}
		if m.inside == (places{}) {
			continue
		}
		for j := range kinds {
			if m.inside.sure.has(j) {
				sure[j]++
			}
			if m.inside.likely.has(j) {
				likely[j]++
			}
			if m.inside.faint.has(j) {
				faint[j]++
				names[m.inside.name] = struct{}{}
			}
			if m.inside.coded.has(j) {
				coded[j]++
			}
		}
	}
	if most >= minEmbedded && float64(most) >= shareEmbedded*float64(runs) {
		return Contains(ResidentID), float64(most) / n, rules[ResidentID].base * 2 / 3
	}
	best := 0.0 // share weighted with how sure one place is
	for j, kind := range kinds {
		places := likely[j]
		found := sure[j] > 0 || likely[j] > 0 && float64(likely[j]) >= shareLikely*n
		if !found && float64(likely[j]+faint[j]) >= shareFaint*n && varied(len(names), faint[j]) {
			found, places = true, likely[j]+faint[j]
		}
		if !found && coded[j] > 0 && float64(coded[j]+likely[j]) >= shareCoded*n {
			found, places = true, coded[j]+likely[j]
		}
		if !found {
			continue
		}
		r := rules[kind]
		if score := float64(places) * float64(r.base); k == None || r.grade > rules[k.Of()].grade || r.grade == rules[k.Of()].grade && score > best {
			best, k, share = score, Contains(kind), float64(places)/n
			confidence = int(float64(r.base)*(0.5+0.5*share) + 0.5)
		}
	}
	return k, share, confidence
}
