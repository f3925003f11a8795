package channel

import (
	"bytes"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"pgregory.net/rapid"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// ends are the keys of both sides and an opening to be completed.
type ends struct {
	sign    *sm.SigningKey
	decrypt *sm.DecryptKey
	opening Opening
}

func newEnds(t testing.TB) ends {
	t.Helper()
	s, err := sm.NewSigningKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	d, err := sm.NewDecryptKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return ends{s, d, Opening{From: "unit", To: "domain", Domain: "d", Run: "run-1", Dataset: "ds", SchemaDigest: make([]byte, sm.Size), Created: time.Unix(1_800_000_000, 0)}}
}

func (e ends) known(Opening) (*sm.VerifyKey, error) { return e.sign.Public(), nil }

// connect opens a bulk connection over a and b.
func (e ends) connect(t testing.TB, a, b io.ReadWriteCloser, random io.Reader, window int) (*BulkSender, *BulkReceiver) {
	t.Helper()
	var r *BulkReceiver
	var rerr error
	var wg sync.WaitGroup
	wg.Go(func() { r, rerr = AcceptBulk(b, random, e.decrypt, e.known) })
	s, err := OpenBulk(a, rand.Reader, e.sign, e.decrypt.Public(), e.opening, window)
	wg.Wait()
	if err != nil || rerr != nil {
		t.Fatal(err, rerr)
	}
	t.Cleanup(func() { _ = s.Close(); _ = r.Close() })
	return s, r
}

// drain receives everything, acknowledging each frame.
func drain(r *BulkReceiver) (out [][]byte, err error) {
	for {
		p, seq, err := r.Recv()
		if err == io.EOF {
			return out, r.Finish()
		}
		if err != nil {
			return out, err
		}
		out = append(out, bytes.Clone(p))
		if err := r.Ack(seq); err != nil {
			return out, err
		}
	}
}

func TestBulkRoundTrip(t *testing.T) {
	e := newEnds(t)
	rapid.Check(t, func(rt *rapid.T) {
		frames := rapid.SliceOfN(rapid.SliceOfN(rapid.Byte(), 1, 300), 0, 30).Draw(rt, "frames")
		window := rapid.IntRange(1, 2000).Draw(rt, "window")
		a, b := net.Pipe()
		s, r := e.connect(t, a, b, rand.Reader, window)
		var got [][]byte
		var rerr error
		var wg sync.WaitGroup
		wg.Go(func() { got, rerr = drain(r) })
		for i, f := range frames {
			if seq, err := s.Send(f); err != nil || seq != uint64(i+1) {
				rt.Fatal(seq, err)
			}
			if i%7 == 3 {
				if err := s.Wait(uint64(i + 1)); err != nil || s.Acked() != uint64(i+1) {
					rt.Fatal(err)
				}
			}
		}
		if err := s.Finish(); err != nil {
			rt.Fatal(err)
		}
		wg.Wait()
		if rerr != nil || len(got) != len(frames) || s.Acked() != uint64(len(frames)+1) {
			rt.Fatalf("%d of %d frames, %d acknowledged, %v", len(got), len(frames), s.Acked(), rerr)
		}
		for i := range frames {
			if !bytes.Equal(got[i], frames[i]) {
				rt.Fatalf("frame %d differs", i+1)
			}
		}
		if o := r.Opening(); o.Run != "run-1" || s.Close() != nil || r.Close() != nil {
			rt.Fatal("after the end")
		}
	})
}

// TestBulkWindow: a sender stops where the receiver has acknowledged too little, and goes on when it has.
func TestBulkWindow(t *testing.T) {
	e := newEnds(t)
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		s, r := e.connect(t, a, b, rand.Reader, 10*(100+frameCost))
		sent := 0
		var serr error
		done := make(chan bool)
		go func() {
			defer close(done)
			for range 25 {
				if _, serr = s.Send(make([]byte, 100)); serr != nil {
					return
				}
				sent++
			}
			serr = s.Finish()
		}()
		for got := uint64(0); got < 10; got++ {
			if _, seq, err := r.Recv(); err != nil || seq != got+1 {
				t.Fatal(seq, err)
			}
		}
		synctest.Wait()
		if sent != 10 {
			t.Errorf("%d frames were sent into a window of 10", sent)
		}
		if err := r.Ack(4); err != nil {
			t.Fatal(err)
		}
		synctest.Wait()
		if sent != 14 || s.Acked() != 4 {
			t.Errorf("%d frames after 4 were acknowledged", sent)
		}
		if _, err := drain(r); err != nil {
			t.Error(err)
		}
		<-done
		if serr != nil || sent != 25 {
			t.Errorf("%d frames, %v", sent, serr)
		}
		_, _ = s.Close(), r.Close()
	})
}

