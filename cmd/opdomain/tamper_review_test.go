package main

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"testing"

	_ "modernc.org/sqlite" // to change what the store holds behind its back

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/egress"
)

// TestStoredReviewIsHeld: whatever is changed of a stored review (its bytes, its votes, its state are one sealed row), of a stored
// release, or of the ledger's entry behind it, nothing leaves: each is refused by name.
func TestStoredReviewIsHeld(t *testing.T) {
	w := ready(t)
	ctx := context.Background()
	id := w.another(1)
	if _, err := w.as("unit-medical-reviewer").vote(ctx, id, true, ""); err != nil {
		t.Fatal(err)
	}
	other := w.another(2)
	edit := func(statement string, args ...any) func(string) {
		return func(dir string) {
			db, err := sql.Open("sqlite", filepath.Join(dir, "domain.db"))
			w.must(err)
			defer db.Close()
			done, err := db.ExecContext(ctx, statement, args...)
			w.must(err)
			if n, err := done.RowsAffected(); err != nil || n == 0 {
				t.Fatalf("%s changes nothing: %v", statement, err)
			}
		}
	}
	var size int
	row := func(dir string) {
		db, err := sql.Open("sqlite", filepath.Join(dir, "domain.db"))
		w.must(err)
		defer db.Close()
		w.must(db.QueryRowContext(ctx, `SELECT length(body) FROM documents WHERE id = ?`, string(id)).Scan(&size))
	}
	w.must(w.restart(row))
	flip := func(at int) func(string) {
		return func(dir string) {
			db, err := sql.Open("sqlite", filepath.Join(dir, "domain.db"))
			w.must(err)
			defer db.Close()
			var sealed []byte
			w.must(db.QueryRowContext(ctx, `SELECT body FROM documents WHERE id = ?`, string(id)).Scan(&sealed))
			sealed[at] ^= 1
			_, err = db.ExecContext(ctx, `UPDATE documents SET body = ? WHERE id = ?`, sealed, string(id))
			w.must(err)
		}
	}
	good, err := os.ReadFile(filepath.Join(w.dir, "domain.db"))
	w.must(err)
	changes := map[string]func(string){
		"the state beside it": edit(`UPDATE documents SET state = 'approved' WHERE id = ?`, string(id)),
		"the owner":           edit(`UPDATE documents SET owner = 'partner' WHERE id = ?`, string(id)),
		"the revision":        edit(`UPDATE documents SET rev = rev + 1 WHERE id = ?`, string(id)),
		"another review in its place": edit(`UPDATE documents SET body = (SELECT body FROM documents WHERE id = ?), nonce = (SELECT nonce FROM documents WHERE id = ?) WHERE id = ?`,
			string(other), string(other), string(id)),
		"the end cut off": edit(`UPDATE documents SET body = CAST(substr(body, 1, length(body) - 1) AS BLOB) WHERE id = ?`, string(id)),
	}
	for _, at := range []int{0, size / 4, size / 2, size * 3 / 4, size - 1} {
		changes[fmt.Sprintf("byte %d of %d", at, size)] = flip(at)
	}
	for name, change := range changes {
		t.Run(name, func(t *testing.T) {
			err := w.restart(change)
			if err == nil {
				_, err = w.as("agency-reviewer").vote(ctx, id, true, "")
				if all, lerr := result[[]api.ReleaseInfo](w.as("operator").api.ListReleases(ctx)); lerr == nil && len(all) != 0 {
					t.Errorf("%d releases", len(all))
				}
			}
			if !errors.Is(err, sandbox.Tampered) {
				t.Errorf("%v", err)
			}
			back := func(dir string) {
				for _, f := range []string{"domain.db-wal", "domain.db-shm"} {
					_ = os.Remove(filepath.Join(dir, f))
				}
				w.must(os.WriteFile(filepath.Join(dir, "domain.db"), good, 0o600))
			}
			w.must(w.restart(back))
		})
	}
	if s := w.state(id); s != string(egress.Partial) {
		t.Fatalf("put right again it is %s", s)
	}
	if _, err := w.as("agency-reviewer").vote(ctx, id, true, ""); err != nil {
		t.Fatal(err)
	}
	all, err := result[[]api.ReleaseInfo](w.as("operator").api.ListReleases(ctx))
	if err != nil || len(all) != 1 {
		t.Fatal(err)
	}
	w.must(w.restart(edit(`UPDATE documents SET body = CAST(substr(body, 2) || x'00' AS BLOB) WHERE id = ?`, string(all[0].ID))))
	if _, err := body(w.as("operator").api.GetRelease(ctx, all[0].ID)); !errors.Is(err, sandbox.Tampered) {
		t.Errorf("a changed envelope is handed out: %v", err)
	}
}
