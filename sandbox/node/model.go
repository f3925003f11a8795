package node

import (
	"context"
	"encoding/binary"
	"fmt"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/model"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/run"
)

// ModelLimits (模型训练上限) bound the work of one model, of which Judge trains as many as there are shadows: with one question at a time, everybody
// waits for it. Zeros are the defaults.
type ModelLimits struct {
	Columns  int // regressors: 16
	Subjects int // people read: 100,000
	Rows     int // of the dataset: 400,000
	Shadows  int // shadow models, even, 16 to 1024: 32
}

func (l ModelLimits) orDefaults() ModelLimits {
	set := func(v *int, to int) {
		if *v == 0 {
			*v = to
		}
	}
	set(&l.Columns, 16)
	set(&l.Subjects, 100_000)
	set(&l.Rows, 400_000)
	set(&l.Shadows, model.Standard().Shadows)
	return l
}

// Codes of refusals of a model before any key opens, beside those of the policy.
const (
	codeModelForm   = "model.form"   // 模型形式不符
	codeModelFilter = "model.filter" // 筛选方式不符
	codeModelNoise  = "model.noise"  // 字段须加噪
	codeModelRange  = "model.range"  // 值域未登记
	codeModelName   = "model.name"   // 名称不符
	codeModelSize   = "model.size"   // 超出训练上限

	articleModel = "龙华区实施方案 九(一) 原始数据不出域、数据可用不可见"
)

// modelRidge is the penalty of the domain's trainer, of one row; nobody who asks chooses it.
const modelRidge = model.Fixed(1000)

// trainedOf is how many of sides people are trained on; on the others membership is measured.
const (
	trainedOf = 7
	sides     = 10
)

// decide is the policy's decision on a question, and of a model also whether the domain's trainer fits such a one. Both follow from descriptions.
func (n *Node) decide(f policy.Facts, s query.Spec, class sandbox.Class) (sandbox.Decision, query.Derivation) {
	decision, d := policy.EvaluateFor(f, s, class)
	if f.Engine == sandbox.MPC && class == sandbox.ClassA && d.Complete() {
		if _, why := n.sharesForm(f, d); len(why) > 0 {
			decision.Allow, decision.Reasons = false, append(decision.Reasons, why...)
		}
	}
	if class == sandbox.ClassD && d.Complete() {
		if _, _, why := n.modelForm(d); len(why) > 0 {
			decision.Allow, decision.Reasons = false, append(decision.Reasons, why...)
		}
	}
	return decision, d
}

