package agent

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Explained (可行性说明) is what explain prints of an inquiry: what a plan has to say of it, and what parties learn; or why it does not run over
// shares. It follows from descriptions and public sizes alone.
type Explained struct {
	Runs      bool             `json:"runs"`
	Refused   []sandbox.Reason `json:"refused,omitempty"`
	Question  string           `json:"question,omitempty"`  // digest, as a plan names it
	Cells     int              `json:"cells,omitempty"`     // those that nobody is in included
	Rows      int              `json:"rows,omitempty"`      // of the scanned input, at most
	Outputs   map[string]int   `json:"outputs,omitempty"`   // names and rows
	Inputs    []agg.Held       `json:"inputs,omitempty"`    // in the plan's order
	Pushed    []agg.Held       `json:"pushed,omitempty"`    // rows that come as shares of their unit's, no input of the plan
	Operators []share.Op       `json:"operators,omitempty"` // in the plan's form
	Leakage   []share.Leakage  `json:"leakage,omitempty"`   // of those
	Tells     []string         `json:"tells,omitempty"`     // what all parties learn besides
}

// explain says whether an inquiry runs, without a plan, a key or a table: status 3 where it does not.
func (a *Agent) explain(_ context.Context, f *flags) error {
	text, err := readFile(f.question)
	if err != nil {
		return err
	}
	var q agg.Inquiry
	if !agg.IsInquiry(text) || json.Unmarshal(text, &q) != nil {
		return &sandbox.Error{Op: "party explain", Kind: sandbox.Invalid, Object: f.question, Detail: "an inquiry in JSON: spec, datasets, list, setting"}
	}
	l, reasons := q.Line()
	x := Explained{Refused: reasons}
	if l != nil {
		x = Explained{Runs: true, Question: q.Digest(), Cells: l.Cells(), Rows: l.Shared(), Outputs: l.Sizes(), Inputs: sharedBy(q.Setting.Held), Operators: l.Operators(), Tells: l.Learns()}
		if _, h, _, ok := l.Pushes(); ok {
			x.Pushed = append(x.Pushed, h)
		}
		for _, leak := range share.Leaks() {
			for _, op := range x.Operators {
				if leak.Op == op {
					x.Leakage = append(x.Leakage, leak)
				}
			}
		}
	}
	out, err := json.MarshalIndent(x, "", "  ")
	if err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s\n", out)
	if l == nil {
		return &sandbox.Error{Op: "party explain", Kind: sandbox.Denied, Object: reasons[0].Code, Detail: reasons[0].Rule, Hint: reasons[0].Change}
	}
	return nil
}

// Words says to a party's owner, before it signs, what a plan and its question come to: what is asked, of which tables, what opens and to
// whom, what each party learns, the model and what collusion reveals. Invalid where the question is not the plan's, or the party not one of it; of
// nobody it is for a unit that pushes.
func Words(p mpc.Plan, question []byte, self sandbox.PartyID) (string, error) {
	q, err := parseJob(question)
	if err != nil {
		return "", err
	}
	if err := fits(p, q); err != nil {
		return "", err
	}
	me := slices.IndexFunc(p.Parties, func(x mpc.Party) bool { return x.ID == self })
	if me < 0 && self != "" {
		return "", &sandbox.Error{Op: "mpc: plan", Kind: sandbox.Invalid, Object: "party", Detail: "one of the plan's"}
	}
	var b strings.Builder
	d := p.Digest()
	fmt.Fprintf(&b, "plan 计算方案 %s, SM3 %x\n", p.Job, d)
	fmt.Fprintf(&b, "  may be joined until %s, once; a run ends within %d seconds\n", p.Expires.Format(time.RFC3339), p.Seconds)
	fmt.Fprintln(&b, "parties 参与方:")
	for i, x := range p.Parties {
		you := ""
		if i == me {
			you = ", for whom you sign"
		}
		k := sm.Sum(x.Key)
		fmt.Fprintf(&b, "  %s (%s) of %s, owner %s, key %x%s\n", x.ID, x.Role, x.Organisation, x.Owner, k[:8], you)
	}
	fmt.Fprintln(&b, "tables 输入表:")
	for i, in := range p.Inputs {
		yours := ""
		if in.Party == self {
			yours = ": yours"
		}
		fmt.Fprintf(&b, "  %s of %s, padded to %d rows%s; %s\n", in.Name, in.Party, in.Rows, yours, q.table(i))
	}
	if q.inquiry != nil {
		for _, h := range q.inquiry.Setting.Held {
			if h.Pushed {
				k := sm.Sum(h.Unit)
				i := slices.IndexFunc(q.inquiry.Datasets, func(d catalog.Dataset) bool { return d.ID == h.Dataset })
				fmt.Fprintf(&b, "  dataset %s, up to %d rows, as shares that its unit %s pushed to all three, key %x; %s\n", h.Dataset, h.Rows, q.inquiry.Datasets[i].Unit, k[:8], q.inquiryTable(h.Dataset))
			}
		}
	}
	fmt.Fprintf(&b, "asked 所问:\n  %s\n", q.asks())
	switch {
	case q.join != nil && q.join.Named():
		fmt.Fprintf(&b, "  asked by %s under scenario %s, for the purpose %s\n", q.join.Asker, q.join.Scenario, q.join.Purpose)
	case q.join != nil:
		fmt.Fprintln(&b, "  it names no dataset, version, scenario, purpose or asker")
	case q.inquiry != nil:
		asker := "nobody in particular"
		if q.inquiry.Asker != "" {
			asker = strconv.Quote(string(q.inquiry.Asker))
		}
		fmt.Fprintf(&b, "  asked by %s under scenario %q, for the purpose %q\n", asker, string(q.inquiry.Spec.Scenario), q.inquiry.Spec.Purpose)
	}
	fmt.Fprintln(&b, "opens 公开的结果:")
	for _, o := range p.Outputs {
		to := "all three parties"
		if o.Recipient != "" {
			to = string(o.Recipient) + " alone"
		}
		fmt.Fprintf(&b, "  %s, %d numbers, to %s\n", o.Name, o.Rows, to)
	}
	fmt.Fprintln(&b, "each learns 各方知悉:")
	for _, l := range q.learns(p) {
		fmt.Fprintf(&b, "  %s\n", l)
	}
	for _, l := range p.Leakage() {
		if l.Opened != "" {
			fmt.Fprintf(&b, "  all: within %s: %s\n", l.Op, l.Opened)
		}
	}
	if q.join != nil || q.inquiry != nil { // the domain by the rows of the versions it has, every other owner by its ledger
		fmt.Fprintln(&b, "near-repeats 近似重复: each owner's own program compares its own table with those of its earlier jobs, and joins over none that is nearly one of them; nobody compares it for the owner, so a zone's ledger and its key, and those of a unit that pushes, stay the same for every job")
	}
	fmt.Fprintln(&b, p.Collusion())
	return b.String(), nil
}