// tape is a connection that plays bytes and keeps what is written; the bytes come once enough was written.
type tape struct {
	mu   sync.Mutex
	cond *sync.Cond
	in   *bytes.Reader
	out  bytes.Buffer
	from int // bytes written before the first is played
	shut bool
}

func play(b []byte, from int) *tape {
	t := &tape{in: bytes.NewReader(b), from: from}
	t.cond = sync.NewCond(&t.mu)
	return t
}

func (t *tape) Read(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for t.out.Len() < t.from && !t.shut {
		t.cond.Wait()
	}
	if t.shut {
		return 0, io.ErrClosedPipe
	}
	return t.in.Read(b)
}

func (t *tape) Write(b []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.cond.Broadcast()
	return t.out.Write(b)
}

func (t *tape) Close() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.shut = true
	t.cond.Broadcast()
	return nil
}

// tee keeps what one end writes.
type tee struct {
	net.Conn
	out bytes.Buffer
}

func (c *tee) Write(b []byte) (int, error) {
	n, err := c.Conn.Write(b)
	c.out.Write(b[:n])
	return n, err
}

// recorded is both directions of one connection, and what is needed to play either to its end again.
type recorded struct {
	ends
	nonce    []byte
	hello    int    // bytes of the first message
	sent     []byte // sender to receiver
	received []byte // receiver to sender
	keys     *schedule
	frames   [][]byte
}

