// Package record starts the image of a Program once and takes the graph that it writes (录制): before any key opens, on no data at all. What
// the image could learn from is not there: no argument, environment, file, network, clock or randomness. 依据: 龙华区实施方案 九(一).
//
// Of a Map, whose code runs in the jail alone, it takes the declaration instead, likewise on nothing.
//
// A wasm image (GOOS=wasip1) runs under wazero's interpreter, without machine code of its own, in a child process of this program that
// holds no key and inherits two pipes; Serve is that child. Memory of the module is bounded by pages and of the child by a limit on its
// data, time by killing the child. An image of another form is not recorded: a Program is wasm, and so is a Map.
//
// Errors are *Fault: one of a few reasons, and of a mistake the author's file and line as the SDK reports them, cut to printable ASCII
// and Chinese text. Equal images give equal bytes.
package record

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"strings"
	"time"
	"unicode"

	"github.com/tetratelabs/wazero"
	"github.com/tetratelabs/wazero/imports/wasi_snapshot_preview1"
	"github.com/tetratelabs/wazero/sys"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
)

// Recorder (录制器) starts an image whose digest was checked and gives the encoded graph, which the caller decodes: it trusts no image.
type Recorder interface {
	Record(ctx context.Context, image []byte) ([]byte, error)
}

// Bounds of one recording.
const (
	MaxImage  = 16 << 20
	maxPages  = 2048 // of 64 KiB: 128 MiB of the module's memory
	maxStderr = 4 << 10
	maxData   = 2 << 30 // bytes of the child
)

// Reason (录制失败原因) says why there is no graph.
type Reason string

// The reasons.
const (
	NotWasm  Reason = "not-wasm" // no wasm module of the wasip1 kind
	Mistake  Reason = "mistake"  // the Program breaks a rule of the SDK
	Crashed  Reason = "crashed"  // it ended otherwise than by writing a graph, memory included
	Deadline Reason = "deadline" // it did not end in time
	Flooded  Reason = "flooded"  // it wrote more than a graph may have
	Broken   Reason = "broken"   // the child could not be started
)

// Fault (录制故障) is a Reason as an error of kind Invalid; of Flooded, TooLarge; of Broken, Unavailable.
type Fault struct {
	Reason Reason
	Detail string
}

func (f *Fault) Error() string {
	if f.Detail == "" {
		return "record: " + string(f.Reason)
	}
	return "record: " + string(f.Reason) + ": " + f.Detail
}

// Unwrap gives the kind.
func (f *Fault) Unwrap() error {
	switch f.Reason {
	case Flooded:
		return sandbox.TooLarge
	case Broken:
		return sandbox.Unavailable
	}
	return sandbox.Invalid
}

// Wasm (wasm 录制器) records wasm images in child processes.
type Wasm struct {
	Program  string        // the file that runs Serve: this program
	Command  []string      // its arguments, the name first
	Deadline time.Duration // 0: 30 seconds
}

// exit statuses of the child.
const (
	exitNotWasm = 10
	exitMistake = 11
	exitCrashed = 12
	exitFlooded = 13
)

// bounded keeps the first bytes and counts the others.
type bounded struct {
	bytes.Buffer
	max  int
	over bool
	stop bool // ends the module that writes more: it may ignore an error
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.max - b.Len(); len(p) > room {
		b.over = true
		_, _ = b.Buffer.Write(p[:max(0, room)])
		if b.stop {
			panic("flooded") // wazero gives it as an error of the call
		}
		return len(p), errors.New("too much")
	}
	return b.Buffer.Write(p)
}

