package api

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/bill"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/consent"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/query"
)

// Service (域服务) is what the domain does for a caller. The package only carries requests to it: every decision that
// depends on state (grants, consent, ownership, which objects a caller may see) is the Service's own. The role table of
// this package has already been applied when a method with a Caller is called.
//
// Refusals that a caller may learn about are values (Question.Decision, Question.Code, ClaimAnswer.Code), not errors.
type Service interface {
	Domain(ctx context.Context) (DomainInfo, error)
	// Identity gives an enrolled identity and its party; NotFound for an unknown one, Expired for a revoked one. It is asked
	// before the signature is checked and again after the nonce is spent: what it says holds from that moment on.
	Identity(ctx context.Context, id sandbox.IdentityID) (sandbox.Identity, sandbox.Party, error)
	// Seen records the nonce of a signed request durably; Unsigned when the identity used it before.
	Seen(ctx context.Context, id sandbox.IdentityID, nonce string, expires time.Time) error

	EnrolParty(ctx context.Context, c Caller, e Enrolment) error
	EnrolSubject(ctx context.Context, c Caller, e SubjectEnrolment) error

	RegisterDataset(ctx context.Context, c Caller, d catalog.Dataset) (catalog.Dataset, error)
	Datasets(ctx context.Context, c Caller) ([]catalog.Dataset, error)
	Dataset(ctx context.Context, c Caller, id sandbox.DatasetID) (catalog.Dataset, error)

	OpenPush(ctx context.Context, c Caller, o PushOpening) (Push, error)
	Push(ctx context.Context, c Caller, run sandbox.RunID) (Push, error)
	// Pushes lists the open runs: a unit's own, or all for the agency and auditors.
	Pushes(ctx context.Context, c Caller) ([]Push, error)
	// AbandonPush ends an open run, a stream under way included, and keeps nothing of it. Its unit and the agency may; a run
	// the caller may not see is NotFound, one that was committed or refused is Conflict.
	AbandonPush(ctx context.Context, c Caller, run sandbox.RunID) (Push, error)
	// ReceivePush reads the sealed frames of an opened push. The caller's signature covers Push.OpeningDigest, checked
	// before the call; the frames prove themselves by the secret inside the opening.
	ReceivePush(ctx context.Context, c Caller, run sandbox.RunID, body io.Reader) (PushReport, error)

	FileScenario(ctx context.Context, c Caller, a grant.Application) (grant.Scenario, error)
	Scenarios(ctx context.Context, c Caller) ([]grant.Scenario, error)
	Scenario(ctx context.Context, c Caller, id sandbox.ScenarioID) (grant.Scenario, error)
	DecideScenario(ctx context.Context, c Caller, id sandbox.ScenarioID, s attest.Statement) (grant.Scenario, error)
	SignAgreement(ctx context.Context, c Caller, id sandbox.ScenarioID, s attest.Statement) (grant.Scenario, error)

	GiveConsent(ctx context.Context, c Caller, r ConsentRequest) (consent.Record, error)
	RevokeConsent(ctx context.Context, c Caller, id sandbox.ConsentID, s attest.Statement) (consent.Record, error)
	Consent(ctx context.Context, c Caller, id sandbox.ConsentID) (consent.Record, error)

	Explain(ctx context.Context, c Caller, s query.Spec) (Explanation, error)
	Ask(ctx context.Context, c Caller, s query.Spec) (Question, error)
	Questions(ctx context.Context, c Caller) ([]Question, error)
	Question(ctx context.Context, c Caller, id sandbox.QuestionID) (Question, error)
	// AskClaim answers about one consenting subject. Every refusal is ClaimAnswer.Code = sandbox.CodeConsent; an error of
	// any kind but Invalid, Denied, Unavailable and Internal is written as that same refusal.
	AskClaim(ctx context.Context, c Caller, r ClaimRequest) (ClaimAnswer, error)

	Reviews(ctx context.Context, c Caller) ([]Review, error)
	Review(ctx context.Context, c Caller, id sandbox.QuestionID) (Review, error)
	Vote(ctx context.Context, c Caller, id sandbox.QuestionID, s attest.Statement) (Review, error)

	Releases(ctx context.Context, c Caller) ([]ReleaseInfo, error)
	// Release gives the sealed envelope, as release.Envelope encodes itself.
	Release(ctx context.Context, c Caller, id sandbox.ReleaseID) (json.RawMessage, error)

	// Usage gives the metered events of a month, "2006-01" in Asia/Shanghai, that the caller may see.
	Usage(ctx context.Context, c Caller, month string) ([]meter.Event, error)
	IssueInvoice(ctx context.Context, c Caller, r InvoiceRequest) (bill.Invoice, error)
	Invoices(ctx context.Context, c Caller) ([]bill.Invoice, error)
	Invoice(ctx context.Context, c Caller, id sandbox.InvoiceID) (bill.Invoice, error)

	// Checkpoint gives the last signed checkpoint of the evidence log, in signed-note form.
	Checkpoint(ctx context.Context) (string, error)
	// Bundle writes the evidence bundle with what the caller's party may see disclosed.
	Bundle(ctx context.Context, c Caller, w io.Writer) error
	// Proof gives the proof of an entry, with its event if it is asked for and the caller's party may see it; Growth that a
	// kept checkpoint is a prefix of the log. Both are files of package attest.
	Proof(ctx context.Context, c Caller, index uint64, event bool) ([]byte, error)
	Growth(ctx context.Context, c Caller, r GrowthRequest) ([]byte, error)

	// Overdue and Quarantine list what concerns the caller's own datasets; the agency and auditors see all.
	Overdue(ctx context.Context, c Caller) ([]Overdue, error)
	Quarantine(ctx context.Context, c Caller) ([]Quarantine, error)
	// EraseVersion destroys the key of a version for good. The owner and the agency may; a dataset the caller may not see is
	// NotFound, the current version without ErasureRequest.Current is Denied.
	EraseVersion(ctx context.Context, c Caller, d sandbox.DatasetID, version uint64, r ErasureRequest) (ErasureReport, error)

	// Authority gives what anyone checks the domain's certificates with.
	Authority(ctx context.Context) (AuthorityInfo, error)
	// IssueCertificates certifies the keys of the caller's own identity and revokes the pair it had.
	IssueCertificates(ctx context.Context, c Caller, r CertificateRequests) (CertificatePair, error)
}

