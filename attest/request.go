package attest

import (
	"encoding/base64"
	"fmt"
	"io"
	"strconv"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Bounds of a signed request.
const (
	MaxLifetime = 5 * time.Minute // from created to expires
	MaxSkew     = time.Minute     // how far created may lie after the receiver's clock
	maxPart     = 8 << 10         // bytes of one covered component
)

// The signature's label and parameters in its headers, in the shape of RFC 9421 (HTTP Message Signatures).
const (
	requestLabel  = "opdomain"
	requestParts  = `("@method" "@authority" "@path" "@query" "content-type" "content-digest")`
	requestAlg    = "sm2-sm3"
	digestPrefix  = "sm3=:"
	nonceAlphabet = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
)

// Request (签名请求) is what the signature of one HTTP request covers: who asks what of whom, until when, once. Times count
// in whole seconds. Source: RFC 9421 and RFC 9530, with SM3 and SM2.
type Request struct {
	Method      string
	Authority   string // host and port, compared in lower case
	Path        string // escaped; "/" when empty
	Query       string // raw, without "?"
	ContentType string
	Body        [sm.Size]byte // SM3 of the body; of the opening, for sealed frames bound to one
	Key         sandbox.IdentityID
	Created     time.Time
	Expires     time.Time
	Nonce       string // 16 to 64 characters of base64url
}

// NewNonce draws 16 random bytes as base64url.
func NewNonce(rand io.Reader) (string, error) {
	var b [16]byte
	if _, err := io.ReadFull(rand, b[:]); err != nil {
		return "", &sandbox.Error{Op: "request: nonce", Kind: sandbox.Unavailable, Object: "randomness", Err: err}
	}
	return base64.RawURLEncoding.EncodeToString(b[:]), nil
}

func (q Request) digest() string {
	return digestPrefix + base64.StdEncoding.EncodeToString(q.Body[:]) + ":"
}

func (q Request) params() string {
	return fmt.Sprintf(`%s;created=%d;expires=%d;nonce="%s";alg="%s";keyid="%s"`, requestParts, q.Created.Unix(), q.Expires.Unix(), q.Nonce, requestAlg, q.Key)
}

// Encode gives the signature base: one line per covered component, then the parameters.
func (q Request) Encode() ([]byte, error) {
	path := q.Path
	if path == "" {
		path = "/"
	}
	for _, s := range []string{q.Method, q.Authority, path, q.Query, q.ContentType} {
		if len(s) > maxPart || strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f }) {
			return nil, unsigned("a covered component is one line of at most 8 KiB")
		}
	}
	if q.Method == "" || q.Authority == "" || path[0] != '/' {
		return nil, unsigned("method, authority and path are given")
	}
	if err := q.check(); err != nil {
		return nil, err
	}
	var b strings.Builder
	for _, line := range [][2]string{{"@method", q.Method}, {"@authority", strings.ToLower(q.Authority)}, {"@path", path}, {"@query", "?" + q.Query},
		{"content-type", q.ContentType}, {"content-digest", q.digest()}} {
		fmt.Fprintf(&b, "\"%s\": %s\n", line[0], line[1])
	}
	b.WriteString(`"@signature-params": ` + q.params())
	return []byte(b.String()), nil
}

// check holds the parameters to their forms and the lifetime to its bound.
func (q Request) check() error {
	life := q.Expires.Unix() - q.Created.Unix()
	switch {
	case sandbox.CheckID("keyid", string(q.Key)) != nil:
		return unsigned("keyid is an identity")
	case len(q.Nonce) < 16 || len(q.Nonce) > 64 || strings.Trim(q.Nonce, nonceAlphabet) != "":
		return unsigned("a nonce has 16 to 64 characters of base64url")
	case q.Created.Unix() < 0 || life <= 0 || life > int64(MaxLifetime/time.Second):
		return unsigned("a request lives more than 0 and at most 300 seconds")
	}
	return nil
}

// Sign gives the values of the headers Content-Digest, Signature-Input and Signature.
func (q Request) Sign(rand io.Reader, key *sm.SigningKey) (digest, input, signature string, err error) {
	base, err := q.Encode()
	if err != nil {
		return "", "", "", err
	}
	sig, err := key.Sign(rand, ContextRequest, base)
	if err != nil {
		return "", "", "", err
	}
	return q.digest(), requestLabel + "=" + q.params(), requestLabel + "=:" + base64.StdEncoding.EncodeToString(sig) + ":", nil
}

// Verify checks the signature and that now lies in the request's life. It gives the signature base, whose digest names
// this one request in the evidence. That the nonce was not seen before is the caller's to check, durably.
func (q Request) Verify(pub *sm.VerifyKey, signature []byte, now time.Time) ([]byte, error) {
	base, err := q.Encode()
	if err != nil {
		return nil, err
	}
	if q.Created.After(now.Add(MaxSkew)) {
		return nil, unsigned("the request is dated in the future")
	}
	if !now.Before(q.Expires) {
		return nil, unsigned("the request has expired")
	}
	if err := pub.Verify(ContextRequest, base, signature); err != nil {
		return nil, unsigned("the signature does not verify")
	}
	return base, nil
}

// ParseRequest reads the three headers in their one form. Method, authority, path, query and content type are the
// caller's to fill in from the request itself.
func ParseRequest(digest, input, signature string) (Request, []byte, error) {
	bad := unsigned("Content-Digest, Signature-Input and Signature are present once, in the form of this interface")
	if len(digest) > 256 || len(input) > 1024 || len(signature) > 256 {
		return Request{}, nil, bad
	}
	var q Request
	body, ok := colons(strings.TrimPrefix(digest, strings.TrimSuffix(digestPrefix, ":")))
	if !ok || len(body) != sm.Size {
		return Request{}, nil, bad
	}
	q.Body = [sm.Size]byte(body)
	sig, ok := colons(strings.TrimPrefix(signature, requestLabel+"="))
	if !ok {
		return Request{}, nil, bad
	}
	fields := strings.Split(strings.TrimPrefix(input, requestLabel+"="+requestParts+";"), ";")
	if len(fields) != 5 {
		return Request{}, nil, bad
	}
	seconds := func(field, name string) time.Time {
		n, err := strconv.ParseInt(strings.TrimPrefix(field, name+"="), 10, 48)
		if err != nil {
			n = -1
		}
		return time.Unix(n, 0).UTC()
	}
	quoted := func(field, name string) string {
		return strings.TrimSuffix(strings.TrimPrefix(field, name+`="`), `"`)
	}
	q.Created, q.Expires = seconds(fields[0], "created"), seconds(fields[1], "expires")
	q.Nonce, q.Key = quoted(fields[2], "nonce"), sandbox.IdentityID(quoted(fields[4], "keyid"))
	if q.check() != nil || q.digest() != digest || requestLabel+"="+q.params() != input ||
		requestLabel+"=:"+base64.StdEncoding.EncodeToString(sig)+":" != signature {
		return Request{}, nil, bad
	}
	return q, sig, nil
}

// colons reads a byte sequence of RFC 8941.
func colons(s string) ([]byte, bool) {
	if len(s) < 2 || s[0] != ':' || s[len(s)-1] != ':' {
		return nil, false
	}
	b, err := base64.StdEncoding.Strict().DecodeString(s[1 : len(s)-1])
	return b, err == nil
}

func unsigned(rule string) error {
	return &sandbox.Error{Op: "request: verify", Kind: sandbox.Unsigned, Detail: rule, Hint: "sign the request with the key of an enrolled identity"}
}
