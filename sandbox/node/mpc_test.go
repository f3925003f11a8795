package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agent"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/policy"
	"github.com/opdomain/opdomain/sandbox/query"
)

// asParty is set in a process that is a zone's party.
const asParty = "OPDOMAIN_TEST_PARTY"

func TestMain(m *testing.M) {
	if os.Getenv(asParty) != "" {
		a := &agent.Agent{Out: os.Stdout, Err: os.Stderr, Rand: rand.Reader, Now: testConfig("").Now, Clock: time.Now}
		os.Exit(a.Main(context.Background(), os.Args[1:]))
	}
	os.Exit(m.Run())
}

var codeBin = []catalog.Group{{Label: "farming", Codes: []string{"F1", "F2"}}, {Label: "retail", Codes: []string{"R1"}}}

var subsidies = catalog.Dataset{ID: "ds-s", Unit: "unit", Title: "subsidies", Frequency: catalog.Monthly, Subject: "who", SubjectKind: catalog.Opaque,
	Columns: []catalog.Column{{Name: "who", Title: "who", Range: "any", Type: catalog.Text, Grade: 3, Personal: true}, {Name: "kind", Title: "kind", Range: "codes", Type: catalog.Text, Grade: 2},
		{Name: "support", Title: "support", Range: "any", Type: catalog.Money, Unit: "元", Grade: 3}, {Name: "level", Title: "level", Range: "any", Type: catalog.Int, Unit: "级", Grade: 2, Nullable: true}},
	Bins: []catalog.Bin{{ID: "kinds", Column: "kind", Kind: catalog.Codes, Groups: []catalog.Group{{Label: "subsidised", Codes: []string{"S"}}}},
		{ID: "levels", Column: "level", Kind: catalog.Amount, Edges: []int64{2, 9}}}}

var loans = catalog.Dataset{ID: "ds-l", Unit: "bank", Title: "loans", Frequency: catalog.Monthly, Subject: "who", SubjectKind: catalog.Opaque,
	Columns: []catalog.Column{{Name: "who", Title: "who", Range: "any", Type: catalog.Text, Grade: 3, Personal: true}, {Name: "trade", Title: "trade", Range: "codes", Type: catalog.Text, Grade: 3},
		{Name: "repaid", Title: "repaid", Range: "any", Type: catalog.Money, Unit: "元", Grade: 3, Values: "[0,9999.99]"}, {Name: "branch", Title: "branch", Range: "codes", Type: catalog.Text, Grade: 3}},
	Bins: []catalog.Bin{{ID: "trades", Column: "trade", Kind: catalog.Codes, Groups: codeBin},
		{ID: "branches", Column: "branch", Kind: catalog.Codes, Groups: []catalog.Group{{Label: "north", Codes: []string{"N1", "N2"}}, {Label: "south", Codes: []string{"S1"}}}}}}

// house is an office with a bank that keeps its loans, and the zones of a computation over shares: the domain's, the bank's, a custodian's.
type house struct {
	*clinic
	bank   seat
	folder string
	addrs  []string
	lists  []*net.TCPListener

	left, right []join.Row // in the open, subjects by number
}

