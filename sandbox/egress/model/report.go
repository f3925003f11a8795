package model

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// Verdict (结论) of a rule, and of a model: the worst of its rules.
type Verdict string

// Verdicts.
const (
	Pass   Verdict = "pass"   // 通过
	Review Verdict = "review" // 须由人判断
	Fail   Verdict = "fail"   // 不通过: the model does not leave
)

// Rule names, as reviewers see them.
const (
	RuleBits         = "bits"               // 声明信息量
	RuleFree         = "free-bits"          // 未经复算的信息量
	RuleIdentifiers  = "identifiers"        // 标识符扫描
	RuleMissing      = "missing"            // 缺失值
	RulePeople       = "people"             // 人数不足以评估
	RuleOverlap      = "overlap"            // 训练与测试重叠
	RuleDegrees      = "degrees-of-freedom" // 自由度不足
	RuleEvents       = "events-per-parameter"
	RuleFrequency    = "frequency"    // 人数不足
	RuleMinLeaf      = "min-leaf"     // 训练器叶节点下限
	RuleClass        = "class"        // 类别披露
	RuleDominance    = "dominance"    // 占比过高
	RuleSeparation   = "separation"   // 完全分离
	RuleInfluence    = "influence"    // 单人影响过大
	RuleLeverage     = "leverage"     // 单人杠杆过大
	RuleFit          = "fit"          // 系数与数据不符
	RuleReproduction = "reproduction" // 无法复算
	RuleDistribution = "distribution" // 训练测试分布差异
	RuleLoss         = "membership-loss"
	RuleTrained      = "membership-worst-case"
	RuleLiRA         = "membership-lira"
	RuleTPR          = "membership-tpr"
	RuleCanary       = "canary" // 诱饵暴露
)

// words gives each rule in Chinese and in English.
var words = map[string][2]string{
	RuleBits:         {"声明值的信息量（比特）", "bits that the declared values may hold"},
	RuleFree:         {"未经域内复算确认的信息量（比特）", "bits that the gate's own training does not confirm"},
	RuleIdentifiers:  {"名称中疑似标识符", "names that read like identifiers"},
	RuleMissing:      {"因缺失值剔除的行数", "rows left out because a value is missing"},
	RulePeople:       {"评估所需人数", "people on each side, to measure membership by"},
	RuleOverlap:      {"同在训练集与测试集的人数", "people in both training and test data"},
	RuleDegrees:      {"残差自由度", "residual degrees of freedom, in people"},
	RuleEvents:       {"每个参数对应的事件（或人）数", "events, or people, per parameter"},
	RuleFrequency:    {"最少支撑人数", "fewest people that a coefficient, bin or leaf rests on"},
	RuleMinLeaf:      {"训练器设定的叶节点最少人数", "least people of a leaf that the trainer was set to"},
	RuleClass:        {"叶或箱中人数最少的类别", "fewest people of a class in a leaf or bin"},
	RuleDominance:    {"叶中最大贡献者占比（%）", "share of a leaf's largest contributors, percent"},
	RuleSeparation:   {"完全分离", "separation: labels follow from features without error, or the fit has no end"},
	RuleInfluence:    {"去除一人后系数的最大变化（标准误）", "largest change of a coefficient without one person, in standard errors"},
	RuleLeverage:     {"单人最大杠杆值", "largest leverage of one person"},
	RuleFit:          {"与数据给出的数值的偏差", "how far its numbers are from what the data give"},
	RuleReproduction: {"与域内复算的最大差值", "largest difference from what the gate trained itself"},
	RuleDistribution: {"训练与测试置信度分布相同的概率（KS）", "probability that confidence is distributed alike in training and test (Kolmogorov-Smirnov)"},
	RuleLoss:         {"按损失推断成员的 AUC", "AUC of a membership attack by loss"},
	RuleTrained:      {"最坏情形成员推断的 AUC", "AUC of a trained, worst-case membership attack"},
	RuleLiRA:         {"影子模型似然比攻击的 AUC", "AUC of the likelihood ratio attack by shadow models"},
	RuleTPR:          {"误报率 0.001 时的命中率下界", "lower bound of the true positive rate at a false positive rate of 0.001"},
	RuleCanary:       {"诱饵平均暴露（比特）", "mean exposure of canaries, in bits"},
}

