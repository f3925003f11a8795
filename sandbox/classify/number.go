package classify

import "bytes"

// provinces are the first two digits of a region code (GB/T 2260); 71 is Taiwan, 81 and 82 are Hong Kong and Macao.
const provinces = " 11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83 "

// provinceBits is provinces by number.
var provinceBits = func() (t [100]bool) {
	for i := 1; i < len(provinces); i += 3 {
		t[number([]byte(provinces[i:i+2]))] = true
	}
	return t
}()

func isProvince(c []byte) bool { return provinceBits[int(c[0]-'0')*10+int(c[1]-'0')] }

// isDate says whether yyyymmdd is a day between 1880 and 2099.
func isDate(s []byte) bool {
	if len(s) != 8 || !isDigits(s) {
		return false
	}
	return isDay(number(s[:4]), s[4:])
}

// isDay holds mmdd against the calendar of the year y.
func isDay(y int, s []byte) bool {
	m, d := number(s[:2]), number(s[2:4])
	if y < 1880 || y > 2099 || m < 1 || m > 12 || d < 1 {
		return false
	}
	days := [...]int{31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31}[m-1]
	if m == 2 && (y%4 == 0 && y%100 != 0 || y%400 == 0) {
		days = 29
	}
	return d <= days
}

// checksGB11643 holds the last of 18 characters against the first 17 (GB 11643, ISO 7064 MOD 11-2).
func checksGB11643(c []byte) bool {
	if len(c) != 18 || !isDigits(c[:17]) {
		return false
	}
	sum := 0
	for i, w := range [17]int{7, 9, 10, 5, 8, 4, 2, 1, 6, 3, 7, 9, 10, 5, 8, 4, 2} {
		sum += w * int(c[i]-'0')
	}
	return "10X98765432"[sum%11] == c[17]
}

// NormalizeResidentID gives the one form of an 18-character identity number: half-width, no spaces or hyphens, capital X.
// It holds the date and the check character (GB 11643); the region is not held against it, because permits issued to
// non-residents use codes of their own. The old 15-digit form has no check character and is refused.
func NormalizeResidentID(s string) (string, bool) {
	if len(s) > 128 {
		return "", false
	}
	var c [19]byte
	n := 0
	for _, r := range s {
		switch r = folded(r); {
		case r < 0 || r <= ' ' || r == '-':
			continue
		case r >= 'a' && r <= 'z':
			r -= 'a' - 'A'
		case r >= 0x80:
			return "", false
		}
		if n == len(c) {
			return "", false
		}
		c[n] = byte(r)
		n++
	}
	if !checksGB11643(c[:n]) || !isDate(c[6:14]) {
		return "", false
	}
	return string(c[:n]), true
}

// isResidentID wants check character, date and province together: of random 18-character strings two in 100,000 have all.
func isResidentID(c []byte) bool {
	return len(c) == 18 && c[0] != '0' && c[0] <= '9' && isDigits(c[:17]) && isProvince(c[:2]) && isDate(c[6:14]) && checksGB11643(c)
}

// isResidencePermit: 810000, 820000 and 830000 are residence permits of Hong Kong, Macao and Taiwan residents; a 9 begins the
// permanent residence card of foreigners, then come province, country, birth date, sequence and the same check character. The
// second rule is from general knowledge; its standard was not read.
func isResidencePermit(c []byte) bool {
	if len(c) != 18 || !isDigits(c[:17]) || !isDate(c[6:14]) {
		return false
	}
	own := c[0] == '8' && c[1] >= '1' && c[1] <= '3' && bytes.Equal(c[2:6], []byte("0000"))
	foreign := c[0] == '9' && isProvince(c[1:3])
	return (own || foreign) && checksGB11643(c)
}

func isResidentID15(c []byte) bool {
	return len(c) == 15 && isDigits(c) && isProvince(c[:2]) && isDay(1900+number(c[6:8]), c[8:12])
}

// alphabetUSCC leaves out I, O, S, V and Z; a character's place is its value (GB 32100).
const alphabetUSCC = "0123456789ABCDEFGHJKLMNPQRTUWXY"

var valueUSCC = func() (t [256]int8) {
	for i := range t {
		t[i] = int8(bytes.IndexByte([]byte(alphabetUSCC), byte(i)))
	}
	return t
}()

// isUSCC holds department, category, region, check character and the organisation code within.
func isUSCC(c []byte) bool {
	if len(c) != 18 || !(c[0] >= '1' && c[0] <= '9' || c[0] == 'A' || c[0] == 'N' || c[0] == 'Y') || !isDigits(c[2:8]) {
		return false
	}
	if c[1] < '1' || c[1] > '9' || c[1] >= '6' && c[1] <= '8' { // categories 1 to 5, and 9 for others
		return false
	}
	if !isProvince(c[2:4]) && (c[2] != '1' || c[3] != '0') {
		return false // 10 is the registration authority of the state itself
	}
	sum, weight := 0, 1
	for i := range 17 {
		v := int(valueUSCC[c[i]])
		if v < 0 {
			return false
		}
		sum += v * weight
		weight = weight * 3 % 31
	}
	return alphabetUSCC[(31-sum%31)%31] == c[17] && isOrganisationCode(c[8:17])
}