func newHouse(t *testing.T, hosting sandbox.Hosting) *house {
	t.Helper()
	o := &house{clinic: &clinic{noisy: &noisy{office: &office{T: t, dir: filepath.Join(t.TempDir(), "d"), agency: seated(t, "agency", sandbox.Agency), unit: seated(t, "unit", sandbox.Unit),
		operator: seated(t, "operator", sandbox.Operator)}}}, bank: seated(t, "bank", sandbox.Unit), folder: t.TempDir()}
	for i, of := range []*seat{&o.unit, &o.agency} {
		r := seated(t, of.Party.ID+"-reviewer", of.Party.Role)
		r.Identity.Party, r.Identity.Duty, r.Party = of.Party.ID, sandbox.Reviewer, of.Party
		of.enrolment.Identities = append(of.enrolment.Identities, r.Identity)
		o.reviewers[i] = r
	}
	cfg := testConfig(o.dir)
	cfg.Shares = &Shares{Self: mpc.Party{ID: "domain-zone", Role: "agency", Organisation: "agency", Owner: o.agency.Identity.ID, OwnerKey: o.agency.Identity.SignKey},
		Outside: map[sandbox.DatasetID]Beyond{"ds-l": {Zone: "bank-zone", Version: 1, Rows: 1 << 10}}, Adversary: share.SemiHonest, Generator: share.AESGenerator, Seconds: 60, Valid: time.Hour, Clock: time.Now,
		SubjectKey: func(sandbox.DatasetID) ([]byte, error) { return bytes.Repeat([]byte{0x5c}, 32), nil },
		Reach: func() (wire.Transport, func() error, error) {
			tcp := wire.NewTCP(o.lists[0])
			tcp.Reach(o.addrs)
			return tcp, tcp.Close, nil
		}}
	o.write("pass", "a long passphrase")
	o.write("subject.key", strings.Repeat("5c", 32))
	o.write("ledger.key", strings.Repeat("1e", 32))
	for i, zone := range []sandbox.PartyID{"bank-zone", "custodian-zone"} {
		p := mpc.Party{ID: zone, Role: string(zone), Organisation: zone + "-house", Owner: sandbox.IdentityID(zone + "-owner")}
		for name, to := range map[string]*[]byte{string(zone): &p.Key, string(zone) + "-owner": &p.OwnerKey} {
			k, err := keys.Create(o.at(name), []byte("a long passphrase"), keys.Params{Time: 1, Memory: 64, Threads: 1}, rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			*to = k.SigningKey().Public().Bytes()
			k.Close()
		}
		cfg.Shares.Zones[i] = p
	}
	var err error
	if o.n, err = Create(t.Context(), cfg, Founding{Domain: "d", Hosting: hosting, District: "longhua", Keys: keys.Params{Time: 1, Memory: 64, Threads: 1},
		Enrolled: []api.Enrolment{o.agency.enrolment, o.unit.enrolment, o.bank.enrolment, o.operator.enrolment}}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = o.n.Close() })
	for set, by := range map[*catalog.Dataset]seat{&subsidies: o.unit, &loans: o.bank} {
		if _, err := o.n.RegisterDataset(t.Context(), by.Caller, *set); err != nil {
			t.Fatal(err)
		}
	}
	o.granted("sc-m", true)
	return o
}

func (o *house) at(name string) string { return filepath.Join(o.folder, name) }

func (o *house) write(name, text string) {
	o.Helper()
	if err := os.WriteFile(o.at(name), []byte(text), 0o600); err != nil {
		o.Fatal(err)
	}
}

// granted has a scenario with both datasets granted; joins says whether the unit lets its identifiers be joined.
func (o *house) granted(id sandbox.ScenarioID, joins bool) {
	o.Helper()
	ctx := o.Context()
	sum := []sandbox.MeasureFunc{sandbox.Sum, sandbox.Mean, sandbox.Variance, sandbox.Quantile, sandbox.Correlation, sandbox.Max}
	mine := sandbox.ListItem{Dataset: "ds-s", Columns: []sandbox.ColumnRule{{Column: "kind", Uses: []sandbox.Use{sandbox.UseGroup}}, {Column: "support", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: sum},
		{Column: "level", Uses: []sandbox.Use{sandbox.UseFilter, sandbox.UseGroup}}}}
	if joins {
		mine.Columns = append(mine.Columns, sandbox.ColumnRule{Column: "who", Uses: []sandbox.Use{sandbox.UseJoin}})
	}
	its := sandbox.ListItem{Dataset: "ds-l", Columns: []sandbox.ColumnRule{{Column: "who", Uses: []sandbox.Use{sandbox.UseJoin}}, {Column: "trade", Uses: []sandbox.Use{sandbox.UseGroup}},
		{Column: "repaid", Uses: []sandbox.Use{sandbox.UseAggregate}, Funcs: sum}, {Column: "branch", Uses: []sandbox.Use{sandbox.UseFilter, sandbox.UseGroup}}}}
	s, err := o.n.FileScenario(ctx, o.operator.Caller, grant.Application{ID: id, Title: "t", Applicant: "operator", Operator: "operator", Agency: "agency", Purpose: "planning", Description: "d",
		List: []sandbox.ListItem{mine, its}, TermMonths: 12, Classes: []sandbox.Class{sandbox.ClassA}, Terms: grant.Terms{Calling: "c", Fees: grant.Fees{Standard: "s", Method: "m"}, Supervision: "s", Secrecy: "s"}})
	for _, who := range []struct {
		seat
		step string
	}{{o.operator, grant.StepOperator}, {o.agency, grant.StepAgency}, {o.unit, grant.StepUnit}, {o.bank, grant.StepUnit}} {
		if err == nil {
			s, err = o.n.DecideScenario(ctx, who.Caller, id, who.says(o.T, attest.ContextDecision,
				attest.ScenarioDecision{Scenario: id, ListDigest: s.ListDigest, Step: who.step, Party: who.Party.ID, Approve: true, At: o.n.now()}))
		}
	}
	for _, who := range []seat{o.operator, o.agency, o.unit, o.bank} {
		if err == nil {
			s, err = o.n.SignAgreement(ctx, who.Caller, id, who.says(o.T, attest.ContextAgreement, attest.AgreementSignature{Scenario: id, Digest: s.AgreementDigest, Party: who.Party.ID, At: o.n.now()}))
		}
	}
	if err != nil || s.Grant == nil {
		o.Fatalf("%s: %v", id, err)
	}
}

