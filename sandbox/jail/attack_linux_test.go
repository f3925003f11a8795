package jail

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// nobody is the user that has no rights on any machine.
const nobody = 65534

// harmful are never run unconfined: where they worked they would harm the machine.
var harmful = []string{"set the clock", "reboot", "load a kernel", "load a module", "swap", "accounting", "quotas", "signal all", "unmount"}

// seen are no attacks in a pod, which is nobody else's: its own name, and the process that started the plug-in.
var seen = []string{"user of the host", "name of the host"}

// unconfined runs an attack as this user without the jail, in namespaces of its own where this user may have them, with an
// unsealed file in the place of the data set.
func unconfined(t *testing.T, path, name string) outcome {
	t.Helper()
	pair := func() (a, b *os.File) {
		fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			t.Fatal(err)
		}
		return os.NewFile(uintptr(fds[0]), "a"), os.NewFile(uintptr(fds[1]), "b")
	}
	rpc, rpcIn := pair()
	feed, feedIn := pair()
	data, err := unix.MemfdCreate("open", unix.MFD_CLOEXEC|unix.MFD_EXEC)
	if err != nil {
		t.Fatal(err)
	}
	if err := unix.Ftruncate(data, 8192); err != nil {
		t.Fatal(err)
	}
	if err := unix.Sendmsg(int(feed.Fd()), make([]byte, 8), unix.UnixRights(data), nil, 0); err != nil {
		t.Fatal(err)
	}
	unix.Close(data)
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	cmd := exec.CommandContext(ctx, path, "run", name)
	cmd.ExtraFiles = []*os.File{rpcIn, feedIn}
	cmd.Env = []string{"HOST_SECRET=x", "OPDOMAIN_JAIL=1"}
	cmd.Dir, cmd.WaitDelay = "/", time.Second
	if os.Geteuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Unshareflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWNET | syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC}
	}
	out, err := cmd.Output()
	for _, f := range []*os.File{rpc, rpcIn, feed, feedIn} {
		f.Close()
	}
	var o outcome
	if err == nil {
		err = json.Unmarshal(out, &o)
	}
	if err != nil {
		o.Detail = err.Error()
	}
	return o
}

// confined runs an attack in the jail and says whether it worked, and how it was stopped.
func confined(l *Launcher, tier Tier, img *Image, d *Dataset, name string) (bool, string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	p, err := l.Start(ctx, Job{Tier: tier, Image: img, Dataset: d, Limits: Limits{Wall: 20 * time.Second}})
	if err != nil {
		return true, "did not start: " + err.Error()
	}
	defer p.Close()
	o, err := run(ctx, p, name)
	switch r := ReasonOf(err); {
	case err == nil && o.Worked:
		return true, o.Detail
	case err == nil:
		return false, "returned " + o.Detail
	case r == Forbidden, r == Crashed, r == Memory:
		return false, string(r)
	default: // anything else is not known to be a block
		return true, "unclear: " + err.Error()
	}
}

func attackNames(t *testing.T, path string) []string {
	t.Helper()
	out, err := exec.Command(path, "list").Output()
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	if err := json.Unmarshal(out, &names); err != nil {
		t.Fatal(err)
	}
	return names
}

