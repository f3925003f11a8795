package main

import (
	"io"

	"github.com/apache/arrow/go/v17/arrow/memory"
	"github.com/spf13/cobra"

	"github.com/opdomain/opdomain/sandbox/doctor"
	"github.com/opdomain/opdomain/sandbox/fleet"
)

const workerVerb = "worker"

// workers is this program as so many worker processes: the running file itself, whatever stands at its path by now, with the cipher's
// constant-time path and no other variable.
func workers(n int, rand io.Reader) (fleet.Processes, error) {
	return fleet.New(fleet.Config{Program: "/proc/self/exe", Command: []string{"opdomain", workerVerb}, Env: []string{doctor.ConstantTime + "=1"}, Workers: n, Rand: rand})
}

// workerCommand is what a serving domain starts, on its two pipes.
func (a *app) workerCommand() *cobra.Command {
	c := verb(workerVerb, "Compute parts of questions for the domain that started this process (计算工作进程)", cobra.NoArgs, func(c *cobra.Command, _ []string) error {
		return fleet.Work(c.Context(), memory.NewGoAllocator(), a.rand, a.in, a.out)
	})
	c.Hidden = true
	return c
}
