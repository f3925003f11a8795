package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/doctor"
	"github.com/opdomain/opdomain/sandbox/seam"
	"github.com/spf13/cobra"
)

// coreCommand serves the core of a domain on a local socket: keys, vault, engines, gate.
func (a *app) coreCommand() *cobra.Command {
	var o opening
	var socket, front string
	var names []string
	c := verb("core", "Serve only the core, on a local socket (核心进程)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		uid, _, err := userNamed(front)
		if err != nil {
			return err
		}
		if uid == uint32(os.Geteuid()) {
			return &sandbox.Error{Op: "serve core", Kind: sandbox.Denied, Object: "--front-user", Detail: "front end and core run as two users", Hint: "make a user for the front end"}
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
		k, err := api.NewCore(api.Config{Service: n, Authorities: names, Now: a.now, Sleep: sleep, Slot: slot, Log: log, Metrics: m})
		if err != nil {
			return errors.Join(err, n.Close())
		}
		l, err := seam.Listen(socket, 0o666, uid)
		if err != nil {
			return errors.Join(err, n.Close())
		}
		ctl, err := a.control(c.Context(), n, o.dir)
		if err != nil {
			return errors.Join(err, l.Close(), n.Close())
		}
		ctx, stop := context.WithCancel(c.Context())
		defer stop()
		tended := a.tend(ctx, n, log, stop)
		info, err := n.Domain(ctx)
		if err == nil {
			a.printZones(a.err) // its first line of output is its last
			fmt.Fprintf(a.out, "core of domain %s (%s, %s) at %s; interrupt to stop\n", info.Domain, info.District, info.Hosting, socket)
			err = (&seam.Server{Core: k}).Run(ctx, l)
		}
		stop()
		return errors.Join(err, tended(), ctl.close(), n.Close())
	})
	o.flags(c)
	c.Flags().StringVar(&socket, "socket", "", "path of the socket, in a folder that both users may enter")
	c.Flags().StringVar(&front, "front-user", "", "user of the front end, by name or number")
	c.Flags().StringArrayVar(&names, "authority", nil, "host:port under which clients reach the front end; repeat for more")
	for _, f := range []string{"socket", "front-user", "authority"} {
		must(c.MarkFlagRequired(f))
	}
	return c
}

// frontCommand serves the front end: HTTP, TLS, sizes and rates. It opens no folder.
func (a *app) frontCommand() *cobra.Command {
	var at address
	var socket, core string
	c := verb("front", "Serve only the front end, for a core on a local socket (前端进程)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		uid, _, err := userNamed(core)
		if err != nil {
			return err
		}
		if err := at.check(); err != nil {
			return err
		}
		k := seam.NewClient(func(ctx context.Context) (net.Conn, error) { return seam.Dial(ctx, socket, uid) })
		log := slog.New(slog.NewJSONHandler(a.err, nil))
		s, err := api.NewFront(api.FrontConfig{Core: k, Compile: compileSQL, Now: a.now, Log: log, Metrics: api.NewMetrics()})
		if err != nil {
			return err
		}
		sockets, err := at.sockets()
		if err != nil {
			return err
		}
		ctx, stop := context.WithCancel(c.Context())
		defer stop()
		listeners, urls, err := a.open(ctx, at, sockets, fetched(k, sockets[0].Addr().String()), log)
		if err != nil {
			return errors.Join(err, k.Close())
		}
		fmt.Fprintf(a.out, "front end at %s; interrupt to stop\n", strings.Join(urls, " and "))
		return errors.Join(s.Run(ctx, listeners...), k.Close())
	})
	at.flags(c)
	c.Flags().IntVar(&at.fd, "listen-fd", 0, "descriptor of the listener that the parent process made; behind it that of the TLCP listener and its pair")
	must(c.Flags().MarkHidden("listen-fd"))
	c.Flags().StringVar(&socket, "socket", "", "path of the core's socket")
	c.Flags().StringVar(&core, "core-user", "", "user of the core, by name or number")
	must(c.MarkFlagRequired("socket"))
	must(c.MarkFlagRequired("core-user"))
	return c
}

