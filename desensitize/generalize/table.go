package generalize

import (
	"fmt"
	"hash/maphash"
	"slices"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"

	"github.com/opdomain/opdomain/sandbox"
)

// Bounds of a table.
const (
	DefaultMaxClasses = 8 << 20 // distinct combinations of quasi-identifiers
	MaxRows           = 1<<31 - 1
	maxQuasi          = 32
)

// Quasi (准标识符) is one quasi-identifying column and its hierarchy.
type Quasi struct {
	Name      string
	Hierarchy *Hierarchy
}

// Config (表配置) says what a table's columns are to the search. Names are found in the schema of each record.
type Config struct {
	Quasi      []Quasi
	Sensitive  []string // 敏感属性
	Population bool     // 总体表: a population is added with AddPopulation; it must contain the table
	MaxClasses int      // 0: DefaultMaxClasses
	// Unknown values are refused by default, by row. If true they are "*" at every level, a class of their own below the top.
	UnknownAsStar bool
}

// Table (待匿名表) holds a table as its distinct combinations of quasi-identifier values with their counts, and per
// combination a histogram of each sensitive column. Rows themselves are not kept. One goroutine adds; after Freeze it is
// read-only and may be searched by several. It prints as its shape.
type Table struct {
	cfg       Config
	quasi     []dictionary
	sensitive []dictionary

	n, people int64    // rows added, rows of the population
	codes     []uint32 // of each combination, one per quasi-identifier
	count     []uint32
	pop       []uint32 // with Population
	index     intern
	pairs     []intern // per sensitive column: (combination, value) → its row in pairCount
	pairKey   [][]uint32
	pairCount [][]uint32

	frozen *frozen
}

// dictionary numbers the values of one column, missing included.
type dictionary struct {
	name    string
	code    map[string]uint32
	values  []string
	missing int  // its code, or -1
	closed  bool // new values get no number
}

// unnumbered is the code of a value that a closed dictionary does not have.
const unnumbered = ^uint32(0)

func (d *dictionary) of(v string) (uint32, bool) {
	c, ok := d.code[v]
	if !ok {
		if d.closed {
			return unnumbered, true
		}
		v = string([]byte(v)) // the batch goes, the value stays
		c = uint32(len(d.values))
		d.code[v] = c
		d.values = append(d.values, v)
	}
	return c, !ok
}

func (d *dictionary) null() uint32 {
	if d.missing < 0 {
		if d.closed {
			return unnumbered
		}
		d.missing = len(d.values)
		d.values = append(d.values, "")
	}
	return uint32(d.missing)
}

// String shows the shape only.
func (t *Table) String() string {
	return fmt.Sprintf("table of %d rows in %d combinations of %d columns", t.n, len(t.count), len(t.quasi))
}

// GoString shows the shape only.
func (t *Table) GoString() string { return t.String() }

// Rows counts the rows added, those of the population aside.
func (t *Table) Rows() int64 { return t.n }

// Combinations (取值组合数) counts the distinct combinations of quasi-identifier values.
func (t *Table) Combinations() int { return len(t.count) }

// NewTable checks the configuration.
func NewTable(cfg Config) (*Table, error) {
	if len(cfg.Quasi) == 0 || len(cfg.Quasi) > maxQuasi {
		return nil, bad("columns", fmt.Sprintf("1 to %d quasi-identifiers", maxQuasi), "name those that an outsider may know of a person")
	}
	if cfg.MaxClasses == 0 {
		cfg.MaxClasses = DefaultMaxClasses
	}
	if cfg.MaxClasses < 0 || cfg.MaxClasses > 1<<28 {
		return nil, bad("columns", "the bound on combinations is 1 to 2^28", "")
	}
	t := &Table{cfg: cfg, index: newIntern()}
	seen := map[string]bool{}
	for _, q := range cfg.Quasi {
		if q.Hierarchy == nil {
			return nil, bad("column "+q.Name, "a quasi-identifier has a hierarchy", "")
		}
		if q.Name == "" || seen[q.Name] {
			return nil, bad("column "+q.Name, "a column is named once", "")
		}
		seen[q.Name] = true
		t.quasi = append(t.quasi, dictionary{name: q.Name, code: map[string]uint32{}, missing: -1})
	}
	for _, s := range cfg.Sensitive {
		if s == "" || seen[s] {
			return nil, bad("column "+s, "a column is named once, as quasi-identifier or as sensitive", "")
		}
		seen[s] = true
		t.sensitive = append(t.sensitive, dictionary{name: s, code: map[string]uint32{}, missing: -1})
		t.pairs = append(t.pairs, newIntern())
		t.pairKey, t.pairCount = append(t.pairKey, nil), append(t.pairCount, nil)
	}
	return t, nil
}

