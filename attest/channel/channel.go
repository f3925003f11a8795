package channel

import (
	"bytes"
	"crypto/cipher"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Context is what an opening is signed under.
const Context = "opdomain/stream/v1"

const (
	// MaxFrame bounds a frame's payload in bytes.
	MaxFrame = 1 << 20
	// MaxOpening bounds an encoded opening in bytes.
	MaxOpening = 8 << 10
	// MaxStream bounds the payload under one stream key in bytes.
	MaxStream = 1 << 40

	headSize   = 20
	tagSize    = 16
	secretSize = 32
	flagLast   = 1
)

var magic = [4]byte{'O', 'D', 'F', '1'}

// Opening (开启报文) is the first message of a stream.
type Opening struct {
	Version      int                `json:"version"`
	From         sandbox.IdentityID `json:"from"`
	To           sandbox.IdentityID `json:"to"`
	Domain       string             `json:"domain"`
	Run          sandbox.RunID      `json:"run"`
	Dataset      sandbox.DatasetID  `json:"dataset"`
	Part         uint32             `json:"part"`
	SchemaDigest []byte             `json:"schema_digest"`
	Created      time.Time          `json:"created"`
	Secret       []byte             `json:"secret"` // the stream secret, sealed to To
}

// Secret (流密钥) is the opened secret of one stream.
type Secret struct{ b [secretSize]byte }

// String keeps the secret out of logs.
func (Secret) String() string { return "stream secret(redacted)" }

// Format keeps the secret out of every verb.
func (s Secret) Format(f fmt.State, _ rune) { _, _ = io.WriteString(f, s.String()) }

// NewOpening completes o with a fresh secret sealed to the receiver's key.
func NewOpening(rand io.Reader, to *sm.EncryptKey, o Opening) (Opening, *Secret, error) {
	s := &Secret{}
	if _, err := io.ReadFull(rand, s.b[:]); err != nil {
		return Opening{}, nil, &sandbox.Error{Op: "channel: open", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	sealed, err := to.Seal(rand, s.b[:])
	if err != nil {
		return Opening{}, nil, err
	}
	o.Version, o.Secret = 1, sealed
	o.Created = o.Created.UTC().Truncate(time.Second)
	_, err = ParseOpening(o.Encode())
	return o, s, err
}

// Encode gives the one encoding of an opening.
func (o Opening) Encode() []byte {
	b, err := json.Marshal(o)
	if err != nil { // a year outside 0–9999; ParseOpening refuses the result
		return nil
	}
	return b
}

// ParseOpening reads an opening strictly: bounded, version 1, known fields, well-formed ids, its one encoding. The time
// is in whole seconds of UTC.
func ParseOpening(b []byte) (Opening, error) {
	bad := func(rule string) (Opening, error) {
		return Opening{}, &sandbox.Error{Op: "channel: opening", Kind: sandbox.Invalid, Object: "opening", Detail: rule}
	}
	if len(b) == 0 || len(b) > MaxOpening {
		return bad("1 to 8192 bytes")
	}
	var o Opening
	if err := json.Unmarshal(b, &o); err != nil {
		return bad("one JSON object with the known fields")
	}
	// Also what keeps out unknown and repeated fields.
	if !bytes.Equal(o.Encode(), b) {
		return bad("in its one encoding")
	}
	if o.Version != 1 {
		return bad("version 1")
	}
	if o.Created.Location() != time.UTC || o.Created.Nanosecond() != 0 {
		return bad("created in whole seconds of UTC")
	}
	for _, x := range []struct{ what, id string }{{"from", string(o.From)}, {"to", string(o.To)}, {"domain", o.Domain}, {"run", string(o.Run)}, {"dataset", string(o.Dataset)}} {
		if err := sandbox.CheckID(x.what, x.id); err != nil {
			return Opening{}, err
		}
	}
	if len(o.SchemaDigest) != sm.Size {
		return bad("a schema digest has 32 bytes")
	}
	return o, nil
}

// Unwrap opens the stream secret with the receiver's key.
func (o Opening) Unwrap(key *sm.DecryptKey) (*Secret, error) {
	b, err := key.Open(o.Secret)
	if err != nil {
		return nil, err
	}
	if len(b) != secretSize {
		return nil, &sandbox.Error{Op: "channel: opening", Kind: sandbox.Tampered, Object: "secret", Detail: "a stream secret has 32 bytes"}
	}
	return &Secret{[secretSize]byte(b)}, nil
}

func (s *Secret) aead(opening []byte) (cipher.AEAD, [sm.Size]byte, error) {
	digest := sm.Sum(opening)
	key, err := sm.HKDF(s.b[:], digest[:], sm.Frame([]byte(Context)), sm.KeySize)
	if err != nil {
		return nil, digest, err
	}
	a, err := sm.NewGCM(key)
	return a, digest, err
}

// Writer (密封写入) writes the frames of one stream.
type Writer struct {
	w    io.Writer
	aead cipher.AEAD
	ad   [headSize + sm.Size]byte
	seq  uint64
	sum  int64 // payload bytes so far
	buf  []byte
	done bool
	err  error
}

// NewWriter starts a stream under the secret of the encoded opening and writes its confirmation frame.
func NewWriter(w io.Writer, s *Secret, opening []byte) (*Writer, error) {
	a, digest, err := s.aead(opening)
	if err != nil {
		return nil, err
	}
	out := &Writer{w: w, aead: a}
	copy(out.ad[headSize:], digest[:])
	if err := out.frame(nil, 0); err != nil {
		return nil, err
	}
	return out, nil
}

// WriteFrame seals and writes one payload of 1 byte to MaxFrame.
func (w *Writer) WriteFrame(payload []byte) error {
	switch {
	case w.done:
		return w.refuse(sandbox.Conflict, "the stream is closed")
	case len(payload) == 0:
		return w.refuse(sandbox.Invalid, "a frame carries at least one byte")
	case len(payload) > MaxFrame:
		return w.refuse(sandbox.TooLarge, "a frame carries at most 1 MiB")
	case w.sum+int64(len(payload)) > MaxStream:
		return w.refuse(sandbox.TooLarge, "a stream carries at most 2^40 bytes")
	}
	w.sum += int64(len(payload))
	return w.frame(payload, 0)
}

func (w *Writer) refuse(kind sandbox.Kind, rule string) error {
	return &sandbox.Error{Op: "channel: write", Kind: kind, Object: fmt.Sprintf("frame %d", w.seq), Detail: rule}
}

// Close writes the last frame. A stream without it is refused by its reader.
func (w *Writer) Close() error {
	if w.done {
		return w.err
	}
	w.done = true
	return w.frame(nil, flagLast)
}

func (w *Writer) frame(payload []byte, flags byte) error {
	if w.err != nil {
		return w.err
	}
	head := w.ad[:headSize]
	copy(head, magic[:])
	head[4] = flags
	binary.BigEndian.PutUint64(head[8:], w.seq)
	binary.BigEndian.PutUint32(head[16:], uint32(len(payload)))
	w.buf = append(w.buf[:0], head...)
	w.buf = w.aead.Seal(w.buf, nonce(w.seq), payload, w.ad[:])
	if _, err := w.w.Write(w.buf); err != nil {
		// Half a frame may be out: nothing more is written, since a second frame under this sequence would repeat a nonce.
		w.err = &sandbox.Error{Op: "channel: write", Kind: sandbox.Unavailable, Object: fmt.Sprintf("frame %d", w.seq), Err: err,
			Hint: "send the stream again under a new opening"}
	}
	w.seq++
	return w.err
}

func nonce(seq uint64) []byte {
	var n [12]byte
	binary.BigEndian.PutUint64(n[4:], seq)
	return n[:]
}

// Reader (密封读取) reads the frames of one stream.
type Reader struct {
	r    io.Reader
	aead cipher.AEAD
	ad   [headSize + sm.Size]byte
	seq  uint64
	sum  int64 // payload bytes so far
	buf  []byte
	err  error
}

// NewReader reads and checks the confirmation frame of a stream.
func NewReader(r io.Reader, s *Secret, opening []byte) (*Reader, error) {
	a, digest, err := s.aead(opening)
	if err != nil {
		return nil, err
	}
	in := &Reader{r: r, aead: a}
	copy(in.ad[headSize:], digest[:])
	p, last, err := in.frame()
	if err == nil && (last || len(p) != 0) {
		err = in.broken("the first frame confirms the key")
	}
	if err != nil {
		return nil, err
	}
	return in, nil
}

// Next gives the next payload, valid until the following call; io.EOF only after an authentic last frame with nothing
// behind it.
func (r *Reader) Next() ([]byte, error) {
	if r.err != nil {
		return nil, r.err
	}
	p, last, err := r.frame()
	switch {
	case err != nil:
		r.err = err
	case last:
		r.err = io.EOF
		if len(p) != 0 {
			r.err = r.broken("the last frame is empty")
		} else if n, err := io.ReadFull(r.r, make([]byte, 1)); n != 0 {
			r.err = r.broken("nothing follows the last frame")
		} else if err != io.EOF {
			r.err = r.cut(err)
		}
	case len(p) == 0:
		r.err = r.broken("a frame between first and last carries data")
	}
	if r.err != nil {
		return nil, r.err
	}
	return p, nil
}

func (r *Reader) frame() (payload []byte, last bool, err error) {
	head := r.ad[:headSize]
	if _, err := io.ReadFull(r.r, head); err != nil {
		return nil, false, r.cut(err)
	}
	n := binary.BigEndian.Uint32(head[16:])
	if [4]byte(head[:4]) != magic || head[4]&^flagLast != 0 || head[5]|head[6]|head[7] != 0 || binary.BigEndian.Uint64(head[8:]) != r.seq || n > MaxFrame {
		return nil, false, r.broken("a frame in sequence, at most 1 MiB")
	}
	if r.sum += int64(n); r.sum > MaxStream {
		return nil, false, r.broken("a stream carries at most 2^40 bytes")
	}
	if need := int(n) + tagSize; cap(r.buf) < need {
		r.buf = make([]byte, need)
	}
	body := r.buf[:int(n)+tagSize]
	if _, err := io.ReadFull(r.r, body); err != nil {
		return nil, false, r.cut(err)
	}
	if payload, err = r.aead.Open(body[:0], nonce(r.seq), body, r.ad[:]); err != nil { // in place: half the memory to move
		return nil, false, r.broken("the frame fails authentication")
	}
	r.seq++
	return payload, head[4]&flagLast != 0, nil
}

// cut is the error of a read that failed. An end is never io.EOF here: that would pass for the end of a whole stream.
func (r *Reader) cut(err error) error {
	if err == io.EOF || err == io.ErrUnexpectedEOF {
		e := r.broken("the stream ends before its last frame")
		e.Err = io.ErrUnexpectedEOF
		return e
	}
	kind := sandbox.Unavailable
	if e := (*sandbox.Error)(nil); errors.As(err, &e) {
		kind = e.Kind
	}
	return &sandbox.Error{Op: "channel: read", Kind: kind, Object: fmt.Sprintf("frame %d", r.seq), Err: err}
}

func (r *Reader) broken(rule string) *sandbox.Error {
	return &sandbox.Error{Op: "channel: read", Kind: sandbox.Tampered, Object: fmt.Sprintf("frame %d", r.seq), Detail: rule,
		Hint: "send the stream again under a new opening"}
}
