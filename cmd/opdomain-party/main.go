// Command opdomain-party (参与方代理) is what a unit, a bank or a custodian runs to compute with others over shares: its own keys, its own
// table, its own approvals. See package mpc/agent, and opdomain-party --help.
package main

import (
	"context"
	"crypto/rand"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/opdomain/opdomain/mpc/agent"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := (&agent.Agent{Out: os.Stdout, Err: os.Stderr, Rand: rand.Reader, Now: time.Now}).Main(ctx, os.Args[1:])
	stop()
	os.Exit(code)
}
