package jail

import (
	"bufio"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// cgroups is where groups of plug-ins can be made: below this process's own group, in whatever hierarchies there are. Memory
// and the number of tasks may be in version 1 or 2; a mounted version 2 tree without controllers still kills a group whole.
type cgroups struct {
	v1  map[string]string // controller → folder
	v2  string            // folder, "" for none
	has []string          // controllers of v2
	mem string            // "v1" or "v2"
	pid string
	cpu string // "", "v1", "v2"
	tag string
	n   atomic.Uint64

	mkdir func(string, os.FileMode) error // os.Mkdir, but in tests of trees that no kernel keeps
}

// wanted are the controllers of version 2 that limits are written to.
var wanted = []string{"memory", "pids", "cpu"}

const groupPrefix = "opdomain-jail-"

// findCgroups reads where this process stands. root is the folder of procfs, "/proc".
func findCgroups(proc string) (*cgroups, error) {
	own, err := os.ReadFile(filepath.Join(proc, "self/cgroup"))
	if err != nil {
		return nil, err
	}
	at := map[string]string{} // controller, "" for version 2 → path
	for line := range strings.Lines(string(own)) {
		f := strings.SplitN(strings.TrimSpace(line), ":", 3)
		if len(f) != 3 {
			continue
		}
		for _, c := range strings.Split(f[1], ",") {
			at[c] = f[2]
		}
	}
	mounts, err := os.ReadFile(filepath.Join(proc, "self/mountinfo"))
	if err != nil {
		return nil, err
	}
	c := &cgroups{v1: map[string]string{}}
	for line := range strings.Lines(string(mounts)) {
		left, right, ok := strings.Cut(strings.TrimSpace(line), " - ")
		l, r := strings.Fields(left), strings.Fields(right)
		if !ok || len(l) < 5 || len(r) < 3 {
			continue
		}
		under := func(path string) (string, bool) {
			rel, err := filepath.Rel(l[3], path)
			if path == "" || err != nil || strings.HasPrefix(rel, "..") {
				return "", false
			}
			return filepath.Join(l[4], rel), true
		}
		switch r[0] {
		case "cgroup":
			for _, name := range []string{"memory", "pids", "cpu"} {
				if slices.Contains(strings.Split(r[2], ","), name) {
					if dir, ok := under(at[name]); ok {
						c.v1[name] = dir
					}
				}
			}
		case "cgroup2":
			if dir, ok := under(at[""]); ok && c.v2 == "" {
				c.v2 = dir
			}
		}
	}
	var pidns unix.Stat_t
	_ = unix.Stat(filepath.Join(proc, "self/ns/pid"), &pidns)
	c.tag = fmt.Sprintf("%s%d-%d-", groupPrefix, pidns.Ino, os.Getpid())
	return c, nil
}

// prepare finds out which controllers can be used, by making a group and giving it limits, and removes what dead hosts left.
func (c *cgroups) prepare() error {
	if c.v2 != "" && (c.v1["memory"] == "" || c.v1["pids"] == "") {
		if err := c.delegate(); err != nil {
			return err
		}
	}
	choose := func(name string) string {
		switch {
		case slices.Contains(c.has, name):
			return "v2"
		case c.v1[name] != "":
			return "v1"
		}
		return ""
	}
	c.mem, c.pid, c.cpu = choose("memory"), choose("pids"), choose("cpu")
	if c.mem == "" || c.pid == "" {
		return errors.New("no controller of memory or of the number of tasks")
	}
	c.sweep()
	l, err := Limits{Cores: 1}.complete()
	if err != nil {
		return err
	}
	if c.cpu == "" {
		l.Cores = 0
	}
	g, err := c.group(l)
	if err != nil {
		return err
	}
	return g.remove()
}

// delegate makes the controllers of version 2 usable below this group. A group that hands controllers on holds no process of
// its own, so this process moves into a leaf, "supervisor"; a service manager that did so already is left alone.
func (c *cgroups) delegate() error {
	if filepath.Base(c.v2) == "supervisor" {
		c.v2 = filepath.Dir(c.v2)
	}
	b, err := os.ReadFile(filepath.Join(c.v2, "cgroup.controllers"))
	if err != nil {
		return err
	}
	var want []string
	for _, name := range wanted {
		if slices.Contains(strings.Fields(string(b)), name) {
			want = append(want, name)
		}
	}
	c.has = want
	if len(want) == 0 {
		return nil
	}
	enable := func() error {
		return write(filepath.Join(c.v2, "cgroup.subtree_control"), "+"+strings.Join(want, " +"))
	}
	if err = enable(); !errors.Is(err, unix.EBUSY) {
		return err
	}
	leaf := filepath.Join(c.v2, "supervisor")
	if err := os.Mkdir(leaf, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	procs, err := os.ReadFile(filepath.Join(c.v2, "cgroup.procs"))
	if err != nil {
		return err
	}
	if fields := strings.Fields(string(procs)); len(fields) != 1 || fields[0] != strconv.Itoa(os.Getpid()) {
		return errors.New("the group holds other processes; give the service a group of its own (Delegate=yes)")
	}
	if err := write(filepath.Join(leaf, "cgroup.procs"), "0"); err != nil {
		return err
	}
	return enable()
}

// sweep kills and removes groups whose host is dead: what the kernel's parent death signal may have missed.
func (c *cgroups) sweep() {
	space, _, _ := strings.Cut(strings.TrimPrefix(c.tag, groupPrefix), "-")
	for _, dir := range c.folders() {
		old, _ := filepath.Glob(filepath.Join(dir, groupPrefix+space+"-*"))
		for _, g := range old {
			f := strings.Split(strings.TrimPrefix(filepath.Base(g), groupPrefix), "-")
			if len(f) != 3 {
				continue
			}
			pid, err := strconv.Atoi(f[1])
			if err != nil || pid == os.Getpid() || unix.Kill(pid, 0) != unix.ESRCH {
				continue
			}
			_ = (&group{dirs: []string{g}}).end()
		}
	}
}

func (c *cgroups) folders() []string {
	var out []string
	for _, dir := range c.v1 {
		out = append(out, dir)
	}
	if c.v2 != "" {
		out = append(out, c.v2)
	}
	return out
}

// group is the group of one plug-in.
type group struct {
	dirs    []string
	v2      string
	oomFile string
}

// group makes one. Every limit is written or there is no group.
func (c *cgroups) group(l Limits) (*group, error) {
	name := c.tag + strconv.FormatUint(c.n.Add(1), 10)
	g := &group{}
	fail := func(err error) (*group, error) {
		_ = g.remove()
		return nil, err
	}
	make := func(parent string) (string, error) {
		dir := filepath.Join(parent, name)
		if slices.Contains(g.dirs, dir) {
			return dir, nil
		}
		mkdir := os.Mkdir
		if c.mkdir != nil {
			mkdir = c.mkdir
		}
		err := mkdir(dir, 0o755)
		if err == nil {
			g.dirs = append(g.dirs, dir)
		}
		return dir, err
	}
	type limit struct{ place, controller, file, value string }
	memory := strconv.FormatInt(l.Memory, 10)
	limits := []limit{{c.mem, "memory", map[string]string{"v1": "memory.limit_in_bytes", "v2": "memory.max"}[c.mem], memory},
		{c.mem, "memory", map[string]string{"v1": "memory.memsw.limit_in_bytes", "v2": "memory.swap.max"}[c.mem], map[string]string{"v1": memory, "v2": "0"}[c.mem]},
		{c.pid, "pids", "pids.max", strconv.Itoa(l.Threads)}}
	if c.mem == "v2" {
		limits = append(limits, limit{"v2", "memory", "memory.oom.group", "1"})
	}
	if l.Cores > 0 {
		const period = 100_000
		quota := strconv.Itoa(int(l.Cores * period))
		switch c.cpu {
		case "v1":
			limits = append(limits, limit{"v1", "cpu", "cpu.cfs_quota_us", quota})
		case "v2":
			limits = append(limits, limit{"v2", "cpu", "cpu.max", quota + " " + strconv.Itoa(period)})
		default:
			return nil, errors.New("no controller of processor time, and the job bounds it")
		}
	}
	if c.v2 != "" {
		dir, err := make(c.v2)
		if err != nil && slices.ContainsFunc(limits, func(x limit) bool { return x.place == "v2" }) {
			return fail(err)
		}
		if err == nil {
			g.v2 = dir
		}
	}
	for _, x := range limits {
		dir := g.v2
		if x.place == "v1" {
			var err error
			if dir, err = make(c.v1[x.controller]); err != nil {
				return fail(err)
			}
		}
		path := filepath.Join(dir, x.file)
		if err := write(path, x.value); err != nil {
			if errors.Is(err, os.ErrNotExist) && strings.Contains(x.file, "sw") { // a kernel that does not account swap
				continue
			}
			return fail(err)
		}
		if x.controller == "memory" {
			g.oomFile = filepath.Join(dir, map[string]string{"v1": "memory.oom_control", "v2": "memory.events"}[x.place])
		}
	}
	return g, nil
}

// join puts a process into the group, in every hierarchy.
func (g *group) join(pid int) error {
	for _, dir := range g.dirs {
		if err := write(filepath.Join(dir, "cgroup.procs"), strconv.Itoa(pid)); err != nil {
			return err
		}
	}
	return nil
}

// holds says whether every hierarchy has the process in this group.
func (g *group) holds(pid int) bool {
	for _, dir := range g.dirs {
		b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
		if err != nil || !slices.Contains(strings.Fields(string(b)), strconv.Itoa(pid)) {
			return false
		}
	}
	return true
}

// kill ends everything in the group at once, where version 2 is mounted.
func (g *group) kill() {
	if g.v2 != "" {
		_ = write(filepath.Join(g.v2, "cgroup.kill"), "1")
	}
}

// oom says whether the kernel killed in the group for want of memory.
func (g *group) oom() bool {
	f, err := os.Open(g.oomFile)
	if err != nil {
		return false
	}
	defer f.Close()
	for s := bufio.NewScanner(f); s.Scan(); {
		if n, ok := strings.CutPrefix(s.Text(), "oom_kill "); ok && n != "0" {
			return true
		}
	}
	return false
}

// end kills what is left and removes the group.
func (g *group) end() error {
	for range 100 {
		for _, dir := range g.dirs {
			_ = write(filepath.Join(dir, "cgroup.kill"), "1")
			b, _ := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
			for _, f := range strings.Fields(string(b)) {
				if pid, err := strconv.Atoi(f); err == nil && pid > 1 {
					_ = unix.Kill(pid, unix.SIGKILL)
				}
			}
		}
		if err := g.remove(); err == nil {
			return nil
		}
	}
	return g.remove()
}

// remove takes the group away; the kernel needs a moment after the last process.
func (g *group) remove() error {
	var errs []error
	for _, dir := range g.dirs {
		var err error
		for wait := time.Millisecond; wait < 600*time.Millisecond; wait *= 2 {
			if err = os.Remove(dir); err == nil || errors.Is(err, os.ErrNotExist) {
				err = nil
				break
			}
			time.Sleep(wait)
		}
		errs = append(errs, err)
	}
	return errors.Join(errs...)
}

// write writes to a file of the kernel, and never makes one.
func write(path, value string) error {
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}
