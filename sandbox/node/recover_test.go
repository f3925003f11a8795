package node

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/apache/arrow/go/v17/arrow/array"
	"github.com/apache/arrow/go/v17/arrow/memory"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/attest/keys"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/classify"
	"github.com/opdomain/opdomain/sandbox/ingest"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
)

func testConfig(dir string) Config {
	return Config{Dir: dir, Passphrase: []byte("test"), Now: func() time.Time { return time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC) }, Rand: rand.Reader, Metrics: api.NewMetrics()}
}

// enrolled makes the identities of one party.
func enrolled(t *testing.T, id sandbox.PartyID, role sandbox.Role) api.Enrolment {
	t.Helper()
	return enrolledIn(t, id, role)
}

func enrolledIn(t testing.TB, id sandbox.PartyID, role sandbox.Role) api.Enrolment {
	t.Helper()
	k, err := keys.Create(filepath.Join(t.TempDir(), string(id)), []byte("x"), keys.Params{Time: 1, Memory: 64, Threads: 1}, rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return api.Enrolment{Party: sandbox.Party{ID: id, Role: role, Name: string(role)}, Identities: []sandbox.Identity{{ID: sandbox.IdentityID(id), Party: id, Duty: sandbox.Officer,
		SignKey: k.SigningKey().Public().Bytes(), EncryptKey: k.DecryptKey().Public().Bytes()}}}
}

func newNode(t *testing.T, dir string) (*Node, api.Caller) {
	t.Helper()
	return newNodeOf(t, dir, enrolled(t, "agency", sandbox.Agency), enrolled(t, "unit", sandbox.Unit))
}

func newNodeOf(t testing.TB, dir string, agency, unit api.Enrolment) (*Node, api.Caller) {
	t.Helper()
	n, err := Create(context.Background(), testConfig(dir), Founding{Domain: "d", Hosting: sandbox.P1, District: "futian", Keys: keys.Params{Time: 1, Memory: 64, Threads: 1},
		Enrolled: []api.Enrolment{agency, unit}})
	if err != nil {
		t.Fatal(err)
	}
	return n, api.Caller{Identity: unit.Identities[0], Party: unit.Party}
}

func closed(t *testing.T, n *Node) {
	t.Helper()
	if err := n.Close(); err != nil {
		t.Fatal(err)
	}
}

func reopen(t *testing.T, dir string) *Node {
	t.Helper()
	n, err := Open(context.Background(), testConfig(dir))
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func kinds(t *testing.T, n *Node, kind attest.Kind) int {
	t.Helper()
	c := 0
	for e, err := range n.evidence.Events(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Event.Kind == kind {
			c++
		}
	}
	return c
}

var persons = catalog.Dataset{ID: "ds-p", Unit: "unit", Title: "p", Frequency: catalog.Daily, Subject: "who", SubjectKind: catalog.Opaque,
	Columns: []catalog.Column{{Name: "who", Type: catalog.Text, Grade: 3, Personal: true}}}

// TestOutboxIsAppendedOnceAfterACrash kills the process, in effect, between the store's commit and the log's append, and
// again between the append and the emptying of the outbox.
func TestOutboxIsAppendedOnceAfterACrash(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	n, _ := newNode(t, dir)
	before := n.evidence.Log().Size()
	p, err := n.evidence.Prepare(n.cfg.Now(), "domain", "bundle/x", attest.BundleExported, attest.BundleExportedBody{Audience: "x", Size: 1})
	if err != nil {
		t.Fatal(err)
	}
	left := func() {
		t.Helper()
		if err := n.docs.outbox.Insert(ctx, outboxID(0, p), "", "pending", p); err != nil {
			t.Fatal(err)
		}
		closed(t, n)
		n = reopen(t, dir)
		if got := n.evidence.Log().Size(); got != before+1 {
			t.Errorf("the log has %d entries, want %d", got, before+1)
		}
		if rows, err := n.docs.outbox.List(ctx, listState("pending")); err != nil || len(rows) != 0 {
			t.Errorf("the outbox holds %d rows, %v", len(rows), err)
		}
	}
	left()                                                          // not yet appended
	if _, err := n.store.Add(ctx, logSize, -1, 1<<40); err != nil { // counted when the outbox is emptied
		t.Fatal(err)
	}
	left() // appended, not yet emptied
	closed(t, n)
}

// opened keeps a run as one whose opening was accepted.
func opened(t *testing.T, n *Node, d catalog.Dataset, run sandbox.RunID) {
	t.Helper()
	digest := schemaDigest(d)
	o, _, err := channel.NewOpening(rand.Reader, n.keys.DecryptKey().Public(), channel.Opening{From: "unit", To: domainIdentity, Domain: "d", Run: run, Dataset: d.ID,
		SchemaDigest: digest[:], Created: n.now()})
	if err != nil {
		t.Fatal(err)
	}
	r := pushRecord{Push: api.Push{Run: run, Dataset: d.ID, State: pushOpen}, Party: "unit", First: wire.Opening{Stream: o}.Encode(), Opened: n.now()}
	if err := n.docs.pushes.Insert(t.Context(), string(run), "unit", pushOpen, r); err != nil {
		t.Fatal(err)
	}
}

// TestVersionCommittedBeforeACrashIsTakenUp commits to the vault and dies before the catalogue learns of it.
func TestVersionCommittedBeforeACrashIsTakenUp(t *testing.T) {
	found := map[string]any{"Findings": []classify.ColumnFinding{{Column: "who", Finding: classify.ResidentID, Grade: 3, Personal: true}}, "Quality": catalog.Quality{Dataset: "ds-p", Version: 1, Rows: 1}}
	t.Run("with what was found", func(t *testing.T) { takenUp(t, found, sandbox.Grade3) })
	t.Run("found nothing known", func(t *testing.T) { takenUp(t, nil, sandbox.Grade4) })
}

func takenUp(t *testing.T, found map[string]any, detected sandbox.Grade) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	n, unit := newNode(t, dir)
	d, err := n.RegisterDataset(ctx, unit, persons)
	if err != nil {
		t.Fatal(err)
	}
	opened(t, n, d, "run-1")
	b := array.NewRecordBuilder(memory.DefaultAllocator, batch.Schema(d))
	defer b.Release()
	b.Field(0).(*array.StringBuilder).Append("somebody")
	rec := b.NewRecord()
	defer rec.Release()
	w, err := n.vault.Begin(ctx, d.Unit, d.ID, "run-1", batch.Schema(d), 3)
	if err != nil {
		t.Fatal(err)
	}
	var sent ingest.Progress
	sent.Rows = 1
	sent.Chain.Add(wire.Leaf([]byte("batch")))
	w.Mark(func() []byte {
		m := struct {
			ingest.Progress
			Facts any `json:",omitempty"`
		}{Progress: sent}
		if found != nil {
			m.Facts = found
		}
		b, err := json.Marshal(m)
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
	if err := w.Write(ctx, rec, []sandbox.Pseudonym{{1}}); err != nil {
		t.Fatal(err)
	}
	if _, err := w.Commit(ctx); err != nil {
		t.Fatal(err)
	}
	closed(t, n)
	n = reopen(t, dir)
	opened(t, n, d, "run-2")
	closed(t, n)
	for range 2 { // taken up once
		n = reopen(t, dir)
		got, err := n.Dataset(ctx, unit, d.ID)
		if err != nil || got.Version != 1 || got.Rows != 1 {
			t.Fatalf("version %d, %d rows, %v", got.Version, got.Rows, err)
		}
		if c, _ := got.Column("who"); c.Detected != detected {
			t.Errorf("the column is detected as grade %d, want %d", c.Detected, detected)
		}
		if _, _, err := n.docs.quality.Get(ctx, factID(d.ID, "v", 1)); (err == nil) != (found != nil) {
			t.Errorf("quality of the version: %v", err)
		}
		p, err := n.Push(ctx, unit, "run-1")
		if err != nil || p.State != pushCommitted {
			t.Errorf("push %+v %v", p, err)
		}
		if again := held(p); again.ResumeFrom != 1 || !bytes.Equal(again.Prefix, sent.Chain.Sum[:]) {
			t.Errorf("the run's sender is told %d batches of digest %x", again.ResumeFrom, again.Prefix)
		}
		if p, err := n.Push(ctx, unit, "run-2"); err != nil || p.State != pushOpen {
			t.Errorf("the interrupted push is %+v %v", p, err)
		}
		if c := kinds(t, n, attest.IngestCommitted); c != 1 {
			t.Errorf("%d events of the commit", c)
		}
		closed(t, n)
	}
	// The other way round: a vault put back to an earlier state is a named error.
	if err := os.RemoveAll(filepath.Join(dir, "vault", "ds-p")); err != nil {
		t.Fatal(err)
	}
	var e *sandbox.Error
	if n, err := Open(ctx, testConfig(dir)); !errors.As(err, &e) || e.Kind != sandbox.Tampered || e.Object != "ds-p" || e.Hint == "" {
		if err == nil {
			closed(t, n)
		}
		t.Errorf("a domain whose vault lost a dataset opens: %v", err)
	}
}

// TestLogFailureLosesNothing makes the log unwritable: the caller gets an error, and the events come first once it works.
func TestLogFailureLosesNothing(t *testing.T) {
	ctx, dir := context.Background(), filepath.Join(t.TempDir(), "d")
	n, unit := newNode(t, dir)
	size := n.evidence.Log().Size()
	if err := n.evidence.Log().Close(); err != nil { // every write fails from here on
		t.Fatal(err)
	}
	if _, err := n.RegisterDataset(ctx, unit, persons); !errors.Is(err, sandbox.Unavailable) {
		t.Fatalf("registered without evidence: %v", err)
	}
	_ = n.Close()
	n = reopen(t, dir)
	defer closed(t, n)
	if got := n.evidence.Log().Size(); got != size+1 {
		t.Errorf("the log has %d entries, want %d", got, size+1)
	}
	if kinds(t, n, attest.DatasetRegistered) != 1 {
		t.Error("the change is kept without its event")
	}
}

// TestOwnCalendar gives a domain the notice of a further year by a file, and refuses a broken one by name.
func TestOwnCalendar(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	n, _ := newNode(t, dir)
	far := time.Date(2027, 3, 1, 9, 0, 0, 0, time.UTC)
	if _, err := n.calendar.AddWorkingDays(far, 5); !errors.Is(err, sandbox.Unavailable) {
		t.Fatalf("a year without a notice: %v", err)
	}
	closed(t, n)
	path := filepath.Join(dir, calendarFile)
	if err := os.WriteFile(path, []byte(`[{"year": 2027, "notice": "n", "number": "1", "holidays": [{"name": "元旦", "from": "2027-01-01", "to": "2027-01-03"}], "workdays": []}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	n = reopen(t, dir)
	if due, err := n.calendar.AddWorkingDays(far, 5); err != nil || due.Format(time.DateOnly) != "2027-03-08" {
		t.Errorf("due %v %v", due, err)
	}
	closed(t, n)
	if err := os.WriteFile(path, []byte(`[{"year": 2027}]`), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Open(context.Background(), testConfig(dir)); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a broken calendar: %v", err)
	}
}