// modelForm gives what is trained, without weights, and what is read for it. Label and features are registered by what the catalogue says of their
// columns: their names and ranges are the owner's, and none is the asker's.
func (n *Node) modelForm(d query.Derivation) (*model.Model, run.Training, []sandbox.Reason) {
	lim := n.cfg.Models.orDefaults()
	s, set := d.Spec, d.Inputs[0].Described
	t := run.Training{Holding: d.Inputs[0].Described.Holding, Subjects: lim.Subjects, Rows: lim.Rows, Trained: n.trainedOn}
	var why []sandbox.Reason
	no := func(code, column, rule, change string) {
		if column != "" {
			column = string(set.ID) + "." + column
		}
		why = append(why, sandbox.Reason{Code: code, Column: column, Rule: rule, Article: articleModel, Change: change})
	}
	if len(d.Inputs) > 1 {
		no(codeModelForm, "", "the domain's trainer fits a model to the rows of one dataset", "ask without the joins, or have the unit push the columns as one dataset")
	}
	if len(s.Measures) != 1 || s.Measures[0].Func != sandbox.Linear && s.Measures[0].Func != sandbox.Logistic || len(s.Dimensions) > 0 || len(s.Having) > 0 || s.Top != nil {
		no(codeModelForm, "", "a model is one linear or logistic regression over everybody, without groups", "reveal one model for each regression")
	}
	if len(why) > 0 {
		return nil, t, why
	}
	m := s.Measures[0]
	if len(m.With) > lim.Columns {
		no(codeModelSize, "", fmt.Sprintf("a model has at most %d regressors here", lim.Columns), "leave out regressors")
	}
	if set.Rows > int64(lim.Rows) {
		no(codeModelSize, "", fmt.Sprintf("a model is trained on a dataset of at most %d rows here", lim.Rows), "have the unit push a sample as a dataset")
	}
	if k := d.Noise.Kind; k != "" && k != sandbox.NoiseExact {
		no(codeModelNoise, "", fmt.Sprintf("the strictest rule of the columns used is %s, and the weights of a model carry no noise", k), "ask without the column whose rule it is")
	}
	for _, f := range s.Filters {
		c, ok := set.Column(columnName(f.Column))
		if !ok || f.Bin != "" {
			no(codeModelFilter, columnName(f.Column), "rows of a model are filtered by public columns themselves, not by bins", "filter by a public column, or not at all")
			continue
		}
		t.Filters = append(t.Filters, run.RowFilter{Column: *c, In: f.In, Not: f.Not})
	}
	form := &model.Model{Format: model.Format, Kind: model.Linear, Trainer: model.Trainer{Ridge: modelRidge}}
	if m.Func == sandbox.Logistic {
		form.Kind = model.Logistic
	}
	for i, ref := range append([]string{m.Column}, m.With...) {
		c, ok := set.Column(columnName(ref))
		if !ok {
			no(codeModelForm, columnName(ref), "a model is over columns of the dataset", "name columns as the catalogue lists them")
			continue
		}
		t.Columns = append(t.Columns, *c)
		if i == 0 && form.Kind == model.Logistic {
			form.Label = model.Label{Name: c.Name, Form: model.Binary, Levels: []string{query.Label(c, 0), query.Label(c, unitOf(c))}}
			continue
		}
		low, high, ok := ranged(c)
		if !ok {
			no(codeModelRange, c.Name, "a column of a model has a range in the catalogue, with both bounds and at most three decimals: values enter as their share of it",
				"have the owner declare its values, e.g. [0,100]: opdomain catalog revise; or ask without it")
			continue
		}
		if i == 0 {
			form.Label = model.Label{Name: c.Name, Form: model.Amount, Low: low, High: high}
			continue
		}
		form.Features = append(form.Features, gridded(model.Feature{Name: c.Name, Low: low, High: high}))
	}
	if len(why) == 0 {
		if err := form.Validate(); err != nil {
			no(codeModelName, "", "label and features have plain names and ranges: "+err.Error(), "ask without the column")
		}
	}
	return form, t, why
}

// columnName is the column of "alias.column", where there is one input.
func columnName(ref string) string {
	_, name, _ := strings.Cut(ref, ".")
	return name
}

// unitOf is a column's one, as it is kept.
func unitOf(c *catalog.Column) int64 {
	v := int64(1)
	if c.Type == catalog.Number {
		for range c.Scale {
			v *= 10
		}
	}
	return v
}

// ranged gives the bounds of a column of numbers in thousandths.
func ranged(c *catalog.Column) (low, high model.Fixed, ok bool) {
	scale := map[catalog.Type]int{catalog.Int: 0, catalog.Money: 2, catalog.Number: c.Scale}
	decimals, number := scale[c.Type]
	v, err := catalog.ParseValues(c.Name, c)
	if !number || decimals > 3 || err != nil || v == nil || v.Kind != catalog.Between {
		return 0, 0, false
	}
	times, most := int64(1), int64(1e12)
	for range 3 - decimals {
		times *= 10
	}
	if v.Low < -most || v.High > most || v.Low >= v.High {
		return 0, 0, false
	}
	return model.Fixed(v.Low * times), model.Fixed(v.High * times), true
}

// gridded gives a feature its finest grid of whole steps. A regression cuts nothing on it; the range is widened by a thousandth where it has none.
func gridded(f model.Feature) model.Feature {
	for {
		width := int64(f.High - f.Low)
		for n := int64(model.MaxSteps); n >= 2; n-- {
			if width%n == 0 {
				f.Step = model.Fixed(width / n)
				return f
			}
		}
		f.High++
	}
}

// trainedOn splits people by a key that only the domain has. It does not depend on the question: between two models nobody changes sides.
func (n *Node) trainedOn(p sandbox.Pseudonym) bool {
	mac := sm.HMAC(n.protection.split, p[:])
	return binary.BigEndian.Uint64(mac[:8])%sides < trainedOf
}