// Add counts the rows of one record.
func (t *Table) Add(rec arrow.Record) error { return t.add(rec, false) }

// AddPopulation counts rows of the population the table was drawn from, the table's own rows included.
func (t *Table) AddPopulation(rec arrow.Record) error {
	if !t.cfg.Population {
		return bad("population", "the table was made without one", "set Population")
	}
	return t.add(rec, true)
}

func (t *Table) add(rec arrow.Record, population bool) error {
	if t.frozen != nil {
		return &sandbox.Error{Op: "generalize", Kind: sandbox.Conflict, Object: "table", Detail: "it is frozen"}
	}
	rows := int(rec.NumRows())
	if t.n+int64(rows) > MaxRows || t.people+int64(rows) > MaxRows {
		return &sandbox.Error{Op: "generalize", Kind: sandbox.TooLarge, Object: "table", Detail: fmt.Sprintf("at most %d rows", MaxRows)}
	}
	base := t.n
	if population {
		base = t.people
	}
	m := len(t.quasi)
	quasi, err := t.columns(rec, t.quasi, base, true)
	if err != nil {
		return err
	}
	var sensitive [][]uint32
	if !population {
		if sensitive, err = t.columns(rec, t.sensitive, base, false); err != nil {
			return err
		}
	}
	key := make([]uint32, m)
	for r := range rows {
		for d := range quasi {
			key[d] = quasi[d][r]
		}
		at, fresh := t.index.add(key, t.codes)
		if fresh {
			if len(t.count) >= t.cfg.MaxClasses {
				return &sandbox.Error{Op: "generalize", Kind: sandbox.TooLarge, Object: "table", Detail: fmt.Sprintf("more than %d distinct combinations", t.cfg.MaxClasses),
					Hint: "name fewer quasi-identifiers, generalise one before, or raise the bound"}
			}
			t.codes = append(t.codes, key...)
			t.count = append(t.count, 0)
			if t.cfg.Population {
				t.pop = append(t.pop, 0)
			}
		}
		if population {
			t.pop[at]++
			continue
		}
		t.count[at]++
		for s := range sensitive {
			pair := [2]uint32{uint32(at), sensitive[s][r]}
			p, fresh := t.pairs[s].add(pair[:], t.pairKey[s])
			if fresh {
				t.pairKey[s] = append(t.pairKey[s], pair[:]...)
				t.pairCount[s] = append(t.pairCount[s], 0)
			}
			t.pairCount[s][p]++
		}
	}
	if population {
		t.people += int64(rows)
	} else {
		t.n += int64(rows)
	}
	return nil
}

// columns numbers the values of a record's columns.
func (t *Table) columns(rec arrow.Record, dicts []dictionary, base int64, known bool) ([][]uint32, error) {
	out := make([][]uint32, len(dicts))
	var label []byte
	for d := range dicts {
		dict := &dicts[d]
		at := rec.Schema().FieldIndices(dict.name)
		if len(at) != 1 {
			return nil, &sandbox.Error{Op: "generalize", Kind: sandbox.NotFound, Object: "column " + dict.name, Detail: "the record has no such column, or several"}
		}
		col := rec.Column(at[0])
		check := func(c uint32, row int) error {
			if !known || t.cfg.UnknownAsStar {
				return nil
			}
			h := t.cfg.Quasi[d].Hierarchy
			var ok bool
			if label, ok = h.Append(label[:0], dict.values[c], 0); !ok {
				return bad(fmt.Sprintf("column %s row %d", dict.name, base+int64(row)+1), "the hierarchy "+h.name+" does not hold the value",
					"add it to the hierarchy, or let unknown values become *")
			}
			return nil
		}
		codes, err := dict.number(col, check)
		if err != nil {
			return nil, err
		}
		out[d] = codes
	}
	return out, nil
}

