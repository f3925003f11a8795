package tlcp

import (
	"bytes"
	"errors"
	"math/big"
	"testing"

	"github.com/tjfoc/gmsm/gmtls"
	stock "github.com/tjfoc/gmsm/sm2"
	"github.com/tjfoc/gmsm/x509"

	"github.com/opdomain/opdomain/attest/sm/pki"
)

// stockKey is a private key in the other library's hands.
func stockKey(scalar []byte, of *pki.Certificate) *stock.PrivateKey {
	k := &stock.PrivateKey{D: new(big.Int).SetBytes(scalar)}
	k.Curve = stock.P256Sm2()
	xy := of.Point()[1:]
	k.X, k.Y = new(big.Int).SetBytes(xy[:32]), new(big.Int).SetBytes(xy[32:])
	return k
}

// stockConfig is c as a plain user of gmtls writes it: its own keys, its own checks of certificates.
func stockConfig(t *testing.T, c *Config, suites ...uint16) *gmtls.Config {
	t.Helper()
	roots := x509.NewCertPool()
	for _, der := range c.Verifier.Roots() {
		roots.AddCert(must[*x509.Certificate](t)(x509.ParseCertificate(der)))
	}
	pair := gmtls.Certificate{Certificate: [][]byte{c.Sign.DER(), c.Encrypt.DER()}, PrivateKey: stockKey(c.SignKey.Bytes(), c.Sign)}
	return &gmtls.Config{GMSupport: gmtls.NewGMSupport(), Time: c.Now, CipherSuites: suites, ClientAuth: gmtls.RequireAndVerifyClientCert, ClientCAs: roots,
		InsecureSkipVerify:   true, // as a client it knows host names only, which these certificates have none of
		GetClientCertificate: func(*gmtls.CertificateRequestInfo) (*gmtls.Certificate, error) { return &pair, nil },
		Certificates: []gmtls.Certificate{
			{Certificate: [][]byte{c.Sign.DER()}, PrivateKey: stockKey(c.SignKey.Bytes(), c.Sign)},
			{Certificate: [][]byte{c.Encrypt.DER()}, PrivateKey: stockKey(c.EncryptKey.Bytes(), c.Encrypt)},
		}}
}

func TestStockClient(t *testing.T) {
	d := newDomain(t, "futian")
	client, server := d.side("unit-1"), d.side("core")
	for range 10 {
		a, b := link(t)
		other := gmtls.Client(a, stockConfig(t, client))
		done := make(chan error, 1)
		go func() { done <- other.Handshake() }()
		conn, err := Server(b, server)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if conn.PeerIdentity() != client.Sign.Name {
			t.Fatal("another name")
		}
		if got := other.ConnectionState(); got.CipherSuite != Suite || !bytes.Equal(got.PeerCertificates[0].Raw, server.Sign.DER()) || !bytes.Equal(got.PeerCertificates[1].Raw, server.Encrypt.DER()) {
			t.Fatal("another suite or server")
		}
		echo(t, conn, other, 40_000)
		echo(t, other, conn, 40_000)
	}
}

func TestStockServer(t *testing.T) {
	d := newDomain(t, "futian")
	client, server := d.side("unit-1"), d.side("core")
	for range 10 {
		a, b := link(t)
		other := gmtls.Server(b, stockConfig(t, server))
		done := make(chan error, 1)
		go func() { done <- other.Handshake() }()
		conn, err := Client(a, client)
		if err != nil {
			t.Fatal(err)
		}
		if err := <-done; err != nil {
			t.Fatal(err)
		}
		if conn.PeerIdentity() != server.Sign.Name || !bytes.Equal(other.ConnectionState().PeerCertificates[1].Raw, client.Encrypt.DER()) {
			t.Fatal("another name")
		}
		echo(t, conn, other, 40_000)
		echo(t, other, conn, 40_000)
	}
}

// A stock client that offers only the suite without an implementation ends a stock server's process.
func TestUnimplementedSuite(t *testing.T) {
	d := newDomain(t, "futian")
	client, server := d.side("unit-1"), d.side("core")
	a, b := link(t)
	done := make(chan error, 1)
	go func() {
		done <- gmtls.Client(a, stockConfig(t, client, gmtls.GMTLS_ECDHE_SM2_WITH_SM4_SM3)).Handshake()
	}()
	if _, err := Server(b, server); !isFailed(err) || errors.Is(err, error(errEngine)) {
		t.Errorf("server, pinned to its own suite: %v", err)
	}
	if <-done == nil {
		t.Error("the client went through")
	}
}
