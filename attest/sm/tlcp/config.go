package tlcp

import (
	"bytes"
	"crypto"
	"crypto/subtle"
	"errors"
	"io"
	"net"
	"time"

	"github.com/emmansun/gmsm/sm2"
	"github.com/tjfoc/gmsm/gmtls"
	"github.com/tjfoc/gmsm/x509"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/attest/sm/pki"
	"github.com/opdomain/opdomain/sandbox"
)

const (
	// Suite is the only cipher suite, ECC_SM4_CBC_SM3.
	Suite = 0xE013
	// DefaultTimeout bounds a handshake.
	DefaultTimeout = 10 * time.Second
	// DefaultHandshakes bounds the handshakes a Listener runs at once.
	DefaultHandshakes = 64

	preMaster = 48
)

// Config (通信配置) is one side of TLCP connections. It is not changed after first use.
type Config struct {
	Sign       *pki.Certificate // 签名证书
	SignKey    *sm.SigningKey
	Encrypt    *pki.Certificate // 加密证书
	EncryptKey *sm.DecryptKey
	Verifier   *pki.Verifier        // what the peer's pair is held to
	Allow      func(pki.Name) error // which valid peers may connect; nil means all
	Rand       io.Reader            // safe for concurrent use
	Now        func() time.Time

	Timeout    time.Duration         // of a handshake; 0 means DefaultTimeout
	Handshakes int                   // at once, per Listener; 0 means DefaultHandshakes
	Refused    func(net.Addr, error) // told of failed handshakes of a Listener, from several goroutines; may be nil
}

// Check refuses an incomplete configuration and keys that are not the certificates'.
func (c *Config) Check() error {
	bad := func(object, rule string) error {
		return &sandbox.Error{Op: "tlcp: config", Kind: sandbox.Invalid, Object: object, Detail: rule}
	}
	switch {
	case c.Sign == nil || c.SignKey == nil || c.Encrypt == nil || c.EncryptKey == nil || c.Verifier == nil || c.Rand == nil || c.Now == nil:
		return bad("fields", "certificates, keys, verifier, randomness and clock are given")
	case c.Timeout < 0 || c.Handshakes < 0:
		return bad("bounds", "none is negative")
	case c.Sign.Usage != pki.Sign || !bytes.Equal(c.Sign.Point(), c.SignKey.Public().Bytes()):
		return bad("signing certificate", "it is one, for the signing key")
	case c.Encrypt.Usage != pki.Encrypt || !bytes.Equal(c.Encrypt.Point(), c.EncryptKey.Public().Bytes()):
		return bad("encryption certificate", "it is one, for the decryption key")
	case c.Sign.Name != c.Encrypt.Name:
		return bad("certificates", "both name one identity")
	}
	return nil
}

func (c *Config) timeout() time.Duration {
	if c.Timeout == 0 {
		return DefaultTimeout
	}
	return c.Timeout
}

// signer lends the engine a signing key that is not in its hands (S12).
type signer struct{ key *sm2.PrivateKey }

func (s signer) Public() crypto.PublicKey { return &s.key.PublicKey }

func (s signer) Sign(rand io.Reader, msg []byte, _ crypto.SignerOpts) ([]byte, error) {
	return s.key.Sign(rand, msg, sm2.DefaultSM2SignerOpts)
}

// decrypter answers every ciphertext with 48 bytes (S1, S2): a wrong one fails only at Finished, as a right one under
// another secret does.
type decrypter struct{ key *sm2.PrivateKey }

func (d decrypter) Public() crypto.PublicKey { return &d.key.PublicKey }

func (d decrypter) Decrypt(rand io.Reader, ct []byte, _ crypto.DecrypterOpts) ([]byte, error) {
	out := make([]byte, preMaster)
	if _, err := io.ReadFull(rand, out); err != nil { // before anything depends on ct
		return nil, err
	}
	got, err := sm2.Decrypt(d.key, ct)
	ok := 0
	if err == nil && len(got) == preMaster {
		ok = 1
	} else {
		got = make([]byte, preMaster)
	}
	subtle.ConstantTimeCopy(ok, out, got)
	return out, nil
}

func private(b []byte) (*sm2.PrivateKey, error) {
	defer clear(b)
	return sm2.NewPrivateKey(b)
}

var errPeer = errors.New("peer certificates refused") // what the engine prints

// engine builds the engine's configuration of one connection; verified takes the peer's checked pair or the reason why not.
func (c *Config) engine(server bool, verified func(s, e *pki.Certificate, err error)) (*gmtls.Config, error) {
	sign, err := private(c.SignKey.Bytes())
	if err != nil {
		return nil, &sandbox.Error{Op: "tlcp: config", Kind: sandbox.Invalid, Object: "signing key"}
	}
	open, err := private(c.EncryptKey.Bytes())
	if err != nil {
		return nil, &sandbox.Error{Op: "tlcp: config", Kind: sandbox.Invalid, Object: "decryption key"}
	}
	out := &gmtls.Config{
		GMSupport: gmtls.NewGMSupport(), Rand: c.Rand, Time: c.Now, CipherSuites: []uint16{Suite}, PreferServerCipherSuites: true,
		SessionTicketsDisabled: true, Renegotiation: gmtls.RenegotiateNever, DynamicRecordSizingDisabled: true,
		VerifyPeerCertificate: func(raw [][]byte, _ [][]*x509.Certificate) error {
			s, e, err := c.peer(raw)
			verified(s, e, err)
			if err != nil {
				return errPeer
			}
			return nil
		},
	}
	if !server {
		// The engine's own check would look for a host name; ours replaces it whole.
		out.InsecureSkipVerify = true
		pair := &gmtls.Certificate{Certificate: [][]byte{c.Sign.DER(), c.Encrypt.DER()}, PrivateKey: signer{sign}}
		out.GetClientCertificate = func(*gmtls.CertificateRequestInfo) (*gmtls.Certificate, error) { return pair, nil }
		return out, nil
	}
	out.ClientAuth = gmtls.RequireAndVerifyClientCert
	out.ClientCAs = x509.NewCertPool()
	for _, der := range c.Verifier.Roots() {
		root, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, &sandbox.Error{Op: "tlcp: config", Kind: sandbox.Invalid, Object: "authority", Err: err}
		}
		out.ClientCAs.AddCert(root)
	}
	out.Certificates = []gmtls.Certificate{
		{Certificate: [][]byte{c.Sign.DER()}, PrivateKey: signer{sign}},
		{Certificate: [][]byte{c.Encrypt.DER()}, PrivateKey: decrypter{open}},
	}
	return out, nil
}

// peer checks the peer's pair. Certificates behind the pair are of authorities, whom we know ourselves.
func (c *Config) peer(raw [][]byte) (s, e *pki.Certificate, err error) {
	if len(raw) < 2 || len(raw) > 8 {
		return nil, nil, &sandbox.Error{Op: "tlcp: peer", Kind: sandbox.Denied, Object: "certificates", Detail: "a signing and an encryption certificate"}
	}
	if s, e, err = c.Verifier.CheckPair(raw[0], raw[1], c.Now()); err != nil {
		return nil, nil, err
	}
	if c.Allow != nil {
		if err := c.Allow(s.Name); err != nil {
			return nil, nil, err
		}
	}
	return s, e, nil
}
