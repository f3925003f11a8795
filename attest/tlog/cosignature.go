package tlog

import (
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest/durable"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// ContextCosignature is what a witness signs a checkpoint under.
const ContextCosignature = "opdomain/cosignature/v1"

// Cosignature (见证签名) is a witness's statement that it has seen a checkpoint at a time and, before it, nothing that is not a
// prefix of it. SPEC: C2SP tlog-cosignature; the signed text is "cosignature/v1\ntime <unix>\n" and the checkpoint's three
// lines, the note line "— <name> <base64 of 4-byte key hash ‖ uint64 time ‖ signature>", with SM2 in the place of Ed25519.
type Cosignature struct {
	Name string
	Time time.Time // whole seconds

	signature []byte
	keyHash   [4]byte
}

func cosignatureHash(name string, pub *sm.VerifyKey) (out [4]byte) {
	d := sm.Sum(sm.Frame([]byte(name), []byte("cosignature/v1 SM2"), pub.Bytes()))
	copy(out[:], d[:])
	return out
}

func cosigned(c Checkpoint, at time.Time) []byte {
	return fmt.Appendf(nil, "cosignature/v1\ntime %d\n%s", at.Unix(), c.body())
}

// Cosign has a witness sign a checkpoint.
func (c Checkpoint) Cosign(name string, key *sm.SigningKey, at time.Time, rand io.Reader) (Cosignature, error) {
	if !validOrigin(name) {
		return Cosignature{}, &sandbox.Error{Op: "witness: sign", Kind: sandbox.Invalid, Object: "name", Detail: "1 to 128 printable bytes without spaces and '+'"}
	}
	at = time.Unix(at.Unix(), 0).UTC()
	sig, err := key.Sign(rand, ContextCosignature, cosigned(c, at))
	return Cosignature{Name: name, Time: at, signature: sig, keyHash: cosignatureHash(name, key.Public())}, err
}

// Verify checks the signature of a witness over a checkpoint.
func (s Cosignature) Verify(c Checkpoint, pub *sm.VerifyKey) error {
	if s.keyHash != cosignatureHash(s.Name, pub) || pub.Verify(ContextCosignature, cosigned(c, s.Time), s.signature) != nil {
		return &sandbox.Error{Op: "log: cosignature", Kind: sandbox.Tampered, Object: s.Name, Detail: "not this witness's signature over this checkpoint"}
	}
	return nil
}

// String gives the note line, its line end included.
func (s Cosignature) String() string {
	b := append(s.keyHash[:], binary.BigEndian.AppendUint64(nil, uint64(s.Time.Unix()))...)
	return "— " + s.Name + " " + base64.StdEncoding.EncodeToString(append(b, s.signature...)) + "\n"
}

// ParseCosignature reads a note line in its one form.
func ParseCosignature(line string) (Cosignature, error) {
	bad := &sandbox.Error{Op: "log: cosignature", Kind: sandbox.Invalid, Object: "cosignature", Detail: "a note line with the name, time and signature of a witness"}
	rest, ok := strings.CutPrefix(line, "— ")
	name, text, found := strings.Cut(rest, " ")
	if len(line) > MaxCheckpoint || !ok || !found || !validOrigin(name) {
		return Cosignature{}, bad
	}
	b, err := base64.StdEncoding.Strict().DecodeString(strings.TrimSuffix(text, "\n"))
	if err != nil || len(b) < 4+8+8 {
		return Cosignature{}, bad
	}
	at := binary.BigEndian.Uint64(b[4:12])
	if at > 1<<40 {
		return Cosignature{}, bad
	}
	s := Cosignature{Name: name, Time: time.Unix(int64(at), 0).UTC(), signature: b[12:], keyHash: [4]byte(b)}
	if s.String() != line {
		return Cosignature{}, bad
	}
	return s, nil
}

// MaxWitnesses bounds the co-signatures of a note.
const MaxWitnesses = 64

// Note (见证检查点) is a checkpoint with the co-signatures of witnesses.
type Note struct {
	Checkpoint
	Cosignatures []Cosignature
}

// String gives the signed note.
func (n Note) String() string {
	var b strings.Builder
	b.WriteString(n.Checkpoint.String())
	for _, s := range n.Cosignatures {
		b.WriteString(s.String())
	}
	return b.String()
}

// ParseNote reads a note in its one form; no signature is checked. No witness stands in it twice.
func ParseNote(text string) (Note, error) {
	lines := strings.SplitAfter(text, "\n")
	if len(lines) < 6 || len(lines) > 6+MaxWitnesses || lines[len(lines)-1] != "" {
		return Note{}, &sandbox.Error{Op: "log: note", Kind: sandbox.Invalid, Object: "note", Detail: "a checkpoint and at most 64 co-signatures"}
	}
	c, err := ParseCheckpoint(strings.Join(lines[:5], ""))
	if err != nil {
		return Note{}, err
	}
	n := Note{Checkpoint: c}
	for _, line := range lines[5 : len(lines)-1] {
		s, err := ParseCosignature(line)
		if err != nil {
			return Note{}, err
		}
		if slices.ContainsFunc(n.Cosignatures, func(x Cosignature) bool { return x.Name == s.Name }) {
			return Note{}, &sandbox.Error{Op: "log: note", Kind: sandbox.Invalid, Object: s.Name, Detail: "a witness signs once"}
		}
		n.Cosignatures = append(n.Cosignatures, s)
	}
	return n, nil
}

// WitnessKey (见证方公钥) is a witness by name.
type WitnessKey struct {
	Name string
	Key  *sm.VerifyKey
}

// Policy (见证策略) says whose signatures a checkpoint needs: the log's and those of Quorum of the witnesses.
type Policy struct {
	Log       *sm.VerifyKey
	Witnesses []WitnessKey
	Quorum    int
}

// Verify checks a note: the log's signature, and every co-signature of a witness of the policy. It gives the names of those
// that hold and the newest of their times; others' co-signatures are passed over. Too few are Unavailable.
func (p Policy) Verify(n Note) (names []string, newest time.Time, err error) {
	if err := n.Checkpoint.Verify(p.Log); err != nil {
		return nil, time.Time{}, err
	}
	for _, w := range p.Witnesses {
		for _, s := range n.Cosignatures {
			if s.Name != w.Name || s.Verify(n.Checkpoint, w.Key) != nil {
				continue
			}
			names = append(names, s.Name)
			if s.Time.After(newest) {
				newest = s.Time
			}
		}
	}
	if len(names) < p.Quorum {
		err = &sandbox.Error{Op: "log: witnesses", Kind: sandbox.Unavailable, Object: n.Origin, Detail: fmt.Sprintf("%d of %d witnesses have signed, %d are needed", len(names), len(p.Witnesses), p.Quorum)}
	}
	return names, newest, err
}

// SetWitnessed keeps a note beside the log, durably. Whether its signatures suffice is the caller's to check; it must be one
// of this log's own checkpoints, and not an older one than is kept.
func (l *Log) SetWitnessed(n Note) error {
	if n.Origin != l.c.Origin {
		return &sandbox.Error{Op: "log: witnessed", Kind: sandbox.Invalid, Object: n.Origin, Detail: "the checkpoint of another log"}
	}
	root, err := l.RootAt(n.Size)
	if err != nil {
		return err
	}
	if root != n.Root {
		return &sandbox.Error{Op: "log: witnessed", Kind: sandbox.Tampered, Object: checkpointFile, Detail: "the witnessed root is not this log's"}
	}
	l.witnessMu.Lock()
	defer l.witnessMu.Unlock()
	if old, ok, err := l.witnessed(); err != nil || ok && old.Size > n.Size {
		return err
	}
	if err := durable.ReplaceIn(l.c.FS, filepath.Join(l.c.Dir, witnessedFile), []byte(n.String())); err != nil {
		return unavailable("witnessed", witnessedFile, err)
	}
	return nil
}

// Witnessed gives the note kept last; false for none.
func (l *Log) Witnessed() (Note, bool, error) {
	l.witnessMu.Lock()
	defer l.witnessMu.Unlock()
	return l.witnessed()
}

func (l *Log) witnessed() (Note, bool, error) {
	b, err := durable.ReadFile(l.c.FS, filepath.Join(l.c.Dir, witnessedFile))
	if errors.Is(err, os.ErrNotExist) {
		return Note{}, false, nil
	}
	if err != nil {
		return Note{}, false, unavailable("witnessed", witnessedFile, err)
	}
	n, err := ParseNote(string(b))
	if err == nil {
		err = n.Checkpoint.Verify(l.Key())
	}
	if err != nil {
		return Note{}, false, &sandbox.Error{Op: "log: witnessed", Kind: sandbox.Tampered, Object: witnessedFile, Detail: "not a checkpoint of this log", Err: err}
	}
	return n, true, nil
}
