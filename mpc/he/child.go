package he

import (
	"bufio"
	"context"
	"encoding/binary"
	"errors"
	"io"
	"os/exec"
	"runtime"
	"slices"
	"sync"
	"unicode"
	"unicode/utf8"

	"github.com/opdomain/opdomain/sandbox"
)

// maxCall bounds the bytes of one call and of one answer: 64 ciphertexts of the widest set, or an asker's keys and features.
const maxCall = 256 << 20

// Launch (启动方式) starts the process that Serve runs in. Calls go to its input and answers come from its output; Kill ends it at once
// and waits. Package jailed has the one that confines; Program only bounds.
type Launch interface {
	Start() (Process, error)
}

// Process (引擎进程) is a started engine.
type Process interface {
	io.Reader
	io.Writer
	Kill()
}

// Program (引擎程序) launches a program as the engine: it inherits its two pipes, no variable but those named and no output elsewhere; what
// it says about its own end is dropped, because it might hold values. The program calls Confine and Serve.
type Program struct {
	Path string
	Args []string // the name first
	Env  []string

	began func(pid int)
}

// Start starts it.
func (p Program) Start() (Process, error) {
	cmd := exec.Command(p.Path)
	cmd.Args, cmd.Dir = p.Args, "/"
	cmd.Env = append([]string{}, p.Env...) // nil would be this process's own
	apart(cmd)
	r := &running{cmd: cmd}
	var err error
	if r.WriteCloser, err = cmd.StdinPipe(); err == nil {
		if r.out, err = cmd.StdoutPipe(); err == nil {
			err = cmd.Start()
		}
	}
	if err != nil {
		return nil, &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "engine", Detail: "its process can be started", Err: err}
	}
	if p.began != nil {
		p.began(cmd.Process.Pid)
	}
	return r, nil
}

type running struct {
	cmd *exec.Cmd
	io.WriteCloser
	out  io.ReadCloser
	once sync.Once
}

func (r *running) Read(b []byte) (int, error) { return r.out.Read(b) }

func (r *running) Kill() {
	r.once.Do(func() {
		_ = r.cmd.Process.Kill()
		_ = r.Close()
		_ = r.out.Close()
		_ = r.cmd.Wait()
	})
}

// Child (独立进程引擎) is an Engine in a process of its own. When that ends, for whatever reason, every call from then on is Unavailable: the
// keys it held are gone, and nothing is started anew behind the caller's back. One call runs at a time.
type Child struct {
	mu   sync.Mutex
	p    Process
	in   *bufio.Reader
	gone bool
}

// NewChild starts one.
func NewChild(l Launch) (*Child, error) {
	p, err := l.Start()
	if err != nil {
		return nil, err
	}
	return &Child{p: p, in: bufio.NewReaderSize(p, 1<<16)}, nil
}

var errGone = &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "engine", Detail: "its process runs", Hint: "plan the next epoch with fresh ciphertexts"}

// Do sends a call and waits. When ctx ends first, the process is killed.
func (c *Child) Do(ctx context.Context, op Op, args ...[]byte) ([][]byte, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.gone {
		return nil, errGone
	}
	size := 0
	for _, a := range args {
		size += len(a)
	}
	if size > maxCall || len(args) == 0 || len(args) > maxArgs {
		return nil, fail(sandbox.TooLarge, "call", "has 1 to 4096 arguments of at most 256 MiB together")
	}
	done := make(chan struct{})
	var wait sync.WaitGroup
	wait.Go(func() {
		select {
		case <-ctx.Done():
			c.p.Kill()
		case <-done:
		}
	})
	out, err := c.call(op, args)
	close(done)
	wait.Wait()
	var e *sandbox.Error
	if err != nil && !errors.As(err, &e) || ctx.Err() != nil {
		c.gone = true
		c.p.Kill()
		return nil, errGone
	}
	return out, err
}

func (c *Child) call(op Op, args [][]byte) ([][]byte, error) {
	if err := WriteFrame(c.p, byte(op), args); err != nil {
		return nil, err
	}
	status, out, err := ReadFrame(c.in)
	if err != nil {
		return nil, err
	}
	if status == 0 {
		if n, known := results(op, args); !known || len(out) != n {
			return nil, errors.New("not an answer")
		}
		return out, nil
	}
	if len(out) != 3 || !slices.Contains(childKinds, sandbox.Kind(out[0])) || !plain(out[1]) || !plain(out[2]) {
		return nil, errors.New("not an answer")
	}
	return nil, &sandbox.Error{Op: "he", Kind: sandbox.Kind(out[0]), Object: string(out[1]), Detail: string(out[2])}
}

