package agent

import (
	"crypto/rand"
	"encoding/hex"
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/join"
	"github.com/opdomain/opdomain/sandbox"
)

func TestNamed(t *testing.T) {
	for text, want := range map[string]sandbox.InputVersion{"ds-loans@3=a=b": {Dataset: "ds-loans", Version: 3}, "ds-loans=f": {Dataset: "ds-loans"}} {
		if is, path, ok := named(text); !ok || is != want || path != strings.SplitN(text, "=", 2)[1] {
			t.Errorf("%s: %v %q %t", text, is, path, ok)
		}
	}
	for _, text := range []string{"", "f", "ds-loans", "ds-loans@3", "ds-loans@3=", "@3=f", "=f", "ds-loans@=f", "ds-loans@0=f", "ds-loans@-1=f", "ds-loans@03=f", "ds-loans@1@2=f", "DS@1=f",
		"ds-loans@99999999999999999999=f"} {
		if is, path, ok := named(text); ok {
			t.Errorf("%q passes as %v %q", text, is, path)
		}
	}
}

// TestOtherVersion: a table that is another than the question's is refused by name, before it is opened and before the party is in the job.
func TestOtherVersion(t *testing.T) {
	o := newTrio(t)
	q := loans
	q.Left.Dataset, q.Left.Version, q.Right.Dataset, q.Right.Version, q.Scenario, q.Purpose, q.Asker = "ds-loans", 3, "ds-subsidies", 7, "sc-m", "planning", "operator"
	o.write("inquiry", string(q.Encode()))
	o.plan.Operators = join.Operators()
	for name, rows := range q.Outputs() {
		o.plan.Outputs = append(o.plan.Outputs, mpc.Output{Name: name, Rows: rows})
	}
	o.plan.Inputs = []mpc.Input{{Name: "left", Party: "p0", Rows: 1024}, {Name: "right", Party: "p1", Rows: 1024}}
	o.planned()
	key := o.write("ledger-key", strings.Repeat("ab", 32))
	table := o.write("table", "group,subject,repaid\nretail,anna,5\n")
	run := func(want int, table string) string {
		t.Helper()
		approval := o.at("approval")
		_ = os.Remove(approval)
		o.do(0, "approve", "--keys", o.at("owneragency"), "--passphrase-file", o.pass, "--plan", o.at("plan.json"), "--question", o.at("question.json"), "--party", "p0", "--days", "1", "--out", approval)
		return o.do(want, "run", "--keys", o.at("partyagency"), "--passphrase-file", o.pass, "--plan", o.at("plan.json"), "--question", o.at("question.json"), "--party", "p0", "--approval", approval,
			"--listen", "not an address", "--address", "a", "--address", "b", "--address", "c", "--joined", o.at("joined"), "--out", o.at("out"), "--certificate", o.at("certificate"),
			"--subject-key", o.at("subject"), "--ledger", o.at("ledger"), "--ledger-key", key, "--table", table)
	}
	absent := filepath.Join(t.TempDir(), "absent")
	for text, says := range map[string]string{"ds-loans@2=" + absent: "the own table is dataset ds-loans, version 2, and the question is over dataset ds-loans, version 3",
		"ds-leases@3=" + absent: "dataset ds-leases, version 3", "ds-subsidies@7=" + absent: "dataset ds-subsidies, version 7"} {
		if said := run(3, text); !strings.Contains(said, says) || !strings.Contains(said, "denied") {
			t.Errorf("%s: %s", text, said)
		}
	}
	for _, text := range []string{table, "ds-loans=" + table, "ds-loans@0=" + table} {
		if said := run(2, text); !strings.Contains(said, "--table DATASET@VERSION=FILE") {
			t.Errorf("%s: %s", text, said)
		}
	}
	// The question's own goes on to where the address is wrong.
	if said := run(1, "ds-loans@3="+table); !strings.Contains(said, "not an address") {
		t.Error(said)
	}
	// Of a question that names none, a path is a path.
	if path, err := (&job{join: &loans}).tableFile("ds-loans@2=f", 0, o.plan); err != nil || path != "ds-loans@2=f" {
		t.Errorf("%q %v", path, err)
	}
}

// TestOtherSource: likewise of an inquiry's sources; a vault is read at the version that the question names.
func TestOtherSource(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	first, second, _ := tables()
	q := asked()
	q.Spec.Inputs[0].Version = 2
	j, err := lineJob(q)
	if err != nil {
		t.Fatal(err)
	}
	pass := write("pass", "a long passphrase")
	if _, err := keys.Create(filepath.Join(dir, "keys"), []byte("a long passphrase"), keys.Params{Time: 1, Memory: 8, Threads: 1}, rand.Reader); err != nil {
		t.Fatal(err)
	}
	sealed := filepath.Join(dir, "vault")
	seal(t, sealed, filepath.Join(dir, "keys"), []byte("a long passphrase"), q.Datasets[0], claimsHead+first)
	a := &Agent{Out: io.Discard, Err: io.Discard, Rand: rand.Reader, Now: time.Now}
	read := func(j *job, source string) (int, error) {
		err := a.sources(t.Context(), &flags{sources: []string{source}, subjectKey: write("subject", hex.EncodeToString(secret)), keys: filepath.Join(dir, "keys"), passphrase: pass}, j, 0, mpc.Plan{Version: 1, Job: "a"})
		if err != nil {
			return 0, err
		}
		return j.own[0].Len(), nil
	}
	good := write("claims", claimsHead+first)
	for source, want := range map[string]struct {
		kind error
		says string
	}{
		"ds-claims@2=" + good:                     {nil, ""},
		"ds-claims@1=" + filepath.Join(dir, "no"): {sandbox.Denied, "the own table is dataset ds-claims, version 1, and the question is over dataset ds-claims, version 2"},
		"ds-claims=" + good:                       {errUsage, "names version 2 of ds-claims"},
		"ds-claims@1=vault:" + sealed:             {sandbox.Denied, "version 1"},
		"ds-claims=vault:" + sealed:               {sandbox.NotFound, ""}, // it has the first alone
	} {
		if _, err := read(j, source); !errors.Is(err, want.kind) || err != nil && !strings.Contains(err.Error(), want.says) {
			t.Errorf("%s: %v", source, err)
		}
	}
	seal(t, sealed, filepath.Join(dir, "keys"), []byte("a long passphrase"), q.Datasets[0], claimsHead+first+second)
	seal(t, sealed, filepath.Join(dir, "keys"), []byte("a long passphrase"), q.Datasets[0], claimsHead+second)
	for _, source := range []string{"ds-claims=vault:" + sealed, "ds-claims@2=vault:" + sealed} {
		if n, err := read(j, source); err != nil || n != strings.Count(first+second, "\n") {
			t.Errorf("%s: %d rows of the second version: %v", source, n, err)
		}
	}
	b, _ := json.Marshal(asked())
	any, err := parseJob(b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := read(any, "ds-claims@2="+good); !errors.Is(err, errUsage) || !strings.Contains(err.Error(), "names no version") {
		t.Errorf("a version that nobody compares: %v", err)
	}
}
