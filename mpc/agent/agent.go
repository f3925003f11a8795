package agent

import (
	"bytes"
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/mpc/psi/session"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/sandbox"
)

// Agent (参与方代理) is the program with what it needs of its surroundings.
type Agent struct {
	Out, Err io.Writer
	Rand     io.Reader
	Now      func() time.Time
	Clock    func() time.Time // of deadlines; nil: Now
}

// Output (结果文件) is what run writes.
type Output struct {
	Job       sandbox.RunID   `json:"job"`
	Model     share.Adversary `json:"model"`
	Collusion string          `json:"collusion"`
	Leakage   []share.Leakage `json:"leakage"`
	Recipient sandbox.PartyID `json:"recipient,omitempty"` // who has the outputs, where this party has not
	Groups    []agg.Group     `json:"groups,omitempty"`    // of a question by group
	Measures  []join.Measure  `json:"measures,omitempty"`  // of a join
	Cells     []join.Cell     `json:"cells,omitempty"`     // likewise
	Learns    []join.Learnt   `json:"learns,omitempty"`    // what each party learnt beside the operators' leakage

	Columns []sandbox.Measure `json:"columns,omitempty"` // of an inquiry: what each cell holds
	Answer  []agg.Cell        `json:"answer,omitempty"`  // likewise
	Tells   []string          `json:"tells,omitempty"`   // likewise what all parties learnt

	Sent     int64 `json:"sent_bytes"`
	Received int64 `json:"received_bytes"`
	Rounds   int   `json:"rounds"`
}

const usage = `usage:
  opdomain-party key --keys DIR --passphrase-file F
  opdomain-party plan --draft F --question F --out DIR
  opdomain-party approve --keys DIR --passphrase-file F --plan F --question F --party ID --days N --out F
  opdomain-party run --keys DIR --passphrase-file F --plan F --question F --party ID --approval F --listen ADDR --address A --address B --address C
      --joined DIR --out F --certificate F [--table F --subject-key F]
      where the question names datasets and versions: --table DATASET@VERSION=FILE, which is refused where it is another than the question's
      of an owner of a table of a join or of rows of an inquiry, who compares them with earlier ones: --ledger DIR --ledger-key F [--quota JOBS]
      of an inquiry instead of --table: --source DATASET=FILE or DATASET=vault:DIR … [--vault-keys DIR --vault-passphrase-file F]
          DATASET@VERSION=FILE where it names a version
      and where a unit pushed shares of its rows: --pushed F
  opdomain-party card --keys DIR --passphrase-file F --party ID --out F
  opdomain-party push --keys DIR --passphrase-file F --plan F --question F --source DATASET=FILE --subject-key F --card F --card F --card F --out DIR --digest HEX
      DATASET@VERSION=FILE where the question names a version; --ledger DIR --ledger-key F [--quota JOBS]: the unit's own, which compares the rows with those of earlier pushes
      without --digest it says what is pushed and to what end, with the digest to name
  opdomain-party explain --question F
  opdomain-party verify --certificate F --at TIME
  opdomain-party doctor --keys DIR --passphrase-file F [--joined DIR] [--ledger DIR --ledger-key F]
      what this machine lacks, whether keys open, whether a ledger (of joins, psi or lookups) is whole and under its key
  opdomain-party psi plan, approve, run, audit, list, secret, certify        set intersection of two parties: psi --help
  opdomain-party lookup plan, approve, serve, ask        single lookups in another's set: lookup --help

exit status: 0 done, 1 failed or aborted, 2 wrong usage, 3 refused before a link was made
`

// flags are all flags of all verbs.
type flags struct {
	keys, passphrase, draft, question, plan, party, approval, listen, joined, out, certificate, table, subjectKey, at, ledger, ledgerKey, pushed, digest string
	vaultKeys, vaultPassphrase                                                                                                                           string
	sources                                                                                                                                              list
	addresses, cards                                                                                                                                     list
	days, quota                                                                                                                                          int
}

type list []string

func (l *list) String() string     { return strings.Join(*l, ",") }
func (l *list) Set(s string) error { *l = append(*l, s); return nil }

var errUsage = errors.New("wrong usage")