// RuleWords gives a rule in Chinese and in English; an unknown one stands as it is.
func RuleWords(rule string) (zh, en string) {
	if w, ok := words[rule]; ok {
		return w[0], w[1]
	}
	return rule, rule
}

// changes gives the smallest change that would pass.
var changes = map[string]string{
	RuleBits:         "have fewer parameters",
	RuleFree:         "train by the registered trainer, with the parameters declared",
	RuleIdentifiers:  "name features and levels by what they are",
	RuleMissing:      "complete the rows",
	RulePeople:       "train and test on more people",
	RuleOverlap:      "take people who were trained on out of the test",
	RuleDegrees:      "have fewer parameters, or more people",
	RuleEvents:       "have fewer coefficients, or more people with the outcome",
	RuleFrequency:    "merge levels, bins or leaves of few people",
	RuleMinLeaf:      "set the trainer's least leaf higher",
	RuleClass:        "merge bins or leaves where nearly all have one outcome; set the trainer's least class",
	RuleDominance:    "merge leaves that few people's amounts make up; clip the label lower",
	RuleSeparation:   "leave out the feature that tells the label, merge levels without an event, or set a ridge",
	RuleInfluence:    "narrow the range of features and label, or have more people",
	RuleLeverage:     "narrow the range of features, or merge levels of few people",
	RuleFit:          "give the numbers that these rows give",
	RuleReproduction: "train by the registered trainer, with the parameters declared",
	RuleDistribution: "draw training and test at random from the same people; fit less closely",
	RuleLoss:         "fit less closely: fewer parameters, larger leaves, a larger ridge",
	RuleTrained:      "fit less closely: fewer parameters, larger leaves, a larger ridge",
	RuleLiRA:         "fit less closely: fewer parameters, larger leaves, a larger ridge",
	RuleTPR:          "fit less closely: fewer parameters, larger leaves, a larger ridge",
	RuleCanary:       "set a trainer that keeps no single row: larger leaves, a larger ridge",
}

// Reasons gives what keeps a model in, with the smallest change that would pass each; none of a model that may go before reviewers.
func (r *Report) Reasons() []sandbox.Reason {
	var out []sandbox.Reason
	for _, f := range r.Findings {
		if f.Verdict == Fail {
			out = append(out, sandbox.Reason{Code: "model." + f.Rule, Rule: f.ZH + " · " + f.EN, Change: changes[f.Rule]})
		}
	}
	return out
}

// Finding (检查发现) is what a rule says of a model, with the number that decides and its limit: for reviewers of the agency and owners only.
type Finding struct {
	Rule    string  `json:"rule"`
	Verdict Verdict `json:"verdict"`
	Where   string  `json:"where,omitempty"` // the worst place: a registered name, or a leaf's number
	Value   float64 `json:"value"`
	Limit   float64 `json:"limit"`
	ZH      string  `json:"zh"`
	EN      string  `json:"en"`
}

// Params (模型出域门限) are the thresholds of one model; they stay secret from askers.
type Params struct {
	MinSubjects int     `json:"min_subjects"` // least distinct people of a leaf, bin, level or side of a number
	MinLeaf     int     `json:"min_leaf"`     // least leaf a trainer may be set to
	MinDegrees  int     `json:"min_degrees"`  // residual degrees of freedom
	DominanceN  int     `json:"dominance_n"`
	DominanceK  int     `json:"dominance_k"` // percent
	MaxBits     int     `json:"max_bits"`
	MaxFree     int     `json:"max_free_bits"` // of what the gate cannot confirm by its own training
	Shadows     int     `json:"shadows"`       // shadow models, even
	Canaries    int     `json:"canaries"`      // inserted in each
	Tolerated   float64 `json:"tolerated"`
}

