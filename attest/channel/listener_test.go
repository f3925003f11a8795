package channel

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/sm/pki"
	"github.com/opdomain/opdomain/attest/sm/tlcp"
	"github.com/opdomain/opdomain/sandbox"
)

var listenTime = time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)

func got[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func TestListenPlainOnlyOnLoopback(t *testing.T) {
	for _, address := range []string{"0.0.0.0:0", "[::]:0", ":0", "192.0.2.1:0", "example.org:0", "127.0.0.1", "", "[::ffff:192.0.2.1]:0", "localhost.example.org:0"} {
		l, err := listenPlain(address)
		if !errors.Is(err, sandbox.Denied) && !errors.Is(err, sandbox.Unavailable) { // not this machine's to listen on
			t.Errorf("%q: %v", address, err)
		}
		if err == nil {
			_ = l.Close()
		}
	}
	for _, address := range []string{"127.0.0.1:0", "127.1.2.3:0", "localhost:0"} {
		l, err := listenPlain(address)
		if err != nil {
			t.Errorf("%q: %v", address, err)
			continue
		}
		if l.Scheme() != "plain" {
			t.Error(l.Scheme())
		}
		_ = l.Close()
	}
}

// pemPair is a certificate and key in PEM; the serial number tells one from the next.
func pemPair(t testing.TB, serial int64) (cert, key []byte) {
	t.Helper()
	k := got[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	c := &x509.Certificate{SerialNumber: big.NewInt(serial), Subject: pkix.Name{CommonName: "domain"}, DNSNames: []string{"localhost"}, NotBefore: listenTime, NotAfter: listenTime.AddDate(1, 0, 0)}
	der := got[[]byte](t)(x509.CreateCertificate(rand.Reader, c, c, &k.PublicKey, k))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: got[[]byte](t)(x509.MarshalPKCS8PrivateKey(k))})
}

// accepting runs handshakes of a TLS listener.
func accepting(t testing.TB, l net.Listener) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.Copy(c, c)
			_ = c.Close()
		}
	}()
	t.Cleanup(func() { _ = l.Close(); <-done })
}

// presented gives the serial number a server presents.
func presented(t testing.TB, l net.Listener) int64 {
	t.Helper()
	c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS13})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	return c.ConnectionState().PeerCertificates[0].SerialNumber.Int64()
}

func TestListenTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	moment := listenTime
	write := func(name string, b []byte) {
		t.Helper()
		moment = moment.Add(time.Second) // coarse clocks of file systems are not waited for
		if err := errors.Join(os.WriteFile(name, b, 0o600), os.Chtimes(name, moment, moment)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := listenTLS("127.0.0.1:0", certFile, keyFile, time.Now); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("without files: %v", err)
	}
	cert1, key1 := pemPair(t, 1)
	cert2, key2 := pemPair(t, 2)
	write(certFile, cert1)
	write(keyFile, key2)
	if _, err := listenTLS("127.0.0.1:0", certFile, keyFile, time.Now); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("with another's key: %v", err)
	}
	write(keyFile, key1)
	l := got[Listener](t)(listenTLS("127.0.0.1:0", certFile, keyFile, func() time.Time { return listenTime }))
	accepting(t, l)
	if l.Scheme() != "tls" {
		t.Error(l.Scheme())
	}
	want := func(serial int64, when string) {
		t.Helper()
		if n := presented(t, l); n != serial {
			t.Errorf("%s: certificate %d, want %d", when, n, serial)
		}
	}
	want(1, "at first")
	for _, version := range []uint16{tls.VersionTLS10, tls.VersionTLS11, tls.VersionTLS12} {
		if c, err := tls.Dial("tcp", l.Addr().String(), &tls.Config{InsecureSkipVerify: true, MinVersion: tls.VersionTLS10, MaxVersion: version}); err == nil {
			t.Errorf("version %x is served", version)
			_ = c.Close()
		}
	}
	write(certFile, cert2)
	want(1, "with only the certificate replaced")
	write(keyFile, key2[:len(key2)/2])
	want(1, "with half a key")
	write(keyFile, key2)
	want(2, "with the new pair")
	write(certFile, nil)
	want(2, "with an empty certificate")
	if err := os.Remove(certFile); err != nil {
		t.Fatal(err)
	}
	want(2, "without the certificate")
	write(certFile, cert1)
	write(keyFile, key1)
	want(1, "with the first pair again")
}

