// Package classify proposes what a column holds and its grade (自动识别与分级建议): small detectors on single values and on
// places in running text, and a Sampler that turns a sample of each column into one finding, its category, its grade and
// whether it is personal.
//
// Standards: GB 11643 (resident identity numbers), GB 32100 and GB 11714 (organisation codes), GB 16735 (vehicle
// identification numbers), GB/T 14396 (ICD-10 codes), GB/T 2260 (region codes), ISO/IEC 7812 (card numbers); mobile prefixes
// as assigned by the ministry to 2024. The tables that generalise what is found here, the blocks of ICD-10 and the sections of GB/T
// 4754, are in desensitize/generalize; a reader held them against public transcriptions: equal, but for A90-A99, kept wider than
// A92-A99 for the old codes of dengue fever. Grades: see GradeOf. GB/T 43697-2024 and GB/T 45574-2025 were not read in full: the
// kinds of sensitive personal information are those its readers list, and 重要 and 核心 data are never proposed.
//
// A check digit alone decides nothing: one random 18-digit number in eleven passes it. So a value needs every part of its
// standard (date, province, prefix), a column needs a share of such values, and the weaker kinds need a telling column
// name or enough variety as well. A county code that is not in the table lowers confidence and refuses nothing, because
// codes are withdrawn and numbers stay. Confidence is in percent; Share is between 0 and 1.
//
// The detectors propose and a person confirms; until then the stricter of declared and detected applies (就高从严). Rules are
// one version of the levels: Settle grades by findings and by what was confirmed under them, Regrade, Compare and
// AffectedGrants say what other rules change.
// Findings carry kinds and counts, never values; the Sampler keeps no value, only what was found in it. Detection never
// fails: text it does not understand has no finding. Nothing is allocated per value.
//
// Running text is looked at in places: a column whose values are no single thing of a kind but have one in them contains that
// kind, at its grade. A telling name proposes its kind even where no value matches. A column without a finding is not judged,
// which is not the same as public.
//
// It does not know landlines without their area code, Latin names in running text, or addresses without any number or village;
// of texts over 8 KiB it reads the first and last 4 KiB; its dictionaries are of everyday language, not a segmenter's; and it
// does not read images.
package classify

import "bytes"

// Version (规则版本) names the rules below; a finding is kept with it, so that re-grading after a change can be listed.
const Version = "classify-3"

// Kind (识别类型) is what a detector recognises.
type Kind string

const (
	None             Kind = ""
	Unknown          Kind = "unknown"           // 未检测: of a version that nobody looked into; of grade 4 under all rules until a person says otherwise
	ResidentID       Kind = "resident-id"       // 居民身份号码
	ResidencePermit  Kind = "residence-permit"  // 港澳台居民居住证, 外国人永久居留身份证
	ResidentID15     Kind = "resident-id-15"    // 旧十五位身份证号: no check character, low confidence
	USCC             Kind = "uscc"              // 统一社会信用代码
	OrganisationCode Kind = "organisation-code" // 组织机构代码
	BankCard         Kind = "bank-card"         // 银行卡号
	Mobile           Kind = "mobile"            // 手机号码
	Landline         Kind = "landline"          // 固定电话
	HKID             Kind = "hkid"              // 香港身份证号码
	VIN              Kind = "vin"               // 车辆识别代号
	Plate            Kind = "plate"             // 机动车号牌
	Passport         Kind = "passport"          // 护照号码
	TravelPermit     Kind = "travel-permit"     // 往来通行证号码
	Email            Kind = "email"             // 电子邮箱
	PersonName       Kind = "person-name"       // 姓名
	Address          Kind = "address"           // 地址
	ICD10            Kind = "icd10"             // 疾病编码
	Disease          Kind = "disease"           // 疾病名称
	Enterprise       Kind = "enterprise-name"   // 企业名称
	BirthDate        Kind = "birth-date"        // 出生日期, told by the column's name

	LatinName Kind = "latin-name" // 拉丁字母姓名: of columns, by their name or by common given names

	// Told by the column's name alone.

	OtherID         Kind = "other-id"         // 其他证件号码: driving licences, social security numbers of other countries
	Ethnicity       Kind = "ethnicity"        // 民族、种族
	Biometric       Kind = "biometric"        // 生物识别信息
	Religion        Kind = "religion"         // 宗教信仰
	SpecialIdentity Kind = "special-identity" // 特定身份
	Health          Kind = "health"           // 医疗健康信息
	FinancialRecord Kind = "financial-record" // 金融账户信息
	Whereabouts     Kind = "whereabouts"      // 行踪轨迹
	EnterpriseData  Kind = "enterprise-data"  // 企业经营数据
)

