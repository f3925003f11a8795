package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/attest/channel"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/doctor"
	"github.com/opdomain/opdomain/sandbox/fleet"
	"github.com/opdomain/opdomain/sandbox/jail"
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
	also []string // further addresses
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
	names     []string // authorities beside the addresses themselves
	cert, key string   // files of the TLS certificate, empty for plain HTTP on loopback
	tlcp      string   // address of the TLCP listener, empty for none
	pair      string   // file of its certificates and keys
	fd        int      // of a listener that a parent process made, the TLCP listener and the file of its pair behind it; 0 for none
}

func (l *address) flags(c *cobra.Command) {
	f := c.Flags()
	f.StringVar(&l.listen, "listen", "127.0.0.1:8471", "address to listen on; any other than loopback needs --tls-cert and --tls-key")
	f.StringVar(&l.cert, "tls-cert", "", "file of the TLS certificate chain, PEM; read again when it changes")
	f.StringVar(&l.key, "tls-key", "", "file of its private key, PEM")
	f.StringVar(&l.tlcp, "tlcp", "", "address to listen on with TLCP and certificates on both sides, beside --listen")
	f.StringVar(&l.pair, "tlcp-pair", "", "file of the certificates and keys for it, from opdomain serve certify")
}

// check refuses options that only go together.
func (l *address) check() error {
	if (l.cert == "") != (l.key == "") {
		return usageError{invalid("--tls-cert", "certificate and key are given together", "")}
	}
	if (l.tlcp == "") != (l.pair == "") {
		return usageError{invalid("--tlcp", "the address and --tlcp-pair are given together", "opdomain serve certify --dir DIR --out FILE")}
	}
	return nil
}

// sockets listens on the addresses: the first for plain HTTP or TLS, the second, if there is one, for TLCP.
func (l *address) sockets() ([]net.Listener, error) {
	addresses := []string{l.listen}
	if l.tlcp != "" {
		addresses = append(addresses, l.tlcp)
	}
	var out []net.Listener
	for i, at := range addresses {
		in, err := l.socket(i, at)
		if err != nil {
			for _, x := range out {
				err = errors.Join(err, x.Close())
			}
			return nil, err
		}
		out = append(out, in)
	}
	return out, nil
}

func (l *address) socket(i int, at string) (net.Listener, error) {
	if l.fd == 0 {
		in, err := channel.Listen(at)
		var e *sandbox.Error
		if errors.As(err, &e) {
			e.Hint = "name another"
		}
		return in, err
	}
	f := os.NewFile(uintptr(l.fd+i), "listener")
	defer f.Close()
	in, err := net.FileListener(f)
	if err != nil {
		return nil, &sandbox.Error{Op: "serve", Kind: sandbox.Invalid, Object: "listener", Detail: "the descriptor is no listener", Err: err}
	}
	return in, nil
}

