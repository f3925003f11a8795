// Command opaque is an Opaque algorithm of tests that does what its data tell it: one that is honest, and one for every way to end badly.
package main

import (
	"errors"
	"os"
	"runtime"
	"syscall"
	"time"

	"github.com/opdomain/opdomain/sandbox/algo/opaque"
	"github.com/opdomain/opdomain/sandbox/jail/guest"

	"context"
	"crypto/rand"
	"encoding/binary"
)

var declaration = opaque.Declaration{Input: "firms", Columns: []opaque.Column{{Name: "industry", Type: "text"}, {Name: "employees", Type: "int"}},
	Chart: &opaque.Chart{Name: "staff", Labels: []opaque.Label{{Name: "size", Of: []string{"small", "large"}}}, Values: []opaque.Value{{Name: "firms", Min: 0, Max: 1000, Step: 10}, {Name: "employees", Min: 0, Max: 100_000, Step: 100}}, Rows: 2}}

func main() {
	if len(os.Args) > 1 {
		opaque.Main(declaration, honest)
		return
	}
	err := guest.Answer(func(context.Context, []byte) ([]byte, error) {
		b, err := guest.Dataset()
		if err != nil {
			return nil, err
		}
		v, err := opaque.ReadView(b, &declaration)
		if err != nil {
			return nil, err
		}
		how, _ := v.Text(0, 0)
		return act(how, b)
	})
	if err != nil {
		os.Exit(1)
	}
}

func honest(v *opaque.View, out *opaque.Output) error {
	var firms, staff [2]int64
	for r := range v.Rows() {
		n, ok := v.Int(r, 1)
		if !ok {
			continue
		}
		k := 0
		if n >= 100 {
			k = 1
		}
		firms[k]++
		staff[k] += n
	}
	return errors.Join(out.Row([]int{1}, firms[1], staff[1]), out.Row([]int{0}, firms[0], staff[0]))
}

func act(how string, view []byte) ([]byte, error) {
	row := func(label uint16, values ...uint64) []byte {
		b := binary.LittleEndian.AppendUint16(nil, label)
		for _, v := range values {
			b = binary.LittleEndian.AppendUint64(b, v)
		}
		return b
	}
	switch how {
	case "garbage":
		return []byte("not an output"), nil
	case "unknown label":
		return append([]byte{1}, row(9, 1, 1)...), nil
	case "too many rows":
		return append([]byte{1}, append(row(0, 1, 1), append(row(1, 1, 1), row(0, 2, 2)...)...)...), nil
	case "a model":
		return []byte{2, '{', '}'}, nil
	case "64 MiB":
		return make([]byte, 64<<20), nil
	case "hang":
		for {
			time.Sleep(time.Hour)
		}
	case "spin":
		for {
			runtime.Gosched()
		}
	case "crash":
		panic(string(view[:64]))
	case "crash mid-stream":
		go func() { time.Sleep(20 * time.Millisecond); os.Exit(3) }()
		return make([]byte, 900<<10), nil
	case "error":
		return nil, errors.New("words of the code with what it saw: " + string(view[:64]))
	case "fork bomb":
		for {
			if _, _, e := syscall.RawSyscall(syscall.SYS_CLONE, uintptr(syscall.SIGCHLD), 0, 0); e != 0 {
				return nil, e
			}
		}
	case "thread bomb":
		for range 10_000 {
			go func() { runtime.LockOSThread(); select {} }()
		}
		time.Sleep(time.Hour)
	case "memory bomb":
		var keep [][]byte
		for {
			b := make([]byte, 8<<20)
			for i := range b {
				b[i] = byte(i)
			}
			keep = append(keep, b)
			runtime.KeepAlive(keep)
		}
	case "write the view":
		view[0] ^= 1
	case "flood":
		for {
			os.Stderr.Write(view[:64])
		}
	case "file":
		if _, err := os.ReadFile("/etc/passwd"); err != nil {
			return nil, err
		}
	case "random":
		b := make([]byte, 8)
		rand.Read(b)
		return append([]byte{1}, row(0, 10, binary.LittleEndian.Uint64(b))...), nil
	case "clock":
		return append([]byte{1}, row(0, 10, uint64(time.Now().UnixNano()))...), nil
	}
	return opaque.Answer(honest, view, &declaration)
}