// Main runs one verb and gives the exit status.
func (a *Agent) Main(ctx context.Context, args []string) int {
	verbs := map[string]struct {
		run  func(context.Context, *flags) error
		need []string
	}{
		"key":     {a.key, []string{"keys", "passphrase-file"}},
		"plan":    {a.plan, []string{"draft", "question", "out"}},
		"approve": {a.approve, []string{"keys", "passphrase-file", "plan", "question", "party", "days", "out"}},
		"run":     {a.run, []string{"keys", "passphrase-file", "plan", "question", "party", "approval", "listen", "address", "joined", "out", "certificate"}},
		"verify":  {a.verify, []string{"certificate", "at"}},
		"explain": {a.explain, []string{"question"}},
		"card":    {a.card, []string{"keys", "passphrase-file", "party", "out"}},
		"doctor":  {a.doctor, []string{"keys", "passphrase-file"}},
		"push":    {a.push, []string{"keys", "passphrase-file", "plan", "question", "source", "subject-key", "card", "out"}},
	}
	if len(args) > 0 && (args[0] == "--help" || args[0] == "help" || args[0] == "-h") {
		fmt.Fprint(a.Out, usage)
		return 0
	}
	verb := ""
	if len(args) > 0 {
		verb = args[0]
	}
	if verb == "psi" || verb == "lookup" {
		return a.pair(ctx, verb, args[1:])
	}
	v, ok := verbs[verb]
	if !ok {
		return a.end(&sandbox.Error{Op: "party", Kind: sandbox.Invalid, Object: "verb", Detail: "key, plan, approve, run, verify, explain, card, push, doctor, psi or lookup", Hint: "opdomain-party --help", Err: errUsage})
	}
	var f flags
	set := flag.NewFlagSet("opdomain-party "+verb, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	for name, at := range map[string]*string{"keys": &f.keys, "passphrase-file": &f.passphrase, "draft": &f.draft, "question": &f.question, "plan": &f.plan, "party": &f.party,
		"approval": &f.approval, "listen": &f.listen, "joined": &f.joined, "out": &f.out, "certificate": &f.certificate, "table": &f.table, "subject-key": &f.subjectKey, "at": &f.at,
		"ledger": &f.ledger, "ledger-key": &f.ledgerKey, "vault-keys": &f.vaultKeys, "vault-passphrase-file": &f.vaultPassphrase, "pushed": &f.pushed, "digest": &f.digest} {
		set.StringVar(at, name, "", "")
	}
	set.Var(&f.addresses, "address", "")
	set.Var(&f.sources, "source", "")
	set.Var(&f.cards, "card", "")
	set.IntVar(&f.days, "days", 0, "")
	set.IntVar(&f.quota, "quota", 0, "")
	if err := set.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(a.Out, usage)
			return 0
		}
		return a.end(&sandbox.Error{Op: "party " + verb, Kind: sandbox.Invalid, Object: "flags", Detail: err.Error(), Hint: "opdomain-party --help", Err: errUsage})
	}
	given := map[string]bool{}
	set.Visit(func(x *flag.Flag) { given[x.Name] = true })
	for _, n := range v.need {
		if !given[n] || set.NArg() > 0 {
			return a.end(&sandbox.Error{Op: "party " + verb, Kind: sandbox.Invalid, Object: "--" + n, Detail: "the flag is required, and nothing stands behind flags", Hint: "opdomain-party --help", Err: errUsage})
		}
	}
	return a.end(v.run(ctx, &f))
}

// end prints an error with its hint and gives the status.
func (a *Agent) end(err error) int {
	if err == nil {
		return 0
	}
	text := err.Error()
	if errors.Is(err, errUsage) {
		text = strings.TrimSuffix(text, ": "+errUsage.Error())
	}
	fmt.Fprintln(a.Err, "error:", text)
	if e := (*sandbox.Error)(nil); errors.As(err, &e) && e.Hint != "" {
		fmt.Fprintln(a.Err, "hint:", e.Hint)
	}
	switch {
	case errors.Is(err, errUsage):
		return 2
	case errors.Is(err, sandbox.Denied):
		return 3
	}
	return 1
}

func (a *Agent) open(f *flags) (*keys.Vault, error) {
	p, err := private(f.passphrase, keyFile)
	if err != nil {
		return nil, err
	}
	return keys.Open(f.keys, []byte(strings.TrimRight(string(p), "\r\n")), a.Rand)
}

