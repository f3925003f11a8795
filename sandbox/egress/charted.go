package egress

import (
	"fmt"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// ChartTerms (图表出域条件) is what a chart of foreign code is held to, and what the domain itself knows of what the code saw. Nothing of it is the code's
// word.
type ChartTerms struct {
	Chart   Chart
	Params  Params
	Cap     int // bits that its manifest allows it
	People  int // whose rows the code saw
	Rows    int // that it saw
	K       int // people of its smallest class, of a view that is k-anonymous; 0: of another
	Traces  *scan.Traces
	Same    bool   // a second run gave the same bytes
	Tier    string // that the code was confined in
	Grade   sandbox.Grade
	Compare string // what the ledger could not certify; "" nothing
	Run     ForeignRun
}

// ForeignRun (外来代码运行) is which code ran over what, as its approval and the jail know it: digests and names, nothing of the code's choosing.
type ForeignRun struct {
	Algorithm sandbox.AlgorithmID    `json:"algorithm"`
	Title     string                 `json:"title,omitempty"`
	Author    string                 `json:"author"`
	Manifest  []byte                 `json:"manifest"` // SM3
	Image     []byte                 `json:"image"`    // SM3
	Posture   []byte                 `json:"posture"`  // SM3
	View      sandbox.DatasetID      `json:"view,omitempty"`
	Inputs    []sandbox.InputVersion `json:"inputs"`
	Columns   []string               `json:"columns"` // that it saw
}

// ChartEvidence (图表审核证据) is what the agency and the owners see of the checks.
type ChartEvidence struct {
	Run       ForeignRun     `json:"run"`
	Tier      string         `json:"tier"`
	Grade     sandbox.Grade  `json:"grade"`
	People    int            `json:"people"`
	Rows      int            `json:"rows"`
	K         int            `json:"k,omitempty"`
	Out       int            `json:"out_rows"`
	MilliBits scan.MilliBits `json:"milli_bits"`
	Cap       int            `json:"bits_cap"`
}

// Charted makes the product of class F. Foreign code that saw several subjects made it: the gate has no evidence of what its numbers mean, and says so to
// reviewers; it holds what can be known without the code's word. An item that is not held withholds the chart.
func Charted(t ChartTerms) (*Product, error) {
	result, err := EncodeChart(t.Chart)
	if err != nil {
		return nil, err
	}
	carried := t.Chart.MilliBits()
	out := len(t.Chart.Rows)
	m := Made{Class: sandbox.ClassF, Question: t.Chart.Question, Result: result,
		Evidence: ChartEvidence{Run: t.Run, Tier: t.Tier, Grade: t.Grade, People: t.People, Rows: t.Rows, K: t.K, Out: out, MilliBits: carried, Cap: t.Cap}}
	item := func(id string, pass bool, zh, en string) {
		m.Items, m.Rules = append(m.Items, ItemResult{ID: id, Pass: pass, ZH: zh, EN: en}), append(m.Rules, id)
	}
	item("schema", true, fmt.Sprintf("闸门按核准结构重新编码：%d 行（上限 %d），标签均已登记，数值已截断取整", out, t.Chart.Most),
		fmt.Sprintf("encoded anew in the approved schema: %d rows of at most %d, labels registered, numbers clipped and on their steps", out, t.Chart.Most))
	item("text", true, "除登记标签外无任何文字", "no text but registered labels")
	most := scan.MilliBits(t.Cap) * 1000
	if t.Params.MaxBits > 0 {
		most = min(most, scan.MilliBits(t.Params.MaxBits)*1000)
	}
	item("bits", t.Cap > 0 && carried <= most, fmt.Sprintf("最多可携带 %d.%03d 比特，上限 %d", carried/1000, carried%1000, most/1000),
		fmt.Sprintf("it carries %d.%03d bits at most, of %d allowed", carried/1000, carried%1000, most/1000))
	least := t.Params.MinSubjects
	item("support", t.People >= least && t.People >= least*out && least > 0, fmt.Sprintf("所见 %d 人，每行平均不少于 %d 人；各行含义由代码决定，须人工判断", t.People, least),
		fmt.Sprintf("computed over %d people, at least %d for each row on average; what a row means is the code's word, for people to judge", t.People, least))
	traced := t.Traces.Few(least)
	item("rows", t.Traces != nil && len(traced) == 0, fmt.Sprintf("与源数据逐行比对，%d 行在三个以上取值上与少于 %d 人的记录一致", len(traced), least),
		fmt.Sprintf("against every row that the code saw: %d rows agree in three values or more with rows of fewer than %d people", len(traced), least))
	item("confined", t.Tier != "" && t.Same, fmt.Sprintf("隔离级别 %s，两次运行结果逐字节一致", t.Tier), fmt.Sprintf("run in tier %s, twice, with the same bytes", t.Tier))
	item("ledger", true, "与既往全部出域结果比对，所见人群未孤立任何少数人", "whom it was computed over isolates nobody against any earlier result"+unsure(t.Compare))
	item("identifiers", true, "标签与数值中未发现标识符", "no identifier in labels or numbers")
	p, err := NewProduct(m) // scans
	if err == nil {
		p.bits = carried
	}
	return p, err
}

func unsure(what string) string {
	if what == "" {
		return ""
	}
	return "; not certified: " + what
}
