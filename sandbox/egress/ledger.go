package egress

import (
	"cmp"
	"encoding/binary"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Ledger (出域台账) turns answers into entries that can be compared for ever, and compares them.
type Ledger struct{ mac *sm.MAC }

// NewLedger takes the domain's ledger key, of at least 16 bytes. Tokens under it say nothing without it and never leave.
func NewLedger(key []byte) (*Ledger, error) {
	mac, err := sm.NewMAC(key)
	if err != nil {
		return nil, err
	}
	return &Ledger{mac}, nil
}

// String keeps the key out of logs.
func (*Ledger) String() string { return "ledger(redacted)" }

// GoString keeps the key out of %#v.
func (*Ledger) GoString() string { return "ledger(redacted)" }

// Entry (台账条目) is one answer as the ledger keeps it. It is grade-4 data: sealed by whoever stores it.
type Entry struct {
	Question sandbox.QuestionID
	Datasets []sandbox.DatasetID // its lineage, over all versions
	Measures []string            // what people add: countMeasure, or "sum:" or "count:" and the columns it is taken over
	Heads    bool                // the people themselves are counted in it
	Cells    []EntryCell         // the published ones
}

const countMeasure = "count"

// EntryCell (台账单元格) is one published cell: who is in it and what each adds to each measure.
type EntryCell struct {
	People []uint64  // sorted tokens
	Adds   [][]int64 // per measure, aligned with People
}

// String keeps populations out of logs.
func (Entry) String() string { return "ledger entry(redacted)" }

// GoString keeps populations out of %#v.
func (Entry) GoString() string { return "ledger entry(redacted)" }

// amounts is what people add to one measure of an entry.
type amounts struct {
	measure int
	divisor bool
}

func (x amounts) of(c *sandbox.Cell) []int64 {
	if x.divisor {
		return c.Divisors[x.measure]
	}
	return c.Contributions[x.measure]
}

// added names what people add to each output of an answer. Functions over the rows in which one column is there are compared as its
// sum, from which they follow the same people; those over rows in which others are there too have names of their own.
func added(a *sandbox.Answer, m int) (names []string) {
	from := a.Sources[m]
	if len(from) == 0 {
		if a.Measures[m].Func == sandbox.Count {
			return []string{countMeasure}
		}
		return nil
	}
	given := func(column string) string {
		var others []string
		for _, x := range from {
			if x != column {
				others = append(others, x)
			}
		}
		if len(others) == 0 {
			return "sum:" + column
		}
		slices.Sort(others)
		return "sum:" + column + " given " + strings.Join(others, ", ")
	}
	switch a.Measures[m].Func {
	case sandbox.Distinct, sandbox.Histogram:
		return []string{countMeasure + ":" + strings.Join(from, " ")}
	case sandbox.Ratio:
		return []string{given(from[0]), given(from[1])}
	case sandbox.Dot:
		return []string{"dot:" + strings.Join(slices.Sorted(slices.Values(from)), " ")}
	}
	return []string{given(from[0])}
}

// Entry makes the ledger's entry of a checked answer: all of its published cells, shown or not.
func (l *Ledger) Entry(question sandbox.QuestionID, c *Checked) (Entry, error) {
	return l.Left(question, c.answer, c.hidden)
}

// Left makes the entry of an answer that left elsewhere, whatever its rules were: of all cells that are not hidden.
func (l *Ledger) Left(question sandbox.QuestionID, a *sandbox.Answer, hidden []bool) (Entry, error) {
	bad := len(a.Sources) != len(a.Measures)
	for m, x := range a.Measures {
		if bad {
			break
		}
		columns := 1
		switch x.Func {
		case sandbox.Count, sandbox.Subjects:
			columns = 0
		case sandbox.Ratio:
			columns = 2
		}
		bad = bad || len(a.Sources[m]) < columns
	}
	if bad {
		return Entry{}, &sandbox.Error{Op: "ledger", Kind: sandbox.Invalid, Object: string(question), Detail: "columns per measure"}
	}
	e := Entry{Question: question}
	for _, in := range a.Inputs {
		if !slices.Contains(e.Datasets, in.Dataset) {
			e.Datasets = append(e.Datasets, in.Dataset)
		}
	}
	slices.Sort(e.Datasets)
	var kept []amounts
	for m := range a.Measures {
		for k, name := range added(a, m) {
			if !slices.Contains(e.Measures, name) {
				e.Measures, kept = append(e.Measures, name), append(kept, amounts{m, k > 0})
			}
		}
	}
	e.Heads = slices.ContainsFunc(a.Measures, func(m sandbox.Measure) bool { return m.Func == sandbox.Subjects })
	tokens := l.tokens(a.Population)
	for i := range a.Cells {
		if hidden[i] {
			continue
		}
		cell := &a.Cells[i]
		order := make([]int, len(cell.Contributors))
		for k := range order {
			order[k] = k
		}
		slices.SortFunc(order, func(x, y int) int { return cmp.Compare(tokens[cell.Contributors[x]], tokens[cell.Contributors[y]]) })
		ec := EntryCell{People: make([]uint64, len(order)), Adds: make([][]int64, len(kept))}
		for m := range kept {
			ec.Adds[m] = make([]int64, len(order))
		}
		for k, at := range order {
			ec.People[k] = tokens[cell.Contributors[at]]
			for m, from := range kept {
				ec.Adds[m][k] = from.of(cell)[at]
			}
		}
		e.Cells = append(e.Cells, ec)
	}
	return e, nil
}

// tokens gives the keyed token of each pseudonym.
func (l *Ledger) tokens(population []sandbox.Pseudonym) []uint64 {
	const most = 1 << 16 // rows at a time
	out := make([]uint64, len(population))
	var data, macs []byte
	var offsets []int32
	for from := 0; from < len(population); from += most {
		some := population[from:min(from+most, len(population))]
		data, offsets = data[:0], append(offsets[:0], 0)
		for i := range some {
			data = append(data, some[i][:]...)
			offsets = append(offsets, int32(len(data)))
		}
		macs = slices.Grow(macs[:0], 8*len(some))[:8*len(some)]
		l.mac.Rows(macs, 8, offsets, data)
		for i := range some {
			out[from+i] = binary.BigEndian.Uint64(macs[8*i:])
		}
	}
	return out
}
