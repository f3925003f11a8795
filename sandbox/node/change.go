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
	"github.com/opdomain/opdomain/sandbox/bill"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/grant"
	"github.com/opdomain/opdomain/sandbox/meter"
	"github.com/opdomain/opdomain/sandbox/store"
)

// collections are the kinds of documents a domain keeps; every body is sealed by the store.
type collections struct {
	parties    store.Collection[sandbox.Party]
	identities store.Collection[sandbox.Identity]
	subjects   store.Collection[subjectRecord]
	datasets   store.Collection[catalog.Dataset]
	pushes     store.Collection[pushRecord]
	scenarios  store.Collection[grant.Scenario]
	consents   store.Collection[consentRecord]
	questions  store.Collection[questionRecord]
	releases   store.Collection[releaseRecord]
	usage      store.Collection[meter.Event]
	invoices   store.Collection[bill.Invoice]
	outbox     store.Collection[attest.Prepared]
}

func newCollections(s *store.Store) collections {
	return collections{
		parties:    store.NewCollection[sandbox.Party](s, "party"),
		identities: store.NewCollection[sandbox.Identity](s, "identity"),
		subjects:   store.NewCollection[subjectRecord](s, "subject"),
		datasets:   store.NewCollection[catalog.Dataset](s, "dataset"),
		pushes:     store.NewCollection[pushRecord](s, "push"),
		scenarios:  store.NewCollection[grant.Scenario](s, "scenario"),
		consents:   store.NewCollection[consentRecord](s, "consent"),
		questions:  store.NewCollection[questionRecord](s, "question"),
		releases:   store.NewCollection[releaseRecord](s, "release"),
		usage:      store.NewCollection[meter.Event](s, "usage"),
		invoices:   store.NewCollection[bill.Invoice](s, "invoice"),
		outbox:     store.NewCollection[attest.Prepared](s, "outbox"),
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

// record adds an event to the change. The first failure is returned by Node.change, which then changes nothing.
func (c *change) record(kind attest.Kind, object string, body any) {
	if c.err != nil {
		return
	}
	p, err := c.n.evidence.Prepare(c.at, c.actor, object, kind, body)
	if err != nil {
		c.err = err
		return
	}
	c.events = append(c.events, p)
}

// change runs do in one transaction together with the outbox rows of its events, then appends the events to the log.
// When it returns nil both are durable. When the append fails the change stays in the store with its events in the
// outbox, and the error says so: nothing is handed to the caller, and the events are appended before any later one.
func (n *Node) change(ctx context.Context, actor sandbox.IdentityID, do func(ctx context.Context, tx *change) error) error {
	n.mu.Lock()
	defer n.mu.Unlock()
	return n.changeLocked(ctx, actor, do)
}

func (n *Node) changeLocked(ctx context.Context, actor sandbox.IdentityID, do func(ctx context.Context, tx *change) error) error {
	if err := n.drain(ctx); err != nil { // an earlier append failed: its events come first or nothing does
		return err
	}
	c := &change{n: n, at: n.cfg.Now().UTC().Truncate(time.Millisecond), actor: actor}
	err := n.store.Tx(ctx, func(ctx context.Context) error {
		c.events, c.err = nil, nil
		if err := do(ctx, c); err != nil {
			return err
		}
		if c.err != nil {
			return c.err
		}
		for i, e := range c.events {
			if err := n.docs.outbox.Insert(ctx, outboxID(i, e), "", "pending", e); err != nil {
				return err
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return n.drain(ctx)
}

// outboxID sorts the events of one change; the outbox holds at most one change at a time.
func outboxID(i int, e attest.Prepared) string { return fmt.Sprintf("%04d-%x", i, e.Entry[:12]) }

// drain appends what the outbox holds, skipping what the log already has, and empties it.
func (n *Node) drain(ctx context.Context) error {
	rows, err := n.docs.outbox.List(ctx, store.Filter{})
	if err != nil || len(rows) == 0 {
		return err
	}
	var missing []attest.Prepared
	for _, r := range rows {
		if !n.evidence.Has(r.Value.Entry) {
			missing = append(missing, r.Value)
		}
	}
	if len(missing) > 0 {
		if _, err := n.evidence.Append(ctx, missing...); err != nil {
			return &sandbox.Error{Op: "evidence", Kind: sandbox.Unavailable, Object: "outbox", Detail: "the events of the last change are not in the log yet",
				Hint: "free the disk or restore the log; the change is kept and its events are appended first", Err: err}
		}
	}
	return n.store.Tx(ctx, func(ctx context.Context) error {
		for _, r := range rows {
			if err := n.docs.outbox.Delete(ctx, r.ID); err != nil {
				return err
			}
		}
		known, err := n.store.Counter(ctx, logSize)
		if err != nil {
			return err
		}
		_, err = n.store.Add(ctx, logSize, int64(n.evidence.Log().Size())-known, math.MaxInt64)
		return err
	})
}

// logSize counts in the store the entries the log had after the last change. The two are kept in different files; when
// they disagree with nothing in the outbox, one of them was put back to an earlier state.
const logSize = "log.size"

// aligned refuses a log older than the store or a store older than the log. Both put back together is for witnesses of
// checkpoints to see.
func (n *Node) aligned(ctx context.Context) error {
	known, err := n.store.Counter(ctx, logSize)
	if err != nil {
		return err
	}
	size := int64(n.evidence.Log().Size())
	if size == known {
		return nil
	}
	older := "log"
	if size > known {
		older = "domain.db"
	}
	return &sandbox.Error{Op: "open", Kind: sandbox.Tampered, Object: older,
		Detail: fmt.Sprintf("the log has %d entries, the store knows %d: %s was put back to an earlier state", size, known, older),
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
