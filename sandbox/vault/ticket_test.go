package vault

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/sandbox"
)

func readAll(t *testing.T, r *Scanner, err error) (out []string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	for {
		rec, err := r.Next(t.Context())
		if err == io.EOF {
			return out
		}
		if err != nil {
			t.Fatal(err)
		}
		out = append(out, fmt.Sprint(rec))
		rec.Release()
	}
}

// TestTicketOpensItsColumns: a ticket reads its columns in the same parts, and no other column, and not what another file's key seals.
func TestTicketOpensItsColumns(t *testing.T) {
	v := newVault(t)
	s, err := straight(t, v, "run-1", 1, 9000, 17, 30000, 500).Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	columns := []string{SubjectColumn, everyColumn[1]}
	made, err := v.Ticket(s, columns)
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := DecodeTicket(made.Encode())
	if err != nil || ticket.Dataset() != s.Dataset || strings.Join(ticket.Columns(), " ") != strings.Join(columns, " ") {
		t.Fatal(ticket, err)
	}
	g := Redeem(nil, v.dir, ticket)
	mem := memory.DefaultAllocator
	want, err := v.Scan(t.Context(), mem, s, columns)
	whole := readAll(t, want, err)
	got, err := g.Scan(t.Context(), mem, columns)
	if strings.Join(readAll(t, got, err), "") != strings.Join(whole, "") {
		t.Error("a ticket reads something else than the vault")
	}
	for _, rows := range []int64{1, 9001, 1 << 40} {
		a, err1 := v.Parts(s, rows)
		b, err2 := g.Parts(rows)
		if err1 != nil || err2 != nil || a.Len() != b.Len() {
			t.Fatal(err1, err2)
		}
		for i := range a.Len() {
			x, err1 := a.Scan(t.Context(), mem, columns, i)
			y, err2 := b.Scan(t.Context(), mem, columns, i)
			if strings.Join(readAll(t, x, err1), "") != strings.Join(readAll(t, y, err2), "") {
				t.Errorf("part %d of %d rows is another by ticket", i, rows)
			}
		}
	}
	if _, err := g.Scan(t.Context(), mem, []string{everyColumn[0]}); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("a column beyond the ticket: %v", err)
	}
	if _, err := v.Ticket(s, []string{"no-such"}); !errors.Is(err, sandbox.NotFound) {
		t.Errorf("a ticket for no column: %v", err)
	}
	if _, err := v.Ticket(g.s, columns); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a ticket out of a ticket: %v", err)
	}

	// A ticket that points its key at another column's file opens nothing.
	swapped := ticket
	swapped.columns = append([]ticketColumn(nil), ticket.columns...)
	for _, c := range s.columns {
		if c.Name == everyColumn[0] {
			swapped.columns[1].File, swapped.columns[1].ID, swapped.columns[1].Name = c.File, c.ID, c.Name
		}
	}
	if r, err := Redeem(nil, v.dir, swapped).Scan(t.Context(), mem, []string{everyColumn[0]}); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("another column's file under this key: %v %v", r, err)
	}
}

// TestTicketShowsNoKey in any verb of fmt, holds no version key, and what is not its encoding is refused.
func TestTicketShowsNoKey(t *testing.T) {
	v := newVault(t)
	s, err := straight(t, v, "run-1", 10, 10).Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := v.Ticket(s, everyColumn[:1])
	if err != nil {
		t.Fatal(err)
	}
	for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%x", "%d"} {
		if got := fmt.Sprintf(verb, ticket); got != "ticket "+string(s.Dataset)+" v1(redacted)" {
			t.Errorf("%s prints %d bytes", verb, len(got))
		}
	}
	b := ticket.Encode()
	for name, bad := range map[string][]byte{
		"empty":        nil,
		"cut":          b[:len(b)-1],
		"more":         append(bytes.Clone(b), ' '),
		"no version":   bytes.Replace(b, []byte(`"version":1`), []byte(`"version":0`), 1),
		"outside":      bytes.Replace(b, []byte(`"file":"`), []byte(`"file":"../`), 1),
		"a short key":  bytes.Replace(b, []byte(`"secret":"`), []byte(`"secret":"AAAA`), 1),
		"a batch more": bytes.Replace(b, []byte(`"batches":[`), []byte(`"batches":[1,`), 1),
	} {
		if bytes.Equal(bad, b) {
			t.Fatal(name)
		}
		if _, err := DecodeTicket(bad); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
	encoded := ticket.Encode()
	ticket.Forget()
	if bytes.Equal(ticket.Encode(), encoded) {
		t.Error("a forgotten ticket has its keys")
	}
	// Files that were changed are found by the ticket too.
	whole, err := DecodeTicket(encoded)
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(v.versionPath(s.Dataset, s.Version), whole.columns[0].File)
	raw, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	raw[len(raw)-1] ^= 1
	if err := os.WriteFile(path, raw, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Redeem(nil, v.dir, whole).Scan(t.Context(), memory.DefaultAllocator, everyColumn[:1]); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a changed file: %v", err)
	}
}

// TestTicketSaysWhatFits: what a ticket says of its columns' values is what the version's statistics do, of no other column, and reads back.
func TestTicketSaysWhatFits(t *testing.T) {
	v := newVault(t)
	s, err := straight(t, v, "run-1", 1, 9000, 17).Commit(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	st, err := v.statistics(s)
	if err != nil {
		t.Fatal(err)
	}
	made, err := v.Ticket(s, []string{"fee", SubjectColumn})
	if err != nil {
		t.Fatal(err)
	}
	ticket, err := DecodeTicket(made.Encode())
	if err != nil {
		t.Fatal(err)
	}
	known := Redeem(nil, v.dir, ticket).s.known
	for i := range s.Batches {
		want, _ := st.of(2, i)
		got, ok := known.of(0, i)
		if !ok || *got.Min != *want.Min || *got.Max != *want.Max || got.Nulls != want.Nulls {
			t.Errorf("batch %d of the first column is said to be another", i)
		}
		if _, ok := known.of(1, i); ok {
			t.Errorf("something is said of the pseudonyms of batch %d", i)
		}
	}
	short := bytes.Replace(made.Encode(), []byte(`"statistics":[{`), []byte(`"statistics":[{},{`), 1)
	if _, err := DecodeTicket(short); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("one batch more is spoken of: %v", err)
	}
}
