package pki

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/asn1"
	"encoding/pem"
	"math/big"
	"net/url"
	"strings"
	"time"

	"github.com/emmansun/gmsm/smx509"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// MaxPEM bounds an encoded certificate or request in bytes.
const MaxPEM = 16 << 10

// Usage (证书用途) is what a certificate's key is for.
type Usage string

// The two certificates of an identity.
const (
	Sign    Usage = "sign"    // 签名证书: digitalSignature
	Encrypt Usage = "encrypt" // 加密证书: keyEncipherment, dataEncipherment, keyAgreement
)

// Fault (证书错误) is the rule a certificate, request or list breaks.
type Fault string

func (f Fault) Error() string { return string(f) }

// The faults.
const (
	Malformed     Fault = "one PEM block of one strict encoding"
	BadKey        Fault = "a public key is an uncompressed point of the SM2 curve"
	BadSignature  Fault = "a signature is SM2 with SM3 and verifies"
	NotALeaf      Fault = "a holder's certificate is no authority"
	NotAnIssuer   Fault = "an authority's certificate signs certificates and lists, with nothing below its holders"
	WrongUsage    Fault = "a certificate serves its own purpose only"
	WrongName     Fault = "a certificate names one identity of this domain"
	UnknownIssuer Fault = "a certificate is issued by a trusted authority"
	NotYetValid   Fault = "a certificate is used after its start"
	PastValidity  Fault = "a certificate is used before its end"
	Revoked       Fault = "a certificate is not revoked"
	NoList        Fault = "a revocation list of the issuer is at hand"
	StaleList     Fault = "a revocation list is used before its next update"
	OldList       Fault = "a revocation list never gives way to an older one"
	NotAPair      Fault = "both certificates of a pair name the same identity and hold different keys"
)

func (f Fault) kind() sandbox.Kind {
	switch f {
	case Malformed, BadKey:
		return sandbox.Invalid
	case BadSignature:
		return sandbox.Tampered
	case NotYetValid, PastValidity:
		return sandbox.Expired
	case NoList, StaleList:
		return sandbox.Unavailable
	case OldList:
		return sandbox.Conflict
	}
	return sandbox.Denied
}

// fault makes the error of a broken rule; the library's own text is not passed on, since it may quote the bytes.
func fault(op, object string, f Fault) error {
	return &sandbox.Error{Op: "pki: " + op, Kind: f.kind(), Object: object, Err: f}
}

// Name (证书主体名称) is whom a certificate names.
type Name struct {
	Domain   string
	Party    string
	Identity sandbox.IdentityID
	Role     sandbox.Role
}

// Check refuses what is no well-formed name.
func (n Name) Check() error {
	for _, x := range []struct{ what, id string }{{"domain", n.Domain}, {"party", n.Party}, {"identity", string(n.Identity)}} {
		if err := sandbox.CheckID(x.what, x.id); err != nil {
			return err
		}
	}
	// As the host of a URI the domain is held to what name constraints compare, whole labels and no address.
	if last := n.Domain[strings.LastIndexByte(n.Domain, '.')+1:]; strings.ContainsRune(n.Domain, '_') || strings.HasSuffix(n.Domain, ".") || last[0] >= '0' && last[0] <= '9' && strings.Contains(n.Domain, ".") {
		return &sandbox.Error{Op: "check", Kind: sandbox.Invalid, Object: "domain", Detail: "a domain in a certificate is a host name"}
	}
	if !n.Role.Valid() {
		return &sandbox.Error{Op: "check", Kind: sandbox.Invalid, Object: "role", Detail: "a role of the district"}
	}
	return nil
}

// URI is the name's form in a certificate: opdomain://<domain>/<party>/<identity>.
func (n Name) URI() string { return n.uri().String() }

func (n Name) uri() *url.URL {
	return &url.URL{Scheme: "opdomain", Host: n.Domain, Path: "/" + n.Party + "/" + string(n.Identity)}
}

// oidTitle carries the role: a second organizational unit would be sorted with the first by their encoding.
var oidTitle = asn1.ObjectIdentifier{2, 5, 4, 12}

