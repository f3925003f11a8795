package attest

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Contexts of the statements of a computation over shares: package mpc signs under them, what verifies offline reads them.
const (
	ContextSharesApproval   = "opdomain/mpc/approval/v1"
	ContextSharesTranscript = "opdomain/mpc/transcript/v1"
	ContextSharesConfirm    = "opdomain/mpc/confirm/v1"
	ContextSharesReceipt    = "opdomain/mpc/receipt/v1"
)

type (
	// SharesPlannedBody (多方计算方案): a question that is to be computed over shares, by the plan of this digest.
	SharesPlannedBody struct {
		Question sandbox.QuestionID `json:"question"`
		Plan     []byte             `json:"plan"` // SM3
		Model    string             `json:"model"`
		Parties  []sandbox.PartyID  `json:"parties"` // the zones, in their order
	}
	// SharesPushedBody (推送份额接收): the domain took its shares of what a unit that is no party pushed for the plan. A later one takes its place.
	SharesPushedBody struct {
		Question sandbox.QuestionID `json:"question"`
		Plan     []byte             `json:"plan"`
		Dataset  sandbox.DatasetID  `json:"dataset"`
		Push     []byte             `json:"push"` // SM3 of the unit's signed statement, as the unit and the zones have it
	}
	// SharesComputedBody (多方计算完成): the parties' certificate of a run of the plan. It holds no output.
	SharesComputedBody struct {
		Question    sandbox.QuestionID `json:"question"`
		Plan        []byte             `json:"plan"`
		Certificate json.RawMessage    `json:"certificate"`
	}
	// SharesAbortedBody (多方计算中止): the domain ended the run, or the plan, without an output of its own. Rule is the protocol's, which says nothing
	// of data. From the stage of opening on, outputs may be with the parties to whom the plan opens them.
	SharesAbortedBody struct {
		Question sandbox.QuestionID `json:"question"`
		Plan     []byte             `json:"plan"`
		Stage    string             `json:"stage"`
		Kind     string             `json:"kind"`
		Rule     string             `json:"rule"`
	}
)

// Stages of SharesAbortedBody: whether the domain had confirmed that outputs open.
const (
	SharesBeforeOpening = "before-opening"
	SharesOpening       = "opening"
)

// sharesCertificate is package mpc's Certificate as this package reads it: the plan stays bytes.
type sharesCertificate struct {
	Version       int             `json:"version"`
	Plan          json.RawMessage `json:"plan"`
	Session       string          `json:"session"`
	Approvals     []Statement     `json:"approvals"`
	Nonces        []string        `json:"nonces"`
	Transcripts   []Statement     `json:"transcripts"`
	Confirmations []Statement     `json:"confirmations"`
	Receipts      []Statement     `json:"receipts"`
}

type sharesPlan struct {
	Version   int           `json:"version"`
	Job       sandbox.RunID `json:"job"`
	Adversary string        `json:"adversary"`
	Parties   []struct {
		ID           sandbox.PartyID    `json:"id"`
		Organisation sandbox.PartyID    `json:"organisation"`
		Key          []byte             `json:"key"`
		Owner        sandbox.IdentityID `json:"owner"`
		OwnerKey     []byte             `json:"owner_key"`
	} `json:"parties"`
}

const sharesParties = 3

// SharesRun (多方计算记录) is what a certificate that verified is of.
type SharesRun struct {
	Plan    [sm.Size]byte
	Job     sandbox.RunID
	Model   string // the plan's adversary
	Session string
	Parties []sandbox.PartyID
	Keys    [][]byte // of the parties
}