// tables pushes the subsidies into the vault and writes the bank's loans into its own folder. but leaves out so many people of the subsidies.
func (o *house) tables(id sandbox.RunID, but int) {
	o.Helper()
	ctx := o.Context()
	set, _, err := o.n.docs.datasets.Get(ctx, "ds-s")
	if err != nil {
		o.Fatal(err)
	}
	opened(o.T, o.n, set, id)
	b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(set))
	defer b.Release()
	var who []sandbox.Pseudonym
	var csv strings.Builder
	csv.WriteString("group,subject,repaid\n")
	o.left, o.right = nil, nil
	for p := range 120 {
		name := fmt.Sprintf("person %d", p)
		if p%2 == 0 && p/2 >= but {
			b.Field(0).(*array.StringBuilder).Append(" " + name) // joined in the form of its kind
			b.Field(1).(*array.StringBuilder).Append("S")
			b.Field(2).(*array.Int64Builder).Append(int64(50000 + 137*p))
			b.Field(3).AppendNull()
			var ps sandbox.Pseudonym
			copy(ps[:], fmt.Sprintf("s%015d", p))
			who = append(who, ps)
			o.right = append(o.right, join.Row{Group: 0, Subject: uint64(p), Values: []int64{int64(50000 + 137*p)}})
		}
		if p%5 == 4 {
			continue // no loan
		}
		for k := range 1 + p%2 {
			amount, trade := int64(100000+311*p+k), p%3%2
			fmt.Fprintf(&csv, "%s,%s \u3000,%d\n", []string{"farming", "retail"}[trade], name, amount) // likewise
			o.left = append(o.left, join.Row{Group: trade, Subject: uint64(p), Values: []int64{amount}})
		}
	}
	o.write("loans.csv", csv.String())
	rec := b.NewRecord()
	defer rec.Release()
	o.commits(id, set, rec, who)
}

// commits writes a version of the subsidies.
func (o *house) commits(id sandbox.RunID, set catalog.Dataset, rec arrow.Record, who []sandbox.Pseudonym) {
	o.Helper()
	ctx := o.Context()
	w, err := o.n.vault.Begin(ctx, set.Unit, "ds-s", id, batch.Schema(set), 3)
	if err == nil {
		err = w.Write(ctx, rec, who)
	}
	if err != nil {
		o.Fatal(err)
	}
	snap, err := w.Commit(ctx)
	if err != nil {
		o.Fatal(err)
	}
	if err := o.n.committed(ctx, domainIdentity, snap, api.PushReport{Run: id, Dataset: "ds-s", Version: snap.Version, Rows: snap.Rows, Manifest: snap.Manifest[:]}, nil, nil); err != nil {
		o.Fatal(err)
	}
}

