package main

import (
	"os"
	"runtime"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/doctor"
)

// harden prepares a process that serves: the cipher's constant-time path, which its library reads when the program starts,
// and for a front end no way to gain privileges, which is a thread's until the program starts again; so it starts again
// with both. Then no core dumps and no tracing. What cannot be had is an error.
func harden(args []string) error {
	if len(args) == 1 && args[0] == workerVerb || len(args) == 2 && args[0] == heVerb && args[1] == engineVerb { // started with the setting, by one that has no core dumps
		return guard()
	}
	if !slices.Contains(args, "serve") || len(args) > 0 && slices.Contains(args, "--help") {
		return nil
	}
	front := slices.Contains(args, "front")
	slow := runtime.GOARCH == "amd64" && os.Getenv(doctor.ConstantTime) == ""
	if slow || front && !restrained() {
		runtime.LockOSThread() // what is set is the thread's, until the program starts again on it
		if front {
			if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
				return &sandbox.Error{Op: "serve front", Kind: sandbox.Unavailable, Object: "privileges", Detail: "the process cannot give up gaining any", Err: err}
			}
		}
		env := slices.DeleteFunc(os.Environ(), func(e string) bool { return strings.HasPrefix(e, doctor.ConstantTime+"=") })
		err := syscall.Exec("/proc/self/exe", os.Args, append(env, doctor.ConstantTime+"=1"))
		return &sandbox.Error{Op: "serve", Kind: sandbox.Unavailable, Object: "posture", Detail: "the program cannot start itself again", Err: err}
	}
	return guard()
}

// guard closes the process to core dumps and tracing.
func guard() error {
	if err := doctor.Guard(); err != nil {
		return &sandbox.Error{Op: "serve", Kind: sandbox.Unavailable, Object: "core dumps", Detail: "the process cannot close itself to core dumps and tracing", Err: err}
	}
	return nil
}

// restrained says whether the process cannot gain privileges.
func restrained() bool {
	n, err := unix.PrctlRetInt(unix.PR_GET_NO_NEW_PRIVS, 0, 0, 0, 0)
	return err == nil && n == 1
}
