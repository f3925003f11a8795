package jail

import (
	"bufio"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
)

const unit = "../../deploy/systemd/opdomain-core.service"

// settings reads a unit: each key's values in their order.
func settings(t *testing.T) map[string][]string {
	t.Helper()
	f, err := os.Open(unit)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	out := map[string][]string{}
	for s := bufio.NewScanner(f); s.Scan(); {
		if k, v, ok := strings.Cut(s.Text(), "="); ok && !strings.HasPrefix(k, "#") {
			out[k] = append(out[k], v)
		}
	}
	return out
}

// stageCalls are what stage 1 and its host call beside what everything calls; most of them no set of a usual service has.
var stageCalls = strings.Fields(`mount umount2 pivot_root sethostname setdomainname capset seccomp landlock_create_ruleset landlock_restrict_self
 memfd_create execveat close_range prlimit64 prctl clone`)

// TestUnit: the unit of the core lets the jail have its layers, and keeps the hardening that the jail does not need away.
func TestUnit(t *testing.T) {
	u := settings(t)
	last := func(k string) string {
		if len(u[k]) == 0 {
			return ""
		}
		return u[k][len(u[k])-1]
	}
	kinds := strings.Fields(last("RestrictNamespaces"))
	for _, n := range namespaces {
		if !slices.Contains(kinds, n) {
			t.Errorf("RestrictNamespaces forbids %s", n)
		}
	}
	if slices.Contains(kinds, "no") || slices.Contains(kinds, "time") {
		t.Error("RestrictNamespaces allows more than the jail makes")
	}
	for _, c := range []string{"memory", "pids", "cpu"} {
		if !slices.Contains(strings.Fields(last("Delegate")), c) {
			t.Errorf("Delegate does not hand on %s", c)
		}
	}
	for k, want := range map[string]string{"ProtectControlGroups": "no", "NoNewPrivileges": "yes", "CapabilityBoundingSet": "", "AmbientCapabilities": "", "User": "opdomain-core", "ProtectSystem": "strict",
		"ProtectHome": "yes", "PrivateTmp": "yes", "PrivateDevices": "yes", "ProtectKernelTunables": "yes", "ProtectKernelModules": "yes", "ProtectKernelLogs": "yes", "ProtectClock": "yes", "ProtectProc": "invisible",
		"RestrictRealtime": "yes", "RestrictSUIDSGID": "yes", "LockPersonality": "yes", "SystemCallArchitectures": "native", "LimitCORE": "0", "MemorySwapMax": "0", "UMask": "0077", "IPAddressDeny": "any"} {
		if len(u[k]) != 1 || u[k][0] != want {
			t.Errorf("%s is %q, wanted %q", k, u[k], want)
		}
	}
	if slices.Contains(strings.Fields(last("ProcSubset")), "pid") {
		t.Error("ProcSubset hides what the launcher reads")
	}
	allow := unitCalls(t, u["SystemCallFilter"])
	info, err := arch.GetInfo("")
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range append(slices.Concat(stageCalls, allowed), "mmap", "mprotect", "tgkill", "fcntl") {
		if _, here := info.SyscallNames[c]; here && !slices.Contains(allow, c) {
			t.Errorf("SystemCallFilter forbids %s", c)
		}
	}
	for _, c := range []string{"bpf", "reboot", "init_module", "swapon", "chroot", "open_by_handle_at", "ptrace", "kexec_load", "setuid", "perf_event_open", "settimeofday"} {
		if slices.Contains(allow, c) {
			t.Errorf("SystemCallFilter allows %s", c)
		}
	}
	if os.Geteuid() != 0 {
		t.Skip("SKIPPED ALOUD: not root, which this test gives up to run as the unit does")
	}
	// As the unit runs it: a user without rights, closed to tracing, under the unit's own filter.
	out := asNobody(t, "^TestStart$/^T1$", "JAIL_GUARDED=1", "JAIL_FILTER="+strings.Join(allow, " "))
	if !strings.Contains(out, "--- PASS: TestStart/T1") {
		t.Errorf("T1 does not start under the unit's filter:\n%s", out)
	}
}

// unitCalls expands the sets of a filter with the service manager's own tool.
func unitCalls(t *testing.T, lines []string) []string {
	t.Helper()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		t.Skip("SKIPPED ALOUD: no systemd-analyze, which knows the sets of calls")
	}
	var expand func(name string) []string
	expand = func(name string) (out []string) {
		if !strings.HasPrefix(name, "@") {
			return []string{name}
		}
		b, err := exec.Command(tool, "--no-pager", "syscall-filter", name).Output()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		for line := range strings.Lines(string(b)) {
			if line = strings.TrimSpace(line); line != "" && line != name && !strings.HasPrefix(line, "#") {
				out = append(out, expand(line)...)
			}
		}
		return out
	}
	var allow []string
	for _, line := range lines {
		line, not := strings.CutPrefix(line, "~")
		for _, name := range strings.Fields(line) {
			for _, c := range expand(name) {
				allow = slices.DeleteFunc(allow, func(x string) bool { return x == c })
				if !not {
					allow = append(allow, c)
				}
			}
		}
	}
	return allow
}

// underFilter puts every thread of this process under an allow-list that kills, as a service manager does.
func underFilter(names []string) error {
	info, err := arch.GetInfo("")
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(names, func(n string) bool { _, here := info.SyscallNames[n]; return !here })
	return seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{DefaultAction: seccomp.ActionKillProcess, Syscalls: []seccomp.SyscallGroup{{Action: seccomp.ActionAllow, Names: names}}}})
}
