package jail

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"runtime"
	"slices"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opdomain/opdomain/sandbox"
)

// probeCall is one attack of the canary: a system call, which worked when the kernel did it or only found fault with its
// arguments. Text is put into the canary's memory; at is which argument points to it.
type probeCall struct {
	name string
	nr   uintptr
	args [6]uint64
	text string
	at   int
	// after are errors that come only once the permission was found.
	after []unix.Errno
}

const control = "control"

// minus is -n as an argument.
func minus(n int64) uint64 { return uint64(-n) }

// canaries are tried at boot and hourly, one from each layer's reach at least; the whole suite is in the tests.
func canaries() []probeCall {
	here := minus(-(unix.AT_FDCWD))
	late := []unix.Errno{unix.EINVAL, unix.EFAULT}
	return []probeCall{
		{name: control, nr: unix.SYS_GETPID}, // proves that an attack which works is heard of
		{name: "read a file", nr: unix.SYS_OPENAT, args: [6]uint64{here, 0, unix.O_RDONLY}, text: "/etc/passwd", at: 1},
		{name: "read procfs", nr: unix.SYS_OPENAT, args: [6]uint64{here, 0, unix.O_RDONLY}, text: "/proc/self/status", at: 1},
		{name: "open the root", nr: unix.SYS_OPENAT, args: [6]uint64{here, 0, unix.O_RDONLY | unix.O_DIRECTORY}, text: "/", at: 1},
		{name: "write a file", nr: unix.SYS_OPENAT, args: [6]uint64{here, 0, unix.O_TMPFILE | unix.O_RDWR, 0o600}, text: "/tmp", at: 1},
		{name: "make a folder", nr: unix.SYS_MKDIRAT, args: [6]uint64{here, 0, 0o700}, text: "/canary", at: 1},
		{name: "socket of TCP", nr: unix.SYS_SOCKET, args: [6]uint64{unix.AF_INET, unix.SOCK_STREAM}},
		{name: "unix socket", nr: unix.SYS_SOCKET, args: [6]uint64{unix.AF_UNIX, unix.SOCK_STREAM}},
		{name: "vsock", nr: unix.SYS_SOCKET, args: [6]uint64{unix.AF_VSOCK, unix.SOCK_STREAM}},
		{name: "netlink", nr: unix.SYS_SOCKET, args: [6]uint64{unix.AF_NETLINK, unix.SOCK_RAW}},
		{name: "fork", nr: unix.SYS_CLONE, args: [6]uint64{uint64(unix.SIGCHLD)}},
		{name: "fork as mprotect", nr: unix.SYS_CLONE, args: [6]uint64{unix.SYS_MPROTECT}},
		{name: "start a program", nr: unix.SYS_EXECVE, text: "/bin/true"},
		{name: "execute the image again", nr: unix.SYS_EXECVEAT, args: [6]uint64{imageFD, 0, 0, 0, unix.AT_EMPTY_PATH}, text: "", at: 1},
		{name: "memory file", nr: unix.SYS_MEMFD_CREATE, text: "x"},
		{name: "writable code", nr: unix.SYS_MMAP, args: [6]uint64{0, 4096, unix.PROT_READ | unix.PROT_WRITE | unix.PROT_EXEC, unix.MAP_PRIVATE | unix.MAP_ANON, minus(1)}},
		{name: "new code", nr: unix.SYS_MMAP, args: [6]uint64{0, 4096, unix.PROT_READ | unix.PROT_EXEC, unix.MAP_PRIVATE | unix.MAP_ANON, minus(1)}},
		{name: "trace another", nr: unix.SYS_PTRACE, args: [6]uint64{unix.PTRACE_TRACEME}},
		{name: "signal all", nr: unix.SYS_KILL, args: [6]uint64{minus(1), 0}},
		{name: "new namespaces", nr: unix.SYS_UNSHARE, args: [6]uint64{unix.CLONE_NEWUTS}},
		{name: "mount", nr: unix.SYS_MOUNT, args: [6]uint64{0, 0, 0, unix.MS_REMOUNT}, text: "/", at: 1, after: late},
		{name: "bpf", nr: unix.SYS_BPF, after: late},
		{name: "io_uring", nr: unix.SYS_IO_URING_SETUP, args: [6]uint64{4}, after: late},
		{name: "perf events", nr: unix.SYS_PERF_EVENT_OPEN, after: late},
		{name: "userfaultfd", nr: unix.SYS_USERFAULTFD, args: [6]uint64{1}},
		{name: "keyring", nr: unix.SYS_KEYCTL, args: [6]uint64{unix.KEYCTL_GET_KEYRING_ID, minus(-(unix.KEY_SPEC_SESSION_KEYRING))}},
		{name: "change root", nr: unix.SYS_CHROOT, text: "/"},
		{name: "become root", nr: unix.SYS_SETRESUID},
		{name: "terminal", nr: unix.SYS_IOCTL, args: [6]uint64{0, unix.TIOCSTI}, text: "x", at: 2, after: late},
		{name: "dump", nr: unix.SYS_PRCTL, args: [6]uint64{unix.PR_SET_DUMPABLE, 1}},
		{name: "a sixth descriptor's file", nr: unix.SYS_FSTAT, args: [6]uint64{feedFD + 1}, after: late},
	}
}

