package main

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/doctor"
)

// harden prepares a process that will hold keys: the cipher's constant-time path, which its library reads when the program
// starts, so the program starts again with it; then no core dumps and no tracing. What cannot be had is an error.
func harden(args []string) error {
	if !slices.Contains(args, "serve") || len(args) > 0 && slices.Contains(args, "--help") {
		return nil
	}
	if runtime.GOARCH == "amd64" && os.Getenv(doctor.ConstantTime) == "" {
		env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, doctor.ConstantTime+"=") })
		err := syscall.Exec("/proc/self/exe", os.Args, append(env, doctor.ConstantTime+"=1"))
		return &sandbox.Error{Op: "serve", Kind: sandbox.Unavailable, Object: "constant-time cipher", Detail: "the program cannot start itself again",
			Hint: "set " + doctor.ConstantTime + "=1", Err: err}
	}
	if err := doctor.Guard(); err != nil {
		return &sandbox.Error{Op: "serve", Kind: sandbox.Unavailable, Object: "core dumps", Detail: "the process cannot close itself to core dumps and tracing", Err: err}
	}
	return nil
}
