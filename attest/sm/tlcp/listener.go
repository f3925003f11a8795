package tlcp

import (
	"context"
	"net"
	"sync"
)

// Listener (国密安全监听) gives connections whose handshake is done. One slow or hostile peer holds up no other.
type Listener struct {
	inner  net.Listener
	config *Config
	ready  chan accepted
	slots  chan struct{}
	quit   chan struct{}
	once   sync.Once
	wg     sync.WaitGroup

	mu   sync.Mutex
	open map[net.Conn]bool // in their handshake
}

type accepted struct {
	conn *Conn
	err  error
}

// Listen runs TLCP over the connections of inner, which the Listener closes.
func Listen(inner net.Listener, c *Config) (*Listener, error) {
	if err := c.Check(); err != nil {
		return nil, err
	}
	n := c.Handshakes
	if n == 0 {
		n = DefaultHandshakes
	}
	l := &Listener{inner: inner, config: c, ready: make(chan accepted), slots: make(chan struct{}, n), quit: make(chan struct{}), open: map[net.Conn]bool{}}
	l.wg.Go(l.accept)
	return l, nil
}

func (l *Listener) accept() {
	for {
		select {
		case l.slots <- struct{}{}:
		case <-l.quit:
			return
		}
		raw, err := l.inner.Accept()
		if err != nil {
			<-l.slots
			if !l.give(accepted{err: err}) {
				return
			}
			continue
		}
		if !l.keep(raw) {
			_ = raw.Close()
			<-l.slots
			return
		}
		l.wg.Go(func() {
			defer func() { <-l.slots }()
			conn, err := Server(raw, l.config)
			l.drop(raw)
			if err != nil {
				if l.config.Refused != nil {
					l.config.Refused(raw.RemoteAddr(), err)
				}
				return
			}
			if !l.give(accepted{conn: conn}) {
				_ = conn.Close()
			}
		})
	}
}

func (l *Listener) give(a accepted) bool {
	select {
	case l.ready <- a:
		return true
	case <-l.quit:
		return false
	}
}

func (l *Listener) keep(raw net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.open == nil {
		return false
	}
	l.open[raw] = true
	return true
}

func (l *Listener) drop(raw net.Conn) {
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.open, raw)
}

// Accept gives the next authenticated connection, a *Conn; net.ErrClosed after Close.
func (l *Listener) Accept() (net.Conn, error) {
	select {
	case a := <-l.ready:
		if a.err != nil {
			return nil, a.err
		}
		return a.conn, nil
	case <-l.quit:
		return nil, net.ErrClosed
	}
}

// Addr is the address listened on.
func (l *Listener) Addr() net.Addr { return l.inner.Addr() }

// Close stops listening, breaks off handshakes and waits for them. Connections already given out stay open.
func (l *Listener) Close() (err error) {
	l.once.Do(func() {
		close(l.quit)
		err = l.inner.Close()
		l.mu.Lock()
		for raw := range l.open {
			_ = raw.Close()
		}
		l.open = nil
		l.mu.Unlock()
	})
	l.wg.Wait()
	return err
}

// Dial connects to a server by TCP and runs the handshake.
func Dial(ctx context.Context, address string, c *Config) (*Conn, error) {
	ctx, cancel := context.WithTimeout(ctx, c.timeout())
	defer cancel()
	raw, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
	if err != nil {
		return nil, failed(err)
	}
	stop := context.AfterFunc(ctx, func() { _ = raw.Close() })
	conn, err := Client(raw, c)
	if !stop() && err == nil {
		return nil, failed(ctx.Err())
	}
	return conn, err
}
