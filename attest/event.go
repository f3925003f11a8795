package attest

import (
	"encoding/json"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Kind (事件类别) says what an Event proves.
type Kind string

// The kinds, each with its body type below.
const (
	DomainCreated      Kind = "domain.created"
	PartyEnrolled      Kind = "party.enrolled"
	SubjectEnrolled    Kind = "subject.enrolled"
	DatasetRegistered  Kind = "dataset.registered"
	DatasetRevised     Kind = "dataset.revised"
	CatalogueSeeded    Kind = "catalogue.seeded"
	IngestCommitted    Kind = "ingest.committed"
	IngestRefused      Kind = "ingest.refused"
	ScenarioFiled      Kind = "scenario.filed"
	ScenarioDecided    Kind = "scenario.decided"
	AgreementSigned    Kind = "agreement.signed"
	GrantIssued        Kind = "grant.issued"
	QuestionDecided    Kind = "question.decided"
	RunComputed        Kind = "run.computed"
	EgressChecked      Kind = "egress.checked"
	ReviewVoted        Kind = "review.voted"
	ReleaseSent        Kind = "release.sent"
	ConsentGiven       Kind = "consent.given"
	ConsentRevoked     Kind = "consent.revoked"
	ClaimAnswered      Kind = "claim.answered"
	ClaimRefused       Kind = "claim.refused"
	UsageMetered       Kind = "usage.metered"
	InvoiceIssued      Kind = "invoice.issued"
	BundleExported     Kind = "bundle.exported"
	EvidenceErased     Kind = "evidence.erased"     // 存证载荷删除
	IdentityRevoked    Kind = "identity.revoked"    // 数字身份吊销
	IdentityRenewed    Kind = "identity.renewed"    // 密钥更新
	KeyRotated         Kind = "key.rotated"         // 密钥轮换
	KeyErased          Kind = "key.erased"          // 密钥销毁
	WitnessesSet       Kind = "witnesses.set"       // 见证方设定
	DomainRestored     Kind = "domain.restored"     // 备份恢复
	CertificatesIssued Kind = "certificates.issued" // 证书签发
	ViewSealed         Kind = "view.sealed"         // 脱敏视图

	ClassificationConfirmed Kind = "classification.confirmed" // 分级确认
	ClassificationRegraded  Kind = "classification.regraded"  // 重新分级
	RulesAdopted            Kind = "rules.adopted"            // 分级规则启用
	MaskingSet              Kind = "masking.set"              // 动态脱敏设置

	ReviewMoved     Kind = "review.moved"     // 审核流转
	ReviewOpened    Kind = "review.opened"    // 开票
	TemplateSigned  Kind = "template.signed"  // 常设模板签署
	TemplateStopped Kind = "template.stopped" // 常设模板停用

	AlgorithmApproved  Kind = "algo.approved"  // 算法准入
	AlgorithmWithdrawn Kind = "algo.withdrawn" // 算法撤回
	AlgorithmRefused   Kind = "algo.refused"   // 算法不予准入
	AlgorithmAsked     Kind = "algo.asked"     // 算法调用
	AlgorithmRan       Kind = "algo.ran"       // 算法隔离运行

	ScoringModelFiled     Kind = "scoring.model.filed"     // 密态评分模型申报
	ScoringModelApproved  Kind = "scoring.model.approved"  // 密态评分模型准入
	ScoringModelWithdrawn Kind = "scoring.model.withdrawn" // 密态评分模型撤回
	ScoringDecided        Kind = "scoring.decided"         // 密态评分判定
	ScoringAnswered       Kind = "scoring.scored"          // 密态评分

	SharesPlanned  Kind = "shares.planned"  // 多方计算方案
	SharesPushed   Kind = "shares.pushed"   // 推送份额接收
	SharesComputed Kind = "shares.computed" // 多方计算完成
	SharesAborted  Kind = "shares.aborted"  // 多方计算中止
)

// Event (存证事件) is one state change. The domain signs it; Salt hides it inside its log entry.
type Event struct {
	Kind      Kind               `json:"kind"`
	At        time.Time          `json:"at"`
	Actor     sandbox.IdentityID `json:"actor"`
	Object    string             `json:"object"`
	Body      json.RawMessage    `json:"body"`
	Signature []byte             `json:"signature,omitempty"` // the domain's SM2 over the event without it
}

// MaxEvent bounds an event's bytes.
const MaxEvent = 512 << 10

// open gives the body as a pointer to the type of the event's kind, read strictly. An unknown kind is an error: a
// verifier that skips what it does not know proves less than it says.
func (e Event) open() (any, error) {
	var body any
	switch e.Kind {
	case DomainCreated:
		body = new(DomainCreatedBody)
	case PartyEnrolled:
		body = new(PartyEnrolledBody)
	case SubjectEnrolled:
		body = new(SubjectEnrolledBody)
	case DatasetRegistered:
		body = new(DatasetRegisteredBody)
	case DatasetRevised:
		body = new(DatasetRevisedBody)
	case CatalogueSeeded:
		body = new(CatalogueSeededBody)
	case IngestCommitted:
		body = new(IngestCommittedBody)
	case IngestRefused:
		body = new(IngestRefusedBody)
	case ScenarioFiled:
		body = new(ScenarioFiledBody)
	case ScenarioDecided:
		body = new(ScenarioDecidedBody)
	case AgreementSigned:
		body = new(AgreementSignedBody)
	case GrantIssued:
		body = new(GrantIssuedBody)
	case QuestionDecided:
		body = new(QuestionDecidedBody)
	case RunComputed:
		body = new(RunComputedBody)
	case EgressChecked:
		body = new(EgressCheckedBody)
	case ReviewVoted:
		body = new(ReviewVotedBody)
	case ReleaseSent:
		body = new(ReleaseSentBody)
	case ConsentGiven:
		body = new(ConsentGivenBody)
	case ConsentRevoked:
		body = new(ConsentRevokedBody)
	case ClaimAnswered:
		body = new(ClaimAnsweredBody)
	case ClaimRefused:
		body = new(ClaimRefusedBody)
	case UsageMetered:
		body = new(UsageMeteredBody)
	case InvoiceIssued:
		body = new(InvoiceIssuedBody)
	case BundleExported:
		body = new(BundleExportedBody)
	case EvidenceErased:
		body = new(EvidenceErasedBody)
	case IdentityRevoked:
		body = new(IdentityRevokedBody)
	case IdentityRenewed:
		body = new(IdentityRenewedBody)
	case KeyRotated:
		body = new(KeyRotatedBody)
	case KeyErased:
		body = new(KeyErasedBody)
	case WitnessesSet:
		body = new(WitnessesSetBody)
	case DomainRestored:
		body = new(DomainRestoredBody)
	case CertificatesIssued:
		body = new(CertificatesIssuedBody)
	case ViewSealed:
		body = new(ViewSealedBody)
	case ClassificationConfirmed:
		body = new(ClassificationConfirmedBody)
	case ClassificationRegraded:
		body = new(ClassificationRegradedBody)
	case RulesAdopted:
		body = new(RulesAdoptedBody)
	case MaskingSet:
		body = new(MaskingSetBody)
	case SumPlanned:
		body = new(SumPlannedBody)
	case SumShared:
		body = new(SumSharedBody)
	case SumOpened:
		body = new(SumOpenedBody)
	case SumAborted:
		body = new(SumAbortedBody)
	case JointPlanned:
		body = new(JointPlannedBody)
	case JointShared:
		body = new(JointSharedBody)
	case JointOpened:
		body = new(JointOpenedBody)
	case JointAborted:
		body = new(JointAbortedBody)
	case ReviewMoved:
		body = new(ReviewMovedBody)
	case ReviewOpened:
		body = new(ReviewOpenedBody)
	case TemplateSigned:
		body = new(TemplateSignedBody)
	case TemplateStopped:
		body = new(TemplateStoppedBody)
	case AlgorithmApproved:
		body = new(AlgorithmApprovedBody)
	case AlgorithmWithdrawn:
		body = new(AlgorithmWithdrawnBody)
	case AlgorithmRefused:
		body = new(AlgorithmRefusedBody)
	case AlgorithmAsked:
		body = new(AlgorithmAskedBody)
	case SharesPlanned:
		body = new(SharesPlannedBody)
	case SharesComputed:
		body = new(SharesComputedBody)
	case SharesPushed:
		body = new(SharesPushedBody)
	case SharesAborted:
		body = new(SharesAbortedBody)
	case AlgorithmRan:
		body = new(AlgorithmRanBody)
	case ScoringModelFiled:
		body = new(ScoringModelFiledBody)
	case ScoringModelApproved:
		body = new(ScoringModelApprovedBody)
	case ScoringModelWithdrawn:
		body = new(ScoringModelWithdrawnBody)
	case ScoringDecided:
		body = new(ScoringDecidedBody)
	case ScoringAnswered:
		body = new(ScoringAnsweredBody)
	default:
		return nil, &sandbox.Error{Op: "event", Kind: sandbox.Invalid, Object: "kind", Detail: "not a known kind"}
	}
	if err := strict(e.Body, body); err != nil {
		return nil, &sandbox.Error{Op: "event", Kind: sandbox.Invalid, Object: string(e.Kind), Detail: "the body is one JSON object with the known fields"}
	}
	return body, nil
}

// Open reads the body of e into a pointer to its type, strictly.
func (e Event) Open(into any) error {
	if err := strict(e.Body, into); err != nil {
		return &sandbox.Error{Op: "event", Kind: sandbox.Invalid, Object: string(e.Kind), Detail: "the body is one JSON object with the known fields"}
	}
	return nil
}

// signedBytes is what the domain signs.
func (e Event) signedBytes() ([]byte, error) {
	e.Signature = nil
	return json.Marshal(e)
}

// Verify checks the domain's signature.
func (e Event) Verify(pub *sm.VerifyKey) error {
	b, err := e.signedBytes()
	if err != nil {
		return err
	}
	return pub.Verify(ContextEvent, b, e.Signature)
}

// Bodies of events. They carry identifiers, digests and decisions, never a value of the data.
type (
	// DomainCreatedBody (建域).
	DomainCreatedBody struct {
		Domain     string          `json:"domain"`
		Hosting    sandbox.Hosting `json:"hosting"`
		District   string          `json:"district"`
		SignKey    []byte          `json:"sign_key"`
		EncryptKey []byte          `json:"encrypt_key"`
	}
	// PartyEnrolledBody (主体登记).
	PartyEnrolledBody struct {
		Party      sandbox.Party      `json:"party"`
		Identities []sandbox.Identity `json:"identities"`
	}
	// SubjectEnrolledBody (数据主体登记): whom the agency bound to a pseudonym, not which.
	SubjectEnrolledBody struct {
		Identity sandbox.IdentityID `json:"identity"`
	}
	// DatasetRegisteredBody (数据资源登记).
	DatasetRegisteredBody struct {
		Dataset      sandbox.DatasetID `json:"dataset"`
		Unit         sandbox.PartyID   `json:"unit"`
		SchemaDigest []byte            `json:"schema_digest"`
		Frequency    string            `json:"frequency"`
	}
	// DatasetRevisedBody (目录变更): the owner described a dataset anew. Changed names the parts, without their words.
	DatasetRevisedBody struct {
		Dataset  sandbox.DatasetID `json:"dataset"`
		Unit     sandbox.PartyID   `json:"unit"`
		Revision uint64            `json:"revision"`
		Digest   []byte            `json:"digest"` // SM3 of the description as it is kept
		Changed  []string          `json:"changed"`
	}
	// CatalogueSeededBody (目录编制): the agency entered a district's published catalogue.
	CatalogueSeededBody struct {
		District string `json:"district"`
		Entries  int    `json:"entries"`
		Digest   []byte `json:"digest"` // SM3 of the entries
	}
	// ColumnGrade (字段分级) is one column's grade after a push.
	ColumnGrade struct {
		Column   string        `json:"column"`
		Declared sandbox.Grade `json:"declared"`
		Detected sandbox.Grade `json:"detected,omitempty"`
		Finding  string        `json:"finding,omitempty"`
		Personal bool          `json:"personal,omitempty"`
	}
	// IngestCommittedBody (入库). Open names the columns whose proposed grade waits for a person's verdict, and is in force until then.
	IngestCommittedBody struct {
		Dataset       sandbox.DatasetID `json:"dataset"`
		Run           sandbox.RunID     `json:"run"`
		Version       uint64            `json:"version"`
		Rows          int64             `json:"rows"`
		Manifest      []byte            `json:"manifest"` // SM3 of the sealed manifest
		Key           sandbox.KeyID     `json:"key"`
		KeyCommitment []byte            `json:"key_commitment"`
		Grades        []ColumnGrade     `json:"grades"`
		Open          []string          `json:"open,omitempty"`
		Affected      []AffectedGrant   `json:"affected,omitempty"`
	}
	// IngestRefusedBody (入库拒绝): nothing of the push was kept.
	IngestRefusedBody struct {
		Dataset sandbox.DatasetID `json:"dataset"`
		Run     sandbox.RunID     `json:"run"`
		Rule    string            `json:"rule"`
	}
	// DueStep (审核时限).
	DueStep struct {
		Step  string          `json:"step"`
		Party sandbox.PartyID `json:"party"`
		Due   time.Time       `json:"due,omitzero"` // of the step that is open first; later steps open in turn
	}
	// ScenarioFiledBody (场景申请): who must decide, in which order, and who must sign.
	ScenarioFiledBody struct {
		Scenario        sandbox.ScenarioID `json:"scenario"`
		Applicant       sandbox.PartyID    `json:"applicant"`
		Purpose         string             `json:"purpose"`
		ListDigest      []byte             `json:"list_digest"`
		AgreementDigest []byte             `json:"agreement_digest"`
		Due             []DueStep          `json:"due"`
		Signers         []sandbox.PartyID  `json:"signers"`
	}
	// ScenarioDecidedBody (场景审核).
	ScenarioDecidedBody struct {
		Statement Statement `json:"statement"`
		Overdue   bool      `json:"overdue,omitempty"`
	}
	// AgreementSignedBody (协议签署).
	AgreementSignedBody struct {
		Statement Statement `json:"statement"`
	}
	// GrantIssuedBody (授权生效).
	GrantIssuedBody struct {
		Grant      sandbox.GrantID    `json:"grant"`
		Scenario   sandbox.ScenarioID `json:"scenario"`
		ListDigest []byte             `json:"list_digest"`
		NotBefore  time.Time          `json:"not_before"`
		NotAfter   time.Time          `json:"not_after"`
	}
	// QuestionDecidedBody (查询判定).
	QuestionDecidedBody struct {
		Question sandbox.QuestionID `json:"question"`
		Scenario sandbox.ScenarioID `json:"scenario"`
		Asker    sandbox.IdentityID `json:"asker"`
		Spec     []byte             `json:"spec"` // its SpecCommitment
		Allow    bool               `json:"allow"`
		Engine   sandbox.Engine     `json:"engine,omitempty"`
		Class    sandbox.Class      `json:"class,omitempty"`
		Codes    []string           `json:"codes,omitempty"`
		Policy   string             `json:"policy"`
		Privacy  sandbox.Privacy    `json:"privacy,omitzero"` // spent of each dataset by what was not drawn before
		Request  []byte             `json:"request"`          // SM3 of the signed request
	}
	// RunComputedBody (域内计算).
	RunComputedBody struct {
		Question sandbox.QuestionID     `json:"question"`
		Run      sandbox.RunID          `json:"run"`
		Inputs   []sandbox.InputVersion `json:"inputs"`
		Answer   []byte                 `json:"answer,omitempty"` // salted digest of the answer before the gate
	}
	// EgressCheckedBody (出域检查). Result is the digest of the outgoing bytes when the verdict is pass.
	EgressCheckedBody struct {
		Question   sandbox.QuestionID `json:"question"`
		Verdict    string             `json:"verdict"` // pass | withheld
		Suppressed bool               `json:"suppressed,omitempty"`
		Result     []byte             `json:"result,omitempty"`
		Policy     string             `json:"policy"`
		Owners     []sandbox.PartyID  `json:"owners,omitempty"` // whose signature over the result it takes beside the votes
	}
	// ReviewVotedBody (出域审批).
	ReviewVotedBody struct {
		Statement Statement `json:"statement"`
		Step      int       `json:"step"` // 1 or 2
	}
	// ReleaseSentBody (出域).
	ReleaseSentBody struct {
		Release   sandbox.ReleaseID  `json:"release"`
		Question  sandbox.QuestionID `json:"question"`
		Class     sandbox.Class      `json:"class"`
		Recipient sandbox.IdentityID `json:"recipient"`
		Result    []byte             `json:"result"`   // SM3 of the outgoing bytes; salted for class B
		Envelope  []byte             `json:"envelope"` // SM3 of the sealed envelope
		Expires   time.Time          `json:"expires"`
		Consent   sandbox.ConsentID  `json:"consent,omitempty"`
	}
	// ConsentGivenBody (个人授权).
	ConsentGivenBody struct {
		Statement Statement `json:"statement"`
	}
	// ConsentRevokedBody (撤回授权).
	ConsentRevokedBody struct {
		Statement Statement `json:"statement"`
	}
	// ClaimAnsweredBody (单人查询应答).
	ClaimAnsweredBody struct {
		Question sandbox.QuestionID `json:"question"`
		Consent  sandbox.ConsentID  `json:"consent"`
		Use      int                `json:"use"` // 1 for the first use of the consent
		Release  sandbox.ReleaseID  `json:"release"`
		Masking  []byte             `json:"masking,omitempty"` // digest of the plan that the record was shown by, where its dataset has one
	}
	// ClaimRefusedBody (单人查询拒绝): the cause, for subject and auditors; the asker saw one uniform code.
	ClaimRefusedBody struct {
		Question sandbox.QuestionID `json:"question"`
		Consent  sandbox.ConsentID  `json:"consent,omitempty"`
		Asker    sandbox.IdentityID `json:"asker"`
		Code     string             `json:"code"`
	}
	// UsageMeteredBody (用量计量).
	UsageMeteredBody struct {
		ID       string             `json:"id"`
		Party    sandbox.PartyID    `json:"party"`
		Scenario sandbox.ScenarioID `json:"scenario"`
		Product  string             `json:"product"`
		Quantity int64              `json:"quantity"`
		Question sandbox.QuestionID `json:"question"`
		At       time.Time          `json:"at"`
	}
	// InvoiceLine (账单明细) adds up the usage it names.
	InvoiceLine struct {
		Product   string      `json:"product"`
		Quantity  int64       `json:"quantity"`
		UnitPrice sandbox.Fen `json:"unit_price"`
		Amount    sandbox.Fen `json:"amount"`
		Usage     []string    `json:"usage"` // ids of usage.metered
	}
	// InvoiceIssuedBody (账单).
	InvoiceIssuedBody struct {
		Invoice   sandbox.InvoiceID `json:"invoice"`
		Party     sandbox.PartyID   `json:"party"`
		Month     string            `json:"month"` // 2006-01, Asia/Shanghai
		PriceBook string            `json:"price_book"`
		Lines     []InvoiceLine     `json:"lines"`
		Total     sandbox.Fen       `json:"total"`
	}
	// BundleExportedBody (存证导出).
	BundleExportedBody struct {
		Audience string `json:"audience"`
		Size     uint64 `json:"size"` // entries in the log when it was exported
	}
	// EvidenceErasedBody (存证载荷删除): the payloads of these entries are gone, their hashes stay in the log.
	EvidenceErasedBody struct {
		Indices []uint64 `json:"indices"` // rising
		Entries [][]byte `json:"entries"` // the hash of each
		Reason  string   `json:"reason"`
	}
	// IdentityRevokedBody (数字身份吊销): what the identity signs from here on is void.
	IdentityRevokedBody struct {
		Identity sandbox.IdentityID `json:"identity"`
		Reason   string             `json:"reason"`
	}
	// IdentityRenewedBody (密钥更新): the identity signs with the new key from here on. Proof is the new key's own signature over
	// identity and keys, under ContextRenewal; the request for it was signed with the old one.
	IdentityRenewedBody struct {
		Identity   sandbox.IdentityID `json:"identity"`
		SignKey    []byte             `json:"sign_key"`
		EncryptKey []byte             `json:"encrypt_key"`
		Proof      []byte             `json:"proof"`
	}
	// KeyRotatedBody (密钥轮换): everything under a key-encrypting key was wrapped again under its next generation.
	KeyRotatedBody struct {
		Key       sandbox.KeyID `json:"key"`
		From      []uint32      `json:"from"` // generations destroyed
		To        uint32        `json:"to"`
		Rewrapped int           `json:"rewrapped"`
	}
	// KeyErasedBody (密钥销毁): the certificate says what its driver can prove.
	KeyErasedBody struct {
		Key         sandbox.KeyID   `json:"key"`
		Certificate json.RawMessage `json:"certificate"`
	}
	// WitnessBody (见证方) is one witness.
	WitnessBody struct {
		Name  string          `json:"name"`
		Party sandbox.PartyID `json:"party"`
		Key   []byte          `json:"key"`
	}
	// WitnessesSetBody (见证方设定): who must have seen the evidence before anything leaves.
	WitnessesSetBody struct {
		Quorum    int           `json:"quorum"`
		Witnesses []WitnessBody `json:"witnesses"`
	}
	// DomainRestoredBody (备份恢复): the domain goes on from a backup. What it recorded behind Size before that is not in this log.
	DomainRestoredBody struct {
		Taken time.Time `json:"taken"` // the backup
		Size  uint64    `json:"size"`  // entries in it
	}
	// ViewSealedBody (脱敏视图): a view was derived for one use and sealed under a key of its own; key.erased of that key ends it.
	// Route is what the use rests on: "desensitised" with the plan, or "authorised" with the subject's receipt as well.
	ViewSealedBody struct {
		View          sandbox.DatasetID    `json:"view"`
		Use           sandbox.RunID        `json:"use"`
		Source        sandbox.InputVersion `json:"source"`
		Route         string               `json:"route"`
		Plan          string               `json:"plan"`
		PlanVersion   int                  `json:"plan_version"`
		PlanDigest    []byte               `json:"plan_digest"` // SM3 of the plan's canonical bytes
		Signer        sandbox.IdentityID   `json:"signer"`      // who signed the plan for its owner
		PlanSignature json.RawMessage      `json:"plan_signature"`
		Consent       sandbox.ConsentID    `json:"consent,omitempty"`
		Rows          int64                `json:"rows"`
		Manifest      []byte               `json:"manifest"` // SM3 of the sealed manifest
		Key           sandbox.KeyID        `json:"key"`
		KeyCommitment []byte               `json:"key_commitment"`
	}
	// MaskingSetBody (动态脱敏设置): from here on records of a dataset are shown to roles by this plan, which its unit signed.
	MaskingSetBody struct {
		Dataset       sandbox.DatasetID  `json:"dataset"`
		Plan          string             `json:"plan"`
		PlanVersion   int                `json:"plan_version"`
		PlanDigest    []byte             `json:"plan_digest"`
		Signer        sandbox.IdentityID `json:"signer"`
		PlanSignature json.RawMessage    `json:"plan_signature"`
		Roles         []sandbox.Role     `json:"roles"` // those that see something
	}
	// CertificatesIssuedBody (证书签发): the pair of an identity by the domain's authority. Revoked are the serial numbers of the
	// pair it takes the place of; an identity's revocation revokes its pair with it.
	CertificatesIssuedBody struct {
		Identity  sandbox.IdentityID `json:"identity"`
		Authority []byte             `json:"authority"` // SM3 of the authority's certificate, PEM
		Sign      []byte             `json:"sign"`      // SM3 of the certificate, PEM
		Encrypt   []byte             `json:"encrypt"`
		Serials   []string           `json:"serials"` // signing, encryption
		Revoked   []string           `json:"revoked,omitempty"`
	}
)

// ContextRenewal is what a new key signs its own renewal under.
const ContextRenewal = "opdomain/renewal/v1"
