package agent

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"os"
	"time"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/mpc/psi/session"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// defaultElements is the quota of a partner's elements in one window.
const defaultElements = psi.MaxSize

// PSIOutput (求交结果文件) is what psi run writes. Members go to a file of their own.
type PSIOutput struct {
	Job         sandbox.RunID    `json:"job"`
	Output      psi.Output       `json:"output"`
	Party       sandbox.PartyID  `json:"party"`
	Model       psi.Model        `json:"model"`
	Learns      []psi.Fact       `json:"learns"`
	Withheld    bool             `json:"withheld"`
	Reasons     []sandbox.Reason `json:"reasons,omitempty"` // of what is withheld, where this side judged it
	Cardinality *int             `json:"cardinality,omitempty"`
	Sums        []PSISum         `json:"sums,omitempty"`
	For         string           `json:"for,omitempty"` // of sums: where they go
	Transcript  string           `json:"transcript"`
	Sent        int64            `json:"sent_bytes"`
	Received    int64            `json:"received_bytes"`
}

// PSISum (交集合计) is the sums of a group, or of all where the plan has no groups.
type PSISum struct {
	Group    string   `json:"group,omitempty"`
	Withheld bool     `json:"withheld,omitempty"` // fewer than the threshold: nothing else is told of it
	Count    uint64   `json:"count,omitempty"`
	Values   []uint64 `json:"values,omitempty"` // as the plan names them
}

const forGate = "the gate (出域检查): sums of personal data leave a domain through egress check and review, not by this file"

// psiRun takes part, once, in a plan that the owner signed for.
func (a *Agent) psiRun(ctx context.Context, f *pairFlags) error {
	p, approval, err := agreed[*session.Plan](a, f)
	if err != nil {
		return err
	}
	side := psi.Side(p.Place(sandbox.PartyID(f.party)))
	peer := p.Parties[side.Peer()].ID
	usage := func(flag, rule string) error {
		return &sandbox.Error{Op: "party psi run", Kind: sandbox.Invalid, Object: flag, Detail: rule, Err: errUsage}
	}
	members := learnsMembers(p, side)
	switch {
	case members != (f.members != ""):
		return usage("--members", "a new file for a side that learns members, and for no other")
	case (f.gate != "") != (f.dataset != "") || f.gate != "" && (p.Job.Output != psi.JoinSum || side != psi.Sender || len(p.Groups) == 0):
		return usage("--gate", "a new file, with --dataset ID that the sums are of, for the sender of sums by group; sums of all together have no count of their elements")
	case f.gate != "" && sandbox.CheckID("dataset", f.dataset) != nil:
		return usage("--dataset", "an identifier of 1 to 64 of a-z, 0-9, '.', '_', '-'")
	case f.quota < 1 || f.quotaElements < 1:
		return usage("--quota", "jobs, and elements, of at least one")
	case f.memory < 0 || (f.spill != "") != (f.memory > 0):
		return usage("--memory", "MiB of tags in memory, with the folder for sealed files of what is over")
	case (p.Job.Authority[side].Kind == psi.Listed) != (f.setCertificate != ""):
		return usage("--set-certificate", "what certify made, for a side whose set the plan lists")
	}
	// As psi divides its memory: a quarter for each of what it keeps.
	record := max(20, p.Job.Measures*66)
	if kept := int64(max(p.Job.Sizes[0], p.Job.Sizes[1])) * int64(record); f.spill == "" && kept > psi.DefaultMemory/4 {
		return &sandbox.Error{Op: "party psi run", Kind: sandbox.TooLarge, Object: string(p.Job.Run), Detail: "sets of this size do not fit in 256 MiB", Hint: "name a folder by --spill, and --memory 256"}
	}
	if err := absent(f.out, f.certificate, f.members, f.gate); err != nil {
		return err
	}
	if err := os.MkdirAll(f.joined, 0o700); err != nil {
		return &sandbox.Error{Op: "party psi run", Kind: sandbox.Unavailable, Object: f.joined, Err: err}
	}
	once, err := mpc.OpenJoined(f.joined)
	if err != nil {
		return err
	}
	if err := once.Free(p.Job.Run); err != nil {
		return err
	}
	own, err := a.readSet(ctx, f, p, side)
	if err != nil {
		return err
	}
	job := psi.Config{Set: own.set, Values: own.values, Memory: int64(f.memory) << 20}
	if f.setCertificate != "" {
		if job.Certificate, err = readSetCertificate(f.setCertificate); err != nil {
			return err
		}
	}
	if f.spill != "" {
		s, err := vault.SpillIn(nil, f.spill, a.Rand)
		if err != nil {
			return err
		}
		defer s.Close()
		job.Spill = func() (psi.SpillFile, error) { return s.Create() }
	}
	v, err := a.vault(f)
	if err != nil {
		return err
	}
	defer v.Close()
	t, done, err := reach(f, int(side))
	if err != nil {
		return err
	}
	defer done()
	ledger, unlock, err := openLedger(f.ledger, f.ledgerKey, psi.Limits{Set: p.Job.Sizes[side], Jobs: f.quota, Elements: f.quotaElements, Window: window, Similarity: 1, Differ: p.Job.Threshold})
	if err != nil {
		return err
	}
	defer unlock()
	sketch, err := ledger.Sketch(own.set)
	if err != nil {
		return err
	}
	if own.values != nil && sketch.Size() != own.set.Rows() {
		return &sandbox.Error{Op: "party: table", Kind: sandbox.Invalid, Object: side.String(), Detail: "an element that has values comes once: add them up before"}
	}
	if err := admitted(p, ledger.Would(peer, psi.OfSet, sketch, a.Now())); err != nil {
		return err
	}
	if job.Secret, err = a.jobSecret(f.secret, f.setCertificate == ""); err != nil {
		return err
	}
	if err := once.Take(p.Job.Run, session.Digest(p)); err != nil {
		return err
	}
	out := PSIOutput{Job: p.Job.Run, Output: p.Job.Output, Party: sandbox.PartyID(f.party), Model: p.Job.Model, Learns: p.Job.Learns(side)}
	if p.Job.Output == psi.IntersectionBoth && side == psi.Sender { // who judges, and sees members
		near := ledger.Judge(peer, own.set, a.Now)
		job.Judge = func(x psi.Finding) (bool, error) {
			ok, err := near(x)
			if err == nil && !ok {
				out.Reasons = append(out.Reasons, sandbox.Reason{Code: "psi.near-repeat", Rule: "no intersection is nearly one that was found before", Change: "the earlier result"})
			}
			return ok, err
		}
	}
	r, err := session.Run(ctx, p, session.Config{Self: out.Party, Key: v.SigningKey(), Approval: approval, Transport: t, Rand: a.Rand, Now: a.Now, Clock: a.Clock,
		Met: func() error { // counted where there is a peer: who finds nobody may ask again under another job
			d, err := ledger.Admit(peer, psi.OfSet, sketch, a.Now())
			if err != nil {
				return err
			}
			return admitted(p, d)
		}}, job)
	if err != nil {
		return err
	}
	return a.psiWrite(f, p, own, r, out)
}

