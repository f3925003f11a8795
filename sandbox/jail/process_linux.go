package jail

import (
	"context"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	plugin "github.com/hashicorp/go-plugin"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/opdomain/opdomain/attest/sm"
)

// Process (隔离进程) is a plug-in that runs. It must be closed.
type Process struct {
	launcher *Launcher
	job      Job
	image    *Image
	began    time.Time
	uid      int
	cmd      *exec.Cmd   // what was started: stage 1, which becomes the plug-in, or what stands before it
	pid      int         // of the plug-in
	inside   *os.Process // the plug-in, where another process than this one started it
	relays   bool        // what was started says a signal of the plug-in as 128 and its number
	bundle   string      // folder of a sentry
	group    *group
	posture  Posture

	inner   [controlFD + 1]*os.File // the plug-in's ends
	rpc     net.Conn
	feed    *os.File
	control *os.File
	out     [2]*os.File
	fds     map[int]string // what its descriptors are, as procfs shows them

	client *plugin.Client
	conn   grpc.ClientConnInterface

	why    atomic.Pointer[Reason] // of the first kill
	bytes  atomic.Int64           // of output
	gone   chan struct{}          // closed when the process ended and its group is gone
	mu     sync.Mutex             // of group, against the end
	ended  bool
	status syscall.WaitStatus
	oom    bool
	left   error // what could not be taken away
	close  sync.Once
	stop   func()
	wait   sync.WaitGroup
}

// Conn is the plug-in's gRPC. Errors of calls are Faults without the plug-in's words; a message over the limit ends it.
func (p *Process) Conn() grpc.ClientConnInterface { return p.conn }

// Stream is the channel of a process that was started by its Entry: bytes that end when it does; nil of every other.
func (p *Process) Stream() io.ReadWriter {
	if p.job.Entry == "" || p.job.Serves {
		return nil
	}
	return p.rpc
}

// Posture is what was seen from outside before the process got data.
func (p *Process) Posture() Posture { return p.posture }

// Image is SM3 of the image that runs: of a module's host for W.
func (p *Process) Image() [sm.Size]byte { return p.image.digest }

// Output is the number of bytes of standard output and error so far. They are not kept.
func (p *Process) Output() int64 { return p.bytes.Load() }

// Done is closed when the process has ended.
func (p *Process) Done() <-chan struct{} { return p.gone }

// Kill ends the process for a reason, by SIGKILL, and does not wait.
func (p *Process) Kill(r Reason) {
	p.why.CompareAndSwap(nil, &r)
	p.mu.Lock()
	if p.group != nil && !p.ended {
		p.group.kill()
	}
	p.mu.Unlock()
	if p.inside != nil {
		_ = p.inside.Kill() // what stands before it ends with it
	} else if p.cmd != nil {
		_ = p.cmd.Process.Kill() // by pidfd: never another process of that number; the first of its namespace takes the rest along
	}
}

// Reason says how the process ended, or "" while it runs.
func (p *Process) Reason() Reason {
	select {
	case <-p.gone:
	default:
		return ""
	}
	if r := p.why.Load(); r != nil {
		return *r
	}
	signal := syscall.Signal(-1)
	switch {
	case p.status.Signaled():
		signal = p.status.Signal()
	case p.relays && p.status.ExitStatus() > 128:
		signal = syscall.Signal(p.status.ExitStatus() - 128)
	}
	switch {
	case p.oom:
		return Memory
	case signal == syscall.SIGSYS:
		return Forbidden
	case signal == syscall.SIGXCPU:
		return Deadline
	case p.status.Exited() && p.status.ExitStatus() == 0:
		return Ended
	}
	return Crashed
}

// cause prefers what the process did to what a caller saw of it; a process that is about to end gets a moment to.
func (p *Process) cause(seen Reason) Reason {
	if p.cmd == nil || seen == Layer || seen == BadImage || seen == Unfit {
		return ""
	}
	select {
	case <-p.gone:
		return p.Reason()
	case <-time.After(50 * time.Millisecond):
	}
	if r := p.why.Load(); r != nil {
		return *r
	}
	return ""
}

// Close kills the process, waits, and frees what it had. The error is about what could not be taken away.
func (p *Process) Close() error {
	p.close.Do(func() {
		p.Kill(Closed)
		if p.stop != nil {
			p.stop()
		}
		if p.cmd != nil {
			<-p.gone
		}
		if p.client != nil {
			p.client.Kill()
		}
		for _, f := range append(append([]*os.File{}, p.inner[:]...), p.feed, p.control, p.out[0], p.out[1]) {
			if f != nil {
				_ = f.Close()
			}
		}
		if p.rpc != nil {
			_ = p.rpc.Close()
		}
		if p.bundle != "" {
			_ = os.RemoveAll(p.bundle)
			_ = os.RemoveAll(filepath.Join(filepath.Dir(p.bundle), "state-"+filepath.Base(p.bundle)))
		}
		p.wait.Wait()
		p.launcher.mu.Lock()
		delete(p.launcher.running, p)
		p.launcher.mu.Unlock()
	})
	return p.left
}

// adopt gives the process its group, or says that it has ended.
func (p *Process) adopt(g *group) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.ended {
		p.group = g
	}
	return !p.ended
}

// reap waits for the process and takes its group away.
func (p *Process) reap() {
	_ = p.cmd.Wait()
	if s, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok {
		p.status = s
	}
	p.mu.Lock()
	p.ended = true
	g := p.group
	p.mu.Unlock()
	if g != nil {
		p.oom = g.oom()
		p.left = g.end()
	}
	close(p.gone)
}

// watch counts output and holds the process to its time and to ctx.
func (p *Process) watch(ctx context.Context) {
	p.launcher.mu.Lock()
	p.launcher.running[p] = struct{}{}
	p.launcher.mu.Unlock()
	for _, f := range p.out {
		p.wait.Go(func() {
			b := make([]byte, 4096)
			for {
				n, err := f.Read(b)
				if p.bytes.Add(int64(n)) > p.job.Limits.Output {
					p.Kill(Flooded)
				}
				if err != nil {
					return
				}
			}
		})
	}
	timer := time.AfterFunc(time.Until(p.began.Add(p.job.Limits.Wall)), func() { p.Kill(Deadline) })
	unhook := context.AfterFunc(ctx, func() {
		if errors.Is(ctx.Err(), context.DeadlineExceeded) {
			p.Kill(Deadline)
		} else {
			p.Kill(Cancelled)
		}
	})
	p.stop = func() { timer.Stop(); unhook() }
}

// send gives the process an object: its size, and a description of its own.
func (p *Process) send(f *os.File, size int64) error {
	var rights []byte
	if f != nil {
		ro, err := reopen(f)
		if err != nil {
			return err
		}
		defer ro.Close()
		rights = unix.UnixRights(int(ro.Fd()))
	}
	// It never waits: the feed holds far more messages than are ever sent.
	err := unix.Sendmsg(int(p.feed.Fd()), binary.LittleEndian.AppendUint64(nil, uint64(size)), rights, nil, unix.MSG_NOSIGNAL|unix.MSG_DONTWAIT)
	if err != nil {
		return &Fault{Op: "jail: start", Reason: Crashed, Object: "feed", Err: err}
	}
	return nil
}

func isEOF(err error) bool { return errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) }
