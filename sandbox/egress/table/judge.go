package table

import (
	"errors"
	"slices"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// Verdict (结论) is what may leave of a table.
type Verdict string

// Verdicts.
const (
	Published  Verdict = "published"  // 全部可公布: every cell as it is
	Suppressed Verdict = "suppressed" // 抑制后可公布: with cells suppressed
	Review     Verdict = "review"     // 须人工判断: no rule stands against it, and a person must look at its flags
	Withheld   Verdict = "withheld"   // 不予公布: nothing of it
)

// Cell (单元格结论) is what becomes of one cell: published, primary (breaks a rule itself), secondary (hidden to protect others) or withheld
// with the whole table.
type Cell struct {
	Labels    []string              `json:"labels"`
	Status    string                `json:"status"`
	Rules     []string              `json:"rules"` // that it breaks
	People    int                   `json:"people"`
	Top1      int                   `json:"top1_permille"`
	Top2      int                   `json:"top2_permille"`
	Intervals []egress.CellInterval `json:"intervals,omitempty"` // of a primary cell: what it may be for all that leaves
}

// Report (检查报告) is what the gate says of a table. It speaks to whoever has the table: none of it is for its readers.
type Report struct {
	Table       sandbox.QuestionID  `json:"table"`
	Verdict     Verdict             `json:"verdict"`
	Cause       string              `json:"cause,omitempty"`       // why it is withheld
	Uncertified string              `json:"uncertified,omitempty"` // what no search ruled out: only people's review releases it
	Params      egress.Params       `json:"params"`
	Compared    int                 `json:"compared"` // earlier releases
	Cells       []Cell              `json:"cells"`    // sorted by labels
	Suppression *egress.Suppression `json:"suppression,omitempty"`
	Flags       []egress.Flag       `json:"flags,omitempty"`      // what a person must look at: only people's review releases it
	MilliBits   int64               `json:"milli_bits,omitempty"` // that its values may tell, at most
	Finding     *egress.Finding     `json:"finding,omitempty"`    // what it gives away with earlier releases
}

// String keeps evidence out of logs.
func (Report) String() string { return "report(redacted)" }

// GoString keeps evidence out of %#v.
func (Report) GoString() string { return "report(redacted)" }

// Judge puts a table through the gate: against the earlier releases of its file and of a book, whose tokens are the ledger's. The entry is for
// the book, of a table that may leave without further ado and names its contributors; else nil.
func Judge(t Table, p egress.Params, book *egress.Book, ledger *egress.Ledger) (Report, *egress.Entry, error) {
	r := Report{Table: t.ID, Verdict: Withheld, Params: p, Cells: []Cell{}}
	if err := p.Validate(); err != nil {
		return r, nil, err
	}
	for _, c := range t.answer.Cells {
		r.Cells = append(r.Cells, Cell{Labels: c.Labels, Status: string(Withheld), Rules: []string{}, People: len(c.Contributors)})
	}
	withhold := func(cause string) (Report, *egress.Entry, error) {
		r.Verdict, r.Cause = Withheld, cause
		for i := range r.Cells {
			r.Cells[i].Status, r.Cells[i].Intervals = string(Withheld), nil
		}
		return r, nil, nil
	}
	if book.Holds(t.ID) {
		return r, nil, &sandbox.Error{Op: "table", Kind: sandbox.Conflict, Object: "id", Detail: "a release of that id is in the ledger", Hint: "a table to be released anew has an id of its own"}
	}
	if t.large {
		return withhold("too large to certify: more contributors than are looked at")
	}
	for _, e := range t.Earlier {
		entry, err := ledger.Left(e.ID, e.answer, e.hidden)
		if err != nil {
			return r, nil, err
		}
		if book.Holds(e.ID) {
			return r, nil, &sandbox.Error{Op: "table", Kind: sandbox.Conflict, Object: "earlier", Detail: "an earlier release of that id is in the ledger already"}
		}
		book.Add(entry)
	}
	r.Compared = book.Over(datasets(t)...)
	if t.summaries && r.Compared > 0 {
		return withhold("summaries name nobody: the table cannot be compared with what was released on its data")
	}
	links := book.Linked(ledger, t.answer)
	for _, m := range t.margins {
		links = append(links, egress.Margin(t.answer, m.cells, m.values))
	}
	c, err := egress.Check(t.ID, t.answer, p, links...)
	if errors.Is(err, sandbox.Withheld) {
		return withhold(err.Error())
	}
	if err != nil {
		return r, nil, err
	}
	r.Cells = r.Cells[:0]
	for _, e := range c.Cells {
		x := Cell{Labels: e.Labels, Status: string(Published), Rules: e.Rules, People: e.People, Top1: e.Top1, Top2: e.Top2, Intervals: e.Intervals}
		if x.Rules == nil {
			x.Rules = []string{}
		}
		if e.Suppressed {
			x.Status = "primary"
			if slices.Contains(e.Rules, egress.RuleSecondary) {
				x.Status = "secondary"
			}
		}
		r.Cells = append(r.Cells, x)
	}
	r.Suppression, r.Flags, r.MilliBits = c.Suppression, c.Flags, int64(c.MilliBits)
	entry, err := ledger.Entry(t.ID, c)
	if err != nil {
		return r, nil, err
	}
	compared := book.Compare(entry, p)
	if r.Finding = compared.Finding; r.Finding != nil {
		return withhold("it isolates too few people against earlier releases")
	}
	if r.Uncertified = compared.Uncertified; r.Uncertified != "" {
		return withhold("not certified, see uncertified: only people's review would release it")
	}
	switch r.Verdict = Published; {
	case len(c.Flags) > 0:
		r.Verdict = Review
	case c.Suppressed > 0:
		r.Verdict = Suppressed
	}
	if t.summaries {
		return r, nil, nil
	}
	return r, &entry, nil
}

func datasets(t Table) (out []sandbox.DatasetID) {
	for _, in := range t.answer.Inputs {
		out = append(out, in.Dataset)
	}
	return out
}