func (a *Agent) key(_ context.Context, f *flags) error {
	p, err := private(f.passphrase, keyFile)
	if err != nil {
		return err
	}
	phrase := strings.TrimRight(string(p), "\r\n")
	if len(phrase) < 12 {
		return &sandbox.Error{Op: "party key", Kind: sandbox.Invalid, Object: f.passphrase, Detail: "a new passphrase has 12 bytes or more"}
	}
	v, err := keys.Create(f.keys, []byte(phrase), keys.Interactive(), a.Rand)
	if err != nil {
		return err
	}
	defer v.Close()
	fmt.Fprintln(a.Out, hex.EncodeToString(v.SigningKey().Public().Bytes()))
	return nil
}

func readFile(path string) ([]byte, error) {
	info, err := os.Stat(path)
	if err != nil || !info.Mode().IsRegular() {
		return nil, &sandbox.Error{Op: "party", Kind: sandbox.NotFound, Object: path, Detail: "the file cannot be read"}
	}
	if info.Size() > 1<<20 {
		return nil, &sandbox.Error{Op: "party", Kind: sandbox.TooLarge, Object: path, Detail: "at most 1 MiB"}
	}
	return os.ReadFile(path)
}

// create writes a new file and never over one.
func create(path string, b []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return &sandbox.Error{Op: "party", Kind: sandbox.Conflict, Object: path, Detail: "a new file in a folder that you may write to"}
	}
	_, err = f.Write(b)
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return &sandbox.Error{Op: "party", Kind: sandbox.Unavailable, Object: path, Err: err}
	}
	return nil
}

func (a *Agent) plan(_ context.Context, f *flags) error {
	text, err := readFile(f.question)
	if err != nil {
		return err
	}
	q, err := draftJob(text, f.question)
	if err != nil {
		return err
	}
	if text, err = readFile(f.draft); err != nil {
		return err
	}
	var p mpc.Plan
	if err := json.Unmarshal(text, &p); err != nil {
		return &sandbox.Error{Op: "party plan", Kind: sandbox.Invalid, Object: f.draft, Detail: "a plan in JSON"}
	}
	if p.Question == "" {
		p.Question = q.digest()
	}
	if err := fits(p, q); err != nil {
		return err
	}
	if err := create(f.out+"/plan.json", p.Encode()); err != nil {
		return err
	}
	if err := create(f.out+"/question.json", q.encode()); err != nil {
		return err
	}
	d := p.Digest()
	fmt.Fprintln(a.Out, hex.EncodeToString(d[:]))
	fmt.Fprintln(a.Out, p.Collusion())
	return nil
}

// fits says whether a plan is one for the question.
func fits(p mpc.Plan, q *job) error {
	if err := p.Check(); err != nil {
		return err
	}
	bad := func(rule string) error {
		return &sandbox.Error{Op: "party plan", Kind: sandbox.Invalid, Object: string(p.Job), Detail: rule}
	}
	if p.Question != q.digest() {
		return bad("the plan names the question's digest")
	}
	if q.line != nil {
		if p.Adversary != q.inquiry.Setting.Adversary {
			return bad("plan and question name one adversary model")
		}
		for _, op := range q.line.Operators() {
			if !slices.Contains(p.Operators, op) {
				return bad("the plan lists the operators of the question, as explain does; " + strings.ReplaceAll(string(op), " ", "-") + " is missing")
			}
		}
	}
	want := q.outputs()
	var names []string
	for name := range want {
		names = append(names, name)
	}
	slices.Sort(names)
	rule := "the outputs are " + strings.Join(names, ", ") + ", with the rows that the question gives them"
	for _, o := range p.Outputs {
		if want[o.Name] != o.Rows {
			return bad(rule)
		}
		delete(want, o.Name)
	}
	places, rows := q.owners()
	if len(want) > 0 || len(p.Inputs) != len(places) {
		return bad(rule + "; the inputs are the owners' tables")
	}
	for i, o := range places {
		if p.Inputs[i].Party != p.Parties[o].ID || p.Inputs[i].Rows != rows[i] {
			return bad("an input for each owner of the question, in its order and at its size")
		}
	}
	return nil
}

