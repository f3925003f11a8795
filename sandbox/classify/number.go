package classify

import "strings"

// provinces are the first two digits of a region code (GB/T 2260); 71, 81 and 82 are Taiwan, Hong Kong and Macao, 81 to 83
// also residence permits. Historic county codes are not listed anywhere, so a county is never held against a number.
const provinces = " 11 12 13 14 15 21 22 23 31 32 33 34 35 36 37 41 42 43 44 45 46 50 51 52 53 54 61 62 63 64 65 71 81 82 83 "

func isProvince(two string) bool { return strings.Contains(provinces, " "+two+" ") }

// isDate says whether yyyymmdd is a day between 1880 and 2099.
func isDate(s string) bool {
	if len(s) != 8 || !isDigits(s) {
		return false
	}
	y, m, d := number(s[:4]), number(s[4:6]), number(s[6:])
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
func checksGB11643(c string) bool {
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
	c := compact(fold(s))
	if !checksGB11643(c) || !isDate(c[6:14]) {
		return "", false
	}
	return c, true
}

func isResidentID(c string) bool {
	return checksGB11643(c) && isDate(c[6:14]) && isProvince(c[:2])
}

func isResidentID15(c string) bool {
	return len(c) == 15 && isDigits(c) && isProvince(c[:2]) && isDate("19"+c[6:12])
}

// alphabetUSCC leaves out I, O, S, V and Z; a character's place is its value (GB 32100).
const alphabetUSCC = "0123456789ABCDEFGHJKLMNPQRTUWXY"

// isUSCC holds department, category, region, check character and the organisation code within.
func isUSCC(c string) bool {
	if len(c) != 18 || !strings.Contains("123456789ANY", c[:1]) || !isDigits(c[2:8]) || !isProvince(c[2:4]) && c[2:4] != "10" {
		return false // 10 is the registration authority of the state itself
	}
	sum, weight := 0, 1
	for i := range 17 {
		v := strings.IndexByte(alphabetUSCC, c[i])
		if v < 0 {
			return false
		}
		sum += v * weight
		weight = weight * 3 % 31
	}
	return alphabetUSCC[(31-sum%31)%31] == c[17] && isOrganisationCode(c[8:17])
}

// isOrganisationCode checks the nine characters of GB 11714, which a USCC contains.
func isOrganisationCode(c string) bool {
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
func isBankCard(c string) bool {
	if len(c) < 16 || len(c) > 19 || !isDigits(c) {
		return false
	}
	two, four := number(c[:2]), number(c[:4])
	switch {
	case two == 62 || four == 9558: // UnionPay; an old series of the largest issuer
	case len(c) == 16 && (c[0] == '4' || two >= 51 && two <= 55 || four >= 2221 && four <= 2720 || two == 35):
	default:
		return false
	}
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

// mobilePrefixes are the assigned first three digits of personal numbers.
const mobilePrefixes = " 130 131 132 133 134 135 136 137 138 139 145 147 149 150 151 152 153 155 156 157 158 159 162 165 166 167" +
	" 170 171 172 173 175 176 177 178 180 181 182 183 184 185 186 187 188 189 190 191 192 193 195 196 197 198 199 "

// mobileOf gives the eleven digits of a mobile number without its country code.
func mobileOf(c string) (string, bool) {
	switch {
	case len(c) == 14 && strings.HasPrefix(c, "+86"):
		c = c[3:]
	case len(c) == 15 && strings.HasPrefix(c, "0086"):
		c = c[4:]
	case len(c) == 13 && strings.HasPrefix(c, "86"):
		c = c[2:]
	}
	if len(c) != 11 || !isDigits(c) || !strings.Contains(mobilePrefixes, " "+c[:3]+" ") {
		return "", false
	}
	return c, true
}
