package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	mrand "math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/agent"
	"github.com/opdomain/opdomain/mpc/he"
	"github.com/opdomain/opdomain/mpc/he/spec"
	"github.com/opdomain/opdomain/mpc/he/unit"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo/dryrun"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/columnar"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/query"
)

var (
	incomes = catalog.Dataset{ID: "ds-i", Unit: "clinic-1", Title: "incomes", Frequency: catalog.Monthly, Subject: "who", SubjectKind: catalog.Opaque, Columns: []catalog.Column{
		{Name: "who", Title: "who", Range: "any", Type: catalog.Text, Grade: 3, Personal: true},
		{Name: "income", Title: "income", Range: "0 to 1000", Values: "[0,1000]", Type: catalog.Money, Unit: "元", Grade: 3}}}
	fees = catalog.Dataset{ID: "ds-f", Unit: "clinic-2", Title: "fees", Frequency: catalog.Monthly, Subject: "person", SubjectKind: catalog.Opaque, Columns: []catalog.Column{
		{Name: "person", Title: "person", Range: "any", Type: catalog.Text, Grade: 3, Personal: true},
		{Name: "ward", Title: "ward", Range: "two", Values: "{east,west}", Type: catalog.Text, Grade: 1, Public: true},
		{Name: "fee", Title: "fee", Range: "0 to 1000", Values: "[0,1000]", Type: catalog.Money, Unit: "元", Grade: 3}}}
)

// joining is a domain where clinic-1 has incomes and clinic-2 has fees, which both keep; clinic-3 masks and opens.
type joining struct {
	*carrying
	list   *unit.Cohort
	asked  func(query.Spec) query.Spec // nil: question as it is
	agreed spec.Agreed
	tables map[sandbox.DatasetID]*dryrun.Data // of people on the list, for the columnar engine
	lists  map[sandbox.IdentityID]*unit.Lists
	files  map[sandbox.DatasetID]string
}

func newJoining(t *testing.T) *joining {
	t.Helper()
	ctx := t.Context()
	o := &joining{carrying: newCarrying(t), lists: map[sandbox.IdentityID]*unit.Lists{}, files: map[sandbox.DatasetID]string{}, tables: map[sandbox.DatasetID]*dryrun.Data{"ds-i": {Set: incomes}, "ds-f": {Set: fees}}}
	o.units = o.units[:3]
	var seats []seat
	for i, d := range []catalog.Dataset{incomes, fees} {
		s := seat{Caller: o.caller(o.units[i]), key: o.units[i].keys.SigningKey()}
		seats = append(seats, s)
		if _, err := o.n.RegisterDataset(ctx, s.Caller, d); err != nil {
			t.Fatal(err)
		}
	}
	rule := func(column string, uses ...sandbox.Use) sandbox.ColumnRule {
		return sandbox.ColumnRule{Column: column, Uses: uses, Funcs: []sandbox.MeasureFunc{sandbox.Sum, sandbox.Covariance, sandbox.Correlation, sandbox.Quantile}}
	}
	s, err := o.n.FileScenario(ctx, o.operator.Caller, grant.Application{ID: "sc-j", Title: "t", Applicant: "operator", Operator: "operator", Agency: "agency", Purpose: "planning", Description: "d",
		List: []sandbox.ListItem{{Dataset: "ds-i", Columns: []sandbox.ColumnRule{{Column: "who", Uses: []sandbox.Use{sandbox.UseJoin}}, rule("income", sandbox.UseAggregate)}},
			{Dataset: "ds-f", Columns: []sandbox.ColumnRule{{Column: "person", Uses: []sandbox.Use{sandbox.UseJoin}}, {Column: "ward", Uses: []sandbox.Use{sandbox.UseGroup, sandbox.UseFilter}}, rule("fee", sandbox.UseAggregate)}}},
		TermMonths: 12, Classes: []sandbox.Class{sandbox.ClassA}, Terms: grant.Terms{Calling: "c", Fees: grant.Fees{Standard: "s", Method: "m"}, Supervision: "s", Secrecy: "s"}})
	for _, who := range []struct {
		seat
		step string
	}{{o.operator, grant.StepOperator}, {o.agency, grant.StepAgency}, {seats[0], grant.StepUnit}, {seats[1], grant.StepUnit}} {
		if err == nil {
			s, err = o.n.DecideScenario(ctx, who.Caller, "sc-j", who.says(t, attest.ContextDecision, attest.ScenarioDecision{Scenario: "sc-j", ListDigest: s.ListDigest, Step: who.step, Party: who.Party.ID, Approve: true, At: o.n.now()}))
		}
	}
	for _, who := range []seat{o.operator, o.agency, seats[0], seats[1]} {
		if err == nil {
			s, err = o.n.SignAgreement(ctx, who.Caller, "sc-j", who.says(t, attest.ContextAgreement, attest.AgreementSignature{Scenario: "sc-j", Digest: s.AgreementDigest, Party: who.Party.ID, At: o.n.now()}))
		}
	}
	if err != nil || s.Grant == nil {
		t.Fatal(err)
	}
	o.draw()
	return o
}

