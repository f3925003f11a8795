package node

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/bill"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/egress"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/store"
)

// collections are the kinds of documents a domain keeps; every body is sealed by the store.
type collections struct {
	parties     store.Collection[sandbox.Party]
	identities  store.Collection[sandbox.Identity]
	subjects    store.Collection[subjectRecord]
	revocations store.Collection[api.Revocation]
	datasets    store.Collection[catalog.Dataset]
	pushes      store.Collection[pushRecord]
	scenarios   store.Collection[grant.Scenario]
	consents    store.Collection[consentRecord]
	questions   store.Collection[questionRecord]
	draws       store.Collection[drawRecord]
	releases    store.Collection[releaseRecord]
	usage       store.Collection[meter.Event]
	invoices    store.Collection[bill.Invoice]
	outbox      store.Collection[attest.Prepared]
	witnesses   store.Collection[Witnesses]
	quarantine  store.Collection[wire.Quarantine]
	fresh       store.Collection[freshness]
	erasures    store.Collection[erasureRecord]
	authority   store.Collection[authorityRecord]
	pairs       store.Collection[pairRecord]
	restored    store.Collection[restoration]
	views       store.Collection[viewRecord]
	maskings    store.Collection[maskingRecord]
	entries     store.Collection[catalog.Entry]
	revisions   store.Collection[catalog.Revision]
	quality     store.Collection[catalog.Quality]
	gradings    store.Collection[gradingRecord]
	rules       store.Collection[rulesRecord]
	regradings  store.Collection[api.Regrading]
	templates   store.Collection[egress.Template]
	algorithms  store.Collection[algorithmRecord]
	images      store.Collection[imagePart]
	models      store.Collection[scoringModelRecord]
}

func newCollections(s *store.Store) collections {
	return collections{
		parties:     store.NewCollection[sandbox.Party](s, "party"),
		identities:  store.NewCollection[sandbox.Identity](s, "identity"),
		subjects:    store.NewCollection[subjectRecord](s, "subject"),
		revocations: store.NewCollection[api.Revocation](s, "revocation"),
		datasets:    store.NewCollection[catalog.Dataset](s, "dataset"),
		pushes:      store.NewCollection[pushRecord](s, "push"),
		scenarios:   store.NewCollection[grant.Scenario](s, "scenario"),
		consents:    store.NewCollection[consentRecord](s, "consent"),
		questions:   store.NewCollection[questionRecord](s, "question"),
		draws:       store.NewCollection[drawRecord](s, "draw"),
		releases:    store.NewCollection[releaseRecord](s, "release"),
		usage:       store.NewCollection[meter.Event](s, "usage"),
		invoices:    store.NewCollection[bill.Invoice](s, "invoice"),
		outbox:      store.NewCollection[attest.Prepared](s, "outbox"),
		witnesses:   store.NewCollection[Witnesses](s, "witnesses"),
		quarantine:  store.NewCollection[wire.Quarantine](s, "quarantine"),
		fresh:       store.NewCollection[freshness](s, "fresh"),
		erasures:    store.NewCollection[erasureRecord](s, "erasure"),
		authority:   store.NewCollection[authorityRecord](s, "authority"),
		pairs:       store.NewCollection[pairRecord](s, "certificates"),
		restored:    store.NewCollection[restoration](s, "restored"),
		views:       store.NewCollection[viewRecord](s, "view"),
		maskings:    store.NewCollection[maskingRecord](s, "masking"),
		entries:     store.NewCollection[catalog.Entry](s, "entry"),
		revisions:   store.NewCollection[catalog.Revision](s, "revision"),
		quality:     store.NewCollection[catalog.Quality](s, "quality"),
		gradings:    store.NewCollection[gradingRecord](s, "grading"),
		rules:       store.NewCollection[rulesRecord](s, "rules"),
		regradings:  store.NewCollection[api.Regrading](s, "regrading"),
		templates:   store.NewCollection[egress.Template](s, "template"),
		algorithms:  store.NewCollection[algorithmRecord](s, "algorithm"),
		images:      store.NewCollection[imagePart](s, "image"),
		models:      store.NewCollection[scoringModelRecord](s, "model"),
	}
}

