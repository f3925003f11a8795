package pki

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"
	"math/big"
	"net/url"
	"slices"
	"sync"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Reason (吊销原因, RFC 5280 5.3.1) is why a certificate is revoked.
type Reason int

// The reasons an authority gives.
const (
	Unspecified        Reason = 0
	KeyCompromise      Reason = 1 // 密钥泄露
	AffiliationChanged Reason = 3 // 隶属关系变更
	Superseded         Reason = 4 // 已被更新
	Cessation          Reason = 5 // 停止使用
	PrivilegeWithdrawn Reason = 9 // 权限撤销
)

func (r Reason) valid() bool {
	return slices.Contains([]Reason{Unspecified, KeyCompromise, AffiliationChanged, Superseded, Cessation, PrivilegeWithdrawn}, r)
}

// Authority (域证书机构) issues and revokes the certificates of one domain. Safe for concurrent use.
type Authority struct {
	domain string
	key    *sm2.PrivateKey
	cert   *smx509.Certificate

	mu      sync.Mutex
	number  *big.Int // of the newest list
	this    time.Time
	revoked []smx509.RevocationListEntry
}

// NewAuthority makes the self-signed certificate of a domain's authority, valid from now on.
func NewAuthority(rand io.Reader, domain string, key *sm.SigningKey, now time.Time, validity time.Duration) (*Authority, error) {
	if err := (Name{Domain: domain, Party: "x", Identity: "x", Role: sandbox.Agency}).Check(); err != nil {
		return nil, err
	}
	k, err := private(key)
	if err != nil {
		return nil, err
	}
	serial, err := serial(rand)
	if err != nil {
		return nil, err
	}
	start, end, err := span(now, validity)
	if err != nil {
		return nil, err
	}
	id := sm.Sum(key.Public().Bytes())
	t := &smx509.Certificate{
		SerialNumber: serial, Subject: pkix.Name{CommonName: domain, OrganizationalUnit: []string{"domain authority"}}, SignatureAlgorithm: smx509.SM2WithSM3,
		NotBefore: start, NotAfter: end, KeyUsage: issuerUsage, BasicConstraintsValid: true, IsCA: true, MaxPathLenZero: true,
		SubjectKeyId: id[:20], PermittedURIDomains: []string{domain},
	}
	der, err := smx509.CreateCertificate(rand, t, t, &k.PublicKey, k)
	if err != nil {
		return nil, &sandbox.Error{Op: "pki: new authority", Kind: sandbox.Unavailable, Object: "certificate", Err: err}
	}
	return openAuthority(der, key, k)
}

// OpenAuthority takes up an authority from its certificate, its key and the newest list it signed, nil before the first.
func OpenAuthority(certPEM []byte, key *sm.SigningKey, listPEM []byte) (*Authority, error) {
	c, err := ParseCertificate(certPEM)
	if err != nil {
		return nil, err
	}
	k, err := private(key)
	if err != nil {
		return nil, err
	}
	a, err := openAuthority(c.cert.Raw, key, k)
	if err != nil || listPEM == nil {
		return a, err
	}
	l, err := parseList(listPEM)
	if err != nil {
		return nil, err
	}
	if l.CheckSignatureFrom(a.cert) != nil {
		return nil, fault("open", "list", BadSignature)
	}
	a.number, a.revoked, a.this = l.Number, l.RevokedCertificateEntries, l.ThisUpdate
	return a, nil
}

func openAuthority(der []byte, key *sm.SigningKey, k *sm2.PrivateKey) (*Authority, error) {
	c, err := ParseDER(der)
	if err != nil {
		return nil, err
	}
	if err := checkIssuer(c); err != nil {
		return nil, err
	}
	if !bytes.Equal(c.key, key.Public().Bytes()) {
		return nil, fault("open", "authority", BadKey)
	}
	return &Authority{domain: c.Name.Domain, key: k, cert: c.cert, number: new(big.Int)}, nil
}

func checkIssuer(c *Certificate) error {
	if !c.cert.BasicConstraintsValid || !c.cert.IsCA || !c.cert.MaxPathLenZero || c.cert.KeyUsage != issuerUsage || len(c.cert.SubjectKeyId) == 0 ||
		c.cert.CheckSignatureFrom(c.cert) != nil {
		return fault("open", "authority", NotAnIssuer)
	}
	return nil
}

func private(key *sm.SigningKey) (*sm2.PrivateKey, error) {
	b := key.Bytes()
	defer clear(b)
	k, err := sm2.NewPrivateKey(b)
	if err != nil {
		return nil, fault("open", "key", BadKey)
	}
	return k, nil
}

