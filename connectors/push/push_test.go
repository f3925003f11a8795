package push

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"io"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow"
	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
)

var _ connectors.Source = (*source)(nil)

// source gives records, then its error.
type source struct {
	recs   []arrow.Record
	schema *arrow.Schema
	end    error
}

func (s *source) Schema() *arrow.Schema      { return s.schema }
func (s *source) Counts() (read, kept int64) { return 0, 0 }
func (s *source) Close() error               { return nil }
func (s *source) Next(ctx context.Context) (arrow.Record, error) {
	if err := ctx.Err(); err != nil {
		return nil, err
	}
	if len(s.recs) == 0 {
		return nil, s.end
	}
	r := s.recs[0]
	s.recs = s.recs[1:]
	return r, nil
}

var (
	texts = arrow.NewSchema([]arrow.Field{{Name: "t", Type: arrow.BinaryTypes.String}}, nil)
	bools = arrow.NewSchema([]arrow.Field{{Name: "b", Type: arrow.FixedWidthTypes.Boolean}}, nil)
)

func textRecord(mem memory.Allocator, values ...string) arrow.Record {
	b := array.NewRecordBuilder(mem, texts)
	defer b.Release()
	b.Field(0).(*array.StringBuilder).AppendValues(values, nil)
	return b.NewRecord()
}

type stream struct {
	secret  *channel.Secret
	opening []byte
	ends    []wire.Kind // payloads that are no batch
	closing []byte
	bytes.Buffer
}

func newStream(t *testing.T) *stream {
	t.Helper()
	key, err := sm.NewDecryptKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	o, secret, err := channel.NewOpening(rand.Reader, key.Public(), channel.Opening{From: "unit-1", To: "domain", Domain: "d", Run: "run-1", Dataset: "ds-1",
		SchemaDigest: make([]byte, sm.Size), Created: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)})
	if err != nil {
		t.Fatal(err)
	}
	return &stream{secret: secret, opening: o.Encode()}
}

// read gives the batches that arrived and how the stream ended.
func (s *stream) read(t *testing.T, schema *arrow.Schema) (rows []int64, texts []string, end error) {
	t.Helper()
	r, err := channel.NewReader(&s.Buffer, s.secret, s.opening)
	if err != nil {
		t.Fatal(err)
	}
	for {
		p, err := r.Next()
		if err != nil {
			return rows, texts, err
		}
		m, err := wire.ParsePayload(p)
		if err != nil {
			t.Fatal(err)
		}
		if m.Kind != wire.Batch {
			s.ends = append(s.ends, m.Kind)
			s.closing = bytes.Clone(m.Body)
			continue
		}
		if m.Batch != int64(len(rows))+1 {
			t.Errorf("batch %d behind %d", m.Batch, len(rows))
		}
		rec, err := batch.Decode(memory.DefaultAllocator, schema, m.Body, batch.Limits{})
		if err != nil {
			t.Fatal(err)
		}
		rows = append(rows, rec.NumRows())
		if c, ok := rec.Column(0).(*array.String); ok {
			for i := range c.Len() {
				texts = append(texts, strings.Clone(c.Value(i)))
			}
		}
		rec.Release()
	}
}

// TestSendSplits: batches over a frame or over the rows of a batch arrive in pieces, in order, and are counted as sent.
func TestSendSplits(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	var want []string
	for i := range 9 {
		want = append(want, strings.Repeat(string(rune('a'+i)), 300<<10))
	}
	src := &source{schema: texts, end: io.EOF, recs: []arrow.Record{textRecord(mem, want...), textRecord(mem), textRecord(mem, "last")}}
	var told []int64
	s := newStream(t)
	if err := Send(context.Background(), s, s.secret, s.opening, src, func(n int64) { told = append(told, n) }); err != nil {
		t.Fatal(err)
	}
	rows, got, end := s.read(t, texts)
	if end != io.EOF || !slices.Equal(got, append(want, "last")) {
		t.Errorf("%d of %d values, in order, end %v", len(got), len(want)+1, end)
	}
	if !slices.Equal(rows, []int64{2, 2, 2, 3, 1}) || !slices.Equal(told, []int64{2, 4, 6, 9, 10}) {
		t.Errorf("frames of %v rows, told %v", rows, told)
	}
}

// TestSendSplitsRows: a small batch with more rows than the receiver takes.
func TestSendSplitsRows(t *testing.T) {
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	b := array.NewRecordBuilder(mem, bools)
	defer b.Release()
	b.Field(0).(*array.BooleanBuilder).AppendValues(make([]bool, batch.MaxRows+1), nil)
	s := newStream(t)
	if err := Send(context.Background(), s, s.secret, s.opening, &source{schema: bools, end: io.EOF, recs: []arrow.Record{b.NewRecord()}}, nil); err != nil {
		t.Fatal(err)
	}
	rows, _, end := s.read(t, bools)
	if end != io.EOF || !slices.Equal(rows, []int64{batch.MaxRows / 2, batch.MaxRows/2 + 1}) {
		t.Errorf("frames of %v rows, end %v", rows, end)
	}
}

