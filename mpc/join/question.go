package join

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/mpc/canonical"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

const (
	// SubjectBits is the length of a pseudonym in the protocol: among 2^14 people two share one with probability 2^-17.
	SubjectBits = 44
	// MaxAmount bounds a person's total in a measure and a group.
	MaxAmount   = 1<<40 - 1
	maxParts    = 64
	maxMeasures = 8
	maxRows     = 1 << 14
	maxWork     = 1 << 22 // rows × parts × measures
)

// Kind (度量类型) says what a measure is and which rules hold for it.
type Kind string

// The kinds. Count is of rows, Amount of a column of numbers, Flag whether a person has a row that says yes.
const (
	Count  Kind = "count"
	Amount Kind = "amount"
	Flag   Kind = "flag"
)

// Side (表侧) is one of the two tables.
type Side string

// The sides: rows of the left one are what is counted, the right one is looked up.
const (
	Left  Side = "left"
	Right Side = "right"
)

// Table (参与表) is one owner's table as the question knows it.
type Table struct {
	Owner  int      `json:"owner"`  // place of the party in the plan
	Rows   int      `json:"rows"`   // padded size
	Groups []string `json:"groups"` // labels: of the left rows' groups, of the right people's kinds

	Dataset sandbox.DatasetID `json:"dataset,omitempty"` // whose rows they are; named with its version, and for both tables
	Version uint64            `json:"version,omitempty"` // from 1
}

// Measure (度量) is a sum over the people of a cell.
type Measure struct {
	Name string `json:"name"` // column of the owner's table
	Kind Kind   `json:"kind"`
	Side Side   `json:"side"` // whose; of the right one what the person has there, once in every cell it is in
}

// Rules (出域规则) are the primary rules that decide whether a cell may be shown, as in egress.Params.
type Rules struct {
	MinSubjects int `json:"min_subjects"` // people, at least
	DominanceN  int `json:"dominance_n"`  // 1 or 2
	DominanceK  int `json:"dominance_k"`  // the n largest hold at most so many percent
	PPercent    int `json:"p_percent"`    // the others' rest is at least so many percent of the largest
}

// Question (关联统计问题) is people and sums by left group and right kind.
type Question struct {
	Version   int       `json:"version"` // 1
	Left      Table     `json:"left"`
	Right     Table     `json:"right"`
	Unmatched string    `json:"unmatched,omitempty"` // label of left rows that find nobody; "" drops them
	Measures  []Measure `json:"measures"`
	Rules     Rules     `json:"rules"`

	SubjectKind catalog.SubjectKind `json:"subject_kind,omitempty"` // of the identifiers of both tables; omitted: opaque

	// What a domain asks names its datasets, and for what and whom it asks, so that an owner signs for nothing else; all or none.
	Scenario sandbox.ScenarioID `json:"scenario,omitempty"`
	Purpose  string             `json:"purpose,omitempty"`
	Asker    sandbox.PartyID    `json:"asker,omitempty"`
}

// Row (明细行) is a row of an owner: its group or kind, the person, a value for each of its side's measures but counts, in their order.
type Row struct {
	Group   int
	Subject uint64
	Values  []int64
}

// String keeps rows out of what is printed.
func (Row) String() string { return "row(redacted)" }

// GoString keeps rows out of %#v.
func (Row) GoString() string { return "row(redacted)" }

// Cell (单元格) is what opens of one cell. A cell that may not be shown has no numbers.
type Cell struct {
	Left   string  `json:"left"`
	Right  string  `json:"right"`
	Shown  bool    `json:"shown"`
	People int64   `json:"people,omitempty"`
	Values []int64 `json:"values,omitempty"` // by measure; 0 for one of the right table where nobody is in it
}

// Learnt (知悉声明) is what a party of a run learns beside the operators' Leakage.
type Learnt struct {
	Place int    `json:"place"`
	What  string `json:"what"`
}

