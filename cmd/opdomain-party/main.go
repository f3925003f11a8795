// Command opdomain-party (参与方代理) is what a unit, a bank or a custodian runs to compute with others over shares: its own keys, its own
// table, its own approvals. See package mpc/agent, and opdomain-party --help.
package main

import (
	"context"
	"crypto/rand"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/opdomain/opdomain/mpc/agent"
	"github.com/opdomain/opdomain/sandbox/doctor"
)

func main() {
	if err := doctor.Guard(); err != nil { // keys and the party's own table are in its memory
		fmt.Fprintln(os.Stderr, "error: party: unavailable: the process cannot close itself to core dumps and tracing")
		os.Exit(1)
	}
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := (&agent.Agent{Out: os.Stdout, Err: os.Stderr, Rand: rand.Reader, Now: time.Now}).Main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
