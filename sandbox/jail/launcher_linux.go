package jail

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/jail/guest"
)

// Config (隔离配置) says what a Launcher may use. The zero value is right for a service with a control group of its own.
type Config struct {
	// Program is what a plug-in is started through and what hosts modules; it calls Enter. Default: opdomain-jail beside this
	// program's file, else this program itself. Others must be able to execute its file, and nobody else to write to it.
	Program string
	Sentry  Sentry // of T2; the zero one: T2 is refused
	Base    int    // as root: the first user id of plug-ins; default 100000. Nobody else may have it
}

// Launcher (隔离启动器) starts plug-ins. One serves a whole process.
type Launcher struct {
	cfg     Config
	report  Report
	cgroups *cgroups // nil: none that can be written
	gvisor  *gvisor  // nil: no runsc
	self    func() (*Image, error)

	work   chan func()
	done   chan struct{}
	closed atomic.Bool
	halted atomic.Pointer[Fault] // by a canary
	next   atomic.Uint32

	proving sync.Mutex
	passed  map[Tier]bool // the last canary, by native tier; one in doubt clears all

	mu      sync.Mutex
	running map[*Process]struct{}
	spare   map[bool]*Process // by whether it stands in namespaces
	filling sync.WaitGroup
}

// New examines the machine and gives a Launcher; Close it. What is missing is in Probe and refuses later.
func New(cfg Config) (*Launcher, error) {
	if cfg.Program == "" {
		cfg.Program = beside()
	}
	if cfg.Program == ownProgram && !entered.Load() {
		return nil, &sandbox.Error{Op: "jail", Kind: sandbox.Invalid, Object: "program", Detail: "does not call Enter first in main", Hint: "call it, or put " + helperName + " beside the program"}
	}
	if cfg.Base == 0 {
		cfg.Base = 100000
	}
	if cfg.Base < 1000 {
		return nil, &sandbox.Error{Op: "jail", Kind: sandbox.Invalid, Object: "base", Detail: "user ids of plug-ins start at 1000 or above"}
	}
	l := &Launcher{cfg: cfg, work: make(chan func()), done: make(chan struct{}), passed: map[Tier]bool{}, running: map[*Process]struct{}{}, spare: map[bool]*Process{}}
	l.self = sync.OnceValues(l.sealSelf)
	go l.starter()
	l.examine()
	return l, nil
}

// beside is the small program next to this one, else this one.
func beside() string {
	own, err := os.Executable()
	if err == nil {
		path := filepath.Join(filepath.Dir(own), helperName)
		if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() {
			return path
		}
	}
	return ownProgram
}

const (
	helperName = Helper
	ownProgram = "/proc/self/exe"
)

// Probe says for each layer whether this machine has it, as New found it.
func (l *Launcher) Probe() Report { return l.report }

// starter starts every process from one thread that lives as long as the launcher: the kernel's parent death signal comes
// when the thread that started a process ends, not when its program does.
func (l *Launcher) starter() {
	runtime.LockOSThread()
	defer close(l.done)
	for f := range l.work {
		f()
	}
}

func (l *Launcher) onStarter(f func() error) error {
	result := make(chan error, 1)
	l.work <- func() { result <- f() }
	return <-result
}

// Close kills what runs, waits for it, and ends the launcher. Start must not run beside it.
func (l *Launcher) Close() error {
	if l.closed.Swap(true) {
		return nil
	}
	l.filling.Wait()
	l.mu.Lock()
	var all []*Process
	for _, p := range l.spare {
		all = append(all, p)
	}
	for p := range l.running {
		all = append(all, p)
	}
	l.mu.Unlock()
	for _, p := range all {
		_ = p.Close()
	}
	close(l.work)
	<-l.done
	if l.gvisor != nil {
		l.gvisor.close()
	}
	img, err := l.self()
	if err != nil {
		return nil
	}
	return img.Close()
}

// sealSelf is this program as an image: the hosts of modules and canaries are entries of it.
func (l *Launcher) sealSelf() (*Image, error) {
	if l.closed.Load() {
		return nil, errGone
	}
	f, err := os.Open(l.cfg.Program)
	if err != nil {
		return nil, unavailable("program", err)
	}
	defer f.Close()
	return sealImage(f, true)
}