// draw makes both units' tables, rows in no order: 90 people of the list have an income, 80 a fee, 70 both; some come twice, others are on no list.
func (o *joining) draw() {
	o.Helper()
	r := mrand.New(mrand.NewPCG(9, 2))
	lines := map[sandbox.DatasetID][]string{}
	add := func(d catalog.Dataset, who int, amount int64, ward string) {
		row, cents := []any{nil, amount}, fmt.Sprintf("%d.%02d", amount/100, amount%100)
		line := fmt.Sprintf("person-%03d,%s", who, cents)
		if d.ID == "ds-f" {
			row, line = []any{nil, ward, amount}, fmt.Sprintf("%s,person-%03d,%s", ward, who, cents)
		}
		if lines[d.ID] = append(lines[d.ID], line); who < 100 {
			t := o.tables[d.ID]
			var p sandbox.Pseudonym
			copy(p[:], fmt.Sprintf("p%015d", who))
			t.Rows, t.Subjects = append(t.Rows, row), append(t.Subjects, p)
		}
	}
	for who := range 150 {
		income := 10_000 + r.Int64N(20_000)
		for n := range 1 + who%7/6 { // one in seven twice
			if who < 90 || who >= 100 {
				add(incomes, who, income+int64(n), "")
			}
			if who >= 20 && who < 100 || who > 120 {
				add(fees, who, income/10+r.Int64N(3_000), []string{"east", "west"}[who%2])
			}
		}
	}
	for id, head := range map[sandbox.DatasetID]string{"ds-i": "who,income", "ds-f": "ward,person,fee"} {
		r.Shuffle(len(lines[id]), func(i, j int) { lines[id][i], lines[id][j] = lines[id][j], lines[id][i] })
		o.files[id] = filepath.Join(o.TempDir(), string(id)+".csv")
		if err := os.WriteFile(o.files[id], []byte(head+"\n"+strings.Join(lines[id], "\n")+"\n"), 0o600); err != nil {
			o.Fatal(err)
		}
	}
	o.list, o.agreed = o.cohort(0, 100)
	for i, id := range []sandbox.DatasetID{"ds-i", "ds-f", ""} {
		u := o.units[i]
		l, err := unit.OpenLists(rand.Reader, o.TempDir())
		if err != nil {
			o.Fatal(err)
		}
		o.lists[u.id] = l
		u.rows = o.holding(u, id, o.list)
	}
}

// cohort is a list of people, as its file is read by who gets it, in another order.
func (o *joining) cohort(from, to int) (*unit.Cohort, spec.Agreed) {
	o.Helper()
	var ids, file bytes.Buffer
	for who := from; who < to; who++ {
		fmt.Fprintf(&ids, "person-%03d\n", who)
	}
	made, err := unit.NewCohort(rand.Reader, catalog.Opaque, &ids)
	if err == nil {
		err = made.Write(&file)
	}
	if err != nil {
		o.Fatal(err)
	}
	lines := strings.SplitAfter(file.String(), "\n")
	slices.Reverse(lines[3 : len(lines)-1])
	got, err := unit.ReadCohort(strings.NewReader(strings.Join(lines, "")))
	if err != nil {
		o.Fatal(err)
	}
	a, err := got.Agreed()
	if err != nil || a.People != to-from || !made.Names(&a) {
		o.Fatalf("a list in another order is another: %v", err)
	}
	return got, a
}

