package jail

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"slices"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/opdomain/opdomain/sandbox"
)

// TestCanary passes on this machine, and halts the launcher when an attack works.
func TestCanary(t *testing.T) {
	l := fresh(t)
	defer l.Close()
	needs(t, l, T1)
	for _, tier := range []Tier{T1, T1p} {
		v, err := l.Canary(context.Background(), tier)
		if err != nil || len(v.Worked) > 0 || v.Attacks < 25 {
			t.Errorf("%+v: %v", v, err)
		}
	}
	if err := l.Halted(); err != nil {
		t.Fatal(err)
	}
	dies := []probeCall{{name: control, nr: unix.SYS_GETPID}, {name: "end before saying so", nr: unix.SYS_EXIT_GROUP}}
	if v, err := l.canary(context.Background(), T1, dies); err == nil || len(v.Worked) > 0 || l.Halted() != nil || l.passed[T1] {
		t.Errorf("one of which nothing is known: %+v: %v; halted %v, passed %v", v, err, l.Halted(), l.passed[T1])
	}
	if len(l.passed) > 0 {
		t.Errorf("another tier's canary is still believed: %v", l.passed)
	}
	wantsOwnCanary(t, l)
	works := []probeCall{{name: control, nr: unix.SYS_GETPID}, {name: "read the clock", nr: unix.SYS_GETTID}}
	v, err := l.canary(context.Background(), T1, works)
	if err == nil || len(v.Worked) != 1 || v.Worked[0] != works[1].name {
		t.Fatalf("%+v: %v", v, err)
	}
	_, err = l.Start(context.Background(), Job{Tier: T1, Image: image(t)})
	if ReasonOf(err) != Layer || !errors.Is(err, sandbox.Unavailable) || l.Halted() == nil {
		t.Errorf("a start after it: %v", err)
	}
}

// wantsOwnCanary: after a canary of T1 of which nothing is known, a module in W starts only behind one that passed.
func wantsOwnCanary(t *testing.T, l *Launcher) {
	t.Helper()
	if len(l.Probe().Missing(W)) > 0 {
		return
	}
	code, err := wasmModule()
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Start(context.Background(), Job{Tier: W, Module: module(t, code), Limits: Limits{Start: 40 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	_ = p.Close()
	if !l.passed[T1] {
		t.Error("a module started, and no canary passed")
	}
}

// TestCanaryAlone runs the canary's programs unconfined: those that are harmless are seen to work.
func TestCanaryAlone(t *testing.T) {
	worked := 0
	for _, c := range canaries() {
		if slices.Contains([]string{"signal all", "mount", "become root", "change root", "fork", "fork as mprotect", "make a folder"}, c.name) {
			continue
		}
		b, err := canaryImage(c)
		if err != nil {
			t.Skipf("SKIPPED ALOUD: %v", err)
		}
		f, _, err := sealed("canary", bytes.NewReader(b), true)
		if err != nil {
			t.Fatal(err)
		}
		in, out, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		wait, feed, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		cmd := exec.Command(fmt.Sprintf("/proc/self/fd/%d", f.Fd()))
		cmd.ExtraFiles = []*os.File{out, wait}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		out.Close()
		feed.Write(make([]byte, 8))
		var said [8]byte
		_, err = io.ReadFull(in, said[:])
		cmd.Wait()
		for _, f := range []*os.File{f, in, wait, feed} {
			f.Close()
		}
		r := int64(binary.NativeEndian.Uint64(said[:]))
		if err == nil && (r >= 0 || slices.Contains(c.after, unix.Errno(-r))) || c.name == "start a program" && err != nil {
			worked++
		} else {
			t.Logf("not seen to work here: %s: %d %v", c.name, r, err)
		}
	}
	if worked < 15 {
		t.Errorf("only %d of the canary's attacks work unconfined", worked)
	}
	t.Logf("%d work unconfined", worked)
}
