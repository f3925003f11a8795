package seam

import (
	"context"
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

func listen(t *testing.T, path string, users ...uint32) *Listener {
	t.Helper()
	l, err := Listen(path, 0o666, users...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l
}

func self() uint32 { return uint32(os.Geteuid()) }

// TestStrangers: only the named user gets through, whatever the file's permissions are, and a client talks to nobody else.
func TestStrangers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "s")
	l := listen(t, path, self())
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "hello")
			_ = c.Close()
		}
	}()
	c, err := Dial(context.Background(), path, self())
	if err != nil {
		t.Fatal(err)
	}
	if b, err := io.ReadAll(c); string(b) != "hello" {
		t.Errorf("%q %v", b, err)
	}
	if _, err := Dial(context.Background(), path, self()+1); !errors.Is(err, sandbox.Denied) {
		t.Errorf("a socket of another user: %v", err)
	}
	other := filepath.Join(t.TempDir(), "o")
	shut := listen(t, other, self()+1)
	go func() { _, _ = shut.Accept() }()
	c, err = Dial(context.Background(), other, self())
	if err != nil {
		t.Fatal(err)
	}
	if b, _ := io.ReadAll(c); len(b) > 0 {
		t.Error("a stranger is served")
	}
}

// TestOtherUser connects as another user of the machine.
func TestOtherUser(t *testing.T) {
	if path := os.Getenv("SEAM_CONNECT"); path != "" {
		c, err := net.Dial("unix", path)
		if err != nil {
			t.Skip(err)
		}
		b, _ := io.ReadAll(c)
		t.Logf("got %q as %d", b, os.Geteuid())
		return
	}
	if os.Geteuid() != 0 {
		sandboxtest.Missing(t, "root is needed to connect as another user")
	}
	dir, err := os.MkdirTemp("", "seam")
	if err != nil {
		t.Fatal(err)
	}
	defer os.RemoveAll(dir)
	program := filepath.Join(dir, "test")
	b, err := os.ReadFile(os.Args[0])
	if err == nil {
		err = errors.Join(os.WriteFile(program, b, 0o755), os.Chmod(dir, 0o755))
	}
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "s")
	l := listen(t, path, 0, 65534)
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = io.WriteString(c, "served")
			_ = c.Close()
		}
	}()
	for uid, want := range map[uint32]string{65534: "served", 65533: ""} {
		cmd := exec.Command(program, "-test.run=^TestOtherUser$", "-test.v")
		cmd.Dir = dir
		cmd.Env = []string{"SEAM_CONNECT=" + path}
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: uid, Gid: uid}}
		out, err := cmd.CombinedOutput()
		if err != nil || !strings.Contains(string(out), `got "`+want+`"`) {
			t.Errorf("user %d: %v\n%s", uid, err, out)
		}
	}
}

func TestListenTakesOverADeadSocketOnly(t *testing.T) {
	long := filepath.Join(t.TempDir(), strings.Repeat("long", 30))
	if err := os.Mkdir(long, 0o700); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(long, "s") // longer than a socket's address
	l := listen(t, path, self())
	if _, err := Listen(path, 0o600, self()); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("two listeners: %v", err)
	}
	if err := l.UnixListener.Close(); err != nil { // as a process that dies: the file stays
		t.Fatal(err)
	}
	l = listen(t, path, self())
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Lstat(path); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("the socket stays: %v", err)
	}
	if err := os.WriteFile(path, []byte("x"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Listen(path, 0o600, self()); !errors.Is(err, sandbox.Conflict) {
		t.Errorf("over a file: %v", err)
	}
	if b, err := os.ReadFile(path); err != nil || string(b) != "x" {
		t.Error("the file is gone")
	}
}
