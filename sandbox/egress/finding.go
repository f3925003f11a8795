package egress

import (
	"fmt"
	"math"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
)

// Finding (差分发现) is why an answer is withheld: for reviewers and owners, never for the asker.
type Finding struct {
	Earlier sandbox.QuestionID   `json:"earlier"`        // the answer it was compared with
	With    []sandbox.QuestionID `json:"with,omitempty"` // further earlier answers it takes to come to the difference
	Cell    int                  `json:"cell"`           // published cell of the new answer, from 0; -1: several
	Against int                  `json:"against"`        // published cell of the earlier one; -1: several
	People  int                  `json:"people"`         // on how many people they differ
	Rule    string               `json:"rule"`
}

// Comparison (台账比对) is what a Book says of a new answer.
type Comparison struct {
	Finding *Finding
	// Uncertified says why not all combinations of answers were searched: such an answer leaves by people's review only. Empty: all were.
	Uncertified string
}

// Compare holds a new entry against every earlier one that shares a dataset with it and gives the first finding.
func Compare(e Entry, earlier []Entry, p Params) (Finding, bool) {
	b := NewBook()
	for _, x := range earlier {
		b.Add(x)
	}
	c := b.Compare(e, p)
	if c.Finding == nil {
		return Finding{}, false
	}
	return *c.Finding, true
}

// found names the answers, and the cells where each side has one.
func (c *comparison) found(whole place, parts []place, people int, rules []string) *Finding {
	f := &Finding{Cell: -1, Against: -1, People: people}
	for _, x := range append([]place{whole}, parts...) {
		q := c.all[x.answer].question
		single := whole == x || len(parts) == 1
		switch {
		case x.answer == 0:
			if single {
				f.Cell = x.cell
			}
		case f.Earlier == "":
			f.Earlier = q
			if single {
				f.Against = x.cell
			}
		case q != f.Earlier && !slices.Contains(f.With, q):
			f.With = append(f.With, q)
		}
	}
	f.Rule = "what the answers differ by breaks: " + strings.Join(rules, ", ")
	if slices.Contains(rules, RuleFrequency) {
		f.Rule = fmt.Sprintf("the answers differ on fewer than %d people", c.p.MinSubjects)
	}
	return f
}

// less subtracts, staying at the ends of the range: an amount that large breaks the rules in any case.
func less(a, b int64) int64 {
	d := a - b
	if (a < 0) == (b < 0) || (d < 0) == (a < 0) {
		return d
	}
	if a < 0 {
		return math.MinInt64
	}
	return math.MaxInt64
}

// plus adds, staying at the ends of the range as less does.
func plus(a, b int64) int64 {
	s := a + b
	if (a < 0) != (b < 0) || (s < 0) == (a < 0) {
		return s
	}
	if a < 0 {
		return math.MinInt64
	}
	return math.MaxInt64
}
