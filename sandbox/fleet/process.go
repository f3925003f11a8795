package fleet

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"io"
	"os/exec"
	"sync"
	"syscall"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/opdomain/opdomain/sandbox"
)

// process (工作进程) is one worker as its coordinator has it. One goroutine uses it; kill may come from others.
type process struct {
	number int
	cmd    *exec.Cmd
	in     io.WriteCloser
	out    io.ReadCloser
	line   *line
	bound  bound
	most   int
	once   sync.Once
}

// start starts a worker and tells it which connection it is on. It inherits its three standard files and no variables but the named ones;
// what it prints about its own end is dropped: it might hold values.
func (j *job) start(number int) (*process, error) {
	c := j.config
	cmd := exec.Command(c.Program)
	cmd.Args = c.Command
	cmd.Env = append([]string{}, c.Env...) // nil would be this process's own
	cmd.Dir = "/"
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	p := &process{number: number, cmd: cmd, bound: bound{j.id, j.kernel}, most: c.MaxResult}
	secret := make([]byte, secretSize)
	defer clear(secret)
	unavailable := func(rule string, err error) error {
		return &sandbox.Error{Op: "fleet", Kind: sandbox.Unavailable, Object: "worker", Detail: rule, Err: err}
	}
	if _, err := io.ReadFull(c.Rand, secret); err != nil {
		return nil, unavailable("randomness for its connection", err)
	}
	var err error
	if p.in, err = cmd.StdinPipe(); err != nil {
		return nil, unavailable("it has pipes", err)
	}
	if p.out, err = cmd.StdoutPipe(); err != nil {
		_ = p.in.Close()
		return nil, unavailable("it has pipes", err)
	}
	if err := cmd.Start(); err != nil {
		return nil, unavailable("the program can be started", err)
	}
	if c.began != nil {
		c.began(cmd.Process.Pid)
	}
	if p.line, err = newLine(p.out, p.in, j.id, secret, false); err != nil {
		p.end()
		return nil, err
	}
	hello := append(append([]byte(magic), j.id...), secret...)
	defer clear(hello)
	if _, err := p.in.Write(hello); err != nil {
		p.end()
		return nil, errGone
	}
	return p, nil
}

// kill ends it at once: nothing of it is needed any more.
func (p *process) kill() {
	p.once.Do(func() {
		_ = p.cmd.Process.Kill()
		_ = p.in.Close()
		_ = p.out.Close() // whoever else may hold the other end
	})
}

// end kills it and waits until the system has it no more.
func (p *process) end() {
	p.kill()
	_ = p.cmd.Wait()
}

// errLease says that a lease ended before its task.
var errLease = errors.New("its lease ended")

// within runs f under a lease: when it or ctx ends, the process is killed, which ends f.
func (p *process) within(ctx context.Context, lease <-chan time.Time, f func() error) error {
	done := make(chan struct{})
	var wait sync.WaitGroup
	var cut error
	wait.Go(func() {
		select {
		case <-lease:
			cut = errLease
		case <-ctx.Done():
			cut = &sandbox.Error{Op: "fleet", Kind: sandbox.Unavailable, Object: "job", Err: ctx.Err()}
		case <-done:
			return
		}
		p.kill()
	})
	err := f()
	close(done)
	wait.Wait()
	if cut != nil {
		return cut
	}
	return err
}

// ready sends the job and gives the number of parts that the worker sees.
func (p *process) ready(order []byte) (parts uint64, err error) {
	if err := p.line.send(bound{job: p.bound.job}.to(noPart), order); err != nil {
		return 0, err
	}
	m, err := p.answer(noPart, isReady)
	if err != nil {
		return 0, err
	}
	if len(m) != 8 {
		return 0, fail(sandbox.Tampered, "worker", "says how many parts there are")
	}
	return binary.BigEndian.Uint64(m), nil
}

// compute has a part computed and gives the encoded partial.
func (p *process) compute(part int) ([]byte, error) {
	if err := p.line.send(p.bound.to(noPart), binary.BigEndian.AppendUint64(nil, uint64(part))); err != nil {
		return nil, err
	}
	return p.answer(uint64(part), isPartial)
}

// answer reads what concerns a part, a problem as an error.
func (p *process) answer(part uint64, kind byte) ([]byte, error) {
	m, err := p.line.receive(p.bound.to(part), p.most)
	switch {
	case err == io.EOF:
		return nil, errGone
	case err != nil:
		return nil, err
	case len(m) == 0 || m[0] != kind && m[0] != isError:
		return nil, fail(sandbox.Tampered, "worker", "answers what it is asked")
	case m[0] == kind:
		return m[1:], nil
	}
	return nil, reported(m[1:])
}

// kinds are those of errors that a worker may report.
var kinds = map[sandbox.Kind]bool{sandbox.Invalid: true, sandbox.Denied: true, sandbox.NotFound: true, sandbox.Conflict: true,
	sandbox.Expired: true, sandbox.TooLarge: true, sandbox.Tampered: true, sandbox.Unavailable: true, sandbox.Internal: true}

// reported gives a worker's own error, which may say what the domain's errors say.
func reported(b []byte) error {
	var x problem
	if json.Unmarshal(b, &x) != nil || !kinds[x.Kind] || !short(x.Object) || !short(x.Detail) {
		return fail(sandbox.Tampered, "worker", "reports an error of the domain's kinds")
	}
	return &sandbox.Error{Op: "fleet: worker", Kind: x.Kind, Object: x.Object, Detail: x.Detail}
}

func short(s string) bool {
	if len(s) > 512 || !utf8.ValidString(s) {
		return false
	}
	for _, r := range s {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}
