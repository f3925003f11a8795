package pki

import (
	"bytes"
	"math/big"
	"slices"
	"sync"
	"time"

	"github.com/emmansun/gmsm/smx509"

	"github.com/opdomain/opdomain/sandbox"
)

// MaxList bounds an encoded revocation list in bytes.
const MaxList = 16 << 20

// Verifier (证书验证) checks certificates of the domains whose authorities it trusts. Safe for concurrent use; a new list
// takes effect at the next check.
type Verifier struct {
	roots []*root
	now   func() time.Time
}

type root struct {
	cert *Certificate

	mu      sync.RWMutex
	list    *smx509.RevocationList
	revoked map[string]bool // by serial number
}

// NewVerifier trusts the authorities of the given PEM certificates, one to eight; now is the time of checks that name
// none.
func NewVerifier(now func() time.Time, roots ...[]byte) (*Verifier, error) {
	if len(roots) == 0 || len(roots) > 8 {
		return nil, &sandbox.Error{Op: "pki: verifier", Kind: sandbox.Invalid, Object: "authorities", Detail: "one to eight"}
	}
	v := &Verifier{now: now}
	for _, b := range roots {
		c, err := ParseCertificate(b)
		if err != nil {
			return nil, err
		}
		if err := checkIssuer(c); err != nil {
			return nil, err
		}
		v.roots = append(v.roots, &root{cert: c})
	}
	return v, nil
}

func parseList(b []byte) (*smx509.RevocationList, error) {
	der, ok := block(b, "X509 CRL", MaxList)
	if !ok {
		return nil, fault("parse", "list", Malformed)
	}
	if _, err := outer("parse", "list", der); err != nil {
		return nil, err
	}
	l, err := smx509.ParseRevocationList(der)
	if err != nil || !bytes.Equal(l.Raw, der) || l.Number == nil || l.Number.Sign() <= 0 || !l.NextUpdate.After(l.ThisUpdate) {
		return nil, fault("parse", "list", Malformed)
	}
	for _, e := range l.Extensions {
		// A critical extension changes what the list covers: partial and indirect lists are not taken for whole ones.
		if e.Critical {
			return nil, fault("parse", "list", Malformed)
		}
	}
	return l, nil
}

// SetCRL takes a revocation list of one of the authorities. A list with a lower number than the one at hand is refused:
// it would bring revoked certificates back.
func (v *Verifier) SetCRL(b []byte) error {
	l, err := parseList(b)
	if err != nil {
		return err
	}
	for _, r := range v.roots {
		if !bytes.Equal(l.RawIssuer, r.cert.cert.RawSubject) || l.CheckSignatureFrom(r.cert.cert) != nil {
			continue
		}
		revoked := make(map[string]bool, len(l.RevokedCertificateEntries))
		for _, e := range l.RevokedCertificateEntries {
			revoked[serialText(e.SerialNumber)] = true
		}
		r.mu.Lock()
		defer r.mu.Unlock()
		if r.list != nil && (l.Number.Cmp(r.list.Number) < 0 || l.Number.Cmp(r.list.Number) == 0 && !bytes.Equal(l.Raw, r.list.Raw)) {
			return fault("revocation list", "list", OldList)
		}
		r.list, r.revoked = l, revoked
		return nil
	}
	return fault("revocation list", "list", BadSignature)
}

// ListNumber gives the number of the newest list of a domain's authority, 0 without one.
func (v *Verifier) ListNumber(domain string) *big.Int {
	for _, r := range v.roots {
		if r.cert.Name.Domain == domain {
			r.mu.RLock()
			defer r.mu.RUnlock()
			if r.list != nil {
				return new(big.Int).Set(r.list.Number)
			}
		}
	}
	return new(big.Int)
}

// Check says whether a PEM certificate is valid for a purpose at a time, the zero time meaning now: strict form, trusted
// issuer, name within the issuer's domain, usage, validity, revocation under a list that is neither missing nor stale.
func (v *Verifier) Check(certPEM []byte, purpose Usage, at time.Time) (*Certificate, error) {
	c, err := ParseCertificate(certPEM)
	if err != nil {
		return nil, err
	}
	if err := v.check(c, purpose, at); err != nil {
		return nil, err
	}
	return c, nil
}