// uplift asks for people, loans and sums by trade and by subsidy, those without one too.
func uplift(sc sandbox.ScenarioID) query.Spec {
	return query.Spec{Scenario: sc, Purpose: "planning", Inputs: []query.Input{{Alias: "l", Dataset: "ds-l"}, {Alias: "s", Dataset: "ds-s", With: "l", Join: query.LeftJoin}},
		Dimensions: []query.Dimension{{Column: "l.trade", Bin: "trades", As: "trade"}, {Column: "s.kind", Bin: "kinds", As: "kind"}},
		Measures:   []query.Measure{{Func: sandbox.Sum, Column: "l.repaid", As: "repaid"}, {Func: sandbox.Subjects, As: "people"}, {Func: sandbox.Count, As: "loans"}, {Func: sandbox.Sum, Column: "s.support", As: "support"}}}
}

// runs has the zones' owners approve a question's plan, starts the zones' parties as processes, and has the domain take part. kill ends the
// custodian's process once its links are open.
func (o *house) runs(id sandbox.QuestionID, kill bool) (api.Question, [2]string) {
	o.Helper()
	q, said, err := o.ran(id, kill)
	if err != nil {
		o.Fatal(err)
	}
	return q, said
}

func (o *house) ran(id sandbox.QuestionID, kill bool) (api.Question, [2]string, error) {
	o.Helper()
	ctx := o.Context()
	job, err := o.n.SharedJob(ctx, o.agency.Caller, id)
	if err != nil {
		o.Fatal(err)
	}
	p, err := mpc.ParsePlan(job.Plan)
	if err != nil {
		o.Fatal(err)
	}
	o.write(string(id)+".plan", string(job.Plan))
	o.write(string(id)+".question", string(job.Asked))
	o.lists, o.addrs = nil, nil
	for range 3 {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			o.Fatal(err)
		}
		o.lists, o.addrs = append(o.lists, l.(*net.TCPListener)), append(o.addrs, l.Addr().String())
	}
	var cs [2]*exec.Cmd
	var said [2]bytes.Buffer
	for i, zone := range []string{"bank-zone", "custodian-zone"} {
		party := func(args ...string) *exec.Cmd {
			c := exec.CommandContext(ctx, os.Args[0], args...)
			c.Env = append(os.Environ(), asParty+"=1")
			c.Stdout, c.Stderr, c.WaitDelay = &said[i], &said[i], 10*time.Second
			return c
		}
		approval := o.at(string(id) + "." + zone + ".approval")
		if err := party("approve", "--keys", o.at(zone+"-owner"), "--passphrase-file", o.at("pass"), "--plan", o.at(string(id)+".plan"), "--question", o.at(string(id)+".question"), "--party", zone, "--days", "1", "--out", approval).Run(); err != nil {
			o.Fatalf("%s: %s", zone, said[i].String())
		}
		args := []string{"run", "--keys", o.at(zone), "--passphrase-file", o.at("pass"), "--plan", o.at(string(id) + ".plan"), "--question", o.at(string(id) + ".question"), "--party", zone,
			"--approval", approval, "--listen", "fd:3", "--joined", o.at(zone + ".joined"), "--out", o.at(string(id) + "." + zone + ".result"), "--certificate", o.at(string(id) + "." + zone + ".certificate")}
		for _, a := range o.addrs {
			args = append(args, "--address", a)
		}
		if job.Terms.Pushes != "" {
			args = append(args, "--pushed", o.at(string(id)+".pushed/ds-l."+zone))
		} else if i == 0 {
			table := []string{"--table", "ds-l@1=" + o.at("loans.csv")}
			if agg.IsInquiry(job.Asked) {
				table = []string{"--source", "ds-l@1=" + o.at("loans.rows.csv")}
			}
			args = append(append(args, table...), "--subject-key", o.at("subject.key"), "--ledger", o.at("ledger"), "--ledger-key", o.at("ledger.key"))
		}
		if o.n.outside("ds-s") && i == 1 {
			args = append(args, "--source", "ds-s@1="+o.at("subsidies.rows.csv"), "--subject-key", o.at("subject.key"), "--ledger", o.at("ledger2"), "--ledger-key", o.at("ledger.key"))
		}
		cs[i] = party(args...)
		f, err := o.lists[i+1].File()
		if err != nil {
			o.Fatal(err)
		}
		cs[i].ExtraFiles = []*os.File{f}
		if err := cs[i].Start(); err != nil {
			o.Fatal(err)
		}
		_, _ = f.Close(), o.lists[i+1].Close()
	}
	approval, err := mpc.Approve(rand.Reader, o.agency.key, p, "domain-zone", o.n.now(), o.n.now().Add(time.Hour))
	if err != nil {
		o.Fatal(err)
	}
	var wg sync.WaitGroup
	if kill {
		reach := o.n.cfg.Shares.Reach
		o.n.cfg.Shares.Reach = func() (wire.Transport, func() error, error) {
			t, end, err := reach()
			return &mortal{Transport: t, then: func() { _ = cs[1].Process.Kill() }}, end, err
		}
		defer func() { o.n.cfg.Shares.Reach = reach }()
	}
	q, err := o.n.ComputeShared(ctx, o.agency.Caller, id, approval)
	for _, c := range cs {
		wg.Go(func() { _ = c.Wait() })
	}
	wg.Wait()
	return q, [2]string{said[0].String(), said[1].String()}, err
}

