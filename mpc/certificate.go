package mpc

import (
	"encoding/json"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
)

// What parties sign of a run is as package attest has it, where it is verified offline.
type (
	// Chain (链路摘要) is the running digests of one link's frames.
	Chain = attest.SharesChain
	// Transcript (协议记录) is what a party signs about a run before an output opens.
	Transcript = attest.SharesTranscript
	// Confirmation (一致确认) says that a party saw all transcripts and that they agree.
	Confirmation = attest.SharesConfirmation
	// Receipt (结果回执) says what a party opened.
	Receipt = attest.SharesReceipt
)

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

// Verify checks a certificate offline: approvals at the time the run is said to have been, the session's id, transcripts that agree,
// confirmations and receipts of all. Tampered, naming what does not hold. It shows that the three parties signed; it cannot show what
// colluding parties did.
func (c Certificate) Verify(at time.Time) error {
	if err := c.Plan.Check(); err != nil {
		return err
	}
	text, err := json.Marshal(c)
	if err != nil {
		return &sandbox.Error{Op: "mpc: certificate", Kind: sandbox.Tampered, Object: string(c.Plan.Job), Detail: "a certificate in JSON"}
	}
	_, err = attest.CheckShares(text, at)
	return err
}
