package seam

import (
	"bufio"
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"path/filepath"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/opdomain/opdomain/sandbox/api"
)

// coreFunc is a core that a test writes down; what is tested here is what stands between it and its callers.
type coreFunc func(ctx context.Context, c api.Call) api.Answer

func (f coreFunc) Do(ctx context.Context, c api.Call) api.Answer { return f(ctx, c) }

// joined is a client and a core over a real socket.
func joined(t *testing.T, core coreFunc) *Client {
	t.Helper()
	path := filepath.Join(t.TempDir(), "core")
	l, err := Listen(path, 0o600, self())
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	s := &Server{Core: core, Grace: 5 * time.Second}
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx, l) }()
	c := NewClient(func(ctx context.Context) (net.Conn, error) { return Dial(ctx, path, self()) })
	t.Cleanup(func() {
		_ = c.Close()
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	return c
}

func TestCallsCross(t *testing.T) {
	c := joined(t, func(_ context.Context, c api.Call) api.Answer {
		n := 0
		if c.Body != nil {
			b, err := io.ReadAll(c.Body)
			if err != nil {
				t.Error(err)
			}
			n = len(b)
		}
		text := fmt.Sprintf("%s|%s|%s|%s|%s|%+v|%s|%d", c.Route, c.Method, c.Authority, c.Path, c.Query, c.Fields, c.Peer, n)
		a := api.Answer{Status: 418, ContentType: "text/plain", RetryAfter: 3 * time.Second, Body: []byte(text)}
		if n%2 == 1 {
			a.Body, a.Stream = nil, io.NopCloser(bytes.NewReader([]byte(text)))
		}
		return a
	})
	var wait sync.WaitGroup
	for i := range 200 {
		wait.Go(func() {
			call := api.Call{Route: "POST /v1/x", Method: "POST", Authority: "d:1", Path: "/v1/x%2Fy", Query: "a=b&c", Peer: "unit",
				Fields: api.Fields{ContentType: "application/json", ContentDigest: "d", SignatureInput: "i", Signature: "s"}}
			n := i * 997
			if i > 0 {
				call.Body = bytes.NewReader(make([]byte, n))
			}
			a := c.Do(context.Background(), call)
			got := a.Body
			if n%2 == 1 {
				var err error
				if got, err = io.ReadAll(a.Stream); err != nil {
					t.Error(err)
				}
				_ = a.Stream.Close()
			}
			want := fmt.Sprintf("POST /v1/x|POST|d:1|/v1/x%%2Fy|a=b&c|{ContentType:application/json ContentDigest:d SignatureInput:i Signature:s}|unit|%d", n)
			if a.Status != 418 || a.ContentType != "text/plain" || a.RetryAfter != 3*time.Second || string(got) != want {
				t.Errorf("%+v\n got %s\nwant %s", a, got, want)
			}
		})
	}
	wait.Wait()
}

// reader gives bytes without end and says whether anybody read.
type reader struct {
	mu   sync.Mutex
	read int
}

func (r *reader) Read(p []byte) (int, error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.read += len(p)
	return len(p), nil
}

// TestBodyIsReadWhenWanted: a core that refuses on the head leaves the body alone, one that stops half-way ends its reading,
// and the next call works either way.
func TestBodyIsReadWhenWanted(t *testing.T) {
	for _, some := range []int64{0, 1, 100_000} {
		c := joined(t, func(_ context.Context, c api.Call) api.Answer {
			if c.Body != nil {
				_, _ = io.CopyN(io.Discard, c.Body, some)
			}
			return api.Answer{Status: 403, Body: []byte("no")}
		})
		for range 5 {
			var r reader
			a := c.Do(context.Background(), api.Call{Method: "PUT", Path: "/v1/x", Body: &r})
			if a.Status != 403 || string(a.Body) != "no" {
				t.Fatalf("%+v", a)
			}
			if some == 0 && r.read > 0 {
				t.Errorf("a body that nobody wants was read: %d bytes", r.read)
			}
			if a := c.Do(context.Background(), api.Call{Method: "GET", Path: "/v1/y"}); a.Status != 403 {
				t.Fatalf("the next call: %+v", a)
			}
		}
	}
}

// TestStreamBreaksOff: half a stream is not taken for a whole one.
func TestStreamBreaksOff(t *testing.T) {
	broken := errors.New("broken")
	c := joined(t, func(context.Context, api.Call) api.Answer {
		return api.Answer{Status: 200, Stream: io.NopCloser(io.MultiReader(bytes.NewReader(make([]byte, 200<<10)), failing{broken}))}
	})
	for range 3 {
		a := c.Do(context.Background(), api.Call{Method: "GET", Path: "/v1/x"})
		if a.Stream == nil {
			t.Fatalf("%+v", a)
		}
		b, err := io.ReadAll(a.Stream)
		if !errors.Is(err, errCut) {
			t.Errorf("%d bytes, %v", len(b), err)
		}
		_ = a.Stream.Close()
	}
}

type failing struct{ err error }

func (f failing) Read([]byte) (int, error) { return 0, f.err }

// TestBodyBreaksOff: a body that ends early is an error for the core.
func TestBodyBreaksOff(t *testing.T) {
	c := joined(t, func(_ context.Context, c api.Call) api.Answer {
		_, err := io.ReadAll(c.Body)
		return api.Answer{Status: 200, Body: fmt.Append(nil, err)}
	})
	a := c.Do(context.Background(), api.Call{Method: "PUT", Path: "/v1/x", Body: io.MultiReader(bytes.NewReader(make([]byte, 100)), failing{io.ErrUnexpectedEOF})})
	if string(a.Body) != errCut.Error() {
		t.Errorf("%+v %s", a, a.Body)
	}
}

// TestCallerLeaves: a caller that goes away ends the call in the core, inside the body and behind it.
func TestCallerLeaves(t *testing.T) {
	for _, inside := range []bool{false, true} {
		began, ended := make(chan bool, 1), make(chan error, 1)
		c := joined(t, func(ctx context.Context, c api.Call) api.Answer {
			if inside {
				one := make([]byte, 1)
				_, _ = io.ReadFull(c.Body, one)
				began <- true
				_, err := io.ReadAll(c.Body)
				ended <- err
				return api.Answer{Status: 200}
			}
			began <- true
			<-ctx.Done()
			ended <- ctx.Err()
			return api.Answer{Status: 200}
		})
		ctx, leave := context.WithCancel(context.Background())
		body, w := io.Pipe()
		call := api.Call{Method: "PUT", Path: "/v1/x"}
		if inside {
			call.Body = body
			go func() { _, _ = w.Write([]byte("x")) }()
		}
		done := make(chan api.Answer, 1)
		go func() { done <- c.Do(ctx, call) }()
		<-began
		leave()
		if err := <-ended; err == nil {
			t.Errorf("inside the body %v: the call ended well", inside)
		}
		_ = w.CloseWithError(io.ErrUnexpectedEOF)
		if a := <-done; a.Status != 503 {
			t.Errorf("%+v", a)
		}
	}
}

func TestNoCore(t *testing.T) {
	c := NewClient(func(ctx context.Context) (net.Conn, error) {
		return Dial(ctx, filepath.Join(t.TempDir(), "none"), self())
	})
	if a := c.Do(context.Background(), api.Call{Method: "GET", Path: "/v1/x"}); a.Status != 503 || !bytes.Contains(a.Body, []byte(`"kind":"unavailable"`)) {
		t.Errorf("%d %s", a.Status, a.Body)
	}
}

// TestStop lets a call under way finish and takes no further one.
func TestStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began, goOn := make(chan bool, 1), make(chan bool)
		l := &pipes{next: make(chan net.Conn, 1), closed: make(chan bool)}
		ctx, stop := context.WithCancel(context.Background())
		s := &Server{Core: coreFunc(func(context.Context, api.Call) api.Answer {
			began <- true
			<-goOn
			return api.Answer{Status: 200, Body: []byte("done")}
		}), Grace: time.Hour}
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx, l) }()
		c := NewClient(func(context.Context) (net.Conn, error) {
			a, b := net.Pipe()
			l.next <- a
			return b, nil
		})
		served := make(chan api.Answer, 1)
		go func() { served <- c.Do(context.Background(), api.Call{Method: "GET", Path: "/v1/x"}) }()
		<-began
		stop()
		synctest.Wait()
		select {
		case err := <-done:
			t.Fatalf("stopped with a call under way: %v", err)
		default:
		}
		close(goOn)
		a := <-served
		_ = c.Close()
		if err := <-done; err != nil || string(a.Body) != "done" {
			t.Errorf("%v %q", err, a.Body)
		}
	})
}

