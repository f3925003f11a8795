//go:build linux

// Command raw is a plug-in of the jail's tests that breaks the protocol or its limits, as its data set says.
package main

import (
	"bytes"
	"context"
	"errors"
	"os"
	"runtime"
	"strings"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/metadata"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/opdomain/opdomain/sandbox/jail/guest"
)

// sleep never returns, and is no deadlock that the runtime would end.
func sleep() {
	for {
		time.Sleep(time.Hour)
	}
}

func main() {
	b, err := guest.Dataset()
	if err != nil {
		os.Exit(1)
	}
	mode := string(b)
	if strings.HasPrefix(mode, "raw ") {
		broken(os.NewFile(3, "rpc"), mode)
		return
	}
	switch mode {
	case "exit":
		os.Exit(0)
	case "crash at start":
		panic("secret words")
	case "silent":
		sleep()
	case "spin":
		for {
		}
	}
	if err := guest.Serve(func(s *grpc.Server) {
		s.RegisterService(&grpc.ServiceDesc{ServiceName: "raw", HandlerType: (*any)(nil), Methods: []grpc.MethodDesc{{
			MethodName: "Run",
			Handler: func(_ any, ctx context.Context, dec func(any) error, _ grpc.UnaryServerInterceptor) (any, error) {
				var in wrapperspb.BytesValue
				if err := dec(&in); err != nil {
					return nil, err
				}
				return misbehave(ctx, mode)
			}}}, Streams: []grpc.StreamDesc{{StreamName: "Stream", ServerStreams: true, Handler: func(_ any, s grpc.ServerStream) error {
			var in wrapperspb.BytesValue
			if err := s.RecvMsg(&in); err != nil {
				return err
			}
			return stream(s, mode)
		}}}}, nil)
	}); err != nil {
		os.Exit(1)
	}
	if mode == "survive" {
		sleep()
	}
}

func stream(s grpc.ServerStream, mode string) error {
	chunk := make([]byte, 1<<20)
	for i := 0; ; i++ {
		if mode == "crash mid-stream" && i == 3 {
			os.Exit(3)
		}
		if mode == "stream" && i == 64 {
			return nil
		}
		if err := s.SendMsg(wrapperspb.Bytes(chunk)); err != nil {
			return err
		}
	}
}

func misbehave(ctx context.Context, mode string) (any, error) {
	switch mode {
	case "64 MiB reply":
		return wrapperspb.Bytes(make([]byte, 64<<20)), nil // the SDK's own limit would stop it: see raw big
	case "hang":
		sleep()
	case "busy":
		for {
		}
	case "words":
		return nil, errors.New("secret words")
	case "metadata":
		_ = grpc.SetTrailer(ctx, metadata.Pairs("x", strings.Repeat("m", 1<<20)))
	case "memory":
		var keep [][]byte
		for {
			keep = append(keep, bytes.Repeat([]byte{1}, 16<<20))
			runtime.KeepAlive(keep)
		}
	case "threads":
		for range 4000 {
			go func() { runtime.LockOSThread(); ts := unix.Timespec{Sec: 5}; _ = unix.Nanosleep(&ts, nil) }()
		}
		time.Sleep(3 * time.Second)
	case "stderr":
		b := bytes.Repeat([]byte("A"), 1<<16)
		for range 4096 {
			os.Stderr.Write(b)
		}
	case "stdout":
		for range 1 << 20 {
			os.Stdout.WriteString("1|1|tcp|192.0.2.1:9|grpc|\n") // a handshake that nobody reads
		}
	case "exit in a call":
		os.Exit(0)
	case "write to the data":
		b, _ := guest.Dataset()
		b[0] = 1
	}
	return wrapperspb.Bytes(nil), nil
}

// broken speaks HTTP/2 itself.
func broken(rpc *os.File, mode string) {
	switch mode {
	case "raw garbage":
		for range 1000 {
			rpc.Write(bytes.Repeat([]byte{0xff}, 4096))
		}
		sleep()
	case "raw close":
		rpc.Close()
		sleep()
	}
	preface := make([]byte, len(http2.ClientPreface))
	for n := 0; n < len(preface); {
		k, err := rpc.Read(preface[n:])
		if err != nil {
			os.Exit(4)
		}
		n += k
	}
	f := http2.NewFramer(rpc, rpc)
	f.WriteSettings()
	var id uint32
	for id == 0 {
		fr, err := f.ReadFrame()
		if err != nil {
			os.Exit(5)
		}
		if h, ok := fr.(*http2.HeadersFrame); ok {
			id = h.StreamID
		}
	}
	go func() {
		for {
			if _, err := f.ReadFrame(); err != nil {
				return
			}
		}
	}()
	var head bytes.Buffer
	e := hpack.NewEncoder(&head)
	e.WriteField(hpack.HeaderField{Name: ":status", Value: "200"})
	e.WriteField(hpack.HeaderField{Name: "content-type", Value: "application/grpc"})
	switch mode {
	case "raw reset flood":
		for range 2_000_000 {
			f.WriteRSTStream(id+2, http2.ErrCodeCancel)
		}
	case "raw ping flood":
		for range 2_000_000 {
			f.WritePing(false, [8]byte{1})
		}
	case "raw settings flood":
		for range 2_000_000 {
			f.WriteSettings(http2.Setting{ID: http2.SettingInitialWindowSize, Val: 1})
		}
	case "raw header flood":
		for i := range 4096 {
			e.WriteField(hpack.HeaderField{Name: "x", Value: strings.Repeat("h", 64) + string(rune('a'+i%26))})
		}
		first := head.Next(16000)
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: first})
		for head.Len() > 0 {
			last := head.Len() <= 16000
			f.WriteContinuation(id, last, head.Next(16000))
		}
	case "raw endless headers":
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes()})
		for {
			if f.WriteContinuation(id, false, bytes.Repeat([]byte{0x40, 1, 'x', 1, 'y'}, 3000)) != nil {
				break
			}
		}
	case "raw malformed":
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndHeaders: true})
		f.WriteData(id, true, []byte{0, 0, 0, 0, 3, 0xff, 0xff, 0xff})
	case "raw big":
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndHeaders: true})
		f.WriteData(id, false, append([]byte{0, 4, 0, 0, 0}, make([]byte, 8000)...)) // announces 64 MiB
	case "raw compressed":
		e.WriteField(hpack.HeaderField{Name: "grpc-encoding", Value: "gzip"})
		f.WriteHeaders(http2.HeadersFrameParam{StreamID: id, BlockFragment: head.Bytes(), EndHeaders: true})
		f.WriteData(id, true, []byte{1, 0, 0, 0, 1, 0})
	case "raw goaway":
		f.WriteGoAway(0, http2.ErrCodeEnhanceYourCalm, bytes.Repeat([]byte("secret words"), 100))
	}
	sleep()
}