func learnsMembers(p *session.Plan, side psi.Side) bool {
	for _, x := range p.Job.Learns(side) {
		if x == psi.FactMembers {
			return true
		}
	}
	return false
}

// psiWrite writes members, certificate and result, in this order, each to a new file.
func (a *Agent) psiWrite(f *pairFlags, p *session.Plan, own *elements, r *session.Outcome, out PSIOutput) error {
	out.Withheld, out.Sent, out.Received = r.Withheld, r.Sent, r.Received
	out.Transcript = hex.EncodeToString(r.Transcript[:])
	said := "withheld (不予输出): nothing leaves"
	if r.Withheld && r.Cardinality >= 0 && r.Cardinality < p.Job.Threshold {
		out.Reasons = append(out.Reasons, sandbox.Reason{Code: "psi.small", Rule: "an intersection has as many elements as the plan's threshold", Change: "larger sets"})
	}
	if !r.Withheld {
		said = "done"
		if r.Cardinality >= 0 {
			n := r.Cardinality
			out.Cardinality = &n
		}
		if r.Sums != nil {
			out.For = forGate
			if out.Sums = bySum(p, r.Sums); len(p.Groups) > 0 {
				out.Cardinality = nil // with it a group that is withheld would follow from the others
			}
			said = "done: sums for the gate (出域检查)"
			if f.gate != "" {
				text, err := gateText(p, own, out.Sums, sandbox.DatasetID(f.dataset))
				if err != nil {
					return err
				}
				if err := create(f.gate, text); err != nil {
					return err
				}
				said += ": opdomain egress check --in " + f.gate
			}
		}
		if r.Members != nil {
			if err := writeMembers(f.members, f.column, own.set, r.Members); err != nil {
				return err
			}
		}
	}
	cert, err := json.Marshal(r.Certificate)
	if err != nil {
		return err
	}
	text, err := json.MarshalIndent(out, "", "  ")
	if err != nil {
		return err
	}
	if err := create(f.certificate, cert); err != nil {
		return err
	}
	if err := create(f.out, append(text, '\n')); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "%s: %s: %s: %d bytes sent, session %s\n", p.Job.Run, p.Job.Output, said, r.Sent, r.Certificate.Session)
	return nil
}

