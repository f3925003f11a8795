package api

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/url"
	"path"
	"runtime"
	"sync/atomic"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox"
)

// Config (接口配置) says what a Core runs and how, and for New the front end before it. Zero values stand where noted; the
// rest is required.
type Config struct {
	Service     Service
	Compile     Compiler // of the front end that New makes; nil: no SQL is compiled
	Authorities []string // host:port a request may be signed for; empty: the address of the listener given to Run
	Now         func() time.Time
	Sleep       func(context.Context, time.Duration) error // waits; the error of a context that ended first
	Slot        time.Duration                              // answers to questions and claims wait for it, twice it, four times it …; 0: 20 ms
	MaxPush     int64                                      // bytes of sealed frames in one push; 0: 64 GiB
	Grace       time.Duration                              // how long running requests may finish at a stop; 0: 30 s
	Limits      Limits
	Log         *slog.Logger
	Metrics     *Metrics
}

func (c *Config) validate() error {
	bad := func(field string) error {
		return &sandbox.Error{Op: "api: open", Kind: sandbox.Invalid, Object: field, Detail: "must be given"}
	}
	switch {
	case c.Service == nil:
		return bad("service")
	case c.Now == nil:
		return bad("now")
	case c.Sleep == nil:
		return bad("sleep")
	case c.Log == nil:
		return bad("log")
	case c.Metrics == nil:
		return bad("metrics")
	case c.Slot < 0 || c.MaxPush < 0 || c.Grace < 0:
		return &sandbox.Error{Op: "api: open", Kind: sandbox.Invalid, Object: "slot, max push, grace", Detail: "must not be negative"}
	}
	if c.Slot == 0 {
		c.Slot = 20 * time.Millisecond
	}
	if c.MaxPush == 0 {
		c.MaxPush = 64 << 30
	}
	return c.Limits.validate()
}

// core runs calls in this process.
type core struct {
	config    Config
	mux       *http.ServeMux
	table     map[string]access
	keys      *parsed
	rates     *buckets
	running   *tally // by identity; "" is all
	perCaller *tally
	perUnit   *tally
	registrar Registrar
	librarian Librarian  // nil: no catalogue beyond the list
	grader    Grader     // nil: no gradings
	viewer    Viewer     // nil: no views
	gate      Gatekeeper // nil: votes only
	algos     Algorithms // nil: none is run
	scoring   Scoring    // nil: nothing is scored
	large     *tally     // bodies of many megabytes, held in memory
	largeEach *tally     // by party
	sharer    Sharer     // nil: nothing is computed over shares
}

// NewCore gives the Core that runs calls in this process. Authorities must be given.
func NewCore(c Config) (Core, error) {
	if len(c.Authorities) == 0 {
		return nil, &sandbox.Error{Op: "api: open", Kind: sandbox.Invalid, Object: "authorities", Detail: "must be given where no listener is known"}
	}
	k, err := newCore(c)
	if err != nil {
		return nil, err
	}
	return k, nil
}

func newCore(c Config) (*core, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	k := &core{config: c, mux: http.NewServeMux(), table: routes(), keys: newParsed(c.Limits.Identities),
		rates:   newBuckets(c.Limits.IdentityRate, c.Limits.IdentityBurst, c.Limits.Identities),
		running: newTally(c.Limits.InFlight), perCaller: newTally(c.Limits.PerIdentity), perUnit: newTally(c.Limits.PerUnit), large: newTally(largeAtOnce), largeEach: newTally(largeOfAParty)}
	k.registrar, _ = c.Service.(Registrar)
	k.librarian, _ = c.Service.(Librarian)
	k.grader, _ = c.Service.(Grader)
	k.viewer, _ = c.Service.(Viewer)
	k.gate, _ = c.Service.(Gatekeeper)
	k.algos, _ = c.Service.(Algorithms)
	k.scoring, _ = c.Service.(Scoring)
	k.sharer, _ = c.Service.(Sharer)
	HandlerWithOptions(operations{k}, StdHTTPServerOptions{BaseRouter: k.mux, ErrorHandlerFunc: k.badParameter})
	k.mux.HandleFunc(routeHealth, k.health)
	k.table[routeHealth] = anyone().quietly()
	return k, nil
}

// call is what is known of one request while it runs.
type call struct {
	route  string // pattern, "" for none
	caller Caller
	digest [sm.Size]byte // Content-Digest as signed
	body   []byte        // JSON body, equal to digest
	frames io.Reader     // sealed frames
	cut    atomic.Value  // severance: how their connection ended early
	failed error
	began  time.Time
	leave  []func() // bounds to give back
}

