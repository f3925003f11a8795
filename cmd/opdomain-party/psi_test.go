package main

import (
	"bytes"
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/agent"
	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/mpc/psi/lookup"
	"github.com/opdomain/opdomain/mpc/psi/session"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/egress/table"
)

// asProgram makes this test's binary the program.
const asProgram = "OPDOMAIN_PARTY_TEST_MAIN"

func TestMain(m *testing.M) {
	if calls := os.Getenv(underUnit); calls != "" {
		panic(confined(calls))
	}
	if os.Getenv(asProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// duo is a bank and a bureau with their owners and an agency, each a folder of keys.
type duo struct {
	t     *testing.T
	dir   string
	terms session.Terms
	jobs  int
}

func newDuo(t *testing.T) *duo {
	d := &duo{t: t, dir: t.TempDir()}
	d.write("pass", "a long passphrase\n")
	for _, k := range []string{"ledger-key-bank", "ledger-key-bureau", "list-key"} {
		b := make([]byte, 32)
		_, _ = rand.Read(b)
		d.write(k, hex.EncodeToString(b))
	}
	d.terms = session.Terms{Version: 1, Element: "identifier, 12 characters", Seconds: 120, Expires: time.Now().UTC().Add(time.Hour).Truncate(time.Second)}
	for i, id := range []string{"bank", "bureau"} {
		d.terms.Parties[i] = session.Party{ID: sandbox.PartyID(id), Organisation: sandbox.PartyID("org-" + id), Key: d.keys(id), Owner: sandbox.IdentityID("owner-" + id), OwnerKey: d.keys("owner-" + id)}
	}
	d.keys("agency")
	return d
}

func (d *duo) keys(name string) []byte {
	d.t.Helper()
	v, err := keys.Create(d.at(name), []byte("a long passphrase"), keys.Params{Time: 1, Memory: 8, Threads: 1}, rand.Reader)
	if err != nil {
		d.t.Fatal(err)
	}
	defer v.Close()
	return v.SigningKey().Public().Bytes()
}

func (d *duo) at(name string) string { return filepath.Join(d.dir, name) }

func (d *duo) write(name, text string) string {
	d.t.Helper()
	if err := os.WriteFile(d.at(name), []byte(text), 0o600); err != nil {
		d.t.Fatal(err)
	}
	return d.at(name)
}

// process is a run of the program under way.
type process struct {
	cmd       *exec.Cmd
	out, errs bytes.Buffer
}

func (d *duo) start(l *net.TCPListener, args ...string) *process {
	d.t.Helper()
	p := &process{cmd: exec.CommandContext(d.t.Context(), os.Args[0], args...)}
	p.cmd.Env = append(os.Environ(), asProgram+"=1")
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.errs
	if l != nil {
		f, err := l.File()
		if err != nil {
			d.t.Fatal(err)
		}
		defer f.Close()
		p.cmd.ExtraFiles = []*os.File{f}
	}
	if err := p.cmd.Start(); err != nil {
		d.t.Fatal(err)
	}
	return p
}

// wait wants a status and gives what was printed; nothing that a party prints holds an element.
func (d *duo) wait(p *process, want int) string {
	d.t.Helper()
	_ = p.cmd.Wait()
	said := p.out.String() + p.errs.String()
	if got := p.cmd.ProcessState.ExitCode(); got != want {
		d.t.Errorf("%v: status %d, want %d: %s", p.cmd.Args[1:3], got, want, said)
	}
	if strings.Contains(said, "person-") {
		d.t.Error("an element is printed")
	}
	return said
}

func (d *duo) do(want int, args ...string) string {
	d.t.Helper()
	return d.wait(d.start(nil, args...), want)
}

func listener(t *testing.T) (*net.TCPListener, string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.(*net.TCPListener), l.Addr().String()
}

// table writes a CSV of persons with their group and amount.
func (d *duo) table(persons ...[2]int) string {
	var b strings.Builder
	b.WriteString("note,id,sector,amount\n")
	for _, r := range persons {
		for i := r[0]; i < r[1]; i++ {
			fmt.Fprintf(&b, "\"a, note\",person-%05d,%s,%d\n", i, []string{"farming", "retail"}[min(i%20/17, 1)], i%100)
		}
	}
	d.jobs++
	return d.write(fmt.Sprintf("table-%d", d.jobs), b.String())
}

// job is one plan under way: its files are named by run and party.
type job struct {
	*duo
	run    string
	plan   *session.Plan
	tables [2]string
	more   [2][]string
	digest string
}

func (d *duo) job(output psi.Output, sizes [2]int, bank, bureau string) *job {
	d.jobs++
	j := &job{duo: d, run: fmt.Sprintf("run-%d", d.jobs), tables: [2]string{bank, bureau}}
	j.plan = &session.Plan{Terms: d.terms, Job: psi.Plan{Run: sandbox.RunID(j.run), Output: output, Sizes: sizes, Threshold: 10, Authority: [2]psi.Authority{{Kind: psi.Audited}, {Kind: psi.Audited}}}}
	j.plan.Kind = session.KindPlan
	return j
}

func (j *job) file(side int, what string) string {
	return j.at(j.run + "-" + what + "-" + []string{"bank", "bureau"}[side])
}

// agree drafts the plan and has both owners sign it.
func (j *job) agree() {
	j.t.Helper()
	draft, err := json.Marshal(j.plan)
	if err != nil {
		j.t.Fatal(err)
	}
	said := j.do(0, "psi", "plan", "--draft", j.write(j.run+"-draft", string(draft)), "--out", j.at(j.run))
	_, j.digest, _ = strings.Cut(strings.TrimSpace(said), "digest (约定摘要): ")
	for side, id := range []string{"bank", "bureau"} {
		said := j.do(0, "psi", "approve", "--keys", j.at("owner-"+id), "--passphrase-file", j.at("pass"), "--plan", j.at(j.run), "--party", id, "--digest", j.digest, "--days", "1", "--out", j.file(side, "approval"))
		if !strings.Contains(said, "learns") || !strings.Contains(said, "事后审计") && j.plan.Job.Authority[side].Kind == psi.Audited {
			j.t.Error("an owner signs without having read what is learned")
		}
	}
}

func (j *job) args(side int, address string) []string {
	id := []string{"bank", "bureau"}[side]
	a := []string{"psi", "run", "--keys", j.at(id), "--passphrase-file", j.at("pass"), "--plan", j.at(j.run), "--party", id, "--approval", j.file(side, "approval"),
		"--table", j.tables[side], "--column", "id", "--secret", j.file(side, "secret"), "--joined", j.at("joined-" + id), "--ledger", j.at("ledger-" + id), "--ledger-key", j.at("ledger-key-" + id),
		"--out", j.file(side, "out"), "--certificate", j.file(side, "certificate")}
	if side == 0 {
		a = append(a, "--listen", "fd:3", "--from", "localhost")
	} else {
		a = append(a, "--address", address)
	}
	if slices.Contains((&psi.Plan{Output: j.plan.Job.Output, Threshold: 10}).Learns(psi.Side(side)), psi.FactMembers) {
		a = append(a, "--members", j.file(side, "members"))
	}
	return append(a, j.more[side]...)
}

// begin starts both parties.
func (j *job) begin() [2]*process {
	j.t.Helper()
	l, address := listener(j.t)
	return [2]*process{j.start(l, j.args(0, "")...), j.start(nil, j.args(1, address)...)}
}

// both runs both parties and wants their statuses.
func (j *job) both(want [2]int) (said [2]string) {
	j.t.Helper()
	p := j.begin()
	return [2]string{j.wait(p[0], want[0]), j.wait(p[1], want[1])}
}

// alone runs one party, that is refused before it meets the other.
func (j *job) alone(side, want int) string {
	j.t.Helper()
	l, address := listener(j.t)
	return j.wait(j.start(l, j.args(side, address)...), want)
}

func (j *job) out(side int) (o agent.PSIOutput) {
	j.t.Helper()
	b, err := os.ReadFile(j.file(side, "out"))
	if err != nil {
		j.t.Fatal(err)
	}
	if bytes.Contains(b, []byte("person-")) {
		j.t.Error("an element is in a result that is not the members' file")
	}
	if err := json.Unmarshal(b, &o); err != nil {
		j.t.Fatal(err)
	}
	return o
}

func (j *job) nothing() {
	j.t.Helper()
	for side := range 2 {
		for _, what := range []string{"out", "members", "certificate"} {
			if _, err := os.Lstat(j.file(side, what)); err == nil {
				j.t.Errorf("%s: side %d has a file %s", j.run, side, what)
			}
		}
	}
}

func (j *job) members(side int) int {
	j.t.Helper()
	b, err := os.ReadFile(j.file(side, "members"))
	if err != nil {
		j.t.Fatal(err)
	}
	info, _ := os.Stat(j.file(side, "members"))
	if info.Mode().Perm() != 0o600 {
		j.t.Error("others may read members")
	}
	return bytes.Count(b, []byte("person-"))
}

// TestIntersection: cardinality, members and the evidence of jobs between two processes; a job runs once; audits afterwards.
func TestIntersection(t *testing.T) {
	d := newDuo(t)
	now := time.Now().UTC().Format(time.RFC3339)
	j := d.job(psi.Cardinality, [2]int{100, 200}, d.table([2]int{0, 80}), d.table([2]int{50, 180}))
	j.agree()
	j.both([2]int{0, 0})
	if o := j.out(0); o.Withheld || o.Cardinality == nil || *o.Cardinality != 30 {
		t.Errorf("the receiver: %+v", o)
	}
	// The sender counts first, since the plan has a threshold, and the plan says that it learns the number.
	if o := j.out(1); o.Withheld || o.Cardinality == nil || o.Sums != nil || !slices.Contains(o.Learns, psi.FactCardinality) {
		t.Errorf("the sender: %+v", o)
	}
	for side, id := range []string{"bank", "bureau"} {
		d.do(0, "verify", "--certificate", j.file(side, "certificate"), "--at", now)
		audit := []string{"psi", "audit", "--certificate", j.file(1-side, "certificate"), "--at", now, "--party", id, "--secret", j.file(side, "secret"), "--column", "id", "--table"}
		if said := d.do(0, append(audit, j.tables[side])...); !strings.Contains(said, "事后审计") {
			t.Error(said)
		}
		d.do(1, append(audit, j.tables[1-side])...)
	}
	d.do(1, "verify", "--certificate", j.file(0, "certificate"), "--at", "2020-01-01T00:00:00Z")
	text, err := os.ReadFile(j.file(0, "certificate"))
	if err != nil {
		t.Fatal(err)
	}
	d.do(1, "verify", "--certificate", d.write("other", strings.Replace(string(text), j.run, "run-x", 1)), "--at", now)

	// The same job again: files that exist, then a job that was joined.
	if said := j.alone(0, 1); !strings.Contains(said, "it exists") {
		t.Error(said)
	}
	for _, what := range []string{"out", "certificate", "secret"} {
		_ = os.Remove(j.file(0, what))
	}
	if said := j.alone(0, 1); !strings.Contains(said, "a job is joined once") {
		t.Error(said)
	}

	j = d.job(psi.Intersection, [2]int{100, 200}, d.table([2]int{200, 280}), d.table([2]int{250, 380}))
	j.agree()
	j.both([2]int{0, 0})
	if n := j.members(0); n != 30 {
		t.Errorf("%d members", n)
	}
	j.out(1)

	// Few in common: withheld on both sides, in one form where it was not judged.
	j = d.job(psi.IntersectionBoth, [2]int{100, 200}, d.table([2]int{400, 480}), d.table([2]int{471, 580}))
	j.agree()
	for side, said := range j.both([2]int{0, 0}) {
		if o := j.out(side); !o.Withheld || o.Cardinality != nil || !strings.Contains(said, "withheld") || (side == 0) != (o.Reasons == nil) {
			t.Errorf("side %d: %+v", side, o)
		}
		if _, err := os.Lstat(j.file(side, "members")); err == nil {
			t.Error("members of what was withheld")
		}
	}
}

// TestSums: sums by group between two processes go to the gate; a small group is withheld.
func TestSums(t *testing.T) {
	d := newDuo(t)
	j := d.job(psi.JoinSum, [2]int{100, 100}, d.table([2]int{0, 100}), d.table([2]int{40, 120}))
	j.plan.Values, j.plan.Groups, j.plan.Job.MaxValue = []string{"amount"}, []string{"farming", "retail"}, 100
	j.more[1] = []string{"--group", "sector", "--gate", d.at("gate.json")}
	j.agree()
	if said := j.alone(1, 2); !strings.Contains(said, "--dataset") {
		t.Error(said)
	}
	j.more[1] = append(j.more[1], "--dataset", "ds-loans")
	said := j.both([2]int{0, 0})
	o := j.out(1)
	text, err := os.ReadFile(d.at("gate.json"))
	if err != nil || bytes.Contains(text, []byte("person-")) {
		t.Fatal("the table for the gate", err)
	}
	x, err := table.Decode(text) // as opdomain egress check does
	if err != nil {
		t.Fatal(err)
	}
	l, err := egress.NewLedger(make([]byte, 16))
	if err != nil {
		t.Fatal(err)
	}
	r, _, err := table.Judge(x, table.Standard(), egress.NewBook(), l)
	if err != nil || len(r.Cells) != 1 || r.Cells[0].Labels[0] != "farming" || r.Cells[0].Status == "primary" {
		t.Errorf("%+v %v", r.Cells, err)
	}
	want, people := uint64(0), uint64(0)
	for i := 40; i < 100; i++ {
		if i%20 < 17 {
			want, people = want+uint64(i), people+1
		}
	}
	if o.Withheld || o.Cardinality != nil || len(o.Sums) != 2 || o.Sums[0].Count != people || o.Sums[0].Values[0] != want || !o.Sums[1].Withheld || o.Sums[1].Count != 0 || o.Sums[1].Values != nil {
		t.Errorf("sums: %+v", o)
	}
	if !strings.Contains(o.For, "出域检查") || !strings.Contains(said[1], "opdomain egress check --in "+d.at("gate.json")) || j.out(0).Sums != nil {
		t.Error("a sum is for the gate, and the sender's alone")
	}
}

// TestSpill: what is over the memory limit goes to sealed files in a folder, and the answer is the same.
func TestSpill(t *testing.T) {
	d := newDuo(t)
	j := d.job(psi.Intersection, [2]int{20, 20000}, d.table([2]int{0, 20}), d.table([2]int{8, 12000}))
	j.more[0] = []string{"--memory", "1", "--spill", d.at("spill")}
	if err := os.Mkdir(d.at("spill"), 0o700); err != nil {
		t.Fatal(err)
	}
	j.agree()
	j.both([2]int{0, 0})
	if n := j.members(0); n != 12 {
		t.Errorf("%d members", n)
	}
	made, err := os.ReadDir(d.at("spill"))
	if err != nil || len(made) != 1 {
		t.Errorf("nothing was spilled: %v", err)
	}
}

// TestRefused: near-repeats, quotas, other owners and other digests end before a link, with status 3; a near-repeated intersection is withheld.
func TestRefused(t *testing.T) {
	d := newDuo(t)
	j := d.job(psi.IntersectionBoth, [2]int{100, 200}, d.table([2]int{0, 80}), d.table([2]int{50, 180}))
	j.agree()
	if said := d.do(3, "psi", "approve", "--keys", d.at("owner-bureau"), "--passphrase-file", d.at("pass"), "--plan", d.at(j.run), "--party", "bank", "--digest", j.digest, "--days", "1", "--out", d.at("x")); !strings.Contains(said, "owner") {
		t.Error(said)
	}
	d.do(3, "psi", "approve", "--keys", d.at("owner-bank"), "--passphrase-file", d.at("pass"), "--plan", d.at(j.run), "--party", "bank", "--digest", strings.Repeat("0", 64), "--days", "1", "--out", d.at("x"))
	j.both([2]int{0, 0})
	if j.members(0) != 30 || j.members(1) != 30 {
		t.Error("both have the members")
	}

	// The other's approval, and that of another plan.
	k := d.job(psi.Cardinality, [2]int{100, 200}, d.table([2]int{300, 380}), d.table([2]int{350, 480}))
	k.agree()
	own := k.file(0, "approval")
	for _, wrong := range []string{k.file(1, "approval"), j.file(0, "approval")} {
		text, err := os.ReadFile(wrong)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(own, text, 0o600); err != nil {
			t.Fatal(err)
		}
		if said := k.alone(0, 3); !strings.Contains(said, "exactly this plan") {
			t.Error(said)
		}
	}
	k.nothing()

	// Nearly the same set; one job more than the quota.
	k = d.job(psi.Cardinality, [2]int{100, 200}, d.table([2]int{3, 83}), d.table([2]int{350, 480}))
	k.agree()
	if said := k.alone(0, 3); !strings.Contains(said, "psi.near-repeat") {
		t.Error(said)
	}
	k = d.job(psi.Cardinality, [2]int{100, 200}, d.table([2]int{600, 680}), d.table([2]int{350, 480}))
	k.agree()
	k.more[0] = []string{"--quota", "1"}
	if said := k.alone(0, 3); !strings.Contains(said, "psi.jobs-quota") || !strings.Contains(said, "hint:") {
		t.Error(said)
	}
	k.nothing()

	// Nobody comes: no job is counted, and the same set passes under another plan.
	alone := d.table([2]int{1200, 1280})
	d.terms.Seconds = 1
	k = d.job(psi.Cardinality, [2]int{100, 200}, alone, d.table([2]int{1250, 1380}))
	k.agree()
	if said := k.alone(0, 1); !strings.Contains(said, "all parties meet by the deadline") {
		t.Error(said)
	}
	d.terms.Seconds = 120
	k = d.job(psi.Cardinality, [2]int{100, 200}, alone, k.tables[1])
	k.agree()
	k.both([2]int{0, 0})
	k.out(0)

	// Other sets whose intersection is nearly the first's: found by who judges, withheld on both sides.
	k = d.job(psi.IntersectionBoth, [2]int{100, 200}, d.table([2]int{52, 80}, [2]int{700, 750}), d.table([2]int{50, 80}, [2]int{800, 900}))
	k.agree()
	k.both([2]int{0, 0})
	if a, b := k.out(0), k.out(1); !a.Withheld || !b.Withheld || a.Reasons != nil || len(b.Reasons) != 1 || b.Reasons[0].Code != "psi.near-repeat" {
		t.Errorf("%+v; %+v", a, b)
	}
}

// TestListed: a set on an agency's signed list runs; a stranger in it is not certified, and one who runs with other elements than were
// certified is named.
func TestListed(t *testing.T) {
	d := newDuo(t)
	agency := []string{"--keys", d.at("agency"), "--passphrase-file", d.at("pass")}
	all := d.table([2]int{0, 200})
	said := d.do(0, append([]string{"psi", "list", "--agency", "agency", "--name", "loan applicants", "--until", time.Now().Add(time.Hour).UTC().Format(time.RFC3339), "--table", all, "--column", "id",
		"--list-key", d.at("list-key"), "--out", d.at("list")}, agency...)...)
	var authority psi.Authority
	var point []byte
	first, second, _ := strings.Cut(strings.TrimPrefix(strings.TrimSpace(said), "authority (元素授权): "), "\nagency: ")
	if json.Unmarshal([]byte(first), &authority) != nil || json.Unmarshal([]byte(second), &point) != nil {
		t.Fatal(said)
	}
	for _, c := range []struct {
		name      string
		certified string
		runs      string
		certify   int
		status    [2]int
	}{
		{"on the list", d.table([2]int{0, 80}), "", 0, [2]int{0, 0}},
		{"a stranger", d.table([2]int{150, 210}), "", 3, [2]int{}},
		{"another set than was certified", d.table([2]int{100, 180}), d.table([2]int{100, 179}, [2]int{300, 301}), 0, [2]int{1, 1}},
	} {
		j := d.job(psi.Cardinality, [2]int{100, 200}, c.certified, d.table([2]int{50 + 200*d.jobs, 180 + 200*d.jobs}, [2]int{50, 70}))
		j.plan.Job.Authority[0], j.plan.Agencies[0] = authority, point
		j.agree()
		d.do(0, "psi", "secret", "--out", j.file(0, "secret"))
		certify := append([]string{"psi", "certify", "--plan", d.at(j.run), "--party", "bank", "--list", d.at("list"), "--list-table", all, "--list-column", "id", "--list-key", d.at("list-key"),
			"--secret", j.file(0, "secret"), "--table", c.certified, "--column", "id", "--out", j.file(0, "points")}, agency...)
		if said := d.do(c.certify, certify...); c.certify != 0 {
			if !strings.Contains(said, "row 50") {
				t.Errorf("%s: %s", c.name, said)
			}
			continue
		}
		if c.runs != "" {
			j.tables[0] = c.runs
		}
		j.more[0] = []string{"--set-certificate", j.file(0, "points")}
		said := j.both(c.status)
		if c.runs == "" {
			j.out(0)
			continue
		}
		if !strings.Contains(said[1], j.run+": bank: tampered: a listed set is the one that the agency certified") {
			t.Errorf("%s: %s", c.name, said[1])
		}
		j.nothing()
	}
}

// TestKilled: a side that is killed in the middle of a job ends it on the other, without a file.
func TestKilled(t *testing.T) {
	d := newDuo(t)
	j := d.job(psi.IntersectionBoth, [2]int{20000, 20000}, d.table([2]int{0, 15000}), d.table([2]int{5000, 20000}))
	j.agree()
	l, address := listener(t)
	between, through := listener(t)
	middle := make(chan struct{})
	go func() { // between the parties: says when points are on their way
		in, err := between.Accept()
		if err != nil {
			return
		}
		defer in.Close()
		out, err := net.Dial("tcp", address)
		if err != nil {
			return
		}
		defer out.Close()
		go func() { _, _ = io.Copy(in, out) }()
		if _, err := io.CopyN(out, in, 100<<10); err == nil {
			close(middle)
			_, _ = io.Copy(out, in)
		}
	}()
	p := [2]*process{j.start(l, j.args(0, "")...), j.start(nil, j.args(1, through)...)}
	select {
	case <-middle:
	case <-time.After(time.Minute):
		t.Fatal("no points on the link")
	}
	if err := p[1].cmd.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = p[1].cmd.Wait()
	if p[1].cmd.ProcessState.Exited() {
		t.Fatal("the sender ended before it was killed")
	}
	if said := d.wait(p[0], 1); !strings.Contains(said, "abort") {
		t.Error(said)
	}
	j.nothing()
}

// TestLookups: answers over the link up to the quota, which a holder that starts again remembers.
func TestLookups(t *testing.T) {
	d := newDuo(t)
	l := &session.Lookup{Terms: d.terms, Run: "run-lookup", Suite: lookup.P256, Size: 100, Quota: 16, Days: 30}
	l.Kind = session.KindLookup
	d.write("plan", string(l.Encode()))
	said := d.do(0, "lookup", "plan", "--draft", d.at("plan"))
	_, digest, _ := strings.Cut(strings.TrimSpace(said), "digest (约定摘要): ")
	for _, id := range []string{"bank", "bureau"} {
		d.do(0, "lookup", "approve", "--keys", d.at("owner-"+id), "--passphrase-file", d.at("pass"), "--plan", d.at("plan"), "--party", id, "--digest", digest, "--days", "1", "--out", d.at("approval-"+id))
	}
	table := d.table([2]int{0, 60})
	ask := func(want, from, n int) (o agent.LookupOutput) {
		t.Helper()
		l, address := listener(t)
		p := d.start(l, "lookup", "serve", "--keys", d.at("bank"), "--passphrase-file", d.at("pass"), "--plan", d.at("plan"), "--party", "bank", "--approval", d.at("approval-bank"), "--listen", "fd:3",
			"--table", table, "--column", "id", "--ledger", d.at("lookups"), "--ledger-key", d.at("ledger-key-bank"))
		defer func() { _ = p.cmd.Process.Kill(); _ = p.cmd.Wait() }()
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, "person-%05d\n", from+i)
		}
		d.jobs++
		out := d.at(fmt.Sprint("answers-", d.jobs))
		d.do(want, "lookup", "ask", "--keys", d.at("bureau"), "--passphrase-file", d.at("pass"), "--plan", d.at("plan"), "--party", "bureau", "--approval", d.at("approval-bureau"), "--address", address,
			"--elements", d.write("ask", b.String()), "--out", out)
		text, err := os.ReadFile(out)
		if err != nil || json.Unmarshal(text, &o) != nil {
			t.Fatal(err)
		}
		return o
	}
	o := ask(3, 50, 20)
	if len(o.Found) != 16 || o.Refused != session.CodeQuota || o.Asked != 20 {
		t.Errorf("%d of %d: %s", len(o.Found), o.Asked, o.Refused)
	}
	for i, in := range o.Found {
		if in != (i < 10) {
			t.Errorf("element %d: %v", i, in)
		}
	}
	if o := ask(3, 0, 1); len(o.Found) != 0 || o.Refused != session.CodeQuota {
		t.Error("a holder that starts again forgets the quota")
	}
}

