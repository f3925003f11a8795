package push

import (
	"context"
	"crypto/rand"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/connectors"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
)

// done is a domain in which the run is committed.
type done struct{ standing wire.Standing }

func (d done) Open(context.Context, []byte) (wire.Standing, error) { return d.standing, nil }
func (d done) Frames(context.Context, []byte, sandbox.RunID, io.ReadCloser) (wire.Report, error) {
	return wire.Report{}, errors.New("frames for a run that is committed")
}

// TestCommittedRunHoldsContent: a run that was committed is done for the content it holds, and for no other.
func TestCommittedRunHoldsContent(t *testing.T) {
	key, err := sm.NewDecryptKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	mem := memory.NewCheckedAllocator(memory.DefaultAllocator)
	defer mem.AssertSize(t, 0)
	run := func(standing wire.Standing, batches ...string) error {
		src := &source{schema: texts, end: io.EOF}
		for _, b := range batches {
			src.recs = append(src.recs, textRecord(mem, b))
		}
		defer func() {
			for _, r := range src.recs { // those behind the first that differs are not read
				r.Release()
			}
		}()
		_, err := Run(context.Background(), done{standing}, Plan{
			Source: func(context.Context) (connectors.Source, error) { return src, nil },
			Sleep:  func(context.Context, time.Duration) error { return errors.New("tried again") },
			Opening: func() (wire.Opening, *channel.Secret, error) {
				o, secret, err := channel.NewOpening(rand.Reader, key.Public(), channel.Opening{From: "unit-1", To: "domain", Domain: "d", Run: "run-1", Dataset: "ds-1",
					SchemaDigest: make([]byte, sm.Size), Created: time.Date(2026, 3, 1, 0, 0, 0, 0, time.UTC)})
				return wire.Opening{Stream: o}, secret, err
			}})
		return err
	}
	held := wire.Standing{Run: "run-1", Dataset: "ds-1", State: wire.Committed, Report: &wire.Report{Run: "run-1", Version: 3}}
	s := sender{from: wire.Standing{ResumeFrom: 3}} // nothing is compared or sent here
	for _, v := range []string{"a", "b"} {
		rec := textRecord(mem, v)
		if err := s.batch(rec); err != nil {
			t.Fatal(err)
		}
		rec.Release()
	}
	held.ResumeFrom, held.Prefix = s.chain.N, s.chain.Sum[:]
	if err := run(held, "a", "b"); err != nil {
		t.Errorf("the same content: %v", err)
	}
	unknown := held
	unknown.ResumeFrom, unknown.Prefix = 0, nil
	for name, err := range map[string]error{
		"another value": run(held, "a", "c"), "fewer batches": run(held, "a"), "more batches": run(held, "a", "b", "c"), "nothing": run(held),
		"what is held is not said": run(unknown, "a", "b"),
	} {
		if !errors.Is(err, sandbox.Conflict) || !strings.Contains(err.Error(), "committed other content") {
			t.Errorf("%s: %v", name, err)
		}
	}
}
