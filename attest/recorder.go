package attest

import (
	"context"
	"crypto/cipher"
	"encoding/json"
	"fmt"
	"io"
	"iter"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

const (
	saltLen      = 32
	contextEntry = "opdomain/log-payload/v1"
)

// Recorder (存证记录器) signs events, hides them in entries and appends them to the log. Safe for concurrent use.
type Recorder struct {
	log  *tlog.Log
	key  *sm.SigningKey
	seal []byte
	rand io.Reader
}

// Prepared (待存证事件) is a signed, sealed event that is not in the log yet. It may be kept with the change of state it
// proves and appended after it; it shows nothing of the event.
type Prepared struct {
	Entry   [sm.Size]byte `json:"entry"`
	Payload []byte        `json:"payload"`
}

// Entry (存证条目) is an event read back from the log.
type Entry struct {
	Index uint64
	Entry [sm.Size]byte
	Salt  []byte
	Event Event
	Text  []byte // the event exactly as the entry hides it
}

// NewRecorder takes over an open log. seal is a 16-byte key of its own for payloads at rest.
func NewRecorder(log *tlog.Log, key *sm.SigningKey, seal []byte, rand io.Reader) (*Recorder, error) {
	if len(seal) != sm.KeySize {
		return nil, &sandbox.Error{Op: "evidence: open", Kind: sandbox.Invalid, Object: "payload key", Detail: "16 bytes"}
	}
	return &Recorder{log: log, key: key, seal: append([]byte(nil), seal...), rand: rand}, nil
}

// Prepare makes an event without appending it.
func (r *Recorder) Prepare(at time.Time, actor sandbox.IdentityID, object string, kind Kind, body any) (Prepared, error) {
	fail := func(k sandbox.Kind, rule string) (Prepared, error) {
		return Prepared{}, &sandbox.Error{Op: "evidence: prepare", Kind: k, Object: string(kind), Detail: rule}
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
	aead, err := r.payloadKey(entry)
	if err != nil {
		return Prepared{}, err
	}
	return Prepared{Entry: entry, Payload: aead.Seal(nil, make([]byte, aead.NonceSize()), append(plain, b...), entry[:])}, nil
}

// payloadKey gives the key of one payload. The entry is a fresh random value, so the key seals once and its nonce is
// constant.
func (r *Recorder) payloadKey(entry [sm.Size]byte) (cipher.AEAD, error) {
	k, err := sm.HKDF(r.seal, entry[:], sm.Frame([]byte(contextEntry)), sm.KeySize)
	if err != nil {
		return nil, err
	}
	return sm.NewGCM(k)
}

// Append puts prepared events into the log in order and gives the number of the first. On return they are durable under a
// signed checkpoint.
func (r *Recorder) Append(ctx context.Context, events ...Prepared) (uint64, error) {
	recs := make([]tlog.Record, len(events))
	for i, e := range events {
		recs[i] = tlog.Record(e)
	}
	return r.log.Append(ctx, recs...)
}

// Has says whether the log holds an entry.
func (r *Recorder) Has(entry [sm.Size]byte) bool {
	_, ok := r.log.Find(entry)
	return ok
}

// Record prepares an event and appends it.
func (r *Recorder) Record(ctx context.Context, at time.Time, actor sandbox.IdentityID, object string, kind Kind, body any) (uint64, error) {
	p, err := r.Prepare(at, actor, object, kind, body)
	if err != nil {
		return 0, err
	}
	return r.Append(ctx, p)
}

// Event reads entry i. A payload that does not open, or is not what the entry hides, is Tampered.
func (r *Recorder) Event(i uint64) (Entry, error) {
	rec, err := r.log.Read(i)
	if err != nil {
		return Entry{}, err
	}
	bad := &sandbox.Error{Op: "evidence: read", Kind: sandbox.Tampered, Object: fmt.Sprintf("entry %d", i), Detail: "the payload is not what the entry hides"}
	aead, err := r.payloadKey(rec.Entry)
	if err != nil {
		return Entry{}, err
	}
	plain, err := aead.Open(nil, make([]byte, aead.NonceSize()), rec.Payload, rec.Entry[:])
	if err != nil || len(plain) < saltLen {
		return Entry{}, bad
	}
	out := Entry{Index: i, Entry: rec.Entry, Salt: plain[:saltLen:saltLen], Text: plain[saltLen:]}
	if sm.HMAC(out.Salt, out.Text) != rec.Entry || strict(out.Text, &out.Event) != nil {
		return Entry{}, bad
	}
	return out, nil
}

// Events yields the events of the log as it is when called, in order; an error ends it.
func (r *Recorder) Events(ctx context.Context) iter.Seq2[Entry, error] {
	return func(yield func(Entry, error) bool) {
		for i, n := uint64(0), r.log.Size(); i < n; i++ {
			e, err := r.Event(i)
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

// Close closes the log and wipes the payload key, best effort.
func (r *Recorder) Close() error {
	clear(r.seal)
	return r.log.Close()
}
