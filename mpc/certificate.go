package mpc

import (
	"encoding/hex"
	"encoding/json"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/sandbox"
)

// Chain (链路摘要) is the running digests of one link's frames, as one end sees them, in hex.
type Chain struct {
	Out string `json:"out"`
	In  string `json:"in"`
}

// Transcript (协议记录) is what a party signs about a run before an output opens.
type Transcript struct {
	Session string  `json:"session"`
	Trace   string  `json:"trace"` // digest of the operators and sizes, equal at all
	Place   int     `json:"place"`
	Links   []Chain `json:"links"` // by party; its own place is empty
}

// Confirmation (一致确认) says that a party saw all transcripts and that they agree.
type Confirmation struct {
	Session     string `json:"session"`
	Transcripts string `json:"transcripts"` // digest of the three statements
}

// Receipt (结果回执) says what a party opened, masked where it is another's, under a salt that only who has the outputs knows.
type Receipt struct {
	Session string `json:"session"`
	Outputs string `json:"outputs"`
}

// Certificate (多方计算证明) is what remains of a run for the evidence log: it has no output in it.
type Certificate struct {
	Version       int                `json:"version"`
	Plan          Plan               `json:"plan"`
	Session       string             `json:"session"`
	Approvals     []attest.Statement `json:"approvals"`
	Nonces        []string           `json:"nonces"`
	Transcripts   []attest.Statement `json:"transcripts"`
	Confirmations []attest.Statement `json:"confirmations"`
	Receipts      []attest.Statement `json:"receipts"`
}

// Result (多方计算结果) is what a run gives to each party. It does not leave a domain but through the gate.
type Result struct {
	Outputs     map[string][]uint64 // those that open to this party
	Adversary   share.Adversary     // the model that the outputs were made under
	Collusion   string              // what it means and what parties that work together learn
	Leakage     []share.Leakage     // what the operators told every party
	Salt        []byte              // of the receipts' digests
	Certificate Certificate
}

// String keeps outputs out of logs.
func (Result) String() string { return "mpc result(redacted)" }

// GoString keeps outputs out of %#v.
func (Result) GoString() string { return "mpc result(redacted)" }

func digestOf(all []attest.Statement) string {
	var parts [][]byte
	for _, s := range all {
		parts = append(parts, []byte(s.Context), []byte(s.Signer), s.Body, s.Signature)
	}
	d := sm.Sum(sm.Frame(parts...))
	return hex.EncodeToString(d[:])
}

// compare holds the transcripts against each other: who differs where, or no rule.
func compare(session string, all []Transcript) (int, string) {
	for i, t := range all {
		if t.Session != session || t.Place != i || len(t.Links) != Parties {
			return i, "a transcript of this session"
		}
		if t.Trace != all[0].Trace {
			return wire.Nobody, "all parties ran the same operators"
		}
	}
	for i := range all {
		for j := range all {
			if i != j && all[i].Links[j].Out != all[j].Links[i].In {
				return wire.Nobody, "both ends of a link saw the same frames"
			}
		}
	}
	return 0, ""
}

// Verify checks a certificate offline: approvals at the time the run is said to have been, the session's id, transcripts that agree,
// confirmations and receipts of all. Tampered, naming what does not hold. It shows that the three parties signed; it cannot show what
// colluding parties did.
func (c Certificate) Verify(at time.Time) error {
	bad := func(rule string) error {
		return &sandbox.Error{Op: "mpc: certificate", Kind: sandbox.Tampered, Object: string(c.Plan.Job), Detail: rule}
	}
	if err := c.Plan.Check(); err != nil {
		return err
	}
	if c.Version != 1 || len(c.Approvals) != Parties || len(c.Nonces) != Parties || len(c.Transcripts) != Parties || len(c.Confirmations) != Parties || len(c.Receipts) != Parties {
		return bad("version 1 with a statement of each kind by each party")
	}
	parts := [][]byte{[]byte("opdomain/mpc/session/v1"), c.Plan.Encode()}
	transcripts := make([]Transcript, Parties)
	want := Confirmation{c.Session, digestOf(c.Transcripts)}
	var first Receipt
	for i, p := range c.Plan.Parties {
		key, err := sm.ParseVerifyKey(p.Key)
		if err != nil {
			return err
		}
		if !c.Plan.approved(c.Approvals[i], i, at) {
			return bad("each owner approved the plan")
		}
		nonce, err := hex.DecodeString(c.Nonces[i])
		text, err2 := json.Marshal(c.Approvals[i])
		if err != nil || err2 != nil || len(nonce) != 32 {
			return bad("a nonce of 32 bytes for each party")
		}
		parts = append(parts, p.Key, append(nonce, text...))
		var seen Confirmation
		var r Receipt
		for _, s := range []attest.Statement{c.Transcripts[i], c.Confirmations[i], c.Receipts[i]} {
			if string(s.Signer) != string(p.ID) {
				return bad("statements stand in the parties' order")
			}
		}
		if c.Transcripts[i].Open(key, ContextTranscript, &transcripts[i]) != nil || c.Confirmations[i].Open(key, ContextConfirm, &seen) != nil ||
			c.Receipts[i].Open(key, ContextReceipt, &r) != nil {
			return bad("every statement verifies")
		}
		if i == 0 {
			first = r
		}
		if seen != want || r.Session != c.Session || r != first {
			return bad("all confirm the same transcripts and outputs")
		}
	}
	id := sm.Sum(sm.Frame(parts...))
	if hex.EncodeToString(id[:]) != c.Session {
		return bad("the session's id covers plan, keys, approvals and nonces")
	}
	if _, rule := compare(c.Session, transcripts); rule != "" {
		return bad(rule)
	}
	return nil
}
