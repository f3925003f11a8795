package jail

import (
	"encoding/binary"
	"errors"
	"io"
	"os"
	"os/exec"
	"runtime"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// A host that closed itself to tracing, as one that serves does, cannot map the users of a new namespace unless it is root: the kernel gives
// what procfs has of its children to root. So another process starts stage 1 for it, the shim: the same program, which holds nothing and lives
// as long as the plug-in does.

// needsShim says whether this process cannot make user namespaces itself.
func needsShim() bool {
	v, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	return os.Geteuid() != 0 && (err != nil || v != 1)
}

// newNamespaces are the attributes of a stage 1 that a user without rights starts.
func newNamespaces(a *syscall.SysProcAttr, uid, gid int) {
	a.Cloneflags = syscall.CLONE_NEWUSER | syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET | syscall.CLONE_NEWIPC | syscall.CLONE_NEWUTS | unix.CLONE_NEWCGROUP
	a.UidMappings = []syscall.SysProcIDMap{{HostID: uid, Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{HostID: gid, Size: 1}}
}

// shim starts stage 1 with its own descriptors, says which process that is, keeps none of them, and ends as stage 1 does: of a signal with
// 128 and its number.
func shim() int {
	runtime.LockOSThread() // the parent death signal is the thread's
	report := os.NewFile(reportFD, "report")
	unix.CloseOnExec(reportFD)
	cmd := exec.Command("/proc/self/exe")
	cmd.Args, cmd.Env, cmd.Dir = []string{stageName}, []string{}, "/"
	var own []*os.File
	for fd := range controlFD + 1 {
		own = append(own, os.NewFile(uintptr(fd), "given"))
	}
	cmd.Stdin, cmd.Stdout, cmd.Stderr, cmd.ExtraFiles = own[0], own[1], own[2], own[3:]
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL, Setsid: true}
	newNamespaces(cmd.SysProcAttr, os.Geteuid(), os.Getegid())
	err := cmd.Start()
	for _, f := range own {
		_ = f.Close() // the end of the plug-in's ends must be the end
	}
	if err != nil {
		return 119
	}
	if _, err := report.Write(binary.LittleEndian.AppendUint32(nil, uint32(cmd.Process.Pid))); err != nil {
		return 119
	}
	_ = report.Close()
	_ = cmd.Wait()
	if s, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); ok && s.Signaled() {
		return 128 + int(s.Signal())
	}
	return cmd.ProcessState.ExitCode()
}

// reported waits for a shim to say which process it started.
func (p *Process) reported(r *os.File) error {
	defer r.Close()
	var b [4]byte
	if err := r.SetReadDeadline(time.Now().Add(10 * time.Second)); err != nil {
		return err
	}
	if _, err := io.ReadFull(r, b[:]); err != nil {
		return errors.Join(os.ErrPermission, err) // why it ended it could not say; namespaces are what a shim is for
	}
	p.relays = true
	p.pid = int(binary.LittleEndian.Uint32(b[:]))
	var err error
	p.inside, err = os.FindProcess(p.pid) // its parent, the shim, waits for it only when it has ended
	return err
}