func record(t testing.TB, e ends, frames ...[]byte) *recorded {
	t.Helper()
	rec := &recorded{ends: e, nonce: make([]byte, nonceSize), frames: frames}
	if _, err := rand.Read(rec.nonce); err != nil {
		t.Fatal(err)
	}
	a, b := net.Pipe()
	left, right := &tee{Conn: a}, &tee{Conn: b}
	s, r := e.connect(t, left, right, bytes.NewReader(rec.nonce), 0)
	var rerr error
	var wg sync.WaitGroup
	wg.Go(func() { _, rerr = drain(r) })
	for _, f := range frames {
		if _, err := s.Send(f); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	_, _ = s.Close(), r.Close()
	if rerr != nil {
		t.Fatal(rerr)
	}
	rec.sent, rec.received = left.out.Bytes(), right.out.Bytes()[confirmSize:]
	opening, sig, err := readHello(bytes.NewReader(rec.sent))
	if err != nil {
		t.Fatal(err)
	}
	rec.hello = helloHead + len(opening) + len(sig)
	o, err := ParseOpening(opening)
	if err != nil {
		t.Fatal(err)
	}
	secret, err := o.Unwrap(e.decrypt)
	if err != nil {
		t.Fatal(err)
	}
	rec.keys = &schedule{secret: secret, digest: sm.Sum(opening), nonce: [nonceSize]byte(rec.nonce)}
	return rec
}

// receive plays bytes to a receiver that draws nonce.
func (rec *recorded) receive(wire, nonce []byte) ([][]byte, error) {
	r, err := AcceptBulk(play(wire, 0), bytes.NewReader(nonce), rec.decrypt, rec.known)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return drain(r)
}

// acknowledge plays acknowledgements to a sender that has sent the frames and the last one.
func (rec *recorded) acknowledge(t testing.TB, wire []byte) (uint64, error) {
	t.Helper()
	s, err := newBulkSender(play(wire, len(rec.sent)-rec.hello), rec.keys, DefaultWindow)
	if err != nil {
		t.Fatal(err)
	}
	defer s.Close()
	for _, f := range rec.frames {
		if _, err := s.Send(f); err != nil {
			t.Fatal(err)
		}
	}
	err = s.Finish()
	return s.Acked(), err
}

// same holds a receiver's error to the one it has.
func same(t *testing.T, err error, what string) {
	t.Helper()
	if err == nil || err.Error() != errBulk().Error() || !errors.Is(err, sandbox.Tampered) || errors.Is(err, io.EOF) {
		t.Errorf("%s: %v", what, err)
	}
}

// cutFrames splits the frames of a recorded connection.
func (rec *recorded) cutFrames() (out [][]byte) {
	for b := rec.sent[rec.hello:]; len(b) > 0; {
		n := headSize + int(binary.BigEndian.Uint32(b[16:])) + tagSize
		out, b = append(out, b[:n:n]), b[n:]
	}
	return out
}

func (rec *recorded) cutAcks() (out [][]byte) {
	for b := rec.received; len(b) > 0; b = b[ackSize:] {
		out = append(out, b[:ackSize:ackSize])
	}
	return out
}

// TestBulkEveryByteCounts flips and cuts a short connection at every byte, in both directions.
func TestBulkEveryByteCounts(t *testing.T) {
	rec := record(t, newEnds(t), []byte("one"), []byte("two"))
	if got, err := rec.receive(rec.sent, rec.nonce); err != nil || len(got) != 2 {
		t.Fatalf("the recording does not play: %v", err)
	}
	if n, err := rec.acknowledge(t, rec.received); err != nil || n != 3 {
		t.Fatalf("the acknowledgements do not play: %d, %v", n, err)
	}
	for i := range rec.sent {
		for _, mask := range []byte{1, 0x80} {
			bad := bytes.Clone(rec.sent)
			bad[i] ^= mask
			got, err := rec.receive(bad, rec.nonce)
			same(t, err, fmt.Sprintf("byte %d flipped by %02x", i, mask))
			for k, p := range got {
				if !bytes.Equal(p, rec.frames[k]) {
					t.Errorf("byte %d: a changed payload", i)
				}
			}
		}
		_, err := rec.receive(rec.sent[:i], rec.nonce)
		same(t, err, fmt.Sprintf("cut at byte %d", i))
	}
	for i := range rec.received {
		bad := bytes.Clone(rec.received)
		bad[i] ^= 1
		if n, err := rec.acknowledge(t, bad); err == nil || n > uint64(i/ackSize+1) {
			t.Errorf("byte %d of the acknowledgements flipped: %d, %v", i, n, err)
		}
		n, err := rec.acknowledge(t, rec.received[:i])
		if !errors.Is(err, sandbox.Unavailable) || !errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) || n != uint64(i/ackSize) {
			t.Errorf("acknowledgements cut at byte %d: %d, %v", i, n, err)
		}
	}
}

// TestBulkOrder drops, doubles, swaps and replays whole frames and acknowledgements.
func TestBulkOrder(t *testing.T) {
	rec := record(t, newEnds(t), []byte("one"), []byte("two"), []byte("three"))
	f, a := rec.cutFrames(), rec.cutAcks()
	if len(f) != 4 || len(a) != 4 {
		t.Fatal(len(f), len(a))
	}
	hello := rec.sent[:rec.hello]
	for name, order := range map[string][]int{"dropped": {0, 2, 3}, "first dropped": {1, 2, 3}, "doubled": {0, 0, 1, 2, 3}, "swapped": {1, 0, 2, 3}, "replayed": {0, 1, 0, 2, 3},
		"last first": {3}, "last early": {0, 3}, "nothing": {}, "cut short": {0, 1, 2}} {
		frames, acks := bytes.Clone(hello), []byte{}
		for _, i := range order {
			frames, acks = append(frames, f[i]...), append(acks, a[i]...)
		}
		_, err := rec.receive(frames, rec.nonce)
		same(t, err, name)
		if _, err := rec.acknowledge(t, acks); err == nil {
			t.Errorf("%s acknowledgements pass", name)
		}
	}
}

