package api

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"runtime"
	"strconv"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

//go:embed openapi.yaml
var document []byte

// Bounds of one request and connection.
const (
	MaxBody       = 1 << 20 // bytes of a JSON body
	maxHeader     = 16 << 10
	headerTimeout = 10 * time.Second
	bodyTimeout   = time.Minute // a JSON body in whole; the longest silence inside sealed frames
	writeTimeout  = 10 * time.Minute
	idleTimeout   = 2 * time.Minute
)

// Config (接口配置) says what a Server serves and how. Zero values stand where noted; the rest is required.
type Config struct {
	Service     Service
	Authorities []string // host:port a request may be signed for; empty: the listener's own address
	Now         func() time.Time
	Sleep       func(context.Context, time.Duration) error // waits; the error of a context that ended first
	Slot        time.Duration                              // answers to questions and claims wait for a multiple of it; 0: 20 ms
	MaxPush     int64                                      // bytes of sealed frames in one push; 0: 64 GiB
	Grace       time.Duration                              // how long running requests may finish at a stop; 0: 30 s
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
	if c.Grace == 0 {
		c.Grace = 30 * time.Second
	}
	return nil
}

// Server (接口服务) serves one domain.
type Server struct {
	config Config
	mux    *http.ServeMux
	table  map[string]access
}

// New gives a server that Run starts.
func New(c Config) (*Server, error) {
	if err := c.validate(); err != nil {
		return nil, err
	}
	s := &Server{config: c, mux: http.NewServeMux(), table: routes()}
	HandlerWithOptions(operations{s}, StdHTTPServerOptions{BaseRouter: s.mux, ErrorHandlerFunc: s.badParameter})
	s.mux.HandleFunc("GET /healthz", s.health)
	s.mux.HandleFunc("GET /openapi.yaml", s.describe)
	s.mux.HandleFunc("GET /metrics", s.metrics)
	for _, own := range []string{"GET /healthz", "GET /openapi.yaml", "GET /metrics"} {
		s.table[own] = anyone()
	}
	return s, nil
}

// Run serves on l until ctx ends, then takes no new requests and lets running ones finish within Config.Grace. It owns l.
func (s *Server) Run(ctx context.Context, l net.Listener) error {
	if len(s.config.Authorities) == 0 {
		s.config.Authorities = []string{l.Addr().String()}
	}
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	h := &http.Server{
		Handler: s, MaxHeaderBytes: maxHeader, ReadHeaderTimeout: headerTimeout, ReadTimeout: bodyTimeout,
		WriteTimeout: writeTimeout, IdleTimeout: idleTimeout,
		BaseContext: func(net.Listener) context.Context { return base },
		ErrorLog:    slog.NewLogLogger(quiet{s.config.Log.Handler()}, slog.LevelWarn),
	}
	served := make(chan error, 1)
	go func() { served <- h.Serve(l) }()
	select {
	case err := <-served:
		return &sandbox.Error{Op: "api: serve", Kind: sandbox.Unavailable, Object: l.Addr().String(), Err: err}
	case <-ctx.Done():
	}
	stop, done := context.WithTimeout(base, s.config.Grace)
	defer done()
	err := h.Shutdown(stop)
	if err != nil { // the grace is over: end what still runs
		cancel()
		err = &sandbox.Error{Op: "api: stop", Kind: sandbox.Unavailable, Detail: "requests were still running after the grace", Err: errors.Join(err, h.Close())}
	}
	<-served
	return err
}

// quiet drops net/http's own texts, which quote what a client sent, and keeps that there was one.
type quiet struct{ slog.Handler }

func (q quiet) Handle(ctx context.Context, r slog.Record) error {
	return q.Handler.Handle(ctx, slog.NewRecord(r.Time, r.Level, "connection failed", r.PC))
}

// ServeHTTP guards, runs, logs and counts one request.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := s.config.Now()
	c := &call{}
	r = r.WithContext(context.WithValue(r.Context(), callKey{}, c))
	rec := &recorder{ResponseWriter: w}
	_, c.route = s.mux.Handler(r)
	if _, ok := s.table[c.route]; !ok {
		c.route = ""
	}
	defer func() {
		p := recover()
		if p != nil && p != http.ErrAbortHandler {
			c.failed = &sandbox.Error{Op: "request", Kind: sandbox.Internal, Object: panicPlace(), Detail: "panicked"}
			if rec.status == 0 {
				s.fail(rec, r, c.failed)
			} else {
				p = http.ErrAbortHandler
			}
		}
		s.observe(r, c, rec, s.config.Now().Sub(began))
		if p == http.ErrAbortHandler {
			panic(p)
		}
	}()
	if err := s.admit(rec, r, c); err != nil {
		s.fail(rec, r, err)
		return
	}
	s.mux.ServeHTTP(rec, r)
}

