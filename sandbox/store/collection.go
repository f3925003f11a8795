package store

import (
	"bytes"
	"context"
	"database/sql"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// MaxBody bounds one document's JSON, so that one request cannot fill the file.
const MaxBody = 16 << 20

// Collection (文档集) is all documents of one kind, each a T written as JSON. Methods take part in the transaction of their
// context, if it carries one.
type Collection[T any] struct {
	s    *Store
	kind string
}

// NewCollection gives the documents of a kind. The kind is part of what is authenticated; it never changes.
func NewCollection[T any](s *Store, kind string) Collection[T] {
	return Collection[T]{s: s, kind: kind}
}

// Document (文档) is one stored T with its index columns. Rev counts its writes from 1.
type Document[T any] struct {
	ID    string
	Rev   int64
	Owner string
	State string
	Value T
}

// Filter (筛选) selects documents; empty fields select all. After is the id of the last document of the page before.
type Filter struct {
	Owner string
	State string
	After string
	Limit int // 0: all
}

// Get gives a document and its revision; NotFound when there is none.
func (c Collection[T]) Get(ctx context.Context, id string) (T, int64, error) {
	d, err := c.Document(ctx, id)
	return d.Value, d.Rev, err
}

// Document gives a document with its index columns; NotFound when there is none.
func (c Collection[T]) Document(ctx context.Context, id string) (Document[T], error) {
	op := "store: get"
	row := c.s.on(ctx).QueryRowContext(ctx, `SELECT id, rev, owner, state, nonce, body FROM documents WHERE kind = ? AND id = ?`, c.kind, id)
	d, err := c.scan(op, row.Scan)
	if errors.Is(err, sql.ErrNoRows) {
		return Document[T]{}, &sandbox.Error{Op: op, Kind: sandbox.NotFound, Object: c.at(id)}
	}
	return d, err
}

// Insert writes a new document; Conflict when the id is taken.
func (c Collection[T]) Insert(ctx context.Context, id, owner, state string, v T) error {
	op := "store: insert"
	body, err := c.encode(op, id, v)
	if err != nil {
		return err
	}
	n, err := c.insert(ctx, op, id, owner, state, body)
	if err == nil && n == 0 {
		err = &sandbox.Error{Op: op, Kind: sandbox.Conflict, Object: c.at(id), Detail: "the id is taken"}
	}
	return err
}

// Once writes a document exactly once and says whether this call did. A repeat with an equal body changes nothing; with
// another body it is a Conflict. Usage events go this way: a retry never counts twice.
func (c Collection[T]) Once(ctx context.Context, id, owner, state string, v T) (fresh bool, err error) {
	op := "store: insert once"
	body, err := c.encode(op, id, v)
	if err != nil {
		return false, err
	}
	err = c.s.Tx(ctx, func(ctx context.Context) error {
		n, err := c.insert(ctx, op, id, owner, state, body)
		if err != nil || n == 1 {
			fresh = n == 1
			return err
		}
		old, err := c.Document(ctx, id)
		if err != nil {
			return err
		}
		was, err := c.encode(op, id, old.Value)
		if err != nil {
			return err
		}
		if old.Owner != owner || !bytes.Equal(was, body) {
			return &sandbox.Error{Op: op, Kind: sandbox.Conflict, Object: c.at(id), Detail: "the id was written with another payload"}
		}
		return nil
	})
	return fresh && err == nil, err
}

// Update replaces revision rev of a document and gives the new revision. Conflict when the document has moved on,
// NotFound when there is none.
func (c Collection[T]) Update(ctx context.Context, id string, rev int64, owner, state string, v T) (int64, error) {
	op := "store: update"
	body, err := c.encode(op, id, v)
	if err != nil {
		return 0, err
	}
	nonce, sealed, err := c.seal(id, rev+1, owner, state, body)
	if err != nil {
		return 0, err
	}
	err = c.s.Tx(ctx, func(ctx context.Context) error {
		c.touch(ctx, id)
		n, err := c.s.exec(ctx, op, c.at(id), `UPDATE documents SET rev = ?, owner = ?, state = ?, nonce = ?, body = ? WHERE kind = ? AND id = ? AND rev = ?`,
			rev+1, owner, state, nonce, sealed, c.kind, id, rev)
		if err != nil || n == 1 {
			return err
		}
		if _, _, err := c.Get(ctx, id); err != nil {
			return err
		}
		return &sandbox.Error{Op: op, Kind: sandbox.Conflict, Object: c.at(id), Detail: "it was changed meanwhile", Hint: "read it again"}
	})
	if err != nil {
		return 0, err
	}
	return rev + 1, nil
}

// Delete removes a document; NotFound when there is none. The freed bytes are overwritten in the file (secure_delete), not
// in copies or backups of it.
func (c Collection[T]) Delete(ctx context.Context, id string) error {
	op := "store: delete"
	return c.s.Tx(ctx, func(ctx context.Context) error {
		c.touch(ctx, id)
		n, err := c.s.exec(ctx, op, c.at(id), `DELETE FROM documents WHERE kind = ? AND id = ?`, c.kind, id)
		if err == nil && n == 0 {
			err = &sandbox.Error{Op: op, Kind: sandbox.NotFound, Object: c.at(id)}
		}
		return err
	})
}

// List gives documents in the order they were inserted. After an unknown id it is NotFound.
func (c Collection[T]) List(ctx context.Context, f Filter) ([]Document[T], error) {
	op := "store: list"
	q, args := `SELECT id, rev, owner, state, nonce, body FROM documents WHERE kind = ?`, []any{c.kind}
	if f.Owner != "" {
		q, args = q+` AND owner = ?`, append(args, f.Owner)
	}
	if f.State != "" {
		q, args = q+` AND state = ?`, append(args, f.State)
	}
	if f.After != "" {
		var seq int64
		err := c.s.on(ctx).QueryRowContext(ctx, `SELECT seq FROM documents WHERE kind = ? AND id = ?`, c.kind, f.After).Scan(&seq)
		if errors.Is(err, sql.ErrNoRows) {
			return nil, &sandbox.Error{Op: op, Kind: sandbox.NotFound, Object: c.at(f.After)}
		}
		if err != nil {
			return nil, failed(op, c.kind, err)
		}
		q, args = q+` AND seq > ?`, append(args, seq)
	}
	q += ` ORDER BY seq`
	if f.Limit > 0 {
		q, args = q+` LIMIT ?`, append(args, f.Limit)
	}
	r, err := c.s.on(ctx).QueryContext(ctx, q, args...)
	if err != nil {
		return nil, failed(op, c.kind, err)
	}
	defer r.Close()
	out := []Document[T]{}
	for r.Next() {
		d, err := c.scan(op, r.Scan)
		if err != nil {
			return nil, err
		}
		out = append(out, d)
	}
	if err := r.Err(); err != nil {
		return nil, failed(op, c.kind, err)
	}
	return out, nil
}

func (c Collection[T]) at(id string) string { return c.kind + " " + id }

func (c Collection[T]) insert(ctx context.Context, op, id, owner, state string, body []byte) (int64, error) {
	if err := sandbox.CheckID(c.kind+" id", id); err != nil {
		return 0, err
	}
	nonce, sealed, err := c.seal(id, 1, owner, state, body)
	if err != nil {
		return 0, err
	}
	var n int64
	err = c.s.Tx(ctx, func(ctx context.Context) error {
		c.touch(ctx, id)
		n, err = c.s.exec(ctx, op, c.at(id), `INSERT INTO documents (kind, id, rev, owner, state, nonce, body) VALUES (?, ?, 1, ?, ?, ?, ?) ON CONFLICT (kind, id) DO NOTHING`,
			c.kind, id, owner, state, nonce, sealed)
		return err
	})
	return n, err
}

func (c Collection[T]) encode(op, id string, v T) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil { // the text of an encoding error may quote what it could not encode
		return nil, &sandbox.Error{Op: op, Kind: sandbox.Internal, Object: c.at(id), Detail: "the body has no JSON form"}
	}
	if len(b) > MaxBody {
		return nil, &sandbox.Error{Op: op, Kind: sandbox.TooLarge, Object: c.at(id), Detail: fmt.Sprintf("a body has at most %d bytes", MaxBody)}
	}
	return b, nil
}

