package agent

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/mpc"
	"github.com/opdomain/opdomain/mpc/agg"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/query"
)

// TestInquiryLedger: what an inquiry's owner brings, those of its rows that pass the question's filters, is refused where its people, or what these have
// in a column, are nearly those of an earlier job, whichever the question and its other columns; rows that do not pass count for nothing.
func TestInquiryLedger(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return filepath.Join(dir, name)
	}
	subject, key := write("subject", hex.EncodeToString(secret)), write("key", strings.Repeat("ab", 32))
	row := func(p int, amount, kind string) string { return fmt.Sprintf("p-%d,%s,%s,x\n", p, amount, kind) }
	table := func(change map[int]string) string {
		var b strings.Builder
		b.WriteString(claimsHead)
		for p := range 100 {
			kind := "paid"
			if p >= 60 {
				kind = "refused"
			}
			if text, ok := change[p]; ok {
				b.WriteString(text)
				continue
			}
			b.WriteString(row(p, "5.00", kind) + row(p, "6.00", "paid"))
		}
		return b.String()
	}
	p := mpc.Plan{Version: 1, Job: "j", Parties: []mpc.Party{{ID: "unit-a"}, {ID: "unit-b"}, {ID: "unit-c"}}}
	now := time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)
	a := &Agent{Out: io.Discard, Err: io.Discard, Rand: rand.Reader, Now: func() time.Time { return now }}
	admit := func(ledger string, q agg.Inquiry, text string) error {
		t.Helper()
		now = now.Add(time.Hour)
		j, err := lineJob(q)
		if err != nil {
			t.Fatal(err)
		}
		f := &flags{party: "unit-a", sources: list{"ds-claims=" + write("t", text)}, subjectKey: subject, ledger: filepath.Join(dir, ledger), ledgerKey: key}
		if err := a.sources(t.Context(), f, j, 0, p); err != nil {
			t.Fatal(err)
		}
		return j.admit(f, p, 0, now)
	}
	without := asked() // every row
	without.Spec.Filters = nil
	counted := asked() // without amounts
	counted.Spec.Measures = counted.Spec.Measures[:1]
	sum := asked()
	sum.Spec.Measures, sum.Spec.Filters = sum.Spec.Measures[:2], []query.Filter{{Column: "c.kind", In: []string{"paid"}}}
	for name, x := range map[string]struct {
		q    agg.Inquiry
		rows map[int]string
		near bool
	}{
		"the same":                      {asked(), nil, false},
		"another question over them":    {counted, nil, false},
		"another spelling":              {asked(), map[int]string{3: " p-3\u3000,5.00,paid,x\np-3 ,6.00,paid,x\n"}, false},
		"a filter with the same effect": {sum, nil, false},
		"who did not pass, less":        {asked(), map[int]string{70: row(70, "6.00", "paid")}, false},
		"one more row":                  {asked(), map[int]string{3: row(3, "5.00", "paid") + row(3, "6.00", "paid") + row(3, "7.00", "paid")}, true},
		"one row no longer passes":      {asked(), map[int]string{3: row(3, "5.00", "refused") + row(3, "6.00", "paid")}, true},
		"nor the person":                {asked(), map[int]string{3: row(3, "5.00", "refused") + row(3, "6.00", "refused")}, true},
		"asked for counts alone":        {counted, map[int]string{3: row(3, "6.00", "paid")}, true},
		"one amount":                    {asked(), map[int]string{3: row(3, "5.00", "paid") + row(3, "6.01", "paid")}, true},
		"one amount, of fewer columns":  {sum, map[int]string{3: row(3, "5.00", "paid") + row(3, "6.01", "paid")}, true},
	} {
		ledger := "ledger " + name
		if err := admit(ledger, asked(), table(nil)); err != nil {
			t.Fatal(err)
		}
		if err := admit(ledger, x.q, table(x.rows)); x.near != errors.Is(err, sandbox.Denied) || x.near != (err != nil) || err != nil && (!strings.Contains(err.Error(), "psi.near-repeat") || strings.Contains(err.Error(), "p-3")) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// Forty people have a row more where nothing is filtered: enough.
	if err := admit("l", asked(), table(nil)); err != nil {
		t.Fatal(err)
	}
	if err := admit("l", without, table(nil)); err != nil {
		t.Errorf("enough: %v", err)
	}
	j, err := lineJob(asked())
	if err != nil {
		t.Fatal(err)
	}
	if err := j.admit(&flags{party: "unit-a"}, p, 0, now); !errors.Is(err, errUsage) {
		t.Errorf("without a ledger: %v", err)
	}
	for party, want := range map[string]bool{"unit-a": false, "unit-b": false, "unit-c": false} {
		if err := j.keeps(&flags{party: party}, p); (err == nil) != want {
			t.Errorf("%s runs without a ledger: %v", party, err)
		}
	}
	for _, x := range []struct {
		held []agg.Held
		want sandbox.PartyID
	}{{asked().Setting.Held, "unit-c"}, {asked().Setting.Held[:1], "unit-c"}} {
		q := &job{inquiry: &agg.Inquiry{Setting: agg.Setting{Held: x.held}}}
		p.Outputs = []mpc.Output{{Name: "shown", Rows: 1, Recipient: "unit-c"}}
		if got := q.counterpart(p, 0); got != x.want {
			t.Errorf("counted with %s, want %s", got, x.want)
		}
	}
}
