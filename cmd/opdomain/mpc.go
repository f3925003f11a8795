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
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agent"
	"github.com/opdomain/opdomain/mpc/agg"
	shares "github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
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
	demo := verb("demo", "Two owners and a custodian compute totals by group, each a process of its own (多方计算演示)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return a.mpcDemo(c.Context(), o)
	})
	demo.Long = demo.Short + `.

A bureau has a table of subsidies, a bank one of loans; many people are in both. Three processes on loopback, of the agency, the operator and a
custodian, compute the support by trade over both tables: nobody sees a row of another. A trade with few people, or with one who dominates, does
not open: the rules are decided over shares. The result is compared with the plain computation of the generated tables.`
	demo.Flags().IntVar(&o.people, "people", 300, "people of the generated tables, 50 to 900")
	demo.Flags().Uint64Var(&o.seed, "seed", 1, "seed of the generated tables")
	demo.Flags().StringVar(&o.keep, "keep", "", "leave plan, question, tables, results and certificate in this new folder")
	return group("mpc", "Compute with others over shares (多方安全计算)", demo, party)
}

// mpcDemo are the flags of the demonstration.
type mpcDemo struct {
	people int
	seed   uint64
	keep   string
}

// mpcSummary is what the demonstration ends with.
type mpcSummary struct {
	Job       sandbox.RunID    `json:"job"`
	Model     shares.Adversary `json:"model"`
	Collusion string           `json:"collusion"`
	Groups    []agg.Group      `json:"groups"`
	Sent      []int64          `json:"sent_bytes"` // by party
	Rounds    int              `json:"rounds"`
	Seconds   float64          `json:"seconds"`
	Plain     bool             `json:"equals_plain"`
	Verified  bool             `json:"certificate_verified"`
	Folder    string           `json:"folder,omitempty"`
}

var demoTrades = []string{"catering", "farming", "retail", "transport", "quarrying"}

// demoTable writes an owner's generated table.
func demoTable(path string, people int, seed, owner uint64) error {
	var b bytes.Buffer
	w := csv.NewWriter(&b)
	_ = w.Write([]string{"group", "subject", "amount"})
	next := seed*2 + owner + 1
	draw := func(n uint64) uint64 { // splitmix64: a table of a seed is the same everywhere
		next += 0x9e3779b97f4a7c15
		z := next
		z = (z ^ z>>30) * 0xbf58476d1ce4e5b9
		z = (z ^ z>>27) * 0x94d049bb133111eb
		return (z ^ z>>31) % n
	}
	for p := range people {
		if draw(10) < 3 {
			continue // not in this owner's table
		}
		trade := demoTrades[p%4]
		amount := 1000_00 + draw(20_000_00)
		if p%4 == 3 && p == 3 {
			amount = 900_000_000_00 // one who dominates transport
		}
		if p == 8 || p == 12 {
			trade = demoTrades[4] // two people alone in quarrying
		}
		_ = w.Write([]string{trade, fmt.Sprintf("demo-person-%05d", p), strconv.FormatUint(amount, 10)})
	}
	w.Flush()
	return os.WriteFile(path, b.Bytes(), 0o600)
}

