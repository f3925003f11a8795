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
	lengthSize = 8
)

func fail(kind sandbox.Kind, object, rule string) error {
	return &sandbox.Error{Op: "fleet", Kind: kind, Object: object, Detail: rule}
}

// errGone says that the process at the other end is gone, which says nothing about what it computed.
var errGone = errors.New("the process at the other end is gone")

// line (密封信道) is one end of the connection between coordinator and worker. A message is its length, 8 bytes big endian, sealed, and
// then its bytes in records of 256 KiB, the last one shorter, each sealed: SM4-GCM under the direction's key, the nonce the number of
// what was sealed before it, two zeros, 1 for a length, 1 for a message's last record. What is left out, repeated, moved or turned
// round does not open, and the length is known before room is made for it.
type line struct {
	r         io.Reader
	w         io.Writer
	in, out   cipher.AEAD
	got, sent uint64
	writing   []byte // one goroutine sends, another may receive
	reading   []byte
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

func nonce(n uint64, length, last bool) (b [12]byte) {
	binary.BigEndian.PutUint64(b[:], n)
	if length {
		b[10] = 1
	}
	if last {
		b[11] = 1
	}
	return b
}

// send seals a message, for whom aad says the same.
func (l *line) send(aad, message []byte) error {
	iv := nonce(l.sent, true, false)
	l.sent++
	l.writing = l.out.Seal(l.writing[:0], iv[:], binary.BigEndian.AppendUint64(nil, uint64(len(message))), aad)
	for {
		n := min(len(message), recordSize)
		if n > 0 {
			iv := nonce(l.sent, false, n == len(message))
			l.sent++
			l.writing = l.out.Seal(l.writing, iv[:], message[:n], aad)
		}
		if _, err := l.w.Write(l.writing); err != nil {
			return errGone
		}
		if message = message[n:]; len(message) == 0 {
			return nil
		}
		l.writing = l.writing[:0]
	}
}

// receive opens the next message of at most so many bytes: io.EOF when the other end is done, errGone when it breaks off, Tampered when
// it is not what the other end sealed.
func (l *line) receive(aad []byte, most int) ([]byte, error) {
	length, err := l.open(make([]byte, 0, lengthSize), lengthSize, nonce(l.got, true, false), aad)
	if err != nil {
		return nil, err
	}
	size := binary.BigEndian.Uint64(length)
	if size > uint64(most) {
		return nil, fail(sandbox.TooLarge, "message", "is within the limit for one message")
	}
	message := make([]byte, 0, size)
	for left := int(size); left > 0; left = int(size) - len(message) {
		message, err = l.open(message, min(left, recordSize), nonce(l.got, false, left <= recordSize), aad)
		if err == io.EOF {
			return nil, errGone
		} else if err != nil {
			return nil, err
		}
	}
	return message, nil
}

// open reads n bytes and their tag and opens them to the end of dst, which has room.
func (l *line) open(dst []byte, n int, iv [12]byte, aad []byte) ([]byte, error) {
	l.got++
	if cap(l.reading) < n+tagSize {
		l.reading = make([]byte, recordSize+tagSize)
	}
	sealed := l.reading[:n+tagSize]
	if _, err := io.ReadFull(l.r, sealed); err == io.EOF {
		return nil, io.EOF
	} else if err != nil {
		return nil, errGone
	}
	dst, err := l.in.Open(dst, iv[:], sealed, aad)
	if err != nil {
		return nil, fail(sandbox.Tampered, "record", "opens under the connection's key, in its order and for its part")
	}
	return dst, nil
}

// bound is what the messages of a job are bound to: the job, the question on its versions, and a part.
type bound struct{ job, kernel []byte }

// noPart stands for what concerns no part.
const noPart = math.MaxUint64

func (b bound) to(part uint64) []byte {
	return sm.Frame([]byte(protocol), b.job, b.kernel, binary.BigEndian.AppendUint64(nil, part))
}