type callKey struct{}

func callOn(r *http.Request) *call { return r.Context().Value(callKey{}).(*call) }

// finish gives the bounds of a call back, logs and counts it.
func (k *core) finish(ctx context.Context, c *call, status int) {
	for _, f := range c.leave {
		f()
	}
	log := k.config.Log
	if k.table[c.route].polled && c.failed == nil {
		log = slog.New(slog.DiscardHandler)
	}
	observe(ctx, log, k.config.Metrics, c.route, status, c.caller.Identity.ID, k.config.Now().Sub(c.began), c.failed)
}

// Do guards, runs, logs and counts one call.
func (k *core) Do(ctx context.Context, in Call) (a Answer) {
	c := &call{began: k.config.Now()}
	defer func() {
		if p := recover(); p != nil {
			c.failed = &sandbox.Error{Op: "request", Kind: sandbox.Internal, Object: panicPlace(), Detail: "panicked"}
			a = Refuse(c.failed)
		}
		if a.Stream == nil { // a stream ends its call when it is closed
			k.finish(ctx, c, a.Status)
		}
	}()
	r, err := k.rebuild(in)
	if err == nil {
		r = r.WithContext(context.WithValue(ctx, callKey{}, c))
		err = k.admit(r, in, c)
	}
	if err != nil {
		c.failed = err
		return Refuse(err)
	}
	w := &answerWriter{header: http.Header{}}
	if k.table[c.route].export {
		return k.export(r, c, w)
	}
	k.mux.ServeHTTP(w, r)
	return w.answer()
}

// rebuild makes the request that a call describes, under the bounds of the interface.
func (k *core) rebuild(in Call) (*http.Request, error) {
	if err := in.check(); err != nil {
		return nil, err
	}
	u, err := url.ParseRequestURI(in.Path)
	if err != nil || u.Host != "" || u.Scheme != "" || u.RawQuery != "" || u.EscapedPath() != in.Path || path.Clean(u.Path) != u.Path {
		return nil, noRoute()
	}
	u.RawQuery = in.Query
	r := &http.Request{Method: in.Method, URL: u, Host: in.Authority, Proto: "HTTP/1.1", ProtoMajor: 1, ProtoMinor: 1, Header: http.Header{}, Body: http.NoBody}
	for name, v := range map[string]string{"Content-Type": in.Fields.ContentType, "Content-Digest": in.Fields.ContentDigest,
		"Signature-Input": in.Fields.SignatureInput, "Signature": in.Fields.Signature} {
		if v != "" {
			r.Header.Set(name, v)
		}
	}
	return r, nil
}

// export runs an operation that streams its result. A failure before the first byte is an answer of its own.
func (k *core) export(r *http.Request, c *call, w *answerWriter) Answer {
	ctx, cancel := context.WithCancel(r.Context())
	pr, pw := io.Pipe()
	w.to = pw
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() {
			if p := recover(); p != nil { // http.ErrAbortHandler, or a fault: the stream is cut
				pw.CloseWithError(errCut)
				return
			}
			pw.Close()
		}()
		k.mux.ServeHTTP(w, r.WithContext(ctx))
	}()
	out := &outgoing{Reader: bufio.NewReader(pr), close: func() {
		cancel()
		pr.CloseWithError(errCut)
		<-done
		k.finish(r.Context(), c, http.StatusOK)
	}}
	if _, err := out.Reader.Peek(1); err != nil { // nothing was streamed: the operation is over
		<-done
		cancel()
		if err == io.EOF {
			return w.answer()
		}
		if c.failed == nil {
			c.failed = &sandbox.Error{Op: "request", Kind: sandbox.Internal, Object: c.route, Detail: "panicked"}
		}
		return Refuse(c.failed)
	}
	media := w.header.Get("Content-Type") // set before anything was streamed
	if media == "" {
		media = typeBundle
	}
	return Answer{Status: http.StatusOK, ContentType: media, Stream: out}
}

var errCut = errors.New("the stream was cut")

// outgoing is a stream that ends its operation when it is closed.
type outgoing struct {
	*bufio.Reader
	close func()
}

func (o *outgoing) Close() error {
	if o.close != nil {
		o.close()
		o.close = nil
	}
	return nil
}

// answerWriter keeps what an operation writes.
type answerWriter struct {
	header http.Header
	status int
	body   bytes.Buffer
	to     io.Writer // content of a streaming operation; what it writes after a failure goes to body
}

