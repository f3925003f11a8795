package datagen

import (
	"fmt"
	"math/rand/v2"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// CardColumns is how many columns a card of Cards has.
const CardColumns = 25

// Searches are words to look for among Cards: short and long, Chinese and Latin, frequent and absent.
var Searches = []string{"人口", "医疗 登记", "行政处罚", "统一社会信用代码", "ds-00042", "unit-07", "rk", "rkjc", "人", "e", "", "房屋 年度 面积", "没有这样的表", "field_3 金额", "公积金明细"}

// Cards (目录卡片样本) makes a catalogue of a district's size with words that repeat as they do there.
func Cards(n int) []catalog.Dataset {
	r := rand.New(rand.NewPCG(1, 2))
	pick := func(words string, times int) string {
		all := strings.Fields(words)
		var b strings.Builder
		for range times {
			b.WriteString(all[r.IntN(len(all))])
		}
		return b.String()
	}
	const subjects = "人口 法人 房屋 社会保险 公积金 医疗 教育 行政处罚 招投标 海关 能源 企业电力 不动产 文旅 城中村 小散工程 产业链 舆情 金融 车辆"
	const kinds = "基础信息 登记 明细 统计 汇总 变更记录 备案 台账 名录 评价 年度 月度"
	const fields = "姓名 证件号码 性别 出生日期 住址 街道代码 联系电话 单位名称 统一社会信用代码 登记日期 金额 数量 状态 备注 类别 编号 起始日期 终止日期 面积 等级"
	out := make([]catalog.Dataset, n)
	for i := range out {
		d := catalog.Dataset{ID: sandbox.DatasetID(fmt.Sprintf("ds-%05d", i)), Unit: sandbox.PartyID(fmt.Sprintf("unit-%02d", r.IntN(90))), Title: pick(subjects, 2) + pick(kinds, 2),
			Card: catalog.Card{Description: pick(subjects+" "+kinds, 12), Source: pick(subjects, 1) + "系统", Tags: []string{pick(subjects, 1)}}}
		for c := range CardColumns {
			d.Columns = append(d.Columns, catalog.Column{Name: fmt.Sprintf("field_%d", c), Title: pick(fields, 2)})
		}
		out[i] = d
	}
	return out
}
