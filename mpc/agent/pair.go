package agent

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/mpc/psi/session"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/sandbox"
)

// pairUsage is what psi and lookup print for help.
const pairUsage = `usage, set intersection of two parties (隐私求交):
  opdomain-party psi plan --draft F [--out F]        check a draft, print its digest and what each side learns
  opdomain-party psi approve --keys DIR --passphrase-file F --plan F --party ID --digest HEX --days N --out F        the owner's, after reading plan's text
  opdomain-party psi run --keys DIR --passphrase-file F --plan F --party ID --approval F --listen ADDR [--from HOST] (the receiver) or --address ADDR (the sender)
      --table F or --source DATASET=vault:DIR [--vault-keys DIR --vault-passphrase-file F]  --column NAME [--group NAME]
      --secret F --joined DIR --ledger DIR --ledger-key F [--quota JOBS] [--quota-elements N]
      --out F [--members F] --certificate F [--set-certificate F] [--memory MIB --spill DIR]
      of the sender of sums by group: [--gate F --dataset ID] leaves them as opdomain egress check --in F takes them
  opdomain-party psi audit --certificate F --at TIME --party ID --secret F --table F --column NAME [--group NAME]        afterwards, with the opened set and secret
of a set that is on an agency's signed list (名单授权):
  opdomain-party psi list --keys DIR --passphrase-file F --agency ID --name NAME --until TIME --table F --column NAME --list-key F --out F
  opdomain-party psi secret --out F
  opdomain-party psi certify --keys DIR --passphrase-file F --plan F --party ID --list F --list-table F --list-column NAME --list-key F
      --secret F --table F --column NAME [--group NAME] --out F
single lookups (不经意单条查询):
  opdomain-party lookup plan, lookup approve        as for psi
  opdomain-party lookup serve --keys DIR --passphrase-file F --plan F --party ID --approval F --listen ADDR [--from HOST] --table F --column NAME --ledger DIR --ledger-key F
  opdomain-party lookup ask --keys DIR --passphrase-file F --plan F --party ID --approval F --address ADDR --elements F --out F
a certificate of psi is checked by: opdomain-party verify --certificate F --at TIME

--from is the host that the other side calls from: its calls have places of their own, which strangers who call do not take.
A key of a ledger or a list is a file of 64 hex digits that nobody else may read. Exit status: 0 done, 1 failed or aborted, 2 wrong usage, 3 refused.
`

// pairFlags are all flags of psi and lookup.
type pairFlags struct {
	keys, passphrase, draft, plan, party, digest, approval, listen, from, address, joined, out, members, certificate, setCertificate, at string
	table, source, column, group, vaultKeys, vaultPassphrase, secret, ledger, ledgerKey, spill                                           string
	gate, dataset, agency, name, until, list, listTable, listColumn, listKey, elements                                                   string
	days, quota, memory                                                                                                                  int
	quotaElements                                                                                                                        int64
}

func (f *pairFlags) set(s *flag.FlagSet) {
	for name, at := range map[string]*string{"keys": &f.keys, "passphrase-file": &f.passphrase, "draft": &f.draft, "plan": &f.plan, "party": &f.party, "digest": &f.digest,
		"approval": &f.approval, "listen": &f.listen, "from": &f.from, "address": &f.address, "joined": &f.joined, "out": &f.out, "members": &f.members, "certificate": &f.certificate,
		"set-certificate": &f.setCertificate, "at": &f.at, "table": &f.table, "source": &f.source, "column": &f.column, "group": &f.group, "vault-keys": &f.vaultKeys,
		"vault-passphrase-file": &f.vaultPassphrase, "secret": &f.secret, "ledger": &f.ledger, "ledger-key": &f.ledgerKey, "spill": &f.spill, "gate": &f.gate, "dataset": &f.dataset, "agency": &f.agency, "name": &f.name,
		"until": &f.until, "list": &f.list, "list-table": &f.listTable, "list-column": &f.listColumn, "list-key": &f.listKey, "elements": &f.elements} {
		s.StringVar(at, name, "", "")
	}
	s.IntVar(&f.days, "days", 0, "")
	s.IntVar(&f.quota, "quota", defaultJobs, "")
	s.IntVar(&f.memory, "memory", 0, "")
	s.Int64Var(&f.quotaElements, "quota-elements", defaultElements, "")
}

