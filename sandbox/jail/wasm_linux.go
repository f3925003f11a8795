package jail

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime/debug"
	"strconv"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/api"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/jail/guest"
)

// A module is a wasm program that maps one input to one output. Either it is a command (wasip1: it reads the input from standard
// input and writes the output to standard output), or it exports
//
//	opdomain_alloc(size i32) i32          // memory for the input
//	opdomain_map(at i32, size i32) i64    // place and size of the output, place in the high half
//	opdomain_declare() i64                // likewise, what it says of itself; one that says nothing has none
//
// It may import wasi_snapshot_preview1 only: no file, no argument, a clock and randomness that are the same for every input. Every
// input gets an instance of its own, of an eighth of the job's memory at most: memory, globals, tables and dropped segments are as the module has them, so that nothing of
// one subject reaches the next. The process is what is killed when it does not end: checks inside the code would cost several
// times as much.
const (
	exportAlloc   = "opdomain_alloc"
	exportMap     = "opdomain_map"
	exportDeclare = "opdomain_declare"
	maxOutput     = 64 << 10 // of one input
	pageSize      = 64 << 10
)

// hostModule is the life of a module's host: compile, close the door behind, serve.
func hostModule() int {
	ctx := context.Background()
	code, ok, err := guest.Receive()
	if err != nil || !ok {
		return 3
	}
	var memory int64
	if len(os.Args) > 1 {
		memory, err = strconv.ParseInt(os.Args[1], 10, 64)
	}
	if err != nil || memory < minMemory {
		return 3
	}
	debug.SetMemoryLimit(memory / 4 * 3) // what dead instances leave is collected before the group's bound is met
	h, err := compileModule(ctx, code, uint32(memory/8/pageSize))
	if err != nil {
		return 4
	}
	// Until now pages could become executable, for the compiler. From here on, on every thread, none can.
	if err := load(native, os.Getpid(), unix.SECCOMP_FILTER_FLAG_TSYNC); err != nil {
		return 5
	}
	if err := guest.Serve(func(s *grpc.Server) {
		serveBytes(s, "module", h.frames)
		serveBytes(s, "declaration", h.declares)
	}); err != nil {
		return 1
	}
	return 0
}

type moduleHost struct {
	runtime  wazero.Runtime
	compiled wazero.CompiledModule
	reactor  bool
}

// compileModule compiles; an instance has pages of memory at most.
func compileModule(ctx context.Context, code []byte, pages uint32) (*moduleHost, error) {
	cfg := wazero.NewRuntimeConfig().WithMemoryLimitPages(pages).WithDebugInfoEnabled(false)
	h := &moduleHost{runtime: wazero.NewRuntimeWithConfig(ctx, cfg)}
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, h.runtime); err != nil {
		return nil, err
	}
	var err error
	if h.compiled, err = h.runtime.CompileModule(ctx, code); err != nil {
		return nil, err
	}
	for _, f := range h.compiled.ImportedFunctions() {
		if from, _, _ := f.Import(); from != wasi_snapshot_preview1.ModuleName {
			return nil, errors.New("an import of another module")
		}
	}
	if len(h.compiled.ImportedMemories()) > 0 {
		return nil, errors.New("an imported memory")
	}
	exports := h.compiled.ExportedFunctions()
	h.reactor = exports[exportMap] != nil && exports[exportAlloc] != nil
	if !h.reactor && exports["_start"] == nil {
		return nil, errors.New("neither a command nor a mapping")
	}
	return h, nil
}

// frames maps inputs, each behind its length, to outputs, each behind a byte that says whether there is one and its length.
func (h *moduleHost) frames(ctx context.Context, in []byte) ([]byte, error) {
	var out []byte
	for len(in) > 0 {
		if len(in) < 4 || uint64(binary.LittleEndian.Uint32(in)) > uint64(len(in)-4) {
			return nil, errors.New("frames")
		}
		n := binary.LittleEndian.Uint32(in)
		b, err := h.mapOne(ctx, in[4:4+n])
		in = in[4+n:]
		flag := byte(1)
		if err != nil {
			b, flag = nil, 0
		}
		out = append(binary.LittleEndian.AppendUint32(append(out, flag), uint32(len(b))), b...)
	}
	return out, nil
}

// errModule is all that is said of an input that gave nothing.
var errModule = errors.New("no output")

// instance is the module as it is before it has seen anything.
func (h *moduleHost) instance(ctx context.Context, in []byte, out io.Writer) (api.Module, error) {
	cfg := wazero.NewModuleConfig().WithName("").WithStdin(bytes.NewReader(in)).WithStdout(out).WithStderr(io.Discard)
	if h.reactor {
		cfg = cfg.WithStartFunctions("_initialize")
	}
	return h.runtime.InstantiateModule(ctx, h.compiled, cfg)
}

// declares gives what the module says of itself, in an instance of its own.
func (h *moduleHost) declares(ctx context.Context, _ []byte) ([]byte, error) {
	if !h.reactor || h.compiled.ExportedFunctions()[exportDeclare] == nil {
		return nil, errModule
	}
	m, err := h.instance(ctx, nil, io.Discard)
	if m != nil {
		defer m.Close(ctx)
	}
	if err != nil {
		return nil, errModule
	}
	r, err := m.ExportedFunction(exportDeclare).Call(ctx)
	return placed(m, r, err)
}

