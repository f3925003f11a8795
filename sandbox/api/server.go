package api

import (
	"bytes"
	"context"
	"crypto/tls"
	_ "embed"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/sandbox"
)

//go:embed openapi.yaml
var document []byte

// Bounds of one request and connection.
const (
	MaxBody       = 1 << 20 // bytes of the largest JSON body; most routes take less
	maxHeader     = 16 << 10
	headerTimeout = 10 * time.Second
	bodyTimeout   = time.Minute // a JSON body in whole; the longest silence inside sealed frames
	writeTimeout  = 10 * time.Minute
	idleTimeout   = 2 * time.Minute
)

// FrontConfig (前端配置) says what a front end whose Core is elsewhere serves and how. Zero values stand where noted; the rest is required.
type FrontConfig struct {
	Core    Core
	Compile Compiler // nil: no SQL is compiled here
	Now     func() time.Time
	MaxPush int64         // bytes of sealed frames in one push; 0: 64 GiB
	Grace   time.Duration // how long running requests may finish at a stop; 0: 30 s
	Limits  Limits        // AddressRate, AddressBurst, Addresses, InFlight and Connections count here
	Log     *slog.Logger
	Metrics *Metrics // of this process; what it answers itself is counted here
}

// Server (接口服务) is the front end of one domain: HTTP, sizes, address rates and the routes. What it lets pass it hands to
// its Core. It holds no keys and sees no enrolled identity.
type Server struct {
	config    FrontConfig
	local     *core // the Core of this process, nil for one elsewhere
	mux       *http.ServeMux
	table     map[string]access
	addresses *buckets
	running   *tally
}

// New gives a server with its Core in this process, that Run starts.
func New(c Config) (*Server, error) {
	k, err := newCore(c)
	if err != nil {
		return nil, err
	}
	s, err := NewFront(FrontConfig{Core: k, Compile: c.Compile, Now: c.Now, MaxPush: c.MaxPush, Grace: c.Grace, Limits: c.Limits, Log: c.Log, Metrics: c.Metrics})
	if err == nil {
		s.local = k
	}
	return s, err
}

// NewFront gives a server whose Core is elsewhere, that Run starts.
func NewFront(c FrontConfig) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &Server{config: c, mux: http.NewServeMux(), table: routes(), running: newTally(c.Limits.InFlight),
		addresses: newBuckets(c.Limits.AddressRate, c.Limits.AddressBurst, c.Limits.Addresses)}
	for _, own := range []string{routeHealth, routeDocument, routeMetrics} {
		s.table[own] = anyone()
	}
	for pattern := range s.table {
		s.mux.Handle(pattern, http.NotFoundHandler()) // looked up, never run
	}
	return s, nil
}

func (c *FrontConfig) validate() error {
	bad := func(field string) error {
		return &sandbox.Error{Op: "api: open", Kind: sandbox.Invalid, Object: field, Detail: "must be given"}
	}
	switch {
	case c.Core == nil:
		return bad("core")
	case c.Now == nil:
		return bad("now")
	case c.Log == nil:
		return bad("log")
	case c.Metrics == nil:
		return bad("metrics")
	case c.MaxPush < 0 || c.Grace < 0:
		return &sandbox.Error{Op: "api: open", Kind: sandbox.Invalid, Object: "max push, grace", Detail: "must not be negative"}
	}
	if c.MaxPush == 0 {
		c.MaxPush = 64 << 30
	}
	if c.Grace == 0 {
		c.Grace = 30 * time.Second
	}
	return c.Limits.validate()
}

// Handler gives what Run serves, for a listener of the caller's own. The caller's http.Server then has the header, read
// and idle timeouts, and Config.Authorities must be given.
func (s *Server) Handler() http.Handler { return s }

