package noise

import (
	"encoding/binary"
	"fmt"
	"math"
	"sort"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Table (扰动表) gives the noise of a count by a cell's key. Row i is for counts of i, the last for all larger ones: of all
// distributions on −min(i, bound) … bound with mean zero and the declared variance it is the one of largest entropy; small counts, on which
// that variance would heap up at the edges, have the variance of the geometric one. Source: Giessing 2016, maximum entropy p-tables.
type Table struct {
	bound, variance int
	rows            [][]uint32 // row → entry → cumulated probability in 2^-32, the last left out
}

// Bounds of a table.
const (
	MaxTableBound = 32
	scale         = 1 << 32
)

// NewTable takes the variance, at least 1, and the largest error: at least twice the standard deviation.
func NewTable(variance, bound int) (*Table, error) {
	if variance < 1 || bound < 1 || bound > MaxTableBound || 4*variance > bound*bound {
		return nil, invalid("table", fmt.Sprintf("a variance of at least 1 and a bound of at least twice its root, at most %d", MaxTableBound))
	}
	t := &Table{bound: bound, variance: variance}
	for i := range bound + 1 {
		t.rows = append(t.rows, cumulated(entropic(i, bound, float64(variance))))
	}
	return t, nil
}

// Deviation is the standard deviation of the noise of counts from the bound on.
func (t *Table) Deviation() float64 { return math.Sqrt(float64(t.variance)) }

// String keeps the bound out of logs.
func (*Table) String() string { return "perturbation table(redacted)" }

// GoString keeps it out of %#v.
func (*Table) GoString() string { return "perturbation table(redacted)" }

// At gives the noise of a count in a cell with a key. The count with it is never negative, and zero stays zero.
func (t *Table) At(count int64, key uint64) int64 {
	if count <= 0 {
		return 0
	}
	i := int(min(count, int64(t.bound)))
	row, u := t.rows[i], uint32(key>>32)
	return int64(sort.Search(len(row), func(k int) bool { return u < row[k] }) - i)
}

// entropic gives the probabilities of −min(i, bound) … bound.
func entropic(i, bound int, variance float64) []float64 {
	low := min(i, bound)
	if low == 0 {
		return []float64{1}
	}
	at := func(b float64) (p []float64, v float64) { // mean zero, by bisection of its tilt
		lo, hi := -8.0, 8.0
		for range 200 {
			a, sum, mean := (lo+hi)/2, 0.0, 0.0
			p, v = p[:0], 0
			for e := -low; e <= bound; e++ {
				x := float64(e)
				w := math.Exp(a*x + b*x*x)
				p, sum, mean, v = append(p, w), sum+w, mean+w*x, v+w*x*x
			}
			for k := range p {
				p[k] /= sum
			}
			v /= sum
			if mean > 0 {
				hi = a
			} else {
				lo = a
			}
		}
		return p, v
	}
	p, v := at(0)
	if v <= variance {
		return p
	}
	lo, hi := -8.0, 0.0
	for range 100 {
		b := (lo + hi) / 2
		if p, v = at(b); v > variance {
			hi = b
		} else {
			lo = b
		}
	}
	return p
}

// cumulated rounds probabilities to 2^-20, so that processors that differ in an exponential's last bit make one table, and adds them up.
func cumulated(p []float64) []uint32 {
	const grain = 1 << 20
	out := make([]uint32, 0, len(p)-1)
	sum := 0.0
	for _, x := range p[:len(p)-1] {
		sum += x
		out = append(out, uint32(min(math.Round(sum*grain)*(scale/grain), scale-1)))
	}
	return out
}

// CellKeys (单元格密钥) perturbs counts under the domain's key.
type CellKeys struct {
	mac   *sm.MAC
	table *Table
}

// NewCellKeys takes a key of at least 16 bytes, which says nothing about pseudonyms and never leaves.
func NewCellKeys(key []byte, t *Table) (*CellKeys, error) {
	mac, err := sm.NewMAC(key)
	if err != nil {
		return nil, err
	}
	return &CellKeys{mac, t}, nil
}

// Deviation is that of the table.
func (k *CellKeys) Deviation() float64 { return k.table.Deviation() }

// Key is the key of a cell: who adds to the count, and how much. Those who add nothing are not in it.
func (k *CellKeys) Key(population []sandbox.Pseudonym, contributors []uint32, adds []int64) (key uint64) {
	const size, lot = 24, 1024
	data, offsets, tags := make([]byte, 0, size*min(lot, len(adds))), make([]int32, 1, lot+1), make([]byte, 8*min(lot, len(adds)))
	flush := func() {
		n := len(offsets) - 1
		k.mac.Rows(tags[:8*n], 8, offsets, data)
		for i := range n {
			key += binary.BigEndian.Uint64(tags[8*i:])
		}
		data, offsets = data[:0], offsets[:1]
	}
	for i, s := range contributors {
		if adds[i] == 0 {
			continue
		}
		data = binary.BigEndian.AppendUint64(append(data, population[s][:]...), uint64(adds[i]))
		offsets = append(offsets, int32(len(data)))
		if len(offsets) == lot+1 {
			flush()
		}
	}
	flush()
	return key
}

// Perturb gives a count as it leaves.
func (k *CellKeys) Perturb(count int64, population []sandbox.Pseudonym, contributors []uint32, adds []int64) int64 {
	return count + k.table.At(count, k.Key(population, contributors, adds))
}
