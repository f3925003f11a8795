package jail

import (
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/elastic/go-seccomp-bpf/arch"

	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

const unit = "../../deploy/systemd/opdomain-core.service"

// stageCalls are what stage 1 and its host call beside what everything calls; most of them no set of a usual service has.
var stageCalls = strings.Fields(`mount umount2 pivot_root sethostname setdomainname capset seccomp landlock_create_ruleset landlock_restrict_self
 memfd_create execveat close_range prlimit64 prctl clone`)

// TestUnit: the unit of the core lets the jail have its layers, and keeps the hardening that the jail does not need away.
func TestUnit(t *testing.T) {
	u := sandboxtest.Unit(t, unit)
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
	allow := sandboxtest.UnitCalls(t, u)
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
		sandboxtest.Missing(t, "not root, which this test gives up to run as the unit does")
	}
	// As the unit runs it: a user without rights, closed to tracing, under the unit's own filter.
	out := asNobody(t, "^TestStart$/^T1$", "JAIL_GUARDED=1", "JAIL_FILTER="+strings.Join(allow, " "))
	if !strings.Contains(out, "--- PASS: TestStart/T1") {
		t.Errorf("T1 does not start under the unit's filter:\n%s", out)
	}
}
