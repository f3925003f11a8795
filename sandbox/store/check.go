package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/opdomain/opdomain/sandbox"
)

// Check (完整性检查) reads the whole file: its pages, that every sealed document opens where it stands and every counter
// authenticates. It gives every fault it finds, at most maxFaults, named; nil for a sound file. It reads one moment of the
// file and holds no writer up.
func (s *Store) Check(ctx context.Context) (faults []error) {
	op := "store: check"
	if err := pages(ctx, s.read, op); err != nil {
		return []error{err}
	}
	tx, err := s.read.BeginTx(ctx, &sql.TxOptions{ReadOnly: true})
	if err != nil {
		return []error{failed(op, "", err)}
	}
	defer func() {
		if err := rollback(tx); err != nil {
			faults = append(faults, err)
		}
	}()
	docs, err := s.checkDocuments(ctx, tx, op)
	if err == nil && len(docs) < maxFaults {
		var more []error
		more, err = s.checkCounters(ctx, tx, op)
		docs = append(docs, more...)
	}
	if err != nil {
		docs = append(docs, err)
	}
	return docs
}

// maxFaults bounds what Check lists.
const maxFaults = 100

func (s *Store) checkDocuments(ctx context.Context, tx *sql.Tx, op string) (faults []error, err error) {
	r, err := tx.QueryContext(ctx, `SELECT kind, id, rev, owner, state, nonce, body FROM documents ORDER BY seq`)
	if err != nil {
		return nil, failed(op, "documents", err)
	}
	defer r.Close()
	for r.Next() && len(faults) < maxFaults {
		var kind, id, owner, state string
		var rev int64
		var nonce, body []byte
		if err := r.Scan(&kind, &id, &rev, &owner, &state, &nonce, &body); err != nil {
			return faults, failed(op, "documents", err)
		}
		c := Collection[struct{}]{s: s, kind: kind}
		_, err := c.unseal(op, id, rev, owner, state, nonce, body)
		if err != nil {
			faults = append(faults, err)
		}
	}
	if err := r.Err(); err != nil {
		return faults, failed(op, "documents", err)
	}
	return faults, nil
}

func (s *Store) checkCounters(ctx context.Context, tx *sql.Tx, op string) (faults []error, err error) {
	r, err := tx.QueryContext(ctx, `SELECT name FROM counters`)
	if err != nil {
		return nil, failed(op, "counters", err)
	}
	defer r.Close()
	var names []string
	for r.Next() {
		var name string
		if err := r.Scan(&name); err != nil {
			return nil, failed(op, "counters", err)
		}
		names = append(names, name)
	}
	if err := r.Err(); err != nil {
		return nil, failed(op, "counters", err)
	}
	inside := context.WithValue(ctx, txKey{s}, transaction{tx: tx})
	for _, name := range names {
		if _, err := s.Counter(inside, name); err != nil {
			faults = append(faults, err)
		}
	}
	return faults, nil
}

// pages reads every page of a file and compares every index with its table: an entry that points nowhere would hide a
// document, or let a nonce through again. quick_check leaves that out.
func pages(ctx context.Context, db *sql.DB, op string) error {
	var found string
	if err := db.QueryRowContext(ctx, `PRAGMA integrity_check(1)`).Scan(&found); err != nil {
		return failed(op, "", err)
	}
	if found != "ok" { // what it found may quote an index entry, so it is not repeated
		return &sandbox.Error{Op: op, Kind: sandbox.Tampered, Object: File, Detail: "its pages are damaged", Hint: restoreHint}
	}
	return nil
}

// File is the name the store's file goes by in errors, whatever its path.
const File = "domain.db"

// Backup (在线备份) writes a copy of one moment of the store to a new file, while readers and writers go on, and reads the
// copy back: pages, documents, counters. The copy is whole and on disk when it returns nil, and absent otherwise.
// Conflict when path exists. It opens with the same key.
func (s *Store) Backup(ctx context.Context, path string) error {
	op := "store: backup"
	abs, err := filepath.Abs(path)
	if err != nil {
		return &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: "path", Detail: "is not a path"}
	}
	partial := abs + ".partial"
	if _, err := os.Lstat(abs); err == nil {
		return &sandbox.Error{Op: op, Kind: sandbox.Conflict, Object: filepath.Base(abs), Detail: "the file exists", Hint: "name a new one"}
	}
	unwritten := func(err error) error {
		return &sandbox.Error{Op: op, Kind: sandbox.Unavailable, Object: filepath.Base(abs), Detail: "the copy cannot be written", Hint: "check free space and permissions", Err: err}
	}
	if err := os.Remove(partial); err != nil && !errors.Is(err, os.ErrNotExist) { // of a copy that was cut
		return unwritten(err)
	}
	f, err := os.OpenFile(partial, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600) // VACUUM INTO takes an empty file, with its permissions
	if err != nil {
		return unwritten(err)
	}
	if err := f.Close(); err != nil {
		return unwritten(err)
	}
	if err := s.copyTo(ctx, op, partial); err != nil {
		return errors.Join(err, os.Remove(partial))
	}
	if err := os.Rename(partial, abs); err != nil {
		return errors.Join(unwritten(err), os.Remove(partial))
	}
	if err := flush(filepath.Dir(abs)); err != nil {
		return unwritten(err)
	}
	return nil
}

func (s *Store) copyTo(ctx context.Context, op, path string) error {
	// a connection of its own: the readers are query_only, and the writer is not to wait
	dsn, err := prepare(s.path)
	if err != nil {
		return failed(op, "", err)
	}
	from, err := sql.Open("sqlite", dsn)
	if err != nil {
		return failed(op, "", err)
	}
	_, err = from.ExecContext(ctx, `VACUUM INTO ?`, path)
	if err = errors.Join(err, from.Close()); err != nil {
		return failed(op, "copy", err)
	}
	if err := flush(path); err != nil {
		return &sandbox.Error{Op: op, Kind: sandbox.Unavailable, Object: "copy", Detail: "the copy cannot be written", Err: err}
	}
	to, err := sql.Open("sqlite", (&url.URL{Scheme: "file", Path: filepath.ToSlash(path)}).String()+"?mode=ro&immutable=1")
	if err != nil {
		return failed(op, "copy", err)
	}
	copied := &Store{read: to, aead: s.aead, mac: s.mac, rand: s.rand}
	faults := copied.Check(ctx)
	if err := errors.Join(append(faults, to.Close())...); err != nil {
		return &sandbox.Error{Op: op, Kind: sandbox.KindOf(errors.Join(append(faults, err)...)), Object: "copy", Detail: fmt.Sprintf("the copy has %d faults", len(faults)), Err: err}
	}
	return nil
}

// flush makes a file or folder durable.
func flush(path string) error {
	f, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(f.Sync(), f.Close())
}
