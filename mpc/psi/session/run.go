package session

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/sandbox"
)

// Record (求交记录) is what each party signs of a job before it has a result.
type Record struct {
	Session    string `json:"session"`
	Transcript string `json:"transcript"`
	Sent       string `json:"sent"` // SM3 over the points this party sent
	Got        string `json:"got"`  // and over those it got
	Withheld   bool   `json:"withheld"`
}

// Certificate (求交证明) is what remains of a job. It has no element, no size of an intersection and no sum in it.
type Certificate struct {
	Kind      string              `json:"kind"`
	Version   int                 `json:"version"`
	Plan      Plan                `json:"plan"`
	Session   string              `json:"session"`
	Approvals [2]attest.Statement `json:"approvals"`
	Nonces    [2]string           `json:"nonces"`
	Records   [2]attest.Statement `json:"records"`
}

// KindCertificate is Certificate.Kind.
const KindCertificate = "psi-certificate"

// Outcome (求交作业结果) is what a party has after a job.
type Outcome struct {
	*psi.Result
	Certificate Certificate
	Sent        int64 // bytes on the link
	Received    int64
}

// String keeps results out of logs.
func (*Outcome) String() string { return "psi outcome(redacted)" }

// Run meets the peer and runs the job with what of job is the party's own: set, values, secret, certificate, judge, memory. Side, plan,
// connection and agency's key are this package's to set.
func Run(ctx context.Context, p *Plan, c Config, job psi.Config) (*Outcome, error) {
	m, err := meet(ctx, p, &c)
	if err != nil {
		return nil, err
	}
	defer m.close()
	job.Side, job.Plan, job.Conn = psi.Side(m.me), &p.Job, m
	if point := p.Agencies[1-m.me]; point != nil {
		if job.Agency, err = sm.ParseVerifyKey(point); err != nil {
			return nil, err
		}
	}
	r, err := psi.Run(ctx, job)
	if err != nil {
		return nil, named(p, err)
	}
	return m.record(p, r)
}

// named puts the party's name to an abort that knows a side.
func named(p *Plan, err error) error {
	a := (*psi.Abort)(nil)
	if !errors.As(err, &a) {
		return err
	}
	out := &sandbox.Error{Op: "psi: abort", Kind: a.Kind, Object: string(p.Job.Run), Detail: string(a.Rule), Err: a.Err}
	if a.Blame != nil {
		out.Object += ": " + string(p.Parties[*a.Blame].ID)
	}
	if w := (*wire.Abort)(nil); errors.As(a.Err, &w) {
		out.Err = w
	}
	return out
}

// record signs and exchanges what both saw.
func (m *pair) record(p *Plan, r *psi.Result) (*Outcome, error) {
	mine := Record{Session: hex.EncodeToString(m.id[:]), Transcript: hex.EncodeToString(r.Transcript[:]), Sent: hex.EncodeToString(r.Points[:]), Got: hex.EncodeToString(r.PeerPoints[:]), Withheld: r.Withheld}
	s, err := attest.Sign(m.c.Rand, m.c.Key, sandbox.IdentityID(m.c.Self), ContextRecord, mine)
	if err != nil {
		return nil, m.mesh.Abort(wire.Nobody, "a record is signed")
	}
	text, err := json.Marshal(s)
	if err != nil {
		return nil, m.mesh.Abort(wire.Nobody, "a record is written")
	}
	all, err := m.exchange(tagRecord, text)
	if err != nil {
		return nil, err
	}
	cert := Certificate{Kind: KindCertificate, Version: 1, Plan: *p, Session: mine.Session, Approvals: m.approvals}
	var records [2]Record
	for i, b := range all {
		cert.Nonces[i] = hex.EncodeToString(m.nonces[i])
		x := &cert.Records[i]
		if json.Unmarshal(b, x) != nil || string(x.Signer) != string(p.Parties[i].ID) || x.Open(m.keys[i], ContextRecord, &records[i]) != nil {
			return nil, m.mesh.Abort(i, "each party signs its record")
		}
	}
	if rule := agree(mine.Session, records); rule != "" {
		return nil, m.mesh.Abort(1-m.me, rule)
	}
	n := m.mesh.Counters()
	return &Outcome{Result: r, Certificate: cert, Sent: n.Sent, Received: n.Received}, nil
}

// agree holds the records against each other: the rule that does not hold, or none.
func agree(session string, r [2]Record) string {
	switch {
	case r[0].Session != session || r[1].Session != session:
		return "records of this session"
	case r[0].Transcript != r[1].Transcript:
		return "both saw the same transcript"
	case r[0].Sent != r[1].Got || r[1].Sent != r[0].Got:
		return "each got the points that the other sent"
	case r[0].Withheld != r[1].Withheld:
		return "both have one verdict"
	}
	return ""
}

// Verify checks a certificate offline: the plan, both owners' approvals at the time the job is said to have been, the session's id, both
// records. Tampered, naming what does not hold. It shows that both parties signed the same, and not
// that their sets were true.
func (c *Certificate) Verify(at time.Time) error {
	bad := func(rule string) error {
		return &sandbox.Error{Op: "psi: certificate", Kind: sandbox.Tampered, Object: string(c.Plan.Job.Run), Detail: rule}
	}
	if c.Kind != KindCertificate || c.Version != 1 {
		return bad("a psi certificate of version 1")
	}
	if err := c.Plan.Check(); err != nil {
		return err
	}
	if !at.Before(c.Plan.Expires.Add(time.Duration(c.Plan.Seconds) * time.Second)) {
		return bad("a job ends before its plan's time is over")
	}
	var hellos [2][]byte
	var records [2]Record
	for i, x := range c.Plan.Parties {
		if !approved(&c.Plan, c.Approvals[i], i, at) {
			return bad("each owner approved the plan")
		}
		nonce, err := hex.DecodeString(c.Nonces[i])
		text, err2 := json.Marshal(c.Approvals[i])
		if err != nil || err2 != nil || len(nonce) != 32 {
			return bad("a nonce of 32 bytes for each party")
		}
		hellos[i] = append(nonce, text...)
		key, err := sm.ParseVerifyKey(x.Key)
		if err != nil {
			return err
		}
		if string(c.Records[i].Signer) != string(x.ID) || c.Records[i].Open(key, ContextRecord, &records[i]) != nil {
			return bad("each party signed its record")
		}
	}
	if id := sessionID(&c.Plan, hellos); hex.EncodeToString(id[:]) != c.Session {
		return bad("the session's id covers plan, keys, approvals and nonces")
	}
	if rule := agree(c.Session, records); rule != "" {
		return bad(rule)
	}
	return nil
}

// Points gives the digest of the points that a side sent, as both signed it: what psi.Audit compares with. It is called on what passed Verify.
func (c *Certificate) Points(side psi.Side) (out [sm.Size]byte, err error) {
	key, err := sm.ParseVerifyKey(c.Plan.Parties[side.Peer()].Key)
	if err != nil {
		return out, err
	}
	var r Record
	if err := c.Records[side.Peer()].Open(key, ContextRecord, &r); err != nil {
		return out, err
	}
	b, err := hex.DecodeString(r.Got)
	if err != nil || len(b) != sm.Size {
		return out, &sandbox.Error{Op: "psi: certificate", Kind: sandbox.Tampered, Object: string(c.Plan.Job.Run), Detail: "a record has SM3 digests"}
	}
	return [sm.Size]byte(b), nil
}
