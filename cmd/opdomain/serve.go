package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"strconv"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/node"
)

// slot is what answers to questions and claims wait for a multiple of: long enough that a hit, a miss and a refusal over
// a district's tables mostly fall into one.
const slot = 250 * time.Millisecond

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
// Requests are signed for an authority: the address itself, localhost for a loopback one, and the names given.
func (a *app) listen(ctx context.Context, n *node.Node, addr string, names []string, log *slog.Logger, m *api.Metrics) (*serving, error) {
	l, err := net.Listen("tcp", addr)
	if err != nil {
		return nil, &sandbox.Error{Op: "serve", Kind: sandbox.Unavailable, Object: addr, Detail: "the address cannot be listened on", Hint: "name another with --listen", Err: err}
	}
	names = append([]string{l.Addr().String()}, names...)
	if t, ok := l.Addr().(*net.TCPAddr); ok && t.IP.IsLoopback() {
		names = append(names, net.JoinHostPort("localhost", strconv.Itoa(t.Port)))
	}
	s, err := api.New(api.Config{Service: n, Authorities: names, Now: a.now, Sleep: sleep, Slot: slot, Log: log, Metrics: m})
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
	var names []string
	var check bool
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
		if check {
			if faults := n.Check(c.Context()); len(faults) > 0 {
				return errors.Join(append(faults, n.Close())...)
			}
		}
		v, err := a.listen(c.Context(), n, addr, names, slog.New(slog.NewJSONHandler(a.err, nil)), m)
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
	c.Flags().StringArrayVar(&names, "authority", nil, "host:port under which clients reach the domain through a proxy or a name; repeat for more")
	c.Flags().BoolVar(&check, "check", false, "first read every sealed file of the vault and ledger; name each that was changed and do not serve")
	must(c.MarkFlagRequired("dir"))
	return c
}
