package agent

import (
	"bytes"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/catalog"
)

var loans = join.Question{Version: 1, Left: join.Table{Owner: 0, Rows: 1024, Groups: groups}, Right: join.Table{Owner: 1, Rows: 1024, Groups: []string{"subsidised"}},
	Measures: []join.Measure{{Name: "loans", Kind: join.Count, Side: join.Left}, {Name: "repaid", Kind: join.Amount, Side: join.Left}, {Name: "support", Kind: join.Amount, Side: join.Right}},
	Rules:    join.Rules{MinSubjects: 10, DominanceN: 2, DominanceK: 90, PPercent: 10}}

// TestJoinTable: a side's table has its own measures; a fault names line and rule and never a field.
func TestJoinTable(t *testing.T) {
	columns := loans.Columns(join.Left)
	got, err := joinRows(strings.NewReader("group,subject,repaid\nretail,anna,5\nfarming,anna,7\n"), "t", "", groups, columns, secret)
	if err != nil || len(got) != 2 || got[0].Group != 1 || got[1].Values[0] != 7 || got[0].Subject != got[1].Subject || got[0].Subject>>join.SubjectBits != 0 {
		t.Fatalf("%v", err)
	}
	for text, rule := range map[string]string{
		"":                                       "line 1",
		"group,subject\n":                        "line 1",
		"group,subject,support\n":                "line 1",
		"group,subject,repaid\nmining,zeta,5\n":  "line 2: invalid: the group",
		"group,subject,repaid\nretail,,5\n":      "line 2: invalid: every row",
		"group,subject,repaid\nretail,zeta,-5\n": "line 2: invalid: a measure",
		"group,subject,repaid\nretail,zeta\n":    "line 2: invalid: as many fields",
	} {
		_, err := joinRows(strings.NewReader(text), "t", "", groups, columns, secret)
		if !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), rule) || strings.Contains(err.Error(), "zeta") {
			t.Errorf("%q: %v, want %s", text, err, rule)
		}
	}
}

// TestOneFormOfSubjects: a person whose identifier is spelled in another way is the same person, of either kind; what is none of its kind is refused
// by line and never by value.
func TestOneFormOfSubjects(t *testing.T) {
	for kind, forms := range map[catalog.SubjectKind][]string{"": {"anna", " anna", "anna\u3000"}, catalog.ResidentID: {"11010519491231002X", "11010519491231002x", " 110105 19491231 002X ", "11010519491231002Ｘ"}} {
		text := "group,subject,repaid\n"
		for _, id := range forms {
			text += "retail," + id + ",5\n"
		}
		rows, err := joinRows(strings.NewReader(text), "t", kind, groups, []string{"repaid"}, secret)
		if err != nil {
			t.Fatal(err)
		}
		for i, r := range rows {
			if r.Subject != rows[0].Subject {
				t.Errorf("%q: row %d is another person", kind, i)
			}
		}
		path := filepath.Join(t.TempDir(), "t")
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if people, _, err := joinSets(path, kind); err != nil || string(people.Data) != forms[0] {
			t.Errorf("%q: the ledger has other people: %v", kind, err)
		}
	}
	wrong := "group,subject,repaid\nretail,11010519491231002X,5\nretail,110105194912310021,5\n"
	path := filepath.Join(t.TempDir(), "t")
	if err := os.WriteFile(path, []byte(wrong), 0o600); err != nil {
		t.Fatal(err)
	}
	_, err := joinRows(strings.NewReader(wrong), path, catalog.ResidentID, groups, []string{"repaid"}, secret)
	_, _, ledger := joinSets(path, catalog.ResidentID)
	for _, err := range []error{err, ledger} {
		if !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), path+" line 3") || strings.Contains(err.Error(), "1949") {
			t.Errorf("none of its kind: %v", err)
		}
	}
}

