package classify

const plateProvinces = "京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼"

// isPlate accepts number plates (GA 36-2018, from general knowledge): province, letter and five characters, six on new-energy
// vehicles, where a D, F or one of the letters added later stands first or last; 使 and 领 plates of six digits.
func (sc *Scanner) isPlate(a, b int) bool { return b-a >= 7 && b-a <= 10 && sc.plateAt(a, b) == b-a }

// plateAt gives the number of characters of the plate at a, or 0. What stands between the letter and the rest, a dot, a space
// or a hyphen, may be missing.
func (sc *Scanner) plateAt(a, n int) int {
	if a+2 >= n {
		return 0
	}
	head := sc.r[a]
	if (head == '使' || head == '领') && n-a >= 7 {
		for k := 1; k <= 6; k++ {
			if !isDigit(sc.r[a+k]) {
				return 0
			}
		}
		if a+7 < n && isWord(sc.r[a+7]) {
			return 0
		}
		return 7
	}
	if !sc.t.plates.has(head) {
		return 0
	}
	city := upper(sc.r[a+1])
	if city < 'A' || city > 'Z' || city == 'I' {
		return 0
	}
	i := a + 2
	if r := sc.r[i]; isDot(r) || r == ' ' || r == '-' {
		i++
	}
	var body [6]rune
	k, digits := 0, 0
	for ; k < 6 && i+k < n; k++ {
		r := upper(sc.r[i+k])
		if isDigit(r) {
			digits++
		} else if r < 'A' || r > 'Z' || r == 'I' || r == 'O' {
			break
		}
		body[k] = r
	}
	end := i + k
	if end < n && isWord(sc.r[end]) {
		return 0
	}
	switch {
	case k == 6 && digits >= 4 && (isEnergy(body[0]) || isEnergy(body[5])):
		return end - a
	case k == 5 && digits >= 2:
		return end - a
	case k == 4 && digits >= 2 && end < n:
		switch sc.r[end] {
		case '挂', '学', '警', '港', '澳', '领', '试', '超':
			return end + 1 - a
		}
	}
	return 0
}

func isEnergy(r rune) bool { return r >= 'A' && r <= 'K' && r != 'I' }

func upper(r rune) rune {
	if r >= 'a' && r <= 'z' {
		return r - 'a' + 'A'
	}
	return r
}