// results is how many byte strings an operation gives: callers index them, and a process is not believed to have done as it was asked. Of an
// operation that is none, an error is the one answer.
func results(op Op, args [][]byte) (n int, known bool) {
	switch op {
	case OpJoin, OpErase, OpRelinKey:
		return 0, true
	case OpEncrypt, OpAdd, OpPartial, OpOpen, OpEncryptOwn, OpScore, OpDecryptOwn, OpEncryptOne, OpScoreOne, OpDecryptOne, OpEncryptFor, OpApply, OpOpenOne,
		OpRelinOne, OpRelinTwo, OpEncryptFactor, OpMask, OpProduct, OpOpenProduct:
		return 1, true
	case OpNewShare, OpPublicKey:
		return 2, true
	case OpNewClient:
		return 4, true
	case OpDeal:
		if len(args) == 2 && len(args[1]) == 2 {
			return int(args[1][0]), true
		}
	}
	return 0, false
}

// Close ends the process.
func (c *Child) Close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.gone = true
	c.p.Kill()
}

// childKinds are those an engine may report. Unavailable is not among them: it means that the process is gone.
var childKinds = []sandbox.Kind{sandbox.Invalid, sandbox.Denied, sandbox.NotFound, sandbox.Conflict, sandbox.Expired, sandbox.TooLarge, sandbox.Internal}

func plain(b []byte) bool {
	if len(b) > 256 || !utf8.Valid(b) {
		return false
	}
	for _, r := range string(b) {
		if !unicode.IsPrint(r) {
			return false
		}
	}
	return true
}

// WriteFrame writes a status or operation, the number of parts, and each after its length; numbers big endian.
func WriteFrame(w io.Writer, first byte, parts [][]byte) error {
	b := bufio.NewWriterSize(w, 1<<16)
	_, _ = b.Write(binary.BigEndian.AppendUint16([]byte{first}, uint16(len(parts))))
	for _, p := range parts {
		_, _ = b.Write(binary.BigEndian.AppendUint32(nil, uint32(len(p))))
		_, _ = b.Write(p)
	}
	return b.Flush()
}

// ReadFrame reads what WriteFrame wrote. It takes memory as bytes arrive, never by a length alone.
func ReadFrame(r io.Reader) (first byte, parts [][]byte, err error) {
	var head [4]byte
	if _, err := io.ReadFull(r, head[:3]); err != nil {
		return 0, nil, err
	}
	n := int(binary.BigEndian.Uint16(head[1:]))
	if n > maxArgs {
		return 0, nil, errors.New("too many parts")
	}
	first = head[0]
	for left := uint32(maxCall); n > 0; n-- {
		if _, err := io.ReadFull(r, head[:]); err != nil {
			return 0, nil, io.ErrUnexpectedEOF
		}
		size := binary.BigEndian.Uint32(head[:])
		if size > left {
			return 0, nil, errors.New("too many bytes")
		}
		left -= size
		var part []byte
		for uint32(len(part)) < size {
			step := min(size-uint32(len(part)), 1<<20)
			at := len(part)
			part = append(part, make([]byte, step)...)
			if _, err := io.ReadFull(r, part[at:]); err != nil {
				return 0, nil, io.ErrUnexpectedEOF
			}
		}
		parts = append(parts, part)
	}
	return first, parts, nil
}

// Serve answers calls from in on out with an engine of its own, until in ends. rand is what shares are flooded with.
func Serve(ctx context.Context, rand io.Reader, in io.Reader, out io.Writer) error {
	runtime.GOMAXPROCS(1) // one call runs at a time
	l, r := NewLocal(rand), bufio.NewReaderSize(in, 1<<16)
	for {
		op, args, err := ReadFrame(r)
		if err == io.EOF {
			return nil
		} else if err != nil {
			return fail(sandbox.Invalid, "call", "is a frame of this package")
		}
		parts, err := l.Do(ctx, Op(op), args...)
		status := byte(0)
		if err != nil {
			status, parts = 1, [][]byte{[]byte(sandbox.Internal), []byte("library"), []byte("does what it is asked")}
			var e *sandbox.Error
			if errors.As(err, &e) && slices.Contains(childKinds, e.Kind) {
				parts = [][]byte{[]byte(e.Kind), []byte(e.Object), []byte(e.Detail)}
			}
		}
		if err := WriteFrame(out, status, parts); err != nil {
			return err
		}
	}
}
