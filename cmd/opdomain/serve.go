package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
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

// close stops taking requests and waits for those under way.
func (v *serving) close() error {
	v.stop()
	return <-v.done
}

// address is where a front end listens and how.
type address struct {
	listen    string
	names     []string // authorities beside the address itself
	cert, key string   // files of the TLS certificate, empty for plain HTTP on loopback
	fd        int      // of a listener that a parent process made; 0 for none
}

func (l *address) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&l.listen, "listen", "127.0.0.1:8471", "address to listen on; any other than loopback needs --tls-cert and --tls-key")
	f.StringVar(&l.cert, "tls-cert", "", "file of the TLS certificate chain, PEM; read again when it changes")
	f.StringVar(&l.key, "tls-key", "", "file of its private key, PEM")
}

// open listens, and says under which scheme.
func (l *address) open(now func() time.Time) (net.Listener, string, error) {
	if (l.cert == "") != (l.key == "") {
		return nil, "", usageError{invalid("--tls-cert", "certificate and key are given together", "")}
	}
	inner, err := l.plain()
	if err != nil {
		return nil, "", err
	}
	if l.cert == "" {
		if t, ok := inner.Addr().(*net.TCPAddr); !ok || !t.IP.IsLoopback() {
			return nil, "", errors.Join(&sandbox.Error{Op: "serve", Kind: sandbox.Denied, Object: l.listen, Detail: "requests and answers do not cross a network in the clear",
				Hint: "give --tls-cert and --tls-key, or listen on loopback behind a TLS proxy that keeps the Host header"}, inner.Close())
		}
		return inner, "http", nil
	}
	files := &certificate{cert: l.cert, key: l.key}
	if _, err := files.get(nil); err != nil {
		return nil, "", errors.Join(err, inner.Close())
	}
	return tls.NewListener(inner, &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: files.get, NextProtos: []string{"http/1.1"}, Time: now}), "https", nil
}

func (l *address) plain() (net.Listener, error) {
	if l.fd > 0 {
		f := os.NewFile(uintptr(l.fd), "listener")
		defer f.Close()
		in, err := net.FileListener(f)
		if err != nil {
			return nil, &sandbox.Error{Op: "serve", Kind: sandbox.Invalid, Object: "listener", Detail: "the descriptor is no listener", Err: err}
		}
		return in, nil
	}
	in, err := net.Listen("tcp", l.listen)
	if err != nil {
		return nil, &sandbox.Error{Op: "serve", Kind: sandbox.Unavailable, Object: l.listen, Detail: "the address cannot be listened on", Hint: "name another with --listen", Err: err}
	}
	return in, nil
}

// authorities are the names requests may be signed for: the address itself, localhost for a loopback one, the names given.
func authorities(at net.Addr, names []string) []string {
	out := append([]string{at.String()}, names...)
	if t, ok := at.(*net.TCPAddr); ok && t.IP.IsLoopback() {
		out = append(out, net.JoinHostPort("localhost", strconv.Itoa(t.Port)))
	}
	return out
}

// listen serves a node at an address until stopped, front end and core in this process.
func (a *app) listen(ctx context.Context, n *node.Node, at address, log *slog.Logger, m *api.Metrics) (*serving, error) {
	l, scheme, err := at.open(a.now)
	if err != nil {
		return nil, err
	}
	s, err := api.New(api.Config{Service: n, Authorities: authorities(l.Addr(), at.names), Now: a.now, Sleep: sleep, Slot: slot, Log: log, Metrics: m})
	if err != nil {
		return nil, errors.Join(err, l.Close())
	}
	ctx, stop := context.WithCancel(ctx)
	v := &serving{addr: scheme + "://" + l.Addr().String(), stop: stop, done: make(chan error, 1)}
	go func() { v.done <- s.Run(ctx, l) }()
	return v, nil
}

// opening is how a domain is opened to be served.
type opening struct {
	dir       string
	check     bool
	witnesses []string // URL=FILE
}

