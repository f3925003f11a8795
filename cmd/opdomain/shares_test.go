package main

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/rogpeppe/go-internal/testscript"

	shares "github.com/opdomain/opdomain/mpc/share"
)

// lent SUBSIDIES LOANS ROWS writes a unit's table of subsidies and a bank's table of loans of 120 people, in the form of a join and as described: half
// of them are in the first, four in five in the second. The same every time.
func lent(ts *testscript.TestScript, _ bool, args []string) {
	var here, there, rows strings.Builder
	rows.WriteString("who,trade,repaid\n")
	here.WriteString("who,kind,support\n")
	there.WriteString("group,subject,repaid\n")
	for p := range 120 {
		if p%2 == 0 {
			fmt.Fprintf(&here, "person %d,S,%d.%02d\n", p, 500+p, p%100)
		}
		if p%5 == 4 {
			continue
		}
		for k := range 1 + p%2 {
			amount := 100000 + 311*p + k
			fmt.Fprintf(&there, "%s,person %d,%d\n", []string{"farming", "retail"}[p%3%2], p, amount)
			fmt.Fprintf(&rows, "person %d,%s,%d.%02d\n", p, []string{"F1", "R1"}[p%3%2], amount/100, amount%100)
		}
	}
	ts.Check(os.WriteFile(ts.MkAbs(args[0]), []byte(here.String()), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[1]), []byte(there.String()), 0o600))
	ts.Check(os.WriteFile(ts.MkAbs(args[2]), []byte(rows.String()), 0o600))
}

// TestSharesFile: what is wrong with a configuration is told by file, field and rule, and a faulty one is never read as another.
func TestSharesFile(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		_ = os.Remove(path)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	f, err := (&app{rand: rand.Reader}).sampleShares()
	if err != nil {
		t.Fatal(err)
	}
	b, err := json.Marshal(f)
	if err != nil {
		t.Fatal(err)
	}
	good := string(b)
	key := func() { write("ds-loans.subject-key", strings.Repeat("5c", 32)+"\n", 0o600) }
	key()
	read, s, err := readShares(write("good", good, 0o644))
	if err != nil || s.Adversary != shares.MaliciousAbort || s.Seconds != 600 || s.Valid != 7*24*time.Hour || len(s.Outside) != 1 || len(s.Zones[1].OwnerKey) == 0 {
		t.Fatalf("the sample: %v", err)
	}
	if k, err := s.SubjectKey("ds-loans"); err != nil || len(k) != 32 {
		t.Errorf("the owners' key: %v", err)
	}
	var said bytes.Buffer
	read.print(&said)
	for _, want := range []string{"malicious with abort", "ds-loans stays with bank-zone", "Any two of agency (agency), bank (bank), custodian (custodian) together can read every input"} {
		if !strings.Contains(said.String(), want) {
			t.Errorf("%q is not printed", want)
		}
	}
	zone := f.Zones[0]
	for name, x := range map[string]struct{ from, to, field string }{
		"unknown field":      {`"version":1,"adv`, `"version":1,"fast":true,"adv`, "near byte"},
		"twice":              {`"seconds":600`, `"seconds":600,"Seconds":1`, "seconds: invalid: a field stands once"},
		"behind it":          {`"outside":[`, `"outside":[],"x":[`, "near byte"},
		"other version":      {`"version":1,"adv`, `"version":2,"adv`, " version: "},
		"weaker":             {string(shares.MaliciousAbort), "none", " adversary: "},
		"generator":          {`aes-128-ctr`, `xor`, " generator: "},
		"deadline":           {`"seconds":600`, `"seconds":0`, " seconds: "},
		"validity":           {`"valid_seconds":604800`, `"valid_seconds":-1`, " valid_seconds: "},
		"listens anywhere":   {`"listen":"192.0.2.1:9471"`, `"listen":":9471"`, "domain listen: "},
		"no port":            {`192.0.2.3:9471`, `192.0.2.3`, "zones 2 address: "},
		"key":                {zone.Key, zone.Key[2:], "zone bank-zone key: "},
		"owner's key":        {zone.OwnerKey, strings.Repeat("00", 65), "zone bank-zone owner_key: "},
		"one key twice":      {zone.OwnerKey, zone.Key, "every party and owner has a key of its own"},
		"one house":          {`"organisation":"custodian"`, `"organisation":"bank"`, "party custodian-zone"},
		"one owner":          {`"owner":"bank-owner"`, `"owner":"agency"`, "zone bank-zone owner: "},
		"names":              {`"party":"domain-zone"`, `"party":"Domain zone"`, "party: invalid: an identifier"},
		"rows":               {`"rows":1024`, `"rows":1000`, "outside ds-loans rows: "},
		"whose":              {`"zone":"bank-zone"`, `"zone":"domain-zone"`, "outside ds-loans zone: "},
		"no version":         {`"version":1,"rows"`, `"version":0,"rows"`, "outside ds-loans version: "},
		"no key":             {`"subject_key":"ds-loans.subject-key"`, `"subject_key":""`, "outside ds-loans subject_key: "},
		"absent key":         {`"subject_key":"ds-loans.subject-key"`, `"subject_key":"absent"`, "outside ds-loans subject_key "},
		"a dataset twice":    {`"outside":[`, `"outside":[` + string(mustJSON(t, f.Outside[0])) + `,`, "outside ds-loans: invalid: a dataset stands once"},
		"nothing is outside": {string(mustJSON(t, f.Outside)), `[]`, "outside: "},
	} {
		text := strings.Replace(good, x.from, x.to, 1)
		if text == good {
			t.Fatalf("%s changes nothing", name)
		}
		path := write("file", text, 0o600)
		if _, _, err := readShares(path); err == nil || !strings.Contains(err.Error(), "shares "+path) || !strings.Contains(err.Error(), x.field) {
			t.Errorf("%s: %v, want %q", name, err, x.field)
		}
	}
	if _, _, err := readShares(write("file", good, 0o666)); err == nil || !strings.Contains(err.Error(), "denied: others may write to it") {
		t.Errorf("a file that others may write: %v", err)
	}
	for text, mode := range map[string]os.FileMode{strings.Repeat("5c", 32): 0o640, "short": 0o600} {
		write("ds-loans.subject-key", text, mode)
		if _, _, err := readShares(write("file", good, 0o600)); err == nil || !strings.Contains(err.Error(), "outside ds-loans subject_key") || strings.Contains(err.Error(), text) {
			t.Errorf("a key of mode %o: %v", mode, err)
		}
		if _, err := s.SubjectKey("ds-loans"); err == nil { // read again for each run
			t.Errorf("a key of mode %o is taken", mode)
		}
	}
	key()
	if tcp, end, err := s.Reach(); err == nil { // 192.0.2.1 is no address of any machine
		_, _ = tcp, end()
		t.Error("it listens where the machine is not")
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}
