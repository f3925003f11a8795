package classify

import "unicode/utf8"

// Span (文本片段) is one find in running text, as bytes of the caller's text. It does not repeat the text.
type Span struct {
	Start, End int
	Kind       Kind
	Confidence int // percent
}

// Spans appends what it finds in running text to dst, in order and without overlap. It is tuned for recall: a number with
// every part of its standard is found inside longer runs of digits and letters too, with spaces and hyphens in it, and
// without spaces around it; a name is taken on weak evidence at low confidence. Diseases and enterprises are not looked for.
// Bytes that are not UTF-8 are treated as characters of no kind.
func (sc *Scanner) Spans(dst []Span, s string) []Span {
	sc.load(s)
	n := len(sc.r)
	if cap(sc.used) < n {
		sc.used = make([]bool, n+n/2)
	}
	sc.used = sc.used[:n]
	clear(sc.used)
	from := len(dst)
	class := uint8(0)
	for _, b := range sc.norm {
		class |= classOf[b]
	}
	if class&cAt != 0 {
		dst = sc.mails(dst)
	}
	if class&cHigh != 0 && class&cDigit != 0 {
		dst = sc.plates(dst)
	}
	if class&cDigit != 0 {
		dst = sc.strong(dst)
		dst = sc.numbers(dst, false)
		dst = sc.numbers(dst, true)
		if class&cHigh != 0 {
			dst = sc.addresses(dst)
		}
	}
	if class&cHigh != 0 {
		dst = sc.villages(dst)
		dst = sc.names(dst)
	}
	found := dst[from:]
	for i := 1; i < len(found); i++ { // few, and nearly in order
		for k := i; k > 0 && found[k].Start < found[k-1].Start; k-- {
			found[k], found[k-1] = found[k-1], found[k]
		}
	}
	return dst
}

// take marks characters a to b and appends their span.
func (sc *Scanner) take(dst []Span, a, b int, k Kind, confidence int) []Span {
	for i := a; i < b; i++ {
		sc.used[i] = true
	}
	return append(dst, Span{Start: int(sc.at[a]), End: int(sc.to[b-1]), Kind: k, Confidence: confidence})
}

func (sc *Scanner) mails(dst []Span) []Span {
	for i, r := range sc.r {
		if r != '@' || sc.used[i] {
			continue
		}
		at := int(sc.np[i])
		a, b := mailAround(sc.norm, at)
		if a < b { // all ASCII: bytes and characters advance together
			dst = sc.take(dst, i-(at-a), i+(b-at), Email, 90)
		}
	}
	return dst
}

func (sc *Scanner) plates(dst []Span) []Span {
	for i := 0; i < len(sc.r); i++ {
		if sc.used[i] || sc.r[i] < 0x4e00 {
			continue
		}
		if k := sc.plateAt(i, len(sc.r)); k > 0 {
			dst = sc.take(dst, i, i+k, Plate, 80)
			i += k - 1
		}
	}
	return dst
}

// piece is a run of letters and digits.
type piece struct{ a, b int }

const (
	maxPieces = 8
	maxJoined = 24 // characters of a number written in parts
)

// strong finds identity numbers wherever they stand: check character, date and province leave no room for chance.
func (sc *Scanner) strong(dst []Span) []Span {
	run := 0
	for i := 0; i < len(sc.r); i++ {
		if sc.used[i] || !isDigit(sc.r[i]) && upper(sc.r[i]) != 'X' {
			run = 0
			continue
		}
		if run++; run < 18 {
			if !isDigit(sc.r[i]) {
				run = 0
			}
			continue
		}
		k := None
		switch c := sc.compact(sc.text(i-17, i+1)); {
		case isResidencePermit(c):
			k = ResidencePermit
		case isResidentID(c):
			k = ResidentID
		}
		if k != None {
			confidence := 90
			if i >= 18 && isWord(sc.r[i-18]) || i+1 < len(sc.r) && isWord(sc.r[i+1]) {
				confidence = 80
			}
			dst = sc.take(dst, i-17, i+1, k, confidence)
			run = 0
		} else if !isDigit(sc.r[i]) {
			run = 0
		}
	}
	return dst
}

