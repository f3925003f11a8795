// Package doctor looks at the machine that a domain or a party runs on (运行环境自检): clock, disk, permissions, swap, core dumps, processor. It
// reads and judges; it changes nothing but a probe file that it removes.
// 依据: GB/T 39786-2021 (设备与计算安全); THREATS: expiry is judged by time, keys and opened rows are in memory.
//
// Every check gives findings, worst last in meaning: ok, warn (works, weaker than it should be), fail (a promise of the
// domain does not hold here), skip (cannot be told here, and why). Findings name paths and settings, never contents. Linux
// only; it cannot see what a hypervisor or a storage array does below.
package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/cpu"
	"golang.org/x/sys/unix"
)

// Level (检查结论) says how a check went.
type Level string

// Levels of a finding.
const (
	OK   Level = "ok"
	Warn Level = "warn"
	Fail Level = "fail"
	Skip Level = "skip"
)

// Finding (检查结果) is what one check found.
type Finding struct {
	Check  string `json:"check"`
	Level  Level  `json:"level"`
	Detail string `json:"detail"`
	Hint   string `json:"hint,omitempty"`
}

// Machine (运行主机) is where the kernel's own descriptions are read from and what the time is.
type Machine struct {
	Proc string // "" for /proc
	Sys  string // "" for /sys
	Now  func() time.Time
}

func (m Machine) proc(name string) string { return filepath.Join(or(m.Proc, "/proc"), name) }
func (m Machine) sys(name string) string  { return filepath.Join(or(m.Sys, "/sys"), name) }

func or(s, otherwise string) string {
	if s == "" {
		return otherwise
	}
	return s
}

// maxSkew is how far the clock may lag behind the newest time the domain has seen.
const maxSkew = time.Minute

// Clock judges the host's clock: synchronised, and not behind newest, the latest time that evidence or witnesses have seen;
// a zero newest says nothing.
func (m Machine) Clock(newest time.Time) Finding {
	f := Finding{Check: "clock"}
	now := m.Now()
	if lag := newest.Sub(now); !newest.IsZero() && lag > maxSkew {
		f.Level, f.Detail = Fail, fmt.Sprintf("the clock is %s behind the newest evidence", lag.Round(time.Second))
		f.Hint = "set the clock from a trusted source before serving: expiry is judged by it"
		return f
	}
	var x unix.Timex
	state, err := unix.Adjtimex(&x)
	switch {
	case err != nil:
		f.Level, f.Detail = Skip, "the kernel does not tell whether the clock is synchronised"
	case state == unix.TIME_ERROR || x.Status&unix.STA_UNSYNC != 0:
		f.Level, f.Detail, f.Hint = Warn, "the kernel's clock is not synchronised", "run chrony or systemd-timesyncd against a trusted server"
	default:
		f.Level, f.Detail = OK, fmt.Sprintf("synchronised, estimated error %s", (time.Duration(x.Esterror)*time.Microsecond).Round(time.Microsecond))
	}
	return f
}

// Kinds of file systems that a domain must not live on, by the magic number statfs gives.
var unfit = map[int64]string{
	unix.TMPFS_MAGIC: "tmpfs: it is gone after a restart",
	0x6969:           "NFS: fsync and locks depend on the server",
	0x65735546:       "FUSE: fsync depends on a user's program",
}

// Disk judges the file system under dir: kind, free space for at least need bytes, inodes, and that a file can be written,
// synced, renamed and removed there.
func (m Machine) Disk(dir string, need uint64) []Finding {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return []Finding{{"disk", Fail, "the file system cannot be examined: " + reason(err), "name a folder that is there"}}
	}
	out := []Finding{space(s, need)}
	if what, bad := unfit[int64(s.Type)]; bad {
		out = append(out, Finding{"disk kind", Warn, what, "keep the folder on a local file system"})
	} else {
		out = append(out, Finding{"disk kind", OK, fmt.Sprintf("a local file system (type %#x)", s.Type), ""})
	}
	if s.Files > 0 && s.Ffree*100 < s.Files {
		out = append(out, Finding{"inodes", Warn, "less than 1 % of the inodes are free", "make room: every column of a version is a file"})
	}
	return append(out, m.probe(dir))
}

// Space gives the bytes that an unprivileged process can still write to the file system of dir, and its size.
func Space(dir string) (free, size uint64, err error) {
	var s unix.Statfs_t
	if err := unix.Statfs(dir, &s); err != nil {
		return 0, 0, err
	}
	free, size = measured(s)
	return free, size, nil
}

func measured(s unix.Statfs_t) (free, size uint64) {
	return s.Bavail * uint64(s.Bsize), s.Blocks * uint64(s.Bsize)
}

