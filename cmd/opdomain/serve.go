package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/node"
)

// sleep waits, or ends with its context.
func sleep(ctx context.Context, d time.Duration) error {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}

// serving is a domain behind its HTTP interface.
type serving struct {
	addr string
	stop context.CancelFunc
	done chan error
}

// listen serves a node on an address until stopped.
func (a *app) listen(ctx context.Context, n *node.Node, addr string, log *slog.Logger, m *api.Metrics) (*serving, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, &sandbox.Error{Op: "serve", Kind: sandbox.Unavailable, Object: addr, Detail: "the address cannot be listened on", Hint: "name another with --listen", Err: err}
	}
	s, err := api.New(api.Config{Service: n, Authorities: []string{l.Addr().String()}, Now: a.now, Sleep: sleep, Log: log, Metrics: m})
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	v := &serving{addr: "http://" + l.Addr().String(), stop: stop, done: make(chan error, 1)}
	go func() { v.done <- s.Run(ctx, l) }()
	return v, nil
}

// close stops taking requests and waits for those under way.
func (v *serving) close() error {
	v.stop()
	return <-v.done
}

func (a *app) serveCommand() *cobra.Command {
	var dir, addr string
	c := verb("serve", "Serve a domain until interrupted (运行域)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		p, err := a.passphraseFor(dir)
		if err != nil {
			return err
		}
		m := api.NewMetrics()
		n, err := node.Open(c.Context(), node.Config{Dir: dir, Passphrase: p, Now: a.now, Rand: a.rand, Metrics: m})
		if err != nil {
			return err
		}
		v, err := a.listen(c.Context(), n, addr, slog.New(slog.NewJSONHandler(a.err, nil)), m)
		if err != nil {
			return errors.Join(err, n.Close())
		}
		info, err := n.Domain(c.Context())
		if err != nil {
			return errors.Join(err, v.close(), n.Close())
		}
		fmt.Fprintf(a.out, "serving domain %s (%s, %s) at %s; interrupt to stop\n", info.Domain, info.District, info.Hosting, v.addr)
		<-c.Context().Done()
		return errors.Join(v.close(), n.Close())
	})
	c.Flags().StringVar(&dir, "dir", "", "folder of the domain")
	c.Flags().StringVar(&addr, "listen", "127.0.0.1:8471", "address to listen on; put a TLS proxy that keeps the Host header before any other than loopback")
	must(c.MarkFlagRequired("dir"))
	return c
}
