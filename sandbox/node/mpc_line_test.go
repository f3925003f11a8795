package node

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/connectors/file"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agent"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/query"
)

// lending is a domain's subsidies and a bank's loans of so many people, row by row, as both owners have them.
type lending struct {
	*house
	people    int
	subsidies string // CSV
	loans     string // likewise
}

// lends pushes the subsidies and writes the loans. change alters what a person has: the level of the subsidy, -1 for none, and the branch.
func (o *house) lends(id sandbox.RunID, people int, change func(p int, level *int, branch *string)) *lending {
	o.Helper()
	set, _, err := o.n.docs.datasets.Get(o.Context(), "ds-s")
	if err != nil {
		o.Fatal(err)
	}
	opened(o.T, o.n, set, id)
	b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(set))
	defer b.Release()
	var who []sandbox.Pseudonym
	l := &lending{house: o, people: people}
	var here, there strings.Builder
	here.WriteString("who,kind,support,level\n")
	there.WriteString("who,trade,repaid,branch\n")
	for p := range people {
		level, branch := p%10, []string{"N1", "N2", "S1", "N1", "X9"}[p%7%5]
		if p%4 == 3 {
			level = -1
		}
		if change != nil {
			change(p, &level, &branch)
		}
		name := fmt.Sprintf("person %d", p)
		if level >= 0 {
			support := int64(50000 + 137*p)
			b.Field(0).(*array.StringBuilder).Append(" " + name) // joined in the form of its kind
			b.Field(1).(*array.StringBuilder).Append("S")
			b.Field(2).(*array.Int64Builder).Append(support)
			text := fmt.Sprint(level)
			if p%13 == 5 {
				text = ""
				b.Field(3).AppendNull()
			} else {
				b.Field(3).(*array.Int64Builder).Append(int64(level))
			}
			fmt.Fprintf(&here, "%s,S,%d.%02d,%s\n", name, support/100, support%100, text)
			var ps sandbox.Pseudonym
			copy(ps[:], fmt.Sprintf("s%015d", p))
			who = append(who, ps)
		}
		if p%9 == 8 {
			continue // no loan
		}
		for k := range 1 + p%2 {
			amount := int64(20000 + 1511*(p*p%97) + 17*p + k)
			fmt.Fprintf(&there, "%s\u3000,%s,%d.%02d,%s\n", name, []string{"F1", "F2", "R1"}[p%3], amount/100, amount%100, branch)
		}
	}
	l.subsidies, l.loans = here.String(), there.String()
	o.write("loans.rows.csv", l.loans)
	rec := b.NewRecord()
	defer rec.Release()
	o.commits(id, set, rec, who)
	return l
}

// filtered asks for people, means, a variance and a median of the loans of subsidised people, by trade, with a filter on each side.
func filtered(sc sandbox.ScenarioID) query.Spec {
	return query.Spec{Scenario: sc, Purpose: "planning", Inputs: []query.Input{{Alias: "l", Dataset: "ds-l"}, {Alias: "s", Dataset: "ds-s", With: "l"}},
		Filters:    []query.Filter{{Column: "l.branch", Bin: "branches", In: []string{"north"}}, {Column: "s.level", Bin: "levels", In: []string{"≥9"}, Not: true}},
		Dimensions: []query.Dimension{{Column: "l.trade", Bin: "trades", As: "trade"}},
		Measures: []query.Measure{{Func: sandbox.Mean, Column: "l.repaid", As: "repaid"}, {Func: sandbox.Subjects, As: "people"}, {Func: sandbox.Count, As: "loans"},
			{Func: sandbox.Variance, Column: "l.repaid", As: "spread"}, {Func: sandbox.Quantile, Column: "l.repaid", Q: 500, As: "median"}, {Func: sandbox.Sum, Column: "s.support", As: "support"}}}
}

// plainly answers a question with the columnar engine over both owners' rows, and holds its cells to the gate's rules for one cell.
func (l *lending) plainly(s query.Spec) (*sandbox.Answer, []bool) {
	l.Helper()
	_, d := l.factsOf(s)
	if !d.Complete() {
		l.Fatal("the question is not derived")
	}
	plan := columnar.Plan{Derivation: d}
	for _, in := range d.Inputs {
		plan.Inputs = append(plan.Inputs, sandbox.InputVersion{Dataset: in.Dataset, Version: 1})
	}
	a, err := columnar.Run(l.Context(), memory.NewGoAllocator(), plan, func(ctx context.Context, id sandbox.DatasetID, columns []string) (batch.Reader, error) {
		set, text := subsidies, l.subsidies
		if id == "ds-l" {
			set, text = loans, l.loans
		}
		r, err := file.NewTable(ctx, memory.NewGoAllocator(), strings.NewReader(text), "t", set.Columns, file.Options{})
		if err != nil {
			return nil, err
		}
		return agg.Pseudonymous(r, set, columns[:len(columns)-1], bytes.Repeat([]byte{7}, 32), join.Normal)
	}, columnar.Limits{})
	if err != nil {
		l.Fatal(err)
	}
	c, err := egress.Check("q-plain", a, l.n.thresholds(d))
	if err != nil {
		l.Fatal(err)
	}
	leaves := make([]bool, len(a.Cells))
	for i := range c.Cells {
		leaves[i] = !slices.ContainsFunc(c.Cells[i].Rules, func(r string) bool { return r != egress.RuleSecondary })
	}
	return a, leaves
}