// isOrganisationCode checks the nine characters of GB 11714, which a USCC contains.
func isOrganisationCode(c []byte) bool {
	if len(c) != 9 {
		return false
	}
	sum := 0
	for i, w := range [8]int{3, 7, 9, 10, 5, 8, 4, 2} {
		switch {
		case c[i] >= '0' && c[i] <= '9':
			sum += w * int(c[i]-'0')
		case c[i] >= 'A' && c[i] <= 'Z':
			sum += w * int(c[i]-'A'+10)
		default:
			return false
		}
	}
	return "0X987654321"[sum%11] == c[8]
}

// isBankCard holds length, issuer prefix and the Luhn digit (ISO/IEC 7812).
func isBankCard(c []byte) bool {
	if len(c) < 15 || len(c) > 19 || !isDigits(c) {
		return false
	}
	two, four := number(c[:2]), number(c[:4])
	switch {
	case len(c) >= 16 && (two == 62 || four == 9558): // UnionPay; an old series of the largest issuer
	case len(c) == 16 && (c[0] == '4' || two >= 51 && two <= 55 || four >= 2221 && four <= 2720 || two == 35):
	case len(c) == 15 && (two == 34 || two == 37):
	default:
		return false
	}
	return luhn(c)
}

func luhn(c []byte) bool {
	sum := 0
	for i := range len(c) {
		d := int(c[len(c)-1-i] - '0')
		if i%2 == 1 {
			if d *= 2; d > 9 {
				d -= 9
			}
		}
		sum += d
	}
	return sum%10 == 0
}

// isVIN holds the 17 characters of a vehicle identification number: no I, O or Q, a letter somewhere, the check digit in the
// ninth place (GB 16735; the weights were checked against published numbers).
func isVIN(c []byte) bool {
	if len(c) != 17 || !(c[8] >= '0' && c[8] <= '9' || c[8] == 'X') || !isDigits(c[13:]) {
		return false
	}
	sum, letters := 0, 0
	for i, w := range [17]int{8, 7, 6, 5, 4, 3, 2, 10, 0, 9, 8, 7, 6, 5, 4, 3, 2} {
		v := 0
		switch x := c[i]; {
		case x >= '0' && x <= '9':
			v = int(x - '0')
		case x == 'I' || x == 'O' || x == 'Q' || x < 'A' || x > 'Z':
			return false
		default:
			v = int("12345678012345070923456789"[x-'A'] - '0')
			letters++
		}
		sum += w * v
	}
	return letters > 0 && "0123456789X"[sum%11] == c[8]
}

// isHKID holds one or two letters, six digits and the check character; a missing first letter counts 36.
func isHKID(c []byte) bool {
	if len(c) != 8 && len(c) != 9 {
		return false
	}
	n := len(c) - 7 // letters
	if c[0] < 'A' || c[0] > 'Z' || c[n-1] < 'A' || c[n-1] > 'Z' || !isDigits(c[n:n+6]) {
		return false
	}
	sum := 36 * 9
	if n == 2 {
		sum = 9 * int(c[0]-'A'+10)
	}
	sum += 8 * int(c[n-1]-'A'+10)
	for i := range 6 {
		sum += (7 - i) * int(c[n+i]-'0')
	}
	return "0A987654321"[sum%11] == c[n+6]
}

// isPassport accepts the series of Chinese passports: E, G, D, S, P or K and eight digits, or E and a letter other than I and
// O and seven digits. There is no check character: weak evidence.
func isPassport(c []byte) bool {
	if len(c) != 9 {
		return false
	}
	switch c[0] {
	case 'E':
		return isDigits(c[2:]) && (isDigits(c[1:2]) || c[1] >= 'A' && c[1] <= 'Z' && c[1] != 'I' && c[1] != 'O')
	case 'G', 'D', 'S', 'P', 'K':
		return isDigits(c[1:])
	}
	return false
}

// isTravelPermit accepts H or M and eight or ten digits (Hong Kong and Macao residents), C or W and eight digits or C and a
// letter and seven (to Hong Kong and Macao), L or T and eight digits (to Taiwan). No check character: weak evidence.
func isTravelPermit(c []byte) bool {
	if len(c) != 9 && len(c) != 11 {
		return false
	}
	switch c[0] {
	case 'H', 'M':
		return isDigits(c[1:])
	case 'C', 'W', 'L', 'T':
		return len(c) == 9 && isDigits(c[2:]) && (isDigits(c[1:2]) || c[0] == 'C' && c[1] >= 'A' && c[1] <= 'Z')
	}
	return false
}

// isICD10 accepts a letter, two digits, and subdivisions as hospitals write them: E11.9, I10.X00, E11.900X001.
func isICD10(c []byte) bool {
	if len(c) < 3 || c[0] < 'A' || c[0] > 'Z' || !isDigits(c[1:3]) {
		return false
	}
	rest := bytes.TrimRight(c[3:], "+*")
	if len(rest) == 0 {
		return true
	}
	if rest[0] != '.' || len(rest) < 2 || len(rest) > 9 {
		return false
	}
	for i, r := range rest[1:] {
		if (r < '0' || r > '9') && (r != 'X' || i == 8) {
			return false
		}
	}
	return true
}