// userNamed finds a user by name or number.
func userNamed(s string) (uid, gid uint32, err error) {
	u, err := user.Lookup(s)
	if err != nil {
		u, err = user.LookupId(s)
	}
	if err != nil {
		if n, nerr := strconv.ParseUint(s, 10, 31); nerr == nil { // a number needs no entry
			return uint32(n), uint32(n), nil
		}
		return 0, 0, &sandbox.Error{Op: "user", Kind: sandbox.NotFound, Object: s, Detail: "no such user on this machine"}
	}
	n, uerr := strconv.ParseUint(u.Uid, 10, 31)
	g, gerr := strconv.ParseUint(u.Gid, 10, 31)
	if err := errors.Join(uerr, gerr); err != nil {
		return 0, 0, &sandbox.Error{Op: "user", Kind: sandbox.Invalid, Object: s, Detail: "the user has no number"}
	}
	return uint32(n), uint32(g), nil
}

// serveSplit starts core and front end as two users and stops both when either ends. It holds no key itself.
func (a *app) serveSplit(ctx context.Context, o opening, at address, front string) error {
	refuse := func(kind sandbox.Kind, object, rule, hint string) error {
		return &sandbox.Error{Op: "serve --split", Kind: kind, Object: object, Detail: rule, Hint: hint}
	}
	if os.Geteuid() != 0 {
		return refuse(sandbox.Denied, "user", "only root can start processes of two users", "run opdomain serve core and opdomain serve front as two users, as deploy/systemd does")
	}
	frontUID, frontGID, err := userNamed(front)
	if err != nil {
		return err
	}
	// A child dies with the thread that started it: this one stays.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	for _, path := range []*string{&o.dir, &at.cert, &at.key, &at.pair, &o.shares} { // the children stand in another folder
		if *path != "" {
			if *path, err = filepath.Abs(*path); err != nil {
				return err
			}
		}
	}
	info, err := os.Stat(o.dir)
	if err != nil {
		return refuse(sandbox.NotFound, o.dir, "the folder holds no domain", "opdomain init --dir "+o.dir)
	}
	owner := info.Sys().(*syscall.Stat_t)
	if frontUID == 0 || frontUID == owner.Uid {
		return refuse(sandbox.Denied, "--front-user", "the front end is neither root nor the owner of the domain's folder", "make a user for it")
	}
	passphrase, err := a.passphraseFor(o.dir)
	if err != nil {
		return err
	}
	if err := at.check(); err != nil {
		return err
	}
	sockets, err := at.sockets()
	if err != nil {
		return err
	}
	defer func() {
		for _, l := range sockets {
			_ = l.Close()
		}
	}()
	run, err := os.MkdirTemp("", "opdomain-")
	if err == nil {
		err = errors.Join(os.Chmod(run, 0o711), os.Chown(run, int(owner.Uid), int(owner.Gid)))
	}
	if err != nil {
		return refuse(sandbox.Unavailable, "socket", "no folder for the socket can be made", "")
	}
	defer os.RemoveAll(run)
	socket := filepath.Join(run, "core")
	ctx, stop := context.WithCancel(ctx)
	defer stop()

	args := []string{"serve", "core", "--dir", o.dir, "--socket", socket, "--front-user", strconv.Itoa(int(frontUID)), "--passphrase-file", "-"}
	if o.check {
		args = append(args, "--check")
	}
	args = append(args, "--sum-begin", o.sums.Begin.String(), "--sum-step", o.sums.Step.String(), "--sum-wait", o.sums.Wait.String())
	if o.workers != 0 {
		args = append(args, "--workers", strconv.Itoa(o.workers))
	}
	if o.shares != "" { // the core reads it, as its own user
		args = append(args, "--shares", o.shares)
	}
	for _, w := range o.witnesses {
		url, path, _ := strings.Cut(w, "=")
		if path, err = filepath.Abs(path); err != nil {
			return err
		}
		args = append(args, "--witness", url+"="+path)
	}
	for _, name := range authorities(sockets, at.names) {
		args = append(args, "--authority", name)
	}
	core := a.child(ctx, owner.Uid, owner.Gid, args)
	core.Stdin = bytes.NewReader(passphrase)
	line, err := started(core)
	if err != nil {
		return err
	}
	_, name, _ := strings.Cut(line, "core of ")
	name, _, _ = strings.Cut(name, " at ")

	args = []string{"serve", "front", "--socket", socket, "--core-user", strconv.Itoa(int(owner.Uid)), "--listen-fd", "3"}
	if at.cert != "" {
		args = append(args, "--tls-cert", at.cert, "--tls-key", at.key)
	}
	var handed []*os.File
	defer func() {
		for _, f := range handed {
			_ = f.Close()
		}
	}()
	for _, l := range sockets {
		f, err := l.(*net.TCPListener).File()
		if err != nil {
			return err
		}
		handed = append(handed, f)
	}
	if at.tlcp != "" { // the front end reads the pair without being able to open its file
		f, err := os.Open(at.pair)
		if err != nil {
			return refuse(sandbox.NotFound, at.pair, "the file cannot be read", "opdomain serve certify --dir DIR --out FILE")
		}
		handed = append(handed, f)
		args = append(args, "--tlcp", at.tlcp, "--tlcp-pair", at.pair)
	}
	web := a.child(ctx, frontUID, frontGID, args)
	web.ExtraFiles = handed
	if line, err = started(web); err != nil {
		stop()
		return errors.Join(err, core.Wait())
	}
	_, where, _ := strings.Cut(line, "front end at ")
	where, _, _ = strings.Cut(where, ";")
	fmt.Fprintf(a.out, "serving %s at %s in two processes, core %d of user %d, front end %d of user %d; interrupt to stop\n",
		name, where, core.Process.Pid, owner.Uid, web.Process.Pid, frontUID)

	// The front end first, so that what it has taken in is still answered.
	webDone := make(chan error, 1)
	coreDone := make(chan error, 1)
	go func() { webDone <- web.Wait() }()
	go func() { coreDone <- core.Wait() }()
	ended := func(who string, err error) error {
		if ctx.Err() != nil && err != nil && !errors.As(err, new(*exec.ExitError)) {
			return nil
		}
		if ctx.Err() == nil {
			return &sandbox.Error{Op: "serve --split", Kind: sandbox.Unavailable, Object: who, Detail: "the process ended by itself", Err: err}
		}
		return nil
	}
	select {
	case err = <-webDone:
		err = ended("front end", err)
		stop()
		<-coreDone
	case err = <-coreDone:
		err = ended("core", err)
		stop()
		<-webDone
	}
	return err
}

