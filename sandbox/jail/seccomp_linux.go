package jail

import (
	"encoding/binary"
	"errors"
	"runtime"
	"slices"
	"strings"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/opdomain/opdomain/attest/sm"
)

// allowed is what a Go or C runtime needs to compute, allocate, wait and talk on descriptors it has. No call makes a socket,
// a file, a process or a mapping that can be executed. Names an architecture lacks are left out.
var allowed = strings.Fields(`read write readv writev close fstat lseek munmap madvise mremap brk
 rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack futex nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday
 epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd2 pipe2 ppoll poll
 getpid gettid getppid getuid geteuid getgid getegid sched_yield sched_getaffinity getrandom exit exit_group arch_prctl
 set_tid_address set_robust_list rseq restart_syscall uname getrusage
 recvfrom recvmsg sendto shutdown getsockname getpeername getsockopt timer_create timer_settime timer_delete membarrier getcpu dup`)

// probed is what runtimes try and do without: it fails instead of killing. sysinfo would show the load that another plug-in
// makes, mincore which pages of shared data it has read.
var probed = strings.Fields(`openat open newfstatat readlinkat readlink access faccessat faccessat2 statx getcwd prctl setsockopt ioctl
 clone3 prlimit64 getrlimit sysinfo mincore`)

// phase is which of the two filters: modules are compiled to machine code under the first, and run under the second as well.
type phase int

const (
	native  phase = iota // and the second one of a module's host
	sentry               // the first, on gVisor's kernel, where killing would end a thread only: what is not allowed fails
	compile              // a module's host until it has compiled: pages may become executable, never writable ones; one more filter
)

// word is a condition on one argument: all its 64 bits are want, or, with a mask, none of the mask's bits is set.
type word struct {
	arg  int
	want uint64
	mask uint32
}

// rule allows a call when one of its sets of conditions holds.
type rule struct {
	name string
	any  [][]word
}

func rules(p phase, pid int) []rule {
	is := func(arg int, v uint64) word { return word{arg: arg, want: v} }
	// Threads, never processes: the flags of Go's runtime, of Go's with thread-local storage, and of a C library.
	thread := uint64(unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD)
	unexecutable := word{arg: 2, mask: unix.PROT_EXEC}
	r := []rule{
		{"mmap", [][]word{{unexecutable}}},
		{"mprotect", [][]word{{unexecutable}}},
		{"tgkill", [][]word{{is(0, uint64(pid))}}},
		{"clone", [][]word{{is(0, thread)}, {is(0, thread|unix.CLONE_SETTLS)}, {is(0, thread|unix.CLONE_SETTLS|unix.CLONE_PARENT_SETTID|unix.CLONE_CHILD_CLEARTID)}}},
		{"fcntl", [][]word{{is(1, unix.F_GETFL)}, {is(1, unix.F_SETFL)}, {is(1, unix.F_GETFD)}, {is(1, unix.F_SETFD)}, {is(1, unix.F_DUPFD_CLOEXEC)}, {is(1, unix.F_GET_SEALS)}}},
		// The image has a number above the limit of descriptors, so that nothing a plug-in opens can ever stand there.
		{"execveat", [][]word{{is(0, imageFD), is(4, unix.AT_EMPTY_PATH)}}},
	}
	if p == compile {
		r[1].any = append(r[1].any, []word{is(2, unix.PROT_READ|unix.PROT_EXEC)})
		r = append(r, rule{"seccomp", [][]word{{is(0, unix.SECCOMP_SET_MODE_FILTER)}}})
	}
	return r
}

// Offsets in struct seccomp_data.
const (
	numberAt = 0
	archAt   = 4
	argsAt   = 16
)

