package jail

import (
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"os"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// examine fills the report: each layer by using it, the whole by a stage 1 that does everything but start an image.
func (l *Launcher) examine() {
	add := func(name, have string, err error) {
		p := Part{Name: name, Have: err == nil, Detail: have}
		if err != nil {
			p.Detail = err.Error()
		}
		l.report.Parts = append(l.report.Parts, p)
	}
	var cgroupErr error
	l.cgroups, cgroupErr = l.probeCgroups()
	var u unix.Utsname
	err := unix.Uname(&u)
	add(layerSystem, "Linux "+unix.ByteSliceToString(u.Release[:])+" "+unix.ByteSliceToString(u.Machine[:]), err)
	add(layerMemfd, "executable and data, sealed", probeMemfd())
	abi := landlockVersion()
	if abi < landlockABI {
		err = fmt.Errorf("level %d, level %d is needed (Linux 6.12, and landlock among the security modules that are on)", abi, landlockABI)
	}
	add(layerLandlock, fmt.Sprintf("level %d", abi), err)
	add(layerSeccomp, "filters that kill the process", probeSeccomp())
	var missing []error
	for _, n := range namespaces {
		if _, err := os.Stat("/proc/self/ns/" + n); err != nil {
			missing = append(missing, errors.New("no namespace "+n))
		}
	}
	if err = errors.Join(missing...); err == nil && l.report.Parts[len(l.report.Parts)-1].Have && abi >= landlockABI {
		err = l.try(T1) // what forbids them shows in the trial only: limits, containers, security modules
	}
	add(layerNamespaces, "user, mount, pid, net, ipc, uts, cgroup", err)
	if err = ownFile(l.cfg.Program); err == nil {
		err = l.try(T1p)
	}
	add(layerStage, "all steps but the start of an image", err)
	switch {
	case l.cgroups != nil:
		add(layerCgroup, fmt.Sprintf("memory %s, tasks %s, processor time %q, kill of a group %v", l.cgroups.mem, l.cgroups.pid, l.cgroups.cpu, l.cgroups.v2 != ""), nil)
	case os.Geteuid() != 0:
		add(layerCgroup, "none that this user can write to: the limits of the process hold", nil)
	default:
		add(layerCgroup, "", cgroupErr)
	}
	add(layerHost, "a static program", l.probeHost())
	if err = l.openGvisor(); err == nil {
		if err = l.probeHost(); err == nil {
			err = l.tryGvisor(context.Background())
		}
	}
	add(layerGvisor, "runsc of the configured digest, platform systrap", err)
}

func (l *Launcher) probeCgroups() (*cgroups, error) {
	c, err := findCgroups("/proc")
	if err == nil {
		err = c.prepare()
	}
	if err != nil {
		return nil, err
	}
	return c, nil
}

// probeHost says whether the program can be an image itself: an empty root has no linker.
func (l *Launcher) probeHost() error {
	f, err := elf.Open(l.cfg.Program) // this project's own program
	if err != nil {
		return err
	}
	defer f.Close()
	for _, p := range f.Progs {
		if p.Type == elf.PT_INTERP {
			return errors.New("this program is linked dynamically; put " + helperName + " beside it: CGO_ENABLED=0 go build ./cmd/" + helperName)
		}
	}
	return nil
}

// ownFile refuses a program that another user could have written.
func ownFile(path string) error {
	info, err := os.Stat(path)
	if err != nil {
		return err
	}
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok || st.Uid != 0 && int(st.Uid) != os.Geteuid() || info.Mode().Perm()&0o022 != 0 {
		return errors.New("the program of the jail belongs to another user, or others may write to it")
	}
	return nil
}

func probeMemfd() error {
	for _, exec := range []bool{false, true} {
		f, err := memory("probe", exec)
		if err == nil {
			f, err = seal(f, exec)
		}
		if err != nil {
			return err
		}
		_ = f.Close()
	}
	return nil
}

func probeSeccomp() error {
	action := uint32(unix.SECCOMP_RET_KILL_PROCESS)
	if _, _, e := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_GET_ACTION_AVAIL, 0, uintptr(unsafe.Pointer(&action))); e != 0 {
		return e
	}
	_, err := filterDigest(native)
	return err
}

// try runs stage 1 up to the start of an image.
func (l *Launcher) try(t Tier) error {
	limits, err := Limits{}.complete()
	if err != nil {
		return err
	}
	limits.Wall = 10 * time.Second
	p, err := l.wait(named(t))
	if err != nil {
		return err
	}
	defer func() { _ = p.Close() }()
	p.job, p.began = Job{Tier: t, Limits: limits}, time.Now()
	if err := l.confine(p, child{args: []string{pluginName}}); err != nil {
		return err
	}
	p.watch(context.Background())
	<-p.gone
	if r := p.Reason(); r != Ended {
		return errors.New("the trial " + string(r))
	}
	return nil
}