// Start starts a plug-in, examines it, feeds it and waits for its first answer. ctx bounds the start and the life of the
// plug-in. An error is a Fault, or Invalid for limits; nothing of the plug-in is left then.
func (l *Launcher) Start(ctx context.Context, job Job) (*Process, error) {
	var err error
	if job.Limits, err = job.Limits.complete(); err != nil {
		return nil, err
	}
	if err := l.report.refuse(job.Tier); err != nil {
		return nil, err
	}
	if err := l.Halted(); err != nil {
		return nil, err
	}
	if job.Entry != "" && (job.Image != nil || job.Module != nil || job.Dataset != nil && !job.Serves || strings.HasPrefix(job.Entry, Helper+"-")) {
		return nil, &sandbox.Error{Op: "jail: start", Kind: sandbox.Invalid, Object: "entry", Detail: "stands in place of an image, without a module or data, under a name of its own"}
	}
	c := child{args: []string{pluginName}, image: job.Image}
	switch job.Tier {
	case T1, T1p:
		if job.Entry == "" {
			break
		}
		if missing := l.report.MissingOwn(job.Tier); len(missing) > 0 {
			return nil, &Fault{Op: "jail: start", Reason: Layer, Object: missing[0].Name, Detail: missing[0].Detail}
		}
		if job.Image, err = l.self(); err != nil {
			return nil, err
		}
		c = child{args: []string{job.Entry}, image: job.Image, bare: !job.Serves}
	}
	switch job.Tier {
	case W, Wp:
		if job.Module == nil || job.Image != nil || job.Entry != "" {
			return nil, &sandbox.Error{Op: "jail: start", Kind: sandbox.Invalid, Object: string(job.Tier), Detail: "runs a module, and no image"}
		}
		if c.image, err = l.self(); err != nil {
			return nil, err
		}
		c.args, c.phase = []string{wasmName, strconv.FormatInt(job.Limits.Memory, 10)}, compile
	default:
		if job.Image == nil || job.Module != nil {
			return nil, &sandbox.Error{Op: "jail: start", Kind: sandbox.Invalid, Object: string(job.Tier), Detail: "runs an image, and no module"}
		}
	}
	if err := ctx.Err(); err != nil {
		return nil, &Fault{Op: "jail: start", Reason: Cancelled, Err: err}
	}
	if l.closed.Load() {
		return nil, &Fault{Op: "jail: start", Reason: Closed, Detail: "the launcher is closed"}
	}
	if err := l.proven(ctx, job.Tier); err != nil {
		return nil, err
	}
	return l.start(ctx, job, c)
}

// child is what becomes a process.
type child struct {
	args  []string
	image *Image
	phase phase
	bare  bool // it speaks no gRPC
}

// start is the whole life of a start; Start and Canary come through here.
func (l *Launcher) start(ctx context.Context, job Job, c child) (p *Process, err error) {
	if l.closed.Load() {
		return nil, &Fault{Op: "jail: start", Reason: Closed, Detail: "the launcher is closed"}
	}
	if err := ctx.Err(); err != nil {
		return nil, &Fault{Op: "jail: start", Reason: Cancelled, Err: err}
	}
	began := time.Now()
	if job.Tier == T2 {
		p = &Process{launcher: l, gone: make(chan struct{}), uid: os.Geteuid()}
	} else if p, err = l.take(job.Tier); err != nil {
		return nil, err
	}
	p.job, p.image, p.began = job, c.image, began
	defer func() {
		if err != nil {
			cause := p.cause(ReasonOf(err)) // before Close gives it one
			_ = p.Close()
			if f := (*Fault)(nil); errors.As(err, &f) && cause != "" {
				f.Reason = cause
			}
			p = nil
		}
	}()
	if job.Tier == T2 {
		if err = l.startSentry(ctx, p, c); err == nil && !c.bare {
			err = p.connect(ctx)
		}
		return p, err
	}
	if err := l.confine(p, c); err != nil {
		return p, err
	}
	p.watch(ctx)
	if err := l.prove(p, c); err != nil {
		return p, err
	}
	if c.phase == compile {
		if err := p.send(job.Module.file, job.Module.size); err != nil {
			return p, err
		}
		if err := p.compiled(ctx); err != nil {
			return p, err
		}
	}
	if d := job.Dataset; d != nil {
		err = p.send(d.file, d.size)
	} else {
		err = p.send(nil, 0)
	}
	if err != nil {
		return p, err
	}
	_ = p.feed.Close()
	if c.phase != compile && !c.bare {
		err = p.connect(ctx)
	}
	if err == nil {
		l.refill(job.Tier)
	}
	return p, err
}

func named(t Tier) bool { return t == T1 || t == W }

