package jail

import (
	"strings"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"

	"github.com/opdomain/opdomain/attest/sm"
)

// allowed is what a Go or C runtime needs to compute, allocate, wait and talk on descriptors it has. No call makes a socket,
// a file, a process or a mapping that can be executed. Names an architecture lacks are left out.
var allowed = strings.Fields(`read write readv writev close fstat lseek munmap madvise mremap brk mincore
 rt_sigaction rt_sigprocmask rt_sigreturn sigaltstack futex nanosleep clock_nanosleep clock_gettime clock_getres gettimeofday
 epoll_create1 epoll_ctl epoll_wait epoll_pwait epoll_pwait2 eventfd2 pipe2 ppoll poll
 getpid gettid getppid getuid geteuid getgid getegid sched_yield sched_getaffinity getrandom exit exit_group arch_prctl
 set_tid_address set_robust_list rseq restart_syscall sysinfo uname getrusage
 recvfrom recvmsg sendto shutdown getsockname getpeername getsockopt timer_create timer_settime timer_delete membarrier getcpu dup`)

// probed is what runtimes try and do without: it fails instead of killing.
var probed = strings.Fields(`openat open newfstatat readlinkat readlink access faccessat faccessat2 statx getcwd prctl setsockopt ioctl
 clone3 prlimit64 getrlimit`)

// phase is which of the two filters: modules are compiled to machine code under the first, and run under the second as well.
type phase int

const (
	native  phase = iota // and the second one of a module's host
	compile              // a module's host until it has compiled: pages may become executable, never writable ones; one more filter
)

func filter(p phase) (seccomp.Policy, error) {
	info, err := arch.GetInfo("")
	if err != nil {
		return seccomp.Policy{}, err
	}
	has := func(names []string) []string {
		var out []string
		for _, n := range names {
			if _, ok := info.SyscallNames[n]; ok {
				out = append(out, n)
			}
		}
		return out
	}
	is := func(arg uint32, v uint64) seccomp.Condition {
		return seccomp.Condition{Argument: arg, Operation: seccomp.Equal, Value: v}
	}
	var some []seccomp.NameWithConditions
	when := func(name string, c ...seccomp.Condition) {
		some = append(some, seccomp.NameWithConditions{Name: name, Conditions: c})
	}
	// Threads, never processes: the flags of Go's runtime, of Go's with thread-local storage, and of a C library.
	thread := uint64(unix.CLONE_VM | unix.CLONE_FS | unix.CLONE_FILES | unix.CLONE_SIGHAND | unix.CLONE_SYSVSEM | unix.CLONE_THREAD)
	when("clone", is(0, thread))
	when("clone", is(0, thread|unix.CLONE_SETTLS))
	when("clone", is(0, thread|unix.CLONE_SETTLS|unix.CLONE_PARENT_SETTID|unix.CLONE_CHILD_CLEARTID))
	unexecutable := seccomp.Condition{Argument: 2, Operation: seccomp.BitsNotSet, Value: unix.PROT_EXEC}
	when("mmap", unexecutable)
	when("mprotect", unexecutable)
	if p == compile {
		when("mprotect", is(2, unix.PROT_READ|unix.PROT_EXEC))
		when("seccomp", is(0, unix.SECCOMP_SET_MODE_FILTER))
		when("prctl", is(0, unix.PR_SET_NO_NEW_PRIVS))
	}
	// The image has a number above the limit of descriptors, so that nothing a plug-in opens can ever stand there.
	when("execveat", is(0, imageFD), is(4, unix.AT_EMPTY_PATH))
	for _, cmd := range []uint64{unix.F_GETFL, unix.F_SETFL, unix.F_GETFD, unix.F_SETFD, unix.F_DUPFD_CLOEXEC, unix.F_GET_SEALS} {
		when("fcntl", is(1, cmd))
	}
	refuse := has(probed)
	if p == compile {
		refuse = deleteName(refuse, "prctl")
	}
	return seccomp.Policy{DefaultAction: seccomp.ActionKillProcess, Syscalls: []seccomp.SyscallGroup{
		{Action: seccomp.ActionAllow, Names: has(allowed), NamesWithCondtions: some},
		{Action: seccomp.ActionErrno, Names: refuse},
	}}, nil
}

func deleteName(names []string, name string) []string {
	var out []string
	for _, n := range names {
		if n != name {
			out = append(out, n)
		}
	}
	return out
}

// withSignals allows signals to own threads: the process id is known only where the filter is loaded.
func withSignals(p seccomp.Policy, pid int) seccomp.Policy {
	p.Syscalls[0].NamesWithCondtions = append(p.Syscalls[0].NamesWithCondtions,
		seccomp.NameWithConditions{Name: "tgkill", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.Equal, Value: uint64(pid)}}})
	return p
}

// load puts the filter on this thread; what it executes keeps it.
func load(p phase, pid int) error {
	policy, err := filter(p)
	if err != nil {
		return err
	}
	return seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Policy: withSignals(policy, pid)})
}

// filterDigest is SM3 over the filter's instructions, with process id 1.
func filterDigest(p phase) ([sm.Size]byte, error) {
	policy, err := filter(p)
	if err != nil {
		return [sm.Size]byte{}, err
	}
	policy = withSignals(policy, 1)
	instructions, err := policy.Assemble()
	if err != nil {
		return [sm.Size]byte{}, err
	}
	raw, err := bpf.Assemble(instructions)
	if err != nil {
		return [sm.Size]byte{}, err
	}
	var b []byte
	for _, i := range raw {
		b = append(b, byte(i.Op>>8), byte(i.Op), i.Jt, i.Jf, byte(i.K>>24), byte(i.K>>16), byte(i.K>>8), byte(i.K))
	}
	return sm.Sum(b), nil
}
