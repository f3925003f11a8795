package egress

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"encoding/json"
	"math/bits"
	"slices"

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
	Measures []string            // additive measures, "sum:dataset.column" or countMeasure
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

// Entry makes the ledger's entry of a checked answer. columns names, per measure of the answer, the "dataset.column" it is
// taken over; empty for count and subjects.
func (l *Ledger) Entry(question sandbox.QuestionID, c *Checked, columns []string) (Entry, error) {
	a := c.answer
	if len(columns) != len(a.Measures) {
		return Entry{}, &sandbox.Error{Op: "ledger", Kind: sandbox.Invalid, Object: string(question), Detail: "a column per measure"}
	}
	e := Entry{Question: question}
	for _, in := range a.Inputs {
		if !slices.Contains(e.Datasets, in.Dataset) {
			e.Datasets = append(e.Datasets, in.Dataset)
		}
	}
	slices.Sort(e.Datasets)
	var kept []int
	for m, x := range a.Measures {
		name := ""
		switch x.Func {
		case sandbox.Sum, sandbox.Mean:
			name = "sum:" + columns[m]
		case sandbox.Count:
			name = countMeasure
		}
		if name != "" && !slices.Contains(e.Measures, name) {
			e.Measures, kept = append(e.Measures, name), append(kept, m)
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
				ec.Adds[m][k] = cell.Contributions[from][at]
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
