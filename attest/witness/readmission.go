package witness

import (
	"context"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

// ContextReadmission is what a witness signs a Readmission under.
const ContextReadmission = "opdomain/readmission/v1"

// Readmission (重新见证声明) is a witness's own statement that a log may go on from an earlier checkpoint: what came behind it was
// lost, and its party agreed that the domain goes on from a backup. Whoever holds a checkpoint of the lost part finds here
// why the log of now does not contain it.
type Readmission struct {
	Witness   string    `json:"witness"`
	Lost      string    `json:"lost"` // the note signed last
	Kept      string    `json:"kept"` // the checkpoint the log goes on from
	Reason    string    `json:"reason"`
	At        time.Time `json:"at"`
	Signature []byte    `json:"signature,omitempty"`
}

func (r Readmission) message() ([]byte, error) {
	r.Signature = nil
	return json.Marshal(r)
}

// Verify checks the witness's signature.
func (r Readmission) Verify(witness *sm.VerifyKey) error {
	b, err := r.message()
	if err != nil {
		return err
	}
	return witness.Verify(ContextReadmission, b, r.Signature)
}

// Readmit lets a log go on from an earlier checkpoint: a decision of the witness's party, not of the domain's, and on record
// before it takes effect. Invalid for a checkpoint that is not earlier, Denied for one its log has not signed.
func (w *Witness) Readmit(ctx context.Context, c tlog.Checkpoint, reason string) (Readmission, error) {
	refuse := func(kind sandbox.Kind, rule string) (Readmission, error) {
		return Readmission{}, &sandbox.Error{Op: "witness: readmit", Kind: kind, Object: c.Origin, Detail: rule}
	}
	if err := ctx.Err(); err != nil {
		return Readmission{}, err
	}
	if n := utf8.RuneCountInString(reason); n == 0 || n > 200 || !utf8.ValidString(reason) {
		return refuse(sandbox.Invalid, "a reason of 1 to 200 characters")
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
	if !known || c.Size >= last.Size {
		return refuse(sandbox.Invalid, "the checkpoint is not earlier than the one signed last: the log may go on without this")
	}
	at := w.c.Now()
	if last.Cosignatures[0].Time.After(at) {
		at = last.Cosignatures[0].Time
	}
	sig, err := c.Cosign(w.c.Name, w.c.Key, at, w.c.Rand)
	if err != nil {
		return Readmission{}, err
	}
	r := Readmission{Witness: w.c.Name, Lost: last.String(), Kept: c.String(), Reason: reason, At: at.UTC()}
	msg, err := r.message()
	if err == nil {
		r.Signature, err = w.c.Key.Sign(w.c.Rand, ContextReadmission, msg)
	}
	if err != nil {
		return Readmission{}, err
	}
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return Readmission{}, err
	}
	dir := w.readmitted(c.Origin)
	if err := w.c.FS.MkdirAll(dir, 0o700); err != nil {
		return Readmission{}, unavailable("readmit", c.Origin, err)
	}
	name := fmt.Sprintf("%020d-%020d", last.Size, c.Size)
	if err := durable.ReplaceIn(w.c.FS, filepath.Join(dir, name), append(b, '\n')); err != nil {
		return Readmission{}, unavailable("readmit", c.Origin, err)
	}
	n := tlog.Note{Checkpoint: c, Cosignatures: []tlog.Cosignature{sig}}
	if err := durable.ReplaceIn(w.c.FS, w.path(c.Origin), []byte(n.String())); err != nil {
		return Readmission{}, unavailable("readmit", c.Origin, err)
	}
	w.at[c.Origin] = n
	return r, nil
}

func (w *Witness) readmitted(origin string) string {
	d := sm.Sum([]byte(origin))
	return filepath.Join(w.c.Dir, "readmitted", hex.EncodeToString(d[:16]))
}

// Readmissions gives every readmission of a log, in the order of the sizes that were lost.
func (w *Witness) Readmissions(origin string) ([]Readmission, error) {
	dir := w.readmitted(origin)
	entries, err := w.c.FS.ReadDir(dir)
	if errors.Is(err, os.ErrNotExist) {
		return []Readmission{}, nil
	}
	if err != nil {
		return nil, unavailable("readmissions", origin, err)
	}
	slices.SortFunc(entries, func(a, b fs.DirEntry) int { return strings.Compare(a.Name(), b.Name()) })
	out := []Readmission{}
	for _, e := range entries {
		b, err := durable.ReadFile(w.c.FS, filepath.Join(dir, e.Name()))
		if err != nil {
			return nil, unavailable("readmissions", origin, err)
		}
		var r Readmission
		if json.Unmarshal(b, &r) != nil || r.Verify(w.c.Key.Public()) != nil {
			return nil, &sandbox.Error{Op: "witness: readmissions", Kind: sandbox.Tampered, Object: e.Name(), Detail: "not what this witness signed"}
		}
		out = append(out, r)
	}
	return out, nil
}
