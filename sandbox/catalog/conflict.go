package catalog

import (
	"cmp"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// Conflict (数源冲突) is one fact that tables of different units hold about the same kind of subject: which of them is its one source
// (一数一源) is open. 依据: 龙华区实施方案 五(三)2.
type Conflict struct {
	Field   string      `json:"field"` // title of the field, as the first holder writes it
	Type    Type        `json:"type"`
	Subject SubjectKind `json:"subject_kind"`
	Finding string      `json:"finding,omitempty"` // what the detectors found in all of them, where only that is the same: possible, by no title
	Holders []Holder    `json:"holders"`           // by unit, dataset and column
}

// Holder (持有方) is one column of a conflict.
type Holder struct {
	Unit    sandbox.PartyID   `json:"unit"`
	Dataset sandbox.DatasetID `json:"dataset"`
	Column  string            `json:"column"`
}

// Conflicts finds the fields that more than one unit is a source of: columns of one type and title, without regard to case, width
// and spaces (of one name where a title is missing), in tables about the same kind of subject; and, as possible ones, columns in
// which the detectors found the same kind of value under different titles. Keys are shared by design and left
// out: subjects, record keys and join keys; so are derived tables, whose lineage says where a field came from. Descriptions are
// compared, not values: two names of one fact in which nothing was found are not seen, and one name of two facts is. The order is
// by field, then type.
func Conflicts(all []Dataset) []Conflict {
	type key struct {
		field   string
		typ     Type
		subject SubjectKind
		finding string
	}
	of := map[key]*Conflict{}
	titles := map[key]map[string]bool{} // by finding: the titles it stands under
	for i := range all {
		d := &all[i]
		if d.Card.Stage == Derived {
			continue
		}
		for _, c := range d.Columns {
			if c.Name == d.Subject || c.Name == d.RecordKey || c.JoinKey {
				continue
			}
			words := cmp.Or(c.Title, c.Name)
			at := []key{{field: squeeze(fold(words)), typ: c.Type, subject: d.SubjectKind}}
			if c.Finding != "" {
				k := key{typ: c.Type, subject: d.SubjectKind, finding: c.Finding}
				if titles[k] == nil {
					titles[k] = map[string]bool{}
				}
				titles[k][at[0].field] = true
				at = append(at, k)
			}
			for _, k := range at {
				if of[k] == nil {
					of[k] = &Conflict{Field: words, Type: c.Type, Subject: d.SubjectKind, Finding: k.finding}
				}
				of[k].Holders = append(of[k].Holders, Holder{d.Unit, d.ID, c.Name})
			}
		}
	}
	for k, seen := range titles {
		if len(seen) == 1 { // the title says it already
			delete(of, k)
		}
	}
	out := []Conflict{}
	for _, c := range of {
		if slices.ContainsFunc(c.Holders, func(h Holder) bool { return h.Unit != c.Holders[0].Unit }) {
			slices.SortFunc(c.Holders, func(a, b Holder) int {
				return cmp.Or(cmp.Compare(a.Unit, b.Unit), cmp.Compare(a.Dataset, b.Dataset), cmp.Compare(a.Column, b.Column))
			})
			out = append(out, *c)
		}
	}
	slices.SortFunc(out, func(a, b Conflict) int {
		return cmp.Or(cmp.Compare(a.Field, b.Field), cmp.Compare(a.Type, b.Type), cmp.Compare(a.Subject, b.Subject), cmp.Compare(a.Finding, b.Finding))
	})
	return out
}

// squeeze leaves spaces out.
func squeeze(s string) string {
	b := make([]rune, 0, len(s))
	for _, r := range s {
		if r != ' ' && r != '\t' && r != '\n' {
			b = append(b, r)
		}
	}
	return string(b)
}