// serial draws 128 random bits under one that is set, so that every serial has one length and none is negative.
func serial(rand io.Reader) (*big.Int, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return nil, &sandbox.Error{Op: "pki: issue", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	return new(big.Int).SetBit(new(big.Int).SetBytes(b[:]), 128, 1), nil
}

func span(from time.Time, validity time.Duration) (start, end time.Time, err error) {
	start = from.UTC().Truncate(time.Second)
	end = start.Add(validity)
	if validity < time.Second || end.Year() > 9999 || start.Year() < 1950 {
		return start, end, &sandbox.Error{Op: "pki: issue", Kind: sandbox.Invalid, Object: "validity", Detail: "from one second, within the years 1950 to 9999"}
	}
	return start, end, nil
}

// Domain is whose authority a is.
func (a *Authority) Domain() string { return a.domain }

// PEM gives the authority's certificate.
func (a *Authority) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: a.cert.Raw})
}

// Issue issues the certificate of one purpose for a request, to the identity the caller has enrolled: name, not what the
// request says, though it may not say otherwise. The certificate ends with the authority at the latest.
func (a *Authority) Issue(rand io.Reader, request []byte, usage Usage, name Name, from time.Time, validity time.Duration) (*Certificate, error) {
	if err := name.Check(); err != nil {
		return nil, err
	}
	r, err := ParseRequest(request)
	if err != nil {
		return nil, err
	}
	if name.Domain != a.domain || r.Identity != name.Identity {
		return nil, fault("issue", "certificate", WrongName)
	}
	if bytes.Equal(r.key, pointOf(a.cert)) {
		return nil, fault("issue", "certificate", BadKey)
	}
	start, end, err := span(from, validity)
	if err != nil {
		return nil, err
	}
	if start.Before(a.cert.NotBefore) {
		return nil, fault("issue", "authority", NotYetValid)
	}
	if end.After(a.cert.NotAfter) {
		return nil, fault("issue", "authority", PastValidity)
	}
	serial, err := serial(rand)
	if err != nil {
		return nil, err
	}
	t := &smx509.Certificate{
		SerialNumber: serial, SignatureAlgorithm: smx509.SM2WithSM3, NotBefore: start, NotAfter: end, BasicConstraintsValid: true,
		Subject:     name.subject(),
		URIs:        []*url.URL{name.uri()},
		ExtKeyUsage: []smx509.ExtKeyUsage{smx509.ExtKeyUsageClientAuth, smx509.ExtKeyUsageServerAuth},
	}
	switch usage {
	case Sign:
		t.KeyUsage = signUsage
	case Encrypt:
		t.KeyUsage = encryptUsage
	default:
		return nil, fault("issue", "certificate", WrongUsage)
	}
	der, err := smx509.CreateCertificate(rand, t, a.cert, r.pub, a.key)
	if err != nil {
		return nil, &sandbox.Error{Op: "pki: issue", Kind: sandbox.Unavailable, Object: "certificate", Err: err}
	}
	return ParseDER(der)
}

// Revoke puts a serial number on the next list. Revoking twice keeps the first time and reason.
func (a *Authority) Revoke(serial string, reason Reason, at time.Time) error {
	n, ok := new(big.Int).SetString(serial, 16)
	if !ok || n.Sign() <= 0 || serialText(n) != serial || n.BitLen() > 159 {
		return &sandbox.Error{Op: "pki: revoke", Kind: sandbox.Invalid, Object: "serial number", Detail: "lower-case hex of a certificate"}
	}
	if !reason.valid() {
		return &sandbox.Error{Op: "pki: revoke", Kind: sandbox.Invalid, Object: "reason", Detail: "a reason of RFC 5280 that is final"}
	}
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, e := range a.revoked {
		if e.SerialNumber.Cmp(n) == 0 {
			return nil
		}
	}
	a.revoked = append(a.revoked, smx509.RevocationListEntry{SerialNumber: n, RevocationTime: at.UTC().Truncate(time.Second), ReasonCode: int(reason)})
	return nil
}

// CRL signs the list (证书吊销列表) of everything revoked so far, under the next number. Whoever serves it keeps it: it is
// the authority's state.
func (a *Authority) CRL(rand io.Reader, now, next time.Time) ([]byte, error) {
	now, next = now.UTC().Truncate(time.Second), next.UTC().Truncate(time.Second)
	a.mu.Lock()
	defer a.mu.Unlock()
	if !next.After(now) || now.Before(a.this) {
		return nil, &sandbox.Error{Op: "pki: revocation list", Kind: sandbox.Invalid, Object: "times", Detail: "the next update is later, and no list is older than the one before"}
	}
	number := new(big.Int).Add(a.number, big.NewInt(1))
	der, err := smx509.CreateRevocationList(rand, &smx509.RevocationList{
		Number: number, ThisUpdate: now, NextUpdate: next, RevokedCertificateEntries: slices.Clone(a.revoked), SignatureAlgorithm: smx509.SM2WithSM3,
	}, a.cert, a.key)
	if err != nil {
		return nil, &sandbox.Error{Op: "pki: revocation list", Kind: sandbox.Unavailable, Object: "list", Err: err}
	}
	a.number, a.this = number, now
	return pem.EncodeToMemory(&pem.Block{Type: "X509 CRL", Bytes: der}), nil
}

func pointOf(c *smx509.Certificate) []byte {
	p, err := point("open", "authority", c.RawSubjectPublicKeyInfo)
	if err != nil {
		return nil
	}
	return p
}
