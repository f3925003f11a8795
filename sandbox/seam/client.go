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

// Client (前端) is the core as the front end sees it: an api.Core over the socket. Safe for concurrent use; Close ends it.
type Client struct {
	dial func(ctx context.Context) (net.Conn, error)
	idle chan *coreConn
}

var _ api.Core = (*Client)(nil)

// keptConns is how many connections wait for their next call.
const keptConns = 64

// NewClient gives a client over a dial function.
func NewClient(dial func(ctx context.Context) (net.Conn, error)) *Client {
	return &Client{dial: dial, idle: make(chan *coreConn, keptConns)}
}

type coreConn struct {
	net.Conn
	in *bufio.Reader
}

// Close closes the connections that wait.
func (f *Client) Close() error {
	for {
		select {
		case c := <-f.idle:
			_ = c.Close()
		default:
			return nil
		}
	}
}

// Do passes one call to the core.
func (f *Client) Do(ctx context.Context, call api.Call) api.Answer {
	h := callHead{call.Route, call.Method, call.Authority, call.Path, call.Query, call.Fields, call.Peer, call.Body != nil}
	for {
		c, kept, err := f.conn(ctx)
		if err == nil {
			if err = writeHead(c, h); err == nil {
				return f.pass(ctx, c, call)
			}
			_ = c.Close()
			if kept && errors.Is(err, sandbox.Unavailable) {
				continue // it died while it waited: nothing of the call is gone
			}
		}
		return api.Refuse(err)
	}
}

// conn takes a waiting connection that is still alive, or makes one.
func (f *Client) conn(ctx context.Context) (c *coreConn, kept bool, err error) {
	for {
		select {
		case c := <-f.idle:
			if alive(c) {
				return c, true, nil
			}
			_ = c.Close()
		default:
			conn, err := f.dial(ctx)
			if err != nil {
				return nil, false, err
			}
			return &coreConn{conn, bufio.NewReaderSize(conn, maxFrame)}, false, nil
		}
	}
}

// alive looks whether a waiting connection was closed by the core: nothing else can be there to read.
func alive(c *coreConn) bool {
	if err := c.SetReadDeadline(time.Unix(1, 0)); err != nil {
		return false
	}
	_, err := c.in.Peek(1)
	return timedOut(err) && c.SetReadDeadline(time.Time{}) == nil
}

// pass sends the body when the core wants it and brings the answer back.
func (f *Client) pass(ctx context.Context, c *coreConn, call api.Call) api.Answer {
	// The caller going away ends the call: the core sees its connection end.
	still := context.AfterFunc(ctx, func() { _ = c.Close() })
	var sent chan error
	fail := func(err error) api.Answer {
		still()
		_ = c.Close()
		if sent != nil {
			<-sent
		}
		return api.Refuse(err)
	}
	for {
		b, err := c.in.ReadByte()
		switch {
		case err != nil:
			return fail(gone(err))
		case b == wantBody && sent == nil && call.Body != nil:
			sent = make(chan error, 1)
			go func() { sent <- send(c, call.Body) }()
			continue
		case b != answers:
			return fail(broken("the core says what no core says"))
		}
		break
	}
	var h answerHead
	if err := readHead(c.in, &h); err != nil {
		return fail(gone(err))
	}
	if h.Status < 200 || h.Status > 599 {
		return fail(broken("an answer has a status of 200 to 599"))
	}
	a := api.Answer{Status: h.Status, ContentType: h.ContentType, RetryAfter: h.RetryAfter}
	body := &answerBody{bodyReader: bodyReader{r: c.in}}
	body.finish = sync.OnceFunc(func() {
		whole := true
		if sent != nil {
			select {
			case err := <-sent:
				whole = err == nil
			default: // answered before all was sent: nobody waits for the rest
				_ = c.Close()
				<-sent
				whole = false
			}
		}
		if still() && whole && body.ended() && !body.last {
			select {
			case f.idle <- c:
				return
			default:
			}
		}
		_ = c.Close()
	})
	if h.Stream {
		a.Stream = body
		return a
	}
	var err error
	if a.Body, err = io.ReadAll(io.LimitReader(body, maxAnswer+1)); err == nil && len(a.Body) > maxAnswer {
		err = &sandbox.Error{Op: "seam", Kind: sandbox.TooLarge, Object: "answer", Detail: "longer than an answer that is held whole"}
	}
	body.finish()
	if err != nil {
		return api.Refuse(err)
	}
	return a
}

// answerBody is the body of an answer; Close gives the connection back.
type answerBody struct {
	bodyReader
	finish func()
}

func (b *answerBody) Close() error {
	b.finish()
	return nil
}

// send passes the body on; a body that breaks off is told to the core as such.
func send(w io.Writer, r io.Reader) error {
	out := bufio.NewWriterSize(w, 2*maxFrame)
	body := bodyWriter{w: out}
	buf := make([]byte, maxFrame)
	for {
		n, err := r.Read(buf)
		if n > 0 {
			if _, werr := body.Write(buf[:n]); werr != nil {
				return werr
			}
		}
		if err == io.EOF {
			return errors.Join(body.Close(true), out.Flush())
		}
		if err != nil {
			return errors.Join(err, body.Cut(), out.Flush())
		}
		if n < len(buf) { // no more is there: what came is passed on at once, its sender may wait for an answer to it
			if err := out.Flush(); err != nil {
				return err
			}
		}
	}
}
