package doctor

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func machine(t *testing.T, files map[string]string) Machine {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return Machine{Proc: filepath.Join(dir, "proc"), Sys: filepath.Join(dir, "sys"), Now: time.Now}
}

const swapHead = "Filename\t\t\t\tType\t\tSize\t\tUsed\t\tPriority\n"

func TestSwap(t *testing.T) {
	for _, c := range []struct {
		name  string
		files map[string]string
		want  Level
	}{
		{"none", map[string]string{"proc/swaps": swapHead}, OK},
		{"a partition", map[string]string{"proc/swaps": swapHead + "/dev/sdz9 partition 1 0 -2\n"}, Fail},
		{"encrypted", map[string]string{"proc/swaps": swapHead + "/dev/dm-77 partition 1 0 -2\n", "sys/block/dm-77/dm/uuid": "CRYPT-PLAIN-swap"}, OK},
		{"mapped, not encrypted", map[string]string{"proc/swaps": swapHead + "/dev/dm-77 partition 1 0 -2\n", "sys/block/dm-77/dm/uuid": "LVM-x"}, Fail},
		{"compressed memory", map[string]string{"proc/swaps": swapHead + "/dev/zram0 partition 1 0 -2\n"}, OK},
		{"compressed memory before a disk", map[string]string{"proc/swaps": swapHead + "/dev/zram0 partition 1 0 -2\n", "sys/block/zram0/backing_dev": "/dev/sda\n"}, Fail},
		{"one of two", map[string]string{"proc/swaps": swapHead + "/dev/zram0 partition 1 0 -2\n/swapfile file 1 0 -3\n"}, Fail},
		{"unknown", nil, Skip},
	} {
		if f := machine(t, c.files).Swap(); f.Level != c.want {
			t.Errorf("%s: %+v", c.name, f)
		}
	}
}

func TestClockBehindEvidence(t *testing.T) {
	now := time.Date(2026, 3, 2, 9, 0, 0, 0, time.UTC)
	m := Machine{Now: func() time.Time { return now }}
	if f := m.Clock(now.Add(2 * time.Minute)); f.Level != Fail || !strings.Contains(f.Detail, "2m0s behind") {
		t.Errorf("%+v", f)
	}
	for _, newest := range []time.Time{{}, now, now.Add(30 * time.Second)} {
		if f := m.Clock(newest); f.Level == Fail {
			t.Errorf("newest %s: %+v", newest, f)
		}
	}
}

func TestPermissions(t *testing.T) {
	top := t.TempDir()
	dir := filepath.Join(top, "domain")
	if err := os.MkdirAll(filepath.Join(dir, "keys"), 0o700); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "keys", "root.key")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	m := Machine{Now: time.Now}
	worst := func(want Level, text string) {
		t.Helper()
		got := OK
		var all string
		for _, f := range m.Permissions(dir) {
			if f.Level != OK {
				got = f.Level
			}
			all += f.Detail
		}
		if got != want || !strings.Contains(all, text) {
			t.Errorf("%s: %s, wanted %s with %q", got, all, want, text)
		}
	}
	worst(OK, "owner's alone")
	if err := os.Chmod(file, 0o640); err != nil {
		t.Fatal(err)
	}
	worst(Fail, "keys/root.key is open to others")
	if err := os.Chmod(file, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink("/etc", filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	worst(Fail, "link is a link")
	if err := os.Remove(filepath.Join(dir, "link")); err != nil {
		t.Fatal(err)
	}
	if err := os.Chmod(top, 0o777); err != nil {
		t.Fatal(err)
	}
	worst(Fail, "lets others rename")
	if os.Geteuid() == 0 {
		if err := os.Chmod(top, 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.Chown(file, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		worst(Fail, "belongs to user 12345")
	}
	dir = filepath.Join(top, "absent")
	worst(Fail, "does not exist")
}

func TestPassphrase(t *testing.T) {
	path := filepath.Join(t.TempDir(), "d.passphrase")
	m := Machine{Now: time.Now}
	if f := m.Passphrase(path); f.Level != Fail {
		t.Errorf("absent: %+v", f)
	}
	if err := os.WriteFile(path, []byte("squirrel of nine tails"), 0o600); err != nil {
		t.Fatal(err)
	}
	for mode, want := range map[os.FileMode]Level{0o600: OK, 0o400: OK, 0o644: Fail, 0o640: Fail, 0o604: Fail, 0o620: Fail} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if f := m.Passphrase(path); f.Level != want || strings.Contains(f.Detail+f.Hint, "squirrel") {
			t.Errorf("%#o: %+v", mode, f)
		}
	}
	if err := os.Chmod(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if os.Geteuid() == 0 {
		if err := os.Chown(path, 12345, 12345); err != nil {
			t.Fatal(err)
		}
		if f := m.Passphrase(path); f.Level != Fail || !strings.Contains(f.Detail, "belongs to user 12345") {
			t.Errorf("%+v", f)
		}
	}
}

func TestDisk(t *testing.T) {
	m := Machine{Now: time.Now}
	level := func(all []Finding, check string) Level {
		for _, f := range all {
			if f.Check == check {
				return f.Level
			}
		}
		return ""
	}
	dir := t.TempDir()
	if all := m.Disk(dir, 1); level(all, "disk space") == Fail || level(all, "disk writes") != OK {
		t.Errorf("%+v", all)
	}
	if left, _ := os.ReadDir(dir); len(left) > 0 {
		t.Error("the probe stays")
	}
	if all := m.Disk(dir, 1<<62); level(all, "disk space") != Fail {
		t.Errorf("%+v", all)
	}
	if all := m.Disk(filepath.Join(dir, "absent"), 1); level(all, "disk") != Fail {
		t.Errorf("%+v", all)
	}
	if all := m.Disk("/proc", 0); level(all, "disk writes") != Fail { // a file system nobody can write to, root neither
		t.Errorf("%+v", all)
	}
}

// TestGuard runs in a process of its own: what Guard does cannot be undone.
func TestGuard(t *testing.T) {
	if os.Getenv("DOCTOR_GUARD") == "1" {
		if Guarded() {
			t.Fatal("guarded before")
		}
		if err := Guard(); err != nil || !Guarded() {
			t.Fatalf("guard: %v, guarded %v", err, Guarded())
		}
		if f := (Machine{}).CoreDumps(Guarded()); f.Level != OK {
			t.Errorf("%+v", f)
		}
		return
	}
	c := exec.Command(os.Args[0], "-test.run=^TestGuard$")
	c.Env = append(os.Environ(), "DOCTOR_GUARD=1")
	if out, err := c.CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}

func TestProcessorAndCoreDumpsSaySomething(t *testing.T) {
	m := machine(t, map[string]string{"proc/sys/kernel/core_pattern": "|/usr/share/apport/apport"})
	if f := m.CoreDumps(false); f.Level != Warn || f.Hint == "" {
		t.Errorf("%+v", f)
	}
	for _, f := range m.Processor("1") {
		if f.Check == "single SM4 blocks" {
			t.Errorf("%+v", f)
		}
	}
}
