package tlcp

import (
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tjfoc/gmsm/gmtls"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/sm/pki"
	"github.com/opdomain/opdomain/sandbox"
)

// swapped gives the first certificate's place to the second, with the key that belongs there.
func swapped(t *testing.T, c *Config) *gmtls.Config {
	out := stockConfig(t, c)
	out.Certificates[0], out.Certificates[1] = out.Certificates[1], out.Certificates[0]
	pair := gmtls.Certificate{Certificate: [][]byte{c.Encrypt.DER(), c.Sign.DER()}, PrivateKey: stockKey(c.EncryptKey.Bytes(), c.Encrypt)}
	out.GetClientCertificate = func(*gmtls.CertificateRequestInfo) (*gmtls.Certificate, error) { return &pair, nil }
	return out
}

// sending gives c certificates that are not its own.
func sending(t *testing.T, c *Config, chain ...[]byte) *gmtls.Config {
	out := stockConfig(t, c)
	pair := gmtls.Certificate{Certificate: chain, PrivateKey: stockKey(c.SignKey.Bytes(), c.Sign)}
	out.GetClientCertificate = func(*gmtls.CertificateRequestInfo) (*gmtls.Certificate, error) { return &pair, nil }
	if len(chain) > 0 {
		out.Certificates[0].Certificate = chain[:1]
	}
	if len(chain) > 1 {
		out.Certificates[1].Certificate = chain[1:2]
	}
	return out
}

// TestRefusedPeers meets peers who are not who they should be with a stock engine on their side, which refuses nothing
// of itself, in both directions.
func TestRefusedPeers(t *testing.T) {
	d := newDomain(t, "futian")
	honest := d.side("core")
	foreign, twin := newDomain(t, "luohu"), newDomain(t, "futian")
	revokedSign, revokedEncrypt := d.side("unit-2"), d.side("unit-3")
	for _, serial := range []string{revokedSign.Sign.Serial, revokedEncrypt.Encrypt.Serial} {
		if err := d.a.Revoke(serial, pki.KeyCompromise, d.now()); err != nil {
			t.Fatal(err)
		}
	}
	d.list()
	peer, other := d.side("unit-1"), d.side("unit-4")
	selfKey := must[*sm.SigningKey](t)(sm.NewSigningKey(rand.Reader))
	self := must[*pki.Certificate](t)(pki.ParseCertificate(must[*pki.Authority](t)(pki.NewAuthority(rand.Reader, "futian", selfKey, start, 365*day)).PEM()))
	selfSide := *peer
	selfSide.SignKey = selfKey

	deny := &sandbox.Error{Op: "test", Kind: sandbox.Denied, Object: "peer"}
	for _, c := range []struct {
		what string
		peer *gmtls.Config
		want error // nil: the engine's own refusal
		asOf time.Duration
		none bool // only as a client
	}{
		{what: "no certificate", peer: sending(t, peer), none: true},
		{what: "one certificate", peer: sending(t, peer, peer.Sign.DER()), want: sandbox.Denied, none: true},
		{what: "revoked signing certificate", peer: stockConfig(t, revokedSign), want: pki.Revoked},
		{what: "revoked encryption certificate", peer: stockConfig(t, revokedEncrypt), want: pki.Revoked},
		{what: "expired list", peer: stockConfig(t, peer), want: pki.StaleList, asOf: 2 * day},
		{what: "expired certificates", peer: stockConfig(t, peer), asOf: 400 * day},
		{what: "swapped pair", peer: swapped(t, peer)},
		{what: "another's encryption certificate", peer: sending(t, peer, peer.Sign.DER(), other.Encrypt.DER()), want: pki.NotAPair},
		{what: "the signing certificate twice", peer: sending(t, peer, peer.Sign.DER(), peer.Sign.DER())},
		{what: "another domain", peer: stockConfig(t, foreign.side("unit-1"))},
		{what: "another authority of the same name", peer: stockConfig(t, twin.side("unit-1"))},
		{what: "self-signed", peer: sending(t, &selfSide, self.DER(), peer.Encrypt.DER())},
		{what: "another's certificates", peer: sending(t, peer, other.Sign.DER(), other.Encrypt.DER())},
		{what: "not the one expected", peer: stockConfig(t, peer), want: deny},
	} {
		for _, server := range []bool{true, false} {
			if c.none && !server {
				continue
			}
			d.clock.Store(int64(c.asOf / time.Second))
			mine := *honest
			if c.want == deny {
				mine.Allow = func(pki.Name) error { return deny }
			}
			a, b := link(t)
			done := make(chan struct{})
			go func() {
				defer close(done)
				defer func() { _ = recover() }() // the stock engine's own affair
				if server {
					_ = gmtls.Client(a, c.peer).Handshake()
				} else {
					_ = gmtls.Server(a, c.peer).Handshake()
				}
				_ = a.Close()
			}()
			var err error
			if server {
				_, err = Server(b, &mine)
			} else {
				_, err = Client(b, &mine)
			}
			<-done
			d.clock.Store(0)
			switch {
			case err == nil:
				t.Errorf("%s, server %v: accepted", c.what, server)
			case c.want != nil && !errors.Is(err, c.want):
				t.Errorf("%s, server %v: %v, want %v", c.what, server, err, c.want)
			}
			if _, err := b.Write([]byte{0}); !errors.Is(err, net.ErrClosed) {
				t.Errorf("%s, server %v: the connection is left open: %v", c.what, server, err)
			}
		}
	}
	if _, _, cerr, serr := meet(t, peer, honest); cerr != nil || serr != nil {
		t.Errorf("the honest pair: client: %v; server: %v", cerr, serr)
	}
}