// holding is how a unit brings its rows, as its program does; without a dataset it holds no side.
func (o *joining) holding(u *holder, id sandbox.DatasetID, list *unit.Cohort) func(context.Context, *he.Plan) (*he.Partial, error) {
	return func(ctx context.Context, p *he.Plan) (*he.Partial, error) {
		offer := unit.Offer{Domain: "d", Question: "q", Spec: o.question(), List: &o.agreed, Plan: p}
		q, why := offer.Compile([]catalog.Dataset{incomes, fees})
		if len(why) > 0 {
			return nil, fmt.Errorf("%v", why)
		}
		if p.Layout.Digest() != q.Layout().Digest() {
			return nil, errors.New("the plan's layout is another than the unit compiles")
		}
		side := offer.Side(sandbox.PartyID(u.id))
		if (side >= 0) != (id != "") {
			return nil, errors.New("the plan places the unit wrongly")
		}
		if side < 0 {
			return q.Joined.Bystander()
		}
		dataset, columns := q.Joined.Columns(side)
		if dataset != id {
			return nil, errors.New("the plan has another dataset at this unit")
		}
		columns = slices.DeleteFunc(columns, func(c string) bool { return c == agent.SubjectColumn })
		set := map[sandbox.DatasetID]catalog.Dataset{"ds-i": incomes, "ds-f": fees}[id]
		r, err := (&agent.Agent{Out: io.Discard, Err: io.Discard, Rand: rand.Reader, Now: o.n.now}).OpenNormal(ctx, agent.Holding{Path: o.files[id]}, set, columns, list.Key())
		if err != nil {
			return nil, err
		}
		return list.Partial(ctx, q.Joined, side, r, o.lists[u.id], p.Units[p.Layout.Products.Holders[1-side]].ID, o.n.now())
	}
}

func (o *joining) question() query.Spec {
	q := query.Spec{Scenario: "sc-j", Purpose: "planning", Inputs: []query.Input{{Alias: "i", Dataset: "ds-i"}, {Alias: "f", Dataset: "ds-f", With: "i"}},
		Measures: []query.Measure{{Func: sandbox.Count, As: "n"}, {Func: sandbox.Sum, Column: "f.fee", As: "fees"}, {Func: sandbox.Covariance, Column: "i.income", With: []string{"f.fee"}, As: "cov"},
			{Func: sandbox.Correlation, Column: "i.income", With: []string{"f.fee"}, As: "r"}}}
	if o.asked != nil {
		q = o.asked(q)
	}
	return q
}

func (o *joining) order() api.SumRequest {
	// clinic-3, who holds nothing, is named first: the plan has the holders first all the same.
	return api.SumRequest{Spec: o.question(), List: sumList(&o.agreed), Order: api.SumOrder{Units: []sandbox.IdentityID{"clinic-3", "clinic-2", "clinic-1"}, Openers: []sandbox.IdentityID{"clinic-3", "clinic-1"}}}
}

func (o *joining) asks() api.Sum {
	o.Helper()
	got, err := o.n.AskSum(o.Context(), o.operator.Caller, o.order())
	if err != nil || got.Question.State != stateComputing || got.Set != string(he.ProductSet) || got.List == nil || got.List.People != 100 {
		o.Fatalf("%+v %v", got, err)
	}
	for i, id := range []sandbox.IdentityID{"clinic-1", "clinic-2", "clinic-3"} {
		if got.Units[i].Identity != id || (got.Units[i].Holds != "") != (i < 2) || got.Units[i].Opens != (i != 1) {
			o.Errorf("unit %d: %+v", i, got.Units[i])
		}
	}
	return got
}

