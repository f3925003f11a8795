package he

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/opdomain/opdomain/sandbox"
)

// apart puts a child into a process group of its own. When this process ends, the child reads the end of its input and ends too.
func apart(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
}

// Confine bounds this process for good: so many bytes of address space, no core dumps, nothing written to files, no file opened beyond those
// there are, no privileges gained. It is called before anything is read. It does not keep the process from the network or from reading:
// a jail does.
func Confine(memory uint64) error {
	limits := []struct {
		what int
		max  uint64
	}{{unix.RLIMIT_AS, memory}, {unix.RLIMIT_CORE, 0}, {unix.RLIMIT_FSIZE, 0}, {unix.RLIMIT_NOFILE, 16}}
	for _, l := range limits {
		if err := unix.Setrlimit(l.what, &unix.Rlimit{Cur: l.max, Max: l.max}); err != nil {
			return &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "engine", Detail: "its process can be bounded", Err: err}
		}
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return &sandbox.Error{Op: "he", Kind: sandbox.Unavailable, Object: "engine", Detail: "its process gains no privileges", Err: err}
	}
	return nil
}