func TestRevokedWhileConnected(t *testing.T) {
	d := newDomain(t, "futian")
	client, server := d.side("unit-1"), d.side("core")
	cc, sc, cerr, serr := meet(t, client, server)
	if cerr != nil || serr != nil {
		t.Fatalf("client: %v; server: %v", cerr, serr)
	}
	if err := d.a.Revoke(client.Encrypt.Serial, pki.KeyCompromise, d.now()); err != nil {
		t.Fatal(err)
	}
	d.list()
	if err := sc.Check(); !errors.Is(err, pki.Revoked) {
		t.Errorf("the client: %v", err)
	}
	if err := cc.Check(); err != nil {
		t.Errorf("the server: %v", err)
	}
	d.clock.Store(int64(2 * day / time.Second))
	if err := cc.Check(); !errors.Is(err, pki.StaleList) {
		t.Errorf("the server under an old list: %v", err)
	}
}

func TestConfigCheck(t *testing.T) {
	d := newDomain(t, "futian")
	good, other := d.side("unit-1"), d.side("unit-2")
	if err := good.Check(); err != nil {
		t.Fatal(err)
	}
	for what, change := range map[string]func(*Config){
		"no signing key":    func(c *Config) { c.SignKey = nil },
		"no verifier":       func(c *Config) { c.Verifier = nil },
		"no clock":          func(c *Config) { c.Now = nil },
		"no randomness":     func(c *Config) { c.Rand = nil },
		"negative timeout":  func(c *Config) { c.Timeout = -1 },
		"negative bound":    func(c *Config) { c.Handshakes = -1 },
		"another's key":     func(c *Config) { c.SignKey = other.SignKey },
		"another's opening": func(c *Config) { c.EncryptKey = other.EncryptKey },
		"another's half":    func(c *Config) { c.Encrypt, c.EncryptKey = other.Encrypt, other.EncryptKey },
		"swapped":           func(c *Config) { c.Sign, c.Encrypt = c.Encrypt, c.Sign },
	} {
		bad := *good
		change(&bad)
		if err := bad.Check(); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s: %v", what, err)
		}
		a, b := link(t)
		if _, err := Server(b, &bad); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s, server: %v", what, err)
		}
		if _, err := Client(a, &bad); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("%s, client: %v", what, err)
		}
	}
}

// panicking is a connection under which the engine panics.
type panicking struct {
	net.Conn
	armed atomic.Bool
}

func (c *panicking) Read(b []byte) (int, error) {
	if c.armed.Load() {
		panic("engine")
	}
	return c.Conn.Read(b)
}

func TestEnginePanics(t *testing.T) {
	d := newDomain(t, "futian")
	client, server := d.side("unit-1"), d.side("core")
	a, b := link(t)
	bad := &panicking{Conn: b}
	bad.armed.Store(true)
	if _, err := Server(bad, server); !isFailed(err) || !errors.Is(err, error(errEngine)) {
		t.Errorf("in the handshake: %v", err)
	}
	if _, err := Client(a, client); !isFailed(err) {
		t.Errorf("its peer: %v", err)
	}
	a, b = link(t)
	late := &panicking{Conn: b}
	done := make(chan *Conn, 1)
	go func() {
		c, _ := Client(a, client)
		done <- c
	}()
	sc := must[*Conn](t)(Server(late, server))
	cc := <-done
	late.armed.Store(true)
	if _, err := sc.Read(make([]byte, 1)); !errors.Is(err, error(errEngine)) {
		t.Errorf("in a read: %v", err)
	}
	if _, err := cc.Read(make([]byte, 1)); err == nil {
		t.Error("its peer reads on")
	}
	_ = sc.Close()
}