// number gives the code of each row of a column; check sees a value when it comes up for the first time.
func (dict *dictionary) number(col arrow.Array, check func(c uint32, row int) error) ([]uint32, error) {
	codes := make([]uint32, col.Len())
	if d, ok := col.(*array.Dictionary); ok {
		// Only entries in use are numbered, at their first row.
		text, err := reader(d.Dictionary())
		if err != nil {
			return nil, err
		}
		entry := slices.Repeat([]uint32{unnumbered}, d.Dictionary().Len())
		var value []byte
		for r := range codes {
			if d.IsNull(r) || d.Dictionary().IsNull(d.GetValueIndex(r)) {
				codes[r] = dict.null()
				continue
			}
			e := d.GetValueIndex(r)
			if entry[e] == unnumbered {
				value = text(value[:0], e)
				c, fresh := dict.of(string(value))
				if fresh {
					if err := check(c, r); err != nil {
						return nil, err
					}
				}
				entry[e] = c
			}
			codes[r] = entry[e]
		}
		return codes, nil
	}
	text, err := reader(col)
	if err != nil {
		return nil, err
	}
	s, isString := col.(*array.String)
	var value []byte
	var lately [256]struct { // as in memo
		value string
		code  uint32
		set   bool
	}
	for r := range codes {
		if col.IsNull(r) {
			codes[r] = dict.null()
			continue
		}
		var c uint32
		var fresh bool
		if isString {
			v := s.Value(r)
			e := &lately[mixed(v)]
			if e.set && e.value == v {
				codes[r] = e.code
				continue
			}
			c, fresh = dict.of(v)
			e.value, e.code, e.set = v, c, true
		} else {
			value = text(value[:0], r)
			var ok bool
			if c, ok = dict.code[string(value)]; !ok { // no copy for a value seen before
				c, fresh = dict.of(string(value))
			}
		}
		if fresh {
			if err := check(c, r); err != nil {
				return nil, err
			}
		}
		codes[r] = c
	}
	return codes, nil
}

// intern numbers tuples of codes that the caller keeps in one flat slice. Open addressing, at most half full; the seed differs
// between processes, so that nobody can prepare rows that collide.
type intern struct {
	seed  maphash.Seed
	mix   uint64
	slots []uint32 // number + 1
	n     int
}

func newIntern() intern {
	seed := maphash.MakeSeed()
	return intern{seed: seed, mix: maphash.Bytes(seed, nil) | 1, slots: make([]uint32, 64)}
}

func (x *intern) hash(key []uint32) uint64 {
	h := x.mix
	for _, k := range key {
		h = (h ^ uint64(k)) * 0x9e3779b97f4a7c15
		h ^= h >> 29
	}
	return h
}

// add finds key among the tuples of flat, or gives it the next number; the caller then appends it.
func (x *intern) add(key, flat []uint32) (int, bool) {
	if 2*x.n >= len(x.slots) {
		x.grow(len(key), flat)
	}
	mask := uint64(len(x.slots) - 1)
	for at := x.hash(key) & mask; ; at = (at + 1) & mask {
		s := x.slots[at]
		if s == 0 {
			x.n++
			x.slots[at] = uint32(x.n)
			return x.n - 1, true
		}
		if i := int(s-1) * len(key); slices.Equal(key, flat[i:i+len(key)]) {
			return int(s - 1), false
		}
	}
}

func (x *intern) grow(width int, flat []uint32) {
	x.slots = make([]uint32, 2*len(x.slots))
	mask := uint64(len(x.slots) - 1)
	for i := range x.n {
		at := x.hash(flat[i*width:(i+1)*width]) & mask
		for x.slots[at] != 0 {
			at = (at + 1) & mask
		}
		x.slots[at] = uint32(i + 1)
	}
}