// Standard gives the defaults: rules 9, 26 and 27 of the gate. Tolerated is an attack's AUC up to which what chance does not explain is put to
// people instead of refused: of a model with many parameters every fit is told from chance, however many people are behind it, since both
// the trace of a person and chance shrink with their root.
func Standard() Params {
	return Params{MinSubjects: 10, MinLeaf: 5, MinDegrees: 10, DominanceN: 2, DominanceK: 90, MaxBits: 8192, MaxFree: 256, Shadows: 32, Canaries: 8, Tolerated: 0.55}
}

// Validate refuses thresholds that protect nobody.
func (p Params) Validate() error {
	if p.MinSubjects < 3 || p.MinLeaf < 5 || p.MinDegrees < 10 || p.DominanceN < 1 || p.DominanceN > 16 || p.DominanceK < 1 || p.DominanceK > 99 || p.MaxBits < 1 || p.MaxFree < 0 ||
		p.Shadows < 16 || p.Shadows > 1024 || p.Shadows%2 != 0 || p.Canaries < 2 || p.Canaries > 64 || !(p.Tolerated >= 0.5 && p.Tolerated <= 0.6) {
		return invalid("thresholds", "at least 3 subjects, leaves of 5, 10 degrees of freedom, 16 to 1024 shadow models (even), 2 to 64 canaries, an AUC of 0.5 to 0.6")
	}
	return nil
}

// Source (随机源) gives random numbers; it is passed in, in a domain from secure randomness.
type Source interface{ Uint64() uint64 }

// NewSource gives a stream from a seed, so that a check can be done again. In a domain the seed is drawn from secure randomness.
func NewSource(seed uint64) Source { m := mixer(seed); return &m }

// Report (模型检查报告) is what the gate says of a model. Payload is what may leave, in the gate's own bytes; none of a model that fails.
type Report struct {
	Model      string      `json:"model"`
	Kind       Kind        `json:"kind"`
	Verdict    Verdict     `json:"verdict"`
	Findings   []Finding   `json:"findings"`
	Bits       int         `json:"bits"`
	Free       int         `json:"free_bits"` // of them not confirmed by the gate's own training
	Parameters int         `json:"parameters"`
	People     [2]int      `json:"people"` // of training and test
	Params     Params      `json:"params"`
	Membership *Membership `json:"membership,omitempty"`
	Payload    []byte      `json:"-"`
}

// String keeps evidence out of logs.
func (Report) String() string { return "model report(redacted)" }

// GoString keeps it out of %#v.
func (Report) GoString() string { return "model report(redacted)" }

// Broken names the rules that failed or want people's judgement: all that a reviewer on the operator's side sees beside the bytes.
func (r *Report) Broken() []string {
	var out []string
	for _, f := range r.Findings {
		if f.Verdict != Pass {
			out = append(out, f.Rule)
		}
	}
	return out
}

