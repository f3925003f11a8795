package pki

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"errors"
	"math/big"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

var now = time.Date(2026, 5, 1, 8, 0, 0, 0, time.UTC)

const year = 365 * 24 * time.Hour

// domain is an authority with a verifier that has its first list.
type domain struct {
	t        testing.TB
	key      *sm.SigningKey
	a        *Authority
	v        *Verifier
	name     Name
	sign     *sm.SigningKey
	decrypt  *sm.DecryptKey
	signCSR  []byte
	encCSR   []byte
	s, e     *Certificate
	template func() *smx509.Certificate
}

func must[T any](t testing.TB) func(T, error) T {
	return func(v T, err error) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func newDomain(t testing.TB, name string) *domain {
	t.Helper()
	d := &domain{t: t, name: Name{name, "bureau", "unit-1", sandbox.Unit}}
	d.key = must[*sm.SigningKey](t)(sm.NewSigningKey(rand.Reader))
	d.a = must[*Authority](t)(NewAuthority(rand.Reader, name, d.key, now, 10*year))
	d.v = must[*Verifier](t)(NewVerifier(func() time.Time { return now }, d.a.PEM()))
	d.list(now, 24*time.Hour)
	d.sign = must[*sm.SigningKey](t)(sm.NewSigningKey(rand.Reader))
	d.decrypt = must[*sm.DecryptKey](t)(sm.NewDecryptKey(rand.Reader))
	d.signCSR = must[[]byte](t)(NewSignRequest(rand.Reader, d.sign, "unit-1"))
	d.encCSR = must[[]byte](t)(NewEncryptRequest(rand.Reader, d.decrypt, "unit-1"))
	d.s = must[*Certificate](t)(d.a.Issue(rand.Reader, d.signCSR, Sign, d.name, now, year))
	d.e = must[*Certificate](t)(d.a.Issue(rand.Reader, d.encCSR, Encrypt, d.name, now, year))
	d.template = func() *smx509.Certificate {
		return &smx509.Certificate{
			SerialNumber: big.NewInt(77), SignatureAlgorithm: smx509.SM2WithSM3, NotBefore: now, NotAfter: now.Add(year), BasicConstraintsValid: true, KeyUsage: signUsage,
			Subject:     d.name.subject(),
			URIs:        []*url.URL{d.name.uri()},
			ExtKeyUsage: []smx509.ExtKeyUsage{smx509.ExtKeyUsageClientAuth, smx509.ExtKeyUsageServerAuth},
		}
	}
	return d
}

func (d *domain) list(at time.Time, valid time.Duration) []byte {
	d.t.Helper()
	b := must[[]byte](d.t)(d.a.CRL(rand.Reader, at, at.Add(valid)))
	if err := d.v.SetCRL(b); err != nil {
		d.t.Fatal(err)
	}
	return b
}

// forge signs a changed leaf with the authority's own key.
func (d *domain) forge(change func(*smx509.Certificate), pub any) []byte {
	d.t.Helper()
	c := d.template()
	change(c)
	if pub == nil {
		pub = d.s.cert.PublicKey
	}
	der := must[[]byte](d.t)(smx509.CreateCertificate(rand.Reader, c, d.a.cert, pub, d.a.key))
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
}

func is(t testing.TB, err error, f Fault, what string) {
	t.Helper()
	if !errors.Is(err, f) || !errors.Is(err, f.kind()) {
		t.Errorf("%s: %v, want: %s", what, err, f)
	}
}

func TestAPair(t *testing.T) {
	d := newDomain(t, "futian")
	for usage, c := range map[Usage]*Certificate{Sign: d.s, Encrypt: d.e} {
		got, err := d.v.Check(c.PEM(), usage, time.Time{})
		if err != nil || got.Name != d.name || got.Usage != usage || len(got.Serial) != 33 || got.Serial != c.Serial {
			t.Fatalf("%s: %v", usage, err)
		}
	}
	if k, err := d.s.VerifyKey(); err != nil || !bytes.Equal(k.Bytes(), d.sign.Public().Bytes()) {
		t.Error("another signing key")
	}
	if k, err := d.e.EncryptKey(); err != nil || !bytes.Equal(k.Bytes(), d.decrypt.Public().Bytes()) {
		t.Error("another encryption key")
	}
	_, err := d.e.VerifyKey()
	is(t, err, WrongUsage, "an encryption certificate that verifies")
	_, err = d.s.EncryptKey()
	is(t, err, WrongUsage, "a signing certificate that encrypts")
	if s, e, err := d.v.CheckPair(d.s.DER(), d.e.DER(), now); err != nil || s.Serial == e.Serial {
		t.Errorf("the pair: %v", err)
	}
	for _, c := range []struct {
		s, e *Certificate
		f    Fault
		what string
	}{{d.e, d.s, WrongUsage, "swapped"}, {d.s, d.s, WrongUsage, "twice the first"}, {d.e, d.e, WrongUsage, "twice the second"}} {
		_, _, err := d.v.CheckPair(c.s.DER(), c.e.DER(), now)
		is(t, err, c.f, c.what)
	}
	other := d.name
	other.Identity = "unit-2"
	k := must[*sm.DecryptKey](t)(sm.NewDecryptKey(rand.Reader))
	e2 := must[*Certificate](t)(d.a.Issue(rand.Reader, must[[]byte](t)(NewEncryptRequest(rand.Reader, k, "unit-2")), Encrypt, other, now, year))
	_, _, err = d.v.CheckPair(d.s.DER(), e2.DER(), now)
	is(t, err, NotAPair, "two identities")
	same := must[*sm.DecryptKey](t)(sm.ParseDecryptKey(d.sign.Bytes()))
	e3 := must[*Certificate](t)(d.a.Issue(rand.Reader, must[[]byte](t)(NewEncryptRequest(rand.Reader, same, "unit-1")), Encrypt, d.name, now, year))
	_, _, err = d.v.CheckPair(d.s.DER(), e3.DER(), now)
	is(t, err, NotAPair, "one key for both")
}

func TestTimes(t *testing.T) {
	d := newDomain(t, "futian")
	late := now.Add(2 * year)
	d.list(late, year)
	_, err := d.v.Check(d.s.PEM(), Sign, late)
	is(t, err, PastValidity, "past its end")
	_, err = d.v.Check(d.s.PEM(), Sign, now.Add(-time.Second))
	is(t, err, NotYetValid, "before its start")
	// The list at hand is of later, so nothing is valid now.
	_, err = d.v.Check(d.s.PEM(), Sign, now)
	is(t, err, StaleList, "before the list")
	_, err = d.a.Issue(rand.Reader, d.signCSR, Sign, d.name, now, 11*year)
	is(t, err, PastValidity, "longer than the authority")
	_, err = d.a.Issue(rand.Reader, d.signCSR, Sign, d.name, now.Add(-time.Hour), year)
	is(t, err, NotYetValid, "earlier than the authority")
	for _, v := range []time.Duration{0, -time.Hour} {
		if _, err := d.a.Issue(rand.Reader, d.signCSR, Sign, d.name, now, v); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("a validity of %v: %v", v, err)
		}
	}
}