func (a *Agent) approve(_ context.Context, f *flags) error {
	text, err := readFile(f.plan)
	if err != nil {
		return err
	}
	p, err := mpc.ParsePlan(text)
	if err != nil {
		return err
	}
	if f.days < 1 || f.days > 366 {
		return &sandbox.Error{Op: "party approve", Kind: sandbox.Invalid, Object: "--days", Detail: "1 to 366"}
	}
	if text, err = readFile(f.question); err != nil {
		return err
	}
	words, err := Words(p, text, sandbox.PartyID(f.party))
	if err != nil {
		return err
	}
	fmt.Fprint(a.Out, words) // before anything is signed
	v, err := a.open(f)
	if err != nil {
		return err
	}
	defer v.Close()
	s, err := mpc.Approve(a.Rand, v.SigningKey(), p, sandbox.PartyID(f.party), a.Now(), a.Now().AddDate(0, 0, f.days))
	if err != nil {
		return err
	}
	out, err := json.Marshal(s)
	if err != nil {
		return err
	}
	if err := create(f.out, out); err != nil {
		return err
	}
	fmt.Fprintln(a.Out, "\napproved 已批准:", f.out)
	return nil
}

// listen opens the party's listener; fd:N takes over one that the starting process opened.
func listen(addr string) (*wire.TCP, error) {
	n, ok := strings.CutPrefix(addr, "fd:")
	if !ok {
		return wire.ListenTCP(addr)
	}
	fd, err := strconv.Atoi(n)
	if err != nil || fd < 3 {
		return nil, &sandbox.Error{Op: "party run", Kind: sandbox.Invalid, Object: "--listen", Detail: "host:port, or fd:N from 3"}
	}
	file := os.NewFile(uintptr(fd), "listener")
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, &sandbox.Error{Op: "party run", Kind: sandbox.Unavailable, Object: "--listen", Err: err}
	}
	t, ok := l.(*net.TCPListener)
	if !ok {
		return nil, &sandbox.Error{Op: "party run", Kind: sandbox.Invalid, Object: "--listen", Detail: "a TCP listener"}
	}
	return wire.NewTCP(t), nil
}

// readPlanned reads a plan and the question that it is for, as text too.
func readPlanned(f *flags) (p mpc.Plan, question []byte, q *job, err error) {
	text, err := readFile(f.plan)
	if err != nil {
		return p, nil, nil, err
	}
	if p, err = mpc.ParsePlan(text); err != nil {
		return p, nil, nil, err
	}
	if question, err = readFile(f.question); err != nil {
		return p, nil, nil, err
	}
	if q, err = parseJob(question); err != nil {
		return p, nil, nil, err
	}
	return p, question, q, fits(p, q)
}

func (a *Agent) run(ctx context.Context, f *flags) error {
	p, _, q, err := readPlanned(f)
	if err != nil {
		return err
	}
	if err := q.keeps(f, p); err != nil {
		return err
	}
	if len(f.addresses) != mpc.Parties {
		return &sandbox.Error{Op: "party run", Kind: sandbox.Invalid, Object: "--address", Detail: "one for each party, in the plan's order", Err: errUsage}
	}
	text, err := readFile(f.approval)
	if err != nil {
		return err
	}
	var s attest.Statement
	if json.Unmarshal(text, &s) != nil {
		return &sandbox.Error{Op: "party run", Kind: sandbox.Invalid, Object: f.approval, Detail: "an approval in JSON"}
	}
	// Refused before the own table or key is opened.
	if d, _ := mpc.Decide(p, sandbox.PartyID(f.party), []attest.Statement{s}, a.Now()); !d.Allow {
		return &sandbox.Error{Op: "party run", Kind: sandbox.Denied, Object: string(p.Job), Detail: d.Reasons[0].Rule, Hint: d.Reasons[0].Change}
	}
	places, _ := q.owners()
	for i, o := range places {
		if string(p.Parties[o].ID) != f.party {
			continue
		}
		if q.line != nil {
			if slices.Contains(places[:i], o) {
				continue // all of its datasets were read together
			}
			if len(f.sources) == 0 || f.subjectKey == "" {
				return &sandbox.Error{Op: "party run", Kind: sandbox.Invalid, Object: "--source", Detail: "an owner of rows brings its tables and the owners' key", Err: errUsage}
			}
			if err := a.sources(ctx, f, q, o, p); err != nil {
				return err
			}
			continue
		}
		if f.table == "" || f.subjectKey == "" {
			return &sandbox.Error{Op: "party run", Kind: sandbox.Invalid, Object: "--table", Detail: "an owner of rows brings its table and the owners' key", Err: errUsage}
		}
		if f.table, err = q.tableFile(f.table, o, p); err != nil {
			return err
		}
		k, err := readHex(f.subjectKey)
		if err != nil {
			return err
		}
		if err := q.read(o, f.table, k, p); err != nil {
			return err
		}
	}
	v, err := a.open(f)
	if err != nil {
		return err
	}
	defer v.Close()
	if err := a.adopt(f, q, p, v.DecryptKey()); err != nil {
		return err
	}
	for _, path := range []string{f.out, f.certificate} {
		if _, err := os.Lstat(path); err == nil {
			return &sandbox.Error{Op: "party run", Kind: sandbox.Conflict, Object: path, Detail: "it exists", Hint: "name a new file"}
		}
	}
	joined, err := mpc.OpenJoined(f.joined)
	if err != nil {
		return err
	}
	tcp, err := listen(f.listen)
	if err != nil {
		return err
	}
	defer tcp.Close()
	tcp.Reach(f.addresses)
	for _, o := range places {
		if string(p.Parties[o].ID) == f.party { // last, so that nothing else refuses what it let pass
			if err := q.admit(f, p, o, a.Now()); err != nil {
				return err
			}
		}
	}
	return a.compute(ctx, f, p, q, s, v.SigningKey(), joined, tcp)
}

