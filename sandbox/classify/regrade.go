package classify

import (
	"cmp"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
)

// Level (级别规则) is what a version of the rules says about one kind.
type Level struct {
	Grade     sandbox.Grade `json:"grade"`
	Personal  bool          `json:"personal,omitempty"`
	National  National      `json:"national"`
	Category  Category      `json:"category"`
	Sensitive Sensitive     `json:"sensitive,omitempty"`
}

// Rules (分级规则) is one version of the grades of kinds. Current gives this package's; others come from a change of the
// national or the district's rules, as data.
type Rules struct {
	Version string         `json:"version"`
	Levels  map[Kind]Level `json:"levels"`
}

// Current gives the rules in force here.
func Current() Rules {
	r := Rules{Version: Version, Levels: map[Kind]Level{}}
	for k, x := range rules {
		r.Levels[k] = Level{Grade: x.grade, Personal: x.personal, National: NationalGeneral, Category: CategoryOf(k), Sensitive: x.sensitive}
	}
	return r
}

// Validate wants a version and a level for every kind, so that no field loses its grade by an omission.
func (r Rules) Validate() error {
	bad := func(object, rule string) error {
		return &sandbox.Error{Op: "classify: rules", Kind: sandbox.Invalid, Object: object, Detail: rule}
	}
	if r.Version == "" || len(r.Version) > 64 {
		return bad("version", "1 to 64 characters")
	}
	for k := range rules {
		l, ok := r.Levels[k]
		switch {
		case !ok:
			return bad(string(k), "every kind has a level")
		case !l.Grade.Valid() || !l.National.Valid():
			return bad(string(k), "a grade is 1 to 4, a national grade general, important or core")
		case l.Personal && l.Grade < sandbox.Grade3:
			return bad(string(k), "a personal kind is of grade 3 or above")
		}
	}
	for k := range r.Levels {
		if _, ok := rules[k]; !ok {
			return bad("levels", "a kind that no detector knows")
		}
	}
	return nil
}

// Grade gives a finding its level under these rules. A finding of a kind they do not know is of grade 4 until a person says
// otherwise.
func (r Rules) Grade(f ColumnFinding) ColumnFinding {
	if f.Finding == None {
		return f
	}
	l, ok := r.Levels[f.Finding.Of()]
	if !ok {
		l = Level{Grade: sandbox.Grade4, National: NationalGeneral, Category: f.Category, Personal: f.Personal, Sensitive: f.Sensitive}
	}
	f.Grade, f.Personal, f.National, f.Category, f.Sensitive = l.Grade, l.Personal, l.National, l.Category, l.Sensitive
	return f
}

// Graded (分级结果) is the findings of some datasets under one version of the rules.
type Graded struct {
	Rules    string
	Datasets map[sandbox.DatasetID][]ColumnFinding
}

// Regrade gives the same findings under other rules. Where detectors changed, a new sample is needed instead: findings say
// which kind was found, not what another detector would find.
func (r Rules) Regrade(g Graded) Graded {
	out := Graded{Rules: r.Version, Datasets: map[sandbox.DatasetID][]ColumnFinding{}}
	for d, findings := range g.Datasets {
		next := make([]ColumnFinding, len(findings))
		for i, f := range findings {
			next[i] = r.Grade(f)
		}
		out.Datasets[d] = next
	}
	return out
}

// FieldChange (字段级别变更) is one field whose kind or level differs between two gradings.
type FieldChange struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Column  string            `json:"column"`
	Old     ColumnFinding     `json:"old"` // without a finding if the column is new
	New     ColumnFinding     `json:"new"` // without a finding if the column is gone
	Raised  bool              `json:"raised,omitempty"`
	Lowered bool              `json:"lowered,omitempty"`
}

// Compare lists the fields that differ, by dataset and column. Shares and confidences alone are no difference. Two gradings by
// the same version of the rules compare too: data change as well.
func Compare(old, new Graded) []FieldChange {
	var out []FieldChange
	seen := map[sandbox.DatasetID]bool{}
	for _, g := range []Graded{old, new} {
		for d := range g.Datasets {
			if seen[d] {
				continue
			}
			seen[d] = true
			columns := map[string][2]ColumnFinding{}
			for side, list := range [][]ColumnFinding{old.Datasets[d], new.Datasets[d]} {
				for _, f := range list {
					pair := columns[f.Column]
					pair[side] = f
					columns[f.Column] = pair
				}
			}
			for name, pair := range columns {
				if level(pair[0]) == level(pair[1]) && pair[0].Finding == pair[1].Finding {
					continue
				}
				was, is := pair[0], pair[1]
				c := FieldChange{Dataset: d, Column: name, Old: was, New: is}
				c.Raised = is.Grade > was.Grade || is.Personal && !was.Personal || is.National.rank() > was.National.rank() || is.Sensitive != NotSensitive && was.Sensitive == NotSensitive
				c.Lowered = is.Grade < was.Grade || !is.Personal && was.Personal || is.National.rank() < was.National.rank() || is.Sensitive == NotSensitive && was.Sensitive != NotSensitive
				out = append(out, c)
			}
		}
	}
	slices.SortFunc(out, func(a, b FieldChange) int {
		return cmp.Or(cmp.Compare(a.Dataset, b.Dataset), cmp.Compare(a.Column, b.Column))
	})
	return out
}

// level is what of a finding a grant rests on. A column without a finding counts as general.
func level(f ColumnFinding) Level {
	l := Level{Grade: f.Grade, Personal: f.Personal, National: f.National, Category: f.Category, Sensitive: f.Sensitive}
	if l.National == "" {
		l.National = NationalGeneral
	}
	if l.Category == "" {
		l.Category = General
	}
	return l
}

// Listing (授权数据清单) is what one grant lists; sandbox/grant has it as the list of a scenario.
type Listing struct {
	Grant    sandbox.GrantID
	Scenario sandbox.ScenarioID
	List     []sandbox.ListItem
}

// Affected (受影响授权) is a grant that lists changed fields, with what it may do with them.
// 依据: 福田区实施方案 五(一)3: after a change of the national rules, a supplementary agreement.
type Affected struct {
	Grant    sandbox.GrantID    `json:"grant"`
	Scenario sandbox.ScenarioID `json:"scenario"`
	Fields   []AffectedField    `json:"fields"`
	Stop     bool               `json:"stop,omitempty"` // 暂停使用: a listed field is now grade 4 and leaves no engine in plain
}

// AffectedField (受影响字段) is one changed field in a grant.
type AffectedField struct {
	FieldChange
	Uses []sandbox.Use `json:"uses"`
}

// AffectedGrants lists the grants that changed fields touch, in the order given. A field that was only lowered is listed too:
// its agreement names the old grade.
func AffectedGrants(changes []FieldChange, grants []Listing) []Affected {
	var out []Affected
	for _, g := range grants {
		a := Affected{Grant: g.Grant, Scenario: g.Scenario}
		for _, item := range g.List {
			for _, c := range changes {
				if c.Dataset != item.Dataset {
					continue
				}
				if i := slices.IndexFunc(item.Columns, func(r sandbox.ColumnRule) bool { return r.Column == c.Column }); i >= 0 {
					a.Fields = append(a.Fields, AffectedField{FieldChange: c, Uses: item.Columns[i].Uses})
					a.Stop = a.Stop || c.New.Grade == sandbox.Grade4
				}
			}
		}
		if len(a.Fields) > 0 {
			out = append(out, a)
		}
	}
	return out
}