// Registrar (身份登记) is a Service that can change enrolled identities. One that cannot answers those two operations as unavailable.
type Registrar interface {
	// RevokeIdentity shuts an identity out: when it returns, Service.Identity gives Expired for it, from every goroutine. It
	// keeps time, reason and who did it. The agency may revoke any identity but the domain's, others those of their own
	// party; one the caller may not see is NotFound, one revoked before is left as it is. A party keeps its other
	// identities; what a revoked one began (an open push, say) is the Registrar's to end.
	RevokeIdentity(ctx context.Context, c Caller, id sandbox.IdentityID, reason string) error
	// RenewIdentity replaces the keys of the caller's own identity. The request is signed with the old key, and k was
	// checked with KeyRenewal.Verify. When it returns, Service.Identity gives the new keys; the old ones stay in the
	// evidence, for statements signed with them.
	RenewIdentity(ctx context.Context, c Caller, id sandbox.IdentityID, k KeyRenewal) error
}

// Librarian (目录服务) is a Service that keeps a catalogue to be searched, revised and measured. One that does not answers those
// operations as unavailable.
type Librarian interface {
	// Search finds the cards the caller may see, best first; see catalog.Query and catalog.Hit for words and order.
	Search(ctx context.Context, c Caller, q catalog.Query) (SearchPage, error)
	// SourceConflicts lists the fields that more than one unit is a source of: for a unit those it has a part in.
	SourceConflicts(ctx context.Context, c Caller) ([]catalog.Conflict, error)
	SeedCatalogue(ctx context.Context, c Caller, r SeedRequest) ([]catalog.Entry, error)
	Entries(ctx context.Context, c Caller) ([]catalog.Entry, error)
	// ReviseDataset takes the owner's new description; Denied for another's dataset, Conflict for what does not change this way.
	ReviseDataset(ctx context.Context, c Caller, d sandbox.DatasetID, next catalog.Dataset) (catalog.Dataset, error)
	Revisions(ctx context.Context, c Caller, d sandbox.DatasetID) ([]catalog.Revision, error)
	// Schemas gives the schemas among the revisions, oldest first.
	Schemas(ctx context.Context, c Caller, d sandbox.DatasetID) ([]catalog.SchemaVersion, error)
	// Quality gives the scorecard of the current version to its owner and those who supervise; NotFound to others.
	Quality(ctx context.Context, c Caller, d sandbox.DatasetID) (catalog.Scorecard, error)
}

