package guest

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// Answer serves one method of bytes to bytes, which the host calls by Process.Ask, until the host closes the connection.
func Answer(f func(context.Context, []byte) ([]byte, error)) error {
	return Serve(func(s *grpc.Server) {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: "jail.answer", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
			MethodName: "Call",
			Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				var in wrapperspb.BytesValue
				if err := dec(&in); err != nil {
					return nil, err
				}
				out, err := f(ctx, in.Value)
				return wrapperspb.Bytes(out), err
			}}}}, nil)
	})
}
