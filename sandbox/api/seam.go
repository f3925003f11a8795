package api

import (
	"context"
	"io"
	"net/http"
	"net/netip"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// Core (域核心) is what stands behind the front end: it proves who signed a call, applies the role table, the rates of the
// identity and the nonce, decodes, runs and encodes. NewCore gives the one that runs in this process; a transport to
// another process implements the same method.
//
// Nothing in a Call is believed because the front end said so. The Core looks the route up again, bounds every part again,
// reads the body under its own bound and compares it with the digest that was signed. What a front end can do is what a
// network can: drop, delay and repeat calls. Repeated ones fail on their nonce.
type Core interface {
	// Do runs one call. It always answers; errors are problem documents. It reads Call.Body only while it runs. The
	// caller closes Answer.Stream, read to its end or not. When ctx ends, Do and the stream end soon after.
	Do(ctx context.Context, c Call) Answer
}

// Call (调用) is one request as the front end read it: plain values, no connection.
type Call struct {
	Route     string // pattern the front end found; only compared with the one the Core finds
	Method    string
	Authority string // Host as received; it is signed
	Path      string // escaped, as received
	Query     string // raw, without "?"
	Fields    Fields
	// Peer is the identity the connection's certificates name, if they name one: a request signed by another is refused. It
	// only ever takes away.
	Peer sandbox.IdentityID
	// Body is read by the Core after the signature and the role are proven. Its errors are *sandbox.Error or mean that it
	// ended early. nil for none.
	Body io.Reader
}

// Fields (请求头字段) are the header fields that mean anything: each as it was received exactly once, else empty.
type Fields struct {
	ContentType    string
	ContentDigest  string
	SignatureInput string
	Signature      string
}

// Answer (应答) is what the front end sends back. Either Body or Stream holds the content.
type Answer struct {
	Status      int
	ContentType string
	RetryAfter  time.Duration // above 0 for a refusal that passes: header Retry-After, whole seconds
	Body        []byte
	// Stream gives content too long to hold. A read error other than io.EOF means it was cut: the front end breaks the
	// connection, so that a cut bundle never looks whole.
	Stream io.ReadCloser
}

// Refuse (拒绝应答) gives the answer for an error: what the front end, or a transport that cannot reach the Core, says itself.
func Refuse(err error) Answer {
	p := problem(err)
	return Answer{Status: statusOf(err, p.Kind), ContentType: typeProblem, RetryAfter: retryAfter(err), Body: encode(p)}
}

// fields takes the parts of a request's header that are passed on.
func fields(h http.Header) Fields {
	one := func(name string) string {
		if v := h.Values(name); len(v) == 1 {
			return v[0]
		}
		return ""
	}
	return Fields{ContentType: one("Content-Type"), ContentDigest: one("Content-Digest"), SignatureInput: one("Signature-Input"), Signature: one("Signature")}
}

// Bounds of one call, by which the front end and the Core both hold a request.
const (
	maxPath  = 1 << 10
	maxQuery = 4 << 10
	maxField = 1 << 10 // one header field
)

// check bounds the parts of a call.
func (c Call) check() error {
	over := func(object string) error {
		return &sandbox.Error{Op: "request", Kind: sandbox.TooLarge, Object: object, Detail: "longer than this interface takes"}
	}
	switch {
	case len(c.Path) > maxPath:
		return over("path")
	case len(c.Query) > maxQuery:
		return over("query")
	case len(c.Method) > 16 || len(c.Authority) > 256 || len(c.Peer) > 256:
		return over("method, authority or peer")
	}
	for _, f := range []string{c.Fields.ContentType, c.Fields.ContentDigest, c.Fields.SignatureInput, c.Fields.Signature} {
		if len(f) > maxField {
			return over("header field")
		}
	}
	return nil
}

// source gives the address a rate is kept for: an IPv6 client has a whole /64 at its disposal.
func source(remote string) string {
	from, err := netip.ParseAddrPort(remote)
	if err != nil {
		return ""
	}
	a := from.Addr().Unmap().WithZone("")
	if a.Is6() {
		if p, err := a.Prefix(64); err == nil {
			return p.String()
		}
	}
	return a.String()
}
