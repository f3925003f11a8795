package join

import (
	"slices"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// SubjectKey gives the key of the pseudonyms of one job, from the owners' and the plan's digest: tables of two jobs are not matched through
// pseudonyms. Invalid for an owners' key of another length than 32 bytes.
func SubjectKey(owners []byte, plan [sm.Size]byte) ([]byte, error) {
	if len(owners) != 32 {
		return nil, invalid("subject key", "32 bytes")
	}
	return sm.HKDF(owners, plan[:], []byte("opdomain/mpc/join/subject/v1"), 32)
}

// folded is a table as it is shared: its rows added up by person, and by group on the left, padded with rows of nobody.
type folded struct {
	keys   []uint64   // nobody ‖ pseudonym ‖ side
	groups []uint64   // from 1; 0 is padding
	values [][]uint64 // by the side's measures, counts among them
}

const nobody = 1 << (SubjectBits + 1)

// keyBits are sorted by: side, pseudonym, nobody.
const keyBits = SubjectBits + 2

// kindsOf gives the kinds of a side's measures, in the order of the question.
func (q Question) kindsOf(side Side) (kinds []Kind) {
	for _, m := range q.Measures {
		if m.Side == side {
			kinds = append(kinds, m.Kind)
		}
	}
	return kinds
}

type who struct {
	group   int
	subject uint64
}

// total is what a person has in a group, by the side's measures.
type total struct {
	who
	values []int64
}

// totals adds up a side's rows, in the order in which people come. Invalid names the rule, never the row.
func (q Question) totals(side Side, groups int, rows []Row) ([]total, error) {
	kinds := q.kindsOf(side)
	own := len(q.Columns(side))
	at := map[who]int{}
	kind := map[uint64]int{} // of the right table's people
	var out []total
	for _, r := range rows {
		if r.Group < 0 || r.Group >= groups || r.Subject >= 1<<SubjectBits || len(r.Values) != own {
			return nil, invalid("table", "known groups, pseudonyms of 44 bits, a value for each measure")
		}
		w := who{r.Group, r.Subject}
		if k, ok := kind[r.Subject]; side == Right && ok && k != r.Group {
			return nil, invalid("table", "a person of the right table is of one kind")
		}
		kind[r.Subject] = r.Group
		i, ok := at[w]
		if !ok {
			i = len(out)
			at[w], out = i, append(out, total{w, make([]int64, len(kinds))})
		}
		t, next := out[i].values, 0
		for m, k := range kinds {
			if k == Count {
				t[m]++
				continue
			}
			v := r.Values[next]
			next++
			switch {
			case v < 0 || v > MaxAmount || k == Flag && v > 1:
				return nil, invalid("table", "amounts of 0 to 2^40-1, flags of 0 and 1")
			case k == Flag:
				t[m] = max(t[m], v)
			default:
				t[m] += v
			}
			if t[m] > MaxAmount {
				return nil, invalid("table", "a person's total in a group is at most 2^40-1")
			}
		}
	}
	return out, nil
}

// fold is the part below the share boundary.
func (q Question) fold(side Side, t Table, rows []Row) (folded, error) {
	all, err := q.totals(side, len(t.Groups), rows)
	if err != nil {
		return folded{}, err
	}
	if len(all) > t.Rows {
		return folded{}, &sandbox.Error{Op: "mpc: join", Kind: sandbox.TooLarge, Object: "table", Detail: "a table fits its registered size"}
	}
	f := folded{keys: make([]uint64, t.Rows), groups: make([]uint64, t.Rows), values: make([][]uint64, len(q.kindsOf(side)))}
	for m := range f.values {
		f.values[m] = make([]uint64, t.Rows)
	}
	bit := uint64(1)
	if side == Right {
		bit = 0 // before the person's left rows
	}
	for i := range t.Rows {
		if i >= len(all) {
			f.keys[i] = nobody | bit
			continue
		}
		f.keys[i], f.groups[i] = all[i].subject<<1|bit, uint64(all[i].group)+1
		for m, v := range all[i].values {
			f.values[m][i] = uint64(v)
		}
	}
	return f, nil
}

// Fits says whether an owner's table passes the checks of the part below the share boundary: before a job is joined.
func (q Question) Fits(place int, rows []Row) error {
	side, t, ok := q.Table(place)
	if !ok {
		return invalid("table", "a party of the question that owns one")
	}
	_, err := q.fold(side, t, rows)
	return err
}

// Plain answers the question over plain rows: the oracle.
func (q Question) Plain(left, right []Row) ([]Cell, error) {
	people, err := q.totals(Right, len(q.Right.Groups), right)
	if err != nil {
		return nil, err
	}
	counted, err := q.totals(Left, len(q.Left.Groups), left)
	if err != nil {
		return nil, err
	}
	found := map[uint64]total{}
	for _, p := range people {
		found[p.subject] = p
	}
	kinds := len(q.Right.Groups)
	of := make([][][]int64, q.parts()) // by part and person the values of all measures
	enter := func(part int, left, right []int64) {
		values := make([]int64, len(q.Measures))
		l, r := 0, 0
		for m, x := range q.Measures {
			if x.Side == Left {
				if left != nil {
					values[m] = left[l]
				}
				l++
			} else {
				if right != nil {
					values[m] = right[r]
				}
				r++
			}
		}
		of[part] = append(of[part], values)
	}
	known := map[uint64]bool{}
	for _, c := range counted {
		known[c.subject] = true
		k, right := 0, []int64(nil)
		if p, ok := found[c.subject]; ok {
			k, right = p.group+1, p.values
		}
		enter(kinds+c.group*(kinds+1)+k, c.values, right)
	}
	for _, p := range people {
		if !known[p.subject] {
			enter(p.group, nil, p.values)
		}
	}
	pass := make([]bool, q.parts())
	numbers := make([][]int64, q.parts())
	for p := range pass {
		pass[p], numbers[p] = q.judge(p, of[p])
	}
	rest := true
	for k := range kinds {
		has := slices.ContainsFunc(people, func(p total) bool { return p.group == k })
		rest = rest && (pass[k] || !has)
	}
	out := make([]Cell, q.cells())
	for c := range out {
		out[c].Left, out[c].Right = q.Labels(c)
		line := kinds + c/q.kinds()*(kinds+1)
		shown, some := rest, 0
		for p := line; p <= line+kinds; p++ {
			if len(of[p]) > 0 {
				some++
				shown = shown && pass[p]
			}
		}
		p := line + c%q.kinds()
		if q.Unmatched == "" {
			p++
		}
		if shown && some > 1 && len(of[p]) > 0 {
			out[c].Shown, out[c].People, out[c].Values = true, int64(len(of[p])), numbers[p]
		}
	}
	return out, nil
}

// judge applies the rules in the open.
func (q Question) judge(part int, people [][]int64) (bool, []int64) {
	n, k := int64(len(people)), int64(q.Rules.MinSubjects)
	shown := n >= k
	var sums []int64
	for m, x := range q.Measures {
		var parts []int64
		sum := int64(0)
		for _, p := range people {
			if p[m] != 0 {
				parts = append(parts, p[m])
			}
			sum += p[m]
		}
		sums = append(sums, sum)
		if q.absent(x, part) {
			continue
		}
		slices.SortFunc(parts, func(a, b int64) int { return int(min(max(b-a, -1), 1)) })
		parts = append(parts, 0, 0)
		some := int64(len(parts) - 2)
		if x.Kind == Flag {
			shown = shown && some >= k && n-some >= k
			continue
		}
		largest := parts[0]
		if q.Rules.DominanceN == 2 {
			largest += parts[1]
		}
		shown = shown && some >= k && 100*largest <= int64(q.Rules.DominanceK)*sum && 100*(sum-parts[0]-parts[1]) >= int64(q.Rules.PPercent)*parts[0]
		if x.Kind == Amount {
			shown = shown && some*parts[0] != sum
		}
	}
	return shown, sums
}
