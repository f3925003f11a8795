// Command module is a wasm module of the jail's tests, a command: what it does is in its input.
package main

import (
	"bytes"
	"crypto/rand"
	"fmt"
	"io"
	"net"
	"os"
	"time"
)

var calls int // what one input would leave to the next

func main() {
	in, err := io.ReadAll(os.Stdin)
	if err != nil {
		os.Exit(1)
	}
	calls++
	switch string(in) {
	case "calls":
		fmt.Print(calls)
	case "panic":
		panic("secret words")
	case "exit":
		os.Exit(7)
	case "loop":
		for {
		}
	case "flood":
		os.Stdout.Write(make([]byte, 1<<20))
	case "memory":
		var keep [][]byte
		for {
			keep = append(keep, bytes.Repeat([]byte{1}, 1<<20))
		}
	case "time":
		fmt.Print(time.Now().UnixNano())
	case "random":
		b := make([]byte, 16)
		rand.Read(b)
		fmt.Printf("%x", b)
	case "escape":
		_, err1 := os.ReadFile("/etc/passwd")
		_, err2 := net.Dial("tcp", "192.0.2.1:9")
		fmt.Print(err1 != nil, err2 != nil, len(os.Args), len(os.Environ()))
	default:
		os.Stdout.Write(bytes.ToUpper(in))
	}
}
