package api

import (
	"bytes"
	"context"
	"errors"
	"io"
	"mime"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/opdomain/opdomain/attest"
	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Content types.
const (
	typeJSON    = "application/json"
	typeFrames  = "application/vnd.opdomain.frames"
	typeBundle  = "application/vnd.opdomain.bundle"
	typeProof   = "application/vnd.opdomain.proof"
	typeProblem = "application/problem+json"
)

// admit proves who signed a call and that the role table lets them, holds them to their rates, reads the body and spends
// the nonce, in that order: a nonce is spent only by requests that would otherwise run. After the nonce the identity is
// read once more, so that a key revoked at any moment before is refused.
func (k *core) admit(r *http.Request, in Call, c *call) error {
	if _, c.route = k.mux.Handler(r); in.Route != c.route {
		c.route = ""
	}
	a, ok := k.table[c.route]
	if !ok {
		c.route = ""
		return noRoute()
	}
	if err := k.enter(k.running, c, "", http.StatusServiceUnavailable, "requests", "as many requests are running as this domain takes"); err != nil {
		return err
	}
	if a.anyone {
		return nil
	}
	q, err := k.prove(r, c)
	if err != nil {
		return err
	}
	if in.Peer != "" && in.Peer != c.caller.Identity.ID {
		return &sandbox.Error{Op: "request", Kind: sandbox.Unsigned, Object: "connection", Detail: "the connection's certificates name another identity than signed the request",
			Hint: "connect with the certificates of the identity that signs"}
	}
	if err := k.pace(a, c); err != nil {
		return err
	}
	if !a.permits(c.caller.Party, c.caller.Identity) {
		return denied(c, a)
	}
	if a.stream {
		if err := checkType(r, typeFrames); err != nil {
			return err
		}
		if err := k.enter(k.perUnit, c, string(c.caller.Party.ID), http.StatusTooManyRequests, "push", "as many pushes of this unit are running as it may have"); err != nil {
			return err
		}
		c.frames = c.watch(limited(in.Body, k.config.MaxPush))
	} else if a.message {
		if err := checkType(r, typeMessage); err != nil {
			return err
		}
		if err := k.enter(k.perUnit, c, string(c.caller.Party.ID), http.StatusTooManyRequests, "messages", "as many messages and pushes of this unit are on their way as it may have"); err != nil {
			return err
		}
		c.frames = c.watch(limited(in.Body, a.bodyBound()))
	} else {
		if a.bodyBound() > imageForm {
			if err := k.enter(k.largeEach, c, string(c.caller.Party.ID), http.StatusTooManyRequests, "party", "as many large requests of this party are running as it may have"); err != nil {
				return err
			}
			if err := k.enter(k.large, c, "", http.StatusServiceUnavailable, "requests", "as many large requests are running as this domain takes"); err != nil {
				return err
			}
		}
		if err := readBody(r, in.Body, a.bodyBound(), c); err != nil {
			return err
		}
	}
	if err := k.config.Service.Seen(r.Context(), c.caller.Identity.ID, q.Nonce, q.Expires); err != nil {
		return err
	}
	return k.still(r, a, c)
}

// pace spends the tokens of the call's identity and enters its bound of running calls.
func (k *core) pace(a access, c *call) error {
	who := string(c.caller.Identity.ID)
	if wait, ok := k.rates.take(who, a.tokens(c.route), k.config.Now()); !ok {
		return throttled(http.StatusTooManyRequests, "identity", "more requests than one identity may send", wait)
	}
	return k.enter(k.perCaller, c, who, http.StatusTooManyRequests, "identity", "as many requests of this identity are running as it may have")
}

func (k *core) enter(t *tally, c *call, key string, status int, object, rule string) error {
	if !t.enter(key) {
		return throttled(status, object, rule, 0)
	}
	c.leave = append(c.leave, func() { t.leave(key) })
	return nil
}

// unproven is the one answer to a signature that does not hold, whoever it claims to be from: an identity that is unknown,
// one that was revoked, and a wrong key look alike.
func unproven() error {
	return &sandbox.Error{Op: "request: verify", Kind: sandbox.Unsigned, Detail: "the signature does not verify",
		Hint: "sign the request with the key of an enrolled identity"}
}

// outside says whether an identity cannot sign: never enrolled, or revoked.
func outside(err error) bool {
	return errors.Is(err, sandbox.NotFound) || errors.Is(err, sandbox.Expired)
}

// prove checks the signature against the enrolled key of the identity it names. One that is unknown or revoked is checked
// against a key that cannot be its own, so that neither the answer nor the time it takes tells who is enrolled.
func (k *core) prove(r *http.Request, c *call) (attest.Request, error) {
	q, sig, err := signedPart(r)
	if err != nil {
		return attest.Request{}, err
	}
	if !k.mine(q.Authority) {
		return attest.Request{}, &sandbox.Error{Op: "request", Kind: sandbox.Unsigned, Object: "signature",
			Detail: "the request was sent to an authority this domain does not answer for", Hint: "sign the request anew with your identity's key"}
	}
	who, party, err := k.config.Service.Identity(r.Context(), q.Key)
	known := err == nil
	if outside(err) {
		var info DomainInfo
		info, err = k.config.Service.Domain(r.Context())
		who = sandbox.Identity{SignKey: info.SignKey}
	}
	if err != nil {
		return attest.Request{}, err
	}
	key, err := k.keys.parse(who.SignKey)
	if err != nil {
		return attest.Request{}, &sandbox.Error{Op: "request", Kind: sandbox.Internal, Object: string(who.ID), Detail: "the enrolled key does not parse"}
	}
	base, err := q.Verify(key, sig, k.config.Now())
	if err != nil {
		return attest.Request{}, err
	}
	if !known {
		return attest.Request{}, unproven()
	}
	d := sm.Sum(base)
	c.caller = Caller{Identity: who, Party: party, Request: d[:]}
	c.digest = q.Body
	return q, nil
}

// still reads the caller's identity again: the key that signed is the one enrolled, and its duty is the one that may.
func (k *core) still(r *http.Request, a access, c *call) error {
	who, party, err := k.config.Service.Identity(r.Context(), c.caller.Identity.ID)
	switch {
	case outside(err), err == nil && !bytes.Equal(who.SignKey, c.caller.Identity.SignKey):
		return unproven()
	case err != nil:
		return err
	}
	c.caller.Identity, c.caller.Party = who, party
	if !a.permits(party, who) {
		return denied(c, a)
	}
	return nil
}

// parsed keeps verifying keys by their bytes: a renewed key has other bytes, so none is ever out of date.
type parsed struct {
	mu sync.Mutex
	of recent[*sm.VerifyKey]
}

func newParsed(max int) *parsed { return &parsed{of: newRecent[*sm.VerifyKey](max)} }

func (p *parsed) parse(b []byte) (*sm.VerifyKey, error) {
	p.mu.Lock()
	key, ok := p.of.get(string(b))
	p.mu.Unlock()
	if ok {
		return key, nil
	}
	key, err := sm.ParseVerifyKey(b)
	if err != nil {
		return nil, err
	}
	p.mu.Lock()
	p.of.put(string(b), key)
	p.mu.Unlock()
	return key, nil
}

// mine says whether authority is one this domain answers for.
func (k *core) mine(authority string) bool {
	for _, a := range k.config.Authorities {
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
func readBody(r *http.Request, body io.Reader, max int64, c *call) error {
	b, err := io.ReadAll(limited(body, max))
	var own *sandbox.Error
	switch {
	case errors.As(err, &own):
		return own
	case err != nil:
		return malformed("body", "ended early")
	}
	if sm.Sum(b) != c.digest {
		return &sandbox.Error{Op: "request: verify", Kind: sandbox.Unsigned, Object: "body", Detail: "the body is not the one that was signed"}
	}
	bare := r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodDelete
	if bare && len(b) > 0 {
		return malformed("body", "this operation takes none")
	}
	if !bare {
		if err := checkType(r, typeJSON); err != nil {
			return err
		}
	}
	c.body = b
	return nil
}

// limited gives at most max bytes of a body, then TooLarge.
func limited(body io.Reader, max int64) io.Reader {
	if body == nil {
		body = http.NoBody
	}
	return &within{body: body, left: max, max: max}
}

type within struct {
	body      io.Reader
	left, max int64
}

func (w *within) Read(b []byte) (int, error) {
	if int64(len(b)) > w.left+1 {
		b = b[:w.left+1]
	}
	n, err := w.body.Read(b)
	if w.left -= int64(n); w.left < 0 {
		w.left = 0
		return 0, &sandbox.Error{Op: "request: read", Kind: sandbox.TooLarge, Object: "body", Detail: atMost(w.max)}
	}
	return n, err
}

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