// mortal is a transport that lets a peer die once the domain has both its links.
type mortal struct {
	wire.Transport
	links int
	mu    sync.Mutex
	then  func()
}

func (m *mortal) Accept(ctx context.Context) (net.Conn, error) {
	c, err := m.Transport.Accept(ctx)
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.links++; err == nil && m.links == 2 {
		time.AfterFunc(300*time.Millisecond, m.then)
	}
	return c, err
}

func (o *house) record(id sandbox.QuestionID) questionRecord {
	o.Helper()
	rec, _, err := o.n.docs.questions.Get(o.Context(), string(id))
	if err != nil {
		o.Fatal(err)
	}
	return rec
}

// bundled counts the kinds of a bundle that verifies.
func (o *house) bundled() map[attest.Kind]int {
	o.Helper()
	var b bytes.Buffer
	auditor := api.Caller{Identity: o.agency.Identity, Party: o.agency.Party}
	if err := o.n.Bundle(o.Context(), auditor, &b); err != nil {
		o.Fatal(err)
	}
	r, err := attest.VerifyBundle(bytes.NewReader(b.Bytes()), o.n.keys.SigningKey().Public())
	if err != nil {
		o.Fatal(err)
	}
	return r.Events
}

// TestOverShares: a question with rows at a bank, whose grade no domain opens, is answered over shares by three processes; the answer is the
// plain join's, passes review as any, and a bundle shows plan, approvals and certificate.
func TestOverShares(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	if !testing.Short() {
		o.n.cfg.Shares.Adversary = share.MaliciousAbort
	}
	o.tables("run-1", 0)
	x, err := o.n.Explain(t.Context(), o.operator.Caller, uplift("sc-m"))
	if err != nil || !x.Decision.Allow || x.Decision.Engine != sandbox.MPC {
		t.Fatalf("%v: %s", err, x.Text)
	}
	q := o.asks(o.operator, uplift("sc-m"))
	if q.State != stateComputing || q.Decision.Engine != sandbox.MPC {
		t.Fatalf("%s %+v", q.State, q.Decision)
	}
	if again := o.asks(o.operator, uplift("sc-m")); again.ID != q.ID || again.State != stateComputing {
		t.Error("asked again it is another question")
	}
	for _, who := range []seat{o.operator, o.unit, o.reviewers[1]} {
		if _, err := o.n.SharedJob(t.Context(), who.Caller, q.ID); !errors.Is(err, sandbox.Denied) {
			t.Errorf("%s gets the job: %v", who.Identity.ID, err)
		}
	}
	if _, err := o.n.ComputeShared(t.Context(), o.agency.Caller, q.ID, attest.Statement{}); !errors.Is(err, sandbox.Denied) {
		t.Errorf("without an approval: %v", err)
	}
	q, said := o.runs(q.ID, false)
	rec := o.record(q.ID)
	if q.State != stateInReview {
		t.Fatalf("%s: %s\n%s", q.State, rec.Review.Cause, strings.Join(said[:], "\n"))
	}
	form, why := o.n.sharesForm(o.factsOf(uplift("sc-m")))
	if len(why) > 0 {
		t.Fatal(why)
	}
	want, err := form.question.Plain(o.left, o.right)
	if err != nil {
		t.Fatal(err)
	}
	r, err := egress.DecodeResult(rec.Review.Result)
	if err != nil || len(r.Rows) != len(want) {
		t.Fatal(err)
	}
	shown := 0
	for _, c := range want {
		at := slices.IndexFunc(r.Rows, func(row egress.ResultRow) bool { return row.Labels[0] == c.Left && row.Labels[1] == c.Right })
		row := r.Rows[at]
		if row.Suppressed == c.Shown {
			t.Errorf("%s %s: suppressed is %t", c.Left, c.Right, row.Suppressed)
		}
		if !c.Shown {
			continue
		}
		shown++
		if *row.Values[0] != c.Values[0] || *row.Values[1] != c.People || *row.Values[2] != c.Values[1] || (row.Values[3] == nil) != (c.Right == catalog.Missing) || row.Values[3] != nil && *row.Values[3] != c.Values[2] {
			t.Errorf("%s %s: other numbers than the plain join", c.Left, c.Right)
		}
	}
	if shown != 4 {
		t.Errorf("%d cells are shown, want 4", shown)
	}
	for _, zone := range []string{"bank-zone", "custodian-zone"} {
		if b, err := os.ReadFile(o.at(string(q.ID) + "." + zone + ".result")); err != nil || bytes.Contains(b, []byte(`"cells"`)) || !bytes.Contains(b, []byte(`"recipient": "domain-zone"`)) {
			t.Errorf("%s has what is the gate's: %v", zone, err)
		}
	}
	if rec.Review.Template != "" || rec.Review.Uncertified == "" || rec.Review.Flags[0].Rule != egress.FlagShared || !bytes.Contains(rec.Review.Evidence, []byte("together can read every input")) {
		t.Error("people release it, and see what it is")
	}
	for i, by := range o.reviewers {
		if _, err := o.votes(by, q.ID); err != nil {
			t.Fatalf("vote %d: %v", i+1, err)
		}
	}
	seen, err := o.n.Question(t.Context(), o.operator.Caller, q.ID)
	if err != nil || seen.State != stateReleased {
		t.Errorf("after two votes it is %s: %v", seen.State, err)
	}
	if _, err := o.n.ComputeShared(t.Context(), o.agency.Caller, q.ID, attest.Statement{}); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("run twice: %v", err)
	}
	for who, sees := range map[*seat]bool{&o.operator: false, &o.unit: true, &o.bank: true} {
		var b bytes.Buffer
		if err := o.n.Bundle(t.Context(), who.Caller, &b); err != nil {
			t.Fatal(err)
		}
		r, err := attest.VerifyBundle(&b, o.n.keys.SigningKey().Public())
		if err != nil || (r.Events[attest.SharesComputed] == 1) != sees || r.Events[attest.SharesPlanned] != 1 {
			t.Errorf("%s: %v %v", who.Identity.ID, r.Events, err)
		}
	}
	// What the domain's own engine answers over the same dataset was not compared with it.
	own := o.asks(o.operator, query.Spec{Scenario: "sc-m", Purpose: "planning", Inputs: []query.Input{{Alias: "s", Dataset: "ds-s"}}, Dimensions: []query.Dimension{{Column: "s.kind", Bin: "kinds", As: "kind"}},
		Measures: []query.Measure{{Func: sandbox.Subjects, As: "people"}}})
	if rec := o.record(own.ID); own.Decision.Engine != sandbox.Domain || !strings.Contains(rec.Review.Uncertified, "run over shares") {
		t.Errorf("%s %s: %q %s", own.State, own.Decision.Engine, rec.Review.Uncertified, rec.Review.Cause)
	}
	got := o.bundled()
	if got[attest.SharesPlanned] != 1 || got[attest.SharesComputed] != 1 || got[attest.SharesAborted] != 0 || got[attest.ReleaseSent] != 1 {
		t.Errorf("evidence: %v", got)
	}
}

