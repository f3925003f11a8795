package sandboxtest

import (
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	seccomp "github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
)

// Unit reads a systemd unit (服务单元): each key's values in their order.
func Unit(t testing.TB, path string) map[string][]string {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	out := map[string][]string{}
	for line := range strings.Lines(string(b)) {
		if k, v, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "="); ok && !strings.HasPrefix(k, "#") {
			out[k] = append(out[k], v)
		}
	}
	return out
}

// UnitCalls gives the system calls that a unit's filter allows (系统调用白名单): the service manager's own tool expands its sets.
func UnitCalls(t testing.TB, unit map[string][]string) (allow []string) {
	t.Helper()
	tool, err := exec.LookPath("systemd-analyze")
	if err != nil {
		Missing(t, "no systemd-analyze, which knows the sets of calls")
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
	for _, line := range unit["SystemCallFilter"] {
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

// UnderFilter puts every thread of this process under an allow-list that kills, as a service manager does.
func UnderFilter(names []string) error {
	info, err := arch.GetInfo("")
	if err != nil {
		return err
	}
	names = slices.DeleteFunc(slices.Clone(names), func(n string) bool { _, here := info.SyscallNames[n]; return !here })
	return seccomp.LoadFilter(seccomp.Filter{NoNewPrivs: true, Flag: seccomp.FilterFlagTSync,
		Policy: seccomp.Policy{DefaultAction: seccomp.ActionKillProcess, Syscalls: []seccomp.SyscallGroup{{Action: seccomp.ActionAllow, Names: names}}}})
}
