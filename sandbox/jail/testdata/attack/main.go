//go:build linux

// Command attack is the plug-in of the jail's tests: it tries what it is told and says whether it worked. Started with
// arguments it runs one attack unconfined.
package main

import (
	"context"
	"encoding/json"
	"os"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/opdomain/opdomain/sandbox/jail/guest"
)

type server struct{}

func (server) run(_ context.Context, name string) (string, error) {
	b, err := json.Marshal(attack(name))
	return string(b), err
}

type runner interface {
	run(context.Context, string) (string, error)
}

func main() {
	if len(os.Args) > 1 && os.Args[1] == "list" {
		b, _ := json.Marshal(names())
		os.Stdout.Write(b)
		return
	}
	if len(os.Args) > 2 && os.Args[1] == "run" {
		b, _ := json.Marshal(attack(os.Args[2]))
		os.Stdout.Write(append(b, '\n'))
		return
	}
	if err := guest.Serve(func(s *grpc.Server) {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: "attack", HandlerType: (*runner)(nil), Methods: []grpc.MethodDesc{{
			MethodName: "Run",
			Handler: func(srv any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				var in wrapperspb.StringValue
				if err := dec(&in); err != nil {
					return nil, err
				}
				out, err := srv.(runner).run(ctx, in.Value)
				return wrapperspb.String(out), err
			}}}}, server{})
	}); err != nil {
		os.Exit(1)
	}
}