func (a *app) mpcDemo(ctx context.Context, o mpcDemo) error {
	if o.people < 50 || o.people > 900 {
		return &sandbox.Error{Op: "mpc demo", Kind: sandbox.Invalid, Object: "--people", Detail: "50 to 900"}
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
	return a.show(s, func(w io.Writer) {
		fmt.Fprintf(w, "Three processes, %.1f s, %d rounds, bytes sent %d, %d, %d.\n\n", s.Seconds, s.Rounds, s.Sent[0], s.Sent[1], s.Sent[2])
		for _, g := range s.Groups {
			if !g.Shown {
				fmt.Fprintf(w, "%-12s not shown 不予展示\n", g.Label)
				continue
			}
			mean := (g.Sum + g.Rows/2) / g.Rows
			fmt.Fprintf(w, "%-12s %4d people  %4d rows  sum %d.%02d yuan  mean %d.%02d yuan\n", g.Label, g.People, g.Rows, g.Sum/100, g.Sum%100, mean/100, mean%100)
		}
		fmt.Fprintf(w, "\n%s\nEqual to the plain computation: %t. Certificate verified offline: %t.\nThe rules for a group's own numbers were decided over shares; secondary suppression and earlier releases are for the gate and its reviewers.\n",
			s.Collusion, s.Plain, s.Verified)
		if s.Folder != "" {
			fmt.Fprintf(w, "Left in %s: plan, question, tables, results, certificate.\n", s.Folder)
		}
	})
}

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

var demoRoles = []string{"agency", "operator", "custodian"}

// prepare makes keys, tables, question, plan and approvals.
func (d *demoRun) prepare() (agg.Question, error) {
	size, err := mpc.Bucket(d.people)
	if err != nil {
		return agg.Question{}, err
	}
	q := agg.Question{Groups: demoTrades, Owners: []int{0, 1}, Rows: []int{size, size}, Rules: agg.Rules{MinSubjects: 10, MaxShare: 50, P: 10}}
	secret := make([]byte, 64)
	if _, err := io.ReadFull(d.a.rand, secret); err != nil {
		return q, err
	}
	phrase := hex.EncodeToString(secret[:32])
	p := mpc.Plan{Version: 1, Job: "mpc-demo", Question: q.Digest(), Adversary: shares.MaliciousAbort, Generator: shares.AESGenerator, Operators: agg.Operators(),
		Expires: d.a.now().Add(time.Hour).UTC().Truncate(time.Second), Seconds: d.limit}
	for _, out := range []string{agg.OutShown, agg.OutPeople, agg.OutRows, agg.OutSum} {
		p.Outputs = append(p.Outputs, mpc.Output{Name: out, Rows: len(q.Groups)})
	}
	if err := errors.Join(d.write("passphrase", []byte(phrase)), d.write("subject.key", []byte(hex.EncodeToString(secret[32:]))), d.write("question.json", q.Encode()),
		demoTable(d.path("agency.csv"), d.people, d.seed, 0), demoTable(d.path("operator.csv"), d.people, d.seed, 1)); err != nil {
		return q, err
	}
	var owners []*keys.File
	for i, role := range demoRoles {
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
		if i < len(q.Owners) {
			p.Inputs = append(p.Inputs, mpc.Input{Name: role + "-table", Party: sandbox.PartyID(role), Rows: size})
		}
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
func (d *demoRun) party(ctx context.Context, q agg.Question, i int, addrs []string, listener *os.File, said io.Writer) (*exec.Cmd, error) {
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
	if i < len(q.Owners) {
		c.Args = append(c.Args, "--table", d.path(role+".csv"), "--subject-key", d.path("subject.key"))
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

// read compares the parties' files with each other and with the plain computation.
func (d *demoRun) read(q agg.Question, took time.Duration) (*mpcSummary, error) {
	s := &mpcSummary{Seconds: took.Seconds()}
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
			s.Job, s.Model, s.Collusion, s.Groups, s.Rounds = out.Job, out.Model, out.Collusion, out.Groups, out.Rounds
		} else if !equalGroups(s.Groups, out.Groups) {
			return nil, &sandbox.Error{Op: "mpc demo", Kind: sandbox.Tampered, Object: role, Detail: "all parties have the same outputs"}
		}
		s.Sent = append(s.Sent, out.Sent)
	}
	plain, err := agent.Plain(q, []string{d.path("agency.csv"), d.path("operator.csv")}, d.path("subject.key"))
	if err != nil {
		return nil, err
	}
	if s.Plain = equalGroups(s.Groups, plain); !s.Plain {
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
	s.Verified = true
	return s, nil
}

func equalGroups(a, b []agg.Group) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