// CheckShares checks the certificate of a computation over shares (多方计算证明) offline: three parties of three
// organisations, each with its owner's approval of this plan at the time of the run, a session that covers plan, keys, approvals and nonces,
// transcripts that agree, confirmations and receipts of all. Tampered, naming what does not hold. Package mpc, which a verifier does not import,
// makes the statements and checks its own certificates through this. It shows who signed, not what parties did who collude.
func CheckShares(certificate []byte, at time.Time) (SharesRun, error) {
	bad := func(rule string) (SharesRun, error) {
		return SharesRun{}, &sandbox.Error{Op: "shares: certificate", Kind: sandbox.Tampered, Object: "certificate", Detail: rule}
	}
	var c sharesCertificate
	var p sharesPlan
	if strict(certificate, &c) != nil || json.Unmarshal(c.Plan, &p) != nil {
		return bad("one JSON object with the known fields")
	}
	for _, n := range []int{len(p.Parties), len(c.Approvals), len(c.Nonces), len(c.Transcripts), len(c.Confirmations), len(c.Receipts)} {
		if c.Version != 1 || p.Version != 1 || n != sharesParties {
			return bad("version 1 with a statement of each kind by each party")
		}
	}
	var compact bytes.Buffer
	if json.Compact(&compact, c.Plan) != nil {
		return bad("a plan in its one encoding")
	}
	plan := sm.Sum(compact.Bytes())
	out := SharesRun{Plan: plan, Job: p.Job, Model: p.Adversary, Session: c.Session}
	var nonces, approvals [][]byte
	transcripts := make([]SharesTranscript, sharesParties)
	var first SharesReceipt
	want := SharesConfirmation{c.Session, SharesDigest(c.Transcripts)}
	for i, x := range p.Parties {
		for j, y := range p.Parties[:i] {
			if x.ID == y.ID || x.Organisation == y.Organisation || bytes.Equal(x.Key, y.Key) || bytes.Equal(x.OwnerKey, y.OwnerKey) {
				return bad("parties, their organisations and keys differ")
			}
			if bytes.Equal(x.Key, p.Parties[j].OwnerKey) || bytes.Equal(x.OwnerKey, y.Key) {
				return bad("every party and owner has a key of its own")
			}
		}
		key, err := sm.ParseVerifyKey(x.Key)
		if err != nil {
			return bad("keys are points of the SM2 curve")
		}
		owner, err := sm.ParseVerifyKey(x.OwnerKey)
		if err != nil || bytes.Equal(x.Key, x.OwnerKey) {
			return bad("every party and owner has a key of its own")
		}
		if !SharesApproved(c.Approvals[i], x.Owner, owner, x.ID, plan, at) {
			return bad("each owner approved the plan")
		}
		nonce, err := hex.DecodeString(c.Nonces[i])
		text, err2 := json.Marshal(c.Approvals[i])
		if err != nil || err2 != nil || len(nonce) != 32 {
			return bad("a nonce of 32 bytes for each party")
		}
		nonces, approvals = append(nonces, nonce), append(approvals, text)
		out.Parties, out.Keys = append(out.Parties, x.ID), append(out.Keys, x.Key)
		var seen SharesConfirmation
		var r SharesReceipt
		for _, s := range []Statement{c.Transcripts[i], c.Confirmations[i], c.Receipts[i]} {
			if string(s.Signer) != string(x.ID) {
				return bad("statements stand in the parties' order")
			}
		}
		if c.Transcripts[i].Open(key, ContextSharesTranscript, &transcripts[i]) != nil || c.Confirmations[i].Open(key, ContextSharesConfirm, &seen) != nil ||
			c.Receipts[i].Open(key, ContextSharesReceipt, &r) != nil {
			return bad("every statement verifies")
		}
		if i == 0 {
			first = r
		}
		if seen != want || r.Session != c.Session || r != first {
			return bad("all confirm the same transcripts and outputs")
		}
	}
	if id := SharesSession(compact.Bytes(), out.Keys, nonces, approvals); hex.EncodeToString(id[:]) != c.Session {
		return bad("the session's id covers plan, keys, approvals and nonces")
	}
	if _, rule := SharesAgree(c.Session, transcripts); rule != "" {
		return bad(rule)
	}
	return out, nil
}

