package node

import (
	"bytes"
	"context"
	"encoding/hex"
	"fmt"
	"math/bits"
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
	"github.com/opdomain/opdomain/sandbox/run"
)

// maxShared bounds a table of an inquiry in rows, whoever has it.
const maxShared = 1 << 20

// lineForm makes an inquiry of a derived question: the zones are told the datasets it uses with the columns it uses, what their owners allow of
// these, versions, sizes and thresholds, and make the same line of it. Reasons are the line's own and the domain's.
func (n *Node) lineForm(f policy.Facts, d query.Derivation) (*sharedForm, []sandbox.Reason) {
	var why []sandbox.Reason
	no := func(code, column, rule, change string) {
		why = append(why, sandbox.Reason{Code: code, Column: column, Rule: rule, Article: articleShares, Change: change})
	}
	s := d.Spec
	s.Inputs = slices.Clone(s.Inputs)
	out := &sharedForm{people: slices.IndexFunc(d.Outputs(), func(o query.Output) bool { return o.Func == sandbox.Subjects })}
	if out.people < 0 {
		no(codeSharesForm, "", "the gate counts the people of what opens of shares, so the question asks for them", "ask for subjects as well")
	}
	why = append(why, policy.Held(f, d, func(id sandbox.DatasetID) bool { return !n.outside(id) })...)
	p := n.thresholds(d)
	q := &agg.Inquiry{Asker: f.Asker.ID, Setting: agg.Setting{Adversary: n.cfg.Shares.Adversary, Whole: true, Bits: map[string]int{},
		Thresholds: agg.Thresholds{MinSubjects: p.MinSubjects, DominanceN: p.DominanceN, DominanceK: p.DominanceK, PPercent: p.PPercent, Prior: p.Prior}}}
	for i, in := range d.Inputs {
		version := f.Datasets[in.Dataset].Version
		if in.Version != 0 && in.Version != version {
			if n.outside(in.Dataset) {
				no(codeSharesForm, string(in.Dataset), "a dataset outside has the one version that its owner keeps", "ask without its version")
			}
			version = in.Version
		}
		s.Inputs[i].Version = version
		if slices.ContainsFunc(q.Datasets, func(x catalog.Dataset) bool { return x.ID == in.Dataset }) {
			continue
		}
		set, item := n.told(f, d, in.Dataset)
		q.Datasets, q.List = append(q.Datasets, set), append(q.List, item)
		held := agg.Held{Dataset: in.Dataset}
		if n.outside(in.Dataset) {
			b := n.cfg.Shares.Outside[in.Dataset]
			if held.Rows, held.Unit, held.Pushed = b.Rows, b.Unit, b.Zone == ""; !held.Pushed {
				held.Party = 1 + slices.IndexFunc(n.cfg.Shares.Zones[:], func(z mpc.Party) bool { return z.ID == b.Zone })
			}
		} else {
			why = append(why, joinable(f, s.Scenario, in)...)
			rows, err := mpc.Bucket(int(min(in.Described.Rows, 1<<30)))
			if err != nil || rows > maxShared {
				no(codeSharesSize, string(in.Dataset), fmt.Sprintf("the domain's table fits a registered size, %d rows at most", maxShared), "have the unit push a sample as a dataset")
				continue
			}
			held.Rows = rows
		}
		q.Setting.Held = append(q.Setting.Held, held)
	}
	for _, m := range s.Measures {
		switch m.Func {
		case sandbox.Variance, sandbox.StdDev, sandbox.Covariance, sandbox.Correlation:
		default:
			continue
		}
		for _, ref := range append([]string{m.Column}, m.With...) {
			i, c := alias(d, ref)
			if i < 0 {
				continue // the derivation names it
			}
			at := string(d.Inputs[i].Dataset) + "." + c.Name
			v, err := catalog.ParseValues(at, c)
			if err != nil || v == nil || v.Kind != catalog.Between || v.Low <= -1<<62 || v.High >= 1<<62 {
				no(codeSharesForm, at, fmt.Sprintf("over shares a %s takes values of a declared range: of others a run could end with no answer", m.Func), "have its unit declare the column's values, e.g. [0,9999.99]")
				continue
			}
			q.Setting.Bits[at] = bits.Len64(uint64(max(v.High, -v.Low, 1)))
		}
	}
	if same, err := n.oneKey(d.Inputs); err != nil || !same {
		no(codeSharesJoin, "", "datasets outside are joined under one key of their owners, and these have several", "ask over one dataset outside, or have their owners and the domain agree on one subject key")
	}
	if len(why) > 0 {
		return nil, why
	}
	if q.Spec = s; len(q.Setting.Bits) == 0 {
		q.Setting.Bits = nil
	}
	line, reasons := q.Line()
	if line == nil {
		return nil, reasons
	}
	if _, err := agg.ParseInquiry(q.Encode()); err != nil {
		no(codeSharesSize, "", "the question with the descriptions it rests on has 1 MiB at most", "ask over fewer columns")
		return nil, why
	}
	out.inquiry, out.line = q, line
	return out, nil
}

