// Command column is the plug-in of the jail's benchmark: it sums a column of 64-bit numbers, from the data set or from a stream.
package main

import (
	"context"
	"io"
	"os"
	"unsafe"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/opdomain/opdomain/sandbox/jail/guest"
)

func sum(b []byte) (s int64) {
	if len(b) < 8 {
		return 0
	}
	for _, v := range unsafe.Slice((*int64)(unsafe.Pointer(&b[0])), len(b)/8) {
		s += v
	}
	return s
}

func main() {
	err := guest.Serve(func(s *grpc.Server) {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: "column", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
			MethodName: "Mapped",
			Handler: func(_ any, _ context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				if err := dec(&wrapperspb.Int64Value{}); err != nil {
					return nil, err
				}
				b, err := guest.Dataset()
				return wrapperspb.Int64(sum(b)), err
			}}}, Streams: []grpc.StreamDesc{{StreamName: "Streamed", ClientStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			var total int64
			for {
				var b wrapperspb.BytesValue
				if err := s.RecvMsg(&b); err == io.EOF {
					return s.SendMsg(wrapperspb.Int64(total))
				} else if err != nil {
					return err
				}
				total += sum(b.Value)
			}
		}}}}, nil)
	})
	if err != nil {
		os.Exit(1)
	}
}
