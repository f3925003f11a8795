// Package witness sees to it that a domain's evidence log only grows (存证见证). A witness is a process of another party, on another
// machine: it signs a checkpoint when it contains every earlier one it has signed, keeps that in its own folder before it
// answers, and never signs a smaller tree or another root. It sees sizes and roots, nothing else.
//
// The protocol is C2SP tlog-witness with SM3 and SM2: POST /add-checkpoint with the size last signed, a consistency proof
// and the note; 200 with the co-signature, 409 with the size the witness is at, 404 for an unknown log, 403 for a checkpoint
// its log has not signed, 422 for a proof that does not hold, 400 for anything else. GET /checkpoint?origin=… gives the note
// signed last, GET /readmissions?origin=… what the witness has said about logs that went on from a backup (Readmit). Answers carry their own proof, so any transport will do; who stands in between can only withhold them.
//
// A domain asks its witnesses when it opens (Behind): one that has seen more than the domain's own log holds proves that the
// folder was put back to an earlier state. What a domain releases waits for a quorum (Collect).
//
// Errors: Conflict (Stale) when the witness is elsewhere, Tampered for a log that forked or shrank, Denied for a checkpoint
// not signed by its log, NotFound for an unknown log, Invalid for malformed requests, Unavailable for witnesses out of reach.
package witness

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

// Config (见证方配置) says who a witness is and for whom it signs. Every field but FS is required.
type Config struct {
	FS   durable.FS // nil: the machine's
	Dir  string
	Name string
	Key  *sm.SigningKey
	Logs map[string]*sm.VerifyKey // by origin
	Now  func() time.Time
	Rand io.Reader
}

// Witness (见证方) signs growing checkpoints. Safe for concurrent use. One process at a time has its folder: Dir is held by the
// caller, see durable.Lock.
type Witness struct {
	c  Config
	mu sync.Mutex
	at map[string]tlog.Note // by origin, signed last
}

// Open reads what the witness has signed. A state that is not what it signed is Tampered: it then signs nothing at all,
// because it cannot tell what it has promised.
func Open(c Config) (*Witness, error) {
	if c.FS == nil {
		c.FS = durable.OS()
	}
	if err := c.FS.MkdirAll(filepath.Join(c.Dir, "logs"), 0o700); err != nil {
		return nil, unavailable("open", c.Dir, err)
	}
	w := &Witness{c: c, at: map[string]tlog.Note{}}
	for origin, key := range c.Logs {
		b, err := durable.ReadFile(c.FS, w.path(origin))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, unavailable("open", origin, err)
		}
		n, err := tlog.ParseNote(string(b))
		if err == nil {
			p := tlog.Policy{Log: key, Witnesses: []tlog.WitnessKey{{Name: c.Name, Key: c.Key.Public()}}, Quorum: 1}
			_, _, err = p.Verify(n)
		}
		if err != nil || n.Origin != origin {
			return nil, &sandbox.Error{Op: "witness: open", Kind: sandbox.Tampered, Object: origin, Detail: "the state is not what this witness signed", Hint: "restore the witness's folder, never an older copy of it", Err: err}
		}
		w.at[origin] = n
	}
	return w, nil
}

func (w *Witness) path(origin string) string {
	d := sm.Sum([]byte(origin))
	return filepath.Join(w.c.Dir, "logs", hex.EncodeToString(d[:16]))
}

// Stale (见证位置不符) says that the witness is at another size than the caller thought.
type Stale struct{ Size uint64 }

func (s *Stale) Error() string { return fmt.Sprintf("witness: the witness is at size %d", s.Size) }

// Unwrap makes it a Conflict.
func (s *Stale) Unwrap() error { return sandbox.Conflict }

// AddCheckpoint signs a log's checkpoint: old is the size the log thinks the witness signed last, proof that the tree of that
// size is a prefix. On return it is durable.
func (w *Witness) AddCheckpoint(ctx context.Context, old uint64, proof [][]byte, c tlog.Checkpoint) (tlog.Cosignature, error) {
	none := tlog.Cosignature{}
	refuse := func(kind sandbox.Kind, rule string) (tlog.Cosignature, error) {
		return none, &sandbox.Error{Op: "witness: sign", Kind: kind, Object: c.Origin, Detail: rule}
	}
	if err := ctx.Err(); err != nil {
		return none, err
	}
	key := w.c.Logs[c.Origin]
	if key == nil {
		return refuse(sandbox.NotFound, "this witness does not know the log")
	}
	if c.Verify(key) != nil {
		return refuse(sandbox.Denied, "the checkpoint is not signed by its log")
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	last, known := w.at[c.Origin]
	switch {
	case old != last.Size:
		return none, &Stale{last.Size}
	case c.Size < old:
		return refuse(sandbox.Invalid, "a checkpoint is not smaller than the size it starts from")
	case known && c.Size == last.Size && c.Root != last.Root:
		return refuse(sandbox.Tampered, "another root was signed for this size")
	case !known && old == 0 && len(proof) > 0:
		return refuse(sandbox.Invalid, "there is nothing to prove from size 0")
	case old > 0:
		if err := tlog.VerifyConsistency(old, c.Size, proof, last.Root, c.Root); err != nil {
			return refuse(sandbox.Tampered, "the tree signed last is not a prefix of this one")
		}
	}
	at := w.c.Now()
	if known && last.Cosignatures[0].Time.After(at) { // a clock set back does not move the evidence back
		at = last.Cosignatures[0].Time
	}
	sig, err := c.Cosign(w.c.Name, w.c.Key, at, w.c.Rand)
	if err != nil {
		return none, err
	}
	n := tlog.Note{Checkpoint: c, Cosignatures: []tlog.Cosignature{sig}}
	if err := durable.ReplaceIn(w.c.FS, w.path(c.Origin), []byte(n.String())); err != nil {
		return none, unavailable("sign", c.Origin, err)
	}
	w.at[c.Origin] = n
	return sig, nil
}

// Latest gives the note signed last for a log; NotFound before the first.
func (w *Witness) Latest(origin string) (tlog.Note, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	n, ok := w.at[origin]
	if !ok {
		return tlog.Note{}, &sandbox.Error{Op: "witness: latest", Kind: sandbox.NotFound, Object: "log", Detail: "nothing was signed for this log"}
	}
	return n, nil
}

func unavailable(op, object string, err error) error {
	return &sandbox.Error{Op: "witness: " + op, Kind: sandbox.Unavailable, Object: object, Err: err}
}
