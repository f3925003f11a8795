package main

import (
	"bytes"
	"context"
	"encoding/csv"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agent"
	"github.com/opdomain/opdomain/mpc/join"
	shares "github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
)

func (a *app) mpcCommand() *cobra.Command {
	party := verb("party", "Run one party (参与方), as opdomain-party does", cobra.ArbitraryArgs, func(c *cobra.Command, args []string) error {
		if code := (&agent.Agent{Out: a.out, Err: a.err, Rand: a.rand, Now: a.now}).Main(c.Context(), args); code != 0 {
			os.Exit(code) // the agent has said what was wrong, and its statuses are its own
		}
		return nil
	})
	party.DisableFlagParsing = true
	var o mpcDemo
	demo := verb("demo", "A bank's loans joined with a bureau's subsidies: uplift by trade, each party a process of its own (多方计算演示)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return a.mpcDemo(c.Context(), o)
	})
	demo.Long = demo.Short + `.

A bureau has a table of subsidies, a bank one of loans; many people are in both. Three processes on loopback, of the bureau, the bank and a
custodian, join the tables over shares: nobody sees a row of another. The rules for each trade, with and without a subsidy, are decided over shares;
what opens goes through the egress gate, and what the gate would put before reviewers is printed. The numbers open to the custodian alone, which
has no table and gives them to the gate. An owner who sees what is released can work out from it who of its own people is in the other table, in
small groups, or where it chose values or groups to that end: that is for the reviewers.
It is compared with the plain computation of the generated tables.`
	demo.Flags().IntVar(&o.people, "people", 900, fmt.Sprintf("people of the generated tables, %d to 900", demoLeast))
	demo.Flags().Uint64Var(&o.seed, "seed", 1, "seed of the generated tables")
	demo.Flags().StringVar(&o.keep, "keep", "", "leave plan, question, tables, results and certificate in this new folder")
	return group("mpc", "Compute with others over shares (多方安全计算)", a.sharesConfigCommand(), a.jobCommand(), a.approveJobCommand(), a.pushJobCommand(), a.runJobCommand(), a.cancelJobCommand(), demo, a.mpcExplainCommand(), party)
}

// mpcDemo are the flags of the demonstration.
type mpcDemo struct {
	people int
	seed   uint64
	keep   string
}

// mpcSummary is what the demonstration ends with.
type mpcSummary struct {
	Job        sandbox.RunID    `json:"job"`
	Model      shares.Adversary `json:"model"`
	Collusion  string           `json:"collusion"`
	Learns     []partyLearns    `json:"learns"`
	Leakage    []shares.Leakage `json:"leakage"`
	Result     json.RawMessage  `json:"result"` // what the gate would put before reviewers: nothing else leaves
	Digest     string           `json:"digest"` // of it
	Uplift     []demoUplift     `json:"uplift"` // from the result alone
	Suppressed int              `json:"suppressed"`
	Flags      []egress.Flag    `json:"flags"`
	Sent       []int64          `json:"sent_bytes"` // by party
	Rounds     int              `json:"rounds"`
	Seconds    float64          `json:"seconds"`
	Plain      bool             `json:"equals_plain"`
	Verified   bool             `json:"certificate_verified"`
	Session    string           `json:"session"`
	Folder     string           `json:"folder,omitempty"`
	rows       []egress.ResultRow
}

type partyLearns struct {
	Party sandbox.PartyID `json:"party"`
	What  string          `json:"what"`
}

// demoUplift is a trade whose two cells may both be shown.
type demoUplift struct {
	Trade      string `json:"trade"`
	Without    int64  `json:"default_permille_without"`
	With       int64  `json:"default_permille_with"`
	Difference int64  `json:"difference_permille"`
}

var demoTrades = []string{"catering", "farming", "retail", "transport", "quarrying"}

// The two halves of a trade.
const (
	demoWith    = "subsidised"
	demoWithout = "unsubsidised"
)

