//go:build !linux

package jail

import (
	"context"
	"io"
	"runtime"

	"google.golang.org/grpc"

	"github.com/opdomain/opdomain/attest/sm"
)

var errSystem = &Fault{Op: "jail", Reason: Layer, Object: layerSystem, Detail: "the jail needs Linux; this is " + runtime.GOOS}

// Enter returns.
func Enter() {}

// Entered is false.
func Entered(string) (io.ReadWriter, bool) { return nil, false }

// Config (隔离配置) is not used here.
type Config struct {
	Program string
	Sentry  Sentry
	Base    int
}

// Launcher (隔离启动器) refuses.
type Launcher struct{}

// New gives a Launcher that refuses every start.
func New(Config) (*Launcher, error) { return &Launcher{}, nil }

// Probe says that this is not Linux.
func (*Launcher) Probe() Report {
	return Report{Parts: []Part{{Name: layerSystem, Detail: errSystem.Detail}}}
}

// Start refuses.
func (*Launcher) Start(context.Context, Job) (*Process, error) { return nil, errSystem }

// Canary refuses.
func (*Launcher) Canary(context.Context, Tier) (Verdict, error) { return Verdict{}, errSystem }

// Halted is the refusal.
func (*Launcher) Halted() error { return errSystem }

// Close does nothing.
func (*Launcher) Close() error { return nil }

// Image (算法镜像) cannot be made here.
type Image struct{}

// NewImage refuses.
func NewImage(io.Reader, [sm.Size]byte) (*Image, error) { return nil, errSystem }

// Digest is zero.
func (*Image) Digest() [sm.Size]byte { return [sm.Size]byte{} }

// Close does nothing.
func (*Image) Close() error { return nil }

// Dataset (入箱数据集) cannot be made here.
type Dataset struct{}

// NewDataset refuses.
func NewDataset(func(io.Writer) error) (*Dataset, error) { return nil, errSystem }

// Size is zero.
func (*Dataset) Size() int64 { return 0 }

// Close does nothing.
func (*Dataset) Close() error { return nil }

// Process (隔离进程) never runs here.
type Process struct{}

// Conn is nil.
func (*Process) Conn() grpc.ClientConnInterface { return nil }

// Stream is nil.
func (*Process) Stream() io.ReadWriter { return nil }

// Posture is empty.
func (*Process) Posture() Posture { return nil }

// Image is zero.
func (*Process) Image() [sm.Size]byte { return [sm.Size]byte{} }

// Output is zero.
func (*Process) Output() int64 { return 0 }

// Done is nil.
func (*Process) Done() <-chan struct{} { return nil }

// Kill does nothing.
func (*Process) Kill(Reason) {}

// Reason is Layer.
func (*Process) Reason() Reason { return Layer }

// Ask refuses.
func (*Process) Ask(context.Context, []byte) ([]byte, error) { return nil, errSystem }

// Declares refuses.
func (*Process) Declares(context.Context) ([]byte, error) { return nil, errSystem }

// Map refuses.
func (*Process) Map(context.Context, [][]byte) ([][]byte, error) { return nil, errSystem }

// Close does nothing.
func (*Process) Close() error { return nil }
