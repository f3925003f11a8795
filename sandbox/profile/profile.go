// Package profile holds what differs between districts as data (区级规则配置): terms, clocks, retention, consent rules,
// thresholds, budgets and prices, each value with the clause it follows. Shipped are longhua (龙华区), futian (福田区) and
// guangming (光明区); sources: 龙华区公共数据资源授权运营实施方案(试行) 2025, 福田区公共数据授权运营暂行管理办法 2024 with its draft
// 实施方案, 光明区公共数据授权运营管理暂行办法 2024. Where they are silent the article reads "position: …" and says why.
//
// Units are part of each field's doc; money is fen. A file is read strictly: every key must be there, in the documented
// order, and no other, so that no value can be overridden by a second or misspelt key. Errors name the field. A Profile
// is a value: nothing in it changes after Load. Thresholds of the gate are not shown to askers.
package profile

import (
	"github.com/opdomain/opdomain/sandbox"
)

// Value (规则取值) is one setting with the clause it follows (依据).
type Value[T any] struct {
	Value   T      `json:"value"`
	Article string `json:"article"`
}

// Profile (区级规则配置) is one district's settings.
type Profile struct {
	Name      string                         `json:"name"`    // file name: longhua, futian, guangming
	Title     string                         `json:"title"`   // 区名
	Version   string                         `json:"version"` // goes into every decision's policy version
	Roles     map[sandbox.Role]Value[string] `json:"roles"`   // the district's own names of the roles
	Term      Term                           `json:"term"`
	Clock     Clock                          `json:"clock"`
	Retention Retention                      `json:"retention"`
	Consent   Consent                        `json:"consent"`
	Engine    Engine                         `json:"engine"`
	Gate      Gate                           `json:"gate"`
	Bits      Bits                           `json:"bits"`
	Privacy   Privacy                        `json:"privacy"`
	Release   Release                        `json:"release"`
	Catalogue Catalogue                      `json:"catalogue"`
	Prices    PriceBook                      `json:"prices"`
}

// Term (授权期限) bounds agreements and scenarios.
type Term struct {
	AgreementYears Value[int] `json:"agreement_years"` // 授权运营协议有效期; a scenario's term is not longer
}

// Clock (审核时限) is how many working days each step of an application has.
type Clock struct {
	Operator Value[int] `json:"operator"` // 运营机构初审
	Agency   Value[int] `json:"agency"`   // 实施机构评估确认
	Unit     Value[int] `json:"unit"`     // 数源单位是否授权
}

// Retention (日志留存) is how long network logs stay after an operation ends.
type Retention struct {
	Years          Value[int]  `json:"years"`            // at least
	WholeIfShorter Value[bool] `json:"whole_if_shorter"` // all logs, if it ran for less than Years
}

// Consent (个人授权规则) bounds consent receipts.
type Consent struct {
	MaxDays Value[int]      `json:"max_days"` // longest term of one receipt, in days of 24 hours
	MaxUses Value[int]      `json:"max_uses"` // most uses of one receipt
	Methods Value[[]string] `json:"methods"`  // ways of signing that are accepted
}

// Engine (计算方式限制) is the highest grade the domain engine may open on raw columns, by hosting. A district may lower
// what the policy matrix allows, never raise it: grade 3 on an agency-hosted domain, grade 2 on an operator-hosted one.
type Engine struct {
	MaxGradeP1 Value[sandbox.Grade] `json:"max_grade_p1"`
	MaxGradeP2 Value[sandbox.Grade] `json:"max_grade_p2"`
}

// Gate (出域门限) holds the thresholds of the egress gate. They stay secret from askers.
type Gate struct {
	MinSubjects Value[int] `json:"min_subjects"` // distinct subjects per cell
	DominanceN  Value[int] `json:"dominance_n"`  // n of the (n,k) rule
	DominanceK  Value[int] `json:"dominance_k"`  // k of the (n,k) rule, percent
	PPercent    Value[int] `json:"p_percent"`    // p of the p/q rule, percent
	Prior       Value[int] `json:"prior"`        // q of it: how well everybody can be told beforehand, percent; 100 is the p% rule
	MaxBits     Value[int] `json:"max_bits"`     // that the values of one result may tell
}

// Bits (信息量预算) is what an asker may learn from outcomes that depend on data. The budget lasts as long as the grant:
// one that is refilled every month is no budget.
type Bits struct {
	PerQuestion Value[int64] `json:"per_question"` // charged before data are opened, never refunded
	PerGrant    Value[int64] `json:"per_grant"`
	Carried     Value[int64] `json:"carried_per_grant"` // what outputs of foreign code that saw several subjects may carry, whole, over a grant's life
}

// Privacy (加噪参数) bounds what is spent of a dataset by differential privacy, over all of its versions and all askers, and is never refilled;
// and says how counts are rounded and perturbed where an owner's rule asks for it. The largest error of a perturbation stays secret.
type Privacy struct {
	Epsilon     Value[int64] `json:"epsilon_micro"` // ε of one dataset, in 10⁻⁶
	Delta       Value[int64] `json:"delta_pico"`    // δ of one dataset, in 10⁻¹²
	RoundBase   Value[int]   `json:"round_base"`
	KeyVariance Value[int]   `json:"cell_key_variance"`
	KeyBound    Value[int]   `json:"cell_key_bound"`
}

// Release (出域时限) bounds how long an approval and a sealed result stay good.
type Release struct {
	ApprovalDays Value[int] `json:"approval_days"` // a vote counts this many days
	ValidDays    Value[int] `json:"valid_days"`    // a released envelope opens this many days
}

// Catalogue (目录规则) says what of a catalogue may be authorised.
type Catalogue struct {
	ExcludeNotOpen Value[bool] `json:"exclude_not_open"` // 不予开放的数据不纳入授权运营, unless a legal basis is recorded
}

// PriceBook (价目表) lists the prices bills are computed from; Version goes on every invoice.
type PriceBook struct {
	Version string  `json:"version"`
	Prices  []Price `json:"prices"`
	Shares  []Share `json:"shares"`
}

// Price (价目) is the price of one metered product.
type Price struct {
	Product string      `json:"product"` // metered product code
	Title   string      `json:"title"`   // 中文名称
	Unit    string      `json:"unit"`    // 计量单位, in words
	Price   sandbox.Fen `json:"price"`   // fen per unit
	Article string      `json:"article"`
}

// Share (收益分配) is one role's part of an invoice in basis points (1/10000); the parts add up to 10000.
type Share struct {
	Role    sandbox.Role `json:"role"`
	Basis   int64        `json:"basis"`
	Credit  bool         `json:"credit"` // 技术服务反哺: booked as a service credit, never payable in cash
	Article string       `json:"article"`
}

// Price finds the price of a product.
func (b PriceBook) Price(product string) (Price, bool) {
	for _, p := range b.Prices {
		if p.Product == product {
			return p, true
		}
	}
	return Price{}, false
}