// SearchPage (检索结果页) is one page of cards; Next is the cursor of the page behind it, empty after the last. The first page of
// a search by words alone also has the lines of published catalogues in which all of them stand, best first.
type SearchPage struct {
	Total   int             `json:"total"`
	Next    string          `json:"next,omitempty"`
	Hits    []SearchHit     `json:"hits"`
	Entries []catalog.Entry `json:"entries,omitempty"`
}

// SearchHit (检索条目) is one card found.
type SearchHit struct {
	Dataset   sandbox.DatasetID `json:"dataset"`
	Unit      sandbox.PartyID   `json:"unit"`
	Title     string            `json:"title"`
	Code      string            `json:"code,omitempty"`
	Frequency catalog.Frequency `json:"frequency"`
	Rows      int64             `json:"rows"`
	Grade     sandbox.Grade     `json:"grade"` // strictest of the columns
	Score     int               `json:"score"`
}

// SeedRequest (目录编制请求) names the district whose published catalogue is entered; empty: the domain's own.
type SeedRequest struct {
	District string `json:"district,omitempty"`
}

// Caller (请求方) is who signed the request, proven before the Service is called.
type Caller struct {
	Identity sandbox.Identity
	Party    sandbox.Party
	Request  []byte // SM3 of the request as signed, for the evidence
}

// DomainInfo (域信息) is what anyone may know about a domain before enrolment. Keys are uncompressed SM2 points, 65 bytes.
type DomainInfo struct {
	Domain     string             `json:"domain"`
	Hosting    sandbox.Hosting    `json:"hosting"`
	District   string             `json:"district"`
	Identity   sandbox.IdentityID `json:"identity"` // the domain's own identity, the To of a push and the signer of releases
	SignKey    []byte             `json:"sign_key"`
	EncryptKey []byte             `json:"encrypt_key"`
	Checkpoint string             `json:"checkpoint"` // last signed checkpoint, signed-note form
	Policy     string             `json:"policy"`     // policy version
}

// Enrolment (主体入域登记) admits a party with the identities that may sign for it.
type Enrolment struct {
	Party      sandbox.Party      `json:"party"`
	Identities []sandbox.Identity `json:"identities"`
}

// SubjectEnrolment (数据主体登记) binds a person's key to the identifier the person has in the data.
type SubjectEnrolment struct {
	Identity sandbox.Identity `json:"identity"`
	Party    sandbox.Party    `json:"party"`
	SealedID []byte           `json:"sealed_id"` // the identifier sealed to the domain, context "opdomain/subject-id/v1"
}

// RevocationRequest (吊销请求) says why an identity is shut out, in 1 to 200 characters; it goes into the evidence.
type RevocationRequest struct {
	Reason string `json:"reason"`
}