// verb is one of a group of verbs: what it runs, the flags it needs and those it may have.
type verb struct {
	run       func(context.Context, *pairFlags) error
	need, may []string
}

var (
	ownSet = []string{"table", "source", "group", "vault-keys", "vault-passphrase-file"}
	signer = []string{"keys", "passphrase-file"}
)

// pair runs a verb of psi or lookup and gives the exit status.
func (a *Agent) pair(ctx context.Context, group string, args []string) int {
	verbs := map[string]verb{
		"plan":    {a.pairPlan, []string{"draft"}, []string{"out"}},
		"approve": {a.pairApprove, append([]string{"plan", "party", "digest", "days", "out"}, signer...), nil},
	}
	said := "plan, approve, serve or ask"
	if group == "psi" {
		said = "plan, approve, run, audit, list, secret or certify"
		verbs["run"] = verb{a.psiRun, append([]string{"plan", "party", "approval", "column", "secret", "joined", "ledger", "ledger-key", "out", "certificate"}, signer...),
			append([]string{"listen", "from", "address", "quota", "quota-elements", "members", "set-certificate", "memory", "spill", "gate", "dataset"}, ownSet...)}
		verbs["audit"] = verb{a.psiAudit, []string{"certificate", "at", "party", "secret", "column"}, append([]string{"keys", "passphrase-file"}, ownSet...)}
		verbs["list"] = verb{a.psiList, append([]string{"agency", "name", "until", "column", "list-key", "out"}, signer...), ownSet}
		verbs["secret"] = verb{a.psiSecret, []string{"out"}, nil}
		verbs["certify"] = verb{a.psiCertify, append([]string{"plan", "party", "list", "list-table", "list-column", "list-key", "secret", "column", "out"}, signer...), ownSet}
	} else {
		verbs["serve"] = verb{a.lookupServe, append([]string{"plan", "party", "approval", "listen", "column", "ledger", "ledger-key"}, signer...), append([]string{"from"}, ownSet...)}
		verbs["ask"] = verb{a.lookupAsk, append([]string{"plan", "party", "approval", "address", "elements", "out"}, signer...), nil}
	}
	if len(args) > 0 && slices.Contains([]string{"--help", "help", "-h"}, args[0]) {
		fmt.Fprint(a.Out, pairUsage)
		return 0
	}
	hint := "opdomain-party " + group + " --help"
	usage := func(object, rule string) int {
		return a.end(&sandbox.Error{Op: "party " + group, Kind: sandbox.Invalid, Object: object, Detail: rule, Hint: hint, Err: errUsage})
	}
	name := ""
	if len(args) > 0 {
		name = args[0]
	}
	v, ok := verbs[name]
	if !ok {
		return usage("verb", said)
	}
	var f pairFlags
	set := flag.NewFlagSet("opdomain-party "+group+" "+name, flag.ContinueOnError)
	set.SetOutput(io.Discard)
	f.set(set)
	if err := set.Parse(args[1:]); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			fmt.Fprint(a.Out, pairUsage)
			return 0
		}
		return usage("flags", err.Error())
	}
	given, strange := map[string]bool{}, ""
	set.Visit(func(x *flag.Flag) {
		given[x.Name] = true
		if !slices.Contains(v.need, x.Name) && !slices.Contains(v.may, x.Name) {
			strange = x.Name
		}
	})
	if strange != "" {
		return usage("--"+strange, "a flag of this verb")
	}
	for _, n := range v.need {
		if !given[n] || set.NArg() > 0 {
			return usage("--"+n, "the flag is required, and nothing stands behind flags")
		}
	}
	return a.end(v.run(ctx, &f))
}

// pairPlan checks a draft, or shows a plan, and writes it in its one encoding.
func (a *Agent) pairPlan(_ context.Context, f *pairFlags) error {
	text, err := readFile(f.draft)
	if err != nil {
		return err
	}
	p, err := session.Draft(text)
	if err != nil {
		return err
	}
	if err := p.Check(); err != nil {
		return err
	}
	if f.out != "" {
		if err := create(f.out, p.Encode()); err != nil {
			return err
		}
	}
	for _, line := range p.Explain() {
		fmt.Fprintln(a.Out, line)
	}
	d := session.Digest(p)
	fmt.Fprintln(a.Out, "digest (约定摘要):", hex.EncodeToString(d[:]))
	return nil
}

