package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"net"
	"sync"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/mpc/share"
	"github.com/opdomain/opdomain/mpc/wire"
	"github.com/opdomain/opdomain/sandbox"
)

// rawLink is three parties' links without any sealing: what the sealed ones are measured against. It exists in this command alone.
type rawLink struct {
	me    int
	conns [3]net.Conn
	posts [3]chan rawPost
	wg    sync.WaitGroup
}

type rawPost struct {
	tag  uint32
	into []byte
	done chan error
}

func (l *rawLink) Self() int { return l.me }

func (l *rawLink) Send(to int, tag uint32, b []byte) error {
	var head [8]byte
	binary.LittleEndian.PutUint32(head[:], tag)
	binary.LittleEndian.PutUint32(head[4:], uint32(len(b)))
	bufs := net.Buffers{head[:], b}
	_, err := bufs.WriteTo(l.conns[to])
	return err
}

func (l *rawLink) Post(from int, tag uint32, into []byte) func() error {
	p := rawPost{tag, into, make(chan error, 1)}
	l.posts[from] <- p
	return func() error { return <-p.done }
}

func (l *rawLink) Abort(_ int, rule string) error { return errors.New(rule) }

func (l *rawLink) serve(from int) {
	for p := range l.posts[from] {
		p.done <- func() error {
			for into := p.into; len(into) > 0; {
				var head [8]byte
				if _, err := io.ReadFull(l.conns[from], head[:]); err != nil {
					return err
				}
				n := int(binary.LittleEndian.Uint32(head[4:]))
				if binary.LittleEndian.Uint32(head[:]) != p.tag || n > len(into) {
					return errors.New("another step")
				}
				if _, err := io.ReadFull(l.conns[from], into[:n]); err != nil {
					return err
				}
				into = into[n:]
			}
			return nil
		}()
	}
}

// newRawLinks connects three parties over loopback.
func newRawLinks(shape func(net.Conn) net.Conn) ([3]*rawLink, func(), error) {
	var ls [3]*rawLink
	for i := range ls {
		ls[i] = &rawLink{me: i}
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return ls, nil, err
	}
	defer l.Close()
	for i := range 3 {
		for j := range i {
			a, err := net.Dial("tcp", l.Addr().String())
			if err != nil {
				return ls, nil, err
			}
			b, err := l.Accept()
			if err != nil {
				return ls, nil, err
			}
			ls[i].conns[j], ls[j].conns[i] = shape(a), shape(b)
		}
	}
	for i := range 3 {
		for j := range 3 {
			if i != j {
				ls[i].posts[j] = make(chan rawPost, 64)
				ls[i].wg.Go(func() { ls[i].serve(j) })
			}
		}
	}
	return ls, func() {
		for i := range 3 {
			for j := range 3 {
				if i != j {
					close(ls[i].posts[j])
					_ = ls[i].conns[j].Close()
				}
			}
		}
		for i := range 3 {
			ls[i].wg.Wait()
		}
	}, nil
}

// shaped is a connection of so many bits a second whose bytes arrive late.
type shaped struct {
	net.Conn
	rate  float64 // bytes a second
	late  time.Duration
	queue chan parcel
	free  time.Time // when the line is free again
	mu    sync.Mutex
	once  sync.Once
	quit  chan struct{}
}

type parcel struct {
	at time.Time
	b  []byte
}

func shape(rate float64, late time.Duration) func(net.Conn) net.Conn {
	return func(c net.Conn) net.Conn {
		s := &shaped{Conn: c, rate: rate, late: late, queue: make(chan parcel, 4096), quit: make(chan struct{})}
		go func() {
			for {
				select {
				case p := <-s.queue:
					time.Sleep(time.Until(p.at))
					if _, err := s.Conn.Write(p.b); err != nil {
						return
					}
				case <-s.quit:
					return
				}
			}
		}()
		return s
	}
}

func (s *shaped) Write(b []byte) (int, error) {
	s.mu.Lock()
	now := time.Now()
	if s.free.Before(now) {
		s.free = now
	}
	s.free = s.free.Add(time.Duration(float64(len(b)) / s.rate * float64(time.Second)))
	p := parcel{s.free.Add(s.late), append([]byte(nil), b...)}
	s.mu.Unlock()
	select {
	case s.queue <- p:
		return len(b), nil
	case <-s.quit:
		return 0, net.ErrClosed
	}
}

func (s *shaped) Close() error {
	s.once.Do(func() { close(s.quit) })
	return s.Conn.Close()
}

// newMeshes connects three parties by the product's sealed links.
func newMeshes(shape func(net.Conn) net.Conn) ([3]*wire.Mesh, func(), error) {
	var ms [3]*wire.Mesh
	var ts [3]*wire.TCP
	var keys [3]*sm.SigningKey
	var peers []wire.Peer
	var addrs []string
	for i := range ts {
		var err error
		if ts[i], err = wire.ListenTCP("127.0.0.1:0"); err != nil {
			return ms, nil, err
		}
		defer ts[i].Close()
		if keys[i], err = sm.NewSigningKey(rand.Reader); err != nil {
			return ms, nil, err
		}
		addrs = append(addrs, ts[i].Addr())
		peers = append(peers, wire.Peer{ID: sandbox.PartyID(fmt.Sprintf("party-%d", i)), Key: keys[i].Public()})
	}
	errs := make([]error, 3)
	var wg sync.WaitGroup
	for i := range ts {
		ts[i].Reach(addrs)
		wg.Go(func() {
			ms[i], errs[i] = wire.Open(context.Background(), shapedTCP{ts[i], shape}, wire.Config{Self: i, Peers: peers, Key: keys[i], Job: sm.Sum([]byte("benchmark")), Rand: rand.Reader,
				Deadline: time.Now().Add(time.Hour)})
		})
	}
	wg.Wait()
	if err := errors.Join(errs...); err != nil {
		return ms, nil, err
	}
	return ms, func() {
		for _, m := range ms {
			_ = m.Close()
		}
	}, nil
}

type shapedTCP struct {
	*wire.TCP
	shape func(net.Conn) net.Conn
}

func (t shapedTCP) Dial(ctx context.Context, to int) (net.Conn, error) {
	c, err := t.TCP.Dial(ctx, to)
	if err != nil {
		return nil, err
	}
	return t.shape(c), nil
}

func (t shapedTCP) Accept(ctx context.Context) (net.Conn, error) {
	c, err := t.TCP.Accept(ctx)
	if err != nil {
		return nil, err
	}
	return t.shape(c), nil
}

func unshaped(c net.Conn) net.Conn { return c }

// links gives three parties' links, sealed or not, and their end.
func links(sealed bool, shape func(net.Conn) net.Conn) (out [3]share.Link, end func(), err error) {
	if sealed {
		ms, end, err := newMeshes(shape)
		for i, m := range ms {
			out[i] = m
		}
		return out, end, err
	}
	ls, end, err := newRawLinks(shape)
	for i, l := range ls {
		out[i] = l
	}
	return out, end, err
}