// assemble makes the filter. The tables of numbers are go-seccomp-bpf's; its own assembler is not used: after a failed
// condition it goes on comparing with the argument in the place of the call's number, so that clone with an exit signal of
// mprotect's number passed as mprotect (v1.6.0). Here every rule ends in a return.
func assemble(p phase, pid int) ([]bpf.RawInstruction, error) {
	info, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	kill := bpf.RetConstant{Val: unix.SECCOMP_RET_KILL_PROCESS}
	if p == sentry {
		kill = bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)}
	}
	pass := bpf.RetConstant{Val: unix.SECCOMP_RET_ALLOW}
	fail := bpf.RetConstant{Val: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)}
	code := []bpf.Instruction{
		bpf.LoadAbsolute{Off: archAt, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(info.ID), SkipTrue: 1}, kill, // another interface of the processor
		bpf.LoadAbsolute{Off: numberAt, Size: 4},
	}
	if runtime.GOARCH == "amd64" {
		code = append(code, bpf.JumpIf{Cond: bpf.JumpLessThan, Val: 1 << 30, SkipTrue: 1}, kill) // x32
	}
	one := func(names []string, then bpf.Instruction) {
		for _, n := range names {
			if nr, ok := info.SyscallNames[n]; ok {
				code = append(code, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(nr), SkipTrue: 1}, then)
			}
		}
	}
	if p == sentry { // its kernel counts no timers, and no runtime needs them
		one(slices.DeleteFunc(slices.Clone(allowed), func(n string) bool { return strings.HasPrefix(n, "timer_") }), pass)
	} else {
		one(allowed, pass)
	}
	for _, r := range rules(p, pid) {
		nr, ok := info.SyscallNames[r.name]
		if !ok {
			return nil, errors.New("no system call " + r.name)
		}
		var body []bpf.Instruction
		for _, set := range r.any {
			body = append(body, conditions(set, pass)...)
		}
		body = append(body, kill)
		if len(body) > 255 {
			return nil, errors.New("too many conditions on " + r.name)
		}
		code = append(code, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: uint32(nr), SkipTrue: uint8(len(body))})
		code = append(code, body...)
	}
	one(probed, fail)
	return bpf.Assemble(append(code, kill))
}

// conditions are instructions that return pass when every word holds and otherwise go on behind themselves.
func conditions(set []word, pass bpf.Instruction) []bpf.Instruction {
	var code []bpf.Instruction
	var out []int // jumps to the end
	for _, w := range set {
		low, high := uint32(argsAt+8*w.arg), uint32(argsAt+8*w.arg+4)
		if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
			low, high = high, low
		}
		if w.mask != 0 {
			code = append(code, bpf.LoadAbsolute{Off: low, Size: 4}, bpf.ALUOpConstant{Op: bpf.ALUOpAnd, Val: w.mask}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: 0})
			out = append(out, len(code)-1)
			continue
		}
		for _, half := range [2][2]uint32{{low, uint32(w.want)}, {high, uint32(w.want >> 32)}} {
			code = append(code, bpf.LoadAbsolute{Off: half[0], Size: 4}, bpf.JumpIf{Cond: bpf.JumpNotEqual, Val: half[1]})
			out = append(out, len(code)-1)
		}
	}
	code = append(code, pass)
	for _, at := range out {
		j := code[at].(bpf.JumpIf)
		j.SkipTrue = uint8(len(code) - 1 - at)
		code[at] = j
	}
	return code
}

// load puts the filter on this thread; what it executes keeps it. flags are those of seccomp(2).
func load(p phase, pid int, flags uintptr) error {
	raw, err := assemble(p, pid)
	if err != nil {
		return err
	}
	code := make([]unix.SockFilter, len(raw))
	for i, r := range raw {
		code[i] = unix.SockFilter{Code: r.Op, Jt: r.Jt, Jf: r.Jf, K: r.K}
	}
	program := unix.SockFprog{Len: uint16(len(code)), Filter: &code[0]}
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, flags, uintptr(unsafe.Pointer(&program))); e != 0 {
		return e
	}
	return nil
}

// filterDigest is SM3 over the filter's instructions, with process id 1.
func filterDigest(p phase) ([sm.Size]byte, error) {
	raw, err := assemble(p, 1)
	if err != nil {
		return [sm.Size]byte{}, err
	}
	var b []byte
	for _, i := range raw {
		b = binary.BigEndian.AppendUint16(b, i.Op)
		b = append(b, i.Jt, i.Jf)
		b = binary.BigEndian.AppendUint32(b, i.K)
	}
	return sm.Sum(b), nil
}
