package seam

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"sync"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
)

// Server (核心端) runs the calls that come over the socket on a domain's core. Safe for concurrent use.
type Server struct {
	Core  api.Core
	Calls int           // at once; 0: 256. More wait for a connection, which is what the front end's own bound is for.
	Grace time.Duration // how long calls under way may finish at a stop; 0: 30 s

	mu    sync.Mutex
	conns map[net.Conn]bool // true while it serves a call
	wait  sync.WaitGroup
}

// Run serves until ctx ends, then lets calls under way finish within Grace. It owns l.
func (c *Server) Run(ctx context.Context, l net.Listener) error {
	limit := make(chan struct{}, or(c.Calls, 256))
	base, cancel := context.WithCancel(context.WithoutCancel(ctx))
	defer cancel()
	c.conns = map[net.Conn]bool{}
	stopped := context.AfterFunc(ctx, func() { _ = l.Close() })
	defer stopped()
	var err error
	for {
		limit <- struct{}{}
		conn, aerr := l.Accept()
		if aerr != nil {
			if ctx.Err() == nil {
				err = &sandbox.Error{Op: "seam: serve", Kind: sandbox.Unavailable, Object: "socket", Err: aerr}
			}
			break
		}
		c.mu.Lock()
		c.conns[conn] = false
		c.mu.Unlock()
		c.wait.Go(func() {
			defer func() { <-limit }()
			c.serve(base, conn)
		})
	}
	if cerr := l.Close(); err == nil && cerr != nil && !errors.Is(cerr, net.ErrClosed) {
		err = cerr
	}
	return errors.Join(err, c.finish(cancel))
}

func or[T int | time.Duration](v, otherwise T) T {
	if v == 0 {
		return otherwise
	}
	return v
}

// finish closes idle connections at once and the others when their call ends or the grace does.
func (c *Server) finish(cancel context.CancelFunc) error {
	c.mu.Lock()
	for conn, busy := range c.conns {
		if !busy {
			_ = conn.Close()
		}
	}
	stopping := c.conns
	c.conns = nil // from now on a connection closes after its call
	c.mu.Unlock()
	done := make(chan struct{})
	go func() { c.wait.Wait(); close(done) }()
	grace := time.NewTimer(or(c.Grace, 30*time.Second))
	defer grace.Stop()
	select {
	case <-done:
		return nil
	case <-grace.C:
	}
	cancel()
	for conn := range stopping {
		_ = conn.Close()
	}
	<-done
	return &sandbox.Error{Op: "seam: stop", Kind: sandbox.Unavailable, Detail: "calls were still running after the grace"}
}

// busy marks a connection; false says that the core is stopping.
func (c *Server) busy(conn net.Conn, b bool) bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.conns == nil {
		return b // a call that began runs on
	}
	c.conns[conn] = b
	return true
}

// serve runs the calls of one connection, one after the other.
func (c *Server) serve(ctx context.Context, conn net.Conn) {
	defer func() {
		_ = conn.Close()
		c.mu.Lock()
		delete(c.conns, conn)
		c.mu.Unlock()
	}()
	in := bufio.NewReaderSize(conn, maxFrame)
	for {
		var call callHead
		if err := readHead(in, &call); err != nil {
			return // the front end ended between calls, or speaks another language: there is nobody to tell
		}
		if !c.busy(conn, true) || !c.one(ctx, conn, in, call) || !c.busy(conn, false) {
			return
		}
	}
}

// one runs a call and says whether the connection can carry another.
func (c *Server) one(ctx context.Context, conn net.Conn, in *bufio.Reader, h callHead) bool {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	w := &watch{conn: conn, in: in, cancel: cancel}
	w.begin()
	call := api.Call{Route: h.Route, Method: h.Method, Authority: h.Authority, Path: h.Path, Query: h.Query, Fields: h.Fields, Peer: h.Peer}
	body := &callBody{bodyReader: bodyReader{r: in}, watch: w}
	if h.Body {
		call.Body = body
	}
	a := c.Core.Do(ctx, call)
	if a.Stream != nil {
		defer a.Stream.Close()
	}
	out := bufio.NewWriterSize(conn, maxFrame)
	whole := answer(out, a) == nil
	// What the core leaves of a body is not read: the connection ends with the call.
	keep := w.end() && whole && (!body.began || body.ended())
	b := bodyWriter{w: out}
	var err error
	if whole {
		err = b.Close(keep)
	} else {
		err = b.Cut()
	}
	return errors.Join(err, out.Flush()) == nil && keep
}

// answer writes an answer up to its end mark. An error means that its body is not whole.
func answer(out *bufio.Writer, a api.Answer) error {
	if err := out.WriteByte(answers); err != nil {
		return gone(err)
	}
	if err := writeHead(out, answerHead{a.Status, a.ContentType, a.RetryAfter, a.Stream != nil}); err != nil {
		return err
	}
	b := bodyWriter{w: out}
	if a.Stream == nil {
		_, err := b.Write(a.Body)
		return err
	}
	_, err := io.CopyBuffer(struct{ io.Writer }{&b}, struct{ io.Reader }{a.Stream}, make([]byte, maxFrame))
	return err
}

// callBody is a call's body: the first read tells the front end that it is wanted.
type callBody struct {
	bodyReader
	watch *watch
	began bool
}

func (b *callBody) Read(p []byte) (int, error) {
	if !b.began {
		b.began = true
		if !b.watch.end() {
			b.err = gone(nil)
		} else if _, err := b.watch.conn.Write([]byte{wantBody}); err != nil {
			b.err = gone(err)
		}
	}
	n, err := b.bodyReader.Read(p)
	if err == io.EOF {
		b.watch.begin()
	}
	return n, err
}

// watch looks, while nothing is expected from the front end, whether it is still there.
type watch struct {
	conn   net.Conn
	in     *bufio.Reader
	cancel context.CancelFunc
	seen   chan error // of the watch that runs; nil for none
	lost   bool
}

func (w *watch) begin() {
	if w.seen != nil {
		return
	}
	w.seen = make(chan error, 1)
	go func(seen chan<- error) {
		_, err := w.in.Peek(1) // the next call comes after the answer: a byte before it is none
		if !timedOut(err) {
			w.cancel()
		}
		seen <- err
	}(w.seen)
}

// end ends the watch and says whether the front end is still there.
func (w *watch) end() bool {
	if w.seen == nil {
		return !w.lost
	}
	_ = w.conn.SetReadDeadline(time.Unix(1, 0))
	w.lost = w.lost || !timedOut(<-w.seen)
	w.seen = nil
	_ = w.conn.SetReadDeadline(time.Time{})
	return !w.lost
}

func timedOut(err error) bool {
	var t net.Error
	return errors.As(err, &t) && t.Timeout()
}