type (
	// SharesApproval (参与批准) is the body of an owner's statement: this party may take part in this plan.
	SharesApproval struct {
		Party   sandbox.PartyID `json:"party"`
		Plan    string          `json:"plan"` // digest in hex
		Issued  time.Time       `json:"issued"`
		Expires time.Time       `json:"expires"`
	}
	// SharesChain (链路摘要) is the running digests of one link's frames, as one end sees them, in hex.
	SharesChain struct {
		Out string `json:"out"`
		In  string `json:"in"`
	}
	// SharesTranscript (协议记录) is what a party signs about a run before an output opens.
	SharesTranscript struct {
		Session string        `json:"session"`
		Trace   string        `json:"trace"` // digest of the operators and sizes, equal at all
		Place   int           `json:"place"`
		Links   []SharesChain `json:"links"` // by party; its own place is empty
	}
	// SharesConfirmation (一致确认) says that a party saw all transcripts and that they agree.
	SharesConfirmation struct {
		Session     string `json:"session"`
		Transcripts string `json:"transcripts"` // digest of the three statements
	}
	// SharesReceipt (结果回执) says what a party opened, masked where it is another's, under a salt that only who has the outputs knows.
	SharesReceipt struct {
		Session string `json:"session"`
		Outputs string `json:"outputs"`
	}
)

// sharesSkew is how far an approval's issue may lie after a party's clock.
const sharesSkew = 5 * time.Minute

// SharesApproved says whether a statement is the approval of an owner under its key for a party and a plan, at a time.
func SharesApproved(s Statement, owner sandbox.IdentityID, key *sm.VerifyKey, party sandbox.PartyID, plan [sm.Size]byte, at time.Time) bool {
	var a SharesApproval
	return s.Signer == owner && s.Open(key, ContextSharesApproval, &a) == nil && a.Party == party && a.Plan == hex.EncodeToString(plan[:]) &&
		at.Before(a.Expires) && !at.Add(sharesSkew).Before(a.Issued)
}

// SharesSession is the id of a run: of the plan's encoding and, for each party, its key, its nonce and its owner's approval as it is written.
func SharesSession(plan []byte, keys, nonces, approvals [][]byte) [sm.Size]byte {
	parts := [][]byte{[]byte("opdomain/mpc/session/v1"), plan}
	for i := range keys {
		parts = append(parts, keys[i], append(slices.Clone(nonces[i]), approvals[i]...))
	}
	return sm.Sum(sm.Frame(parts...))
}

// SharesDigest is SM3 over statements, in hex, as parties confirm transcripts.
func SharesDigest(all []Statement) string {
	var parts [][]byte
	for _, s := range all {
		parts = append(parts, []byte(s.Context), []byte(s.Signer), s.Body, s.Signature)
	}
	d := sm.Sum(sm.Frame(parts...))
	return hex.EncodeToString(d[:])
}

// SharesAgree holds transcripts against each other: the rule that does not hold, and who broke it, -1 where that is not told; no rule where all agree.
func SharesAgree(session string, all []SharesTranscript) (party int, rule string) {
	for i, t := range all {
		if t.Session != session || t.Place != i || len(t.Links) != len(all) {
			return i, "a transcript of this session"
		}
		if t.Trace != all[0].Trace {
			return -1, "all parties ran the same operators"
		}
	}
	for i := range all {
		for j := range all {
			if i != j && all[i].Links[j].Out != all[j].Links[i].In {
				return -1, "both ends of a link saw the same frames"
			}
		}
	}
	return -1, ""
}

// SharesJob names the job of a question's plan, counted from 1: a party joins a job once, so that each plan has another.
func SharesJob(q sandbox.QuestionID, plan int) sandbox.RunID {
	if plan <= 1 {
		return sandbox.RunID(q)
	}
	return sandbox.RunID(fmt.Sprintf("%s-%d", q, plan))
}

