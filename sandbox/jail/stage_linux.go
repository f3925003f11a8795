package jail

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/bits"
	"os"
	"runtime"
	"sync/atomic"
	"syscall"
	"unsafe"

	"golang.org/x/sys/unix"

	"github.com/opdomain/opdomain/sandbox/jail/guest"
)

// Names, as argument 0, under which a program starts itself again; see Enter.
const (
	stageName  = "opdomain-jail-stage"
	shimName   = "opdomain-jail-shim"
	wasmName   = "opdomain-jail-wasm"
	pluginName = "plugin"
)

// Descriptors of stage 1. Those above feedFD end when the plug-in begins.
const (
	rpcFD     = 3
	feedFD    = 4
	controlFD = 5   // of stage 1
	reportFD  = 6   // of the shim
	imageFD   = 200 // where it puts the image: above the plug-in's limit of descriptors
	maxFD     = 64
)

// order is what stage 1 is told.
type order struct {
	Names   bool // it stands in new namespaces
	Bound   bool // it can drop the bounding set
	Phase   phase
	Limits  map[int]uint64 // by resource
	Args    []string
	Env     []string
	Try     bool   // everything but the start
	MountAt string // a folder that exists everywhere
}

const maxOrder = 8 << 10

// Enter returns at once, unless this process was started by the jail as one of its own stages; then it never returns. A
// program that uses the jail calls it first in main.
func Enter() {
	entered.Store(true)
	if len(os.Args) == 0 {
		return
	}
	switch os.Args[0] {
	case stageName:
		stage()
	case shimName:
		os.Exit(shim())
	case sentryName:
		os.Exit(becomeSentry())
	case insideName:
		os.Exit(inside())
	case wasmName:
		os.Exit(hostModule())
	}
}

// Entered says whether this process was started by the jail for a Job with this Entry, and gives its end of the channel. A program that
// has entries asks right behind Enter, and ends when the channel does.
func Entered(entry string) (io.ReadWriter, bool) {
	if len(os.Args) == 0 || os.Args[0] != entry || os.Getenv(guest.Variable) != guest.Version {
		return nil, false
	}
	f := os.NewFile(rpcFD, "stream")
	return f, f != nil
}

// entered is set by Enter: a program that does not call it would start itself whole in the place of a stage.
var entered atomic.Bool

// stage is stage 1: it confines itself and becomes the plug-in. Every step that fails ends it.
func stage() {
	runtime.LockOSThread()
	fail := func(step string, err error) {
		_, _ = unix.Write(controlFD, []byte(fmt.Sprintf("%s: %v", step, err)))
		os.Exit(120)
	}
	b, oob := make([]byte, maxOrder), make([]byte, unix.CmsgSpace(4))
	n, oobn, _, _, err := unix.Recvmsg(controlFD, b, oob, unix.MSG_CMSG_CLOEXEC)
	for err == unix.EINTR {
		n, oobn, _, _, err = unix.Recvmsg(controlFD, b, oob, unix.MSG_CMSG_CLOEXEC)
	}
	if err != nil || n <= 0 {
		os.Exit(121) // the host is gone
	}
	var o order
	if err := json.Unmarshal(b[:n], &o); err != nil {
		fail("order", err)
	}
	argv, err := syscall.SlicePtrFromStrings(o.Args)
	if err != nil {
		fail("arguments", err)
	}
	envv, err := syscall.SlicePtrFromStrings(o.Env)
	if err != nil {
		fail("environment", err)
	}
	if !o.Try {
		in, err := received(oob[:oobn])
		if err == nil {
			err = unix.Dup3(in, imageFD, unix.O_CLOEXEC)
		}
		if err != nil {
			fail("image descriptor", err)
		}
	}
	// The shell that started the host may have left descriptors open: nothing above the feed lives on.
	if err := unix.CloseRange(feedFD+1, 1<<32-1, unix.CLOSE_RANGE_CLOEXEC); err != nil {
		fail("descriptors", err)
	}
	if o.Names {
		if step, err := emptyRoot(o.MountAt); err != nil {
			fail(step, err)
		}
	}
	for r, v := range o.Limits {
		if err := unix.Setrlimit(r, &unix.Rlimit{Cur: v, Max: v}); err != nil {
			fail("limits", err)
		}
	}
	if o.Bound {
		for c := uintptr(0); c <= 63; c++ {
			if err := unix.Prctl(unix.PR_CAPBSET_DROP, c, 0, 0, 0); err == unix.EINVAL {
				break
			} else if err != nil {
				fail("bounding set", err)
			}
		}
	}
	if err := unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0); err != nil {
		fail("ambient set", err)
	}
	head := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&head, &none[0]); err != nil {
		fail("capabilities", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		fail("no_new_privs", err)
	}
	// Again: a change of credentials may have cleared it.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		fail("parent death signal", err)
	}
	if err := denyAll(); err != nil {
		fail(layerLandlock, err)
	}
	if err := load(o.Phase, os.Getpid(), 0); err != nil {
		fail(layerSeccomp, err)
	}
	if o.Try {
		os.Exit(0)
	}
	fail("execute", executeImage(argv, envv))
}