// channelDomain is an authority and what two sides need of it.
type channelDomain struct {
	t testing.TB
	a *pki.Authority
	v *pki.Verifier
}

func newChannelDomain(t testing.TB) *channelDomain {
	key := got[*sm.SigningKey](t)(sm.NewSigningKey(rand.Reader))
	d := &channelDomain{t: t, a: got[*pki.Authority](t)(pki.NewAuthority(rand.Reader, "futian", key, listenTime, 3650*24*time.Hour))}
	d.v = got[*pki.Verifier](t)(pki.NewVerifier(d.now, d.a.PEM()))
	d.list()
	return d
}

func (d *channelDomain) now() time.Time { return listenTime.Add(time.Hour) }

func (d *channelDomain) list() {
	d.t.Helper()
	if err := d.v.SetCRL(got[[]byte](d.t)(d.a.CRL(rand.Reader, listenTime, listenTime.Add(24*time.Hour)))); err != nil {
		d.t.Fatal(err)
	}
}

func (d *channelDomain) side(id sandbox.IdentityID, role sandbox.Role) *tlcp.Config {
	t := d.t
	t.Helper()
	c := &tlcp.Config{Verifier: d.v, Rand: rand.Reader, Now: d.now, Timeout: time.Minute}
	c.SignKey = got[*sm.SigningKey](t)(sm.NewSigningKey(rand.Reader))
	c.EncryptKey = got[*sm.DecryptKey](t)(sm.NewDecryptKey(rand.Reader))
	name := pki.Name{Domain: "futian", Party: "bureau", Identity: id, Role: role}
	c.Sign = got[*pki.Certificate](t)(d.a.Issue(rand.Reader, got[[]byte](t)(pki.NewSignRequest(rand.Reader, c.SignKey, id)), pki.Sign, name, listenTime, 1000*time.Hour))
	c.Encrypt = got[*pki.Certificate](t)(d.a.Issue(rand.Reader, got[[]byte](t)(pki.NewEncryptRequest(rand.Reader, c.EncryptKey, id)), pki.Encrypt, name, listenTime, 1000*time.Hour))
	return c
}

// serveNames answers every request with the peer's name, or why it has none.
func serveNames(t testing.TB, l Listener) {
	srv := &http.Server{ConnContext: WithPeer, ReadHeaderTimeout: time.Minute, Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		name, ok, err := Peer(r.Context())
		switch {
		case err != nil:
			http.Error(w, sandbox.KindOf(err).Error(), http.StatusForbidden)
		case !ok:
			_, _ = io.WriteString(w, "nobody")
		default:
			_, _ = io.WriteString(w, name.URI()+" "+string(name.Role)+" ")
			_, _ = w.Write(body)
		}
	})}
	done := make(chan struct{})
	go func() { defer close(done); _ = srv.Serve(l) }()
	t.Cleanup(func() { _ = srv.Close(); <-done })
}