// factsOf derives a question as the operator's.
func (o *house) factsOf(s query.Spec) (f policy.Facts, d query.Derivation) {
	o.Helper()
	f, _, err := o.n.facts(o.Context(), o.operator.Caller, s, o.n.now())
	if err != nil {
		o.Fatal(err)
	}
	_, d = o.n.decide(f, s, sandbox.ClassA)
	return f, d
}

// TestPartyDies: a zone's process that is killed in the run ends it at all with an abort. The asker sees the uniform code, agency and units
// the protocol's rule, a bundle the abort; the plan is spent.
func TestPartyDies(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	o.tables("run-1", 0)
	q := o.asks(o.operator, uplift("sc-m"))
	q, said := o.runs(q.ID, true)
	rec := o.record(q.ID)
	if q.State != stateWithheld || q.Code != sandbox.CodeWithheld || rec.Review.Result != nil {
		t.Fatalf("%s %s", q.State, q.Code)
	}
	if !strings.Contains(rec.Review.Cause, "not computed over shares") || strings.Contains(rec.Review.Cause, "person") {
		t.Errorf("the cause: %s", rec.Review.Cause)
	}
	if !strings.Contains(said[0], "mpc: abort") {
		t.Errorf("the bank's party says: %s", said[0])
	}
	for _, zone := range []string{"bank-zone", "custodian-zone"} {
		if _, err := os.Stat(o.at(string(q.ID) + "." + zone + ".result")); err == nil {
			t.Errorf("%s has outputs", zone)
		}
	}
	if _, err := o.n.ComputeShared(t.Context(), o.agency.Caller, q.ID, attest.Statement{}); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a spent plan: %v", err)
	}
	got := o.bundled()
	if got[attest.SharesPlanned] != 1 || got[attest.SharesComputed] != 0 || got[attest.SharesAborted] != 1 || got[attest.ReleaseSent] != 0 {
		t.Errorf("evidence: %v", got)
	}
}

