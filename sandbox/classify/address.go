package classify

// addressCues stand before an address in running text; what precedes them is not part of it.
const addressCues = `住址 地址 家住 现住 现居 居住于 居住在 住在 位于 户籍地 户籍 住所 居住地 常住 送至 送到 寄往 寄到 来自 搬到 迁至 迁往 前往 于 在 至 到 是 为 住`

// levels of an address, by the character that ends a part of it.
const (
	lProvince = 1 << iota
	lCity
	lCounty
	lTown
	lRoad
	lEstate
)

func (sc *Scanner) levelAt(i, lo int) int {
	if i-lo < 1 || !isHan(sc.r[i-1]) && !isWord(sc.r[i-1]) {
		return 0
	}
	switch sc.r[i] {
	case '省':
		return lProvince
	case '市', '州', '盟':
		return lCity
	case '区', '县', '旗', '區', '縣':
		switch {
		case sc.r[i] != '区' && sc.r[i] != '區':
		case sc.r[i-1] == '治': // 自治区
			return lProvince
		case sc.r[i-1] == '小' || sc.r[i-1] == '社' || sc.r[i-1] == '园': // 小区 社区 园区
			return lEstate
		}
		return lCounty
	case '镇', '乡', '鎮', '鄉':
		return lTown
	case '道':
		if sc.r[i-1] == '街' {
			return lTown
		}
		if sc.r[i-1] == '大' || i+1 < len(sc.r) && isDigit(sc.r[i+1]) { // 弥敦道100号
			return lRoad
		}
		return 0
	case '街':
		if i+1 < len(sc.r) && sc.r[i+1] == '道' { // 街道 counts once
			return 0
		}
		return lRoad
	case '路', '巷', '弄', '衖':
		return lRoad
	case '同':
		if sc.r[i-1] == '胡' {
			return lRoad
		}
		return 0
	case '里', '坊':
		return lEstate
	case '村', '庄', '屯', '苑', '園', '寨', '莊', '园':
		return lEstate
	case '厦', '寓', '廈':
		return lEstate
	case '城', '府', '邸', '湾', '轩', '阁', '庭', '场', '期':
		return lEstate
	}
	return 0
}

func isUnitMark(r rune) bool {
	switch r {
	case '号', '栋', '幢', '座', '室', '楼', '层', '单', '組', '组', '队', '社', '房', '户', '门', '院', '弄', '號', '棟', '樓', '層', '戶', '門':
		return true
	}
	return false
}

func isCounter(r rune) bool {
	if isDigit(r) || r >= 'A' && r <= 'Z' || r >= 'a' && r <= 'z' {
		return true
	}
	switch r {
	case '一', '二', '三', '四', '五', '六', '七', '八', '九', '十', '百', '零', '〇', '之', '甲', '乙', '丙', '丁', '东', '西', '南', '北', '附':
		return true
	}
	return false
}

func bits(n int) (c int) {
	for ; n > 0; n &= n - 1 {
		c++
	}
	return c
}

// isAddress wants a house, building or room with its number and a road, town or estate, or a village below two levels of
// region: a region alone, or a street alone, is not a person's address.
func (sc *Scanner) isAddress(a, b int) bool {
	if b-a < 5 {
		return false
	}
	levels, units := 0, 0
	for i := a; i < b; i++ {
		if i > a && isUnitMark(sc.r[i]) && isCounter(sc.r[i-1]) {
			units++
		}
		levels |= sc.levelAt(i, a)
	}
	n, detail := bits(levels), units > 0
	switch {
	case detail && b-a >= 8 && n >= 2:
		return true
	case detail && levels&(lRoad|lTown) != 0, units >= 2 && levels&lEstate != 0:
		return b-a <= 40 && sc.t.addressStart(sc, a, b)
	}
	return n >= 3 && levels&lEstate != 0 && b-a <= 40 || n >= 3 && levels&lRoad != 0 && isDigit(sc.r[b-1]) && b-a <= 60
}

