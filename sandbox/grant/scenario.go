package grant

import (
	"slices"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/workflow"
)

// State (流程状态) is where a Scenario stands.
type State string

const (
	Filed            State = "filed"             // 已提交: waits for the operator
	OperatorApproved State = "operator-approved" // 运营机构初审通过: waits for the agency
	AgencyApproved   State = "agency-approved"   // 实施机构确认: waits for every owning unit
	UnitApproved     State = "unit-approved"     // 数源单位同意授权: waits for the signatures
	Granted          State = "granted"           // 已授权: every signature is there
	Refused          State = "refused"           // 不予授权
	Expired          State = "expired"           // 已到期
	Ended            State = "ended"             // 已终止
)

// Names of the approval steps, as statements carry them.
const (
	StepOperator = "operator"
	StepAgency   = "agency"
	StepUnit     = "unit"
)

// Event (流转事件) is what moves a Scenario.
type Event string

const (
	Approve Event = "approve" // 同意: the step is complete
	Refuse  Event = "refuse"  // 不同意
	Sign    Event = "sign"    // 签署: the last signature
	Expire  Event = "expire"  // 到期
	End     Event = "end"     // 终止: the agency withdraws the grant, or an agreement left unsigned
)

// Flow builds the state machine of a scenario; partial decisions of several units and partial signatures keep the state.
func Flow() (*workflow.Machine[State, Event], error) {
	type by = []sandbox.Role
	return workflow.NewMachine("grant",
		[]State{Filed, OperatorApproved, AgencyApproved, UnitApproved, Granted, Refused, Expired, Ended},
		[]workflow.Edge[State, Event]{
			{From: Filed, On: Approve, To: OperatorApproved, Who: by{sandbox.Operator}},
			{From: Filed, On: Refuse, To: Refused, Who: by{sandbox.Operator}},
			{From: OperatorApproved, On: Approve, To: AgencyApproved, Who: by{sandbox.Agency}},
			{From: OperatorApproved, On: Refuse, To: Refused, Who: by{sandbox.Agency}},
			{From: AgencyApproved, On: Approve, To: UnitApproved, Who: by{sandbox.Unit}},
			{From: AgencyApproved, On: Refuse, To: Refused, Who: by{sandbox.Unit}},
			{From: UnitApproved, On: Sign, To: Granted, Who: by{sandbox.Operator, sandbox.Agency, sandbox.Unit, sandbox.Partner}},
			{From: UnitApproved, On: End, To: Ended, Who: by{sandbox.Agency}}, // an agreement that nobody completes
			{From: Granted, On: Expire, To: Expired, Who: by{workflow.System}},
			{From: Granted, On: End, To: Ended, Who: by{sandbox.Agency}},
		})
}

// Grant (授权) is the right that follows from a complete chain of approvals and signatures.
type Grant struct {
	ID         sandbox.GrantID    `json:"id"`
	Scenario   sandbox.ScenarioID `json:"scenario"`
	ListDigest []byte             `json:"list_digest"`
	NotBefore  time.Time          `json:"not_before"` // inclusive
	NotAfter   time.Time          `json:"not_after"`  // exclusive
}

// Step (审核环节) is one decision the chain waits for.
type Step struct {
	Name    string          `json:"name"` // operator, agency or unit
	Party   sandbox.PartyID `json:"party"`
	Due     time.Time       `json:"due,omitzero"`     // last second in time; zero until the step opens
	Decided time.Time       `json:"decided,omitzero"` // zero while pending
	Approve bool            `json:"approve,omitempty"`
	Reason  string          `json:"reason,omitempty"`
	Overdue bool            `json:"overdue,omitempty"` // 超期: decided after Due
}

// Signature (协议签署) is one party's place under the service agreement.
type Signature struct {
	Party sandbox.PartyID `json:"party"`
	At    time.Time       `json:"at,omitzero"` // zero while missing
}

// ListedGrade (清单字段级别) is the level a listed column had when its scenario was filed: what operator, agency and units decide on,
// and sign for.
type ListedGrade struct {
	Dataset  sandbox.DatasetID `json:"dataset"`
	Column   string            `json:"column"`
	Grade    sandbox.Grade     `json:"grade"`
	Personal bool              `json:"personal,omitempty"`
}

