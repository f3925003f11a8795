package token

import (
	"encoding/binary"
	"math/bits"

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
	start, end uint64  // day numbers of the first and last day
	days       divisor // days in the years, 1 where the date is kept
	counties   uint64  // region codes with the kept digits
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
	l := &identity{Identity: c, counties: 1}
	days := uint64(1)
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
		days = l.end - l.start + 1
	}
	l.days = divide(days)
	return newFormat(k, l)
}

func (l *identity) name() []string {
	birth := "no"
	if l.Birth {
		birth = "yes"
	}
	return []string{"resident-id", "region", text(l.Region), "birth", birth, "years", text(l.First), text(l.Last)}
}

func (l *identity) integers() bool { return false }

func (l *identity) sizes() ([]uint64, int) {
	tweak := l.Region
	if l.Birth {
		tweak += 8
	}
	return []uint64{l.counties * l.days.by * 1000}, tweak
}

func (l *identity) read(v, tweak []byte) (int, uint64, bool) {
	if len(v) != 18 {
		return 0, 0, false
	}
	if c := v[16] - '0'; !eightDigits(v) || !eightDigits(v[8:]) || c > 9 {
		return 0, 0, false
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
		x = x*l.days.by + day - l.start
	}
	order := uint64(v[14]-'0')*100 + uint64(v[15]-'0')*10 + uint64(v[16]-'0')
	return 0, x*1000 + order, true
}

func (l *identity) write(out, v []byte, x uint64) {
	copy(out, v[:17])
	putDigits(out[14:17], x%1000)
	x /= 1000
	if !l.Birth {
		q := l.days.quotient(x)
		writeDay(out[6:14], l.start+x-q*l.days.by)
		x = q
	}
	if l.Region == 0 {
		x = uint64(provinceCodes[x/10000])*10000 + x%10000
	}
	putDigits(out[l.Region:6], x)
	out[17] = checkCharacter(out)
}

// weights of every second digit of eight, the first one highest, in the order of checkCharacter's words.
const (
	weights0 = 7<<48 | 10<<32 | 8<<16 | 2
	weights1 = 9<<48 | 5<<32 | 4<<16 | 1
	weights2 = 6<<48 | 7<<32 | 10<<16 | 8
	weights3 = 3<<48 | 9<<32 | 5<<16 | 4
)

// checkCharacter is ISO 7064 MOD 11-2 over 17 digits. Four digits at a time are multiplied by their weights: the highest quarter
// of a product is their sum.
func checkCharacter(v []byte) byte {
	_ = v[16]
	a, b := binary.LittleEndian.Uint64(v)-zeros, binary.LittleEndian.Uint64(v[8:])-zeros
	sum := a&evens*weights0>>48 + a>>8&evens*weights1>>48 + b&evens*weights2>>48 + b>>8&evens*weights3>>48 + 2*uint64(v[16]-'0')
	return "10X98765432"[sum%11]
}

const (
	zeros = 0x3030303030303030 // eight digits 0
	evens = 0x00ff00ff00ff00ff
)

// eightDigits says whether the first eight bytes are ASCII digits.
func eightDigits(v []byte) bool {
	const high = 0xf0f0f0f0f0f0f0f0
	x := binary.LittleEndian.Uint64(v)
	return x&high == zeros && (x+0x0606060606060606)&high == zeros
}

// divisor divides by a fixed number of at least 1 with one multiplication.
type divisor struct{ by, inv uint64 } // inv = floor((2^64-1) / by)

func divide(by uint64) divisor { return divisor{by, (1<<64 - 1) / by} }

// quotient is exact: the estimate is too small by at most one.
func (d divisor) quotient(x uint64) uint64 {
	q, _ := bits.Mul64(x, d.inv)
	if x-q*d.by >= d.by {
		q++
	}
	return q
}

// dayNumber counts days of the proleptic Gregorian calendar from 1 March of year 0.
func dayNumber(y, m, d int) uint64 {
	y -= int(months[m].before)
	return uint64(y*365 + y/4 - y/100 + y/400 + int(months[m].start) + d - 1)
}

// months of the civil year, from 1: where each starts in a year that begins in March, whether that is the year before, and its
// last day in common years and leap years.
var months = [16]struct {
	start  int16
	before int8
	last   [2]int8
}{1: {306, 1, [2]int8{31, 31}}, {337, 1, [2]int8{28, 29}}, {0, 0, [2]int8{31, 31}}, {31, 0, [2]int8{30, 30}}, {61, 0, [2]int8{31, 31}}, {92, 0, [2]int8{30, 30}},
	{122, 0, [2]int8{31, 31}}, {153, 0, [2]int8{31, 31}}, {184, 0, [2]int8{30, 30}}, {214, 0, [2]int8{31, 31}}, {245, 0, [2]int8{30, 30}}, {275, 0, [2]int8{31, 31}}}

// readDay reads yyyymmdd and holds that the day exists.
func readDay(s []byte) (uint64, bool) {
	if !eightDigits(s) {
		return 0, false
	}
	x := binary.LittleEndian.Uint64(s) - zeros
	x = (x*10 + x>>8) & evens // four numbers of two digits
	century, year, m, d := int(x&0xff), int(x>>16&0xff), int(x>>32&0xff), int(x>>48)
	y := century*100 + year
	if y < 1 || m > 12 {
		return 0, false
	}
	leap := 0
	if year%4 == 0 && (year != 0 || century%4 == 0) {
		leap = 1
	}
	if d < 1 || d > int(months[m].last[leap]) { // month 0 has no day
		return 0, false
	}
	return dayNumber(y, m, d), true
}

// calendarDay is a day of a year that begins in March: month and day as they are written, and whether it is in the next civil
// year.
type calendarDay struct {
	text uint32
	next uint32
}

var calendarDays = func() (all [366]calendarDay) {
	for i := range all {
		month := (5*i + 2) / 153
		day, m := i-(153*month+2)/5+1, month+3
		if m > 12 {
			m -= 12
			all[i].next = 1
		}
		all[i].text = uint32(pairs[m]) | uint32(pairs[day])<<16
	}
	return
}()

// pairs are the numbers of two digits as they are written, read little-endian.
var pairs = func() (all [100]uint16) {
	for i := range all {
		all[i] = uint16('0'+i/10) | uint16('0'+i%10)<<8
	}
	return
}()

// writeDay undoes readDay.
func writeDay(out []byte, n uint64) {
	era, of := n/146097, n%146097
	year := (of - of/1460 + of/36524 - of/146096) / 365
	day := calendarDays[of-(365*year+year/4-year/100)]
	y := year + 400*era + uint64(day.next)
	binary.LittleEndian.PutUint16(out, pairs[y/100])
	binary.LittleEndian.PutUint16(out[2:], pairs[y%100])
	binary.LittleEndian.PutUint32(out[4:], day.text)
}
