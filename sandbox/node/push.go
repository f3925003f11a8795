package node

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/batch"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/ingest"
	"github.com/opdomain/opdomain/sandbox/ingest/wire"
	"github.com/opdomain/opdomain/sandbox/store"
)

// contextStream is what a unit signs a push opening under.
const contextStream = "opdomain/stream/v1"

// States of a push.
const (
	pushOpen      = "open"      // what is durable of it is kept, more may come
	pushCommitted = "committed" // a version
	pushRefused   = "refused"   // nothing of it was kept; a retry is a new run
)

const (
	openingAge = 10 * time.Minute // how long an opening waits for its frames, and how old it may be when it arrives
	openRunAge = 24 * time.Hour   // how long a run may stay open between its streams
)

// Rules of refusals beside the kinds of errors and schema-drift.
const (
	ruleNoRoom    = "no-room"   // the disk is full, or down to its reserve
	ruleAbandoned = "abandoned" // by its unit or the agency
)

// pushLimits bound one push.
var pushLimits = ingest.Limits{Batch: batch.Limits{Rows: 1 << 16}, Rows: 1 << 32, Batches: 1 << 24}

// pushRecord is a push as the store keeps it.
type pushRecord struct {
	Push   api.Push
	Party  sandbox.PartyID
	First  []byte // the run's first opening: every later one must agree with it
	Opened time.Time
}

// streaming is an opening that waits for its frames, or whose frames are coming. Its secret lives in memory only.
type streaming struct {
	opening []byte
	secret  *channel.Secret // nil once its frames came
	opened  time.Time
	stop    context.CancelFunc // of the stream under way
	done    chan struct{}      // closed when it has ended; nil before it began
}

// OpenPush accepts the signed opening of one stream of a run, for a dataset of the caller's own. The first opening of a run
// begins it; a further one goes on where it stands, under a new secret; that of a committed run gets its report and what it
// holds, with which the sender compares.
func (n *Node) OpenPush(ctx context.Context, c api.Caller, o api.PushOpening) (api.Push, error) {
	op, secret, err := n.opening(c, o)
	if err != nil {
		return api.Push{}, err
	}
	d, _, err := n.docs.datasets.Get(ctx, string(op.Stream.Dataset))
	if err != nil {
		return api.Push{}, err
	}
	if d.Unit != c.Party.ID {
		return api.Push{}, pushError(op, sandbox.Denied, "a unit pushes to its own datasets only", "")
	}
	if n.outside(d.ID) {
		return api.Push{}, pushError(op, sandbox.Conflict, "its rows stay outside: questions over it are computed over shares", "register what is to be pushed as another dataset")
	}
	r, _, err := n.docs.pushes.Get(ctx, string(op.Stream.Run))
	switch {
	case err == nil:
		return n.openAgain(ctx, c, op, o.Opening, secret, r)
	case !errors.Is(err, sandbox.NotFound):
		return api.Push{}, err
	}
	if err := n.vault.Room(); err != nil {
		return api.Push{}, err
	}
	if _, err := n.drifted(ctx, c, d, op); err != nil {
		return api.Push{}, err
	}
	digest := sm.Sum(o.Opening)
	r = pushRecord{Push: api.Push{Run: op.Stream.Run, Dataset: op.Stream.Dataset, State: pushOpen, OpeningDigest: digest[:]}, Party: c.Party.ID, First: o.Opening, Opened: n.now()}
	n.streamMu.Lock()
	defer n.streamMu.Unlock()
	if err := n.docs.pushes.Insert(ctx, string(op.Stream.Run), string(c.Party.ID), pushOpen, r); err != nil {
		if errors.Is(err, sandbox.Conflict) {
			return api.Push{}, pushError(op, sandbox.Conflict, "this run id was used before", "open it again")
		}
		return api.Push{}, err
	}
	n.streams[op.Stream.Run] = &streaming{opening: o.Opening, secret: secret, opened: r.Opened}
	return r.Push, nil
}

func pushError(op wire.Opening, kind sandbox.Kind, rule, hint string) error {
	return &sandbox.Error{Op: "push: open", Kind: kind, Object: string(op.Stream.Dataset), Detail: rule, Hint: hint}
}

