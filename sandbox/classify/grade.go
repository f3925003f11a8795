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
	grade         sandbox.Grade
	personal      bool
	source        string
}

const minSamples = 20

// rules: identifiers of persons are grade 3, not 4, so that questions over them stay possible where the agency hosts;
// nothing a text detector finds leaves no engine in plain. 依据 of the grades: 龙华区实施方案 三(四), 三级及以上为高敏感;
// GB/T 43697-2024 就高从严; where the sources give no level for a kind, "position" marks our own choice.
var rules = map[Kind]rule{
	ResidentID:   {base: 90, alone: 0.05, hinted: 0.02, grade: 3, personal: true, source: "GB/T 45574-2025 个人信息; 龙华区实施方案 三(四)"},
	ResidentID15: {base: 40, alone: 0.60, hinted: 0.20, weak: true, grade: 3, personal: true, source: "GB/T 45574-2025 个人信息; 龙华区实施方案 三(四)"},
	USCC:         {base: 90, alone: 0.05, hinted: 0.02, grade: 2, source: "GB 32100 公开登记信息; grade 2 is a position"},
	BankCard:     {base: 60, alone: 0.60, hinted: 0.30, weak: true, variety: 1, grade: 3, personal: true, source: "GB/T 45574-2025 金融账户"},
	Mobile:       {base: 60, alone: 0.70, hinted: 0.20, weak: true, variety: 4, grade: 3, personal: true, source: "个人信息; 龙华区实施方案 三(四)"},
	Email:        {base: 90, alone: 0.05, hinted: 0.02, grade: 3, personal: true, source: "个人信息; 龙华区实施方案 三(四)"},
	PersonName:   {base: 40, alone: 0.90, hinted: 0.40, weak: true, distinct: 0.3, grade: 3, personal: true, source: "个人信息; 龙华区实施方案 三(四)"},
	Address:      {base: 60, alone: 0.50, hinted: 0.20, weak: true, grade: 3, personal: true, source: "个人信息; 龙华区实施方案 三(四)"},
	ICD10:        {base: 50, alone: 0.70, hinted: 0.40, weak: true, variety: 3, grade: 3, personal: true, source: "GB/T 45574-2025 医疗健康信息"},
	BirthDate:    {base: 60, hinted: 0, grade: 3, personal: true, source: "个人信息; 龙华区实施方案 三(四)"},
}

// GradeOf gives the grade a kind proposes, whether it is personal, and the source of that choice.
func GradeOf(k Kind) (g sandbox.Grade, personal bool, source string) {
	r := rules[k]
	return r.grade, r.personal, r.source
}

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
		c.Personal = c.Personal || f.Personal
	}
	return d
}
