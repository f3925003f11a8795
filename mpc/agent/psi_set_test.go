package agent

import (
	"crypto/rand"
	"errors"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/mpc/psi"
	"github.com/opdomain/opdomain/mpc/psi/session"
	"github.com/opdomain/opdomain/sandbox"
)

// summed is a plan with two groups and a value: what reading a set needs of it.
func summed() *session.Plan {
	p := &session.Plan{Values: []string{"amount"}, Groups: []string{"paid", "refused"}}
	p.Job = psi.Plan{Output: psi.JoinSum, Measures: 4, MaxValue: 5000}
	return p
}

// TestReadSet: a set with values by group is the same out of a CSV file and out of a vault; faults name place and rule and never a field.
func TestReadSet(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	a := &Agent{Out: io.Discard, Err: io.Discard, Rand: rand.Reader, Now: time.Now}
	if _, err := keys.Create(filepath.Join(dir, "keys"), []byte("a long passphrase"), keys.Params{Time: 1, Memory: 8, Threads: 1}, rand.Reader); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"vault": "zeta,10.00,paid,x\nanna,2.50,refused,\n", "null": "zeta,,paid,x\n", "large": "zeta,50.01,paid,x\n", "group": "zeta,1.00,mining,x\n"} {
		seal(t, filepath.Join(dir, name), filepath.Join(dir, "keys"), []byte("a long passphrase"), asked().Datasets[0], claimsHead+text)
	}
	flags := func(table, source string) *pairFlags {
		return &pairFlags{table: table, source: source, column: "person", group: "kind", keys: filepath.Join(dir, "keys"), passphrase: write("pass", "a long passphrase\n")}
	}
	sealed := func(name string) string { return "ds-claims=vault:" + filepath.Join(dir, name) }
	file, err := a.readSet(t.Context(), flags(write("csv", "kind,note,amount,person\npaid,\"x,y\",1000,zeta\nrefused,,250,anna\n"), ""), summed(), psi.Sender)
	if err != nil {
		t.Fatal(err)
	}
	folder, err := a.readSet(t.Context(), flags("", sealed("vault")), summed(), psi.Sender)
	if err != nil {
		t.Fatal(err)
	}
	for i, e := range []*elements{file, folder} {
		one, _ := e.set.Element(slices.Index([]string{"zeta", "anna"}, "zeta"))
		if e.set.Rows() != 2 || string(one) != "zeta" || !slices.EqualFunc(e.values, [][]uint64{{1, 0}, {1000, 0}, {0, 1}, {0, 250}}, slices.Equal) {
			t.Errorf("source %d: %v", i, e.values)
		}
	}
	head := "person,kind,amount\n"
	for name, c := range map[string]struct {
		f    *pairFlags
		says string
	}{
		"no header":      {flags(write("a", ""), ""), "a line 1"},
		"no column":      {flags(write("b", "person,kind\nzeta,paid\n"), ""), "b line 1"},
		"a column twice": {flags(write("c", "person,person,kind,amount\n"), ""), "c line 1"},
		"fraction":       {flags(write("d", head+"anna,paid,1\nzeta,paid,1.5\n"), ""), "d line 3"},
		"negative":       {flags(write("e", head+"zeta,paid,-1\n"), ""), "e line 2"},
		"over":           {flags(write("f", head+"zeta,paid,5001\n"), ""), "no value is over"},
		"group":          {flags(write("g", head+"zeta,mining,5\n"), ""), "group is one"},
		"empty":          {flags(write("h", head+",paid,5\n"), ""), "has an element"},
		"fields":         {flags(write("i", head+"zeta,paid\n"), ""), "as many fields"},
		"sealed null":    {flags("", sealed("null")), "row 1"},
		"sealed over":    {flags("", sealed("large")), "no value is over"},
		"sealed group":   {flags("", sealed("group")), "group is one"},
		"no folder":      {flags("", sealed("absent")), "the folder of a vault"},
		"no source":      {flags("", "ds-claims"), "DATASET=vault:DIR"},
		"neither":        {flags("", ""), "--table"},
		"both":           {flags("x", "y"), "--table"},
	} {
		_, err := a.readSet(t.Context(), c.f, summed(), psi.Sender)
		if err == nil || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), "zeta") || strings.Contains(err.Error(), "mining") {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := a.readSet(t.Context(), flags(filepath.Join(dir, "csv"), ""), summed(), psi.Receiver); !errors.Is(err, errUsage) {
		t.Errorf("groups of a receiver: %v", err)
	}
	if err := writeMembers(write("there", "x"), "person", file.set, []uint32{1}); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("written over: %v", err)
	}
}