// sharesTrail is how a question stands that is computed over shares.
type sharesTrail struct {
	planned SharesPlannedBody
	done    bool // computed
	ended   bool // computed or aborted
	opening bool // aborted when outputs may have opened
	plans   int  // how many there were
}

const sharesCheck = "shares"

// sharesPlanned: of an allowed question of this engine; again only after the plan before ended before an output opened.
func (c *checker) sharesPlanned(b SharesPlannedBody) error {
	q := c.questions[b.Question]
	if q == nil {
		return c.shown(false, sharesCheck, "of a decided question")
	}
	before := q.shares
	q.shares = &sharesTrail{planned: b, plans: 1}
	if before != nil {
		q.shares.plans = before.plans + 1
	}
	return all(c.want(q.decided.Allow && q.decided.Engine == sandbox.MPC, sharesCheck, "of an allowed question that is computed over shares"),
		c.want(before == nil || !before.done && !before.opening, sharesCheck, "planned anew only after a plan that was aborted before an output opened"),
		c.shown(before == nil || before.ended, sharesCheck, "planned anew only after a plan that was aborted before an output opened"), // how, an asker does not see
		c.want(len(b.Plan) == sm.Size && len(b.Parties) == sharesParties, sharesCheck, "three parties under a plan's digest"))
}

// sharesPushed: for the plan on record, before its run has ended.
func (c *checker) sharesPushed(b SharesPushedBody) error {
	q := c.questions[b.Question]
	if q == nil || q.shares == nil {
		return c.shown(false, sharesCheck, "of a plan on record")
	}
	return all(c.want(!q.shares.ended, sharesCheck, "pushed before its run has ended"), c.want(bytes.Equal(b.Plan, q.shares.planned.Plan), sharesCheck, "for the plan on record"),
		c.want(len(b.Push) == sm.Size && b.Dataset != "", sharesCheck, "by the digest of a push of a dataset"))
}

// sharesComputed: of the plan on record, under the parties' certificate.
func (c *checker) sharesComputed(e Event, b SharesComputedBody) error {
	q := c.questions[b.Question]
	if q == nil || q.shares == nil {
		return c.shown(false, sharesCheck, "of a plan on record")
	}
	open := !q.shares.ended
	q.shares.done, q.shares.ended = true, true
	run, err := CheckShares(b.Certificate, e.At)
	if err != nil {
		return &broken{sharesCheck, "under a certificate that verifies"}
	}
	return all(c.want(open, sharesCheck, "computed once"), c.want(bytes.Equal(run.Plan[:], b.Plan) && bytes.Equal(b.Plan, q.shares.planned.Plan), sharesCheck, "by the plan on record"),
		c.want(run.Job == SharesJob(b.Question, q.shares.plans), sharesCheck, "its job is the question's"),
		c.want(run.Model == q.shares.planned.Model, sharesCheck, "under the model on record"),
		c.want(slices.Equal(run.Parties, q.shares.planned.Parties), sharesCheck, "by the parties on record"),
		c.want(slices.ContainsFunc(run.Keys, func(k []byte) bool { return bytes.Equal(k, c.head.SignKey) }), sharesCheck, "the domain is one of the parties"))
}

// sharesAborted: of the plan on record.
func (c *checker) sharesAborted(b SharesAbortedBody) error {
	q := c.questions[b.Question]
	if q == nil || q.shares == nil {
		return c.shown(false, sharesCheck, "of a plan on record")
	}
	open := !q.shares.ended
	q.shares.ended, q.shares.opening = true, b.Stage != SharesBeforeOpening
	return all(c.want(open, sharesCheck, "aborted once, and not after it was computed"), c.want(b.Stage == SharesBeforeOpening || b.Stage == SharesOpening, sharesCheck, "at a known stage"),
		c.want(bytes.Equal(b.Plan, q.shares.planned.Plan), sharesCheck, "by the plan on record"))
}
