package egress

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/model"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// Pack (审核证据包) is what the agency and the owners see beside the outgoing bytes: enough to decide from.
type Pack struct {
	Summary     string         `json:"summary"`
	Brief       Brief          `json:"brief"`
	Params      Params         `json:"params,omitzero"` // thresholds in force: the district's, and the owners' where stricter
	Rules       []string       `json:"rules"`
	Cells       []CellEvidence `json:"cells"`
	Hidden      *Suppression   `json:"hidden,omitempty"`     // how cells that break a rule are protected
	Reasons     []HiddenCell   `json:"suppressed,omitempty"` // what was suppressed, and why
	Against     []Against      `json:"against,omitempty"`    // what changed against earlier results
	Flags       []Flag         `json:"flags,omitempty"`      // what a person must look at though no rule stands against it
	MilliBits   scan.MilliBits `json:"milli_bits,omitempty"` // that the values may tell, at most
	Finding     *Finding       `json:"finding,omitempty"`
	Hits        []scan.Hit     `json:"hits,omitempty"` // why it is quarantined: rule and place, never a value
	Cause       string         `json:"cause,omitempty"`
	Uncertified string         `json:"uncertified,omitempty"` // which combinations of earlier answers were not searched
	Votes       []OpenVote     `json:"votes,omitempty"`       // once both are in

	Items    []ItemResult      `json:"items,omitempty"`    // what the class's checklist found
	Evidence json.RawMessage   `json:"evidence,omitempty"` // of the class
	Owners   []sandbox.PartyID `json:"owners,omitempty"`   // whose signature it takes
	Unsigned []sandbox.PartyID `json:"unsigned,omitempty"` // and is not there yet
	Acts     []Act             `json:"acts,omitempty"`
}

// Brief (一页摘要) is the page's summary, line by line, in Chinese and in English.
type Brief struct {
	ZH []string `json:"zh"`
	EN []string `json:"en"`
}

// HiddenCell (隐藏单元格) is a suppressed cell with the reasons in words.
type HiddenCell struct {
	Cell   int      `json:"cell"`
	Labels []string `json:"labels"`
	Rules  []string `json:"rules"`
	ZH     string   `json:"zh"`
	EN     string   `json:"en"`
}

// Against (与既往结果比较) compares a result with an earlier one of the same shape over the same data: cells by their labels.
type Against struct {
	Earlier  sandbox.QuestionID `json:"earlier"`
	State    State              `json:"state"`
	Same     int                `json:"same"`     // with the same values
	Changed  int                `json:"changed"`  // with other values
	Added    int                `json:"added"`    // not there before
	Gone     int                `json:"gone"`     // there before
	Hidden   int                `json:"hidden"`   // published before, suppressed now
	Unhidden int                `json:"unhidden"` // suppressed before, published now
}

// OpenVote (开票结果) is a vote after both are in.
type OpenVote struct {
	By      sandbox.IdentityID `json:"by"`
	Party   sandbox.PartyID    `json:"party"`
	Round   int                `json:"round"`
	Approve bool               `json:"approve"`
	Lifted  bool               `json:"lifted,omitempty"`
	Reason  string             `json:"reason,omitempty"`
	At      time.Time          `json:"at"`
}

// ruleWords says what a rule found, for people.
var ruleWords = map[string][2]string{
	RuleFrequency: {"人数少于门限", "fewer people than the threshold"},
	RuleDominance: {"最大贡献者占比过高", "its largest contributors hold too much of it"},
	RulePPercent:  {"第二大贡献者可推算最大者", "its second largest contributor could tell the largest"},
	RuleAllEqual:  {"全部取值相同", "everybody in it adds the same"},
	RuleSecondary: {"为保护其他隐藏单元格", "hidden so that another suppressed cell does not follow from the totals"},
	RuleFunction:  {"该函数不可出域", "a function that may not leave"},
	RuleDegrees:   {"自由度不足", "too few degrees of freedom"},
	RuleCrossing:  {"与既往副本的等价类交集人数过少", "its classes and those of an earlier copy have too few people in common"},
	RuleBits:      {"信息量超过上限", "its values could tell more bits than a result may"},
	FlagClass:     {"类别泄露：某一行或列几乎全部属于同一类", "class disclosure: one category holds nearly everybody of a line"},
	FlagMissing:   {"缺失值较多且结果未注明", "many rows without a value, which the result does not say"},
	FlagScored:    {"由合作方保密模型算出，域内无人见过其权重", "made by a partner's secret model, whose weights nobody here has seen"},
	FlagFaults:    {"逐主体算法对部分主体失败，其未计入任何单元格", "subjects for whom the Map failed; they are in no cell"},
}

