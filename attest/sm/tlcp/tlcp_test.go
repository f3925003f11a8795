package tlcp

import (
	"crypto/rand"
	"errors"
	"io"
	"net"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/sm/pki"
	"github.com/opdomain/opdomain/sandbox"
)

var start = time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)

const day = 24 * time.Hour

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

// domain is an authority, a verifier with its list, and a clock both sides share.
type domain struct {
	t     testing.TB
	name  string
	a     *pki.Authority
	v     *pki.Verifier
	clock atomic.Int64 // seconds after start
}

func newDomain(t testing.TB, name string) *domain {
	t.Helper()
	d := &domain{t: t, name: name}
	key := must[*sm.SigningKey](t)(sm.NewSigningKey(rand.Reader))
	d.a = must[*pki.Authority](t)(pki.NewAuthority(rand.Reader, name, key, start, 3650*day))
	d.v = must[*pki.Verifier](t)(pki.NewVerifier(d.now, d.a.PEM()))
	d.list()
	return d
}

func (d *domain) now() time.Time { return start.Add(time.Duration(d.clock.Load()) * time.Second) }

func (d *domain) list() {
	d.t.Helper()
	if err := d.v.SetCRL(must[[]byte](d.t)(d.a.CRL(rand.Reader, d.now(), d.now().Add(day)))); err != nil {
		d.t.Fatal(err)
	}
}

// side enrols an identity and gives its configuration.
func (d *domain) side(id sandbox.IdentityID) *Config {
	d.t.Helper()
	c := &Config{Verifier: d.v, Rand: rand.Reader, Now: d.now, Timeout: time.Minute}
	c.SignKey = must[*sm.SigningKey](d.t)(sm.NewSigningKey(rand.Reader))
	c.EncryptKey = must[*sm.DecryptKey](d.t)(sm.NewDecryptKey(rand.Reader))
	name := pki.Name{Domain: d.name, Party: "bureau", Identity: id, Role: sandbox.Unit}
	c.Sign = must[*pki.Certificate](d.t)(d.a.Issue(rand.Reader, must[[]byte](d.t)(pki.NewSignRequest(rand.Reader, c.SignKey, id)), pki.Sign, name, start, 365*day))
	c.Encrypt = must[*pki.Certificate](d.t)(d.a.Issue(rand.Reader, must[[]byte](d.t)(pki.NewEncryptRequest(rand.Reader, c.EncryptKey, id)), pki.Encrypt, name, start, 365*day))
	return c
}

// link is a loopback connection.
func link(t testing.TB) (client, server net.Conn) {
	t.Helper()
	l := must[net.Listener](t)(net.Listen("tcp", "127.0.0.1:0"))
	defer l.Close()
	client = must[net.Conn](t)(net.Dial("tcp", l.Addr().String()))
	server = must[net.Conn](t)(l.Accept())
	t.Cleanup(func() { _ = client.Close(); _ = server.Close() })
	return client, server
}

// meet runs both handshakes. A side that fails closes its connection, so the other ends.
func meet(t testing.TB, client, server *Config) (cc, sc *Conn, cerr, serr error) {
	t.Helper()
	a, b := link(t)
	done := make(chan struct{})
	go func() {
		defer close(done)
		sc, serr = Server(b, server)
	}()
	cc, cerr = Client(a, client)
	<-done
	return cc, sc, cerr, serr
}

func echo(t testing.TB, a, b io.ReadWriter, n int) {
	t.Helper()
	msg := make([]byte, n)
	_, _ = rand.Read(msg)
	sent := make(chan error, 1)
	go func() {
		_, err := a.Write(msg)
		sent <- err
	}()
	got := make([]byte, n)
	if _, err := io.ReadFull(b, got); err != nil {
		t.Fatal(err)
	}
	if err := <-sent; err != nil {
		t.Fatal(err)
	}
	if string(got) != string(msg) {
		t.Fatal("other bytes arrived")
	}
}

func TestMutualHandshake(t *testing.T) {
	d := newDomain(t, "futian")
	client, server := d.side("unit-1"), d.side("core")
	for range 20 { // the engine's encodings vary in length
		cc, sc, cerr, serr := meet(t, client, server)
		if cerr != nil || serr != nil {
			t.Fatalf("client: %v; server: %v", cerr, serr)
		}
		if cc.PeerIdentity() != server.Sign.Name || sc.PeerIdentity() != client.Sign.Name {
			t.Fatal("a peer under another name")
		}
		if s, e := sc.Peer(); s.Serial != client.Sign.Serial || e.Serial != client.Encrypt.Serial {
			t.Fatal("other certificates")
		}
		echo(t, cc, sc, 1)
		echo(t, sc, cc, 100_000)
		if err := errors.Join(cc.Check(), sc.Check()); err != nil {
			t.Fatal(err)
		}
		_ = cc.Close()
		if _, err := sc.Read(make([]byte, 1)); err != io.EOF {
			t.Fatalf("after the peer closed: %v", err)
		}
		_ = sc.Close()
	}
}

// isFailed says whether err is a failed handshake, for a reason of transport or protocol.
func isFailed(err error) bool {
	var e *sandbox.Error
	return errors.As(err, &e) && e.Op == "tlcp: handshake" && errors.Is(err, sandbox.Unavailable)
}