func (h *moduleHost) mapOne(ctx context.Context, in []byte) ([]byte, error) {
	var out bounded
	m, err := h.instance(ctx, in, &out)
	if m != nil {
		defer m.Close(ctx)
	}
	if e := (*sys.ExitError)(nil); errors.As(err, &e) && e.ExitCode() == 0 && !h.reactor {
		err = nil
	}
	if err != nil || out.over {
		return nil, errModule
	}
	if h.reactor {
		return reacted(ctx, m, in)
	}
	return out.b, nil
}

func reacted(ctx context.Context, m api.Module, in []byte) ([]byte, error) {
	at, err := m.ExportedFunction(exportAlloc).Call(ctx, uint64(len(in)))
	if err != nil || len(at) != 1 || m.Memory() == nil || !m.Memory().Write(uint32(at[0]), in) {
		return nil, errModule
	}
	r, err := m.ExportedFunction(exportMap).Call(ctx, at[0], uint64(len(in)))
	return placed(m, r, err)
}

// placed reads the output that a call names, out of the module's memory.
func placed(m api.Module, r []uint64, err error) ([]byte, error) {
	if err != nil || len(r) != 1 || uint32(r[0]) > maxOutput || m.Memory() == nil {
		return nil, errModule
	}
	b, ok := m.Memory().Read(uint32(r[0]>>32), uint32(r[0]))
	if !ok {
		return nil, errModule
	}
	return bytes.Clone(b), nil
}

// bounded keeps up to maxOutput bytes.
type bounded struct {
	b    []byte
	over bool
}

func (w *bounded) Write(b []byte) (int, error) {
	if len(w.b)+len(b) > maxOutput {
		w.over = true
		return 0, errModule
	}
	w.b = append(w.b, b...)
	return len(b), nil
}

// compiled waits until a module's host has compiled, and holds it to having closed the door: one more filter on every thread.
func (p *Process) compiled(ctx context.Context) error {
	if err := p.connect(ctx); err != nil {
		return err
	}
	tasks, err := filepath.Glob("/proc/" + strconv.Itoa(p.pid) + "/task/*/status")
	if err != nil || len(tasks) == 0 {
		return &Fault{Op: "jail: start", Reason: Unfit, Object: "threads"}
	}
	want := strconv.Itoa(inherited() + 2)
	for _, t := range tasks {
		got := fieldsOf(t)["Seccomp_filters"]
		if _, err := os.Stat(t); os.IsNotExist(err) {
			continue // it ended meanwhile
		}
		if got != want {
			return &Fault{Op: "jail: start", Reason: Unfit, Object: "Seccomp_filters", Detail: "the host of the module can still make code"}
		}
	}
	digest, err := filterDigest(native)
	if err != nil {
		return unavailable(layerSeccomp, err)
	}
	p.posture = append(p.posture, fmt.Sprintf("seccomp filter on every thread %x", digest), fmt.Sprintf("module %x", p.job.Module.digest))
	return nil
}

// Declares gives what the module says of itself, on no data: at most 64 KiB. A module that says nothing is Refused.
func (p *Process) Declares(ctx context.Context) ([]byte, error) {
	if p.job.Module == nil {
		return nil, &sandbox.Error{Op: "jail: declare", Kind: sandbox.Invalid, Object: string(p.job.Tier), Detail: "runs no module"}
	}
	b, err := p.callBytes(ctx, "declaration", nil)
	if err == nil && len(b) > maxOutput {
		err = &Fault{Op: "jail: declare", Reason: Oversize}
	}
	return b, err
}

// Map gives the module's output for each input, in order; nil where the module failed or wrote more than 64 KiB, without its
// words. Inputs and outputs of one call together stay below Limits.Message.
func (p *Process) Map(ctx context.Context, inputs [][]byte) ([][]byte, error) {
	if p.job.Module == nil {
		return nil, &sandbox.Error{Op: "jail: map", Kind: sandbox.Invalid, Object: string(p.job.Tier), Detail: "runs no module"}
	}
	size := 0
	for _, in := range inputs {
		size += 4 + len(in)
	}
	if size > p.job.Limits.Message-64 {
		return nil, &sandbox.Error{Op: "jail: map", Kind: sandbox.TooLarge, Object: "inputs", Detail: "more than one message holds; map them in parts"}
	}
	b := make([]byte, 0, size)
	for _, in := range inputs {
		b = append(binary.LittleEndian.AppendUint32(b, uint32(len(in))), in...)
	}
	b, err := p.callBytes(ctx, "module", b)
	if err != nil {
		return nil, err
	}
	out := make([][]byte, 0, len(inputs))
	for len(b) > 0 {
		if len(b) < 5 || b[0] > 1 || uint64(binary.LittleEndian.Uint32(b[1:])) > uint64(len(b)-5) {
			return nil, &Fault{Op: "jail: map", Reason: Protocol}
		}
		n := binary.LittleEndian.Uint32(b[1:])
		o := b[5 : 5+n : 5+n]
		if b[0] == 0 {
			o = nil
		}
		out, b = append(out, o), b[5+n:]
	}
	if len(out) != len(inputs) {
		return nil, &Fault{Op: "jail: map", Reason: Protocol}
	}
	return out, nil
}
