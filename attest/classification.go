package attest

import (
	"bytes"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// ContextClassification is what a person signs verdicts on proposed grades under.
const ContextClassification = "opdomain/classification/v1"

// ReasonSalt is the length in bytes of the salt of a ReasonCommitment.
const ReasonSalt = 32

// ReasonCommitment (理由承诺) hides the words of a verdict behind a random salt: SM3 of the framed word "reason", salt and
// words. People write into reasons what evidence must not hold.
func ReasonCommitment(salt []byte, words string) []byte {
	d := sm.Sum(sm.Frame([]byte("reason"), salt, []byte(words)))
	return d[:]
}

// ColumnVerdict (字段分级意见) is a person's word on one column: what was proposed, what was in force, what holds from now on.
type ColumnVerdict struct {
	Column    string        `json:"column"`
	Finding   string        `json:"finding,omitempty"`  // kind proposed; empty if nothing was found
	Proposed  sandbox.Grade `json:"proposed,omitempty"` // by the rules
	Before    sandbox.Grade `json:"before"`             // in force until now
	Grade     sandbox.Grade `json:"grade"`
	Personal  bool          `json:"personal,omitempty"`
	National  string        `json:"national"`
	Category  string        `json:"category"`
	Sensitive string        `json:"sensitive,omitempty"`
	Reason    []byte        `json:"reason,omitempty"` // see ReasonCommitment; wanted of a lower grade
}

// Classification (分级确认意见) is what an officer of the owning unit signs about the findings of one version under one version of
// the rules. 依据: GB/T 43697-2024 就高从严: the detectors propose, a person decides.
type Classification struct {
	Dataset sandbox.DatasetID `json:"dataset"`
	Version uint64            `json:"version"` // of the data; 0 before the first push
	Rules   string            `json:"rules"`   // version of the rules
	Columns []ColumnVerdict   `json:"columns"`
	At      time.Time         `json:"at"`
}

// Bodies of the events about grades.
type (
	// AffectedGrant (受影响授权) is a live grant that lists columns whose level changed. Stop says that questions which use them are
	// refused until its parties have agreed anew. 依据: 福田区实施方案 五(一)3.
	AffectedGrant struct {
		Grant    sandbox.GrantID    `json:"grant"`
		Scenario sandbox.ScenarioID `json:"scenario"`
		Columns  []string           `json:"columns"`
		Stop     bool               `json:"stop,omitempty"`
	}
	// ClassificationConfirmedBody (分级确认).
	ClassificationConfirmedBody struct {
		Statement Statement       `json:"statement"`
		Revision  uint64          `json:"revision"` // of the description that has it
		Affected  []AffectedGrant `json:"affected,omitempty"`
	}
	// RegradedColumn (字段重新分级): Old and New are the levels of its finding, Before and After what is in force.
	RegradedColumn struct {
		Column  string        `json:"column"`
		Finding string        `json:"finding,omitempty"`
		Old     sandbox.Grade `json:"old"`
		New     sandbox.Grade `json:"new"`
		Before  sandbox.Grade `json:"before"`
		After   sandbox.Grade `json:"after"`
	}
	// ClassificationRegradedBody (重新分级): the columns of one dataset that other rules grade otherwise. What is in force rises with
	// them; it falls by a person's verdict only.
	ClassificationRegradedBody struct {
		Dataset  sandbox.DatasetID `json:"dataset"`
		From     string            `json:"from"`
		To       string            `json:"to"`
		Columns  []RegradedColumn  `json:"columns"`
		Affected []AffectedGrant   `json:"affected,omitempty"`
	}
	// RulesAdoptedBody (分级规则启用): by the agency, or by the domain when its program brought the next version. The
	// classification.regraded of the datasets it changes follow.
	RulesAdoptedBody struct {
		From      string `json:"from"`
		To        string `json:"to"`
		Detectors string `json:"detectors"` // version of what finds
		Digest    []byte `json:"digest"`    // SM3 of the rules as they are kept
		Datasets  int    `json:"datasets"`  // changed
		Columns   int    `json:"columns"`
		Grants    int    `json:"grants"` // affected
		Kept      int    `json:"kept"`   // verdicts taken over
	}
)

var (
	nationalGrades = []string{"general", "important", "core"}
	categories     = []string{"general", "personal", "organisation"}
)

// Reasoned says whether the verdict was given with these words under this salt.
func (v ColumnVerdict) Reasoned(salt []byte, words string) bool {
	return len(salt) == ReasonSalt && bytes.Equal(v.Reason, ReasonCommitment(salt, words))
}

// sound holds a verdict to what every verdict keeps.
func (v ColumnVerdict) sound() bool {
	lower := v.Grade < max(v.Proposed, v.Before)
	return v.Column != "" && v.Grade.Valid() && v.Before.Valid() && (v.Proposed == 0 && v.Finding == "" || v.Proposed.Valid() && v.Finding != "") &&
		(!v.Personal || v.Grade >= sandbox.Grade3 && v.Category == "personal") && (v.Sensitive == "" || v.Personal) &&
		slices.Contains(nationalGrades, v.National) && slices.Contains(categories, v.Category) &&
		(len(v.Reason) == sm.Size || len(v.Reason) == 0 && !lower)
}

// effective is the grade policy uses; see catalog.Column.
func (g ColumnGrade) effective() sandbox.Grade {
	e := max(g.Declared, g.Detected)
	if g.Personal {
		e = max(e, sandbox.Grade3)
	}
	return e
}

// graded follows the grade of each column of a dataset: it rises with findings, declarations and rules, and falls by a
// person's verdict.
func (c *checker) graded(d *datasetTrail, all []ColumnGrade) error {
	for _, g := range all {
		if err := c.shown(g.effective() >= d.grades[g.Column], "grading", "a grade falls by a person's verdict only"); err != nil {
			return err
		}
		d.grades[g.Column] = g.effective()
	}
	return nil
}

// confirmed: signed by an officer of the owning unit, about a version that was committed.
func (c *checker) confirmed(e Event, b ClassificationConfirmedBody) error {
	const check = "grading"
	var v Classification
	who, ok, err := c.statement(e, b.Statement, ContextClassification, &v)
	if err != nil || !ok {
		return err
	}
	if err := all(c.dated(v.At, e), c.role(e.Actor, check, sandbox.Unit), c.want(who.Duty == sandbox.Officer, check, "by an officer"),
		c.want(len(v.Columns) > 0 && v.Rules != "", check, "at least one verdict under named rules")); err != nil {
		return err
	}
	for i, x := range v.Columns {
		twice := slices.ContainsFunc(v.Columns[:i], func(y ColumnVerdict) bool { return y.Column == x.Column })
		if err := c.want(!twice && x.sound(), check, "a verdict for each column once, complete, with a commitment to its reason where the grade falls"); err != nil {
			return err
		}
	}
	d := c.datasets[v.Dataset]
	if d == nil {
		return c.shown(false, check, "of a registered dataset")
	}
	if err := all(c.actorOf(e.Actor, d.unit, check), c.shown(v.Version == 0 || d.versions[v.Version], check, "of a version that was committed before"),
		c.shown(c.rules == "" || c.rules == v.Rules, check, "under the rules in force")); err != nil {
		return err
	}
	for _, x := range v.Columns {
		if err := c.shown(x.Before >= d.grades[x.Column], check, "it names the grade in force"); err != nil {
			return err
		}
		d.grades[x.Column] = x.Grade
	}
	return c.affected(b.Affected)
}

// adopted: by the domain or the agency, one version after the other.
func (c *checker) adopted(e Event, b RulesAdoptedBody) error {
	const check = "grading"
	err := all(c.want(b.From != "" && b.To != "" && b.From != b.To && len(b.Digest) == sm.Size, check, "one version of the rules takes the place of another, named by its digest"),
		c.shown(c.rules == "" || c.rules == b.From, check, "versions of the rules follow each other"))
	if err == nil && e.Actor != DomainActor {
		err = c.agency(e.Actor, check)
	}
	c.rules, c.rulesFrom = b.To, b.From
	return err
}

// regraded: under the rules adopted last, by who adopted them; nothing in force falls.
func (c *checker) regraded(e Event, b ClassificationRegradedBody) error {
	const check = "grading"
	if e.Actor != DomainActor {
		if err := c.agency(e.Actor, check); err != nil {
			return err
		}
	}
	d := c.datasets[b.Dataset]
	if err := all(c.want(len(b.Columns) > 0 && b.From != b.To, check, "names what other rules changed"),
		c.shown(c.rules == b.To && c.rulesFrom == b.From, check, "under the rules adopted last"), c.shown(d != nil, check, "of a registered dataset")); err != nil {
		return err
	}
	for i, x := range b.Columns {
		twice := slices.ContainsFunc(b.Columns[:i], func(y RegradedColumn) bool { return y.Column == x.Column })
		if err := c.want(!twice && x.Before.Valid() && x.After.Valid() && x.After >= max(x.Before, x.New), check, "what is in force rises to the new level and never falls"); err != nil {
			return err
		}
		if d == nil {
			continue
		}
		if err := c.shown(x.Before >= d.grades[x.Column], check, "it names the grade in force"); err != nil {
			return err
		}
		d.grades[x.Column] = x.After
	}
	return c.affected(b.Affected)
}

// affected: grants that were issued before.
func (c *checker) affected(grants []AffectedGrant) error {
	for _, g := range grants {
		s := c.scenarios[g.Scenario]
		if err := all(c.want(len(g.Columns) > 0, "grading", "an affected grant lists what changed"),
			c.shown(s != nil && s.grant != nil && s.grant.Grant == g.Grant, "grading", "an affected grant was issued before")); err != nil {
			return err
		}
	}
	return nil
}