// TestJobKey: a person has another pseudonym in another job of the same owners.
func TestJobKey(t *testing.T) {
	path := filepath.Join(t.TempDir(), "t")
	if err := os.WriteFile(path, []byte("group,subject,repaid\nretail,anna,5\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	read := func(run sandbox.RunID) uint64 {
		j := &job{join: &loans}
		if err := j.read(0, path, secret, mpc.Plan{Version: 1, Job: run}); err != nil {
			t.Fatal(err)
		}
		return j.joined[0].Subject
	}
	if first, again := read("a"), read("a"); first != again || first == read("b") {
		t.Error("pseudonyms follow the plan")
	}
}

// TestLedger: a table whose people, or what they have in it, are nearly those of an earlier job is refused, whichever the question, and so is a job
// over the quota; exactly an earlier table passes in any order, and so does another. Without a ledger nothing does.
func TestLedger(t *testing.T) {
	dir := t.TempDir()
	key := filepath.Join(dir, "key")
	if err := os.WriteFile(key, bytes.Repeat([]byte("ab"), 32), 0o600); err != nil {
		t.Fatal(err)
	}
	table := func(name string, from, to int) string {
		var b strings.Builder
		b.WriteString("group,subject,repaid\n")
		for i := from; i < to; i++ {
			fmt.Fprintf(&b, "retail,person %d,5\nretail,person %d,6\n", i, i)
		}
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(b.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	p := mpc.Plan{Job: "j", Parties: []mpc.Party{{ID: "bank"}, {ID: "bureau"}, {ID: "custodian"}}}
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	admit := func(path string, quota int) error {
		now = now.Add(time.Hour)
		j := &job{join: &loans}
		return j.admit(&flags{ledger: filepath.Join(dir, "ledger"), ledgerKey: key, table: path, quota: quota}, p, 0, now)
	}
	if err := admit(table("a", 0, 200), 2); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(dir, "a"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSuffix(string(text), "\n"), "\n")
	other := func(name string, lines []string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(strings.Join(lines, "\n")+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	turned := slices.Clone(lines)
	slices.Reverse(turned[1:])
	if err := admit(other("b", turned), 3); err != nil {
		t.Errorf("the same in another order: %v", err)
	}
	changed := slices.Clone(lines)
	changed[len(changed)-1] = "retail,person 199,7"
	for name, path := range map[string]string{"one amount": other("b2", changed), "one row fewer": other("b3", lines[:len(lines)-1]), "one more": table("b4", 0, 201), "one fewer": table("c", 1, 200), "nine others": table("d", 9, 209)} {
		if err := admit(path, 9); !errors.Is(err, sandbox.Denied) || !strings.Contains(err.Error(), "psi.near-repeat") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := admit(table("e", 100, 300), 3); err != nil {
		t.Errorf("others: %v", err)
	}
	if err := admit(table("f", 500, 700), 3); !errors.Is(err, sandbox.Denied) || !strings.Contains(err.Error(), "psi.jobs-quota") {
		t.Errorf("a job over the quota: %v", err)
	}
	if err := (&job{join: &loans}).admit(&flags{}, p, 0, now); !errors.Is(err, errUsage) {
		t.Errorf("without a ledger: %v", err)
	}
}

// TestLedgerNotAsked: a ledger that would not be asked is wrong usage, also where the run would come to it, and so is an owner of a join's table
// without one.
func TestLedgerNotAsked(t *testing.T) {
	p := mpc.Plan{Job: "j", Parties: []mpc.Party{{ID: "bank"}, {ID: "bureau"}, {ID: "custodian"}}}
	full := flags{ledger: "l", ledgerKey: "k", party: "bank"}
	for name, x := range map[string]struct {
		job    job
		change func(*flags)
		ok     bool
	}{
		"a join's owner":   {job{join: &loans}, func(*flags) {}, true},
		"none":             {job{agg: &agg.Question{}}, func(f *flags) { *f = flags{party: "bank"} }, true},
		"groups":           {job{agg: &agg.Question{}}, func(*flags) {}, false},
		"an inquiry":       {job{inquiry: &agg.Inquiry{}}, func(*flags) {}, false},
		"no table":         {job{join: &loans}, func(f *flags) { f.party = "custodian" }, false},
		"nor a ledger":     {job{join: &loans}, func(f *flags) { *f = flags{party: "custodian"} }, true},
		"an owner without": {job{join: &loans}, func(f *flags) { *f = flags{party: "bureau"} }, false},
		"no key":           {job{join: &loans}, func(f *flags) { f.ledgerKey = "" }, false},
		"a key alone":      {job{join: &loans}, func(f *flags) { f.ledger = "" }, false},
		"a quota alone":    {job{join: &loans}, func(f *flags) { f.ledger, f.ledgerKey, f.quota = "", "", 3 }, false},
		"a quota below it": {job{join: &loans}, func(f *flags) { f.quota = -1 }, false},
	} {
		f := full
		x.change(&f)
		if err := x.job.keeps(&f, p); (err == nil) != x.ok || err != nil && !errors.Is(err, errUsage) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if err := (&job{agg: &agg.Question{}}).admit(&full, p, 0, time.Time{}); !errors.Is(err, errUsage) {
		t.Errorf("admitted without being asked: %v", err)
	}
}

func FuzzJoinTable(f *testing.F) {
	f.Add("group,subject,repaid\nretail,anna,5\n")
	f.Add("group,subject,repaid\n\"")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := joinRows(strings.NewReader(text), "t", "", groups, []string{"repaid"}, secret)
		if err != nil && got != nil {
			t.Fatal("rows with an error")
		}
		for _, r := range got {
			if r.Group < 0 || r.Group >= len(groups) || len(r.Values) != 1 || r.Values[0] < 0 || r.Values[0] > join.MaxAmount || r.Subject>>join.SubjectBits != 0 {
				t.Fatal("a row outside its range")
			}
		}
	})
}

// TestWords: an owner is told what is asked, of which tables, what opens to whom and what collusion reveals; a question that is not the plan's
// is refused, and a label cannot pass for a line.
func TestWords(t *testing.T) {
	q := loans
	q.Left.Groups = []string{"farming", "re\ntail\u202e"}
	p := mpc.Plan{Version: 1, Job: "job-1", Question: q.Digest(), Adversary: share.MaliciousAbort, Generator: share.AESGenerator, Operators: join.Operators(), Seconds: 60,
		Expires: time.Now().UTC().Add(time.Hour).Truncate(time.Second)}
	for i := range mpc.Parties {
		x := mpc.Party{ID: sandbox.PartyID(fmt.Sprint("p", i)), Role: "zone", Organisation: sandbox.PartyID(fmt.Sprint("house", i)), Owner: "o"}
		for _, k := range []*[]byte{&x.Key, &x.OwnerKey} {
			key, err := sm.NewSigningKey(rand.Reader)
			if err != nil {
				t.Fatal(err)
			}
			*k = key.Public().Bytes()
		}
		p.Parties = append(p.Parties, x)
	}
	p.Inputs = []mpc.Input{{Name: "left", Party: "p0", Rows: 1024}, {Name: "right", Party: "p1", Rows: 1024}}
	for name, rows := range q.Outputs() {
		p.Outputs = append(p.Outputs, mpc.Output{Name: name, Rows: rows, Recipient: "p2"})
	}
	said, err := Words(p, q.Encode(), "p1")
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{fmt.Sprintf("%x", p.Digest()), "p1 (zone) of house1, owner o, key", "for whom you sign", "right of p1, padded to 1024 rows: yours; columns subject and group (\"subsidised\"), support",
		"repaid (amount of the left table)", "10 people at least", "shown, 2 numbers, to p2 alone", "p0: sizes of the padded tables", "within sort: a uniformly random permutation",
		"malicious with abort", "Any two of house0 (zone), house1 (zone), house2 (zone) together can read every input in full", "re\\ntail\\u202e"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said in\n%s", want, said)
		}
	}
	if !strings.Contains(said, "names no dataset") {
		t.Error("what is not named is not said")
	}
	known := q
	known.Left.Dataset, known.Left.Version, known.Right.Dataset, known.Right.Version, known.Scenario, known.Purpose, known.Asker = "ds-l", 3, "ds-s", 7, "sc-m", "planning", "operator"
	under := p
	under.Question = known.Digest()
	if said, err = Words(under, known.Encode(), "p1"); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"left of p0, padded to 1024 rows; columns", "; of dataset ds-l, version 3\n", "; of dataset ds-s, version 7\n", "asked by operator under scenario sc-m, for the purpose planning\n"} {
		if !strings.Contains(said, want) {
			t.Errorf("%q is not said in\n%s", want, said)
		}
	}
	other := q
	other.Rules.MinSubjects = 3
	if _, err := Words(p, other.Encode(), "p1"); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), "the plan names the question's digest") {
		t.Errorf("another question: %v", err)
	}
	if _, err := Words(p, q.Encode(), "p9"); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("another party: %v", err)
	}
}
