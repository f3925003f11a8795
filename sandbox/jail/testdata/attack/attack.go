//go:build linux

package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sort"
	"strings"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/opdomain/opdomain/sandbox/jail/guest"
)

type result struct {
	Worked bool
	Detail string
}

func worked(w bool, d ...any) result { return result{w, fmt.Sprint(d...)} }

// either is worked when err is nil or one of those that come only after the permission was found.
func either(err error, after ...error) result {
	w := err == nil
	for _, a := range after {
		w = w || errors.Is(err, a)
	}
	return worked(w, err)
}

func call(n uintptr, a ...uintptr) (uintptr, error) {
	var x [6]uintptr
	copy(x[:], a)
	r, _, e := unix.Syscall6(n, x[0], x[1], x[2], x[3], x[4], x[5])
	if e != 0 {
		return r, e
	}
	return r, nil
}

// fork makes a process that ends at once, before the runtime sees that it is another.
func fork(flags uintptr) (uintptr, error) {
	pid, _, e := unix.RawSyscall6(unix.SYS_CLONE, flags, 0, 0, 0, 0, 0)
	if e != 0 {
		return 0, e
	}
	if pid == 0 {
		unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
	}
	return pid, nil
}

func text(s string) uintptr { b := append([]byte(s), 0); return uintptr(unsafe.Pointer(&b[0])) }

func errOf(_ any, err error) error { return err }

func open(fd int, err error) result {
	if err == nil {
		unix.Close(fd)
	}
	return worked(err == nil, err)
}

// fresh receives the data set's descriptor and keeps it, where the SDK would map and close it.
func fresh() int {
	var head [8]byte
	oob := make([]byte, unix.CmsgSpace(4))
	_, n, _, _, err := unix.Recvmsg(4, head[:], oob, 0)
	if err != nil || n == 0 {
		return -1
	}
	m, _ := unix.ParseSocketControlMessage(oob[:n])
	fds, _ := unix.ParseUnixRights(&m[0])
	return fds[0]
}