func space(s unix.Statfs_t, need uint64) Finding {
	free, all := measured(s)
	f := Finding{Check: "disk space", Level: OK, Detail: fmt.Sprintf("%d MiB of %d MiB free", free>>20, all>>20)}
	switch {
	case free < need:
		f.Level, f.Hint = Fail, fmt.Sprintf("at least %d MiB: pushes are staged beside the version they replace", need>>20)
	case free*10 < all:
		f.Level, f.Hint = Warn, "less than a tenth is free"
	}
	return f
}

func (m Machine) probe(dir string) Finding {
	began := m.Now()
	path := filepath.Join(dir, ".doctor")
	_ = os.Remove(path)
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err == nil {
		_, err = f.Write(make([]byte, 4096))
		if serr := f.Sync(); err == nil {
			err = serr
		}
		if cerr := f.Close(); err == nil {
			err = cerr
		}
		if err == nil {
			err = os.Rename(path, path+".renamed")
		}
		_ = os.Remove(path)
		_ = os.Remove(path + ".renamed")
	}
	if err != nil {
		return Finding{"disk writes", Fail, "a file cannot be written and synced in the folder: " + reason(err), "free the disk, or mount it writable"}
	}
	return Finding{"disk writes", OK, fmt.Sprintf("a synced write took %s", m.Now().Sub(began).Round(10*time.Microsecond)), ""}
}

// reason gives an error's cause without the paths in it.
func reason(err error) string {
	var e unix.Errno
	if errors.As(err, &e) {
		return e.Error()
	}
	return "the machine does not say why"
}

// Permissions judges a domain's folder: owned by the user it runs as, closed to everybody else, no links inside that lead
// out, and no folder above it that others may rename in.
func (m Machine) Permissions(dir string) []Finding {
	var bad []string
	more := 0
	note := func(path, what string) {
		if len(bad) == 5 {
			more++
			return
		}
		if rel, err := filepath.Rel(dir, path); err == nil {
			path = rel
		}
		bad = append(bad, path+" "+what)
	}
	uid := uint32(os.Geteuid())
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := d.Info()
		if errors.Is(err, fs.ErrNotExist) { // a domain in use makes and removes files
			return nil
		}
		if err != nil {
			return err
		}
		var s unix.Stat_t
		switch {
		case info.Mode()&fs.ModeSymlink != 0:
			note(path, "is a link")
		case info.Mode().Perm()&0o077 != 0:
			note(path, fmt.Sprintf("is open to others (%#o)", info.Mode().Perm()))
		case unix.Lstat(path, &s) == nil && s.Uid != uid:
			note(path, fmt.Sprintf("belongs to user %d", s.Uid))
		}
		return nil
	})
	if errors.Is(err, fs.ErrNotExist) {
		return []Finding{{"permissions", Fail, "the folder does not exist", "opdomain init"}}
	}
	if err != nil {
		return []Finding{{"permissions", Fail, "the folder cannot be read: " + reason(err), "run as the user that the program runs as"}}
	}
	out := []Finding{{"permissions", OK, "every file is its owner's alone", ""}}
	if len(bad) > 0 {
		text := strings.Join(bad, "; ")
		if more > 0 {
			text += fmt.Sprintf("; and %d more", more)
		}
		out[0] = Finding{"permissions", Fail, text, "chmod -R go= DIR, and chown it to the program's user"}
	}
	if above := writableAbove(dir); above != "" {
		out = append(out, Finding{"folder above", Fail, above + " lets others rename the folder", "move it, or take the right to write from others"})
	}
	return out
}

// Passphrase judges a file that holds a passphrase (口令文件): it is its owner's alone, and the owner is the user who runs this, or
// root.
func (m Machine) Passphrase(path string) Finding {
	f := Finding{Check: "passphrase file", Level: OK, Detail: path + " is its owner's alone"}
	var s unix.Stat_t
	switch err := unix.Stat(path, &s); {
	case err != nil:
		f.Level, f.Detail, f.Hint = Fail, path+" cannot be examined: "+reason(err), "run as the user that the program runs as"
	case s.Mode&0o077 != 0:
		f.Level, f.Detail = Fail, fmt.Sprintf("%s is open to others (%#o)", path, s.Mode&0o777)
		f.Hint = "chmod 600, then change the passphrase: others may have read it; opdomain keys passphrase"
	case s.Uid != 0 && s.Uid != uint32(os.Geteuid()):
		f.Level, f.Detail, f.Hint = Fail, fmt.Sprintf("%s belongs to user %d", path, s.Uid), "chown it to the domain's user"
	}
	return f
}