// kinds lists the detectors on values in order of precedence; its order is the bit order of set.
var kinds = [...]Kind{ResidentID, ResidencePermit, USCC, BankCard, VIN, Plate, Mobile, Email, Landline, HKID, ResidentID15, OrganisationCode, Passport, TravelPermit,
	ICD10, Enterprise, Address, Disease, PersonName}

const (
	kResidentID = iota
	kResidencePermit
	kUSCC
	kBankCard
	kVIN
	kPlate
	kMobile
	kEmail
	kLandline
	kHKID
	kResidentID15
	kOrganisationCode
	kPassport
	kTravelPermit
	kICD10
	kEnterprise
	kAddress
	kDisease
	kPersonName
)

// Finding (识别结果) is what one value looks like. It does not repeat the value.
type Finding struct {
	Kind       Kind
	Confidence int // percent, of this value on its own
}

// Detect gives the strongest finding in one value. For many values use one Scanner.
func Detect(s string) (Finding, bool) { return NewScanner().Detect(s) }

// Detect gives the strongest finding in one value.
func (sc *Scanner) Detect(s string) (Finding, bool) {
	m := sc.detect(s)
	for i, k := range kinds {
		if m.kinds.has(i) {
			f := Finding{Kind: k, Confidence: rules[k].base}
			if m.weaker {
				f.Confidence = f.Confidence * 2 / 3
			}
			return f, true
		}
	}
	return Finding{}, false
}

// Kinds appends every kind that one value may be to dst, strongest first.
func (sc *Scanner) Kinds(dst []Kind, s string) []Kind {
	m := sc.detect(s)
	for i, k := range kinds {
		if m.kinds.has(i) {
			dst = append(dst, k)
		}
	}
	return dst
}

// set holds detectors by their place in kinds.
type set uint32

func (s set) has(i int) bool { return s>>i&1 == 1 }

func (s *set) put(i int) { *s |= 1 << i }

// match is what detection keeps of a value: the kinds, a trait whose variety tells a population from a counter, whether the
// value lacks something that most of its kind have (a county in the table), whether a name's characters are those of names,
// whether it is written like a date, and what a Sampler finds in it beyond: places in running text, the place of an identity
// number in a longer run of digits (see embedded).
type match struct {
	kinds  set
	trait  uint32
	weaker bool
	likely bool
	date   bool
	within bool // the kinds stand inside longer text
	latin  bool // written like a name in Latin script
	given  bool // and begins with a common given name
	offset uint8
	inside places
}

// scanned bounds how much of one value is looked at, in bytes.
const scanned = 4096

func (sc *Scanner) detect(s string) (m match) {
	if len(s) > scanned {
		s = s[:scanned]
	}
	class := uint8(0)
	for i := 0; i < len(s); i++ {
		class |= classOf[s[i]]
	}
	if class&cHigh == 0 {
		return sc.detectASCII(s, class)
	}
	sc.load(s)
	a, b := sc.trimmed()
	if a == b {
		return m
	}
	text := sc.text(a, b)
	class = 0
	for _, x := range text {
		class |= classOf[x]
	}
	if class&cHigh == 0 {
		sc.whole(text, class, &m)
	} else {
		sc.han(a, b, &m)
	}
	if m.kinds == 0 {
		sc.within(text, class, &m)
		m.within = m.kinds != 0
	}
	return m
}

// detectASCII is detect without folding: most columns are of ASCII.
func (sc *Scanner) detectASCII(s string, class uint8) (m match) {
	a, b := 0, len(s)
	for a < b && around(rune(s[a])) {
		a++
	}
	for b > a && around(rune(s[b-1])) {
		b--
	}
	if b-a < 3 || class&(cDigit|cAt) == 0 && b-a > 12 { // a code of letters alone has nine
		return m
	}
	sc.norm = append(sc.norm[:0], s[a:b]...)
	sc.whole(sc.norm, class, &m)
	if b-a >= 8 && b-a <= 10 && m.kinds&^(1<<kOrganisationCode) == 0 {
		m.date = isDateText(sc.norm)
	}
	if m.kinds == 0 && b-a > 11 {
		sc.within(sc.norm, class, &m)
		m.within = m.kinds != 0
	}
	return m
}