// canaryImage is a program of some 400 bytes that waits for the feed, makes one system call, reports what the kernel said on
// its channel and ends. It needs no runtime, and so no call that an attack could hide behind.
func canaryImage(c probeCall) ([]byte, error) {
	const base, head = 0x400000, 64 + 56
	var code []byte
	at := func(text int) uint64 { return base + head + uint64(text) }
	build := func(text int) error {
		args := c.args
		if c.text != "" || c.nr == unix.SYS_EXECVEAT {
			args[c.at] = at(text)
		}
		code = nil
		switch runtime.GOARCH {
		case "amd64":
			set := func(rex, op byte, v uint64) { code = binary.LittleEndian.AppendUint64(append(code, rex, op), v) } // mov register, v
			call := func(nr uintptr, a [6]uint64) {
				set(0x48, 0xbf, a[0]) // rdi
				set(0x48, 0xbe, a[1]) // rsi
				set(0x48, 0xba, a[2]) // rdx
				set(0x49, 0xba, a[3]) // r10
				set(0x49, 0xb8, a[4]) // r8
				set(0x49, 0xb9, a[5]) // r9
				set(0x48, 0xb8, uint64(nr))
				code = append(code, 0x0f, 0x05)
			}
			code = append(code, 0x50, 0x54, 0x5e)                  // push rax; push rsp; pop rsi
			code = append(code, 0x31, 0xc0, 0xbf, feedFD, 0, 0, 0) // xor eax, eax (read); mov edi, 4
			code = append(code, 0xba, 8, 0, 0, 0, 0x0f, 0x05)      // mov edx, 8; syscall
			call(c.nr, args)
			code = append(code, 0x50, 0x54, 0x5e, 0xbf, rpcFD, 0, 0, 0, 0xba, 8, 0, 0, 0, 0xb8, 1, 0, 0, 0, 0x0f, 0x05) // write(3, rsp, 8)
			call(unix.SYS_EXIT_GROUP, [6]uint64{})
		case "arm64":
			word := func(w uint32) { code = binary.LittleEndian.AppendUint32(code, w) }
			set := func(reg uint32, v uint64) { // movz, movk
				word(0xd2800000 | uint32(v&0xffff)<<5 | reg)
				for i := uint32(1); i < 4; i++ {
					word(0xf2800000 | i<<21 | uint32(v>>(16*i)&0xffff)<<5 | reg)
				}
			}
			call := func(nr uintptr, a [6]uint64) {
				for i, v := range a {
					set(uint32(i), v)
				}
				set(8, uint64(nr))
				word(0xd4000001) // svc 0
			}
			onStack := func(nr uintptr, fd uint64) { // a call with (fd, sp, 8)
				set(0, fd)
				word(0x910003e1) // mov x1, sp
				set(2, 8)
				set(8, uint64(nr))
				word(0xd4000001)
			}
			word(0xf81f0fe0) // str x0, [sp, -16]!
			onStack(unix.SYS_READ, feedFD)
			call(c.nr, args)
			word(0xf81f0fe0)
			onStack(unix.SYS_WRITE, rpcFD)
			call(unix.SYS_EXIT_GROUP, [6]uint64{})
		default:
			return &sandbox.Error{Op: "jail: canary", Kind: sandbox.Unavailable, Object: runtime.GOARCH, Detail: "no canary for this processor: amd64, arm64"}
		}
		return nil
	}
	if err := build(0); err != nil {
		return nil, err
	}
	if err := build(len(code)); err != nil { // now that the text's place is known
		return nil, err
	}
	code = append(append(code, c.text...), 0)
	machine := uint16(62)
	if runtime.GOARCH == "arm64" {
		machine = 183
	}
	le := binary.LittleEndian
	b := append([]byte("\x7fELF\x02\x01\x01"), make([]byte, 9)...)
	b = le.AppendUint16(le.AppendUint16(b, 2), machine)
	b = le.AppendUint32(b, 1)
	b = le.AppendUint64(b, base+head)
	b = le.AppendUint64(le.AppendUint64(b, 64), 0)
	b = le.AppendUint32(b, 0)
	for _, v := range []uint16{64, 56, 1, 0, 0, 0} {
		b = le.AppendUint16(b, v)
	}
	size := uint64(head + len(code))
	b = le.AppendUint32(le.AppendUint32(b, 1), 5) // load, readable and executable
	for _, v := range []uint64{0, base, base, size, size, 4096} {
		b = le.AppendUint64(b, v)
	}
	return append(b, code...), nil
}

