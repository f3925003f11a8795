package jail

import (
	"encoding/hex"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

var namespaces = []string{"cgroup", "ipc", "mnt", "net", "pid", "user", "uts"}

// prove examines the process from outside and keeps what it saw. Anything that is not as its tier has it is Unfit.
func (l *Launcher) prove(p *Process, c child) error {
	e := examiner{dir: "/proc/" + strconv.Itoa(p.pid), p: p}
	names := p.job.Tier == T1 || p.job.Tier == W
	filters := 1
	posture := Posture{"tier " + string(p.job.Tier)}
	add := func(line string) { posture = append(posture, line) }
	st := e.status()
	e.want("uid", strings.Fields(st["Uid"]), repeat(strconv.Itoa(p.uid), 4))
	if os.Geteuid() == 0 {
		e.want("groups", st["Groups"], "")
	}
	if names {
		if ids := strings.Fields(st["NSpid"]); len(ids) < 2 || ids[len(ids)-1] != "1" {
			e.fail("NSpid")
		}
		add("process first and alone of its namespace")
	}
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapAmb"} {
		e.want(set, st[set], "0000000000000000")
	}
	if names {
		e.want("CapBnd", st["CapBnd"], "0000000000000000")
		add("capabilities none, none to be had")
	} else {
		add("capabilities none")
	}
	e.want("NoNewPrivs", st["NoNewPrivs"], "1")
	e.want("Seccomp", st["Seccomp"], "2")
	e.want("Seccomp_filters", st["Seccomp_filters"], strconv.Itoa(inherited()+filters))
	digest, err := filterDigest(c.phase)
	if err != nil {
		return unavailable(layerSeccomp, err)
	}
	add("no_new_privs 1")
	add("seccomp filter " + hex.EncodeToString(digest[:]))
	add("landlock " + landlockText())
	if names {
		for _, n := range namespaces {
			own, err := os.Readlink(filepath.Join("/proc/self/ns", n))
			its, err2 := os.Readlink(filepath.Join(e.dir, "ns", n))
			if err != nil || err2 != nil || own == its {
				e.fail("namespace " + n)
			}
		}
		add("namespaces " + strings.Join(namespaces, " "))
		e.root()
		add("root one empty file system, ro nosuid nodev noexec")
	}
	e.image(c.image.file)
	add("image " + hex.EncodeToString(c.image.digest[:]))
	e.descriptors()
	add("descriptors null, 2 pipes, 2 sockets, own")
	limits := limitsOf(p.job, os.Geteuid() == 0, p.group != nil)
	e.limits(limits)
	add(fmt.Sprintf("limits core 0, files %d, file size 0, locked 0, queues 0, tasks %d, data %d", maxFD, limits[unix.RLIMIT_NPROC], limits[unix.RLIMIT_DATA]))
	if p.group != nil {
		if !p.group.holds(p.pid) {
			e.fail("cgroup")
		}
		add(fmt.Sprintf("cgroups memory %s %d, tasks %s %d, cores %g", l.cgroups.mem, p.job.Limits.Memory, l.cgroups.pid, p.job.Limits.Threads, p.job.Limits.Cores))
	} else {
		add("cgroups none: the process's own limits hold")
	}
	if len(e.bad) > 0 {
		select {
		case <-p.gone: // one that ended looks like nothing
			return &Fault{Op: "jail: start", Reason: p.Reason(), Object: "posture"}
		default:
		}
		return &Fault{Op: "jail: start", Reason: Unfit, Object: strings.Join(e.bad, ", "), Detail: "not as " + string(p.job.Tier) + " has it"}
	}
	p.posture = posture
	return nil
}

// examiner reads procfs of one process. Between its looks the process runs, but what it looks for cannot be given back.
type examiner struct {
	dir string
	p   *Process
	bad []string
}

func (e *examiner) fail(what string) { e.bad = append(e.bad, what) }

func (e *examiner) want(what string, got, want any) {
	if fmt.Sprint(got) != fmt.Sprint(want) {
		e.fail(what)
	}
}

func repeat(s string, n int) (out []string) {
	for range n {
		out = append(out, s)
	}
	return out
}

func fieldsOf(path string) map[string]string {
	b, _ := os.ReadFile(path)
	m := map[string]string{}
	for line := range strings.Lines(string(b)) {
		k, v, _ := strings.Cut(line, ":")
		m[k] = strings.TrimSpace(v)
	}
	return m
}

func (e *examiner) status() map[string]string { return fieldsOf(filepath.Join(e.dir, "status")) }

// inherited is the number of seccomp filters this process is under itself, as in a container.
func inherited() int {
	n, _ := strconv.Atoi(fieldsOf("/proc/self/status")["Seccomp_filters"])
	return n
}

func (e *examiner) root() {
	b, err := os.ReadFile(filepath.Join(e.dir, "mountinfo"))
	f := strings.Fields(string(b))
	if err != nil || strings.Count(string(b), "\n") != 1 || len(f) < 6 || f[4] != "/" || !strings.Contains(string(b), " - tmpfs ") {
		e.fail("mounts")
		return
	}
	for _, flag := range []string{"ro", "nosuid", "nodev", "noexec"} {
		if !slices.Contains(strings.Split(f[5], ","), flag) {
			e.fail("mount " + flag)
		}
	}
}

func (e *examiner) image(f *os.File) {
	var its, own unix.Stat_t
	err := unix.Stat(filepath.Join(e.dir, "exe"), &its)
	if err2 := unix.Fstat(int(f.Fd()), &own); err != nil || err2 != nil || its.Dev != own.Dev || its.Ino != own.Ino {
		e.fail("image")
	}
}

// descriptors are the five that it was given, and what it made itself of kinds that lead nowhere.
func (e *examiner) descriptors() {
	entries, err := os.ReadDir(filepath.Join(e.dir, "fd"))
	if err != nil {
		e.fail("descriptors")
		return
	}
	for _, entry := range entries {
		fd, err := strconv.Atoi(entry.Name())
		to, err2 := os.Readlink(filepath.Join(e.dir, "fd", entry.Name()))
		if os.IsNotExist(err2) {
			continue // it closed one of its own meanwhile
		}
		given, ok := e.p.fds[fd]
		switch {
		case err != nil || err2 != nil:
			e.fail("descriptors")
		case ok && given != to, !ok && !strings.HasPrefix(to, "anon_inode:[event") && !strings.HasPrefix(to, "pipe:["):
			e.fail("descriptor " + entry.Name())
		}
	}
}

func (e *examiner) limits(want map[int]uint64) {
	b, _ := os.ReadFile(filepath.Join(e.dir, "limits"))
	for r, name := range map[int]string{unix.RLIMIT_CORE: "Max core file size", unix.RLIMIT_NOFILE: "Max open files", unix.RLIMIT_FSIZE: "Max file size", unix.RLIMIT_MEMLOCK: "Max locked memory",
		unix.RLIMIT_MSGQUEUE: "Max msgqueue size", unix.RLIMIT_SIGPENDING: "Max pending signals", unix.RLIMIT_NPROC: "Max processes", unix.RLIMIT_DATA: "Max data size"} {
		found := false
		for line := range strings.Lines(string(b)) {
			if rest, ok := strings.CutPrefix(line, name); ok {
				f := strings.Fields(rest)
				v := strconv.FormatUint(want[r], 10)
				found = len(f) >= 2 && f[0] == v && f[1] == v
			}
		}
		if !found {
			e.fail("limit: " + strings.ToLower(name))
		}
	}
}
