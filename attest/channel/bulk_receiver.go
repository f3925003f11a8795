package channel

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"sync"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// BulkReceiver (批量数据接收端) receives the frames of one bulk connection and acknowledges them. Recv, Ack and Finish
// belong to one goroutine each; Close may be called from any.
type BulkReceiver struct {
	conn    io.ReadWriteCloser
	opening Opening
	digest  [sm.Size]byte
	wg      sync.WaitGroup
	open    *sealer
	full    chan *bulkFrame
	free    chan *bulkFrame
	quit    chan struct{}
	once    sync.Once
	held    *bulkFrame // whose payload is handed out
	seq     uint64     // of that payload
	sum     int64
	end     error // io.EOF or errBulk, once there is one

	mu      sync.Mutex // guards what follows
	seal    *sealer
	counter uint64
	acked   uint64
	got     uint64
	ended   bool // the last frame is authentic
	done    bool // the final acknowledgement is out
	cause   error
	ack     [ackSize]byte
	body    [8]byte
}

type bulkFrame struct {
	head [headSize]byte
	body []byte
	err  error
}

// readAhead is how many frames lie between the reading goroutine and Recv, the bound on memory of one connection.
const readAhead = 3

// AcceptBulk opens a bulk connection as the receiver. sender gives the key an opening must be signed with, after it has
// checked what the opening names (domain, run, age), or refuses. Every failure is one and the same error and closes the
// connection; Cause of it is for the operator and never for the peer.
func AcceptBulk(conn io.ReadWriteCloser, rand io.Reader, key *sm.DecryptKey, sender func(Opening) (*sm.VerifyKey, error)) (*BulkReceiver, error) {
	r, err := acceptBulk(conn, rand, key, sender)
	if err != nil {
		_ = conn.Close()
		return nil, errBulk()
	}
	return r, nil
}

func acceptBulk(conn io.ReadWriteCloser, rand io.Reader, key *sm.DecryptKey, sender func(Opening) (*sm.VerifyKey, error)) (*BulkReceiver, error) {
	opening, sig, err := readHello(conn)
	if err != nil {
		return nil, err
	}
	o, err := ParseOpening(opening)
	if err != nil {
		return nil, err
	}
	from, err := sender(o)
	if err != nil {
		return nil, err
	}
	// The signature first: only a known sender reaches the decrypting key.
	if err := from.Verify(BulkContext, opening, sig); err != nil {
		return nil, err
	}
	secret, err := o.Unwrap(key)
	if err != nil {
		return nil, err
	}
	k := &schedule{secret: secret, digest: sm.Sum(opening)}
	if _, err := io.ReadFull(rand, k.nonce[:]); err != nil {
		return nil, err
	}
	confirm, err := k.confirmation(opening, sig)
	if err != nil {
		return nil, err
	}
	if _, err := conn.Write(confirm); err != nil {
		return nil, err
	}
	return newBulkReceiver(conn, k, o)
}

func newBulkReceiver(conn io.ReadWriteCloser, k *schedule, o Opening) (*BulkReceiver, error) {
	var err error
	r := &BulkReceiver{conn: conn, opening: o, digest: k.digest, full: make(chan *bulkFrame, readAhead), free: make(chan *bulkFrame, readAhead), quit: make(chan struct{})}
	if r.open, err = newSealer(k, "frames"); err != nil {
		return nil, err
	}
	if r.seal, err = newSealer(k, "acks"); err != nil {
		return nil, err
	}
	for range readAhead {
		r.free <- &bulkFrame{}
	}
	r.wg.Go(r.read)
	return r, nil
}

// Opening gives the authentic opening of the connection.
func (r *BulkReceiver) Opening() Opening { return r.opening }

// read fills buffers ahead of Recv. It checks what bounds memory; Recv authenticates.
func (r *BulkReceiver) read() {
	in := bufio.NewReaderSize(r.conn, 64<<10)
	for seq := uint64(1); ; seq++ {
		var f *bulkFrame
		select {
		case f = <-r.free:
		case <-r.quit:
			return
		}
		f.body, f.err = readBulkFrame(in, &f.head, f.body, seq)
		end := f.err != nil || f.head[4]&flagLast != 0
		r.full <- f // has room for every frame there is
		if end {
			return
		}
	}
}