func (w *answerWriter) Header() http.Header { return w.header }

func (w *answerWriter) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
}

func (w *answerWriter) Write(b []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	if w.to != nil && w.status == http.StatusOK {
		return w.to.Write(b)
	}
	return w.body.Write(b)
}

func (w *answerWriter) answer() Answer {
	w.WriteHeader(http.StatusOK)
	return Answer{Status: w.status, ContentType: w.header.Get("Content-Type"), Body: w.body.Bytes()}
}

// observe writes the log line and the metric of one request: method, route, status, identity, duration; no values.
func observe(ctx context.Context, log *slog.Logger, m *Metrics, route string, status int, who sandbox.IdentityID, d time.Duration, failed error) {
	if route == "" {
		route = "unknown"
	}
	m.request(route, status, d)
	level := slog.LevelInfo
	if failed != nil && status >= 500 && retryAfter(failed) == 0 {
		level = slog.LevelError
	}
	if !log.Enabled(ctx, level) {
		return
	}
	attrs := []slog.Attr{slog.String("route", route), slog.Int("status", status), slog.String("identity", string(who)), slog.Duration("duration", d)}
	if failed != nil {
		attrs = append(attrs, slog.String("kind", string(sandbox.KindOf(failed))))
		var e *sandbox.Error
		if level == slog.LevelError && errors.As(failed, &e) {
			attrs = append(attrs, slog.String("op", e.Op), slog.String("object", e.Object), slog.String("detail", e.Detail))
		}
	}
	log.LogAttrs(ctx, level, "request", attrs...)
}

// panicPlace names the function that panicked. The panic's own text and the arguments on the stack may hold values.
func panicPlace() string {
	pcs := make([]uintptr, 32)
	frames := runtime.CallersFrames(pcs[:runtime.Callers(3, pcs)])
	for {
		f, more := frames.Next()
		if f.Function != "" && !bytes.HasPrefix([]byte(f.Function), []byte("runtime.")) {
			return fmt.Sprintf("%s:%d", f.Function, f.Line)
		}
		if !more {
			return "unknown"
		}
	}
}

// write sends a result, or the problem of err.
func (k *core) write(w http.ResponseWriter, r *http.Request, status int, v any, err error) {
	if err != nil {
		k.fail(w, r, err)
		return
	}
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return
	}
	b, err := json.Marshal(v)
	if err != nil { // its text may quote the value
		k.fail(w, r, &sandbox.Error{Op: "request: encode", Kind: sandbox.Internal, Detail: "the result has no JSON form"})
		return
	}
	w.Header().Set("Content-Type", typeJSON)
	w.WriteHeader(status)
	_, _ = w.Write(b) // kept in memory: cannot fail
}

func (k *core) fail(w http.ResponseWriter, r *http.Request, err error) {
	c := callOn(r)
	if c.gone(r.Context(), err) {
		err = &severed{&sandbox.Error{Op: "request", Kind: sandbox.Unavailable, Object: "connection", Detail: "the caller went away", Hint: "send it again", Err: err}}
	}
	c.failed = err
	p := problem(err)
	w.Header().Set("Content-Type", typeProblem)
	w.WriteHeader(statusOf(err, p.Kind))
	_, _ = w.Write(encode(p))
}

// encode writes a problem document.
func encode(p Problem) []byte {
	b, _ := json.Marshal(p) // strings only: cannot fail
	return b
}

// badParameter answers for a path or query parameter that does not parse; its text would quote the value.
func (k *core) badParameter(w http.ResponseWriter, r *http.Request, err error) {
	name := "request"
	var format *InvalidParamFormatError
	var missing *RequiredParamError
	switch {
	case errors.As(err, &format):
		name = format.ParamName
	case errors.As(err, &missing):
		name = missing.ParamName
	}
	k.fail(w, r, &sandbox.Error{Op: "request: decode", Kind: sandbox.Invalid, Object: name, Detail: "the parameter is missing or has another form"})
}

// health says whether the domain answers. 200 or 503.
func (k *core) health(w http.ResponseWriter, r *http.Request) {
	if _, err := k.config.Service.Domain(r.Context()); err != nil {
		k.fail(w, r, &sandbox.Error{Op: "health", Kind: sandbox.Unavailable, Detail: "the domain does not answer"})
		return
	}
	k.write(w, r, http.StatusOK, map[string]string{"status": "ok"}, nil)
}