// TestFailedSendHasNoLastFrame: whatever fails, the reader is not told that the stream is whole.
func TestFailedSendHasNoLastFrame(t *testing.T) {
	broken := errors.New("disk")
	ctx, stop := context.WithCancel(context.Background())
	stop()
	secret := "a-value-nobody-may-see"
	for name, c := range map[string]struct {
		ctx  context.Context
		recs func(memory.Allocator) []arrow.Record
		end  error
		is   error
		says string
		rows []int64
	}{
		"source fails": {context.Background(), func(m memory.Allocator) []arrow.Record { return []arrow.Record{textRecord(m, "a", "b")} }, broken, broken, "disk", []int64{2}},
		"cancelled":    {ctx, func(memory.Allocator) []arrow.Record { return nil }, io.EOF, context.Canceled, "", nil},
		"row too large": {context.Background(), func(m memory.Allocator) []arrow.Record {
			return []arrow.Record{textRecord(m, "a", "b"), textRecord(m, "c", secret+strings.Repeat("x", 1<<20), "d")}
		}, io.EOF, sandbox.TooLarge, "row 4", []int64{2, 1}},
		"not UTF-8": {context.Background(), func(m memory.Allocator) []arrow.Record { return []arrow.Record{textRecord(m, secret+"\xff")} }, io.EOF, sandbox.Invalid, "UTF-8", nil},
	} {
		t.Run(name, func(t *testing.T) {
			mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
			defer mem.AssertSize(t, 0)
			s := newStream(t)
			err := Send(c.ctx, s, s.secret, s.opening, &source{schema: texts, recs: c.recs(mem), end: c.end}, nil)
			if !errors.Is(err, c.is) || !strings.Contains(err.Error(), c.says) || strings.Contains(err.Error(), secret) {
				t.Errorf("%v, want %v saying %q", err, c.is, c.says)
			}
			rows, _, end := s.read(t, texts)
			if !slices.Equal(rows, c.rows) || slices.Contains(s.ends, wire.Close) {
				t.Errorf("the reader saw %v rows and %v", rows, s.ends)
			}
			// A table at fault is given up with words; anything else breaks off.
			if gave := slices.Equal(s.ends, []wire.Kind{wire.Abandon}); gave != (c.is == sandbox.TooLarge || c.is == sandbox.Invalid) || gave != (end == io.EOF) {
				t.Errorf("the reader saw %v and %v", s.ends, end)
			}
		})
	}
}

// spare is a source whose origin has headers that nobody reads.
type spare struct {
	*source
	unused []string
}

func (s spare) Unused() []string { return s.unused }

// TestSendSaysWhatNobodyReads in the closing, within its bounds whatever the origin has.
func TestSendSaysWhatNobodyReads(t *testing.T) {
	many := slices.Repeat([]string{"h"}, wire.MaxUnused+9)
	for name, c := range map[string]struct{ unused, want []string }{
		"none":     {nil, nil},
		"two":      {[]string{"ward", "field 4"}, []string{"ward", "field 4"}},
		"too long": {[]string{"", strings.Repeat("h", wire.MaxHeader+1)}, []string{"a header of another length", "a header of another length"}},
		"too many": {many, append(slices.Clone(many[:wire.MaxUnused-1]), "10 more")},
	} {
		s := newStream(t)
		src := spare{&source{schema: texts, end: io.EOF, recs: []arrow.Record{textRecord(memory.DefaultAllocator, "a")}}, c.unused}
		if err := Send(context.Background(), s, s.secret, s.opening, src, nil); err != nil {
			t.Fatal(err)
		}
		s.read(t, texts)
		got, err := wire.ParseClosing(s.closing)
		if err != nil || !slices.Equal(got.Unused, c.want) {
			t.Errorf("%s: the closing says %d headers, want %d, %v", name, len(got.Unused), len(c.want), err)
		}
	}
}

type full struct{ left int }

func (f *full) Write(b []byte) (int, error) {
	if f.left -= len(b); f.left < 0 {
		return 0, io.ErrShortWrite
	}
	return len(b), nil
}

// TestSendStopsWhenTheWireBreaks at any point of the stream.
func TestSendStopsWhenTheWireBreaks(t *testing.T) {
	for _, room := range []int{0, 100, 430} {
		mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
		s := newStream(t)
		src := &source{schema: texts, end: io.EOF, recs: []arrow.Record{textRecord(mem, strings.Repeat("x", 300))}}
		if err := Send(context.Background(), &full{room}, s.secret, s.opening, src, nil); !errors.Is(err, io.ErrShortWrite) {
			t.Errorf("room for %d bytes: %v", room, err)
		}
		for _, r := range src.recs {
			r.Release()
		}
		mem.AssertSize(t, 0)
	}
}