func (n Name) subject() pkix.Name {
	return pkix.Name{Organization: []string{n.Domain}, OrganizationalUnit: []string{n.Party}, CommonName: string(n.Identity),
		ExtraNames: []pkix.AttributeTypeAndValue{{Type: oidTitle, Value: string(n.Role)}}}
}

// Certificate (数字证书) is one parsed certificate of a holder or authority. Parsing checks form, key and algorithm; only
// a Verifier says whether it is valid.
type Certificate struct {
	Name                Name // empty for an authority but for its Domain
	Usage               Usage
	Serial              string // lower-case hex
	NotBefore, NotAfter time.Time
	key                 []byte
	cert                *smx509.Certificate
}

// PEM gives the certificate's encoding.
func (c *Certificate) PEM() []byte {
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: c.cert.Raw})
}

// DER gives the certificate's inner encoding.
func (c *Certificate) DER() []byte { return bytes.Clone(c.cert.Raw) }

// Point gives the public key, 65 bytes uncompressed.
func (c *Certificate) Point() []byte { return bytes.Clone(c.key) }

// VerifyKey gives the key of a signing certificate.
func (c *Certificate) VerifyKey() (*sm.VerifyKey, error) {
	if c.Usage != Sign {
		return nil, fault("key", "certificate", WrongUsage)
	}
	return sm.ParseVerifyKey(c.key)
}

// EncryptKey gives the key of an encryption certificate.
func (c *Certificate) EncryptKey() (*sm.EncryptKey, error) {
	if c.Usage != Encrypt {
		return nil, fault("key", "certificate", WrongUsage)
	}
	return sm.ParseEncryptKey(c.key)
}

func serialText(n *big.Int) string { return n.Text(16) }

// block reads one PEM block with nothing before, behind or in its headers.
func block(b []byte, kind string, max int) ([]byte, bool) {
	if len(b) == 0 || len(b) > max {
		return nil, false
	}
	p, rest := pem.Decode(b)
	if p == nil || len(rest) != 0 || p.Type != kind || len(p.Headers) != 0 || !bytes.Equal(pem.EncodeToMemory(p), b) {
		return nil, false
	}
	return p.Bytes, true
}

var (
	oidSM2WithSM3 = asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 501}
	oidEC         = asn1.ObjectIdentifier{1, 2, 840, 10045, 2, 1}
	oidSM2        = asn1.ObjectIdentifier{1, 2, 156, 10197, 1, 301}
)

type algorithm struct {
	OID    asn1.ObjectIdentifier
	Params asn1.RawValue `asn1:"optional"`
}

type signed struct {
	Body      asn1.RawValue
	Algorithm algorithm
	Signature asn1.BitString
}

type publicKey struct {
	Algorithm struct {
		OID   asn1.ObjectIdentifier
		Curve asn1.RawValue `asn1:"optional"`
	}
	Point asn1.BitString
}

// outer reads the shell all signed objects share and refuses every algorithm but SM2 with SM3.
func outer(op, object string, der []byte) (*signed, error) {
	var s signed
	rest, err := asn1.Unmarshal(der, &s)
	if err != nil || len(rest) != 0 {
		return nil, fault(op, object, Malformed)
	}
	if !s.Algorithm.OID.Equal(oidSM2WithSM3) {
		return nil, fault(op, object, BadSignature)
	}
	return &s, nil
}

// point takes the public key out of its wrapping before the library sees it: 65 bytes on the SM2 curve.
func point(op, object string, spki []byte) ([]byte, error) {
	var p publicKey
	rest, err := asn1.Unmarshal(spki, &p)
	if err != nil || len(rest) != 0 {
		return nil, fault(op, object, Malformed)
	}
	var curve asn1.ObjectIdentifier
	if rest, err := asn1.Unmarshal(p.Algorithm.Curve.FullBytes, &curve); err != nil || len(rest) != 0 || !p.Algorithm.OID.Equal(oidEC) || !curve.Equal(oidSM2) {
		return nil, fault(op, object, BadKey)
	}
	if p.Point.BitLength != 8*len(p.Point.Bytes) {
		return nil, fault(op, object, BadKey)
	}
	if _, err := sm.ParseVerifyKey(p.Point.Bytes); err != nil {
		return nil, fault(op, object, BadKey)
	}
	return bytes.Clone(p.Point.Bytes), nil
}

