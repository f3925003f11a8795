package jail

import (
	"bytes"
	"context"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/protobuf/types/known/wrapperspb"
	"pgregory.net/rapid"

	"github.com/elastic/go-seccomp-bpf/arch"
)

// TestStart starts a plug-in in each tier, and reads back through it what the jail handed over.
func TestStart(t *testing.T) {
	l := launcher(t)
	img := imageOf(t, rawProgram)
	var digest, second any
	for _, tier := range []Tier{T1, T1p} {
		t.Run(string(tier), func(t *testing.T) {
			needs(t, l, tier)
			for i := range 2 {
				p, err := l.Start(context.Background(), Job{Tier: tier, Image: img, Dataset: text(t, "stream")})
				if err != nil {
					t.Fatal(err)
				}
				s, err := p.Conn().NewStream(context.Background(), &grpc.StreamDesc{ServerStreams: true}, "/raw/Stream")
				if err != nil {
					t.Fatal(err)
				}
				if err := s.SendMsg(wrapperspb.Bytes(nil)); err != nil {
					t.Fatal(err)
				}
				n := 0
				for {
					var b wrapperspb.BytesValue
					if err = s.RecvMsg(&b); err != nil {
						break
					}
					n++
				}
				if err != io.EOF || n != 64 {
					t.Errorf("%d messages, then %v", n, err)
				}
				if p.Reason() != "" {
					t.Error("it ended")
				}
				digest, second = second, p.Posture().Digest()
				if i == 1 && digest != second {
					t.Errorf("equal jobs, two postures:\n%s", p.Posture().Text())
				}
				if i == 0 {
					t.Log(p.Posture().Text())
				}
				if err := p.Close(); err != nil {
					t.Error(err)
				}
				if p.Reason() != Closed {
					t.Errorf("ended as %s", p.Reason())
				}
			}
		})
	}
}

// TestPosture changes what is expected, one thing at a time: a process that is otherwise than its tier has it gets no data.
func TestPosture(t *testing.T) {
	l := launcher(t)
	needs(t, l, T1)
	img, other := imageOf(t, rawProgram), image(t)
	start := func() *Process {
		p, err := l.Start(context.Background(), Job{Tier: T1, Image: img, Dataset: text(t, "stream")})
		if err != nil {
			t.Fatal(err)
		}
		return p
	}
	p := start()
	defer p.Close()
	c := child{image: img}
	if err := l.prove(p, c); err != nil {
		t.Fatalf("as it is: %v", err)
	}
	for name, change := range map[string]func(p *Process, c *child){
		"uid":   func(p *Process, _ *child) { p.uid++ },
		"image": func(_ *Process, c *child) { c.image = other },
		"descriptor 3": func(p *Process, _ *child) {
			p.fds = map[int]string{0: p.fds[0], 1: p.fds[1], 2: p.fds[2], 3: "socket:[1]", 4: p.fds[4]}
		},
		"limit":  func(p *Process, _ *child) { p.job.Limits.Threads++ },
		"cgroup": func(p *Process, _ *child) { p.group = &group{dirs: []string{"/nonexistent"}} },
	} {
		if name == "cgroup" && p.group == nil {
			continue
		}
		q := &Process{launcher: l, job: p.job, image: p.image, uid: p.uid, cmd: p.cmd, pid: p.pid, group: p.group, fds: p.fds, gone: p.gone}
		d := c
		change(q, &d)
		if err := l.prove(q, d); ReasonOf(err) != Unfit || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// A process that is not confined at all.
	cmd := exec.Command("sleep", "60")
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() { cmd.Process.Kill(); cmd.Wait() }()
	q := &Process{launcher: l, job: p.job, image: p.image, uid: p.uid, cmd: cmd, fds: p.fds, gone: make(chan struct{})}
	err := l.prove(q, c)
	if ReasonOf(err) != Unfit {
		t.Fatalf("an unconfined process: %v", err)
	}
	for _, want := range []string{"NSpid", "NoNewPrivs", "Seccomp", "namespace net", "namespace mnt", "mounts", "image", "descriptor", "limit"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("an unconfined process: %s is not named: %v", want, err)
		}
	}
}

// count is what this process holds of what a plug-in could leave behind.
type count struct{ files, children, mounts, groups, folders int }

