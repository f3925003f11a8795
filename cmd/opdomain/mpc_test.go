package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// TestPartyKilled: a party's process that is killed in a run ends the two others with one abort, status 1 and no outputs, and the job is
// spent for all.
func TestPartyKilled(t *testing.T) {
	if runtime.GOOS != "linux" {
		sandboxtest.Missing(t, "it looks into /proc for the links of a process; no party was killed")
	}
	d := &demoRun{a: &app{rand: rand.Reader, now: time.Now}, dir: t.TempDir(), people: 200, seed: 5, limit: 60}
	q, err := d.prepare()
	if err != nil {
		t.Fatal(err)
	}
	play := func(kill bool) (codes [3]int, said [3]bytes.Buffer) {
		files, addrs, err := d.listeners()
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
		defer cancel()
		var cs [3]*exec.Cmd
		for i := range cs {
			if cs[i], err = d.party(ctx, q, i, addrs, files[i], &said[i]); err == nil {
				err = cs[i].Start()
			}
			if err != nil {
				t.Fatal(err)
			}
			_ = files[i].Close()
		}
		for kill && ctx.Err() == nil { // with its links open it is in the midst of it
			if sockets(cs[2].Process.Pid) >= 3 {
				time.Sleep(200 * time.Millisecond)
				if err := cs[2].Process.Kill(); err != nil {
					t.Fatal(err)
				}
				break
			}
			time.Sleep(2 * time.Millisecond)
		}
		for i, c := range cs {
			err := c.Wait()
			codes[i] = c.ProcessState.ExitCode()
			if x := (*exec.ExitError)(nil); err != nil && !errors.As(err, &x) {
				t.Fatal(err)
			}
		}
		return codes, said
	}
	codes, said := play(true)
	for i := range 2 {
		if codes[i] != 1 || !strings.Contains(said[i].String(), "mpc: abort") {
			t.Errorf("party %d: status %d: %s", i, codes[i], said[i].String())
		}
	}
	for _, role := range demoRoles {
		for _, end := range []string{".result.json", ".certificate.json"} {
			if _, err := os.Stat(d.path(role + end)); err == nil {
				t.Errorf("%s%s is there", role, end)
			}
		}
	}
	codes, said = play(false)
	for i := range 3 {
		if codes[i] != 1 || !strings.Contains(said[i].String(), "a job is joined once") {
			t.Errorf("again, party %d: status %d: %s", i, codes[i], said[i].String())
		}
	}
}

// sockets counts a process's sockets.
func sockets(pid int) (n int) {
	dir := fmt.Sprintf("/proc/%d/fd", pid)
	files, err := os.ReadDir(dir)
	if err != nil {
		return 0
	}
	for _, f := range files {
		if to, err := os.Readlink(dir + "/" + f.Name()); err == nil && strings.HasPrefix(to, "socket:") {
			n++
		}
	}
	return n
}