// pipes is a net.Listener of in-memory connections, which testing/synctest can see waiting.
type pipes struct {
	next chan net.Conn
	quit chan struct{}
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.next:
		return c, nil
	case <-p.quit:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { close(p.quit); return nil }
func (p *pipes) Addr() net.Addr { return &net.TCPAddr{} }

func (p *pipes) dial() net.Conn {
	a, b := net.Pipe()
	p.next <- b
	return a
}

// TestSilentPeers fills every slot with peers who say nothing, or too slowly; the next one is served all the same.
func TestSilentPeers(t *testing.T) {
	d := newDomain(t, "futian")
	client, server := d.side("unit-1"), d.side("core")
	good, _ := flights(t, client, server)
	synctest.Test(t, func(t *testing.T) {
		var refused atomic.Int64
		server.Timeout, server.Handshakes = 10*time.Second, 2
		server.Refused = func(_ net.Addr, err error) {
			if !isFailed(err) {
				t.Errorf("refused: %v", err)
			}
			refused.Add(1)
		}
		p := &pipes{next: make(chan net.Conn), quit: make(chan struct{})}
		l := must[*Listener](t)(Listen(p, server))
		silent, slow := p.dial(), p.dial()
		var trickle sync.WaitGroup
		trickle.Go(func() { // a byte a second is never a silence of ten
			for _, x := range good {
				time.Sleep(time.Second)
				if _, err := slow.Write([]byte{x}); err != nil {
					return
				}
			}
		})
		done := make(chan error, 1)
		go func() {
			c, err := Client(p.dial(), client)
			if err == nil {
				_, _ = c.Write([]byte("x"))
				_, err = io.ReadFull(c, make([]byte, 1))
			}
			done <- err
		}()
		conn := must[net.Conn](t)(l.Accept())
		b := make([]byte, 1)
		if _, err := io.ReadFull(conn, b); err != nil {
			t.Fatal(err)
		}
		_, _ = conn.Write(b)
		if err := <-done; err != nil {
			t.Errorf("the third peer: %v", err)
		}
		for _, c := range []net.Conn{silent, slow} {
			if _, err := c.Read(make([]byte, 1)); err != io.EOF {
				t.Errorf("a silent peer is kept: %v", err)
			}
		}
		if refused.Load() != 2 {
			t.Errorf("%d refused", refused.Load())
		}
		// A handshake under way does not hold up Close.
		last := p.dial()
		synctest.Wait()
		at := time.Now() // of the bubble, which moves only when all wait
		if err := l.Close(); err != nil {
			t.Error(err)
		}
		if !time.Now().Equal(at) {
			t.Error("Close waits for the handshake's own end")
		}
		if _, err := last.Read(make([]byte, 1)); err != io.EOF {
			t.Errorf("after Close: %v", err)
		}
		if _, err := l.Accept(); !errors.Is(err, net.ErrClosed) {
			t.Errorf("after Close: %v", err)
		}
		_ = conn.(*Conn).raw.Close()
		_ = slow.Close()
		trickle.Wait()
	})
}

// TestSilentServer is a client whose server never answers, and one whose peer never reads its farewell.
func TestSilentServer(t *testing.T) {
	d := newDomain(t, "futian")
	client, server := d.side("unit-1"), d.side("core")
	synctest.Test(t, func(t *testing.T) {
		a, b := net.Pipe()
		go func() { _, _ = io.Copy(io.Discard, b) }()
		if _, err := Client(a, client); !isFailed(err) {
			t.Errorf("without an answer: %v", err)
		}
		a, b = net.Pipe()
		done := make(chan *Conn, 1)
		go func() {
			c, _ := Server(b, server)
			done <- c
		}()
		c, err := Client(a, client)
		if err != nil {
			t.Fatal(err)
		}
		sc := <-done
		_ = c.Close() // returns
		_ = sc.raw.Close()
	})
}
