package jail

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
	"google.golang.org/protobuf/types/known/wrapperspb"

	"github.com/opdomain/opdomain/attest/sm"
	"github.com/opdomain/opdomain/sandbox/sandboxtest"
)

func TestMain(m *testing.M) {
	Enter()
	if os.Getenv("JAIL_GUARDED") != "" { // as a process that serves
		if err := unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0); err != nil {
			panic(err)
		}
	}
	if names := os.Getenv("JAIL_FILTER"); names != "" {
		if err := sandboxtest.UnderFilter(strings.Fields(names)); err != nil {
			panic(err)
		}
	}
	code := m.Run()
	if shared != nil {
		shared.Close()
	}
	if built != "" {
		os.RemoveAll(built)
	}
	os.Exit(code)
}

// Plug-ins of the tests: static programs of their own, built once, for every user.
var (
	attackProgram = sync.OnceValues(func() (string, error) { return build("attack") })
	rawProgram    = sync.OnceValues(func() (string, error) { return build("raw") })
	helperProgram = sync.OnceValues(func() (string, error) { return build("../../../cmd/" + helperName) })
	built         string
)

func build(name string) (string, error) {
	if path := os.Getenv("JAIL_" + strings.ToUpper(filepath.Base(name))); path != "" {
		return path, nil
	}
	if built == "" {
		dir, err := os.MkdirTemp("", "jail-test-")
		if err != nil {
			return "", err
		}
		if err := os.Chmod(dir, 0o755); err != nil {
			return "", err
		}
		built = dir
	}
	path := filepath.Join(built, filepath.Base(name))
	cmd := exec.Command("go", "build", "-o", path, "./testdata/"+name)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
}

// require skips aloud what the kernel does not have: unlike a program it cannot be installed, so that OPDOMAIN_REQUIRE does not ask for it.
func require(t testing.TB, have bool, what string) {
	t.Helper()
	if have {
		return
	}
	t.Skipf("SKIPPED ALOUD: %s", what)
}

func needs(t testing.TB, l *Launcher, tier Tier) {
	t.Helper()
	missing := l.Probe().Missing(tier)
	require(t, len(missing) == 0, fmt.Sprintf("%s lacks %v", tier, missing))
}

func sumOf(b []byte) [sm.Size]byte { return sm.Sum(b) }

func program(t testing.TB, build func() (string, error)) []byte {
	t.Helper()
	path, err := build()
	if err != nil {
		t.Fatalf("build the plug-in: %v", err)
	}
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func image(t testing.TB) *Image { return imageOf(t, attackProgram) }

func imageOf(t testing.TB, build func() (string, error)) *Image {
	t.Helper()
	b := program(t, build)
	img, err := NewImage(bytes.NewReader(b), sm.Sum(b))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

var shared *Launcher

// launcher gives one that tests share; its canary ran.
func launcher(t testing.TB) *Launcher {
	t.Helper()
	if shared == nil {
		shared = fresh(t)
	}
	return shared
}

// fresh gives one that a test may break. It starts plug-ins through the static program, so that module hosts are there too.
func fresh(t testing.TB) *Launcher {
	t.Helper()
	helper, err := helperProgram()
	if err != nil {
		t.Fatal(err)
	}
	l, err := New(Config{Program: helper})
	if err != nil {
		t.Fatal(err)
	}
	return l
}

type outcome struct {
	Worked bool
	Detail string
}

func run(ctx context.Context, p *Process, name string) (outcome, error) {
	var out wrapperspb.StringValue
	var r outcome
	err := p.Conn().Invoke(ctx, "/attack/Run", wrapperspb.String(name), &out)
	if err == nil {
		err = json.Unmarshal([]byte(out.Value), &r)
	}
	return r, err
}

func itoa(fd uintptr) string { return fmt.Sprint(fd) }