func TestRevocation(t *testing.T) {
	d := newDomain(t, "futian")
	bare := must[*Verifier](t)(NewVerifier(func() time.Time { return now }, d.a.PEM()))
	_, err := bare.Check(d.s.PEM(), Sign, now)
	is(t, err, NoList, "without a list")
	first := must[[]byte](t)(d.a.CRL(rand.Reader, now, now.Add(time.Hour)))
	if err := d.v.SetCRL(first); err != nil {
		t.Fatal(err)
	}
	_, err = d.v.Check(d.s.PEM(), Sign, now.Add(time.Hour))
	is(t, err, StaleList, "at the next update")
	if err := d.a.Revoke(d.s.Serial, KeyCompromise, now); err != nil {
		t.Fatal(err)
	}
	if err := d.a.Revoke(d.s.Serial, Superseded, now); err != nil {
		t.Fatal(err)
	}
	second := d.list(now.Add(time.Minute), time.Hour)
	at := now.Add(2 * time.Minute)
	_, err = d.v.Check(d.s.PEM(), Sign, at)
	is(t, err, Revoked, "revoked")
	is(t, d.v.Current(d.s, at), Revoked, "revoked since")
	_, _, err = d.v.CheckPair(d.s.DER(), d.e.DER(), at)
	is(t, err, Revoked, "half revoked")
	if err := d.v.Current(d.e, at); err != nil {
		t.Errorf("the other certificate: %v", err)
	}
	is(t, d.v.SetCRL(first), OldList, "an older list")
	if err := d.v.SetCRL(second); err != nil {
		t.Errorf("the same list again: %v", err)
	}
	// The authority's certificate and newest list are its whole state.
	again := must[*Authority](t)(OpenAuthority(d.a.PEM(), d.key, second))
	third := must[[]byte](t)(again.CRL(rand.Reader, now.Add(time.Hour), now.Add(2*time.Hour)))
	if err := d.v.SetCRL(third); err != nil {
		t.Fatal(err)
	}
	if n := d.v.ListNumber("futian"); n.Int64() != 4 {
		t.Errorf("list %v", n)
	}
	is(t, d.v.Current(d.s, now.Add(time.Hour)), Revoked, "after a restart")
	if l := must[*smx509.RevocationList](t)(parseList(third)); len(l.RevokedCertificateEntries) != 1 || l.RevokedCertificateEntries[0].ReasonCode != int(KeyCompromise) {
		t.Error("the first reason is kept")
	}
	for _, serial := range []string{"", "0", "-1", "0A", "A", "zz", "01"} {
		if err := d.a.Revoke(serial, Unspecified, now); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("serial %q: %v", serial, err)
		}
	}
	if err := d.a.Revoke("1", 6, now); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a hold: %v", err)
	}
	other := newDomain(t, "luohu")
	foreign := must[[]byte](t)(other.a.CRL(rand.Reader, now, now.Add(time.Hour)))
	is(t, d.v.SetCRL(foreign), BadSignature, "another authority's list")
	for i := range third {
		bad := bytes.Clone(third)
		bad[i] ^= 1
		if d.v.SetCRL(bad) == nil {
			t.Fatalf("a list with byte %d flipped", i)
		}
	}
	if _, err := d.a.CRL(rand.Reader, now, now); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a list without an end: %v", err)
	}
	_, err = OpenAuthority(other.a.PEM(), d.key, nil)
	is(t, err, BadKey, "another authority's certificate")
	_, err = OpenAuthority(d.a.PEM(), d.key, foreign)
	is(t, err, BadSignature, "another authority's state")
	_, err = OpenAuthority(d.s.PEM(), d.sign, nil)
	is(t, err, NotAnIssuer, "a holder as an authority")
}