// TestPSIUsage: what is wrong is told by its flag or place, with status 2 where it is the call.
func TestPSIUsage(t *testing.T) {
	d := newDuo(t)
	for _, c := range []struct {
		want int
		args []string
		says string
	}{
		{0, []string{"psi", "--help"}, "隐私求交"},
		{0, []string{"psi", "run", "--help"}, "--set-certificate"},
		{2, []string{"psi"}, "verb"},
		{2, []string{"lookup", "run"}, "verb"},
		{2, []string{"psi", "plan"}, "--draft"},
		{2, []string{"psi", "plan", "--draft", "x", "y"}, "nothing stands behind"},
		{2, []string{"psi", "plan", "--draft", "x", "--quota", "1"}, "--quota"},
		{2, []string{"lookup", "ask", "--from", "x"}, "--from"},
		{1, []string{"psi", "plan", "--draft", d.at("absent")}, "cannot be read"},
		{1, []string{"psi", "plan", "--draft", d.write("junk", "{}")}, "kind"},
		{1, []string{"psi", "plan", "--draft", d.write("field", `{"kind":"psi","extra":1}`)}, "fields of its kind"},
	} {
		if said := d.do(c.want, c.args...); !strings.Contains(said, c.says) {
			t.Errorf("%v: %s", c.args, said)
		}
	}
	j := d.job(psi.Cardinality, [2]int{100, 200}, "", "")
	for says, change := range map[string]func(p *session.Plan){
		"threshold": func(p *session.Plan) { p.Job.Threshold = 2 },
		"buckets":   func(p *session.Plan) { p.Job.Sizes[0] = 30 },
		"own":       func(p *session.Plan) { p.Parties[1].Key = p.Parties[0].OwnerKey },
		"two":       func(p *session.Plan) { p.Parties[1].Organisation = p.Parties[0].Organisation },
		"printable": func(p *session.Plan) { p.Element = "a\x1b[2J" },
		"agencies": func(p *session.Plan) {
			p.Job.Authority[0] = psi.Authority{Kind: psi.Listed, Key: "k", List: &[sm.Size]byte{}}
		},
	} {
		p := *j.plan
		change(&p)
		if said := d.do(1, "psi", "plan", "--draft", d.write("bad", string(p.Encode()))); !strings.Contains(said, says) {
			t.Errorf("%s: %s", says, said)
		}
	}
}
