package tlcp

import (
	"errors"
	"io"
	"net"
	"time"

	"github.com/tjfoc/gmsm/gmtls"

	"github.com/opdomain/opdomain/attest/sm/pki"
	"github.com/opdomain/opdomain/sandbox"
)

// Conn (国密安全连接) is a TLCP connection whose handshake is done. Reads and writes may go on at once.
type Conn struct {
	raw     net.Conn
	tls     *gmtls.Conn
	sign    *pki.Certificate
	encrypt *pki.Certificate
	config  *Config
}

// Server runs the handshake of an accepted connection, and closes it on an error.
func Server(raw net.Conn, c *Config) (*Conn, error) { return handshake(raw, c, true) }

// Client runs the handshake of a dialled connection, and closes it on an error. Config.Allow should name the server.
func Client(raw net.Conn, c *Config) (*Conn, error) { return handshake(raw, c, false) }

func handshake(raw net.Conn, c *Config, server bool) (*Conn, error) {
	out := &Conn{raw: raw, config: c}
	err := c.Check()
	if err == nil {
		err = out.handshake(server)
	}
	if err != nil {
		_ = raw.Close()
		return nil, err
	}
	return out, nil
}

func (c *Conn) handshake(server bool) error {
	var refused error
	config, err := c.config.engine(server, func(s, e *pki.Certificate, err error) { c.sign, c.encrypt, refused = s, e, err })
	if err != nil {
		return err
	}
	order := &flight{Conn: c.raw, open: !server}
	if server {
		c.tls = gmtls.Server(c.raw, config)
	} else {
		c.tls = gmtls.Client(order, config)
	}
	// A timer and no deadline, since deadlines are of the host's clock and not of ours.
	late := time.AfterFunc(c.config.timeout(), func() { _ = c.raw.Close() })
	err = guard(c.tls.Handshake)
	if !late.Stop() {
		return failed(errors.New("the handshake took too long"))
	}
	switch {
	case refused != nil:
		return refused
	case err != nil:
		return failed(told(err))
	case c.sign == nil || c.tls.ConnectionState().CipherSuite != Suite || c.tls.ConnectionState().DidResume:
		return failed(errors.New("the engine did not do what it was told"))
	}
	return nil
}

func failed(err error) error {
	return &sandbox.Error{Op: "tlcp: handshake", Kind: sandbox.Unavailable, Object: "connection", Err: err}
}

var errRefused = errors.New("the engine refused what the peer sent")

// told keeps what says who ended a handshake. The engine's other texts may quote the peer's bytes.
func told(err error) error {
	var op *net.OpError
	if errors.As(err, &op) || errors.Is(err, errFlight) || errors.Is(err, error(errEngine)) || errors.Is(err, net.ErrClosed) || errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		return err
	}
	return errRefused
}

// guard turns a panic of the engine (S6) into an error of the one connection.
func guard(f func() error) (err error) {
	defer func() {
		if recover() != nil {
			err = errEngine
		}
	}()
	return f()
}

var errEngine = &sandbox.Error{Op: "tlcp: connection", Kind: sandbox.Unavailable, Object: "engine", Detail: "it gave up on what the peer sent"}

func (c *Conn) guarded(f func([]byte) (int, error), b []byte) (n int, err error) {
	err = guard(func() (err error) {
		n, err = f(b)
		return err
	})
	if err == errEngine {
		n = 0
		_ = c.raw.Close()
	}
	return n, err
}

// Read reads what the peer sent.
func (c *Conn) Read(b []byte) (int, error) { return c.guarded(c.tls.Read, b) }

// Write sends b.
func (c *Conn) Write(b []byte) (int, error) { return c.guarded(c.tls.Write, b) }

// Close tells the peer and closes the connection. A peer that does not read is told for one Config.Timeout at most.
func (c *Conn) Close() error {
	defer time.AfterFunc(c.config.timeout(), func() { _ = c.raw.Close() }).Stop()
	err := guard(c.tls.Close)
	if err == errEngine {
		_ = c.raw.Close()
	}
	return err
}

