package api_test

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"io"
	"math/big"
	"net"
	"net/http"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// certificate makes a certificate for 127.0.0.1 that vouches for itself.
func certificate(t *testing.T) (tls.Certificate, *x509.CertPool) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	made := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "domain"}, NotBefore: time.Now().Add(-time.Hour),
		NotAfter: time.Now().Add(time.Hour), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign, ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth}}
	der, err := x509.CreateCertificate(rand.Reader, made, made, key.Public(), key)
	if err != nil {
		t.Fatal(err)
	}
	parsed, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	pool := x509.NewCertPool()
	pool.AddCert(parsed)
	return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}, pool
}

// TestOnlyTLS13 serves over TLS: 1.3 is answered with HSTS, over HTTP/1.1 whatever the client would like; 1.2 is refused,
// also where the listener was left to allow it.
func TestOnlyTLS13(t *testing.T) {
	cert, pool := certificate(t)
	for name, least := range map[string]uint16{"a listener left as it is": 0, "a listener of 1.3": tls.VersionTLS13} {
		t.Run(name, func(t *testing.T) {
			s := open(t)
			l := loopback(t)
			s.serve(tls.NewListener(l, &tls.Config{Certificates: []tls.Certificate{cert}, MinVersion: least}))
			s.url = "https://" + l.Addr().String()
			get := func(most uint16) (*http.Response, error) {
				client := &http.Transport{TLSClientConfig: &tls.Config{RootCAs: pool, MaxVersion: most}, ForceAttemptHTTP2: true}
				defer client.CloseIdleConnections()
				resp, err := client.RoundTrip(s.sign(s.request("GET", "/v1/datasets", "", ""), id(sandbox.Operator, sandbox.Officer)))
				if err != nil {
					return nil, err
				}
				defer resp.Body.Close()
				_, err = io.ReadAll(resp.Body)
				return resp, err
			}
			resp, err := get(tls.VersionTLS13)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != 200 || resp.TLS.Version != tls.VersionTLS13 || resp.ProtoMajor != 1 || resp.Header.Get("Strict-Transport-Security") == "" {
				t.Errorf("TLS 1.3: %s %s, Strict-Transport-Security %q", resp.Status, resp.Proto, resp.Header.Get("Strict-Transport-Security"))
			}
			s.took()
			resp, err = get(tls.VersionTLS12)
			if least == 0 && (err != nil || resp.StatusCode != 403) || least != 0 && err == nil {
				t.Errorf("TLS 1.2: %v %v", resp, err)
			}
			if calls := s.took(); len(calls) != 0 {
				t.Errorf("over TLS 1.2 the service was reached: %v", calls)
			}
		})
	}
	s := open(t)
	resp, err := http.DefaultTransport.RoundTrip(s.request("GET", "/healthz", "", ""))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	if resp.Header.Get("Strict-Transport-Security") != "" {
		t.Error("Strict-Transport-Security without TLS")
	}
	for field, want := range map[string]string{"Cache-Control": "no-store", "X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer"} {
		if resp.Header.Get(field) != want {
			t.Errorf("%s is %q", field, resp.Header.Get(field))
		}
	}
}