func (o *opening) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.dir, "dir", "", "folder of the domain")
	c.Flags().BoolVar(&o.check, "check", false, "first read every sealed file of the vault and ledger; name each that was changed and do not serve")
	c.Flags().StringArrayVar(&o.witnesses, "witness", nil, "URL=FILE of a witness's witness.json kept outside the domain, asked beside those it knows; repeat for more")
	must(c.MarkFlagRequired("dir"))
}

// domain opens the domain.
func (a *app) domain(ctx context.Context, o opening, m *api.Metrics) (*node.Node, error) {
	p, err := a.passphraseFor(o.dir)
	if err != nil {
		return nil, err
	}
	cfg := node.Config{Dir: o.dir, Passphrase: p, Now: a.now, Rand: a.rand, Metrics: m}
	if cfg.Device, err = a.device(o.dir, p); err != nil {
		return nil, err
	}
	if cfg.Witnesses, err = a.pinned(o.witnesses); err != nil {
		return nil, err
	}
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return nil, err
	}
	if o.check {
		if faults := n.Check(ctx); len(faults) > 0 {
			return nil, errors.Join(append(faults, n.Close())...)
		}
	}
	return n, nil
}

// tend keeps house for a served domain until ctx ends: it has checkpoints witnessed and stale pushes ended.
func (a *app) tend(ctx context.Context, n *node.Node, log *slog.Logger) (wait func()) {
	done := make(chan struct{})
	go func() {
		defer close(done)
		for {
			if err := n.Tend(ctx); err != nil && ctx.Err() == nil {
				log.LogAttrs(ctx, slog.LevelError, "housekeeping", slog.String("kind", string(sandbox.KindOf(err))), slog.String("error", err.Error()))
			}
			if sleep(ctx, tendEvery) != nil { // what happened since is witnessed before it stops
				last, stop := context.WithTimeout(context.WithoutCancel(ctx), lastTend)
				defer stop()
				if err := n.Tend(last); err != nil {
					log.LogAttrs(last, slog.LevelError, "housekeeping", slog.String("kind", string(sandbox.KindOf(err))), slog.String("error", err.Error()))
				}
				return
			}
		}
	}()
	return func() { <-done }
}

// tendEvery is how often checkpoints go to the witnesses: at fixed intervals, so that their sizes do not tell what happens.
const (
	tendEvery = time.Minute
	lastTend  = 10 * time.Second
)

func (a *app) serveCommand() *cobra.Command {
	var o opening
	var at address
	var split bool
	var front string
	c := verb("serve", "Serve a domain until interrupted (运行域)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		if split {
			return a.serveSplit(c.Context(), o, at, front)
		}
		m := api.NewMetrics()
		n, err := a.domain(c.Context(), o, m)
		if err != nil {
			return err
		}
		log := slog.New(slog.NewJSONHandler(a.err, nil))
		v, err := a.listen(c.Context(), n, at, log, m)
		if err != nil {
			return errors.Join(err, n.Close())
		}
		ctl, err := a.control(c.Context(), n, o.dir)
		if err != nil {
			return errors.Join(err, v.close(), n.Close())
		}
		ctx, stop := context.WithCancel(c.Context())
		defer stop()
		tended := a.tend(ctx, n, log)
		info, err := n.Domain(ctx)
		if err == nil {
			fmt.Fprintf(a.out, "serving domain %s (%s, %s) at %s; interrupt to stop\n", info.Domain, info.District, info.Hosting, v.addr)
			<-ctx.Done()
		}
		stop()
		tended()
		return errors.Join(err, v.close(), ctl.close(), n.Close())
	})
	o.flags(c)
	at.flags(c)
	c.Flags().StringArrayVar(&at.names, "authority", nil, "host:port under which clients reach the domain through a proxy or a name; repeat for more")
	c.Flags().BoolVar(&split, "split", false, "run front end and core as two processes of two users (as root): the front end cannot enter the domain's folder")
	c.Flags().StringVar(&front, "front-user", "nobody", "user of the front end with --split")
	c.AddCommand(a.coreCommand(), a.frontCommand())
	return c
}