// TestJoinedSum: rows of two units that keep them are joined over a list that the domain does not have. A unit is silent in the step that sums do not have,
// the next epoch is opened, and what stands before reviewers is what the columnar engine says of both tables.
func TestJoinedSum(t *testing.T) {
	o := newJoining(t)
	ctx := t.Context()
	id := o.asks().Question.ID
	if plan, err := o.n.SumPlan(ctx, o.caller(o.units[0]), id); err != nil || plan.List == nil || !bytes.Equal(plan.List.Digest, o.agreed.Digest) {
		t.Fatalf("%+v %v", plan.List, err)
	}
	for i, err := range o.play(id, "clinic-3", he.RelinShare) {
		if i == 2 != errors.Is(err, errMute) || i != 2 && !errors.Is(err, sandbox.Unavailable) {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	for who, sent := range map[*seat]bool{&o.agency: true, &o.operator: false} { // which holder is slow, or left, is not told to who asked
		if s, _ := o.n.Sum(ctx, who.Caller, id); s.Step != he.RelinShare.String() || s.Kind != int(he.RelinShare) || s.Units[2].Sent || s.Units[0].Sent != sent {
			t.Errorf("%+v", s)
		}
	}
	o.later(11 * time.Minute)
	if s, _ := o.n.Sum(ctx, o.agency.Caller, id); !s.Aborted || !s.Units[2].Left || s.Cause != "relinearisation share: arrives before its deadline" {
		t.Errorf("%+v", s)
	}
	// Two holders are enough for the next.
	o.units = o.units[:2]
	if s, err := o.n.BeginSumEpoch(ctx, o.operator.Caller, id, api.SumOrder{}); err != nil || s.Epoch != 2 || len(s.Units) != 2 || s.Threshold != 2 {
		t.Fatalf("%+v %v", s, err)
	}
	for i, err := range o.play(id, "", 0) {
		if err != nil {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	q, err := o.n.Question(ctx, o.operator.Caller, id)
	if err != nil {
		t.Fatal(err)
	}
	_, r := o.result(q)
	want := o.plainly()
	if len(r.Rows) != 1 || r.Rows[0].Suppressed || len(r.Rows[0].Values) != len(want.Values) {
		t.Fatalf("%+v", r.Rows)
	}
	for m, v := range r.Rows[0].Values {
		if v == nil || *v != want.Values[m] {
			t.Errorf("%s differs from the engine", r.Measures[m].Name)
		}
	}
	rec, _, err := o.n.docs.questions.Get(ctx, string(id))
	if err != nil || !strings.Contains(rec.Review.Uncertified, "over a list") || !strings.Contains(rec.Review.Uncertified, "0 earlier questions were over this list") || !strings.Contains(rec.Review.Uncertified, "0 other lists") || !strings.Contains(string(rec.Review.Evidence), `"holders":["clinic-1","clinic-2"]`) || rec.Review.Cells[0].People != 70 {
		t.Errorf("what reviewers see lacks how it came about: %v %s", err, rec.Review.Uncertified)
	}
	// Whoever reviews another list over these datasets is told of this one, and whether it is nearly as long.
	for name, x := range map[string]struct {
		list    spec.Agreed
		spec    query.Spec
		all, by int
		same    int
	}{
		"the same list":   {o.agreed, o.question(), 0, 0, 1},
		"one person less": {spec.Agreed{Digest: make([]byte, sm.Size), People: 99}, o.question(), 1, 1, 0},
		"a long one":      {spec.Agreed{Digest: make([]byte, sm.Size), People: 300}, o.question(), 1, 0, 0},
		"other datasets":  {spec.Agreed{Digest: make([]byte, sm.Size), People: 99}, query.Spec{Inputs: o.question().Inputs[:1]}, 0, 0, 0},
	} {
		s := &Sum{n: o.n, q: questionRecord{List: &x.list, Spec: x.spec}, params: rec.Review.Params}
		if same, all, near, err := s.otherLists(ctx); err != nil || all != x.all || near != x.by || same != x.same {
			t.Errorf("%s: %d over this list, %d other lists, %d nearly as long: %v", name, same, all, near, err)
		}
	}
	o.steps(attest.SumPlanned, attest.SumAborted, attest.SumPlanned, attest.SumShared, attest.SumShared, attest.SumOpened)
	if _, err := o.n.AskSum(ctx, o.operator.Caller, o.order()); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("the same question over the same list again: %v", err)
	}
	o.nowhere(100)
	o.audit()
}

// plainly is the cell of the columnar engine over both tables' rows of people on the list.
func (o *joining) plainly() sandbox.Cell {
	o.Helper()
	sets := map[sandbox.DatasetID]catalog.Dataset{"ds-i": incomes, "ds-f": fees}
	var list []sandbox.ListItem
	for id, d := range sets {
		item := sandbox.ListItem{Dataset: id}
		for _, c := range d.Columns {
			item.Columns = append(item.Columns, sandbox.ColumnRule{Column: c.Name, Funcs: sandbox.MeasureFuncs, Uses: []sandbox.Use{sandbox.UseJoin, sandbox.UseAggregate}})
		}
		list = append(list, item)
	}
	d, why := query.Derive(o.question(), sets, list)
	if len(why) > 0 {
		o.Fatal(why)
	}
	mem := memory.NewGoAllocator()
	p := columnar.Plan{Derivation: d, Inputs: []sandbox.InputVersion{{Dataset: "ds-i", Version: 1}, {Dataset: "ds-f", Version: 1}}}
	a, err := columnar.Run(o.Context(), mem, p, func(_ context.Context, id sandbox.DatasetID, columns []string) (batch.Reader, error) {
		return o.tables[id].Reader(mem, columns)
	}, columnar.Limits{})
	if err != nil || len(a.Cells) != 1 || len(a.Cells[0].Contributors) != 70 {
		o.Fatalf("%v", err)
	}
	return a.Cells[0]
}

// nowhere holds that no identifier of the list is in a file of the domain.
func (o *joining) nowhere(people int) {
	o.Helper()
	files := 0
	err := filepath.WalkDir(o.dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		b, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		files++
		for who := range people {
			if bytes.Contains(b, fmt.Appendf(nil, "person-%03d", who)) {
				o.Errorf("%s has somebody of the list", path)
				break
			}
		}
		return nil
	})
	if err != nil || files == 0 {
		o.Errorf("%d files: %v", files, err)
	}
}

// TestJoinedSumFew: of people who have rows at one unit only nothing is told; a group of few who have both is suppressed, one of more is not.
func TestJoinedSumFew(t *testing.T) {
	o := newJoining(t)
	ctx := t.Context()
	o.asked = func(q query.Spec) query.Spec {
		q.Measures, q.Dimensions = q.Measures[:1], []query.Dimension{{Column: "f.ward", As: "ward"}}
		q.Filters = []query.Filter{{Column: "f.ward", In: []string{"east", "west"}}}
		return q
	}
	o.list, o.agreed = o.cohort(0, 39) // 39 have an income; 19 of them a fee: ten in the east, nine in the west
	o.units = o.units[:2]
	for i, id := range []sandbox.DatasetID{"ds-i", "ds-f"} {
		o.units[i].rows = o.holding(o.units[i], id, o.list)
	}
	r := o.order()
	r.Order.Units, r.Order.Openers = []sandbox.IdentityID{"clinic-2", "clinic-1"}, nil
	s, err := o.n.AskSum(ctx, o.operator.Caller, r)
	if err != nil || s.Question.State != stateComputing || s.Threshold != 2 {
		t.Fatalf("%+v %v", s, err)
	}
	for i, err := range o.play(s.Question.ID, "", 0) {
		if err != nil {
			t.Errorf("unit %d: %v", i, err)
		}
	}
	q, err := o.n.Question(ctx, o.operator.Caller, s.Question.ID)
	if err != nil {
		t.Fatal(err)
	}
	rec, _, err := o.n.docs.questions.Get(ctx, string(q.ID))
	if err != nil {
		t.Fatal(err)
	}
	result, err := egress.DecodeResult(rec.Review.Result)
	if err != nil || len(result.Rows) != 2 {
		t.Fatalf("%v", err)
	}
	for i, ward := range []string{"east", "west"} {
		row, c := result.Rows[i], rec.Review.Cells[i]
		if row.Labels[0] != ward || row.Suppressed != (i == 1) || (len(row.Values) == 0) != (i == 1) || c.People != 10-i {
			t.Errorf("%s is suppressed: %v %v, %d people", ward, row.Suppressed, c.Rules, c.People)
		}
	}
	o.audit()
}

// TestJoinedSumRefused: what cannot be joined over a list is refused before anything is charged, and says what would do.
func TestJoinedSumRefused(t *testing.T) {
	o := newJoining(t)
	ctx := t.Context()
	for name, x := range map[string]struct {
		change func(*api.SumRequest)
		code   string
	}{
		"without a list":      {func(r *api.SumRequest) { r.List = nil }, "he.join"},
		"no digest":           {func(r *api.SumRequest) { r.List.Digest = []byte("x") }, "he.list"},
		"nobody on it":        {func(r *api.SumRequest) { r.List.People = 0 }, "he.placement"},
		"one person on it":    {func(r *api.SumRequest) { r.List.People = 1 }, "he.list"},
		"one too few":         {func(r *api.SumRequest) { r.List.People = 9 }, "he.list"},
		"too many":            {func(r *api.SumRequest) { r.List.People = he.MaxSubjects + 1 }, "he.placement"},
		"without a holder":    {func(r *api.SumRequest) { r.Order.Units[1] = "clinic-4" }, "he.placement"},
		"one dataset":         {func(r *api.SumRequest) { r.Spec.Inputs, r.Spec.Measures = r.Spec.Inputs[:1], r.Spec.Measures[:1] }, "he.join"},
		"the set for sums":    {func(r *api.SumRequest) { r.Order.Set = string(he.SumSet) }, "he.set"},
		"a median":            {func(r *api.SumRequest) { r.Spec.Measures[1].Func, r.Spec.Measures[1].Q = sandbox.Quantile, 500 }, "he.quantile"},
		"an outer join":       {func(r *api.SumRequest) { r.Spec.Inputs[1].Join = query.LeftJoin }, "he.join"},
		"one opens of two":    {func(r *api.SumRequest) { r.Order.Openers = r.Order.Openers[:1] }, "he.threshold"},
		"too many rows a one": {func(r *api.SumRequest) { r.List.Rows = 1<<20 + 1 }, "he.placement"},
	} {
		r := o.order()
		r.Spec.Measures, r.Order.Units = slices.Clone(r.Spec.Measures), slices.Clone(r.Order.Units)
		x.change(&r)
		s, err := o.n.AskSum(ctx, o.operator.Caller, r)
		if err != nil || s.Question.State != stateRefused || !slices.ContainsFunc(s.Question.Decision.Reasons, func(r sandbox.Reason) bool { return r.Code == x.code && r.Change != "" }) {
			t.Errorf("%s: %s %+v %v", name, s.Question.State, s.Question.Decision.Reasons, err)
		}
	}
	text, err := o.n.Explain(ctx, o.operator.Caller, o.question())
	if err != nil || !strings.Contains(text.Text, "opdomain he sum ask --list") {
		t.Errorf("%v %s", err, text.Text)
	}
	p, rev, err := o.n.docs.parties.Get(ctx, "clinic-2")
	if err == nil {
		p.Affiliates = append(p.Affiliates, "operator")
		_, err = o.n.docs.parties.Update(ctx, "clinic-2", rev, "", "", p)
	}
	if err != nil {
		t.Fatal(err)
	}
	if s, err := o.n.AskSum(ctx, o.operator.Caller, o.order()); err != nil || !slices.ContainsFunc(s.Question.Decision.Reasons, func(r sandbox.Reason) bool { return r.Code == "dataset.own" }) {
		t.Errorf("an affiliate of a holder: %+v %v", s.Question.Decision.Reasons, err)
	}
	if computing, err := o.n.docs.questions.List(ctx, listState(stateComputing)); err != nil || len(computing) > 0 {
		t.Errorf("what never began is computing: %d %v", len(computing), err)
	}
	o.steps()
	o.audit()
}

// TestJoinedSumFaults: a holder with another list leaves before a key is drawn; a share of the relinearisation key that is sent twice otherwise ends the
// epoch under its sender's name; a domain that stops in that step ends it; each time there is another epoch. A list that is nearly an earlier one is not taken.
func TestJoinedSumFaults(t *testing.T) {
	o := newJoining(t)
	ctx := t.Context()
	id := o.asks().Question.ID
	again := func(epoch uint64, cause string) {
		t.Helper()
		if s, _ := o.n.Sum(ctx, o.agency.Caller, id); !s.Aborted || s.Cause != cause {
			t.Errorf("epoch %d ended with %q: %+v", s.Epoch, s.Cause, s)
		}
		if s, _ := o.n.Sum(ctx, o.operator.Caller, id); !s.Aborted || s.Cause != "" || s.Units[0].Left || s.Units[1].Left {
			t.Errorf("who asked learns which holder it ended with: %+v", s)
		}
		s, err := o.n.BeginSumEpoch(ctx, o.operator.Caller, id, api.SumOrder{Units: []sandbox.IdentityID{"clinic-1", "clinic-2", "clinic-3"}})
		if err != nil || s.Epoch != epoch {
			t.Fatalf("%+v %v", s, err)
		}
	}
	// The same people under another secret are another list.
	other, _ := o.cohort(0, 100)
	own := o.units[1].rows
	o.units[1].rows = o.holding(o.units[1], "ds-f", other)
	err := o.part(o.units[1], id).Run(ctx, &bearer{n: o.n, c: o.caller(o.units[1]), id: id})
	var left *unit.Left
	if !errors.As(err, &left) || left.Why != unit.WhyList || !errors.Is(err, sandbox.Conflict) {
		t.Errorf("another list: %v", err)
	}
	if s, err := o.n.BeginSumEpoch(ctx, o.operator.Caller, id, api.SumOrder{Units: []sandbox.IdentityID{"clinic-1", "clinic-3", "clinic-4"}}); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("an epoch without a holder: %+v %v", s, err)
	}
	o.units[1].rows = own
	again(2, "commitment: a holder has the list that the plan names, and its people are not nearly those of an earlier one")

	// Everybody has sent a relinearisation share but clinic-3, and clinic-1 sends another.
	o.play(id, "clinic-3", he.RelinShare)
	at := api.SumAddress{Question: id, Epoch: 2, Kind: int(he.RelinShare)}
	x := o.n.sums.find(id)
	m, err := he.ParseMessage(x.held[he.RelinShare][0])
	if err != nil {
		t.Fatal(err)
	}
	put := func(m *he.Message) error {
		b := he.AppendMessage(nil, m)
		_, err := o.n.TakeSumMessage(ctx, o.caller(o.units[0]), at, sm.Sum(b), bytes.NewReader(b))
		return err
	}
	if err := put(m); err != nil { // its answer was lost: the same again is no fault
		t.Error(err)
	}
	if s, _ := o.n.Sum(ctx, o.agency.Caller, id); s.Aborted || s.Kind != int(he.RelinShare) {
		t.Errorf("%+v", s)
	}
	part := m.Parts[0]
	digest := sm.Sum(part)
	if m.Sig, err = o.units[0].keys.SigningKey().Sign(rand.Reader, "opdomain he relinearisation share", sm.Frame([]byte{byte(m.Kind)}, m.Plan[:], []byte{0}, digest[:])); err != nil {
		t.Fatal(err)
	}
	if err := put(m); err != nil { // signed anew: other bytes
		t.Error(err)
	}
	if s, _ := o.n.Sum(ctx, o.agency.Caller, id); !s.Units[0].Left {
		t.Errorf("%+v", s)
	}
	again(3, "relinearisation share: comes once from each, whole")

	// The domain stops in that step; a unit's process of before makes no second share.
	o.play(id, "clinic-3", he.RelinShare)
	engines := o.n.cfg.Engines
	if err := o.n.Close(); err != nil {
		t.Fatal(err)
	}
	if o.n, err = Open(ctx, testConfig(o.dir)); err != nil {
		t.Fatal(err)
	}
	o.n.cfg.Engines = engines
	o.clock(o.n)
	again(4, "gate: the domain goes on")
	o.play(id, "clinic-2", he.RelinShare)
	err = o.part(o.units[1], id).Run(ctx, &bearer{n: o.n, c: o.caller(o.units[1]), id: id})
	if !errors.As(err, &left) || left.Why != unit.WhyRestart || !strings.Contains(err.Error(), "no second share") {
		t.Errorf("%v", err)
	}
	if _, err := o.n.EndSum(ctx, o.operator.Caller, id); err != nil {
		t.Fatal(err)
	}
	// A list that has one person less is another question, and no holder takes part in it.
	o.list, o.agreed = o.cohort(0, 99)
	r := o.order()
	s, err := o.n.AskSum(ctx, o.operator.Caller, r)
	if err != nil || s.Question.State != stateComputing || s.Question.ID == id {
		t.Fatalf("%+v %v", s, err)
	}
	fee := o.holding(o.units[1], "ds-f", o.list)
	o.units[1].rows = fee
	err = o.part(o.units[1], s.Question.ID).Run(ctx, &bearer{n: o.n, c: o.caller(o.units[1]), id: s.Question.ID})
	if !errors.As(err, &left) || left.Why != unit.WhyList || !errors.Is(err, sandbox.Denied) {
		t.Errorf("nearly an earlier list: %v", err)
	}
	if _, err := o.n.EndSum(ctx, o.operator.Caller, s.Question.ID); err != nil {
		t.Fatal(err)
	}
	rec, _, err := o.n.docs.questions.Get(ctx, string(id))
	if err != nil || rec.Review.State != egress.Withheld {
		t.Errorf("%v", err)
	}
	o.audit()
}
