package api

import (
	"net/http"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
)

// parts fills in what of a request the signature covers, apart from what its own headers say.
func parts(r *http.Request, q attest.Request) attest.Request {
	q.Method, q.Authority, q.Path, q.Query = r.Method, r.Host, r.URL.EscapedPath(), r.URL.RawQuery
	if q.Authority == "" {
		q.Authority = r.URL.Host
	}
	q.ContentType = r.Header.Get("Content-Type")
	return q
}

// signedPart reads the signature headers: each exactly once.
func signedPart(r *http.Request) (attest.Request, []byte, error) {
	one := func(name string) string {
		if v := r.Header.Values(name); len(v) == 1 {
			return v[0]
		}
		return ""
	}
	q, sig, err := attest.ParseRequest(one("Content-Digest"), one("Signature-Input"), one("Signature"))
	return parts(r, q), sig, err
}

// seal signs r with a fresh nonce and sets its headers.
func (s Signer) seal(r *http.Request, digest [sm.Size]byte) error {
	nonce, err := attest.NewNonce(s.Rand)
	if err != nil {
		return err
	}
	now := s.Now()
	q := parts(r, attest.Request{Body: digest, Key: s.Identity, Created: now, Expires: now.Add(lifetime), Nonce: nonce})
	d, input, sig, err := q.Sign(s.Rand, s.Key)
	if err != nil {
		return err
	}
	r.Header.Set("Content-Digest", d)
	r.Header.Set("Signature-Input", input)
	r.Header.Set("Signature", sig)
	return nil
}