// Record starts a child for the image.
func (w Wasm) Record(ctx context.Context, image []byte) ([]byte, error) {
	if len(image) > MaxImage || !bytes.HasPrefix(image, []byte("\x00asm")) {
		return nil, &Fault{NotWasm, fmt.Sprintf("a wasm module of at most %d bytes", MaxImage)}
	}
	deadline := w.Deadline
	if deadline == 0 {
		deadline = 30 * time.Second
	}
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	out, errs := &bounded{max: algo.MaxBytes}, &bounded{max: maxStderr}
	cmd := exec.CommandContext(ctx, w.Program)
	cmd.Args, cmd.Env, cmd.Dir = w.Command, []string{}, "/"
	cmd.Stdin, cmd.Stdout, cmd.Stderr = bytes.NewReader(image), out, errs
	cmd.WaitDelay = time.Second
	confine(cmd)
	err := cmd.Run()
	var status *exec.ExitError
	switch {
	case ctx.Err() != nil:
		return nil, &Fault{Deadline, fmt.Sprintf("a Program is recorded within %s", deadline)}
	case out.over:
		return nil, &Fault{Flooded, fmt.Sprintf("a graph is at most %d bytes", algo.MaxBytes)}
	case err == nil:
		return out.Bytes(), nil
	case errors.As(err, &status):
		switch status.ExitCode() {
		case exitNotWasm:
			return nil, &Fault{NotWasm, "a module of the kind that GOOS=wasip1 GOARCH=wasm builds"}
		case exitMistake:
			return nil, &Fault{Mistake, words(errs.String())}
		case exitFlooded:
			return nil, &Fault{Flooded, fmt.Sprintf("a graph is at most %d bytes", algo.MaxBytes)}
		}
		return nil, &Fault{Crashed, fmt.Sprintf("it ends by itself, within %d MiB, having written its graph", maxPages/16)}
	}
	return nil, &Fault{Broken, ""}
}

// words cuts what a Program said to one line of printable text.
func words(s string) string {
	line, _, _ := strings.Cut(strings.TrimSpace(s), "\n")
	line = strings.Map(func(r rune) rune {
		if !unicode.IsPrint(r) || r > unicode.MaxASCII && !unicode.Is(unicode.Han, r) {
			return '.'
		}
		return r
	}, line)
	return strings.TrimPrefix(fmt.Sprintf("%.300s", line), "algo: ")
}

// exportDeclare is what a Map's module says of itself by; see sandbox/algo/mapper.
const exportDeclare = "opdomain_declare"

// declare writes what a Map's module says of itself: the text of its declaration.
func declare(ctx context.Context, r wazero.Runtime, module wazero.CompiledModule, out io.Writer) int {
	m, err := r.InstantiateModule(ctx, module, wazero.NewModuleConfig().WithName("map").WithStartFunctions("_initialize"))
	if err != nil {
		return exitCrashed
	}
	at, err := m.ExportedFunction(exportDeclare).Call(ctx)
	if err != nil || len(at) != 1 || m.Memory() == nil {
		return exitCrashed
	}
	if uint32(at[0]) > algo.MaxBytes {
		return exitFlooded
	}
	text, ok := m.Memory().Read(uint32(at[0]>>32), uint32(at[0]))
	if !ok {
		return exitCrashed
	}
	if _, err := out.Write(text); err != nil {
		return exitCrashed
	}
	return 0
}

// Serve is the child: it reads the image, runs it and writes what it wrote. It gives the exit status.
func Serve(ctx context.Context, in io.Reader, out, errs io.Writer) int {
	limit()
	image, err := io.ReadAll(io.LimitReader(in, MaxImage+1))
	if err != nil || len(image) > MaxImage {
		return exitNotWasm
	}
	r := wazero.NewRuntimeWithConfig(ctx, wazero.NewRuntimeConfigInterpreter().WithMemoryLimitPages(maxPages))
	defer func() { _ = r.Close(ctx) }()
	if _, err := wasi_snapshot_preview1.Instantiate(ctx, r); err != nil {
		return exitCrashed
	}
	module, err := r.CompileModule(ctx, image)
	if err != nil {
		return exitNotWasm
	}
	if _, ok := module.ExportedFunctions()[exportDeclare]; ok {
		return declare(ctx, r, module, out)
	}
	stdout, stderr := &bounded{max: algo.MaxBytes, stop: true}, &bounded{max: maxStderr, stop: true}
	// wazero's own: a clock that stands, a random source that is the same every time, no arguments, environment or files.
	_, err = r.InstantiateModule(ctx, module, wazero.NewModuleConfig().WithName("program").WithStdout(stdout).WithStderr(stderr))
	var exit *sys.ExitError
	switch {
	case stdout.over:
		return exitFlooded
	case err == nil || errors.As(err, &exit) && exit.ExitCode() == 0:
		if _, err := out.Write(stdout.Bytes()); err != nil {
			return exitCrashed
		}
		return 0
	case errors.As(err, &exit) && exit.ExitCode() == 1 && strings.HasPrefix(stderr.String(), "algo: "):
		_, _ = errs.Write(stderr.Bytes())
		return exitMistake
	}
	return exitCrashed
}