func (a *Agent) compute(ctx context.Context, f *flags, p mpc.Plan, q *job, s attest.Statement, key *sm.SigningKey, once mpc.Once, t wire.Transport) error {
	session, err := mpc.Join(ctx, mpc.Config{Plan: p, Self: sandbox.PartyID(f.party), Key: key, Approvals: []attest.Statement{s}, Transport: t, Once: once, Rand: a.Rand, Now: a.Now, Clock: a.Clock})
	if err != nil {
		return err
	}
	defer session.Close()
	columns, err := q.run(session.Engine(), session.Place())
	if err != nil {
		return err
	}
	res, err := session.Reveal(columns)
	if err != nil {
		return err
	}
	c := session.Counters()
	o := Output{Job: p.Job, Model: res.Adversary, Collusion: res.Collusion, Leakage: res.Leakage, Sent: c.Sent, Received: c.Received, Rounds: session.Engine().Rounds()}
	groups, err := q.result(&o, p, res.Outputs)
	if err != nil {
		return err
	}
	out, err := json.MarshalIndent(o, "", "  ")
	if err != nil {
		return err
	}
	cert, err := json.Marshal(res.Certificate)
	if err != nil {
		return err
	}
	if err := create(f.certificate, cert); err != nil {
		return err
	}
	if err := create(f.out, append(out, '\n')); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s: done: %d groups, %d bytes sent, %d rounds\n%s\n", p.Job, groups, c.Sent, session.Engine().Rounds(), res.Collusion)
	return nil
}

func (a *Agent) verify(_ context.Context, f *flags) error {
	at, err := time.Parse(time.RFC3339, f.at)
	if err != nil {
		return &sandbox.Error{Op: "party verify", Kind: sandbox.Invalid, Object: "--at", Detail: "a time as 2006-01-02T15:04:05Z", Err: errUsage}
	}
	text, err := readFile(f.certificate)
	if err != nil {
		return err
	}
	if bytes.HasPrefix(text, []byte(`{"kind":"`+session.KindCertificate+`"`)) {
		c, err := a.psiVerify(f.certificate, at)
		if err != nil {
			return err
		}
		fmt.Fprintf(a.Out, "accepted: job %s, session %s, between %s and %s\n", c.Plan.Job.Run, c.Session, c.Plan.Parties[0].ID, c.Plan.Parties[1].ID)
		return nil
	}
	var c mpc.Certificate
	if json.Unmarshal(text, &c) != nil {
		return &sandbox.Error{Op: "party verify", Kind: sandbox.Tampered, Object: f.certificate, Detail: "a certificate in JSON"}
	}
	if err := c.Verify(at); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "accepted: job %s, session %s\n%s\n", c.Plan.Job, c.Session, c.Plan.Collusion())
	return nil
}