// readPair reads the certificates of the TLCP listener: what is in them opens every connection, so nobody else may read it.
func (a *app) readPair(l address) (p pairFile, err error) {
	f := (*os.File)(nil)
	if l.fd != 0 {
		f = os.NewFile(uintptr(l.fd+2), "pair")
	} else if f, err = os.Open(l.pair); err != nil {
		return p, &sandbox.Error{Op: "serve", Kind: sandbox.NotFound, Object: l.pair, Detail: "the file cannot be read", Hint: "opdomain serve certify --dir DIR --out FILE"}
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || info.Mode().Perm()&0o077 != 0 {
		return p, &sandbox.Error{Op: "serve", Kind: sandbox.Denied, Object: l.pair, Detail: "it holds private keys and others may read it", Hint: "chmod 600"}
	}
	dec := json.NewDecoder(io.LimitReader(f, 1<<20))
	dec.DisallowUnknownFields()
	if dec.Decode(&p) != nil {
		return p, &sandbox.Error{Op: "serve", Kind: sandbox.Invalid, Object: l.pair, Detail: "not a file of opdomain serve certify"}
	}
	return p, nil
}

// open puts the channels on sockets, and says under which addresses they are reached. The TLCP listener's revocation list
// is kept fresh until ctx ends. On an error every socket is closed.
func (a *app) open(ctx context.Context, at address, sockets []net.Listener, fetch func(context.Context) (api.AuthorityInfo, error), log *slog.Logger) (out []net.Listener, urls []string, err error) {
	defer func() {
		if err != nil {
			for _, l := range sockets {
				_ = l.Close()
			}
		}
	}()
	var l channel.Listener
	if at.cert == "" {
		l, err = channel.Plain(sockets[0])
	} else {
		l, err = channel.TLS(sockets[0], at.cert, at.key, a.now)
	}
	if err != nil {
		return nil, nil, err
	}
	scheme := map[string]string{"plain": "http", "tls": "https"}[l.Scheme()]
	out, urls = append(out, l), append(urls, scheme+"://"+l.Addr().String())
	if at.tlcp != "" {
		p, err := a.readPair(at)
		if err != nil {
			return nil, nil, err
		}
		t, err := a.tlcpServer(ctx, sockets[1], p, fetch, log)
		if err != nil {
			return nil, nil, err
		}
		out, urls = append(out, t), append(urls, tlcpScheme+t.Addr().String())
	}
	return out, urls, nil
}

// authorities are the names requests may be signed for: the addresses themselves, localhost for a loopback one, the names
// given.
func authorities(sockets []net.Listener, names []string) []string {
	var out []string
	for _, l := range sockets {
		out = append(out, l.Addr().String())
		if t, ok := l.Addr().(*net.TCPAddr); ok && t.IP.IsLoopback() {
			out = append(out, net.JoinHostPort("localhost", strconv.Itoa(t.Port)))
		}
	}
	return append(out, names...)
}

// listen serves a node at its addresses until stopped, front end and core in this process.
func (a *app) listen(ctx context.Context, n *node.Node, at address, log *slog.Logger, m *api.Metrics) (*serving, error) {
	if err := at.check(); err != nil {
		return nil, err
	}
	sockets, err := at.sockets()
	if err != nil {
		return nil, err
	}
	ctx, stop := context.WithCancel(ctx)
	listeners, urls, err := a.open(ctx, at, sockets, n.Authority, log)
	if err != nil {
		stop()
		return nil, err
	}
	s, err := api.New(api.Config{Service: n, Compile: compileSQL, Authorities: authorities(sockets, at.names), Now: a.now, Sleep: sleep, Slot: slot, Log: log, Metrics: m})
	if err != nil {
		stop()
		for _, l := range listeners {
			err = errors.Join(err, l.Close())
		}
		return nil, err
	}
	v := &serving{addr: urls[0], also: urls[1:], stop: stop, done: make(chan error, 1)}
	go func() { v.done <- s.Run(ctx, listeners...) }()
	return v, nil
}

// opening is how a domain is opened to be served.
type opening struct {
	dir       string
	check     bool
	witnesses []string // URL=FILE
	workers   int      // processes that compute; 0: none
	jail      *jail.Launcher
	gvisor    gvisorFlags
	sums      node.SumLimits
	shares    string // file of the zones it computes with; "": none
}

func (o *opening) flags(c *cobra.Command) {
	c.Flags().StringVar(&o.dir, "dir", "", "folder of the domain")
	c.Flags().BoolVar(&o.check, "check", false, "first read every sealed file of the vault and ledger; name each that was changed and do not serve")
	c.Flags().StringArrayVar(&o.witnesses, "witness", nil, "URL=FILE of a witness's witness.json kept outside the domain, asked beside those it knows; repeat for more")
	c.Flags().IntVar(&o.workers, "workers", 0, "compute questions in so many processes, which hold the keys of the columns asked for only; 0: in this process")
	o.gvisor.flags(c)
	sumFlags(c, &o.sums)
	c.Flags().StringVar(&o.shares, "shares", "", "file that says with which zones questions are computed over shares, in this process whatever --workers says; opdomain mpc config sample prints one")
	must(c.MarkFlagRequired("dir"))
}

// domain opens the domain.
func (a *app) domain(ctx context.Context, o opening, m *api.Metrics) (*node.Node, error) {
	if err := node.Holds(o.dir); err != nil {
		return nil, err
	}
	if min(o.sums.Begin, o.sums.Step, o.sums.Wait) < 0 {
		return nil, usageError{invalid("--sum-begin, --sum-step, --sum-wait", "not negative", "")}
	}
	var by *fleet.Processes
	if o.workers != 0 {
		w, err := workers(o.workers, a.rand)
		if err != nil {
			return nil, usageError{fmt.Errorf("--workers: %w", err)}
		}
		by = &w
	}
	var zones *node.Shares
	if o.shares != "" {
		var err error
		if a.zones, zones, err = readShares(o.shares); err != nil {
			return nil, err
		}
	}
	p, err := a.passphraseFor(o.dir)
	if err != nil {
		return nil, err
	}
	cfg := node.Config{Dir: o.dir, Passphrase: p, Now: a.now, Steady: a.steady, Space: doctor.Space, Rand: a.rand, Metrics: m, Workers: by, Recorder: recorder(), Jail: o.jail, Sums: o.sums, Shares: zones}
	if cfg.Device, err = a.device(filepath.Join(o.dir, "keys"), p); err != nil {
		return nil, err
	}
	if cfg.Witnesses, err = a.pinned(o.witnesses); err != nil {
		return nil, err
	}
	n, err := node.Open(ctx, cfg)
	if err != nil {
		return nil, inShares(o.shares, err)
	}
	if o.check {
		if _, faults := n.Check(ctx); len(faults) > 0 {
			return nil, errors.Join(append(faults, n.Close())...)
		}
	}
	return n, nil
}

// tend keeps house for a served domain until ctx ends: it has checkpoints witnessed, stale pushes ended and the jail attacked. A domain that
// waits for its witnesses asks them often; one that a witness has proved to be put back calls stop.
func (a *app) tend(ctx context.Context, n *node.Node, log *slog.Logger, stop func()) (wait func() error) {
	done, tried := make(chan struct{}), make(chan struct{})
	summed := tendSums(ctx, n)
	go func() { // apart: attacks take seconds, and witnesses wait for none of them
		defer close(tried)
		for {
			if err := n.TryIsolation(ctx); err != nil && ctx.Err() == nil {
				log.LogAttrs(ctx, slog.LevelError, "isolation", slog.String("kind", string(sandbox.KindOf(err))), slog.String("error", err.Error()))
			}
			if sleep(ctx, tendEvery) != nil {
				return
			}
		}
	}()
	go func() {
		defer close(done)
		for {
			if err := n.Tend(ctx); err != nil && ctx.Err() == nil {
				log.LogAttrs(ctx, slog.LevelError, "housekeeping", slog.String("kind", string(sandbox.KindOf(err))), slog.String("error", err.Error()))
			}
			if n.Forked() != nil {
				stop()
				return
			}
			every := tendEvery
			if n.Waiting() {
				every = askEvery
			}
			if sleep(ctx, every) != nil { // what happened since is witnessed before it stops
				last, stop := context.WithTimeout(context.WithoutCancel(ctx), lastTend)
				defer stop()
				if err := n.Tend(last); err != nil {
					log.LogAttrs(last, slog.LevelError, "housekeeping", slog.String("kind", string(sandbox.KindOf(err))), slog.String("error", err.Error()))
				}
				return
			}
		}
	}()
	return func() error {
		<-done
		<-tried
		<-summed
		return n.Forked()
	}
}

// tendEvery is how often checkpoints go to the witnesses: at fixed intervals, so that their sizes do not tell what happens.
const (
	tendEvery = time.Minute
	askEvery  = 5 * time.Second
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
		log := slog.New(slog.NewJSONHandler(a.err, nil))
		if o.jail = a.plugins(log, o.gvisor); o.jail != nil {
			defer o.jail.Close()
		}
		n, err := a.domain(c.Context(), o, m)
		if err != nil {
			return err
		}
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
		tended := a.tend(ctx, n, log, stop)
		info, err := n.Domain(ctx)
		if err == nil {
			fmt.Fprintf(a.out, "serving domain %s (%s, %s) at %s; interrupt to stop\n", info.Domain, info.District, info.Hosting, strings.Join(append([]string{v.addr}, v.also...), " and "))
			a.printZones(a.out)
			if n.Waiting() {
				fmt.Fprintln(a.out, "it takes no request until enough of its witnesses have answered that this is its newest state")
			}
			<-ctx.Done()
		}
		stop()
		return errors.Join(err, tended(), v.close(), ctl.close(), n.Close())
	})
	o.flags(c)
	at.flags(c)
	c.Flags().StringArrayVar(&at.names, "authority", nil, "host:port under which clients reach the domain through a proxy or a name; repeat for more")
	c.Flags().BoolVar(&split, "split", false, "run front end and core as two processes of two users (as root): the front end cannot enter the domain's folder")
	c.Flags().StringVar(&front, "front-user", "nobody", "user of the front end with --split")
	c.AddCommand(a.coreCommand(), a.frontCommand(), a.serverPairCommand())
	return c
}
