package channel

import (
	"context"
	"crypto/tls"
	"net"
	"os"
	"sync"
	"time"

	"github.com/opdomain/opdomain/attest/sm/pki"
	"github.com/opdomain/opdomain/attest/sm/tlcp"
	"github.com/opdomain/opdomain/sandbox"
)

// Listener (通信信道) is what a server listens through. It serves net/http as it stands:
//
//	srv := &http.Server{ConnContext: channel.WithPeer, …}
//	err := srv.Serve(l)
type Listener interface {
	net.Listener
	// Scheme names the channel: "plain", "tls" or "tlcp".
	Scheme() string
}

// Certified (对端身份) is a connection that names its peer; *tlcp.Conn is one.
type Certified interface {
	PeerIdentity() pki.Name
	Check() error // whether the peer's certificates are still valid
}

type peerKey struct{}

// Peer gives the peer a connection's certificates name. It asks again at every call whether they are still valid, so that
// a revocation takes effect at the next request: then the error says why. ok is false where the channel certifies nobody.
func Peer(ctx context.Context) (name pki.Name, ok bool, err error) {
	c, ok := ctx.Value(peerKey{}).(Certified)
	if !ok {
		return pki.Name{}, false, nil
	}
	if err := c.Check(); err != nil {
		return pki.Name{}, false, err
	}
	return c.PeerIdentity(), true, nil
}

// WithPeer adds a connection's certified peer, if it has one, to the connection's context.
func WithPeer(ctx context.Context, conn net.Conn) context.Context {
	if c, ok := conn.(Certified); ok {
		return context.WithValue(ctx, peerKey{}, c)
	}
	return ctx
}

type listener struct {
	net.Listener
	scheme string
}

func (l listener) Scheme() string { return l.scheme }

// Listen listens on an address, for Plain, TLS or TLCP.
func Listen(address string) (net.Listener, error) {
	l, err := net.Listen("tcp", address)
	if err != nil {
		return nil, &sandbox.Error{Op: "channel: listen", Kind: sandbox.Unavailable, Object: address, Detail: "the address cannot be listened on", Err: err}
	}
	return l, nil
}

// Plain carries connections without protection, for a listener on a loopback address only. On an error it closes inner, as
// TLS and TLCP do.
func Plain(inner net.Listener) (Listener, error) {
	// What a name means is the machine's word: the address itself counts.
	if a, ok := inner.Addr().(*net.TCPAddr); !ok || !a.IP.IsLoopback() {
		_ = inner.Close()
		return nil, &sandbox.Error{Op: "channel: listen", Kind: sandbox.Denied, Object: inner.Addr().String(), Detail: "requests and answers do not cross a network in the clear",
			Hint: "give a certificate, or listen on loopback behind a TLS proxy that keeps the Host header"}
	}
	return listener{inner, "plain"}, nil
}

// TLCP carries connections under TLCP with certificates on both sides.
func TLCP(inner net.Listener, c *tlcp.Config) (Listener, error) {
	l, err := tlcp.Listen(inner, c)
	if err != nil {
		_ = inner.Close()
		return nil, err
	}
	return listener{l, "tlcp"}, nil
}

// TLS carries connections under TLS 1.3 and nothing older. The certificate and key files are read again at the first handshake
// after one of them changed; a pair that does not load leaves the one before in use. now is the clock of the handshake.
// The handshake runs at the first read: http.Server bounds it by ReadHeaderTimeout, other servers set a deadline.
func TLS(inner net.Listener, certFile, keyFile string, now func() time.Time) (Listener, error) {
	f := &files{cert: certFile, key: keyFile}
	if _, err := f.get(nil); err != nil {
		_ = inner.Close()
		return nil, &sandbox.Error{Op: "channel: listen", Kind: sandbox.Invalid, Object: certFile, Detail: "certificate and key are PEM files that belong together", Err: err}
	}
	return listener{tls.NewListener(inner, &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: f.get, NextProtos: []string{"http/1.1"}, Time: now}), "tls"}, nil
}

// files is a certificate that follows its files.
type files struct {
	cert, key string

	mu    sync.Mutex
	tried [2]stamp
	pair  *tls.Certificate
}

// stamp is what changes with a file: its time alone may repeat within a tick of the file system.
type stamp struct {
	at   time.Time
	size int64
}

func (f *files) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	var now [2]stamp
	for i, name := range []string{f.cert, f.key} {
		info, err := os.Stat(name)
		if err != nil {
			if f.pair != nil {
				return f.pair, nil
			}
			return nil, err
		}
		now[i] = stamp{info.ModTime(), info.Size()}
	}
	if f.pair != nil && now == f.tried {
		return f.pair, nil
	}
	f.tried = now
	pair, err := tls.LoadX509KeyPair(f.cert, f.key)
	if err != nil {
		if f.pair != nil {
			return f.pair, nil
		}
		return nil, err
	}
	f.pair = &pair
	return f.pair, nil
}
