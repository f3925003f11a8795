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
	due, err := r.erase(ctx, at, actor, reason, indices)
	if err != nil || len(due) == 0 {
		return err
	}
	_, err = r.Append(ctx, due...)
	return err
}

// EraseFor is Erase for a caller that appends the events itself, together with its own state: it erases and gives what is due.
// Until that is appended, Audit and bundles find payloads gone without a word.
func (r *Recorder) EraseFor(ctx context.Context, at time.Time, actor sandbox.IdentityID, reason string, indices ...uint64) ([]Prepared, error) {
	r.erasing.Lock()
	defer r.erasing.Unlock()
	return r.erase(ctx, at, actor, reason, indices)
}

func (r *Recorder) erase(ctx context.Context, at time.Time, actor sandbox.IdentityID, reason string, indices []uint64) ([]Prepared, error) {
	all, err := r.erasable(reason, indices)
	if err != nil {
		return nil, err
	}
	missing, err := r.unexplained(ctx, all)
	if err != nil {
		return nil, err
	}
	for part := range slices.Chunk(all, maxErased) {
		if err := r.log.Erase(ctx, part...); err != nil {
			return nil, err
		}
	}
	var due []Prepared
	for part := range slices.Chunk(missing, maxErased) {
		p, err := r.prepareErased(at, actor, reason, part)
		if err != nil {
			return nil, err
		}
		due = append(due, p)
	}
	return due, nil
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