func counted(t *testing.T, l *Launcher) count {
	t.Helper()
	var c count
	entries, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if to, _ := os.Readlink("/proc/self/fd/" + e.Name()); !strings.HasPrefix(to, "anon_inode") { // the runtime's own
			c.files++
		}
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range tasks {
		b, _ := os.ReadFile(f)
		c.children += len(strings.Fields(string(b)))
	}
	b, _ := os.ReadFile("/proc/self/mountinfo")
	c.mounts = bytes.Count(b, []byte("\n"))
	if l.cgroups != nil {
		for _, dir := range l.cgroups.folders() {
			g, _ := filepath.Glob(filepath.Join(dir, l.cgroups.tag+"*"))
			c.groups += len(g)
		}
	}
	d, _ := filepath.Glob(filepath.Join(os.TempDir(), "plugin-dir*"))
	c.folders = len(d)
	return c
}

// TestManyStarts leaves nothing behind: 100 starts, or as many as JAIL_STARTS says.
func TestManyStarts(t *testing.T) {
	n := 100
	if s := os.Getenv("JAIL_STARTS"); s != "" {
		var err error
		if n, err = strconv.Atoi(s); err != nil {
			t.Fatal(err)
		}
	} else if testing.Short() {
		n = 20
	}
	l := launcher(t)
	needs(t, l, T1)
	img, d := imageOf(t, rawProgram), text(t, "stream")
	t.Setenv("TMPDIR", t.TempDir()) // what is left there is this test's
	once := func(i int) {
		p, err := l.Start(context.Background(), Job{Tier: T1, Image: img, Dataset: d})
		if err != nil {
			t.Fatalf("start %d: %v", i, err)
		}
		if err := p.Close(); err != nil {
			t.Fatalf("close %d: %v", i, err)
		}
	}
	once(-1)
	once(-1)
	before := counted(t, l)
	for range 50 { // until the next spare process waits, and nothing else ends any more
		time.Sleep(100 * time.Millisecond)
		last := before
		if before = counted(t, l); before == last {
			break
		}
	}
	routines := runtime.NumGoroutine()
	for i := range n {
		once(i)
	}
	var after count
	for range 1000 {
		if after = counted(t, l); after == before && runtime.NumGoroutine() <= routines+5 {
			break
		}
		time.Sleep(20 * time.Millisecond)
	}
	if after != before {
		t.Errorf("%d starts: %+v, before %+v", n, after, before)
	}
	if g := runtime.NumGoroutine(); g > routines+5 {
		t.Errorf("%d starts: %d goroutines, before %d", n, g, routines)
	}
	t.Logf("%d starts: %+v", n, after)
}

// TestHostDies kills a host, another process, and holds its plug-in to dying with it and its group to being swept.
func TestHostDies(t *testing.T) {
	if os.Getenv("JAIL_HOST") != "" {
		l := launcher(t)
		p, err := l.Start(context.Background(), Job{Tier: Tier(os.Getenv("JAIL_HOST")), Image: imageOf(t, rawProgram), Dataset: text(t, "survive"), Limits: Limits{Wall: time.Minute}})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("PLUGIN %d\n", p.pid)
		time.Sleep(time.Minute)
		return
	}
	l := launcher(t)
	for _, tier := range []Tier{T1, T1p} {
		needs(t, l, tier)
		path, err := rawProgram()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command("/proc/self/exe", "-test.run=^TestHostDies$", "-test.v")
		cmd.Env = append(os.Environ(), "JAIL_HOST="+string(tier), "JAIL_RAW="+path, "JAIL_OPDOMAIN-JAIL="+l.cfg.Program)
		out, err := cmd.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		pid := 0
		var seen strings.Builder
		b := make([]byte, 4096)
		for pid == 0 {
			n, err := out.Read(b)
			seen.Write(b[:n])
			if _, rest, ok := strings.Cut(seen.String(), "PLUGIN "); ok && strings.Contains(rest, "\n") {
				pid, _ = strconv.Atoi(strings.Fields(rest)[0])
			} else if err != nil {
				t.Fatalf("the host: %v\n%s", err, seen.String())
			}
		}
		fd, err := unix.PidfdOpen(pid, 0)
		if err != nil {
			t.Fatal(err)
		}
		cmd.Process.Kill()
		poll := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
		n, err := unix.Poll(poll, 20_000)
		for err == unix.EINTR {
			n, err = unix.Poll(poll, 20_000)
		}
		if n != 1 {
			t.Errorf("%s: the plug-in outlives its host: %v", tier, err)
			unix.PidfdSendSignal(fd, unix.SIGKILL, nil, 0)
		}
		unix.Close(fd)
		cmd.Wait()
		if l.cgroups == nil {
			continue
		}
		space, _, _ := strings.Cut(strings.TrimPrefix(l.cgroups.tag, groupPrefix), "-")
		left := func() (all []string) {
			for _, dir := range l.cgroups.folders() {
				g, _ := filepath.Glob(filepath.Join(dir, fmt.Sprintf("%s%s-%d-*", groupPrefix, space, cmd.Process.Pid)))
				all = append(all, g...)
			}
			return all
		}
		if len(left()) == 0 {
			t.Errorf("%s: the dead host left no group to sweep; this proves nothing", tier)
		}
		l.cgroups.sweep()
		if g := left(); len(g) > 0 {
			t.Errorf("%s: groups of the dead host stay: %v", tier, g)
		}
	}
}

