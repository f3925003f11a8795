package grant

import (
	"bytes"
	"encoding/hex"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/profile"
	"github.com/opdomain/opdomain/sandbox/workflow"
)

// Skew is how far a statement's own time may lie after the domain's clock.
const Skew = time.Minute

// Rules (授权规则) are the district's clocks and terms a scenario moves under.
type Rules struct {
	profile  profile.Profile
	calendar *workflow.Calendar
	flow     *workflow.Machine[State, Event]

	// Outside says of which datasets the rows stay with a party that computes over shares: columns of grade 4 may be listed of those, for
	// what shares answer. nil: of none.
	Outside func(sandbox.DatasetID) bool
}

// NewRules takes a validated profile and a calendar.
func NewRules(p profile.Profile, c *workflow.Calendar) (*Rules, error) {
	flow, err := Flow()
	if err != nil {
		return nil, err
	}
	if c == nil {
		return nil, &sandbox.Error{Op: "grant: rules", Kind: sandbox.Unavailable, Object: "calendar", Detail: "due dates need a working-day calendar"}
	}
	if err := p.Validate(); err != nil {
		return nil, err
	}
	return &Rules{profile: p, calendar: c, flow: flow}, nil
}

// File takes an application by its applicant and opens the first step. in holds the registered datasets of the list.
func (r *Rules) File(a Application, by sandbox.Party, in map[sandbox.DatasetID]catalog.Dataset, now time.Time) (Scenario, error) {
	if by.ID != a.Applicant || by.Role != sandbox.Operator && by.Role != sandbox.Partner {
		return Scenario{}, &sandbox.Error{Op: "grant: file", Kind: sandbox.Denied, Object: string(by.ID),
			Detail: "an operator or a partner files its own application; no right is passed on (不得二次授权或转授权)"}
	}
	if by.Role == sandbox.Operator != (a.Applicant == a.Operator) {
		return Scenario{}, bad("operator", "an operator files as itself, a partner names the operator it works under")
	}
	if err := a.validate(in, r.Outside); err != nil {
		return Scenario{}, err
	}
	if err := r.authorisable(a, in); err != nil {
		return Scenario{}, err
	}
	if limit := 12 * r.profile.Term.AgreementYears.Value; a.TermMonths < 1 || a.TermMonths > limit {
		return Scenario{}, &sandbox.Error{Op: "grant: file", Kind: sandbox.Invalid, Object: "term_months",
			Detail: fmt.Sprintf("1 to %d months (%s)", limit, r.profile.Term.AgreementYears.Article)}
	}
	units := a.owners(in)
	for _, u := range units {
		if u == a.Operator || u == a.Agency || slices.Contains(a.Partners, u) || slices.Contains(a.Insurers, u) {
			return Scenario{}, bad("list", "a source unit does not decide on its own application")
		}
	}
	s := Scenario{Application: a, State: r.flow.Initial(), Filed: now.In(workflow.Shanghai()), ListDigest: ListDigest(a.List), AgreementDigest: AgreementDigest(a, units),
		Grades: listedGrades(a.List, in)}
	s.Steps = append(s.Steps, Step{Name: StepOperator, Party: a.Operator}, Step{Name: StepAgency, Party: a.Agency})
	signers := append([]sandbox.PartyID{a.Operator, a.Agency}, units...)
	for _, u := range units {
		s.Steps = append(s.Steps, Step{Name: StepUnit, Party: u})
	}
	for _, p := range append(signers, inOrder(a.Partners)...) {
		s.Signatures = append(s.Signatures, Signature{Party: p})
	}
	return s, r.open(&s, now)
}

// open sets the due time of the steps the state now waits for.
func (r *Rules) open(s *Scenario, now time.Time) error {
	days := map[string]int{StepOperator: r.profile.Clock.Operator.Value, StepAgency: r.profile.Clock.Agency.Value, StepUnit: r.profile.Clock.Unit.Value}
	for i := range s.Steps {
		if st := &s.Steps[i]; st.Name == s.waiting() && st.Due.IsZero() {
			due, err := r.calendar.AddWorkingDays(now, days[st.Name])
			if err != nil {
				return err
			}
			st.Due = due
		}
	}
	return nil
}

// Decide records one party's decision. Checks, in order: the statement is about this scenario, names its signer's party,
// belongs to an open step of that party and role, is not dated before the filing or after now, binds to the same data
// list, and gives a reason if it refuses. A late decision counts and is flagged.
func (r *Rules) Decide(s Scenario, d attest.ScenarioDecision, by sandbox.Party, now time.Time) (Scenario, error) {
	fail := func(k sandbox.Kind, detail, hint string) (Scenario, error) {
		return s, &sandbox.Error{Op: "grant: decide", Kind: k, Object: string(s.ID), Detail: detail, Hint: hint}
	}
	if err := about(s, "grant: decide", d.Scenario, d.Party, by, d.At, now); err != nil {
		return s, err
	}
	at := slices.IndexFunc(s.Steps, func(st Step) bool { return st.Name == d.Step && st.Party == d.Party })
	switch {
	case at < 0:
		return fail(sandbox.Denied, fmt.Sprintf("the %q step is not this party's to decide", clip(d.Step)), "")
	case !s.Steps[at].Decided.IsZero():
		return fail(sandbox.Conflict, "this party has decided already", "a decision is not changed; file a new scenario")
	case s.waiting() == "":
		return fail(sandbox.Conflict, fmt.Sprintf("a scenario that is %s takes no decision", s.State), "")
	case s.waiting() != d.Step:
		return fail(sandbox.Conflict, fmt.Sprintf("it is the %s's turn", s.waiting()), "operator, agency and source units decide in this order")
	case !bytes.Equal(d.ListDigest, s.ListDigest):
		return fail(sandbox.Conflict, "the decision is over another data list", "read the scenario again and decide on its list digest")
	case len(d.Reason) > MaxText || !utf8.ValidString(d.Reason):
		return fail(sandbox.Invalid, fmt.Sprintf("a reason has at most %d bytes", MaxText), "")
	case !d.Approve && strings.TrimSpace(d.Reason) == "":
		return fail(sandbox.Invalid, "a refusal gives its reason", "")
	}
	event := Approve
	if !d.Approve {
		event = Refuse
	}
	to, err := r.flow.Next(s.State, event, by.Role)
	if err != nil {
		return s, err
	}
	n := s.clone()
	st := &n.Steps[at]
	st.Decided, st.Approve, st.Reason, st.Overdue = now.In(workflow.Shanghai()), d.Approve, d.Reason, workflow.Overdue(now, st.Due)
	if d.Approve && len(n.Open()) > 0 {
		return n, nil // other units still have to decide
	}
	n.State = to
	if err := r.open(&n, now); err != nil {
		return s, err
	}
	return n, nil
}

