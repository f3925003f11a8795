package attest

import (
	"bytes"
	"encoding/json"
	"io"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Contexts: each kind of statement is signed under its own, so that one never passes for another.
const (
	ContextDecision   = "opdomain/decision/v1"
	ContextAgreement  = "opdomain/agreement/v1"
	ContextConsent    = "opdomain/consent/v1"
	ContextRevocation = "opdomain/revocation/v1"
	ContextVote       = "opdomain/vote/v1"
	ContextRequest    = "opdomain/request/v1"
	ContextEvent      = "opdomain/event/v1"
	ContextBundle     = "opdomain/bundle/v1"
)

// MaxStatement bounds the body of a statement in bytes.
const MaxStatement = 64 << 10

// Statement (签名声明) is what one identity said: a JSON body exactly as signed, SM2 over context and body.
type Statement struct {
	Context   string             `json:"context"`
	Signer    sandbox.IdentityID `json:"signer"`
	Body      []byte             `json:"body"`
	Signature []byte             `json:"signature"`
}

// Sign makes a statement of body.
func Sign(rand io.Reader, key *sm.SigningKey, signer sandbox.IdentityID, context string, body any) (Statement, error) {
	b, err := json.Marshal(body)
	if err != nil {
		return Statement{}, &sandbox.Error{Op: "statement: sign", Kind: sandbox.Internal, Object: context, Err: err}
	}
	sig, err := key.Sign(rand, context, b)
	if err != nil {
		return Statement{}, err
	}
	return Statement{Context: context, Signer: signer, Body: b, Signature: sig}, nil
}

// Open checks the signature under pub and the context, and reads the body strictly: no unknown field, nothing after it.
func (s Statement) Open(pub *sm.VerifyKey, context string, into any) error {
	if s.Context != context {
		return &sandbox.Error{Op: "statement", Kind: sandbox.Tampered, Object: context, Detail: "a statement of another kind"}
	}
	if len(s.Body) > MaxStatement {
		return &sandbox.Error{Op: "statement", Kind: sandbox.TooLarge, Object: context, Detail: "at most 64 KiB"}
	}
	if err := pub.Verify(context, s.Body, s.Signature); err != nil {
		return err
	}
	if err := strict(s.Body, into); err != nil {
		return &sandbox.Error{Op: "statement", Kind: sandbox.Invalid, Object: context, Detail: "the body is one JSON object with the known fields"}
	}
	return nil
}

func strict(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return io.ErrUnexpectedEOF
	}
	return nil
}

// ScenarioDecision (审核意见) is one party's yes or no to a scenario and its data list.
// 依据: 福田区公共数据授权运营暂行管理办法 第十八条.
type ScenarioDecision struct {
	Scenario   sandbox.ScenarioID `json:"scenario"`
	ListDigest []byte             `json:"list_digest"`
	Step       string             `json:"step"` // operator | agency | unit
	Party      sandbox.PartyID    `json:"party"`
	Approve    bool               `json:"approve"`
	Reason     string             `json:"reason,omitempty"`
	At         time.Time          `json:"at"`
}

// AgreementSignature (协议签署) is one party's signature under the service agreement of a scenario.
// 依据: 福田区公共数据授权运营暂行管理办法 第十九条.
type AgreementSignature struct {
	Scenario sandbox.ScenarioID `json:"scenario"`
	Digest   []byte             `json:"digest"`
	Party    sandbox.PartyID    `json:"party"`
	At       time.Time          `json:"at"`
}

// Receipt (个人授权凭证) is a subject's consent to one grantee's use of listed fields of one claim. Claim is a commitment, so
// that the receipt shows no claim number. 依据: ISO/IEC TS 27560:2023; 个人信息保护法 第十四条.
type Receipt struct {
	ID            sandbox.ConsentID  `json:"id"`
	Subject       sandbox.IdentityID `json:"subject"`
	Grantee       sandbox.PartyID    `json:"grantee"`
	Unit          sandbox.PartyID    `json:"unit"`
	Scenario      sandbox.ScenarioID `json:"scenario"`
	Purpose       string             `json:"purpose"`
	Dataset       sandbox.DatasetID  `json:"dataset"`
	Fields        []string           `json:"fields"`
	Claim         []byte             `json:"claim"`
	NotBefore     time.Time          `json:"not_before"`
	NotAfter      time.Time          `json:"not_after"`
	MaxUses       int                `json:"max_uses"`
	Notice        []byte             `json:"notice"` // SM3 of the notice text shown
	NoticeVersion string             `json:"notice_version"`
	Language      string             `json:"language"`
	Method        string             `json:"method"`
	At            time.Time          `json:"at"`
}

// ClaimCommitment (单号承诺) hides a claim number behind a random salt: SM3 of the framed word "claim", salt and number.
func ClaimCommitment(salt []byte, claim string) []byte {
	d := sm.Sum(sm.Frame([]byte("claim"), salt, []byte(claim)))
	return d[:]
}

// Revocation (撤回授权) ends a consent.
type Revocation struct {
	Consent sandbox.ConsentID `json:"consent"`
	At      time.Time         `json:"at"`
}

// Vote (审批意见) is one reviewer's yes or no to exactly one result for one recipient until one time.
type Vote struct {
	Question  sandbox.QuestionID `json:"question"`
	Class     sandbox.Class      `json:"class,omitempty"` // output class; none: A, from before it was named
	Round     int                `json:"round,omitempty"` // 0 the first; a resubmission or an appeal begins the next
	Result    []byte             `json:"result"`          // SM3 of the outgoing bytes
	Recipient sandbox.IdentityID `json:"recipient"`
	Expires   time.Time          `json:"expires"`
	Policy    string             `json:"policy"`
	Approve   bool               `json:"approve"`
	Reason    string             `json:"reason,omitempty"`
	At        time.Time          `json:"at"`
}