// Run serves on the listeners until ctx ends, then takes no new requests and lets running ones finish within Grace. It owns
// them. Bounds hold over all of them together.
//
// A listener of crypto/tls serves TLS 1.3; older versions are refused. HTTP/2 is off, deliberately: one connection carries
// one request at a time, so the bounds on connections, silence and requests are the same thing seen three ways. The
// listener's NextProtos offer at most "http/1.1". One of package channel says who is at the other end of a connection; a
// request that another identity signed is refused.
func (s *Server) Run(ctx context.Context, listeners ...net.Listener) error {
	if len(listeners) == 0 {
		return &sandbox.Error{Op: "api: serve", Kind: sandbox.Invalid, Object: "listeners", Detail: "at least one"}
	}
	if s.local != nil && len(s.local.config.Authorities) == 0 {
		for _, l := range listeners {
			s.local.config.Authorities = append(s.local.config.Authorities, l.Addr().String())
		}
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	places := make(chan struct{}, s.config.Limits.Connections)
	one := new(http.Protocols)
	one.SetHTTP1(true)
	h := &http.Server{
		Handler: s, MaxHeaderBytes: maxHeader, ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, Protocols: one,
		ConnState: func(_ net.Conn, state http.ConnState) { // once for every connection it accepted
			if state == http.StateClosed || state == http.StateHijacked {
				<-places
			}
		},
		BaseContext: func(net.Listener) context.Context { return base },
		ConnContext: channel.WithPeer,
		ErrorLog:    slog.NewLogLogger(quiet{s.config.Log.Handler()}, slog.LevelWarn),
	}
	served := make(chan error, len(listeners))
	for _, l := range listeners {
		go func() {
			err := h.Serve(bound(l, places))
			served <- &sandbox.Error{Op: "api: serve", Kind: sandbox.Unavailable, Object: l.Addr().String(), Err: err}
		}()
	}
	select {
	case err := <-served:
		cancel()
		return errors.Join(err, h.Close())
	case <-ctx.Done():
	}
	stop, done := context.WithTimeout(base, s.config.Grace)
	defer done()
	err := h.Shutdown(stop)
	if err != nil { // the grace is over: end what still runs
		cancel()
		err = &sandbox.Error{Op: "api: stop", Kind: sandbox.Unavailable, Detail: "requests were still running after the grace", Err: errors.Join(err, h.Close())}
	}
	for range listeners {
		<-served
	}
	return err
}

// quiet drops net/http's own texts, which quote what a client sent, and keeps that there was one.
type quiet struct{ slog.Handler }

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	return q.Handler.Handle(ctx, slog.NewRecord(r.Time, r.Level, "connection failed", r.PC))
}

// ServeHTTP bounds one request and hands it to the Core. What it refuses or answers itself it also logs and counts.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := s.config.Now()
	_, route := s.mux.Handler(r)
	if _, ok := s.table[route]; !ok || path.Clean(r.URL.Path) != r.URL.Path {
		route = ""
	}
	secured(w, r)
	own := func(a Answer, err error) {
		s.send(w, a)
		observe(r.Context(), s.config.Log, s.config.Metrics, route, a.Status, "", s.config.Now().Sub(began), err)
	}
	if err := s.admit(r, began); err != nil {
		own(Refuse(err), err)
		return
	}
	if !s.running.enter("") {
		err := throttled(http.StatusServiceUnavailable, "requests", "as many requests are running as this domain takes", 0)
		own(Refuse(err), err)
		return
	}
	defer s.running.leave("")
	switch {
	case route == "", route == routeMetrics && !onMachine(r):
		route = ""
		own(Refuse(noRoute()), noRoute())
		return
	case route == routeMetrics:
		s.config.Metrics.handler().ServeHTTP(w, r)
		return
	case route == routeDocument:
		own(Answer{Status: http.StatusOK, ContentType: "application/yaml", Body: document}, nil)
		return
	}
	c := callOf(r, route)
	name, certified, err := channel.Peer(r.Context())
	if err != nil { // its certificates were revoked, or ended, since it connected
		w.Header().Set("Connection", "close")
		own(Refuse(err), err)
		return
	}
	if certified {
		c.Peer = name.Identity
	}
	body := s.open(w, r, s.table[route])
	c.Body = body
	var text bytes.Buffer
	if route == routeCompile { // the Core reads it to prove who signed it
		c.Body = io.TeeReader(body, &text)
	}
	a := s.config.Core.Do(r.Context(), c)
	if route == routeCompile {
		a, err = s.compile(text.Bytes(), a)
		if err != nil {
			own(a, err)
			return
		}
	}
	if body.left() {
		w.Header().Set("Connection", "close") // the rest of the body is not waited for
	}
	s.send(w, a)
}

// admit holds a request to what is known before any of its content: TLS version, sizes, and the rate of its address.
func (s *Server) admit(r *http.Request, now time.Time) error {
	if r.TLS != nil && r.TLS.Version < tls.VersionTLS13 {
		return &sandbox.Error{Op: "request", Kind: sandbox.Denied, Object: "tls", Detail: "this domain speaks TLS 1.3"}
	}
	if wait, ok := s.addresses.take(source(r.RemoteAddr), 1, now); !ok {
		return throttled(http.StatusTooManyRequests, "address", "more requests than one address may send", wait)
	}
	return callOf(r, "").check()
}

// callOf takes down a request without its body.
func callOf(r *http.Request, route string) Call {
	return Call{Route: route, Method: r.Method, Authority: r.Host, Path: r.URL.EscapedPath(), Query: r.URL.RawQuery, Fields: fields(r.Header)}
}