// Revocation (吊销记录) is the state of an identity that was shut out, as a Registrar keeps it.
type Revocation struct {
	Identity sandbox.IdentityID `json:"identity"`
	At       time.Time          `json:"at"`
	Reason   string             `json:"reason"`
	By       sandbox.IdentityID `json:"by"`
}

// KeyRenewal (密钥更新) holds the new keys of an identity, uncompressed SM2 points of 65 bytes, and Proof, the new signing key's
// own signature over them and the identity.
type KeyRenewal struct {
	SignKey    []byte `json:"sign_key"`
	EncryptKey []byte `json:"encrypt_key"`
	Proof      []byte `json:"proof"`
}

// ContextRenewal is what a new key signs its own renewal under.
const ContextRenewal = attest.ContextRenewal

func (k KeyRenewal) message(id sandbox.IdentityID) []byte {
	return sm.Frame([]byte(id), k.SignKey, k.EncryptKey)
}

// NewRenewal makes the renewal of an identity's keys.
func NewRenewal(rand io.Reader, id sandbox.IdentityID, sign *sm.SigningKey, encrypt *sm.EncryptKey) (KeyRenewal, error) {
	k := KeyRenewal{SignKey: sign.Public().Bytes(), EncryptKey: encrypt.Bytes()}
	var err error
	k.Proof, err = sign.Sign(rand, ContextRenewal, k.message(id))
	return k, err
}

// Verify checks that both keys are keys, kept apart, and that the new signing key signed.
func (k KeyRenewal) Verify(id sandbox.IdentityID) error {
	key, err := sm.ParseVerifyKey(k.SignKey)
	if err != nil {
		return malformed("sign_key", "an SM2 point on the curve, 65 bytes")
	}
	if _, err := sm.ParseEncryptKey(k.EncryptKey); err != nil {
		return malformed("encrypt_key", "an SM2 point on the curve, 65 bytes")
	}
	if bytes.Equal(k.SignKey, k.EncryptKey) {
		return malformed("encrypt_key", "signing and encryption keys are separate")
	}
	if key.Verify(ContextRenewal, k.message(id), k.Proof) != nil {
		return malformed("proof", "the new signing key signs its own renewal")
	}
	return nil
}

// PushOpening (推送开启) is the first message of a sealed push: the encoded channel opening and the unit's signature over
// it, context "opdomain/stream/v1".
type PushOpening struct {
	Opening   []byte `json:"opening"`
	Signature []byte `json:"signature"`
}

// Push (推送) is where one push stands.
type Push struct {
	Run           sandbox.RunID     `json:"run"`
	Dataset       sandbox.DatasetID `json:"dataset"`
	State         string            `json:"state"`
	OpeningDigest []byte            `json:"opening_digest"`        // SM3 of PushOpening.Opening; what the signature of the frames request covers
	ResumeFrom    int64             `json:"resume_from,omitempty"` // batches that are durable; the next stream starts with the one behind
	Prefix        []byte            `json:"prefix,omitempty"`      // digest of those batches
	Rule          string            `json:"rule,omitempty"`        // why it was refused: a kind of error, schema-drift, no-room or abandoned
	Report        *PushReport       `json:"report,omitempty"`
}

// Rejection (剔除统计) is how many rows a rule left out.
type Rejection struct {
	Column string `json:"column,omitempty"`
	Rule   string `json:"rule"`
	Rows   int64  `json:"rows"`
}

