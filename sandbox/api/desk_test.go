package api_test

import (
	"context"
	"encoding/json"
	"io"
	"sync"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	. "github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/bill"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/consent"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/query"
)

// desk stands where the domain would: it knows identities and nonces, notes which call arrived from whom, and answers with
// nothing unless a test gives it something to do.
type desk struct {
	mu         sync.Mutex
	identities map[sandbox.IdentityID]sandbox.Identity
	revoked    map[sandbox.IdentityID]bool
	parties    map[sandbox.PartyID]sandbox.Party
	nonces     map[string]bool
	spend      func(context.Context, sandbox.IdentityID, string, time.Time) error // nil: nonces
	calls      []string
	caller     Caller
	err        error
	opening    []byte // digest of the opening every push has
	claim      func() (ClaimAnswer, error)
	ask        func() (Question, error)
	receive    func(io.Reader) (PushReport, error)
	bundle     func(io.Writer) error
	envelope   json.RawMessage
	domainKey  []byte
}

func (d *desk) note(name string, c Caller) error {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.calls, d.caller = append(d.calls, name), c
	return d.err
}

func (d *desk) took() []string {
	d.mu.Lock()
	defer d.mu.Unlock()
	out := d.calls
	d.calls = nil
	return out
}

func (d *desk) Domain(context.Context) (DomainInfo, error) {
	return DomainInfo{Domain: "test", SignKey: d.domainKey}, d.note("Domain", Caller{})
}

func (d *desk) Checkpoint(context.Context) (string, error) {
	return "opdomain/test\n0\n", d.note("Checkpoint", Caller{})
}

func (d *desk) Identity(_ context.Context, id sandbox.IdentityID) (sandbox.Identity, sandbox.Party, error) {
	d.mu.Lock()
	defer d.mu.Unlock()
	i, ok := d.identities[id]
	if d.revoked[id] {
		return i, d.parties[i.Party], &sandbox.Error{Op: "identity", Kind: sandbox.Expired, Object: string(id), Detail: "the identity was revoked"}
	}
	if !ok {
		return i, sandbox.Party{}, &sandbox.Error{Op: "identity", Kind: sandbox.NotFound}
	}
	return i, d.parties[i.Party], nil
}