// told is what the zones are told of a dataset: its people, the columns that the question uses, at their effective grades, and their bins; of their
// owner's rules those of these columns. How many rows the domain has, what detectors found and the catalogue card are not told.
func (n *Node) told(f policy.Facts, d query.Derivation, id sandbox.DatasetID) (catalog.Dataset, sandbox.ListItem) {
	full := f.Datasets[id]
	uses := func(name string) bool {
		return name == full.Subject || name == full.Holding || slices.ContainsFunc(d.Columns, func(c query.DerivedColumn) bool { return c.Column == string(id)+"."+name })
	}
	set := full
	set.Version, set.Rows, set.Card, set.Revision, set.Columns, set.Bins = 0, 0, catalog.Card{}, 0, nil, nil
	for _, c := range full.Columns {
		if !uses(c.Name) {
			continue
		}
		c.Grade, c.Detected, c.Finding, c.Category = c.Effective(), 0, "", ""
		set.Columns = append(set.Columns, c)
	}
	for _, b := range full.Bins {
		if uses(b.Column) {
			set.Bins = append(set.Bins, b)
		}
	}
	if !uses(set.RecordKey) {
		set.RecordKey = ""
	}
	item := sandbox.ListItem{Dataset: id}
	if sc := f.Scenarios[d.Spec.Scenario]; sc != nil {
		item, _ = sc.Item(id)
		item.Columns = slices.DeleteFunc(slices.Clone(item.Columns), func(r sandbox.ColumnRule) bool { return !uses(r.Column) })
	}
	return set, item
}

// oneKey says whether the datasets outside of a question have one key of pseudonyms.
func (n *Node) oneKey(inputs []query.DerivedInput) (bool, error) {
	var key []byte
	for _, in := range inputs {
		if !n.outside(in.Dataset) {
			continue
		}
		k, err := n.cfg.Shares.SubjectKey(in.Dataset)
		if err != nil || key != nil && !bytes.Equal(key, k) {
			return false, err
		}
		key = k
	}
	return true, nil
}

// encode gives the question in the form that parties take.
func (form *sharedForm) encode() []byte {
	if form.inquiry != nil {
		return form.inquiry.Encode()
	}
	return form.question.Encode()
}

// digest names it in a plan.
func (form *sharedForm) digest() string {
	d := sm.Sum(form.encode())
	return hex.EncodeToString(d[:])
}

// fill puts into a plan what follows from the question.
func (form *sharedForm) fill(p *mpc.Plan, recipient sandbox.PartyID) {
	outputs := form.question.Outputs
	if p.Question = form.digest(); form.line != nil {
		p.Operators, outputs = form.line.Operators(), form.line.Sizes
		for _, h := range form.inquiry.Setting.Held {
			if h.Pushed { // no party's
				continue
			}
			p.Inputs = append(p.Inputs, mpc.Input{Name: string(h.Dataset), Party: p.Parties[h.Party].ID, Rows: h.Rows})
		}
	} else {
		p.Operators = join.Operators()
		for _, side := range []struct {
			name string
			t    join.Table
		}{{"left", form.question.Left}, {"right", form.question.Right}} {
			p.Inputs = append(p.Inputs, mpc.Input{Name: side.name, Party: p.Parties[side.t.Owner].ID, Rows: side.t.Rows})
		}
	}
	for name, rows := range outputs() {
		p.Outputs = append(p.Outputs, mpc.Output{Name: name, Rows: rows, Recipient: recipient})
	}
	slices.SortFunc(p.Outputs, func(a, b mpc.Output) int { return bytes.Compare([]byte(a.Name), []byte(b.Name)) })
}

// learns says what each party learns, by place.
func (form *sharedForm) learns(recipient int) (out []string) {
	if form.line != nil {
		return form.line.LearnsEach(recipient)
	}
	for _, l := range form.question.Learns(recipient) {
		out = append(out, l.What)
	}
	return out
}