// table says which columns of input i are shared.
func (j *job) table(i int) string {
	switch {
	case j.inquiry != nil:
		return j.inquiryTable(sharedBy(j.inquiry.Setting.Held)[i].Dataset)
	case j.join != nil:
		t, side := j.join.Left, join.Left
		if i == 1 {
			t, side = j.join.Right, join.Right
		}
		of := ""
		if j.join.Named() {
			of = fmt.Sprintf("; of dataset %s, version %d", t.Dataset, t.Version)
		}
		return fmt.Sprintf("columns subject and group (%s)%s%s", quoted(t.Groups), strings.Join(append([]string{""}, j.join.Columns(side)...), ", "), of)
	}
	return fmt.Sprintf("columns subject, group (%s) and amount", quoted(j.agg.Groups))
}

// inquiryTable says of which version of a dataset rows go in, which of its columns are used, and which of its rows its owner leaves out before it
// shares any.
func (j *job) inquiryTable(id sandbox.DatasetID) string {
	out := []string{"of dataset " + strconv.Quote(string(id))}
	for i, in := range j.inquiry.Spec.Inputs {
		if in.Dataset != id {
			continue
		}
		version := "the version that its owner has"
		if in.Version > 0 {
			version = fmt.Sprintf("version %d", in.Version)
		}
		out = append(out, version+", columns "+quoted(j.line.Columns(i)))
		for _, f := range j.inquiry.Spec.Filters {
			if name, column, _ := strings.Cut(f.Column, "."); name == in.Alias {
				which := "only rows"
				if f.Not {
					which = "no row"
				}
				out = append(out, fmt.Sprintf("%s whose %s is %s", which, strconv.Quote(column), quoted(f.In)))
			}
		}
	}
	return strings.Join(out, "; ")
}

// quoted writes labels, which are another's text, so that none passes for one of these lines.
func quoted(labels []string) string {
	out := make([]string, len(labels))
	for i, l := range labels {
		out[i] = strconv.Quote(l)
	}
	return strings.Join(out, ", ")
}

// asks says the question in a line.
func (j *job) asks() string {
	switch {
	case j.inquiry != nil:
		return "the question " + string(j.inquiry.Spec.Canonical())
	case j.join != nil:
		var names []string
		for _, m := range j.join.Measures {
			names = append(names, fmt.Sprintf("%s (%s of the %s table)", m.Name, m.Kind, m.Side))
		}
		r := j.join.Rules
		who := "; people of the left table who are not in the right one are left out"
		if j.join.Unmatched != "" {
			who = fmt.Sprintf("; people of the left table who are not in the right one are %q", j.join.Unmatched)
		}
		return fmt.Sprintf("people of the left table, looked up in the right one: how many, and %s, by left group and right group%s; a group is shown where each cell has %d people at least, its %d largest hold at most %d%%, and the rest is %d%% of the largest at least",
			strings.Join(names, ", "), who, r.MinSubjects, r.DominanceN, r.DominanceK, r.PPercent)
	}
	return "people, rows and the sum of amounts by group, over the owners' tables together"
}

// learns says what each party learns.
func (j *job) learns(p mpc.Plan) (out []string) {
	if j.join != nil {
		for _, l := range j.join.Learns(p.Recipient()) {
			out = append(out, fmt.Sprintf("%s: %s", p.Parties[l.Place].ID, l.What))
		}
		return out
	}
	if j.line != nil {
		for i, l := range j.line.LearnsEach(p.Recipient()) {
			out = append(out, fmt.Sprintf("%s: %s", p.Parties[i].ID, l))
		}
		return out
	}
	return append(out, "all: the sizes, the operators and the outputs that open to them")
}
