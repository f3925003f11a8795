package jail

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// fakeProc makes the two files of procfs that say where a process stands.
func fakeProc(t *testing.T, cgroup, mountinfo string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.MkdirAll(filepath.Join(dir, "self"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"cgroup": cgroup, "mountinfo": mountinfo} {
		if err := os.WriteFile(filepath.Join(dir, "self", name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestFindCgroups reads the layouts that machines have: version 1, version 2, both, and a container's.
func TestFindCgroups(t *testing.T) {
	for name, c := range map[string]struct {
		cgroup, mounts string
		v1             map[string]string
		v2             string
	}{
		"version 2": {"0::/system.slice/opdomain.service\n", "30 20 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n", nil, "/sys/fs/cgroup/system.slice/opdomain.service"},
		"version 1": {"4:memory:/a/b\n8:pids:/\n2:cpu,cpuacct:/c\n", "1 0 0:1 / /cg/memory rw - cgroup cgroup rw,memory\n2 0 0:2 / /cg/pids rw - cgroup cgroup rw,pids\n3 0 0:3 / /cg/cpu rw - cgroup cgroup rw,cpu,cpuacct\n",
			map[string]string{"memory": "/cg/memory/a/b", "pids": "/cg/pids", "cpu": "/cg/cpu/c"}, ""},
		"container": {"0::/docker/x/y\n", "1 0 0:1 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n", nil, "/sys/fs/cgroup/y"},
		"outside":   {"0::/other\n", "1 0 0:1 /docker/x /sys/fs/cgroup ro - cgroup2 cgroup rw\n", nil, ""},
	} {
		got, err := findCgroups(fakeProc(t, c.cgroup, c.mounts))
		if err != nil {
			t.Fatal(err)
		}
		if got.v2 != c.v2 || len(got.v1) != len(c.v1) {
			t.Errorf("%s: %q %v", name, got.v2, got.v1)
		}
		for k, v := range c.v1 {
			if got.v1[k] != v {
				t.Errorf("%s: %s is at %q", name, k, got.v1[k])
			}
		}
	}
}

// TestGroupOfVersion2 writes the limits of version 2 into a folder that stands in for its tree, whose files must be there before:
// nothing is made that the kernel did not make.
func TestGroupOfVersion2(t *testing.T) {
	dir := t.TempDir()
	c := &cgroups{v2: dir, has: []string{"memory", "pids", "cpu"}, mem: "v2", pid: "v2", cpu: "v2", tag: groupPrefix + "1-2-"}
	l, err := Limits{Cores: 0.5}.complete()
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.group(l); err == nil {
		t.Error("a group without its files was taken")
	}
	if left, _ := filepath.Glob(filepath.Join(dir, "*")); len(left) > 0 {
		t.Errorf("a group that could not be made stays: %v", left)
	}
	name := filepath.Join(dir, c.tag+"2")
	files := []string{"memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max", "cgroup.procs", "cgroup.kill"}
	if err := os.Mkdir(name, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		if err := os.WriteFile(filepath.Join(name, f), nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := c.group(l); !errors.Is(err, os.ErrExist) {
		t.Errorf("a group that was there before was taken: %v", err)
	}
}

// TestLimitsOfVersion2 holds what is written where, in a folder that stands in for the tree: machines whose controllers are all in version 1
// cannot run it for real.
func TestLimitsOfVersion2(t *testing.T) {
	dir := t.TempDir()
	c := &cgroups{v2: dir, has: wanted, mem: "v2", pid: "v2", cpu: "v2", tag: groupPrefix + "1-2-", mkdir: func(path string, mode os.FileMode) error {
		err := os.Mkdir(path, mode)
		for _, f := range []string{"memory.max", "memory.swap.max", "memory.oom.group", "pids.max", "cpu.max", "cgroup.procs", "cgroup.kill", "memory.events"} {
			err = errors.Join(err, os.WriteFile(filepath.Join(path, f), nil, 0o644))
		}
		return err
	}}
	l, err := Limits{Cores: 0.5, Memory: 64 << 20, Threads: 9}.complete()
	if err != nil {
		t.Fatal(err)
	}
	g, err := c.group(l)
	if err != nil {
		t.Fatal(err)
	}
	if err := g.join(4711); err != nil {
		t.Fatal(err)
	}
	g.kill()
	for f, want := range map[string]string{"memory.max": "67108864", "memory.swap.max": "0", "memory.oom.group": "1", "pids.max": "9", "cpu.max": "50000 100000", "cgroup.procs": "4711", "cgroup.kill": "1"} {
		if b, err := os.ReadFile(filepath.Join(g.v2, f)); err != nil || string(b) != want {
			t.Errorf("%s holds %q, wanted %q: %v", f, b, want, err)
		}
	}
	if !g.holds(4711) || g.holds(471) {
		t.Error("who is in the group is read wrongly")
	}
	events := filepath.Join(g.v2, "memory.events")
	for text, want := range map[string]bool{"": false, "oom 1\noom_kill 0\n": false, "oom 1\noom_kill 1\noom_group_kill 1\n": true} {
		if err := os.WriteFile(events, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if g.oom() != want {
			t.Errorf("an end for want of memory is read wrongly from %q", text)
		}
	}
}

// TestDelegate hands a controller on in the real version 2 tree, from a group that holds the process itself: any controller there will
// do, since the kernel's rule is the same for all.
func TestDelegate(t *testing.T) {
	if at := os.Getenv("JAIL_DELEGATE"); at != "" {
		wanted = []string{filepath.Base(os.Getenv("JAIL_CONTROLLER"))}
		c := &cgroups{v2: at}
		if err := c.delegate(); err != nil || c.v2 != at || len(c.has) != 1 {
			t.Fatalf("%v %v", c.has, err)
		}
		own, err := os.ReadFile("/proc/self/cgroup")
		if err != nil || !strings.Contains(string(own), "/supervisor\n") {
			t.Errorf("the process stands in %s: %v", own, err)
		}
		if err := (&cgroups{v2: filepath.Join(at, "supervisor")}).delegate(); err != nil { // a second launcher, or a manager that did so
			t.Error(err)
		}
		return
	}
	c, err := findCgroups("/proc")
	if err != nil {
		t.Fatal(err)
	}
	require(t, c.v2 != "" && unix.Access(c.v2, unix.W_OK) == nil, "a version 2 tree of control groups that this user can write to")
	b, err := os.ReadFile(filepath.Join(c.v2, "cgroup.subtree_control"))
	require(t, err == nil, "a group whose controllers can be read")
	had := strings.Fields(string(b))
	all, err := os.ReadFile(filepath.Join(c.v2, "cgroup.controllers"))
	require(t, err == nil && len(strings.Fields(string(all))) > 0, "a controller in the version 2 tree")
	controller := strings.Fields(string(all))[0]
	if !slices.Contains(had, controller) {
		require(t, write(filepath.Join(c.v2, "cgroup.subtree_control"), "+"+controller) == nil, "a version 2 tree that hands a controller on")
		defer func() { _ = write(filepath.Join(c.v2, "cgroup.subtree_control"), "-"+controller) }()
	}
	dir := filepath.Join(c.v2, c.tag+"delegate")
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = (&group{dirs: []string{filepath.Join(dir, "supervisor"), dir}}).end() }()
	d, err := os.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestDelegate$", "-test.v")
	cmd.Env = append(os.Environ(), "JAIL_DELEGATE="+dir, "JAIL_CONTROLLER="+controller)
	cmd.SysProcAttr = &syscall.SysProcAttr{UseCgroupFD: true, CgroupFD: int(d.Fd())}
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "cgroup.subtree_control")); err != nil || strings.TrimSpace(string(b)) != controller {
		t.Errorf("handed on is %q: %v", b, err)
	}
}

// TestVersion2 uses the real version 2 tree of this machine, if it can be written: a process joins a group and is killed with it.
func TestVersion2(t *testing.T) {
	c, err := findCgroups("/proc")
	if err != nil {
		t.Fatal(err)
	}
	require(t, c.v2 != "" && unix.Access(c.v2, unix.W_OK) == nil, "a version 2 tree of control groups that this user can write to")
	b, err := os.ReadFile(filepath.Join(c.v2, "cgroup.controllers"))
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("controllers of version 2: %s", strings.TrimSpace(string(b)))
	l := launcher(t)
	needs(t, l, T1)
	require(t, l.cgroups != nil, "control groups that this user can write to")
	p, err := l.Start(t.Context(), Job{Tier: T1, Image: imageOf(t, rawProgram), Dataset: text(t, "survive")})
	if err != nil {
		t.Fatal(err)
	}
	defer p.Close()
	if p.group.v2 == "" || !(&group{dirs: []string{p.group.v2}}).holds(p.cmd.Process.Pid) {
		t.Fatal("the plug-in is not in its version 2 group")
	}
	p.group.kill() // alone, without a signal
	<-p.Done()
	if r := p.Reason(); r != Crashed {
		t.Errorf("killed with its group: %s", r)
	}
}