// RuleWords gives a rule in Chinese and in English; an unknown one stands as it is.
func RuleWords(rule string) (zh, en string) {
	if w, ok := ruleWords[rule]; ok {
		return w[0], w[1]
	}
	return model.RuleWords(rule)
}

// Pack gives the evidence of a review as JSON with a summary in Chinese and English. earlier are reviews it may be compared with.
func (r Review) Pack(earlier ...Review) ([]byte, error) {
	p := Pack{Params: r.Params, Rules: r.Rules, Cells: r.Cells, Hidden: r.Hidden, Finding: r.Finding, Cause: r.Cause, Uncertified: r.Uncertified, Acts: r.Acts,
		Flags: r.Flags, MilliBits: r.MilliBits, Hits: r.Hits,
		Items: r.Items, Evidence: r.Evidence, Owners: r.Owners, Unsigned: r.Unsigned()}
	for i, c := range r.Cells {
		if !c.Suppressed {
			continue
		}
		h := HiddenCell{Cell: i, Labels: c.Labels, Rules: c.Rules}
		var zh, en []string
		for _, rule := range c.Rules {
			z, e := RuleWords(rule)
			zh, en = append(zh, z), append(en, e)
		}
		h.ZH, h.EN = strings.Join(zh, "；"), strings.Join(en, "; ")
		p.Reasons = append(p.Reasons, h)
	}
	p.Against = r.against(earlier)
	for _, v := range r.Past {
		p.Votes = append(p.Votes, v.open())
	}
	if r.Opened() {
		for _, v := range r.Votes {
			p.Votes = append(p.Votes, v.open())
		}
	}
	hidden := len(p.Reasons)
	p.Summary = fmt.Sprintf("共 %d 个单元格，隐藏 %d 个 · %d cells, %d suppressed", len(r.Cells), hidden, len(r.Cells), hidden)
	if len(r.Items) > 0 {
		held := 0
		for _, x := range r.Items {
			if x.Pass {
				held++
			}
		}
		p.Summary = fmt.Sprintf("清单 %d 项中 %d 项符合 · %[2]d of %[1]d items of the checklist held", len(r.Items), held)
	}
	if h := r.Hidden; h != nil && h.Whole != "" {
		p.Summary += "；整表隐藏 · suppressed whole"
	} else if h != nil {
		p.Summary += fmt.Sprintf("，其中 %d 个为保护其他单元格 · of them %d to protect others", h.Cells, h.Cells)
	}
	if r.Finding != nil {
		p.Summary += fmt.Sprintf("；与 %s 相差 %d 人，不予应答 · differs from %s on %d people: withheld", r.Finding.Earlier, r.Finding.People, r.Finding.Earlier, r.Finding.People)
	}
	p.Brief = r.brief(p)
	return json.Marshal(p)
}

func (v Vote) open() OpenVote {
	return OpenVote{By: v.By, Party: v.Party, Round: v.Round, Approve: v.Approve, Lifted: v.Lifted, Reason: v.Reason, At: v.At}
}