// Canary attacks the machine from inside a tier's jail, one process per attack. One that works halts the launcher for good: every
// start is refused from then on. One of which it is not known that it did not work, twice, is an error, and no plug-in of any tier
// starts until a canary of its own has passed. Start runs it before the first plug-in of a tier; a node runs it hourly. For W and Wp
// the attacks are those of native code in T1 and T1p: one canary speaks for both.
func (l *Launcher) Canary(ctx context.Context, t Tier) (Verdict, error) {
	return l.canary(ctx, t, canaries())
}

func (l *Launcher) canary(ctx context.Context, t Tier, calls []probeCall) (Verdict, error) {
	v := Verdict{Tier: t}
	if err := l.report.refuse(t); err != nil {
		return v, err // nothing starts there
	}
	l.proving.Lock()
	defer l.proving.Unlock()
	err := l.attackFrom(ctx, t, calls, &v)
	if err == nil {
		l.passed[attackedIn(t)] = true
	} else {
		clear(l.passed) // what is in doubt is the machine, not one tier of it
	}
	if len(v.Worked) > 0 {
		err = &Fault{Op: "jail: canary", Reason: Layer, Object: v.Worked[0], Detail: fmt.Sprintf("%d attacks work in %s", len(v.Worked), t)}
		l.halted.CompareAndSwap(nil, &Fault{Op: "jail: start", Reason: Layer, Object: "canary", Detail: "an attack was not stopped: nothing starts any more", Err: err})
	}
	return v, err
}

// attackedIn is the tier in which a tier's attacks are started.
func attackedIn(t Tier) Tier {
	switch t {
	case W:
		return T1
	case Wp:
		return T1p
	}
	return t
}

func (l *Launcher) attackFrom(ctx context.Context, t Tier, calls []probeCall, v *Verdict) error {
	limits, err := Limits{Wall: 20 * time.Second}.complete()
	if err != nil {
		return err
	}
	for _, c := range calls {
		v.Attacks++
		var said *int64
		var reason Reason
		for range 2 { // a machine under load may have ended one for its time
			if said, reason, err = l.attack(ctx, Job{Tier: attackedIn(t), Limits: limits}, c); err == nil && (said != nil || reason == Forbidden) {
				break
			}
		}
		if err != nil || said == nil && reason != Forbidden {
			return &Fault{Op: "jail: canary", Reason: Layer, Object: c.name, Detail: "it is not known whether it was stopped: " + string(reason), Err: err}
		}
		worked := said != nil && (*said >= 0 || slices.Contains(c.after, unix.Errno(-*said)))
		switch {
		case c.name == control && !worked:
			return &Fault{Op: "jail: canary", Reason: Layer, Object: c.name, Detail: "an attack that works is not heard of"}
		case c.name != control && worked:
			v.Worked = append(v.Worked, c.name)
		}
	}
	return nil
}

// attack runs one: what the kernel answered, nil when the process was ended before it could say, and how it ended.
func (l *Launcher) attack(ctx context.Context, job Job, c probeCall) (*int64, Reason, error) {
	b, err := canaryImage(c)
	if err != nil {
		return nil, "", err
	}
	f, n, err := sealed("canary", bytes.NewReader(b), true)
	if err != nil {
		return nil, "", err
	}
	img := &Image{file: f, size: n}
	defer img.Close()
	p, err := l.start(ctx, job, child{args: []string{pluginName}, image: img, bare: true})
	if err != nil {
		return nil, "", err
	}
	defer p.Close()
	var answer [8]byte
	_, err = io.ReadFull(p.rpc, answer[:])
	<-p.gone
	if err != nil {
		return nil, p.Reason(), nil
	}
	said := int64(binary.NativeEndian.Uint64(answer[:]))
	return &said, p.Reason(), nil
}

// proven runs a tier's canary unless the last one passed.
func (l *Launcher) proven(ctx context.Context, t Tier) error {
	l.proving.Lock()
	passed := l.passed[attackedIn(t)]
	l.proving.Unlock()
	if passed {
		return nil
	}
	_, err := l.Canary(ctx, t)
	return err
}

// Halted says why nothing is started: nil, or the last canary's finding.
func (l *Launcher) Halted() error {
	if f := l.halted.Load(); f != nil {
		return f
	}
	return nil
}