// take gives a process that waits in stage 1: the spare one, or a new one. Starting this program and making namespaces takes
// longer than all that comes after, so one of each kind is started ahead; it knows nothing yet, and dies with the host as any.
func (l *Launcher) take(t Tier) (*Process, error) {
	names := named(t)
	l.mu.Lock()
	p := l.spare[names]
	delete(l.spare, names)
	l.mu.Unlock()
	if p != nil {
		select {
		case <-p.gone:
			_ = p.Close()
		default:
			return p, nil
		}
	}
	return l.wait(names)
}

// refill starts the next spare one.
func (l *Launcher) refill(t Tier) {
	names := named(t)
	l.filling.Go(func() {
		p, err := l.wait(names)
		if err != nil {
			return // the next start meets the reason
		}
		l.mu.Lock()
		old := l.spare[names]
		l.spare[names] = p
		l.mu.Unlock()
		if old != nil {
			_ = old.Close()
		}
	})
}

// wait starts a stage 1 that waits for its order.
func (l *Launcher) wait(names bool) (*Process, error) {
	p := &Process{launcher: l, gone: make(chan struct{}), uid: os.Geteuid()}
	if err := p.wire(); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	root := os.Geteuid() == 0
	cmd := exec.Command(l.cfg.Program)
	cmd.Args, cmd.Env, cmd.Dir = []string{stageName}, []string{}, "/"
	var report, reporter *os.File
	if names && needsShim() {
		var err error
		if report, reporter, err = os.Pipe(); err != nil {
			return nil, errors.Join(unavailable("descriptors", err), p.Close())
		}
		cmd.Args = []string{shimName}
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr = p.inner[0], p.inner[1], p.inner[2]
	cmd.ExtraFiles = []*os.File{p.inner[rpcFD], p.inner[feedFD], p.inner[controlFD]}
	a := &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	if report != nil {
		cmd.ExtraFiles = append(cmd.ExtraFiles, reporter)
	} else if names {
		uid, gid := os.Geteuid(), os.Getegid()
		if root {
			p.uid = l.cfg.Base
			uid, gid = p.uid, p.uid
			// User 0 of the new namespace, or exec loses the capabilities that stage 1 needs; and none of the host's groups.
			a.Credential, a.GidMappingsEnableSetgroups = &syscall.Credential{}, true
		}
		newNamespaces(a, uid, gid)
	} else if root {
		// A user id of its own, so that its number of tasks is counted alone and it has no equal to signal.
		p.uid = l.cfg.Base + 1 + int(l.next.Add(1)%4096)
		a.Credential = &syscall.Credential{Uid: uint32(p.uid), Gid: uint32(p.uid)}
	}
	cmd.SysProcAttr = a
	err := l.onStarter(cmd.Start)
	if err == nil {
		p.cmd, p.pid = cmd, cmd.Process.Pid
	}
	if report != nil {
		_ = reporter.Close()
		if err == nil {
			err = p.reported(report)
		} else {
			_ = report.Close()
		}
		if err != nil && p.cmd != nil {
			go p.reap() // Close waits for it
		}
	}
	if err != nil {
		f := &Fault{Op: "jail: start", Reason: Layer, Object: layerStage, Err: err}
		if errors.Is(err, os.ErrPermission) {
			f.Detail = "new namespaces are not allowed here, or others may not execute the program of the jail or enter its folder"
		}
		return nil, errors.Join(f, p.Close())
	}
	go p.reap()
	for _, f := range p.inner {
		_ = f.Close()
	}
	return p, nil
}

// wire makes the channel, the feed and the pipes of output.
func (p *Process) wire() error {
	var err error
	pair := func(kind int, name string, block bool) (host, child *os.File) {
		if err != nil {
			return nil, nil
		}
		var fds [2]int
		if fds, err = unix.Socketpair(unix.AF_UNIX, kind|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0); err != nil {
			return nil, nil
		}
		if block {
			err = unix.SetNonblock(fds[1], false) // each end has a state of its own
		}
		return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name)
	}
	pipe := func() (r, w *os.File) {
		if err == nil {
			r, w, err = os.Pipe()
		}
		return r, w
	}
	var rpc *os.File
	rpc, p.inner[rpcFD] = pair(unix.SOCK_STREAM, "rpc", false)
	p.feed, p.inner[feedFD] = pair(unix.SOCK_SEQPACKET, "feed", true)
	p.control, p.inner[controlFD] = pair(unix.SOCK_SEQPACKET, "control", true)
	p.out[0], p.inner[1] = pipe()
	p.out[1], p.inner[2] = pipe()
	if err == nil {
		p.inner[0], err = os.Open(os.DevNull)
	}
	if err == nil {
		p.rpc, err = net.FileConn(rpc)
	}
	if rpc != nil {
		_ = rpc.Close()
	}
	p.fds = map[int]string{}
	for fd := range feedFD + 1 {
		var st unix.Stat_t
		if err == nil {
			err = unix.Fstat(int(p.inner[fd].Fd()), &st)
		}
		switch st.Mode & unix.S_IFMT {
		case unix.S_IFSOCK:
			p.fds[fd] = fmt.Sprintf("socket:[%d]", st.Ino)
		case unix.S_IFIFO:
			p.fds[fd] = fmt.Sprintf("pipe:[%d]", st.Ino)
		default:
			p.fds[fd] = os.DevNull
		}
	}
	if err != nil {
		return unavailable("descriptors", err)
	}
	return nil
}

