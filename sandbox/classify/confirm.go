package classify

import (
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Verdict (人工确认意见) is what a person says about one proposal.
type Verdict struct {
	Column    string        `json:"column"`
	Grade     sandbox.Grade `json:"grade"`
	Personal  bool          `json:"personal,omitempty"`
	National  National      `json:"national"`
	Category  Category      `json:"category"`
	Sensitive Sensitive     `json:"sensitive,omitempty"`
	Reason    string        `json:"reason,omitempty"` // wanted where the verdict is milder than the proposal
}

// Confirmation (分级确认记录) is a verdict with what it was given on: the body of an evidence event. It names no value.
type Confirmation struct {
	Verdict
	Dataset  sandbox.DatasetID  `json:"dataset"`
	Finding  Kind               `json:"finding,omitempty"` // as proposed
	Proposed sandbox.Grade      `json:"proposed,omitempty"`
	Before   sandbox.Grade      `json:"before"` // effective until now
	Rules    string             `json:"rules"`  // version of the proposal
	By       sandbox.IdentityID `json:"by"`
	At       time.Time          `json:"at"`
}

// MaxReason bounds the reason of a verdict, in bytes.
const MaxReason = 1024

// Confirm applies a person's verdicts to a dataset's columns and gives the records that prove them. Verdicts are all taken
// or none. A verdict milder than the proposal or than what is in force (a lower grade, no longer personal, no longer sensitive,
// a lower national grade) states its reason; a personal column is of the category personal and stays at grade 3 or above. A
// national grade above that of the dataset's card raises the card's; only the owner's revision lowers it.
//
// The caller has checked that the person may decide for this dataset's unit, and appends the records to the evidence.
func (r Rules) Confirm(d catalog.Dataset, findings []ColumnFinding, verdicts []Verdict, by sandbox.IdentityID, at time.Time) (catalog.Dataset, []Confirmation, error) {
	refuse := func(column, rule string) (catalog.Dataset, []Confirmation, error) {
		return catalog.Dataset{}, nil, &sandbox.Error{Op: "classify: confirm", Kind: sandbox.Invalid, Object: string(d.ID) + "." + column, Detail: rule}
	}
	if err := sandbox.CheckID("identity", string(by)); err != nil {
		return catalog.Dataset{}, nil, err
	}
	if len(verdicts) == 0 {
		return catalog.Dataset{}, nil, &sandbox.Error{Op: "classify: confirm", Kind: sandbox.Invalid, Object: string(d.ID), Detail: "at least one verdict"}
	}
	d.Columns = slices.Clone(d.Columns)
	var out []Confirmation
	for i, v := range verdicts {
		c, ok := d.Column(v.Column)
		switch {
		case !ok:
			return catalog.Dataset{}, nil, &sandbox.Error{Op: "classify: confirm", Kind: sandbox.NotFound, Object: string(d.ID) + "." + v.Column, Detail: "the dataset has no such column"}
		case slices.ContainsFunc(verdicts[:i], func(w Verdict) bool { return w.Column == v.Column }):
			return refuse(v.Column, "a column has one verdict")
		case !v.Grade.Valid():
			return refuse(v.Column, "a grade is 1 to 4")
		case !v.National.Valid():
			return refuse(v.Column, "a national grade is general, important or core")
		case v.Category != General && v.Category != Personal && v.Category != Organisation:
			return refuse(v.Column, "a category is general, personal or organisation")
		case v.Personal && v.Grade < sandbox.Grade3:
			return refuse(v.Column, "a personal column is of grade 3 or above (龙华区实施方案 三(四))")
		case v.Personal && v.Category != Personal:
			return refuse(v.Column, "a personal column is of the category personal")
		case v.Sensitive != NotSensitive && !v.Personal:
			return refuse(v.Column, "sensitive personal information is personal")
		case sensitiveTerms[v.Sensitive] == "" && v.Sensitive != NotSensitive:
			return refuse(v.Column, "no such type of sensitive personal information")
		case len(v.Reason) > MaxReason || !utf8.ValidString(v.Reason):
			return refuse(v.Column, fmt.Sprintf("a reason is at most %d bytes of UTF-8", MaxReason))
		}
		f := ColumnFinding{Column: v.Column}
		if at := slices.IndexFunc(findings, func(f ColumnFinding) bool { return f.Column == v.Column }); at >= 0 {
			f = findings[at]
		}
		milder := v.Grade < max(f.Grade, c.Effective()) || !v.Personal && (f.Personal || c.Personal) || v.Sensitive == NotSensitive && f.Sensitive != NotSensitive ||
			v.National.rank() < f.National.rank()
		if milder && strings.TrimSpace(v.Reason) == "" {
			return refuse(v.Column, "a verdict milder than the proposal states its reason")
		}
		out = append(out, Confirmation{Verdict: v, Dataset: d.ID, Finding: f.Finding, Proposed: f.Grade, Before: c.Effective(), Rules: r.Version, By: by, At: at})
		c.Grade, c.Personal = v.Grade, v.Personal
		c.Detected, c.Finding, c.Category = v.Grade, string(f.Finding), string(v.Category)
		if v.National.rank() > National(d.Card.National).rank() {
			d.Card.National = catalog.NationalGrade(v.National)
		}
	}
	return d, out, nil
}

// Settle is Apply for a dataset about which persons have decided. A finding that a confirmation was given on, of the same kind
// and by these rules, changes nothing; everything else raises the grade as Apply does, and is listed for a new verdict. The
// findings carry the levels of these rules, see Grade.
func (r Rules) Settle(d catalog.Dataset, findings []ColumnFinding, confirmed []Confirmation) (out catalog.Dataset, open []ColumnFinding) {
	for _, f := range findings {
		decided := slices.ContainsFunc(confirmed, func(c Confirmation) bool {
			return c.Dataset == d.ID && c.Column == f.Column && c.Finding == f.Finding && c.Rules == r.Version && f.Grade <= max(c.Proposed, c.Grade)
		})
		if f.Finding != None && !decided {
			open = append(open, f)
		}
	}
	return Apply(d, open), open
}

// Carry gives the confirmations as they stand under other rules: those on fields that the rules grade as before are taken over,
// the others fall, so that Settle asks for a new verdict.
func (r Rules) Carry(confirmed []Confirmation, changes []FieldChange) []Confirmation {
	var out []Confirmation
	for _, c := range confirmed {
		if !slices.ContainsFunc(changes, func(x FieldChange) bool { return x.Dataset == c.Dataset && x.Column == c.Column }) {
			c.Rules = r.Version
			out = append(out, c)
		}
	}
	return out
}

// InForce gives the level of every column as the catalogue has it, to be compared with an earlier one by Compare.
func InForce(d catalog.Dataset) []ColumnFinding {
	out := make([]ColumnFinding, 0, len(d.Columns))
	for _, c := range d.Columns {
		f := ColumnFinding{Column: c.Name, Finding: Kind(c.Finding), Grade: c.Effective(), Personal: c.Personal, National: NationalGeneral, Category: Category(c.Category)}
		if f.Category == "" && c.Personal {
			f.Category = Personal
		}
		out = append(out, f)
	}
	return out
}
