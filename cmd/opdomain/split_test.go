package main

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/api"
	"github.com/opdomain/opdomain/sandbox/catalog"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

// TestSplit serves a domain as two users and works with it through the front end; then, as the front end's user, tries to
// reach what is the core's.
func TestSplit(t *testing.T) {
	if os.Geteuid() != 0 {
		sandboxtest.Missing(t, "root is needed to run front end and core as two users")
	}
	nobody, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	path, err := exec.LookPath("opdomain")
	if err != nil {
		t.Fatal(err)
	}
	// A folder that other users could enter if the domain's own did not stop them.
	top, err := os.MkdirTemp("", "split")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(top)
	if err := os.Chmod(top, 0o755); err != nil {
		t.Fatal(err)
	}
	k := newKilledIn(t, filepath.Join(top, "domain"))
	cmd := exec.Command(path, "serve", "--dir", k.dir, "--listen", "127.0.0.1:0", "--split", "--front-user", "nobody")
	cmd.Stderr = io.Discard
	out, err := cmd.StdoutPipe()
	if err == nil {
		err = cmd.Start()
	}
	if err != nil {
		t.Fatal(err)
	}
	ended := false
	defer func() {
		if !ended {
			_ = cmd.Process.Kill()
			_ = cmd.Wait()
		}
	}()
	line, err := bufio.NewReader(out).ReadString('\n')
	m := regexp.MustCompile(`at (http://\S+) in two processes, core (\d+) of user (\d+), front end (\d+) of user (\d+)`).FindStringSubmatch(line)
	if err != nil || m == nil {
		t.Fatalf("%q %v", line, err)
	}
	if m[5] != nobody.Uid || m[3] == m[5] {
		t.Errorf("core of user %s, front end of user %s", m[3], m[5])
	}
	k.server = m[1]
	clear(k.sessions)
	ctx := context.Background()
	if k.info, err = k.as("agency").domain(ctx); err != nil {
		t.Fatal(err)
	}
	table := k.story.Tables[0]
	rep, err := k.as(sandbox.IdentityID(table.Dataset.Unit)).push(ctx, k.info, table.Dataset, "run-split", csvSource(filepath.Join(k.data, table.File), table.Dataset, table.Mapping, fileOptions()), nil)
	if err != nil || rep.Version != 1 {
		t.Fatalf("a push through the front end: %+v %v", rep, err)
	}
	if _, err := body(k.as("auditor").api.GetBundle(ctx)); err != nil {
		t.Errorf("a bundle through the front end: %v", err)
	}
	if _, err := result[[]catalog.Dataset](k.as("operator").api.ListDatasets(ctx)); err != nil {
		t.Error(err)
	}
	// SQL is compiled by the front end, over what the core lets its asker see.
	text := `SELECT COUNT(*) AS n FROM "` + string(table.Dataset.ID) + `"`
	if c, err := result[api.Compiled](k.as("operator").api.CompileQuestion(ctx, api.SQLRequest{Scenario: "sc-1", Purpose: "p", Text: text})); err != nil || c.Spec == nil || c.Spec.Inputs[0].Dataset != table.Dataset.ID {
		t.Errorf("SQL through the front end: %+v %v", c, err)
	}

	uid, err := strconv.Atoi(nobody.Uid)
	if err != nil {
		t.Fatal(err)
	}
	as := func(name string, args ...string) (string, error) {
		c := exec.Command(name, args...)
		c.Dir = "/"
		c.Env = []string{"PATH=/usr/bin:/bin"}
		c.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uint32(uid), Gid: uint32(uid)}}
		b, err := c.CombinedOutput()
		return string(b), err
	}
	if out, err := as("id", "-u"); err != nil || strings.TrimSpace(out) != nobody.Uid {
		t.Fatalf("not another user: %s %v", out, err)
	}
	for what, args := range map[string][]string{
		"the vault":          {"ls", filepath.Join(k.dir, "vault")},
		"the keys":           {"cat", filepath.Join(k.dir, "keys", "root.key")},
		"the store":          {"cat", filepath.Join(k.dir, "domain.db")},
		"the log":            {"ls", filepath.Join(k.dir, "log")},
		"the control socket": {"ls", filepath.Join(k.dir, "control")},
		"the core's memory":  {"cat", "/proc/" + m[2] + "/mem"},
		"the core's files":   {"ls", "/proc/" + m[2] + "/fd"},
		"the core's environ": {"cat", "/proc/" + m[2] + "/environ"},
	} {
		if out, err := as(args[0], args[1:]...); err == nil || !strings.Contains(out, "ermission denied") {
			t.Errorf("the front end's user reaches %s: %v", what, err)
		}
	}
	status, err := os.ReadFile(fmt.Sprintf("/proc/%s/status", m[4]))
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"NoNewPrivs:\t1", "CapEff:\t0000000000000000", "CapPrm:\t0000000000000000"} {
		if !strings.Contains(string(status), want) {
			t.Errorf("the front end: not %q", want)
		}
	}
	if env, err := os.ReadFile(fmt.Sprintf("/proc/%s/environ", m[4])); err != nil || strings.Contains(string(env), string(secretPhrase)) {
		t.Errorf("the front end was given the passphrase: %v", err)
	}
	ended = true
	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("stopping: %v", err)
	}
	for _, pid := range []string{m[2], m[4]} {
		gone := false
		for range 100 {
			if _, err := os.Stat("/proc/" + pid); err != nil {
				gone = true
				break
			}
			_ = sleep(ctx, 20*time.Millisecond)
		}
		if !gone {
			t.Errorf("process %s outlives its parent", pid)
		}
	}
	// What was acknowledged through two processes is there for one.
	k.serve()
	defer k.kill()
	if p, err := result[api.Push](k.as(sandbox.IdentityID(table.Dataset.Unit)).api.GetPush(ctx, "run-split")); err != nil || p.State != "committed" {
		t.Errorf("%+v %v", p, err)
	}
}

// TestSplitRefuses users that would share what the split keeps apart.
func TestSplitRefuses(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "d")
	if err := os.Mkdir(dir, 0o700); err != nil {
		t.Fatal(err)
	}
	t.Setenv("OPDOMAIN_PASSPHRASE", "x")
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"the same user": {[]string{"serve", "--split", "--dir", dir, "--front-user", strconv.Itoa(os.Geteuid())}, "front"},
		"no such user":  {[]string{"serve", "--split", "--dir", dir, "--front-user", "no-such-user-here"}, "user"},
		"core and front end alike": {[]string{"serve", "core", "--dir", dir, "--socket", filepath.Join(t.TempDir(), "s"), "--front-user", strconv.Itoa(os.Geteuid()), "--authority", "a:1"},
			"two users"},
		"an open address": {[]string{"serve", "front", "--socket", "x", "--core-user", "0", "--listen", "0.0.0.0:0"}, "in the clear"},
	} {
		code, _, errOut := opdomain(t, c.args...)
		if code == 0 || !strings.Contains(errOut, c.says) && !strings.Contains(errOut, "only root") {
			t.Errorf("%s: exit %d %s", name, code, errOut)
		}
	}
}