// numbers looks at every group of runs that single spaces, hyphens or brackets join. A run is of letters and digits, or of
// digits alone with an X at the end.
func (sc *Scanner) numbers(dst []Span, bare bool) []Span {
	var group [maxPieces]piece
	within := func(i int) bool {
		if sc.used[i] {
			return false
		}
		if !bare {
			return isWord(sc.r[i]) && sc.r[i] != '_'
		}
		return isDigit(sc.r[i]) || upper(sc.r[i]) == 'X' && i > 0 && isDigit(sc.r[i-1])
	}
	for i := 0; i < len(sc.r); {
		if !within(i) && !(sc.r[i] == '+' && i+1 < len(sc.r) && isDigit(sc.r[i+1]) && !sc.used[i+1]) {
			i++
			continue
		}
		n := 0
		for n < maxPieces && i < len(sc.r) {
			j := i + 1
			for j < len(sc.r) && within(j) {
				j++
			}
			group[n] = piece{i, j}
			n++
			i = j
			k := j // the joint: one separator, or a bracket with a separator
			for k < len(sc.r) && k-j < 2 && !sc.used[k] && (sc.r[k] == ' ' || sc.r[k] == '-' || sc.r[k] == ')' || sc.r[k] == '(') {
				k++
			}
			if k == j || k >= len(sc.r) || !within(k) {
				break
			}
			i = k
		}
		dst = sc.joined(dst, group[:n], bare)
	}
	return dst
}

// joined looks for numbers that the pieces make together, the longest first, then for those within one piece.
func (sc *Scanner) joined(dst []Span, group []piece, bare bool) []Span {
next:
	for p := 0; p < len(group); {
		for q := len(group) - 1; q > p; q-- {
			if group[q].b-group[p].a <= maxJoined+maxPieces && sc.numeric(group[p:q+1]) {
				if k, confidence := sc.joint(group[p].a, group[q].b); k != None {
					end := group[q].b
					if k == HKID && end < len(sc.r) && sc.r[end] == ')' {
						end++
					}
					dst = sc.take(dst, group[p].a, end, k, confidence)
					p = q + 1
					continue next
				}
			}
			// An identity number in parts, with another number right behind it.
			size := 0
			for _, x := range group[p:q] {
				size += x.b - x.a
			}
			if size < 18 && size+group[q].b-group[q].a > 18 {
				end := group[q].a + 18 - size
				if k, confidence := sc.joint(group[p].a, end); k == ResidentID || k == ResidencePermit {
					dst = sc.take(dst, group[p].a, end, k, confidence)
					group[q].a = end
					p = q
					continue next
				}
			}
		}
		dst = sc.single(dst, group[p].a, group[p].b, bare)
		p++
	}
	return dst
}

// numeric says whether all pieces but the last character of the last are digits, letters aside at the very start.
func (sc *Scanner) numeric(group []piece) bool {
	first, last := group[0].a, group[len(group)-1].b
	for _, p := range group {
		for i := p.a; i < p.b; i++ {
			if !isDigit(sc.r[i]) && !(i == last-1 && (upper(sc.r[i]) == 'X' || upper(sc.r[i]) == 'A')) && !(i < first+2) {
				return false
			}
		}
	}
	return true
}

// joint looks at the characters a to b, separators dropped, as one number.
func (sc *Scanner) joint(a, b int) (Kind, int) {
	c := sc.compact(sc.text(a, b))
	switch {
	case len(c) == 18 && isResidencePermit(c):
		return ResidencePermit, 90
	case len(c) == 18 && isResidentID(c):
		return ResidentID, 90
	case len(c) == 18 && isUSCC(c):
		return USCC, 90
	case len(c) >= 15 && isBankCard(c):
		return BankCard, 60
	case len(c) == 15 && isResidentID15(c):
		return ResidentID15, 40
	case isHKID(c):
		return HKID, 70
	case len(c) == 9 && sc.r[b-2] == '-' && isOrganisationCode(c):
		return OrganisationCode, 60
	}
	if len(c) > 0 && classOf[c[0]]&(cUpper|cLower) == 0 {
		if _, ok := mobileOf(c); ok && !isAmerican(sc.text(a, b)) {
			return Mobile, 60
		}
		if isLandline(c) {
			return Landline, 60
		}
	}
	return None, 0
}

