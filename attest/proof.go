package attest

import (
	"bytes"
	"encoding/json"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/tlog"
	"github.com/opdomain/opdomain/sandbox"
)

// ProofFormat (存证证明格式) names a proof of one entry, GrowthFormat (日志增长证明格式) a proof that the log has only grown. Both are one
// JSON object in its one encoding and a line feed.
const (
	ProofFormat  = "opdomain-proof/1"
	GrowthFormat = "opdomain-growth/1"
)

// ContextProof is what the domain signs a proof under, ContextGrowth a proof of growth. The signature covers the whole file:
// without it a co-signature could be damaged without anybody noticing who does not know that witness.
const (
	ContextProof  = "opdomain/proof/v1"
	ContextGrowth = "opdomain/growth/v1"
)

// MaxProof bounds the bytes of a proof: an event of MaxEvent, a note of 64 witnesses, a path of 64 hashes.
const MaxProof = 1 << 20

// Proof (存证证明) shows one entry of the log to somebody who needs no more: that it is in the tree of a signed checkpoint,
// and, when it is visible, the event it hides. Encode gives the file.
type Proof struct {
	Format     string          `json:"format"`
	Origin     string          `json:"origin"`
	SignKey    []byte          `json:"sign_key"`
	Index      uint64          `json:"i"`
	Entry      []byte          `json:"entry"`
	Salt       []byte          `json:"salt,omitempty"`
	Event      json.RawMessage `json:"event,omitempty"`
	Path       [][]byte        `json:"path,omitempty"`
	Checkpoint string          `json:"checkpoint"` // a note, with co-signatures when it was witnessed
	Signature  []byte          `json:"signature,omitempty"`
}

// Growth (日志增长证明) shows that the tree of From entries, whose checkpoint somebody kept, is a prefix of the tree of a later one.
type Growth struct {
	Format     string   `json:"format"`
	Origin     string   `json:"origin"`
	SignKey    []byte   `json:"sign_key"`
	From       uint64   `json:"from"`
	Path       [][]byte `json:"path,omitempty"`
	Checkpoint string   `json:"checkpoint"`
	Signature  []byte   `json:"signature,omitempty"`
}

// ProofReport (证明核验报告) is what VerifyProof found to hold. The co-signatures in Note are not checked, only who witnesses
// knows their keys: give it to a tlog.Policy.
type ProofReport struct {
	Origin      string    `json:"origin"`
	Fingerprint string    `json:"fingerprint"` // of the domain's signing key: compare it with the one you know
	Index       uint64    `json:"i"`
	Entry       []byte    `json:"entry"`
	Event       *Event    `json:"event,omitempty"` // nil when the proof does not show it
	Size        uint64    `json:"size"`            // entries under the checkpoint
	Note        tlog.Note `json:"-"`
}

// GrowthReport (增长核验报告) is what VerifyGrowth found to hold; Note as in ProofReport.
type GrowthReport struct {
	Origin      string    `json:"origin"`
	Fingerprint string    `json:"fingerprint"`
	From        uint64    `json:"from"`
	Size        uint64    `json:"size"`
	Note        tlog.Note `json:"-"`
}

// Encode gives the file.
func (p Proof) Encode() ([]byte, error) { return encodeProof(p) }

// Encode gives the file.
func (g Growth) Encode() ([]byte, error) { return encodeProof(g) }

func encodeProof(v any) ([]byte, error) {
	b, err := json.Marshal(v)
	if err != nil {
		return nil, &sandbox.Error{Op: "proof", Kind: sandbox.Internal, Object: "proof", Err: err}
	}
	return append(b, '\n'), nil
}

// Prove proves that entry i is in the log, under the witnessed checkpoint when it covers the entry, else under the last one;
// visible adds salt and event. NotFound behind the log's end, Expired for the event of an erased entry.
func (r *Recorder) Prove(i uint64, visible bool) (Proof, error) {
	h, err := r.hash(i)
	if err != nil {
		return Proof{}, err
	}
	note, err := r.note(i + 1)
	if err != nil {
		return Proof{}, err
	}
	p := Proof{Format: ProofFormat, Origin: note.Origin, SignKey: r.key.Public().Bytes(), Index: i, Entry: h[:], Checkpoint: note.String()}
	if visible {
		e, err := r.Event(i)
		if err != nil {
			return Proof{}, err
		}
		p.Salt, p.Event = e.Salt, e.Text
	}
	if p.Path, err = r.log.Inclusion(i, note.Size); err != nil {
		return Proof{}, err
	}
	// A tile changed on the disk is seen here, not by whom the proof is for.
	if err := tlog.VerifyInclusion(h, i, note.Size, p.Path, note.Root); err != nil {
		return Proof{}, err
	}
	msg, err := json.Marshal(p)
	if err != nil {
		return Proof{}, &sandbox.Error{Op: "proof: make", Kind: sandbox.Internal, Object: entryName(i), Err: err}
	}
	p.Signature, err = r.key.Sign(r.rand, ContextProof, msg)
	return p, err
}