// opening checks what an opening says of itself and opens its secret.
func (n *Node) opening(c api.Caller, o api.PushOpening) (wire.Opening, *channel.Secret, error) {
	full, err := wire.ParseOpening(o.Opening)
	if err != nil {
		return full, nil, err
	}
	op := full.Stream
	fail := func(kind sandbox.Kind, rule, hint string) (wire.Opening, *channel.Secret, error) {
		return full, nil, pushError(full, kind, rule, hint)
	}
	key, err := sm.ParseVerifyKey(c.Identity.SignKey)
	if err != nil {
		return full, nil, err
	}
	if err := key.Verify(contextStream, o.Opening, o.Signature); err != nil || op.From != c.Identity.ID {
		return fail(sandbox.Unsigned, "the opening is signed by the identity that sends it", "")
	}
	if op.To != domainIdentity || op.Domain != n.desc.Domain {
		return fail(sandbox.Invalid, "the opening names this domain", "read /v1/domain again")
	}
	if age := n.now().Sub(op.Created); age > openingAge || age < -time.Minute {
		return fail(sandbox.Expired, "an opening is at most ten minutes old and not from the future", "make a new opening; check the clock")
	}
	if err := sandbox.CheckID("run", string(op.Run)); err != nil {
		return full, nil, err
	}
	secret, err := op.Unwrap(n.keys.DecryptKey())
	if err != nil {
		return fail(sandbox.Invalid, "the stream secret is sealed to this domain's encryption key", "read /v1/domain again")
	}
	return full, secret, nil
}

// openAgain takes a further opening of a run: same content, new secret. A stream still under way ends first.
func (n *Node) openAgain(ctx context.Context, c api.Caller, op wire.Opening, opening []byte, secret *channel.Secret, r pushRecord) (api.Push, error) {
	used := pushError(op, sandbox.Conflict, "this run id was used before", "retry it under a new run id")
	if r.Party != c.Party.ID {
		return api.Push{}, used
	}
	if r.Push.State == pushRefused {
		return api.Push{}, refusedBefore(op, r)
	}
	first, err := wire.ParseOpening(r.First)
	if err != nil {
		return api.Push{}, err
	}
	if part := first.Same(op); part != "" {
		return api.Push{}, pushError(op, sandbox.Conflict, "this run id was used before with another "+part, "send other content as a new run")
	}
	if err := n.endStream(ctx, op.Stream.Run); err != nil {
		return api.Push{}, err
	}
	n.streamMu.Lock() // no other opening, and no frames, of the run meanwhile: one at a time may look at its stage
	defer n.streamMu.Unlock()
	if n.begun(op.Stream.Run) {
		return api.Push{}, notEnded(op.Stream.Run)
	}
	r, rev, err := n.docs.pushes.Get(ctx, string(op.Stream.Run)) // what the ended stream has made of it
	if err != nil {
		return api.Push{}, err
	}
	if r.Push.State == pushCommitted {
		return held(r.Push), nil
	}
	if r.Push.State != pushOpen {
		return api.Push{}, refusedBefore(op, r)
	}
	if err := n.vault.Room(); err != nil { // what is staged stays, to go on with when there is room
		return api.Push{}, err
	}
	at, err := n.intake.Standing(ctx, op.Stream.Dataset, op.Stream.Run)
	if errors.Is(err, sandbox.Conflict) || errors.Is(err, sandbox.Tampered) { // overtaken by another run's commit, or its stage was changed
		return api.Push{}, errors.Join(err, n.intake.Drop(op.Stream.Dataset, op.Stream.Run), n.recordRefusal(ctx, c.Identity.ID, r, string(sandbox.KindOf(err))))
	}
	if err != nil {
		return api.Push{}, err
	}
	digest := sm.Sum(opening)
	r.Push.OpeningDigest = digest[:]
	r.Push.ResumeFrom, r.Push.Prefix = at.Chain.N, at.Chain.Sum[:]
	if _, err := n.docs.pushes.Update(ctx, string(op.Stream.Run), rev, string(r.Party), pushOpen, r); err != nil {
		return api.Push{}, err
	}
	n.streams[op.Stream.Run] = &streaming{opening: opening, secret: secret, opened: n.now()}
	return r.Push, nil
}

// refusedBefore says that a run came to nothing, and why.
func refusedBefore(op wire.Opening, r pushRecord) error {
	return pushError(op, sandbox.Conflict, "this run was refused: "+r.Push.Rule, "a refused push is not repeated: retry it under a new run id")
}

