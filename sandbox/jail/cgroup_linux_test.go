package jail

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
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
