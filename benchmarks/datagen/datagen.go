// Package datagen writes made-up tables of one district (模拟数据生成): persons, medical claims and subsidies as CSV files in
// Chinese form, for the demo, for tests and for benchmarks. Nobody in them exists: identity numbers, mobiles, hospitals
// and streets follow the standards' rules (GB 11643, GB 32100, GB/T 2261.1, ICD-10) and are otherwise drawn by chance.
//
// The same Options give the same bytes on every machine: one seeded generator, integer arithmetic only. Money is written
// in yuan with two decimals, dates as 2006-01-02, files in UTF-8 with LF. Rows of one person stand together.
//
// Three things are planted, so that a gate has something to find: a disease chapter with fewer than ten people, a chapter
// whose cost is nearly all one claim, and a street with exactly one inhabitant. Summary says where.
//
// It is no model of a population: ages, illnesses and costs are independent, and nothing should be learnt from them.
package datagen

import (
	"bufio"
	"errors"
	"fmt"
	"io/fs"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"

	"github.com/opdomain/opdomain/sandbox"
)

// Options (生成选项): the zero value gives 20,000 persons from seed 0.
type Options struct {
	Persons int // 0: DefaultPersons; at least MinPersons, so that the plants stand out
	Seed    uint64
}

// Bounds of Options.Persons.
const (
	DefaultPersons = 20_000
	MinPersons     = 1_000
	MaxPersons     = 20_000_000
)

// Files that Generate writes, one per dataset of Catalogue.
const (
	PersonsFile   = "persons.csv"
	ClaimsFile    = "claims.csv"
	SubsidiesFile = "subsidies.csv"
)

// Summary (生成摘要) says what was written and where the plants are. Codes and counts only, Patient aside.
type Summary struct {
	Persons, Claims, Subsidies int64

	RareChapter      string // ICD-10 letter whose claims belong to RarePeople persons
	RarePeople       int
	DominatedChapter string // ICD-10 letter whose cost is nearly all one claim
	LoneStreet       string // street code with one inhabitant, who has claims of CommonChapter only
	CommonChapter    string

	Patient Patient
}

// Patient (示例患者) is one made-up person with a claim, for a story about one person. It prints redacted like a real one.
type Patient struct {
	ResidentID string
	ClaimNo    string
}

// String keeps the identifiers out of logs.
func (Patient) String() string { return "patient(redacted)" }

// GoString keeps the identifiers out of %#v.
func (Patient) GoString() string { return "patient(redacted)" }

// Generate writes the three files into dir, which it makes if needed. It never replaces a file; after an error it leaves
// none of its own behind.
func Generate(dir string, o Options) (sum Summary, err error) {
	if o.Persons == 0 {
		o.Persons = DefaultPersons
	}
	if o.Persons < MinPersons || o.Persons > MaxPersons {
		return Summary{}, &sandbox.Error{Op: "datagen", Kind: sandbox.Invalid, Object: "persons", Detail: fmt.Sprintf("%d to %d persons", MinPersons, MaxPersons)}
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return Summary{}, failed("folder", err)
	}
	out := map[string]*table{}
	defer func() {
		for name, t := range out {
			if e := t.close(); err == nil && e != nil {
				err = failed(name, e)
			}
		}
		if err != nil {
			for name := range out {
				os.Remove(filepath.Join(dir, name))
			}
			sum = Summary{}
		}
	}()
	for _, h := range []struct{ name, header string }{
		{PersonsFile, "resident_id,name,sex,birth_date,mobile,street_code,address\n"},
		{ClaimsFile, "claim_no,resident_id,hospital,icd10,service_date,amount\n"},
		{SubsidiesFile, "subsidy_no,resident_id,kind,amount,paid_date\n"},
	} {
		name := h.name
		f, err := os.OpenFile(filepath.Join(dir, name), os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
		if errors.Is(err, fs.ErrExist) {
			return Summary{}, &sandbox.Error{Op: "datagen", Kind: sandbox.Conflict, Object: name, Detail: "the file exists", Hint: "choose an empty folder"}
		}
		if err != nil {
			return Summary{}, failed(name, err)
		}
		out[name] = &table{f: f, w: bufio.NewWriterSize(f, 1<<16)}
		out[name].w.WriteString(h.header)
	}
	g := newDistrict(o)
	for i := range o.Persons {
		g.person(i)
		// A bufio.Writer keeps its first error; close reports it.
		out[PersonsFile].w.Write(g.personRow)
		out[ClaimsFile].w.Write(g.claimRows)
		out[SubsidiesFile].w.Write(g.subsidyRows)
	}
	return g.sum, nil
}

func failed(object string, err error) error {
	var p *fs.PathError
	if errors.As(err, &p) {
		err = p.Err // the operating system's error repeats the path
	}
	return &sandbox.Error{Op: "datagen", Kind: sandbox.Unavailable, Object: object, Detail: "cannot be written", Err: err}
}

type table struct {
	f *os.File
	w *bufio.Writer
}

func (t *table) close() error {
	return errors.Join(t.w.Flush(), t.f.Close())
}

// number appends n with leading zeros.
func number(b []byte, n, width int) []byte {
	s := strconv.Itoa(n)
	for range width - len(s) {
		b = append(b, '0')
	}
	return append(b, s...)
}

func yuan(b []byte, fen int64) []byte { return append(b, sandbox.Fen(fen).String()...) }

// of picks one of a list by weight.
func of[T any](r *rand.Rand, list []T, weight func(T) int) T {
	total := 0
	for _, v := range list {
		total += weight(v)
	}
	n := r.IntN(total)
	for _, v := range list {
		if n -= weight(v); n < 0 {
			return v
		}
	}
	panic("datagen: weights do not add up") // unreachable: n < total
}
