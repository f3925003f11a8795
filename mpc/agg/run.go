package agg

import (
	"math/bits"

	"github.com/opdomain/opdomain/mpc/share"
)

// Names of the outputs, one row a group each.
const (
	OutShown  = "shown"
	OutPeople = "people"
	OutRows   = "rows"
	OutSum    = "sum"
)

// Run computes the question on an engine. me is this party's place, rows its own table where it is an owner. The columns are the plan's
// outputs, unopened. It sends nothing before the own table passes its checks; a party whose table does not pass leaves, and all end.
func Run(e *share.Engine, q Question, me int, rows []Row) (map[string]share.Vec, error) {
	if err := q.Check(); err != nil {
		return nil, err
	}
	var own table
	for i, o := range q.Owners {
		if o == me {
			var err error
			if own, err = q.local(rows, q.Rows[i]); err != nil {
				return nil, err
			}
		}
	}
	var keys []share.Words
	var amounts, counts []share.Vec
	for i, o := range q.Owners {
		t := table{}
		if o == me {
			t = own
		}
		keys = append(keys, e.InputWords(o, t.keys, q.Rows[i]))
		amounts, counts = append(amounts, e.Input(o, t.amounts, q.Rows[i])), append(counts, e.Input(o, t.counts, q.Rows[i]))
	}
	groups := len(q.Groups)
	keyBits := SubjectBits + bits.Len(uint(groups))
	key, sums, last := e.GroupSum(share.JoinWords(keys...), keyBits, []share.Vec{share.Concat(amounts...), share.Concat(counts...)})
	n := key.Len()

	// A person's last row has the person's total in the group; the others count for nothing.
	person := e.Mul(share.Concat(sums...), share.Concat(last, last))
	amount, count := person.Slice(0, n), person.Slice(n, 2*n)

	// Which rows belong to which group: one column after the other, a group's rows together.
	code := e.ShiftRight(key, SubjectBits)
	var at []share.Words
	for g := range groups {
		at = append(at, e.XorPublic(code, uint64(g)))
	}
	zero := e.ZeroWords(n * groups)
	in := e.EQ(share.JoinWords(at...), zero)
	member := e.Vec(in)
	total := e.Dot(share.Repeat(member, 3), share.Concat(share.Repeat(amount, groups), share.Repeat(count, groups), share.Repeat(last, groups)), n)
	sum, rowCount, people := total.Slice(0, groups), total.Slice(groups, 2*groups), total.Slice(2*groups, 3*groups)

	// The two largest contributions of each group, as a tournament: a pair of rows leaves its two largest.
	word := e.Bits(amount)
	all := make([]share.Words, groups)
	for g := range all {
		all[g] = word
	}
	first := e.Select(in, share.JoinWords(all...), zero)
	second := zero
	for width := n; width > 1; width = (width + 1) / 2 {
		first, second = e.Halve(first, second, groups, width)
	}
	top := e.Integers(share.JoinWords(first, second))
	top1, top2 := top.Slice(0, groups), top.Slice(groups, 2*groups)

	few := e.Less(people, e.Constant(groups, q.Rules.MinSubjects))
	dominated := e.Less(e.Scale(sum, uint64(q.Rules.MaxShare)), e.Scale(top1, 100))
	derivable := e.Less(e.Scale(e.Sub(sum, e.Add(top1, top2)), 100), e.Scale(top1, uint64(q.Rules.P)))
	one := e.Constant(groups, 1)
	shown := e.Mul(e.Mul(e.Sub(one, few), e.Sub(one, dominated)), e.Sub(one, derivable))
	masked := e.Mul(share.Repeat(shown, 3), share.Concat(people, rowCount, sum))
	if err := e.Err(); err != nil {
		return nil, err
	}
	return map[string]share.Vec{OutShown: shown, OutPeople: masked.Slice(0, groups), OutRows: masked.Slice(groups, 2*groups), OutSum: masked.Slice(2*groups, 3*groups)}, nil
}

// Read makes groups of the opened outputs.
func (q Question) Read(outputs map[string][]uint64) ([]Group, error) {
	out := make([]Group, len(q.Groups))
	for _, name := range []string{OutShown, OutPeople, OutRows, OutSum} {
		if len(outputs[name]) != len(out) {
			return nil, invalid("outputs", "one row for each group")
		}
	}
	for g, label := range q.Groups {
		out[g] = Group{label, outputs[OutShown][g] == 1, int64(outputs[OutPeople][g]), int64(outputs[OutRows][g]), int64(outputs[OutSum][g])}
	}
	return out, nil
}