// executeImage becomes the image; it returns an error only.
func executeImage(argv, envv []*byte) error {
	empty := [1]byte{}
	_, _, e := unix.RawSyscall6(unix.SYS_EXECVEAT, imageFD, uintptr(unsafe.Pointer(&empty[0])), uintptr(unsafe.Pointer(&argv[0])), uintptr(unsafe.Pointer(&envv[0])), unix.AT_EMPTY_PATH, 0)
	return e
}

// received is the one descriptor that comes with an order.
func received(oob []byte) (int, error) {
	messages, err := unix.ParseSocketControlMessage(oob)
	if err != nil || len(messages) != 1 {
		return 0, errors.Join(err, unix.EBADF)
	}
	fds, err := unix.ParseUnixRights(&messages[0])
	if err != nil || len(fds) != 1 {
		return 0, errors.Join(err, unix.EBADF)
	}
	return fds[0], nil
}

// emptyRoot makes an empty read-only file system the only one there is. What it is mounted on for a moment must exist.
func emptyRoot(at string) (string, error) {
	const flags = unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return "private mounts", err
	}
	if err := unix.Mount("tmpfs", at, "tmpfs", flags, "size=4k,nr_inodes=2,mode=555"); err != nil {
		return "root file system", err
	}
	if err := unix.Chdir(at); err != nil {
		return "root file system", err
	}
	if err := unix.PivotRoot(".", "."); err != nil {
		return "pivot_root", err
	}
	if err := unix.Unmount(".", unix.MNT_DETACH); err != nil {
		return "old root", err
	}
	if err := unix.Mount("", "/", "", unix.MS_REMOUNT|unix.MS_RDONLY|flags, ""); err != nil {
		return "read-only root", err
	}
	if err := unix.Sethostname([]byte("jail")); err != nil {
		return "host name", err
	}
	return "domain name", unix.Setdomainname([]byte("jail"))
}

// landlockABI is the least level: it has scopes of signals and of abstract sockets.
const landlockABI = 6

func landlockVersion() int {
	v, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, 0, 0, unix.LANDLOCK_CREATE_RULESET_VERSION)
	if e != 0 {
		return 0
	}
	return int(v)
}

// landlockSets is what a level handles, all of it denied: a rule set without rules.
func landlockSets(abi int) unix.LandlockRulesetAttr {
	fs := uint64(unix.LANDLOCK_ACCESS_FS_IOCTL_DEV)<<1 - 1
	return unix.LandlockRulesetAttr{Access_fs: fs, Access_net: unix.LANDLOCK_ACCESS_NET_BIND_TCP | unix.LANDLOCK_ACCESS_NET_CONNECT_TCP,
		Scoped: unix.LANDLOCK_SCOPE_ABSTRACT_UNIX_SOCKET | unix.LANDLOCK_SCOPE_SIGNAL}
}

// denyAll puts this thread, and what it executes, into a Landlock domain in which nothing is allowed. go-landlock is not used:
// it confines every thread, where cgo is on through a C library for which it opens a directory of procfs; one thread goes on here.
func denyAll() error {
	abi := landlockVersion()
	if abi < landlockABI {
		return fmt.Errorf("level %d, needed %d", abi, landlockABI)
	}
	attr := landlockSets(abi)
	fd, _, e := unix.RawSyscall(unix.SYS_LANDLOCK_CREATE_RULESET, uintptr(unsafe.Pointer(&attr)), unsafe.Sizeof(attr), 0)
	if e != 0 {
		return e
	}
	if _, _, e = unix.RawSyscall(unix.SYS_LANDLOCK_RESTRICT_SELF, fd, 0, 0); e != 0 {
		return e
	}
	return unix.Close(int(fd))
}

func landlockText() string {
	a := landlockSets(landlockABI)
	return fmt.Sprintf("level %d of handled rights: %d file, %d network, %d scopes; 0 rules", landlockABI, bits.OnesCount64(a.Access_fs), bits.OnesCount64(a.Access_net), bits.OnesCount64(a.Scoped))
}

var errGone = errors.New("the process ended")
