package agg

import (
	"slices"

	"github.com/opdomain/opdomain/mpc/canonical"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
)

const (
	// SubjectBits is the length of a pseudonym in the protocol: among 2^14 people two share one with probability 2^-17.
	SubjectBits = 44
	// MaxAmount bounds a person's total of one owner in a group.
	MaxAmount = 1<<40 - 1
	maxGroups = 64
	maxRows   = 1 << 14
)

// Rules (出域规则) are the primary rules that decide whether a group may be shown.
type Rules struct {
	MinSubjects int `json:"min_subjects"` // people, at least
	MaxShare    int `json:"max_share"`    // of the largest contribution in the sum, in percent
	P           int `json:"p"`            // the others' rest is at least so many percent of the largest
}

// Question (分组合计问题) is a total by public groups over the owners' rows.
type Question struct {
	Groups []string `json:"groups"` // labels, in order of their codes
	Owners []int    `json:"owners"` // places of the parties that have rows
	Rows   []int    `json:"rows"`   // padded size of each owner's table
	Rules  Rules    `json:"rules"`
}

// Row (明细行) is one row of an owner: a group's code, a person's pseudonym, an amount.
type Row struct {
	Group   int
	Subject uint64
	Amount  int64
}

// String keeps rows out of what is printed.
func (Row) String() string { return "row(redacted)" }

// GoString keeps rows out of %#v.
func (Row) GoString() string { return "row(redacted)" }

// Group (分组结果) is what opens of one group. A group that may not be shown has no numbers.
type Group struct {
	Label  string `json:"label"`
	Shown  bool   `json:"shown"`
	People int64  `json:"people,omitempty"`
	Rows   int64  `json:"rows,omitempty"`
	Sum    int64  `json:"sum,omitempty"`
}

func invalid(object, rule string) error {
	return &sandbox.Error{Op: "mpc: question", Kind: sandbox.Invalid, Object: object, Detail: rule}
}

// Encode gives the question's one encoding.
func (q Question) Encode() []byte { return canonical.Encode(q) }

// Digest is SM3 of the encoding in hex, as a plan names it.
func (q Question) Digest() string { return canonical.Digest(q) }

// ParseQuestion reads a question strictly: its one encoding, and it passes Check.
func ParseQuestion(b []byte) (Question, error) {
	q, err := canonical.Parse[Question](b, 64<<10, "mpc: question", "question")
	if err != nil {
		return q, err
	}
	return q, q.Check()
}

// Check says whether the question can be computed.
func (q Question) Check() error {
	switch {
	case len(q.Groups) == 0 || len(q.Groups) > maxGroups:
		return invalid("groups", "1 to 64")
	case len(q.Owners) == 0 || len(q.Owners) != len(q.Rows):
		return invalid("owners", "each with the size of its table")
	case q.Rules.MinSubjects < 3 || q.Rules.MinSubjects > 1<<20:
		return invalid("min_subjects", "3 to 2^20")
	case q.Rules.MaxShare < 1 || q.Rules.MaxShare > 100 || q.Rules.P < 0 || q.Rules.P > 100:
		return invalid("rules", "percentages")
	}
	total := 0
	for i, o := range q.Owners {
		if o < 0 || o > 2 || slices.Contains(q.Owners[:i], o) || q.Rows[i] < 1 || q.Rows[i] > maxRows {
			return invalid("owners", "parties, each once, with 1 to 2^14 rows")
		}
		total += q.Rows[i]
	}
	if total > maxRows {
		return invalid("owners", "2^14 rows together")
	}
	for i, g := range q.Groups {
		if g == "" || len(g) > 64 || slices.Contains(q.Groups[:i], g) {
			return invalid("groups", "labels of 1 to 64 bytes, each once")
		}
	}
	return nil
}

// Operators lists what Run uses, for the plan.
func Operators() []share.Op {
	return []share.Op{share.OpInput, share.OpSort, share.OpShuffle, share.OpVec, share.OpMul, share.OpDot, share.OpAnd, share.OpEQ, share.OpScan, share.OpBits, share.OpLT,
		share.OpSelect, share.OpLess}
}

// table is what an owner shares: its rows added up by person and group, padded with rows of no group.
type table struct{ keys, amounts, counts []uint64 }

// local is the part below the share boundary. TooLarge or Invalid names the rule, never the row.
func (q Question) local(rows []Row, size int) (table, error) {
	sums := map[uint64]*[2]int64{}
	var order []uint64
	for _, r := range rows {
		if r.Group < 0 || r.Group >= len(q.Groups) || r.Subject >= 1<<SubjectBits || r.Amount < 0 || r.Amount > MaxAmount {
			return table{}, invalid("table", "known groups, pseudonyms of 44 bits, amounts of 0 to 2^40-1")
		}
		k := uint64(r.Group)<<SubjectBits | r.Subject
		s := sums[k]
		if s == nil {
			s = &[2]int64{}
			sums[k], order = s, append(order, k)
		}
		s[0], s[1] = s[0]+r.Amount, s[1]+1
		if s[0] > MaxAmount {
			return table{}, invalid("table", "a person's total in a group is at most 2^40-1")
		}
	}
	if len(order) > size {
		return table{}, &sandbox.Error{Op: "mpc: question", Kind: sandbox.TooLarge, Object: "table", Detail: "a table fits its registered size"}
	}
	t := table{make([]uint64, size), make([]uint64, size), make([]uint64, size)}
	for i := range size {
		if i < len(order) {
			t.keys[i], t.amounts[i], t.counts[i] = order[i], uint64(sums[order[i]][0]), uint64(sums[order[i]][1])
			continue
		}
		t.keys[i] = uint64(len(q.Groups)) << SubjectBits
	}
	return t, nil
}

// Fits says whether an owner's table passes the checks of the part below the share boundary: before a job is joined.
func (q Question) Fits(rows []Row, size int) error {
	_, err := q.local(rows, size)
	return err
}

// Plain answers the question over plain rows: the oracle.
func (q Question) Plain(owners [][]Row) []Group {
	type person struct{ amount, rows int64 }
	by := make([]map[uint64]person, len(q.Groups))
	for g := range by {
		by[g] = map[uint64]person{}
	}
	for _, rows := range owners {
		for _, r := range rows {
			p := by[r.Group][r.Subject]
			by[r.Group][r.Subject] = person{p.amount + r.Amount, p.rows + 1}
		}
	}
	out := make([]Group, len(q.Groups))
	for g, label := range q.Groups {
		var sum, rows, first, second int64
		for _, p := range by[g] {
			sum, rows = sum+p.amount, rows+p.rows
			switch {
			case p.amount > first:
				first, second = p.amount, first
			case p.amount > second:
				second = p.amount
			}
		}
		out[g].Label = label
		people := int64(len(by[g]))
		if people >= int64(q.Rules.MinSubjects) && 100*first <= int64(q.Rules.MaxShare)*sum && 100*(sum-first-second) >= int64(q.Rules.P)*first {
			out[g] = Group{label, true, people, rows, sum}
		}
	}
	return out
}