// bind is the associated data of a document's body.
func (c Collection[T]) bind(id string, rev int64, owner, state string) []byte {
	return sm.Frame([]byte(c.kind), []byte(id), binary.BigEndian.AppendUint64(nil, uint64(rev)), []byte(owner), []byte(state))
}

func (c Collection[T]) seal(id string, rev int64, owner, state string, body []byte) (nonce, sealed []byte, err error) {
	nonce = make([]byte, c.s.aead.NonceSize())
	if _, err := io.ReadFull(c.s.rand, nonce); err != nil {
		return nil, nil, &sandbox.Error{Op: "store: seal", Kind: sandbox.Unavailable, Object: c.at(id), Detail: "no randomness"}
	}
	return nonce, c.s.aead.Seal(nil, nonce, body, c.bind(id, rev, owner, state)), nil
}

func (c Collection[T]) scan(op string, scan func(...any) error) (Document[T], error) {
	var d Document[T]
	var nonce, sealed []byte
	if err := scan(&d.ID, &d.Rev, &d.Owner, &d.State, &nonce, &sealed); err != nil {
		if errors.Is(err, sql.ErrNoRows) {
			return Document[T]{}, err
		}
		return Document[T]{}, failed(op, c.kind, err)
	}
	body, err := c.unseal(op, d.ID, d.Rev, d.Owner, d.State, nonce, sealed)
	if err != nil {
		return Document[T]{}, err
	}
	if err := json.Unmarshal(body, &d.Value); err != nil {
		return Document[T]{}, &sandbox.Error{Op: op, Kind: sandbox.Internal, Object: c.at(d.ID), Detail: "the body was written in another shape"}
	}
	return d, nil
}

// unseal opens a document's body where it stands.
func (c Collection[T]) unseal(op, id string, rev int64, owner, state string, nonce, sealed []byte) ([]byte, error) {
	bad := func(rule string) ([]byte, error) {
		return nil, &sandbox.Error{Op: op, Kind: sandbox.Tampered, Object: "documents " + c.at(id), Detail: rule}
	}
	if len(nonce) != c.s.aead.NonceSize() {
		return bad("the nonce has another length")
	}
	body, err := c.s.aead.Open(nil, nonce, sealed, c.bind(id, rev, owner, state))
	if err != nil {
		return bad("the row fails authentication")
	}
	return body, nil
}
