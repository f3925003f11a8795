package egress

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"slices"
	"strings"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Ledger (出域台账) turns answers into entries that can be compared for ever, and compares them.
type Ledger struct{ key []byte }

// NewLedger takes the domain's ledger key. Tokens under it say nothing without it and never leave.
func NewLedger(key []byte) *Ledger { return &Ledger{bytes.Clone(key)} }

// String keeps the key out of logs.
func (*Ledger) String() string { return "ledger(redacted)" }

// GoString keeps the key out of %#v.
func (*Ledger) GoString() string { return "ledger(redacted)" }

// Entry (台账条目) is one answer as the ledger keeps it. It is grade-4 data: sealed by whoever stores it.
type Entry struct {
	Question sandbox.QuestionID
	Datasets []sandbox.DatasetID // its lineage, over all versions
	Measures []string            // what people add: countMeasure, or "sum:" or "count:" and the columns it is taken over
	Cells    []entryCell         // the published ones
}

const countMeasure = "count"

// entryCell is one published cell: who is in it and what each adds to each measure.
type entryCell struct {
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
	}
	return []string{given(from[0])}
}

// Entry makes the ledger's entry of a checked answer: all of its published cells, shown or not.
func (l *Ledger) Entry(question sandbox.QuestionID, c *Checked) (Entry, error) {
	a := c.answer
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
	tokens := make([]uint64, len(a.Population))
	for i, p := range a.Population {
		mac := sm.HMAC(l.key, p[:])
		tokens[i] = binary.BigEndian.Uint64(mac[:])
	}
	for i := range a.Cells {
		if c.hidden[i] {
			continue
		}
		cell := &a.Cells[i]
		order := make([]int, len(cell.Contributors))
		for k := range order {
			order[k] = k
		}
		slices.SortFunc(order, func(x, y int) int { return cmp.Compare(tokens[cell.Contributors[x]], tokens[cell.Contributors[y]]) })
		ec := entryCell{People: make([]uint64, len(order)), Adds: make([][]int64, len(kept))}
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

// Encode gives the bytes to seal, padded with zeros to a power of two of at least 4 KiB so that their length says little
// about a population. Layout: uint32 length of a JSON head {question, datasets, measures, people per cell}, head, then per
// cell the tokens and per measure the contributions, all 8 bytes big endian.
func (e Entry) Encode() ([]byte, error) {
	h := entryHead{Question: e.Question, Datasets: e.Datasets, Measures: e.Measures, People: []int{}}
	size := 0
	for _, c := range e.Cells {
		h.People = append(h.People, len(c.People))
		size += 8 * len(c.People) * (1 + len(e.Measures))
	}
	head, err := json.Marshal(h)
	if err != nil {
		return nil, err
	}
	out := make([]byte, 0, padded(4+len(head)+size))
	out = binary.BigEndian.AppendUint32(out, uint32(len(head)))
	out = append(out, head...)
	for _, c := range e.Cells {
		for _, t := range c.People {
			out = binary.BigEndian.AppendUint64(out, t)
		}
		for _, adds := range c.Adds {
			for _, v := range adds {
				out = binary.BigEndian.AppendUint64(out, uint64(v))
			}
		}
	}
	return out[:cap(out)], nil
}

func padded(n int) int { return 1 << max(12, bits.Len(uint(n-1))) }

type entryHead struct {
	Question sandbox.QuestionID  `json:"question"`
	Datasets []sandbox.DatasetID `json:"datasets"`
	Measures []string            `json:"measures"`
	People   []int               `json:"people"`
}

// DecodeEntry reads what Encode wrote, in its one encoding; the caller has authenticated it.
func DecodeEntry(b []byte) (Entry, error) {
	bad := &sandbox.Error{Op: "ledger", Kind: sandbox.Tampered, Object: "entry", Detail: "not an entry of this ledger"}
	if len(b) < 4 || uint64(binary.BigEndian.Uint32(b)) > uint64(len(b)-4) {
		return Entry{}, bad
	}
	whole, n := b, int(binary.BigEndian.Uint32(b))
	var h entryHead
	dec := json.NewDecoder(bytes.NewReader(b[4 : 4+n]))
	dec.DisallowUnknownFields()
	if err := dec.Decode(&h); err != nil {
		return Entry{}, bad
	}
	e := Entry{Question: h.Question, Datasets: h.Datasets, Measures: h.Measures}
	b = b[4+n:]
	for _, people := range h.People {
		if people < 1 || people > len(b)/(8*(1+len(h.Measures))) {
			return Entry{}, bad
		}
		c := entryCell{People: make([]uint64, people), Adds: make([][]int64, len(h.Measures))}
		for i := range c.People {
			c.People[i] = binary.BigEndian.Uint64(b[8*i:])
			if i > 0 && c.People[i-1] > c.People[i] { // what is compared is searched by halves
				return Entry{}, bad
			}
		}
		b = b[8*people:]
		for m := range c.Adds {
			c.Adds[m] = make([]int64, people)
			for i := range c.Adds[m] {
				c.Adds[m][i] = int64(binary.BigEndian.Uint64(b[8*i:]))
			}
			b = b[8*people:]
		}
		e.Cells = append(e.Cells, c)
	}
	if again, err := e.Encode(); err != nil || !bytes.Equal(again, whole) { // also finds what follows, and other padding
		return Entry{}, bad
	}
	return e, nil
}