// brief writes the one-page summary.
func (r Review) brief(p Pack) Brief {
	var b Brief
	say := func(zh, en string, args ...any) {
		b.ZH, b.EN = append(b.ZH, fmt.Sprintf(zh, args...)), append(b.EN, fmt.Sprintf(en, args...))
	}
	if p.Uncertified != "" {
		say("与既往结果的组合未能穷尽比对，须由人判断：%s", "combinations with earlier results are not all searched: %s", p.Uncertified)
	}
	published, least, top := 0, 0, 0
	for _, c := range r.Cells {
		if c.Suppressed {
			continue
		}
		published++
		if least == 0 || c.People < least {
			least = c.People
		}
		top = max(top, c.Top1)
	}
	list, err := ChecklistOf(r.Class)
	if err != nil {
		list = Checklist{}
	}
	until := r.Expires.UTC().Format("2006-01-02 15:04 UTC")
	b.ZH = append(b.ZH, fmt.Sprintf("出域类别 %s %s；接收方 %s；第 %d 轮；有效至 %s", r.Class, list.Term, r.Recipient, r.Round+1, until))
	b.EN = append(b.EN, fmt.Sprintf("class %s, %s; recipient %s; round %d; expires %s", r.Class, list.Name, r.Recipient, r.Round+1, until))
	for _, x := range r.Items {
		b.ZH, b.EN = append(b.ZH, x.ZH), append(b.EN, x.EN)
	}
	if len(r.Owners) > 0 {
		say("须数源单位签署：%s；未签署 %d 家", "needs the signature of %s; %d have not signed", names(r.Owners), len(p.Unsigned))
	}
	if len(r.Items) == 0 {
		say("公布 %d 个单元格，隐藏 %d 个", "%d cells published, %d suppressed", published, len(p.Reasons))
	}
	if published > 0 {
		say("公布的单元格最少 %d 人；最大单一占比 %d‰", "a published cell has at least %d people; its largest contributor holds at most %d per mille", least, top)
	}
	if r.Params != (Params{}) {
		say("门限：每格至少 %d 人；前 %d 名占比不超过 %d%%；p%% 为 %d", "thresholds: at least %d people a cell; the %d largest hold at most %d%%; p%% of %d", r.Params.MinSubjects, r.Params.DominanceN, r.Params.DominanceK, r.Params.PPercent)
	}
	if r.MilliBits > 0 {
		say("取值最多可传递 %d 比特", "its values can tell at most %d bits", (r.MilliBits+999)/1000)
	}
	for _, f := range r.Flags {
		zh, en := RuleWords(f.Rule)
		b.ZH = append(b.ZH, fmt.Sprintf("请判断：%s（%d 处，最高 %d‰）", zh, f.Places, f.Worst))
		b.EN = append(b.EN, fmt.Sprintf("judge this: %s (%d places, at most %d per mille)", en, f.Places, f.Worst))
	}
	for _, h := range r.Hits[:min(len(r.Hits), 8)] {
		say("扫描命中：%s", "scan hit: %s", h.String())
	}
	for _, h := range p.Reasons[:min(len(p.Reasons), 8)] {
		b.ZH = append(b.ZH, fmt.Sprintf("隐藏“%s”：%s", strings.Join(h.Labels, " · "), h.ZH))
		b.EN = append(b.EN, fmt.Sprintf("suppressed %q: %s", strings.Join(h.Labels, " · "), h.EN))
	}
	for _, a := range p.Against[max(0, len(p.Against)-4):] {
		say("与 %s（%s）相比：相同 %d，变化 %d，新增 %d，消失 %d，改为隐藏 %d，改为公布 %d", "against %s (%s): %d same, %d changed, %d added, %d gone, %d newly suppressed, %d newly published",
			a.Earlier, a.State, a.Same, a.Changed, a.Added, a.Gone, a.Hidden, a.Unhidden)
	}
	if r.Finding != nil {
		say("与既往结果 %s 相差 %d 人，不予应答（%s）", "differs from %s on %d people: withheld (%s)", r.Finding.Earlier, r.Finding.People, r.Finding.Rule)
	}
	if r.Cause != "" {
		say("原因：%s", "cause: %s", r.Cause)
	}
	return b
}

func names(parties []sandbox.PartyID) string {
	var out []string
	for _, p := range parties {
		out = append(out, string(p))
	}
	return strings.Join(out, ", ")
}

// comparable bounds how many earlier results one review is compared with: the latest.
const comparable = 20

// against compares the result with earlier ones of the same dimensions and measures over a shared dataset.
func (r Review) against(earlier []Review) []Against {
	now, err := DecodeResult(r.Result)
	if err != nil {
		return nil
	}
	var out []Against
	for _, e := range earlier {
		if e.Question == r.Question || !e.State.Shown() || !slices.ContainsFunc(e.Datasets, func(d sandbox.DatasetID) bool { return slices.Contains(r.Datasets, d) }) {
			continue
		}
		was, err := DecodeResult(e.Result)
		if err != nil || !slices.Equal(was.Dimensions, now.Dimensions) || !slices.EqualFunc(was.Measures, now.Measures, func(a, b sandbox.Measure) bool { return a.Name == b.Name && a.Func == b.Func }) {
			continue
		}
		a := compare(now, was)
		a.Earlier, a.State = e.Question, e.State
		out = append(out, a)
	}
	return out[max(0, len(out)-comparable):]
}

func compare(now, was Result) (a Against) {
	key := func(row ResultRow) string { return strings.Join(row.Labels, "\x00") }
	before := map[string]ResultRow{}
	for _, row := range was.Rows {
		before[key(row)] = row
	}
	for _, row := range now.Rows {
		old, ok := before[key(row)]
		delete(before, key(row))
		switch {
		case !ok:
			a.Added++
		case row.Suppressed && !old.Suppressed:
			a.Hidden++
		case !row.Suppressed && old.Suppressed:
			a.Unhidden++
		case slices.EqualFunc(row.Values, old.Values, func(x, y *int64) bool { return x == nil && y == nil || x != nil && y != nil && *x == *y }):
			a.Same++
		default:
			a.Changed++
		}
	}
	a.Gone = len(before)
	return a
}
