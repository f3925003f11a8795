package classify

import (
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// rule is what a column needs for a finding. alone and hinted are shares of its values without and with a telling name.
// weak kinds need minSamples values as well when nothing hints at them, and variety different traits.
type rule struct {
	base          int // confidence of one value on its own, percent
	alone, hinted float64
	weak          bool
	variety       int     // different traits wanted, when weak
	distinct      float64 // different traits per value wanted, when weak
	likely        float64 // share of values made of name characters wanted, when weak
	named         bool    // told by the column's name alone
	grade         sandbox.Grade
	personal      bool
	category      Category
	sensitive     Sensitive
	source        string
}

const minSamples = 20

const (
	sourcePersonal = "个人信息; 龙华区实施方案 三(四)"
	sourceID       = "GB/T 45574-2025 个人信息; 龙华区实施方案 三(四)"
)

// rules: identifiers of persons are grade 3, not 4, so that questions over them stay possible where the agency hosts;
// nothing a text detector finds leaves no engine in plain. 依据 of the grades: 龙华区实施方案 三(四), 三级及以上为高敏感;
// GB/T 43697-2024 就高从严; where the sources give no level for a kind, "position" marks our own choice.
var rules = map[Kind]rule{
	ResidentID:       {base: 90, alone: 0.05, hinted: 0.02, grade: 3, personal: true, category: Personal, source: sourceID},
	ResidencePermit:  {base: 90, alone: 0.05, hinted: 0.02, grade: 3, personal: true, category: Personal, source: sourceID},
	ResidentID15:     {base: 40, alone: 0.60, hinted: 0.20, weak: true, grade: 3, personal: true, category: Personal, source: sourceID},
	HKID:             {base: 70, alone: 0.60, hinted: 0.20, weak: true, grade: 3, personal: true, category: Personal, source: sourceID},
	Passport:         {base: 40, alone: 0.65, hinted: 0.30, weak: true, variety: 8, grade: 3, personal: true, category: Personal, source: sourceID},
	TravelPermit:     {base: 40, alone: 0.65, hinted: 0.30, weak: true, variety: 8, grade: 3, personal: true, category: Personal, source: sourceID},
	USCC:             {base: 90, alone: 0.05, hinted: 0.02, grade: 2, category: Organisation, source: "GB 32100 公开登记信息; grade 2 is a position"},
	OrganisationCode: {base: 50, alone: 0.50, hinted: 0.30, weak: true, grade: 2, category: Organisation, source: "GB 11714 公开登记信息; grade 2 is a position"},
	Enterprise:       {base: 70, alone: 0.30, hinted: 0.10, weak: true, grade: 2, category: Organisation, source: "公开登记信息; grade 2 is a position"},
	BankCard:         {base: 60, alone: 0.60, hinted: 0.30, weak: true, variety: 3, grade: 3, personal: true, category: Personal, sensitive: FinancialAccount, source: "GB/T 45574-2025 金融账户"},
	Mobile:           {base: 60, alone: 0.70, hinted: 0.20, weak: true, variety: 4, grade: 3, personal: true, category: Personal, source: sourcePersonal},
	Landline:         {base: 50, alone: 0.60, hinted: 0.20, weak: true, grade: 3, personal: true, category: Personal, source: sourcePersonal},
	Email:            {base: 90, alone: 0.05, hinted: 0.02, grade: 3, personal: true, category: Personal, source: sourcePersonal},
	VIN:              {base: 80, alone: 0.30, hinted: 0.10, weak: true, grade: 3, personal: true, category: Personal, source: sourcePersonal + "; a vehicle leads to its owner: a position"},
	Plate:            {base: 80, alone: 0.20, hinted: 0.05, grade: 3, personal: true, category: Personal, source: sourcePersonal + "; a vehicle leads to its owner: a position"},
	PersonName:       {base: 40, alone: 0.65, hinted: 0.40, weak: true, distinct: 0.3, likely: 0.7, grade: 3, personal: true, category: Personal, source: sourcePersonal},
	Address:          {base: 60, alone: 0.50, hinted: 0.20, weak: true, grade: 3, personal: true, category: Personal, source: sourcePersonal},
	ICD10:            {base: 50, alone: 0.70, hinted: 0.40, weak: true, variety: 3, grade: 3, personal: true, category: Personal, sensitive: MedicalHealth, source: "GB/T 45574-2025 医疗健康信息"},
	Disease:          {base: 50, alone: 0.50, hinted: 0.30, weak: true, variety: 3, grade: 3, personal: true, category: Personal, sensitive: MedicalHealth, source: "GB/T 45574-2025 医疗健康信息"},
	LatinName:        {base: 40, alone: 0.50, hinted: 0.40, weak: true, variety: 8, distinct: 0.3, grade: 3, personal: true, category: Personal, source: sourcePersonal},
	BirthDate:        {base: 60, hinted: 0.5, named: true, grade: 3, personal: true, category: Personal, source: sourcePersonal},

	OtherID:         {base: 40, named: true, grade: 3, personal: true, category: Personal, source: sourcePersonal},
	Ethnicity:       {base: 40, named: true, grade: 3, personal: true, category: Personal, source: sourcePersonal + "; grade 3 is a position"},
	Biometric:       {base: 50, named: true, grade: 3, personal: true, category: Personal, sensitive: BiometricData, source: "GB/T 45574-2025 生物识别信息"},
	Religion:        {base: 50, named: true, grade: 3, personal: true, category: Personal, sensitive: ReligiousBelief, source: "GB/T 45574-2025 宗教信仰信息"},
	SpecialIdentity: {base: 50, named: true, grade: 3, personal: true, category: Personal, sensitive: SpecificIdentity, source: "GB/T 45574-2025 特定身份信息"},
	Health:          {base: 50, named: true, grade: 3, personal: true, category: Personal, sensitive: MedicalHealth, source: "GB/T 45574-2025 医疗健康信息"},
	FinancialRecord: {base: 50, named: true, grade: 3, personal: true, category: Personal, sensitive: FinancialAccount, source: "GB/T 45574-2025 金融账户信息"},
	Whereabouts:     {base: 50, named: true, grade: 3, personal: true, category: Personal, sensitive: Trajectory, source: "GB/T 45574-2025 行踪轨迹信息"},
	EnterpriseData:  {base: 40, named: true, grade: 2, category: Organisation, source: "grade 2 is a position"},
}

// named lists the kinds that only a column's name tells.
var named = [...]Kind{Biometric, Religion, SpecialIdentity, Health, FinancialRecord, Whereabouts, EnterpriseData}

// Category (数据类别) says whom data are about. 依据: GB/T 43697-2024 classes data by whom and what they describe; the three
// classes here are those that the districts' price rules tell apart (个人, 企业, 其他), read in their rules and not in the
// standard's annexes.
type Category string

const (
	General      Category = "general"      // 一般公共数据
	Personal     Category = "personal"     // 个人信息
	Organisation Category = "organisation" // 企业和其他组织的信息
)

// National (国家数据级别) is the grade of GB/T 43697-2024, kept beside the district's level.
type National string

const (
	NationalGeneral   National = "general"   // 一般数据
	NationalImportant National = "important" // 重要数据
	NationalCore      National = "core"      // 核心数据
)

func (n National) rank() int {
	switch n {
	case NationalImportant:
		return 1
	case NationalCore:
		return 2
	}
	return 0
}

// Valid says whether n is one of the three.
func (n National) Valid() bool {
	return n == NationalGeneral || n == NationalImportant || n == NationalCore
}

// Sensitive (敏感个人信息类型) is a type of sensitive personal information of GB/T 45574-2025, in force 2025-11-01. The
// standard itself was not read; the list is that of its readers. A resident identity number is no longer among the specific
// identities, a photograph of the card is.
type Sensitive string

const (
	NotSensitive     Sensitive = ""
	BiometricData    Sensitive = "biometric"         // 生物识别信息
	ReligiousBelief  Sensitive = "religion"          // 宗教信仰信息
	SpecificIdentity Sensitive = "specific-identity" // 特定身份信息
	MedicalHealth    Sensitive = "health"            // 医疗健康信息
	FinancialAccount Sensitive = "financial-account" // 金融账户信息
	Trajectory       Sensitive = "whereabouts"       // 行踪轨迹信息
	Under14          Sensitive = "under-14"          // 不满十四周岁未成年人的个人信息: told by people, not by a detector
)

// GradeOf gives the grade a kind proposes, whether it is personal, and the source of that choice.
func GradeOf(k Kind) (g sandbox.Grade, personal bool, source string) {
	r := rules[k.Of()]
	return r.grade, r.personal, r.source
}

// CategoryOf gives the category of a kind; General for None.
func CategoryOf(k Kind) Category {
	if c := rules[k.Of()].category; c != "" {
		return c
	}
	return General
}

// SensitiveOf gives the type of sensitive personal information a kind is, or NotSensitive.
func SensitiveOf(k Kind) Sensitive { return rules[k.Of()].sensitive }

// Apply writes findings into a copy of the description. A detected grade or a personal mark is never taken back by a
// later push that happens not to show it; lowering one is a person's decision.
func Apply(d catalog.Dataset, findings []ColumnFinding) catalog.Dataset {
	d.Columns = append([]catalog.Column(nil), d.Columns...)
	for _, f := range findings {
		c, ok := d.Column(f.Column)
		if !ok {
			continue
		}
		if f.Grade >= c.Detected {
			c.Detected, c.Finding = f.Grade, string(f.Finding)
		}
		if f.Finding != None && f.Category != "" && (c.Category == "" || c.Category == string(General) || f.Category == Personal) {
			c.Category = string(f.Category)
		}
		c.Personal = c.Personal || f.Personal
	}
	return d
}

// Standing (合并级别) is the grade of data made of several parts.
type Standing struct {
	Grade    sandbox.Grade `json:"grade"`
	National National      `json:"national"`
	Personal bool          `json:"personal,omitempty"`
	Category Category      `json:"category"`
}

// Strictest gives the standing of a join or any other result of parts: the highest of each (就高从严, GB/T 43697-2024). A
// part whose grade is not known counts as 4. A lower grade of a derived result needs a recorded rule and a person.
func Strictest(parts ...Standing) Standing {
	out := Standing{Grade: sandbox.Grade1, National: NationalGeneral, Category: General}
	for _, p := range parts {
		if !p.Grade.Valid() {
			p.Grade = sandbox.Grade4
		}
		if p.Personal {
			p.Grade, p.Category = max(p.Grade, sandbox.Grade3), Personal
		}
		out.Grade, out.Personal = max(out.Grade, p.Grade), out.Personal || p.Personal
		switch {
		case p.National != "" && !p.National.Valid():
			out.National = NationalCore
		case p.National.rank() > out.National.rank():
			out.National = p.National
		}
		if p.Category == Personal || p.Category == Organisation && out.Category == General {
			out.Category = p.Category
		}
	}
	return out
}