func invalid(object, rule string) error {
	return &sandbox.Error{Op: "mpc: join", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

// Encode gives the question's one encoding.
func (q Question) Encode() []byte { return canonical.Encode(q) }

// Digest is SM3 of the encoding in hex, as a plan names it.
func (q Question) Digest() string { return canonical.Digest(q) }

// ParseQuestion reads a question strictly: its one encoding, and it passes Check.
func ParseQuestion(b []byte) (Question, error) {
	q, err := canonical.Parse[Question](b, 64<<10, "mpc: join", "question")
	if err != nil {
		return q, err
	}
	return q, q.Check()
}

// Is says whether a file is meant as a question of this package, by the table that it looks up.
func Is(b []byte) bool {
	var q struct {
		Right *json.RawMessage `json:"right"`
	}
	return json.Unmarshal(b, &q) == nil && q.Right != nil
}

// Check says whether the question can be computed.
func (q Question) Check() error {
	switch {
	case q.Version != 1:
		return invalid("version", "version 1")
	case q.Rules.MinSubjects < 3 || q.Rules.MinSubjects > 1<<20:
		return invalid("min_subjects", "3 to 2^20")
	case q.Rules.DominanceN < 1 || q.Rules.DominanceN > 2 || q.Rules.DominanceK < 1 || q.Rules.DominanceK > 99 || q.Rules.PPercent < 1 || q.Rules.PPercent > 100:
		return invalid("rules", "n of 1 or 2, k of 1 to 99 percent, p of 1 to 100 percent")
	case q.Left.Owner == q.Right.Owner:
		return invalid("owners", "two parties")
	case len(q.Measures) > maxMeasures:
		return invalid("measures", "at most 8")
	case len(q.Unmatched) > 64 || slices.Contains(q.Right.Groups, q.Unmatched):
		return invalid("unmatched", "a label of at most 64 bytes, none of the right table's")
	}
	if err := q.checkSubject(); err != nil {
		return err
	}
	for _, side := range []struct {
		name string
		t    Table
	}{{"left", q.Left}, {"right", q.Right}} {
		if side.t.Owner < 0 || side.t.Owner > 2 || side.t.Rows < 1 || side.t.Rows > maxRows || len(side.t.Groups) == 0 {
			return invalid(side.name, "a table of one of the three parties, of 1 to 2^14 rows, with its groups")
		}
		for i, g := range side.t.Groups {
			if g == "" || len(g) > 64 || slices.Contains(side.t.Groups[:i], g) {
				return invalid(side.name, "labels of 1 to 64 bytes, each once")
			}
		}
	}
	if q.Left.Rows+q.Right.Rows > maxRows {
		return invalid("rows", "2^14 together")
	}
	if q.parts() > maxParts || (q.Left.Rows+q.Right.Rows)*q.parts()*max(len(q.Measures), 1) > maxWork {
		return invalid("groups", "groups times kinds, with those of either table alone, are 64 at most, and 2^22 with rows and measures")
	}
	for i, m := range q.Measures {
		if m.Kind != Count && m.Kind != Amount && m.Kind != Flag || m.Side != Left && m.Side != Right || m.Kind == Count && m.Side == Right {
			return invalid("measures", "counts of left rows, amounts and flags of either table")
		}
		if err := sandbox.CheckID("measure", m.Name); err != nil {
			return err
		}
		if m.Name == "group" || m.Name == "subject" || slices.ContainsFunc(q.Measures[:i], func(x Measure) bool { return x.Name == m.Name && x.Side == m.Side }) {
			return invalid("measures", "columns other than group and subject, each once")
		}
	}
	return nil
}

// kinds is the number of right groups of a left one: with none found among them where those are kept.
func (q Question) kinds() int {
	if q.Unmatched != "" {
		return len(q.Right.Groups) + 1
	}
	return len(q.Right.Groups)
}

func (q Question) cells() int { return len(q.Left.Groups) * q.kinds() }

// parts are what the rules are applied to: for each kind the right table's people who are not in the left one, then each left group's with
// none, and with each kind. Cells are those of them that were asked for.
func (q Question) parts() int {
	return len(q.Right.Groups) + len(q.Left.Groups)*(len(q.Right.Groups)+1)
}

// part gives a part's left group, from 1, 0 for none, and its kind likewise.
func (q Question) part(p int) (group, kind int) {
	kinds := len(q.Right.Groups)
	if p < kinds {
		return 0, p + 1
	}
	return (p-kinds)/(kinds+1) + 1, (p - kinds) % (kinds + 1)
}

// Labels gives a cell's labels.
func (q Question) Labels(cell int) (left, right string) {
	k := cell % q.kinds()
	left = q.Left.Groups[cell/q.kinds()]
	if q.Unmatched == "" {
		return left, q.Right.Groups[k]
	}
	if k == 0 {
		return left, q.Unmatched
	}
	return left, q.Right.Groups[k-1]
}

// Table gives the side that a party owns; ok is false where it owns none.
func (q Question) Table(place int) (side Side, t Table, ok bool) {
	switch place {
	case q.Left.Owner:
		return Left, q.Left, true
	case q.Right.Owner:
		return Right, q.Right, true
	}
	return "", Table{}, false
}

// absent says whether a part is of people who cannot have a measure, since they are not in its table.
func (q Question) absent(m Measure, part int) bool {
	group, kind := q.part(part)
	return m.Side == Left && group == 0 || m.Side == Right && kind == 0
}

// None says which measures a cell has no value of: those of the right table where its people are not in it.
func (q Question) None(cell int) []bool {
	out := make([]bool, len(q.Measures))
	for m, x := range q.Measures {
		out[m] = x.Side == Right && q.Unmatched != "" && cell%q.kinds() == 0
	}
	return out
}

// Bounds gives the largest number of people, and of each measure, that a cell can have.
func (q Question) Bounds() []int64 {
	out := []int64{int64(q.Left.Rows)}
	for _, m := range q.Measures {
		bound := int64(q.Left.Rows)
		if m.Kind != Flag {
			bound *= MaxAmount
		}
		out = append(out, bound)
	}
	return out
}

// Columns gives the names of the columns that a side's table has beside group and subject, in the order of a Row's values.
func (q Question) Columns(side Side) (names []string) {
	for _, m := range q.Measures {
		if m.Side == side && m.Kind != Count {
			names = append(names, m.Name)
		}
	}
	return names
}

// Learns declares what each party learns of the others' tables, for the plan's readers and the result. recipient is the place of the one
// party to which the outputs open, -1: all.
func (q Question) Learns(recipient int) []Learnt {
	sizes := fmt.Sprintf("sizes of the padded tables (%d and %d rows) and the question", q.Left.Rows, q.Right.Rows)
	all := sizes + fmt.Sprintf(", and the outputs: for each of %d cells whether it may be shown, one bit for a group, and its numbers if so", q.cells())
	owner := func(other string) string {
		return all + fmt.Sprintf("; by its own rows these numbers can tell it who of its people is in the %s table: in small groups, and wherever it chose values or groups to that end; no other number says who is in both, or how many", other)
	}
	out := make([]Learnt, 3)
	for i := range out {
		out[i] = Learnt{i, all + "; it has no key of the pseudonyms"}
	}
	out[q.Left.Owner].What, out[q.Right.Owner].What = owner("right"), owner("left")
	for i := range out {
		if recipient >= 0 && i != recipient {
			out[i].What = sizes + "; no output in the run: of what is released later, it can take its own rows off"
		}
	}
	return out
}

// Operators lists what Run uses, for the plan.
func Operators() []share.Op {
	return []share.Op{share.OpInput, share.OpSort, share.OpShuffle, share.OpVec, share.OpMul, share.OpDot, share.OpAnd, share.OpEQ, share.OpScan, share.OpBits, share.OpLT,
		share.OpSelect, share.OpLess}
}

// Names of the outputs.
const (
	OutShown  = "shown"  // a row for each cell
	OutPeople = "people" // likewise
	OutValues = "values" // a row for each measure and cell, a measure's together; none without measures
)

// Outputs gives the rows of each output, by name.
func (q Question) Outputs() map[string]int {
	out := map[string]int{OutShown: q.cells(), OutPeople: q.cells()}
	if len(q.Measures) > 0 {
		out[OutValues] = q.cells() * len(q.Measures)
	}
	return out
}

// Read makes cells of the opened outputs. Tampered where a number stands in a cell that is not shown.
func (q Question) Read(outputs map[string][]uint64) ([]Cell, error) {
	for name, rows := range q.Outputs() {
		if len(outputs[name]) != rows {
			return nil, invalid("outputs", "those of the question")
		}
	}
	cells := make([]Cell, q.cells())
	for c := range cells {
		cells[c].Left, cells[c].Right = q.Labels(c)
		bit, people := outputs[OutShown][c], outputs[OutPeople][c]
		ok := bit <= 1 && people < maxRows+1 && (bit == 1) == (people > 0)
		var values []int64
		for m := range q.Measures {
			v := outputs[OutValues][m*len(cells)+c]
			ok = ok && v <= maxRows*MaxAmount && (bit == 1 || v == 0)
			values = append(values, int64(v))
		}
		if !ok {
			return nil, &sandbox.Error{Op: "mpc: join", Kind: sandbox.Tampered, Object: "outputs", Detail: "a bit for each cell, and numbers in their range where it is set"}
		}
		if bit == 1 {
			cells[c].Shown, cells[c].People, cells[c].Values = true, int64(people), values
		}
	}
	return cells, nil
}

// String gives what a question is over, without rows.
func (q Question) String() string {
	return fmt.Sprintf("join of %s by %s", strings.Join(q.Left.Groups, ", "), strings.Join(q.Right.Groups, ", "))
}