// single looks at one run: as a whole, then for credit codes anywhere inside it; bare runs also as several mobile numbers.
func (sc *Scanner) single(dst []Span, a, b int, bare bool) []Span {
	if b-a < 7 || sc.amount(a, b) {
		return dst
	}
	if b-a <= len(sc.c) {
		if k, confidence := sc.whole1(a, b); k != None {
			if bare && (a > 0 && isWord(sc.r[a-1]) || b < len(sc.r) && isWord(sc.r[b])) {
				if b-a < 11 {
					return dst
				}
				confidence = confidence * 2 / 3
			}
			return sc.take(dst, a, b, k, sc.doubted(a, k, confidence))
		}
	}
	if bare {
		return sc.mobiles(dst, a, b)
	}
	for i := a; i+18 <= b; i++ {
		if c := sc.compact(sc.text(i, i+18)); isUSCC(c) && (i == a || !isDigit(sc.r[i-1])) && (i+18 == b || !isWord(sc.r[i+18])) {
			return sc.take(dst, i, i+18, USCC, 80)
		}
	}
	return dst
}

// mobiles looks for several mobile numbers without a space.
func (sc *Scanner) mobiles(dst []Span, a, b int) []Span {
	if b-a <= 11 || (b-a)%11 != 0 || b-a > 44 {
		return dst
	}
	for i := a; i < b; i += 11 {
		if _, ok := mobileOf(sc.text(i, i+11)); !ok {
			return dst
		}
	}
	for i := a; i < b; i += 11 {
		dst = sc.take(dst, i, i+11, Mobile, 50)
	}
	return dst
}

// whole1 looks at characters a to b as one number of a kind that stands on its own.
func (sc *Scanner) whole1(a, b int) (Kind, int) {
	if k, confidence := sc.joint(a, b); k != None {
		return k, confidence
	}
	c := sc.compact(sc.text(a, b))
	switch {
	case isVIN(c):
		return VIN, 80
	case isPassport(c):
		return Passport, 40
	case isTravelPermit(c):
		return TravelPermit, 40
	case len(c) == 9 && isOrganisationCode(c) && sc.before(a, "机构代码"):
		return OrganisationCode, 60
	case len(c) == 8 && isDigits(c) && sc.before(a, "台胞证", "通行证"):
		return TravelPermit, 50
	case (len(c) == 7 || len(c) == 8) && isDigits(c) && c[0] >= '2' && c[0] <= '8' && sc.before(a, "电话", "座机", "固话"):
		return Landline, 40
	}
	return None, 0
}

// before says whether one of the words ends within four characters before a.
func (sc *Scanner) before(a int, words ...string) bool {
	for _, w := range words {
		n := utf8.RuneCountInString(w)
		for end := a; end > a-5 && end-n >= 0; end-- {
			if string(sc.text(end-n, end)) == w {
				return true
			}
		}
	}
	return false
}

// doubted lowers the confidence of a number that the text calls a number of another sort.
func (sc *Scanner) doubted(a int, k Kind, confidence int) int {
	if k != ResidentID && k != ResidencePermit && sc.before(a, "住院号", "病案号", "门诊号", "订单号", "流水号", "单号", "编号", "条码") {
		return confidence / 2
	}
	return confidence
}

// amount says whether the digits of a run are part of a decimal that a unit of money or measure follows.
func (sc *Scanner) amount(a, b int) bool {
	n := len(sc.r)
	if a > 1 && sc.r[a-1] == '.' && isDigit(sc.r[a-2]) {
		return b-a < 11
	}
	if b+1 >= n || sc.r[b] != '.' || !isDigit(sc.r[b+1]) {
		return false
	}
	i := b + 1
	for i < n && isDigit(sc.r[i]) {
		i++
	}
	return i < n && (sc.r[i] == '元' || sc.r[i] == '万' || sc.r[i] == '%') || a > 0 && (sc.r[a-1] == '¥' || sc.r[a-1] == '$')
}

