package jail

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"os/exec"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/hashicorp/go-hclog"
	plugin "github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// handshake is the line that go-plugin reads from a plug-in's output. The host writes it: a plug-in that did would choose the
// address that the host dials.
const handshake = "1|1|unix|jail|grpc|\n"

const pluginSet = "jail"

// connect makes go-plugin's client over the inherited socket and waits for the first answer.
func (p *Process) connect(ctx context.Context) error {
	var dialled atomic.Bool
	quiet := hclog.NewNullLogger()
	p.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig:  plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "OPDOMAIN", MagicCookieValue: "JAIL"},
		Plugins:          plugin.PluginSet{pluginSet: dispenser{}},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		RunnerFunc: func(hclog.Logger, *exec.Cmd, string) (runner.Runner, error) {
			return &started{p: p, line: io.NopCloser(strings.NewReader(handshake)), none: io.NopCloser(bytes.NewReader(nil))}, nil
		},
		StartTimeout: p.job.Limits.Start, SkipHostEnv: true, Logger: quiet,
		GRPCDialOptions: []grpc.DialOption{ // last of all options, so they win
			grpc.WithContextDialer(func(context.Context, string) (net.Conn, error) {
				if dialled.Swap(true) {
					return nil, final{errors.New("jail: a plug-in has one connection")}
				}
				return p.rpc, nil
			}),
			grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(p.job.Limits.Message), grpc.MaxCallSendMsgSize(p.job.Limits.Message)),
			grpc.WithMaxHeaderListSize(16 << 10), grpc.WithIdleTimeout(0), grpc.WithDisableServiceConfig(), grpc.WithDisableRetry(),
			// go-plugin would open its broker, stdio and controller services, with which a plug-in feeds the host without bound.
			grpc.WithChainUnaryInterceptor(func(ctx context.Context, method string, req, reply any, c *grpc.ClientConn, call grpc.UnaryInvoker, o ...grpc.CallOption) error {
				if own(method) {
					return errOwn
				}
				return call(ctx, method, req, reply, c, o...)
			}),
			grpc.WithChainStreamInterceptor(func(ctx context.Context, d *grpc.StreamDesc, c *grpc.ClientConn, method string, open grpc.Streamer, o ...grpc.CallOption) (grpc.ClientStream, error) {
				if own(method) {
					return nil, errOwn
				}
				return open(ctx, d, c, method, o...)
			}),
		},
	})
	fault := func(object string, err error) error {
		return &Fault{Op: "jail: start", Reason: Protocol, Object: object, Err: wordless(err)}
	}
	protocol, err := p.client.Client()
	if err != nil {
		return fault("handshake", err)
	}
	raw, err := protocol.Dispense(pluginSet)
	if err != nil {
		return fault("handshake", err)
	}
	p.conn = &channel{p: p, conn: raw.(*grpc.ClientConn)}
	// The first answer, in time. Ping has no deadline; the kill at the deadline ends it.
	first := make(chan error, 1)
	timer := time.AfterFunc(time.Until(p.began.Add(p.job.Limits.Start)), func() { p.Kill(Deadline) })
	defer timer.Stop()
	p.wait.Go(func() { first <- protocol.Ping() })
	select {
	case err = <-first:
	case <-p.gone:
		err = errGone
	}
	if err != nil {
		return fault("first answer", err)
	}
	return nil
}

// own are the methods that go-plugin itself would call.
func own(method string) bool { return strings.HasPrefix(method, "/plugin.") }

var errOwn = status.Error(codes.Unimplemented, "jail: not a service of a plug-in")

// final is an error that dialling again cannot mend.
type final struct{ error }

func (final) Temporary() bool { return false }

// wordless keeps of an error what the host said: a status holds the plug-in's words, except its code.
func wordless(err error) error {
	if err == nil || errors.Is(err, errGone) || errors.Is(err, context.Canceled) || errors.Is(err, context.DeadlineExceeded) {
		return err
	}
	if s, ok := status.FromError(err); ok {
		return errors.New("status " + s.Code().String())
	}
	return errors.New("no usable connection")
}

// dispenser hands out the connection itself: what is called over it is the callers' business.
type dispenser struct{ plugin.NetRPCUnsupportedPlugin }

func (dispenser) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return errOwn }
func (dispenser) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return c, nil
}

// started shows go-plugin a process that runs already: it is started, examined, fed and killed here, whatever go-plugin does.
type started struct {
	p          *Process
	line, none io.ReadCloser
}

func (s *started) Start(context.Context) error                      { return nil }
func (s *started) Diagnose(context.Context) string                  { return "" }
func (s *started) Stdout() io.ReadCloser                            { return s.line }
func (s *started) Stderr() io.ReadCloser                            { return s.none }
func (s *started) Name() string                                     { return "plug-in" }
func (s *started) ID() string                                       { return strconv.Itoa(s.p.pid) }
func (s *started) Kill(context.Context) error                       { s.p.Kill(Closed); return nil }
func (s *started) Wait(context.Context) error                       { <-s.p.gone; return nil }
func (s *started) PluginToHost(n, a string) (string, string, error) { return n, a, nil }
func (s *started) HostToPlugin(n, a string) (string, string, error) { return n, a, nil }

// channel is a plug-in's gRPC whose errors are reasons.
type channel struct {
	p    *Process
	conn *grpc.ClientConn
}

func (c *channel) Invoke(ctx context.Context, method string, args, reply any, o ...grpc.CallOption) error {
	return c.fault(method, c.conn.Invoke(ctx, method, args, reply, o...))
}

func (c *channel) NewStream(ctx context.Context, d *grpc.StreamDesc, method string, o ...grpc.CallOption) (grpc.ClientStream, error) {
	s, err := c.conn.NewStream(ctx, d, method, o...)
	if err != nil {
		return nil, c.fault(method, err)
	}
	return &stream{ClientStream: s, c: c, method: method}, nil
}

type stream struct {
	grpc.ClientStream
	c      *channel
	method string
}

func (s *stream) SendMsg(m any) error {
	err := s.ClientStream.SendMsg(m)
	if err == io.EOF {
		return err
	}
	return s.c.fault(s.method, err)
}

func (s *stream) RecvMsg(m any) error {
	err := s.ClientStream.RecvMsg(m)
	if err == io.EOF {
		return err
	}
	return s.c.fault(s.method, err)
}

func (s *stream) CloseSend() error { return s.c.fault(s.method, s.ClientStream.CloseSend()) }

// fault turns the error of a call into a reason. What the plug-in did wins over how the call saw it.
func (c *channel) fault(method string, err error) error {
	if err == nil {
		return nil
	}
	f := &Fault{Op: "jail: call", Reason: Refused, Object: method}
	switch status.Code(err) {
	case codes.ResourceExhausted:
		f.Reason = Oversize
		c.p.Kill(Oversize)
	case codes.DeadlineExceeded:
		f.Reason, f.Err = Deadline, context.DeadlineExceeded
	case codes.Canceled:
		f.Reason, f.Err = Cancelled, context.Canceled
	case codes.Unavailable, codes.Internal:
		// The connection is broken, or the plug-in says so: it has a moment to be dead.
		select {
		case <-c.p.gone:
			f.Reason = c.p.Reason()
		case <-time.After(200 * time.Millisecond):
			if r := c.p.why.Load(); r != nil {
				f.Reason = *r
			} else if status.Code(err) == codes.Unavailable {
				f.Reason = Protocol
				c.p.Kill(Protocol)
			}
		}
	}
	return f
}