// held says what a committed run holds in the form an open one says where it stands, so that its sender compares: a run id
// does not stand for content.
func held(p api.Push) api.Push {
	if rep := p.Report; rep != nil {
		p.ResumeFrom, p.Prefix = rep.Batches, rep.Digest
	}
	return p
}

// endStream stops a stream of a run that is under way and waits for its end.
func (n *Node) endStream(ctx context.Context, run sandbox.RunID) error {
	n.streamMu.Lock()
	s := n.streams[run]
	if s == nil || s.done == nil {
		n.streamMu.Unlock()
		return nil
	}
	s.stop()
	done := s.done
	n.streamMu.Unlock()
	select {
	case <-done:
		return nil
	case <-ctx.Done():
		return notEnded(run)
	}
}

func notEnded(run sandbox.RunID) error {
	return &sandbox.Error{Op: "push: open", Kind: sandbox.Unavailable, Object: string(run), Detail: "an earlier stream of this run has not ended yet", Hint: "open it again"}
}

// drifted gives a dataset's description under the schema of a push: the registered one, or one whose drift passes. Any
// other is put into quarantine, which its unit and the agency can list.
func (n *Node) drifted(ctx context.Context, c api.Caller, d catalog.Dataset, op wire.Opening) (catalog.Dataset, error) {
	digest := schemaDigest(d)
	if string(op.Stream.SchemaDigest) == string(digest[:]) {
		return d, nil
	}
	var drift catalog.Drift
	var refused error // a change that would pass, but for what is registered beside the schema
	reason := "the schema is not the registered one and was not sent along"
	if op.Schema != nil {
		s, err := catalog.ParseSchema(op.Schema)
		if err != nil {
			return d, err
		}
		drift = catalog.Compare(d.Schema(), s)
		reason = drift.String()
		if drift.Passes() {
			out, err := d.Adopt(s, op.Declared)
			why := (*sandbox.Error)(nil)
			if !errors.As(err, &why) || why.Kind != sandbox.Conflict {
				return out, err
			}
			refused, reason = err, strings.TrimPrefix(why.Detail, "schema drift: ")
		}
	}
	q := wire.Quarantine{Run: op.Stream.Run, Dataset: d.ID, Digest: op.Stream.SchemaDigest, Drift: drift, Reason: reason, At: n.now().UTC()}
	err := n.change(ctx, c.Identity.ID, func(ctx context.Context, tx *change) error {
		if _, err := n.docs.quarantine.Once(ctx, string(op.Stream.Run), string(d.Unit), "held", q); err != nil && !errors.Is(err, sandbox.Conflict) {
			return err
		}
		tx.record(attest.IngestRefused, "dataset/"+string(d.ID), attest.IngestRefusedBody{Dataset: d.ID, Run: op.Stream.Run, Rule: "schema-drift"}, agency, toParty(d.Unit))
		return nil
	})
	if err = errors.Join(err, refused); err != nil {
		return d, err
	}
	return d, pushError(op, sandbox.Conflict, "schema drift: "+reason,
		"send the schema along when columns were added or widened; register a table that changed otherwise as a new dataset; nothing was taken in")
}

// Quarantine lists the pushes whose schema was held back: a unit's own, or all for the agency and auditors.
func (n *Node) Quarantine(ctx context.Context, c api.Caller) ([]api.Quarantine, error) {
	rows, err := n.docs.quarantine.List(ctx, ownerFilter(c.Party))
	if err != nil {
		return nil, err
	}
	out := []api.Quarantine{}
	for _, r := range rows {
		q := r.Value
		out = append(out, api.Quarantine{Run: q.Run, Dataset: q.Dataset, Digest: q.Digest, Reason: q.Reason, At: q.At})
	}
	return out, nil
}

// Push says where a push of the caller's own stands. Of an open run between its streams it says what is durable; while frames
// come in, what was when its last stream was opened.
func (n *Node) Push(ctx context.Context, c api.Caller, run sandbox.RunID) (api.Push, error) {
	r, err := n.ownPush(ctx, c, run)
	if err != nil || r.Push.State != pushOpen {
		return r.Push, err
	}
	n.streamMu.Lock() // no frames meanwhile: one at a time may look at a stage
	defer n.streamMu.Unlock()
	if r, err = n.ownPush(ctx, c, run); err != nil || r.Push.State != pushOpen || n.begun(run) {
		return r.Push, err
	}
	at, err := n.intake.Standing(ctx, r.Push.Dataset, run)
	if errors.Is(err, sandbox.Conflict) || errors.Is(err, sandbox.Tampered) { // its next opening ends it, and says so
		return r.Push, nil
	}
	r.Push.ResumeFrom, r.Push.Prefix = at.Chain.N, nil
	if at.Chain.N > 0 {
		r.Push.Prefix = at.Chain.Sum[:]
	}
	return r.Push, err
}