// observe writes the log line and the metric of one request: method, route, status, identity, duration; no values.
func (s *Server) observe(r *http.Request, c *call, rec *recorder, d time.Duration) {
	route := c.route
	if route == "" {
		route = "unknown"
	}
	status := rec.status
	if status == 0 {
		status = http.StatusOK
	}
	s.config.Metrics.request(route, status, d)
	level, attrs := slog.LevelInfo, []slog.Attr{slog.String("route", route), slog.Int("status", status),
		slog.String("identity", string(c.caller.Identity.ID)), slog.Duration("duration", d)}
	if c.failed != nil {
		attrs = append(attrs, slog.String("kind", string(sandbox.KindOf(c.failed))))
		var e *sandbox.Error
		if status >= 500 && errors.As(c.failed, &e) {
			level = slog.LevelError
			attrs = append(attrs, slog.String("op", e.Op), slog.String("object", e.Object), slog.String("detail", e.Detail))
		}
	}
	s.config.Log.LogAttrs(r.Context(), level, "request", attrs...)
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

func header(w http.ResponseWriter, contentType string) {
	h := w.Header()
	h.Set("Content-Type", contentType)
	h.Set("Cache-Control", "no-store")
	h.Set("X-Content-Type-Options", "nosniff")
}

// write sends a result, or the problem of err.
func (s *Server) write(w http.ResponseWriter, r *http.Request, status int, v any, err error) {
	if err != nil {
		s.fail(w, r, err)
		return
	}
	if status == http.StatusNoContent {
		w.WriteHeader(status)
		return
	}
	b, err := json.Marshal(v)
	if err != nil { // its text may quote the value
		s.fail(w, r, &sandbox.Error{Op: "request: encode", Kind: sandbox.Internal, Detail: "the result has no JSON form"})
		return
	}
	header(w, "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(b) // the caller went away: nothing to tell it
}

func (s *Server) fail(w http.ResponseWriter, r *http.Request, err error) {
	callOf(r).failed = err
	p := problem(err)
	b, _ := json.Marshal(p) // strings only: cannot fail
	header(w, "application/problem+json")
	w.WriteHeader(Status(p.Kind))
	_, _ = w.Write(b)
}

// badParameter answers for a path or query parameter that does not parse; its text would quote the value.
func (s *Server) badParameter(w http.ResponseWriter, r *http.Request, err error) {
	name := "request"
	var format *InvalidParamFormatError
	var missing *RequiredParamError
	switch {
	case errors.As(err, &format):
		name = format.ParamName
	case errors.As(err, &missing):
		name = missing.ParamName
	}
	s.fail(w, r, &sandbox.Error{Op: "request: decode", Kind: sandbox.Invalid, Object: name, Detail: "the parameter is missing or has another form"})
}

// health says whether the domain answers. 200 or 503.
func (s *Server) health(w http.ResponseWriter, r *http.Request) {
	if _, err := s.config.Service.Domain(r.Context()); err != nil {
		s.fail(w, r, &sandbox.Error{Op: "health", Kind: sandbox.Unavailable, Detail: "the domain does not answer"})
		return
	}
	s.write(w, r, http.StatusOK, map[string]string{"status": "ok"}, nil)
}

func (s *Server) describe(w http.ResponseWriter, _ *http.Request) {
	header(w, "application/yaml")
	w.Header().Set("Content-Length", strconv.Itoa(len(document)))
	_, _ = w.Write(document)
}

// metrics answers callers on the machine itself, unless a proxy speaks for someone else; to others there is no such page.
func (s *Server) metrics(w http.ResponseWriter, r *http.Request) {
	from, err := netip.ParseAddrPort(r.RemoteAddr)
	proxied := r.Header.Get("Forwarded") != "" || r.Header.Get("X-Forwarded-For") != "" || r.Header.Get("Via") != ""
	if err != nil || !from.Addr().IsLoopback() || proxied {
		s.fail(w, r, noRoute())
		return
	}
	s.config.Metrics.handler().ServeHTTP(w, r)
}

func noRoute() error {
	return &sandbox.Error{Op: "request", Kind: sandbox.NotFound, Object: "route", Detail: "no such operation", Hint: "operations are listed at /openapi.yaml"}
}

// recorder remembers the status of a response.
type recorder struct {
	http.ResponseWriter
	status int
}

func (r *recorder) WriteHeader(status int) {
	if r.status == 0 {
		r.status = status
	}
	r.ResponseWriter.WriteHeader(status)
}

func (r *recorder) Write(b []byte) (int, error) {
	if r.status == 0 {
		r.status = http.StatusOK
	}
	return r.ResponseWriter.Write(b)
}

// Unwrap lets http.ResponseController reach the connection.
func (r *recorder) Unwrap() http.ResponseWriter { return r.ResponseWriter }

var _ io.Writer = (*recorder)(nil)