// note gives the witnessed note when it covers size entries, else the last checkpoint.
func (r *Recorder) note(size uint64) (tlog.Note, error) {
	n, ok, err := r.witnessed()
	if err != nil || ok && n.Size >= size {
		return n, err
	}
	return tlog.Note{Checkpoint: r.log.Checkpoint()}, nil
}

// witnessed gives the note that witnesses signed last. Witnesses that have seen more than the log holds are Tampered.
func (r *Recorder) witnessed() (tlog.Note, bool, error) {
	n, ok, err := r.log.Witnessed()
	if err != nil || !ok {
		return n, false, err
	}
	root, err := r.log.RootAt(n.Size)
	if err != nil || root != n.Root {
		return n, false, &sandbox.Error{Op: "evidence: witnessed", Kind: sandbox.Tampered, Object: "checkpoint", Detail: "witnesses have signed a tree that is not a prefix of this log",
			Hint: "the log folder was put back to an earlier state or forked: restore the newest backup", Err: err}
	}
	return n, true, nil
}

// ProveGrowth proves that an earlier checkpoint of this log is a prefix of its last one. Invalid for a checkpoint that the
// log has not signed, Tampered for one it has signed and does not hold: a fork, or a log put back to an earlier state.
func (r *Recorder) ProveGrowth(old tlog.Checkpoint) (Growth, error) {
	fail := func(kind sandbox.Kind, rule string) (Growth, error) {
		return Growth{}, &sandbox.Error{Op: "proof: make", Kind: kind, Object: "checkpoint", Detail: rule}
	}
	if old.Origin != r.log.Origin() || old.Verify(r.log.Key()) != nil || old.Size == 0 {
		return fail(sandbox.Invalid, "a checkpoint over at least one entry, signed by this log")
	}
	note, err := r.note(r.log.Size())
	if err != nil {
		return Growth{}, err
	}
	if old.Size > note.Size {
		return fail(sandbox.Tampered, "the log is shorter than a checkpoint it has signed")
	}
	root, err := r.log.RootAt(old.Size)
	if err != nil {
		return Growth{}, err
	}
	if root != old.Root {
		return fail(sandbox.Tampered, "the log has signed another root for this size")
	}
	g := Growth{Format: GrowthFormat, Origin: note.Origin, SignKey: r.key.Public().Bytes(), From: old.Size, Checkpoint: note.String()}
	if g.Path, err = r.log.Consistency(old.Size, note.Size); err != nil {
		return Growth{}, err
	}
	if err := tlog.VerifyConsistency(old.Size, note.Size, g.Path, old.Root, note.Root); err != nil {
		return Growth{}, err
	}
	msg, err := json.Marshal(g)
	if err != nil {
		return Growth{}, &sandbox.Error{Op: "proof: make", Kind: sandbox.Internal, Object: "checkpoint", Err: err}
	}
	g.Signature, err = r.key.Sign(r.rand, ContextGrowth, msg)
	return g, err
}

func proofFault(object, rule string) error {
	return &sandbox.Error{Op: "proof: verify", Kind: sandbox.Tampered, Object: object, Detail: rule}
}

// readProof reads a file strictly: bounded, known fields, its one encoding.
func readProof(b []byte, into any) error {
	if len(b) > MaxProof {
		return proofFault("proof", "at most 1 MiB")
	}
	if strict(b, into) != nil {
		return proofFault("proof", "one JSON object with the fields of a proof")
	}
	again, err := encodeProof(into)
	if err != nil || !bytes.Equal(again, b) {
		return proofFault("proof", "a proof stands in its one encoding")
	}
	return nil
}

// proofNote checks what both files share: key, path and checkpoint.
func proofNote(pin *sm.VerifyKey, signKey []byte, origin string, path [][]byte, text string) (*sm.VerifyKey, tlog.Note, error) {
	key, err := sm.ParseVerifyKey(signKey)
	if err != nil {
		return nil, tlog.Note{}, proofFault("sign_key", "an SM2 signing key")
	}
	if pin != nil && !bytes.Equal(pin.Bytes(), key.Bytes()) {
		return nil, tlog.Note{}, proofFault("sign_key", "the proof is signed by another key than the one given")
	}
	for _, h := range path {
		if len(h) != sm.Size || len(path) > 128 {
			return nil, tlog.Note{}, proofFault("path", "at most 128 hashes of 32 bytes")
		}
	}
	note, err := tlog.ParseNote(text)
	if err == nil {
		err = note.Checkpoint.Verify(key)
	}
	if err != nil || note.Origin != origin {
		return nil, tlog.Note{}, proofFault("checkpoint", "signed by the domain for this log")
	}
	return key, note, nil
}

