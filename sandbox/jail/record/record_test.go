package record

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/algo"
)

// TestMain is the child, where the arguments say so.
func TestMain(m *testing.M) {
	if len(os.Args) == 2 && os.Args[1] == "serve" {
		os.Exit(Serve(context.Background(), os.Stdin, os.Stdout, os.Stderr))
	}
	os.Exit(m.Run())
}

func recorder(deadline time.Duration) Wasm {
	return Wasm{Program: os.Args[0], Command: []string{"record", "serve"}, Deadline: deadline}
}

// build compiles a main package to wasm.
func build(t *testing.T, source string) []byte {
	t.Helper()
	root, err := filepath.Abs("../../..")
	if err != nil {
		t.Fatal(err)
	}
	dir, err := os.MkdirTemp(root, ".record-test-") // inside the module, so that it finds the SDK
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.WriteFile(filepath.Join(dir, "main.go"), []byte(source), 0o600); err != nil {
		t.Fatal(err)
	}
	out := filepath.Join(t.TempDir(), "image.wasm")
	cmd := exec.Command("go", "build", "-trimpath", "-buildvcs=false", "-ldflags=-s -w", "-o", out, ".")
	cmd.Dir, cmd.Env = dir, append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm", "CGO_ENABLED=0")
	if b, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, b)
	}
	image, err := os.ReadFile(out)
	if err != nil {
		t.Fatal(err)
	}
	return image
}

const head = "package main\nimport \"github.com/opdomain/opdomain/sandbox/algo\"\n"

const count = `func program(p *algo.Program) {
	in := p.Input("claims", algo.Text("district"))
	g := in.Group(algo.By("district", in.Label("district", "")))
	p.Reveal("t", g, algo.Out("n", g.Count()))
}
`

func TestRecordsWasm(t *testing.T) {
	image := build(t, head+count+"func main() { algo.Main(\"count\", program) }")
	t.Logf("image of %d bytes", len(image))
	start := time.Now()
	got, err := recorder(0).Record(t.Context(), image)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("recorded in %v", time.Since(start))
	want, err := algo.Record("count", func(p *algo.Program) {
		in := p.Input("claims", algo.Text("district"))
		g := in.Group(algo.By("district", in.Label("district", "")))
		p.Reveal("t", g, algo.Out("n", g.Count()))
	})
	if err != nil || !bytes.Equal(got, want) {
		t.Errorf("%v\n%s\n%s", err, got, want)
	}
	again, err := recorder(0).Record(t.Context(), image)
	if err != nil || !bytes.Equal(got, again) {
		t.Error("the same image gives other bytes", err)
	}
}

// TestHostileImages: each ends with its reason.
func TestHostileImages(t *testing.T) {
	for name, c := range map[string]struct {
		source string
		want   Reason
		detail string
	}{
		"endless loop":    {head + count + "func main() { for i := 0; ; i++ { if i < 0 { algo.Main(\"x\", program) } } }", Deadline, ""},
		"endless nodes":   {head + "func main() { algo.Main(\"x\", func(p *algo.Program) { for i := 0; ; i++ { p.Const(float64(i)); if i > 5000 { return } } }) }", Mistake, "at most 4096 nodes"},
		"mistake":         {head + "func main() { algo.Main(\"x\", func(p *algo.Program) { p.Input(\"A\") }) }", Mistake, "main.go:3"},
		"flood":           {"package main\nimport \"os\"\nfunc main() { b := make([]byte, 1<<16); for { os.Stdout.Write(b) } }", Flooded, ""},
		"memory bomb":     {"package main\nvar keep [][]byte\nfunc main() { for { b := make([]byte, 1<<20); for i := 0; i < len(b); i += 4096 { b[i] = 1 }; keep = append(keep, b) } }", Crashed, ""},
		"panic":           {"package main\nfunc main() { panic(\"secret\") }", Crashed, ""},
		"files and clock": {"package main\nimport (\"os\"; \"fmt\"; \"time\"; \"net\")\nfunc main() { _, a := os.ReadFile(\"/etc/passwd\"); _, b := os.ReadDir(\"/\"); _, c := net.Dial(\"tcp\", \"127.0.0.1:1\"); fmt.Println(a != nil, b != nil, c != nil, len(os.Environ()), len(os.Args), time.Now().UTC().Year()) }", "", "true true true 0 0 2022\n"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			deadline := 60 * time.Second
			if c.want == Deadline {
				deadline = 5 * time.Second
			}
			got, err := recorder(deadline).Record(t.Context(), build(t, c.source))
			var f *Fault
			if c.want == "" {
				if err != nil || string(got) != c.detail {
					t.Errorf("%v %s", err, got)
				}
				return
			}
			if !errors.As(err, &f) || f.Reason != c.want || !strings.Contains(f.Detail, c.detail) {
				t.Errorf("%v, not %s %s", err, c.want, c.detail)
			}
			if strings.Contains(err.Error(), "secret") {
				t.Error("what an image says reaches the caller")
			}
		})
	}
	for name, image := range map[string][]byte{"nothing": nil, "no module": []byte("ELF"), "cut module": []byte("\x00asm\x01\x00\x00\x00\x01"), "too large": append([]byte("\x00asm"), make([]byte, MaxImage)...)} {
		if _, err := recorder(0).Record(t.Context(), image); sandbox.KindOf(err) != sandbox.Invalid {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := (Wasm{Program: "/nowhere", Command: []string{"x"}}).Record(t.Context(), []byte("\x00asm")); sandbox.KindOf(err) != sandbox.Unavailable {
		t.Error(err)
	}
}
