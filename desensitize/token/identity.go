package token

import (
	"github.com/opdomain/opdomain/sandbox"
)

// Identity (身份证件号码保留项) says what a resident identity number's token keeps of it and which birth dates fit.
type Identity struct {
	Region      int  // leading digits of the region code kept: 0, 2 (province), 4 (city) or 6 (county)
	Birth       bool // the birth date kept
	First, Last int  // years of birth that fit, and that tokens have; zero: 1900 and 2049
}

// provinceCodes are the first two digits of region codes (GB/T 2260) and of residence permits, as package classify has them.
var provinceCodes = [...]byte{11, 12, 13, 14, 15, 21, 22, 23, 31, 32, 33, 34, 35, 36, 37, 41, 42, 43, 44, 45, 46, 50, 51, 52, 53, 54, 61, 62, 63, 64, 65, 71, 81, 82, 83}

var provincePlaces = func() (p [100]int8) {
	for i := range p {
		p[i] = -1
	}
	for i, c := range provinceCodes {
		p[c] = int8(i)
	}
	return
}()

type identity struct {
	Identity
	start, end uint64 // day numbers of the first and last day
	days       uint64 // days in the years, 1 where the date is kept
	counties   uint64 // region codes with the kept digits
}

// NewResidentID (公民身份号码, GB 11643) makes the operation on 18-character numbers: region, birth date, order and check character;
// a lower-case x is read as X. A token has an assigned province, a real date within the years and a right check character;
// the four digits of city and county are any. A number with a wrong check character, an unreal date or one outside the
// years, or an unassigned province does not fit. Tokens look like numbers of people and may be a living person's: they
// are marked by the table they are in, not by their form.
//
// Denied where what is not kept has fewer than 1,000,000 values: the birth date with four or six digits of the region.
func NewResidentID(k Key, c Identity) (*Format, error) {
	if c.First == 0 && c.Last == 0 {
		c.First, c.Last = 1900, 2049
	}
	l := identity{Identity: c, days: 1, counties: 1}
	switch c.Region {
	case 0:
		l.counties = uint64(len(provinceCodes)) * 10000
	case 2, 4, 6:
		l.counties = power(6 - c.Region)
	default:
		return nil, &sandbox.Error{Op: "token: resident-id", Kind: sandbox.Invalid, Object: "region", Detail: "0, 2, 4 or 6 digits are kept"}
	}
	if c.First < 1 || c.Last > 9999 || c.First > c.Last {
		return nil, &sandbox.Error{Op: "token: resident-id", Kind: sandbox.Invalid, Object: "years", Detail: "first and last year are 1 to 9999, in order"}
	}
	l.start, l.end = dayNumber(c.First, 1, 1), dayNumber(c.Last, 12, 31)
	if !c.Birth {
		l.days = l.end - l.start + 1
	}
	return newFormat(k, l)
}

func (l identity) name() []string {
	birth := "no"
	if l.Birth {
		birth = "yes"
	}
	return []string{"resident-id", "region", text(l.Region), "birth", birth, "years", text(l.First), text(l.Last)}
}

func (l identity) integers() bool { return false }

func (l identity) sizes() ([]uint64, int) {
	tweak := l.Region
	if l.Birth {
		tweak += 8
	}
	return []uint64{l.counties * l.days * 1000}, tweak
}

func (l identity) read(v, tweak []byte) (int, uint64, bool) {
	if len(v) != 18 {
		return 0, 0, false
	}
	for _, c := range v[:17] {
		if c-'0' > 9 {
			return 0, 0, false
		}
	}
	if c := checkCharacter(v); c != v[17] && (c != 'X' || v[17] != 'x') {
		return 0, 0, false
	}
	province := provincePlaces[(v[0]-'0')*10+v[1]-'0']
	day, ok := readDay(v[6:14])
	if !ok || province < 0 || day < l.start || day > l.end {
		return 0, 0, false
	}
	x, _ := digits(v[l.Region:6])
	if l.Region == 0 {
		x = uint64(province)*10000 + x%10000
	}
	n := copy(tweak, v[:l.Region])
	if l.Birth {
		copy(tweak[n:], v[6:14])
	} else {
		x = x*l.days + day - l.start
	}
	order, _ := digits(v[14:17])
	return 0, x*1000 + order, true
}

func (l identity) write(out, v []byte, x uint64) {
	copy(out, v[:17])
	putDigits(out[14:17], x%1000)
	x /= 1000
	if !l.Birth {
		writeDay(out[6:14], l.start+x%l.days)
		x /= l.days
	}
	if l.Region == 0 {
		x = uint64(provinceCodes[x/10000])*10000 + x%10000
	}
	putDigits(out[l.Region:6], x)
	out[17] = checkCharacter(out)
}

// checkCharacter is ISO 7064 MOD 11-2 over 17 digits.
func checkCharacter(v []byte) byte {
	_ = v[16]
	d := func(i int) uint { return uint(v[i] - '0') }
	sum := 7*(d(0)+d(10)) + 9*(d(1)+d(11)) + 10*(d(2)+d(12)) + 5*(d(3)+d(13)) + 8*(d(4)+d(14)) + 4*(d(5)+d(15)) + 2*(d(6)+d(16)) + d(7) + 6*d(8) + 3*d(9)
	return "10X98765432"[sum%11]
}

// dayNumber counts days of the proleptic Gregorian calendar from 1 March of year 0.
func dayNumber(y, m, d int) uint64 {
	if m <= 2 {
		y, m = y-1, m+12
	}
	return uint64(y*365 + y/4 - y/100 + y/400 + (153*(m-3)+2)/5 + d - 1)
}

// date undoes dayNumber.
func date(n uint64) (y, m, d int) {
	era, of := n/146097, n%146097
	year := (of - of/1460 + of/36524 - of/146096) / 365
	day := of - (365*year + year/4 - year/100)
	month := (5*day + 2) / 153
	y, m, d = int(year+400*era), int(month)+3, int(day-(153*month+2)/5)+1
	if m > 12 {
		y, m = y+1, m-12
	}
	return y, m, d
}

// readDay reads yyyymmdd and holds that the day exists.
func readDay(s []byte) (uint64, bool) {
	x, ok := digits(s)
	y, m, d := int(x/10000), int(x/100%100), int(x%100)
	if !ok || y < 1 || m < 1 || m > 12 || d < 1 || d > 31 {
		return 0, false
	}
	if d > 28 {
		last := [...]int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[m-1]
		if m == 2 && (y%4 == 0 && y%100 != 0 || y%400 == 0) {
			last = 29
		}
		if d > last {
			return 0, false
		}
	}
	return dayNumber(y, m, d), true
}

func writeDay(out []byte, n uint64) {
	y, m, d := date(n)
	putDigits(out, uint64(y*10000+m*100+d))
}