// demoTables writes the generated loans and subsidies. Who has a subsidy defaults less; somebody dominates transport; quarrying has few.
func demoTables(loans, subsidies string, people int, seed uint64) error {
	var left, right bytes.Buffer
	l, r := csv.NewWriter(&left), csv.NewWriter(&right)
	_ = l.Write([]string{"group", "subject", "repaid", "defaulted"})
	_ = r.Write([]string{"group", "subject", "support"})
	next := seed*2 + 1
	draw := func(n uint64) uint64 { // splitmix64: a table of a seed is the same everywhere
		next += 0x9e3779b97f4a7c15
		z := next
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return (z ^ z>>31) % n
	}
	for p := range people {
		who, trade, with := fmt.Sprintf("demo-person-%05d", p), demoTrades[p%4], draw(2) == 0
		if p%53 == 8 {
			trade = demoTrades[4] // a few people alone in quarrying
		}
		if with {
			_ = r.Write([]string{demoWith, who, strconv.FormatUint(500_00+draw(3_000_00), 10)})
		}
		if draw(10) == 0 {
			continue // no loan
		}
		for range 1 + draw(2) {
			odds, defaulted := uint64(34), "0"
			if with {
				odds = 22
			}
			if draw(100) < odds {
				defaulted = "1"
			}
			repaid := 1000_00 + draw(20_000_00)
			if p == 3 {
				repaid = 900_000_000_00
			}
			_ = l.Write([]string{trade, who, strconv.FormatUint(repaid, 10), defaulted})
		}
	}
	l.Flush()
	r.Flush()
	return errors.Join(os.WriteFile(loans, left.Bytes(), 0o600), os.WriteFile(subsidies, right.Bytes(), 0o600))
}

func (a *app) mpcDemo(ctx context.Context, o mpcDemo) error {
	if o.people < demoLeast || o.people > 900 {
		return &sandbox.Error{Op: "mpc demo", Kind: sandbox.Invalid, Object: "--people", Detail: fmt.Sprintf("%d to 900", demoLeast)}
	}
	dir := o.keep
	if dir == "" {
		tmp, err := os.MkdirTemp("", "opdomain-mpc-")
		if err != nil {
			return err
		}
		defer os.RemoveAll(tmp)
		dir = tmp
	} else if err := os.Mkdir(dir, 0o700); err != nil {
		return &sandbox.Error{Op: "mpc demo", Kind: sandbox.Conflict, Object: dir, Detail: "a new folder", Hint: "name a folder that does not exist, in one that does"}
	}
	d := demoRun{a: a, dir: dir, people: o.people, seed: o.seed, limit: 600}
	s, err := d.play(ctx)
	if err != nil {
		return err
	}
	if o.keep != "" {
		s.Folder = dir
	}
	return a.show(s, func(w io.Writer) { s.print(w) })
}

// print writes the summary for people.
func (s *mpcSummary) print(w io.Writer) {
	fmt.Fprintf(w, "Three processes, %.1f s, %d rounds, bytes sent %d, %d, %d.\n\nThrough the gate, for two reviewers (%d cells suppressed, digest %s):\n", s.Seconds, s.Rounds, s.Sent[0], s.Sent[1], s.Sent[2],
		s.Suppressed, s.Digest[:16])
	for _, r := range s.rows {
		if r.Suppressed {
			fmt.Fprintf(w, "%-10s %-13s not shown 不予展示\n", r.Labels[0], r.Labels[1])
			continue
		}
		people, loans, repaid, defaulted := *r.Values[0], *r.Values[1], *r.Values[2], *r.Values[3]
		fmt.Fprintf(w, "%-10s %-13s %4d people  %4d loans  repaid %d.%02d yuan  defaulted %d (%s)\n", r.Labels[0], r.Labels[1], people, loans, repaid/100, repaid%100, defaulted, percent(permille(defaulted, people)))
	}
	fmt.Fprintln(w)
	for _, u := range s.Uplift {
		fmt.Fprintf(w, "%-10s default rate %s without, %s with a subsidy: %+.1f points\n", u.Trade, percent(u.Without), percent(u.With), float64(u.Difference)/10)
	}
	fmt.Fprintf(w, "\n%s\n\nWhat each party learnt:\n", s.Collusion)
	for _, l := range s.Learns {
		fmt.Fprintf(w, "  %-9s %s\n", l.Party, l.What)
	}
	for _, l := range s.Leakage {
		if l.Opened != "" {
			fmt.Fprintf(w, "  all       within %s: %s\n", l.Op, l.Opened)
		}
	}
	fmt.Fprintf(w, "\nEqual to the plain computation: %t. Certificate verified offline: %t, session %s.\nThe gate's rules were decided over shares; comparison with earlier releases is the domain's ledger's, and no template releases such a result.\n",
		s.Plain, s.Verified, s.Session[:16])
	if s.Folder != "" {
		fmt.Fprintf(w, "Left in %s: plan, question, tables, results, certificate, and released.json, which alone would leave.\n", s.Folder)
	}
}