// addressStart holds that a short address begins with a name and not with a sentence.
func (t *tables) addressStart(sc *Scanner, a, b int) bool {
	for i := a; i < b; i++ {
		switch sc.r[i] {
		case '，', '。', ',', ';', '；', '的', '请', '了', '、':
			return false
		}
	}
	return true
}

// addressSpan finds an address around the number with its unit at character i (the unit mark), inside the run of characters
// from lo to hi that nothing else has. It gives its ends, or ok false.
func (sc *Scanner) addressSpan(i, lo, hi int) (start, end int, ok bool) {
	// Backward: to the first level, and on to where the address begins. First, since it is bounded: a long row of numbers with units and
	// no road before them would be gone through from each of them.
	levels := 0
	start = i
	for start > lo && i-start < 48 {
		r := sc.r[start-1]
		if !isHan(r) && !isWord(r) && r != '-' && r != '#' && r != '(' && r != ')' && r != '·' {
			break
		}
		start--
	}
	begin := -1
	for k := start; k < i; k++ {
		if sc.r[k] >= 0x4e00 && sc.longest(sc.t.regions, k, i) > 0 {
			begin = k
			break
		}
		if n := sc.longest(sc.t.short, k, i); n > 0 && (k+n < i && (sc.longest(sc.t.regions, k+n, i) > 0 || sc.t.short.first.has(sc.r[k+n]) && sc.longest(sc.t.short, k+n, i) > 0)) {
			begin = k
			break
		}
	}
	if begin < 0 {
		begin = start
		for k := i; k > start; k-- {
			if n := sc.ends(sc.t.addressCues, start, k); n > 0 {
				first := -1
				for j := start; j < i; j++ {
					if sc.levelAt(j, start) != 0 {
						first = j
						break
					}
				}
				if first >= 0 && k > first {
					continue // a cue inside the address: 东在村
				}
				begin = k
				break
			}
		}
	}
	for k := begin; k < i; k++ {
		levels |= sc.levelAt(k, begin)
	}
	if levels&(lRoad|lTown|lEstate|lCounty) == 0 || i-begin < 2 {
		return 0, 0, false
	}
	// Forward: everything that goes on counting.
	end = i + 1
	for end < hi {
		r := sc.r[end]
		if isCounter(r) || isUnitMark(r) || r == '-' || r == '#' || r == '元' && sc.r[end-1] == '单' || r == '梯' ||
			(r == '大' || r == '厦' || r == '小' || r == '区' || r == '公' || r == '寓' || r == '元') && end+1 < hi && sc.unitSoon(end, hi) {
			end++
			continue
		}
		if k := sc.unitAhead(end, hi); k > 0 {
			end += k
			continue
		}
		break
	}
	for end > i+1 && (isCounter(sc.r[end-1]) && !isDigit(sc.r[end-1]) || sc.r[end-1] == '-') {
		end-- // 在, 东 … belong to the next words
	}
	return begin, end, true
}

// unitAhead gives the length of a part like "科技大厦A座": up to eight Han characters, a number and its unit.
func (sc *Scanner) unitAhead(i, hi int) int {
	k := i
	for k < hi && k-i < 8 && isHan(sc.r[k]) && !isUnitMark(sc.r[k]) && sc.levelAt(k, i) == 0 {
		if sc.longest(sc.t.notAfterName, k, hi) > 0 && !isCounter(sc.r[k]) {
			return 0
		}
		k++
	}
	if k < hi && sc.levelAt(k, i)&lEstate != 0 {
		for k++; k < hi && isCounter(sc.r[k]); k++ {
		}
		if k < hi && isUnitMark(sc.r[k]) && isCounter(sc.r[k-1]) {
			return k + 1 - i
		}
	}
	return 0
}

// unitSoon says whether a unit mark with its number follows within four characters.
func (sc *Scanner) unitSoon(i, hi int) bool {
	for k := i + 1; k < min(hi, i+7); k++ {
		if isUnitMark(sc.r[k]) && isCounter(sc.r[k-1]) {
			return true
		}
	}
	return false
}
