package catalog

import (
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// Revision (目录变更记录) is one state of a dataset's description: as it was registered, as its owner revised it, or as a push whose
// drift passed left it. Every state is kept; an authorisation rests on the one that stood when it was filed.
type Revision struct {
	Number  uint64               `json:"number"`
	At      time.Time            `json:"at"`
	By      sandbox.IdentityID   `json:"by"`
	Changed []string             `json:"changed"`        // parts, without their words: "registered", "title", "card.tags", "column amount"
	Digest  []byte               `json:"digest"`         // SM3 of the description
	Held    []sandbox.ScenarioID `json:"held,omitempty"` // scenarios filed while it stood that list the dataset, of those the reader has a part in
	Dataset Dataset              `json:"dataset"`
}

// Revise gives d as its owner describes it anew, and what changed. Words, ranges, frequency and the card may change, and a grade may
// rise. What a push, a grant or a question rests on does not change this way: identity, owner, subject, record key, a holding once it is named, bins, the
// columns and their types, what is personal, public or a join key; a table that needs it is registered as a new one. A lower
// grade is a person's verdict on the proposal, see classify.Rules.Confirm. The next one's Revision is 0 or that of d; another one was read before a change in between.
func (d Dataset) Revise(next Dataset) (Dataset, []string, error) {
	conflict := func(at, rule, hint string) (Dataset, []string, error) {
		return Dataset{}, nil, &sandbox.Error{Op: "catalog: revise", Kind: sandbox.Conflict, Object: at, Detail: rule, Hint: hint}
	}
	at, anew := string(d.ID), "register the changed table as a new dataset"
	if next.Revision != 0 && next.Revision != max(d.Revision, 1) {
		return conflict(at, fmt.Sprintf("the description is at revision %d", max(d.Revision, 1)), "read it again")
	}
	if next.ID != d.ID || next.Unit != d.Unit || next.Subject != d.Subject || next.SubjectKind != d.SubjectKind || next.RecordKey != d.RecordKey ||
		next.Holding != d.Holding && d.Holding != "" {
		return conflict(at, "identity, owner, subject, record key and, once named, the holding do not change", anew)
	}
	if len(next.Bins)+len(d.Bins) > 0 && !reflect.DeepEqual(next.Bins, d.Bins) {
		return conflict(at, "registered bins do not change", anew)
	}
	if len(next.Columns) != len(d.Columns) {
		return conflict(at, "columns are added by a push with its schema", "")
	}
	var changed []string
	note := func(part string, differs bool) {
		if differs {
			changed = append(changed, part)
		}
	}
	note("title", next.Title != d.Title)
	note("holding", next.Holding != d.Holding)
	note("format", next.Format != d.Format)
	note("frequency", next.Frequency != d.Frequency)
	next.Columns = slices.Clone(next.Columns)
	for i := range d.Columns {
		old, c := d.Columns[i], &next.Columns[i]
		c.Detected, c.Finding, c.Category = old.Detected, old.Finding, old.Category
		was := old
		was.Title, was.Unit, was.Range, was.Values, was.Grade = c.Title, c.Unit, c.Range, c.Values, c.Grade
		switch {
		case was != *c:
			return conflict(at+"."+old.Name, "name, type, scale, nullable, personal, public and join key do not change", anew)
		case c.Grade < old.Grade:
			return conflict(at+"."+old.Name, "a revision does not lower a grade", "have an officer of the unit say why it is lower: opdomain catalog confirm")
		}
		note("column "+old.Name, old != *c)
	}
	a, b := reflect.ValueOf(d.Card), reflect.ValueOf(next.Card)
	for i := range a.NumField() {
		x, y := a.Field(i), b.Field(i)
		empty := x.Kind() == reflect.Slice && x.Len() == 0 && y.Len() == 0
		name, _, _ := strings.Cut(a.Type().Field(i).Tag.Get("json"), ",")
		note("card."+name, !empty && !reflect.DeepEqual(x.Interface(), y.Interface()))
	}
	next.Version, next.Rows, next.Revision = d.Version, d.Rows, max(d.Revision, 1)+1
	if len(changed) == 0 {
		return conflict(at, "nothing changed", "")
	}
	return next, changed, next.Validate()
}