type pipes struct {
	next   chan net.Conn
	closed chan bool
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.next:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}
func (p *pipes) Close() error   { p.once.Do(func() { close(p.closed) }); return nil }
func (p *pipes) Addr() net.Addr { return &net.UnixAddr{} }

// hostile gives the core bytes on a connection, at once, and reads what it answers.
func hostile(b []byte) (bodies [][]byte, answer []byte) {
	near, far := net.Pipe()
	s := &Server{conns: map[net.Conn]bool{}, Core: coreFunc(func(_ context.Context, c api.Call) api.Answer {
		var body []byte
		if c.Body != nil {
			var err error
			if body, err = io.ReadAll(c.Body); err != nil {
				return api.Refuse(err)
			}
		}
		bodies = append(bodies, body)
		return api.Answer{Status: 200, Body: []byte("ok")}
	})}
	done := make(chan bool)
	go func() { s.serve(context.Background(), near); close(done) }()
	read := make(chan bool)
	go func() { answer, _ = io.ReadAll(far); close(read) }()
	_, _ = far.Write(b)
	_ = far.Close()
	<-done
	<-read
	return bodies, answer
}

var good = callHead{Method: "POST", Authority: "d:1", Path: "/v1/x", Body: true}

// bytesOf gives a call's head, and its body for a core that asks.
func bytesOf(h callHead, body string) (head, rest []byte) {
	var b bytes.Buffer
	_ = writeHead(&b, h)
	n := b.Len()
	if h.Body {
		w := bodyWriter{w: &b}
		_, _ = io.WriteString(&w, body)
		_ = w.Close(true)
	}
	return b.Bytes()[:n], b.Bytes()[n:]
}

