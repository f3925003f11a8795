// Package store keeps the domain's documents (域内登记簿) in one SQLite file: scenarios, consents, questions, reviews,
// usage events, invoices, request nonces and counters. It never holds rows of raw data and cannot reach the vault.
//
// What is in the file: identifiers, owners, states, revisions and times as plain index columns; every document body
// sealed with SM4-GCM (GB/T 32907, GB/T 36624) under a key derived from the one passed to Open, with a random 96-bit
// nonce per write and the document's kind, id, revision, owner and state as associated data; counters with an HMAC-SM3.
// Identifiers are sandbox.CheckID identifiers, which carry no personal data.
//
// Promises: write-ahead log with synchronous=FULL, so what a call reported as written survives a crash; one writer at a
// time; a transaction is all or nothing; a revision is written once. A row whose body, kind, id, revision, owner or state
// was changed in the file is reported as Tampered with its table and id, as is a wrong key.
//
// Errors: NotFound, Conflict (duplicate, stale revision, same usage id with another payload), TooLarge (body or counter
// bound), Unsigned (replayed nonce), Tampered, Unavailable (file locked, full, unreadable, or written by a newer release).
//
// What it does not do: a row removed whole, or put back as it stood earlier, is not seen here; the evidence log is what
// shows that. Random nonces bound the writes under one key to 2^32. Body lengths are visible.
package store