// TestForgedLeaves: what the authority itself would never sign is refused even if it did.
func TestForgedLeaves(t *testing.T) {
	d := newDomain(t, "futian")
	if _, err := d.v.Check(d.forge(func(*smx509.Certificate) {}, nil), Sign, now); err != nil {
		t.Fatalf("the template: %v", err)
	}
	p256 := must[*ecdsa.PrivateKey](t)(ecdsa.GenerateKey(elliptic.P256(), rand.Reader))
	for what, c := range map[string]struct {
		f      Fault
		change func(*smx509.Certificate)
		pub    any
	}{
		"an authority below":      {NotALeaf, func(c *smx509.Certificate) { c.IsCA = true; c.KeyUsage = issuerUsage }, nil},
		"an authority that signs": {NotALeaf, func(c *smx509.Certificate) { c.IsCA = true }, nil},
		"no basic constraints":    {NotALeaf, func(c *smx509.Certificate) { c.BasicConstraintsValid = false }, nil},
		"no extended usage":       {WrongUsage, func(c *smx509.Certificate) { c.ExtKeyUsage = nil }, nil},
		"any extended usage":      {WrongUsage, func(c *smx509.Certificate) { c.ExtKeyUsage = []smx509.ExtKeyUsage{smx509.ExtKeyUsageAny} }, nil},
		"code signing": {WrongUsage, func(c *smx509.Certificate) {
			c.ExtKeyUsage = []smx509.ExtKeyUsage{smx509.ExtKeyUsageCodeSigning, smx509.ExtKeyUsageClientAuth}
		}, nil},
		"both usages":             {WrongUsage, func(c *smx509.Certificate) { c.KeyUsage = signUsage | encryptUsage }, nil},
		"no usage":                {WrongUsage, func(c *smx509.Certificate) { c.KeyUsage = 0 }, nil},
		"signs certificates":      {WrongUsage, func(c *smx509.Certificate) { c.KeyUsage |= smx509.KeyUsageCertSign }, nil},
		"another domain":          {WrongName, func(c *smx509.Certificate) { c.Subject.Organization = []string{"luohu"}; c.URIs[0].Host = "luohu" }, nil},
		"another name in its uri": {WrongName, func(c *smx509.Certificate) { c.URIs[0].Path = "/bureau/unit-2" }, nil},
		"no uri":                  {WrongName, func(c *smx509.Certificate) { c.URIs = nil }, nil},
		"a host name":             {WrongName, func(c *smx509.Certificate) { c.DNSNames = []string{"example.org"} }, nil},
		"an unknown role":         {WrongName, func(c *smx509.Certificate) { c.Subject.ExtraNames[0].Value = "king" }, nil},
		"a malformed identity":    {WrongName, func(c *smx509.Certificate) { c.Subject.CommonName = "../x" }, nil},
		"another curve":           {BadKey, func(*smx509.Certificate) {}, &p256.PublicKey},
		"a huge serial":           {Malformed, func(c *smx509.Certificate) { c.SerialNumber = new(big.Int).Lsh(big.NewInt(1), 159) }, nil},
		"an unknown critical extension": {UnknownIssuer, func(c *smx509.Certificate) {
			c.ExtraExtensions = []pkix.Extension{{Id: asn1.ObjectIdentifier{1, 2, 3, 4}, Critical: true, Value: []byte{5, 0}}}
		}, nil},
	} {
		_, err := d.v.Check(d.forge(c.change, c.pub), Sign, now)
		is(t, err, c.f, what)
	}
	_, err := d.v.Check(d.a.PEM(), Sign, now)
	is(t, err, NotALeaf, "the authority itself")
	other := newDomain(t, "futian")
	_, err = d.v.Check(other.s.PEM(), Sign, now)
	is(t, err, UnknownIssuer, "an authority of the same name")
	// The same name and key identifier, another key.
	c := *other.a.cert
	c.SubjectKeyId = d.a.cert.SubjectKeyId
	liar := &Authority{domain: "futian", key: other.a.key, cert: &c}
	forged, err := liar.Issue(rand.Reader, d.signCSR, Sign, d.name, now, year)
	if err != nil {
		t.Fatal(err)
	}
	_, err = d.v.Check(forged.PEM(), Sign, now)
	is(t, err, BadSignature, "an authority that claims ours")
}