// Covers says whether a column of this level is still what was agreed: not of a higher grade, and not personal where it was not.
func (l ListedGrade) Covers(g sandbox.Grade, personal bool) bool {
	return g <= l.Grade && (l.Personal || !personal)
}

// Scenario (应用场景) is an Application on its way to a Grant, and after.
type Scenario struct {
	Application
	State           State       `json:"state"`
	Filed           time.Time   `json:"filed"`
	ListDigest      []byte      `json:"list_digest"`
	AgreementDigest []byte      `json:"agreement_digest"`
	Steps           []Step      `json:"steps"`
	Signatures      []Signature `json:"signatures"`
	// Grades are absent from a scenario that was filed before they were kept; only the matrix bounds its columns.
	Grades    []ListedGrade `json:"grades,omitempty"`
	Grant     *Grant        `json:"grant,omitempty"`
	Ended     time.Time     `json:"ended,omitzero"`
	EndReason string        `json:"end_reason,omitempty"`
}

// At gives the state at a time: a granted scenario is expired from the first instant of its NotAfter on, whether or not
// anybody has recorded it.
func (s *Scenario) At(at time.Time) State {
	if s.State == Granted && (s.Grant == nil || !at.Before(s.Grant.NotAfter)) {
		return Expired
	}
	return s.State
}

// Live says whether the scenario gives a right at a time: granted, begun and not over, to the nanosecond.
func (s *Scenario) Live(at time.Time) bool {
	return s.At(at) == Granted && !at.Before(s.Grant.NotBefore)
}

// Open lists the steps a decision may be given for now: the first pending kind of step.
func (s *Scenario) Open() []Step {
	var out []Step
	for _, st := range s.Steps {
		if st.Name == s.waiting() && st.Decided.IsZero() {
			out = append(out, st)
		}
	}
	return out
}

// Overdue lists the open steps past their due time. They stay pending: silence is never consent.
func (s *Scenario) Overdue(at time.Time) []Step {
	return slices.DeleteFunc(s.Open(), func(st Step) bool { return !workflow.Overdue(at, st.Due) })
}

// Unsigned lists the parties whose signature the agreement still lacks.
func (s *Scenario) Unsigned() []sandbox.PartyID {
	var out []sandbox.PartyID
	for _, x := range s.Signatures {
		if x.At.IsZero() {
			out = append(out, x.Party)
		}
	}
	return out
}

// Units lists the source units whose data are listed.
func (s *Scenario) Units() []sandbox.PartyID {
	var out []sandbox.PartyID
	for _, st := range s.Steps {
		if st.Name == StepUnit {
			out = append(out, st.Party)
		}
	}
	return out
}

// Item finds the list entry of a dataset.
func (s *Scenario) Item(d sandbox.DatasetID) (sandbox.ListItem, bool) {
	for _, item := range s.List {
		if item.Dataset == d {
			return item, true
		}
	}
	return sandbox.ListItem{}, false
}

// Listed finds the level a column was listed at, by "dataset.column".
func (s *Scenario) Listed(at string) (ListedGrade, bool) {
	for _, l := range s.Grades {
		n := len(l.Dataset)
		if len(at) == n+1+len(l.Column) && at[:n] == string(l.Dataset) && at[n] == '.' && at[n+1:] == l.Column {
			return l, true
		}
	}
	return ListedGrade{}, false
}

// listedGrades gives the level of every listed column now.
func listedGrades(list []sandbox.ListItem, in map[sandbox.DatasetID]catalog.Dataset) []ListedGrade {
	var out []ListedGrade
	for _, item := range list {
		d := in[item.Dataset]
		for _, r := range item.Columns {
			if c, ok := d.Column(r.Column); ok {
				out = append(out, ListedGrade{Dataset: d.ID, Column: c.Name, Grade: c.Effective(), Personal: c.Personal})
			}
		}
	}
	return out
}

// waiting names the kind of step the state waits for, "" when it waits for none.
func (s *Scenario) waiting() string {
	switch s.State {
	case Filed:
		return StepOperator
	case OperatorApproved:
		return StepAgency
	case AgencyApproved:
		return StepUnit
	}
	return ""
}

// clone copies what the next Scenario changes, so that the one given stays as it was.
func (s Scenario) clone() Scenario {
	s.Steps, s.Signatures = slices.Clone(s.Steps), slices.Clone(s.Signatures)
	return s
}