// addresses looks for a number with its unit, and for the region, town and road before it.
func (sc *Scanner) addresses(dst []Span) []Span {
	lo, hi := 0, 0 // the run that nothing else has
	for i := 1; i < len(sc.r); i++ {
		if sc.used[i] {
			lo = i + 1
			continue
		}
		if !isUnitMark(sc.r[i]) || !isCounter(sc.r[i-1]) || i <= lo {
			continue
		}
		for hi = max(hi, i+1); hi < len(sc.r) && !sc.used[hi]; hi++ {
		}
		if a, b, ok := sc.addressSpan(i, lo, hi); ok {
			dst = sc.take(dst, a, b, Address, 60)
			i, lo = b-1, b
		}
	}
	return dst
}

// villages looks for places without a number: a known region, and a road, town or village below it.
func (sc *Scanner) villages(dst []Span) []Span {
	for i := 0; i < len(sc.r); i++ {
		if sc.used[i] || !sc.t.regions.first.has(sc.r[i]) {
			continue
		}
		k := sc.longest(sc.t.regions, i, len(sc.r))
		if k == 0 {
			continue
		}
		end, levels := 0, 0
		for j := i; j < min(len(sc.r), i+40) && !sc.used[j] && (isHan(sc.r[j]) || isWord(sc.r[j])); j++ {
			if l := sc.levelAt(j, i); l != 0 && (l&lEstate == 0 || sc.r[j] == '村' || sc.r[j] == '苑' || sc.r[j] == '园' || sc.r[j] == '屯' || sc.r[j-1] == '小') {
				if j >= i+k && j-max(end, i) > 8 {
					break
				}
				levels |= l
				end = j + 1
			}
		}
		if bits(levels) >= 2 && end > i+k {
			dst = sc.take(dst, i, end, Address, 50)
			i = end - 1
		}
	}
	return dst
}

// names looks at every place where a surname or a name with a middle dot may begin.
func (sc *Scanner) names(dst []Span) []Span {
	cue := -1 // where a word that announces a name ended
	for i := 0; i < len(sc.r); i++ {
		if sc.used[i] {
			continue
		}
		r := sc.r[i]
		if !isHan(r) {
			if r != ':' && r != ' ' && r != ',' && r != '(' && r != '“' && r != '"' {
				cue = -1
			} else if cue == i {
				cue = i + 1
			}
			continue
		}
		n := i
		for n < len(sc.r) && n-i < 24 && !sc.used[n] && (isHan(sc.r[n]) || isDot(sc.r[n])) {
			n++
		}
		if k := sc.longest(sc.t.nameCues, i, n); k > 0 {
			i += k - 1
			cue = i + 1
			continue
		}
		if cue == i && (r == '为' || r == '是' || r == '叫' || r == '系') {
			cue = i + 1
			continue
		}
		if !sc.t.surnames.has(r) && !sc.t.compounds.first.has(r) && !sc.dotAhead(i, n) {
			continue
		}
		if k, confidence := sc.nameAt(i, n, cue == i); k > 0 {
			dst = sc.take(dst, i, i+k, PersonName, confidence)
			i += k - 1
			if i+2 < len(sc.r) && (sc.r[i+1] == '、' || sc.r[i+1] == '和') { // 张伟、李娜
				cue = i + 2
			}
			if cue == i+2 {
				i++
			}
		}
	}
	return dst
}

// dotAhead says whether a middle dot follows within the next characters, so that a name may begin here.
func (sc *Scanner) dotAhead(i, n int) bool {
	if i > 0 && isHan(sc.r[i-1]) && !sc.t.nameCues.last.has(sc.r[i-1]) && sc.longest(sc.t.notAfterName, i-1, i) == 0 {
		return false
	}
	for k := i + 2; k < min(n, i+7); k++ {
		if isDot(sc.r[k]) && sc.r[k] != '.' {
			return true
		}
	}
	return false
}