// TestBulkSplicing: frames and acknowledgements of another connection, even one under the same opening, and of the other
// direction.
func TestBulkSplicing(t *testing.T) {
	e := newEnds(t)
	one, other := record(t, e, []byte("one")), record(t, e, []byte("two"))
	_, err := one.receive(append(bytes.Clone(one.sent[:one.hello]), other.sent[other.hello:]...), one.nonce)
	same(t, err, "frames of another connection")
	_, err = one.receive(one.sent, other.nonce)
	same(t, err, "a whole connection replayed")
	if n, err := one.acknowledge(t, other.received); !errors.Is(err, sandbox.Tampered) || n != 0 {
		t.Errorf("acknowledgements of another connection: %d, %v", n, err)
	}
	if n, err := one.acknowledge(t, one.sent[one.hello:]); !errors.Is(err, sandbox.Tampered) || n != 0 {
		t.Errorf("frames for acknowledgements: %d, %v", n, err)
	}
	_, err = one.receive(append(bytes.Clone(one.sent[:one.hello]), one.received...), one.nonce)
	same(t, err, "acknowledgements for frames")
	// In the form of the other direction, under its key.
	acks, err := newSealer(one.keys, "acks")
	if err != nil {
		t.Fatal(err)
	}
	forged := bytes.Clone(one.sent[one.hello : one.hello+headSize])
	ad := acks.bind(forged, &one.keys.digest, 1)
	forged = acks.aead.Seal(forged, acks.nonce[:], []byte("one"), ad)
	_, err = one.receive(append(bytes.Clone(one.sent[:one.hello]), forged...), one.nonce)
	same(t, err, "a frame under the acknowledgements' key")
}

// TestBulkHandshake: who may not, cannot.
func TestBulkHandshake(t *testing.T) {
	e := newEnds(t)
	rec := record(t, e, []byte("one"))
	stranger := newEnds(t)
	for name, c := range map[string]struct {
		key   *sm.DecryptKey
		known func(Opening) (*sm.VerifyKey, error)
		rand  io.Reader
	}{
		"another receiver":   {stranger.decrypt, e.known, rand.Reader},
		"another sender":     {e.decrypt, stranger.known, rand.Reader},
		"an unknown sender":  {e.decrypt, func(Opening) (*sm.VerifyKey, error) { return nil, &sandbox.Error{Kind: sandbox.Denied} }, rand.Reader},
		"without randomness": {e.decrypt, e.known, bytes.NewReader(nil)},
	} {
		line := play(rec.sent, 0)
		r, err := AcceptBulk(line, c.rand, c.key, c.known)
		same(t, err, name)
		if r != nil || line.out.Len() != 0 || !line.shut {
			t.Errorf("%s: an answer", name)
		}
	}
	for name, wire := range map[string][]byte{"nothing": nil, "zeros": make([]byte, confirmSize), "another's": append(append([]byte("ODC1"), rec.nonce...), make([]byte, 32)...), "short": []byte("ODC1")} {
		line := play(wire, 1)
		s, err := OpenBulk(line, rand.Reader, e.sign, e.decrypt.Public(), e.opening, 0)
		if err == nil || s != nil || !line.shut {
			t.Errorf("%s for a confirmation: %v", name, err)
		}
		if opening, sig, err := readHello(&line.out); err != nil || len(opening) == 0 || len(sig) == 0 || line.out.Len() != 0 {
			t.Errorf("%s: frames before the receiver proved itself", name)
		}
	}
	if _, err := OpenBulk(play(nil, 0), rand.Reader, e.sign, e.decrypt.Public(), e.opening, -1); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a negative window: %v", err)
	}
	if _, err := OpenBulk(play(nil, 0), rand.Reader, e.sign, e.decrypt.Public(), Opening{}, 0); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("an empty opening: %v", err)
	}
	if e := errBulk(); sandbox.KindOf(e) != sandbox.Tampered {
		t.Error(e)
	}
}