// pairApprove signs as the owner, who names the digest that plan printed under what each side learns.
func (a *Agent) pairApprove(_ context.Context, f *pairFlags) error {
	p, err := readAgreement(f.plan)
	if err != nil {
		return err
	}
	if d := session.Digest(p); f.digest != hex.EncodeToString(d[:]) {
		return &sandbox.Error{Op: "party approve", Kind: sandbox.Denied, Object: f.plan, Detail: "the digest that the owner names is the plan's", Hint: "read what plan --draft prints of this file, and name the digest under it"}
	}
	if f.days < 1 || f.days > 366 {
		return &sandbox.Error{Op: "party approve", Kind: sandbox.Invalid, Object: "--days", Detail: "1 to 366", Err: errUsage}
	}
	for _, line := range p.Explain() { // before anything is signed
		fmt.Fprintln(a.Out, line)
	}
	v, err := a.vault(f)
	if err != nil {
		return err
	}
	defer v.Close()
	s, err := session.Approve(a.Rand, v.SigningKey(), p, sandbox.PartyID(f.party), a.Now(), a.Now().AddDate(0, 0, f.days))
	if err != nil {
		return err
	}
	out, err := json.Marshal(s)
	if err != nil {
		return err
	}
	return create(f.out, out)
}

func (a *Agent) vault(f *pairFlags) (*keys.Vault, error) {
	return a.open(&flags{keys: f.keys, passphrase: f.passphrase})
}

func readAgreement(path string) (session.Agreement, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	return session.Parse(text)
}

// agreed reads what both owners agreed on, of the wanted kind, and holds the own owner's approval to it, before anything else is opened.
func agreed[T session.Agreement](a *Agent, f *pairFlags) (p T, s attest.Statement, err error) {
	x, err := readAgreement(f.plan)
	if err != nil {
		return p, s, err
	}
	p, ok := x.(T)
	if !ok {
		return p, s, &sandbox.Error{Op: "party run", Kind: sandbox.Invalid, Object: f.plan, Detail: "a plan of the kind that the verb is for"}
	}
	text, err := readFile(f.approval)
	if err != nil {
		return p, s, err
	}
	if json.Unmarshal(text, &s) != nil {
		return p, s, &sandbox.Error{Op: "party run", Kind: sandbox.Invalid, Object: f.approval, Detail: "an approval in JSON"}
	}
	if d := session.Decide(p, sandbox.PartyID(f.party), s, a.Now()); !d.Allow {
		return p, s, &sandbox.Error{Op: "party run", Kind: sandbox.Denied, Object: f.party, Detail: d.Reasons[0].Rule, Hint: d.Reasons[0].Change}
	}
	return p, s, nil
}

// reach gives the transport of a place: the first party listens, the second calls.
func reach(f *pairFlags, place int) (t *wire.TCP, done func(), err error) {
	if place == 0 {
		if f.listen == "" || f.address != "" {
			return nil, nil, &sandbox.Error{Op: "party run", Kind: sandbox.Invalid, Object: "--listen", Detail: "the plan's first party listens", Err: errUsage}
		}
		if t, err = listen(f.listen); err != nil {
			return nil, nil, err
		}
		t.Reach([]string{"", f.from})
		return t, func() { _ = t.Close() }, nil
	}
	if f.address == "" || f.listen != "" || f.from != "" {
		return nil, nil, &sandbox.Error{Op: "party run", Kind: sandbox.Invalid, Object: "--address", Detail: "the plan's second party calls the first at its address", Err: errUsage}
	}
	t = wire.NewTCP(nil)
	t.Reach([]string{f.address})
	return t, func() {}, nil
}

// absent wants files that are to be written not to be there.
func absent(paths ...string) error {
	for i, path := range paths {
		if path == "" {
			continue
		}
		if _, err := os.Lstat(path); err == nil || slices.Contains(paths[:i], path) {
			return &sandbox.Error{Op: "party run", Kind: sandbox.Conflict, Object: path, Detail: "it exists", Hint: "name a new file"}
		}
	}
	return nil
}

func parseTime(flag, text string) (time.Time, error) {
	at, err := time.Parse(time.RFC3339, text)
	if err != nil {
		return at, &sandbox.Error{Op: "party", Kind: sandbox.Invalid, Object: flag, Detail: "a time as 2006-01-02T15:04:05Z", Err: errUsage}
	}
	return at, nil
}