// TestFilter compares the filter, run by the library's virtual machine, with its rules read as a table.
func TestFilter(t *testing.T) {
	info, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	const pid = 77
	for _, p := range []phase{native, compile} {
		raw, err := assemble(p, pid)
		if err != nil {
			t.Fatal(err)
		}
		var code []bpf.Instruction
		for _, r := range raw {
			code = append(code, r.Disassemble())
		}
		vm, err := bpf.NewVM(code)
		if err != nil {
			t.Fatal(err)
		}
		numbers := []uint32{1<<30 | 39, 1 << 31, 9999}
		for _, nr := range info.SyscallNames {
			numbers = append(numbers, uint32(nr))
		}
		values := []uint64{0, 1, 2, 4, 5, 7, 9, 10, pid, pid + 1, imageFD, 1 << 32, imageFD | 1<<40, unix.AT_EMPTY_PATH, unix.F_GETFL, unix.F_ADD_SEALS, unix.F_DUPFD_CLOEXEC}
		for _, r := range rules(p, pid) {
			for _, set := range r.any {
				for _, w := range set {
					values = append(values, w.want, w.want|1<<33, uint64(info.SyscallNames[r.name]))
				}
			}
		}
		rapid.Check(t, func(t *rapid.T) {
			a := uint32(info.ID)
			if rapid.IntRange(0, 20).Draw(t, "foreign") == 0 {
				a = 0x40000003 // 32-bit x86
			}
			var args [6]uint64
			for i := range args {
				args[i] = rapid.SampledFrom(values).Draw(t, "argument")
			}
			for _, nr := range numbers {
				// The machine loads in network order; the kernel in the processor's.
				data := binary.BigEndian.AppendUint32(nil, nr)
				data = binary.BigEndian.AppendUint32(data, a)
				data = append(data, make([]byte, 8)...)
				for _, v := range args {
					low, high := uint32(v), uint32(v>>32)
					if binary.NativeEndian.Uint16([]byte{0, 1}) == 1 {
						low, high = high, low
					}
					data = binary.BigEndian.AppendUint32(binary.BigEndian.AppendUint32(data, low), high)
				}
				got, err := vm.Run(data)
				if err != nil {
					t.Fatal(err)
				}
				if want := judge(info, p, pid, a, nr, args); uint32(got) != want {
					t.Fatalf("call %d: %#x, wanted %#x", nr, got, want)
				}
			}
		})
	}
}

func judge(info *arch.Info, p phase, pid int, a, nr uint32, args [6]uint64) uint32 {
	is := func(name string) bool { n, ok := info.SyscallNames[name]; return ok && uint32(n) == nr }
	if a != uint32(info.ID) {
		return unix.SECCOMP_RET_KILL_PROCESS
	}
	for _, n := range allowed {
		if is(n) {
			return unix.SECCOMP_RET_ALLOW
		}
	}
	for _, r := range rules(p, pid) {
		if !is(r.name) {
			continue
		}
	sets:
		for _, set := range r.any {
			for _, w := range set {
				if w.mask != 0 && args[w.arg]&uint64(w.mask) != 0 || w.mask == 0 && args[w.arg] != w.want {
					continue sets
				}
			}
			return unix.SECCOMP_RET_ALLOW
		}
		return unix.SECCOMP_RET_KILL_PROCESS
	}
	for _, n := range probed {
		if is(n) {
			return unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)
		}
	}
	return unix.SECCOMP_RET_KILL_PROCESS
}
