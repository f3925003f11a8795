// Package guest is the plug-in's side of the jail (隔离执行, 插件端): gRPC on descriptor 3, one connection, and the data set that
// arrives once on descriptor 4 as a sealed memory file. A plug-in is a static executable:
//
//	func main() {
//		if err := guest.Serve(func(s *grpc.Server) { pb.RegisterScoreServer(s, score{}) }); err != nil {
//			os.Exit(1)
//		}
//	}
//
// Serve returns when the host closes the connection; the process should then end. There is nothing else to use: no file, no
// socket, no clock that can be trusted, no environment. Descriptors 0 to 4 must be left alone. It imports nothing of the
// project, so that an author's program stays small. Outside the jail every call fails with ErrOutside.
package guest

import (
	"errors"
	"io"
	"net"
	"os"
	"sync"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/health"
	"google.golang.org/grpc/health/grpc_health_v1"
)

// Variable is set to Version in a plug-in's environment.
const (
	Variable = "OPDOMAIN_JAIL"
	Version  = "1"
)

// Descriptors of a plug-in.
const (
	rpcFD  = 3
	feedFD = 4
)

// ErrOutside says that the program was not started by the jail, or by one of another version.
var ErrOutside = errors.New("guest: not started by the jail, or by another version of it")

// maxMessage is what a plug-in takes in one message; data come by Dataset.
const maxMessage = 8 << 20

// Serve answers calls until the host closes the connection. register adds the plug-in's services.
func Serve(register func(*grpc.Server)) error {
	if os.Getenv(Variable) != Version {
		return ErrOutside
	}
	file := os.NewFile(rpcFD, "rpc")
	if file == nil {
		return ErrOutside
	}
	s := grpc.NewServer(grpc.MaxRecvMsgSize(maxMessage), grpc.MaxSendMsgSize(maxMessage), grpc.MaxConcurrentStreams(64), grpc.MaxHeaderListSize(16<<10))
	h := health.NewServer()
	h.SetServingStatus("plugin", grpc_health_v1.HealthCheckResponse_SERVING) // the name go-plugin asks for
	grpc_health_v1.RegisterHealthServer(s, h)
	register(s)
	l := &listener{conn: &conn{File: file, closed: make(chan struct{})}}
	err := s.Serve(l)
	s.Stop()
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// listener gives its one connection once, and ends with it.
type listener struct {
	once sync.Once
	conn *conn
}

func (l *listener) Accept() (c net.Conn, err error) {
	l.once.Do(func() { c = l.conn })
	if c != nil {
		return c, nil
	}
	<-l.conn.closed
	return nil, io.EOF
}

func (l *listener) Close() error   { return nil }
func (l *listener) Addr() net.Addr { return address{} }

// conn is the inherited socket. net.FileConn would ask for calls that the jail does not allow.
type conn struct {
	*os.File
	once   sync.Once
	closed chan struct{}
}

func (c *conn) Close() error {
	c.once.Do(func() { close(c.closed) })
	return c.File.Close()
}

func (c *conn) LocalAddr() net.Addr                { return address{} }
func (c *conn) RemoteAddr() net.Addr               { return address{} }
func (c *conn) SetDeadline(t time.Time) error      { return c.File.SetDeadline(t) }
func (c *conn) SetReadDeadline(t time.Time) error  { return c.File.SetReadDeadline(t) }
func (c *conn) SetWriteDeadline(t time.Time) error { return c.File.SetWriteDeadline(t) }

type address struct{}

func (address) Network() string { return "jail" }
func (address) String() string  { return "jail" }
