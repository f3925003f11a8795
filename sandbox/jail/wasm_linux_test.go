package jail

import (
	"bytes"
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"sync"
	"testing"
	"time"

	"github.com/opdomain/opdomain/attest/sm"
)

var wasmModule = sync.OnceValues(func() ([]byte, error) {
	dir, err := os.MkdirTemp("", "jail-module-")
	if err != nil {
		return nil, err
	}
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "module.wasm")
	cmd := exec.Command("go", "build", "-o", path, "./testdata/module")
	cmd.Env = append(os.Environ(), "GOOS=wasip1", "GOARCH=wasm")
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, err
	}
	return os.ReadFile(path)
})

func module(t testing.TB, code []byte) *Image {
	t.Helper()
	img, err := NewImage(bytes.NewReader(code), sm.Sum(code))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { img.Close() })
	return img
}

// TestModule runs a wasm module in both of its tiers: every input finds the module as if it were the first.
func TestModule(t *testing.T) {
	l := launcher(t)
	code, err := wasmModule()
	if err != nil {
		t.Fatal(err)
	}
	img := module(t, code)
	for _, tier := range []Tier{W, Wp} {
		needs(t, l, tier)
		p, err := l.Start(context.Background(), Job{Tier: tier, Module: img, Limits: Limits{Start: 40 * time.Second}})
		if err != nil {
			t.Fatalf("%s: %v", tier, err)
		}
		in := []string{"rows", "calls", "calls", "panic", "calls", "exit", "flood", "memory", "time", "time", "random", "random", "escape", ""}
		var inputs [][]byte
		for _, s := range in {
			inputs = append(inputs, []byte(s))
		}
		out, err := p.Map(context.Background(), inputs)
		if err != nil {
			t.Fatalf("%s: %v", tier, err)
		}
		want := map[int]string{0: "ROWS", 1: "1", 2: "1", 4: "1", 12: "true true 0 0", 13: ""}
		for i, o := range out {
			if w, ok := want[i]; ok && (o == nil || string(o) != w) {
				t.Errorf("%s: input %q: %q", tier, in[i], o)
			}
		}
		for _, i := range []int{3, 5, 6, 7} {
			if out[i] != nil {
				t.Errorf("%s: input %q gave %d bytes", tier, in[i], len(out[i]))
			}
		}
		if !bytes.Equal(out[8], out[9]) || !bytes.Equal(out[10], out[11]) || len(out[10]) != 32 {
			t.Errorf("%s: two inputs see two times or random numbers: %q", tier, out[8:12])
		}
		t.Log(p.Posture().Text())
		if _, err := p.Declares(context.Background()); ReasonOf(err) != Refused {
			t.Errorf("%s: a command says of itself: %v", tier, err)
		}
		if _, err := p.Map(context.Background(), [][]byte{make([]byte, 9<<20)}); err == nil {
			t.Error("an input over the limit was taken")
		}
		p.Close()
	}
}

// TestModuleFaults holds modules that do not end, or are none, to a reason.
func TestModuleFaults(t *testing.T) {
	l := launcher(t)
	needs(t, l, W)
	code, err := wasmModule()
	if err != nil {
		t.Fatal(err)
	}
	p, err := l.Start(context.Background(), Job{Tier: W, Module: module(t, code), Limits: Limits{Start: 40 * time.Second, Wall: 45 * time.Second}})
	if err != nil {
		t.Fatal(err)
	}
	time.AfterFunc(time.Second, func() { p.Kill(Deadline) })
	if _, err := p.Map(context.Background(), [][]byte{[]byte("loop")}); ReasonOf(err) != Deadline {
		t.Errorf("loop: %v", err)
	}
	p.Close()
	for name, bad := range map[string][]byte{
		"text":    []byte("not wasm"),
		"cut":     code[:len(code)/2],
		"empty":   []byte("\x00asm\x01\x00\x00\x00"),
		"imports": importing("env", "host"),
	} {
		if _, err := l.Start(context.Background(), Job{Tier: W, Module: module(t, bad)}); ReasonOf(err) != Crashed {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// importing is a module that exports a mapping and imports a function that is not there.
func importing(from, name string) []byte {
	b := []byte("\x00asm\x01\x00\x00\x00")
	section := func(id byte, body []byte) { b = append(append(b, id, byte(len(body))), body...) }
	section(1, []byte{1, 0x60, 0, 0})
	imp := append([]byte{1, byte(len(from))}, from...)
	imp = append(append(imp, byte(len(name))), name...)
	section(2, append(imp, 0, 0))
	section(7, append(append([]byte{1, 6}, "_start"...), 0, 0))
	return b
}
