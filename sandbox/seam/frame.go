package seam

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// Bounds of what crosses the socket.
const (
	maxHead   = 64 << 10  // bytes of the JSON of a call or an answer
	maxFrame  = 64 << 10  // bytes of one body frame
	maxAnswer = 64 << 20  // bytes of an answer that is held whole
	cut       = 1<<32 - 1 // in the place of a length: the body was broken off
	last      = 1<<32 - 2 // the body ended, and so does the connection
)

func broken(detail string) error {
	return &sandbox.Error{Op: "seam", Kind: sandbox.Invalid, Object: "frame", Detail: detail}
}

func gone(err error) error {
	return &sandbox.Error{Op: "seam", Kind: sandbox.Unavailable, Object: "socket", Detail: "the other process is gone", Hint: "try again", Err: err}
}

// Before an answer the core says what comes: it wants the body now, or the answer follows.
const (
	wantBody = 'b'
	answers  = 'a'
)

// callHead is a call as it crosses; its body follows when the core wants it.
type callHead struct {
	Route     string             `json:"route,omitempty"`
	Method    string             `json:"method"`
	Authority string             `json:"authority"`
	Path      string             `json:"path"`
	Query     string             `json:"query,omitempty"`
	Fields    api.Fields         `json:"fields"`
	Peer      sandbox.IdentityID `json:"peer,omitempty"`
	Body      bool               `json:"body,omitempty"`
}

// answerHead is an answer as it crosses; its body follows.
type answerHead struct {
	Status      int           `json:"status"`
	ContentType string        `json:"content_type,omitempty"`
	RetryAfter  time.Duration `json:"retry_after,omitempty"`
	Stream      bool          `json:"stream,omitempty"`
}

// writeFrame writes one frame in one call.
func writeFrame(w io.Writer, buf, b []byte) ([]byte, error) {
	buf = binary.BigEndian.AppendUint32(buf[:0], uint32(len(b)))
	buf = append(buf, b...)
	_, err := w.Write(buf)
	return buf, err
}

// writeHead writes the JSON of a call or an answer.
func writeHead(w io.Writer, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return broken("the head has no JSON form")
	}
	if len(b) > maxHead {
		return &sandbox.Error{Op: "seam", Kind: sandbox.TooLarge, Object: "head", Detail: "at most 64 KiB"}
	}
	if _, err = writeFrame(w, nil, b); err != nil {
		return gone(err)
	}
	return nil
}

// readHead reads it, strictly. io.EOF says that the other side ended between two calls.
func readHead(r io.Reader, into any) error {
	var n [4]byte
	if _, err := io.ReadFull(r, n[:]); err == io.EOF {
		return io.EOF
	} else if err != nil {
		return gone(err)
	}
	size := binary.BigEndian.Uint32(n[:])
	if size == 0 || size > maxHead {
		return broken("a head has 1 byte to 64 KiB")
	}
	b := make([]byte, size)
	if _, err := io.ReadFull(r, b); err != nil {
		return gone(err)
	}
	if err := decodeStrict(b, into); err != nil {
		return broken("the head is one JSON object with the known fields")
	}
	return nil
}

// errCut says that the other side gave up inside a body.
var errCut error = &sandbox.Error{Op: "seam", Kind: sandbox.Unavailable, Object: "body", Detail: "it was broken off", Hint: "try again"}

// bodyWriter writes a body in frames; Close ends it and says whether the connection is kept, Cut says that it is not whole.
type bodyWriter struct {
	w   io.Writer
	buf []byte
}

func (b *bodyWriter) Write(p []byte) (n int, err error) {
	for len(p) > 0 {
		part := p[:min(len(p), maxFrame)]
		if b.buf, err = writeFrame(b.w, b.buf, part); err != nil {
			return n, gone(err)
		}
		n, p = n+len(part), p[len(part):]
	}
	return n, nil
}

func (b *bodyWriter) Close(keep bool) error {
	if keep {
		return b.mark(0)
	}
	return b.mark(last)
}

func (b *bodyWriter) Cut() error { return b.mark(cut) }

func (b *bodyWriter) mark(n uint32) error {
	if _, err := b.w.Write(binary.BigEndian.AppendUint32(nil, n)); err != nil {
		return gone(err)
	}
	return nil
}

// bodyReader reads a body: io.EOF at its end, errCut where the other side gave up.
type bodyReader struct {
	r    io.Reader
	left uint32
	err  error
	last bool // the other side ends the connection
}

func (b *bodyReader) Read(p []byte) (int, error) {
	if b.err != nil || len(p) == 0 {
		return 0, b.err
	}
	if b.left == 0 {
		var n [4]byte
		if _, err := io.ReadFull(b.r, n[:]); err != nil {
			b.err = gone(err)
			return 0, b.err
		}
		b.left = binary.BigEndian.Uint32(n[:])
		switch {
		case b.left == 0 || b.left == last:
			b.last, b.err = b.left == last, io.EOF
		case b.left == cut:
			b.err = errCut
		case b.left > maxFrame:
			b.err = broken("a body frame has at most 64 KiB")
		}
		if b.err != nil {
			return 0, b.err
		}
	}
	n, err := b.r.Read(p[:min(uint32(len(p)), b.left)])
	b.left -= uint32(n)
	if err != nil && (err != io.EOF || b.left > 0 || n == 0) {
		b.err = gone(err)
		return n, b.err
	}
	return n, nil
}

// ended says whether the body was read to its end, so that the connection can carry another call.
func (b *bodyReader) ended() bool { return b.err == io.EOF }

// decodeStrict reads one JSON object with the known fields.
func decodeStrict(b []byte, into any) error {
	dec := json.NewDecoder(bytes.NewReader(b))
	dec.DisallowUnknownFields()
	if err := dec.Decode(into); err != nil {
		return err
	}
	if _, err := dec.Token(); err != io.EOF {
		return errors.New("bytes after the value")
	}
	return nil
}