// TestNearlyTheSameTable: a run over a version that differs from an earlier run's in a few people is withheld before a link is made; one that
// differs in enough is not.
func TestNearlyTheSameTable(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	o.tables("run-1", 0)
	if q, said := o.runs(o.asks(o.operator, uplift("sc-m")).ID, false); q.State != stateInReview {
		t.Fatalf("%s %s", q.State, said[0])
	}
	o.tables("run-2", 3)
	q := o.asks(o.operator, uplift("sc-m"))
	if q = o.unlinked(q.ID); q.State != stateWithheld || !strings.Contains(o.record(q.ID).Review.Cause, "too few people") {
		t.Fatalf("%s", q.State)
	}
	o.tables("run-3", 15)
	if q, said := o.runs(o.asks(o.operator, uplift("sc-m")).ID, false); q.State != stateInReview {
		t.Errorf("%s %s: %s", q.State, o.record(q.ID).Review.Cause, said[0])
	}
	// What was erased cannot be compared any more: refused before it is charged, and withheld where it waited already.
	o.tables("run-3b", 22)
	waiting := o.asks(o.operator, uplift("sc-m"))
	if _, err := o.n.EraseVersion(t.Context(), o.unit.Caller, "ds-s", 1, api.ErasureRequest{Reason: "its time is over"}); err != nil {
		t.Fatal(err)
	}
	o.tables("run-4", 30)
	asked := o.asks(o.operator, uplift("sc-m"))
	if asked.State != stateRefused || asked.Decision.Reasons[0].Code != codeSharesErased {
		t.Errorf("%s %+v", asked.State, asked.Decision.Reasons)
	}
	q = o.unlinked(waiting.ID)
	if rec := o.record(q.ID); q.State != stateWithheld || !strings.Contains(rec.Review.Cause, "can no longer be read") {
		t.Errorf("%s %s", q.State, rec.Review.Cause)
	}
}

// unlinked has the domain take part in a run that ends before a link is made.
func (o *house) unlinked(id sandbox.QuestionID) api.Question {
	o.Helper()
	reach := o.n.cfg.Shares.Reach
	defer func() { o.n.cfg.Shares.Reach = reach }()
	o.n.cfg.Shares.Reach = func() (wire.Transport, func() error, error) {
		o.Error("a link was tried")
		return nil, nil, errors.New("no")
	}
	job, err := o.n.SharedJob(o.Context(), o.agency.Caller, id)
	if err != nil {
		o.Fatal(err)
	}
	p, err := mpc.ParsePlan(job.Plan)
	if err != nil {
		o.Fatal(err)
	}
	approval, err := mpc.Approve(rand.Reader, o.agency.key, p, "domain-zone", o.n.now(), o.n.now().Add(time.Hour))
	if err != nil {
		o.Fatal(err)
	}
	q, err := o.n.ComputeShared(o.Context(), o.agency.Caller, id, approval)
	if err != nil {
		o.Fatal(err)
	}
	return q
}

