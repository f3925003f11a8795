package channel

import (
	"encoding/binary"
	"fmt"
	"io"
	"sync"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// BulkSender (批量数据发送端) sends frames over one bulk connection and learns which of them are durable. Send and Finish
// belong to one goroutine; Acked, Wait and Close may be called from any.
type BulkSender struct {
	conn   io.ReadWriteCloser
	digest [sm.Size]byte
	window int
	wg     sync.WaitGroup

	out struct { // what waits for the writer
		sync.Mutex
		cond   *sync.Cond
		seal   *sealer
		buf    []byte
		spare  []byte
		seq    uint64
		sum    int64
		closed bool // nothing more is written after buf
	}
	in struct { // what came back
		sync.Mutex
		cond  *sync.Cond
		sent  uint64   // highest sequence handed to the writer
		acked uint64   // highest durable sequence
		costs []uint32 // ring of the costs of acked+1 … sent, by sequence modulo its length, a power of two
		held  int      // their sum
		last  uint64   // sequence of the last frame, 0 before it
		done  bool     // the final acknowledgement is here
		err   error
	}
}

// OpenBulk opens a bulk connection as the sender: it completes o with a fresh secret for the receiver, signs it and
// waits until the receiver has proved that it holds the secret. window bounds the bytes not yet acknowledged, 0 means
// DefaultWindow. On an error the connection is closed; Unavailable: the receiver did not answer, Tampered: it could not
// prove itself.
func OpenBulk(conn io.ReadWriteCloser, rand io.Reader, key *sm.SigningKey, to *sm.EncryptKey, o Opening, window int) (*BulkSender, error) {
	s, err := openBulk(conn, rand, key, to, o, window)
	if err != nil {
		_ = conn.Close()
		return nil, err
	}
	return s, nil
}

func openBulk(conn io.ReadWriteCloser, rand io.Reader, key *sm.SigningKey, to *sm.EncryptKey, o Opening, window int) (*BulkSender, error) {
	if window == 0 {
		window = DefaultWindow
	}
	if window < 0 {
		return nil, &sandbox.Error{Op: "channel: open", Kind: sandbox.Invalid, Object: "window", Detail: "a number of bytes"}
	}
	o, secret, err := NewOpening(rand, to, o)
	if err != nil {
		return nil, err
	}
	opening := o.Encode()
	sig, err := key.Sign(rand, BulkContext, opening)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(encodeHello(opening, sig)); err != nil {
		return nil, lost("channel: open", err)
	}
	var got [confirmSize]byte
	if _, err := io.ReadFull(conn, got[:]); err != nil {
		return nil, lost("channel: open", err)
	}
	k := &schedule{secret: secret, digest: sm.Sum(opening), nonce: [nonceSize]byte(got[4:])}
	want, err := k.confirmation(opening, sig)
	if err != nil {
		return nil, err
	}
	if !sameMAC(want, got[:]) {
		return nil, &sandbox.Error{Op: "channel: open", Kind: sandbox.Tampered, Object: "receiver", Detail: "the receiver does not prove that it holds the stream secret"}
	}
	return newBulkSender(conn, k, window)
}

func newBulkSender(conn io.ReadWriteCloser, k *schedule, window int) (*BulkSender, error) {
	s := &BulkSender{conn: conn, digest: k.digest, window: window}
	var err error
	s.out.cond, s.in.cond = sync.NewCond(&s.out), sync.NewCond(&s.in)
	s.in.costs = make([]uint32, 64)
	if s.out.seal, err = newSealer(k, "frames"); err != nil {
		return nil, err
	}
	acks, err := newSealer(k, "acks")
	if err != nil {
		return nil, err
	}
	s.wg.Go(s.write)
	s.wg.Go(func() { s.acks(acks) })
	return s, nil
}

// Send seals one payload of 1 byte to MaxFrame and queues it; p may be used again at once. It blocks while the window is
// full, and gives the frame's sequence, from 1.
func (s *BulkSender) Send(p []byte) (uint64, error) {
	switch {
	case len(p) == 0:
		return 0, s.refuse(sandbox.Invalid, "a frame carries at least one byte")
	case len(p) > MaxFrame:
		return 0, s.refuse(sandbox.TooLarge, "a frame carries at most 1 MiB")
	}
	return s.send(p, 0)
}

func (s *BulkSender) refuse(kind sandbox.Kind, rule string) error {
	return &sandbox.Error{Op: "channel: send", Kind: kind, Object: "frame", Detail: rule}
}

func (s *BulkSender) send(p []byte, flags byte) (uint64, error) {
	seq, err := s.reserve(len(p), flags)
	if err != nil {
		return 0, err
	}
	o := &s.out
	o.Lock()
	defer o.Unlock()
	need := headSize + len(p) + tagSize
	// The writer may hold one buffer while the next fills; a second frame joins it only below its bound.
	for len(o.buf) > 0 && len(o.buf)+need > headSize+MaxFrame+tagSize && !o.closed {
		o.cond.Wait()
	}
	if o.closed {
		return 0, s.failure()
	}
	var head [headSize]byte
	at := len(o.buf)
	o.buf = append(o.buf, head[:]...)
	h := o.buf[at:]
	copy(h, bulkMagic[:])
	h[4] = flags
	binary.BigEndian.PutUint64(h[8:], seq)
	binary.BigEndian.PutUint32(h[16:], uint32(len(p)))
	ad := o.seal.bind(h, &s.digest, seq)
	o.buf = o.seal.aead.Seal(o.buf, o.seal.nonce[:], p, ad)
	o.cond.Broadcast()
	return seq, nil
}

// reserve waits for room in the window and takes the next sequence.
func (s *BulkSender) reserve(n int, flags byte) (uint64, error) {
	in := &s.in
	in.Lock()
	defer in.Unlock()
	if in.last != 0 {
		return 0, s.refuse(sandbox.Conflict, "the stream is finished")
	}
	if s.out.sum+int64(n) > MaxStream { // only this goroutine writes sum
		return 0, s.refuse(sandbox.TooLarge, "a connection carries at most 2^40 bytes")
	}
	for in.err == nil && in.held > 0 && in.held+n+frameCost > s.window {
		in.cond.Wait()
	}
	if in.err != nil {
		return 0, in.err
	}
	if in.sent-in.acked == uint64(len(in.costs)) {
		grown := make([]uint32, 2*len(in.costs))
		for q := in.acked + 1; q <= in.sent; q++ {
			grown[q%uint64(len(grown))] = in.costs[q%uint64(len(in.costs))]
		}
		in.costs = grown
	}
	in.sent++
	in.costs[in.sent%uint64(len(in.costs))] = uint32(n + frameCost)
	in.held += n + frameCost
	s.out.sum += int64(n)
	if flags&flagLast != 0 {
		in.last = in.sent
	}
	return in.sent, nil
}

// write owns the connection's sending side.
func (s *BulkSender) write() {
	o := &s.out
	o.Lock()
	defer o.Unlock()
	for {
		for len(o.buf) == 0 && !o.closed {
			o.cond.Wait()
		}
		if o.closed {
			return
		}
		full := o.buf
		o.buf, o.spare = o.spare[:0], nil
		o.cond.Broadcast()
		o.Unlock()
		_, err := s.conn.Write(full)
		o.Lock()
		o.spare = full[:0]
		if err != nil {
			// Half a frame may be out: nothing more is written, since a second frame under this sequence would repeat a nonce.
			o.closed = true
			o.cond.Broadcast()
			s.fail(lost("channel: send", err))
			return
		}
	}
}

// acks owns the connection's receiving side until the final acknowledgement.
func (s *BulkSender) acks(open *sealer) {
	var b [ackSize]byte
	var head [ackHead]byte
	for counter := uint64(0); ; counter++ {
		if _, err := io.ReadFull(s.conn, b[:]); err != nil {
			s.stop(lost("channel: send", err))
			return
		}
		last := b[4]&flagLast != 0
		ackHeader(head[:], last, counter)
		ad := open.bind(head[:], &s.digest, counter)
		p, err := open.aead.Open(b[ackHead:ackHead], open.nonce[:], b[ackHead:], ad)
		if err != nil || [ackHead]byte(b[:ackHead]) != head || !s.take(binary.BigEndian.Uint64(p), last) {
			s.stop(&sandbox.Error{Op: "channel: send", Kind: sandbox.Tampered, Object: fmt.Sprintf("acknowledgement %d", counter),
				Detail: "an acknowledgement in order, under this connection's key", Hint: "connect again under a new opening"})
			return
		}
		if last {
			return
		}
	}
}

// take moves the acknowledged sequence forward, never back and never past what was sent; the final one covers the last
// frame.
func (s *BulkSender) take(seq uint64, last bool) bool {
	in := &s.in
	in.Lock()
	defer in.Unlock()
	if seq < in.acked || seq > in.sent || last && (in.last == 0 || seq != in.last) {
		return false
	}
	for in.acked < seq {
		in.acked++
		in.held -= int(in.costs[in.acked%uint64(len(in.costs))])
	}
	in.done = in.done || last
	in.cond.Broadcast()
	return true
}

func (s *BulkSender) fail(err error) {
	s.in.Lock()
	defer s.in.Unlock()
	if s.in.err == nil && !s.in.done {
		s.in.err = err
	}
	s.in.cond.Broadcast()
}

// stop fails the stream and frees whoever waits for the writer, who may be blocked on a dead peer.
func (s *BulkSender) stop(err error) {
	s.fail(err)
	_ = s.conn.Close()
	s.out.Lock()
	defer s.out.Unlock()
	s.out.closed = true
	s.out.cond.Broadcast()
}

func (s *BulkSender) failure() error {
	s.in.Lock()
	defer s.in.Unlock()
	if s.in.err != nil {
		return s.in.err
	}
	return lost("channel: send", errClosed)
}

// Acked gives the last sequence the receiver calls durable, with all before it; 0 is none.
func (s *BulkSender) Acked() uint64 {
	s.in.Lock()
	defer s.in.Unlock()
	return s.in.acked
}

// Wait blocks until sequence seq is durable at the receiver, or the connection fails.
func (s *BulkSender) Wait(seq uint64) error {
	in := &s.in
	in.Lock()
	defer in.Unlock()
	for in.acked < seq && in.err == nil {
		if in.done {
			return s.refuse(sandbox.Invalid, "a sequence that was sent")
		}
		in.cond.Wait()
	}
	if in.acked >= seq {
		return nil
	}
	return in.err
}

// Finish sends the last frame and waits for the receiver's final acknowledgement, which says that every frame is
// durable. Whatever else ends a stream is an error.
func (s *BulkSender) Finish() error {
	if _, err := s.send(nil, flagLast); err != nil {
		return err
	}
	in := &s.in
	in.Lock()
	defer in.Unlock()
	for !in.done && in.err == nil {
		in.cond.Wait()
	}
	if in.done {
		return nil
	}
	return in.err
}

// Close closes the connection and waits for its goroutines. Without Finish the receiver sees a cut stream.
func (s *BulkSender) Close() error {
	s.stop(lost("channel: send", errClosed))
	s.wg.Wait()
	return nil
}
