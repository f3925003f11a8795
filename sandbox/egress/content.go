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

// Scan looks into outgoing bytes once more, at the way out, whoever made them: of class A for every identifier; of class B, where the
// consented fields may be the person's own, for what is in a code, which no field template has. Other classes are refused: they
// have no form yet.
func Scan(class sandbox.Class, question sandbox.QuestionID, result []byte) error {
	var hits []scan.Hit
	switch class {
	case sandbox.ClassA:
		r, err := DecodeResult(result)
		if err != nil {
			return err
		}
		t, err := tableOf(r.Dimensions, r.LabelUnits, r.Measures)
		if err != nil {
			return err
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
		hits = t.Hits()
	case sandbox.ClassB:
		r, err := DecodeRecord(result)
		if err != nil {
			return err
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
	default:
		return &sandbox.Error{Op: "egress: scan", Kind: sandbox.Denied, Object: string(question), Detail: "a class without a form never leaves"}
	}
	if len(hits) > 0 {
		return quarantined(string(question), class, hits)
	}
	return nil
}