// TestBulkBounds: both ends refuse what is out of bounds, and a length is checked before memory is taken for it.
func TestBulkBounds(t *testing.T) {
	e := newEnds(t)
	a, b := net.Pipe()
	s, r := e.connect(t, a, b, rand.Reader, 0)
	for _, p := range [][]byte{nil, make([]byte, MaxFrame+1)} {
		if _, err := s.Send(p); err == nil {
			t.Errorf("%d bytes were sent", len(p))
		}
	}
	for name, err := range map[string]error{"nothing received": r.Ack(1), "before the end": r.Finish()} {
		if !errors.Is(err, sandbox.Conflict) {
			t.Errorf("%s: %v", name, err)
		}
	}
	var wg sync.WaitGroup
	wg.Go(func() {
		for range 3 {
			if _, _, err := r.Recv(); err != nil {
				t.Error(err)
			}
		}
		if err := r.Ack(2); err != nil {
			t.Error(err)
		}
		if err := r.Ack(1); !errors.Is(err, sandbox.Conflict) {
			t.Errorf("backwards: %v", err)
		}
		if _, _, err := r.Recv(); err != io.EOF {
			t.Error(err)
		}
		if err := r.Ack(4); !errors.Is(err, sandbox.Conflict) {
			t.Errorf("the last frame without its flag: %v", err)
		}
		if err := r.Finish(); err != nil {
			t.Error(err)
		}
		if err := r.Ack(4); !errors.Is(err, sandbox.Conflict) {
			t.Errorf("after the final one: %v", err)
		}
	})
	big := bytes.Repeat([]byte{7}, MaxFrame)
	for range 3 {
		if _, err := s.Send(big); err != nil {
			t.Fatal(err)
		}
	}
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	wg.Wait()
	if _, err := s.Send([]byte("late")); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("a frame behind the last: %v", err)
	}
	if err := s.Wait(5); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("waiting for a frame that never comes: %v", err)
	}
	head := [headSize]byte{'O', 'D', 'F', '2'}
	head[15] = 1
	binary.BigEndian.PutUint32(head[16:], MaxFrame+1)
	var into [headSize]byte
	if buf, err := readBulkFrame(io.MultiReader(bytes.NewReader(head[:]), bytes.NewReader(make([]byte, 100))), &into, nil, 1); err == nil || buf != nil {
		t.Error("memory for a frame that is too long")
	}
	long := append([]byte("ODB1"), 0xff, 0xff, 0xff, 0xff, 0, 70)
	if _, _, err := readHello(bytes.NewReader(long)); err == nil || errors.Is(err, io.ErrUnexpectedEOF) || errors.Is(err, io.EOF) {
		t.Errorf("an opening of 4 GiB: %v", err)
	}
}

