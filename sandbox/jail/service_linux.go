package jail

import (
	"context"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
)

// serveBytes serves one method of bytes to bytes; callBytes calls it.
func serveBytes(s *grpc.Server, name string, f func(context.Context, []byte) ([]byte, error)) {
	s.RegisterService(&grpc.ServiceDesc{ServiceName: "jail." + name, HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
		MethodName: "Call",
		Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
			var in wrapperspb.BytesValue
			if err := dec(&in); err != nil {
				return nil, err
			}
			out, err := f(ctx, in.Value)
			return wrapperspb.Bytes(out), err
		}}}}, nil)
}

func (p *Process) callBytes(ctx context.Context, name string, in []byte) ([]byte, error) {
	var out wrapperspb.BytesValue
	if err := p.conn.Invoke(ctx, "/jail."+name+"/Call", wrapperspb.Bytes(in), &out); err != nil {
		return nil, err
	}
	return out.Value, nil
}

// Ask calls the one method of a plug-in that guest.Answer serves.
func (p *Process) Ask(ctx context.Context, in []byte) ([]byte, error) {
	return p.callBytes(ctx, "answer", in)
}