import (
	"context"
	"crypto/cipher"
	"database/sql"
	"embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"github.com/pressly/goose/v3"
	"modernc.org/sqlite"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

//go:embed migrations/*.sql
var migrations embed.FS

// Store (登记簿) is one open SQLite file. Safe for concurrent use; several processes may open the same file.
type Store struct {
	write *sql.DB // one connection: SQLite has one writer
	read  *sql.DB
	aead  cipher.AEAD
	mac   []byte
	rand  io.Reader
	path  string

	nonce       *sql.Stmt // on write
	perIdentity int64
	spending    spending
	caches      caches
}

// readers bounds the connections that read while the writer writes.
const readers = 4

// Open opens or creates the file at path and brings its tables up to date. key has 16 bytes; rand gives nonces.
func Open(ctx context.Context, path string, key []byte, rand io.Reader) (*Store, error) {
	op := "store: open"
	if len(key) != sm.KeySize {
		return nil, &sandbox.Error{Op: op, Kind: sandbox.Invalid, Object: "key", Detail: fmt.Sprintf("a store key has %d bytes", sm.KeySize)}
	}
	body, err := sm.HKDF(key, nil, sm.Frame([]byte("opdomain/store/body/v1")), sm.KeySize)
	if err != nil {
		return nil, err
	}
	mac, err := sm.HKDF(key, nil, sm.Frame([]byte("opdomain/store/counter/v1")), sm.Size)
	if err != nil {
		return nil, err
	}
	aead, err := sm.NewGCM(body)
	if err != nil {
		return nil, err
	}
	dsn, err := prepare(path)
	if err != nil {
		return nil, &sandbox.Error{Op: op, Kind: sandbox.Unavailable, Object: File, Detail: "the file cannot be created or read", Hint: "check the folder and permissions", Err: err}
	}
	s := &Store{aead: aead, mac: mac, rand: rand, path: path, perIdentity: NoncesPerIdentity}
	if s.write, err = sql.Open("sqlite", dsn+"&_txlock=immediate"); err != nil {
		return nil, failed(op, "", err)
	}
	s.write.SetMaxOpenConns(1)
	if err := s.checkFile(ctx); err != nil {
		return nil, errors.Join(err, s.write.Close())
	}
	if err := s.migrate(ctx); err != nil {
		return nil, errors.Join(err, s.write.Close())
	}
	if s.nonce, err = s.write.PrepareContext(ctx, `INSERT INTO nonces (identity, nonce, expires) VALUES (?, ?, ?) ON CONFLICT DO NOTHING`); err != nil {
		return nil, errors.Join(failed(op, "", err), s.write.Close())
	}
	if s.read, err = sql.Open("sqlite", dsn+"&_pragma=query_only(1)"); err != nil {
		return nil, errors.Join(failed(op, "", err), s.write.Close())
	}
	s.read.SetMaxOpenConns(readers)
	s.read.SetMaxIdleConns(readers)
	if err := s.checkKey(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// prepare makes the file, readable by its owner only, before SQLite does, and gives its data source name.
func prepare(path string) (string, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return "", err
	}
	f, err := os.OpenFile(abs, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return "", err
	}
	if err := f.Close(); err != nil {
		return "", err
	}
	q := "?_pragma=busy_timeout(10000)&_pragma=journal_mode(WAL)&_pragma=synchronous(FULL)&_pragma=foreign_keys(1)" +
		"&_pragma=trusted_schema(0)&_pragma=cell_size_check(1)&_pragma=secure_delete(1)"
	return (&url.URL{Scheme: "file", Path: filepath.ToSlash(abs)}).String() + q, nil
}

// checkFile reads every page and index once, so that a damaged file is refused at the door and not in the middle of a request.
func (s *Store) checkFile(ctx context.Context) error {
	return pages(ctx, s.write, "store: open")
}

func (s *Store) migrate(ctx context.Context) error {
	op := "store: migrate"
	dir, err := fs.Sub(migrations, "migrations")
	if err != nil {
		return err
	}
	p, err := goose.NewProvider(goose.DialectSQLite3, s.write, dir)
	if err != nil {
		return failed(op, "", err)
	}
	at, err := p.GetDBVersion(ctx)
	if err != nil {
		return failed(op, "", err)
	}
	all := p.ListSources()
	if newest := all[len(all)-1].Version; at > newest {
		return &sandbox.Error{Op: op, Kind: sandbox.Unavailable, Object: fmt.Sprintf("version %d", at),
			Detail: fmt.Sprintf("the file was written by a newer release; this one knows up to version %d", newest), Hint: "run the newer release"}
	}
	if _, err := p.Up(ctx); err != nil {
		return failed(op, "", err)
	}
	return s.checkTables(ctx, dir)
}

// checkTables compares the tables, indexes and checks of the file with those the migrations make in memory: one that was
// dropped, loosened or given a trigger is not what the rest of this package relies on.
func (s *Store) checkTables(ctx context.Context, dir fs.FS) error {
	op := "store: open"
	memory, err := sql.Open("sqlite", "file::memory:")
	if err != nil {
		return failed(op, "", err)
	}
	defer memory.Close()
	memory.SetMaxOpenConns(1) // each connection would have a memory of its own
	p, err := goose.NewProvider(goose.DialectSQLite3, memory, dir)
	if err != nil {
		return failed(op, "", err)
	}
	if _, err := p.Up(ctx); err != nil {
		return failed(op, "", err)
	}
	want, err := tables(ctx, memory)
	if err != nil {
		return err
	}
	got, err := tables(ctx, s.write)
	if err != nil {
		return err
	}
	if !slices.Equal(want, got) {
		return &sandbox.Error{Op: op, Kind: sandbox.Tampered, Object: File, Detail: "its tables are not the ones this release made", Hint: restoreHint}
	}
	return nil
}

func tables(ctx context.Context, db *sql.DB) (all []string, err error) {
	r, err := db.QueryContext(ctx, `SELECT type, name, tbl_name, coalesce(sql, '') FROM sqlite_schema WHERE name NOT LIKE 'sqlite_stat%' ORDER BY type, name`)
	if err != nil {
		return nil, failed("store: open", "tables", err)
	}
	defer r.Close()
	for r.Next() {
		var row [4]string
		if err := r.Scan(&row[0], &row[1], &row[2], &row[3]); err != nil {
			return nil, failed("store: open", "tables", err)
		}
		all = append(all, strings.Join(row[:], "\x00"))
	}
	if err := r.Err(); err != nil {
		return nil, failed("store: open", "tables", err)
	}
	return all, nil
}

// keyCheck is the document that tells a wrong key from a right one before anything else is read.
const keyCheckKind, keyCheckID = "store.key", "check"

func (s *Store) checkKey(ctx context.Context) error {
	c := NewCollection[string](s, keyCheckKind)
	_, _, err := c.Get(ctx, keyCheckID)
	if errors.Is(err, sandbox.NotFound) {
		err = c.Insert(ctx, keyCheckID, "", "", "opdomain")
		if errors.Is(err, sandbox.Conflict) { // another process opened the new file at the same moment
			_, _, err = c.Get(ctx, keyCheckID)
		}
	}
	var e *sandbox.Error
	if errors.As(err, &e) && e.Kind == sandbox.Tampered && e.Hint == "" {
		e.Hint = "the key is not the one this file was made with, or the file was changed"
	}
	return err
}

// Close waits for running statements and closes the file.
func (s *Store) Close() error {
	return errors.Join(s.nonce.Close(), s.read.Close(), s.write.Close())
}

// txKey carries a Store's open transaction through a context.
type txKey struct{ s *Store }

// transaction is an open write transaction and how deeply Tx is nested in it.
type transaction struct {
	tx      *sql.Tx
	depth   int
	touched *[]docKey // documents written, for the caches
}

// Tx runs f in one write transaction: committed when f returns nil, rolled back when it returns an error or panics.
// Calls that get f's context take part in it; a Tx inside is a savepoint, rolled back alone. Inside f, use only f's
// context: a write with another context waits for this transaction to end.
func (s *Store) Tx(ctx context.Context, f func(ctx context.Context) error) (err error) {
	op := "store: transaction"
	if t, ok := ctx.Value(txKey{s}).(transaction); ok {
		return s.savepoint(ctx, t, f)
	}
	tx, err := s.write.BeginTx(ctx, nil)
	if err != nil {
		return failed(op, "", err)
	}
	done := false
	defer func() {
		if !done {
			err = errors.Join(err, rollback(tx))
		}
	}()
	var touched []docKey
	if err := f(context.WithValue(ctx, txKey{s}, transaction{tx: tx, touched: &touched})); err != nil {
		return err
	}
	defer s.caches.change(touched)()
	if err := tx.Commit(); err != nil {
		return failed(op, "commit", err)
	}
	done = true
	return nil
}

func rollback(tx *sql.Tx) error {
	if err := tx.Rollback(); err != nil && !errors.Is(err, sql.ErrTxDone) && !over(err) {
		return failed("store: transaction", "rollback", err)
	}
	return nil
}

// over says whether SQLite ended the transaction by itself, as it does when the disk is full: there is none to roll back.
func over(err error) bool {
	var se *sqlite.Error
	return errors.As(err, &se) && se.Code()&0xff == resultError
}

func (s *Store) savepoint(ctx context.Context, t transaction, f func(ctx context.Context) error) (err error) {
	name := fmt.Sprintf("nested_%d", t.depth)
	do := func(stmt string) error {
		_, err := t.tx.ExecContext(ctx, stmt+" "+name)
		if err != nil && !(stmt != "SAVEPOINT" && over(err)) {
			return failed("store: transaction", "savepoint", err)
		}
		return nil
	}
	if err := do("SAVEPOINT"); err != nil {
		return err
	}
	kept := false
	defer func() {
		if !kept {
			err = errors.Join(err, do("ROLLBACK TO"), do("RELEASE"))
		}
	}()
	if err := f(context.WithValue(ctx, txKey{s}, transaction{tx: t.tx, depth: t.depth + 1, touched: t.touched})); err != nil {
		return err
	}
	kept = true
	return do("RELEASE")
}

// rows is what a statement runs on: the transaction of ctx, or the readers.
type rows interface {
	QueryContext(ctx context.Context, q string, args ...any) (*sql.Rows, error)
	QueryRowContext(ctx context.Context, q string, args ...any) *sql.Row
}

func (s *Store) on(ctx context.Context) rows {
	if t, ok := ctx.Value(txKey{s}).(transaction); ok {
		return t.tx
	}
	return s.read
}

// exec runs one writing statement in ctx's transaction, or in its own, and gives the number of rows it changed.
func (s *Store) exec(ctx context.Context, op, object, q string, args ...any) (n int64, err error) {
	do := func(ctx context.Context) error {
		r, err := ctx.Value(txKey{s}).(transaction).tx.ExecContext(ctx, q, args...)
		if err != nil {
			return failed(op, object, err)
		}
		n, err = r.RowsAffected()
		return err
	}
	if _, inside := ctx.Value(txKey{s}).(transaction); inside { // one statement takes itself back when it fails
		err = do(ctx)
		return n, err
	}
	err = s.Tx(ctx, do)
	return n, err
}

// SQLite's primary result codes. Source: https://www.sqlite.org/rescode.html
const (
	resultError, resultBusy, resultLocked, resultReadonly = 1, 5, 6, 8
	resultIO, resultCorrupt, resultFull, resultCantOpen   = 10, 11, 13, 14
	resultMismatch, resultNotADB                          = 20, 26
)

const fullDisk, fullHint = "the disk is full", "make room on the domain's disk"

const restoreHint = "restore the file and compare it with the evidence log"

// failed maps a driver error to a kind. Faults of the file name the file. SQLite names tables and columns in its texts,
// never bound values; of a damaged file it may quote what it found, so then its text is not repeated.
func failed(op, object string, err error) error {
	e := &sandbox.Error{Op: op, Kind: sandbox.Internal, Object: object, Err: err}
	if errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		e.Kind, e.Detail = sandbox.Unavailable, "the request ended before the statement did"
		return e
	}
	var se *sqlite.Error
	if errors.Is(err, syscall.ENOSPC) {
		e.Kind, e.Detail, e.Hint = sandbox.Unavailable, fullDisk, fullHint
		return e
	}
	if !errors.As(err, &se) {
		return e
	}
	code := se.Code() & 0xff
	switch code {
	case resultBusy, resultLocked:
		e.Kind, e.Detail, e.Hint = sandbox.Unavailable, "another process holds the file", "try again"
	case resultFull:
		e.Kind, e.Detail, e.Hint = sandbox.Unavailable, fullDisk, fullHint
	case resultReadonly, resultIO, resultCantOpen:
		e.Kind, e.Detail, e.Hint = sandbox.Unavailable, "the file cannot be read or written", "check free space and permissions"
	case resultCorrupt, resultNotADB:
		e.Kind, e.Detail, e.Hint, e.Err = sandbox.Tampered, fmt.Sprintf("the file is not an intact SQLite database (result %d)", code), restoreHint, nil
	case resultError, resultMismatch: // every statement is fixed text: what it does not fit is the file
		e.Kind, e.Detail, e.Hint, e.Err = sandbox.Tampered, fmt.Sprintf("its tables are not the ones this release made (result %d)", code), restoreHint, nil
	default:
		return e
	}
	e.Object = File
	if object != "" {
		e.Object += ": " + object
	}
	return e
}