// Brief gives the one-page summary, line by line, in Chinese and in English.
func (r *Report) Brief() (zh, en []string) {
	say := func(z, e string, args ...any) {
		zh, en = append(zh, fmt.Sprintf(z, args...)), append(en, fmt.Sprintf(e, args...))
	}
	verdicts := map[Verdict]string{Pass: "通过", Review: "须由人判断", Fail: "不通过"}
	say("模型 %s：%s", "model %s: %s", r.Model, r.Kind)
	zh = append(zh, "结论："+verdicts[r.Verdict])
	en = append(en, "verdict: "+string(r.Verdict))
	say("训练 %d 人，测试 %d 人；参数 %d 个；声明信息量至多 %d 比特，其中 %d 比特未经域内复算确认", "%d people in training, %d in test; %d parameters; at most %d declared bits, %d of them not confirmed by the gate's own training",
		r.People[0], r.People[1], r.Parameters, r.Bits, r.Free)
	if m := r.Membership; m != nil {
		say("影子模型 %d 个：似然比攻击 AUC %.3f（门限 %.3f），误报率 %.4f 时命中率 %.4f（95%% 区间 %.4f–%.4f），诱饵暴露 %.2f 比特（随机 %.2f）",
			"%d shadow models: AUC of the likelihood ratio attack %.3f (limit %.3f); true positive rate %.4[5]f at a false positive rate of %.4[4]f (95 %% interval %.4[6]f to %.4[7]f); canary exposure %.2[8]f bits (by chance %.2[9]f)",
			m.Shadows, m.LiRA, m.Limit, m.FPR, m.TPR, m.TPRLow, m.TPRHigh, m.Exposure, m.Chance)
	}
	for _, want := range []Verdict{Fail, Review} {
		for _, f := range r.Findings {
			if f.Verdict == want {
				where, at := f.Where, f.Where
				if where != "" {
					where, at = "（"+where+"）", " ("+at+")"
				}
				zh = append(zh, fmt.Sprintf("%s：%s%s %s，门限 %s", verdicts[want], f.ZH, where, short(f.Value), short(f.Limit)))
				en = append(en, fmt.Sprintf("%s: %s%s %s, limit %s", want, f.EN, at, short(f.Value), short(f.Limit)))
			}
		}
	}
	return zh, en
}

func short(v float64) string { return strings.TrimSuffix(fmt.Sprintf("%.4g", v), ".0") }

// MarshalJSON writes what is not finite as its bound: JSON has none.
func (f Finding) MarshalJSON() ([]byte, error) {
	type plain Finding
	const most = 1e15
	f.Value, f.Limit = max(min(f.Value, most), -most), max(min(f.Limit, most), -most)
	return json.Marshal(plain(f))
}

// judging collects the findings of one model.
type judging struct {
	m           *Model
	train, test *Data
	p           Params
	rnd         Source
	r           *Report
	own         *Model // what the gate trained
	fit         *glm
}

func (j *judging) find(rule string, v Verdict, where string, value, limit float64) {
	zh, en := RuleWords(rule)
	j.r.Findings = append(j.r.Findings, Finding{Rule: rule, Verdict: v, Where: where, Value: value, Limit: limit, ZH: zh, EN: en})
}

// least holds a number to a least one; below the second it fails, between them people judge.
func (j *judging) least(rule, where string, value, want, must float64) {
	v := Pass
	if !(value >= want) {
		v = Review
	}
	if !(value >= must) {
		v = Fail
	}
	if v == Fail {
		want = must
	}
	j.find(rule, v, where, value, want)
}

func (j *judging) most(rule, where string, value, want, must float64) {
	v := Pass
	if !(value <= want) {
		v = Review
	}
	if !(value <= must) {
		v = Fail
		want = must
	}
	j.find(rule, v, where, value, want)
}

// maxWork bounds what the shadow models of one check take, in steps of a few nanoseconds: a quarter of an hour or so.
const maxWork = 4e11

// work estimates the steps of one training on so many rows.
func (m *Model) work(rows int) float64 {
	n, f := float64(rows), float64(len(m.Features)+1)
	if !m.Kind.trees() {
		return n * f * f * 20
	}
	return n * f * float64(m.Trainer.Depth*max(m.Trainer.Trees, 1))
}

// fewestPeople is how many people each side has at least for a measurement of membership.
const fewestPeople = 100

