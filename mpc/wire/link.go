package wire

import (
	"crypto/cipher"
	"encoding/binary"
	"io"
	"net"
	"sync"
	"sync/atomic"

	"github.com/opdomain/opdomain/attest/sm"
)

const (
	// MaxFrame bounds a frame's payload in bytes.
	MaxFrame = 128 << 10
	// MaxLink bounds the payload of one direction of one link in bytes, the bound of one key.
	MaxLink = 1 << 36

	headSize = 20
	tagSize  = 16
	adSize   = sm.Size + 2 + headSize
)

var frameMagic = [4]byte{'O', 'D', 'M', 'F'}

// head is a frame's header.
type head struct {
	tag  uint32
	seq  uint64
	size uint32
}

func (h head) put(b []byte) {
	copy(b, frameMagic[:])
	binary.BigEndian.PutUint32(b[4:], h.tag)
	binary.BigEndian.PutUint64(b[8:], h.seq)
	binary.BigEndian.PutUint32(b[16:], h.size)
}

// parseHead reads a header of headSize bytes; a length over MaxFrame is refused before anybody acts on it.
func parseHead(b []byte) (head, bool) {
	if len(b) != headSize || [4]byte(b[:4]) != frameMagic {
		return head{}, false
	}
	h := head{binary.BigEndian.Uint32(b[4:]), binary.BigEndian.Uint64(b[8:]), binary.BigEndian.Uint32(b[16:])}
	return h, h.size <= MaxFrame
}

// direction is one direction of a link: its key, count and chain.
type direction struct {
	aead  cipher.AEAD
	ad    [adSize]byte
	nonce [12]byte
	seq   uint64
	sum   int64
	chain [sm.Size]byte
	buf   []byte
}

// key starts the direction anew under a key that hangs on master and session.
func (d *direction) key(master []byte, session *[sm.Size]byte, from, to int) error {
	k, err := sm.HKDF(master, session[:], sm.Frame([]byte(Context), []byte("frames"), []byte{byte(from), byte(to)}), sm.KeySize)
	if err != nil {
		return err
	}
	if d.aead, err = sm.NewGCM(k); err != nil {
		return err
	}
	clear(k)
	copy(d.ad[:], session[:])
	d.ad[sm.Size], d.ad[sm.Size+1] = byte(from), byte(to)
	d.seq, d.sum = 0, 0
	return nil
}

func (d *direction) bind(h head) []byte {
	h.put(d.ad[sm.Size+2:])
	binary.BigEndian.PutUint64(d.nonce[4:], h.seq)
	return d.ad[:]
}

// link takes a frame into the chain. GCM does not commit: who knows the key finds other payloads with one tag, so that payload is given where
// a chain is to bind the ends themselves, and nil where it need only bind against others.
func (d *direction) link(tag, payload []byte) {
	d.chain = sm.Sum(d.chain[:], d.ad[sm.Size+2:], tag, payload)
	d.seq++
}

// link is the connection to one peer.
type link struct {
	mesh     *Mesh
	peer     int
	conn     net.Conn
	master   []byte
	payloads bool       // chains cover them
	mu       sync.Mutex // guards out
	out, in  direction  // in belongs to the reading goroutine between Post and Wait
	posts    chan *receipt

	sent, received, frames atomic.Int64
}

func newLink(self, peer int, conn net.Conn, master []byte) (*link, error) {
	l := &link{peer: peer, conn: conn, master: master, posts: make(chan *receipt, 64)}
	l.out.buf, l.in.buf = make([]byte, headSize+MaxFrame+tagSize), make([]byte, headSize+MaxFrame+tagSize)
	return l, l.rekey(self, &[sm.Size]byte{})
}

func (l *link) rekey(self int, session *[sm.Size]byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	if err := l.out.key(l.master, session, self, l.peer); err != nil {
		return err
	}
	return l.in.key(l.master, session, l.peer, self)
}

// frame seals and writes one payload.
func (l *link) frame(tag uint32, p []byte) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	d := &l.out
	if d.sum += int64(len(p)); d.sum > MaxLink {
		return tampered(l.peer, "a link carries at most 2^36 bytes a direction")
	}
	h := head{tag, d.seq, uint32(len(p))}
	h.put(d.buf)
	ad := d.bind(h)
	out := d.aead.Seal(d.buf[:headSize], d.nonce[:], p, ad)
	if l.payloads {
		d.link(out[len(out)-tagSize:], p)
	} else {
		d.link(out[len(out)-tagSize:], nil)
	}
	l.sent.Add(int64(len(out)))
	l.frames.Add(1)
	if _, err := l.conn.Write(out); err != nil {
		return ended(l.peer, err)
	}
	return nil
}

// read fills into with the next frames, which carry tag; nil takes one empty frame.
func (l *link) read(tag uint32, into []byte) error {
	d := &l.in
	for first := true; first || len(into) > 0; first = false {
		box := d.buf[:headSize]
		if _, err := io.ReadFull(l.conn, box); err != nil {
			return ended(l.peer, err)
		}
		h, ok := parseHead(box)
		if !ok || h.seq != d.seq {
			return tampered(l.peer, "a frame in sequence, at most 128 KiB")
		}
		if h.tag != tag {
			return tampered(l.peer, "the step both parties are at")
		}
		n := int(h.size)
		if n > len(into) || n == 0 && len(into) > 0 {
			return tampered(l.peer, "a message of the agreed length")
		}
		if d.sum += int64(n); d.sum > MaxLink {
			return tampered(l.peer, "a link carries at most 2^36 bytes a direction")
		}
		box = d.buf[headSize : headSize+n+tagSize]
		if _, err := io.ReadFull(l.conn, box); err != nil {
			return ended(l.peer, err)
		}
		tagBytes := [tagSize]byte(box[n:])
		if _, err := d.aead.Open(into[:0:n], d.nonce[:], box, d.bind(h)); err != nil {
			return tampered(l.peer, "the frame fails authentication")
		}
		if l.payloads {
			d.link(tagBytes[:], into[:n])
		} else {
			d.link(tagBytes[:], nil)
		}
		l.received.Add(int64(headSize + n + tagSize))
		into = into[n:]
	}
	return nil
}

// receipt is a message that is waited for.
type receipt struct {
	tag  uint32
	into []byte
	done chan error
}

// serve reads what is posted, in order, until the posts end.
func (l *link) serve() {
	for r := range l.posts {
		err := l.mesh.Err()
		if err == nil {
			if err = l.read(r.tag, r.into); err != nil {
				err = l.mesh.fail(err)
			}
		}
		r.done <- err
	}
}
