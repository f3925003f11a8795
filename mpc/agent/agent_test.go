package agent

import (
	"bytes"
	"crypto/rand"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/sandbox"
)

var groups = []string{"farming", "retail"}

var secret = bytes.Repeat([]byte{9}, 32)

// TestTable: rows come out as they are written, one pseudonym a person under a key; a fault names line and rule and never a field.
func TestTable(t *testing.T) {
	got, err := rows(strings.NewReader("group,subject,amount\nretail,anna,5\nfarming,anna,7\nretail,\"b,ert\",0\n"), "t", groups, secret)
	if err != nil || len(got) != 3 || got[0].Group != 1 || got[1].Amount != 7 || got[0].Subject != got[1].Subject || got[0].Subject == got[2].Subject || got[0].Subject>>agg.SubjectBits != 0 {
		t.Fatalf("%v", err)
	}
	other, err := rows(strings.NewReader("group,subject,amount\nretail,anna,5\n"), "t", groups, bytes.Repeat([]byte{8}, 32))
	if err != nil || other[0].Subject == got[0].Subject {
		t.Error("pseudonyms under another key are the same")
	}
	for text, rule := range map[string]string{
		"":                                      "line 1",
		"subject,group,amount\n":                "line 1",
		"group,subject,amount\nmining,zeta,5\n": "line 2: invalid: the group",
		"group,subject,amount\nretail,zeta,5\nretail,,5\n":      "line 3: invalid: every row",
		"group,subject,amount\nretail,zeta,-5\n":                "line 2: invalid: the amount",
		"group,subject,amount\nretail,zeta,1.5\n":               "line 2: invalid: the amount",
		"group,subject,amount\nretail,zeta,1099511627776\n":     "line 2: invalid: the amount",
		"group,subject,amount\nretail,zeta\n":                   "line 2: invalid: three fields",
		"group,subject,amount\nretail,\"zeta,5\n":               "invalid: three fields",
		"group,subject,amount\nretail,zeta,5,6\n":               "line 2: invalid: three fields",
		"group,subject,amount\nretail,zeta,9223372036854775808": "line 2: invalid: the amount",
	} {
		_, err := rows(strings.NewReader(text), "t", groups, secret)
		if !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), rule) || strings.Contains(err.Error(), "zeta") || strings.Contains(err.Error(), "mining") {
			t.Errorf("%q: %v, want %s", text, err, rule)
		}
	}
}

func FuzzTable(f *testing.F) {
	f.Add("group,subject,amount\nretail,anna,5\n")
	f.Add("group,subject,amount\nretail,\"an\"\"na\",5\r\n\r\n")
	f.Add("group,subject,amount\n\"")
	f.Fuzz(func(t *testing.T, text string) {
		got, err := rows(strings.NewReader(text), "t", groups, secret)
		if err != nil && got != nil {
			t.Fatal("rows with an error")
		}
		for _, r := range got {
			if r.Group < 0 || r.Group >= len(groups) || r.Amount < 0 || r.Amount > agg.MaxAmount || r.Subject>>agg.SubjectBits != 0 {
				t.Fatal("a row outside its range")
			}
		}
	})
}

// TestVerbs: keys are made once and under a passphrase that is its owner's alone; a draft becomes a plan whose digest is printed.
func TestVerbs(t *testing.T) {
	dir := t.TempDir()
	at := func(name string) string { return filepath.Join(dir, name) }
	do := func(want int, args ...string) string {
		t.Helper()
		var out, errs bytes.Buffer
		a := &Agent{Out: &out, Err: &errs, Rand: rand.Reader, Now: time.Now}
		if code := a.Main(t.Context(), args); code != want {
			t.Errorf("%v: status %d, want %d: %s", args[0], code, want, errs.String())
		}
		return out.String() + errs.String()
	}
	write := func(name, text string, mode os.FileMode) {
		t.Helper()
		if err := os.WriteFile(at(name), []byte(text), mode); err != nil {
			t.Fatal(err)
		}
	}
	write("open", "a long passphrase", 0o644)
	write("short", "short", 0o600)
	write("pass", "a long passphrase\n", 0o600)
	do(3, "key", "--keys", at("k"), "--passphrase-file", at("open"))
	do(1, "key", "--keys", at("k"), "--passphrase-file", at("short"))
	points := map[string]bool{}
	for _, k := range []string{"a", "b", "c", "oa", "ob", "oc"} {
		p := strings.TrimSpace(do(0, "key", "--keys", at(k), "--passphrase-file", at("pass")))
		if len(p) != 130 {
			t.Fatalf("a point of %d digits", len(p))
		}
		if points[p] {
			t.Error("two folders have one key")
		}
		points[p] = true
	}
	do(1, "key", "--keys", at("a"), "--passphrase-file", at("pass"))
	write("question", `{"groups":["farming","retail"],"owners":[0,1],"rows":[1024,1024],"rules":{"min_subjects":3,"max_share":80,"p":10}}`, 0o600)
	write("draft", "{}", 0o600)
	do(1, "plan", "--draft", at("draft"), "--question", at("question"), "--out", dir)
	do(2, "plan", "--draft", at("draft"))
	do(2, "dance")
	do(2)
	do(0, "--help")
	do(2, "verify", "--certificate", at("draft"), "--at", "yesterday")
	do(1, "verify", "--certificate", at("draft"), "--at", "2026-01-01T00:00:00Z")
}
