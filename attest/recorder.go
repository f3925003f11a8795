package attest

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"iter"
	"slices"
	"sync"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

const saltLen = 32

// Recorder (存证记录器) signs events, hides them in entries, seals them for their audiences and appends them to the log. Safe
// for concurrent use.
type Recorder struct {
	log  *tlog.Log
	key  *sm.SigningKey
	keys AudienceKeys
	rand io.Reader

	// erasing keeps an erasure and the event that names it in one piece for whoever writes a bundle.
	erasing sync.RWMutex
}

// Prepared (待存证事件) is a signed, sealed event that is not in the log yet. It may be kept with the change of state it
// proves and appended after it; it shows nothing of the event.
type Prepared struct {
	Entry   [sm.Size]byte `json:"entry"`
	Payload []byte        `json:"payload"`
}

// Entry (存证条目) is an event read back from the log. Of an erased one there is only Index and Entry.
type Entry struct {
	Index  uint64
	Entry  [sm.Size]byte
	Erased bool
	Salt   []byte
	Event  Event
	Text   []byte // the event exactly as the entry hides it
}

// NewRecorder takes over an open log. keys gives the audiences' keys; the key of IndexAudience must be among them.
func NewRecorder(log *tlog.Log, key *sm.SigningKey, keys AudienceKeys, rand io.Reader) (*Recorder, error) {
	if keys == nil {
		return nil, &sandbox.Error{Op: "evidence: open", Kind: sandbox.Invalid, Object: "audience keys", Detail: "a source of them"}
	}
	k, err := keys.AudienceKey(IndexAudience)
	if err != nil {
		return nil, err
	}
	if len(k) != sm.KeySize {
		return nil, &sandbox.Error{Op: "evidence: open", Kind: sandbox.Invalid, Object: "audience key", Detail: "16 bytes"}
	}
	return &Recorder{log: log, key: key, keys: keys, rand: rand}, nil
}

// Prepare makes an event without appending it, for the audiences named: each one's key, and no other, opens it. For
// BaseAudience alone when none is named; BaseAudience is not added to those that are, or destroying a subject's key would
// leave what was meant for the subject alone readable. An audience without a key is an error of the kind its source gives.
func (r *Recorder) Prepare(at time.Time, actor sandbox.IdentityID, object string, kind Kind, body any, audiences ...string) (Prepared, error) {
	fail := func(k sandbox.Kind, rule string) (Prepared, error) {
		return Prepared{}, &sandbox.Error{Op: "evidence: prepare", Kind: k, Object: string(kind), Detail: rule}
	}
	names, keys, err := r.audienceKeys(audiences)
	if err != nil {
		return Prepared{}, err
	}
	raw, err := json.Marshal(body)
	if err != nil {
		return fail(sandbox.Internal, "the body has no JSON form")
	}
	e := Event{Kind: kind, At: at.UTC(), Actor: actor, Object: object, Body: raw}
	// A body its own reader refuses would make a bundle that no verifier accepts.
	if _, err := e.open(); err != nil {
		return fail(sandbox.Internal, "the body is not one of this kind")
	}
	msg, err := e.signedBytes()
	if err != nil {
		return fail(sandbox.Internal, "the event has no JSON form")
	}
	if e.Signature, err = r.key.Sign(r.rand, ContextEvent, msg); err != nil {
		return Prepared{}, err
	}
	b, err := json.Marshal(e)
	if err != nil {
		return fail(sandbox.Internal, "the event has no JSON form")
	}
	if len(b) > MaxEvent {
		return fail(sandbox.TooLarge, "an event has at most 512 KiB")
	}
	plain := make([]byte, saltLen, saltLen+len(b))
	if _, err := io.ReadFull(r.rand, plain); err != nil {
		return fail(sandbox.Unavailable, "no randomness")
	}
	entry := sm.HMAC(plain, b)
	index, err := r.keys.AudienceKey(IndexAudience)
	if err != nil {
		return Prepared{}, err
	}
	stored, err := sealPayload(r.rand, entry, append(plain, b...), names, keys, index)
	if err != nil {
		return Prepared{}, err
	}
	return Prepared{Entry: entry, Payload: stored}, nil
}

