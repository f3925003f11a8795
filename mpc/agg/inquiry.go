package agg

import (
	"encoding/json"
	"fmt"
	"strings"

	"github.com/opdomain/opdomain/mpc/canonical"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/query"
)

// maxInquiry bounds an inquiry's encoding.
const maxInquiry = 1 << 20

// Inquiry (多方询问) is what parties agree on of a question of the columnar engine: the question, the datasets as their owners describe them, what
// the owners' rules allow of each column, and the setting. A plan names its digest; every party makes the line of it by itself.
type Inquiry struct {
	Spec     query.Spec         `json:"spec"`
	Asker    sandbox.PartyID    `json:"asker,omitempty"` // for whom it is derived; empty: for nobody in particular
	Datasets []catalog.Dataset  `json:"datasets"`
	List     []sandbox.ListItem `json:"list"`
	Setting  Setting            `json:"setting"`
}

// IsInquiry says whether JSON is an inquiry's rather than a Question's.
func IsInquiry(b []byte) bool {
	var has struct {
		Spec json.RawMessage `json:"spec"`
	}
	return json.Unmarshal(b, &has) == nil && len(has.Spec) > 0
}

// Encode gives the inquiry's one encoding.
func (q Inquiry) Encode() []byte { return canonical.Encode(q) }

// Digest is SM3 of the encoding in hex, as a plan names it.
func (q Inquiry) Digest() string { return canonical.Digest(q) }

// ParseInquiry reads an inquiry strictly: bounded, and in its one encoding. Whether there is a line of it Line says.
func ParseInquiry(b []byte) (Inquiry, error) {
	return canonical.Parse[Inquiry](b, maxInquiry, "mpc: question", "inquiry")
}

// Line derives the question and compiles it: a line, or the reasons why there is none.
func (q Inquiry) Line() (*Line, []sandbox.Reason) {
	sets := map[sandbox.DatasetID]catalog.Dataset{}
	for _, d := range q.Datasets {
		if err := d.Validate(); err != nil {
			return nil, []sandbox.Reason{{Code: "mpc.derivation", Column: string(d.ID), Rule: "a dataset is described as the catalogue holds it: " + err.Error(), Article: articleMPC, Change: "take its description over from the catalogue"}}
		}
		sets[d.ID] = d
	}
	d, reasons := query.DeriveFor(sandbox.Party{ID: q.Asker}, q.Spec, sets, q.List)
	if len(reasons) > 0 {
		return nil, reasons
	}
	return Compile(d, q.Setting)
}

// Learns (参与方所知) says in words what a line tells each party, beside the operators' Leakage: for the plan and the result.
func (l *Line) Learns() []string {
	where := "rows of each input as registered; of what is joined, found or filtered nothing but what the values say: an owner takes its own rows off them, and where few are others' it has these"
	if l.below {
		where = "rows of the scanned input as registered; joins and filters are done by each owner before it shares"
	}
	opens := "of each cell whether it may be shown and whether the question's conditions list it, and of listed ones the values"
	for i := range l.outputs {
		switch o := &l.outputs[i]; o.Func {
		case sandbox.Mean, sandbox.Ratio:
			opens += "; of " + o.Name + " both numbers that it is the quotient of"
		case sandbox.Variance, sandbox.StdDev, sandbox.Covariance:
			opens += "; of " + o.Name + " how many rows it is over"
		case sandbox.Correlation:
			opens += "; of " + o.Name + " the covariance and both variances, each times n·(n-1)"
		}
	}
	if len(l.left) > 0 {
		opens += "; cells of one group of the scanned rows' own columns open together or not at all, those whom joins leave out counted"
	}
	return []string{where, opens, "whether an owner's rows pass its own checks: the run ends where they do not"}
}

// LearnsEach (各方所知) is Learns by place, for a plan whose outputs open to one party, or to all where recipient is -1.
func (l *Line) LearnsEach(recipient int) []string {
	all := l.Learns()
	var sizes []string
	holds := [3]bool{}
	for _, h := range l.s.Held {
		sizes = append(sizes, fmt.Sprintf("%s %d", h.Dataset, h.Rows))
		holds[h.Party] = holds[h.Party] || !h.Pushed
	}
	out := make([]string, 3)
	for i := range out {
		says := []string{"the question and the registered sizes (" + strings.Join(sizes, ", ") + "); " + all[0]}
		if recipient < 0 || i == recipient {
			says = append(says, all[1])
		} else {
			says = append(says, "no output in the run: of what is released later, an owner can take its own rows off")
		}
		if says = append(says, all[2]); !holds[i] {
			says = append(says, "it has no rows")
		}
		out[i] = strings.Join(says, "; ")
	}
	return out
}