// PushReport (入库回执) is what a committed push left in the domain.
type PushReport struct {
	Run      sandbox.RunID     `json:"run"`
	Dataset  sandbox.DatasetID `json:"dataset"`
	Version  uint64            `json:"version"`
	Rows     int64             `json:"rows"`
	Sealed   int64             `json:"sealed"`   // bytes sealed
	Manifest []byte            `json:"manifest"` // SM3 of the sealed manifest
	// What the run was like: rows at the origin as its sender says, batches, the connections it took, batches that came
	// again, rows left out by rule, and when it was opened and committed by the domain's clock.
	Read       int64       `json:"read,omitempty"`
	Batches    int64       `json:"batches,omitempty"`
	Digest     []byte      `json:"digest,omitempty"` // chain of all batches as they were sent: what the run holds
	Streams    int64       `json:"streams,omitempty"`
	Duplicates int64       `json:"duplicates,omitempty"`
	Rejected   []Rejection `json:"rejected,omitempty"`
	Unused     []string    `json:"unused,omitempty"` // headers at the origin that no column reads, as the sender says
	Began      time.Time   `json:"began,omitzero"`
	Ended      time.Time   `json:"ended,omitzero"`
	Findings   []Finding   `json:"findings,omitempty"`
}

// Finding (识别结果) is what the detectors say about one column: a kind and a grade, never a value.
type Finding struct {
	Column  string        `json:"column"`
	Finding string        `json:"finding"`
	Grade   sandbox.Grade `json:"grade"`
}

// ConsentRequest (授权请求) is a signed consent receipt with its sealed opening: the claim number and the salt of the
// receipt's commitment, sealed to the domain, context "opdomain/claim/v1".
type ConsentRequest struct {
	Statement attest.Statement `json:"statement"`
	Opening   []byte           `json:"opening"`
}

// Explanation (判定说明) is a decision before any key opens, with the derivation it rests on, and both in words.
type Explanation struct {
	Decision   sandbox.Decision   `json:"decision"`
	Text       string             `json:"text"`
	Derivation *query.Explanation `json:"derivation,omitempty"`
	Shares     *SharesTerms       `json:"shares,omitempty"` // of a question over shares
}

// Question (查询) is one question as its asker sees it. Code is sandbox.CodeWithheld for every refusal that depends on
// data; Decision is the full decision made before data.
type Question struct {
	ID       sandbox.QuestionID `json:"id"`
	Scenario sandbox.ScenarioID `json:"scenario"`
	State    string             `json:"state"`
	Code     string             `json:"code,omitempty"`
	Decision sandbox.Decision   `json:"decision"`
	Release  sandbox.ReleaseID  `json:"release,omitempty"`
	Asked    time.Time          `json:"asked,omitzero"`

	Round       int       `json:"round,omitempty"`       // of its review
	Comment     string    `json:"comment,omitempty"`     // of the reviewer who returned it
	Notice      string    `json:"notice,omitempty"`      // of the agency that revoked its release
	AppealUntil time.Time `json:"appeal_until,omitzero"` // by when its asker may appeal

	Shares *SharesTerms `json:"shares,omitempty"` // while it is computed over shares
}

// ClaimRequest (单人查询请求) asks for listed fields of one claim under one consent. Sealed holds the subject's identifier
// and the claim number, sealed to the domain, context "opdomain/claim-query/v1".
type ClaimRequest struct {
	Scenario sandbox.ScenarioID `json:"scenario"`
	Purpose  string             `json:"purpose"`
	Consent  sandbox.ConsentID  `json:"consent"`
	Dataset  sandbox.DatasetID  `json:"dataset"`
	Fields   []string           `json:"fields"`
	Sealed   []byte             `json:"sealed"`
}

// ClaimAnswer (单人查询结果) is a sealed envelope, or the one refusal code.
type ClaimAnswer struct {
	Question sandbox.QuestionID `json:"question,omitempty"`
	Code     string             `json:"code,omitempty"`
	Envelope json.RawMessage    `json:"envelope,omitempty"`
}