// change is one change of state with the events that prove it.
type change struct {
	n      *Node
	at     time.Time
	actor  sandbox.IdentityID
	events []attest.Prepared
	err    error
}

// record adds an event to the change, sealed for the given audiences beside the auditors; see audiences. The first failure
// is returned by Node.change, which then changes nothing.
func (c *change) record(kind attest.Kind, object string, body any, to ...audienceName) {
	if c.err != nil {
		return
	}
	p, err := c.n.evidence.Prepare(c.at, c.actor, object, kind, body, names(to)...)
	if err != nil {
		c.err = err
		return
	}
	c.events = append(c.events, p)
}

// waiting is a change that has not run yet, or has.
type waiting struct {
	change
	do      func(ctx context.Context, tx *change) error
	caller  context.Context
	done    bool
	failed  error
	panicky any // what do panicked with, to be raised again where it was called
}

// maxTogether bounds how many changes share one transaction.
const maxTogether = 256

// change runs do in one transaction together with the outbox rows of its events, then appends the events to the log.
// When it returns nil both are durable. When the append fails the change stays in the store with its events in the
// outbox, and the error says so: nothing is handed to the caller, and the events are appended before any later one.
//
// Changes asked for at the same time share a transaction, a sync of the log and a checkpoint: whoever gets the lock first
// runs them all, in the order they were asked for, each in a savepoint of its own. What one does, the next one sees.
func (n *Node) change(ctx context.Context, actor sandbox.IdentityID, do func(ctx context.Context, tx *change) error) error {
	if n.admitting.Load() != takesOn {
		if err := n.admitted(); err != nil {
			return err
		}
	}
	w := &waiting{change: change{n: n, actor: actor}, do: do, caller: ctx}
	n.queueMu.Lock()
	n.queue = append(n.queue, w)
	n.queueMu.Unlock()
	n.mu.Lock()
	defer n.mu.Unlock()
	for !w.done {
		n.queueMu.Lock()
		batch := n.queue[:min(len(n.queue), maxTogether)]
		n.queue = n.queue[len(batch):]
		n.queueMu.Unlock()
		n.together(batch)
	}
	if w.panicky != nil {
		panic(w.panicky)
	}
	return w.failed
}