// writableAbove names a folder above dir in which somebody but its owner and root may rename.
func writableAbove(dir string) string {
	abs, err := filepath.Abs(dir)
	if err != nil {
		return ""
	}
	for at := filepath.Dir(abs); ; at = filepath.Dir(at) {
		if info, err := os.Stat(at); err == nil && info.Mode().Perm()&0o022 != 0 && info.Mode()&fs.ModeSticky == 0 {
			return at
		}
		if at == filepath.Dir(at) {
			return ""
		}
	}
}

// Swap judges whether memory may be written to a disk in the clear.
func (m Machine) Swap() Finding {
	b, err := os.ReadFile(m.proc("swaps"))
	if err != nil {
		return Finding{"swap", Skip, "the kernel does not list its swap areas", ""}
	}
	lines := strings.Split(strings.TrimSpace(string(b)), "\n")
	var open []string
	for _, line := range lines[1:] {
		fields := strings.Fields(line)
		if len(fields) > 0 && !m.encrypted(fields[0]) {
			open = append(open, fields[0])
		}
	}
	switch {
	case len(open) > 0:
		return Finding{"swap", Fail, "opened rows and keys may be written to " + strings.Join(open, ", "), "swapoff -a, or put swap on dm-crypt with a random key"}
	case len(lines) > 1:
		return Finding{"swap", OK, "on encrypted devices only", ""}
	}
	return Finding{"swap", OK, "none", ""}
}

// encrypted says whether a device is a dm-crypt mapping, or compressed memory that never reaches a disk.
func (m Machine) encrypted(device string) bool {
	if target, err := filepath.EvalSymlinks(device); err == nil {
		device = target
	}
	name := filepath.Base(device)
	if strings.HasPrefix(name, "zram") {
		backing, err := os.ReadFile(m.sys("block/" + name + "/backing_dev"))
		return err != nil || strings.TrimSpace(string(backing)) == "none"
	}
	id, err := os.ReadFile(m.sys("block/" + name + "/dm/uuid"))
	return err == nil && strings.HasPrefix(string(id), "CRYPT-")
}

// CoreDumps judges whether a crash could write memory to a file. Guarded says that the serving process guards itself
// (Guard), which is what counts; the setting of the machine is what protects it before it does.
func (m Machine) CoreDumps(guarded bool) Finding {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &r); err != nil {
		return Finding{"core dumps", Skip, "the limit cannot be read: " + reason(err), ""}
	}
	pattern, _ := os.ReadFile(m.proc("sys/kernel/core_pattern"))
	piped := strings.HasPrefix(string(pattern), "|")
	switch {
	case guarded:
		return Finding{"core dumps", OK, "the serving process cannot be dumped or traced", ""}
	case r.Max == 0 && !piped:
		return Finding{"core dumps", OK, "off by limit", ""}
	case piped:
		return Finding{"core dumps", Warn, "the kernel pipes core dumps to a program, whatever the limit; the server closes itself to them when it starts", "set kernel.core_pattern to a file name, LimitCORE=0"}
	}
	return Finding{"core dumps", Warn, "allowed by limit; the server closes itself to them when it starts", "LimitCORE=0 in its unit"}
}

// Guard closes the calling process to core dumps and to tracing by its own user, for good.
func Guard() error {
	if err := unix.Setrlimit(unix.RLIMIT_CORE, &unix.Rlimit{}); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
}

// Guarded says whether the calling process is closed to core dumps and tracing.
func Guarded() bool {
	var r unix.Rlimit
	if err := unix.Getrlimit(unix.RLIMIT_CORE, &r); err != nil || r.Cur != 0 {
		return false
	}
	d, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	return err == nil && d == 0
}

// ConstantTime is the setting that makes single SM4 blocks run in constant time where the processor allows it; the cipher's
// library reads it when the program starts.
const ConstantTime = "FORCE_SM4BLOCK_AESNI"

// Processor tells whether SM4 has its fast path, and judges the setting of ConstantTime.
func (m Machine) Processor(setting string) []Finding {
	fast := cpu.X86.HasAES && cpu.X86.HasAVX2 || cpu.ARM64.HasSM4 || cpu.ARM64.HasAES
	f := Finding{"processor", OK, "SM4 runs on vector instructions", ""}
	if cpu.X86.HasAVX512GFNI {
		f.Detail = "SM4 runs on vector instructions, with GFNI"
	}
	if !fast {
		f = Finding{"processor", Warn, "no AES instructions: SM4 runs from tables, slowly and not in constant time", "use a processor with AES-NI or SM4 instructions"}
	}
	out := []Finding{f}
	if cpu.X86.HasAES && setting != "1" {
		out = append(out, Finding{"single SM4 blocks", Warn, "not in constant time in this process", "opdomain serve sets it for itself; elsewhere set " + ConstantTime + "=1"})
	}
	return out
}