// VerifyProof checks a proof of one entry offline and trusts nothing in it but, if pin is given, the domain's signing key:
// inclusion under the signed checkpoint, the domain's signature over the file, and for a visible event its salted entry and
// its signature. The first fault is Tampered, naming the part and the rule.
func VerifyProof(b []byte, pin *sm.VerifyKey) (ProofReport, error) {
	var p Proof
	if err := readProof(b, &p); err != nil {
		return ProofReport{}, err
	}
	if p.Format != ProofFormat {
		return ProofReport{}, proofFault("format", "format "+ProofFormat)
	}
	key, note, err := proofNote(pin, p.SignKey, p.Origin, p.Path, p.Checkpoint)
	if err != nil {
		return ProofReport{}, err
	}
	if len(p.Entry) != sm.Size || tlog.VerifyInclusion([sm.Size]byte(p.Entry), p.Index, note.Size, p.Path, note.Root) != nil {
		return ProofReport{}, proofFault(entryName(p.Index), "the path leads from the entry to the root of the checkpoint")
	}
	out := ProofReport{Origin: p.Origin, Fingerprint: key.Fingerprint(), Index: p.Index, Entry: p.Entry, Size: note.Size, Note: note}
	if len(p.Event) > 0 || len(p.Salt) > 0 {
		if out.Event, err = p.open(key); err != nil {
			return ProofReport{}, err
		}
	}
	signed := p
	signed.Signature = nil
	msg, err := json.Marshal(signed)
	if err != nil || key.Verify(ContextProof, msg, p.Signature) != nil {
		return ProofReport{}, proofFault("signature", "the domain's signature over the whole proof")
	}
	return out, nil
}

// open checks the event of a visible entry.
func (p Proof) open(key *sm.VerifyKey) (*Event, error) {
	if len(p.Salt) != saltLen || len(p.Event) > MaxEvent || sm.HMAC(p.Salt, p.Event) != [sm.Size]byte(p.Entry) {
		return nil, proofFault(entryName(p.Index), "the event is the one the entry was made from")
	}
	e := new(Event)
	err := strict(p.Event, e)
	if err == nil {
		_, err = e.open()
	}
	if err != nil {
		return nil, proofFault(entryName(p.Index), "the event has the fields of its kind")
	}
	if again, err := json.Marshal(e); err != nil || !bytes.Equal(again, p.Event) {
		return nil, proofFault(entryName(p.Index), "the event stands in its one encoding")
	}
	if e.Verify(key) != nil {
		return nil, proofFault(entryName(p.Index), "the domain signed the event")
	}
	return e, nil
}

// VerifyGrowth checks a proof of growth against a note somebody kept: that the domain signed both checkpoints and that the
// kept tree is a prefix of the later one. The first fault is Tampered, naming the part and the rule.
func VerifyGrowth(b []byte, pin *sm.VerifyKey, oldNote string) (GrowthReport, error) {
	var g Growth
	if err := readProof(b, &g); err != nil {
		return GrowthReport{}, err
	}
	if g.Format != GrowthFormat {
		return GrowthReport{}, proofFault("format", "format "+GrowthFormat)
	}
	key, note, err := proofNote(pin, g.SignKey, g.Origin, g.Path, g.Checkpoint)
	if err != nil {
		return GrowthReport{}, err
	}
	old, err := tlog.ParseNote(oldNote)
	if err == nil {
		err = old.Checkpoint.Verify(key)
	}
	if err != nil || old.Origin != g.Origin || old.Size != g.From {
		return GrowthReport{}, proofFault("kept checkpoint", "signed by the same domain for the same log, and the one the proof starts from")
	}
	if old.Size == 0 || tlog.VerifyConsistency(old.Size, note.Size, g.Path, old.Root, note.Root) != nil {
		return GrowthReport{}, proofFault("path", "the kept tree is a prefix of the later one")
	}
	signed := g
	signed.Signature = nil
	msg, err := json.Marshal(signed)
	if err != nil || key.Verify(ContextGrowth, msg, g.Signature) != nil {
		return GrowthReport{}, proofFault("signature", "the domain's signature over the whole proof")
	}
	return GrowthReport{Origin: g.Origin, Fingerprint: key.Fingerprint(), From: g.From, Size: note.Size, Note: note}, nil
}