func permille(part, of int64) int64 { return (1000*part + of/2) / of }

func percent(permille int64) string { return fmt.Sprintf("%d.%d%%", permille/10, permille%10) }

// demoRun is one playing of the demonstration.
type demoRun struct {
	a      *app
	dir    string
	people int
	seed   uint64
	limit  int // seconds of a run
}

func (d *demoRun) path(parts ...string) string {
	return filepath.Join(append([]string{d.dir}, parts...)...)
}

func (d *demoRun) write(name string, b []byte) error { return os.WriteFile(d.path(name), b, 0o600) }

// demoRoles are the parties in the order of the plan; the first two have tables.
var demoRoles = []string{"bureau", "bank", "custodian"}

// demoLeast people are enough for a trade to be shown.
const demoLeast = 400

// demoGate is the party that gives the outputs to the gate: neither owner of a table sees what the gate suppresses.
const demoGate = "custodian"

// demoRules are the thresholds that the cells are held to over shares, and the gate's.
var demoRules = egress.Params{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10}

// prepare makes keys, tables, question, plan and approvals.
func (d *demoRun) prepare() (join.Question, error) {
	size, err := mpc.Bucket(d.people)
	if err != nil {
		return join.Question{}, err
	}
	q := join.Question{Version: 1, Left: join.Table{Owner: 1, Rows: size, Groups: demoTrades}, Right: join.Table{Owner: 0, Rows: size, Groups: []string{demoWith}}, Unmatched: demoWithout,
		Measures: []join.Measure{{Name: "loans", Kind: join.Count, Side: join.Left}, {Name: "repaid", Kind: join.Amount, Side: join.Left}, {Name: "defaulted", Kind: join.Flag, Side: join.Left},
			{Name: "support", Kind: join.Amount, Side: join.Right}},
		Rules: join.Rules{MinSubjects: demoRules.MinSubjects, DominanceN: demoRules.DominanceN, DominanceK: demoRules.DominanceK, PPercent: demoRules.PPercent}}
	secret := make([]byte, 128)
	if _, err := io.ReadFull(d.a.rand, secret); err != nil {
		return q, err
	}
	phrase := hex.EncodeToString(secret[:32])
	p := mpc.Plan{Version: 1, Job: "mpc-demo", Question: q.Digest(), Adversary: shares.MaliciousAbort, Generator: shares.AESGenerator, Operators: join.Operators(),
		Expires: d.a.now().Add(time.Hour).UTC().Truncate(time.Second), Seconds: d.limit}
	outputs := q.Outputs()
	for _, out := range slices.Sorted(maps.Keys(outputs)) {
		p.Outputs = append(p.Outputs, mpc.Output{Name: out, Rows: outputs[out], Recipient: demoGate})
	}
	p.Inputs = []mpc.Input{{Name: "bank-table", Party: "bank", Rows: size}, {Name: "bureau-table", Party: "bureau", Rows: size}}
	if err := errors.Join(d.write("passphrase", []byte(phrase)), d.write("subject.key", []byte(hex.EncodeToString(secret[32:64]))), d.write("question.json", q.Encode()),
		demoTables(d.path("bank.csv"), d.path("bureau.csv"), d.people, d.seed)); err != nil {
		return q, err
	}
	for i, role := range demoRoles[:2] { // each owner's key of its ledger is its own
		if err := d.write(role+".ledger.key", []byte(hex.EncodeToString(secret[64+32*i:96+32*i]))); err != nil {
			return q, err
		}
	}
	var owners []*keys.File
	for _, role := range demoRoles {
		var points [2][]byte
		for k, who := range []string{role, role + "-owner"} {
			v, err := keys.Create(d.path(who), []byte(phrase), keys.Interactive(), d.a.rand)
			if err != nil {
				return q, err
			}
			defer v.Close()
			points[k] = v.SigningKey().Public().Bytes()
			if k == 1 {
				owners = append(owners, v)
			}
		}
		p.Parties = append(p.Parties, mpc.Party{ID: sandbox.PartyID(role), Role: role, Organisation: sandbox.PartyID("demo-" + role), Key: points[0],
			Owner: sandbox.IdentityID(role + "-owner"), OwnerKey: points[1]})
	}
	if err := p.Check(); err != nil {
		return q, err
	}
	for i, role := range demoRoles {
		s, err := mpc.Approve(d.a.rand, owners[i].SigningKey(), p, sandbox.PartyID(role), d.a.now(), d.a.now().Add(time.Hour))
		if err != nil {
			return q, err
		}
		b, err := json.Marshal(s)
		if err != nil {
			return q, err
		}
		if err := d.write(role+".approval.json", b); err != nil {
			return q, err
		}
	}
	return q, d.write("plan.json", p.Encode())
}

