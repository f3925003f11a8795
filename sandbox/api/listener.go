package api

import (
	"net"
	"sync"
)

// bounded (连接上限) is a listener that shares cap(places) open connections with others; further ones wait unaccepted. The
// connections are not wrapped, since net/http looks for *tls.Conn itself: the server's ConnState tells when one ended.
type bounded struct {
	net.Listener
	places chan struct{}
	closed chan struct{}
	once   sync.Once
}

func bound(l net.Listener, places chan struct{}) *bounded {
	return &bounded{Listener: l, places: places, closed: make(chan struct{})}
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

// Close also ends an Accept that waits for a place.
func (b *bounded) Close() error {
	b.once.Do(func() { close(b.closed) })
	return b.Listener.Close()
}
