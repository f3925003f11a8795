package attest

import (
	"bufio"
	"bytes"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

// DomainActor (域自身) acts in events that nobody asked for: it is no enrolled identity.
const DomainActor sandbox.IdentityID = "domain"

// VerifyBundle checks a bundle offline and trusts nothing in it but, if pin is given, the domain's signing key; without a
// pin the report's fingerprint is what to compare. The first fault is a Tampered error naming its line or entry and the
// check that failed; Unavailable if r fails. Memory grows with what the rules look back on: parties, scenarios, questions,
// consents and usage, not with the length of the log.
func VerifyBundle(r io.Reader, pin *sm.VerifyKey) (Report, error) {
	b := &bundleReader{r: bufio.NewReaderSize(r, 64<<10), sum: sm.NewHash()}
	head, err := b.header()
	if err != nil {
		return Report{}, err
	}
	key, err := sm.ParseVerifyKey(head.SignKey)
	if err != nil || head.Format != BundleFormat || head.Size > maxEntries {
		return Report{}, b.fault("format " + BundleFormat + " with an SM2 signing key")
	}
	if pin != nil && !bytes.Equal(pin.Bytes(), key.Bytes()) {
		return Report{}, b.fault("the bundle is signed by another key than the one given")
	}
	cp, err := tlog.ParseCheckpoint(head.Checkpoint)
	if err == nil {
		err = cp.Verify(key)
	}
	if err != nil || cp.Origin != head.Origin || cp.Size != head.Size || cp.Origin != "opdomain/"+head.Domain {
		return Report{}, b.fault("the checkpoint is signed by the domain for this log and size")
	}
	note, ok := witnessNote(head.Witnessed, key, cp)
	if !ok {
		return Report{}, b.fault("the witnessed checkpoint is signed by the domain for this log, and not larger than it")
	}
	c := newChecker("bundle: verify", head, key)
	var root tlog.Root
	for i := range head.Size {
		e, err := b.entry(i)
		if err != nil {
			return Report{}, err
		}
		root.Append([sm.Size]byte(e.Entry))
		if head.Witnessed != "" && root.Size() == note.Size && root.Sum() != note.Root {
			return Report{}, witnessFault(c.op, entryName(i))
		}
		if e.Gone {
			c.erased[i] = [sm.Size]byte(e.Entry)
		}
		if len(e.Event) == 0 {
			c.hidden++
			continue
		}
		if err := c.event(i, e.Event); err != nil {
			return Report{}, err
		}
	}
	if root.Sum() != cp.Root {
		return Report{}, b.fault("the entries do not give the root of the signed checkpoint: an entry hash was changed")
	}
	if err := b.end(key); err != nil {
		return Report{}, err
	}
	if err := c.finish(); err != nil {
		return Report{}, err
	}
	out := c.report()
	out.Witnessed, err = c.witnessed(note)
	if err != nil {
		return Report{}, err
	}
	return out, nil
}

// checker replays the disclosed events of a bundle against the rules.
type checker struct {
	op     string // of its errors
	head   bundleHeader
	domain *sm.VerifyKey
	first  time.Time
	last   time.Time
	hidden int

	counts  map[Kind]int
	checks  map[string]int
	skipped map[string]int

	parties    map[sandbox.PartyID]sandbox.Party
	identities map[sandbox.IdentityID]sandbox.Identity
	datasets   map[sandbox.DatasetID]*datasetTrail
	scenarios  map[sandbox.ScenarioID]*scenarioTrail
	questions  map[sandbox.QuestionID]*questionTrail
	consents   map[sandbox.ConsentID]*consentTrail
	releases   map[sandbox.ReleaseID]*releaseTrail
	templates  map[sandbox.TemplateID]*templateTrail
	algorithms map[string]*algorithmTrail // by name@version
	scoring    scoringTrails
	moves      bool // reviews leave their moves in this log
	usage      map[string]*usageTrail
	invoices   map[sandbox.InvoiceID]bool
	shut       map[sandbox.IdentityID]bool // revoked identities
	witnesses  *WitnessesSetBody           // in force
	erased     map[uint64][sm.Size]byte    // lines marked erased
	explained  map[uint64]bool             // those an evidence.erased named
	rules      string                      // version of the rules adopted last
	rulesFrom  string                      // and of those before
}

type datasetTrail struct {
	unit     sandbox.PartyID
	latest   uint64
	revision uint64 // of the description
	versions map[uint64]bool
	grades   map[string]sandbox.Grade // in force, of the columns
	masking  []byte                   // digest of the plan that records are shown by
	plan     string
	rank     int // its version
}

func newChecker(op string, head bundleHeader, key *sm.VerifyKey) *checker {
	return &checker{op: op, head: head, domain: key, counts: map[Kind]int{}, checks: map[string]int{}, skipped: map[string]int{},
		parties: map[sandbox.PartyID]sandbox.Party{}, identities: map[sandbox.IdentityID]sandbox.Identity{}, datasets: map[sandbox.DatasetID]*datasetTrail{},
		scenarios: map[sandbox.ScenarioID]*scenarioTrail{}, questions: map[sandbox.QuestionID]*questionTrail{}, consents: map[sandbox.ConsentID]*consentTrail{},
		releases: map[sandbox.ReleaseID]*releaseTrail{}, templates: map[sandbox.TemplateID]*templateTrail{}, usage: map[string]*usageTrail{}, invoices: map[sandbox.InvoiceID]bool{},
		shut: map[sandbox.IdentityID]bool{}, erased: map[uint64][sm.Size]byte{}, explained: map[uint64]bool{}}
}

// broken is a rule that an event breaks.
type broken struct{ check, rule string }

func (b *broken) Error() string { return b.check + ": " + b.rule }

// want counts a check that held; one that did not is broken, whatever is hidden.
func (c *checker) want(ok bool, check, rule string) error {
	if !ok {
		return &broken{check, rule}
	}
	c.checks[check]++
	return nil
}

// shown is want for what only an earlier event can prove: when it does not hold and entries are hidden, it is not checked.
func (c *checker) shown(ok bool, check, rule string) error {
	if !ok && c.hidden > 0 {
		c.skipped[check]++
		return nil
	}
	return c.want(ok, check, rule)
}

// never is want for what no earlier event may have done: with hidden entries it is not checked even when it holds.
func (c *checker) never(ok bool, check, rule string) error {
	if ok && c.hidden > 0 {
		c.skipped[check]++
		return nil
	}
	return c.want(ok, check, rule)
}

// all gives the first error of the checks that are due.
func all(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func (c *checker) event(i uint64, text []byte) error {
	var e Event
	err := strict(text, &e)
	var body any
	if err == nil {
		body, err = e.open()
	}
	if err == nil {
		if again, merr := json.Marshal(e); merr != nil || !bytes.Equal(again, text) {
			err = &broken{"event", "the event stands in its one encoding"}
		}
	}
	if err == nil {
		err = c.replay(i, e, body)
	}
	if err != nil {
		return c.fault(entryName(i)+named(e.Kind), err)
	}
	c.counts[e.Kind]++
	return nil
}

// named prints a kind only if it is one: it comes from outside.
func named(k Kind) string {
	if _, err := (Event{Kind: k, Body: json.RawMessage("{}")}).open(); err != nil {
		return ""
	}
	return " (" + string(k) + ")"
}

func (c *checker) fault(place string, err error) error {
	var b *broken
	if !errors.As(err, &b) {
		b = &broken{"event", "the event has the fields of its kind"}
	}
	return &sandbox.Error{Op: c.op, Kind: sandbox.Tampered, Object: place, Detail: b.Error()}
}

func (c *checker) replay(i uint64, e Event, body any) error {
	if err := all(
		c.want(e.Verify(c.domain) == nil, "event signature", "the domain signed the event"),
		c.want(!e.At.Before(c.last), "time", "events do not go back in time"),
		c.want((i == 0) == (e.Kind == DomainCreated), "domain", "the first event, and no other, makes the domain"),
	); err != nil {
		return err
	}
	if c.first.IsZero() {
		c.first = e.At
	}
	c.last = e.At
	if e.Actor != DomainActor {
		_, ok := c.identities[e.Actor]
		if err := all(c.shown(ok, "actor", "an identity enrolled before"), c.want(!c.shut[e.Actor], "actor", "an identity that was not revoked")); err != nil {
			return err
		}
	}
	switch b := body.(type) {
	case *DomainCreatedBody:
		return c.want(b.Domain == c.head.Domain && bytes.Equal(b.SignKey, c.head.SignKey), "domain", "made under the bundle's name and key")
	case *PartyEnrolledBody:
		return c.enrolled(e, *b)
	case *SubjectEnrolledBody:
		return all(c.agency(e.Actor, "enrolment"), c.role(b.Identity, "enrolment", sandbox.Subject))
	case *DatasetRegisteredBody:
		return c.registered(e, *b)
	case *DatasetRevisedBody:
		return c.revised(e, *b)
	case *CatalogueSeededBody:
		return c.agency(e.Actor, "catalogue")
	case *IngestCommittedBody:
		return c.ingested(*b)
	case *ScenarioFiledBody:
		return c.filed(e, *b)
	case *ScenarioDecidedBody:
		return c.decided(e, *b)
	case *AgreementSignedBody:
		return c.agreed(e, *b)
	case *GrantIssuedBody:
		return c.granted(*b)
	case *QuestionDecidedBody:
		return c.asked(e, *b)
	case *RunComputedBody:
		return c.computed(*b)
	case *EgressCheckedBody:
		return c.checked(*b)
	case *ReviewVotedBody:
		return c.voted(e, *b)
	case *ReleaseSentBody:
		return c.released(e, *b)
	case *ConsentGivenBody:
		return c.consented(e, *b)
	case *ConsentRevokedBody:
		return c.revoked(e, *b)
	case *ClaimAnsweredBody:
		return c.answered(e, *b)
	case *UsageMeteredBody:
		return c.metered(*b)
	case *InvoiceIssuedBody:
		return c.invoiced(*b)
	case *BundleExportedBody:
		return c.want(b.Size <= i+1, "export", "of a log no longer than it was")
	case *EvidenceErasedBody:
		return c.gone(*b)
	case *IdentityRevokedBody:
		return c.identityRevoked(e, *b)
	case *IdentityRenewedBody:
		return c.identityRenewed(e, *b)
	case *KeyRotatedBody:
		return c.want(e.Actor == DomainActor && b.To > 0 && !slices.Contains(b.From, b.To), "keys", "the domain rotates its keys to a further generation")
	case *WitnessesSetBody:
		return c.witnessesSet(e, *b)
	case *ViewSealedBody:
		return c.viewed(e, *b)
	case *ClassificationConfirmedBody:
		return c.confirmed(e, *b)
	case *ClassificationRegradedBody:
		return c.regraded(e, *b)
	case *RulesAdoptedBody:
		return c.adopted(e, *b)
	case *MaskingSetBody:
		return c.masked(e, *b)
	case *SumPlannedBody:
		return c.sumPlanned(*b)
	case *SumSharedBody:
		return c.sumShared(*b)
	case *SumOpenedBody:
		return c.sumOpened(*b)
	case *SumAbortedBody:
		return c.sumAborted(*b)
	case *JointPlannedBody:
		return c.jointPlanned(e, *b)
	case *JointSharedBody:
		return c.jointShared(*b)
	case *JointOpenedBody:
		return c.jointOpened(*b)
	case *JointAbortedBody:
		return c.jointAborted(*b)
	case *ReviewMovedBody:
		return c.moved(e, *b)
	case *ReviewOpenedBody:
		return c.opened(*b)
	case *TemplateSignedBody:
		return c.templateSigned(e, *b)
	case *TemplateStoppedBody:
		return c.templateStopped(e, *b)
	case *AlgorithmApprovedBody:
		return c.algorithmApproved(e, *b)
	case *AlgorithmWithdrawnBody:
		return c.algorithmWithdrawn(e, *b)
	case *AlgorithmAskedBody:
		return c.algorithmAsked(*b)
	case *SharesPlannedBody:
		return c.sharesPlanned(*b)
	case *SharesPushedBody:
		return c.sharesPushed(*b)
	case *SharesComputedBody:
		return c.sharesComputed(e, *b)
	case *SharesAbortedBody:
		return c.sharesAborted(*b)
	case *AlgorithmRanBody:
		return c.algorithmRan(*b)
	case *ScoringModelFiledBody:
		return c.scoringFiled(e, *b)
	case *ScoringModelApprovedBody:
		return c.scoringApproved(e, *b)
	case *ScoringModelWithdrawnBody:
		return c.scoringWithdrawn(e, *b)
	case *ScoringDecidedBody:
		return c.scoringDecided(e, *b)
	case *ScoringAnsweredBody:
		return c.scoringAnswered(*b)
	}
	return nil // ingest.refused, claim.refused and algo.refused claim nothing about other events
}

// enrolled: by the domain itself for those it starts with, the agency first; by an agency afterwards.
func (c *checker) enrolled(e Event, b PartyEnrolledBody) error {
	founding := e.Actor == DomainActor && c.founding()
	if founding && len(c.parties) == 0 {
		if err := c.shown(b.Party.Role == sandbox.Agency, "enrolment", "the first party is the agency"); err != nil {
			return err
		}
	}
	if !founding {
		if err := c.agency(e.Actor, "enrolment"); err != nil {
			return err
		}
	}
	if _, twice := c.parties[b.Party.ID]; twice || sandbox.CheckID("party", string(b.Party.ID)) != nil || !b.Party.Role.Valid() {
		return &broken{"enrolment", "a party with a known role is enrolled once"}
	}
	c.parties[b.Party.ID] = b.Party
	for _, i := range b.Identities {
		_, twice := c.identities[i.ID]
		_, err := sm.ParseVerifyKey(i.SignKey)
		if twice || err != nil || i.Party != b.Party.ID || i.ID == DomainActor || sandbox.CheckID("identity", string(i.ID)) != nil {
			return &broken{"enrolment", "an identity with an SM2 key is enrolled once, with its own party"}
		}
		c.identities[i.ID] = i
	}
	return c.want(true, "enrolment", "")
}

// identityRevoked: by the agency, or by the identity's own party.
func (c *checker) identityRevoked(e Event, b IdentityRevokedBody) error {
	c.shut[b.Identity] = true // whatever is hidden, what it does from here on is in sight
	who, known := c.identities[b.Identity]
	actor, ok := c.identities[e.Actor]
	if !known || !ok {
		return c.shown(false, "revocation", "of an enrolled identity by an enrolled one")
	}
	return c.want(c.parties[actor.Party].Role == sandbox.Agency || actor.Party == who.Party, "revocation", "by the agency or the identity's own party")
}

// identityRenewed: by the identity itself, the new key vouching for itself.
func (c *checker) identityRenewed(e Event, b IdentityRenewedBody) error {
	key, err := sm.ParseVerifyKey(b.SignKey)
	if err == nil {
		err = key.Verify(ContextRenewal, sm.Frame([]byte(b.Identity), b.SignKey, b.EncryptKey), b.Proof)
	}
	if err := c.want(err == nil && e.Actor == b.Identity, "renewal", "by the identity itself, and by its new key"); err != nil {
		return err
	}
	who, known := c.identities[b.Identity]
	if !known {
		return c.shown(false, "renewal", "of an enrolled identity")
	}
	who.SignKey, who.EncryptKey = b.SignKey, b.EncryptKey
	c.identities[b.Identity] = who
	return nil
}

// founding says whether nothing but the domain and its first parties is in the log yet, as far as it is shown.
func (c *checker) founding() bool {
	for k := range c.counts {
		if k != DomainCreated && k != PartyEnrolled {
			return false
		}
	}
	return true
}

func (c *checker) agency(actor sandbox.IdentityID, check string) error {
	return c.role(actor, check, sandbox.Agency)
}

func (c *checker) role(actor sandbox.IdentityID, check string, role sandbox.Role) error {
	i, ok := c.identities[actor]
	if !ok {
		return c.shown(false, check, "by an enrolled identity")
	}
	return c.want(c.parties[i.Party].Role == role, check, "by a party in the role "+string(role))
}

func (c *checker) actorOf(actor sandbox.IdentityID, party sandbox.PartyID, check string) error {
	i, ok := c.identities[actor]
	if !ok {
		return c.shown(false, check, "by an enrolled identity")
	}
	return c.want(i.Party == party, check, "by an identity of its party")
}

func (c *checker) registered(e Event, b DatasetRegisteredBody) error {
	d := c.datasets[b.Dataset]
	if d == nil {
		d = &datasetTrail{unit: b.Unit, versions: map[uint64]bool{}, grades: map[string]sandbox.Grade{}}
		c.datasets[b.Dataset] = d
	}
	return all(c.want(d.unit == b.Unit, "dataset", "a dataset keeps its owner"), c.actorOf(e.Actor, b.Unit, "dataset"), c.role(e.Actor, "dataset", sandbox.Unit))
}

// revised: by the owner, and revisions rise.
func (c *checker) revised(e Event, b DatasetRevisedBody) error {
	d := c.datasets[b.Dataset]
	if d == nil {
		return c.shown(false, "catalogue", "of a registered dataset")
	}
	rises := b.Revision > d.revision
	d.revision = max(d.revision, b.Revision)
	return all(c.want(rises && b.Revision > 1 && len(b.Changed) > 0, "catalogue", "a description's revisions rise from 2 and say what changed"), c.want(d.unit == b.Unit, "catalogue", "a dataset keeps its owner"),
		c.actorOf(e.Actor, b.Unit, "catalogue"), c.role(e.Actor, "catalogue", sandbox.Unit))
}

func (c *checker) ingested(b IngestCommittedBody) error {
	d := c.datasets[b.Dataset]
	if d == nil {
		return c.shown(false, "versions", "of a registered dataset")
	}
	next := b.Version == d.latest+1
	if err := c.want(b.Version > d.latest, "versions", "a dataset's versions rise"); err != nil {
		return err
	}
	d.latest, d.versions[b.Version] = b.Version, true
	return all(c.graded(d, b.Grades), c.affected(b.Affected), c.shown(next, "versions", "a dataset's versions follow each other"),
		c.want(len(b.Manifest) == sm.Size && len(b.KeyCommitment) == sm.Size && b.Rows >= 0, "versions", "with the digests of manifest and key"))
}

// statement opens a statement under its signer's key, which must have been enrolled earlier in the log. ok is false when
// the signer is hidden.
func (c *checker) statement(e Event, s Statement, context string, into any) (who sandbox.Identity, ok bool, err error) {
	const check = "statement signature"
	if err := c.want(s.Signer == e.Actor, check, "by the identity that acted"); err != nil {
		return who, false, err
	}
	who, ok = c.identities[s.Signer]
	if !ok {
		return who, false, c.shown(false, check, "by an identity enrolled before")
	}
	key, err := sm.ParseVerifyKey(who.SignKey)
	if err == nil {
		err = s.Open(key, context, into)
	}
	return who, true, c.want(err == nil, check, "under the key enrolled for its signer")
}

// dated holds a statement's own time to that of the event it came in.
func (c *checker) dated(at time.Time, e Event) error {
	return c.want(!at.After(e.At.Add(MaxSkew)), "time", "a statement is not dated after it was recorded")
}

// finish checks what needs the whole log.
func (c *checker) finish() error {
	for _, i := range slices.Sorted(maps.Keys(c.erased)) {
		ok := c.explained[i]
		err := error(nil)
		if !ok && c.hidden > len(c.erased) {
			c.skipped["erasure"]++
		} else {
			err = c.want(ok, "erasure", "an erased entry is named by an evidence.erased")
		}
		if err != nil {
			return c.fault(entryName(i), err)
		}
	}
	return c.answers()
}

// gone: what an evidence.erased names is marked erased, under the hash it names.
func (c *checker) gone(b EvidenceErasedBody) error {
	const check = "erasure"
	if err := c.want(len(b.Indices) > 0 && len(b.Indices) == len(b.Entries) && b.Reason != "" && slices.IsSorted(b.Indices), check,
		"names entries in order, each with its hash, and a reason"); err != nil {
		return err
	}
	for n, i := range b.Indices {
		h, ok := c.erased[i]
		if err := c.want(ok && bytes.Equal(h[:], b.Entries[n]), check, "every entry it names is erased, and has that hash"); err != nil {
			return err
		}
		c.explained[i] = true
	}
	return nil
}
