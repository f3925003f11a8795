package egress

import (
	"fmt"
	"strconv"
	"strings"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress/scan"
)

// Quarantine (隔离) is why outgoing content is withheld whatever its numbers are: rule and place of each hit, for reviewers and
// owners, never a value. It is the cause of a Withheld error.
type Quarantine struct {
	Class sandbox.Class `json:"class"`
	Hits  []scan.Hit    `json:"hits"`
}

// quarantineShown is how many hits an error names.
const quarantineShown = 5

func (q *Quarantine) Error() string {
	var names []string
	for i, h := range q.Hits {
		if i == quarantineShown {
			names = append(names, fmt.Sprintf("%d more", len(q.Hits)-i))
			break
		}
		names = append(names, h.String())
	}
	return strings.Join(names, "; ")
}

// quarantined is the error of content with hits.
func quarantined(object string, class sandbox.Class, hits []scan.Hit) error {
	return &sandbox.Error{Op: "egress: scan", Kind: sandbox.Withheld, Object: object, Detail: "quarantined", Err: &Quarantine{class, hits}}
}

// tableOf starts the scan of a result: labels are codes and names, counts are counts, all else is an amount.
func tableOf(dimensions, units []string, measures []sandbox.Measure) (*scan.Table, error) {
	var fields []scan.Field
	for d, name := range dimensions {
		role := scan.Label
		if d < len(units) && units[d] != "" {
			role = scan.Amount
		}
		fields = append(fields, scan.Field{Name: name, Role: role})
	}
	for _, m := range measures {
		role := scan.Amount
		switch m.Func {
		case sandbox.Count, sandbox.Subjects, sandbox.Histogram, sandbox.Distinct:
			role = scan.Count
		}
		fields = append(fields, scan.Field{Name: m.Name, Role: role})
	}
	return scan.NewTable(fields)
}

// content looks into the labels of an answer, of unshown cells too, and into the values that would leave. Labels of a public list
// and registered bins are no identifiers: this is a last line behind them. Source: rule 23 of the gate.
func (c *Checked) content(question sandbox.QuestionID) error {
	a := c.answer
	t, err := tableOf(a.Dimensions, a.LabelUnits, a.Measures)
	if err != nil {
		return err
	}
	row := make([]string, len(a.Dimensions)+len(a.Measures))
	for i := range a.Cells {
		cell := &a.Cells[i]
		copy(row, cell.Labels)
		for m := range a.Measures {
			v := &row[len(a.Dimensions)+m]
			if *v = ""; !c.hidden[i] && !cell.Missing(m) && !redacted(a.Measures[m]) {
				*v = strconv.FormatInt(cell.Values[m], 10)
			}
		}
		t.Row(row)
	}
	if hits := t.Hits(); len(hits) > 0 {
		return quarantined(string(question), sandbox.ClassA, hits)
	}
	return nil
}

// readResult reads class A's form.
func readResult(payload []byte) (sandbox.QuestionID, error) {
	r, err := DecodeResult(payload)
	return r.Question, err
}

// readRecord reads class B's form.
func readRecord(payload []byte) (sandbox.QuestionID, error) {
	r, err := DecodeRecord(payload)
	return r.Question, err
}

// scanResult looks at the labels and values of class A for every identifier.
func scanResult(payload []byte) ([]scan.Hit, error) {
	r, err := DecodeResult(payload)
	if err != nil {
		return nil, err
	}
	t, err := tableOf(r.Dimensions, r.LabelUnits, r.Measures)
	if err != nil {
		return nil, err
	}
	row := make([]string, len(r.Dimensions)+len(r.Measures))
	for _, x := range r.Rows {
		clear(row)
		copy(row, x.Labels)
		for m, v := range x.Values {
			if v != nil {
				row[len(r.Dimensions)+m] = strconv.FormatInt(*v, 10)
			}
		}
		t.Row(row)
	}
	return t.Hits(), nil
}

// scanRecord looks at class B, where the consented fields may be the person's own, for what is in a code.
func scanRecord(payload []byte) (hits []scan.Hit, err error) {
	r, err := DecodeRecord(payload)
	if err != nil {
		return nil, err
	}
	s := scan.NewScanner()
	for i, v := range r.Values {
		for _, h := range s.Text(v, false) {
			switch h.Form {
			case scan.Base64, scan.Hex, scan.Percent, scan.Escaped, scan.Zipped:
				h.Column = r.Fields[i]
				hits = append(hits, h)
			}
		}
	}
	return hits, nil
}