var attacks = map[string]func() result{
	// files
	"read the password file": func() result { _, err := os.ReadFile("/etc/passwd"); return worked(err == nil, err) },
	"read procfs":            func() result { _, err := os.ReadFile("/proc/self/status"); return worked(err == nil, err) },
	"read the host's memory": func() result {
		f, err := os.Open(fmt.Sprintf("/proc/%d/mem", os.Getppid()))
		if err == nil {
			f.Close()
		}
		return worked(err == nil, err)
	},
	"list the root": func() result { e, err := os.ReadDir("/"); return worked(err == nil && len(e) > 0, err) },
	"climb by ..":   func() result { _, err := os.ReadFile("../../../../etc/hostname"); return worked(err == nil, err) },
	"write a file": func() result {
		p := filepath.Join(os.TempDir(), fmt.Sprintf("attack-%d", os.Getpid()))
		err := os.WriteFile(p, nil, 0o600)
		os.Remove(p)
		return worked(err == nil, err)
	},
	"make a link": func() result {
		p := filepath.Join(os.TempDir(), fmt.Sprintf("attack-l%d", os.Getpid()))
		err := os.Symlink("/etc/shadow", p)
		os.Remove(p)
		return worked(err == nil, err)
	},
	"make a folder": func() result {
		p := filepath.Join(os.TempDir(), fmt.Sprintf("attack-d%d", os.Getpid()))
		err := os.Mkdir(p, 0o700)
		os.Remove(p)
		return worked(err == nil, err)
	},
	"make a device": func() result {
		p := filepath.Join(os.TempDir(), fmt.Sprintf("attack-n%d", os.Getpid()))
		err := unix.Mknod(p, unix.S_IFCHR|0o600, 0x103)
		os.Remove(p)
		return worked(err == nil, err)
	},
	"change root":     func() result { return either(unix.Chroot("/")) },
	"pivot the root":  func() result { return either(unix.PivotRoot("/", "/"), unix.EBUSY, unix.EINVAL) },
	"mount":           func() result { return either(unix.Mount("none", "/tmp", "tmpfs", 0, "size=4k")) },
	"unmount":         func() result { return either(unix.Unmount("/nonexistent", 0), unix.ENOENT) },
	"move a mount":    func() result { return either(errOf(unix.OpenTree(unix.AT_FDCWD, "/", unix.OPEN_TREE_CLOEXEC))) },
	"new file system": func() result { return open(unix.Fsopen("tmpfs", 0)) },
	"open by handle": func() result {
		return either(errOf(call(unix.SYS_OPEN_BY_HANDLE_AT, 0, text("xxxxxxxxxxxxxxxxxxxx"), 0)), unix.EBADF, unix.ESTALE, unix.EINVAL)
	},
	"name to handle":    func() result { _, _, err := unix.NameToHandleAt(unix.AT_FDCWD, "/", 0); return worked(err == nil, err) },
	"watch by inotify":  func() result { return open(unix.InotifyInit1(0)) },
	"watch by fanotify": func() result { return open(unix.FanotifyInit(0, 0)) },
	"open with openat2": func() result { return open(unix.Openat2(unix.AT_FDCWD, "/", &unix.OpenHow{Flags: unix.O_RDONLY})) },

	// network: loopback and documentation addresses of the process's own namespace only
	"connect by TCP": func() result {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{127, 0, 0, 1}})
		}
		return either(err, unix.ENETUNREACH, unix.ECONNREFUSED)
	},
	"socket of UDP":  func() result { return open(unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)) },
	"socket of IPv6": func() result { return open(unix.Socket(unix.AF_INET6, unix.SOCK_STREAM, 0)) },
	"send to TEST-NET": func() result {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM, 0)
		if err == nil {
			err = unix.Sendto(fd, []byte("x"), 0, &unix.SockaddrInet4{Port: 9, Addr: [4]byte{192, 0, 2, 1}})
		}
		return either(err, unix.ENETUNREACH)
	},
	"listen on TCP": func() result {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
		if err == nil {
			if err = unix.Bind(fd, &unix.SockaddrInet4{Addr: [4]byte{127, 0, 0, 1}}); err == nil {
				err = unix.Listen(fd, 1)
			}
		}
		return either(err, unix.EADDRNOTAVAIL)
	},
	"unix socket by path": func() result {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err == nil {
			err = unix.Connect(fd, &unix.SockaddrUnix{Name: "/nonexistent/socket"})
		}
		return either(err, unix.ENOENT)
	},
	"abstract unix socket": func() result {
		fd, err := unix.Socket(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		if err == nil {
			err = unix.Bind(fd, &unix.SockaddrUnix{Name: fmt.Sprintf("@attack-%d", os.Getpid())})
		}
		return either(err)
	},
	"pair of sockets": func() result {
		_, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM, 0)
		return worked(err == nil, err)
	},
	"vsock":         func() result { return open(unix.Socket(unix.AF_VSOCK, unix.SOCK_STREAM, 0)) },
	"netlink":       func() result { return open(unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW, 0)) },
	"raw packets":   func() result { return open(unix.Socket(unix.AF_PACKET, unix.SOCK_RAW, 0)) },
	"kernel crypto": func() result { return open(unix.Socket(unix.AF_ALG, unix.SOCK_SEQPACKET, 0)) },

	// processes
	"fork": func() result {
		pid, err := fork(uintptr(unix.SIGCHLD))
		return worked(err == nil, pid, err)
	},
	"fork as another call": func() result { // the exit signal has the number of mprotect: a filter that compares an argument for a call's number allows it
		pid, err := fork(unix.SYS_MPROTECT)
		return worked(err == nil, pid, err)
	},
	"start a shell": func() result {
		p, err := os.StartProcess("/bin/true", []string{"true"}, &os.ProcAttr{})
		if err == nil {
			p.Wait()
		}
		return worked(err == nil, err)
	},
	"execute the data": func() result {
		return either(errOf(call(unix.SYS_EXECVEAT, uintptr(fresh()), text(""), 0, 0, unix.AT_EMPTY_PATH)), unix.ENOEXEC)
	},
	"execute the image again": func() result { return either(errOf(call(unix.SYS_EXECVEAT, 200, text(""), 0, 0, unix.AT_EMPTY_PATH))) },
	"execute own memory": func() result {
		fd, err := unix.MemfdCreate("x", 0)
		if err == nil {
			unix.Write(fd, []byte("#!"))
			_, err = call(unix.SYS_EXECVEAT, uintptr(fd), text(""), 0, 0, unix.AT_EMPTY_PATH)
		}
		return either(err, unix.ENOEXEC)
	},
	"trace the host": func() result {
		return either(errOf(call(unix.SYS_PTRACE, unix.PTRACE_SEIZE, uintptr(os.Getppid()), 0, 0)))
	},
	"read the host by process_vm_readv": func() result {
		var b [8]byte
		l := unix.Iovec{Base: &b[0], Len: 8}
		_, err := unix.ProcessVMReadv(os.Getppid(), []unix.Iovec{l}, []unix.RemoteIovec{{Base: 0x400000, Len: 8}}, 0)
		return worked(err == nil, err)
	},
	"signal the host": func() result { return worked(unix.Kill(os.Getppid(), 0) == nil && os.Getppid() != 0, os.Getppid()) },
	"signal all":      func() result { return either(unix.Kill(-1, 0)) }, // signal 0 reaches nobody
	"signal another group": func() result {
		return either(errOf(call(unix.SYS_TGKILL, uintptr(os.Getpid()+1), uintptr(os.Getpid()+1), 0)), unix.ESRCH)
	},
	"own namespaces": func() result {
		_, err := call(unix.SYS_UNSHARE, unix.CLONE_NEWUTS|unix.CLONE_NEWNET)
		_, err2 := call(unix.SYS_UNSHARE, unix.CLONE_NEWUSER)
		return worked(err == nil || err2 == nil || err2 == unix.EINVAL, err, err2)
	},
	"enter a namespace": func() result { return either(errOf(call(unix.SYS_SETNS, 3, 0)), unix.EINVAL) },
	"clone3 into a user namespace": func() result {
		x := [11]uint64{0: unix.CLONE_NEWUSER, 4: uint64(unix.SIGCHLD)}
		r, _, e := unix.RawSyscall(unix.SYS_CLONE3, uintptr(unsafe.Pointer(&x)), 64, 0)
		if e == 0 && r == 0 {
			unix.RawSyscall(unix.SYS_EXIT_GROUP, 0, 0, 0)
		}
		return worked(e == 0, e)
	},
	"pidfd of the host": func() result { return open(unix.PidfdOpen(os.Getppid(), 0)) },
	"descriptors by pidfd": func() result {
		fd, err := unix.PidfdOpen(os.Getpid(), 0)
		if err == nil {
			_, err = unix.PidfdGetfd(fd, 3, 0)
		}
		return worked(err == nil, err)
	},
	"process_madvise": func() result {
		fd, err := unix.PidfdOpen(os.Getpid(), 0)
		if err == nil {
			_, err = call(unix.SYS_PROCESS_MADVISE, uintptr(fd), 0, 0, unix.MADV_COLD, 0)
		}
		return either(err)
	},
	"kcmp": func() result {
		return either(errOf(call(unix.SYS_KCMP, uintptr(os.Getpid()), uintptr(os.Getpid()), 0, 0, 0)))
	},

	// the data set: outside, a sealed file as the domain makes it is put in its place
	"write to the data": func() result { return either(errOf(unix.Write(fresh(), []byte("x")))) },
	"write in the data": func() result { return either(errOf(unix.Pwrite(fresh(), []byte("x"), 1))) },
	"map the data writable": func() result {
		return either(errOf(unix.Mmap(fresh(), 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)))
	},
	"make mapped data writable": func() result {
		b, err := unix.Mmap(fresh(), 0, 4096, unix.PROT_READ, unix.MAP_SHARED)
		if err == nil {
			err = unix.Mprotect(b, unix.PROT_READ|unix.PROT_WRITE)
		}
		return either(err)
	},
	"unseal the data": func() result { return either(errOf(unix.FcntlInt(uintptr(fresh()), unix.F_ADD_SEALS, 0))) },
	"cut the data":    func() result { return either(unix.Ftruncate(fresh(), 0)) },
	"punch the data": func() result {
		return either(unix.Fallocate(fresh(), unix.FALLOC_FL_PUNCH_HOLE|unix.FALLOC_FL_KEEP_SIZE, 0, 4096))
	},
	"reopen the data":          func() result { return open(unix.Open(fmt.Sprintf("/proc/self/fd/%d", fresh()), unix.O_RDWR, 0)) },
	"make the data executable": func() result { return either(unix.Fchmod(fresh(), 0o777)) },
	"send on a descriptor": func() result {
		return either(unix.Sendmsg(3, []byte{0}, unix.UnixRights(0), nil, unix.MSG_DONTWAIT|unix.MSG_NOSIGNAL))
	},

	// the kernel's surface
	"io_uring": func() result {
		var p [120]byte
		fd, err := call(unix.SYS_IO_URING_SETUP, 4, uintptr(unsafe.Pointer(&p[0])))
		return open(int(fd), err)
	},
	"session keyring": func() result { return either(errOf(unix.KeyctlGetKeyringID(unix.KEY_SPEC_SESSION_KEYRING, false))) },
	"add a key": func() result {
		return either(errOf(unix.AddKey("user", "attack", []byte("x"), unix.KEY_SPEC_PROCESS_KEYRING)))
	},
	"bpf": func() result { return either(errOf(call(unix.SYS_BPF, 0, 0, 0)), unix.EINVAL, unix.EFAULT) },
	"perf events": func() result {
		a := &unix.PerfEventAttr{Type: unix.PERF_TYPE_SOFTWARE, Size: uint32(unsafe.Sizeof(unix.PerfEventAttr{})), Config: unix.PERF_COUNT_SW_CPU_CLOCK}
		return open(unix.PerfEventOpen(a, 0, -1, -1, 0))
	},
	"userfaultfd":   func() result { fd, err := call(unix.SYS_USERFAULTFD, 1); return open(int(fd), err) },
	"memfd":         func() result { return open(unix.MemfdCreate("x", 0)) },
	"secret memory": func() result { fd, err := call(unix.SYS_MEMFD_SECRET, 0); return open(int(fd), err) },
	"shared memory": func() result {
		id, err := unix.SysvShmGet(unix.IPC_PRIVATE, 4096, unix.IPC_CREAT|0o600)
		if err == nil {
			unix.SysvShmCtl(id, unix.IPC_RMID, nil)
		}
		return either(err)
	},
	"message queue": func() result {
		fd, err := call(unix.SYS_MQ_OPEN, text("attack"), unix.O_CREAT|unix.O_RDWR, 0o600, 0)
		call(unix.SYS_MQ_UNLINK, text("attack"))
		return open(int(fd), err)
	},
	"semaphores": func() result {
		id, err := call(unix.SYS_SEMGET, unix.IPC_PRIVATE, 1, unix.IPC_CREAT|0o600)
		if err == nil {
			call(unix.SYS_SEMCTL, id, 0, unix.IPC_RMID)
		}
		return either(err)
	},
	"personality":          func() result { return either(errOf(call(unix.SYS_PERSONALITY, 0x0040000))) },
	"filter that notifies": func() result { return either(errOf(call(unix.SYS_SECCOMP, 1, 8, 0)), unix.EFAULT) },
	"writable code": func() result {
		return either(errOf(unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE|unix.PROT_EXEC, unix.MAP_ANON|unix.MAP_PRIVATE)))
	},
	"new code": func() result {
		b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err == nil {
			err = unix.Mprotect(b, unix.PROT_READ|unix.PROT_EXEC)
		}
		return either(err)
	},
	"code by pkey_mprotect": func() result {
		b, err := unix.Mmap(-1, 0, 4096, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_ANON|unix.MAP_PRIVATE)
		if err == nil {
			_, err = call(unix.SYS_PKEY_MPROTECT, uintptr(unsafe.Pointer(&b[0])), 4096, unix.PROT_READ|unix.PROT_EXEC, ^uintptr(0))
		}
		return either(err)
	},
	"splice": func() result { return either(errOf(unix.Splice(0, nil, 1, nil, 0, 0)), unix.EINVAL, unix.EBADF) },
	"landlock of its own": func() result {
		r, err := call(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, 1)
		return worked(err == nil && r > 0, err)
	},

	// privilege
	"become root": func() result { return worked(unix.Setuid(0) == nil && os.Getuid() == 0) },
	"set groups":  func() result { return either(unix.Setgroups([]int{0})) },
	"raise a limit": func() result {
		var l unix.Rlimit
		unix.Getrlimit(unix.RLIMIT_NOFILE, &l)
		return either(unix.Prlimit(0, unix.RLIMIT_NOFILE, &unix.Rlimit{Cur: l.Max + 1, Max: l.Max + 1}, nil))
	},
	"raise by setrlimit": func() result {
		l := unix.Rlimit{Cur: 4096, Max: 1 << 19}
		return either(errOf(call(unix.SYS_SETRLIMIT, unix.RLIMIT_NPROC, uintptr(unsafe.Pointer(&l)))))
	},
	"real-time priority": func() result {
		return either(unix.SchedSetAttr(0, &unix.SchedAttr{Size: 48, Policy: 1, Priority: 1}, 0))
	},
	"better priority":     func() result { return either(unix.Setpriority(unix.PRIO_PROCESS, 0, -10)) },
	"choose a core":       func() result { var s unix.CPUSet; s.Set(0); return either(unix.SchedSetaffinity(0, &s)) },
	"set the clock":       func() result { return either(errOf(call(unix.SYS_CLOCK_SETTIME, 99, 0)), unix.EINVAL, unix.EFAULT) },
	"set the host's name": func() result { return either(errOf(call(unix.SYS_SETHOSTNAME, 0, ^uintptr(0))), unix.EINVAL) },
	"reboot":              func() result { return either(errOf(call(unix.SYS_REBOOT, 0, 0, 0, 0)), unix.EINVAL) },
	"load a kernel":       func() result { return either(errOf(call(unix.SYS_KEXEC_LOAD, 0, 99, 0, 0)), unix.EINVAL) },
	"load a module":       func() result { return either(errOf(call(unix.SYS_INIT_MODULE, 0, 0, 0)), unix.EFAULT) },
	"swap":                func() result { return either(errOf(call(unix.SYS_SWAPON, text("/nonexistent"), 0)), unix.ENOENT) },
	"accounting":          func() result { return either(errOf(call(unix.SYS_ACCT, text("/nonexistent"))), unix.ENOENT) },
	"quotas":              func() result { return either(errOf(call(unix.SYS_QUOTACTL, 0, 0, 0, 0))) },
	"kernel log": func() result {
		b := make([]byte, 4096)
		return either(errOf(call(unix.SYS_SYSLOG, 3, uintptr(unsafe.Pointer(&b[0])), 4096)))
	},
	"push to a terminal": func() result {
		b := []byte{'x'}
		return either(errOf(call(unix.SYS_IOCTL, 0, unix.TIOCSTI, uintptr(unsafe.Pointer(&b[0])))))
	},
	"be dumped":       func() result { return either(unix.Prctl(unix.PR_SET_DUMPABLE, 1, 0, 0, 0)) },
	"become a reaper": func() result { return either(unix.Prctl(unix.PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)) },
	"lock memory":     func() result { b := make([]byte, 1<<16); return either(unix.Mlock(b)) },

	// leaks
	"foreign descriptors": func() result {
		var odd []string
		for fd := 0; fd < 1024; fd++ {
			var st unix.Stat_t
			if unix.Fstat(fd, &st) == nil {
				kind := st.Mode & unix.S_IFMT
				if kind == unix.S_IFDIR || kind == unix.S_IFREG || kind == unix.S_IFCHR && fd != 0 || kind == unix.S_IFSOCK && fd > 4 {
					odd = append(odd, fmt.Sprint(fd))
				}
			}
		}
		return worked(len(odd) > 0, odd)
	},
	"foreign environment": func() result {
		for _, e := range os.Environ() {
			if !strings.HasPrefix(e, guest.Variable+"=") && !strings.HasPrefix(e, "GOMAXPROCS=") {
				return worked(true, "a variable of the host")
			}
		}
		return worked(false)
	},
	"arguments of the host": func() result { return worked(len(os.Args) > 1, len(os.Args)) },
	"user of the host":      func() result { return worked(unix.Getppid() != 0, unix.Getppid()) }, // T1: no parent in its namespace
	"name of the host": func() result {
		var u unix.Utsname
		unix.Uname(&u)
		return worked(unix.ByteSliceToString(u.Nodename[:]) != "jail")
	},

	// floods that must stay its own
	"more descriptors": func() result {
		n := 0
		for n < 500 {
			if _, err := unix.Eventfd(0, 0); err != nil {
				break
			}
			n++
		}
		return worked(n > 64, n)
	},
	"flood of signals": func() result {
		type event struct {
			value uintptr
			signo int32
			kind  int32
			_     [48]byte
		}
		n := 0
		for n < 2000 {
			var id int32
			e := event{signo: int32(unix.SIGURG)}
			if _, err := call(unix.SYS_TIMER_CREATE, unix.CLOCK_MONOTONIC, uintptr(unsafe.Pointer(&e)), uintptr(unsafe.Pointer(&id))); err != nil {
				break
			}
			n++
		}
		for range 20000 {
			call(unix.SYS_TGKILL, uintptr(os.Getpid()), uintptr(unix.Gettid()), uintptr(unix.SIGURG))
		}
		return worked(n > 64, n)
	},
	"bomb of processes": func() result {
		n := 0
		for range 400 {
			pid, err := fork(uintptr(unix.SIGCHLD))
			if err != nil {
				break
			}
			_ = pid
			n++
		}
		return worked(n > 64, n)
	},
}

func names() []string {
	var out []string
	for n := range attacks {
		out = append(out, n)
	}
	sort.Strings(out)
	return out
}

func attack(name string) result {
	f, ok := attacks[name]
	if !ok {
		return result{true, "no such attack"} // a wrong name must not look like a block
	}
	return f()
}