// audienceKeys gives each audience once with its key.
func (r *Recorder) audienceKeys(audiences []string) (names []string, keys [][]byte, err error) {
	if len(audiences) == 0 {
		audiences = []string{BaseAudience}
	}
	for _, a := range audiences {
		if slices.Contains(names, a) {
			continue
		}
		if err := checkAudience(a); err != nil {
			return nil, nil, err
		}
		k, err := r.keys.AudienceKey(a)
		if err != nil {
			return nil, nil, err
		}
		names, keys = append(names, a), append(keys, k)
	}
	if len(names) > MaxAudiences {
		return nil, nil, &sandbox.Error{Op: "evidence: prepare", Kind: sandbox.Invalid, Object: "audiences", Detail: "at most 8 for one event"}
	}
	return names, keys, nil
}

// Append puts prepared events into the log in order and gives the number of the first. On return they are durable under a
// signed checkpoint.
func (r *Recorder) Append(ctx context.Context, events ...Prepared) (uint64, error) {
	recs := make([]tlog.Record, len(events))
	for i, e := range events {
		recs[i] = tlog.Record{Entry: e.Entry, Payload: e.Payload}
	}
	return r.log.Append(ctx, recs...)
}

// HasFrom says whether the log holds an entry at from or behind it. The caller knows the log's size when it made the
// entry; the log keeps no index of all it ever held.
func (r *Recorder) HasFrom(from uint64, entry [sm.Size]byte) (bool, error) {
	_, ok, err := r.log.FindFrom(from, entry)
	return ok, err
}

// Record prepares an event and appends it.
func (r *Recorder) Record(ctx context.Context, at time.Time, actor sandbox.IdentityID, object string, kind Kind, body any, audiences ...string) (uint64, error) {
	p, err := r.Prepare(at, actor, object, kind, body, audiences...)
	if err != nil {
		return 0, err
	}
	return r.Append(ctx, p)
}

// Event reads entry i under any of its audiences' keys that is still there. Expired when none is or the payload was
// erased; a payload that does not open, or is not what the entry hides, is Tampered.
func (r *Recorder) Event(i uint64) (Entry, error) {
	rec, err := r.log.Read(i)
	if err != nil {
		return Entry{}, err
	}
	if rec.Erased {
		return Entry{}, &sandbox.Error{Op: "evidence: read", Kind: sandbox.Expired, Object: entryName(i), Detail: "the payload was erased"}
	}
	p, ok := parsePayload(rec.Payload)
	if !ok {
		return Entry{}, payloadFault(entryName(i))
	}
	index, err := r.keys.AudienceKey(IndexAudience)
	if err != nil {
		return Entry{}, err
	}
	names, ok := p.audiences(rec.Entry, index)
	if !ok {
		return Entry{}, payloadFault(entryName(i))
	}
	for _, name := range names {
		k, err := r.keys.AudienceKey(name)
		if gone(err) {
			continue
		}
		if err != nil {
			return Entry{}, err
		}
		plain, found, err := p.open(rec.Entry, name, k)
		if err != nil || !found {
			return Entry{}, payloadFault(entryName(i))
		}
		out, err := openEntry(rec.Entry, plain, entryName(i))
		out.Index = i
		return out, err
	}
	return Entry{}, &sandbox.Error{Op: "evidence: read", Kind: sandbox.Expired, Object: entryName(i), Detail: "every audience it was for has been erased"}
}

func gone(err error) bool {
	return errors.Is(err, sandbox.NotFound) || errors.Is(err, sandbox.Expired)
}

// read is Event for walks: an erased entry is its hash.
func (r *Recorder) read(i uint64) (Entry, error) {
	e, err := r.Event(i)
	if !errors.Is(err, sandbox.Expired) {
		return e, err
	}
	h, err := r.hash(i)
	return Entry{Index: i, Entry: h, Erased: true}, err
}

// hash gives entry i, which stays when its payload is erased.
func (r *Recorder) hash(i uint64) ([sm.Size]byte, error) {
	rec, err := r.log.Read(i)
	return rec.Entry, err
}

// Events yields the events of the log as it is when called, in order, erased ones as such; an error ends it.
func (r *Recorder) Events(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for i, n := uint64(0), r.log.Size(); i < n; i++ {
			e, err := r.read(i)
			if err == nil {
				err = ctx.Err()
			}
			if !yield(e, err) || err != nil {
				return
			}
		}
	}
}

// Log gives the log: checkpoints and proofs.
func (r *Recorder) Log() *tlog.Log { return r.log }

// Close closes the log.
func (r *Recorder) Close() error { return r.log.Close() }