func (d *desk) Seen(ctx context.Context, id sandbox.IdentityID, nonce string, expires time.Time) error {
	if d.spend != nil {
		return d.spend(ctx, id, nonce, expires)
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	if k := string(id) + " " + nonce; !d.nonces[k] {
		d.nonces[k] = true
		return nil
	}
	return &sandbox.Error{Op: "nonce", Kind: sandbox.Unsigned, Detail: "replayed"}
}

func (d *desk) Push(_ context.Context, c Caller, run sandbox.RunID) (Push, error) {
	return Push{Run: run, OpeningDigest: d.opening}, d.note("Push", c)
}

func (d *desk) ReceivePush(_ context.Context, c Caller, _ sandbox.RunID, body io.Reader) (PushReport, error) {
	if err := d.note("ReceivePush", c); err != nil || d.receive == nil {
		return PushReport{}, err
	}
	return d.receive(body)
}

func (d *desk) Ask(_ context.Context, c Caller, _ query.Spec) (Question, error) {
	if err := d.note("Ask", c); err != nil || d.ask == nil {
		return Question{}, err
	}
	return d.ask()
}

func (d *desk) AskClaim(_ context.Context, c Caller, _ ClaimRequest) (ClaimAnswer, error) {
	if err := d.note("AskClaim", c); err != nil || d.claim == nil {
		return ClaimAnswer{}, err
	}
	return d.claim()
}

func (d *desk) Bundle(_ context.Context, c Caller, w io.Writer) error {
	if err := d.note("Bundle", c); err != nil || d.bundle == nil {
		return err
	}
	return d.bundle(w)
}

func (d *desk) Release(_ context.Context, c Caller, _ sandbox.ReleaseID) (json.RawMessage, error) {
	return d.envelope, d.note("Release", c)
}

func (d *desk) EnrolParty(_ context.Context, c Caller, _ Enrolment) error {
	return d.note("EnrolParty", c)
}

func (d *desk) EnrolSubject(_ context.Context, c Caller, _ SubjectEnrolment) error {
	return d.note("EnrolSubject", c)
}

func (d *desk) RegisterDataset(_ context.Context, c Caller, _ catalog.Dataset) (catalog.Dataset, error) {
	return catalog.Dataset{}, d.note("RegisterDataset", c)
}

func (d *desk) Datasets(_ context.Context, c Caller) ([]catalog.Dataset, error) {
	return nil, d.note("Datasets", c)
}

func (d *desk) Dataset(_ context.Context, c Caller, _ sandbox.DatasetID) (catalog.Dataset, error) {
	return catalog.Dataset{}, d.note("Dataset", c)
}

func (d *desk) OpenPush(_ context.Context, c Caller, _ PushOpening) (Push, error) {
	return Push{}, d.note("OpenPush", c)
}

func (d *desk) FileScenario(_ context.Context, c Caller, _ grant.Application) (grant.Scenario, error) {
	return grant.Scenario{}, d.note("FileScenario", c)
}

func (d *desk) Scenarios(_ context.Context, c Caller) ([]grant.Scenario, error) {
	return nil, d.note("Scenarios", c)
}

func (d *desk) Scenario(_ context.Context, c Caller, _ sandbox.ScenarioID) (grant.Scenario, error) {
	return grant.Scenario{}, d.note("Scenario", c)
}

func (d *desk) DecideScenario(_ context.Context, c Caller, _ sandbox.ScenarioID, _ attest.Statement) (grant.Scenario, error) {
	return grant.Scenario{}, d.note("DecideScenario", c)
}

func (d *desk) SignAgreement(_ context.Context, c Caller, _ sandbox.ScenarioID, _ attest.Statement) (grant.Scenario, error) {
	return grant.Scenario{}, d.note("SignAgreement", c)
}

func (d *desk) GiveConsent(_ context.Context, c Caller, _ ConsentRequest) (consent.Record, error) {
	return consent.Record{}, d.note("GiveConsent", c)
}

func (d *desk) RevokeConsent(_ context.Context, c Caller, _ sandbox.ConsentID, _ attest.Statement) (consent.Record, error) {
	return consent.Record{}, d.note("RevokeConsent", c)
}

func (d *desk) Consent(_ context.Context, c Caller, _ sandbox.ConsentID) (consent.Record, error) {
	return consent.Record{}, d.note("Consent", c)
}

func (d *desk) Explain(_ context.Context, c Caller, _ query.Spec) (Explanation, error) {
	return Explanation{}, d.note("Explain", c)
}

func (d *desk) Questions(_ context.Context, c Caller) ([]Question, error) {
	return nil, d.note("Questions", c)
}

func (d *desk) Question(_ context.Context, c Caller, _ sandbox.QuestionID) (Question, error) {
	return Question{}, d.note("Question", c)
}

func (d *desk) Reviews(_ context.Context, c Caller) ([]Review, error) {
	return nil, d.note("Reviews", c)
}

func (d *desk) Review(_ context.Context, c Caller, _ sandbox.QuestionID) (Review, error) {
	return Review{}, d.note("Review", c)
}

func (d *desk) Act(_ context.Context, c Caller, _ sandbox.QuestionID, _ attest.Statement) (Review, error) {
	return Review{}, d.note("Act", c)
}

func (d *desk) SignTemplate(_ context.Context, c Caller, _ attest.Statement) (Template, error) {
	return Template{}, d.note("SignTemplate", c)
}

func (d *desk) StopTemplate(_ context.Context, c Caller, _ sandbox.TemplateID, _ attest.Statement) (Template, error) {
	return Template{}, d.note("StopTemplate", c)
}

func (d *desk) Templates(_ context.Context, c Caller) ([]Template, error) {
	return nil, d.note("Templates", c)
}

func (d *desk) ApproveAlgorithm(_ context.Context, c Caller, _ AlgorithmRequest) (Algorithm, error) {
	return Algorithm{}, d.note("ApproveAlgorithm", c)
}

func (d *desk) WithdrawAlgorithm(_ context.Context, c Caller, _ sandbox.AlgorithmID, _ attest.Statement) (Algorithm, error) {
	return Algorithm{}, d.note("WithdrawAlgorithm", c)
}

func (d *desk) ListAlgorithms(_ context.Context, c Caller) ([]Algorithm, error) {
	return nil, d.note("ListAlgorithms", c)
}

func (d *desk) GetAlgorithm(_ context.Context, c Caller, _ sandbox.AlgorithmID) (Algorithm, error) {
	return Algorithm{}, d.note("GetAlgorithm", c)
}

func (d *desk) ExplainAlgorithm(_ context.Context, c Caller, _ sandbox.AlgorithmID, _ AlgorithmUse) (AlgorithmExplanation, error) {
	return AlgorithmExplanation{}, d.note("ExplainAlgorithm", c)
}

func (d *desk) AskAlgorithm(_ context.Context, c Caller, _ sandbox.AlgorithmID, _ AlgorithmUse) (AlgorithmAnswer, error) {
	return AlgorithmAnswer{}, d.note("AskAlgorithm", c)
}

func (d *desk) FileScoringModel(_ context.Context, c Caller, _ ScoringFiling) (ScoringModel, error) {
	return ScoringModel{}, d.note("FileScoringModel", c)
}

func (d *desk) ListScoringModels(_ context.Context, c Caller) ([]ScoringModel, error) {
	return nil, d.note("ListScoringModels", c)
}

func (d *desk) GetScoringModel(_ context.Context, c Caller, _ sandbox.ModelID) (ScoringModel, error) {
	return ScoringModel{}, d.note("GetScoringModel", c)
}

func (d *desk) ApproveScoringModel(_ context.Context, c Caller, _ sandbox.ModelID, _ attest.Statement) (ScoringModel, error) {
	return ScoringModel{}, d.note("ApproveScoringModel", c)
}

func (d *desk) WithdrawScoringModel(_ context.Context, c Caller, _ sandbox.ModelID, _ attest.Statement) (ScoringModel, error) {
	return ScoringModel{}, d.note("WithdrawScoringModel", c)
}

func (d *desk) Score(_ context.Context, c Caller, _ sandbox.ModelID, _ ScoringRequest) (ScoringAnswer, error) {
	if err := d.note("ScoreCustomers", c); err != nil || d.ask == nil {
		return ScoringAnswer{}, err
	}
	q, err := d.ask()
	return ScoringAnswer{ID: q.ID}, err
}

func (d *desk) Vote(_ context.Context, c Caller, _ sandbox.QuestionID, _ attest.Statement) (Review, error) {
	return Review{}, d.note("Vote", c)
}

func (d *desk) Releases(_ context.Context, c Caller) ([]ReleaseInfo, error) {
	return nil, d.note("Releases", c)
}

func (d *desk) Usage(_ context.Context, c Caller, _ string) ([]meter.Event, error) {
	return nil, d.note("Usage", c)
}

func (d *desk) IssueInvoice(_ context.Context, c Caller, _ InvoiceRequest) (bill.Invoice, error) {
	return bill.Invoice{}, d.note("IssueInvoice", c)
}

func (d *desk) Invoices(_ context.Context, c Caller) ([]bill.Invoice, error) {
	return nil, d.note("Invoices", c)
}

func (d *desk) Invoice(_ context.Context, c Caller, _ sandbox.InvoiceID) (bill.Invoice, error) {
	return bill.Invoice{}, d.note("Invoice", c)
}

func (d *desk) Proof(_ context.Context, c Caller, _ uint64, _ bool) ([]byte, error) {
	return []byte("{}\n"), d.note("Proof", c)
}

func (d *desk) Growth(_ context.Context, c Caller, _ GrowthRequest) ([]byte, error) {
	return []byte("{}\n"), d.note("Growth", c)
}

func (d *desk) Overdue(_ context.Context, c Caller) ([]Overdue, error) {
	return nil, d.note("Overdue", c)
}

func (d *desk) Pushes(_ context.Context, c Caller) ([]Push, error) {
	return nil, d.note("Pushes", c)
}

func (d *desk) AbandonPush(_ context.Context, c Caller, _ sandbox.RunID) (Push, error) {
	return Push{}, d.note("AbandonPush", c)
}

func (d *desk) Quarantine(_ context.Context, c Caller) ([]Quarantine, error) {
	return nil, d.note("Quarantine", c)
}

func (d *desk) EraseVersion(_ context.Context, c Caller, _ sandbox.DatasetID, _ uint64, _ ErasureRequest) (ErasureReport, error) {
	return ErasureReport{Certificate: json.RawMessage("{}")}, d.note("EraseVersion", c)
}

func (d *desk) Authority(context.Context) (AuthorityInfo, error) {
	return AuthorityInfo{}, d.note("Authority", Caller{})
}

func (d *desk) IssueCertificates(_ context.Context, c Caller, _ CertificateRequests) (CertificatePair, error) {
	return CertificatePair{}, d.note("IssueCertificates", c)
}

func (d *desk) RevokeIdentity(_ context.Context, c Caller, _ sandbox.IdentityID, _ string) error {
	return d.note("RevokeIdentity", c)
}

func (d *desk) RenewIdentity(_ context.Context, c Caller, _ sandbox.IdentityID, _ KeyRenewal) error {
	return d.note("RenewIdentity", c)
}

var _ Librarian = (*desk)(nil)

func (d *desk) Search(_ context.Context, c Caller, _ catalog.Query) (SearchPage, error) {
	return SearchPage{Hits: []SearchHit{}}, d.note("Search", c)
}

func (d *desk) SourceConflicts(_ context.Context, c Caller) ([]catalog.Conflict, error) {
	return nil, d.note("SourceConflicts", c)
}

func (d *desk) SeedCatalogue(_ context.Context, c Caller, _ SeedRequest) ([]catalog.Entry, error) {
	return []catalog.Entry{}, d.note("SeedCatalogue", c)
}

func (d *desk) Entries(_ context.Context, c Caller) ([]catalog.Entry, error) {
	return nil, d.note("Entries", c)
}

func (d *desk) ReviseDataset(_ context.Context, c Caller, _ sandbox.DatasetID, next catalog.Dataset) (catalog.Dataset, error) {
	return next, d.note("ReviseDataset", c)
}

func (d *desk) Revisions(_ context.Context, c Caller, _ sandbox.DatasetID) ([]catalog.Revision, error) {
	return []catalog.Revision{}, d.note("Revisions", c)
}

func (d *desk) Schemas(_ context.Context, c Caller, _ sandbox.DatasetID) ([]catalog.SchemaVersion, error) {
	return []catalog.SchemaVersion{}, d.note("Schemas", c)
}

func (d *desk) Quality(_ context.Context, c Caller, _ sandbox.DatasetID) (catalog.Scorecard, error) {
	return catalog.Scorecard{}, d.note("Quality", c)
}

var _ Grader = (*desk)(nil)

func (d *desk) Classification(_ context.Context, c Caller, _ sandbox.DatasetID) (Classification, error) {
	return Classification{Columns: []ColumnClassification{}}, d.note("Classification", c)
}

func (d *desk) ConfirmClassification(_ context.Context, c Caller, _ sandbox.DatasetID, _ ConfirmationRequest) (Classification, error) {
	return Classification{Columns: []ColumnClassification{}}, d.note("ConfirmClassification", c)
}

func (d *desk) GradingRules(_ context.Context, c Caller) (GradingRules, error) {
	return GradingRules{}, d.note("GradingRules", c)
}

func (d *desk) Regrade(_ context.Context, c Caller, _ RegradeRequest) (Regrading, error) {
	return Regrading{}, d.note("Regrade", c)
}

func (d *desk) Regradings(_ context.Context, c Caller) ([]Regrading, error) {
	return nil, d.note("Regradings", c)
}

func (d *desk) AffectedGrants(_ context.Context, c Caller) ([]AffectedGrant, error) {
	return nil, d.note("AffectedGrants", c)
}

var _ Viewer = (*desk)(nil)

func (d *desk) AskDataset(_ context.Context, c Caller, _ sandbox.DatasetID) (Question, error) {
	return Question{}, d.note("AskDataset", c)
}

func (d *desk) TraceCopy(_ context.Context, c Caller, _ CopyTrace) (TracedCopy, error) {
	return TracedCopy{}, d.note("TraceCopy", c)
}

func (d *desk) MakeView(_ context.Context, c Caller, _ ViewRequest) (ViewOutcome, error) {
	return ViewOutcome{}, d.note("MakeView", c)
}

func (d *desk) Views(_ context.Context, c Caller) ([]View, error) {
	return nil, d.note("Views", c)
}

func (d *desk) EndView(_ context.Context, c Caller, _ sandbox.DatasetID) (View, error) {
	return View{}, d.note("EndView", c)
}

func (d *desk) SetMasking(_ context.Context, c Caller, _ sandbox.DatasetID, _ MaskingRequest) (MaskingOutcome, error) {
	return MaskingOutcome{}, d.note("SetMasking", c)
}

func (d *desk) Masking(_ context.Context, c Caller, _ sandbox.DatasetID) (Masking, error) {
	return Masking{}, d.note("Masking", c)
}

func (d *desk) SharedJob(_ context.Context, c Caller, _ sandbox.QuestionID) (SharesJob, error) {
	return SharesJob{}, d.note("SharedJob", c)
}

func (d *desk) RunShared(_ context.Context, c Caller, _ sandbox.QuestionID, _ attest.Statement) (Question, error) {
	return Question{}, d.note("RunShared", c)
}

func (d *desk) PushShared(_ context.Context, c Caller, _ sandbox.QuestionID, _ []byte) error {
	return d.note("PushShared", c)
}

func (d *desk) EndShared(_ context.Context, c Caller, _ sandbox.QuestionID) (Question, error) {
	return Question{}, d.note("EndShared", c)
}
