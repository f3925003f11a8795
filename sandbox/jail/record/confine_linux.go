package record

import (
	"os/exec"
	"syscall"

	"golang.org/x/sys/unix"
)

// confine gives the child a process group of its own, and lets it die with its parent.
func confine(cmd *exec.Cmd) {
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
}

// limit bounds what the child may take: memory, no core file, no further descriptor. A bound that cannot be set is one that was lower.
func limit() {
	for what, n := range map[int]uint64{unix.RLIMIT_DATA: maxData, unix.RLIMIT_CORE: 0, unix.RLIMIT_FSIZE: 0} {
		_ = unix.Setrlimit(what, &unix.Rlimit{Cur: n, Max: n})
	}
}