// ownPush gives a push of the caller's own.
func (n *Node) ownPush(ctx context.Context, c api.Caller, run sandbox.RunID) (pushRecord, error) {
	r, _, err := n.docs.pushes.Get(ctx, string(run))
	if errors.Is(err, sandbox.NotFound) || err == nil && r.Party != c.Party.ID {
		err = &sandbox.Error{Op: "push", Kind: sandbox.NotFound, Object: string(run), Detail: "no such run", Hint: "opdomain ingest list shows those that are open"}
	}
	return r, err
}

// EndStalePushes refuses the runs that stayed open too long between their streams.
func (n *Node) EndStalePushes(ctx context.Context) error {
	rows, err := n.docs.pushes.List(ctx, listState(pushOpen))
	if err != nil {
		return err
	}
	for _, row := range rows {
		r := row.Value
		if n.now().Sub(r.Opened) <= openRunAge || n.flowing(r.Push.Run) {
			continue
		}
		if err := n.intake.Drop(r.Push.Dataset, r.Push.Run); err != nil {
			return err
		}
		if err := n.recordRefusal(ctx, domainIdentity, r, string(sandbox.Expired)); err != nil {
			return err
		}
	}
	return nil
}

// flowing says whether frames of a run are coming in.
func (n *Node) flowing(run sandbox.RunID) bool {
	n.streamMu.Lock()
	defer n.streamMu.Unlock()
	return n.begun(run)
}

// begun is flowing for callers that hold streamMu.
func (n *Node) begun(run sandbox.RunID) bool {
	s := n.streams[run]
	return s != nil && s.done != nil
}

// freshness is when a dataset was last committed, or registered.
type freshness struct {
	Dataset sandbox.DatasetID
	At      time.Time
	Schema  string // digest of the schema in force, hex
}

// staleGrace is how much later than its frequency says a dataset may come before it is an alarm.
const staleGrace = 6 * time.Hour

// Overdue lists the datasets whose next version is overdue by their update frequency: a unit's own, or all for the agency and
// auditors.
func (n *Node) Overdue(ctx context.Context, c api.Caller) ([]api.Overdue, error) {
	return n.overdue(ctx, ownerFilter(c.Party), n.now())
}

func (n *Node) overdue(ctx context.Context, whose store.Filter, now time.Time) ([]api.Overdue, error) {
	rows, err := n.docs.datasets.List(ctx, whose)
	if err != nil {
		return nil, err
	}
	last, err := n.docs.fresh.List(ctx, whose)
	if err != nil {
		return nil, err
	}
	at := map[sandbox.DatasetID]time.Time{}
	for _, f := range last {
		at[f.Value.Dataset] = f.Value.At
	}
	out := []api.Overdue{}
	for _, r := range rows {
		since, ok := at[r.Value.ID]
		if !ok {
			continue
		}
		if due, late := catalog.Due(r.Value.Period(), since, now, staleGrace); late {
			out = append(out, api.Overdue{Dataset: r.Value.ID, Unit: r.Value.Unit, Frequency: r.Value.Period(), Due: due})
		}
	}
	return out, nil
}

// renewed notes that a dataset is fresh.
func (n *Node) renewed(ctx context.Context, d catalog.Dataset, at time.Time) error {
	digest := schemaDigest(d)
	f := freshness{d.ID, at, fmt.Sprintf("%x", digest)}
	_, rev, err := n.docs.fresh.Get(ctx, string(d.ID))
	if errors.Is(err, sandbox.NotFound) {
		return n.docs.fresh.Insert(ctx, string(d.ID), string(d.Unit), "fresh", f)
	}
	if err != nil {
		return err
	}
	_, err = n.docs.fresh.Update(ctx, string(d.ID), rev, string(d.Unit), "fresh", f)
	return err
}
