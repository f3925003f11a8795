package catalog

import (
	"fmt"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

// Rule (结构变更规则) says what a change of a schema is.
type Rule string

const (
	// Changes that pass.

	AddNullable Rule = "add-nullable"  // 新增可空字段
	Widen       Rule = "widen"         // 类型放宽, along the order of Widens
	NowNullable Rule = "allow-missing" // 改为可空
	// Changes that are quarantined.

	AddRequired Rule = "add-required"   // 新增必填字段: rows of older versions have no value for it
	Remove      Rule = "remove"         // 删除字段: questions and grants name it
	Retype      Rule = "retype"         // 类型变更
	Narrow      Rule = "narrow"         // 类型收窄
	NowRequired Rule = "forbid-missing" // 改为必填
	Reorder     Rule = "reorder"        // 字段次序变更
	Subject     Rule = "subject"        // 保护主体变更: one person would be another
	Renamed     Rule = "dataset"        // 数据资源变更
)

// Passes says whether a push with such a change is taken in.
func (r Rule) Passes() bool { return r == AddNullable || r == Widen || r == NowNullable }

// Change (结构变更项) is one difference of two schemas, in words that name no value.
type Change struct {
	Column string `json:"column,omitempty"`
	Rule   Rule   `json:"rule"`
	Old    string `json:"old,omitempty"`
	New    string `json:"new,omitempty"`
}

// String writes a change for people: "amount: retype, money to text".
func (c Change) String() string {
	at := c.Column
	if at == "" {
		at = "table"
	}
	switch {
	case c.Old == "" && c.New == "":
		return fmt.Sprintf("%s: %s", at, c.Rule)
	case c.Old == "":
		return fmt.Sprintf("%s: %s, %s", at, c.Rule, c.New)
	case c.New == "":
		return fmt.Sprintf("%s: %s, was %s", at, c.Rule, c.Old)
	}
	return fmt.Sprintf("%s: %s, %s to %s", at, c.Rule, c.Old, c.New)
}

// Drift (结构漂移) is every difference of two schemas, columns in the order of the new one, removed ones last.
type Drift struct {
	Changes []Change `json:"changes,omitempty"`
}

// Passes says whether every change passes. No change passes.
func (d Drift) Passes() bool {
	return !slices.ContainsFunc(d.Changes, func(c Change) bool { return !c.Rule.Passes() })
}

// String lists the changes, those that do not pass first.
func (d Drift) String() string {
	var bad, good []string
	for _, c := range d.Changes {
		if c.Rule.Passes() {
			good = append(good, c.String())
		} else {
			bad = append(bad, c.String())
		}
	}
	return strings.Join(append(bad, good...), "; ")
}

// Widens says whether every value of type a, with its scale, is a value of type b that means the same:
//
//	bool ≤ int ≤ number(0) ≤ number(1) ≤ … ≤ number(9)
//
// and every type is below itself. Money stays money, a date a date and a text a text: fen and scaled numbers would be
// mistaken for each other. Nothing widens to text: who was granted a date or an amount was not granted whatever a text may
// hold, names and identity numbers included.
func Widens(a, b Field) bool {
	rank := func(f Field) int {
		switch f.Type {
		case Bool:
			return 0
		case Int:
			return 1
		case Number:
			return 2 + f.Scale
		}
		return -1
	}
	if a.Type == b.Type && a.Scale == b.Scale {
		return true
	}
	return rank(a) >= 0 && rank(b) >= rank(a)
}

// Compare gives the differences of a pushed schema from a registered one. It is reflexive (no change of a schema from
// itself), and where a to b and b to c pass, a to c passes.
func Compare(old, new Schema) Drift {
	var d Drift
	add := func(column string, r Rule, was, is string) {
		d.Changes = append(d.Changes, Change{column, r, was, is})
	}
	if old.Dataset != new.Dataset {
		add("", Renamed, string(old.Dataset), string(new.Dataset))
	}
	if old.Subject != new.Subject || old.Kind != new.Kind {
		add("", Subject, old.Subject+" "+string(old.Kind), new.Subject+" "+string(new.Kind))
	}
	last := -1
	for _, f := range new.Columns {
		at := slices.IndexFunc(old.Columns, func(o Field) bool { return o.Name == f.Name })
		if at < 0 {
			if f.Nullable {
				add(f.Name, AddNullable, "", f.typeName())
			} else {
				add(f.Name, AddRequired, "", f.typeName())
			}
			continue
		}
		o := old.Columns[at]
		if at < last {
			add(f.Name, Reorder, fmt.Sprintf("column %d", at+1), "behind a later one")
		}
		last = max(last, at)
		switch {
		case o.Type == f.Type && o.Scale == f.Scale:
		case Widens(o, f):
			add(f.Name, Widen, o.typeName(), f.typeName())
		case Widens(f, o):
			add(f.Name, Narrow, o.typeName(), f.typeName())
		default:
			add(f.Name, Retype, o.typeName(), f.typeName())
		}
		switch {
		case !o.Nullable && f.Nullable && f.Name == old.Subject:
			add(f.Name, Subject, "required", "nullable")
		case !o.Nullable && f.Nullable:
			add(f.Name, NowNullable, "required", "nullable")
		case o.Nullable && !f.Nullable:
			add(f.Name, NowRequired, "nullable", "required")
		}
	}
	for _, o := range old.Columns {
		if _, ok := new.Field(o.Name); !ok {
			add(o.Name, Remove, o.typeName(), "")
		}
	}
	return d
}

func (f Field) typeName() string {
	if f.Type == Number {
		return fmt.Sprintf("number(%d)", f.Scale)
	}
	return string(f.Type)
}

// Adopt gives the description of d under a schema whose drift from it passes. A column that is new takes its description
// from declared, or has grade 4; it is no join key and no code list, and no grant names it. A widened column is no code list
// any more. A widened column that a registered bin groups, or that numbers the records, is a Conflict: the bin's edges and
// labels were registered for the old type.
func (d Dataset) Adopt(s Schema, declared []Column) (Dataset, error) {
	drift := Compare(d.Schema(), s)
	refuse := func(at, rule, hint string) (Dataset, error) {
		return Dataset{}, &sandbox.Error{Op: "catalog: drift", Kind: sandbox.Conflict, Object: at, Detail: rule, Hint: hint}
	}
	if !drift.Passes() {
		return refuse(string(d.ID), "schema drift: "+drift.String(), "register the changed table as a new dataset; nothing was taken in")
	}
	for _, c := range drift.Changes {
		if c.Rule != Widen {
			continue
		}
		if i := slices.IndexFunc(d.Bins, func(b Bin) bool { return b.Column == c.Column }); i >= 0 {
			return refuse(string(d.ID)+"."+c.Column, fmt.Sprintf("schema drift: %s, and bin %s groups this column", c, d.Bins[i].ID),
				"register the changed table as a new dataset with a bin of the new type")
		}
		if slices.ContainsFunc(d.Card.Orders, func(o Order) bool { return o.Low == c.Column || o.High == c.Column }) {
			return refuse(string(d.ID)+"."+c.Column, fmt.Sprintf("schema drift: %s, and an order of the card names this column", c),
				"take the order off the card first")
		}
	}
	out := d
	out.Columns = make([]Column, 0, len(s.Columns))
	for _, f := range s.Columns {
		c := Column{Name: f.Name, Grade: sandbox.Grade4}
		if old, ok := d.Column(f.Name); ok {
			c = *old
			if c.Type != f.Type || c.Scale != f.Scale {
				c.Public = false
				if _, err := ParseValues("", &Column{Type: f.Type, Scale: f.Scale, Values: c.Values}); err != nil {
					c.Values = "" // a bound that the new scale cannot hold
				}
			}
		} else if i := slices.IndexFunc(declared, func(n Column) bool { return n.Name == f.Name }); i >= 0 {
			n := declared[i]
			c = Column{Name: n.Name, Title: n.Title, Unit: n.Unit, Range: n.Range, Values: n.Values, Grade: n.Grade, Personal: n.Personal}
		}
		c.Type, c.Scale, c.Nullable = f.Type, f.Scale, f.Nullable
		out.Columns = append(out.Columns, c)
	}
	return out, out.Validate()
}
