package agent

import (
	"errors"
	"io"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

// Quota of an owner's table with one counterpart.
const (
	defaultJobs = 12
	window      = 30 * 24 * time.Hour
)

// ledgerUsage is how a ledger that is missing, or would not be asked, is told.
func ledgerUsage(rule, hint string) error {
	return &sandbox.Error{Op: "party", Kind: sandbox.Invalid, Object: "--ledger", Detail: rule, Hint: hint, Err: errUsage}
}

func noLedger() error {
	return ledgerUsage("who owns a table of a join, or rows of an inquiry, keeps a ledger: nobody else sees whether its people are nearly those of an earlier job, whose answers would differ by the few who are not",
		"--ledger DIR --ledger-key F: a folder and a file of 64 hex digits of the owner's own, the same for every job over its tables")
}

// hasLedger says what is missing of a ledger that must be there.
func (f *flags) hasLedger() error {
	switch {
	case f.ledger == "" && f.ledgerKey == "" && f.quota == 0:
		return noLedger()
	case f.ledger == "" || f.ledgerKey == "" || f.quota < 0:
		return ledgerUsage("a ledger comes with its key, and a quota of at least one job with both", "")
	}
	return nil
}

// keeps holds a run to its ledger: an owner of a join's table, or of an inquiry's rows, has one, with its key. Anywhere else nothing would be
// compared, and who named one would think it was.
func (j *job) keeps(f *flags, p mpc.Plan) error {
	var owners []int
	if j.join != nil || j.inquiry != nil {
		owners, _ = j.owners()
	}
	owns := slices.ContainsFunc(owners, func(o int) bool { return string(p.Parties[o].ID) == f.party })
	if !owns && f.ledger == "" && f.ledgerKey == "" && f.quota == 0 {
		return nil
	}
	if err := f.hasLedger(); err != nil {
		return err
	}
	switch {
	case j.join == nil && j.inquiry == nil:
		return ledgerUsage("a ledger compares the people of a join's tables or an inquiry's rows, and this question is neither", "leave --ledger, --ledger-key and --quota out, or ask it as one of them")
	case !owns:
		return ledgerUsage("a ledger is of a party that has a table", "leave --ledger, --ledger-key and --quota out")
	}
	return nil
}

// admit asks the ledger of the owner at a place, of a unit that is no party at -1: how many jobs with the other owners, and whether the people of what it brings, or what they have in it, are nearly
// those of an earlier job. The difference of two answers would be an answer about the few who differ. Exactly what an earlier job had passes:
// another question over it differs by nobody on this side, and the other owners compare their own.
func (j *job) admit(f *flags, p mpc.Plan, place int, now time.Time) error {
	if j.join == nil && j.inquiry == nil {
		return j.keeps(f, p)
	}
	if err := f.hasLedger(); err != nil {
		return err
	}
	people, rows, err := j.brings(f)
	if err != nil {
		return err
	}
	jobs := f.quota
	if jobs == 0 {
		jobs = defaultJobs
	}
	most, differ := 1<<14, 0
	if j.join != nil {
		differ = j.join.Rules.MinSubjects
	} else {
		most, differ = 1<<20, j.line.Thresholds().MinSubjects
	}
	l, unlock, err := openLedger(f.ledger, f.ledgerKey, psi.Limits{Set: most, Jobs: jobs, Elements: int64(jobs) * int64(most), Window: window, Similarity: 1, Differ: differ, Same: true})
	if err != nil {
		return err
	}
	defer unlock()
	other := j.counterpart(p, place)
	refused := func(d sandbox.Decision) error {
		if d.Allow {
			return nil
		}
		return &sandbox.Error{Op: "party", Kind: sandbox.Denied, Object: string(p.Job), Detail: d.Reasons[0].Code + ": " + d.Reasons[0].Rule, Hint: d.Reasons[0].Change}
	}
	// Nothing is written of a job that is refused; rows before people, so that no job is counted whose rows are not there to compare with.
	type kept struct {
		of psi.Subject
		s  *psi.Sketch
	}
	var all []kept
	for i, set := range append(rows, people) {
		of := psi.OfRows
		if i == len(rows) {
			of = psi.OfSet
		}
		s, err := l.Sketch(set)
		if err != nil {
			return err
		}
		if err := refused(l.Would(other, of, s, now)); err != nil {
			return err
		}
		all = append(all, kept{of, s})
	}
	for _, x := range all {
		d, err := l.Admit(other, x.of, x.s, now)
		if err != nil {
			return err
		}
		if err := refused(d); err != nil {
			return err
		}
	}
	return nil
}

// counterpart is whose quota a job counts in: the other owner; of rows that have no other, who has the outputs; else the next party.
func (j *job) counterpart(p mpc.Plan, place int) sandbox.PartyID {
	owners, _ := j.owners()
	for _, o := range owners {
		if o != place {
			return p.Parties[o].ID
		}
	}
	if to := p.Recipient(); to >= 0 && to != place {
		return p.Parties[to].ID
	}
	return p.Parties[(place+1)%mpc.Parties].ID
}

// brings gives the people of what this party brings, and sets of what they have in it.
func (j *job) brings(f *flags) (people psi.Set, rows []psi.Set, err error) {
	if j.join != nil {
		people, all, err := joinSets(f.table, j.join.SubjectKind)
		return people, []psi.Set{all}, err
	}
	people, rows = j.lineSets()
	return people, rows, nil
}

func add(s *psi.Set, b []byte) {
	s.Data = append(s.Data, b...)
	s.Offsets = append(s.Offsets, int32(len(s.Data)))
}

// lineSets are the people of the rows that pass the question's filters, in the form that they are joined in; and of each dataset and column what a
// person has there, how many rows among it. A column stands apart since another question over the same column may be about others besides.
func (j *job) lineSets() (people psi.Set, rows []psi.Set) {
	people.Offsets = []int32{0}
	everybody := map[string]bool{}
	for _, i := range slices.Sorted(maps.Keys(j.own)) {
		r := j.own[i]
		passing, name := j.line.Passing(i, r), map[sandbox.Pseudonym]string{}
		for row, who := range r.Subjects() {
			name[who] = j.names[i][row]
			if passing[row] {
				everybody[name[who]] = true
			}
		}
		for _, column := range append([]string{""}, j.line.Columns(i)...) {
			columns := []string{column}
			if column == "" {
				columns = nil
			}
			set := psi.Set{Offsets: []int32{0}}
			of := r.Contributed(passing, columns)
			for _, who := range slices.SortedFunc(maps.Keys(of), func(a, b sandbox.Pseudonym) int { return strings.Compare(name[a], name[b]) }) {
				what := of[who]
				d := sm.Sum(sm.Frame([]byte("opdomain/mpc/agent/rows/v1"), []byte(j.line.Inputs()[i].ID), []byte(column), []byte(name[who]), what[:]))
				add(&set, d[:])
			}
			rows = append(rows, set)
		}
	}
	for _, who := range slices.Sorted(maps.Keys(everybody)) {
		add(&people, []byte(who))
	}
	return people, rows
}

// joinSets are a table's people in the form that they are joined in, since another spelling is not another person, and of each what its rows come
// to, whatever their order.
func joinSets(path string, kind catalog.SubjectKind) (people, rows psi.Set, err error) {
	people, rows = psi.Set{Offsets: []int32{0}}, psi.Set{Offsets: []int32{0}}
	f, err := openTable(path)
	if err != nil {
		return people, rows, err
	}
	defer f.Close()
	t := newTable(f, path, maxTable, "a table as the question names it")
	if err := t.head("a table as the question names it", func(names []string) bool { return len(names) > 1 }); err != nil {
		return people, rows, err
	}
	of := map[string][]string{}
	for {
		rec, err := t.next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return people, rows, err
		}
		who, ok := join.Normal(kind, rec[1])
		if !ok {
			return people, rows, t.bad(ruleSubject)
		}
		who = strings.Clone(who)
		of[who] = append(of[who], quoted(slices.Delete(slices.Clone(rec), 1, 2)))
	}
	for _, who := range slices.Sorted(maps.Keys(of)) {
		slices.Sort(of[who])
		d := sm.Sum([]byte(quoted(append([]string{who}, of[who]...))))
		add(&people, []byte(who))
		add(&rows, d[:])
	}
	return people, rows, nil
}
