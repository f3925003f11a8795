package attest

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// maxErased bounds the entries one evidence.erased names, well within MaxEvent.
const maxErased = 4096

// maxReason bounds the reason of an erasure in bytes: a rule or an order, not a text about a person.
const maxReason = 256

// PrepareErased makes the event that says payloads were erased, for a caller that keeps it with its own state: first
// Log().Erase, then Append of this. Erase does both.
func (r *Recorder) PrepareErased(at time.Time, actor sandbox.IdentityID, reason string, indices ...uint64) (Prepared, error) {
	all, err := r.erasable(reason, indices)
	if err != nil {
		return Prepared{}, err
	}
	return r.prepareErased(at, actor, reason, all)
}

func (r *Recorder) prepareErased(at time.Time, actor sandbox.IdentityID, reason string, indices []uint64) (Prepared, error) {
	b := EvidenceErasedBody{Reason: reason}
	for _, i := range indices {
		h, err := r.hash(i)
		if err != nil {
			return Prepared{}, err
		}
		b.Indices, b.Entries = append(b.Indices, i), append(b.Entries, h[:])
	}
	return r.Prepare(at, actor, "evidence", EvidenceErased, b)
}

// Erase (存证载荷删除) erases the payloads of entries and appends the evidence.erased that names them; every proof of the
// entries still holds. It erases first: a crash in between leaves payloads that are gone and an event still due, never an
// event about payloads that are there, and the same call again adds what is due and nothing twice. Entries whose last
// audience key was destroyed are erased and named in the same way. Invalid for what must stay: how the domain was made
// and what was erased.
func (r *Recorder) Erase(ctx context.Context, at time.Time, actor sandbox.IdentityID, reason string, indices ...uint64) error {
	r.erasing.Lock()
	defer r.erasing.Unlock()
	all, err := r.erasable(reason, indices)
	if err != nil {
		return err
	}
	due, err := r.unexplained(ctx, all)
	if err != nil {
		return err
	}
	for part := range slices.Chunk(all, maxErased) {
		if err := r.log.Erase(ctx, part...); err != nil {
			return err
		}
	}
	for part := range slices.Chunk(due, maxErased) {
		p, err := r.prepareErased(at, actor, reason, part)
		if err != nil {
			return err
		}
		if _, err := r.Append(ctx, p); err != nil {
			return err
		}
	}
	return nil
}

// erasable gives the indices in order, each once, when all of them may go.
func (r *Recorder) erasable(reason string, indices []uint64) ([]uint64, error) {
	invalid := func(object, rule string) ([]uint64, error) {
		return nil, &sandbox.Error{Op: "evidence: erase", Kind: sandbox.Invalid, Object: object, Detail: rule}
	}
	if reason == "" || len(reason) > maxReason {
		return invalid("reason", "1 to 256 bytes: the rule or order it is done under")
	}
	out := slices.Compact(slices.Sorted(slices.Values(indices)))
	if len(out) == 0 {
		return invalid("entries", "at least one")
	}
	for _, i := range out {
		e, err := r.read(i)
		if err != nil {
			return nil, err
		}
		if i == 0 || e.Event.Kind == EvidenceErased {
			return invalid(entryName(i), "how the domain was made, and what was erased, stays")
		}
	}
	return out, nil
}

// unexplained gives those of the indices that no evidence.erased in the log names yet. Only what cannot be read any more
// can have been named, so a first erasure walks nothing.
func (r *Recorder) unexplained(ctx context.Context, indices []uint64) ([]uint64, error) {
	again := slices.IndexFunc(indices, func(i uint64) bool { _, err := r.Event(i); return errors.Is(err, sandbox.Expired) })
	if again < 0 {
		return indices, nil
	}
	named, err := r.named(ctx, indices[again], r.log.Size(), func(Event) bool { return true })
	if err != nil {
		return nil, err
	}
	return slices.DeleteFunc(slices.Clone(indices), func(i uint64) bool { _, ok := named[i]; return ok }), nil
}

// named collects what the evidence.erased from from to size name, of those that pass.
func (r *Recorder) named(ctx context.Context, from, size uint64, pass func(Event) bool) (map[uint64][sm.Size]byte, error) {
	out := map[uint64][sm.Size]byte{}
	for i := from; i < size; i++ {
		e, err := r.read(i)
		if err == nil {
			err = ctx.Err()
		}
		if err != nil {
			return nil, err
		}
		var b EvidenceErasedBody
		if e.Event.Kind != EvidenceErased || !pass(e.Event) || e.Event.Open(&b) != nil {
			continue
		}
		for n, k := range b.Indices {
			if n < len(b.Entries) && len(b.Entries[n]) == sm.Size {
				out[k] = [sm.Size]byte(b.Entries[n])
			}
		}
	}
	return out, nil
}