// listeners opens one listener for each party, for its process to take over.
func (d *demoRun) listeners() (files []*os.File, addrs []string, err error) {
	for range demoRoles {
		l, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			return files, nil, &sandbox.Error{Op: "mpc demo", Kind: sandbox.Unavailable, Object: "loopback", Err: err}
		}
		addrs = append(addrs, l.Addr().String())
		f, err := l.(*net.TCPListener).File()
		_ = l.Close()
		if err != nil {
			return files, nil, &sandbox.Error{Op: "mpc demo", Kind: sandbox.Unavailable, Object: "loopback", Err: err}
		}
		files = append(files, f)
	}
	return files, addrs, nil
}

// party is the process of one party.
func (d *demoRun) party(ctx context.Context, q join.Question, i int, addrs []string, listener *os.File, said io.Writer) (*exec.Cmd, error) {
	program, err := os.Executable()
	if err != nil {
		return nil, &sandbox.Error{Op: "mpc demo", Kind: sandbox.Unavailable, Object: "program", Err: err}
	}
	role := demoRoles[i]
	c := exec.CommandContext(ctx, program)
	c.Args = []string{"opdomain", "mpc", "party", "run", "--keys", d.path(role), "--passphrase-file", d.path("passphrase"), "--plan", d.path("plan.json"), "--question", d.path("question.json"),
		"--party", role, "--approval", d.path(role + ".approval.json"), "--listen", "fd:3", "--joined", d.path(role + ".joined"), "--out", d.path(role + ".result.json"),
		"--certificate", d.path(role + ".certificate.json")}
	for _, addr := range addrs {
		c.Args = append(c.Args, "--address", addr)
	}
	if _, _, owns := q.Table(i); owns {
		c.Args = append(c.Args, "--table", d.path(role+".csv"), "--subject-key", d.path("subject.key"),
			"--ledger", d.path(role+".ledger"), "--ledger-key", d.path(role+".ledger.key"))
	}
	c.ExtraFiles, c.Stderr, c.WaitDelay = []*os.File{listener}, said, 10*time.Second
	c.Cancel = func() error { return c.Process.Signal(os.Interrupt) }
	return c, nil
}