// same holds a result to the columnar engine's answer: so many cells are shown, those that the gate's rules for one cell let pass, with its numbers.
func (l *lending) same(q sandbox.QuestionID, s query.Spec, shown int) {
	l.Helper()
	rec := l.record(q)
	r, err := egress.DecodeResult(rec.Review.Result)
	if err != nil {
		l.Fatal(err)
	}
	a, leaves := l.plainly(s)
	for _, row := range r.Rows {
		i := slices.IndexFunc(a.Cells, func(c sandbox.Cell) bool { return slices.Equal(c.Labels, row.Labels) })
		if row.Suppressed {
			if i >= 0 && leaves[i] {
				l.Errorf("%q is hidden", row.Labels)
			}
			continue
		}
		if shown--; i < 0 || !leaves[i] {
			l.Errorf("%q is shown", row.Labels)
			continue
		}
		for m, v := range row.Values {
			want := a.Cells[i].Values[m]
			if a.Cells[i].Missing(m) != (v == nil) {
				l.Errorf("%q %s: whether there is a value", row.Labels, a.Measures[m].Name)
			}
			if v == nil {
				continue
			}
			if a.Measures[m].Func == sandbox.Quantile { // it leaves in two digits
				if *v < want*94/100 || *v > want*106/100 {
					l.Errorf("%q %s: another number than the engine's", row.Labels, a.Measures[m].Name)
				}
			} else if *v != want {
				l.Errorf("%q %s: another number than the engine's", row.Labels, a.Measures[m].Name)
			}
		}
	}
	if shown != 0 {
		l.Errorf("%d cells fewer are shown than wanted", shown)
	}
}

// TestInquiryOverShares: a question that no join has, with a filter on each side, a mean, a variance and a median, is answered over shares by three
// processes as the columnar engine answers it over both owners' rows; zones are told what they sign for and nothing of what the domain has.
func TestInquiryOverShares(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	if !testing.Short() {
		o.n.cfg.Shares.Adversary = share.MaliciousAbort
	}
	l := o.lends("run-1", 400, nil)
	x, err := o.n.Explain(t.Context(), o.operator.Caller, filtered("sc-m"))
	if err != nil || !x.Decision.Allow || x.Shares == nil || x.Shares.Form != formInquiry {
		t.Fatalf("%v: %s", err, x.Text)
	}
	for _, want := range []string{"form 形式: inquiry", "each owner filters its own rows before it shares them", "custodian-zone-house, approved by custodian-zone-owner; it learns the question and the registered sizes (ds-l 1024, ds-s 1024)",
		"no output in the run", "of spread how many rows it is over", "open together or not at all", "together can read every input in full", "within sort"} {
		if !strings.Contains(x.Text, want) {
			t.Errorf("%q is not explained in\n%s", want, x.Text)
		}
	}
	q := o.asks(o.operator, filtered("sc-m"))
	job, err := o.n.SharedJob(t.Context(), o.agency.Caller, q.ID)
	if err != nil {
		t.Fatal(err)
	}
	p, err := mpc.ParsePlan(job.Plan)
	if err != nil {
		t.Fatal(err)
	}
	said, err := agent.Words(p, job.Asked, "bank-zone")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{`of dataset "ds-l"; version 1, columns "branch", "repaid", "trade"; only rows whose "branch" is "north"`, `of dataset "ds-s"; version 1, columns "level", "support"; no row whose "level" is "≥9"`,
		`asked by "operator" under scenario "sc-m", for the purpose "planning"`, "near-repeats", "values, 24 numbers, to domain-zone alone"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said in\n%s", want, said)
		}
	}
	in, err := agg.ParseInquiry(job.Asked)
	if err != nil {
		t.Fatal(err)
	}
	for _, d := range in.Datasets {
		if d.Rows != 0 || d.Version != 0 || slices.ContainsFunc(d.Columns, func(c catalog.Column) bool { return c.Name == "kind" || c.Finding != "" || c.Detected != 0 }) {
			t.Errorf("of %s the zones are told more than the question uses", d.ID)
		}
	}
	q, parties := o.runs(q.ID, false)
	rec := o.record(q.ID)
	if q.State != stateInReview {
		t.Fatalf("%s: %s\n%s", q.State, rec.Review.Cause, strings.Join(parties[:], "\n"))
	}
	l.same(q.ID, filtered("sc-m"), 2)
	for _, zone := range []string{"bank-zone", "custodian-zone"} {
		if b, err := os.ReadFile(o.at(string(q.ID) + "." + zone + ".result")); err != nil || bytes.Contains(b, []byte(`"answer"`)) || !bytes.Contains(b, []byte(`"recipient": "domain-zone"`)) {
			t.Errorf("%s has what is the gate's: %v", zone, err)
		}
	}
	if rec.Review.Template != "" || rec.Review.Uncertified == "" || rec.Review.Flags[0].Rule != egress.FlagShared || !bytes.Contains(rec.Review.Evidence, []byte(`"form":"inquiry"`)) {
		t.Error("people release it, and see what it is")
	}
	for i, by := range o.reviewers {
		if _, err := o.votes(by, q.ID); err != nil {
			t.Fatalf("vote %d: %v", i+1, err)
		}
	}
	if got := o.bundled(); got[attest.SharesPlanned] != 1 || got[attest.SharesComputed] != 1 || got[attest.ReleaseSent] != 1 {
		t.Errorf("evidence: %v", got)
	}
}
