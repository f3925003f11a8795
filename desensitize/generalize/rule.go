package generalize

import (
	"fmt"
	"strconv"
	"strings"
	"time"
)

func digits(s string) bool {
	for i := range len(s) {
		if s[i] < '0' || s[i] > '9' {
			return false
		}
	}
	return s != ""
}

// AreaCodes (行政区划代码) generalises codes after GB/T 2260: county → city (first four digits, then 00) → province (first two, then
// 0000) → *. Codes of nine digits (乡镇街道, GB/T 10114) and twelve (村居, 统计用区划代码) are taken too and lead to their city. A code is
// held against its form and a first digit of 1 to 9, not against a list of the living codes: historic ones stand in old records.
func AreaCodes() *Hierarchy { return &Hierarchy{name: "area", levels: 4, rule: areaRule{}} }

// TownCodes (乡镇街道代码) generalises codes of nine or twelve digits: village → town (first nine digits) → county (first six) → city →
// province → *. Of nine digits the first level is the town itself.
func TownCodes() *Hierarchy { return &Hierarchy{name: "town", levels: 6, rule: areaRule{below: 2}} }

// areaRule has levels below the county, if any.
type areaRule struct{ below int }

func (r areaRule) append(dst []byte, v string, level int) ([]byte, bool) {
	if n := len(v); n != 9 && n != 12 && (n != 6 || r.below > 0) || !digits(v) || v[0] == '0' {
		return dst, false
	}
	if level -= r.below; level <= 0 {
		return append(dst, v[:6-3*level]...), true
	}
	switch level {
	case 1:
		return append(append(dst, v[:4]...), "00"...), true
	case 2:
		return append(append(dst, v[:2]...), "0000"...), true
	}
	return append(dst, Star...), true
}

// sections of GB/T 4754-2017 (门类), each with its last division (大类); divisions run from 01 to 97 without a gap.
var sections = [...]struct {
	letter byte
	last   int
}{{'A', 5}, {'B', 12}, {'C', 43}, {'D', 46}, {'E', 50}, {'F', 52}, {'G', 60}, {'H', 62}, {'I', 65}, {'J', 69}, {'K', 70}, {'L', 72},
	{'M', 75}, {'N', 79}, {'O', 82}, {'P', 83}, {'Q', 85}, {'R', 90}, {'S', 96}, {'T', 97}}

// Industries (国民经济行业分类) generalises codes after GB/T 4754-2017: class (小类, four digits) → group (中类, three) → division (大类,
// two) → section (门类, a letter) → *. The section letter may stand before the digits and must then be the right one.
func Industries() *Hierarchy { return &Hierarchy{name: "industry", levels: 5, rule: industryRule{}} }

type industryRule struct{}

func (industryRule) append(dst []byte, v string, level int) ([]byte, bool) {
	code, letter := v, byte(0)
	if len(v) == 5 {
		letter, code = v[0], v[1:]
	}
	if len(code) != 4 || !digits(code) {
		return dst, false
	}
	division := int(code[0]-'0')*10 + int(code[1]-'0')
	section := byte(0)
	for _, s := range sections {
		if division >= 1 && division <= s.last {
			section = s.letter
			break
		}
	}
	if section == 0 || letter != 0 && letter != section {
		return dst, false
	}
	switch level {
	case 1:
		return append(dst, code[:3]...), true
	case 2:
		return append(dst, code[:2]...), true
	case 3:
		return append(dst, section), true
	}
	return append(dst, Star...), true
}

// MaxAge is the greatest age in years that AgeBands takes for one.
const MaxAge = 150

// AgeBands (年龄段) generalises whole years, 0 to MaxAge, into bands of the given widths, narrowest first, then *. A band is
// written 20-24, both ends in it. Each width is a multiple of the one before, or the levels would not nest. From top on, a
// multiple of the last width, all ages are one band ≥top at every level; 0 for none.
func AgeBands(top int, widths ...int) (*Hierarchy, error) {
	before := 1
	for _, w := range widths {
		if w <= before || w%before != 0 || w > MaxAge {
			return nil, bad("age bands", "each width is a larger multiple of the one before", "e.g. 5, 10, 20")
		}
		before = w
	}
	if len(widths) == 0 || len(widths) > MaxHierarchyLevels-2 || top < 0 || top > MaxAge || top%before != 0 {
		return nil, bad("age bands", "at least one width, and a top that is a multiple of the last", "e.g. widths 5, 10, 20 and top 80")
	}
	return &Hierarchy{name: "age", levels: len(widths) + 2, rule: ageRule{top, append([]int(nil), widths...)}}, nil
}

type ageRule struct {
	top    int
	widths []int
}

func (r ageRule) append(dst []byte, v string, level int) ([]byte, bool) {
	if len(v) > 3 || !digits(v) || len(v) > 1 && v[0] == '0' {
		return dst, false
	}
	age, _ := strconv.Atoi(v)
	switch {
	case age > MaxAge:
		return dst, false
	case level > len(r.widths):
		return append(dst, Star...), true
	case r.top > 0 && age >= r.top:
		return strconv.AppendInt(append(dst, "≥"...), int64(r.top), 10), true
	}
	w := r.widths[level-1]
	low := age / w * w
	dst = strconv.AppendInt(dst, int64(low), 10)
	return strconv.AppendInt(append(dst, '-'), int64(low+w-1), 10), true
}

// Dates (日期) generalises days written 2006-01-02: day → month (2006-01) → year → decade (2000-2009) → *.
func Dates() *Hierarchy { return &Hierarchy{name: "date", levels: 5, rule: dateRule{}} }

type dateRule struct{}

func (dateRule) append(dst []byte, v string, level int) ([]byte, bool) {
	if len(v) != 10 {
		return dst, false
	}
	if _, err := time.Parse(time.DateOnly, v); err != nil {
		return dst, false
	}
	switch level {
	case 1:
		return append(dst, v[:7]...), true
	case 2:
		return append(dst, v[:4]...), true
	case 3:
		dst = append(append(dst, v[:3]...), "0-"...)
		return append(append(dst, v[:3]...), '9'), true
	}
	return append(dst, Star...), true
}

// Rule (内置泛化规则) gives a built-in hierarchy by its name: area, town, icd10, industry, date, or age with widths and top as in
// "age:5,10,20" and "age:5,10,20,≥80".
func Rule(name string) (*Hierarchy, error) {
	switch name {
	case "area":
		return AreaCodes(), nil
	case "town":
		return TownCodes(), nil
	case "icd10":
		return ICD10(), nil
	case "industry":
		return Industries(), nil
	case "date":
		return Dates(), nil
	}
	if list, ok := strings.CutPrefix(name, "age:"); ok {
		top, widths := 0, []int(nil)
		for i, part := range strings.Split(list, ",") {
			t, isTop := strings.CutPrefix(part, "≥")
			n, err := strconv.Atoi(t)
			if err != nil || top != 0 || isTop && i == 0 || n <= 0 {
				return nil, bad("rule age", "widths are whole years, then perhaps ≥ and the top", "e.g. age:5,10,20,≥80")
			}
			if isTop {
				top = n
				continue
			}
			widths = append(widths, n)
		}
		return AgeBands(top, widths...)
	}
	return nil, bad(fmt.Sprintf("rule %.20q", name), "no such rule", "area, town, icd10, industry, date, or age:5,10,20")
}