// bySum gives the sums by group; a group of fewer than the threshold is withheld.
func bySum(p *session.Plan, sums []uint64) (out []PSISum) {
	if len(p.Groups) == 0 {
		return []PSISum{{Values: sums}}
	}
	width := 1 + len(p.Values)
	for i, g := range p.Groups {
		x := sums[i*width : (i+1)*width]
		if x[0] < uint64(p.Job.Threshold) {
			out = append(out, PSISum{Group: g, Withheld: true})
			continue
		}
		out = append(out, PSISum{Group: g, Count: x[0], Values: x[1:]})
	}
	return out
}

// openLedger opens a folder for this process alone, under a key file.
func openLedger(dir, keyFile string, limits psi.Limits) (*psi.Ledger, func(), error) {
	key, err := readHex(keyFile)
	if err != nil {
		return nil, nil, err
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, nil, &sandbox.Error{Op: "party: ledger", Kind: sandbox.Unavailable, Object: dir, Err: err}
	}
	lock, err := durable.Lock(dir)
	if err != nil {
		return nil, nil, &sandbox.Error{Op: "party: ledger", Kind: sandbox.Conflict, Object: dir, Detail: "no other process has the ledger", Err: err}
	}
	l, err := psi.OpenLedger(nil, dir, key, limits)
	if err != nil {
		_ = lock.Close()
		return nil, nil, err
	}
	return l, func() { _ = lock.Close() }, nil
}

// admitted makes an error of what the own ledger refuses: a set too large, a partner's quota, a set near an earlier one.
func admitted(p *session.Plan, d sandbox.Decision) error {
	if d.Allow {
		return nil
	}
	return &sandbox.Error{Op: "party psi run", Kind: sandbox.Denied, Object: string(p.Job.Run), Detail: d.Reasons[0].Code + ": " + d.Reasons[0].Rule, Hint: d.Reasons[0].Change}
}

// jobSecret reads the secret of a job; where none is needed before the job, it is drawn into a new file, for the audit afterwards: with one
// secret for two jobs, who audits one could test elements of the other.
func (a *Agent) jobSecret(path string, fresh bool) (*psi.Secret, error) {
	if fresh {
		return a.newSecret(path)
	}
	b, err := readHex(path)
	if err != nil {
		return nil, err
	}
	return psi.ParseSecret(b)
}

func (a *Agent) newSecret(path string) (*psi.Secret, error) {
	s, err := psi.NewSecret(a.Rand)
	if err != nil {
		return nil, err
	}
	return s, create(path, []byte(hex.EncodeToString(s.Bytes())+"\n"))
}

// psiSecret draws a job's secret before the job, for a set that an agency certifies.
func (a *Agent) psiSecret(_ context.Context, f *pairFlags) error {
	_, err := a.newSecret(f.out)
	return err
}

// psiAudit recomputes the points of a side from its opened set and secret and compares them with what both parties signed.
func (a *Agent) psiAudit(ctx context.Context, f *pairFlags) error {
	at, err := parseTime("--at", f.at)
	if err != nil {
		return err
	}
	c, err := a.psiVerify(f.certificate, at)
	if err != nil {
		return err
	}
	side := psi.Side(c.Plan.Place(sandbox.PartyID(f.party)))
	if side < 0 {
		return &sandbox.Error{Op: "party psi audit", Kind: sandbox.Invalid, Object: "--party", Detail: "one of the plan's two", Err: errUsage}
	}
	own, err := a.readSet(ctx, f, &c.Plan, side)
	if err != nil {
		return err
	}
	secret, err := a.jobSecret(f.secret, false)
	if err != nil {
		return err
	}
	got, err := c.Points(side)
	if err != nil {
		return err
	}
	if err := psi.Audit(&c.Plan.Job, side, own.set, own.values, secret, got, 0); err != nil {
		return err
	}
	fmt.Fprintf(a.Out, "accepted (事后审计): %s sent in job %s the points of this set of %d rows; whether it was allowed to ask about them is the auditor's to judge\n", f.party, c.Plan.Job.Run, own.set.Rows())
	return nil
}

// psiVerify reads a certificate and checks it.
func (a *Agent) psiVerify(path string, at time.Time) (*session.Certificate, error) {
	text, err := readFile(path)
	if err != nil {
		return nil, err
	}
	var c session.Certificate
	if json.Unmarshal(text, &c) != nil {
		return nil, &sandbox.Error{Op: "party verify", Kind: sandbox.Tampered, Object: path, Detail: "a certificate in JSON"}
	}
	return &c, c.Verify(at)
}
