// Package classify proposes what a column holds and its grade (自动识别与分级建议): small detectors on single values, and a
// Sampler that turns a sample of each column into one finding, its grade and whether it is personal.
//
// Standards: GB 11643 (resident identity numbers), GB 32100 and GB 11714 (organisation codes), GB/T 14396 (ICD-10 codes),
// ISO/IEC 7812 (card numbers); mobile prefixes as assigned by the ministry to 2024. Grades: see GradeOf.
//
// A check digit alone decides nothing: one random 18-digit number in eleven passes it. So a value needs every part of its
// standard (date, province, prefix), a column needs a share of such values, and the weaker kinds need a telling column
// name or enough variety as well. Confidence is in percent; Share is between 0 and 1.
//
// The detectors propose and a person confirms; until then the stricter of declared and detected applies (就高从严).
// Findings carry kinds and counts, never values; the Sampler keeps no value, only what was found in it. Detection never
// fails: text it does not understand has no finding.
//
// It does not know county codes, landlines, passports, foreigners' permits, plates or names in Latin script, does not
// segment free text beyond numbers and addresses of mail in it, and does not read images.
package classify

// Version (规则版本) names the rules below; a finding is kept with it, so that re-grading after a change can be listed.
const Version = "classify-1"

// Kind (识别类型) is what a detector recognises.
type Kind string

const (
	None         Kind = ""
	ResidentID   Kind = "resident-id"    // 居民身份号码, and residence permits of Hong Kong, Macao and Taiwan residents
	ResidentID15 Kind = "resident-id-15" // 旧十五位身份证号: no check character, low confidence
	USCC         Kind = "uscc"           // 统一社会信用代码
	Mobile       Kind = "mobile"         // 手机号码
	BankCard     Kind = "bank-card"      // 银行卡号
	Email        Kind = "email"          // 电子邮箱
	PersonName   Kind = "person-name"    // 姓名
	Address      Kind = "address"        // 地址
	ICD10        Kind = "icd10"          // 疾病编码
	BirthDate    Kind = "birth-date"     // 出生日期, told by the column's name
)

// kinds lists the detectors on values in order of precedence; its order is the bit order of set.
var kinds = [...]Kind{ResidentID, USCC, BankCard, Mobile, Email, ResidentID15, ICD10, Address, PersonName}

// Finding (识别结果) is what one value looks like. It does not repeat the value.
type Finding struct {
	Kind       Kind
	Confidence int // percent, of this value on its own
}

// Detect gives the strongest finding in one value.
func Detect(s string) (Finding, bool) {
	m := detect(s)
	for i, k := range kinds {
		if m.kinds.has(i) {
			return Finding{Kind: k, Confidence: rules[k].base}, true
		}
	}
	return Finding{}, false
}

// set holds detectors by their place in kinds.
type set uint16

func (s set) has(i int) bool { return s>>i&1 == 1 }

func (s *set) add(k Kind) {
	for i := range kinds {
		if kinds[i] == k {
			*s |= 1 << i
		}
	}
}

// match is what detection keeps of a value: the kinds, and a trait whose variety tells a population from a counter.
type match struct {
	kinds set
	trait uint32
}

// scanned bounds how much of one value is looked at, in bytes.
const scanned = 4096

func detect(s string) (m match) {
	if len(s) > scanned {
		s = s[:scanned]
	}
	text := fold(s)
	c := compact(text)
	switch {
	case isResidentID(c):
		m.kinds.add(ResidentID)
	case isUSCC(c):
		m.kinds.add(USCC)
	case isBankCard(c):
		m.kinds.add(BankCard)
	case isResidentID15(c):
		m.kinds.add(ResidentID15)
	case isEmail(text):
		m.kinds.add(Email)
	case isICD10(c):
		m.kinds.add(ICD10)
		m.trait = uint32(c[0])
	case isPersonName(text):
		m.kinds.add(PersonName)
		m.trait = hash(text)
	}
	if number, ok := mobileOf(c); ok {
		m.kinds.add(Mobile)
		m.trait = hash(number[:3])
	}
	if m.kinds != 0 {
		return m
	}
	if isAddress(text) {
		m.kinds.add(Address)
	}
	within(text, &m)
	return m
}

// hash is FNV-1a: only its number of distinct results is used.
func hash(s string) uint32 {
	h := uint32(2166136261)
	for i := 0; i < len(s); i++ {
		h = (h ^ uint32(s[i])) * 16777619
	}
	return h
}