// parseForm reads a planned question of either form.
func parseForm(asked []byte) (*sharedForm, error) {
	if !agg.IsInquiry(asked) {
		q, err := join.ParseQuestion(asked)
		return &sharedForm{question: q}, err
	}
	q, err := agg.ParseInquiry(asked)
	if err != nil {
		return nil, err
	}
	line, why := q.Line()
	if line == nil {
		return nil, &sandbox.Error{Op: "shares", Kind: sandbox.Internal, Object: why[0].Code, Detail: "a planned inquiry has its line"}
	}
	return &sharedForm{inquiry: &q, line: line}, nil
}

// sharedInput is one of the domain's own tables in a question over shares.
type sharedInput struct {
	at      int // among a line's inputs
	dataset catalog.Dataset
	version uint64
	columns []string
}

// mine lists the domain's own tables of a question over these versions.
func (n *Node) mine(form *sharedForm, inputs []sandbox.InputVersion) (out []sharedInput) {
	version := func(id sandbox.DatasetID) uint64 {
		for _, v := range inputs {
			if v.Dataset == id {
				return v.Version
			}
		}
		return 0
	}
	if form.line == nil {
		in := sharedInput{dataset: form.own.Dataset, version: version(form.own.Dataset.ID), columns: []string{form.own.Group.Name}}
		for _, c := range form.own.Amounts {
			in.columns = append(in.columns, c.Name)
		}
		return append(out, in)
	}
	for i, set := range form.line.Inputs() {
		if !n.outside(set.ID) {
			out = append(out, sharedInput{i, set, version(set.ID), form.line.Columns(i)})
		}
	}
	return out
}

// lineRows reads the domain's own tables of an inquiry.
func (n *Node) lineRows(ctx context.Context, form *sharedForm, inputs []sharedInput, key []byte) (agg.Own, error) {
	own := agg.Own{}
	for _, in := range inputs {
		rows, err := run.SharedRows(ctx, n.mem, n.vault, in.dataset, sandbox.InputVersion{Dataset: in.dataset.ID, Version: in.version}, in.columns, key, form.line.Room(0, in.at))
		if err != nil {
			return nil, err
		}
		own[in.at] = rows
	}
	return own, form.line.Fits(0, own)
}

// lineAnswer gives what opened of an inquiry the gate's form: cells that its conditions do not list, which may be shown, are left out.
func (form *sharedForm) lineAnswer(d query.Derivation, q *questionRecord, p mpc.Plan, cells []agg.Cell) egress.SharedAnswer {
	t := form.inquiry.Setting.Thresholds
	a := egress.SharedAnswer{Inputs: q.Inputs, Measures: form.line.Outputs(), People: form.people,
		Rules:    egress.Params{MinSubjects: t.MinSubjects, DominanceN: t.DominanceN, DominanceK: t.DominanceK, PPercent: t.PPercent, Prior: t.Prior},
		Evidence: form.evidence(q, p)}
	a.Bounds, a.Signed = form.line.Bounds()
	for _, dim := range d.Spec.Dimensions {
		a.Dimensions = append(a.Dimensions, dim.As)
		if dim.Score != nil {
			a.LabelUnits = append(a.LabelUnits, query.ScoreUnit)
			continue
		}
		i, c := alias(d, dim.Column)
		b, _ := d.Inputs[i].Described.Bin(dim.Bin)
		a.LabelUnits = append(a.LabelUnits, query.EdgeUnit(c, b))
	}
	for _, h := range d.Spec.Having {
		a.Shown.AtLeast = append(a.Shown.AtLeast, sandbox.Least{Measure: h.Measure, Value: h.AtLeast})
	}
	if top := d.Spec.Top; top != nil {
		a.Shown.Top = &sandbox.Top{Measure: top.By, K: top.K}
	}
	for _, c := range cells {
		if c.Shown && !c.Listed {
			continue
		}
		a.Cells = append(a.Cells, egress.SharedCell{Labels: c.Labels, Shown: c.Shown, Values: c.Values, None: c.None})
	}
	slices.SortFunc(a.Cells, func(x, y egress.SharedCell) int { return slices.Compare(x.Labels, y.Labels) })
	return a
}

// evidence is what the agency and the owners see of how an answer was computed.
func (form *sharedForm) evidence(q *questionRecord, p mpc.Plan) map[string]any {
	return map[string]any{"plan": hex.EncodeToString(q.Shared.Digest), "form": form.name(), "model": p.Adversary, "collusion": p.Collusion(), "learns": form.learns(p.Recipient()), "leakage": p.Leakage()}
}

// Forms of a question over shares, as its terms name them.
const (
	formJoin    = "join"    // 受控关联统计
	formInquiry = "inquiry" // 多方询问
)

func (form *sharedForm) name() string {
	if form.line != nil {
		return formInquiry
	}
	return formJoin
}