// send writes an answer. A stream that breaks off breaks the connection.
func (s *Server) send(w http.ResponseWriter, a Answer) {
	h := w.Header()
	if a.ContentType != "" {
		h.Set("Content-Type", a.ContentType)
	}
	if a.RetryAfter > 0 {
		h.Set("Retry-After", strconv.FormatInt(int64((a.RetryAfter+time.Second-1)/time.Second), 10))
	}
	if a.Stream == nil {
		if a.Status != http.StatusNoContent {
			h.Set("Content-Length", strconv.Itoa(len(a.Body)))
		}
		w.WriteHeader(a.Status)
		_, _ = w.Write(a.Body) // the caller went away: nothing to tell it
		return
	}
	defer a.Stream.Close()
	w.WriteHeader(a.Status)
	if _, err := io.Copy(w, a.Stream); err != nil {
		panic(http.ErrAbortHandler)
	}
}

// secured sets what every response carries. Strict-Transport-Security has a meaning over TLS only.
func secured(w http.ResponseWriter, r *http.Request) {
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Referrer-Policy", "no-referrer")
	if r.TLS != nil {
		h.Set("Strict-Transport-Security", "max-age=31536000")
	}
}

// onMachine says whether a request comes from the machine itself and no proxy speaks for someone else.
func onMachine(r *http.Request) bool {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	proxied := r.Header.Get("Forwarded") != "" || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Via") != ""
	return err == nil && from.Addr().Unmap().IsLoopback() && !proxied
}

func noRoute() error {
	return &sandbox.Error{Op: "request", Kind: sandbox.NotFound, Object: "route", Detail: "no such operation", Hint: "operations are listed at /openapi.yaml"}
}

// open bounds a request's body by its route. Sealed frames run as long as bytes keep coming: the connection's
// whole-request deadlines give way to one on silence, once the Core wants them.
func (s *Server) open(w http.ResponseWriter, r *http.Request, a access) *incoming {
	rc := http.NewResponseController(w)
	in := &incoming{max: a.bodyBound()}
	if a.stream {
		in.max = s.config.MaxPush
	}
	if a.stream || a.message {
		in.lift = func() { // a connection that knows no deadlines has none to lift
			_ = rc.SetReadDeadline(time.Time{})
			_ = rc.SetWriteDeadline(time.Time{})
		}
		in.expire = func() { _ = rc.SetReadDeadline(time.Unix(1, 0)) }
	}
	in.body = http.MaxBytesReader(w, r.Body, in.max)
	return in
}

// incoming is a body on its way to the Core. Whoever reads frames may still wait for them when the call is answered.
type incoming struct {
	body   io.ReadCloser
	max    int64
	lift   func() // nil for a JSON body
	expire func()
	lifted atomic.Bool
	ended  atomic.Bool
}

func (f *incoming) Read(b []byte) (int, error) {
	if f.lift != nil && f.lifted.CompareAndSwap(false, true) {
		f.lift()
	}
	if f.expire != nil {
		defer time.AfterFunc(bodyTimeout, f.expire).Stop()
	}
	n, err := f.body.Read(b)
	fail := func(kind sandbox.Kind, detail, hint string) (int, error) {
		return n, &sandbox.Error{Op: "request: read", Kind: kind, Object: "body", Detail: detail, Hint: hint}
	}
	var over *http.MaxBytesError
	switch {
	case err == nil:
		return n, nil
	case err == io.EOF:
		f.ended.Store(true)
		return n, err
	case errors.As(err, &over):
		return fail(sandbox.TooLarge, atMost(f.max), "")
	case f.lift == nil:
		return fail(sandbox.Invalid, "ended early", "")
	case errors.Is(err, os.ErrDeadlineExceeded):
		return fail(sandbox.Unavailable, "no bytes for a minute", "push again")
	}
	return fail(sandbox.Unavailable, "the connection ended before the last frame", "push again")
}

// left ends a body of frames that was not read to its end and says whether there was one.
func (f *incoming) left() bool {
	if !f.lifted.Load() || f.ended.Load() {
		return false
	}
	f.expire()
	return true
}

// atMost says a bound of a body in the unit it is given in.
func atMost(n int64) string {
	switch {
	case n >= 1<<20 && n%(1<<20) == 0:
		return "at most " + strconv.FormatInt(n>>20, 10) + " MiB"
	case n >= 1<<10 && n%(1<<10) == 0:
		return "at most " + strconv.FormatInt(n>>10, 10) + " KiB"
	}
	return "at most " + strconv.FormatInt(n, 10) + " bytes"
}
