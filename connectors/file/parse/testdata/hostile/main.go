// Command hostile takes the place of the parser and does what the file says: what a parser that a file has taken over could do.
package main

import (
	"context"
	"encoding/binary"
	"os"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/opdomain/opdomain/connectors/file/parse/wire"
	"github.com/opdomain/opdomain/sandbox/jail"
	"github.com/opdomain/opdomain/sandbox/jail/guest"
)

var kept [][]byte

func main() {
	jail.Enter()
	if os.Args[0] != wire.Name {
		os.Exit(2)
	}
	calls := 0
	answer := func(does string) []byte {
		header := wire.EncodeHeader([]string{"a", "b"})
		if calls++; calls == 1 && does != "hang at once" && does != "no header" {
			return header
		}
		row := func(rest ...byte) []byte { return append([]byte{'R', 1, 0, 0, 0}, rest...) }
		switch does {
		case "crash":
			panic("as told")
		case "exit":
			os.Exit(0)
		case "hang", "hang at once":
			time.Sleep(time.Hour)
		case "spin":
			for {
			}
		case "memory":
			for {
				b := make([]byte, 1<<20)
				for i := range b {
					b[i] = byte(i)
				}
				kept = append(kept, b)
			}
		case "output":
			b := make([]byte, 1<<10)
			for range 1 << 10 {
				os.Stderr.Write(b)
			}
		case "socket":
			// A call the jail does not allow.
			f := os.NewFile(99, "x")
			_ = f.Chmod(0)
			_, _ = os.Create("/x")
			if p, err := os.StartProcess("/bin/true", nil, &os.ProcAttr{}); err == nil {
				p.Kill()
			}
		case "large":
			return make([]byte, 16<<20)
		case "garbage", "no header":
			return []byte("ARROW1 of my own")
		case "empty":
			return nil
		case "a header again":
			return header
		case "rows without end":
			return []byte{'R', 0xff, 0xff, 0xff, 0xff, 1, 0, 0}
		case "long field":
			return row(1, 0xfe, 0xff, 0xff, 0xff, 0x0f, 'x', 0)
		case "no such rule":
			return row(1, 0xff, 1, 0)
		case "bytes left":
			return row(1, 0, 0, 'x')
		case "fault of no rule":
			return []byte{'F', 99, 0, 0}
		case "fault far":
			return append(append([]byte{'F', 1}, binary.AppendUvarint(nil, 1<<63)...), 0)
		case "values":
			return row(7, 2<<1, 'o', 'k', 0)
		}
		return wire.End()
	}
	call := func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
		var in wrapperspb.BytesValue
		if err := dec(&in); err != nil {
			return nil, err
		}
		does, err := guest.Dataset()
		if err != nil {
			return nil, err
		}
		return wrapperspb.Bytes(answer(string(does))), nil
	}
	err := guest.Serve(func(s *grpc.Server) {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: wire.Service, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{
			{MethodName: "Open", Handler: call}, {MethodName: "Next", Handler: call}}}, nil)
	})
	if err != nil {
		os.Exit(1)
	}
}