// PeerIdentity names the peer by its certificates.
func (c *Conn) PeerIdentity() pki.Name { return c.sign.Name }

// Peer gives the peer's certificates.
func (c *Conn) Peer() (sign, encrypt *pki.Certificate) { return c.sign, c.encrypt }

// Check says whether the peer's certificates are still valid: a connection outlives a revocation.
func (c *Conn) Check() error {
	for _, x := range []*pki.Certificate{c.sign, c.encrypt} {
		if err := c.config.Verifier.Current(x, c.config.Now()); err != nil {
			return err
		}
	}
	return nil
}

// LocalAddr is the local address.
func (c *Conn) LocalAddr() net.Addr { return c.raw.LocalAddr() }

// RemoteAddr is the peer's address.
func (c *Conn) RemoteAddr() net.Addr { return c.raw.RemoteAddr() }

// SetDeadline bounds reads and writes.
func (c *Conn) SetDeadline(t time.Time) error { return c.raw.SetDeadline(t) }

// SetReadDeadline bounds reads.
func (c *Conn) SetReadDeadline(t time.Time) error { return c.raw.SetReadDeadline(t) }

// SetWriteDeadline bounds writes; after one that passed the connection writes nothing more.
func (c *Conn) SetWriteDeadline(t time.Time) error { return c.raw.SetWriteDeadline(t) }

// serverFlight is the one order of messages a server answers a hello with. The engine's client goes on without the
// signature over the randoms (S6), and then whoever holds the encryption key alone could pass for the server.
var serverFlight = []byte{2, 11, 12, 13, 14} // ServerHello, Certificate, ServerKeyExchange, CertificateRequest, ServerHelloDone

// flight holds the server's first flight, which is in the clear, to that order while the engine reads it.
type flight struct {
	net.Conn
	open bool
	at   int    // messages seen
	head []byte // of the record or message being read
	rec  int    // bytes left of the record
	msg  int    // bytes left of the message
}

var errFlight = errors.New("the server's messages are not those of the suite")

func (f *flight) Read(b []byte) (int, error) {
	n, err := f.Conn.Read(b)
	if f.open && !f.check(b[:n]) {
		return 0, errFlight
	}
	return n, err
}

func (f *flight) check(b []byte) bool {
	for f.open && len(b) > 0 {
		switch {
		case f.rec == 0: // record header
			b = f.fill(b, 5)
			if len(f.head) < 5 {
				return true
			}
			if f.head[0] != 22 { // an alert: the engine's business
				f.open = f.head[0] != 21
				return f.head[0] == 21
			}
			f.rec = int(f.head[3])<<8 | int(f.head[4])
			f.head = f.head[:0]
			if f.rec == 0 {
				return false
			}
		case f.msg == 0: // message header
			had := len(f.head)
			if f.rec < 4-had {
				return false // it is split over records: nobody does that in good faith, and the engine would read another one
			}
			b = f.fill(b, 4)
			f.rec -= len(f.head) - had
			if len(f.head) < 4 {
				return true
			}
			if f.head[0] != serverFlight[f.at] {
				return false
			}
			f.at++
			f.msg = int(f.head[1])<<16 | int(f.head[2])<<8 | int(f.head[3])
			f.head = f.head[:0]
			f.open = f.at < len(serverFlight)
		default:
			n := min(len(b), f.rec, f.msg)
			b, f.rec, f.msg = b[n:], f.rec-n, f.msg-n
		}
	}
	return true
}

// fill moves bytes into head until it has n.
func (f *flight) fill(b []byte, n int) []byte {
	k := min(len(b), n-len(f.head))
	f.head = append(f.head, b[:k]...)
	return b[k:]
}

var _ io.ReadWriteCloser = (*Conn)(nil)
