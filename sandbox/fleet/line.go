package fleet

import (
	"crypto/cipher"
	"encoding/binary"
	"errors"
	"io"
	"math"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

const (
	magic      = "ODF1"
	protocol   = "opdomain/fleet/v1"
	jobSize    = 16
	secretSize = 32
	recordSize = 256 << 10 // bytes of plaintext
	tagSize    = 16
	isLast     = 1 << 31 // in a record's length: the message ends with it
)

func fail(kind sandbox.Kind, object, rule string) error {
	return &sandbox.Error{Op: "fleet", Kind: kind, Object: object, Detail: rule}
}

// errGone says that the process at the other end is gone, which says nothing about what it computed.
var errGone = errors.New("the process at the other end is gone")

// line (密封信道) is one end of the connection between coordinator and worker: messages cut into records,
//
//	uint32  length of the sealed record, big endian; its highest bit: the last of the message
//	…       SM4-GCM under the direction's key, nonce: the record's number, three zeros, 1 for the last
//
// so that a record that is left out, repeated, moved or turned round does not open.
type line struct {
	r             io.Reader
	w             io.Writer
	in, out       cipher.AEAD
	got, sent     uint64
	sealed, plain []byte
}

// newLine derives the keys of both directions; a connection has its own secret.
func newLine(r io.Reader, w io.Writer, job, secret []byte, worker bool) (*line, error) {
	aead := func(direction string) (cipher.AEAD, error) {
		k, err := sm.HKDF(secret, nil, sm.Frame([]byte(protocol), []byte(direction), job), sm.KeySize)
		if err != nil {
			return nil, err
		}
		defer clear(k)
		return sm.NewGCM(k)
	}
	to, err := aead("to worker")
	if err != nil {
		return nil, err
	}
	from, err := aead("from worker")
	if err != nil {
		return nil, err
	}
	l := &line{r: r, w: w, in: from, out: to}
	if worker {
		l.in, l.out = to, from
	}
	return l, nil
}

func nonce(n uint64, last bool) (b [12]byte) {
	binary.BigEndian.PutUint64(b[:], n)
	if last {
		b[11] = 1
	}
	return b
}

// send seals a message, for whom aad says the same.
func (l *line) send(aad, message []byte) error {
	for {
		n := min(len(message), recordSize)
		last := n == len(message)
		iv := nonce(l.sent, last)
		l.sent++
		l.sealed = l.out.Seal(append(l.sealed[:0], 0, 0, 0, 0), iv[:], message[:n], aad)
		size := uint32(len(l.sealed) - 4)
		if last {
			size |= isLast
		}
		binary.BigEndian.PutUint32(l.sealed, size)
		if _, err := l.w.Write(l.sealed); err != nil {
			return errGone
		}
		if message = message[n:]; last {
			return nil
		}
	}
}

// receive opens the next message of at most so many bytes: io.EOF when the other end is done, errGone when it breaks off, Tampered when
// it is not what the other end sealed.
func (l *line) receive(aad []byte, most int) (message []byte, err error) {
	for first := true; ; first = false {
		var head [4]byte
		if _, err := io.ReadFull(l.r, head[:]); err == io.EOF && first {
			return nil, io.EOF
		} else if err != nil {
			return nil, errGone
		}
		size := binary.BigEndian.Uint32(head[:])
		last := size&isLast != 0
		size &^= isLast
		if size < tagSize || size > recordSize+tagSize || !last && size != recordSize+tagSize {
			return nil, fail(sandbox.Tampered, "record", "has the length that its place asks for")
		}
		if len(message)+int(size)-tagSize > most {
			return nil, fail(sandbox.TooLarge, "message", "is within the limit for one message")
		}
		if cap(l.plain) < int(size) {
			l.plain = make([]byte, recordSize+tagSize)
		}
		sealed := l.plain[:size]
		if _, err := io.ReadFull(l.r, sealed); err != nil {
			return nil, errGone
		}
		iv := nonce(l.got, last)
		l.got++
		if message, err = l.in.Open(message, iv[:], sealed, aad); err != nil {
			return nil, fail(sandbox.Tampered, "record", "opens under the connection's key, in its order and for its part")
		}
		if last {
			return message, nil
		}
	}
}

// bound is what the messages of a job are bound to: the job, the question on its versions, and a part.
type bound struct{ job, kernel []byte }

// noPart stands for what concerns no part.
const noPart = math.MaxUint64

func (b bound) to(part uint64) []byte {
	return sm.Frame([]byte(protocol), b.job, b.kernel, binary.BigEndian.AppendUint64(nil, part))
}