// TestForeignAlgorithms: a signature of another algorithm is refused by its name, before anything verifies it.
func TestForeignAlgorithms(t *testing.T) {
	d := newDomain(t, "futian")
	for name, oid := range map[string]asn1.ObjectIdentifier{"MD5 with RSA": {1, 2, 840, 113549, 1, 1, 4}, "SHA-1 with RSA": {1, 2, 840, 113549, 1, 1, 5}, "SHA-1 with ECDSA": {1, 2, 840, 10045, 4, 1},
		"SHA-256 with ECDSA": {1, 2, 840, 10045, 4, 3, 2}} {
		var s struct {
			Body      asn1.RawValue
			Algorithm pkix.AlgorithmIdentifier
			Signature asn1.BitString
		}
		if _, err := asn1.Unmarshal(d.s.DER(), &s); err != nil {
			t.Fatal(err)
		}
		s.Algorithm.Algorithm = oid
		_, err := ParseDER(must[[]byte](t)(asn1.Marshal(s)))
		is(t, err, BadSignature, name)
	}
}

// TestBadPoints (S9): the key inside a certificate or request lies on the curve.
func TestBadPoints(t *testing.T) {
	d := newDomain(t, "futian")
	good := d.sign.Public().Bytes()
	at := bytes.Index(d.s.DER(), good)
	csr, _ := pem.Decode(d.signCSR)
	in := bytes.Index(csr.Bytes, good)
	if at < 0 || in < 0 {
		t.Fatal("no point")
	}
	p := sm2.P256().Params().P
	for what, point := range map[string][]byte{
		"off the curve": append(bytes.Clone(good[:64]), good[64]^1), "zeros": append([]byte{4}, make([]byte, 64)...), "infinity": make([]byte, 65), "hybrid": append([]byte{6}, good[1:]...),
		"x is p": append([]byte{4}, append(p.FillBytes(make([]byte, 32)), good[33:]...)...),
	} {
		bad := bytes.Clone(d.s.DER())
		copy(bad[at:], point)
		_, err := ParseDER(bad)
		is(t, err, BadKey, what)
		bad = bytes.Clone(csr.Bytes)
		copy(bad[in:], point)
		if _, err := ParseRequest(pem.EncodeToMemory(&pem.Block{Type: csr.Type, Bytes: bad})); !errors.Is(err, BadKey) && !errors.Is(err, Malformed) {
			t.Errorf("%s in a request: %v", what, err)
		}
	}
	curve := bytes.Index(d.s.DER(), []byte{0x2a, 0x81, 0x1c, 0xcf, 0x55, 0x01, 0x82, 0x2d})
	bad := bytes.Clone(d.s.DER())
	bad[curve+7]++
	_, err := ParseDER(bad)
	is(t, err, BadKey, "another curve's name")
}