// play runs the three processes and reads what each wrote.
func (d *demoRun) play(ctx context.Context) (*mpcSummary, error) {
	q, err := d.prepare()
	if err != nil {
		return nil, err
	}
	files, addrs, err := d.listeners()
	defer func() {
		for _, f := range files {
			_ = f.Close()
		}
	}()
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	start := d.a.steady()
	errs := make([]error, len(demoRoles))
	var wg sync.WaitGroup
	for i, role := range demoRoles {
		wg.Go(func() {
			var said bytes.Buffer
			c, err := d.party(ctx, q, i, addrs, files[i], &said)
			if err == nil {
				if err = c.Run(); err != nil {
					err = &sandbox.Error{Op: "mpc demo", Kind: sandbox.Unavailable, Object: role, Detail: "the party's process ended: " + string(bytes.TrimSpace(said.Bytes())), Err: err}
				}
			}
			if errs[i] = err; err != nil {
				cancel() // the others would wait for the deadline
			}
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return nil, err
	}
	return d.read(q, d.a.steady()-start)
}

// read compares the parties' files with each other and with the plain computation, and gives the gate what opened.
func (d *demoRun) read(q join.Question, took time.Duration) (*mpcSummary, error) {
	s := &mpcSummary{Seconds: took.Seconds()}
	var cells []join.Cell
	for i, role := range demoRoles {
		b, err := os.ReadFile(d.path(role + ".result.json"))
		if err != nil {
			return nil, err
		}
		var out agent.Output
		if err := json.Unmarshal(b, &out); err != nil {
			return nil, err
		}
		if i == 0 {
			s.Job, s.Model, s.Collusion, s.Leakage, s.Rounds = out.Job, out.Model, out.Collusion, out.Leakage, out.Rounds
			for _, l := range out.Learns {
				s.Learns = append(s.Learns, partyLearns{sandbox.PartyID(demoRoles[l.Place]), l.What})
			}
		}
		if role == demoGate {
			cells = out.Cells
		} else if out.Cells != nil {
			return nil, &sandbox.Error{Op: "mpc demo", Kind: sandbox.Tampered, Object: role, Detail: "the outputs open to the gate's party alone"}
		}
		s.Sent = append(s.Sent, out.Sent)
	}
	plain, err := agent.PlainJoin(q, d.path("bank.csv"), d.path("bureau.csv"), d.path("subject.key"))
	if err != nil {
		return nil, err
	}
	if s.Plain = reflect.DeepEqual(cells, plain); !s.Plain {
		return nil, &sandbox.Error{Op: "mpc demo", Kind: sandbox.Tampered, Object: string(s.Job), Detail: "the outputs equal the plain computation"}
	}
	b, err := os.ReadFile(d.path("custodian.certificate.json"))
	if err != nil {
		return nil, err
	}
	var c mpc.Certificate
	if err := json.Unmarshal(b, &c); err != nil {
		return nil, err
	}
	if err := c.Verify(d.a.now()); err != nil {
		return nil, err
	}
	s.Verified, s.Session = true, c.Session
	return s, d.gate(q, cells, s)
}

// gate gives what opened the form in which an answer leaves.
func (d *demoRun) gate(q join.Question, cells []join.Cell, s *mpcSummary) error {
	a := egress.SharedAnswer{Dimensions: []string{"trade", "support"}, Rules: demoRules, Inputs: []sandbox.InputVersion{{Dataset: "loans", Version: 1}, {Dataset: "subsidies", Version: 1}},
		Measures: []sandbox.Measure{{Name: "people", Func: sandbox.Subjects}, {Name: "loans", Func: sandbox.Count}, {Name: "repaid", Func: sandbox.Sum, Unit: "元", Scale: 2},
			{Name: "defaulted", Func: sandbox.Sum}, {Name: "support", Func: sandbox.Sum, Unit: "元", Scale: 2}}, Bounds: q.Bounds(),
		Evidence: map[string]string{"session": s.Session, "collusion": s.Collusion}}
	for c, x := range cells {
		cell := egress.SharedCell{Labels: []string{x.Left, x.Right}, Shown: x.Shown}
		if x.Shown {
			cell.Values, cell.None = append([]int64{x.People}, x.Values...), append([]bool{false}, q.None(c)...)
		}
		a.Cells = append(a.Cells, cell)
	}
	slices.SortFunc(a.Cells, func(x, y egress.SharedCell) int { return slices.Compare(x.Labels, y.Labels) })
	checked, err := egress.CheckShared(sandbox.QuestionID(s.Job), a, demoRules)
	if err != nil {
		return err
	}
	r, err := egress.DecodeResult(checked.Result)
	if err != nil {
		return err
	}
	s.Result, s.Digest, s.Suppressed, s.Flags, s.rows = checked.Result, hex.EncodeToString(egress.Digest(checked.Result)), checked.Suppressed, checked.Flags, r.Rows
	with := map[string]int64{}
	for _, row := range slices.Backward(r.Rows) { // "unsubsidised" stands behind "subsidised"
		if row.Suppressed {
			continue
		}
		rate := permille(*row.Values[3], *row.Values[0])
		if row.Labels[1] == demoWithout {
			with[row.Labels[0]] = rate
		} else if without, ok := with[row.Labels[0]]; ok {
			s.Uplift = append(s.Uplift, demoUplift{row.Labels[0], without, rate, rate - without})
		}
	}
	slices.Reverse(s.Uplift)
	return d.write("released.json", checked.Result)
}
