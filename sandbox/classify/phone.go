package classify

import "bytes"

// mobilePrefixes are the assigned first three digits of personal numbers.
const mobilePrefixes = " 130 131 132 133 134 135 136 137 138 139 145 147 149 150 151 152 153 155 156 157 158 159 162 165 166 167" +
	" 170 171 172 173 175 176 177 178 180 181 182 183 184 185 186 187 188 189 190 191 192 193 195 196 197 198 199 "

var mobileBits = func() (t [1000]bool) {
	for i := 1; i < len(mobilePrefixes); i += 4 {
		t[number([]byte(mobilePrefixes[i:i+3]))] = true
	}
	return t
}()

// mobileOf gives the eleven digits of a mobile number without its country code or trunk zero.
func mobileOf(c []byte) ([]byte, bool) {
	switch {
	case len(c) == 14 && bytes.HasPrefix(c, []byte("+86")):
		c = c[3:]
	case len(c) == 15 && bytes.HasPrefix(c, []byte("0086")):
		c = c[4:]
	case len(c) == 13 && bytes.HasPrefix(c, []byte("86")):
		c = c[2:]
	case len(c) == 12 && c[0] == '0':
		c = c[1:]
	}
	if len(c) != 11 || !isDigits(c) || !mobileBits[number(c[:3])] {
		return nil, false
	}
	return c, true
}

// isAmerican says whether eleven digits are written as numbers of North America are: 1-800-…; a Chinese prefix stands unbroken.
func isAmerican(text []byte) bool {
	return len(text) > 1 && text[0] == '1' && classOf[text[1]] == cGap
}

// isLandline accepts an area code and a number of seven or eight digits, with the country code or without: 010 and 02x with
// eight digits, 03xx to 09xx with seven or eight. A number without its area code is not told from other numbers.
func isLandline(c []byte) bool {
	switch {
	case bytes.HasPrefix(c, []byte("+86")):
		return len(c) > 12 && landlineBody(c[3:]) // after a country code the zero goes
	case bytes.HasPrefix(c, []byte("0086")):
		return len(c) > 13 && landlineBody(c[4:])
	}
	if len(c) < 10 || len(c) > 12 || c[0] != '0' || !isDigits(c) {
		return false
	}
	return landlineBody(c[1:])
}

// landlineBody is a number behind its trunk zero.
func landlineBody(c []byte) bool {
	if !isDigits(c) {
		return false
	}
	if len(c) > 10 && c[0] == '0' {
		c = c[1:]
	}
	area := 3
	switch {
	case c[0] == '1' && c[1] == '0', c[0] == '2' && c[1] != '6' && c[1] <= '9':
		area = 2
	case c[0] < '3':
		return false
	}
	if len(c) < 10 {
		return false
	}
	local := c[area:]
	return (len(local) == 8 || len(local) == 7 && area == 3) && local[0] >= '2' && local[0] <= '8'
}