func ask(t testing.TB, client *http.Client, url string, body []byte) (int, string) {
	t.Helper()
	r, err := client.Post(url, "application/octet-stream", bytes.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	defer r.Body.Close()
	return r.StatusCode, string(got[[]byte](t)(io.ReadAll(r.Body)))
}

func TestPeerUnderHTTP(t *testing.T) {
	d := newChannelDomain(t)
	server, unit := d.side("core", sandbox.Agency), d.side("unit-1", sandbox.Unit)
	l := got[Listener](t)(listenTLCP("127.0.0.1:0", server))
	if l.Scheme() != "tlcp" {
		t.Error(l.Scheme())
	}
	serveNames(t, l)
	unit.Allow = func(n pki.Name) error {
		if n != server.Sign.Name {
			return &sandbox.Error{Op: "test", Kind: sandbox.Denied, Object: "server"}
		}
		return nil
	}
	dials := 0
	transport := &http.Transport{DialTLSContext: func(ctx context.Context, _, address string) (net.Conn, error) {
		dials++
		return tlcp.Dial(ctx, address, unit)
	}}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport}
	url := "https://" + l.Addr().String() + "/"
	big := bytes.Repeat([]byte("0123456789abcdef"), 20_000)
	for _, body := range [][]byte{nil, []byte("hello"), big} {
		code, text := ask(t, client, url, body)
		if want := unit.Sign.Name.URI() + " " + string(sandbox.Unit) + " " + string(body); code != http.StatusOK || text != want {
			t.Fatalf("%d, %d bytes, want %d", code, len(text), len(want))
		}
	}
	if err := d.a.Revoke(unit.Sign.Serial, pki.KeyCompromise, d.now()); err != nil {
		t.Fatal(err)
	}
	d.list()
	if code, text := ask(t, client, url, nil); code != http.StatusForbidden || strings.TrimSpace(text) != sandbox.Denied.Error() {
		t.Errorf("on the same connection after the revocation: %d %s", code, text)
	}
	if dials != 1 {
		t.Errorf("%d connections", dials)
	}
	transport.CloseIdleConnections()
	if _, err := client.Get(url); err == nil {
		t.Error("a revoked peer connects")
	}
	// The wrong server, from the client's side.
	other := d.side("unit-2", sandbox.Unit)
	other.Allow = func(pki.Name) error { return &sandbox.Error{Op: "test", Kind: sandbox.Denied, Object: "server"} }
	if _, err := tlcp.Dial(t.Context(), l.Addr().String(), other); !errors.Is(err, sandbox.Denied) {
		t.Errorf("the wrong server: %v", err)
	}
}

func TestNobodyWithoutTLCP(t *testing.T) {
	plain := got[Listener](t)(listenPlain("127.0.0.1:0"))
	serveNames(t, plain)
	if code, text := ask(t, &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}, "http://"+plain.Addr().String()+"/", nil); code != http.StatusOK || text != "nobody" {
		t.Errorf("plain: %d %s", code, text)
	}
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	cert, key := pemPair(t, 1)
	if err := errors.Join(os.WriteFile(certFile, cert, 0o600), os.WriteFile(keyFile, key, 0o600)); err != nil {
		t.Fatal(err)
	}
	l := got[Listener](t)(listenTLS("127.0.0.1:0", certFile, keyFile, func() time.Time { return listenTime }))
	serveNames(t, l)
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(cert)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost", Time: func() time.Time { return listenTime }}}}
	if code, text := ask(t, client, "https://"+l.Addr().String()+"/", nil); code != http.StatusOK || text != "nobody" {
		t.Errorf("tls: %d %s", code, text)
	}
	if _, ok, err := Peer(t.Context()); ok || err != nil {
		t.Errorf("without a connection: %v %v", ok, err)
	}
}

func TestListenTLCPRefusesAHalfConfig(t *testing.T) {
	d := newChannelDomain(t)
	c := d.side("core", sandbox.Agency)
	c.EncryptKey = nil
	if _, err := listenTLCP("127.0.0.1:0", c); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("without a decryption key: %v", err)
	}
	if _, err := listenTLCP("192.0.2.1:0", d.side("core", sandbox.Agency)); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("on a foreign address: %v", err)
	}
}

func listenOn(address string, over func(net.Listener) (Listener, error)) (Listener, error) {
	inner, err := Listen(address)
	if err != nil {
		return nil, err
	}
	return over(inner)
}

func listenPlain(address string) (Listener, error) { return listenOn(address, Plain) }

func listenTLS(address, cert, key string, now func() time.Time) (Listener, error) {
	return listenOn(address, func(l net.Listener) (Listener, error) { return TLS(l, cert, key, now) })
}

func listenTLCP(address string, c *tlcp.Config) (Listener, error) {
	return listenOn(address, func(l net.Listener) (Listener, error) { return TLCP(l, c) })
}
