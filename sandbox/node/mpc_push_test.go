package node

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// newPushing is a house whose bank is no party: it pushes shares of its loans to the three.
func newPushing(t *testing.T) *lending {
	o := newHouse(t, sandbox.P1)
	k, err := keys.Create(o.at("bank-unit"), []byte("a long passphrase"), keys.Params{Time: 1, Memory: 64, Threads: 1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	defer k.Close()
	o.n.cfg.Shares.Outside["ds-l"] = Beyond{Unit: k.SigningKey().Public().Bytes(), Version: 1, Rows: 1 << 10}
	if err := o.n.checkShares(t.Context()); err != nil {
		t.Fatal(err)
	}
	return o.lends("run-1", 400, nil)
}

// party runs a verb of opdomain-party as a process of its own.
func (o *house) party(want int, args ...string) string {
	o.Helper()
	c := exec.CommandContext(o.Context(), os.Args[0], args...)
	c.Env = append(os.Environ(), asParty+"=1")
	said, err := c.CombinedOutput()
	if c.ProcessState == nil || c.ProcessState.ExitCode() != want {
		o.Fatalf("%v: %v: %s", args[0], err, said)
	}
	return string(said)
}

// pushes has the bank push its loans for a question, and gives the domain's file.
func (o *house) pushes(id sandbox.QuestionID, want int) ([]byte, api.SharesJob, string) {
	o.Helper()
	job, err := o.n.SharedJob(o.Context(), o.agency.Caller, id)
	if err != nil {
		o.Fatal(err)
	}
	o.write(string(id)+".plan", string(job.Plan))
	o.write(string(id)+".question", string(job.Asked))
	o.write(string(id)+".card", string(job.Card))
	args := []string{"push", "--keys", o.at("bank-unit"), "--passphrase-file", o.at("pass"), "--plan", o.at(string(id) + ".plan"), "--question", o.at(string(id) + ".question"), "--source", "ds-l@1=" + o.at("loans.rows.csv"),
		"--subject-key", o.at("subject.key"), "--ledger", o.at("unit.ledger"), "--ledger-key", o.at("ledger.key"), "--digest", hex.EncodeToString(job.Digest), "--out", o.at(string(id) + ".pushed"), "--card", o.at(string(id) + ".card")}
	for _, zone := range []string{"bank-zone", "custodian-zone"} {
		card := o.at(string(id) + "." + zone + ".card")
		_ = os.Remove(card)
		o.party(0, "card", "--keys", o.at(zone), "--passphrase-file", o.at("pass"), "--party", zone, "--out", card)
		args = append(args, "--card", card)
	}
	if err := errors.Join(os.RemoveAll(o.at(string(id)+".pushed")), os.Mkdir(o.at(string(id)+".pushed"), 0o700)); err != nil {
		o.Fatal(err)
	}
	said := o.party(want, args...)
	if want != 0 {
		return nil, job, said
	}
	b, err := os.ReadFile(o.at(string(id) + ".pushed/ds-l.domain-zone"))
	if err != nil {
		o.Fatal(err)
	}
	return b, job, said
}

// pushesAgain has the bank push the same rows once more, and leaves the zones' files of the first time.
func (o *house) pushesAgain(id sandbox.QuestionID) ([]byte, api.SharesJob, string) {
	o.Helper()
	at, kept := o.at(string(id)+".pushed"), o.at(string(id)+".kept")
	if err := os.Rename(at, kept); err != nil {
		o.Fatal(err)
	}
	b, job, said := o.pushes(id, 0)
	if err := errors.Join(os.RemoveAll(at), os.Rename(kept, at)); err != nil {
		o.Fatal(err)
	}
	return b, job, said
}

// approved is the agency's approval of a planned question.
func (o *house) approved(job api.SharesJob) attest.Statement {
	o.Helper()
	p, err := mpc.ParsePlan(job.Plan)
	if err != nil {
		o.Fatal(err)
	}
	s, err := mpc.Approve(rand.Reader, o.agency.key, p, "domain-zone", o.n.now(), o.n.now().Add(time.Hour))
	if err != nil {
		o.Fatal(err)
	}
	return s
}

// TestPushedToTheDomain: a unit that is no party pushes its loans as shares, the domain joins its own subsidies to them, and the answer is the columnar engine's
// over both; nothing is joined before the domain has its shares, nobody else gives them, and rows that differ in one person are not pushed.
func TestPushedToTheDomain(t *testing.T) {
	l := newPushing(t)
	o := l.house
	if !testing.Short() {
		o.n.cfg.Shares.Adversary = share.MaliciousAbort
	}
	x, err := o.n.Explain(t.Context(), o.operator.Caller, filtered("sc-m"))
	if err != nil || !x.Decision.Allow || x.Shares == nil || x.Shares.Form != formInquiry {
		t.Fatalf("%v: %s", err, x.Text)
	}
	if !strings.Contains(x.Text, "the unit of ds-l, which is no party, pushes shares of its rows to all three") {
		t.Errorf("it is not explained in\n%s", x.Text)
	}
	q := o.asks(o.operator, filtered("sc-m"))
	b, job, _ := o.pushes(q.ID, 0)
	if job.Terms.Pushes != "ds-l" || job.Pushed != "" || len(job.Card) == 0 {
		t.Errorf("the job: %q %q", job.Terms.Pushes, job.Pushed)
	}
	if _, err := o.n.ComputeShared(t.Context(), o.agency.Caller, q.ID, o.approved(job)); !errors.Is(err, sandbox.Conflict) || !strings.Contains(err.Error(), "has not pushed") {
		t.Errorf("run without the push: %v", err)
	}
	other, err := os.ReadFile(o.at(string(q.ID) + ".pushed/ds-l.bank-zone"))
	if err != nil {
		t.Fatal(err)
	}
	flipped := bytes.Clone(b)
	flipped[len(b)-1] ^= 1
	for name, c := range map[string]struct {
		by   seat
		push []byte
		kind sandbox.Kind
	}{"another unit": {o.unit, b, sandbox.NotFound}, "the operator": {o.operator, b, sandbox.NotFound}, "another party's": {o.bank, other, sandbox.Tampered}, "changed": {o.bank, flipped, sandbox.Tampered},
		"cut": {o.agency, b[:len(b)-1], sandbox.Tampered}, "nothing": {o.bank, nil, sandbox.Tampered}} {
		if err := o.n.PushShared(t.Context(), c.by.Caller, q.ID, c.push); !errors.Is(err, c.kind) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if job, err = o.n.SharedJob(t.Context(), o.agency.Caller, q.ID); err != nil || job.Pushed != "" {
		t.Errorf("what was refused is kept: %v", err)
	}
	if err := o.n.PushShared(t.Context(), o.bank.Caller, q.ID, b); err != nil {
		t.Fatal(err)
	}
	if job, err = o.n.SharedJob(t.Context(), o.agency.Caller, q.ID); err != nil || len(job.Pushed) != 64 {
		t.Errorf("the job does not say that it was pushed: %v", err)
	}
	again, _, _ := o.pushesAgain(q.ID)
	if err := o.n.PushShared(t.Context(), o.agency.Caller, q.ID, again); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("the agency puts another push in its place: %v", err)
	}
	q, said := o.runs(q.ID, false)
	if q.State != stateInReview {
		t.Fatalf("%s: %s\n%s", q.State, o.record(q.ID).Review.Cause, strings.Join(said[:], "\n"))
	}
	l.same(q.ID, filtered("sc-m"), 2)
	if err := o.n.PushShared(t.Context(), o.bank.Caller, q.ID, b); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("pushed after the run: %v", err)
	}
	if got := o.bundled(); got[attest.SharesPlanned] != 1 || got[attest.SharesPushed] != 1 || got[attest.SharesComputed] != 1 {
		t.Errorf("evidence: %v", got)
	}
	if rec := o.record(q.ID); rec.Shared.Pushed != nil {
		t.Error("the domain's shares are kept")
	}
	// Another question over the same rows and cells is pushed for anew, and a push for one plan is none for another.
	fewer := filtered("sc-m")
	fewer.Measures = fewer.Measures[:3]
	second := o.asks(o.operator, fewer)
	if second.State != stateComputing {
		t.Fatalf("%s %+v", second.State, second.Decision.Reasons)
	}
	if err := o.n.PushShared(t.Context(), o.bank.Caller, second.ID, b); !errors.Is(err, sandbox.Denied) {
		t.Errorf("a push for another plan: %v", err)
	}
	rows := strings.SplitAfter(l.loans, "\n")
	o.write("loans.rows.csv", strings.Join(append(rows[:1:1], rows[3:]...), ""))
	if _, _, said := o.pushes(second.ID, 3); !strings.Contains(said, "psi.near-repeat") {
		t.Error(said)
	}
	// Withdrawn, it keeps no shares.
	o.write("loans.rows.csv", l.loans)
	if b, _, _ = o.pushesAgain(second.ID); o.n.PushShared(t.Context(), o.agency.Caller, second.ID, b) != nil || o.record(second.ID).Shared.Pushed == nil {
		t.Error("the agency brings what its unit pushed")
	}
	if err := o.n.PushShared(t.Context(), o.bank.Caller, second.ID, b); err != nil { // the same once more
		t.Error(err)
	}
	if _, err := o.n.EndShared(t.Context(), o.operator.Caller, second.ID); err != nil || o.record(second.ID).Shared.Pushed != nil {
		t.Errorf("withdrawn: %v", err)
	}
	// At a zone the same version is not asked over any more: its ledger knows nothing of what was pushed. Nor under another key.
	for _, b := range []Beyond{{Zone: "bank-zone", Version: 1, Rows: 1 << 10}, {Unit: o.bank.Identity.SignKey, Version: 1, Rows: 1 << 10}} {
		o.n.cfg.Shares.Outside["ds-l"] = b
		if moved := o.asks(o.operator, fewer); moved.State != stateRefused || moved.Decision.Reasons[0].Code != codeSharesBeside || !strings.Contains(moved.Decision.Reasons[0].Change, "another version than 1") {
			t.Errorf("moved: %s %+v", moved.State, moved.Decision.Reasons)
		}
	}
	o.n.cfg.Shares.Outside["ds-l"] = Beyond{Zone: "bank-zone", Version: 2, Rows: 1 << 10}
	if moved := o.asks(o.operator, fewer); moved.State != stateComputing {
		t.Errorf("another version: %s %+v", moved.State, moved.Decision.Reasons)
	}
	if got := o.bundled(); got[attest.SharesPushed] != 2 || got[attest.SharesAborted] != 1 {
		t.Errorf("evidence: %v", got)
	}
}