// TestPlanExpires: a plan that nobody joined in time is planned anew when the question is asked again, under another job, and runs; one that
// the domain had joined is withheld.
func TestPlanExpires(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	o.tables("run-1", 0)
	o.n.cfg.Shares.Valid = time.Minute
	first := o.asks(o.operator, uplift("sc-m"))
	now := o.n.now().Add(2 * time.Minute)
	o.n.cfg.Now = func() time.Time { return now }
	if _, err := o.n.ComputeShared(t.Context(), o.agency.Caller, first.ID, attest.Statement{}); !errors.Is(err, sandbox.Expired) {
		t.Fatalf("an expired plan: %v", err)
	}
	q := o.asks(o.operator, uplift("sc-m"))
	if job, err := o.n.SharedJob(t.Context(), o.agency.Caller, q.ID); err != nil || q.ID != first.ID || q.State != stateComputing || !bytes.Contains(job.Plan, []byte(attest.SharesJob(q.ID, 2))) {
		t.Fatalf("%s: %v", q.State, err)
	}
	if q, said := o.runs(q.ID, false); q.State != stateInReview {
		t.Fatalf("%s: %s %v", q.State, o.record(q.ID).Review.Cause, said)
	}
	o.tables("run-2", 20)
	q = o.asks(o.operator, uplift("sc-m"))
	if _, err := o.n.store.Add(t.Context(), joinedOf(attest.SharesJob(q.ID, 1)), 1, 1); err != nil {
		t.Fatal(err)
	}
	now = now.Add(2 * time.Minute)
	if again := o.asks(o.operator, uplift("sc-m")); again.ID != q.ID || o.record(q.ID).Shared.Plans != 1 {
		t.Error("what was joined is planned anew")
	}
	if q, err := o.n.ComputeShared(t.Context(), o.agency.Caller, q.ID, attest.Statement{}); err != nil || q.State != stateWithheld {
		t.Errorf("joined and expired: %s %v", q.State, err)
	}
	if got := o.bundled(); got[attest.SharesPlanned] != 3 || got[attest.SharesComputed] != 1 || got[attest.SharesAborted] != 2 {
		t.Errorf("evidence: %v", got)
	}
}

// TestRefusedOverShares: what the protocol does not do, and what the domain may not open, is refused before any key opens, with reasons.
func TestRefusedOverShares(t *testing.T) {
	o := newHouse(t, sandbox.P1)
	o.tables("run-1", 0)
	o.granted("sc-n", false)
	for name, x := range map[string]struct {
		change func(*query.Spec)
		code   string
	}{
		"no people":           {func(s *query.Spec) { s.Measures = s.Measures[:1] }, codeSharesForm},
		"a largest value":     {func(s *query.Spec) { s.Measures[0].Func = sandbox.Max }, "mpc.operator"},
		"an undeclared range": {func(s *query.Spec) { s.Measures[3].Func = sandbox.Variance }, codeSharesForm},
		"ordered by a mean": {func(s *query.Spec) {
			s.Measures[0].Func, s.Top = sandbox.Mean, &query.Top{By: "repaid", K: 2}
		}, "mpc.top"},
		"not to be joined": {func(s *query.Spec) { s.Scenario = "sc-n" }, policy.CodeColumn},
	} {
		s := uplift("sc-m")
		x.change(&s)
		q := o.asks(o.operator, s)
		if q.State != stateRefused || !slices.ContainsFunc(q.Decision.Reasons, func(r sandbox.Reason) bool { return r.Code == x.code }) {
			t.Errorf("%s: %s %+v", name, q.State, q.Decision.Reasons)
		}
	}
	p2 := newHouse(t, sandbox.P2)
	p2.tables("run-1", 0)
	q := p2.asks(p2.operator, uplift("sc-m"))
	if q.State != stateRefused || !slices.ContainsFunc(q.Decision.Reasons, func(r sandbox.Reason) bool {
		return r.Column == "ds-s.who" && strings.Contains(r.Change, "a party of its own")
	}) {
		t.Errorf("an operator-hosted domain opens personal columns to share them: %+v", q.Decision.Reasons)
	}
}