// confine puts a waiting stage 1 into its group, and gives it its order and its image. When it returns without an error the
// plug-in runs.
func (l *Launcher) confine(p *Process, c child) error {
	fault := func(object string, err error) error {
		return &Fault{Op: "jail: start", Reason: Layer, Object: object, Err: err}
	}
	names, root := named(p.job.Tier), os.Geteuid() == 0
	cores := runtime.NumCPU()
	if p.job.Limits.Cores > 0 {
		cores = max(1, int(p.job.Limits.Cores))
	}
	o := order{Names: names, Bound: names, Phase: c.phase, Args: c.args, Env: []string{guest.Variable + "=" + guest.Version, "GOMAXPROCS=" + strconv.Itoa(cores)},
		MountAt: "/proc", Limits: limitsOf(p.job, root, l.cgroups != nil), Try: c.image == nil}
	if l.cgroups != nil {
		g, err := l.cgroups.group(p.job.Limits)
		if err != nil {
			return fault(layerCgroup, err)
		}
		if !p.adopt(g) {
			return fault(layerStage, errors.Join(errGone, g.remove()))
		}
		if err := g.join(p.pid); err != nil {
			return fault(layerCgroup, err)
		}
	} else if names && root && c.image != nil {
		return fault(layerCgroup, errors.New("none that can be written"))
	}
	b, err := json.Marshal(o)
	if err != nil || len(b) > maxOrder {
		return fault("order", errors.Join(err, errors.New("too long")))
	}
	if err := p.control.SetDeadline(p.began.Add(p.job.Limits.Start)); err != nil {
		return unavailable("control", err)
	}
	var rights []byte
	if c.image != nil {
		image, err := reopen(c.image.file)
		if err != nil {
			return err
		}
		defer image.Close()
		rights = unix.UnixRights(int(image.Fd()))
	}
	raw, err := p.control.SyscallConn()
	if err != nil {
		return unavailable("control", err)
	}
	var sent error
	if err := raw.Write(func(fd uintptr) bool {
		sent = unix.Sendmsg(int(fd), b, rights, nil, unix.MSG_NOSIGNAL)
		return sent != unix.EAGAIN
	}); err != nil || sent != nil {
		return fault(layerStage, errors.Join(err, sent))
	}
	said := make([]byte, 256)
	n, err := p.control.Read(said) // the end of it: the image runs
	_ = p.control.Close()
	switch {
	case n > 0:
		f := &Fault{Op: "jail: start", Reason: Layer, Object: layerStage, Detail: string(said[:n])}
		if strings.HasPrefix(f.Detail, "execute:") {
			f.Reason, f.Object = BadImage, "image"
		}
		return f
	case err != nil && !isEOF(err):
		return &Fault{Op: "jail: start", Reason: Deadline, Object: layerStage, Err: err}
	}
	return nil
}

// limitsOf are the limits of the process itself. Where there is a group its bound of memory comes first, so that the end has a
// reason, and this one behind it; where there is none this is the bound.
func limitsOf(job Job, root, grouped bool) map[int]uint64 {
	data := uint64(job.Limits.Memory)
	if grouped {
		data = 2*data + 512<<20
	}
	threads := uint64(job.Limits.Threads)
	if !root && !named(job.Tier) {
		threads += 1024 // the user's other tasks count too
	}
	cpu := uint64(job.Limits.Wall.Seconds()*float64(runtime.NumCPU())) + 2
	return map[int]uint64{unix.RLIMIT_CORE: 0, unix.RLIMIT_NOFILE: maxFD, unix.RLIMIT_FSIZE: 0, unix.RLIMIT_MEMLOCK: 0, unix.RLIMIT_MSGQUEUE: 0,
		unix.RLIMIT_SIGPENDING: 64, unix.RLIMIT_NPROC: threads, unix.RLIMIT_DATA: data, unix.RLIMIT_CPU: cpu}
}
