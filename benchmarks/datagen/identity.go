package datagen

import (
	"strings"
	"time"
)

// birth draws a date of birth from 1932 to 2023. Plants are born in 1975 to 1989, inside one wide band of ages, so that
// what makes their group small or dominated is the plant and not their age.
func (d *district) birth(r role) time.Time {
	if r != ordinary {
		return time.Date(1975, 1, 1+d.r.IntN(15*365), 0, 0, 0, 0, time.UTC)
	}
	return time.Date(1932, 1, 1+d.r.IntN(92*365), 0, 0, 0, 0, time.UTC)
}

// residentID gives a number nobody else of this run has (GB 11643): county, date, sequence (odd for men), check character.
func (d *district) residentID(birth time.Time, male bool) string {
	for {
		county := counties[d.r.IntN(9)]
		if d.r.IntN(4) == 0 {
			county = counties[d.r.IntN(len(counties))]
		}
		day := birth.Year()*10000 + int(birth.Month())*100 + birth.Day()
		key := (county*100_000_000 + day) * 2
		if male {
			key++
		}
		n := d.seq[key]
		if n >= 499 {
			continue // this day of this county is full; another county
		}
		d.seq[key] = n + 1
		last := 2*n + 2
		if male {
			last--
		}
		b := number(number(number(nil, county, 6), day, 8), last, 3)
		sum := 0
		for i, w := range [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2} {
			sum += w * int(b[i]-'0')
		}
		return string(append(b, "10X98765432"[sum%11]))
	}
}

// uscc gives a hospital's credit code (GB 32100, with its organisation code after GB 11714).
func (d *district) uscc() string {
	const alphabet = "0123456789ABCDEFGHJKLMNPQRTUWXY"
	b := number([]byte("12"), counties[d.r.IntN(9)], 6)
	sum := 0
	for _, w := range [8]int{3, 7, 9, 10, 5, 8, 4, 2} {
		c := alphabet[d.r.IntN(len(alphabet))]
		b = append(b, c)
		if c <= '9' {
			sum += w * int(c-'0')
		} else {
			sum += w * int(c-'A'+10)
		}
	}
	// A check character X is in the alphabet too.
	b = append(b, "0X987654321"[sum%11])
	sum, weight := 0, 1
	for _, c := range b {
		sum += strings.IndexByte(alphabet, c) * weight
		weight = weight * 3 % 31
	}
	return string(append(b, alphabet[(31-sum%31)%31]))
}

func (d *district) name(male bool) []byte {
	given := []rune(femaleNames)
	if male {
		given = []rune(maleNames)
	}
	family := []rune(familyNames)
	n := []rune{family[d.r.IntN(len(family))], given[d.r.IntN(len(given))]}
	if d.r.IntN(4) > 0 {
		n = append(n, given[d.r.IntN(len(given))])
	}
	return []byte(string(n))
}

func (d *district) mobilePrefix() string {
	list := [...]string{"130", "131", "132", "133", "135", "136", "137", "138", "139", "150", "151", "152", "155", "158", "159", "166", "176", "177",
		"180", "181", "185", "186", "187", "188", "189", "191", "198", "199"}
	return list[d.r.IntN(len(list))]
}