// Judge puts a model through the rules of class D. train is what it was trained on, test people who were not, of the model's schema. Structure
// first, then the gate's own training, then shadow models. The verdict is a value; errors are Invalid and name the place.
func Judge(m *Model, train, test *Data, p Params, rnd Source) (*Report, error) {
	if err := p.Validate(); err != nil {
		return nil, err
	}
	if !m.Schema.equal(*train.schema) || !m.Schema.equal(*test.schema) {
		return nil, invalid("data", "rows of the model's schema")
	}
	if w := m.work(train.Rows()+test.Rows()) * float64(p.Shadows); w > maxWork {
		return nil, &sandbox.Error{Op: "model", Kind: sandbox.TooLarge, Object: "trainer", Detail: "more work than is done for one model: it is not judged, and does not leave",
			Hint: "fewer or less deep trees, fewer features, or a sample of the people"}
	}
	j := &judging{m: m, train: train, test: test, p: p, rnd: rnd, r: &Report{Model: m.ID, Kind: m.Kind, Params: p, Bits: m.Bits(), Parameters: m.parameters(), People: [2]int{train.Subjects(), test.Subjects()}}}
	j.most(RuleBits, "", float64(j.r.Bits), float64(p.MaxBits), float64(p.MaxBits))
	j.names()
	j.most(RuleMissing, "", float64(train.missing+test.missing), 0, float64(train.Rows()+test.Rows())/2)
	both := 0
	in := map[string]bool{}
	for _, k := range train.keys {
		in[k] = true
	}
	for _, k := range test.keys {
		if in[k] {
			both++
		}
	}
	j.most(RuleOverlap, "", float64(both), 0, 0)
	measurable := min(train.Subjects(), test.Subjects()) >= fewestPeople
	j.least(RulePeople, "", float64(min(train.Subjects(), test.Subjects())), fewestPeople, fewestPeople)
	if train.Subjects() >= 3 {
		var err error
		if j.own, j.fit, err = m.fit(train, train.everyone()); err != nil {
			return nil, err
		}
		out := j.structure()
		j.most(RuleFree, "", float64(j.r.Free), float64(p.MaxFree), float64(p.MaxFree))
		if measurable && both == 0 {
			if err := j.membership(out); err != nil {
				return nil, err
			}
		}
		if b, err := out.Encode(); err != nil {
			return nil, err
		} else {
			j.r.Payload = b
		}
	}
	j.r.Verdict = Pass
	for _, f := range j.r.Findings {
		if f.Verdict == Fail || f.Verdict == Review && j.r.Verdict == Pass {
			j.r.Verdict = f.Verdict
		}
	}
	if j.r.Verdict == Fail {
		j.r.Payload = nil
	}
	return j.r, nil
}

// Scan looks into the names of outgoing bytes for identifiers: what is done once more at the way out.
func Scan(payload []byte) ([]scan.Hit, error) {
	m, err := DecodePayload(payload)
	if err != nil {
		return nil, err
	}
	return m.hits(), nil
}

// hits finds names that read like identifiers.
func (m *Model) hits() []scan.Hit {
	s := scan.NewScanner()
	var out []scan.Hit
	look := func(where string, names ...string) {
		for _, n := range names {
			for _, h := range s.Text(n, false) {
				h.Column = where
				out = append(out, h)
			}
		}
	}
	look("label", append(slices.Clone(m.Label.Levels), m.Label.Name)...)
	for i, f := range m.Features {
		look(fmt.Sprintf("features[%d]", i), append(slices.Clone(f.Levels), f.Name)...)
	}
	look("id", m.ID)
	return out
}

func (j *judging) names() {
	where, hits := "", j.m.hits()
	if len(hits) > 0 {
		where = hits[0].Column
	}
	j.most(RuleIdentifiers, where, float64(len(hits)), 0, 0)
}

// Held says whether a payload may be put before reviewers, as an error that names the rules and no number: Withheld.
func (r *Report) Held() error {
	if !(r.Verdict == Pass || r.Verdict == Review) || len(r.Payload) == 0 || r.Membership == nil {
		return &sandbox.Error{Op: "model", Kind: sandbox.Withheld, Object: r.Model, Detail: "rules of class D: " + strings.Join(r.Broken(), ", ")}
	}
	return nil
}
