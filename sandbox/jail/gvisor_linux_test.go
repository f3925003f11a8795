package jail

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/opdomain/opdomain/attest/sm"
)

// runsc is the binary that .ci/gvisor builds; T2 is tested where it is.
func runsc(t *testing.T) Sentry {
	t.Helper()
	path := os.Getenv("JAIL_RUNSC")
	require(t, path != "", "no runsc: JAIL_RUNSC names none; .ci/gvisor builds it and runs these tests")
	require(t, os.Geteuid() == 0, "T2 is started as root")
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return Sentry{Path: path, Digest: sm.Sum(b)}
}

// gvisorLauncher gives one with T2.
func gvisorLauncher(t *testing.T) *Launcher {
	t.Helper()
	s := runsc(t)
	helper, err := helperProgram()
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(Config{Program: helper, Sentry: s})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	if missing := l.Probe().Missing(T2); len(missing) > 0 {
		t.Fatalf("with runsc there T2 lacks %v", missing)
	}
	return l
}

// TestSentryIsConfigured: runsc is the configured one, at its path and of its digest, or T2 is refused.
func TestSentryIsConfigured(t *testing.T) {
	helper, err := helperProgram()
	if err != nil {
		t.Fatal(err)
	}
	img := image(t)
	other := filepath.Join(t.TempDir(), "runsc")
	if err := os.WriteFile(other, []byte("#!/bin/sh\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(other)) // it is never looked for
	for name, c := range map[string]struct {
		s    Sentry
		says string
	}{"none": {Sentry{}, "no runsc is configured"}, "another digest": {Sentry{Path: other}, "digest"}, "nowhere": {Sentry{Path: other + "-not"}, "no such file"}} {
		if name != "none" && os.Geteuid() != 0 {
			continue
		}
		l, err := New(Config{Program: helper, Sentry: c.s})
		if err != nil {
			t.Fatal(err)
		}
		missing := l.Probe().Missing(T2)
		if len(missing) == 0 || !strings.Contains(missing[len(missing)-1].Detail, c.says) {
			t.Errorf("%s: %v", name, missing)
		}
		_, err = l.Start(t.Context(), Job{Tier: T2, Image: img})
		if f := (*Fault)(nil); !errors.As(err, &f) || f.Reason != Layer {
			t.Errorf("%s: %v", name, err)
		}
		l.Close()
	}
}

// TestSentry starts a plug-in under gVisor: same descriptors, same data, same calls; its posture is that of the sentry.
func TestSentry(t *testing.T) {
	l := gvisorLauncher(t)
	d := text(t, "rows of a table")
	p, err := l.Start(t.Context(), Job{Tier: T2, Image: image(t), Dataset: d})
	if err != nil {
		t.Fatal(err)
	}
	o, err := run(t.Context(), p, "read the data set")
	t.Logf("%+v %v\n%s", o, err, p.Posture().Text())
	if err := p.Close(); err != nil {
		t.Error(err)
	}
	for _, want := range []string{"tier T2", "sentry ", "image ", "network none"} {
		if !strings.Contains(p.Posture().Text(), want) {
			t.Errorf("posture lacks %q", want)
		}
	}
	if left, _ := filepath.Glob(filepath.Join(l.gvisor.dir, "*-*")); len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
	if !bytes.Contains([]byte(p.Posture().Text()), []byte("seccomp filter")) {
		t.Error("no filter inside")
	}
}

// TestSentryCanary: every attack of the canary fails under gVisor, and one that works is heard of.
func TestSentryCanary(t *testing.T) {
	l := gvisorLauncher(t)
	v, err := l.Canary(t.Context(), T2)
	if err != nil || len(v.Worked) > 0 || v.Attacks < 25 {
		t.Errorf("%+v %v", v, err)
	}
	t.Logf("%d attacks", v.Attacks)
}

// TestSentryAttacks runs the whole suite under gVisor: none works.
func TestSentryAttacks(t *testing.T) {
	l := gvisorLauncher(t)
	img := image(t)
	path, err := attackProgram()
	if err != nil {
		t.Fatal(err)
	}
	d, err := NewDataset(func(w io.Writer) error { _, err := w.Write(bytes.Repeat([]byte("rows"), 4096)); return err })
	if err != nil {
		t.Fatal(err)
	}
	defer d.Close()
	before := datasetSum(t, d)
	names := attackNames(t, path)
	if _, err := l.Canary(t.Context(), T2); err != nil { // now, not within the first attack's time
		t.Fatal(err)
	}
	ends := map[string]int{}
	worked := 0
	for _, name := range names {
		ok, how := confined(l, T2, img, d, name)
		if ok && strings.HasPrefix(how, "did not start") { // a machine under load
			ok, how = confined(l, T2, img, d, name)
		}
		if name == "flood of signals" && strings.HasSuffix(how, "deadline") { // no timer was made; its 20000 signals to itself outlast its time there
			ok = false
		}
		ends[strings.Fields(how)[0]]++
		if ok && !slices.Contains(seen, name) {
			worked++
			t.Errorf("%s: %s", name, how)
		}
		t.Logf("%-34s %s", name, how)
	}
	t.Logf("RESULT tier T2: %d attacks, %d worked; %v", len(names), worked, ends)
	if datasetSum(t, d) != before {
		t.Error("the data set changed")
	}
}

// TestSentryFaults: under gVisor a plug-in ends for the same reasons as elsewhere, and nothing of it is left.
func TestSentryFaults(t *testing.T) {
	l := gvisorLauncher(t)
	img := imageOf(t, rawProgram)
	for _, c := range []struct {
		mode   string
		limits Limits
		want   []Reason
	}{
		{"exit", Limits{}, []Reason{Ended}},
		{"crash at start", Limits{}, []Reason{Crashed}},
		{"raw garbage", Limits{}, []Reason{Protocol}},
		{"64 MiB reply", Limits{}, []Reason{Oversize}},
		{"hang", Limits{Wall: 8 * time.Second}, []Reason{Deadline}},
		{"busy", Limits{Wall: 8 * time.Second}, []Reason{Deadline}},
		{"memory", Limits{Memory: 192 << 20}, []Reason{Memory, Crashed}}, // the group ends the sentry, or its kernel refuses the process
		{"stderr", Limits{}, []Reason{Flooded}},
		{"write to the data", Limits{}, []Reason{Crashed}},
	} {
		t.Run(strings.ReplaceAll(c.mode, " ", "_"), func(t *testing.T) {
			d := text(t, c.mode)
			p, err := l.Start(t.Context(), Job{Tier: T2, Image: img, Dataset: d, Limits: c.limits})
			if err == nil {
				var out wrapperspb.BytesValue
				err = p.Conn().Invoke(t.Context(), "/raw/Run", wrapperspb.Bytes(nil), &out)
				if cerr := p.Close(); cerr != nil {
					t.Error(cerr)
				}
			}
			if got := ReasonOf(err); !slices.Contains(c.want, got) {
				t.Errorf("%q, wanted one of %v: %v", got, c.want, err)
			}
		})
	}
	if left := sentriesOf(l); len(left) > 0 {
		t.Errorf("processes are left: %v", left)
	}
}

// sentriesOf lists the processes of runsc that stand for a launcher's jobs.
func sentriesOf(l *Launcher) (out []string) {
	all, _ := filepath.Glob("/proc/[0-9]*/cmdline")
	for _, path := range all {
		if b, _ := os.ReadFile(path); bytes.Contains(b, []byte(l.gvisor.dir)) {
			out = append(out, path)
		}
	}
	return out
}

// TestSentryHostDies: a sentry dies with the host that started it.
func TestSentryHostDies(t *testing.T) {
	if os.Getenv("JAIL_SENTRY_HOST") != "" {
		l := gvisorLauncher(t)
		p, err := l.Start(t.Context(), Job{Tier: T2, Image: imageOf(t, rawProgram), Dataset: text(t, "survive")})
		if err != nil {
			t.Fatal(err)
		}
		fmt.Printf("SENTRY %s %d\n", l.gvisor.dir, p.pid)
		time.Sleep(time.Hour)
	}
	runsc(t)
	cmd := exec.Command("/proc/self/exe", "-test.run=^TestSentryHostDies$", "-test.v")
	helper, err := helperProgram()
	if err != nil {
		t.Fatal(err)
	}
	raw, err := rawProgram()
	if err != nil {
		t.Fatal(err)
	}
	cmd.Env = append(os.Environ(), "JAIL_SENTRY_HOST=1", "JAIL_OPDOMAIN-JAIL="+helper, "JAIL_RAW="+raw)
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	var dir string
	for s := bufio.NewScanner(out); s.Scan(); {
		if rest, ok := strings.CutPrefix(s.Text(), "SENTRY "); ok {
			dir = strings.Fields(rest)[0]
			break
		}
	}
	if dir == "" {
		t.Fatal("the host did not start one")
	}
	defer os.RemoveAll(dir)
	l := &Launcher{gvisor: &gvisor{dir: dir}}
	if len(sentriesOf(l)) == 0 {
		t.Error("no sentry is seen while it lives")
	}
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
	var left []string
	for range 100 {
		if left = sentriesOf(l); len(left) == 0 {
			return
		}
		time.Sleep(50 * time.Millisecond)
	}
	t.Errorf("a sentry outlived its host: %v", left)
}
