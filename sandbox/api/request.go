package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"os"
	"path"
	"strings"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Content types of request bodies.
const (
	typeJSON   = "application/json"
	typeFrames = "application/vnd.opdomain.frames"
)

// call is what is known of one request while it runs.
type call struct {
	route  string // pattern, "" for none
	caller Caller
	digest [sm.Size]byte // Content-Digest as signed
	body   []byte        // JSON body, equal to digest
	failed error
}

type callKey struct{}

func callOf(r *http.Request) *call { return r.Context().Value(callKey{}).(*call) }

// admit proves who signed the request and that the role table lets them call the route, reads the body and spends the
// nonce, in that order: a nonce is spent only by requests that would otherwise run.
func (s *Server) admit(w http.ResponseWriter, r *http.Request, c *call) error {
	a, ok := s.table[c.route]
	if !ok || path.Clean(r.URL.Path) != r.URL.Path {
		return noRoute()
	}
	if a.anyone {
		return nil
	}
	q, err := s.prove(r, c)
	if err != nil {
		return err
	}
	if !a.permits(c.caller.Party, c.caller.Identity) {
		return denied(c, a)
	}
	if a.stream {
		if err := checkType(r, typeFrames); err != nil {
			return err
		}
		s.openStream(w, r)
	} else if err := s.readBody(w, r, c); err != nil {
		return err
	}
	return s.config.Service.Seen(r.Context(), c.caller.Identity.ID, q.Nonce, q.Expires)
}

// prove checks the signature against the enrolled key of the identity it names. An unknown identity is checked against a
// key that cannot be its own, so that neither the answer nor the time it takes tells who is enrolled.
func (s *Server) prove(r *http.Request, c *call) (attest.Request, error) {
	unsigned := func(rule string) (attest.Request, error) {
		return attest.Request{}, &sandbox.Error{Op: "request", Kind: sandbox.Unsigned, Object: "signature", Detail: rule,
			Hint: "sign the request anew with your identity's key"}
	}
	q, sig, err := signedPart(r)
	if err != nil {
		return attest.Request{}, err
	}
	if !s.mine(q.Authority) {
		return unsigned("the request was sent to an authority this domain does not answer for")
	}
	who, party, err := s.config.Service.Identity(r.Context(), q.Key)
	known := err == nil
	if errors.Is(err, sandbox.NotFound) {
		var info DomainInfo
		info, err = s.config.Service.Domain(r.Context())
		who.SignKey = info.SignKey
	}
	if err != nil {
		return attest.Request{}, err
	}
	key, err := sm.ParseVerifyKey(who.SignKey)
	if err != nil {
		return attest.Request{}, &sandbox.Error{Op: "request", Kind: sandbox.Internal, Object: string(who.ID), Detail: "the enrolled key does not parse"}
	}
	base, err := q.Verify(key, sig, s.config.Now())
	if err != nil {
		return attest.Request{}, err
	}
	if !known {
		return unsigned("the signature does not cover this request")
	}
	d := sm.Sum(base)
	c.caller = Caller{Identity: who, Party: party, Request: d[:]}
	c.digest = q.Body
	return q, nil
}

// mine says whether authority is one this server answers for.
func (s *Server) mine(authority string) bool {
	for _, a := range s.config.Authorities {
		if strings.EqualFold(a, authority) {
			return true
		}
	}
	return false
}

func denied(c *call, a access) error {
	who := string(c.caller.Party.Role) + "/" + string(c.caller.Identity.Duty)
	return &denial{
		cause: &sandbox.Error{Op: "request", Kind: sandbox.Denied, Object: c.route, Detail: who + " may not call this; it is for " + a.String(),
			Hint: "sign with an identity that has this role and duty"},
		reason: sandbox.Reason{Code: "role.denied", Rule: "this operation is for " + a.String(),
			Article: "龙华区实施方案 六(二)2", Change: "sign with an identity that has this role and duty"},
	}
}

func checkType(r *http.Request, want string) error {
	got, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	charset := params["charset"]
	if err != nil || got != want || charset != "" && !strings.EqualFold(charset, "utf-8") {
		return malformed("content-type", "this operation takes "+want)
	}
	return nil
}