// TestAttacks runs every attack of the plug-in unconfined, where that is safe, and in the jail: none works there.
func TestAttacks(t *testing.T) {
	img := image(t)
	path, err := attackProgram()
	if err != nil {
		t.Fatal(err)
	}
	names := attackNames(t, path)
	if len(names) < 100 {
		t.Fatalf("the suite has %d attacks", len(names))
	}
	l := launcher(t)
	d, err := NewDataset(func(w io.Writer) error { _, err := w.Write(bytes.Repeat([]byte("rows"), 4096)); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	before := datasetSum(t, d)
	tiers := []Tier{T1, T1p}
	for _, tier := range tiers {
		needs(t, l, tier)
	}
	type row struct {
		alone outcome
		in    map[Tier]string
	}
	rows := make([]row, len(names))
	var mu sync.Mutex
	var wg sync.WaitGroup
	next := make(chan int)
	failed := map[Tier][]string{}
	ends := map[string]int{}
	for range 2 {
		wg.Go(func() {
			for i := range next {
				r := row{in: map[Tier]string{}}
				if !slices.Contains(harmful, names[i]) {
					r.alone = unconfined(t, path, names[i])
				}
				for _, tier := range tiers {
					ok, how := confined(l, tier, img, d, names[i])
					ok = ok && !(tier == T1p && slices.Contains(seen, names[i]))
					mu.Lock()
					r.in[tier] = how
					if ok {
						failed[tier] = append(failed[tier], names[i]+": "+how)
					}
					if tier == T1 {
						ends[strings.Fields(how)[0]]++
					}
					mu.Unlock()
				}
				rows[i] = r
			}
		})
	}
	for i := range names {
		next <- i
	}
	close(next)
	wg.Wait()
	alone := 0
	var inert []string
	for i, n := range names {
		if rows[i].alone.Worked {
			alone++
		} else {
			inert = append(inert, n)
		}
		t.Logf("%-34s alone %-5v T1 %s", n, rows[i].alone.Worked, rows[i].in[T1])
	}
	for _, tier := range tiers {
		t.Logf("RESULT user %d tier %s: %d attacks, %d worked unconfined, %d worked in the jail; %v", os.Geteuid(), tier, len(names), alone, len(failed[tier]), ends)
		for _, f := range failed[tier] {
			t.Errorf("%s: %s", tier, f)
		}
	}
	t.Logf("not seen to work unconfined: %s", strings.Join(inert, ", "))
	if os.Geteuid() == 0 && alone < 75 {
		t.Errorf("only %d attacks work unconfined as root: the suite proves little", alone)
	}
	if datasetSum(t, d) != before {
		t.Error("the data set changed")
	}
}

// TestAttacksAsNobody runs the suite as a user without rights, in a process of its own.
func TestAttacksAsNobody(t *testing.T) {
	if os.Geteuid() != 0 {
		sandboxtest.Missing(t, "not root, and so this user is the one that TestAttacks ran as")
	}
	out := asNobody(t, "^(TestAttacks|TestStart|TestPosture|TestHostDies|TestBadPlugins)$/^(T1p?|all)?$/^(memory|threads|stderr|hang|)$")
	for _, tier := range []Tier{T1, T1p} {
		m := regexp.MustCompile(`RESULT user 65534 tier ` + string(tier) + `: (\d+) attacks, (\d+) worked unconfined, 0 worked in the jail`).FindString(out)
		if m == "" {
			t.Errorf("no result as user %d:\n%s", nobody, out)
		}
		t.Log(m)
	}
}

// TestGuardedHost: a host without rights that closed itself to tracing, as one that serves does, starts plug-ins of T1 all the same, and
// they die with it.
func TestGuardedHost(t *testing.T) {
	if os.Geteuid() != 0 {
		sandboxtest.Missing(t, "not root, which this test gives up")
	}
	out := asNobody(t, "^(TestStart|TestHostDies)$/^(T1)?$", "JAIL_GUARDED=1")
	if !strings.Contains(out, "--- PASS: TestHostDies") || !strings.Contains(out, "--- PASS: TestStart") {
		t.Errorf("not run:\n%s", out)
	}
}

// asNobody runs tests of this binary as a user without rights.
func asNobody(t *testing.T, tests string, env ...string) string {
	t.Helper()
	path, err := attackProgram()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := rawProgram()
	if err != nil {
		t.Fatal(err)
	}
	helper, err := helperProgram()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("/proc/self/exe", "-test.run="+tests, "-test.v")
	cmd.Args[0] = os.Args[0]
	cmd.Dir = t.TempDir()
	cmd.Env = append(append(os.Environ(), env...), "JAIL_ATTACK="+path, "JAIL_RAW="+raw, "JAIL_OPDOMAIN-JAIL="+helper, "HOME=/", "TMPDIR=/tmp")
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: nobody, Gid: nobody, Groups: []uint32{}}}
	if err := os.Chmod(cmd.Dir, 0o755); err != nil {
		t.Fatal(err)
	}
	cmd.Dir = "/"
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("as user %d: %v\n%s", nobody, err, out)
	}
	if strings.Contains(string(out), "SKIPPED ALOUD") {
		require(t, false, "namespaces of a user without rights: "+string(out))
	}
	return string(out)
}

func datasetSum(t *testing.T, d *Dataset) string {
	t.Helper()
	b := make([]byte, d.size)
	if _, err := d.file.ReadAt(b, 0); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sumOf(b))
}