// whole looks at a value as one number, code or mail address.
func (sc *Scanner) whole(text []byte, class uint8, m *match) {
	if class&cAt != 0 {
		if isEmail(text) {
			m.kinds.put(kEmail)
		}
		return
	}
	c := sc.compact(text)
	if len(c) < 3 {
		return
	}
	switch len(c) {
	case 18:
		switch {
		case isResidentID(c) && !isResidencePermit(c):
			m.kinds.put(kResidentID)
			m.weaker = !sc.t.knowsCounty(c)
		case isResidencePermit(c):
			m.kinds.put(kResidencePermit)
		case isUSCC(c):
			m.kinds.put(kUSCC)
		}
	case 17:
		if isVIN(c) {
			m.kinds.put(kVIN)
		}
	case 15:
		if isResidentID15(c) {
			m.kinds.put(kResidentID15)
			m.weaker = !sc.t.knowsCounty(c)
		}
	case 11, 9, 8:
		if len(c) < 11 && isOrganisationCode(c) && !isDotted(c) {
			m.kinds.put(kOrganisationCode)
		}
		if isHKID(c) {
			m.kinds.put(kHKID)
		}
		if isPassport(c) {
			m.kinds.put(kPassport)
			m.trait = hash(c[:3])
		}
		if isTravelPermit(c) {
			m.kinds.put(kTravelPermit)
			m.trait = hash(c[:3])
		}
	}
	if m.kinds != 0 {
		return
	}
	switch {
	case len(c) >= 15 && isBankCard(c):
		m.kinds.put(kBankCard)
		m.trait = hash(c[:6])
	case c[0] >= 'A' && isICD10(c):
		m.kinds.put(kICD10)
		m.trait = uint32(c[0])
	case len(c) >= 11:
		if n, ok := mobileOf(c); ok && !isAmerican(text) {
			m.kinds.put(kMobile)
			m.trait = hash(n[:3])
		} else if isLandline(c) {
			m.kinds.put(kLandline)
			m.trait = hash(c[:6])
		}
	}
}

// isDateText accepts 2006-01-02, 2006/1/2 and 20060102.
func isDateText(s []byte) bool {
	if len(s) == 8 && isDigits(s) {
		return isDate(s)
	}
	if len(s) < 8 || s[4] != '-' && s[4] != '/' || !isDigits(s[:4]) {
		return false
	}
	month, day, ok := bytes.Cut(s[5:], s[4:5])
	if !ok || len(month) > 2 || len(day) > 2 || !isDigits(month) || !isDigits(day) {
		return false
	}
	md := [4]byte{'0', '0', '0', '0'}
	copy(md[2-len(month):2], month)
	copy(md[4-len(day):], day)
	return isDay(number(s[:4]), md[:])
}

func isDotted(c []byte) bool { return len(c) > 3 && c[3] == '.' }

// han looks at a value with other characters than ASCII.
func (sc *Scanner) han(a, b int, m *match) {
	switch {
	case sc.isPlate(a, b):
		m.kinds.put(kPlate)
		return
	case sc.isCompany(a, b):
		m.kinds.put(kEnterprise)
		return
	case sc.isAddress(a, b):
		m.kinds.put(kAddress)
		sc.within(sc.text(a, b), cDigit|cAt|cHigh, m)
		return
	case sc.isDisease(a, b):
		m.kinds.put(kDisease)
		m.trait = hash(sc.text(a, b))
		return
	}
	if ok, likely := sc.isName(a, b); ok {
		m.kinds.put(kPersonName)
		m.trait, m.likely = hash(sc.text(a, b)), likely
	}
}

// within looks for numbers and mail addresses inside longer text. A number counts only as a whole run: the same digits
// inside a longer number, a decimal or a word are something else.
func (sc *Scanner) within(text []byte, class uint8, m *match) {
	if class&cDigit != 0 {
		for i := 0; i < len(text); {
			if !wordByte(text[i]) {
				i++
				continue
			}
			j := i
			for j < len(text) && wordByte(text[j]) {
				j++
			}
			decimal := j+1 < len(text) && text[j] == '.' && isDigits(text[j+1:j+2]) || i > 1 && text[i-1] == '.' && isDigits(text[i-2:i-1])
			if n := j - i; n >= 11 && n <= 18 && !decimal {
				run := sc.compact(text[i:j])
				switch {
				case n == 18 && isResidencePermit(run):
					m.kinds.put(kResidencePermit)
				case n == 18 && isResidentID(run):
					m.kinds.put(kResidentID)
				case n == 18 && isUSCC(run):
					m.kinds.put(kUSCC)
				default:
					if p, ok := mobileOf(run); ok {
						m.kinds.put(kMobile)
						m.trait = hash(p[:3])
					}
				}
			}
			i = j
		}
	}
	if class&cAt != 0 {
		for i, c := range text {
			if c == '@' {
				if a, b := mailAround(text, i); a < b {
					m.kinds.put(kEmail)
				}
			}
		}
	}
}

func wordByte(c byte) bool { return classOf[c]&(cDigit|cUpper|cLower) != 0 || c == '_' }

// hash is FNV-1a: only its number of distinct results is used.
func hash(s []byte) uint32 {
	h := uint32(2166136261)
	for _, c := range s {
		h = (h ^ uint32(c)) * 16777619
	}
	return h
}

func hashText(s string) uint32 {
	h := uint32(2166136261)
	for i := range len(s) {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}
