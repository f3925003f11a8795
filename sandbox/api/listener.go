package api

import (
	"net"
	"net/http"
	"sync"
)

// bounded (连接上限) is a listener with at most cap(places) connections open; further ones wait unaccepted. The connections are
// not wrapped, since net/http looks for *tls.Conn itself: the server's ConnState tells when one ended.
type bounded struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once
}

func bound(l net.Listener, max int) *bounded {
	return &bounded{Listener: l, places: make(chan struct{}, max), closed: make(chan struct{})}
}

// Accept waits for a free place, then for a connection.
func (b *bounded) Accept() (net.Conn, error) {
	select {
	case b.places <- struct{}{}:
	case <-b.closed:
		return nil, net.ErrClosed
	}
	c, err := b.Listener.Accept()
	if err != nil {
		<-b.places
	}
	return c, err
}

// state frees the place of a connection that ended; net/http says so once for every one it accepted.
func (b *bounded) state(_ net.Conn, s http.ConnState) {
	if s == http.StateClosed || s == http.StateHijacked {
		<-b.places
	}
}

// Close also ends an Accept that waits for a place.
func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}
