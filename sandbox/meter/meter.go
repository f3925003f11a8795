// Package meter describes metered usage (用量计量): what one admitted question or call counts for. Units come from the plan
// and never from data (an asker's customers are what it asked for): a hit, a miss and a refusal that depends on data weigh the same, so a bill says nothing about them.
// 依据: 福田区实施方案 六(四) (计量方式), 龙华区实施方案 八(一).
//
// An event is identified by its id, made from the question it belongs to, for ever: the store keeps it exactly once, an
// equal repeat changes nothing and the same id with another payload is a Conflict. Months are those of Asia/Shanghai. It
// does no pricing (package bill) and keeps nothing.
package meter

import (
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/workflow"
)

// Product (计量产品) is what is counted.
type Product string

const (
	AggregateQuestion Product = "aggregate-question" // 统计查询: one admitted statistical question
	ClaimQuery        Product = "claim-query"        // 单人查询: one admitted claim query
	ScoringCustomers  Product = "scoring-customers"  // 密态评分: customers of one admitted request, by their Bracket
)

// Event (计量事件) is one metered use.
type Event struct {
	ID       string             `json:"id"`
	Party    sandbox.PartyID    `json:"party"` // who pays
	Scenario sandbox.ScenarioID `json:"scenario"`
	Product  Product            `json:"product"`
	Quantity int64              `json:"quantity"`
	Question sandbox.QuestionID `json:"question"`
	At       time.Time          `json:"at"`
}

// New meters one admitted question. Its id follows from product and question, so that a repeat is the same event.
func New(p Product, party sandbox.PartyID, scenario sandbox.ScenarioID, q sandbox.QuestionID, at time.Time) (Event, error) {
	e := Event{ID: "u-" + string(q), Party: party, Scenario: scenario, Product: p, Quantity: 1, Question: q, At: at.UTC()}
	return e, e.Validate()
}

// Bracket (计量档) is what customers count as on a bill: the next power of two.
func Bracket(customers int64) int64 {
	b := int64(1)
	for b < customers && b < 1<<62 {
		b *= 2
	}
	return b
}

// NewScoring meters one admitted request for scores.
func NewScoring(party sandbox.PartyID, scenario sandbox.ScenarioID, q sandbox.QuestionID, customers int64, at time.Time) (Event, error) {
	if customers < 1 {
		return Event{}, &sandbox.Error{Op: "meter", Kind: sandbox.Invalid, Object: string(q), Detail: "customers of 1 at least"}
	}
	e := Event{ID: "u-" + string(q), Party: party, Scenario: scenario, Product: ScoringCustomers, Quantity: Bracket(customers), Question: q, At: at.UTC()}
	return e, e.Validate()
}

// Validate checks an event before it is kept or billed.
func (e Event) Validate() error {
	for _, x := range []struct{ what, id string }{{"usage", e.ID}, {"party", string(e.Party)}, {"scenario", string(e.Scenario)}, {"question", string(e.Question)}} {
		if err := sandbox.CheckID(x.what, x.id); err != nil {
			return err
		}
	}
	bad := func(rule string) error {
		return &sandbox.Error{Op: "meter", Kind: sandbox.Invalid, Object: e.ID, Detail: rule}
	}
	switch {
	case e.Product != AggregateQuestion && e.Product != ClaimQuery && e.Product != ScoringCustomers:
		return bad("a product of the list")
	case e.Quantity < 1:
		return bad("a quantity of at least 1")
	case e.At.IsZero():
		return bad("a time")
	}
	return nil
}

// Month gives the billing month of a time, "2006-01" in Asia/Shanghai.
func Month(t time.Time) string { return t.In(workflow.Shanghai()).Format("2006-01") }

// CheckMonth says whether s is a billing month.
func CheckMonth(s string) error {
	if t, err := time.Parse("2006-01", s); err != nil || t.Format("2006-01") != s {
		return &sandbox.Error{Op: "meter", Kind: sandbox.Invalid, Object: "month", Detail: "a month is written 2006-01"}
	}
	return nil
}