// CheckDER is Check of the form TLCP sends.
func (v *Verifier) CheckDER(der []byte, purpose Usage, at time.Time) (*Certificate, error) {
	c, err := ParseDER(der)
	if err != nil {
		return nil, err
	}
	if err := v.check(c, purpose, at); err != nil {
		return nil, err
	}
	return c, nil
}

// CheckPair says whether two DER certificates are the valid pair of one identity, and gives both.
func (v *Verifier) CheckPair(sign, encrypt []byte, at time.Time) (s, e *Certificate, err error) {
	if at.IsZero() {
		at = v.now()
	}
	if s, err = v.CheckDER(sign, Sign, at); err != nil {
		return nil, nil, err
	}
	if e, err = v.CheckDER(encrypt, Encrypt, at); err != nil {
		return nil, nil, err
	}
	if s.Name != e.Name || bytes.Equal(s.key, e.key) || !bytes.Equal(s.cert.AuthorityKeyId, e.cert.AuthorityKeyId) {
		return nil, nil, fault("check", "certificates", NotAPair)
	}
	return s, e, nil
}

func (v *Verifier) check(c *Certificate, purpose Usage, at time.Time) error {
	const op, object = "check", "certificate"
	if at.IsZero() {
		at = v.now()
	}
	if c.cert.IsCA || !c.cert.BasicConstraintsValid {
		return fault(op, object, NotALeaf)
	}
	r := v.issuer(c)
	if r == nil {
		return fault(op, object, UnknownIssuer)
	}
	if c.cert.CheckSignatureFrom(r.cert.cert) != nil {
		return fault(op, object, BadSignature)
	}
	if c.Name.Domain != r.cert.Name.Domain {
		return fault(op, object, WrongName)
	}
	if c.Usage != purpose || len(c.cert.UnknownExtKeyUsage) != 0 || len(c.cert.ExtKeyUsage) != 2 ||
		!slices.Contains(c.cert.ExtKeyUsage, smx509.ExtKeyUsageClientAuth) || !slices.Contains(c.cert.ExtKeyUsage, smx509.ExtKeyUsageServerAuth) {
		return fault(op, object, WrongUsage)
	}
	// The order of the checks decides only which fault is named.
	if err := r.current(c, at); err != nil {
		return err
	}
	// The library's own path building is the second opinion: path length, name constraints, unknown critical extensions.
	pool := smx509.NewCertPool()
	pool.AddCert(r.cert.cert)
	if _, err := c.cert.Verify(smx509.VerifyOptions{Roots: pool, CurrentTime: at, KeyUsages: []smx509.ExtKeyUsage{smx509.ExtKeyUsageClientAuth}}); err != nil {
		return fault(op, object, UnknownIssuer)
	}
	return nil
}

// Current says whether a certificate that Check has passed is still valid: its time and its revocation, without
// signatures. It is cheap enough for every request of a long connection.
func (v *Verifier) Current(c *Certificate, at time.Time) error {
	if at.IsZero() {
		at = v.now()
	}
	r := v.issuer(c)
	if r == nil {
		return fault("check", "certificate", UnknownIssuer)
	}
	return r.current(c, at)
}

// Roots gives the certificates of the trusted authorities in DER.
func (v *Verifier) Roots() [][]byte {
	var out [][]byte
	for _, r := range v.roots {
		out = append(out, r.cert.DER())
	}
	return out
}

func (v *Verifier) issuer(c *Certificate) *root {
	for _, r := range v.roots {
		if bytes.Equal(c.cert.RawIssuer, r.cert.cert.RawSubject) && bytes.Equal(c.cert.AuthorityKeyId, r.cert.cert.SubjectKeyId) {
			return r
		}
	}
	return nil
}

func (r *root) current(c *Certificate, at time.Time) error {
	const op, object = "check", "certificate"
	for _, x := range []*Certificate{r.cert, c} {
		if at.Before(x.NotBefore) {
			return fault(op, object, NotYetValid)
		}
		if at.After(x.NotAfter) {
			return fault(op, object, PastValidity)
		}
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	switch {
	case r.list == nil:
		return fault(op, object, NoList)
	case at.Before(r.list.ThisUpdate) || !at.Before(r.list.NextUpdate):
		return fault(op, object, StaleList)
	case r.revoked[c.Serial]:
		return fault(op, object, Revoked)
	}
	return nil
}