// TestCutAnywhere cuts a call at every byte: the core never sees a body that looks whole.
func TestCutAnywhere(t *testing.T) {
	head, rest := bytesOf(good, "0123456789")
	for n := range len(head) + len(rest) {
		near, far := net.Pipe()
		s := &Server{conns: map[net.Conn]bool{}, Core: coreFunc(func(_ context.Context, c api.Call) api.Answer {
			if b, err := io.ReadAll(c.Body); err == nil {
				t.Errorf("cut at %d of %d: a body of %d bytes looks whole", n, len(head)+len(rest), len(b))
			}
			return api.Answer{Status: 200}
		})}
		go func() {
			_, _ = far.Write(head[:min(n, len(head))])
			if n > len(head) {
				_, _ = bufio.NewReader(far).ReadByte() // it is wanted
				_, _ = far.Write(rest[:n-len(head)])
			}
			_ = far.Close()
		}()
		s.serve(context.Background(), near)
	}
}

func TestBadCalls(t *testing.T) {
	for name, b := range map[string][]byte{
		"unknown field": frame(`{"method":"GET","path":"/a","identity":"agency"}`),
		"huge head":     binary.BigEndian.AppendUint32(nil, maxHead+1),
		"empty head":    {0, 0, 0, 0},
		"not JSON":      frame("GET / HTTP/1.1\r\n\r\n"),
		"two values":    frame(`{"method":"GET","path":"/a","fields":{}}{}`),
	} {
		if calls, answer := hostile(b); len(calls) > 0 || len(answer) > 0 {
			t.Errorf("%s: served %d times, %q", name, len(calls), answer)
		}
	}
}

func frame(s string) []byte {
	return append(binary.BigEndian.AppendUint32(nil, uint32(len(s))), s...)
}

// FuzzServer gives the core whatever comes: it serves whole calls only and ends.
func FuzzServer(f *testing.F) {
	head, rest := bytesOf(good, "body")
	f.Add(append(bytes.Clone(head), rest...))
	alone, _ := bytesOf(callHead{Method: "GET", Path: "/v1/x"}, "")
	f.Add(alone)
	f.Add(frame("{}"))
	f.Add([]byte{0xff, 0xff, 0xff, 0xff})
	f.Fuzz(func(t *testing.T, b []byte) { hostile(b) })
}

// FuzzClient gives the front end whatever comes in the place of an answer: it never takes half of one for a whole one.
func FuzzClient(f *testing.F) {
	var whole bytes.Buffer
	out := bufio.NewWriter(&whole)
	_ = answer(out, api.Answer{Status: 200, Body: []byte("ok")})
	_ = (&bodyWriter{w: out}).Close(true)
	_ = out.Flush()
	f.Add(whole.Bytes())
	f.Add(whole.Bytes()[:whole.Len()-1])
	f.Add(append(whole.Bytes()[:whole.Len()-4:whole.Len()-4], 0xff, 0xff, 0xff, 0xff))
	f.Add([]byte("ba"))
	f.Fuzz(func(t *testing.T, b []byte) {
		c := NewClient(func(context.Context) (net.Conn, error) {
			near, far := net.Pipe()
			go func() {
				in := bufio.NewReader(far)
				var h callHead
				_ = readHead(in, &h)
				go func() { _, _ = io.Copy(io.Discard, in) }()
				_, _ = far.Write(b)
				_ = far.Close()
			}()
			return near, nil
		})
		defer c.Close()
		a := c.Do(context.Background(), api.Call{Method: "GET", Path: "/v1/x", Body: bytes.NewReader([]byte("x"))})
		if a.Stream != nil {
			_, err := io.ReadAll(a.Stream)
			_ = a.Stream.Close()
			if err != nil {
				return
			}
		}
		ends := bytes.Contains(b, []byte{0, 0, 0, 0}) || bytes.Contains(b, []byte{0xff, 0xff, 0xff, 0xfe})
		if a.Status != 503 && a.Status != 400 && a.Status != 413 && !ends {
			t.Errorf("an answer without an end is whole: %d", a.Status)
		}
	})
}
