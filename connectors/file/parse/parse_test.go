package parse

import (
	"context"
	"errors"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/opdomain/opdomain/connectors/file/parse/wire"
	"github.com/opdomain/opdomain/sandbox"
	"github.com/opdomain/opdomain/sandbox/jail"
)

var (
	folder  string
	hostile = sync.OnceValues(func() (string, error) { return build("./testdata/hostile", "hostile") })
)

func TestMain(m *testing.M) {
	code := m.Run()
	if folder != "" {
		os.RemoveAll(folder)
	}
	os.Exit(code)
}

// build links a program statically in a folder that the users of plug-ins may enter.
func build(pkg, name string) (string, error) {
	var err error
	if folder == "" {
		if folder, err = os.MkdirTemp("", "parse-test-"); err != nil {
			return "", err
		}
		if err := os.Chmod(folder, 0o755); err != nil {
			return "", err
		}
	}
	path := filepath.Join(folder, name)
	cmd := exec.Command("go", "build", "-o", path, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	cmd.Stderr = os.Stderr
	return path, cmd.Run()
}

func parser(t *testing.T, c Config) *Parser {
	t.Helper()
	path, err := hostile()
	if err != nil {
		t.Fatal(err)
	}
	c.Program = path
	p := New(c)
	t.Cleanup(func() { p.Close() })
	l, err := p.jail()
	if err != nil {
		t.Fatal(err)
	}
	if lacks := l.Probe().Missing(jail.T1); len(lacks) > 0 {
		t.Skipf("SKIPPED ALOUD: T1 lacks %v", lacks)
	}
	return p
}

// TestTakenOver: whatever a parser does that a file has taken over, the host has an error of the file's name and a rule, and goes on.
func TestTakenOver(t *testing.T) {
	p := parser(t, Config{Memory: 128 << 20, Step: 2 * time.Second})
	for does, want := range map[string]struct {
		kind sandbox.Kind
		text string
	}{
		"crash":            {sandbox.Invalid, "did not survive"},
		"exit":             {sandbox.Invalid, "did not survive"},
		"hang":             {sandbox.TooLarge, "takes longer"},
		"hang at once":     {sandbox.TooLarge, "takes longer"},
		"spin":             {sandbox.TooLarge, "takes longer"},
		"memory":           {"", ""}, // where groups are, by its reason; elsewhere a crash
		"output":           {"", ""}, // after it the answer may have come
		"socket":           {sandbox.Invalid, "did not survive"},
		"large":            {sandbox.Invalid, "no answer of the agreed form"},
		"garbage":          {sandbox.Invalid, "no answer of the agreed form"},
		"no header":        {sandbox.Invalid, "no answer of the agreed form"},
		"empty":            {sandbox.Invalid, "no answer of the agreed form"},
		"a header again":   {sandbox.Invalid, "no answer of the agreed form"},
		"rows without end": {sandbox.Invalid, "no answer of the agreed form"},
		"long field":       {sandbox.Invalid, "no answer of the agreed form"},
		"no such rule":     {sandbox.Invalid, "no answer of the agreed form"},
		"bytes left":       {sandbox.Invalid, "no answer of the agreed form"},
		"fault of no rule": {sandbox.Invalid, "no answer of the agreed form"},
		"fault far":        {sandbox.Invalid, "no answer of the agreed form"},
	} {
		t.Run(does, func(t *testing.T) {
			r, err := p.Open(context.Background(), strings.NewReader(does), "claims.parquet", Parquet, "")
			if err == nil {
				defer r.Close()
				for range 3 {
					if _, err = r.Next(context.Background()); err != nil {
						break
					}
				}
			}
			var own *sandbox.Error
			if does == "output" && err == io.EOF {
				return
			}
			if !errors.As(err, &own) || own.Object != "claims.parquet" || !strings.Contains(err.Error(), "Parquet") {
				t.Fatalf("%v", err)
			}
			if want.kind != "" && (own.Kind != want.kind || !strings.Contains(own.Detail, want.text)) {
				t.Errorf("%v, wanted %s: %s", err, want.kind, want.text)
			}
			if does == "memory" && own.Kind != sandbox.TooLarge && !strings.Contains(own.Detail, "did not survive") {
				t.Errorf("%v", err)
			}
		})
	}
	r, err := p.Open(context.Background(), strings.NewReader("values"), "next.parquet", Parquet, "")
	if err != nil {
		t.Fatalf("after all that: %v", err)
	}
	fields, err := r.Next(context.Background())
	if err != nil || len(fields) != 2 || fields[0] != "ok" || r.Number() != 7 {
		t.Errorf("%q %v", fields, err)
	}
	if text := r.Posture().Text(); !strings.Contains(text, "tier T1") || !strings.Contains(text, "seccomp filter") {
		t.Errorf("posture: %s", text)
	}
	if err := r.Close(); err != nil {
		t.Error(err)
	}
}

// TestBounds: a file over its bound, a cancelled caller, a program that is not there.
func TestBounds(t *testing.T) {
	p := parser(t, Config{MaxFile: 10})
	if _, err := p.Open(context.Background(), strings.NewReader("0123456789x"), "a.xlsx", XLSX, ""); !errors.Is(err, sandbox.TooLarge) || !strings.Contains(err.Error(), "a.xlsx") {
		t.Errorf("a large file: %v", err)
	}
	if _, err := p.Open(context.Background(), strings.NewReader("values"), "a.arrow", Arrow, "one"); !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a sheet of no workbook: %v", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	r, err := p.Open(ctx, strings.NewReader("values"), "a.xlsx", XLSX, "")
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	cancel()
	if _, err := r.Next(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	if _, err := r.Next(context.Background()); err != nil { // another caller's time is another's
		t.Errorf("after a cancelled call: %v", err)
	}
	// A layer that is missing is named, and nothing is parsed without it: here the program, which others may write to.
	path, err := hostile()
	if err != nil {
		t.Fatal(err)
	}
	b, err := os.ReadFile(path)
	if err == nil {
		err = errors.Join(os.WriteFile(path+"-open", b, 0o755), os.Chmod(path+"-open", 0o777))
	}
	if err != nil {
		t.Fatal(err)
	}
	open := New(Config{Program: path + "-open"})
	defer open.Close()
	if _, err := open.Open(context.Background(), strings.NewReader("values"), "a.xlsx", XLSX, ""); !errors.Is(err, sandbox.Unavailable) || !strings.Contains(err.Error(), "XLSX") || !strings.Contains(err.Error(), "stage 1") {
		t.Errorf("with a layer missing: %v", err)
	}
	none := New(Config{})
	defer none.Close()
	if _, err := none.Open(context.Background(), strings.NewReader("x"), "a.xlsx", XLSX, ""); !errors.Is(err, sandbox.Unavailable) || !strings.Contains(err.Error(), jail.Helper) {
		t.Errorf("without the program: %v", err)
	}
}

// TestFormatOf: endings say the form, and those that nothing reads are named.
func TestFormatOf(t *testing.T) {
	for name, want := range map[string]Format{"a.xlsx": XLSX, "/x/B.PARQUET": Parquet, "a.arrow": Arrow, "a.feather": Arrow, "a.csv": "", "a": "", "xlsx": ""} {
		if f, ok, err := FormatOf(name); f != want || ok != (want != "") || err != nil {
			t.Errorf("%s: %q %v %v", name, f, ok, err)
		}
	}
	for _, name := range []string{"a.xls", "a.xlsm", "dir/a.ods"} {
		if _, _, err := FormatOf(name); !errors.Is(err, sandbox.Invalid) || !strings.Contains(err.Error(), filepath.Base(name)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// TestUnstarted: a parser that the jail could not start is no fault of the file; one that a file ended is.
func TestUnstarted(t *testing.T) {
	for reason, kind := range map[jail.Reason]sandbox.Kind{jail.BadImage: sandbox.Unavailable, jail.Refused: sandbox.Unavailable, jail.Unfit: sandbox.Unavailable, jail.Crashed: sandbox.Invalid} {
		err := (&Rows{name: "a.xlsx", format: XLSX}).unstarted(&jail.Fault{Op: "jail: start", Reason: reason})
		if sandbox.KindOf(err) != kind || kind == sandbox.Unavailable && strings.Contains(err.Error(), "export it again") {
			t.Errorf("%s: %v", reason, err)
		}
	}
	err := (&Rows{name: "a.xlsx", format: XLSX}).broken(&jail.Fault{Op: "jail: call", Reason: jail.Refused})
	if !errors.Is(err, sandbox.Invalid) {
		t.Errorf("a call that is refused: %v", err)
	}
}

// TestReadersOutside: no program but the one that is confined links a reader of an untrusted format.
func TestReadersOutside(t *testing.T) {
	const module = "github.com/opdomain/opdomain/"
	for _, program := range []string{"cmd/opdomain", "cmd/opdomain-party", "cmd/opdomain-verify", "cmd/opdomain-jail"} {
		out, err := exec.Command("go", "list", "-deps", module+program).Output()
		if err != nil {
			t.Fatal(err)
		}
		for _, dep := range strings.Fields(string(out)) {
			reader := strings.Contains(dep, "/parquet/") || strings.HasSuffix(dep, "/arrow/ipc") || strings.Contains(dep, "/excelize") || dep == module+"connectors/file/parse/child"
			if reader && program != "cmd/opdomain-jail" {
				t.Errorf("%s links %s", program, dep)
			}
		}
		if program == "cmd/opdomain-jail" && !strings.Contains(string(out), "connectors/file/parse/child\n") {
			t.Error("the confined program links no parser")
		}
	}
}

// FuzzAnswer: no answer of a parser makes the host do anything but refuse it or give rows.
func FuzzAnswer(f *testing.F) {
	var w wire.Writer
	w.Row(3)
	w.Text("a")
	w.Unfit(wire.Digits)
	w.Row(4)
	w.Missing()
	w.Bytes([]byte("b"))
	f.Add(w.Frame(), 2)
	f.Add(wire.EncodeHeader([]string{"a", "b"}), 0)
	f.Add(wire.EncodeFault(&wire.Fault{Rule: wire.Long, Row: 9, Field: 2}), 2)
	f.Add(wire.End(), 1)
	f.Fuzz(func(t *testing.T, b []byte, width int) {
		if width < 0 || width > wire.MaxFields {
			return
		}
		a, err := wire.Decode(b, width)
		if err != nil {
			return
		}
		if a.Fault != nil && a.Fault.Rule.Text() == "" || len(a.Header) > wire.MaxFields {
			t.Fatal("an answer of no rule")
		}
		if a.Rows == nil {
			return
		}
		fields, rules := make([]string, width), make([]wire.Rule, width)
		total := 0
		for {
			number, ok, err := a.Rows.Next(fields, rules)
			if err != nil || !ok {
				return
			}
			if number < 0 {
				t.Fatal("a negative row")
			}
			for i, s := range fields {
				if total += len(s); rules[i] != 0 && (s != "" || rules[i].Text() == "") {
					t.Fatal("a field of a rule and a text")
				}
			}
			if total > len(b) {
				t.Fatal("more text than came")
			}
		}
	})
}
