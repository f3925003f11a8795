package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/vault"
)

// sealedRows bounds the table of the sealed lines: they measure bytes a second, not scale.
const sealedRows = 1_000_000

// sealed is a vault in a temporary folder, the table that is written to it, and what the lines share.
type sealed struct {
	dir    string
	keys   *keys.File
	vault  *vault.Vault
	schema *arrow.Schema
	recs   []arrow.Record
	who    [][]sandbox.Pseudonym
	bytes  int64 // encoded, pseudonyms apart
	rows   int
	runs   int
	order  map[int][]sandbox.Pseudonym // of the table in the order of its subjects
}

// newSealed makes the table: an integer key, an amount, a date and a 12-character text, like a claims table.
func newSealed(rows int) (*sealed, error) {
	dir, err := os.MkdirTemp("", "opdomain-benchmark-")
	if err != nil {
		return nil, err
	}
	s := &sealed{dir: dir, rows: min(rows, sealedRows)}
	if s.keys, err = keys.Create(filepath.Join(dir, "keys"), []byte("benchmark"), keys.Params{Time: 1, Memory: 64, Threads: 1}, rand.Reader); err != nil {
		return nil, err
	}
	if s.vault, err = vault.Open(filepath.Join(dir, "vault"), s.keys, rand.Reader); err != nil {
		return nil, err
	}
	d := catalog.Dataset{Columns: []catalog.Column{{Name: "site", Type: catalog.Int}, {Name: "amount", Type: catalog.Money}, {Name: "day", Type: catalog.Date}, {Name: "code", Type: catalog.Text}}}
	s.schema = batch.Schema(d)
	b := array.NewRecordBuilder(memory.DefaultAllocator, s.schema)
	defer b.Release()
	for at := 0; at < s.rows; at += batchRows {
		n := min(batchRows, s.rows-at)
		who := make([]sandbox.Pseudonym, n)
		for i := range n {
			r := at + i
			b.Field(0).(*array.Int64Builder).Append(int64(r % 300))
			b.Field(1).(*array.Int64Builder).Append(int64(r%100_000) * 7)
			b.Field(2).(*array.Date32Builder).Append(arrow.Date32(18_000 + r%1500))
			b.Field(3).(*array.StringBuilder).Append(fmt.Sprintf("C%011d", r))
			x := uint64(r/3) * 0x9e3779b97f4a7c15 // three rows a person, people in no order
			for k := range 8 {
				who[i][k] = byte(x >> (56 - 8*k))
			}
		}
		rec := b.NewRecord()
		enc, err := batch.Encode(nil, rec)
		if err != nil {
			return nil, err
		}
		s.bytes += int64(len(enc))
		s.recs, s.who = append(s.recs, rec), append(s.who, who)
	}
	return s, nil
}

// close removes the folder.
func (s *sealed) close() error {
	for _, r := range s.recs {
		r.Release()
	}
	s.keys.Close()
	return os.RemoveAll(s.dir)
}

// cases lists the lines that are built on the cipher.
func (s *sealed) cases() []benchmark {
	subjects := int64(16 * s.rows)
	return []benchmark{
		{name: "Arrow IPC: write the table in plain, durable", rows: s.rows, bytes: s.bytes, batches: len(s.recs), run: s.arrowWrite},
		{name: "Arrow IPC: read it", rows: s.rows, bytes: s.bytes, batches: len(s.recs), run: s.arrowRead},
		{name: "vault: write a version that comes in the order of its subjects, durable", rows: s.rows, bytes: s.bytes + subjects, batches: len(s.recs), run: s.ordered},
		{name: "vault: write a version that comes in no order: sorted, clustered, durable", rows: s.rows, bytes: s.bytes + subjects, batches: len(s.recs), run: s.write},
		{name: "vault: read every column of a version", rows: s.rows, bytes: s.bytes + subjects, batches: len(s.recs), run: s.read},
		{name: "vault: find one person's rows, two columns", run: s.subject},
		{name: "push frames: encode, seal, open, decode in memory", rows: s.rows, bytes: s.bytes, batches: len(s.recs), run: s.push},
		{name: "raw TCP over loopback, both ends", bytes: s.bytes, run: s.rawTCP},
		{name: "push over TCP: sealed, opened, decoded, both ends", rows: s.rows, bytes: s.bytes, batches: len(s.recs), run: s.pushTCP},
	}
}

func (s *sealed) write(ctx context.Context) error {
	s.runs++
	w, err := s.vault.Begin(ctx, "unit", "ds", sandbox.RunID(fmt.Sprintf("run-%d", s.runs)), s.schema, sandbox.Grade3)
	if err != nil {
		return err
	}
	for i, r := range s.recs {
		if err := w.Write(ctx, r, s.who[i]); err != nil {
			return errors.Join(err, w.Abort())
		}
	}
	_, err = w.Commit(ctx)
	return err
}

func (s *sealed) read(ctx context.Context) error {
	head, err := s.vault.Head("ds")
	if err != nil {
		return err
	}
	r, err := s.vault.Scan(ctx, memory.DefaultAllocator, head, []string{"site", "amount", "day", "code", vault.SubjectColumn})
	if err != nil {
		return err
	}
	for {
		rec, err := r.Next(ctx)
		if err == io.EOF {
			return r.Close()
		}
		if err != nil {
			return errors.Join(err, r.Close())
		}
		rec.Release()
	}
}

func (s *sealed) push(context.Context) error {
	digest := sm.Sum()
	opening, secret, err := channel.NewOpening(rand.Reader, s.keys.DecryptKey().Public(), channel.Opening{From: "unit", To: "domain", Domain: "d", Run: "r", Dataset: "ds",
		SchemaDigest: digest[:], Created: time.Unix(0, 0)})
	if err != nil {
		return err
	}
	text := opening.Encode()
	var wire bytes.Buffer
	w, err := channel.NewWriter(&wire, secret, text)
	if err != nil {
		return err
	}
	r, err := channel.NewReader(&wire, secret, text)
	if err != nil {
		return err
	}
	var buf []byte
	for _, rec := range s.recs {
		for at := int64(0); at < rec.NumRows(); at += batchRows / 4 { // as many rows as a frame of 1 MiB holds
			part := rec.NewSlice(at, min(at+batchRows/4, rec.NumRows()))
			buf, err = batch.Encode(buf[:0], part)
			part.Release()
			if err != nil {
				return err
			}
			if err := w.WriteFrame(buf); err != nil {
				return err
			}
			payload, err := r.Next()
			if err != nil {
				return err
			}
			got, err := batch.Decode(memory.DefaultAllocator, s.schema, payload, batch.Limits{})
			if err != nil {
				return err
			}
			got.Release()
		}
	}
	return w.Close()
}