// Review (出域审核) is one result waiting for, or past, its reviewers. Result is exactly what would leave; Pack is the
// evidence behind it, for the agency and the owners only.
type Review struct {
	ID        sandbox.QuestionID `json:"id"`
	Class     sandbox.Class      `json:"class,omitempty"`
	State     string             `json:"state"`
	Round     int                `json:"round,omitempty"` // of votes, from 0
	Votes     int                `json:"votes,omitempty"` // cast in this round; how, is told when both are
	Author    sandbox.IdentityID `json:"author"`
	Recipient sandbox.IdentityID `json:"recipient"`
	Expires   time.Time          `json:"expires,omitzero"`
	Result    []byte             `json:"result,omitempty"`
	Digest    []byte             `json:"digest,omitempty"` // SM3 of Result, what a vote names
	Policy    string             `json:"policy,omitempty"`
	Rules     []string           `json:"rules,omitempty"`
	Comment   string             `json:"comment,omitempty"`  // of the last return
	Template  sandbox.TemplateID `json:"template,omitempty"` // it leaves under, at Slot
	Slot      time.Time          `json:"slot,omitzero"`
	Sampled   bool               `json:"sampled,omitempty"` // drawn for review after its release
	Pack      json.RawMessage    `json:"pack,omitempty"`
}

// ReleaseInfo (出域记录) describes one release without its content.
type ReleaseInfo struct {
	ID        sandbox.ReleaseID  `json:"id"`
	Question  sandbox.QuestionID `json:"question"`
	Class     sandbox.Class      `json:"class"`
	Recipient sandbox.IdentityID `json:"recipient"`
	Expires   time.Time          `json:"expires"`
}

// InvoiceRequest (开账请求) names the party and the month, "2006-01" in Asia/Shanghai, to bill.
type InvoiceRequest struct {
	Party sandbox.PartyID `json:"party"`
	Month string          `json:"month"`
}

// GrowthRequest (增长证明请求) holds a checkpoint of this log as it was signed, in signed-note form.
type GrowthRequest struct {
	Checkpoint string `json:"checkpoint"`
}

// CertificateRequests (证书申请) holds the requests for both certificates of an identity, PKCS#10 in PEM.
type CertificateRequests struct {
	Sign    string `json:"sign"`
	Encrypt string `json:"encrypt"`
}

// CertificatePair (双证书) holds both certificates of an identity and that of the domain's authority, PEM.
type CertificatePair struct {
	Sign      string `json:"sign"`
	Encrypt   string `json:"encrypt"`
	Authority string `json:"authority"`
}

// AuthorityInfo (域证书机构) is the certificate of the domain's authority and its newest revocation list, PEM.
type AuthorityInfo struct {
	Certificate string `json:"certificate"`
	Revoked     string `json:"revoked"`
}

// Overdue (更新逾期) is a dataset behind its update frequency.
type Overdue struct {
	Dataset   sandbox.DatasetID `json:"dataset"`
	Unit      sandbox.PartyID   `json:"unit"`
	Frequency catalog.Frequency `json:"frequency"`
	Due       time.Time         `json:"due"`
}

// Quarantine (隔离记录) is a push that was refused because its schema is not the registered one and not a change that passes.
type Quarantine struct {
	Run     sandbox.RunID     `json:"run"`
	Dataset sandbox.DatasetID `json:"dataset"`
	Digest  []byte            `json:"digest"` // of the schema that was refused
	Reason  string            `json:"reason"`
	At      time.Time         `json:"at"`
}

// ErasureRequest (销毁请求) says why a version is erased, in 1 to 200 characters. Current says that the version in use is
// meant: without it that one is not erased.
type ErasureRequest struct {
	Reason  string `json:"reason"`
	Current bool   `json:"current,omitempty"`
}

// ErasureReport (销毁回执) is the signed certificate of what was destroyed (keys.Erasure), and the files that went with it.
type ErasureReport struct {
	Dataset     sandbox.DatasetID `json:"dataset"`
	Version     uint64            `json:"version"`
	Certificate json.RawMessage   `json:"certificate"`
	Files       int               `json:"files,omitempty"`
	Bytes       int64             `json:"bytes,omitempty"`
}
