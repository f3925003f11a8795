package pki

import (
	"bytes"
	"crypto/x509/pkix"
	"encoding/pem"
	"io"

	"github.com/emmansun/gmsm/sm2"
	"github.com/emmansun/gmsm/smx509"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Request (证书申请, PKCS#10, GB/T 20518) is a parsed request whose holder has proved possession of the key.
type Request struct {
	Identity sandbox.IdentityID // what the holder calls itself; the authority's word counts
	key      []byte
	pub      any
}

// Point gives the requested public key, 65 bytes uncompressed: what an enrolment compares by fingerprint.
func (r *Request) Point() []byte { return bytes.Clone(r.key) }

// NewSignRequest asks for a signing certificate.
func NewSignRequest(rand io.Reader, key *sm.SigningKey, identity sandbox.IdentityID) ([]byte, error) {
	return newRequest(rand, key.Bytes(), identity)
}

// NewEncryptRequest asks for an encryption certificate. The proof of possession is the one signature a decryption key
// ever makes; its text is a request and nothing else.
func NewEncryptRequest(rand io.Reader, key *sm.DecryptKey, identity sandbox.IdentityID) ([]byte, error) {
	return newRequest(rand, key.Bytes(), identity)
}

func newRequest(rand io.Reader, scalar []byte, identity sandbox.IdentityID) ([]byte, error) {
	if err := sandbox.CheckID("identity", string(identity)); err != nil {
		return nil, err
	}
	defer clear(scalar)
	k, err := sm2.NewPrivateKey(scalar)
	if err != nil {
		return nil, fault("request", "key", BadKey)
	}
	der, err := smx509.CreateCertificateRequest(rand, &smx509.CertificateRequest{Subject: pkix.Name{CommonName: string(identity)}, SignatureAlgorithm: smx509.SM2WithSM3}, k)
	if err != nil {
		return nil, &sandbox.Error{Op: "pki: request", Kind: sandbox.Unavailable, Object: "request", Err: err}
	}
	return pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}), nil
}

// ParseRequest reads one PEM request and checks the proof of possession.
func ParseRequest(b []byte) (*Request, error) {
	const op, object = "parse", "request"
	der, ok := block(b, "CERTIFICATE REQUEST", MaxPEM)
	if !ok {
		return nil, fault(op, object, Malformed)
	}
	if _, err := outer(op, object, der); err != nil {
		return nil, err
	}
	r, err := smx509.ParseCertificateRequest(der)
	if err != nil {
		// The library says no more than that a key is off its curve.
		return nil, fault(op, object, Malformed)
	}
	key, err := point(op, object, r.RawSubjectPublicKeyInfo)
	if err != nil {
		return nil, err
	}
	if r.CheckSignature() != nil {
		return nil, fault(op, object, BadSignature)
	}
	if len(r.Subject.Names) != 1 || len(r.Extensions) != 0 || sandbox.CheckID("identity", r.Subject.CommonName) != nil {
		return nil, fault(op, object, WrongName)
	}
	return &Request{Identity: sandbox.IdentityID(r.Subject.CommonName), key: key, pub: r.PublicKey}, nil
}
