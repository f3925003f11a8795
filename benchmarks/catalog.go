package main

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/quality"
)

const (
	catalogTables  = 10_000
	catalogColumns = 25
)

// cards makes a catalogue of a district's size with words that repeat as they do there.
func cards(n int) []catalog.Dataset {
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
		for c := range catalogColumns {
			d.Columns = append(d.Columns, catalog.Column{Name: fmt.Sprintf("field_%d", c), Title: pick(fields, 2)})
		}
		out[i] = d
	}
	return out
}

// catalogSection measures the catalogue: the index of 10,000 cards that a start builds, searches over it, and the quality pass over
// the rows that the engine's lines scan.
func catalogSection(rows, repeat int) (string, error) {
	all := cards(catalogTables)
	began, cpu := time.Now(), processorTime()
	x := catalog.NewIndex()
	for i := range all {
		x.Put(&all[i])
	}
	built, builtCPU := time.Since(began), processorTime()-cpu
	var took []time.Duration
	found := 0
	for range repeat {
		for _, text := range []string{"人口", "医疗 登记", "行政处罚", "统一社会信用代码", "ds-00042", "unit-07", "rk", "rkjc", "人", "e", "", "房屋 年度 面积", "没有这样的表", "field_3 金额", "公积金明细"} {
			began := time.Now()
			_, total, err := x.Search(catalog.Query{Text: text, Limit: catalog.MaxPage}, nil)
			if err != nil {
				return "", err
			}
			took, found = append(took, time.Since(began)), found+total
		}
	}
	slices.Sort(took)
	ms := func(d time.Duration) float64 { return float64(d.Microseconds()) / 1e3 }
	out := fmt.Sprintf("\n## The catalogue\n\n%d cards of %d columns in memory: index built in %.0f ms (%.0f ms of CPU); %d searches, %d tables found on average: median %.2f ms, slowest %.1f ms.\n\n",
		catalogTables, catalogColumns, ms(built), ms(builtCPU), len(took), found/len(took), ms(took[len(took)/2]), ms(took[len(took)-1]))
	line, err := qualityLine(rows, repeat)
	return out + line, err
}

// qualityLine is the quality pass, by rows and by cells.
func qualityLine(rows, repeat int) (string, error) {
	t := generate(rows, func(row int) int { return row / rowsPerSubject })["claims"]
	d := t.described
	d.Columns = slices.Clone(d.Columns)
	for i, values := range map[int]string{1: "len[1,12]", 2: "len[1,8]", 3: "[2000-01-01,2030-12-31]", 4: "[0,)", 5: "[0,)"} {
		d.Columns[i].Values = values
	}
	best := time.Duration(0)
	for range repeat {
		p, err := quality.New(d)
		if err != nil {
			return "", err
		}
		cpu := processorTime()
		for _, rec := range t.records {
			if err := p.Observe(rec); err != nil {
				return "", err
			}
		}
		if took := processorTime() - cpu; best == 0 || took < best {
			best = took
		}
	}
	perS := float64(rows) / best.Seconds() / 1e6
	return fmt.Sprintf("Quality pass over %d rows of %d columns (3 texts, a date, 2 amounts; 5 ranges, whole rows hashed for uniqueness): %.1f M rows/CPU-s, %.0f M cells/CPU-s.\n",
		rows, len(d.Columns), perS, perS*float64(len(d.Columns))), nil
}
