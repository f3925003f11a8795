package main

import (
	"crypto/tls"
	"os"
	"sync"
	"time"

	"github.com/opdomain/opdomain/sandbox"
)

// certificate is a TLS certificate in two files, read again when either changes: a renewed one needs no restart. A pair that
// does not fit together, as in the middle of a renewal, leaves the one before in use.
type certificate struct {
	cert, key string

	mu      sync.Mutex
	loaded  *tls.Certificate
	certAt  time.Time
	keyedAt time.Time
}

func (c *certificate) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	certAt, cerr := modified(c.cert)
	keyAt, kerr := modified(c.key)
	if c.loaded != nil && (cerr != nil || kerr != nil || certAt.Equal(c.certAt) && keyAt.Equal(c.keyedAt)) {
		return c.loaded, nil
	}
	pair, err := tls.LoadX509KeyPair(c.cert, c.key)
	if err != nil {
		if c.loaded != nil {
			return c.loaded, nil
		}
		return nil, &sandbox.Error{Op: "serve", Kind: sandbox.Invalid, Object: c.cert, Detail: "certificate and key are PEM files that belong together"}
	}
	c.loaded, c.certAt, c.keyedAt = &pair, certAt, keyAt
	return c.loaded, nil
}

func modified(path string) (time.Time, error) {
	info, err := os.Stat(path)
	if err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}