// modelParams are the thresholds of a model: the standard ones, the district's and the owners', the strictest.
func (n *Node) modelParams(p egress.Params) model.Params {
	out := model.Standard()
	out.Shadows = n.cfg.Models.orDefaults().Shadows
	out.MinSubjects = max(out.MinSubjects, p.MinSubjects)
	out.DominanceN = min(max(out.DominanceN, p.DominanceN), 16)
	if p.DominanceK > 0 {
		out.DominanceK = min(out.DominanceK, p.DominanceK)
	}
	if p.MaxBits > 0 {
		out.MaxBits = min(out.MaxBits, p.MaxBits)
	}
	return out
}

// gateModel trains the model, judges it with shadow models, and compares whom it was trained on with everything that left before.
func (n *Node) gateModel(ctx context.Context, d query.Derivation, q *questionRecord, params egress.Params) gated {
	fail := func(err error) gated {
		if egress.HardHit(err) {
			return gated{cause: err.Error(), hit: err}
		}
		return gated{cause: err.Error()}
	}
	form, t, why := n.modelForm(d)
	if len(why) > 0 {
		return gated{cause: why[0].Rule}
	}
	form.ID, t.Input = string(q.ID), q.Inputs[0]
	train, test, people, err := n.trainingRows(ctx, form, t)
	if err != nil {
		return fail(fmt.Errorf("not trained: %w", err))
	}
	m, err := model.Fit(form, train)
	if err != nil {
		return fail(fmt.Errorf("not trained: %w", err))
	}
	report, err := model.Judge(m, train, test, n.modelParams(params), n.shadows(q))
	if err != nil {
		return fail(fmt.Errorf("not judged: %w", err))
	}
	product, err := egress.Trained(q.ID, report)
	if err != nil {
		return gated{cause: err.Error() + failures(report)}
	}
	if err := n.populations.load(ctx, n, false); err != nil {
		return fail(err)
	}
	name := q.ID // what reviewers have seen of a resubmitted one stays in the ledger beside it
	if k := len(q.entries()); k > 0 {
		name = sandbox.QuestionID(fmt.Sprintf("%s.r%d", q.ID, k))
	}
	answer := people.Answer(t.Input)
	entry, err := n.ledger.Left(name, answer, make([]bool, len(answer.Cells)))
	if err != nil {
		return fail(err)
	}
	compared := n.populations.book.Compare(entry, params)
	if compared.Finding != nil {
		return gated{finding: compared.Finding, cause: "whom it was trained on isolates too few people against earlier models, copies and answers"}
	}
	if err := n.populations.keep(entry); err != nil {
		return fail(err)
	}
	return gated{product: product, entry: name, uncertified: compared.Uncertified}
}

// trainingRows reads both sides.
func (n *Node) trainingRows(ctx context.Context, form *model.Model, t run.Training) (train, test *model.Data, people run.People, err error) {
	var to [2]*model.Builder
	for i := range to {
		if to[i], err = model.NewBuilder(form.Schema); err != nil {
			return nil, nil, people, err
		}
	}
	people, err = t.Read(ctx, n.mem, n.vault, func(r run.TrainingRow) error {
		side := to[1]
		if r.Trained {
			side = to[0]
		}
		return side.Add(string(r.Key[:]), r.Values[1:], r.Values[0])
	})
	if err != nil {
		return nil, nil, people, err
	}
	return to[0].Build(), to[1].Build(), people, nil
}

// failures says what a model failed by, in words and numbers: for the agency and the owners.
func failures(r *model.Report) string {
	var out []string
	for _, f := range r.Findings {
		if f.Verdict == model.Fail {
			at := ""
			if f.Where != "" {
				at = " (" + f.Where + ")"
			}
			out = append(out, fmt.Sprintf("%s · %s%s: %.4g, limit 门限 %.4g", f.ZH, f.EN, at, f.Value, f.Limit))
		}
	}
	slices.Sort(out)
	return "; " + strings.Join(slices.Compact(out), "; ")
}

// shadows draws the shadow models of a question by a key of the domain that was drawn from its randomness: nobody foresees them, and asked or submitted
// again over the same versions a model meets the same ones, so that no verdict is had by trying again.
func (n *Node) shadows(q *questionRecord) model.Source {
	parts := [][]byte{[]byte("shadows"), q.canonical()}
	for _, in := range q.Inputs {
		parts = append(parts, []byte(in.Dataset), binary.BigEndian.AppendUint64(nil, in.Version))
	}
	mac := sm.HMAC(n.protection.split, sm.Frame(parts...))
	return model.NewSource(binary.BigEndian.Uint64(mac[:8]))
}