// ParseCertificate reads one PEM certificate.
func ParseCertificate(b []byte) (*Certificate, error) {
	der, ok := block(b, "CERTIFICATE", MaxPEM)
	if !ok {
		return nil, fault("parse", "certificate", Malformed)
	}
	return ParseDER(der)
}

// ParseDER reads one DER certificate, the form TLCP sends.
func ParseDER(der []byte) (*Certificate, error) {
	const op, object = "parse", "certificate"
	if len(der) == 0 || len(der) > MaxPEM {
		return nil, fault(op, object, Malformed)
	}
	s, err := outer(op, object, der)
	if err != nil {
		return nil, err
	}
	var body struct {
		Version    int `asn1:"optional,explicit,default:0,tag:0"`
		Serial     *big.Int
		Algorithm  algorithm
		Issuer     asn1.RawValue
		Validity   asn1.RawValue
		Subject    asn1.RawValue
		Key        asn1.RawValue
		IssuerID   asn1.BitString  `asn1:"optional,tag:1"`
		SubjectID  asn1.BitString  `asn1:"optional,tag:2"`
		Extensions []asn1.RawValue `asn1:"optional,explicit,tag:3"`
	}
	if rest, err := asn1.Unmarshal(s.Body.FullBytes, &body); err != nil || len(rest) != 0 || body.Version != 2 {
		return nil, fault(op, object, Malformed)
	}
	if !body.Algorithm.OID.Equal(oidSM2WithSM3) {
		return nil, fault(op, object, BadSignature)
	}
	if body.Serial.Sign() <= 0 || body.Serial.BitLen() > 159 {
		return nil, fault(op, object, Malformed)
	}
	key, err := point(op, object, body.Key.FullBytes)
	if err != nil {
		return nil, err
	}
	cert, err := smx509.ParseCertificate(der)
	if err != nil || !bytes.Equal(cert.Raw, der) {
		return nil, fault(op, object, Malformed)
	}
	c := &Certificate{Serial: serialText(cert.SerialNumber), NotBefore: cert.NotBefore, NotAfter: cert.NotAfter, key: key, cert: cert}
	if cert.IsCA {
		c.Name.Domain = cert.Subject.CommonName
		return c, nil
	}
	switch cert.KeyUsage {
	case signUsage:
		c.Usage = Sign
	case encryptUsage:
		c.Usage = Encrypt
	default:
		return nil, fault(op, object, WrongUsage)
	}
	if c.Name, err = nameOf(cert); err != nil {
		return nil, err
	}
	return c, nil
}

const (
	signUsage    = smx509.KeyUsageDigitalSignature
	encryptUsage = smx509.KeyUsageKeyEncipherment | smx509.KeyUsageDataEncipherment | smx509.KeyUsageKeyAgreement
	issuerUsage  = smx509.KeyUsageCertSign | smx509.KeyUsageCRLSign
)

// nameOf reads the name from the subject and holds the alternative name to it.
func nameOf(cert *smx509.Certificate) (Name, error) {
	bad := func() (Name, error) { return Name{}, fault("parse", "certificate", WrongName) }
	s := cert.Subject
	if len(s.Names) != 4 || len(s.Organization) != 1 || len(s.OrganizationalUnit) != 1 || s.CommonName == "" {
		return bad()
	}
	n := Name{Domain: s.Organization[0], Party: s.OrganizationalUnit[0], Identity: sandbox.IdentityID(s.CommonName)}
	for _, x := range s.Names {
		if text, ok := x.Value.(string); ok && x.Type.Equal(oidTitle) {
			n.Role = sandbox.Role(text)
		}
	}
	if n.Check() != nil || len(cert.URIs) != 1 || cert.URIs[0].String() != n.URI() ||
		len(cert.DNSNames) != 0 || len(cert.EmailAddresses) != 0 || len(cert.IPAddresses) != 0 {
		return bad()
	}
	return n, nil
}
