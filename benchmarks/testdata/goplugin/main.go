// Command goplugin is the peer of the jail's benchmark: go-plugin as it comes, unconfined, over its own socket. With "host N" it
// starts itself N times and prints the nanoseconds from start to the first answer, one a line.
package main

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
)

var handshake = plugin.HandshakeConfig{ProtocolVersion: 1, MagicCookieKey: "BENCH", MagicCookieValue: "1"}

type none struct{ plugin.NetRPCUnsupportedPlugin }

func (none) GRPCServer(*plugin.GRPCBroker, *grpc.Server) error { return nil }
func (none) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, c *grpc.ClientConn) (any, error) {
	return c, nil
}

func main() {
	set := plugin.PluginSet{"none": none{}}
	if len(os.Args) < 3 {
		plugin.Serve(&plugin.ServeConfig{HandshakeConfig: handshake, Plugins: set, GRPCServer: plugin.DefaultGRPCServer, Logger: hclog.NewNullLogger()})
		return
	}
	n, _ := strconv.Atoi(os.Args[2])
	for range n {
		start := time.Now()
		c := plugin.NewClient(&plugin.ClientConfig{HandshakeConfig: handshake, Plugins: set, Cmd: exec.Command(os.Args[0]),
			AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC}, Logger: hclog.NewNullLogger()})
		p, err := c.Client()
		if err == nil {
			err = p.Ping()
		}
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		fmt.Println(time.Since(start).Nanoseconds())
		c.Kill()
	}
}