// together runs a batch of changes. Callers hold mu.
func (n *Node) together(batch []*waiting) {
	// A caller that goes away takes its own change back, not the others'.
	ctx := context.WithoutCancel(batch[0].caller)
	err := n.drain(ctx) // an earlier append failed: its events come first or nothing does
	var events []attest.Prepared
	if err == nil {
		err = n.store.Tx(ctx, func(ctx context.Context) error {
			events = events[:0]
			if err := n.clearOutbox(ctx); err != nil {
				return err
			}
			for _, w := range batch {
				if w.failed = n.one(ctx, w); w.failed == nil {
					events = append(events, w.events...)
				}
			}
			for i, e := range events {
				if err := n.docs.outbox.Insert(ctx, outboxID(i, e), "", "pending", e); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err == nil {
		n.logged = nil
		if len(events) > 0 {
			n.unlogged = events
			err = n.drain(ctx)
		}
	}
	for _, w := range batch {
		if w.failed == nil {
			w.failed = err
		}
		w.done = true
	}
}

// one runs a change in a savepoint.
func (n *Node) one(ctx context.Context, w *waiting) error {
	if err := w.caller.Err(); err != nil {
		return &sandbox.Error{Op: "change", Kind: sandbox.Unavailable, Detail: "the request ended before its change began", Err: err}
	}
	if err := n.steady(); err != nil {
		return err
	}
	w.at = n.now().UTC().Truncate(time.Millisecond)
	n.passed(w.at)
	return n.store.Tx(ctx, func(ctx context.Context) (err error) {
		defer func() {
			if p := recover(); p != nil {
				w.panicky = p
				err = &sandbox.Error{Op: "change", Kind: sandbox.Internal, Detail: "panicked"}
			}
		}()
		w.events, w.err = nil, nil
		if err := w.do(ctx, &w.change); err != nil {
			return err
		}
		return w.err
	})
}

// outboxID sorts the events of one transaction; the outbox holds those of the last one only.
func outboxID(i int, e attest.Prepared) string { return fmt.Sprintf("%06d-%x", i, e.Entry[:12]) }

// drain appends the events that are in the store and not in the log. Callers hold mu.
func (n *Node) drain(ctx context.Context) error {
	if len(n.unlogged) == 0 {
		return nil
	}
	if _, err := n.evidence.Append(ctx, n.unlogged...); err != nil {
		return &sandbox.Error{Op: "evidence", Kind: sandbox.Unavailable, Object: "outbox", Detail: "the events of the last change are not in the log yet",
			Hint: "free the disk or restore the log; the change is kept and its events are appended first", Err: err}
	}
	n.logged, n.unlogged = append(n.logged, n.unlogged...), nil
	return nil
}

// clearOutbox takes logged events out of the outbox and counts them, inside the next transaction: a sync less.
func (n *Node) clearOutbox(ctx context.Context) error {
	if len(n.logged) == 0 {
		return nil
	}
	for i, e := range n.logged {
		if err := n.docs.outbox.Delete(ctx, outboxID(i, e)); err != nil {
			return err
		}
	}
	_, err := n.store.Add(ctx, logSize, int64(len(n.logged)), math.MaxInt64)
	return err
}

// tidy empties the outbox without a change that it could go with. Callers hold mu, or are alone.
func (n *Node) tidy(ctx context.Context) error {
	if len(n.logged) == 0 {
		return nil
	}
	if err := n.store.Tx(ctx, n.clearOutbox); err != nil {
		return err
	}
	n.logged = nil
	return nil
}

// logSize counts in the store the entries the log had before the last transaction. The two are kept in different files;
// when they disagree by anything but what the outbox holds, one of them was put back to an earlier state.
const logSize = "log.size"

// align brings log and outbox together after a crash, and refuses a log older than the store or a store older than the
// log. Both put back together is what witnesses of checkpoints see.
func (n *Node) align(ctx context.Context) error {
	rows, err := n.docs.outbox.List(ctx, store.Filter{})
	if err != nil {
		return err
	}
	known, err := n.store.Counter(ctx, logSize)
	if err != nil {
		return err
	}
	size := int64(n.evidence.Log().Size())
	older := ""
	for _, r := range rows {
		if size < known {
			break
		}
		has, err := n.evidence.HasFrom(uint64(known), r.Value.Entry)
		if err != nil {
			return err
		}
		if has {
			n.logged = append(n.logged, r.Value)
		} else {
			n.unlogged = append(n.unlogged, r.Value)
		}
	}
	switch {
	case size < known:
		older = "log"
	case size > known+int64(len(n.logged)):
		older = "domain.db"
	default:
		if err := n.drain(ctx); err != nil {
			return err
		}
		return n.tidy(ctx)
	}
	return &sandbox.Error{Op: "open", Kind: sandbox.Tampered, Object: older,
		Detail: fmt.Sprintf("the log has %d entries, the store knows %d: %s was put back to an earlier state", size, known+int64(len(n.logged)), older),
		Hint:   "restore log, domain.db and vault from the same backup"}
}

// newID draws a short random identifier with a prefix; 80 bits, so that ids say nothing about how many there are.
func (n *Node) newID(prefix string) (string, error) {
	var b [10]byte
	if _, err := io.ReadFull(n.cfg.Rand, b[:]); err != nil {
		return "", &sandbox.Error{Op: "new id", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	return fmt.Sprintf("%s-%x", prefix, b), nil
}

// salted gives a digest of bytes small enough to guess: HMAC-SM3 under the domain's digest key would be linkable, so
// each carries its own random salt, kept with the document.
func (n *Node) salted(b []byte) (digest, salt []byte, err error) {
	salt = make([]byte, 32)
	if _, err := io.ReadFull(n.cfg.Rand, salt); err != nil {
		return nil, nil, &sandbox.Error{Op: "salt", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	d := sm.HMAC(salt, b)
	return d[:], salt, nil
}

func strictJSON(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return fmt.Errorf("bytes after the value")
	}
	return nil
}