// readBody reads a JSON body whole and compares it with the digest the caller signed.
func (s *Server) readBody(w http.ResponseWriter, r *http.Request, c *call) error {
	b, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxBody))
	var over *http.MaxBytesError
	switch {
	case errors.As(err, &over):
		return &sandbox.Error{Op: "request", Kind: sandbox.TooLarge, Object: "body", Detail: "at most 1 MiB"}
	case err != nil:
		return malformed("body", "ended early")
	}
	if sm.Sum(b) != c.digest {
		return &sandbox.Error{Op: "request: verify", Kind: sandbox.Unsigned, Object: "body", Detail: "the body is not the one that was signed"}
	}
	reads := r.Method == http.MethodGet || r.Method == http.MethodHead
	if reads && len(b) > 0 {
		return malformed("body", "this operation takes none")
	}
	if !reads {
		if err := checkType(r, typeJSON); err != nil {
			return err
		}
	}
	c.body, r.Body = b, http.NoBody
	return nil
}

// openStream lets a body of sealed frames run as long as bytes keep coming: the connection's whole-request deadlines give
// way to one on silence.
func (s *Server) openStream(w http.ResponseWriter, r *http.Request) {
	rc := http.NewResponseController(w)
	// a connection that knows no deadlines has none to lift
	_ = rc.SetReadDeadline(time.Time{})
	_ = rc.SetWriteDeadline(time.Time{})
	r.Body = &stream{body: http.MaxBytesReader(w, r.Body, s.config.MaxPush), max: s.config.MaxPush,
		expire: func() { _ = rc.SetReadDeadline(time.Unix(1, 0)) }}
}

// stream reads sealed frames and gives up on silence.
type stream struct {
	body   io.ReadCloser
	max    int64
	expire func()
}

func (f *stream) Read(b []byte) (int, error) {
	silence := time.AfterFunc(bodyTimeout, f.expire)
	n, err := f.body.Read(b)
	silence.Stop()
	var over *http.MaxBytesError
	switch {
	case err == nil || err == io.EOF:
		return n, err
	case errors.As(err, &over):
		return n, &sandbox.Error{Op: "push: read", Kind: sandbox.TooLarge, Object: "frames", Detail: "more sealed bytes than this domain takes in one push"}
	case errors.Is(err, os.ErrDeadlineExceeded):
		return n, &sandbox.Error{Op: "push: read", Kind: sandbox.Unavailable, Object: "frames", Detail: "no bytes for a minute", Hint: "push again"}
	}
	return n, &sandbox.Error{Op: "push: read", Kind: sandbox.Unavailable, Object: "frames", Detail: "the connection ended before the last frame", Hint: "push again", Err: err}
}

func (f *stream) Close() error { return f.body.Close() }

// Signer (请求签名) signs requests for one identity. Its Sign is a RequestEditorFn of the generated client.
type Signer struct {
	Identity sandbox.IdentityID
	Key      *sm.SigningKey
	Rand     io.Reader
	Now      func() time.Time
}

// lifetime is how long a signed request may travel.
const lifetime = time.Minute

type openingKey struct{}

// WithOpening makes Sign cover the bytes of a push's opening instead of the body: the frames themselves are sealed and
// bound to it.
func WithOpening(ctx context.Context, opening []byte) context.Context {
	return context.WithValue(ctx, openingKey{}, opening)
}

// Sign adds the signature headers. The body must be one http.NewRequest can repeat, unless ctx carries an opening.
func (s Signer) Sign(ctx context.Context, r *http.Request) error {
	body, ok := ctx.Value(openingKey{}).([]byte)
	if !ok && r.Body != nil && r.Body != http.NoBody {
		if r.GetBody == nil {
			return &sandbox.Error{Op: "request: sign", Kind: sandbox.Invalid, Object: "body", Detail: "a body that can be read once cannot be signed",
				Hint: "sign a push with WithOpening"}
		}
		b, err := r.GetBody()
		if err != nil {
			return err
		}
		if body, err = io.ReadAll(b); err != nil {
			return err
		}
		r.Body = io.NopCloser(bytes.NewReader(body))
	}
	return s.seal(r, sm.Sum(body))
}