// TestBulkFalseAcknowledgements, authentic all the same: only a receiver that breaks the protocol makes them.
func TestBulkFalseAcknowledgements(t *testing.T) {
	rec := record(t, newEnds(t), []byte("one"), []byte("two"))
	type ack struct {
		seq  uint64
		last bool
	}
	for name, list := range map[string][]ack{"past what was sent": {{9, false}}, "backwards": {{2, false}, {1, false}}, "final too early": {{2, true}}} {
		seal, err := newSealer(rec.keys, "acks")
		if err != nil {
			t.Fatal(err)
		}
		var wire []byte
		for i, a := range list {
			head := make([]byte, ackHead)
			ackHeader(head, a.last, uint64(i))
			ad := seal.bind(head, &rec.keys.digest, uint64(i))
			wire = append(wire, seal.aead.Seal(head, seal.nonce[:], binary.BigEndian.AppendUint64(nil, a.seq), ad)...)
		}
		if _, err := rec.acknowledge(t, wire); !errors.Is(err, sandbox.Tampered) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestBulkCloseFreesBothEnds: whoever waits in Send, Wait, Recv or Finish comes back.
func TestBulkCloseFreesBothEnds(t *testing.T) {
	e := newEnds(t)
	for name, use := range map[string]func(s *BulkSender, r *BulkReceiver) error{
		"Send": func(s *BulkSender, _ *BulkReceiver) error {
			for range 100 {
				if _, err := s.Send(make([]byte, MaxFrame)); err != nil {
					return err
				}
			}
			return nil
		},
		"Wait":   func(s *BulkSender, _ *BulkReceiver) error { return s.Wait(1) },
		"Finish": func(s *BulkSender, _ *BulkReceiver) error { return s.Finish() },
		"Recv":   func(_ *BulkSender, r *BulkReceiver) error { _, _, err := r.Recv(); return err },
	} {
		for _, first := range []string{"sender", "receiver"} {
			synctest.Test(t, func(t *testing.T) {
				a, b := net.Pipe()
				s, r := e.connect(t, a, b, rand.Reader, 3*MaxFrame)
				done := make(chan error, 1)
				go func() { done <- use(s, r) }()
				synctest.Wait()
				if first == "sender" {
					_ = s.Close()
				} else {
					_ = r.Close()
				}
				if err := <-done; err == nil || errors.Is(err, io.EOF) {
					t.Errorf("%s after the %s closed: %v", name, first, err)
				}
				_, _ = s.Close(), r.Close()
			})
		}
	}
}

// TestBulkCause: the operator learns what the peer does not.
func TestBulkCause(t *testing.T) {
	rec := record(t, newEnds(t), []byte("one"))
	r, err := AcceptBulk(play(rec.sent[:len(rec.sent)-1], 0), bytes.NewReader(rec.nonce), rec.decrypt, rec.known)
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	_, err = drain(r)
	same(t, err, "a cut connection")
	if !errors.Is(r.Cause(), io.ErrUnexpectedEOF) {
		t.Errorf("cause: %v", r.Cause())
	}
	if _, _, again := r.Recv(); again != err {
		t.Errorf("the error does not stay: %v", again)
	}
}

func FuzzBulkFrames(f *testing.F) {
	rec := record(f, newEnds(f), []byte("one"), []byte("two"))
	f.Add(rec.sent[rec.hello:])
	f.Add([]byte("ODF2"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		r, err := newBulkReceiver(play(wire, 0), rec.keys, Opening{})
		if err != nil {
			t.Fatal(err)
		}
		defer r.Close()
		if got, err := drain(r); err == nil && len(got) != len(rec.frames) {
			t.Error("another stream passes")
		}
	})
}

func FuzzBulkHello(f *testing.F) {
	rec := record(f, newEnds(f), []byte("one"))
	f.Add(rec.sent[:rec.hello])
	f.Add([]byte("ODB1"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		opening, sig, err := readHello(bytes.NewReader(wire))
		if err == nil && !bytes.HasPrefix(wire, encodeHello(opening, sig)) {
			t.Error("a first message has two encodings")
		}
		r, err := AcceptBulk(play(wire, 0), rand.Reader, rec.decrypt, rec.known)
		if err == nil {
			_ = r.Close()
		}
	})
}

func FuzzBulkAcks(f *testing.F) {
	rec := record(f, newEnds(f), []byte("one"), []byte("two"))
	f.Add(rec.received)
	f.Add([]byte("ODA1"))
	f.Fuzz(func(t *testing.T, wire []byte) {
		if _, err := rec.acknowledge(t, wire); err == nil && !bytes.HasPrefix(wire, rec.received) {
			t.Error("other acknowledgements pass")
		}
	})
}
