package datagen

import (
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Datasets of Catalogue.
const (
	Persons   sandbox.DatasetID = "ds-persons"
	Claims    sandbox.DatasetID = "ds-claims"
	Subsidies sandbox.DatasetID = "ds-subsidies"
)

// Catalogue (模拟数据目录) describes the three files as their units would register them: civil owns persons and subsidies,
// medical owns claims. Column names are the files' headers.
func Catalogue(civil, medical sandbox.PartyID) []catalog.Dataset {
	id := catalog.Column{Name: "resident_id", Title: "身份号码", Type: catalog.Text, Grade: 3, Personal: true, JoinKey: true}
	return []catalog.Dataset{
		{ID: Persons, Unit: civil, Title: "常住人口", Format: "csv", Frequency: catalog.Daily, Subject: "resident_id", SubjectKind: catalog.ResidentID,
			Columns: []catalog.Column{
				id,
				{Name: "name", Title: "姓名", Type: catalog.Text, Grade: 3, Personal: true},
				{Name: "sex", Title: "性别", Type: catalog.Text, Range: "GB/T 2261.1: 1 男, 2 女", Grade: 2, Public: true},
				{Name: "birth_date", Title: "出生日期", Type: catalog.Date, Grade: 2},
				{Name: "mobile", Title: "手机号码", Type: catalog.Text, Grade: 3, Personal: true},
				{Name: "street_code", Title: "街道代码", Type: catalog.Text, Grade: 2, Public: true},
				{Name: "address", Title: "住址", Type: catalog.Text, Grade: 3, Personal: true},
			},
			Bins: []catalog.Bin{
				{ID: "age-band", Title: "年龄段", Column: "birth_date", Kind: catalog.Age, Edges: []int64{18, 40, 60}, At: "2026-01-01"},
				{ID: "birth-year", Title: "出生年", Column: "birth_date", Kind: catalog.Year},
			}},
		{ID: Claims, Unit: medical, Title: "医保结算", Format: "csv", Frequency: catalog.Daily, Subject: "resident_id", SubjectKind: catalog.ResidentID,
			Columns: []catalog.Column{
				{Name: "claim_no", Title: "结算单号", Type: catalog.Text, Grade: 2},
				id,
				{Name: "hospital", Title: "医疗机构统一社会信用代码", Type: catalog.Text, Grade: 1},
				{Name: "icd10", Title: "主要诊断编码", Type: catalog.Text, Grade: 3, Personal: true},
				{Name: "service_date", Title: "就诊日期", Type: catalog.Date, Grade: 2},
				{Name: "amount", Title: "结算金额", Type: catalog.Money, Unit: "元", Grade: 2},
			},
			Bins: []catalog.Bin{
				{ID: "chapter", Title: "疾病大类", Column: "icd10", Kind: catalog.Prefix, Groups: []catalog.Group{
					{Label: "内分泌代谢", Codes: []string{"E"}}, {Label: "眼耳", Codes: []string{"H"}}, {Label: "循环系统", Codes: []string{"I"}},
					{Label: "呼吸系统", Codes: []string{"J"}}, {Label: "消化系统", Codes: []string{"K"}}, {Label: "皮肤", Codes: []string{"L"}},
					{Label: "肌肉骨骼", Codes: []string{"M"}}, {Label: "泌尿生殖", Codes: []string{"N"}}, {Label: "先天畸形", Codes: []string{"Q"}},
					{Label: "损伤", Codes: []string{"S", "T"}},
				}},
				{ID: "amount-band", Title: "金额段", Column: "amount", Kind: catalog.Amount, Edges: []int64{50_000, 500_000}},
				{ID: "service-year", Title: "就诊年", Column: "service_date", Kind: catalog.Year},
			}},
		{ID: Subsidies, Unit: civil, Title: "惠民补贴", Format: "csv", Frequency: catalog.Monthly, Subject: "resident_id", SubjectKind: catalog.ResidentID,
			Columns: []catalog.Column{
				{Name: "subsidy_no", Title: "发放单号", Type: catalog.Text, Grade: 2},
				id,
				{Name: "kind", Title: "补贴种类代码", Type: catalog.Text, Grade: 1, Public: true},
				{Name: "amount", Title: "发放金额", Type: catalog.Money, Unit: "元", Grade: 2},
				{Name: "paid_date", Title: "发放日期", Type: catalog.Date, Grade: 2},
			},
			Bins: []catalog.Bin{{ID: "paid-year", Title: "发放年", Column: "paid_date", Kind: catalog.Year}}},
	}
}