// SignAgreement records one party's signature under the service agreement; the last one makes the grant, whose term
// starts at that second.
func (r *Rules) SignAgreement(s Scenario, a attest.AgreementSignature, by sandbox.Party, now time.Time) (Scenario, error) {
	fail := func(k sandbox.Kind, detail, hint string) (Scenario, error) {
		return s, &sandbox.Error{Op: "grant: sign", Kind: k, Object: string(s.ID), Detail: detail, Hint: hint}
	}
	if err := about(s, "grant: sign", a.Scenario, a.Party, by, a.At, now); err != nil {
		return s, err
	}
	at := slices.IndexFunc(s.Signatures, func(x Signature) bool { return x.Party == a.Party })
	switch {
	case at < 0:
		return fail(sandbox.Denied, "this party is not part of the agreement", "")
	case s.State != UnitApproved:
		return fail(sandbox.Conflict, fmt.Sprintf("a scenario that is %s takes no signature", s.State), "every step is approved before anybody signs")
	case !s.Signatures[at].At.IsZero():
		return fail(sandbox.Conflict, "this party has signed already", "")
	case !bytes.Equal(a.Digest, s.AgreementDigest):
		return fail(sandbox.Conflict, "the signature is over another agreement", "read the scenario again and sign its agreement digest")
	}
	to, err := r.flow.Next(s.State, Sign, by.Role)
	if err != nil {
		return s, err
	}
	n := s.clone()
	n.Signatures[at].At = now.In(workflow.Shanghai())
	if len(n.Unsigned()) > 0 {
		return n, nil
	}
	n.State = to
	from := now.In(workflow.Shanghai()).Truncate(time.Second)
	n.Grant = &Grant{ID: sandbox.GrantID("g-" + hex.EncodeToString(n.AgreementDigest[:12])), Scenario: n.ID, ListDigest: n.ListDigest,
		NotBefore: from, NotAfter: workflow.AddMonths(from, n.TermMonths)}
	return n, nil
}

// Expire records that a grant's term is over; before its end it is Conflict.
func (r *Rules) Expire(s Scenario, now time.Time) (Scenario, error) {
	if s.At(now) != Expired {
		return s, &sandbox.Error{Op: "grant: expire", Kind: sandbox.Conflict, Object: string(s.ID), Detail: "its term is not over"}
	}
	to, err := r.flow.Next(s.State, Expire, workflow.System)
	if err != nil {
		return s, err
	}
	n := s.clone()
	n.State, n.Ended = to, n.Grant.NotAfter
	return n, nil
}

// End lets the agency withdraw a grant, or an agreement left unsigned, with its reason; nothing is answered under it from
// now on.
func (r *Rules) End(s Scenario, reason string, by sandbox.Party, now time.Time) (Scenario, error) {
	if by.ID != s.Agency {
		return s, &sandbox.Error{Op: "grant: end", Kind: sandbox.Denied, Object: string(s.ID), Detail: "only the scenario's agency ends a grant"}
	}
	if strings.TrimSpace(reason) == "" || len(reason) > MaxText || !utf8.ValidString(reason) {
		return s, &sandbox.Error{Op: "grant: end", Kind: sandbox.Invalid, Object: string(s.ID), Detail: "ending a grant gives its reason"}
	}
	to, err := r.flow.Next(s.At(now), End, by.Role)
	if err != nil {
		return s, err
	}
	n := s.clone()
	n.State, n.Ended, n.EndReason = to, now.In(workflow.Shanghai()), reason
	return n, nil
}

// about checks what every statement on a scenario must get right.
func about(s Scenario, op string, id sandbox.ScenarioID, party sandbox.PartyID, by sandbox.Party, at, now time.Time) error {
	fail := func(k sandbox.Kind, detail string) error {
		return &sandbox.Error{Op: op, Kind: k, Object: string(s.ID), Detail: detail}
	}
	switch {
	case id != s.ID:
		return fail(sandbox.Conflict, "the statement is about another scenario")
	case party != by.ID:
		return fail(sandbox.Denied, "the statement names another party than its signer's")
	case at.Before(s.Filed.Add(-Skew)):
		return fail(sandbox.Invalid, "the statement is dated before the filing")
	case at.After(now.Add(Skew)):
		return fail(sandbox.Invalid, "the statement is dated in the future")
	}
	return nil
}

// clip keeps a name from a statement short and plain in an error.
func clip(s string) string {
	if sandbox.CheckID("step", s) != nil {
		return "unknown"
	}
	return s
}