// child prepares this program as a process of another user. It dies with its parent and is asked to stop when ctx ends.
func (a *app) child(ctx context.Context, uid, gid uint32, args []string) *exec.Cmd {
	c := exec.CommandContext(ctx, "/proc/self/exe", args...)
	c.Args[0] = os.Args[0]
	c.Dir = "/"
	c.Env = []string{"PATH=/usr/bin:/bin", doctor.ConstantTime + "=1"}
	c.Stderr = a.err
	c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: gid}, Pdeathsig: syscall.SIGTERM, Setpgid: true}
	c.Cancel = func() error { return c.Process.Signal(syscall.SIGTERM) }
	c.WaitDelay = 40 * time.Second
	return c
}

// started starts a child and waits for its first line. Its output after that is not read.
func started(c *exec.Cmd) (string, error) {
	r, w, err := os.Pipe()
	if err != nil {
		return "", err
	}
	defer r.Close()
	c.Stdout = w
	err = c.Start()
	_ = w.Close()
	if err != nil {
		return "", &sandbox.Error{Op: "serve --split", Kind: sandbox.Unavailable, Object: c.Args[2], Detail: "the process cannot be started", Err: err}
	}
	line, err := bufio.NewReader(io.LimitReader(r, 4<<10)).ReadString('\n')
	if err != nil {
		return "", &sandbox.Error{Op: "serve --split", Kind: sandbox.Unavailable, Object: c.Args[2], Detail: "the process ended before it served; its own error stands above", Err: c.Wait()}
	}
	return line, nil
}

// ownerOf gives the user who owns a folder.
func ownerOf(dir string) (uint32, bool) {
	info, err := os.Stat(dir)
	if err != nil {
		return 0, false
	}
	s, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return 0, false
	}
	return s.Uid, true
}