func TestStrictEncodings(t *testing.T) {
	d := newDomain(t, "futian")
	for what, b := range map[string][]byte{"empty": nil, "text": []byte("x"), "trailing": append(d.s.PEM(), '\n'), "leading": append([]byte(" "), d.s.PEM()...), "two": append(d.s.PEM(), d.e.PEM()...),
		"another type": bytes.ReplaceAll(d.s.PEM(), []byte("CERTIFICATE"), []byte("X509 CRL")), "huge": make([]byte, MaxPEM+1),
		"DER with a tail": pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: append(d.s.DER(), 0)})} {
		_, err := ParseCertificate(b)
		is(t, err, Malformed, what)
		if _, err := ParseRequest(b); !errors.Is(err, Malformed) {
			t.Errorf("%s as a request: %v", what, err)
		}
	}
	for i := range d.s.DER() {
		bad := d.s.DER()
		bad[i] ^= 1
		if c, err := d.v.CheckDER(bad, Sign, now); err == nil || c != nil {
			t.Fatalf("a certificate with byte %d flipped is valid", i)
		}
		if _, err := ParseDER(bad[:i]); err == nil {
			t.Fatalf("%d bytes of a certificate parse", i)
		}
	}
}

func TestRequests(t *testing.T) {
	d := newDomain(t, "futian")
	r := must[*Request](t)(ParseRequest(d.signCSR))
	if r.Identity != "unit-1" || !bytes.Equal(r.Point(), d.sign.Public().Bytes()) {
		t.Error("another request")
	}
	csr, _ := pem.Decode(d.signCSR)
	for i := range csr.Bytes {
		bad := bytes.Clone(csr.Bytes)
		bad[i] ^= 1
		if _, err := ParseRequest(pem.EncodeToMemory(&pem.Block{Type: csr.Type, Bytes: bad})); err == nil {
			t.Fatalf("a request with byte %d flipped proves possession", i)
		}
	}
	// Another's key, without its private half: the point is exchanged, the signature is the thief's.
	bad := bytes.Replace(csr.Bytes, d.sign.Public().Bytes(), d.decrypt.Public().Bytes(), 1)
	_, err := ParseRequest(pem.EncodeToMemory(&pem.Block{Type: csr.Type, Bytes: bad}))
	is(t, err, BadSignature, "another's key")
	other := d.name
	other.Identity = "unit-2"
	_, err = d.a.Issue(rand.Reader, d.signCSR, Sign, other, now, year)
	is(t, err, WrongName, "another identity than the request's")
	other = d.name
	other.Domain = "luohu"
	_, err = d.a.Issue(rand.Reader, d.signCSR, Sign, other, now, year)
	is(t, err, WrongName, "another domain")
	_, err = d.a.Issue(rand.Reader, d.signCSR, "both", d.name, now, year)
	is(t, err, WrongUsage, "an unknown usage")
	own := must[[]byte](t)(NewSignRequest(rand.Reader, d.key, "unit-1"))
	_, err = d.a.Issue(rand.Reader, own, Sign, d.name, now, year)
	is(t, err, BadKey, "the authority's own key")
	for _, n := range []string{"", "x_y", "1.2.3.4", "A", "x."} {
		if _, err := NewAuthority(rand.Reader, n, d.key, now, year); !errors.Is(err, sandbox.Invalid) {
			t.Errorf("a domain %q: %v", n, err)
		}
	}
	if _, err := NewAuthority(bytes.NewReader(nil), "futian", d.key, now, year); !errors.Is(err, sandbox.Unavailable) {
		t.Errorf("without randomness: %v", err)
	}
	if _, err := NewVerifier(nil); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("without authorities: %v", err)
	}
	_, err = NewVerifier(nil, d.s.PEM())
	is(t, err, NotAnIssuer, "a holder as an authority")
}

