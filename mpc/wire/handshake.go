package wire

import (
	"crypto/subtle"
	"encoding/binary"
	"errors"
	"io"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Context is what the handshake's statements are signed under, with "/hello" or "/secret".
const Context = "opdomain/mpc/wire/v1"

const (
	nonceSize  = 32
	secretSize = 32
	pointSize  = 65
	helloSize  = 4 + 1 + 1 + sm.Size + nonceSize + pointSize
	maxSealed  = 256 // of secretSize bytes by SM2, about 140
	maxSig     = 72
)

var (
	helloMagic  = [4]byte{'O', 'D', 'M', '1'}
	secretMagic = [4]byte{'O', 'D', 'M', '2'}
)

var errForm = errors.New("a handshake message of its form")

// hello is a party's first message to a peer, without its signature.
type hello struct {
	from, to int
	job      [sm.Size]byte
	nonce    [nonceSize]byte
	point    [pointSize]byte
}

func (h *hello) encode() []byte {
	out := append(make([]byte, 0, helloSize+1+maxSig), helloMagic[:]...)
	out = append(out, byte(h.from), byte(h.to))
	out = append(out, h.job[:]...)
	out = append(out, h.nonce[:]...)
	return append(out, h.point[:]...)
}

func parseHello(b []byte) (*hello, error) {
	if len(b) != helloSize || [4]byte(b[:4]) != helloMagic {
		return nil, errForm
	}
	h := &hello{from: int(b[4]), to: int(b[5])}
	b = b[6:]
	copy(h.job[:], b)
	copy(h.nonce[:], b[sm.Size:])
	copy(h.point[:], b[sm.Size+nonceSize:])
	return h, nil
}

func readSignature(r io.Reader) ([]byte, error) {
	var n [1]byte
	if _, err := io.ReadFull(r, n[:]); err != nil {
		return nil, err
	}
	if n[0] == 0 || n[0] > maxSig {
		return nil, errForm
	}
	sig := make([]byte, n[0])
	_, err := io.ReadFull(r, sig)
	return sig, err
}

func readHello(r io.Reader) (*hello, []byte, []byte, error) {
	body := make([]byte, helloSize)
	if _, err := io.ReadFull(r, body); err != nil {
		return nil, nil, nil, err
	}
	h, err := parseHello(body)
	if err != nil {
		return nil, nil, nil, err
	}
	sig, err := readSignature(r)
	return h, body, sig, err
}

func readSecret(r io.Reader) (sealed, sig []byte, err error) {
	var head [6]byte
	if _, err := io.ReadFull(r, head[:]); err != nil {
		return nil, nil, err
	}
	n := binary.BigEndian.Uint16(head[4:])
	if [4]byte(head[:4]) != secretMagic || n == 0 || n > maxSealed {
		return nil, nil, errForm
	}
	sealed = make([]byte, n)
	if _, err := io.ReadFull(r, sealed); err != nil {
		return nil, nil, err
	}
	sig, err = readSignature(r)
	return sealed, sig, err
}

// shaker is one side of one handshake.
type shaker struct {
	c      *Config
	conn   io.ReadWriter
	peer   int
	heard  func()         // of who is called: a hello for this job is there
	proven func() error   // likewise: it verifies
	key    *sm.DecryptKey // ephemeral
	mine   []byte         // own hello
	their  []byte
	point  *sm.EncryptKey // the peer's ephemeral key
	own    [secretSize]byte
	got    []byte // the peer's secret
	out    []byte // own secret, sealed
	in     []byte
}

// binding is what a hello's signature covers: the message and both parties as this side knows them.
func (c *Config) binding(body []byte, from, to int) []byte {
	f, t := c.Peers[from], c.Peers[to]
	return sm.Frame(body, []byte(f.ID), f.Key.Bytes(), []byte(t.ID), t.Key.Bytes())
}

func (s *shaker) hello() ([]byte, error) {
	var err error
	if s.key, err = sm.NewDecryptKey(s.c.Rand); err != nil {
		return nil, err
	}
	h := &hello{from: s.c.Self, to: s.peer, job: s.c.Job, point: [pointSize]byte(s.key.Public().Bytes())}
	if _, err := io.ReadFull(s.c.Rand, h.nonce[:]); err != nil {
		return nil, err
	}
	s.mine = h.encode()
	sig, err := s.c.Key.Sign(s.c.Rand, Context+"/hello", s.c.binding(s.mine, s.c.Self, s.peer))
	if err != nil {
		return nil, err
	}
	return append(append(s.mine[:len(s.mine):len(s.mine)], byte(len(sig))), sig...), nil
}

// greet reads the peer's hello; who says to be somebody else, or to run another job, is refused like bytes that do not verify.
func (s *shaker) greet() error {
	h, body, sig, err := readHello(s.conn)
	if err != nil {
		return err
	}
	if s.peer == Nobody && h.from > s.c.Self && h.from < len(s.c.Peers) {
		s.peer = h.from
	}
	if h.from != s.peer || h.to != s.c.Self || h.job != s.c.Job {
		return tampered(Nobody, "a hello of the expected party for this job")
	}
	if s.heard != nil {
		s.heard()
	}
	if err := s.c.Peers[s.peer].Key.Verify(Context+"/hello", s.c.binding(body, s.peer, s.c.Self), sig); err != nil {
		return err
	}
	s.their = body
	s.point, err = sm.ParseEncryptKey(h.point[:])
	return err
}

func (s *shaker) secret() ([]byte, error) {
	if _, err := io.ReadFull(s.c.Rand, s.own[:]); err != nil {
		return nil, err
	}
	var err error
	if s.out, err = s.point.Seal(s.c.Rand, s.own[:]); err != nil {
		return nil, err
	}
	sig, err := s.c.Key.Sign(s.c.Rand, Context+"/secret", sm.Frame(s.mine, s.their, s.out))
	if err != nil {
		return nil, err
	}
	b := binary.BigEndian.AppendUint16(append([]byte(nil), secretMagic[:]...), uint16(len(s.out)))
	return append(append(append(b, s.out...), byte(len(sig))), sig...), nil
}

func (s *shaker) take() error {
	sealed, sig, err := readSecret(s.conn)
	if err != nil {
		return err
	}
	if err := s.c.Peers[s.peer].Key.Verify(Context+"/secret", sm.Frame(s.their, s.mine, sealed), sig); err != nil {
		return err
	}
	if s.got, err = s.key.Open(sealed); err != nil {
		return err
	}
	if len(s.got) != secretSize {
		return errForm
	}
	s.in = sealed
	return nil
}

// master is the pair's secret: the lower party's contribution first.
func (s *shaker) master() ([]byte, error) {
	a, b, x := sm.Frame(s.mine, s.out), sm.Frame(s.their, s.in), append(append([]byte(nil), s.own[:]...), s.got...)
	if s.peer < s.c.Self {
		a, b, x = b, a, append(append([]byte(nil), s.got...), s.own[:]...)
	}
	salt := sm.Sum(sm.Frame(a, b))
	return sm.HKDF(x, salt[:], sm.Frame([]byte(Context), []byte("master")), 32)
}

func (s *shaker) write(b []byte, err error) error {
	if err == nil {
		_, err = s.conn.Write(b)
	}
	return err
}

func both(a, b []byte, err error) ([]byte, error) { return append(a, b...), err }

// dial runs the dialling side up to the master secret.
func (s *shaker) dial() ([]byte, error) {
	if err := s.write(s.hello()); err != nil {
		return nil, err
	}
	if err := s.greet(); err != nil {
		return nil, err
	}
	if err := s.take(); err != nil {
		return nil, err
	}
	if err := s.write(s.secret()); err != nil {
		return nil, err
	}
	return s.master()
}

// accept runs the accepting side: the peer is whoever a valid hello names.
func (s *shaker) accept() ([]byte, error) {
	s.peer = Nobody
	if err := s.greet(); err != nil {
		return nil, err
	}
	if err := s.proven(); err != nil {
		return nil, err
	}
	h, err := s.hello()
	if err != nil {
		return nil, err
	}
	x, err := s.secret()
	if err := s.write(both(h, x, err)); err != nil {
		return nil, err
	}
	if err := s.take(); err != nil {
		return nil, err
	}
	return s.master()
}

// confirm proves that both sides hold the master secret: an empty first frame each way.
func confirm(l *link, dialled bool) error {
	steps := []func() error{func() error { return l.frame(0, nil) }, func() error { return l.read(0, nil) }}
	if !dialled {
		steps[0], steps[1] = steps[1], steps[0]
	}
	for _, step := range steps {
		if err := step(); err != nil {
			return err
		}
	}
	return nil
}

func (c *Config) check() error {
	bad := func(rule string) error {
		return &sandbox.Error{Op: "mpc: open", Kind: sandbox.Invalid, Object: "configuration", Detail: rule}
	}
	switch {
	case len(c.Peers) < 2 || len(c.Peers) > MaxParties:
		return bad("2 to 16 parties")
	case c.Self < 0 || c.Self >= len(c.Peers):
		return bad("self is one of the parties")
	case c.Key == nil || c.Rand == nil || c.Deadline.IsZero():
		return bad("a signing key, randomness and a deadline")
	}
	for i, p := range c.Peers {
		if p.Key == nil {
			return bad("each party has a verifying key")
		}
		for _, q := range c.Peers[:i] {
			if p.ID == q.ID || subtle.ConstantTimeCompare(p.Key.Bytes(), q.Key.Bytes()) == 1 {
				return bad("parties differ in name and key")
			}
		}
		if err := sandbox.CheckID("party", string(p.ID)); err != nil {
			return err
		}
	}
	if subtle.ConstantTimeCompare(c.Peers[c.Self].Key.Bytes(), c.Key.Public().Bytes()) != 1 {
		return bad("the signing key is the one that self verifies with")
	}
	return nil
}