func readBulkFrame(in io.Reader, head *[headSize]byte, buf []byte, seq uint64) ([]byte, error) {
	if _, err := io.ReadFull(in, head[:]); err != nil {
		return buf, err
	}
	n := binary.BigEndian.Uint32(head[16:])
	last := head[4] == flagLast
	if [4]byte(head[:4]) != bulkMagic || head[4]&^flagLast != 0 || head[5]|head[6]|head[7] != 0 || binary.BigEndian.Uint64(head[8:]) != seq ||
		n > MaxFrame || last != (n == 0) {
		return buf, errors.New("a frame in sequence, of its form")
	}
	need := int(n) + tagSize
	if cap(buf) < need {
		buf = make([]byte, need)
	}
	buf = buf[:need]
	_, err := io.ReadFull(in, buf)
	return buf, err
}

// Recv gives the next payload, valid until the following call, and its sequence. io.EOF comes only after an authentic
// last frame, and then Finish is due; every other end is the one error of the receiver.
func (r *BulkReceiver) Recv() ([]byte, uint64, error) {
	if r.end != nil {
		return nil, 0, r.end
	}
	if r.held != nil {
		r.free <- r.held
		r.held = nil
	}
	var f *bulkFrame
	select {
	case f = <-r.full:
	case <-r.quit:
		return nil, 0, r.broken(errClosed)
	}
	if f.err != nil {
		return nil, 0, r.broken(f.err)
	}
	r.seq++
	r.held = f
	ad := r.open.bind(f.head[:], &r.digest, r.seq)
	p, err := r.open.aead.Open(f.body[:0], r.open.nonce[:], f.body, ad)
	if err != nil {
		return nil, 0, r.broken(err)
	}
	if r.sum += int64(len(p)); r.sum > MaxStream {
		return nil, 0, r.broken(errors.New("a connection carries at most 2^40 bytes"))
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	r.got = r.seq
	if f.head[4]&flagLast != 0 {
		r.ended = true
		r.end = io.EOF
		return nil, 0, io.EOF
	}
	return p, r.seq, nil
}

func (r *BulkReceiver) broken(cause error) error {
	r.mu.Lock()
	if r.cause == nil {
		r.cause = cause
	}
	r.mu.Unlock()
	r.end = errBulk()
	r.shut()
	return r.end
}

// Cause tells the operator why Recv or Ack failed; it is never sent to the peer.
func (r *BulkReceiver) Cause() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.cause
}

// Ack tells the sender that every frame up to seq is durable. It never goes back and never past what Recv gave.
func (r *BulkReceiver) Ack(seq uint64) error { return r.acknowledge(seq, false) }

func (r *BulkReceiver) acknowledge(seq uint64, last bool) error {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.done || seq < r.acked || seq > r.got || r.ended && seq == r.got && !last {
		return &sandbox.Error{Op: "channel: acknowledge", Kind: sandbox.Conflict, Object: "sequence", Detail: "from the last acknowledged to the last received, before the final one"}
	}
	b := r.ack[:ackHead]
	ackHeader(b, last, r.counter)
	ad := r.seal.bind(b, &r.digest, r.counter)
	binary.BigEndian.PutUint64(r.body[:], seq)
	out := r.seal.aead.Seal(b, r.seal.nonce[:], r.body[:], ad)
	r.counter++
	r.acked = seq
	r.done = last
	if _, err := r.conn.Write(out); err != nil {
		r.done = true // half of it may be out
		if r.cause == nil {
			r.cause = err
		}
		return errBulk()
	}
	return nil
}

// Finish sends the final acknowledgement: every frame is durable. Only after Recv gave io.EOF.
func (r *BulkReceiver) Finish() error {
	r.mu.Lock()
	ended, got := r.ended, r.got
	r.mu.Unlock()
	if !ended {
		return &sandbox.Error{Op: "channel: acknowledge", Kind: sandbox.Conflict, Object: "stream", Detail: "the last frame comes first"}
	}
	return r.acknowledge(got, true)
}

func (r *BulkReceiver) shut() { r.once.Do(func() { close(r.quit); _ = r.conn.Close() }) }

// Close closes the connection and waits for its goroutine. Without Finish the sender sees a cut stream.
func (r *BulkReceiver) Close() error {
	r.shut()
	r.wg.Wait()
	return nil
}