// TestOpenSSL is a second opinion on certificates and requests. Lists have none: openssl verify (3.0) refuses the
// signature of ours, and no option was found that gives it the user id there.
func TestOpenSSL(t *testing.T) {
	tool, err := exec.LookPath("openssl")
	if err != nil {
		sandboxtest.Missing(t, "openssl is not installed: no second opinion on certificates")
	}
	if out, err := exec.Command(tool, "list", "-public-key-algorithms").CombinedOutput(); err != nil || !bytes.Contains(out, []byte("SM2")) {
		sandboxtest.Missing(t, "this openssl has no SM2: no second opinion on certificates")
	}
	d := newDomain(t, "futian")
	dir := t.TempDir()
	files := map[string][]byte{"ca": d.a.PEM(), "sign": d.s.PEM(), "enc": d.e.PEM(), "csr": d.signCSR}
	for name, b := range files {
		if err := os.WriteFile(filepath.Join(dir, name), b, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run := func(args ...string) (string, error) {
		cmd := exec.Command(tool, args...)
		cmd.Dir = dir
		out, err := cmd.CombinedOutput()
		return string(out), err
	}
	at := big.NewInt(now.Add(time.Minute).Unix()).String()
	verify := []string{"verify", "-CAfile", "ca", "-x509_strict", "-attime", at, "-vfyopt", "distid:1234567812345678"}
	if out, err := run(append(verify, "sign")...); err != nil {
		t.Errorf("openssl refuses the signing certificate: %s", out)
	}
	if out, err := run(append(verify, "enc")...); err != nil {
		t.Errorf("openssl refuses the encryption certificate: %s", out)
	}
	if out, err := run("req", "-in", "csr", "-verify", "-noout", "-vfyopt", "distid:1234567812345678"); err != nil {
		t.Errorf("openssl refuses the request: %s", out)
	}
}

func FuzzParse(f *testing.F) {
	d := newDomain(f, "futian")
	f.Add(d.s.DER())
	f.Add(d.a.cert.Raw)
	csr, _ := pem.Decode(d.signCSR)
	f.Add(csr.Bytes)
	crl, _ := pem.Decode(d.list(now, time.Hour))
	f.Add(crl.Bytes)
	f.Add([]byte{0x30, 0x80})
	f.Fuzz(func(t *testing.T, der []byte) {
		if c, err := ParseDER(der); err == nil && !bytes.Equal(c.DER(), der) {
			t.Error("a certificate has two encodings")
		}
		_, _ = ParseRequest(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}))
		_, _ = parseList(pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}))
		_, _ = ParseCertificate(der)
	})
}
